/* http2.c - what HTTP/2 connections of clients and to upstreams share: bytes in, frames out, and
 * the owners of streams told of what happened, in that order.
 *
 * Nothing of an owner runs within nghttp2: its events only note what there is, and on_ready tells
 * the owners once the received bytes are used up. Frames of all streams gather in one block, which
 * is written at the end of the turn; while it is full and the peer takes nothing, nothing more is
 * read either, so that what the peer can make us owe it is bounded by that block and nghttp2's cap
 * on unsent answers.
 */
#include "edge/stream_private.h"
#include <stdlib.h>

#define READ_ROUNDS   8u
#define WORK_ROUNDS   8u
#define TRAILERS_MAX  16384u
#define BLOCKS_PLENTY 8192u
#define BLOCKS_MAX    32768u
#define STREAMS_FEW   8u
#define GROW_US       (1000u * EDGE_MS)

/* ---- events of the session */

static struct stream *stream_of(struct http2_stream *handle)
{
    return container_of(handle, struct stream, handle);
}

/* Blocks are what requests in flight cost. Where very many are in use, connections with few streams
 * still get more, so that those who hold a hundred each, and let them stall, shut out themselves.
 */
static bool has_memory_for(const struct http2_connection *connection)
{
    unsigned used = connection->edge->blocks.used_count;

    return LIKELY(used < BLOCKS_PLENTY) ||
           (used < BLOCKS_MAX && connection->stream_count < STREAMS_FEW);
}

static struct http2_stream *on_open(struct http2_session *session)
{
    struct http2_connection *connection = http2_session_owner(session);
    uint32_t limit = MAX(HTTP2_STREAMS_MAX, connection->edge->settings.http2_streams);

    /* Streams that are finishing have no work behind them any more, but memory. */
    if (connection->is_drained || connection->stream_count >= 2 * limit ||
        !has_memory_for(connection))
        return NULL;
    return &stream_new(connection)->handle;
}

static struct http2_text *on_block(struct http2_stream *handle, enum http2_block block)
{
    struct stream *stream = stream_of(handle);
    struct edge *edge = stream->connection->edge;

    if (stream->is_finishing)
        return NULL;
    if (block == HTTP2_TRAILERS) {
        if (stream->trailers)
            return NULL;
        stream->trailers = malloc(TRAILERS_MAX);
        if (!stream->trailers)
            abort();
        stream->trailer_text = (struct http2_text){stream->trailers, 0, TRAILERS_MAX};
        return &stream->trailer_text;
    }
    if (!stream->head_block)
        stream->head_block = block_take(&edge->blocks);
    stream->text = (struct http2_text){
        stream->head_block->bytes, 0, MIN(BLOCK_BYTES, edge->limits.head_bytes + HTTP2_TEXT_EXTRA)};
    return &stream->text;
}

/* The proof that HTTP/1.1 wants of an upstream that agrees to a WebSocket; over HTTP/2 there is
 * none. Room: HTTP2_TEXT_EXTRA. */
static void put_websocket_accept(struct stream *stream)
{
    struct http2_text *text = &stream->text;
    char accept[HTTP2_WEBSOCKET_ACCEPT_SIZE];

    if (!stream->handle.is_tunnel || !stream->websocket_key[0] || text->size - text->len < 128)
        return;
    http2_websocket_accept(stream->websocket_key, accept);
    text->len -= 2; /* the empty line comes behind it */
    text->len += (size_t)snprintf(text->bytes + text->len, text->size - text->len,
                                  "sec-websocket-accept: %s\r\n\r\n", accept);
}

static void on_head(struct http2_stream *handle, unsigned status)
{
    struct stream *stream = stream_of(handle);

    stream->head_status = status;
    stream->is_bodyless = handle->has_remote_ended;
    if (stream->connection->is_client_side) {
        stream->is_head_ready = true;
    } else {
        if (!status) {
            put_websocket_accept(stream);
            stream_append(stream, (struct slice){stream->text.bytes, stream->text.len}, false);
        }
        block_give(&stream->connection->edge->blocks, TAKE_PTR(stream->head_block));
        if (status) {
            log_warning("an instance sent a response header over the limit");
            stream->is_reset = true; /* as if it had broken off in its header */
            http2_stream_leave(handle, HTTP2_CANCEL);
        }
    }
    stream_note(stream, LOOP_READ);
}

static void on_trailers(struct http2_stream *handle)
{
    stream_of(handle)->has_trailers = true;
}

static void on_data(struct http2_stream *handle, struct slice data)
{
    struct stream *stream = stream_of(handle);

    if (stream->is_finishing) {
        http2_session_consume_connection(handle->session, data.len);
        stream_discard(stream, data.len);
        return;
    }
    stream_append(stream, data, true);
    stream_note(stream, LOOP_READ);
}

static void on_end(struct http2_stream *handle)
{
    struct stream *stream = stream_of(handle);

    if (!stream->is_finishing)
        stream_note(stream, LOOP_READ);
}

static void on_closed(struct http2_stream *handle)
{
    struct stream *stream = stream_of(handle);
    bool is_client_side = stream->connection->is_client_side;

    stream->is_reset = (is_client_side && !handle->has_local_ended) ||
                       ((!is_client_side || handle->is_tunnel) && !handle->has_remote_ended);
    if (stream->is_finishing || (!stream->transport && !stream->is_head_ready)) { /* malformed */
        stream_free(stream);
        return;
    }
    stream_note(stream, LOOP_READ | LOOP_WRITE | (stream->is_reset ? LOOP_CLOSE : 0));
}

static void copy(struct http2_stream *handle, char *to, size_t len)
{
    struct stream *stream = stream_of(handle);
    struct output *output = stream->output;

    handle->sendable -= len;
    stream->moved += len;
    while (len) {
        struct iovec *part = &output->parts[output->first];
        size_t take = MIN(len, part->iov_len);

        memcpy(to, part->iov_base, take);
        output_advance(output, take);
        to += take;
        len -= take;
    }
    if (!stream->transport->can_write)
        stream_note(stream, LOOP_WRITE);
}

static void on_goaway(struct http2_session *session, int32_t last_id)
{
    struct http2_connection *connection = http2_session_owner(session);

    (void)last_id;
    connection->is_peer_leaving = true;
    http2_connection_work_later(connection);
}

static const struct http2_events events = {
    .on_open = on_open,
    .on_block = on_block,
    .on_head = on_head,
    .on_trailers = on_trailers,
    .on_data = on_data,
    .on_end = on_end,
    .on_closed = on_closed,
    .copy = copy,
    .on_goaway = on_goaway,
};

/* ---- out */

void http2_connection_work_later(struct http2_connection *connection)
{
    if (!connection->is_closed && !connection->is_working)
        loop_defer(connection->edge->loop, &connection->work);
}

static void pack(struct http2_connection *connection)
{
    if (!connection->output) {
        connection->output = block_take(&connection->edge->blocks);
        connection->from = connection->to = 0;
        connection->moved_us = loop_now_us(connection->edge->loop);
    }
    if (BLOCK_BYTES - connection->to >= HTTP2_PACK_MIN)
        connection->to +=
            http2_session_pack(connection->session, connection->output->bytes + connection->to,
                               BLOCK_BYTES - connection->to);
}

void http2_connection_pack(struct http2_connection *connection)
{
    if (connection->is_closed)
        return;
    pack(connection);
    http2_connection_work_later(connection);
}

/* False: broken. */
static bool write_out(struct http2_connection *connection)
{
    if (connection->is_held)
        return true;
    for (unsigned round = 0; round < WORK_ROUNDS; round++) {
        if (!connection->output && !http2_session_wants_pack(connection->session))
            return true;
        pack(connection);
        while (connection->from < connection->to && connection->transport->can_write) {
            struct output output = {0};
            ssize_t put;

            output_push(&output, connection->output->bytes + connection->from,
                        connection->to - connection->from);
            put = transport_write(connection->transport, &output);
            if (put == TRANSPORT_BROKEN)
                return false;
            if (put > 0) {
                connection->from += (size_t)put;
                connection->moved_us = loop_now_us(connection->edge->loop);
            }
        }
        if (connection->from < connection->to)
            return true;
        block_give(&connection->edge->blocks, TAKE_PTR(connection->output));
        connection->from = connection->to = 0;
    }
    connection->is_work_left = true;
    return true;
}

void http2_connection_flush(struct http2_connection *connection)
{
    if (!connection->is_closed)
        (void)write_out(connection);
}

bool http2_connection_is_stalled(const struct http2_connection *connection)
{
    const struct edge *edge = connection->edge;

    return connection->from < connection->to &&
           loop_now_us(edge->loop) - connection->moved_us >
               (uint64_t)edge->settings.send_timeout_ms * EDGE_MS;
}

/* ---- owners */

static void tell_owners(struct http2_connection *connection)
{
    struct list now;

    list_init(&now);
    list_move_all(&connection->ready, &now);
    while (!list_is_empty(&now)) { /* whatever an owner does may take others off the list */
        struct stream *stream = container_of(now.next, struct stream, ready_node);
        unsigned events_now = stream->events;

        list_remove(&stream->ready_node);
        stream->events = 0;
        connection->on_ready(stream, events_now);
    }
}

/* Streams that are done but for their end. */
static void sweep_finishing(struct http2_connection *connection)
{
    uint64_t now_us = loop_now_us(connection->edge->loop);

    list_each_safe (node, &connection->streams) {
        struct stream *stream = container_of(node, struct stream, node);

        if (!stream->is_finishing)
            continue;
        if (connection->is_client_side && stream->handle.has_local_ended && !stream->is_lingering) {
            stream->is_lingering = true;
            stream->deadline_us = now_us + HTTP2_LINGER_US;
        }
        if (stream->is_lingering && now_us >= stream->deadline_us)
            http2_stream_leave(&stream->handle, HTTP2_NO_ERROR);
        if (!stream->handle.session || now_us >= stream->deadline_us)
            stream_free(stream);
    }
}

void http2_connection_expire(struct http2_connection *connection)
{
    if (connection->finishing_count)
        sweep_finishing(connection);
}

/* Owners may write while they are told, and what is written may leave them room to write more. */
static void work(struct http2_connection *connection)
{
    for (unsigned round = 0; round < WORK_ROUNDS; round++) {
        tell_owners(connection);
        if (connection->is_closed)
            return;
        if (!write_out(connection)) {
            connection->on_failed(connection, "connection was reset");
            return;
        }
        if (connection->finishing_count)
            sweep_finishing(connection);
        if (list_is_empty(&connection->ready) &&
            (connection->output || !http2_session_wants_pack(connection->session)))
            return;
    }
    connection->is_work_left = true;
}

static void on_work(struct loop_deferred *deferred)
{
    struct http2_connection *connection = container_of(deferred, struct http2_connection, work);

    connection->is_work_left = false;
    connection->is_working = true;
    work(connection);
    connection->is_working = false;
    if (connection->is_closed)
        return;
    if (connection->is_work_left)
        http2_connection_work_later(connection);
    if (connection->is_read_left)
        http2_connection_move(connection);
    if (!connection->is_closed)
        connection->on_rest(connection);
}

/* ---- in */

/* As many bytes as the window has came within a second: the path carries more. */
static void connection_grow(struct http2_connection *connection, size_t len)
{
    uint64_t now_us = loop_now_us(connection->edge->loop);

    connection->received += len;
    if (connection->received < connection->window)
        return;
    if (now_us - connection->window_us < GROW_US &&
        connection->window < HTTP2_CONNECTION_WINDOW_MAX &&
        connection->edge->http2.buffered < HTTP2_BUFFERED_MAX / 2) {
        connection->window *= 2;
        http2_session_window(connection->session, connection->window);
    }
    connection->received = 0;
    connection->window_us = now_us;
}

bool http2_connection_feed(struct http2_connection *connection, const char *bytes, size_t len)
{
    connection->read_us = loop_now_us(connection->edge->loop);
    connection_grow(connection, len);
    if (!http2_session_receive(connection->session, bytes, len, connection->read_us)) {
        (void)write_out(connection);
        connection->on_failed(connection, http2_session_failure(connection->session));
        return false;
    }
    tell_owners(connection);
    if (connection->is_closed)
        return false;
    http2_connection_work_later(connection);
    return true;
}

void http2_connection_move(struct http2_connection *connection)
{
    struct transport *transport = connection->transport;
    struct edge *edge = connection->edge;

    connection->is_read_left = false;
    for (unsigned round = 0; transport->can_read; round++) {
        ssize_t got;

        if (connection->output && BLOCK_BYTES - connection->to < HTTP2_PACK_MIN &&
            !transport->can_write)
            break; /* goes on once the peer takes what it asked for */
        if (round == READ_ROUNDS) {
            connection->is_read_left = true;
            break;
        }
        got = transport_read(transport, edge->scratch, sizeof(edge->scratch));
        if (got == TRANSPORT_AGAIN)
            break;
        if (got <= 0) {
            connection->on_failed(connection, got == TRANSPORT_END ? "connection was closed"
                                                                   : "connection was reset");
            return;
        }
        if (!http2_connection_feed(connection, edge->scratch, (size_t)got))
            return;
    }
    http2_connection_work_later(connection);
}

/* ---- birth and death */

bool http2_connection_init(struct http2_connection *connection, struct edge *edge,
                           struct transport *transport, bool is_client_side)
{
    struct http2_limits limits = {
        .streams = is_client_side && edge->settings.http2_streams ? edge->settings.http2_streams
                                                                  : HTTP2_STREAMS_MAX,
        .head_bytes =
            (uint32_t)(is_client_side ? edge->limits.head_bytes : edge->upstream_limits.head_bytes),
        .field_count =
            is_client_side ? edge->limits.field_count : edge->upstream_limits.field_count,
        .connection_window = HTTP2_CONNECTION_WINDOW,
        .stream_window = HTTP2_WINDOW_FIRST,
    };
    struct error err;

    *connection = (struct http2_connection){.edge = edge,
                                            .transport = transport,
                                            .is_client_side = is_client_side,
                                            .window = limits.connection_window,
                                            .moved_us = loop_now_us(edge->loop),
                                            .read_us = loop_now_us(edge->loop),
                                            .work.on_deferred = on_work};
    list_init(&connection->streams);
    list_init(&connection->ready);
    if (http2_session_new(is_client_side, &limits, &events, &connection->session, &err) != 0) {
        log_failure(&err, "an HTTP/2 connection is not served");
        return false;
    }
    http2_session_set_owner(connection->session, connection);
    http2_connection_work_later(connection);
    return true;
}

void http2_connection_done(struct http2_connection *connection)
{
    if (connection->is_closed)
        return;
    list_each_safe (node, &connection->streams) {
        struct stream *stream = container_of(node, struct stream, node);

        if (!stream->transport) { /* nobody waits for it */
            stream_free(stream);
            continue;
        }
        stream->is_reset = stream->is_reset || stream->handle.session != NULL;
        http2_stream_leave(&stream->handle, HTTP2_CANCEL);
        stream_note(stream, LOOP_READ | LOOP_WRITE | LOOP_CLOSE);
    }
    connection->is_closed = true;
    loop_defer_cancel(&connection->work);
    if (connection->output)
        block_give(&connection->edge->blocks, TAKE_PTR(connection->output));
    connection->from = connection->to = 0;
    http2_session_free(TAKE_PTR(connection->session));
    connection->stream_count++; /* so that the last stream is not the end of it meanwhile */
    tell_owners(connection);
    if (--connection->stream_count == 0 && connection->on_empty)
        connection->on_empty(connection);
}
