/* tls_ticket.c - session tickets under keys that all workers of a machine share (RFC 5077 §4).
 *
 * The first key encrypts; all decrypt, so that control can rotate them: a new key is known to every
 * worker before it is used, an old one as long as tickets live. What a ticket may resume is not
 * decided here but by the session id context (tls_hello.c).
 */
#include "net/tls_private.h"
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#define KEY_NAME_BYTES 16u
#define KEY_AES_BYTES  32u
#define KEY_MAC_BYTES  32u

static EVP_CIPHER *cipher_get(void)
{
    static EVP_CIPHER *cipher; /* looked up once: a look-up by name costs as much as its use */

    if (!cipher)
        cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    return cipher;
}

static bool mac_start(EVP_MAC_CTX *mac, uint8_t *key)
{
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key, KEY_MAC_BYTES),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };

    return EVP_MAC_CTX_set_params(mac, parameters);
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3): 1 go on, 2 go on and renew, 0 no ticket, -1 error. */
int tls_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *context,
                   EVP_MAC_CTX *mac, int is_encrypting)
{
    struct tls_server *server = tls_current ? tls_current->server : NULL;
    EVP_CIPHER *cipher = cipher_get();
    uint8_t *key;
    uint32_t i = 0;

    if (!server || server->ticket_key_count == 0 || !cipher)
        return is_encrypting ? -1 : 0;
    if (!is_encrypting) {
        while (i < server->ticket_key_count &&
               CRYPTO_memcmp(server->ticket_keys[i], name, KEY_NAME_BYTES) != 0)
            i++;
        if (i == server->ticket_key_count)
            return 0;
    }
    key = server->ticket_keys[i] + KEY_NAME_BYTES;
    if (!mac_start(mac, key + KEY_AES_BYTES))
        return -1;
    /* Clients show a ticket of TLS 1.3 once (RFC 8446 §C.4): who does not renew it resumes every
     * other time. */
    if (!is_encrypting)
        return !EVP_DecryptInit_ex2(context, cipher, key, iv, NULL) ? -1
               : i == 0 && SSL_version(ssl) != TLS1_3_VERSION       ? 1
                                                                    : 2;
    memcpy(name, server->ticket_keys[0], KEY_NAME_BYTES);
    if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(cipher)) <= 0)
        return -1;
    return EVP_EncryptInit_ex2(context, cipher, key, iv, NULL) ? 1 : -1;
}
