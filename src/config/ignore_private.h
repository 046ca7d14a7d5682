/* ignore_private.h - the patterns of .gitignore and .slipwayignore, as gitignore(5) says and git
 * does. */
#ifndef CONFIG_IGNORE_PRIVATE_H
#define CONFIG_IGNORE_PRIVATE_H

#include "base/arena.h"
#include <stdbool.h>

#define IGNORE_FILE_BYTES_MAX ((size_t)1024 * 1024)

enum ignore_verdict { IGNORE_UNDECIDED, IGNORE_LEFT_OUT, IGNORE_KEPT };

/* The rules of one file; rules of deeper folders win over those above. */
struct ignore_file {
    const struct ignore_file *above;
    size_t base_len; /* the folder of the file, "backend/" of "backend/x/y.js"; 0: the top */
    struct ignore_rule *rules;
    size_t count;
};

/* The rules of `text`, in `arena`; `above` may be NULL and is returned when the text has none. NULL
 * text.ptr is none. */
const struct ignore_file *ignore_parse(struct arena *arena, const struct ignore_file *above,
                                       size_t base_len, struct slice text);
/* `path` is relative to the top, without slashes at its ends. The caller does not ask for what lies
 * below a folder that is left out. */
enum ignore_verdict ignore_match(const struct ignore_file *file, struct slice path,
                                 bool is_directory);

/* Git's wildmatch with WM_PATHNAME: "*", "?" and "[…]" stop at '/', a whole segment "**" does not.
 */
bool ignore_glob(struct slice pattern, struct slice text);

#endif
