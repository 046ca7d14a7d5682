/* log.h - the platform's own log lines: one line each, to stderr (the keeper's log pipe or the
 * terminal). "2026-03-01T12:34:56.789Z info control: text". Control characters in arguments are
 * escaped. Not for units' output. Never blocks: a line that stderr cannot take is dropped and
 * counted in the next one. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/error.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

void log_init(const char *role, enum log_level level); /* role is borrowed for ever */
void log_set_level(enum log_level level);
enum log_level log_level(void);
MUST_USE int log_level_from_name(const char *name,
                                 enum log_level *ret_level); /* error|warning|info|debug */
void log_write(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);
void log_failure(const struct error *err, const char *format, ...)
    PRINTF_LIKE(2, 3); /* "format: story" + HINT */

#define log_error(...)   log_write(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (UNLIKELY(log_level() >= LOG_DEBUG))                                                    \
            log_write(LOG_DEBUG, __VA_ARGS__);                                                     \
    } while (0)

#endif
