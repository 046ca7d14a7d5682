#include "base/clock.h"
#include "base/json.h"
#include "base/keeper_protocol.h"
#include "logd/query_private.h"

static const char *stream_name(unsigned kind)
{
    return kind == KEEPER_STREAM_ACCESS   ? "access"
           : kind == KEEPER_STREAM_STDERR ? "stderr"
                                          : "stdout";
}

static void append_member(struct buf *buf, const char *key, struct slice value)
{
    buf_append_text(buf, ",\"");
    buf_append_text(buf, key);
    buf_append_text(buf, "\":");
    json_append_string(buf, value);
}

static void append_number(struct buf *buf, const char *key, uint64_t value)
{
    buf_append_text(buf, ",\"");
    buf_append_text(buf, key);
    buf_append_text(buf, "\":");
    buf_append_u64(buf, value);
}

/* What all records of a label have in common, made once a block. */
static void prefix_make(struct query *query, const struct view *view, uint16_t index)
{
    struct label_view label = view_label(view, index);
    struct label parts;

    if (query->prefix_label == index)
        return;
    parts = label_parse_or_empty(label.text);
    buf_clear(&query->prefix);
    append_member(&query->prefix, "app", parts.app);
    append_member(&query->prefix, "service", parts.service);
    append_member(&query->prefix, "instance", parts.instance);
    append_number(&query->prefix, "release", parts.release_number);
    append_number(&query->prefix, "unit", label.head.unit);
    query->prefix_label = index;
}

static void record_begin(struct query *query, const struct view *view, const struct record *record)
{
    struct label_view label = view_label(view, record->label);
    struct label parts = label_parse_or_empty(label.text);
    char time[CLOCK_TEXT_SIZE];
    struct buf *out = &query->out;

    prefix_make(query, view, record->label);
    buf_append_text(out, "{\"time\":\"");
    buf_append_text(out, clock_format(record->time_us, time));
    buf_append_byte(out, '"');
    buf_append_slice(out, buf_slice(&query->prefix));
    if (record->flags & RECORD_GAP)
        append_member(out, "kind", SLICE("gap"));
    else if (label.head.kind == KEEPER_STREAM_ACCESS)
        append_member(out, "kind", SLICE("access"));
    else
        append_member(out, "kind", parts.kind);
    append_member(out, "stream", slice_from(stream_name(label.head.kind)));
    if (record->flags & RECORD_PARTIAL)
        buf_append_text(out, ",\"partial\":true");
    if (record->flags & RECORD_CONTINUED)
        buf_append_text(out, ",\"continued\":true");
}

/* Where to cut so that no UTF-8 sequence is torn: at most `limit` bytes from `from`. */
static size_t piece_end(struct slice content, size_t from, size_t limit)
{
    size_t end = from + limit, back = 0;

    if (end >= content.len)
        return content.len;
    while (back < 3 && ((unsigned char)content.ptr[end - back] & 0xc0) == 0x80)
        back++;
    return end - back;
}

static void append_unquoted(struct buf *out, struct slice text)
{
    size_t start = out->len;

    json_append_string(out, text);
    if (out->failed)
        return;
    /* Take the quotes off again: the string goes on in the next piece. */
    memmove(out->ptr + start, out->ptr + start + 1, out->len - start - 1);
    out->len -= 2;
    out->ptr[out->len] = '\0';
}

/* The inside of a JSON string. NUL is stored as it came, but shown as its symbol U+2400, since many
 * readers of JSON (our own one, too) refuse it. */
static void append_content(struct buf *out, struct slice text)
{
    const char *nul;

    while (text.len > 0 && (nul = memchr(text.ptr, '\0', text.len))) {
        append_unquoted(out, slice_sub(text, 0, (size_t)(nul - text.ptr)));
        buf_append_text(out, "\xe2\x90\x80");
        text = slice_sub(text, (size_t)(nul - text.ptr) + 1, text.len);
    }
    append_unquoted(out, text);
}

bool query_json_record(struct query *query, const struct view *view, const struct record *record)
{
    struct buf *out = &query->out;
    size_t end;

    if (!query->is_in_record) {
        record_begin(query, view, record);
        if (record->flags & RECORD_GAP) {
            struct record_gap gap;
            memcpy(&gap, record->content.ptr, sizeof gap);
            append_number(out, "dropped_lines", gap.dropped_lines);
            append_number(out, "dropped_bytes", gap.dropped_bytes);
            buf_append_text(out, "}\n");
            return true;
        }
        buf_append_text(out, ",\"line\":");
        if (record->content.len <= QUERY_PIECE &&
            slice_find_byte(record->content, '\0') < 0) { /* nearly all of them */
            json_append_string(out, record->content);
            buf_append_text(out, "}\n");
            return true;
        }
        buf_append_byte(out, '"');
        query->is_in_record = true;
        query->piece = 0;
    }
    end = piece_end(record->content, query->piece, QUERY_PIECE);
    append_content(out, slice_sub(record->content, query->piece, end - query->piece));
    query->piece = end;
    if (end < record->content.len)
        return false;
    buf_append_text(out, "\"}\n");
    query->is_in_record = false;
    return true;
}

void query_json_error(struct query *query, int code, const char *text)
{
    struct json_writer writer = JSON_WRITER(&query->out);

    json_begin_object(&writer, NULL);
    json_begin_object(&writer, "error");
    json_write_text(&writer, "code", error_name(code));
    json_write_text(&writer, "message", text);
    json_end_object(&writer);
    json_end_object(&writer);
    buf_append_byte(&query->out, '\n');
}
