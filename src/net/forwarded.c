/* forwarded.c - see forwarded.h. */
#include "net/forwarded.h"

#include <arpa/inet.h>

#define PORT_DIGITS_MAX 5u

struct slice forwarded_cut_last(struct slice *list, char separator)
{
    size_t start = 0;
    bool is_quoted = false, is_escaped = false;
    struct slice last;

    for (size_t i = 0; i < list->len; i++) {
        char byte = list->ptr[i];

        if (is_escaped)
            is_escaped = false;
        else if (is_quoted && byte == '\\')
            is_escaped = true;
        else if (byte == '"')
            is_quoted = !is_quoted;
        else if (byte == separator && !is_quoted)
            start = i + 1;
    }
    last = slice_trim(slice_sub(*list, start, list->len));
    list->len = start ? start - 1 : 0;
    return last;
}

struct slice forwarded_parameter(struct slice element, struct slice name)
{
    while (element.len) {
        struct slice pair = forwarded_cut_last(&element, ';');
        struct slice value;

        if (pair.len <= name.len + 1 || pair.ptr[name.len] != '=' ||
            !slice_eq_nocase(slice_sub(pair, 0, name.len), name))
            continue;
        value = slice_sub(pair, name.len + 1, pair.len);
        if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
            value = slice_sub(value, 1, value.len - 2);
        return value;
    }
    return SLICE("");
}

/* Behind an address: nothing, or ':' and digits. */
static bool is_port(struct slice text)
{
    if (text.len == 0)
        return true;
    if (text.ptr[0] != ':' || text.len < 2 || text.len > PORT_DIGITS_MAX + 1)
        return false;
    for (size_t i = 1; i < text.len; i++)
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
    return true;
}

static bool read_as(int family, struct slice text, uint8_t *to)
{
    char copy[INET6_ADDRSTRLEN];

    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    return strlen(copy) == text.len && inet_pton(family, copy, to) == 1;
}

bool forwarded_address(struct slice text, uint8_t ret_address[16])
{
    uint8_t address[16] = {[10] = 0xff, [11] = 0xff};
    ptrdiff_t colon = slice_find_byte(text, ':');
    ptrdiff_t end = slice_find_byte(text, ']');
    bool is_good;

    if (text.len && text.ptr[0] == '[')
        is_good = end > 0 && is_port(slice_sub(text, (size_t)end + 1, text.len)) &&
                  read_as(AF_INET6, slice_sub(text, 1, (size_t)end - 1), address);
    else
        is_good =
            read_as(AF_INET, slice_sub(text, 0, colon < 0 ? text.len : (size_t)colon), address + 12)
                ? colon < 0 || is_port(slice_sub(text, (size_t)colon, text.len))
                : read_as(AF_INET6, text, address);
    if (is_good)
        memcpy(ret_address, address, sizeof(address));
    return is_good;
}
