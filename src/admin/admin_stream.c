/* Streams of JSON lines: the events of a deploy and logs. A client that reads too slowly never
 * makes control hold much: a log pipe is simply not read on, and an event stream ends, to be taken
 * up again by the client behind the last event that it got. */
#include "admin/admin_private.h"

#include "base/clock.h"
#include "os/file.h"
#include <errno.h>
#include <unistd.h>

#define EARLY_LIMIT     ((size_t)16 * 1024 * 1024)
#define READ_BYTES      ((size_t)64 * 1024)
#define READS_PER_EVENT 4
#define LINES_DEFAULT   100u
#define LINES_MAX       1000000u

/* ---- events of a deploy */

struct event_stream {
    struct http_exchange *exchange;
    struct http_stream stream;
    struct control_subscription subscription;
    struct loop_deferred finish;
    struct loop *loop;
    struct buf early; /* what came before it was known that there is such a deploy */
    bool is_begun, is_behind;
};

static void on_finish(struct loop_deferred *deferred)
{
    struct event_stream *events = container_of(deferred, struct event_stream, finish);
    control_unsubscribe(&events->subscription);
    buf_done(&events->early);
    http_exchange_end_stream(events->exchange);
}

static void on_event(struct control_subscription *subscription, struct slice line, bool is_final)
{
    struct event_stream *events = container_of(subscription, struct event_stream, subscription);
    if (!events->is_begun) {
        buf_append_slice(&events->early, line);
        buf_append_byte(&events->early, '\n');
    } else if (!events->is_behind) {
        bool has_room = http_exchange_send(events->exchange, line);
        has_room &= http_exchange_send(events->exchange, SLICE("\n"));
        events->is_behind = !has_room;
    }
    if (is_final)
        loop_defer(events->loop, &events->finish);
}

static void on_events_writable(struct http_stream *stream)
{
    struct event_stream *events = container_of(stream, struct event_stream, stream);
    if (events->is_behind)
        loop_defer(events->loop, &events->finish);
}

static void on_events_gone(struct http_stream *stream)
{
    struct event_stream *events = container_of(stream, struct event_stream, stream);
    loop_defer_cancel(&events->finish);
    control_unsubscribe(&events->subscription);
    buf_done(&events->early);
}

void admin_events(struct admin_request *request)
{
    struct error err = {0};
    struct event_stream *events =
        arena_new_of(http_exchange_arena(request->exchange), struct event_stream);
    const char *after = http_exchange_query(request->exchange, "after");
    uint64_t deploy, sequence = 0;
    events->exchange = request->exchange;
    events->loop = request->loop;
    events->stream = (struct http_stream){on_events_writable, on_events_gone};
    events->subscription.on_event = on_event;
    events->finish.on_deferred = on_finish;
    events->early = BUF_INIT(EARLY_LIMIT);
    int r = admin_parameter_u64(request, "deploy", &deploy, &err);
    if (r == 0 && after && slice_to_u64(slice_from(after), &sequence) < 0)
        r = error_set(&err, ERR_INVALID, "'after' is not a number");
    if (r == 0)
        r = control_subscribe(request->control, admin_parameter(request, "app"), deploy, sequence,
                              &events->subscription, &err);
    if (r < 0) {
        loop_defer_cancel(&events->finish);
        buf_done(&events->early);
        http_exchange_answer_error(request->exchange, &err);
        return;
    }
    http_exchange_begin_stream(request->exchange, 200, "application/x-ndjson", &events->stream);
    events->is_begun = true;
    if (events->early.len)
        events->is_behind = !http_exchange_send(request->exchange, buf_slice(&events->early));
    buf_done(&events->early);
}

/* ---- logs */

struct log_stream {
    struct http_exchange *exchange;
    struct http_stream stream;
    struct loop *loop;
    struct loop_io io; /* read end of the pipe that logd fills */
};

static void log_stream_close(struct log_stream *logs)
{
    loop_io_stop(&logs->io);
    fd_close(TAKE_FD(logs->io.fd));
}

static void on_log_data(struct loop_io *io, unsigned events UNUSED)
{
    struct log_stream *logs = container_of(io, struct log_stream, io);
    char bytes[READ_BYTES];
    for (unsigned turn = 0; turn < READS_PER_EVENT; turn++) {
        ssize_t got = read(io->fd, bytes, sizeof(bytes));
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            log_stream_close(logs);
            http_exchange_end_stream(logs->exchange);
            return;
        }
        if (!http_exchange_send(logs->exchange, (struct slice){bytes, (size_t)got})) {
            loop_io_stop(io); /* until the client has read some */
            return;
        }
    }
}

static void on_logs_writable(struct http_stream *stream)
{
    struct log_stream *logs = container_of(stream, struct log_stream, stream);
    if (logs->io.fd < 0 || logs->io.loop)
        return;
    if (loop_io_start(logs->loop, &logs->io, LOOP_READ, NULL) < 0) {
        log_stream_close(logs);
        http_exchange_end_stream(logs->exchange);
    }
}

static void on_logs_gone(struct http_stream *stream)
{
    log_stream_close(container_of(stream, struct log_stream, stream));
}

static int query_number(struct http_exchange *exchange, const char *name, uint64_t fallback,
                        uint64_t *ret_value, struct error *err)
{
    const char *text = http_exchange_query(exchange, name);
    *ret_value = fallback;
    if (text && slice_to_u64(slice_from(text), ret_value) < 0)
        return error_set(err, ERR_INVALID, "'%s' is not a number", name);
    return 0;
}

static int query_time(struct http_exchange *exchange, const char *name, uint64_t *ret_us,
                      struct error *err)
{
    const char *text = http_exchange_query(exchange, name);
    *ret_us = 0;
    if (text && clock_parse(text, ret_us) < 0)
        return error_set(err, ERR_INVALID, "'%s' is not a time like 2026-03-01T12:34:56Z", name);
    return 0;
}

static int query_boolean(struct http_exchange *exchange, const char *name, bool fallback,
                         bool *ret_value, struct error *err)
{
    const char *text = http_exchange_query(exchange, name);
    *ret_value = text ? strcmp(text, "true") == 0 : fallback;
    if (text && !*ret_value && strcmp(text, "false") != 0)
        return error_set(err, ERR_INVALID, "'%s' must be true or false", name);
    return 0;
}

static int log_query(struct http_exchange *exchange, struct control_log_query *ret_query,
                     struct error *err)
{
    struct control_log_query query = {
        .app = http_exchange_query(exchange, "app"),
        .service = http_exchange_query(exchange, "service"),
        .instance = http_exchange_query(exchange, "instance"),
        .regex = http_exchange_query(exchange, "regex"),
    };
    uint64_t limit = 0;
    int r = query_number(exchange, "deploy", 0, &query.deploy, err);
    if (r == 0)
        r = query_number(exchange, "limit", LINES_DEFAULT, &limit, err);
    if (r == 0)
        r = query_time(exchange, "since", &query.since_us, err);
    if (r == 0)
        r = query_time(exchange, "until", &query.until_us, err);
    if (r == 0)
        r = query_boolean(exchange, "follow", false, &query.is_followed, err);
    if (r == 0)
        r = query_boolean(exchange, "access", false, &query.with_access, err);
    if (r == 0)
        r = query_boolean(exchange, "output", true, &query.with_output, err);
    if (r < 0)
        return r;
    query.limit = (unsigned)MIN(limit, (uint64_t)LINES_MAX);
    *ret_query = query;
    return 0;
}

void admin_logs(struct admin_request *request)
{
    struct error err = {0};
    struct control_log_query query;
    CLEANUP(fd_closep) int fd = -1;
    int r = log_query(request->exchange, &query, &err);
    if (r == 0)
        r = control_logs(request->control, &query, &fd, &err);
    if (r == 0 && fd_set_nonblocking(fd, true) < 0)
        r = error_set(&err, ERR_SYSTEM, "unable to read the log pipe");
    if (r < 0) {
        http_exchange_answer_error(request->exchange, &err);
        return;
    }
    struct log_stream *logs =
        arena_new_of(http_exchange_arena(request->exchange), struct log_stream);
    logs->exchange = request->exchange;
    logs->loop = request->loop;
    logs->stream = (struct http_stream){on_logs_writable, on_logs_gone};
    logs->io.on_event = on_log_data;
    logs->io.fd = TAKE_FD(fd);
    r = loop_io_start(request->loop, &logs->io, LOOP_READ, &err);
    if (r < 0) {
        fd_close(logs->io.fd);
        http_exchange_answer_error(request->exchange, &err);
        return;
    }
    http_exchange_begin_stream(request->exchange, 200, "application/x-ndjson", &logs->stream);
}
