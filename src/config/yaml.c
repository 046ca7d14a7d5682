/* yaml.c - from libyaml's events to a bounded tree. */
#include "config/yaml_private.h"

#include "base/map.h"
#include "base/text.h"
#include <yaml.h>

#define ANCHORS_MAX    ((size_t)1000)
#define DUPLICATES_MAP ((size_t)16) /* a map with more keys than this finds duplicates by hash */

struct anchor {
    const char *name;
    struct node *node;
};

struct reader {
    struct arena *nodes, *texts;
    struct findings *findings;
    const char *file;
    struct slice text;
    yaml_parser_t parser;
    yaml_event_t event; /* the current one, when has_event */
    bool has_event;
    size_t weight; /* nodes so far, aliases expanded */
    struct anchor *anchors;
    size_t anchor_count;
};

static struct position position_of(const struct reader *reader, yaml_mark_t mark)
{
    return (struct position){reader->file, (unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

#define REPORT(reader, at, suggestion, ...)                                                        \
    findings_add((reader)->findings, FINDING_ERROR, (at), NULL, (suggestion), __VA_ARGS__)

/* ---- before libyaml sees it */

static struct position position_at(const char *file, struct slice text, size_t offset)
{
    struct position at = {file, 1, 1};
    for (size_t i = 0; i < offset; i++) {
        if (text.ptr[i] == '\n') {
            at.line++;
            at.column = 1;
        } else if (((unsigned char)text.ptr[i] & 0xc0) != 0x80) {
            at.column++;
        }
    }
    return at;
}

static bool bytes_are_readable(struct reader *reader)
{
    struct slice text = reader->text;
    if (text.len > MANIFEST_BYTES_MAX) {
        REPORT(reader, ((struct position){reader->file, 0, 0}), NULL,
               "the file is too large: %zu bytes, the limit is %u", text.len, MANIFEST_BYTES_MAX);
        return false;
    }
    for (size_t i = 0; i < text.len;) {
        size_t len = text.ptr[i] ? text_utf8_sequence(slice_sub(text, i, 4)) : 0;
        if (len == 0 && text.ptr[i]) {
            REPORT(reader, position_at(reader->file, text, i), "save the file as UTF-8",
                   "byte 0x%02x is not UTF-8", (unsigned)(unsigned char)text.ptr[i]);
            return false;
        }
        if (len == 0) {
            REPORT(reader, position_at(reader->file, text, i), "save the file as UTF-8 text",
                   "the file holds a NUL byte");
            return false;
        }
        i += len;
    }
    return true;
}

/* ---- events */

/* What people usually did when libyaml gives up there. */
static const char *syntax_suggestion(const struct reader *reader)
{
    const char *problem = reader->parser.problem;
    yaml_mark_t mark = reader->parser.problem_mark;
    char c = mark.index < reader->text.len ? reader->text.ptr[mark.index] : '\0';
    if (c == '\t')
        return "indent with spaces, not tabs";
    if (c == '@' || c == '`' || c == '%')
        return "put the text in quotes";
    if (problem && strstr(problem, "mapping values are not allowed"))
        return "put the text in quotes when it holds ': ', or check the indentation";
    if (problem && strstr(problem, "could not find expected ':'"))
        return "write 'key: value'; check the indentation of this line and the one before";
    return NULL;
}

static void report_syntax(struct reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;
    const char *problem = parser->problem ? parser->problem : "it cannot be read";
    struct position at = position_of(reader, parser->problem_mark);
    if (parser->error == YAML_MEMORY_ERROR) {
        REPORT(reader, at, NULL, "not enough memory to read the file");
    } else if (parser->error == YAML_READER_ERROR) {
        at = position_at(reader->file, reader->text, MIN(parser->problem_offset, reader->text.len));
        REPORT(reader, at, NULL, "not valid YAML: %s", problem);
    } else if (parser->context) {
        REPORT(reader, at, syntax_suggestion(reader), "not valid YAML: %s %s", parser->context,
               problem);
    } else {
        REPORT(reader, at, syntax_suggestion(reader), "not valid YAML: %s", problem);
    }
}

static bool next_event(struct reader *reader)
{
    if (reader->has_event)
        yaml_event_delete(&reader->event);
    reader->has_event = yaml_parser_parse(&reader->parser, &reader->event) != 0;
    if (!reader->has_event)
        report_syntax(reader);
    return reader->has_event;
}

/* ---- nodes */

static struct node *node_new(struct reader *reader, enum node_kind kind, struct position at)
{
    if (reader->weight >= MANIFEST_NODES_MAX) {
        REPORT(reader, at, "write less, or repeat less with aliases",
               "the file holds more than %u values", MANIFEST_NODES_MAX);
        return NULL;
    }
    reader->weight++;
    struct node *node = arena_new_of(reader->nodes, struct node);
    node->kind = kind;
    node->at = at;
    node->weight = node->height = 1;
    return node;
}

/* What the parent knows of its children; the caller links them. */
static void node_count(struct node *parent, const struct node *child)
{
    parent->count++;
    parent->weight += child->weight;
    parent->height = MAX(parent->height, child->height + 1);
}

static bool tag_is_known(const char *tag)
{
    static const char *const known[] = {"str", "int", "float", "bool", "null", "seq", "map"};
    static const char prefix[] = "tag:yaml.org,2002:";
    if (!tag || strcmp(tag, "!") == 0)
        return true;
    if (strncmp(tag, prefix, sizeof(prefix) - 1) != 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(tag + sizeof(prefix) - 1, known[i]) == 0)
            return true;
    return false;
}

static void check_tag(struct reader *reader, const yaml_char_t *tag)
{
    if (!tag_is_known((const char *)tag))
        REPORT(reader, position_of(reader, reader->event.start_mark), "write the value without it",
               "the tag '%s' is not supported", (const char *)tag);
}

static void anchor_add(struct reader *reader, const char *name, struct node *node)
{
    if (!name || !node)
        return;
    if (reader->anchor_count == ANCHORS_MAX) {
        REPORT(reader, node->at, NULL, "the file holds more than %zu anchors", ANCHORS_MAX);
        return;
    }
    reader->anchors[reader->anchor_count++] = (struct anchor){name, node};
}

/* A shallow copy: what lies below is shared. */
static struct node *alias_node(struct reader *reader, unsigned depth)
{
    const char *name = (const char *)reader->event.data.alias.anchor;
    struct position at = position_of(reader, reader->event.start_mark);
    for (size_t i = reader->anchor_count; i-- > 0;) { /* the last one of that name counts */
        struct node *target = reader->anchors[i].node;
        if (strcmp(reader->anchors[i].name, name) != 0)
            continue;
        if (depth + target->height > MANIFEST_DEPTH_MAX) {
            REPORT(reader, at, NULL, "values are nested more than %u deep", MANIFEST_DEPTH_MAX);
            return NULL;
        }
        struct node *node = node_new(reader, target->kind, at);
        if (!node)
            return NULL;
        *node = *target;
        node->next = NULL;
        node->key = NULL;
        reader->weight += target->weight - 1;
        if (reader->weight > MANIFEST_NODES_MAX) {
            REPORT(reader, at, "write less, or repeat less with aliases",
                   "with its aliases expanded the file holds more than %u values",
                   MANIFEST_NODES_MAX);
            return NULL;
        }
        return node;
    }
    REPORT(reader, at, NULL, "there is no anchor '&%s' before this alias", name);
    return NULL;
}

/* By escapes ("\x7f") a text can hold characters that YAML and JSON do not both take as they are; a
 * manifest must be the same in both. NUL would also end it early. */
static bool text_is_readable(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i],
                      next = i + 1 < text.len ? (unsigned char)text.ptr[i + 1] : 0;
        bool is_c1 = c == 0xc2 && next < 0xa0 && next != 0x85;
        bool is_mark =
            c == 0xef && (slice_starts_with(slice_sub(text, i, 3), SLICE("\xef\xbb\xbf")) ||
                          slice_starts_with(slice_sub(text, i, 3), SLICE("\xef\xbf\xbe")) ||
                          slice_starts_with(slice_sub(text, i, 3), SLICE("\xef\xbf\xbf")));
        if (c == 0 || c == 0x7f || is_c1 || is_mark)
            return false;
    }
    return true;
}

static struct node *scalar_node(struct reader *reader)
{
    struct position at = position_of(reader, reader->event.start_mark);
    struct slice value = {(const char *)reader->event.data.scalar.value,
                          reader->event.data.scalar.length};
    const yaml_char_t *tag = reader->event.data.scalar.tag;
    struct node *node = node_new(reader, NODE_SCALAR, at);
    check_tag(reader, tag);
    if (!node)
        return NULL;
    if (!text_is_readable(value)) {
        REPORT(reader, at, NULL,
               "a text cannot hold NUL, DEL or other characters that nobody can see");
        value = (struct slice){"", 0};
    }
    bool is_text = tag && strcmp((const char *)tag, YAML_STR_TAG) == 0;
    node->is_plain = reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !is_text;
    node->text = arena_slice_text(reader->texts, value);
    node->len = value.len;
    return node;
}

static struct node *read_node(struct reader *reader, unsigned depth);

static struct node *list_node(struct reader *reader, unsigned depth)
{
    struct node *list = node_new(reader, NODE_LIST, position_of(reader, reader->event.start_mark));
    if (!list)
        return NULL;
    struct node **end = &list->first;
    for (;;) {
        if (!next_event(reader))
            return NULL;
        if (reader->event.type == YAML_SEQUENCE_END_EVENT)
            return list;
        struct node *item = read_node(reader, depth + 1);
        if (!item)
            return NULL;
        node_count(list, item);
        *end = item;
        end = &item->next;
    }
}

/* ---- maps: duplicate keys and merge keys */

struct map_reader {
    struct node *map, **end;
    struct map *keys; /* name → node, once there are many */
    struct node *merges[8];
    size_t merge_count;
};

static void map_reader_done(struct map_reader *state)
{
    map_freep(&state->keys);
}

static struct node *map_find(struct map_reader *state, const char *key)
{
    if (state->keys)
        return map_get(state->keys, slice_from(key));
    return node_get(state->map, key);
}

static void map_append(struct map_reader *state, struct node *child)
{
    node_count(state->map, child);
    *state->end = child;
    state->end = &child->next;
    if (!state->keys && state->map->count > DUPLICATES_MAP) {
        state->keys = map_new(MANIFEST_NODES_MAX + 1);
        node_each(old, state->map) if (map_put(state->keys, slice_from(old->key), old) != 0)
            abort();
    } else if (state->keys && map_put(state->keys, slice_from(child->key), child) != 0) {
        abort(); /* there are fewer nodes than the map has room for */
    }
}

/* "<<": what the named maps hold is as if written here, unless it is
 * (https://yaml.org/type/merge.html). */
static bool merge_map(struct reader *reader, struct map_reader *state, const struct node *from,
                      struct position at)
{
    if (from->kind != NODE_MAP) {
        REPORT(reader, at, "write '<<: *name'", "'<<' wants a map or a list of maps");
        return true;
    }
    node_each(child, from)
    {
        if (map_find(state, child->key))
            continue;
        reader->weight += child->weight;
        struct node *copy = node_new(reader, child->kind, child->at);
        if (!copy)
            return false;
        *copy = *child;
        copy->next = NULL;
        map_append(state, copy);
    }
    return true;
}

static bool merges_apply(struct reader *reader, struct map_reader *state)
{
    for (size_t i = 0; i < state->merge_count; i++) {
        struct node *merge = state->merges[i];
        if (merge->kind != NODE_LIST) {
            if (!merge_map(reader, state, merge, merge->key_at))
                return false;
            continue;
        }
        node_each(item, merge) if (!merge_map(reader, state, item, merge->key_at)) return false;
    }
    return true;
}

static bool map_member(struct reader *reader, struct map_reader *state, unsigned depth)
{
    struct position at = position_of(reader, reader->event.start_mark);
    struct node *key = read_node(reader, depth + 1);
    if (!key || !next_event(reader))
        return false;
    struct node *value = read_node(reader, depth + 1);
    if (!value)
        return false;
    if (key->kind != NODE_SCALAR) {
        REPORT(reader, at, NULL, "a key must be a word, not a list or a map");
        return true;
    }
    value->key = key->text;
    value->key_at = at;
    bool is_merge = key->is_plain && strcmp(key->text, "<<") == 0;
    if (is_merge && state->merge_count < ARRAY_LEN(state->merges)) {
        state->merges[state->merge_count++] = value;
        return true;
    }
    const struct node *first = map_find(state, key->text);
    if (first)
        REPORT(reader, at, NULL, "duplicate key '%s', given already in line %u", key->text,
               first->key_at.line);
    else
        map_append(state, value);
    return true;
}

static struct node *map_node(struct reader *reader, unsigned depth)
{
    CLEANUP(map_reader_done)
    struct map_reader state = {
        .map = node_new(reader, NODE_MAP, position_of(reader, reader->event.start_mark))};
    if (!state.map)
        return NULL;
    state.end = &state.map->first;
    for (;;) {
        if (!next_event(reader))
            return NULL;
        if (reader->event.type == YAML_MAPPING_END_EVENT)
            return merges_apply(reader, &state) ? state.map : NULL;
        if (!map_member(reader, &state, depth))
            return NULL;
    }
}

/* The node that the current event begins; its last event is current afterwards. Recursion is
 * bounded by depth. */
static struct node *read_node(struct reader *reader, unsigned depth)
{
    const yaml_event_t *event = &reader->event;
    struct node *node = NULL;
    const yaml_char_t *anchor = NULL;
    if (depth > MANIFEST_DEPTH_MAX) {
        REPORT(reader, position_of(reader, event->start_mark), NULL,
               "values are nested more than %u deep", MANIFEST_DEPTH_MAX);
        return NULL;
    }
    switch ((int)event->type) {
    case YAML_ALIAS_EVENT:
        return alias_node(reader, depth);
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        check_tag(reader, event->data.sequence_start.tag);
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        check_tag(reader, event->data.mapping_start.tag);
        break;
    default:
        return NULL;
    }
    const char *name = arena_text(reader->nodes, (const char *)anchor);
    if (event->type == YAML_SCALAR_EVENT)
        node = scalar_node(reader);
    else if (event->type == YAML_SEQUENCE_START_EVENT)
        node = list_node(reader, depth);
    else
        node = map_node(reader, depth);
    anchor_add(reader, name, node);
    return node;
}

static struct node *read_stream(struct reader *reader)
{
    struct node *root = NULL;
    if (!next_event(reader)) /* the stream's start */
        return NULL;
    if (!next_event(reader)) /* the document's, or the stream's end */
        return NULL;
    if (reader->event.type == YAML_DOCUMENT_START_EVENT) {
        if (!next_event(reader))
            return NULL;
        root = read_node(reader, 1);
        if (!root || !next_event(reader)) /* the document's end */
            return NULL;
        if (!next_event(reader)) /* what follows */
            return NULL;
        if (reader->event.type == YAML_DOCUMENT_START_EVENT)
            REPORT(reader, position_of(reader, reader->event.start_mark),
                   "keep one document a file", "a second YAML document begins here");
    }
    if (!root || node_is_null(root)) {
        REPORT(reader, ((struct position){reader->file, 0, 0}), NULL, "the file is empty");
        return NULL;
    }
    return root;
}

struct node *yaml_parse(struct arena *nodes, struct arena *texts, const char *file,
                        struct slice text, struct findings *findings)
{
    struct reader reader = {
        .nodes = nodes, .texts = texts, .findings = findings, .file = file, .text = text};
    if (!bytes_are_readable(&reader))
        return NULL;
    if (slice_starts_with(reader.text, SLICE("\xef\xbb\xbf"))) /* a byte order mark */
        reader.text = slice_sub(reader.text, 3, SIZE_MAX);
    reader.anchors = arena_array_of(nodes, struct anchor, ANCHORS_MAX);
    if (!yaml_parser_initialize(&reader.parser))
        abort();
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.parser,
                                 (const unsigned char *)(reader.text.ptr ? reader.text.ptr : ""),
                                 reader.text.len);
    struct node *root = read_stream(&reader);
    if (reader.has_event)
        yaml_event_delete(&reader.event);
    yaml_parser_delete(&reader.parser);
    return root;
}

/* ---- looking at nodes */

struct node *node_get(const struct node *map, const char *key)
{
    if (!map || map->kind != NODE_MAP)
        return NULL;
    node_each(child, map) if (strcmp(child->key, key) == 0) return child;
    return NULL;
}

bool node_is_null(const struct node *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (!node || node->kind != NODE_SCALAR || !node->is_plain)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(node->text, words[i]) == 0)
            return true;
    return false;
}

const char *node_describe(const struct node *node, char *buffer, size_t size)
{
    if (node->kind == NODE_LIST)
        return "a list";
    if (node->kind == NODE_MAP)
        return "a map";
    if (node_is_null(node))
        return "nothing";
    static const char key_mark[] = "PRIVATE KEY-----";
    size_t shown = MIN(node->len, (size_t)60);
    const char *key = strstr(node->text, key_mark); /* what follows would be told to logs */
    if (key)
        shown = MIN(shown, (size_t)(key - node->text) + sizeof(key_mark) - 1);
    while (shown && shown < node->len && ((unsigned char)node->text[shown] & 0xc0) == 0x80)
        shown--;
    snprintf(buffer, size, "'%.*s%s'", (int)shown, node->text, shown < node->len ? "..." : "");
    for (char *c = buffer; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    return buffer;
}

/* ---- overlays */

static struct node *copy_of(struct arena *nodes, const struct node *node)
{
    struct node *copy = arena_new_of(nodes, struct node);
    *copy = *node;
    copy->next = NULL;
    return copy;
}

struct node *yaml_merge(struct arena *nodes, struct node *base, struct node *overlay,
                        struct findings *findings)
{
    if (base->kind != NODE_MAP || overlay->kind != NODE_MAP) {
        struct node *copy = copy_of(nodes, overlay);
        copy->key = base->key;
        copy->key_at = base->key_at;
        return copy;
    }
    struct node *merged = copy_of(nodes, base);
    merged->first = NULL;
    struct node **end = &merged->first;
    node_each(child, base)
    {
        struct node *over = node_get(overlay, child->key);
        if (node_is_null(over))
            continue;
        *end = over ? yaml_merge(nodes, child, over, findings) : copy_of(nodes, child);
        end = &(*end)->next;
    }
    node_each(child, overlay)
    {
        if (node_get(base, child->key))
            continue;
        if (node_is_null(child)) {
            findings_add(findings, FINDING_WARNING, child->key_at, NULL, NULL,
                         "there is no '%s' to remove", child->key);
            continue;
        }
        *end = copy_of(nodes, child);
        end = &(*end)->next;
    }
    merged->count = 0;
    node_each(child, merged) merged->count++;
    return merged;
}
