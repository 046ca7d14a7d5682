/* clock.h - time. Durations and deadlines use the monotonic clock; what people read uses the wall
 * clock. Tests replace both with clock_fake(). */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/compiler.h"

uint64_t clock_monotonic_us(void);
uint64_t clock_wall_us(void);                             /* since the epoch, UTC */
void clock_fake(uint64_t monotonic_us, uint64_t wall_us); /* from now on; tests only */
void clock_fake_advance(uint64_t us);
void clock_real(void);

#define CLOCK_TEXT_SIZE 32
/* "2026-03-01T12:34:56.789012Z" (RFC 3339, microseconds) into a buffer of CLOCK_TEXT_SIZE; returns
 * the buffer. */
char *clock_format(uint64_t wall_us, char *buffer);
/* Reverse of the above; also accepts seconds precision. 0 or ERR_INVALID. */
MUST_USE int clock_parse(const char *text, uint64_t *ret_wall_us);

#endif
