#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include <math.h>

enum { LEVEL_IS_OBJECT = 1, LEVEL_HAS_MEMBERS = 2 };

void json_append_string(struct buf *buf, struct slice s)
{
    static const char hex[] = "0123456789abcdef";
    buf_append_byte(buf, '"');
    size_t from = 0, at = 0; /* what lies between them needs no change and is appended at once */
    while (at < s.len) {
        unsigned char byte = (unsigned char)s.ptr[at];
        if (LIKELY(byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\')) {
            at++;
            continue;
        }
        size_t len = byte < 0x80 ? 0 : text_utf8_sequence(slice_sub(s, at, SIZE_MAX));
        if (len) {
            at += len;
            continue;
        }
        buf_append(buf, s.ptr + from, at - from);
        if (byte >= 0x80) {
            buf_append_text(buf, "\xef\xbf\xbd");
        } else if (byte == '"' || byte == '\\') {
            buf_append(buf, (char[]){'\\', (char)byte}, 2);
        } else if (byte == '\n' || byte == '\t' || byte == '\r') {
            buf_append(buf, (char[]){'\\', byte == '\n' ? 'n' : byte == '\t' ? 't' : 'r'}, 2);
        } else {
            buf_append(buf, (char[]){'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]}, 6);
        }
        from = ++at;
    }
    if (at > from)
        buf_append(buf, s.ptr + from, at - from);
    buf_append_byte(buf, '"');
}

/* The comma and the key in front of a value. */
static void prefix(struct json_writer *writer, struct slice key, bool has_key)
{
    if (writer->depth == 0) {
        assert(!has_key);
        return;
    }
    uint8_t *level = &writer->levels[writer->depth - 1];
    assert(has_key == !!(*level & LEVEL_IS_OBJECT));
    if (*level & LEVEL_HAS_MEMBERS)
        buf_append_byte(writer->buf, ',');
    *level |= LEVEL_HAS_MEMBERS;
    if (has_key) {
        json_append_string(writer->buf, key);
        buf_append_byte(writer->buf, ':');
    }
}

static void prefix_text(struct json_writer *writer, const char *key)
{
    prefix(writer, slice_from(key), key != NULL);
}

static void level_enter(struct json_writer *writer, uint8_t level)
{
    assert(writer->depth < JSON_WRITER_DEPTH_MAX);
    writer->levels[writer->depth++] = level;
    buf_append_byte(writer->buf, level & LEVEL_IS_OBJECT ? '{' : '[');
}

static void level_leave(struct json_writer *writer, uint8_t level)
{
    assert(writer->depth > 0);
    writer->depth--;
    assert((writer->levels[writer->depth] & LEVEL_IS_OBJECT) == level);
    buf_append_byte(writer->buf, level & LEVEL_IS_OBJECT ? '}' : ']');
}

void json_begin_object(struct json_writer *writer, const char *key)
{
    prefix_text(writer, key);
    level_enter(writer, LEVEL_IS_OBJECT);
}

void json_end_object(struct json_writer *writer)
{
    level_leave(writer, LEVEL_IS_OBJECT);
}

void json_begin_array(struct json_writer *writer, const char *key)
{
    prefix_text(writer, key);
    level_enter(writer, 0);
}

void json_end_array(struct json_writer *writer)
{
    level_leave(writer, 0);
}

void json_write_slice(struct json_writer *writer, const char *key, struct slice value)
{
    prefix_text(writer, key);
    json_append_string(writer->buf, value);
}

void json_write_text(struct json_writer *writer, const char *key, const char *value)
{
    if (value)
        json_write_slice(writer, key, slice_from(value));
    else
        json_write_null(writer, key);
}

void json_write_integer(struct json_writer *writer, const char *key, int64_t value)
{
    prefix_text(writer, key);
    if (value < 0)
        buf_append_byte(writer->buf, '-');
    buf_append_u64(writer->buf, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

static void append_number(struct buf *buf, double value)
{
    char text[40];
    /* The shorter form where it reads back as the same number. */
    snprintf(text, sizeof(text), "%.15g", value);
    double back = strtod(text, NULL);
    if (back < value || back > value)
        snprintf(text, sizeof(text), "%.17g", value);
    buf_append_text(buf, text);
}

void json_write_number(struct json_writer *writer, const char *key, double value)
{
    prefix_text(writer, key);
    if (isfinite(value))
        append_number(writer->buf, value);
    else
        buf_append_text(writer->buf, "null");
}

void json_write_boolean(struct json_writer *writer, const char *key, bool value)
{
    json_write_raw(writer, key, value ? SLICE("true") : SLICE("false"));
}

void json_write_null(struct json_writer *writer, const char *key)
{
    json_write_raw(writer, key, SLICE("null"));
}

void json_write_time(struct json_writer *writer, const char *key, uint64_t wall_us)
{
    char text[CLOCK_TEXT_SIZE];
    json_write_text(writer, key, wall_us ? clock_format(wall_us, text) : NULL);
}

void json_write_raw(struct json_writer *writer, const char *key, struct slice json)
{
    prefix_text(writer, key);
    buf_append_slice(writer->buf, json);
}

static void tree_write(struct json_writer *writer, struct slice key, bool has_key,
                       const struct json *tree)
{
    prefix(writer, key, has_key);
    switch (tree ? tree->type : JSON_NULL) {
    case JSON_OBJECT:
    case JSON_ARRAY: {
        uint8_t level = tree->type == JSON_OBJECT ? LEVEL_IS_OBJECT : 0;
        level_enter(writer, level);
        json_each (child, tree)
            tree_write(writer, child->key, tree->type == JSON_OBJECT, child);
        level_leave(writer, level);
        break;
    }
    case JSON_STRING:
        json_append_string(writer->buf, tree->string);
        break;
    case JSON_NUMBER:
        buf_append_slice(writer->buf, tree->string);
        break;
    case JSON_BOOL:
        buf_append_text(writer->buf, tree->boolean ? "true" : "false");
        break;
    case JSON_NULL:
        buf_append_text(writer->buf, "null");
        break;
    }
}

void json_write_tree(struct json_writer *writer, const char *key, const struct json *tree)
{
    tree_write(writer, slice_from(key), key != NULL, tree);
}
