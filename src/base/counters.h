/* counters.h - the shared-memory slab of one edge: written by that edge alone, read by control.
 * Plain stores and loads of aligned words (relaxed atomics); readers see each word whole, and no
 * consistency between words. A starting edge zeroes the gauges (in_flight, tunnels, connections);
 * totals go on. */
#ifndef BASE_COUNTERS_H
#define BASE_COUNTERS_H

#include "base/compiler.h"

#define COUNTERS_MAGIC         0x534c4354u
#define COUNTERS_VERSION       1u
#define COUNTERS_ENDPOINTS_MAX 4096u

struct counters_endpoint {
    uint64_t instance; /* whose numbers these are; the edge zeroes the entry when the slot gets
                          another instance */
    uint32_t in_flight;
    uint32_t tunnels;
    uint64_t requests;
    uint64_t failures; /* no answer, or 5xx made here */
};

/* Behind the endpoints, where an edge and a slab of two builds can do without it. */
struct counters_tls {
    uint64_t handshakes, resumed; /* that ended well */
    uint64_t failures;            /* that did not */
    uint64_t shed;                /* refused or ended because too many were under way */
};

struct counters {
    uint32_t magic, version;
    uint64_t snapshot_version; /* in use */
    uint32_t connections;      /* clients */
    uint32_t reserved;
    uint64_t requests, bytes_in, bytes_out, errors_4xx, errors_5xx, access_dropped;
    struct counters_endpoint endpoints[COUNTERS_ENDPOINTS_MAX]; /* by snapshot_endpoint.slot */
    struct counters_tls tls; /* absent from a slab that is smaller */
};

#endif
