/* endpoint.c - what the edge knows of each instance: where it is, what is in flight to it, whether
 * it may get more.
 *
 * A record outlives the snapshots: connections and counts of an instance carry over from table to
 * table by its id, and an instance that a new table no longer names stays until its last request is
 * done.
 */
#include "base/peer_protocol.h"
#include "edge/edge_private.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>

struct endpoint *endpoint_find(struct edge *edge, uint64_t instance)
{
    list_each (node, &edge->endpoints) {
        struct endpoint *endpoint = container_of(node, struct endpoint, node);

        if (endpoint->instance == instance)
            return endpoint;
    }
    return NULL;
}

static char *text_copy(struct slice text)
{
    char *copy = malloc(text.len + 1);

    if (!copy)
        abort();
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    return copy;
}

static void endpoint_address(struct endpoint *endpoint, const struct snapshot *snapshot,
                             const struct snapshot_endpoint *spec)
{
    struct slice path = snapshot_slice(snapshot, spec->unix_path);

    memset(&endpoint->address, 0, sizeof(endpoint->address));
    if (spec->ipv4) {
        endpoint->address.len = sizeof(endpoint->address.in);
        endpoint->address.in.sin_family = AF_INET;
        endpoint->address.in.sin_addr.s_addr = spec->ipv4;
        endpoint->address.in.sin_port = htons((uint16_t)spec->port);
    } else {
        size_t len = MIN(path.len, sizeof(endpoint->address.un.sun_path) - 1);

        endpoint->address.un.sun_family = AF_UNIX;
        memcpy(endpoint->address.un.sun_path, path.ptr, len);
        endpoint->address.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    }
    address_format(&endpoint->address, endpoint->address_text);
}

struct endpoint *endpoint_new(struct edge *edge, const struct snapshot *snapshot,
                              const struct snapshot_endpoint *spec)
{
    struct endpoint *endpoint = calloc(1, sizeof(*endpoint));

    if (!endpoint)
        abort();
    endpoint->edge = edge;
    endpoint->instance = spec->instance;
    endpoint->counters = &endpoint->scratch;
    endpoint->label = text_copy(snapshot_slice(snapshot, spec->label));
    endpoint->name = text_copy(snapshot_slice(snapshot, spec->name));
    endpoint_address(endpoint, snapshot, spec);
    list_init(&endpoint->idle);
    list_init(&endpoint->links);
    list_push_back(&edge->endpoints, &endpoint->node);
    return endpoint;
}

static void endpoint_publish_gauges(struct endpoint *endpoint)
{
    count_u32(&endpoint->counters->in_flight, endpoint->in_flight);
    count_u32(&endpoint->counters->tunnels, endpoint->tunnels);
}

void endpoint_update(struct endpoint *endpoint, const struct snapshot *snapshot,
                     const struct snapshot_endpoint *spec)
{
    struct counters_endpoint *slot = &endpoint->edge->counters->endpoints[spec->slot];

    if (slot->instance != spec->instance) {
        memset(slot, 0, sizeof(*slot));
        __atomic_store_n(&slot->instance, spec->instance, __ATOMIC_RELAXED);
    }
    (void)snapshot;
    endpoint->counters = slot;
    endpoint->slot = spec->slot;
    endpoint->weight = spec->weight ? spec->weight : 100;
    endpoint->state = (enum snapshot_endpoint_state)spec->state;
    endpoint->is_listed = true;
    endpoint->drained_reported = 0;
    endpoint_publish_gauges(endpoint);
}

/* No longer in the table. Its slot may go to another instance at any time, so it counts for itself
 * from here on. */
void endpoint_unlist(struct endpoint *endpoint)
{
    if (endpoint->counters != &endpoint->scratch &&
        endpoint->counters->instance == endpoint->instance) {
        count_u32(&endpoint->counters->in_flight, 0);
        count_u32(&endpoint->counters->tunnels, 0);
    }
    endpoint->counters = &endpoint->scratch;
    endpoint->is_listed = false;
    endpoint->state = SNAPSHOT_DRAINING;
    endpoint_hold(endpoint);
    upstream_close_idle(endpoint);
    endpoint_drop(endpoint);
}

int endpoint_connect(const struct endpoint *endpoint)
{
    int fd = socket(endpoint->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1, saved;

    if (fd < 0)
        return -1;
    if (endpoint->address.any.sa_family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, &endpoint->address.any, endpoint->address.len) == 0 || errno == EINPROGRESS)
        return fd;
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

void endpoint_hold(struct endpoint *endpoint)
{
    endpoint->connections++;
}

void endpoint_drop(struct endpoint *endpoint)
{
    assert(endpoint->connections > 0);
    if (--endpoint->connections == 0 && UNLIKELY(!endpoint->is_listed)) {
        list_remove(&endpoint->node);
        free(endpoint->label);
        free(endpoint->name);
        free(endpoint);
    }
}

/* Each of the two conditions of PEER_DRAINED is told once for each table. */
void endpoint_check_drained(struct endpoint *endpoint)
{
    if (LIKELY(endpoint->state == SNAPSHOT_ACTIVE) || !endpoint->is_listed || endpoint->in_flight)
        return;
    if (!(endpoint->drained_reported & 1)) {
        endpoint->drained_reported |= 1;
        edge_report_drained(endpoint->edge, endpoint, false);
    }
    if (endpoint->tunnels == 0 && !(endpoint->drained_reported & 2)) {
        endpoint->drained_reported |= 2;
        edge_report_drained(endpoint->edge, endpoint, true);
    }
}

void endpoint_in_flight(struct endpoint *endpoint, int change)
{
    endpoint->in_flight = (uint32_t)((int)endpoint->in_flight + change);
    count_u32(&endpoint->counters->in_flight, endpoint->in_flight);
    if (change < 0)
        endpoint_check_drained(endpoint);
    else
        count_u64(&endpoint->counters->requests, 1);
}

void endpoint_tunnels(struct endpoint *endpoint, int change)
{
    endpoint->tunnels = (uint32_t)((int)endpoint->tunnels + change);
    count_u32(&endpoint->counters->tunnels, endpoint->tunnels);
    if (change < 0)
        endpoint_check_drained(endpoint);
}

void endpoint_count_failure(struct endpoint *endpoint)
{
    count_u64(&endpoint->counters->failures, 1);
}

/* The least loaded by weight, beginning at a random place so that equals share. */
static struct endpoint *endpoint_least(const struct service *service, uint32_t start,
                                       const struct endpoint *avoided, uint64_t now_us,
                                       bool is_tunnel)
{
    struct endpoint *best = NULL;
    uint64_t best_load = 0;

    for (uint32_t i = 0; i < service->endpoint_count; i++) {
        uint32_t at =
            start + i < service->endpoint_count ? start + i : start + i - service->endpoint_count;
        struct endpoint *endpoint = service->endpoints[at];
        uint64_t load;

        if (endpoint->state != SNAPSHOT_ACTIVE || (avoided && endpoint == avoided) ||
            endpoint->ejected_until_us > now_us)
            continue;
        load = endpoint->in_flight + (is_tunnel ? endpoint->tunnels : 0);
        if (!best || load * best->weight < best_load * endpoint->weight) {
            best = endpoint;
            best_load = load;
        }
    }
    return best;
}

/* Where the next request of a service goes; NULL when no instance is active. Endpoints that refused
 * lately, and the one that just failed this request, come last: better a doubtful one than none. */
struct endpoint *endpoint_pick(struct edge *edge, const struct service *service,
                               const struct endpoint *avoided, bool is_tunnel)
{
    uint64_t now_us = loop_now_us(edge->loop);
    uint32_t start = service->endpoint_count > 1
                         ? (uint32_t)((edge_random(edge) >> 32) * service->endpoint_count >> 32)
                         : 0;
    struct endpoint *best = endpoint_least(service, start, avoided, now_us, is_tunnel);

    if (!best && service->endpoint_count)
        best = endpoint_least(service, start, avoided, UINT64_MAX, is_tunnel);
    if (!best && service->endpoint_count)
        best = endpoint_least(service, start, NULL, UINT64_MAX, is_tunnel);
    return best;
}
