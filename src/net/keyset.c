#include "net/keyset.h"

static int bad(struct error *err, const char *what)
{
    return error_set(err, ERR_INVALID, "unable to use the key set: %s", what);
}

static int check_entry(const struct keyset *keyset, uint32_t i, uint64_t keys_offset,
                       struct error *err)
{
    const struct keyset_entry *entry = &keyset->entries[i];

    if (i > 0 && memcmp(keyset->entries[i - 1].id, entry->id, PEER_KEY_ID_BYTES) >= 0)
        return bad(err, "its entries are out of order");
    if (entry->len == 0 || entry->len > KEYSET_KEY_MAX || entry->offset < keys_offset ||
        (uint64_t)entry->offset + entry->len > keyset->header->total_bytes)
        return bad(err, "a key lies outside of it");
    return 0;
}

int keyset_open(const void *block, size_t size, struct keyset *ret_keyset, struct error *err)
{
    struct keyset keyset = {.header = block, .block = block};
    uint64_t keys_offset;

    if (size < sizeof(*keyset.header) || size > KEYSET_BYTES_MAX)
        return bad(err, "its size is not that of one");
    assert((uintptr_t)block % 8 == 0);
    if (keyset.header->magic != KEYSET_MAGIC)
        return bad(err, "it is something else");
    if (keyset.header->format_version != KEYSET_VERSION)
        return error_set(err, ERR_VERSION, "the key set has format %u, this program reads %u",
                         keyset.header->format_version, KEYSET_VERSION);
    if (keyset.header->total_bytes != size)
        return bad(err, "it is cut off");
    if (keyset.header->count > KEYSET_KEYS_MAX)
        return bad(err, "it has too many keys");
    keys_offset =
        sizeof(*keyset.header) + (uint64_t)keyset.header->count * sizeof(struct keyset_entry);
    if (keys_offset > size)
        return bad(err, "it is cut off");
    keyset.entries = (const struct keyset_entry *)(const void *)(keyset.header + 1);
    for (uint32_t i = 0; i < keyset.header->count; i++) {
        int code = check_entry(&keyset, i, keys_offset, err);

        if (code != 0)
            return code;
    }
    *ret_keyset = keyset;
    return 0;
}

struct slice keyset_find(const struct keyset *keyset, const uint8_t id[PEER_KEY_ID_BYTES])
{
    uint32_t low = 0, high = keyset->header->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct keyset_entry *entry = &keyset->entries[middle];
        int order = memcmp(entry->id, id, PEER_KEY_ID_BYTES);

        if (order == 0)
            return (struct slice){(const char *)keyset->block + entry->offset, entry->len};
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return (struct slice){0};
}

static int by_id(const void *a, const void *b)
{
    return memcmp(((const struct keyset_key *)a)->id, ((const struct keyset_key *)b)->id,
                  PEER_KEY_ID_BYTES);
}

/* One of each id to the front; the number of them. */
static size_t drop_doubles(struct keyset_key *keys, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++)
        if (kept == 0 || memcmp(keys[kept - 1].id, keys[i].id, PEER_KEY_ID_BYTES) != 0)
            keys[kept++] = keys[i];
    return kept;
}

int keyset_build(struct keyset_key *keys, size_t count, uint64_t version, struct buf *block,
                 struct error *err)
{
    struct keyset_header header = {
        .magic = KEYSET_MAGIC, .format_version = KEYSET_VERSION, .version = version};
    uint64_t offset;
    char *at;

    if (count)
        qsort(keys, count, sizeof(*keys), by_id);
    count = drop_doubles(keys, count);
    if (count > KEYSET_KEYS_MAX)
        return error_set(err, ERR_LIMIT, "more than %u keys", KEYSET_KEYS_MAX);
    header.count = (uint32_t)count;
    header.total_bytes = sizeof(header) + count * sizeof(struct keyset_entry);
    for (size_t i = 0; i < count; i++) {
        if (keys[i].der.len == 0 || keys[i].der.len > KEYSET_KEY_MAX)
            return error_set(err, ERR_LIMIT, "a key has a length of %zu bytes", keys[i].der.len);
        header.total_bytes += keys[i].der.len;
    }
    if (header.total_bytes > KEYSET_BYTES_MAX)
        return error_set(err, ERR_LIMIT, "the keys are too many for one set");
    at = buf_reserve(block, header.total_bytes); /* at once: growing would leave copies behind */
    if (!at)
        return error_set(err, ERR_LIMIT, "the keys are too many for one set");
    memcpy(at, &header, sizeof(header));
    offset = sizeof(header) + count * sizeof(struct keyset_entry);
    for (size_t i = 0; i < count; i++) {
        struct keyset_entry entry = {.offset = (uint32_t)offset, .len = (uint32_t)keys[i].der.len};

        memcpy(entry.id, keys[i].id, PEER_KEY_ID_BYTES);
        memcpy(at + sizeof(header) + i * sizeof(entry), &entry, sizeof(entry));
        memcpy(at + offset, keys[i].der.ptr, keys[i].der.len);
        offset += keys[i].der.len;
    }
    block->len += header.total_bytes;
    return 0;
}
