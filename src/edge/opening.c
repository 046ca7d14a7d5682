/* opening.c - what stands before the first request on a connection to an instance: the connection
 * itself, a PROXY header, a TLS handshake.
 *
 * Most connections have none of this and no struct opening. Verification contexts are expensive
 * (the system's authorities are more than a hundred) and keep the sessions that make the next
 * handshake cheap, so equal ones are shared by all routes and outlive tables.
 */
#include "edge/edge_private.h"
#include "net/proxy_protocol.h"
#include <stdlib.h>

#define REASONS_MAX  64u
#define NAME_DEFAULT "localhost"

/* ---- verification contexts */

static struct upstream_security *security_find(struct edge *edge,
                                               const struct tls_client_spec *spec)
{
    list_each (node, &edge->securities) {
        struct upstream_security *security = container_of(node, struct upstream_security, node);

        if (security->is_unverified == spec->is_unverified &&
            security->is_http2 == spec->is_http2 &&
            slice_eq(buf_slice(&security->ca_pem), spec->ca_pem))
            return security;
    }
    return NULL;
}

static struct upstream_security *security_get(struct edge *edge, const struct tls_client_spec *spec)
{
    struct upstream_security *security = security_find(edge, spec);
    struct error err = {0};

    if (security) {
        security->references++;
        return security;
    }
    security = calloc(1, sizeof(*security));
    if (!security)
        abort();
    if (tls_client_new(spec, &security->client, &err) != 0) {
        log_failure(&err, "an upstream that speaks TLS cannot be verified");
        free(security);
        return NULL;
    }
    security->references = 1;
    security->is_unverified = spec->is_unverified;
    security->is_http2 = spec->is_http2;
    security->ca_pem = BUF_INIT(SNAPSHOT_MAX);
    buf_append_slice(&security->ca_pem, spec->ca_pem);
    list_push_back(&edge->securities, &security->node);
    return security;
}

static void security_unref(struct upstream_security *security)
{
    if (!security || --security->references > 0)
        return;
    list_remove(&security->node);
    tls_client_unref(security->client);
    buf_done(&security->ca_pem);
    free(security);
}

/* A place of the table, which holds NULL when instances cannot be verified. NULL: they speak no
 * TLS. */
static struct upstream_security **security_place(const struct table *table,
                                                 const struct snapshot_route *route)
{
    if (LIKELY(route->upstream_tls == 0))
        return NULL;
    return &table->securities[(route->upstream_tls - 1) * 2u +
                              (route->upstream_protocol == SNAPSHOT_H2)];
}

/* For each way that a route speaks TLS to its instances. */
void opening_compile(struct edge *edge, struct table *table)
{
    const struct snapshot *snapshot = &table->snapshot;

    if (snapshot->upstream_tls_count == 0)
        return;
    table->securities =
        calloc(snapshot->upstream_tls_count * 2u, sizeof(struct upstream_security *));
    if (!table->securities)
        abort();
    for (uint32_t i = 0; i < snapshot->routes_count; i++) {
        const struct snapshot_route *route = &snapshot->routes[i];
        struct upstream_security **place = security_place(table, route);
        const struct snapshot_upstream_tls *tls;

        if (!place || *place)
            continue;
        tls = &snapshot->upstream_tls[route->upstream_tls - 1];
        *place = security_get(
            edge, &(struct tls_client_spec){.ca_pem = snapshot_slice(snapshot, tls->ca_pem),
                                            .is_unverified = tls->is_unverified,
                                            .is_http2 = route->upstream_protocol == SNAPSHOT_H2});
    }
}

void opening_release(struct table *table)
{
    for (uint32_t i = 0; table->securities && i < table->snapshot.upstream_tls_count * 2u; i++)
        security_unref(table->securities[i]);
    free(table->securities);
}

/* ---- one connection */

static struct slice server_name(const struct table *table, const struct snapshot_route *route)
{
    struct slice name = snapshot_slice(
        &table->snapshot, table->snapshot.upstream_tls[route->upstream_tls - 1].server_name);

    return name.len ? name : SLICE(NAME_DEFAULT);
}

struct verification verification_of(const struct request *request)
{
    struct upstream_security **security = security_place(request->table, request->route);
    struct verification verification = {0};
    struct slice name;

    if (LIKELY(!security))
        return verification;
    name = server_name(request->table, request->route);
    verification.security = *security;
    if (verification.security)
        verification.security->references++;
    verification.name = strndup(name.ptr, name.len);
    if (!verification.name)
        abort();
    return verification;
}

bool verification_fits(const struct verification *verification, const struct request *request)
{
    struct upstream_security **security = security_place(request->table, request->route);

    if (LIKELY(!security))
        return !verification->name;
    return verification->security && verification->security == *security &&
           slice_eq(slice_from(verification->name), server_name(request->table, request->route));
}

void verification_release(struct verification *verification)
{
    security_unref(TAKE_PTR(verification->security));
    free(TAKE_PTR(verification->name));
}

struct opening {
    const struct verification *verification;
    bool is_connected, wants_write;
    uint8_t preamble_len, preamble_sent;
    char preamble[PROXY_WRITE_MAX];
};

static void put_preamble(struct opening *opening, const struct client *client, unsigned version)
{
    struct proxy_header header = {.is_known = true};

    connection_ends(client->facts, &header.source, &header.destination);
    if (client->request.is_forwarded) {
        memcpy(header.source.address, client->request.forwarded_for, sizeof(header.source.address));
        header.source.port = 0;
    }
    opening->preamble_len = (uint8_t)proxy_header_write(version, &header, opening->preamble);
}

struct opening *opening_new(const struct client *client, const struct verification *verification)
{
    unsigned version = client->request.route->upstream_proxy_version;
    struct opening *opening;

    if (LIKELY(!verification->name && version == 0))
        return NULL;
    opening = calloc(1, sizeof(*opening));
    if (!opening)
        abort();
    opening->verification = verification;
    if (version)
        put_preamble(opening, client, version);
    return opening;
}

void opening_free(struct opening *opening)
{
    free(opening);
}

/* Records need texts that last. There are few, as they come from a library's table. */
static const char *lasting(const char *text)
{
    static char *known[REASONS_MAX];
    static unsigned count;
    char *copy;

    for (unsigned i = 0; i < count; i++)
        if (strcmp(known[i] + sizeof("upstream TLS: ") - 1, text) == 0)
            return known[i];
    if (count == REASONS_MAX || asprintf(&copy, "upstream TLS: %s", text) < 0)
        return "upstream TLS handshake failed";
    return known[count++] = copy;
}

static enum opening_result failed(const char **ret_reason, const char *reason)
{
    *ret_reason = reason;
    return OPENING_FAILED;
}

static enum opening_result connect_step(struct transport *transport, struct opening *opening,
                                        const char **ret_reason)
{
    int cause = 0;
    socklen_t len = sizeof(cause);

    if (!transport->can_write)
        return OPENING_WAITS;
    if (getsockopt(transport->io.fd, SOL_SOCKET, SO_ERROR, &cause, &len) != 0)
        cause = errno;
    opening->is_connected = true;
    return cause == 0 ? OPENING_DONE
                      : failed(ret_reason, cause == ECONNREFUSED ? "upstream refused"
                                           : cause == ETIMEDOUT  ? "upstream connect timeout"
                                                                 : "upstream unreachable");
}

static enum opening_result preamble_step(struct transport *transport, struct opening *opening,
                                         const char **ret_reason)
{
    while (opening->preamble_sent < opening->preamble_len) {
        ssize_t put = write(transport->io.fd, opening->preamble + opening->preamble_sent,
                            (size_t)(opening->preamble_len - opening->preamble_sent));

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0 && errno != EAGAIN)
            return failed(ret_reason, "upstream reset the connection");
        if (put < 0) {
            transport->can_write = false;
            return OPENING_WAITS;
        }
        opening->preamble_sent = (uint8_t)(opening->preamble_sent + put);
    }
    return OPENING_DONE;
}

static enum opening_result tls_step(struct transport *transport, struct opening *opening,
                                    const char **ret_reason)
{
    const struct verification *verification = opening->verification;
    struct error err = {0};

    if (!transport->tls) {
        if (!verification->security || tls_connect(verification->security->client, transport->io.fd,
                                                   verification->name, &transport->tls, &err) != 0)
            return failed(ret_reason, "upstream TLS cannot be verified");
        transport->kind = TRANSPORT_TLS;
    } else if (opening->wants_write ? !transport->can_write : !transport->can_read) {
        return OPENING_WAITS;
    }
    switch (tls_handshake(transport->tls)) {
    case TLS_DONE:
        transport->can_read = transport->can_write = true;
        return OPENING_DONE;
    case TLS_WANT_READ:
        transport->can_read = opening->wants_write = false;
        return OPENING_WAITS;
    case TLS_WANT_WRITE:
        transport->can_write = false;
        opening->wants_write = true;
        return OPENING_WAITS;
    default:
        return failed(ret_reason, lasting(tls_failure(transport->tls)));
    }
}

enum opening_result opening_advance(struct opening *opening, struct transport *transport,
                                    const char **ret_reason)
{
    enum opening_result result = OPENING_DONE;

    if (!opening->is_connected)
        result = connect_step(transport, opening, ret_reason);
    if (result == OPENING_DONE)
        result = preamble_step(transport, opening, ret_reason);
    if (result == OPENING_DONE && opening->verification->name)
        result = tls_step(transport, opening, ret_reason);
    return result;
}
