/* signer_keys.h - keys, and sets of them, for the tests of this folder. */
#ifndef TEST_SIGNER_KEYS_H
#define TEST_SIGNER_KEYS_H

#include "unit.h"

#include "net/keyset.h"
#include "net/x509.h"
#include "os/memory.h"
#include <unistd.h>

struct made_key {
    struct buf pem, der;
    uint8_t id[PEER_KEY_ID_BYTES];
};

static inline struct made_key key_make(void)
{
    struct made_key key = {.pem = BUF_INIT(8192), .der = BUF_INIT(8192)};

    assert_int_equal(x509_make_key(&key.pem, NULL), 0);
    assert_int_equal(x509_read_key(buf_slice(&key.pem), key.id, &key.der, NULL), 0);
    return key;
}

static inline void key_done(struct made_key *key)
{
    buf_wipe(&key->pem);
    buf_wipe(&key->der);
}

/* A sealed memfd with these keys. */
static inline int keys_fd(const struct made_key *keys, size_t count, uint64_t version)
{
    struct keyset_key list[8];
    struct buf block = BUF_INIT(65536);
    int fd;

    assert_true(count <= ARRAY_LEN(list));
    for (size_t i = 0; i < count; i++) {
        memcpy(list[i].id, keys[i].id, PEER_KEY_ID_BYTES);
        list[i].der = buf_slice(&keys[i].der);
    }
    assert_int_equal(keyset_build(list, count, version, &block, NULL), 0);
    assert_int_equal(memory_sealed("keys", buf_slice(&block), &fd, NULL), 0);
    buf_wipe(&block);
    return fd;
}

#endif
