/* keyset.h - the private keys of all certificates as control hands them to the signer: one sealed
 * block, replaced as a whole.
 *
 * Layout (native, both ends are on one machine): header, then entries, then the keys as PKCS #8
 * DER. The block is secret: it exists in the store, in control's memory while it is made, in a
 * memfd that the keeper holds ("keys"), and in the signer.
 */
#ifndef NET_KEYSET_H
#define NET_KEYSET_H

#include "base/buf.h"
#include "base/error.h"
#include "base/peer_protocol.h"
#include "base/slice.h"

#define KEYSET_MAGIC     0x534c4b53u
#define KEYSET_VERSION   1u
#define KEYSET_KEYS_MAX  65536u
#define KEYSET_KEY_MAX   8192u /* DER bytes of one key */
#define KEYSET_BYTES_MAX (64u * 1024u * 1024u)

struct keyset_entry {
    uint8_t id[PEER_KEY_ID_BYTES];
    uint32_t offset, len; /* of the DER from the block's start */
};

struct keyset_header {
    uint32_t magic, format_version;
    uint64_t version; /* = peer_keys.version */
    uint32_t count, reserved;
    uint64_t total_bytes;
};

struct keyset {
    const struct keyset_header *header;
    const struct keyset_entry *entries; /* sorted by id, unique */
    const uint8_t *block;
};

/* Check every bound and the order. ERR_INVALID, ERR_VERSION. The block must be 8-byte aligned. */
MUST_USE int keyset_open(const void *block, size_t size, struct keyset *ret_keyset,
                         struct error *err);
/* DER of the key, empty when it is not there. */
struct slice keyset_find(const struct keyset *keyset, const uint8_t id[PEER_KEY_ID_BYTES]);

struct keyset_key {
    uint8_t id[PEER_KEY_ID_BYTES];
    struct slice der;
};
/* Append the block to `block` (wipe it after use). Keys are sorted in place; equal ids are kept
 * once. */
MUST_USE int keyset_build(struct keyset_key *keys, size_t count, uint64_t version,
                          struct buf *block, struct error *err);

#endif
