/* snapshot_builder.c - control's side: gathers services, endpoints and routes, then lays them out
 * as one block.
 *
 * A builder that ran out of room fails once, at finish; what it laid out is checked by the same
 * snapshot_open that the edges use, so nothing is ever published that they would refuse. */
#include "net/snapshot.h"

#include "net/snapshot_private.h"

struct route_entry {
    struct snapshot_text host;
    struct snapshot_route route;
};

struct snapshot_builder {
    struct snapshot_settings settings;
    struct buf services, endpoints, headers, redirects, routes, strings;
    bool has_failed;
};

struct snapshot_builder *snapshot_builder_new(void)
{
    struct snapshot_builder *builder = calloc(1, sizeof *builder);

    assert(builder);
    builder->services = builder->endpoints = builder->headers = builder->redirects =
        builder->routes = builder->strings = BUF_INIT(SNAPSHOT_MAX / 2);
    return builder;
}

void snapshot_builder_free(struct snapshot_builder *builder)
{
    if (!builder)
        return;
    buf_done(&builder->services);
    buf_done(&builder->endpoints);
    buf_done(&builder->headers);
    buf_done(&builder->redirects);
    buf_done(&builder->routes);
    buf_done(&builder->strings);
    free(builder);
}

void snapshot_builder_freep(struct snapshot_builder **builder)
{
    snapshot_builder_free(*builder);
}

void snapshot_builder_settings(struct snapshot_builder *builder,
                               const struct snapshot_settings *settings)
{
    builder->settings = *settings;
}

static struct snapshot_text builder_text(struct snapshot_builder *builder, struct slice s)
{
    struct snapshot_text text = {.offset = (uint32_t)builder->strings.len, .len = (uint32_t)s.len};

    if (s.len > SNAPSHOT_MAX)
        builder->has_failed = true;
    else
        buf_append_slice(&builder->strings, s);
    buf_append_byte(&builder->strings, '\0');
    return text;
}

static struct snapshot_text builder_string(struct snapshot_builder *builder, const char *s)
{
    return builder_text(builder, slice_from(s));
}

static uint32_t entry_count(const struct buf *array, size_t size)
{
    return (uint32_t)(array->len / size);
}

/* The service that the following entries belong to; NULL when there is none because memory ran out
 * before. */
static struct snapshot_service *current_service(struct snapshot_builder *builder)
{
    if (builder->services.len == 0) {
        builder->has_failed = true;
        return NULL;
    }
    return (struct snapshot_service *)(void *)(builder->services.ptr + builder->services.len) - 1;
}

uint32_t snapshot_builder_service(struct snapshot_builder *builder,
                                  const struct snapshot_service_spec *spec)
{
    struct snapshot_service service = {
        .kind = spec->kind,
        .app = builder_string(builder, spec->app),
        .name = builder_string(builder, spec->name),
        .label = builder_string(builder, spec->label),
        .root = builder_string(builder, spec->root),
        .is_single_page = spec->is_single_page,
        .release = spec->release,
        .endpoints.first = entry_count(&builder->endpoints, sizeof(struct snapshot_endpoint)),
        .headers.first = entry_count(&builder->headers, sizeof(struct snapshot_header_rule)),
        .redirects.first = entry_count(&builder->redirects, sizeof(struct snapshot_redirect)),
    };
    uint32_t index = entry_count(&builder->services, sizeof service);

    buf_append(&builder->services, &service, sizeof service);
    return index;
}

void snapshot_builder_endpoint(struct snapshot_builder *builder, uint64_t instance, uint32_t slot,
                               enum snapshot_endpoint_state state, uint32_t ipv4_network_order,
                               uint32_t port, const char *name, const char *label)
{
    struct snapshot_service *service = current_service(builder);
    struct snapshot_endpoint endpoint = {
        .instance = instance,
        .slot = slot,
        .state = state,
        .ipv4 = ipv4_network_order,
        .port = port,
        .unix_path = builder_string(builder, ""),
        .name = builder_string(builder, name),
        .label = builder_string(builder, label),
    };

    buf_append(&builder->endpoints, &endpoint, sizeof endpoint);
    if (service)
        service->endpoints.count++;
}

void snapshot_builder_header(struct snapshot_builder *builder, const char *path, const char *name,
                             const char *value)
{
    struct snapshot_service *service = current_service(builder);
    struct snapshot_header_rule rule = {
        .path = builder_string(builder, path),
        .name = builder_string(builder, name),
        .value = builder_string(builder, value),
    };

    buf_append(&builder->headers, &rule, sizeof rule);
    if (service)
        service->headers.count++;
}

void snapshot_builder_redirect(struct snapshot_builder *builder, const char *from, const char *to,
                               uint32_t status)
{
    struct snapshot_service *service = current_service(builder);
    struct snapshot_redirect redirect = {
        .from = builder_string(builder, from),
        .to = builder_string(builder, to),
        .status = status,
    };

    buf_append(&builder->redirects, &redirect, sizeof redirect);
    if (service)
        service->redirects.count++;
}

void snapshot_builder_route(struct snapshot_builder *builder, const char *host, const char *path,
                            uint32_t service, const struct snapshot_route *route)
{
    struct route_entry entry = {.host = builder_string(builder, host), .route = *route};
    struct slice prefix = slice_from(path);

    while (prefix.len > 1 && prefix.ptr[prefix.len - 1] == '/')
        prefix.len--;
    entry.route.path = builder_text(builder, prefix.len ? prefix : SLICE("/"));
    entry.route.service = service;
    if (!builder->strings.failed)
        for (char *c = builder->strings.ptr + entry.host.offset; *c; c++)
            if (*c >= 'A' && *c <= 'Z')
                *c = (char)(*c + ('a' - 'A'));
    buf_append(&builder->routes, &entry, sizeof entry);
}

/* ---- layout */

static struct slice builder_slice(const struct snapshot_builder *builder, struct snapshot_text text)
{
    return (struct slice){builder->strings.ptr + text.offset, text.len};
}

static int route_compare(const void *left, const void *right, void *context)
{
    const struct snapshot_builder *builder = context;
    const struct route_entry *a = left, *b = right;
    int order =
        snapshot_text_compare(builder_slice(builder, a->host), builder_slice(builder, b->host));

    if (order != 0)
        return order;
    if (a->route.path.len != b->route.path.len)
        return a->route.path.len > b->route.path.len ? -1 : 1;
    return snapshot_text_compare(builder_slice(builder, a->route.path),
                                 builder_slice(builder, b->route.path));
}

/* Sort the routes and split them into `hosts` and `routes`. */
static int builder_group(struct snapshot_builder *builder, struct buf *hosts, struct buf *routes,
                         struct error *err)
{
    struct route_entry *entries = (struct route_entry *)(void *)builder->routes.ptr;
    uint32_t count = entry_count(&builder->routes, sizeof *entries);
    struct snapshot_host host = {0};

    if (count == 0)
        return 0;
    qsort_r(entries, count, sizeof *entries, route_compare, builder);
    for (uint32_t i = 0; i < count; i++) {
        struct slice name = builder_slice(builder, entries[i].host);

        if (i > 0 && route_compare(&entries[i - 1], &entries[i], builder) == 0)
            return error_set(err, ERR_EXISTS,
                             "two routes have host '" SLICE_FORMAT "' and path '" SLICE_FORMAT "'",
                             SLICE_ARG(name),
                             SLICE_ARG(builder_slice(builder, entries[i].route.path)));
        if (i == 0 || !slice_eq(name, builder_slice(builder, host.name))) {
            if (i > 0)
                buf_append(hosts, &host, sizeof host);
            host = (struct snapshot_host){.name = entries[i].host, .routes = {.first = i}};
        }
        host.routes.count++;
        buf_append(routes, &entries[i].route, sizeof entries[i].route);
    }
    buf_append(hosts, &host, sizeof host);
    return 0;
}

/* Where `array` goes, relative to the block. */
static uint64_t place(uint64_t *cursor, const struct buf *array)
{
    uint64_t offset = (*cursor + 7) / 8 * 8;

    *cursor = offset + array->len;
    return offset;
}

static int builder_layout(struct snapshot_builder *builder, uint64_t version,
                          const struct buf *hosts, const struct buf *routes, struct buf *block,
                          struct error *err)
{
    struct snapshot_header header = {
        .magic = SNAPSHOT_MAGIC,
        .format_version = SNAPSHOT_VERSION,
        .version = version,
        .settings = builder->settings,
        .host_count = entry_count(hosts, sizeof(struct snapshot_host)),
        .route_count = entry_count(routes, sizeof(struct snapshot_route)),
        .service_count = entry_count(&builder->services, sizeof(struct snapshot_service)),
        .endpoint_count = entry_count(&builder->endpoints, sizeof(struct snapshot_endpoint)),
        .header_count = entry_count(&builder->headers, sizeof(struct snapshot_header_rule)),
        .redirect_count = entry_count(&builder->redirects, sizeof(struct snapshot_redirect)),
        .strings_len = builder->strings.len,
    };
    const struct buf *arrays[] = {hosts,
                                  routes,
                                  &builder->services,
                                  &builder->endpoints,
                                  &builder->headers,
                                  &builder->redirects,
                                  &builder->strings};
    uint64_t cursor = sizeof header;
    size_t start = block->len;

    header.hosts_offset = place(&cursor, hosts);
    header.routes_offset = place(&cursor, routes);
    header.services_offset = place(&cursor, &builder->services);
    header.endpoints_offset = place(&cursor, &builder->endpoints);
    header.headers_offset = place(&cursor, &builder->headers);
    header.redirects_offset = place(&cursor, &builder->redirects);
    header.strings_offset = place(&cursor, &builder->strings);
    header.total_bytes = cursor;
    if (header.total_bytes > SNAPSHOT_MAX)
        return error_set(err, ERR_LIMIT, "the routing snapshot is larger than %u MiB",
                         SNAPSHOT_MAX >> 20);

    buf_append(block, &header, sizeof header);
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++) {
        while (!block->failed && (block->len - start) % 8 != 0)
            buf_append_byte(block, '\0');
        buf_append_slice(block, buf_slice(arrays[i]));
    }
    if (block->failed)
        return error_set(err, ERR_LIMIT,
                         "the routing snapshot does not fit its buffer of %zu bytes", block->limit);
    return 0;
}

int snapshot_builder_finish(struct snapshot_builder *builder, uint64_t version, struct buf *block,
                            struct error *err)
{
    struct buf hosts CLEANUP(buf_done) = BUF_INIT(SNAPSHOT_MAX / 2);
    struct buf routes CLEANUP(buf_done) = BUF_INIT(SNAPSHOT_MAX / 2);
    struct snapshot view;
    size_t start = block->len;
    int code;

    assert(start % 8 == 0);
    if (builder->has_failed || builder->services.failed || builder->endpoints.failed ||
        builder->headers.failed || builder->redirects.failed || builder->routes.failed ||
        builder->strings.failed)
        return error_set(err, ERR_LIMIT, "the routing snapshot has too many entries");
    (void)builder_text(builder, (struct slice){0}); /* so that the string region is never empty */
    if ((code = builder_group(builder, &hosts, &routes, err)) < 0 ||
        (code = builder_layout(builder, version, &hosts, &routes, block, err)) < 0)
        return code;
    code = snapshot_open(block->ptr + start, block->len - start, &view, err);
    if (code < 0)
        block->len = start;
    return code;
}
