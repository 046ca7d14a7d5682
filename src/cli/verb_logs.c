/* Logs. Following survives everything short of the platform's end: when the stream breaks it is
 * taken up again a little before the last record, and records that were printed are recognised. */
#include "base/clock.h"
#include "base/hash.h"
#include "base/units.h"
#include "cli/client.h"
#include "os/file.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE_LIMIT    ((size_t)8 * 1024 * 1024) /* a 1 MB line of control characters, as JSON */
#define RECONNECT_US  (200u * 1000u)
#define GONE_AFTER_US (30u * 1000000u)
#define OVERLAP_US    (2u * 1000000u)
#define DRIFT_US      (100u * 1000u) /* logd keeps the time of a line over its crash to 50 ms */
#define SEEN_RECORDS  16384u
#define LINES_DEFAULT 100u
#define LINES_MAX     1000000u

/* A record that was printed. */
struct seen {
    uint64_t time_us, hash;
    bool is_met; /* again, since the last reconnect */
};

struct follow {
    struct command *command;
    const struct log_selection *selection;
    struct loop *loop;
    struct http_client_request request;
    struct http_client_handler handler;
    struct http_client *client;
    struct loop_timer reconnect;
    struct loop_signal interrupt, terminate;
    struct loop_io stop;
    struct terminal terminal;
    struct buf line, failure, out;
    int status, code;
    struct seen *seen; /* a ring */
    size_t seen_count, seen_next;
    uint64_t last_us, resumed_us; /* newest record; records up to here may be repeats */
    uint64_t heard_us;
    bool is_interrupted, is_resumed, is_stopped;
    struct error *err;
};

/* The first reason to stop counts. */
static void follow_stop(struct follow *follow, int code)
{
    if (!follow->is_stopped)
        follow->code = code;
    follow->is_stopped = true;
    loop_stop(follow->loop);
}

/* ---- records that were printed already */

static bool seen_take(struct follow *follow, uint64_t time_us, uint64_t hash)
{
    for (size_t i = 0; i < follow->seen_count; i++) {
        /* Backwards from the newest: repeats are at the end. */
        size_t at = (follow->seen_next + SEEN_RECORDS - 1 - i) % SEEN_RECORDS;
        struct seen *seen = &follow->seen[at];
        uint64_t drift_us = MAX(seen->time_us, time_us) - MIN(seen->time_us, time_us);
        if (drift_us <= DRIFT_US && seen->hash == hash && !seen->is_met) {
            seen->is_met = true;
            return true;
        }
    }
    return false;
}

static void seen_put(struct follow *follow, uint64_t time_us, uint64_t hash)
{
    follow->seen[follow->seen_next] = (struct seen){.time_us = time_us, .hash = hash};
    follow->seen_next = (follow->seen_next + 1) % SEEN_RECORDS;
    follow->seen_count = MIN(follow->seen_count + 1, (size_t)SEEN_RECORDS);
    follow->last_us = MAX(follow->last_us, time_us);
}

/* From when to ask again: OVERLAP before the newest record, but not before what is remembered. */
static uint64_t resume_time(struct follow *follow)
{
    uint64_t oldest_us = 0;
    if (follow->seen_count == SEEN_RECORDS)
        oldest_us = follow->seen[follow->seen_next].time_us + 1;
    uint64_t from_us = follow->last_us > OVERLAP_US ? follow->last_us - OVERLAP_US : 0;
    for (size_t i = 0; i < follow->seen_count; i++)
        follow->seen[i].is_met = false;
    from_us = MAX(from_us, oldest_us);
    return MAX(from_us, follow->selection->since_us);
}

/* ---- printing */

static enum colour colour_of_name(const char *name)
{
    static const enum colour colours[] = {COLOUR_CYAN, COLOUR_GREEN, COLOUR_MAGENTA, COLOUR_BLUE,
                                          COLOUR_YELLOW};
    return colours[hash_fast(name, strlen(name), 0) % ARRAY_LEN(colours)];
}

static void append_time(struct follow *follow, const char *time)
{
    char text[32];
    uint64_t at_us;
    struct tm local;
    if (clock_parse(time, &at_us) < 0)
        return;
    time_t seconds = (time_t)(at_us / 1000000);
    if (!localtime_r(&seconds, &local) || !strftime(text, sizeof(text), "%m-%d %H:%M:%S", &local))
        return;
    buf_printf(&follow->out, "%s%s.%03u%s ", colour_on(&follow->terminal, COLOUR_DIM), text,
               (unsigned)(at_us / 1000 % 1000), colour_off(&follow->terminal));
}

/* An access record's line is JSON of its own: show what a person looks for. */
static void append_access(struct follow *follow, struct arena *arena, const char *text)
{
    struct json *access;
    if (json_parse(arena, slice_from(text), &access, NULL) < 0) {
        terminal_append(&follow->out, &follow->terminal, slice_from(text), false);
        return;
    }
    int64_t status = json_get_integer(access, "status", 0);
    enum colour colour = status >= 500 ? COLOUR_RED : status >= 400 ? COLOUR_YELLOW : COLOUR_GREEN;
    terminal_append(&follow->out, &follow->terminal,
                    slice_from(json_get_text(access, "method", "-")), false);
    buf_append_byte(&follow->out, ' ');
    terminal_append(&follow->out, &follow->terminal, slice_from(json_get_text(access, "host", "")),
                    false);
    terminal_append(&follow->out, &follow->terminal, slice_from(json_get_text(access, "path", "-")),
                    false);
    buf_printf(&follow->out, " %s%lld%s %s %s %s", colour_on(&follow->terminal, colour),
               (long long)status, colour_off(&follow->terminal),
               duration_format(
                   arena, (uint64_t)MAX(json_get_integer(access, "duration_us", 0), (int64_t)0)),
               size_format(arena, json_get_integer(access, "bytes", 0)),
               json_get_text(access, "client", ""));
    const char *reason = json_get_text(access, "reason", "");
    if (reason[0]) {
        buf_append_byte(&follow->out, ' ');
        terminal_append(&follow->out, &follow->terminal, slice_from(reason), false);
    }
}

static void print_record(struct follow *follow, struct arena *arena, const struct json *record)
{
    const char *kind = json_get_text(record, "kind", "run");
    const char *who = json_get_text(record, "instance", ""),
               *service = json_get_text(record, "service", "");
    const struct terminal *terminal = &follow->terminal;
    bool is_build =
        strcmp(kind, "run") != 0 && strcmp(kind, "access") != 0 && strcmp(kind, "database") != 0;
    append_time(follow, json_get_text(record, "time", ""));
    if (!who[0])
        who = service[0] ? service : json_get_text(record, "app", "");
    buf_append_text(&follow->out, colour_on(terminal, colour_of_name(who)));
    if (is_build && service[0] && strcmp(who, service) != 0) {
        terminal_append(&follow->out, terminal, slice_from(service), false);
        buf_append_byte(&follow->out, '/');
    }
    terminal_append(&follow->out, terminal, slice_from(who), false);
    buf_printf(&follow->out, "%s | ", colour_off(terminal));
    if (strcmp(kind, "gap") == 0)
        buf_printf(&follow->out, "--- %lld lines (%s) were dropped here ---",
                   (long long)json_get_integer(record, "dropped_lines", 0),
                   size_format(arena, json_get_integer(record, "dropped_bytes", 0)));
    else if (strcmp(kind, "access") == 0)
        append_access(follow, arena, json_get_text(record, "line", ""));
    else
        terminal_append(&follow->out, terminal, slice_from(json_get_text(record, "line", "")),
                        true);
    buf_append_byte(&follow->out, '\n');
}

/* All of a record but its time. */
static uint64_t record_hash(const struct json *record)
{
    uint64_t hash = 0;
    json_each (member, record) {
        if (slice_eq(member->key, SLICE("time")))
            continue;
        hash = hash_fast(member->key.ptr, member->key.len, hash);
        hash = hash_fast(member->string.ptr, member->string.len, hash + member->boolean);
    }
    return hash;
}

static void take_line(struct follow *follow, struct slice line)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(4 * LINE_LIMIT);
    struct json *record;
    uint64_t time_us = 0;
    if (line.len == 0 || json_parse(arena, line, &record, NULL) < 0)
        return;
    if (json_get(record, "error")) {
        int code = platform_error(200, line, follow->err);
        if (code != ERR_UNAVAILABLE || !follow->selection->is_followed)
            follow_stop(follow, code);
        return;
    }
    if (follow->selection->is_followed &&
        clock_parse(json_get_text(record, "time", ""), &time_us) == 0) {
        uint64_t hash = record_hash(record);
        if (follow->is_resumed && time_us <= follow->resumed_us && seen_take(follow, time_us, hash))
            return;
        seen_put(follow, time_us, hash);
    }
    if (follow->selection->is_json) {
        buf_append_slice(&follow->out, line);
        buf_append_byte(&follow->out, '\n');
    } else {
        print_record(follow, arena, record);
    }
    if (follow->out.len >= 65536)
        print_buf(&follow->out);
}

/* ---- the connection */

static void on_head(struct http_client_handler *handler, int status)
{
    container_of(handler, struct follow, handler)->status = status;
}

static void on_data(struct http_client_handler *handler, struct slice data)
{
    struct follow *follow = container_of(handler, struct follow, handler);
    follow->heard_us = loop_now_us(follow->loop);
    if (follow->status != 200) {
        buf_append_slice(&follow->failure, data);
        return;
    }
    while (data.len) {
        ptrdiff_t end = slice_find_byte(data, '\n');
        size_t len = end < 0 ? data.len : (size_t)end;
        buf_append_slice(&follow->line, slice_sub(data, 0, len));
        data = slice_sub(data, len + (end >= 0), data.len);
        if (end < 0)
            break;
        if (!follow->line.failed)
            take_line(follow, buf_slice(&follow->line));
        buf_clear(&follow->line);
    }
    print_buf(&follow->out);
}

/* The stream ended or broke. */
static void on_done(struct http_client_handler *handler,
                    const struct http_client_response *response)
{
    struct follow *follow = container_of(handler, struct follow, handler);
    bool is_answered = response->code == 0 && response->status == 200;
    follow->client = NULL;
    buf_clear(&follow->line);
    if (follow->is_stopped)
        return;
    if (response->code == 0 && response->status != 200) {
        int code = platform_error(response->status, buf_slice(&follow->failure), follow->err);
        buf_clear(&follow->failure);
        if (code != ERR_UNAVAILABLE) {
            follow_stop(follow, code);
            return;
        }
    } else if (is_answered && !follow->selection->is_followed) {
        follow_stop(follow, 0);
        return;
    } else if (response->err) {
        error_copy(follow->err, response->err);
    }
    if (response->code && !platform_is_there(follow->command->state_directory)) {
        follow_stop(follow, platform_absent(follow->command, follow->err));
        return;
    }
    bool is_late = loop_now_us(follow->loop) > follow->heard_us + GONE_AFTER_US && !is_answered;
    bool has_begun = follow->seen_count > 0 || follow->out.len > 0 || follow->status == 200;
    if (is_late || (!follow->selection->is_followed && has_begun && follow->status == 200)) {
        if (!follow->err->code)
            error_set(follow->err, ERR_IO, "the log ended early");
        follow_stop(follow, follow->err->code);
        return;
    }
    loop_timer_start_in(follow->loop, &follow->reconnect, RECONNECT_US);
}

static const char *log_target(struct follow *follow)
{
    const struct log_selection *selection = follow->selection;
    bool is_again = follow->seen_count > 0;
    uint64_t since_us = is_again ? resume_time(follow) : selection->since_us;
    char time[CLOCK_TEXT_SIZE];
    struct buf target = BUF_INIT(65536);
    /* Taken up again, nothing may be left out: all since then, however many. */
    buf_printf(&target, "/v1/logs?limit=%llu",
               (unsigned long long)(is_again ? 0 : selection->lines));
    if (selection->app) {
        buf_append_text(&target, "&app=");
        append_encoded(&target, selection->app);
    }
    if (selection->service) {
        buf_append_text(&target, "&service=");
        append_encoded(&target, selection->service);
    }
    if (selection->regex) {
        buf_append_text(&target, "&regex=");
        append_encoded(&target, selection->regex);
    }
    if (since_us) {
        buf_append_text(&target, "&since=");
        append_encoded(&target, clock_format(since_us, time));
    }
    buf_append_text(&target, selection->is_followed ? "&follow=true" : "");
    buf_append_text(&target, selection->with_access ? "&access=true" : "");
    follow->is_resumed = is_again;
    follow->resumed_us = follow->last_us;
    const char *result = arena_text(follow->command->arena, buf_text(&target));
    buf_done(&target);
    return result;
}

static void on_reconnect(struct loop_timer *timer)
{
    struct follow *follow = container_of(timer, struct follow, reconnect);
    follow->status = 0;
    follow->request.target = log_target(follow);
    int r = http_client_start(follow->loop, &follow->request, &follow->handler, &follow->client,
                              follow->err);
    if (r < 0)
        follow_stop(follow, r);
}

static void on_interrupt(struct loop_signal *signal)
{
    struct follow *follow = signal->number == SIGINT
                                ? container_of(signal, struct follow, interrupt)
                                : container_of(signal, struct follow, terminate);
    follow->is_interrupted = true;
    follow_stop(follow, 0);
}

static void on_stop(struct loop_io *io, unsigned events UNUSED)
{
    follow_stop(container_of(io, struct follow, stop), 0);
}

static int follow_run(struct follow *follow)
{
    int r = loop_signal_start(follow->loop, &follow->interrupt, SIGINT, follow->err);
    if (r == 0)
        r = loop_signal_start(follow->loop, &follow->terminate, SIGTERM, follow->err);
    if (r == 0 && follow->stop.fd >= 0)
        r = loop_io_start(follow->loop, &follow->stop, LOOP_READ, follow->err);
    if (r == 0) {
        follow->heard_us = clock_monotonic_us();
        loop_timer_start_in(follow->loop, &follow->reconnect, 0);
        r = loop_run(follow->loop, follow->err);
    }
    print_buf(&follow->out);
    http_client_cancel(follow->client);
    loop_timer_stop(&follow->reconnect);
    loop_io_stop(&follow->stop);
    loop_signal_stop(&follow->interrupt);
    loop_signal_stop(&follow->terminate);
    return r < 0 ? r : follow->code;
}

int logs_print(struct command *command, const struct log_selection *selection, int stop_fd,
               bool *ret_is_interrupted, struct error *err)
{
    struct address address;
    CLEANUP(fd_closep) int directory_fd = -1;
    struct follow follow = {
        .command = command,
        .selection = selection,
        .handler = {on_head, on_data, on_done},
        .reconnect.on_timer = on_reconnect,
        .interrupt.on_signal = on_interrupt,
        .terminate.on_signal = on_interrupt,
        .stop = {.fd = stop_fd, .on_event = on_stop},
        .terminal = terminal_of(STDOUT_FILENO),
        .line = BUF_INIT(LINE_LIMIT),
        .failure = BUF_INIT(65536),
        .out = BUF_INIT(4 * LINE_LIMIT),
        .err = err,
    };
    int r = client_request(command, &address, &directory_fd, &follow.request, err);
    if (r == ERR_NOT_FOUND)
        return platform_absent(command, err);
    if (r == 0)
        r = loop_new(&follow.loop, err);
    if (r < 0)
        return r;
    follow.seen = calloc(SEEN_RECORDS, sizeof(*follow.seen));
    follow.request.method = "GET";
    follow.request.is_streamed = true;
    r = follow.seen ? follow_run(&follow) : error_set(err, ERR_LIMIT, "out of memory");
    loop_free(follow.loop);
    free(follow.seen);
    buf_done(&follow.line);
    buf_done(&follow.failure);
    buf_done(&follow.out);
    *ret_is_interrupted = follow.is_interrupted;
    return r;
}

/* An app that is not there has no lines, just like a silent one: tell them apart. */
static int check_app(struct command *command, const char *app, struct error *err)
{
    struct call call = {.method = "GET",
                        .target =
                            target_format(command, "/v1/status?app=%s", encoded(command, app)),
                        .is_repeatable = true};
    struct slice text = {0};
    return platform_call(command, &call, &text, err);
}

int verb_logs(struct command *command)
{
    struct log_selection selection = {
        .service = command_option(command, "service"),
        .regex = command_option(command, "grep"),
        .is_followed = command_option(command, "follow") != NULL,
        .with_access = command_option(command, "access") != NULL,
        .is_json = command_option(command, "json") != NULL,
    };
    const char *since = command_option(command, "since");
    struct error err = {0};
    bool is_interrupted = false;
    uint64_t since_ms = 0;
    /* With a time and no number: all since then. */
    int r = command_number(command, "lines", since ? LINES_MAX : LINES_DEFAULT, LINES_MAX,
                           &selection.lines, &err);
    if (r == 0 && since &&
        (units_parse_duration_ms(slice_from(since), &since_ms) < 0 || !since_ms)) {
        error_set(&err, ERR_USAGE, "'--since %s' is not a duration", since);
        r = error_hint(&err, "like 30s, 10m, 2h or 1d");
    }
    if (since_ms)
        selection.since_us = clock_wall_us() - MIN(since_ms * 1000, clock_wall_us());
    if (r == 0 && selection.lines == 0) { /* to the platform 0 means all */
        if (!selection.is_followed)
            return 0;
        selection.lines = LINES_MAX;
        selection.since_us = clock_wall_us();
    }
    if (r == 0)
        r = command_app(command, command_argument(command, 0), &selection.app, &err);
    if (r == 0)
        r = check_app(command, selection.app, &err);
    if (r == 0)
        r = logs_print(command, &selection, -1, &is_interrupted, &err);
    if (r < 0)
        return fail_with(&err);
    return is_interrupted ? CLI_EXIT_INTERRUPTED : 0;
}
