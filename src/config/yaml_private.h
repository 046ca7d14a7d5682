/* yaml_private.h - a YAML text as a tree of nodes with line and column, bounded in every direction.
 *
 * Why: libyaml yields events; the manifest wants a tree that remembers where each word stood, in
 * which aliases and merge keys are resolved, and which no input can blow up. A node is read only
 * once it is made, so an alias shares what it names instead of copying it; what the expanded tree
 * would weigh is counted and bounded (no "billion laughs").
 */
#ifndef CONFIG_YAML_PRIVATE_H
#define CONFIG_YAML_PRIVATE_H

#include "config/findings_private.h"

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
    enum node_kind kind;
    bool is_plain;          /* a scalar without quotes: may be a number, true, null … */
    struct position at;     /* of the value */
    struct position key_at; /* within a map: of the key */
    const char *key;        /* within a map */
    const char *text;       /* scalar: NUL-terminated, no NUL within */
    size_t len;
    struct node *first, *next;
    size_t count;  /* children */
    size_t weight; /* nodes of the expanded subtree, this one too */
    unsigned height;
};

/* Parse one document. Mistakes become findings; returns the root, or NULL when there is no usable
 * tree. Texts live in `texts`, nodes in `nodes`, which has room for MANIFEST_NODES_MAX of them and
 * more. */
struct node *yaml_parse(struct arena *nodes, struct arena *texts, const char *file,
                        struct slice text, struct findings *findings);

/* `overlay` laid over `base`: maps merge, null removes, everything else replaces. Makes new nodes
 * where they differ. */
struct node *yaml_merge(struct arena *nodes, struct node *base, struct node *overlay,
                        struct findings *findings);

/* NULL-safe. */
struct node *node_get(const struct node *map, const char *key);
bool node_is_null(const struct node *node);
/* "'soon'", "a list", "a map", "nothing"; into `buffer`. */
const char *node_describe(const struct node *node, char *buffer, size_t size);

#define node_each(child, parent)                                                                   \
    for (struct node *child = (parent) ? (parent)->first : NULL; child; child = child->next)

#endif
