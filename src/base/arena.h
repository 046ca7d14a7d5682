/* arena.h - memory that is freed at once: one arena per request, command, manifest or other unit of
 * work.
 *
 * Allocation never returns NULL below the ceiling; running out of system memory aborts. Beyond the
 * ceiling given at birth arena_try returns NULL; the others abort, so use arena_try for anything
 * that input can size.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/slice.h"
#include <stdarg.h>

struct arena;

struct arena *arena_new(size_t limit_bytes);
void arena_free(struct arena *arena); /* NULL allowed */
void arena_freep(struct arena **arena);
void arena_clear(struct arena *arena);        /* frees all but the first block */
size_t arena_used(const struct arena *arena); /* bytes handed out */

void *arena_try(struct arena *arena,
                size_t size); /* zeroed, aligned for any type; NULL beyond the ceiling */
void *arena_alloc(struct arena *arena, size_t size);
void *arena_alloc_array(struct arena *arena, size_t size,
                        size_t count);                         /* aborts on overflow too */
char *arena_text(struct arena *arena, const char *text);       /* copy; NULL stays NULL */
char *arena_slice_text(struct arena *arena, struct slice s);   /* NUL-terminated copy */
struct slice arena_slice(struct arena *arena, struct slice s); /* copy */
char *arena_printf(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);

#define arena_new_of(arena, type) ((type *)arena_alloc((arena), sizeof(type)))
#define arena_array_of(arena, type, count)                                                         \
    ((type *)arena_alloc_array((arena), sizeof(type), (count)))

#endif
