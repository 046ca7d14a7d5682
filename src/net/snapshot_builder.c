/* snapshot_builder.c - control's side: gathers services, endpoints and routes, then lays them out
 * as one block.
 *
 * A builder that ran out of room fails once, at finish; what it laid out is checked by the same
 * snapshot_open that the edges use, so nothing is ever published that they would refuse. */
#include "net/snapshot.h"

#include "base/hash.h"
#include "base/map.h"
#include "net/snapshot_private.h"

#define KNOWN_MAX (1u << 20)

struct route_entry {
    struct snapshot_text host;
    struct snapshot_route route;
};

struct host_entry { /* what snapshot_builder_host said of `tls.name` */
    uint32_t number;
    struct snapshot_host tls;
};

/* Hosts and routes are laid out at the end, from the entries. The string region begins with an
 * empty text, so that a text of which a block of another build knows nothing is empty, too. */
struct snapshot_builder {
    struct snapshot_settings settings;
#define X(name, type) struct buf name;
    SNAPSHOT_ARRAYS(X)
#undef X
    struct buf route_entries, host_entries, strings;
    struct map *known; /* certificates and authorities by the hash of their content: index + 1 */
    bool has_failed;
};

struct snapshot_builder *snapshot_builder_new(void)
{
    struct snapshot_builder *builder = calloc(1, sizeof *builder);

    assert(builder);
#define X(name, type) builder->name = BUF_INIT(SNAPSHOT_MAX / 2);
    SNAPSHOT_ARRAYS(X)
#undef X
    builder->route_entries = builder->host_entries = builder->strings = BUF_INIT(SNAPSHOT_MAX / 2);
    builder->known = map_new(KNOWN_MAX);
    buf_append_byte(&builder->strings, '\0');
    return builder;
}

void snapshot_builder_free(struct snapshot_builder *builder)
{
    if (!builder)
        return;
#define X(name, type) buf_done(&builder->name);
    SNAPSHOT_ARRAYS(X)
#undef X
    buf_done(&builder->route_entries);
    buf_done(&builder->host_entries);
    buf_done(&builder->strings);
    map_free(builder->known);
    free(builder);
}

void snapshot_builder_freep(struct snapshot_builder **builder)
{
    snapshot_builder_free(*builder);
}

void snapshot_builder_settings(struct snapshot_builder *builder,
                               const struct snapshot_settings *settings)
{
    struct snapshot_text ticket_keys = builder->settings.ticket_keys;

    builder->settings = *settings;
    builder->settings.ticket_keys = ticket_keys;
}

static struct snapshot_text builder_text(struct snapshot_builder *builder, struct slice s)
{
    struct snapshot_text text = {.offset = (uint32_t)builder->strings.len, .len = (uint32_t)s.len};

    if (s.len == 0)
        return (struct snapshot_text){0};
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

static struct snapshot_text builder_host_name(struct snapshot_builder *builder, const char *host)
{
    struct snapshot_text name = builder_string(builder, host);

    if (!builder->strings.failed)
        for (char *c = builder->strings.ptr + name.offset; *c; c++)
            if (*c >= 'A' && *c <= 'Z')
                *c = (char)(*c + ('a' - 'A'));
    return name;
}

static struct slice trimmed_path(const char *path)
{
    struct slice prefix = slice_from(path);

    while (prefix.len > 1 && prefix.ptr[prefix.len - 1] == '/')
        prefix.len--;
    return prefix.len ? prefix : SLICE("/");
}

void snapshot_builder_route(struct snapshot_builder *builder, const char *host, const char *path,
                            uint32_t service, const struct snapshot_route *route)
{
    struct route_entry entry = {.host = builder_host_name(builder, host), .route = *route};

    entry.route.path = builder_text(builder, trimmed_path(path));
    entry.route.service = service;
    entry.route.transport_security = (struct snapshot_text){0};
    buf_append(&builder->route_entries, &entry, sizeof entry);
}

static struct slice builder_slice(const struct snapshot_builder *builder, struct snapshot_text text)
{
    return (struct slice){builder->strings.ptr + text.offset, text.len};
}

void snapshot_builder_transport_security(struct snapshot_builder *builder, const char *host,
                                         const char *path, const char *value)
{
    struct route_entry *entries = (struct route_entry *)(void *)builder->route_entries.ptr;
    uint32_t i = entry_count(&builder->route_entries, sizeof *entries);

    while (!builder->strings.failed && i-- > 0) { /* the newest first: that is nearly always it */
        if (!slice_eq_nocase(builder_slice(builder, entries[i].host), slice_from(host)) ||
            !slice_eq(builder_slice(builder, entries[i].route.path), trimmed_path(path)))
            continue;
        entries[i].route.transport_security = builder_string(builder, value);
        return;
    }
}

/* ---- certificates */

void snapshot_builder_host(struct snapshot_builder *builder, const char *host,
                           const struct snapshot_host *tls)
{
    struct host_entry entry = {.number = entry_count(&builder->host_entries, sizeof entry),
                               .tls = *tls};

    entry.tls.name = builder_host_name(builder, host);
    buf_append(&builder->host_entries, &entry, sizeof entry);
}

/* The number in `array` under which something of this hash was added before, or 0. What it is,
 * the caller compares: hashes of the other array's contents are in the map, too. */
static uint32_t known_find(const struct snapshot_builder *builder, uint64_t hash,
                           const struct buf *array, size_t size)
{
    uint32_t number = (uint32_t)(uintptr_t)map_get(
        builder->known, (struct slice){(const char *)&hash, sizeof hash});

    return array->failed || builder->strings.failed || number > entry_count(array, size) ? 0
                                                                                         : number;
}

static void known_add(struct snapshot_builder *builder, uint64_t hash, uint32_t number)
{
    if (map_put(builder->known, (struct slice){(const char *)&hash, sizeof hash},
                (void *)(uintptr_t)number) < 0)
        builder->has_failed = true;
}

static uint64_t hash_slice(struct slice s, uint64_t seed)
{
    return hash_fast(s.ptr, s.len, seed + s.len);
}

uint32_t snapshot_builder_certificate(struct snapshot_builder *builder, const char *name,
                                      struct slice chain_pem, struct slice ocsp_der,
                                      const uint8_t key_id[32])
{
    uint64_t hash = hash_slice(
        ocsp_der, hash_slice(chain_pem, hash_slice(slice_from(name), SNAPSHOT_ARRAY_certificates)));
    struct snapshot_certificate certificate;
    uint32_t number = known_find(builder, hash, &builder->certificates, sizeof certificate);

    if (number > 0) {
        memcpy(&certificate, builder->certificates.ptr + (number - 1) * sizeof certificate,
               sizeof certificate);
        if (slice_eq(builder_slice(builder, certificate.name), slice_from(name)) &&
            slice_eq(builder_slice(builder, certificate.chain_pem), chain_pem) &&
            slice_eq(builder_slice(builder, certificate.ocsp_der), ocsp_der) &&
            memcmp(certificate.key_id, key_id, sizeof certificate.key_id) == 0)
            return number;
    }
    certificate = (struct snapshot_certificate){.name = builder_host_name(builder, name),
                                                .chain_pem = builder_text(builder, chain_pem),
                                                .ocsp_der = builder_text(builder, ocsp_der)};
    memcpy(certificate.key_id, key_id, sizeof certificate.key_id);
    buf_append(&builder->certificates, &certificate, sizeof certificate);
    number = entry_count(&builder->certificates, sizeof certificate);
    known_add(builder, hash, number);
    return number;
}

uint32_t snapshot_builder_authority(struct snapshot_builder *builder, struct slice pem)
{
    uint64_t hash = hash_slice(pem, SNAPSHOT_ARRAY_authorities);
    struct snapshot_authority authority;
    uint32_t number = known_find(builder, hash, &builder->authorities, sizeof authority);

    if (number > 0) {
        memcpy(&authority, builder->authorities.ptr + (number - 1) * sizeof authority,
               sizeof authority);
        if (slice_eq(builder_slice(builder, authority.pem), pem))
            return number;
    }
    authority.pem = builder_text(builder, pem);
    buf_append(&builder->authorities, &authority, sizeof authority);
    number = entry_count(&builder->authorities, sizeof authority);
    known_add(builder, hash, number);
    return number;
}

void snapshot_builder_challenge(struct snapshot_builder *builder, enum snapshot_challenge_kind kind,
                                const char *name, const char *value, uint32_t certificate)
{
    struct snapshot_challenge challenge = {.kind = kind};

    if (kind == SNAPSHOT_CHALLENGE_TLS) {
        challenge.name = builder_host_name(builder, name);
        challenge.certificate = certificate;
    } else {
        challenge.name = builder_string(builder, name);
        challenge.value = builder_string(builder, value);
    }
    buf_append(&builder->challenges, &challenge, sizeof challenge);
}

void snapshot_builder_ticket_keys(struct snapshot_builder *builder, struct slice keys)
{
    builder->settings.ticket_keys = builder_text(builder, keys);
}

/* ---- networks and upstreams */

struct snapshot_range snapshot_builder_networks(struct snapshot_builder *builder,
                                                const struct snapshot_network *networks,
                                                size_t count)
{
    struct snapshot_range range = {.first = entry_count(&builder->networks, sizeof *networks),
                                   .count = (uint32_t)count};

    if (count > 0)
        buf_append(&builder->networks, networks, count * sizeof *networks);
    return range;
}

uint32_t snapshot_builder_upstream_tls(struct snapshot_builder *builder, const char *server_name,
                                       struct slice ca_pem, bool is_unverified)
{
    struct snapshot_upstream_tls tls = {.server_name = builder_string(builder, server_name),
                                        .ca_pem = builder_text(builder, ca_pem),
                                        .is_unverified = is_unverified};

    buf_append(&builder->upstream_tls, &tls, sizeof tls);
    return entry_count(&builder->upstream_tls, sizeof tls);
}

/* ---- layout */

static int route_compare(const void *left, const void *right, void *context)
{
    const struct snapshot_builder *builder = context;
    const struct route_entry *a = left, *b = right;
    int order = slice_compare(builder_slice(builder, a->host), builder_slice(builder, b->host));

    if (order != 0)
        return order;
    if (a->route.path.len != b->route.path.len)
        return a->route.path.len > b->route.path.len ? -1 : 1;
    return slice_compare(builder_slice(builder, a->route.path),
                         builder_slice(builder, b->route.path));
}

static int host_compare(const void *left, const void *right, void *context)
{
    const struct snapshot_builder *builder = context;
    const struct host_entry *a = left, *b = right;
    int order =
        slice_compare(builder_slice(builder, a->tls.name), builder_slice(builder, b->tls.name));

    return order != 0 ? order : (a->number > b->number) - (a->number < b->number);
}

/* Where `name` of the sorted host entries ends; their last one is what holds. */
static uint32_t host_entries_end(const struct snapshot_builder *builder, uint32_t first)
{
    const struct host_entry *entries = (const struct host_entry *)(void *)builder->host_entries.ptr;
    uint32_t count = entry_count(&builder->host_entries, sizeof *entries), i = first + 1;

    while (i < count && slice_eq(builder_slice(builder, entries[i].tls.name),
                                 builder_slice(builder, entries[first].tls.name)))
        i++;
    return i;
}

/* Merge the sorted entries of hosts and of routes into `hosts` and `routes`. */
static int builder_merge(struct snapshot_builder *builder, struct error *err)
{
    const struct host_entry *sides = (const struct host_entry *)(void *)builder->host_entries.ptr;
    const struct route_entry *entries =
        (const struct route_entry *)(void *)builder->route_entries.ptr;
    uint32_t side_count = entry_count(&builder->host_entries, sizeof *sides), side = 0;
    uint32_t count = entry_count(&builder->route_entries, sizeof *entries), i = 0;

    while (i < count || side < side_count) {
        int order = i == count ? 1
                    : side == side_count
                        ? -1
                        : slice_compare(builder_slice(builder, entries[i].host),
                                        builder_slice(builder, sides[side].tls.name));
        struct snapshot_host host = {0};

        if (order < 0) {
            host.name = entries[i].host;
        } else {
            side = host_entries_end(builder, side);
            host = sides[side - 1].tls;
        }
        host.routes = (struct snapshot_range){.first = i};
        for (; order <= 0 && i < count &&
               slice_eq(builder_slice(builder, entries[i].host), builder_slice(builder, host.name));
             i++, host.routes.count++) {
            if (host.routes.count > 0 && route_compare(&entries[i - 1], &entries[i], builder) == 0)
                return error_set(err, ERR_EXISTS,
                                 "two routes have host '" SLICE_FORMAT "' and path '" SLICE_FORMAT
                                 "'",
                                 SLICE_ARG(builder_slice(builder, host.name)),
                                 SLICE_ARG(builder_slice(builder, entries[i].route.path)));
            buf_append(&builder->routes, &entries[i].route, sizeof entries[i].route);
        }
        buf_append(&builder->hosts, &host, sizeof host);
    }
    return 0;
}

static int builder_group(struct snapshot_builder *builder, struct error *err)
{
    if (builder->route_entries.len > 0)
        qsort_r(builder->route_entries.ptr,
                entry_count(&builder->route_entries, sizeof(struct route_entry)),
                sizeof(struct route_entry), route_compare, builder);
    if (builder->host_entries.len > 0)
        qsort_r(builder->host_entries.ptr,
                entry_count(&builder->host_entries, sizeof(struct host_entry)),
                sizeof(struct host_entry), host_compare, builder);
    return builder_merge(builder, err);
}

/* Where `bytes` go, relative to the block. */
static uint64_t place(uint64_t *cursor, uint64_t bytes)
{
    uint64_t offset = (*cursor + 7) / 8 * 8;

    *cursor = offset + bytes;
    return offset;
}

static void append_aligned(struct buf *block, size_t start, const void *bytes, size_t len)
{
    while (!block->failed && (block->len - start) % 8 != 0)
        buf_append_byte(block, '\0');
    buf_append(block, bytes, len);
}

static int builder_layout(struct snapshot_builder *builder, uint64_t version, struct buf *block,
                          struct error *err)
{
    const struct buf *arrays[] = {
#define X(name, type) &builder->name,
        SNAPSHOT_ARRAYS(X)
#undef X
    };
    struct snapshot_array specs[] = {
#define X(name, type) {.count = entry_count(&builder->name, sizeof(type)), .stride = sizeof(type)},
        SNAPSHOT_ARRAYS(X)
#undef X
    };
    struct snapshot_header header = {.magic = SNAPSHOT_MAGIC,
                                     .format_version = SNAPSHOT_VERSION,
                                     .version = version,
                                     .strings_len = builder->strings.len,
                                     .settings_bytes = sizeof builder->settings,
                                     .array_count = SNAPSHOT_ARRAY_COUNT};
    uint64_t cursor = sizeof header;
    size_t start = block->len;

    header.settings_offset = place(&cursor, sizeof builder->settings);
    header.arrays_offset = place(&cursor, sizeof specs);
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++)
        specs[i].offset = place(&cursor, arrays[i]->len);
    header.strings_offset = place(&cursor, builder->strings.len);
    header.total_bytes = cursor;
    if (header.total_bytes > SNAPSHOT_MAX)
        return error_set(err, ERR_LIMIT, "the routing snapshot is larger than %u MiB",
                         SNAPSHOT_MAX >> 20);

    (void)buf_reserve(block, (size_t)header.total_bytes);
    append_aligned(block, start, &header, sizeof header);
    append_aligned(block, start, &builder->settings, sizeof builder->settings);
    append_aligned(block, start, specs, sizeof specs);
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++)
        append_aligned(block, start, arrays[i]->ptr, arrays[i]->len);
    append_aligned(block, start, builder->strings.ptr, builder->strings.len);
    if (block->failed)
        return error_set(err, ERR_LIMIT,
                         "the routing snapshot does not fit its buffer of %zu bytes", block->limit);
    return 0;
}

static bool builder_has_failed(const struct snapshot_builder *builder)
{
    bool has_failed = builder->has_failed || builder->route_entries.failed ||
                      builder->host_entries.failed || builder->strings.failed;

#define X(name, type) has_failed = has_failed || builder->name.failed;
    SNAPSHOT_ARRAYS(X)
#undef X
    return has_failed;
}

int snapshot_builder_finish(struct snapshot_builder *builder, uint64_t version, struct buf *block,
                            struct error *err)
{
    struct snapshot view;
    size_t start = block->len;
    int code;

    assert(start % 8 == 0);
    if (builder_has_failed(builder))
        return error_set(err, ERR_LIMIT, "the routing snapshot has too many entries");
    builder->hosts.len = builder->routes.len = 0; /* of a finish before this one */
    if ((code = builder_group(builder, err)) < 0)
        return code;
    if (builder_has_failed(builder))
        return error_set(err, ERR_LIMIT, "the routing snapshot has too many entries");
    if ((code = builder_layout(builder, version, block, err)) < 0)
        return code;
    code = snapshot_open(block->ptr + start, block->len - start, &view, err);
    if (code < 0)
        block->len = start;
    else
        snapshot_close(&view);
    return code;
}
