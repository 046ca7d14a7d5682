/* control.h - the control role as the admin API sees it: what a person can ask for, and what is
 * going on.
 *
 * Everything that changes something only writes desired state (durably) and returns; the reconciler
 * makes it true and reports through events. Answers are JSON appended to a buf; their shapes are
 * the interface promise (docs/admin-api.md, `slipway ... --json`). Threads: the loop's. Nothing
 * here blocks beyond a store commit.
 */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "loop/loop.h"

struct control;

struct control_settings {
    const char *state_directory;
    int keeper_fd; /* the channel, taken over */
};

/* Open the store, greet the keeper, resume every deploy and instance from durable state. `on_ready`
 * runs once the keeper's table is complete and the first snapshot is out (start the admin server
 * then); `on_quit` when the keeper asks to stop: everything is stopped in order first, then it
 * runs. */
struct control_handler {
    void (*on_ready)(struct control_handler *handler, struct control *control);
    void (*on_quit)(struct control_handler *handler);
};
MUST_USE int control_new(struct loop *loop, const struct control_settings *settings,
                         struct control_handler *handler, struct control **ret_control,
                         struct error *err);
void control_free(struct control *control);

/* ---- what is going on */

/* {"version","state_directory","http_port","roles":[…],"apps":[…]} as the manual of `slipway status
 * --json` says. app NULL: all. */
MUST_USE int control_status(struct control *control, const char *app, struct buf *ret_json,
                            struct error *err);
/* {"app","releases":[{"release","created_at","commit","state","duration_ms","who","reason","environment","kind"}]},
 * newest first. */
MUST_USE int control_releases(struct control *control, const char *app, struct buf *ret_json,
                              struct error *err);
/* {"trash":[{"id","app","removed_at","bytes","releases"}]} */
MUST_USE int control_trash(struct control *control, struct buf *ret_json, struct error *err);
/* {"certificates":[{"name","app","source","state","issuer","names","key","not_before","not_after",
 * "obtained_at","next_renewal","is_on_demand","is_stapled","warning","last_error","hint","last_error_at"}]},
 * by name. */
MUST_USE int control_certificates(struct control *control, struct buf *ret_json, struct error *err);
/* {"certificate": PEM, "name", "not_after"} of the local authority, which is made when there is
 * none. */
MUST_USE int control_trust(struct control *control, struct buf *ret_json, struct error *err);
/* Try now what waits after a failure, renew now what is valid. {"name","state"}. ERR_NOT_FOUND,
 * ERR_CONFLICT: not from an ACME authority, ERR_EXISTS: under way. */
MUST_USE int control_certificate_renew(struct control *control, const char *name,
                                       struct buf *ret_json, struct error *err);
/* Whose credentials may use the admin socket: root, control's own uid, members of group "slipway".
 */
bool control_peer_is_allowed(struct control *control, uint32_t uid, uint32_t gid);
/* "uid 1000 (anna)", for the audit; valid until the next call of these two. */
const char *control_peer_name(struct control *control, uint32_t uid, uint32_t gid);

/* ---- deploys: one kind of operation for deploy, rollback, restart, scale, remove; one at a time
 * an app, others queue */

struct control_actor {
    const char *who; /* "uid 1000 (anna)" */
};

/* request: {"manifest": {…resolved…}, "environment", "commit", "who", "source_bytes",
 * "source_files"}. Checks the manifest, free disk (ERR_NO_SPACE before anything is written), makes
 * the durable deploy in state `uploading`. ret_json: {"deploy": 7, "app": "gloria", "release": 3,
 * "state": "uploading"}. */
MUST_USE int control_deploy_create(struct control *control, const char *app,
                                   const struct json *request, const struct control_actor *actor,
                                   struct buf *ret_json, struct error *err);
/* Where the uploaded source goes. Open returns a file to write to (caller closes it); done moves
 * the deploy to `queued`, or fails it. */
MUST_USE int control_source_open(struct control *control, const char *app, uint64_t deploy,
                                 int *ret_fd, uint64_t *ret_limit_bytes, struct error *err);
MUST_USE int control_source_done(struct control *control, const char *app, uint64_t deploy,
                                 bool is_complete, struct error *err);
/* {"app","changes":[{"kind","path","before","after"}]}; request as for create. Changes nothing. */
MUST_USE int control_plan(struct control *control, const char *app, const struct json *request,
                          struct buf *ret_json, struct error *err);

/* The following answer like create, with state `queued`. release 0: the previous live one. service
 * NULL: all. */
MUST_USE int control_rollback(struct control *control, const char *app, uint64_t release,
                              const struct control_actor *actor, struct buf *ret_json,
                              struct error *err);
MUST_USE int control_restart(struct control *control, const char *app, const char *service,
                             const struct control_actor *actor, struct buf *ret_json,
                             struct error *err);
MUST_USE int control_scale(struct control *control, const char *app, const char *service,
                           unsigned instances, const struct control_actor *actor,
                           struct buf *ret_json, struct error *err);
/* Ends the running or uploading deploy (not queued ones unless none runs). ERR_NOT_FOUND: none.
 * Answers like create. */
MUST_USE int control_cancel(struct control *control, const char *app,
                            const struct control_actor *actor, struct buf *ret_json,
                            struct error *err);
/* Stops everything of the app, then moves its folders and records to the trash. Answers like create
 * plus "trash": id. */
MUST_USE int control_remove(struct control *control, const char *app,
                            const struct control_actor *actor, struct buf *ret_json,
                            struct error *err);
/* Puts the app back and starts it. ERR_EXISTS when an app of that name is there. */
MUST_USE int control_trash_restore(struct control *control, const char *id,
                                   const struct control_actor *actor, struct buf *ret_json,
                                   struct error *err);

/* Progress of a deploy: JSON lines
 * {"sequence","time","deploy","state","step","service","instance","message","level"}; the last one
 * has "final": true with "state", "reason", "hint", "log": [last 50 lines], "probe": last result.
 * Those since `after` come first, then live ones. */
struct control_subscription {
    struct list node; /* private */
    struct control *control;
    void (*on_event)(struct control_subscription *subscription, struct slice json_line,
                     bool is_final);
};
MUST_USE int control_subscribe(struct control *control, const char *app, uint64_t deploy,
                               uint64_t after, struct control_subscription *subscription,
                               struct error *err); /* stored events come before it returns */
void control_unsubscribe(struct control_subscription *subscription);

/* ---- another binary for the whole platform (docs/design/keeper.md) */

/* Begin. binary NULL: what lies now where the platform was started from; is_back: the binary before
 * this one. ret_json: {"upgrade": 3, "state": "trying"}. ERR_CONFLICT: another one, or a deploy, is
 * under way. How it goes, and a refusal, is in the state. */
MUST_USE int control_upgrade_begin(struct control *control, const char *binary, bool is_back,
                                   struct buf *ret_json, struct error *err);
/* {"upgrade","state","is_downgrade","from","to","step","code","reason","hint","started_at","ended_at"}
 * of the newest. */
MUST_USE int control_upgrade_state(struct control *control, struct buf *ret_json,
                                   struct error *err);
/* {"version","keeper","before"} */
MUST_USE int control_version(struct control *control, struct buf *ret_json, struct error *err);

/* ---- logs */

struct control_log_query {
    const char *app, *service, *instance, *regex; /* NULL: any */
    uint64_t deploy;                              /* 0: any; else the units of that deploy */
    uint64_t since_us, until_us;
    unsigned limit;
    bool is_followed, with_access, with_output;
};
/* The read end of a pipe that logd fills with JSON lines; the caller closes it to end the query.
 * ERR_UNAVAILABLE: logd is away for the moment (try again). */
MUST_USE int control_logs(struct control *control, const struct control_log_query *query,
                          int *ret_fd, struct error *err);

/* ---- the role */

/* Run as control: fd 3 is the channel to the keeper (base/keeper_protocol.h); the admin server
 * lives here, too. Returns the process's exit status: 0 after KEEPER_QUIT, 1 when the keeper is
 * gone or the start failed (logged). */
int control_main(void);

#endif
