#include "net/http_client.h"

#include "base/clock.h"
#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* A client on a loop, and the server's end as a plain socket that the test writes to. */
struct fixture {
    struct loop *loop;
    int listener, server; /* server: -1 until accepted */
    struct address address;
    struct http_client_handler handler;
    struct http_client *client;
    struct buf body;
    int status, head_status, code, data_calls;
    char text[1024], content_type[64];
    bool is_done, cancels_on_data;
};

static void on_done(struct http_client_handler *handler,
                    const struct http_client_response *response)
{
    struct fixture *fixture = container_of(handler, struct fixture, handler);
    assert_false(fixture->is_done);
    fixture->is_done = true;
    fixture->client = NULL;
    fixture->status = response->status;
    fixture->code = response->code;
    assert_true((response->err != NULL) == (response->code != 0));
    snprintf(fixture->text, sizeof(fixture->text), "%s", response->err ? response->err->text : "");
    snprintf(fixture->content_type, sizeof(fixture->content_type), SLICE_FORMAT,
             SLICE_ARG(response->content_type));
    buf_append_slice(&fixture->body, response->body);
}

static void on_head(struct http_client_handler *handler, int status)
{
    container_of(handler, struct fixture, handler)->head_status = status;
}

static void on_data(struct http_client_handler *handler, struct slice data)
{
    struct fixture *fixture = container_of(handler, struct fixture, handler);
    fixture->data_calls++;
    buf_append_slice(&fixture->body, data);
    if (fixture->cancels_on_data)
        http_client_cancel(fixture->client);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct sockaddr_in bound;
    socklen_t len = sizeof(bound);
    assert_int_equal(loop_new(&fixture->loop, NULL), 0);
    assert_int_equal(address_parse("127.0.0.1:0", &fixture->address, NULL), 0);
    assert_int_equal(socket_listen(&fixture->address, 8, &fixture->listener, NULL), 0);
    assert_int_equal(getsockname(fixture->listener, (struct sockaddr *)&bound, &len), 0);
    fixture->address.in = bound;
    fixture->server = -1;
    fixture->body = BUF_INIT(16 * 1024 * 1024);
    fixture->handler = (struct http_client_handler){on_head, on_data, on_done};
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    http_client_cancel(fixture->client);
    fd_close(fixture->server);
    fd_close(fixture->listener);
    buf_done(&fixture->body);
    loop_free(fixture->loop);
    free(fixture);
    return 0;
}

static struct http_client_request get(struct fixture *fixture)
{
    return (struct http_client_request){.address = &fixture->address,
                                        .method = "GET",
                                        .target = "/health",
                                        .host = "localhost",
                                        .body_fd = -1,
                                        .body_bytes = -1,
                                        .timeout_ms = 5000};
}

static void start(struct fixture *fixture, const struct http_client_request *request)
{
    assert_int_equal(
        http_client_start(fixture->loop, request, &fixture->handler, &fixture->client, NULL), 0);
    assert_false(fixture->is_done);
}

static void turn(struct fixture *fixture)
{
    assert_int_equal(loop_turn(fixture->loop, 5, NULL), 0);
}

static void accept_one(struct fixture *fixture)
{
    for (int i = 0; i < 1000 && fixture->server < 0; i++) {
        turn(fixture);
        fixture->server = accept4(fixture->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }
    assert_true(fixture->server >= 0);
}

/* Turn the loop until the server has got a text that ends so. */
static void server_reads_until(struct fixture *fixture, const char *end, struct buf *got)
{
    for (int i = 0; i < 2000; i++) {
        char bytes[65536];
        turn(fixture);
        ssize_t len = recv(fixture->server, bytes, sizeof(bytes), 0);
        if (len > 0)
            buf_append(got, bytes, (size_t)len);
        if (slice_ends_with(buf_slice(got), slice_from(end)))
            return;
        assert_false(len == 0);
    }
    fail_msg("the server never got '%s' but '%s'", end, buf_text(got));
}

static void server_answers(struct fixture *fixture, const char *answer)
{
    struct buf got = BUF_INIT(65536);
    accept_one(fixture);
    server_reads_until(fixture, "\r\n\r\n", &got);
    assert_true(
        slice_starts_with(buf_slice(&got), SLICE("GET /health HTTP/1.1\r\nHost: localhost\r\n")));
    buf_done(&got);
    assert_int_equal(send(fixture->server, answer, strlen(answer), MSG_NOSIGNAL), strlen(answer));
}

static void server_closes(struct fixture *fixture)
{
    fd_close(fixture->server);
    fixture->server = -1;
}

static void run(struct fixture *fixture)
{
    for (int i = 0; i < 2000 && !fixture->is_done; i++)
        turn(fixture);
    assert_true(fixture->is_done);
}

static void an_answer_with_a_length_is_collected(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    start(fixture, &request);
    server_answers(fixture,
                   "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello");
    run(fixture);
    assert_int_equal(fixture->code, 0);
    assert_int_equal(fixture->status, 200);
    assert_string_equal(buf_text(&fixture->body), "hello");
    assert_string_equal(fixture->content_type, "text/plain");
}

static void a_chunked_answer_is_collected(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    start(fixture, &request);
    server_answers(fixture, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
    turn(fixture);
    assert_false(fixture->is_done);
    assert_int_equal(send(fixture->server, "lo\r\n1\r\n!\r\n0\r\n\r\n", 15, MSG_NOSIGNAL), 15);
    run(fixture);
    assert_string_equal(buf_text(&fixture->body), "hello!");
}

static void an_answer_without_length_ends_with_the_connection(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    start(fixture, &request);
    server_answers(fixture, "HTTP/1.0 503 Busy\r\n\r\nlater");
    server_closes(fixture);
    run(fixture);
    assert_int_equal(fixture->code, 0);
    assert_int_equal(fixture->status, 503);
    assert_string_equal(buf_text(&fixture->body), "later");
}

static void answers_without_a_body_are_complete_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    start(fixture, &request);
    server_answers(fixture, "HTTP/1.1 204 No Content\r\n\r\n");
    run(fixture);
    assert_int_equal(fixture->status, 204);
}

static void interim_answers_are_skipped(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    start(fixture, &request);
    server_answers(fixture,
                   "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
                   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    run(fixture);
    assert_int_equal(fixture->status, 200);
    assert_string_equal(buf_text(&fixture->body), "ok");
}

static void a_refused_connection_is_unavailable(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    fd_close(fixture->listener);
    fixture->listener = -1;
    start(fixture, &request);
    run(fixture);
    assert_int_equal(fixture->code, ERR_UNAVAILABLE);
    assert_non_null(strcasestr(fixture->text, "connection refused"));
    assert_int_equal(fixture->status, 0);
}

static void a_missing_unix_socket_is_unavailable(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    assert_int_equal(address_parse("unix:/nonexistent/admin.sock", &fixture->address, NULL), 0);
    start(fixture, &request);
    run(fixture);
    assert_int_equal(fixture->code, ERR_UNAVAILABLE);
}

static void a_silent_server_times_out(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    request.timeout_ms = 60;
    start(fixture, &request);
    accept_one(fixture);
    run(fixture);
    assert_int_equal(fixture->code, ERR_TIMEOUT);
    assert_string_equal(fixture->text, "no answer within 60ms");
}

static void a_server_that_drips_bytes_meets_the_deadline_of_the_whole_exchange(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    request.timeout_ms = 120;
    request.idle_timeout_ms = 1000;
    start(fixture, &request);
    server_answers(fixture, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    uint64_t end_us = clock_monotonic_us() + 10 * 1000000;
    while (!fixture->is_done && clock_monotonic_us() < end_us) {
        (void)!send(fixture->server, "x", 1, MSG_NOSIGNAL);
        turn(fixture);
    }
    assert_int_equal(fixture->code, ERR_TIMEOUT);
    assert_string_equal(fixture->text, "no complete answer within 120ms");
}

static void silence_between_two_bytes_times_out(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    request.timeout_ms = 0;
    request.idle_timeout_ms = 50;
    start(fixture, &request);
    server_answers(fixture, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    run(fixture);
    assert_int_equal(fixture->code, ERR_TIMEOUT);
}

static void half_an_answer_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    start(fixture, &request);
    server_answers(fixture, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    server_closes(fixture);
    run(fixture);
    assert_int_equal(fixture->code, ERR_IO);
    assert_string_equal(fixture->text, "the connection ended in the middle of the answer");
}

static void half_a_chunk_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    start(fixture, &request);
    server_answers(fixture, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
    server_closes(fixture);
    run(fixture);
    assert_int_equal(fixture->code, ERR_IO);
}

static void a_connection_closed_without_an_answer_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    start(fixture, &request);
    server_answers(fixture, "HTTP/1.1 200");
    server_closes(fixture);
    run(fixture);
    assert_int_equal(fixture->code, ERR_IO);
    assert_int_equal(fixture->status, 0);
}

static void what_is_not_http_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    start(fixture, &request);
    server_answers(fixture, "SSH-2.0-OpenSSH_9.2\r\n\r\n");
    run(fixture);
    assert_int_equal(fixture->code, ERR_INVALID);
}

static void an_answer_beyond_the_limit_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    request.response_limit_bytes = 4;
    start(fixture, &request);
    server_answers(fixture, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    run(fixture);
    assert_int_equal(fixture->code, ERR_LIMIT);
}

static void an_endless_head_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    start(fixture, &request);
    server_answers(fixture, "HTTP/1.1 200 OK\r\nX-Long: ");
    char filler[4096];
    memset(filler, 'a', sizeof(filler));
    for (int i = 0; i < 2000 && !fixture->is_done; i++) {
        (void)!send(fixture->server, filler, sizeof(filler), MSG_NOSIGNAL);
        turn(fixture);
    }
    assert_true(fixture->code == ERR_LIMIT || fixture->code == ERR_INVALID);
}

static void a_streamed_answer_comes_in_pieces(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    request.is_streamed = true;
    start(fixture, &request);
    server_answers(fixture, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n");
    for (int i = 0; i < 200 && fixture->data_calls == 0; i++)
        turn(fixture);
    assert_int_equal(fixture->head_status, 200);
    assert_string_equal(buf_text(&fixture->body), "a\n");
    assert_false(fixture->is_done);
    assert_int_equal(send(fixture->server, "2\r\nb\n\r\n0\r\n\r\n", 12, MSG_NOSIGNAL), 12);
    run(fixture);
    assert_string_equal(buf_text(&fixture->body), "a\nb\n");
}

static void a_client_may_be_cancelled_from_its_own_callback(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    request.is_streamed = true;
    fixture->cancels_on_data = true;
    start(fixture, &request);
    server_answers(fixture, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    for (int i = 0; i < 200 && fixture->data_calls == 0; i++)
        turn(fixture);
    fixture->client = NULL;
    turn(fixture);
    assert_int_equal(fixture->data_calls, 1);
    assert_false(fixture->is_done);
}

static void a_cancelled_client_never_calls_back(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    start(fixture, &request);
    http_client_cancel(fixture->client);
    fixture->client = NULL;
    turn(fixture);
    assert_false(fixture->is_done);
}

static void a_body_from_a_pipe_is_sent_chunked_as_it_comes(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    struct buf got = BUF_INIT(65536);
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    request.method = "PUT";
    request.body_fd = fds[0];
    start(fixture, &request);
    accept_one(fixture);
    server_reads_until(fixture, "\r\n\r\n", &got);
    assert_true(slice_find(buf_slice(&got), SLICE("Transfer-Encoding: chunked\r\n")) > 0);
    assert_int_equal(write(fds[1], "first", 5), 5);
    server_reads_until(fixture, "00000005\r\nfirst\r\n", &got);
    assert_int_equal(http_client_sent_bytes(fixture->client), 17);
    fd_close(fds[1]);
    server_reads_until(fixture, "0\r\n\r\n", &got);
    assert_int_equal(send(fixture->server, "HTTP/1.1 204 Done\r\n\r\n", 21, MSG_NOSIGNAL), 21);
    run(fixture);
    assert_int_equal(fixture->status, 204);
    fd_close(fds[0]);
    buf_done(&got);
}

static void a_large_file_is_sent_with_its_length(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    struct buf got = BUF_INIT(8 * 1024 * 1024);
    char path[] = "/tmp/test_http_client_XXXXXX", block[65536];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    memset(block, 'b', sizeof(block));
    for (int i = 0; i < 40; i++)
        assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
    assert_int_equal(write(fd, "END\n\n", 5), 5);
    lseek(fd, 0, SEEK_SET);
    request.method = "POST";
    request.body_fd = fd;
    request.body_bytes = 40 * 65536 + 5;
    start(fixture, &request);
    accept_one(fixture);
    server_reads_until(fixture, "END\n\n", &got);
    assert_true(slice_find(buf_slice(&got), SLICE("Content-Length: 2621445\r\n")) > 0);
    assert_int_equal(send(fixture->server, "HTTP/1.1 204 Done\r\n\r\n", 21, MSG_NOSIGNAL), 21);
    run(fixture);
    assert_int_equal(fixture->status, 204);
    fd_close(fd);
    buf_done(&got);
}

static void an_answer_before_the_end_of_the_body_counts(void **state)
{
    struct fixture *fixture = *state;
    struct http_client_request request = get(fixture);
    struct buf got = BUF_INIT(65536);
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    request.method = "PUT";
    request.body_fd = fds[0];
    start(fixture, &request);
    accept_one(fixture);
    server_reads_until(fixture, "\r\n\r\n", &got);
    const char *answer = "HTTP/1.1 507 Full\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfull";
    assert_int_equal(send(fixture->server, answer, strlen(answer), MSG_NOSIGNAL), strlen(answer));
    server_closes(fixture);
    assert_int_equal(write(fds[1], "too late", 8), 8);
    run(fixture);
    assert_int_equal(fixture->status, 507);
    assert_string_equal(buf_text(&fixture->body), "full");
    fd_close(fds[0]);
    fd_close(fds[1]);
    buf_done(&got);
}

static void what_cannot_stand_in_a_request_is_refused(void **state)
{
    struct fixture *fixture = *state;
    static const char *const targets[] = {"", "/a b", "/a\r\nHost: evil", "/a\tb"};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        struct http_client_request request = get(fixture);
        request.target = targets[i];
        assert_int_equal(
            http_client_start(fixture->loop, &request, &fixture->handler, &fixture->client, NULL),
            ERR_INVALID);
    }
    struct http_client_request request = get(fixture);
    request.host = "a\r\nb";
    assert_int_equal(
        http_client_start(fixture->loop, &request, &fixture->handler, &fixture->client, NULL),
        ERR_INVALID);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_answer_with_a_length_is_collected),
        TEST(a_chunked_answer_is_collected),
        TEST(an_answer_without_length_ends_with_the_connection),
        TEST(answers_without_a_body_are_complete_at_once),
        TEST(interim_answers_are_skipped),
        TEST(a_refused_connection_is_unavailable),
        TEST(a_missing_unix_socket_is_unavailable),
        TEST(a_silent_server_times_out),
        TEST(a_server_that_drips_bytes_meets_the_deadline_of_the_whole_exchange),
        TEST(silence_between_two_bytes_times_out),
        TEST(half_an_answer_is_an_error),
        TEST(half_a_chunk_is_an_error),
        TEST(a_connection_closed_without_an_answer_is_an_error),
        TEST(what_is_not_http_is_refused),
        TEST(an_answer_beyond_the_limit_is_refused),
        TEST(an_endless_head_is_refused),
        TEST(a_streamed_answer_comes_in_pieces),
        TEST(a_client_may_be_cancelled_from_its_own_callback),
        TEST(a_cancelled_client_never_calls_back),
        TEST(a_body_from_a_pipe_is_sent_chunked_as_it_comes),
        TEST(a_large_file_is_sent_with_its_length),
        TEST(an_answer_before_the_end_of_the_body_counts),
        TEST(what_cannot_stand_in_a_request_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
