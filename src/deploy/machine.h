/* machine.h - the life of a deploy as data: states, kinds of work, and the one table of what
 * follows what.
 *
 * Why: deploy, rollback, restart, scale and remove are one machine that walks different paths, so
 * that cancelling, failing and resuming after a crash are the same for all of them. Pure: no time,
 * no input, no output.
 *
 *   uploading → queued → unpacking → preparing → building → migrating
 *     → starting → checking → shifting → live
 *          ↑_______________________|  (next wave)
 *   any of these, on failure or cancellation → returning → failed | rolled_back | cancelled
 *   remove: queued → stopping → removing → removed
 */
#ifndef DEPLOY_MACHINE_H
#define DEPLOY_MACHINE_H

#include "base/error.h"
#include <stdbool.h>

#define DEPLOY_STATES(X)                                                                           \
    X(DEPLOY_UPLOADING, "uploading") /* the source is on its way */                                \
    X(DEPLOY_QUEUED, "queued")       /* waits for its turn */                                      \
    X(DEPLOY_UNPACKING, "unpacking") /* the source becomes a folder */                             \
    X(DEPLOY_PREPARING, "preparing") /* databases come up */                                       \
    X(DEPLOY_BUILDING, "building")   /* build commands, then static sites are published */         \
    X(DEPLOY_MIGRATING, "migrating") /* preDeploy commands */                                      \
    X(DEPLOY_STARTING, "starting")   /* the next wave of instances is asked for */                 \
    X(DEPLOY_CHECKING, "checking")   /* until they are healthy */                                  \
    X(DEPLOY_SHIFTING, "shifting")   /* until every edge follows */                                \
    X(DEPLOY_STOPPING, "stopping")   /* remove: everything of the app ends */                      \
    X(DEPLOY_REMOVING, "removing")   /* remove: folders and records go to the trash */             \
    X(DEPLOY_RETURNING, "returning") /* it failed or was cancelled: back to what was */            \
    X(DEPLOY_LIVE, "live")                                                                         \
    X(DEPLOY_FAILED, "failed")                                                                     \
    X(DEPLOY_ROLLED_BACK, "rolled_back")                                                           \
    X(DEPLOY_CANCELLED, "cancelled")                                                               \
    X(DEPLOY_REMOVED, "removed")

enum deploy_state {
#define X(state, name) state,
    DEPLOY_STATES(X)
#undef X
        DEPLOY_STATE_COUNT
};

enum deploy_kind {
    DEPLOY_KIND_DEPLOY,
    DEPLOY_KIND_ROLLBACK,
    DEPLOY_KIND_RESTART,
    DEPLOY_KIND_SCALE,
    DEPLOY_KIND_REMOVE,
    DEPLOY_KIND_COUNT
};

enum deploy_event {
    DEPLOY_EVENT_DONE,   /* the state's work is complete */
    DEPLOY_EVENT_AGAIN,  /* shifting: another wave is left */
    DEPLOY_EVENT_FAIL,   /* a step failed or its deadline passed */
    DEPLOY_EVENT_CANCEL, /* a person asks for the end */
    DEPLOY_EVENT_COUNT
};

/* What returning ends in. */
enum deploy_outcome { DEPLOY_OUTCOME_FAILED, DEPLOY_OUTCOME_ROLLED_BACK, DEPLOY_OUTCOME_CANCELLED };

/* The state after `event` in `state`; DEPLOY_STATE_COUNT: the event means nothing there. `outcome`
 * matters for leaving RETURNING only. */
enum deploy_state machine_next(enum deploy_kind kind, enum deploy_state state,
                               enum deploy_event event, enum deploy_outcome outcome);
bool machine_is_final(enum deploy_state state);

const char *deploy_state_name(enum deploy_state state);
const char *deploy_kind_name(enum deploy_kind kind);
/* DEPLOY_STATE_COUNT, DEPLOY_KIND_COUNT for unknown names. */
enum deploy_state deploy_state_from_name(const char *name);
enum deploy_kind deploy_kind_from_name(const char *name);

#endif
