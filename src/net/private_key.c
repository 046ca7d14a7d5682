/* private_key.c - by OpenSSL's functions for ECDSA and RSA as such, not by EVP: loading a key
 * through the decoders of OpenSSL 3.0 takes ten times as long, and a context for each key and kind
 * would have to be kept. RSA is blinded, as these functions do unless told otherwise.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "net/private_key.h"

#include "net/openssl_private.h"
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>

struct private_key { /* one of them */
    EC_KEY *ec;
    RSA *rsa;
};

int private_key_init(struct error *err)
{
    uint8_t digest[32] = {0};
    unsigned char signature[128];
    unsigned len;
    EC_KEY *key;
    bool is_good;

    if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL))
        return openssl_error_set(err, ERR_INTERNAL, "unable to set up OpenSSL");
    key = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1); /* seeds the random numbers */
    is_good = key && EC_KEY_generate_key(key) == 1 &&
              ECDSA_sign(0, digest, sizeof(digest), signature, &len, key) == 1 &&
              EVP_Digest(digest, sizeof(digest), digest, NULL, EVP_sha256(), NULL) == 1;
    EC_KEY_free(key);
    return is_good ? 0 : openssl_error_set(err, ERR_INTERNAL, "unable to set up OpenSSL");
}

/* ---- loading */

/* The curve is in the algorithm's parameters, and need not be in the key itself. */
static EC_KEY *load_ec(const X509_ALGOR *algorithm, const unsigned char *der, int len)
{
    const void *parameter;
    int type, curve;
    EC_KEY *key;

    X509_ALGOR_get0(NULL, &type, &parameter, algorithm);
    curve = type == V_ASN1_OBJECT ? OBJ_obj2nid(parameter) : NID_undef;
    if (curve != NID_X9_62_prime256v1 && curve != NID_secp384r1)
        return NULL;
    key = EC_KEY_new_by_curve_name(curve);
    if (key && d2i_ECPrivateKey(&key, &der, len) &&
        EC_GROUP_get_curve_name(EC_KEY_get0_group(key)) == curve)
        return key;
    EC_KEY_free(key);
    return NULL;
}

static RSA *load_rsa(const unsigned char *der, int len)
{
    RSA *key = d2i_RSAPrivateKey(NULL, &der, len);

    if (key && RSA_bits(key) >= OPENSSL_RSA_BITS_MIN && RSA_bits(key) <= OPENSSL_RSA_BITS_MAX &&
        RSA_bits(key) % 8 == 0)
        return key;
    RSA_free(key);
    return NULL;
}

static bool load(struct slice der, struct private_key *key)
{
    const unsigned char *at = (const unsigned char *)der.ptr, *inner;
    PKCS8_PRIV_KEY_INFO *info =
        der.len && der.len <= INT_MAX ? d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)der.len) : NULL;
    const ASN1_OBJECT *kind;
    const X509_ALGOR *algorithm;
    int len;

    if (info && PKCS8_pkey_get0(&kind, &inner, &len, &algorithm, info)) {
        if (OBJ_obj2nid(kind) == NID_X9_62_id_ecPublicKey)
            key->ec = load_ec(algorithm, inner, len);
        else if (OBJ_obj2nid(kind) == NID_rsaEncryption)
            key->rsa = load_rsa(inner, len);
    }
    PKCS8_PRIV_KEY_INFO_free(info); /* which wipes it */
    ERR_clear_error();
    return key->ec || key->rsa;
}

static bool has_id(struct private_key *key, const uint8_t id[PEER_KEY_ID_BYTES])
{
    unsigned char *der = NULL;
    uint8_t own_id[PEER_KEY_ID_BYTES];
    int len = key->ec ? i2d_EC_PUBKEY(key->ec, &der) : i2d_RSA_PUBKEY(key->rsa, &der);
    bool is_same = len > 0 && EVP_Digest(der, (size_t)len, own_id, NULL, EVP_sha256(), NULL) == 1 &&
                   memcmp(own_id, id, sizeof(own_id)) == 0;

    OPENSSL_free(der);
    return is_same;
}

int private_key_load(struct slice der, const uint8_t id[PEER_KEY_ID_BYTES],
                     struct private_key **ret_key, struct error *err)
{
    struct private_key *key = calloc(1, sizeof(*key));

    if (!key)
        abort();
    if (!load(der, key)) {
        private_key_free(key);
        return error_set(err, ERR_INVALID, "the key cannot be read, or is of another kind");
    }
    if (!has_id(key, id)) {
        private_key_free(key);
        return error_set(err, ERR_INVALID, "the key is another one than its id says");
    }
    *ret_key = key;
    return 0;
}

void private_key_free(struct private_key *key)
{
    if (!key)
        return;
    EC_KEY_free(key->ec); /* both wipe the private numbers */
    RSA_free(key->rsa);
    free(key);
}

/* ---- signing */

static int sign_ecdsa(EC_KEY *key, struct slice digest, uint8_t *signature)
{
    unsigned len = 0;

    if (digest.len > 64 || ECDSA_size(key) > (int)PEER_SIGNATURE_MAX)
        return -1;
    return ECDSA_sign(0, (const unsigned char *)digest.ptr, (int)digest.len, signature, &len,
                      key) == 1
               ? (int)len
               : 0;
}

static int sign_rsa(RSA *key, enum peer_sign_kind kind, struct slice bytes, uint8_t *signature)
{
    size_t size = (size_t)RSA_size(key);
    bool is_raw = kind == PEER_SIGN_RSA_RAW;
    int len;

    if (size > PEER_SIGNATURE_MAX || (is_raw ? bytes.len != size : bytes.len + 11 > size))
        return -1;
    len = RSA_private_encrypt((int)bytes.len, (const unsigned char *)bytes.ptr, signature, key,
                              is_raw ? RSA_NO_PADDING : RSA_PKCS1_PADDING);
    return MAX(len, 0);
}

int private_key_sign(struct private_key *key, enum peer_sign_kind kind, struct slice bytes,
                     uint8_t ret_signature[PEER_SIGNATURE_MAX], size_t *ret_len)
{
    int len = -1;

    if (bytes.len == 0 || bytes.len > PEER_SIGN_BYTES_MAX)
        return ERR_INVALID;
    if (kind == PEER_SIGN_ECDSA && key->ec)
        len = sign_ecdsa(key->ec, bytes, ret_signature);
    else if ((kind == PEER_SIGN_RSA_RAW || kind == PEER_SIGN_RSA_PKCS1) && key->rsa)
        len = sign_rsa(key->rsa, kind, bytes, ret_signature);
    ERR_clear_error();
    if (len <= 0)
        return len < 0 ? ERR_INVALID : ERR_FAILED;
    *ret_len = (size_t)len;
    return 0;
}
