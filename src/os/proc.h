/* proc.h - what the kernel says of processes (/proc), read by the one who shows it. */
#ifndef OS_PROC_H
#define OS_PROC_H

#include "base/error.h"
#include <stdbool.h>
#include <sys/types.h>

struct proc_usage {
    double cpu_seconds;    /* user + system, children that were waited for included */
    uint64_t memory_bytes; /* resident */
    unsigned processes;
};

/* Sum over the session that `leader` leads (every unit is a session of its own). ERR_NOT_FOUND. */
MUST_USE int proc_session_usage(pid_t leader, struct proc_usage *ret_usage, struct error *err);
/* Field 22 of /proc/pid/stat: with the pid it names a process for ever. ERR_NOT_FOUND. */
MUST_USE int proc_start_ticks(pid_t pid, uint64_t *ret_ticks);
/* All pids whose session is `session`, at most `capacity`. */
size_t proc_session_members(pid_t session, pid_t *ret_pids, size_t capacity);
/* Direct children of `parent`, at most `capacity`. */
size_t proc_children(pid_t parent, pid_t *ret_pids, size_t capacity);
bool proc_is_alive(pid_t pid);

#endif
