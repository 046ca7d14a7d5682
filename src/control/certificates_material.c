/* certificates_material.c - a chain with its key, and what people want to know of it. */
#include "base/clock.h"
#include "control/certificates_private.h"
#include <sys/stat.h>

void material_free(struct material *material)
{
    if (!material)
        return;
    free(material->chain);
    buf_wipe(&material->key_der);
    free(material->issuer);
    free(material->key_kind);
    free(material->names);
    free(material->ocsp_url);
    buf_done(&material->ocsp);
    free(material);
}

static void take_facts(struct material *material, const char *host, const struct x509_facts *facts)
{
    struct buf names = BUF_INIT(65536);

    material->covers_host = host[0] == '\0';
    for (size_t i = 0; i < facts->name_count; i++) {
        buf_printf(&names, "%s%s", i ? ", " : "", facts->names[i]);
        material->covers_host = material->covers_host ||
                                x509_name_covers(slice_from(facts->names[i]), slice_from(host));
    }
    material->names = buf_take(&names);
    material->not_before = facts->not_before;
    material->not_after = facts->not_after;
    material->issuer = strdup(facts->issuer);
    material->key_kind = strdup(facts->key_kind);
    material->ocsp_url = facts->ocsp_url ? strdup(facts->ocsp_url) : NULL;
    memcpy(material->key_id, facts->key_id, sizeof material->key_id);
}

int material_make(const char *host, struct slice chain, struct slice key_pem,
                  struct material **ret_material, struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new((size_t)4 * 1024 * 1024);
    uint8_t key_id[PEER_KEY_ID_BYTES];
    struct material *material;
    struct x509_facts facts;
    int code = x509_read(chain, arena, &facts, err);

    if (code != 0)
        return code;
    material = calloc(1, sizeof *material);
    if (!material)
        abort();
    material->key_der = BUF_INIT(65536);
    material->ocsp = BUF_INIT(65536);
    take_facts(material, host, &facts);
    material->chain = strndup(chain.ptr, chain.len);
    material->chain_len = chain.len;
    code = x509_read_key(key_pem, key_id, &material->key_der, err);
    if (code == 0 && memcmp(key_id, facts.key_id, sizeof key_id) != 0) {
        code = error_set(err, ERR_INVALID, "the private key is not that of the certificate");
        error_hint(err, "both files must be replaced; until they match, the pair before is used");
    }
    if (code != 0) {
        material_free(material);
        return code;
    }
    *ret_material = material;
    return 0;
}

bool material_is_expired(const struct material *material)
{
    return material->not_after < clock_wall_us() / 1000000;
}

uint64_t material_renewal_s(const struct material *material)
{
    return material->not_before + (material->not_after - material->not_before) / 3 * 2;
}

struct file_stamp file_stamp_of(const char *path)
{
    struct stat stat_now;

    if (stat(path, &stat_now) != 0)
        return (struct file_stamp){0};
    return (struct file_stamp){
        .inode = (uint64_t)stat_now.st_ino,
        .size = (uint64_t)stat_now.st_size,
        .modified_ns =
            (uint64_t)stat_now.st_mtim.tv_sec * 1000000000u + (uint64_t)stat_now.st_mtim.tv_nsec,
        .changed_ns =
            (uint64_t)stat_now.st_ctim.tv_sec * 1000000000u + (uint64_t)stat_now.st_ctim.tv_nsec,
    };
}

bool file_stamp_eq(const struct file_stamp *a, const struct file_stamp *b)
{
    return a->inode == b->inode && a->size == b->size && a->modified_ns == b->modified_ns &&
           a->changed_ns == b->changed_ns;
}
