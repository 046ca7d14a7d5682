/* http1.h - the HTTP/1.1 codec (RFC 9112): a strict parser for requests and responses, a chunked
 * decoder, serialiser helpers.
 *
 * Why: the edge, the admin server, the probes and the command line speak the same HTTP, so they
 * refuse the same ambiguous messages. Everything that two implementations could read in two ways is
 * an error, never a guess. Shape: the caller owns one contiguous buffer and calls the parser again
 * whenever more bytes have arrived. Once the header block is complete it is parsed in place: all
 * slices of the result point into the buffer and live as long as it stays unmoved. No allocation,
 * no copy, no system call. Design: docs/design/edge.md
 */
#ifndef NET_HTTP1_H
#define NET_HTTP1_H

#include "base/buf.h"
#include "base/slice.h"
#include <stdbool.h>

#define HTTP1_FIELDS_MAX 256 /* storage; the limit of a use is http1_limits.field_count */

/* X(enum suffix, name, flags): the fields that somebody here asks for. Everything else is
 * HTTP1_FIELD_OTHER. */
#define HTTP1_HOP 1u /* hop-by-hop: never forwarded as it came */
#define HTTP1_PROTECTED                                                                            \
    2u /* a Connection option cannot remove it (RFC 9110 §7.6.1 leaves that open to abuse) */
#define HTTP1_SHADOWED                                                                             \
    4u /* "a_b" for "a-b" is refused passage: gateways downstream may fold them together */
#define HTTP1_FIELD_TABLE(X)                                                                       \
    X(HOST, "host", HTTP1_PROTECTED | HTTP1_SHADOWED)                                              \
    X(CONNECTION, "connection", HTTP1_HOP | HTTP1_SHADOWED)                                        \
    X(KEEP_ALIVE, "keep-alive", HTTP1_HOP)                                                         \
    X(PROXY_CONNECTION, "proxy-connection", HTTP1_HOP)                                             \
    X(TE, "te", HTTP1_HOP)                                                                         \
    X(TRAILER, "trailer", HTTP1_HOP)                                                               \
    X(TRANSFER_ENCODING, "transfer-encoding", HTTP1_HOP | HTTP1_SHADOWED)                          \
    X(UPGRADE, "upgrade", HTTP1_HOP)                                                               \
    X(HTTP2_SETTINGS, "http2-settings", HTTP1_HOP)                                                 \
    X(PROXY_AUTHENTICATE, "proxy-authenticate", HTTP1_HOP)                                         \
    X(PROXY_AUTHORIZATION, "proxy-authorization", HTTP1_HOP)                                       \
    X(PROXY_AUTHENTICATION_INFO, "proxy-authentication-info", HTTP1_HOP)                           \
    X(CONTENT_LENGTH, "content-length", HTTP1_PROTECTED | HTTP1_SHADOWED)                          \
    X(CONTENT_TYPE, "content-type", HTTP1_PROTECTED)                                               \
    X(CONTENT_ENCODING, "content-encoding", HTTP1_PROTECTED)                                       \
    X(CONTENT_RANGE, "content-range", HTTP1_PROTECTED)                                             \
    X(EXPECT, "expect", 0)                                                                         \
    X(VIA, "via", HTTP1_PROTECTED)                                                                 \
    X(MAX_FORWARDS, "max-forwards", HTTP1_PROTECTED)                                               \
    X(FORWARDED, "forwarded", HTTP1_PROTECTED)                                                     \
    X(X_FORWARDED_FOR, "x-forwarded-for", HTTP1_PROTECTED | HTTP1_SHADOWED)                        \
    X(X_FORWARDED_PROTO, "x-forwarded-proto", HTTP1_PROTECTED | HTTP1_SHADOWED)                    \
    X(X_FORWARDED_HOST, "x-forwarded-host", HTTP1_PROTECTED | HTTP1_SHADOWED)                      \
    X(X_FORWARDED_PORT, "x-forwarded-port", HTTP1_PROTECTED | HTTP1_SHADOWED)                      \
    X(X_REAL_IP, "x-real-ip", HTTP1_PROTECTED | HTTP1_SHADOWED)                                    \
    X(X_REQUEST_ID, "x-request-id", HTTP1_PROTECTED | HTTP1_SHADOWED)                              \
    X(STRICT_TRANSPORT_SECURITY, "strict-transport-security", HTTP1_PROTECTED)                     \
    X(AUTHORIZATION, "authorization", HTTP1_PROTECTED)                                             \
    X(COOKIE, "cookie", HTTP1_PROTECTED)                                                           \
    X(SET_COOKIE, "set-cookie", HTTP1_PROTECTED)                                                   \
    X(CACHE_CONTROL, "cache-control", HTTP1_PROTECTED)                                             \
    X(ACCEPT, "accept", 0)                                                                         \
    X(ACCEPT_ENCODING, "accept-encoding", 0)                                                       \
    X(DATE, "date", HTTP1_PROTECTED)                                                               \
    X(ETAG, "etag", 0)                                                                             \
    X(IF_MATCH, "if-match", 0)                                                                     \
    X(IF_NONE_MATCH, "if-none-match", 0)                                                           \
    X(IF_MODIFIED_SINCE, "if-modified-since", 0)                                                   \
    X(IF_UNMODIFIED_SINCE, "if-unmodified-since", 0)                                               \
    X(IF_RANGE, "if-range", 0)                                                                     \
    X(RANGE, "range", 0)                                                                           \
    X(LOCATION, "location", 0)                                                                     \
    X(SERVER, "server", 0)                                                                         \
    X(USER_AGENT, "user-agent", 0)

enum http1_field_id {
    HTTP1_FIELD_OTHER,
#define X(id, name, flags) HTTP1_FIELD_##id,
    HTTP1_FIELD_TABLE(X)
#undef X
        HTTP1_FIELD_SHADOW, /* an underscore twin of a SHADOWED name, e.g. Content_Length, or any
                               X-Client-Certificate-*, which the edge alone may say: do not
                               forward */
    HTTP1_FIELD_COUNT,
};

#define HTTP1_METHOD_TABLE(X)                                                                      \
    X(GET) X(HEAD) X(POST) X(PUT) X(DELETE) X(OPTIONS) X(TRACE) X(CONNECT) X(PATCH)
enum http1_method {
    HTTP1_METHOD_OTHER, /* any other token; its text is in head.method_text */
#define X(name) HTTP1_METHOD_##name,
    HTTP1_METHOD_TABLE(X)
#undef X
};

enum http1_body {
    HTTP1_BODY_NONE,
    HTTP1_BODY_LENGTH,  /* head.content_length bytes; may be 0 */
    HTTP1_BODY_CHUNKED, /* use http1_chunked */
    HTTP1_BODY_CLOSE,   /* responses only: until end of file */
};

enum http1_target {
    HTTP1_TARGET_ORIGIN,
    HTTP1_TARGET_ABSOLUTE,
    HTTP1_TARGET_ASTERISK,
    HTTP1_TARGET_AUTHORITY
};

struct http1_field {
    struct slice name, value; /* as they came; the value without surrounding white space */
    uint8_t id;               /* enum http1_field_id */
    bool is_hop;              /* hop-by-hop by nature, or because Connection names it */
};

struct http1_limits {
    size_t head_bytes;    /* start line and fields */
    size_t target_bytes;  /* of the request target */
    unsigned field_count; /* at most HTTP1_FIELDS_MAX */
};
#define HTTP1_LIMITS_DEFAULT                                                                       \
    ((struct http1_limits){.head_bytes = 65536, .target_bytes = 16384, .field_count = 100})

enum http1_result {
    HTTP1_MORE, /* not complete: call again with more bytes behind the same ones */
    HTTP1_DONE,
    HTTP1_BAD,
};

/* Why a message is refused. For requests `status` is what to answer (400, 414, 417, 431, 501, 505);
 * the connection must be closed after it. For responses it is 502. `reason` is a short English
 * phrase, static. */
struct http1_failure {
    unsigned status;
    const char *reason;
};

struct http1_head {
    /* request */
    enum http1_method method;
    enum http1_target target_form;
    struct slice method_text;
    struct slice target; /* as it came; "*" for an OPTIONS of "http://host" */
    struct slice path;   /* path and query of the target, starts with '/' ("" for "http://host", "*"
                            and CONNECT) */
    struct slice host; /* host[:port]: of an absolute target, else of the Host field; valid syntax;
                          "" when absent (1.0) */
    bool expects_continue;
    /* response */
    unsigned status;
    struct slice reason;
    /* both */
    unsigned version_minor; /* 0 or 1; every 1.x above is 1 */
    enum http1_body body;
    uint64_t content_length; /* when is_length_given */
    bool is_length_given; /* a Content-Length was there, even if the message has no body (HEAD) */
    bool is_keepalive;    /* this message lets the connection go on */
    bool is_upgrade;      /* Connection: upgrade and an Upgrade field (1.1; GET without a body in
                             requests) */
    struct slice upgrade; /* value of the Upgrade field */
    size_t head_bytes;    /* from the buffer's start to the first byte of the body */
    unsigned field_count;
    struct http1_field fields[HTTP1_FIELDS_MAX];
};

/* What a parser remembers between two calls on one buffer; zero it for each message. */
struct http1_progress {
    size_t scanned;
};

/* Parse a request's header block from bytes[0, len).
 *
 * in    bytes      mutable for symmetry with responses; not changed
 *       limits     exceeding them is BAD with 414 or 431
 * out   ret_head   complete when DONE; undefined otherwise
 *       ret_failure set when BAD
 * cost             one pass over the block, each byte looked at once when it arrives whole
 * Source: RFC 9112 §2–7, RFC 9110 §5, §7; what is refused: docs/design/edge.md
 */
MUST_USE enum http1_result http1_parse_request(char *bytes, size_t len,
                                               struct http1_progress *progress,
                                               const struct http1_limits *limits,
                                               struct http1_head *ret_head,
                                               struct http1_failure *ret_failure);
/* The same for a response. An answer to HEAD (`request_method`) has no body; one to CONNECT is
 * framed like any other, as tunnels are not asked for. obs-fold is replaced by spaces in place. 1xx
 * are returned like any other, with body NONE. */
MUST_USE enum http1_result
http1_parse_response(char *bytes, size_t len, struct http1_progress *progress,
                     const struct http1_limits *limits, enum http1_method request_method,
                     struct http1_head *ret_head, struct http1_failure *ret_failure);

/* The first field of that id, or NULL. Linear in the number of fields. */
const struct http1_field *http1_field_find(const struct http1_head *head, enum http1_field_id id);
/* The first field of that name (any case), or NULL. */
const struct http1_field *http1_field_named(const struct http1_head *head, struct slice name);
/* True when a comma-separated list contains `token` (any case). */
bool http1_list_has(struct slice list, struct slice token);
enum http1_field_id http1_field_identify(struct slice name); /* any case */
unsigned http1_field_flags(enum http1_field_id id);
/* uri-host [":" port] as RFC 3986 has it, port 0..65535 or empty. */
bool http1_host_is_valid(struct slice host);
bool http1_token_is_valid(struct slice token);
/* No CR, LF, NUL or other control characters except HTAB. */
bool http1_value_is_valid(struct slice value);

/* ---- chunked transfer coding (RFC 9112 §7.1) */

#define HTTP1_TRAILERS_MAX 16384u

struct http1_chunked { /* zero it for each body, but for `trailers` */
    unsigned state;
    unsigned digits;
    uint64_t remaining;       /* of the present chunk */
    uint32_t extension_bytes; /* of the whole body; bounded */
    uint32_t trailer_bytes;   /* bounded */
    uint32_t line_bytes;      /* of the present trailer line */
    struct buf *trailers;     /* the caller's, empty: gets the trailer lines, each with its CRLF;
                                 NULL: they are checked and dropped */
};

/* Decode what is there, in place.
 *
 * in    bytes, len     consumed from the front; the data of several chunks is moved together behind
 * that of the first out   ret_consumed   bytes used up; == len unless DONE (then the rest belongs
 * to the next message) ret_data       the decoded data, contiguous, inside bytes[0, consumed); may
 * be empty MORE: call again with the bytes that follow. DONE: the last chunk and its trailers are
 * read. BAD: ret_failure is set; ret_data holds what was decoded before.
 */
MUST_USE enum http1_result http1_chunked_decode(struct http1_chunked *chunked, char *bytes,
                                                size_t len, size_t *ret_consumed,
                                                struct slice *ret_data,
                                                struct http1_failure *ret_failure);

#define HTTP1_CHUNK_HEAD_MAX 18 /* sixteen digits and CRLF */
/* "size CRLF" in hexadecimal; returns its length. The data is followed by CRLF, the body by
 * HTTP1_CHUNK_LAST. */
size_t http1_chunk_head(char buffer[HTTP1_CHUNK_HEAD_MAX], uint64_t size);
#define HTTP1_CHUNK_LAST "0\r\n\r\n"

/* ---- serialiser helpers. Values are the caller's duty: nothing that came from outside goes in
 * without http1_value_is_valid */

const char *http1_status_text(unsigned status); /* "Not Found"; "" when unknown */
void http1_append_request_line(struct buf *buf, struct slice method,
                               struct slice target);             /* HTTP/1.1 */
void http1_append_status_line(struct buf *buf, unsigned status); /* HTTP/1.1 */
void http1_append_field(struct buf *buf, const char *name, struct slice value);
void http1_append_field_u64(struct buf *buf, const char *name, uint64_t value);
/* Append CRLF: the end of the header block. */
void http1_append_end(struct buf *buf);
#define HTTP1_DATE_SIZE 30
/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 §5.6.7) and NUL; returns the buffer. */
char *http1_format_date(uint64_t epoch_seconds, char buffer[HTTP1_DATE_SIZE]);
/* Any of the three forms of RFC 9110 §5.6.7. 0, or ERR_INVALID. */
MUST_USE int http1_parse_date(struct slice text, uint64_t *ret_epoch_seconds);

#endif
