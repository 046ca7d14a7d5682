/* http2_memory.c - where nghttp2's memory comes from.
 *
 * Each session owns a buffer for the frame that it packs, one of a little more than 16 KiB, most of
 * which is never written. From malloc it lies on what the TLS handshake before it has left behind,
 * pages that are resident already: 6 KiB of an idle connection. So these buffers have a range of
 * addresses of their own, in which only what was written costs anything.
 */
#include "net/http2_private.h"
#include "os/memory.h"
#include <stdlib.h>

#define FRAME_BUFFER_MIN 16384u /* nghttp2's is NGHTTP2_FRAMEBUF_CHUNKLEN, and some bytes */
#define PLACE_BYTES      20480u /* whole pages */
#define PLACES           16384u /* whoever comes on top gets malloc's */

static struct {
    char *base; /* NULL: not reserved, or not to be had */
    bool is_asked;
    unsigned used, free_count;
    uint16_t free[PLACES];
} range;

static bool is_of_range(const void *memory)
{
    return range.base && (const char *)memory >= range.base &&
           (const char *)memory < range.base + (size_t)PLACES * PLACE_BYTES;
}

static void *place_take(void)
{
    struct error err = {0};
    void *base;

    if (!range.is_asked && memory_reserve((size_t)PLACES * PLACE_BYTES, &base, &err) == 0)
        range.base = base;
    range.is_asked = true;
    if (range.free_count)
        return range.base + (size_t)range.free[--range.free_count] * PLACE_BYTES;
    return range.base && range.used < PLACES ? range.base + (size_t)range.used++ * PLACE_BYTES
                                             : NULL;
}

static void give(void *memory, void *user_data)
{
    (void)user_data;
    if (!is_of_range(memory)) {
        free(memory);
        return;
    }
    memory_forget(memory, PLACE_BYTES);
    range.free[range.free_count++] =
        (uint16_t)((size_t)((char *)memory - range.base) / PLACE_BYTES);
}

static void *take(size_t size, void *user_data)
{
    void *place = size >= FRAME_BUFFER_MIN && size <= PLACE_BYTES ? place_take() : NULL;

    (void)user_data;
    return place ? place : malloc(size);
}

static void *take_zeroed(size_t count, size_t size, void *user_data)
{
    (void)user_data;
    return calloc(count, size);
}

static void *resize(void *memory, size_t size, void *user_data)
{
    void *other;

    if (!memory)
        return take(size, user_data);
    if (!is_of_range(memory))
        return realloc(memory, size);
    if (size <= PLACE_BYTES)
        return memory;
    if ((other = malloc(size))) {
        memcpy(other, memory, PLACE_BYTES);
        give(memory, user_data);
    }
    return other;
}

nghttp2_mem *http2_memory(void)
{
    static nghttp2_mem memory = {
        .malloc = take, .free = give, .calloc = take_zeroed, .realloc = resize};

    return &memory;
}
