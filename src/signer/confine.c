/* confine.c - the signer opens nothing, connects to nowhere and makes nothing: it receives, signs
 * and answers. */
#include "os/confine.h"

#include "signer/signer_private.h"
#include <sys/syscall.h>

static const int allowed[] = {
    /* its channels */
    SYS_recvmsg,
    SYS_sendmsg,
    SYS_close,
    SYS_fcntl, /* seals of a memfd, duplicates of descriptors */
    SYS_fstat,
    SYS_newfstatat, /* fstat(2) of newer C libraries */
    SYS_epoll_ctl,
    SYS_epoll_pwait,
#ifdef SYS_epoll_wait
    SYS_epoll_wait,
#endif
    /* signals, the log */
    SYS_read,
    SYS_write,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    /* memory, time, chance, the end */
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    SYS_clock_gettime,
    SYS_getrandom,
    SYS_futex,
    SYS_getpid,
    SYS_gettid,
    SYS_tgkill, /* abort(3) */
    SYS_rt_sigaction,
    SYS_restart_syscall,
    SYS_exit,
    SYS_exit_group,
};

void signer_confine(void)
{
    confine(&(struct confine_spec){.calls = allowed, .call_count = ARRAY_LEN(allowed)});
}
