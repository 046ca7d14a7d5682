/* spawn.h - start a process: everything between fork and exec, in the one order that is right.
 *
 * Why: a process of another user must get nothing that it was not given: no descriptor, no signal
 * mask, no group, no capability. The order (cgroup, limits, groups, gid, uid, parent-death signal,
 * folder, descriptors, exec) matters, so it stands once, here. The caller never waits for the exec:
 * it watches the descriptor that it gets back.
 */
#ifndef OS_SPAWN_H
#define OS_SPAWN_H

#include "base/error.h"
#include <stdbool.h>
#include <sys/types.h>

#define SPAWN_CGROUPS_MAX 6

struct spawn {
    char *const
        *argv; /* argv[0] is searched in the PATH of envp, unless exec_fd says what to run */
    char *const *envp;
    int exec_fd;                   /* -1, or an open executable; it should be close-on-exec */
    const char *working_directory; /* NULL: the caller's */
    int stdin_fd, stdout_fd,
        stderr_fd;         /* -1: /dev/null for stdin, the caller's own for the others */
    int channel_fd;        /* becomes fd 3; -1: none */
    bool is_user_switched; /* to uid and gid, with no supplementary groups */
    uid_t uid;
    gid_t gid;
    bool is_session_leader;  /* setsid */
    bool is_subreaper;       /* orphans below it become its children, not the caller's */
    bool is_privilege_final; /* PR_SET_NO_NEW_PRIVS */
    const char *cgroup_procs[SPAWN_CGROUPS_MAX]; /* files to write "0" into before anything else;
                                                    NULL ends */
    uint64_t nofile_limit; /* soft and hard, lowered to the caller's own hard limit; 0: leave */
    int oom_score_adj;     /* best effort */
};

/* Fork and begin. The child gets SIGKILL when the calling thread's process dies, a clean signal
 * state, umask 022, no core file, and no descriptor but 0, 1, 2 and 3 (when given). out: ret_pid,
 * and ret_result_fd (non-blocking; caller closes): becomes readable when the exec has succeeded or
 * failed; ask spawn_result then. ERR_SYSTEM, ERR_LIMIT (no process or descriptor left). */
MUST_USE int spawn_start(const struct spawn *spawn, pid_t *ret_pid, int *ret_result_fd,
                         struct error *err);

/* 0: it runs. ERR_UNAVAILABLE: not known yet. Else why it does not ("unable to start 'node': no
 * such file or directory"); the child has exited or is about to, and still has to be waited for. */
MUST_USE int spawn_result(int result_fd, const char *program, struct error *err);

#endif
