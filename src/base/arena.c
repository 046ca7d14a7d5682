/* arena.c - blocks in a chain, bump allocation within the newest.
 *
 * The first block lies behind the arena itself, so that a small unit of work costs one malloc.
 * Blocks double up to BLOCK_MAX; what does not fit a block gets one of its own size. Memory is
 * zeroed when it is handed out, as a cleared arena uses its first block again.
 */
#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>

#define BLOCK_FIRST ((size_t)2048)
#define BLOCK_MAX   ((size_t)256 * 1024)

struct block {
    struct block *older;
    size_t capacity, used;
    alignas(max_align_t) unsigned char bytes[];
};

struct arena {
    size_t limit_bytes, used_bytes;
    struct block *newest;
    struct block first; /* last: its bytes follow */
};

struct arena *arena_new(size_t limit_bytes)
{
    struct arena *arena = malloc(sizeof(*arena) + BLOCK_FIRST);
    if (!arena)
        abort();
    arena->limit_bytes = limit_bytes;
    arena->used_bytes = 0;
    arena->newest = &arena->first;
    arena->first.older = NULL;
    arena->first.capacity = BLOCK_FIRST;
    arena->first.used = 0;
    return arena;
}

void arena_clear(struct arena *arena)
{
    while (arena->newest != &arena->first) {
        struct block *older = arena->newest->older;
        free(arena->newest);
        arena->newest = older;
    }
    arena->first.used = 0;
    arena->used_bytes = 0;
}

void arena_free(struct arena *arena)
{
    if (!arena)
        return;
    arena_clear(arena);
    free(arena);
}

void arena_freep(struct arena **arena)
{
    arena_free(*arena);
    *arena = NULL;
}

size_t arena_used(const struct arena *arena)
{
    return arena->used_bytes;
}

static void block_add(struct arena *arena, size_t size)
{
    size_t capacity = MIN(arena->newest->capacity * 2, BLOCK_MAX);
    capacity = MAX(capacity, size);
    struct block *block = malloc(sizeof(*block) + capacity);
    if (!block)
        abort();
    block->older = arena->newest;
    block->capacity = capacity;
    block->used = 0;
    arena->newest = block;
}

void *arena_try(struct arena *arena, size_t size)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    size_t rounded =
        MAX((size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1), alignof(max_align_t));
    if (rounded > arena->limit_bytes || arena->used_bytes > arena->limit_bytes - rounded)
        return NULL;
    if (rounded > arena->newest->capacity - arena->newest->used)
        block_add(arena, rounded);
    struct block *block = arena->newest;
    void *memory = block->bytes + block->used;
    block->used += rounded;
    arena->used_bytes += rounded;
    return memset(memory, 0, rounded);
}

void *arena_alloc(struct arena *arena, size_t size)
{
    void *memory = arena_try(arena, size);
    if (!memory)
        abort();
    return memory;
}

void *arena_alloc_array(struct arena *arena, size_t size, size_t count)
{
    size_t total;
    if (__builtin_mul_overflow(size, count, &total))
        abort();
    return arena_alloc(arena, total);
}

char *arena_slice_text(struct arena *arena, struct slice s)
{
    char *copy = arena_alloc(arena, s.len + 1);
    if (s.len)
        memcpy(copy, s.ptr, s.len);
    return copy;
}

char *arena_text(struct arena *arena, const char *text)
{
    return text ? arena_slice_text(arena, slice_from(text)) : NULL;
}

struct slice arena_slice(struct arena *arena, struct slice s)
{
    return (struct slice){arena_slice_text(arena, s), s.len};
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0)
        abort();
    char *text = arena_alloc(arena, (size_t)len + 1);
    vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    return text;
}
