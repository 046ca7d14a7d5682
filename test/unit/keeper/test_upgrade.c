#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/keeper_private.h"
#include "os/file.h"
#include "os/socket.h"
#include "unit.h"

#define REQUEST 7u
#define TURNS   2000

/* A keeper with control alone, which is up; what it is told arrives at the other end. */
struct fixture {
    struct keeper keeper;
    struct role roles[1];
    struct keeper_options options;
    int control;
    unsigned replies;
    struct keeper_reply reply; /* the last one */
    char text[KEEPER_TEXT_MAX];
    uint32_t phase; /* the last one told */
};

static const struct keeper_role_entry entries[] = {
    {.role = KEEPER_ROLE_CONTROL, .name = "control"}};
static char *no_arguments[] = {NULL};

static void on_message(struct channel *channel UNUSED, const void *message UNUSED,
                       size_t len UNUSED, int *fds UNUSED, size_t fd_count UNUSED)
{
}

static void on_closed(struct channel *channel UNUSED) {}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct keeper *keeper = &fixture->keeper;
    struct role *role = &fixture->roles[0];
    int fds[2];

    assert_non_null(fixture);
    fixture->options = (struct keeper_options){.state_directory = "/nowhere",
                                               .roles = entries,
                                               .role_count = ARRAY_LEN(entries),
                                               .edge_count = 1,
                                               .argv = no_arguments,
                                               .store_oldest = 1,
                                               .store_newest = 1,
                                               .store_readable = 1};
    *keeper = (struct keeper){.options = &fixture->options,
                              .lock_fd = -1,
                              .state_fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                              .guard_writer = -1,
                              .was_ready = true,
                              .binary = {.id = 1, .fd = -1, .is_private = true},
                              .before = {.fd = -1},
                              .spare = {.fd = -1},
                              .last_binary = 1,
                              .upgrade = {.running = {.from = -1, .writer = -1},
                                          .wanted = {.from = -1, .writer = -1},
                                          .candidate = {.fd = -1},
                                          .trial = {.fd = -1},
                                          .trial_result = -1},
                              .roles = fixture->roles,
                              .role_count = ARRAY_LEN(fixture->roles)};
    list_init(&keeper->units);
    list_init(&keeper->streams);
    assert_int_equal(loop_new(&keeper->loop, NULL), 0);
    *role = (struct role){.keeper = keeper,
                          .entry = &entries[0],
                          .title = KEEPER_TITLE_PREFIX "control",
                          .state = ROLE_SERVING,
                          .pid = getpid(),
                          .life = 1,
                          .result_fd = -1,
                          .counters_fd = -1,
                          .access_writer = -1,
                          .channel = {.on_message = on_message, .on_closed = on_closed}};
    assert_int_equal(channel_pair(fds, NULL), 0);
    assert_int_equal(channel_start(&role->channel, keeper->loop, fds[0], NULL), 0);
    fixture->control = fds[1];
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    upgrade_stop(&fixture->keeper);
    channel_stop(&fixture->roles[0].channel);
    fd_close(fixture->control);
    fd_close(fixture->keeper.state_fd);
    loop_free(fixture->keeper.loop);
    free(fixture);
    return 0;
}

static void listen_to_keeper(struct fixture *fixture)
{
    int fds[CHANNEL_FDS_MAX];
    char bytes[8192];
    size_t len, fd_count, cursor = sizeof fixture->reply;

    while (channel_receive(fixture->control, bytes, sizeof bytes, &len, fds, &fd_count) == 0) {
        struct keeper_header header;

        memcpy(&header, bytes, sizeof header);
        if (header.type == KEEPER_REPLY) {
            assert_int_equal(header.request, REQUEST);
            memcpy(&fixture->reply, bytes, sizeof fixture->reply);
            (void)snprintf(fixture->text, sizeof fixture->text, "%s",
                           keeper_next_string(bytes, len, &cursor));
            fixture->replies++;
        } else if (header.type == KEEPER_UPGRADE_STATE) {
            memcpy(&fixture->phase, bytes + offsetof(struct keeper_upgrade_state, phase),
                   sizeof fixture->phase);
        }
    }
}

static void run_until_idle(struct fixture *fixture)
{
    for (int i = 0; i < TURNS && fixture->keeper.upgrade.stage != UPGRADE_IDLE; i++)
        assert_int_equal(loop_turn(fixture->keeper.loop, 10, NULL), 0);
    assert_int_equal(fixture->keeper.upgrade.stage, UPGRADE_IDLE);
    listen_to_keeper(fixture);
}

static int ask(struct fixture *fixture, uint32_t number, const char *path)
{
    struct keeper_upgrade wanted = {.header = {KEEPER_UPGRADE, REQUEST}, .upgrade = number};
    struct error err = {0};
    int code = upgrade_begin(&fixture->keeper, &wanted, path, 1, &err);

    if (code < 0)
        return code;
    run_until_idle(fixture);
    return fixture->reply.code;
}

static void no_number_is_the_last_one(void **state)
{
    static const uint32_t taken[] = {1, 2, 0x80000001u, UINT32_MAX, 1, 2};
    struct fixture *fixture = *state;

    assert_int_equal(ask(fixture, 0, "/nowhere"), ERR_INVALID);
    assert_int_equal(ask(fixture, UINT32_MAX, "/nowhere"), ERR_INVALID);
    for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
        assert_int_equal(ask(fixture, taken[i], "/nowhere"), ERR_NOT_FOUND);
        assert_int_equal(fixture->keeper.upgrade.id, taken[i]);
        assert_int_equal(ask(fixture, taken[i], "/nowhere"), ERR_INVALID);
    }
    assert_int_equal(fixture->phase, KEEPER_UPGRADE_REFUSED);
}

/* Refused after it was answered: when the binary cannot be executed after all. */
static void a_request_is_answered_once(void **state)
{
    struct fixture *fixture = *state;
    struct upgrade *upgrade = &fixture->keeper.upgrade;

    upgrade->id = 1;
    upgrade->request = REQUEST;
    upgrade->control_life = 1;
    upgrade->phase = KEEPER_UPGRADE_TRYING;
    upgrade->candidate = (struct binary){.id = 2, .fd = -1};
    upgrade_tried(&fixture->keeper);
    run_until_idle(fixture);
    assert_int_equal(fixture->replies, 1);
    assert_int_equal(fixture->reply.code, 0);
    assert_int_equal(fixture->phase, KEEPER_UPGRADE_REFUSED);
    assert_int_equal(fixture->keeper.binary.id, 1);
}

/* This program is the binary that is tried: see main. */
static void what_a_binary_says_in_its_trial_is_shown_but_not_obeyed(void **state)
{
    struct fixture *fixture = *state;
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
    int status = 0;

    assert_true(len > 0);
    path[len] = '\0';
    assert_int_equal(ask(fixture, 1, path), ERR_INVALID);
    assert_non_null(strstr(fixture->text, "it says: ?[31mred? and more xxx"));
    assert_true(strlen(fixture->text) < 300);
    assert_int_equal(waitpid(fixture->keeper.upgrade.trial_pid, &status, 0),
                     fixture->keeper.upgrade.trial_pid);
}

static int speak(void)
{
    static const char text[] = "\033[31mred\a\nand more ";
    char noise[64 * 1024];

    memset(noise, 'x', sizeof noise);
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        return 1;
    while (write(STDERR_FILENO, noise, sizeof noise) > 0)
        ;
    return 1;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(no_number_is_the_last_one),
        TEST(a_request_is_answered_once),
        TEST(what_a_binary_says_in_its_trial_is_shown_but_not_obeyed),
    };

    if (argc > 0 && strcmp(argv[0], KEEPER_TRIAL_TITLE) == 0)
        return speak();
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
