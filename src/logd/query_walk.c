/* query_walk.c - a query's way through the log: counting back for the newest N, then forward to the
 * end. */
#include "base/clock.h"
#include "base/keeper_protocol.h"
#include "base/log.h"
#include "logd/query_private.h"

#define RECORDS_A_LOOK 32u /* between two looks at the clock */

enum walk { WALK_ON, WALK_PAUSE, WALK_END };

static int place_compare(struct place a, struct place b)
{
    if (a.segment != b.segment)
        return a.segment < b.segment ? -1 : 1;
    if (a.block != b.block)
        return a.block < b.block ? -1 : 1;
    return a.record < b.record ? -1 : a.record > b.record;
}

static bool is_same_block(struct place a, struct place b)
{
    return a.segment == b.segment && a.block == b.block;
}

static bool is_open_block(const struct queries *queries, struct place at)
{
    return queries->ingest->builder.record_count > 0 && is_same_block(at, queries->ingest->place);
}

struct label_view view_label(const struct view *view, size_t i)
{
    struct label_view label;

    memcpy(&label.head, view->labels.ptr + view->label_at[i], sizeof label.head);
    label.text =
        (struct slice){view->labels.ptr + view->label_at[i] + sizeof label.head, label.head.len};
    return label;
}

/* ---- what is asked for */

static bool label_matches(const struct query *query, struct label_view label, uint64_t sequence)
{
    const struct queries *queries = query->queries;
    bool is_access = label.head.kind == KEEPER_STREAM_ACCESS;
    struct label parts;

    if (!(query->kinds & (is_access ? PEER_LOG_ACCESS : PEER_LOG_OUTPUT)))
        return false;
    if (query->unit && query->unit != label.head.unit)
        return false;
    parts = label_parse_or_empty(label.text);
    if ((query->app.len && !slice_eq(query->app, parts.app)) ||
        (query->service.len && !slice_eq(query->service, parts.service)) ||
        (query->instance.len && !slice_eq(query->instance, parts.instance)) ||
        (query->release && query->release != parts.release_number))
        return false;
    for (size_t i = 0; i < queries->removal_count; i++)
        if (sequence < queries->removals[i].sequence &&
            slice_eq(parts.app, slice_from(queries->removals[i].app)))
            return false;
    return true;
}

/* Which labels of the block match. False: none. */
static bool matching_fill(struct query *query, const struct view *view)
{
    bool has_any = false;

    if (query->matching_count == view->label_count && view->label_count > 0 &&
        is_same_block(query->matching_block, view->block))
        return true;
    memset(query->matching, 0, sizeof query->matching);
    for (size_t i = 0; i < view->label_count; i++)
        if (label_matches(query, view_label(view, i), view->first_sequence)) {
            query->matching[i / 8] |= (uint8_t)(1u << (i % 8));
            has_any = true;
        }
    query->matching_block = view->block;
    query->matching_count = has_any ? view->label_count : 0;
    query->prefix_label = -1;
    return has_any;
}

/* 1: matches; 0: does not; ERR_LIMIT: the expression is too expensive. */
static int record_matches(struct query *query, const struct view *view, const struct record *record)
{
    if (record->label >= view->label_count ||
        !(query->matching[record->label / 8] >> (record->label % 8) & 1) ||
        record->time_us < query->since_us || record->time_us > query->until_us)
        return 0;
    if (!query->pattern || (record->flags & RECORD_GAP)) /* a gap may have held a match */
        return 1;
    switch (pattern_search(query->pattern, record->content)) {
    case PATTERN_FOUND:
        return 1;
    case PATTERN_ABSENT:
        return 0;
    case PATTERN_TOO_EXPENSIVE:
        break;
    }
    return ERR_LIMIT;
}

static void fail(struct query *query, int code, const char *text)
{
    query_json_error(query, code, text);
    query->state = QUERY_ENDING;
}

static void fail_expensive(struct query *query)
{
    fail(query, ERR_LIMIT,
         "the expression is too expensive for a line of this log; use a simpler one");
}

/* ---- blocks */

static const struct view *view_open_block(struct query *query, struct view *view)
{
    const struct ingest *ingest = query->queries->ingest;

    view->block = (struct place){ingest->place.segment, ingest->place.block, 0};
    view->is_loaded = true;
    view->base_time_us = ingest->builder.base_time_us;
    view->first_sequence = ingest->builder.first_sequence;
    view->raw = buf_slice(&ingest->builder.raw);
    view->labels = buf_slice(&ingest->builder.labels);
    view->label_count = ingest->builder.label_count;
    memcpy(view->label_at, ingest->builder.label_at, view->label_count * sizeof view->label_at[0]);
    return matching_fill(query, view) ? view : NULL;
}

/* Make the shared view show the stored block with this header, without its body yet. */
static int view_header(struct queries *queries, struct place block,
                       const struct block_header *header, struct slice header_bytes)
{
    struct view *view = &queries->stored;
    struct block_label label;
    struct slice text;
    size_t cursor = 0, before;

    if (view->label_count > 0 && is_same_block(view->block, block))
        return 0;
    buf_clear(&queries->stored_header);
    buf_append_slice(&queries->stored_header, header_bytes);
    if (queries->stored_header.failed)
        return ERR_LIMIT;
    view->block = (struct place){block.segment, block.block, 0};
    view->is_loaded = false;
    view->base_time_us = header->base_time_us;
    view->first_sequence = header->first_sequence;
    view->labels = buf_slice(&queries->stored_header);
    view->label_count = 0;
    before = sizeof *header + header->stream_count * sizeof(struct block_stream);
    while (view->label_count < BLOCK_LABELS_MAX &&
           block_label_next(view->labels, &cursor, &label, &text)) {
        view->label_at[view->label_count++] = (uint32_t)before;
        before = cursor;
    }
    return 0;
}

/* The stored block, unpacked, when it can hold a match. 0 and *ret_view NULL: it cannot.
 * ERR_CORRUPT, ERR_LIMIT. */
static int view_stored(struct query *query, struct segment_reader *reader, struct place block,
                       const struct block_header *header, struct slice header_bytes,
                       const struct view **ret_view)
{
    struct queries *queries = query->queries;
    struct view *view = &queries->stored;
    int code;

    *ret_view = NULL;
    if (header->max_time_us < query->since_us || header->min_time_us > query->until_us)
        return 0;
    code = view_header(queries, block, header, header_bytes);
    if (code || !matching_fill(query, view))
        return code;
    if (!view->is_loaded) {
        code = segment_reader_body(reader, block.block, header, &queries->compressor,
                                   &queries->stored_raw);
        if (code) {
            view->label_count = 0;
            return code;
        }
        view->raw = buf_slice(&queries->stored_raw);
        view->is_loaded = true;
    }
    *ret_view = view;
    return 0;
}

static void damaged(struct segment *segment, const char *what)
{
    if (!segment->is_damaged)
        log_error("%s of log segment %llu is damaged; queries pass over it", what,
                  (unsigned long long)segment->number);
    segment->is_damaged = true;
}

/* ---- backwards: count matches until there are enough */

static int count_block(struct query *query, const struct view *view, size_t raw_end,
                       uint64_t *ret_count)
{
    struct slice raw = slice_sub(view->raw, 0, raw_end);
    struct record record;
    size_t offset = 0;
    uint64_t count = 0;

    while (!record_read(raw, view->base_time_us, &offset, &record)) {
        int matches = record_matches(query, view, &record);
        if (matches < 0)
            return matches;
        count += (uint64_t)matches;
    }
    *ret_count = count;
    return 0;
}

/* Enough found, or nothing left to look at: go forward from `from`. */
static void count_end(struct query *query, struct place from)
{
    query->skip = query->found > query->limit ? query->found - query->limit : 0;
    query->at = from;
    query->state = QUERY_SENDING;
    segment_reader_done(&query->count_reader);
    free(TAKE_PTR(query->candidates));
    query->candidate_count = query->candidate_capacity = 0;
}

static bool candidate_add(struct query *query, uint64_t offset)
{
    if (query->candidate_count == query->candidate_capacity) {
        size_t capacity = MAX(query->candidate_capacity * 2, (size_t)64);
        uint32_t *grown = reallocarray(query->candidates, capacity, sizeof *grown);
        if (!grown)
            return false;
        query->candidates = grown;
        query->candidate_capacity = capacity;
    }
    query->candidates[query->candidate_count++] = (uint32_t)offset;
    return true;
}

/* Read on through the segment's headers, noting the blocks that may hold matches. */
static enum walk count_scan(struct query *query, struct segment *segment, uint64_t deadline_us)
{
    struct block_header header;
    struct slice bytes;
    unsigned i = 0;
    int code;

    if (segment_reader_open(&query->count_reader, query->queries->store, segment)) {
        query->is_scanned = true;
        return WALK_ON;
    }
    for (;;) {
        if (++i % RECORDS_A_LOOK == 0 && clock_monotonic_us() > deadline_us)
            return WALK_PAUSE;
        code = segment_reader_header(&query->count_reader, segment, &query->count_scan_at, &header,
                                     &bytes);
        if (code && code != ERR_NOT_FOUND)
            damaged(segment, "a block header");
        if (code ||
            (segment->number == query->end.segment && query->count_scan_at >= query->end.block))
            break;
        if (header.max_time_us >= query->since_us && header.min_time_us <= query->until_us &&
            !candidate_add(query, query->count_scan_at))
            break;
        query->count_scan_at += header.header_len + header.body_len;
    }
    query->is_scanned = true;
    return WALK_ON;
}

/* Look at the last candidate. */
static enum walk count_candidate(struct query *query, struct segment *segment)
{
    uint64_t offset = query->candidates[--query->candidate_count], count = 0;
    struct place block = {segment->number, offset, 0};
    const struct view *view = NULL;
    struct block_header header;
    struct slice bytes;
    int code = segment_reader_header(&query->count_reader, segment, &offset, &header, &bytes);

    if (!code)
        code = view_stored(query, &query->count_reader, block, &header, bytes, &view);
    if (!code && view) {
        code = count_block(query, view, view->raw.len, &count);
        if (code) {
            fail_expensive(query);
            return WALK_END;
        }
    }
    if (code)
        damaged(segment, "a block");
    query->found += count;
    if (query->found >= query->limit) {
        count_end(query, block);
        return WALK_END;
    }
    return WALK_ON;
}

static enum walk count_step(struct query *query, uint64_t deadline_us)
{
    struct segment_store *store = query->queries->store;
    struct segment *segment = segment_find(store, query->count_segment);

    if (segment && segment->number == query->count_segment) {
        segment_measure(store, segment);
        if (segment->max_time_us >= query->since_us && segment->min_time_us <= query->until_us) {
            if (!query->is_scanned)
                return count_scan(query, segment, deadline_us);
            if (query->candidate_count > 0)
                return count_candidate(query, segment);
        }
    }
    segment = segment_find_before(store, query->count_segment);
    if (!segment) {
        struct segment *first = segment_find(store, 0);
        count_end(query, (struct place){first ? first->number : query->end.segment,
                                        SEGMENT_FIRST_BLOCK, 0});
        return WALK_END;
    }
    query->count_segment = segment->number;
    query->count_scan_at = SEGMENT_FIRST_BLOCK;
    query->candidate_count = 0;
    query->is_scanned = false;
    return WALK_ON;
}

/* ---- forward */

static bool has_end(const struct query *query)
{
    return !query->is_followed;
}

/* Send what matches in the block from the cursor on. */
static enum walk send_block(struct query *query, const struct view *view, uint64_t deadline_us)
{
    size_t raw_end = view->raw.len;
    struct record record;
    unsigned i = 0;

    if (has_end(query) && is_same_block(view->block, query->end))
        raw_end = MIN(raw_end, query->end.record);
    while (query->at.record < raw_end) {
        size_t offset = query->at.record;
        int matches;
        if (query->out.len >= QUERY_OUT_FULL)
            return WALK_PAUSE;
        if (++i % RECORDS_A_LOOK == 0 && clock_monotonic_us() > deadline_us)
            return WALK_PAUSE;
        if (record_read(view->raw, view->base_time_us, &offset, &record))
            break;
        matches = query->is_in_record ? 1 : record_matches(query, view, &record);
        if (matches < 0) {
            fail_expensive(query);
            return WALK_END;
        }
        if (matches && query->skip > 0) {
            query->skip--;
            matches = 0;
        }
        if (matches && !query_json_record(query, view, &record))
            continue; /* the next piece of it */
        query->at.record = offset;
    }
    return WALK_ON;
}

static void next_segment(struct query *query)
{
    query->at = (struct place){query->at.segment + 1, SEGMENT_FIRST_BLOCK, 0};
    query->is_in_record = false;
}

static enum walk send_open_block(struct query *query, uint64_t deadline_us)
{
    static struct view view; /* one thread; too large for the stack of a callback */
    size_t raw_len = query->queries->ingest->builder.raw.len;

    if (view_open_block(query, &view)) {
        enum walk walk = send_block(query, &view, deadline_us);
        if (walk != WALK_ON)
            return walk;
    } else {
        query->at.record = raw_len;
    }
    if (has_end(query))
        query->state = QUERY_ENDING;
    else
        query->state = QUERY_WAITING;
    return WALK_END;
}

static enum walk send_stored_block(struct query *query, struct segment *segment,
                                   uint64_t deadline_us)
{
    struct block_header header;
    struct slice bytes;
    const struct view *view = NULL;
    int code = segment_reader_header(&query->reader, segment, &query->at.block, &header, &bytes);

    if (code) { /* ERR_NOT_FOUND was met before */
        damaged(segment, "a block header");
        next_segment(query);
        return WALK_ON;
    }
    /* A follower that has read it to the end while it was open does not need it again. */
    if (query->at.record < header.raw_len)
        code = view_stored(query, &query->reader, query->at, &header, bytes, &view);
    if (code)
        damaged(segment, "a block");
    if (view) {
        enum walk walk = send_block(query, view, deadline_us);
        if (walk != WALK_ON)
            return walk;
    }
    query->at.block += header.header_len + header.body_len;
    query->at.record = 0;
    query->is_in_record = false;
    return WALK_ON;
}

static enum walk send_step(struct query *query, uint64_t deadline_us)
{
    struct queries *queries = query->queries;
    struct segment *segment = segment_find(queries->store, query->at.segment);
    bool is_last;

    if (has_end(query) && place_compare(query->at, query->end) >= 0) {
        query->state = QUERY_ENDING;
        return WALK_END;
    }
    if (!segment) { /* nothing is stored at all */
        query->state = has_end(query) ? QUERY_ENDING : QUERY_WAITING;
        return WALK_END;
    }
    is_last = segment == &queries->store->segments[queries->store->segment_count - 1];
    if (segment->number != query->at.segment) {
        query->at.segment = segment->number - 1;
        next_segment(query);
    }
    if (!is_last) {
        segment_measure(queries->store, segment);
        if (segment->max_time_us < query->since_us || segment->min_time_us > query->until_us) {
            next_segment(query);
            return WALK_ON;
        }
    }
    if (segment_reader_open(&query->reader, queries->store, segment)) {
        next_segment(query);
        return WALK_ON;
    }
    if (query->at.block == SEGMENT_FIRST_BLOCK) {
        struct block_header header;
        struct slice bytes;
        (void)!segment_reader_header(&query->reader, segment, &query->at.block, &header, &bytes);
        if (query->at.block == SEGMENT_FIRST_BLOCK) {
            damaged(segment, "the beginning");
            next_segment(query);
            return WALK_ON;
        }
    }
    if (is_open_block(queries, query->at))
        return send_open_block(query, deadline_us);
    if (query->at.block < segment->bytes)
        return send_stored_block(query, segment, deadline_us);
    if (!is_last) {
        next_segment(query);
        return WALK_ON;
    }
    query->state = has_end(query) ? QUERY_ENDING : QUERY_WAITING;
    return WALK_END;
}

/* ---- the whole */

bool query_walk(struct query *query, uint64_t deadline_us)
{
    enum walk walk = WALK_ON;

    while (query->state == QUERY_COUNTING || query->state == QUERY_SENDING) {
        if (query->state == QUERY_SENDING && query->out.len >= QUERY_OUT_FULL)
            return true;
        walk = query->state == QUERY_COUNTING ? count_step(query, deadline_us)
                                              : send_step(query, deadline_us);
        if (walk == WALK_PAUSE || clock_monotonic_us() > deadline_us)
            break;
    }
    return query->state == QUERY_COUNTING || query->state == QUERY_SENDING;
}

void query_walk_begin(struct query *query)
{
    struct queries *queries = query->queries;
    const struct ingest *ingest = queries->ingest;
    struct segment_store *store = queries->store;
    struct segment *last = store->segment_count ? &store->segments[store->segment_count - 1] : NULL;
    static struct view view;
    struct segment *first = segment_find(store, 0);

    if (ingest->builder.record_count > 0)
        query->end =
            (struct place){ingest->place.segment, ingest->place.block, ingest->builder.raw.len};
    else if (last)
        query->end = (struct place){last->number, last->bytes, 0};
    query->at = (struct place){first ? first->number : 0, SEGMENT_FIRST_BLOCK, 0};
    query->state = QUERY_SENDING;
    if (query->limit == 0)
        return;
    if (ingest->builder.record_count > 0 && view_open_block(query, &view)) {
        if (count_block(query, &view, view.raw.len, &query->found)) {
            fail_expensive(query);
            return;
        }
        if (query->found >= query->limit) {
            count_end(query, view.block);
            return;
        }
    }
    query->state = QUERY_COUNTING;
    query->count_segment = query->end.segment;
    query->count_scan_at = SEGMENT_FIRST_BLOCK;
}
