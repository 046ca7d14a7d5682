/* buf.h - a growing byte buffer with a ceiling given at birth.
 *
 * Appending beyond the ceiling (or out of memory) sets `failed`, which sticks: every later append
 * is a no-op and the content stays what it was before the failing append. So a writer appends
 * freely and checks once at the end. `ptr` is always NUL-terminated once anything was appended (the
 * NUL is not counted in len).
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/slice.h"
#include <stdarg.h>
#include <stdbool.h>

struct buf {
    char *ptr;
    size_t len;
    size_t capacity;
    size_t limit; /* bytes, content only */
    bool failed;
};

#define BUF_INIT(limit_bytes) ((struct buf){.limit = (limit_bytes)})

void buf_done(struct buf *buf);  /* frees; NULL and zero value allowed; the limit survives, so buf
                                    can be used again */
void buf_wipe(struct buf *buf);  /* overwrites what it had (keys, passwords), then as buf_done */
void buf_clear(struct buf *buf); /* keeps the memory, resets len and failed */
void buf_append(struct buf *buf, const void *bytes, size_t len);
void buf_append_slice(struct buf *buf, struct slice s);
void buf_append_text(struct buf *buf, const char *text);
void buf_append_byte(struct buf *buf, char byte);
void buf_append_u64(struct buf *buf, uint64_t value); /* decimal, without printf */
void buf_printf(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);
void buf_vprintf(struct buf *buf, const char *format, va_list args);
/* Room for `len` more bytes at buf->ptr + buf->len, or NULL when that would pass the ceiling
 * (failed is set). The caller adds what it wrote to buf->len. */
char *buf_reserve(struct buf *buf, size_t len);
/* Drop the first `len` bytes (memmove). */
void buf_consume(struct buf *buf, size_t len);
struct slice buf_slice(const struct buf *buf);
const char *buf_text(const struct buf *buf); /* "" when empty */
/* Move the memory out (NUL-terminated, free() it); the buffer is empty afterwards. Never NULL. */
char *buf_take(struct buf *buf);

#endif
