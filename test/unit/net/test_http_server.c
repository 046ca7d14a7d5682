#include "net/http_server.h"

#include "base/clock.h"
#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A server whose answers depend on the path, and clients as plain sockets of the test. */
struct fixture {
    struct loop *loop;
    struct http_server *server;
    struct http_server_handler handler;
    struct address address;
    char directory[64];
    struct http_exchange *exchange; /* the last one */
    struct http_collected collected;
    struct http_body_sink sink;
    struct http_stream stream;
    struct buf got; /* body as the handler saw it */
    int requests, ends, writables, gones, error_code;
    bool pauses;
    int blocks_left; /* that on_writable sends */
};

static void on_body(struct http_collected *collected, struct slice body, const struct error *err)
{
    struct fixture *fixture = container_of(collected, struct fixture, collected);
    fixture->ends++;
    fixture->error_code = err ? err->code : 0;
    if (err)
        http_exchange_answer_error(fixture->exchange, err);
    else
        http_exchange_answer(fixture->exchange, 200, "text/plain", body);
}

static bool on_data(struct http_body_sink *sink, struct slice data)
{
    struct fixture *fixture = container_of(sink, struct fixture, sink);
    buf_append_slice(&fixture->got, data);
    return !fixture->pauses;
}

static void on_end(struct http_body_sink *sink, const struct error *err)
{
    struct fixture *fixture = container_of(sink, struct fixture, sink);
    fixture->ends++;
    fixture->error_code = err ? err->code : 0;
    http_exchange_answer(fixture->exchange, err ? 400 : 200, "text/plain", SLICE("taken"));
}

/* Send blocks until the queue is full or none is left. */
static void send_blocks(struct fixture *fixture)
{
    static const char block[300 * 1024];
    while (fixture->blocks_left > 0) {
        fixture->blocks_left--;
        if (!http_exchange_send(fixture->exchange, (struct slice){block, sizeof(block)}))
            return;
    }
    http_exchange_end_stream(fixture->exchange);
    fixture->ends++;
}

static void on_writable(struct http_stream *stream)
{
    struct fixture *fixture = container_of(stream, struct fixture, stream);
    fixture->writables++;
    if (fixture->blocks_left >= 0)
        send_blocks(fixture);
}

static void on_gone(struct http_stream *stream)
{
    container_of(stream, struct fixture, stream)->gones++;
}

static void on_request(struct http_server_handler *handler, struct http_exchange *exchange)
{
    struct fixture *fixture = container_of(handler, struct fixture, handler);
    struct slice path = http_exchange_path(exchange);
    fixture->requests++;
    fixture->exchange = exchange;
    if (slice_eq(path, SLICE("/echo"))) {
        http_exchange_collect(exchange, 64, &fixture->collected);
    } else if (slice_eq(path, SLICE("/sink"))) {
        http_exchange_stream_body(exchange, &fixture->sink);
    } else if (slice_eq(path, SLICE("/stream"))) {
        http_exchange_begin_stream(exchange, 200, "application/x-ndjson", &fixture->stream);
    } else if (slice_eq(path, SLICE("/query"))) {
        const char *value = http_exchange_query(exchange, "name");
        http_exchange_answer(exchange, 200, "text/plain", slice_from(value ? value : "(none)"));
    } else if (slice_eq(path, SLICE("/queries"))) {
        for (int i = 0; i < 16; i++)
            assert_null(http_exchange_query(exchange, "name"));
        http_exchange_answer(exchange, 200, "text/plain",
                             slice_from(http_exchange_header(exchange, "host")));
    } else if (slice_eq(path, SLICE("/hold"))) {
        /* answered by the test */
    } else {
        struct error err = {0};
        error_set(&err, ERR_NOT_FOUND, "there is no '" SLICE_FORMAT "'", SLICE_ARG(path));
        error_hint(&err, "look again");
        http_exchange_answer_error(exchange, &err);
    }
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    char text[128];
    int listener;
    snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/test_http_server_XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(text, sizeof(text), "unix:%s/admin.sock", fixture->directory);
    assert_int_equal(loop_new(&fixture->loop, NULL), 0);
    assert_int_equal(address_parse(text, &fixture->address, NULL), 0);
    assert_int_equal(socket_listen(&fixture->address, 100, &listener, NULL), 0);
    fixture->handler.on_request = on_request;
    fixture->blocks_left = -1;
    fixture->collected.on_body = on_body;
    fixture->sink = (struct http_body_sink){on_data, on_end};
    fixture->stream = (struct http_stream){on_writable, on_gone};
    fixture->got = BUF_INIT(4 * 1024 * 1024);
    assert_int_equal(
        http_server_start(fixture->loop, listener, &fixture->handler, &fixture->server, NULL), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    http_server_stop(fixture->server);
    loop_free(fixture->loop);
    buf_done(&fixture->got);
    assert_int_equal(directory_remove_tree(fixture->directory, NULL), 0);
    free(fixture);
    return 0;
}

static void turn(struct fixture *fixture)
{
    assert_int_equal(loop_turn(fixture->loop, 2, NULL), 0);
}

static int client(struct fixture *fixture)
{
    int fd;
    assert_int_equal(socket_connect(&fixture->address, &fd, NULL), 0);
    turn(fixture);
    return fd;
}

static void say(struct fixture *fixture, int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    turn(fixture);
}

/* Turn until what came ends so; returns the text, which stays valid until the next call. */
static const char *hear(struct fixture *fixture, int fd, const char *end)
{
    static char text[65536];
    size_t len = 0;
    for (int i = 0; i < 1000; i++) {
        turn(fixture);
        ssize_t got = recv(fd, text + len, sizeof(text) - 1 - len, 0);
        if (got > 0)
            len += (size_t)got;
        text[len] = '\0';
        if (slice_ends_with((struct slice){text, len}, slice_from(end)))
            return text;
    }
    fail_msg("'%s' never came, but '%s'", end, text);
    return NULL;
}

static bool is_closed(struct fixture *fixture, int fd)
{
    for (int i = 0; i < 100; i++) {
        char byte;
        turn(fixture);
        ssize_t got = recv(fd, &byte, 1, 0);
        if (got == 0 || (got < 0 && errno == ECONNRESET))
            return true;
    }
    return false;
}

static void an_unknown_path_is_answered_with_a_json_error(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    say(fixture, fd, "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
    const char *answer = hear(fixture, fd, "}}");
    assert_non_null(strstr(answer, "HTTP/1.1 404 Not Found\r\n"));
    assert_non_null(strstr(answer, "Content-Type: application/json\r\n"));
    assert_non_null(
        strstr(answer, "{\"error\":{\"code\":\"not_found\",\"message\":\"there is no '/nowhere'\","
                       "\"hint\":\"look again\"}}"));
    fd_close(fd);
}

static void a_connection_carries_several_requests(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    for (int i = 0; i < 3; i++) {
        say(fixture, fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
        assert_non_null(strstr(hear(fixture, fd, "\r\n\r\nhello"), "200 OK"));
    }
    assert_int_equal(fixture->requests, 3);
    fd_close(fd);
}

static void requests_sent_ahead_are_answered_in_order(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    say(fixture, fd,
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none"
        "GET /query?name=two HTTP/1.1\r\nHost: x\r\n\r\n"
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nthree");
    const char *answer = hear(fixture, fd, "three");
    const char *one = strstr(answer, "\r\n\r\none"), *two = strstr(answer, "\r\n\r\ntwo");
    assert_true(one && two && one < two);
    fd_close(fd);
}

static void a_request_may_come_byte_by_byte(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    const char *text =
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for (const char *at = text; *at; at++) {
        assert_int_equal(send(fd, at, 1, MSG_NOSIGNAL), 1);
        assert_int_equal(loop_turn(fixture->loop, 0, NULL), 0);
    }
    hear(fixture, fd, "\r\n\r\nabc");
    fd_close(fd);
}

static void query_parameters_are_decoded(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    say(fixture, fd, "GET /query?a=1&name=x%26y+z%C3%A9 HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(fixture, fd, "\r\n\r\nx&y z\xc3\xa9");
    say(fixture, fd, "GET /query?nam=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(fixture, fd, "(none)");
    say(fixture, fd, "GET /query?name=%00 HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(fixture, fd, "(none)");
    fd_close(fd);
}

static void many_empty_parameters_do_not_eat_the_memory_of_the_request(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    char text[8192];
    int len = snprintf(text, sizeof(text), "GET /queries?%07000d HTTP/1.1\r\nHost: x\r\n\r\n", 0);
    for (int i = 0; i < len; i++)
        if (text[i] == '0')
            text[i] = '&';
    say(fixture, fd, text);
    hear(fixture, fd, "\r\n\r\nx");
    fd_close(fd);
}

static void ambiguous_paths_are_refused(void **state)
{
    struct fixture *fixture = *state;
    static const char *const paths[] = {"/a%2fb", "/a%00", "/a%0ab", "/a%", "/a%4", "/a%zz"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        char text[128];
        int fd = client(fixture);
        snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", paths[i]);
        say(fixture, fd, text);
        assert_non_null(strstr(hear(fixture, fd, "}}"), "HTTP/1.1 400 "));
        assert_true(is_closed(fixture, fd));
        fd_close(fd);
    }
    assert_int_equal(fixture->requests, 0);
}

static void a_malformed_request_is_refused_and_the_connection_ends(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    say(fixture, fd,
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: "
        "chunked\r\n\r\n");
    assert_non_null(strstr(hear(fixture, fd, "}}"), "HTTP/1.1 400 "));
    assert_true(is_closed(fixture, fd));
    fd_close(fd);
}

static void an_endless_head_is_refused(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    char filler[4096];
    memset(filler, 'a', sizeof(filler));
    say(fixture, fd, "GET / HTTP/1.1\r\nHost: x\r\nX-Long: ");
    for (int i = 0; i < 12; i++) {
        (void)!send(fd, filler, sizeof(filler), MSG_NOSIGNAL);
        turn(fixture);
    }
    assert_non_null(strstr(hear(fixture, fd, "}}"), "HTTP/1.1 431 "));
    fd_close(fd);
}

static void a_body_beyond_the_limit_is_refused_early(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    say(fixture, fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 65\r\n\r\n");
    assert_non_null(strstr(hear(fixture, fd, "}}"), "HTTP/1.1 413 "));
    assert_int_equal(fixture->error_code, ERR_LIMIT);
    assert_true(is_closed(fixture, fd));
    fd_close(fd);
    fd = client(fixture);
    say(fixture, fd, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n41\r\n");
    for (int i = 0; i < 65; i++)
        say(fixture, fd, "x");
    assert_non_null(strstr(hear(fixture, fd, "}}"), "HTTP/1.1 413 "));
    fd_close(fd);
}

static void a_client_that_expects_it_is_told_to_continue(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    say(fixture, fd,
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_string_equal(hear(fixture, fd, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    say(fixture, fd, "ok");
    hear(fixture, fd, "\r\n\r\nok");
    fd_close(fd);
}

static void a_streamed_body_stops_while_its_reader_is_busy(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    fixture->pauses = true;
    say(fixture, fd, "PUT /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf");
    turn(fixture);
    assert_string_equal(buf_text(&fixture->got), "half");
    say(fixture, fd, "rest");
    for (int i = 0; i < 10; i++)
        turn(fixture);
    assert_string_equal(buf_text(&fixture->got), "half");
    http_exchange_resume_body(fixture->exchange);
    hear(fixture, fd, "taken");
    assert_string_equal(buf_text(&fixture->got), "halfrest");
    assert_int_equal(fixture->ends, 1);
    fd_close(fd);
}

static void a_large_body_streams_through(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    char block[4096];
    memset(block, 'b', sizeof(block));
    say(fixture, fd, "PUT /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 2097152\r\n\r\n");
    for (size_t sent = 0; sent < 2097152;) {
        ssize_t got = send(fd, block, MIN(sizeof(block), 2097152 - sent), MSG_NOSIGNAL);
        if (got > 0)
            sent += (size_t)got;
        else
            turn(fixture);
    }
    hear(fixture, fd, "taken");
    assert_int_equal(fixture->got.len, 2097152);
    fd_close(fd);
}

static void a_short_body_is_reported(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    say(fixture, fd, "PUT /sink HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
    turn(fixture);
    fd_close(fd);
    for (int i = 0; i < 100 && fixture->ends == 0; i++)
        turn(fixture);
    assert_int_equal(fixture->ends, 1);
    assert_int_equal(fixture->error_code, ERR_IO);
}

static void a_broken_chunk_is_reported(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    say(fixture, fd, "PUT /sink HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_non_null(strstr(hear(fixture, fd, "taken"), "HTTP/1.1 400 "));
    assert_int_equal(fixture->error_code, ERR_INVALID);
    assert_true(is_closed(fixture, fd));
    fd_close(fd);
}

static void a_streamed_answer_is_chunked_and_ends(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    say(fixture, fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_non_null(strstr(hear(fixture, fd, "\r\n\r\n"), "Transfer-Encoding: chunked\r\n"));
    assert_true(http_exchange_send(fixture->exchange, SLICE("{\"a\":1}\n")));
    hear(fixture, fd, "8\r\n{\"a\":1}\n\r\n");
    http_exchange_end_stream(fixture->exchange);
    assert_string_equal(hear(fixture, fd, "0\r\n\r\n"), "0\r\n\r\n");
    say(fixture, fd, "GET /query HTTP/1.1\r\nHost: x\r\n\r\n"); /* the connection goes on */
    hear(fixture, fd, "(none)");
    fd_close(fd);
}

static void an_old_client_gets_a_stream_that_ends_with_the_connection(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    say(fixture, fd, "GET /stream HTTP/1.0\r\nHost: x\r\n\r\n");
    assert_null(strstr(hear(fixture, fd, "\r\n\r\n"), "chunked"));
    http_exchange_send(fixture->exchange, SLICE("plain"));
    assert_string_equal(hear(fixture, fd, "plain"), "plain");
    http_exchange_end_stream(fixture->exchange);
    assert_true(is_closed(fixture, fd));
    fd_close(fd);
}

static void a_slow_reader_stops_the_stream_until_it_has_read(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    char block[32768], sink[65536];
    size_t sent = 0, got = 0;
    memset(block, 's', sizeof(block));
    say(fixture, fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 0;
         i < 100 && http_exchange_send(fixture->exchange, (struct slice){block, sizeof(block)});
         i++) {
        sent += sizeof(block);
        turn(fixture);
    }
    sent += sizeof(block);
    assert_true(sent < 4 * 1024 * 1024);
    assert_int_equal(fixture->writables, 0);
    for (int i = 0; i < 1000 && fixture->writables == 0; i++) {
        ssize_t len = recv(fd, sink, sizeof(sink), 0);
        got += len > 0 ? (size_t)len : 0;
        turn(fixture);
    }
    assert_int_equal(fixture->writables, 1);
    http_exchange_end_stream(fixture->exchange);
    for (int i = 0; i < 1000 && !slice_ends_with((struct slice){sink, 5}, SLICE("0\r\n\r\n"));
         i++) {
        ssize_t len = recv(fd, sink, sizeof(sink), 0);
        if (len > 0) {
            got += (size_t)len;
            if (len >= 5)
                memmove(sink, sink + len - 5, 5);
        }
        turn(fixture);
    }
    assert_true(got > sent);
    fd_close(fd);
}

/* A socket that takes all at once: nothing is left that an event could tell of. */
static void a_full_stream_that_is_written_at_once_goes_on(void **state)
{
    struct fixture *fixture = *state;
    struct http_server *server;
    struct sockaddr_in bound;
    struct address address;
    socklen_t len = sizeof(bound);
    char block[65536];
    int listener, fd;
    memset(block, 's', sizeof(block));
    assert_int_equal(address_parse("127.0.0.1:0", &address, NULL), 0);
    assert_int_equal(socket_listen(&address, 4, &listener, NULL), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&bound, &len), 0);
    address.in = bound;
    assert_int_equal(http_server_start(fixture->loop, listener, &fixture->handler, &server, NULL),
                     0);
    assert_int_equal(socket_connect(&address, &fd, NULL), 0);
    turn(fixture);
    say(fixture, fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(fixture, fd, "\r\n\r\n");
    while (http_exchange_send(fixture->exchange, (struct slice){block, sizeof(block)}))
        ;
    for (int i = 0; i < 1000 && fixture->writables == 0; i++) {
        turn(fixture);
        while (recv(fd, block, sizeof(block), 0) > 0)
            ;
    }
    assert_int_equal(fixture->writables, 1);
    fd_close(fd);
    http_server_stop(server);
}

/* The reader may be so quick that a full queue is gone before the loop looks at the socket again.
 */
static void a_quick_reader_gets_a_long_stream(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    say(fixture, fd, "GET /stream HTTP/1.0\r\nHost: x\r\n\r\n");
    pid_t reader = fork();
    if (reader == 0) {
        char sink[65536];
        size_t total = 0;
        ssize_t got;
        assert_int_equal(fd_set_nonblocking(fd, false), 0);
        while ((got = recv(fd, sink, sizeof(sink), 0)) > 0)
            total += (size_t)got;
        _exit(total > (size_t)20 * 300 * 1024 ? 0 : 1);
    }
    fixture->blocks_left = 20;
    send_blocks(fixture);
    for (int i = 0; i < 3000 && fixture->ends == 0; i++)
        turn(fixture);
    assert_int_equal(fixture->ends, 1);
    int status = -1;
    fd_close(fd);
    for (int i = 0; i < 3000 && waitpid(reader, &status, WNOHANG) == 0; i++)
        turn(fixture);
    assert_int_equal(status, 0);
}

static void a_client_that_leaves_ends_its_stream(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    say(fixture, fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    turn(fixture);
    fd_close(fd);
    for (int i = 0; i < 100 && fixture->gones == 0; i++)
        turn(fixture);
    assert_int_equal(fixture->gones, 1);
}

static void one_that_sent_ahead_and_leaves_ends_its_stream_too(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    say(fixture, fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    say(fixture, fd, "G");
    assert_int_equal(fixture->gones, 0);
    fd_close(fd);
    for (int i = 0; i < 100 && fixture->gones == 0; i++)
        turn(fixture);
    assert_int_equal(fixture->gones, 1);
}

static void a_client_that_shuts_down_and_reads_nothing_costs_no_turns(void **state)
{
    static const char block[1024 * 1024];
    struct fixture *fixture = *state;
    int fd = client(fixture);
    say(fixture, fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    (void)http_exchange_send(fixture->exchange, (struct slice){block, sizeof(block)});
    http_exchange_end_stream(fixture->exchange);
    turn(fixture);
    assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
    turn(fixture);
    uint64_t began_us = clock_monotonic_us();
    assert_int_equal(loop_turn(fixture->loop, 50, NULL), 0);
    assert_true(clock_monotonic_us() - began_us >= 40000);
    close(fd);
}

static void an_answer_for_a_client_that_left_is_dropped(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    say(fixture, fd, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    turn(fixture);
    fd_close(fd);
    for (int i = 0; i < 10; i++)
        turn(fixture);
    http_exchange_answer(fixture->exchange, 200, "text/plain", SLICE("late"));
    turn(fixture);
}

static void an_answer_to_a_half_closed_client_arrives(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    say(fixture, fd, "GET /query?name=half HTTP/1.1\r\nHost: x\r\n\r\n");
    shutdown(fd, SHUT_WR);
    hear(fixture, fd, "half");
    assert_true(is_closed(fixture, fd));
    fd_close(fd);
}

static void a_client_too_many_is_told_so(void **state)
{
    struct fixture *fixture = *state;
    int fds[HTTP_SERVER_CONNECTIONS_MAX];
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        fds[i] = client(fixture);
    int late = client(fixture);
    const char *answer = hear(fixture, late, "}}"), *body = strstr(answer, "\r\n\r\n");
    char length[64];
    assert_non_null(strstr(answer, "HTTP/1.1 503 "));
    assert_non_null(body);
    snprintf(length, sizeof(length), "Content-Length: %zu\r\n", strlen(body + 4));
    assert_non_null(strstr(answer, length));
    fd_close(late);
    fd_close(fds[0]);
    for (int i = 0; i < 10; i++)
        turn(fixture);
    fds[0] = client(fixture);
    say(fixture, fds[0], "GET /query HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(fixture, fds[0], "(none)");
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        fd_close(fds[i]);
}

static void the_peer_of_a_unix_socket_is_known(void **state)
{
    struct fixture *fixture = *state;
    int fd = client(fixture);
    say(fixture, fd, "GET /hold HTTP/1.1\r\nHost: x\r\nX-Name:  value \r\n\r\n");
    turn(fixture);
    assert_int_equal(http_exchange_peer(fixture->exchange)->uid, getuid());
    assert_int_equal(http_exchange_peer(fixture->exchange)->pid, getpid());
    assert_string_equal(http_exchange_header(fixture->exchange, "x-name"), "value");
    assert_null(http_exchange_header(fixture->exchange, "x-other"));
    http_exchange_answer(fixture->exchange, 200, "text/plain", SLICE("ok"));
    hear(fixture, fd, "ok");
    fd_close(fd);
}

static void stopping_ends_what_is_open(void **state)
{
    struct fixture *fixture = *state;
    int stream = client(fixture), upload = client(fixture);
    say(fixture, stream, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    turn(fixture);
    say(fixture, upload, "PUT /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf");
    turn(fixture);
    http_server_stop(fixture->server);
    fixture->server = NULL;
    assert_int_equal(fixture->gones, 1);
    assert_int_equal(fixture->ends, 1);
    assert_int_equal(fixture->error_code, ERR_UNAVAILABLE);
    fd_close(stream);
    fd_close(upload);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_unknown_path_is_answered_with_a_json_error),
        TEST(a_connection_carries_several_requests),
        TEST(requests_sent_ahead_are_answered_in_order),
        TEST(a_request_may_come_byte_by_byte),
        TEST(query_parameters_are_decoded),
        TEST(many_empty_parameters_do_not_eat_the_memory_of_the_request),
        TEST(ambiguous_paths_are_refused),
        TEST(a_malformed_request_is_refused_and_the_connection_ends),
        TEST(an_endless_head_is_refused),
        TEST(a_body_beyond_the_limit_is_refused_early),
        TEST(a_client_that_expects_it_is_told_to_continue),
        TEST(a_streamed_body_stops_while_its_reader_is_busy),
        TEST(a_large_body_streams_through),
        TEST(a_short_body_is_reported),
        TEST(a_broken_chunk_is_reported),
        TEST(a_streamed_answer_is_chunked_and_ends),
        TEST(an_old_client_gets_a_stream_that_ends_with_the_connection),
        TEST(a_slow_reader_stops_the_stream_until_it_has_read),
        TEST(a_full_stream_that_is_written_at_once_goes_on),
        TEST(a_quick_reader_gets_a_long_stream),
        TEST(a_client_that_leaves_ends_its_stream),
        TEST(one_that_sent_ahead_and_leaves_ends_its_stream_too),
        TEST(a_client_that_shuts_down_and_reads_nothing_costs_no_turns),
        TEST(an_answer_for_a_client_that_left_is_dropped),
        TEST(an_answer_to_a_half_closed_client_arrives),
        TEST(a_client_too_many_is_told_so),
        TEST(the_peer_of_a_unix_socket_is_known),
        TEST(stopping_ends_what_is_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
