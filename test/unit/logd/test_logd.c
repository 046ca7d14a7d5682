/* The role as a whole: what goes into pipes comes out of queries, once, whatever happens in
 * between. */
#include "harness.h"

#define WEB LABEL("shop", "web", "3", "web-1", "run")

static void lines_of_a_unit_are_found_and_the_stream_is_reported_done(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(1 << 20);
    int ends[2];

    (void)state;
    harness_init(&harness);
    harness_start(&harness, NULL, NULL);
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    harness_give_stream(&harness, 7, 42, KEEPER_STREAM_STDERR, WEB, ends[0]);
    fd_close(ends[0]);
    write_text(ends[1], "first\nsecond\nlast without end", 29);
    fd_close(ends[1]);
    harness_wait_done(&harness, 7);
    harness_ask(&harness, (struct query_options){.app = "shop"}, &text);
    assert_int_equal(count_lines(buf_slice(&text)), 3);
    assert_non_null(strstr(
        text.ptr, "\"app\":\"shop\",\"service\":\"web\",\"instance\":\"web-1\",\"release\":3,"
                  "\"unit\":42,\"kind\":\"run\",\"stream\":\"stderr\",\"line\":\"first\"}\n"));
    assert_non_null(strstr(text.ptr, "\"line\":\"last without end\"}\n"));
    buf_done(&text);
    harness_quit(&harness);
    harness_done(&harness);
}

/* An edge that is killed leaves half a line behind; the next one writes on in the same pipe. */
static void a_broken_access_line_belongs_to_nobody_and_takes_none_with_it(void **state)
{
    static const char first[] = WEB "\x1e{\"n\":1}\n{\"torn\":1}\n" WEB "\x1e{\"n\":2}\n";
    static const char second[] = "{\"torn\":2}\n" WEB "\x1e{\"n\":3}\n";
    struct harness harness;
    struct buf text = BUF_INIT(1 << 20);
    int ends[2];

    (void)state;
    harness_init(&harness);
    harness.settings.block_age_us = 20000;
    harness_start(&harness, NULL, NULL);
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    harness_give_stream(&harness, UINT64_C(1) << 63, 0, KEEPER_STREAM_ACCESS, "", ends[0]);
    fd_close(ends[0]);
    write_text(ends[1], first, sizeof first - 1);
    (void)usleep(300000); /* the next line begins a block of its own */
    write_text(ends[1], second, sizeof second - 1);
    fd_close(ends[1]);
    harness_wait_done(&harness, UINT64_C(1) << 63);
    harness_ask(&harness, (struct query_options){.app = "shop", .request.kinds = PEER_LOG_ACCESS},
                &text);
    assert_int_equal(count_lines(buf_slice(&text)), 3);
    assert_null(strstr(text.ptr, "torn"));
    buf_done(&text);
    harness_quit(&harness);
    harness_done(&harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_a_unit_are_found_and_the_stream_is_reported_done),
        cmocka_unit_test(a_broken_access_line_belongs_to_nobody_and_takes_none_with_it),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
