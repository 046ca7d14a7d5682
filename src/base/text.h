/* text.h - help with words. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/slice.h"

/* The candidate nearest to `word` (Damerau-Levenshtein, at most a third of its length), or NULL. */
const char *text_suggest(struct slice word, const char *const *candidates, size_t count);
#define TEXT_GLOB_MAX 1024
/* fnmatch-like: '*', '?', '[a-z]', '[!x]', '\\c', and '**' that crosses '/' ("**" + "/" as a folder
 * level may also be absent). Time at most pattern x text, no recursion. A pattern longer than
 * TEXT_GLOB_MAX bytes matches nothing. */
bool text_glob(struct slice pattern, struct slice text);
/* Length of the UTF-8 sequence (RFC 3629) that `s` begins with; 0: none, or a bad one. */
size_t text_utf8_sequence(struct slice s);
bool text_is_utf8(struct slice s);

#endif
