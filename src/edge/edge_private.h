/* edge_private.h - the objects of the edge and what its files ask of each other. What each
 * file is for stands in docs/design/edge.md.
 *
 * Who may close what: event handlers and timers are the only callers of client_advance, and a
 * client or upstream that was closed stays readable memory until the end of the turn
 * (edge.graveyard), so callers look at `state` after every call that can close.
 */
#ifndef EDGE_EDGE_PRIVATE_H
#define EDGE_EDGE_PRIVATE_H

#include "base/clock.h"
#include "base/counters.h"
#include "base/list.h"
#include "base/log.h"
#include "edge/block_private.h"
#include "edge/static.h"
#include "edge/transport_private.h"
#include "loop/channel.h"
#include "net/http1.h"
#include "net/snapshot.h"
#include "net/tls.h"
#include "os/socket.h"
#include <netinet/in.h>

#define EDGE_LISTENERS_MAX     8u
#define EDGE_MS                1000u /* microseconds */
#define EDGE_CLIENT_FIELDS_MAX 208u
#define EDGE_REQUEST_ID_MAX    128u

/* ---- endpoints */

struct endpoint {     /* one instance; lives as long as a table names it or a connection uses it */
    struct list node; /* edge.endpoints */
    struct edge *edge;
    uint64_t instance;
    struct counters_endpoint *counters; /* its slot, or `scratch` once its slot is not its own */
    struct counters_endpoint scratch;
    struct address address;
    enum snapshot_endpoint_state state;
    bool is_listed; /* in the present table */
    uint32_t slot, weight;
    uint32_t in_flight, tunnels, connections;
    uint32_t drained_reported; /* bit i: PEER_DRAINED with is_tunnels = i went out for this table */
    uint64_t ejected_until_us; /* refused lately: passed over while others are there */
    struct list idle;          /* upstreams, most recently used first */
    struct list links;         /* HTTP/2 connections, see http2_upstream.c */
    char *label, *name;        /* owned */
    char address_text[ADDRESS_TEXT_SIZE];
};

/* ---- the routing table */

struct service {
    const struct snapshot_service *spec;
    struct slice label;
    struct endpoint **endpoints; /* proxied services */
    uint32_t endpoint_count;
    struct static_site *site; /* static services; NULL: its folder cannot be opened */
};

struct table { /* a compiled snapshot; requests in flight hold references */
    unsigned references;
    void *base;
    size_t size;
    struct snapshot snapshot;
    struct service *services;
    struct endpoint **endpoints;           /* of all services, by index in the snapshot */
    struct tls_server *tls;                /* what TLS listeners serve */
    struct upstream_security **securities; /* two for each of its upstream_tls, opening.c */
    uint32_t *certificates; /* by index in the snapshot: that in `tls`, or TLS_NO_CERTIFICATE */
    uint32_t *authorities;  /* by index in the snapshot: that in `tls`, or TLS_NO_CLIENT_CA */
    uint32_t certificates_done, hosts_done; /* of the compilation */
};

/* ---- upstream connections */

#define UPSTREAM_STATES(X) X(CONNECTING) X(WAITING) X(ANSWERING) X(TUNNEL) X(IDLE) X(CLOSED)
enum upstream_state {
#define X(name) UPSTREAM_##name,
    UPSTREAM_STATES(X)
#undef X
};

struct upstream_security { /* how an instance that speaks TLS is verified */
    struct list node;      /* edge.securities */
    unsigned references;
    bool is_unverified, is_http2;
    struct tls_client *client;
    struct buf ca_pem;
};

struct verification { /* as whom a connection's instance was verified; zeroed: it speaks no TLS */
    struct upstream_security *security; /* a reference; NULL: it cannot be verified */
    char *name;                         /* owned */
};

struct upstream {
    struct transport transport;
    enum upstream_state state;
    bool is_reused;       /* has answered a request before this one */
    bool is_keepalive;    /* the present answer lets it go on */
    bool is_write_failed; /* it stopped taking the request; an answer may still come */
    bool has_bytes;       /* something of an answer has arrived */
    bool is_answer_ended; /* all of it was queued for the client */
    struct edge *edge;
    struct endpoint *endpoint;
    struct client *client;   /* NULL while idle */
    struct opening *opening; /* what stands before the first request; NULL: nothing (more) */
    struct verification verification;
    bool is_private;       /* for this client alone */
    struct list node;      /* endpoint.idle, or edge.graveyard */
    uint64_t expires_us;   /* idle */
    uint64_t keepalive_us; /* how long it may idle */
    struct block *block;   /* bytes[from, to) are not consumed */
    size_t from, to;
    struct http1_progress progress;
    enum http1_body body; /* of the answer */
    uint64_t body_left;
    struct http1_chunked chunked;
    struct output output; /* the request on its way */
    struct buf trailers;  /* of the answer, as lines */
    char chunk_head[HTTP1_CHUNK_HEAD_MAX];
};

/* ---- requests */

#define REQUEST_STATES(X) X(NONE) X(QUEUED) X(FORWARDED) X(LOCAL)
enum request_state {
#define X(name) REQUEST_##name,
    REQUEST_STATES(X) /* QUEUED: wants an upstream now; FORWARDED: has one; LOCAL: we answer it */
#undef X
};

enum request_page { REQUEST_PAGE_TEXT, REQUEST_PAGE_HTML, REQUEST_PAGE_JSON };

struct request {
    enum request_state state;
    enum http1_method method;
    enum http1_body body;
    enum request_page page; /* what the client likes to read errors in */
    uint8_t version_minor;
    bool is_idempotent, is_upgrade, is_websocket, expects_continue;
    bool is_body_read;      /* the whole request body left the client's socket */
    bool is_body_ended;     /* ... and was queued for the upstream, end mark included */
    bool is_body_discarded; /* the rest of the body is read and dropped */
    bool is_replayable;     /* header block and all of the body so far are still in memory */
    bool is_answer_begun;   /* a final status line was queued for the client */
    bool is_answer_chunked;
    bool takes_trailers;  /* its client said so */
    bool is_fresh_wanted; /* a pooled connection died under it */
    bool is_secure;       /* it came over TLS, to us or to a proxy that may tell */
    bool is_forwarded;    /* by a trusted proxy: forwarded_for is the client */
    uint8_t forwarded_for[16];
    struct table *table; /* a reference */
    const struct snapshot_route *route;
    const struct service *service;
    struct upstream *upstream;
    struct endpoint *endpoint; /* the last one tried: for the record; counted in its connections */
    const struct endpoint *avoided; /* failed this request: take another if there is one */
    unsigned attempts, refusals;
    struct slice method_text, host,
        path;           /* path: as routed, with query; all in the client's block */
    size_t path_bytes;  /* of `path`, without query */
    size_t strip_bytes; /* of `path`: what the route takes off its front */
    struct slice id, accept;
    char *kept;          /* owned copy of these texts, once the block is gone (tunnels) */
    size_t body_at;      /* offset of the body in the client's block */
    uint64_t body_bytes; /* Content-Length */
    uint64_t body_left;  /* not consumed yet */
    uint64_t body_seen;  /* consumed so far */
    struct http1_chunked chunked;
    struct buf trailers;      /* of the body, as lines */
    struct block *head_block; /* the header block for the upstream */
    size_t head_len;
    uint64_t started_us, dispatched_us, answered_us;
    uint64_t progress_bytes; /* towards the next extension of the deadline */
    unsigned status;
    uint64_t bytes_sent; /* of the answer's body */
    const char *reason;  /* static text */
    struct static_answer file;
    uint64_t file_offset, file_left; /* of file.fd */
    char id_text[33];
};

/* ---- client connections */

/* What all requests of one connection have in common; the streams of an HTTP/2 connection hold
 * references to one. */
struct connection_facts {
    unsigned references;
    struct edge *edge;
    bool is_tls;     /* on the wire that the client sees */
    bool is_counted; /* in edge.peers */
    bool is_proxied; /* by a PROXY header: address, source_port, local and port are its */
    bool is_ipv4;
    uint16_t port; /* that it connected to, host order; 0: unix */
    uint16_t source_port;
    int fd;              /* of the connection, borrowed */
    struct tls *tls;     /* borrowed from the connection's transport, which outlives its streams */
    uint8_t address[16]; /* of the client; IPv4 as ::ffff:a.b.c.d, unix: zero */
    uint8_t local[16];   /* where it connected to, when is_proxied */
    uint8_t address_at, address_len; /* the client's address within `fields` */
    uint8_t fields_len;
    char fields[EDGE_CLIENT_FIELDS_MAX]; /* "X-Forwarded-For: …" and what else depends on the
                                            connection alone */
};

#define CLIENT_STATES(X)                                                                           \
    X(PROXY) X(HANDSHAKE) X(SESSION) X(IDLE) X(HEAD) X(REQUEST) X(TUNNEL) X(LINGER) X(CLOSED)
enum client_state {
#define X(name) CLIENT_##name,
    CLIENT_STATES(X)
#undef X
};

enum client_protocol {
    CLIENT_HTTP1,
    CLIENT_HTTP2, /* a stream: one request, on a transport of kind TRANSPORT_STREAM */
};

/* ---- handshakes under way */

enum handshake_wait {
    HANDSHAKE_QUEUED,
    HANDSHAKE_CLIENT,
    HANDSHAKE_SIGNATURE,
    HANDSHAKE_CERTIFICATE
};

struct handshake {
    struct client *client;
    enum handshake_wait wait;
    struct list node;       /* edge.handshakes, oldest first */
    struct list wait_node;  /* edge.handshake_queue, edge.signing (in the order of the requests) or
                               edge.wanting */
    struct list ready_node; /* edge.handshakes_ready or handshakes_many */
    bool wants_write, is_extended;
    uint64_t heard_us;     /* the client's last bytes */
    uint64_t sign_request; /* SIGNATURE: its id */
    uint64_t source; /* whose they are counted as: the client's address, of IPv6 the network */
};

struct client { /* whoever sends requests one after the other: a connection, or a stream of one */
    struct transport transport;
    enum client_state state;
    uint8_t protocol; /* enum client_protocol */
    bool is_last;     /* close after the present answer */
    bool is_resumed;  /* in edge.resumed */
    bool is_served;   /* a request of it was answered */
    struct edge *edge;
    struct connection_facts *facts; /* a reference */
    struct handshake *handshake;    /* HANDSHAKE, once the client has said something; owned */
    struct http2_client *http2;     /* of a connection that speaks HTTP/2; owned */
    uint64_t deadline_us;
    struct loop_timer timer;
    struct block *block; /* bytes[from, to) are not consumed; the header block stands before `from`
                            while a request runs */
    size_t from, to;
    struct http1_progress progress;
    struct output output;
    struct block *output_block; /* header block of the answer, while it is being sent */
    size_t output_len;
    char chunk_head[HTTP1_CHUNK_HEAD_MAX];
    struct request request;
    uint64_t idle_since_us;
    uint64_t lingered_bytes;
    struct list node;        /* edge.clients, or edge.graveyard */
    struct list resume_node; /* edge.resumed */
};

/* ---- HTTP/2, see stream_private.h */

struct http2_pool { /* memory that is used again */
    void *free_streams, *free_pieces;
    unsigned free_stream_count, free_piece_count;
    size_t buffered;       /* received bytes that nobody took yet */
    struct list graveyard; /* connections to upstreams */
};

/* ---- the edge */

struct listener {
    struct loop_io io;
    unsigned accepted; /* since it last took its place in the line */
    bool is_tls;
    uint16_t port; /* host order; 0: unix */
    struct edge *edge;
};

struct edge {
    struct loop *loop;
    struct channel keeper, control, signer;
    bool has_control, has_signer, is_quitting, is_ready, is_confined;
    bool is_draining; /* quitting, but clients have the whole grace */
    unsigned index, edge_count;
    unsigned http_port, https_port;
    struct listener listeners[EDGE_LISTENERS_MAX];
    unsigned listener_count;
    bool is_accepting;
    struct table *table;     /* NULL: no snapshot yet */
    struct table *compiling; /* the next one */
    int next_snapshot;       /* descriptor of the one after it; -1: none */
    struct loop_deferred compile_work;
    struct snapshot_settings settings; /* with defaults in place */
    struct http1_limits limits, upstream_limits;
    struct counters *counters;
    struct counters *own_counters; /* until the keeper's arrive */
    struct counters_tls *tls_counters;
    struct list handshakes, handshake_queue, signing, wanting;
    struct list handshakes_ready, handshakes_many; /* a step is due; of addresses with many */
    unsigned handshake_turn;
    struct loop_deferred handshake_work; /* takes the steps */
    unsigned handshake_count, wanting_count;
    struct map *handshake_sources; /* handshakes under way by source */
    uint64_t sign_request;         /* the last one's id */
    struct static_cache *statics;
    struct block_pool blocks;
    struct list clients, graveyard_clients, graveyard_upstreams, endpoints, resumed;
    struct list free_clients, free_upstreams;
    struct list securities;
    unsigned free_client_count, free_upstream_count;
    struct loop_deferred resume_work, burial;
    struct loop_timer expiry; /* of idle upstreams; runs while there are some */
    struct loop_timer quit;
    struct loop_timer accept_pause;
    struct loop_signal terminate;
    uint64_t retry_floor_second;
    struct map *peers;         /* connections by client address, when limited */
    unsigned connection_count; /* of clients; `client_count` counts streams, too */
    unsigned client_count, tunnel_count, connection_limit;
    unsigned session_count; /* clients that are connections of HTTP/2 */
    struct http2_pool http2;
    uint32_t retry_fifths; /* the retry budget: a request earns one fifth of a retry */
    unsigned idle_upstreams;
    uint64_t random_state[2];
    struct http1_head head; /* the block being looked at; never across turns */
    uint64_t date_second;
    uint64_t wall_offset_us; /* wall clock minus loop clock */
    char date_field[48];     /* "Date: …CRLF" */
    size_t date_field_len;
    char log_second[CLOCK_TEXT_SIZE]; /* the second of the last access record as text */
    uint64_t log_second_at;
    char *access_bytes;
    size_t access_len;
    struct loop_io access_io;
    bool is_access_waiting; /* the pipe is full */
    struct loop_timer access_timer;
    char scratch[BLOCK_BYTES]; /* for bytes that are read to be dropped, or fed to HTTP/2 */
};

/* edge.c */
uint64_t edge_random(struct edge *edge);
void edge_tick_date(struct edge *edge); /* bring Date and the wall clock up to date; cheap */
void edge_tell_control(struct edge *edge, const void *message, size_t len);
void edge_report_drained(struct edge *edge, const struct endpoint *endpoint, bool is_tunnels);
/* After a connection or request ended: quit when nothing is left to wait for. */
void edge_check_quit(struct edge *edge);

/* confine.c */
/* For ever; what it needs from then on is in the list there. As root the instances have ports of
 * their own, and no others are connected to. */
void edge_confine(bool is_root);

/* listener.c */
MUST_USE int listener_add(struct edge *edge, int fd, bool is_tls, struct error *err);
void listener_start_all(struct edge *edge);
void listener_stop_all(struct edge *edge);
void listener_limits(struct edge *edge); /* after settings changed */

/* connection.c */
/* NULL: this address has as many connections as it may. One reference, the caller's. */
struct connection_facts *connection_facts_new(const struct listener *listener, int fd,
                                              const struct address *address);
struct proxy_header;
/* A PROXY header says who it is. False: this address has as many connections as it may. */
MUST_USE bool connection_facts_proxied(struct connection_facts *facts,
                                       const struct proxy_header *header);
struct connection_facts *connection_facts_ref(struct connection_facts *facts);
void connection_facts_unref(struct connection_facts *facts); /* NULL allowed */
struct proxy_address;
/* Both ends of the connection as the client sees them. */
void connection_ends(const struct connection_facts *facts, struct proxy_address *ret_source,
                     struct proxy_address *ret_destination);
struct slice connection_address(const struct connection_facts *facts); /* of the client, as text */
size_t connection_address_text(const uint8_t address[16], char text[INET6_ADDRSTRLEN]);

/* handshake.c */
/* Go on with what stands before the first request, as far as it goes. */
void handshake_advance(struct client *client);
void handshake_take_steps(struct edge *edge); /* that are due, for a moment; edge.handshake_work */
void handshake_proxy(struct client *client);
void handshake_timed_out(struct client *client);
void handshake_end(struct client *client); /* it is over, or the client closes; NULL allowed */
void handshake_signed(struct handshake *handshake, struct slice signature); /* empty: refused */
/* After a table was adopted: those that wait for a certificate look again. */
void handshake_look_again(struct edge *edge);
void handshake_refuse(struct edge *edge, struct slice host);

/* signing.c */
MUST_USE bool signing_ask(struct handshake *handshake); /* false: the signer takes no more */
void signing_connect(struct edge *edge, int fd);        /* to a signer, which may be a new one */
void signing_want(struct handshake *handshake);
void signing_want_again(struct edge *edge); /* control is a new one */

/* client.c */
/* A connection that was just accepted; takes over `fd`. */
void client_accept(struct listener *listener, int fd, const struct address *address);
/* In edge.clients, IDLE, with a reference to `facts` of its own; its transport is the caller's to
 * fill in. */
struct client *client_new(struct edge *edge, struct connection_facts *facts,
                          enum client_protocol protocol);
void client_close(struct client *client, bool is_abort);
void client_set_state(struct client *client, enum client_state state);
void client_set_deadline(struct client *client, uint64_t deadline_us);
void client_advance(
    struct client *client); /* do what can be done now; the client may be closed afterwards */
void client_resume_later(struct client *client);
void client_on_event(struct loop_io *io, unsigned events);
/* Answer a message that is no request. */
void client_refuse(struct client *client, const struct http1_failure *failure);
/* Of a client that lingers: read no more than that. */
void client_linger_at_most(struct client *client, uint64_t bytes);
void client_resume(struct client *client);
void client_request_done(struct client *client); /* the answer is out */
void client_linger(struct client *client); /* say goodbye, read what still comes, then close */
void client_output_release(struct client *client);
void client_bury(struct edge *edge);
void client_quit_all(struct edge *edge);
void client_evict_idle(struct edge *edge, unsigned count);

/* request.c */
void request_begin(
    struct client *client); /* edge.head holds it; client.from is behind the header block */
bool request_route(
    struct client *client); /* by the present table; false: no route, request.route is NULL */
void request_keep_texts(struct client *client); /* before the client's block goes */
/* Give up on a request and its connection: nothing (more) is answered. */
void request_abort(struct client *client, unsigned status, const char *reason);
void request_touch(
    struct client *client); /* something moved: a new deadline by what is waited for now */
/* The client took or gave so much: a new deadline, but for single bytes that are not the last. */
void request_progress(struct client *client, size_t bytes, bool is_complete);
/* Write what is queued for the client. False: it takes no more now, or the request is over. */
bool request_flush(struct client *client);
void request_timed_out(struct client *client);
void request_record(struct client *client); /* counters and the access record */
void request_release(struct client *client);
bool request_skip_body(
    struct client *client); /* drop a body that is here already; false: more would come */

/* admission.c */
/* By host, on this connection. False: answered. */
bool admission_host(struct client *client);
bool admission_route(struct client *client); /* the same by route */

/* identity.c */
void identity_find(struct client *client, const struct http1_head *head); /* after routing */
size_t identity_address(const struct client *client, char text[INET6_ADDRSTRLEN]);
/* X-Forwarded-* and their like, for the upstream. */
char *identity_put(struct client *client, const struct http1_head *head, char *at);
bool identity_is_proxy(const struct edge *edge, const uint8_t address[16]);

/* rewrite.c */
void rewrite_request(struct client *client, const struct http1_head *head, uint64_t max_forwards);
/* The answer's header block into client.output_block, queued. */
void rewrite_response(struct client *client, const struct http1_head *head);
void rewrite_interim(struct client *client, const struct http1_head *head);
char *rewrite_own_fields(struct client *client,
                         char *at); /* Date, Connection, X-Request-ID of answers made here */
char *rewrite_u64(char *at, uint64_t value);
static inline char *rewrite_slice(char *at, struct slice s)
{
    if (s.len) /* an empty slice may have no address, which memcpy must not see */
        memcpy(at, s.ptr, s.len);
    return at + s.len;
}
#define PUT(at, literal) rewrite_slice((at), SLICE(literal))
#define EDGE_ADDED_MAX   8192u /* what rewriting may add to a header block */

static inline void count_u64(uint64_t *counter, uint64_t change) /* the edge is the only writer */
{
    __atomic_store_n(counter, *counter + change, __ATOMIC_RELAXED);
}

static inline void count_u32(uint32_t *counter, uint32_t value)
{
    __atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

static inline uint64_t edge_after_ms(const struct edge *edge, uint32_t milliseconds)
{
    return loop_now_us(edge->loop) + (uint64_t)milliseconds * EDGE_MS;
}

/* upstream.c */
void upstream_dispatch(struct client *client); /* QUEUED → FORWARDED, or answered with an error */
void upstream_release(struct upstream *upstream); /* the answer is complete: pool or close */
void upstream_close(struct upstream *upstream);
/* The upstream of a request broke. Queue the request again or answer it. `reason` for the record.
 */
void upstream_failed(struct upstream *upstream, unsigned status, const char *reason);
void upstream_timed_out(struct client *client);
/* Go on with what stands before the request. False: it waits, or failed. */
bool upstream_open(struct upstream *upstream);
/* The peer did not so much as look at the request. */
void upstream_refused(struct upstream *upstream);
struct upstream *upstream_allocate(struct edge *edge, struct endpoint *endpoint);
void upstream_set_state(struct upstream *upstream, enum upstream_state state);
void upstream_expire_idle(struct edge *edge);
void upstream_close_idle(struct endpoint *endpoint);
void upstream_bury(struct edge *edge);

/* forward.c */
void forward_request(struct client *client);  /* client → upstream, as far as it goes */
void forward_response(struct client *client); /* upstream → client, as far as it goes */
void forward_discard(struct client *client);  /* read and drop the rest of a request body */

/* stream.c */
void stream_pool_trim(struct http2_pool *pool);

/* http2_upstream.c */
void http2_upstream_close_idle(struct endpoint *endpoint);
void http2_upstream_bury(struct edge *edge);

/* http2_client.c */
void http2_client_begin(struct client *client); /* a connection: from here on it speaks HTTP/2 */
void http2_client_move(struct client *client);
void http2_client_timed_out(struct client *client);
void http2_client_drain(struct client *client);        /* GOAWAY; closes after the last stream */
void http2_client_served(const struct client *client); /* a stream: its request was answered */
bool http2_client_is_idle(const struct client *client);
void http2_client_close(struct client *client);
void http2_client_free(struct client *client);
/* A stream: the header block of an answer, as HTTP/1.1 text. `ends`: there is no body. */
void http2_answer_head(struct client *client, struct slice text, bool is_interim, bool ends);
char *http2_put_websocket_key(struct client *client, char *at);
/* The upstream's 101 belongs to the key that was put. */
bool http2_websocket_is_accepted(const struct client *client, const struct http1_head *head);
bool http2_is_tunnel_asked(const struct client *client); /* by an extended CONNECT */
void http2_answer_local(struct client *client); /* that of an answer of ours, from client.output */

/* opening.c */
enum opening_result { OPENING_DONE, OPENING_WAITS, OPENING_FAILED };
void opening_compile(struct edge *edge, struct table *table);
void opening_release(struct table *table);
/* What the request's route asks for. */
struct verification verification_of(const struct request *request);
bool verification_fits(const struct verification *verification, const struct request *request);
void verification_release(struct verification *verification);
/* For a connection that this client's request needs; NULL: nothing stands before the request. The
 * verification is the connection's, which outlives this. */
struct opening *opening_new(const struct client *client, const struct verification *verification);
void opening_free(struct opening *opening); /* NULL allowed */
/* After each event of the transport. FAILED: *ret_reason, which lasts. */
enum opening_result opening_advance(struct opening *opening, struct transport *transport,
                                    const char **ret_reason);

/* tunnel.c */
void tunnel_begin(struct client *client);
void tunnel_move(struct client *client);

/* answer.c */
void answer_error(struct client *client, unsigned status, const char *reason);
void answer_static(struct client *client);
void answer_redirect(struct client *client, struct slice location); /* "Location: …CRLF" */
void answer_text(struct client *client, struct slice text);         /* 200 */
void answer_options(struct client *client); /* OPTIONS * and Max-Forwards: 0 */
/* Take back an answer of which not a byte was written yet. False: some was. */
bool answer_withdraw(struct client *client);
void answer_move(struct client *client); /* go on sending a LOCAL answer */

/* endpoint.c */
struct endpoint *endpoint_find(struct edge *edge, uint64_t instance);
struct endpoint *endpoint_new(struct edge *edge, const struct snapshot *snapshot,
                              const struct snapshot_endpoint *spec);
void endpoint_update(struct endpoint *endpoint, const struct snapshot *snapshot,
                     const struct snapshot_endpoint *spec);
void endpoint_unlist(struct endpoint *endpoint);
/* A socket that is connecting, or -1 with errno. */
int endpoint_connect(const struct endpoint *endpoint);
void endpoint_hold(struct endpoint *endpoint);
void endpoint_drop(
    struct endpoint *endpoint); /* a connection or request lets go; frees what nobody names */
void endpoint_in_flight(struct endpoint *endpoint, int change);
void endpoint_tunnels(struct endpoint *endpoint, int change);
void endpoint_check_drained(struct endpoint *endpoint);
void endpoint_count_failure(struct endpoint *endpoint);
struct endpoint *endpoint_pick(struct edge *edge, const struct service *service,
                               const struct endpoint *avoided, bool is_tunnel);

/* table.c */
MUST_USE int table_open(struct edge *edge, int fd, struct table **ret_table, struct error *err);
/* Go on compiling for a moment. True: all of it is done, the table can be adopted. */
bool table_compile_step(struct table *table, uint64_t budget_us);
void table_adopt(struct edge *edge, struct table *table); /* becomes the present one */
struct table *table_ref(struct table *table);
void table_unref(struct table *table); /* NULL allowed */

/* table_tls.c */
bool table_tls_step(struct table *table, uint64_t end_us); /* as table_compile_step; monotonic */
void table_tls_done(struct table *table);

/* access.c */
void access_start(struct edge *edge, int fd);
void access_append(struct edge *edge, const struct client *client);
void access_flush(struct edge *edge);
void access_stop(struct edge *edge);

/* path.c */
/* Normalise `path` (begins with '/', a query may follow) in place. out: the result (its end is
 * where it was), and the length of the path part. NULL, or why it is refused. */
const char *path_normalise(char *bytes, size_t len, struct slice *ret_path, size_t *ret_path_bytes);
/* Lower case, no final dot of the name; in place. */
struct slice host_normalise(struct slice host);
struct slice host_name(struct slice host); /* without the port */

#endif
