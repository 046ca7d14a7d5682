/* client.c - a client's connection: requests one after the other, and its ways to end.
 *
 *   PROXY ── header ──► HANDSHAKE ── TLS stands ──► IDLE   (each where it applies; handshake.c)
 *   IDLE ── bytes ──► HEAD ── header block ──► REQUEST ── answer sent ──► IDLE … CLOSED
 *                                                │  └── 101 ──► TUNNEL ──► CLOSED
 *                                                └── answered early, or badly ──► LINGER ──► CLOSED
 */
#include "edge/edge_private.h"
#include "net/http2.h"
#include <stdlib.h>

#define TIMER_STEP_US                                                                              \
    (10u * 1000u * EDGE_MS) /* a deadline further away is looked at in such steps */
#define LINGER_US        (10u * 1000u * EDGE_MS)
#define LINGER_BYTES_MAX (256u * 1024u * 1024u)
#define ADVANCE_MAX      32u  /* requests of one connection in one go; then others get their turn */
#define FREE_CLIENTS_MAX 256u /* kept for reuse */
#define EVICT_MAX        16u
#define EVICT_SPARED     8u /* newcomers */

static const char *const state_names[] = {
#define X(name) [CLIENT_##name] = #name,
    CLIENT_STATES(X)
#undef X
};

void client_set_state(struct client *client, enum client_state state)
{
    log_debug("client %d: %s -> %s", client->transport.io.fd, state_names[client->state],
              state_names[state]);
    client->state = state;
}

/* ---- deadlines: a store in the common case, see docs/design/edge.md */

static void timer_arm(struct client *client)
{
    uint64_t step = loop_now_us(client->edge->loop) + TIMER_STEP_US;

    loop_timer_start(client->edge->loop, &client->timer, MIN(client->deadline_us, step));
}

void client_set_deadline(struct client *client, uint64_t deadline_us)
{
    client->deadline_us = deadline_us;
    if (UNLIKELY(!client->timer.loop || deadline_us < client->timer.deadline_us))
        timer_arm(client);
}

static void on_idle_deadline(struct client *client)
{
    client_close(client, false);
}

/* A request that never became one has nothing but its beginning to tell. */
static void request_from_nothing(struct client *client)
{
    client->request = (struct request){
        .file.fd = -1,
        .version_minor = 1,
        .started_us = loop_now_us(client->edge->loop),
        .method_text = SLICE("-"),
    };
    client_set_state(client, CLIENT_REQUEST);
}

static void on_head_deadline(struct client *client)
{
    request_from_nothing(client);
    client->request.is_body_read = true;
    answer_error(client, 408, "request header timeout");
}

static void on_tunnel_deadline(struct client *client)
{
    request_abort(client, 101, "tunnel idle timeout");
}

static void (*const on_deadline[])(struct client *client) = {
    [CLIENT_PROXY] = on_idle_deadline,         [CLIENT_HANDSHAKE] = handshake_timed_out,
    [CLIENT_SESSION] = http2_client_timed_out, [CLIENT_IDLE] = on_idle_deadline,
    [CLIENT_HEAD] = on_head_deadline,          [CLIENT_REQUEST] = request_timed_out,
    [CLIENT_TUNNEL] = on_tunnel_deadline,      [CLIENT_LINGER] = on_idle_deadline,
    [CLIENT_CLOSED] = on_idle_deadline,
};

static void client_on_timer(struct loop_timer *timer)
{
    struct client *client = container_of(timer, struct client, timer);

    if (client->deadline_us > loop_now_us(client->edge->loop)) {
        timer_arm(client);
        return;
    }
    on_deadline[client->state](client);
    client_advance(client);
    if (client->state != CLIENT_CLOSED && !client->timer.loop)
        timer_arm(client);
}

/* ---- reading requests */

static void block_release(struct client *client)
{
    if (client->block)
        block_give(&client->edge->blocks, client->block);
    client->block = NULL;
    client->from = client->to = 0;
}

void client_output_release(struct client *client)
{
    if (client->output_block)
        block_give(&client->edge->blocks, client->output_block);
    client->output_block = NULL;
    client->output_len = 0;
}

/* Bytes of the next request. False: none now, or the client is closed. */
static bool client_read(struct client *client)
{
    ssize_t got;

    if (!client->transport.can_read) {
        if (client->from == client->to && client->block)
            block_release(client);
        return false;
    }
    if (!client->block)
        client->block = block_take(&client->edge->blocks);
    got = transport_read(&client->transport, client->block->bytes + client->to,
                         BLOCK_BYTES - client->to);
    if (got > 0) {
        client->to += (size_t)got;
        return true;
    }
    if (got == TRANSPORT_AGAIN) {
        if (client->from == client->to)
            block_release(client);
        return false;
    }
    client_close(client, false);
    return false;
}

void client_refuse(struct client *client, const struct http1_failure *failure)
{
    request_from_nothing(client);
    /* Nobody knows what follows: it is read and dropped, so that no reset overtakes the answer. */
    client->request.body = HTTP1_BODY_LENGTH;
    client->request.body_left = UINT64_MAX;
    count_u64(&client->edge->counters->requests, 1);
    answer_error(client, failure->status, failure->reason);
}

/* HTTP/2 with prior knowledge: what is there is (the beginning of) its preface. */
static bool client_is_preface(const struct client *client, size_t len)
{
    return client->transport.kind == TRANSPORT_PLAIN && client->state == CLIENT_IDLE && len &&
           memcmp(client->block->bytes + client->from, HTTP2_PREFACE,
                  MIN(len, HTTP2_PREFACE_LEN)) == 0;
}

/* Find the next request in what is there or comes. False: it is not complete, or the client is
 * closed. */
static bool client_take_request(struct client *client)
{
    struct edge *edge = client->edge;
    struct http1_failure failure;

    for (;;) {
        size_t len = client->to - client->from;

        if (UNLIKELY(edge->settings.accepts_h2c) && client_is_preface(client, len)) {
            if (len >= HTTP2_PREFACE_LEN) {
                http2_client_begin(client);
                return true;
            }
        } else if (len > client->progress.scanned) {
            enum http1_result result =
                http1_parse_request(client->block->bytes + client->from, len, &client->progress,
                                    &edge->limits, &edge->head, &failure);

            if (LIKELY(result == HTTP1_DONE)) {
                client->progress.scanned = 0;
                client->from += edge->head.head_bytes;
                client_set_state(client, CLIENT_REQUEST);
                request_begin(client);
                return true;
            }
            if (result == HTTP1_BAD) {
                client->progress.scanned = 0;
                client_refuse(client, &failure);
                return true;
            }
            if (client->state == CLIENT_IDLE) {
                client_set_state(client, CLIENT_HEAD);
                client_set_deadline(client, edge_after_ms(edge, edge->settings.header_timeout_ms));
            }
        }
        if (!client_read(client))
            return false;
    }
}

void client_advance(struct client *client)
{
    for (unsigned i = 0;; i++) {
        if (client->state == CLIENT_IDLE || client->state == CLIENT_HEAD) {
            if (UNLIKELY(i >= ADVANCE_MAX)) {
                client_resume_later(client);
                return;
            }
            if (!client_take_request(client))
                return;
        } else if (client->state == CLIENT_REQUEST && client->request.state == REQUEST_QUEUED) {
            upstream_dispatch(client);
        } else if (UNLIKELY(client->state == CLIENT_PROXY)) {
            handshake_proxy(client);
            if (client->state == CLIENT_PROXY)
                return;
        } else if (UNLIKELY(client->state == CLIENT_HANDSHAKE)) {
            handshake_advance(client);
            if (client->state == CLIENT_HANDSHAKE)
                return;
        } else {
            return;
        }
    }
}

void client_resume_later(struct client *client)
{
    if (client->is_resumed)
        return;
    client->is_resumed = true;
    list_push_back(&client->edge->resumed, &client->resume_node);
    loop_defer(client->edge->loop, &client->edge->resume_work);
}

/* ---- after an answer */

void client_request_done(struct client *client)
{
    bool is_unread = !client->request.is_body_read || client->from < client->to ||
                     (client->transport.can_read && !client->transport.is_ending);

    request_record(client);
    request_release(client);
    client->is_served = true;
    if (client->protocol == CLIENT_HTTP2) { /* a stream has one request */
        http2_client_served(client);
        client_close(client, false);
        return;
    }
    if (UNLIKELY(client->is_last)) {
        if (is_unread)
            client_linger(client);
        else
            client_close(client, false);
        return;
    }
    if (client->from == client->to) {
        block_release(client);
    } else {
        memmove(client->block->bytes, client->block->bytes + client->from,
                client->to - client->from);
        client->to -= client->from;
        client->from = 0;
    }
    client->progress.scanned = 0;
    client_set_state(client, CLIENT_IDLE);
    client->idle_since_us = loop_now_us(client->edge->loop);
    client_set_deadline(client,
                        edge_after_ms(client->edge, client->edge->settings.keepalive_timeout_ms));
    edge_check_quit(client->edge);
}

/* Closing with unread bytes would send a reset, which may destroy the answer on its way (RFC 9112
 * §9.6). */
void client_linger(struct client *client)
{
    transport_finish(&client->transport);
    block_release(client);
    client->lingered_bytes = 0;
    client_set_state(client, CLIENT_LINGER);
    client_set_deadline(client, loop_now_us(client->edge->loop) + LINGER_US);
    client_resume_later(client);
}

void client_linger_at_most(struct client *client, uint64_t bytes)
{
    if (client->state == CLIENT_LINGER && bytes < LINGER_BYTES_MAX)
        client->lingered_bytes = LINGER_BYTES_MAX - bytes;
}

static void client_linger_read(struct client *client)
{
    struct edge *edge = client->edge;
    unsigned rounds = 0;

    while (client->transport.can_read) {
        ssize_t got = transport_read(&client->transport, edge->scratch, sizeof(edge->scratch));

        if (got == TRANSPORT_AGAIN)
            return;
        if (got > 0)
            client->lingered_bytes += (uint64_t)got;
        if (got <= 0 || client->lingered_bytes > LINGER_BYTES_MAX) {
            client_close(client, false);
            return;
        }
        if (++rounds == 8) {
            client_resume_later(client);
            return;
        }
    }
}

/* ---- events */

static void on_request_event(struct client *client)
{
    struct request *request = &client->request;

    if (UNLIKELY(client->transport.is_ending) && transport_is_gone(&client->transport)) {
        request_abort(client, 499, "client closed");
        return;
    }
    if (request->state == REQUEST_LOCAL) {
        answer_move(client);
        return;
    }
    if (request->state != REQUEST_FORWARDED)
        return;
    /* What was queued on a stream leaves it on its own. */
    if (client->transport.can_write &&
        (!output_is_empty(&client->output) || client->protocol == CLIENT_HTTP2))
        forward_response(client);
    if (client->state != CLIENT_REQUEST || request->state != REQUEST_FORWARDED)
        return;
    if (request->is_body_discarded)
        forward_discard(client);
    else if (!request->is_body_ended && (client->transport.can_read || client->from < client->to))
        forward_request(client);
}

static void client_run(struct client *client)
{
    switch (client->state) {
    case CLIENT_REQUEST:
        on_request_event(client);
        break;
    case CLIENT_TUNNEL:
        tunnel_move(client);
        break;
    case CLIENT_LINGER:
        client_linger_read(client);
        break;
    case CLIENT_SESSION:
        http2_client_move(client);
        break;
    default:
        break;
    }
    client_advance(client);
}

void client_on_event(struct loop_io *io, unsigned events)
{
    struct client *client = container_of(io, struct client, transport.io);

    transport_note(&client->transport, events);
    client_run(client);
}

/* Work that was put off so that others get their turn (edge.resume_work). */
void client_resume(struct client *client)
{
    client->is_resumed = false;
    list_remove(&client->resume_node);
    if (client->state == CLIENT_REQUEST && client->request.state == REQUEST_FORWARDED)
        forward_response(client);
    client_run(client);
}

/* ---- birth and death */

static struct client *client_allocate(struct edge *edge)
{
    struct client *client;

    if (list_is_empty(&edge->free_clients)) {
        client = malloc(sizeof(*client));
        if (!client)
            abort();
    } else {
        client = container_of(edge->free_clients.next, struct client, node);
        list_remove(&client->node);
        edge->free_client_count--;
    }
    memset(client, 0, sizeof(*client));
    return client;
}

static void client_free(struct edge *edge, struct client *client)
{
    if (edge->free_client_count >= FREE_CLIENTS_MAX) {
        free(client);
        return;
    }
    edge->free_client_count++;
    list_push_front(&edge->free_clients, &client->node);
}

struct client *client_new(struct edge *edge, struct connection_facts *facts,
                          enum client_protocol protocol)
{
    struct client *client = client_allocate(edge);

    client->edge = edge;
    client->facts = connection_facts_ref(facts);
    client->protocol = (uint8_t)protocol;
    client->state = CLIENT_IDLE;
    client->transport.io.fd = -1;
    client->timer.on_timer = client_on_timer;
    client->idle_since_us = loop_now_us(edge->loop);
    list_init(&client->resume_node);
    list_push_back(&edge->clients, &client->node);
    edge->client_count++;
    client_set_deadline(client, edge_after_ms(edge, edge->settings.keepalive_timeout_ms));
    return client;
}

void client_accept(struct listener *listener, int fd, const struct address *address)
{
    struct edge *edge = listener->edge;
    struct connection_facts *facts = connection_facts_new(listener, fd, address);
    struct client *client;
    struct error err;

    if (!facts) {
        close(fd);
        return;
    }
    client = client_new(edge, facts, CLIENT_HTTP1);
    connection_facts_unref(facts); /* the client's reference is left */
    client->transport.io = (struct loop_io){.fd = fd, .on_event = client_on_event};
    client->transport.can_write = true;
    if (loop_io_start(edge->loop, &client->transport.io, LOOP_READ | LOOP_WRITE | LOOP_EDGE,
                      &err) != 0) {
        client_close(client, false);
        return;
    }
    if (!listener->is_tls && facts->is_counted)
        return;
    client_set_state(client, facts->is_counted ? CLIENT_HANDSHAKE : CLIENT_PROXY);
    client_set_deadline(client, edge_after_ms(edge, edge->settings.handshake_timeout_ms));
}

void client_close(struct client *client, bool is_abort)
{
    struct edge *edge = client->edge;

    if (client->state == CLIENT_CLOSED)
        return;
    if (client->request.state != REQUEST_NONE || client->state == CLIENT_TUNNEL) {
        request_record(client);
        if (client->request.upstream)
            upstream_close(client->request.upstream);
        request_release(client);
    }
    handshake_end(client);
    if (client->http2)
        http2_client_close(client);
    transport_close(&client->transport, is_abort);
    loop_timer_stop(&client->timer);
    block_release(client);
    output_clear(&client->output);
    client_output_release(client);
    list_remove(&client->resume_node);
    client->is_resumed = false;
    connection_facts_unref(TAKE_PTR(client->facts));
    list_remove(&client->node);
    list_push_back(&edge->graveyard_clients, &client->node);
    loop_defer(edge->loop, &edge->burial);
    client_set_state(client, CLIENT_CLOSED);
    edge->client_count--;
    edge_check_quit(edge);
}

void client_bury(struct edge *edge)
{
    list_each_safe (node, &edge->graveyard_clients) {
        struct client *client = container_of(node, struct client, node);

        list_remove(node);
        if (client->http2)
            http2_client_free(client);
        client_free(edge, client);
    }
}

/* Nothing is under way on it: it waits for a request, or for the client's first bytes. */
static bool client_is_evictable(const struct client *client)
{
    switch (client->state) {
    case CLIENT_IDLE:
        return !client->transport.can_read;
    case CLIENT_SESSION:
        return http2_client_is_idle(client);
    case CLIENT_HANDSHAKE:
        return !client->handshake && !client->transport.can_read;
    default:
        return client->state == CLIENT_PROXY;
    }
}

struct eviction {
    struct client *client;
    bool is_silent; /* it has never had a request answered, and had its time to ask */
};

static bool eviction_is_before(const struct eviction *one, const struct eviction *other)
{
    if (one->is_silent != other->is_silent)
        return one->is_silent;
    return one->client->idle_since_us < other->client->idle_since_us;
}

/* Make room: close connections that never had a request answered, as those of a flood, then others,
 * those first that have been waiting the longest. The newest ones are spared, as whoever has just
 * come is about to ask. One walk, from the newest to the oldest, finds them all, as a flood of
 * connections asks for this again and again. */
void client_evict_idle(struct edge *edge, unsigned count)
{
    struct eviction chosen[EVICT_MAX]; /* in the order in which they go */
    unsigned found = 0, unserved = 0;

    if (edge->is_quitting) /* client_quit_all walks the list, and lets them all go anyway */
        return;
    count = MIN(count, EVICT_MAX);
    for (struct list *node = edge->clients.previous; node != &edge->clients;
         node = node->previous) {
        struct eviction one = {.client = container_of(node, struct client, node)};
        unsigned at = found;

        if (!client_is_evictable(one.client))
            continue;
        one.is_silent = !one.client->is_served && ++unserved > EVICT_SPARED;
        while (at > 0 && eviction_is_before(&one, &chosen[at - 1]))
            at--;
        if (at >= count)
            continue;
        found = MIN(found + 1, count);
        memmove(chosen + at + 1, chosen + at, (found - at - 1) * sizeof(chosen[0]));
        chosen[at] = one;
    }
    for (unsigned i = 0; i < found; i++)
        client_close(chosen[i].client, false);
}

/* The platform stops: who waits for nothing goes, who is being served gets "Connection: close".
 * While draining nobody is sent off: a request may be on its way on any connection, so that the
 * next answer says "Connection: close", and an idle connection ends by its own timeout. */
void client_quit_all(struct edge *edge)
{
    list_each_safe (node, &edge->clients) {
        struct client *client = container_of(node, struct client, node);

        if (client->state == CLIENT_SESSION)
            http2_client_drain(client);
        if (edge->is_draining)
            continue;
        client->is_last = true;
        if (client->state == CLIENT_PROXY ||
            (client->state == CLIENT_HANDSHAKE && !client->handshake))
            client_close(client, false); /* it has said nothing yet */
        if (client->state != CLIENT_IDLE)
            continue;
        client->transport.can_read = true; /* a request may have arrived this moment */
        client_advance(client);
        if (client->state == CLIENT_IDLE)
            client_close(client, false);
    }
}
