/* http1_chunked.c - the chunked transfer coding (RFC 9112 §7.1), decoded byte-strictly.
 *
 * Why strict: a chunk size with a sign, white space, a prefix or a bare LF is read differently by
 * different servers, and each such difference has been a request-smuggling hole. Extensions are
 * skipped and bounded; trailers are checked and bounded, and handed out as lines to who asks for
 * them.
 */
#include "net/http1_private.h"

#define EXTENSION_BYTES_MAX (16u * 1024u)
#define TRAILER_BYTES_MAX   HTTP1_TRAILERS_MAX

enum chunked_state {
    CHUNKED_SIZE,      /* first or further digits of a size */
    CHUNKED_EXTENSION, /* from ';' to CR */
    CHUNKED_SIZE_LF,
    CHUNKED_DATA,
    CHUNKED_DATA_CR,
    CHUNKED_DATA_LF,
    CHUNKED_TRAILER_START, /* start of a trailer line, or of the final CRLF */
    CHUNKED_TRAILER_NAME,
    CHUNKED_TRAILER_VALUE,
    CHUNKED_TRAILER_LF,
    CHUNKED_END_LF,
    CHUNKED_DONE,
};

static const char *size_byte(struct http1_chunked *chunked, char byte)
{
    if (http1_is(byte, HTTP1_CLASS_HEX)) {
        if (chunked->digits == 16)
            return "chunk size overflows";
        chunked->digits++;
        chunked->remaining = chunked->remaining << 4 | http1_hex_value(byte);
        return NULL;
    }
    if (chunked->digits == 0)
        return "chunk size is not hexadecimal";
    if (byte == ';')
        chunked->state = CHUNKED_EXTENSION;
    else if (byte == '\r')
        chunked->state = CHUNKED_SIZE_LF;
    else
        return "chunk size is not hexadecimal";
    return NULL;
}

static const char *trailer_byte(struct http1_chunked *chunked, char byte)
{
    if (++chunked->trailer_bytes > TRAILER_BYTES_MAX)
        return "trailers are too large";
    if (chunked->trailers && !(chunked->state == CHUNKED_TRAILER_START && byte == '\r'))
        buf_append_byte(chunked->trailers, byte);
    switch (chunked->state) {
    case CHUNKED_TRAILER_START:
        chunked->line_bytes = 0;
        if (byte == '\r') {
            chunked->state = CHUNKED_END_LF;
            return NULL;
        }
        chunked->state = CHUNKED_TRAILER_NAME;
        /* fall through */
    case CHUNKED_TRAILER_NAME:
        if (byte == ':' && chunked->line_bytes > 0)
            chunked->state = CHUNKED_TRAILER_VALUE;
        else if (!http1_is(byte, HTTP1_CLASS_TOKEN))
            return "trailer name is not a token";
        chunked->line_bytes++;
        return NULL;
    case CHUNKED_TRAILER_VALUE:
        if (byte == '\r')
            chunked->state = CHUNKED_TRAILER_LF;
        else if (!http1_is(byte, HTTP1_CLASS_VALUE))
            return "trailer value has a control character";
        return NULL;
    default: /* CHUNKED_TRAILER_LF */
        if (byte != '\n')
            return "trailer line does not end in CRLF";
        chunked->state = CHUNKED_TRAILER_START;
        return NULL;
    }
}

/* One byte that is not chunk data. NULL, or why it cannot stand here. */
static const char *frame_byte(struct http1_chunked *chunked, char byte)
{
    switch (chunked->state) {
    case CHUNKED_SIZE:
        return size_byte(chunked, byte);
    case CHUNKED_EXTENSION:
        if (++chunked->extension_bytes > EXTENSION_BYTES_MAX)
            return "chunk extensions are too large";
        if (byte == '\r')
            chunked->state = CHUNKED_SIZE_LF;
        else if (!http1_is(byte, HTTP1_CLASS_VALUE))
            return "chunk extension has a control character";
        return NULL;
    case CHUNKED_SIZE_LF:
        if (byte != '\n')
            return "chunk size does not end in CRLF";
        chunked->digits = 0;
        chunked->state = chunked->remaining ? CHUNKED_DATA : CHUNKED_TRAILER_START;
        return NULL;
    case CHUNKED_DATA_CR:
        if (byte != '\r')
            return "chunk data does not end in CRLF";
        chunked->state = CHUNKED_DATA_LF;
        return NULL;
    case CHUNKED_DATA_LF:
        if (byte != '\n')
            return "chunk data does not end in CRLF";
        chunked->state = CHUNKED_SIZE;
        return NULL;
    case CHUNKED_END_LF:
        if (byte != '\n')
            return "trailers do not end in CRLF";
        chunked->state = CHUNKED_DONE;
        return NULL;
    default:
        return trailer_byte(chunked, byte);
    }
}

enum http1_result http1_chunked_decode(struct http1_chunked *chunked, char *bytes, size_t len,
                                       size_t *ret_consumed, struct slice *ret_data,
                                       struct http1_failure *ret_failure)
{
    char *data = NULL;
    size_t data_len = 0, at = 0;

    while (at < len && chunked->state != CHUNKED_DONE) {
        if (chunked->state == CHUNKED_DATA) {
            size_t take = (size_t)MIN((uint64_t)(len - at), chunked->remaining);

            if (!data)
                data = bytes + at;
            else
                memmove(data + data_len, bytes + at, take);
            data_len += take;
            at += take;
            chunked->remaining -= take;
            if (chunked->remaining == 0)
                chunked->state = CHUNKED_DATA_CR;
        } else {
            const char *reason = frame_byte(chunked, bytes[at]);

            if (reason) {
                *ret_consumed = at;
                *ret_data = (struct slice){data, data_len};
                return http1_bad(ret_failure, 400, reason);
            }
            at++;
        }
    }
    *ret_consumed = at;
    *ret_data = (struct slice){data, data_len};
    return chunked->state == CHUNKED_DONE ? HTTP1_DONE : HTTP1_MORE;
}

size_t http1_chunk_head(char buffer[HTTP1_CHUNK_HEAD_MAX], uint64_t size)
{
    static const char digits[] = "0123456789abcdef";
    unsigned count = 1;

    for (uint64_t rest = size >> 4; rest; rest >>= 4)
        count++;
    for (unsigned i = 0; i < count; i++)
        buffer[i] = digits[size >> (4 * (count - 1 - i)) & 15];
    buffer[count] = '\r';
    buffer[count + 1] = '\n';
    return count + 2;
}
