/* confine_reach.c - Landlock: what paths, ports and signals a process may reach.
 *
 * The numbers are the kernel's own, written out here because the headers of a build machine may be
 * older than the kernel that the program runs on; what a kernel does not know is not asked of it.
 */
#include "os/confine.h"

#include "base/compiler.h"
#include "base/log.h"
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RULESET_VERSION 1u
#define RULE_NET_PORT   2

/* Rights on files, by the version that brought them: execute, write, remove, make; refer; truncate;
 * ioctl. Reading is left alone: sites and certificates appear where nobody knows in advance. */
#define FILES_1         ((1ull << 0) | (1ull << 1) | (0x1ffull << 4))
#define REFER_2         (1ull << 13)
#define TRUNCATE_3      (1ull << 14)
#define BIND_TCP_4      (1ull << 0)
#define CONNECT_TCP_4   (1ull << 1)
#define ABSTRACT_UNIX_6 (1ull << 0)
#define SIGNAL_6        (1ull << 1)

struct ruleset {
    uint64_t files, net, scopes;
};

struct port_rule {
    uint64_t allowed, port;
};

static size_t ruleset_make(int version, bool has_ports, struct ruleset *ret_ruleset)
{
    *ret_ruleset = (struct ruleset){.files = FILES_1};
    if (version >= 2)
        ret_ruleset->files |= REFER_2;
    if (version >= 3)
        ret_ruleset->files |= TRUNCATE_3;
    if (version < 4)
        return offsetof(struct ruleset, net);
    ret_ruleset->net = BIND_TCP_4 | (has_ports ? CONNECT_TCP_4 : 0);
    if (version < 6)
        return offsetof(struct ruleset, scopes);
    ret_ruleset->scopes = ABSTRACT_UNIX_6 | SIGNAL_6;
    return sizeof(*ret_ruleset);
}

int confine_reach(unsigned port_first, unsigned port_count)
{
    struct ruleset ruleset;
    long version, fd = -1;
    bool is_good;

    if (!confine_is_real())
        return 0;
    version = syscall(SYS_landlock_create_ruleset, NULL, 0, RULESET_VERSION);
    if (version < 1)
        return 0;
    fd = syscall(SYS_landlock_create_ruleset, &ruleset,
                 ruleset_make((int)version, port_count > 0, &ruleset), 0);
    is_good = fd >= 0;
    for (unsigned i = 0; is_good && version >= 4 && i < port_count; i++) {
        struct port_rule rule = {.allowed = CONNECT_TCP_4, .port = port_first + i};

        is_good = syscall(SYS_landlock_add_rule, fd, RULE_NET_PORT, &rule, 0) == 0;
    }
    is_good = is_good && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
              syscall(SYS_landlock_restrict_self, fd, 0) == 0;
    if (fd >= 0)
        (void)close((int)fd);
    if (!is_good) {
        log_warning("the kernel does not limit what files and ports are reached; going on without");
        return 0;
    }
    return version >= 6 ? 6 : version >= 4 ? 4 : 1;
}
