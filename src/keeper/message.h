/* message.h - what control asks for, checked before anything acts on it.
 *
 * Why: control is not root and talks to the network; the keeper is root. So every message is
 * hostile until it stands in one of these structs: sizes, counts, string ends, names, uids. Pure
 * functions (a fuzz target drives them). The structs borrow the message's strings.
 */
#ifndef KEEPER_MESSAGE_H
#define KEEPER_MESSAGE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/keeper_protocol.h"

#define KEEPER_MARKER_VARIABLE "SLIPWAY_UNIT"
#define KEEPER_MARKER_SIZE     64u

/* Who may run what. In unprivileged mode there is one user, and uids in messages mean nothing. */
struct keeper_policy {
    bool is_root;
    uid_t unit_uid_first;
    unsigned unit_uid_count;
    uid_t control_uid, edge_uid;
    gid_t control_gid, edge_gid;
};

struct message_spawn {
    struct keeper_spawn fixed;
    const char *tag, *label, *working_directory, *cgroup;
    char *argv[KEEPER_ARGUMENTS_MAX + 1];   /* NULL-terminated; never empty */
    char *envp[KEEPER_ENVIRONMENT_MAX + 2]; /* NULL-terminated; a place is left for the marker */
    size_t envc;
    bool is_self;
};

struct message_directory {
    struct keeper_make_directory fixed;
    const char *path; /* relative, of plain components only */
};

/* The type; 0 when the message is too short to have one. */
uint32_t message_type(const void *message, size_t len);
uint32_t message_request(const void *message, size_t len); /* 0: none */

/* Each: 0, or ERR_INVALID (the message is malformed), ERR_PERMISSION (well-formed, not allowed)
 * with the story in err; *ret_… is complete only on success. */
MUST_USE int message_read_spawn(const void *message, size_t len, const struct keeper_policy *policy,
                                struct message_spawn *ret_spawn, struct error *err);
MUST_USE int message_read_stop(const void *message, size_t len, struct keeper_stop *ret_stop,
                               struct error *err);
MUST_USE int message_read_forget(const void *message, size_t len, struct keeper_forget *ret_forget,
                                 struct error *err);
MUST_USE int message_read_directory(const void *message, size_t len,
                                    const struct keeper_policy *policy,
                                    struct message_directory *ret_directory, struct error *err);
/* HOLD and DROP. */
MUST_USE int message_read_name(const void *message, size_t len, const char **ret_name,
                               struct error *err);
/* The path is absolute, or "" where the kind needs none. */
MUST_USE int message_read_upgrade(const void *message, size_t len,
                                  struct keeper_upgrade *ret_upgrade, const char **ret_path,
                                  struct error *err);
MUST_USE int message_read_stream_done(const void *message, size_t len, uint64_t *ret_stream,
                                      struct error *err);

#endif
