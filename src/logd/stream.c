/* stream.c - one stream: pipe to spool, spool to lines, lines to records. */
#include <unistd.h>

#include "base/keeper_protocol.h"
#include "base/log.h"
#include "base/peer_protocol.h"
#include "logd/ingest_private.h"
#include "os/file.h"

#define FILL_BYTES   ((size_t)256 << 10)
#define DROP_BYTES   ((size_t)64 << 10)
#define READ_BYTES   ((size_t)128 << 10)
#define GAP_EVERY_US 1000000u

/* ---- pipe to spool */

/* Begin or end dropping: at the ceiling, and again below half of it, so that gaps are few and long.
 */
static void judge_room(struct stream *stream)
{
    const struct logd_settings *settings = stream->ingest->settings;
    uint64_t own = stream->spool.end - stream->stored, all = stream->ingest->unstored_bytes;

    if (own >= settings->spool_stream_bytes || all >= settings->spool_total_bytes)
        stream->is_dropping = true;
    else if (own <= settings->spool_stream_bytes / 2 && all <= settings->spool_total_bytes / 2)
        stream->is_dropping = false;
}

static int64_t drop(struct stream *stream)
{
    if (!stream_has_gap(stream))
        stream->spool.gap_at = stream->spool.end;
    return spool_drop(&stream->spool, stream->io.fd, DROP_BYTES);
}

/* Give the stored part of the spool file back to the disk. */
static bool release_stored(struct stream *stream)
{
    struct spool *spool = &stream->spool;

    if (spool->fd < 0 || stream->stored == spool->base)
        return false;
    if (stream->stored == spool->end && !stream_has_gap(stream))
        spool_discard(spool);
    else
        spool_renew(spool, stream->stored);
    stream->renewed_at = stream->stored - spool->base;
    return true;
}

static int64_t take(struct stream *stream, size_t limit)
{
    struct ingest *ingest = stream->ingest;
    int64_t n = spool_take(&stream->spool, stream->io.fd, limit);

    if (n == ERR_NO_SPACE && release_stored(stream))
        n = spool_take(&stream->spool, stream->io.fd, limit);
    if (n == ERR_NO_SPACE && segment_store_free_oldest(ingest->store)) {
        log_warning("the disk is full: the oldest log segment was removed");
        n = spool_take(&stream->spool, stream->io.fd, limit);
    }
    if (n == ERR_NO_SPACE || n == ERR_IO) {
        if (!ingest->is_disk_failing)
            log_error("unable to keep log output: %s; it is dropped and counted",
                      error_text((int)n));
        ingest->is_disk_failing = true;
        return drop(stream);
    }
    if (n > 0) {
        ingest->is_disk_failing = false;
        ingest->unstored_bytes += (uint64_t)n;
    }
    return n;
}

size_t stream_fill(struct stream *stream)
{
    size_t taken = 0;

    while (!stream->is_at_end && taken < FILL_BYTES) {
        size_t wanted;
        int64_t n;
        judge_room(stream);
        wanted = stream->is_dropping ? DROP_BYTES : FILL_BYTES - taken;
        n = stream->is_dropping ? drop(stream) : take(stream, wanted);
        if (n == ERR_UNAVAILABLE)
            break;
        if (n <= 0) {
            if (n < 0)
                log_error("unable to read log stream %llu: %s",
                          (unsigned long long)stream->spool.stream, error_text((int)n));
            loop_io_stop(&stream->io);
            fd_close(TAKE_FD(stream->io.fd));
            stream->is_at_end = true;
            stream->ingest->ending_count++;
            break;
        }
        taken += (size_t)n;
        if ((size_t)n < wanted) /* the pipe is empty: no need to ask again */
            break;
    }
    if (taken > 0)
        spool_mark(&stream->spool, stream->ingest->wall_us);
    return taken;
}

/* ---- lines to records */

static int label_of_stream(struct stream *stream, uint16_t *ret_label)
{
    struct block_builder *builder = &stream->ingest->builder;
    int code;

    if (stream->label_generation == builder->generation) {
        *ret_label = stream->label_index;
        return 0;
    }
    code = block_builder_label(builder, stream->spool.unit, (uint8_t)stream->spool.kind,
                               slice_from(stream->spool.label), &stream->label_index);
    if (code)
        return code;
    stream->label_generation = builder->generation;
    *ret_label = stream->label_index;
    return 0;
}

/* An access line brings its own label. One without a good label keeps all its text, under the
 * stream's. */
static int label_of_access(struct stream *stream, struct slice *line, uint16_t *ret_label)
{
    struct block_builder *builder = &stream->ingest->builder;
    ptrdiff_t end = slice_find_byte(*line, ACCESS_SEPARATOR);
    struct slice text = slice_sub(*line, 0, end < 0 ? 0 : (size_t)end);
    struct label label;
    int code;

    if (end < 0)
        return label_of_stream(stream, ret_label);
    if (stream->access_generation != builder->generation ||
        !slice_eq(text, (struct slice){stream->access_label, stream->access_label_len})) {
        if (label_parse(text, &label))
            return label_of_stream(stream, ret_label);
        code = block_builder_label(builder, 0, KEEPER_STREAM_ACCESS, text, &stream->access_index);
        if (code)
            return code;
        stream->access_generation = builder->generation;
        memcpy(stream->access_label, text.ptr, text.len);
        stream->access_label_len = text.len;
    }
    *line = slice_sub(*line, (size_t)end + 1, line->len);
    *ret_label = stream->access_index;
    return 0;
}

uint64_t stream_time_us(struct stream *stream)
{
    if (LIKELY(stream->consumed >= stream->recovered_end))
        return stream->ingest->wall_us;
    while (stream->mark_at < stream->mark_count &&
           stream->marks[stream->mark_at].end <= stream->consumed)
        stream->mark_at++;
    return stream->mark_at < stream->mark_count ? stream->marks[stream->mark_at].time_us
                                                : stream->recovered_us;
}

static int builder_take(struct stream *stream, uint16_t flags, struct slice content)
{
    struct block_builder *builder = &stream->ingest->builder;
    uint64_t time_us =
        stream->consumed < stream->recovered_end ? stream->recovered_us : stream->ingest->wall_us;
    uint16_t label;
    int code;

    if (stream->spool.kind == KEEPER_STREAM_ACCESS && content.len == 0 && !(flags & RECORD_GAP))
        return 0; /* the newline with which an edge begins */
    if (stream->spool.kind == KEEPER_STREAM_ACCESS && !(flags & RECORD_GAP))
        code = label_of_access(stream, &content, &label);
    else
        code = label_of_stream(stream, &label);
    return code ? code : block_builder_add(builder, label, flags, time_us, content);
}

/* One record for the next `taken` bytes of the stream. When it fails nothing of them is consumed.
 */
static int record_add(struct stream *stream, uint16_t flags, struct slice content, size_t taken)
{
    struct ingest *ingest = stream->ingest;
    int code = 0;

    if (ingest->builder.record_count == 0)
        code = ingest_begin_block(ingest);
    if (!code)
        code = builder_take(stream, flags, content);
    if (code == ERR_LIMIT && ingest->builder.record_count > 0) {
        code = ingest_seal(ingest);
        if (!code)
            code = ingest_begin_block(ingest);
        if (!code)
            code = builder_take(stream, flags, content);
    }
    if (code) {
        if (!ingest->is_stalled) {
            struct error err = {0};
            (void)error_set(&err, code, "unable to make a record: %s", error_text(code));
            ingest_stall(ingest, &err);
        }
        return code;
    }
    stream->consumed += taken;
    if (list_is_empty(&stream->touched_node)) {
        list_push_back(&ingest->touched, &stream->touched_node);
        ingest->touched_count++;
    }
    if (!(flags & RECORD_GAP)) {
        ingest->totals.lines++;
        ingest->totals.bytes += content.len;
    }
    ingest->has_news = true;
    return 0;
}

static int gap_tell(struct stream *stream)
{
    struct record_gap gap = {stream->spool.dropped_lines - stream->told_lines,
                             stream->spool.dropped_bytes - stream->told_bytes};
    int code = record_add(stream, RECORD_GAP, (struct slice){(const char *)&gap, sizeof gap}, 0);

    if (code)
        return code;
    stream->told_lines = stream->spool.dropped_lines;
    stream->told_bytes = stream->spool.dropped_bytes;
    stream->told_at_us = loop_now_us(stream->ingest->loop);
    stream->ingest->totals.dropped_lines += gap.dropped_lines;
    stream->ingest->totals.dropped_bytes += gap.dropped_bytes;
    return 0;
}

/* ---- spool to lines */

/* Does a line end in the part that was not looked at yet? Remembers how far it looked. */
static bool find_line_end(struct stream *stream, uint64_t limit)
{
    char *buffer = stream->ingest->read_buffer;

    while (stream->scanned < limit) {
        size_t len = MIN((size_t)(limit - stream->scanned), READ_BYTES);
        if (spool_read(&stream->spool, stream->scanned, buffer, len))
            return true; /* the caller meets the same failure and reports it */
        if (memchr(buffer, '\n', len))
            return true;
        stream->scanned += len;
    }
    return false;
}

/* The spool file cannot be read: a broken disk. What it held is lost and told so. */
static void skip_unreadable(struct stream *stream, uint64_t limit)
{
    log_error("unable to read back %llu bytes of log stream %llu; they are lost",
              (unsigned long long)(limit - stream->consumed),
              (unsigned long long)stream->spool.stream);
    if (!stream_has_gap(stream))
        stream->spool.gap_at = limit;
    stream->spool.dropped_bytes += limit - stream->consumed;
    stream->consumed = limit;
}

/* Records of the lines in `bytes`, which stand at the consumed offset. Returns how many bytes are
 * consumed. */
static size_t add_lines(struct stream *stream, struct slice bytes)
{
    size_t at = 0;
    const char *end;

    while (at < bytes.len && (end = memchr(bytes.ptr + at, '\n', bytes.len - at))) {
        size_t len = (size_t)(end - bytes.ptr) - at;
        if (record_add(stream, 0, slice_sub(bytes, at, len), len + 1))
            break;
        at += len + 1;
        if (stream->ingest->builder.raw.len >= stream->ingest->settings->block_bytes &&
            ingest_seal(stream->ingest))
            break;
    }
    return at;
}

/* Consume some bytes below `limit`. With is_final what has no line end up to there is a record,
 * too. Returns the bytes consumed; 0: a partial line that may yet be completed, or stalled. */
static size_t consume_some(struct stream *stream, uint64_t limit, size_t quota, bool is_final)
{
    struct ingest *ingest = stream->ingest;
    size_t available = (size_t)MIN(limit - stream->consumed, (uint64_t)LOGD_LINE_MAX), len, done;
    uint16_t flags = RECORD_CONTINUED;

    len = MIN(available, READ_BYTES);
    if (stream->marks) /* in order with other streams: not far beyond the present mark */
        len = MIN(len, quota);
    if (stream->scanned > stream->consumed) {
        if (!find_line_end(stream, limit) && !is_final && available < LOGD_LINE_MAX)
            return 0;
        len = available;
    }
    for (;;) {
        if (spool_read(&stream->spool, stream->consumed, ingest->read_buffer, len)) {
            skip_unreadable(stream, limit);
            return len;
        }
        done = add_lines(stream, (struct slice){ingest->read_buffer, len});
        if (done > 0 || ingest->is_stalled || len == available)
            break;
        len = available; /* a long line */
    }
    if (done > 0 || ingest->is_stalled)
        return done;
    if (len < LOGD_LINE_MAX) { /* all there is, and no line end */
        stream->scanned = limit;
        if (!is_final)
            return 0;
        flags = stream->is_at_end && limit == stream->spool.end ? 0 : RECORD_PARTIAL;
    }
    return record_add(stream, flags, (struct slice){ingest->read_buffer, len}, len) ? 0 : len;
}

static void wait_for_more(struct stream *stream, uint64_t delay_us)
{
    if (!stream->partial_timer.loop)
        loop_timer_start_in(stream->ingest->loop, &stream->partial_timer, delay_us);
}

/* True when the gap record may be written now: at once when output follows it, else at most one a
 * second. */
static bool gap_is_due(struct stream *stream)
{
    return stream->is_at_end || stream->spool.end > stream->spool.gap_at || stream->is_flushing ||
           loop_now_us(stream->ingest->loop) - stream->told_at_us >= GAP_EVERY_US;
}

bool stream_consume(struct stream *stream, size_t quota)
{
    struct ingest *ingest = stream->ingest;
    size_t n;

    if (!ingest->read_buffer && !(ingest->read_buffer = malloc(LOGD_LINE_MAX)))
        return true;
    for (;;) {
        bool has_gap = stream_has_gap(stream);
        uint64_t limit = stream->spool.end;
        if (has_gap)
            limit = MAX(stream->consumed, MIN(limit, stream->spool.gap_at));
        if (ingest->is_stalled)
            return has_gap || stream->consumed < stream->spool.end;
        if (stream->consumed == limit && !has_gap)
            break;
        if (stream->consumed == limit) {
            if (!gap_is_due(stream)) {
                wait_for_more(stream, GAP_EVERY_US);
                return false;
            }
            if (gap_tell(stream))
                return true;
            continue;
        }
        if (quota == 0)
            return true;
        n = consume_some(stream, limit, quota, has_gap || stream->is_at_end || stream->is_flushing);
        if (n == 0 && !ingest->is_stalled) {
            wait_for_more(stream, ingest->settings->partial_us);
            return false;
        }
        quota -= MIN(n, quota);
    }
    stream->is_flushing = false;
    loop_timer_stop(&stream->partial_timer);
    return false;
}
