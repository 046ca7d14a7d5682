#include "logd/block.h"

#include "base/hash.h"
#include "logd/label.h"

#define SLOTS (BLOCK_LABELS_MAX * 2)

static size_t label_size(size_t text_len)
{
    return sizeof(struct block_label) + ((text_len + 7) & ~(size_t)7);
}

int record_read(struct slice raw, uint64_t base_time_us, size_t *offset, struct record *ret_record)
{
    struct record_header header;

    if (*offset == raw.len)
        return ERR_NOT_FOUND;
    if (*offset > raw.len || raw.len - *offset < sizeof header)
        return ERR_CORRUPT;
    memcpy(&header, raw.ptr + *offset, sizeof header);
    if (header.len > raw.len - *offset - sizeof header)
        return ERR_CORRUPT;
    if ((header.flags & RECORD_GAP) && header.len != sizeof(struct record_gap))
        return ERR_CORRUPT;
    ret_record->time_us = base_time_us + (uint64_t)(int64_t)header.time_delta_us;
    ret_record->label = header.label;
    ret_record->flags = header.flags;
    ret_record->content = (struct slice){raw.ptr + *offset + sizeof header, header.len};
    *offset += sizeof header + header.len;
    return 0;
}

int block_header_peek(struct slice bytes, size_t *ret_header_len)
{
    struct block_header header;

    if (bytes.len < sizeof header)
        return ERR_CORRUPT;
    memcpy(&header, bytes.ptr, sizeof header);
    if (header.magic != BLOCK_MAGIC || header.version != BLOCK_VERSION ||
        header.header_len < sizeof header || header.header_len > BLOCK_HEADER_MAX ||
        header.raw_len > BLOCK_RAW_MAX || header.body_len > compress_bound(BLOCK_RAW_MAX))
        return ERR_CORRUPT;
    *ret_header_len = header.header_len;
    return 0;
}

static bool label_table_is_sound(struct slice header_bytes, const struct block_header *header)
{
    struct block_label label;
    struct slice text;
    size_t cursor = 0, count = 0;

    while (block_label_next(header_bytes, &cursor, &label, &text))
        count++;
    return count == header->label_count && cursor == header->header_len;
}

int block_header_read(struct slice bytes, struct block_header *ret_header)
{
    struct block_header header, unsealed;
    size_t header_len;
    uint32_t crc;

    if (block_header_peek(bytes, &header_len) || bytes.len < header_len)
        return ERR_CORRUPT;
    memcpy(&header, bytes.ptr, sizeof header);
    unsealed = header;
    unsealed.header_crc = 0;
    crc = hash_crc32c(0, &unsealed, sizeof unsealed);
    crc = hash_crc32c(crc, bytes.ptr + sizeof header, header_len - sizeof header);
    if (crc != header.header_crc || header.label_count > BLOCK_LABELS_MAX ||
        header.stream_count > BLOCK_STREAMS_MAX ||
        header_len < sizeof header + header.stream_count * sizeof(struct block_stream) ||
        !label_table_is_sound(slice_sub(bytes, 0, header_len), &header))
        return ERR_CORRUPT;
    *ret_header = header;
    return 0;
}

struct block_stream block_stream_at(struct slice header_bytes, size_t i)
{
    struct block_stream stream;

    memcpy(&stream, header_bytes.ptr + sizeof(struct block_header) + i * sizeof stream,
           sizeof stream);
    return stream;
}

bool block_label_next(struct slice header_bytes, size_t *cursor, struct block_label *ret_label,
                      struct slice *ret_text)
{
    struct block_header header;
    struct block_label label;

    memcpy(&header, header_bytes.ptr, sizeof header);
    if (*cursor == 0)
        *cursor = sizeof header + header.stream_count * sizeof(struct block_stream);
    if (*cursor > header_bytes.len || header_bytes.len - *cursor < sizeof label)
        return false;
    memcpy(&label, header_bytes.ptr + *cursor, sizeof label);
    if (label.len > LABEL_LEN_MAX || label_size(label.len) > header_bytes.len - *cursor)
        return false;
    *ret_label = label;
    *ret_text = slice_sub(header_bytes, *cursor + sizeof label, label.len);
    *cursor += label_size(label.len);
    return true;
}

void block_builder_init(struct block_builder *builder, uint64_t first_sequence)
{
    memset(builder, 0, sizeof *builder);
    builder->raw = BUF_INIT(BLOCK_RAW_MAX);
    builder->labels = BUF_INIT(BLOCK_LABELS_MAX * label_size(LABEL_LEN_MAX));
    builder->generation = 1;
    builder->first_sequence = first_sequence;
}

void block_builder_reset(struct block_builder *builder)
{
    builder->first_sequence += builder->record_count;
    builder->record_count = 0;
    builder->generation++;
    if (builder->label_count > 0)
        memset(builder->slots, 0, sizeof builder->slots);
    builder->label_count = 0;
    buf_clear(&builder->raw);
    buf_clear(&builder->labels);
}

void block_builder_trim(struct block_builder *builder)
{
    if (builder->record_count > 0)
        return;
    buf_done(&builder->raw);
    buf_done(&builder->labels);
    builder->label_count = 0;
    builder->generation++;
    memset(builder->slots, 0, sizeof builder->slots);
}

void block_builder_done(struct block_builder *builder)
{
    buf_done(&builder->raw);
    buf_done(&builder->labels);
}

int block_builder_label(struct block_builder *builder, uint64_t unit, uint8_t kind,
                        struct slice text, uint16_t *ret_label)
{
    struct block_label label = {.unit = unit, .len = (uint16_t)text.len, .kind = kind}, other;
    size_t slot = hash_fast(text.ptr, text.len, unit * 4 + kind) % SLOTS;
    static const char padding[8] = {0};
    uint32_t at = (uint32_t)builder->labels.len;

    assert(text.len <= LABEL_LEN_MAX);
    for (; builder->slots[slot]; slot = (slot + 1) % SLOTS) {
        uint16_t i = (uint16_t)(builder->slots[slot] - 1);
        const char *known = builder->labels.ptr + builder->label_at[i];
        memcpy(&other, known, sizeof other);
        if (memcmp(&label, &other, sizeof label) == 0 &&
            memcmp(known + sizeof other, text.ptr, text.len) == 0) {
            *ret_label = i;
            return 0;
        }
    }
    if (builder->label_count == BLOCK_LABELS_MAX)
        return ERR_LIMIT;
    buf_append(&builder->labels, &label, sizeof label);
    buf_append_slice(&builder->labels, text);
    buf_append(&builder->labels, padding, label_size(text.len) - sizeof label - text.len);
    if (builder->labels.failed)
        return ERR_LIMIT;
    builder->label_at[builder->label_count] = at;
    *ret_label = (uint16_t)builder->label_count++;
    builder->slots[slot] = (uint16_t)builder->label_count;
    return 0;
}

int block_builder_add(struct block_builder *builder, uint16_t label, uint16_t flags,
                      uint64_t time_us, struct slice content)
{
    struct record_header header = {.label = label, .flags = flags, .len = (uint32_t)content.len};
    int64_t delta;
    char *to;

    if (builder->record_count == 0)
        builder->base_time_us = builder->min_time_us = builder->max_time_us = time_us;
    delta = (int64_t)(time_us - builder->base_time_us);
    if (delta > INT32_MAX || delta < INT32_MIN)
        return ERR_LIMIT;
    header.time_delta_us = (int32_t)delta;
    to = buf_reserve(&builder->raw, sizeof header + content.len);
    if (!to) {
        builder->raw.failed = false;
        return ERR_LIMIT;
    }
    memcpy(to, &header, sizeof header);
    if (content.len > 0)
        memcpy(to + sizeof header, content.ptr, content.len);
    builder->raw.len += sizeof header + content.len;
    builder->record_count++;
    builder->min_time_us = MIN(builder->min_time_us, time_us);
    builder->max_time_us = MAX(builder->max_time_us, time_us);
    return 0;
}

int block_builder_write(const struct block_builder *builder, struct compressor *compressor,
                        int level, const struct block_stream *streams, size_t stream_count,
                        const struct block_totals *totals, struct buf *ret_bytes)
{
    size_t tables_len = stream_count * sizeof *streams + builder->labels.len;
    size_t bound = compress_bound(builder->raw.len), body_len, start = ret_bytes->len;
    struct block_header header = {
        .magic = BLOCK_MAGIC,
        .version = BLOCK_VERSION,
        .header_len = (uint32_t)(sizeof header + tables_len),
        .raw_len = (uint32_t)builder->raw.len,
        .record_count = builder->record_count,
        .label_count = (uint32_t)builder->label_count,
        .stream_count = (uint32_t)stream_count,
        .first_sequence = builder->first_sequence,
        .base_time_us = builder->base_time_us,
        .min_time_us = builder->min_time_us,
        .max_time_us = builder->max_time_us,
        .totals = *totals,
    };

    if (header.header_len > BLOCK_HEADER_MAX || stream_count > BLOCK_STREAMS_MAX)
        return ERR_LIMIT;
    buf_append(ret_bytes, &header, sizeof header);
    buf_append(ret_bytes, streams, stream_count * sizeof *streams);
    buf_append_slice(ret_bytes, buf_slice(&builder->labels));
    if (!buf_reserve(ret_bytes, bound))
        return ERR_LIMIT;
    body_len = compress_block(compressor, level, buf_slice(&builder->raw),
                              ret_bytes->ptr + ret_bytes->len, bound);
    if (body_len == 0)
        return ERR_LIMIT;
    header.body_len = (uint32_t)body_len;
    header.body_crc = hash_crc32c(0, ret_bytes->ptr + ret_bytes->len, body_len);
    header.header_crc = hash_crc32c(0, &header, sizeof header);
    header.header_crc =
        hash_crc32c(header.header_crc, ret_bytes->ptr + start + sizeof header, tables_len);
    memcpy(ret_bytes->ptr + start, &header, sizeof header);
    ret_bytes->len += body_len;
    return 0;
}
