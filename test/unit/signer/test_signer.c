/* The role as the keeper starts it: a process of its own on its channel. */
#include "signer_keys.h"

#include "base/keeper_protocol.h"
#include "os/confine.h"
#include "os/file.h"
#include "os/socket.h"
#include "signer/signer.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#define WAIT_MS 10000

static struct made_key key;
static pid_t role;
static int keeper, control, edge;

static void start(void)
{
    int fds[2];

    assert_int_equal(channel_pair(fds, NULL), 0);
    role = fork();
    assert_true(role >= 0);
    if (role == 0) {
        if (dup2(fds[1], KEEPER_CHANNEL_FD) != KEEPER_CHANNEL_FD)
            _exit(99);
        _exit(signer_main());
    }
    (void)close(fds[1]);
    keeper = fds[0];
}

static void tell(int to, const void *message, size_t len, int fd)
{
    assert_int_equal(channel_send(to, message, len, &fd, fd >= 0), 0);
}

static size_t hear(int from, void *message, size_t capacity)
{
    struct pollfd poll_fd = {.fd = from, .events = POLLIN};
    int fds[CHANNEL_FDS_MAX];
    size_t len = 0, fd_count = 0;

    assert_int_equal(poll(&poll_fd, 1, WAIT_MS), 1);
    assert_int_equal(channel_receive(from, message, capacity, &len, fds, &fd_count), 0);
    assert_int_equal(fd_count, 0);
    return len;
}

static int peer(uint32_t peer_role)
{
    struct keeper_peer message = {.header = {.type = KEEPER_PEER}, .role = peer_role};
    int fds[2];

    assert_int_equal(channel_pair(fds, NULL), 0);
    tell(keeper, &message, sizeof(message), fds[1]);
    (void)close(fds[1]);
    return fds[0];
}

static void begin(int held_fd)
{
    struct keeper_hello hello = {.header = {.type = KEEPER_HELLO},
                                 .protocol_version = KEEPER_PROTOCOL_VERSION,
                                 .role = KEEPER_ROLE_SIGNER,
                                 .log_level = 1};
    struct {
        struct keeper_held held;
        char name[8];
    } held = {{.header = {.type = KEEPER_HELD}}, "keys"};
    struct keeper_table_end table_end = {.header = {.type = KEEPER_TABLE_END}};
    struct keeper_ready ready;

    start();
    tell(keeper, &hello, sizeof(hello), -1);
    control = peer(KEEPER_ROLE_CONTROL);
    edge = peer(KEEPER_ROLE_EDGE);
    if (held_fd >= 0)
        tell(keeper, &held, sizeof(held.held) + 5, held_fd);
    tell(keeper, &table_end, sizeof(table_end), -1);
    assert_int_equal(hear(keeper, &ready, sizeof(ready)), sizeof(ready));
    assert_int_equal(ready.header.type, KEEPER_READY);
}

static void finish(void)
{
    struct keeper_quit quit = {.header = {.type = KEEPER_QUIT}, .grace_ms = 1000};
    int status;

    tell(keeper, &quit, sizeof(quit), -1);
    assert_int_equal(waitpid(role, &status, 0), role);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    (void)close(keeper);
    (void)close(control);
    (void)close(edge);
}

static void ask(uint64_t number, const struct made_key *of)
{
    struct {
        struct peer_sign header;
        char digest[32];
    } message = {{.type = PEER_SIGN, .kind = PEER_SIGN_ECDSA, .request = number, .len = 32},
                 "0123456789abcdef0123456789abcde"};

    memcpy(message.header.key_id, of->id, PEER_KEY_ID_BYTES);
    tell(edge, &message, sizeof(message), -1);
}

static struct peer_signed answer(void)
{
    struct {
        struct peer_signed header;
        uint8_t signature[PEER_SIGNATURE_MAX];
    } message;
    size_t len = hear(edge, &message, sizeof(message));

    assert_true(len >= sizeof(message.header));
    assert_int_equal(len, sizeof(message.header) + message.header.len);
    assert_int_equal(message.header.type, PEER_SIGNED);
    return message.header;
}

static void an_edge_gets_signatures_with_keys_from_control(void **state)
{
    struct peer_keys keys = {.type = PEER_KEYS, .version = 4};
    struct peer_keys_ack ack;
    struct peer_signed signed_1, signed_2;
    int fd = keys_fd(&key, 1, 4);

    (void)state;
    begin(-1);
    ask(1, &key);
    assert_true(answer().is_refused);
    tell(control, &keys, sizeof(keys), fd);
    (void)close(fd);
    assert_int_equal(hear(control, &ack, sizeof(ack)), sizeof(ack));
    assert_int_equal(ack.type, PEER_KEYS_ACK);
    assert_int_equal(ack.version, 4);
    assert_int_equal(ack.refused, 0);
    ask(2, &key);
    ask(3, &key);
    signed_1 = answer();
    signed_2 = answer();
    assert_false(signed_1.is_refused);
    assert_int_equal(signed_1.request, 2);
    assert_int_equal(signed_2.request, 3);
    assert_true(signed_1.len >= 68);
    finish();
}

static void keys_that_the_keeper_held_are_used_at_once(void **state)
{
    int fd = keys_fd(&key, 1, 9);

    (void)state;
    begin(fd);
    (void)close(fd);
    ask(1, &key);
    assert_false(answer().is_refused);
    finish();
}

static void an_edge_cannot_send_keys_and_nonsense_harms_nobody(void **state)
{
    struct peer_keys keys = {.type = PEER_KEYS, .version = 4};
    int held = keys_fd(&key, 1, 9), none = keys_fd(&key, 0, 10);

    (void)state;
    begin(held);
    tell(edge, &keys, sizeof(keys), none);
    tell(edge, "x", 1, -1);
    tell(control, "nonsense that is longer", 23, -1);
    (void)close(held);
    (void)close(none);
    ask(1, &key);
    assert_false(answer().is_refused);
    finish();
}

static void a_second_channel_of_an_edge_leaves_the_first_one_working(void **state)
{
    int held = keys_fd(&key, 1, 9), old;

    (void)state;
    begin(held);
    (void)close(held);
    old = edge;
    edge = peer(KEEPER_ROLE_EDGE);
    ask(1, &key);
    assert_false(answer().is_refused);
    (void)close(edge);
    edge = old;
    ask(2, &key);
    assert_int_equal(answer().request, 2);
    finish();
}

static void its_memory_is_no_business_of_others(void **state)
{
    char path[64], line[256];
    FILE *file;
    bool is_filtered = false;

    (void)state;
    begin(-1);
    if (confine_is_real()) {
        snprintf(path, sizeof(path), "/proc/%d/status", (int)role);
        file = fopen(path, "re");
        assert_non_null(file);
        while (fgets(line, sizeof(line), file))
            is_filtered |= strncmp(line, "Seccomp:\t2", 10) == 0;
        (void)fclose(file);
        assert_true(is_filtered);
    }
    finish();
}

static int set_up(void **state)
{
    (void)state;
    key = key_make();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    key_done(&key);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_edge_gets_signatures_with_keys_from_control),
        cmocka_unit_test(keys_that_the_keeper_held_are_used_at_once),
        cmocka_unit_test(an_edge_cannot_send_keys_and_nonsense_harms_nobody),
        cmocka_unit_test(a_second_channel_of_an_edge_leaves_the_first_one_working),
        cmocka_unit_test(its_memory_is_no_business_of_others),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
