/* proxy_protocol.h - the PROXY protocol, versions 1 and 2: what a proxy in front says, in the first
 * bytes of a connection, of the client that it connects for.
 *
 * Strict, because whoever may write this header may be anybody: one form of each number and
 * address, no byte more than the lengths say, TLVs that fit exactly, the checksum right where there
 * is one. Source: "The PROXY protocol, versions 1 & 2" (HAProxy, 2.8), §2.1, §2.2. No allocation,
 * no system call.
 */
#ifndef NET_PROXY_PROTOCOL_H
#define NET_PROXY_PROTOCOL_H

#include "base/slice.h"
#include <stdbool.h>

#define PROXY_V1_MAX     107u  /* the line with its CRLF */
#define PROXY_HEADER_MAX 2048u /* longer ones are refused */
#define PROXY_WRITE_MAX  128u

struct proxy_address {   /* IPv4 as ::ffff:a.b.c.d */
    uint8_t address[16]; /* network order */
    uint16_t port;       /* host order */
};

struct proxy_header {
    bool is_known; /* false: the connection's own addresses hold (LOCAL, UNKNOWN, not IP) */
    struct proxy_address source, destination;
    size_t bytes; /* of the header; what follows is the client's */
};

enum proxy_result { PROXY_MORE, PROXY_DONE, PROXY_BAD };

/* Read the header at the front of bytes[0, len). MORE: it is not complete. BAD: *ret_reason,
 * static, tells why. */
MUST_USE enum proxy_result proxy_header_read(const char *bytes, size_t len,
                                             struct proxy_header *ret_header,
                                             const char **ret_reason);
/* A header of version 1 or 2; its length. An unknown one is UNKNOWN or LOCAL. */
size_t proxy_header_write(unsigned version, const struct proxy_header *header,
                          char bytes[PROXY_WRITE_MAX]);

#endif
