/* http2.h - HTTP/2 (RFC 9113) sessions, server and client side, by nghttp2.
 *
 * Why behind one door: nghttp2 frames, compresses headers and keeps the state of streams; what it
 * leaves to its users is decided here, once: which messages are malformed, how much a peer may ask
 * for, and in which form a message goes on. Shape: a session is fed received bytes and packs what
 * is to be sent into memory of the caller; it touches no descriptor and no clock. A complete header
 * block comes out as the HTTP/1.1 header block that it stands for, so that one parser decides what
 * is refused, whatever a message came by. The owner embeds a struct http2_stream in whatever a
 * stream is to it.
 *
 * Bodies are not buffered here: received data is handed out at once, data to be sent is copied
 * once, from the owner into the packed bytes, when flow control lets it go.
 *
 * Events are called within http2_session_receive and http2_session_pack. They may call
 * http2_stream_reset, http2_stream_leave and the functions that submit; they must not call receive,
 * pack or free. Floods (docs/design/http2.md has the list): a peer that makes more of a kind of
 * frame than its work explains gets GOAWAY with ENHANCE_YOUR_CALM and receive returns false.
 * Threads: one.
 */
#ifndef NET_HTTP2_H
#define NET_HTTP2_H

#include "base/error.h"
#include "base/list.h"
#include "base/slice.h"
#include <stdbool.h>
#include <sys/types.h>

#define HTTP2_PREFACE     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define HTTP2_PREFACE_LEN (sizeof(HTTP2_PREFACE) - 1)

enum http2_code { /* RFC 9113 §7 */
                  HTTP2_NO_ERROR = 0,
                  HTTP2_PROTOCOL_ERROR = 1,
                  HTTP2_INTERNAL_ERROR = 2,
                  HTTP2_REFUSED_STREAM = 7,
                  HTTP2_CANCEL = 8,
                  HTTP2_CONNECT_ERROR = 10,
                  HTTP2_ENHANCE_YOUR_CALM = 11,
                  HTTP2_HTTP_1_1_REQUIRED = 13,
};

struct http2_session;

/* Where a header block is written: the owner's memory, bytes[len, size) is free. */
struct http2_text {
    char *bytes;
    size_t len, size;
};

struct http2_stream { /* zero it, then it is the session's until on_closed or http2_stream_leave */
    struct http2_session *session; /* NULL: no session knows it (any more) */
    struct list node;              /* session's */
    int32_t id;
    bool is_head_received; /* a final header block came */
    bool has_remote_ended; /* END_STREAM came */
    bool is_submitted;     /* our final header block was handed over */
    bool has_local_ended;  /* our END_STREAM is packed */
    bool is_waiting;       /* had nothing to send when it was its turn */
    bool is_tunnel;        /* extended CONNECT (RFC 8441), asked for */
    bool is_reset_ours;    /* we gave it up */
    uint32_t code;         /* why it ended */
    /* What the owner has to send: set before http2_stream_ready and in http2_events.copy. */
    bool ends;       /* END_STREAM follows these bytes */
    size_t sendable; /* bytes */
    struct slice
        trailers; /* "name: value CRLF" lines to be sent after them; alive until on_closed */
};

/* What a header block was. */
enum http2_block { HTTP2_REQUEST, HTTP2_RESPONSE, HTTP2_TRAILERS };

struct http2_events {
    /* Server: a request begins. A zeroed stream, or NULL: refused, and safe to be sent again. */
    struct http2_stream *(*on_open)(struct http2_session *session);
    /* A header block begins; NULL: it is read and dropped. The text stays the owner's and must last
     * until on_head or on_trailers, on_closed at the latest. Size: the limit on a header block and
     * HTTP2_TEXT_EXTRA. */
    struct http2_text *(*on_block)(struct http2_stream *stream, enum http2_block block);
    /* A request, or a response (interim ones too): an HTTP/1.1 header block without any framing
     * field but Content-Length. An extended CONNECT and a response that agrees to one are what they
     * stand for, GET with Upgrade and 101. `status`: 0, or what to answer to it (431). */
    void (*on_head)(struct http2_stream *stream, unsigned status);
    void (*on_trailers)(struct http2_stream *stream); /* fields only, no empty line */
    /* Body bytes. They count against both windows until http2_session_consume tells of them. */
    void (*on_data)(struct http2_stream *stream, struct slice data);
    void (*on_end)(struct http2_stream *stream); /* after everything else of it, in order */
    /* The stream is over in both directions, or reset. stream->session is NULL from here on. */
    void (*on_closed)(struct http2_stream *stream);
    /* Copy the next `len` (<= sendable) bytes to `to`, and lower stream->sendable. */
    void (*copy)(struct http2_stream *stream, char *to, size_t len);
    /* The peer makes no more requests (server), takes none above `last_id` (client). */
    void (*on_goaway)(struct http2_session *session, int32_t last_id);
};
#define HTTP2_TEXT_EXTRA 4096u

struct http2_limits {
    uint32_t streams;     /* at a time, opened by the peer */
    uint32_t head_bytes;  /* of a header list: name + value + 32 each (RFC 9113 §6.5.2) */
    uint32_t field_count; /* cookie crumbs have a limit of their own */
    uint32_t connection_window, stream_window; /* bytes, at first; both at least 65,535 */
};

/* Layout of a field to send; names in any case, values checked by the caller. */
struct http2_field {
    const char *name, *value;
    size_t name_len, value_len;
    uint8_t flags;
};
#define HTTP2_FIELD_UNINDEXED                                                                      \
    1u /* differs each time, or is secret: not worth a place in the table */
#define HTTP2_FIELDS_MAX 320u

MUST_USE int http2_session_new(bool is_server, const struct http2_limits *limits,
                               const struct http2_events *events,
                               struct http2_session **ret_session, struct error *err);
/* Streams that are left are told nothing; their `session` is set to NULL. NULL allowed. */
void http2_session_free(struct http2_session *session);
void http2_session_set_owner(struct http2_session *session, void *owner);
void *http2_session_owner(const struct http2_session *session);

/* Bytes from the peer. False: the connection is at its end (see http2_session_failure); pack what
 * is left, write it, close. */
MUST_USE bool http2_session_receive(struct http2_session *session, const char *bytes, size_t len,
                                    uint64_t now_us);
/* What is to be sent, into bytes[0, size). Fewer than HTTP2_PACK_MIN bytes of room may pack
 * nothing. The number of bytes. */
MUST_USE size_t http2_session_pack(struct http2_session *session, char *bytes, size_t size);
#define HTTP2_PACK_MIN 17408u /* a frame of the largest size that we send, and some */
/* When the header block began that is on its way, by the time that receive was told; 0: none. */
uint64_t http2_session_head_since(const struct http2_session *session);
bool http2_session_wants_pack(struct http2_session *session); /* something may be sent now */
/* Nothing will be sent or read any more. */
bool http2_session_is_over(struct http2_session *session);
const char *http2_session_failure(const struct http2_session *session); /* static; "" when none */

/* The owner is done with `len` received bytes: the connection's window opens again, and the
 * stream's (NULL: it is gone). */
void http2_session_consume_connection(struct http2_session *session, size_t len);
void http2_stream_consume(struct http2_stream *stream, size_t len);
/* Let the peer have more on its way: new size of a window; it never shrinks. */
void http2_stream_window(struct http2_stream *stream, uint32_t bytes);
void http2_session_window(struct http2_session *session, uint32_t bytes);
/* Bytes that flow control lets this stream send now. */
size_t http2_stream_allowance(const struct http2_stream *stream);

/* Drain: first a notice that takes no stream away, then (a round trip later) the real number. */
void http2_session_notice(struct http2_session *session);
void http2_session_goaway(struct http2_session *session, enum http2_code code);
void http2_session_ping(struct http2_session *session);
uint64_t http2_session_pongs(const struct http2_session *session); /* answers so far */

/* ---- streams */

/* Server: a response. `ends`: no body follows. */
MUST_USE int http2_submit_response(struct http2_stream *stream, const struct http2_field *fields,
                                   size_t count, bool ends);
MUST_USE int http2_submit_interim(struct http2_stream *stream, const struct http2_field *fields,
                                  size_t count);
/* Client: open `stream` with a request, pseudo-header fields first. ERR_LIMIT: the peer takes no
 * more streams now; ERR_UNAVAILABLE: none on this session at all. */
MUST_USE int http2_submit_request(struct http2_session *session, struct http2_stream *stream,
                                  const struct http2_field *fields, size_t count, bool ends);
/* sendable or ends changed. */
void http2_stream_ready(struct http2_stream *stream);
/* RST_STREAM, and the owner goes: no event comes for it any more. Nothing is sent for a stream that
 * is over. */
void http2_stream_leave(struct http2_stream *stream, enum http2_code code);
/* Client: streams that could be opened now. */
unsigned http2_session_room(struct http2_session *session);
/* Client: no stream can be opened on it any more: GOAWAY, a failure, no identifier is left. */
bool http2_session_is_spent(const struct http2_session *session);
bool http2_session_has_settings(const struct http2_session *session);   /* those of the peer came */
bool http2_session_has_connect_protocol(struct http2_session *session); /* of the peer, RFC 8441 */

/* ---- RFC 6455 §4.2.2, for those who turn one kind of WebSocket request into the other */

#define HTTP2_WEBSOCKET_KEY_SIZE    25u /* text and NUL */
#define HTTP2_WEBSOCKET_ACCEPT_SIZE 29u
void http2_websocket_key(const uint8_t random_bytes[16], char ret_key[HTTP2_WEBSOCKET_KEY_SIZE]);
void http2_websocket_accept(const char *key, char ret_accept[HTTP2_WEBSOCKET_ACCEPT_SIZE]);

#endif
