/* deploy.h - one change of an app: its durable record, the drive through machine.h, its progress.
 *
 * Every state has an entry that looks at the model and does what is missing, so entering it again
 * after a crash is the same as entering it. What the world answers arrives as deploy_step_changed,
 * deploy_instance_changed and so on, which see whether the state's work is complete. Each state has
 * a deadline.
 */
#ifndef DEPLOY_DEPLOY_H
#define DEPLOY_DEPLOY_H

#include "deploy/app.h"
#include "deploy/instance.h"
#include "deploy/machine.h"

#define DEPLOY_EVENTS_MAX    1000u
#define DEPLOY_LOG_LINES_MAX 50u
#define DEPLOY_TEXT_SIZE     2048
#define DEPLOY_KEPT_EVENTS   64u /* of the essential ones, in the record */

enum deploy_level { DEPLOY_INFO, DEPLOY_WARNING, DEPLOY_ERROR };

/* Counts of a service as the change found it. */
struct deploy_before {
    char service[NAMES_NAME_SIZE];
    unsigned instances;
};

struct deploy_progress {
    uint64_t sequence;
    char *json; /* without newline */
    bool is_essential, is_final;
};

struct deploy_listener {
    struct list node;
    uint64_t after;
    void (*on_event)(struct deploy_listener *listener, struct slice json_line, bool is_final);
};

struct deploy {
    struct list node; /* in app->deploys, by id */
    struct app *app;
    uint64_t id;
    enum deploy_kind kind;
    enum deploy_state state;
    uint64_t release;              /* the target; remove: 0 */
    uint64_t previous;             /* what was live as it began; 0: nothing */
    char service[NAMES_NAME_SIZE]; /* restart, scale: the one; "": all */
    unsigned instances;            /* scale: the number */
    char *who;
    uint64_t source_bytes, source_files;
    uint64_t created_at_us, began_at_us, ended_at_us; /* wall clock; 0: not yet */

    /* of the present state */
    struct unit unit;
    unsigned step;
    struct loop_timer timer;
    struct loop_deferred look; /* is the state's work complete? */
    uint64_t version;          /* the snapshot that is waited for */

    /* of a change of instances */
    struct deploy_before *before;
    size_t before_count;
    bool has_begun_waves, has_shifted, is_routed;

    /* how it ends */
    enum deploy_outcome outcome;
    bool is_cancelled;
    char *reason, *hint;
    char **log_lines;
    size_t log_count;
    char *probe_text;
    struct log_request log;
    bool is_log_due; /* RETURNING waits for the lines */
    unsigned log_attempts;
    bool is_room_due; /* the disk is full: what the release wrote goes before the deploy ends */
    struct loop_timer log_timer;
    uint64_t log_unit;
    char *trash; /* remove: id */

    /* progress */
    uint64_t sequence;              /* of the next event */
    struct deploy_progress *events; /* oldest first */
    size_t event_count, event_capacity;
    struct list listeners;
};

/* A record in state uploading (deploy) or queued (others), not yet written. */
struct deploy *deploy_new(struct app *app, uint64_t id, enum deploy_kind kind, const char *who);
void deploy_free(struct deploy *deploy);
void deploy_write(struct deploy *deploy);
void deploy_write_json(const struct deploy *deploy, struct buf *ret_json);
MUST_USE int deploy_load(struct app *app, const struct json *json, struct error *err);
struct deploy *deploy_find(const struct app *app, uint64_t id);
/* Enter the state that the record says, after platform_resume. */
void deploy_resume(struct deploy *deploy);

/* ---- from people */
void deploy_uploaded(struct deploy *deploy, bool is_complete);
void deploy_cancel(struct deploy *deploy, const char *who);
/* Give the turn to the next in the queue when nothing runs. */
void deploys_next(struct app *app);
/* The same for a deploy that was just queued; it is told whom it waits for. */
void deploy_queue(struct deploy *deploy);

/* ---- from the model; all only note that something may be complete (deploy->look) */
void deploy_instance_changed(struct instance *instance);
void deploy_database_changed(struct app *app);
void deploy_edges_changed(struct app *app);

/* End the present state's work: the reason and hint are kept when this is the first failure.
 * `unit`: whose last lines belong into the answer (0: none); probe NULL: none. */
void deploy_fail(struct deploy *deploy, uint64_t unit, const char *probe, const char *hint,
                 const char *format, ...) PRINTF_LIKE(5, 6);
/* The event happens; changes the state by the table. For deploy_*.c. */
void deploy_send(struct deploy *deploy, enum deploy_event event);

/* ---- progress (deploy_events.c) */
void deploy_say(struct deploy *deploy, enum deploy_level level, const char *step,
                const char *service, const char *instance, const char *format, ...)
    PRINTF_LIKE(6, 7);
void deploy_say_state(
    struct deploy *deploy); /* the state changed; final ones with the whole story */
/* Those after listener->after at once, later ones as they come. */
void deploy_listen(struct deploy *deploy, struct deploy_listener *listener);
void deploy_events_load(struct deploy *deploy, const struct json *array);
void deploy_events_write(const struct deploy *deploy, struct json_writer *writer);
void deploy_events_free(struct deploy *deploy);

/* ---- steps that are units (deploy_steps.c) */
/* Begin the step `deploy->step` of the present state, skipping what needs nothing. False: no step
 * is left. */
bool deploy_step_begin(struct deploy *deploy);
/* The unit of the step ran to its end, or was refused: sends DONE, FAIL or begins the next. */
void deploy_step_changed(struct unit *unit);
uint64_t deploy_step_timeout_ms(const struct deploy *deploy);
void deploy_step_timed_out(struct deploy *deploy);

/* ---- waves of instances (deploy_waves.c) */
void deploy_waves_start(struct deploy *deploy);                /* STARTING begins */
void deploy_waves_look(struct deploy *deploy);                 /* STARTING, CHECKING */
uint64_t deploy_waves_timeout_ms(const struct deploy *deploy); /* of CHECKING */
void deploy_waves_shift(struct deploy *deploy);                /* SHIFTING begins */
void deploy_waves_shifted(struct deploy *deploy);              /* do the edges follow? */
/* One that this deploy made, or took over (scale). */
bool deploy_owns(const struct deploy *deploy, const struct instance *instance);

/* ---- the way back (deploy_return.c) */
void deploy_return_start(struct deploy *deploy);
void deploy_return_look(struct deploy *deploy);

/* ---- the lock that says whose turn it is (deploy_lease.c) */
/* /apps/<app>/lock under a lease. False: another holds it (told). Kept alive until given back;
 * after a crash of control the same deploy takes it over, any other waits until it ends. */
bool deploy_lease_take(struct deploy *deploy);
void deploy_lease_give_back(struct app *app);
void deploy_lease_refresh(struct app *app);

/* ---- removal (deploy_remove.c) */
void deploy_remove_start(struct deploy *deploy); /* STOPPING */
void deploy_remove_look(struct deploy *deploy);
void deploy_remove_move(struct deploy *deploy); /* REMOVING; frees the app */

#endif
