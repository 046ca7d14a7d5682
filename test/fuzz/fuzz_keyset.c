/* fuzz_keyset.c - arbitrary bytes as a set of keys: refused, or every key of it lies inside. */
#include "net/keyset.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile size_t sink; /* keeps the reads below from being optimised away */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t absent[PEER_KEY_ID_BYTES];
    struct keyset keyset;
    void *block = size ? aligned_alloc(8, (size + 7) / 8 * 8) : NULL;

    if (!block)
        return 0;
    memcpy(block, data, size);
    if (keyset_open(block, size, &keyset, NULL) == 0) {
        for (uint32_t i = 0; i < keyset.header->count; i++) {
            struct slice der = keyset_find(&keyset, keyset.entries[i].id);

            assert(der.len > 0);
            for (size_t at = 0; at < der.len; at++)
                sink += (uint8_t)der.ptr[at];
        }
        sink += keyset_find(&keyset, absent).len;
    }
    free(block);
    return 0;
}
