#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "data/engine_private.h"
#include "data/run_private.h"
#include "os/file.h"
#include "os/spawn.h"

#define TICK_MS 200

struct child {
    pid_t pid;
    int input_fd, output_fd, result_fd, pid_fd;
};

static void child_done(struct child *child)
{
    if (child->pid > 0) { /* an early return: it must not stay behind */
        (void)kill(child->pid, SIGKILL);
        (void)waitpid(child->pid, NULL, 0);
    }
    fd_close(child->input_fd);
    fd_close(child->output_fd);
    fd_close(child->result_fd);
    fd_close(child->pid_fd);
}

static int child_start(const struct run *run, struct child *child, struct error *err)
{
    CLEANUP(fd_closep) int input_fd = -1;
    CLEANUP(fd_closep) int output_fd = -1;
    CLEANUP(arena_freep) struct arena *arena = arena_new(64u << 10);
    const char **environment, **with_end;
    size_t count;
    int ends[2];
    struct spawn spawn = {.exec_fd = -1, .stderr_fd = -1, .channel_fd = -1};

    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(err, errno, "unable to make a pipe");
    input_fd = ends[0];
    child->input_fd = ends[1];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(err, errno, "unable to make a pipe");
    child->output_fd = ends[0];
    output_fd = ends[1];
    if (fd_set_nonblocking(child->input_fd, true) || fd_set_nonblocking(child->output_fd, true))
        return error_set(err, ERR_SYSTEM, "unable to make a pipe");
    environment = engine_environment(arena, run->config, &count);
    with_end = arena_array_of(arena, const char *, count + 1);
    memcpy(with_end, environment, count * sizeof *environment);
    spawn.argv = (char *const *)(uintptr_t)run->arguments;
    spawn.envp = (char *const *)(uintptr_t)with_end;
    spawn.working_directory = run->config->folder;
    spawn.stdin_fd = input_fd;
    spawn.stdout_fd = output_fd;
    return spawn_start(&spawn, &child->pid, &child->result_fd, err);
}

/* Give it what it reads, and close behind that. EPIPE: it does not want it; its exit status tells
 * more. */
static void feed(struct child *child, struct slice *input)
{
    while (input->len > 0) {
        ssize_t n = write(child->input_fd, input->ptr, input->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        *input = n < 0 ? (struct slice){0} : slice_sub(*input, (size_t)n, input->len);
    }
    fd_close(TAKE_FD(child->input_fd));
}

static void drain(struct child *child, struct buf *output)
{
    char bytes[4096];
    ssize_t n;

    while (child->output_fd >= 0) {
        n = read(child->output_fd, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            fd_close(TAKE_FD(child->output_fd));
        else if (output)
            buf_append(output, bytes, (size_t)n);
    }
}

static int judge(const struct run *run, struct child *child, int status, struct error *err)
{
    int code = spawn_result(child->result_fd, run->arguments[0], err);

    if (code && code != ERR_UNAVAILABLE)
        return code;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFSIGNALED(status))
        return error_set(err, ERR_FAILED, "database '%s': %s was ended by signal %d",
                         run->config->name, run->what, WTERMSIG(status));
    return error_set(err, ERR_FAILED, "database '%s': %s failed with exit status %d",
                     run->config->name, run->what, WEXITSTATUS(status));
}

int run_program(const struct run *run, struct error *err)
{
    CLEANUP(child_done)
    struct child child = {.input_fd = -1, .output_fd = -1, .result_fd = -1, .pid_fd = -1};
    uint64_t deadline = clock_monotonic_us() + (uint64_t)run->timeout_seconds * 1000000;
    struct slice input = run->input;
    int status, code = child_start(run, &child, err);

    if (code)
        return error_wrap(err, "unable to run %s", run->what);
    child.pid_fd = pidfd_open(child.pid, 0); /* -1 on an old kernel: then the tick tells */
    for (;;) {
        struct pollfd states[3] = {
            {child.input_fd, POLLOUT, 0}, {child.output_fd, POLLIN, 0}, {child.pid_fd, POLLIN, 0}};
        pid_t ended;
        if (child.input_fd >= 0)
            feed(&child, &input);
        drain(&child, run->output);
        ended = waitpid(child.pid, &status, WNOHANG);
        if (ended == child.pid)
            break;
        if (clock_monotonic_us() > deadline)
            return error_set(err, ERR_TIMEOUT, "database '%s': %s did not end within %u seconds",
                             run->config->name, run->what, run->timeout_seconds);
        states[0].fd = child.input_fd;
        states[1].fd = child.output_fd;
        (void)poll(states, 3, TICK_MS);
    }
    child.pid = 0;
    drain(&child, run->output);
    return judge(run, &child, status, err);
}
