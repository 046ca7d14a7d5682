/* ingest.h - from pipes to stored blocks: all streams, the open block, and when what happens.
 *
 * Work on a stream is bounded a turn, so streams share the loop fairly; a stream that had little to
 * say rests for a few milliseconds, so that an application that writes line by line does not cost a
 * wake-up a line. Nothing polls when nothing happens. A stream's way: pipe → spool file (splice) →
 * lines → open block → segment; see spool.h for what a crash leaves.
 */
#ifndef LOGD_INGEST_H
#define LOGD_INGEST_H

#include "base/map.h"
#include "logd/segment.h"
#include "logd/spool.h"
#include "logd/syncer.h"
#include "loop/loop.h"

struct ingest {
    struct loop *loop;
    const struct logd_settings *settings;
    struct segment_store *store;
    char spool_directory[SPOOL_DIRECTORY_MAX];
    struct map *streams; /* by id: struct stream */
    struct map
        *recovered;      /* by id: what the last run left; NULL once ingest_table_end was called */
    struct list touched; /* streams with bytes in the open block */
    size_t touched_count;
    struct list resting;
    struct list backlog;    /* streams with spooled lines that wait for a turn */
    struct list recovering; /* streams with lines of the last run, which are put in order of time */
    size_t ending_count;    /* streams at their end that are not done yet */

    struct block_builder builder;
    struct place place; /* of the open block; valid while builder.record_count > 0 */
    struct compressor compressor;
    struct block_totals totals; /* the open block included */
    uint64_t unstored_bytes;    /* in all spools */
    uint64_t wall_us;           /* read once a batch */
    uint64_t active_us;         /* monotonic: bytes came */
    uint64_t seal_count;        /* blocks written by this process, plus one */
    uint64_t syncing_seals, synced_seals;
    char *read_buffer; /* LOGD_LINE_MAX; NULL while idle */

    bool is_stalled;      /* the store takes no blocks now: spools keep what comes */
    bool is_stall_known;  /* and it was logged */
    bool is_disk_failing; /* spools take nothing; logged */
    bool is_draining;     /* quitting: no rest */
    bool has_news;        /* records were added in this batch */

    struct loop_timer block_timer, rest_timer, work_timer, sync_timer, idle_timer, retain_timer;
    struct syncer syncer;

    /* Set by the owner before ingest_start. */
    /* All that the stream ever gave is stored and synced. */
    void (*on_done)(struct ingest *ingest, uint64_t stream);
    /* Records were added to the open block (once a batch). */
    void (*on_records)(struct ingest *ingest);
    /* The open block was written to its place and is about to be emptied. */
    void (*on_sealed)(struct ingest *ingest);
};

/* First this, then segment_store_open with ingest_recover_stream behind its recovery, then
 * ingest_start. */
void ingest_init(struct ingest *ingest);
void ingest_recover_stream(struct ingest *ingest, const struct block_stream *stream);
MUST_USE int ingest_start(struct ingest *ingest, struct loop *loop,
                          const struct logd_settings *settings, struct segment_store *store,
                          const char *spool_directory, struct error *err);
/* Stop without storing more: what is spooled waits for the next start. */
void ingest_stop(struct ingest *ingest);

/* Take over the read end of a stream's pipe. A stream that is known already keeps its own (fd is
 * closed). ERR_LIMIT. */
MUST_USE int ingest_add(struct ingest *ingest, uint64_t stream, uint64_t unit, uint32_t kind,
                        const char *label, int fd, struct error *err);
/* The keeper has handed over all streams: spools that no one claimed are stored and removed. */
void ingest_table_end(struct ingest *ingest);

/* Write the open block to its place now. On failure it stays open and no records are made for a
 * second. */
MUST_USE int ingest_seal(struct ingest *ingest);

size_t ingest_open_count(const struct ingest *ingest); /* streams whose end was not reached */
/* Blocks: take what the pipes hold, store and sync everything. on_done runs for streams at their
 * end. */
void ingest_finish(struct ingest *ingest);

#endif
