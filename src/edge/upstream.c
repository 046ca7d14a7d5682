/* upstream.c - connections to instances: the pools, connecting, and what happens when one breaks.
 *
 * A request is sent again only when that cannot do harm: always when nothing of it was sent (the
 * connection was refused), and when it is idempotent, still whole in memory and not a byte of an
 * answer came. Everything else is answered, never repeated.
 */
#include "edge/stream_private.h"
#include <stdlib.h>

#define EJECTION_US        (1000u * EDGE_MS) /* an instance that refused is passed over for so long */
#define EXPIRY_STEP_US     (500u * EDGE_MS)
#define FREE_UPSTREAMS_MAX 256u /* kept for reuse */
#define REFUSALS_MAX       8u
#define RETRY_FIFTHS       5u
#define RETRY_FLOOR_FIFTHS (3u * RETRY_FIFTHS) /* a second */

static const char *const state_names[] = {
#define X(name) [UPSTREAM_##name] = #name,
    UPSTREAM_STATES(X)
#undef X
};

void upstream_set_state(struct upstream *upstream, enum upstream_state state)
{
    log_debug("upstream %d: %s -> %s", upstream->transport.io.fd, state_names[upstream->state],
              state_names[state]);
    upstream->state = state;
}

/* ---- events */

static void upstream_on_event(struct loop_io *io, unsigned events)
{
    struct upstream *upstream = container_of(io, struct upstream, transport.io);
    struct client *client = upstream->client;

    transport_note(&upstream->transport, events);
    switch (upstream->state) {
    case UPSTREAM_CONNECTING:
        if (events & (LOOP_WRITE | LOOP_CLOSE))
            upstream->transport.can_write = true;
        if ((events & (LOOP_WRITE | LOOP_CLOSE)) || upstream->opening)
            forward_request(client);
        break;
    case UPSTREAM_WAITING:
    case UPSTREAM_ANSWERING:
        if (upstream->transport.can_read)
            forward_response(client);
        if (client->request.upstream == upstream && upstream->state != UPSTREAM_TUNNEL &&
            upstream->transport.can_write &&
            (!output_is_empty(&upstream->output) ||
             (upstream->transport.kind == TRANSPORT_STREAM && !client->request.is_body_ended)))
            forward_request(client);
        break;
    case UPSTREAM_TUNNEL:
        tunnel_move(client);
        break;
    default:
        if ((events & (LOOP_READ | LOOP_CLOSE)) && !transport_is_quiet(&upstream->transport))
            upstream_close(upstream);
        return;
    }
    client_advance(client);
}

/* ---- the pools */

static void idle_remove(struct upstream *upstream)
{
    list_remove(&upstream->node);
    upstream->edge->idle_upstreams--;
}

static void on_expiry(struct loop_timer *timer)
{
    struct edge *edge = container_of(timer, struct edge, expiry);

    upstream_expire_idle(edge);
    if (edge->idle_upstreams) {
        loop_timer_start_in(edge->loop, timer, EXPIRY_STEP_US);
        return;
    }
    stream_pool_trim(&edge->http2); /* nothing was forwarded for a while */
    block_pool_trim(&edge->blocks);
}

/* Close what has idled too long. The newest stand first, so the walk begins at the end of each
 * list. */
void upstream_expire_idle(struct edge *edge)
{
    uint64_t now_us = loop_now_us(edge->loop);

    list_each_safe (at, &edge->endpoints) {
        struct endpoint *endpoint = container_of(at, struct endpoint, node);

        while (!list_is_empty(&endpoint->idle)) {
            struct upstream *upstream =
                container_of(endpoint->idle.previous, struct upstream, node);

            if (upstream->expires_us > now_us)
                break;
            upstream_close(upstream);
        }
    }
}

void upstream_close_idle(struct endpoint *endpoint)
{
    endpoint_hold(endpoint);
    while (!list_is_empty(&endpoint->idle))
        upstream_close(container_of(endpoint->idle.next, struct upstream, node));
    http2_upstream_close_idle(endpoint);
    endpoint_drop(endpoint);
}

/* A pooled connection that is fit for this request, or NULL. What must not be repeated goes only
 * where the connection was looked at a moment ago. */
static struct upstream *pool_take(struct endpoint *endpoint, const struct request *request)
{
    uint64_t now_us = loop_now_us(endpoint->edge->loop);

    if (request->is_fresh_wanted || request->route->upstream_proxy_version)
        return NULL;
    list_each_safe (node, &endpoint->idle) {
        struct upstream *upstream = container_of(node, struct upstream, node);

        if (UNLIKELY(!verification_fits(&upstream->verification, request)))
            continue;
        if (LIKELY(upstream->expires_us > now_us &&
                   ((request->is_idempotent && !upstream->transport.can_read) ||
                    transport_is_quiet(&upstream->transport)))) {
            idle_remove(upstream);
            return upstream;
        }
        upstream_close(upstream);
    }
    return NULL;
}

static void detach(struct upstream *upstream)
{
    struct client *client = upstream->client;

    if (!client)
        return;
    client->request.upstream = NULL;
    upstream->client = NULL;
    if (upstream->state == UPSTREAM_TUNNEL) {
        endpoint_tunnels(upstream->endpoint, -1);
        client->edge->tunnel_count--;
    } else {
        endpoint_in_flight(upstream->endpoint, -1);
    }
}

static void block_release(struct upstream *upstream)
{
    if (upstream->block)
        block_give(&upstream->edge->blocks, upstream->block);
    upstream->block = NULL;
    upstream->from = upstream->to = 0;
}

void upstream_release(struct upstream *upstream)
{
    struct edge *edge = upstream->edge;
    const struct request *request = &upstream->client->request;
    bool is_reusable = upstream->is_keepalive && upstream->is_answer_ended &&
                       request->is_body_ended && output_is_empty(&upstream->output) &&
                       upstream->from == upstream->to && !upstream->transport.is_ending &&
                       upstream->endpoint->state == SNAPSHOT_ACTIVE && !edge->is_quitting &&
                       !upstream->is_private && edge->idle_upstreams < edge->connection_limit / 2;

    if (UNLIKELY(!is_reusable)) {
        upstream_close(upstream);
        return;
    }
    block_release(upstream);
    buf_done(&upstream->trailers);
    upstream->is_reused = true;
    upstream->expires_us = loop_now_us(edge->loop) + upstream->keepalive_us;
    list_push_front(&upstream->endpoint->idle, &upstream->node);
    if (edge->idle_upstreams++ == 0 && !edge->expiry.loop) {
        edge->expiry.on_timer = on_expiry;
        loop_timer_start_in(edge->loop, &edge->expiry, EXPIRY_STEP_US);
    }
    detach(upstream); /* may report the endpoint as drained, so everything else is in place */
    upstream_set_state(upstream, UPSTREAM_IDLE);
}

void upstream_close(struct upstream *upstream)
{
    struct edge *edge = upstream->edge;

    if (upstream->state == UPSTREAM_CLOSED)
        return;
    if (upstream->state == UPSTREAM_IDLE)
        idle_remove(upstream);
    detach(upstream);
    transport_close(&upstream->transport, false);
    opening_free(TAKE_PTR(upstream->opening));
    verification_release(&upstream->verification);
    block_release(upstream);
    buf_done(&upstream->trailers);
    output_clear(&upstream->output);
    upstream_set_state(upstream, UPSTREAM_CLOSED);
    list_push_back(&edge->graveyard_upstreams, &upstream->node);
    loop_defer(edge->loop, &edge->burial);
    endpoint_drop(upstream->endpoint);
}

void upstream_bury(struct edge *edge)
{
    http2_upstream_bury(edge);
    list_each_safe (node, &edge->graveyard_upstreams) {
        list_remove(node);
        if (edge->free_upstream_count >= FREE_UPSTREAMS_MAX) {
            free(container_of(node, struct upstream, node));
            continue;
        }
        edge->free_upstream_count++;
        list_push_front(&edge->free_upstreams, node);
    }
}

/* ---- connecting */

struct upstream *upstream_allocate(struct edge *edge, struct endpoint *endpoint)
{
    struct upstream *upstream;

    if (list_is_empty(&edge->free_upstreams)) {
        upstream = malloc(sizeof(*upstream));
        if (!upstream)
            abort();
    } else {
        upstream = container_of(edge->free_upstreams.next, struct upstream, node);
        list_remove(&upstream->node);
        edge->free_upstream_count--;
    }
    memset(upstream, 0, sizeof(*upstream));
    list_init(&upstream->node);
    upstream->edge = edge;
    upstream->endpoint = endpoint;
    upstream->keepalive_us = (uint64_t)edge->settings.upstream_keepalive_ms * EDGE_MS;
    upstream->transport.io = (struct loop_io){.fd = -1, .on_event = upstream_on_event};
    return upstream;
}

/* A connection under way, or NULL with errno. */
static struct upstream *upstream_connect(struct edge *edge, struct endpoint *endpoint)
{
    struct upstream *upstream;
    struct error err;
    int fd = endpoint_connect(endpoint);

    if (fd < 0)
        return NULL;
    upstream = upstream_allocate(edge, endpoint);
    upstream->transport.io.fd = fd;
    upstream->transport.can_write = true; /* on loopback it mostly is; else EAGAIN says so */
    if (loop_io_start(edge->loop, &upstream->transport.io, LOOP_READ | LOOP_WRITE | LOOP_EDGE,
                      &err) != 0) {
        close(fd);
        free(upstream);
        errno = EMFILE;
        return NULL;
    }
    endpoint_hold(endpoint);
    return upstream;
}

/* What this client's request needs on a fresh connection before it can go out. */
static void prepare_opening(struct upstream *upstream, const struct client *client)
{
    const struct request *request = &client->request;

    upstream->verification = verification_of(request);
    upstream->opening = opening_new(client, &upstream->verification);
    upstream->is_private = request->route->upstream_proxy_version != 0;
    if (UNLIKELY(upstream->opening != NULL))
        upstream->transport.can_write = false; /* it begins when the connection stands */
}

bool upstream_open(struct upstream *upstream)
{
    const char *reason;

    switch (opening_advance(upstream->opening, &upstream->transport, &reason)) {
    case OPENING_DONE:
        opening_free(TAKE_PTR(upstream->opening));
        return true;
    case OPENING_WAITS:
        return false;
    default:
        log_warning("%s: %s", upstream->endpoint->address_text, reason);
        upstream_failed(upstream, 502, reason);
        return false;
    }
}

/* ---- failures */

/* The retry budget: each request earns a fifth of a retry, and three a second are free. So a broken
 * service cannot double the load on what is left of it. */
static bool retry_is_affordable(struct edge *edge)
{
    uint64_t second = loop_now_us(edge->loop) / 1000000;

    if (edge->retry_floor_second != second) {
        edge->retry_floor_second = second;
        edge->retry_fifths = MAX(edge->retry_fifths, RETRY_FLOOR_FIFTHS);
    }
    if (edge->retry_fifths < RETRY_FIFTHS)
        return false;
    edge->retry_fifths -= RETRY_FIFTHS;
    return true;
}

/* Not a byte was sent: any method may try elsewhere. */
static void passed_on(struct client *client, struct endpoint *endpoint, unsigned status,
                      const char *reason)
{
    struct request *request = &client->request;
    unsigned others = MIN(request->service->endpoint_count, REFUSALS_MAX);

    request->avoided = endpoint;
    request->refusals++;
    if (request->refusals < others && retry_is_affordable(client->edge))
        request->state = REQUEST_QUEUED;
    else
        answer_error(client, status, reason);
}

static void refused(struct client *client, struct endpoint *endpoint, unsigned status,
                    const char *reason)
{
    endpoint->ejected_until_us = loop_now_us(client->edge->loop) + EJECTION_US;
    passed_on(client, endpoint, status, reason);
}

static void connect_failed(struct client *client, struct endpoint *endpoint, int errno_value)
{
    if (errno_value == EMFILE || errno_value == ENFILE || errno_value == ENOBUFS ||
        errno_value == ENOMEM) { /* our trouble, not the instance's */
        list_each (node, &client->edge->endpoints)
            upstream_close_idle(container_of(node, struct endpoint, node));
        client_evict_idle(client->edge, 8);
        answer_error(client, 503, "out of connections");
        return;
    }
    if (errno_value == EUSERS) { /* as many streams as it takes are open */
        passed_on(client, endpoint, 503, "upstream takes no more requests now");
        return;
    }
    endpoint_count_failure(endpoint);
    if (errno_value == ETIMEDOUT)
        refused(client, endpoint, 504, "upstream connect timeout");
    else
        refused(client, endpoint, 502,
                errno_value == ECONNREFUSED ? "upstream refused" : "upstream unreachable");
}

static bool request_is_replayable(const struct client *client)
{
    const struct request *request = &client->request;

    if (request->body == HTTP1_BODY_CHUNKED || request->body == HTTP1_BODY_CLOSE)
        return request->body_seen == 0 && client->from == request->body_at &&
               request->chunked.state == 0 && request->chunked.digits == 0;
    return request->is_replayable;
}

void upstream_failed(struct upstream *upstream, unsigned status, const char *reason)
{
    struct client *client = upstream->client;
    struct request *request = &client->request;
    struct endpoint *endpoint = request->endpoint;
    bool is_unsent = upstream->state == UPSTREAM_CONNECTING;
    bool is_unanswered = !upstream->has_bytes;
    uint32_t retries = request->route->retries ? request->route->retries : 1;

    endpoint_count_failure(endpoint);
    upstream_close(upstream);
    if (request->is_answer_begun && !answer_withdraw(client)) {
        request_abort(client, status, reason);
        return;
    }
    if (is_unsent) {
        refused(client, endpoint, status, reason);
        return;
    }
    request->avoided = endpoint;
    request->is_fresh_wanted = true;
    if (is_unanswered && status == 502 && request->is_idempotent && request_is_replayable(client) &&
        request->attempts <= retries && !client->transport.is_ending &&
        retry_is_affordable(client->edge))
        request->state = REQUEST_QUEUED;
    else
        answer_error(client, status, reason);
}

void upstream_refused(struct upstream *upstream)
{
    struct client *client = upstream->client;
    struct request *request = &client->request;

    upstream_close(upstream);
    request->avoided = request->endpoint;
    if (request->refusals++ < REFUSALS_MAX && request_is_replayable(client) &&
        retry_is_affordable(client->edge))
        request->state = REQUEST_QUEUED;
    else
        answer_error(client, 503, "upstream refused the stream");
}

void upstream_timed_out(struct client *client)
{
    upstream_failed(client->request.upstream, 504, "upstream connect timeout");
}

/* ---- dispatch */

/* Back to the beginning of the body: the request goes out (again) from its first byte. */
static void rewind_body(struct client *client)
{
    struct request *request = &client->request;

    if (request->body != HTTP1_BODY_LENGTH || request->body_bytes == 0)
        return;
    client->from = request->body_at;
    request->body_left = request->body_bytes;
    request->body_seen = 0;
    request->is_body_read = request->is_body_ended = false;
}

static void attach(struct upstream *upstream, struct client *client, struct endpoint *endpoint,
                   enum upstream_state state)
{
    struct request *request = &client->request;

    upstream->client = client;
    upstream->has_bytes = upstream->is_answer_ended = upstream->is_write_failed = false;
    upstream->is_keepalive = false;
    upstream->progress.scanned = 0;
    output_clear(&upstream->output);
    upstream_set_state(upstream, state);
    endpoint_hold(endpoint);
    if (request->endpoint)
        endpoint_drop(request->endpoint);
    request->endpoint = endpoint;
    request->upstream = upstream;
    request->state = REQUEST_FORWARDED;
    request->attempts++;
    if (!request->dispatched_us)
        request->dispatched_us = loop_now_us(client->edge->loop);
    endpoint_in_flight(endpoint, 1);
    rewind_body(client);
}

/* The present table decides, also for a request that was routed by an older one: an instance that
 * an acknowledged table drains gets no request any more, retries included. */
static bool route_again(struct client *client)
{
    struct request *request = &client->request;
    size_t strip_bytes = request->strip_bytes;

    if (LIKELY(request->table == client->edge->table))
        return true;
    return request_route(client) && request->service->spec->kind == SNAPSHOT_PROXY &&
           request->strip_bytes == strip_bytes;
}

static void dispatch_stream(struct client *client, struct endpoint *endpoint)
{
    struct request *request = &client->request;
    struct upstream *upstream;

    if (request->is_upgrade && !request->is_websocket) {
        answer_error(client, 501, "this service takes no such upgrades");
        return;
    }
    upstream = http2_upstream_open(client, endpoint);
    if (!upstream) {
        connect_failed(client, endpoint, errno);
        return;
    }
    attach(upstream, client, endpoint, upstream->state);
    request_touch(client);
    forward_request(client);
}

void upstream_dispatch(struct client *client)
{
    struct request *request = &client->request;
    struct edge *edge = client->edge;
    struct endpoint *endpoint = NULL;
    struct upstream *upstream;

    if (route_again(client))
        endpoint = endpoint_pick(edge, request->service, request->avoided, request->is_upgrade);
    if (!endpoint) {
        answer_error(client, 503, "no healthy instance");
        return;
    }
    if (request->route->upstream_protocol == SNAPSHOT_H2) {
        dispatch_stream(client, endpoint);
        return;
    }
    upstream = pool_take(endpoint, request);
    if (upstream) {
        attach(upstream, client, endpoint, UPSTREAM_WAITING);
    } else {
        upstream = upstream_connect(edge, endpoint);
        if (!upstream) {
            connect_failed(client, endpoint, errno);
            return;
        }
        prepare_opening(upstream, client);
        attach(upstream, client, endpoint, UPSTREAM_CONNECTING);
    }
    output_push(&upstream->output, request->head_block->bytes, request->head_len);
    request_touch(client);
    forward_request(client);
}
