#include "keeper/keeper_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

#include "os/file.h"
#include "os/proc.h"

#define CHILDREN_MAX    4096
#define ENVIRONMENT_MAX (256u * 1024u)

static bool is_known(struct keeper *keeper, pid_t pid)
{
    if (pid == keeper->guard_pid || pid == keeper->upgrade.trial_pid ||
        role_find_pid(keeper, pid) || unit_find_pid(keeper, pid))
        return true;
    for (size_t i = 0; i < KEEPER_GIVINGS_MAX; i++) {
        if (keeper->givings[i].pid == pid)
            return true;
    }
    return false;
}

/* What a stopping unit left behind when its leader ended still has the unit's grace. */
static bool has_grace(struct keeper *keeper, pid_t pid)
{
    pid_t session = getsid(pid);

    list_each (node, &keeper->units) {
        struct unit *unit = container_of(node, struct unit, node);

        if ((unit->state == UNIT_STOPPING || unit->state == UNIT_LINGERING) && unit->pid == session)
            return !unit->was_killed;
    }
    return false;
}

size_t orphans_kill(struct keeper *keeper)
{
    static pid_t children[CHILDREN_MAX];
    size_t count = proc_children(getpid(), children, ARRAY_LEN(children));
    size_t killed = 0;

    for (size_t i = 0; i < count; i++) {
        if (is_known(keeper, children[i]) || has_grace(keeper, children[i]))
            continue;
        /* Its own children become ours as it dies, and are found by the next sweep. */
        (void)kill(children[i], SIGKILL);
        killed++;
    }
    return killed;
}

void orphans_kill_all(void)
{
    static pid_t children[CHILDREN_MAX];
    size_t count = proc_children(getpid(), children, ARRAY_LEN(children));

    for (size_t i = 0; i < count; i++)
        (void)kill(children[i], SIGKILL);
}

void orphans_format_marker(uint64_t marker, uint64_t unit, char text[KEEPER_MARKER_SIZE])
{
    (void)snprintf(text, KEEPER_MARKER_SIZE, KEEPER_MARKER_VARIABLE "=%016" PRIx64 "-%" PRIu64,
                   marker, unit);
}

/* Whether one of the variables in /proc/pid/environ begins with `mark`. */
static bool is_marked(const char *pid, struct slice mark, char *buffer)
{
    char path[64];
    size_t len = 0;
    CLEANUP(fd_closep) int fd = -1;

    (void)snprintf(path, sizeof path, "/proc/%.16s/environ", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && len < ENVIRONMENT_MAX) {
        ssize_t got = read(fd, buffer + len, ENVIRONMENT_MAX - len);

        if (got <= 0)
            break;
        len += (size_t)got;
    }
    for (const char *at = buffer; len >= mark.len;) {
        const char *end = memchr(at, 0, len);
        size_t step = end ? (size_t)(end - at) + 1 : len;

        if (memcmp(at, mark.ptr, mark.len) == 0)
            return true;
        at += step;
        len -= step;
    }
    return false;
}

size_t orphans_kill_marked(uint64_t marker)
{
    char mark[KEEPER_MARKER_SIZE];
    char *buffer = malloc(ENVIRONMENT_MAX);
    DIR *processes = buffer ? opendir("/proc") : NULL;
    size_t killed = 0;
    struct slice prefix;

    orphans_format_marker(marker, 0, mark);
    prefix = (struct slice){mark, strlen(mark) - 1}; /* of every unit: without the 0 */
    for (struct dirent *entry = processes ? readdir(processes) : NULL; entry;
         entry = readdir(processes)) {
        long pid = strtol(entry->d_name, NULL, 10);

        if (pid > 1 && pid != getpid() && is_marked(entry->d_name, prefix, buffer)) {
            (void)kill((pid_t)pid, SIGKILL);
            killed++;
        }
    }
    if (processes)
        (void)closedir(processes);
    free(buffer);
    return killed;
}
