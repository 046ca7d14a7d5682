#include "control_groups.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/cgroup.h"
#include "os/file.h"

/* These need a machine that lets us make groups; elsewhere they say so and pass. */
static struct cgroup_root root;

static int setup(void **state)
{
    (void)state;
    if (!control_groups_open(&root))
        assert_int_equal(root.count, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_true(control_groups_close(&root));
    return 0;
}

/* In a child: nothing of a test that is killed stays. */
static void enter(const struct cgroup *group)
{
    char path[CGROUP_PATH_MAX];

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (size_t i = 0; cgroup_procs_path(group, i, path); i++) {
        FILE *file = fopen(path, "we");

        if (!file || fputs("0", file) < 0 || fclose(file) != 0)
            _exit(1);
    }
}

static NORETURN void sleep_for_ever(void)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;)
        (void)pause();
}

/* Comes back when it is in the group of every hierarchy. */
static pid_t sleeper_in(const struct cgroup *group)
{
    int entered[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe2(entered, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        enter(group);
        if (write(entered[1], "", 1) != 1)
            _exit(1);
        sleep_for_ever();
    }
    close(entered[1]);
    assert_int_equal(read(entered[0], &byte, 1), 1);
    close(entered[0]);
    assert_false(cgroup_is_empty(group));
    return pid;
}

static void kill_and_remove(const struct cgroup_root *where)
{
    const struct cgroup_limits limits = {
        .memory_bytes = 64u << 20, .cpu_millis = 500, .cpu_weight = 200};
    struct cgroup group = {0};
    struct error err = {0};
    int code = cgroup_make(where, "one", &limits, &group, &err);
    int status;
    pid_t pid;

    assert_true(code == 0 || code == ERR_UNSUPPORTED); /* the second: without the limits */
    assert_true(cgroup_is_empty(&group));
    pid = sleeper_in(&group);
    assert_false(cgroup_remove(&group));
    for (int i = 0; i < 5000 && !cgroup_is_empty(&group); i++) {
        cgroup_kill(&group);
        (void)usleep(1000);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WTERMSIG(status), SIGKILL);
    for (int i = 0; i < 5000 && !cgroup_remove(&group); i++)
        (void)usleep(1000);
    assert_true(cgroup_remove(&group)); /* again: nothing to do */
}

static void members_are_killed_and_the_group_goes(void **state)
{
    (void)state;
    if (!root.count)
        skip();
    kill_and_remove(&root);
}

static void each_hierarchy_alone_is_enough(void **state)
{
    (void)state;
    if (!root.count)
        skip();
    for (size_t i = 0; i < root.count; i++) {
        struct cgroup_root alone = {.count = 1, .hierarchies = {root.hierarchies[i]}};

        kill_and_remove(&alone);
    }
}

static void what_an_earlier_platform_left_is_cleared(void **state)
{
    struct cgroup group = {0};
    pid_t pid;

    (void)state;
    if (!root.count)
        skip();
    assert_int_equal(cgroup_make(&root, "left", NULL, &group, NULL), 0);
    pid = sleeper_in(&group);
    assert_true(cgroup_root_clear(&root, 10000));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void usage_is_read_from_the_folders_text(void **state)
{
    char folders[CGROUP_HIERARCHIES_MAX * CGROUP_PATH_MAX];
    struct cgroup_usage usage;
    struct cgroup group = {0};
    pid_t pid;

    (void)state;
    if (!root.count)
        skip();
    assert_int_equal(cgroup_make(&root, "used", NULL, &group, NULL), 0);
    pid = sleeper_in(&group);
    assert_true(cgroup_folders(&group, folders, sizeof folders));
    cgroup_read_usage(folders, &usage);
    assert_int_equal(usage.has_memory, cgroup_root_has(&root, CGROUP_MEMORY));
    assert_int_equal(usage.has_cpu, cgroup_root_has(&root, CGROUP_CPUACCT));
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    cgroup_read_usage("", &usage);
    assert_false(usage.has_memory || usage.has_cpu);
}

static pid_t bomb_in(const struct cgroup *group, int result)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        unsigned char children = 0;

        enter(group);
        for (; children < 20; children++) {
            pid_t child = fork();

            if (child < 0)
                break;
            if (child == 0)
                sleep_for_ever();
        }
        (void)!write(result, &children, 1);
        sleep_for_ever();
    }
    return pid;
}

static void a_fork_bomb_ends_at_its_own_group(void **state)
{
    const struct cgroup_limits limits = {.processes = 5};
    struct cgroup group = {0};
    unsigned char children = 0;
    int result[2];
    pid_t pid;

    (void)state;
    if (!cgroup_root_has(&root, CGROUP_PIDS))
        skip();
    assert_int_equal(cgroup_make(&root, "bomb", &limits, &group, NULL), 0);
    assert_int_equal(pipe(result), 0);
    pid = bomb_in(&group, result[1]);
    assert_int_equal(read(result[0], &children, 1), 1);
    assert_int_equal(children, 4);
    fd_close(result[0]);
    fd_close(result[1]);
    assert_true(cgroup_root_clear(&root, 10000));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void what_a_killed_test_left_is_removed_by_the_next(void **state)
{
    struct cgroup_root left = {0}, again = {0};
    pid_t pid = fork();

    (void)state;
    if (pid == 0)
        _exit(control_groups_open(&left) ? 0 : 1);
    int status = 1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WEXITSTATUS(status) != 0)
        skip();
    char folder[CGROUP_PATH_MAX + 32];
    assert_true(control_groups_open(&again));
    const char *mine = again.hierarchies[0].folder;
    (void)snprintf(folder, sizeof folder, "%.*s" CONTROL_GROUPS_PREFIX "%d",
                   (int)(strrchr(mine, '/') + 1 - mine), mine, (int)pid);
    assert_false(file_exists(folder));
    assert_true(control_groups_close(&again));
}

static void names_that_leave_the_folder_are_refused(void **state)
{
    static const struct cgroup_root nowhere = {.count = 1,
                                               .hierarchies = {{.folder = "/no/such/folder"}}};
    struct cgroup group = {0};
    char text[8];

    (void)state;
    assert_int_equal(cgroup_make(&nowhere, "../x", NULL, &group, NULL), ERR_INVALID);
    assert_int_equal(cgroup_make(&nowhere, "a/b", NULL, &group, NULL), ERR_INVALID);
    assert_int_equal(cgroup_make(&nowhere, "", NULL, &group, NULL), ERR_INVALID);
    assert_int_equal(cgroup_make(&nowhere, "a", NULL, &group, NULL), ERR_SYSTEM);
    assert_null(group.root);
    assert_true(cgroup_is_empty(&group)); /* the zero value: no group */
    assert_true(cgroup_remove(&group));
    assert_true(cgroup_folders(&group, text, sizeof text));
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(members_are_killed_and_the_group_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(each_hierarchy_alone_is_enough, setup, teardown),
        cmocka_unit_test_setup_teardown(what_an_earlier_platform_left_is_cleared, setup, teardown),
        cmocka_unit_test_setup_teardown(usage_is_read_from_the_folders_text, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fork_bomb_ends_at_its_own_group, setup, teardown),
        cmocka_unit_test(what_a_killed_test_left_is_removed_by_the_next),
        cmocka_unit_test(names_that_leave_the_folder_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
