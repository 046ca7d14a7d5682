/* The verbs that look at a folder only: init, validate, schema, plan. */
#include "cli/cli_private.h"
#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static const char *const level_words[] = {"error", "unsupported", "warning"};

static const char *directory_of(const struct command *command)
{
    const char *given = command_argument(command, 0);
    return given ? given : ".";
}

static int directory_check(const char *directory, struct error *err)
{
    if (file_is_directory(directory))
        return 0;
    int r = file_exists(directory)
                ? error_set(err, ERR_INVALID, "'%s' is not a folder", directory)
                : error_set(err, ERR_NOT_FOUND, "there is no folder '%s'", directory);
    error_hint(err, "name the folder of the application, the one with slipway.yaml");
    return r;
}

/* "slipway.yaml:3:9: unknown key 'instnaces'; did you mean 'instances'?" */
static void finding_append(const struct manifest_finding *finding, const struct terminal *terminal,
                           struct buf *text)
{
    enum colour colour = finding->level == FINDING_WARNING ? COLOUR_YELLOW : COLOUR_RED;
    buf_append_text(text, colour_on(terminal, COLOUR_BOLD));
    buf_append_text(text, finding->file);
    if (finding->line)
        buf_printf(text, ":%u:%u", finding->line, finding->column);
    buf_printf(text, ":%s ", colour_off(terminal));
    if (finding->level == FINDING_WARNING)
        buf_append_text(text, "warning: ");
    buf_append_text(text, colour_on(terminal, colour));
    terminal_append(text, terminal, slice_from(finding->message), false);
    buf_append_text(text, colour_off(terminal));
    if (finding->suggestion) {
        buf_append_text(text, "; ");
        terminal_append(text, terminal, slice_from(finding->suggestion), false);
    }
    buf_append_byte(text, '\n');
}

static void findings_print(int fd, const struct manifest_findings *findings)
{
    struct terminal terminal = terminal_of(fd);
    struct buf text = BUF_INIT(4 * 1024 * 1024);
    for (size_t i = 0; i < findings->count; i++)
        finding_append(&findings->items[i], &terminal, &text);
    if (findings->is_truncated)
        buf_printf(&text, "… and more than %zu others\n", findings->count);
    (void)!file_write_all(fd, buf_slice(&text), NULL);
    buf_done(&text);
}

static void findings_print_json(const struct manifest_findings *findings, bool is_valid)
{
    struct buf text = BUF_INIT(4 * 1024 * 1024);
    struct json_writer writer = JSON_WRITER(&text);
    json_begin_object(&writer, NULL);
    json_write_boolean(&writer, "valid", is_valid);
    json_begin_array(&writer, "findings");
    for (size_t i = 0; i < findings->count; i++) {
        const struct manifest_finding *finding = &findings->items[i];
        json_begin_object(&writer, NULL);
        json_write_text(&writer, "level", level_words[finding->level]);
        json_write_text(&writer, "file", finding->file);
        json_write_integer(&writer, "line", finding->line);
        json_write_integer(&writer, "column", finding->column);
        json_write_text(&writer, "path", finding->path);
        json_write_text(&writer, "message", finding->message);
        json_write_text(&writer, "suggestion", finding->suggestion);
        json_end_object(&writer);
    }
    json_end_array(&writer);
    json_end_object(&writer);
    buf_append_byte(&text, '\n');
    print_buf(&text);
    buf_done(&text);
}

int folder_check(struct command *command, const char *directory, struct manifest **ret_manifest)
{
    struct manifest_findings findings = {0};
    struct error err = {0};
    int r = directory_check(directory, &err);
    if (r == 0)
        r = manifest_load(command->arena, directory, command_option(command, "environment"),
                          ret_manifest, &findings, &err);
    findings_print(STDERR_FILENO, &findings);
    if (r < 0) {
        if (r == ERR_INVALID && !err.hint[0])
            error_hint(&err,
                       "'slipway help validate'; the manual of the manifest: man slipway.yaml");
        print_failure(&err);
    }
    return r;
}

int verb_validate(struct command *command)
{
    const char *directory = directory_of(command);
    struct manifest_findings findings = {0};
    struct manifest *manifest;
    struct error err = {0};
    int r = directory_check(directory, &err);
    if (r < 0)
        return fail_with(&err);
    r = manifest_load(command->arena, directory, command_option(command, "environment"), &manifest,
                      &findings, &err);
    if (command_option(command, "json"))
        findings_print_json(&findings, r == 0);
    else
        findings_print(STDOUT_FILENO, &findings);
    if (r < 0) {
        print_failure(&err);
        return error_exit_status(r);
    }
    if (!command_option(command, "json"))
        printf("%s is valid: app %s, %zu service%s, %zu database%s\n", directory, manifest->app,
               manifest->service_count, manifest->service_count == 1 ? "" : "s",
               manifest->database_count, manifest->database_count == 1 ? "" : "s");
    return 0;
}

int verb_schema(struct command *command UNUSED)
{
    struct buf text = BUF_INIT(4 * 1024 * 1024);
    manifest_schema(&text);
    if (!slice_ends_with(buf_slice(&text), SLICE("\n")))
        buf_append_byte(&text, '\n');
    print_buf(&text);
    buf_done(&text);
    return 0;
}

int verb_init(struct command *command)
{
    const char *directory = directory_of(command);
    struct buf text = BUF_INIT(MANIFEST_BYTES_MAX);
    struct error err = {0};
    CLEANUP(fd_closep) int fd = -1;
    int r = directory_check(directory, &err);
    const char *path = path_join(command->arena, directory, MANIFEST_FILE);
    if (r == 0 && file_exists(path)) {
        error_set(&err, ERR_EXISTS, "'%s' is there already", path);
        r = error_hint(&err, "'slipway validate' checks it");
    }
    if (r == 0)
        r = manifest_detect(command->arena, directory, &text, &err);
    if (r == 0) {
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0)
            r = error_errno(&err, errno, "unable to write '%s'", path);
    }
    if (r == 0)
        r = file_write_all(fd, buf_slice(&text), &err);
    buf_done(&text);
    if (r < 0)
        return fail_with(&err);
    printf("wrote %s; look at it, then: slipway up\n", path);
    return 0;
}

/* ---- plan */

static void plan_append(const struct json *change, const struct terminal *terminal,
                        struct buf *text)
{
    static const struct {
        const char *kind, *sign;
        enum colour colour;
    } kinds[] = {
        {"add", "+", COLOUR_GREEN}, {"remove", "-", COLOUR_RED}, {"edit", "~", COLOUR_YELLOW}};
    const char *kind = json_get_text(change, "kind", "edit");
    const char *before = json_get_text(change, "before", NULL);
    const char *after = json_get_text(change, "after", NULL);
    size_t row = 2;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        row = strcmp(kinds[i].kind, kind) == 0 ? i : row;
    buf_printf(text, "%s%s ", colour_on(terminal, kinds[row].colour), kinds[row].sign);
    terminal_append(text, terminal, slice_from(json_get_text(change, "path", "?")), false);
    buf_append_text(text, colour_off(terminal));
    if (before || after)
        buf_append_text(text, ": ");
    if (before)
        terminal_append(text, terminal, slice_from(before), false);
    if (before && after)
        buf_append_text(text, " -> ");
    if (after)
        terminal_append(text, terminal, slice_from(after), false);
    buf_append_byte(text, '\n');
}

static void plan_print(const struct json *plan)
{
    struct terminal terminal = terminal_of(STDOUT_FILENO);
    struct buf text = BUF_INIT(16 * 1024 * 1024);
    const struct json *changes = json_get(plan, "changes");
    json_each (change, changes)
        plan_append(change, &terminal, &text);
    if (!changes || changes->count == 0)
        buf_append_text(
            &text,
            "the manifest changes nothing; a deploy would bring the source of this folder live\n");
    print_buf(&text);
    buf_done(&text);
}

int verb_plan(struct command *command)
{
    struct manifest *manifest;
    struct json *plan = NULL;
    struct slice text = {0};
    struct error err = {0};
    struct buf body = BUF_INIT(16 * 1024 * 1024);
    int r = folder_check(command, directory_of(command), &manifest);
    if (r < 0)
        return error_exit_status(r);
    struct buf resolved = BUF_INIT(8 * 1024 * 1024);
    struct json_writer writer = JSON_WRITER(&body);
    manifest_write_json(manifest, &resolved);
    json_begin_object(&writer, NULL);
    json_write_raw(&writer, "manifest", buf_slice(&resolved));
    json_write_text(&writer, "environment", command_option(command, "environment"));
    json_end_object(&writer);
    struct call call = {
        .method = "POST",
        .target = target_format(command, "/v1/apps/%s/plan", encoded(command, manifest->app)),
        .body = buf_slice(&body),
        .is_repeatable = true,
    };
    r = platform_call_json(command, &call, &text, &plan, &err);
    buf_done(&resolved);
    buf_done(&body);
    if (r < 0)
        return fail_with(&err);
    if (command_option(command, "json"))
        printf(SLICE_FORMAT "\n", SLICE_ARG(text));
    else
        plan_print(plan);
    return 0;
}
