#include "os/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "os/file.h"

#define CPU_PERIOD_US 100000u
#define PROBE_MS      100u
/* Enough for /proc/self/mounts of a machine with many containers, and for the pids of a group: more
 * of either is read again in the next round. */
#define TEXT_MAX (64u * 1024u)

/* What one hierarchy calls its files. */
static const char *memory_limit_file(const struct cgroup_hierarchy *hierarchy)
{
    return hierarchy->uses & CGROUP_UNIFIED ? "memory.max" : "memory.limit_in_bytes";
}

static bool path_of(char *path, size_t size, const char *folder, const char *name, const char *file)
{
    int len =
        snprintf(path, size, "%s%s%s%s%s", folder, *name ? "/" : "", name, *file ? "/" : "", file);

    return len > 0 && (size_t)len < size;
}

/* The first size - 1 bytes of a file, NUL-terminated; false: unreadable. */
static bool read_file(const char *path, char *text, size_t size)
{
    CLEANUP(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;

    if (fd < 0)
        return false;
    while (len + 1 < size) {
        ssize_t got = read(fd, text + len, size - 1 - len);

        if (got < 0)
            return false;
        if (got == 0)
            break;
        len += (size_t)got;
    }
    text[len] = '\0';
    return true;
}

static bool write_file(const char *path, const char *text)
{
    CLEANUP(fd_closep) int fd = open(path, O_WRONLY | O_CLOEXEC);

    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);

    for (const char *found = strstr(text, word); found; found = strstr(found + len, word)) {
        bool begins = found == text || strchr(" ,\n", found[-1]);

        if (begins && strchr(" ,\n", found[len])) /* strchr finds the NUL, too */
            return true;
    }
    return false;
}

/* "memory.events"-like: the number behind `key`; false when the key is absent. */
static bool find_number(const char *text, const char *key, uint64_t *ret_number)
{
    size_t len = strlen(key);

    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, len) == 0 && line[len] == ' ') {
            *ret_number = strtoull(line + len + 1, NULL, 10);
            return true;
        }
    }
    return false;
}

/* The caller's own group in the hierarchy of `controller` ("" = v2), from the lines
 * "N:controllers:/path". */
static bool own_path(const char *self, const char *controller, char *path, size_t size)
{
    for (const char *line = self; line && *line; line = strchr(line, '\n')) {
        char controllers[128];
        const char *first, *second;

        line += *line == '\n';
        first = strchr(line, ':');
        second = first ? strchr(first + 1, ':') : NULL;
        if (!second)
            continue;
        (void)snprintf(controllers, sizeof controllers, "%.*s", (int)(second - first - 1),
                       first + 1);
        if (*controller ? has_word(controllers, controller) : !*controllers) {
            int len = snprintf(path, size, "%.*s", (int)strcspn(second + 1, "\n"), second + 1);

            return len > 0 && (size_t)len < size;
        }
    }
    return false;
}

/* The folder of the caller's own group below a mount; the mount itself where the group cannot be
 * seen (namespaces). */
static bool own_folder(const char *self, const char *controller, const char *mount,
                       char folder[CGROUP_PATH_MAX])
{
    char path[CGROUP_PATH_MAX];
    int len;

    if (!own_path(self, controller, path, sizeof path))
        return false;
    len = snprintf(folder, CGROUP_PATH_MAX, "%s%s", mount, strcmp(path, "/") == 0 ? "" : path);
    if (len <= 0 || len >= CGROUP_PATH_MAX)
        return false;
    if (access(folder, F_OK) < 0)
        (void)snprintf(folder, CGROUP_PATH_MAX, "%s", mount);
    return true;
}

/* Ask for the controllers that units need to be passed on to the groups below `folder`. True:
 * memory is. */
static bool pass_controllers(const char *folder)
{
    static const char *const controllers[] = {"memory", "cpu", "pids"};
    char path[CGROUP_PATH_MAX], text[512];

    if (!path_of(path, sizeof path, folder, "", "cgroup.controllers") ||
        !read_file(path, text, sizeof text))
        return false;
    if (!path_of(path, sizeof path, folder, "", "cgroup.subtree_control"))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(controllers); i++) {
        char request[32];

        (void)snprintf(request, sizeof request, "+%s", controllers[i]);
        if (has_word(text, controllers[i]) && !write_file(path, request))
            continue; /* what came of it is read back below */
    }
    return read_file(path, text, sizeof text) && has_word(text, "memory");
}

/* A v2 group passes controllers on only while it has no process of its own: if we are alone in
 * ours, move into a leaf. */
static bool move_into_leaf(const char *folder)
{
    char path[CGROUP_PATH_MAX], pids[256], mine[32];

    (void)snprintf(mine, sizeof mine, "%d\n", (int)getpid());
    if (!path_of(path, sizeof path, folder, "", "cgroup.procs") ||
        !read_file(path, pids, sizeof pids) || strcmp(pids, mine) != 0)
        return false;
    if (!path_of(path, sizeof path, folder, "keeper", "") ||
        (mkdir(path, 0755) < 0 && errno != EEXIST))
        return false;
    return path_of(path, sizeof path, folder, "keeper", "cgroup.procs") && write_file(path, "0");
}

static void add_unified(struct cgroup_root *root, const char *own, const char *mount,
                        const char *name)
{
    struct cgroup_hierarchy *hierarchy = &root->hierarchies[root->count];
    char path[CGROUP_PATH_MAX], text[512];
    const char *base = own;

    /* Started from a shell its scope is shared, but root may go to the top of the hierarchy. */
    if (!pass_controllers(own) && (!move_into_leaf(own) || !pass_controllers(own)) &&
        geteuid() == 0 && pass_controllers(mount))
        base = mount;
    if (!path_of(hierarchy->folder, sizeof hierarchy->folder, base, name, "") ||
        (mkdir(hierarchy->folder, 0755) < 0 && errno != EEXIST) ||
        !path_of(path, sizeof path, hierarchy->folder, "", "cgroup.procs") ||
        access(path, W_OK) < 0)
        return;
    hierarchy->uses =
        CGROUP_UNIFIED | CGROUP_CPUACCT; /* cpu.stat counts even without the controller */
    (void)pass_controllers(hierarchy->folder);
    if (path_of(path, sizeof path, hierarchy->folder, "", "cgroup.subtree_control") &&
        read_file(path, text, sizeof text)) {
        hierarchy->uses |= has_word(text, "memory") ? CGROUP_MEMORY : 0;
        hierarchy->uses |= has_word(text, "cpu") ? CGROUP_CPU : 0;
        hierarchy->uses |= has_word(text, "pids") ? CGROUP_PIDS : 0;
    }
    root->count++;
}

static void add_legacy(struct cgroup_root *root, const char *self, const char *mount,
                       const char *options, const char *name)
{
    static const struct {
        const char *controller;
        enum cgroup_use use;
    } wanted[] = {{"memory", CGROUP_MEMORY},
                  {"cpu", CGROUP_CPU},
                  {"cpuacct", CGROUP_CPUACCT},
                  {"pids", CGROUP_PIDS}};
    struct cgroup_hierarchy *hierarchy = &root->hierarchies[root->count];
    const char *controller = NULL;
    char own[CGROUP_PATH_MAX], path[CGROUP_PATH_MAX];
    unsigned uses = 0;

    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        if (has_word(options, wanted[i].controller) && !cgroup_root_has(root, wanted[i].use)) {
            uses |= wanted[i].use;
            controller = wanted[i].controller;
        }
    }
    if (!controller || root->count == CGROUP_HIERARCHIES_MAX ||
        !own_folder(self, controller, mount, own))
        return;
    if (!path_of(hierarchy->folder, sizeof hierarchy->folder, own, name, "") ||
        (mkdir(hierarchy->folder, 0755) < 0 && errno != EEXIST) ||
        !path_of(path, sizeof path, hierarchy->folder, "", "cgroup.procs") ||
        access(path, W_OK) < 0)
        return;
    hierarchy->uses = uses;
    root->count++;
}

/* One pass over /proc/self/mounts for the wanted type. */
static void add_mounts(struct cgroup_root *root, char *mounts, const char *self,
                       const char *wanted_type, const char *name)
{
    for (char *line = mounts; line && *line; line = strchr(line, '\n')) {
        char mount[CGROUP_PATH_MAX], type[32], options[512], own[CGROUP_PATH_MAX];

        line += *line == '\n';
        if (sscanf(line, "%*s %511s %31s %511s", mount, type, options) != 3 ||
            strcmp(type, wanted_type) != 0)
            continue;
        if (strcmp(type, "cgroup2") != 0)
            add_legacy(root, self, mount, options, name);
        else if (!root->count && own_folder(self, "", mount, own))
            add_unified(root, own, mount, name);
    }
}

static NORETURN void enter_and_exit(const struct cgroup *group)
{
    char path[CGROUP_PATH_MAX];

    _exit(cgroup_procs_path(group, 0, path) && write_file(path, "0") ? 0 : 1);
}

/* Whether a process can be moved into the groups made here: the right to write there does not tell,
 * as the kernel asks for rights on the way and some controllers have conditions of their own. */
static bool is_enterable(const struct cgroup_hierarchy *hierarchy)
{
    struct cgroup_root alone = {.count = 1, .hierarchies = {*hierarchy}};
    struct cgroup group = {0};
    int status = -1;
    pid_t pid;

    if (cgroup_make(&alone, "probe", NULL, &group, NULL) < 0)
        return false;
    pid = fork();
    if (pid == 0)
        enter_and_exit(&group);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    for (unsigned i = 0; i < PROBE_MS && !cgroup_remove(&group); i++)
        (void)usleep(1000);
    return status == 0;
}

static void drop_unenterable(struct cgroup_root *root)
{
    size_t kept = 0;

    for (size_t i = 0; i < root->count; i++) {
        if (is_enterable(&root->hierarchies[i]))
            root->hierarchies[kept++] = root->hierarchies[i];
        else
            (void)rmdir(root->hierarchies[i].folder);
    }
    root->count = kept;
}

int cgroup_root_open(struct cgroup_root *ret_root, const char *name, struct error *err)
{
    struct cgroup_root root = {0};
    char self[4096];
    struct buf mounts = BUF_INIT(TEXT_MAX * 16);

    if (!read_file("/proc/self/cgroup", self, sizeof self) ||
        file_read("/proc/self/mounts", TEXT_MAX * 16 - 1, &mounts, NULL) < 0) {
        buf_done(&mounts);
        return error_set(err, ERR_UNSUPPORTED, "no control groups: /proc does not tell of any");
    }
    /* Two passes: v2 decides membership wherever it stands in the list. */
    add_mounts(&root, mounts.ptr, self, "cgroup2", name);
    add_mounts(&root, mounts.ptr, self, "cgroup", name);
    buf_done(&mounts);
    drop_unenterable(&root);
    if (!root.count)
        return error_set(err, ERR_UNSUPPORTED, "no control groups that this user may write to");
    *ret_root = root;
    return 0;
}

bool cgroup_root_has(const struct cgroup_root *root, enum cgroup_use use)
{
    for (size_t i = 0; i < root->count; i++) {
        if (root->hierarchies[i].uses & use)
            return true;
    }
    return false;
}

/* Every group below the platform's folders, once a round. Returns how many are left. */
static size_t clear_round(const struct cgroup_root *root)
{
    size_t left = 0;

    for (size_t i = 0; i < root->count; i++) {
        /* Seen alone, each hierarchy is a root with one: so a group that stands in only some of
         * them goes, too. */
        struct cgroup_root single = {.count = 1, .hierarchies = {root->hierarchies[i]}};
        DIR *folder = opendir(root->hierarchies[i].folder);

        if (!folder)
            continue;
        for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
            struct cgroup group = {.root = &single};

            size_t len = strlen(entry->d_name);

            if (entry->d_type != DT_DIR || *entry->d_name == '.' || len >= sizeof group.name)
                continue;
            memcpy(group.name, entry->d_name, len);
            if (!cgroup_is_empty(&group))
                cgroup_kill(&group);
            if (!cgroup_remove(&group))
                left++;
        }
        (void)closedir(folder);
    }
    return left;
}

bool cgroup_root_clear(const struct cgroup_root *root, unsigned deadline_ms)
{
    uint64_t end_us = clock_monotonic_us() + (uint64_t)deadline_ms * 1000;

    while (clear_round(root) > 0) {
        if (clock_monotonic_us() >= end_us)
            return false;
        (void)usleep(2000);
    }
    return true;
}

void cgroup_root_remove(const struct cgroup_root *root)
{
    for (size_t i = 0; i < root->count; i++)
        (void)rmdir(root->hierarchies[i].folder);
}

static bool set_limit(const struct cgroup *group, const struct cgroup_hierarchy *hierarchy,
                      const char *file, const char *text)
{
    char folder[CGROUP_PATH_MAX], path[CGROUP_PATH_MAX];

    return path_of(folder, sizeof folder, hierarchy->folder, group->name, "") &&
           path_of(path, sizeof path, folder, "", file) && write_file(path, text);
}

static bool set_cpu(const struct cgroup *group, const struct cgroup_hierarchy *hierarchy,
                    const struct cgroup_limits *limits)
{
    bool is_v2 = hierarchy->uses & CGROUP_UNIFIED;
    uint32_t quota_us = limits->cpu_millis * (CPU_PERIOD_US / 1000);
    char text[64];
    bool is_set = true;

    if (limits->cpu_millis && is_v2) {
        (void)snprintf(text, sizeof text, "%" PRIu32 " %u", MAX(quota_us, 1000u), CPU_PERIOD_US);
        is_set = set_limit(group, hierarchy, "cpu.max", text);
    } else if (limits->cpu_millis) {
        (void)snprintf(text, sizeof text, "%u", CPU_PERIOD_US);
        is_set = set_limit(group, hierarchy, "cpu.cfs_period_us", text);
        (void)snprintf(text, sizeof text, "%" PRIu32, MAX(quota_us, 1000u));
        is_set = set_limit(group, hierarchy, "cpu.cfs_quota_us", text) && is_set;
    }
    if (limits->cpu_weight) {
        /* v1 counts 1024 where v2 counts 100. */
        (void)snprintf(text, sizeof text, "%" PRIu32,
                       is_v2 ? limits->cpu_weight : MAX(limits->cpu_weight * 1024 / 100, 2u));
        is_set = set_limit(group, hierarchy, is_v2 ? "cpu.weight" : "cpu.shares", text) && is_set;
    }
    return is_set;
}

static int set_limits(const struct cgroup *group, const struct cgroup_limits *limits,
                      struct error *err)
{
    const struct cgroup_root *root = group->root;
    bool has_memory = !limits->memory_bytes;
    bool has_cpu = !limits->cpu_millis && !limits->cpu_weight;
    bool has_processes = !limits->processes || !cgroup_root_has(root, CGROUP_PIDS);

    for (size_t i = 0; i < root->count; i++) {
        const struct cgroup_hierarchy *hierarchy = &root->hierarchies[i];
        char text[32];

        (void)snprintf(text, sizeof text, "%" PRIu64, limits->memory_bytes);
        if (!has_memory && hierarchy->uses & CGROUP_MEMORY)
            has_memory = set_limit(group, hierarchy, memory_limit_file(hierarchy), text);
        if (!has_cpu && hierarchy->uses & CGROUP_CPU)
            has_cpu = set_cpu(group, hierarchy, limits);
        (void)snprintf(text, sizeof text, "%" PRIu32, limits->processes);
        if (!has_processes && hierarchy->uses & CGROUP_PIDS)
            has_processes = set_limit(group, hierarchy, "pids.max", text);
    }
    if (has_memory && has_cpu && has_processes)
        return 0;
    return error_set(err, ERR_UNSUPPORTED, "this machine cannot limit %s of '%s'",
                     !has_memory ? "the memory"
                     : !has_cpu  ? "the processor share"
                                 : "the number of processes",
                     group->name);
}

int cgroup_make(const struct cgroup_root *root, const char *name,
                const struct cgroup_limits *limits, struct cgroup *ret_cgroup, struct error *err)
{
    struct cgroup group = {.root = root};
    char path[CGROUP_PATH_MAX];

    if (!root->count)
        return error_set(err, ERR_UNSUPPORTED, "no control groups here");
    if (!*name || *name == '.' || strlen(name) >= sizeof group.name || strchr(name, '/'))
        return error_set(err, ERR_INVALID, "'%s' cannot name a control group", name);
    (void)snprintf(group.name, sizeof group.name, "%s", name);
    for (size_t i = 0; i < root->count; i++) {
        if (path_of(path, sizeof path, root->hierarchies[i].folder, name, "") &&
            (mkdir(path, 0755) == 0 || errno == EEXIST))
            continue;
        error_errno(err, errno, "unable to make the control group '%s'", path);
        (void)cgroup_remove(&group);
        return ERR_SYSTEM;
    }
    *ret_cgroup = group;
    return limits ? set_limits(&group, limits, err) : 0;
}

bool cgroup_procs_path(const struct cgroup *cgroup, size_t i, char path[CGROUP_PATH_MAX])
{
    char folder[CGROUP_PATH_MAX];

    return cgroup->root && i < cgroup->root->count &&
           path_of(folder, sizeof folder, cgroup->root->hierarchies[i].folder, cgroup->name, "") &&
           path_of(path, CGROUP_PATH_MAX, folder, "", "cgroup.procs");
}

void cgroup_kill(const struct cgroup *cgroup)
{
    char folder[CGROUP_PATH_MAX], path[CGROUP_PATH_MAX], pids[4096];

    if (!cgroup->root ||
        !path_of(folder, sizeof folder, cgroup->root->hierarchies[0].folder, cgroup->name, ""))
        return;
    if (path_of(path, sizeof path, folder, "", "cgroup.kill") && write_file(path, "1"))
        return;
    if (!path_of(path, sizeof path, folder, "", "cgroup.procs") ||
        !read_file(path, pids, sizeof pids))
        return;
    for (char *at = pids; *at;) {
        char *end = strchr(at, '\n');

        if (!end)
            break; /* a number cut off by the buffer: next round */
        if (strtol(at, NULL, 10) > 1)
            (void)kill((pid_t)strtol(at, NULL, 10), SIGKILL);
        at = end + 1;
    }
}

bool cgroup_is_empty(const struct cgroup *cgroup)
{
    char path[CGROUP_PATH_MAX], text[32];

    /* Nothing more to read counts as empty: the group is gone. */
    return !cgroup_procs_path(cgroup, 0, path) || !read_file(path, text, sizeof text) || !*text;
}

bool cgroup_remove(const struct cgroup *cgroup)
{
    char path[CGROUP_PATH_MAX];
    bool is_gone = true;

    for (size_t i = 0; cgroup->root && i < cgroup->root->count; i++) {
        if (path_of(path, sizeof path, cgroup->root->hierarchies[i].folder, cgroup->name, "") &&
            rmdir(path) < 0 && errno != ENOENT)
            is_gone = false;
    }
    return is_gone;
}

static bool read_in(const char *folder, const char *file, char *text, size_t size)
{
    char path[CGROUP_PATH_MAX];

    return path_of(path, sizeof path, folder, "", file) && read_file(path, text, size);
}

bool cgroup_is_oom_killed(const struct cgroup *cgroup)
{
    for (size_t i = 0; cgroup->root && i < cgroup->root->count; i++) {
        const struct cgroup_hierarchy *hierarchy = &cgroup->root->hierarchies[i];
        char folder[CGROUP_PATH_MAX], text[512];
        uint64_t kills = 0;

        if (!(hierarchy->uses & CGROUP_MEMORY) ||
            !path_of(folder, sizeof folder, hierarchy->folder, cgroup->name, ""))
            continue;
        if (read_in(folder,
                    hierarchy->uses & CGROUP_UNIFIED ? "memory.events" : "memory.oom_control", text,
                    sizeof text) &&
            find_number(text, "oom_kill", &kills))
            return kills > 0;
    }
    return false;
}

uint64_t cgroup_memory_peak(const struct cgroup *cgroup)
{
    for (size_t i = 0; cgroup->root && i < cgroup->root->count; i++) {
        const struct cgroup_hierarchy *hierarchy = &cgroup->root->hierarchies[i];
        char folder[CGROUP_PATH_MAX], text[32];

        if (hierarchy->uses & CGROUP_MEMORY &&
            path_of(folder, sizeof folder, hierarchy->folder, cgroup->name, "") &&
            read_in(folder,
                    hierarchy->uses & CGROUP_UNIFIED ? "memory.peak" : "memory.max_usage_in_bytes",
                    text, sizeof text))
            return strtoull(text, NULL, 10);
    }
    return 0;
}

bool cgroup_folders(const struct cgroup *cgroup, char *text, size_t size)
{
    size_t len = 0;

    if (!size)
        return false;
    text[0] = '\0';
    for (size_t i = 0; cgroup->root && i < cgroup->root->count; i++) {
        if (cgroup->root->hierarchies[i].uses == CGROUP_PIDS)
            continue;
        int more = snprintf(text + len, size - len, "%s%s/%s", len ? ":" : "",
                            cgroup->root->hierarchies[i].folder, cgroup->name);

        if (more <= 0 || (size_t)more >= size - len) {
            text[0] = '\0';
            return false;
        }
        len += (size_t)more;
    }
    return true;
}

static void read_usage_in(const char *folder, struct cgroup_usage *usage)
{
    char text[1024];
    uint64_t number;

    if (!usage->has_memory && (read_in(folder, "memory.current", text, sizeof text) ||
                               read_in(folder, "memory.usage_in_bytes", text, sizeof text))) {
        usage->memory_bytes = strtoull(text, NULL, 10);
        usage->has_memory = true;
    }
    if (usage->has_cpu)
        return;
    if (read_in(folder, "cpuacct.usage", text, sizeof text)) {
        usage->cpu_us = strtoull(text, NULL, 10) / 1000;
        usage->has_cpu = true;
    } else if (read_in(folder, "cpu.stat", text, sizeof text) &&
               find_number(text, "usage_usec", &number)) {
        usage->cpu_us = number;
        usage->has_cpu = true;
    }
}

void cgroup_read_usage(const char *folders, struct cgroup_usage *ret_usage)
{
    *ret_usage = (struct cgroup_usage){0};
    while (*folders) {
        size_t len = strcspn(folders, ":");
        char folder[CGROUP_PATH_MAX];

        if (len < sizeof folder) {
            (void)snprintf(folder, sizeof folder, "%.*s", (int)len, folders);
            read_usage_in(folder, ret_usage);
        }
        folders += len + (folders[len] == ':');
    }
}
