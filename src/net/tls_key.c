/* tls_key.c - keys whose private half is in another process.
 *
 * An EVP_PKEY of the public half, with OpenSSL's own method for everything but the private
 * operation. That one hands the bytes to the connection and puts the handshake's job to sleep
 * (ASYNC_pause_job: the handshake runs on a stack of its own) until the answer is there. Why
 * EC_KEY_METHOD and RSA_METHOD rather than a provider: docs/design/tls.md, with figures.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* the methods are, without another way in this version */
#include "net/tls_private.h"
#include <openssl/async.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#define JOBS_KEPT 64u /* stacks that wait for the next handshakes */

static unsigned jobs, jobs_peak;

void tls_key_trim_jobs(void)
{
    if (jobs || jobs_peak <= JOBS_KEPT)
        return;
    ASYNC_cleanup_thread();
    (void)ASYNC_init_thread(TLS_JOBS_MAX, 0);
    jobs_peak = 0;
}

/* In a private-key operation: have `len` bytes signed. Comes back with the answer's length in `to`
 * (at most `capacity`), or 0: refused, or there is no way to wait. */
static size_t ask(enum peer_sign_kind kind, const unsigned char *bytes, size_t len,
                  unsigned char *to, size_t capacity)
{
    struct tls *tls = tls_current;
    size_t signature_len;

    if (!tls || !tls->server || tls->certificate >= tls->server->served_count ||
        len > PEER_SIGN_BYTES_MAX || !ASYNC_get_current_job())
        return 0;
    tls->request = (struct tls_sign_request){.kind = kind, .bytes = bytes, .len = len};
    memcpy(tls->request.key_id, tls->server->served[tls->certificate].certificate->key_id,
           PEER_KEY_ID_BYTES);
    tls->state = TLS_STATE_SIGNATURE;
    tls->is_answered = false;
    tls->has_job = true;
    jobs++;
    jobs_peak = MAX(jobs_peak, jobs);
    (void)ASYNC_pause_job();
    tls = tls_current; /* it is the same one; the compiler may not know */
    tls->has_job = false;
    jobs--;
    tls->state = TLS_STATE_HANDSHAKE;
    tls->request = (struct tls_sign_request){0};
    signature_len = tls->signature_len;
    if (!tls->signature || signature_len == 0 || signature_len > capacity)
        return 0;
    memcpy(to, tls->signature, signature_len);
    return signature_len;
}

static int ec_sign(int type, const unsigned char *digest, int digest_len, unsigned char *signature,
                   unsigned *signature_len, const BIGNUM *kinv, const BIGNUM *r, EC_KEY *key)
{
    size_t len = 0;

    (void)type;
    (void)kinv;
    (void)r;
    if (digest_len > 0)
        len = ask(PEER_SIGN_ECDSA, digest, (size_t)digest_len, signature, (size_t)ECDSA_size(key));
    *signature_len = (unsigned)len;
    return len > 0;
}

static int rsa_private_encrypt(int len, const unsigned char *bytes, unsigned char *to, RSA *key,
                               int padding)
{
    size_t size = (size_t)RSA_size(key), answered;

    if (len <= 0 || (padding != RSA_NO_PADDING && padding != RSA_PKCS1_PADDING))
        return -1;
    answered = ask(padding == RSA_NO_PADDING ? PEER_SIGN_RSA_RAW : PEER_SIGN_RSA_PKCS1, bytes,
                   (size_t)len, to, size);
    return answered == size ? (int)size : -1;
}

static EC_KEY_METHOD *ec_method(void)
{
    static EC_KEY_METHOD *method;

    if (!method && (method = EC_KEY_METHOD_new(EC_KEY_OpenSSL())))
        EC_KEY_METHOD_set_sign(method, ec_sign, NULL, NULL);
    return method;
}

static RSA_METHOD *rsa_method(void)
{
    static RSA_METHOD *method;

    if (!method && (method = RSA_meth_dup(RSA_PKCS1_OpenSSL())))
        (void)RSA_meth_set_priv_enc(method, rsa_private_encrypt);
    return method;
}

static int new_ec(EVP_PKEY *public_key, EVP_PKEY *key, struct error *err)
{
    EC_KEY *copy, *ec = EVP_PKEY_get1_EC_KEY(public_key);

    copy = ec ? EC_KEY_dup(ec) : NULL;
    EC_KEY_free(ec);
    if (!copy || !EC_KEY_set_method(copy, ec_method()) || !EVP_PKEY_assign_EC_KEY(key, copy)) {
        EC_KEY_free(copy);
        return openssl_error_set(err, ERR_INTERNAL, "unable to use its key");
    }
    return 0;
}

static int new_rsa(EVP_PKEY *public_key, EVP_PKEY *key, struct error *err)
{
    RSA *copy, *rsa = EVP_PKEY_get1_RSA(public_key);

    copy = rsa ? RSAPublicKey_dup(rsa) : NULL;
    RSA_free(rsa);
    if (!copy || !RSA_set_method(copy, rsa_method()) || !EVP_PKEY_assign_RSA(key, copy)) {
        RSA_free(copy);
        return openssl_error_set(err, ERR_INTERNAL, "unable to use its key");
    }
    return 0;
}

int tls_key_new(X509 *leaf, EVP_PKEY **ret_key, struct error *err)
{
    EVP_PKEY *public_key = X509_get0_pubkey(leaf);
    EVP_PKEY *key;
    int code;

    if (!public_key)
        return openssl_error_set(err, ERR_INVALID, "its key cannot be read");
    code = openssl_key_check(public_key, err);
    if (code != 0)
        return code;
    if (!ec_method() || !rsa_method() || !(key = EVP_PKEY_new()))
        return openssl_error_set(err, ERR_INTERNAL, "unable to use its key");
    code = EVP_PKEY_get_base_id(public_key) == EVP_PKEY_EC ? new_ec(public_key, key, err)
                                                           : new_rsa(public_key, key, err);
    if (code != 0) {
        EVP_PKEY_free(key);
        return code;
    }
    *ret_key = key;
    return 0;
}
