/* private_key.h - a private key and its one use: signing what an edge asks for (PEER_SIGN).
 *
 * For the signer role, and for tests that take its place. Keys are checked when loaded, blinded
 * when used (RSA), wiped when freed.
 */
#ifndef NET_PRIVATE_KEY_H
#define NET_PRIVATE_KEY_H

#include "base/error.h"
#include "base/peer_protocol.h"
#include "base/slice.h"

struct private_key;

/* Everything that OpenSSL opens, reads or looks up is done once here, so that nothing of it is left
 * for later (the filter of system calls). */
MUST_USE int private_key_init(struct error *err);
/* PKCS #8 DER. ERR_INVALID: no key of a kind that is served, or its public half is not `id`. */
MUST_USE int private_key_load(struct slice der, const uint8_t id[PEER_KEY_ID_BYTES],
                              struct private_key **ret_key, struct error *err);
void private_key_free(struct private_key *key); /* NULL allowed */
/* ERR_INVALID: the kind is not this key's, or the bytes are not as PEER_SIGN says. */
MUST_USE int private_key_sign(struct private_key *key, enum peer_sign_kind kind, struct slice bytes,
                              uint8_t ret_signature[PEER_SIGNATURE_MAX], size_t *ret_len);

#endif
