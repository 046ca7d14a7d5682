/* findings_private.h - gathers what is wrong with a manifest: all of it, in the order of the text,
 * up to a ceiling. */
#ifndef CONFIG_FINDINGS_PRIVATE_H
#define CONFIG_FINDINGS_PRIVATE_H

#include "config/manifest.h"
#include <stdarg.h>

/* Where in which file; line 0: the whole file. */
struct position {
    const char *file; /* outlives the findings */
    unsigned line, column;
};

struct findings {
    struct arena *arena; /* texts and items live here */
    struct manifest_finding *items;
    size_t count;
    bool is_truncated;
};

void findings_init(struct findings *findings, struct arena *arena);
/* `path` and `suggestion` are copied and may be NULL. */
void findings_add(struct findings *findings, enum finding_level level, struct position at,
                  const char *path, const char *suggestion, const char *format, ...)
    PRINTF_LIKE(6, 7);
size_t findings_errors(const struct findings *findings); /* errors and unsupported */
/* Sorts and hands out. `first_file`'s findings come before others'. 0, or ERR_INVALID with a
 * summary. */
MUST_USE int findings_finish(struct findings *findings, const char *first_file,
                             struct manifest_findings *ret_findings, struct error *err);

#endif
