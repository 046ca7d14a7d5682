/* walk_private.h - from the tree of nodes to the structs of manifest.h, by the table. */
#ifndef CONFIG_WALK_PRIVATE_H
#define CONFIG_WALK_PRIVATE_H

#include "config/table_private.h"
#include "config/yaml_private.h"

/* Fill `manifest` (zeroed) from `root`: types, ranges, unknown and missing keys, defaults. What
 * does not depend on one key alone is left to manifest_check. */
void manifest_walk(struct arena *arena, struct findings *findings, const struct node *root,
                   struct manifest *manifest);

/* The defaults of a section, as when nothing of it is written. */
void manifest_walk_defaults(struct arena *arena, enum section section, void *base);

/* Defaults and findings that need more than one key. `root` is NULL-safe in every part: positions
 * come from it. */
void manifest_check(struct arena *arena, struct findings *findings, const struct node *root,
                    struct manifest *manifest);

/* What needs the folder: roots exist, and what is published without a build. */
void manifest_check_folder(struct findings *findings, const struct node *root,
                           const struct manifest *manifest, const char *directory);

#endif
