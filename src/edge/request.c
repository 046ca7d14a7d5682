/* request.c - what a request means: its host, path, route, body; and how it ends. */
#include "edge/stream_private.h"
#include <stdlib.h>

#define PROGRESS_BYTES_MIN   256u /* less than this within a timeout is no progress */
#define VIA_SELF_MAX         8u   /* as many passages through platforms like this one are a loop */
#define DEFAULT_MS(value, d) ((value) ? (value) : (d))

static bool method_is_idempotent(enum http1_method method)
{
    switch (method) {
    case HTTP1_METHOD_GET:
    case HTTP1_METHOD_HEAD:
    case HTTP1_METHOD_OPTIONS:
    case HTTP1_METHOD_TRACE:
    case HTTP1_METHOD_PUT:
    case HTTP1_METHOD_DELETE:
        return true;
    default:
        return false;
    }
}

/* An id that a client brings is kept when it can do no harm in headers, logs and searches. */
static bool id_is_sane(struct slice id)
{
    if (id.len == 0 || id.len > EDGE_REQUEST_ID_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++) {
        char byte = id.ptr[i];

        if (!((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
              (byte >= '0' && byte <= '9') || byte == '-' || byte == '_' || byte == '.' ||
              byte == ':' || byte == '+' || byte == '/' || byte == '='))
            return false;
    }
    return true;
}

static void id_make(struct edge *edge, struct request *request)
{
    static const char digits[] = "0123456789abcdef";

    for (unsigned half = 0; half < 2; half++) {
        uint64_t bits = edge_random(edge);

        for (unsigned i = 0; i < 16; i++, bits >>= 4)
            request->id_text[half * 16 + i] = digits[bits & 15];
    }
    request->id = (struct slice){request->id_text, 32};
}

/* What single fields say; the rest is copied unseen. */
struct field_facts {
    uint64_t max_forwards; /* UINT64_MAX: not to be touched */
    unsigned via_self;
};

static unsigned count_self(struct slice via)
{
    unsigned count = 0;

    while (via.len) {
        struct slice hop = slice_trim(slice_cut(&via, ','));

        count += slice_ends_with(hop, SLICE(" slipway"));
    }
    return count;
}

static void read_fields(struct client *client, const struct http1_head *head,
                        struct field_facts *facts)
{
    struct request *request = &client->request;

    for (unsigned i = 0; i < head->field_count; i++) {
        const struct http1_field *field = &head->fields[i];

        switch (field->id) {
        case HTTP1_FIELD_ACCEPT:
            request->accept = field->value;
            break;
        case HTTP1_FIELD_TE:
            request->takes_trailers =
                request->takes_trailers || http1_list_has(field->value, SLICE("trailers"));
            break;
        case HTTP1_FIELD_X_REQUEST_ID:
            if (id_is_sane(field->value))
                request->id = field->value;
            break;
        case HTTP1_FIELD_VIA:
            facts->via_self += count_self(field->value);
            break;
        case HTTP1_FIELD_MAX_FORWARDS:
            if ((request->method == HTTP1_METHOD_OPTIONS ||
                 request->method == HTTP1_METHOD_TRACE) &&
                slice_to_u64(field->value, &facts->max_forwards) != 0)
                facts->max_forwards = UINT64_MAX;
            break;
        default:
            break;
        }
    }
    if (request->id.len == 0)
        id_make(client->edge, request);
}

static void request_init(struct client *client, const struct http1_head *head)
{
    struct request *request = &client->request;

    memset(request, 0, sizeof(*request));
    request->file.fd = -1;
    request->reason = "";
    request->started_us = loop_now_us(client->edge->loop);
    request->version_minor = (uint8_t)head->version_minor;
    request->method = head->method;
    request->method_text = head->method_text;
    request->is_idempotent = method_is_idempotent(head->method);
    request->host = head->host;
    request->path = head->target;
    request->path_bytes = head->target.len;
    request->body = head->body;
    request->body_bytes = request->body_left = head->content_length;
    request->body_at = client->from;
    request->trailers = BUF_INIT(HTTP1_TRAILERS_MAX);
    request->chunked.trailers = &request->trailers;
    request->is_body_read =
        head->body == HTTP1_BODY_NONE || (head->body == HTTP1_BODY_LENGTH && !head->content_length);
    request->is_body_ended = request->is_body_read;
    request->is_replayable = true;
    request->expects_continue = head->expects_continue && !request->is_body_read;
    client->is_last = !head->is_keepalive || client->edge->is_quitting;
    count_u64(&client->edge->counters->requests, 1);
    client->edge->retry_fifths = MIN(client->edge->retry_fifths + 1, 5u * 1000u);
}

/* Protocols that a tunnel would hide from us: they have layers of their own here, or none. */
static bool upgrade_is_allowed(struct slice protocol)
{
    ptrdiff_t slash = slice_find_byte(protocol, '/'); /* name["/"version], and only one of them */

    return http1_token_is_valid(slice_sub(protocol, 0, slash < 0 ? protocol.len : (size_t)slash)) &&
           (slash < 0 ||
            http1_token_is_valid(slice_sub(protocol, (size_t)slash + 1, protocol.len))) &&
           !(protocol.len >= 2 && slice_eq_nocase(slice_sub(protocol, 0, 2), SLICE("h2"))) &&
           !(protocol.len >= 4 && slice_eq_nocase(slice_sub(protocol, 0, 4), SLICE("http"))) &&
           !(protocol.len >= 3 && slice_eq_nocase(slice_sub(protocol, 0, 3), SLICE("tls")));
}

/* Host and path in their one form. False: answered. */
static bool request_normalise(struct client *client, const struct http1_head *head)
{
    struct request *request = &client->request;
    struct slice path = head->path;
    const char *reason;
    static char root[] = "/";

    request->host = host_normalise(head->host);
    if (head->target_form == HTTP1_TARGET_ASTERISK || path.len == 0) {
        request->path =
            head->target_form == HTTP1_TARGET_ASTERISK ? head->target : (struct slice){root, 1};
        request->path_bytes = 1;
        return true;
    }
    if (path.ptr[0] == '?') { /* "http://host?query": the path is "/" (RFC 9112 §3.2.1) */
        request->path = path;
        request->path_bytes = 0;
        return true;
    }
    reason =
        path_normalise((char *)(uintptr_t)path.ptr, path.len, &request->path, &request->path_bytes);
    if (reason)
        answer_error(client, 400, reason);
    return !reason;
}

bool request_route(struct client *client)
{
    struct request *request = &client->request;
    struct edge *edge = client->edge;
    struct slice path = slice_sub(request->path, 0, request->path_bytes);
    const struct snapshot_route *route;

    if (request->table != edge->table) {
        table_unref(request->table);
        request->table = table_ref(edge->table);
    }
    if (path.len == 0 || path.ptr[0] == '*')
        path = SLICE("/");
    route = snapshot_route_find(&edge->table->snapshot, host_name(request->host), path);
    request->route = route;
    request->service = route ? &edge->table->services[route->service] : NULL;
    request->strip_bytes =
        route && route->is_prefix_stripped && route->path.len > 1 ? route->path.len : 0;
    return route != NULL;
}

/* Checks that need no route. False: answered. */
static bool request_admit(struct client *client, const struct http1_head *head,
                          const struct field_facts *facts)
{
    if (head->method == HTTP1_METHOD_CONNECT)
        return answer_error(client, 501, "CONNECT is not supported"), false;
    if (!client->edge->table)
        return answer_error(client, 503, "starting"), false;
    if (!request_normalise(client, head))
        return false;
    if (facts->via_self >= VIA_SELF_MAX)
        return answer_error(client, 508, "request loops through this platform"), false;
    if (facts->max_forwards == 0) {
        if (head->method == HTTP1_METHOD_OPTIONS)
            answer_options(client);
        else
            answer_error(client, 405, "TRACE ends here");
        return false;
    }
    (void)request_route(client);
    identity_find(client, head);
    if (!admission_host(client))
        return false;
    if (!client->request.route)
        return answer_error(client, 404, "no route"), false;
    return admission_route(client);
}

void request_begin(struct client *client)
{
    struct edge *edge = client->edge;
    const struct http1_head *head = &edge->head;
    struct request *request = &client->request;
    struct field_facts facts = {.max_forwards = UINT64_MAX};

    request_init(client, head);
    read_fields(client, head, &facts);
    if (!request_admit(client, head, &facts))
        return;
    if (request->route->body_limit_bytes && request->body == HTTP1_BODY_LENGTH &&
        request->body_bytes > request->route->body_limit_bytes) {
        answer_error(client, 413, "request body is over the limit of this route");
        return;
    }
    if (request->service->spec->kind == SNAPSHOT_STATIC) {
        answer_static(client);
        return;
    }
    request->is_upgrade = head->is_upgrade && upgrade_is_allowed(head->upgrade);
    request->is_websocket =
        request->is_upgrade && slice_eq_nocase(head->upgrade, SLICE("websocket"));
    rewrite_request(client, head,
                    facts.max_forwards == UINT64_MAX ? UINT64_MAX : facts.max_forwards - 1);
    request->state = REQUEST_QUEUED;
}

/* Drop what is here of a body that nobody wants. False: some of it is still on its way. */
bool request_skip_body(struct client *client)
{
    struct request *request = &client->request;

    if (request->is_body_read)
        return true;
    if (request->body == HTTP1_BODY_LENGTH) {
        size_t take = (size_t)MIN(request->body_left, (uint64_t)(client->to - client->from));

        client->from += take;
        request->body_left -= take;
        request->is_body_read = request->body_left == 0;
    } else if (request->body == HTTP1_BODY_CLOSE) {
        client->from = client->to;
        request->is_body_read = stream_is_at_end(client->transport.stream);
    } else if (client->from < client->to) {
        struct http1_failure failure;
        struct slice data;
        size_t consumed;
        enum http1_result result =
            http1_chunked_decode(&request->chunked, client->block->bytes + client->from,
                                 client->to - client->from, &consumed, &data, &failure);

        client->from += consumed;
        if (result == HTTP1_BAD)
            client->is_last = true;
        request->is_body_read = result == HTTP1_DONE;
    }
    return request->is_body_read;
}

/* Texts of a request that outlives its block, for its record. */
void request_keep_texts(struct client *client)
{
    struct request *request = &client->request;
    struct slice *texts[] = {&request->method_text, &request->host, &request->path, &request->id};
    size_t len = 0;
    char *at;

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        len += texts[i]->len;
    at = request->kept = malloc(len + 1);
    if (!at)
        abort();
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        memcpy(at, texts[i]->ptr, texts[i]->len);
        texts[i]->ptr = at;
        at += texts[i]->len;
    }
    request->accept = SLICE("");
}

void request_record(struct client *client)
{
    struct request *request = &client->request;
    struct counters *counters = client->edge->counters;

    if (request->status >= 500)
        count_u64(&counters->errors_5xx, 1);
    else if (request->status >= 400)
        count_u64(&counters->errors_4xx, 1);
    count_u64(&counters->bytes_in, request->body_seen);
    count_u64(&counters->bytes_out, request->bytes_sent);
    access_append(client->edge, client);
}

void request_release(struct client *client)
{
    struct request *request = &client->request;

    if (request->head_block) {
        block_give(&client->edge->blocks, request->head_block);
        request->head_block = NULL;
    }
    buf_done(&request->trailers);
    static_answer_done(&request->file);
    free(request->kept);
    request->kept = NULL;
    if (request->endpoint)
        endpoint_drop(request->endpoint);
    request->endpoint = NULL;
    table_unref(request->table);
    request->table = NULL;
    request->route = NULL;
    request->service = NULL;
    request->state = REQUEST_NONE;
}

void request_abort(struct client *client, unsigned status, const char *reason)
{
    struct request *request = &client->request;
    /* An answer without a length ends with the connection, so only a reset tells that it is not
     * whole. */
    bool is_abort = request->is_answer_begun && request->version_minor == 0;

    if (!request->is_answer_begun)
        request->status = status;
    request->reason = reason;
    if (request->upstream)
        upstream_close(request->upstream);
    client_close(client, is_abort);
}

static uint32_t route_ms(const struct request *request, size_t field_offset, uint32_t otherwise)
{
    uint32_t value = 0;

    if (request->route)
        memcpy(&value, (const char *)request->route + field_offset, sizeof(value));
    return DEFAULT_MS(value, otherwise);
}

#define ROUTE_MS(request, field, otherwise)                                                        \
    route_ms((request), offsetof(struct snapshot_route, field), (otherwise))

void request_touch(struct client *client)
{
    const struct request *request = &client->request;
    const struct upstream *upstream = request->upstream;
    struct edge *edge = client->edge;
    uint32_t wait_ms;

    if (!output_is_empty(&client->output) || !upstream)
        wait_ms = edge->settings.send_timeout_ms;
    else if (upstream->state == UPSTREAM_CONNECTING)
        wait_ms = ROUTE_MS(request, connect_timeout_ms, 5000);
    else if (upstream->state == UPSTREAM_ANSWERING || !output_is_empty(&upstream->output))
        wait_ms = ROUTE_MS(request, idle_timeout_ms, 60000);
    else if (!request->is_body_ended && !request->is_body_discarded)
        wait_ms = edge->settings.body_idle_timeout_ms;
    else
        wait_ms = ROUTE_MS(request, first_byte_timeout_ms, 60000);
    client_set_deadline(client, edge_after_ms(edge, wait_ms));
}

/* The deadline passed: whose fault it is shows in what was waited for. */
void request_progress(struct client *client, size_t bytes, bool is_complete)
{
    struct request *request = &client->request;

    request->progress_bytes += bytes;
    if (is_complete || request->progress_bytes >= PROGRESS_BYTES_MIN) {
        request->progress_bytes = 0;
        request_touch(client);
    }
}

bool request_flush(struct client *client)
{
    ssize_t put;

    if (!client->transport.can_write)
        return false;
    put = transport_write(&client->transport, &client->output);
    if (put == TRANSPORT_BROKEN) {
        request_abort(client, 499, "client closed");
        return false;
    }
    if (put == TRANSPORT_AGAIN)
        return false;
    if (!output_is_empty(&client->output)) {
        request_progress(client, (size_t)put, false);
        return false;
    }
    client_output_release(client);
    return true;
}

void request_timed_out(struct client *client)
{
    const struct request *request = &client->request;
    const struct upstream *upstream = request->upstream;

    if (!output_is_empty(&client->output) || !upstream) {
        request_abort(client, 499, "client send timeout");
    } else if (upstream->state == UPSTREAM_CONNECTING) {
        upstream_timed_out(client);
    } else if (upstream->state == UPSTREAM_ANSWERING) {
        request_abort(client, 504, "upstream idle timeout");
    } else if (!output_is_empty(&upstream->output)) {
        upstream_failed(request->upstream, 504, "upstream send timeout");
    } else if (!request->is_body_ended && !request->is_body_discarded) {
        upstream_close(request->upstream);
        answer_error(client, 408, "request body timeout");
    } else {
        upstream_failed(request->upstream, 504, "upstream first byte timeout");
    }
}
