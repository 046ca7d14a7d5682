/* text.h - help with words. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/slice.h"

/* The candidate nearest to `word` (Damerau-Levenshtein, at most a third of its length), or NULL. */
const char *text_suggest(struct slice word, const char *const *candidates, size_t count);
/* fnmatch-like, '*', '?', '[...]', and '**' that crosses '/'. Linear time, no recursion on input. */
bool text_glob(struct slice pattern, struct slice text);
bool text_is_utf8(struct slice s);

#endif
