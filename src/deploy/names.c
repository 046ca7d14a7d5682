#include "deploy/names.h"
#include "base/peer_protocol.h"
#include "base/slice.h"
#include <stdarg.h>
#include <stdio.h>

bool names_is_valid(const char *name)
{
    size_t len = name ? strlen(name) : 0;

    if (len == 0 || len >= NAMES_NAME_SIZE || name[0] < 'a' || name[0] > 'z')
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static char *format_into(char *buffer, size_t size, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

static char *format_into(char *buffer, size_t size, const char *format, va_list args)
{
    int len = vsnprintf(buffer, size, format, args);

    assert(len >= 0 && (size_t)len < size);
    return buffer;
}

char *names_key(char *buffer, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    format_into(buffer, NAMES_KEY_SIZE, format, args);
    va_end(args);
    return buffer;
}

char *names_path(char *buffer, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    format_into(buffer, NAMES_PATH_SIZE, format, args);
    va_end(args);
    return buffer;
}

char *names_label(char *buffer, const char *app, const char *service, uint64_t release,
                  const char *instance, const char *kind)
{
    int len = snprintf(buffer, NAMES_LABEL_SIZE, "%s%c%s%c%llu%c%s%c%s", app, LABEL_SEPARATOR,
                       service, LABEL_SEPARATOR, (unsigned long long)release, LABEL_SEPARATOR,
                       instance, LABEL_SEPARATOR, kind);

    assert(len >= 0 && len < NAMES_LABEL_SIZE);
    return buffer;
}

bool names_number(const char *key, uint64_t *ret_number)
{
    const char *last = strrchr(key, '/');

    return last && slice_to_u64(slice_from(last + 1), ret_number) == 0;
}
