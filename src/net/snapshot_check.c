/* snapshot_check.c - what an edge makes sure of before it trusts a routing snapshot.
 *
 * Why everything is checked although control is trusted: the edge must not die of a control that
 * has a bug, as it would die again after every restart. Ranges must follow each other without gap
 * or overlap (networks aside, which routes share), so validation is linear in the block. */
#include <string.h>

#include "base/counters.h"
#include "net/http1_private.h"
#include "net/snapshot_private.h"
#include "net/tls.h"

#define TEXT_MAX      65536u
#define PEM_MAX       (1024u * 1024u) /* a bundle of authorities */
#define HOST_MAX      255u
#define UNIX_PATH_MAX 107u

struct check { /* what the checks of one block share */
    const struct snapshot *view;
    uint64_t strings_len;
    struct error *err;
    uint64_t slots_seen[COUNTERS_ENDPOINTS_MAX / 64];
};

/* ---- texts */

static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!http1_is(s.ptr[i], HTTP1_CLASS_TOKEN))
            return false;
    return s.len > 0;
}

/* No byte that could end a header line, a log line or a C string. */
static bool is_plain(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
            return false;
    return true;
}

static bool is_label(struct slice s)
{
    return !memchr(s.ptr, '\n', s.len) && !memchr(s.ptr, 0x1e, s.len);
}

static bool is_absolute(struct slice s)
{
    return s.len > 0 && s.ptr[0] == '/' && is_plain(s);
}

static bool is_host(struct slice s)
{
    size_t start = s.len >= 2 && s.ptr[0] == '*' && s.ptr[1] == '.' ? 2 : 0;

    if (s.len == 0)
        return true;
    if (s.len > HOST_MAX || start == s.len)
        return false;
    for (size_t i = start; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if (c <= ' ' || c >= 0x7f || c == '*' || c == '/' || (c >= 'A' && c <= 'Z'))
            return false;
    }
    return true;
}

static bool is_route_path(struct slice s)
{
    return is_absolute(s) && (s.len == 1 || s.ptr[s.len - 1] != '/');
}

/* Bytes of any kind, with a NUL behind them. */
static int check_bytes(struct check *check, struct snapshot_text text, uint32_t limit)
{
    uint64_t end = (uint64_t)text.offset + text.len;

    if (text.len > limit || end >= check->strings_len || check->view->strings[end] != '\0')
        return error_set(check->err, ERR_INVALID,
                         "snapshot: a text lies outside of the string region");
    return 0;
}

static int check_text(struct check *check, struct snapshot_text text, struct slice *ret_slice)
{
    int code = check_bytes(check, text, TEXT_MAX);

    if (code < 0)
        return code;
    *ret_slice = snapshot_slice(check->view, text);
    if (memchr(ret_slice->ptr, '\0', ret_slice->len))
        return error_set(check->err, ERR_INVALID, "snapshot: a text contains a NUL byte");
    return 0;
}

static int check_pem(struct check *check, struct snapshot_text text, const char *what)
{
    int code = check_bytes(check, text, PEM_MAX);

    if (code < 0)
        return code;
    for (uint32_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)check->view->strings[text.offset + i];

        if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c >= 0x7f)
            return error_set(check->err, ERR_INVALID, "snapshot: a %s is not PEM", what);
    }
    return 0;
}

static int check_flag(struct check *check, uint32_t flag, const char *owner)
{
    if (flag > 1)
        return error_set(check->err, ERR_INVALID, "snapshot: a %s flag is neither 0 nor 1", owner);
    return 0;
}

static int check_text_is(struct check *check, struct snapshot_text text,
                         bool (*is_valid)(struct slice), const char *what)
{
    struct slice s;
    int code = check_text(check, text, &s);

    if (code < 0)
        return code;
    if (!is_valid(s))
        return error_set(check->err, ERR_INVALID, "snapshot: a %s is not valid", what);
    return 0;
}

/* Ranges follow each other: this one begins where the last one ended. */
static int check_range(struct check *check, struct snapshot_range range, uint32_t *cursor,
                       uint32_t total)
{
    if (range.first != *cursor || range.count > total - *cursor)
        return error_set(check->err, ERR_INVALID, "snapshot: a range is out of order");
    *cursor += range.count;
    return 0;
}

/* Part of an array that several may share. */
static int check_part(struct check *check, struct snapshot_range range, uint32_t total)
{
    if (range.first > total || range.count > total - range.first)
        return error_set(check->err, ERR_INVALID, "snapshot: a range leaves its array");
    return 0;
}

/* ---- content */

static int check_route_transport(struct check *check, const struct snapshot_route *route)
{
    const struct snapshot *view = check->view;
    int code;

    if (route->client_certificate > SNAPSHOT_CERTIFICATE_REQUIRED ||
        route->upstream_protocol > SNAPSHOT_H2 || route->upstream_proxy_version > 2)
        return error_set(check->err, ERR_INVALID,
                         "snapshot: a route has an unknown protocol or demand");
    if (route->upstream_tls > view->upstream_tls_count)
        return error_set(check->err, ERR_INVALID, "snapshot: a route names no upstream TLS");
    if ((code = check_part(check, route->trusted_proxies, view->networks_count)) < 0)
        return code;
    return check_text_is(check, route->transport_security, is_plain, "transport security value");
}

static int check_host(struct check *check, const struct snapshot_host *host)
{
    const uint32_t flags[] = {host->is_tls,        host->is_redirected, host->is_on_demand,
                              host->is_tls13_only, host->is_http2_off,  host->is_plain_off};
    int code = check_text_is(check, host->name, is_host, "host name");

    for (size_t i = 0; code == 0 && i < ARRAY_LEN(flags); i++)
        code = check_flag(check, flags[i], "host");
    if (code < 0)
        return code;
    if (host->certificate > check->view->certificates_count ||
        host->client_authority > check->view->authorities_count)
        return error_set(check->err, ERR_INVALID,
                         "snapshot: a host names no certificate or authority");
    return 0;
}

static int check_route(struct check *check, const struct snapshot_route *route,
                       const struct snapshot_route *previous)
{
    int code = check_text_is(check, route->path, is_route_path, "route path");

    if (code < 0)
        return code;
    if (route->service >= check->view->services_count)
        return error_set(check->err, ERR_INVALID, "snapshot: a route names no service");
    if ((code = check_flag(check, route->is_prefix_stripped, "route")) < 0 ||
        (code = check_route_transport(check, route)) < 0)
        return code;
    if (!previous)
        return 0;
    if (route->path.len > previous->path.len ||
        (route->path.len == previous->path.len &&
         slice_compare(snapshot_slice(check->view, previous->path),
                       snapshot_slice(check->view, route->path)) >= 0))
        return error_set(check->err, ERR_INVALID,
                         "snapshot: the routes of a host are not in order");
    return 0;
}

static int check_hosts(struct check *check)
{
    const struct snapshot *view = check->view;
    uint32_t routes = 0;
    int code;

    for (uint32_t i = 0; i < view->hosts_count; i++) {
        const struct snapshot_host *host = &view->hosts[i];
        uint32_t first = routes;

        if ((code = check_host(check, host)) < 0 ||
            (code = check_range(check, host->routes, &routes, view->routes_count)) < 0)
            return code;
        if (i > 0 && slice_compare(snapshot_slice(view, host[-1].name),
                                   snapshot_slice(view, host->name)) >= 0)
            return error_set(check->err, ERR_INVALID, "snapshot: the hosts are not in order");
        for (uint32_t at = first; at < routes; at++)
            if ((code = check_route(check, &view->routes[at],
                                    at > first ? &view->routes[at - 1] : NULL)) < 0)
                return code;
    }
    if (routes != view->routes_count)
        return error_set(check->err, ERR_INVALID, "snapshot: a route belongs to no host");
    return 0;
}

static int check_endpoint(struct check *check, const struct snapshot_endpoint *endpoint)
{
    struct slice path;
    int code;

    if ((code = check_text_is(check, endpoint->name, is_plain, "endpoint name")) < 0 ||
        (code = check_text_is(check, endpoint->label, is_label, "endpoint label")) < 0 ||
        (code = check_text(check, endpoint->unix_path, &path)) < 0)
        return code;
    if (endpoint->state > SNAPSHOT_DRAINING || endpoint->weight > 1000)
        return error_set(check->err, ERR_INVALID,
                         "snapshot: an endpoint has an unknown state or weight");
    if (endpoint->ipv4 != 0 ? endpoint->port < 1 || endpoint->port > 65535
                            : path.len < 1 || path.len > UNIX_PATH_MAX)
        return error_set(check->err, ERR_INVALID, "snapshot: an endpoint has no valid address");
    if (endpoint->slot >= COUNTERS_ENDPOINTS_MAX)
        return error_set(check->err, ERR_INVALID, "snapshot: endpoint slot %u is out of range",
                         endpoint->slot);
    if (check->slots_seen[endpoint->slot / 64] >> (endpoint->slot % 64) & 1)
        return error_set(check->err, ERR_INVALID, "snapshot: endpoint slot %u is used twice",
                         endpoint->slot);
    check->slots_seen[endpoint->slot / 64] |= 1ull << (endpoint->slot % 64);
    return 0;
}

static bool is_redirect_status(uint32_t status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308 ||
           status == 200;
}

static int check_rules(struct check *check)
{
    const struct snapshot *view = check->view;
    int code;

    for (uint32_t i = 0; i < view->headers_count; i++)
        if ((code = check_text_is(check, view->headers[i].path, is_plain, "header rule's path")) <
                0 ||
            (code = check_text_is(check, view->headers[i].name, is_token, "header rule's name")) <
                0 ||
            (code = check_text_is(check, view->headers[i].value, is_plain, "header rule's value")) <
                0)
            return code;
    for (uint32_t i = 0; i < view->redirects_count; i++) {
        if ((code = check_text_is(check, view->redirects[i].from, is_absolute,
                                  "redirect's source")) < 0 ||
            (code = check_text_is(check, view->redirects[i].to, is_plain, "redirect's target")) < 0)
            return code;
        if (!is_redirect_status(view->redirects[i].status))
            return error_set(check->err, ERR_INVALID, "snapshot: %u is no redirect status",
                             view->redirects[i].status);
    }
    return 0;
}

static int check_service(struct check *check, const struct snapshot_service *service)
{
    struct slice root;
    int code;

    if ((code = check_text_is(check, service->app, is_plain, "app name")) < 0 ||
        (code = check_text_is(check, service->name, is_plain, "service name")) < 0 ||
        (code = check_text_is(check, service->label, is_label, "service label")) < 0 ||
        (code = check_text(check, service->root, &root)) < 0)
        return code;
    if (service->kind > SNAPSHOT_STATIC || service->is_single_page > 1)
        return error_set(check->err, ERR_INVALID, "snapshot: a service is of an unknown kind");
    if (service->kind == SNAPSHOT_STATIC && !is_absolute(root))
        return error_set(check->err, ERR_INVALID,
                         "snapshot: the root of a static service is not absolute");
    return 0;
}

static int check_services(struct check *check)
{
    const struct snapshot *view = check->view;
    uint32_t endpoints = 0, headers = 0, redirects = 0;
    int code;

    for (uint32_t i = 0; i < view->services_count; i++) {
        const struct snapshot_service *service = &view->services[i];

        if ((code = check_service(check, service)) < 0 ||
            (code = check_range(check, service->endpoints, &endpoints, view->endpoints_count)) <
                0 ||
            (code = check_range(check, service->headers, &headers, view->headers_count)) < 0 ||
            (code = check_range(check, service->redirects, &redirects, view->redirects_count)) < 0)
            return code;
    }
    if (endpoints != view->endpoints_count || headers != view->headers_count ||
        redirects != view->redirects_count)
        return error_set(check->err, ERR_INVALID, "snapshot: an entry belongs to no service");
    for (uint32_t i = 0; i < view->endpoints_count; i++)
        if ((code = check_endpoint(check, &check->view->endpoints[i])) < 0)
            return code;
    return check_rules(check);
}

/* ---- certificates and what else belongs to no service */

static bool is_single_host(struct slice s)
{
    return is_host(s) && s.len > 0 && s.ptr[0] != '*';
}

static int check_challenge(struct check *check, const struct snapshot_challenge *challenge)
{
    bool is_http = challenge->kind == SNAPSHOT_CHALLENGE_HTTP;
    int code;

    if (challenge->kind > SNAPSHOT_CHALLENGE_TLS ||
        challenge->certificate > check->view->certificates_count ||
        is_http != (challenge->certificate == 0))
        return error_set(check->err, ERR_INVALID, "snapshot: a challenge is of an unknown kind");
    if ((code = check_text_is(check, challenge->name, is_http ? is_token : is_single_host,
                              "challenge's name")) < 0)
        return code;
    return check_text_is(check, challenge->value, is_plain, "challenge's value");
}

static int check_certificates(struct check *check)
{
    const struct snapshot *view = check->view;
    int code;

    for (uint32_t i = 0; i < view->certificates_count; i++)
        if ((code = check_text_is(check, view->certificates[i].name, is_host,
                                  "certificate's name")) < 0 ||
            (code = check_pem(check, view->certificates[i].chain_pem, "certificate")) < 0 ||
            (code = check_bytes(check, view->certificates[i].ocsp_der, TEXT_MAX)) < 0)
            return code;
    for (uint32_t i = 0; i < view->challenges_count; i++)
        if ((code = check_challenge(check, &view->challenges[i])) < 0)
            return code;
    for (uint32_t i = 0; i < view->authorities_count; i++)
        if ((code = check_pem(check, view->authorities[i].pem, "client authority")) < 0)
            return code;
    return 0;
}

static int check_upstreams(struct check *check)
{
    const struct snapshot *view = check->view;
    int code;

    for (uint32_t i = 0; i < view->upstream_tls_count; i++)
        if ((code = check_text_is(check, view->upstream_tls[i].server_name, is_plain,
                                  "upstream's server name")) < 0 ||
            (code = check_pem(check, view->upstream_tls[i].ca_pem, "upstream authority")) < 0 ||
            (code = check_flag(check, view->upstream_tls[i].is_unverified, "upstream")) < 0)
            return code;
    for (uint32_t i = 0; i < view->networks_count; i++)
        if (view->networks[i].prefix_bits > 128)
            return error_set(check->err, ERR_INVALID, "snapshot: a network of %u bits",
                             view->networks[i].prefix_bits);
    return 0;
}

static int check_settings(struct check *check)
{
    const struct snapshot_settings *settings = check->view->settings;
    int code = check_part(check, settings->proxy_networks, check->view->networks_count);

    if (code < 0)
        return code;
    if (settings->ticket_keys.len == 0 &&
        settings->ticket_keys.offset == 0) /* a block of a build that knows none names no text */
        return 0;
    if (settings->ticket_keys.len % TLS_TICKET_KEY_BYTES != 0)
        return error_set(check->err, ERR_INVALID, "snapshot: ticket keys of %u bytes",
                         settings->ticket_keys.len);
    return check_bytes(check, settings->ticket_keys, TLS_TICKET_KEYS_MAX * TLS_TICKET_KEY_BYTES);
}

int snapshot_check(const struct snapshot *view, struct error *err)
{
    struct check check = {.view = view, .strings_len = view->header->strings_len, .err = err};
    int code;

    if ((code = check_settings(&check)) < 0 || (code = check_services(&check)) < 0 ||
        (code = check_certificates(&check)) < 0 || (code = check_upstreams(&check)) < 0)
        return code;
    return check_hosts(&check);
}
