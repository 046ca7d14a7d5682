/* http2_private.h - what the files of HTTP/2 share: the session, what is counted, the header block
 * that is being read. */
#ifndef NET_HTTP2_PRIVATE_H
#define NET_HTTP2_PRIVATE_H

#include "net/http2.h"
#include <nghttp2/nghttp2.h>

#define HTTP2_PSEUDO_TABLE(X)                                                                      \
    X(METHOD, ":method")                                                                           \
    X(SCHEME, ":scheme")                                                                           \
    X(AUTHORITY, ":authority")                                                                     \
    X(PATH, ":path")                                                                               \
    X(PROTOCOL, ":protocol")                                                                       \
    X(STATUS, ":status")
enum http2_pseudo {
#define X(id, name) HTTP2_PSEUDO_##id,
    HTTP2_PSEUDO_TABLE(X)
#undef X
        HTTP2_PSEUDO_COUNT,
};

/* One at a time a connection: CONTINUATION frames follow their HEADERS without anything between. */
struct http2_head {
    enum http2_block block;
    struct http2_text *text; /* NULL: dropped */
    nghttp2_rcbuf *pseudo[HTTP2_PSEUDO_COUNT];
    bool is_tunnel;    /* extended CONNECT (RFC 8441), or a response to one */
    bool is_started;   /* the start line is written */
    bool is_malformed; /* RFC 9113 §8.1.1 */
    unsigned status;   /* 431, or 0 */
    size_t list_bytes; /* name + value + 32 of each field */
    unsigned field_count, crumb_count;
    size_t cookie_end; /* offset behind the cookie's value so far; 0: none */
};

/* X(class, frames at once, frames a second, what is said of the peer) */
#define FLOOD_TABLE(X)                                                                             \
    X(CONTROL, 200, 50, "too many control frames")                                                 \
    X(WINDOW, 4000, 500, "too many window updates")                                                \
    X(EMPTY, 100, 10, "too many empty data frames")                                                \
    X(RESET, 300, 30, "too many streams were reset")                                               \
    X(PROVOKED, 60, 5, "too many streams had to be reset")                                         \
    X(REFUSED, 200, 20, "too many streams at a time")
enum http2_flood {
#define X(id, burst, rate, text) FLOOD_##id,
    FLOOD_TABLE(X)
#undef X
        FLOOD_COUNT,
};

struct http2_session {
    nghttp2_session *inner;
    const struct http2_events *events;
    struct http2_limits limits;
    bool is_server;
    bool is_doomed; /* GOAWAY with an error is on its way; nothing more is read */
    const char *failure;
    void *owner;
    struct list streams;
    unsigned stream_count;
    uint32_t tokens[FLOOD_COUNT];
    uint64_t filled_us;
    uint64_t pongs;
    bool has_settings; /* of the peer */
    uint64_t now_us, head_since_us;
    struct http2_head head;
    struct http2_stream *head_stream;
    int32_t last_id, gap_from,
        gap_to; /* of the peer's streams; the newest identifiers it skipped */
    char *sink; /* during pack */
    size_t sink_len, sink_size;
};

/* http2_frames.c: the callbacks, and what they ask of http2.c */
MUST_USE nghttp2_session_callbacks *http2_callbacks_new(void); /* NULL: out of memory */
ssize_t http2_on_read(nghttp2_session *inner, int32_t id, uint8_t *buffer, size_t len,
                      uint32_t *flags, nghttp2_data_source *source, void *user_data);
void http2_doom(struct http2_session *session, uint32_t code, const char *why);
void http2_floods_reset(struct http2_session *session);
void http2_stream_enter(struct http2_session *session, struct http2_stream *stream, int32_t id);
void http2_stream_forget(struct http2_session *session, struct http2_stream *stream);

/* http2_memory.c */
nghttp2_mem *http2_memory(void); /* static */

/* http2_text.c */
void http2_head_init(struct http2_head *head, enum http2_block block, bool is_tunnel,
                     struct http2_text *text);
void http2_head_done(struct http2_head *head);
/* Takes a field in. False: so far over the limits that the connection should end. */
bool http2_head_field(struct http2_head *head, const struct http2_limits *limits,
                      nghttp2_rcbuf *name, nghttp2_rcbuf *value);
void http2_head_finish(struct http2_head *head); /* the last line; may find it malformed */

#endif
