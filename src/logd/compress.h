/* compress.h - zstd behind a door: contexts exist only while they are used. */
#ifndef LOGD_COMPRESS_H
#define LOGD_COMPRESS_H

#include "base/slice.h"

struct compressor {
    void *compress, *decompress; /* private */
};

size_t compress_bound(size_t len);
/* Bytes written to `to`, or 0 on failure (only out of memory, or a capacity below compress_bound).
 */
size_t compress_block(struct compressor *compressor, int level, struct slice raw, void *to,
                      size_t capacity);
/* 0, or ERR_CORRUPT when `packed` does not hold exactly raw_len bytes. */
MUST_USE int decompress_block(struct compressor *compressor, struct slice packed, void *to,
                              size_t raw_len);
void compressor_release(
    struct compressor *compressor); /* gives the memory back; usable afterwards */

#endif
