/* private_key.c - signing with prepared contexts: one EVP_PKEY_CTX for each kind of operation is
 * kept with the key, because looking up an algorithm costs a good part of an ECDSA signature. */
#include "net/private_key.h"

#include "net/openssl_private.h"
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>

struct private_key {
    EVP_PKEY *key;
    EVP_PKEY_CTX *sign[PEER_SIGN_ED25519]; /* by kind, made at first use */
};

int private_key_init(struct error *err)
{
    unsigned char bytes[32] = {0}, signature[128];
    size_t len = sizeof(signature);
    EVP_PKEY *key;
    EVP_PKEY_CTX *context;
    bool is_good;

    if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL))
        return openssl_error_set(err, ERR_INTERNAL, "unable to set up OpenSSL");
    key = EVP_EC_gen("P-256"); /* seeds the random numbers */
    context = key ? EVP_PKEY_CTX_new(key, NULL) : NULL;
    is_good = context && EVP_PKEY_sign_init(context) == 1 &&
              EVP_PKEY_sign(context, signature, &len, bytes, sizeof(bytes)) == 1;
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(key);
    return is_good ? 0 : openssl_error_set(err, ERR_INTERNAL, "unable to set up OpenSSL");
}

int private_key_load(struct slice der, const uint8_t id[PEER_KEY_ID_BYTES],
                     struct private_key **ret_key, struct error *err)
{
    const unsigned char *at = (const unsigned char *)der.ptr;
    PKCS8_PRIV_KEY_INFO *info;
    struct private_key *key;
    uint8_t own_id[PEER_KEY_ID_BYTES];
    EVP_PKEY *loaded;
    int code;

    info = der.len && der.len <= INT_MAX ? d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)der.len) : NULL;
    loaded = info ? EVP_PKCS82PKEY(info) : NULL;
    PKCS8_PRIV_KEY_INFO_free(info); /* which wipes it */
    ERR_clear_error();
    if (!loaded)
        return error_set(err, ERR_INVALID, "the key cannot be read");
    code = openssl_key_check(loaded, err);
    if (code == 0 && (!openssl_key_id(loaded, own_id) || memcmp(own_id, id, sizeof(own_id)) != 0))
        code = error_set(err, ERR_INVALID, "the key is another one than its id says");
    if (code != 0) {
        EVP_PKEY_free(loaded);
        return code;
    }
    key = calloc(1, sizeof(*key));
    if (!key)
        abort();
    key->key = loaded;
    *ret_key = key;
    return 0;
}

void private_key_free(struct private_key *key)
{
    if (!key)
        return;
    for (size_t i = 0; i < ARRAY_LEN(key->sign); i++)
        EVP_PKEY_CTX_free(key->sign[i]);
    EVP_PKEY_free(key->key);
    free(key);
}

static EVP_PKEY_CTX *context_for(struct private_key *key, enum peer_sign_kind kind)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key->key, NULL);
    int padding = kind == PEER_SIGN_RSA_RAW ? RSA_NO_PADDING : RSA_PKCS1_PADDING;

    if (context && EVP_PKEY_sign_init(context) == 1 &&
        (kind == PEER_SIGN_ECDSA || EVP_PKEY_CTX_set_rsa_padding(context, padding) == 1))
        return key->sign[kind] = context;
    EVP_PKEY_CTX_free(context);
    return NULL;
}

int private_key_sign(struct private_key *key, enum peer_sign_kind kind, struct slice bytes,
                     uint8_t ret_signature[PEER_SIGNATURE_MAX], size_t *ret_len)
{
    int wanted = kind == PEER_SIGN_ECDSA ? EVP_PKEY_EC : EVP_PKEY_RSA;
    size_t size = (size_t)EVP_PKEY_get_size(key->key), len = PEER_SIGNATURE_MAX;
    EVP_PKEY_CTX *context;
    int r;

    if (kind > PEER_SIGN_RSA_PKCS1 || EVP_PKEY_get_base_id(key->key) != wanted || bytes.len == 0 ||
        bytes.len > PEER_SIGN_BYTES_MAX || size > PEER_SIGNATURE_MAX ||
        (kind == PEER_SIGN_ECDSA && bytes.len > 64) ||
        (kind == PEER_SIGN_RSA_RAW && bytes.len != size) ||
        (kind == PEER_SIGN_RSA_PKCS1 && bytes.len + 11 > size))
        return ERR_INVALID;
    context = key->sign[kind] ? key->sign[kind] : context_for(key, kind);
    r = context ? EVP_PKEY_sign(context, ret_signature, &len, (const unsigned char *)bytes.ptr,
                                bytes.len)
                : 0;
    ERR_clear_error();
    if (r != 1)
        return ERR_FAILED;
    *ret_len = len;
    return 0;
}
