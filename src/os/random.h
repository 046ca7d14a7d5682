/* random.h - getrandom(2). */
#ifndef OS_RANDOM_H
#define OS_RANDOM_H
#include "base/compiler.h"
void random_bytes(void *buffer, size_t len); /* cryptographic; aborts if the kernel has none */
uint64_t random_u64(void);
/* `len` characters of [0-9A-Za-z] plus NUL (62^len values); the buffer holds len + 1. */
char *random_token(char *buffer, size_t len);
#endif
