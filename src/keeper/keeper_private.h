/* keeper_private.h - the keeper's tables. Everything hangs on one struct keeper; see
 * docs/design/keeper.md for who does what. */
#ifndef KEEPER_KEEPER_PRIVATE_H
#define KEEPER_KEEPER_PRIVATE_H

#include <sys/resource.h>
#include <sys/types.h>

#include "base/list.h"
#include "base/map.h"
#include "base/version.h"
#include "keeper/keeper.h"
#include "keeper/message.h"
#include "loop/channel.h"
#include "loop/loop.h"
#include "os/cgroup.h"
#include "os/socket.h"

#define KEEPER_GIVINGS_MAX   16u
#define KEEPER_VARIABLES_MAX 64u
#define KEEPER_UNIT_USERS    32u

/* ---- binaries (binary.c) */

struct binary {
    uint64_t id;     /* 0: none; rises with each that was opened */
    int fd;          /* executed, never a path */
    bool is_private; /* a copy without a name: nobody can write to it */
    char version[VERSION_TEXT_SIZE];
};

struct binary_copy {  /* under way */
    int from, writer; /* -1: none */
    off_t at, size;
    struct timespec modified; /* at the beginning */
};

/* ---- roles (role.c) */

/* The numbers travel to the next binary: new ones go to the end. */
#define ROLE_STATES(X)                                                                             \
    X(ROLE_DOWN, "down")         /* waits for its restart */                                       \
    X(ROLE_STARTING, "starting") /* has a process, has not said READY */                           \
    X(ROLE_SERVING, "serving")                                                                     \
    X(ROLE_QUITTING, "quitting") /* was told to end */                                             \
    X(ROLE_ENDED, "ended")       /* for good */

enum role_state {
#define X(state, name) state,
    ROLE_STATES(X)
#undef X
        ROLE_STATE_COUNT
};

struct role {
    struct keeper *keeper;
    const struct keeper_role_entry *entry;
    unsigned index; /* edges from 1; others 0 */
    char title[32]; /* "slipway: edge 1" */
    uid_t uid;      /* root mode */
    gid_t gid;
    enum role_state state;
    pid_t pid; /* 0: none */
    struct channel channel;
    int result_fd;   /* says why the exec failed */
    uint64_t binary; /* which binary its process runs */
    char version[VERSION_TEXT_SIZE];
    bool is_replaced;      /* told to end, to be started anew at once with the present binary */
    bool is_retiring;      /* an edge: told to end for good, others are there */
    unsigned deaths;       /* unexpected ones since the upgrade began */
    unsigned restarts;     /* since the platform's start */
    unsigned quick_deaths; /* in a row, each within ROLE_STEADY_US */
    uint64_t started_at_us, started_wall_us;
    uint64_t
        life; /* counts the processes of this role: a late answer must not reach the next one */
    struct loop_timer timer; /* down: its restart; told to end: SIGKILL */
    int counters_fd;         /* edges: shared slab, access pipe; -1 else */
    int access_writer;
};

/* ---- units (unit.c) */

/* The numbers travel to the next binary: new ones go to the end. */
#define UNIT_STATES(X)                                                                             \
    X(UNIT_STARTING, "starting") /* forked; whether the exec succeeds is not known yet */          \
    X(UNIT_RUNNING, "running")                                                                     \
    X(UNIT_STOPPING, "stopping") /* was signalled; the grace runs */                               \
    X(UNIT_LINGERING,                                                                              \
      "lingering") /* the leader ended while stopping; the rest still has the grace */             \
    X(UNIT_SWEEPING, "sweeping") /* the leader is gone; what is left is being killed */            \
    X(UNIT_EXITED, "exited")     /* nothing is left; waits for FORGET */

enum unit_state {
#define X(state, name) state,
    UNIT_STATES(X)
#undef X
        UNIT_STATE_COUNT
};

struct unit {
    struct keeper *keeper;
    struct list node;
    uint64_t id;
    enum unit_state state;
    pid_t pid; /* of the leader; stays after its end */
    bool is_leader_only;
    bool was_killed, is_oom;
    char *tag;
    char *program; /* for messages */
    struct cgroup cgroup;
    uint64_t started_wall_us, exited_wall_us;
    int wait_status;
    struct rusage usage;
    uint64_t memory_peak_bytes;
    struct loop_timer timer; /* of the present state: exec deadline, grace, next sweep */
    struct loop_io result;   /* STARTING */
    uint32_t request;        /* STARTING: the SPAWN to answer, of which life of control */
    uint64_t control_life;
    uint32_t pending_signal, pending_grace_ms; /* a STOP that came while STARTING */
    uint32_t last_signal;
    uint64_t sweep_started_us;
    bool is_stillborn; /* never ran: leaves the table unseen */
};

/* ---- streams and held descriptors (stream.c, held.c) */

struct stream {
    struct list node;
    uint64_t id, unit;
    uint32_t kind;
    bool is_announced; /* its unit runs: logd may have it */
    char *label;
    int fd;
};

struct held {
    char *name; /* NULL: free */
    int fd;
};

/* ---- folders given to another owner, in a child of its own as that takes time (directory.c) */

struct giving {
    struct keeper *keeper;
    pid_t pid; /* 0: free */
    uint32_t request;
    uint64_t control_life;
    struct loop_timer deadline;
};

/* ---- listeners (setup.c) */

struct listener {
    int fd;
    enum keeper_listener_kind kind;
    char address[ADDRESS_TEXT_SIZE]; /* as bound: a port that was 0 has its number */
    unsigned port;
};

/* ---- the platform's end (quit.c) */

enum quit_stage {
    QUIT_NOT,
    QUIT_EDGES,
    QUIT_SIGNER,
    QUIT_CONTROL,
    QUIT_UNITS,
    QUIT_LOGD,
    QUIT_DONE,
    QUIT_STAGE_COUNT
};

/* ---- another binary in the keeper's place (upgrade.c) */

#define UPGRADE_STAGES(X)                                                                          \
    X(UPGRADE_IDLE, "")                                                                            \
    X(UPGRADE_COPY, "copying the new binary")                                                      \
    X(UPGRADE_TRIAL, "trying the new binary")                                                      \
    X(UPGRADE_REST, "waiting for a moment of rest")                                                \
    X(UPGRADE_SIGNER, "replacing signer")                                                          \
    X(UPGRADE_LOGD, "replacing logd")                                                              \
    X(UPGRADE_CONTROL, "replacing control")                                                        \
    X(UPGRADE_EDGES, "starting new edges")                                                         \
    X(UPGRADE_WATCH, "watching all roles")

enum upgrade_stage {
#define X(stage, text) stage,
    UPGRADE_STAGES(X)
#undef X
        UPGRADE_STAGE_COUNT
};

struct upgrade {
    uint32_t id; /* of the newest; 0: none yet */
    enum keeper_upgrade_phase phase;
    enum upgrade_stage stage;
    bool is_back;
    uint32_t drain_ms;
    uint64_t started_wall_us, ended_wall_us;
    char from[VERSION_TEXT_SIZE], to[VERSION_TEXT_SIZE];
    int code;
    char reason[KEEPER_TEXT_MAX], hint[KEEPER_TEXT_MAX];
    struct binary_copy running, wanted; /* COPY */
    struct binary candidate;            /* from COPY to REST */
    pid_t trial_pid;                    /* 0: none */
    struct loop_io trial;               /* its answer */
    int trial_result;                   /* says why its exec failed */
    char answer[KEEPER_TEXT_MAX];
    size_t answer_len;
    uint32_t request; /* the UPGRADE to answer, of which life of control; 0: it is answered */
    uint64_t control_life;
    struct loop_timer timer; /* of the stage: its deadline */
    struct loop_timer look;  /* COPY: the next slice; REST: is it now? */
    uint64_t watch_started_us;
    unsigned deaths_seen; /* WATCH: until its timer was armed */
};

struct keeper {
    const struct keeper_options *options;
    struct keeper_options own_options; /* of a resumed one: what `options` points to */
    struct loop *loop;
    struct keeper_policy policy; /* who may run what; the users of the roles */
    uid_t log_uid;
    gid_t log_gid;
    int lock_fd, state_fd;
    struct binary binary;      /* what runs here and is started as every role */
    struct binary before;      /* what `downgrade` and a failed upgrade return to */
    struct binary spare;       /* becomes `before` again when the upgrade fails */
    uint64_t last_binary;      /* the newest id */
    char start_path[PATH_MAX]; /* where this program lay when the platform started */
    struct upgrade upgrade;
    uint64_t access_stamp; /* the newest access pipe */
    uint64_t marker; /* names the state folder: in the units' environment, in the groups' names */
    uint64_t started_wall_us;
    struct cgroup_root cgroups; /* the zero value: none here */
    struct listener listeners[KEEPER_LISTENERS_MAX];
    size_t listener_count;
    struct role *roles;
    size_t role_count;
    struct list units;
    struct map *units_by_id;
    size_t unit_count;
    struct list streams;
    size_t stream_count;
    struct held held[KEEPER_HELD_MAX];
    struct giving givings[KEEPER_GIVINGS_MAX];
    char *role_environment[KEEPER_VARIABLES_MAX + 1];
    pid_t guard_pid;
    int guard_writer; /* its end tells the guard that the keeper is gone */
    struct loop_signal on_child, on_term, on_int, on_hup, on_usr1;
    enum quit_stage quit;
    unsigned quit_signals;
    uint64_t quit_started_us;
    bool is_quit_advancing;
    struct loop_timer quit_timer;
    bool is_stage_overdue;   /* what this stage waits for was killed */
    bool is_quit_incomplete; /* and yet did not end: the platform ends without it */
    bool was_ready;
    int notify_fd; /* systemd; -1: nobody listens */
    struct loop_timer watchdog;
    uint64_t watchdog_us;
};

/* setup.c: all that blocks, before the loop runs. keeper_close undoes it on every path. */
MUST_USE int keeper_open(struct keeper *keeper, const struct keeper_options *options,
                         struct error *err);
/* The same for a keeper that goes on where another binary left off; on failure nothing of the
 * platform is changed. */
MUST_USE int keeper_open_resumed(struct keeper *keeper, const struct keeper_options *options,
                                 struct slice state, struct error *err);
void keeper_close(struct keeper *keeper);
/* The first listener of a kind; NULL: none. */
const struct listener *listener_first(const struct keeper *keeper, enum keeper_listener_kind kind);

/* role_table.c */
MUST_USE int roles_make_table(struct keeper *keeper, struct error *err);
MUST_USE int roles_init(struct keeper *keeper, struct error *err);
void roles_start(struct keeper *keeper);
void roles_done(struct keeper *keeper);
/* A row of the table, down and without anything that it needs. */
MUST_USE int role_add(struct keeper *keeper, const struct keeper_role_entry *entry, unsigned index,
                      struct role **ret_role, struct error *err);
const struct keeper_role_entry *role_entry_find(const struct keeper *keeper, uint64_t kind);
struct role *role_find(struct keeper *keeper, enum keeper_role kind, unsigned index);
struct role *role_find_pid(struct keeper *keeper, pid_t pid);
/* An edge more, with an index that no living edge has. ERR_LIMIT: there is none. On failure the
 * table is as before. */
MUST_USE int edge_add(struct keeper *keeper, struct error *err);
unsigned edges_addable(const struct keeper *keeper);
bool role_is_current(const struct role *role); /* runs the present binary, and is to go on */
unsigned edges_current(const struct keeper *keeper);
unsigned roles_deaths(const struct keeper *keeper); /* of the current ones */
/* One that does not serve with the present binary; of the edges only current ones are asked for.
 * KEEPER_ROLE_COUNT: of any kind. */
const struct role *role_find_unready(const struct keeper *keeper, enum keeper_role kind);

/* role.c */
const char *role_name(const struct role *role); /* "edge 1" */
void role_start(struct role *role);
void role_resumed(struct role *role, int channel_fd, uint64_t timer_at_us); /* its process lives */
/* Have it end and started anew with the present binary; SIGKILL after grace_ms. */
void role_replace(struct role *role, uint32_t grace_ms);
void edge_retire(struct role *role, uint32_t grace_ms); /* ends for good once it has drained */
enum keeper_role_phase role_phase(const struct role *role);
bool role_is_up(const struct role *role);
void role_exited(struct role *role, int wait_status);
void role_timer_due(struct loop_timer *timer); /* role->timer */
void role_quit(struct role *role, uint64_t grace_ms);
void role_kill(struct role *role);
void role_ready(struct role *role);
const char *role_state_name(enum role_state state);
/* Send to a role that is up; else nothing. One that does not read its channel is killed, and learns
 * all anew; one that has closed it is about to end, and misses nothing. */
void role_post(struct role *role, const void *message, size_t len, const char *const *strings,
               size_t string_count, int fd);

/* handover.c: what a role is told at its start and what all are told of its change */
void handover_role(struct role *role);
void handover_state(struct role *role); /* ROLE to control */
void handover_counters(const struct role *edge, struct role *to);

/* request.c: what control (and logd) ask for */
void request_received(struct role *role, const void *message, size_t len, int *fds,
                      size_t fd_count);
void request_reply(struct keeper *keeper, uint64_t control_life, uint32_t request,
                   const struct error *err);

/* unit.c */
struct resume_unit;
MUST_USE int unit_adopt(struct keeper *keeper, const struct resume_unit *record, struct error *err);
void unit_save(const struct unit *unit, struct resume_unit *ret_record);
MUST_USE int unit_spawn(struct keeper *keeper, struct message_spawn *spawn, int *stdin_fd,
                        uint64_t control_life,
                        struct error *err); /* answers the request itself unless it fails */
MUST_USE int unit_stop(struct keeper *keeper, const struct keeper_stop *stop, struct error *err);
MUST_USE int unit_forget(struct keeper *keeper, uint64_t id, struct error *err);
struct unit *unit_find_pid(struct keeper *keeper, pid_t pid);
void unit_leader_ended(struct unit *unit); /* before it is reaped */
void unit_leader_reaped(struct unit *unit, int wait_status, const struct rusage *usage);
void units_sweep(
    struct keeper *keeper); /* some child ended: whoever waits for leftovers looks again */
void units_stop_all(struct keeper *keeper, int number, uint64_t grace_ms);
size_t units_running(const struct keeper *keeper);
void unit_describe(const struct unit *unit, struct role *to); /* UNIT */
const char *unit_state_name(enum unit_state state);
void units_done(struct keeper *keeper);

/* orphan.c: processes that lost their parent. Where control groups are, they tell whose an orphan
 * is. Without, every unit's leader adopts what is below it, so that a process which became the
 * keeper's child has lost its leader. */
size_t orphans_kill(struct keeper *keeper); /* the keeper's stray children; how many there were */
void orphans_kill_all(void);                /* every child, at the keeper's end */
size_t
orphans_kill_marked(uint64_t marker); /* whoever carries the platform's mark; how many there were */
void orphans_format_marker(uint64_t marker, uint64_t unit, char text[KEEPER_MARKER_SIZE]);

/* stream.c */
MUST_USE int stream_add(struct keeper *keeper, uint64_t id, uint64_t unit, uint32_t kind,
                        const char *label, int *fd, struct error *err); /* takes fd on success */
void stream_announce(struct keeper *keeper,
                     uint64_t unit); /* to logd: the streams of a unit that runs now */
void stream_describe(const struct stream *stream, struct role *to);
void stream_done(struct keeper *keeper, uint64_t id);
void stream_drop_unit(struct keeper *keeper, uint64_t unit); /* it never ran */
void streams_done(struct keeper *keeper);

/* held.c */
MUST_USE int held_put(struct keeper *keeper, const char *name, int *fd,
                      struct error *err); /* takes fd on success */
MUST_USE int held_drop(struct keeper *keeper, const char *name, struct error *err);
void held_describe(const struct keeper *keeper, struct role *to);
void held_done(struct keeper *keeper);

/* directory.c */
MUST_USE int directory_request(struct keeper *keeper, const struct message_directory *request,
                               uint64_t control_life, bool *ret_is_pending,
                               struct error *err); /* pending: the reply comes later */
bool directory_child_exited(struct keeper *keeper, pid_t pid, int wait_status);
void directories_stop(struct keeper *keeper);
void giving_overdue(struct loop_timer *timer);
size_t directories_pending(const struct keeper *keeper);

/* guard.c: the sibling that ends what is left when the keeper itself is killed */
MUST_USE int guard_start(struct keeper *keeper, struct error *err);
void guard_stop(struct keeper *keeper);

/* A new guard in the place of one that an earlier binary started. */
MUST_USE int guard_renew(struct keeper *keeper, struct error *err);

/* binary.c */
/* Open what is to be executed, to copy it: only what nobody but the keeper's user (or root) could
 * have written, so that nothing that happens to the file later matters. ERR_INVALID,
 * ERR_PERMISSION, ERR_LIMIT: not such a program. */
MUST_USE int binary_copy_begin(const struct keeper *keeper, const char *path,
                               struct binary_copy *ret_copy, struct error *err);
MUST_USE int binary_copy_begin_running(const struct keeper *keeper, struct binary_copy *ret_copy,
                                       struct error *err);
/* Some of it, as the keeper has others to serve. 1: call again; 0: all, and *ret_fd is the
 * caller's: nobody can write to it. On failure the copy is still to be stopped. */
MUST_USE int binary_copy_step(struct binary_copy *copy, int *ret_fd, struct error *err);
void binary_copy_stop(struct binary_copy *copy); /* idempotent */
/* The same one under an id and a descriptor of its own. */
MUST_USE int binary_dup(struct keeper *keeper, const struct binary *binary,
                        struct binary *ret_binary, struct error *err);
void binary_close(struct binary *binary);

/* resumed.c: the tables to records and back */
MUST_USE int resumed_save(struct keeper *keeper, int *ret_fd, struct error *err);
MUST_USE int resumed_load(struct keeper *keeper, struct slice state, struct error *err);
/* Roles of kinds that this version does not have: their processes end. Once nobody goes back. */
void resumed_end_unknown(const struct keeper *keeper, struct slice state);
void resumed_mark(struct slice state, bool is_closed_by_exec); /* every descriptor in the state */

/* succession.c */
/* Execute keeper->binary in this one's place. Returns only when that failed; then all is as before.
 */
MUST_USE int keeper_execute(struct keeper *keeper, struct error *err);
/* Open a keeper with the state that the binary before left. On failure nothing was
 * changed, or the binary before is executed again. */
MUST_USE int keeper_take_over(struct keeper *keeper, const struct keeper_options *options,
                              struct error *err);

/* trial.c: ends with upgrade_tried or upgrade_refuse */
MUST_USE int trial_start(struct keeper *keeper, struct error *err);
void trial_kill(struct upgrade *upgrade);
bool trial_child_exited(struct keeper *keeper, pid_t pid);

/* upgrade.c */
MUST_USE int upgrade_begin(struct keeper *keeper, const struct keeper_upgrade *wanted,
                           const char *path, uint64_t control_life, struct error *err);
void upgrade_resumed(struct keeper *keeper); /* executed: now the roles */
void upgrade_role_ready(struct role *role);
void upgrade_role_died(struct role *role, int wait_status);
void upgrade_tried(struct keeper *keeper);                           /* the binary can take over */
void upgrade_refuse(struct keeper *keeper, const struct error *err); /* nothing was changed yet */
void upgrade_stop(struct keeper *keeper);                            /* the platform ends */
void upgrade_describe(const struct keeper *keeper, struct role *to);

/* quit.c */
void quit_request(struct keeper *keeper);
void quit_advance(struct keeper *keeper); /* something ended: is the stage over? */
/* A role that died is started again until its own stage is over; is_done: it ended because it was
 * asked to. */
bool quit_allows_restart(const struct role *role, bool is_done);
void quit_tell_role(struct role *role); /* it just started: if its stage has come, it hears so */
const char *quit_stage_name(enum quit_stage stage);

/* systemd.c: news for the service manager */
void systemd_open(struct keeper *keeper);
void systemd_send(struct keeper *keeper, const char *format, ...) PRINTF_LIKE(2, 3);
void systemd_close(struct keeper *keeper);

#endif
