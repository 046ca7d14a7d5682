/* http2_fields.c - header blocks that were written as HTTP/1.1 text, as fields of HTTP/2.
 *
 * The text is our own, made by the same code that serves HTTP/1.1, so that what is dropped, added
 * and kept is decided once; here it is only cut at its line ends. nghttp2 makes names lower case.
 */
#include "edge/stream_private.h"

static void add(struct http2_field *fields, size_t *count, struct slice name, struct slice value,
                uint8_t flags)
{
    if (*count < HTTP2_FIELDS_MAX)
        fields[(*count)++] = (struct http2_field){.name = name.ptr,
                                                  .name_len = name.len,
                                                  .value = value.ptr,
                                                  .value_len = value.len,
                                                  .flags = flags};
}

/* The next line without its end; false after the last one. */
static bool next_line(struct slice *rest, struct slice *ret_line)
{
    const char *end = rest->len ? memchr(rest->ptr, '\n', rest->len) : NULL;

    if (!end || end - rest->ptr < 2)
        return false;
    *ret_line = (struct slice){rest->ptr, (size_t)(end - rest->ptr) - 1};
    *rest = (struct slice){end + 1, rest->len - (size_t)(end + 1 - rest->ptr)};
    return true;
}

static bool split_line(struct slice line, struct slice *ret_name, struct slice *ret_value)
{
    const char *colon = memchr(line.ptr, ':', line.len);
    const char *end = line.ptr + line.len, *value;

    if (!colon || colon == line.ptr)
        return false;
    for (value = colon + 1; value < end && (*value == ' ' || *value == '\t'); value++)
        ;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *ret_name = (struct slice){line.ptr, (size_t)(colon - line.ptr)};
    *ret_value = (struct slice){value, (size_t)(end - value)};
    return true;
}

/* RFC 9113 §8.2.2. Looked at by length first: most fields are let through without a comparison. */
static bool is_forbidden(struct slice name, struct slice value)
{
    switch (name.len) {
    case 2:
        return slice_eq_nocase(name, SLICE("te")) && !slice_eq_nocase(value, SLICE("trailers"));
    case 7:
        return slice_eq_nocase(name, SLICE("upgrade"));
    case 10:
        return slice_eq_nocase(name, SLICE("connection")) ||
               slice_eq_nocase(name, SLICE("keep-alive"));
    case 16:
        return slice_eq_nocase(name, SLICE("proxy-connection"));
    case 17:
        return slice_eq_nocase(name, SLICE("transfer-encoding"));
    default:
        return false;
    }
}

/* Values that never come again would only push others out of the table; secrets are not to be
 * guessed at through it (RFC 7541 §7.1). */
static uint8_t indexing(struct slice name)
{
    return (name.len == 12 && slice_eq_nocase(name, SLICE("x-request-id"))) ||
                   (name.len == 13 && slice_eq_nocase(name, SLICE("authorization")))
               ? HTTP2_FIELD_UNINDEXED
               : 0;
}

size_t http2_fields_of_response(struct slice text, bool is_tunnel, struct http2_field *fields)
{
    struct slice line, name, value;
    size_t count = 0;

    if (!next_line(&text, &line) || line.len < 12)
        return 0;
    add(fields, &count, SLICE(":status"), is_tunnel ? SLICE("200") : slice_sub(line, 9, 3), 0);
    while (next_line(&text, &line)) {
        if (!split_line(line, &name, &value) || is_forbidden(name, value))
            continue;
        if (is_tunnel && slice_eq_nocase(name, SLICE("sec-websocket-accept")))
            continue; /* RFC 8441 §5 */
        add(fields, &count, name, value, indexing(name));
    }
    return count;
}

size_t http2_fields_of_request(struct slice text, bool is_tls, struct slice *websocket_key,
                               struct http2_field *fields)
{
    struct slice line, name, value, method, target;
    size_t count = 4;

    if (!next_line(&text, &line))
        return 0;
    method = slice_cut(&line, ' ');
    target = slice_cut(&line, ' ');
    fields[0] = (struct http2_field){":method", method.ptr, 7, method.len, 0};
    fields[1] = (struct http2_field){":scheme", is_tls ? "https" : "http", 7, is_tls ? 5 : 4, 0};
    fields[2] = (struct http2_field){":authority", "", 10, 0, 0};
    fields[3] = (struct http2_field){":path", target.ptr, 5, target.len, 0};
    if (websocket_key) {
        fields[0].value = "CONNECT";
        fields[0].value_len = 7;
        fields[count++] = (struct http2_field){":protocol", "websocket", 9, 9, 0};
    }
    while (next_line(&text, &line)) {
        if (!split_line(line, &name, &value) || is_forbidden(name, value))
            continue;
        if (name.len == 4 && slice_eq_nocase(name, SLICE("host"))) {
            fields[2].value = value.ptr;
            fields[2].value_len = value.len;
            continue;
        }
        if (websocket_key && slice_eq_nocase(name, SLICE("sec-websocket-key"))) {
            *websocket_key = value; /* RFC 8441 §5: it has no use here */
            continue;
        }
        add(fields, &count, name, value, indexing(name));
    }
    return count;
}

/* Fields that frame, route, authenticate or describe the content have no place behind it
 * (RFC 9110 §6.5.1), and neither have those that we vouch for. */
static bool trailer_is_allowed(struct slice name)
{
    enum http1_field_id id = http1_field_identify(name);
    unsigned flags = http1_field_flags(id);

    return !(flags & (HTTP1_HOP | HTTP1_PROTECTED | HTTP1_SHADOWED)) && id != HTTP1_FIELD_SHADOW &&
           id != HTTP1_FIELD_EXPECT && id != HTTP1_FIELD_RANGE && id != HTTP1_FIELD_LOCATION &&
           !(name.len >= 8 && slice_eq_nocase(slice_sub(name, 0, 8), SLICE("content-"))) &&
           !(name.len >= 3 && slice_eq_nocase(slice_sub(name, 0, 3), SLICE("if-"))) &&
           !slice_eq_nocase(name, SLICE("www-authenticate")) &&
           !slice_eq_nocase(name, SLICE("age")) && !slice_eq_nocase(name, SLICE("expires")) &&
           !slice_eq_nocase(name, SLICE("vary")) && !slice_eq_nocase(name, SLICE("retry-after"));
}

size_t http2_trailers_filter(struct slice lines, char *to)
{
    struct slice line, name, value;
    char *at = to;

    while (next_line(&lines, &line)) {
        if (!split_line(line, &name, &value) || !trailer_is_allowed(name))
            continue;
        memmove(at, line.ptr, line.len + 2);
        at += line.len + 2;
    }
    return (size_t)(at - to);
}
