/* fuzz_http1.c - what a peer may send as HTTP/1: the first byte says which parser reads the rest,
 * whole and byte by byte. Both must say the same, and whatever is accepted holds nothing that ends
 * a line. */
#include <assert.h>
#include <stdlib.h>

#include "net/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http1_limits limits = {
    .head_bytes = 4096, .target_bytes = 1024, .field_count = 32};

static enum http1_result parse(bool is_response, char *bytes, size_t len,
                               struct http1_progress *progress, struct http1_head *head,
                               struct http1_failure *failure)
{
    return is_response ? http1_parse_response(bytes, len, progress, &limits, HTTP1_METHOD_GET, head,
                                              failure)
                       : http1_parse_request(bytes, len, progress, &limits, head, failure);
}

static void check_head(bool is_response, const struct http1_head *head, const char *bytes,
                       size_t len)
{
    assert(head->head_bytes <= len && head->head_bytes <= limits.head_bytes);
    assert(head->field_count <= limits.field_count);
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct http1_field *field = &head->fields[i];

        assert(http1_token_is_valid(field->name) && http1_value_is_valid(field->value));
        assert(field->name.ptr >= bytes && field->value.ptr + field->value.len <= bytes + len);
    }
    assert(is_response || head->host.len == 0 || http1_host_is_valid(head->host));
}

static void fuzz_head(bool is_response, const char *data, size_t len)
{
    static struct http1_head whole, pieces;
    struct http1_progress progress = {0};
    struct http1_failure failure = {0};
    enum http1_result once, stepwise = HTTP1_MORE;
    char *bytes = malloc(len + 1), *again = malloc(len + 1);
    size_t at;

    assert(bytes && again);
    memcpy(bytes, data, len);
    memcpy(again, data, len);
    once = parse(is_response, bytes, len, &progress, &whole, &failure);
    assert(once != HTTP1_BAD || (failure.status >= 400 && failure.reason));
    if (once == HTTP1_DONE)
        check_head(is_response, &whole, bytes, len);
    progress = (struct http1_progress){0};
    for (at = 1; at <= len && stepwise == HTTP1_MORE; at++)
        stepwise = parse(is_response, again, at, &progress, &pieces, &failure);
    /* Pieces are judged at the ends of lines, so what is wrong may be seen later, never the other
     * way. */
    assert(once != HTTP1_DONE || stepwise == HTTP1_DONE);
    assert(stepwise != HTTP1_DONE || once == HTTP1_DONE);
    assert(stepwise != HTTP1_BAD || once == HTTP1_BAD);
    if (stepwise == HTTP1_DONE) {
        assert(pieces.head_bytes == whole.head_bytes && pieces.body == whole.body);
        assert(pieces.content_length == whole.content_length &&
               pieces.field_count == whole.field_count);
    }
    free(bytes);
    free(again);
}

static enum http1_result decode(const char *data, size_t len, size_t step, struct buf *decoded,
                                size_t *ret_used)
{
    struct http1_chunked chunked = {0};
    struct http1_failure failure = {0};
    enum http1_result result = HTTP1_MORE;
    size_t at = 0;

    while (at < len && result == HTTP1_MORE) {
        size_t part = MIN(step, len - at), used = 0;
        char *bytes = malloc(part);
        struct slice out = {0};

        assert(bytes);
        memcpy(bytes, data + at, part);
        result = http1_chunked_decode(&chunked, bytes, part, &used, &out, &failure);
        assert(used <= part && out.len <= used && (result != HTTP1_MORE || used == part));
        buf_append_slice(decoded, out);
        at += used;
        free(bytes);
    }
    *ret_used = at;
    return result;
}

static void fuzz_chunks(const char *data, size_t len)
{
    struct buf one = BUF_INIT(len), many = BUF_INIT(len);
    size_t used_one, used_many;
    enum http1_result once = decode(data, len, len, &one, &used_one);

    assert(decode(data, len, 1, &many, &used_many) == once && used_one == used_many);
    assert(slice_eq(buf_slice(&one), buf_slice(&many)));
    buf_done(&one);
    buf_done(&many);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data + 1, size - 1};
    uint64_t seconds;

    if (size < 2)
        return 0;
    switch (data[0] % 4) {
    case 0:
        fuzz_head(false, text.ptr, text.len);
        break;
    case 1:
        fuzz_head(true, text.ptr, text.len);
        break;
    case 2:
        fuzz_chunks(text.ptr, text.len);
        break;
    default:
        (void)http1_parse_date(text, &seconds);
        (void)http1_host_is_valid(text);
        break;
    }
    return 0;
}
