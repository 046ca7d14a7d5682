#include "os/file.h"
#include "os/proc.h"
#include "unit.h"
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* A session leader with one child; both wait until the pipe that they hold is closed by us. */
static pid_t session_start(int *ret_release)
{
    int release[2], ready[2];
    char byte;
    assert_int_equal(pipe(release), 0);
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(release[1]);
        setsid();
        prctl(PR_SET_NAME, "a) R 1 (b");
        pid_t child = fork();
        if (child > 0)
            (void)!write(ready[1], "x", 1);
        (void)!read(release[0], &byte, 1);
        if (child > 0)
            waitpid(child, NULL, 0);
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(release[0]);
    close(ready[0]);
    close(ready[1]);
    *ret_release = release[1];
    return pid;
}

static void a_session_is_known_with_all_its_members(void **state)
{
    (void)state;
    int release;
    pid_t pids[16], children[16], leader = session_start(&release);
    struct proc_usage usage;
    assert_int_equal(proc_session_members(leader, pids, 16), 2);
    assert_int_equal(proc_session_members(leader, pids, 1), 1);
    assert_int_equal(proc_children(leader, children, 16), 1);
    assert_int_equal(proc_session_usage(leader, &usage, NULL), 0);
    assert_int_equal(usage.processes, 2);
    assert_true(usage.memory_bytes > 0);
    assert_true(usage.cpu_seconds < 60);
    assert_true(proc_is_alive(leader));
    assert_true(proc_is_alive(children[0]));
    close(release);
    assert_int_equal(waitpid(leader, NULL, 0), leader);
    assert_false(proc_is_alive(leader));
    assert_int_equal(proc_session_usage(leader, &usage, NULL), ERR_NOT_FOUND);
    assert_int_equal(proc_session_members(leader, pids, 16), 0);
}

static void a_dead_process_that_nobody_waited_for_is_not_alive(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_false(proc_is_alive(pid));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_false(proc_is_alive(0));
    assert_false(proc_is_alive(-1));
}

static void the_start_of_a_process_stays_the_same(void **state)
{
    (void)state;
    uint64_t ours, again, first;
    assert_int_equal(proc_start_ticks(getpid(), &ours), 0);
    assert_int_equal(proc_start_ticks(getpid(), &again), 0);
    assert_int_equal(ours, again);
    assert_int_equal(proc_start_ticks(1, &first), 0);
    assert_true(first <= ours);
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(proc_start_ticks(pid, &again), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_is_known_with_all_its_members),
        cmocka_unit_test(a_dead_process_that_nobody_waited_for_is_not_alive),
        cmocka_unit_test(the_start_of_a_process_stays_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
