/* deploy: check, create, send, watch. */
#include "base/clock.h"
#include "cli/cli_private.h"
#include "config/source.h"
#include "net/x509.h"
#include "os/socket.h"
#include <unistd.h>

#define SEND_ATTEMPTS 4

struct counting {
    struct source_visitor visitor;
    uint64_t bytes, files;
};

static int on_counted(struct source_visitor *visitor, const struct source_file *file,
                      struct error *err UNUSED)
{
    struct counting *counting = container_of(visitor, struct counting, visitor);
    counting->bytes += file->bytes;
    counting->files += !file->is_directory;
    return 0;
}

int ticket_read(struct command *command, const struct json *answer,
                struct deploy_ticket *ret_ticket, struct error *err)
{
    int64_t deploy = json_get_integer(answer, "deploy", 0);
    const char *app = json_get_text(answer, "app", NULL);
    if (deploy <= 0 || !app)
        return error_set(err, ERR_INVALID, "the platform's answer names no deploy");
    ret_ticket->app = arena_text(command->arena, app);
    ret_ticket->deploy = (uint64_t)deploy;
    ret_ticket->release = (uint64_t)json_get_integer(answer, "release", 0);
    return 0;
}

static int deploy_create(struct command *command, const struct manifest *manifest,
                         const char *directory, const struct counting *counted,
                         struct deploy_ticket *ret_ticket, struct error *err)
{
    char commit[64];
    struct buf body = BUF_INIT(16 * 1024 * 1024), resolved = BUF_INIT(8 * 1024 * 1024);
    struct json_writer writer = JSON_WRITER(&body);
    struct json *answer = NULL;
    source_commit(directory, commit);
    manifest_write_json(manifest, &resolved);
    json_begin_object(&writer, NULL);
    json_write_raw(&writer, "manifest", buf_slice(&resolved));
    json_write_text(&writer, "environment", command_option(command, "environment"));
    json_write_text(&writer, "commit", commit);
    json_write_integer(&writer, "source_bytes", (int64_t)counted->bytes);
    json_write_integer(&writer, "source_files", (int64_t)counted->files);
    json_end_object(&writer);
    /* Repeatable: a deploy without its source changes nothing, and ends when control restarts. */
    struct call call = {
        .method = "POST",
        .target = target_format(command, "/v1/apps/%s/deploys", encoded(command, manifest->app)),
        .body = buf_slice(&body),
        .is_repeatable = true,
    };
    int r = platform_call_json(command, &call, NULL, &answer, err);
    if (r == 0)
        r = ticket_read(command, answer, ret_ticket, err);
    buf_done(&resolved);
    buf_done(&body);
    return r;
}

/* The connection broke while the source was sent. True: all of it had arrived, and the deploy goes
 * on. */
static bool was_taken(struct command *command, const struct deploy_ticket *ticket)
{
    struct call call = {
        .method = "GET",
        .target = target_format(command, "/v1/apps/%s/releases", encoded(command, ticket->app)),
        .is_repeatable = true,
    };
    struct json *answer = NULL;
    struct error err = {0};
    if (platform_call_json(command, &call, NULL, &answer, &err) < 0)
        return false;
    json_each (release, json_get(answer, "releases")) {
        if ((uint64_t)json_get_integer(release, "release", 0) == ticket->release)
            return strcmp(json_get_text(release, "state", "failed"), "failed") != 0;
    }
    return false;
}

/* Create and send; anew when the platform's control restarted in between. */
static int deploy_begin(struct command *command, const struct manifest *manifest,
                        const char *directory, struct deploy_ticket *ret_ticket, struct error *err)
{
    struct counting counted = {.visitor.on_file = on_counted};
    int r = source_walk(directory, &counted.visitor, err);
    for (unsigned attempt = 0; r == 0; attempt++) {
        r = deploy_create(command, manifest, directory, &counted, ret_ticket, err);
        if (r < 0)
            return r;
        r = source_send(command, directory, ret_ticket, counted.bytes, err);
        if (r != ERR_IO && r != ERR_UNAVAILABLE)
            return r;
        if (was_taken(command, ret_ticket))
            return 0;
        if (attempt + 1 >= SEND_ATTEMPTS)
            return error_wrap(err, "unable to send the source");
        r = 0;
    }
    return r;
}

struct listening {
    const char *host;   /* as it stands in a URL */
    const char *suffix; /* ":8080"; "" for the scheme's own port */
};

/* A listener of the platform as a URL names it. This machine's loopback address for one that is on
 * all: the person is on the machine, and its name may mean something else elsewhere. */
static struct listening listening_at(struct command *command, const struct json *status,
                                     const char *key, unsigned own_port)
{
    struct slice text = slice_from(json_get_text(status, key, ""));
    struct address address;
    struct listening listening = {"127.0.0.1", ""};
    int64_t port = json_get_integer(status, "http_port", 0);
    if (!json_get(status, key) && port > 0 && port != own_port) /* an older platform */
        listening.suffix = arena_printf(command->arena, ":%lld", (long long)port);
    if (!text.len || address_parse(text.ptr, &address, NULL) < 0 || address_port(&address) == 0)
        return listening;
    if (address_port(&address) != own_port)
        listening.suffix = arena_printf(command->arena, ":%u", address_port(&address));
    bool is_any = address.any.sa_family == AF_INET
                      ? address.in.sin_addr.s_addr == htonl(INADDR_ANY)
                      : IN6_IS_ADDR_UNSPECIFIED(&address.in6.sin6_addr);
    const char *colon = strrchr(text.ptr, ':');
    if (!is_any)
        listening.host =
            arena_slice_text(command->arena, (struct slice){text.ptr, (size_t)(colon - text.ptr)});
    return listening;
}

static const struct json *certificate_named(const struct json *certificates, struct slice name)
{
    json_each (item, certificates)
        if (slice_eq(slice_from(json_get_text(item, "name", "?")), name))
            return item;
    return NULL;
}

/* Of another host, as the edges choose it: that of the wildcard above, else of routes for any. */
static const struct json *certificate_above(struct command *command,
                                            const struct json *certificates, const char *host)
{
    const char *dot = strchr(host, '.');
    const struct json *found =
        dot ? certificate_named(certificates, slice_from(arena_printf(command->arena, "*%s", dot)))
            : NULL;
    return found ? found : certificate_named(certificates, (struct slice){"", 0});
}

static bool certificate_covers(const struct json *item, const char *host)
{
    struct slice rest = slice_from(json_get_text(item, "names", ""));
    while (rest.len)
        if (x509_name_covers(slice_trim(slice_cut(&rest, ',')), slice_from(host)))
            return true;
    return strcmp(json_get_text(item, "state", ""), "on demand") == 0;
}

/* What a host is served with may be said by another route of it, of any app; or the host is one of
 * those that a wider route's certificate is for. */
static bool is_served_with_tls(struct command *command, const struct json *certificates,
                               const struct manifest_route *route)
{
    if (certificate_named(certificates, slice_from(route->host)))
        return true;
    if (route->tls.is_given) /* off */
        return false;
    const struct json *above = certificate_above(command, certificates, route->host);
    return above && certificate_covers(above, route->host);
}

/* Where the app answers, for people who just saw it go live. */
static void print_addresses(struct command *command, const struct manifest *manifest)
{
    struct call call = {.method = "GET", .target = "/v1/status", .is_repeatable = true};
    struct call ask_certificates = {
        .method = "GET", .target = "/v1/certificates", .is_repeatable = true};
    struct json *status = NULL, *answer = NULL;
    struct error err = {0};
    if (platform_call_json(command, &call, NULL, &status, &err) < 0 ||
        platform_call_json(command, &ask_certificates, NULL, &answer, &err) < 0)
        return;
    struct listening http = listening_at(command, status, "http_address", 80),
                     https = listening_at(command, status, "https_address", 443);
    for (size_t i = 0; i < manifest->route_count; i++) {
        const struct manifest_route *route = &manifest->routes[i];
        bool is_tls = json_get_integer(status, "https_port", 0) > 0 &&
                      is_served_with_tls(command, json_get(answer, "certificates"), route);
        const struct listening *listening = is_tls ? &https : &http;
        printf("  http%s://%s%s%s  %s\n", is_tls ? "s" : "",
               route->host[0] ? route->host : listening->host, listening->suffix, route->path,
               route->service);
    }
    fflush(stdout);
}

int deploy_folder(struct command *command, const char *directory, const struct manifest *manifest,
                  bool is_detached)
{
    struct deploy_ticket ticket = {0};
    struct error err = {0};
    bool is_interrupted = false, is_json = command_option(command, "json") != NULL;
    int r = deploy_begin(command, manifest, directory, &ticket, &err);
    if (r == ERR_CANCELLED) {
        print_note("given up; nothing was changed");
        return CLI_EXIT_INTERRUPTED;
    }
    if (r < 0)
        return fail_with(&err);
    if (is_detached) {
        if (is_json)
            printf("{\"deploy\":%llu,\"app\":\"%s\",\"release\":%llu}\n",
                   (unsigned long long)ticket.deploy, ticket.app,
                   (unsigned long long)ticket.release);
        else
            printf("deploy %llu of %s makes v%llu; 'slipway status %s' shows how it goes\n",
                   (unsigned long long)ticket.deploy, ticket.app,
                   (unsigned long long)ticket.release, ticket.app);
        return 0;
    }
    r = deploy_watch(command, &ticket, &is_interrupted, &err);
    if (is_interrupted) {
        print_note("the deploy goes on; 'slipway cancel %s' ends it", ticket.app);
        return CLI_EXIT_INTERRUPTED;
    }
    if (r < 0)
        return fail_with(&err);
    if (!is_json)
        print_addresses(command, manifest);
    return 0;
}

int verb_deploy(struct command *command)
{
    const char *directory = command_argument(command, 0);
    struct manifest *manifest;
    directory = directory ? directory : ".";
    int r = folder_check(command, directory, &manifest);
    if (r < 0)
        return error_exit_status(r);
    return deploy_folder(command, directory, manifest, command_option(command, "detach") != NULL);
}
