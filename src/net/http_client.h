/* http_client.h - a small HTTP/1.1 client on a loop: health probes, the command line's talk with
 * the admin socket. One request a connection ("Connection: close"). Every request has a deadline;
 * bodies stream in both ways. */
#ifndef NET_HTTP_CLIENT_H
#define NET_HTTP_CLIENT_H

#include "base/buf.h"
#include "loop/loop.h"
#include "os/socket.h"

struct http_client_request {
    const struct address *address;
    const char *method, *target, *host; /* host: value of the Host header */
    struct slice body;                  /* copied; or: */
    int body_fd; /* -1: none; else streamed (a file or pipe), chunked unless body_bytes is known */
    int64_t body_bytes;          /* with body_fd: length or -1 */
    const char *content_type;    /* NULL: none */
    const char *user_agent;      /* NULL: slipway and its version; trusted */
    const char *extra_headers;   /* "Name: value\r\n…" or NULL; trusted */
    uint64_t timeout_ms;         /* whole exchange; 0: only idle_timeout_ms */
    uint64_t idle_timeout_ms;    /* between two bytes; 0: none */
    size_t response_limit_bytes; /* for a collected body; beyond: ERR_LIMIT */
    bool is_streamed;            /* call on_data instead of collecting */
};

struct http_client;

struct http_client_response {
    int status;        /* 0 when none came */
    struct slice body; /* collected body, borrowed for the call */
    struct slice content_type;
    /* 0, or: ERR_UNAVAILABLE never connected, nothing was sent ("connection refused");
     * ERR_PERMISSION may not connect; ERR_TIMEOUT "no answer within 5s"; ERR_IO the connection
     * ended before the answer did; ERR_INVALID the answer is not HTTP; ERR_LIMIT the body is larger
     * than response_limit_bytes. */
    int code;
    const struct error *err; /* the story of `code`; NULL when 0 */
    uint64_t duration_us;
};

struct http_client_handler {
    void (*on_head)(struct http_client_handler *handler,
                    int status); /* streamed only; may be NULL */
    void (*on_data)(struct http_client_handler *handler, struct slice data); /* streamed only */
    /* Exactly once, never inside http_client_start; the client frees itself afterwards. */
    void (*on_done)(struct http_client_handler *handler,
                    const struct http_client_response *response);
};

/* Begin. ERR_INVALID when method, target or host cannot stand in a request; everything later, a
 * refused connection too, comes through on_done. body_fd stays the caller's and must be
 * non-blocking if it is a pipe. The returned client is owned by itself until on_done;
 * http_client_cancel ends it without on_done. */
MUST_USE int http_client_start(struct loop *loop, const struct http_client_request *request,
                               struct http_client_handler *handler, struct http_client **ret_client,
                               struct error *err);
void http_client_cancel(struct http_client *client);
/* Bytes of the request's body that the kernel has taken so far. */
uint64_t http_client_sent_bytes(const struct http_client *client);

#endif
