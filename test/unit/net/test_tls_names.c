/* What a name gets: certificates, protocols, tickets, client certificates, challenges. */
#include "tls_pair.h"

#include "net/tls_private.h"
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define NAMES_MANY 3000

static struct authority authority;
static struct identity ids[3]; /* one.test, two.test, *.wild.test */
static struct tls_client *client, *careless;

static int set_up(void **state)
{
    struct tls_client_spec spec = {.is_unverified = true, .is_http2 = true};

    (void)state;
    authority = authority_make("Test authority");
    ids[0] = identity_make(&authority, "one.test", DAY_S);
    ids[1] = identity_make(&authority, "two.test", DAY_S);
    ids[2] = identity_make(&authority, "*.wild.test", DAY_S);
    client = client_of(buf_slice(&authority.pem), true);
    return tls_client_new(&spec, &careless, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    tls_client_unref(client);
    tls_client_unref(careless);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        identity_done(&ids[i]);
    authority_done(&authority);
    return 0;
}

static struct tls_server *server_of_all(void)
{
    static const char *const names[] = {"one.test", "two.test", "*.wild.test"};
    struct tls_server *server;

    assert_int_equal(tls_server_new(&server, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        server_name(server, names[i], server_certificate(server, &ids[i]));
    return server;
}

static void open_name(struct pair *pair, struct tls_server *server, struct tls_client *with,
                      const char *name)
{
    pair_open(pair, server, with, name, ids, ARRAY_LEN(ids));
}

/* The alert that the client got, as OpenSSL numbers it. */
static void must_be_refused(struct tls_server *server, const char *name, const char *server_text,
                            const char *client_text)
{
    struct pair pair;

    open_name(&pair, server, careless, name);
    pair_shake(&pair);
    assert_int_equal(pair.server_result, TLS_FAILED);
    assert_int_equal(pair.client_result, TLS_FAILED);
    assert_string_equal(tls_failure(pair.server), server_text);
    assert_string_equal(tls_failure(pair.client), client_text);
    assert_int_equal(pair.signatures, 0);
    pair_done(&pair);
}

/* ---- which certificate */

static void each_name_gets_its_own_certificate(void **state)
{
    static const char *const names[] = {"one.test", "two.test", "a.wild.test", "B.Wild.TEST"};
    struct tls_server *server = server_of_all();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct pair pair;

        open_name(&pair, server, client, names[i]); /* which verifies the name */
        pair_must_shake(&pair);
        pair_done(&pair);
    }
    tls_server_unref(server);
}

static void an_unknown_name_or_none_gets_an_alert_and_no_certificate(void **state)
{
    struct tls_server *server = server_of_all();
    static const char *const unknown = "the peer does not know the name";

    (void)state;
    must_be_refused(server, "three.test", "no certificate for this name", unknown);
    must_be_refused(server, "wild.test", "no certificate for this name", unknown);
    must_be_refused(server, "a.b.wild.test", "no certificate for this name", unknown);
    must_be_refused(server, "three.test.", "no certificate for this name", unknown);
    must_be_refused(server, "one.test/", "a server name that is none", unknown);
    must_be_refused(server, "127.0.0.1", "no server name", unknown);
    tls_server_unref(server);
}

static void a_final_dot_is_the_same_name(void **state)
{
    struct tls_server *server = server_of_all();
    struct pair pair;

    (void)state;
    open_name(&pair, server, careless, "two.test.");
    pair_must_shake(&pair);
    assert_int_equal(pair.server->certificate, 1);
    assert_true(slice_eq(tls_name(pair.server), SLICE("two.test")));
    pair_done(&pair);
    tls_server_unref(server);
}

static void the_empty_name_is_any_other(void **state)
{
    struct tls_server *server = server_of_all();
    static const char *const names[] = {"127.0.0.1", "three.test"};

    (void)state;
    server_name(server, "", 1);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct pair pair;

        open_name(&pair, server, careless, names[i]);
        pair_must_shake(&pair);
        assert_int_equal(pair.server->certificate, 1);
        pair_done(&pair);
    }
    tls_server_unref(server);
}

static void thousands_of_names_are_found(void **state)
{
    struct tls_server *server;
    char name[32];
    uint32_t index[ARRAY_LEN(ids)];

    (void)state;
    assert_int_equal(tls_server_new(&server, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        index[i] = server_certificate(server, &ids[i]);
    for (unsigned i = 0; i < NAMES_MANY; i++) {
        snprintf(name, sizeof(name), "n%u.many.test", i);
        server_name(server, name, index[i % ARRAY_LEN(ids)]);
    }
    for (unsigned i = 0; i < NAMES_MANY; i += 299) {
        struct pair pair;

        snprintf(name, sizeof(name), "n%u.many.test", i);
        open_name(&pair, server, careless, name);
        pair_must_shake(&pair);
        assert_int_equal(pair.server->certificate, index[i % ARRAY_LEN(ids)]);
        pair_done(&pair);
    }
    must_be_refused(server, "n3000.many.test", "no certificate for this name",
                    "the peer does not know the name");
    tls_server_unref(server);
}

static void a_certificate_that_cannot_be_used_fails_its_own_handshakes_only(void **state)
{
    struct tls_certificate_spec spec = {.chain_pem = buf_slice(&ids[0].pem)};
    struct tls_server *server = server_of_all();
    struct pair pair;
    uint32_t index;

    (void)state;
    memcpy(spec.key_id, ids[1].id, sizeof(spec.key_id)); /* not its key */
    assert_int_equal(tls_server_certificate(server, &spec, &index, NULL), 0);
    server_name(server, "bad.test", index);
    spec.chain_pem = SLICE("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert_int_equal(tls_server_certificate(server, &spec, &index, NULL), 0);
    server_name(server, "worse.test", index);
    for (int turn = 0; turn < 4; turn++) {
        open_name(&pair, server, careless, turn % 2 ? "bad.test" : "worse.test");
        pair_shake(&pair);
        assert_int_equal(pair.server_result, TLS_FAILED);
        assert_string_equal(tls_failure(pair.server),
                            "the certificate of this name cannot be used");
        assert_int_equal(pair.client_result, TLS_FAILED);
        pair_done(&pair);
    }
    open_name(&pair, server, client, "one.test");
    pair_must_shake(&pair);
    pair_done(&pair);
    spec.chain_pem = (struct slice){0};
    assert_int_equal(tls_server_certificate(server, &spec, &index, NULL), ERR_INVALID);
    spec.chain_pem = SLICE("no PEM");
    assert_int_equal(tls_server_certificate(server, &spec, &index, NULL), ERR_INVALID);
    tls_server_unref(server);
}

static void a_certificate_is_parsed_once_for_all_tables(void **state)
{
    struct tls_server *first = server_of_all(), *second = server_of_all();

    (void)state;
    assert_ptr_equal(first->served[0].certificate, second->served[0].certificate);
    tls_server_unref(first);
    assert_int_equal(second->served[0].certificate->references, 1);
    tls_server_unref(second);
}

/* ---- names without a certificate yet */

static void a_name_on_demand_waits_for_a_table_that_has_its_certificate(void **state)
{
    struct tls_name_spec spec = {.name = SLICE("one.test"),
                                 .certificate = TLS_NO_CERTIFICATE,
                                 .client_ca = TLS_NO_CLIENT_CA,
                                 .is_on_demand = true};
    struct tls_server *empty, *full = server_of_all();
    struct pair pair;

    (void)state;
    assert_int_equal(tls_server_new(&empty, NULL), 0);
    assert_int_equal(tls_server_name(empty, &spec, NULL), 0);
    open_name(&pair, empty, client, "one.test");
    assert_int_equal(tls_handshake(pair.client), TLS_WANT_READ);
    assert_true(pair_move(&pair));
    assert_int_equal(tls_handshake(pair.server), TLS_WANT_CERTIFICATE);
    assert_slice_equal(tls_name(pair.server), "one.test");
    assert_int_equal(tls_handshake(pair.server), TLS_WANT_CERTIFICATE); /* still */
    tls_server_switch(pair.server, full);
    pair_must_shake(&pair);
    pair_say(&pair, pair.client, pair.server, "at last");
    pair_done(&pair);
    spec.is_on_demand = false;
    assert_int_equal(tls_server_name(empty, &spec, NULL), 0);
    must_be_refused(empty, "one.test", "no certificate for this name yet",
                    "the peer does not know the name");
    tls_server_unref(empty);
    tls_server_unref(full);
}

/* ---- protocols */

static void offer(struct pair *pair, const char *protocols)
{
    assert_int_equal(SSL_set_alpn_protos(pair->client->ssl, (const unsigned char *)protocols,
                                         (unsigned)strlen(protocols)),
                     0);
}

static void a_protocol_is_chosen_from_what_is_offered_or_the_handshake_fails(void **state)
{
    static const struct {
        const char *offered;
        bool is_good, is_http2;
    } cases[] = {
        {"\x08http/1.1\x02h2", true, true},
        {"\x08http/1.1", true, false},
        {"\x02h3\x02h2", true, true},
        {"\x02h3", false, false},
        {"\x0a"
         "acme-tls/1\x02h2",
         true, true},
        {"\x0a"
         "acme-tls/1",
         false, false},
    };
    struct tls_server *server = server_of_all();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pair pair;

        open_name(&pair, server, client, "one.test");
        offer(&pair, cases[i].offered);
        pair_shake(&pair);
        assert_int_equal(pair.server_result, cases[i].is_good ? TLS_DONE : TLS_FAILED);
        assert_int_equal(tls_is_http2(pair.server), cases[i].is_http2);
        pair_done(&pair);
    }
    tls_server_unref(server);
}

static void a_challenge_is_answered_for_its_name_only_and_does_not_disturb_others(void **state)
{
    struct tls_server *server = server_of_all();
    struct identity proof = {.key = BUF_INIT(8192), .pem = BUF_INIT(8192)};
    uint8_t digest[32] = {1, 2, 3};
    struct pair pair;

    (void)state;
    buf_append_slice(&proof.key, buf_slice(&ids[1].key));
    assert_int_equal(
        x509_make_challenge(buf_slice(&proof.key), "one.test", digest, &proof.pem, NULL), 0);
    identity_load(&proof);
    assert_int_equal(
        tls_server_challenge(server, SLICE("one.test"), server_certificate(server, &proof), NULL),
        0);
    open_name(&pair, server, careless, "one.test");
    offer(&pair, "\x0a"
                 "acme-tls/1");
    pair_must_shake(&pair);
    assert_true(tls_is_challenge(pair.server));
    assert_int_equal(pair.server->certificate, 3);
    assert_false(tls_covers(pair.server, SLICE("one.test")));
    pair_done(&pair);
    open_name(&pair, server, client, "one.test");
    pair_must_shake(&pair);
    assert_false(tls_is_challenge(pair.server));
    pair_done(&pair);
    open_name(&pair, server, careless, "two.test");
    offer(&pair, "\x0a"
                 "acme-tls/1");
    pair_shake(&pair);
    assert_int_equal(pair.server_result, TLS_FAILED);
    pair_done(&pair);
    tls_server_unref(server);
    identity_done(&proof);
}

static void what_is_stapled_reaches_the_client(void **state)
{
    struct tls_certificate_spec spec = {.chain_pem = buf_slice(&ids[0].pem),
                                        .ocsp_der = SLICE("a stapled answer")};
    struct tls_server *server;
    struct pair pair;
    const unsigned char *der;
    uint32_t index;

    (void)state;
    memcpy(spec.key_id, ids[0].id, sizeof(spec.key_id));
    assert_int_equal(tls_server_new(&server, NULL), 0);
    assert_int_equal(tls_server_certificate(server, &spec, &index, NULL), 0);
    server_name(server, "one.test", index);
    open_name(&pair, server, client, "one.test");
    assert_int_equal(SSL_set_tlsext_status_type(pair.client->ssl, TLSEXT_STATUSTYPE_ocsp), 1);
    pair_must_shake(&pair);
    assert_int_equal(SSL_get_tlsext_status_ocsp_resp(pair.client->ssl, &der), 16);
    assert_memory_equal(der, "a stapled answer", 16);
    pair_done(&pair);
    tls_server_unref(server);
}

/* ---- HTTP/2 coalescing (421) */

static void a_connection_covers_names_with_the_same_certificate_and_policy(void **state)
{
    struct tls_server *server = server_of_all();
    struct tls_name_spec spec = {
        .name = SLICE("strict.test"), .certificate = 0, .client_ca = TLS_NO_CLIENT_CA};
    struct pair pair;

    (void)state;
    server_name(server, "also-one.test", 0);
    spec.is_tls13_only = true;
    assert_int_equal(tls_server_name(server, &spec, NULL), 0);
    spec.name = SLICE("mutual.test");
    assert_int_equal(tls_server_client_ca(server, buf_slice(&authority.pem), &spec.client_ca, NULL),
                     0);
    assert_int_equal(tls_server_name(server, &spec, NULL), 0);
    open_name(&pair, server, client, "one.test");
    pair_must_shake(&pair);
    assert_true(tls_covers(pair.server, SLICE("one.test")));
    assert_true(tls_covers(pair.server, SLICE("also-one.test")));
    assert_false(tls_covers(pair.server, SLICE("two.test")));
    assert_false(tls_covers(pair.server, SLICE("strict.test")));
    assert_false(tls_covers(pair.server, SLICE("mutual.test")));
    assert_false(tls_covers(pair.server, SLICE("unknown.test")));
    pair_done(&pair);
    open_name(&pair, server, client, "a.wild.test");
    pair_must_shake(&pair);
    assert_true(tls_covers(pair.server, SLICE("b.wild.test")));
    assert_false(tls_covers(pair.server, SLICE("b.c.wild.test")));
    pair_done(&pair);
    tls_server_unref(server);
}

static void a_name_for_tls_1_3_alone_refuses_1_2(void **state)
{
    struct tls_server *server = server_of_all();
    struct tls_name_spec spec = {.name = SLICE("one.test"),
                                 .certificate = 0,
                                 .client_ca = TLS_NO_CLIENT_CA,
                                 .is_tls13_only = true};
    struct pair pair;

    (void)state;
    assert_int_equal(tls_server_name(server, &spec, NULL), 0);
    open_name(&pair, server, client, "one.test");
    SSL_set_max_proto_version(pair.client->ssl, TLS1_2_VERSION);
    pair_shake(&pair);
    assert_int_equal(pair.server_result, TLS_FAILED);
    pair_done(&pair);
    open_name(&pair, server, client, "one.test");
    pair_must_shake(&pair);
    pair_done(&pair);
    tls_server_unref(server);
}

/* ---- tickets */

/* A connection, long enough for the client to get its tickets; whether it was resumed. */
static bool connect_once(struct tls_server *server, struct tls_client *with, const char *name,
                         int version)
{
    struct pair pair;
    bool is_resumed;

    open_name(&pair, server, with, name);
    if (version)
        SSL_set_max_proto_version(pair.client->ssl, version);
    pair_must_shake(&pair);
    pair_say(&pair, pair.server, pair.client, "hello");
    is_resumed = tls_is_resumed(pair.server);
    assert_int_equal(tls_is_resumed(pair.client), is_resumed);
    assert_int_equal(pair.signatures, !is_resumed);
    pair_done(&pair);
    return is_resumed;
}

static void forget_sessions(struct tls_client *of)
{
    struct slice key;
    void *session;
    size_t cursor = 0;

    while (map_next(of->sessions, &cursor, &key, &session)) {
        SSL_SESSION_free(session);
        (void)map_remove(of->sessions, key);
    }
}

/* What was kept for one name is offered to the other. */
static void rename_session(struct tls_client *of, const char *from, const char *to)
{
    struct slice key;
    SSL_SESSION *session;
    void *value;
    size_t cursor = 0;
    char copy[256];

    while (map_next(of->sessions, &cursor, &key, &value))
        if (slice_ends_with(key, slice_from(from))) {
            size_t len = key.len - strlen(from);

            assert_true(len + strlen(to) <= sizeof(copy));
            memcpy(copy, key.ptr, len);
            memcpy(copy + len, to, strlen(to));
            session = map_remove(of->sessions, key);
            assert_int_equal(SSL_SESSION_set1_hostname(session, to), 1);
            value = map_remove(of->sessions, (struct slice){copy, len + strlen(to)});
            SSL_SESSION_free(value);
            assert_int_equal(map_put(of->sessions, (struct slice){copy, len + strlen(to)}, session),
                             0);
            return;
        }
    fail_msg("no session for %s", from);
}

static void a_ticket_resumes_at_its_name_and_nowhere_else(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct tls_server *server = server_of_all();

    (void)state;
    server_tickets(server, 1);
    server_name(server, "also-one.test", 0);
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        assert_false(connect_once(server, careless, "one.test", versions[i]));
        assert_true(connect_once(server, careless, "one.test", versions[i]));
        rename_session(careless, "one.test", "two.test");
        assert_false(connect_once(server, careless, "two.test", versions[i]));
        rename_session(careless, "two.test", "also-one.test"); /* with the same certificate */
        assert_false(connect_once(server, careless, "also-one.test", versions[i]));
        forget_sessions(careless);
    }
    tls_server_unref(server);
}

/* Clients show a ticket of TLS 1.3 once. */
static void every_resumption_brings_the_ticket_of_the_next(void **state)
{
    struct tls_server *server = server_of_all();

    (void)state;
    server_tickets(server, 1);
    assert_false(connect_once(server, careless, "one.test", TLS1_3_VERSION));
    for (unsigned i = 0; i < 5; i++)
        assert_true(connect_once(server, careless, "one.test", TLS1_3_VERSION));
    forget_sessions(careless);
    tls_server_unref(server);
}

static void ticket_keys_rotate_without_loss_and_are_shared_by_tables(void **state)
{
    struct tls_server *first = server_of_all(), *second = server_of_all(), *third = server_of_all();

    (void)state;
    server_tickets(first, 2);  /* 2 3 */
    server_tickets(second, 1); /* 1 2: 2 is the old one */
    server_tickets(third, 8);
    assert_false(connect_once(first, careless, "one.test", 0));
    assert_true(connect_once(second, careless, "one.test", 0));
    assert_true(connect_once(second, careless, "one.test", 0)); /* renewed under 1 */
    assert_false(connect_once(third, careless, "one.test", 0));
    forget_sessions(careless);
    tls_server_unref(first);
    tls_server_unref(second);
    tls_server_unref(third);
}

static void without_ticket_keys_nothing_is_resumed(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct tls_server *server = server_of_all();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        assert_false(connect_once(server, careless, "one.test", versions[i]));
        assert_false(connect_once(server, careless, "one.test", versions[i]));
    }
    assert_int_equal(map_count(careless->sessions), 0);
    tls_server_unref(server);
}

static void early_data_is_not_accepted(void **state)
{
    struct tls_server *server = server_of_all();
    struct pair pair;

    (void)state;
    server_tickets(server, 1);
    open_name(&pair, server, careless, "one.test");
    pair_must_shake(&pair);
    pair_say(&pair, pair.server, pair.client, "hello");
    assert_int_equal(SSL_SESSION_get_max_early_data(SSL_get0_session(pair.client->ssl)), 0);
    pair_done(&pair);
    forget_sessions(careless);
    tls_server_unref(server);
}

/* ---- client certificates */

static struct tls_server *mutual_server(void)
{
    struct tls_server *server = server_of_all();
    struct tls_name_spec spec = {.name = SLICE("one.test"), .certificate = 0};

    server_tickets(server, 1);
    assert_int_equal(tls_server_client_ca(server, buf_slice(&authority.pem), &spec.client_ca, NULL),
                     0);
    assert_int_equal(tls_server_name(server, &spec, NULL), 0);
    return server;
}

static void show(struct pair *pair, const struct identity *identity)
{
    BIO *key_bio = BIO_new_mem_buf(identity->key.ptr, (int)identity->key.len);
    BIO *bio = BIO_new_mem_buf(identity->pem.ptr, (int)identity->pem.len);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);

    assert_int_equal(SSL_use_certificate(pair->client->ssl, certificate), 1);
    assert_int_equal(SSL_use_PrivateKey(pair->client->ssl, key), 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
    BIO_free(bio);
    BIO_free(key_bio);
}

static int purpose; /* that the server looks for; 0: its own choice */

/* The subject that the server sees of a client with this identity (NULL: none). */
static void must_see(struct tls_server *server, const struct identity *identity, int version,
                     const char *subject)
{
    struct pair pair;

    open_name(&pair, server, careless, "one.test");
    if (identity)
        show(&pair, identity);
    if (purpose)
        assert_int_equal(SSL_set_purpose(pair.server->ssl, purpose), 1);
    SSL_set_max_proto_version(pair.client->ssl, version);
    pair_must_shake(&pair);
    pair_say(&pair, pair.server, pair.client, "hello");
    assert_slice_equal(tls_client_subject(pair.server), subject);
    assert_int_equal(tls_client_fingerprint(pair.server).len, subject[0] ? 64 : 0);
    assert_false(tls_is_resumed(pair.server));
    pair_done(&pair);
}

static void a_client_is_known_when_its_chain_verifies_and_only_then(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct authority stranger = authority_make("Test authority"); /* of the same name */
    struct tls_server *server = mutual_server();
    struct identity good, expired, foreign;

    (void)state;
    /* As it is, x509.h makes certificates for servers only. */
    good = identity_make(&authority, "client.test", DAY_S);
    foreign = identity_make(&stranger, "client.test", DAY_S);
    clock_fake(0, clock_wall_us() - 40ull * DAY_S * 1000000);
    expired = identity_make(&authority, "client.test", DAY_S);
    clock_real();
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        must_see(server, NULL, versions[i], "");
        must_see(server, &good, versions[i], ""); /* for servers */
        must_see(server, &foreign, versions[i], "");
        must_see(server, &expired, versions[i], "");
    }
    purpose = X509_PURPOSE_SSL_SERVER;
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        must_see(server, &good, versions[i], "CN=client.test");
        must_see(server, &foreign, versions[i], "");
        must_see(server, &expired, versions[i], "");
    }
    tls_server_unref(server);
    identity_done(&good);
    identity_done(&expired);
    identity_done(&foreign);
    authority_done(&stranger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_name_gets_its_own_certificate),
        cmocka_unit_test(an_unknown_name_or_none_gets_an_alert_and_no_certificate),
        cmocka_unit_test(a_final_dot_is_the_same_name),
        cmocka_unit_test(the_empty_name_is_any_other),
        cmocka_unit_test(thousands_of_names_are_found),
        cmocka_unit_test(a_certificate_that_cannot_be_used_fails_its_own_handshakes_only),
        cmocka_unit_test(a_certificate_is_parsed_once_for_all_tables),
        cmocka_unit_test(a_name_on_demand_waits_for_a_table_that_has_its_certificate),
        cmocka_unit_test(a_protocol_is_chosen_from_what_is_offered_or_the_handshake_fails),
        cmocka_unit_test(a_challenge_is_answered_for_its_name_only_and_does_not_disturb_others),
        cmocka_unit_test(what_is_stapled_reaches_the_client),
        cmocka_unit_test(a_connection_covers_names_with_the_same_certificate_and_policy),
        cmocka_unit_test(a_name_for_tls_1_3_alone_refuses_1_2),
        cmocka_unit_test(a_ticket_resumes_at_its_name_and_nowhere_else),
        cmocka_unit_test(every_resumption_brings_the_ticket_of_the_next),
        cmocka_unit_test(ticket_keys_rotate_without_loss_and_are_shared_by_tables),
        cmocka_unit_test(without_ticket_keys_nothing_is_resumed),
        cmocka_unit_test(early_data_is_not_accepted),
        cmocka_unit_test(a_client_is_known_when_its_chain_verifies_and_only_then),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
