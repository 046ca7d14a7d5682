/* The verbs that only look: status, ps, releases, trash, version. */
#include "base/clock.h"
#include "cli/cli_private.h"
#include <unistd.h>

static const char *number_cell(struct command *command, const struct json *number)
{
    if (!number || number->type != JSON_NUMBER)
        return NULL;
    return arena_printf(command->arena, "%lld", (long long)json_integer(number, 0));
}

static const char *release_cell(struct command *command, const struct json *release)
{
    int64_t number = json_integer(release, 0);
    return number > 0 ? arena_printf(command->arena, "v%lld", (long long)number) : NULL;
}

static const char *uptime_cell(struct command *command, const struct json *instance)
{
    uint64_t at_us, now_us = clock_wall_us();
    const char *text = json_get_text(instance, "started_at", NULL);
    if (!text || clock_parse(text, &at_us) < 0 || json_get_integer(instance, "pid", 0) <= 0)
        return NULL;
    return age_format(command->arena, now_us > at_us ? now_us - at_us : 0);
}

static double json_real(const struct json *object, const char *key)
{
    const struct json *number = json_get(object, key);
    return number && number->type == JSON_NUMBER ? number->number : 0;
}

static const char *cpu_cell(struct command *command, double seconds)
{
    if (seconds < 100)
        return arena_printf(command->arena, "%.1fs", seconds);
    return age_format(command->arena, (uint64_t)(seconds * 1e6));
}

/* ---- status */

struct service_sum {
    unsigned wanted, healthy;
    int64_t restarts, in_flight, memory_bytes;
    double cpu_seconds;
    const char *worst; /* a state that is not healthy */
};

static bool is_good(const char *state)
{
    return colour_of_state(state) == COLOUR_GREEN;
}

static struct service_sum service_sum(const struct json *service)
{
    struct service_sum sum = {0};
    json_each (instance, json_get(service, "instances")) {
        const char *state = json_get_text(instance, "state", "?");
        sum.wanted++;
        sum.healthy += is_good(state);
        sum.restarts += json_get_integer(instance, "restarts", 0);
        sum.in_flight += json_get_integer(instance, "in_flight", 0);
        sum.memory_bytes += json_get_integer(instance, "memory_bytes", 0);
        sum.cpu_seconds += json_real(instance, "cpu_seconds");
        if (!is_good(state))
            sum.worst = state;
    }
    return sum;
}

static void status_app(struct command *command, const struct json *app,
                       const struct terminal *terminal, struct buf *text)
{
    static const char *const headers[] = {"SERVICE",   "TYPE", "STATE",   ">INSTANCES",
                                          ">RESTARTS", ">CPU", ">MEMORY", ">IN FLIGHT"};
    const char *state = json_get_text(app, "state", "?"),
               *reason = json_get_text(app, "reason", NULL);
    const char *release = release_cell(command, json_get(app, "release"));
    struct table table;
    buf_printf(text, "\n%s%s%s%s%s  %s%s%s", colour_on(terminal, COLOUR_BOLD),
               json_get_text(app, "app", "?"), colour_off(terminal), release ? "  " : "",
               release ? release : "", colour_on(terminal, colour_of_state(state)), state,
               colour_off(terminal));
    if (reason && reason[0]) {
        buf_append_text(text, "  ");
        terminal_append(text, terminal, slice_from(reason), false);
    }
    buf_append_byte(text, '\n');
    table_init(&table, command->arena, headers, ARRAY_LEN(headers));
    table.indent = 2;
    json_each (service, json_get(app, "services")) {
        struct service_sum sum = service_sum(service);
        bool has_instances = sum.wanted > 0;
        const char *summary = json_get_text(service, "state", NULL);
        if (!summary)
            summary = sum.worst ? sum.worst : has_instances ? "healthy" : "-";
        struct table_cell cells[] = {
            {json_get_text(service, "service", "?"), COLOUR_NONE},
            {json_get_text(service, "type", "?"), COLOUR_NONE},
            {summary, colour_of_state(summary)},
            {has_instances ? arena_printf(command->arena, "%u/%u", sum.healthy, sum.wanted) : NULL,
             sum.healthy < sum.wanted ? COLOUR_YELLOW : COLOUR_NONE},
            {has_instances ? arena_printf(command->arena, "%lld", (long long)sum.restarts) : NULL,
             COLOUR_NONE},
            {has_instances ? cpu_cell(command, sum.cpu_seconds) : NULL, COLOUR_NONE},
            {has_instances ? size_format(command->arena, sum.memory_bytes) : NULL, COLOUR_NONE},
            {has_instances ? arena_printf(command->arena, "%lld", (long long)sum.in_flight) : NULL,
             COLOUR_NONE},
        };
        table_add(&table, cells);
    }
    if (table.row_count)
        table_write(&table, terminal, text);
}

static void status_platform(const struct json *status, const struct terminal *terminal,
                            struct buf *text)
{
    bool is_first = true;
    buf_printf(text, "slipway %s", json_get_text(status, "version", "?"));
    if (json_get_integer(status, "http_port", 0) > 0)
        buf_printf(text, "  http port %lld", (long long)json_get_integer(status, "http_port", 0));
    buf_append_text(text, "  state ");
    terminal_append(text, terminal, slice_from(json_get_text(status, "state_directory", "?")),
                    false);
    buf_append_text(text, colour_on(terminal, COLOUR_DIM));
    json_each (role, json_get(status, "roles")) {
        buf_printf(text, "%s%s %lld", is_first ? "\n" : ", ", json_get_text(role, "role", "?"),
                   (long long)json_get_integer(role, "pid", 0));
        is_first = false;
        if (json_get_integer(role, "restarts", 0) > 0)
            buf_printf(text, " (%lld restarts)", (long long)json_get_integer(role, "restarts", 0));
    }
    buf_printf(text, "%s\n", colour_off(terminal));
}

/* Status of one app, or of all. */
static int status_get(struct command *command, struct slice *ret_text, struct json **ret_status,
                      struct error *err)
{
    const char *app = command_argument(command, 0);
    struct call call = {.method = "GET", .target = "/v1/status", .is_repeatable = true};
    if (app)
        call.target = target_format(command, "/v1/status?app=%s", encoded(command, app));
    return platform_call_json(command, &call, ret_text, ret_status, err);
}

int verb_status(struct command *command)
{
    struct terminal terminal = terminal_of(STDOUT_FILENO);
    struct buf text = BUF_INIT(64 * 1024 * 1024);
    struct json *status;
    struct slice answer;
    struct error err = {0};
    if (status_get(command, &answer, &status, &err) < 0)
        return fail_with(&err);
    if (command_option(command, "json")) {
        buf_append_slice(&text, answer);
        buf_append_byte(&text, '\n');
    } else {
        const struct json *apps = json_get(status, "apps");
        if (!command_argument(command, 0))
            status_platform(status, &terminal, &text);
        json_each (app, apps)
            status_app(command, app, &terminal, &text);
        if (!apps || apps->count == 0)
            buf_append_text(&text, "\nno app yet; 'slipway deploy DIR' brings one live\n");
    }
    print_buf(&text);
    buf_done(&text);
    return 0;
}

/* ---- ps */

static void ps_json(const struct json *status, struct buf *text)
{
    struct json_writer writer = JSON_WRITER(text);
    json_begin_object(&writer, NULL);
    json_begin_array(&writer, "instances");
    json_each (app, json_get(status, "apps")) {
        json_each (service, json_get(app, "services")) {
            json_each (instance, json_get(service, "instances")) {
                json_begin_object(&writer, NULL);
                json_write_text(&writer, "app", json_get_text(app, "app", NULL));
                json_write_text(&writer, "service", json_get_text(service, "service", NULL));
                json_write_text(&writer, "type", json_get_text(service, "type", NULL));
                json_each (member, instance) {
                    bool is_ours = slice_eq(member->key, SLICE("app")) ||
                                   slice_eq(member->key, SLICE("service")) ||
                                   slice_eq(member->key, SLICE("type"));
                    if (!is_ours)
                        json_write_tree(&writer, member->key.ptr, member);
                }
                json_end_object(&writer);
            }
        }
    }
    json_end_array(&writer);
    json_end_object(&writer);
    buf_append_byte(text, '\n');
}

static void ps_table(struct command *command, const struct json *status, struct buf *text)
{
    static const char *const headers[] = {"INSTANCE", "STATE",     ">PID", ">PORT", ">RELEASE",
                                          ">UP",      ">RESTARTS", ">CPU", ">MEM",  ">FLIGHT"};
    struct terminal terminal = terminal_of(STDOUT_FILENO);
    const struct json *apps = json_get(status, "apps");
    struct table table;
    bool has_several = apps && apps->count > 1;
    table_init(&table, command->arena, headers, ARRAY_LEN(headers));
    json_each (app, apps) {
        const char *name = json_get_text(app, "app", "?");
        json_each (service, json_get(app, "services")) {
            json_each (instance, json_get(service, "instances")) {
                const char *id = json_get_text(instance, "id", "?");
                const char *state = json_get_text(instance, "state", "?");
                struct table_cell cells[] = {
                    {has_several ? arena_printf(command->arena, "%s/%s", name, id) : id,
                     COLOUR_NONE},
                    {state, colour_of_state(state)},
                    {number_cell(command, json_get(instance, "pid")), COLOUR_NONE},
                    {number_cell(command, json_get(instance, "port")), COLOUR_NONE},
                    {release_cell(command, json_get(instance, "release")), COLOUR_NONE},
                    {uptime_cell(command, instance), COLOUR_NONE},
                    {number_cell(command, json_get(instance, "restarts")),
                     json_get_integer(instance, "restarts", 0) > 0 ? COLOUR_YELLOW : COLOUR_NONE},
                    {cpu_cell(command, json_real(instance, "cpu_seconds")), COLOUR_NONE},
                    {size_format(command->arena, json_get_integer(instance, "memory_bytes", -1)),
                     COLOUR_NONE},
                    {number_cell(command, json_get(instance, "in_flight")), COLOUR_NONE},
                };
                table_add(&table, cells);
            }
        }
    }
    if (table.row_count)
        table_write(&table, &terminal, text);
    else
        buf_append_text(text, "no instances\n");
}

int verb_ps(struct command *command)
{
    struct buf text = BUF_INIT(64 * 1024 * 1024);
    struct json *status;
    struct error err = {0};
    if (status_get(command, NULL, &status, &err) < 0)
        return fail_with(&err);
    if (command_option(command, "json"))
        ps_json(status, &text);
    else
        ps_table(command, status, &text);
    print_buf(&text);
    buf_done(&text);
    return 0;
}

/* ---- releases */

static void releases_table(struct command *command, const struct json *answer, uint64_t most,
                           struct buf *text)
{
    static const char *const headers[] = {">RELEASE", "STATE",  "CREATED", ">TOOK",
                                          "KIND",     "COMMIT", "WHO",     "REASON"};
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
            {release_cell(command, json_get(release, "release")), COLOUR_NONE},
            {state, colour_of_state(state)},
            {time_ago(command->arena, json_get_text(release, "created_at", NULL)), COLOUR_NONE},
            {took_ms >= 0 ? duration_format(command->arena, (uint64_t)took_ms * 1000) : NULL,
             COLOUR_NONE},
            {json_get_text(release, "kind", NULL), COLOUR_NONE},
            {commit && commit[0]
                 ? arena_printf(command->arena, "%.7s%s", commit, is_dirty ? "+" : "")
                 : NULL,
             COLOUR_NONE},
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
    struct json *answer;
    struct slice raw;
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
    struct json *answer;
    struct slice raw;
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
            {number_cell(command, json_get(item, "releases")), COLOUR_NONE},
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
    struct json *answer;
    const char *platform = NULL;
    struct error err = {0};
    if (platform_is_there(command->state_directory) &&
        platform_call_json(command, &call, NULL, &answer, &err) == 0)
        platform = json_get_text(answer, "version", NULL);
    if (command_option(command, "json")) {
        struct buf text = BUF_INIT(4096);
        struct json_writer writer = JSON_WRITER(&text);
        json_begin_object(&writer, NULL);
        json_write_text(&writer, "version", SLIPWAY_VERSION);
        json_write_text(&writer, "platform", platform);
        json_end_object(&writer);
        buf_append_byte(&text, '\n');
        print_buf(&text);
        buf_done(&text);
        return 0;
    }
    printf("slipway " SLIPWAY_VERSION "\n");
    if (platform && strcmp(platform, SLIPWAY_VERSION) != 0)
        printf("the platform at '%s' runs %s\n", command->state_directory, platform);
    return 0;
}
