/* error.h - result codes and the story of a failure.
 *
 * A function that can fail returns 0 or a negative code from errors.def and takes a caller-owned
 * `struct error` (NULL: the caller wants only the code). Lower layers fill it and return; the role
 * or command at the top logs or prints it once. Texts have one grammar: "unable to open 'x':
 * permission denied", no full stop, no secret values. The hint says what a person can do.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "base/compiler.h"

enum error_code {
    ERR_FIRST_ = -1000,
#define X(code, name, http, exit, text) code,
#include "base/errors.def"
#undef X
    ERR_END_, /* all codes lie in (ERR_FIRST_, ERR_END_), every one below zero */
};

struct error {
    int code;        /* 0: nothing set */
    char text[1024]; /* the story, outermost context first; truncated with "..." */
    char hint[512];  /* what to do; "" when there is none */
};

/* Start a story. Returns `code`, so that `return error_set(err, ERR_LIMIT, "...")` reads well. err
 * may be NULL. */
int error_set(struct error *err, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/* Like error_set with ": <strerror(errno_value)>" appended; the code is chosen from errno_value
 * (ENOENT → ERR_NOT_FOUND, EACCES/EPERM → ERR_PERMISSION, ENOSPC/EDQUOT → ERR_NO_SPACE, EEXIST →
 * ERR_EXISTS, ETIMEDOUT → ERR_TIMEOUT, else ERR_SYSTEM). */
int error_errno(struct error *err, int errno_value, const char *format, ...) PRINTF_LIKE(3, 4);

/* Put "context: " before the story and keep its code, which is returned. On a NULL or empty err
 * returns ERR_INTERNAL. */
int error_wrap(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* Set the hint; the last caller wins. Returns err->code. */
int error_hint(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);

void error_clear(struct error *err);
/* Copy the whole story; `to` may be NULL. Returns from->code. */
int error_copy(struct error *to, const struct error *from);

const char *error_name(int code);      /* "not_found"; "unknown" for any other value */
const char *error_text(int code);      /* "not found" */
int error_http_status(int code);       /* 404; 500 for any other value */
int error_exit_status(int code);       /* 3; 1 for any other value; 0 for 0 */
int error_from_name(const char *name); /* ERR_FAILED for an unknown name */

#ifdef __clang_analyzer__
/* What the analyzer cannot know: these never return 0. Only it ever sees this. */
#define error_set(err, code, ...) (error_set((err), (code), __VA_ARGS__), (code))
#define error_errno(err, errno_value, ...)                                                         \
    (error_errno((err), (errno_value), __VA_ARGS__), ERR_SYSTEM)
#define error_wrap(err, ...) (error_wrap((err), __VA_ARGS__), ERR_INTERNAL)
#define error_hint(err, ...) (error_hint((err), __VA_ARGS__), ERR_INTERNAL)
#endif

#endif
