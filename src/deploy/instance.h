/* instance.h - one place of a service that a process of it lives in, from first start to gone.
 *
 *   waiting → starting → checking → proven → ready ⇄ unhealthy → restarting → starting
 *                                              └──────┴→ draining → stopping → gone
 *   a crash of any that runs → backoff → starting, or crash_loop; within its deploy: failed
 *
 * waiting: its databases are not ready. proven: healthy, but its deploy has not shifted traffic to
 * it yet. Only `ready` ones get new requests. A crash takes an instance out of the routing in the
 * same turn of the loop. Each process of an instance has a unit id of its own, which is also its
 * endpoint's identity at the edges, so that nothing of an old process is ever taken for the new
 * one's.
 */
#ifndef DEPLOY_INSTANCE_H
#define DEPLOY_INSTANCE_H

#include "deploy/app.h"
#include "deploy/restart.h"

#define INSTANCE_STATES(X)                                                                         \
    X(INSTANCE_WAITING, "waiting")                                                                 \
    X(INSTANCE_STARTING, "starting")                                                               \
    X(INSTANCE_CHECKING, "checking")                                                               \
    X(INSTANCE_PROVEN, "proven")                                                                   \
    X(INSTANCE_READY, "ready")                                                                     \
    X(INSTANCE_UNHEALTHY, "unhealthy")                                                             \
    X(INSTANCE_RESTARTING, "restarting")                                                           \
    X(INSTANCE_BACKOFF, "backoff")                                                                 \
    X(INSTANCE_CRASH_LOOP, "crash_loop")                                                           \
    X(INSTANCE_FAILED, "failed") /* in a deploy; its deploy takes it away */                       \
    X(INSTANCE_DRAINING, "draining")                                                               \
    X(INSTANCE_STOPPING, "stopping")                                                               \
    X(INSTANCE_GONE, "gone")

enum instance_state {
#define X(state, name) state,
    INSTANCE_STATES(X)
#undef X
        INSTANCE_STATE_COUNT
};

enum instance_event {
    INSTANCE_EVENT_START,   /* databases are ready, backoff is over */
    INSTANCE_EVENT_RUNNING, /* the keeper has started the process */
    INSTANCE_EVENT_EXITED,  /* or could not be started */
    INSTANCE_EVENT_GOOD,    /* a probe */
    INSTANCE_EVENT_BAD,
    INSTANCE_EVENT_TIMER,   /* whatever the state waits for at most */
    INSTANCE_EVENT_ADMIT,   /* the deploy shifts traffic to it */
    INSTANCE_EVENT_RETIRE,  /* it is not wanted any more */
    INSTANCE_EVENT_RECALL,  /* it is wanted again */
    INSTANCE_EVENT_DRAINED, /* edges told something: look */
    INSTANCE_EVENT_COUNT
};

struct instance {
    struct list node; /* in app->instances */
    struct app *app;
    uint64_t key; /* its record's name, unique in the app for ever: the first unit id */
    char service[NAMES_NAME_SIZE];
    unsigned ordinal;
    char name[NAMES_NAME_SIZE + 12]; /* "api-1" */
    uint64_t release;
    uint64_t generation; /* the deploy that made it; 0: the reconciler */
    bool is_admitted;    /* traffic was shifted to it once */
    enum instance_state state;
    struct unit unit;
    struct probe probe;
    struct loop_timer timer;
    struct restart restart;
    unsigned port; /* 0: none (worker) */
    unsigned slot;
    unsigned restarts;
    unsigned good_count, bad_count;
    uint64_t spawned_at_us;                /* monotonic */
    uint64_t ready_at_us;                  /* monotonic */
    uint64_t drain_version;                /* the first snapshot that has it draining */
    uint64_t drain_began_us;               /* wall clock, as it outlives control */
    uint64_t last_unit;                    /* whose output tells why it ended */
    uint64_t idle_edges, tunnelless_edges; /* which edges reported what, since drain_version */
    char probe_text[PROBE_TEXT_SIZE];      /* the last result */
    char exit_words[UNIT_WORDS_SIZE];      /* how the last process ended */
    char message[PROBE_TEXT_SIZE];         /* why it is in this state */
};

const char *instance_state_name(enum instance_state state);
/* The service in its release's manifest; never NULL for an instance whose release is kept. */
const struct manifest_service *instance_service(const struct instance *instance);
bool instance_has_port(const struct instance *instance);
/* Counts as in service: wanted, whatever its health. */
bool instance_is_wanted(const struct instance *instance);
bool instance_is_routed(const struct instance *instance); /* gets new requests */
/* Whether it stands in the routing snapshot, and how. */
bool instance_is_published(const struct instance *instance, bool *ret_is_draining);

/* A new one, waiting; the lowest free ordinal. ERR_LIMIT: no slot. It starts at the end of the
 * turn. */
MUST_USE int instance_new(struct app *app, const struct release *release, const char *service,
                          uint64_t generation, bool is_admitted, struct instance **ret_instance,
                          struct error *err);
void instance_free(struct instance *instance);
void instance_send(struct instance *instance, enum instance_event event);

void instance_write(struct instance *instance);
/* From its record; ERR_CORRUPT. */
MUST_USE int instance_load(struct app *app, uint64_t key, const struct json *json,
                           struct error *err);
/* After a restart of control, once the keeper's table is complete. */
void instance_resume(struct instance *instance);
/* Databases may have become ready: start what waits. */
void instances_wake(struct app *app);

#endif
