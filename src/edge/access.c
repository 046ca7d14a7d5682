/* access.c - access records: one JSON line a request, gathered in memory, written to the keeper's
 * pipe in few large writes.
 *
 * The pipe may be full while logd is away; then up to a mebibyte waits here and what comes on top
 * is counted, not waited for: a request never pays for its record.
 */
#include "base/peer_protocol.h"
#include "edge/edge_private.h"
#include <stdlib.h>
#include <unistd.h>

#define ACCESS_BUFFER_BYTES (1024u * 1024u)
#define ACCESS_FLUSH_BYTES  (32u * 1024u)
#define ACCESS_FLUSH_US     (150u * 1000u)

/* The inside of a JSON string. What gets here is ASCII or was checked, save for '"', '\\' and bytes
 * above 0x7f. */
static char *put_json(char *at, struct slice s)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < s.len; i++) {
        uint8_t byte = (uint8_t)s.ptr[i];

        if (UNLIKELY(byte == '"' || byte == '\\')) {
            *at++ = '\\';
            *at++ = (char)byte;
        } else if (UNLIKELY(byte < 0x20 || byte >= 0x7f)) {
            at = PUT(at, "\\u00");
            *at++ = digits[byte >> 4];
            *at++ = digits[byte & 15];
        } else {
            *at++ = (char)byte;
        }
    }
    return at;
}

/* "2026-03-01T12:34:56.789012Z"; the part down to the second is made once a second. */
static char *put_time(struct edge *edge, char *at, uint64_t wall_us)
{
    uint64_t second = wall_us / 1000000;
    unsigned micro = (unsigned)(wall_us % 1000000);

    if (UNLIKELY(second != edge->log_second_at)) {
        clock_format(second * 1000000, edge->log_second);
        edge->log_second_at = second;
    }
    memcpy(at, edge->log_second, 20);
    for (int i = 25; i >= 20; i--, micro /= 10)
        at[i] = (char)('0' + micro % 10);
    at[26] = 'Z';
    return at + 27;
}

static void access_write(struct edge *edge)
{
    while (edge->access_len && edge->access_io.fd >= 0) {
        ssize_t put = write(edge->access_io.fd, edge->access_bytes, edge->access_len);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            edge->is_access_waiting = errno == EAGAIN;
            if (edge->is_access_waiting && edge->access_io.loop)
                loop_io_set(&edge->access_io, LOOP_WRITE);
            return;
        }
        edge->access_len -= (size_t)put;
        memmove(edge->access_bytes, edge->access_bytes + put, edge->access_len);
    }
    if (edge->is_access_waiting && edge->access_io.loop)
        loop_io_set(&edge->access_io, 0);
    edge->is_access_waiting = false;
}

static void access_on_writable(struct loop_io *io, unsigned events)
{
    struct edge *edge = container_of(io, struct edge, access_io);

    (void)events;
    access_write(edge);
}

static void access_on_timer(struct loop_timer *timer)
{
    access_flush(container_of(timer, struct edge, access_timer));
}

void access_start(struct edge *edge, int fd)
{
    struct error err = {0};

    access_stop(edge);
    edge->access_io = (struct loop_io){.fd = fd, .on_event = access_on_writable};
    edge->access_timer.on_timer = access_on_timer;
    if (loop_io_start(edge->loop, &edge->access_io, 0, &err) != 0)
        log_debug("access records go to something that is never full: %s", err.text);
    /* An edge that was killed may have left half a record in the pipe: this ends it. */
    (void)!write(fd, "\n", 1);
}

void access_flush(struct edge *edge)
{
    if (!edge->is_access_waiting)
        access_write(edge);
}

void access_stop(struct edge *edge)
{
    if (edge->access_io.fd < 0)
        return;
    loop_timer_stop(&edge->access_timer);
    access_write(edge);
    loop_io_stop(&edge->access_io);
    close(edge->access_io.fd);
    edge->access_io.fd = -1;
}

static struct slice access_label(const struct request *request)
{
    if (request->endpoint)
        return slice_from(request->endpoint->label);
    if (request->service)
        return request->service->label;
    return SLICE("\x1f\x1f\x1f\x1frun"); /* belongs to no app: no route matched */
}

static char *put_client(char *at, const struct client *client)
{
    if (UNLIKELY(client->request.is_forwarded))
        return at + identity_address(client, at);
    return rewrite_slice(at, connection_address(client->facts));
}

/* The connection's TLS, as members that follow. */
static char *put_tls(char *at, const struct tls *tls)
{
    at = rewrite_slice(PUT(at, ",\"tls\":\""), slice_from(tls_version(tls)));
    at = rewrite_slice(PUT(at, "\",\"cipher\":\""), slice_from(tls_cipher(tls)));
    at = put_json(PUT(at, "\",\"sni\":\""), tls_name(tls));
    return tls_is_resumed(tls) ? PUT(at, "\",\"resumed\":true") : PUT(at, "\",\"resumed\":false");
}

static char *put_record(struct edge *edge, const struct client *client, char *at)
{
    const struct request *request = &client->request;
    uint64_t now_us = loop_now_us(edge->loop);

    at = rewrite_slice(at, access_label(request));
    *at++ = ACCESS_SEPARATOR;
    at = PUT(at, "{\"time\":\"");
    at = put_time(edge, at, request->started_us + edge->wall_offset_us);
    at = PUT(at, "\",\"request_id\":\"");
    at = put_json(at, request->id);
    at = PUT(at, "\",\"method\":\"");
    at = put_json(at, request->method_text);
    at = PUT(at, "\",\"host\":\"");
    at = put_json(at, request->host);
    at = PUT(at, "\",\"path\":\"");
    at = put_json(at, request->path);
    at = PUT(at, "\",\"status\":");
    at = rewrite_u64(at, request->status);
    at = PUT(at, ",\"bytes\":");
    at = rewrite_u64(at, request->bytes_sent);
    at = PUT(at, ",\"duration_us\":");
    at = rewrite_u64(at, now_us - request->started_us);
    at = PUT(at, ",\"upstream\":\"");
    if (request->endpoint)
        at = put_json(at, slice_from(request->endpoint->address_text));
    at = PUT(at, "\",\"upstream_us\":");
    at = rewrite_u64(at, request->dispatched_us ? now_us - request->dispatched_us : 0);
    at = PUT(at, ",\"client\":\"");
    at = put_client(at, client);
    at = PUT(at, "\",\"reason\":\"");
    at = put_json(at, slice_from(request->reason));
    at = client->protocol == CLIENT_HTTP2 ? PUT(at, "\",\"protocol\":\"HTTP/2.0\"")
         : request->version_minor         ? PUT(at, "\",\"protocol\":\"HTTP/1.1\"")
                                          : PUT(at, "\",\"protocol\":\"HTTP/1.0\"");
    if (client->facts->tls)
        at = put_tls(at, client->facts->tls);
    return PUT(at, "}\n");
}

void access_append(struct edge *edge, const struct client *client)
{
    const struct request *request = &client->request;
    size_t worst =
        3072 +
        6 * (request->id.len + request->method_text.len + request->host.len + request->path.len) +
        access_label(request).len;

    if (edge->access_io.fd < 0)
        return;
    if (UNLIKELY(!edge->access_bytes)) {
        edge->access_bytes = malloc(ACCESS_BUFFER_BYTES);
        if (!edge->access_bytes)
            abort();
    }
    if (UNLIKELY(edge->access_len + worst > ACCESS_BUFFER_BYTES)) {
        count_u64(&edge->counters->access_dropped, 1);
        return;
    }
    edge_tick_date(edge);
    edge->access_len = (size_t)(put_record(edge, client, edge->access_bytes + edge->access_len) -
                                edge->access_bytes);
    if (edge->access_len >= ACCESS_FLUSH_BYTES)
        access_flush(edge);
    else if (!edge->access_timer.loop)
        loop_timer_start_in(edge->loop, &edge->access_timer, ACCESS_FLUSH_US);
}
