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

struct confine_spec {
    const int *calls; /* allowed whatever their arguments */
    size_t call_count;
    /* Always without PROT_EXEC: mmap and mprotect. The others only when said so: */
    bool may_connect; /* socket(2) for IPv4 and unix */
    bool may_read;    /* openat(2) without write, create or truncate */
};

/* For this process, for ever. Logs a warning when the kernel takes no filter. */
void confine(const struct confine_spec *spec);
/* True where confine() does something: not in sanitized builds. For tests. */
bool confine_is_real(void);

#endif
