#include "base/log.h"

#include "base/clock.h"
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <unistd.h>

/* A pipe takes up to 4096 bytes (PIPE_BUF) whole or not at all, so lines of several processes never
 * mix. */
#define LINE_MAX_BYTES ((size_t)4096)

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const char *log_role = "slipway";
static enum log_level log_threshold = LOG_INFO;
static unsigned long dropped_lines;

void log_init(const char *role, enum log_level level)
{
    log_role = role;
    log_threshold = level;
}

void log_set_level(enum log_level level)
{
    log_threshold = level;
}

enum log_level log_level(void)
{
    return log_threshold;
}

int log_level_from_name(const char *name, enum log_level *ret_level)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *ret_level = (enum log_level)i;
            return 0;
        }
    }
    return ERR_INVALID;
}

/* Copy with control characters as \n, \t or \xNN; returns the new end. A text that does not fit
 * ends in "...". */
static char *escape_into(char *to, const char *end, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    const char *start = to;
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (end - to < 4) {
            if (to - start >= 3)
                memcpy(to - 3, "...", 3);
            return to;
        }
        if (byte >= 0x20 && byte != 0x7f) {
            *to++ = *text;
        } else {
            *to++ = '\\';
            if (byte == '\n' || byte == '\t' || byte == '\r') {
                *to++ = byte == '\n' ? 'n' : byte == '\t' ? 't' : 'r';
            } else {
                *to++ = 'x';
                *to++ = hex[byte >> 4];
                *to++ = hex[byte & 15];
            }
        }
    }
    return to;
}

/* Never waits: a full pipe takes less than a whole line, and poll says so. */
static bool can_write(void)
{
    struct pollfd stderr_poll = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&stderr_poll, 1, 0) == 1 && stderr_poll.revents & POLLOUT;
}

static void emit(enum log_level level, const char *text)
{
    char line[LINE_MAX_BYTES], time_text[CLOCK_TEXT_SIZE];
    clock_format(clock_wall_us(), time_text);
    memcpy(time_text + 23, "Z", 2); /* milliseconds are enough here */
    int head =
        snprintf(line, sizeof(line) / 2, "%s %s %s: ", time_text, level_names[level], log_role);
    char *at = line + MIN((size_t)head, sizeof(line) / 2 - 1);
    if (dropped_lines)
        at += snprintf(at, 64, "(%lu lines dropped) ", dropped_lines);
    at = escape_into(at, line + sizeof(line) - 1, text);
    *at++ = '\n';
    size_t len = (size_t)(at - line);
    if (can_write() && write(STDERR_FILENO, line, len) == (ssize_t)len)
        dropped_lines = 0;
    else
        dropped_lines++;
}

void log_write(enum log_level level, const char *format, ...)
{
    if (level > log_threshold)
        return;
    int errno_kept = errno;
    char text[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof(text), format, args) >= 0)
        emit(level, text);
    va_end(args);
    errno = errno_kept;
}

void log_failure(const struct error *err, const char *format, ...)
{
    int errno_kept = errno;
    char text[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text) / 2, format, args);
    va_end(args);
    if (len >= 0) {
        size_t at = MIN((size_t)len, sizeof(text) / 2 - 1);
        bool has_hint = err && err->hint[0];
        snprintf(text + at, sizeof(text) - at, ": %s%s%s", err ? err->text : "unknown failure",
                 has_hint ? " HINT: " : "", has_hint ? err->hint : "");
        emit(LOG_ERROR, text);
    }
    errno = errno_kept;
}
