/* What the keeper does before it serves: everything that may block or fail for a reason that a
 * person can mend. */
#include "keeper/keeper_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/socket.h"
#include "os/users.h"

#define LOCK_WAIT_US     (10u * 1000000u)
#define LEFTOVER_MS      10000u
#define LISTEN_BACKLOG   4096
#define DESCRIPTOR_FLOOR 10
#define STATE_MODE       0711

#define USER_CONTROL "slipway"
#define USER_EDGE    "slipway-edge"
#define USER_LOG     "slipway-log"
#define USER_SIGNER  "slipway-keys"
#define USER_UNITS   "slipway-u"

enum owner { OWNER_CONTROL, OWNER_LOG };

/* The state folder's rooms. Those that units or edges pass through are open to passing, not to
 * looking. */
static const struct {
    const char *name;
    enum owner owner;
    mode_t mode;
} folders[] = {
    {"store", OWNER_CONTROL, 0700},  {"logs", OWNER_LOG, 0700},
    {"logs/spool", OWNER_LOG, 0700}, {"logs/segments", OWNER_LOG, 0700},
    {"apps", OWNER_CONTROL, 0711},   {"uploads", OWNER_CONTROL, 0700},
    {"data", OWNER_CONTROL, 0711},   {"run", OWNER_CONTROL, 0711},
    {"trash", OWNER_CONTROL, 0700},
};

/* Units and roles are given 0, 1, 2: something must be there. */
static void standard_descriptors_open(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR); /* inherited on purpose, where it fills a gap */
    while (fd >= 0 && fd <= STDERR_FILENO);
    fd_close(fd);
}

/* Where a person or a package puts the next one. */
static void start_path_find(struct keeper *keeper)
{
    ssize_t len = readlink("/proc/self/exe", keeper->start_path, sizeof keeper->start_path - 1);

    keeper->start_path[len > 0 ? len : 0] = '\0';
}

static int self_open(struct keeper *keeper, struct error *err)
{
    CLEANUP(fd_closep) int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    if (fd >= 0)
        keeper->binary.fd = fcntl(fd, F_DUPFD_CLOEXEC, DESCRIPTOR_FLOOR);
    if (keeper->binary.fd < 0)
        return error_errno(err, errno, "unable to open this program's own binary");
    keeper->binary.id = keeper->last_binary = 1;
    (void)snprintf(keeper->binary.version, sizeof keeper->binary.version, "%s", slipway_version);
    start_path_find(keeper);
    return 0;
}

/* One descriptor for each output stream, and as many units as the table takes. */
static void descriptors_raise(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int users_open(struct keeper *keeper, struct error *err)
{
    static const char *const names[] = {USER_CONTROL, USER_EDGE, USER_LOG, USER_SIGNER};
    struct keeper_policy *policy = &keeper->policy;
    int code;

    policy->is_root = geteuid() == 0;
    if (!policy->is_root) {
        policy->control_uid = policy->edge_uid = keeper->log_uid = geteuid();
        policy->control_gid = policy->edge_gid = keeper->log_gid = getegid();
        return 0;
    }
    code = users_ensure(names, ARRAY_LEN(names), err);
    if (code == 0)
        code = users_ensure_pool(USER_UNITS, KEEPER_UNIT_USERS, &policy->unit_uid_first,
                                 &policy->unit_uid_count, err);
    if (code == 0)
        code = users_find(USER_CONTROL, &policy->control_uid, &policy->control_gid, err);
    if (code == 0)
        code = users_find(USER_EDGE, &policy->edge_uid, &policy->edge_gid, err);
    if (code == 0)
        code = users_find(USER_LOG, &keeper->log_uid, &keeper->log_gid, err);
    return code;
}

/* Whose number stands in the lock file; 0: unreadable. */
static pid_t lock_holder(const char *path)
{
    struct buf content = BUF_INIT(64);
    pid_t pid = 0;

    if (file_read(path, 63, &content, NULL) == 0 && content.len)
        pid = (pid_t)strtol(content.ptr, NULL, 10);
    buf_done(&content);
    return pid;
}

static int lock_path(const struct keeper *keeper, char path[PATH_MAX], struct error *err)
{
    if (snprintf(path, PATH_MAX, "%s/lock", keeper->options->state_directory) < PATH_MAX)
        return 0;
    return error_set(err, ERR_INVALID, "the path of the state folder is too long");
}

static int lock_take(struct keeper *keeper, struct error *err)
{
    uint64_t end_us = clock_monotonic_us() + LOCK_WAIT_US;
    char path[PATH_MAX], pid[32];
    int code = lock_path(keeper, path, err);

    if (code < 0)
        return code;
    while ((code = file_lock(path, &keeper->lock_fd, err)) == ERR_CONFLICT) {
        pid_t holder = lock_holder(path);

        if ((holder > 0 && proc_is_alive(holder)) || clock_monotonic_us() >= end_us) {
            error_set(err, ERR_CONFLICT, "another platform (pid %d) has the state folder '%s'",
                      (int)holder, keeper->options->state_directory);
            return error_hint(err, "stop it, or use another folder with --state DIR");
        }
        (void)usleep(10000); /* it was killed, and its guard clears away the remains */
    }
    if (code < 0)
        return code;
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    if (ftruncate(keeper->lock_fd, 0) < 0 ||
        pwrite(keeper->lock_fd, pid, strlen(pid), 0) != (ssize_t)strlen(pid))
        return error_errno(err, errno, "unable to write '%s'", path);
    return 0;
}

/* As root the roles are other users, who must be able to come to the state folder. */
static int ancestors_check(const struct keeper *keeper, struct error *err)
{
    char path[PATH_MAX];

    if (!keeper->policy.is_root)
        return 0;
    (void)snprintf(path, sizeof path, "%s", keeper->options->state_directory);
    for (char *slash = strrchr(path, '/'); slash && slash != path; slash = strrchr(path, '/')) {
        struct stat info;

        *slash = '\0';
        if (stat(path, &info) < 0)
            return error_errno(err, errno, "unable to look at '%s'", path);
        if (info.st_mode & S_IXOTH || info.st_uid == keeper->policy.control_uid)
            continue;
        error_set(err, ERR_PERMISSION, "the user '%s' cannot pass through '%s' to the state folder",
                  USER_CONTROL, path);
        return error_hint(err, "chmod o+x '%s', or use another folder with --state DIR", path);
    }
    return 0;
}

static int folder_set(const struct keeper *keeper, int fd, enum owner owner, mode_t mode)
{
    uid_t uid = owner == OWNER_LOG ? keeper->log_uid : keeper->policy.control_uid;
    gid_t gid = owner == OWNER_LOG ? keeper->log_gid : keeper->policy.control_gid;

    if (keeper->policy.is_root && fchown(fd, uid, gid) < 0)
        return -1;
    return fchmod(fd, mode);
}

static int folders_make(struct keeper *keeper, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        CLEANUP(fd_closep) int fd = -1;

        if (mkdirat(keeper->state_fd, folders[i].name, 0700) < 0 && errno != EEXIST)
            return error_errno(err, errno, "unable to make '%s' in the state folder",
                               folders[i].name);
        fd = openat(keeper->state_fd, folders[i].name,
                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || folder_set(keeper, fd, folders[i].owner, folders[i].mode) < 0)
            return error_errno(err, errno, "unable to set the owner of '%s' in the state folder",
                               folders[i].name);
    }
    return 0;
}

static void marker_make(struct keeper *keeper, const struct stat *info)
{
    uint64_t identity[2] = {info->st_dev, info->st_ino};

    keeper->marker = hash_fast(identity, sizeof identity, 0);
}

static int state_open(struct keeper *keeper, struct error *err)
{
    const char *path = keeper->options->state_directory;
    struct stat info;
    int code;

    if (path[0] != '/')
        return error_set(err, ERR_INVALID, "the state folder '%s' is not an absolute path", path);
    code = directory_make(path, 0755, err);
    if (code < 0)
        return error_hint(err, "choose a folder that this user may write to, with --state DIR");
    code = ancestors_check(keeper, err);
    if (code == 0)
        code = lock_take(keeper, err);
    if (code < 0)
        return code;
    keeper->state_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (keeper->state_fd < 0 || fstat(keeper->state_fd, &info) < 0 ||
        folder_set(keeper, keeper->state_fd, OWNER_CONTROL, STATE_MODE) < 0)
        return error_errno(err, errno, "unable to open the state folder '%s'", path);
    marker_make(keeper, &info);
    return folders_make(keeper, err);
}

static void groups_open(struct keeper *keeper)
{
    struct error err = {0};
    char name[32];

    if (keeper->options->is_without_cgroups)
        return;
    (void)snprintf(name, sizeof name, "slipway-%08" PRIx32, (uint32_t)keeper->marker);
    if (cgroup_root_open(&keeper->cgroups, name, &err) < 0) {
        log_warning("%s; processor and memory limits are not kept", err.text);
        return;
    }
    if (!cgroup_root_has(&keeper->cgroups, CGROUP_MEMORY))
        log_warning("the memory controller is not available here; memory limits are not kept");
}

/* A platform that was killed together with its guard may have left processes behind. */
static void leftovers_end(struct keeper *keeper)
{
    uint64_t end_us = clock_monotonic_us() + LEFTOVER_MS * 1000u;
    size_t count, total = 0;

    if (!cgroup_root_clear(&keeper->cgroups, LEFTOVER_MS))
        log_warning("a process of an earlier platform does not end on SIGKILL");
    while ((count = orphans_kill_marked(keeper->marker)) > 0 && clock_monotonic_us() < end_us) {
        total += count;
        (void)usleep(2000);
    }
    if (total)
        log_warning("processes of an earlier platform were still there: killed");
}

static int listener_open(struct keeper *keeper, const char *text, enum keeper_listener_kind kind,
                         struct error *err)
{
    static const char *const options[] = {
        [KEEPER_LISTENER_HTTP] = "--http", [KEEPER_LISTENER_HTTPS] = "--https"};
    struct listener *listener = &keeper->listeners[keeper->listener_count];
    struct address address = {0}, bound = {.len = sizeof(struct sockaddr_storage)};
    struct sockaddr_storage storage;
    socklen_t len = sizeof storage;
    int fd = -1;
    int code = address_parse(text, &address, err);

    if (code == 0)
        code = socket_listen(&address, LISTEN_BACKLOG, &fd, err);
    if (code < 0)
        return error_hint(
            err,
            "is another server on that port? Choose one with %s ADDR:PORT; ports below 1024 "
            "need root, and the address must be one of this machine%s",
            options[kind], kind == KEEPER_LISTENER_HTTPS ? "; --https off serves no TLS" : "");
    *listener = (struct listener){.fd = fd, .kind = kind};
    keeper->listener_count++;
    if (getsockname(fd, (struct sockaddr *)&storage, &len) < 0 || len > sizeof bound.un)
        return error_errno(err, errno, "unable to see the address of a listener");
    memcpy(&bound.un, &storage, len);
    bound.len = len;
    listener->port = address_port(&bound);
    log_info("listening on %s%s", address_format(&bound, listener->address),
             kind == KEEPER_LISTENER_HTTPS ? " (TLS)" : "");
    return 0;
}

static int listeners_open(struct keeper *keeper, struct error *err)
{
    const struct keeper_options *options = keeper->options;
    int code = 0;

    for (size_t i = 0; i < options->http_count && code == 0; i++)
        code = listener_open(keeper, options->http[i], KEEPER_LISTENER_HTTP, err);
    for (size_t i = 0; i < options->https_count && code == 0; i++)
        code = listener_open(keeper, options->https[i], KEEPER_LISTENER_HTTPS, err);
    return code;
}

const struct listener *listener_first(const struct keeper *keeper, enum keeper_listener_kind kind)
{
    for (size_t i = 0; i < keeper->listener_count; i++) {
        if (keeper->listeners[i].kind == kind)
            return &keeper->listeners[i];
    }
    return NULL;
}

static bool is_for_roles(const char *variable)
{
    const char *own = KEEPER_RESUME_VARIABLE "=";

    static const char *const prefixes[] = {
        "PATH=",         "NO_COLOR=",      "TZ=",          "LANG=", "LC_ALL=", "SLIPWAY_",
        "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS="};

    if (strncmp(variable, own, strlen(own)) == 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        if (strncmp(variable, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    }
    return false;
}

static void role_environment_choose(struct keeper *keeper)
{
    size_t count = 0;

    for (char **variable = environ; *variable && count < KEEPER_VARIABLES_MAX; variable++) {
        if (is_for_roles(*variable))
            keeper->role_environment[count++] = *variable;
    }
    keeper->role_environment[count] = NULL;
}

static int options_check(const struct keeper_options *options, struct error *err)
{
    if (options->edge_count < 1 || options->edge_count > KEEPER_EDGES_MAX)
        return error_set(err, ERR_INVALID, "%u edges are not 1 to %u", options->edge_count,
                         KEEPER_EDGES_MAX);
    if (options->http_count < 1 || options->http_count > KEEPER_LISTENERS_MAX ||
        options->https_count > KEEPER_LISTENERS_MAX - options->http_count)
        return error_set(err, ERR_INVALID, "%zu addresses to listen on are not 1 to %u",
                         options->http_count + options->https_count, KEEPER_LISTENERS_MAX);
    if (strlen(options->state_directory) >= KEEPER_TEXT_MAX)
        return error_set(err, ERR_INVALID, "the path of the state folder is too long");
    return 0;
}

static void keeper_init(struct keeper *keeper, const struct keeper_options *options)
{
    *keeper = (struct keeper){.options = options,
                              .lock_fd = -1,
                              .state_fd = -1,
                              .binary = {.fd = -1},
                              .before = {.fd = -1},
                              .spare = {.fd = -1},
                              .upgrade = {.running = {.from = -1, .writer = -1},
                                          .wanted = {.from = -1, .writer = -1},
                                          .candidate = {.fd = -1},
                                          .trial = {.fd = -1},
                                          .trial_result = -1},
                              .guard_writer = -1,
                              .notify_fd = -1,
                              .started_wall_us = clock_wall_us()};
    list_init(&keeper->units);
    list_init(&keeper->streams);
    for (size_t i = 0; i < KEEPER_HELD_MAX; i++)
        keeper->held[i].fd = -1;
    role_environment_choose(keeper);
}

int keeper_open(struct keeper *keeper, const struct keeper_options *options, struct error *err)
{
    int code;

    keeper_init(keeper, options);
    log_init("keeper", options->log_level);
    (void)umask(022);
    standard_descriptors_open();
    descriptors_raise();
    code = options_check(options, err);
    if (code == 0 && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        code = error_errno(err, errno, "unable to become the parent of orphans");
    if (code == 0)
        code = self_open(keeper, err);
    if (code == 0)
        code = users_open(keeper, err);
    if (code == 0)
        code = state_open(keeper, err);
    if (code < 0)
        return code;
    groups_open(keeper);
    leftovers_end(keeper);
    code = guard_start(keeper, err); /* before there is anything that it should not have */
    if (code == 0)
        code = listeners_open(keeper, err);
    if (code == 0)
        code = loop_new(&keeper->loop, err);
    if (code < 0)
        return code;
    keeper->units_by_id = map_new(KEEPER_UNITS_MAX);
    return roles_init(keeper, err);
}

int keeper_open_resumed(struct keeper *keeper, const struct keeper_options *options,
                        struct slice state, struct error *err)
{
    struct stat info;
    int code;

    keeper_init(keeper, options);
    keeper->own_options = *options;
    keeper->options = &keeper->own_options;
    (void)umask(022);
    code = users_open(keeper, err); /* a version may bring a new one */
    if (code == 0)
        code = loop_new(&keeper->loop, err);
    if (code == 0)
        code = roles_make_table(keeper, err);
    if (code < 0)
        return code;
    keeper->units_by_id = map_new(KEEPER_UNITS_MAX);
    code = resumed_load(keeper, state, err);
    for (size_t i = 0; i < options->role_count && code == 0; i++) {
        const struct keeper_role_entry *entry = &options->roles[i];
        struct role *role;

        if (!entry->is_per_edge && !role_find(keeper, entry->role, 0))
            code = role_add(keeper, entry, 0, &role, err);
    }
    if (code < 0)
        return code;
    log_init("keeper", keeper->options->log_level);
    if (fstat(keeper->state_fd, &info) < 0)
        return error_errno(err, errno, "unable to look at the state folder");
    marker_make(keeper, &info);
    return folders_make(keeper, err);
}

void keeper_close(struct keeper *keeper)
{
    systemd_close(keeper);
    loop_timer_stop(&keeper->quit_timer);
    upgrade_stop(keeper);
    for (size_t i = 0; i < KEEPER_GIVINGS_MAX; i++)
        loop_timer_stop(&keeper->givings[i].deadline);
    roles_done(keeper);
    units_done(keeper);
    streams_done(keeper);
    held_done(keeper);
    map_freep(&keeper->units_by_id);
    for (size_t i = 0; i < keeper->listener_count; i++)
        fd_close(keeper->listeners[i].fd);
    loop_free(keeper->loop);
    fd_close(keeper->state_fd);
    binary_close(&keeper->binary);
    binary_close(&keeper->before);
    binary_close(&keeper->spare);
    fd_close(keeper->lock_fd);
}
