#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control_groups.h"
#include "keeper/keeper_private.h"
#include "unit.h"

/* A keeper that starts units and has no roles to tell of them. */
static int setup(void **state)
{
    struct keeper *keeper = calloc(1, sizeof *keeper);

    assert_non_null(keeper);
    assert_int_equal(loop_new(&keeper->loop, NULL), 0);
    keeper->binary.fd = -1;
    list_init(&keeper->units);
    list_init(&keeper->streams);
    keeper->units_by_id = map_new(KEEPER_UNITS_MAX);
    *state = keeper;
    return 0;
}

static int teardown(void **state)
{
    struct keeper *keeper = *state;

    units_done(keeper);
    streams_done(keeper);
    map_freep(&keeper->units_by_id);
    bool is_clear = control_groups_close(&keeper->cgroups);
    loop_free(keeper->loop);
    free(keeper);
    return is_clear ? 0 : -1;
}

static void spawn_unit(struct keeper *keeper, uint64_t id, const char *program)
{
    static struct message_spawn spawn; /* large */
    int none = -1;

    spawn = (struct message_spawn){
        .fixed = {.header = {KEEPER_SPAWN, 1}, .unit = id, .argc = 1},
        .tag = "unit",
        .label = "",
        .working_directory = "/",
        .cgroup = "unit",
        .argv = {(char *)(uintptr_t)program},
    };
    assert_int_equal(unit_spawn(keeper, &spawn, &none, 1, NULL), 0);
}

static void wait_for_its_end(pid_t pid)
{
    siginfo_t info;

    while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0)
        assert_int_equal(errno, EINTR);
}

/* Its group is empty as soon as it is dead: nothing is left to wait for. */
static void a_unit_that_never_ran_may_vanish_while_its_end_is_looked_at(void **state)
{
    struct keeper *keeper = *state;
    struct unit *unit;
    pid_t pid;

    if (!control_groups_open(&keeper->cgroups))
        skip(); /* no groups here: then it waits for its process to be reaped */
    spawn_unit(keeper, 1, "/nonexistent/program");
    unit = container_of(keeper->units.next, struct unit, node);
    pid = unit->pid;
    wait_for_its_end(pid);
    unit_leader_ended(unit);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    for (int i = 0; i < 500 && !list_is_empty(&keeper->units); i++)
        assert_int_equal(loop_turn(keeper->loop, 10, NULL), 0);
    assert_true(list_is_empty(&keeper->units));
    assert_true(list_is_empty(&keeper->streams));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_unit_that_never_ran_may_vanish_while_its_end_is_looked_at,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
