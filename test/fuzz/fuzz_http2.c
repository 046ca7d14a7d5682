/* fuzz_http2.c - what a peer may send as HTTP/2: the first byte says to which side, the rest are
 * its bytes, fed in pieces. Whatever comes out as a header block must be read by the parser of
 * HTTP/1.1 as exactly one message without anything that frames it but a length. */
#include <assert.h>
#include <stdlib.h>

#include "net/http1.h"
#include "net/http2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct peer {
    struct http2_stream stream;
    struct http2_text text, trailers;
    char bytes[8192 + HTTP2_TEXT_EXTRA], trailer_bytes[8192];
    struct peer *next;
};

static const struct http2_limits limits = {.streams = 10,
                                           .head_bytes = 8192,
                                           .field_count = 32,
                                           .connection_window = 65535,
                                           .stream_window = 65535};
static struct peer *peers;
static bool is_server;

static struct peer *owner_of(struct http2_stream *stream)
{
    return container_of(stream, struct peer, stream);
}

static struct peer *peer_new(void)
{
    struct peer *peer = calloc(1, sizeof(*peer));

    assert(peer);
    peer->next = peers;
    peers = peer;
    return peer;
}

static struct http2_stream *on_open(struct http2_session *session)
{
    (void)session;
    return &peer_new()->stream;
}

static struct http2_text *on_block(struct http2_stream *stream, enum http2_block block)
{
    struct peer *peer = owner_of(stream);

    if (block == HTTP2_TRAILERS) {
        peer->trailers = (struct http2_text){peer->trailer_bytes, 0, sizeof(peer->trailer_bytes)};
        return &peer->trailers;
    }
    peer->text = (struct http2_text){peer->bytes, 0, sizeof(peer->bytes)};
    return &peer->text;
}

static void check_text(struct peer *peer)
{
    static struct http1_head head;
    struct http1_progress progress = {0};
    struct http1_failure failure;
    struct http1_limits text_limits = HTTP1_LIMITS_DEFAULT;
    enum http1_result result =
        is_server ? http1_parse_request(peer->bytes, peer->text.len, &progress, &text_limits, &head,
                                        &failure)
                  : http1_parse_response(peer->bytes, peer->text.len, &progress, &text_limits,
                                         HTTP1_METHOD_GET, &head, &failure);

    assert(result != HTTP1_MORE);
    if (result == HTTP1_BAD)
        return;
    assert(head.head_bytes == peer->text.len);
    assert(head.body != HTTP1_BODY_CHUNKED);
    assert(!http1_field_find(&head, HTTP1_FIELD_TRANSFER_ENCODING));
    assert(!head.is_upgrade || peer->stream.is_tunnel);
}

static void on_head(struct http2_stream *stream, unsigned status)
{
    const struct http2_field fields[] = {{":status", "200", 7, 3, 0}};

    assert(status == 0 || status == 431);
    if (status == 0)
        check_text(owner_of(stream));
    if (is_server && !stream->is_submitted) {
        stream->ends = true;
        (void)!http2_submit_response(stream, fields, 1, (owner_of(stream)->text.len & 1) != 0);
    }
}

static void on_trailers(struct http2_stream *stream)
{
    assert(owner_of(stream)->trailers.len <= sizeof(owner_of(stream)->trailer_bytes));
}

static void on_data(struct http2_stream *stream, struct slice data)
{
    http2_session_consume_connection(stream->session, data.len);
    http2_stream_consume(stream, data.len);
    if (data.len == 7)
        http2_stream_leave(stream, HTTP2_CANCEL);
}

static void on_end(struct http2_stream *stream)
{
    assert(stream->has_remote_ended);
}

static void on_closed(struct http2_stream *stream)
{
    assert(!stream->session);
}

static void copy(struct http2_stream *stream, char *to, size_t len)
{
    memset(to, 'x', len);
    stream->sendable -= len;
}

static const struct http2_events events = {.on_open = on_open,
                                           .on_block = on_block,
                                           .on_head = on_head,
                                           .on_trailers = on_trailers,
                                           .on_data = on_data,
                                           .on_end = on_end,
                                           .on_closed = on_closed,
                                           .copy = copy};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct http2_field get[] = {{":method", "GET", 7, 3, 0},
                                      {":scheme", "http", 7, 4, 0},
                                      {":authority", "a", 10, 1, 0},
                                      {":path", "/", 5, 1, 0}};
    static char sink[65536];
    struct http2_session *session;
    struct error err;
    bool is_alive = true;
    size_t at = 1;

    if (size < 2)
        return 0;
    is_server = (data[0] & 1) == 0;
    assert(http2_session_new(is_server, &limits, &events, &session, &err) == 0);
    if (is_server)
        is_alive = http2_session_receive(session, HTTP2_PREFACE, HTTP2_PREFACE_LEN, 1000);
    else
        for (unsigned i = 0; i < 3; i++)
            (void)!http2_submit_request(session, &peer_new()->stream, get, 4, true);
    (void)!http2_session_pack(session, sink, sizeof(sink));
    while (is_alive && at < size) {
        size_t take = MIN(size - at, (size_t)(data[0] >> 1) + 1);

        is_alive = http2_session_receive(session, (const char *)data + at, take, 2000 + at * 1000);
        while (http2_session_pack(session, sink, sizeof(sink)))
            ;
        at += take;
    }
    http2_session_free(session);
    while (peers) {
        struct peer *peer = peers;

        peers = peer->next;
        assert(!peer->stream.session);
        free(peer);
    }
    return 0;
}
