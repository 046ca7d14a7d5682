#include "deploy/platform.h"
#include "base/log.h"
#include "deploy/app.h"
#include "deploy/ballast.h"
#include "deploy/chore.h"
#include "deploy/database.h"
#include "deploy/deploy.h"
#include "deploy/instance.h"
#include "deploy/routes.h"
#include "os/random.h"
#include <stdio.h>

#define COMMIT_RETRY_MS 500u

static void on_turn_end(struct loop_deferred *deferred)
{
    struct platform *platform = container_of(deferred, struct platform, turn_end);

    platform_flush(platform);
}

static void on_retry(struct loop_timer *timer)
{
    struct platform *platform = container_of(timer, struct platform, retry);

    platform_flush(platform);
}

static void on_journal_dirty(struct journal *journal)
{
    struct platform *platform = container_of(journal, struct platform, journal);

    loop_defer(platform->loop, &platform->turn_end);
}

/* Names of the apps in the store, each once. */
static int load_apps(struct platform *platform, struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(256u * 1024 * 1024);
    struct store_entry *entries;
    size_t count;
    int code = store_range(platform->store, "/apps/", 0, arena, &entries, &count, err);

    if (code != 0)
        return code;
    for (size_t i = 0; i < count; i++) {
        struct slice rest = slice_sub(entries[i].key, strlen("/apps/"), SIZE_MAX);
        struct slice name = slice_cut(&rest, '/');
        char text[NAMES_NAME_SIZE];

        if (name.len == 0 || name.len >= sizeof(text))
            return error_set(err, ERR_CORRUPT, "the store holds an app without a valid name");
        memcpy(text, name.ptr, name.len);
        text[name.len] = 0;
        if (platform_app_find(platform, text))
            continue;
        code = app_load(app_new(platform, text), err);
        if (code != 0)
            return error_wrap(err, "unable to load app '%s'", text);
    }
    return 0;
}

int platform_new(struct loop *loop, struct store *store, struct platform_port *port,
                 const struct platform_settings *settings, struct platform **ret_platform,
                 struct error *err)
{
    struct platform *platform = calloc(1, sizeof(*platform));

    if (!platform)
        abort();
    platform->loop = loop;
    platform->store = store;
    platform->port = port;
    platform->settings = *settings;
    platform->settings.state_directory = strdup(settings->state_directory);
    platform->settings.notify_socket =
        strdup(settings->notify_socket ? settings->notify_socket : "");
    platform->settings.unit_path = strdup(settings->unit_path);
    list_init(&platform->apps);
    list_init(&platform->removed);
    list_init(&platform->chores);
    platform->units = map_new(4 * KEEPER_UNITS_MAX);
    platform->turn_end.on_deferred = on_turn_end;
    platform->retry.on_timer = on_retry;
    platform->port_cursor = (unsigned)(random_u64() % PLATFORM_PORT_COUNT);
    journal_init(&platform->journal, store);
    platform->journal.on_dirty = on_journal_dirty;
    int code = load_apps(platform, err);
    if (code != 0) {
        platform_free(platform);
        return code;
    }
    *ret_platform = platform;
    return 0;
}

static void free_text(const char *text)
{
    free((void *)(uintptr_t)text);
}

void platform_free(struct platform *platform)
{
    if (!platform)
        return;
    list_each_safe (node, &platform->apps)
        app_free(container_of(node, struct app, node));
    list_each_safe (node, &platform->removed)
        app_free(container_of(node, struct app, node));
    chores_free(platform);
    loop_defer_cancel(&platform->turn_end);
    loop_timer_stop(&platform->retry);
    journal_done(&platform->journal);
    map_free(platform->units);
    free_text(platform->settings.state_directory);
    free_text(platform->settings.notify_socket);
    free_text(platform->settings.unit_path);
    free(platform->reject);
    free(platform);
}

void platform_resume(struct platform *platform)
{
    platform->is_resumed = true;
    list_each (node, &platform->apps) {
        struct app *app = container_of(node, struct app, node);

        list_each_safe (item, &app->databases)
            database_resume(container_of(item, struct database, node));
        list_each_safe (item, &app->instances)
            instance_resume(container_of(item, struct instance, node));
        list_each_safe (item, &app->deploys)
            deploy_resume(container_of(item, struct deploy, node));
        deploys_next(app);
        app_reconcile_later(app);
        app_retain(app);
    }
    platform_publish(platform);
}

void platform_freeze(struct platform *platform)
{
    platform->is_quitting = true;
    journal_freeze(&platform->journal);
}

struct app *platform_app_find(const struct platform *platform, const char *name)
{
    list_each (node, &platform->apps) {
        struct app *app = container_of(node, struct app, node);

        if (strcmp(app->name, name) == 0)
            return app;
    }
    return NULL;
}

/* ---- the end of a turn */

uint64_t platform_publish(struct platform *platform)
{
    if (!platform->is_publish_due) {
        if (platform->version >= platform->version_reserved) {
            /* Versions rise across restarts of control; reserving many at once spares a commit
             * each. */
            char text[24];
            struct error err = {0};
            uint64_t stored = 0;
            CLEANUP(arena_freep) struct arena *arena = arena_new(65536);
            struct store_entry entry;

            if (platform->version_reserved == 0 &&
                store_get(platform->store, "/meta/next-version", arena, &entry, NULL) == 0 &&
                slice_to_u64(entry.value, &stored) == 0)
                platform->version = stored;
            platform->version_reserved = platform->version + 10000;
            (void)snprintf(text, sizeof(text), "%llu",
                           (unsigned long long)platform->version_reserved);
            if (store_set(platform->store, "/meta/next-version", slice_from(text), &err) != 0)
                log_failure(&err, "unable to reserve snapshot versions");
        }
        platform->version++;
        platform->is_publish_due = true;
    }
    loop_defer(platform->loop, &platform->turn_end);
    return platform->version;
}

bool platform_is_acked(const struct platform *platform, uint64_t version)
{
    if (platform->is_publish_due && version >= platform->version)
        return false;
    for (unsigned i = 0; i < KEEPER_EDGES_MAX; i++)
        if ((platform->live_edges >> i & 1) && platform->acked[i] < version)
            return false;
    return true;
}

void platform_flush(struct platform *platform)
{
    struct error err = {0};

    if (platform->is_publish_due) {
        platform->is_publish_due = false;
        platform->port->publish(platform->port, platform->version);
    }
    int code = journal_commit(&platform->journal, &err);
    if (code == ERR_NO_SPACE && ballast_let_go(platform->settings.state_directory)) {
        log_warning("the disk is full; the reserve was let go");
        error_clear(&err);
        code = journal_commit(&platform->journal, &err);
    }
    if (code != 0) {
        log_failure(&err, "unable to store what was decided; it is tried again");
        loop_timer_start_in(platform->loop, &platform->retry, LOOP_MS(COMMIT_RETRY_MS));
        return;
    }
    platform->port->flush(platform->port);
}

/* ---- units */

static struct slice unit_key(const uint64_t *id)
{
    return (struct slice){(const char *)id, sizeof(*id)};
}

uint64_t platform_unit_number(struct platform *platform)
{
    if (platform->unit_next >= platform->unit_reserved) {
        CLEANUP(arena_freep) struct arena *arena = arena_new(65536);
        struct error err = {0};
        struct store_entry entry;
        uint64_t stored = 0;
        char text[24];

        if (platform->unit_reserved == 0) {
            if (store_get(platform->store, "/meta/next-unit", arena, &entry, NULL) == 0 &&
                slice_to_u64(entry.value, &stored) == 0)
                platform->unit_next = stored;
            if (platform->unit_next == 0)
                platform->unit_next = 1;
        }
        platform->unit_reserved = platform->unit_next + 1000;
        (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)platform->unit_reserved);
        if (store_set(platform->store, "/meta/next-unit", slice_from(text), &err) != 0)
            log_failure(&err, "unable to reserve unit numbers");
    }
    return platform->unit_next++;
}

static void unit_register(struct platform *platform, struct unit *unit, uint64_t id)
{
    assert(unit->id == 0 && id != 0);
    unit->id = id;
    unit->state = UNIT_SPAWNING;
    unit->is_reported = unit->is_stopping = false;
    unit->pid = 0;
    if (map_put(platform->units, unit_key(&unit->id), unit) != 0)
        log_error("more units than the platform can count");
}

void platform_unit_start(struct platform *platform, struct unit *unit, uint64_t id,
                         const struct unit_spec *spec)
{
    unit_register(platform, unit, id);
    if (platform->is_quitting)
        return;
    platform->port->spawn(platform->port, unit, spec);
    loop_defer(platform->loop, &platform->turn_end);
}

void platform_unit_adopt(struct platform *platform, struct unit *unit, uint64_t id)
{
    if (id != 0)
        unit_register(platform, unit, id);
}

void platform_unit_stop(struct platform *platform, struct unit *unit, int signal, uint64_t grace_ms)
{
    if (unit->state != UNIT_SPAWNING && unit->state != UNIT_RUNNING)
        return;
    unit->is_stopping = true;
    platform->port->stop(platform->port, unit->id, signal, grace_ms);
    loop_defer(platform->loop, &platform->turn_end);
}

void platform_unit_release(struct platform *platform, struct unit *unit)
{
    if (unit->id == 0)
        return;
    /* One that still runs becomes a stranger, and its exit is answered by forgetting it. */
    if (unit->state == UNIT_EXITED)
        platform->port->forget(platform->port, unit->id);
    else
        platform->port->stop(platform->port, unit->id, SIGTERM, 5000);
    (void)map_remove(platform->units, unit_key(&unit->id));
    unit_done(unit);
    unit->id = 0;
    unit->state = UNIT_NONE;
    unit->pid = 0;
    unit->is_stopping = unit->is_reported = false;
    loop_defer(platform->loop, &platform->turn_end);
}

void platform_unit_report(struct platform *platform, const struct unit_report *report)
{
    struct unit *unit = map_get(platform->units, unit_key(&report->unit));

    if (!unit) {
        if (report->is_exited)
            platform->port->forget(platform->port, report->unit);
        else
            platform->port->stop(platform->port, report->unit, SIGTERM, 5000);
        loop_defer(platform->loop, &platform->turn_end);
        return;
    }
    bool is_news = report->is_exited ? unit->state != UNIT_EXITED : unit->state == UNIT_SPAWNING;
    unit->is_reported = true;
    unit->pid = report->pid;
    unit->started_at_us = report->started_at_us;
    if (!unit->cgroup && report->cgroup && report->cgroup[0])
        unit->cgroup = strdup(report->cgroup);
    if (!is_news)
        return;
    unit->exit = report->exit;
    unit->state = report->is_exited ? UNIT_EXITED : UNIT_RUNNING;
    if (platform->is_resumed)
        unit->on_change(unit);
}

void platform_unit_refused(struct platform *platform, uint64_t id, const struct error *err)
{
    struct unit *unit = map_get(platform->units, unit_key(&id));

    if (!unit || unit->state == UNIT_EXITED)
        return;
    free(unit->refusal);
    unit->refusal = malloc(sizeof(*err));
    if (!unit->refusal)
        abort();
    *unit->refusal = *err;
    unit->state = UNIT_EXITED;
    unit->exit = (struct unit_exit){0};
    if (platform->is_resumed)
        unit->on_change(unit);
}

/* ---- edges */

static void edges_look(struct platform *platform)
{
    list_each_safe (node, &platform->apps) {
        struct app *app = container_of(node, struct app, node);

        list_each_safe (item, &app->instances) {
            struct instance *instance = container_of(item, struct instance, node);

            if (instance->state == INSTANCE_DRAINING)
                instance_send(instance, INSTANCE_EVENT_DRAINED);
        }
        deploy_edges_changed(app);
    }
}

void platform_edges_changed(struct platform *platform, uint64_t live_edges)
{
    for (unsigned i = 0; i < KEEPER_EDGES_MAX; i++)
        if (!(live_edges >> i & 1))
            platform->acked[i] = 0;
    platform->live_edges = live_edges;
    edges_look(platform);
}

void platform_edge_acked(struct platform *platform, unsigned edge, uint64_t version)
{
    if (edge >= KEEPER_EDGES_MAX || version <= platform->acked[edge])
        return;
    platform->acked[edge] = version;
    if (platform_is_acked(platform, version))
        edges_look(platform);
}

void platform_edge_rejected(struct platform *platform, unsigned edge, uint64_t version,
                            const char *text)
{
    log_error("edge %u refused routing snapshot %llu: %s", edge + 1, (unsigned long long)version,
              text);
    free(platform->reject);
    platform->reject = strdup(text);
    platform->reject_version = version;
    edges_look(platform);
}

void platform_edge_drained(struct platform *platform, unsigned edge, uint64_t version,
                           uint64_t unit, bool is_tunnels)
{
    if (edge >= KEEPER_EDGES_MAX)
        return;
    list_each (node, &platform->apps) {
        struct app *app = container_of(node, struct app, node);

        list_each (item, &app->instances) {
            struct instance *instance = container_of(item, struct instance, node);

            if (instance->unit.id != unit || instance->state != INSTANCE_DRAINING ||
                version < instance->drain_version)
                continue;
            instance->idle_edges |= 1ull << edge;
            if (is_tunnels)
                instance->tunnelless_edges |= 1ull << edge;
            instance_send(instance, INSTANCE_EVENT_DRAINED);
            return;
        }
    }
}

struct platform_load platform_load_of(const struct platform *platform, unsigned slot, uint64_t unit)
{
    struct platform_load load = {0};

    for (unsigned i = 0; i < KEEPER_EDGES_MAX && slot < COUNTERS_ENDPOINTS_MAX; i++) {
        const struct counters *counters = platform->counters[i];

        if (!counters ||
            __atomic_load_n(&counters->endpoints[slot].instance, __ATOMIC_RELAXED) != unit)
            continue;
        load.in_flight += __atomic_load_n(&counters->endpoints[slot].in_flight, __ATOMIC_RELAXED);
        load.tunnels += __atomic_load_n(&counters->endpoints[slot].tunnels, __ATOMIC_RELAXED);
        load.requests += __atomic_load_n(&counters->endpoints[slot].requests, __ATOMIC_RELAXED);
    }
    return load;
}

/* ---- ports and slots */

static bool port_is_taken(const struct platform *platform, unsigned port)
{
    list_each (node, &platform->apps) {
        struct app *app = container_of(node, struct app, node);

        list_each (item, &app->instances)
            if (container_of(item, struct instance, node)->port == port)
                return true;
        list_each (item, &app->databases)
            if (container_of(item, struct database, node)->config.port == port)
                return true;
    }
    return false;
}

int platform_port_take(struct platform *platform, unsigned *ret_port, struct error *err)
{
    for (unsigned i = 0; i < PLATFORM_PORT_COUNT; i++) {
        unsigned port = PLATFORM_PORT_FIRST + platform->port_cursor;

        platform->port_cursor = (platform->port_cursor + 1) % PLATFORM_PORT_COUNT;
        if (!port_is_taken(platform, port) && platform->port->port_is_free(platform->port, port)) {
            *ret_port = port;
            return 0;
        }
    }
    return error_set(err, ERR_LIMIT, "no free port is left between %u and %u", PLATFORM_PORT_FIRST,
                     PLATFORM_PORT_FIRST + PLATFORM_PORT_COUNT - 1);
}

int platform_slot_take(struct platform *platform, unsigned *ret_slot)
{
    for (unsigned i = 0; i < COUNTERS_ENDPOINTS_MAX; i++)
        if (!platform->slots[i]) {
            platform->slots[i] = 1;
            *ret_slot = i;
            return 0;
        }
    return ERR_LIMIT;
}

void platform_slot_give_back(struct platform *platform, unsigned slot)
{
    assert(slot < COUNTERS_ENDPOINTS_MAX);
    platform->slots[slot] = 0;
}
