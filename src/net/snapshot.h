/* snapshot.h - the routing table as control publishes it: an immutable, versioned,
 * position-independent block of memory.
 *
 * Why: every edge swaps one pointer between two loop turns; nothing is ever changed in place.
 * control builds a block with snapshot_builder, seals it in a memfd and sends it; an edge maps and
 * validates it once, then compiles what it needs. Layout: header, then arrays of fixed structs,
 * then a string region; all references are indices or {offset, len} into it. Room to grow: every
 * array tells the size of its elements, and a field that is zero means "default"; so while an
 * upgrade runs, edges of two builds read one block: what a build does not know it does not see,
 * what it knows and the block lacks is zero. SNAPSHOT_VERSION changes when that is not enough.
 */
#ifndef NET_SNAPSHOT_H
#define NET_SNAPSHOT_H

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

#define SNAPSHOT_MAGIC   0x534c5354u
#define SNAPSHOT_VERSION 2u
#define SNAPSHOT_MAX     (64u * 1024u * 1024u)
#define SNAPSHOT_NONE    UINT32_MAX /* an index that leads nowhere */

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
    uint32_t reserved;
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
    uint32_t client_certificate;     /* enum snapshot_client_certificate */
    uint32_t upstream_protocol;      /* enum snapshot_protocol */
    uint32_t upstream_tls;           /* index + 1 into upstream_tls; 0: plain */
    uint32_t upstream_proxy_version; /* PROXY protocol towards the service: 0 (none), 1, 2 */
    uint32_t reserved;
    struct snapshot_range trusted_proxies;   /* networks whose X-Forwarded-* and Forwarded count */
    struct snapshot_text transport_security; /* value of Strict-Transport-Security; "": none */
};

enum snapshot_protocol {
    SNAPSHOT_HTTP1,
    SNAPSHOT_H2, /* HTTP/2 with prior knowledge (h2c), or by ALPN where the upstream speaks TLS */
};

enum snapshot_client_certificate { /* of a route; the header is filled in any case where the host
                                      has a CA */
                                   SNAPSHOT_CERTIFICATE_OPTIONAL,
                                   SNAPSHOT_CERTIFICATE_REQUIRED, /* without a valid one: 403 */
};

struct snapshot_upstream_tls {
    struct snapshot_text server_name; /* to verify and to send; "": "localhost" */
    struct snapshot_text ca_pem;      /* "": the system's */
    uint32_t is_unverified, reserved;
};

struct snapshot_host {
    struct snapshot_text name; /* lower case, no port; "*.example.org" covers one or more labels; ""
                                  : any other host */
    struct snapshot_range routes; /* longest path first */
    uint32_t is_tls;              /* served on TLS listeners */
    uint32_t certificate;         /* index + 1 into certificates; 0: none (yet) */
    uint32_t client_authority;    /* index + 1 into authorities; 0: clients show no certificate */
    uint32_t is_redirected;       /* plain requests get 308 to https, once there is a certificate */
    uint32_t is_on_demand;        /* without a certificate: ask control (PEER_CERTIFICATE_WANTED) */
    uint32_t is_tls13_only;
    uint32_t is_http2_off;
    uint32_t is_plain_off; /* not served on plain listeners at all, but for the redirect */
};

struct snapshot_certificate {
    struct snapshot_text
        name; /* "*.example.org", "example.org": the host that it was obtained for */
    struct snapshot_text chain_pem; /* leaf first */
    struct snapshot_text ocsp_der;  /* to staple; may hold any bytes; "": none */
    uint8_t key_id[32];             /* the signer has the key: base/peer_protocol.h */
};

enum snapshot_challenge_kind { SNAPSHOT_CHALLENGE_HTTP, SNAPSHOT_CHALLENGE_TLS };

struct snapshot_challenge { /* proofs for a certificate authority (RFC 8555 §8.3, RFC 8737) */
    uint32_t kind;
    uint32_t certificate;       /* TLS: index + 1 into certificates */
    struct snapshot_text name;  /* HTTP: the token; TLS: the host */
    struct snapshot_text value; /* HTTP: the key authorization */
};

struct snapshot_authority { /* that client certificates must come from */
    struct snapshot_text pem;
};

struct snapshot_network {
    uint8_t address[16];  /* IPv4 as ::ffff:a.b.c.d */
    uint32_t prefix_bits; /* 0..128; of IPv4 96 + its own */
    uint32_t reserved;
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
    uint32_t handshake_timeout_ms;        /* accept to end of the TLS handshake, default 10,000 */
    uint32_t http2_streams;               /* at once per connection, default 100 */
    struct snapshot_range proxy_networks; /* from these every connection must begin with a PROXY
                                             header; from others none may */
    struct snapshot_text ticket_keys; /* any bytes: TLS_TICKET_KEY_BYTES each, first one encrypts */
    uint32_t accepts_h2c; /* HTTP/2 with prior knowledge on plain listeners; default no */
    uint32_t reserved[15];
};

#define SNAPSHOT_ARRAYS(X)                                                                         \
    X(hosts, struct snapshot_host)                                                                 \
    X(routes, struct snapshot_route)                                                               \
    X(services, struct snapshot_service)                                                           \
    X(endpoints, struct snapshot_endpoint)                                                         \
    X(headers, struct snapshot_header_rule)                                                        \
    X(redirects, struct snapshot_redirect)                                                         \
    X(certificates, struct snapshot_certificate)                                                   \
    X(challenges, struct snapshot_challenge)                                                       \
    X(authorities, struct snapshot_authority)                                                      \
    X(networks, struct snapshot_network)                                                           \
    X(upstream_tls, struct snapshot_upstream_tls)

struct snapshot_array {
    uint64_t offset; /* from the block's start, 8-byte aligned */
    uint32_t count;
    uint32_t stride; /* bytes of an element in this block; a multiple of 8 */
};

enum snapshot_array_index {
#define X(name, type) SNAPSHOT_ARRAY_##name,
    SNAPSHOT_ARRAYS(X)
#undef X
        SNAPSHOT_ARRAY_COUNT
};

struct snapshot_header {
    uint32_t magic, format_version;
    uint64_t version; /* = peer_snapshot.version */
    uint64_t total_bytes;
    uint64_t strings_offset, strings_len;
    uint32_t settings_bytes; /* of `settings` in this block */
    uint32_t array_count;    /* in this block; more are skipped, fewer are empty */
    uint64_t settings_offset, arrays_offset;
};

/* ---- reading */

struct snapshot { /* a validated view; borrows the block */
    const struct snapshot_header *header;
    const struct snapshot_settings *settings;
#define X(name, type)                                                                              \
    const type *name;                                                                              \
    uint32_t name##_count;
    SNAPSHOT_ARRAYS(X)
#undef X
    const char *strings;
    void *
        converted; /* owned: arrays of a block of another build, in this one's layout; NULL: none */
};

/* Check every bound, index, enum, order (hosts sorted by name, routes by length) and slot
 * uniqueness. ERR_INVALID with what is wrong, ERR_VERSION. `block` must be 8-byte aligned and
 * outlive the view. */
MUST_USE int snapshot_open(const void *block, size_t size, struct snapshot *ret_snapshot,
                           struct error *err);
void snapshot_close(struct snapshot *snapshot); /* frees what open made; the block stays */
static inline struct slice snapshot_slice(const struct snapshot *snapshot,
                                          struct snapshot_text text)
{
    return (struct slice){snapshot->strings + text.offset, text.len};
}
/* The host entry for a name (lower case, no port), or NULL: exact, then wildcards from the most
 * specific, then the any-host entry. */
const struct snapshot_host *snapshot_host_find(const struct snapshot *snapshot, struct slice host);
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
/* Certificates, authorities, networks and upstream TLS return what other structs refer to them by
 * (index + 1, or the range's first index). Equal authorities and certificates are kept once. */
uint32_t snapshot_builder_certificate(struct snapshot_builder *builder, const char *name,
                                      struct slice chain_pem, struct slice ocsp_der,
                                      const uint8_t key_id[32]);
uint32_t snapshot_builder_authority(struct snapshot_builder *builder, struct slice pem);
struct snapshot_range snapshot_builder_networks(struct snapshot_builder *builder,
                                                const struct snapshot_network *networks,
                                                size_t count);
uint32_t snapshot_builder_upstream_tls(struct snapshot_builder *builder, const char *server_name,
                                       struct slice ca_pem, bool is_unverified);
/* `value`: HTTP only; `certificate`: TLS only. */
void snapshot_builder_challenge(struct snapshot_builder *builder, enum snapshot_challenge_kind kind,
                                const char *name, const char *value, uint32_t certificate);
/* The TLS side of a host: its numbers; name and routes are ignored. Said twice: the last holds. A
 * host without routes of its own has an entry all the same; its requests go by wider hosts. */
void snapshot_builder_host(struct snapshot_builder *builder, const char *host,
                           const struct snapshot_host *tls);
void snapshot_builder_ticket_keys(struct snapshot_builder *builder, struct slice keys);
void snapshot_builder_transport_security(struct snapshot_builder *builder, const char *host,
                                         const char *path, const char *value);
/* Sort, lay out, append the block to `block`. ERR_EXISTS when two routes have one host and path
 * (named in err), ERR_LIMIT. */
MUST_USE int snapshot_builder_finish(struct snapshot_builder *builder, uint64_t version,
                                     struct buf *block, struct error *err);

#endif
