/* http2_upstream.c - HTTP/2 towards instances that want it: a few connections to each, shared by
 * the requests of this edge.
 *
 *   CONNECTING ── writable ──► READY ── GOAWAY, failure, idle, instance leaves ──► CLOSED
 *
 * To the rest an upstream on a stream is one like others: what its peer answers arrives as HTTP/1.1
 * text. It differs where HTTP/2 knows more: a stream that was refused, or stands above the last one
 * of a GOAWAY, was never looked at, so its request may go elsewhere, whatever its method.
 */
#include "edge/stream_private.h"
#include <stdlib.h>

#define LINKS_MAX    8u /* connections to one instance */
#define TICK_US      (5000u * (uint64_t)EDGE_MS)
#define IDLE_US      (60000u * (uint64_t)EDGE_MS)
#define PING_US      (20000u * (uint64_t)EDGE_MS) /* of silence, while requests wait */
#define PING_WAIT_US (15000u * (uint64_t)EDGE_MS)
#define JOIN_US      (5000u * (uint64_t)EDGE_MS) /* who is not connected by then gets no more */

enum link_state { LINK_CONNECTING, LINK_READY, LINK_CLOSED };

struct http2_link {
    struct http2_connection connection;
    struct transport transport;
    enum link_state state;
    struct edge *edge;
    struct endpoint *endpoint;
    struct opening *opening; /* CONNECTING: what has to be done besides */
    struct verification verification;
    bool is_private;  /* it began with a PROXY header: of one client alone */
    bool is_settled;  /* READY, and the peer's SETTINGS came */
    struct list node; /* endpoint.links, or edge.http2.graveyard */
    struct loop_timer timer;
    uint64_t begun_us;
    uint64_t idle_since_us; /* 0: it is not */
    uint64_t pinged_us;     /* 0: no answer is awaited */
    uint64_t pongs;
};

static struct http2_link *owner_of(struct http2_connection *connection)
{
    return container_of(connection, struct http2_link, connection);
}

/* ---- the end of a connection */

static void link_close(struct http2_link *link)
{
    if (link->state == LINK_CLOSED)
        return;
    log_debug("upstream session %d: closed", link->transport.io.fd);
    list_remove(&link->node);
    loop_timer_stop(&link->timer);
    if (link->state == LINK_READY && !link->transport.is_broken) {
        http2_session_goaway(link->connection.session, HTTP2_NO_ERROR);
        http2_connection_flush(&link->connection);
    }
    link->state = LINK_CLOSED;
    opening_free(TAKE_PTR(link->opening));
    http2_connection_done(&link->connection);
    transport_close(&link->transport, false);
}

/* The last stream went after the connection. */
static void on_empty(struct http2_connection *connection)
{
    struct http2_link *link = owner_of(connection);

    list_push_back(&link->edge->http2.graveyard, &link->node);
    loop_defer(link->edge->loop, &link->edge->burial);
}

void http2_upstream_bury(struct edge *edge)
{
    list_each_safe (node, &edge->http2.graveyard) {
        struct http2_link *link = container_of(node, struct http2_link, node);

        list_remove(node);
        endpoint_drop(link->endpoint);
        verification_release(&link->verification);
        free(link);
    }
}

void http2_upstream_close_idle(struct endpoint *endpoint)
{
    list_each_safe (node, &endpoint->links) {
        struct http2_link *link = container_of(node, struct http2_link, node);

        /* Those that are finishing have no request behind them any more. */
        if (link->connection.stream_count == link->connection.finishing_count)
            link_close(link);
    }
}

/* ---- requests */

/* The header block goes out. False: there is no room for it. */
static bool submit(struct http2_link *link, struct stream *stream, const struct request *request)
{
    struct slice text = {request->head_block->bytes, request->head_len}, key = SLICE("");
    struct http2_field fields[HTTP2_FIELDS_MAX];
    bool ends = request->is_body_ended && !request->body_bytes && !request->is_websocket;
    size_t count = http2_fields_of_request(text, link->verification.name != NULL,
                                           request->is_websocket ? &key : NULL, fields);

    if (http2_submit_request(link->connection.session, &stream->handle, fields, count, ends) != 0)
        return false;
    stream->handle.ends = ends;
    if (key.len == sizeof(stream->websocket_key) - 1)
        memcpy(stream->websocket_key, key.ptr, key.len);
    http2_connection_work_later(&link->connection);
    return true;
}

/* RFC 8441 §3: only what the peer's SETTINGS say allows to ask for a WebSocket, so that the request
 * waits for them. False: it still does, or is over. */
static bool open_websocket(struct http2_link *link, struct stream *stream)
{
    struct upstream *upstream = stream->upstream;
    struct client *client = upstream->client;

    if (link->state == LINK_CLOSED) {
        upstream_failed(upstream, 502, "upstream reset the connection");
    } else if (!http2_session_has_settings(link->connection.session)) {
        return false;
    } else if (!http2_session_has_connect_protocol(link->connection.session)) {
        upstream_close(upstream);
        answer_error(client, 501, "this service takes no WebSockets over HTTP/2");
    } else if (submit(link, stream, &client->request)) {
        return true;
    } else {
        upstream_refused(upstream);
    }
    client_advance(client);
    return false;
}

/* ---- events */

/* Streams whose requests wait for the connection: they may write, or hear that it failed. */
static void wake_connecting(struct http2_link *link)
{
    list_each_safe (node, &link->connection.streams) {
        struct stream *stream = container_of(node, struct stream, node);

        if (stream->upstream && stream->upstream->state == UPSTREAM_CONNECTING)
            stream_note(stream, LOOP_WRITE);
    }
}

static void open_failed(struct http2_link *link, const char *reason)
{
    list_remove(&link->node); /* what is queued again looks for another one */
    list_each_safe (node, &link->connection.streams) {
        struct stream *stream = container_of(node, struct stream, node);
        struct client *client = stream->upstream ? stream->upstream->client : NULL;

        if (!client)
            continue;
        upstream_failed(stream->upstream, 502, reason);
        if (client->request.state == REQUEST_QUEUED)
            client_resume_later(client); /* it may need a connection, to be made after this one */
    }
    link_close(link);
}

/* False: not yet, or not at all. */
static bool link_open(struct http2_link *link, unsigned events)
{
    const char *reason = NULL;

    if (link->opening) {
        switch (opening_advance(link->opening, &link->transport, &reason)) {
        case OPENING_DONE:
            opening_free(TAKE_PTR(link->opening));
            if (link->verification.name && !tls_is_http2(link->transport.tls))
                reason = "upstream does not speak HTTP/2";
            break;
        case OPENING_WAITS:
            return false;
        default:
            break;
        }
    } else {
        int cause = 0;
        socklen_t len = sizeof(cause);

        if (!(events & (LOOP_WRITE | LOOP_CLOSE)))
            return false;
        if (getsockopt(link->transport.io.fd, SOL_SOCKET, SO_ERROR, &cause, &len) != 0 || cause)
            reason = cause == ECONNREFUSED ? "upstream refused" : "upstream unreachable";
    }
    if (!reason)
        return true;
    log_warning("%s: %s", link->endpoint->address_text, reason);
    open_failed(link, reason);
    return false;
}

static void on_link_event(struct loop_io *io, unsigned events)
{
    struct http2_link *link = container_of(io, struct http2_link, transport.io);

    transport_note(&link->transport, events);
    if (link->state == LINK_CONNECTING) {
        if (!link_open(link, events))
            return;
        link->state = LINK_READY;
        link->connection.is_held = false;
        wake_connecting(link);
    }
    http2_connection_move(&link->connection);
}

static void on_ready(struct stream *stream, unsigned events)
{
    struct upstream *upstream = stream->upstream;
    struct client *client;

    if (!upstream)
        return;
    client = upstream->client;
    if (stream->is_reset && stream->handle.code == HTTP2_REFUSED_STREAM && !upstream->has_bytes &&
        !stream->buffered && upstream->state != UPSTREAM_TUNNEL) {
        upstream_refused(upstream);
        client_advance(client);
        return;
    }
    if (upstream->state == UPSTREAM_CONNECTING) {
        if (client->request.is_websocket && !open_websocket(owner_of(stream->connection), stream))
            return;
        upstream_set_state(upstream, UPSTREAM_WAITING);
        upstream->transport.can_write = true;
        request_touch(client);
        forward_request(client);
        if (client->request.upstream != upstream) {
            client_advance(client);
            return;
        }
    }
    upstream->transport.io.on_event(&upstream->transport.io, events);
}

static void on_failed(struct http2_connection *connection, const char *reason)
{
    struct http2_link *link = owner_of(connection);

    if (connection->stream_count)
        log_debug("%s: HTTP/2 connection lost: %s", link->endpoint->address_text, reason);
    link->transport.is_broken = true;
    link_close(link);
}

static void on_rest(struct http2_connection *connection)
{
    struct http2_link *link = owner_of(connection);
    uint64_t now_us = loop_now_us(link->edge->loop);

    if (link->state == LINK_CONNECTING)
        return;
    if (!link->is_settled && http2_session_has_settings(connection->session)) {
        link->is_settled = true;
        wake_connecting(link);
    }
    if (connection->stream_count) {
        link->idle_since_us = 0;
    } else if (http2_session_is_spent(connection->session) || link->is_private ||
               link->edge->is_quitting || link->endpoint->state != SNAPSHOT_ACTIVE) {
        link_close(link);
    } else if (!link->idle_since_us) {
        link->idle_since_us = now_us;
        link->pinged_us = 0;
    }
}

/* Requests that wait on a peer that says nothing: is it there? */
static bool is_dead(struct http2_link *link, uint64_t now_us)
{
    struct http2_connection *connection = &link->connection;

    if (link->pinged_us) {
        if (http2_session_pongs(connection->session) == link->pongs &&
            connection->read_us < link->pinged_us)
            return now_us - link->pinged_us > PING_WAIT_US;
        link->pinged_us = 0;
    }
    if (connection->stream_count && link->state == LINK_READY &&
        now_us - connection->read_us > PING_US) {
        link->pinged_us = now_us;
        link->pongs = http2_session_pongs(connection->session);
        http2_session_ping(connection->session);
        http2_connection_work_later(connection);
    }
    return false;
}

static void on_timer(struct loop_timer *timer)
{
    struct http2_link *link = container_of(timer, struct http2_link, timer);
    uint64_t now_us = loop_now_us(link->edge->loop);

    http2_connection_expire(&link->connection);
    if (link->state == LINK_CONNECTING && link->connection.stream_count == 0) {
        link_close(link);
        return;
    }
    if (is_dead(link, now_us)) {
        on_failed(&link->connection, "no answer to a ping");
        return;
    }
    if (link->idle_since_us && now_us - link->idle_since_us > IDLE_US) {
        link_close(link);
        return;
    }
    loop_timer_start_in(link->edge->loop, timer, TICK_US);
}

/* ---- connecting */

static struct http2_link *link_free_of(int fd, struct http2_link *link)
{
    int saved = errno;

    if (fd >= 0)
        close(fd);
    free(link);
    errno = saved;
    return NULL;
}

/* Spoken to and verified in the way that this request's route says. */
static bool link_fits(const struct http2_link *link, const struct request *request)
{
    return !link->is_private && request->route->upstream_proxy_version == 0 &&
           verification_fits(&link->verification, request);
}

/* NULL with errno. */
static struct http2_link *link_connect(const struct client *client, struct endpoint *endpoint)
{
    struct edge *edge = client->edge;
    struct http2_link *link = calloc(1, sizeof(*link));
    struct error err;
    int fd = endpoint_connect(endpoint);

    if (fd < 0 || !link)
        return link_free_of(fd, link);
    link->edge = edge;
    link->endpoint = endpoint;
    link->begun_us = loop_now_us(edge->loop);
    link->timer.on_timer = on_timer;
    list_init(&link->node);
    link->transport.io = (struct loop_io){.fd = fd, .on_event = on_link_event};
    if (!http2_connection_init(&link->connection, edge, &link->transport, false)) {
        errno = ENOMEM;
        return link_free_of(fd, link);
    }
    link->connection.on_ready = on_ready;
    link->connection.on_failed = on_failed;
    link->connection.on_rest = on_rest;
    link->connection.is_held = true;
    if (loop_io_start(edge->loop, &link->transport.io, LOOP_READ | LOOP_WRITE | LOOP_EDGE, &err) !=
        0) {
        http2_connection_done(&link->connection);
        errno = EMFILE;
        return link_free_of(fd, link);
    }
    link->connection.on_empty = on_empty;
    link->verification = verification_of(&client->request);
    link->opening = opening_new(client, &link->verification);
    link->is_private = client->request.route->upstream_proxy_version != 0;
    list_push_front(&endpoint->links, &link->node);
    endpoint_hold(endpoint);
    loop_timer_start_in(edge->loop, &link->timer, TICK_US);
    return link;
}

/* Before something that must not be repeated goes out: is the other end still there? */
static bool link_is_alive(struct http2_link *link, const struct request *request)
{
    if (link->state != LINK_READY || link->connection.stream_count || request->is_idempotent)
        return true;
    return !transport_is_ended(&link->transport);
}

/* Whoever joins one that does not come up would wait for nothing. */
static bool link_has_room(struct http2_link *link)
{
    return http2_session_room(link->connection.session) > 0 &&
           (link->state == LINK_READY || loop_now_us(link->edge->loop) - link->begun_us < JOIN_US);
}

static struct http2_link *link_pick(const struct client *client, struct endpoint *endpoint)
{
    const struct request *request = &client->request;
    unsigned count = 0;

    list_each_safe (node, &endpoint->links) {
        struct http2_link *link = container_of(node, struct http2_link, node);

        if (!link_fits(link, request) || http2_session_is_spent(link->connection.session) ||
            link->transport.is_ending)
            continue;
        if (!link_is_alive(link, request)) {
            link_close(link);
            continue;
        }
        if (link_has_room(link))
            return link;
        count++;
    }
    if (count >= LINKS_MAX) {
        errno = EUSERS;
        return NULL;
    }
    return link_connect(client, endpoint);
}

struct upstream *http2_upstream_open(const struct client *client, struct endpoint *endpoint)
{
    const struct request *request = &client->request;
    struct http2_link *link = link_pick(client, endpoint);
    struct stream *stream;
    struct upstream *upstream;
    bool is_open;

    if (!link)
        return NULL;
    is_open = link->state == LINK_READY && !request->is_websocket;
    stream = stream_new(&link->connection);
    if (!request->is_websocket && !submit(link, stream, request)) {
        stream_free(stream);
        errno = EUSERS;
        return NULL;
    }
    upstream = upstream_allocate(client->edge, endpoint);
    endpoint_hold(endpoint);
    stream->upstream = upstream;
    stream_attach(stream, &upstream->transport);
    upstream->transport.can_write = is_open;
    upstream->state = is_open ? UPSTREAM_WAITING : UPSTREAM_CONNECTING;
    if (link->is_settled && request->is_websocket)
        stream_note(stream, LOOP_WRITE);
    return upstream;
}
