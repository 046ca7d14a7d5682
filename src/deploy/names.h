/* names.h - where things are kept: keys of the store, labels of the logs, folders of the state
 * directory.
 *
 * All names that go in are of the form [a-z][a-z0-9-]* (config/ checks it, names_is_valid again),
 * so nothing here needs escaping and every result fits its buffer.
 */
#ifndef DEPLOY_NAMES_H
#define DEPLOY_NAMES_H

#include "base/compiler.h"
#include <stdbool.h>

#define NAMES_NAME_SIZE  49 /* MANIFEST_NAME_MAX and the NUL */
#define NAMES_KEY_SIZE   256
#define NAMES_LABEL_SIZE 256
#define NAMES_PATH_SIZE  4096

bool names_is_valid(const char *name);
/* printf into a buffer of NAMES_KEY_SIZE; asserts that it fits. Returns the buffer. */
char *names_key(char *buffer, const char *format, ...) PRINTF_LIKE(2, 3);
/* LABEL of base/peer_protocol.h. Returns the buffer (NAMES_LABEL_SIZE). */
char *names_label(char *buffer, const char *app, const char *service, uint64_t release,
                  const char *instance, const char *kind);
/* printf into a buffer of NAMES_PATH_SIZE. Returns the buffer. */
char *names_path(char *buffer, const char *format, ...) PRINTF_LIKE(2, 3);
/* The last component of a key as a number; false when it is none. */
bool names_number(const char *key, uint64_t *ret_number);

#endif
