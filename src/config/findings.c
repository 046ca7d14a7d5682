#include "config/findings_private.h"

void findings_init(struct findings *findings, struct arena *arena)
{
    *findings = (struct findings){
        .arena = arena,
        .items = arena_array_of(arena, struct manifest_finding, MANIFEST_FINDINGS_MAX),
    };
}

void findings_add(struct findings *findings, enum finding_level level, struct position at,
                  const char *path, const char *suggestion, const char *format, ...)
{
    if (findings->count == MANIFEST_FINDINGS_MAX) {
        findings->is_truncated = true;
        return;
    }
    /* A message quotes words of the file, so what it may be long is bounded here. */
    char message[400];
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    if (wanted >= (int)sizeof(message))
        memcpy(message + sizeof(message) - 4, "...", 4);
    findings->items[findings->count++] = (struct manifest_finding){
        .level = level,
        .file = at.file,
        .line = at.line,
        .column = at.column,
        .path = arena_text(findings->arena, path ? path : ""),
        .message = arena_text(findings->arena, message),
        .suggestion = arena_text(findings->arena, suggestion),
    };
}

size_t findings_errors(const struct findings *findings)
{
    size_t count = 0;
    for (size_t i = 0; i < findings->count; i++)
        count += findings->items[i].level != FINDING_WARNING;
    return count;
}

static bool comes_before(const struct manifest_finding *a, const struct manifest_finding *b,
                         const char *first_file)
{
    bool a_first = strcmp(a->file, first_file) == 0, b_first = strcmp(b->file, first_file) == 0;
    if (a_first != b_first)
        return a_first;
    if (a->line != b->line)
        return a->line < b->line;
    return a->column < b->column;
}

/* Insertion: few, nearly sorted, and equal ones keep their order. */
static void sort(struct findings *findings, const char *first_file)
{
    for (size_t i = 1; i < findings->count; i++) {
        struct manifest_finding item = findings->items[i];
        size_t at = i;
        for (; at > 0 && comes_before(&item, &findings->items[at - 1], first_file); at--)
            findings->items[at] = findings->items[at - 1];
        findings->items[at] = item;
    }
}

int findings_finish(struct findings *findings, const char *first_file,
                    struct manifest_findings *ret_findings, struct error *err)
{
    sort(findings, first_file);
    size_t errors = findings_errors(findings);
    *ret_findings = (struct manifest_findings){
        .items = findings->items,
        .count = findings->count,
        .error_count = errors,
        .is_truncated = findings->is_truncated,
    };
    if (errors == 0)
        return 0;
    const struct manifest_finding *first = findings->items;
    while (first->level == FINDING_WARNING)
        first++;
    char where[64] = "";
    if (first->line)
        snprintf(where, sizeof(where), ":%u:%u", first->line, first->column);
    const char *path = first->path[0] ? first->path : "", *colon = first->path[0] ? ": " : "";
    if (errors == 1)
        error_set(err, ERR_INVALID, "%s%s: %s%s%s", first->file, where, path, colon,
                  first->message);
    else
        error_set(err, ERR_INVALID, "%s%s: %s%s%s (and %zu more)", first->file, where, path, colon,
                  first->message, errors - 1);
    if (first->suggestion)
        error_hint(err, "%s", first->suggestion);
    return ERR_INVALID;
}
