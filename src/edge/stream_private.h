/* stream_private.h - HTTP/2 connections, and their streams as transports.
 *
 *   stream.c          what a transport does, on a stream     http2_client.c    connections of
 * clients http2.c           what both sides of connections share   http2_upstream.c  connections to
 * instances http2_fields.c    header blocks as fields
 *
 * A stream is a byte stream to its owner (a client or an upstream) like a socket: it has something
 * to read, takes bytes or does not, ends in each direction on its own. Received bytes wait in
 * pieces; bytes to be sent stay where they are, in the owner's output, until flow control lets them
 * go, and are then copied once, behind their frame head, into the block that the connection writes.
 *
 * A stream outlives its owner when all was said and END_STREAM has yet to go out or to come in: it
 * is `finishing` then, for a bounded time.
 */
#ifndef EDGE_STREAM_PRIVATE_H
#define EDGE_STREAM_PRIVATE_H

#include "edge/edge_private.h"
#include "net/http2.h"

#define HTTP2_STREAMS_MAX           100u
#define HTTP2_WINDOW_FIRST          65535u
#define HTTP2_STREAM_WINDOW_MAX     (4u * 1024u * 1024u)
#define HTTP2_CONNECTION_WINDOW     (256u * 1024u)
#define HTTP2_CONNECTION_WINDOW_MAX (8u * 1024u * 1024u)
/* Of all received bytes that nobody took yet, of an edge: above it windows do not grow, and the
 * connections' windows open only as bytes leave. */
#define HTTP2_BUFFERED_MAX (64u * 1024u * 1024u)
#define HTTP2_FINISH_US    (10u * 1000u * EDGE_MS)
/* The answer is out, and the client still uploads: so long, and so much, is read and dropped before
 * the stream is reset. Clients lose an answer that they read together with the reset. */
#define HTTP2_LINGER_US   (3u * 1000u * EDGE_MS)
#define HTTP2_DISCARD_MAX (16u * 1024u * 1024u)

struct piece { /* received bytes [from, to) */
    struct piece *next;
    uint32_t from, to;
    char bytes[16384 - 16];
};

struct http2_connection { /* what both sides share; in its owner */
    struct http2_session *session;
    struct edge *edge;
    struct transport *transport; /* the real one, the owner's */
    bool is_client_side;         /* clients came by it */
    bool is_closed;
    bool is_held;                    /* the real transport is not open yet: nothing is written */
    bool is_draining;                /* a notice went out */
    bool is_drained;                 /* the last GOAWAY went out */
    bool is_working;                 /* writes anyway at the end of what it is doing */
    bool is_work_left, is_read_left; /* others get their turn first */
    bool is_peer_leaving;            /* it sent GOAWAY */
    struct block *output;            /* bytes[from, to) are not written yet */
    size_t from, to;
    struct list streams, ready;
    unsigned stream_count, finishing_count;
    struct loop_deferred work;
    uint32_t window;              /* of the connection */
    uint64_t received, window_us; /* since it has this size */
    uint64_t moved_us;            /* when the peer last took something */
    uint64_t read_us;             /* ... and last said something */
    void (*on_ready)(struct stream *stream, unsigned events); /* LOOP_* for the owner of a stream */
    void (*on_failed)(struct http2_connection *connection, const char *reason); /* closes it */
    void (*on_rest)(struct http2_connection *connection);  /* nothing is left to do now */
    void (*on_empty)(struct http2_connection *connection); /* closed, and the last stream went */
};

struct stream {
    struct http2_stream handle;
    struct http2_connection *connection;
    struct transport *transport; /* the owner's; NULL: finishing */
    struct client *client;       /* the owner: one of the two */
    struct upstream *upstream;
    struct list node;       /* connection.streams */
    struct list ready_node; /* connection.ready */
    unsigned events;        /* LOOP_* that the owner will hear of */
    struct output *output;  /* the owner's; NULL: nothing is queued */
    size_t moved;           /* bytes that left since the owner last asked */
    struct piece *first, *last;
    size_t buffered;  /* bytes in pieces */
    size_t owed;      /* of them: not given back to the connection's window */
    size_t uncounted; /* of them: no DATA, a header block as text */
    uint32_t window;
    uint64_t received, window_mark, window_us; /* since when it has this size */
    bool is_head_ready;                        /* clients: the request is in client.block */
    bool is_bodyless;                          /* END_STREAM came with the header block */
    bool is_reset;                             /* it ended before its time */
    unsigned head_status;                      /* clients: what to answer instead */
    struct block *head_block;                  /* where a header block is written */
    struct http2_text text;
    char *trailers;      /* owned: those that came */
    char *sent_trailers; /* owned: those to be sent */
    struct http2_text trailer_text;
    bool has_trailers; /* all of them came */
    bool is_finishing;
    bool is_lingering;    /* finishing: all is said, the client's end is missing */
    uint64_t deadline_us; /* finishing */
    uint64_t discarded;   /* finishing: received bytes that nobody wants */
    char websocket_key[HTTP2_WEBSOCKET_KEY_SIZE];
};

/* ---- stream.c */

struct stream *stream_new(struct http2_connection *connection);
void stream_attach(struct stream *stream, struct transport *transport);
/* The owner goes. What was said completely still goes out; else the stream is reset. */
void stream_close(struct stream *stream);
void stream_free(struct stream *stream);
/* `len` received bytes are dropped: the peer may send as many more, within bounds. */
void stream_discard(struct stream *stream, size_t len);
void stream_note(struct stream *stream, unsigned events); /* the owner hears of it soon */
void stream_append(struct stream *stream, struct slice data, bool is_counted);
/* What is queued now is the last of it: END_STREAM goes with it. */
void stream_last(struct stream *stream);
/* Bytes are in, or the end is: for what must know before it reads. */
bool stream_is_at_end(const struct stream *stream);
/* Trailers that came, as "name: value CRLF" lines, those that may be handed on; "" when none. */
struct slice stream_trailers(struct stream *stream);
/* Trailers to be sent after the last bytes; filtered and copied. */
void stream_send_trailers(struct stream *stream, struct slice lines);

/* ---- http2.c */

MUST_USE bool http2_connection_init(struct http2_connection *connection, struct edge *edge,
                                    struct transport *transport, bool is_client_side);
/* Owners of streams hear that these were reset. Idempotent. */
void http2_connection_done(struct http2_connection *connection);
/* The real transport can do something. */
void http2_connection_move(struct http2_connection *connection);
/* Bytes that were read from it. False: the connection is closed. */
bool http2_connection_feed(struct http2_connection *connection, const char *bytes, size_t len);
void http2_connection_work_later(struct http2_connection *connection);
void http2_connection_pack(struct http2_connection *connection);
void http2_connection_flush(struct http2_connection *connection);  /* now, what can be written */
void http2_connection_expire(struct http2_connection *connection); /* finishing streams */
bool http2_connection_is_stalled(const struct http2_connection *connection);

/* ---- http2_fields.c */

/* Our own header block as fields that refer to it: pseudo-header fields first, nothing that HTTP/2
 * forbids. The number of fields. */
size_t http2_fields_of_response(struct slice text, bool is_tunnel, struct http2_field *fields);
/* `websocket_key`: NULL, or the request for a WebSocket becomes an extended CONNECT (RFC 8441), and
 * this is the key that it came with. */
size_t http2_fields_of_request(struct slice text, bool is_tls, struct slice *websocket_key,
                               struct http2_field *fields);
/* The lines of a trailer section that may go on (RFC 9110 §6.5.1), to `to` (as long as `lines`). */
size_t http2_trailers_filter(struct slice lines, char *to);

/* ---- http2_upstream.c */

/* A stream for a request, on a connection to the endpoint that has room, or on a new one. NULL with
 * errno; EUSERS: the instance takes no more now. Its state is CONNECTING or WAITING; in the latter
 * the request's header block is on its way. */
struct upstream *http2_upstream_open(const struct client *client, struct endpoint *endpoint);

#endif
