#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "logd/segment_private.h"
#include "os/file.h"

#define WINDOW_BYTES (64u << 10)

void segment_reader_init(struct segment_reader *reader)
{
    *reader = (struct segment_reader){
        .fd = -1, .window = BUF_INIT(BLOCK_HEADER_MAX + compress_bound(BLOCK_RAW_MAX))};
}

void segment_reader_done(struct segment_reader *reader)
{
    fd_close(reader->fd);
    reader->fd = -1;
    reader->number = 0;
    buf_done(&reader->window);
}

int segment_reader_open(struct segment_reader *reader, struct segment_store *store,
                        const struct segment *segment)
{
    char path[SEGMENT_PATH_MAX];

    if (reader->number == segment->number)
        return 0;
    segment_reader_done(reader);
    reader->fd = open(segment_path(store, segment, path), O_RDONLY | O_CLOEXEC);
    if (reader->fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    reader->number = segment->number;
    return 0;
}

/* `len` bytes of the file at `offset`, through the window. ERR_NOT_FOUND: the valid part ends
 * before. */
static int window_get(struct segment_reader *reader, uint64_t end, uint64_t offset, size_t len,
                      struct slice *ret_bytes)
{
    size_t wanted;
    ssize_t n = 0;

    if (offset >= reader->window_at && offset + len <= reader->window_at + reader->window.len) {
        *ret_bytes = slice_sub(buf_slice(&reader->window), offset - reader->window_at, len);
        return 0;
    }
    if (offset + len > end)
        return ERR_NOT_FOUND;
    wanted = MIN(MAX(len, (size_t)WINDOW_BYTES), end - offset);
    buf_clear(&reader->window);
    if (!buf_reserve(&reader->window, wanted))
        return ERR_LIMIT;
    reader->window_at = offset;
    while (reader->window.len < len) {
        n = pread(reader->fd, reader->window.ptr + reader->window.len, wanted - reader->window.len,
                  (off_t)(offset + reader->window.len));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? ERR_CORRUPT : ERR_IO;
        reader->window.len += (size_t)n;
    }
    *ret_bytes = slice_sub(buf_slice(&reader->window), 0, len);
    return 0;
}

static int first_block_offset(struct segment_reader *reader, uint64_t end, uint64_t *ret_offset)
{
    struct segment_file_header header;
    struct slice bytes;
    int code = window_get(reader, end, 0, sizeof header, &bytes);

    if (code)
        return code;
    memcpy(&header, bytes.ptr, sizeof header);
    if (header.magic != SEGMENT_MAGIC || header.version != SEGMENT_VERSION ||
        header.stream_count > BLOCK_STREAMS_MAX)
        return ERR_CORRUPT;
    *ret_offset = sizeof header + header.stream_count * sizeof(struct block_stream);
    return 0;
}

int segment_reader_header(struct segment_reader *reader, const struct segment *segment,
                          uint64_t *offset, struct block_header *ret_header,
                          struct slice *ret_header_bytes)
{
    uint64_t at = *offset;
    struct slice bytes;
    size_t header_len;
    int code = 0;

    if (at == SEGMENT_FIRST_BLOCK)
        code = first_block_offset(reader, segment->bytes, &at);
    if (!code && at == segment->bytes) {
        *offset = at;
        return ERR_NOT_FOUND;
    }
    if (!code)
        code = window_get(reader, segment->bytes, at, sizeof(struct block_header), &bytes);
    if (!code)
        code = block_header_peek(bytes, &header_len);
    if (!code)
        code = window_get(reader, segment->bytes, at, header_len, &bytes);
    if (!code)
        code = block_header_read(bytes, ret_header);
    if (code)
        return ERR_CORRUPT;
    if (at + header_len + ret_header->body_len > segment->bytes)
        return ERR_CORRUPT;
    *offset = at;
    *ret_header_bytes = bytes;
    return 0;
}

static int body_get(struct segment_reader *reader, uint64_t offset,
                    const struct block_header *header, struct slice *ret_packed)
{
    uint64_t at = offset + header->header_len;
    int code = window_get(reader, at + header->body_len, at, header->body_len, ret_packed);

    if (code || hash_crc32c(0, ret_packed->ptr, ret_packed->len) != header->body_crc)
        return ERR_CORRUPT;
    return 0;
}

int segment_reader_check(struct segment_reader *reader, uint64_t offset,
                         const struct block_header *header)
{
    struct slice packed;

    return body_get(reader, offset, header, &packed);
}

int segment_reader_body(struct segment_reader *reader, uint64_t offset,
                        const struct block_header *header, struct compressor *compressor,
                        struct buf *ret_raw)
{
    struct slice packed;
    char *to;
    int code = body_get(reader, offset, header, &packed);

    if (code)
        return code;
    buf_clear(ret_raw);
    to = buf_reserve(ret_raw, header->raw_len);
    if (!to)
        return ERR_LIMIT;
    code = decompress_block(compressor, packed, to, header->raw_len);
    if (code)
        return code;
    ret_raw->len = header->raw_len;
    return 0;
}
