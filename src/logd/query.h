/* query.h - answers to PEER_LOG_QUERY: stored records, then, when followed, live ones, as JSON
 * lines into a pipe.
 *
 * A query is a cursor (struct place) that walks the log from a beginning to an end that was fixed
 * when it was asked, or on for ever. The open block is part of the log: a cursor inside it stays
 * good when the block is written. "The newest N" are found by counting matches backwards first. All
 * queries share a few milliseconds a turn and hold at most one answer buffer each; a reader that
 * does not read stops its query, not logd.
 */
#ifndef LOGD_QUERY_H
#define LOGD_QUERY_H

#include "base/peer_protocol.h"
#include "logd/ingest.h"

struct removal { /* an app's records below this sequence are forgotten */
    uint64_t sequence;
    char app[LABEL_LEN_MAX + 1];
};

/* A block as a query sees it: from the store or still open. */
struct view {
    struct place block; /* record = 0 */
    bool is_loaded;     /* raw and labels hold this block */
    uint64_t base_time_us, first_sequence;
    struct slice raw;
    struct slice labels; /* where label_at points into */
    uint32_t label_at[BLOCK_LABELS_MAX];
    size_t label_count;
};

struct queries {
    struct loop *loop;
    const struct logd_settings *settings;
    struct segment_store *store;
    struct ingest *ingest;
    struct list active; /* struct query, in turn */
    size_t count;
    struct loop_timer work_timer, idle_timer;
    /* The last stored block that was unpacked; neighbours in a turn often want the same. */
    struct view stored;
    struct buf stored_raw, stored_header;
    struct compressor compressor;
    struct removal *removals;
    size_t removal_count;
    char removals_path[SPOOL_DIRECTORY_MAX];
};

/* Reads the list of forgotten apps from `directory`. */
MUST_USE int queries_start(struct queries *queries, struct loop *loop,
                           const struct logd_settings *settings, struct segment_store *store,
                           struct ingest *ingest, const char *directory, struct error *err);
void queries_stop(struct queries *queries); /* ends all queries */

/* Begin a query (strings as in struct peer_log_query); takes fd over. What is wrong with it goes to
 * the pipe as an error line. */
void query_start(struct queries *queries, const struct peer_log_query *request, const char *app,
                 const char *service, const char *instance, const char *regex, int fd);
/* Forget what is stored of an app up to now, durably. */
MUST_USE int queries_remove_app(struct queries *queries, const char *app, struct error *err);

/* From the ingest's callbacks. */
void queries_on_records(struct queries *queries);
void queries_on_sealed(struct queries *queries);

#endif
