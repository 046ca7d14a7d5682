/* http_server_private.h - the connection as http_server.c (sockets, time) and http_exchange.c
 * (heads, bodies, answers) share it. */
#ifndef NET_HTTP_SERVER_PRIVATE_H
#define NET_HTTP_SERVER_PRIVATE_H

#include "net/http1.h"
#include "net/http_server.h"

#define HTTP_SERVER_HEAD_BYTES  ((size_t)32 * 1024)
#define HTTP_SERVER_STREAM_FULL ((size_t)256 * 1024)

struct http_server {
    struct loop *loop;
    struct loop_io listener;
    struct loop_timer accept_again;
    struct http_server_handler *handler;
    struct list connections; /* open ones, and closed ones until the end of the turn */
    unsigned open_count;
};

enum body_state { BODY_UNASKED, BODY_COLLECTING, BODY_STREAMING, BODY_OVER };
enum answer_state { ANSWER_OWED, ANSWER_STREAMING, ANSWER_COMPLETE };
enum connection_state { CONNECTION_HEAD, CONNECTION_EXCHANGE, CONNECTION_LINGER };

struct http_exchange {
    struct http_server *server; /* NULL once it was stopped */
    struct loop *loop;
    struct list node;
    struct loop_io io;
    struct loop_timer timer;
    struct loop_deferred after; /* end of the turn: write, go on, or free */
    struct peer peer;
    enum connection_state state;
    uint64_t moved_us; /* last progress: accepted, first byte of a head, any byte of a body */
    bool is_closed;    /* the socket is gone; the memory waits for the answer or the turn's end */

    struct buf in; /* a head, then whatever came behind it */
    struct http1_progress progress;
    struct buf out;
    size_t out_sent;

    struct arena *arena;
    struct slice method, path, query;
    struct http1_field *fields;
    unsigned field_count;
    bool is_keepalive, is_head_only, is_chunked_answer, expects_continue;

    enum body_state body;
    enum http1_body framing;
    uint64_t body_left, body_limit_left;
    struct http1_chunked chunked;
    struct buf collected;
    struct http_collected *collector;
    struct http_body_sink *sink;
    bool is_paused;

    enum answer_state answer;
    struct http_stream *stream;
    bool is_full;
};

/* http_server.c */
void connection_arm(struct http_exchange *exchange); /* set interest and deadline from the state */
void connection_close(struct http_exchange *exchange); /* memory stays until the turn ends and the
                                                          answer is no longer owed */
void connection_free(struct http_exchange *exchange);
void connection_go_on(
    struct http_exchange *exchange); /* after a step that may have queued output */

static inline size_t connection_queued(const struct http_exchange *exchange)
{
    return exchange->out.len - exchange->out_sent;
}

/* The socket must take something from now on: its deadline begins when the queue was empty. */
static inline void connection_moved(struct http_exchange *exchange)
{
    exchange->moved_us = loop_now_us(exchange->loop);
}

/* True while the handler owes the answer: the memory must stay. */
static inline bool exchange_is_held(const struct http_exchange *exchange)
{
    return exchange->state == CONNECTION_EXCHANGE && exchange->answer != ANSWER_COMPLETE;
}

static inline bool exchange_wants_body(const struct http_exchange *exchange)
{
    return exchange->state == CONNECTION_EXCHANGE &&
           (exchange->body == BODY_COLLECTING || exchange->body == BODY_STREAMING);
}

/* http_exchange.c */
void exchange_next(struct http_exchange
                       *exchange); /* look for a head in what has come and hand it to the handler */
/* Take `len` bytes of body from the wire, in place; returns how many belonged to it. */
size_t exchange_take_body(struct http_exchange *exchange, char *bytes, size_t len);
/* The body will not be complete: tell its reader, who then answers. */
void exchange_refuse_body(struct http_exchange *exchange, int code, const char *why);

#endif
