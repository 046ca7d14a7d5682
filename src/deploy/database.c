#include "deploy/database.h"
#include "base/log.h"
#include "deploy/deploy.h"
#include "deploy/instance.h"
#include "os/file.h"
#include "os/memory.h"
#include "os/random.h"
#include <stdio.h>
#include <unistd.h>

#define DATABASE_ARENA_BYTES (256u * 1024)
#define PROBE_INTERVAL_MS    2000u
#define PROBE_TIMEOUT_MS     5000u
#define UNHEALTHY_AFTER      3u
#define RESUME_DELAY_MS      100u

/* A database is tried again for ever: nothing of the app works without it, and giving up helps
 * nobody. */
static const struct manifest_restart restart_policy = {
    .min_uptime_ms = 10000,
    .backoff_min_ms = 200,
    .backoff_max_ms = 30000,
    .max_restarts = UINT32_MAX,
};

enum database_event {
    EVENT_START,
    EVENT_CLAIMED,
    EVENT_REFUSED,
    EVENT_RUNNING,
    EVENT_EXITED,
    EVENT_GOOD,
    EVENT_BAD,
    EVENT_TIMER,
    EVENT_STOP,
    EVENT_COUNT
};

static void database_send(struct database *database, enum database_event event);

static const char *const state_names[] = {
#define X(state, name) [state] = name,
    DATABASE_STATES(X)
#undef X
};

const char *database_state_name(enum database_state state)
{
    assert(state < DATABASE_STATE_COUNT);
    return state_names[state];
}

struct database *database_find(const struct app *app, const char *name)
{
    list_each (node, &app->databases) {
        struct database *database = container_of(node, struct database, node);

        if (strcmp(database->name, name) == 0)
            return database;
    }
    return NULL;
}

bool database_is_down(const struct database *database)
{
    return database->unit.id == 0;
}

/* ---- the record */

static void database_write(struct database *database)
{
    struct app *app = database->app;
    const struct engine_config *config = &database->config;
    struct buf json = BUF_INIT(65536);
    struct json_writer writer = JSON_WRITER(&json);
    char key[NAMES_KEY_SIZE];

    json_begin_object(&writer, NULL);
    json_write_text(&writer, "type", database_type_name(config->type));
    json_write_integer(&writer, "version", config->version);
    json_write_integer(&writer, "port", config->port);
    json_write_integer(&writer, "max_memory_bytes", (int64_t)config->max_memory_bytes);
    json_write_text(&writer, "eviction", config->eviction);
    json_write_text(&writer, "password", config->password);
    json_write_text(&writer, "admin_password", config->admin_password);
    json_write_integer(&writer, "unit", (int64_t)database->unit.id);
    json_write_text(&writer, "state", state_names[database->state]);
    json_write_integer(&writer, "restarts", database->restarts);
    json_end_object(&writer);
    journal_put(&app->platform->journal,
                names_key(key, "/apps/%s/databases/%s", app->name, database->name),
                buf_slice(&json));
    buf_done(&json);
}

static void set_message(struct database *database, const char *format, ...) PRINTF_LIKE(2, 3);

static void set_message(struct database *database, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(database->message, sizeof(database->message), format, args);
    va_end(args);
}

static void set_state(struct database *database, enum database_state state)
{
    log_info("%s/%s: %s -> %s%s%s", database->app->name, database->name,
             state_names[database->state], state_names[state], database->message[0] ? ": " : "",
             database->message);
    database->state = state;
    database_write(database);
    deploy_database_changed(database->app);
}

static void timer_in(struct database *database, uint64_t ms)
{
    loop_timer_start_in(database->app->platform->loop, &database->timer, LOOP_MS(ms));
}

/* ---- its processes */

static void probe_stop(struct database *database)
{
    struct platform_port *port = database->app->platform->port;

    if (database->probe.driver)
        port->probe_stop(port, &database->probe);
}

static void probe_start(struct database *database)
{
    struct platform_port *port = database->app->platform->port;

    probe_stop(database);
    database->probe.kind = PROBE_ENGINE;
    database->probe.port = database->config.port;
    database->probe.engine = &database->config;
    database->probe.interval_ms = PROBE_INTERVAL_MS;
    database->probe.timeout_ms = PROBE_TIMEOUT_MS;
    database->probe.is_fast = database->state != DATABASE_READY;
    database->bad_count = 0;
    port->probe_start(port, &database->probe);
}

static void folder_claim(struct database *database)
{
    struct platform *platform = database->app->platform;
    char folder[NAMES_PATH_SIZE];

    names_path(folder, "data/%s", database->app->name);
    platform->port->make_directory(platform->port, folder, platform->settings.own_uid, 0711, false,
                                   NULL);
    names_path(folder, "data/%s/%s", database->app->name, database->name);
    platform->port->make_directory(platform->port, folder, database->app->data_uid, 0700, true,
                                   &database->folder);
}

static void folder_let_go(struct database *database)
{
    struct platform_port *port = database->app->platform->port;

    if (database->folder.driver)
        port->make_directory_stop(port, &database->folder);
}

static void unit_begin(struct database *database, const struct engine_unit *unit, const char *what)
{
    struct app *app = database->app;
    char label[NAMES_LABEL_SIZE], tag[NAMES_KEY_SIZE];
    CLEANUP(fd_closep) int stdin_fd = -1;
    struct error err = {0};

    if (unit->standard_input.ptr &&
        memory_sealed("standard input", unit->standard_input, &stdin_fd, &err) != 0)
        log_failure(&err, "database '%s'", database->name);
    if (stdin_fd >= 0)
        (void)lseek(stdin_fd, 0, SEEK_SET); /* the writer left it at the end */
    struct unit_spec spec = {
        .uid = app->data_uid,
        .gid = app->data_uid,
        .flags = unit->flags | (stdin_fd >= 0 ? KEEPER_SPAWN_STDIN : 0),
        .tag = names_key(tag, "%s/%s %s", app->name, database->name, what),
        .label = names_label(label, app->name, database->name, 0, database->name, "database"),
        .directory = unit->directory,
        .cgroup = database->name,
        .arguments = unit->arguments,
        .argument_count = unit->argument_count,
        .environment = unit->environment,
        .environment_count = unit->environment_count,
        .nofile_limit = unit->nofile_limit,
        .stdin_fd = stdin_fd,
    };
    database->stop_signal = unit->stop_signal;
    database->stop_grace_ms = unit->stop_grace_ms;
    platform_unit_start(app->platform, &database->unit, platform_unit_number(app->platform), &spec);
}

static void back_off(struct database *database, uint64_t uptime_ms)
{
    uint64_t delay_ms = restart_policy.backoff_max_ms;

    probe_stop(database);
    loop_timer_stop(&database->timer);
    platform_unit_release(database->app->platform, &database->unit);
    (void)restart_after_crash(&database->restart, &restart_policy, uptime_ms, &delay_ms);
    set_state(database, DATABASE_BACKOFF);
    timer_in(database, delay_ms);
}

static int find_programs(struct database *database, struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(DATABASE_ARENA_BYTES);
    struct engine_config *config = &database->config;
    const char *programs;
    unsigned version;
    int code = engine_find(arena, config->type, config->version, &version, &programs, err);

    if (code != 0)
        return code;
    config->version = version;
    if (!config->programs || strcmp(config->programs, programs) != 0)
        config->programs = arena_text(database->arena, programs);
    return 0;
}

/* The programs may be gone, the port taken: look again before each start. */
static int make_ready(struct database *database, struct error *err)
{
    struct engine_config *config = &database->config;
    struct platform *platform = database->app->platform;
    int code = find_programs(database, err);

    if (code != 0)
        return code;
    if (config->port == 0 || !platform->port->port_is_free(platform->port, config->port)) {
        config->port = 0;
        code = platform_port_take(platform, &config->port, err);
        if (code != 0)
            return code;
    }
    return engine_check(config, err);
}

static void fail_to_begin(struct database *database, const struct error *err)
{
    set_message(database, "%s%s%s", err->text, err->hint[0] ? "; hint: " : "", err->hint);
    back_off(database, 0);
}

static void do_claim(struct database *database)
{
    struct error err = {0};

    database->message[0] = 0;
    database->is_probe_good = false;
    if (make_ready(database, &err) != 0) {
        fail_to_begin(database, &err);
        return;
    }
    folder_claim(database);
    set_state(database, DATABASE_CLAIMING);
}

static void do_unclaimed(struct database *database)
{
    back_off(database, 0);
}

static void do_prepare(struct database *database)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(1024u * 1024);
    struct engine_unit unit = {0};
    struct error err = {0};

    if (engine_prepare_unit(arena, &database->config, &unit, &err) != 0) {
        fail_to_begin(database, &err);
        return;
    }
    unit_begin(database, &unit, "prepare");
    set_state(database, DATABASE_PREPARING);
    timer_in(database, ENGINE_PREPARE_TIMEOUT_MS);
}

static void do_run(struct database *database)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(1024u * 1024);
    struct engine_unit unit = {0};
    struct error err = {0};

    platform_unit_release(database->app->platform, &database->unit);
    if (engine_run_unit(arena, &database->config, &unit, &err) != 0) {
        set_message(database, "%s", err.text);
        back_off(database, 0);
        return;
    }
    database->spawned_at_us = loop_now_us(database->app->platform->loop);
    unit_begin(database, &unit, "server");
    set_state(database, DATABASE_STARTING);
    timer_in(database, ENGINE_START_TIMEOUT_MS);
}

static void note_end(struct database *database, const char *what)
{
    char words[UNIT_WORDS_SIZE];

    if (database->unit.refusal)
        set_message(database, "%s could not be started: %s", what, database->unit.refusal->text);
    else
        set_message(database, "%s %s", what, unit_exit_words(&database->unit.exit, 0, words));
    database->last_unit = database->unit.id;
}

static void do_prepared(struct database *database)
{
    if (!database->unit.refusal && unit_exit_is_success(&database->unit.exit)) {
        do_run(database);
        return;
    }
    note_end(database, "preparing its folder");
    back_off(database, 0);
}

static void do_crash(struct database *database)
{
    uint64_t now_us = loop_now_us(database->app->platform->loop);

    note_end(database, "the server");
    database->restarts++;
    back_off(database, (now_us - database->spawned_at_us) / 1000);
}

static void do_probe(struct database *database)
{
    probe_start(database);
}

static void do_good(struct database *database)
{
    database->bad_count = 0;
    if (database->state == DATABASE_READY)
        return;
    loop_timer_stop(&database->timer);
    database->message[0] = 0;
    database->is_probe_good = true;
    set_state(database, DATABASE_READY);
    probe_start(database);
    instances_wake(database->app);
}

static void do_bad(struct database *database)
{
    if (++database->bad_count < UNHEALTHY_AFTER)
        return;
    set_message(database, "%u probes in a row failed; the last: %s", database->bad_count,
                database->probe_text);
    set_state(database, DATABASE_UNHEALTHY);
}

static void do_timeout(struct database *database)
{
    set_message(database, "%s took too long; the last probe said: %s",
                database->state == DATABASE_PREPARING ? "preparing its folder" : "the start",
                database->probe_text[0] ? database->probe_text : "nothing");
    database->last_unit = database->unit.id;
    platform_unit_stop(database->app->platform, &database->unit, database->stop_signal,
                       database->stop_grace_ms);
    back_off(database, 0);
}

static void do_stop(struct database *database)
{
    probe_stop(database);
    folder_let_go(database);
    loop_timer_stop(&database->timer);
    database->message[0] = 0;
    if (database->unit.id == 0) {
        set_state(database, DATABASE_STOPPED);
        return;
    }
    platform_unit_stop(database->app->platform, &database->unit, database->stop_signal,
                       database->stop_grace_ms);
    set_state(database, DATABASE_STOPPING);
}

static void do_stopped(struct database *database)
{
    platform_unit_release(database->app->platform, &database->unit);
    set_state(database, DATABASE_STOPPED);
    if (database->is_wanted)
        database_send(database, EVENT_START);
}

static void (*const table[DATABASE_STATE_COUNT][EVENT_COUNT])(struct database *) = {
    [DATABASE_STOPPED] = {[EVENT_START] = do_claim},
    [DATABASE_CLAIMING] =
        {[EVENT_CLAIMED] = do_prepare, [EVENT_REFUSED] = do_unclaimed, [EVENT_STOP] = do_stop},
    [DATABASE_PREPARING] =
        {[EVENT_EXITED] = do_prepared, [EVENT_TIMER] = do_timeout, [EVENT_STOP] = do_stop},
    [DATABASE_STARTING] = {[EVENT_RUNNING] = do_probe,
                           [EVENT_EXITED] = do_crash,
                           [EVENT_GOOD] = do_good,
                           [EVENT_TIMER] = do_timeout,
                           [EVENT_STOP] = do_stop},
    [DATABASE_READY] = {[EVENT_EXITED] = do_crash,
                        [EVENT_GOOD] = do_good,
                        [EVENT_BAD] = do_bad,
                        [EVENT_STOP] = do_stop},
    [DATABASE_UNHEALTHY] =
        {[EVENT_EXITED] = do_crash, [EVENT_GOOD] = do_good, [EVENT_STOP] = do_stop},
    [DATABASE_BACKOFF] =
        {[EVENT_START] = do_claim, [EVENT_TIMER] = do_claim, [EVENT_STOP] = do_stop},
    [DATABASE_STOPPING] = {[EVENT_EXITED] = do_stopped},
};

static void database_send(struct database *database, enum database_event event)
{
    if (!database->app->platform->is_quitting && table[database->state][event])
        table[database->state][event](database);
}

/* ---- callbacks */

static void on_folder_made(struct directory_request *request, const struct error *err)
{
    struct database *database = container_of(request, struct database, folder);

    if (err)
        set_message(database, "its folder: %s", err->text);
    database_send(database, err ? EVENT_REFUSED : EVENT_CLAIMED);
}

static void on_unit_change(struct unit *unit)
{
    struct database *database = container_of(unit, struct database, unit);

    database_send(database, unit->state == UNIT_RUNNING ? EVENT_RUNNING : EVENT_EXITED);
}

static void on_probe_result(struct probe *probe, bool is_good, const char *text)
{
    struct database *database = container_of(probe, struct database, probe);

    (void)snprintf(database->probe_text, sizeof(database->probe_text), "%s", text);
    database_send(database, is_good ? EVENT_GOOD : EVENT_BAD);
}

static void on_timer(struct loop_timer *timer)
{
    database_send(container_of(timer, struct database, timer), EVENT_TIMER);
}

/* ---- life */

static struct database *database_new(struct app *app, const char *name)
{
    struct database *database = calloc(1, sizeof(*database));

    if (!database)
        abort();
    database->app = app;
    (void)snprintf(database->name, sizeof(database->name), "%s", name);
    database->arena = arena_new(DATABASE_ARENA_BYTES);
    database->config.app = app->name;
    database->config.name = database->name;
    database->config.folder = arena_printf(
        database->arena, "%s/data/%s/%s", app->platform->settings.state_directory, app->name, name);
    database->unit.on_change = on_unit_change;
    database->folder.on_made = on_folder_made;
    database->probe.on_result = on_probe_result;
    database->timer.on_timer = on_timer;
    database->stop_signal = SIGTERM;
    database->stop_grace_ms = 60000;
    list_push_back(&app->databases, &database->node);
    return database;
}

void database_free(struct database *database)
{
    probe_stop(database);
    folder_let_go(database);
    loop_timer_stop(&database->timer);
    list_remove(&database->node);
    unit_done(&database->unit);
    arena_free(database->arena);
    free(database);
}

static int database_make(struct app *app, const struct manifest_database *spec,
                         struct database **ret_database, struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(DATABASE_ARENA_BYTES);
    char token[ENGINE_PASSWORD_LEN + 1];
    const char *programs;
    unsigned version;
    int code = engine_find(arena, spec->type, spec->version, &version, &programs, err);

    if (code != 0)
        return code;
    struct database *database = database_new(app, spec->name);
    database->config.type = spec->type;
    database->config.version = version;
    database->config.password =
        arena_text(database->arena, random_token(token, ENGINE_PASSWORD_LEN));
    database->config.admin_password =
        arena_text(database->arena, random_token(token, ENGINE_PASSWORD_LEN));
    *ret_database = database;
    return 0;
}

int database_want(struct app *app, const struct manifest_database *spec, struct error *err)
{
    struct database *database = database_find(app, spec->name);
    int code = 0;

    if (!database)
        code = database_make(app, spec, &database, err);
    if (code != 0)
        return code;
    if (database->config.type != spec->type ||
        (spec->version && database->config.version && spec->version != database->config.version)) {
        error_set(err, ERR_CONFLICT, "database '%s' holds data of %s %u, not of %s %u", spec->name,
                  database_type_name(database->config.type), database->config.version,
                  database_type_name(spec->type), spec->version);
        return error_hint(err, "give the new database another name, and move the data over");
    }
    /* Takes effect at its next start: a running database is not restarted for it. */
    database->config.max_memory_bytes = spec->max_memory_bytes;
    if (spec->eviction &&
        (!database->config.eviction || strcmp(database->config.eviction, spec->eviction) != 0))
        database->config.eviction = arena_text(database->arena, spec->eviction);
    database->is_wanted = true;
    if (database->state == DATABASE_STOPPED)
        database_send(database, EVENT_START);
    return 0;
}

void database_unwant(struct database *database)
{
    if (!database->is_wanted && database->state == DATABASE_STOPPED)
        return;
    database->is_wanted = false;
    database_send(database, EVENT_STOP);
}

int database_load(struct app *app, const char *name, const struct json *json, struct error *err)
{
    const char *type = json_get_text(json, "type", "");
    const char *state = json_get_text(json, "state", "");

    if (!names_is_valid(name))
        return error_set(err, ERR_CORRUPT, "the record of a database has no valid name");
    struct database *database = database_new(app, name);
    struct engine_config *config = &database->config;
    bool is_known = false;

    for (unsigned i = DATABASE_POSTGRES; i <= DATABASE_SQLITE; i++)
        if (strcmp(database_type_name((enum database_type)i), type) == 0) {
            config->type = (enum database_type)i;
            is_known = true;
        }
    for (unsigned i = 0; i < DATABASE_STATE_COUNT; i++)
        if (strcmp(state_names[i], state) == 0)
            database->state = (enum database_state)i;
    if (!is_known)
        return error_set(err, ERR_CORRUPT, "the record of database '%s' has no known type", name);
    config->version = (unsigned)json_get_integer(json, "version", 0);
    config->port = (unsigned)json_get_integer(json, "port", 0);
    config->max_memory_bytes = (uint64_t)json_get_integer(json, "max_memory_bytes", 0);
    config->eviction = arena_text(database->arena, json_get_text(json, "eviction", NULL));
    config->password = arena_text(database->arena, json_get_text(json, "password", ""));
    config->admin_password = arena_text(database->arena, json_get_text(json, "admin_password", ""));
    database->restarts = (unsigned)json_get_integer(json, "restarts", 0);
    platform_unit_adopt(app->platform, &database->unit,
                        (uint64_t)json_get_integer(json, "unit", 0));
    return 0;
}

void database_resume(struct database *database)
{
    struct unit *unit = &database->unit;
    bool is_running = unit->is_reported && unit->state == UNIT_RUNNING;
    CLEANUP(arena_freep) struct arena *arena = arena_new(1024u * 1024);
    struct engine_unit described = {0};
    struct error err = {0};

    if (unit->id && !unit->is_reported) {
        unit->state = UNIT_EXITED;
        platform_unit_release(database->app->platform, unit);
    }
    if (unit->id == 0) {
        /* Wanted ones are asked for again by whoever wants them. */
        database->state = DATABASE_STOPPED;
        return;
    }
    /* How to stop it, should it come to that. */
    if (database->state != DATABASE_PREPARING && find_programs(database, &err) == 0 &&
        engine_run_unit(arena, &database->config, &described, &err) == 0) {
        database->stop_signal = described.stop_signal;
        database->stop_grace_ms = described.stop_grace_ms;
    }
    database->is_wanted = database->state != DATABASE_STOPPING;
    database->spawned_at_us = loop_now_us(database->app->platform->loop);
    if (!is_running) {
        database_send(database, EVENT_EXITED);
        return;
    }
    switch (database->state) {
    case DATABASE_PREPARING:
        timer_in(database, ENGINE_PREPARE_TIMEOUT_MS);
        break;
    case DATABASE_STARTING:
        timer_in(database, ENGINE_START_TIMEOUT_MS);
        probe_start(database);
        break;
    case DATABASE_READY:
    case DATABASE_UNHEALTHY:
        database->is_probe_good = true;
        probe_start(database);
        break;
    case DATABASE_STOPPING:
        do_stop(database);
        break;
    case DATABASE_STOPPED:
    case DATABASE_CLAIMING:
    case DATABASE_BACKOFF:
    case DATABASE_STATE_COUNT:
        /* A record of these states names no unit. */
        platform_unit_release(database->app->platform, unit);
        database->state = DATABASE_STOPPED;
        break;
    }
}
