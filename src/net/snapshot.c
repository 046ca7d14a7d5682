/* snapshot.c - reading a routing snapshot: its frame, arrays of another build, and lookups that
 * trust what snapshot_check.c has checked.
 *
 * A block of this build is read where it lies. A block of another build has elements that are
 * shorter or longer than ours; those arrays (and settings) are copied into our layout once, when
 * the snapshot is opened, so that everything behind works with plain structs. */
#include "net/snapshot.h"

#include <stdlib.h>

#include "net/snapshot_private.h"

#define ARRAYS_MAX 256u /* of any build, ever */

static const uint32_t element_bytes[] = {
#define X(name, type) sizeof(type),
    SNAPSHOT_ARRAYS(X)
#undef X
};

#define X(name, type)                                                                              \
    static_assert(sizeof(type) % 8 == 0, "elements of snapshot arrays are multiples of 8 bytes");
SNAPSHOT_ARRAYS(X)
#undef X

/* ---- frame */

struct frame {
    const char *block;
    uint64_t total;
    const void *settings;
    const void *arrays[SNAPSHOT_ARRAY_COUNT]; /* as they lie in the block */
    struct snapshot_array specs[SNAPSHOT_ARRAY_COUNT];
};

static int check_region(const struct frame *frame, uint64_t offset, uint64_t count, uint64_t size,
                        struct error *err)
{
    if (offset % 8 != 0 || offset > frame->total || count > (frame->total - offset) / size)
        return error_set(err, ERR_INVALID, "snapshot: an array lies outside of the block");
    return 0;
}

static int read_header(struct frame *frame, size_t size, struct error *err)
{
    const struct snapshot_header *header = (const void *)frame->block;
    int code;

    if (header->magic != SNAPSHOT_MAGIC)
        return error_set(err, ERR_INVALID, "snapshot: wrong magic number");
    if (header->format_version != SNAPSHOT_VERSION)
        return error_set(err, ERR_VERSION, "snapshot: format version %u, this program reads %u",
                         header->format_version, SNAPSHOT_VERSION);
    if (header->total_bytes > size || header->total_bytes < sizeof *header)
        return error_set(err, ERR_INVALID, "snapshot: the block is cut short");
    if (header->array_count > ARRAYS_MAX)
        return error_set(err, ERR_INVALID, "snapshot: %u arrays", header->array_count);
    frame->total = header->total_bytes;
    if ((code = check_region(frame, header->settings_offset, header->settings_bytes, 1, err)) < 0 ||
        (code = check_region(frame, header->arrays_offset, header->array_count,
                             sizeof(struct snapshot_array), err)) < 0)
        return code;
    return check_region(frame, header->strings_offset, header->strings_len, 1, err);
}

static int read_arrays(struct frame *frame, struct error *err)
{
    const struct snapshot_header *header = (const void *)frame->block;
    const struct snapshot_array *specs = (const void *)(frame->block + header->arrays_offset);
    int code;

    frame->settings = frame->block + header->settings_offset;
    for (uint32_t i = 0; i < SNAPSHOT_ARRAY_COUNT; i++) {
        frame->specs[i].stride = element_bytes[i];
        frame->arrays[i] = frame->block;
        if (i >= header->array_count)
            continue;
        if (specs[i].stride == 0 || specs[i].stride % 8 != 0)
            return error_set(err, ERR_INVALID, "snapshot: elements of %u bytes", specs[i].stride);
        if ((code = check_region(frame, specs[i].offset, specs[i].count, specs[i].stride, err)) < 0)
            return code;
        frame->specs[i] = specs[i];
        frame->arrays[i] = frame->block + specs[i].offset;
    }
    return 0;
}

/* ---- blocks of other builds */

static bool is_foreign(const struct frame *frame, uint32_t i)
{
    return frame->specs[i].stride != element_bytes[i] && frame->specs[i].count > 0;
}

static void copy_array(const struct frame *frame, uint32_t i, char *to)
{
    size_t stride = frame->specs[i].stride, size = element_bytes[i];
    const char *from = frame->arrays[i];

    for (uint32_t n = 0; n < frame->specs[i].count; n++, from += stride, to += size)
        memcpy(to, from, MIN(stride, size));
}

/* Bring what is of another layout into ours; the frame then points to the copies. */
static int convert(struct frame *frame, void **ret_converted, struct error *err)
{
    const struct snapshot_header *header = (const void *)frame->block;
    bool has_short_settings = header->settings_bytes < sizeof(struct snapshot_settings);
    uint64_t bytes = has_short_settings ? (sizeof(struct snapshot_settings) + 7) / 8 * 8 : 0;
    char *to;

    for (uint32_t i = 0; i < SNAPSHOT_ARRAY_COUNT; i++)
        if (is_foreign(frame, i))
            bytes += (uint64_t)frame->specs[i].count * element_bytes[i];
    if (bytes == 0)
        return 0;
    if (bytes > SNAPSHOT_MAX)
        return error_set(err, ERR_LIMIT, "snapshot: its arrays would need more than %u MiB",
                         SNAPSHOT_MAX >> 20);
    *ret_converted = to = calloc(1, (size_t)bytes);
    assert(to);
    if (has_short_settings) {
        memcpy(to, frame->settings, header->settings_bytes);
        frame->settings = to;
        to += (sizeof(struct snapshot_settings) + 7) / 8 * 8;
    }
    for (uint32_t i = 0; i < SNAPSHOT_ARRAY_COUNT; i++) {
        if (!is_foreign(frame, i))
            continue;
        copy_array(frame, i, to);
        frame->arrays[i] = to;
        to += (size_t)frame->specs[i].count * element_bytes[i];
    }
    return 0;
}

int snapshot_open(const void *block, size_t size, struct snapshot *ret_snapshot, struct error *err)
{
    struct snapshot view = {.header = block};
    struct frame frame = {.block = block};
    int code;

    if (size < sizeof *view.header || size > SNAPSHOT_MAX || (uintptr_t)block % 8 != 0)
        return error_set(err, ERR_INVALID, "snapshot: a block of %zu bytes", size);
    if ((code = read_header(&frame, size, err)) < 0 || (code = read_arrays(&frame, err)) < 0 ||
        (code = convert(&frame, &view.converted, err)) < 0)
        return code;
    view.settings = frame.settings;
    view.strings = frame.block + view.header->strings_offset;
#define X(name, type)                                                                              \
    view.name = (const type *)frame.arrays[SNAPSHOT_ARRAY_##name];                                 \
    view.name##_count = frame.specs[SNAPSHOT_ARRAY_##name].count;
    SNAPSHOT_ARRAYS(X)
#undef X
    if ((code = snapshot_check(&view, err)) < 0) {
        snapshot_close(&view);
        return code;
    }
    *ret_snapshot = view;
    return 0;
}

void snapshot_close(struct snapshot *snapshot)
{
    free(snapshot->converted);
    snapshot->converted = NULL;
}

/* ---- lookup */

/* As slice_compare of `name` with '*' + suffix, or with suffix alone, without building the
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
    return slice_compare(name, suffix);
}

static const struct snapshot_host *host_find(const struct snapshot *snapshot, bool is_wildcard,
                                             struct slice suffix)
{
    uint32_t low = 0, high = snapshot->hosts_count;

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

/* The entries that stand for a host, the most specific first: *cursor is 0 at the start; NULL at
 * the end. */
static const struct snapshot_host *host_next(const struct snapshot *snapshot, struct slice host,
                                             size_t *cursor)
{
    bool has_any = snapshot->hosts_count > 0 && snapshot->hosts[0].name.len == 0; /* sorts first */
    bool has_named = snapshot->hosts_count > (has_any ? 1u : 0u);
    const struct snapshot_host *found;

    if (*cursor == 0 && has_named && host.len > 0) {
        *cursor = 1;
        if ((found = host_find(snapshot, false, host)))
            return found;
    }
    while (has_named && *cursor < host.len) {
        size_t at = (*cursor)++;

        if (host.ptr[at] == '.' &&
            (found = host_find(snapshot, true, (struct slice){host.ptr + at, host.len - at})))
            return found;
    }
    if (!has_any || *cursor == SIZE_MAX)
        return NULL;
    *cursor = SIZE_MAX;
    return &snapshot->hosts[0];
}

const struct snapshot_host *snapshot_host_find(const struct snapshot *snapshot, struct slice host)
{
    size_t cursor = 0;

    return host_next(snapshot, host, &cursor);
}

const struct snapshot_route *snapshot_route_find(const struct snapshot *snapshot, struct slice host,
                                                 struct slice path)
{
    const struct snapshot_host *found;
    const struct snapshot_route *route;
    size_t cursor = 0;

    while ((found = host_next(snapshot, host, &cursor)))
        if ((route = host_route(snapshot, found, path)))
            return route;
    return NULL;
}
