/* x509_ocsp.c - asking whether a certificate is still good (RFC 6960), for stapling. */
#include "net/x509.h"
#include "net/x509_private.h"
#include <openssl/err.h>
#include <openssl/ocsp.h>

#define CHAIN_MAX         10u
#define WITHOUT_UPDATE_S  86400u /* how long an answer holds that names no end */
#define CLOCK_TOLERANCE_S 300u

/* Leaf and issuer of the chain; ERR_INVALID when there is no issuer. */
static int read_pair(struct slice chain_pem, STACK_OF(X509) * *ret_chain, struct error *err)
{
    STACK_OF(X509) * chain;
    int code = openssl_certificates(chain_pem, CHAIN_MAX, &chain, err);

    if (code != 0)
        return code;
    if (sk_X509_num(chain) < 2) {
        sk_X509_pop_free(chain, X509_free);
        return error_set(err, ERR_INVALID, "the chain does not have the certificate's issuer");
    }
    *ret_chain = chain;
    return 0;
}

static OCSP_CERTID *id_of(STACK_OF(X509) * chain)
{
    return OCSP_cert_to_id(NULL, sk_X509_value(chain, 0), sk_X509_value(chain, 1));
}

int x509_ocsp_request(struct slice chain_pem, struct buf *ret_der, struct error *err)
{
    STACK_OF(X509) * chain;
    OCSP_REQUEST *request;
    OCSP_CERTID *id;
    unsigned char *der = NULL;
    int len = -1, code = read_pair(chain_pem, &chain, err);

    if (code != 0)
        return code;
    request = OCSP_REQUEST_new();
    id = id_of(chain);
    if (request && id && OCSP_request_add0_id(request, id)) {
        id = NULL;
        len = i2d_OCSP_REQUEST(request, &der);
    }
    if (len > 0)
        buf_append(ret_der, der, (size_t)len);
    else
        code = openssl_error_set(err, ERR_INTERNAL, "unable to make an OCSP request");
    if (code == 0 && ret_der->failed)
        code = error_set(err, ERR_LIMIT, "the OCSP request is too large");
    OPENSSL_free(der);
    OCSP_CERTID_free(id);
    OCSP_REQUEST_free(request);
    sk_X509_pop_free(chain, X509_free);
    return code;
}

/* Signed by the issuer, or by a responder that the issuer has appointed. */
static bool is_authentic(OCSP_BASICRESP *basic, X509 *issuer, uint64_t now)
{
    X509_STORE *store = X509_STORE_new();
    STACK_OF(X509) *certificates = sk_X509_new_null();
    bool is_good = store && certificates && X509_STORE_add_cert(store, issuer) == 1 &&
                   sk_X509_push(certificates, issuer) > 0;

    if (is_good) {
        X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(store), (time_t)now);
        X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
        is_good = OCSP_basic_verify(basic, certificates, store, 0) == 1;
    }
    sk_X509_free(certificates);
    X509_STORE_free(store);
    return is_good;
}

static int check_status(OCSP_BASICRESP *basic, OCSP_CERTID *id, uint64_t now,
                        uint64_t *ret_next_update, struct error *err)
{
    ASN1_GENERALIZEDTIME *this_update = NULL, *next_update = NULL;
    uint64_t begin, end;
    int status;

    if (!OCSP_resp_find_status(basic, id, &status, NULL, NULL, &this_update, &next_update))
        return error_set(err, ERR_INVALID, "the OCSP answer is about another certificate");
    if (status != V_OCSP_CERTSTATUS_GOOD)
        return error_set(err, ERR_INVALID, "the OCSP answer says that the certificate is %s",
                         status == V_OCSP_CERTSTATUS_REVOKED ? "revoked" : "unknown");
    if (!x509_time(this_update, &begin))
        return error_set(err, ERR_INVALID, "the OCSP answer has no time");
    if (!next_update)
        end = begin + WITHOUT_UPDATE_S;
    else if (!x509_time(next_update, &end))
        return error_set(err, ERR_INVALID, "the OCSP answer has no time");
    if (begin > now + CLOCK_TOLERANCE_S)
        return error_set(err, ERR_INVALID, "the OCSP answer is from the future");
    if (end <= now)
        return error_set(err, ERR_INVALID, "the OCSP answer has expired");
    *ret_next_update = end;
    return 0;
}

static int check_answer(STACK_OF(X509) * chain, struct slice der, uint64_t now,
                        uint64_t *ret_next_update, struct error *err)
{
    const unsigned char *at = (const unsigned char *)der.ptr;
    OCSP_RESPONSE *answer =
        der.len && der.len <= INT_MAX ? d2i_OCSP_RESPONSE(NULL, &at, (long)der.len) : NULL;
    OCSP_BASICRESP *basic = NULL;
    OCSP_CERTID *id = NULL;
    int code;

    if (!answer)
        code = openssl_error_set(err, ERR_INVALID, "the OCSP answer cannot be read");
    else if (OCSP_response_status(answer) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
        code = error_set(err, ERR_UNAVAILABLE, "the OCSP responder says: %s",
                         OCSP_response_status_str(OCSP_response_status(answer)));
    else if (!(basic = OCSP_response_get1_basic(answer)) || !(id = id_of(chain)))
        code = openssl_error_set(err, ERR_INVALID, "the OCSP answer cannot be read");
    else if (!is_authentic(basic, sk_X509_value(chain, 1), now))
        code = openssl_error_set(err, ERR_INVALID, "the OCSP answer is not the issuer's");
    else
        code = check_status(basic, id, now, ret_next_update, err);
    OCSP_CERTID_free(id);
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(answer);
    ERR_clear_error();
    return code;
}

int x509_ocsp_check(struct slice chain_pem, struct slice answer_der, uint64_t now,
                    uint64_t *ret_next_update, struct error *err)
{
    STACK_OF(X509) * chain;
    int code = read_pair(chain_pem, &chain, err);

    if (code != 0)
        return code;
    code = check_answer(chain, answer_der, now, ret_next_update, err);
    sk_X509_pop_free(chain, X509_free);
    return code;
}
