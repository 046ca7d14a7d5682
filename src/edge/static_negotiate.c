/* static_negotiate.c - which representation, whether it is needed at all, and how much of it: the
 * conditional and range rules of RFC 9110 for files. */
#include "edge/static_private.h"

#define QUALITY_ONE 1000 /* q-values in thousandths */

static int quality_parse(struct slice text)
{
    int quality, scale = 100;

    if (text.len == 0 || text.len > 5 || (text.ptr[0] != '0' && text.ptr[0] != '1') ||
        (text.len > 1 && text.ptr[1] != '.'))
        return -1;
    quality = (text.ptr[0] - '0') * QUALITY_ONE;
    for (size_t i = 2; i < text.len; i++, scale /= 10) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return -1;
        quality += (text.ptr[i] - '0') * scale;
    }
    return quality <= QUALITY_ONE ? quality : -1;
}

/* The q of "name;q=0.5;x=y", 1 without one, -1 when it makes no sense. */
static int element_quality(struct slice parameters)
{
    while (parameters.ptr) {
        struct slice parameter = slice_trim(slice_cut(&parameters, ';'));

        if (parameter.len >= 2 && (parameter.ptr[0] == 'q' || parameter.ptr[0] == 'Q') &&
            parameter.ptr[1] == '=')
            return quality_parse(slice_sub(parameter, 2, parameter.len));
        if (parameters.len == 0)
            break;
    }
    return QUALITY_ONE;
}

enum static_coding static_negotiate(struct slice accept_encoding,
                                    const bool is_present[STATIC_CODINGS])
{
    static const struct {
        struct slice name;
        enum static_coding coding;
    } names[] = {{{"br", 2}, STATIC_BROTLI},
                 {{"gzip", 4}, STATIC_GZIP},
                 {{"x-gzip", 6}, STATIC_GZIP},
                 {{"identity", 8}, STATIC_IDENTITY}};
    int quality[STATIC_CODINGS] = {-1, -1, -1}, any = -1, best_quality = 0;
    enum static_coding best = STATIC_IDENTITY;

    while (accept_encoding.len > 0) {
        struct slice parameters = slice_cut(&accept_encoding, ',');
        struct slice name = slice_trim(slice_cut(&parameters, ';'));
        int q = parameters.len > 0 ? element_quality(parameters) : QUALITY_ONE;

        if (q < 0)
            continue;
        if (name.len == 1 && name.ptr[0] == '*')
            any = q;
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            if (slice_eq_nocase(name, names[i].name))
                quality[names[i].coding] = q;
    }
    for (enum static_coding coding = STATIC_IDENTITY; coding < STATIC_CODINGS; coding++) {
        int q = quality[coding] >= 0 ? quality[coding] : any;

        if (q < 0)
            q = coding == STATIC_IDENTITY
                    ? 1
                    : 0; /* identity is welcome, after all that was asked for */
        if (is_present[coding] && q > 0 && q >= best_quality) {
            best = coding;
            best_quality = q;
        }
    }
    return best;
}

bool static_etag_is_listed(struct slice list, struct slice etag)
{
    if (slice_eq(list, etag))
        return true;
    if (list.len == 1 && list.ptr[0] == '*')
        return true;
    /* An entity tag may contain a comma, so the quotes lead. */
    while (list.len > 0) {
        ptrdiff_t open = slice_find_byte(list, '"'), close;

        if (open < 0)
            return false;
        list = slice_sub(list, (size_t)open, list.len);
        close = slice_find_byte(slice_sub(list, 1, list.len), '"');
        if (close < 0)
            return false;
        if (slice_eq(slice_sub(list, 0, (size_t)close + 2), etag))
            return true;
        list = slice_sub(list, (size_t)close + 2, list.len);
    }
    return false;
}

bool static_date_is(struct slice date, int64_t epoch_seconds)
{
    uint64_t asked;

    return http1_parse_date(date, &asked) == 0 && asked == (uint64_t)epoch_seconds;
}

/* A number of any length; more than fits is "very far". False when it is not a number. */
static bool position_parse(struct slice text, uint64_t *ret_position)
{
    uint64_t position = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        if (position > (UINT64_MAX - 9) / 10)
            position = (UINT64_MAX - 9) / 10;
        else
            position = position * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    *ret_position = position;
    return text.len > 0;
}

enum static_range static_range_parse(struct slice range, uint64_t size, uint64_t *ret_offset,
                                     uint64_t *ret_len)
{
    struct slice first;
    uint64_t from, to = UINT64_MAX;

    if (range.len < 6 || !slice_eq_nocase(slice_sub(range, 0, 6), SLICE("bytes=")))
        return STATIC_RANGE_NONE;
    range = slice_trim(slice_sub(range, 6, range.len));
    if (slice_find_byte(range, '-') < 0)
        return STATIC_RANGE_NONE;
    first = slice_cut(&range, '-');
    if (first.len == 0) { /* the last n bytes */
        if (!position_parse(range, &from))
            return STATIC_RANGE_NONE;
        if (from == 0 || size == 0)
            return STATIC_RANGE_UNSATISFIABLE;
        *ret_len = MIN(from, size);
        *ret_offset = size - *ret_len;
        return STATIC_RANGE_ONE;
    }
    if (!position_parse(first, &from) || (range.len > 0 && !position_parse(range, &to)) ||
        from > to)
        return STATIC_RANGE_NONE;
    if (from >= size)
        return STATIC_RANGE_UNSATISFIABLE;
    *ret_offset = from;
    *ret_len = MIN(to, size - 1) - from + 1;
    return STATIC_RANGE_ONE;
}
