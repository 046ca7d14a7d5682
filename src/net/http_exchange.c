#include "net/http_server_private.h"

#include "base/json.h"

/* ---- the head of a request */

static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

/* Take the next byte of percent-encoded text. Control characters and, in paths, an encoded '/' are
 * refused: no name here has them, and they would let one path look like another. -1: refused. */
static int decode_byte(struct slice *rest, bool is_query)
{
    char byte = rest->ptr[0];
    size_t len = 1;
    if (byte == '%') {
        int high = rest->len > 2 ? hex_value(rest->ptr[1]) : -1;
        int low = rest->len > 2 ? hex_value(rest->ptr[2]) : -1;
        if (high < 0 || low < 0)
            return -1;
        byte = (char)(high * 16 + low);
        len = 3;
        if (!is_query && byte == '/')
            return -1;
    } else if (is_query && byte == '+') {
        byte = ' ';
    }
    if ((unsigned char)byte < 0x20 || byte == 0x7f)
        return -1;
    *rest = slice_sub(*rest, len, rest->len);
    return (unsigned char)byte;
}

/* Percent-decode into the arena. NULL: refused. */
static const char *decode(struct arena *arena, struct slice text, bool is_query)
{
    char *to = arena_try(arena, text.len + 1), *start = to;
    if (!to)
        return NULL;
    while (text.len) {
        int byte = decode_byte(&text, is_query);
        if (byte < 0)
            return NULL;
        *to++ = (char)byte;
    }
    return start;
}

/* Whether `text` decodes to `name`; without a copy, as a query may have thousands of names. */
static bool decodes_to(struct slice text, const char *name)
{
    while (text.len && *name)
        if (decode_byte(&text, true) != (unsigned char)*name++)
            return false;
    return text.len == 0 && *name == '\0';
}

/* Answer a message that the parser refuses, and close. */
static void exchange_refuse(struct http_exchange *exchange, unsigned status, const char *reason)
{
    struct buf *out = &exchange->out;
    struct buf body = BUF_INIT(4096);
    struct json_writer writer = JSON_WRITER(&body);
    json_begin_object(&writer, NULL);
    json_begin_object(&writer, "error");
    json_write_text(&writer, "code", error_name(ERR_INVALID));
    json_write_text(&writer, "message", reason);
    json_end_object(&writer);
    json_end_object(&writer);
    http1_append_status_line(out, status);
    http1_append_field(out, "Content-Type", SLICE("application/json"));
    http1_append_field_u64(out, "Content-Length", body.len);
    http1_append_field(out, "Connection", SLICE("close"));
    http1_append_end(out);
    buf_append_slice(out, buf_slice(&body));
    buf_done(&body);
    connection_moved(exchange);
    exchange->state = CONNECTION_EXCHANGE;
    exchange->answer = ANSWER_COMPLETE;
    exchange->is_keepalive = false;
    loop_defer(exchange->loop, &exchange->after);
}

/* Take over what a parsed head says. False: refused. */
static bool exchange_begin(struct http_exchange *exchange, const struct http1_head *head)
{
    arena_clear(exchange->arena);
    struct slice path = head->path, query;
    path = slice_cut(&path, '#');
    query = path;
    path = slice_cut(&query, '?');
    const char *decoded = decode(exchange->arena, path, false);
    exchange->fields =
        arena_try(exchange->arena, head->field_count * sizeof(struct http1_field) + 1);
    if (!decoded || !exchange->fields)
        return false;
    for (unsigned i = 0; i < head->field_count; i++) {
        exchange->fields[i] = head->fields[i];
        exchange->fields[i].name = arena_slice(exchange->arena, head->fields[i].name);
        exchange->fields[i].value = arena_slice(exchange->arena, head->fields[i].value);
    }
    exchange->field_count = head->field_count;
    exchange->path = slice_from(decoded);
    exchange->query = arena_slice(exchange->arena, query);
    exchange->method = arena_slice(exchange->arena, head->method_text);
    exchange->is_keepalive = head->is_keepalive;
    exchange->is_head_only = head->method == HTTP1_METHOD_HEAD;
    exchange->is_chunked_answer = head->version_minor > 0;
    exchange->expects_continue = head->expects_continue;
    exchange->framing = head->body;
    exchange->body_left = head->body == HTTP1_BODY_LENGTH ? head->content_length : 0;
    exchange->chunked = (struct http1_chunked){0};
    bool has_body = head->body == HTTP1_BODY_CHUNKED ||
                    (head->body == HTTP1_BODY_LENGTH && head->content_length);
    exchange->body = has_body ? BODY_UNASKED : BODY_OVER;
    exchange->is_paused = exchange->is_full = false;
    exchange->collector = NULL;
    exchange->sink = NULL;
    exchange->stream = NULL;
    exchange->answer = ANSWER_OWED;
    exchange->state = CONNECTION_EXCHANGE;
    return true;
}

/* Look for a head in what has come and hand it to the handler. */
void exchange_next(struct http_exchange *exchange)
{
    const struct http1_limits limits = {HTTP_SERVER_HEAD_BYTES, 8192, 64};
    struct http1_head head;
    struct http1_failure failure;
    enum http1_result result = http1_parse_request(exchange->in.ptr, exchange->in.len,
                                                   &exchange->progress, &limits, &head, &failure);
    if (result == HTTP1_MORE)
        return;
    if (result == HTTP1_BAD) {
        exchange_refuse(exchange, failure.status, failure.reason);
        return;
    }
    if (!exchange_begin(exchange, &head)) {
        exchange_refuse(exchange, 400, "the path is not valid");
        return;
    }
    buf_consume(&exchange->in, head.head_bytes);
    connection_moved(exchange);
    exchange->server->handler->on_request(exchange->server->handler, exchange);
}

/* ---- the body of a request */

static void body_complete(struct http_exchange *exchange)
{
    enum body_state was = exchange->body;
    exchange->body = BODY_OVER;
    if (was == BODY_COLLECTING)
        exchange->collector->on_body(exchange->collector, buf_slice(&exchange->collected), NULL);
    else if (was == BODY_STREAMING)
        exchange->sink->on_end(exchange->sink, NULL);
}

void exchange_refuse_body(struct http_exchange *exchange, int code, const char *why)
{
    struct error err = {0};
    enum body_state was = exchange->body;
    error_set(&err, code, "%s", why);
    exchange->body = BODY_UNASKED;
    exchange->is_keepalive = false;
    if (was == BODY_COLLECTING)
        exchange->collector->on_body(exchange->collector, (struct slice){0}, &err);
    else if (was == BODY_STREAMING)
        exchange->sink->on_end(exchange->sink, &err);
}

size_t exchange_take_body(struct http_exchange *exchange, char *bytes, size_t len)
{
    struct slice data = {bytes, len};
    size_t consumed = len;
    bool is_last = false;
    if (exchange->framing == HTTP1_BODY_CHUNKED) {
        struct http1_failure failure;
        enum http1_result result =
            http1_chunked_decode(&exchange->chunked, bytes, len, &consumed, &data, &failure);
        if (result == HTTP1_BAD) {
            exchange_refuse_body(exchange, ERR_INVALID, failure.reason);
            return len;
        }
        is_last = result == HTTP1_DONE;
    } else {
        consumed = (size_t)MIN((uint64_t)len, exchange->body_left);
        data.len = consumed;
        exchange->body_left -= consumed;
        is_last = exchange->body_left == 0;
    }
    connection_moved(exchange);
    if (data.len && exchange->body == BODY_COLLECTING) {
        buf_append_slice(&exchange->collected, data);
        if (exchange->collected.failed) {
            exchange_refuse_body(exchange, ERR_LIMIT, "the body of the request is too large");
            return consumed;
        }
    } else if (data.len && exchange->body == BODY_STREAMING) {
        exchange->is_paused = !exchange->sink->on_data(exchange->sink, data);
    }
    if (is_last && (exchange->body == BODY_COLLECTING || exchange->body == BODY_STREAMING))
        body_complete(exchange);
    return consumed;
}

/* What came together with the head goes first. */
static void exchange_read_body(struct http_exchange *exchange)
{
    if (exchange->in.len && exchange_wants_body(exchange) && !exchange->is_paused) {
        size_t used = exchange_take_body(exchange, exchange->in.ptr, exchange->in.len);
        buf_consume(&exchange->in, used);
    }
}

/* ---- what a handler asks and says */

struct slice http_exchange_method(const struct http_exchange *exchange)
{
    return exchange->method;
}

struct slice http_exchange_path(const struct http_exchange *exchange)
{
    return exchange->path;
}

const char *http_exchange_query(struct http_exchange *exchange, const char *name)
{
    struct slice rest = exchange->query;
    while (rest.len) {
        struct slice value = slice_cut(&rest, '&');
        struct slice key = slice_cut(&value, '=');
        if (decodes_to(key, name))
            return decode(exchange->arena, value, true);
    }
    return NULL;
}

const char *http_exchange_header(struct http_exchange *exchange, const char *name)
{
    for (unsigned i = 0; i < exchange->field_count; i++)
        if (slice_eq_nocase(exchange->fields[i].name, slice_from(name)))
            return arena_slice_text(exchange->arena, exchange->fields[i].value);
    return NULL;
}

struct arena *http_exchange_arena(struct http_exchange *exchange)
{
    return exchange->arena;
}

const struct peer *http_exchange_peer(const struct http_exchange *exchange)
{
    return &exchange->peer;
}

int64_t http_exchange_body_bytes(const struct http_exchange *exchange)
{
    if (exchange->framing == HTTP1_BODY_CHUNKED)
        return -1;
    return (int64_t)exchange->body_left;
}

static void body_begin(struct http_exchange *exchange)
{
    if (exchange->expects_continue && exchange->in.len == 0 && exchange->body != BODY_OVER) {
        http1_append_status_line(&exchange->out, 100);
        http1_append_end(&exchange->out);
    }
    exchange->expects_continue = false;
    connection_moved(exchange);
    exchange_read_body(exchange);
    loop_defer(exchange->loop, &exchange->after);
}

void http_exchange_stream_body(struct http_exchange *exchange, struct http_body_sink *sink)
{
    exchange->sink = sink;
    if (exchange->body == BODY_OVER) {
        exchange->body = BODY_STREAMING;
        body_complete(exchange);
        return;
    }
    exchange->body = BODY_STREAMING;
    body_begin(exchange);
}

void http_exchange_resume_body(struct http_exchange *exchange)
{
    if (!exchange->is_paused || exchange->is_closed)
        return;
    exchange->is_paused = false;
    connection_moved(exchange);
    exchange_read_body(exchange);
    loop_defer(exchange->loop, &exchange->after);
}

void http_exchange_collect(struct http_exchange *exchange, size_t limit_bytes,
                           struct http_collected *collected)
{
    exchange->collector = collected;
    exchange->collected = BUF_INIT(limit_bytes);
    if (exchange->body == BODY_OVER) {
        exchange->body = BODY_COLLECTING;
        body_complete(exchange);
        return;
    }
    exchange->body = BODY_COLLECTING;
    if (exchange->framing == HTTP1_BODY_LENGTH && exchange->body_left > limit_bytes) {
        exchange_refuse_body(exchange, ERR_LIMIT, "the body of the request is too large");
        return;
    }
    body_begin(exchange);
}

/* Begin an answer. A body that was not read by now never will be. */
static void append_head(struct http_exchange *exchange, int status, const char *content_type)
{
    if (exchange->body != BODY_OVER)
        exchange->body = BODY_UNASKED;
    connection_moved(exchange);
    http1_append_status_line(&exchange->out, (unsigned)status);
    http1_append_field(&exchange->out, "Content-Type", slice_from(content_type));
    http1_append_field(&exchange->out, "Cache-Control", SLICE("no-store"));
    if (!exchange->is_keepalive || exchange->body != BODY_OVER)
        http1_append_field(&exchange->out, "Connection", SLICE("close"));
}

void http_exchange_answer(struct http_exchange *exchange, int status, const char *content_type,
                          struct slice body)
{
    assert(exchange->answer == ANSWER_OWED);
    exchange->answer = ANSWER_COMPLETE;
    if (exchange->is_closed) {
        if (exchange->server)
            connection_close(exchange);
        else
            connection_free(exchange);
        return; /* the client left before */
    }
    append_head(exchange, status, content_type);
    http1_append_field_u64(&exchange->out, "Content-Length", body.len);
    http1_append_end(&exchange->out);
    if (!exchange->is_head_only)
        buf_append_slice(&exchange->out, body);
    loop_defer(exchange->loop, &exchange->after);
}

void http_exchange_answer_error(struct http_exchange *exchange, const struct error *err)
{
    struct buf body = BUF_INIT(16384);
    struct json_writer writer = JSON_WRITER(&body);
    json_begin_object(&writer, NULL);
    json_begin_object(&writer, "error");
    json_write_text(&writer, "code", error_name(err->code));
    json_write_text(&writer, "message", err->text[0] ? err->text : error_text(err->code));
    if (err->hint[0])
        json_write_text(&writer, "hint", err->hint);
    json_end_object(&writer);
    json_end_object(&writer);
    http_exchange_answer(exchange, error_http_status(err->code), "application/json",
                         buf_slice(&body));
    buf_done(&body);
}

void http_exchange_begin_stream(struct http_exchange *exchange, int status,
                                const char *content_type, struct http_stream *stream)
{
    assert(exchange->answer == ANSWER_OWED);
    exchange->answer = ANSWER_STREAMING;
    exchange->stream = stream;
    if (!exchange->is_chunked_answer)
        exchange->is_keepalive = false;
    append_head(exchange, status, content_type);
    if (exchange->is_chunked_answer)
        http1_append_field(&exchange->out, "Transfer-Encoding", SLICE("chunked"));
    http1_append_end(&exchange->out);
    loop_defer(exchange->loop, &exchange->after);
}

bool http_exchange_send(struct http_exchange *exchange, struct slice data)
{
    assert(exchange->answer == ANSWER_STREAMING);
    if (connection_queued(exchange) == 0)
        connection_moved(exchange);
    if (data.len && !exchange->is_head_only) {
        char head[HTTP1_CHUNK_HEAD_MAX];
        if (exchange->is_chunked_answer)
            buf_append(&exchange->out, head, http1_chunk_head(head, data.len));
        buf_append_slice(&exchange->out, data);
        if (exchange->is_chunked_answer)
            buf_append(&exchange->out, "\r\n", 2);
    }
    /* Written at the end of the turn: a burst becomes one write. */
    loop_defer(exchange->loop, &exchange->after);
    exchange->is_full = connection_queued(exchange) >= HTTP_SERVER_STREAM_FULL;
    return !exchange->is_full;
}

void http_exchange_end_stream(struct http_exchange *exchange)
{
    assert(exchange->answer == ANSWER_STREAMING);
    exchange->answer = ANSWER_COMPLETE;
    if (exchange->is_chunked_answer && !exchange->is_head_only)
        buf_append_text(&exchange->out, HTTP1_CHUNK_LAST);
    loop_defer(exchange->loop, &exchange->after);
}
