/* certificates_files.c - files on the server, read when they change.
 *
 * A renewal replaces two files, in any order, perhaps by writing into them. So a pair is taken only
 * when key and certificate belong together and neither file changed while both were read; until
 * then the pair before serves. They are looked at every two seconds: that is as good as inotify for
 * who renews certificates, and works on every file system and through every kind of link. */
#include "base/clock.h"
#include "base/log.h"
#include "control/certificates_private.h"
#include "deploy/deploy.h"
#include "os/file.h"
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

/* Asked once: the user database may be slow, and files that cannot be read are tried again and
 * again. */
static const char *own_name(void)
{
    static char name[64];
    const struct passwd *user = name[0] ? NULL : getpwuid(geteuid());

    if (user)
        (void)snprintf(name, sizeof name, "%s", user->pw_name);
    else if (!name[0])
        (void)snprintf(name, sizeof name, "%u", (unsigned)geteuid());
    return name;
}

/* What an access list says counts for everyone but a file's owner. */
static bool is_own(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && status.st_uid == geteuid();
}

static int read_file(const char *path, struct buf *ret_content, struct error *err)
{
    int code = file_read(path, CERTIFICATE_FILE_BYTES, ret_content, err);

    if (code == ERR_PERMISSION && is_own(path))
        error_hint(err, "it belongs to the user '%s', as whom the platform runs: `chmod u+r '%s'`",
                   own_name(), path);
    else if (code == ERR_PERMISSION)
        error_hint(err,
                   "the platform runs as the user '%s', which may not read it; let it in: `sudo "
                   "setfacl -m u:%s:r '%s'`, and the same with x in place of r for each folder on "
                   "the way that is closed to others",
                   own_name(), own_name(), path);
    else if (code == ERR_NOT_FOUND)
        error_hint(err, "the path is one on the server, as its user sees it");
    return code;
}

static int read_pair(const char *host, const char *cert_path, const char *key_path,
                     struct buf *key_pem, struct material **ret_material, struct error *err)
{
    struct buf chain = BUF_INIT(CERTIFICATE_FILE_BYTES);
    int code = read_file(cert_path, &chain, err);

    if (code == 0)
        code = read_file(key_path, key_pem, err);
    if (code == 0)
        code = material_make(host, buf_slice(&chain), buf_slice(key_pem), ret_material, err);
    if (code == ERR_INVALID)
        error_wrap(err, "'%s' and '%s'", cert_path, key_path);
    buf_done(&chain);
    return code;
}

/* An expired pair does not replace one that is not. */
static int check_dates(const struct certificate *certificate, const struct material *material,
                       struct error *err)
{
    char text[CLOCK_TEXT_SIZE];

    if (!material_is_expired(material) || !certificate->serving ||
        material_is_expired(certificate->serving))
        return 0;
    return error_set(err, ERR_INVALID, "'%s' expired at %s", certificate->config.cert,
                     clock_format(material->not_after * 1000000, text));
}

static bool is_same(const struct material *a, const struct material *b)
{
    return a && a->chain_len == b->chain_len && memcmp(a->chain, b->chain, a->chain_len) == 0;
}

void certificate_look_at_files(struct certificate *certificate)
{
    const struct certificate_config *config = &certificate->config;
    struct file_stamp cert = file_stamp_of(config->cert), key = file_stamp_of(config->key);
    struct buf key_pem = BUF_INIT(CERTIFICATE_FILE_BYTES);
    struct material *material = NULL;
    struct file_stamp cert_after, key_after;
    struct error err = {0};
    int code;

    if (certificate->has_tried_files && !certificate->last_error[0] &&
        file_stamp_eq(&cert, &certificate->cert_stamp) &&
        file_stamp_eq(&key, &certificate->key_stamp))
        return;
    code = read_pair(certificate->host, config->cert, config->key, &key_pem, &material, &err);
    cert_after = file_stamp_of(config->cert);
    key_after = file_stamp_of(config->key);
    if (!file_stamp_eq(&cert, &cert_after) || !file_stamp_eq(&key, &key_after)) {
        material_free(TAKE_PTR(material)); /* it is being replaced: look again soon */
        buf_wipe(&key_pem);
        return;
    }
    certificate->has_tried_files = true;
    certificate->cert_stamp = cert;
    certificate->key_stamp = key;
    if (code == 0)
        code = check_dates(certificate, material, &err);
    if (code != 0) {
        certificate_failed(certificate, &err);
    } else {
        certificate_succeeded(certificate);
        if (!is_same(certificate_newest(certificate), material))
            certificate_offer(certificate, TAKE_PTR(material), buf_slice(&key_pem));
    }
    material_free(material);
    buf_wipe(&key_pem);
}

/* ---- authorities of clients and upstreams */

static bool is_pem(const char *ca)
{
    return ca[0] != '/';
}

/* True when the content is another one. The one before stays when the new one cannot be read. */
static bool authority_read(struct authority_file *file)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new((size_t)4 * 1024 * 1024);
    struct buf pem = BUF_INIT(CERTIFICATE_FILE_BYTES);
    struct x509_facts facts;
    struct error err = {0};
    int code = read_file(file->path, &pem, &err);

    if (code == 0)
        code = x509_read(buf_slice(&pem), arena, &facts, &err);
    if (code != 0 && !file->has_failed)
        log_failure(&err, "the authorities in '%s'", file->path);
    file->has_failed = code != 0;
    if (code != 0 || slice_eq(buf_slice(&pem), buf_slice(&file->pem))) {
        buf_done(&pem);
        return false;
    }
    buf_done(&file->pem);
    file->pem = pem;
    return true;
}

struct slice certificates_authority(struct certificates *all, const char *ca)
{
    struct authority_file *file;

    if (is_pem(ca))
        return slice_from(ca);
    file = map_get(all->authorities, slice_from(ca));
    if (!file) {
        file = calloc(1, sizeof *file);
        if (!file)
            abort();
        file->path = strdup(ca);
        file->pem = BUF_INIT(CERTIFICATE_FILE_BYTES);
        if (map_put(all->authorities, slice_from(ca), file) != 0) {
            free(file->path);
            free(file);
            return (struct slice){0};
        }
        file->stamp = file_stamp_of(ca);
        (void)authority_read(file);
        if (all->is_started && !all->is_frozen)
            loop_timer_start_in(all->control->loop, &all->work, LOOP_MS(1)); /* it is watched now */
    }
    return buf_slice(&file->pem);
}

void certificates_look_at_authorities(struct certificates *all)
{
    struct slice path;
    size_t cursor = 0;
    void *value;

    while (map_next(all->authorities, &cursor, &path, &value)) {
        struct authority_file *file = value;
        struct file_stamp stamp = file_stamp_of(file->path);

        if (file_stamp_eq(&stamp, &file->stamp) && !file->has_failed)
            continue;
        file->stamp = stamp;
        if (authority_read(file))
            certificates_publish(all);
    }
}

void authority_files_free(struct certificates *all)
{
    size_t cursor = 0;
    void *value;

    while (map_next(all->authorities, &cursor, NULL, &value)) {
        struct authority_file *file = value;

        buf_done(&file->pem);
        free(file->path);
        free(file);
    }
}

/* ---- before a deploy */

static int check_pair(const struct manifest_tls *tls, const char *host, struct error *err)
{
    struct buf key_pem = BUF_INIT(CERTIFICATE_FILE_BYTES);
    struct material *material = NULL;
    char text[CLOCK_TEXT_SIZE];
    int code = read_pair(host, tls->cert, tls->key, &key_pem, &material, err);

    if (code == 0 && material_is_expired(material)) {
        code = error_set(err, ERR_INVALID, "'%s' expired at %s", tls->cert,
                         clock_format(material->not_after * 1000000, text));
        error_hint(err, "put a valid certificate there, or use 'tls: acme'");
    }
    material_free(material);
    buf_wipe(&key_pem);
    return code;
}

/* The same pair may stand at several routes of a host. */
static bool is_told_before(const struct manifest *manifest, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (manifest->routes[i].tls.mode == MANIFEST_TLS_FILES &&
            strcmp(manifest->routes[i].host, manifest->routes[index].host) == 0)
            return true;
    return false;
}

void certificates_say_doubts(const struct manifest *manifest, struct deploy *deploy)
{
    for (size_t i = 0; i < manifest->route_count; i++) {
        const struct manifest_route *route = &manifest->routes[i];
        struct buf key_pem = BUF_INIT(CERTIFICATE_FILE_BYTES);
        struct material *material = NULL;

        if (route->tls.mode == MANIFEST_TLS_FILES && !is_told_before(manifest, i) &&
            read_pair(route->host, route->tls.cert, route->tls.key, &key_pem, &material, NULL) ==
                0 &&
            !material->covers_host)
            deploy_say(deploy, DEPLOY_WARNING, "certificate", NULL, NULL,
                       "the certificate '%s' is not for %s, so clients will refuse it; it is for: "
                       "%.300s%s. Put one for %s there (it is taken without another deploy), or "
                       "write 'tls: acme' at the route",
                       route->tls.cert, route->host,
                       material->names[0] ? material->names : "no name",
                       strlen(material->names) > 300 ? " …" : "", route->host);
        material_free(material);
        buf_wipe(&key_pem);
    }
}

static int check_authority(const char *ca, struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new((size_t)4 * 1024 * 1024);
    struct buf pem = BUF_INIT(CERTIFICATE_FILE_BYTES);
    struct x509_facts facts;
    int code = is_pem(ca) ? 0 : read_file(ca, &pem, err);

    if (code == 0)
        code = x509_read(is_pem(ca) ? slice_from(ca) : buf_slice(&pem), arena, &facts, err);
    buf_done(&pem);
    return code;
}

static int check_readable(const char *path, struct error *err)
{
    struct buf content = BUF_INIT(CERTIFICATE_FILE_BYTES);
    int code = path ? read_file(path, &content, err) : 0;

    buf_wipe(&content);
    return code;
}

static int check_acme(const struct manifest_acme *acme, struct error *err)
{
    int code = check_readable(acme->ca_file, err);

    if (code == 0 && acme->eab.is_given)
        code = check_readable(acme->eab.hmac_file, err);
    if (code == 0 && acme->fallback.is_given)
        code = check_readable(acme->fallback.ca_file, err);
    if (code == 0 && acme->fallback.is_given && acme->fallback.eab.is_given)
        code = check_readable(acme->fallback.eab.hmac_file, err);
    return code == 0 ? 0 : error_wrap(err, "acme");
}

int certificates_check(const struct manifest *manifest, struct error *err)
{
    for (size_t i = 0; i < manifest->route_count; i++) {
        const struct manifest_route *route = &manifest->routes[i];

        if (route->tls.mode == MANIFEST_TLS_FILES && check_pair(&route->tls, route->host, err) != 0)
            return error_wrap(err, "routes[%zu].tls", i);
        if (route->client_certificate.is_given &&
            check_authority(route->client_certificate.ca, err) != 0)
            return error_wrap(err, "routes[%zu].clientCertificate.ca", i);
        if (route->upstream.tls.is_given && route->upstream.tls.ca &&
            check_authority(route->upstream.tls.ca, err) != 0)
            return error_wrap(err, "routes[%zu].upstream.tls.ca", i);
    }
    return manifest->acme.is_given ? check_acme(&manifest->acme, err) : 0;
}
