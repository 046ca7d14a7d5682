/* kill -9 of logd at random moments, while applications write as fast as they can: every line is
 * there exactly once. */
#include "harness.h"

#include "os/random.h"

#define WRITERS        3u
#define LINES_A_WRITER 60000u
#define KILLS          12u

struct flood {
    int read_fds[WRITERS]; /* what the keeper keeps */
    pid_t writers[WRITERS];
    bool done[WRITERS];
};

/* Lines of different length, in writes that do not respect them; about 100,000 lines a second
 * together. */
static void write_flood(int fd, unsigned writer)
{
    struct buf text = BUF_INIT(1 << 20);
    unsigned line = 0;

    while (line < LINES_A_WRITER) {
        buf_clear(&text);
        for (unsigned i = 0; i < 200 && line < LINES_A_WRITER; i++, line++)
            buf_printf(&text, "writer %u line %u %.*s\n", writer, line, (int)(line * 7 % 90),
                       "..........................................................................."
                       ".............................");
        for (size_t at = 0; at < text.len;) {
            size_t len = MIN(text.len - at, (size_t)(1000 + line % 5000));
            ssize_t n = write(fd, text.ptr + at, len);
            if (n < 0)
                _exit(1);
            at += (size_t)n;
        }
        (void)usleep(6000);
    }
    buf_done(&text);
    _exit(0);
}

static void flood_start(struct flood *flood)
{
    memset(flood, 0, sizeof *flood);
    for (unsigned i = 0; i < WRITERS; i++) {
        int ends[2];
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        assert_int_equal(fd_set_nonblocking(ends[0], true), 0);
        flood->read_fds[i] = ends[0];
        flood->writers[i] = fork();
        assert_true(flood->writers[i] >= 0);
        if (flood->writers[i] == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            write_flood(ends[1], i);
        }
        fd_close(ends[1]);
    }
}

static void flood_hand_over(struct harness *harness, void *context)
{
    struct flood *flood = context;

    for (unsigned i = 0; i < WRITERS; i++) {
        char label[128];
        (void)snprintf(label, sizeof label, LABEL("flood", "worker", "1", "worker-%u", "run"), i);
        if (!flood->done[i])
            harness_give_stream(harness, 100 + i, 10 + i, KEEPER_STREAM_STDOUT, label,
                                flood->read_fds[i]);
    }
}

/* Take in what logd says for a while. */
static void flood_listen(struct harness *harness, struct flood *flood, int timeout_ms)
{
    uint64_t end = clock_monotonic_us() + (uint64_t)timeout_ms * 1000, now;
    struct keeper_stream_done done = {0};

    while ((now = clock_monotonic_us()) < end)
        if (keeper_receive(harness, &done, sizeof done, (int)((end - now) / 1000)) ==
            KEEPER_STREAM_DONE)
            flood->done[done.stream - 100] = true;
}

static bool flood_is_done(const struct flood *flood)
{
    for (unsigned i = 0; i < WRITERS; i++)
        if (!flood->done[i])
            return false;
    return true;
}

/* All lines of a writer, each once and in order. */
static void check_writer(struct slice answer, unsigned writer)
{
    char wanted[64];
    unsigned line = 0;
    struct slice rest = answer, record;

    (void)snprintf(wanted, sizeof wanted, "\"line\":\"writer %u line %u ", writer, line);
    while ((record = slice_cut(&rest, '\n')).ptr) {
        if (slice_find(record, slice_from(wanted)) < 0)
            fail_msg("expected %s, found %.*s", wanted, (int)MIN(record.len, (size_t)300),
                     record.ptr);
        (void)snprintf(wanted, sizeof wanted, "\"line\":\"writer %u line %u ", writer, ++line);
    }
    assert_int_equal(line, LINES_A_WRITER);
}

static void kill_minus_nine_loses_and_doubles_no_line(void **state)
{
    struct buf answer = BUF_INIT(256 << 20);
    struct harness harness;
    struct flood flood;

    (void)state;
    harness_init(&harness);
    harness.settings.segment_bytes = 256 << 10; /* cross segments often, too */
    harness.settings.spool_renew_bytes = 200 << 10;
    harness.settings.block_bytes = 64 << 10;
    harness.settings.block_age_us = 100000;
    flood_start(&flood);
    harness_start(&harness, flood_hand_over, &flood);
    for (unsigned i = 0; i < KILLS; i++) {
        flood_listen(&harness, &flood, 20 + (int)(random_u64() % 150));
        harness_kill(&harness);
        harness_start(&harness, flood_hand_over, &flood);
    }
    for (unsigned i = 0; i < 300 && !flood_is_done(&flood); i++)
        flood_listen(&harness, &flood, 100);
    assert_true(flood_is_done(&flood));
    for (unsigned i = 0; i < WRITERS; i++) {
        char instance[32];
        int status;
        assert_int_equal(waitpid(flood.writers[i], &status, 0), flood.writers[i]);
        assert_int_equal(status, 0);
        fd_close(flood.read_fds[i]);
        (void)snprintf(instance, sizeof instance, "worker-%u", i);
        harness_ask(&harness, (struct query_options){.app = "flood", .instance = instance},
                    &answer);
        check_writer(buf_slice(&answer), i);
    }
    buf_done(&answer);
    harness_quit(&harness);
    harness_done(&harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kill_minus_nine_loses_and_doubles_no_line),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
