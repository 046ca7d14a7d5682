#include "base/text.h"

#define WORD_MAX ((size_t)64) /* suggestions are for keys and commands, not for essays */

/* Damerau-Levenshtein (optimal string alignment), three rows. */
static size_t distance(struct slice a, struct slice b)
{
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b.len; j++)
        last[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t cost = a.ptr[i - 1] != b.ptr[j - 1];
            size_t best = MIN(last[j] + 1, now[j - 1] + 1);
            best = MIN(best, last[j - 1] + cost);
            if (i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1])
                best = MIN(best, before[j - 2] + 1);
            now[j] = best;
        }
        size_t *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[b.len];
}

const char *text_suggest(struct slice word, const char *const *candidates, size_t count)
{
    const char *best = NULL;
    size_t best_distance = word.len / 3 + 1; /* a match must be nearer than this */
    if (word.len > WORD_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        struct slice candidate = slice_from(candidates[i]);
        if (candidate.len == 0 || candidate.len > WORD_MAX)
            continue;
        size_t far = distance(word, candidate);
        if (far < best_distance) {
            best_distance = far;
            best = candidates[i];
        }
    }
    return best;
}

/* ---- glob: all places of the pattern that the text so far can have reached, at once --------- */

/* How a place of the pattern was reached: the folder level of "**" + "/" can only be absent where
 * the text stood at its beginning. */
enum { REACHED_FRESH = 1, REACHED_BY_STAYING = 2 };

struct glob_step {
    enum { GLOB_LITERAL, GLOB_ANY, GLOB_CLASS, GLOB_STAR, GLOB_GLOBSTAR } kind;
    size_t len;       /* bytes of the pattern */
    size_t skip;      /* how far on one may go without reading; 0: one must read */
    struct slice set; /* between the brackets */
    bool negated;
    char literal;
};

static struct glob_step glob_class(struct slice pattern, size_t at)
{
    struct glob_step step = {.kind = GLOB_LITERAL, .len = 1, .literal = '['};
    size_t from = at + 1;
    bool negated = from < pattern.len && (pattern.ptr[from] == '!' || pattern.ptr[from] == '^');
    from += negated;
    /* A bracket that comes first is a member. */
    size_t end = from + 1;
    while (end < pattern.len && pattern.ptr[end] != ']')
        end++;
    if (end >= pattern.len)
        return step; /* never closed: the bracket means itself */
    return (struct glob_step){.kind = GLOB_CLASS,
                              .len = end + 1 - at,
                              .set = slice_sub(pattern, from, end - from),
                              .negated = negated};
}

static struct glob_step glob_step(struct slice pattern, size_t at)
{
    char c = pattern.ptr[at];
    size_t left = pattern.len - at;
    if (c == '*' && left >= 2 && pattern.ptr[at + 1] == '*') {
        /* "**" with its slash as a whole folder level may be absent: "**" + "/x" matches "x". */
        bool is_level =
            (at == 0 || pattern.ptr[at - 1] == '/') && left >= 3 && pattern.ptr[at + 2] == '/';
        return (struct glob_step){.kind = GLOB_GLOBSTAR, .len = 2, .skip = is_level ? 3 : 2};
    }
    if (c == '*')
        return (struct glob_step){.kind = GLOB_STAR, .len = 1, .skip = 1};
    if (c == '?')
        return (struct glob_step){.kind = GLOB_ANY, .len = 1};
    if (c == '[')
        return glob_class(pattern, at);
    if (c == '\\' && left >= 2)
        return (struct glob_step){.kind = GLOB_LITERAL, .len = 2, .literal = pattern.ptr[at + 1]};
    return (struct glob_step){.kind = GLOB_LITERAL, .len = 1, .literal = c};
}

static bool class_has(const struct glob_step *step, char c)
{
    struct slice set = step->set;
    unsigned char byte = (unsigned char)c;
    bool found = false;
    for (size_t i = 0; i < set.len && !found; i++) {
        unsigned char low = (unsigned char)set.ptr[i], high = low;
        if (i + 2 < set.len && set.ptr[i + 1] == '-') {
            high = (unsigned char)set.ptr[i + 2];
            i += 2;
        }
        found = byte >= low && byte <= high;
    }
    return c != '/' && found != step->negated;
}

/* Mark every place that can be reached without reading. Places only grow, so one pass does it. */
static void glob_close(struct slice pattern, uint8_t *reached)
{
    for (size_t at = 0; at < pattern.len; at++) {
        if (!reached[at])
            continue;
        struct glob_step step = glob_step(pattern, at);
        if (!step.skip)
            continue;
        reached[at + step.len] |= REACHED_FRESH;
        if (reached[at] & REACHED_FRESH)
            reached[at + step.skip] |= REACHED_FRESH;
    }
}

bool text_glob(struct slice pattern, struct slice text)
{
    uint8_t places[2][TEXT_GLOB_MAX + 1];
    if (pattern.len > TEXT_GLOB_MAX)
        return false;
    uint8_t *now = places[0], *next = places[1];
    memset(now, 0, pattern.len + 1);
    now[0] = REACHED_FRESH;
    glob_close(pattern, now);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        memset(next, 0, pattern.len + 1);
        bool any = false;
        for (size_t at = 0; at < pattern.len; at++) {
            if (!now[at])
                continue;
            struct glob_step step = glob_step(pattern, at);
            bool stays = step.kind == GLOB_GLOBSTAR || (step.kind == GLOB_STAR && c != '/');
            bool moves = (step.kind == GLOB_LITERAL && c == step.literal) ||
                         (step.kind == GLOB_ANY && c != '/') ||
                         (step.kind == GLOB_CLASS && class_has(&step, c));
            if (stays)
                next[at] |= REACHED_BY_STAYING;
            if (moves)
                next[at + step.len] |= REACHED_FRESH;
            any = any || stays || moves;
        }
        if (!any)
            return false;
        glob_close(pattern, next);
        uint8_t *swap = now;
        now = next;
        next = swap;
    }
    return now[pattern.len] != 0;
}

/* ---- UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF ------------- */

size_t text_utf8_sequence(struct slice s)
{
    const unsigned char *at = (const unsigned char *)s.ptr;
    if (s.len == 0)
        return 0;
    if (at[0] < 0x80)
        return 1;
    size_t len;
    unsigned char low = 0x80, high = 0xbf; /* of the second byte */
    if (at[0] >= 0xc2 && at[0] <= 0xdf) {
        len = 2;
    } else if (at[0] >= 0xe0 && at[0] <= 0xef) {
        len = 3;
        low = at[0] == 0xe0 ? 0xa0 : 0x80;
        high = at[0] == 0xed ? 0x9f : 0xbf;
    } else if (at[0] >= 0xf0 && at[0] <= 0xf4) {
        len = 4;
        low = at[0] == 0xf0 ? 0x90 : 0x80;
        high = at[0] == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }
    if (s.len < len || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool text_is_utf8(struct slice s)
{
    while (s.len) {
        size_t len = text_utf8_sequence(s);
        if (len == 0)
            return false;
        s = slice_sub(s, len, SIZE_MAX);
    }
    return true;
}
