/* x509_private.h - what the files of x509 share. */
#ifndef NET_X509_PRIVATE_H
#define NET_X509_PRIVATE_H

#include "base/buf.h"
#include "net/openssl_private.h"
#include <openssl/bio.h>

/* ERR_INVALID; texts say nothing of the key. The caller frees. */
MUST_USE int x509_load_key(struct slice key_pem, EVP_PKEY **ret_key, struct error *err);
/* What is in a memory BIO goes to `text`; the BIO is freed. With !is_good: ERR_INTERNAL. */
MUST_USE int x509_append_bio(BIO *bio, bool is_good, struct buf *text, struct error *err);
/* Seconds since 1970; 0 for what was before. False: not a time. */
bool x509_time(const ASN1_TIME *time, uint64_t *ret_seconds);

#endif
