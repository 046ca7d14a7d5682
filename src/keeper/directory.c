/* MAKE_DIRECTORY: folders of other users, made where control may not.
 *
 * Why so careful: applications own folders below the state folder and may put links where a folder
 * was. So every step is taken relative to the descriptor of the last one, and no link is ever
 * followed.
 */
#include "keeper/keeper_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/file.h"

#define PARENT_MODE 0711
#define DEPTH_MAX   128

static int open_below(int folder, const char *name)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                           .resolve =
                               RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};

    return (int)syscall(SYS_openat2, folder, name, &how, sizeof how);
}

static int set_owner(const struct keeper_policy *policy, int fd, uid_t uid, gid_t gid, mode_t mode)
{
    /* The owner first: a change of owner takes bits of the mode away. */
    if (policy->is_root && fchown(fd, uid, gid) < 0)
        return -1;
    return fchmod(fd, mode);
}

/* Make (or find) `name` in *folder and step into it. */
static int step_into(const struct keeper_policy *policy, const struct keeper_make_directory *wanted,
                     int *folder, const char *name, bool is_last)
{
    bool is_new = mkdirat(*folder, name, 0700) == 0;
    CLEANUP(fd_closep) int next = -1;

    if (!is_new && errno != EEXIST)
        return -1;
    next = open_below(*folder, name);
    if (next < 0)
        return -1;
    if (is_last && set_owner(policy, next, wanted->uid, wanted->gid, wanted->mode) < 0)
        return -1;
    if (!is_last && is_new &&
        set_owner(policy, next, policy->control_uid, policy->control_gid, PARENT_MODE) < 0)
        return -1;
    fd_close(*folder);
    *folder = TAKE_FD(next);
    return 0;
}

static int make_path(struct keeper *keeper, const struct message_directory *request, int *ret_fd,
                     struct error *err)
{
    CLEANUP(fd_closep) int folder = fcntl(keeper->state_fd, F_DUPFD_CLOEXEC, 0);
    const char *at = request->path;
    bool is_last;

    if (folder < 0)
        return error_errno(err, errno, "unable to open the state folder");
    do {
        size_t len = strcspn(at, "/");
        char name[NAME_MAX + 1];

        assert(len < sizeof name); /* the message was checked */
        memcpy(name, at, len);
        name[len] = '\0';
        is_last = at[len] == '\0';
        if (step_into(&keeper->policy, &request->fixed, &folder, name, is_last) < 0)
            return error_errno(err, errno, "unable to make the folder '%s' (at '%s')",
                               request->path, name);
        at += len + 1;
    } while (!is_last);
    *ret_fd = TAKE_FD(folder);
    return 0;
}

/* ---- everything below a folder to its owner; runs in a child */

/* A hard link may be another name of a file that was never ours to give. */
static bool may_give(const struct keeper_policy *policy, const struct stat *info)
{
    if (S_ISDIR(info->st_mode) || info->st_nlink == 1 || info->st_uid == policy->control_uid)
        return true;
    return info->st_uid >= policy->unit_uid_first &&
           info->st_uid - policy->unit_uid_first < policy->unit_uid_count;
}

static int give_tree(const struct keeper_policy *policy, int folder, uid_t uid, gid_t gid,
                     int depth)
{
    DIR *entries;
    int result = 0;

    if (depth > DEPTH_MAX) {
        fd_close(folder);
        errno = ELOOP;
        return -1;
    }
    entries = fdopendir(folder);
    if (!entries) {
        fd_close(folder);
        return -1;
    }
    for (struct dirent *entry = readdir(entries); entry && result == 0; entry = readdir(entries)) {
        const char *name = entry->d_name;
        struct stat info;

        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        if (fstatat(dirfd(entries), name, &info, AT_SYMLINK_NOFOLLOW) < 0)
            continue; /* gone by now */
        if ((info.st_uid != uid || info.st_gid != gid) && may_give(policy, &info) &&
            fchownat(dirfd(entries), name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT)
            result = -1;
        if (S_ISDIR(info.st_mode) && result == 0) {
            int below = open_below(dirfd(entries), name);

            if (below >= 0)
                result = give_tree(policy, below, uid, gid, depth + 1);
        }
    }
    (void)closedir(entries);
    return result;
}

static NORETURN void give_run(const struct keeper_policy *policy, int folder,
                              const struct keeper_make_directory *wanted)
{
    sigset_t none;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGTERM, SIG_DFL);
    _exit(give_tree(policy, folder, wanted->uid, wanted->gid, 0) == 0 ? 0 : errno & 0x7f);
}

void giving_overdue(struct loop_timer *timer)
{
    (void)kill(container_of(timer, struct giving, deadline)->pid, SIGKILL);
}

static int give_start(struct keeper *keeper, int folder, const struct message_directory *request,
                      uint64_t control_life, struct error *err)
{
    struct giving *giving = NULL;
    pid_t pid;

    for (size_t i = 0; i < KEEPER_GIVINGS_MAX && !giving; i++)
        giving = keeper->givings[i].pid ? NULL : &keeper->givings[i];
    if (!giving)
        return error_set(err, ERR_UNAVAILABLE, "%u folders are being given to their owners already",
                         KEEPER_GIVINGS_MAX);
    pid = fork();
    if (pid == 0)
        give_run(&keeper->policy, folder, &request->fixed);
    if (pid < 0)
        return error_errno(err, errno, "unable to make a process");
    *giving = (struct giving){.keeper = keeper,
                              .pid = pid,
                              .request = request->fixed.header.request,
                              .control_life = control_life,
                              .deadline = {.on_timer = giving_overdue}};
    loop_timer_start_in(keeper->loop, &giving->deadline, KEEPER_GIVING_MAX_MS * UINT64_C(1000));
    return 0;
}

int directory_request(struct keeper *keeper, const struct message_directory *request,
                      uint64_t control_life, bool *ret_is_pending, struct error *err)
{
    CLEANUP(fd_closep) int folder = -1;
    int code = make_path(keeper, request, &folder, err);

    if (code < 0 || !request->fixed.is_recursive || !keeper->policy.is_root)
        return code;
    code = give_start(keeper, folder, request, control_life, err);
    if (code == 0)
        *ret_is_pending = true;
    return code;
}

bool directory_child_exited(struct keeper *keeper, pid_t pid, int wait_status)
{
    for (size_t i = 0; i < KEEPER_GIVINGS_MAX; i++) {
        struct giving *giving = &keeper->givings[i];
        struct error err = {0};

        if (giving->pid != pid)
            continue;
        if (!WIFEXITED(wait_status))
            error_set(&err, ERR_TIMEOUT, "unable to give the folder to its owner in time");
        else if (WEXITSTATUS(wait_status) != 0)
            error_errno(&err, WEXITSTATUS(wait_status), "unable to give the folder to its owner");
        loop_timer_stop(&giving->deadline);
        giving->pid = 0;
        request_reply(keeper, giving->control_life, giving->request, &err);
        return true;
    }
    return false;
}

void directories_stop(struct keeper *keeper)
{
    for (size_t i = 0; i < KEEPER_GIVINGS_MAX; i++) {
        if (keeper->givings[i].pid)
            (void)kill(keeper->givings[i].pid, SIGKILL);
    }
}

size_t directories_pending(const struct keeper *keeper)
{
    size_t count = 0;

    for (size_t i = 0; i < KEEPER_GIVINGS_MAX; i++)
        count += keeper->givings[i].pid != 0;
    return count;
}
