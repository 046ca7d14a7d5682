/* The role as a whole: what goes into pipes comes out of queries, once, whatever happens in
 * between. */
#include "harness.h"

#include <sys/resource.h>

#define WEB    LABEL("shop", "web", "3", "web-1", "run")
#define WORKER LABEL("shop", "worker", "4", "worker-2", "run")
#define BLOG   LABEL("blog", "web", "1", "web-1", "build")

/* A stream with its write end here. */
static int stream_open(struct harness *harness, uint64_t id, uint64_t unit, uint32_t kind,
                       const char *label)
{
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(fd_set_nonblocking(ends[0], true), 0);
    harness_give_stream(harness, id, unit, kind, label, ends[0]);
    fd_close(ends[0]);
    return ends[1];
}

static void stream_close(struct harness *harness, uint64_t id, int fd)
{
    fd_close(fd);
    harness_wait_done(harness, id);
}

static void write_line(int fd, const char *format, ...) PRINTF_LIKE(2, 3);

static void write_line(int fd, const char *format, ...)
{
    char line[4096];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    line[len] = '\n';
    write_text(fd, line, (size_t)len + 1);
}

/* Until an answer to `options` has `lines` lines. */
static void wait_lines(struct harness *harness, struct query_options options, size_t lines,
                       struct buf *text)
{
    for (unsigned i = 0; i < 500; i++) {
        harness_ask(harness, options, text);
        if (count_lines(buf_slice(text)) >= lines)
            break;
        (void)usleep(10000);
    }
    assert_int_equal(count_lines(buf_slice(text)), lines);
}

static void lines_of_a_unit_are_found_and_the_stream_is_reported_done(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(1 << 20);
    int fd;

    (void)state;
    harness_init(&harness);
    harness_start(&harness, NULL, NULL);
    fd = stream_open(&harness, 7, 42, KEEPER_STREAM_STDERR, WEB);
    write_text(fd, "first\nsecond\nlast without end", 29);
    stream_close(&harness, 7, fd);
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

static void a_stream_without_a_byte_is_done_at_once(void **state)
{
    struct harness harness;
    char path[128];

    (void)state;
    harness_init(&harness);
    harness_start(&harness, NULL, NULL);
    stream_close(&harness, 8, stream_open(&harness, 8, 1, KEEPER_STREAM_STDOUT, WEB));
    (void)snprintf(path, sizeof path, "%s/logs/spool/8.0", harness.directory);
    assert_false(file_exists(path));
    harness_quit(&harness);
    harness_done(&harness);
}

/* Two apps, three services, an access record; then every filter. */
static void filters_choose_by_label_kind_unit_and_time(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(1 << 20);
    int web, worker, blog, access;
    uint64_t middle;

    (void)state;
    harness_init(&harness);
    harness_start(&harness, NULL, NULL);
    web = stream_open(&harness, 1, 11, KEEPER_STREAM_STDOUT, WEB);
    worker = stream_open(&harness, 2, 12, KEEPER_STREAM_STDOUT, WORKER);
    blog = stream_open(&harness, 3, 13, KEEPER_STREAM_STDOUT, BLOG);
    access = stream_open(&harness, 4, 0, KEEPER_STREAM_ACCESS, "");
    write_line(web, "web one");
    write_line(worker, "worker one");
    write_line(blog, "blog one");
    write_line(access, "%s\x1e{\"path\":\"/a\",\"status\":200}", WEB);
    wait_lines(&harness, (struct query_options){.app = "shop"}, 3, &text);
    middle = clock_wall_us();
    write_line(web, "web two");
    wait_lines(&harness, (struct query_options){.app = "shop"}, 4, &text);

    wait_lines(&harness, (struct query_options){0}, 5, &text);
    wait_lines(&harness, (struct query_options){.service = "web"}, 4, &text);
    wait_lines(&harness, (struct query_options){.instance = "worker-2"}, 1, &text);
    wait_lines(&harness, (struct query_options){.request.unit = 13}, 1, &text);
    assert_non_null(strstr(text.ptr, "\"kind\":\"build\""));
    wait_lines(&harness, (struct query_options){.request.release = 4}, 1, &text);
    wait_lines(&harness, (struct query_options){.request.kinds = PEER_LOG_ACCESS}, 1, &text);
    assert_non_null(strstr(text.ptr,
                           "\"kind\":\"access\",\"stream\":\"access\","
                           "\"line\":\"{\\\"path\\\":\\\"/a\\\",\\\"status\\\":200}\"}\n"));
    assert_non_null(strstr(text.ptr, "\"app\":\"shop\",\"service\":\"web\""));
    wait_lines(&harness, (struct query_options){.app = "shop", .request.kinds = PEER_LOG_OUTPUT}, 3,
               &text);
    wait_lines(&harness, (struct query_options){.request.since_us = middle}, 1, &text);
    assert_non_null(strstr(text.ptr, "web two"));
    wait_lines(&harness, (struct query_options){.request.until_us = middle}, 4, &text);
    wait_lines(&harness, (struct query_options){.regex = "^web (one|three)$"}, 1, &text);
    wait_lines(&harness, (struct query_options){.app = "nobody"}, 0, &text);
    fd_close(web);
    fd_close(worker);
    fd_close(blog);
    fd_close(access);
    buf_done(&text);
    harness_quit(&harness);
    harness_done(&harness);
}

static void newest_lines_come_oldest_first_across_blocks_and_segments(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(16 << 20);
    int fd;

    (void)state;
    harness_init(&harness);
    harness.settings.block_bytes = 4 << 10;
    harness.settings.segment_bytes = 8 << 10;
    harness_start(&harness, NULL, NULL);
    fd = stream_open(&harness, 1, 1, KEEPER_STREAM_STDOUT, WEB);
    for (unsigned i = 0; i < 20000; i++)
        write_line(fd, "line %u %s", i, i % 1000 == 0 ? "needle" : "hay");
    wait_lines(&harness, (struct query_options){0}, 20000, &text);
    for (unsigned limit = 1; limit < 4000; limit = limit * 3 + 1) {
        char first[64];
        (void)snprintf(first, sizeof first, "\"line\":\"line %u ", 20000 - limit);
        harness_ask(&harness, (struct query_options){.request.limit = limit}, &text);
        assert_int_equal(count_lines(buf_slice(&text)), limit);
        assert_true(slice_find(slice_sub(buf_slice(&text), 0, 300), slice_from(first)) >= 0);
    }
    harness_ask(&harness, (struct query_options){.regex = "needle", .request.limit = 3}, &text);
    assert_int_equal(count_lines(buf_slice(&text)), 3);
    assert_non_null(strstr(text.ptr, "line 17000 needle"));
    harness_ask(&harness, (struct query_options){.request.limit = 30000}, &text);
    assert_int_equal(count_lines(buf_slice(&text)), 20000);
    stream_close(&harness, 1, fd);
    buf_done(&text);
    harness_quit(&harness);
    harness_done(&harness);
}

static void following_goes_from_stored_to_live_without_loss_or_doubles(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(16 << 20);
    struct slice rest, record;
    unsigned expected = 500;
    int fd, answer;

    (void)state;
    harness_init(&harness);
    harness.settings.block_bytes = 4 << 10;
    harness.settings.segment_bytes = 64 << 10;
    harness_start(&harness, NULL, NULL);
    fd = stream_open(&harness, 1, 1, KEEPER_STREAM_STDOUT, WEB);
    for (unsigned i = 0; i < 1000; i++)
        write_line(fd, "line %u.", i);
    wait_lines(&harness, (struct query_options){0}, 1000, &text);
    answer = harness_query(
        &harness,
        (struct query_options){.app = "shop", .request = {.flags = PEER_LOG_FOLLOW, .limit = 500}});
    buf_clear(&text);
    for (unsigned i = 1000; i < 6000; i++) {
        write_line(fd, "line %u.", i);
        if (i % 97 == 0)
            (void)usleep(1000);
    }
    while (count_lines(buf_slice(&text)) < 5500) {
        char chunk[65536];
        ssize_t n;
        assert_true(wait_readable(answer, 10000));
        n = read(answer, chunk, sizeof chunk);
        assert_true(n > 0);
        buf_append(&text, chunk, (size_t)n);
    }
    assert_false(wait_readable(answer, 100));
    rest = buf_slice(&text);
    while ((record = slice_cut(&rest, '\n')).ptr && record.len > 0) {
        char wanted[64];
        (void)snprintf(wanted, sizeof wanted, "\"line\":\"line %u.\"", expected++);
        if (slice_find(record, slice_from(wanted)) < 0)
            fail_msg("expected %s", wanted);
    }
    assert_int_equal(expected, 6000);
    fd_close(answer);
    stream_close(&harness, 1, fd);
    buf_done(&text);
    harness_quit(&harness);
    harness_done(&harness);
}

static void a_reader_that_does_not_read_stops_its_query_alone(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(64 << 20);
    char line[1000];
    int fd, lazy;

    (void)state;
    harness_init(&harness);
    harness_start(&harness, NULL, NULL);
    fd = stream_open(&harness, 1, 1, KEEPER_STREAM_STDOUT, WEB);
    memset(line, 'x', sizeof line);
    for (unsigned i = 0; i < 10000; i++)
        write_line(fd, "%u %.*s", i, (int)sizeof line, line);
    lazy = harness_query(&harness, (struct query_options){0});
    wait_lines(&harness, (struct query_options){0}, 10000, &text);
    wait_lines(&harness, (struct query_options){.regex = "^9999 "}, 1, &text);
    buf_clear(&text);
    read_all(lazy, &text); /* it waited for us, and has all that was there when it was asked */
    assert_true(count_lines(buf_slice(&text)) <= 10000);
    lazy = harness_query(&harness, (struct query_options){0});
    (void)usleep(20000);
    fd_close(lazy); /* in the middle of an answer */
    wait_lines(&harness, (struct query_options){.regex = "^1 "}, 1, &text);
    stream_close(&harness, 1, fd);
    buf_done(&text);
    harness_quit(&harness);
    harness_done(&harness);
}

static void long_lines_are_whole_up_to_a_megabyte_then_in_pieces(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(64 << 20);
    size_t half = LOGD_LINE_MAX / 2, whole = LOGD_LINE_MAX - 1, giant = 2 * LOGD_LINE_MAX + 100;
    char *line = malloc(giant);
    int fd;

    (void)state;
    memset(line, 'a', giant);
    harness_init(&harness);
    harness_start(&harness, NULL, NULL);
    fd = stream_open(&harness, 1, 1, KEEPER_STREAM_STDOUT, WEB);
    write_text(fd, line, half); /* arrives in two parts, with a pause */
    (void)usleep(50000);
    write_text(fd, line, whole - half);
    write_text(fd, "\nshort\n", 7);
    write_text(fd, line, giant);
    write_text(fd, "\nend\n", 5);
    stream_close(&harness, 1, fd);
    harness_ask(&harness, (struct query_options){0}, &text);
    assert_int_equal(count_lines(buf_slice(&text)), 6);
    assert_true(text.len > whole + giant && text.len < whole + giant + 2000);
    assert_non_null(strstr(text.ptr, "\"continued\":true,\"line\":\"aaaa"));
    assert_non_null(strstr(text.ptr, "\"line\":\"short\"}\n"));
    assert_non_null(strstr(text.ptr, "\"line\":\"end\"}\n"));
    harness_ask(&harness, (struct query_options){.regex = "a{200}$"}, &text);
    assert_int_equal(count_lines(buf_slice(&text)), 3); /* the last piece is 100 long */
    free(line);
    buf_done(&text);
    harness_quit(&harness);
    harness_done(&harness);
}

static void binary_output_becomes_valid_json(void **state)
{
    static const char bytes[] = "nul \0 ansi \x1b[31m bad \xff\xfe good \xc3\xa9 cr\r\n";
    struct harness harness;
    struct arena *arena = arena_new(1 << 20);
    struct buf text = BUF_INIT(1 << 20);
    struct json *json;
    struct slice rest;
    int fd;

    (void)state;
    harness_init(&harness);
    harness_start(&harness, NULL, NULL);
    fd = stream_open(&harness, 1, 1, KEEPER_STREAM_STDOUT, WEB);
    write_text(fd, bytes, sizeof bytes - 1);
    stream_close(&harness, 1, fd);
    harness_ask(&harness, (struct query_options){.regex = "bad .. good"}, &text);
    rest = buf_slice(&text);
    assert_int_equal(json_parse(arena, slice_cut(&rest, '\n'), &json, NULL), 0);
    assert_true(slice_eq(
        json_get(json, "line")->string,
        SLICE("nul \xe2\x90\x80 ansi \x1b[31m bad \xef\xbf\xbd\xef\xbf\xbd good \xc3\xa9 cr\r")));
    buf_done(&text);
    arena_free(arena);
    harness_quit(&harness);
    harness_done(&harness);
}

static void a_line_without_end_is_shown_as_partial_after_a_while(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(1 << 20);
    int fd;

    (void)state;
    harness_init(&harness);
    harness.settings.partial_us = 100000;
    harness_start(&harness, NULL, NULL);
    fd = stream_open(&harness, 1, 1, KEEPER_STREAM_STDOUT, WEB);
    write_text(fd, "continue? ", 10);
    wait_lines(&harness, (struct query_options){0}, 1, &text);
    assert_non_null(strstr(text.ptr, "\"partial\":true,\"line\":\"continue? \""));
    write_text(fd, "yes\n", 4);
    wait_lines(&harness, (struct query_options){0}, 2, &text);
    assert_non_null(strstr(text.ptr, "\"stdout\",\"line\":\"yes\""));
    stream_close(&harness, 1, fd);
    buf_done(&text);
    harness_quit(&harness);
    harness_done(&harness);
}

static void mistakes_in_a_query_are_told_in_its_answer(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(1 << 20);
    int waiting[40];

    (void)state;
    harness_init(&harness);
    harness_start(&harness, NULL, NULL);
    harness_ask(&harness, (struct query_options){.regex = "a(b"}, &text);
    assert_non_null(strstr(
        text.ptr, "{\"error\":{\"code\":\"invalid\",\"message\":\"unable to read the expression"));
    for (size_t i = 0; i < ARRAY_LEN(waiting); i++)
        waiting[i] =
            harness_query(&harness, (struct query_options){.request.flags = PEER_LOG_FOLLOW});
    buf_clear(&text);
    read_all(waiting[39], &text);
    assert_non_null(strstr(text.ptr, "\"code\":\"limit\""));
    for (size_t i = 0; i < ARRAY_LEN(waiting) - 1; i++)
        fd_close(waiting[i]);
    (void)usleep(50000);
    harness_ask(&harness, (struct query_options){0}, &text);
    assert_int_equal(text.len, 0);
    buf_done(&text);
    harness_quit(&harness);
    harness_done(&harness);
}

/* What comes while the spool is at its ceiling is counted, at the place where it is missing. */
static void what_is_dropped_is_shown_as_a_gap(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(64 << 20);
    struct slice rest, record;
    uint64_t kept = 0, dropped = 0, gaps = 0;
    struct arena *arena = arena_new(1 << 20);
    int fd;

    (void)state;
    harness_init(&harness);
    harness.settings.spool_stream_bytes = 40000; /* below what a block takes: it must overflow */
    harness.settings.block_age_us = 200000;
    harness_start(&harness, NULL, NULL);
    fd = stream_open(&harness, 1, 1, KEEPER_STREAM_STDOUT, WEB);
    for (unsigned i = 0; i < 5000; i++)
        write_line(fd, "line %u with some text to make it longer", i);
    (void)usleep(400000);
    write_line(fd, "after");
    stream_close(&harness, 1, fd);
    harness_ask(&harness, (struct query_options){.regex = ".*"}, &text);
    rest = buf_slice(&text);
    while ((record = slice_cut(&rest, '\n')).len > 0) {
        struct json *json;
        arena_clear(arena);
        assert_int_equal(json_parse(arena, record, &json, NULL), 0);
        if (strcmp(json_get_text(json, "kind", ""), "gap") == 0) {
            gaps++;
            dropped += (uint64_t)json_get_integer(json, "dropped_lines", 0);
            assert_true(json_get_integer(json, "dropped_bytes", 0) > 0);
        } else if (!json_get_boolean(json, "partial", false)) {
            kept++;
        }
    }
    assert_true(gaps >= 1 && gaps < 20);
    assert_true(dropped > 100);
    /* A line that is torn at the edge of a gap counts on one side or the other. */
    assert_true(kept + dropped >= 5001 - gaps && kept + dropped <= 5001 + gaps);
    assert_non_null(strstr(text.ptr, "\"line\":\"after\""));
    arena_free(arena);
    buf_done(&text);
    harness_quit(&harness);
    harness_done(&harness);
}

static void set_file_limit(pid_t pid, rlim_t bytes)
{
    struct rlimit limit = {.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};

    assert_int_equal(prlimit(pid, RLIMIT_FSIZE, &limit, NULL), 0);
}

/* A file size limit stands for the full disk. Applications go on; what could not be kept is told;
 * storing resumes by itself. */
static void a_full_disk_stops_neither_applications_nor_logd(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(64 << 20);
    struct arena *arena = arena_new(1 << 20);
    struct slice rest, record;
    uint64_t kept = 0, dropped = 0, gaps = 0;
    int fd;

    (void)state;
    (void)signal(SIGXFSZ, SIG_IGN);
    harness_init(&harness);
    harness.settings.block_bytes = 16 << 10;
    harness_start(&harness, NULL, NULL);
    set_file_limit(harness.pid, 100 << 10);
    fd = stream_open(&harness, 1, 1, KEEPER_STREAM_STDOUT, WEB);
    for (unsigned i = 0; i < 30000; i++)
        write_line(fd, "line %u %u", i, i * 2654435761u);
    (void)usleep(200000);
    set_file_limit(harness.pid, RLIM_INFINITY);
    write_line(fd, "the disk has room again");
    (void)usleep(1500000);
    write_line(fd, "and goes on");
    stream_close(&harness, 1, fd);
    harness_ask(&harness, (struct query_options){0}, &text);
    rest = buf_slice(&text);
    while ((record = slice_cut(&rest, '\n')).len > 0) {
        struct json *json;
        arena_clear(arena);
        assert_int_equal(json_parse(arena, record, &json, NULL), 0);
        if (strcmp(json_get_text(json, "kind", ""), "gap") == 0) {
            gaps++;
            dropped += (uint64_t)json_get_integer(json, "dropped_lines", 0);
        } else if (!json_get_boolean(json, "partial", false)) {
            kept++;
        }
    }
    assert_true(kept > 1000 && dropped > 1000 && gaps > 0);
    assert_true(kept + dropped >= 30002 - gaps && kept + dropped <= 30002 + gaps);
    assert_non_null(strstr(text.ptr, "and goes on"));
    arena_free(arena);
    buf_done(&text);
    harness_quit(&harness);
    harness_done(&harness);
}

static void spools_that_no_one_claims_after_a_crash_are_stored(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(1 << 20);
    char path[128];
    int fd;

    (void)state;
    harness_init(&harness);
    harness.settings.block_age_us = 60000000; /* all of it is in the spool alone when it dies */
    harness_start(&harness, NULL, NULL);
    fd = stream_open(&harness, 5, 77, KEEPER_STREAM_STDOUT, WEB);
    write_text(fd, "one\ntwo\nthr", 11);
    wait_lines(&harness, (struct query_options){0}, 2, &text);
    harness_kill(&harness);
    fd_close(fd);
    harness_start(&harness, NULL, NULL); /* the whole platform was gone: no stream is handed over */
    wait_lines(&harness, (struct query_options){.app = "shop", .request.unit = 77}, 3, &text);
    assert_non_null(strstr(text.ptr, "\"line\":\"thr\""));
    (void)snprintf(path, sizeof path, "%s/logs/spool/5.0", harness.directory);
    for (unsigned i = 0; i < 500 && file_exists(path); i++)
        (void)usleep(10000);
    assert_false(file_exists(path));
    buf_done(&text);
    harness_quit(&harness);
    harness_done(&harness);
}

/* Two streams in turns, then a kill before anything is stored: order and times come back from the
 * spool files. */
static void lines_of_several_streams_keep_time_and_order_over_a_crash(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(1 << 20);
    struct slice rest, record;
    uint64_t before;
    char time[CLOCK_TEXT_SIZE], wanted[64];
    unsigned expected = 0;
    int fds[2];

    (void)state;
    harness_init(&harness);
    harness.settings.block_age_us = 60000000;
    harness_start(&harness, NULL, NULL);
    fds[0] = stream_open(&harness, 5, 77, KEEPER_STREAM_STDOUT, WEB);
    fds[1] = stream_open(&harness, 6, 77, KEEPER_STREAM_STDERR, WEB);
    for (unsigned i = 0; i < 10; i++) {
        write_line(fds[i % 2], "line %u", i);
        (void)usleep(60000);
    }
    before = clock_wall_us();
    wait_lines(&harness, (struct query_options){0}, 10, &text);
    harness_kill(&harness);
    fd_close(fds[0]);
    fd_close(fds[1]);
    (void)usleep(100000);
    harness_start(&harness, NULL, NULL);
    wait_lines(&harness, (struct query_options){.request.until_us = before}, 10, &text);
    rest = buf_slice(&text);
    while ((record = slice_cut(&rest, '\n')).len > 0) {
        (void)snprintf(wanted, sizeof wanted, "\"line\":\"line %u\"", expected++);
        assert_true(slice_find(record, slice_from(wanted)) >= 0);
    }
    assert_true(slice_find(buf_slice(&text),
                           slice_sub(slice_from(clock_format(before, time)), 0, 10)) >= 0);
    buf_done(&text);
    harness_quit(&harness);
    harness_done(&harness);
}

static void quitting_stores_what_the_pipes_still_hold(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(1 << 20);
    int fd;

    (void)state;
    harness_init(&harness);
    harness.settings.block_age_us = 60000000;
    harness_start(&harness, NULL, NULL);
    fd = stream_open(&harness, 5, 1, KEEPER_STREAM_STDOUT, WEB);
    for (unsigned i = 0; i < 1000; i++)
        write_line(fd, "line %u", i);
    fd_close(fd);
    harness_quit(&harness);
    harness_start(&harness, NULL, NULL);
    harness_ask(&harness, (struct query_options){0}, &text);
    assert_int_equal(count_lines(buf_slice(&text)), 1000);
    buf_done(&text);
    harness_quit(&harness);
    harness_done(&harness);
}

static void a_forgotten_app_is_gone_but_may_come_back(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(1 << 20);
    struct peer_log_remove removal = {.type = PEER_LOG_REMOVE};
    int fd;

    (void)state;
    harness_init(&harness);
    harness_start(&harness, NULL, NULL);
    fd = stream_open(&harness, 5, 1, KEEPER_STREAM_STDOUT, WEB);
    write_line(fd, "before");
    wait_lines(&harness, (struct query_options){0}, 1, &text);
    send_with_text(harness.control_fd, &removal, sizeof removal, "shop", 5, NULL, 0);
    wait_lines(&harness, (struct query_options){0}, 0, &text);
    write_line(fd, "after");
    wait_lines(&harness, (struct query_options){0}, 1, &text);
    assert_non_null(strstr(text.ptr, "\"line\":\"after\""));
    stream_close(&harness, 5, fd);
    harness_quit(&harness);
    harness_start(&harness, NULL, NULL);
    wait_lines(&harness, (struct query_options){0}, 1, &text);
    buf_done(&text);
    harness_quit(&harness);
    harness_done(&harness);
}

static void retention_keeps_the_store_below_its_size(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(64 << 20);
    struct error err = {0};
    uint64_t bytes = 0, files;
    char path[128], noise[200];
    int fd;

    (void)state;
    harness_init(&harness);
    harness.settings.block_bytes = 16 << 10;
    harness.settings.segment_bytes = 32 << 10;
    harness.settings.retention_bytes = 256 << 10;
    harness_start(&harness, NULL, NULL);
    fd = stream_open(&harness, 1, 1, KEEPER_STREAM_STDOUT, WEB);
    srand(1);
    for (unsigned i = 0; i < 20000; i++) {
        for (size_t k = 0; k < sizeof noise; k++)
            noise[k] = (char)('!' + rand() % 90);
        write_line(fd, "%u %.*s", i, (int)sizeof noise, noise);
    }
    write_line(fd, "the last line");
    stream_close(&harness, 1, fd);
    (void)snprintf(path, sizeof path, "%s/logs/segments", harness.directory);
    for (unsigned i = 0; i < 500; i++) {
        assert_int_equal(directory_size(path, &bytes, &files, &err), 0);
        if (bytes < (300 << 10))
            break;
        (void)usleep(20000);
    }
    assert_in_range(bytes, 100 << 10, 300 << 10);
    harness_ask(&harness, (struct query_options){.request.limit = 1}, &text);
    assert_non_null(strstr(text.ptr, "the last line"));
    harness_ask(&harness, (struct query_options){.regex = "^0 "}, &text);
    assert_int_equal(text.len, 0);
    buf_done(&text);
    harness_quit(&harness);
    harness_done(&harness);
}

/* Until then the spool is all that a power loss would leave of the line. */
static void a_spool_stays_until_its_lines_have_reached_the_disk(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(1 << 20);
    char path[128];
    int fd;

    (void)state;
    harness_init(&harness);
    harness.settings.idle_us = 50000;
    harness.settings.block_age_us = 50000;
    harness.settings.sync_us = 1000000;
    harness_start(&harness, NULL, NULL);
    fd = stream_open(&harness, 1, 1, KEEPER_STREAM_STDOUT, WEB);
    write_line(fd, "one");
    wait_lines(&harness, (struct query_options){0}, 1, &text);
    (void)usleep(400000); /* sealed and idle for long */
    (void)snprintf(path, sizeof path, "%s/logs/spool/1.0", harness.directory);
    assert_true(file_exists(path));
    for (unsigned i = 0; i < 1000 && file_exists(path); i++)
        (void)usleep(10000);
    assert_false(file_exists(path));
    fd_close(fd);
    buf_done(&text);
    harness_kill(&harness);
    harness_done(&harness);
}

/* The end of one pipe, over and over: each counts as a stream, and none has anything to read. */
static void give_quiet_streams(struct harness *harness, uint64_t first, unsigned count)
{
    struct keeper_stream stream = {
        .header.type = KEEPER_STREAM, .unit = 1, .kind = KEEPER_STREAM_STDOUT};
    char message[sizeof stream + sizeof(WEB)];
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(fd_set_nonblocking(ends[0], true), 0);
    for (unsigned i = 0; i < count; i++) {
        int code = ERR_UNAVAILABLE;

        stream.stream = first + i;
        memcpy(message, &stream, sizeof stream);
        memcpy(message + sizeof stream, WEB, sizeof(WEB));
        for (unsigned wait = 0; wait < 10000 && code == ERR_UNAVAILABLE; wait++) {
            code = channel_send(harness->keeper_fd, message, sizeof message, &ends[0], 1);
            if (code == ERR_UNAVAILABLE)
                (void)usleep(1000);
        }
        assert_int_equal(code, 0);
    }
    fd_close(ends[0]);
    harness->held_fd = ends[1];
}

static void as_many_streams_are_read_as_the_keeper_may_hand_over(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(1 << 20);
    struct rlimit files;
    int fd;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    if (files.rlim_cur < KEEPER_STREAMS_MAX + 512)
        skip();
    harness_init(&harness);
    harness_start(&harness, NULL, NULL);
    give_quiet_streams(&harness, 100, KEEPER_STREAMS_MAX - 1);
    fd = stream_open(&harness, 1, 2, KEEPER_STREAM_STDOUT, WORKER);
    write_line(fd, "the last one");
    wait_lines(&harness, (struct query_options){0}, 1, &text);
    stream_close(&harness, 1, fd);
    fd_close(harness.held_fd);
    buf_done(&text);
    harness_kill(&harness);
    harness_done(&harness);
}

static void an_idle_logd_does_not_wake_up_and_gives_its_files_back(void **state)
{
    struct harness harness;
    struct buf text = BUF_INIT(1 << 20);
    char path[128];
    int fd;

    (void)state;
    harness_init(&harness);
    harness.settings.idle_us = 200000;
    harness.settings.block_age_us = 100000;
    harness.settings.sync_us = 100000;
    harness_start(&harness, NULL, NULL);
    fd = stream_open(&harness, 1, 1, KEEPER_STREAM_STDOUT, WEB);
    write_line(fd, "one");
    (void)snprintf(path, sizeof path, "%s/logs/spool/1.0", harness.directory);
    for (unsigned i = 0; i < 100 && !file_exists(path); i++)
        (void)usleep(10000);
    for (unsigned i = 0; i < 300 && file_exists(path); i++)
        (void)usleep(10000);
    assert_false(file_exists(path));
    write_line(fd, "two"); /* and it goes on where it was */
    wait_lines(&harness, (struct query_options){0}, 2, &text);
    harness_kill(&harness);
    harness_start(&harness, NULL, NULL);
    wait_lines(&harness, (struct query_options){0}, 2, &text);
    fd_close(fd);
    buf_done(&text);
    harness_quit(&harness);
    harness_done(&harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_a_unit_are_found_and_the_stream_is_reported_done),
        cmocka_unit_test(a_stream_without_a_byte_is_done_at_once),
        cmocka_unit_test(filters_choose_by_label_kind_unit_and_time),
        cmocka_unit_test(newest_lines_come_oldest_first_across_blocks_and_segments),
        cmocka_unit_test(following_goes_from_stored_to_live_without_loss_or_doubles),
        cmocka_unit_test(a_reader_that_does_not_read_stops_its_query_alone),
        cmocka_unit_test(long_lines_are_whole_up_to_a_megabyte_then_in_pieces),
        cmocka_unit_test(binary_output_becomes_valid_json),
        cmocka_unit_test(a_line_without_end_is_shown_as_partial_after_a_while),
        cmocka_unit_test(mistakes_in_a_query_are_told_in_its_answer),
        cmocka_unit_test(what_is_dropped_is_shown_as_a_gap),
        cmocka_unit_test(a_full_disk_stops_neither_applications_nor_logd),
        cmocka_unit_test(spools_that_no_one_claims_after_a_crash_are_stored),
        cmocka_unit_test(lines_of_several_streams_keep_time_and_order_over_a_crash),
        cmocka_unit_test(quitting_stores_what_the_pipes_still_hold),
        cmocka_unit_test(a_forgotten_app_is_gone_but_may_come_back),
        cmocka_unit_test(retention_keeps_the_store_below_its_size),
        cmocka_unit_test(a_spool_stays_until_its_lines_have_reached_the_disk),
        cmocka_unit_test(as_many_streams_are_read_as_the_keeper_may_hand_over),
        cmocka_unit_test(an_idle_logd_does_not_wake_up_and_gives_its_files_back),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
