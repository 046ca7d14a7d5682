/* control_groups.h - groups for tests that may be killed at any moment: each run names its own
 * after its process, and removes those of runs that are no more. */
#ifndef TEST_CONTROL_GROUPS_H
#define TEST_CONTROL_GROUPS_H

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/cgroup.h"

#define CONTROL_GROUPS_PREFIX "slipway-test-"

/* "slipway-test-<pid>" of a process that is gone. */
static inline bool control_groups_is_stale(const char *name)
{
    const char *number = name + strlen(CONTROL_GROUPS_PREFIX);
    char *end = NULL;
    long pid;

    if (strncmp(name, CONTROL_GROUPS_PREFIX, strlen(CONTROL_GROUPS_PREFIX)) != 0)
        return false;
    pid = strtol(number, &end, 10);
    return pid > 1 && *end == '\0' && kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

static inline void control_groups_clear_stale(const struct cgroup_hierarchy *mine)
{
    struct cgroup_root stale = {.count = 1, .hierarchies = {*mine}};
    char *name = strrchr(stale.hierarchies[0].folder, '/');
    DIR *parent;

    *name++ = '\0';
    parent = opendir(stale.hierarchies[0].folder);
    name[-1] = '/';
    for (struct dirent *entry; parent && (entry = readdir(parent));) {
        size_t room =
            sizeof stale.hierarchies[0].folder - (size_t)(name - stale.hierarchies[0].folder);

        if (!control_groups_is_stale(entry->d_name) || strlen(entry->d_name) >= room)
            continue;
        memcpy(name, entry->d_name, strlen(entry->d_name) + 1);
        (void)cgroup_root_clear(&stale, 1000);
        cgroup_root_remove(&stale);
    }
    if (parent)
        (void)closedir(parent);
}

/* False: this machine lets us make none; *ret_root is the zero value. */
static inline bool control_groups_open(struct cgroup_root *ret_root)
{
    char name[64];

    *ret_root = (struct cgroup_root){0};
    (void)snprintf(name, sizeof name, CONTROL_GROUPS_PREFIX "%d", (int)getpid());
    if (cgroup_root_open(ret_root, name, NULL) < 0)
        return false;
    for (size_t i = 0; i < ret_root->count; i++)
        control_groups_clear_stale(&ret_root->hierarchies[i]);
    return true;
}

/* False: something is left. */
static inline bool control_groups_close(struct cgroup_root *root)
{
    bool is_clear = cgroup_root_clear(root, 10000);

    cgroup_root_remove(root);
    for (size_t i = 0; i < root->count; i++)
        is_clear = is_clear && access(root->hierarchies[i].folder, F_OK) < 0;
    *root = (struct cgroup_root){0};
    return is_clear;
}

#endif
