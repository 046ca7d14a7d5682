#include "cli/cli_private.h"

#include "base/clock.h"
#include "base/text.h"
#include "base/units.h"
#include "os/file.h"
#include <stdarg.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char *const colour_codes[] = {
    [COLOUR_NONE] = "",         [COLOUR_BOLD] = "\x1b[1m",     [COLOUR_DIM] = "\x1b[2m",
    [COLOUR_RED] = "\x1b[31m",  [COLOUR_GREEN] = "\x1b[32m",   [COLOUR_YELLOW] = "\x1b[33m",
    [COLOUR_BLUE] = "\x1b[34m", [COLOUR_MAGENTA] = "\x1b[35m", [COLOUR_CYAN] = "\x1b[36m",
};

struct terminal terminal_of(int fd)
{
    struct terminal terminal = {.is_terminal = isatty(fd) == 1};
    const char *no_colour = getenv("NO_COLOR"), *kind = getenv("TERM");
    struct winsize size;
    if (!terminal.is_terminal)
        return terminal;
    terminal.has_colours = !(no_colour && no_colour[0]) && !(kind && strcmp(kind, "dumb") == 0);
    terminal.width = ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20 ? size.ws_col : 80;
    return terminal;
}

const char *colour_on(const struct terminal *terminal, enum colour colour)
{
    return terminal->has_colours ? colour_codes[colour] : "";
}

const char *colour_off(const struct terminal *terminal)
{
    return terminal->has_colours ? "\x1b[0m" : "";
}

enum colour colour_of_state(const char *state)
{
    static const struct {
        const char *word;
        enum colour colour;
    } words[] = {
        {"live", COLOUR_GREEN},       {"ready", COLOUR_GREEN},     {"removed", COLOUR_GREEN},
        {"failed", COLOUR_RED},       {"crash_loop", COLOUR_RED},  {"unhealthy", COLOUR_RED},
        {"degraded", COLOUR_YELLOW},  {"backoff", COLOUR_YELLOW},  {"restarting", COLOUR_YELLOW},
        {"draining", COLOUR_YELLOW},  {"stopping", COLOUR_YELLOW}, {"rolled_back", COLOUR_YELLOW},
        {"cancelled", COLOUR_YELLOW}, {"deploying", COLOUR_CYAN},  {"retired", COLOUR_DIM},
        {"stopped", COLOUR_DIM},      {"gone", COLOUR_DIM},
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(words[i].word, state) == 0)
            return words[i].colour;
    return COLOUR_NONE;
}

/* Length of an SGR sequence ("ESC [ 1;32 m") at the start of the text; 0: none. */
static size_t sgr_length(struct slice text)
{
    if (text.len < 3 || text.ptr[0] != '\x1b' || text.ptr[1] != '[')
        return 0;
    for (size_t i = 2; i < text.len && i < 32; i++) {
        char byte = text.ptr[i];
        if (byte == 'm')
            return i + 1;
        if (byte != ';' && byte != ':' && (byte < '0' || byte > '9'))
            return 0;
    }
    return 0;
}

static bool is_control(struct slice sequence)
{
    unsigned char first = (unsigned char)sequence.ptr[0];
    if (sequence.len == 1)
        return first < 0x20 || first == 0x7f;
    return sequence.len == 2 && first == 0xc2 && (unsigned char)sequence.ptr[1] < 0xa0;
}

void terminal_append(struct buf *buf, const struct terminal *terminal, struct slice text,
                     bool is_styled)
{
    bool is_coloured = false;
    if (!terminal->is_terminal) {
        buf_append_slice(buf, text);
        return;
    }
    while (text.len) {
        size_t len = is_styled ? sgr_length(text) : 0;
        if (len) {
            if (terminal->has_colours)
                buf_append(buf, text.ptr, len);
            is_coloured = terminal->has_colours;
        } else {
            len = text_utf8_sequence(text);
            struct slice sequence = slice_sub(text, 0, len);
            if (text.ptr[0] == '\t') {
                buf_append_text(buf, "    ");
            } else if (len == 0 || is_control(sequence)) {
                len = len ? len : 1;
                for (size_t i = 0; i < len; i++)
                    buf_printf(buf, "\\x%02x", (unsigned char)text.ptr[i]);
            } else {
                buf_append_slice(buf, sequence);
            }
        }
        text = slice_sub(text, len, text.len - len);
    }
    if (is_coloured)
        buf_append_text(buf, "\x1b[0m");
}

size_t text_columns(struct slice text)
{
    size_t columns = 0;
    for (size_t i = 0; i < text.len; i++) {
        size_t skipped = sgr_length(slice_sub(text, i, text.len - i));
        if (skipped)
            i += skipped - 1;
        else
            columns += ((unsigned char)text.ptr[i] & 0xc0) != 0x80;
    }
    return columns;
}

char *age_format(struct arena *arena, uint64_t us)
{
    uint64_t seconds = us / 1000000;
    if (seconds < 100)
        return arena_printf(arena, "%us", (unsigned)seconds);
    if (seconds < 100 * 60)
        return arena_printf(arena, "%um", (unsigned)(seconds / 60));
    if (seconds < 48 * 3600)
        return arena_printf(arena, "%uh", (unsigned)(seconds / 3600));
    return arena_printf(arena, "%ud", (unsigned)(seconds / 86400));
}

char *time_ago(struct arena *arena, const char *rfc3339)
{
    uint64_t at_us, now_us = clock_wall_us();
    if (!rfc3339 || clock_parse(rfc3339, &at_us) < 0)
        return arena_text(arena, "-");
    return arena_printf(arena, "%s ago", age_format(arena, now_us > at_us ? now_us - at_us : 0));
}

char *duration_format(struct arena *arena, uint64_t us)
{
    uint64_t ms = us / 1000;
    if (ms < 1000)
        return arena_printf(arena, "%ums", (unsigned)ms);
    if (ms < 60000)
        return arena_printf(arena, "%u.%us", (unsigned)(ms / 1000), (unsigned)(ms % 1000 / 100));
    return arena_printf(arena, "%um%02us", (unsigned)(ms / 60000), (unsigned)(ms % 60000 / 1000));
}

char *size_format(struct arena *arena, int64_t bytes)
{
    char text[UNITS_TEXT_SIZE];
    return arena_text(arena, bytes < 0 ? "-" : units_format_size((uint64_t)bytes, text));
}

void print_failure(const struct error *err)
{
    struct terminal terminal = terminal_of(STDERR_FILENO);
    struct buf text = BUF_INIT(8192);
    buf_printf(&text, "%sslipway:%s ", colour_on(&terminal, COLOUR_RED), colour_off(&terminal));
    terminal_append(&text, &terminal, slice_from(err->text[0] ? err->text : error_text(err->code)),
                    false);
    buf_append_byte(&text, '\n');
    if (err->hint[0]) {
        buf_printf(&text, "%sHINT:%s ", colour_on(&terminal, COLOUR_BOLD), colour_off(&terminal));
        terminal_append(&text, &terminal, slice_from(err->hint), false);
        buf_append_byte(&text, '\n');
    }
    (void)!file_write_all(STDERR_FILENO, buf_slice(&text), NULL);
    buf_done(&text);
}

int fail_with(const struct error *err)
{
    print_failure(err);
    return error_exit_status(err->code ? err->code : ERR_INTERNAL);
}

void print_buf(struct buf *buf)
{
    (void)!file_write_all(STDOUT_FILENO, buf_slice(buf), NULL);
    buf_clear(buf);
}

void print_note(const char *format, ...)
{
    struct buf text = BUF_INIT(8192);
    va_list args;
    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    buf_append_byte(&text, '\n');
    (void)!file_write_all(STDERR_FILENO, buf_slice(&text), NULL);
    buf_done(&text);
}
