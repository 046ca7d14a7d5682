#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/file.h"
#include "os/spawn.h"

static char *const environment[] = {(char *)(uintptr_t) "PATH=/usr/bin:/bin", NULL};

/* Starts a process with its output in a pipe; the reader is in *ret_output. */
static int start(struct spawn *spawn, pid_t *ret_pid, int *ret_output, struct error *err)
{
    struct pollfd watch = {.events = POLLIN};
    int ends[2], code;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    spawn->envp = environment;
    spawn->stdin_fd = -1;
    spawn->stdout_fd = ends[1];
    spawn->stderr_fd = -1;
    spawn->channel_fd = -1;
    assert_int_equal(spawn_start(spawn, ret_pid, &watch.fd, NULL), 0);
    fd_close(ends[1]);
    assert_int_equal(poll(&watch, 1, 10000), 1);
    code = spawn_result(watch.fd, spawn->argv[0], err);
    fd_close(watch.fd);
    *ret_output = ends[0];
    return code;
}

/* What a script says when it is started so. */
static void run(struct spawn *spawn, const char *script, char *text, size_t size)
{
    char *const argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c",
                          (char *)(uintptr_t)script, NULL};
    size_t len = 0;
    ssize_t got;
    int output;
    pid_t pid;

    spawn->argv = argv;
    spawn->exec_fd = -1;
    assert_int_equal(start(spawn, &pid, &output, NULL), 0);
    while (len + 1 < size && (got = read(output, text + len, size - 1 - len)) > 0)
        len += (size_t)got;
    text[len] = '\0';
    fd_close(output);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_program_is_found_in_the_path_of_its_own_environment(void **state)
{
    struct spawn spawn = {0};
    char text[64];

    (void)state;
    run(&spawn, "echo $PATH", text, sizeof text);
    assert_string_equal(text, "/usr/bin:/bin\n");
}

static void what_fails_before_the_exec_is_told_with_its_step(void **state)
{
    char *const argv[] = {(char *)(uintptr_t) "no-such-program", NULL};
    struct spawn spawn = {.argv = argv, .exec_fd = -1};
    struct error err = {0};
    int output;
    pid_t pid;

    (void)state;
    assert_int_equal(start(&spawn, &pid, &output, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "unable to start 'no-such-program'"));
    assert_true(*err.hint);
    fd_close(output);
    assert_int_equal(waitpid(pid, NULL, 0), pid);

    error_clear(&err);
    spawn.working_directory = "/no/such/folder";
    assert_int_equal(start(&spawn, &pid, &output, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "its working directory"));
    fd_close(output);
    assert_int_equal(waitpid(pid, NULL, 0), pid);

    error_clear(&err);
    spawn.working_directory = NULL;
    spawn.cgroup_procs[0] = "/no/such/group/cgroup.procs";
    assert_int_equal(start(&spawn, &pid, &output, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "its control group"));
    fd_close(output);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void nothing_of_the_parent_leaks_into_the_child(void **state)
{
    struct spawn spawn = {.is_session_leader = true};
    sigset_t blocked;
    char text[512];
    int leak = dup(STDERR_FILENO); /* inheritable */

    (void)state;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    assert_int_equal(sigprocmask(SIG_BLOCK, &blocked, NULL), 0);
    (void)signal(SIGPIPE, SIG_IGN);
    run(&spawn,
        "ls /proc/self/fd | wc -l; grep -cE '^Sig(Blk|Ign):.0000000000000000' /proc/self/status; "
        "umask; ulimit -c",
        text, sizeof text);
    assert_string_equal(text, "4\n2\n0022\n0\n");
    (void)signal(SIGPIPE, SIG_DFL);
    assert_int_equal(sigprocmask(SIG_UNBLOCK, &blocked, NULL), 0);
    fd_close(leak);
}

static void an_open_binary_runs_after_its_file_is_gone(void **state)
{
    char folder[UNIT_PATH_SIZE], path[UNIT_PATH_SIZE], text[64];
    char *const argv[] = {(char *)(uintptr_t) "echo", (char *)(uintptr_t) "still here", NULL};
    struct spawn spawn = {.argv = argv};
    struct buf binary = BUF_INIT(8u << 20);
    int output;
    pid_t pid;

    (void)state;
    unit_path(path, unit_folder(folder), "program");
    assert_int_equal(file_read("/bin/echo", 8u << 20, &binary, NULL), 0);
    assert_int_equal(file_write_durable(path, buf_slice(&binary), 0755, NULL), 0);
    buf_done(&binary);
    spawn.exec_fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(directory_remove_tree(folder, NULL), 0);
    assert_int_equal(start(&spawn, &pid, &output, NULL), 0);
    fd_close(spawn.exec_fd);
    memset(text, 0, sizeof text);
    assert_true(read(output, text, sizeof text - 1) > 0);
    assert_string_equal(text, "still here\n");
    fd_close(output);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void the_limit_of_descriptors_is_kept_and_never_raised(void **state)
{
    struct spawn spawn = {.nofile_limit = 64};
    char text[64];

    (void)state;
    run(&spawn, "ulimit -n; ulimit -Hn", text, sizeof text);
    assert_string_equal(text, "64\n64\n");
    spawn.nofile_limit = UINT64_MAX;
    run(&spawn, "test $(ulimit -n) = $(ulimit -Hn) && echo same", text, sizeof text);
    assert_string_equal(text, "same\n");
}

static void root_switches_user_with_no_group_left(void **state)
{
    struct spawn spawn = {.is_user_switched = true, .uid = 65534, .gid = 65534};
    char text[256];

    (void)state;
    if (geteuid() != 0)
        skip();
    run(&spawn, "id -u; id -G; grep CapEff /proc/self/status", text, sizeof text);
    assert_string_equal(text, "65534\n65534\nCapEff:\t0000000000000000\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_is_found_in_the_path_of_its_own_environment),
        cmocka_unit_test(what_fails_before_the_exec_is_told_with_its_step),
        cmocka_unit_test(nothing_of_the_parent_leaks_into_the_child),
        cmocka_unit_test(an_open_binary_runs_after_its_file_is_gone),
        cmocka_unit_test(the_limit_of_descriptors_is_kept_and_never_raised),
        cmocka_unit_test(root_switches_user_with_no_group_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
