/* static_head.c - the fields of an answer: the same function makes the heads that are kept and
 * those for one request.
 *
 * What the header rules of a site may not touch: the fields that frame the message or that this
 * edge vouches for. */
#include "edge/static_private.h"

static bool is_reserved(struct slice name)
{
    static const struct slice reserved[] = {
        {"connection", 10},
        {"keep-alive", 10},
        {"transfer-encoding", 17},
        {"trailer", 7},
        {"upgrade", 7},
        {"content-length", 14},
        {"content-range", 13},
        {"content-encoding", 16},
        {"date", 4},
        {"etag", 4},
        {"last-modified", 13},
        {"accept-ranges", 13},
        {"location", 8},
        {"allow", 5},
    };

    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (slice_eq_nocase(name, reserved[i]))
            return true;
    return false;
}

uint64_t static_head_rules(const struct static_site *site, struct slice path)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < site->rule_count; i++)
        if (static_path_matches(site->rules[i].path, path))
            mask |= 1ull << i;
    return mask;
}

static void append_field(struct buf *buf, struct slice name, struct slice value)
{
    buf_append_slice(buf, name);
    buf_append(buf, ": ", 2);
    buf_append_slice(buf, value);
    buf_append(buf, "\r\n", 2);
}

/* The last rule that sets `name`, or `fallback`. */
static struct slice ruled_value(const struct static_site *site, uint64_t mask, struct slice name,
                                struct slice fallback)
{
    for (size_t i = site->rule_count; i > 0; i--)
        if (mask >> (i - 1) & 1 && slice_eq_nocase(site->rules[i - 1].name, name))
            return site->rules[i - 1].value;
    return fallback;
}

static void append_rules(struct buf *buf, const struct static_site *site, uint64_t mask)
{
    for (size_t i = 0; i < site->rule_count; i++) {
        const struct static_rule *rule = &site->rules[i];

        if (mask >> i & 1 && !is_reserved(rule->name) &&
            !slice_eq_nocase(rule->name, SLICE("content-type")) &&
            !slice_eq_nocase(rule->name, SLICE("cache-control")))
            append_field(buf, rule->name, rule->value);
    }
}

void static_head_append_rules(struct buf *buf, const struct static_site *site, struct slice path)
{
    append_rules(buf, site, static_head_rules(site, path));
}

static bool has_variants(const struct static_page *page)
{
    return page->variants[STATIC_GZIP].state != VARIANT_ABSENT ||
           page->variants[STATIC_BROTLI].state != VARIANT_ABSENT;
}

/* What a 304 repeats of its 200: RFC 9110 §15.4.5. */
static void append_validators(struct buf *buf, const struct static_site *site,
                              const struct static_head *head, uint64_t mask)
{
    const struct static_variant *variant = &head->page->variants[head->coding];
    char date[HTTP1_DATE_SIZE];
    struct slice cache =
        SLICE("no-cache"); /* asks again each time: a deploy is seen at once, and costs a 304 */

    if (static_path_is_hashed(head->page->path))
        cache = SLICE("public, max-age=31536000, immutable");
    if (head->status != 404) {
        append_field(buf, SLICE("ETag"), slice_from(variant->etag));
        append_field(buf, SLICE("Last-Modified"),
                     slice_from(http1_format_date((uint64_t)variant->modified_s, date)));
    }
    append_field(buf, SLICE("Cache-Control"),
                 ruled_value(site, mask, SLICE("cache-control"), cache));
    if (has_variants(head->page))
        append_field(buf, SLICE("Vary"), SLICE("Accept-Encoding"));
    append_rules(buf, site, mask);
}

void static_head_append(struct buf *buf, const struct static_site *site,
                        const struct static_head *head)
{
    const struct static_page *page = head->page;
    const struct static_variant *variant = &page->variants[head->coding];
    uint64_t mask = static_head_rules(site, head->path);

    http1_append_status_line(buf, head->status);
    if (head->status != 304) {
        append_field(buf, SLICE("Content-Type"),
                     ruled_value(site, mask, SLICE("content-type"), slice_from(page->type->name)));
        http1_append_field_u64(buf, "Content-Length", head->body_bytes);
        if (head->coding != STATIC_IDENTITY)
            append_field(buf, SLICE("Content-Encoding"),
                         head->coding == STATIC_BROTLI ? SLICE("br") : SLICE("gzip"));
    }
    if (head->status == 206) {
        buf_append_text(buf, "Content-Range: bytes ");
        buf_append_u64(buf, head->body_offset);
        buf_append_byte(buf, '-');
        buf_append_u64(buf, head->body_offset + head->body_bytes - 1);
        buf_append_byte(buf, '/');
        buf_append_u64(buf, variant->bytes);
        buf_append(buf, "\r\n", 2);
    }
    if (head->status == 200)
        append_field(buf, SLICE("Accept-Ranges"), SLICE("bytes"));
    append_validators(buf, site, head, mask);
}
