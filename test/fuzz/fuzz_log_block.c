/* fuzz_log_block.c - arbitrary bytes as a block of a log segment: header, tables, packed body and
 * records. The checksums are made right first, or nothing would ever get past them. */
#include "base/hash.h"
#include "logd/block.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (64u << 10)

static void walk_records(struct slice raw, const struct block_header *header)
{
    struct record record;
    size_t at = 0, before = 0;

    while (record_read(raw, header->base_time_us, &at, &record) == 0) {
        assert(at > before && at <= raw.len);
        assert(record.content.ptr >= raw.ptr &&
               record.content.ptr + record.content.len <= raw.ptr + at);
        before = at;
    }
}

static void walk_tables(struct slice bytes, const struct block_header *header)
{
    struct block_label label;
    struct slice text;
    size_t cursor = 0, labels = 0;

    for (size_t i = 0; i < header->stream_count; i++)
        (void)block_stream_at(bytes, i);
    while (block_label_next(bytes, &cursor, &label, &text))
        labels++;
    assert(labels == header->label_count);
}

static void make_right(char *bytes, size_t size, struct block_header *header)
{
    size_t header_len = header->header_len;

    header->magic = BLOCK_MAGIC;
    header->version = BLOCK_VERSION;
    header->header_crc = 0;
    if (header_len >= sizeof *header && header_len <= size) {
        header->header_crc = hash_crc32c(0, header, sizeof *header);
        header->header_crc =
            hash_crc32c(header->header_crc, bytes + sizeof *header, header_len - sizeof *header);
    }
    memcpy(bytes, header, sizeof *header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct compressor compressor;
    struct block_header header;
    char *bytes, *raw;
    size_t header_len;

    walk_records((struct slice){(const char *)data, size},
                 &(struct block_header){.base_time_us = 1});
    if (size < sizeof header || size > INPUT_MAX || !(bytes = malloc(size)))
        return 0;
    memcpy(bytes, data, size);
    (void)!block_header_read((struct slice){bytes, size}, &header); /* as it came */
    memcpy(&header, bytes, sizeof header);
    make_right(bytes, size, &header);
    if (block_header_peek((struct slice){bytes, size}, &header_len) == 0 && header_len <= size &&
        block_header_read((struct slice){bytes, size}, &header) == 0) {
        walk_tables((struct slice){bytes, header_len}, &header);
        raw = malloc((size_t)header.raw_len + 1);
        if (raw && header.body_len <= size - header_len &&
            decompress_block(&compressor, (struct slice){bytes + header_len, header.body_len}, raw,
                             header.raw_len) == 0)
            walk_records((struct slice){raw, header.raw_len}, &header);
        free(raw);
    }
    free(bytes);
    return 0;
}
