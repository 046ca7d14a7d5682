#include <sys/wait.h>
#include <unistd.h>

#include "keeper/keeper_private.h"
#include "os/file.h"
#include "os/socket.h"
#include "unit.h"

/* A keeper with two roles that are up; what it tells them arrives at the other ends. */
struct fixture {
    struct keeper keeper;
    struct role roles[2];
    int control, edge;
};

static const struct keeper_role_entry entries[] = {{.role = KEEPER_ROLE_CONTROL, .name = "control"},
                                                   {.role = KEEPER_ROLE_EDGE, .name = "edge"}};

static void on_message(struct channel *channel, const void *message, size_t len, int *fds,
                       size_t fd_count)
{
    (void)channel, (void)message, (void)len, (void)fds, (void)fd_count;
}

static void on_closed(struct channel *channel)
{
    (void)channel;
}

static int role_open(struct fixture *fixture, size_t i)
{
    struct role *role = &fixture->roles[i];
    int fds[2];

    *role = (struct role){.keeper = &fixture->keeper,
                          .entry = &entries[i],
                          .index = (unsigned)i,
                          .title = KEEPER_TITLE_PREFIX "role",
                          .state = ROLE_SERVING,
                          .pid = getpid(),
                          .life = 1,
                          .channel = {.on_message = on_message, .on_closed = on_closed}};
    assert_int_equal(channel_pair(fds, NULL), 0);
    assert_int_equal(channel_start(&role->channel, fixture->keeper.loop, fds[0], NULL), 0);
    return fds[1];
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    assert_non_null(fixture);
    assert_int_equal(loop_new(&fixture->keeper.loop, NULL), 0);
    fixture->keeper.roles = fixture->roles;
    fixture->keeper.role_count = ARRAY_LEN(fixture->roles);
    list_init(&fixture->keeper.units);
    list_init(&fixture->keeper.streams);
    fixture->keeper.units_by_id = map_new(KEEPER_UNITS_MAX);
    fixture->control = role_open(fixture, 0);
    fixture->edge = role_open(fixture, 1);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    channel_stop(&fixture->roles[0].channel);
    channel_stop(&fixture->roles[1].channel);
    fd_close(fixture->control);
    fd_close(fixture->edge);
    held_done(&fixture->keeper);
    map_freep(&fixture->keeper.units_by_id);
    loop_free(fixture->keeper.loop);
    free(fixture);
    return 0;
}

/* The reply that waits at `fd`; false: none does. */
static bool reply_read(int fd, struct keeper_reply *ret_reply)
{
    int fds[CHANNEL_FDS_MAX];
    char bytes[4096];
    size_t len, fd_count;

    if (channel_receive(fd, bytes, sizeof bytes, &len, fds, &fd_count) != 0)
        return false;
    assert_true(len >= sizeof *ret_reply);
    memcpy(ret_reply, bytes, sizeof *ret_reply);
    return true;
}

static void control_is_answered_under_its_number(void **state)
{
    struct fixture *fixture = *state;
    struct keeper_forget forget = {.header = {KEEPER_FORGET, 7}, .unit = 1};
    struct keeper_reply reply;

    request_received(&fixture->roles[0], &forget, sizeof forget, NULL, 0);
    assert_true(reply_read(fixture->control, &reply));
    assert_int_equal(reply.header.type, KEEPER_REPLY);
    assert_int_equal(reply.header.request, 7);
    assert_int_equal(reply.code, ERR_NOT_FOUND);
}

static void what_an_edge_sends_never_answers_a_request_of_control(void **state)
{
    struct fixture *fixture = *state;
    struct keeper_ready ready = {.header = {KEEPER_READY, 7}};
    struct keeper_forget forget = {.header = {KEEPER_FORGET, 7}, .unit = 1};
    struct keeper_reply reply;

    request_received(&fixture->roles[1], &ready, sizeof ready, NULL, 0);
    request_received(&fixture->roles[1], &forget, sizeof forget, NULL, 0);
    assert_false(reply_read(fixture->control, &reply));
}

/* What the channel delivers when the keeper may not open the descriptor that came along. */
static void a_spawn_whose_input_was_lost_is_refused_for_want_of_room(void **state)
{
    static const char strings[] = "tag\0label\0/\0group\0program";
    struct fixture *fixture = *state;
    struct keeper_spawn spawn = {
        .header = {KEEPER_SPAWN, 8}, .unit = 1, .argc = 1, .flags = KEEPER_SPAWN_STDIN};
    char bytes[sizeof spawn + sizeof strings];
    struct keeper_reply reply;

    memcpy(bytes, &spawn, sizeof spawn);
    memcpy(bytes + sizeof spawn, strings, sizeof strings);
    request_received(&fixture->roles[0], bytes, sizeof bytes, NULL, 0);
    assert_true(reply_read(fixture->control, &reply));
    assert_int_equal(reply.header.request, 8);
    assert_int_equal(reply.code, ERR_LIMIT);
}

/* A control that was told to end closes its channel and then its store: not to be killed there. */
static void a_role_that_has_closed_its_channel_ends_on_its_own(void **state)
{
    struct fixture *fixture = *state;
    struct role *control = &fixture->roles[0];
    int status = 0;

    fd_closep(&fixture->control);
    control->pid = fork();
    assert_true(control->pid >= 0);
    if (control->pid == 0) {
        (void)usleep(300000);
        _exit(0);
    }
    request_reply(&fixture->keeper, control->life, 7, NULL);
    assert_int_equal(waitpid(control->pid, &status, 0), control->pid);
    assert_true(WIFEXITED(status));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(control_is_answered_under_its_number),
        TEST(a_spawn_whose_input_was_lost_is_refused_for_want_of_room),
        TEST(a_role_that_has_closed_its_channel_ends_on_its_own),
        TEST(what_an_edge_sends_never_answers_a_request_of_control),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
