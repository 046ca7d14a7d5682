/* connection.c - what the requests of one connection have in common: who the client is, and how it
 * came in. */
#include "base/map.h"
#include "edge/edge_private.h"
#include "net/proxy_protocol.h"
#include <arpa/inet.h>
#include <stdlib.h>

static const uint8_t ipv4_prefix[12] = {[10] = 0xff, [11] = 0xff};

/* Every address in one form. */
static void address_bytes(const struct address *address, uint8_t ret_bytes[16])
{
    memset(ret_bytes, 0, 16);
    if (address->any.sa_family == AF_INET) {
        memcpy(ret_bytes, ipv4_prefix, sizeof(ipv4_prefix));
        memcpy(ret_bytes + sizeof(ipv4_prefix), &address->in.sin_addr, 4);
    } else if (address->any.sa_family == AF_INET6) {
        memcpy(ret_bytes, &address->in6.sin6_addr, 16);
    }
}

static bool is_ipv4(const uint8_t address[16])
{
    return memcmp(address, ipv4_prefix, sizeof(ipv4_prefix)) == 0;
}

size_t connection_address_text(const uint8_t address[16], char text[INET6_ADDRSTRLEN])
{
    bool is_short = is_ipv4(address);

    if (!is_short && memcmp(address, (const uint8_t[16]){0}, 16) == 0)
        memcpy(text, "unix", 5);
    else if (!inet_ntop(is_short ? AF_INET : AF_INET6, is_short ? address + 12 : address, text,
                        INET6_ADDRSTRLEN))
        abort();
    return strlen(text);
}

/* The fields that depend on nothing but the connection, made once. */
static void facts_fields(struct connection_facts *facts)
{
    char text[INET6_ADDRSTRLEN];
    size_t len = connection_address_text(facts->address, text);
    char *at = facts->fields;

    at = PUT(at, "X-Forwarded-For: ");
    facts->address_at = (uint8_t)(at - facts->fields);
    facts->address_len = (uint8_t)len;
    at = rewrite_slice(at, (struct slice){text, len});
    at = PUT(at, "\r\nX-Real-IP: ");
    at = rewrite_slice(at, (struct slice){text, len});
    at = facts->is_tls ? PUT(at, "\r\nX-Forwarded-Proto: https\r\n")
                       : PUT(at, "\r\nX-Forwarded-Proto: http\r\n");
    if (facts->port) {
        at = PUT(at, "X-Forwarded-Port: ");
        at = rewrite_u64(at, facts->port);
        at = PUT(at, "\r\n");
    }
    facts->fields_len = (uint8_t)(at - facts->fields);
}

/* One more or less connection of this address. False: it has as many as it may. */
static bool peer_count(struct connection_facts *facts, int change)
{
    struct edge *edge = facts->edge;
    struct slice key = {(const char *)facts->address, sizeof(facts->address)};
    uint32_t limit = edge->settings.connection_limit_per_client;
    uintptr_t count;

    if (!edge->peers)
        return true;
    count = (uintptr_t)map_get(edge->peers, key);
    if (change > 0 && limit && count >= limit)
        return false;
    count = change > 0 ? count + 1 : count - (count > 0);
    if (count == 0)
        (void)map_remove(edge->peers, key);
    else if (map_put(edge->peers, key, (void *)count) != 0)
        return false;
    return true;
}

static void connections_count(struct edge *edge, int change)
{
    edge->connection_count = (unsigned)((int)edge->connection_count + change);
    count_u32(&edge->counters->connections, edge->connection_count);
}

struct connection_facts *connection_facts_new(const struct listener *listener, int fd,
                                              const struct address *address)
{
    struct connection_facts *facts = malloc(sizeof(*facts));

    if (!facts)
        abort();
    *facts = (struct connection_facts){.references = 1,
                                       .edge = listener->edge,
                                       .is_tls = listener->is_tls,
                                       .port = listener->port,
                                       .fd = fd};
    address_bytes(address, facts->address);
    facts->is_ipv4 = is_ipv4(facts->address);
    facts_fields(facts);
    /* A proxy in front has as many connections as its clients: those count, once they are known. */
    facts->is_counted = !identity_is_proxy(facts->edge, facts->address);
    if (facts->is_counted && !peer_count(facts, 1)) {
        free(facts);
        return NULL;
    }
    connections_count(facts->edge, 1);
    return facts;
}

bool connection_facts_proxied(struct connection_facts *facts, const struct proxy_header *header)
{
    if (header->is_known) {
        memcpy(facts->address, header->source.address, sizeof(facts->address));
        memcpy(facts->local, header->destination.address, sizeof(facts->local));
        facts->is_ipv4 = is_ipv4(facts->address);
        facts->source_port = header->source.port;
        facts->port = header->destination.port;
        facts->is_proxied = true;
        facts_fields(facts);
    }
    facts->is_counted = peer_count(facts, 1);
    return facts->is_counted;
}

static void take_end(const struct address *address, struct proxy_address *ret_end)
{
    address_bytes(address, ret_end->address);
    ret_end->port = (uint16_t)address_port(address);
}

void connection_ends(const struct connection_facts *facts, struct proxy_address *ret_source,
                     struct proxy_address *ret_destination)
{
    struct address peer = {.len = sizeof(peer.un)}, own = {.len = sizeof(own.un)};

    if (facts->is_proxied) {
        memcpy(ret_source->address, facts->address, sizeof(ret_source->address));
        memcpy(ret_destination->address, facts->local, sizeof(ret_destination->address));
        ret_source->port = facts->source_port;
        ret_destination->port = facts->port;
        return;
    }
    if (getpeername(facts->fd, &peer.any, &peer.len) != 0)
        peer = (struct address){0};
    if (getsockname(facts->fd, &own.any, &own.len) != 0)
        own = (struct address){0};
    take_end(&peer, ret_source);
    take_end(&own, ret_destination);
}

struct connection_facts *connection_facts_ref(struct connection_facts *facts)
{
    facts->references++;
    return facts;
}

void connection_facts_unref(struct connection_facts *facts)
{
    if (!facts || --facts->references > 0)
        return;
    if (facts->is_counted)
        (void)peer_count(facts, -1);
    connections_count(facts->edge, -1);
    free(facts);
}

struct slice connection_address(const struct connection_facts *facts)
{
    return (struct slice){facts->fields + facts->address_at, facts->address_len};
}
