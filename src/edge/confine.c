/* confine.c - what the edge may ask of the kernel, once it runs.
 *
 * Why: this process reads what strangers send. Should one of them take it over, it cannot start a
 * program, make memory executable, write or create a file, listen, trace, signal another process,
 * or change its identity; all of that fails with EPERM or EACCES. test/edge/confine_try.c tries.
 *
 * Two nets. A filter of system calls (os/confine.h) is a list of calls and some whose arguments
 * matter. What lies behind pointers it cannot see: paths and flags of openat2, addresses of
 * connect. For those stands Landlock (confine_reach): no path is written to from Linux 5.13 on;
 * from 6.7 on, and as root, TCP connections go to the ports of instances alone; from 6.12 on none
 * to abstract sockets. Below 6.7 the edge could open any TCP connection that its user may. Paths of
 * unix sockets are left to their permissions, as the edge's user owns nothing.
 */
#include "os/confine.h"
#include "base/peer_protocol.h"
#include "edge/edge_private.h"
#include <fcntl.h>
#include <stddef.h>
#include <sys/syscall.h>

static const int allowed[] = {
    /* the data path */
    SYS_read,
    SYS_write,
    SYS_writev,
    SYS_sendmsg,
    SYS_sendto,
    SYS_recvmsg,
    SYS_recvfrom,
    SYS_sendfile,
    SYS_accept4,
    SYS_connect,
    SYS_shutdown,
    SYS_close,
    SYS_setsockopt,
    SYS_getsockopt,
    SYS_getsockname,
    SYS_getpeername,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
#ifdef SYS_epoll_wait
    SYS_epoll_wait,
#endif
#ifdef SYS_poll
    SYS_poll,
#endif
    SYS_ppoll,
    /* files of sites, snapshots */
    SYS_openat2,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_lseek,
    SYS_pread64,
    SYS_getdents64,
    SYS_dup,
    SYS_dup3,
    /* memory, time, chance, signals, the end */
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    SYS_clock_gettime,
    SYS_gettimeofday,
    SYS_getrandom,
    SYS_futex,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_signalfd4,
    SYS_getpid,
    SYS_gettid,
    SYS_restart_syscall,
    SYS_exit,
    SYS_exit_group,
};

/* Not F_SETOWN and its like: with them a descriptor sends signals. */
static const uint32_t fcntl_commands[] = {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD,     F_SETFD,
                                          F_GETFL, F_SETFL,         F_GET_SEALS, F_GETPIPE_SZ};
static const uint32_t itself[] = {0};

void edge_confine(bool is_root)
{
    const uint32_t own_pid[] = {(uint32_t)getpid()};
    const struct confine_rule rules[] = {
        {SYS_fcntl, 1, fcntl_commands, ARRAY_LEN(fcntl_commands)},
        {SYS_tgkill, 0, own_pid, 1}, /* abort(3) */
        {SYS_prlimit64, 0, itself, 1},
    };
    int reach = confine_reach(PEER_INSTANCE_PORT_FIRST, is_root ? PEER_INSTANCE_PORT_COUNT : 0);

    log_debug("confined; reach: %d", reach);
    confine(&(struct confine_spec){.calls = allowed,
                                   .call_count = ARRAY_LEN(allowed),
                                   .rules = rules,
                                   .rule_count = ARRAY_LEN(rules),
                                   .may_connect = true,
                                   .may_read = true});
}
