/* tls_client.c - connections to upstreams: whose certificate counts, and sessions that are used
 * again.
 *
 * A session is kept per address and name: another address behind the same name is another server
 * with other ticket keys. With TLS 1.3 a ticket may be used by several connections; servers that
 * mind (single use) answer with a whole handshake.
 */
#include "net/tls_private.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#define SESSIONS_MAX 4096u

static const unsigned char protocols_http1[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
static const unsigned char protocols_http2[] = {2,   'h', '2', 8,   'h', 't',
                                                't', 'p', '/', '1', '.', '1'};

/* ---- sessions */

static void sessions_trim(struct map *sessions)
{
    struct slice key;
    void *session;
    size_t cursor = 0;

    if (map_count(sessions) < SESSIONS_MAX || !map_next(sessions, &cursor, &key, &session))
        return;
    (void)map_remove(sessions, key);
    SSL_SESSION_free(session);
}

/* Called for each ticket; returning 1 keeps the reference. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls *tls = tls_current;
    struct slice key;
    SSL_SESSION *old;

    (void)ssl;
    if (!tls || !tls->client || !tls->session_key || !SSL_SESSION_is_resumable(session))
        return 0;
    key = (struct slice){tls->session_key, tls->session_key_len};
    old = map_remove(tls->client->sessions, key);
    SSL_SESSION_free(old);
    sessions_trim(tls->client->sessions);
    return map_put(tls->client->sessions, key, session) == 0;
}

static bool make_session_key(struct tls *tls, const char *server_name)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    size_t name_len = strlen(server_name);

    if (getpeername(tls->fd, (struct sockaddr *)&address, &len) != 0 || len > sizeof(address))
        len = 0; /* a name is enough, then */
    tls->session_key = malloc(len + name_len);
    if (!tls->session_key)
        return false;
    memcpy(tls->session_key, &address, len);
    memcpy(tls->session_key + len, server_name, name_len);
    tls->session_key_len = (uint32_t)(len + name_len);
    return true;
}

/* ---- connections */

static bool is_address(const char *name)
{
    struct in6_addr address;

    return inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1;
}

int tls_client_prepare(struct tls *tls, const char *server_name, struct error *err)
{
    X509_VERIFY_PARAM *parameters = SSL_get0_param(tls->ssl);
    SSL_SESSION *session;
    bool is_good = server_name[0] && strlen(server_name) <= TLS_NAME_MAX;

    X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                                    X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (is_good && is_address(server_name))
        is_good = X509_VERIFY_PARAM_set1_ip_asc(parameters, server_name);
    else if (is_good)
        is_good = SSL_set_tlsext_host_name(tls->ssl, server_name) &&
                  X509_VERIFY_PARAM_set1_host(parameters, server_name, 0);
    if (!is_good || !make_session_key(tls, server_name))
        return openssl_error_set(err, ERR_INVALID, "unable to use the server's name");
    session =
        map_get(tls->client->sessions, (struct slice){tls->session_key, tls->session_key_len});
    if (session)
        (void)SSL_set_session(tls->ssl, session);
    return 0;
}

/* ---- clients */

/* The system's authorities, read once a process: some hundred certificates. */
static X509_STORE *system_store(void)
{
    static X509_STORE *store;

    if (!store && (store = X509_STORE_new()) && !X509_STORE_set_default_paths(store)) {
        X509_STORE_free(store);
        store = NULL;
    }
    return store;
}

static int use_authorities(SSL_CTX *ctx, struct slice ca_pem, struct error *err)
{
    X509_STORE *store;

    if (ca_pem.len) {
        int code = openssl_authorities(ca_pem, &store, NULL, err);

        if (code != 0)
            return err ? error_wrap(err, "unable to use an authority") : code;
        SSL_CTX_set_cert_store(ctx, store); /* which frees it */
        return 0;
    }
    store = system_store();
    if (!store)
        return openssl_error_set(err, ERR_INTERNAL, "unable to read the system's authorities");
    SSL_CTX_set1_cert_store(ctx, store);
    return 0;
}

int tls_client_new(const struct tls_client_spec *spec, struct tls_client **ret_client,
                   struct error *err)
{
    struct tls_client *client = calloc(1, sizeof(*client));
    SSL_CTX *ctx;
    int code = 0;

    if (!client)
        abort();
    client->references = 1;
    client->is_unverified = spec->is_unverified;
    client->is_http2 = spec->is_http2;
    client->sessions = map_new(SESSIONS_MAX);
    if (!OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) ||
        !(ctx = client->ctx = SSL_CTX_new(TLS_client_method())) || !tls_context_configure(ctx) ||
        SSL_CTX_set_alpn_protos(ctx, spec->is_http2 ? protocols_http2 : protocols_http1,
                                spec->is_http2 ? sizeof(protocols_http2)
                                               : sizeof(protocols_http1)) != 0)
        code = openssl_error_set(err, ERR_INTERNAL, "unable to set up TLS to upstreams");
    if (code == 0) {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ctx, on_session);
        SSL_CTX_set_verify(ctx, spec->is_unverified ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
        if (!spec->is_unverified)
            code = use_authorities(ctx, spec->ca_pem, err);
    }
    if (code != 0) {
        tls_client_unref(client);
        return code;
    }
    *ret_client = client;
    return 0;
}

void tls_client_unref(struct tls_client *client)
{
    struct slice key;
    void *session;
    size_t cursor = 0;

    if (!client || --client->references)
        return;
    while (map_next(client->sessions, &cursor, &key, &session))
        SSL_SESSION_free(session);
    map_free(client->sessions);
    SSL_CTX_free(client->ctx);
    free(client);
}
