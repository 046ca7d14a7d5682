#include "base/error.h"

#include <errno.h>
#include <stdarg.h>

#undef error_set
#undef error_errno
#undef error_wrap
#undef error_hint

struct error_row {
    const char *name, *text;
    int http_status, exit_status;
};

static const struct error_row rows[] = {
#define X(code, name, http, exit, text) [(code) - (ERR_FIRST_ + 1)] = {name, text, http, exit},
#include "base/errors.def"
#undef X
};

static_assert(ERR_END_ <= 0, "every code lies below zero");

static const struct error_row *row_of(int code)
{
    if (code <= ERR_FIRST_ || code >= ERR_END_)
        return NULL;
    return &rows[code - (ERR_FIRST_ + 1)];
}

/* snprintf that shows where it cut. */
static void format_into(char *buffer, size_t size, const char *format, va_list args)
{
    int wanted = vsnprintf(buffer, size, format, args);
    if (wanted < 0)
        buffer[0] = '\0';
    else if ((size_t)wanted >= size)
        memcpy(buffer + size - 4, "...", 4);
}

static void PRINTF_LIKE(3, 4) format_text(char *buffer, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    format_into(buffer, size, format, args);
    va_end(args);
}

int error_set(struct error *err, int code, const char *format, ...)
{
    if (!err)
        return code;
    /* Formatted aside first: the arguments may point into err itself. */
    char text[sizeof(err->text)];
    va_list args;
    va_start(args, format);
    format_into(text, sizeof(text), format, args);
    va_end(args);
    memcpy(err->text, text, sizeof(text));
    err->code = code;
    err->hint[0] = '\0';
    return code;
}

static int code_of_errno(int errno_value)
{
    switch (errno_value) {
    case ENOENT:
        return ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
        return ERR_PERMISSION;
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case EEXIST:
        return ERR_EXISTS;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    default:
        return ERR_SYSTEM;
    }
}

int error_errno(struct error *err, int errno_value, const char *format, ...)
{
    int code = code_of_errno(errno_value);
    if (!err)
        return code;
    char context[sizeof(err->text)];
    va_list args;
    va_start(args, format);
    format_into(context, sizeof(context), format, args);
    va_end(args);

    /* strerrordesc_np needs no buffer and no lock, unlike strerror; the C library starts its texts
     * with a capital, ours stand inside a sentence. "RFS specific error" and the like stay. */
    const char *description = strerrordesc_np(errno_value);
    if (!description) {
        error_set(err, code, "%s: system error %d", context, errno_value);
    } else if (description[0] >= 'A' && description[0] <= 'Z' &&
               !(description[1] >= 'A' && description[1] <= 'Z')) {
        error_set(err, code, "%s: %c%s", context, description[0] - 'A' + 'a', description + 1);
    } else {
        error_set(err, code, "%s: %s", context, description);
    }
    return code;
}

int error_wrap(struct error *err, const char *format, ...)
{
    if (!err || err->code == 0)
        return ERR_INTERNAL;
    char context[sizeof(err->text)], text[sizeof(err->text)];
    va_list args;
    va_start(args, format);
    format_into(context, sizeof(context), format, args);
    va_end(args);
    format_text(text, sizeof(text), "%s: %s", context, err->text);
    memcpy(err->text, text, sizeof(text));
    return err->code;
}

int error_hint(struct error *err, const char *format, ...)
{
    if (!err || err->code == 0)
        return ERR_INTERNAL;
    char hint[sizeof(err->hint)];
    va_list args;
    va_start(args, format);
    format_into(hint, sizeof(hint), format, args);
    va_end(args);
    memcpy(err->hint, hint, sizeof(hint));
    return err->code;
}

void error_clear(struct error *err)
{
    if (!err)
        return;
    err->code = 0;
    err->text[0] = err->hint[0] = '\0';
}

int error_copy(struct error *to, const struct error *from)
{
    if (to && to != from)
        *to = *from;
    return from->code;
}

const char *error_name(int code)
{
    const struct error_row *row = row_of(code);
    return row ? row->name : "unknown";
}

const char *error_text(int code)
{
    const struct error_row *row = row_of(code);
    return row ? row->text : "unknown error";
}

int error_http_status(int code)
{
    const struct error_row *row = row_of(code);
    return row ? row->http_status : 500;
}

int error_exit_status(int code)
{
    const struct error_row *row = row_of(code);
    return row ? row->exit_status : code != 0;
}

int error_from_name(const char *name)
{
    for (size_t i = 0; name && i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].name, name) == 0)
            return (int)i + ERR_FIRST_ + 1;
    return ERR_FAILED;
}
