/* http2_text.c - header lists of HTTP/2 as HTTP/1.1 header blocks.
 *
 * nghttp2 has checked the characters of names and values, the pseudo-header fields and those that
 * may not occur (RFC 9113 §8.2, §8.3) before anything comes here. What is left is what only shows
 * once the list stands in a line: a target that would read as another form, two hosts that differ,
 * crumbs of a cookie, and the sizes of lists whose fields cost the sender one byte each.
 */
#include "net/http2_private.h"
#include <openssl/evp.h>
#include <openssl/sha.h>

#define FIELD_OVERHEAD 32u /* RFC 9113 §6.5.2 */
#define CRUMBS_MAX     256u
#define FAR_OVER       4u /* times the limit: nobody is told a status any more */

static struct slice rcbuf_slice(nghttp2_rcbuf *buffer)
{
    nghttp2_vec vec;

    if (!buffer)
        return SLICE("");
    vec = nghttp2_rcbuf_get_buf(buffer);
    return (struct slice){(const char *)vec.base, vec.len};
}

void http2_head_init(struct http2_head *head, enum http2_block block, bool is_tunnel,
                     struct http2_text *text)
{
    http2_head_done(head);
    memset(head, 0, sizeof(*head));
    head->block = block;
    head->is_tunnel = is_tunnel;
    head->text = text;
}

void http2_head_done(struct http2_head *head)
{
    for (unsigned i = 0; i < HTTP2_PSEUDO_COUNT; i++) {
        if (head->pseudo[i])
            nghttp2_rcbuf_decref(head->pseudo[i]);
        head->pseudo[i] = NULL;
    }
}

/* ---- writing; a text that is full is an answer of 431, never a shorter message */

static void put(struct http2_head *head, struct slice s)
{
    struct http2_text *text = head->text;

    if (s.len > text->size - text->len) {
        head->status = 431;
        return;
    }
    if (s.len)
        memcpy(text->bytes + text->len, s.ptr, s.len);
    text->len += s.len;
}

static void put_line(struct http2_head *head, struct slice name, struct slice value)
{
    struct http2_text *text = head->text;
    size_t needed = name.len + value.len + 4;
    char *at = text->bytes + text->len;

    if (needed > text->size - text->len) {
        head->status = 431;
        return;
    }
    memcpy(at, name.ptr, name.len);
    at += name.len;
    *at++ = ':';
    *at++ = ' ';
    if (value.len)
        memcpy(at, value.ptr, value.len);
    at += value.len;
    *at++ = '\r';
    *at = '\n';
    text->len += needed;
}

static struct slice pseudo(const struct http2_head *head, enum http2_pseudo id)
{
    return rcbuf_slice(head->pseudo[id]);
}

/* A path that does not begin with '/' would be read as another form of target, and its host would
 * win (RFC 9112 §3.2.2). */
static bool target_is_plain(struct slice method, struct slice path)
{
    return path.len && (path.ptr[0] == '/' || (path.len == 1 && path.ptr[0] == '*' &&
                                               slice_eq(method, SLICE("OPTIONS"))));
}

static void start_request(struct http2_head *head)
{
    struct slice method = pseudo(head, HTTP2_PSEUDO_METHOD);
    struct slice authority = pseudo(head, HTTP2_PSEUDO_AUTHORITY);
    struct slice target = pseudo(head, HTTP2_PSEUDO_PATH);
    struct slice scheme = pseudo(head, HTTP2_PSEUDO_SCHEME);
    bool is_connect = slice_eq(method, SLICE("CONNECT"));

    head->is_tunnel = head->pseudo[HTTP2_PSEUDO_PROTOCOL] != NULL;
    if (is_connect && !head->is_tunnel) {
        target = authority;
    } else if (!target_is_plain(method, target) || !(slice_eq_nocase(scheme, SLICE("https")) ||
                                                     slice_eq_nocase(scheme, SLICE("http")))) {
        head->is_malformed = true;
        return;
    } else if (is_connect) {
        method = SLICE("GET");
    }
    put(head, method);
    put(head, SLICE(" "));
    put(head, target);
    put(head, SLICE(" HTTP/1.1\r\n"));
    if (head->pseudo[HTTP2_PSEUDO_AUTHORITY])
        put_line(head, SLICE("host"), authority);
}

/* RFC 8441 §5: any 2xx agrees to a WebSocket, as 101 does. */
static void start_response(struct http2_head *head)
{
    struct slice status = pseudo(head, HTTP2_PSEUDO_STATUS);

    if (head->is_tunnel && status.len && status.ptr[0] == '2') {
        put(head, SLICE("HTTP/1.1 101 \r\nconnection: upgrade\r\nupgrade: websocket\r\n"));
        return;
    }
    put(head, SLICE("HTTP/1.1 "));
    put(head, status);
    put(head, SLICE(" \r\n"));
}

static void start(struct http2_head *head)
{
    head->is_started = true;
    if (head->block == HTTP2_REQUEST)
        start_request(head);
    else if (head->block == HTTP2_RESPONSE)
        start_response(head);
}

/* RFC 9113 §8.2.3: crumbs become one field again, where the first of them stood. */
static void put_crumb(struct http2_head *head, struct slice value)
{
    struct http2_text *text = head->text;
    size_t added = value.len + 2;
    char *at = text->bytes + head->cookie_end;

    if (++head->crumb_count > CRUMBS_MAX || added > text->size - text->len) {
        head->status = 431;
        return;
    }
    if (head->cookie_end == 0) {
        put_line(head, SLICE("cookie"), value);
        head->cookie_end = text->len - 2;
        return;
    }
    memmove(at + added, at, text->len - head->cookie_end);
    memcpy(at, "; ", 2);
    if (value.len)
        memcpy(at + 2, value.ptr, value.len);
    head->cookie_end += added;
    text->len += added;
}

static void request_field(struct http2_head *head, struct slice name, struct slice value)
{
    if (slice_eq(name, SLICE("cookie"))) {
        put_crumb(head, value);
        return;
    }
    if (slice_eq(name, SLICE("host")) && head->pseudo[HTTP2_PSEUDO_AUTHORITY]) {
        /* The same twice is harmless and said once; two that differ are two requests in one. */
        if (!slice_eq_nocase(value, pseudo(head, HTTP2_PSEUDO_AUTHORITY)))
            head->is_malformed = true;
        return;
    }
    /* The upstream's handshake is made here, see http2_websocket_key. */
    if (head->is_tunnel && slice_eq(name, SLICE("sec-websocket-key")))
        return;
    put_line(head, name, value);
}

bool http2_head_field(struct http2_head *head, const struct http2_limits *limits,
                      nghttp2_rcbuf *name_buffer, nghttp2_rcbuf *value_buffer)
{
    static const struct slice names[] = {
#define X(id, name) {name, sizeof(name) - 1},
        HTTP2_PSEUDO_TABLE(X)
#undef X
    };
    struct slice name = rcbuf_slice(name_buffer), value = rcbuf_slice(value_buffer);
    bool is_cookie = head->block == HTTP2_REQUEST && slice_eq(name, SLICE("cookie"));

    head->list_bytes += name.len + value.len + FIELD_OVERHEAD;
    if (!is_cookie)
        head->field_count++;
    if (head->list_bytes > limits->head_bytes || head->field_count > limits->field_count) {
        head->status = 431;
        return head->list_bytes <= (size_t)limits->head_bytes * FAR_OVER;
    }
    if (!head->text || head->status || head->is_malformed)
        return true;
    if (name.len && name.ptr[0] == ':') {
        head->field_count--;
        for (unsigned i = 0; i < HTTP2_PSEUDO_COUNT; i++)
            if (slice_eq(name, names[i]) && !head->pseudo[i]) {
                nghttp2_rcbuf_incref(value_buffer);
                head->pseudo[i] = value_buffer;
                return true;
            }
        head->is_malformed = true;
        return true;
    }
    if (!head->is_started)
        start(head);
    if (head->is_malformed)
        return true;
    if (head->block == HTTP2_REQUEST)
        request_field(head, name, value);
    else
        put_line(head, name, value);
    return true;
}

void http2_head_finish(struct http2_head *head)
{
    if (!head->text || head->status || head->is_malformed)
        return;
    if (!head->is_started)
        start(head);
    if (head->is_malformed || head->block == HTTP2_TRAILERS)
        return;
    if (head->block == HTTP2_REQUEST && head->is_tunnel) {
        put_line(head, SLICE("connection"), SLICE("upgrade"));
        put_line(head, SLICE("upgrade"), pseudo(head, HTTP2_PSEUDO_PROTOCOL));
    }
    put(head, SLICE("\r\n"));
}

/* ---- WebSocket */

void http2_websocket_key(const uint8_t random_bytes[16], char ret_key[HTTP2_WEBSOCKET_KEY_SIZE])
{
    (void)EVP_EncodeBlock((unsigned char *)ret_key, random_bytes, 16);
}

void http2_websocket_accept(const char *key, char ret_accept[HTTP2_WEBSOCKET_ACCEPT_SIZE])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char digest[SHA_DIGEST_LENGTH];
    char joined[HTTP2_WEBSOCKET_KEY_SIZE + sizeof(guid)];
    size_t key_len = MIN(strlen(key), (size_t)HTTP2_WEBSOCKET_KEY_SIZE - 1);

    memcpy(joined, key, key_len);
    memcpy(joined + key_len, guid, sizeof(guid) - 1);
    (void)SHA1((const unsigned char *)joined, key_len + sizeof(guid) - 1, digest);
    (void)EVP_EncodeBlock((unsigned char *)ret_accept, digest, sizeof(digest));
}
