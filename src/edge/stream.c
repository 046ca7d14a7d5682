/* stream.c - a stream of an HTTP/2 connection as a transport; see stream_private.h. */
#include "edge/stream_private.h"
#include <stdlib.h>

#define FREE_PIECES_MAX  64u
#define FREE_STREAMS_MAX 256u
#define GROW_WITHIN_US   (1000u * EDGE_MS) /* a window that lasts longer is wide enough */

/* ---- birth and death */

static void *pool_take(void **free_list, unsigned *count, size_t size)
{
    void *memory = *free_list;

    if (memory) {
        memcpy(free_list, memory, sizeof(void *));
        (*count)--;
        return memory;
    }
    memory = malloc(size);
    if (!memory)
        abort();
    return memory;
}

static void pool_give(void **free_list, unsigned *count, unsigned max, void *memory)
{
    if (*count >= max) {
        free(memory);
        return;
    }
    memcpy(memory, free_list, sizeof(void *));
    *free_list = memory;
    (*count)++;
}

struct stream *stream_new(struct http2_connection *connection)
{
    struct http2_pool *pool = &connection->edge->http2;
    struct stream *stream =
        pool_take(&pool->free_streams, &pool->free_stream_count, sizeof(*stream));

    memset(stream, 0, sizeof(*stream));
    stream->connection = connection;
    stream->window = HTTP2_WINDOW_FIRST;
    list_init(&stream->ready_node);
    list_push_back(&connection->streams, &stream->node);
    connection->stream_count++;
    return stream;
}

void stream_attach(struct stream *stream, struct transport *transport)
{
    stream->transport = transport;
    transport->kind = TRANSPORT_STREAM;
    transport->stream = stream;
    transport->io.fd = -1;
    transport->can_write = true;
    transport->can_read = stream->buffered > 0 || stream->handle.has_remote_ended;
}

static void pieces_free(struct stream *stream)
{
    struct http2_connection *connection = stream->connection;
    struct http2_pool *pool = &connection->edge->http2;

    while (stream->first) {
        struct piece *piece = stream->first;

        stream->first = piece->next;
        pool_give(&pool->free_pieces, &pool->free_piece_count, FREE_PIECES_MAX, piece);
    }
    stream->last = NULL;
    pool->buffered -= stream->buffered;
    stream->buffered = 0;
    if (stream->owed && connection->session)
        http2_session_consume_connection(connection->session, stream->owed);
    stream->owed = 0;
}

void stream_free(struct stream *stream)
{
    struct http2_connection *connection = stream->connection;
    struct http2_pool *pool = &connection->edge->http2;

    http2_stream_leave(&stream->handle, HTTP2_CANCEL);
    pieces_free(stream);
    if (stream->head_block)
        block_give(&connection->edge->blocks, stream->head_block);
    free(stream->trailers);
    free(stream->sent_trailers);
    if (stream->is_finishing)
        connection->finishing_count--;
    list_remove(&stream->ready_node);
    list_remove(&stream->node);
    connection->stream_count--;
    http2_connection_work_later(connection);
    pool_give(&pool->free_streams, &pool->free_stream_count, FREE_STREAMS_MAX, stream);
    if (connection->is_closed && connection->stream_count == 0 && connection->on_empty)
        connection->on_empty(connection);
}

static void list_free(void **free_list, unsigned *count)
{
    while (*free_list) {
        void *memory = *free_list;

        memcpy(free_list, memory, sizeof(void *));
        free(memory);
    }
    *count = 0;
}

void stream_pool_trim(struct http2_pool *pool)
{
    list_free(&pool->free_pieces, &pool->free_piece_count);
    list_free(&pool->free_streams, &pool->free_stream_count);
}

/* All that the owner had to say is said or on its way. */
static bool stream_is_complete(const struct stream *stream)
{
    return stream->handle.is_submitted && stream->handle.ends && stream->handle.sendable == 0 &&
           (!stream->upstream || stream->upstream->is_answer_ended);
}

void stream_discard(struct stream *stream, size_t len)
{
    stream->discarded += len;
    if (stream->discarded <= HTTP2_DISCARD_MAX)
        http2_stream_consume(&stream->handle, len);
}

void stream_close(struct stream *stream)
{
    bool is_client_side = stream->connection->is_client_side;

    if (!stream->handle.session || !stream_is_complete(stream)) {
        http2_stream_leave(&stream->handle, is_client_side ? HTTP2_INTERNAL_ERROR : HTTP2_CANCEL);
        stream_free(stream);
        return;
    }
    stream->transport = NULL;
    stream->client = NULL;
    stream->upstream = NULL;
    stream->output = NULL;
    stream->events = 0;
    list_remove(&stream->ready_node);
    stream_discard(stream, stream->buffered - stream->uncounted);
    pieces_free(stream);
    stream->is_finishing = true;
    stream->deadline_us = loop_now_us(stream->connection->edge->loop) + HTTP2_FINISH_US;
    stream->connection->finishing_count++;
    http2_connection_work_later(stream->connection);
}

void stream_note(struct stream *stream, unsigned events)
{
    stream->events |= events;
    if (list_is_empty(&stream->ready_node))
        list_push_back(&stream->connection->ready, &stream->ready_node);
    http2_connection_work_later(stream->connection);
}

/* ---- received bytes */

void stream_append(struct stream *stream, struct slice data, bool is_counted)
{
    struct http2_connection *connection = stream->connection;
    struct http2_pool *pool = &connection->edge->http2;
    size_t len = data.len;

    while (data.len) {
        struct piece *piece = stream->last;
        size_t take;

        if (!piece || piece->to == sizeof(piece->bytes)) {
            piece = pool_take(&pool->free_pieces, &pool->free_piece_count, sizeof(*piece));
            piece->next = NULL;
            piece->from = piece->to = 0;
            if (stream->last)
                stream->last->next = piece;
            else
                stream->first = piece;
            stream->last = piece;
        }
        take = MIN(data.len, sizeof(piece->bytes) - piece->to);
        memcpy(piece->bytes + piece->to, data.ptr, take);
        piece->to += (uint32_t)take;
        data = slice_sub(data, take, data.len);
    }
    stream->buffered += len;
    pool->buffered += len;
    if (is_counted) {
        stream->received += len;
        if (LIKELY(pool->buffered < HTTP2_BUFFERED_MAX))
            http2_session_consume_connection(connection->session, len);
        else
            stream->owed += len;
    } else {
        stream->uncounted += len;
    }
}

/* A reader that has taken everything while a whole window came within a second waits for the
 * sender, who waits for the window. */
static void stream_grow(struct stream *stream)
{
    const struct http2_pool *pool = &stream->connection->edge->http2;
    uint64_t now_us = loop_now_us(stream->connection->edge->loop);

    if (stream->received - stream->window_mark < stream->window)
        return;
    if (now_us - stream->window_us < GROW_WITHIN_US && stream->window < HTTP2_STREAM_WINDOW_MAX &&
        pool->buffered < HTTP2_BUFFERED_MAX / 2) {
        stream->window = MIN(stream->window * 2, HTTP2_STREAM_WINDOW_MAX);
        http2_stream_window(&stream->handle, stream->window);
    }
    stream->window_mark = stream->received;
    stream->window_us = now_us;
}

/* `len` bytes left the pieces: the peer may send as many more. */
static void stream_taken(struct stream *stream, size_t len)
{
    struct http2_connection *connection = stream->connection;
    size_t owed;

    connection->edge->http2.buffered -= len;
    stream->buffered -= len;
    if (stream->uncounted) { /* a header block, in front of everything */
        size_t head = MIN(len, stream->uncounted);

        stream->uncounted -= head;
        len -= head;
    }
    owed = MIN(len, stream->owed);
    stream->owed -= owed;
    if (len == 0 || !connection->session)
        return;
    if (UNLIKELY(owed))
        http2_session_consume_connection(connection->session, owed);
    http2_stream_consume(&stream->handle, len);
    if (stream->buffered == 0 && !stream->handle.has_remote_ended)
        stream_grow(stream);
    http2_connection_work_later(connection);
}

ssize_t stream_read(struct transport *transport, char *bytes, size_t len)
{
    struct stream *stream = transport->stream;
    struct http2_pool *pool = &stream->connection->edge->http2;
    size_t got = 0;

    while (got < len && stream->first) {
        struct piece *piece = stream->first;
        size_t take = MIN(len - got, (size_t)(piece->to - piece->from));

        memcpy(bytes + got, piece->bytes + piece->from, take);
        piece->from += (uint32_t)take;
        got += take;
        if (piece->from < piece->to)
            break;
        stream->first = piece->next;
        if (!stream->first)
            stream->last = NULL;
        pool_give(&pool->free_pieces, &pool->free_piece_count, FREE_PIECES_MAX, piece);
    }
    if (got) {
        stream_taken(stream, got);
        if (!stream->first && !stream->handle.has_remote_ended && !stream->is_reset)
            transport->can_read = false;
        return (ssize_t)got;
    }
    if (stream->is_reset) {
        errno = ECONNRESET;
        transport->is_broken = true;
        return TRANSPORT_BROKEN;
    }
    if (stream->handle.has_remote_ended)
        return TRANSPORT_END;
    transport->can_read = false;
    return TRANSPORT_AGAIN;
}

bool stream_is_at_end(const struct stream *stream)
{
    return stream->handle.has_remote_ended && !stream->first && !stream->is_reset;
}

/* ---- bytes to be sent */

ssize_t stream_write(struct transport *transport, struct output *output)
{
    struct stream *stream = transport->stream;
    size_t moved;

    if (!stream->handle.session) {
        errno = ECONNRESET;
        transport->is_broken = true;
        return TRANSPORT_BROKEN;
    }
    stream->output = output;
    stream->handle.sendable = 0;
    for (unsigned i = output->first; i < output->count; i++)
        stream->handle.sendable += output->parts[i].iov_len;
    if (stream->handle.sendable) {
        http2_stream_ready(&stream->handle);
        http2_connection_pack(stream->connection);
    }
    moved = stream->moved;
    stream->moved = 0;
    transport->can_write = output_is_empty(output);
    return moved || transport->can_write ? (ssize_t)moved : TRANSPORT_AGAIN;
}

void stream_last(struct stream *stream)
{
    if (stream->handle.ends)
        return;
    stream->handle.ends = true;
    http2_stream_ready(&stream->handle);
    http2_connection_work_later(stream->connection);
}

/* ---- trailers */

struct slice stream_trailers(struct stream *stream)
{
    size_t len;

    if (!stream->has_trailers)
        return SLICE("");
    len = http2_trailers_filter((struct slice){stream->trailers, stream->trailer_text.len},
                                stream->trailers);
    return (struct slice){stream->trailers, len};
}

void stream_send_trailers(struct stream *stream, struct slice lines)
{
    free(stream->sent_trailers);
    stream->sent_trailers = malloc(lines.len + 1);
    if (!stream->sent_trailers)
        abort();
    stream->handle.trailers =
        (struct slice){stream->sent_trailers, http2_trailers_filter(lines, stream->sent_trailers)};
}
