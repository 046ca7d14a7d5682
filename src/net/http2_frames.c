/* http2_frames.c - what happens when frames come and go; see http2.h.
 *
 * Where what is counted: nghttp2 bounds the answers that it owes (SETTINGS and PING), entries of a
 * SETTINGS frame, CONTINUATION frames of a block, and resets by the peer, all for ever or at rates
 * of its own choice. What it does not bound is counted here, in buckets that fill with time and
 * with the work that explains such frames. It answers a peer's offence against a stream with
 * RST_STREAM and goes on; those resets are counted too, as a peer can have them made as fast as its
 * own.
 */
#include "net/http2_private.h"

#define FRAME_HEAD         9u
#define DATA_MIN           1024u /* smaller pieces only when there is no more */
#define WINDOW_PER_DATA    10u   /* WINDOW_UPDATE frames that one of our DATA frames explains */
#define WINDOW_PER_REQUEST 4u
#define FILLS_A_SECOND     5u
#define FILL_US            (1000000u / FILLS_A_SECOND)
#define FILL_STEPS_MAX     (60u * FILLS_A_SECOND)

#define X(id, burst, rate, text)                                                                   \
    _Static_assert((rate) % FILLS_A_SECOND == 0, "each step gives a whole number");
FLOOD_TABLE(X)
#undef X

static const struct {
    uint32_t burst, rate;
    const char *text;
} floods[] = {
#define X(id, burst, rate, text) [FLOOD_##id] = {burst, rate, text},
    FLOOD_TABLE(X)
#undef X
};

/* ---- floods */

void http2_doom(struct http2_session *session, uint32_t code, const char *why)
{
    if (session->is_doomed)
        return;
    session->is_doomed = true;
    session->failure = why;
    (void)nghttp2_session_terminate_session(session->inner, code);
}

/* One more of a kind. False: the bucket is empty and the session doomed. */
static bool spend(struct http2_session *session, enum http2_flood kind)
{
    if (LIKELY(session->tokens[kind])) {
        session->tokens[kind]--;
        return true;
    }
    http2_doom(session, HTTP2_ENHANCE_YOUR_CALM, floods[kind].text);
    return false;
}

static void earn(struct http2_session *session, enum http2_flood kind, uint32_t count)
{
    session->tokens[kind] = MIN(session->tokens[kind] + count, floods[kind].burst);
}

/* In steps that give a whole number of each kind, so that a session that is always busy gets as
 * much as one that is looked at rarely. */
static void fill_buckets(struct http2_session *session, uint64_t now_us)
{
    uint64_t steps = (now_us - session->filled_us) / FILL_US;

    if (steps == 0)
        return;
    session->filled_us += steps * FILL_US;
    steps = MIN(steps, (uint64_t)FILL_STEPS_MAX);
    for (unsigned i = 0; i < FLOOD_COUNT; i++)
        earn(session, (enum http2_flood)i, (uint32_t)steps * (floods[i].rate / FILLS_A_SECOND));
}

void http2_floods_reset(struct http2_session *session)
{
    for (unsigned i = 0; i < FLOOD_COUNT; i++)
        session->tokens[i] = floods[i].burst;
}

/* ---- receiving */

static struct http2_stream *stream_find(struct http2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session->inner, id);
}

static void stream_closed(struct http2_session *session, struct http2_stream *stream, uint32_t code)
{
    stream->code = code;
    http2_stream_forget(session, stream);
    session->events->on_closed(stream);
}

/* What nghttp2 passes over, but RFC 9113 calls a connection error: PRIORITY without a stream
 * (§6.3), and a request on an identifier that the client went past without using it (§5.1.1). One
 * that was used and is closed may still get frames that were on their way. */
static bool is_out_of_place(const struct http2_session *session, const nghttp2_frame_hd *hd)
{
    if (hd->type == NGHTTP2_PRIORITY)
        return hd->stream_id == 0;
    return session->is_server && hd->type == NGHTTP2_HEADERS &&
           hd->stream_id >= session->gap_from && hd->stream_id < session->gap_to &&
           hd->stream_id % 2;
}

static void note_id(struct http2_session *session, int32_t id)
{
    int32_t next = session->last_id ? session->last_id + 2 : 1;

    if (id > next) {
        session->gap_from = next;
        session->gap_to = id;
    }
    session->last_id = id;
}

static int on_begin_frame(nghttp2_session *inner, const nghttp2_frame_hd *hd, void *user_data)
{
    struct http2_session *session = user_data;
    bool is_fine = true;

    (void)inner;
    if (UNLIKELY(is_out_of_place(session, hd))) {
        http2_doom(session, HTTP2_PROTOCOL_ERROR, "frame on a stream that it cannot be on");
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    switch (hd->type) {
    case NGHTTP2_DATA:
        earn(session, FLOOD_CONTROL, 1);
        if (UNLIKELY(hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM)))
            is_fine = spend(session, FLOOD_EMPTY);
        break;
    case NGHTTP2_HEADERS:
        earn(session, FLOOD_CONTROL, 1);
        earn(session, FLOOD_WINDOW, WINDOW_PER_REQUEST);
        break;
    case NGHTTP2_CONTINUATION: /* nghttp2 counts them by block */
    case NGHTTP2_PUSH_PROMISE:
    case NGHTTP2_GOAWAY:
        break;
    case NGHTTP2_RST_STREAM:
        is_fine = !session->is_server || spend(session, FLOOD_RESET);
        break;
    case NGHTTP2_WINDOW_UPDATE:
        is_fine = spend(session, FLOOD_WINDOW);
        break;
    case NGHTTP2_PING:
    case NGHTTP2_SETTINGS:
        is_fine = (hd->flags & NGHTTP2_FLAG_ACK) || spend(session, FLOOD_CONTROL);
        break;
    default: /* PRIORITY and PRIORITY_UPDATE; what nobody knows, nghttp2 skips without a word */
        is_fine = spend(session, FLOOD_CONTROL);
        break;
    }
    return LIKELY(is_fine) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static enum http2_block block_kind(const struct http2_session *session,
                                   const struct http2_stream *stream, const nghttp2_frame *frame)
{
    if (session->is_server)
        return frame->headers.cat == NGHTTP2_HCAT_REQUEST ? HTTP2_REQUEST : HTTP2_TRAILERS;
    return stream && stream->is_head_received ? HTTP2_TRAILERS : HTTP2_RESPONSE;
}

static int on_begin_headers(nghttp2_session *inner, const nghttp2_frame *frame, void *user_data)
{
    struct http2_session *session = user_data;
    int32_t id = frame->hd.stream_id;
    struct http2_stream *stream = stream_find(session, id);
    enum http2_block block = block_kind(session, stream, frame);

    if (block == HTTP2_REQUEST) {
        note_id(session, id);
        stream = session->events->on_open(session);
        if (stream) {
            http2_stream_enter(session, stream, id);
            (void)nghttp2_session_set_stream_user_data(inner, id, stream);
        } else {
            (void)nghttp2_submit_rst_stream(inner, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
        }
    }
    session->head_stream = stream;
    session->head_since_us = session->now_us;
    http2_head_init(&session->head, block, stream && stream->is_tunnel,
                    stream ? session->events->on_block(stream, block) : NULL);
    return 0;
}

static int on_header(nghttp2_session *inner, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *user_data)
{
    struct http2_session *session = user_data;

    (void)inner;
    (void)frame;
    (void)flags;
    if (LIKELY(http2_head_field(&session->head, &session->limits, name, value)))
        return 0;
    http2_doom(session, HTTP2_ENHANCE_YOUR_CALM, "header list is far too large");
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* nghttp2 would pass over a field with an invalid name or value; the message is malformed. */
static int on_invalid_header(nghttp2_session *inner, const nghttp2_frame *frame,
                             nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags,
                             void *user_data)
{
    (void)inner;
    (void)frame;
    (void)name;
    (void)value;
    (void)flags;
    ((struct http2_session *)user_data)->head_since_us = 0;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* nghttp2 has reset its stream, and passes over the rest of its header block. */
static int on_invalid_frame(nghttp2_session *inner, const nghttp2_frame *frame, int error,
                            void *user_data)
{
    (void)inner;
    (void)error;
    if (frame->hd.type == NGHTTP2_HEADERS)
        ((struct http2_session *)user_data)->head_since_us = 0;
    return 0;
}

static bool head_is_final(const struct http2_head *head)
{
    nghttp2_rcbuf *status = head->pseudo[HTTP2_PSEUDO_STATUS];

    return !status || nghttp2_rcbuf_get_buf(status).base[0] != '1';
}

static void head_complete(struct http2_session *session, const nghttp2_frame *frame)
{
    struct http2_stream *stream = session->head_stream;
    struct http2_head *head = &session->head;

    if (!stream || !stream->session)
        return;
    http2_head_finish(head);
    if (head->is_malformed) {
        (void)nghttp2_submit_rst_stream(session->inner, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                        NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    session->head_stream = NULL;
    if (head->block == HTTP2_TRAILERS) {
        if (head->text && !head->status)
            session->events->on_trailers(stream);
        return;
    }
    stream->is_head_received = head->block == HTTP2_REQUEST || head_is_final(head);
    if (head->block == HTTP2_REQUEST)
        stream->is_tunnel = head->is_tunnel;
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        stream->has_remote_ended = true; /* so that on_head knows that no body follows */
    session->events->on_head(stream, head->status);
}

static int on_frame(nghttp2_session *inner, const nghttp2_frame *frame, void *user_data)
{
    struct http2_session *session = user_data;
    struct http2_stream *stream;

    (void)inner;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        session->head_since_us = 0;
        head_complete(session, frame);
        http2_head_done(&session->head);
        break;
    case NGHTTP2_DATA:
        if (frame->hd.length && frame->hd.length == frame->data.padlen &&
            !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) && !spend(session, FLOOD_EMPTY))
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        break;
    case NGHTTP2_PING:
        session->pongs += (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;
        return 0;
    case NGHTTP2_SETTINGS:
        session->has_settings = session->has_settings || !(frame->hd.flags & NGHTTP2_FLAG_ACK);
        return 0;
    case NGHTTP2_GOAWAY:
        if (session->events->on_goaway)
            session->events->on_goaway(session, frame->goaway.last_stream_id);
        return 0;
    default:
        return 0;
    }
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
        (stream = stream_find(session, frame->hd.stream_id))) {
        stream->has_remote_ended = true;
        session->events->on_end(stream);
    }
    return 0;
}

static int on_data(nghttp2_session *inner, uint8_t flags, int32_t id, const uint8_t *bytes,
                   size_t len, void *user_data)
{
    struct http2_session *session = user_data;
    struct http2_stream *stream = stream_find(session, id);

    (void)flags;
    if (LIKELY(stream != NULL))
        session->events->on_data(stream, (struct slice){(const char *)bytes, len});
    else
        (void)nghttp2_session_consume_connection(inner, len);
    return 0;
}

static int on_stream_close(nghttp2_session *inner, int32_t id, uint32_t code, void *user_data)
{
    struct http2_session *session = user_data;
    struct http2_stream *stream = stream_find(session, id);

    (void)inner;
    if (stream)
        stream_closed(session, stream, code);
    return 0;
}

bool http2_session_receive(struct http2_session *session, const char *bytes, size_t len,
                           uint64_t now_us)
{
    ssize_t taken;

    if (session->is_doomed)
        return false;
    session->now_us = now_us;
    fill_buckets(session, now_us);
    taken = nghttp2_session_mem_recv(session->inner, (const uint8_t *)bytes, len);
    if (UNLIKELY(taken < 0)) {
        http2_doom(session,
                   taken == NGHTTP2_ERR_FLOODED ? HTTP2_ENHANCE_YOUR_CALM : HTTP2_PROTOCOL_ERROR,
                   taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? "not an HTTP/2 preface"
                   : taken == NGHTTP2_ERR_FLOODED        ? "too many frames that ask for an answer"
                                                         : "invalid frames");
        return false;
    }
    return !session->is_doomed && nghttp2_session_want_read(session->inner);
}

/* ---- sending */

static ssize_t on_send(nghttp2_session *inner, const uint8_t *bytes, size_t len, int flags,
                       void *user_data)
{
    struct http2_session *session = user_data;

    (void)inner;
    (void)flags;
    if (session->sink_size - session->sink_len < len)
        return NGHTTP2_ERR_WOULDBLOCK;
    memcpy(session->sink + session->sink_len, bytes, len);
    session->sink_len += len;
    return (ssize_t)len;
}

static int submit_trailers(struct http2_session *session, struct http2_stream *stream)
{
    nghttp2_nv fields[HTTP2_FIELDS_MAX];
    struct slice rest = stream->trailers;
    size_t count = 0;

    while (rest.len && count < ARRAY_LEN(fields)) {
        struct slice value = slice_cut(&rest, '\n');
        struct slice name = slice_cut(&value, ':');

        value = slice_trim(value);
        fields[count++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.ptr,
                                       .namelen = name.len,
                                       .value = (uint8_t *)(uintptr_t)value.ptr,
                                       .valuelen = value.len};
    }
    return nghttp2_submit_trailer(session->inner, stream->id, fields, count);
}

/* How much of a stream's bytes goes into the next frame. The bytes themselves follow in on_copy. */
ssize_t http2_on_read(nghttp2_session *inner, int32_t id, uint8_t *buffer, size_t len,
                      uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
    struct http2_session *session = user_data;
    struct http2_stream *stream = stream_find(session, id);
    size_t room = session->sink_size - session->sink_len, take;

    (void)inner;
    (void)buffer;
    (void)source;
    if (!stream)
        return NGHTTP2_ERR_DEFERRED;
    if (stream->sendable == 0 && !stream->ends) {
        stream->is_waiting = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    take = MIN(len, stream->sendable);
    if (take + FRAME_HEAD > room && room >= DATA_MIN + FRAME_HEAD)
        take = room - FRAME_HEAD;
    *flags = NGHTTP2_DATA_FLAG_NO_COPY;
    if (take == stream->sendable && stream->ends) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (stream->trailers.len && submit_trailers(session, stream) == 0)
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    }
    return (ssize_t)take;
}

static int on_copy(nghttp2_session *inner, nghttp2_frame *frame, const uint8_t *head, size_t len,
                   nghttp2_data_source *source, void *user_data)
{
    struct http2_session *session = user_data;
    struct http2_stream *stream = stream_find(session, frame->hd.stream_id);

    (void)inner;
    (void)source;
    if (!stream || stream->sendable < len)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (session->sink_size - session->sink_len < len + FRAME_HEAD)
        return NGHTTP2_ERR_WOULDBLOCK;
    memcpy(session->sink + session->sink_len, head, FRAME_HEAD);
    session->sink_len += FRAME_HEAD;
    if (len)
        session->events->copy(stream, session->sink + session->sink_len, len);
    session->sink_len += len;
    earn(session, FLOOD_WINDOW, WINDOW_PER_DATA);
    return 0;
}

static int on_frame_sent(nghttp2_session *inner, const nghttp2_frame *frame, void *user_data)
{
    struct http2_session *session = user_data;
    struct http2_stream *stream;

    (void)inner;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
            (stream = stream_find(session, frame->hd.stream_id)))
            stream->has_local_ended = true;
        break;
    case NGHTTP2_RST_STREAM:
        switch (frame->rst_stream.error_code) {
        case NGHTTP2_PROTOCOL_ERROR:
        case NGHTTP2_FLOW_CONTROL_ERROR:
        case NGHTTP2_STREAM_CLOSED:
        case NGHTTP2_FRAME_SIZE_ERROR:
            if (session->is_server)
                (void)spend(session, FLOOD_PROVOKED);
            break;
        case NGHTTP2_REFUSED_STREAM:
            if (session->is_server)
                (void)spend(session, FLOOD_REFUSED);
            break;
        default:
            break;
        }
        break;
    default:
        break;
    }
    return 0;
}

/* A request that could not be opened (the peer is going away) was never a stream to nghttp2. */
static int on_frame_not_sent(nghttp2_session *inner, const nghttp2_frame *frame, int error,
                             void *user_data)
{
    struct http2_session *session = user_data;

    (void)inner;
    (void)error;
    if (session->is_server || frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    list_each_safe (node, &session->streams) {
        struct http2_stream *stream = container_of(node, struct http2_stream, node);

        if (stream->id == frame->hd.stream_id) {
            stream_closed(session, stream, HTTP2_REFUSED_STREAM);
            break;
        }
    }
    return 0;
}

size_t http2_session_pack(struct http2_session *session, char *bytes, size_t size)
{
    session->sink = bytes;
    session->sink_len = 0;
    session->sink_size = size;
    if (nghttp2_session_send(session->inner) != 0 && !session->failure)
        http2_doom(session, HTTP2_INTERNAL_ERROR, "frames could not be made");
    session->sink = NULL;
    session->sink_size = 0;
    return session->sink_len;
}

/* ---- all of them */

nghttp2_session_callbacks *http2_callbacks_new(void)
{
    nghttp2_session_callbacks *callbacks;

    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return NULL;
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_copy);
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(callbacks, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(callbacks, on_invalid_header);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_sent);
    return callbacks;
}
