/* openssl_private.h - what the files that speak to OpenSSL share: its errors, PEM, kinds of keys.
 */
#ifndef NET_OPENSSL_PRIVATE_H
#define NET_OPENSSL_PRIVATE_H

#include "base/error.h"
#include "base/peer_protocol.h"
#include "base/slice.h"
#include <openssl/evp.h>
#include <openssl/x509.h>

#define OPENSSL_RSA_BITS_MIN 2048
#define OPENSSL_RSA_BITS_MAX 4096 /* PEER_SIGN_BYTES_MAX */

/* A short text for the first error of OpenSSL's queue, NULL when it is empty; the queue is empty
 * afterwards. The text is static. */
const char *openssl_error_take(void);
/* "context: reason"; the queue is empty afterwards. Returns `code`. */
int openssl_error_set(struct error *err, int code, const char *context);
#ifdef __clang_analyzer__ /* as for error_set: it never returns 0 */
#define openssl_error_set(err, code, context) (openssl_error_set((err), (code), (context)), (code))
#endif

/* All certificates of a PEM text; ERR_INVALID when there is none, one is damaged, or they are more
 * than `max`. The caller frees with sk_X509_pop_free. */
MUST_USE int openssl_certificates(struct slice pem, size_t max, STACK_OF(X509) * *ret_certificates,
                                  struct error *err);

/* A store of the authorities in a PEM text, for the caller to free. One that is no root is an
 * authority all the same: who names it trusts it. ERR_INVALID as above. ret_certificates (NULL
 * allowed): what is in the store, in the order of the text; freed as above. */
MUST_USE int openssl_authorities(struct slice pem, X509_STORE **ret_store,
                                 STACK_OF(X509) * *ret_certificates, struct error *err);

/* SHA-256 of the SubjectPublicKeyInfo. */
bool openssl_key_id(EVP_PKEY *key, uint8_t ret_id[PEER_KEY_ID_BYTES]);
/* The same, cheaper: it is in the certificate as it is. */
bool openssl_certificate_key_id(const X509 *certificate, uint8_t ret_id[PEER_KEY_ID_BYTES]);
const char *openssl_key_kind(EVP_PKEY *key); /* "ECDSA P-256"; static */
/* 0, or ERR_INVALID: not of a kind that is served. */
MUST_USE int openssl_key_check(EVP_PKEY *key, struct error *err);

#endif
