/* confine.c - the signer opens nothing, connects to nowhere and makes nothing: it receives, signs
 * and answers. */
#include "os/confine.h"

#include "signer/signer_private.h"
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int allowed[] = {
    /* its channels */
    SYS_recvmsg,
    SYS_sendmsg,
    SYS_close,
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
    SYS_rt_sigaction,
    SYS_restart_syscall,
    SYS_exit,
    SYS_exit_group,
};

/* Not F_SETOWN and its like: with them a descriptor sends signals. */
static const uint32_t fcntl_commands[] = {F_DUPFD_CLOEXEC, F_GETFD, F_SETFD,
                                          F_GETFL,         F_SETFL, F_GET_SEALS};

void signer_confine(void)
{
    const uint32_t own_pid[] = {(uint32_t)getpid()};
    const struct confine_rule rules[] = {
        {SYS_fcntl, 1, fcntl_commands, ARRAY_LEN(fcntl_commands)},
        {SYS_tgkill, 0, own_pid, 1}, /* abort(3) */
    };

    confine(&(struct confine_spec){.calls = allowed,
                                   .call_count = ARRAY_LEN(allowed),
                                   .rules = rules,
                                   .rule_count = ARRAY_LEN(rules)});
}
