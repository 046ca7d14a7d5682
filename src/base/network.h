/* network.h - networks as people write them: "10.0.0.0/8", "2001:db8::/32", a single address. */
#ifndef BASE_NETWORK_H
#define BASE_NETWORK_H

#include "base/slice.h"

struct network {
    uint8_t address[16];  /* network order; IPv4 as ::ffff:a.b.c.d; bits behind the prefix are 0 */
    unsigned prefix_bits; /* 0..128; of IPv4 96 + its own */
};

/* ERR_INVALID, with *ret_network untouched. */
MUST_USE int network_parse(struct slice text, struct network *ret_network);
bool network_contains(const struct network *network, const uint8_t address[16]);

#endif
