#include "os/file.h"
#include "os/socket.h"
#include "unit.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct address parsed(const char *text)
{
    struct address address;
    assert_int_equal(address_parse(text, &address, NULL), 0);
    return address;
}

static struct address bound(int fd)
{
    struct address address = {.len = sizeof(address.in6)};
    assert_int_equal(getsockname(fd, &address.any, &address.len), 0);
    return address;
}

static bool becomes(int fd, short events)
{
    struct pollfd wait = {.fd = fd, .events = events};
    return poll(&wait, 1, 5000) == 1;
}

static void addresses_are_read_and_written_alike(void **state)
{
    (void)state;
    const char *rows[][2] = {{"127.0.0.1:8080", "127.0.0.1:8080"},
                             {"0.0.0.0:0", "0.0.0.0:0"},
                             {"[::1]:80", "[::1]:80"},
                             {"[2001:db8:0::1]:65535", "[2001:db8::1]:65535"},
                             {"*:443", "*:443"},
                             {":443", "*:443"},
                             {"[::]:443", "*:443"},
                             {"unix:/run/x.sock", "unix:/run/x.sock"},
                             {"unix:x", "unix:x"}};
    char text[ADDRESS_TEXT_SIZE];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct address address = parsed(rows[i][0]);
        assert_string_equal(address_format(&address, text), rows[i][1]);
    }
    struct address none = {0};
    assert_string_equal(address_format(&none, text), "");
    assert_int_equal(address_port(&none), 0);
    struct address six = parsed("[::1]:80");
    assert_int_equal(address_port(&six), 80);
}

static void what_is_no_address_is_refused(void **state)
{
    (void)state;
    const char *bad[] = {"",
                         "127.0.0.1",
                         "127.0.0.1:",
                         "127.0.0.1:x",
                         "127.0.0.1:65536",
                         "localhost:80",
                         "::1:80",
                         "[::1]",
                         "[127.0.0.1]:80",
                         "[]:80",
                         "127.1:80",
                         "unix:",
                         "256.0.0.1:80",
                         "[:::1]:80",
                         "[*]:80"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct error err = {0};
        struct address address = {.len = 7};
        assert_int_equal(address_parse(bad[i], &address, &err), ERR_INVALID);
        assert_int_equal(address.len, 7);
    }
    char longer[200] = "unix:";
    memset(longer + 5, 'x', 150);
    struct address address;
    assert_int_equal(address_parse(longer, &address, NULL), ERR_INVALID);
}

static void a_listener_is_reached_and_its_port_is_taken(void **state)
{
    (void)state;
    CLEANUP(fd_closep) int listener = -1;
    CLEANUP(fd_closep) int client = -1;
    struct address address = parsed("127.0.0.1:0");
    assert_int_equal(socket_listen(&address, 16, &listener, NULL), 0);
    address = bound(listener);
    assert_false(socket_port_is_free(address_port(&address)));
    assert_int_equal(socket_connect(&address, &client, NULL), 0);
    assert_true(becomes(client, POLLOUT));
    assert_int_equal(socket_error(client), 0);
    assert_true(becomes(listener, POLLIN));
    CLEANUP(fd_closep) int server = accept(listener, NULL, NULL);
    assert_true(server >= 0);
    assert_int_equal(socket_set_nodelay(server), 0);

    struct error err = {0};
    int second = -1;
    assert_int_equal(socket_listen(&address, 16, &second, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.text, "127.0.0.1:"));
    assert_int_equal(second, -1);
    fd_closep(&listener);
    fd_closep(&server);
    assert_true(socket_port_is_free(address_port(&address)));
    assert_false(socket_port_is_free(0));
    assert_false(socket_port_is_free(65536));
}

static void a_refused_connection_is_told_by_its_error(void **state)
{
    (void)state;
    CLEANUP(fd_closep) int listener = -1;
    CLEANUP(fd_closep) int client = -1;
    struct address address = parsed("127.0.0.1:0");
    assert_int_equal(socket_listen(&address, 16, &listener, NULL), 0);
    address = bound(listener);
    fd_closep(&listener);
    if (socket_connect(&address, &client, NULL) == 0) {
        assert_true(becomes(client, POLLOUT));
        assert_int_equal(socket_error(client), ECONNREFUSED);
    }
}

static void an_abandoned_socket_file_is_replaced_and_a_living_one_is_not(void **state)
{
    (void)state;
    char folder[UNIT_PATH_SIZE], text[UNIT_PATH_SIZE + 5], path[UNIT_PATH_SIZE];
    unit_path(path, unit_folder(folder), "s");
    snprintf(text, sizeof(text), "unix:%s", path);
    struct address address = parsed(text);
    int listener = -1, second = -1;
    assert_int_equal(socket_listen(&address, 16, &listener, NULL), 0);
    assert_int_equal(socket_listen(&address, 16, &second, NULL), ERR_CONFLICT);
    fd_closep(&listener);
    assert_true(file_exists(path));
    int client = -1;
    assert_int_equal(socket_connect(&address, &client, NULL), ERR_UNAVAILABLE);
    assert_int_equal(socket_listen(&address, 16, &listener, NULL), 0);
    fd_closep(&listener);

    /* A file that is no socket is never removed. */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(socket_connect(&address, &client, NULL), ERR_NOT_FOUND);
    assert_int_equal(file_write_durable(path, SLICE("kept"), 0600, NULL), 0);
    assert_int_equal(socket_listen(&address, 16, &listener, NULL), ERR_CONFLICT);
    assert_true(file_exists(path));
    assert_int_equal(directory_remove_tree(folder, NULL), 0);
}

static void the_peer_of_a_unix_socket_is_known(void **state)
{
    (void)state;
    int fds[2];
    struct peer peer;
    assert_int_equal(channel_pair(fds, NULL), 0);
    assert_int_equal(socket_peer(fds[0], &peer, NULL), 0);
    assert_int_equal(peer.pid, getpid());
    assert_int_equal(peer.uid, getuid());
    close(fds[0]);
    close(fds[1]);
    assert_int_not_equal(socket_peer(-1, &peer, NULL), 0);
}

static void a_message_keeps_its_bounds_and_carries_descriptors(void **state)
{
    (void)state;
    int fds[2], pipe_fds[2], received[CHANNEL_FDS_MAX];
    char text[100];
    size_t len, count;
    assert_int_equal(channel_pair(fds, NULL), 0);
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(channel_receive(fds[1], text, sizeof(text), &len, received, &count),
                     ERR_UNAVAILABLE);
    assert_int_equal(channel_send(fds[0], "one", 3, NULL, 0), 0);
    assert_int_equal(channel_send(fds[0], "second", 6, pipe_fds, 2), 0);
    assert_int_equal(channel_receive(fds[1], text, sizeof(text), &len, received, &count), 0);
    assert_int_equal(len, 3);
    assert_int_equal(count, 0);
    assert_int_equal(channel_receive(fds[1], text, sizeof(text), &len, received, &count), 0);
    assert_int_equal(len, 6);
    assert_int_equal(count, 2);
    assert_int_equal(write(received[1], "x", 1), 1);
    assert_int_equal(read(pipe_fds[0], text, 1), 1);
    for (size_t i = 0; i < 2; i++) {
        close(received[i]);
        close(pipe_fds[i]);
    }
    close(fds[0]);
    assert_int_equal(channel_receive(fds[1], text, sizeof(text), &len, received, &count), 0);
    assert_int_equal(len, 0);
    assert_int_equal(channel_send(fds[1], "x", 1, NULL, 0), ERR_IO);
    close(fds[1]);
}

static unsigned open_fds(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void the_largest_message_fits_and_a_larger_one_is_refused(void **state)
{
    (void)state;
    static char message[CHANNEL_MESSAGE_MAX + 1], received[CHANNEL_MESSAGE_MAX];
    int fds[2], fd_list[CHANNEL_FDS_MAX], got[CHANNEL_FDS_MAX];
    size_t len, count;
    assert_int_equal(channel_pair(fds, NULL), 0);
    for (size_t i = 0; i < CHANNEL_FDS_MAX; i++)
        fd_list[i] = fds[0];
    memset(message, 'm', sizeof(message));
    assert_int_equal(channel_send(fds[0], message, CHANNEL_MESSAGE_MAX, fd_list, CHANNEL_FDS_MAX),
                     0);
    assert_int_equal(channel_send(fds[0], message, CHANNEL_MESSAGE_MAX + 1, NULL, 0), ERR_LIMIT);
    assert_int_equal(channel_receive(fds[1], received, sizeof(received), &len, got, &count), 0);
    assert_int_equal(len, CHANNEL_MESSAGE_MAX);
    assert_int_equal(count, CHANNEL_FDS_MAX);
    for (size_t i = 0; i < count; i++)
        close(got[i]);

    /* What does not fit the reader's buffer is dropped with its descriptors. */
    unsigned before = open_fds();
    assert_int_equal(channel_send(fds[0], message, 100, fd_list, 3), 0);
    assert_int_equal(channel_receive(fds[1], received, 99, &len, got, &count), ERR_LIMIT);
    assert_int_equal(open_fds(), before);
    close(fds[0]);
    close(fds[1]);
}

static void a_message_whose_descriptors_find_no_room_comes_without_them(void **state)
{
    (void)state;
    int fds[2], got[CHANNEL_FDS_MAX];
    char text[8];
    size_t len, count = 99;
    struct rlimit files, few;
    assert_int_equal(channel_pair(fds, NULL), 0);
    assert_int_equal(channel_send(fds[0], "spawn", 5, (const int[]){fds[0], fds[1], fds[0]}, 3), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    few = files;
    int next = dup(fds[0]);
    close(next);
    few.rlim_cur = (rlim_t)next + 1; /* one of three fits */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    int code = channel_receive(fds[1], text, sizeof(text), &len, got, &count);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    assert_int_equal(code, 0);
    assert_int_equal(len, 5);
    assert_int_equal(count, 0);
    assert_int_equal(fcntl(next, F_GETFD), -1); /* the one that fitted is closed */
    close(fds[0]);
    close(fds[1]);
}

static void a_full_queue_says_so_and_recovers(void **state)
{
    (void)state;
    static char message[CHANNEL_MESSAGE_MAX];
    int fds[2], got[CHANNEL_FDS_MAX], sent = 0;
    size_t len, count;
    assert_int_equal(channel_pair(fds, NULL), 0);
    while (channel_send(fds[0], message, sizeof(message), NULL, 0) == 0)
        assert_true(++sent < 1000);
    assert_int_equal(channel_send(fds[0], message, sizeof(message), NULL, 0), ERR_UNAVAILABLE);
    for (int i = 0; i < sent; i++)
        assert_int_equal(channel_receive(fds[1], message, sizeof(message), &len, got, &count), 0);
    assert_true(becomes(fds[0], POLLOUT));
    assert_int_equal(channel_send(fds[0], message, sizeof(message), NULL, 0), 0);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read_and_written_alike),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(a_listener_is_reached_and_its_port_is_taken),
        cmocka_unit_test(a_refused_connection_is_told_by_its_error),
        cmocka_unit_test(an_abandoned_socket_file_is_replaced_and_a_living_one_is_not),
        cmocka_unit_test(the_peer_of_a_unix_socket_is_known),
        cmocka_unit_test(a_message_keeps_its_bounds_and_carries_descriptors),
        cmocka_unit_test(the_largest_message_fits_and_a_larger_one_is_refused),
        cmocka_unit_test(a_message_whose_descriptors_find_no_room_comes_without_them),
        cmocka_unit_test(a_full_queue_says_so_and_recovers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
