#include "logd/ingest.h"

#include <malloc.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/keeper_protocol.h"
#include "base/log.h"
#include "logd/ingest_private.h"
#include "os/file.h"

#define CONSUME_BYTES  ((size_t)256 << 10) /* of one stream in one turn */
#define WORK_STREAMS   4u                  /* with a backlog, in one turn */
#define BUSY_BYTES     ((size_t)32 << 10)  /* half of a default pipe: such a stream does not rest */
#define FLUSH_US       50000u              /* streams that end together are stored together */
#define RETRY_US       1000000u
#define RETAIN_US      60000000u
#define RETAIN_SOON_US 20000u
#define DRAIN_BYTES    ((size_t)256 << 20) /* of one stream while quitting */

/* ---- the open block */

static void block_timer_by(struct ingest *ingest, uint64_t delay_us)
{
    uint64_t deadline = loop_now_us(ingest->loop) + delay_us;

    if (!ingest->block_timer.loop || ingest->block_timer.deadline_us > deadline)
        loop_timer_start(ingest->loop, &ingest->block_timer, deadline);
}

static void sync_timer_by(struct ingest *ingest, uint64_t delay_us)
{
    uint64_t deadline = loop_now_us(ingest->loop) + delay_us;

    if (!ingest->sync_timer.loop || ingest->sync_timer.deadline_us > deadline)
        loop_timer_start(ingest->loop, &ingest->sync_timer, deadline);
}

void ingest_stall(struct ingest *ingest, const struct error *err)
{
    if (!ingest->is_stall_known)
        log_failure(err, "unable to store log records; spool files keep them up to their limit");
    ingest->is_stall_known = ingest->is_stalled = true;
    block_timer_by(ingest, RETRY_US);
}

static struct block_stream table_entry(const struct stream *stream, bool is_stored)
{
    return (struct block_stream){
        .stream = stream->spool.stream,
        .offset = is_stored ? stream->stored : stream->consumed,
        .dropped_lines = is_stored ? stream->stored_told_lines : stream->told_lines,
        .dropped_bytes = is_stored ? stream->stored_told_bytes : stream->told_bytes,
    };
}

/* What every live stream has stored: the checkpoint of a new segment. Streams that are still to be
 * claimed after a restart belong to it, too. */
static size_t checkpoint_fill(const struct ingest *ingest, struct block_stream *table)
{
    size_t cursor = 0, count = 0;
    struct slice key;
    void *value;

    while (map_next(ingest->streams, &cursor, &key, &value))
        table[count++] = table_entry(value, true);
    count += recovery_checkpoint(ingest, table + count);
    return MIN(count, (size_t)BLOCK_STREAMS_MAX);
}

int ingest_begin_block(struct ingest *ingest)
{
    size_t room = map_count(ingest->streams) + recovery_count(ingest) + 1;
    struct block_stream *table = calloc(room, sizeof *table);
    struct error err = {0};
    size_t count;
    int code;

    if (!table)
        return ERR_LIMIT;
    count = checkpoint_fill(ingest, table);
    do
        code =
            segment_store_begin(ingest->store, ingest->wall_us, table, count, &ingest->place, &err);
    while (code == ERR_NO_SPACE && segment_store_free_oldest(ingest->store));
    free(table);
    if (code)
        ingest_stall(ingest, &err);
    else
        block_timer_by(ingest, ingest->settings->block_age_us);
    return code;
}

static void streams_stored(struct ingest *ingest)
{
    ingest->seal_count++;
    while (!list_is_empty(&ingest->touched)) {
        struct stream *stream = container_of(ingest->touched.next, struct stream, touched_node);
        list_remove(&stream->touched_node);
        ingest->unstored_bytes -= stream->consumed - stream->stored;
        stream->stored = stream->consumed;
        stream->stored_told_lines = stream->told_lines;
        stream->stored_told_bytes = stream->told_bytes;
        stream->last_seal = ingest->seal_count;
        if (stream->spool.fd >= 0 && stream->stored - stream->spool.base >=
                                         stream->renewed_at + ingest->settings->spool_renew_bytes) {
            spool_renew(&stream->spool, stream->stored);
            stream->renewed_at = stream->stored - stream->spool.base;
        }
    }
    ingest->touched_count = 0;
}

static int block_write(struct ingest *ingest, struct error *err)
{
    CLEANUP(buf_done) struct buf bytes = BUF_INIT(SIZE_MAX / 4);
    struct block_stream *table = calloc(ingest->touched_count + 1, sizeof *table);
    size_t count = 0;
    int code;

    if (!table)
        return error_set(err, ERR_LIMIT, "out of memory");
    list_each (node, &ingest->touched)
        table[count++] = table_entry(container_of(node, struct stream, touched_node), false);
    code = block_builder_write(&ingest->builder, &ingest->compressor,
                               ingest->settings->compression_level, table, count, &ingest->totals,
                               &bytes);
    free(table);
    if (code)
        return error_set(err, code, "unable to pack a block of log records");
    do
        code = segment_store_append(ingest->store, &ingest->builder, buf_slice(&bytes),
                                    &ingest->totals, err);
    while (code == ERR_NO_SPACE && segment_store_free_oldest(ingest->store));
    return code;
}

int ingest_seal(struct ingest *ingest)
{
    struct error err = {0};
    int code;

    if (ingest->builder.record_count == 0)
        return 0;
    code = block_write(ingest, &err);
    if (code) {
        ingest_stall(ingest, &err);
        return code;
    }
    if (ingest->is_stall_known)
        log_info("log records are stored again");
    ingest->is_stall_known = ingest->is_stalled = false;
    loop_timer_stop(&ingest->block_timer);
    streams_stored(ingest);
    ingest->on_sealed(ingest);
    block_builder_reset(&ingest->builder);
    sync_timer_by(ingest, ingest->settings->sync_us);
    if (!ingest->retain_timer.loop ||
        ingest->store->stored_bytes > ingest->settings->retention_bytes)
        loop_timer_start_in(ingest->loop, &ingest->retain_timer, RETAIN_SOON_US);
    return 0;
}

/* ---- the end of a stream */

static void stream_free(struct stream *stream)
{
    struct ingest *ingest = stream->ingest;

    loop_io_stop(&stream->io);
    fd_close(stream->io.fd);
    loop_timer_stop(&stream->partial_timer);
    if (!list_is_empty(&stream->touched_node))
        ingest->touched_count--;
    list_remove(&stream->touched_node);
    list_remove(&stream->rest_node);
    list_remove(&stream->backlog_node);
    free(stream->marks);
    ingest->unstored_bytes -= stream->spool.end - stream->stored;
    if (stream->is_at_end)
        ingest->ending_count--;
    (void)map_remove(ingest->streams, key_of(&stream->spool.stream));
    spool_close(&stream->spool);
    free(stream);
}

/* Free the stream and tell its end when everything is durable; else see to it that it will be. */
void stream_check_done(struct stream *stream)
{
    struct ingest *ingest = stream->ingest;
    uint64_t id = stream->spool.stream;
    bool is_orphan = stream->is_orphan;

    if (!stream->is_at_end || stream->consumed < stream->spool.end || stream_has_gap(stream))
        return;
    if (!list_is_empty(&stream->touched_node)) {
        block_timer_by(ingest, FLUSH_US);
        return;
    }
    if (stream->last_seal > ingest->synced_seals) {
        sync_timer_by(ingest, FLUSH_US);
        return;
    }
    spool_discard(&stream->spool);
    stream_free(stream);
    if (!is_orphan)
        ingest->on_done(ingest, id);
}

static void ends_check(struct ingest *ingest)
{
    size_t cursor = 0;
    struct slice key;
    void *value;

    while (ingest->ending_count > 0 && map_next(ingest->streams, &cursor, &key, &value))
        stream_check_done(value);
}

/* ---- when a stream is looked at */

void ingest_work_timer_start(struct ingest *ingest)
{
    bool has_work = !list_is_empty(&ingest->backlog) ||
                    (!list_is_empty(&ingest->recovering) && !ingest->recovered);

    if (has_work && !ingest->work_timer.loop && !ingest->is_stalled)
        loop_timer_start_in(ingest->loop, &ingest->work_timer, 0);
}

void stream_work_soon(struct stream *stream)
{
    struct ingest *ingest = stream->ingest;

    if (list_is_empty(&stream->backlog_node))
        list_push_back(&ingest->backlog, &stream->backlog_node);
    ingest_work_timer_start(ingest);
}

static void stream_rest(struct stream *stream)
{
    struct ingest *ingest = stream->ingest;

    loop_io_set(&stream->io, 0);
    if (list_is_empty(&stream->rest_node))
        list_push_back(&ingest->resting, &stream->rest_node);
    if (!ingest->rest_timer.loop)
        loop_timer_start_in(ingest->loop, &ingest->rest_timer, ingest->settings->rest_us);
}

static void stream_pump(struct stream *stream)
{
    struct ingest *ingest = stream->ingest;
    size_t taken = stream_fill(stream);

    if (taken > 0) {
        stream->active_us = ingest->active_us = loop_now_us(ingest->loop);
        if (!ingest->idle_timer.loop)
            loop_timer_start_in(ingest->loop, &ingest->idle_timer, ingest->settings->idle_us);
    }
    if (list_is_empty(&stream->backlog_node) && stream_consume(stream, CONSUME_BYTES))
        stream_work_soon(stream);
    if (stream->is_at_end) {
        list_remove(&stream->rest_node);
        stream_check_done(stream);
    } else if (taken == 0 || taken >= BUSY_BYTES || ingest->is_draining) {
        list_remove(&stream->rest_node);
        loop_io_set(&stream->io, LOOP_READ);
    } else {
        stream_rest(stream);
    }
}

static void batch_begin(struct ingest *ingest)
{
    ingest->wall_us = clock_wall_us();
}

static void batch_end(struct ingest *ingest)
{
    if (ingest->has_news) {
        ingest->has_news = false;
        ingest->on_records(ingest);
    }
}

static void on_stream_event(struct loop_io *io, unsigned events)
{
    struct stream *stream = container_of(io, struct stream, io);
    struct ingest *ingest = stream->ingest;

    (void)events; /* a resting stream hears of its end alone, which is a reason to look, too */
    batch_begin(ingest);
    stream_pump(stream);
    batch_end(ingest);
}

static void on_rest_timer(struct loop_timer *timer)
{
    struct ingest *ingest = container_of(timer, struct ingest, rest_timer);
    struct list batch;

    batch_begin(ingest);
    list_init(&batch);
    while (
        !list_is_empty(&ingest->resting)) { /* those that rest again must wait for the next one */
        struct list *node = ingest->resting.next;
        list_remove(node);
        list_push_back(&batch, node);
    }
    while (!list_is_empty(&batch)) {
        struct list *node = batch.next;
        list_remove(node);
        stream_pump(container_of(node, struct stream, rest_node));
    }
    batch_end(ingest);
}

static void on_work_timer(struct loop_timer *timer)
{
    struct ingest *ingest = container_of(timer, struct ingest, work_timer);

    batch_begin(ingest);
    recovery_run(ingest);
    for (unsigned i = 0; i < WORK_STREAMS; i++) {
        struct stream *stream;
        if (list_is_empty(&ingest->backlog) || ingest->is_stalled)
            break;
        stream = container_of(ingest->backlog.next, struct stream, backlog_node);
        list_remove(&stream->backlog_node);
        if (stream_consume(stream, CONSUME_BYTES))
            list_push_back(&ingest->backlog, &stream->backlog_node);
        else
            stream_check_done(stream);
    }
    ingest_work_timer_start(ingest);
    batch_end(ingest);
}

static void on_partial_timer(struct loop_timer *timer)
{
    struct stream *stream = container_of(timer, struct stream, partial_timer);
    struct ingest *ingest = stream->ingest;

    batch_begin(ingest);
    stream->is_flushing = true;
    if (stream_consume(stream, CONSUME_BYTES))
        stream_work_soon(stream);
    else
        stream_check_done(stream);
    batch_end(ingest);
}

/* The open block is old enough, a stream has ended, or the store refused blocks a moment ago. */
static void on_block_timer(struct loop_timer *timer)
{
    struct ingest *ingest = container_of(timer, struct ingest, block_timer);

    batch_begin(ingest);
    if (ingest_seal(ingest))
        return;
    ingest->is_stalled = false;
    if (ingest->ending_count > 0)
        sync_timer_by(ingest, 0);
    ingest_work_timer_start(ingest);
}

static void on_sync_timer(struct loop_timer *timer)
{
    struct ingest *ingest = container_of(timer, struct ingest, sync_timer);
    int fds[SEGMENT_SYNC_MAX];
    size_t count;

    if (ingest->syncer.is_busy) {
        sync_timer_by(ingest, FLUSH_US);
        return;
    }
    ingest->syncing_seals = ingest->seal_count;
    count = segment_store_take_unsynced(ingest->store, fds);
    if (count > 0) {
        syncer_request(&ingest->syncer, fds, count);
        return;
    }
    ingest->synced_seals = ingest->syncing_seals;
    ends_check(ingest);
}

static void on_synced(struct syncer *syncer, bool is_good)
{
    struct ingest *ingest = container_of(syncer, struct ingest, syncer);

    if (!is_good)
        log_error("unable to sync log segments to the disk; "
                  "the last seconds of output could be lost if the machine stops now");
    ingest->synced_seals = ingest->syncing_seals;
    ends_check(ingest);
}

static void on_retain_timer(struct loop_timer *timer)
{
    struct ingest *ingest = container_of(timer, struct ingest, retain_timer);
    bool has_more = segment_store_retain(ingest->store, clock_wall_us());

    loop_timer_start_in(ingest->loop, timer, has_more ? RETAIN_SOON_US : RETAIN_US);
}

/* Give back what a busy time needed: spool files of quiet streams, buffers, compressors. */
static void on_idle_timer(struct loop_timer *timer)
{
    struct ingest *ingest = container_of(timer, struct ingest, idle_timer);
    uint64_t now = loop_now_us(ingest->loop);
    bool has_files = false, is_idle;
    size_t cursor = 0;
    struct slice key;
    void *value;

    while (map_next(ingest->streams, &cursor, &key, &value)) {
        struct stream *stream = value;
        if (stream->spool.fd < 0)
            continue;
        if (stream->stored == stream->spool.end && stream->last_seal <= ingest->synced_seals &&
            !stream_has_gap(stream) && now - stream->active_us >= ingest->settings->idle_us) {
            spool_discard(&stream->spool);
            stream->renewed_at = 0;
        } else {
            has_files = true;
        }
    }
    is_idle = ingest->builder.record_count == 0 && list_is_empty(&ingest->backlog) &&
              now - ingest->active_us >= ingest->settings->idle_us;
    if (is_idle) {
        block_builder_trim(&ingest->builder);
        compressor_release(&ingest->compressor);
        free(TAKE_PTR(ingest->read_buffer));
        (void)malloc_trim(0);
    }
    if (has_files || !is_idle)
        loop_timer_start_in(ingest->loop, timer, ingest->settings->idle_us);
}

/* ---- beginning */

void ingest_init(struct ingest *ingest)
{
    memset(ingest, 0, sizeof *ingest);
    ingest->streams = map_new(BLOCK_STREAMS_MAX);
    recovery_init(ingest);
    list_init(&ingest->touched);
    list_init(&ingest->resting);
    list_init(&ingest->backlog);
    list_init(&ingest->recovering);
    ingest->syncer.io.fd = -1;
    ingest->seal_count = 1;
}

int ingest_start(struct ingest *ingest, struct loop *loop, const struct logd_settings *settings,
                 struct segment_store *store, const char *spool_directory, struct error *err)
{
    int code;

    if (strlen(spool_directory) >= sizeof ingest->spool_directory)
        return error_set(err, ERR_LIMIT, "the path of the spool folder is too long");
    memcpy(ingest->spool_directory, spool_directory, strlen(spool_directory) + 1);
    ingest->loop = loop;
    ingest->settings = settings;
    ingest->store = store;
    ingest->totals = store->totals;
    block_builder_init(&ingest->builder, store->next_sequence);
    ingest->block_timer.on_timer = on_block_timer;
    ingest->rest_timer.on_timer = on_rest_timer;
    ingest->work_timer.on_timer = on_work_timer;
    ingest->sync_timer.on_timer = on_sync_timer;
    ingest->idle_timer.on_timer = on_idle_timer;
    ingest->retain_timer.on_timer = on_retain_timer;
    ingest->syncer.on_synced = on_synced;
    code = directory_make(ingest->spool_directory, 0750, err);
    if (!code)
        code = recovery_scan(ingest, err);
    if (!code)
        code = syncer_start(&ingest->syncer, loop, err);
    if (!code)
        loop_timer_start_in(loop, &ingest->retain_timer, RETAIN_US);
    return code;
}

int ingest_stream_new(struct ingest *ingest, uint64_t id, uint64_t unit, uint32_t kind,
                      const char *label, struct stream **ret_stream)
{
    struct stream *stream = calloc(1, sizeof *stream);

    if (!stream || map_put(ingest->streams, key_of(&id), stream)) {
        free(stream);
        return ERR_LIMIT;
    }
    stream->ingest = ingest;
    stream->io.fd = -1;
    stream->io.on_event = on_stream_event;
    stream->partial_timer.on_timer = on_partial_timer;
    list_init(&stream->touched_node);
    list_init(&stream->rest_node);
    list_init(&stream->backlog_node);
    spool_init(&stream->spool, ingest->spool_directory, id, unit, kind, label);
    recovery_claim(stream);
    if (stream->spool.fd >= 0 && !ingest->idle_timer.loop)
        loop_timer_start_in(ingest->loop, &ingest->idle_timer, ingest->settings->idle_us);
    if (stream->marks)
        list_push_back(&ingest->recovering, &stream->backlog_node);
    else if (stream->consumed < stream->spool.end || stream_has_gap(stream))
        stream_work_soon(stream);
    *ret_stream = stream;
    return 0;
}

int ingest_add(struct ingest *ingest, uint64_t id, uint64_t unit, uint32_t kind, const char *label,
               int fd, struct error *err)
{
    struct stream *stream = map_get(ingest->streams, key_of(&id));
    struct label parts;
    int code;

    if (stream) {
        log_warning("log stream %llu was handed over twice", (unsigned long long)id);
        fd_close(fd);
        return 0;
    }
    if (label_parse(slice_from(label), &parts)) {
        if (label[0])
            log_warning("log stream %llu has an unreadable label", (unsigned long long)id);
        label = "\x1f\x1f\x1f\x1f";
    }
    code = ingest_stream_new(ingest, id, unit, kind, label, &stream);
    if (code) {
        fd_close(fd);
        return error_set(err, code, "too many log streams");
    }
    stream->io.fd = fd;
    code = loop_io_start(ingest->loop, &stream->io, LOOP_READ, err);
    if (code)
        stream_free(stream); /* the spool file stays for the next start */
    return code;
}

/* ---- end */

size_t ingest_open_count(const struct ingest *ingest)
{
    return map_count(ingest->streams) - ingest->ending_count;
}

static void drain(struct stream *stream)
{
    size_t taken = 0, n;

    do {
        n = stream_fill(stream);
        taken += n;
        while (stream_consume(stream, CONSUME_BYTES) && !stream->ingest->is_stalled)
            ;
    } while (n > 0 && taken < DRAIN_BYTES);
}

void ingest_finish(struct ingest *ingest)
{
    int fds[SEGMENT_SYNC_MAX];
    size_t cursor = 0, count;
    struct slice key;
    void *value;

    batch_begin(ingest);
    while (map_next(ingest->streams, &cursor, &key, &value))
        drain(value);
    batch_end(ingest);
    if (ingest_seal(ingest))
        return;
    syncer_stop(&ingest->syncer);
    count = segment_store_take_unsynced(ingest->store, fds);
    for (size_t i = 0; i < count; i++) {
        (void)fsync(fds[i]);
        fd_close(fds[i]);
    }
    ingest->synced_seals = ingest->seal_count;
    ends_check(ingest);
}

void ingest_stop(struct ingest *ingest)
{
    size_t cursor = 0;
    struct slice key;
    void *value;

    while (map_next(ingest->streams, &cursor, &key, &value))
        stream_free(value);
    map_freep(&ingest->streams);
    recovery_done(ingest);
    if (ingest->loop) {
        syncer_stop(&ingest->syncer);
        loop_timer_stop(&ingest->block_timer);
        loop_timer_stop(&ingest->rest_timer);
        loop_timer_stop(&ingest->work_timer);
        loop_timer_stop(&ingest->sync_timer);
        loop_timer_stop(&ingest->idle_timer);
        loop_timer_stop(&ingest->retain_timer);
    }
    block_builder_done(&ingest->builder);
    compressor_release(&ingest->compressor);
    free(TAKE_PTR(ingest->read_buffer));
}
