/* cgroup.h - control groups: one group for each unit, for its limits, its numbers and its end.
 *
 * Why: a process may leave its session, its process group and its parent, but not its control
 * group. Shapes: a machine has cgroup v2, or v1 (one hierarchy for each controller), or both
 * mounted beside each other. Here a unit has one folder in every hierarchy that is of use; the
 * first one decides who belongs to it. v2 decides where it is mounted, even if its controllers are
 * bound to v1; else the first v1 hierarchy does. All groups live below one folder in each
 * hierarchy, named after the platform, so that those of a platform that was killed are found again
 * by the next start. Needs the right to write there: root, or a delegated subtree.
 */
#ifndef OS_CGROUP_H
#define OS_CGROUP_H

#include "base/error.h"
#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#define CGROUP_HIERARCHIES_MAX 5
#define CGROUP_PATH_MAX        512
#define CGROUP_NAME_MAX        96

enum cgroup_use {
    CGROUP_UNIFIED = 1, /* v2 */
    CGROUP_MEMORY = 2,  /* limits and counts memory */
    CGROUP_CPU = 4,     /* limits the processor's share */
    CGROUP_CPUACCT = 8, /* counts the processor's time */
    CGROUP_PIDS = 16,   /* limits the number of processes and threads */
};

struct cgroup_hierarchy {
    unsigned uses; /* of enum cgroup_use */
    char folder[CGROUP_PATH_MAX];
};

/* The platform's place: the zero value is "no control groups here". */
struct cgroup_root {
    size_t count;
    struct cgroup_hierarchy hierarchies[CGROUP_HIERARCHIES_MAX];
};

/* One unit's group: below each hierarchy of its root, a folder `name`. The zero value is "none". */
struct cgroup {
    const struct cgroup_root *root;
    char name[CGROUP_NAME_MAX];
};

struct cgroup_limits {
    uint64_t memory_bytes; /* 0: none, as below */
    uint32_t cpu_millis;
    uint32_t cpu_weight; /* 1..10000 */
    uint32_t processes;  /* with threads; kept where the machine can, and else silently not */
};

struct cgroup_usage {
    bool has_memory, has_cpu;
    uint64_t memory_bytes;
    uint64_t cpu_us; /* user and system, since the group was made */
};

/* Find what this machine offers and make the platform's folder `name` below the caller's own group.
 * Under v2 the caller moves into a leaf of its own where controllers can only be had so.
 * ERR_UNSUPPORTED: nothing usable; *ret_root is the zero value. */
MUST_USE int cgroup_root_open(struct cgroup_root *ret_root, const char *name, struct error *err);
/* Kill what runs in any group of the root and remove them all, waiting at most deadline_ms. True:
 * nothing is left. */
bool cgroup_root_clear(const struct cgroup_root *root, unsigned deadline_ms);
void cgroup_root_remove(
    const struct cgroup_root *root); /* the empty folders, at the platform's end */
/* True when memory (or cpu) limits can be kept. */
bool cgroup_root_has(const struct cgroup_root *root, enum cgroup_use use);

/* Make the group. `name` is one path component: [A-Za-z0-9_.-], not beginning with a dot. A limit
 * that cannot be set is ERR_UNSUPPORTED in the error, but the group stands; other failures leave
 * nothing behind. */
MUST_USE int cgroup_make(const struct cgroup_root *root, const char *name,
                         const struct cgroup_limits *limits, struct cgroup *ret_cgroup,
                         struct error *err);
/* The file of the i-th hierarchy that a process writes "0" into to enter; false behind the last. */
bool cgroup_procs_path(const struct cgroup *cgroup, size_t i, char path[CGROUP_PATH_MAX]);
void cgroup_kill(const struct cgroup *cgroup); /* SIGKILL to all members; again while not empty */
bool cgroup_is_empty(const struct cgroup *cgroup); /* of processes */
bool cgroup_remove(const struct cgroup *cgroup);   /* false: still in use, try again */
bool cgroup_is_oom_killed(const struct cgroup *cgroup);
uint64_t cgroup_memory_peak(const struct cgroup *cgroup); /* 0: unknown */

/* What stands in keeper_unit: the group's absolute folders that count something, with ':' between;
 * "" for none. False: too long. */
bool cgroup_folders(const struct cgroup *cgroup, char *text, size_t size);
/* Read such a text; any process may. Absent numbers leave has_… false. */
void cgroup_read_usage(const char *folders, struct cgroup_usage *ret_usage);

#endif
