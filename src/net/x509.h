/* x509.h - keys, certificates and signatures for control: what certificates say, certificates of
 * our own authority, signing requests, JSON Web Signatures for ACME.
 *
 * By OpenSSL. Keys travel as PKCS #8 PEM; texts with keys are the caller's to wipe (buf_wipe).
 * Nothing here touches files or the network. Slow calls (RSA key generation: up to a second) say
 * so.
 */
#ifndef NET_X509_H
#define NET_X509_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/peer_protocol.h"
#include "base/slice.h"
#include <stdbool.h>

struct x509_facts {     /* texts in the caller's arena */
    const char **names; /* DNS names and addresses of subjectAltName, lower case */
    size_t name_count;
    const char *subject, *issuer;   /* RFC 2253 */
    const char *serial;             /* hexadecimal */
    uint64_t not_before, not_after; /* seconds since 1970 */
    uint8_t key_id[PEER_KEY_ID_BYTES];
    const char *key_kind; /* "ECDSA P-256", "RSA 2048", "Ed25519" */
    const char *ocsp_url; /* NULL: no responder */
    bool is_must_staple;
    const char *ari_id; /* RFC 9773 certificate identifier; NULL: it has no key identifier */
    bool is_authority;
};

/* The facts of the first certificate of a PEM chain. ERR_INVALID: what is wrong with it. */
MUST_USE int x509_read(struct slice chain_pem, struct arena *arena, struct x509_facts *ret_facts,
                       struct error *err);
/* Whether a name of a certificate stands for `host` (both lower case): the same, or "*." for one
 * label of it (RFC 9525 §6.3). A host that is a wildcard itself is covered by the same one only. */
bool x509_name_covers(struct slice name, struct slice host);
/* A private key in any PEM form (PKCS #1, SEC 1, PKCS #8; not encrypted): its id and PKCS #8 DER.
 * ERR_INVALID. Error texts never show it. */
MUST_USE int x509_read_key(struct slice key_pem, uint8_t ret_id[PEER_KEY_ID_BYTES],
                           struct buf *ret_der, struct error *err);

MUST_USE int x509_make_key(struct buf *ret_pem, struct error *err); /* ECDSA P-256 */

/* A signing request for these names (the first one is also the common name when it fits), DER. */
MUST_USE int x509_make_request(struct slice key_pem, const char *const *names, size_t name_count,
                               struct buf *ret_der, struct error *err);

/* The local authority: a root certificate for `name` that may sign leaves only (path length 0). */
MUST_USE int x509_make_authority(struct slice key_pem, const char *name, uint64_t lifetime_s,
                                 struct buf *ret_pem, struct error *err);
/* A leaf for server authentication, signed by the authority. */
MUST_USE int x509_make_leaf(struct slice authority_pem, struct slice authority_key_pem,
                            struct slice key_pem, const char *const *names, size_t name_count,
                            uint64_t lifetime_s, struct buf *ret_pem, struct error *err);
/* The self-signed certificate that answers a TLS-ALPN-01 challenge (RFC 8737 §3). */
MUST_USE int x509_make_challenge(struct slice key_pem, const char *name, const uint8_t digest[32],
                                 struct buf *ret_pem, struct error *err);

/* ---- OCSP */

/* A request for the first certificate of the chain, issued by the second; DER. */
MUST_USE int x509_ocsp_request(struct slice chain_pem, struct buf *ret_der, struct error *err);
/* Check an answer: signed by the issuer, for this certificate, status good, within its time. */
MUST_USE int x509_ocsp_check(struct slice chain_pem, struct slice answer_der, uint64_t now,
                             uint64_t *ret_next_update, struct error *err);

/* ---- JSON Web Signature (RFC 7515, ES256; HS256 for external account binding) */

void x509_base64url(struct slice bytes, struct buf *ret_text);
/* {"crv","kty","x","y"} of an ECDSA P-256 key, members in the order of RFC 7638. */
MUST_USE int x509_jwk(struct slice key_pem, struct buf *ret_json, struct error *err);
/* SHA-256 of the JWK, base64url. */
MUST_USE int x509_thumbprint(struct slice key_pem, struct buf *ret_text, struct error *err);
/* {"protected","payload","signature"}, flattened; `header_json` is the protected header. */
MUST_USE int x509_jws(struct slice key_pem, struct slice header_json, struct slice payload,
                      struct buf *ret_json, struct error *err);
MUST_USE int x509_jws_hmac(struct slice key, struct slice header_json, struct slice payload,
                           struct buf *ret_json, struct error *err);

#endif
