/* http1_fields.c - the known fields, byte classes, and the small syntax checks of the codec. */
#include "net/http1_private.h"

#define T  HTTP1_CLASS_TOKEN
#define G  HTTP1_CLASS_TARGET
#define V  HTTP1_CLASS_VALUE
#define D  HTTP1_CLASS_DIGIT
#define X_ HTTP1_CLASS_HEX
#define H  HTTP1_CLASS_HOST

const uint8_t http1_class_table[256] = {
    ['\t'] = V,
    [' '] = V,
    ['!'] = T | G | V,
    ['"'] = G | V,
    ['#'] = T | V,
    ['$' ... '\''] = T | G | V,
    ['('] = G | V,
    [')'] = G | V,
    ['*'] = T | G | V,
    ['+'] = T | G | V,
    [','] = G | V,
    ['-'] = T | G | V | H,
    ['.'] = T | G | V | H,
    ['/'] = G | V,
    ['0' ... '9'] = T | G | V | D | X_ | H,
    [':' ... '@'] = G | V,
    ['A' ... 'F'] = T | G | V | X_ | H,
    ['G' ... 'Z'] = T | G | V | H,
    ['['] = G | V,
    ['\\'] = G | V,
    [']'] = G | V,
    ['^'] = T | G | V,
    ['_'] = T | G | V | H,
    ['`'] = T | G | V,
    ['a' ... 'f'] = T | G | V | X_ | H,
    ['g' ... 'z'] = T | G | V | H,
    ['{'] = G | V,
    ['|'] = T | G | V,
    ['}'] = G | V,
    ['~'] = T | G | V | H,
    [0x80 ... 0xff] = V,
};

#undef T
#undef G
#undef V
#undef D
#undef X_
#undef H

#define FIELD_NAME_MAX 32 /* longer names are not known */

static const struct {
    const char *name;
    uint8_t len, flags;
} field_info[HTTP1_FIELD_COUNT] = {
    [HTTP1_FIELD_OTHER] = {"", 0, 0},
#define X(id, text, bits) [HTTP1_FIELD_##id] = {text, sizeof(text) - 1, bits},
    HTTP1_FIELD_TABLE(X)
#undef X
        [HTTP1_FIELD_SHADOW] = {"", 0, 0},
};

/* Open addressing over (length, first, last byte); filled at first use, then read-only. */
static uint8_t field_slots[256];
static bool field_slots_ready;

static unsigned field_hash(const char *name, size_t len)
{
    unsigned first = (uint8_t)name[0] | 0x20u;
    unsigned middle = (uint8_t)name[len / 2] | 0x20u;
    unsigned last = (uint8_t)name[len - 1] | 0x20u;

    return ((unsigned)len * 37u + first * 7u + middle * 29u + last * 3u) & 255u;
}

static void field_slots_fill(void)
{
    for (unsigned id = HTTP1_FIELD_OTHER + 1; id < HTTP1_FIELD_SHADOW; id++) {
        unsigned at = field_hash(field_info[id].name, field_info[id].len);

        while (field_slots[at])
            at = (at + 1) & 255u;
        field_slots[at] = (uint8_t)id;
    }
    field_slots_ready = true;
}

/* `name` is a token and `lower` has only [a-z0-9-], so setting bit 5 folds case and nothing else.
 */
static bool name_equals(const char *name, const char *lower, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (((uint8_t)name[i] | 0x20u) != (uint8_t)lower[i])
            return false;
    return true;
}

static enum http1_field_id field_lookup(const char *name, size_t len)
{
    if (UNLIKELY(!field_slots_ready))
        field_slots_fill();
    for (unsigned at = field_hash(name, len); field_slots[at]; at = (at + 1) & 255u) {
        unsigned id = field_slots[at];

        if (field_info[id].len == len && name_equals(name, field_info[id].name, len))
            return (enum http1_field_id)id;
    }
    return HTTP1_FIELD_OTHER;
}

/* The whole family is the edge's own, also what it does not say yet. */
static bool is_client_certificate(struct slice name)
{
    static const char prefix[] = "x-client-certificate";
    size_t len = sizeof(prefix) - 1;

    if (name.len < len || (name.ptr[0] | 0x20) != 'x')
        return false;
    for (size_t i = 0; i < len; i++)
        if ((prefix[i] == '-') ? name.ptr[i] != '-' && name.ptr[i] != '_'
                               : ((uint8_t)name.ptr[i] | 0x20u) != (uint8_t)prefix[i])
            return false;
    return true;
}

enum http1_field_id http1_field_identify(struct slice name)
{
    enum http1_field_id id;
    char folded[FIELD_NAME_MAX];

    if (is_client_certificate(name))
        return HTTP1_FIELD_SHADOW;
    if (name.len == 0 || name.len > FIELD_NAME_MAX)
        return HTTP1_FIELD_OTHER;
    id = field_lookup(name.ptr, name.len);
    if (id != HTTP1_FIELD_OTHER || !memchr(name.ptr, '_', name.len))
        return id;
    for (size_t i = 0; i < name.len; i++)
        folded[i] = (char)(name.ptr[i] == '_' ? '-' : name.ptr[i]);
    id = field_lookup(folded, name.len);
    return http1_field_flags(id) & HTTP1_SHADOWED ? HTTP1_FIELD_SHADOW : HTTP1_FIELD_OTHER;
}

unsigned http1_field_flags(enum http1_field_id id)
{
    return (unsigned)id < HTTP1_FIELD_COUNT ? field_info[id].flags : 0;
}

const struct http1_field *http1_field_find(const struct http1_head *head, enum http1_field_id id)
{
    for (unsigned i = 0; i < head->field_count; i++)
        if (head->fields[i].id == id)
            return &head->fields[i];
    return NULL;
}

const struct http1_field *http1_field_named(const struct http1_head *head, struct slice name)
{
    for (unsigned i = 0; i < head->field_count; i++)
        if (slice_eq_nocase(head->fields[i].name, name))
            return &head->fields[i];
    return NULL;
}

bool http1_list_has(struct slice list, struct slice token)
{
    while (list.len) {
        struct slice item = slice_trim(slice_cut(&list, ','));

        if (slice_eq_nocase(item, token))
            return true;
    }
    return false;
}

bool http1_token_is_valid(struct slice token)
{
    for (size_t i = 0; i < token.len; i++)
        if (!http1_is(token.ptr[i], HTTP1_CLASS_TOKEN))
            return false;
    return token.len > 0;
}

bool http1_value_is_valid(struct slice value)
{
    for (size_t i = 0; i < value.len; i++)
        if (!http1_is(value.ptr[i], HTTP1_CLASS_VALUE))
            return false;
    return true;
}

static bool port_is_valid(struct slice port)
{
    unsigned value = 0;

    if (port.len > 5)
        return false;
    for (size_t i = 0; i < port.len; i++) {
        if (!http1_is(port.ptr[i], HTTP1_CLASS_DIGIT))
            return false;
        value = value * 10 + (unsigned)(port.ptr[i] - '0');
    }
    return value <= 65535;
}

/* Reg-names are held to unreserved characters: commas, percent signs and the like in a host name
 * have no honest use, and every consumer behind us would read them in its own way. */
bool http1_host_is_valid(struct slice host)
{
    size_t end = 0;

    if (host.len == 0 || host.len > 255 + 6)
        return false;
    if (host.ptr[0] == '[') {
        for (end = 1; end < host.len && host.ptr[end] != ']'; end++)
            if (!http1_is(host.ptr[end], HTTP1_CLASS_HEX) && host.ptr[end] != ':' &&
                host.ptr[end] != '.')
                return false;
        if (end >= host.len || end < 3)
            return false;
        end++;
    } else {
        while (end < host.len && http1_is(host.ptr[end], HTTP1_CLASS_HOST))
            end++;
        if (end == 0 || end > 255 || host.ptr[0] == '.')
            return false;
    }
    if (end == host.len)
        return true;
    return host.ptr[end] == ':' &&
           port_is_valid((struct slice){host.ptr + end + 1, host.len - end - 1});
}
