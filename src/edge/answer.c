/* answer.c - answers that the edge makes itself: error pages and the files of static sites. */
#include "edge/edge_private.h"
#include <sys/sendfile.h>

#define PAGE_BYTES_MAX   2048u
#define TEXT_BYTES_MAX   8192u
#define SENDFILE_BYTES   (1024u * 1024u)
#define SENDFILE_ROUNDS  8u
#define COPY_BYTES       (64u * 1024u)
#define COPY_ROUNDS      16u
#define RETRY_AFTER_TEXT "1"

static enum request_page page_choose(struct slice accept)
{
    if (accept.len == 0)
        return REQUEST_PAGE_TEXT;
    if (slice_find(accept, SLICE("text/html")) >= 0)
        return REQUEST_PAGE_HTML;
    if (slice_find(accept, SLICE("application/json")) >= 0)
        return REQUEST_PAGE_JSON;
    return REQUEST_PAGE_TEXT;
}

/* Status, reason and request id are all safe in all three: digits, our own words, and a checked
 * alphabet. */
static char *put_page(char *at, const struct request *request)
{
    const char *text = http1_status_text(request->status);

    switch (request->page) {
    case REQUEST_PAGE_HTML:
        at = PUT(at, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
        at = PUT(rewrite_u64(at, request->status), " ");
        at = rewrite_slice(at, slice_from(text));
        at = PUT(at, "</title><style>body{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;"
                     "max-width:32em;padding:0 1em;color:#333}small{color:#888}</style></head>"
                     "<body><h1>");
        at = PUT(rewrite_u64(at, request->status), " ");
        at = rewrite_slice(at, slice_from(text));
        at = PUT(at, "</h1><p>");
        at = rewrite_slice(at, slice_from(request->reason));
        at = PUT(at, "</p><p><small>request ");
        at = rewrite_slice(at, request->id);
        return PUT(at, "</small></p></body></html>\n");
    case REQUEST_PAGE_JSON:
        at = PUT(at, "{\"error\":{\"status\":");
        at = rewrite_u64(at, request->status);
        at = PUT(at, ",\"message\":\"");
        at = rewrite_slice(at, slice_from(request->reason));
        at = PUT(at, "\",\"request_id\":\"");
        at = rewrite_slice(at, request->id);
        return PUT(at, "\"}}\n");
    default:
        at = rewrite_u64(at, request->status);
        at = PUT(at, " ");
        at = rewrite_slice(at, slice_from(request->reason));
        at = PUT(at, "\nrequest ");
        at = rewrite_slice(at, request->id);
        return PUT(at, "\n");
    }
}

static const char *page_type(enum request_page page)
{
    return page == REQUEST_PAGE_HTML   ? "text/html; charset=utf-8"
           : page == REQUEST_PAGE_JSON ? "application/json"
                                       : "text/plain; charset=utf-8";
}

/* Where an answer of ours is written to: behind what is still on its way, a 100 for instance. */
static char *answer_room(struct client *client)
{
    if (!client->output_block) {
        client->output_block = block_take(&client->edge->blocks);
        client->output_len = 0;
    }
    return client->output_block->bytes + client->output_len;
}

static void answer_queue(struct client *client, char *start, char *end)
{
    client->output_len = (size_t)(end - client->output_block->bytes);
    assert(client->output_len <= BLOCK_BYTES);
    output_push(&client->output, start, (size_t)(end - start));
}

bool answer_withdraw(struct client *client)
{
    const struct output *output = &client->output;

    if (output_is_empty(output) || output->first != 0 || !client->output_block ||
        client->transport.is_owing || output->parts[0].iov_base != client->output_block->bytes)
        return false;
    output_clear(&client->output);
    client_output_release(client);
    client->request.is_answer_begun = false;
    client->request.bytes_sent = 0;
    return true;
}

static void answer_begin(struct client *client, unsigned status, const char *reason)
{
    struct request *request = &client->request;

    request->status = status;
    request->reason = reason;
    request->state = REQUEST_LOCAL;
    request->is_answer_begun = true;
    if (!request_skip_body(client) || client->edge->is_quitting)
        client->is_last = true;
}

/* Status line and fields of an answer with a body of `len` bytes of `type`. */
static char *put_head(struct client *client, char *at, const char *type, size_t len,
                      struct slice further)
{
    unsigned status = client->request.status;

    at = PUT(at, "HTTP/1.1 ");
    at = PUT(rewrite_u64(at, status), " ");
    at = rewrite_slice(at, slice_from(http1_status_text(status)));
    at = PUT(at, "\r\nContent-Type: ");
    at = rewrite_slice(at, slice_from(type));
    at = PUT(at, "\r\nContent-Length: ");
    at = rewrite_u64(at, len);
    at = PUT(at, "\r\nCache-Control: no-store\r\n");
    at = rewrite_slice(at, further);
    if (status == 503)
        at = PUT(at, "Retry-After: " RETRY_AFTER_TEXT "\r\n");
    at = rewrite_own_fields(client, at);
    return PUT(at, "\r\n");
}

static void answer_page(struct client *client, unsigned status, const char *reason,
                        struct slice further)
{
    struct request *request = &client->request;
    char page[PAGE_BYTES_MAX];
    char *start, *at;
    size_t len;

    answer_begin(client, status, reason);
    request->page = page_choose(request->accept);
    len = (size_t)(put_page(page, request) - page);
    assert(len < sizeof(page));
    start = answer_room(client);
    at = put_head(client, start, page_type(request->page), len, further);
    if (request->method != HTTP1_METHOD_HEAD) {
        memcpy(at, page, len);
        at += len;
        request->bytes_sent = len;
    }
    answer_queue(client, start, at);
    request_touch(client);
    answer_move(client);
}

void answer_error(struct client *client, unsigned status, const char *reason)
{
    /* After these nobody knows where the next request begins. */
    if (status == 400 || status == 408 || status == 413 || status == 414 || status == 417 ||
        status == 431 || status == 501 || status == 505)
        client->is_last = true;
    answer_page(client, status, reason, SLICE(""));
}

void answer_redirect(struct client *client, struct slice location)
{
    answer_page(client, 308, "this host is served over https", location);
}

void answer_text(struct client *client, struct slice text)
{
    char *start, *at;

    answer_begin(client, 200, "");
    start = answer_room(client);
    at = put_head(client, start, "application/octet-stream", text.len, SLICE(""));
    if (client->request.method != HTTP1_METHOD_HEAD) {
        at = rewrite_slice(at, slice_sub(text, 0, TEXT_BYTES_MAX));
        client->request.bytes_sent = text.len;
    }
    answer_queue(client, start, at);
    request_touch(client);
    answer_move(client);
}

void answer_options(struct client *client)
{
    char *start, *at;

    answer_begin(client, 204, "");
    start = at = answer_room(client);
    at = PUT(at,
             "HTTP/1.1 204 No Content\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
    at = rewrite_own_fields(client, at);
    answer_queue(client, start, PUT(at, "\r\n"));
    request_touch(client);
    answer_move(client);
}

/* ---- files */

static void static_request_fill(struct client *client, struct static_request *ret_request)
{
    const struct http1_head *head = &client->edge->head;
    struct request *request = &client->request;
    struct slice path = slice_sub(request->path, 0, request->path_bytes);
    struct slice query = slice_sub(request->path, request->path_bytes + 1, request->path.len);

    *ret_request = (struct static_request){
        .method = head->method == HTTP1_METHOD_GET    ? STATIC_GET
                  : head->method == HTTP1_METHOD_HEAD ? STATIC_HEAD
                                                      : STATIC_OTHER,
        .path = path,
        .query = request->path.len > request->path_bytes ? query : SLICE(""),
    };
    if (request->strip_bytes) {
        ret_request->prefix = slice_sub(path, 0, request->strip_bytes);
        ret_request->path = slice_sub(path, request->strip_bytes, path.len);
    }
    if (ret_request->path.len == 0)
        ret_request->path = SLICE("/");
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct http1_field *field = &head->fields[i];
        struct slice *slot = NULL;

        switch (field->id) {
        case HTTP1_FIELD_ACCEPT_ENCODING:
            slot = &ret_request->accept_encoding;
            break;
        case HTTP1_FIELD_IF_NONE_MATCH:
            slot = &ret_request->if_none_match;
            break;
        case HTTP1_FIELD_IF_MODIFIED_SINCE:
            slot = &ret_request->if_modified_since;
            break;
        case HTTP1_FIELD_IF_RANGE:
            slot = &ret_request->if_range;
            break;
        case HTTP1_FIELD_RANGE:
            slot = &ret_request->range;
            break;
        default:
            break;
        }
        if (slot && slot->len == 0)
            *slot = field->value;
    }
}

void answer_static(struct client *client)
{
    struct request *request = &client->request;
    struct static_answer *file = &request->file;
    struct static_request wanted;
    char *start, *at;

    if (!request->service->site) {
        answer_error(client, 503, "site is not available");
        return;
    }
    if (UNLIKELY(http2_is_tunnel_asked(client))) { /* which an answer of 200 would open */
        answer_error(client, 501, "a site takes no WebSockets");
        return;
    }
    static_request_fill(client, &wanted);
    static_site_answer(request->service->site, &wanted, file);
    if (file->is_error) {
        answer_page(client, file->status, file->reason[0] ? file->reason : "not available",
                    file->head);
        return;
    }
    answer_begin(client, file->status, file->reason);
    start = answer_room(client);
    at = rewrite_own_fields(client, start);
    at = PUT(at, "\r\n");
    output_push(&client->output, file->head.ptr, file->head.len);
    answer_queue(client, start, at);
    request->bytes_sent = file->body_bytes;
    if (file->fd >= 0) {
        request->file_offset = file->body_offset;
        request->file_left = file->body_bytes;
    } else {
        output_push(&client->output, file->body.ptr, file->body.len);
    }
    request_touch(client);
    answer_move(client);
}

/* As request_flush, with a new deadline for what comes next. */
static bool answer_flush(struct client *client)
{
    if (!request_flush(client))
        return false;
    request_touch(client);
    return true;
}

/* Where bytes are changed on their way (TLS, HTTP/2) the kernel cannot send the file itself: a
 * block at a time is read, and written before the next. False: as send_file. */
static bool copy_file(struct client *client)
{
    struct request *request = &client->request;

    for (unsigned rounds = 0; request->file_left; rounds++) {
        char *room;
        ssize_t got;

        if (!client->transport.can_write)
            return false;
        if (rounds == COPY_ROUNDS) {
            client_resume_later(client);
            return false;
        }
        client->output_len = 0;
        room = answer_room(client);
        got = pread(request->file.fd, room, (size_t)MIN(request->file_left, (uint64_t)COPY_BYTES),
                    (off_t)request->file_offset);
        if (got <= 0) {
            request_abort(client, 499, "file was cut short");
            return false;
        }
        request->file_offset += (uint64_t)got;
        request->file_left -= (uint64_t)got;
        if (request->file_left == 0)
            transport_last(&client->transport);
        answer_queue(client, room, room + got);
        if (!answer_flush(client))
            return false;
    }
    return true;
}

/* Send from the file what the socket takes. False: not all of it is out yet, or the client is gone.
 */
static bool send_file(struct client *client)
{
    struct request *request = &client->request;
    struct transport *transport = &client->transport;
    unsigned rounds = 0;

    while (request->file_left) {
        off_t offset = (off_t)request->file_offset;
        size_t wanted = (size_t)MIN(request->file_left, (uint64_t)SENDFILE_BYTES);
        ssize_t put;

        if (!transport->can_write)
            return false;
        if (++rounds > SENDFILE_ROUNDS) {
            client_resume_later(client);
            return false;
        }
        put = sendfile(transport->io.fd, request->file.fd, &offset, wanted);
        if (put < 0 && errno == EAGAIN) {
            transport->can_write = false;
            return false;
        }
        if (put <= 0) { /* the client is gone, or the file is shorter than it was */
            request_abort(client, 499, put < 0 ? "client closed" : "file was cut short");
            return false;
        }
        request->file_offset += (uint64_t)put;
        request->file_left -= (uint64_t)put;
        request_progress(client, (size_t)put, request->file_left == 0);
    }
    return true;
}

/* The head of a file answer, held back by the kernel until the file's first bytes join it. */
static ssize_t write_head(struct client *client)
{
    struct output *output = &client->output;
    struct msghdr message = {.msg_iov = output->parts + output->first,
                             .msg_iovlen = output->count - output->first};
    ssize_t put = sendmsg(client->transport.io.fd, &message, MSG_NOSIGNAL | MSG_MORE);

    if (put < 0)
        return transport_failure(&client->transport, &client->transport.can_write);
    output_advance(output, (size_t)put);
    return put;
}

void answer_move(struct client *client)
{
    struct request *request = &client->request;
    bool is_plain = client->transport.kind == TRANSPORT_PLAIN;

    if (client->protocol == CLIENT_HTTP2)
        http2_answer_local(client);
    if (!request->file_left)
        transport_last(&client->transport);
    if (!output_is_empty(&client->output)) {
        if (is_plain && request->file_left) {
            ssize_t put;

            if (!client->transport.can_write)
                return;
            put = write_head(client);
            if (put == TRANSPORT_BROKEN) {
                request_abort(client, 499, "client closed");
                return;
            }
            if (put > 0)
                request_progress(client, (size_t)put, output_is_empty(&client->output));
            if (!output_is_empty(&client->output))
                return;
            client_output_release(client);
        } else if (!answer_flush(client)) {
            return;
        }
    }
    if (request->file_left == 0 || (is_plain ? send_file(client) : copy_file(client)))
        client_request_done(client);
}
