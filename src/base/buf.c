#include "base/buf.h"

void buf_done(struct buf *buf)
{
    if (!buf)
        return;
    free(buf->ptr);
    *buf = BUF_INIT(buf->limit);
}

void buf_wipe(struct buf *buf)
{
    if (!buf)
        return;
    if (buf->ptr)
        explicit_bzero(buf->ptr, buf->capacity);
    buf_done(buf);
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
    if (buf->ptr)
        buf->ptr[0] = '\0';
}

char *buf_reserve(struct buf *buf, size_t len)
{
    if (buf->failed)
        return NULL;
    size_t wanted;
    if (__builtin_add_overflow(buf->len, len, &wanted) || wanted > buf->limit ||
        wanted == SIZE_MAX) {
        buf->failed = true;
        return NULL;
    }
    if (LIKELY(wanted < buf->capacity))
        return buf->ptr + buf->len;

    /* Doubling, with one byte for the NUL, never above the ceiling. */
    size_t capacity = buf->capacity > SIZE_MAX / 2 ? SIZE_MAX : MAX(buf->capacity * 2, (size_t)64);
    capacity = MAX(capacity, wanted + 1);
    if (buf->limit < SIZE_MAX)
        capacity = MIN(capacity, buf->limit + 1);
    char *grown = realloc(buf->ptr, capacity);
    if (!grown) {
        buf->failed = true;
        return NULL;
    }
    buf->ptr = grown;
    buf->capacity = capacity;
    buf->ptr[buf->len] = '\0';
    return buf->ptr + buf->len;
}

void buf_append(struct buf *buf, const void *bytes, size_t len)
{
    char *to = buf_reserve(buf, len);
    if (!to)
        return;
    if (len)
        memcpy(to, bytes, len);
    buf->len += len;
    buf->ptr[buf->len] = '\0';
}

void buf_append_slice(struct buf *buf, struct slice s)
{
    buf_append(buf, s.ptr, s.len);
}

void buf_append_text(struct buf *buf, const char *text)
{
    buf_append_slice(buf, slice_from(text));
}

void buf_append_byte(struct buf *buf, char byte)
{
    buf_append(buf, &byte, 1);
}

void buf_append_u64(struct buf *buf, uint64_t value)
{
    char digits[20], *at = digits + sizeof(digits);
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    buf_append(buf, at, (size_t)(digits + sizeof(digits) - at));
}

void buf_vprintf(struct buf *buf, const char *format, va_list args)
{
    if (!buf_reserve(buf, 0))
        return;
    va_list again;
    va_copy(again, args);
    size_t room = buf->capacity - buf->len;
    int wanted = vsnprintf(buf->ptr + buf->len, room, format, args);
    if (wanted < 0) {
        buf->failed = true;
    } else if ((size_t)wanted < room) {
        buf->len += (size_t)wanted;
    } else if (buf_reserve(buf, (size_t)wanted)) {
        vsnprintf(buf->ptr + buf->len, (size_t)wanted + 1, format, again);
        buf->len += (size_t)wanted;
    }
    buf->ptr[buf->len] = '\0';
    va_end(again);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    buf_vprintf(buf, format, args);
    va_end(args);
}

void buf_consume(struct buf *buf, size_t len)
{
    assert(len <= buf->len);
    if (len == 0)
        return;
    buf->len -= len;
    memmove(buf->ptr, buf->ptr + len, buf->len);
    buf->ptr[buf->len] = '\0';
}

struct slice buf_slice(const struct buf *buf)
{
    return (struct slice){buf->ptr, buf->len};
}

const char *buf_text(const struct buf *buf)
{
    return buf->ptr ? buf->ptr : "";
}

char *buf_take(struct buf *buf)
{
    char *taken = buf->ptr ? buf->ptr : calloc(1, 1);
    if (!taken)
        abort();
    *buf = BUF_INIT(buf->limit);
    return taken;
}
