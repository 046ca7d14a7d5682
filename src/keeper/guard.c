/* The guard: a sibling of every role that does nothing but wait for the keeper's end.
 *
 * Why: when the keeper is killed with -9 the kernel kills its children (PR_SET_PDEATHSIG), but not
 * theirs, and nobody is left who may kill processes of other users. The guard holds the platform's
 * lock until that is done, so that the next platform on this state folder does not start over the
 * remains. A fork without exec: it shares its pages with the keeper.
 */
#include "keeper/keeper_private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "os/file.h"

#define SWEEP_MS 10000u

static void close_all_but(int first, int second)
{
    int lower = MIN(first, second), upper = MAX(first, second);

    assert(lower > STDERR_FILENO);
    (void)close_range(STDERR_FILENO + 1, (unsigned)lower - 1, 0);
    if (lower + 1 < upper)
        (void)close_range((unsigned)lower + 1, (unsigned)upper - 1, 0);
    (void)close_range((unsigned)upper + 1, ~0u, 0);
}

static NORETURN void guard_run(struct keeper *keeper, int reader)
{
    uint64_t end_us;
    sigset_t all;
    char byte;
    ssize_t got;

    sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    (void)setsid(); /* Ctrl-C is not for the guard */
    close_all_but(reader, keeper->lock_fd);
    (void)prctl(PR_SET_NAME, KEEPER_TITLE_PREFIX "guard");
    if (keeper->options->title) {
        memset(keeper->options->title, 0, keeper->options->title_size);
        (void)snprintf(keeper->options->title, keeper->options->title_size,
                       KEEPER_TITLE_PREFIX "guard");
    }
    do
        got = read(reader, &byte, 1);
    while (got < 0 && errno == EINTR);
    if (got == 1)
        _exit(0); /* the keeper ended in peace */

    end_us = clock_monotonic_us() + SWEEP_MS * 1000u;
    do {
        bool is_clear = cgroup_root_clear(&keeper->cgroups, SWEEP_MS / 4);

        if (orphans_kill_marked(keeper->marker) == 0 && is_clear)
            break;
        (void)usleep(5000);
    } while (clock_monotonic_us() < end_us);
    cgroup_root_remove(&keeper->cgroups);
    _exit(0);
}

int guard_start(struct keeper *keeper, struct error *err)
{
    CLEANUP(fd_closep) int reader = -1;
    CLEANUP(fd_closep) int writer = -1;
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(err, errno, "unable to make the guard's pipe");
    reader = ends[0];
    writer = ends[1];
    pid = fork();
    if (pid == 0) {
        fd_close(writer);
        guard_run(keeper, reader);
    }
    if (pid < 0)
        return error_errno(err, errno, "unable to start the guard");
    fd_close(keeper->guard_writer);
    keeper->guard_writer = TAKE_FD(writer);
    keeper->guard_pid = pid;
    return 0;
}

int guard_renew(struct keeper *keeper, struct error *err)
{
    CLEANUP(fd_closep) int old_writer = TAKE_FD(keeper->guard_writer);
    pid_t old_pid = keeper->guard_pid;
    int code = guard_start(keeper, err);

    if (code < 0) {
        keeper->guard_writer = TAKE_FD(old_writer); /* the old one does it, too */
        return code;
    }
    /* Reaped like any child. */
    if (old_pid > 0 && write(old_writer, "q", 1) != 1)
        (void)kill(old_pid, SIGKILL);
    return 0;
}

void guard_stop(struct keeper *keeper)
{
    if (keeper->guard_pid <= 0)
        return;
    if (write(keeper->guard_writer, "q", 1) != 1)
        (void)kill(keeper->guard_pid, SIGKILL);
    while (waitpid(keeper->guard_pid, NULL, 0) < 0 && errno == EINTR)
        ;
    keeper->guard_pid = 0;
    fd_close(keeper->guard_writer);
    keeper->guard_writer = -1;
}
