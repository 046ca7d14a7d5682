/* Follow a deploy: its events as lines, on a terminal with a line below them that lives. The
 * connection may break at any time (the platform's control restarts): it is taken up again from the
 * beginning, and events that were shown are known by their time. */
#include "base/clock.h"
#include "base/units.h"
#include "cli/client.h"
#include "os/file.h"
#include <signal.h>
#include <unistd.h>

#define TICK_US         (100u * 1000u)
#define RECONNECT_US    (100u * 1000u)
#define GONE_AFTER_US   (30u * 1000000u) /* without a word from the platform */
#define IDLE_TIMEOUT_MS 60000u
#define LINE_LIMIT      ((size_t)1024 * 1024)
#define BAR_COLUMNS     12u

struct watch {
    struct command *command;
    const struct deploy_ticket *ticket;
    struct loop *loop;
    struct http_client_request request;
    struct http_client_handler handler;
    struct http_client *client;
    struct loop_timer tick, reconnect;
    struct loop_signal interrupt, terminate;
    struct terminal terminal;
    struct buf line, failure; /* of the stream, up to its newline; body of an error answer */
    int status;
    uint64_t heard_us;
    char last_time[CLOCK_TEXT_SIZE];
    uint64_t first_us; /* wall clock of the first event */
    unsigned spin;
    size_t stage;
    char state[32], message[256]; /* for the living line */
    bool is_json, has_living_line, is_interrupted, is_final, is_stopped;
    int code;
    struct error *err;
};

static const char *const stages[] = {"uploading", "queued",   "unpacking", "preparing", "building",
                                     "migrating", "starting", "checking",  "shifting",  "live"};

/* ---- the living line */

static void living_clear(struct watch *watch)
{
    if (watch->has_living_line)
        printf("\r\x1b[K");
    watch->has_living_line = false;
}

static void living_draw(struct watch *watch)
{
    static const char *const frames[] = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};
    const struct terminal *terminal = &watch->terminal;
    if (!terminal->is_terminal || watch->is_json || watch->is_final)
        return;
    CLEANUP(arena_freep) struct arena *arena = arena_new(65536);
    struct buf text = BUF_INIT(8192), message = BUF_INIT(4096);
    size_t filled = BAR_COLUMNS * watch->stage / (ARRAY_LEN(stages) - 1);
    uint64_t now_us = clock_wall_us(),
             since_us = now_us > watch->first_us ? now_us - watch->first_us : 0;
    const char *elapsed = duration_format(arena, watch->first_us ? since_us : 0);
    buf_printf(&text, "\r\x1b[K%s%s%s %-10s ", colour_on(terminal, COLOUR_CYAN),
               frames[watch->spin++ % ARRAY_LEN(frames)], colour_off(terminal), watch->state);
    for (size_t i = 0; i < BAR_COLUMNS; i++)
        buf_append_text(&text, i < filled ? "█" : "░");
    buf_printf(&text, " %6s  ", elapsed);
    size_t used = 2 + 11 + BAR_COLUMNS + 1 + 6 + 2,
           room = terminal->width > used + 1 ? terminal->width - used - 1 : 0;
    terminal_append(&message, terminal, slice_from(watch->message), false);
    size_t cut = 0, columns = 0;
    while (cut < message.len && columns <= room)
        columns += ((unsigned char)message.ptr[cut++] & 0xc0) != 0x80;
    buf_append_slice(&text,
                     slice_sub(buf_slice(&message), 0, columns > room && cut ? cut - 1 : cut));
    print_buf(&text);
    watch->has_living_line = true;
    buf_done(&text);
    buf_done(&message);
}

static void on_tick(struct loop_timer *timer)
{
    struct watch *watch = container_of(timer, struct watch, tick);
    living_draw(watch);
    loop_timer_start_in(watch->loop, timer, TICK_US);
}

/* ---- events */

/* The first reason to stop counts. */
static void watch_stop(struct watch *watch, int code)
{
    if (!watch->is_stopped)
        watch->code = code;
    watch->is_stopped = true;
    loop_stop(watch->loop);
}

static void print_event(struct watch *watch, const struct json *event, const char *state,
                        const char *message)
{
    const struct terminal *terminal = &watch->terminal;
    const char *level = json_get_text(event, "level", "info");
    const char *who = json_get_text(event, "instance", json_get_text(event, "service", NULL));
    bool is_state = strcmp(message, state) == 0;
    enum colour colour = strcmp(level, "error") == 0     ? COLOUR_RED
                         : strcmp(level, "warning") == 0 ? COLOUR_YELLOW
                                                         : COLOUR_NONE;
    uint64_t at_us = 0;
    if (clock_parse(json_get_text(event, "time", ""), &at_us) < 0 || at_us < watch->first_us)
        at_us = watch->first_us;
    if (is_state)
        return; /* says nothing beyond the column of states; the living line shows it */
    struct buf text = BUF_INIT(65536);
    CLEANUP(arena_freep) struct arena *arena = arena_new(65536);
    buf_printf(&text, "%s%7s%s  %-10s", colour_on(terminal, COLOUR_DIM),
               duration_format(arena, at_us - watch->first_us), colour_off(terminal), state);
    buf_printf(&text, "  %s", colour_on(terminal, colour));
    if (who && !strstr(message, who)) {
        terminal_append(&text, terminal, slice_from(who), false);
        buf_append_text(&text, ": ");
    }
    terminal_append(&text, terminal, slice_from(message), false);
    buf_printf(&text, "%s\n", colour != COLOUR_NONE ? colour_off(terminal) : "");
    living_clear(watch);
    fflush(stdout);
    print_buf(&text);
    buf_done(&text);
}

/* Everything that helps to understand why it did not go live. */
static void print_story(struct watch *watch, const struct json *final, const char *state)
{
    struct terminal terminal = terminal_of(STDERR_FILENO);
    struct buf text = BUF_INIT(4 * 1024 * 1024);
    const struct json *log = json_get(final, "log");
    const char *probe = json_get_text(final, "probe", NULL);
    const char *reason = json_get_text(final, "reason", NULL);
    const char *words = strcmp(state, "rolled_back") == 0 ? "was rolled back"
                        : strcmp(state, "cancelled") == 0 ? "was cancelled"
                                                          : "failed";
    if (log && log->count) {
        buf_printf(&text, "last %zu lines of output:\n", log->count);
        json_each (line, log) {
            buf_printf(&text, "%s|%s ", colour_on(&terminal, COLOUR_DIM), colour_off(&terminal));
            terminal_append(&text, &terminal, line->string, true);
            buf_append_byte(&text, '\n');
        }
    }
    if (probe && probe[0]) {
        buf_append_text(&text, "last probe: ");
        terminal_append(&text, &terminal, slice_from(probe), false);
        buf_append_byte(&text, '\n');
    }
    (void)!file_write_all(STDERR_FILENO, buf_slice(&text), NULL);
    buf_done(&text);
    error_set(watch->err, strcmp(state, "cancelled") == 0 ? ERR_CANCELLED : ERR_FAILED,
              "%s %llu of %s %s%s%s", json_get_text(final, "kind", "deploy"),
              (unsigned long long)watch->ticket->deploy, watch->ticket->app, words,
              reason && reason[0] ? ": " : "", reason ? reason : "");
    if (json_get_text(final, "hint", NULL) && json_get_text(final, "hint", "")[0])
        error_hint(watch->err, "%s", json_get_text(final, "hint", ""));
}

static void take_final(struct watch *watch, const struct json *event, const char *state,
                       const char *message)
{
    const struct terminal *terminal = &watch->terminal;
    bool is_good = strcmp(state, "live") == 0 || strcmp(state, "removed") == 0;
    living_clear(watch);
    fflush(stdout);
    watch->is_final = true;
    if (is_good && !watch->is_json) {
        struct buf text = BUF_INIT(65536);
        buf_printf(&text, "%s%s%s: ", colour_on(terminal, COLOUR_GREEN), watch->ticket->app,
                   colour_off(terminal));
        terminal_append(&text, terminal, slice_from(message), false);
        buf_append_byte(&text, '\n');
        print_buf(&text);
        buf_done(&text);
    } else if (!is_good) {
        if (!watch->is_json)
            print_story(watch, event, state);
        else
            error_set(watch->err, strcmp(state, "cancelled") == 0 ? ERR_CANCELLED : ERR_FAILED,
                      "%s", json_get_text(event, "reason", state));
    }
    watch_stop(watch, is_good ? 0 : watch->err->code);
}

static void take_line(struct watch *watch, struct slice line)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(8 * LINE_LIMIT);
    struct json *event;
    if (line.len == 0 || json_parse(arena, line, &event, NULL) < 0)
        return;
    const char *state = json_get_text(event, "state", "?");
    const char *message = json_get_text(event, "message", state),
               *time = json_get_text(event, "time", "");
    bool is_final = json_get_boolean(event, "final", false);
    if (!is_final && strcmp(time, watch->last_time) <= 0)
        return; /* shown before the connection broke */
    snprintf(watch->last_time, sizeof(watch->last_time), "%s", time);
    if (!watch->first_us && clock_parse(time, &watch->first_us) < 0)
        watch->first_us = clock_wall_us();
    snprintf(watch->state, sizeof(watch->state), "%s", state);
    snprintf(watch->message, sizeof(watch->message), "%s",
             strcmp(message, state) == 0 ? "" : message);
    for (size_t i = 0; i < ARRAY_LEN(stages); i++)
        if (strcmp(stages[i], state) == 0 && i > watch->stage)
            watch->stage = i;
    if (watch->is_json) {
        (void)!file_write_all(STDOUT_FILENO, line, NULL);
        (void)!file_write_all(STDOUT_FILENO, SLICE("\n"), NULL);
    } else if (!is_final) {
        print_event(watch, event, state, message);
        living_draw(watch);
    }
    if (is_final)
        take_final(watch, event, state, message);
}

/* ---- the connection */

static void on_head(struct http_client_handler *handler, int status)
{
    container_of(handler, struct watch, handler)->status = status;
}

static void on_data(struct http_client_handler *handler, struct slice data)
{
    struct watch *watch = container_of(handler, struct watch, handler);
    watch->heard_us = loop_now_us(watch->loop);
    if (watch->status != 200) {
        buf_append_slice(&watch->failure, data);
        return;
    }
    while (data.len && !watch->is_final) {
        ptrdiff_t end = slice_find_byte(data, '\n');
        size_t len = end < 0 ? data.len : (size_t)end;
        buf_append_slice(&watch->line, slice_sub(data, 0, len));
        data = slice_sub(data, len + (end >= 0), data.len);
        if (end < 0)
            return;
        if (!watch->line.failed)
            take_line(watch, buf_slice(&watch->line));
        buf_clear(&watch->line);
    }
}

static void on_done(struct http_client_handler *handler,
                    const struct http_client_response *response)
{
    struct watch *watch = container_of(handler, struct watch, handler);
    uint64_t now_us = loop_now_us(watch->loop);
    watch->client = NULL;
    buf_clear(&watch->line);
    if (watch->is_stopped)
        return;
    if (response->code == 0 && response->status != 200) {
        int code = platform_error(response->status, buf_slice(&watch->failure), watch->err);
        buf_clear(&watch->failure);
        if (code != ERR_UNAVAILABLE) {
            watch_stop(watch, code);
            return;
        }
    }
    if (response->code == ERR_UNAVAILABLE && !platform_is_there(watch->command->state_directory)) {
        error_set(watch->err, ERR_UNAVAILABLE,
                  "the platform stopped; the deploy goes on when it serves again");
        watch_stop(watch, ERR_UNAVAILABLE);
        return;
    }
    if (now_us > watch->heard_us + GONE_AFTER_US && response->code != ERR_TIMEOUT) {
        error_set(watch->err, ERR_TIMEOUT,
                  "the platform has not answered for 30s; the deploy goes on");
        error_hint(watch->err, "'slipway status' shows how it ended");
        watch_stop(watch, ERR_TIMEOUT);
        return;
    }
    loop_timer_start_in(watch->loop, &watch->reconnect, RECONNECT_US);
}

static void on_reconnect(struct loop_timer *timer)
{
    struct watch *watch = container_of(timer, struct watch, reconnect);
    watch->status = 0;
    int r = http_client_start(watch->loop, &watch->request, &watch->handler, &watch->client,
                              watch->err);
    if (r < 0)
        watch_stop(watch, r);
}

static void on_signal(struct loop_signal *signal)
{
    struct watch *watch = signal->number == SIGINT ? container_of(signal, struct watch, interrupt)
                                                   : container_of(signal, struct watch, terminate);
    living_clear(watch);
    fflush(stdout);
    watch->is_interrupted = true;
    watch_stop(watch, 0);
}

static int watch_run(struct watch *watch)
{
    int r = loop_signal_start(watch->loop, &watch->interrupt, SIGINT, watch->err);
    if (r == 0)
        r = loop_signal_start(watch->loop, &watch->terminate, SIGTERM, watch->err);
    if (r == 0) {
        loop_timer_start_in(watch->loop, &watch->tick, TICK_US);
        loop_timer_start_in(watch->loop, &watch->reconnect, 0);
        watch->heard_us = clock_monotonic_us();
        r = loop_run(watch->loop, watch->err);
    }
    living_clear(watch);
    fflush(stdout);
    http_client_cancel(watch->client);
    loop_timer_stop(&watch->tick);
    loop_timer_stop(&watch->reconnect);
    loop_signal_stop(&watch->interrupt);
    loop_signal_stop(&watch->terminate);
    return r < 0 ? r : watch->code;
}

int deploy_watch(struct command *command, const struct deploy_ticket *ticket,
                 bool *ret_is_interrupted, struct error *err)
{
    struct address address;
    CLEANUP(fd_closep) int directory_fd = -1;
    struct watch watch = {
        .command = command,
        .ticket = ticket,
        .handler = {on_head, on_data, on_done},
        .tick.on_timer = on_tick,
        .reconnect.on_timer = on_reconnect,
        .interrupt.on_signal = on_signal,
        .terminate.on_signal = on_signal,
        .terminal = terminal_of(STDOUT_FILENO),
        .line = BUF_INIT(LINE_LIMIT),
        .failure = BUF_INIT(65536),
        .is_json = strcmp(command->verb->name, "up") != 0 && command_option(command, "json"),
        .state = "queued",
        .err = err,
    };
    int r = client_request(command, &address, &directory_fd, &watch.request, err);
    if (r == 0)
        r = loop_new(&watch.loop, err);
    if (r < 0)
        return r;
    watch.request.method = "GET";
    watch.request.target =
        target_format(command, "/v1/apps/%s/deploys/%llu/events", encoded(command, ticket->app),
                      (unsigned long long)ticket->deploy);
    watch.request.is_streamed = true;
    watch.request.idle_timeout_ms = IDLE_TIMEOUT_MS;
    r = watch_run(&watch);
    loop_free(watch.loop);
    buf_done(&watch.line);
    buf_done(&watch.failure);
    *ret_is_interrupted = watch.is_interrupted;
    return r;
}
