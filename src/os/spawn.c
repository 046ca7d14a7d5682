/* The child of a single-threaded parent may call anything between fork and exec; it still allocates
 * nothing, so that it works when memory is short. */
#include "os/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/file.h"

/* Above everything that the child will place at 0..3. */
#define DESCRIPTOR_FLOOR 10

#define STEPS(X)                                                                                   \
    X(STEP_PARENT, ": its keeper")                                                                 \
    X(STEP_CGROUP, ": its control group")                                                          \
    X(STEP_LIMITS, ": its limits")                                                                 \
    X(STEP_USER, ": the switch to its user")                                                       \
    X(STEP_FOLDER, ": its working directory")                                                      \
    X(STEP_DESCRIPTORS, ": its descriptors")                                                       \
    X(STEP_EXEC, "")

enum step {
#define X(step, text) step,
    STEPS(X)
#undef X
        STEP_COUNT
};

struct failure {
    int step;
    int errno_value;
};

static NORETURN void child_fail(int result_fd, enum step step)
{
    struct failure failure = {step, errno};
    ssize_t written = write(result_fd, &failure, sizeof failure);

    (void)written; /* the parent sees an early end in any case */
    _exit(127);
}

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    if (write(fd, text, strlen(text)) < 0)
        errno = 0; /* best effort: the caller checks what must hold */
    (void)close(fd);
}

static int child_enter_cgroups(const struct spawn *spawn)
{
    for (size_t i = 0; i < SPAWN_CGROUPS_MAX && spawn->cgroup_procs[i]; i++) {
        int fd = open(spawn->cgroup_procs[i], O_WRONLY | O_CLOEXEC);
        ssize_t written;

        if (fd < 0)
            return -1;
        written = write(fd, "0", 1);
        if (written != 1) {
            fd_close(fd);
            return -1;
        }
        (void)close(fd);
    }
    return 0;
}

static int child_set_limits(const struct spawn *spawn)
{
    struct rlimit core = {0, 0};
    struct rlimit files;
    char text[16];

    if (setrlimit(RLIMIT_CORE, &core) < 0)
        return -1;
    if (spawn->nofile_limit) {
        if (getrlimit(RLIMIT_NOFILE, &files) < 0)
            return -1;
        files.rlim_max = MIN(files.rlim_max, (rlim_t)spawn->nofile_limit);
        files.rlim_cur = files.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &files) < 0)
            return -1;
    }
    (void)snprintf(text, sizeof text, "%d", spawn->oom_score_adj);
    write_text("/proc/self/oom_score_adj", text);
    return 0;
}

static int child_switch_user(const struct spawn *spawn)
{
    if (spawn->is_user_switched) {
        if (setgroups(0, NULL) < 0 || setresgid(spawn->gid, spawn->gid, spawn->gid) < 0 ||
            setresuid(spawn->uid, spawn->uid, spawn->uid) < 0)
            return -1;
    }
    if (spawn->is_privilege_final && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return 0;
}

/* A copy of fd above the floor, so that no dup2 below overwrites a descriptor that is still needed.
 */
static int lifted(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, DESCRIPTOR_FLOOR);
}

static int child_place(int fd, int target)
{
    if (fd == target)
        return fd_set_cloexec(fd, false) == 0 ? 0 : -1;
    return dup2(fd, target) < 0 ? -1 : 0;
}

static int child_set_descriptors(const struct spawn *spawn)
{
    int sources[4] = {spawn->stdin_fd, spawn->stdout_fd, spawn->stderr_fd, spawn->channel_fd};
    int count = spawn->channel_fd >= 0 ? 4 : 3;

    for (int i = 0; i < count; i++) {
        if (i == 0 && sources[i] < 0)
            sources[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        else if (sources[i] < 0)
            sources[i] = i;
        sources[i] = lifted(sources[i]);
        if (sources[i] < 0)
            return -1;
    }
    for (int i = 0; i < count; i++) {
        if (child_place(sources[i], i) < 0)
            return -1;
    }
    /* Marked, not closed: the executable and the result pipe are still needed. */
    return close_range((unsigned)count, ~0u, CLOSE_RANGE_CLOEXEC);
}

static void child_reset_signals(void)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        (void)sigaction(number, &standard, NULL); /* SIGKILL, SIGSTOP and two of libc's refuse */
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static NORETURN void child_run(const struct spawn *spawn, pid_t parent, int result_fd)
{
    int exec_fd = -1;

    child_reset_signals();
    (void)umask(022);
    if (child_enter_cgroups(spawn) < 0)
        child_fail(result_fd, STEP_CGROUP);
    if (child_set_limits(spawn) < 0)
        child_fail(result_fd, STEP_LIMITS);
    if (spawn->is_session_leader)
        (void)setsid();
    if (child_switch_user(spawn) < 0)
        child_fail(result_fd, STEP_USER);
    /* After the change of user, which clears it. A parent that died before is seen by its number.
     */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
        child_fail(result_fd, STEP_PARENT);
    if (spawn->is_subreaper)
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    if (spawn->working_directory && chdir(spawn->working_directory) < 0)
        child_fail(result_fd, STEP_FOLDER);
    if (spawn->exec_fd >= 0) {
        exec_fd = lifted(spawn->exec_fd);
        if (exec_fd < 0)
            child_fail(result_fd, STEP_DESCRIPTORS);
    }
    if (child_set_descriptors(spawn) < 0)
        child_fail(result_fd, STEP_DESCRIPTORS);
    if (exec_fd >= 0) {
        (void)syscall(SYS_execveat, exec_fd, "", spawn->argv, spawn->envp, AT_EMPTY_PATH);
    } else {
        environ = (char **)(uintptr_t)spawn->envp; /* execvp searches the PATH of environ */
        (void)execvp(spawn->argv[0], spawn->argv);
    }
    child_fail(result_fd, STEP_EXEC);
}

int spawn_start(const struct spawn *spawn, pid_t *ret_pid, int *ret_result_fd, struct error *err)
{
    CLEANUP(fd_closep) int reader = -1;
    CLEANUP(fd_closep) int writer = -1;
    sigset_t all, before;
    pid_t parent = getpid();
    pid_t pid;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(err, errno, "unable to make a pipe");
    reader = ends[0];
    writer = lifted(ends[1]);
    fd_close(ends[1]);
    if (writer < 0)
        return error_errno(err, errno, "unable to make a pipe");
    if (fd_set_nonblocking(reader, true) < 0)
        return error_errno(err, errno, "unable to make a pipe non-blocking");

    /* No handler of the parent may run in the child. */
    sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, &before);
    pid = fork();
    if (pid == 0)
        child_run(spawn, parent, writer);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return error_errno(err, errno, "unable to make a process");
    *ret_pid = pid;
    *ret_result_fd = TAKE_FD(reader);
    return 0;
}

int spawn_result(int result_fd, const char *program, struct error *err)
{
    static const char *const details[STEP_COUNT] = {
#define X(step, detail) [step] = detail,
        STEPS(X)
#undef X
    };
    struct failure failure;
    ssize_t len = read(result_fd, &failure, sizeof failure);
    int code;

    if (len == 0)
        return 0;
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return error_set(err, ERR_UNAVAILABLE, "'%s' is being started", program);
    if (len != (ssize_t)sizeof failure || failure.step < 0 || failure.step >= STEP_COUNT)
        return error_set(err, ERR_SYSTEM, "unable to start '%s'", program);
    code = error_errno(err, failure.errno_value, "unable to start '%s'%s", program,
                       details[failure.step]);
    if (failure.step == STEP_EXEC && failure.errno_value == ENOENT)
        (void)error_hint(err, "is it installed, and in the PATH of the service? A script's first "
                              "line must name an interpreter that exists");
    if (failure.step == STEP_EXEC && failure.errno_value == EACCES)
        (void)error_hint(err, "is it executable, and may the service's user read its folder?");
    return code;
}
