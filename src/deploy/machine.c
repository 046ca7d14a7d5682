#include "deploy/machine.h"
#include <string.h>

#define NONE DEPLOY_STATE_COUNT

static const char *const state_names[] = {
#define X(state, name) [state] = name,
    DEPLOY_STATES(X)
#undef X
};

static const char *const kind_names[] = {
    [DEPLOY_KIND_DEPLOY] = "deploy",   [DEPLOY_KIND_ROLLBACK] = "rollback",
    [DEPLOY_KIND_RESTART] = "restart", [DEPLOY_KIND_SCALE] = "scale",
    [DEPLOY_KIND_REMOVE] = "remove",
};

/* What DONE leads to, by kind. A state that is not on a kind's path has no successor there. */
#define PATH_WAVES                                                                                 \
    [DEPLOY_STARTING] = DEPLOY_CHECKING, [DEPLOY_CHECKING] = DEPLOY_SHIFTING,                      \
    [DEPLOY_SHIFTING] = DEPLOY_LIVE

static const enum deploy_state paths[DEPLOY_KIND_COUNT][DEPLOY_STATE_COUNT] = {
    [DEPLOY_KIND_DEPLOY] = {[DEPLOY_UPLOADING] = DEPLOY_QUEUED,
                            [DEPLOY_QUEUED] = DEPLOY_UNPACKING,
                            [DEPLOY_UNPACKING] = DEPLOY_PREPARING,
                            [DEPLOY_PREPARING] = DEPLOY_BUILDING,
                            [DEPLOY_BUILDING] = DEPLOY_MIGRATING,
                            [DEPLOY_MIGRATING] = DEPLOY_STARTING,
                            PATH_WAVES},
    [DEPLOY_KIND_ROLLBACK] =
        {[DEPLOY_QUEUED] = DEPLOY_PREPARING, [DEPLOY_PREPARING] = DEPLOY_STARTING, PATH_WAVES},
    [DEPLOY_KIND_RESTART] =
        {[DEPLOY_QUEUED] = DEPLOY_PREPARING, [DEPLOY_PREPARING] = DEPLOY_STARTING, PATH_WAVES},
    [DEPLOY_KIND_SCALE] =
        {[DEPLOY_QUEUED] = DEPLOY_PREPARING, [DEPLOY_PREPARING] = DEPLOY_STARTING, PATH_WAVES},
    [DEPLOY_KIND_REMOVE] = {[DEPLOY_QUEUED] = DEPLOY_STOPPING,
                            [DEPLOY_STOPPING] = DEPLOY_REMOVING,
                            [DEPLOY_REMOVING] = DEPLOY_REMOVED},
};

/* What the other events do; the same for every kind. Nothing has begun before the queue, so there
 * is nothing to return from. A removal is past the point of return once it stops the app. */
static const enum deploy_state others[DEPLOY_STATE_COUNT][DEPLOY_EVENT_COUNT] = {
    [DEPLOY_UPLOADING] = {NONE, NONE, DEPLOY_FAILED, DEPLOY_CANCELLED},
    [DEPLOY_QUEUED] = {NONE, NONE, DEPLOY_FAILED, DEPLOY_CANCELLED},
    [DEPLOY_UNPACKING] = {NONE, NONE, DEPLOY_RETURNING, DEPLOY_RETURNING},
    [DEPLOY_PREPARING] = {NONE, NONE, DEPLOY_RETURNING, DEPLOY_RETURNING},
    [DEPLOY_BUILDING] = {NONE, NONE, DEPLOY_RETURNING, DEPLOY_RETURNING},
    [DEPLOY_MIGRATING] = {NONE, NONE, DEPLOY_RETURNING, DEPLOY_RETURNING},
    [DEPLOY_STARTING] = {NONE, NONE, DEPLOY_RETURNING, DEPLOY_RETURNING},
    [DEPLOY_CHECKING] = {NONE, NONE, DEPLOY_RETURNING, DEPLOY_RETURNING},
    [DEPLOY_SHIFTING] = {NONE, DEPLOY_STARTING, DEPLOY_RETURNING, DEPLOY_RETURNING},
    [DEPLOY_STOPPING] = {NONE, NONE, DEPLOY_FAILED, NONE},
    [DEPLOY_REMOVING] = {NONE, NONE, DEPLOY_FAILED, NONE},
    [DEPLOY_RETURNING] = {NONE, NONE, NONE, NONE},
    [DEPLOY_LIVE] = {NONE, NONE, NONE, NONE},
    [DEPLOY_FAILED] = {NONE, NONE, NONE, NONE},
    [DEPLOY_ROLLED_BACK] = {NONE, NONE, NONE, NONE},
    [DEPLOY_CANCELLED] = {NONE, NONE, NONE, NONE},
    [DEPLOY_REMOVED] = {NONE, NONE, NONE, NONE},
};

enum deploy_state machine_next(enum deploy_kind kind, enum deploy_state state,
                               enum deploy_event event, enum deploy_outcome outcome)
{
    assert(kind < DEPLOY_KIND_COUNT && state < DEPLOY_STATE_COUNT && event < DEPLOY_EVENT_COUNT);
    if (event != DEPLOY_EVENT_DONE)
        return others[state][event];
    if (state == DEPLOY_RETURNING)
        return outcome == DEPLOY_OUTCOME_CANCELLED     ? DEPLOY_CANCELLED
               : outcome == DEPLOY_OUTCOME_ROLLED_BACK ? DEPLOY_ROLLED_BACK
                                                       : DEPLOY_FAILED;
    /* 0 is UPLOADING, which nothing leads to. */
    return paths[kind][state] == DEPLOY_UPLOADING ? NONE : paths[kind][state];
}

bool machine_is_final(enum deploy_state state)
{
    return state >= DEPLOY_LIVE;
}

const char *deploy_state_name(enum deploy_state state)
{
    assert(state < DEPLOY_STATE_COUNT);
    return state_names[state];
}

const char *deploy_kind_name(enum deploy_kind kind)
{
    assert(kind < DEPLOY_KIND_COUNT);
    return kind_names[kind];
}

enum deploy_state deploy_state_from_name(const char *name)
{
    for (unsigned i = 0; name && i < DEPLOY_STATE_COUNT; i++)
        if (strcmp(state_names[i], name) == 0)
            return (enum deploy_state)i;
    return DEPLOY_STATE_COUNT;
}

enum deploy_kind deploy_kind_from_name(const char *name)
{
    for (unsigned i = 0; name && i < DEPLOY_KIND_COUNT; i++)
        if (strcmp(kind_names[i], name) == 0)
            return (enum deploy_kind)i;
    return DEPLOY_KIND_COUNT;
}
