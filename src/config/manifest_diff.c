/* manifest_diff.c - what changes from one manifest to another, by the table. */
#include "base/json.h"
#include "config/table_private.h"
#include "config/value_private.h"

#define CHANGES_MAX ((size_t)10000)
#define SHOWN_MAX   ((size_t)60)

struct diff {
    struct arena *arena; /* the caller's */
    struct arena *scratch;
    struct manifest_change *changes;
    size_t count;
    bool is_full;
};

static void change_add(struct diff *diff, enum change_kind kind, const char *path,
                       const char *before, const char *after)
{
    if (diff->count == CHANGES_MAX) {
        diff->is_full = true;
        return;
    }
    diff->changes[diff->count++] = (struct manifest_change){
        kind,
        arena_text(diff->arena, path),
        arena_text(diff->arena, before),
        arena_text(diff->arena, after),
    };
}

static const char *path_below(struct diff *diff, const char *path, const char *name)
{
    return arena_printf(diff->scratch, "%s%s%s", path, path[0] ? "." : "", name);
}

static void diff_section(struct diff *diff, enum section section, const void *from, const void *to,
                         const char *path);

/* ---- environment: a value may be a secret that someone wrote down, so it is shown only when it
 * surely is none */

static bool name_is_harmless(const char *name)
{
    static const char *const words[] = {"KEY",        "SECRET",  "TOKEN",  "PASS", "PWD",
                                        "CREDENTIAL", "AUTH",    "DSN",    "CERT", "SALT",
                                        "SIGN",       "PRIVATE", "COOKIE", "HASH"};
    char upper[257];
    size_t len = 0;
    for (; len < sizeof(upper) - 1 && name[len]; len++)
        upper[len] = name[len] >= 'a' && name[len] <= 'z' ? (char)(name[len] & ~0x20) : name[len];
    upper[len] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strstr(upper, words[i]))
            return false;
    return true;
}

static bool value_is_harmless(const char *value)
{
    size_t len = strlen(value);
    for (size_t i = 0; i < len; i++)
        if (value[i] == '@' || (unsigned char)value[i] < ' ')
            return false;
    return len <= 32;
}

/* NULL: not to be shown. */
static const char *variable_text(struct diff *diff, const struct manifest_environment *variable)
{
    switch (variable->source) {
    case ENVIRONMENT_FROM:
        return arena_printf(diff->scratch, "from %s", variable->value);
    case ENVIRONMENT_SECRET:
        return arena_printf(diff->scratch, "secret %s", variable->value);
    case ENVIRONMENT_GENERATE:
        return "generated";
    case ENVIRONMENT_VALUE:
        break;
    }
    bool is_shown = name_is_harmless(variable->name) && value_is_harmless(variable->value);
    return is_shown ? arena_printf(diff->scratch, "'%s'", variable->value) : NULL;
}

static bool variables_are_equal(const struct manifest_environment *a,
                                const struct manifest_environment *b)
{
    return a->source == b->source &&
           strcmp(a->value ? a->value : "", b->value ? b->value : "") == 0;
}

static void diff_variable(struct diff *diff, const struct manifest_environment *from,
                          const struct manifest_environment *to, const char *path)
{
    if (from && to && variables_are_equal(from, to))
        return;
    const char *before = from ? variable_text(diff, from) : NULL,
               *after = to ? variable_text(diff, to) : NULL;
    if (from && to && (!before || !after))
        before = after = NULL;
    change_add(diff, !from ? CHANGE_ADD : !to ? CHANGE_REMOVE : CHANGE_EDIT, path, before, after);
}

/* ---- values */

static const char *value_text(struct diff *diff, const struct key *key, const void *base)
{
    enum value_shape shape;
    return value_write(diff->scratch, key, key_field_const(key, base), &shape);
}

static const char *shown(struct diff *diff, const char *text)
{
    if (!text)
        return NULL;
    struct slice cut = slice_sub(slice_from(text), 0, SHOWN_MAX);
    while (cut.len && cut.len < strlen(text) && ((unsigned char)text[cut.len] & 0xc0) == 0x80)
        cut.len--;
    char *copy = arena_printf(diff->scratch, SLICE_FORMAT "%s", SLICE_ARG(cut),
                              cut.len < strlen(text) ? "..." : "");
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
    return copy;
}

static void diff_value(struct diff *diff, const struct key *key, const void *from, const void *to,
                       const char *path)
{
    const char *before = value_text(diff, key, from), *after = value_text(diff, key, to);
    if (!before && !after)
        return;
    if (before && after && strcmp(before, after) == 0)
        return;
    change_add(diff,
               !before  ? CHANGE_ADD
               : !after ? CHANGE_REMOVE
                        : CHANGE_EDIT,
               path, shown(diff, before), shown(diff, after));
}

/* ---- items: by name in maps, by the keys that tell them apart in lists */

static const char *item_label(struct diff *diff, const struct key *key, const void *item)
{
    if (key->kind == KIND_MAP)
        return item_name(item);
    struct buf label = BUF_INIT(4096);
    key_each(inner, key->inner)
    {
        if (!(inner->flags & KEY_IDENTITY))
            continue;
        const char *text = value_text(diff, inner, item);
        if (text && text[0])
            buf_printf(&label, "%s%s", label.len ? " " : "", text);
    }
    const char *copy = arena_printf(diff->scratch, "[%s]", buf_text(&label));
    buf_done(&label);
    return copy;
}

/* One side of a comparison: each item's label, and how many before it have the same. */
struct side {
    const void *items;
    size_t count;
    const char **labels;
    size_t *nths;
};

static struct side side_of(struct diff *diff, const struct key *key, const void *base)
{
    struct side side = {0};
    side.items = base ? key_items(key, base, &side.count) : NULL;
    side.labels = arena_array_of(diff->scratch, const char *, MAX(side.count, (size_t)1));
    side.nths = arena_array_of(diff->scratch, size_t, MAX(side.count, (size_t)1));
    for (size_t i = 0; i < side.count; i++) {
        side.labels[i] = item_label(diff, key, item_at(key, side.items, i));
        for (size_t k = 0; k < i; k++)
            side.nths[i] += strcmp(side.labels[k], side.labels[i]) == 0;
    }
    return side;
}

static const void *counterpart(const struct key *key, const struct side *side, const char *label,
                               size_t nth)
{
    for (size_t i = 0; i < side->count; i++)
        if (side->nths[i] == nth && strcmp(side->labels[i], label) == 0)
            return item_at(key, side->items, i);
    return NULL;
}

static const char *item_summary(const struct key *key, const void *item)
{
    if (key->inner == SECTION_service)
        return service_type_name(((const struct manifest_service *)item)->type);
    if (key->inner == SECTION_database)
        return database_type_name(((const struct manifest_database *)item)->type);
    if (key->inner == SECTION_route)
        return ((const struct manifest_route *)item)->service;
    return NULL;
}

static void diff_item(struct diff *diff, const struct key *key, const void *from, const void *to,
                      const char *path)
{
    if (key->inner == SECTION_environment)
        diff_variable(diff, from, to, path);
    else if (!from)
        change_add(diff, CHANGE_ADD, path, NULL, item_summary(key, to));
    else if (!to)
        change_add(diff, CHANGE_REMOVE, path, item_summary(key, from), NULL);
    else
        diff_section(diff, key->inner, from, to, path);
}

static void diff_items(struct diff *diff, const struct key *key, const void *from, const void *to,
                       const char *path)
{
    struct side old = side_of(diff, key, from), new = side_of(diff, key, to);
    for (int pass = 0; pass < 2; pass++) { /* what is there now, then what is gone */
        const struct side *side = pass ? &old : &new, *other_side = pass ? &new : &old;
        for (size_t i = 0; i < side->count; i++) {
            const void *item = item_at(key, side->items, i);
            const void *other = counterpart(key, other_side, side->labels[i], side->nths[i]);
            const char *below = key->kind == KIND_MAP
                                    ? path_below(diff, path, side->labels[i])
                                    : arena_printf(diff->scratch, "%s%s", path, side->labels[i]);
            if (!pass)
                diff_item(diff, key, other, item, below);
            else if (!other)
                diff_item(diff, key, item, NULL, below);
        }
    }
}

static void diff_object(struct diff *diff, const struct key *key, const void *from, const void *to,
                        const char *path)
{
    bool was_given = key_is_given(key, from), is_given = key_is_given(key, to);
    const struct key *value = key_short(key->inner);
    const void *old = key_field_const(key, from), *new = key_field_const(key, to);
    if (was_given && is_given)
        diff_section(diff, key->inner, old, new, path);
    else if (was_given || is_given)
        change_add(diff, is_given ? CHANGE_ADD : CHANGE_REMOVE, path,
                   was_given && value ? shown(diff, value_text(diff, value, old)) : NULL,
                   is_given && value ? shown(diff, value_text(diff, value, new)) : NULL);
}

static void diff_section(struct diff *diff, enum section section, const void *from, const void *to,
                         const char *path)
{
    key_each(key, section)
    {
        if (key->flags & KEY_LATER)
            continue;
        const char *below = path_below(diff, path, key->name);
        switch (key->kind) {
        case KIND_OBJECT:
            if (from)
                diff_object(diff, key, from, to, below);
            break;
        case KIND_MAP:
        case KIND_LIST:
            diff_items(diff, key, from, to, below);
            break;
        default:
            if (from) /* of a new application its parts are told, not every default */
                diff_value(diff, key, from, to, below);
            break;
        }
    }
}

int manifest_diff(struct arena *arena, const struct manifest *from, const struct manifest *to,
                  struct manifest_change **ret_changes, size_t *ret_count, struct error *err)
{
    CLEANUP(arena_freep) struct arena *scratch = arena_new((size_t)256 * 1024 * 1024);
    struct diff diff = {.arena = arena,
                        .scratch = scratch,
                        .changes = arena_array_of(scratch, struct manifest_change, CHANGES_MAX)};
    diff_section(&diff, SECTION_manifest, from, to, "");
    if (diff.is_full)
        return error_set(err, ERR_LIMIT, "there are more than %zu changes", CHANGES_MAX);
    *ret_changes = arena_array_of(arena, struct manifest_change, MAX(diff.count, (size_t)1));
    memcpy(*ret_changes, diff.changes, diff.count * sizeof(*diff.changes));
    *ret_count = diff.count;
    return 0;
}
