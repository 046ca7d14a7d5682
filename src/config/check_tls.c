/* check_tls.c - certificates, clients' certificates, upstreams and authorities: what one key alone
 * cannot tell.
 *
 * TLS belongs to a host, but is written at routes. So routes of one host that say something of it
 * must say the same; those that say nothing go along. */
#include "config/check_private.h"

#include "config/value_private.h"

#define YEAR_MS (365ull * 86400 * 1000)

struct route_check {
    const struct check *check;
    const struct manifest_route *route;
    const struct node *node; /* of the route */
    size_t index;
};

/* Where `key` of the section `outer` of the route was written; falls back to what encloses it. */
static struct position place(const struct route_check *it, const char *outer, const char *key)
{
    const struct node *section = node_get(it->node, outer);
    const struct node *node = section && key ? node_get(section, key) : NULL;

    return check_position(node ? node : section ? section : it->node);
}

static void PRINTF_LIKE(5, 6) complain(const struct route_check *it, const char *outer,
                                       const char *key, const char *hint, const char *format, ...)
{
    const char *path = arena_printf(it->check->arena, "routes[%zu].%s%s%s", it->index, outer,
                                    key ? "." : "", key ? key : "");
    char message[300];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    check_report(it->check, FINDING_ERROR, place(it, outer, key), path, hint, "%s", message);
}

/* ---- where the certificate comes from */

/* cert and key imply the mode; returns false when there is nothing more to say. */
static bool resolve_mode(const struct route_check *it, struct manifest_tls *tls)
{
    const struct node *node = node_get(it->node, "tls");
    bool is_map = node && node->kind == NODE_MAP;
    bool has_mode = !is_map || node_get(node, "mode");

    if (!has_mode && (node_get(node, "cert") || node_get(node, "key")))
        tls->mode = MANIFEST_TLS_FILES;
    else if (!has_mode)
        complain(it, "tls", NULL, "write 'mode: acme', 'mode: internal', or 'cert' and 'key'",
                 "'tls' does not say where the certificate comes from");
    return has_mode || tls->mode == MANIFEST_TLS_FILES;
}

static void check_files(const struct route_check *it, const struct manifest_tls *tls)
{
    const struct node *node = node_get(it->node, "tls");
    bool has_cert = node_get(node, "cert"), has_key = node_get(node, "key"); /* right or wrong */
    const char *given = has_key ? "key" : has_cert ? "cert" : NULL;

    if (tls->mode != MANIFEST_TLS_FILES) {
        if (tls->cert || tls->key)
            complain(it, "tls", tls->cert ? "cert" : "key", "remove it, or remove 'mode'",
                     "'%s' has no effect in mode %s", tls->cert ? "cert" : "key",
                     tls_mode_name(tls->mode));
        return;
    }
    if (!has_cert || !has_key)
        complain(it, "tls", given, "give both: the chain as 'cert' and its private key as 'key'",
                 "'%s' is missing", has_cert ? "key" : "cert");
}

static bool is_public_name(const char *host)
{
    const char *label = strrchr(host, '.');

    if (!label)
        return false;
    for (label++; *label; label++)
        if (*label < '0' || *label > '9')
            return true;
    return false; /* an address */
}

static void check_acme_name(const struct route_check *it, const struct manifest_tls *tls)
{
    const char *host = it->route->host;
    bool has_dns =
        tls->challenge == CHALLENGE_DNS_01 || (tls->challenge == CHALLENGE_AUTO && tls->dns_hook);

    if (tls->on_demand.is_given || !host)
        return;
    if (!host[0])
        complain(it, "tls", NULL,
                 "give the route a 'host', or allow names with onDemand: {ask: URL}",
                 "a certificate is for a name, and this route has none");
    else if (host[0] == '*' && !has_dns)
        complain(it, "tls", "challenge",
                 "write 'challenge: dns-01' with a 'dnsHook', or onDemand: {ask: URL}",
                 "a certificate for '%.100s' needs a proof by DNS", host);
    else if (host[0] != '*' && !is_public_name(host))
        complain(it, "tls", NULL, "use 'tls: internal'",
                 "no public authority gives a certificate for '%.100s'", host);
}

static void check_acme_keys(const struct route_check *it, const struct manifest_tls *tls)
{
    const struct node *node = node_get(it->node, "tls");
    static const char *const keys[] = {"challenge", "dnsHook", "onDemand"};

    if (tls->mode != MANIFEST_TLS_ACME) {
        for (size_t i = 0; i < ARRAY_LEN(keys); i++)
            if (node && node->kind == NODE_MAP && node_get(node, keys[i]) && tls->is_given &&
                (strcmp(keys[i], "challenge") != 0 || tls->challenge != CHALLENGE_AUTO))
                complain(it, "tls", keys[i], "write 'mode: acme', or remove it",
                         "'%s' has no effect in mode %s", keys[i], tls_mode_name(tls->mode));
        return;
    }
    if (tls->challenge == CHALLENGE_DNS_01 && !tls->dns_hook)
        complain(it, "tls", "challenge", "give the command that sets the record as 'dnsHook'",
                 "'dns-01' needs a 'dnsHook'");
    if (tls->dns_hook && tls->challenge != CHALLENGE_DNS_01 && tls->challenge != CHALLENGE_AUTO)
        complain(it, "tls", "dnsHook", "remove it, or write 'challenge: dns-01'",
                 "'dnsHook' has no effect with another challenge");
    check_acme_name(it, tls);
}

static void check_route_tls(const struct route_check *it)
{
    struct manifest_tls *tls = &it->check->manifest->routes[it->index].tls;

    if (!tls->is_given || !resolve_mode(it, tls))
        return;
    check_files(it, tls);
    check_acme_keys(it, tls);
    if (tls->hsts.is_given && tls->hsts.is_preload &&
        (!tls->hsts.is_subdomains || tls->hsts.max_age_ms < YEAR_MS))
        complain(it, "tls", "hsts", "write {maxAge: 365d, includeSubDomains: true, preload: true}",
                 "'preload' needs includeSubDomains and a maxAge of at least 365d");
}

/* ---- routes of one host */

/* Returns whether there was something to say; once is enough. */
static bool check_agreement(const struct route_check *it, size_t other_index)
{
    const struct manifest_route *route = it->route,
                                *other = &it->check->manifest->routes[other_index];
    unsigned line = check_list_node(it->check->root, "routes", other_index)->at.line;
    const char *key = NULL;

    if (route->tls.is_given && other->tls.is_given)
        key = manifest_tls_difference(&route->tls, &other->tls);
    if (key) {
        complain(it, "tls", key, "write it the same, or at one of them only",
                 "'%s' differs from that of routes[%zu] in line %u, which has the same host", key,
                 other_index, line);
        return true;
    }
    if (route->client_certificate.is_given && other->client_certificate.is_given &&
        route->client_certificate.ca && other->client_certificate.ca &&
        strcmp(route->client_certificate.ca, other->client_certificate.ca) != 0) {
        complain(it, "clientCertificate", "ca", "routes of one host share it",
                 "'ca' differs from that of routes[%zu] in line %u, which has the same host",
                 other_index, line);
        return true;
    }
    return false;
}

static bool is_same_host(const struct manifest_route *a, const struct manifest_route *b)
{
    return a->host && b->host && strcmp(a->host, b->host) == 0;
}

static void check_client_certificate(const struct route_check *it)
{
    const struct manifest *manifest = it->check->manifest;

    if (!it->route->client_certificate.is_given)
        return;
    for (size_t i = 0; i < manifest->route_count; i++)
        if (is_same_host(&manifest->routes[i], it->route) && manifest->routes[i].tls.is_given &&
            manifest->routes[i].tls.mode != MANIFEST_TLS_OFF)
            return;
    complain(it, "clientCertificate", NULL, "add 'tls' to the route",
             "clients show certificates over TLS only, and this host has none");
}

static void check_upstream(const struct route_check *it)
{
    const struct manifest_upstream *upstream = &it->route->upstream;
    const struct manifest_service *service =
        it->route->service ? manifest_service_find(it->check->manifest, it->route->service) : NULL;

    if (service && service->type == SERVICE_STATIC && upstream->is_given)
        complain(it, "upstream", NULL, "remove it",
                 "service '%s' is static: the edge itself serves it", service->name);
    if (upstream->proxy_protocol && upstream->protocol == UPSTREAM_H2)
        complain(it, "upstream", "proxyProtocol", "use Forwarded and X-Forwarded-For",
                 "a connection with h2 carries requests of many clients, a PROXY header names one");
    if (upstream->tls.is_given && upstream->tls.server_name &&
        (!upstream->tls.server_name[0] || upstream->tls.server_name[0] == '*'))
        complain(it, "upstream", "tls", NULL, "'serverName' is not a single name");
}

/* ---- authorities */

/* Accounts and orders go over TLS, but to an authority on this machine. */
static bool is_directory(const char *url)
{
    static const char *const local[] = {"http://127.", "http://localhost:", "http://localhost/",
                                        "http://[::1]"};

    for (size_t i = 0; i < ARRAY_LEN(local); i++)
        if (slice_starts_with(slice_from(url), slice_from(local[i])))
            return true;
    return slice_starts_with(slice_from(url), SLICE("https://"));
}

static void check_directory(const struct check *check, const struct node *section, const char *path,
                            const char *url)
{
    const struct node *node = node_get(section, "directory");

    if (url && node && !is_directory(url))
        check_report(check, FINDING_ERROR, node->at, path, "use https",
                     "an authority is asked over https only");
}

void check_tls(const struct check *check)
{
    const struct manifest *manifest = check->manifest;
    const struct node *acme = node_get(check->root, "acme");

    check_directory(check, acme, "acme.directory", manifest->acme.directory);
    check_directory(check, node_get(acme, "fallback"), "acme.fallback.directory",
                    manifest->acme.fallback.directory);
    for (size_t i = 0; i < manifest->route_count; i++) {
        struct route_check it = {check, &manifest->routes[i],
                                 check_list_node(check->root, "routes", i), i};

        check_route_tls(&it);
        check_upstream(&it);
        for (size_t k = 0; k < i; k++)
            if (is_same_host(&manifest->routes[k], it.route) && check_agreement(&it, k))
                break;
    }
    for (size_t i = 0; i < manifest->route_count; i++) /* once the modes of all are known */
        check_client_certificate(&(struct route_check){
            check, &manifest->routes[i], check_list_node(check->root, "routes", i), i});
}
