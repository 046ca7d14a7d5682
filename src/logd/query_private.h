/* query_private.h - a query, shared by its life (query.c), its walk (query_walk.c) and its words
 * (query_json.c). */
#ifndef LOGD_QUERY_PRIVATE_H
#define LOGD_QUERY_PRIVATE_H

#include "logd/pattern.h"
#include "logd/query.h"

#define QUERY_OUT_MAX  (1u << 20)  /* bytes of answer that wait for the reader */
#define QUERY_OUT_FULL (96u << 10) /* no further record is begun beyond this */
#define QUERY_PIECE    (32u << 10) /* of a long line in one step; six times that as JSON */

enum query_state {
    QUERY_COUNTING, /* backwards, for the newest N */
    QUERY_SENDING,
    QUERY_WAITING, /* following: at the end of the log */
    QUERY_ENDING,  /* only the answer buffer is left */
};

struct query {
    struct list node;
    struct queries *queries;
    struct loop_io io; /* write end of the answer */
    enum query_state state;
    bool is_blocked; /* the pipe is full */
    bool is_followed;
    /* filters */
    struct slice app, service, instance; /* into `strings`; empty: any */
    char *strings;
    struct pattern *pattern; /* NULL: any */
    uint32_t kinds, release;
    uint64_t unit, since_us, until_us, limit;
    /* walk */
    struct segment_reader reader;
    struct place at, end;
    uint64_t skip; /* matches to pass over before the first one that is sent */
    size_t piece;  /* bytes of the record at the cursor that were sent already */
    bool is_in_record;
    /* counting: the blocks of one segment that may hold matches, looked at from the last one */
    struct segment_reader count_reader;
    uint64_t count_segment, count_scan_at, found;
    uint32_t *candidates;
    size_t candidate_count, candidate_capacity;
    bool is_scanned;
    /* the block in hand */
    uint8_t matching[BLOCK_LABELS_MAX / 8]; /* by label */
    struct place matching_block;
    size_t matching_count; /* labels known when `matching` was filled; 0: not valid */
    struct buf prefix;     /* JSON of the label in hand */
    int32_t prefix_label;  /* -1: none */
    /* answer */
    struct buf out;
};

/* ---- query_walk.c: one step, bounded by `deadline_us` (monotonic). True: there is more to do now.
 */
bool query_walk(struct query *query, uint64_t deadline_us);
/* Fix the end of the stored part, choose where to begin. */
void query_walk_begin(struct query *query);

/* ---- query_json.c */

/* Append the record at the cursor, or its next piece. True: it is complete. */
bool query_json_record(struct query *query, const struct view *view, const struct record *record);
void query_json_error(struct query *query, int code, const char *text);

struct label_view {
    struct block_label head;
    struct slice text;
};
struct label_view view_label(const struct view *view, size_t i);

#endif
