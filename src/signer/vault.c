#include "signer/vault.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "net/keyset.h"
#include "os/memory.h"
#include <sys/mman.h>

struct block { /* a mapped key set */
    void *base;
    size_t size;
    struct keyset keyset;
};

struct ready {
    struct list node; /* vault.used, the latest first */
    uint8_t id[PEER_KEY_ID_BYTES];
    struct private_key *key;
};

struct vault {
    struct block present, previous; /* `previous` while keys of `present` are tried */
    uint32_t tried, refused;
    struct map *ready;
    struct list used;
};

static void block_done(struct block *block)
{
    memory_unmap(block->base, block->size);
    *block = (struct block){0};
}

static struct slice block_find(const struct block *block, const uint8_t *id)
{
    return block->base ? keyset_find(&block->keyset, id) : (struct slice){0};
}

static struct slice id_slice(const uint8_t *id)
{
    return (struct slice){(const char *)id, PEER_KEY_ID_BYTES};
}

static void ready_free(struct vault *vault, struct ready *ready)
{
    (void)map_remove(vault->ready, id_slice(ready->id));
    list_remove(&ready->node);
    private_key_free(ready->key);
    free(ready);
}

struct vault *vault_new(void)
{
    struct vault *vault = calloc(1, sizeof(*vault));

    if (!vault)
        abort();
    list_init(&vault->used);
    vault->ready = map_new(VAULT_READY_MAX);
    return vault;
}

void vault_free(struct vault *vault)
{
    if (!vault)
        return;
    list_each_safe (node, &vault->used)
        ready_free(vault, container_of(node, struct ready, node));
    map_free(vault->ready);
    block_done(&vault->present);
    block_done(&vault->previous);
    free(vault);
}

int vault_replace(struct vault *vault, int fd, struct error *err)
{
    struct block block = {0};
    int code = memory_map(fd, false, true, &block.base, &block.size, err);

    if (code != 0)
        return code;
    (void)madvise(block.base, block.size, MADV_DONTDUMP);
    code = keyset_open(block.base, block.size, &block.keyset, err);
    if (code != 0) {
        block_done(&block);
        return code;
    }
    /* A set that was not tried to its end proves nothing of its keys. */
    block_done(&vault->previous);
    if (vault->present.base && vault->tried == vault->present.keyset.header->count)
        vault->previous = vault->present;
    else
        block_done(&vault->present);
    vault->present = block;
    vault->tried = vault->refused = 0;
    list_each_safe (node, &vault->used) {
        struct ready *ready = container_of(node, struct ready, node);

        if (block_find(&vault->present, ready->id).len == 0)
            ready_free(vault, ready);
    }
    return 0;
}

uint64_t vault_version(const struct vault *vault)
{
    return vault->present.base ? vault->present.keyset.header->version : 0;
}

uint32_t vault_refused(const struct vault *vault)
{
    return vault->refused;
}

static void try_key(struct vault *vault, const struct keyset_entry *entry)
{
    struct slice der = block_find(&vault->present, entry->id);
    struct slice before = block_find(&vault->previous, entry->id);
    struct error err = {0};
    struct private_key *key;

    if (slice_eq(der, before))
        return;
    if (private_key_load(der, entry->id, &key, &err) == 0) {
        private_key_free(key);
        return;
    }
    vault->refused++;
    log_failure(&err, "the key %02x%02x%02x%02x… of the set is not used", entry->id[0],
                entry->id[1], entry->id[2], entry->id[3]);
}

bool vault_try_keys(struct vault *vault, uint64_t budget_us)
{
    uint64_t end_us = clock_monotonic_us() + budget_us;
    uint32_t count = vault->present.base ? vault->present.keyset.header->count : 0;

    while (vault->tried < count && clock_monotonic_us() < end_us)
        try_key(vault, &vault->present.keyset.entries[vault->tried++]);
    if (vault->tried < count)
        return false;
    block_done(&vault->previous);
    return true;
}

static int make_ready(struct vault *vault, const uint8_t *id, struct ready **ret_ready)
{
    struct slice der = block_find(&vault->present, id);
    struct ready *ready;
    struct private_key *key;
    int code;

    if (der.len == 0)
        return ERR_NOT_FOUND;
    code = private_key_load(der, id, &key, NULL);
    if (code != 0)
        return code;
    if (map_count(vault->ready) >= VAULT_READY_MAX)
        ready_free(vault, container_of(vault->used.previous, struct ready, node));
    ready = calloc(1, sizeof(*ready));
    if (!ready)
        abort();
    ready->key = key;
    memcpy(ready->id, id, PEER_KEY_ID_BYTES);
    list_init(&ready->node);
    code = map_put(vault->ready, id_slice(id), ready);
    assert(code == 0);
    *ret_ready = ready;
    return 0;
}

int vault_sign(struct vault *vault, const uint8_t id[PEER_KEY_ID_BYTES], enum peer_sign_kind kind,
               struct slice bytes, uint8_t ret_signature[PEER_SIGNATURE_MAX], size_t *ret_len)
{
    struct ready *ready = map_get(vault->ready, id_slice(id));

    if (!ready) {
        int code = make_ready(vault, id, &ready);

        if (code != 0)
            return code;
    }
    list_remove(&ready->node);
    list_push_front(&vault->used, &ready->node);
    return private_key_sign(ready->key, kind, bytes, ret_signature, ret_len);
}
