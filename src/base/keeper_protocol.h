/* keeper_protocol.h - the messages between the keeper and the roles.
 *
 * Why: the keeper is root and parses nothing, so what it is told has a fixed layout: one struct a
 * message on a SOCK_SEQPACKET pair (fd 3 of every role), then a region of NUL-terminated strings
 * where the struct says so. Both ends are the same binary on one machine, so the layout is native;
 * KEEPER_PROTOCOL_VERSION changes when a keeper and a role of another build could misread each
 * other: during an upgrade they talk. So a struct that strings follow never grows (new strings go
 * behind the last one), the others grow at their end, and an upgrade to a binary with another
 * protocol version is refused. Reader's duty: check the size against the type, the string count
 * against the region, every string's end.
 *
 * What each side sends:
 *   keeper → every role     HELLO first, then PEER …, and QUIT when the platform stops
 *   keeper → control        ROLE for each role and on each change, COUNTERS, HELD, UNIT for each
 *                           running or unforgotten unit, UPGRADE_STATE, then TABLE_END; later UNIT
 *                           on every change, REPLY to each request, UPGRADE_STATE on each step
 *   keeper → edge           LISTENER …, COUNTERS (its own slab), HELD ("snapshot"), ACCESS (write
 *                           end of its access pipe), TABLE_END
 *   keeper → signer         HELD ("keys"), TABLE_END
 *   keeper → logd           STREAM for each open output pipe, TABLE_END; later STREAM as units
 *                           start
 *   role → keeper           READY once it serves; control: SPAWN STOP FORGET MAKE_DIRECTORY HOLD
 *                           DROP UPGRADE; logd: STREAM_DONE
 *
 * PEER pairs: control with each edge, with logd and with the signer; each edge with the signer.
 */
#ifndef BASE_KEEPER_PROTOCOL_H
#define BASE_KEEPER_PROTOCOL_H

#include "base/compiler.h"
#include <stdbool.h>

#define KEEPER_PROTOCOL_VERSION  1u
#define KEEPER_CHANNEL_FD        3
#define KEEPER_SPAWN_STRINGS_MAX (128u * 1024u)
#define KEEPER_ARGUMENTS_MAX     256u
#define KEEPER_ENVIRONMENT_MAX   1024u
#define KEEPER_TEXT_MAX          512u /* tag, label, held name, error text */
#define KEEPER_HELD_MAX          64u
#define KEEPER_UNITS_MAX         4096u
#define KEEPER_EDGES_MAX         64u
/* Open output streams. The keeper makes no more, logd takes as many: one that it refused would
 * never be read, and its writer would block for ever. */
#define KEEPER_STREAMS_MAX (KEEPER_UNITS_MAX * 4u)
/* The longest that a recursive MAKE_DIRECTORY takes before it is answered. */
#define KEEPER_GIVING_MAX_MS 600000u
/* The longest that an UPGRADE takes before it is answered: copies, trial, moment of rest. */
#define KEEPER_UPGRADE_ANSWER_MAX_MS 60000u

enum keeper_role {
    KEEPER_ROLE_KEEPER,
    KEEPER_ROLE_CONTROL,
    KEEPER_ROLE_EDGE,
    KEEPER_ROLE_LOGD,
    KEEPER_ROLE_SIGNER, /* holds the private keys of the certificates; signs for the edges */
    KEEPER_ROLE_COUNT
};

enum keeper_message_type {
    KEEPER_HELLO = 1,
    KEEPER_PEER,
    KEEPER_QUIT,
    KEEPER_ROLE,
    KEEPER_COUNTERS,
    KEEPER_HELD,
    KEEPER_UNIT,
    KEEPER_TABLE_END,
    KEEPER_REPLY,
    KEEPER_LISTENER,
    KEEPER_ACCESS,
    KEEPER_STREAM,
    KEEPER_UPGRADE_STATE,
    KEEPER_READY = 100,
    KEEPER_SPAWN,
    KEEPER_STOP,
    KEEPER_FORGET,
    KEEPER_MAKE_DIRECTORY,
    KEEPER_HOLD,
    KEEPER_DROP,
    KEEPER_STREAM_DONE,
    KEEPER_UPGRADE,
};

struct keeper_header {
    uint32_t type;
    uint32_t request; /* chosen by the sender of a request, echoed in KEEPER_REPLY; else 0 */
};

enum { KEEPER_FLAG_ROOT = 1, /* the platform runs as root: uids switch, cgroups apply */ };

/* strings: state directory, address of the first plain listener ("0.0.0.0:80", "unix:/…"), address
 * of the first TLS listener ("" when there is none), version text of the keeper's binary, version
 * text of the binary that `downgrade` returns to ("" when there is none) */
struct keeper_hello {
    struct keeper_header header;
    uint32_t protocol_version;
    uint32_t role, role_index; /* edges count from 1; others 0 */
    uint32_t edge_count;
    uint32_t flags;
    uint32_t log_level;
    uint32_t unit_uid_first,
        unit_uid_count; /* root mode: what SPAWN may ask for; uid i has gid i and a passwd entry */
    uint32_t control_uid, edge_uid, log_uid; /* root mode */
    uint32_t http_port;                      /* of the first plain listener, host order */
    uint32_t https_port;                     /* of the first TLS listener; 0: none */
};

/* fd: this side's end of a fresh channel to that role. A second one for the same role replaces the
 * first. */
struct keeper_peer {
    struct keeper_header header;
    uint32_t role, role_index;
};

enum {
    /* Another process of this role takes over, and what runs stays: end, but stop nothing. An edge
     * lets requests and tunnels go on until the grace ends. */
    KEEPER_QUIT_REPLACED = 1,
};

struct keeper_quit {
    struct keeper_header header;
    uint32_t grace_ms; /* finish within this, then exit 0 */
    uint32_t flags;
};

enum keeper_role_phase {
    KEEPER_PHASE_DOWN, /* waits for its restart */
    KEEPER_PHASE_STARTING,
    KEEPER_PHASE_SERVING,
    KEEPER_PHASE_DRAINING, /* finishes what it has, then ends for good */
    KEEPER_PHASE_GONE,     /* ended for good: forget it */
};

/* strings: version text of its binary */
struct keeper_role_state {
    struct keeper_header header;
    uint32_t role, role_index;
    int32_t pid; /* 0: down, being restarted */
    uint32_t restarts;
    uint64_t started_at_us; /* wall clock */
    uint32_t phase;         /* enum keeper_role_phase */
    uint32_t reserved;
};

/* fd: the edge's shared counters (base/counters.h). control gets one for every edge. */
struct keeper_counters {
    struct keeper_header header;
    uint32_t role_index;
};

/* fd. strings: name. */
struct keeper_held {
    struct keeper_header header;
};

enum keeper_unit_state { KEEPER_UNIT_RUNNING, KEEPER_UNIT_STOPPING, KEEPER_UNIT_EXITED };

/* strings: tag, cgroup folder ("" when none) */
struct keeper_unit {
    struct keeper_header header;
    uint64_t unit;
    uint32_t state;
    int32_t pid;
    uint64_t started_at_us; /* wall clock */
    uint64_t exited_at_us;  /* EXITED: the leader is reaped and no process of the unit is left */
    int32_t wait_status;    /* as of waitpid(2) */
    uint32_t is_oom;        /* the kernel killed it for memory (cgroup) */
    uint32_t was_killed;    /* the grace passed and SIGKILL was needed */
    uint64_t user_us, system_us;
    uint64_t memory_peak_bytes;
};

/* To control, and to edges and logd as the end of what is handed over at start. */
struct keeper_table_end {
    struct keeper_header header;
};

/* strings: text ("" on success), hint ("" when there is none) */
struct keeper_reply {
    struct keeper_header header;
    int32_t code; /* 0 or an enum error_code */
};

enum keeper_listener_kind { KEEPER_LISTENER_HTTP, KEEPER_LISTENER_HTTPS };

/* fd: listening, non-blocking, shared by all edges */
struct keeper_listener {
    struct keeper_header header;
    uint32_t kind;
};

/* fd: write end, non-blocking, of this edge's access pipe; see peer_protocol.h for what goes in */
struct keeper_access {
    struct keeper_header header;
};

enum keeper_stream_kind {
    KEEPER_STREAM_STDOUT = 1,
    KEEPER_STREAM_STDERR = 2,
    KEEPER_STREAM_ACCESS = 3
};

/* fd: read end, non-blocking. strings: label (of the unit; "" for access pipes). The stream id is
 * unique for the life of the state folder, so that a spool file can carry it. logd answers
 * STREAM_DONE after end of file once all is stored; until then the keeper keeps its own copy and
 * hands it to every new logd. */
struct keeper_stream {
    struct keeper_header header;
    uint64_t stream;
    uint64_t unit; /* 0 for access pipes */
    uint32_t kind;
};

struct keeper_stream_done {
    struct keeper_header header;
    uint64_t stream;
};

struct keeper_ready {
    struct keeper_header header;
};

enum {
    KEEPER_SPAWN_STDIN = 1, /* fd 0 of the message becomes stdin (else /dev/null) */
    KEEPER_SPAWN_LEADER_ONLY =
        2,                 /* STOP signals the leader, not its whole process group (PostgreSQL) */
    KEEPER_SPAWN_SELF = 4, /* the program is this binary: argv[0] is ignored (jobs) */
};

/* strings: tag, label, working directory, cgroup name, then argc arguments, then envc "NAME=value".
 * argv[0] is searched in the PATH of the given environment. The unit is a session and process group
 * of its own. Its id must be new. The REPLY says that it runs (exec succeeded), or why not; exits
 * come as UNIT. `label` goes to logd with the streams: see LABEL in peer_protocol.h. */
struct keeper_spawn {
    struct keeper_header header;
    uint64_t unit;
    uint32_t uid, gid; /* root mode; must lie in the uid range, or be control's own for SELF jobs */
    uint32_t flags;
    uint32_t argc, envc;
    uint32_t nofile_limit;       /* 0: the platform's default */
    uint64_t memory_limit_bytes; /* 0: none */
    uint32_t cpu_limit_millis;   /* thousandths of a core; 0: none */
    uint32_t cpu_weight;         /* 1..10000 as cgroup v2; 0: default 100 */
};

/* Signal, wait grace_ms, then SIGKILL everything of the unit. Again with a shorter grace: shortens.
 * REPLY at once. */
struct keeper_stop {
    struct keeper_header header;
    uint64_t unit;
    uint32_t signal;
    uint32_t grace_ms;
};

/* An EXITED unit leaves the keeper's table. */
struct keeper_forget {
    struct keeper_header header;
    uint64_t unit;
};

/* strings: path relative to the state folder, below apps/, data/, run/, uploads/ or trash/. Made
 * with parents (parents 0711), no symlink followed, owner set. With is_recursive everything below
 * is given to uid:gid, too, and the REPLY comes when that is done. */
struct keeper_make_directory {
    struct keeper_header header;
    uint32_t uid, gid, mode;
    uint32_t is_recursive;
};

/* fd; strings: name. Keep the descriptor (replacing one of that name) and hand it to whoever needs
 * it: "snapshot" goes to edges and control, "keys" (net/keyset.h) to signer and control, all others
 * to control. */
struct keeper_hold {
    struct keeper_header header;
};

/* strings: name */
struct keeper_drop {
    struct keeper_header header;
};

enum keeper_upgrade_kind {
    KEEPER_UPGRADE_TO_PATH,
    KEEPER_UPGRADE_TO_START, /* what lies where the platform was started from */
    KEEPER_UPGRADE_BACK,     /* to the binary before this one */
};

/* strings: path of a binary, absolute ("" unless TO_PATH). The keeper opens it, checks that nobody
 * but its own user could have written it, tries it (it must read the keeper's state and say so),
 * executes it in its own place with every pid and descriptor kept, and then replaces the roles one
 * after another. The REPLY comes once that begins or is refused; UPGRADE_STATE tells each step.
 * When a role of the new binary does not become healthy, the keeper returns to the old one by
 * itself. */
struct keeper_upgrade {
    struct keeper_header header;
    uint32_t kind;
    uint32_t upgrade;  /* its number, after that of the last UPGRADE_STATE */
    uint32_t drain_ms; /* how long the edges that are replaced let requests and tunnels go on */
    uint32_t reserved;
};

/* Whether an upgrade's number comes after another's: within half the circle (RFC 1982), so that no
 * number that was ever sent is the last one. 0 is none. */
static inline bool keeper_upgrade_is_after(uint32_t number, uint32_t other)
{
    return number != 0 && number != other && number - other <= UINT32_MAX / 2;
}

#define KEEPER_UPGRADE_STATES(X)                                                                   \
    X(NONE, "none")           /* none since the platform's start */                                \
    X(TRYING, "trying")       /* the new binary reads the keeper's state */                        \
    X(REPLACING, "replacing") /* it runs; step says which role */                                  \
    X(WATCHING, "watching")   /* all roles are replaced: do they stay up? */                       \
    X(RETURNING, "returning") /* they did not: the old binary runs again */                        \
    X(DONE, "done")           /* final, as are those that follow */                                \
    X(REFUSED, "refused")     /* nothing was changed */                                            \
    X(RETURNED, "returned")   /* all is as it was before */

enum keeper_upgrade_phase {
#define X(state, name) KEEPER_UPGRADE_##state,
    KEEPER_UPGRADE_STATES(X)
#undef X
};

/* strings: version text of the binary before, of the one wanted ("" while unknown), what is being
 * done now, why it failed, what to do */
struct keeper_upgrade_state {
    struct keeper_header header;
    uint32_t upgrade;
    uint32_t phase;                      /* enum keeper_upgrade_phase */
    int32_t code;                        /* REFUSED, RETURNED: an enum error_code */
    uint32_t is_back;                    /* a downgrade */
    uint64_t started_at_us, ended_at_us; /* wall clock; 0: not yet */
};

/* The struct of a message that the keeper sends; SIZE_MAX for types that it does not. */
static inline size_t keeper_message_size(uint32_t type)
{
    switch (type) {
    case KEEPER_HELLO:
        return sizeof(struct keeper_hello);
    case KEEPER_PEER:
        return sizeof(struct keeper_peer);
    case KEEPER_QUIT:
        return sizeof(struct keeper_quit);
    case KEEPER_ROLE:
        return sizeof(struct keeper_role_state);
    case KEEPER_COUNTERS:
        return sizeof(struct keeper_counters);
    case KEEPER_HELD:
        return sizeof(struct keeper_held);
    case KEEPER_UNIT:
        return sizeof(struct keeper_unit);
    case KEEPER_TABLE_END:
        return sizeof(struct keeper_table_end);
    case KEEPER_REPLY:
        return sizeof(struct keeper_reply);
    case KEEPER_LISTENER:
        return sizeof(struct keeper_listener);
    case KEEPER_ACCESS:
        return sizeof(struct keeper_access);
    case KEEPER_STREAM:
        return sizeof(struct keeper_stream);
    case KEEPER_UPGRADE_STATE:
        return sizeof(struct keeper_upgrade_state);
    default:
        return SIZE_MAX;
    }
}

/* Walk the string region of a message. Returns the next string and moves *cursor behind it; NULL
 * when no complete string is left. Start with *cursor = sizeof of the message's struct. */
static inline const char *keeper_next_string(const void *message, size_t len, size_t *cursor)
{
    const char *bytes = (const char *)message + *cursor;
    size_t left = *cursor <= len ? len - *cursor : 0;
    const char *end = left ? __builtin_memchr(bytes, 0, left) : NULL;

    if (!end)
        return NULL;
    *cursor += (size_t)(end - bytes) + 1;
    return bytes;
}

#endif
