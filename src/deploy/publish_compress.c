/* publish_compress.c - brotli (RFC 7932) and gzip (RFC 1952) in one call each.
 *
 * Why not always the highest quality: brotli's 10 and 11 run at about a megabyte a second. Up to
 * 128 KiB nobody notices; above, quality 9 gives away a few percent and keeps a deploy of a large
 * site within seconds. */
#include <brotli/encode.h>
#include <zlib.h>

#include "deploy/publish_private.h"

#define BROTLI_BEST_MAX (128u * 1024)

static bool compress_brotli(struct slice content, struct buf *ret_twin)
{
    size_t size = ret_twin->limit - ret_twin->len;
    int quality = content.len <= BROTLI_BEST_MAX ? 11 : 9;
    char *space = buf_reserve(ret_twin, size);

    if (!space ||
        !BrotliEncoderCompress(quality, BROTLI_DEFAULT_WINDOW, BROTLI_MODE_GENERIC, content.len,
                               (const uint8_t *)content.ptr, &size, (uint8_t *)space))
        return false;
    ret_twin->len += size;
    return true;
}

static bool compress_gzip(struct slice content, struct buf *ret_twin)
{
    size_t size = ret_twin->limit - ret_twin->len;
    char *space = buf_reserve(ret_twin, size);
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)content.ptr,
                       .avail_in = (uInt)content.len,
                       .next_out = (Bytef *)space,
                       .avail_out = (uInt)size};
    int code;

    if (!space || deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    code = deflate(&stream, Z_FINISH);
    ret_twin->len += size - stream.avail_out;
    (void)deflateEnd(&stream);
    return code == Z_STREAM_END;
}

bool publish_compress(struct slice content, enum publish_coding coding, struct buf *ret_twin)
{
    return coding == PUBLISH_BROTLI ? compress_brotli(content, ret_twin)
                                    : compress_gzip(content, ret_twin);
}
