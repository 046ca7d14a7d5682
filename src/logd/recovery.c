/* recovery.c - going on where the last process stopped.
 *
 * The last segment tells how far each stream is stored, the spool files hold what came after that.
 * A stream that the keeper hands over claims what belongs to it; what nobody claims is of a
 * platform that is gone, and is stored under the label in its spool. Lines of several streams are
 * stored in the order of their time.
 */
#include "base/clock.h"
#include "base/keeper_protocol.h"
#include "logd/ingest_private.h"

#define RECOVERY_BYTES ((size_t)1 << 20) /* in one turn */

struct recovered {
    struct block_stream stored;
    struct spool spool; /* fd -1: none */
    uint64_t written_us;
};

static struct recovered *recovered_get(struct ingest *ingest, uint64_t id)
{
    struct recovered *recovered = map_get(ingest->recovered, key_of(&id));

    if (recovered)
        return recovered;
    recovered = calloc(1, sizeof *recovered);
    if (!recovered)
        return NULL;
    recovered->spool.fd = -1;
    recovered->stored.stream = id;
    if (map_put(ingest->recovered, key_of(&id), recovered)) {
        free(recovered);
        return NULL;
    }
    return recovered;
}

void recovery_init(struct ingest *ingest)
{
    ingest->recovered = map_new((size_t)BLOCK_STREAMS_MAX * 64);
}

void recovery_done(struct ingest *ingest)
{
    size_t cursor = 0;
    struct slice key;
    void *value;

    while (ingest->recovered && map_next(ingest->recovered, &cursor, &key, &value)) {
        spool_close(&((struct recovered *)value)->spool);
        free(value);
    }
    map_freep(&ingest->recovered);
}

size_t recovery_count(const struct ingest *ingest)
{
    return ingest->recovered ? map_count(ingest->recovered) : 0;
}

size_t recovery_checkpoint(const struct ingest *ingest, struct block_stream *table)
{
    size_t cursor = 0, count = 0;
    struct slice key;
    void *value;

    while (ingest->recovered && map_next(ingest->recovered, &cursor, &key, &value))
        table[count++] = ((struct recovered *)value)->stored;
    return count;
}

void ingest_recover_stream(struct ingest *ingest, const struct block_stream *stream)
{
    struct recovered *recovered = recovered_get(ingest, stream->stream);

    if (recovered)
        recovered->stored = *stream;
}

struct spool_recovery {
    struct spool_scan scan;
    struct ingest *ingest;
};

static void on_spool(struct spool_scan *scan, struct spool *spool, uint64_t written_us)
{
    struct spool_recovery *recovery = container_of(scan, struct spool_recovery, scan);
    struct recovered *recovered = recovered_get(recovery->ingest, spool->stream);

    if (!recovered)
        return;
    recovered->spool = *spool;
    recovered->written_us = written_us;
    spool->fd = -1;
}

int recovery_scan(struct ingest *ingest, struct error *err)
{
    struct spool_recovery recovery = {.scan.on_spool = on_spool, .ingest = ingest};

    return spool_scan(ingest->spool_directory, &recovery.scan, err);
}

/* Go on where the last run stopped: behind what is stored, with what the spool file still holds. */
static void resume(struct stream *stream, struct recovered *recovered)
{
    struct spool *spool = &stream->spool;
    uint64_t stored = recovered->stored.offset;

    if (recovered->spool.fd >= 0) {
        recovered->spool.unit = spool->unit;
        *spool = recovered->spool;
        recovered->spool.fd = -1;
    }
    if (stored > spool->end || spool->fd < 0) {
        spool_discard(spool);
        spool->base = spool->end = stored;
    }
    stream->stored = stream->consumed = MAX(stored, spool->base);
    stream->told_lines = stream->stored_told_lines = recovered->stored.dropped_lines;
    stream->told_bytes = stream->stored_told_bytes = recovered->stored.dropped_bytes;
    if (spool->dropped_bytes < stream->told_bytes) {
        spool->dropped_bytes = stream->told_bytes;
        spool->dropped_lines = stream->told_lines;
    }
    stream->recovered_end = spool->end;
    stream->recovered_us = MIN(recovered->written_us, clock_wall_us());
    if (spool->fd >= 0 && stream->stored < spool->end &&
        (stream->marks = calloc(SPOOL_MARKS_MAX, sizeof *stream->marks)))
        stream->mark_count = spool_marks_read(spool, stream->marks);
    stream->ingest->unstored_bytes += spool->end - stream->stored;
    if (stream->stored > 0)
        stream->last_seal = stream->ingest->seal_count;
}

void recovery_claim(struct stream *stream)
{
    struct ingest *ingest = stream->ingest;
    struct recovered *recovered =
        ingest->recovered ? map_remove(ingest->recovered, key_of(&stream->spool.stream)) : NULL;

    if (recovered)
        resume(stream, recovered);
    free(recovered);
}

void ingest_table_end(struct ingest *ingest)
{
    struct map *recovered = ingest->recovered;
    size_t cursor = 0, orphans = 0;
    struct slice key;
    void *value;

    if (!recovered)
        return;
    while (map_next(recovered, &cursor, &key, &value)) {
        struct recovered *left = value;
        struct stream *stream;
        if (left->spool.fd < 0) {
            (void)map_remove(recovered, key);
            free(left);
            continue;
        }
        /* The keeper's own must find room at any time; the rest waits for the next start. */
        if (orphans == BLOCK_STREAMS_MAX - KEEPER_STREAMS_MAX)
            break;
        if (ingest_stream_new(ingest, left->spool.stream, left->spool.unit, left->spool.kind,
                              left->spool.label, &stream))
            continue;
        orphans++;
        stream->is_at_end = stream->is_orphan = true;
        ingest->ending_count++;
        stream_work_soon(stream);
    }
    recovery_done(ingest);
    ingest_work_timer_start(ingest);
}

/* ---- the lines, by time across the streams, as they came */

static void recovery_end(struct stream *stream, bool has_more)
{
    free(TAKE_PTR(stream->marks));
    stream->mark_count = 0;
    list_remove(&stream->backlog_node);
    if (has_more)
        stream_work_soon(stream);
    else
        stream_check_done(stream);
}

static struct stream *recovery_pick(struct ingest *ingest)
{
    struct stream *oldest = NULL;

    list_each (node, &ingest->recovering) {
        struct stream *stream = container_of(node, struct stream, backlog_node);
        if (!oldest || stream_time_us(stream) < stream_time_us(oldest))
            oldest = stream;
    }
    return oldest;
}

/* One stretch of the stream whose lines are the oldest. Returns the bytes. */
static size_t recovery_step(struct ingest *ingest)
{
    struct stream *stream = recovery_pick(ingest);
    uint64_t from = stream->consumed, end = stream->recovered_end;
    bool has_more;

    if (stream->mark_at < stream->mark_count)
        end = MIN(end, stream->marks[stream->mark_at].end);
    has_more = stream_consume(stream, MAX(end, from + 1) - from);
    if (ingest->is_stalled)
        return 0;
    from = stream->consumed - from;
    if (!has_more || from == 0 || stream->consumed >= stream->recovered_end)
        recovery_end(stream, has_more);
    return from;
}

void recovery_run(struct ingest *ingest)
{
    size_t bytes = 0;

    while (!list_is_empty(&ingest->recovering) && !ingest->recovered && !ingest->is_stalled &&
           bytes < RECOVERY_BYTES)
        bytes += recovery_step(ingest) + 1;
}
