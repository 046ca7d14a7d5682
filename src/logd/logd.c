/* logd.c - the role: channels to the keeper and to control, and what their messages mean. */
#include "logd/logd.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/keeper_protocol.h"
#include "base/log.h"
#include "base/peer_protocol.h"
#include "logd/query.h"
#include "loop/channel.h"
#include "os/file.h"

#define STATS_US       5000000u
#define QUIT_MARGIN_US 1000000u /* of the grace, for the last store and sync */
#define LOST_GRACE_US                                                                              \
    3000000u /* when the keeper is gone: units are ending, take what they still say */
#define FILES_WANTED 20000u /* two pipes a unit, and spool files */

struct logd {
    struct loop *loop;
    struct logd_settings settings;
    struct channel keeper, control;
    struct segment_store store;
    struct ingest ingest;
    struct queries queries;
    struct loop_timer stats_timer, quit_timer, drain_timer;
    int lock_fd;
    bool is_open; /* HELLO came and the store is open */
    bool is_quitting;
    int exit_status;
};

static void logd_fail(struct logd *logd, const struct error *err, const char *what)
{
    log_failure(err, "%s", what);
    logd->exit_status = 1;
    loop_stop(logd->loop);
}

/* ---- ingest's and the stream's end */

static void on_stream_done(struct ingest *ingest, uint64_t stream)
{
    struct logd *logd = container_of(ingest, struct logd, ingest);
    struct keeper_stream_done message = {.header.type = KEEPER_STREAM_DONE, .stream = stream};

    /* When it cannot be told now, the keeper hands the stream over again, and it is told then. */
    if (logd->keeper.io.loop && channel_post(&logd->keeper, &message, sizeof message, NULL, 0))
        log_warning("unable to tell the keeper that log stream %llu is done",
                    (unsigned long long)stream);
}

static void on_records(struct ingest *ingest)
{
    queries_on_records(&container_of(ingest, struct logd, ingest)->queries);
}

static void on_sealed(struct ingest *ingest)
{
    queries_on_sealed(&container_of(ingest, struct logd, ingest)->queries);
}

/* ---- quitting */

static void quit_now(struct logd *logd)
{
    ingest_finish(&logd->ingest);
    loop_stop(logd->loop);
}

static void on_quit_timer(struct loop_timer *timer)
{
    quit_now(container_of(timer, struct logd, quit_timer));
}

/* All streams at their end: no need to wait for the deadline. */
static void on_drain_timer(struct loop_timer *timer)
{
    struct logd *logd = container_of(timer, struct logd, drain_timer);

    if (ingest_open_count(&logd->ingest) == 0)
        quit_now(logd);
    else
        loop_timer_start_in(logd->loop, timer, 10000);
}

static void quit_begin(struct logd *logd, uint64_t grace_us)
{
    uint64_t wait_us = grace_us > 2 * QUIT_MARGIN_US ? grace_us - QUIT_MARGIN_US : grace_us / 2;

    if (!logd->is_open) {
        loop_stop(logd->loop);
        return;
    }
    logd->is_quitting = logd->ingest.is_draining = true;
    loop_timer_start_in(logd->loop, &logd->quit_timer, wait_us);
    loop_timer_start_in(logd->loop, &logd->drain_timer, 0);
}

/* ---- control */

static void query_message(struct logd *logd, const void *message, size_t len, int *fd)
{
    struct peer_log_query request;
    size_t cursor = sizeof request;
    const char *strings[4];

    memcpy(&request, message, sizeof request);
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        strings[i] = keeper_next_string(message, len, &cursor);
        if (!strings[i]) {
            log_warning("control sent a log query that is not complete");
            return;
        }
    }
    query_start(&logd->queries, &request, strings[0], strings[1], strings[2], strings[3],
                TAKE_FD(*fd));
}

static void remove_message(struct logd *logd, const void *message, size_t len)
{
    size_t cursor = sizeof(struct peer_log_remove);
    const char *app = keeper_next_string(message, len, &cursor);
    struct error err = {0};

    if (app && queries_remove_app(&logd->queries, app, &err))
        log_failure(&err, "unable to forget the log records of '%s'", app);
}

static void on_control_message(struct channel *channel, const void *message, size_t len, int *fds,
                               size_t fd_count)
{
    struct logd *logd = container_of(channel, struct logd, control);
    uint32_t type;

    if (len < sizeof type)
        return;
    memcpy(&type, message, sizeof type);
    if (type == PEER_LOG_QUERY && len >= sizeof(struct peer_log_query) && fd_count == 1)
        query_message(logd, message, len, &fds[0]);
    else if (type == PEER_LOG_REMOVE && len >= sizeof(struct peer_log_remove))
        remove_message(logd, message, len);
    else
        log_warning("control sent a message that is not understood (%u)", type);
}

static void on_control_closed(struct channel *channel)
{
    (void)channel; /* the keeper brings a new one when control is back; queries go on by their pipes
                    */
}

static void on_stats_timer(struct loop_timer *timer)
{
    struct logd *logd = container_of(timer, struct logd, stats_timer);
    const struct block_totals *totals = &logd->ingest.totals;
    struct peer_log_stats stats = {.type = PEER_LOG_STATS,
                                   .lines = totals->lines,
                                   .bytes = totals->bytes,
                                   .dropped_lines = totals->dropped_lines,
                                   .dropped_bytes = totals->dropped_bytes,
                                   .stored_bytes = logd->store.stored_bytes};

    if (!logd->control.io.loop)
        return; /* started again with the next channel */
    (void)!channel_post(&logd->control, &stats, sizeof stats, NULL, 0);
    loop_timer_start_in(logd->loop, timer, STATS_US);
}

/* ---- the keeper */

struct recovery {
    struct segment_recovery base;
    struct ingest *ingest;
};

static void recovery_on_stream(struct segment_recovery *base, const struct block_stream *stream)
{
    ingest_recover_stream(container_of(base, struct recovery, base)->ingest, stream);
}

static int logd_open(struct logd *logd, const char *state_directory, struct error *err)
{
    struct recovery recovery = {.base.on_stream = recovery_on_stream, .ingest = &logd->ingest};
    CLEANUP(buf_done) struct buf path = BUF_INIT(SPOOL_DIRECTORY_MAX);
    size_t base_len;
    int code;

    buf_printf(&path, "%s/logs", state_directory);
    base_len = path.len;
    code = directory_make(buf_text(&path), 0750, err);
    if (code)
        return code;
    code = queries_start(&logd->queries, logd->loop, &logd->settings, &logd->store, &logd->ingest,
                         buf_text(&path), err);
    if (code)
        return code;
    buf_append_text(&path, "/lock");
    code = file_lock(buf_text(&path), &logd->lock_fd, err);
    if (code)
        return code;
    path.len = base_len;
    buf_append_text(&path, "/segments");
    code = segment_store_open(&logd->store, buf_text(&path), &logd->settings, &recovery.base, err);
    if (code)
        return code;
    path.len = base_len;
    buf_append_text(&path, "/spool");
    return path.failed ? error_set(err, ERR_LIMIT, "the path of the state folder is too long")
                       : ingest_start(&logd->ingest, logd->loop, &logd->settings, &logd->store,
                                      buf_text(&path), err);
}

static void hello_message(struct logd *logd, const void *message, size_t len)
{
    struct keeper_hello hello;
    size_t cursor = sizeof hello;
    const char *directory = keeper_next_string(message, len, &cursor);
    struct error err = {0};

    memcpy(&hello, message, sizeof hello);
    if (!directory || hello.protocol_version != KEEPER_PROTOCOL_VERSION) {
        (void)error_set(&err, ERR_VERSION, "the keeper speaks protocol %u, this program %u",
                        hello.protocol_version, KEEPER_PROTOCOL_VERSION);
        logd_fail(logd, &err, "unable to start");
        return;
    }
    log_set_level((enum log_level)hello.log_level);
    if (logd_open(logd, directory, &err)) {
        logd_fail(logd, &err, "unable to open the log store");
        return;
    }
    logd->is_open = true;
}

static void stream_message(struct logd *logd, const void *message, size_t len, int *fd)
{
    struct keeper_stream stream;
    size_t cursor = sizeof stream;
    const char *label = keeper_next_string(message, len, &cursor);
    struct error err = {0};

    memcpy(&stream, message, sizeof stream);
    if (!label || !logd->is_open || stream.kind < KEEPER_STREAM_STDOUT ||
        stream.kind > KEEPER_STREAM_ACCESS) {
        log_error("the keeper handed over a log stream that is not understood");
        return;
    }
    if (fd_set_nonblocking(*fd, true)) {
        log_error("unable to read log stream %llu", (unsigned long long)stream.stream);
        return;
    }
    if (ingest_add(&logd->ingest, stream.stream, stream.unit, stream.kind, label, TAKE_FD(*fd),
                   &err))
        log_failure(&err, "unable to read log stream %llu", (unsigned long long)stream.stream);
}

static void peer_message(struct logd *logd, const void *message, int *fd)
{
    struct keeper_peer peer;
    struct error err = {0};

    memcpy(&peer, message, sizeof peer);
    if (peer.role != KEEPER_ROLE_CONTROL)
        return;
    channel_stop(&logd->control);
    logd->control.on_message = on_control_message;
    logd->control.on_closed = on_control_closed;
    if (channel_start(&logd->control, logd->loop, TAKE_FD(*fd), &err)) {
        log_failure(&err, "unable to talk to control");
        return;
    }
    loop_timer_start_in(logd->loop, &logd->stats_timer, 0);
}

static void table_end_message(struct logd *logd)
{
    struct keeper_ready ready = {.header.type = KEEPER_READY};

    if (!logd->is_open)
        return;
    ingest_table_end(&logd->ingest);
    (void)!channel_post(&logd->keeper, &ready, sizeof ready, NULL, 0);
}

static void on_keeper_message(struct channel *channel, const void *message, size_t len, int *fds,
                              size_t fd_count)
{
    struct logd *logd = container_of(channel, struct logd, keeper);
    struct keeper_header header;
    bool wants_fd;

    if (len < sizeof header)
        return;
    memcpy(&header, message, sizeof header);
    wants_fd = header.type == KEEPER_PEER || header.type == KEEPER_STREAM;
    if (len < keeper_message_size(header.type) || fd_count != (wants_fd ? 1 : 0)) {
        log_warning("the keeper sent a message that is not understood (%u)", header.type);
        return;
    }
    if (header.type == KEEPER_HELLO && !logd->is_open) {
        hello_message(logd, message, len);
    } else if (header.type == KEEPER_PEER && logd->is_open) {
        peer_message(logd, message, &fds[0]);
    } else if (header.type == KEEPER_STREAM) {
        stream_message(logd, message, len, &fds[0]);
    } else if (header.type == KEEPER_TABLE_END) {
        table_end_message(logd);
    } else if (header.type == KEEPER_QUIT && !logd->is_quitting) {
        struct keeper_quit quit;
        memcpy(&quit, message, sizeof quit);
        if (quit.flags & KEEPER_QUIT_REPLACED && logd->is_open) /* the next one reads on */
            quit_now(logd);
        else
            quit_begin(logd, (uint64_t)quit.grace_ms * 1000);
    }
}

static void on_keeper_closed(struct channel *channel)
{
    struct logd *logd = container_of(channel, struct logd, keeper);

    if (logd->is_quitting)
        return;
    log_warning("the keeper is gone; storing what is left and stopping");
    quit_begin(logd, LOST_GRACE_US);
}

/* ---- the process */

static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < FILES_WANTED) {
        limit.rlim_cur = MIN((rlim_t)FILES_WANTED, limit.rlim_max);
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void on_signal(struct loop_signal *signal)
{
    (void)signal; /* a terminal's Ctrl-C reaches every role; the keeper decides and says QUIT */
}

int logd_run(int keeper_fd, const struct logd_settings *settings)
{
    static struct logd logd; /* too large for a stack */
    struct loop_signal interrupt = {.on_signal = on_signal}, terminate = {.on_signal = on_signal};
    struct error err = {0};

    memset(&logd, 0, sizeof logd);
    logd.settings = *settings;
    logd.lock_fd = logd.store.fd = logd.store.previous_fd = logd.store.folder_fd = -1;
    ingest_init(&logd.ingest);
    logd.ingest.on_done = on_stream_done;
    logd.ingest.on_records = on_records;
    logd.ingest.on_sealed = on_sealed;
    logd.stats_timer.on_timer = on_stats_timer;
    logd.quit_timer.on_timer = on_quit_timer;
    logd.drain_timer.on_timer = on_drain_timer;
    logd.keeper.on_message = on_keeper_message;
    logd.keeper.on_closed = on_keeper_closed;
    (void)signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    if (loop_new(&logd.loop, &err) || loop_signal_start(logd.loop, &interrupt, SIGINT, &err) ||
        loop_signal_start(logd.loop, &terminate, SIGTERM, &err) ||
        channel_start(&logd.keeper, logd.loop, keeper_fd, &err) || loop_run(logd.loop, &err)) {
        log_failure(&err, "unable to run");
        return 1;
    }
    queries_stop(&logd.queries);
    ingest_stop(&logd.ingest);
    segment_store_close(&logd.store);
    channel_stop(&logd.control);
    channel_stop(&logd.keeper);
    loop_timer_stop(&logd.stats_timer);
    loop_timer_stop(&logd.quit_timer);
    loop_timer_stop(&logd.drain_timer);
    loop_signal_stop(&interrupt);
    loop_signal_stop(&terminate);
    loop_free(logd.loop);
    fd_close(logd.lock_fd);
    return logd.exit_status;
}

int logd_main(void)
{
    struct logd_settings settings = LOGD_SETTINGS_DEFAULT;

    log_init("logd", LOG_INFO);
    return logd_run(KEEPER_CHANNEL_FD, &settings);
}
