/* tls_pair.h - for tests of TLS: identities made on the spot, the signer's part, and two ends of a
 * connection with a wire between them that can be slow or cut. */
#ifndef TEST_NET_TLS_PAIR_H
#define TEST_NET_TLS_PAIR_H

#include "unit.h"

#include "base/clock.h"
#include "net/private_key.h"
#include "net/tls.h"
#include "net/x509.h"
#include "os/socket.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#define DAY_S 86400u

struct authority {
    struct buf key, pem;
};

struct identity {
    struct buf key, pem, der;
    uint8_t id[PEER_KEY_ID_BYTES];
    struct private_key *private_key;
};

static inline struct authority authority_make(const char *name)
{
    struct authority authority = {BUF_INIT(65536), BUF_INIT(65536)};

    assert_int_equal(x509_make_key(&authority.key, NULL), 0);
    assert_int_equal(
        x509_make_authority(buf_slice(&authority.key), name, 10 * DAY_S, &authority.pem, NULL), 0);
    return authority;
}

static inline void authority_done(struct authority *authority)
{
    buf_wipe(&authority->key);
    buf_done(&authority->pem);
}

/* The rest of an identity whose key and certificate are there. */
static inline void identity_load(struct identity *identity)
{
    struct error err = {0};

    identity->der = BUF_INIT(65536);
    if (x509_read_key(buf_slice(&identity->key), identity->id, &identity->der, &err) != 0 ||
        private_key_load(buf_slice(&identity->der), identity->id, &identity->private_key, &err) !=
            0)
        fail_msg("%s", err.text);
}

static inline struct identity identity_make(const struct authority *authority, const char *name,
                                            uint64_t lifetime_s)
{
    struct identity identity = {.key = BUF_INIT(65536), .pem = BUF_INIT(65536)};

    assert_int_equal(x509_make_key(&identity.key, NULL), 0);
    assert_int_equal(x509_make_leaf(buf_slice(&authority->pem), buf_slice(&authority->key),
                                    buf_slice(&identity.key), &name, 1, lifetime_s, &identity.pem,
                                    NULL),
                     0);
    identity_load(&identity);
    return identity;
}

static inline void identity_done(struct identity *identity)
{
    buf_wipe(&identity->key);
    buf_wipe(&identity->der);
    buf_done(&identity->pem);
    private_key_free(identity->private_key);
}

/* ---- servers */

static inline uint32_t server_certificate(struct tls_server *server,
                                          const struct identity *identity)
{
    struct tls_certificate_spec spec = {.chain_pem = buf_slice(&identity->pem)};
    struct error err = {0};
    uint32_t index = TLS_NO_CERTIFICATE;

    memcpy(spec.key_id, identity->id, sizeof(spec.key_id));
    if (tls_server_certificate(server, &spec, &index, &err) != 0)
        fail_msg("%s", err.text);
    return index;
}

static inline void server_name(struct tls_server *server, const char *name, uint32_t certificate)
{
    struct tls_name_spec spec = {.name = slice_from(name),
                                 .certificate = certificate,
                                 .client_ca = TLS_NO_CLIENT_CA,
                                 .is_http2 = true};

    assert_int_equal(tls_server_name(server, &spec, NULL), 0);
}

static inline void server_tickets(struct tls_server *server, uint8_t first)
{
    char keys[2 * TLS_TICKET_KEY_BYTES];

    memset(keys, first, TLS_TICKET_KEY_BYTES);
    memset(keys + TLS_TICKET_KEY_BYTES, first + 1, TLS_TICKET_KEY_BYTES);
    assert_int_equal(tls_server_ticket_keys(server, (struct slice){keys, sizeof(keys)}, NULL), 0);
}

/* One identity under one name. */
static inline struct tls_server *server_of(const struct identity *identity, const char *name)
{
    struct tls_server *server;

    assert_int_equal(tls_server_new(&server, NULL), 0);
    server_name(server, name, server_certificate(server, identity));
    return server;
}

static inline struct tls_client *client_of(struct slice ca_pem, bool is_http2)
{
    struct tls_client_spec spec = {.ca_pem = ca_pem, .is_http2 = is_http2};
    struct tls_client *client;
    struct error err = {0};

    if (tls_client_new(&spec, &client, &err) != 0)
        fail_msg("%s", err.text);
    return client;
}

/* ---- a connection */

struct wire { /* from one end to the other */
    int from, to;
    size_t step, passed, cut_after; /* 0: as much as there is; never */
};

struct pair {
    struct tls *server, *client;
    int fds[4]; /* server's, wire's, wire's, client's; without a wire fds[3] is the server's peer */
    bool has_wire;
    struct wire up, down;
    const struct identity *identities;
    size_t identity_count;
    enum tls_result server_result, client_result;
    unsigned signatures;
};

static inline void pair_open(struct pair *pair, struct tls_server *server,
                             struct tls_client *client, const char *name,
                             const struct identity *identities, size_t identity_count)
{
    struct error err = {0};

    memset(pair, 0, sizeof(*pair));
    pair->identities = identities;
    pair->identity_count = identity_count;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair->fds),
                     0);
    assert_int_equal(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair->fds + 2), 0);
    pair->up = (struct wire){.from = pair->fds[2], .to = pair->fds[1]};
    pair->down = (struct wire){.from = pair->fds[1], .to = pair->fds[2]};
    if (server && tls_accept(server, pair->fds[0], &pair->server, &err) != 0)
        fail_msg("%s", err.text);
    if (client && tls_connect(client, pair->fds[3], name, &pair->client, &err) != 0)
        fail_msg("%s", err.text);
}

static inline void pair_done(struct pair *pair)
{
    tls_free(pair->client);
    tls_free(pair->server);
    for (size_t i = 0; i < 4; i++)
        if (pair->fds[i] >= 0)
            (void)close(pair->fds[i]);
}

/* Carry what is there; true when something moved. */
static inline bool wire_move(struct wire *wire)
{
    char bytes[65536];
    size_t want = wire->step ? wire->step : sizeof(bytes);
    ssize_t got;

    if (wire->cut_after && wire->cut_after - wire->passed < want)
        want = wire->cut_after - wire->passed;
    if (want == 0 || (got = recv(wire->from, bytes, want, MSG_PEEK)) <= 0)
        return false;
    got = send(wire->to, bytes, (size_t)got, MSG_NOSIGNAL);
    if (got <= 0)
        return false;
    assert_int_equal(recv(wire->from, bytes, (size_t)got, 0), got);
    wire->passed += (size_t)got;
    return true;
}

static inline bool pair_move(struct pair *pair)
{
    bool up = wire_move(&pair->up), down = wire_move(&pair->down);

    return up || down;
}

static inline void pair_sign(struct pair *pair)
{
    const struct tls_sign_request *request = tls_sign_request(pair->server);
    uint8_t signature[PEER_SIGNATURE_MAX];
    size_t len = 0;

    assert_non_null(request);
    for (size_t i = 0; i < pair->identity_count; i++)
        if (memcmp(pair->identities[i].id, request->key_id, PEER_KEY_ID_BYTES) == 0)
            assert_int_equal(
                private_key_sign(pair->identities[i].private_key, request->kind,
                                 (struct slice){(const char *)request->bytes, request->len},
                                 signature, &len),
                0);
    pair->signatures++;
    tls_sign_answer(pair->server, (struct slice){(const char *)signature, len});
}

/* Until nothing moves any more. Both results say how far each side is. */
static inline void pair_shake(struct pair *pair)
{
    bool is_moving = true;

    pair->server_result = pair->client_result = TLS_WANT_READ;
    while (is_moving) {
        is_moving = false;
        if (pair->client && pair->client_result != TLS_DONE && pair->client_result != TLS_FAILED)
            pair->client_result = tls_handshake(pair->client);
        is_moving |= pair_move(pair);
        if (pair->server && pair->server_result != TLS_DONE && pair->server_result != TLS_FAILED) {
            pair->server_result = tls_handshake(pair->server);
            if (pair->server_result == TLS_WANT_SIGNATURE) {
                pair_sign(pair);
                is_moving = true;
            }
        }
        is_moving |= pair_move(pair);
    }
}

static inline void pair_must_shake(struct pair *pair)
{
    pair_shake(pair);
    if (pair->server_result != TLS_DONE || pair->client_result != TLS_DONE)
        fail_msg("server: %s, client: %s", tls_failure(pair->server), tls_failure(pair->client));
}

/* All of `text` from one end to the other. */
static inline void pair_say(struct pair *pair, struct tls *from, struct tls *to, const char *text)
{
    char bytes[4096];
    struct iovec part = {(char *)(uintptr_t)text, strlen(text)};
    ssize_t got = TLS_AGAIN;

    assert_int_equal(tls_write(from, &part, 1), strlen(text));
    for (int turn = 0; turn < 100000 && got == TLS_AGAIN; turn++) {
        (void)pair_move(pair);
        got = tls_read(to, bytes, sizeof(bytes));
    }
    assert_int_equal(got, strlen(text));
    assert_memory_equal(bytes, text, strlen(text));
}

#endif
