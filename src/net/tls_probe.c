#include "net/tls_probe.h"

#include "base/hash.h"
#include "base/units.h"
#include "os/file.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

struct tls_probe {
    struct tls_probe_handler *handler;
    struct loop_io io;
    struct loop_timer deadline;
    struct loop_deferred begin;
    uint64_t timeout_ms;
    SSL_CTX *context;
    SSL *ssl;
};

static void probe_free(struct tls_probe *probe)
{
    loop_defer_cancel(&probe->begin);
    loop_timer_stop(&probe->deadline);
    loop_io_stop(&probe->io);
    SSL_free(probe->ssl);
    SSL_CTX_free(probe->context);
    fd_close(probe->io.fd);
    free(probe);
}

void tls_probe_cancel(struct tls_probe *probe)
{
    if (probe)
        probe_free(probe);
}

static void probe_finish(struct tls_probe *probe, const uint8_t *key_id, const struct error *err)
{
    struct tls_probe_handler *handler = probe->handler;
    uint8_t copy[PEER_KEY_ID_BYTES] = {0};
    if (key_id)
        memcpy(copy, key_id, sizeof(copy));
    probe_free(probe);
    handler->on_done(handler, copy, err);
}

static void probe_look(struct tls_probe *probe)
{
    struct error err = {0};
    uint8_t key_id[PEER_KEY_ID_BYTES];
    unsigned char *der = NULL;
    const unsigned char *protocol;
    unsigned protocol_len;
    SSL_get0_alpn_selected(probe->ssl, &protocol, &protocol_len);
    X509 *certificate = SSL_get0_peer_certificate(probe->ssl);
    int len = certificate ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der) : 0;
    if (protocol_len == 0)
        error_set(&err, ERR_INVALID, "the server does not speak the protocol of the challenge");
    else if (len <= 0)
        error_set(&err, ERR_INVALID, "the server showed no certificate");
    else
        hash_sha256(der, (size_t)len, key_id);
    OPENSSL_free(der);
    probe_finish(probe, err.code ? NULL : key_id, err.code ? &err : NULL);
}

static void probe_go_on(struct tls_probe *probe)
{
    struct error err = {0};
    ERR_clear_error();
    int result = SSL_do_handshake(probe->ssl);
    if (result == 1) {
        probe_look(probe);
        return;
    }
    switch (SSL_get_error(probe->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        loop_io_set(&probe->io, LOOP_READ);
        return;
    case SSL_ERROR_WANT_WRITE:
        loop_io_set(&probe->io, LOOP_WRITE);
        return;
    default: {
        const char *reason = ERR_reason_error_string(ERR_peek_last_error());
        error_set(&err, ERR_IO, "the TLS handshake failed: %s",
                  reason ? reason : "the connection was closed");
        ERR_clear_error();
        probe_finish(probe, NULL, &err);
    }
    }
}

static void on_event(struct loop_io *io, unsigned events UNUSED)
{
    probe_go_on(container_of(io, struct tls_probe, io));
}

static void on_begin(struct loop_deferred *deferred)
{
    probe_go_on(container_of(deferred, struct tls_probe, begin));
}

static void on_deadline(struct loop_timer *timer)
{
    struct tls_probe *probe = container_of(timer, struct tls_probe, deadline);
    struct error err = {0};
    char text[UNITS_TEXT_SIZE];
    error_set(&err, ERR_TIMEOUT, "no TLS handshake within %s",
              units_format_duration_ms(probe->timeout_ms, text));
    probe_finish(probe, NULL, &err);
}

int tls_probe_start(struct loop *loop, int fd, const char *name, const char *protocol,
                    uint64_t timeout_ms, struct tls_probe_handler *handler,
                    struct tls_probe **ret_probe, struct error *err)
{
    unsigned char offered[256];
    size_t len = strlen(protocol);
    int result = 0;
    assert(len > 0 && len < sizeof(offered));
    offered[0] = (unsigned char)len;
    memcpy(offered + 1, protocol, len);

    struct tls_probe *probe = calloc(1, sizeof(*probe));
    if (!probe)
        abort();
    probe->handler = handler;
    probe->timeout_ms = timeout_ms;
    probe->io = (struct loop_io){.fd = fd, .on_event = on_event};
    probe->deadline.on_timer = on_deadline;
    probe->begin.on_deferred = on_begin;
    probe->context = SSL_CTX_new(TLS_client_method());
    probe->ssl = probe->context ? SSL_new(probe->context) : NULL;
    if (!probe->ssl || SSL_set_fd(probe->ssl, fd) != 1 ||
        SSL_set_tlsext_host_name(probe->ssl, name) != 1 ||
        SSL_set_alpn_protos(probe->ssl, offered, (unsigned)len + 1) != 0)
        result = error_set(err, ERR_LIMIT, "unable to prepare a TLS connection");
    if (result == 0)
        result = loop_io_start(loop, &probe->io, LOOP_WRITE, err);
    if (result < 0) {
        probe_free(probe);
        return result;
    }
    SSL_set_connect_state(probe->ssl);
    loop_timer_start_in(loop, &probe->deadline, timeout_ms * 1000);
    loop_defer(loop, &probe->begin);
    *ret_probe = probe;
    return 0;
}
