/* status and ps: what runs now. */
#include "base/clock.h"
#include "cli/cli_private.h"
#include <unistd.h>

const char *cell_number(struct command *command, const struct json *number)
{
    if (!number || number->type != JSON_NUMBER)
        return NULL;
    return arena_printf(command->arena, "%lld", (long long)json_integer(number, 0));
}

const char *cell_release(struct command *command, const struct json *release)
{
    int64_t number = json_integer(release, 0);
    return number > 0 ? arena_printf(command->arena, "v%lld", (long long)number) : NULL;
}

static const char *cell_uptime(struct command *command, const struct json *instance)
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

static const char *cell_cpu(struct command *command, double seconds)
{
    if (seconds < 100)
        return arena_printf(command->arena, "%.1fs", seconds);
    return age_format(command->arena, (uint64_t)(seconds * 1e6));
}

/* ---- status */

struct service_sum {
    unsigned present, ready, wanted;
    int64_t restarts, in_flight, memory_bytes;
    double cpu_seconds;
    const char *worst; /* a state of a wanted instance that is not good */
};

static bool is_good(const char *state)
{
    return colour_of_state(state) == COLOUR_GREEN;
}

/* On its way out: its number does not count any more, what it uses does. */
static bool is_leaving(const char *state)
{
    return strcmp(state, "draining") == 0 || strcmp(state, "stopping") == 0 ||
           strcmp(state, "gone") == 0;
}

static struct service_sum service_sum(const struct json *service)
{
    struct service_sum sum = {0};
    json_each (instance, json_get(service, "instances")) {
        const char *state = json_get_text(instance, "state", "?");
        sum.present++;
        sum.ready += is_good(state);
        sum.wanted += !is_leaving(state);
        sum.restarts += json_get_integer(instance, "restarts", 0);
        sum.in_flight += json_get_integer(instance, "in_flight", 0);
        sum.memory_bytes += MAX(json_get_integer(instance, "memory_bytes", 0), (int64_t)0);
        sum.cpu_seconds += json_real(instance, "cpu_seconds");
        if (!is_good(state) && !is_leaving(state))
            sum.worst = state;
    }
    if (strcmp(json_get_text(service, "type", ""), "static") != 0)
        sum.wanted = (unsigned)json_get_integer(service, "wanted", sum.wanted);
    return sum;
}

static const char *service_state(const struct json *app, const struct json *service,
                                 const struct service_sum *sum)
{
    if (strcmp(json_get_text(service, "type", ""), "static") == 0)
        return json_get_integer(app, "release", 0) > 0 ? "ready" : "-";
    if (sum->worst)
        return sum->worst;
    if (sum->wanted == 0)
        return "scaled to 0";
    return sum->ready < sum->wanted ? "starting" : "ready";
}

static void status_service(struct command *command, const struct json *app,
                           const struct json *service, struct table *table)
{
    struct service_sum sum = service_sum(service);
    const char *state = service_state(app, service, &sum);
    bool has_instances = sum.present + sum.wanted > 0;
    struct table_cell cells[] = {
        {json_get_text(service, "service", "?"), COLOUR_NONE},
        {json_get_text(service, "type", "?"), COLOUR_NONE},
        {state, colour_of_state(state)},
        {has_instances ? arena_printf(command->arena, "%u/%u", sum.ready, sum.wanted) : NULL,
         sum.ready < sum.wanted ? COLOUR_YELLOW : COLOUR_NONE},
        {has_instances ? arena_printf(command->arena, "%lld", (long long)sum.restarts) : NULL,
         COLOUR_NONE},
        {has_instances ? cell_cpu(command, sum.cpu_seconds) : NULL, COLOUR_NONE},
        {has_instances ? size_format(command->arena, sum.memory_bytes) : NULL, COLOUR_NONE},
        {has_instances ? arena_printf(command->arena, "%lld", (long long)sum.in_flight) : NULL,
         COLOUR_NONE},
    };
    table_add(table, cells);
}

static void status_database(struct command *command, const struct json *database,
                            struct table *table)
{
    const char *state = json_get_text(database, "state", "?");
    struct table_cell cells[] = {
        {json_get_text(database, "database", "?"), COLOUR_NONE},
        {json_get_text(database, "type", "?"), COLOUR_NONE},
        {state, colour_of_state(state)},
        {arena_printf(command->arena, "%u/1", (unsigned)is_good(state)), COLOUR_NONE},
        {cell_number(command, json_get(database, "restarts")), COLOUR_NONE},
        {cell_cpu(command, json_real(database, "cpu_seconds")), COLOUR_NONE},
        {size_format(command->arena, json_get_integer(database, "memory_bytes", -1)), COLOUR_NONE},
        {NULL, COLOUR_NONE},
    };
    table_add(table, cells);
}

/* The end of a line that says a state. */
static void end_with_reason(const char *reason, const struct terminal *terminal, struct buf *text)
{
    if (reason && reason[0]) {
        buf_append_text(text, ": ");
        terminal_append(text, terminal, slice_from(reason), false);
    }
    buf_append_byte(text, '\n');
}

/* The deploy that goes on, or how the last one failed. */
static void status_deploy(struct command *command, const struct json *app,
                          const struct terminal *terminal, struct buf *text)
{
    const struct json *deploy = json_get(app, "deploy");
    const char *state = json_get_text(deploy, "state", ""),
               *kind = json_get_text(deploy, "kind", "");
    const char *reason = json_get_text(deploy, "reason", NULL);
    const char *release = cell_release(command, json_get(deploy, "release"));
    bool has_ended = json_get_text(deploy, "ended_at", NULL) != NULL;
    if (!deploy || deploy->type != JSON_OBJECT || (has_ended && is_good(state)))
        return;
    buf_printf(text, "  %s %lld%s%s: %s%s%s", kind,
               (long long)json_get_integer(deploy, "deploy", 0), release ? " of " : "",
               release ? release : "", colour_on(terminal, colour_of_state(state)), state,
               colour_off(terminal));
    end_with_reason(reason, terminal, text);
}

static void status_app(struct command *command, const struct json *app,
                       const struct terminal *terminal, struct buf *text)
{
    static const char *const headers[] = {"SERVICE",   "TYPE", "STATE",   ">INSTANCES",
                                          ">RESTARTS", ">CPU", ">MEMORY", ">IN FLIGHT"};
    const char *state = json_get_text(app, "state", "?");
    const char *reason = json_get_text(app, "reason", NULL);
    const char *release = cell_release(command, json_get(app, "release"));
    struct table table;
    buf_printf(text, "\n%s%s%s%s%s  %s%s%s", colour_on(terminal, COLOUR_BOLD),
               json_get_text(app, "app", "?"), colour_off(terminal), release ? "  " : "",
               release ? release : "", colour_on(terminal, colour_of_state(state)), state,
               colour_off(terminal));
    end_with_reason(reason, terminal, text);
    status_deploy(command, app, terminal, text);
    table_init(&table, command->arena, headers, ARRAY_LEN(headers));
    table.indent = 2;
    json_each (service, json_get(app, "services"))
        status_service(command, app, service, &table);
    json_each (database, json_get(app, "databases"))
        status_database(command, database, &table);
    if (table.row_count)
        table_write(&table, terminal, text);
}

/* One that is under way, and why the last one failed. */
static void status_upgrade(const struct json *upgrade, const struct terminal *terminal,
                           struct buf *text)
{
    const char *state = json_get_text(upgrade, "state", "none"),
               *verb = json_get_boolean(upgrade, "is_downgrade", false) ? "downgrade" : "upgrade",
               *to = json_get_text(upgrade, "to", NULL),
               *step = json_get_text(upgrade, "step", NULL);
    if (strcmp(state, "none") == 0 || strcmp(state, "done") == 0)
        return;
    buf_printf(text, "%s%s%s: %s%s%s%s%s", verb, to ? " to " : "", to ? to : "",
               colour_on(terminal, COLOUR_YELLOW), state, colour_off(terminal), step ? ", " : "",
               step ? step : "");
    end_with_reason(json_get_text(upgrade, "reason", NULL), terminal, text);
}

static void status_platform(const struct json *status, const struct terminal *terminal,
                            struct buf *text)
{
    bool is_first = true;
    buf_printf(text, "slipway %s", json_get_text(status, "version", "?"));
    if (json_get_integer(status, "http_port", 0) > 0)
        buf_printf(text, "  http port %lld", (long long)json_get_integer(status, "http_port", 0));
    if (json_get_integer(status, "https_port", 0) > 0)
        buf_printf(text, "  https port %lld", (long long)json_get_integer(status, "https_port", 0));
    buf_append_text(text, "  state ");
    terminal_append(text, terminal, slice_from(json_get_text(status, "state_directory", "?")),
                    false);
    buf_append_text(text, colour_on(terminal, COLOUR_DIM));
    json_each (role, json_get(status, "roles")) {
        buf_printf(text, "%s%s %lld", is_first ? "\n" : ", ", json_get_text(role, "role", "?"),
                   (long long)json_get_integer(role, "pid", 0));
        if (strcmp(json_get_text(role, "state", ""), "draining") == 0)
            buf_append_text(text, " (draining)");
        is_first = false;
        if (json_get_integer(role, "restarts", 0) > 0)
            buf_printf(text, " (%lld restarts)", (long long)json_get_integer(role, "restarts", 0));
    }
    buf_printf(text, "%s\n", colour_off(terminal));
    status_upgrade(json_get(status, "upgrade"), terminal, text);
}

/* Hosts that are not served as they should be, and why. */
static void status_certificates(const struct json *certificates, const struct terminal *terminal,
                                struct buf *text)
{
    const struct json *problems = json_get(certificates, "problems");
    if (problems && problems->count)
        buf_append_byte(text, '\n');
    json_each (problem, problems) {
        const char *name = manifest_host_text(json_get_text(problem, "name", "")),
                   *state = json_get_text(problem, "state", "?");
        buf_printf(text, "certificate of %s: %s%s%s", name, colour_on(terminal, COLOUR_YELLOW),
                   state, colour_off(terminal));
        end_with_reason(json_get_text(problem, "reason", NULL), terminal, text);
    }
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
    struct json *status = NULL;
    struct slice answer = {0};
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
        status_certificates(json_get(status, "certificates"), &terminal, &text);
        if (!apps || apps->count == 0)
            buf_append_text(&text, "\nno app yet; 'slipway deploy DIR' brings one live\n");
    }
    print_buf(&text);
    buf_done(&text);
    return 0;
}

/* ---- ps */

static void ps_write_row(const struct json *app, const char *service, const char *type,
                         const char *id, const struct json *row, struct json_writer *writer)
{
    static const char *const own[] = {"app", "service", "type", "id", "database"};
    json_begin_object(writer, NULL);
    json_write_text(writer, "app", json_get_text(app, "app", NULL));
    json_write_text(writer, "service", service);
    json_write_text(writer, "type", type);
    json_write_text(writer, "id", id);
    json_each (member, row) {
        bool is_written = false;
        for (size_t i = 0; i < ARRAY_LEN(own); i++)
            is_written |= slice_eq(member->key, slice_from(own[i]));
        if (!is_written)
            json_write_tree(writer, member->key.ptr, member);
    }
    json_end_object(writer);
}

static void ps_json(const struct json *status, struct buf *text)
{
    struct json_writer writer = JSON_WRITER(text);
    json_begin_object(&writer, NULL);
    json_begin_array(&writer, "instances");
    json_each (app, json_get(status, "apps")) {
        json_each (service, json_get(app, "services")) {
            json_each (instance, json_get(service, "instances"))
                ps_write_row(app, json_get_text(service, "service", NULL),
                             json_get_text(service, "type", NULL),
                             json_get_text(instance, "id", NULL), instance, &writer);
        }
        json_each (database, json_get(app, "databases")) {
            const char *name = json_get_text(database, "database", NULL);
            ps_write_row(app, name, json_get_text(database, "type", NULL), name, database, &writer);
        }
    }
    json_end_array(&writer);
    json_end_object(&writer);
    buf_append_byte(text, '\n');
}

/* `row` is an instance or a database. */
static void ps_row(struct command *command, const char *app, const char *id, const struct json *row,
                   struct table *table)
{
    const char *state = json_get_text(row, "state", "?");
    struct table_cell cells[] = {
        {app ? arena_printf(command->arena, "%s/%s", app, id) : id, COLOUR_NONE},
        {state, colour_of_state(state)},
        {cell_number(command, json_get(row, "pid")), COLOUR_NONE},
        {cell_number(command, json_get(row, "port")), COLOUR_NONE},
        {cell_release(command, json_get(row, "release")), COLOUR_NONE},
        {cell_uptime(command, row), COLOUR_NONE},
        {cell_number(command, json_get(row, "restarts")),
         json_get_integer(row, "restarts", 0) > 0 ? COLOUR_YELLOW : COLOUR_NONE},
        {cell_cpu(command, json_real(row, "cpu_seconds")), COLOUR_NONE},
        {size_format(command->arena, json_get_integer(row, "memory_bytes", -1)), COLOUR_NONE},
        {cell_number(command, json_get(row, "in_flight")), COLOUR_NONE},
    };
    table_add(table, cells);
}

static void ps_table(struct command *command, const struct json *status, struct buf *text)
{
    static const char *const headers[] = {"INSTANCE", "STATE",     ">PID", ">PORT", ">RELEASE",
                                          ">UP",      ">RESTARTS", ">CPU", ">MEM",  ">FLIGHT"};
    struct terminal terminal = terminal_of(STDOUT_FILENO);
    const struct json *apps = json_get(status, "apps");
    struct table table;
    table_init(&table, command->arena, headers, ARRAY_LEN(headers));
    json_each (app, apps) {
        const char *name = apps->count > 1 ? json_get_text(app, "app", "?") : NULL;
        json_each (service, json_get(app, "services")) {
            json_each (instance, json_get(service, "instances"))
                ps_row(command, name, json_get_text(instance, "id", "?"), instance, &table);
        }
        json_each (database, json_get(app, "databases"))
            ps_row(command, name, json_get_text(database, "database", "?"), database, &table);
    }
    if (table.row_count)
        table_write(&table, &terminal, text);
    else
        buf_append_text(text, "no instances\n");
}

int verb_ps(struct command *command)
{
    struct buf text = BUF_INIT(64 * 1024 * 1024);
    struct json *status = NULL;
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
