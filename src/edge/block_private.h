/* block_private.h - the one size of buffer that connections read into and write heads into.
 *
 * Why one size: a block is held only while bytes are in it, and the free list is last in, first
 * out; so a busy edge works in a few blocks that stay in the processor's cache, and an idle
 * connection has none. Only the pages that bytes touch cost memory. Size: a header block of the
 * largest default limit (64 KiB) fits, and so does a 64 KiB body with its header.
 */
#ifndef EDGE_BLOCK_PRIVATE_H
#define EDGE_BLOCK_PRIVATE_H

#include "base/compiler.h"

#define BLOCK_BYTES    (72u * 1024u)
#define BLOCK_FREE_MAX 64u /* kept for reuse; the rest goes back to the system */

struct block {
    struct block *next; /* free list */
    char bytes[BLOCK_BYTES];
};

struct block_pool {
    struct block *free;
    unsigned free_count, used_count;
};

struct block *block_take(struct block_pool *pool); /* aborts when the system has no memory */
void block_give(struct block_pool *pool, struct block *block);
/* Give the system back what a peak of traffic took: for quiet moments, it walks the whole heap. */
void block_pool_trim(struct block_pool *pool);
void block_pool_done(struct block_pool *pool);

#endif
