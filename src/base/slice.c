#include "base/slice.h"

#include "base/error.h"

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool slice_eq_nocase(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.ptr[i]) != lower(b.ptr[i]))
            return false;
    return true;
}

int slice_compare(struct slice a, struct slice b)
{
    size_t common = MIN(a.len, b.len);
    int order = common ? memcmp(a.ptr, b.ptr, common) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

bool slice_starts_with(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && slice_eq((struct slice){s.ptr, prefix.len}, prefix);
}

bool slice_ends_with(struct slice s, struct slice suffix)
{
    return s.len >= suffix.len && slice_eq(slice_sub(s, s.len - suffix.len, suffix.len), suffix);
}

ptrdiff_t slice_find_byte(struct slice s, char byte)
{
    const char *found = s.len ? memchr(s.ptr, byte, s.len) : NULL;
    return found ? found - s.ptr : -1;
}

ptrdiff_t slice_find(struct slice haystack, struct slice needle)
{
    if (needle.len == 0)
        return 0;
    if (haystack.len < needle.len)
        return -1;
    const char *found = memmem(haystack.ptr, haystack.len, needle.ptr, needle.len);
    return found ? found - haystack.ptr : -1;
}

struct slice slice_sub(struct slice s, size_t from, size_t len)
{
    if (from >= s.len)
        return (struct slice){s.ptr ? s.ptr + s.len : NULL, 0};
    return (struct slice){s.ptr + from, MIN(len, s.len - from)};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct slice slice_trim(struct slice s)
{
    while (s.len && is_blank(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

struct slice slice_cut(struct slice *rest, char separator)
{
    if (rest->len == 0) {
        *rest = (struct slice){NULL, 0};
        return *rest;
    }
    ptrdiff_t at = slice_find_byte(*rest, separator);
    struct slice head = {rest->ptr, at < 0 ? rest->len : (size_t)at};
    *rest = at < 0 ? (struct slice){NULL, 0} : slice_sub(*rest, (size_t)at + 1, SIZE_MAX);
    return head;
}

int slice_to_u64(struct slice s, uint64_t *ret_value)
{
    if (s.len == 0)
        return ERR_INVALID;
    uint64_t value = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return ERR_INVALID;
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s.ptr[i] - '0'), &value))
            return ERR_INVALID;
    }
    *ret_value = value;
    return 0;
}

int slice_to_i64(struct slice s, int64_t *ret_value)
{
    bool negative = s.len && s.ptr[0] == '-';
    uint64_t magnitude;
    if (slice_to_u64(negative ? slice_sub(s, 1, SIZE_MAX) : s, &magnitude) != 0)
        return ERR_INVALID;
    if (magnitude > (uint64_t)INT64_MAX + negative)
        return ERR_INVALID;
    *ret_value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return 0;
}
