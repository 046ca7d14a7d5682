/* check_private.h - what the checks of a manifest share: where a thing was written, and how to
 * complain of it. */
#ifndef CONFIG_CHECK_PRIVATE_H
#define CONFIG_CHECK_PRIVATE_H

#include "config/walk_private.h"

struct check {
    struct arena *arena;
    struct findings *findings;
    const struct node *root;
    struct manifest *manifest;
};

/* Where a service, database or route was written; falls back to what encloses it. */
const struct node *check_item_node(const struct node *root, const char *map, const char *name);
const struct node *check_list_node(const struct node *root, const char *list, size_t index);
struct position check_position(const struct node *node); /* of its key, when it has one */

void check_report(const struct check *check, enum finding_level level, struct position at,
                  const char *path, const char *suggestion, const char *format, ...)
    PRINTF_LIKE(6, 7);
/* "did you mean 'api'?" for the nearest service or database, in `buffer`; NULL: none. */
const char *check_suggest(const struct check *check, const char *word, bool services,
                          bool databases, char buffer[96]);
bool check_takes_requests(const struct manifest_service *service);

void check_routes(struct check *check);
void check_tls(const struct check *check);

#endif
