/* x509.c - what certificates say, and private keys. */
#include "net/x509.h"

#include "net/x509_private.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define CHAIN_MAX   10u
#define NAMES_MAX   1000
#define TLS_STATUS  5 /* status_request, RFC 7633 */
#define KEY_PEM_MAX 16384

/* ---- reading */

static int out_of_room(struct error *err)
{
    return error_set(err, ERR_LIMIT, "the certificate says more than there is room for");
}

static char *copy_text(struct arena *arena, const void *bytes, size_t len)
{
    char *text = arena_try(arena, len + 1);

    if (text && len)
        memcpy(text, bytes, len);
    return text;
}

static char *name_text(struct arena *arena, const X509_NAME *name)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *bytes = NULL, *text = NULL;
    long len;

    if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0 &&
        (len = BIO_get_mem_data(bio, &bytes)) >= 0)
        text = copy_text(arena, bytes, (size_t)len);
    BIO_free(bio);
    return text;
}

static const char *alternative_name(struct arena *arena, const GENERAL_NAME *name)
{
    int type;
    const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
    const unsigned char *bytes;
    int len;
    char *text;

    if (type != GEN_DNS && type != GEN_IPADD)
        return NULL;
    bytes = ASN1_STRING_get0_data(value);
    len = ASN1_STRING_length(value);
    if (type == GEN_IPADD) {
        text = arena_try(arena, INET6_ADDRSTRLEN);
        return text && (len == 4 || len == 16)
                   ? inet_ntop(len == 4 ? AF_INET : AF_INET6, bytes, text, INET6_ADDRSTRLEN)
                   : NULL;
    }
    if (len <= 0 || len > 255 || memchr(bytes, 0, (size_t)len))
        return NULL;
    text = copy_text(arena, bytes, (size_t)len);
    for (char *at = text; at && *at; at++)
        *at = (char)tolower((unsigned char)*at);
    return text;
}

static int read_names(X509 *certificate, struct arena *arena, struct x509_facts *facts,
                      struct error *err)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    int count = names ? sk_GENERAL_NAME_num(names) : 0;
    int code = 0;

    if (count > NAMES_MAX ||
        !(facts->names = arena_try(arena, sizeof(char *) * (size_t)(count + 1))))
        code = out_of_room(err);
    for (int i = 0; code == 0 && i < count; i++) {
        const char *name = alternative_name(arena, sk_GENERAL_NAME_value(names, i));

        if (name)
            facts->names[facts->name_count++] = name;
    }
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    return code;
}

bool x509_time(const ASN1_TIME *time, uint64_t *ret_seconds)
{
    struct tm parts;
    time_t seconds;

    if (!time || !ASN1_TIME_to_tm(time, &parts))
        return false;
    seconds = timegm(&parts);
    *ret_seconds = seconds > 0 ? (uint64_t)seconds : 0;
    return true;
}

static const char *serial_text(struct arena *arena, X509 *certificate)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    char *hex = number ? BN_bn2hex(number) : NULL;
    char *text = hex ? copy_text(arena, hex, strlen(hex)) : NULL;

    for (char *at = text; at && *at; at++)
        *at = (char)tolower((unsigned char)*at);
    OPENSSL_free(hex);
    BN_free(number);
    return text;
}

/* RFC 9773 §4.1: the authority's key identifier, a dot, the serial number's DER without tag and
 * length; both in base64url. */
static const char *ari_id(struct arena *arena, X509 *certificate)
{
    const ASN1_OCTET_STRING *key_id = X509_get0_authority_key_id(certificate);
    unsigned char *der = NULL;
    int len = i2d_ASN1_INTEGER(X509_get0_serialNumber(certificate), &der);
    struct buf text = BUF_INIT(1024);
    char *copy = NULL;

    if (key_id && len > 2 && der[1] < 0x80) { /* a serial number has 20 bytes at most */
        x509_base64url((struct slice){(const char *)ASN1_STRING_get0_data(key_id),
                                      (size_t)ASN1_STRING_length(key_id)},
                       &text);
        buf_append_byte(&text, '.');
        x509_base64url((struct slice){(const char *)der + 2, (size_t)len - 2}, &text);
        if (!text.failed)
            copy = copy_text(arena, text.ptr, text.len);
    }
    OPENSSL_free(der);
    buf_done(&text);
    return copy;
}

static const char *ocsp_url(struct arena *arena, X509 *certificate)
{
    STACK_OF(OPENSSL_STRING) *urls = X509_get1_ocsp(certificate);
    const char *text = NULL;

    for (int i = 0; urls && !text && i < sk_OPENSSL_STRING_num(urls); i++) {
        const char *url = sk_OPENSSL_STRING_value(urls, i);

        if (strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0)
            text = copy_text(arena, url, strlen(url));
    }
    X509_email_free(urls);
    return text;
}

static bool is_must_staple(X509 *certificate)
{
    TLS_FEATURE *features = X509_get_ext_d2i(certificate, NID_tlsfeature, NULL, NULL);
    bool is_found = false;

    for (int i = 0; features && i < sk_ASN1_INTEGER_num(features); i++)
        is_found |= ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == TLS_STATUS;
    TLS_FEATURE_free(features);
    return is_found;
}

static int read_facts(X509 *certificate, struct arena *arena, struct x509_facts *facts,
                      struct error *err)
{
    EVP_PKEY *key = X509_get0_pubkey(certificate);
    int code = read_names(certificate, arena, facts, err);

    if (code != 0)
        return code;
    if (!key || !openssl_certificate_key_id(certificate, facts->key_id))
        return openssl_error_set(err, ERR_INVALID, "the certificate's key cannot be read");
    if (!x509_time(X509_get0_notBefore(certificate), &facts->not_before) ||
        !x509_time(X509_get0_notAfter(certificate), &facts->not_after))
        return openssl_error_set(err, ERR_INVALID, "the certificate's dates cannot be read");
    facts->subject = name_text(arena, X509_get_subject_name(certificate));
    facts->issuer = name_text(arena, X509_get_issuer_name(certificate));
    facts->serial = serial_text(arena, certificate);
    if (!facts->subject || !facts->issuer || !facts->serial)
        return out_of_room(err);
    facts->key_kind = openssl_key_kind(key);
    facts->ocsp_url = ocsp_url(arena, certificate);
    facts->is_must_staple = is_must_staple(certificate);
    facts->ari_id = ari_id(arena, certificate);
    facts->is_authority = X509_check_ca(certificate) > 0;
    return 0;
}

int x509_read(struct slice chain_pem, struct arena *arena, struct x509_facts *ret_facts,
              struct error *err)
{
    STACK_OF(X509) * chain;
    struct x509_facts facts = {0};
    int code = openssl_certificates(chain_pem, CHAIN_MAX, &chain, err);

    if (code != 0)
        return code;
    code = read_facts(sk_X509_value(chain, 0), arena, &facts, err);
    sk_X509_pop_free(chain, X509_free);
    ERR_clear_error();
    if (code == 0)
        *ret_facts = facts;
    return code;
}

bool x509_name_covers(struct slice name, struct slice host)
{
    ptrdiff_t dot = slice_find_byte(host, '.');

    if (slice_eq(name, host))
        return true;
    return dot > 0 && slice_starts_with(name, SLICE("*.")) && host.ptr[0] != '*' &&
           slice_eq(slice_sub(name, 1, SIZE_MAX), slice_sub(host, (size_t)dot, SIZE_MAX));
}

/* ---- keys */

/* Instead of asking a terminal: there is no password. */
static int no_password(char *bytes, int size, int is_writing, void *context)
{
    (void)bytes;
    (void)size;
    (void)is_writing;
    (void)context;
    return -1;
}

int x509_load_key(struct slice key_pem, EVP_PKEY **ret_key, struct error *err)
{
    BIO *bio = key_pem.len && key_pem.len <= KEY_PEM_MAX
                   ? BIO_new_mem_buf(key_pem.ptr, (int)key_pem.len)
                   : NULL;
    EVP_PKEY *key;
    int code;

    ERR_clear_error();
    key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    BIO_free(bio);
    ERR_clear_error(); /* OpenSSL's words may come from the text */
    if (!key)
        return error_set(err, ERR_INVALID, "no private key in PEM, or one with a password");
    code = openssl_key_check(key, err);
    if (code != 0) {
        EVP_PKEY_free(key);
        return code;
    }
    *ret_key = key;
    return 0;
}

/* The key as PKCS #8, DER. In one piece: a buffer that grows leaves copies behind. */
static int append_der(EVP_PKEY *key, struct buf *der, struct error *err)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    unsigned char *bytes = NULL;
    int len = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &bytes) : -1;

    PKCS8_PRIV_KEY_INFO_free(info);
    if (len > 0)
        buf_append(der, bytes, (size_t)len);
    OPENSSL_clear_free(bytes, len > 0 ? (size_t)len : 0);
    if (len <= 0)
        return openssl_error_set(err, ERR_INTERNAL, "unable to encode a key");
    return der->failed ? error_set(err, ERR_LIMIT, "the key is too large") : 0;
}

int x509_read_key(struct slice key_pem, uint8_t ret_id[PEER_KEY_ID_BYTES], struct buf *ret_der,
                  struct error *err)
{
    uint8_t id[PEER_KEY_ID_BYTES];
    EVP_PKEY *key;
    int code = x509_load_key(key_pem, &key, err);

    if (code != 0)
        return code;
    if (!openssl_key_id(key, id))
        code = openssl_error_set(err, ERR_INTERNAL, "unable to hash a public key");
    else
        code = append_der(key, ret_der, err);
    EVP_PKEY_free(key);
    if (code == 0)
        memcpy(ret_id, id, sizeof(id));
    return code;
}

int x509_append_bio(BIO *bio, bool is_good, struct buf *text, struct error *err)
{
    char *bytes = NULL;
    long len = is_good && bio ? BIO_get_mem_data(bio, &bytes) : 0;

    if (len > 0)
        buf_append(text, bytes, (size_t)len);
    BIO_free(bio); /* which wipes it */
    if (len <= 0)
        return openssl_error_set(err, ERR_INTERNAL, "unable to encode");
    return text->failed ? error_set(err, ERR_LIMIT, "the text is too large") : 0;
}

int x509_make_key(struct buf *ret_pem, struct error *err)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    bool is_good =
        key && bio && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1;

    EVP_PKEY_free(key);
    return x509_append_bio(bio, is_good, ret_pem, err);
}
