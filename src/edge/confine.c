/* confine.c - what the edge may ask of the kernel, once it runs (seccomp(2)).
 *
 * Why: this process reads what strangers send. Should one of them take it over, it cannot start a
 * program, make memory executable, write or create a file, listen, trace, or change its identity;
 * all of that fails with EPERM.
 *
 * Shape: a list of calls, and four whose arguments matter. Anything else is refused rather than
 * punished: a C library that tries a newer call first falls back, and a mistake in the list shows
 * in the log instead of as an outage.
 *
 * Gap: openat2 keeps its flags in memory, where a filter cannot look; against writing through it
 * stands only the uid, which owns nothing. Sanitized builds are not confined: the sanitizers need
 * calls that the edge does not.
 */
#include "edge/edge_private.h"
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CONFINE_ARCH 0u
#elif defined(__x86_64__)
#define CONFINE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define CONFINE_ARCH AUDIT_ARCH_AARCH64
#else
#define CONFINE_ARCH 0u
#endif

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

#define LOAD(field)                                                                                \
    ((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field)))
/* The low half of an argument: both machines are little-endian, and these are ints. */
#define LOAD_ARGUMENT(i)                                                                           \
    ((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,                                        \
                                  offsetof(struct seccomp_data, args) + (i)*8u))
#define RETURN(action) ((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, (action)))
#define SKIP_UNLESS(value, count)                                                                  \
    ((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (count)))
#define SKIP_IF(value, count)                                                                      \
    ((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (count), 0))
#define SKIP_IF_ANY(bits, count)                                                                   \
    ((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits), (count), 0))

#define REFUSE (SECCOMP_RET_ERRNO | EPERM)

struct program {
    struct sock_filter steps[2 * ARRAY_LEN(allowed) + 40];
    unsigned short len;
};

static void add(struct program *program, struct sock_filter step)
{
    assert(program->len < ARRAY_LEN(program->steps));
    program->steps[program->len++] = step;
}

/* `call` is allowed when argument `argument` has none of `bits`. */
static void allow_without_bits(struct program *program, int call, unsigned argument, unsigned bits)
{
    add(program, SKIP_UNLESS((unsigned)call, 4));
    add(program, LOAD_ARGUMENT(argument));
    add(program, SKIP_IF_ANY(bits, 1));
    add(program, RETURN(SECCOMP_RET_ALLOW));
    add(program, RETURN(REFUSE));
}

static void build(struct program *program)
{
    /* Another calling convention numbers its calls in another way: none of that. */
    add(program, LOAD(arch));
    add(program, SKIP_IF(CONFINE_ARCH, 1));
    add(program, RETURN(REFUSE));
    add(program, LOAD(nr));
    /* Connections to instances: no raw, packet or netlink sockets. */
    add(program, SKIP_UNLESS((unsigned)SYS_socket, 5));
    add(program, LOAD_ARGUMENT(0));
    add(program, SKIP_IF(AF_INET, 2));
    add(program, SKIP_IF(AF_UNIX, 1));
    add(program, RETURN(REFUSE));
    add(program, RETURN(SECCOMP_RET_ALLOW));
    allow_without_bits(program, SYS_mmap, 2, PROT_EXEC);
    allow_without_bits(program, SYS_mprotect, 2, PROT_EXEC);
    allow_without_bits(program, SYS_openat, 2, O_WRONLY | O_RDWR | O_CREAT | O_TRUNC);
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
        add(program, SKIP_UNLESS((unsigned)allowed[i], 1));
        add(program, RETURN(SECCOMP_RET_ALLOW));
    }
    add(program, RETURN(REFUSE));
}

void edge_confine(void)
{
    struct program program = {.len = 0};
    struct sock_fprog filter;

    if (CONFINE_ARCH == 0)
        return;
    build(&program);
    filter = (struct sock_fprog){.len = program.len, .filter = program.steps};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0)
        log_warning("the kernel takes no filter of system calls; going on without");
}
