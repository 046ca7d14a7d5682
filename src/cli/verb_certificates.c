/* certificates and trust: what hosts are served with, and the local authority. */
#include "base/clock.h"
#include "cli/cli_private.h"
#include "os/file.h"
#include "os/spawn.h"
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#define INSTALL_TIMEOUT_US (120ull * 1000000)

/* ---- certificates */

/* "62d", "expired", "-" */
static const char *cell_until(struct command *command, const char *rfc3339)
{
    uint64_t at_us, now_us = clock_wall_us();
    if (!rfc3339 || clock_parse(rfc3339, &at_us) < 0)
        return NULL;
    return at_us > now_us ? age_format(command->arena, at_us - now_us) : "expired";
}

static const char *short_issuer(struct command *command, const char *issuer)
{
    /* RFC 2253: the common name first, or somewhere. */
    const char *name = issuer ? strstr(issuer, "CN=") : NULL;
    if (!name)
        return issuer;
    return arena_slice_text(command->arena, slice_sub(slice_from(name), 3, strcspn(name + 3, ",")));
}

static enum colour colour_of_certificate(const char *state)
{
    if (strcmp(state, "valid") == 0)
        return COLOUR_GREEN;
    return strcmp(state, "failed") == 0 || strcmp(state, "expired") == 0 ? COLOUR_RED
                                                                         : COLOUR_YELLOW;
}

static void add_note(struct command *command, const struct json *item,
                     const struct terminal *terminal, struct buf *text)
{
    const char *error = json_get_text(item, "last_error", NULL),
               *hint = json_get_text(item, "hint", NULL),
               *warning = json_get_text(item, "warning", NULL),
               *name = manifest_host_text(json_get_text(item, "name", ""));
    const char *when = time_ago(command->arena, json_get_text(item, "last_error_at", NULL));
    if (warning)
        buf_printf(text, "%s: %s\n", name, warning);
    if (!error)
        return;
    buf_printf(text, "%s: ", name);
    terminal_append(text, terminal, slice_from(error), false);
    buf_printf(text, " (%s)\n", when);
    if (!hint || !hint[0])
        return;
    buf_append_text(text, "HINT: ");
    terminal_append(text, terminal, slice_from(hint), false);
    buf_append_byte(text, '\n');
}

static void certificates_table(struct command *command, const struct json *answer, struct buf *text)
{
    static const char *const headers[] = {"NAME",   "APP",      "SOURCE", "STATE",
                                          "ISSUER", ">EXPIRES", ">RENEWS"};
    struct terminal terminal = terminal_of(STDOUT_FILENO);
    const struct json *items = json_get(answer, "certificates");
    struct table table;
    table_init(&table, command->arena, headers, ARRAY_LEN(headers));
    json_each (item, items) {
        const char *state = json_get_text(item, "state", "?"),
                   *name = manifest_host_text(json_get_text(item, "name", ""));
        struct table_cell cells[] = {
            {name, COLOUR_NONE},
            {json_get_text(item, "app", "?"), COLOUR_NONE},
            {json_get_text(item, "source", "?"), COLOUR_NONE},
            {state, colour_of_certificate(state)},
            {short_issuer(command, json_get_text(item, "issuer", NULL)), COLOUR_NONE},
            {cell_until(command, json_get_text(item, "not_after", NULL)), COLOUR_NONE},
            {cell_until(command, json_get_text(item, "next_renewal", NULL)), COLOUR_NONE},
        };
        table_add(&table, cells);
    }
    if (!table.row_count) {
        buf_append_text(text, "no host is served with TLS; 'tls: acme' at a route changes that\n");
        return;
    }
    table_write(&table, &terminal, text);
    json_each (item, items)
        add_note(command, item, &terminal, text);
}

static int certificate_renew(struct command *command, const char *name)
{
    struct call call = {
        .method = "POST",
        .target = target_format(command, "/v1/certificates/%s/renew", encoded(command, name))};
    struct slice raw = {0};
    struct error err = {0};
    if (platform_call(command, &call, &raw, &err) < 0)
        return fail_with(&err);
    if (command_option(command, "json"))
        printf(SLICE_FORMAT "\n", SLICE_ARG(raw));
    else
        printf("the certificate of %s is being renewed; 'slipway certificates' shows how it goes\n",
               name);
    return 0;
}

int verb_certificates(struct command *command)
{
    const char *what = command_argument(command, 0), *name = command_argument(command, 1);
    struct call call = {.method = "GET", .target = "/v1/certificates", .is_repeatable = true};
    struct buf text = BUF_INIT((size_t)64 * 1024 * 1024);
    struct json *answer = NULL;
    struct slice raw = {0};
    struct error err = {0};
    if (what && (strcmp(what, "renew") != 0 || !name)) {
        error_set(&err, ERR_USAGE, "certificates knows 'renew NAME'");
        error_hint(&err, "'slipway certificates' lists the names");
        return fail_with(&err);
    }
    if (what)
        return certificate_renew(command, name);
    if (platform_call_json(command, &call, &raw, &answer, &err) < 0)
        return fail_with(&err);
    if (command_option(command, "json")) {
        buf_append_slice(&text, raw);
        buf_append_byte(&text, '\n');
    } else {
        certificates_table(command, answer, &text);
    }
    print_buf(&text);
    buf_done(&text);
    return 0;
}

/* ---- trust */

/* Where distributions keep what an administrator trusts, and the command that takes it over. */
static const struct {
    const char *folder, *name, *program;
} trust_stores[] = {
    {"/usr/local/share/ca-certificates", "slipway-local.crt", "update-ca-certificates"},
    {"/etc/pki/ca-trust/source/anchors", "slipway-local.pem", "update-ca-trust"},
    {"/etc/ca-certificates/trust-source/anchors", "slipway-local.pem", "update-ca-trust"},
};

static int run_update(struct arena *arena, const char *program, struct error *err)
{
    char *const argv[] = {arena_text(arena, program), NULL};
    static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    static char *const environment[] = {path, NULL};
    struct spawn spawn = {.argv = argv,
                          .envp = environment,
                          .exec_fd = -1,
                          .stdin_fd = -1,
                          .stdout_fd = STDERR_FILENO, /* stdout is ours */
                          .stderr_fd = -1,
                          .channel_fd = -1};
    uint64_t deadline = clock_monotonic_us() + INSTALL_TIMEOUT_US;
    int result_fd = -1, status = 0;
    pid_t pid;
    int code = spawn_start(&spawn, &pid, &result_fd, err);
    if (code < 0)
        return code;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (clock_monotonic_us() > deadline) {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, &status, 0);
            fd_close(result_fd);
            return error_set(err, ERR_TIMEOUT, "'%s' did not end", program);
        }
        (void)usleep(20000);
    }
    code = spawn_result(result_fd, program, err);
    fd_close(result_fd);
    if (code < 0)
        return code;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return error_set(err, ERR_FAILED, "'%s' failed", program);
    return 0;
}

static int trust_install(struct command *command, const char *pem, struct error *err)
{
    size_t i = 0;
    if (geteuid() != 0) {
        error_set(err, ERR_PERMISSION, "only root can make the whole machine trust an authority");
        return error_hint(err,
                          "sudo slipway --state '%s' trust --install; or let one client trust it: "
                          "slipway trust > ca.pem",
                          command->state_directory);
    }
    while (i < ARRAY_LEN(trust_stores) && !file_is_directory(trust_stores[i].folder))
        i++;
    if (i == ARRAY_LEN(trust_stores)) {
        error_set(err, ERR_UNSUPPORTED, "this system keeps what it trusts in an unknown place");
        return error_hint(err,
                          "install the package ca-certificates, or use `slipway trust > ca.pem`");
    }
    const char *path = path_join(command->arena, trust_stores[i].folder, trust_stores[i].name);
    int code = file_write_durable(path, slice_from(pem), 0644, err);
    if (code == 0)
        code = run_update(command->arena, trust_stores[i].program, err);
    if (code == 0)
        print_note("this machine trusts '%s'; to undo: remove it and run %s", path,
                   trust_stores[i].program);
    return code;
}

int verb_trust(struct command *command)
{
    struct call call = {.method = "GET", .target = "/v1/trust", .is_repeatable = true};
    struct json *answer = NULL;
    struct slice raw = {0};
    struct error err = {0};
    if (platform_call_json(command, &call, &raw, &answer, &err) < 0)
        return fail_with(&err);
    const char *pem = json_get_text(answer, "certificate", "");
    if (command_option(command, "install"))
        return trust_install(command, pem, &err) < 0 ? fail_with(&err) : 0;
    if (command_option(command, "json"))
        printf(SLICE_FORMAT "\n", SLICE_ARG(raw));
    else
        printf("%s", pem);
    return 0;
}
