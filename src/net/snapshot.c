/* snapshot.c - reading a routing snapshot: validation of the whole block, then lookups that trust
 * it.
 *
 * Why everything is checked although control is trusted: the edge must not die of a control that
 * has a bug, as it would die again after every restart. Ranges must follow each other without gap
 * or overlap, so validation is linear in the block. */
#include "net/snapshot.h"

#include <string.h>

#include "base/counters.h"
#include "net/snapshot_private.h"

#define TEXT_MAX      65536u
#define HOST_MAX      255u
#define UNIX_PATH_MAX 107u

struct check { /* what the checks of one block share */
    const struct snapshot *view;
    uint64_t strings_len;
    struct error *err;
    uint64_t slots_seen[COUNTERS_ENDPOINTS_MAX / 64];
};

/* ---- texts */

int snapshot_text_compare(struct slice a, struct slice b)
{
    size_t common = MIN(a.len, b.len);
    int order = common ? memcmp(a.ptr, b.ptr, common) : 0;

    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

static bool is_token(struct slice s)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool is_alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

        if (!is_alnum && (c == '\0' || !strchr(others, c)))
            return false;
    }
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

static int check_text(struct check *check, struct snapshot_text text, struct slice *ret_slice)
{
    uint64_t end = (uint64_t)text.offset + text.len;

    if (text.len > TEXT_MAX || end >= check->strings_len || check->view->strings[end] != '\0')
        return error_set(check->err, ERR_INVALID,
                         "snapshot: a text lies outside of the string region");
    *ret_slice = snapshot_slice(check->view, text);
    if (memchr(ret_slice->ptr, '\0', ret_slice->len))
        return error_set(check->err, ERR_INVALID, "snapshot: a text contains a NUL byte");
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

/* ---- frame */

static int check_array(struct check *check, uint64_t offset, uint64_t count, uint64_t size,
                       uint64_t *cursor)
{
    uint64_t total = check->view->header->total_bytes;

    if (offset % 8 != 0 || offset < *cursor || offset > total || count > (total - offset) / size)
        return error_set(check->err, ERR_INVALID, "snapshot: an array lies outside of the block");
    *cursor = offset + count * size;
    return 0;
}

static int check_frame(struct check *check, size_t size)
{
    const struct snapshot_header *header = check->view->header;
    uint64_t cursor = sizeof *header;
    int code;

    if (header->magic != SNAPSHOT_MAGIC)
        return error_set(check->err, ERR_INVALID, "snapshot: wrong magic number");
    if (header->format_version != SNAPSHOT_VERSION)
        return error_set(check->err, ERR_VERSION,
                         "snapshot: format version %u, this program reads %u",
                         header->format_version, SNAPSHOT_VERSION);
    if (header->total_bytes > size || header->total_bytes < sizeof *header)
        return error_set(check->err, ERR_INVALID, "snapshot: the block is cut short");
    if ((code = check_array(check, header->hosts_offset, header->host_count,
                            sizeof(struct snapshot_host), &cursor)) < 0 ||
        (code = check_array(check, header->routes_offset, header->route_count,
                            sizeof(struct snapshot_route), &cursor)) < 0 ||
        (code = check_array(check, header->services_offset, header->service_count,
                            sizeof(struct snapshot_service), &cursor)) < 0 ||
        (code = check_array(check, header->endpoints_offset, header->endpoint_count,
                            sizeof(struct snapshot_endpoint), &cursor)) < 0 ||
        (code = check_array(check, header->headers_offset, header->header_count,
                            sizeof(struct snapshot_header_rule), &cursor)) < 0 ||
        (code = check_array(check, header->redirects_offset, header->redirect_count,
                            sizeof(struct snapshot_redirect), &cursor)) < 0)
        return code;
    return check_array(check, header->strings_offset, header->strings_len, 1, &cursor);
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

/* ---- content */

static int check_route(struct check *check, const struct snapshot_route *route,
                       const struct snapshot_route *previous)
{
    int code = check_text_is(check, route->path, is_route_path, "route path");

    if (code < 0)
        return code;
    if (route->service >= check->view->header->service_count)
        return error_set(check->err, ERR_INVALID, "snapshot: a route names no service");
    if (route->is_prefix_stripped > 1)
        return error_set(check->err, ERR_INVALID, "snapshot: a route flag is neither 0 nor 1");
    if (!previous)
        return 0;
    if (route->path.len > previous->path.len ||
        (route->path.len == previous->path.len &&
         snapshot_text_compare(snapshot_slice(check->view, previous->path),
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

    for (uint32_t i = 0; i < view->header->host_count; i++) {
        const struct snapshot_host *host = &view->hosts[i];
        uint32_t first = routes;

        if ((code = check_text_is(check, host->name, is_host, "host name")) < 0 ||
            (code = check_range(check, host->routes, &routes, view->header->route_count)) < 0)
            return code;
        if (i > 0 && snapshot_text_compare(snapshot_slice(view, host[-1].name),
                                           snapshot_slice(view, host->name)) >= 0)
            return error_set(check->err, ERR_INVALID, "snapshot: the hosts are not in order");
        for (uint32_t at = first; at < routes; at++)
            if ((code = check_route(check, &view->routes[at],
                                    at > first ? &view->routes[at - 1] : NULL)) < 0)
                return code;
    }
    if (routes != view->header->route_count)
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

    for (uint32_t i = 0; i < view->header->header_count; i++)
        if ((code = check_text_is(check, view->headers[i].path, is_plain, "header rule's path")) <
                0 ||
            (code = check_text_is(check, view->headers[i].name, is_token, "header rule's name")) <
                0 ||
            (code = check_text_is(check, view->headers[i].value, is_plain, "header rule's value")) <
                0)
            return code;
    for (uint32_t i = 0; i < view->header->redirect_count; i++) {
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
    const struct snapshot_header *header = check->view->header;
    uint32_t endpoints = 0, headers = 0, redirects = 0;
    int code;

    for (uint32_t i = 0; i < header->service_count; i++) {
        const struct snapshot_service *service = &check->view->services[i];

        if ((code = check_service(check, service)) < 0 ||
            (code = check_range(check, service->endpoints, &endpoints, header->endpoint_count)) <
                0 ||
            (code = check_range(check, service->headers, &headers, header->header_count)) < 0 ||
            (code = check_range(check, service->redirects, &redirects, header->redirect_count)) < 0)
            return code;
    }
    if (endpoints != header->endpoint_count || headers != header->header_count ||
        redirects != header->redirect_count)
        return error_set(check->err, ERR_INVALID, "snapshot: an entry belongs to no service");
    for (uint32_t i = 0; i < header->endpoint_count; i++)
        if ((code = check_endpoint(check, &check->view->endpoints[i])) < 0)
            return code;
    return check_rules(check);
}

int snapshot_open(const void *block, size_t size, struct snapshot *ret_snapshot, struct error *err)
{
    const char *base = block;
    struct snapshot view = {.header = block};
    struct check check = {.view = &view, .err = err};
    int code;

    if (size < sizeof *view.header || size > SNAPSHOT_MAX || (uintptr_t)block % 8 != 0)
        return error_set(err, ERR_INVALID, "snapshot: a block of %zu bytes", size);
    if ((code = check_frame(&check, size)) < 0)
        return code;
    view.hosts = (const void *)(base + view.header->hosts_offset);
    view.routes = (const void *)(base + view.header->routes_offset);
    view.services = (const void *)(base + view.header->services_offset);
    view.endpoints = (const void *)(base + view.header->endpoints_offset);
    view.headers = (const void *)(base + view.header->headers_offset);
    view.redirects = (const void *)(base + view.header->redirects_offset);
    view.strings = base + view.header->strings_offset;
    check.strings_len = view.header->strings_len;
    if ((code = check_services(&check)) < 0 || (code = check_hosts(&check)) < 0)
        return code;
    *ret_snapshot = view;
    return 0;
}

/* ---- lookup */

/* As snapshot_text_compare of `name` with '*' + suffix, or with suffix alone, without building the
 * text. */
static int host_compare(struct slice name, bool is_wildcard, struct slice suffix)
{
    if (is_wildcard) {
        if (name.len == 0)
            return -1;
        if (name.ptr[0] != '*')
            return (unsigned char)name.ptr[0] < '*' ? -1 : 1;
        name = (struct slice){name.ptr + 1, name.len - 1};
    }
    return snapshot_text_compare(name, suffix);
}

static const struct snapshot_host *host_find(const struct snapshot *snapshot, bool is_wildcard,
                                             struct slice suffix)
{
    uint32_t low = 0, high = snapshot->header->host_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = host_compare(snapshot_slice(snapshot, snapshot->hosts[middle].name),
                                 is_wildcard, suffix);

        if (order == 0)
            return &snapshot->hosts[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static const struct snapshot_route *host_route(const struct snapshot *snapshot,
                                               const struct snapshot_host *host, struct slice path)
{
    const struct snapshot_route *route = &snapshot->routes[host->routes.first];

    for (uint32_t i = 0; i < host->routes.count; i++, route++) {
        struct slice prefix = snapshot_slice(snapshot, route->path);

        if (prefix.len == 1)
            return route;
        if (path.len >= prefix.len && memcmp(path.ptr, prefix.ptr, prefix.len) == 0 &&
            (path.len == prefix.len || path.ptr[prefix.len] == '/'))
            return route;
    }
    return NULL;
}

const struct snapshot_route *snapshot_route_find(const struct snapshot *snapshot, struct slice host,
                                                 struct slice path)
{
    const struct snapshot_host *hosts = snapshot->hosts;
    uint32_t count = snapshot->header->host_count;
    const struct snapshot_host *found;
    const struct snapshot_route *route;

    if (count > 0 && host.len > 0 && (count > 1 || hosts[0].name.len > 0)) {
        if ((found = host_find(snapshot, false, host)) &&
            (route = host_route(snapshot, found, path)))
            return route;
        for (size_t i = 1; i < host.len; i++) {
            if (host.ptr[i] != '.')
                continue;
            found = host_find(snapshot, true, (struct slice){host.ptr + i, host.len - i});
            if (found && (route = host_route(snapshot, found, path)))
                return route;
        }
    }
    if (count > 0 && hosts[0].name.len == 0) /* "" sorts first */
        return host_route(snapshot, &hosts[0], path);
    return NULL;
}
