/* confine.h - what a process may ask of the kernel from here on (seccomp(2)).
 *
 * Why: a role that reads what others send is confined once it runs. Should one of them take it
 * over, it cannot start a program, make memory executable, trace, or change its identity; what is
 * not on its list fails with EPERM. Refused rather than punished: a C library that tries a newer
 * call first falls back, and a mistake in a list shows in the log instead of as an outage.
 *
 * Sanitized builds are not confined: the sanitizers need calls that the roles do not.
 */
#ifndef OS_CONFINE_H
#define OS_CONFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A call that is allowed when one of its arguments (the low 32 bits) is one of these. */
struct confine_rule {
    int call;
    unsigned argument;
    const uint32_t *values;
    size_t value_count;
};

struct confine_spec {
    const int *calls; /* allowed whatever their arguments */
    size_t call_count;
    const struct confine_rule *rules;
    size_t rule_count;
    /* Always without PROT_EXEC: mmap and mprotect. The others only when said so: */
    bool may_connect; /* socket(2) for IPv4 and unix, streams only */
    bool may_read;    /* openat(2) without write, create or truncate */
};

/* For this process, for ever. Logs a warning when the kernel takes no filter. */
void confine(const struct confine_spec *spec);
/* What a filter cannot see, because it lies behind pointers (landlock(7)): from here on no file is
 * written, made, renamed, removed or executed, by whatever path. Where the kernel can: no TCP port
 * is bound, and of TCP ports only [port_first, port_first + port_count) are connected to (count 0:
 * any); no signal and no connection to an abstract socket leaves this process. Before confine().
 * The version of what the kernel has: 0 nothing, 1 files, 4 ports too, 6 all of it. Cost: a
 * microsecond for each port. */
int confine_reach(unsigned port_first, unsigned port_count);

/* True where confine() does something: not in sanitized builds. For tests. */
bool confine_is_real(void);

#endif
