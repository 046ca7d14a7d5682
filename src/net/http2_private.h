/* http2_private.h - what http2.c and http2_text.c share: the header block that is being read. */
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
    bool is_started;   /* the start line is written */
    bool is_malformed; /* RFC 9113 §8.1.1 */
    unsigned status;   /* 431, or 0 */
    size_t list_bytes; /* name + value + 32 of each field */
    unsigned field_count, crumb_count;
    size_t cookie_end; /* offset behind the cookie's value so far; 0: none */
};

void http2_head_init(struct http2_head *head, enum http2_block block, struct http2_text *text);
void http2_head_done(struct http2_head *head);
/* Takes a field in. False: so far over the limits that the connection should end. */
bool http2_head_field(struct http2_head *head, const struct http2_limits *limits,
                      nghttp2_rcbuf *name, nghttp2_rcbuf *value);
void http2_head_finish(struct http2_head *head); /* the last line; may find it malformed */
bool http2_head_is_tunnel(const struct http2_head *head);

#endif
