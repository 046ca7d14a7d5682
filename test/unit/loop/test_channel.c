#include "loop/channel.h"
#include "os/file.h"
#include "os/socket.h"
#include "unit.h"
#include <fcntl.h>
#include <unistd.h>

static struct loop *loop;

struct end {
    struct channel channel;
    unsigned messages, closes, mismatches;
    uint64_t next_number; /* messages begin with their number */
    int kept_fd;
    bool keeps, stops;
};

static void on_message(struct channel *channel, const void *message, size_t len, int *fds,
                       size_t fd_count)
{
    struct end *end = container_of(channel, struct end, channel);
    uint64_t number;
    assert_true(len >= sizeof(number));
    memcpy(&number, message, sizeof(number));
    end->mismatches += number != end->next_number++;
    end->messages++;
    if (fd_count && end->keeps)
        end->kept_fd = TAKE_FD(fds[0]);
    if (end->stops)
        channel_stop(channel);
}

static void on_closed(struct channel *channel)
{
    container_of(channel, struct end, channel)->closes++;
    assert_null(channel->io.loop);
}

static struct end ends[2];

static int setup(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(loop_new(&loop, NULL), 0);
    assert_int_equal(channel_pair(fds, NULL), 0);
    for (size_t i = 0; i < 2; i++) {
        ends[i] = (struct end){.channel = {.on_message = on_message, .on_closed = on_closed},
                               .kept_fd = -1};
        assert_int_equal(channel_start(&ends[i].channel, loop, fds[i], NULL), 0);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    channel_stop(&ends[0].channel);
    channel_stop(&ends[1].channel);
    loop_free(loop);
    return 0;
}

static void turns(unsigned count)
{
    while (count--)
        assert_int_equal(loop_turn(loop, 0, NULL), 0);
}

static int post(uint64_t number, size_t len, const int *fds, size_t fd_count)
{
    static char message[CHANNEL_MESSAGE_MAX];
    memcpy(message, &number, sizeof(number));
    return channel_post(&ends[0].channel, message, len, fds, fd_count);
}

static void messages_arrive_in_order_although_the_queue_was_full(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    for (uint64_t i = 0; i < COUNT; i++)
        assert_int_equal(post(i, 100000, NULL, 0), 0);
    assert_true(ends[0].channel.queued_bytes > 0);
    assert_int_equal(ends[1].messages, 0); /* nothing before the loop turns */
    turns(COUNT + 10);
    assert_int_equal(ends[1].messages, COUNT);
    assert_int_equal(ends[1].mismatches, 0);
    assert_int_equal(ends[0].channel.queued_bytes, 0);
}

static void the_queue_has_a_ceiling(void **state)
{
    (void)state;
    uint64_t number = 0;
    int r;
    while ((r = post(number, 150000, NULL, 0)) == 0)
        number++;
    assert_int_equal(r, ERR_LIMIT);
    assert_true(number > 400 && number < 500);
    while (ends[1].messages < number)
        turns(1);
    assert_int_equal(ends[1].mismatches, 0);
    assert_int_equal(post(number, 150000, NULL, 0), 0);
}

static unsigned open_fds(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void descriptors_are_kept_only_by_who_takes_them(void **state)
{
    (void)state;
    unsigned before = open_fds();
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(post(0, 8, fds, 2), 0);
    turns(2);
    assert_int_equal(open_fds(), before + 2);
    ends[1].keeps = true;
    assert_int_equal(post(1, 8, &fds[1], 1), 0);
    close(fds[1]); /* the message has its own */
    turns(2);
    assert_int_equal(write(ends[1].kept_fd, "x", 1), 1);
    close(fds[0]);
    fd_closep(&ends[1].kept_fd);
    assert_int_equal(open_fds(), before);
}

static void queued_descriptors_survive_the_senders_close_and_do_not_leak(void **state)
{
    (void)state;
    unsigned before = open_fds();
    uint64_t number = 0;
    while (ends[0].channel.queued_bytes == 0)
        assert_int_equal(post(number++, 150000, NULL, 0), 0);
    int fds[2];
    char byte;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(post(number, 8, &fds[1], 1), 0);
    close(fds[1]);
    ends[1].keeps = true;
    turns(20);
    assert_int_equal(write(ends[1].kept_fd, "x", 1), 1);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    fd_closep(&ends[1].kept_fd);

    /* And those of messages that never leave. */
    while (ends[0].channel.queued_bytes == 0)
        assert_int_equal(post(++number, 150000, NULL, 0), 0);
    assert_int_equal(post(++number, 8, &fds[0], 1), 0);
    close(fds[0]);
    channel_stop(&ends[0].channel);
    assert_int_equal(open_fds(), before - 1);
    turns(5);
    assert_int_equal(open_fds(), before - 2);
}

static void a_peer_that_leaves_is_reported_after_its_last_message(void **state)
{
    (void)state;
    assert_int_equal(post(0, 8, NULL, 0), 0);
    channel_stop(&ends[0].channel);
    turns(3);
    assert_int_equal(ends[1].messages, 1);
    assert_int_equal(ends[1].closes, 1);
    assert_int_equal(ends[0].closes, 0);
    assert_int_equal(post(0, 8, NULL, 0), ERR_IO);
    channel_stop(&ends[0].channel);
}

static void a_peer_that_dies_with_our_messages_queued_is_reported_once(void **state)
{
    (void)state;
    uint64_t number = 0;
    while (ends[0].channel.queued_bytes == 0)
        assert_int_equal(post(number++, 150000, NULL, 0), 0);
    channel_stop(&ends[1].channel);
    turns(5);
    assert_int_equal(ends[0].closes, 1);
    assert_int_equal(ends[0].channel.queued_bytes, 0);
}

static void a_channel_may_be_stopped_by_its_own_message(void **state)
{
    (void)state;
    ends[1].stops = true;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    unsigned before = open_fds();
    assert_int_equal(post(0, 8, fds, 2), 0);
    assert_int_equal(post(1, 8, NULL, 0), 0);
    turns(3);
    assert_int_equal(ends[1].messages, 1);
    assert_int_equal(ends[1].closes, 0);
    assert_int_equal(ends[0].closes, 1);
    assert_int_equal(open_fds(), before - 2); /* both ends; the descriptors were closed */
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(messages_arrive_in_order_although_the_queue_was_full),
        TEST(the_queue_has_a_ceiling),
        TEST(descriptors_are_kept_only_by_who_takes_them),
        TEST(queued_descriptors_survive_the_senders_close_and_do_not_leak),
        TEST(a_peer_that_leaves_is_reported_after_its_last_message),
        TEST(a_peer_that_dies_with_our_messages_queued_is_reported_once),
        TEST(a_channel_may_be_stopped_by_its_own_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
