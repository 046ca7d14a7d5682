#include "net/openssl_private.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#undef openssl_error_set

#define AUTHORITIES_MAX 1000u /* several times what a system trusts */

struct reason {
    int code;
    const char *text;
};

/* What happens every day, in words that say more than OpenSSL's. */
static const struct reason reasons[] = {
    {SSL_R_HTTP_REQUEST, "plain HTTP on a TLS port"},
    {SSL_R_WRONG_VERSION_NUMBER, "not TLS"},
    {SSL_R_UNKNOWN_PROTOCOL, "not TLS"},
    {SSL_R_BAD_RECORD_TYPE, "not TLS"},
    {SSL_R_UNEXPECTED_MESSAGE, "a message out of order"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "no TLS version in common"},
    {SSL_R_VERSION_TOO_LOW, "no TLS version in common"},
    {SSL_R_NO_SHARED_CIPHER, "no cipher in common"},
    {SSL_R_NO_SUITABLE_KEY_SHARE, "no key exchange group in common"},
    {SSL_R_NO_SHARED_GROUPS, "no key exchange group in common"},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, "no signature algorithm in common"},
    {SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, "no signature algorithm in common"},
    {SSL_R_NO_APPLICATION_PROTOCOL, "no application protocol in common"},
    {SSL_R_UNEXPECTED_EOF_WHILE_READING, "closed without a close_notify"},
    {SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, "a record that is not authentic"},
    {SSL_R_NO_RENEGOTIATION, "renegotiation"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "the peer does not accept the certificate"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "the peer does not accept the certificate"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "the peer finds the certificate expired"},
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA, "the peer does not know the certificate's authority"},
    {SSL_R_TLSV1_UNRECOGNIZED_NAME, "the peer does not know the name"},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "the peer found nothing in common"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "the peer found no TLS version in common"},
    {SSL_R_CERTIFICATE_VERIFY_FAILED, "the certificate does not verify"},
};

static const char *text_of(unsigned long code)
{
    const char *text;

    if (ERR_GET_LIB(code) == ERR_LIB_SSL)
        for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
            if (ERR_GET_REASON(code) == reasons[i].code)
                return reasons[i].text;
    text = ERR_reason_error_string(code);
    return text ? text : "a TLS error";
}

/* The first error is the cause, the later ones are how it was passed on. */
const char *openssl_error_take(void)
{
    unsigned long code = ERR_peek_error();

    ERR_clear_error();
    return code ? text_of(code) : NULL;
}

int openssl_error_set(struct error *err, int code, const char *context)
{
    const char *text = openssl_error_take();

    return error_set(err, code, "%s: %s", context, text ? text : "not accepted");
}

int openssl_certificates(struct slice pem, size_t max, STACK_OF(X509) * *ret_certificates,
                         struct error *err)
{
    STACK_OF(X509) *all = sk_X509_new_null();
    BIO *bio = pem.len && pem.len <= INT_MAX ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
    X509 *one;
    unsigned long last;
    int code = 0;

    ERR_clear_error();
    while (all && bio && (one = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        if ((size_t)sk_X509_num(all) >= max || !sk_X509_push(all, one)) {
            X509_free(one);
            code = error_set(err, ERR_INVALID, "more than %zu certificates", max);
            break;
        }
    last = ERR_peek_last_error();
    if (code == 0 && all && bio && sk_X509_num(all) > 0 && ERR_GET_LIB(last) == ERR_LIB_PEM &&
        ERR_GET_REASON(last) == PEM_R_NO_START_LINE) {
        ERR_clear_error(); /* the end of the text */
        BIO_free(bio);
        *ret_certificates = all;
        return 0;
    }
    if (code == 0)
        code = openssl_error_set(err, ERR_INVALID, "no certificate in PEM");
    ERR_clear_error();
    BIO_free(bio);
    sk_X509_pop_free(all, X509_free);
    return code;
}

int openssl_authorities(struct slice pem, X509_STORE **ret_store,
                        STACK_OF(X509) * *ret_certificates, struct error *err)
{
    STACK_OF(X509) * certificates;
    X509_STORE *store;
    bool is_good;
    int code = openssl_certificates(pem, AUTHORITIES_MAX, &certificates, err);

    if (code != 0)
        return code;
    store = X509_STORE_new();
    is_good = store && X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    for (int i = 0; is_good && i < sk_X509_num(certificates); i++)
        is_good = X509_STORE_add_cert(store, sk_X509_value(certificates, i)) == 1;
    if (is_good && ret_certificates)
        *ret_certificates = certificates;
    else
        sk_X509_pop_free(certificates, X509_free);
    if (!is_good) {
        X509_STORE_free(store);
        return openssl_error_set(err, ERR_INVALID, "not accepted as an authority");
    }
    *ret_store = store;
    return 0;
}

/* Takes the encoded bytes. */
static bool digest_der(unsigned char *der, int len, uint8_t ret_id[PEER_KEY_ID_BYTES])
{
    bool is_good = len > 0 && EVP_Digest(der, (size_t)len, ret_id, NULL, EVP_sha256(), NULL);

    OPENSSL_free(der);
    return is_good;
}

bool openssl_key_id(EVP_PKEY *key, uint8_t ret_id[PEER_KEY_ID_BYTES])
{
    unsigned char *der = NULL;
    int len = key ? i2d_PUBKEY(key, &der) : -1;

    return digest_der(der, len, ret_id);
}

bool openssl_certificate_key_id(const X509 *certificate, uint8_t ret_id[PEER_KEY_ID_BYTES])
{
    unsigned char *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);

    return digest_der(der, len, ret_id);
}

const char *openssl_key_kind(EVP_PKEY *key)
{
    char curve[32] = "";

    switch (key ? EVP_PKEY_get_base_id(key) : 0) {
    case EVP_PKEY_EC:
        (void)EVP_PKEY_get_group_name(key, curve, sizeof(curve), NULL);
        if (strcmp(curve, SN_X9_62_prime256v1) == 0)
            return "ECDSA P-256";
        return strcmp(curve, SN_secp384r1) == 0 ? "ECDSA P-384" : "ECDSA on another curve";
    case EVP_PKEY_RSA:
        switch (EVP_PKEY_get_bits(key)) {
        case 2048:
            return "RSA 2048";
        case 3072:
            return "RSA 3072";
        case 4096:
            return "RSA 4096";
        default:
            return "RSA of another size";
        }
    case EVP_PKEY_ED25519:
        return "Ed25519";
    default:
        return "another kind";
    }
}

int openssl_key_check(EVP_PKEY *key, struct error *err)
{
    const char *kind = openssl_key_kind(key);
    int bits = EVP_PKEY_get_bits(key), id = EVP_PKEY_get_base_id(key);

    if ((id == EVP_PKEY_EC && strstr(kind, "P-")) ||
        (id == EVP_PKEY_RSA && bits >= OPENSSL_RSA_BITS_MIN && bits <= OPENSSL_RSA_BITS_MAX &&
         bits % 8 == 0))
        return 0;
    return error_set(err, ERR_INVALID,
                     "the key is of a kind that is not served (%s); served are ECDSA P-256 and "
                     "P-384, and RSA from %d to %d bits",
                     kind, OPENSSL_RSA_BITS_MIN, OPENSSL_RSA_BITS_MAX);
}
