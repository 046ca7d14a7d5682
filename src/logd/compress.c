#include "logd/compress.h"

#include <zstd.h>

#include "base/error.h"

size_t compress_bound(size_t len)
{
    return ZSTD_compressBound(len);
}

size_t compress_block(struct compressor *compressor, int level, struct slice raw, void *to,
                      size_t capacity)
{
    size_t len;

    if (!compressor->compress)
        compressor->compress = ZSTD_createCCtx();
    if (!compressor->compress)
        return 0;
    len = ZSTD_compressCCtx(compressor->compress, to, capacity, raw.ptr, raw.len, level);
    return ZSTD_isError(len) ? 0 : len;
}

int decompress_block(struct compressor *compressor, struct slice packed, void *to, size_t raw_len)
{
    size_t len;

    if (!compressor->decompress)
        compressor->decompress = ZSTD_createDCtx();
    if (!compressor->decompress)
        return ERR_LIMIT;
    len = ZSTD_decompressDCtx(compressor->decompress, to, raw_len, packed.ptr, packed.len);
    return ZSTD_isError(len) || len != raw_len ? ERR_CORRUPT : 0;
}

void compressor_release(struct compressor *compressor)
{
    ZSTD_freeCCtx(compressor->compress);
    ZSTD_freeDCtx(compressor->decompress);
    *compressor = (struct compressor){0};
}
