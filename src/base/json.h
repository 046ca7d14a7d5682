/* json.h - JSON (RFC 8259): a strict parser into an arena, and a writer into a buf.
 *
 * Parser: UTF-8 only, depth at most JSON_DEPTH_MAX, duplicate keys are an error, nothing after the
 * value. The character U+0000 is refused, since texts are also handed out NUL-terminated; so are
 * numbers beyond the range of a double. Writer: calls must nest properly (asserted); strings that
 * are not UTF-8 get U+FFFD in place of the bad bytes.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"

#define JSON_DEPTH_MAX        64
#define JSON_WRITER_DEPTH_MAX 160 /* a parsed tree fits within one's own nesting, asserted */

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
    enum json_type type;
    struct slice key;    /* within an object; decoded */
    struct slice string; /* JSON_STRING: decoded, NUL-terminated; JSON_NUMBER: its text */
    double number;
    int64_t integer; /* JSON_NUMBER that is a whole number in range */
    bool is_integer;
    bool boolean;
    struct json *next;  /* sibling */
    struct json *first; /* first child of an array or object */
    size_t count;       /* children */
};

/* ERR_INVALID (with line and column in err), ERR_LIMIT (depth, arena). The tree lives in the arena.
 */
MUST_USE int json_parse(struct arena *arena, struct slice text, struct json **ret_json,
                        struct error *err);

/* All accept json == NULL and another type, and then return the fallback. Strings are
 * NUL-terminated. */
struct json *json_get(const struct json *object, const char *key);
struct json *json_path(const struct json *object, const char *dotted); /* "a.b.c" */
const char *json_text(const struct json *json, const char *fallback);
int64_t json_integer(const struct json *json, int64_t fallback);
bool json_boolean(const struct json *json, bool fallback);
/* Shorthand: json_text(json_get(object, key), fallback) etc. */
const char *json_get_text(const struct json *object, const char *key, const char *fallback);
int64_t json_get_integer(const struct json *object, const char *key, int64_t fallback);
bool json_get_boolean(const struct json *object, const char *key, bool fallback);
#define json_each(child, parent)                                                                   \
    for (struct json *child = (parent) ? (parent)->first : NULL; child; child = child->next)

struct json_writer {
    struct buf *buf;
    unsigned depth;
    uint8_t
        levels[JSON_WRITER_DEPTH_MAX]; /* private: what each level is and whether it has members */
};

#define JSON_WRITER(buf_pointer) ((struct json_writer){.buf = (buf_pointer)})

/* `key` is NULL inside arrays and at the top. */
void json_begin_object(struct json_writer *writer, const char *key);
void json_end_object(struct json_writer *writer);
void json_begin_array(struct json_writer *writer, const char *key);
void json_end_array(struct json_writer *writer);
void json_write_text(struct json_writer *writer, const char *key,
                     const char *value); /* NULL → null */
void json_write_slice(struct json_writer *writer, const char *key, struct slice value);
void json_write_integer(struct json_writer *writer, const char *key, int64_t value);
void json_write_number(struct json_writer *writer, const char *key,
                       double value); /* non-finite → null */
void json_write_boolean(struct json_writer *writer, const char *key, bool value);
void json_write_null(struct json_writer *writer, const char *key);
void json_write_time(struct json_writer *writer, const char *key,
                     uint64_t wall_us); /* RFC 3339; 0 → null */
void json_write_raw(struct json_writer *writer, const char *key,
                    struct slice json); /* trusted JSON text */
void json_write_tree(struct json_writer *writer, const char *key, const struct json *tree);
/* Append `s` as a quoted, escaped JSON string. */
void json_append_string(struct buf *buf, struct slice s);

#endif
