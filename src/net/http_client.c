/* One exchange is two halves that run beside each other: sending (head, then body as far as the
 * socket takes it) and receiving. A server may answer before it has read the whole request, so a
 * broken pipe while sending is not the end: what it answered is read first. */
#include "net/http_client.h"

#include "base/clock.h"
#include "base/units.h"
#include "net/http1.h"
#include "os/file.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES      ((size_t)64 * 1024)
#define HEAD_LIMIT      ((size_t)64 * 1024)
#define SEND_BYTES      ((size_t)64 * 1024) /* of a streamed body, at a time */
#define SEND_LIMIT      (SEND_BYTES + HTTP1_CHUNK_HEAD_MAX + 16)
#define READS_PER_EVENT 16
#define BODY_LIMIT      ((size_t)64 * 1024 * 1024)

enum client_receiving { RECEIVING_HEAD, RECEIVING_BODY, RECEIVING_DONE };

struct http_client {
    struct loop *loop;
    struct http_client_handler *handler;
    struct loop_io io, body_io;
    struct loop_timer timer;
    struct loop_deferred early_end; /* the outcome was known within start */
    uint64_t started_us, deadline_us, last_byte_us;
    uint64_t timeout_ms, idle_timeout_ms;
    enum http1_method method;
    bool is_connecting, is_streamed;

    struct buf out; /* what the socket has not taken yet, from out_sent on */
    size_t out_sent;
    int body_fd; /* -1: none, or all of it was read */
    bool is_body_pipe, is_body_chunked, is_out_body, is_sending_over;
    uint64_t body_left, body_sent_bytes;

    enum client_receiving receiving;
    enum http1_body framing;
    struct buf head;
    struct http1_progress progress;
    struct http1_chunked chunked;
    uint64_t answer_left;
    struct buf answer;
    char content_type[128];
    int status;

    struct error err;
    int code;
    bool is_busy, is_cancelled; /* in a callback of the handler; cancelled from within it */
};

static void client_free(struct http_client *client)
{
    loop_defer_cancel(&client->early_end);
    loop_timer_stop(&client->timer);
    loop_io_stop(&client->body_io);
    loop_io_stop(&client->io);
    fd_close(client->io.fd);
    buf_done(&client->out);
    buf_done(&client->head);
    buf_done(&client->answer);
    free(client);
}

void http_client_cancel(struct http_client *client)
{
    if (!client)
        return;
    if (client->is_busy)
        client->is_cancelled = true;
    else
        client_free(client);
}

uint64_t http_client_sent_bytes(const struct http_client *client)
{
    return client->body_sent_bytes;
}

/* The end of the exchange: tells the handler and frees the client. */
static void client_finish(struct http_client *client, int code)
{
    struct http_client_response response = {
        .status = client->status,
        .body = buf_slice(&client->answer),
        .content_type = slice_from(client->content_type),
        .code = code,
        .err = code ? &client->err : NULL,
        .duration_us = clock_monotonic_us() - client->started_us,
    };
    loop_timer_stop(&client->timer);
    loop_io_stop(&client->body_io);
    loop_io_stop(&client->io);
    client->is_busy = true;
    client->handler->on_done(client->handler, &response);
    client_free(client);
}

static void client_fail(struct http_client *client, int code, const char *text)
{
    client_finish(client, error_set(&client->err, code, "%s", text));
}

static void on_early_end(struct loop_deferred *deferred)
{
    struct http_client *client = container_of(deferred, struct http_client, early_end);
    client_finish(client, client->code);
}

/* ---- time */

static void client_arm(struct http_client *client)
{
    uint64_t at_us = UINT64_MAX;
    if (client->timeout_ms)
        at_us = client->deadline_us;
    if (client->idle_timeout_ms)
        at_us = MIN(at_us, client->last_byte_us + client->idle_timeout_ms * 1000);
    if (at_us != UINT64_MAX)
        loop_timer_start(client->loop, &client->timer, at_us);
}

static void client_moved(struct http_client *client)
{
    client->last_byte_us = loop_now_us(client->loop);
    client_arm(client);
}

static void on_timer(struct loop_timer *timer)
{
    struct http_client *client = container_of(timer, struct http_client, timer);
    char text[UNITS_TEXT_SIZE];
    bool is_total = client->timeout_ms && loop_now_us(client->loop) >= client->deadline_us;
    units_format_duration_ms(is_total ? client->timeout_ms : client->idle_timeout_ms, text);
    const char *what = client->is_connecting                 ? "no connection"
                       : client->receiving != RECEIVING_HEAD ? "no complete answer"
                                                             : "no answer";
    client_finish(client, error_set(&client->err, ERR_TIMEOUT, "%s within %s", what, text));
}

/* ---- sending */

static void client_watch(struct http_client *client)
{
    bool has_output =
        client->out_sent < client->out.len || (client->body_fd >= 0 && !client->is_body_pipe);
    unsigned interest = LOOP_READ;
    if (client->is_connecting)
        interest = LOOP_WRITE;
    else if (has_output && !client->is_sending_over)
        interest |= LOOP_WRITE;
    loop_io_set(&client->io, interest);
}

/* Put the next piece of the streamed body into the empty `out`. 1: there is something to send; 0:
 * nothing for now, or at all; negative: failed. */
static int client_fill(struct http_client *client)
{
    char head[24];
    size_t want = SEND_BYTES;
    if (!client->is_body_chunked)
        want = (size_t)MIN((uint64_t)want, client->body_left);
    buf_clear(&client->out);
    client->out_sent = 0;
    /* The chunk's head has a fixed width so that the data can be read to where it belongs. */
    size_t head_len = client->is_body_chunked ? 10 : 0;
    char *room = buf_reserve(&client->out, head_len + want + 2);
    if (!room)
        return error_set(&client->err, ERR_LIMIT, "out of memory");
    ssize_t got = want ? read(client->body_fd, room + head_len, want) : 0;
    if (got < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return 0;
        return error_errno(&client->err, errno, "unable to read the body to send");
    }
    if (got == 0) {
        loop_io_stop(&client->body_io);
        client->body_fd = -1;
        if (client->is_body_chunked)
            buf_append_text(&client->out, HTTP1_CHUNK_LAST);
        else if (client->body_left)
            return error_set(&client->err, ERR_IO, "the body to send ended early");
        client->is_out_body = false;
        return client->out.len > 0;
    }
    if (client->is_body_chunked) {
        snprintf(head, sizeof(head), "%08zx\r\n", (size_t)got);
        memcpy(room, head, head_len);
        memcpy(room + head_len + got, "\r\n", 2);
        client->out.len = head_len + (size_t)got + 2;
    } else {
        client->out.len = (size_t)got;
        client->body_left -= (uint64_t)got;
        if (client->body_left == 0) {
            loop_io_stop(&client->body_io);
            client->body_fd = -1;
        }
    }
    client->is_out_body = true;
    return 1;
}

/* Send what there is. False: the client is gone. */
static bool client_send(struct http_client *client)
{
    for (unsigned turn = 0; turn < READS_PER_EVENT && !client->is_sending_over; turn++) {
        if (client->out_sent == client->out.len) {
            int filled = client->body_fd >= 0 ? client_fill(client) : 0;
            if (filled < 0) {
                client_finish(client, filled);
                return false;
            }
            if (filled == 0)
                break;
        }
        ssize_t sent = send(client->io.fd, client->out.ptr + client->out_sent,
                            client->out.len - client->out_sent, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN || errno == EINTR)
                break;
            client->is_sending_over = true;
            loop_io_stop(&client->body_io);
            break;
        }
        client->out_sent += (size_t)sent;
        if (client->is_out_body)
            client->body_sent_bytes += (uint64_t)sent;
        client_moved(client);
    }
    /* A pipe is watched only while nothing waits to be sent: that is the backpressure. */
    bool is_waiting = client->is_body_pipe && client->body_fd >= 0 && !client->is_sending_over &&
                      client->out_sent == client->out.len;
    if (!is_waiting) {
        loop_io_stop(&client->body_io);
    } else if (!client->body_io.loop &&
               loop_io_start(client->loop, &client->body_io, LOOP_READ, &client->err) < 0) {
        client_finish(client, client->err.code);
        return false;
    }
    client_watch(client);
    return true;
}

static void on_body_event(struct loop_io *io, unsigned events UNUSED)
{
    (void)client_send(container_of(io, struct http_client, body_io));
}

/* ---- receiving */

/* Hand decoded body bytes on. False: cancelled from within (freed), or failed (finished). */
static bool client_deliver(struct http_client *client, struct slice data)
{
    if (data.len == 0)
        return true;
    if (client->is_streamed) {
        client->is_busy = true;
        client->handler->on_data(client->handler, data);
        client->is_busy = false;
        if (client->is_cancelled) {
            client_free(client);
            return false;
        }
        return true;
    }
    buf_append_slice(&client->answer, data);
    if (!client->answer.failed)
        return true;
    client_finish(client, error_set(&client->err, ERR_LIMIT, "the answer is larger than %zu bytes",
                                    client->answer.limit));
    return false;
}

/* Take body bytes from the wire. False: the client is gone. */
static bool client_take_body(struct http_client *client, char *bytes, size_t len)
{
    struct slice data = {bytes, len};
    if (client->framing == HTTP1_BODY_CHUNKED) {
        struct http1_failure failure;
        size_t consumed;
        enum http1_result result =
            http1_chunked_decode(&client->chunked, bytes, len, &consumed, &data, &failure);
        if (result == HTTP1_BAD) {
            client_fail(client, ERR_INVALID, failure.reason);
            return false;
        }
        if (result == HTTP1_DONE)
            client->receiving = RECEIVING_DONE;
    } else if (client->framing == HTTP1_BODY_LENGTH) {
        data.len = (size_t)MIN((uint64_t)len, client->answer_left);
        client->answer_left -= data.len;
        if (client->answer_left == 0)
            client->receiving = RECEIVING_DONE;
    }
    if (!client_deliver(client, data))
        return false;
    if (client->receiving == RECEIVING_DONE) {
        client_finish(client, 0);
        return false;
    }
    return true;
}

/* The head of the final answer is here. False: the client is gone. */
static bool client_begin_body(struct http_client *client, const struct http1_head *head)
{
    const struct http1_field *type = http1_field_find(head, HTTP1_FIELD_CONTENT_TYPE);
    if (type)
        snprintf(client->content_type, sizeof(client->content_type), SLICE_FORMAT,
                 SLICE_ARG(type->value));
    client->status = (int)head->status;
    client->framing = head->body;
    client->answer_left = head->content_length;
    client->receiving = RECEIVING_BODY;
    if (client->is_streamed && client->handler->on_head) {
        client->is_busy = true;
        client->handler->on_head(client->handler, client->status);
        client->is_busy = false;
        if (client->is_cancelled) {
            client_free(client);
            return false;
        }
    }
    if (head->body == HTTP1_BODY_NONE ||
        (head->body == HTTP1_BODY_LENGTH && head->content_length == 0)) {
        client->receiving = RECEIVING_DONE;
        client_finish(client, 0);
        return false;
    }
    return true;
}

/* Look for a complete head in what has come. False: the client is gone. */
static bool client_parse_head(struct http_client *client)
{
    const struct http1_limits limits = {HEAD_LIMIT, 16384, 100};
    struct http1_head head;
    struct http1_failure failure;
    for (;;) {
        enum http1_result result =
            http1_parse_response(client->head.ptr, client->head.len, &client->progress, &limits,
                                 client->method, &head, &failure);
        if (result == HTTP1_MORE)
            return true;
        if (result == HTTP1_BAD) {
            client_finish(client, error_set(&client->err, ERR_INVALID,
                                            "the answer is not valid HTTP: %s", failure.reason));
            return false;
        }
        if (head.status == 101) {
            client_fail(client, ERR_INVALID, "the server switched protocols unasked");
            return false;
        }
        if (head.status >= 200)
            break;
        buf_consume(&client->head, head.head_bytes); /* 1xx: the answer is yet to come */
        client->progress = (struct http1_progress){0};
        if (client->head.len == 0)
            return true;
    }
    size_t head_bytes = head.head_bytes;
    if (!client_begin_body(client, &head))
        return false;
    if (client->head.len == head_bytes)
        return true;
    return client_take_body(client, client->head.ptr + head_bytes, client->head.len - head_bytes);
}

static void client_ended(struct http_client *client, int errno_value)
{
    if (client->receiving == RECEIVING_BODY && client->framing == HTTP1_BODY_CLOSE && !errno_value)
        client_finish(client, 0);
    else if (client->receiving == RECEIVING_BODY)
        client_fail(client, ERR_IO, "the connection ended in the middle of the answer");
    else if (errno_value)
        client_fail(client, ERR_IO, "the connection was reset before an answer");
    else
        client_fail(client, ERR_IO, "the connection was closed before an answer");
}

static void client_receive(struct http_client *client)
{
    char bytes[READ_BYTES];
    for (unsigned turn = 0; turn < READS_PER_EVENT; turn++) {
        ssize_t got = recv(client->io.fd, bytes, sizeof(bytes), 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            client_ended(client, got < 0 ? errno : 0);
            return;
        }
        client_moved(client);
        if (client->receiving == RECEIVING_HEAD) {
            buf_append(&client->head, bytes, (size_t)got);
            if (client->head.failed) {
                client_fail(client, ERR_LIMIT, "the head of the answer is too large");
                return;
            }
            if (!client_parse_head(client))
                return;
        } else if (!client_take_body(client, bytes, (size_t)got)) {
            return;
        }
    }
}

static void on_event(struct loop_io *io, unsigned events)
{
    struct http_client *client = container_of(io, struct http_client, io);
    if (client->is_connecting) {
        int failed = socket_error(io->fd);
        if (failed) {
            error_errno(&client->err, failed, "unable to connect");
            if (client->err.code != ERR_PERMISSION)
                client->err.code = ERR_UNAVAILABLE;
            client_finish(client, client->err.code);
            return;
        }
        client->is_connecting = false;
        client_moved(client);
        (void)client_send(client);
        return;
    }
    if (events & LOOP_WRITE && !client_send(client))
        return;
    if (events & (LOOP_READ | LOOP_CLOSE))
        client_receive(client);
}

/* ---- start */

static int client_check(const struct http_client_request *request, struct error *err)
{
    struct slice target = slice_from(request->target);
    if (!http1_token_is_valid(slice_from(request->method)))
        return error_set(err, ERR_INVALID, "'%s' is not an HTTP method", request->method);
    if (target.len == 0 || !http1_value_is_valid(target) || slice_find_byte(target, ' ') >= 0 ||
        slice_find_byte(target, '\t') >= 0)
        return error_set(err, ERR_INVALID, "'%s' cannot be requested", request->target);
    if (!http1_host_is_valid(slice_from(request->host)))
        return error_set(err, ERR_INVALID, "'%s' is not a host", request->host);
    if (request->content_type && !http1_value_is_valid(slice_from(request->content_type)))
        return error_set(err, ERR_INVALID, "the content type is not valid");
    return 0;
}

static void client_write_head(struct http_client *client, const struct http_client_request *request)
{
    struct buf *out = &client->out;
    http1_append_request_line(out, slice_from(request->method), slice_from(request->target));
    http1_append_field(out, "Host", slice_from(request->host));
    http1_append_field(
        out, "User-Agent",
        slice_from(request->user_agent ? request->user_agent : "slipway/" SLIPWAY_VERSION));
    http1_append_field(out, "Accept", SLICE("*/*"));
    http1_append_field(out, "Connection", SLICE("close"));
    if (request->content_type)
        http1_append_field(out, "Content-Type", slice_from(request->content_type));
    bool has_body_by_nature = client->method == HTTP1_METHOD_POST ||
                              client->method == HTTP1_METHOD_PUT ||
                              client->method == HTTP1_METHOD_PATCH;
    if (client->is_body_chunked)
        http1_append_field(out, "Transfer-Encoding", SLICE("chunked"));
    else if (request->body_fd >= 0)
        http1_append_field_u64(out, "Content-Length", client->body_left);
    else if (request->body.len || has_body_by_nature)
        http1_append_field_u64(out, "Content-Length", request->body.len);
    if (request->extra_headers)
        buf_append_text(out, request->extra_headers);
    http1_append_end(out);
    if (request->body_fd < 0)
        buf_append_slice(out, request->body);
}

static enum http1_method method_of(const char *text)
{
#define X(name)                                                                                    \
    if (strcmp(text, #name) == 0)                                                                  \
        return HTTP1_METHOD_##name;
    HTTP1_METHOD_TABLE(X)
#undef X
    return HTTP1_METHOD_OTHER;
}

static void client_connect(struct http_client *client, const struct address *address)
{
    int fd = -1;
    client->code = socket_connect(address, &fd, &client->err);
    if (client->code == 0) {
        client->io.fd = fd;
        client->is_connecting = true;
        client->code = loop_io_start(client->loop, &client->io, LOOP_WRITE, &client->err);
    } else if (client->code != ERR_PERMISSION) {
        client->code = client->err.code = ERR_UNAVAILABLE;
    }
    if (client->code)
        loop_defer(client->loop, &client->early_end);
}

int http_client_start(struct loop *loop, const struct http_client_request *request,
                      struct http_client_handler *handler, struct http_client **ret_client,
                      struct error *err)
{
    int code = client_check(request, err);
    if (code < 0)
        return code;
    struct http_client *client = calloc(1, sizeof(*client));
    if (!client)
        return error_set(err, ERR_LIMIT, "out of memory");
    size_t limit = request->response_limit_bytes ? request->response_limit_bytes : BODY_LIMIT;
    client->loop = loop;
    client->handler = handler;
    client->io.fd = -1;
    client->io.on_event = on_event;
    client->body_io.fd = request->body_fd;
    client->body_io.on_event = on_body_event;
    client->timer.on_timer = on_timer;
    client->early_end.on_deferred = on_early_end;
    client->method = method_of(request->method);
    client->is_streamed = request->is_streamed;
    client->timeout_ms = request->timeout_ms;
    client->idle_timeout_ms = request->idle_timeout_ms;
    client->head = BUF_INIT(HEAD_LIMIT + READ_BYTES);
    client->answer = BUF_INIT(limit);
    client->out = BUF_INIT(SEND_LIMIT + HEAD_LIMIT + request->body.len);
    client->body_fd = request->body_fd;
    client->is_body_chunked = request->body_fd >= 0 && request->body_bytes < 0;
    client->body_left = request->body_bytes > 0 ? (uint64_t)request->body_bytes : 0;
    struct stat status;
    client->is_body_pipe =
        request->body_fd >= 0 && fstat(request->body_fd, &status) == 0 && !S_ISREG(status.st_mode);
    client_write_head(client, request);
    if (client->out.failed) {
        client_free(client);
        return error_set(err, ERR_LIMIT, "the request is too large");
    }
    client->started_us = clock_monotonic_us();
    client->last_byte_us = loop_now_us(loop);
    client->deadline_us = client->last_byte_us + client->timeout_ms * 1000;
    client_connect(client, request->address);
    client_arm(client);
    if (ret_client)
        *ret_client = client;
    return 0;
}
