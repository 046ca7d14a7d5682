/* manifest_reference.c - the reference of slipway.yaml as Markdown and as the body of a manual
 * page, from the table. */
#include "config/table_private.h"
#include "config/value_private.h"

static const char introduction[] = "A manifest describes one application: what to build, what to "
                                   "run, which databases it needs and which requests go "
                                   "where. It is YAML 1.1 (JSON is YAML, too), UTF-8, at most 1 "
                                   "MB. Anchors, aliases and merge keys work. All mistakes are "
                                   "reported at once, each with its line and column. Keys that "
                                   "begin with x- are ignored; other unknown keys are errors.";

static const char units[] = "Durations carry a unit: 250ms, 30s, 2m, 1h, 7d, or a sum such as "
                            "1m30s. Sizes carry one, too: 512K, 256M, 1G, in powers of 1024. "
                            "slipway.<environment>.yaml is laid over slipway.yaml when a deploy "
                            "names an environment: maps merge key by key, null removes a key, "
                            "and everything else replaces what was there.";

static const char example[] = "app: hello\nservices:\n  web:\n    start: node server.js\n";

/* "A service" → "a service" within a sentence. */
static void append_title(struct buf *text, enum section section)
{
    const char *title = section_infos[section].title;
    buf_append_byte(text, (char)(title[0] | 0x20));
    buf_append_text(text, title + 1);
}

/* "a duration such as 30s", without the example for words. */
static void append_type(struct buf *text, const struct key *key)
{
    char expected[220];
    if (key->kind == KIND_LIST && section_is_value(key->inner)) {
        buf_append_text(text, "a list, each item ");
        append_type(text, key_short(key->inner));
    } else if (key->kind == KIND_OBJECT && key_short(key->inner)) {
        append_type(text, key_short(key->inner));
        buf_append_text(text, "; or a map of keys");
    } else if (key->kind == KIND_MAP || key->kind == KIND_LIST) {
        buf_append_text(text,
                        key->kind == KIND_MAP ? "a map of names, each to " : "a list, each item ");
        append_title(text, key->inner);
    } else {
        buf_append_text(text, value_expected(key, expected, sizeof(expected)));
    }
}

/* ", required", ", default 30s" */
static void append_extent(struct buf *text, const struct key *key)
{
    if (key->flags & KEY_REQUIRED)
        buf_append_text(text, "; required");
    else if (key->fallback && key->fallback[0])
        buf_printf(text, "; default %s", key->fallback);
    if (key->flags & KEY_STATIC_ONLY)
        buf_append_text(text, "; static services only");
    if (key->flags & KEY_PROCESS_ONLY)
        buf_append_text(text, "; not for static services");
}

/* The words of a key that this version does not run. */
static void append_later(struct buf *text, const struct key *key)
{
    struct slice word;
    bool is_later;
    if (key->flags & KEY_LATER) {
        buf_append_text(text, " Not supported yet in this version.");
        return;
    }
    size_t count = 0;
    for (size_t i = 0; key->kind == KIND_WORD && key_word(key, i, &word, &is_later); i++) {
        if (!is_later)
            continue;
        buf_append_text(text, count++ ? ", " : " Not supported yet in this version: ");
        buf_append_slice(text, word);
    }
    if (count)
        buf_append_byte(text, '.');
}

/* Every section once, below the first key that leads to it. */
struct order {
    enum section sections[SECTION_COUNT];
    const char *ways[SECTION_COUNT]; /* "services.<name>.health" */
    size_t count;
};

static void order_add(struct arena *arena, struct order *order, enum section section,
                      const char *way)
{
    for (size_t i = 0; i < order->count; i++)
        if (order->sections[i] == section)
            return;
    order->sections[order->count] = section;
    order->ways[order->count++] = way;
    key_each(key, section)
    {
        if ((key->kind != KIND_OBJECT && key->kind != KIND_MAP && key->kind != KIND_LIST) ||
            section_is_value(key->inner))
            continue;
        const char *tail = key->kind == KIND_MAP ? ".<name>" : key->kind == KIND_LIST ? "[]" : "";
        order_add(arena, order, key->inner,
                  arena_printf(arena, "%s%s%s%s", way, way[0] ? "." : "", key->name, tail));
    }
}

/* A cell of a Markdown table. */
static void append_cell(struct buf *text, const char *words)
{
    for (const char *c = words; *c; c++) {
        if (*c == '|' || *c == '*' || *c == '<')
            buf_append_byte(text, '\\');
        buf_append_byte(text, *c);
    }
}

static void append_markdown_key(struct buf *text, const struct key *key)
{
    struct buf cell = BUF_INIT(4096);
    buf_printf(text, "| `%s` | ", key->name);
    append_type(&cell, key);
    append_extent(&cell, key);
    append_cell(text, buf_text(&cell));
    buf_append_text(text, " | ");
    buf_clear(&cell);
    buf_append_text(&cell, key->help);
    append_later(&cell, key);
    append_cell(text, buf_text(&cell));
    buf_append_text(text, " |\n");
    buf_done(&cell);
}

void manifest_reference_markdown(struct buf *ret_text)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new((size_t)64 * 1024);
    struct order order = {0};
    order_add(arena, &order, SECTION_manifest, "");
    buf_append_text(ret_text, "<!-- Generated by `slipway manual manifest` from "
                              "src/config/manifest.def; do not edit. -->\n");
    buf_printf(ret_text,
               "# slipway.yaml\n\n%s\n\n%s\n\nThe shortest whole manifest:\n\n```yaml\n%s```\n",
               introduction, units, example);
    for (size_t i = 0; i < order.count; i++) {
        const struct section_info *info = &section_infos[order.sections[i]];
        buf_printf(ret_text, "\n## %s\n\n", info->title);
        if (order.ways[i][0])
            buf_printf(ret_text, "`%s`: ", order.ways[i]);
        buf_printf(ret_text, "%s\n\n| key | value | meaning |\n|---|---|---|\n", info->help);
        key_each(key, order.sections[i]) append_markdown_key(ret_text, key);
    }
}

/* Text for roff: no line may begin with a dot or a quote, and a backslash or hyphen must be
 * escaped. */
static void append_roff(struct buf *text, const char *words)
{
    if (*words == '.' || *words == '\'')
        buf_append_text(text, "\\&");
    for (const char *c = words; *c; c++) {
        if (*c == '\\')
            buf_append_text(text, "\\e");
        else if (*c == '-')
            buf_append_text(text, "\\-");
        else
            buf_append_byte(text, *c);
    }
}

static void append_man_key(struct buf *text, const struct key *key)
{
    struct buf words = BUF_INIT(4096);
    buf_append_text(text, ".TP\n.B ");
    append_roff(text, key->name);
    buf_append_text(text, "\n");
    append_type(&words, key);
    append_extent(&words, key);
    buf_append_text(&words, ". ");
    buf_append_text(&words, key->help);
    append_later(&words, key);
    append_roff(text, buf_text(&words));
    buf_append_text(text, "\n");
    buf_done(&words);
}

void manifest_reference_man(struct buf *ret_text)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new((size_t)64 * 1024);
    struct order order = {0};
    order_add(arena, &order, SECTION_manifest, "");
    buf_append_text(ret_text,
                    ".TH SLIPWAY.YAML 5 \"\" \"slipway " SLIPWAY_VERSION "\" \"File formats\"\n"
                    ".SH NAME\nslipway.yaml \\- the manifest of an application\n.SH DESCRIPTION\n");
    append_roff(ret_text, introduction);
    buf_append_text(ret_text, "\n.PP\n");
    append_roff(ret_text, units);
    buf_append_text(ret_text, "\n.PP\nThe shortest whole manifest:\n.PP\n.RS\n.nf\n");
    append_roff(ret_text, example);
    buf_append_text(ret_text, ".fi\n.RE\n");
    for (size_t i = 0; i < order.count; i++) {
        const struct section_info *info = &section_infos[order.sections[i]];
        buf_printf(ret_text, ".SH %s\n", info->title);
        if (order.ways[i][0])
            buf_printf(ret_text, ".I %s\n.br\n", order.ways[i]);
        append_roff(ret_text, info->help);
        buf_append_text(ret_text, "\n");
        key_each(key, order.sections[i]) append_man_key(ret_text, key);
    }
}
