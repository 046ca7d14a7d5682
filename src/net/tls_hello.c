/* tls_hello.c - what a ClientHello gets: a certificate, a policy, a protocol.
 *
 * All of it is decided in one callback at the very beginning of the handshake, before versions,
 * ciphers and tickets are looked at, so that one SSL_CTX serves every name and no name ever falls
 * back to what another one has. The session id context is the hash of the name that was asked for
 * and of its client authority: a ticket resumes where it was issued and nowhere else
 * (CVE-2025-23419).
 */
#include "base/hash.h"
#include "net/tls_private.h"
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#define VERIFY_DEPTH_MAX 6

static const unsigned char protocol_h2[] = {2, 'h', '2'};
static const unsigned char protocol_http1[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
static const unsigned char protocol_challenge[] = {10,  'a', 'c', 'm', 'e', '-',
                                                   't', 'l', 's', '/', '1'};

static unsigned two_bytes(const unsigned char *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

/* RFC 6066 §3: a list of names of which only the first host name counts. In lower case into
 * `to`; false when it is malformed or no host name. */
static bool read_name(SSL *ssl, char to[TLS_NAME_MAX], size_t *ret_len)
{
    const unsigned char *bytes;
    size_t len, name_len;

    *ret_len = 0;
    if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &bytes, &len))
        return true;
    if (len < 5 || two_bytes(bytes) != len - 2 || bytes[2] != TLSEXT_NAMETYPE_host_name)
        return false;
    name_len = two_bytes(bytes + 3);
    if (name_len == 0 || name_len > len - 5 || name_len > TLS_NAME_MAX)
        return false;
    if (name_len > 1 && bytes[5 + name_len - 1] == '.') /* the same host, as in the Host field */
        name_len--;
    for (size_t i = 0; i < name_len; i++) {
        char c = (char)bytes[5 + i];

        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
              c == '_' || c == ':'))
            return false;
        to[i] = c;
    }
    *ret_len = name_len;
    return true;
}

/* RFC 8737 §3: the one and only protocol that is offered. */
static bool is_challenge(SSL *ssl)
{
    const unsigned char *bytes;
    size_t len;

    return SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation,
                                     &bytes, &len) &&
           len == sizeof(protocol_challenge) + 2 &&
           memcmp(bytes + 2, protocol_challenge, sizeof(protocol_challenge)) == 0;
}

static int refuse(const char *text, int *alert)
{
    tls_current->failure = text;
    *alert = SSL_AD_UNRECOGNIZED_NAME;
    return SSL_CLIENT_HELLO_ERROR;
}

static struct tls_certificate *served(const struct tls *tls, uint32_t index)
{
    return tls->server->served[index].certificate;
}

static bool use_certificate(SSL *ssl, struct tls *tls, uint32_t index)
{
    const struct tls_certificate *certificate = served(tls, index);

    tls->certificate = index;
    if (certificate->key)
        return SSL_use_cert_and_key(ssl, certificate->leaf, certificate->key, certificate->chain,
                                    1) == 1;
    tls->failure = "the certificate of this name cannot be used";
    return false;
}

/* The one at `index` is used for the first time: later, on a larger stack. */
static bool must_parse(struct tls *tls, uint32_t index)
{
    struct tls_certificate *certificate = served(tls, index);

    tls->unparsed = certificate->pem ? certificate : NULL;
    return tls->unparsed;
}

/* The chain does not decide about the handshake, only about what is said of the client: the routes
 * of a name may differ in what they require. */
static int on_verify(int is_valid, X509_STORE_CTX *context)
{
    (void)context;
    if (!is_valid)
        tls_current->is_client_unproven = true;
    return 1;
}

static bool ask_client(SSL *ssl, const struct tls_client_ca *authority)
{
    STACK_OF(X509_NAME) *names = SSL_dup_CA_list(authority->names);

    if (!names || SSL_set1_verify_cert_store(ssl, authority->store) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return false;
    }
    SSL_set_client_CA_list(ssl, names);
    SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE, on_verify);
    SSL_set_verify_depth(ssl, VERIFY_DEPTH_MAX);
    return true;
}

static bool bind_session(SSL *ssl, const struct tls *tls)
{
    const struct tls_entry *entry = tls->entry;
    uint8_t bound[TLS_NAME_MAX + 33], digest[32];
    size_t len = tls->name_len;

    memcpy(bound, tls->name, len);
    bound[len++] = (uint8_t)(entry->is_tls13_only ? 0xff : 0xfe); /* in no name */
    if (entry->client_ca != TLS_NO_CLIENT_CA) {
        memcpy(bound + len, tls->server->authorities[entry->client_ca].digest, 32);
        len += 32;
    }
    hash_sha256(bound, len, digest);
    return SSL_set_session_id_context(ssl, digest, sizeof(digest)) == 1;
}

/* A resumed session would carry a client certificate that may have expired or lost its trust since:
 * where one is asked for, every handshake is a whole one. */
static bool forbid_tickets(SSL *ssl)
{
    SSL_set_options(ssl, SSL_OP_NO_TICKET);
    return SSL_set_num_tickets(ssl, 0) == 1;
}

static int answer_challenge(SSL *ssl, struct tls *tls, int *alert)
{
    const uint32_t *index =
        map_get(tls->server->challenges, (struct slice){tls->name, tls->name_len});

    if (!index)
        return refuse("a challenge that is not expected", alert);
    if (must_parse(tls, *index))
        return SSL_CLIENT_HELLO_RETRY;
    tls->is_challenge = true;
    return use_certificate(ssl, tls, *index) && forbid_tickets(ssl) ? SSL_CLIENT_HELLO_SUCCESS
                                                                    : SSL_CLIENT_HELLO_ERROR;
}

static bool apply(SSL *ssl, struct tls *tls)
{
    const struct tls_entry *entry = tls->entry;
    bool has_tickets =
        tls->server->ticket_key_count && entry->client_ca == TLS_NO_CLIENT_CA && tls->name_len;

    return use_certificate(ssl, tls, entry->certificate) && bind_session(ssl, tls) &&
           (has_tickets || forbid_tickets(ssl)) &&
           (!entry->is_tls13_only || SSL_set_min_proto_version(ssl, TLS1_3_VERSION)) &&
           (entry->client_ca == TLS_NO_CLIENT_CA ||
            ask_client(ssl, &tls->server->authorities[entry->client_ca]));
}

static int on_hello(SSL *ssl, int *alert, void *context)
{
    struct tls *tls = tls_current;
    char name[TLS_NAME_MAX];
    size_t len;

    (void)context;
    *alert = SSL_AD_INTERNAL_ERROR;
    if (!read_name(ssl, name, &len))
        return refuse("a server name that is none", alert);
    free(tls->name);
    tls->name = malloc(len + 1);
    if (!tls->name)
        return SSL_CLIENT_HELLO_ERROR;
    memcpy(tls->name, name, len);
    tls->name[len] = '\0';
    tls->name_len = (uint16_t)len;
    tls->entry = NULL;
    if (is_challenge(ssl))
        return answer_challenge(ssl, tls, alert);
    tls->entry = tls_server_find(tls->server, (struct slice){tls->name, len});
    if (!tls->entry)
        return refuse(len ? "no certificate for this name" : "no server name", alert);
    if (tls->entry->certificate == TLS_NO_CERTIFICATE)
        return tls->entry->is_on_demand && len ? SSL_CLIENT_HELLO_RETRY
                                               : refuse("no certificate for this name yet", alert);
    if (must_parse(tls, tls->entry->certificate))
        return SSL_CLIENT_HELLO_RETRY;
    return apply(ssl, tls) ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR;
}

static bool offers(const unsigned char *offered, unsigned len, const unsigned char *protocol,
                   size_t protocol_len)
{
    for (unsigned i = 0; i < len; i += offered[i] + 1u)
        if (len - i >= protocol_len && memcmp(offered + i, protocol, protocol_len) == 0)
            return true;
    return false;
}

static int on_alpn(SSL *ssl, const unsigned char **ret_protocol, unsigned char *ret_len,
                   const unsigned char *offered, unsigned len, void *context)
{
    struct tls *tls = tls_current;
    const unsigned char *chosen = NULL;

    (void)ssl;
    (void)context;
    if (tls->is_challenge)
        chosen = protocol_challenge;
    else if (tls->entry && tls->entry->is_http2 &&
             offers(offered, len, protocol_h2, sizeof(protocol_h2)))
        chosen = protocol_h2;
    else if (offers(offered, len, protocol_http1, sizeof(protocol_http1)))
        chosen = protocol_http1;
    if (!chosen)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    tls->is_http2 = chosen == protocol_h2;
    *ret_protocol = chosen + 1;
    *ret_len = chosen[0];
    return SSL_TLSEXT_ERR_OK;
}

static int on_status(SSL *ssl, void *context)
{
    struct tls *tls = tls_current;
    struct slice der = tls->certificate < tls->server->served_count
                           ? tls->server->served[tls->certificate].ocsp_der
                           : (struct slice){0};
    unsigned char *copy;

    (void)context;
    if (der.len == 0 || !(copy = OPENSSL_memdup(der.ptr, der.len)))
        return SSL_TLSEXT_ERR_NOACK;
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)der.len);
    return SSL_TLSEXT_ERR_OK;
}

void tls_hello_configure(SSL_CTX *ctx)
{
    SSL_CTX_set_client_hello_cb(ctx, on_hello, NULL);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    SSL_CTX_set_tlsext_status_cb(ctx, on_status);
}
