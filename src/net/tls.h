/* tls.h - TLS 1.2 and 1.3 on sockets, by OpenSSL; servers whose private keys are elsewhere, clients
 * that verify.
 *
 * Why behind one door: OpenSSL is included by net alone, so that its types, its error queue and its
 * habits stay here, and another library can take its place. Shape: a tls_server is everything that
 * connections of one routing table share (contexts, certificates, ticket keys); a table that
 * replaces it makes a new one, connections hold a reference to theirs. A struct tls is one
 * connection on a non-blocking socket that stays the caller's. No private key is in this process:
 * the handshake stops with TLS_WANT_SIGNATURE, the caller has it signed (base/peer_protocol.h,
 * PEER_SIGN) and goes on. It also stops with TLS_WANT_CERTIFICATE when the name is one that a
 * certificate could still be obtained for. Threads: one. Design and figures: docs/design/tls.md
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "base/error.h"
#include "base/peer_protocol.h"
#include "base/slice.h"
#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

/* ---- servers */

struct tls_server;

#define TLS_TICKET_KEY_BYTES 80u /* name 16, AES-256 32, HMAC-SHA-256 32 */
#define TLS_TICKET_KEYS_MAX  4u  /* the first one encrypts, all decrypt */

struct tls_certificate_spec {
    struct slice chain_pem; /* leaf first */
    uint8_t key_id[PEER_KEY_ID_BYTES];
    struct slice ocsp_der; /* to staple; empty: none */
};

/* What a name gets. Two names may share a connection (HTTP/2 coalescing) when certificate and
 * client_ca are equal. */
struct tls_name_spec {
    struct slice name; /* lower case; "*.example.org": exactly one label more; "": any other name */
    uint32_t certificate; /* index from tls_server_certificate; TLS_NO_CERTIFICATE: none (yet) */
    uint32_t client_ca;   /* index from tls_server_client_ca; TLS_NO_CLIENT_CA: clients show none */
    bool is_on_demand;    /* without a certificate: TLS_WANT_CERTIFICATE instead of an alert */
    bool is_tls13_only;
    bool is_http2; /* ALPN offers h2 */
};
#define TLS_NO_CERTIFICATE UINT32_MAX
#define TLS_NO_CLIENT_CA   UINT32_MAX

MUST_USE int tls_server_new(struct tls_server **ret_server, struct error *err);
/* ERR_INVALID: the chain is not PEM. It is parsed at its first handshake, which fails when the
 * chain is damaged, its key is of a kind that is not served, or is not `key_id`: one bad
 * certificate does not keep a table with thousands from being used. Parsed once a process, whatever
 * the tables. */
MUST_USE int tls_server_certificate(struct tls_server *server,
                                    const struct tls_certificate_spec *spec, uint32_t *ret_index,
                                    struct error *err);
MUST_USE int tls_server_client_ca(struct tls_server *server, struct slice ca_pem,
                                  uint32_t *ret_index, struct error *err);
MUST_USE int tls_server_name(struct tls_server *server, const struct tls_name_spec *spec,
                             struct error *err);
/* The certificate that answers ALPN "acme-tls/1" for this name (RFC 8737), and nothing else. */
MUST_USE int tls_server_challenge(struct tls_server *server, struct slice name,
                                  uint32_t certificate, struct error *err);
/* keys: count × TLS_TICKET_KEY_BYTES. Without: no resumption. */
MUST_USE int tls_server_ticket_keys(struct tls_server *server, struct slice keys,
                                    struct error *err);
struct tls_server *tls_server_ref(struct tls_server *server);
void tls_server_unref(struct tls_server *server); /* NULL allowed */

/* ---- clients (upstreams that speak TLS) */

struct tls_client;

struct tls_client_spec {
    struct slice ca_pem; /* empty: the system's */
    bool is_unverified;  /* encrypts, proves nothing */
    bool is_http2;       /* offer h2, else http/1.1 */
};
/* Sessions are kept and used again, by server name and address. */
MUST_USE int tls_client_new(const struct tls_client_spec *spec, struct tls_client **ret_client,
                            struct error *err);
void tls_client_unref(struct tls_client *client); /* NULL allowed; connections have their own */

/* ---- connections */

struct tls;

enum tls_result {
    TLS_DONE,
    TLS_WANT_READ,
    TLS_WANT_WRITE,
    TLS_WANT_SIGNATURE,   /* see tls_sign_request */
    TLS_WANT_CERTIFICATE, /* see tls_name; call again with tls_server_switch after a new table */
    TLS_FAILED,           /* see tls_failure; an alert went out where one is due */
};

/* `fd` is borrowed. `client`'s connection verifies `server_name` (a name or an address). */
MUST_USE int tls_accept(struct tls_server *server, int fd, struct tls **ret_tls, struct error *err);
MUST_USE int tls_connect(struct tls_client *client, int fd, const char *server_name,
                         struct tls **ret_tls, struct error *err);
/* Says goodbye (close_notify) when there is room for it and the connection is healthy; never
 * blocks. The socket must still be open. */
void tls_free(struct tls *tls); /* NULL allowed */
/* From here on nothing is said any more: what the peer got must not look complete to it. Then
 * tls_free. */
void tls_abort(struct tls *tls);

/* Call until DONE; after each WANT once what it wants is there. */
enum tls_result tls_handshake(struct tls *tls);

struct tls_sign_request {
    enum peer_sign_kind kind;
    uint8_t key_id[PEER_KEY_ID_BYTES];
    const uint8_t *bytes; /* valid until the answer */
    size_t len;
};
const struct tls_sign_request *tls_sign_request(const struct tls *tls);
/* An empty signature: it was refused, the handshake fails. Then call tls_handshake again. */
void tls_sign_answer(struct tls *tls, struct slice signature);
/* TLS_WANT_CERTIFICATE: look again, in this server. */
void tls_server_switch(struct tls *tls, struct tls_server *server);

#define TLS_WRITE_BYTES (80u * 1024u) /* what one tls_write takes at most, in five records */

/* Bytes read (> 0; of several records where they are there), TLS_END: the peer said that it is done
 * (close_notify), TLS_AGAIN, TLS_BROKEN: reset, protocol error, or an end of file without
 * close_notify. */
enum { TLS_END = 0, TLS_AGAIN = -1, TLS_BROKEN = -2 };
ssize_t tls_read(struct tls *tls, char *bytes, size_t len);
/* Takes from the parts as many bytes as the socket takes in whole records, up to
 * TLS_WRITE_BYTES in one write(2); the count, TLS_AGAIN or TLS_BROKEN. A short count below that
 * means that the socket is full. After AGAIN or a short count the same bytes must come again first
 * (they may have moved). Without parts: only what waits goes on; 0 when all of it is out. */
ssize_t tls_write(struct tls *tls, const struct iovec *parts, int count);
/* Decrypted or received bytes wait in here: epoll will not tell of them. */
bool tls_has_pending(const struct tls *tls);
/* The last read(2) emptied the socket and nothing is pending: tls_read would answer AGAIN until
 * epoll speaks again. Does not hold once the peer has ended its side (EPOLLRDHUP). */
bool tls_is_drained(const struct tls *tls);
/* Encrypted bytes wait for room in the socket, and may be of no tls_write (answers to key updates,
 * close_notify): when it is writable, call tls_write, with nothing if there is nothing. */
bool tls_wants_write(const struct tls *tls);
/* close_notify; the other direction goes on. */
void tls_finish(struct tls *tls);

/* ---- what is known of a connection; slices live as long as it */

struct slice tls_name(const struct tls *tls); /* server: SNI in lower case, "" when none was sent */
bool tls_is_http2(const struct tls *tls);
bool tls_is_challenge(const struct tls *tls); /* "acme-tls/1": close after the handshake */
/* True when a request for this host (lower case, no port) may be answered on this connection. */
bool tls_covers(const struct tls *tls, struct slice host);
/* Client certificate: RFC 2253 subject, "" when none was shown or its chain does not verify.
 * Fingerprint: SHA-256, 64 hexadecimal digits. */
struct slice tls_client_subject(const struct tls *tls);
struct slice tls_client_fingerprint(const struct tls *tls);
const char *tls_version(const struct tls *tls); /* "TLSv1.3" */
const char *tls_cipher(const struct tls *tls);
bool tls_is_resumed(const struct tls *tls);
const char *
tls_failure(const struct tls *tls); /* short, static or owned by `tls`; never a secret */

#endif
