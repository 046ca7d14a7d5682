/* pattern.h - search by regular expression, in time linear in the line.
 *
 * Why: patterns come from people and lines from applications, and both meet on the loop that must
 * keep the pipes empty. libc's matcher is quadratic in the line and unbounded in memory for some
 * patterns; this one runs a deterministic automaton that is built on demand inside a fixed budget
 * (Cox, "Regular Expression Matching Can Be Simple And Fast", 2007), and gives up with a clear
 * answer when a pattern outgrows it. Language: POSIX extended expressions over bytes: . [set]
 * [^set] [:class:] * + ? {m,n} | ( ) ^ $; besides these \d \w \s, their capital complements, \t,
 * escaped punctuation, and "(?i)" in front for ASCII letters of any case. Multi-byte characters are
 *      taken as a whole outside of sets. No back-references.
 */
#ifndef LOGD_PATTERN_H
#define LOGD_PATTERN_H

#include "base/error.h"
#include "base/slice.h"

#define PATTERN_LEN_MAX 1024u

struct pattern;

enum pattern_result { PATTERN_ABSENT, PATTERN_FOUND, PATTERN_TOO_EXPENSIVE };

/* ERR_INVALID: not an expression (err tells where); ERR_LIMIT: too large once repetitions are
 * unfolded. */
MUST_USE int pattern_new(struct slice text, struct pattern **ret_pattern, struct error *err);
void pattern_free(struct pattern *pattern); /* NULL allowed */
/* Does it occur anywhere in `line`? Memory at most about 300 KiB a pattern, work at most about 20
 * ms. */
enum pattern_result pattern_search(struct pattern *pattern, struct slice line);

#endif
