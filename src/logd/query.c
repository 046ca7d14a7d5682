#include "logd/query.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "logd/query_private.h"
#include "os/file.h"

#define ANSWER_PIPE_BYTES (256 << 10)
#define REMOVALS_MAX      4096u
#define REMOVALS_FILE_MAX (4u << 20)

/* ---- the answer */

static void query_free(struct query *query)
{
    loop_io_stop(&query->io);
    fd_close(query->io.fd);
    list_remove(&query->node);
    query->queries->count--;
    segment_reader_done(&query->reader);
    segment_reader_done(&query->count_reader);
    pattern_free(query->pattern);
    buf_done(&query->out);
    buf_done(&query->prefix);
    free(query->candidates);
    free(query->strings);
    free(query);
}

/* Give the reader what there is. False: the query is over and freed. */
static bool query_flush(struct query *query)
{
    size_t sent = 0;

    query->is_blocked = false;
    while (sent < query->out.len) {
        ssize_t n = write(query->io.fd, query->out.ptr + sent, query->out.len - sent);
        if (n >= 0) {
            sent += (size_t)n;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN) {
            query->is_blocked = true;
            break;
        }
        query_free(query); /* nobody reads any more */
        return false;
    }
    buf_consume(&query->out, sent);
    if (query->out.len == 0 && query->state == QUERY_ENDING) {
        query_free(query);
        return false;
    }
    if (query->out.len == 0 && query->state == QUERY_WAITING)
        buf_done(&query->out);
    loop_io_set(&query->io, query->is_blocked ? LOOP_WRITE : 0);
    return true;
}

/* One step and what it made. False: freed. */
static bool query_run(struct query *query, uint64_t deadline_us)
{
    if (!query->is_blocked)
        (void)query_walk(query, deadline_us);
    return query_flush(query);
}

static bool is_runnable(const struct query *query)
{
    return !query->is_blocked && query->state != QUERY_WAITING;
}

static void idle_timer_start(struct queries *queries)
{
    if (!queries->idle_timer.loop)
        loop_timer_start_in(queries->loop, &queries->idle_timer, queries->settings->idle_us);
}

static void work_soon(struct queries *queries)
{
    idle_timer_start(queries);
    if (!queries->work_timer.loop)
        loop_timer_start_in(queries->loop, &queries->work_timer, 0);
}

/* Queries take turns from the head of the list; what a turn's time does not reach comes first in
 * the next one. */
static void on_work_timer(struct loop_timer *timer)
{
    struct queries *queries = container_of(timer, struct queries, work_timer);
    uint64_t now = clock_monotonic_us(), end = now + queries->settings->query_turn_us;
    size_t left = queries->count;
    bool has_more = false;

    while (left-- > 0 && now < end && !list_is_empty(&queries->active)) {
        struct query *query = container_of(queries->active.next, struct query, node);
        list_remove(&query->node);
        list_push_back(&queries->active, &query->node);
        if (is_runnable(query)) {
            (void)query_run(query, now + (end - now) / 2);
            now = clock_monotonic_us();
        }
    }
    list_each (node, &queries->active)
        has_more |= is_runnable(container_of(node, struct query, node));
    if (has_more)
        work_soon(queries);
}

static void on_answer_event(struct loop_io *io, unsigned events)
{
    struct query *query = container_of(io, struct query, io);
    struct queries *queries = query->queries;

    if (events & LOOP_CLOSE) {
        query_free(query);
        return;
    }
    if (query_flush(query) && is_runnable(query))
        work_soon(queries);
}

void queries_on_records(struct queries *queries)
{
    bool has_followers = false;

    list_each (node, &queries->active) {
        struct query *query = container_of(node, struct query, node);
        if (query->state != QUERY_WAITING)
            continue;
        query->state = QUERY_SENDING;
        has_followers = true;
    }
    if (has_followers)
        work_soon(queries);
}

/* Followers that are inside the open block take the rest of it from memory, so that following does
 * not mean to unpack every block again. */
void queries_on_sealed(struct queries *queries)
{
    uint64_t deadline = clock_monotonic_us() + queries->settings->query_turn_us;

    list_each_safe (node, &queries->active) {
        struct query *query = container_of(node, struct query, node);
        if (query->is_followed && query->state != QUERY_COUNTING && query->state != QUERY_ENDING &&
            !query->is_blocked && query->at.segment == queries->ingest->place.segment &&
            query->at.block == queries->ingest->place.block) {
            query->state = QUERY_SENDING;
            (void)query_run(query, deadline);
        }
    }
}

static void on_idle_timer(struct loop_timer *timer)
{
    struct queries *queries = container_of(timer, struct queries, idle_timer);

    list_each (node, &queries->active)
        if (container_of(node, struct query, node)->state != QUERY_WAITING) {
            idle_timer_start(queries);
            return;
        }
    buf_done(&queries->stored_raw);
    buf_done(&queries->stored_header);
    queries->stored.label_count = 0;
    compressor_release(&queries->compressor);
    (void)malloc_trim(0);
}

/* ---- beginning */

static int strings_copy(struct query *query, const char *app, const char *service,
                        const char *instance)
{
    size_t app_len = strlen(app), service_len = strlen(service), instance_len = strlen(instance);
    char *at = malloc(app_len + service_len + instance_len + 1);

    if (!at)
        return ERR_LIMIT;
    query->strings = at;
    memcpy(at, app, app_len);
    query->app = (struct slice){at, app_len};
    memcpy(at += app_len, service, service_len);
    query->service = (struct slice){at, service_len};
    memcpy(at += service_len, instance, instance_len);
    query->instance = (struct slice){at, instance_len};
    return 0;
}

static void query_begin(struct query *query, const struct peer_log_query *request,
                        const char *regex)
{
    struct error err = {0};
    int code;

    query->kinds = request->kinds ? request->kinds : PEER_LOG_OUTPUT | PEER_LOG_ACCESS;
    query->release = request->release;
    query->unit = request->unit;
    query->since_us = request->since_us;
    query->until_us = request->until_us ? request->until_us : UINT64_MAX;
    query->limit = request->limit;
    query->is_followed = (request->flags & PEER_LOG_FOLLOW) != 0;
    if (regex[0]) {
        code = pattern_new(slice_from(regex), &query->pattern, &err);
        if (code) {
            query_json_error(query, code, err.text);
            query->state = QUERY_ENDING;
            return;
        }
    }
    query_walk_begin(query);
}

void query_start(struct queries *queries, const struct peer_log_query *request, const char *app,
                 const char *service, const char *instance, const char *regex, int fd)
{
    struct query *query = calloc(1, sizeof *query);
    struct error err = {0};

    if (!query || fd_set_nonblocking(fd, true)) {
        free(query);
        fd_close(fd);
        return;
    }
    (void)fcntl(fd, F_SETPIPE_SZ,
                ANSWER_PIPE_BYTES); /* fewer turns for a long answer; else the default */
    query->queries = queries;
    query->io.fd = fd;
    query->io.on_event = on_answer_event;
    query->out = BUF_INIT(QUERY_OUT_MAX);
    query->prefix = BUF_INIT((size_t)LABEL_LEN_MAX * 8);
    query->prefix_label = -1;
    segment_reader_init(&query->reader);
    segment_reader_init(&query->count_reader);
    list_init(&query->node);
    list_push_back(&queries->active, &query->node);
    queries->count++;
    if (loop_io_start(queries->loop, &query->io, 0, &err) ||
        strings_copy(query, app, service, instance)) {
        log_failure(&err, "unable to answer a log query");
        query_free(query);
        return;
    }
    if (queries->count > queries->settings->query_count) {
        query_json_error(query, ERR_LIMIT, "too many log queries at once; close one and try again");
        query->state = QUERY_ENDING;
    } else {
        query_begin(query, request, regex);
    }
    work_soon(queries);
}

/* ---- forgotten apps */

static void removal_add(struct queries *queries, struct slice app, uint64_t sequence)
{
    struct removal *removal;

    if (app.len == 0 || app.len > LABEL_LEN_MAX)
        return;
    for (size_t i = 0; i < queries->removal_count; i++)
        if (slice_eq(slice_from(queries->removals[i].app), app)) {
            queries->removals[i].sequence = sequence;
            return;
        }
    if (queries->removal_count ==
        REMOVALS_MAX) { /* retention has long taken what the oldest one hid */
        memmove(queries->removals, queries->removals + 1,
                (--queries->removal_count) * sizeof *queries->removals);
    } else {
        struct removal *grown =
            reallocarray(queries->removals, queries->removal_count + 1, sizeof *grown);
        if (!grown)
            return;
        queries->removals = grown;
    }
    removal = &queries->removals[queries->removal_count++];
    removal->sequence = sequence;
    memcpy(removal->app, app.ptr, app.len);
    removal->app[app.len] = '\0';
}

static int removals_load(struct queries *queries, struct error *err)
{
    CLEANUP(buf_done) struct buf content = BUF_INIT(REMOVALS_FILE_MAX);
    struct slice rest, line;
    int code;

    if (!file_exists(queries->removals_path))
        return 0;
    code = file_read(queries->removals_path, REMOVALS_FILE_MAX, &content, err);
    if (code)
        return code;
    rest = buf_slice(&content);
    while ((line = slice_cut(&rest, '\n')).ptr) {
        uint64_t sequence;
        struct slice number = slice_cut(&line, ' ');
        if (!slice_to_u64(number, &sequence))
            removal_add(queries, line, sequence);
    }
    return 0;
}

int queries_remove_app(struct queries *queries, const char *app, struct error *err)
{
    CLEANUP(buf_done) struct buf content = BUF_INIT(REMOVALS_FILE_MAX);

    /* Blocks are forgotten as a whole, so what is open now is closed first. */
    if (ingest_seal(queries->ingest))
        return error_set(err, ERR_UNAVAILABLE, "log records cannot be stored at the moment");
    removal_add(queries, slice_from(app), queries->ingest->builder.first_sequence);
    for (size_t i = 0; i < queries->removal_count; i++)
        buf_printf(&content, "%llu %s\n", (unsigned long long)queries->removals[i].sequence,
                   queries->removals[i].app);
    return file_write_durable(queries->removals_path, buf_slice(&content), 0640, err);
}

/* ---- all of them */

int queries_start(struct queries *queries, struct loop *loop, const struct logd_settings *settings,
                  struct segment_store *store, struct ingest *ingest, const char *directory,
                  struct error *err)
{
    memset(queries, 0, sizeof *queries);
    queries->loop = loop;
    queries->settings = settings;
    queries->store = store;
    queries->ingest = ingest;
    list_init(&queries->active);
    queries->work_timer.on_timer = on_work_timer;
    queries->idle_timer.on_timer = on_idle_timer;
    queries->stored_raw = BUF_INIT(BLOCK_RAW_MAX);
    queries->stored_header = BUF_INIT(BLOCK_HEADER_MAX);
    if ((size_t)snprintf(queries->removals_path, sizeof queries->removals_path, "%s/removed",
                         directory) >= sizeof queries->removals_path)
        return error_set(err, ERR_LIMIT, "the path of the log folder is too long");
    return removals_load(queries, err);
}

void queries_stop(struct queries *queries)
{
    if (!queries->loop)
        return;
    while (!list_is_empty(&queries->active))
        query_free(container_of(queries->active.next, struct query, node));
    loop_timer_stop(&queries->work_timer);
    loop_timer_stop(&queries->idle_timer);
    buf_done(&queries->stored_raw);
    buf_done(&queries->stored_header);
    compressor_release(&queries->compressor);
    free(TAKE_PTR(queries->removals));
}
