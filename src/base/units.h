/* units.h - durations, sizes and percentages as people write them, and back.
 * Duration: "250ms", "30s", "2m", "1h", "7d", and sums "1m30s". Size: "512K", "1G", "10GB", "1GiB"
 * (all powers of 1024). Percentage: "0.1%", "5%". A number without a unit is an error, except 0. */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include "base/slice.h"

MUST_USE int units_parse_duration_ms(struct slice text, uint64_t *ret_ms);
MUST_USE int units_parse_size(struct slice text, uint64_t *ret_bytes);
MUST_USE int units_parse_percent(struct slice text, double *ret_percent);
#define UNITS_TEXT_SIZE 32
char *units_format_duration_ms(uint64_t ms, char *buffer); /* "1m30s", shortest exact form, "0s" */
char *units_format_size(uint64_t bytes, char *buffer); /* "1.5G", at most one decimal, for people */

#endif
