/* x509_make.c - certificates and signing requests of our own. */
#include "base/clock.h"
#include "net/x509.h"
#include "net/x509_private.h"
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#define COMMON_NAME_MAX 64 /* RFC 5280, ub-common-name */
#define SERIAL_BYTES    16
#define CLOCK_SKEW_S    3600
#define NAMES_MAX       100

/* ---- parts */

static bool set_common_name(X509_NAME *subject, const char *name)
{
    return X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
                                      (const unsigned char *)name, -1, -1, 0) == 1;
}

static GENERAL_NAME *general_name(const char *name)
{
    unsigned char address[16];
    GENERAL_NAME *general = GENERAL_NAME_new();
    int len = inet_pton(AF_INET, name, address) == 1    ? 4
              : inet_pton(AF_INET6, name, address) == 1 ? 16
                                                        : 0;
    ASN1_STRING *value =
        general ? ASN1_STRING_type_new(len ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING) : NULL;

    if (!value || !ASN1_STRING_set(value, len ? (const void *)address : name, len ? len : -1)) {
        ASN1_STRING_free(value);
        GENERAL_NAME_free(general);
        return NULL;
    }
    GENERAL_NAME_set0_value(general, len ? GEN_IPADD : GEN_DNS, value);
    return general;
}

static GENERAL_NAMES *general_names(const char *const *names, size_t count)
{
    GENERAL_NAMES *all = count <= NAMES_MAX ? GENERAL_NAMES_new() : NULL;

    for (size_t i = 0; all && i < count; i++) {
        GENERAL_NAME *one = general_name(names[i]);

        if (!one || !sk_GENERAL_NAME_push(all, one)) {
            GENERAL_NAME_free(one);
            GENERAL_NAMES_free(all);
            return NULL;
        }
    }
    return all;
}

/* An extension in OpenSSL's own notation. */
static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;
    bool is_good;

    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    is_good = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return is_good;
}

/* Version 3, a random serial number, valid from an hour ago (clocks differ). */
static X509 *certificate_new(EVP_PKEY *key, uint64_t lifetime_s)
{
    X509 *certificate = X509_new();
    unsigned char serial[SERIAL_BYTES] = {0};
    BIGNUM *number = NULL;
    time_t now = (time_t)(clock_wall_us() / 1000000);
    bool is_good = certificate && RAND_bytes(serial, sizeof(serial)) == 1;

    serial[0] = (unsigned char)((serial[0] & 0x7f) | 0x40); /* positive, of full length */
    is_good = is_good && (number = BN_bin2bn(serial, sizeof(serial), NULL)) &&
              BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) &&
              X509_set_version(certificate, X509_VERSION_3) &&
              X509_time_adj_ex(X509_getm_notBefore(certificate), 0, -CLOCK_SKEW_S, &now) &&
              X509_time_adj_ex(X509_getm_notAfter(certificate), (int)(lifetime_s / 86400),
                               (long)(lifetime_s % 86400), &now) &&
              X509_set_pubkey(certificate, key);
    BN_free(number);
    if (is_good)
        return certificate;
    X509_free(certificate);
    return NULL;
}

static int finish(X509 *certificate, bool is_good, EVP_PKEY *signing_key, struct buf *ret_pem,
                  struct error *err)
{
    BIO *bio = BIO_new(BIO_s_mem());

    is_good = is_good && bio && X509_sign(certificate, signing_key, EVP_sha256()) > 0 &&
              PEM_write_bio_X509(bio, certificate) == 1;
    X509_free(certificate);
    return x509_append_bio(bio, is_good, ret_pem, err);
}

/* ---- what control asks for */

static int encode_request(X509_REQ *request, struct buf *ret_der, struct error *err)
{
    unsigned char *der = NULL;
    int len = i2d_X509_REQ(request, &der);

    if (len > 0)
        buf_append(ret_der, der, (size_t)len);
    OPENSSL_free(der);
    if (len <= 0)
        return openssl_error_set(err, ERR_INTERNAL, "unable to encode a signing request");
    return ret_der->failed ? error_set(err, ERR_LIMIT, "the signing request is too large") : 0;
}

int x509_make_request(struct slice key_pem, const char *const *names, size_t name_count,
                      struct buf *ret_der, struct error *err)
{
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    GENERAL_NAMES *all = NULL;
    X509_REQ *request;
    EVP_PKEY *key;
    int code;

    if (name_count == 0 || name_count > NAMES_MAX)
        return error_set(err, ERR_INVALID, "a signing request has 1 to %d names", NAMES_MAX);
    code = x509_load_key(key_pem, &key, err);
    if (code != 0)
        return code;
    request = X509_REQ_new();
    if (!request || !(all = general_names(names, name_count)) ||
        X509V3_add1_i2d(&extensions, NID_subject_alt_name, all, 0, X509V3_ADD_DEFAULT) != 1 ||
        (strlen(names[0]) <= COMMON_NAME_MAX &&
         !set_common_name(X509_REQ_get_subject_name(request), names[0])) ||
        X509_REQ_add_extensions(request, extensions) != 1 ||
        X509_REQ_set_pubkey(request, key) != 1 || X509_REQ_sign(request, key, EVP_sha256()) <= 0)
        code = openssl_error_set(err, ERR_INTERNAL, "unable to make a signing request");
    else
        code = encode_request(request, ret_der, err);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    GENERAL_NAMES_free(all);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    return code;
}

int x509_make_authority(struct slice key_pem, const char *name, uint64_t lifetime_s,
                        struct buf *ret_pem, struct error *err)
{
    X509 *certificate;
    EVP_PKEY *key;
    bool is_good;
    int code = x509_load_key(key_pem, &key, err);

    if (code != 0)
        return code;
    certificate = certificate_new(key, lifetime_s);
    is_good =
        certificate && set_common_name(X509_get_subject_name(certificate), name) &&
        X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) &&
        add_extension(certificate, certificate, NID_basic_constraints,
                      "critical,CA:TRUE,pathlen:0") &&
        add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign") &&
        add_extension(certificate, certificate, NID_subject_key_identifier, "hash");
    code = finish(certificate, is_good, key, ret_pem, err);
    EVP_PKEY_free(key);
    return code;
}

static bool fill_leaf(X509 *certificate, X509 *authority, const char *const *names,
                      size_t name_count)
{
    GENERAL_NAMES *all = general_names(names, name_count);
    /* Not beyond the authority: no client would believe the rest. */
    bool is_good =
        all && X509_set_issuer_name(certificate, X509_get_subject_name(authority)) &&
        (ASN1_TIME_compare(X509_get0_notAfter(certificate), X509_get0_notAfter(authority)) <= 0 ||
         X509_set1_notAfter(certificate, X509_get0_notAfter(authority))) &&
        (strlen(names[0]) > COMMON_NAME_MAX ||
         set_common_name(X509_get_subject_name(certificate), names[0])) &&
        X509_add1_ext_i2d(certificate, NID_subject_alt_name, all, 0, X509V3_ADD_DEFAULT) == 1 &&
        add_extension(certificate, authority, NID_basic_constraints, "critical,CA:FALSE") &&
        add_extension(certificate, authority, NID_key_usage,
                      "critical,digitalSignature,keyEncipherment") &&
        add_extension(certificate, authority, NID_ext_key_usage, "serverAuth") &&
        add_extension(certificate, authority, NID_subject_key_identifier, "hash") &&
        add_extension(certificate, authority, NID_authority_key_identifier, "keyid:always");

    GENERAL_NAMES_free(all);
    return is_good;
}

int x509_make_leaf(struct slice authority_pem, struct slice authority_key_pem, struct slice key_pem,
                   const char *const *names, size_t name_count, uint64_t lifetime_s,
                   struct buf *ret_pem, struct error *err)
{
    STACK_OF(X509) * authorities;
    EVP_PKEY *authority_key = NULL, *key = NULL;
    int code;

    if (name_count == 0 || name_count > NAMES_MAX)
        return error_set(err, ERR_INVALID, "a certificate has 1 to %d names", NAMES_MAX);
    code = openssl_certificates(authority_pem, 1, &authorities, err);
    if (code != 0)
        return code;
    code = x509_load_key(authority_key_pem, &authority_key, err);
    if (code == 0)
        code = x509_load_key(key_pem, &key, err);
    if (code == 0 && X509_check_private_key(sk_X509_value(authorities, 0), authority_key) != 1)
        code = openssl_error_set(err, ERR_INVALID, "the authority's key is not its certificate's");
    if (code == 0) {
        X509 *leaf = certificate_new(key, lifetime_s);
        bool is_good = leaf && fill_leaf(leaf, sk_X509_value(authorities, 0), names, name_count);

        code = finish(leaf, is_good, authority_key, ret_pem, err);
    }
    EVP_PKEY_free(key);
    EVP_PKEY_free(authority_key);
    sk_X509_pop_free(authorities, X509_free);
    return code;
}

/* acmeIdentifier (RFC 8737 §3): critical, an octet string with the digest. */
static bool add_acme_identifier(X509 *certificate, const uint8_t digest[32])
{
    unsigned char der[34] = {V_ASN1_OCTET_STRING, 32};
    ASN1_OBJECT *object = OBJ_txt2obj("1.3.6.1.5.5.7.1.31", 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *extension = NULL;
    bool is_good;

    memcpy(der + 2, digest, 32);
    is_good = object && value && ASN1_OCTET_STRING_set(value, der, sizeof(der)) &&
              (extension = X509_EXTENSION_create_by_OBJ(NULL, object, 1, value)) &&
              X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(object);
    return is_good;
}

int x509_make_challenge(struct slice key_pem, const char *name, const uint8_t digest[32],
                        struct buf *ret_pem, struct error *err)
{
    GENERAL_NAMES *names = general_names(&name, 1);
    X509 *certificate = NULL;
    EVP_PKEY *key;
    bool is_good;
    int code = x509_load_key(key_pem, &key, err);

    if (code != 0) {
        GENERAL_NAMES_free(names);
        return code;
    }
    is_good =
        names && (certificate = certificate_new(key, 86400)) &&
        set_common_name(X509_get_subject_name(certificate), "ACME challenge") &&
        X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) &&
        X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1 &&
        add_acme_identifier(certificate, digest);
    GENERAL_NAMES_free(names);
    code = finish(certificate, is_good, key, ret_pem, err);
    EVP_PKEY_free(key);
    return code;
}
