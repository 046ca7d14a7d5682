#include "deploy/instance.h"
#include "base/clock.h"
#include "base/log.h"
#include "deploy/database.h"
#include "deploy/deploy.h"
#include "deploy/instance_spawn.h"
#include <stdio.h>

#define DRAIN_POLL_MS   500u
#define KILL_GRACE_MS   2000u
#define RESUME_DELAY_MS 100u

static const char *const state_names[] = {
#define X(state, name) [state] = name,
    INSTANCE_STATES(X)
#undef X
};

const char *instance_state_name(enum instance_state state)
{
    assert(state < INSTANCE_STATE_COUNT);
    return state_names[state];
}

const struct manifest_service *instance_service(const struct instance *instance)
{
    const struct release *release = app_release(instance->app, instance->release);
    const struct manifest_service *service =
        release && release->manifest ? manifest_service_find(release->manifest, instance->service)
                                     : NULL;

    assert(service);
    return service;
}

bool instance_has_port(const struct instance *instance)
{
    enum service_type type = instance_service(instance)->type;

    return type == SERVICE_WEB || type == SERVICE_PRIVATE;
}

bool instance_is_wanted(const struct instance *instance)
{
    return instance->state < INSTANCE_FAILED;
}

bool instance_is_routed(const struct instance *instance)
{
    return instance->state == INSTANCE_READY;
}

/* What the edges know of it. */
enum place { PLACE_NONE, PLACE_ACTIVE, PLACE_DRAINING };

static enum place instance_place(const struct instance *instance)
{
    if (instance->port == 0 || !instance->is_admitted || instance->unit.id == 0)
        return PLACE_NONE;
    switch (instance->state) {
    case INSTANCE_READY:
        return PLACE_ACTIVE;
    case INSTANCE_UNHEALTHY:
    case INSTANCE_RESTARTING:
    case INSTANCE_DRAINING:
    case INSTANCE_STOPPING:
        return PLACE_DRAINING;
    default:
        return PLACE_NONE;
    }
}

bool instance_is_published(const struct instance *instance, bool *ret_is_draining)
{
    enum place place = instance_place(instance);

    *ret_is_draining = place == PLACE_DRAINING;
    return place != PLACE_NONE;
}

/* The states that the record tells apart: what comes before the first success is one, as a
 * restarted control probes anew. */
static enum instance_state durable_state(enum instance_state state)
{
    return state == INSTANCE_CHECKING ? INSTANCE_STARTING : state;
}

static void set_message(struct instance *instance, const char *format, ...) PRINTF_LIKE(2, 3);

static void set_message(struct instance *instance, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(instance->message, sizeof(instance->message), format, args);
    va_end(args);
}

static void set_state(struct instance *instance, enum instance_state state)
{
    enum instance_state before = instance->state;
    enum place place = instance_place(instance);

    instance->state = state;
    log_info("%s/%s (v%llu): %s -> %s%s%s", instance->app->name, instance->name,
             (unsigned long long)instance->release, state_names[before], state_names[state],
             instance->message[0] ? ": " : "", instance->message);
    if (durable_state(before) != durable_state(state) && state != INSTANCE_GONE)
        instance_write(instance);
    if (instance_place(instance) != place)
        (void)platform_publish(instance->app->platform);
    deploy_instance_changed(instance);
}

static void timer_in(struct instance *instance, uint64_t ms)
{
    loop_timer_start_in(instance->app->platform->loop, &instance->timer, LOOP_MS(ms));
}

/* ---- probes */

static void on_probe_result(struct probe *probe, bool is_good, const char *text)
{
    struct instance *instance = container_of(probe, struct instance, probe);

    (void)snprintf(instance->probe_text, sizeof(instance->probe_text), "%s", text);
    instance_send(instance, is_good ? INSTANCE_EVENT_GOOD : INSTANCE_EVENT_BAD);
}

static void probe_stop(struct instance *instance)
{
    struct platform_port *port = instance->app->platform->port;

    if (instance->probe.driver)
        port->probe_stop(port, &instance->probe);
}

static enum probe_kind probe_kind(const struct instance *instance,
                                  const struct manifest_service *service, bool is_started)
{
    switch (service->ready) {
    case READY_HTTP:
        return instance->port ? PROBE_HTTP : PROBE_ALIVE;
    case READY_TCP:
        return instance->port ? PROBE_TCP : PROBE_ALIVE;
    case READY_NOTIFY:
        if (!is_started)
            return PROBE_NOTIFY;
        return instance->port && service->health.path ? PROBE_HTTP : PROBE_ALIVE;
    case READY_MESSAGE:
    case READY_ALIVE:
        break;
    }
    return PROBE_ALIVE;
}

static void probe_start(struct instance *instance, bool is_started)
{
    const struct manifest_service *service = instance_service(instance);
    struct platform_port *port = instance->app->platform->port;

    probe_stop(instance);
    instance->probe.kind = probe_kind(instance, service, is_started);
    instance->probe.port = instance->port;
    instance->probe.path = service->health.path ? service->health.path : "/";
    instance->probe.pid = instance->unit.pid;
    instance->probe.interval_ms = service->health.interval_ms;
    instance->probe.timeout_ms = service->health.timeout_ms;
    instance->probe.is_fast = !is_started;
    instance->good_count = instance->bad_count = 0;
    port->probe_start(port, &instance->probe);
}

/* ---- the process */

static void forget_unit(struct instance *instance)
{
    probe_stop(instance);
    if (instance_place(instance) != PLACE_NONE)
        (void)platform_publish(instance->app->platform);
    if (instance->unit.id)
        instance->last_unit = instance->unit.id;
    platform_unit_release(instance->app->platform, &instance->unit);
}

static void gone(struct instance *instance)
{
    struct app *app = instance->app;
    char key[NAMES_KEY_SIZE];

    forget_unit(instance);
    set_state(instance, INSTANCE_GONE);
    journal_delete(&app->platform->journal, names_key(key, "/apps/%s/instances/%llu", app->name,
                                                      (unsigned long long)instance->key));
    instance_free(instance);
    app_reconcile_later(app);
    deploy_edges_changed(app);
}

/* Its process ended or never came to be. */
static void crashed(struct instance *instance, uint64_t uptime_ms)
{
    const struct manifest_service *service = instance_service(instance);
    uint64_t delay_ms;

    forget_unit(instance);
    if (!instance->is_admitted) {
        set_state(instance, INSTANCE_FAILED);
        return;
    }
    instance->restarts++;
    if (restart_after_crash(&instance->restart, &service->restart, uptime_ms, &delay_ms)) {
        set_state(instance, INSTANCE_BACKOFF);
        timer_in(instance, delay_ms);
        return;
    }
    set_message(instance, "%u quick crashes in a row, not started again; the last process %.300s",
                service->restart.max_restarts + 1, instance->exit_words);
    loop_timer_stop(&instance->timer);
    set_state(instance, INSTANCE_CRASH_LOOP);
}

static uint64_t uptime_ms(const struct instance *instance)
{
    uint64_t now_us = loop_now_us(instance->app->platform->loop);

    return instance->spawned_at_us && now_us > instance->spawned_at_us
               ? (now_us - instance->spawned_at_us) / 1000
               : 0;
}

static void note_exit(struct instance *instance)
{
    const struct manifest_service *service = instance_service(instance);

    if (instance->unit.refusal)
        (void)snprintf(instance->exit_words, sizeof(instance->exit_words),
                       "could not be started: %.200s", instance->unit.refusal->text);
    else
        unit_exit_words(&instance->unit.exit, service->memory_limit_bytes, instance->exit_words);
    set_message(instance, "the process %s", instance->exit_words);
}

static void on_unit_change(struct unit *unit)
{
    struct instance *instance = container_of(unit, struct instance, unit);

    if (instance->app->platform->is_quitting)
        return;
    instance_send(instance,
                  unit->state == UNIT_RUNNING ? INSTANCE_EVENT_RUNNING : INSTANCE_EVENT_EXITED);
}

static void spawn(struct instance *instance)
{
    struct error err = {0};

    instance->message[0] = instance->probe_text[0] = 0;
    instance->good_count = instance->bad_count = 0;
    instance->idle_edges = instance->tunnelless_edges = 0;
    instance->spawned_at_us = 0;
    loop_timer_stop(&instance->timer);
    if (instance_spawn(instance, &err) == 0) {
        instance_write(instance);
        set_state(instance, INSTANCE_STARTING);
        return;
    }
    (void)snprintf(instance->exit_words, sizeof(instance->exit_words),
                   "could not be started: %.200s", err.text);
    set_message(instance, "the process %s", instance->exit_words);
    crashed(instance, 0);
}

static void stop(struct instance *instance)
{
    const struct manifest_service *service = instance_service(instance);

    probe_stop(instance);
    loop_timer_stop(&instance->timer);
    platform_unit_stop(instance->app->platform, &instance->unit, service->stop.signal,
                       service->stop.grace_ms);
}

/* ---- what each event does; by state in the table below */

static void do_start(struct instance *instance)
{
    const char *waiting = "";

    if (!app_databases_are_ready(instance->app, app_release(instance->app, instance->release),
                                 &waiting)) {
        set_message(instance, "waits for database '%s'", waiting);
        if (instance->state != INSTANCE_WAITING)
            set_state(instance, INSTANCE_WAITING);
        return;
    }
    spawn(instance);
}

static void do_check(struct instance *instance)
{
    instance->spawned_at_us = loop_now_us(instance->app->platform->loop);
    instance->message[0] = 0;
    set_state(instance, INSTANCE_CHECKING);
    timer_in(instance, instance_service(instance)->health.start_timeout_ms);
    probe_start(instance, false);
}

static void do_crash(struct instance *instance)
{
    note_exit(instance);
    crashed(instance, uptime_ms(instance));
}

static void do_good_check(struct instance *instance)
{
    const struct manifest_service *service = instance_service(instance);

    instance->bad_count = 0;
    if (++instance->good_count < service->health.healthy_after)
        return;
    loop_timer_stop(&instance->timer);
    instance->ready_at_us = loop_now_us(instance->app->platform->loop);
    instance->message[0] = 0;
    probe_start(instance, true);
    set_state(instance, instance->is_admitted ? INSTANCE_READY : INSTANCE_PROVEN);
}

static void do_bad_check(struct instance *instance)
{
    instance->good_count = 0;
}

/* The start took too long. */
static void do_start_timeout(struct instance *instance)
{
    const struct manifest_service *service = instance_service(instance);

    (void)snprintf(instance->exit_words, sizeof(instance->exit_words),
                   "was not healthy within its startTimeout of %llu ms",
                   (unsigned long long)service->health.start_timeout_ms);
    set_message(instance, "the process %s; the last probe said: %s", instance->exit_words,
                instance->probe_text[0] ? instance->probe_text : "nothing");
    platform_unit_stop(instance->app->platform, &instance->unit, SIGTERM, KILL_GRACE_MS);
    crashed(instance, 0);
}

static void do_good(struct instance *instance)
{
    instance->bad_count = 0;
    instance->good_count++;
    if (instance->state != INSTANCE_UNHEALTHY ||
        instance->good_count < instance_service(instance)->health.healthy_after)
        return;
    instance->message[0] = 0;
    set_state(instance, INSTANCE_READY);
}

static void do_bad(struct instance *instance)
{
    const struct manifest_health *health = &instance_service(instance)->health;

    instance->good_count = 0;
    instance->bad_count++;
    if (instance->bad_count < health->unhealthy_after)
        return;
    set_message(instance, "%u probes in a row failed; the last: %s", instance->bad_count,
                instance->probe_text);
    if (instance->state == INSTANCE_PROVEN) {
        (void)snprintf(instance->exit_words, sizeof(instance->exit_words),
                       "became unhealthy again");
        platform_unit_stop(instance->app->platform, &instance->unit, SIGTERM, KILL_GRACE_MS);
        crashed(instance, 0);
    } else if (instance->state == INSTANCE_READY) {
        set_state(instance, INSTANCE_UNHEALTHY);
    } else if (instance->bad_count >= health->restart_after) {
        stop(instance);
        set_state(instance, INSTANCE_RESTARTING);
    }
}

static void do_again(struct instance *instance)
{
    forget_unit(instance);
    instance->restarts++;
    do_start(instance);
}

static void do_admit(struct instance *instance)
{
    instance->is_admitted = true;
    instance_write(instance);
    if (instance->state == INSTANCE_PROVEN)
        set_state(instance, INSTANCE_READY);
}

static void do_vanish(struct instance *instance)
{
    instance->message[0] = 0;
    gone(instance);
}

static void do_stop(struct instance *instance)
{
    instance->message[0] = 0;
    if (instance->unit.id == 0) {
        gone(instance);
        return;
    }
    stop(instance);
    set_state(instance, INSTANCE_STOPPING);
}

static void do_drained(struct instance *instance)
{
    const struct manifest_stop *policy = &instance_service(instance)->stop;
    const struct platform *platform = instance->app->platform;
    uint64_t live = platform->live_edges, now_us = clock_wall_us();
    uint64_t ms =
        now_us > instance->drain_began_us ? (now_us - instance->drain_began_us) / 1000 : 0;
    bool is_idle = live != 0 && (instance->idle_edges & live) == live;
    bool is_tunnelless = live != 0 && (instance->tunnelless_edges & live) == live;
    uint64_t next_ms = DRAIN_POLL_MS;

    /* A request that outlives the drain time hides that no tunnel is open, so ask the counters. */
    if (ms >= policy->drain_ms &&
        platform_load_of(platform, instance->slot, instance->unit.id).tunnels == 0)
        is_tunnelless = true;
    if ((is_idle || ms >= policy->drain_ms) &&
        (is_tunnelless || ms >= policy->websocket_drain_ms)) {
        do_stop(instance);
        return;
    }
    if (ms < policy->drain_ms)
        next_ms = policy->drain_ms - ms;
    if (ms < policy->websocket_drain_ms)
        next_ms = MIN(next_ms, policy->websocket_drain_ms - ms);
    timer_in(instance, next_ms);
}

static void do_drain(struct instance *instance)
{
    if (instance->port == 0) {
        do_stop(instance);
        return;
    }
    probe_stop(instance);
    loop_timer_stop(&instance->timer);
    instance->message[0] = 0;
    instance->drain_began_us = clock_wall_us();
    instance->idle_edges = instance->tunnelless_edges = 0;
    instance->drain_version = platform_publish(instance->app->platform);
    set_state(instance, INSTANCE_DRAINING);
    timer_in(instance, MIN(instance_service(instance)->stop.drain_ms,
                           instance_service(instance)->stop.websocket_drain_ms));
}

static void do_recall(struct instance *instance)
{
    loop_timer_stop(&instance->timer);
    instance->drain_began_us = 0;
    set_state(instance, INSTANCE_READY);
    probe_start(instance, true);
}

#define EVENT(event) [INSTANCE_EVENT_##event]

static void (*const table[INSTANCE_STATE_COUNT][INSTANCE_EVENT_COUNT])(struct instance *) = {
    [INSTANCE_WAITING] = {EVENT(START) = do_start, EVENT(RETIRE) = do_vanish,
                          EVENT(ADMIT) = do_admit},
    [INSTANCE_STARTING] = {EVENT(RUNNING) = do_check, EVENT(EXITED) = do_crash,
                           EVENT(RETIRE) = do_stop, EVENT(ADMIT) = do_admit},
    [INSTANCE_CHECKING] = {EVENT(EXITED) = do_crash, EVENT(GOOD) = do_good_check,
                           EVENT(BAD) = do_bad_check, EVENT(TIMER) = do_start_timeout,
                           EVENT(RETIRE) = do_stop, EVENT(ADMIT) = do_admit},
    [INSTANCE_PROVEN] = {EVENT(EXITED) = do_crash, EVENT(GOOD) = do_good, EVENT(BAD) = do_bad,
                         EVENT(ADMIT) = do_admit, EVENT(RETIRE) = do_stop},
    [INSTANCE_READY] = {EVENT(EXITED) = do_crash, EVENT(GOOD) = do_good, EVENT(BAD) = do_bad,
                        EVENT(RETIRE) = do_drain},
    [INSTANCE_UNHEALTHY] = {EVENT(EXITED) = do_crash, EVENT(GOOD) = do_good, EVENT(BAD) = do_bad,
                            EVENT(RETIRE) = do_drain},
    [INSTANCE_RESTARTING] = {EVENT(EXITED) = do_again, EVENT(RETIRE) = do_stop},
    [INSTANCE_BACKOFF] = {EVENT(START) = do_start, EVENT(TIMER) = do_start,
                          EVENT(RETIRE) = do_vanish},
    [INSTANCE_CRASH_LOOP] = {EVENT(RETIRE) = do_vanish},
    [INSTANCE_FAILED] = {EVENT(RETIRE) = do_stop},
    [INSTANCE_DRAINING] = {EVENT(EXITED) = do_vanish, EVENT(TIMER) = do_drained,
                           EVENT(DRAINED) = do_drained, EVENT(RECALL) = do_recall},
    [INSTANCE_STOPPING] = {EVENT(EXITED) = do_vanish},
};

void instance_send(struct instance *instance, enum instance_event event)
{
    assert(event < INSTANCE_EVENT_COUNT);
    if (table[instance->state][event])
        table[instance->state][event](instance);
}

void instances_wake(struct app *app)
{
    list_each_safe (node, &app->instances) {
        struct instance *instance = container_of(node, struct instance, node);

        if (instance->state == INSTANCE_WAITING)
            instance_send(instance, INSTANCE_EVENT_START);
    }
}

/* ---- life */

static void on_timer(struct loop_timer *timer)
{
    struct instance *instance = container_of(timer, struct instance, timer);

    if (!instance->app->platform->is_quitting)
        instance_send(instance, instance->state == INSTANCE_WAITING ? INSTANCE_EVENT_START
                                                                    : INSTANCE_EVENT_TIMER);
}

struct instance *instance_allocate(struct app *app, const char *service, unsigned ordinal)
{
    struct instance *instance = calloc(1, sizeof(*instance));

    if (!instance)
        abort();
    instance->app = app;
    instance->ordinal = ordinal;
    (void)snprintf(instance->service, sizeof(instance->service), "%s", service);
    (void)snprintf(instance->name, sizeof(instance->name), "%s-%u", service, ordinal);
    instance->unit.on_change = on_unit_change;
    instance->timer.on_timer = on_timer;
    instance->probe.on_result = on_probe_result;
    list_push_back(&app->instances, &instance->node);
    return instance;
}

static unsigned free_ordinal(const struct app *app, const char *service)
{
    for (unsigned ordinal = 1;; ordinal++) {
        bool is_taken = false;

        list_each (node, &app->instances) {
            const struct instance *instance = container_of(node, struct instance, node);

            if (instance->ordinal == ordinal && strcmp(instance->service, service) == 0)
                is_taken = true;
        }
        if (!is_taken)
            return ordinal;
    }
}

int instance_new(struct app *app, const struct release *release, const char *service,
                 uint64_t generation, bool is_admitted, struct instance **ret_instance,
                 struct error *err)
{
    unsigned slot;

    if (platform_slot_take(app->platform, &slot) != 0)
        return error_set(err, ERR_LIMIT, "the platform runs %u instances, which is the most",
                         COUNTERS_ENDPOINTS_MAX);
    struct instance *instance = instance_allocate(app, service, free_ordinal(app, service));
    instance->key = platform_unit_number(app->platform);
    instance->release = release->number;
    instance->generation = generation;
    instance->is_admitted = is_admitted;
    instance->slot = slot;
    instance_write(instance);
    loop_timer_start_in(app->platform->loop, &instance->timer, 0);
    *ret_instance = instance;
    return 0;
}

void instance_free(struct instance *instance)
{
    struct platform *platform = instance->app->platform;

    probe_stop(instance);
    loop_timer_stop(&instance->timer);
    list_remove(&instance->node);
    platform_slot_give_back(platform, instance->slot);
    unit_done(&instance->unit);
    free(instance);
}

/* What the keeper's table says of its process, and what that means in each state of the record. */
/* What became of its process meanwhile. True: it runs. */
static bool resume_unit(struct instance *instance)
{
    struct unit *unit = &instance->unit;
    bool is_running = unit->is_reported && unit->state == UNIT_RUNNING;

    if (is_running) {
        uint64_t now_us = loop_now_us(instance->app->platform->loop), wall_us = clock_wall_us();
        uint64_t age_us = wall_us > unit->started_at_us ? wall_us - unit->started_at_us : 0;

        instance->spawned_at_us = now_us > age_us ? now_us - age_us : 1;
    }
    if (unit->id && !unit->is_reported) {
        /* Nobody knows its process: never begun, or of an earlier life of the machine. */
        unit->state = UNIT_EXITED;
        forget_unit(instance);
    }
    return is_running;
}

static void resume_from_the_start(struct instance *instance)
{
    instance->state = INSTANCE_WAITING;
    instance_write(instance);
    timer_in(instance, 0);
}

static void resume_started(struct instance *instance, bool is_running)
{
    if (instance->unit.id == 0)
        resume_from_the_start(instance);
    else if (!is_running)
        do_crash(instance);
    else if (instance->state == INSTANCE_STARTING)
        do_check(instance);
    else
        probe_start(instance, true);
}

void instance_resume(struct instance *instance)
{
    bool is_running = resume_unit(instance);

    switch (instance->state) {
    case INSTANCE_STARTING:
    case INSTANCE_PROVEN:
    case INSTANCE_READY:
    case INSTANCE_UNHEALTHY:
        resume_started(instance, is_running);
        break;
    case INSTANCE_RESTARTING:
        if (is_running)
            stop(instance);
        else
            do_again(instance);
        break;
    case INSTANCE_CRASH_LOOP:
        if (instance->app->platform->is_first_life) {
            restart_reset(&instance->restart);
            resume_from_the_start(instance);
        }
        break;
    case INSTANCE_WAITING:
    case INSTANCE_BACKOFF:
        timer_in(instance, RESUME_DELAY_MS);
        break;
    case INSTANCE_FAILED:
        forget_unit(instance);
        break;
    case INSTANCE_DRAINING:
        if (!is_running) {
            do_vanish(instance);
            break;
        }
        instance->drain_version = platform_publish(instance->app->platform);
        do_drained(instance);
        break;
    case INSTANCE_STOPPING:
        if (is_running)
            stop(instance);
        else
            do_vanish(instance);
        break;
    case INSTANCE_CHECKING: /* never in a record */
    case INSTANCE_GONE:
    case INSTANCE_STATE_COUNT:
        break;
    }
}
