/* value_private.h - one value of the manifest: from its text to its field and back, by the kind of
 * its key. */
#ifndef CONFIG_VALUE_PRIVATE_H
#define CONFIG_VALUE_PRIVATE_H

#include "config/table_private.h"
#include "config/yaml_private.h"

struct complaint {
    bool is_later; /* a word that is known, but comes in a later version */
    char text[320];
    char suggestion[200]; /* "" : none */
};

/* Read `node` as a value of `key` into the field that begins at `field` (NULL: check only). Texts
 * are borrowed from the node or made in `texts`. False: `ret_complaint` says what is wrong; the
 * field is untouched unless is_later. */
bool value_read(struct arena *texts, const struct key *key, const struct node *node, void *field,
                struct complaint *ret_complaint);

enum value_shape { VALUE_TEXT, VALUE_RAW }; /* in JSON: a string; a number, true or false */
/* The value as one would write it, in `arena`; NULL: not set. */
const char *value_write(struct arena *arena, const struct key *key, const void *field,
                        enum value_shape *ret_shape);

/* "a duration such as 30s", "one of web, private or worker", … into `buffer`. */
const char *value_expected(const struct key *key, char *buffer, size_t size);

bool name_is_valid(struct slice name);
bool environment_name_is_valid(struct slice name);
bool folder_is_inside(struct slice folder); /* relative, and no ".." leads out */

#endif
