/* admission.c - what decides about a request before it is forwarded: proofs for certificate
 * authorities, the way from http to https, whether this connection may ask for this host, and
 * certificates of clients. */
#include "edge/edge_private.h"

#define CHALLENGE_PREFIX "/.well-known/acme-challenge/"

/* RFC 8555 §8.3: on port 80, whatever the host. True: answered. */
static bool answer_proof(struct client *client, struct slice path)
{
    const struct snapshot *snapshot = &client->edge->table->snapshot;
    struct slice token = slice_sub(path, sizeof(CHALLENGE_PREFIX) - 1, path.len);

    for (uint32_t i = 0; i < snapshot->challenges_count; i++) {
        const struct snapshot_challenge *challenge = &snapshot->challenges[i];

        if (challenge->kind == SNAPSHOT_CHALLENGE_HTTP &&
            slice_eq(snapshot_slice(snapshot, challenge->name), token)) {
            answer_text(client, snapshot_slice(snapshot, challenge->value));
            return true;
        }
    }
    return false;
}

static bool has_certificate(const struct table *table, const struct snapshot_host *host)
{
    return host->certificate && table->certificates &&
           table->certificates[host->certificate - 1] != TLS_NO_CERTIFICATE;
}

/* The same address with https. The method stays what it is: 308. */
static void redirect(struct client *client, struct slice host)
{
    const struct request *request = &client->request;
    struct edge *edge = client->edge;
    char *at = edge->scratch;

    at = PUT(at, "Location: https://");
    at = rewrite_slice(at, host);
    if (edge->https_port != 443) {
        *at++ = ':';
        at = rewrite_u64(at, edge->https_port);
    }
    if (request->path.len == 0 || request->path.ptr[0] != '/')
        *at++ = '/';
    if (request->path.len && request->path.ptr[0] != '*')
        at = rewrite_slice(at, request->path);
    at = PUT(at, "\r\n");
    answer_redirect(client, (struct slice){edge->scratch, (size_t)(at - edge->scratch)});
}

bool admission_host(struct client *client)
{
    struct request *request = &client->request;
    const struct connection_facts *facts = client->facts;
    struct edge *edge = client->edge;
    struct slice name = host_name(request->host);
    struct slice path = slice_sub(request->path, 0, request->path_bytes);
    bool is_proof = slice_starts_with(path, SLICE(CHALLENGE_PREFIX));
    const struct snapshot_host *host;

    if (LIKELY(!edge->table->tls))
        return true;
    if (facts->tls) {
        if (!tls_covers(facts->tls, name))
            return answer_error(client, 421, "this host is served on another connection"), false;
        return true;
    }
    if (is_proof && answer_proof(client, path))
        return false;
    host = snapshot_host_find(&edge->table->snapshot, name);
    if (!host || is_proof || request->is_secure)
        return true;
    if (host->is_redirected && edge->https_port && name.len && has_certificate(edge->table, host))
        return redirect(client, name), false;
    if (host->is_plain_off)
        return answer_error(client, 403, "this host is served over https only"), false;
    return true;
}

bool admission_route(struct client *client)
{
    const struct tls *tls = client->facts->tls;

    if (LIKELY(client->request.route->client_certificate != SNAPSHOT_CERTIFICATE_REQUIRED) ||
        (tls && tls_client_subject(tls).len))
        return true;
    answer_error(client, 403, "a client certificate is required");
    return false;
}
