/* block.h - the unit of storage: records of many streams, packed together, with what a query needs
 * to pass over them and what a restart needs to go on exactly behind them.
 *
 * A block in a segment file is a header (fixed part, stream table, label table) and a
 * zstd-compressed body of records. All numbers are native (little-endian); a store does not move
 * between machines of other byte order. Both parts carry a CRC32C. Stream table: for each stream
 * that has bytes in this block, the logical offset up to which it is now stored. Because it is
 * written with the records in one write, a restart neither loses nor repeats a byte.
 */
#ifndef LOGD_BLOCK_H
#define LOGD_BLOCK_H

#include "base/buf.h"
#include "base/error.h"
#include "base/keeper_protocol.h"
#include "base/slice.h"
#include "logd/compress.h"

#define BLOCK_MAGIC      0x4b4c4253u
#define BLOCK_VERSION    1u
#define BLOCK_LABELS_MAX 1024u
/* All that the keeper may hand over, and as many again that it closed while logd was away. */
#define BLOCK_STREAMS_MAX (2u * KEEPER_STREAMS_MAX)
#define BLOCK_RAW_MAX     (4u << 20)
#define BLOCK_HEADER_MAX  (2u << 20)

struct block_totals { /* since logd's first start, this block included */
    uint64_t lines, bytes, dropped_lines, dropped_bytes;
};

struct block_header {
    uint32_t magic, version;
    uint32_t header_len; /* with the tables */
    uint32_t body_len;   /* compressed */
    uint32_t raw_len;
    uint32_t record_count;
    uint32_t label_count, stream_count;
    uint64_t first_sequence; /* of the first record; rises by one a record, for ever */
    uint64_t base_time_us;   /* records count from here */
    uint64_t min_time_us, max_time_us;
    struct block_totals totals;
    uint32_t body_crc;
    uint32_t header_crc; /* with this field zero */
};

struct block_stream {
    uint64_t stream;
    uint64_t offset;                       /* logical: bytes of the stream that are stored */
    uint64_t dropped_lines, dropped_bytes; /* that gap records told so far */
};

struct block_label { /* followed by `len` bytes of text, padded to 8 */
    uint64_t unit;
    uint16_t len;
    uint8_t kind; /* enum keeper_stream_kind */
    uint8_t reserved[5];
};

enum {
    RECORD_PARTIAL = 1,   /* stored before its line ended */
    RECORD_CONTINUED = 2, /* a piece of a line longer than LOGD_LINE_MAX: more follows */
    RECORD_GAP = 4,       /* content: struct record_gap */
};

struct record_header {
    int32_t time_delta_us;
    uint32_t len;
    uint16_t label;
    uint16_t flags;
};

struct record_gap {
    uint64_t dropped_lines, dropped_bytes;
};

/* A record as read back; content borrows from the raw body. */
struct record {
    uint64_t time_us;
    uint16_t label, flags;
    struct slice content;
};

/* Read the record at *offset of a raw body and move *offset behind it. ERR_NOT_FOUND at the end;
 * ERR_CORRUPT. */
MUST_USE int record_read(struct slice raw, uint64_t base_time_us, size_t *offset,
                         struct record *ret_record);

/* Check the fixed part of what stands at `bytes` (all of it that is there); *ret_header_len is what
 * the whole header takes. ERR_CORRUPT. */
MUST_USE int block_header_peek(struct slice bytes, size_t *ret_header_len);
/* Check a whole header, CRC and tables included. ERR_CORRUPT. */
MUST_USE int block_header_read(struct slice bytes, struct block_header *ret_header);
/* i < stream_count of a header that block_header_read accepted. */
struct block_stream block_stream_at(struct slice header_bytes, size_t i);
/* Walk the label table of an accepted header: start with *cursor = 0; false at the end. */
bool block_label_next(struct slice header_bytes, size_t *cursor, struct block_label *ret_label,
                      struct slice *ret_text);

/* ---- building */

struct block_builder {
    struct buf raw;
    struct buf labels;                    /* the label table as it will be written */
    uint32_t label_at[BLOCK_LABELS_MAX];  /* offsets in labels */
    uint16_t slots[BLOCK_LABELS_MAX * 2]; /* hash table: label + 1 */
    size_t label_count;
    uint64_t generation; /* changes with each new block: a remembered label index is good while it
                            is the same */
    uint64_t first_sequence, base_time_us, min_time_us, max_time_us;
    uint32_t record_count;
};

void block_builder_init(struct block_builder *builder, uint64_t first_sequence);
void block_builder_reset(struct block_builder *builder); /* next block; keeps memory */
void block_builder_trim(struct block_builder *builder);  /* gives memory of an empty builder back */
void block_builder_done(struct block_builder *builder);
/* The index of the label, added when new. ERR_LIMIT: the table is full, close the block first. */
MUST_USE int block_builder_label(struct block_builder *builder, uint64_t unit, uint8_t kind,
                                 struct slice text, uint16_t *ret_label);
/* ERR_LIMIT: does not fit (size, or time too far from the first record's): close the block first.
 * An empty builder takes any record. */
MUST_USE int block_builder_add(struct block_builder *builder, uint16_t label, uint16_t flags,
                               uint64_t time_us, struct slice content);
/* Append header and compressed body to ret_bytes. The builder stays as it is. ERR_LIMIT. */
MUST_USE int block_builder_write(const struct block_builder *builder, struct compressor *compressor,
                                 int level, const struct block_stream *streams, size_t stream_count,
                                 const struct block_totals *totals, struct buf *ret_bytes);

#endif
