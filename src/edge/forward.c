/* forward.c - requests and answers on their way, streaming, with backpressure.
 *
 * Each direction has one block: it is read into, its contents are queued, and nothing more is read
 * before the sink has taken them. The kernel's socket buffers are the pipeline; ours only turn
 * bytes around.
 */
#include "edge/stream_private.h"

#define ROUNDS_MAX        16u   /* blocks in one go; then other connections get their turn */
#define READ_ROOM_MIN     4096u /* less room than this at the end of a block is not worth a read */
#define STREAM_ROOM_MIN   16384u
#define STREAM_ROOM_MAX   (4u * (16384u - 9u)) /* a frame and its head (RFC 9113 §4.1) a record */
#define DISCARD_BYTES_MAX (256u * 1024u * 1024u)

static const char crlf_last[] = "\r\n0\r\n\r\n";

/* ---- client → upstream */

/* The body is wrong or too large: the upstream must not take what it has for the whole. */
static void refuse_body(struct client *client, unsigned status, const char *reason)
{
    struct request *request = &client->request;

    if (request->is_answer_begun) {
        request_abort(client, status, reason);
        return;
    }
    upstream_close(request->upstream);
    answer_error(client, status, reason);
}

/* A stream may go on beyond the length that it announced, or end badly: then its upstream must not
 * have had a whole request. So the last byte waits for the stream's end. */
static bool is_last_byte_held(const struct client *client)
{
    return client->protocol == CLIENT_HTTP2 && client->request.body == HTTP1_BODY_LENGTH &&
           !stream_is_at_end(client->transport.stream);
}

static void queue_length(struct client *client, struct upstream *upstream)
{
    struct request *request = &client->request;
    size_t take = (size_t)MIN(request->body_left, (uint64_t)(client->to - client->from));

    if (UNLIKELY(client->protocol == CLIENT_HTTP2) && take == request->body_left &&
        is_last_byte_held(client))
        take--;
    if (take == 0)
        return;
    output_push(&upstream->output, client->block->bytes + client->from, take);
    client->from += take;
    request->body_left -= take;
    request->body_seen += take;
    if (request->body_left == 0)
        request->is_body_read = request->is_body_ended = true;
}

/* The end of the body is on its way, in the form that the upstream knows it by. */
static void queue_end(struct client *client, struct upstream *upstream, bool has_data)
{
    struct request *request = &client->request;

    request->is_body_read = request->is_body_ended = true;
    if (upstream->transport.kind == TRANSPORT_STREAM)
        stream_send_trailers(upstream->transport.stream,
                             client->protocol == CLIENT_HTTP2
                                 ? stream_trailers(client->transport.stream)
                                 : buf_slice(&request->trailers));
    else
        output_push(&upstream->output, has_data ? crlf_last : HTTP1_CHUNK_LAST,
                    has_data ? sizeof(crlf_last) - 1 : sizeof(HTTP1_CHUNK_LAST) - 1);
}

static void queue_chunk(struct upstream *upstream, const char *bytes, size_t len)
{
    if (upstream->transport.kind != TRANSPORT_STREAM)
        output_push(&upstream->output, upstream->chunk_head,
                    http1_chunk_head(upstream->chunk_head, len));
    output_push(&upstream->output, bytes, len);
}

/* False: the request is over. */
static bool queue_chunked(struct client *client, struct upstream *upstream)
{
    struct request *request = &client->request;
    struct http1_failure failure;
    struct slice data;
    size_t consumed;
    enum http1_result result =
        http1_chunked_decode(&request->chunked, client->block->bytes + client->from,
                             client->to - client->from, &consumed, &data, &failure);

    if (result == HTTP1_BAD) {
        refuse_body(client, 400, failure.reason);
        return false;
    }
    client->from += consumed;
    request->body_seen += data.len;
    if (request->route->body_limit_bytes && request->body_seen > request->route->body_limit_bytes) {
        refuse_body(client, 413, "request body is over the limit of this route");
        return false;
    }
    if (data.len)
        queue_chunk(upstream, data.ptr, data.len);
    if (result == HTTP1_DONE)
        queue_end(client, upstream, data.len > 0);
    else if (data.len && upstream->transport.kind != TRANSPORT_STREAM)
        output_push(&upstream->output, crlf_last, 2);
    return true;
}

/* A body whose end is that of its stream. False: the request is over. */
static bool queue_until_end(struct client *client, struct upstream *upstream)
{
    struct request *request = &client->request;
    size_t len = client->to - client->from;

    request->body_seen += len;
    if (request->route->body_limit_bytes && request->body_seen > request->route->body_limit_bytes) {
        refuse_body(client, 413, "request body is over the limit of this route");
        return false;
    }
    queue_chunk(upstream, client->block->bytes + client->from, len);
    client->from = client->to;
    if (stream_is_at_end(client->transport.stream))
        queue_end(client, upstream, true);
    else if (upstream->transport.kind != TRANSPORT_STREAM)
        output_push(&upstream->output, crlf_last, 2);
    return true;
}

static bool queue_body(struct client *client, struct upstream *upstream)
{
    if (client->request.body == HTTP1_BODY_CLOSE)
        return queue_until_end(client, upstream);
    if (client->request.body == HTTP1_BODY_LENGTH) {
        queue_length(client, upstream);
        return true;
    }
    return queue_chunked(client, upstream);
}

/* More of the body into the client's block. False: nothing there now, or the request is over. */
static bool read_body(struct client *client)
{
    struct request *request = &client->request;
    size_t room = BLOCK_BYTES - client->to, wanted;
    ssize_t got;

    if (!client->transport.can_read)
        return false;
    if (!request->is_replayable || (room < READ_ROOM_MIN && (request->body != HTTP1_BODY_LENGTH ||
                                                             room < request->body_left))) {
        client->from = client->to = request->body_at;
        request->is_replayable = false;
        room = BLOCK_BYTES - client->to;
    }
    wanted =
        request->body == HTTP1_BODY_LENGTH ? (size_t)MIN((uint64_t)room, request->body_left) : room;
    got = transport_read(&client->transport, client->block->bytes + client->to, wanted);
    if (got == TRANSPORT_AGAIN)
        return false;
    if (got == TRANSPORT_END && request->body == HTTP1_BODY_CLOSE) {
        queue_end(client, request->upstream, false);
        return true;
    }
    if (got <= 0) {
        request_abort(client, 499, "client closed");
        return false;
    }
    client->to += (size_t)got;
    request_progress(client, (size_t)got, false);
    return true;
}

/* The upstream takes no more. Perhaps it has answered already and closed: what it said counts. */
static void write_failed(struct client *client, struct upstream *upstream)
{
    struct request *request = &client->request;

    if (upstream->state == UPSTREAM_CONNECTING) {
        int cause = errno;

        upstream_failed(upstream, cause == ETIMEDOUT ? 504 : 502,
                        cause == ECONNREFUSED ? "upstream refused"
                        : cause == ETIMEDOUT  ? "upstream connect timeout"
                                              : "upstream unreachable");
        return;
    }
    upstream->is_write_failed = true;
    output_clear(&upstream->output);
    if (!request->is_body_ended)
        request->is_body_discarded = true;
    upstream->transport.can_read = true;
    forward_response(client);
}

/* Body bytes go behind the header block, into one write, or into an empty queue. Before the
 * connection stands, a chunked body stays as it came: should the connection be refused, it goes
 * elsewhere from its first byte. */
static bool may_queue_body(const struct client *client, const struct upstream *upstream)
{
    const struct request *request = &client->request;
    const struct output *output = &upstream->output;

    if (request->is_body_ended || request->is_body_discarded || client->from == client->to)
        return false;
    if (upstream->transport.kind == TRANSPORT_STREAM)
        return output_is_empty(output);
    if (output_is_empty(output))
        return true;
    return output->count - output->first == 1 &&
           output->parts[output->first].iov_base == request->head_block->bytes &&
           (request->body == HTTP1_BODY_LENGTH || upstream->state != UPSTREAM_CONNECTING);
}

void forward_request(struct client *client)
{
    struct request *request = &client->request;
    struct upstream *upstream = request->upstream;

    if (upstream->transport.kind == TRANSPORT_STREAM && upstream->state == UPSTREAM_CONNECTING)
        return; /* its connection's turn */
    for (unsigned round = 0;; round++) {
        bool was_connected = upstream->state != UPSTREAM_CONNECTING;

        if (UNLIKELY(upstream->opening != NULL) && !upstream_open(upstream))
            return;
        if (may_queue_body(client, upstream) && !queue_body(client, upstream))
            return;
        if (request->is_body_ended && !request->is_upgrade) /* which may become a tunnel */
            transport_last(&upstream->transport);
        if (!output_is_empty(&upstream->output)) {
            ssize_t put;

            if (!upstream->transport.can_write)
                return;
            put = transport_write(&upstream->transport, &upstream->output);
            if (put == TRANSPORT_BROKEN) {
                write_failed(client, upstream);
                return;
            }
            if (put == TRANSPORT_AGAIN)
                return;
            if (!was_connected)
                upstream_set_state(upstream, UPSTREAM_WAITING);
            if (UNLIKELY(!was_connected || !output_is_empty(&upstream->output) || round))
                request_touch(client);
            if (!output_is_empty(&upstream->output))
                return;
        }
        if (request->is_body_ended || request->is_body_discarded)
            return;
        if (round == ROUNDS_MAX) {
            client_resume_later(client);
            return;
        }
        if (client->from == client->to ? !read_body(client)
                                       : request->body_left == 1 && is_last_byte_held(client))
            return;
    }
}

void forward_discard(struct client *client)
{
    struct request *request = &client->request;
    struct edge *edge = client->edge;
    unsigned rounds = 0;

    if (client->protocol == CLIENT_HTTP2 && client->from < client->to) /* it was held back */
        (void)request_skip_body(client);
    while (!request->is_body_read && client->transport.can_read &&
           request->body_seen < DISCARD_BYTES_MAX) {
        size_t wanted = request->body == HTTP1_BODY_LENGTH
                            ? (size_t)MIN(request->body_left, (uint64_t)sizeof(edge->scratch))
                            : sizeof(edge->scratch);
        ssize_t got = transport_read(&client->transport, edge->scratch, wanted);

        if (got == TRANSPORT_AGAIN)
            return;
        if (got == TRANSPORT_END && request->body == HTTP1_BODY_CLOSE) {
            request->is_body_read = true;
            return;
        }
        if (got <= 0) {
            request_abort(client, 499, "client closed");
            return;
        }
        request->body_seen += (uint64_t)got;
        if (request->body == HTTP1_BODY_LENGTH) {
            request->body_left -= (uint64_t)got;
            request->is_body_read = request->body_left == 0;
        }
        if (++rounds == ROUNDS_MAX) {
            client_resume_later(client);
            return;
        }
    }
}

/* ---- upstream → client */

/* "timeout=5" in Keep-Alive: be a second earlier than the upstream. */
static void read_keepalive_hint(struct upstream *upstream, const struct http1_head *head)
{
    const struct http1_field *field = http1_field_find(head, HTTP1_FIELD_KEEP_ALIVE);
    struct slice rest;

    if (!field)
        return;
    for (rest = field->value; rest.len;) {
        struct slice option = slice_trim(slice_cut(&rest, ','));
        uint64_t seconds;

        if (slice_starts_with(option, SLICE("timeout=")) &&
            slice_to_u64(slice_sub(option, 8, option.len), &seconds) == 0) {
            uint64_t hint_us = seconds > 1 ? MIN(seconds - 1, (uint64_t)86400) * 1000000 : 0;

            upstream->keepalive_us = MIN(upstream->keepalive_us, hint_us);
        }
    }
}

static void begin_answer(struct client *client, struct upstream *upstream,
                         const struct http1_head *head)
{
    struct request *request = &client->request;
    bool is_endless = head->body == HTTP1_BODY_CHUNKED || head->body == HTTP1_BODY_CLOSE;

    request->status = head->status;
    request->answered_us = loop_now_us(client->edge->loop);
    request->is_answer_begun = true;
    request->is_answer_chunked =
        is_endless && request->version_minor == 1 && client->protocol == CLIENT_HTTP1;
    if (!request->is_body_ended || client->edge->is_quitting ||
        (is_endless && request->version_minor == 0))
        client->is_last = true;
    upstream->body = head->body;
    upstream->body_left = head->content_length;
    upstream->trailers.limit = HTTP1_TRAILERS_MAX;
    upstream->chunked = (struct http1_chunked){.trailers = &upstream->trailers};
    upstream->is_keepalive = head->is_keepalive;
    if (!upstream->is_reused)
        read_keepalive_hint(upstream, head);
    if (upstream->keepalive_us == 0)
        upstream->is_keepalive = false;
    upstream->is_answer_ended =
        head->body == HTTP1_BODY_NONE ||
        (head->body == HTTP1_BODY_LENGTH && head->content_length == 0) ||
        (client->protocol == CLIENT_HTTP2 && upstream->transport.kind == TRANSPORT_STREAM &&
         upstream->from == upstream->to && stream_is_at_end(upstream->transport.stream));
    rewrite_response(client, head);
    upstream_set_state(upstream, UPSTREAM_ANSWERING);
}

/* False: the request is over or became a tunnel. */
static bool take_head(struct client *client, struct upstream *upstream)
{
    struct edge *edge = client->edge;
    struct request *request = &client->request;
    struct http1_head *head = &edge->head;
    struct http1_failure failure;
    enum http1_result result = http1_parse_response(
        upstream->block->bytes + upstream->from, upstream->to - upstream->from, &upstream->progress,
        &edge->upstream_limits, request->method, head, &failure);

    if (result == HTTP1_MORE)
        return true;
    if (result == HTTP1_BAD) {
        log_warning("%s sent an invalid response: %s", request->endpoint->address_text,
                    failure.reason);
        upstream_failed(upstream, 502, "upstream sent an invalid response");
        return false;
    }
    upstream->progress.scanned = 0;
    upstream->from += head->head_bytes;
    if (UNLIKELY(head->status / 100 == 2 && http2_is_tunnel_asked(client))) { /* 2xx opens it */
        upstream_failed(upstream, 502, "upstream did not switch protocols");
        return false;
    }
    if (LIKELY(head->status >= 200)) {
        begin_answer(client, upstream, head);
        return true;
    }
    if (head->status == 101) {
        if (!request->is_upgrade || !head->is_upgrade) {
            upstream_failed(upstream, 502, "upstream switched protocols unasked");
            return false;
        }
        if (client->protocol == CLIENT_HTTP2 && !http2_websocket_is_accepted(client, head)) {
            upstream_failed(upstream, 502,
                            "upstream accepted another WebSocket than was asked for");
            return false;
        }
        if (!output_is_empty(
                &upstream->output)) { /* the head's block goes back with the tunnel's begin */
            upstream_failed(upstream, 502,
                            "upstream switched protocols before it read the request");
            return false;
        }
        request->status = 101;
        request->is_answer_begun = true;
        rewrite_interim(client, head);
        tunnel_begin(client);
        return false;
    }
    if (request->version_minor == 1)
        rewrite_interim(client, head);
    return true;
}

static void queue_data(struct client *client, const char *bytes, size_t len)
{
    struct request *request = &client->request;

    request->bytes_sent += len;
    if (!request->is_answer_chunked) {
        output_push(&client->output, bytes, len);
        return;
    }
    if (len == 0)
        return;
    output_push(&client->output, client->chunk_head, http1_chunk_head(client->chunk_head, len));
    output_push(&client->output, bytes, len);
}

/* What came behind the body goes on only to those who can tell it from the header (RFC 9110
 * §6.5.1). The lines; empty: there are none. */
static struct slice answer_trailers(struct client *client, struct upstream *upstream)
{
    struct slice lines = upstream->transport.kind == TRANSPORT_STREAM
                             ? stream_trailers(upstream->transport.stream)
                             : buf_slice(&upstream->trailers);

    if (lines.len == 0 || client->protocol == CLIENT_HTTP2)
        return lines;
    if (!client->request.takes_trailers || !client->request.is_answer_chunked)
        return SLICE("");
    if (upstream->transport.kind != TRANSPORT_STREAM)
        upstream->trailers.len = http2_trailers_filter(lines, upstream->trailers.ptr);
    return (struct slice){lines.ptr, upstream->transport.kind == TRANSPORT_STREAM
                                         ? lines.len
                                         : upstream->trailers.len};
}

static void queue_last_chunk(struct client *client, struct slice trailers, bool has_data)
{
    static const char crlf_zero[] = "\r\n0\r\n";
    size_t skip = has_data ? 0 : 2;

    if (trailers.len == 0) {
        output_push(&client->output, has_data ? crlf_last : HTTP1_CHUNK_LAST,
                    has_data ? sizeof(crlf_last) - 1 : sizeof(HTTP1_CHUNK_LAST) - 1);
        return;
    }
    output_push(&client->output, crlf_zero + skip, sizeof(crlf_zero) - 1 - skip);
    output_push(&client->output, trailers.ptr, trailers.len);
    output_push(&client->output, crlf_zero, 2);
}

/* Close the last chunk, and the body when it has ended. */
static void queue_chunk_end(struct client *client, bool has_data, bool is_end)
{
    struct slice trailers = is_end ? answer_trailers(client, client->request.upstream) : SLICE("");

    if (client->protocol == CLIENT_HTTP2 && trailers.len)
        stream_send_trailers(client->transport.stream, trailers);
    if (!client->request.is_answer_chunked)
        return;
    if (is_end)
        queue_last_chunk(client, trailers, has_data);
    else if (has_data)
        output_push(&client->output, crlf_last, 2);
}

/* False: the request is over. */
static bool take_body(struct client *client, struct upstream *upstream)
{
    char *bytes = upstream->block->bytes + upstream->from;
    size_t len = upstream->to - upstream->from;
    struct http1_failure failure;
    enum http1_result result;
    struct slice data;
    size_t consumed;

    switch (upstream->body) {
    case HTTP1_BODY_LENGTH:
        len = (size_t)MIN((uint64_t)len, upstream->body_left);
        queue_data(client, bytes, len);
        upstream->from += len;
        upstream->body_left -= len;
        upstream->is_answer_ended = upstream->body_left == 0;
        return true;
    case HTTP1_BODY_CHUNKED:
        result = http1_chunked_decode(&upstream->chunked, bytes, len, &consumed, &data, &failure);
        if (result == HTTP1_BAD) {
            upstream_failed(upstream, 502, "upstream sent an invalid chunk");
            return false;
        }
        upstream->from += consumed;
        queue_data(client, data.ptr, data.len);
        upstream->is_answer_ended = result == HTTP1_DONE;
        queue_chunk_end(client, data.len > 0, upstream->is_answer_ended);
        return true;
    case HTTP1_BODY_CLOSE:
        queue_data(client, bytes, len);
        upstream->from += len;
        queue_chunk_end(client, true, false);
        return true;
    default: /* bytes after an answer without a body */
        return true;
    }
}

/* Whatever is in the block and can be understood goes to the client's queue. False: the request is
 * over or a tunnel. */
static bool take_bytes(struct client *client, struct upstream *upstream)
{
    if (upstream->state == UPSTREAM_WAITING) {
        if (upstream->to - upstream->from <= upstream->progress.scanned)
            return true;
        if (!take_head(client, upstream))
            return false;
    }
    if (upstream->state == UPSTREAM_ANSWERING && !upstream->is_answer_ended &&
        upstream->from < upstream->to)
        return take_body(client, upstream);
    return true;
}

/* The upstream closed. False: the request is over. */
static bool take_end(struct client *client, struct upstream *upstream, bool is_clean)
{
    if (upstream->state == UPSTREAM_ANSWERING && upstream->body == HTTP1_BODY_CLOSE && is_clean) {
        upstream->is_answer_ended = true;
        queue_chunk_end(client, false, true);
        return true;
    }
    upstream_failed(upstream, 502,
                    upstream->state == UPSTREAM_ANSWERING
                        ? "upstream closed in the middle of its answer"
                    : upstream->has_bytes ? "upstream closed in the middle of its header"
                    : is_clean            ? "upstream closed without an answer"
                                          : "upstream reset the connection");
    return false;
}

static void release_empty_block(struct upstream *upstream)
{
    if (upstream->block && upstream->from == upstream->to) {
        block_give(&upstream->edge->blocks, upstream->block);
        upstream->block = NULL;
        upstream->from = upstream->to = 0;
    }
}

/* A stream whose window is closed holds a frame's worth, not a block: there may be a hundred of
 * them on a connection. And never more than goes out at once, in frames and in full TLS records. */
static size_t answer_room(const struct client *client, const struct upstream *upstream)
{
    size_t room = BLOCK_BYTES - upstream->to;

    if (client->protocol != CLIENT_HTTP2)
        return room;
    room = MIN(room, (size_t)STREAM_ROOM_MAX);
    return MIN(room, MAX(http2_stream_allowance(&client->transport.stream->handle),
                         (size_t)STREAM_ROOM_MIN));
}

/* False: nothing there now, or the request is over. */
static bool read_answer(struct client *client, struct upstream *upstream)
{
    ssize_t got;

    if (!upstream->transport.can_read) {
        release_empty_block(upstream);
        return false;
    }
    if (!upstream->block)
        upstream->block = block_take(&client->edge->blocks);
    if (upstream->from == upstream->to) {
        upstream->from = upstream->to = 0;
    } else if (upstream->from > 0) { /* part of a header block behind interim answers */
        memmove(upstream->block->bytes, upstream->block->bytes + upstream->from,
                upstream->to - upstream->from);
        upstream->to -= upstream->from;
        upstream->from = 0;
    }
    got = transport_read(&upstream->transport, upstream->block->bytes + upstream->to,
                         answer_room(client, upstream));
    if (got > 0) {
        upstream->to += (size_t)got;
        upstream->has_bytes = true;
        return true;
    }
    if (got == TRANSPORT_AGAIN) {
        release_empty_block(upstream);
        return false;
    }
    return take_end(client, upstream, got == TRANSPORT_END);
}

void forward_response(struct client *client)
{
    struct upstream *upstream = client->request.upstream;

    /* Deadlines move when something new begins to be waited for; an answer that arrives and leaves
     * whole moves none. */
    for (unsigned round = 0;; round++) {
        bool was_empty = output_is_empty(&client->output);

        if (was_empty && upstream->from < upstream->to && !take_bytes(client, upstream))
            return;
        if (upstream->is_answer_ended)
            transport_last(&client->transport);
        if (!output_is_empty(&client->output) && !request_flush(client)) {
            if (was_empty && client->state == CLIENT_REQUEST &&
                client->request.upstream == upstream)
                request_touch(client);
            return;
        }
        if (upstream->is_answer_ended) {
            upstream_release(upstream);
            client_request_done(client);
            return;
        }
        if (round || !was_empty)
            request_touch(client);
        if (round == ROUNDS_MAX) {
            client_resume_later(client);
            return;
        }
        /* Interim answers: the next header block may be here already. */
        if (upstream->from < upstream->to &&
            (upstream->state != UPSTREAM_WAITING ||
             upstream->to - upstream->from > upstream->progress.scanned))
            continue;
        if (!read_answer(client, upstream))
            return;
    }
}
