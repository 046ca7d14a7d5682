/* segment.h - the store: numbered append-only files of blocks, in one folder a UTC day.
 *
 * segments/<yyyy-mm-dd>/<number>.seg = segment header, then blocks. The header is a checkpoint: it
 * carries what every live stream had stored when the segment was begun, so a restart needs to read
 * one segment only. Exactly one process writes. A place (segment, offset of a block, offset in its
 * raw body) names a point in the log for ever; the block that is still open has its place from the
 * moment it is begun, so a reader crosses from memory to disk without noticing.
 */
#ifndef LOGD_SEGMENT_H
#define LOGD_SEGMENT_H

#include "base/map.h"
#include "logd/block.h"
#include "logd/settings.h"

struct place {
    uint64_t segment, block; /* number; file offset */
    size_t record;           /* offset in the raw body */
};

struct segment {
    uint64_t number;
    char day[11];
    bool has_range;  /* min and max are known */
    bool is_damaged; /* said once in the log */
    uint64_t bytes;  /* that hold valid blocks */
    uint64_t min_time_us, max_time_us;
};

struct segment_store {
    char directory[4096 - 64];
    const struct logd_settings *settings;
    struct segment *segments; /* by number */
    size_t segment_count, segment_capacity;
    int fd;               /* of the last one; -1: none is open for writing */
    uint32_t block_count; /* in the last one */
    int previous_fd;      /* full, not synced yet; -1: none */
    int folder_fd;        /* has a new entry that is not synced yet; -1: none */
    bool is_unsynced;
    uint64_t next_sequence;
    struct block_totals totals;
    uint64_t stored_bytes; /* of all segments */
};

/* What recovery tells of each stream; called once for each table entry, oldest first, so the last
 * call wins. */
struct segment_recovery {
    void (*on_stream)(struct segment_recovery *recovery, const struct block_stream *stream);
};

/* Open or make the store. Cuts off a torn end of the last segment. ERR_IO and others of the file
 * system. */
MUST_USE int segment_store_open(struct segment_store *store, const char *directory,
                                const struct logd_settings *settings,
                                struct segment_recovery *recovery, struct error *err);
void segment_store_close(struct segment_store *store);

/* Where the next block will stand. Begins a new segment when the last one is full or of another
 * day: `checkpoint` holds every live stream then. On failure nothing changed. ERR_NO_SPACE, ERR_IO.
 */
MUST_USE int segment_store_begin(struct segment_store *store, uint64_t wall_us,
                                 const struct block_stream *checkpoint, size_t stream_count,
                                 struct place *ret_place, struct error *err);
/* Write a block where segment_store_begin said. On failure the file is as before. ERR_NO_SPACE,
 * ERR_IO. */
MUST_USE int segment_store_append(struct segment_store *store, const struct block_builder *builder,
                                  struct slice bytes, const struct block_totals *totals,
                                  struct error *err);
/* Descriptors (duplicates, the caller closes) that fdatasync must see before what was appended up
 * to now is on disk; returns how many. They count as synced from here on. */
#define SEGMENT_SYNC_MAX 3u
size_t segment_store_take_unsynced(struct segment_store *store, int ret_fds[SEGMENT_SYNC_MAX]);
/* Is there a segment that retention removes now? Removes at most one; true: call again. The last
 * one stays. */
bool segment_store_retain(struct segment_store *store, uint64_t wall_us);
/* Remove the oldest but the last, whatever its age: makes room on a full disk. False: there is
 * none. */
bool segment_store_free_oldest(struct segment_store *store);

/* The segment `number` or the next higher one; NULL: none. Valid until the store changes. */
struct segment *segment_find(struct segment_store *store, uint64_t number);
struct segment *segment_find_before(struct segment_store *store,
                                    uint64_t number); /* the next lower one */
/* Make has_range true by reading all block headers of a segment. Bounded by its size; a few
 * milliseconds. */
void segment_measure(struct segment_store *store, struct segment *segment);

/* ---- reading: one reader a query */

#define SEGMENT_FIRST_BLOCK 0u /* as `block` of a place: behind the segment header */

struct segment_reader {
    int fd;
    uint64_t number; /* of the open segment; 0: none */
    struct buf window;
    uint64_t window_at;
};

void segment_reader_init(struct segment_reader *reader);
void segment_reader_done(struct segment_reader *reader);
/* Open the segment (kept open when it is the same). ERR_NOT_FOUND: retention took it. */
MUST_USE int segment_reader_open(struct segment_reader *reader, struct segment_store *store,
                                 const struct segment *segment);
/* The header at *offset (SEGMENT_FIRST_BLOCK for the first one; *offset is set to where it really
 * is). Returns views into the reader until the next call. ERR_NOT_FOUND at the end of the segment,
 * ERR_CORRUPT. */
MUST_USE int segment_reader_header(struct segment_reader *reader, const struct segment *segment,
                                   uint64_t *offset, struct block_header *ret_header,
                                   struct slice *ret_header_bytes);
/* The unpacked body of the block at `offset` with that header. ERR_CORRUPT, ERR_LIMIT. */
MUST_USE int segment_reader_body(struct segment_reader *reader, uint64_t offset,
                                 const struct block_header *header, struct compressor *compressor,
                                 struct buf *ret_raw);
/* Only check the body's CRC. ERR_CORRUPT. */
MUST_USE int segment_reader_check(struct segment_reader *reader, uint64_t offset,
                                  const struct block_header *header);

#endif
