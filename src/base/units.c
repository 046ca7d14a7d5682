#include "base/units.h"

#include "base/error.h"

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest first: sums come in this order. */
static const struct unit durations[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static struct slice take_while(struct slice *rest, bool (*belongs)(char))
{
    size_t len = 0;
    while (len < rest->len && belongs(rest->ptr[len]))
        len++;
    struct slice taken = slice_sub(*rest, 0, len);
    *rest = slice_sub(*rest, len, SIZE_MAX);
    return taken;
}

int units_parse_duration_ms(struct slice text, uint64_t *ret_ms)
{
    if (slice_eq(text, SLICE("0"))) {
        *ret_ms = 0;
        return 0;
    }
    uint64_t total = 0;
    size_t next_unit = 0; /* a sum names each unit at most once */
    if (text.len == 0)
        return ERR_INVALID;
    while (text.len) {
        uint64_t number;
        if (slice_to_u64(take_while(&text, is_digit), &number) != 0)
            return ERR_INVALID;
        struct slice name = take_while(&text, is_letter);
        while (next_unit < ARRAY_LEN(durations) &&
               !slice_eq(name, slice_from(durations[next_unit].name)))
            next_unit++;
        if (next_unit == ARRAY_LEN(durations))
            return ERR_INVALID;
        if (__builtin_mul_overflow(number, durations[next_unit].factor, &number) ||
            __builtin_add_overflow(total, number, &total))
            return ERR_INVALID;
        next_unit++;
    }
    *ret_ms = total;
    return 0;
}

/* Digits with an optional fraction of up to six digits, in millionths. */
static int take_millionths(struct slice *text, uint64_t *ret_millionths)
{
    uint64_t whole, fraction = 0;
    if (slice_to_u64(take_while(text, is_digit), &whole) != 0)
        return ERR_INVALID;
    if (text->len && text->ptr[0] == '.') {
        *text = slice_sub(*text, 1, SIZE_MAX);
        struct slice digits = take_while(text, is_digit);
        if (digits.len > 6 || slice_to_u64(digits, &fraction) != 0)
            return ERR_INVALID;
        for (size_t i = digits.len; i < 6; i++)
            fraction *= 10;
    }
    if (__builtin_mul_overflow(whole, 1000000u, &whole) ||
        __builtin_add_overflow(whole, fraction, ret_millionths))
        return ERR_INVALID;
    return 0;
}

int units_parse_size(struct slice text, uint64_t *ret_bytes)
{
    static const char prefixes[] = "kmgtp";
    if (slice_eq(text, SLICE("0"))) {
        *ret_bytes = 0;
        return 0;
    }
    uint64_t millionths;
    if (take_millionths(&text, &millionths) != 0 || text.len == 0)
        return ERR_INVALID;
    unsigned shift = 0;
    if (!slice_eq_nocase(text, SLICE("b"))) {
        const char *prefix = text.ptr[0] ? strchr(prefixes, text.ptr[0] | 0x20) : NULL;
        struct slice tail = slice_sub(text, 1, SIZE_MAX);
        if (!prefix ||
            (tail.len && !slice_eq_nocase(tail, SLICE("b")) && !slice_eq_nocase(tail, SLICE("ib"))))
            return ERR_INVALID;
        shift = (unsigned)(prefix - prefixes + 1) * 10;
    }
    /* 128 bits: a millionth of the largest size still counts. */
    unsigned __int128 bytes = ((unsigned __int128)millionths << shift) / 1000000;
    if (bytes > UINT64_MAX)
        return ERR_INVALID;
    *ret_bytes = (uint64_t)bytes;
    return 0;
}

int units_parse_percent(struct slice text, double *ret_percent)
{
    if (slice_eq(text, SLICE("0"))) {
        *ret_percent = 0;
        return 0;
    }
    uint64_t millionths;
    if (take_millionths(&text, &millionths) != 0 || !slice_eq(text, SLICE("%")))
        return ERR_INVALID;
    *ret_percent = (double)millionths / 1e6;
    return 0;
}

char *units_format_duration_ms(uint64_t ms, char *buffer)
{
    size_t len = 0;
    for (size_t i = 0; i < ARRAY_LEN(durations); i++) {
        uint64_t number = ms / durations[i].factor;
        if (number == 0)
            continue;
        ms -= number * durations[i].factor;
        len += (size_t)snprintf(buffer + len, UNITS_TEXT_SIZE - len, "%llu%s",
                                (unsigned long long)number, durations[i].name);
    }
    if (len == 0)
        memcpy(buffer, "0s", 3);
    return buffer;
}

char *units_format_size(uint64_t bytes, char *buffer)
{
    static const char prefixes[] = "KMGTPE";
    if (bytes < 1024) {
        snprintf(buffer, UNITS_TEXT_SIZE, "%lluB", (unsigned long long)bytes);
        return buffer;
    }
    unsigned level = 0;
    while (level + 1 < sizeof(prefixes) - 1 && bytes >> (10 * (level + 2)))
        level++;
    unsigned shift = 10 * (level + 1);
    /* Tenths, rounded to the nearest; 1023.96K reads better as 1M. */
    uint64_t tenths =
        (uint64_t)((((unsigned __int128)bytes * 10) + ((unsigned __int128)1 << (shift - 1))) >>
                   shift);
    if (tenths >= 10240 && level + 1 < sizeof(prefixes) - 1) {
        tenths = 10;
        level++;
    }
    if (tenths % 10)
        snprintf(buffer, UNITS_TEXT_SIZE, "%llu.%llu%c", (unsigned long long)(tenths / 10),
                 (unsigned long long)(tenths % 10), prefixes[level]);
    else
        snprintf(buffer, UNITS_TEXT_SIZE, "%llu%c", (unsigned long long)(tenths / 10),
                 prefixes[level]);
    return buffer;
}
