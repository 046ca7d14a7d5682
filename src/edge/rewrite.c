/* rewrite.c - header blocks on their way: what is dropped, what is added, all of it copied once.
 *
 * Fields that pass unchanged and stand beside each other are copied as one run of bytes, line ends
 * included: the parser has already refused everything that a run could smuggle.
 */
#include "edge/edge_private.h"

char *rewrite_u64(char *at, uint64_t value)
{
    char digits[20];
    unsigned count = 0;

    do
        digits[count++] = (char)('0' + value % 10);
    while (value /= 10);
    while (count)
        *at++ = digits[--count];
    return at;
}

/* Copy the fields for which `dropped` has no bit, in runs. */
static char *copy_fields(char *at, const struct http1_head *head, uint64_t dropped,
                         const char *block_end)
{
    const char *run = NULL;

    for (unsigned i = 0; i < head->field_count; i++) {
        const struct http1_field *field = &head->fields[i];
        bool is_dropped = field->is_hop || (dropped >> field->id & 1);

        if (!is_dropped && !run) {
            run = field->name.ptr;
        } else if (is_dropped && run) {
            memcpy(at, run, (size_t)(field->name.ptr - run));
            at += field->name.ptr - run;
            run = NULL;
        }
    }
    if (run) {
        memcpy(at, run, (size_t)(block_end - run));
        at += block_end - run;
    }
    return at;
}

#define BIT(name) (1ull << HTTP1_FIELD_##name)
_Static_assert(HTTP1_FIELD_COUNT <= 64, "a set of fields fits 64 bits");

#define REQUEST_DROPPED                                                                            \
    (BIT(HOST) | BIT(CONTENT_LENGTH) | BIT(X_FORWARDED_FOR) | BIT(X_FORWARDED_PROTO) |             \
     BIT(X_FORWARDED_HOST) | BIT(X_FORWARDED_PORT) | BIT(X_REAL_IP) | BIT(FORWARDED) |             \
     BIT(X_REQUEST_ID) | BIT(EXPECT) | BIT(MAX_FORWARDS) | BIT(SHADOW))

static char *put_target(char *at, const struct client *client)
{
    const struct request *request = &client->request;
    struct slice target = request->path;

    if (request->strip_bytes && target.len >= request->strip_bytes)
        target = slice_sub(target, request->strip_bytes, target.len);
    if (target.len == 0 || target.ptr[0] != '/')
        *at++ = '/';
    return rewrite_slice(at, target);
}

void rewrite_request(struct client *client, const struct http1_head *head, uint64_t max_forwards)
{
    struct request *request = &client->request;
    const char *block_end = client->block->bytes + client->from - 2;
    char *at;

    if (!request->head_block)
        request->head_block = block_take(&client->edge->blocks);
    at = rewrite_slice(request->head_block->bytes, request->method_text);
    *at++ = ' ';
    at = head->target_form == HTTP1_TARGET_ASTERISK ? PUT(at, "*") : put_target(at, client);
    at = PUT(at, " HTTP/1.1\r\nHost: ");
    at = rewrite_slice(at, request->host);
    at = PUT(at, "\r\n");
    at = copy_fields(at, head, REQUEST_DROPPED, block_end);
    if (request->body == HTTP1_BODY_LENGTH) {
        at = PUT(at, "Content-Length: ");
        at = rewrite_u64(at, request->body_bytes);
        at = PUT(at, "\r\n");
    } else if (request->body == HTTP1_BODY_CHUNKED || request->body == HTTP1_BODY_CLOSE) {
        at = PUT(at, "Transfer-Encoding: chunked\r\n");
    }
    if (request->expects_continue)
        at = PUT(at, "Expect: 100-continue\r\n");
    if (max_forwards != UINT64_MAX) {
        at = PUT(at, "Max-Forwards: ");
        at = rewrite_u64(at, max_forwards);
        at = PUT(at, "\r\n");
    }
    at = identity_put(client, head, at);
    at = PUT(at, "X-Request-ID: ");
    at = rewrite_slice(at, request->id);
    /* Fields of one name are one list (RFC 9110 §5.3): a line behind those that came appends to
     * them. */
    at = client->protocol == CLIENT_HTTP2 ? PUT(at, "\r\nVia: 2.0 slipway\r\n")
         : request->version_minor         ? PUT(at, "\r\nVia: 1.1 slipway\r\n")
                                          : PUT(at, "\r\nVia: 1.0 slipway\r\n");
    if (request->is_upgrade) {
        at = PUT(at, "Connection: upgrade\r\nUpgrade: ");
        at = rewrite_slice(at, head->upgrade);
        at = PUT(at, "\r\n");
        if (client->protocol == CLIENT_HTTP2)
            at = http2_put_websocket_key(client, at);
    } else if (request->takes_trailers && request->route->upstream_protocol == SNAPSHOT_H2) {
        at = PUT(at, "TE: trailers\r\n"); /* gRPC servers insist on it */
    }
    at = PUT(at, "\r\n");
    request->head_len = (size_t)(at - request->head_block->bytes);
    assert(request->head_len <= BLOCK_BYTES);
}

/* ---- towards the client */

static char *output_room(struct client *client)
{
    if (!client->output_block) {
        client->output_block = block_take(&client->edge->blocks);
        client->output_len = 0;
    }
    return client->output_block->bytes + client->output_len;
}

/* `ends`: no body follows. */
static void output_commit(struct client *client, char *end, bool is_interim, bool ends)
{
    char *start = client->output_block->bytes + client->output_len;

    client->output_len = (size_t)(end - client->output_block->bytes);
    assert(client->output_len <= BLOCK_BYTES);
    if (client->protocol == CLIENT_HTTP2) {
        http2_answer_head(client, (struct slice){start, (size_t)(end - start)}, is_interim, ends);
        client_output_release(client);
        return;
    }
    output_push(&client->output, start, (size_t)(end - start));
}

static char *put_status_line(char *at, const struct http1_head *head)
{
    at = PUT(at, "HTTP/1.1 ");
    at = rewrite_u64(at, head->status);
    *at++ = ' ';
    at = rewrite_slice(at, head->reason);
    return PUT(at, "\r\n");
}

static char *put_connection(char *at, struct client *client)
{
    if (client->is_last)
        return PUT(at, "Connection: close\r\n");
    if (client->request.version_minor == 0)
        return PUT(at, "Connection: keep-alive\r\n");
    return at;
}

/* Strict-Transport-Security (RFC 6797 §7.2: never in the clear), unless the answer brings its own.
 */
static char *put_security(char *at, const struct client *client, bool is_present)
{
    const struct request *request = &client->request;
    struct slice value;

    if (LIKELY(!client->facts->is_tls) || is_present || !request->route)
        return at;
    value = snapshot_slice(&request->table->snapshot, request->route->transport_security);
    if (value.len == 0)
        return at;
    at = rewrite_slice(PUT(at, "Strict-Transport-Security: "), value);
    return PUT(at, "\r\n");
}

/* A header rule of the site may have said it. */
static bool file_has_security(const struct client *client)
{
    struct slice rest = client->request.file.head;

    while (client->facts->is_tls && rest.len) {
        struct slice line = slice_cut(&rest, '\n');

        if (slice_eq_nocase(slice_cut(&line, ':'), SLICE("strict-transport-security")))
            return true;
    }
    return false;
}

char *rewrite_own_fields(struct client *client, char *at)
{
    edge_tick_date(client->edge);
    memcpy(at, client->edge->date_field, client->edge->date_field_len);
    at += client->edge->date_field_len;
    at = put_security(at, client, file_has_security(client));
    if (client->request.id.len) {
        at = PUT(at, "X-Request-ID: ");
        at = rewrite_slice(at, client->request.id);
        at = PUT(at, "\r\n");
    }
    return put_connection(at, client);
}

void rewrite_interim(struct client *client, const struct http1_head *head)
{
    const char *block_end = head->fields[0].name.ptr;
    char *at = put_status_line(output_room(client), head);

    if (head->field_count) {
        const struct http1_field *last = &head->fields[head->field_count - 1];

        /* The last line ends where the next CRLF is; its value was trimmed. */
        for (block_end = last->value.ptr + last->value.len; *block_end != '\n'; block_end++)
            ;
        at = copy_fields(at, head, BIT(CONTENT_LENGTH) | BIT(SHADOW), block_end + 1);
    }
    if (head->status == 101) {
        at = PUT(at, "Connection: upgrade\r\nUpgrade: ");
        at = rewrite_slice(at, head->upgrade);
        at = PUT(at, "\r\n");
    }
    output_commit(client, PUT(at, "\r\n"), true, false);
}

void rewrite_response(struct client *client, const struct http1_head *head)
{
    struct upstream *upstream = client->request.upstream;
    const char *block_end = upstream->block->bytes + upstream->from - 2;
    uint64_t dropped = BIT(SHADOW) | BIT(CONTENT_LENGTH);
    uint64_t present = 0;
    char *at = put_status_line(output_room(client), head);

    for (unsigned i = 0; i < head->field_count; i++)
        present |= 1ull << head->fields[i].id;
    at = copy_fields(at, head, dropped, block_end);
    /* The length as we understood it; 204 has none, and a 304 or an answer to HEAD may tell that of
     * the other. */
    if (head->is_length_given && head->status != 204) {
        at = PUT(at, "Content-Length: ");
        at = rewrite_u64(at, head->content_length);
        at = PUT(at, "\r\n");
    } else if (client->request.is_answer_chunked) {
        at = PUT(at, "Transfer-Encoding: chunked\r\n");
    }
    if (!(present & BIT(DATE))) {
        edge_tick_date(client->edge);
        memcpy(at, client->edge->date_field, client->edge->date_field_len);
        at += client->edge->date_field_len;
    }
    at = put_security(at, client, present & BIT(STRICT_TRANSPORT_SECURITY));
    if (!(present & BIT(X_REQUEST_ID))) {
        at = PUT(at, "X-Request-ID: ");
        at = rewrite_slice(at, client->request.id);
        at = PUT(at, "\r\n");
    }
    at = put_connection(at, client);
    output_commit(client, PUT(at, "\r\n"), false, upstream->is_answer_ended);
}
