/* handshake.c - what stands before the first request: a PROXY header, TLS.
 *
 *   PROXY     ── the header is there ──► HANDSHAKE, or IDLE
 *   HANDSHAKE ── nothing came yet: no TLS state at all
 *             ── queued: too many others are under way
 *             ── the client's turn │ the signer's turn │ control's turn ──► IDLE, or CLOSED
 *
 * A handshake costs memory and signatures, so only so many are under way: of one address, that its
 * flood holds up nobody else, and of all, that memory is bounded. Whoever comes on top waits for
 * its turn with nothing but a small struct. Where all places are taken by clients that do not go
 * on, the one that has been silent the longest makes room. One deadline, from accept, ends all of
 * it; a name that has to get its certificate first has a longer one.
 *
 * A step of a handshake is expensive next to a request, so that events and answers only note that
 * one is due; a turn of the loop takes as many steps as fit into a moment, and requests go between.
 * Addresses with many handshakes under way stand in a line of their own, which moves half the time:
 * whoever comes alone does not wait behind a flood.
 */
#include "base/map.h"
#include "edge/edge_private.h"
#include "net/proxy_protocol.h"
#include <stdlib.h>

#define UNDER_WAY_MAX       1000u /* of an edge */
#define OF_SOURCE_MAX       128u
#define OF_SOURCE_FEW       8u
#define SOURCES_MAX         UNDER_WAY_MAX
#define SILENT_US           (1000u * EDGE_MS) /* then a handshake may be ended to make room */
#define QUEUE_LOOK_MAX      32u
#define STEPS_US            1000u /* of a turn; at least one step is taken */
#define CERTIFICATE_WAIT_MS 30000u
#define CERTIFICATE_WAITERS 256u

/* Fatal alerts in the clear, for hellos that are answered by nothing else (RFC 8446 §6). */
static const char alert_name[] = {21, 3, 3, 0, 2, 2, 112}; /* unrecognized_name */

/* ---- PROXY headers, of connections from networks that have to send one */

/* The header is looked at where it is, so that TLS finds its own bytes in the socket. */
void handshake_proxy(struct client *client)
{
    struct transport *transport = &client->transport;
    struct edge *edge = client->edge;
    struct proxy_header header;
    const char *reason = "the peer is gone";
    enum proxy_result result = PROXY_BAD;
    ssize_t got;

    if (!transport->can_read)
        return;
    got = recv(transport->io.fd, edge->scratch, PROXY_HEADER_MAX, MSG_PEEK);
    if (got > 0)
        result = proxy_header_read(edge->scratch, (size_t)got, &header, &reason);
    if ((got < 0 && (errno == EAGAIN || errno == EINTR)) ||
        (result == PROXY_MORE && !transport->is_ending)) {
        transport->can_read = false;
        return;
    }
    if (result != PROXY_DONE ||
        read(transport->io.fd, edge->scratch, header.bytes) != (ssize_t)header.bytes ||
        !connection_facts_proxied(client->facts, &header)) {
        log_debug("client %d: turned away: %s", transport->io.fd, reason);
        client_close(client, false);
        return;
    }
    client_set_state(client, client->facts->is_tls ? CLIENT_HANDSHAKE : CLIENT_IDLE);
    client->idle_since_us = loop_now_us(edge->loop);
    if (!client->facts->is_tls)
        client_set_deadline(client, edge_after_ms(edge, edge->settings.keepalive_timeout_ms));
}

/* ---- who may go on */

static uint64_t source_of(const struct connection_facts *facts)
{
    uint64_t source;

    memcpy(&source, facts->address + (facts->is_ipv4 ? 8 : 0), sizeof(source));
    return source;
}

static struct slice source_key(const struct handshake *handshake)
{
    return (struct slice){(const char *)&handshake->source, sizeof(handshake->source)};
}

static uintptr_t source_counted(const struct edge *edge, const struct handshake *handshake)
{
    return (uintptr_t)map_get(edge->handshake_sources, source_key(handshake));
}

static bool source_is_full(const struct edge *edge, const struct handshake *handshake)
{
    return source_counted(edge, handshake) >= OF_SOURCE_MAX;
}

static void source_count(struct edge *edge, const struct handshake *handshake, int change)
{
    struct slice key = source_key(handshake);
    uintptr_t count = source_counted(edge, handshake);

    count = change > 0 ? count + 1 : count - (count > 0);
    if (count == 0)
        (void)map_remove(edge->handshake_sources, key);
    else
        (void)!map_put(edge->handshake_sources, key, (void *)count);
}

/* End the handshake whose client has been silent the longest, if there is one. */
static void make_room(struct edge *edge)
{
    uint64_t now_us = loop_now_us(edge->loop);

    list_each (node, &edge->handshakes) {
        struct handshake *handshake = container_of(node, struct handshake, node);

        if (handshake->wait == HANDSHAKE_CLIENT && list_is_empty(&handshake->ready_node) &&
            handshake->heard_us + SILENT_US < now_us) {
            count_u64(&edge->tls_counters->shed, 1);
            client_close(handshake->client, false);
            return;
        }
    }
}

static void begin(struct handshake *handshake)
{
    struct edge *edge = handshake->client->edge;

    handshake->wait = HANDSHAKE_CLIENT;
    handshake->heard_us = loop_now_us(edge->loop);
    list_push_back(&edge->handshakes, &handshake->node);
    edge->handshake_count++;
    source_count(edge, handshake, 1);
}

/* A place became free: the next one in the queue whose address may have it. */
static void call_next(struct edge *edge)
{
    for (unsigned i = 0; i < QUEUE_LOOK_MAX && !list_is_empty(&edge->handshake_queue); i++) {
        struct list *node = edge->handshake_queue.next;
        struct handshake *handshake = container_of(node, struct handshake, wait_node);

        list_remove(node);
        if (source_is_full(edge, handshake)) {
            list_push_back(&edge->handshake_queue, node);
            continue;
        }
        begin(handshake);
        client_resume_later(handshake->client);
        return;
    }
}

static struct handshake *handshake_new(struct client *client)
{
    struct edge *edge = client->edge;
    struct handshake *handshake = calloc(1, sizeof(*handshake));

    if (!handshake)
        abort();
    handshake->client = client;
    handshake->source = source_of(client->facts);
    list_init(&handshake->node);
    list_init(&handshake->wait_node);
    list_init(&handshake->ready_node);
    client->handshake = handshake;
    if (!edge->handshake_sources)
        edge->handshake_sources = map_new(SOURCES_MAX + 1);
    if (edge->handshake_count >= UNDER_WAY_MAX)
        make_room(edge); /* which may go to one of the queue at once */
    if (source_is_full(edge, handshake) || edge->handshake_count >= UNDER_WAY_MAX) {
        handshake->wait = HANDSHAKE_QUEUED;
        list_push_back(&edge->handshake_queue, &handshake->wait_node);
    } else {
        begin(handshake);
    }
    return handshake;
}

void handshake_end(struct client *client)
{
    struct edge *edge = client->edge;
    struct handshake *handshake = TAKE_PTR(client->handshake);
    bool was_under_way = handshake && handshake->wait != HANDSHAKE_QUEUED;

    if (!handshake)
        return;
    if (handshake->wait == HANDSHAKE_CERTIFICATE)
        edge->wanting_count--;
    list_remove(&handshake->node);
    list_remove(&handshake->wait_node);
    list_remove(&handshake->ready_node);
    if (was_under_way) {
        edge->handshake_count--;
        source_count(edge, handshake, -1);
    }
    free(handshake);
    if (was_under_way && !edge->is_quitting)
        call_next(edge);
}

/* ---- the steps */

static void fail(struct client *client, const char *reason)
{
    log_debug("client %d: TLS handshake of " SLICE_FORMAT " failed: %s", client->transport.io.fd,
              SLICE_ARG(connection_address(client->facts)), reason);
    count_u64(&client->edge->tls_counters->failures, 1);
    client_close(client, false);
}

/* Nothing has been said to this client yet. */
static void fail_with_alert(struct client *client, const char *reason)
{
    (void)!write(client->transport.io.fd, alert_name, sizeof(alert_name));
    log_debug("client %d: %s", client->transport.io.fd, reason);
    count_u64(&client->edge->tls_counters->failures, 1);
    handshake_end(client);
    if (client->transport.tls)
        tls_abort(client->transport.tls);
    tls_free(TAKE_PTR(client->transport.tls));
    client->transport.kind = TRANSPORT_PLAIN;
    client_linger(client);
}

static void done(struct client *client)
{
    struct edge *edge = client->edge;
    struct tls *tls = client->transport.tls;

    count_u64(&edge->tls_counters->handshakes, 1);
    if (tls_is_resumed(tls))
        count_u64(&edge->tls_counters->resumed, 1);
    handshake_end(client);
    if (tls_is_challenge(tls)) { /* the handshake was the answer (RFC 8737 §3) */
        client_linger(client);
        return;
    }
    client->facts->tls = tls;
    /* The first request may have come with the last message. */
    client->transport.can_read = client->transport.is_ending || !tls_is_drained(tls);
    client->transport.can_write = true;
    client->idle_since_us = loop_now_us(edge->loop);
    if (tls_is_http2(tls)) {
        http2_client_begin(client);
        return;
    }
    client_set_state(client, CLIENT_IDLE);
    client_set_deadline(client, edge_after_ms(edge, edge->settings.keepalive_timeout_ms));
}

static void wait_for_certificate(struct client *client)
{
    struct handshake *handshake = client->handshake;
    struct edge *edge = client->edge;

    if (edge->wanting_count >= CERTIFICATE_WAITERS) {
        count_u64(&edge->tls_counters->shed, 1);
        fail_with_alert(client, "too many clients wait for certificates");
        return;
    }
    handshake->wait = HANDSHAKE_CERTIFICATE;
    edge->wanting_count++;
    if (!handshake->is_extended)
        client_set_deadline(client, edge_after_ms(edge, CERTIFICATE_WAIT_MS));
    handshake->is_extended = true;
    signing_want(handshake);
}

static void step(struct client *client)
{
    struct handshake *handshake = client->handshake;
    struct transport *transport = &client->transport;

    handshake->wants_write = false;
    switch (tls_handshake(transport->tls)) {
    case TLS_DONE:
        done(client);
        break;
    case TLS_WANT_READ:
        transport->can_read = false;
        if (transport->is_ending)
            fail(client, "the client is gone");
        break;
    case TLS_WANT_WRITE:
        transport->can_write = false;
        handshake->wants_write = true;
        break;
    case TLS_WANT_SIGNATURE:
        handshake->wait = HANDSHAKE_SIGNATURE;
        if (!signing_ask(handshake))
            fail(client, "the signer takes no more");
        break;
    case TLS_WANT_CERTIFICATE:
        wait_for_certificate(client);
        break;
    default:
        fail(client, tls_failure(transport->tls));
        break;
    }
}

/* The client's first bytes are there. False: it is closed. */
static bool start_tls(struct client *client)
{
    struct edge *edge = client->edge;
    struct error err = {0};

    if (!edge->table || !edge->table->tls) {
        fail_with_alert(client, "there is no certificate");
        return false;
    }
    if (tls_accept(edge->table->tls, client->transport.io.fd, &client->transport.tls, &err) != 0) {
        log_failure(&err, "a client is turned away");
        client_close(client, false);
        return false;
    }
    client->transport.kind = TRANSPORT_TLS;
    return true;
}

/* A step is due: it waits for its place in a turn. */
static void step_later(struct handshake *handshake)
{
    struct edge *edge = handshake->client->edge;

    handshake->heard_us = loop_now_us(edge->loop);
    if (list_is_empty(&handshake->ready_node))
        list_push_back(source_counted(edge, handshake) > OF_SOURCE_FEW ? &edge->handshakes_many
                                                                       : &edge->handshakes_ready,
                       &handshake->ready_node);
    loop_defer(edge->loop, &edge->handshake_work);
}

/* From each line in turn; NULL: nobody stands in either. */
static struct handshake *next_ready(struct edge *edge)
{
    struct list *lines[] = {&edge->handshakes_ready, &edge->handshakes_many};

    edge->handshake_turn++;
    for (unsigned i = 0; i < ARRAY_LEN(lines); i++) {
        struct list *line = lines[(edge->handshake_turn + i) % ARRAY_LEN(lines)];
        struct list *node = line->next;

        if (node != line) {
            list_remove(node);
            return container_of(node, struct handshake, ready_node);
        }
    }
    return NULL;
}

void handshake_take_steps(struct edge *edge)
{
    uint64_t end_us = clock_monotonic_us() + STEPS_US;
    struct handshake *handshake;

    while ((handshake = next_ready(edge))) {
        struct client *client = handshake->client;

        if (client->transport.tls || start_tls(client))
            step(client);
        client_advance(client);
        if (clock_monotonic_us() >= end_us)
            break;
    }
    if (!list_is_empty(&edge->handshakes_ready) || !list_is_empty(&edge->handshakes_many))
        loop_defer(edge->loop, &edge->handshake_work);
}

void handshake_advance(struct client *client)
{
    struct transport *transport = &client->transport;
    struct handshake *handshake = client->handshake;

    if (!handshake) {
        if (!transport->can_read)
            return;
        handshake = handshake_new(client);
    }
    if (transport->is_ending && handshake->wait != HANDSHAKE_CLIENT) {
        fail(client, "the client is gone"); /* or says no more: then there is nothing to wait for */
        return;
    }
    if (handshake->wait == HANDSHAKE_CLIENT &&
        (handshake->wants_write ? transport->can_write : transport->can_read))
        step_later(handshake);
}

void handshake_timed_out(struct client *client)
{
    const struct handshake *handshake = client->handshake;

    if (handshake && handshake->wait == HANDSHAKE_QUEUED)
        count_u64(&client->edge->tls_counters->shed, 1);
    if (handshake && handshake->wait == HANDSHAKE_CERTIFICATE)
        fail_with_alert(client, "no certificate came in time");
    else
        fail(client, "TLS handshake timeout");
}

/* ---- answers */

void handshake_signed(struct handshake *handshake, struct slice signature)
{
    list_remove(&handshake->wait_node);
    handshake->wait = HANDSHAKE_CLIENT;
    tls_sign_answer(handshake->client->transport.tls, signature);
    step_later(handshake);
}

static void stop_waiting(struct handshake *handshake)
{
    list_remove(&handshake->wait_node);
    handshake->wait = HANDSHAKE_CLIENT;
    handshake->client->edge->wanting_count--;
}

void handshake_look_again(struct edge *edge)
{
    struct list now;

    list_init(&now);
    while (!list_is_empty(&edge->wanting)) {
        struct list *node = edge->wanting.next;

        list_remove(node);
        list_push_back(&now, node);
    }
    while (!list_is_empty(&now)) {
        struct handshake *handshake = container_of(now.next, struct handshake, wait_node);
        struct client *client = handshake->client;

        stop_waiting(handshake);
        if (!edge->table->tls) {
            fail_with_alert(client, "no certificate is wanted any more");
            continue;
        }
        tls_server_switch(client->transport.tls, edge->table->tls);
        step_later(handshake);
    }
}

void handshake_refuse(struct edge *edge, struct slice host)
{
    list_each_safe (node, &edge->wanting) {
        struct handshake *handshake = container_of(node, struct handshake, wait_node);

        if (!slice_eq(tls_name(handshake->client->transport.tls), host))
            continue;
        stop_waiting(handshake);
        fail_with_alert(handshake->client, "no certificate will come");
    }
}
