/* http_server.h - a small HTTP/1.1 server on a loop, for the admin API. Not for the public: that is
 * the edge. Strict parsing (net/http1), one request at a time a connection, keep-alive, bounded
 * headers; request bodies are either collected up to a limit or streamed with backpressure; answers
 * are whole or streamed (chunked). */
#ifndef NET_HTTP_SERVER_H
#define NET_HTTP_SERVER_H

#include "base/arena.h"
#include "base/buf.h"
#include "loop/loop.h"
#include "os/socket.h"

#define HTTP_SERVER_CONNECTIONS_MAX 64u /* beyond: 503 at once */

struct http_server;
struct http_exchange; /* one request and its answer */

struct http_server_handler {
    /* The head is parsed. Call http_exchange_collect or http_exchange_stream_body for a body;
     * answer now or later, exactly once: also when the client has left meanwhile (the answer is
     * dropped and the exchange freed by it). A body that nobody asked for is not read; the
     * connection ends after the answer. */
    void (*on_request)(struct http_server_handler *handler, struct http_exchange *exchange);
};

MUST_USE int http_server_start(struct loop *loop, int listener_fd,
                               struct http_server_handler *handler, struct http_server **ret_server,
                               struct error *err); /* takes over listener_fd */
/* Open exchanges are cut after their on_end, on_body or on_gone. Not from within a handler. */
void http_server_stop(struct http_server *server);

struct slice http_exchange_method(const struct http_exchange *exchange);
struct slice
http_exchange_path(const struct http_exchange *exchange); /* decoded, without the query */
/* Decoded query parameter in the exchange's arena, or NULL. */
const char *http_exchange_query(struct http_exchange *exchange, const char *name);
const char *http_exchange_header(struct http_exchange *exchange, const char *name); /* or NULL */
struct arena *http_exchange_arena(struct http_exchange *exchange);
const struct peer *http_exchange_peer(const struct http_exchange *exchange); /* unix credentials */
int64_t
http_exchange_body_bytes(const struct http_exchange *exchange); /* -1: unknown (chunked); 0: none */

struct http_body_sink {
    /* False: stop reading until http_exchange_resume_body. */
    bool (*on_data)(struct http_body_sink *sink, struct slice data);
    /* Once, unless the exchange was answered before. err NULL: complete. The answer is still owed.
     */
    void (*on_end)(struct http_body_sink *sink, const struct error *err);
};
void http_exchange_stream_body(struct http_exchange *exchange, struct http_body_sink *sink);
void http_exchange_resume_body(struct http_exchange *exchange);
struct http_collected {
    void (*on_body)(struct http_collected *collected, struct slice body,
                    const struct error *err); /* once */
};
void http_exchange_collect(struct http_exchange *exchange, size_t limit_bytes,
                           struct http_collected *collected);

/* A whole answer; the exchange is finished. */
void http_exchange_answer(struct http_exchange *exchange, int status, const char *content_type,
                          struct slice body);
/* {"error": {"code": "not_found", "message": ..., "hint": ...}} with the status of the code. */
void http_exchange_answer_error(struct http_exchange *exchange, const struct error *err);
/* A streamed answer (chunked): begin, then data while it is accepted, then end. */
struct http_stream {
    void (*on_writable)(struct http_stream *stream); /* after a full send: go on */
    void (*on_gone)(
        struct http_stream *stream); /* the client left; do not touch the exchange again */
};
void http_exchange_begin_stream(struct http_exchange *exchange, int status,
                                const char *content_type, struct http_stream *stream);
/* False: the queue is full (256 KiB); wait for on_writable. The data was taken nonetheless. */
bool http_exchange_send(struct http_exchange *exchange, struct slice data);
void http_exchange_end_stream(struct http_exchange *exchange);

#endif
