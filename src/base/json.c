/* json.c - the parser. Recursive descent, at most JSON_DEPTH_MAX deep; the writer is in
 * json_writer.c. */
#include "base/json.h"

#include "base/map.h"
#include "base/text.h"
#include <math.h>

/* Objects with more members than this find duplicates by a map instead of by looking at each. */
#define MEMBERS_COMPARED 16

struct parser {
    struct arena *arena;
    const char *start, *at, *end;
    unsigned depth;
    struct error *err;
};

static int value_parse(struct parser *p, struct json **ret_json);

static void place_find(const struct parser *p, size_t *ret_line, size_t *ret_column)
{
    *ret_line = *ret_column = 1;
    for (const char *c = p->start; c < p->at; c++) {
        ++*ret_column;
        if (*c == '\n') {
            ++*ret_line;
            *ret_column = 1;
        }
    }
}

static int fail(struct parser *p, int code, const char *what)
{
    size_t line, column;
    place_find(p, &line, &column);
    return error_set(p->err, code, "line %zu, column %zu: %s", line, column, what);
}

static int fail_arena(struct parser *p)
{
    return fail(p, ERR_LIMIT, "the document is too large");
}

static void skip_blank(struct parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r'))
        p->at++;
}

static bool take(struct parser *p, char c)
{
    if (p->at == p->end || *p->at != c)
        return false;
    p->at++;
    return true;
}

static int json_new(struct parser *p, enum json_type type, struct json **ret_json)
{
    struct json *json = arena_try(p->arena, sizeof(*json));
    if (!json)
        return fail_arena(p);
    json->type = type;
    *ret_json = json;
    return 0;
}

/* ---- strings -------------------------------------------------------------------------------- */

static int hex4_parse(struct parser *p, unsigned *ret_unit)
{
    unsigned unit = 0;
    for (int i = 0; i < 4; i++, p->at++) {
        char c = p->at < p->end ? *p->at : '\0';
        if (c >= '0' && c <= '9')
            unit = unit * 16 + (unsigned)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            unit = unit * 16 + (unsigned)((c | 0x20) - 'a' + 10);
        else
            return fail(p, ERR_INVALID, "\\u needs four hexadecimal digits");
    }
    *ret_unit = unit;
    return 0;
}

static char *utf8_put(char *to, unsigned point)
{
    if (point < 0x80) {
        *to++ = (char)point;
        return to;
    }
    if (point < 0x800) {
        *to++ = (char)(0xc0 | point >> 6);
    } else {
        if (point < 0x10000) {
            *to++ = (char)(0xe0 | point >> 12);
        } else {
            *to++ = (char)(0xf0 | point >> 18);
            *to++ = (char)(0x80 | (point >> 12 & 0x3f));
        }
        *to++ = (char)(0x80 | (point >> 6 & 0x3f));
    }
    *to++ = (char)(0x80 | (point & 0x3f));
    return to;
}

/* Behind "\u": one code point, which may take a second \uXXXX. */
static int point_parse(struct parser *p, unsigned *ret_point)
{
    unsigned high, low;
    int r = hex4_parse(p, &high);
    if (r != 0)
        return r;
    if (high == 0)
        return fail(p, ERR_INVALID, "the character U+0000 is not allowed");
    if (high < 0xd800 || high > 0xdfff) {
        *ret_point = high;
        return 0;
    }
    if (high > 0xdbff || !take(p, '\\') || !take(p, 'u'))
        return fail(p, ERR_INVALID, "half of a surrogate pair");
    if ((r = hex4_parse(p, &low)) != 0)
        return r;
    if (low < 0xdc00 || low > 0xdfff)
        return fail(p, ERR_INVALID, "half of a surrogate pair");
    *ret_point = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    return 0;
}

static int escape_parse(struct parser *p, char **to)
{
    static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    char c = p->at < p->end ? *p->at : '\0';
    const char *found = c ? strchr(names, c) : NULL;
    if (found) {
        p->at++;
        *(*to)++ = bytes[found - names];
        return 0;
    }
    if (c != 'u')
        return fail(p, ERR_INVALID, "unknown escape in a string");
    p->at++;
    unsigned point;
    int r = point_parse(p, &point);
    if (r == 0)
        *to = utf8_put(*to, point);
    return r;
}

/* Behind the opening quote. Decoded, a string is never longer than its text. */
static int string_parse(struct parser *p, struct slice *ret_string)
{
    const char *close = p->at;
    while (close < p->end && *close != '"')
        close += *close == '\\' && p->end - close > 1 ? 2 : 1;
    if (close >= p->end) {
        p->at = p->end;
        return fail(p, ERR_INVALID, "a string is not closed");
    }
    char *text = arena_try(p->arena, (size_t)(close - p->at) + 1);
    if (!text)
        return fail_arena(p);
    char *to = text;
    while (*p->at != '"') {
        unsigned char byte = (unsigned char)*p->at;
        if (byte == '\\') {
            p->at++;
            int r = escape_parse(p, &to);
            if (r != 0)
                return r;
            continue;
        }
        if (byte < 0x20)
            return fail(p, ERR_INVALID, "a control character within a string");
        size_t len = text_utf8_sequence((struct slice){p->at, (size_t)(close - p->at)});
        if (len == 0)
            return fail(p, ERR_INVALID, "a string that is not UTF-8");
        memcpy(to, p->at, len);
        to += len;
        p->at += len;
    }
    p->at++;
    *to = '\0';
    *ret_string = (struct slice){text, (size_t)(to - text)};
    return 0;
}

/* ---- numbers -------------------------------------------------------------------------------- */

static bool digits_skip(struct parser *p)
{
    const char *from = p->at;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
        p->at++;
    return p->at > from;
}

static bool number_skip(struct parser *p, bool *ret_is_plain)
{
    *ret_is_plain = true;
    take(p, '-');
    if (!take(p, '0') && !digits_skip(p))
        return false;
    if (take(p, '.')) {
        *ret_is_plain = false;
        if (!digits_skip(p))
            return false;
    }
    if (take(p, 'e') || take(p, 'E')) {
        *ret_is_plain = false;
        if (!take(p, '+'))
            take(p, '-');
        if (!digits_skip(p))
            return false;
    }
    return true;
}

static int number_parse(struct parser *p, struct json *json)
{
    const char *from = p->at;
    bool is_plain;
    if (!number_skip(p, &is_plain))
        return fail(p, ERR_INVALID, "a number is malformed");
    json->string.len = (size_t)(p->at - from);
    char *text = arena_try(p->arena, json->string.len + 1);
    if (!text)
        return fail_arena(p);
    memcpy(text, from, json->string.len);
    json->string.ptr = text;
    json->number = strtod(text, NULL);
    if (!isfinite(json->number))
        return fail(p, ERR_INVALID, "a number is out of range");
    if (is_plain) {
        json->is_integer = slice_to_i64(json->string, &json->integer) == 0;
    } else if (fabs(json->number) <= 9007199254740992.0 && !(trunc(json->number) < json->number) &&
               !(trunc(json->number) > json->number)) {
        json->is_integer = true;
        json->integer = (int64_t)json->number;
    }
    return 0;
}

/* ---- containers ----------------------------------------------------------------------------- */

/* Refuse a key that the object has; *index comes into being when looking at each member costs more.
 */
static int key_check(struct parser *p, struct json *object, struct slice key, struct map **index)
{
    static char present;
    if (object->count < MEMBERS_COMPARED) {
        json_each (member, object)
            if (slice_eq(member->key, key))
                return fail(p, ERR_INVALID, "a key stands twice in one object");
        return 0;
    }
    if (!*index) {
        *index = map_new(SIZE_MAX);
        json_each (member, object)
            if (map_put(*index, member->key, &present) != 0)
                return fail_arena(p);
    }
    if (map_get(*index, key))
        return fail(p, ERR_INVALID, "a key stands twice in one object");
    return map_put(*index, key, &present) == 0 ? 0 : fail_arena(p);
}

static int member_parse(struct parser *p, struct json *parent, struct map **index,
                        struct json **ret_child)
{
    struct slice key = {0};
    int r;
    if (parent->type == JSON_OBJECT) {
        skip_blank(p);
        if (!take(p, '"'))
            return fail(p, ERR_INVALID, "expected a key in quotes");
        if ((r = string_parse(p, &key)) != 0 || (r = key_check(p, parent, key, index)) != 0)
            return r;
        skip_blank(p);
        if (!take(p, ':'))
            return fail(p, ERR_INVALID, "expected ':' behind a key");
    }
    if ((r = value_parse(p, ret_child)) != 0)
        return r;
    (*ret_child)->key = key;
    return 0;
}

/* Behind the opening bracket. */
static int members_parse(struct parser *p, struct json *parent)
{
    char close = parent->type == JSON_OBJECT ? '}' : ']';
    CLEANUP(map_freep) struct map *index = NULL;
    struct json **link = &parent->first;
    if (++p->depth > JSON_DEPTH_MAX)
        return fail(p, ERR_LIMIT, "nested too deep");
    skip_blank(p);
    if (!take(p, close)) {
        do {
            struct json *child;
            int r = member_parse(p, parent, &index, &child);
            if (r != 0)
                return r;
            *link = child;
            link = &child->next;
            parent->count++;
            skip_blank(p);
        } while (take(p, ','));
        if (!take(p, close))
            return fail(p, ERR_INVALID,
                        close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
    }
    p->depth--;
    return 0;
}

static bool take_word(struct parser *p, struct slice word)
{
    if (!slice_starts_with((struct slice){p->at, (size_t)(p->end - p->at)}, word))
        return false;
    p->at += word.len;
    return true;
}

static int value_parse(struct parser *p, struct json **ret_json)
{
    struct json *json;
    skip_blank(p);
    int r = json_new(p, JSON_NULL, &json);
    if (r != 0)
        return r;
    if (p->at == p->end)
        return fail(p, ERR_INVALID, "the document ends too early");
    if (take(p, '{')) {
        json->type = JSON_OBJECT;
        r = members_parse(p, json);
    } else if (take(p, '[')) {
        json->type = JSON_ARRAY;
        r = members_parse(p, json);
    } else if (take(p, '"')) {
        json->type = JSON_STRING;
        r = string_parse(p, &json->string);
    } else if (*p->at == '-' || (*p->at >= '0' && *p->at <= '9')) {
        json->type = JSON_NUMBER;
        r = number_parse(p, json);
    } else if (take_word(p, SLICE("true"))) {
        json->type = JSON_BOOL;
        json->boolean = true;
    } else if (take_word(p, SLICE("false"))) {
        json->type = JSON_BOOL;
    } else if (!take_word(p, SLICE("null"))) {
        r = fail(p, ERR_INVALID, "expected a value");
    }
    if (r == 0)
        *ret_json = json;
    return r;
}

int json_parse(struct arena *arena, struct slice text, struct json **ret_json, struct error *err)
{
    if (!text.ptr)
        text = SLICE("");
    struct parser p = {
        .arena = arena, .start = text.ptr, .at = text.ptr, .end = text.ptr + text.len, .err = err};
    struct json *json;
    int r = value_parse(&p, &json);
    if (r != 0)
        return r;
    skip_blank(&p);
    if (p.at != p.end)
        return fail(&p, ERR_INVALID, "text behind the end of the document");
    *ret_json = json;
    return 0;
}

/* ---- looking things up ---------------------------------------------------------------------- */

static struct json *member_get(const struct json *object, struct slice key)
{
    if (!object || object->type != JSON_OBJECT)
        return NULL;
    json_each (member, object)
        if (slice_eq(member->key, key))
            return member;
    return NULL;
}

struct json *json_get(const struct json *object, const char *key)
{
    return member_get(object, slice_from(key));
}

struct json *json_path(const struct json *object, const char *dotted)
{
    struct slice rest = slice_from(dotted);
    struct json *found = NULL;
    const struct json *at = object;
    while (rest.len) {
        found = member_get(at, slice_cut(&rest, '.'));
        at = found;
    }
    return found;
}

const char *json_text(const struct json *json, const char *fallback)
{
    return json && json->type == JSON_STRING ? json->string.ptr : fallback;
}

int64_t json_integer(const struct json *json, int64_t fallback)
{
    return json && json->type == JSON_NUMBER && json->is_integer ? json->integer : fallback;
}

bool json_boolean(const struct json *json, bool fallback)
{
    return json && json->type == JSON_BOOL ? json->boolean : fallback;
}

const char *json_get_text(const struct json *object, const char *key, const char *fallback)
{
    return json_text(json_get(object, key), fallback);
}

int64_t json_get_integer(const struct json *object, const char *key, int64_t fallback)
{
    return json_integer(json_get(object, key), fallback);
}

bool json_get_boolean(const struct json *object, const char *key, bool fallback)
{
    return json_boolean(json_get(object, key), fallback);
}
