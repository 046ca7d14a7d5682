/* x509_jose.c - JSON Web Keys and Signatures as ACME wants them (RFC 7515, 7517, 7638). */
#include "base/hash.h"
#include "net/x509.h"
#include "net/x509_private.h"
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/hmac.h>

#define COORDINATE_BYTES 32
#define JSON_MAX         (4u * 1024u * 1024u)

void x509_base64url(struct slice bytes, struct buf *ret_text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t i = 0;

    for (; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t three = (uint32_t)(uint8_t)bytes.ptr[i] << 16;

        if (left > 1)
            three |= (uint32_t)(uint8_t)bytes.ptr[i + 1] << 8;
        if (left > 2)
            three |= (uint8_t)bytes.ptr[i + 2];
        buf_append_byte(ret_text, digits[three >> 18]);
        buf_append_byte(ret_text, digits[three >> 12 & 63]);
        if (left > 1)
            buf_append_byte(ret_text, digits[three >> 6 & 63]);
        if (left > 2)
            buf_append_byte(ret_text, digits[three & 63]);
    }
}

static bool append_number(const BIGNUM *number, struct buf *text)
{
    unsigned char bytes[COORDINATE_BYTES];

    if (!number || BN_bn2binpad(number, bytes, sizeof(bytes)) != (int)sizeof(bytes))
        return false;
    x509_base64url((struct slice){(const char *)bytes, sizeof(bytes)}, text);
    return true;
}

static int load_p256(struct slice key_pem, EVP_PKEY **ret_key, struct error *err)
{
    int code = x509_load_key(key_pem, ret_key, err);

    if (code != 0)
        return code;
    if (strcmp(openssl_key_kind(*ret_key), "ECDSA P-256") == 0)
        return 0;
    EVP_PKEY_free(*ret_key);
    return error_set(err, ERR_INVALID, "an account's key is ECDSA P-256");
}

int x509_jwk(struct slice key_pem, struct buf *ret_json, struct error *err)
{
    BIGNUM *x = NULL, *y = NULL;
    bool is_good;
    EVP_PKEY *key;
    int code = load_p256(key_pem, &key, err);

    if (code != 0)
        return code;
    is_good = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &x) &&
              EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &y);
    if (is_good) {
        buf_append_text(ret_json, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"");
        is_good = append_number(x, ret_json);
        buf_append_text(ret_json, "\",\"y\":\"");
        is_good = is_good && append_number(y, ret_json);
        buf_append_text(ret_json, "\"}");
    }
    BN_free(x);
    BN_free(y);
    EVP_PKEY_free(key);
    if (!is_good)
        return openssl_error_set(err, ERR_INTERNAL, "unable to encode a public key");
    return ret_json->failed ? error_set(err, ERR_LIMIT, "the text is too large") : 0;
}

int x509_thumbprint(struct slice key_pem, struct buf *ret_text, struct error *err)
{
    CLEANUP(buf_done) struct buf json = BUF_INIT(1024);
    uint8_t digest[32];
    int code = x509_jwk(key_pem, &json, err);

    if (code != 0)
        return code;
    hash_sha256(json.ptr, json.len, digest);
    x509_base64url((struct slice){(const char *)digest, sizeof(digest)}, ret_text);
    return ret_text->failed ? error_set(err, ERR_LIMIT, "the text is too large") : 0;
}

/* ---- signatures */

/* What is signed: base64url(header) "." base64url(payload). */
static void signing_input(struct slice header_json, struct slice payload, struct buf *input,
                          size_t *ret_header_len)
{
    x509_base64url(header_json, input);
    *ret_header_len = input->len;
    buf_append_byte(input, '.');
    x509_base64url(payload, input);
}

static int assemble(const struct buf *input, size_t header_len, const unsigned char *signature,
                    size_t len, struct buf *ret_json, struct error *err)
{
    if (input->failed)
        return error_set(err, ERR_LIMIT, "the message is too large");
    buf_append_text(ret_json, "{\"protected\":\"");
    buf_append(ret_json, input->ptr, header_len);
    buf_append_text(ret_json, "\",\"payload\":\"");
    buf_append(ret_json, input->ptr + header_len + 1, input->len - header_len - 1);
    buf_append_text(ret_json, "\",\"signature\":\"");
    x509_base64url((struct slice){(const char *)signature, len}, ret_json);
    buf_append_text(ret_json, "\"}");
    return ret_json->failed ? error_set(err, ERR_LIMIT, "the message is too large") : 0;
}

/* RFC 7518 §3.4: not DER, but both numbers in full length. */
static bool sign_es256(EVP_PKEY *key, const struct buf *input, unsigned char ret_signature[64])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned char der[128];
    const unsigned char *at = der;
    size_t len = sizeof(der);
    ECDSA_SIG *signature = NULL;
    bool is_good =
        context && EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
        EVP_DigestSign(context, der, &len, (const unsigned char *)input->ptr, input->len) == 1 &&
        (signature = d2i_ECDSA_SIG(NULL, &at, (long)len)) &&
        BN_bn2binpad(ECDSA_SIG_get0_r(signature), ret_signature, 32) == 32 &&
        BN_bn2binpad(ECDSA_SIG_get0_s(signature), ret_signature + 32, 32) == 32;

    ECDSA_SIG_free(signature);
    EVP_MD_CTX_free(context);
    return is_good;
}

int x509_jws(struct slice key_pem, struct slice header_json, struct slice payload,
             struct buf *ret_json, struct error *err)
{
    CLEANUP(buf_done) struct buf input = BUF_INIT(JSON_MAX);
    unsigned char signature[64];
    size_t header_len;
    bool is_good;
    EVP_PKEY *key;
    int code = load_p256(key_pem, &key, err);

    if (code != 0)
        return code;
    signing_input(header_json, payload, &input, &header_len);
    is_good = !input.failed && sign_es256(key, &input, signature);
    EVP_PKEY_free(key);
    if (!is_good && !input.failed)
        return openssl_error_set(err, ERR_INTERNAL, "unable to sign a message");
    return assemble(&input, header_len, signature, sizeof(signature), ret_json, err);
}

int x509_jws_hmac(struct slice key, struct slice header_json, struct slice payload,
                  struct buf *ret_json, struct error *err)
{
    CLEANUP(buf_done) struct buf input = BUF_INIT(JSON_MAX);
    unsigned char signature[32];
    unsigned len = sizeof(signature);
    size_t header_len;

    if (key.len == 0 || key.len > 4096)
        return error_set(err, ERR_INVALID, "the key has a length of %zu bytes", key.len);
    signing_input(header_json, payload, &input, &header_len);
    if (!input.failed && !HMAC(EVP_sha256(), key.ptr, (int)key.len,
                               (const unsigned char *)input.ptr, input.len, signature, &len))
        return openssl_error_set(err, ERR_INTERNAL, "unable to sign a message");
    return assemble(&input, header_len, signature, len, ret_json, err);
}
