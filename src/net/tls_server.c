/* tls_server.c - what the connections of one routing table share.
 *
 * All servers of a process use one SSL_CTX: nothing in it differs between tables or names, and a
 * table is replaced several times a second at worst. Certificates are one a process, found again by
 * the digest of their text, so a table with thousands of them that differs from the one before in a
 * route costs a hash each. They are parsed when a handshake first wants them: that takes
 * OpenSSL 3.0 0.4 ms and 14 KB for each.
 */
#include "base/hash.h"
#include "net/tls_private.h"
#include <openssl/async.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#define CERTIFICATES_MAX   262144u
#define CHAIN_BYTES_MAX    (256u * 1024u)
#define ARENA_BYTES        (256u * 1024u * 1024u)
#define CERT_LIST_MAX      32768 /* bytes of a client's chain */
#define SESSION_LIFETIME_S 21600

/* TLS 1.2: forward secrecy and authenticated encryption only. AES-128 first: as strong as the rest
 * of the handshake, and a third faster than AES-256; ChaCha20 goes before it for clients that put
 * it first, because they have no AES hardware (SSL_OP_PRIORITIZE_CHACHA). */
#define CIPHERS_12                                                                                 \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                                   \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS     "X25519:P-256:P-384"
#define SIGNATURES                                                                                 \
    "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ed25519:RSA-PSS+SHA256:RSA-PSS+SHA384:"                \
    "RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512"

/* ---- contexts */

bool tls_context_configure(SSL_CTX *ctx)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_max_cert_list(ctx, CERT_LIST_MAX);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) &&
           SSL_CTX_set_cipher_list(ctx, CIPHERS_12) && SSL_CTX_set_ciphersuites(ctx, CIPHERS_13) &&
           SSL_CTX_set1_groups_list(ctx, GROUPS) && SSL_CTX_set1_sigalgs_list(ctx, SIGNATURES);
}

SSL_CTX *tls_server_context(void)
{
    static SSL_CTX *shared;
    SSL_CTX *ctx;

    if (shared)
        return shared;
    /* The system's configuration file neither loosens nor tightens what is promised here. */
    if (!OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) ||
        !ASYNC_init_thread(TLS_JOBS_MAX, 0) || !(ctx = SSL_CTX_new(TLS_server_method())))
        return NULL;
    if (!tls_context_configure(ctx)) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(ctx, SESSION_LIFETIME_S);
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, tls_ticket_key);
    tls_hello_configure(ctx);
    return shared = ctx;
}

/* ---- certificates */

static struct map *known; /* digest → struct tls_certificate */

static void certificate_free(struct tls_certificate *certificate)
{
    X509_free(certificate->leaf);
    sk_X509_pop_free(certificate->chain, X509_free);
    EVP_PKEY_free(certificate->key);
    free(certificate->pem);
    free(certificate);
}

static void certificate_unref(struct tls_certificate *certificate)
{
    if (!certificate || --certificate->references)
        return;
    (void)map_remove(known, (struct slice){(const char *)certificate->digest, 32});
    certificate_free(certificate);
}

static bool digest_of(const struct tls_certificate_spec *spec, uint8_t ret_digest[32])
{
    uint8_t both[32 + PEER_KEY_ID_BYTES];
    unsigned len;

    if (!EVP_Digest(spec->chain_pem.ptr, spec->chain_pem.len, both, &len, EVP_sha256(), NULL))
        return false;
    memcpy(both + 32, spec->key_id, PEER_KEY_ID_BYTES);
    hash_sha256(both, sizeof(both), ret_digest);
    return true;
}

/* Everything that the PEM text must be, or nothing. */
static bool certificate_read(struct tls_certificate *certificate)
{
    uint8_t key_id[PEER_KEY_ID_BYTES];

    if (openssl_certificates((struct slice){certificate->pem, certificate->pem_len}, TLS_CHAIN_MAX,
                             &certificate->chain, NULL) != 0)
        return false;
    certificate->leaf = sk_X509_shift(certificate->chain);
    return openssl_certificate_key_id(certificate->leaf, key_id) &&
           memcmp(key_id, certificate->key_id, sizeof(key_id)) == 0 &&
           tls_key_new(certificate->leaf, &certificate->key, NULL) == 0;
}

void tls_certificate_parse(struct tls_certificate *certificate)
{
    assert(certificate->pem);
    if (!certificate_read(certificate)) {
        EVP_PKEY_free(certificate->key);
        certificate->key = NULL;
    }
    ERR_clear_error();
    free(certificate->pem);
    certificate->pem = NULL;
}

static int certificate_get(const struct tls_certificate_spec *spec,
                           struct tls_certificate **ret_certificate, struct error *err)
{
    struct tls_certificate *certificate;
    uint8_t digest[32];
    int code;

    if (spec->chain_pem.len > CHAIN_BYTES_MAX ||
        slice_find(spec->chain_pem, SLICE("-----BEGIN CERTIFICATE-----")) < 0)
        return error_set(err, ERR_INVALID, "no certificate in PEM");
    if (!known)
        known = map_new(CERTIFICATES_MAX);
    if (!digest_of(spec, digest))
        return openssl_error_set(err, ERR_INTERNAL, "unable to hash a certificate");
    certificate = map_get(known, (struct slice){(const char *)digest, sizeof(digest)});
    if (certificate) {
        certificate->references++;
        *ret_certificate = certificate;
        return 0;
    }
    certificate = calloc(1, sizeof(*certificate));
    if (!certificate)
        abort();
    certificate->references = 1;
    memcpy(certificate->digest, digest, sizeof(digest));
    memcpy(certificate->key_id, spec->key_id, PEER_KEY_ID_BYTES);
    certificate->pem = malloc(spec->chain_pem.len);
    if (!certificate->pem)
        abort();
    memcpy(certificate->pem, spec->chain_pem.ptr, spec->chain_pem.len);
    certificate->pem_len = (uint32_t)spec->chain_pem.len;
    code = map_put(known, (struct slice){(const char *)digest, sizeof(digest)}, certificate);
    if (code != 0) {
        certificate_free(certificate);
        return error_set(err, code, "more than %u certificates", CERTIFICATES_MAX);
    }
    *ret_certificate = certificate;
    return 0;
}

/* ---- tables */

int tls_server_new(struct tls_server **ret_server, struct error *err)
{
    struct tls_server *server;

    if (!tls_server_context())
        return openssl_error_set(err, ERR_INTERNAL, "unable to set up TLS");
    server = calloc(1, sizeof(*server));
    if (!server)
        abort();
    server->references = 1;
    server->arena = arena_new(ARENA_BYTES);
    server->names = map_new(CERTIFICATES_MAX);
    server->challenges = map_new(CERTIFICATES_MAX);
    *ret_server = server;
    return 0;
}

int tls_server_certificate(struct tls_server *server, const struct tls_certificate_spec *spec,
                           uint32_t *ret_index, struct error *err)
{
    struct tls_certificate *certificate;
    struct slice staple = {0};
    int code;

    if (server->served_count == server->served_capacity) {
        uint32_t capacity = server->served_capacity ? server->served_capacity * 2 : 16;
        struct tls_served *grown;

        if (capacity > CERTIFICATES_MAX * 2)
            return error_set(err, ERR_LIMIT, "too many certificates");
        grown = reallocarray(server->served, capacity, sizeof(*grown));
        if (!grown)
            abort();
        server->served = grown;
        server->served_capacity = capacity;
    }
    if (spec->ocsp_der.len) {
        char *copy = arena_try(server->arena, spec->ocsp_der.len);

        if (!copy)
            return error_set(err, ERR_LIMIT, "the stapled answers take too much memory");
        memcpy(copy, spec->ocsp_der.ptr, spec->ocsp_der.len);
        staple = (struct slice){copy, spec->ocsp_der.len};
    }
    code = certificate_get(spec, &certificate, err);
    if (code != 0)
        return err ? error_wrap(err, "unable to use a certificate") : code;
    server->served[server->served_count] = (struct tls_served){certificate, staple};
    *ret_index = server->served_count++;
    return 0;
}

int tls_server_client_ca(struct tls_server *server, struct slice ca_pem, uint32_t *ret_index,
                         struct error *err)
{
    struct tls_client_ca authority = {0}, *grown;
    STACK_OF(X509) * certificates;
    bool is_good;
    int code = openssl_authorities(ca_pem, &authority.store, &certificates, err);

    if (code != 0)
        return err ? error_wrap(err, "unable to use a client authority") : code;
    authority.names = sk_X509_NAME_new_null();
    is_good = authority.names;
    for (int i = 0; is_good && i < sk_X509_num(certificates); i++) {
        X509_NAME *name = X509_NAME_dup(X509_get_subject_name(sk_X509_value(certificates, i)));

        is_good = name && sk_X509_NAME_push(authority.names, name);
        if (!is_good)
            X509_NAME_free(name);
    }
    sk_X509_pop_free(certificates, X509_free);
    hash_sha256(ca_pem.ptr, ca_pem.len, authority.digest);
    grown = is_good ? reallocarray(server->authorities, server->authority_count + 1, sizeof(*grown))
                    : NULL;
    if (!grown) {
        X509_STORE_free(authority.store);
        sk_X509_NAME_pop_free(authority.names, X509_NAME_free);
        return openssl_error_set(err, ERR_INVALID, "unable to use a client authority");
    }
    server->authorities = grown;
    server->authorities[server->authority_count] = authority;
    *ret_index = server->authority_count++;
    return 0;
}

int tls_server_name(struct tls_server *server, const struct tls_name_spec *spec, struct error *err)
{
    struct tls_entry *entry = arena_try(server->arena, sizeof(*entry));
    int code;

    assert(spec->certificate == TLS_NO_CERTIFICATE || spec->certificate < server->served_count);
    assert(spec->client_ca == TLS_NO_CLIENT_CA || spec->client_ca < server->authority_count);
    if (!entry)
        return error_set(err, ERR_LIMIT, "too many names");
    *entry = (struct tls_entry){
        .certificate = spec->certificate,
        .client_ca = spec->client_ca,
        .is_on_demand = spec->is_on_demand,
        .is_tls13_only = spec->is_tls13_only,
        .is_http2 = spec->is_http2,
    };
    code = map_put(server->names, spec->name, entry);
    return code ? error_set(err, code, "too many names") : 0;
}

int tls_server_challenge(struct tls_server *server, struct slice name, uint32_t certificate,
                         struct error *err)
{
    uint32_t *index = arena_try(server->arena, sizeof(*index));
    int code;

    assert(certificate < server->served_count);
    if (!index)
        return error_set(err, ERR_LIMIT, "too many challenges");
    *index = certificate;
    code = map_put(server->challenges, name, index);
    return code ? error_set(err, code, "too many challenges") : 0;
}

int tls_server_ticket_keys(struct tls_server *server, struct slice keys, struct error *err)
{
    if (keys.len % TLS_TICKET_KEY_BYTES || keys.len > sizeof(server->ticket_keys))
        return error_set(err, ERR_INVALID, "the ticket keys have a length of %zu bytes", keys.len);
    explicit_bzero(server->ticket_keys, sizeof(server->ticket_keys));
    if (keys.len)
        memcpy(server->ticket_keys, keys.ptr, keys.len);
    server->ticket_key_count = (uint32_t)(keys.len / TLS_TICKET_KEY_BYTES);
    return 0;
}

struct tls_server *tls_server_ref(struct tls_server *server)
{
    server->references++;
    return server;
}

void tls_server_unref(struct tls_server *server)
{
    if (!server || --server->references)
        return;
    for (uint32_t i = 0; i < server->served_count; i++)
        certificate_unref(server->served[i].certificate);
    for (uint32_t i = 0; i < server->authority_count; i++) {
        X509_STORE_free(server->authorities[i].store);
        sk_X509_NAME_pop_free(server->authorities[i].names, X509_NAME_free);
    }
    explicit_bzero(server->ticket_keys, sizeof(server->ticket_keys));
    map_free(server->names);
    map_free(server->challenges);
    arena_free(server->arena);
    free(server->authorities);
    free(server->served);
    free(server);
}

const struct tls_entry *tls_server_find(const struct tls_server *server, struct slice name)
{
    const struct tls_entry *entry = map_get(server->names, name);
    char wildcard[TLS_NAME_MAX + 2];
    ptrdiff_t dot;

    if (entry)
        return entry;
    dot = name.len ? slice_find_byte(name, '.') : -1;
    if (dot > 0 && name.len - (size_t)dot < TLS_NAME_MAX) {
        struct slice rest = slice_sub(name, (size_t)dot, name.len);

        wildcard[0] = '*';
        memcpy(wildcard + 1, rest.ptr, rest.len);
        entry = map_get(server->names, (struct slice){wildcard, rest.len + 1});
    }
    return entry ? entry : map_get(server->names, (struct slice){"", 0});
}
