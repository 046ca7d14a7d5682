#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "keeper/keeper_private.h"
#include "os/file.h"
#include "os/socket.h"
#include "unit.h"

/* A keeper with one role of each kind. Nobody reaps them, so to it they never end. */
#define ROLES 3

struct fixture {
    struct keeper keeper;
    struct keeper_options options;
    struct role roles[ROLES];
    int channels[ROLES];
};

static const struct keeper_role_entry entries[ROLES] = {
    {.role = KEEPER_ROLE_CONTROL, .name = "control"},
    {.role = KEEPER_ROLE_EDGE, .name = "edge"},
    {.role = KEEPER_ROLE_LOGD, .name = "logd"},
};

static void on_message(struct channel *channel, const void *message, size_t len, int *fds,
                       size_t fd_count)
{
    (void)channel, (void)message, (void)len, (void)fds, (void)fd_count;
}

static void on_closed(struct channel *channel)
{
    (void)channel;
}

static void role_open(struct fixture *fixture, size_t i)
{
    struct role *role = &fixture->roles[i];
    int fds[2];
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        for (;;)
            (void)pause();
    *role = (struct role){.keeper = &fixture->keeper,
                          .entry = &entries[i],
                          .title = KEEPER_TITLE_PREFIX "role",
                          .state = ROLE_SERVING,
                          .pid = pid,
                          .result_fd = -1,
                          .counters_fd = -1,
                          .access_writer = -1,
                          .channel = {.on_message = on_message, .on_closed = on_closed}};
    assert_int_equal(channel_pair(fds, NULL), 0);
    assert_int_equal(channel_start(&role->channel, fixture->keeper.loop, fds[0], NULL), 0);
    fixture->channels[i] = fds[1];
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    assert_non_null(fixture);
    log_set_level(LOG_ERROR);
    clock_fake(1000000000, 1700000000000000);
    assert_int_equal(loop_new(&fixture->keeper.loop, NULL), 0);
    fixture->keeper.options = &fixture->options;
    fixture->keeper.notify_fd = -1;
    fixture->keeper.roles = fixture->roles;
    fixture->keeper.role_count = ROLES;
    list_init(&fixture->keeper.units);
    list_init(&fixture->keeper.streams);
    for (size_t i = 0; i < ROLES; i++)
        role_open(fixture, i);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ROLES; i++) {
        (void)kill(fixture->roles[i].pid, SIGKILL);
        assert_int_equal(waitpid(fixture->roles[i].pid, NULL, 0), fixture->roles[i].pid);
        channel_stop(&fixture->roles[i].channel);
        fd_close(fixture->channels[i]);
    }
    loop_timer_stop(&fixture->keeper.quit_timer);
    loop_free(fixture->keeper.loop);
    clock_real();
    free(fixture);
    return 0;
}

static void pass(struct fixture *fixture, uint64_t ms)
{
    clock_fake_advance(ms * 1000);
    assert_int_equal(loop_turn(fixture->keeper.loop, 0, NULL), 0);
}

static bool is_dead(pid_t pid)
{
    siginfo_t info = {0};

    for (int i = 0; i < 5000 && info.si_pid == 0; i++) {
        assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
        if (info.si_pid == 0)
            (void)usleep(1000);
    }
    return info.si_pid == pid;
}

static void what_does_not_end_on_a_kill_is_left_behind_and_told(void **state)
{
    struct fixture *fixture = *state;
    struct keeper *keeper = &fixture->keeper;

    fixture->options.quit_ms = 10000;
    quit_request(keeper);
    assert_int_equal(keeper->quit, QUIT_EDGES);
    pass(fixture, 10000); /* the whole time is over: killed */
    assert_int_equal(keeper->quit, QUIT_EDGES);
    assert_true(is_dead(fixture->roles[1].pid));
    pass(fixture, 4000);
    assert_int_equal(keeper->quit, QUIT_EDGES);
    assert_false(keeper->is_quit_incomplete);
    pass(fixture, 1000);
    assert_int_equal(keeper->quit, QUIT_CONTROL);
    assert_true(keeper->is_quit_incomplete);
    for (unsigned i = 0; i < 20 && keeper->quit != QUIT_DONE; i++)
        pass(fixture, 1000);
    assert_int_equal(keeper->quit, QUIT_DONE);
    assert_true(is_dead(fixture->roles[0].pid));
    assert_true(is_dead(fixture->roles[2].pid));
}

static void impatience_does_not_put_the_last_deadline_off(void **state)
{
    struct fixture *fixture = *state;
    struct keeper *keeper = &fixture->keeper;

    fixture->options.quit_ms = 10000;
    quit_request(keeper);
    pass(fixture, 10000);
    for (unsigned i = 0; i < 6; i++) {
        quit_request(keeper);
        pass(fixture, 1000);
    }
    assert_int_not_equal(keeper->quit, QUIT_EDGES);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_does_not_end_on_a_kill_is_left_behind_and_told),
        TEST(impatience_does_not_put_the_last_deadline_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
