#include "config/walk_private.h"

#include "base/text.h"
#include "config/value_private.h"

#define ENVIRONMENT_VALUE_MAX ((size_t)64 * 1024)

/* The way to a value, rendered only when there is something to say of it:
 * services.api.routes[2].path */
struct trail {
    const struct trail *up;
    const char *name; /* NULL: an item of a list */
    size_t index;
};

struct walk {
    struct arena *arena;
    struct findings *findings;
};

static void trail_append(struct buf *path, const struct trail *trail)
{
    if (!trail)
        return;
    trail_append(path, trail->up);
    if (!trail->name)
        buf_printf(path, "[%zu]", trail->index);
    else
        buf_printf(path, "%s%.64s", path->len ? "." : "", trail->name);
}

static void PRINTF_LIKE(6, 7)
    report(struct walk *walk, enum finding_level level, struct position at,
           const struct trail *trail, const char *suggestion, const char *format, ...)
{
    struct buf path = BUF_INIT(512);
    char message[400];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    trail_append(&path, trail);
    findings_add(walk->findings, level, at, buf_text(&path), suggestion, "%s", message);
    buf_done(&path);
}

static void walk_section(struct walk *walk, const struct node *node, enum section section,
                         void *base, const struct trail *trail, bool is_later);

/* ---- single values */

/* A default is written in the table as a person would write it, and read as if one had. */
static void apply_default(struct walk *walk, const struct key *key, void *base)
{
    struct node node = {.kind = NODE_SCALAR, .is_plain = key->kind != KIND_HOST};
    struct complaint complaint;
    node.text = key->fallback;
    node.len = strlen(key->fallback);
    bool is_read = value_read(walk->arena, key, &node, key_field(key, base), &complaint);
    assert(is_read);
    (void)is_read;
}

static void walk_value(struct walk *walk, const struct key *key, const struct node *node,
                       void *base, const struct trail *trail, bool is_later)
{
    struct complaint complaint;
    bool has_field = base && !(key->flags & KEY_LATER);
    if (value_read(walk->arena, key, node, has_field ? key_field(key, base) : NULL, &complaint)) {
        /* Of a key that comes later, the words that mean "without it" are fine. */
        if ((key->flags & KEY_LATER) && key->kind != KIND_WORD && !is_later)
            report(walk, FINDING_UNSUPPORTED, node->key_at, trail, NULL,
                   "%s: not supported yet in this version", key->name);
        return;
    }
    if (complaint.is_later && !is_later)
        report(walk, FINDING_UNSUPPORTED, node->at, trail, NULL, "%s: %s", key->name,
               complaint.text);
    else if (!complaint.is_later)
        report(walk, FINDING_ERROR, node->at, trail,
               complaint.suggestion[0] ? complaint.suggestion : NULL, "%s", complaint.text);
}

/* ---- environment variables: a text, or a map of one key */

static void walk_environment_source(struct walk *walk, const struct node *node,
                                    struct manifest_environment *variable,
                                    const struct trail *trail)
{
    struct manifest_environment read = {.name = variable->name};
    walk_section(walk, node, SECTION_environment, NULL, trail, false);
    if (node->count != 1) {
        report(walk, FINDING_ERROR, node->at, trail, NULL,
               "expected a text, {from: db.url} or {generate: true}");
        return;
    }
    const struct node *source = node->first;
    const struct key *key = key_find(SECTION_environment, source->key);
    struct complaint complaint;
    bool is_wanted = false;
    if (key && strcmp(key->name, "from") == 0 &&
        value_read(walk->arena, key, source, &read.value, &complaint))
        read.source = ENVIRONMENT_FROM;
    if (key && strcmp(key->name, "generate") == 0 &&
        value_read(walk->arena, key, source, &is_wanted, &complaint)) {
        read.source = ENVIRONMENT_GENERATE;
        if (!is_wanted)
            report(walk, FINDING_ERROR, source->at, trail, "remove the variable, or give it a text",
                   "'generate' can only be true");
    }
    *variable = read;
}

static void walk_environment(struct walk *walk, const struct node *node,
                             struct manifest_environment *variable, const struct trail *trail)
{
    struct slice name = slice_from(node->key);
    variable->name = node->key;
    variable->value = "";
    if (!environment_name_is_valid(name))
        report(walk, FINDING_ERROR, node->key_at, trail, NULL,
               "'%.60s' is not a valid name for a variable: use A-Z, a-z, 0-9 and '_', not "
               "beginning with a digit",
               node->key);
    else if (slice_starts_with(name, SLICE("SLIPWAY_")))
        report(walk, FINDING_ERROR, node->key_at, trail, NULL,
               "names that begin with SLIPWAY_ are set by slipway itself");
    if (node->kind == NODE_MAP) {
        walk_environment_source(walk, node, variable, trail);
    } else if (node->kind == NODE_LIST) {
        report(walk, FINDING_ERROR, node->at, trail, NULL, "expected a text, got a list");
    } else if (node_is_null(node)) {
        report(walk, FINDING_ERROR, node->at, trail, "write \"\" for an empty text",
               "expected a text, got nothing");
    } else if (node->len > ENVIRONMENT_VALUE_MAX) {
        report(walk, FINDING_ERROR, node->at, trail, NULL,
               "the text is too long: %zu bytes, the limit is %zu", node->len,
               ENVIRONMENT_VALUE_MAX);
    } else {
        variable->value = node->text;
    }
}

/* ---- maps and lists of sections */

static void check_item_name(struct walk *walk, const struct node *node, const struct trail *trail)
{
    static const struct key name_key = {.name = "name", .kind = KIND_NAME, .detail = "api"};
    struct node name = {.kind = NODE_SCALAR, .text = node->key, .len = strlen(node->key)};
    struct complaint complaint;
    if (!value_read(walk->arena, &name_key, &name, NULL, &complaint))
        report(walk, FINDING_ERROR, node->key_at, trail,
               complaint.suggestion[0] ? complaint.suggestion : NULL, "%s", complaint.text);
}

static void store_items(const struct key *key, void *base, void *items, size_t count)
{
    memcpy((char *)base + key->offset, &items, sizeof(items));
    memcpy((char *)base + key->count_offset, &count, sizeof(count));
}

static void walk_item(struct walk *walk, const struct key *key, const struct node *child,
                      void *item, const struct trail *trail, bool is_later)
{
    if (key->inner == SECTION_environment) {
        assert(item); /* nothing that comes later holds variables */
        walk_environment(walk, child, item, trail);
        return;
    }
    if (key->kind == KIND_MAP && item) {
        memcpy(item, &child->key, sizeof(child->key));
        check_item_name(walk, child, trail);
    }
    walk_section(walk, child, key->inner, item, trail, is_later);
}

static void walk_items(struct walk *walk, const struct key *key, const struct node *node,
                       void *base, const struct trail *trail, bool is_later)
{
    enum node_kind wanted = key->kind == KIND_MAP ? NODE_MAP : NODE_LIST;
    char got[80], expected[80];
    if (node_is_null(node)) { /* "databases:" with nothing below, as after commenting all out */
        if (base)
            store_items(key, base, NULL, 0);
        return;
    }
    if (node->kind != wanted) {
        report(walk, FINDING_ERROR, node->at, trail, NULL, "expected %s, got %s",
               value_expected(key, expected, sizeof(expected)),
               node_describe(node, got, sizeof(got)));
        return;
    }
    size_t count = node->count, bytes = section_infos[key->inner].bytes;
    if (count > key->maximum) {
        report(walk, FINDING_ERROR, node->key_at, trail, NULL,
               "there are %zu %s, the limit is %llu", count, key->name,
               (unsigned long long)key->maximum);
        count = key->maximum;
    }
    char *items = base && count ? arena_alloc_array(walk->arena, bytes, count) : NULL;
    size_t index = 0;
    node_each(child, node)
    {
        if (index == count)
            break;
        struct trail way = {trail, key->kind == KIND_MAP ? child->key : NULL, index};
        walk_item(walk, key, child, items ? items + index * bytes : NULL, &way, is_later);
        index++;
    }
    if (base)
        store_items(key, base, items, count);
}

/* ---- sections */

static void walk_key(struct walk *walk, const struct key *key, const struct node *node, void *base,
                     const struct trail *trail, bool is_later)
{
    bool begins_later = (key->flags & KEY_LATER) && !is_later;
    switch (key->kind) {
    case KIND_OBJECT:
    case KIND_MAP:
    case KIND_LIST:
        if (begins_later)
            report(walk, FINDING_UNSUPPORTED, node->key_at, trail, NULL,
                   "%s: not supported yet in this version", key->name);
        is_later = is_later || begins_later;
        if ((key->flags & KEY_OPTIONAL) && base && !is_later && !node_is_null(node))
            memcpy(key_field(key, base), &(bool){true}, sizeof(bool));
        if (key->kind == KIND_OBJECT)
            walk_section(walk, node, key->inner, base && !is_later ? key_field(key, base) : NULL,
                         trail, is_later);
        else
            walk_items(walk, key, node, is_later ? NULL : base, trail, is_later);
        break;
    default:
        walk_value(walk, key, node, base, trail, is_later);
        break;
    }
}

static void report_unknown(struct walk *walk, const struct node *node, enum section section,
                           const struct trail *trail)
{
    const char *nearest = key_suggest(section, node->key);
    char suggestion[120];
    snprintf(suggestion, sizeof(suggestion), "did you mean '%s'?", nearest ? nearest : "");
    report(walk, FINDING_ERROR, node->key_at, trail, nearest ? suggestion : NULL,
           "unknown key '%.80s'", node->key);
}

static void fill_absent(struct walk *walk, const struct node *node, enum section section,
                        void *base, const struct trail *trail, bool is_later)
{
    key_each(key, section)
    {
        if (key->flags & KEY_LATER || (node && node_get(node, key->name)))
            continue;
        if ((key->flags & KEY_REQUIRED) && node && !is_later)
            report(walk, FINDING_ERROR, node->key ? node->key_at : node->at, trail, NULL,
                   "'%s' is missing", key->name);
        else if (key->kind == KIND_OBJECT && base)
            fill_absent(walk, NULL, key->inner, key_field(key, base), trail, is_later);
        else if (key->fallback && base)
            apply_default(walk, key, base);
    }
}

/* `tls: acme`: a value that stands for the one key of the section that it is short for. */
static void walk_short(struct walk *walk, const struct key *key, const struct node *node,
                       void *base, const struct trail *trail, bool is_later)
{
    struct node child = *node,
                map = {.kind = NODE_MAP, .at = node->at, .first = &child, .count = 1};
    child.key = key->name;
    child.key_at = node->at;
    child.next = NULL;
    walk_value(walk, key, &child, base, trail, is_later);
    fill_absent(walk, &map, key->owner, base, trail, is_later);
}

static void walk_section(struct walk *walk, const struct node *node, enum section section,
                         void *base, const struct trail *trail, bool is_later)
{
    char got[80];
    const struct key *value = key_short(section);
    bool is_value = section_is_value(section);
    if (value && ((node->kind == NODE_SCALAR && !node_is_null(node)) || is_value)) {
        walk_short(walk, value, node, base, trail, is_later);
        return;
    }
    if (node->kind != NODE_MAP) {
        if (!node_is_null(node))
            report(walk, FINDING_ERROR, node->at, trail, NULL, "expected a map of keys, got %s",
                   node_describe(node, got, sizeof(got)));
        /* The defaults still apply, so that later checks see a whole. */
        fill_absent(walk, node_is_null(node) ? node : NULL, section, base, trail, is_later);
        return;
    }
    node_each(child, node)
    {
        const struct key *key = key_find(section, child->key);
        struct trail way = {trail, child->key, 0};
        if (key)
            walk_key(walk, key, child, base, &way, is_later);
        else if (strncmp(child->key, "x-", 2) != 0)
            report_unknown(walk, child, section, trail);
    }
    fill_absent(walk, node, section, base, trail, is_later);
}

void manifest_walk(struct arena *arena, struct findings *findings, const struct node *root,
                   struct manifest *manifest)
{
    struct walk walk = {arena, findings};
    walk_section(&walk, root, SECTION_manifest, manifest, NULL, false);
}

void manifest_walk_defaults(struct arena *arena, enum section section, void *base)
{
    struct walk walk = {.arena = arena};
    fill_absent(&walk, NULL, section, base, NULL, false);
}
