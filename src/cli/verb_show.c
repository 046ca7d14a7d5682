/* The verbs that only look at what was: releases, trash, version. */
#include "base/version.h"
#include "cli/cli_private.h"
#include <unistd.h>

/* ---- releases */

static void releases_table(struct command *command, const struct json *answer, uint64_t most,
                           struct buf *text)
{
    static const char *const headers[] = {">RELEASE", "STATE", "CREATED", ">TOOK", "KIND",
                                          "COMMIT",   "KEPT",  "WHO",     "REASON"};
    struct terminal terminal = terminal_of(STDOUT_FILENO);
    struct table table;
    table_init(&table, command->arena, headers, ARRAY_LEN(headers));
    json_each (release, json_get(answer, "releases")) {
        if (table.row_count == most)
            break;
        const char *state = json_get_text(release, "state", "?");
        const char *commit = json_get_text(release, "commit", NULL);
        bool is_dirty = commit && slice_ends_with(slice_from(commit), SLICE("-dirty"));
        int64_t took_ms = json_get_integer(release, "duration_ms", -1);
        struct table_cell cells[] = {
            {cell_release(command, json_get(release, "release")), COLOUR_NONE},
            {state, colour_of_state(state)},
            {time_ago(command->arena, json_get_text(release, "created_at", NULL)), COLOUR_NONE},
            {took_ms >= 0 ? duration_format(command->arena, (uint64_t)took_ms * 1000) : NULL,
             COLOUR_NONE},
            {json_get_text(release, "kind", NULL), COLOUR_NONE},
            {commit && commit[0]
                 ? arena_printf(command->arena, "%.7s%s", commit, is_dirty ? "+" : "")
                 : NULL,
             COLOUR_NONE},
            {json_get_boolean(release, "is_kept", false) ? "yes" : "no", COLOUR_NONE},
            {json_get_text(release, "who", NULL), COLOUR_NONE},
            {json_get_text(release, "reason", NULL), COLOUR_NONE},
        };
        table_add(&table, cells);
    }
    if (table.row_count)
        table_write(&table, &terminal, text);
    else
        buf_append_text(text, "no releases\n");
}

int verb_releases(struct command *command)
{
    struct buf text = BUF_INIT(64 * 1024 * 1024);
    struct json *answer = NULL;
    struct slice raw = {0};
    struct error err = {0};
    const char *app;
    uint64_t most;
    int r = command_number(command, "lines", UINT32_MAX, UINT32_MAX, &most, &err);
    if (r == 0)
        r = command_app(command, command_argument(command, 0), &app, &err);
    if (r == 0) {
        struct call call = {
            .method = "GET",
            .target = target_format(command, "/v1/apps/%s/releases", encoded(command, app)),
            .is_repeatable = true};
        r = platform_call_json(command, &call, &raw, &answer, &err);
    }
    if (r < 0)
        return fail_with(&err);
    if (!command_option(command, "json")) {
        releases_table(command, answer, most, &text);
    } else {
        buf_append_slice(&text, raw);
        buf_append_byte(&text, '\n');
    }
    print_buf(&text);
    buf_done(&text);
    return 0;
}

/* ---- trash */

static int trash_list(struct command *command)
{
    static const char *const headers[] = {"ID", "APP", "REMOVED", ">SIZE", ">RELEASES"};
    struct terminal terminal = terminal_of(STDOUT_FILENO);
    struct call call = {.method = "GET", .target = "/v1/trash", .is_repeatable = true};
    struct buf text = BUF_INIT(16 * 1024 * 1024);
    struct table table;
    struct json *answer = NULL;
    struct slice raw = {0};
    struct error err = {0};
    if (platform_call_json(command, &call, &raw, &answer, &err) < 0)
        return fail_with(&err);
    table_init(&table, command->arena, headers, ARRAY_LEN(headers));
    json_each (item, json_get(answer, "trash")) {
        struct table_cell cells[] = {
            {json_get_text(item, "id", "?"), COLOUR_NONE},
            {json_get_text(item, "app", "?"), COLOUR_NONE},
            {time_ago(command->arena, json_get_text(item, "removed_at", NULL)), COLOUR_NONE},
            {size_format(command->arena, json_get_integer(item, "bytes", -1)), COLOUR_NONE},
            {cell_number(command, json_get(item, "releases")), COLOUR_NONE},
        };
        table_add(&table, cells);
    }
    if (command_option(command, "json")) {
        buf_append_slice(&text, raw);
        buf_append_byte(&text, '\n');
    } else if (table.row_count) {
        table_write(&table, &terminal, &text);
    } else {
        buf_append_text(&text, "the trash is empty\n");
    }
    print_buf(&text);
    buf_done(&text);
    return 0;
}

int verb_trash(struct command *command)
{
    const char *what = command_argument(command, 0), *id = command_argument(command, 1);
    struct error err = {0};
    if (!what || (strcmp(what, "list") == 0 && !id))
        return trash_list(command);
    if (strcmp(what, "restore") != 0 || !id) {
        error_set(&err, ERR_USAGE, "trash knows 'list' and 'restore ID'");
        error_hint(&err, "'slipway trash' lists what can be restored");
        return fail_with(&err);
    }
    struct call call = {.method = "POST",
                        .target =
                            target_format(command, "/v1/trash/%s/restore", encoded(command, id))};
    return change_and_watch(command, &call);
}

/* ---- version */

int verb_version(struct command *command)
{
    struct call call = {.method = "GET", .target = "/v1/version", .is_repeatable = true};
    struct json *answer = NULL;
    const char *platform = NULL;
    struct error err = {0};
    if (platform_is_there(command->state_directory) &&
        platform_call_json(command, &call, NULL, &answer, &err) == 0)
        platform = json_get_text(answer, "version", NULL);
    const char *keeper = json_get_text(answer, "keeper", NULL),
               *before = json_get_text(answer, "before", NULL);
    if (command_option(command, "json")) {
        struct buf text = BUF_INIT(4096);
        struct json_writer writer = JSON_WRITER(&text);
        json_begin_object(&writer, NULL);
        json_write_text(&writer, "version", slipway_version);
        json_write_text(&writer, "platform", platform);
        json_write_text(&writer, "keeper", keeper);
        json_write_text(&writer, "before", before);
        json_end_object(&writer);
        buf_append_byte(&text, '\n');
        print_buf(&text);
        buf_done(&text);
        return 0;
    }
    printf("slipway %s\n", slipway_version);
    if (platform && strcmp(platform, slipway_version) != 0)
        printf("the platform at '%s' runs %s\n", command->state_directory, platform);
    return 0;
}
