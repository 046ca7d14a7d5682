/* ingest_private.h - a stream, as stream.c (bytes to records) and ingest.c (when) share it. */
#ifndef LOGD_INGEST_PRIVATE_H
#define LOGD_INGEST_PRIVATE_H

#include "logd/ingest.h"

struct stream {
    struct ingest *ingest;
    struct loop_io io; /* fd -1 once the end of the pipe was reached */
    struct loop_timer partial_timer;
    struct list touched_node, rest_node, backlog_node;
    struct spool spool;
    /* Logical offsets: stored <= consumed <= scanned or 0 <= spool.end */
    uint64_t stored;                 /* in written blocks */
    uint64_t consumed;               /* in records, the open block's included */
    uint64_t scanned;                /* no line ends between consumed and here */
    uint64_t told_lines, told_bytes; /* of what was dropped, in gap records */
    uint64_t stored_told_lines, stored_told_bytes;
    uint64_t told_at_us;
    struct spool_mark *marks; /* of the bytes below recovered_end; NULL: put in order already */
    size_t mark_count, mark_at;
    uint64_t recovered_end,
        recovered_us;    /* bytes of the last run, and when they came at the latest */
    uint64_t renewed_at; /* offset in the spool file below which it was punched */
    uint64_t active_us;
    uint64_t last_seal;        /* ingest->seal_count when it was last stored; 0: never had a byte */
    uint64_t label_generation; /* of the builder that label_index belongs to */
    uint64_t access_generation; /* the same for access_index: the label of an access line */
    uint16_t label_index, access_index;
    bool is_at_end, is_dropping, is_flushing;
    bool is_orphan;                   /* nobody waits to hear that it is done */
    char access_label[LABEL_LEN_MAX]; /* the one of access_index */
    size_t access_label_len;
};

static inline bool stream_has_gap(const struct stream *stream)
{
    return stream->spool.dropped_bytes != stream->told_bytes;
}

static inline struct slice key_of(const uint64_t *id)
{
    return (struct slice){(const char *)id, sizeof *id};
}

/* ---- stream.c */

/* Empty the pipe into the spool, within a turn's share. Returns the bytes taken or dropped; sets
 * is_at_end. */
size_t stream_fill(struct stream *stream);
/* Turn up to about `quota` spooled bytes into records. True: there are more to be had now. */
bool stream_consume(struct stream *stream, size_t quota);
/* When the byte at the consumed offset came. */
uint64_t stream_time_us(struct stream *stream);

/* ---- ingest.c */

/* Give the open block its place. On failure the ingest is stalled. */
MUST_USE int ingest_begin_block(struct ingest *ingest);
/* Stop making records and try again in a second. */
void ingest_stall(struct ingest *ingest, const struct error *err);
/* A new stream, with what the last run left of it. ERR_LIMIT. */
MUST_USE int ingest_stream_new(struct ingest *ingest, uint64_t id, uint64_t unit, uint32_t kind,
                               const char *label, struct stream **ret_stream);
/* Its spooled lines want a turn. */
void stream_work_soon(struct stream *stream);
/* Free the stream and tell its end when everything is durable; else see to it that it will be. */
void stream_check_done(struct stream *stream);
void ingest_work_timer_start(struct ingest *ingest);

/* ---- recovery.c */

void recovery_init(struct ingest *ingest);
void recovery_done(struct ingest *ingest); /* idempotent */
/* Find the spool files that were left behind. */
MUST_USE int recovery_scan(struct ingest *ingest, struct error *err);
/* Give a new stream what belongs to it. */
void recovery_claim(struct stream *stream);
/* Streams that are not claimed yet belong into a checkpoint: how many, and their entries. */
size_t recovery_count(const struct ingest *ingest);
size_t recovery_checkpoint(const struct ingest *ingest, struct block_stream *table);
/* A turn's share of the lines that were left behind. */
void recovery_run(struct ingest *ingest);

#endif
