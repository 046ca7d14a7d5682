/* certificates_internal.c - the local authority: a root of this machine, made at first use, and
 * leaves that live a week. `slipway trust` hands the root out. */
#include "base/clock.h"
#include "base/log.h"
#include "control/certificates_private.h"
#include <stdio.h>
#include <unistd.h>

#define ROOT_LIFETIME_S (10ull * 365 * 86400)
#define LEAF_LIFETIME_S (7ull * 86400)
#define RETRY_MS        60000u

int certificates_authority_make(struct certificates *all, struct error *err)
{
    struct buf pem = BUF_INIT(65536);
    char machine[128] = "", name[65];
    int code;

    if (all->authority_pem)
        return 0;
    (void)gethostname(machine, sizeof machine - 1);
    /* As much of it as fits into a common name (RFC 5280, ub-common-name: 64). */
    (void)snprintf(name, sizeof name, "Slipway local authority (%.38s)", machine);
    buf_wipe(&all->authority_key);
    code = x509_make_key(&all->authority_key, err);
    if (code == 0)
        code =
            x509_make_authority(buf_slice(&all->authority_key), name, ROOT_LIFETIME_S, &pem, err);
    if (code == 0) {
        all->authority_pem = buf_take(&pem);
        code = certificates_store_authority(all, err);
    }
    buf_done(&pem);
    if (code != 0) {
        free(all->authority_pem);
        all->authority_pem = NULL;
        return error_wrap(err, "unable to make the local authority");
    }
    log_info("the local authority is made: `slipway trust` shows it");
    return 0;
}

static bool is_by_authority(const struct certificates *all, const struct material *material)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new((size_t)1024 * 1024);
    struct x509_facts root;

    return all->authority_pem &&
           x509_read(slice_from(all->authority_pem), arena, &root, NULL) == 0 &&
           strcmp(root.subject, material->issuer) == 0;
}

static int make_leaf(struct certificate *certificate, struct buf *key_pem, struct buf *chain,
                     struct error *err)
{
    struct certificates *all = certificate->all;
    char machine[128] = "";
    const char *names[4] = {certificate->host};
    size_t count = 1;
    int code = certificates_authority_make(all, err);

    if (!certificate->host[0]) { /* any host: what this machine is called by itself */
        (void)gethostname(machine, sizeof machine - 1);
        names[0] = "localhost";
        names[count++] = "127.0.0.1";
        names[count++] = "::1";
        if (machine[0] && strcmp(machine, "localhost") != 0)
            names[count++] = machine;
    }
    if (code == 0)
        code = x509_make_key(key_pem, err);
    if (code == 0)
        code = x509_make_leaf(slice_from(all->authority_pem), buf_slice(&all->authority_key),
                              buf_slice(key_pem), names, count, LEAF_LIFETIME_S, chain, err);
    return code;
}

void certificate_issue(struct certificate *certificate)
{
    const struct material *now = certificate_newest(certificate);
    uint64_t second = clock_wall_us() / 1000000;
    struct buf key_pem = BUF_INIT(65536), chain = BUF_INIT(65536);
    struct material *material;
    struct error err = {0};
    int code;

    if (now && second < material_renewal_s(now) && second >= now->not_before && now->covers_host &&
        is_by_authority(certificate->all, now)) {
        /* The wall clock may be set meanwhile: look now and then. */
        certificate_work_in(certificate,
                            MIN((material_renewal_s(now) - second) * 1000, (uint64_t)3600000));
        return;
    }
    code = make_leaf(certificate, &key_pem, &chain, &err);
    if (code == 0)
        code = material_make(certificate->host, buf_slice(&chain), buf_slice(&key_pem), &material,
                             &err);
    if (code == 0) {
        certificate_succeeded(certificate);
        material->covers_host = true;
        certificate_offer(certificate, material, buf_slice(&key_pem));
    } else {
        certificate_failed(certificate, &err);
    }
    buf_wipe(&key_pem);
    buf_done(&chain);
    certificate_work_in(certificate, code == 0 ? 3600000u : RETRY_MS);
}
