#include "config/ignore_private.h"

#define RULES_MAX ((size_t)10000)

struct ignore_rule {
    struct slice pattern;
    bool is_negated, is_directory_only, is_anchored;
};

/* ---- one pattern against one path */

static bool class_named(struct slice name, unsigned char c)
{
    bool upper = c >= 'A' && c <= 'Z', lower = c >= 'a' && c <= 'z', digit = c >= '0' && c <= '9';
    bool graph = c > ' ' && c < 0x7f;
    if (slice_eq(name, SLICE("alpha")))
        return upper || lower;
    if (slice_eq(name, SLICE("alnum")))
        return upper || lower || digit;
    if (slice_eq(name, SLICE("digit")))
        return digit;
    if (slice_eq(name, SLICE("upper")))
        return upper;
    if (slice_eq(name, SLICE("lower")))
        return lower;
    if (slice_eq(name, SLICE("xdigit")))
        return digit || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (slice_eq(name, SLICE("space")))
        return c == ' ' || (c >= '\t' && c <= '\r');
    if (slice_eq(name, SLICE("blank")))
        return c == ' ' || c == '\t';
    if (slice_eq(name, SLICE("punct")))
        return graph && !upper && !lower && !digit;
    if (slice_eq(name, SLICE("graph")))
        return graph;
    if (slice_eq(name, SLICE("print")))
        return graph || c == ' ';
    return slice_eq(name, SLICE("cntrl")) && (c < ' ' || c == 0x7f);
}

/* "[…]" at pattern[*at]; moves *at behind it. False also when it never closes, as git has it. */
static bool class_match(struct slice pattern, size_t *at, unsigned char c)
{
    size_t i = *at + 1;
    bool is_negated = i < pattern.len && (pattern.ptr[i] == '!' || pattern.ptr[i] == '^');
    bool is_found = false, is_first = true;
    unsigned char previous = 0;
    i += is_negated;
    for (; i < pattern.len && (is_first || pattern.ptr[i] != ']'); is_first = false) {
        unsigned char low = (unsigned char)pattern.ptr[i];
        if (low == '[' && i + 1 < pattern.len && pattern.ptr[i + 1] == ':') {
            struct slice rest = slice_sub(pattern, i + 2, SIZE_MAX);
            ptrdiff_t end = slice_find(rest, SLICE(":]"));
            if (end >= 0) {
                is_found = is_found || class_named(slice_sub(rest, 0, (size_t)end), c);
                i += 2 + (size_t)end + 2;
                previous = 0;
                continue;
            }
        }
        if (low == '-' && previous && i + 1 < pattern.len && pattern.ptr[i + 1] != ']') {
            size_t high_at = i + 1;
            if (pattern.ptr[high_at] == '\\' && high_at + 1 < pattern.len)
                high_at++;
            is_found = is_found || (c >= previous && c <= (unsigned char)pattern.ptr[high_at]);
            i = high_at + 1;
            previous = 0;
            continue;
        }
        if (low == '\\' && i + 1 < pattern.len)
            low = (unsigned char)pattern.ptr[++i];
        is_found = is_found || c == low;
        previous = low;
        i++;
    }
    if (i >= pattern.len) {
        *at = pattern.len;
        return false;
    }
    *at = i + 1;
    return is_found != is_negated && c != '/';
}

/* Where one may begin anew when what follows a star does not match. */
struct retry {
    bool is_set;
    size_t pattern, text;
};

static bool is_segment_start(struct slice pattern, size_t at)
{
    return at == 0 || pattern.ptr[at - 1] == '/';
}

/* One character that is not a star. Moves both on. */
static bool step_match(struct slice pattern, size_t *p, struct slice text, size_t *t)
{
    unsigned char c = (unsigned char)text.ptr[*t];
    size_t next = *p + 1;
    bool is_match;
    switch (pattern.ptr[*p]) {
    case '?':
        is_match = c != '/';
        break;
    case '[':
        next = *p;
        is_match = class_match(pattern, &next, c);
        break;
    case '\\':
        is_match = *p + 1 < pattern.len && (unsigned char)pattern.ptr[*p + 1] == c;
        next = *p + 2;
        break;
    default:
        is_match = (unsigned char)pattern.ptr[*p] == c;
        break;
    }
    if (is_match) {
        *p = next;
        ++*t;
    }
    return is_match;
}

/* Two places to come back to are enough: a later "*" makes earlier ones of its segment needless, a
 * later "**" all before it. */
bool ignore_glob(struct slice pattern, struct slice text)
{
    struct retry star = {0}, folders = {0};
    size_t p = 0, t = 0;
    for (;;) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            size_t end = p;
            while (end < pattern.len && pattern.ptr[end] == '*')
                end++;
            bool is_segment = end - p == 2 && is_segment_start(pattern, p) &&
                              (end == pattern.len || pattern.ptr[end] == '/');
            if (is_segment && end == pattern.len)
                return t < text.len; /* "a/" and all below */
            star = (struct retry){!is_segment, end, t};
            if (is_segment)
                folders = (struct retry){true, end + 1, t};
            p = is_segment ? end + 1 : end;
            continue;
        }
        if (p == pattern.len && t == text.len)
            return true;
        if (p < pattern.len && t < text.len && step_match(pattern, &p, text, &t))
            continue;
        if (star.is_set && star.text < text.len && text.ptr[star.text] != '/') {
            p = star.pattern;
            t = ++star.text;
            continue;
        }
        if (!folders.is_set)
            return false;
        ptrdiff_t slash = slice_find_byte(slice_sub(text, folders.text, SIZE_MAX), '/');
        if (slash < 0)
            return false;
        folders.text += (size_t)slash + 1;
        p = folders.pattern;
        t = folders.text;
        star.is_set = false;
    }
}

/* ---- files of patterns */

/* Spaces at the end do not count unless a backslash keeps them. */
static struct slice without_trailing_spaces(struct slice line)
{
    while (line.len && line.ptr[line.len - 1] == ' ') {
        size_t backslashes = 0;
        while (backslashes + 1 < line.len && line.ptr[line.len - 2 - backslashes] == '\\')
            backslashes++;
        if (backslashes % 2)
            break;
        line.len--;
    }
    return line;
}

static bool rule_parse(struct slice line, struct ignore_rule *ret_rule)
{
    struct ignore_rule rule = {0};
    if (line.len && line.ptr[line.len - 1] == '\r')
        line.len--;
    if (line.len == 0 || line.ptr[0] == '#')
        return false;
    line = without_trailing_spaces(line);
    if (slice_starts_with(line, SLICE("!"))) {
        rule.is_negated = true;
        line = slice_sub(line, 1, SIZE_MAX);
    }
    if (slice_ends_with(line, SLICE("/"))) {
        rule.is_directory_only = true;
        line.len--;
    }
    rule.is_anchored = slice_find_byte(line, '/') >= 0;
    if (slice_starts_with(line, SLICE("/")))
        line = slice_sub(line, 1, SIZE_MAX);
    rule.pattern = line;
    *ret_rule = rule;
    return line.len > 0;
}

const struct ignore_file *ignore_parse(struct arena *arena, const struct ignore_file *above,
                                       size_t base_len, struct slice text)
{
    size_t lines = 1, count = 0;
    if (text.len == 0)
        return above;
    if (slice_starts_with(text, SLICE("\xef\xbb\xbf")))
        text = slice_sub(text, 3, SIZE_MAX);
    for (size_t i = 0; i < text.len; i++)
        lines += text.ptr[i] == '\n';
    struct ignore_rule *rules = arena_array_of(arena, struct ignore_rule, MIN(lines, RULES_MAX));
    while (text.len && count < RULES_MAX)
        count += rule_parse(slice_cut(&text, '\n'), &rules[count]);
    if (count == 0)
        return above;
    struct ignore_file *file = arena_new_of(arena, struct ignore_file);
    *file = (struct ignore_file){above, base_len, rules, count};
    return file;
}

static bool rule_match(const struct ignore_rule *rule, struct slice relative, bool is_directory)
{
    if (rule->is_directory_only && !is_directory)
        return false;
    if (rule->is_anchored)
        return ignore_glob(rule->pattern, relative);
    size_t base = relative.len;
    while (base && relative.ptr[base - 1] != '/')
        base--;
    return ignore_glob(rule->pattern, slice_sub(relative, base, SIZE_MAX));
}

enum ignore_verdict ignore_match(const struct ignore_file *file, struct slice path,
                                 bool is_directory)
{
    for (; file; file = file->above) {
        struct slice relative = slice_sub(path, file->base_len, SIZE_MAX);
        for (size_t i = file->count; i-- > 0;)
            if (rule_match(&file->rules[i], relative, is_directory))
                return file->rules[i].is_negated ? IGNORE_KEPT : IGNORE_LEFT_OUT;
    }
    return IGNORE_UNDECIDED;
}
