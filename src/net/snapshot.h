/* snapshot.h - the routing table as control publishes it: an immutable, versioned,
 * position-independent block of memory.
 *
 * Why: every edge swaps one pointer between two loop turns; nothing is ever changed in place.
 * control builds a block with snapshot_builder, seals it in a memfd and sends it; an edge maps and
 * validates it once, then compiles what it needs. Layout: header, then arrays of fixed structs,
 * then a string region; all references are indices or {offset, len} into it. Room to grow: TLS,
 * HTTP/2, limits, cache, CORS and the rest come as further fields of route and host; a field that
 * is zero means "default". SNAPSHOT_VERSION changes when an older edge could misread a block.
 */
#ifndef NET_SNAPSHOT_H
#define NET_SNAPSHOT_H

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

#define SNAPSHOT_MAGIC   0x534c5354u
#define SNAPSHOT_VERSION 1u
#define SNAPSHOT_MAX     (64u * 1024u * 1024u)

struct snapshot_text {
    uint32_t offset, len; /* into the string region; every string is followed by NUL there */
};

struct snapshot_range {
    uint32_t first, count;
};

enum snapshot_service_kind { SNAPSHOT_PROXY, SNAPSHOT_STATIC };

enum snapshot_endpoint_state {
    SNAPSHOT_ACTIVE,   /* gets new requests */
    SNAPSHOT_DRAINING, /* gets no new request; what runs goes on; the edge reports PEER_DRAINED */
};

struct snapshot_endpoint {
    uint64_t instance; /* unique for ever */
    uint32_t slot;     /* index into counters.endpoints; unique within a snapshot */
    uint32_t state;
    uint32_t ipv4; /* network order; 0: unix */
    uint32_t port; /* host order */
    struct snapshot_text unix_path;
    struct snapshot_text name;  /* "api-1", for logs */
    struct snapshot_text label; /* LABEL of peer_protocol.h, for access records */
    uint32_t weight;            /* 1..1000, 0 = 100 */
    uint32_t reserved;
};

struct snapshot_header_rule { /* static sites: a response header for paths that match a glob */
    struct snapshot_text path, name, value;
};

struct snapshot_redirect {
    struct snapshot_text from,
        to; /* `from` exact or ending in "*"; `to` may end in "*": the rest is carried over */
    uint32_t status; /* 301 302 303 307 308; 200: rewrite within the site */
};

struct snapshot_service {
    uint32_t kind;
    struct snapshot_text app, name;
    struct snapshot_text label;      /* for access records that reach no endpoint */
    struct snapshot_range endpoints; /* PROXY */
    struct snapshot_text
        root; /* STATIC: absolute folder, immutable content (a new release is a new folder) */
    uint32_t
        is_single_page; /* STATIC: unknown paths without an extension answer /index.html with 200 */
    struct snapshot_range headers;   /* STATIC */
    struct snapshot_range redirects; /* STATIC */
    uint64_t release;
};

struct snapshot_route {
    struct snapshot_text path; /* "/": all; "/api" matches "/api" and "/api/…" */
    uint32_t service;
    uint32_t
        retries; /* further attempts for idempotent requests when nothing was answered; default 1 */
    uint32_t connect_timeout_ms;     /* default 5,000 */
    uint32_t first_byte_timeout_ms;  /* default 60,000 */
    uint32_t idle_timeout_ms;        /* between two reads of an answer; default 60,000 */
    uint32_t tunnel_idle_timeout_ms; /* default 3,600,000 */
    uint64_t body_limit_bytes;       /* 0: none */
    uint32_t is_prefix_stripped;
    uint32_t reserved;
};

struct snapshot_host {
    struct snapshot_text name; /* lower case, no port; "*.example.org" covers one or more labels; ""
                                  : any other host */
    struct snapshot_range routes; /* longest path first */
};

struct snapshot_settings {                /* of the client side; zero = default */
    uint32_t header_timeout_ms;           /* first byte to end of header block, default 15,000 */
    uint32_t body_idle_timeout_ms;        /* between two reads of a request body, default 60,000 */
    uint32_t keepalive_timeout_ms;        /* between two requests, default 75,000 */
    uint32_t send_timeout_ms;             /* a client that takes nothing, default 60,000 */
    uint32_t upstream_keepalive_ms;       /* idle upstream connections, default 4,000 */
    uint32_t header_limit_bytes;          /* default 65,536 */
    uint32_t header_limit_count;          /* default 100 */
    uint32_t connection_limit;            /* per edge, default derived from RLIMIT_NOFILE */
    uint32_t connection_limit_per_client; /* per edge and address, default 0 = none */
    uint32_t reserved[7];
};

struct snapshot_header {
    uint32_t magic, format_version;
    uint64_t version; /* = peer_snapshot.version */
    uint64_t total_bytes;
    struct snapshot_settings settings;
    uint32_t host_count, route_count, service_count, endpoint_count, header_count, redirect_count;
    /* arrays follow in this order: hosts, routes, services, endpoints, headers, redirects (each
     * 8-byte aligned), strings */
    uint64_t hosts_offset, routes_offset, services_offset, endpoints_offset, headers_offset,
        redirects_offset;
    uint64_t strings_offset, strings_len;
};

/* ---- reading */

struct snapshot { /* a validated view; borrows the block */
    const struct snapshot_header *header;
    const struct snapshot_host *hosts;
    const struct snapshot_route *routes;
    const struct snapshot_service *services;
    const struct snapshot_endpoint *endpoints;
    const struct snapshot_header_rule *headers;
    const struct snapshot_redirect *redirects;
    const char *strings;
};

/* Check every bound, index, enum, order (hosts sorted by name, routes by length) and slot
 * uniqueness. ERR_INVALID with what is wrong, ERR_VERSION. `block` must be 8-byte aligned and
 * outlive the view. */
MUST_USE int snapshot_open(const void *block, size_t size, struct snapshot *ret_snapshot,
                           struct error *err);
static inline struct slice snapshot_slice(const struct snapshot *snapshot,
                                          struct snapshot_text text)
{
    return (struct slice){snapshot->strings + text.offset, text.len};
}
/* The route for a host (lower case, no port) and a normalised path, or NULL: exact host, then
 * wildcards from the most specific, then the any-host entry; within a host the longest path. O(log
 * hosts + routes of the host). */
const struct snapshot_route *snapshot_route_find(const struct snapshot *snapshot, struct slice host,
                                                 struct slice path);

/* ---- building (control) */

struct snapshot_builder;

struct snapshot_builder *snapshot_builder_new(void);
void snapshot_builder_free(struct snapshot_builder *builder); /* NULL allowed */
void snapshot_builder_freep(struct snapshot_builder **builder);
void snapshot_builder_settings(struct snapshot_builder *builder,
                               const struct snapshot_settings *settings);

struct snapshot_service_spec {
    enum snapshot_service_kind kind;
    const char *app, *name, *label;
    const char *root;
    bool is_single_page;
    uint64_t release;
};
/* The index for snapshot_builder_route. The following endpoint/header/redirect calls belong to this
 * service. */
uint32_t snapshot_builder_service(struct snapshot_builder *builder,
                                  const struct snapshot_service_spec *spec);
void snapshot_builder_endpoint(struct snapshot_builder *builder, uint64_t instance, uint32_t slot,
                               enum snapshot_endpoint_state state, uint32_t ipv4_network_order,
                               uint32_t port, const char *name, const char *label);
void snapshot_builder_header(struct snapshot_builder *builder, const char *path, const char *name,
                             const char *value);
void snapshot_builder_redirect(struct snapshot_builder *builder, const char *from, const char *to,
                               uint32_t status);
/* `route` carries the numbers; its path and service fields are ignored in favour of the arguments.
 * host "" = any. */
void snapshot_builder_route(struct snapshot_builder *builder, const char *host, const char *path,
                            uint32_t service, const struct snapshot_route *route);
/* Sort, lay out, append the block to `block`. ERR_EXISTS when two routes have one host and path
 * (named in err), ERR_LIMIT. */
MUST_USE int snapshot_builder_finish(struct snapshot_builder *builder, uint64_t version,
                                     struct buf *block, struct error *err);

#endif
