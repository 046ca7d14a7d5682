/* vault.h - the private keys that the signer has: a key set as it came, and those of it that were
 * used, ready to sign.
 *
 * A key is read when it is first asked for; few of thousands are busy, and each that is ready
 * takes some kilobytes. A new set replaces the old one as a whole: ready keys that it does not have
 * any more are wiped, so are the old one's bytes here.
 */
#ifndef SIGNER_VAULT_H
#define SIGNER_VAULT_H

#include "base/error.h"
#include "net/private_key.h"

#define VAULT_READY_MAX 4096u /* keys ready to sign; the longest unused makes room */

struct vault;

struct vault *vault_new(void);
void vault_free(struct vault *vault); /* NULL allowed */

/* Take the set in a sealed memfd (the caller's to close). ERR_INVALID, ERR_VERSION: it is no key
 * set, the one before stays in use. */
MUST_USE int vault_replace(struct vault *vault, int fd, struct error *err);
uint64_t vault_version(const struct vault *vault); /* of the set in use; 0: none */

/* Try to read some more keys of a new set, for about `budget_us`; those that were in the set before
 * are known to be good. True when all were tried. */
bool vault_try_keys(struct vault *vault, uint64_t budget_us);
uint32_t vault_refused(const struct vault *vault); /* keys that could not be read, so far */

/* ERR_NOT_FOUND: no such key; ERR_INVALID: it cannot sign this. */
MUST_USE int vault_sign(struct vault *vault, const uint8_t id[PEER_KEY_ID_BYTES],
                        enum peer_sign_kind kind, struct slice bytes,
                        uint8_t ret_signature[PEER_SIGNATURE_MAX], size_t *ret_len);

#endif
