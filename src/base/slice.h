/* slice.h - a borrowed view of bytes. Not NUL-terminated; owns nothing; two registers wide.
 * The zero value is the empty slice. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include "base/compiler.h"
#include <stdbool.h>
#include <string.h>

struct slice {
    const char *ptr;
    size_t len;
};

#define SLICE(literal) ((struct slice){(literal), sizeof(literal) - 1})
#define SLICE_FORMAT   "%.*s"
#define SLICE_ARG(s)   ((int)(s).len), ((s).ptr ? (s).ptr : "")

static inline struct slice slice_from(const char *text)
{
    return (struct slice){text, text ? strlen(text) : 0};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool slice_eq_nocase(struct slice a, struct slice b); /* ASCII only */
int slice_compare(struct slice a, struct slice b);    /* bytewise, shorter first; <0, 0, >0 */
bool slice_starts_with(struct slice s, struct slice prefix);
bool slice_ends_with(struct slice s, struct slice suffix);
/* Offset of the first match, or -1. */
ptrdiff_t slice_find_byte(struct slice s, char byte);
ptrdiff_t slice_find(struct slice haystack, struct slice needle);
struct slice slice_sub(struct slice s, size_t from, size_t len); /* clamped to s */
struct slice slice_trim(struct slice s);                         /* SP, HTAB, CR, LF on both ends */
/* Cut off and return what stands before `separator` (the whole rest if it is absent); *rest moves
 * behind it. When nothing is left, returns the empty slice with ptr NULL. */
struct slice slice_cut(struct slice *rest, char separator);
/* Decimal digits only, whole slice, overflow-checked. 0, or ERR_INVALID with *ret_value untouched.
 */
MUST_USE int slice_to_u64(struct slice s, uint64_t *ret_value);
MUST_USE int slice_to_i64(struct slice s, int64_t *ret_value); /* optional leading '-' */

#endif
