#include "control/logs.h"
#include "base/log.h"
#include "control/control_private.h"
#include "deploy/app.h"
#include "deploy/deploy.h"
#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define READER_LIMIT_BYTES (4u * 1024 * 1024)
#define READER_DEADLINE_MS 3000u
#define LINE_MAX_BYTES     2000u

/* ---- the channel */

static void on_message(struct channel *channel, const void *message, size_t len, int *fds,
                       size_t fd_count)
{
    struct logs *logs = container_of(channel, struct logs, channel);
    const struct peer_log_stats *stats = message;

    (void)fds;
    (void)fd_count;
    if (len < sizeof(*stats) || stats->type != PEER_LOG_STATS)
        return;
    logs->dropped_lines = stats->dropped_lines;
    logs->stored_bytes = stats->stored_bytes;
}

static void on_closed(struct channel *channel)
{
    (void)channel; /* it is restarted, and comes back with a fresh channel */
}

void logs_init(struct logs *logs, struct control *control)
{
    logs->control = control;
    logs->channel.on_message = on_message;
    logs->channel.on_closed = on_closed;
    list_init(&logs->readers);
}

void logs_connect(struct logs *logs, int *fd)
{
    struct error err = {0};

    channel_stop(&logs->channel);
    if (channel_start(&logs->channel, logs->control->loop, TAKE_FD(*fd), &err) != 0)
        log_failure(&err, "unable to talk to logd");
}

/* ---- a question */

struct question {
    const char *app, *service, *instance, *regex;
    struct peer_log_query fixed;
};

static int ask(struct logs *logs, const struct question *question, int *ret_fd, struct error *err)
{
    const char *texts[] = {question->app, question->service, question->instance, question->regex};
    struct buf message = BUF_INIT(65536);
    int ends[2];

    if (!logs->channel.io.loop) {
        error_set(err, ERR_UNAVAILABLE, "the log role is not there at the moment");
        return error_hint(err, "it is being restarted; try again");
    }
    buf_append(&message, &question->fixed, sizeof(question->fixed));
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        buf_append(&message, texts[i] ? texts[i] : "", strlen(texts[i] ? texts[i] : "") + 1);
    if (message.failed) {
        buf_done(&message);
        return error_set(err, ERR_LIMIT, "the question is too long");
    }
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        buf_done(&message);
        return error_errno(err, errno, "unable to make a pipe");
    }
    int code = channel_post(&logs->channel, message.ptr, message.len, &ends[1], 1);
    buf_done(&message);
    fd_close(ends[1]);
    if (code != 0) {
        fd_close(ends[0]);
        return error_set(err, ERR_UNAVAILABLE, "the log role does not listen at the moment");
    }
    *ret_fd = ends[0];
    return 0;
}

int control_logs(struct control *control, const struct control_log_query *query, int *ret_fd,
                 struct error *err)
{
    struct question question = {
        .app = query->app,
        .service = query->service,
        .instance = query->instance,
        .regex = query->regex,
        .fixed = {.type = PEER_LOG_QUERY,
                  .flags = query->is_followed ? PEER_LOG_FOLLOW : 0,
                  .kinds = (query->with_output ? PEER_LOG_OUTPUT : 0u) |
                           (query->with_access ? PEER_LOG_ACCESS : 0u),
                  .limit = query->limit,
                  .since_us = query->since_us,
                  .until_us = query->until_us},
    };

    if (query->deploy) {
        const struct app *app =
            query->app ? platform_app_find(control->platform, query->app) : NULL;
        const struct deploy *deploy = app ? deploy_find(app, query->deploy) : NULL;

        if (!deploy)
            return error_set(err, ERR_NOT_FOUND, "there is no deploy %llu",
                             (unsigned long long)query->deploy);
        question.fixed.release = (uint32_t)deploy->release;
        question.fixed.since_us = MAX(question.fixed.since_us, deploy->created_at_us);
        if (deploy->ended_at_us && !query->is_followed && !question.fixed.until_us)
            question.fixed.until_us = deploy->ended_at_us;
    }
    return ask(&control->logs, &question, ret_fd, err);
}

/* ---- the last lines of a unit, for a deploy that failed */

struct log_reader {
    struct list node;
    struct logs *logs;
    struct log_request *request;
    struct loop_io io;
    struct loop_timer deadline;
    struct buf text;
};

static void reader_free(struct log_reader *reader)
{
    reader->request->driver = NULL;
    list_remove(&reader->node);
    loop_io_stop(&reader->io);
    loop_timer_stop(&reader->deadline);
    fd_close(reader->io.fd);
    buf_done(&reader->text);
    free(reader);
}

/* JSON lines → the texts of their "line" members, the newest `limit` of them. */
static size_t parse_lines(const struct log_reader *reader, struct arena *arena, const char **lines)
{
    struct slice rest = buf_slice(&reader->text);
    size_t limit = reader->request->limit, count = 0;

    while (rest.len > 0) {
        struct slice text = slice_cut(&rest, '\n');
        struct json *json;

        if (text.len == 0 || json_parse(arena, text, &json, NULL) != 0)
            continue;
        const char *line = json_get_text(json, "line", NULL);
        if (!line)
            continue;
        if (count == limit) {
            memmove(lines, lines + 1, (limit - 1) * sizeof(*lines));
            count--;
        }
        lines[count++] = arena_slice_text(arena, slice_sub(slice_from(line), 0, LINE_MAX_BYTES));
    }
    return count;
}

static void reader_finish(struct log_reader *reader)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(16 * (size_t)READER_LIMIT_BYTES);
    struct log_request *request = reader->request;
    const char **lines = arena_array_of(arena, const char *, MAX(request->limit, 1u));
    size_t count = parse_lines(reader, arena, lines);

    reader_free(reader);
    request->on_lines(request, lines, count);
}

static void on_reader_event(struct loop_io *io, unsigned events)
{
    struct log_reader *reader = container_of(io, struct log_reader, io);

    (void)events;
    for (;;) {
        char *room = buf_reserve(&reader->text, 65536);
        ssize_t got = room ? read(io->fd, room, 65536) : 0;

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            reader_finish(reader);
            return;
        }
        reader->text.len += (size_t)got;
    }
}

static void on_reader_deadline(struct loop_timer *timer)
{
    reader_finish(container_of(timer, struct log_reader, deadline));
}

void logs_request_start(struct logs *logs, struct log_request *request)
{
    struct log_reader *reader = calloc(1, sizeof(*reader));
    struct question question = {
        .app = request->app,
        .fixed = {.type = PEER_LOG_QUERY,
                  .kinds = PEER_LOG_OUTPUT,
                  .limit = request->limit,
                  .unit = request->unit,
                  .since_us = request->since_us},
    };
    struct error err = {0};

    if (!reader)
        abort();
    reader->logs = logs;
    reader->request = request;
    reader->text = BUF_INIT(READER_LIMIT_BYTES);
    reader->io.fd = -1;
    reader->io.on_event = on_reader_event;
    reader->deadline.on_timer = on_reader_deadline;
    request->driver = reader;
    list_push_back(&logs->readers, &reader->node);
    int code = ask(logs, &question, &reader->io.fd, &err);
    if (code == 0)
        code = loop_io_start(logs->control->loop, &reader->io, LOOP_READ, &err);
    if (code != 0)
        log_debug("no last lines: %s", err.text);
    /* Also when nobody could be asked: the answer never comes from inside the call. */
    loop_timer_start_in(logs->control->loop, &reader->deadline,
                        code == 0 ? LOOP_MS(READER_DEADLINE_MS) : 0);
}

void logs_request_stop(struct logs *logs, struct log_request *request)
{
    (void)logs;
    if (request->driver)
        reader_free(request->driver);
}

void logs_done(struct logs *logs)
{
    channel_stop(&logs->channel);
    list_each_safe (node, &logs->readers)
        reader_free(container_of(node, struct log_reader, node));
}
