/* block.c - see block_private.h. */
#include "edge/block_private.h"
#include <malloc.h>
#include <stdlib.h>

struct block *block_take(struct block_pool *pool)
{
    struct block *block = pool->free;

    pool->used_count++;
    if (LIKELY(block != NULL)) {
        pool->free = block->next;
        pool->free_count--;
        return block;
    }
    block = malloc(sizeof(*block));
    if (!block)
        abort();
    return block;
}

void block_give(struct block_pool *pool, struct block *block)
{
    pool->used_count--;
    if (UNLIKELY(pool->free_count >= BLOCK_FREE_MAX)) {
        free(block);
        return;
    }
    block->next = pool->free;
    pool->free = block;
    pool->free_count++;
}

void block_pool_trim(struct block_pool *pool)
{
    block_pool_done(pool);
    (void)malloc_trim(0);
}

void block_pool_done(struct block_pool *pool)
{
    while (pool->free) {
        struct block *block = pool->free;

        pool->free = block->next;
        free(block);
    }
    pool->free_count = 0;
}
