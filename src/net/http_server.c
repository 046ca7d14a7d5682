/* A connection carries one exchange at a time, which is part of it. Three things decide what it
 * waits for: where the request's body stands, where the answer stands, and what the socket has not
 * taken yet; connection_arm derives interest and deadline from them after every step.
 * Connections are freed at the end of the loop's turn, so that a handler may answer from anywhere.
 */
#include "net/http_server_private.h"

#include "base/log.h"
#include "os/file.h"
#include <errno.h>
#include <unistd.h>

#define READ_BYTES      ((size_t)64 * 1024)
#define READS_PER_EVENT 16
/* Of the next requests while one is answered; only who reads sees that the client left. */
#define AHEAD_BYTES      HTTP_SERVER_HEAD_BYTES
#define OUT_LIMIT        ((size_t)80 * 1024 * 1024)
#define STREAM_LOW       ((size_t)64 * 1024)
#define ARENA_LIMIT      ((size_t)1024 * 1024)
#define IDLE_US          (60u * 1000000u) /* between two requests */
#define HEAD_US          (10u * 1000000u) /* from the first byte of a head to its last */
#define PROGRESS_US      (30u * 1000000u) /* between two bytes of a body, either way */
#define LINGER_US        (2u * 1000000u)
#define ACCEPT_RETRY_US  (100u * 1000u)
#define ACCEPTS_PER_TURN 16

/* ---- life of a connection */

void connection_free(struct http_exchange *exchange)
{
    loop_defer_cancel(&exchange->after);
    if (exchange->server)
        list_remove(&exchange->node);
    buf_done(&exchange->in);
    buf_done(&exchange->out);
    buf_done(&exchange->collected);
    arena_free(exchange->arena);
    free(exchange);
}

void connection_close(struct http_exchange *exchange)
{
    if (!exchange->is_closed) {
        exchange->is_closed = true;
        loop_timer_stop(&exchange->timer);
        loop_io_stop(&exchange->io);
        fd_close(exchange->io.fd);
        exchange->io.fd = -1;
        if (exchange->server)
            exchange->server->open_count--;
    }
    if (!exchange_is_held(exchange))
        loop_defer(exchange->loop, &exchange->after);
}

/* The client left, or took too long: tell who has something open, then close. */
static void connection_cut(struct http_exchange *exchange, int code, const char *why)
{
    if (exchange->is_closed)
        return;
    bool is_streaming = exchange->answer == ANSWER_STREAMING;
    if (is_streaming)
        exchange->answer = ANSWER_COMPLETE;
    connection_close(exchange);
    if (exchange_wants_body(exchange))
        exchange_refuse_body(exchange, code, why);
    if (is_streaming && exchange->stream->on_gone)
        exchange->stream->on_gone(exchange->stream);
}

void connection_arm(struct http_exchange *exchange)
{
    if (exchange->is_closed)
        return;
    bool has_output = connection_queued(exchange) > 0;
    bool wants_body = exchange_wants_body(exchange);
    bool is_reading = exchange->state != CONNECTION_EXCHANGE ||
                      (wants_body && !exchange->is_paused) ||
                      (exchange->body == BODY_OVER && exchange->in.len < AHEAD_BYTES);
    unsigned interest = (is_reading ? LOOP_READ : 0) | (has_output ? LOOP_WRITE : 0);
    if (interest == 0) {
        loop_io_stop(&exchange->io); /* else a hang-up would be reported without end */
    } else if (exchange->io.loop) {
        loop_io_set(&exchange->io, interest);
    } else {
        struct error err = {0};
        if (loop_io_start(exchange->loop, &exchange->io, interest, &err) < 0) {
            log_failure(&err, "an admin connection ends");
            connection_cut(exchange, err.code, "the connection cannot be watched");
            return;
        }
    }
    uint64_t wait_us = 0;
    if (exchange->state == CONNECTION_LINGER)
        wait_us = LINGER_US;
    else if (has_output || (wants_body && !exchange->is_paused))
        wait_us = PROGRESS_US;
    else if (exchange->state == CONNECTION_HEAD)
        wait_us = exchange->in.len ? HEAD_US : IDLE_US;
    if (wait_us)
        loop_timer_start(exchange->loop, &exchange->timer, exchange->moved_us + wait_us);
    else
        loop_timer_stop(&exchange->timer);
}

static void on_timer(struct loop_timer *timer)
{
    struct http_exchange *exchange = container_of(timer, struct http_exchange, timer);
    connection_cut(exchange, ERR_TIMEOUT, "the client was silent for too long");
}

/* Write what is queued. False: the connection was cut. */
static bool connection_flush(struct http_exchange *exchange)
{
    while (connection_queued(exchange)) {
        ssize_t sent = send(exchange->io.fd, exchange->out.ptr + exchange->out_sent,
                            connection_queued(exchange), MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (sent < 0) {
            connection_cut(exchange, ERR_IO, "the client closed the connection");
            return false;
        }
        exchange->out_sent += (size_t)sent;
        connection_moved(exchange);
    }
    if (exchange->out_sent == exchange->out.len || exchange->out_sent > HTTP_SERVER_STREAM_FULL) {
        buf_consume(&exchange->out, exchange->out_sent);
        exchange->out_sent = 0;
    }
    return true;
}

/* After an answer is complete and written: the next request, or the end. */
static void connection_finish_exchange(struct http_exchange *exchange)
{
    if (exchange->is_closed) {
        connection_close(exchange);
        return;
    }
    if (exchange->state != CONNECTION_EXCHANGE || exchange->answer != ANSWER_COMPLETE ||
        connection_queued(exchange))
        return;
    connection_moved(exchange);
    if (!exchange->is_keepalive || exchange->body != BODY_OVER) {
        /* Closing with unread input would reset the connection and could take the answer with
         * it (RFC 9112 §9.6), so the rest is read and dropped for a moment. */
        shutdown(exchange->io.fd, SHUT_WR);
        exchange->state = CONNECTION_LINGER;
        return;
    }
    exchange->state = CONNECTION_HEAD;
    exchange->progress = (struct http1_progress){0};
    buf_done(&exchange->collected);
    if (exchange->in.len)
        exchange_next(exchange);
}

void connection_go_on(struct http_exchange *exchange)
{
    if (exchange->is_closed) {
        connection_close(exchange);
        return;
    }
    if (exchange->out.failed) {
        connection_cut(exchange, ERR_LIMIT, "the client reads too slowly");
        return;
    }
    if (!connection_flush(exchange))
        return;
    if (exchange->is_full && connection_queued(exchange) <= STREAM_LOW) {
        exchange->is_full = false;
        if (exchange->answer == ANSWER_STREAMING && exchange->stream->on_writable)
            exchange->stream->on_writable(exchange->stream);
    }
    connection_finish_exchange(exchange);
    connection_arm(exchange);
}

/* ---- events */

static void on_after(struct loop_deferred *deferred)
{
    struct http_exchange *exchange = container_of(deferred, struct http_exchange, after);
    if (!exchange->is_closed) {
        connection_go_on(exchange);
        return;
    }
    if (exchange->answer == ANSWER_STREAMING) { /* begun after the client had left */
        exchange->answer = ANSWER_COMPLETE;
        if (exchange->stream->on_gone)
            exchange->stream->on_gone(exchange->stream);
    }
    if (!exchange_is_held(exchange))
        connection_free(exchange);
}

static void connection_end_of_input(struct http_exchange *exchange)
{
    bool is_answered =
        exchange->state == CONNECTION_EXCHANGE && exchange->answer == ANSWER_COMPLETE;
    if (is_answered && connection_queued(exchange)) {
        /* Half closed, and still reading the answer: write it, then end. */
        exchange->is_keepalive = false;
        exchange->body = BODY_UNASKED;
        return;
    }
    connection_cut(exchange, ERR_IO, "the client closed the connection");
}

static void connection_read(struct http_exchange *exchange)
{
    char bytes[READ_BYTES];
    for (unsigned turn = 0; turn < READS_PER_EVENT && !exchange->is_closed; turn++) {
        bool is_body = exchange_wants_body(exchange) && !exchange->is_paused;
        if (exchange->state == CONNECTION_EXCHANGE && !is_body &&
            (exchange->in.len >= AHEAD_BYTES || exchange->body != BODY_OVER))
            return; /* it waits for its turn: the next request, or what is left of a refused body */
        size_t want = is_body || exchange->state == CONNECTION_LINGER ? sizeof(bytes)
                                                                      : HTTP_SERVER_HEAD_BYTES / 2;
        ssize_t got = recv(exchange->io.fd, bytes, want, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            connection_end_of_input(exchange);
            return;
        }
        if (exchange->state == CONNECTION_LINGER)
            continue;
        if (is_body) {
            size_t used = exchange_take_body(exchange, bytes, (size_t)got);
            if (used < (size_t)got)
                buf_append(&exchange->in, bytes + used, (size_t)got - used);
        } else {
            if (exchange->in.len == 0)
                connection_moved(exchange);
            buf_append(&exchange->in, bytes, (size_t)got);
            if (exchange->state == CONNECTION_HEAD)
                exchange_next(exchange);
        }
        if (exchange->in.failed) {
            connection_cut(exchange, ERR_LIMIT, "too much was sent ahead");
            return;
        }
    }
}

static void on_event(struct loop_io *io, unsigned events)
{
    struct http_exchange *exchange = container_of(io, struct http_exchange, io);
    /* A client that shut both directions and reads nothing is neither readable nor writable here:
     * only the attempt tells. */
    if (events & (LOOP_WRITE | LOOP_CLOSE) && !connection_flush(exchange))
        return;
    if (!exchange->is_closed && events & (LOOP_READ | LOOP_CLOSE))
        connection_read(exchange);
    connection_go_on(exchange);
}

/* ---- accepting */

static void connection_open(struct http_server *server, int fd)
{
    static const char busy[] =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
        "Content-Length: 78\r\nConnection: close\r\n\r\n"
        "{\"error\":{\"code\":\"unavailable\",\"message\":\"too many connections "
        "are open now\"}}";
    struct http_exchange *exchange = NULL;
    if (server->open_count >= HTTP_SERVER_CONNECTIONS_MAX ||
        !(exchange = calloc(1, sizeof(*exchange)))) {
        (void)!send(fd, busy, sizeof(busy) - 1, MSG_NOSIGNAL);
        fd_close(fd);
        return;
    }
    exchange->server = server;
    exchange->loop = server->loop;
    exchange->io.fd = fd;
    exchange->io.on_event = on_event;
    exchange->timer.on_timer = on_timer;
    exchange->after.on_deferred = on_after;
    exchange->in = BUF_INIT(HTTP_SERVER_HEAD_BYTES + READ_BYTES);
    exchange->out = BUF_INIT(OUT_LIMIT);
    exchange->arena = arena_new(ARENA_LIMIT);
    exchange->moved_us = loop_now_us(server->loop);
    exchange->body = BODY_OVER;
    exchange->peer = (struct peer){.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};
    list_push_back(&server->connections, &exchange->node);
    server->open_count++;
    (void)!socket_peer(fd, &exchange->peer, NULL); /* TCP has none: nobody's uid */
    connection_arm(exchange);
}

static void on_accept(struct loop_io *io, unsigned events UNUSED)
{
    struct http_server *server = container_of(io, struct http_server, listener);
    for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            connection_open(server, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            /* The listener stays readable: without a pause this would spin. */
            log_warning("unable to accept an admin connection: %s", strerror(errno));
            loop_io_stop(&server->listener);
            loop_timer_start_in(server->loop, &server->accept_again, ACCEPT_RETRY_US);
        }
        return;
    }
}

static void on_accept_again(struct loop_timer *timer)
{
    struct http_server *server = container_of(timer, struct http_server, accept_again);
    struct error err = {0};
    if (loop_io_start(server->loop, &server->listener, LOOP_READ, &err) < 0) {
        log_failure(&err, "unable to accept admin connections");
        loop_timer_start_in(server->loop, &server->accept_again, ACCEPT_RETRY_US);
    }
}

int http_server_start(struct loop *loop, int listener_fd, struct http_server_handler *handler,
                      struct http_server **ret_server, struct error *err)
{
    struct http_server *server = calloc(1, sizeof(*server));
    if (!server) {
        fd_close(listener_fd);
        return error_set(err, ERR_LIMIT, "out of memory");
    }
    server->loop = loop;
    server->handler = handler;
    server->listener.fd = listener_fd;
    server->listener.on_event = on_accept;
    server->accept_again.on_timer = on_accept_again;
    list_init(&server->connections);
    int r = loop_io_start(loop, &server->listener, LOOP_READ, err);
    if (r < 0) {
        fd_close(listener_fd);
        free(server);
        return r;
    }
    *ret_server = server;
    return 0;
}

void http_server_stop(struct http_server *server)
{
    if (!server)
        return;
    loop_timer_stop(&server->accept_again);
    loop_io_stop(&server->listener);
    fd_close(server->listener.fd);
    while (!list_is_empty(&server->connections)) {
        struct http_exchange *exchange =
            container_of(server->connections.next, struct http_exchange, node);
        connection_cut(exchange, ERR_UNAVAILABLE, "the server stops");
        list_remove(&exchange->node);
        exchange->server = NULL;
        if (!exchange_is_held(exchange))
            connection_free(exchange);
    }
    free(server);
}
