/* confine.c - a list of calls, and a few whose arguments matter, as a program for the kernel. */
#include "os/confine.h"

#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
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

#define CALLS_MAX  120u
#define RULES_MAX  16u  /* values of all rules together: four times as many */
#define VALUES_MAX 100u /* of one rule: the program's jumps are bytes */

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

#define SOCK_TYPE_MASK 15u

#define REFUSE (SECCOMP_RET_ERRNO | EPERM)

struct program {
    struct sock_filter steps[2 * CALLS_MAX + 8 * RULES_MAX + 48];
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

/* No raw, packet or netlink sockets, no datagrams; of protocols the family's own. */
static void allow_streams(struct program *program)
{
    add(program, SKIP_UNLESS((unsigned)SYS_socket, 11));
    add(program, LOAD_ARGUMENT(0));
    add(program, SKIP_IF(AF_INET, 2));
    add(program, SKIP_IF(AF_UNIX, 1));
    add(program, RETURN(REFUSE));
    add(program, LOAD_ARGUMENT(1));
    add(program, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, SOCK_TYPE_MASK));
    add(program, SKIP_UNLESS(SOCK_STREAM, 3));
    add(program, LOAD_ARGUMENT(2));
    add(program, SKIP_UNLESS(0, 1));
    add(program, RETURN(SECCOMP_RET_ALLOW));
    add(program, RETURN(REFUSE));
}

static void allow_rule(struct program *program, const struct confine_rule *rule)
{
    assert(rule->value_count <= VALUES_MAX);
    add(program, SKIP_UNLESS((unsigned)rule->call, (uint8_t)(2 * rule->value_count + 2)));
    add(program, LOAD_ARGUMENT(rule->argument));
    for (size_t i = 0; i < rule->value_count; i++) {
        add(program, SKIP_UNLESS(rule->values[i], 1));
        add(program, RETURN(SECCOMP_RET_ALLOW));
    }
    add(program, RETURN(REFUSE));
}

static void build(struct program *program, const struct confine_spec *spec)
{
    /* Another calling convention numbers its calls in another way: none of that. */
    add(program, LOAD(arch));
    add(program, SKIP_IF(CONFINE_ARCH, 1));
    add(program, RETURN(REFUSE));
    add(program, LOAD(nr));
    allow_without_bits(program, SYS_mmap, 2, PROT_EXEC);
    allow_without_bits(program, SYS_mprotect, 2, PROT_EXEC);
    if (spec->may_connect)
        allow_streams(program);
    if (spec->may_read)
        allow_without_bits(program, SYS_openat, 2, O_WRONLY | O_RDWR | O_CREAT | O_TRUNC);
    for (size_t i = 0; i < spec->rule_count; i++)
        allow_rule(program, &spec->rules[i]);
    for (size_t i = 0; i < spec->call_count; i++) {
        add(program, SKIP_UNLESS((unsigned)spec->calls[i], 1));
        add(program, RETURN(SECCOMP_RET_ALLOW));
    }
    add(program, RETURN(REFUSE));
}

bool confine_is_real(void)
{
    return CONFINE_ARCH != 0;
}

void confine(const struct confine_spec *spec)
{
    struct program program = {.len = 0};
    struct sock_fprog filter;

    assert(spec->call_count <= CALLS_MAX && spec->rule_count <= RULES_MAX);
    if (CONFINE_ARCH == 0)
        return;
    build(&program, spec);
    filter = (struct sock_fprog){.len = program.len, .filter = program.steps};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0)
        log_warning("the kernel takes no filter of system calls; going on without");
}
