/* forwarded.h - the lists in which proxies name those before them: X-Forwarded-For, and Forwarded
 * (RFC 7239). They are read from the right, where the nearest proxy wrote. */
#ifndef NET_FORWARDED_H
#define NET_FORWARDED_H

#include "base/slice.h"
#include <stdbool.h>

/* Cut off the last element of a list, without the white space around it. Separators in quoted
 * strings separate nothing. The empty slice for an empty element; *list is empty after the last. */
struct slice forwarded_cut_last(struct slice *list, char separator);
/* A parameter (`for`, `proto`) of an element of Forwarded, without its quotes; empty when it has
 * none. */
struct slice forwarded_parameter(struct slice element, struct slice name);
/* "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80"; IPv4 becomes
 * ::ffff:a.b.c.d. False: anything else ("unknown", "_hidden"), *ret_address untouched. */
MUST_USE bool forwarded_address(struct slice text, uint8_t ret_address[16]);

#endif
