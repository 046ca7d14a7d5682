#include "unit.h"

#include "base/clock.h"
#include "base/json.h"
#include "net/private_key.h"
#include "net/x509.h"
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#define DAY_S 86400u

static struct buf authority_key, authority, leaf_key, leaf;
static struct arena *arena;

static X509 *parse(struct slice pem)
{
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);

    BIO_free(bio);
    assert_non_null(certificate);
    return certificate;
}

static EVP_PKEY *parse_key(struct slice pem)
{
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

    BIO_free(bio);
    assert_non_null(key);
    return key;
}

static void append(BIO *bio, struct buf *text)
{
    char *bytes;
    long len = BIO_get_mem_data(bio, &bytes);

    buf_append(text, bytes, (size_t)len);
    BIO_free(bio);
}

static int set_up(void **state)
{
    static const char *const names[] = {"example.org", "*.example.org", "192.0.2.7", "2001:db8::7"};

    (void)state;
    arena = arena_new(1 << 20);
    authority_key = authority = leaf_key = leaf = BUF_INIT(65536);
    assert_int_equal(x509_make_key(&authority_key, NULL), 0);
    assert_int_equal(x509_make_key(&leaf_key, NULL), 0);
    assert_int_equal(x509_make_authority(buf_slice(&authority_key), "An authority", 30 * DAY_S,
                                         &authority, NULL),
                     0);
    assert_int_equal(x509_make_leaf(buf_slice(&authority), buf_slice(&authority_key),
                                    buf_slice(&leaf_key), names, ARRAY_LEN(names), 5 * DAY_S, &leaf,
                                    NULL),
                     0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_wipe(&authority_key);
    buf_wipe(&leaf_key);
    buf_done(&authority);
    buf_done(&leaf);
    arena_free(arena);
    return 0;
}

/* ---- certificates */

static void a_leaf_says_what_it_was_made_with(void **state)
{
    struct x509_facts facts;
    uint8_t id[PEER_KEY_ID_BYTES];
    struct buf der = BUF_INIT(8192);
    uint64_t now = clock_wall_us() / 1000000;

    (void)state;
    assert_int_equal(x509_read(buf_slice(&leaf), arena, &facts, NULL), 0);
    assert_int_equal(facts.name_count, 4);
    assert_string_equal(facts.names[0], "example.org");
    assert_string_equal(facts.names[1], "*.example.org");
    assert_string_equal(facts.names[2], "192.0.2.7");
    assert_string_equal(facts.names[3], "2001:db8::7");
    assert_string_equal(facts.subject, "CN=example.org");
    assert_string_equal(facts.issuer, "CN=An authority");
    assert_int_equal(strlen(facts.serial), 32);
    assert_string_equal(facts.key_kind, "ECDSA P-256");
    assert_null(facts.ocsp_url);
    assert_false(facts.is_must_staple);
    assert_false(facts.is_authority);
    assert_non_null(facts.ari_id);
    assert_in_range(facts.not_before, now - 3700, now - 3500);
    assert_in_range(facts.not_after, now + 5 * DAY_S - 100, now + 5 * DAY_S);
    assert_int_equal(x509_read_key(buf_slice(&leaf_key), id, &der, NULL), 0);
    assert_memory_equal(id, facts.key_id, sizeof(id));
    buf_wipe(&der);
}

static void a_leaf_verifies_against_its_authority_which_signs_leaves_only(void **state)
{
    X509 *root = parse(buf_slice(&authority)), *certificate = parse(buf_slice(&leaf));
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    struct x509_facts facts;

    (void)state;
    assert_int_equal(X509_STORE_add_cert(store, root), 1);
    assert_int_equal(X509_STORE_CTX_init(context, store, certificate, NULL), 1);
    X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_SERVER);
    X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(context), X509_V_FLAG_X509_STRICT);
    assert_int_equal(X509_verify_cert(context), 1);
    assert_int_equal(X509_get_pathlen(root), 0);
    assert_int_equal(X509_get_key_usage(root), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
    assert_int_equal(x509_read(buf_slice(&authority), arena, &facts, NULL), 0);
    assert_true(facts.is_authority);
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    X509_free(root);
    X509_free(certificate);
}

static void a_leaf_does_not_outlive_its_authority(void **state)
{
    static const char *const name = "example.org";
    struct buf pem = BUF_INIT(65536);
    struct x509_facts facts, root;

    (void)state;
    assert_int_equal(x509_make_leaf(buf_slice(&authority), buf_slice(&authority_key),
                                    buf_slice(&leaf_key), &name, 1, 900 * DAY_S, &pem, NULL),
                     0);
    assert_int_equal(x509_read(buf_slice(&pem), arena, &facts, NULL), 0);
    assert_int_equal(x509_read(buf_slice(&authority), arena, &root, NULL), 0);
    assert_int_equal(facts.not_after, root.not_after);
    buf_clear(&pem);
    assert_int_equal(x509_make_leaf(buf_slice(&authority), buf_slice(&leaf_key),
                                    buf_slice(&leaf_key), &name, 1, DAY_S, &pem, NULL),
                     ERR_INVALID);
    buf_done(&pem);
}

/* RFC 9773 §4.1 has this example. */
static void the_ari_identifier_is_that_of_the_rfc(void **state)
{
    static const unsigned char key_id[] = {0x69, 0x88, 0x5b, 0x6b, 0x87, 0x46, 0x40,
                                           0x41, 0xe1, 0xb3, 0x7b, 0x84, 0x7b, 0xa0,
                                           0xae, 0x2c, 0xde, 0x01, 0xc8, 0xd4};
    X509 *certificate = parse(buf_slice(&leaf));
    EVP_PKEY *key = parse_key(buf_slice(&leaf_key));
    AUTHORITY_KEYID *authority_key_id = AUTHORITY_KEYID_new();
    BIO *bio = BIO_new(BIO_s_mem());
    struct buf pem = BUF_INIT(65536);
    struct x509_facts facts;

    (void)state;
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), 0x87654321);
    authority_key_id->keyid = ASN1_OCTET_STRING_new();
    ASN1_OCTET_STRING_set(authority_key_id->keyid, key_id, sizeof(key_id));
    assert_int_equal(X509_add1_ext_i2d(certificate, NID_authority_key_identifier, authority_key_id,
                                       0, X509V3_ADD_REPLACE),
                     1);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    PEM_write_bio_X509(bio, certificate);
    append(bio, &pem);
    assert_int_equal(x509_read(buf_slice(&pem), arena, &facts, NULL), 0);
    assert_string_equal(facts.ari_id, "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
    assert_string_equal(facts.serial, "87654321");
    AUTHORITY_KEYID_free(authority_key_id);
    X509_free(certificate);
    EVP_PKEY_free(key);
    buf_done(&pem);
}

static void responder_and_must_staple_are_found(void **state)
{
    X509 *certificate = parse(buf_slice(&leaf));
    EVP_PKEY *key = parse_key(buf_slice(&leaf_key));
    X509_EXTENSION *extension;
    BIO *bio = BIO_new(BIO_s_mem());
    struct buf pem = BUF_INIT(65536);
    struct x509_facts facts;

    (void)state;
    extension = X509V3_EXT_conf_nid(NULL, NULL, NID_tlsfeature, "status_request");
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
    extension = X509V3_EXT_conf_nid(NULL, NULL, NID_info_access,
                                    "OCSP;URI:ldap://x,OCSP;URI:http://ocsp.test/a");
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    PEM_write_bio_X509(bio, certificate);
    append(bio, &pem);
    assert_int_equal(x509_read(buf_slice(&pem), arena, &facts, NULL), 0);
    assert_true(facts.is_must_staple);
    assert_string_equal(facts.ocsp_url, "http://ocsp.test/a");
    X509_free(certificate);
    EVP_PKEY_free(key);
    buf_done(&pem);
}

static void a_challenge_certificate_carries_the_digest_in_a_critical_extension(void **state)
{
    uint8_t digest[32];
    struct buf pem = BUF_INIT(65536);
    ASN1_OBJECT *object = OBJ_txt2obj("1.3.6.1.5.5.7.1.31", 1);
    X509_EXTENSION *extension;
    struct x509_facts facts;
    X509 *certificate;

    (void)state;
    memset(digest, 0xab, sizeof(digest));
    assert_int_equal(x509_make_challenge(buf_slice(&leaf_key), "example.org", digest, &pem, NULL),
                     0);
    assert_int_equal(x509_read(buf_slice(&pem), arena, &facts, NULL), 0);
    assert_int_equal(facts.name_count, 1);
    assert_string_equal(facts.names[0], "example.org");
    certificate = parse(buf_slice(&pem));
    extension = X509_get_ext(certificate, X509_get_ext_by_OBJ(certificate, object, -1));
    assert_non_null(extension);
    assert_int_equal(X509_EXTENSION_get_critical(extension), 1);
    assert_int_equal(ASN1_STRING_length(X509_EXTENSION_get_data(extension)), 34);
    assert_memory_equal(ASN1_STRING_get0_data(X509_EXTENSION_get_data(extension)) + 2, digest, 32);
    ASN1_OBJECT_free(object);
    X509_free(certificate);
    buf_done(&pem);
}

static void what_is_no_certificate_is_refused(void **state)
{
    static const char *const texts[] = {
        "", "text", "-----BEGIN CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"};
    struct buf cut = BUF_INIT(65536), two = BUF_INIT(131072);
    struct x509_facts facts;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_int_equal(x509_read(slice_from(texts[i]), arena, &facts, NULL), ERR_INVALID);
    assert_int_equal(x509_read(buf_slice(&leaf_key), arena, &facts, NULL), ERR_INVALID);
    buf_append(&cut, leaf.ptr, leaf.len / 2);
    assert_int_equal(x509_read(buf_slice(&cut), arena, &facts, NULL), ERR_INVALID);
    buf_append_slice(&two, buf_slice(&leaf));
    buf_append_slice(&two, buf_slice(&cut)); /* its second one is damaged */
    assert_int_equal(x509_read(buf_slice(&two), arena, &facts, NULL), ERR_INVALID);
    buf_done(&cut);
    buf_done(&two);
}

/* ---- keys */

static void a_key_is_read_in_each_form_and_has_one_id(void **state)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    uint8_t ids[3][PEER_KEY_ID_BYTES];
    struct buf der = BUF_INIT(65536);

    (void)state;
    for (int form = 0; form < 2; form++) {
        BIO *bio = BIO_new(BIO_s_mem());
        struct buf pem = BUF_INIT(65536);

        if (form)
            assert_int_equal(
                PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0, NULL, NULL), 1);
        else
            assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
        append(bio, &pem);
        buf_clear(&der);
        assert_int_equal(x509_read_key(buf_slice(&pem), ids[form], &der, NULL), 0);
        buf_wipe(&pem);
    }
    assert_memory_equal(ids[0], ids[1], PEER_KEY_ID_BYTES);
    EVP_PKEY_free(key);
    buf_wipe(&der);
}

static void a_key_that_cannot_be_used_is_refused_without_being_shown(void **state)
{
    EVP_PKEY *keys[3] = {EVP_RSA_gen(1024), EVP_EC_gen("P-521"),
                         EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")};
    struct buf der = BUF_INIT(65536);
    uint8_t id[PEER_KEY_ID_BYTES];
    struct error err = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        BIO *bio = BIO_new(BIO_s_mem());
        struct buf pem = BUF_INIT(65536);

        PEM_write_bio_PKCS8PrivateKey(bio, keys[i], NULL, NULL, 0, NULL, NULL);
        append(bio, &pem);
        assert_int_equal(x509_read_key(buf_slice(&pem), id, &der, &err), ERR_INVALID);
        assert_non_null(strstr(err.text, "kind that is not served"));
        buf_wipe(&pem);
        EVP_PKEY_free(keys[i]);
    }
    /* With a password: nobody is asked for it. */
    {
        BIO *bio = BIO_new(BIO_s_mem());
        EVP_PKEY *key = parse_key(buf_slice(&leaf_key));
        struct buf pem = BUF_INIT(65536);

        PEM_write_bio_PKCS8PrivateKey(bio, key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL);
        append(bio, &pem);
        assert_int_equal(x509_read_key(buf_slice(&pem), id, &der, &err), ERR_INVALID);
        EVP_PKEY_free(key);
        buf_wipe(&pem);
    }
    assert_int_equal(
        x509_read_key(SLICE("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"),
                      id, &der, &err),
        ERR_INVALID);
    assert_null(strstr(err.text, "c2VjcmV0"));
    assert_int_equal(der.len, 0);
    buf_done(&der);
}

static void a_request_names_what_is_asked_for_and_is_signed(void **state)
{
    static const char *const names[] = {"example.org", "www.example.org"};
    struct buf der = BUF_INIT(65536);
    const unsigned char *at;
    STACK_OF(X509_EXTENSION) * extensions;
    GENERAL_NAMES *alternatives;
    X509_REQ *request;

    (void)state;
    assert_int_equal(x509_make_request(buf_slice(&leaf_key), names, 2, &der, NULL), 0);
    at = (const unsigned char *)der.ptr;
    request = d2i_X509_REQ(NULL, &at, (long)der.len);
    assert_non_null(request);
    assert_int_equal(X509_REQ_verify(request, X509_REQ_get0_pubkey(request)), 1);
    extensions = X509_REQ_get_extensions(request);
    alternatives = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
    assert_int_equal(sk_GENERAL_NAME_num(alternatives), 2);
    GENERAL_NAMES_free(alternatives);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_REQ_free(request);
    buf_done(&der);
}

/* ---- OCSP */

static void answer_make(int status, time_t now, long age_s, long lifetime_s, struct buf *chain,
                        EVP_PKEY *signer, struct buf *der)
{
    X509 *certificate = parse(buf_slice(&leaf)), *issuer = parse(buf_slice(&authority));
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    OCSP_CERTID *id = OCSP_cert_to_id(NULL, certificate, issuer);
    ASN1_TIME *begin = X509_time_adj_ex(NULL, 0, -age_s, &now);
    ASN1_TIME *end = X509_time_adj_ex(NULL, 0, lifetime_s - age_s, &now);
    unsigned char *bytes = NULL;
    OCSP_RESPONSE *answer;
    int len;

    assert_non_null(OCSP_basic_add1_status(
        basic, id, status, 0, status == V_OCSP_CERTSTATUS_REVOKED ? begin : NULL, begin, end));
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, signer), 1);
    assert_int_equal(OCSP_basic_sign_ctx(basic, issuer, context, NULL, OCSP_NOCERTS), 1);
    answer = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    len = i2d_OCSP_RESPONSE(answer, &bytes);
    buf_append(der, bytes, (size_t)len);
    buf_append_slice(chain, buf_slice(&leaf));
    buf_append_slice(chain, buf_slice(&authority));
    EVP_MD_CTX_free(context);
    OPENSSL_free(bytes);
    ASN1_TIME_free(begin);
    ASN1_TIME_free(end);
    OCSP_CERTID_free(id);
    OCSP_RESPONSE_free(answer);
    OCSP_BASICRESP_free(basic);
    X509_free(certificate);
    X509_free(issuer);
}

static void an_ocsp_answer_counts_when_it_is_good_fresh_and_the_issuers(void **state)
{
    static const struct {
        int status;
        long age_s, lifetime_s;
        bool is_damaged;
        int code;
    } cases[] = {
        {V_OCSP_CERTSTATUS_GOOD, 60, 3600, false, 0},
        {V_OCSP_CERTSTATUS_REVOKED, 60, 3600, false, ERR_INVALID},
        {V_OCSP_CERTSTATUS_UNKNOWN, 60, 3600, false, ERR_INVALID},
        {V_OCSP_CERTSTATUS_GOOD, 7200, 3600, false, ERR_INVALID},
        {V_OCSP_CERTSTATUS_GOOD, -7200, 3600, false, ERR_INVALID},
        {V_OCSP_CERTSTATUS_GOOD, 60, 3600, true, ERR_INVALID},
    };
    EVP_PKEY *key = parse_key(buf_slice(&authority_key));
    time_t now = (time_t)(clock_wall_us() / 1000000);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf chain = BUF_INIT(65536), der = BUF_INIT(65536);
        uint64_t next = 0;

        answer_make(cases[i].status, now, cases[i].age_s, cases[i].lifetime_s, &chain, key, &der);
        if (cases[i].is_damaged)
            der.ptr[der.len - 5] ^= 1;
        assert_int_equal(
            x509_ocsp_check(buf_slice(&chain), buf_slice(&der), (uint64_t)now, &next, NULL),
            cases[i].code);
        if (cases[i].code == 0)
            assert_int_equal(next, (uint64_t)(now + 3540));
        assert_int_equal(
            x509_ocsp_check(buf_slice(&leaf), buf_slice(&der), (uint64_t)now, &next, NULL),
            ERR_INVALID);
        buf_clear(&der);
        assert_int_equal(x509_ocsp_request(buf_slice(&chain), &der, NULL), 0);
        assert_true(der.len > 60);
        buf_done(&chain);
        buf_done(&der);
    }
    EVP_PKEY_free(key);
}

/* ---- JSON Web Signatures */

static void base64url_is_that_of_the_rfc(void **state)
{
    static const struct {
        const char *bytes, *text;
    } cases[] = {{"", ""},        {"f", "Zg"},        {"fo", "Zm8"},
                 {"foo", "Zm9v"}, {"foob", "Zm9vYg"}, {"\xff\xfe\xfd", "__79"}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf text = BUF_INIT(64);

        x509_base64url(slice_from(cases[i].bytes), &text);
        assert_string_equal(buf_text(&text), cases[i].text);
        buf_done(&text);
    }
}

static struct buf base64_decode(struct slice text)
{
    struct buf bytes = BUF_INIT(4096);
    uint32_t bits = 0;
    unsigned count = 0;

    for (size_t i = 0; i < text.len; i++) {
        static const char digits[] =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        const char *digit = strchr(digits, text.ptr[i]);

        assert_non_null(digit);
        bits = bits << 6 | (uint32_t)(digit - digits);
        if ((count += 6) >= 8)
            buf_append_byte(&bytes, (char)(bits >> (count -= 8)));
    }
    return bytes;
}

/* The value of a member of flat JSON. */
static struct slice member(struct slice json, const char *name)
{
    char wanted[64];
    ptrdiff_t at;
    struct slice rest;

    snprintf(wanted, sizeof(wanted), "\"%s\":\"", name);
    at = slice_find(json, slice_from(wanted));
    assert_true(at >= 0);
    rest = slice_sub(json, (size_t)at + strlen(wanted), json.len);
    return slice_cut(&rest, '"');
}

static void a_jws_verifies_with_the_key_of_its_jwk(void **state)
{
    struct buf json = BUF_INIT(65536), input = BUF_INIT(65536), raw;
    EVP_PKEY *key = parse_key(buf_slice(&leaf_key));
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    ECDSA_SIG *signature = ECDSA_SIG_new();
    unsigned char *der = NULL;
    int len;

    (void)state;
    assert_int_equal(
        x509_jws(buf_slice(&leaf_key), SLICE("{\"alg\":\"ES256\"}"), SLICE("{}"), &json, NULL), 0);
    assert_slice_equal(member(buf_slice(&json), "protected"), "eyJhbGciOiJFUzI1NiJ9");
    assert_slice_equal(member(buf_slice(&json), "payload"), "e30");
    raw = base64_decode(member(buf_slice(&json), "signature"));
    assert_int_equal(raw.len, 64);
    assert_int_equal(ECDSA_SIG_set0(signature, BN_bin2bn((unsigned char *)raw.ptr, 32, NULL),
                                    BN_bin2bn((unsigned char *)raw.ptr + 32, 32, NULL)),
                     1);
    len = i2d_ECDSA_SIG(signature, &der);
    buf_append_text(&input, "eyJhbGciOiJFUzI1NiJ9.e30");
    assert_int_equal(EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(
        EVP_DigestVerify(context, der, (size_t)len, (unsigned char *)input.ptr, input.len), 1);
    OPENSSL_free(der);
    ECDSA_SIG_free(signature);
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    buf_done(&raw);
    buf_done(&input);
    buf_done(&json);
}

static void a_jwk_has_its_members_in_order_and_its_thumbprint_is_their_digest(void **state)
{
    struct buf json = BUF_INIT(4096), print = BUF_INIT(4096);
    EVP_PKEY *rsa = EVP_RSA_gen(2048);
    BIO *bio = BIO_new(BIO_s_mem());
    struct buf pem = BUF_INIT(65536);

    (void)state;
    assert_int_equal(x509_jwk(buf_slice(&leaf_key), &json, NULL), 0);
    assert_true(
        slice_starts_with(buf_slice(&json), SLICE("{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"")));
    assert_int_equal(member(buf_slice(&json), "x").len, 43);
    assert_int_equal(member(buf_slice(&json), "y").len, 43);
    assert_int_equal(x509_thumbprint(buf_slice(&leaf_key), &print, NULL), 0);
    assert_int_equal(print.len, 43);
    PEM_write_bio_PKCS8PrivateKey(bio, rsa, NULL, NULL, 0, NULL, NULL);
    append(bio, &pem);
    assert_int_equal(x509_jwk(buf_slice(&pem), &json, NULL), ERR_INVALID);
    EVP_PKEY_free(rsa);
    buf_wipe(&pem);
    buf_done(&json);
    buf_done(&print);
}

/* RFC 7515 A.1 has this example, there in the compact form. */
static void an_hmac_signature_is_that_of_the_rfc(void **state)
{
    struct buf json = BUF_INIT(4096);
    struct buf key = base64_decode(SLICE("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75"
                                         "aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"));

    (void)state;
    assert_int_equal(x509_jws_hmac(buf_slice(&key),
                                   SLICE("{\"typ\":\"JWT\",\r\n \"alg\":\"HS256\"}"),
                                   SLICE("{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n "
                                         "\"http://example.com/is_root\":true}"),
                                   &json, NULL),
                     0);
    assert_slice_equal(member(buf_slice(&json), "signature"),
                       "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    buf_done(&json);
    buf_done(&key);
}

static void a_wildcard_stands_for_one_label(void **state)
{
    static const struct {
        const char *name, *host;
        bool is_covered;
    } cases[] = {
        {"a.test", "a.test", true},     {"a.test", "b.test", false},   {"*.test", "a.test", true},
        {"*.test", "b.a.test", false},  {"*.test", "test", false},     {"*.test", ".test", false},
        {"*.test", "*.test", true},     {"*.test", "*.a.test", false}, {"a.test", "*.test", false},
        {"*.a.test", "b.a.test", true}, {"*", "test", false},          {"", "a.test", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(x509_name_covers(slice_from(cases[i].name), slice_from(cases[i].host)),
                         cases[i].is_covered);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leaf_says_what_it_was_made_with),
        cmocka_unit_test(a_leaf_verifies_against_its_authority_which_signs_leaves_only),
        cmocka_unit_test(a_leaf_does_not_outlive_its_authority),
        cmocka_unit_test(the_ari_identifier_is_that_of_the_rfc),
        cmocka_unit_test(a_wildcard_stands_for_one_label),
        cmocka_unit_test(responder_and_must_staple_are_found),
        cmocka_unit_test(a_challenge_certificate_carries_the_digest_in_a_critical_extension),
        cmocka_unit_test(what_is_no_certificate_is_refused),
        cmocka_unit_test(a_key_is_read_in_each_form_and_has_one_id),
        cmocka_unit_test(a_key_that_cannot_be_used_is_refused_without_being_shown),
        cmocka_unit_test(a_request_names_what_is_asked_for_and_is_signed),
        cmocka_unit_test(an_ocsp_answer_counts_when_it_is_good_fresh_and_the_issuers),
        cmocka_unit_test(base64url_is_that_of_the_rfc),
        cmocka_unit_test(a_jws_verifies_with_the_key_of_its_jwk),
        cmocka_unit_test(a_jwk_has_its_members_in_order_and_its_thumbprint_is_their_digest),
        cmocka_unit_test(an_hmac_signature_is_that_of_the_rfc),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
