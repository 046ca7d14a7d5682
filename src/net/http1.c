/* http1.c - parsing of header blocks (RFC 9112 §2-6).
 *
 * A block that arrives whole is read once, byte by byte where a byte can be wrong and sixteen at a
 * time in field values. A block that arrives in pieces is not parsed again for each piece: later
 * calls only look for its end in the new bytes, so a client that sends one byte at a time costs
 * linear work.
 */
#include "net/http1_private.h"
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define LEADING_LINES_MAX 4
#define METHOD_LEN_MAX    32
/* Each option is looked for among all fields: thousands of them would cost the square. */
#define CONNECTION_OPTIONS_MAX 32

/* What the line parsers work on. */
struct cursor {
    char *at, *end, *start;
    const struct http1_limits *limits;
    struct http1_failure *failure;
    unsigned fault_status; /* of a syntax error: 400, or 502 for responses */
};

static enum http1_result fault(const struct cursor *cursor, const char *reason)
{
    return http1_bad(cursor->failure, cursor->fault_status, reason);
}

/* The first byte that cannot stand in a field value, or `end`. */
static char *value_end(char *at, const char *end)
{
#ifdef __SSE2__
    const __m128i low = _mm_set1_epi8(0x1f), tab = _mm_set1_epi8('\t'), del = _mm_set1_epi8(0x7f);

    while (end - at >= 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(block, low), block);
        __m128i bad = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(block, tab), control),
                                   _mm_cmpeq_epi8(block, del));
        int mask = _mm_movemask_epi8(bad);

        if (mask)
            return at + __builtin_ctz((unsigned)mask);
        at += 16;
    }
#endif
    while (at < end && http1_is(*at, HTTP1_CLASS_VALUE))
        at++;
    return at;
}

/* CR LF at the cursor, which moves behind it. */
static enum http1_result line_end(struct cursor *cursor)
{
    if (cursor->at == cursor->end)
        return HTTP1_MORE;
    if (*cursor->at != '\r')
        return fault(cursor, *cursor->at == '\n' ? "line ends in a bare LF"
                                                 : "control character in the header block");
    if (cursor->end - cursor->at < 2)
        return HTTP1_MORE;
    if (cursor->at[1] != '\n')
        return fault(cursor, "bare CR");
    cursor->at += 2;
    return HTTP1_DONE;
}

static enum http1_result skip_leading_lines(struct cursor *cursor)
{
    for (unsigned i = 0; cursor->at < cursor->end && (*cursor->at == '\r' || *cursor->at == '\n');
         i++) {
        enum http1_result result = line_end(cursor);

        if (result != HTTP1_DONE)
            return result;
        if (i == LEADING_LINES_MAX)
            return fault(cursor, "too many empty lines before the request");
    }
    return cursor->at < cursor->end ? HTTP1_DONE : HTTP1_MORE;
}

/* ---- the start line */

static enum http1_method method_identify(struct slice text)
{
    static const struct slice names[] = {[HTTP1_METHOD_OTHER] = {"", 0},
#define X(name) [HTTP1_METHOD_##name] = {#name, sizeof(#name) - 1},
                                         HTTP1_METHOD_TABLE(X)
#undef X
    };

    for (size_t i = HTTP1_METHOD_OTHER + 1; i < ARRAY_LEN(names); i++)
        if (slice_eq(text, names[i]))
            return (enum http1_method)i;
    return HTTP1_METHOD_OTHER;
}

static enum http1_result parse_method(struct cursor *cursor, struct http1_head *head)
{
    char *start = cursor->at;

    while (cursor->at < cursor->end && http1_is(*cursor->at, HTTP1_CLASS_TOKEN))
        cursor->at++;
    if (cursor->at - start > METHOD_LEN_MAX)
        return http1_bad(cursor->failure, 501, "method is too long");
    if (cursor->at == cursor->end)
        return HTTP1_MORE;
    if (*cursor->at != ' ' || cursor->at == start)
        return fault(cursor, "method is not a token");
    head->method_text = (struct slice){start, (size_t)(cursor->at - start)};
    head->method = method_identify(head->method_text);
    cursor->at++;
    return HTTP1_DONE;
}

/* "http://authority/path" → authority and path; false when the scheme is not ours or the authority
 * is not valid. */
static bool target_split_absolute(struct http1_head *head)
{
    struct slice rest = head->target;
    size_t skip;

    if (rest.len > 7 && slice_eq_nocase(slice_sub(rest, 0, 7), SLICE("http://")))
        skip = 7;
    else if (rest.len > 8 && slice_eq_nocase(slice_sub(rest, 0, 8), SLICE("https://")))
        skip = 8;
    else
        return false;
    rest = slice_sub(rest, skip, rest.len);
    for (skip = 0; skip < rest.len && rest.ptr[skip] != '/' && rest.ptr[skip] != '?'; skip++)
        ;
    head->host = slice_sub(rest, 0, skip);
    head->path = slice_sub(rest, skip, rest.len);
    return http1_host_is_valid(head->host);
}

static enum http1_result target_classify(struct cursor *cursor, struct http1_head *head)
{
    const char *target = head->target.ptr;

    if (head->method == HTTP1_METHOD_CONNECT) {
        head->target_form = HTTP1_TARGET_AUTHORITY;
        head->path = SLICE("");
        return http1_host_is_valid(head->target)
                   ? HTTP1_DONE
                   : fault(cursor, "target of CONNECT is not host:port");
    }
    if (target[0] == '/') {
        head->target_form = HTTP1_TARGET_ORIGIN;
        head->path = head->target;
        return HTTP1_DONE;
    }
    if (head->target.len == 1 && target[0] == '*') {
        head->target_form = HTTP1_TARGET_ASTERISK;
        head->path = SLICE("");
        return head->method == HTTP1_METHOD_OPTIONS ? HTTP1_DONE
                                                    : fault(cursor, "target * without OPTIONS");
    }
    head->target_form = HTTP1_TARGET_ABSOLUTE;
    if (!target_split_absolute(head))
        return fault(cursor, "request target is not valid");
    if (head->method == HTTP1_METHOD_OPTIONS && head->path.len == 0) {
        /* "OPTIONS http://host" asks about the server, not about its "/" (RFC 9112 §3.2.4). */
        head->target_form = HTTP1_TARGET_ASTERISK;
        head->target = SLICE("*");
    }
    return HTTP1_DONE;
}

static enum http1_result parse_target(struct cursor *cursor, struct http1_head *head)
{
    char *start = cursor->at;

    while (cursor->at < cursor->end && http1_is(*cursor->at, HTTP1_CLASS_TARGET))
        cursor->at++;
    if ((size_t)(cursor->at - start) > cursor->limits->target_bytes)
        return http1_bad(cursor->failure, 414, "request target is too long");
    if (cursor->at == cursor->end)
        return HTTP1_MORE;
    if (*cursor->at != ' ' || cursor->at == start)
        return fault(cursor, "request target has a byte that is not allowed");
    head->target = (struct slice){start, (size_t)(cursor->at - start)};
    cursor->at++;
    return target_classify(cursor, head);
}

/* "HTTP/1.x"; other major versions are 505 for requests. The cursor moves behind it. */
static enum http1_result parse_version(struct cursor *cursor, struct http1_head *head)
{
    static const char prefix[] = "HTTP/";
    size_t left = (size_t)(cursor->end - cursor->at);
    const char *at = cursor->at;

    if (memcmp(at, prefix, MIN(left, sizeof(prefix) - 1)) != 0)
        return fault(cursor, "protocol version is not HTTP");
    if (left < 8)
        return HTTP1_MORE;
    if (!http1_is(at[5], HTTP1_CLASS_DIGIT) || at[6] != '.' || !http1_is(at[7], HTTP1_CLASS_DIGIT))
        return fault(cursor, "protocol version is malformed");
    if (at[5] != '1')
        return http1_bad(cursor->failure, cursor->fault_status == 400 ? 505 : cursor->fault_status,
                         "HTTP version is not supported");
    head->version_minor = at[7] == '0' ? 0 : 1;
    cursor->at += 8;
    return HTTP1_DONE;
}

static enum http1_result parse_request_line(struct cursor *cursor, struct http1_head *head)
{
    enum http1_result result;

    if ((result = skip_leading_lines(cursor)) != HTTP1_DONE ||
        (result = parse_method(cursor, head)) != HTTP1_DONE ||
        (result = parse_target(cursor, head)) != HTTP1_DONE ||
        (result = parse_version(cursor, head)) != HTTP1_DONE)
        return result;
    return line_end(cursor);
}

static enum http1_result parse_status_line(struct cursor *cursor, struct http1_head *head)
{
    enum http1_result result = parse_version(cursor, head);
    char *at = cursor->at;

    if (result != HTTP1_DONE)
        return result;
    if (cursor->end - at < 5)
        return HTTP1_MORE;
    if (at[0] != ' ' || at[1] < '1' || at[1] > '5' || !http1_is(at[2], HTTP1_CLASS_DIGIT) ||
        !http1_is(at[3], HTTP1_CLASS_DIGIT) || (at[4] != ' ' && at[4] != '\r'))
        return fault(cursor, "status code is malformed");
    head->status =
        (unsigned)(at[1] - '0') * 100 + (unsigned)(at[2] - '0') * 10 + (unsigned)(at[3] - '0');
    at += at[4] == ' ' ? 5 : 4;
    cursor->at = value_end(at, cursor->end);
    head->reason = (struct slice){at, (size_t)(cursor->at - at)};
    return line_end(cursor);
}

/* ---- fields */

/* A line that begins with white space continues the one before (obs-fold): refused in requests, in
 * responses made one line in place. */
static enum http1_result parse_value(struct cursor *cursor, struct http1_field *field)
{
    char *start, *stop;

    while (cursor->at < cursor->end && (*cursor->at == ' ' || *cursor->at == '\t'))
        cursor->at++;
    start = cursor->at;
    for (;;) {
        enum http1_result result;

        cursor->at = value_end(cursor->at, cursor->end);
        stop = cursor->at;
        if ((result = line_end(cursor)) != HTTP1_DONE)
            return result;
        if (cursor->at == cursor->end)
            return HTTP1_MORE;
        if (LIKELY(*cursor->at != ' ' && *cursor->at != '\t'))
            break;
        if (cursor->fault_status == 400)
            return fault(cursor, "folded header line");
        stop[0] = stop[1] = ' ';
    }
    while (stop > start && (stop[-1] == ' ' || stop[-1] == '\t'))
        stop--;
    field->value = (struct slice){start, (size_t)(stop - start)};
    return HTTP1_DONE;
}

static enum http1_result parse_field(struct cursor *cursor, struct http1_field *field)
{
    char *start = cursor->at;

    while (cursor->at < cursor->end && http1_is(*cursor->at, HTTP1_CLASS_TOKEN))
        cursor->at++;
    if (cursor->at == cursor->end)
        return HTTP1_MORE;
    if (*cursor->at != ':' || cursor->at == start)
        return fault(cursor, *cursor->at == ' ' || *cursor->at == '\t'
                                 ? "white space before a header name or colon"
                                 : "header name is not a token");
    field->name = (struct slice){start, (size_t)(cursor->at - start)};
    field->id = (uint8_t)http1_field_identify(field->name);
    field->is_hop = (http1_field_flags((enum http1_field_id)field->id) & HTTP1_HOP) != 0;
    cursor->at++;
    return parse_value(cursor, field);
}

static enum http1_result parse_fields(struct cursor *cursor, struct http1_head *head)
{
    enum http1_result result;

    for (head->field_count = 0;; head->field_count++) {
        if (cursor->at == cursor->end)
            return HTTP1_MORE;
        if (*cursor->at == '\r' || *cursor->at == '\n')
            break;
        if (head->field_count == cursor->limits->field_count ||
            head->field_count == HTTP1_FIELDS_MAX)
            return http1_bad(cursor->failure, cursor->fault_status == 400 ? 431 : 502,
                             "too many header fields");
        if ((result = parse_field(cursor, &head->fields[head->field_count])) != HTTP1_DONE)
            return result;
    }
    if ((result = line_end(cursor)) == HTTP1_DONE)
        head->head_bytes = (size_t)(cursor->at - cursor->start);
    return result;
}

/* ---- what the fields mean */

/* What the framing and connection fields of a block said. */
struct meaning {
    const struct http1_field *length, *coding, *host, *expect;
    unsigned length_count, coding_count, host_count, option_count;
    bool has_close, has_keepalive, has_upgrade;
};

static void mark_hop(struct http1_head *head, struct slice name)
{
    for (unsigned i = 0; i < head->field_count; i++) {
        struct http1_field *field = &head->fields[i];

        if (!(http1_field_flags((enum http1_field_id)field->id) & HTTP1_PROTECTED) &&
            slice_eq_nocase(field->name, name))
            field->is_hop = true;
    }
}

static enum http1_result read_connection(const struct cursor *cursor, struct http1_head *head,
                                         struct slice options, struct meaning *meaning)
{
    while (options.len) {
        struct slice option = slice_trim(slice_cut(&options, ','));

        if (option.len == 0)
            continue;
        if (!http1_token_is_valid(option))
            return fault(cursor, "Connection option is not a token");
        if (++meaning->option_count > CONNECTION_OPTIONS_MAX)
            return fault(cursor, "too many Connection options");
        if (slice_eq_nocase(option, SLICE("close")))
            meaning->has_close = true;
        else if (slice_eq_nocase(option, SLICE("keep-alive")))
            meaning->has_keepalive = true;
        else if (slice_eq_nocase(option, SLICE("upgrade")))
            meaning->has_upgrade = true;
        else
            mark_hop(head, option);
    }
    return HTTP1_DONE;
}

static enum http1_result read_fields(const struct cursor *cursor, struct http1_head *head,
                                     struct meaning *meaning)
{
    head->upgrade = SLICE("");
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct http1_field *field = &head->fields[i];

        switch (field->id) {
        case HTTP1_FIELD_HOST:
            meaning->host = field;
            meaning->host_count++;
            break;
        case HTTP1_FIELD_CONTENT_LENGTH:
            if (meaning->length && !slice_eq(meaning->length->value, field->value))
                return fault(cursor, "conflicting Content-Length");
            meaning->length = field;
            meaning->length_count++;
            break;
        case HTTP1_FIELD_TRANSFER_ENCODING:
            meaning->coding = field;
            meaning->coding_count++;
            break;
        case HTTP1_FIELD_EXPECT: /* of several, one that is not known decides */
            if (!meaning->expect || slice_eq_nocase(meaning->expect->value, SLICE("100-continue")))
                meaning->expect = field;
            break;
        case HTTP1_FIELD_UPGRADE:
            head->upgrade = field->value;
            break;
        case HTTP1_FIELD_CONNECTION:
            if (read_connection(cursor, head, field->value, meaning) != HTTP1_DONE)
                return HTTP1_BAD;
            break;
        default:
            break;
        }
    }
    head->is_keepalive =
        !meaning->has_close && (head->version_minor == 1 || meaning->has_keepalive);
    return HTTP1_DONE;
}

/* A well-formed list of known-shaped codings that ends in one "chunked" is something we merely do
 * not speak (501); anything else is an attempt to be misread (400). RFC 9112 §6.1. */
static bool codings_are_sound(struct slice list)
{
    bool is_chunked = false, has_more;

    do {
        has_more = slice_find_byte(list, ',') >= 0;
        struct slice coding = slice_trim(slice_cut(&list, ','));

        if (is_chunked || !http1_token_is_valid(coding) ||
            slice_eq_nocase(coding, SLICE("identity")))
            return false;
        is_chunked = slice_eq_nocase(coding, SLICE("chunked"));
    } while (has_more);
    return is_chunked;
}

/* The framing fields of either kind of message, checked; body stays NONE when neither is there. */
static enum http1_result read_framing(const struct cursor *cursor, struct http1_head *head,
                                      const struct meaning *meaning)
{
    head->body = HTTP1_BODY_NONE;
    head->content_length = 0;
    head->is_length_given = false;
    if (meaning->coding) {
        if (meaning->length)
            return fault(cursor, "both Content-Length and Transfer-Encoding");
        if (head->version_minor == 0)
            return fault(cursor, "Transfer-Encoding in HTTP/1.0");
        if (meaning->coding_count > 1 ||
            !slice_eq_nocase(meaning->coding->value, SLICE("chunked"))) {
            if (meaning->coding_count == 1 && cursor->fault_status == 400 &&
                codings_are_sound(meaning->coding->value))
                return http1_bad(cursor->failure, 501, "transfer coding is not supported");
            return fault(cursor, "Transfer-Encoding is not exactly chunked");
        }
        head->body = HTTP1_BODY_CHUNKED;
    } else if (meaning->length) {
        /* Beyond 63 bits it is a number to us and a negative one to a peer that counts with a sign.
         */
        if (slice_to_u64(meaning->length->value, &head->content_length) != 0 ||
            head->content_length > INT64_MAX)
            return fault(cursor, "Content-Length is not a number");
        head->is_length_given = true;
        head->body = HTTP1_BODY_LENGTH;
    }
    return HTTP1_DONE;
}

static enum http1_result read_host(const struct cursor *cursor, struct http1_head *head,
                                   const struct meaning *meaning)
{
    if (meaning->host_count > 1)
        return fault(cursor, "more than one Host");
    if (!meaning->host) {
        if (head->version_minor == 1)
            return fault(cursor, "Host is missing");
        return HTTP1_DONE;
    }
    if (!http1_host_is_valid(meaning->host->value))
        return fault(cursor, "Host is not valid");
    if (head->host.len == 0) /* else the target named it */
        head->host = meaning->host->value;
    return HTTP1_DONE;
}

static enum http1_result read_request(const struct cursor *cursor, struct http1_head *head)
{
    struct meaning meaning = {0};

    if (read_fields(cursor, head, &meaning) != HTTP1_DONE ||
        read_framing(cursor, head, &meaning) != HTTP1_DONE ||
        read_host(cursor, head, &meaning) != HTTP1_DONE)
        return HTTP1_BAD;
    if (meaning.length_count > 1)
        return fault(cursor, "more than one Content-Length");
    head->expects_continue = false;
    if (meaning.expect && head->version_minor == 1) {
        if (!slice_eq_nocase(meaning.expect->value, SLICE("100-continue")))
            return http1_bad(cursor->failure, 417, "expectation is not known");
        head->expects_continue = true;
    }
    head->is_upgrade = meaning.has_upgrade && head->upgrade.len && head->version_minor == 1 &&
                       head->method == HTTP1_METHOD_GET &&
                       (head->body == HTTP1_BODY_NONE ||
                        (head->body == HTTP1_BODY_LENGTH && head->content_length == 0));
    return HTTP1_DONE;
}

static enum http1_result read_response(const struct cursor *cursor, struct http1_head *head,
                                       enum http1_method request_method)
{
    struct meaning meaning = {0};

    if (read_fields(cursor, head, &meaning) != HTTP1_DONE ||
        read_framing(cursor, head, &meaning) != HTTP1_DONE)
        return HTTP1_BAD;
    if (head->status < 200 || head->status == 204 || head->status == 304 ||
        request_method == HTTP1_METHOD_HEAD) {
        head->body = HTTP1_BODY_NONE;
    } else if (head->body == HTTP1_BODY_NONE) {
        head->body = HTTP1_BODY_CLOSE;
        head->is_keepalive = false;
    }
    head->is_upgrade = meaning.has_upgrade && head->upgrade.len && head->version_minor == 1;
    return HTTP1_DONE;
}

/* ---- the two parsers */

/* Whether the bytes that came since the last call end the block or show a line that is wrong. */
static bool block_may_be_decided(const char *bytes, size_t len, size_t scanned)
{
    const char *at = bytes + scanned, *end = bytes + len;

    while ((at = memchr(at, '\n', (size_t)(end - at)))) {
        size_t offset = (size_t)(at - bytes);

        if (offset == 0 || at[-1] != '\r')
            return true;
        if (offset >= 3 && at[-2] == '\n')
            return true;
        at++;
    }
    return false;
}

static enum http1_result more(struct cursor *cursor, struct http1_progress *progress)
{
    size_t len = (size_t)(cursor->end - cursor->start);

    progress->scanned = len;
    if (len < cursor->limits->head_bytes)
        return HTTP1_MORE;
    if (cursor->fault_status != 400)
        return fault(cursor, "response header is too large");
    if (!memchr(cursor->start, '\n', len))
        return http1_bad(cursor->failure, 414, "request line is too long");
    return http1_bad(cursor->failure, 431, "request header is too large");
}

enum http1_result http1_parse_request(char *bytes, size_t len, struct http1_progress *progress,
                                      const struct http1_limits *limits,
                                      struct http1_head *ret_head,
                                      struct http1_failure *ret_failure)
{
    struct cursor cursor = {.at = bytes,
                            .start = bytes,
                            .end = bytes + len,
                            .limits = limits,
                            .failure = ret_failure,
                            .fault_status = 400};
    enum http1_result result;

    if (progress->scanned && !block_may_be_decided(bytes, len, progress->scanned))
        return more(&cursor, progress);
    ret_head->host = SLICE("");
    if ((result = parse_request_line(&cursor, ret_head)) == HTTP1_DONE)
        result = parse_fields(&cursor, ret_head);
    if (result == HTTP1_MORE)
        return more(&cursor, progress);
    if (result == HTTP1_DONE && ret_head->head_bytes > limits->head_bytes)
        return http1_bad(ret_failure, 431, "request header is too large");
    return result == HTTP1_DONE ? read_request(&cursor, ret_head) : result;
}

enum http1_result http1_parse_response(char *bytes, size_t len, struct http1_progress *progress,
                                       const struct http1_limits *limits,
                                       enum http1_method request_method,
                                       struct http1_head *ret_head,
                                       struct http1_failure *ret_failure)
{
    struct cursor cursor = {.at = bytes,
                            .start = bytes,
                            .end = bytes + len,
                            .limits = limits,
                            .failure = ret_failure,
                            .fault_status = 502};
    enum http1_result result;

    if (progress->scanned && !block_may_be_decided(bytes, len, progress->scanned))
        return more(&cursor, progress);
    if ((result = parse_status_line(&cursor, ret_head)) == HTTP1_DONE)
        result = parse_fields(&cursor, ret_head);
    if (result == HTTP1_MORE)
        return more(&cursor, progress);
    if (result == HTTP1_DONE && ret_head->head_bytes > limits->head_bytes)
        return http1_bad(ret_failure, 502, "response header is too large");
    return result == HTTP1_DONE ? read_response(&cursor, ret_head, request_method) : result;
}
