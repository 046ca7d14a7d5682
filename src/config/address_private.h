/* address_private.h - the forms of paths, hosts, headers and folders. */
#ifndef CONFIG_ADDRESS_PRIVATE_H
#define CONFIG_ADDRESS_PRIVATE_H

#include "config/table_private.h"

/* `text`, which is NUL-terminated, in its canonical form (itself, or in `texts`, or a constant), or
 * NULL. Then *ret_problem, when it is set, completes the sentence "'<text>' …"; when it is not, the
 * text is nothing of the kind at all. */
const char *address_read(struct arena *texts, enum key_kind kind, struct slice text,
                         const char **ret_problem);

#endif
