/* tls_private.h - what the files of TLS share.
 *
 *   tls_server.c      tables: certificates, authorities, names
 *   tls_hello.c       what a ClientHello gets
 *   tls_key.c         keys that are elsewhere
 *   tls_ticket.c      session tickets
 *   tls_client.c      verification, sessions
 *   tls_stream.c      OpenSSL's way to the socket
 *   tls_connection.c  accept, handshake, read, write, free
 */
#ifndef NET_TLS_PRIVATE_H
#define NET_TLS_PRIVATE_H

#include "base/arena.h"
#include "base/map.h"
#include "net/openssl_private.h"
#include "net/tls.h"
#include <openssl/ssl.h>

#define TLS_NAME_MAX      255u
#define TLS_RECORD_BYTES  16384u
#define TLS_BATCH_RECORDS (TLS_WRITE_BYTES / TLS_RECORD_BYTES)
#define TLS_LEFT_MAX      (1024u * 1024u) /* encrypted bytes that wait for room in the socket */
#define TLS_CHAIN_MAX     10u
#define TLS_JOBS_MAX      1024u /* handshakes that wait for a signature, 32 KiB of stack each */

/* ---- certificates: one a process, whichever tables use them */

struct tls_certificate {
    uint32_t references;
    uint32_t pem_len;
    char *pem;          /* until it is parsed */
    uint8_t digest[32]; /* of chain and key id: the key in the process's table of them */
    uint8_t key_id[PEER_KEY_ID_BYTES];
    X509 *leaf;
    STACK_OF(X509) * chain; /* without the leaf */
    EVP_PKEY *key;          /* the public half, private operations ask elsewhere; NULL: not parsed,
                               or not usable */
};

/* Parse the text; what comes of it shows in `key`. Not on the stack of a job: OpenSSL's decoders
 * are deep. */
void tls_certificate_parse(struct tls_certificate *certificate);

/* The key of `leaf` without its private half. ERR_INVALID: of a kind that is not served. */
MUST_USE int tls_key_new(X509 *leaf, EVP_PKEY **ret_key, struct error *err);

/* ---- servers */

struct tls_served { /* a certificate in a table, with what is stapled to it */
    struct tls_certificate *certificate;
    struct slice ocsp_der; /* in the server's arena */
};

struct tls_client_ca {
    X509_STORE *store;
    STACK_OF(X509_NAME) * names;
    uint8_t digest[32];
};

struct tls_entry {
    uint32_t certificate, client_ca;
    bool is_on_demand, is_tls13_only, is_http2;
};

struct tls_server {
    uint32_t references;
    struct arena *arena; /* entries, staples */
    struct map *names;   /* name → struct tls_entry */
    struct map *challenges;
    struct tls_served *served;
    uint32_t served_count, served_capacity;
    struct tls_client_ca *authorities;
    uint32_t authority_count;
    uint32_t ticket_key_count;
    uint8_t ticket_keys[TLS_TICKET_KEYS_MAX][TLS_TICKET_KEY_BYTES];
};

/* The entry for a name in lower case: itself, then its wildcard, then "". NULL: none. */
const struct tls_entry *tls_server_find(const struct tls_server *server, struct slice name);
void tls_hello_configure(SSL_CTX *ctx);
int tls_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *context,
                   EVP_MAC_CTX *mac, int is_encrypting);

/* The context of all server connections. NULL: OpenSSL could not make it. */
SSL_CTX *tls_server_context(void);
/* What servers and clients have in common. False: OpenSSL refuses. */
bool tls_context_configure(SSL_CTX *ctx);

/* ---- clients */

struct tls_client {
    uint32_t references;
    SSL_CTX *ctx;
    bool is_unverified, is_http2;
    struct map *sessions; /* "address NUL name" → SSL_SESSION */
};

struct tls;
/* Whom the connection expects, and a session for it if one is kept. */
MUST_USE int tls_client_prepare(struct tls *tls, const char *server_name, struct error *err);

/* ---- connections */

enum tls_state {
    TLS_STATE_HANDSHAKE,
    TLS_STATE_SIGNATURE, /* a handshake's job stands still in its private-key operation */
    TLS_STATE_FLUSH,     /* finished but for bytes that the socket did not take yet */
    TLS_STATE_OPEN,
    TLS_STATE_FINISHED, /* close_notify is sent */
    TLS_STATE_FAILED,
};

struct tls_left { /* encrypted bytes that the socket did not take */
    char *bytes;
    uint32_t start, len, capacity;
};

struct tls_record { /* encrypted, not wholly in the socket */
    uint32_t plain_len;
    uint64_t end; /* position of its last byte in all that was ever encrypted */
};

struct tls {
    SSL *ssl;
    struct tls_server *server; /* or */
    struct tls_client *client;
    const struct tls_entry *entry; /* in `server`; NULL: none found yet */
    uint32_t certificate;          /* index in `server`, in use */
    int fd;
    uint8_t state;   /* enum tls_state */
    bool is_eof;     /* the socket's reading side is at its end */
    bool is_drained; /* the last read(2) took all that there was */
    bool is_starved; /* the last tls_read found no whole record */
    bool is_challenge, is_http2, is_resumed;
    bool is_answered;        /* the signature that is waited for came, or its refusal */
    bool has_job;            /* a stack of OpenSSL's stands still for it */
    bool is_client_unproven; /* a certificate of its chain does not verify */
    bool is_closed;          /* the peer said close_notify */
    uint8_t record_count;
    uint16_t post_handshake; /* messages after the handshake, since the last bytes of data */
    uint16_t name_len;
    char *name;                       /* SNI */
    struct tls_certificate *unparsed; /* the handshake waits for it to be parsed */
    char *session_key;
    uint32_t session_key_len;
    char *subject, *fingerprint; /* of a client's certificate; NULL: none */
    const char *failure;
    struct tls_left left;
    uint64_t queued, sent; /* encrypted bytes, since the beginning */
    struct tls_record records[TLS_BATCH_RECORDS];
    struct tls_sign_request request;
    unsigned char *signature; /* the answer; NULL: refused */
    uint32_t signature_len;
};

/* The connection that OpenSSL works for at this moment: one thread, and every call into OpenSSL
 * that calls back goes through tls_connection.c, which sets it. */
extern struct tls *tls_current;

/* Between two calls into OpenSSL: give back the stacks of a rush that is over. */
void tls_key_trim_jobs(void);

/* ---- the way to the socket */

BIO *tls_stream_new(void); /* reads and writes for tls_current */
/* For one tls_read into `room` bytes: how the socket is read until tls_stream_read_done. */
void tls_stream_read_begin(size_t room);
/* There are bytes to hand out: from here on nothing more is asked of the socket. True: OpenSSL has
 * not got all that was read yet. */
bool tls_stream_read_on(void);
void tls_stream_read_done(void);
/* Hand over what was encrypted. True when nothing is left; false: more when the socket has room, or
 * it is broken (state FAILED). */
bool tls_stream_flush(struct tls *tls);
/* What was encrypted waits for the next flush. */
void tls_stream_keep(struct tls *tls);
void tls_stream_done(struct tls *tls);

#endif
