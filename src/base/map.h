/* map.h - hash map from a byte string to a pointer. Keys are copied; values are borrowed. Keyed
 * SipHash, so input cannot choose collisions. Iteration order is insertion order as long as nothing
 * is removed. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/slice.h"

struct map;

struct map *map_new(size_t limit_entries);
void map_free(struct map *map);
void map_freep(struct map **map);
/* 0, or ERR_LIMIT. An existing key gets the new value. */
MUST_USE int map_put(struct map *map, struct slice key, void *value);
void *map_get(const struct map *map, struct slice key); /* NULL: absent */
void *map_remove(struct map *map, struct slice key);    /* the value, or NULL */
size_t map_count(const struct map *map);
/* Walk: start with *cursor = 0; false at the end. Removing the entry just returned is allowed. */
bool map_next(const struct map *map, size_t *cursor, struct slice *ret_key, void **ret_value);

#endif
