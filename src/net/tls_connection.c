/* tls_connection.c - one connection: handshake, records, the end.
 *
 * A server's handshake runs in a job of OpenSSL's (SSL_MODE_ASYNC) until it is over, so that the
 * private-key operation can wait; after that the mode is off and reading and writing are plain
 * calls. tls_free answers a waiting job with a refusal: only its own end gives its stack back.
 */
#include "net/tls_private.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#define SUBJECT_MAX        2048
#define POST_HANDSHAKE_MAX 200 /* steps without a byte of data between them: key updates */

struct tls *tls_current;

/* The queue of errors is empty mostly, and clearing it walks all of its places. */
static void clear_errors(void)
{
    if (UNLIKELY(ERR_peek_error() != 0))
        ERR_clear_error();
}

static void enter(struct tls *tls)
{
    tls_current = tls;
    tls->is_drained = false; /* the caller calls because epoll spoke */
    clear_errors();
}

static void leave(void)
{
    tls_current = NULL;
    clear_errors();
}

static enum tls_result fail(struct tls *tls, const char *text)
{
    const char *reason = openssl_error_take();

    if (!tls->failure)
        tls->failure = reason ? reason : text;
    tls->state = TLS_STATE_FAILED;
    return TLS_FAILED;
}

/* ---- birth and death */

/* After the handshake each message of one, such as a key update, is some steps of OpenSSL's state
 * machine. */
static void on_info(const SSL *ssl, int where, int value)
{
    (void)ssl;
    (void)value;
    if ((where & SSL_CB_LOOP) && tls_current && tls_current->state >= TLS_STATE_OPEN &&
        tls_current->post_handshake < UINT16_MAX)
        tls_current->post_handshake++;
}

static int connection_new(SSL_CTX *ctx, int fd, struct tls **ret_tls, struct error *err)
{
    struct tls *tls = calloc(1, sizeof(*tls));
    BIO *bio = tls_stream_new();

    if (!tls)
        abort();
    tls->ssl = bio ? SSL_new(ctx) : NULL;
    if (!tls->ssl) {
        BIO_free(bio);
        free(tls);
        return openssl_error_set(err, ERR_INTERNAL, "unable to begin a TLS connection");
    }
    tls->fd = fd;
    tls->certificate = TLS_NO_CERTIFICATE;
    SSL_set_info_callback(tls->ssl, on_info);
    (void)BIO_up_ref(bio);
    SSL_set_bio(tls->ssl, bio, bio);
    BIO_free(bio);
    *ret_tls = tls;
    return 0;
}

int tls_accept(struct tls_server *server, int fd, struct tls **ret_tls, struct error *err)
{
    int code = connection_new(tls_server_context(), fd, ret_tls, err);

    if (code != 0)
        return code;
    (*ret_tls)->server = tls_server_ref(server);
    SSL_set_accept_state((*ret_tls)->ssl);
    SSL_set_mode((*ret_tls)->ssl, SSL_MODE_ASYNC);
    return 0;
}

int tls_connect(struct tls_client *client, int fd, const char *server_name, struct tls **ret_tls,
                struct error *err)
{
    struct tls *tls;
    int code = connection_new(client->ctx, fd, &tls, err);

    if (code != 0)
        return code;
    client->references++;
    tls->client = client;
    SSL_set_connect_state(tls->ssl);
    code = tls_client_prepare(tls, server_name, err);
    if (code != 0) {
        tls_free(tls);
        return code;
    }
    *ret_tls = tls;
    return 0;
}

void tls_abort(struct tls *tls)
{
    if (tls->has_job) {
        tls_sign_answer(tls, (struct slice){0});
        enter(tls);
        (void)SSL_do_handshake(tls->ssl); /* to the end of its job */
        leave();
        tls_key_trim_jobs();
    }
    tls->state = TLS_STATE_FAILED;
    tls_stream_done(tls);
}

void tls_free(struct tls *tls)
{
    if (!tls)
        return;
    if (tls->state == TLS_STATE_OPEN && SSL_is_init_finished(tls->ssl))
        tls_finish(tls);
    tls_abort(tls);
    enter(tls);
    SSL_free(tls->ssl);
    leave();
    tls_server_unref(tls->server);
    tls_client_unref(tls->client);
    free(tls->name);
    free(tls->session_key);
    free(tls->subject);
    free(tls->fingerprint);
    free(tls->signature);
    free(tls);
}

/* ---- the handshake */

const struct tls_sign_request *tls_sign_request(const struct tls *tls)
{
    return tls->state == TLS_STATE_SIGNATURE ? &tls->request : NULL;
}

void tls_sign_answer(struct tls *tls, struct slice signature)
{
    free(tls->signature);
    tls->signature = NULL;
    tls->signature_len = 0;
    tls->is_answered = true;
    if (signature.len == 0 || signature.len > PEER_SIGNATURE_MAX)
        return;
    tls->signature = malloc(signature.len);
    if (!tls->signature)
        abort();
    memcpy(tls->signature, signature.ptr, signature.len);
    tls->signature_len = (uint32_t)signature.len;
}

void tls_server_switch(struct tls *tls, struct tls_server *server)
{
    struct tls_server *old = tls->server;

    assert(tls->state == TLS_STATE_HANDSHAKE);
    tls->server = tls_server_ref(server);
    tls->entry = NULL;
    tls->certificate = TLS_NO_CERTIFICATE;
    tls_server_unref(old);
}

static char *subject_of(X509 *certificate)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *bytes, *text = NULL;
    long len;

    if (bio &&
        X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) > 0 &&
        (len = BIO_get_mem_data(bio, &bytes)) > 0 && len <= SUBJECT_MAX)
        text = strndup(bytes, (size_t)len);
    BIO_free(bio);
    return text;
}

static char *fingerprint_of(X509 *certificate)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[32];
    unsigned len = 0;
    char *text;

    if (!X509_digest(certificate, EVP_sha256(), digest, &len) || !(text = malloc(65)))
        return NULL;
    for (size_t i = 0; i < 32; i++) {
        text[2 * i] = digits[digest[i] >> 4];
        text[2 * i + 1] = digits[digest[i] & 15];
    }
    text[64] = '\0';
    return text;
}

static void note_client(struct tls *tls)
{
    X509 *certificate = tls->is_client_unproven ? NULL : SSL_get0_peer_certificate(tls->ssl);

    if (!certificate)
        return;
    tls->subject = subject_of(certificate);
    tls->fingerprint = tls->subject ? fingerprint_of(certificate) : NULL;
}

static void note_open(struct tls *tls)
{
    const unsigned char *protocol;
    unsigned len;

    tls->is_resumed = SSL_session_reused(tls->ssl);
    if (tls->server) {
        SSL_clear_mode(tls->ssl, SSL_MODE_ASYNC);
        note_client(tls);
        free(tls->signature);
        tls->signature = NULL;
    } else {
        SSL_get0_alpn_selected(tls->ssl, &protocol, &len);
        tls->is_http2 = len == 2 && memcmp(protocol, "h2", 2) == 0;
    }
}

static enum tls_result handshake_failed(struct tls *tls)
{
    long verified = SSL_get_verify_result(tls->ssl);

    if (tls->client && verified != X509_V_OK && !tls->client->is_unverified)
        tls->failure = X509_verify_cert_error_string(verified);
    fail(tls, tls->is_eof ? "closed in the handshake" : "the connection is reset");
    (void)tls_stream_flush(tls); /* the alert, if there is one */
    return TLS_FAILED;
}

/* One call into OpenSSL, or a second one where a certificate is parsed between them. */
static int shake(struct tls *tls)
{
    for (;;) {
        int result = SSL_do_handshake(tls->ssl);
        int reason = result == 1 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, result);

        if (reason != SSL_ERROR_WANT_CLIENT_HELLO_CB || !tls->unparsed)
            return reason;
        tls_certificate_parse(tls->unparsed);
        tls->unparsed = NULL;
    }
}

static enum tls_result handshake_step(struct tls *tls)
{
    int reason = shake(tls);

    switch (reason) {
    case SSL_ERROR_NONE:
        note_open(tls);
        tls->state = TLS_STATE_FLUSH;
        break;
    case SSL_ERROR_WANT_ASYNC:
        tls_stream_keep(tls); /* the rest of the flight follows soon: one write for both */
        return tls->state == TLS_STATE_FAILED ? TLS_FAILED : TLS_WANT_SIGNATURE;
    case SSL_ERROR_WANT_ASYNC_JOB:
        return fail(tls, "too many handshakes wait for a signature");
    case SSL_ERROR_WANT_CLIENT_HELLO_CB:
        return TLS_WANT_CERTIFICATE;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        break;
    default:
        return handshake_failed(tls);
    }
    if (!tls_stream_flush(tls))
        return tls->state == TLS_STATE_FAILED ? TLS_FAILED : TLS_WANT_WRITE;
    if (reason != SSL_ERROR_NONE)
        return TLS_WANT_READ;
    tls->state = TLS_STATE_OPEN;
    return TLS_DONE;
}

enum tls_result tls_handshake(struct tls *tls)
{
    enum tls_result result;

    if (tls->state >= TLS_STATE_OPEN)
        return tls->state == TLS_STATE_FAILED ? TLS_FAILED : TLS_DONE;
    if (tls->state == TLS_STATE_SIGNATURE && !tls->is_answered)
        return TLS_WANT_SIGNATURE;
    enter(tls);
    if (tls->state == TLS_STATE_FLUSH) {
        if (tls_stream_flush(tls))
            tls->state = TLS_STATE_OPEN;
        result = tls->state == TLS_STATE_OPEN     ? TLS_DONE
                 : tls->state == TLS_STATE_FAILED ? TLS_FAILED
                                                  : TLS_WANT_WRITE;
    } else {
        result = handshake_step(tls);
    }
    leave();
    tls_key_trim_jobs();
    return result;
}

/* ---- records */

static ssize_t broken(struct tls *tls, const char *text)
{
    fail(tls, text);
    (void)tls_stream_flush(tls);
    return TLS_BROKEN;
}

/* Why SSL_read_ex gave nothing: TLS_AGAIN, TLS_END or TLS_BROKEN. */
static ssize_t read_nothing(struct tls *tls)
{
    switch (SSL_get_error(tls->ssl, 0)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return TLS_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        tls->is_closed = true;
        return TLS_END;
    default:
        return broken(tls,
                      tls->is_eof ? "closed without a close_notify" : "the connection is reset");
    }
}

ssize_t tls_read(struct tls *tls, char *bytes, size_t len)
{
    size_t total = 0, got;
    ssize_t result = TLS_AGAIN;

    if (tls->is_closed)
        return TLS_END;
    if (tls->state != TLS_STATE_OPEN && tls->state != TLS_STATE_FINISHED)
        return TLS_BROKEN;
    enter(tls);
    tls_stream_read_begin(len);
    do {
        if (!SSL_read_ex(tls->ssl, bytes + total, len - total, &got)) {
            result = read_nothing(tls);
            break;
        }
        total += got;
        tls->post_handshake = 0;
        result = (ssize_t)total;
    } while ((tls_stream_read_on() || SSL_has_pending(tls->ssl)) && total < len);
    assert(!tls_stream_read_on() || result < TLS_AGAIN || tls->is_closed);
    tls_stream_read_done();
    if (tls->post_handshake > POST_HANDSHAKE_MAX)
        result = broken(tls, "a flood of key updates");
    tls->is_starved = result == TLS_AGAIN;
    if (!tls_stream_flush(tls) && tls->state == TLS_STATE_FAILED)
        result = TLS_BROKEN;
    leave();
    /* What was read before the end or the failure goes first; the next call tells of it. */
    return total ? (ssize_t)total : result;
}

/* Records that are out count as written; the rest of the queue stays. */
static size_t take_written(struct tls *tls)
{
    size_t written = 0;
    uint8_t n = 0;

    while (n < tls->record_count && tls->records[n].end <= tls->sent)
        written += tls->records[n++].plain_len;
    memmove(tls->records, tls->records + n, (tls->record_count - n) * sizeof(tls->records[0]));
    tls->record_count = (uint8_t)(tls->record_count - n);
    return written;
}

/* A place in the parts. */
struct place {
    const struct iovec *parts;
    int count;
    size_t offset; /* in parts[0] */
};

static void place_skip(struct place *place, size_t len)
{
    while (place->count > 0 && len >= place->parts->iov_len - place->offset) {
        len -= place->parts->iov_len - place->offset;
        place->offset = 0;
        place->parts++;
        place->count--;
    }
    place->offset += len;
}

/* The next record's bytes: where they are when they lie together, else gathered. */
static const char *place_take(struct place *place, size_t *ret_len)
{
    static char gathered[TLS_RECORD_BYTES];
    size_t len;

    *ret_len = 0;
    place_skip(place, 0); /* over empty parts */
    if (place->count <= 0)
        return NULL;
    len = place->parts->iov_len - place->offset;
    if (len >= TLS_RECORD_BYTES || place->count == 1) {
        const char *bytes = (const char *)place->parts->iov_base + place->offset;

        *ret_len = MIN(len, (size_t)TLS_RECORD_BYTES);
        place_skip(place, *ret_len);
        return bytes;
    }
    for (size_t at = 0; place->count > 0 && at < TLS_RECORD_BYTES; *ret_len = at) {
        size_t chunk = MIN(place->parts->iov_len - place->offset, TLS_RECORD_BYTES - at);

        if (chunk)
            memcpy(gathered + at, (const char *)place->parts->iov_base + place->offset, chunk);
        at += chunk;
        place_skip(place, chunk);
    }
    return gathered;
}

static bool encrypt(struct tls *tls, struct place *place)
{
    while (tls->record_count < TLS_BATCH_RECORDS) {
        size_t len, written;
        const char *bytes = place_take(place, &len);

        if (len == 0)
            break;
        if (!SSL_write_ex(tls->ssl, bytes, len, &written) || written != len)
            return false;
        tls->records[tls->record_count++] =
            (struct tls_record){.plain_len = (uint32_t)len, .end = tls->queued};
    }
    return true;
}

ssize_t tls_write(struct tls *tls, const struct iovec *parts, int count)
{
    struct place place = {.parts = parts, .count = count};
    size_t written = 0, owed = 0;
    ssize_t result;

    if (tls->state != TLS_STATE_OPEN && tls->state != TLS_STATE_FINISHED)
        return TLS_BROKEN;
    enter(tls);
    if (tls_stream_flush(tls) && tls->state == TLS_STATE_OPEN) {
        for (uint8_t i = 0; i < tls->record_count; i++)
            owed += tls->records[i].plain_len;
        written = take_written(tls);
        assert(tls->record_count == 0);
        place_skip(&place, owed);
        if (!encrypt(tls, &place)) {
            result = broken(tls, "a record that cannot be written");
            leave();
            return result;
        }
        (void)tls_stream_flush(tls);
    }
    written += take_written(tls);
    result = written ? (ssize_t)written : tls->left.len ? TLS_AGAIN : 0;
    if (tls->state == TLS_STATE_FAILED)
        result = TLS_BROKEN;
    leave();
    return result;
}

bool tls_has_pending(const struct tls *tls)
{
    return SSL_pending(tls->ssl) > 0 || (!tls->is_starved && SSL_has_pending(tls->ssl));
}

bool tls_is_drained(const struct tls *tls)
{
    return tls->is_drained && !tls->is_closed && tls->state != TLS_STATE_FAILED &&
           !tls_has_pending(tls);
}

bool tls_wants_write(const struct tls *tls)
{
    return tls->left.len > 0;
}

void tls_finish(struct tls *tls)
{
    if (tls->state != TLS_STATE_OPEN)
        return;
    enter(tls);
    (void)SSL_shutdown(tls->ssl);
    tls->state = TLS_STATE_FINISHED;
    (void)tls_stream_flush(tls);
    leave();
}

/* ---- what is known */

struct slice tls_name(const struct tls *tls)
{
    return (struct slice){tls->name, tls->name_len};
}

bool tls_is_http2(const struct tls *tls)
{
    return tls->is_http2;
}

bool tls_is_challenge(const struct tls *tls)
{
    return tls->is_challenge;
}

bool tls_covers(const struct tls *tls, struct slice host)
{
    const struct tls_entry *entry;

    if (!tls->entry || tls->is_challenge)
        return false;
    if (tls->name_len && slice_eq(host, tls_name(tls)))
        return true;
    entry = tls_server_find(tls->server, host);
    return entry && entry->certificate == tls->entry->certificate &&
           entry->client_ca == tls->entry->client_ca &&
           entry->is_tls13_only <= tls->entry->is_tls13_only;
}

struct slice tls_client_subject(const struct tls *tls)
{
    return slice_from(tls->subject ? tls->subject : "");
}

struct slice tls_client_fingerprint(const struct tls *tls)
{
    return slice_from(tls->fingerprint ? tls->fingerprint : "");
}

const char *tls_version(const struct tls *tls)
{
    return SSL_get_version(tls->ssl);
}

const char *tls_cipher(const struct tls *tls)
{
    const char *name = SSL_CIPHER_standard_name(SSL_get_current_cipher(tls->ssl));

    return name ? name : "";
}

bool tls_is_resumed(const struct tls *tls)
{
    return tls->is_resumed;
}

const char *tls_failure(const struct tls *tls)
{
    return tls->failure ? tls->failure : "";
}
