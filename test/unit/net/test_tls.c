/* Connections between the two halves of tls.h: handshakes, records, ends. */
#include "tls_pair.h"

#include "net/tls_private.h"
#include "os/file.h"
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

static struct authority authority;
static struct identity alpha, beta;
static struct tls_client *client;

static int set_up(void **state)
{
    (void)state;
    authority = authority_make("Test authority");
    alpha = identity_make(&authority, "alpha.test", DAY_S);
    beta = identity_make(&authority, "beta.test", DAY_S);
    client = client_of(buf_slice(&authority.pem), true);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tls_client_unref(client);
    identity_done(&alpha);
    identity_done(&beta);
    authority_done(&authority);
    return 0;
}

/* alpha.test by its own certificate, the handshake still to come. */
static void open_alpha(struct pair *pair)
{
    struct tls_server *server = server_of(&alpha, "alpha.test");

    pair_open(pair, server, client, "alpha.test", &alpha, 1);
    tls_server_unref(server); /* the connection keeps it */
}

/* ---- handshakes */

static void a_connection_carries_bytes_both_ways_with_the_key_elsewhere(void **state)
{
    struct pair pair;

    (void)state;
    open_alpha(&pair);
    pair_must_shake(&pair);
    assert_int_equal(pair.signatures, 1);
    assert_string_equal(tls_version(pair.server), "TLSv1.3");
    assert_string_equal(tls_cipher(pair.server), "TLS_AES_128_GCM_SHA256");
    assert_slice_equal(tls_name(pair.server), "alpha.test");
    assert_true(tls_is_http2(pair.server));
    assert_true(tls_is_http2(pair.client));
    pair_say(&pair, pair.client, pair.server, "ping");
    pair_say(&pair, pair.server, pair.client, "pong");
    pair_done(&pair);
}

static void tls_1_2_works_and_1_1_does_not(void **state)
{
    struct pair pair;

    (void)state;
    open_alpha(&pair);
    SSL_set_max_proto_version(pair.client->ssl, TLS1_2_VERSION);
    pair_must_shake(&pair);
    assert_string_equal(tls_version(pair.server), "TLSv1.2");
    assert_string_equal(tls_cipher(pair.server), "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
    pair_say(&pair, pair.client, pair.server, "ping");
    pair_done(&pair);

    open_alpha(&pair);
    SSL_set_min_proto_version(pair.client->ssl, TLS1_1_VERSION);
    SSL_set_max_proto_version(pair.client->ssl, TLS1_1_VERSION);
    SSL_set_security_level(pair.client->ssl, 0);
    SSL_set_cipher_list(pair.client->ssl, "ALL:@SECLEVEL=0");
    pair_shake(&pair);
    assert_int_equal(pair.server_result, TLS_FAILED);
    assert_string_equal(tls_failure(pair.server), "no TLS version in common");
    pair_done(&pair);
}

static void tls_1_2_has_only_forward_secret_authenticated_ciphers(void **state)
{
    static const char *const refused[] = {"ECDHE-ECDSA-AES128-SHA256", "AES128-GCM-SHA256",
                                          "ECDHE-ECDSA-AES256-SHA", "DHE-RSA-AES128-GCM-SHA256"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct pair pair;

        open_alpha(&pair);
        SSL_set_max_proto_version(pair.client->ssl, TLS1_2_VERSION);
        assert_int_equal(SSL_set_cipher_list(pair.client->ssl, refused[i]), 1);
        pair_shake(&pair);
        assert_int_equal(pair.server_result, TLS_FAILED);
        assert_string_equal(tls_failure(pair.server), "no cipher in common");
        pair_done(&pair);
    }
}

/* A key that x509.h does not make. */
static struct identity identity_of_key(EVP_PKEY *key)
{
    static const char *const name = "other.test";
    struct identity identity = {.key = BUF_INIT(65536), .pem = BUF_INIT(65536)};
    BIO *bio = BIO_new(BIO_s_mem());
    char *bytes;
    long len;

    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    len = BIO_get_mem_data(bio, &bytes);
    buf_append(&identity.key, bytes, (size_t)len);
    BIO_free(bio);
    EVP_PKEY_free(key);
    assert_int_equal(x509_make_leaf(buf_slice(&authority.pem), buf_slice(&authority.key),
                                    buf_slice(&identity.key), &name, 1, DAY_S, &identity.pem, NULL),
                     0);
    identity_load(&identity);
    return identity;
}

static void rsa_and_p_384_keys_sign_in_both_versions(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct identity identity = identity_of_key(kind ? EVP_EC_gen("P-384") : EVP_RSA_gen(2048));
        static const char *const algorithms[] = {"RSA+SHA256:ECDSA+SHA384",
                                                 "RSA-PSS+SHA256:ECDSA+SHA384",
                                                 "RSA-PSS+SHA384:ECDSA+SHA256:ECDSA+SHA384"};

        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
            for (size_t i = version == TLS1_3_VERSION; i < ARRAY_LEN(algorithms); i++) {
                struct tls_server *server = server_of(&identity, "other.test");
                struct pair pair;

                pair_open(&pair, server, client, "other.test", &identity, 1);
                tls_server_unref(server);
                SSL_set_max_proto_version(pair.client->ssl, version);
                SSL_set_min_proto_version(pair.client->ssl, version);
                assert_int_equal(SSL_set1_sigalgs_list(pair.client->ssl, algorithms[i]), 1);
                pair_must_shake(&pair);
                pair_say(&pair, pair.client, pair.server, "ping");
                pair_done(&pair);
            }
        identity_done(&identity);
    }
}

static void a_refused_signature_fails_the_handshake(void **state)
{
    struct tls_server *server = server_of(&alpha, "alpha.test");
    struct pair pair;

    (void)state;
    pair_open(&pair, server, client, "alpha.test", &beta, 1);
    tls_server_unref(server);
    pair_shake(&pair);
    assert_int_equal(pair.server_result, TLS_FAILED);
    assert_int_equal(pair.client_result, TLS_FAILED);
    pair_done(&pair);
}

static void a_wrong_signature_is_seen_by_the_client(void **state)
{
    struct pair pair;

    (void)state;
    open_alpha(&pair);
    assert_int_equal(tls_handshake(pair.client), TLS_WANT_READ);
    assert_true(pair_move(&pair));
    assert_int_equal(tls_handshake(pair.server), TLS_WANT_SIGNATURE);
    assert_int_equal(tls_handshake(pair.server), TLS_WANT_SIGNATURE); /* still */
    tls_sign_answer(pair.server, SLICE("not a signature at all"));
    assert_int_equal(tls_handshake(pair.server), TLS_WANT_READ);
    assert_true(pair_move(&pair));
    assert_int_equal(tls_handshake(pair.client), TLS_FAILED);
    pair_done(&pair);
}

static void a_connection_can_be_freed_while_it_waits_for_a_signature(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        struct pair pair;

        open_alpha(&pair);
        assert_int_equal(tls_handshake(pair.client), TLS_WANT_READ);
        assert_true(pair_move(&pair));
        assert_int_equal(tls_handshake(pair.server), TLS_WANT_SIGNATURE);
        pair_done(&pair);
    }
}

static void handshakes_that_wait_for_signatures_do_not_mix(void **state)
{
    struct tls_server *server = server_of(&alpha, "alpha.test");
    struct pair pairs[8];

    (void)state;
    server_name(server, "beta.test", server_certificate(server, &beta));
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        pair_open(&pairs[i], server, client, i % 2 ? "beta.test" : "alpha.test",
                  i % 2 ? &beta : &alpha, 1);
        assert_int_equal(tls_handshake(pairs[i].client), TLS_WANT_READ);
        assert_true(pair_move(&pairs[i]));
        assert_int_equal(tls_handshake(pairs[i].server), TLS_WANT_SIGNATURE);
    }
    tls_server_unref(server);
    for (size_t i = ARRAY_LEN(pairs); i-- > 0;) {
        pair_sign(&pairs[i]);
        assert_int_equal(tls_handshake(pairs[i].server), TLS_WANT_READ);
    }
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        pair_must_shake(&pairs[i]);
        pair_say(&pairs[i], pairs[i].server, pairs[i].client, "pong");
        pair_done(&pairs[i]);
    }
}

static void a_rush_of_handshakes_has_a_limit_and_leaves_nothing_behind(void **state)
{
    static struct pair pairs[TLS_JOBS_MAX + 1];
    struct tls_server *server = server_of(&alpha, "alpha.test");

    (void)state;
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
            pair_open(&pairs[i], server, client, "alpha.test", &alpha, 1);
            assert_int_equal(tls_handshake(pairs[i].client), TLS_WANT_READ);
            assert_true(pair_move(&pairs[i]));
            assert_int_equal(tls_handshake(pairs[i].server),
                             i < TLS_JOBS_MAX ? TLS_WANT_SIGNATURE : TLS_FAILED);
            for (size_t n = 0; i > 0 && n < 4; n++) /* the limit of descriptors is another */
                fd_closep(&pairs[i].fds[n]);
        }
        assert_string_equal(tls_failure(pairs[TLS_JOBS_MAX].server),
                            "too many handshakes wait for a signature");
        pair_sign(&pairs[0]);
        pair_must_shake(&pairs[0]);
        for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
            if (i > 0) {
                tls_abort(pairs[i].server);
                tls_abort(pairs[i].client);
            }
            pair_done(&pairs[i]);
        }
    }
    tls_server_unref(server);
}

static void a_handshake_survives_a_wire_that_carries_single_bytes(void **state)
{
    struct pair pair;

    (void)state;
    open_alpha(&pair);
    pair.up.step = pair.down.step = 1;
    pair_must_shake(&pair);
    pair_say(&pair, pair.client, pair.server, "ping");
    pair_say(&pair, pair.server, pair.client, "pong");
    pair_done(&pair);
}

static void a_handshake_that_is_cut_at_any_byte_fails_on_both_sides(void **state)
{
    size_t up_len, down_len;
    struct pair pair;

    (void)state;
    open_alpha(&pair);
    pair_must_shake(&pair);
    up_len = pair.up.passed;
    down_len = pair.down.passed;
    pair_done(&pair);
    for (size_t cut = 1; cut < up_len + down_len; cut += cut % 7 ? 1 : 3) {
        open_alpha(&pair);
        pair.up.cut_after = cut < up_len ? cut : 0;
        pair.down.cut_after = cut >= up_len ? cut - up_len + 1 : 0;
        pair_shake(&pair);
        (void)close(pair.fds[1]);
        (void)close(pair.fds[2]);
        pair.fds[1] = pair.fds[2] = -1;
        if (pair.up.cut_after) {
            assert_int_equal(pair.server_result, TLS_WANT_READ);
            assert_int_equal(tls_handshake(pair.server), TLS_FAILED);
            assert_string_equal(tls_failure(pair.server), "closed without a close_notify");
        } else if (pair.client_result != TLS_DONE) { /* else what is missing is a ticket */
            assert_int_equal(tls_handshake(pair.client), TLS_FAILED);
        }
        pair_done(&pair);
    }
}

static void what_is_not_tls_is_told_so(void **state)
{
    static const struct {
        const char *bytes, *failure;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: alpha.test\r\n\r\n", "plain HTTP on a TLS port"},
        {"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "not TLS"},
        {"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", "not TLS"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_server *server = server_of(&alpha, "alpha.test");
        struct pair pair;
        size_t len = MAX(strlen(cases[i].bytes), (size_t)16);

        pair_open(&pair, server, NULL, NULL, &alpha, 1);
        tls_server_unref(server);
        assert_int_equal(send(pair.fds[1], cases[i].bytes, len, 0), len);
        assert_int_equal(tls_handshake(pair.server), TLS_FAILED);
        assert_string_equal(tls_failure(pair.server), cases[i].failure);
        pair_done(&pair);
    }
}

/* ---- what a client verifies */

static void must_refuse(struct tls_client *with, const struct identity *identity,
                        const char *served, const char *wanted, const char *failure)
{
    struct tls_server *server = server_of(identity, served);
    struct pair pair;

    pair_open(&pair, server, with, wanted, identity, 1);
    tls_server_unref(server);
    pair_shake(&pair);
    assert_int_equal(pair.client_result, TLS_FAILED);
    assert_string_equal(tls_failure(pair.client), failure);
    pair_done(&pair);
}

static void a_client_refuses_a_certificate_that_is_not_the_servers(void **state)
{
    struct authority stranger = authority_make("Stranger");
    struct tls_client *other = client_of(buf_slice(&stranger.pem), false);
    struct identity expired;

    (void)state;
    must_refuse(client, &beta, "alpha.test", "alpha.test", "hostname mismatch");
    must_refuse(other, &alpha, "alpha.test", "alpha.test",
                "unable to get local issuer certificate");
    clock_fake(0, clock_wall_us() - 40ull * DAY_S * 1000000);
    expired = identity_make(&authority, "alpha.test", DAY_S);
    clock_real();
    must_refuse(client, &expired, "alpha.test", "alpha.test", "certificate has expired");
    identity_done(&expired);
    tls_client_unref(other);
    authority_done(&stranger);
}

static void a_client_verifies_an_address_and_sends_no_name_for_it(void **state)
{
    struct identity local = identity_make(&authority, "127.0.0.1", DAY_S);
    struct tls_server *server = server_of(&local, "");
    struct pair pair;

    (void)state;
    pair_open(&pair, server, client, "127.0.0.1", &local, 1);
    tls_server_unref(server);
    pair_must_shake(&pair);
    assert_int_equal(tls_name(pair.server).len, 0);
    pair_done(&pair);
    must_refuse(client, &local, "", "127.0.0.2", "IP address mismatch");
    identity_done(&local);
}

static void an_unverified_client_takes_any_certificate(void **state)
{
    struct tls_client_spec spec = {.is_unverified = true};
    struct tls_server *server = server_of(&beta, "alpha.test");
    struct tls_client *careless;
    struct pair pair;

    (void)state;
    assert_int_equal(tls_client_new(&spec, &careless, NULL), 0);
    pair_open(&pair, server, careless, "alpha.test", &beta, 1);
    tls_server_unref(server);
    tls_client_unref(careless); /* the connection keeps what it needs */
    pair_must_shake(&pair);
    assert_false(tls_is_http2(pair.server));
    pair_done(&pair);
}

/* ---- records */

static void a_large_write_arrives_whole_however_little_the_socket_takes(void **state)
{
    size_t len = 3 * 1024 * 1024 + 17, sent = 0, got = 0;
    char *bytes = malloc(len), *back = malloc(len), *moved = NULL;
    int small = 20000;
    struct pair pair;
    unsigned agains = 0;

    (void)state;
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(i * 2654435761u >> 13);
    open_alpha(&pair);
    assert_int_equal(setsockopt(pair.fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    pair_must_shake(&pair);
    pair.down.step = 7001;
    while (got < len) {
        ssize_t n;

        while (sent < len) {
            size_t first = MIN((size_t)1000, len - sent);
            struct iovec parts[4];

            /* The same bytes from another place each time. */
            free(moved);
            moved = malloc(first);
            memcpy(moved, bytes + sent, first);
            parts[0] = (struct iovec){moved, first};
            parts[1] = (struct iovec){NULL, 0};
            parts[2] = (struct iovec){bytes + sent + first, MIN((size_t)20000, len - sent - first)};
            parts[3] = (struct iovec){bytes + sent + first + parts[2].iov_len,
                                      len - sent - first - parts[2].iov_len};
            n = tls_write(pair.server, parts, 4);
            assert_int_not_equal(n, TLS_BROKEN);
            if (n == TLS_AGAIN) {
                assert_true(tls_wants_write(pair.server));
                agains++;
                break;
            }
            sent += (size_t)n;
        }
        (void)pair_move(&pair);
        while ((n = tls_read(pair.client, back + got, len - got)) > 0)
            got += (size_t)n;
        assert_int_equal(n, got == len && n == 0 ? 0 : TLS_AGAIN);
    }
    assert_int_equal(sent, len);
    assert_true(agains > 10);
    assert_memory_equal(bytes, back, len);
    assert_int_equal(tls_write(pair.server, NULL, 0), 0);
    assert_false(tls_wants_write(pair.server));
    free(moved);
    free(bytes);
    free(back);
    pair_done(&pair);
}

static void several_parts_are_one_record_and_large_ones_are_full(void **state)
{
    static char large[40000];
    struct iovec parts[3] = {{(char *)(uintptr_t) "one ", 4},
                             {(char *)(uintptr_t) "two ", 4},
                             {(char *)(uintptr_t) "three", 5}};
    struct iovec part = {large, sizeof(large)};
    char bytes[65536];
    struct pair pair;
    size_t before;

    (void)state;
    open_alpha(&pair);
    pair_must_shake(&pair);
    while (pair_move(&pair))
        continue;
    before = pair.down.passed;
    assert_int_equal(tls_write(pair.server, parts, 3), 13);
    assert_true(pair_move(&pair));
    assert_int_equal(pair.down.passed - before, 13 + 22); /* header, type, tag */
    assert_int_equal(tls_read(pair.client, bytes, sizeof(bytes)), 13);
    assert_memory_equal(bytes, "one two three", 13);
    before = pair.down.passed;
    assert_int_equal(tls_write(pair.server, &part, 1), sizeof(large));
    assert_true(pair_move(&pair));
    assert_int_equal(pair.down.passed - before, sizeof(large) + 3 * 22);
    pair_done(&pair);
}

static void what_waits_inside_is_said_to_be_pending(void **state)
{
    char bytes[8];
    struct pair pair;
    struct iovec part = {(char *)(uintptr_t) "twelve bytes", 12};

    (void)state;
    open_alpha(&pair);
    pair_must_shake(&pair);
    assert_int_equal(tls_write(pair.client, &part, 1), 12);
    assert_int_equal(tls_write(pair.client, &part, 1), 12);
    assert_true(pair_move(&pair));
    for (int i = 0; i < 3; i++) { /* the second time of both records */
        assert_int_equal(tls_read(pair.server, bytes, sizeof(bytes)), 8);
        assert_int_equal(tls_has_pending(pair.server), i < 2);
        assert_false(tls_is_drained(pair.server));
    }
    assert_int_equal(tls_read(pair.server, bytes, sizeof(bytes)), TLS_AGAIN);
    assert_true(tls_is_drained(pair.server));
    /* Half a record is nothing to be read. */
    assert_int_equal(tls_write(pair.client, &part, 1), 12);
    pair.up.step = 5;
    assert_true(wire_move(&pair.up));
    assert_int_equal(tls_read(pair.server, bytes, sizeof(bytes)), TLS_AGAIN);
    assert_false(tls_has_pending(pair.server));
    pair_done(&pair);
}

/* Rooms on both sides of what makes tls_read take several records, steps that cut records. */
static void records_are_read_whatever_the_room_and_the_step(void **state)
{
    size_t len = 2 * 1024 * 1024 + 11, sent = 0, got = 0, most = 0;
    char *bytes = malloc(len), *back = malloc(len + 73728);
    uint32_t random = 1;
    struct pair pair;

    (void)state;
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(i * 2654435761u >> 13);
    open_alpha(&pair);
    pair_must_shake(&pair);
    while (got < len) {
        struct iovec part = {bytes + sent, MIN(len - sent, 1 + (random >> 3) % 100000)};
        ssize_t n = part.iov_len ? tls_write(pair.client, &part, 1) : 0;

        if (n > 0)
            sent += (size_t)n;
        random = random * 1664525u + 1013904223u;
        pair.up.step = 1 + (random >> 5) % 60000;
        (void)wire_move(&pair.up);
        do {
            size_t room = random & 0x800 ? 73728 : 1 + (random >> 7) % 73728;

            n = tls_read(pair.server, back + got, room);
            assert_true(n == TLS_AGAIN || (n > 0 && (size_t)n <= room));
            if (n > 0) {
                most = MAX(most, (size_t)n);
                got += (size_t)n;
            }
            random = random * 1664525u + 1013904223u;
        } while (n > 0);
    }
    assert_int_equal(got, len);
    assert_memory_equal(bytes, back, len);
    assert_true(most > 2 * TLS_RECORD_BYTES);
    free(bytes);
    free(back);
    pair_done(&pair);
}

/* ---- ends */

static void what_was_read_goes_before_the_end(void **state)
{
    struct iovec part = {(char *)(uintptr_t) "sixteen letters.", 16};

    (void)state;
    for (int is_damaged = 0; is_damaged < 2; is_damaged++) {
        char wire[256], bytes[73728];
        struct pair pair;
        ssize_t len;

        open_alpha(&pair);
        pair_must_shake(&pair);
        assert_int_equal(tls_write(pair.client, &part, 1), 16);
        tls_finish(pair.client);
        len = recv(pair.fds[2], wire, sizeof(wire), 0);
        assert_true(len > 16 && len < (ssize_t)sizeof(wire));
        wire[len - 3] ^= (char)is_damaged; /* of the close_notify */
        assert_int_equal(send(pair.fds[1], wire, (size_t)len, 0), len);
        assert_int_equal(tls_read(pair.server, bytes, sizeof(bytes)), 16);
        assert_false(tls_is_drained(pair.server)); /* there is something to be heard yet */
        assert_int_equal(tls_read(pair.server, bytes, sizeof(bytes)),
                         is_damaged ? TLS_BROKEN : TLS_END);
        pair_done(&pair);
    }
}

static void a_close_notify_ends_one_direction_only(void **state)
{
    char bytes[8];
    struct pair pair;

    (void)state;
    open_alpha(&pair);
    pair_must_shake(&pair);
    tls_finish(pair.client);
    assert_true(pair_move(&pair));
    assert_int_equal(tls_read(pair.server, bytes, sizeof(bytes)), TLS_END);
    assert_int_equal(tls_read(pair.server, bytes, sizeof(bytes)), TLS_END);
    pair_say(&pair, pair.server, pair.client, "still");
    tls_finish(pair.server);
    assert_true(pair_move(&pair));
    assert_int_equal(tls_read(pair.client, bytes, sizeof(bytes)), TLS_END);
    pair_done(&pair);
}

static void an_end_of_file_without_close_notify_is_no_end(void **state)
{
    char bytes[8];
    struct pair pair;

    (void)state;
    open_alpha(&pair);
    pair_must_shake(&pair);
    (void)close(pair.fds[1]);
    pair.fds[1] = -1;
    assert_int_equal(tls_read(pair.server, bytes, sizeof(bytes)), TLS_BROKEN);
    assert_string_equal(tls_failure(pair.server), "closed without a close_notify");
    pair_done(&pair);
}

static void free_says_goodbye_and_abort_does_not(void **state)
{
    (void)state;
    for (int is_abort = 0; is_abort < 2; is_abort++) {
        char bytes[8];
        struct pair pair;

        open_alpha(&pair);
        pair_must_shake(&pair);
        if (is_abort)
            tls_abort(pair.server);
        tls_free(pair.server);
        pair.server = NULL;
        (void)pair_move(&pair);
        (void)close(pair.fds[2]);
        pair.fds[2] = -1;
        assert_int_equal(tls_read(pair.client, bytes, sizeof(bytes)),
                         is_abort ? TLS_BROKEN : TLS_END);
        pair_done(&pair);
    }
}

static void a_damaged_record_breaks_the_connection(void **state)
{
    char bytes[64];
    struct pair pair;
    struct iovec part = {(char *)(uintptr_t) "sixteen letters.", 16};
    ssize_t len;

    (void)state;
    open_alpha(&pair);
    pair_must_shake(&pair);
    assert_int_equal(tls_write(pair.client, &part, 1), 16);
    len = recv(pair.fds[2], bytes, sizeof(bytes), 0);
    assert_true(len > 16);
    bytes[len - 3] ^= 1;
    assert_int_equal(send(pair.fds[1], bytes, (size_t)len, 0), len);
    assert_int_equal(tls_read(pair.server, bytes, sizeof(bytes)), TLS_BROKEN);
    assert_string_equal(tls_failure(pair.server), "a record that is not authentic");
    assert_int_equal(tls_read(pair.server, bytes, sizeof(bytes)), TLS_BROKEN);
    assert_int_equal(tls_write(pair.server, &part, 1), TLS_BROKEN);
    pair_done(&pair);
}

/* ---- what is not allowed after the handshake */

static void renegotiation_is_refused(void **state)
{
    char bytes[64];
    struct pair pair;

    (void)state;
    open_alpha(&pair);
    SSL_set_max_proto_version(pair.client->ssl, TLS1_2_VERSION);
    SSL_clear_options(pair.client->ssl, SSL_OP_NO_RENEGOTIATION);
    pair_must_shake(&pair);
    assert_int_equal(SSL_renegotiate(pair.client->ssl), 1);
    pair.client->state = TLS_STATE_HANDSHAKE;
    assert_int_equal(tls_handshake(pair.client), TLS_WANT_READ);
    assert_true(pair_move(&pair));
    assert_true(tls_read(pair.server, bytes, sizeof(bytes)) < 0);
    (void)pair_move(&pair);
    assert_int_equal(tls_handshake(pair.client), TLS_FAILED);
    assert_int_equal(pair.signatures, 1);
    pair_done(&pair);
}

static void key_updates_are_answered_and_a_flood_of_them_is_not(void **state)
{
    char bytes[64];
    ssize_t got = TLS_AGAIN;
    struct pair pair;

    (void)state;
    open_alpha(&pair);
    pair_must_shake(&pair);
    assert_int_equal(SSL_key_update(pair.client->ssl, SSL_KEY_UPDATE_REQUESTED), 1);
    pair_say(&pair, pair.client, pair.server, "new");
    pair_say(&pair, pair.server, pair.client, "keys");
    for (int i = 0; i < 1000 && got == TLS_AGAIN; i++) {
        if (SSL_key_update(pair.client->ssl, SSL_KEY_UPDATE_REQUESTED) != 1)
            break;
        pair.client->state = TLS_STATE_HANDSHAKE;
        (void)tls_handshake(pair.client);
        (void)pair_move(&pair);
        got = tls_read(pair.server, bytes, sizeof(bytes));
    }
    assert_int_equal(got, TLS_BROKEN);
    assert_string_equal(tls_failure(pair.server), "a flood of key updates");
    pair_done(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_carries_bytes_both_ways_with_the_key_elsewhere),
        cmocka_unit_test(tls_1_2_works_and_1_1_does_not),
        cmocka_unit_test(tls_1_2_has_only_forward_secret_authenticated_ciphers),
        cmocka_unit_test(rsa_and_p_384_keys_sign_in_both_versions),
        cmocka_unit_test(a_refused_signature_fails_the_handshake),
        cmocka_unit_test(a_wrong_signature_is_seen_by_the_client),
        cmocka_unit_test(a_connection_can_be_freed_while_it_waits_for_a_signature),
        cmocka_unit_test(handshakes_that_wait_for_signatures_do_not_mix),
        cmocka_unit_test(a_rush_of_handshakes_has_a_limit_and_leaves_nothing_behind),
        cmocka_unit_test(a_handshake_survives_a_wire_that_carries_single_bytes),
        cmocka_unit_test(a_handshake_that_is_cut_at_any_byte_fails_on_both_sides),
        cmocka_unit_test(what_is_not_tls_is_told_so),
        cmocka_unit_test(a_client_refuses_a_certificate_that_is_not_the_servers),
        cmocka_unit_test(a_client_verifies_an_address_and_sends_no_name_for_it),
        cmocka_unit_test(an_unverified_client_takes_any_certificate),
        cmocka_unit_test(a_large_write_arrives_whole_however_little_the_socket_takes),
        cmocka_unit_test(several_parts_are_one_record_and_large_ones_are_full),
        cmocka_unit_test(what_waits_inside_is_said_to_be_pending),
        cmocka_unit_test(records_are_read_whatever_the_room_and_the_step),
        cmocka_unit_test(what_was_read_goes_before_the_end),
        cmocka_unit_test(a_close_notify_ends_one_direction_only),
        cmocka_unit_test(an_end_of_file_without_close_notify_is_no_end),
        cmocka_unit_test(free_says_goodbye_and_abort_does_not),
        cmocka_unit_test(a_damaged_record_breaks_the_connection),
        cmocka_unit_test(renegotiation_is_refused),
        cmocka_unit_test(key_updates_are_answered_and_a_flood_of_them_is_not),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
