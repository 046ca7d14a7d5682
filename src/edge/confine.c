/* confine.c - what the edge may ask of the kernel, once it runs (seccomp(2)).
 *
 * Why: this process reads what strangers send. Should one of them take it over, it cannot start a
 * program, make memory executable, write or create a file, listen, trace, or change its identity;
 * all of that fails with EPERM.
 *
 * Gap: openat2 keeps its flags in memory, where a filter cannot look; against writing through it
 * stands only the uid, which owns nothing.
 */
#include "os/confine.h"
#include "edge/edge_private.h"
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
    SYS_fcntl,
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
    SYS_prlimit64,
    SYS_getpid,
    SYS_gettid,
    SYS_tgkill,
    SYS_restart_syscall,
    SYS_exit,
    SYS_exit_group,
};

void edge_confine(void)
{
    confine(&(struct confine_spec){
        .calls = allowed, .call_count = ARRAY_LEN(allowed), .may_connect = true, .may_read = true});
}
