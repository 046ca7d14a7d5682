/* map.c - a dense array of entries in insertion order, and an open-addressing index into it.
 *
 * Removing marks the entry dead and keeps its place, so that a walk survives it and the order
 * stays; the dead leave when the array is full and is packed or doubled. The index holds entry
 * numbers + 1; the hash in the entry spares most key comparisons. The hash key is one per process
 * and secret.
 */
#include "base/map.h"

#include "base/error.h"
#include "base/hash.h"
#include <pthread.h>
#include <sys/random.h>

#define SLOTS_MIN 8u

struct entry {
    uint64_t hash;
    char *key; /* NULL: dead */
    size_t key_len;
    void *value;
};

struct map {
    struct entry *entries;
    uint32_t *slots; /* entry number + 1, 0: never used; a dead entry's slot stays until packing */
    size_t slot_count; /* power of two, or 0 */
    size_t used;       /* entries, dead ones included */
    size_t count;      /* live ones */
    size_t limit_entries;
};

static uint8_t process_key[16];
static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;

static void process_key_draw(void)
{
    if (getrandom(process_key, sizeof(process_key), 0) != (ssize_t)sizeof(process_key))
        abort();
}

struct map *map_new(size_t limit_entries)
{
    pthread_once(&process_key_once, process_key_draw);
    struct map *map = calloc(1, sizeof(*map));
    if (!map)
        abort();
    map->limit_entries = MIN(limit_entries, (size_t)UINT32_MAX / 4);
    return map;
}

void map_free(struct map *map)
{
    if (!map)
        return;
    for (size_t i = 0; i < map->used; i++)
        free(map->entries[i].key);
    free(map->entries);
    free(map->slots);
    free(map);
}

void map_freep(struct map **map)
{
    map_free(*map);
    *map = NULL;
}

static size_t entries_max(size_t slot_count)
{
    return slot_count / 4 * 3;
}

static uint64_t hash_of(struct slice key)
{
    return hash_keyed(key.ptr, key.len, process_key);
}

static struct entry *find(const struct map *map, struct slice key, uint64_t hash)
{
    if (map->slot_count == 0)
        return NULL;
    size_t mask = map->slot_count - 1;
    for (size_t at = hash & mask; map->slots[at]; at = (at + 1) & mask) {
        struct entry *entry = &map->entries[map->slots[at] - 1];
        if (entry->hash == hash && entry->key &&
            slice_eq((struct slice){entry->key, entry->key_len}, key))
            return entry;
    }
    return NULL;
}

static void index_entry(struct map *map, size_t number)
{
    size_t mask = map->slot_count - 1, at = map->entries[number].hash & mask;
    while (map->slots[at])
        at = (at + 1) & mask;
    map->slots[at] = (uint32_t)number + 1;
}

/* Drop the dead; double when more than half of the places are alive. */
static void rebuild(struct map *map)
{
    size_t slot_count = MAX(map->slot_count, (size_t)SLOTS_MIN);
    if (map->count * 2 > entries_max(slot_count))
        slot_count *= 2;
    struct entry *entries = calloc(entries_max(slot_count), sizeof(*entries));
    uint32_t *slots = calloc(slot_count, sizeof(*slots));
    if (!entries || !slots)
        abort();
    size_t used = 0;
    for (size_t i = 0; i < map->used; i++)
        if (map->entries[i].key)
            entries[used++] = map->entries[i];
    free(map->entries);
    free(map->slots);
    map->entries = entries;
    map->slots = slots;
    map->slot_count = slot_count;
    map->used = used;
    for (size_t i = 0; i < used; i++)
        index_entry(map, i);
}

int map_put(struct map *map, struct slice key, void *value)
{
    uint64_t hash = hash_of(key);
    struct entry *entry = find(map, key, hash);
    if (entry) {
        entry->value = value;
        return 0;
    }
    if (map->count >= map->limit_entries)
        return ERR_LIMIT;
    if (map->used == entries_max(map->slot_count))
        rebuild(map);
    char *copy = malloc(key.len + 1);
    if (!copy)
        abort();
    if (key.len)
        memcpy(copy, key.ptr, key.len);
    copy[key.len] = '\0';
    map->entries[map->used] = (struct entry){hash, copy, key.len, value};
    index_entry(map, map->used);
    map->used++;
    map->count++;
    return 0;
}

void *map_get(const struct map *map, struct slice key)
{
    struct entry *entry = map->count ? find(map, key, hash_of(key)) : NULL;
    return entry ? entry->value : NULL;
}

void *map_remove(struct map *map, struct slice key)
{
    struct entry *entry = map->count ? find(map, key, hash_of(key)) : NULL;
    if (!entry)
        return NULL;
    void *value = entry->value;
    free(entry->key);
    entry->key = NULL;
    entry->value = NULL;
    map->count--;
    return value;
}

size_t map_count(const struct map *map)
{
    return map->count;
}

bool map_next(const struct map *map, size_t *cursor, struct slice *ret_key, void **ret_value)
{
    for (; *cursor < map->used; (*cursor)++) {
        const struct entry *entry = &map->entries[*cursor];
        if (!entry->key)
            continue;
        if (ret_key)
            *ret_key = (struct slice){entry->key, entry->key_len};
        if (ret_value)
            *ret_value = entry->value;
        (*cursor)++;
        return true;
    }
    return false;
}
