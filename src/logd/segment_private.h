/* segment_private.h - the file layout that store, recovery and reader share. */
#ifndef LOGD_SEGMENT_PRIVATE_H
#define LOGD_SEGMENT_PRIVATE_H

#include "logd/segment.h"

#define SEGMENT_MAGIC    0x47455353u
#define SEGMENT_VERSION  1u
#define SEGMENT_PATH_MAX 4096u

struct segment_file_header { /* followed by the checkpoint's stream table */
    uint32_t magic, version;
    uint64_t number;
    uint64_t created_us;
    uint64_t next_sequence;
    struct block_totals totals;
    uint32_t stream_count;
    uint32_t crc; /* of header and table, with this field zero */
};

char *segment_path(const struct segment_store *store, const struct segment *segment, char *buffer);
/* Read and check the header and table of an open segment. ret_table may be NULL. ERR_CORRUPT,
 * ERR_IO. */
MUST_USE int segment_read_file_header(int fd, struct segment_file_header *ret_header,
                                      struct buf *ret_table);
/* Fill in the store from what lies in its folder. */
MUST_USE int segment_recover(struct segment_store *store, struct segment_recovery *recovery,
                             struct error *err);
MUST_USE int segment_add(struct segment_store *store, const struct segment *segment);

#endif
