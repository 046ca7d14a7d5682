#include "deploy/deploy.h"
#include "base/clock.h"
#include "base/log.h"
#include "deploy/database.h"
#include "os/file.h"
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define UPLOAD_TIMEOUT_MS   (60u * 60 * 1000)
#define PREPARE_TIMEOUT_MS  (2u * ENGINE_START_TIMEOUT_MS)
#define STARTING_TIMEOUT_MS (10u * 60 * 1000) /* also waits for room among the draining */
#define SHIFT_TIMEOUT_MS    10000u
#define RETURN_TIMEOUT_MS   90000u
#define STOPPING_TIMEOUT_MS (15u * 60 * 1000)

static void on_timer(struct loop_timer *timer);
static void on_look(struct loop_deferred *deferred);
static void deploy_enter(struct deploy *deploy);

/* ---- life */

struct deploy *deploy_new(struct app *app, uint64_t id, enum deploy_kind kind, const char *who)
{
    struct deploy *deploy = calloc(1, sizeof(*deploy));
    struct list *before = &app->deploys;

    if (!deploy)
        abort();
    deploy->app = app;
    deploy->id = id;
    deploy->kind = kind;
    deploy->state = kind == DEPLOY_KIND_DEPLOY ? DEPLOY_UPLOADING : DEPLOY_QUEUED;
    deploy->who = strdup(who ? who : "");
    deploy->created_at_us = clock_wall_us();
    deploy->timer.on_timer = on_timer;
    deploy->look.on_deferred = on_look;
    deploy->unit.on_change = deploy_step_changed;
    deploy->sequence = 1;
    list_init(&deploy->listeners);
    list_each (node, &app->deploys)
        if (container_of(node, struct deploy, node)->id > id) {
            before = node;
            break;
        }
    list_insert_before(before, &deploy->node);
    return deploy;
}

static void free_log_lines(struct deploy *deploy)
{
    for (size_t i = 0; i < deploy->log_count; i++)
        free(deploy->log_lines[i]);
    free(deploy->log_lines);
    deploy->log_lines = NULL;
    deploy->log_count = 0;
}

void deploy_free(struct deploy *deploy)
{
    struct platform *platform = deploy->app->platform;

    if (deploy->log.driver)
        platform->port->log_stop(platform->port, &deploy->log);
    if (deploy->app->running == deploy)
        deploy->app->running = NULL;
    loop_timer_stop(&deploy->timer);
    loop_timer_stop(&deploy->log_timer);
    loop_defer_cancel(&deploy->look);
    list_each_safe (node, &deploy->listeners)
        list_remove(node);
    list_remove(&deploy->node);
    unit_done(&deploy->unit);
    deploy_events_free(deploy);
    free_log_lines(deploy);
    free(deploy->before);
    free(deploy->who);
    free(deploy->reason);
    free(deploy->hint);
    free(deploy->probe_text);
    free(deploy->trash);
    free(deploy);
}

struct deploy *deploy_find(const struct app *app, uint64_t id)
{
    list_each (node, &app->deploys) {
        struct deploy *deploy = container_of(node, struct deploy, node);

        if (deploy->id == id)
            return deploy;
    }
    return NULL;
}

/* ---- the record: deploy_record.c; here only what changes the state */

static void upload_path(const struct deploy *deploy, char *path)
{
    names_path(path, "%s/uploads/%llu.tar", deploy->app->platform->settings.state_directory,
               (unsigned long long)deploy->id);
}

static void set_release_state(struct deploy *deploy)
{
    struct release *release = app_release(deploy->app, deploy->release);
    static const enum release_state states[DEPLOY_STATE_COUNT] = {
        [DEPLOY_LIVE] = RELEASE_LIVE,
        [DEPLOY_FAILED] = RELEASE_FAILED,
        [DEPLOY_ROLLED_BACK] = RELEASE_ROLLED_BACK,
        [DEPLOY_CANCELLED] = RELEASE_CANCELLED,
    };

    if (!release || deploy->kind != DEPLOY_KIND_DEPLOY || deploy->state == DEPLOY_REMOVED)
        return;
    release->state = states[deploy->state];
    release->duration_ms = (deploy->ended_at_us - deploy->created_at_us) / 1000;
    release_set_reason(release, deploy->reason);
    app_write_release(deploy->app, release);
}

/* The target is what the app is now. */
static void make_current(struct deploy *deploy)
{
    struct app *app = deploy->app;
    struct release *before = app_current(app);
    struct release *release = app_release(app, deploy->release);

    assert(release);
    if (before && before != release && before->state == RELEASE_LIVE) {
        before->state = RELEASE_RETIRED;
        app_write_release(app, before);
    }
    release->was_live = true;
    release->state = RELEASE_LIVE;
    app_write_release(app, release);
    if (deploy->kind == DEPLOY_KIND_SCALE) {
        const struct manifest_service *service =
            manifest_service_find(release->manifest, deploy->service);

        if (service)
            app_scale_set(app, deploy->service, deploy->instances, service->instances);
    }
    if (app->current != release->number) {
        app_history_push(app, release->number);
        app_scales_prune(app, release->manifest);
    }
    app_write(app);
}

static void finish(struct deploy *deploy)
{
    struct app *app = deploy->app;
    char path[NAMES_PATH_SIZE];

    deploy->ended_at_us = clock_wall_us();
    loop_timer_stop(&deploy->timer);
    platform_unit_release(app->platform, &deploy->unit);
    if (deploy->state == DEPLOY_LIVE)
        make_current(deploy);
    set_release_state(deploy);
    upload_path(deploy, path);
    (void)unlink(path);
    if (app->running == deploy) {
        app->running = NULL;
        deploy_lease_give_back(app);
    }
    (void)platform_publish(app->platform);
}

static void set_state(struct deploy *deploy, enum deploy_state state)
{
    struct app *app = deploy->app;

    log_info("%s: %s %llu: %s -> %s%s%s", app->name, deploy_kind_name(deploy->kind),
             (unsigned long long)deploy->id, deploy_state_name(deploy->state),
             deploy_state_name(state), deploy->reason ? ": " : "",
             deploy->reason ? deploy->reason : "");
    deploy->state = state;
    deploy->step = 0;
    if (machine_is_final(state))
        finish(deploy);
    deploy_say_state(deploy);
    deploy_write(deploy);
    if (!machine_is_final(state)) {
        deploy_enter(deploy);
        return;
    }
    app_reconcile_later(app);
    deploys_next(app);
    app_retain(app);
}

void deploy_send(struct deploy *deploy, enum deploy_event event)
{
    enum deploy_state next = machine_next(deploy->kind, deploy->state, event, deploy->outcome);

    if (next != DEPLOY_STATE_COUNT)
        set_state(deploy, next);
}

/* ---- entering a state; the same after a restart of control */

static uint64_t timeout_ms(const struct deploy *deploy)
{
    switch (deploy->state) {
    case DEPLOY_UPLOADING:
        return UPLOAD_TIMEOUT_MS;
    case DEPLOY_PREPARING:
        return PREPARE_TIMEOUT_MS;
    case DEPLOY_STARTING:
        return STARTING_TIMEOUT_MS;
    case DEPLOY_CHECKING:
        return deploy_waves_timeout_ms(deploy);
    case DEPLOY_SHIFTING:
        return SHIFT_TIMEOUT_MS;
    case DEPLOY_RETURNING:
        return RETURN_TIMEOUT_MS;
    case DEPLOY_STOPPING:
        return STOPPING_TIMEOUT_MS;
    default:
        return 0; /* steps set their own */
    }
}

static void prepare_databases(struct deploy *deploy)
{
    const struct release *release = app_release(deploy->app, deploy->release);
    struct error err = {0};

    for (size_t i = 0; i < release->manifest->database_count; i++) {
        const struct manifest_database *spec = &release->manifest->databases[i];

        if (database_want(deploy->app, spec, &err) != 0) {
            deploy_fail(deploy, 0, NULL, err.hint, "database '%s': %s", spec->name, err.text);
            return;
        }
    }
    loop_defer(deploy->app->platform->loop, &deploy->look);
}

static void deploy_enter(struct deploy *deploy)
{
    uint64_t ms = timeout_ms(deploy);

    loop_timer_stop(&deploy->timer);
    if (ms)
        loop_timer_start_in(deploy->app->platform->loop, &deploy->timer, LOOP_MS(ms));
    switch (deploy->state) {
    case DEPLOY_QUEUED:
        deploy_queue(deploy);
        break;
    case DEPLOY_UNPACKING:
    case DEPLOY_BUILDING:
    case DEPLOY_MIGRATING:
        if (!deploy_step_begin(deploy))
            deploy_send(deploy, DEPLOY_EVENT_DONE);
        break;
    case DEPLOY_PREPARING:
        prepare_databases(deploy);
        break;
    case DEPLOY_STARTING:
        deploy_waves_start(deploy);
        break;
    case DEPLOY_CHECKING:
        loop_defer(deploy->app->platform->loop, &deploy->look);
        break;
    case DEPLOY_SHIFTING:
        deploy_waves_shift(deploy);
        break;
    case DEPLOY_STOPPING:
        deploy_remove_start(deploy);
        break;
    case DEPLOY_REMOVING:
        deploy_remove_move(deploy);
        break;
    case DEPLOY_RETURNING:
        deploy_return_start(deploy);
        break;
    default:
        break;
    }
}

void deploy_resume(struct deploy *deploy)
{
    if (machine_is_final(deploy->state))
        return;
    if (deploy->unit.id && !deploy->unit.is_reported) {
        /* The step was intended, and never begun. */
        deploy->unit.state = UNIT_EXITED;
        platform_unit_release(deploy->app->platform, &deploy->unit);
    }
    if (deploy->state == DEPLOY_UPLOADING) {
        deploy_uploaded(deploy, false);
        return;
    }
    if (deploy->state == DEPLOY_QUEUED)
        return;
    deploy->app->running = deploy;
    (void)deploy_lease_take(deploy);
    deploy_say(deploy, DEPLOY_INFO, NULL, NULL, NULL,
               "goes on after a restart of the control role");
    if (deploy->unit.id == 0 || deploy->state == DEPLOY_RETURNING) {
        deploy_enter(deploy);
        return;
    }
    loop_timer_start_in(deploy->app->platform->loop, &deploy->timer,
                        LOOP_MS(deploy_step_timeout_ms(deploy)));
    if (deploy->unit.state == UNIT_EXITED)
        deploy_step_changed(&deploy->unit);
}

/* ---- is the work of the state complete? */

static void look_databases(struct deploy *deploy)
{
    const struct release *release = app_release(deploy->app, deploy->release);

    if (app_databases_are_ready(deploy->app, release, NULL)) {
        deploy_send(deploy, DEPLOY_EVENT_DONE);
        return;
    }
    for (size_t i = 0; i < release->manifest->database_count; i++) {
        const char *name = release->manifest->databases[i].name;
        const struct database *database = database_find(deploy->app, name);

        /* Once could be chance. */
        if (database && database->state == DATABASE_BACKOFF &&
            database->restart.quick_crashes > 1) {
            deploy_fail(deploy, database->last_unit, database->probe_text, NULL,
                        "database '%s' does not start: %s", name, database->message);
            return;
        }
    }
}

static void on_look(struct loop_deferred *deferred)
{
    struct deploy *deploy = container_of(deferred, struct deploy, look);

    if (deploy->app->platform->is_quitting)
        return;
    switch (deploy->state) {
    case DEPLOY_PREPARING:
        look_databases(deploy);
        break;
    case DEPLOY_STARTING:
    case DEPLOY_CHECKING:
        deploy_waves_look(deploy);
        break;
    case DEPLOY_SHIFTING:
        deploy_waves_shifted(deploy);
        break;
    case DEPLOY_RETURNING:
        deploy_return_look(deploy);
        break;
    case DEPLOY_STOPPING:
        deploy_remove_look(deploy);
        break;
    default:
        break;
    }
}

static void look_soon(struct app *app)
{
    if (app->running && app->platform->is_resumed)
        loop_defer(app->platform->loop, &app->running->look);
}

void deploy_database_changed(struct app *app)
{
    look_soon(app);
}

void deploy_edges_changed(struct app *app)
{
    look_soon(app);
}

static void on_timer(struct loop_timer *timer)
{
    struct deploy *deploy = container_of(timer, struct deploy, timer);

    if (deploy->app->platform->is_quitting)
        return;
    switch (deploy->state) {
    case DEPLOY_UPLOADING:
        deploy_fail(deploy, 0, NULL, NULL, "the source did not arrive within an hour");
        break;
    case DEPLOY_PREPARING:
        deploy_fail(deploy, 0, NULL, "see `slipway logs` of the database",
                    "the databases were not ready in time");
        break;
    case DEPLOY_STARTING:
        deploy_fail(deploy, 0, NULL,
                    "websocketDrain says how long instances of earlier releases may stay",
                    "too many instances of earlier releases are still draining");
        break;
    case DEPLOY_CHECKING:
        deploy_fail(deploy, 0, NULL, "`slipway status` tells what the instances wait for",
                    "the new instances were not ready in time");
        break;
    case DEPLOY_SHIFTING:
        deploy_fail(deploy, 0, NULL, "see the platform's own log for the edges",
                    "an edge did not take over the new routing in time");
        break;
    case DEPLOY_RETURNING:
        deploy_say(deploy, DEPLOY_WARNING, NULL, NULL, NULL,
                   "not everything was back in time; it is still being brought back");
        deploy_send(deploy, DEPLOY_EVENT_DONE);
        break;
    case DEPLOY_STOPPING:
        deploy_fail(deploy, 0, NULL, "try again; see the platform's own log",
                    "not everything of the app stopped in time");
        break;
    default:
        if (deploy->unit.id)
            deploy_step_timed_out(deploy);
        break;
    }
}

/* ---- from people */

void deploy_uploaded(struct deploy *deploy, bool is_complete)
{
    if (deploy->state != DEPLOY_UPLOADING)
        return;
    if (is_complete)
        deploy_send(deploy, DEPLOY_EVENT_DONE);
    else
        deploy_fail(deploy, 0, NULL, "deploy again", "the upload of the source was interrupted");
}

static void set_outcome(struct deploy *deploy, bool is_cancelled, char *reason, char *hint)
{
    if (deploy->reason) { /* the first failure is the story */
        free(reason);
        free(hint);
        return;
    }
    deploy->is_cancelled = is_cancelled;
    deploy->reason = reason;
    deploy->hint = hint;
    deploy->outcome = is_cancelled          ? DEPLOY_OUTCOME_CANCELLED
                      : deploy->has_shifted ? DEPLOY_OUTCOME_ROLLED_BACK
                                            : DEPLOY_OUTCOME_FAILED;
}

void deploy_fail(struct deploy *deploy, uint64_t unit, const char *probe, const char *hint,
                 const char *format, ...)
{
    char *reason;
    va_list args;

    va_start(args, format);
    int len = vasprintf(&reason, format, args);
    va_end(args);
    if (len < 0)
        abort();
    if (!deploy->reason) {
        deploy->log_unit = unit;
        deploy->is_log_due = unit != 0;
        free(deploy->probe_text);
        deploy->probe_text = probe && probe[0] ? strdup(probe) : NULL;
    }
    set_outcome(deploy, false, reason, hint && hint[0] ? strdup(hint) : NULL);
    deploy_say(deploy, DEPLOY_ERROR, deploy_state_name(deploy->state), NULL, NULL, "%s",
               deploy->reason);
    deploy_send(deploy, DEPLOY_EVENT_FAIL);
}

void deploy_cancel(struct deploy *deploy, const char *who)
{
    char *reason;

    if (machine_next(deploy->kind, deploy->state, DEPLOY_EVENT_CANCEL, deploy->outcome) ==
        DEPLOY_STATE_COUNT)
        return;
    if (asprintf(&reason, "cancelled by %s", who) < 0)
        abort();
    set_outcome(deploy, true, reason, NULL);
    deploy_send(deploy, DEPLOY_EVENT_CANCEL);
}

void deploys_next(struct app *app)
{
    if (app->running || !app->platform->is_resumed || app->platform->is_quitting)
        return;
    list_each (node, &app->deploys) {
        struct deploy *deploy = container_of(node, struct deploy, node);

        if (deploy->state != DEPLOY_QUEUED)
            continue;
        if (!deploy_lease_take(deploy))
            return;
        app->running = deploy;
        deploy->previous = app->current;
        deploy->began_at_us = clock_wall_us();
        if (deploy->kind == DEPLOY_KIND_RESTART || deploy->kind == DEPLOY_KIND_SCALE)
            deploy->release = app->current;
        struct release *release = app_release(app, deploy->release);
        if (deploy->kind != DEPLOY_KIND_REMOVE && (!release || !release->has_files)) {
            deploy_fail(deploy, 0, NULL, "deploy the source again",
                        "release v%llu is not kept any more", (unsigned long long)deploy->release);
            return;
        }
        deploy_send(deploy, DEPLOY_EVENT_DONE);
        return;
    }
}

void deploy_queue(struct deploy *deploy)
{
    const struct deploy *first;

    deploys_next(deploy->app);
    first = deploy->app->running;
    if (deploy->state == DEPLOY_QUEUED && first)
        deploy_say(deploy, DEPLOY_INFO, NULL, NULL, NULL, "waits for %s %llu of %s, which is %s",
                   deploy_kind_name(first->kind), (unsigned long long)first->id, first->who,
                   deploy_state_name(first->state));
}
