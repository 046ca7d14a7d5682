/* Connections between the two halves of tls.h: names, tickets, records, ends. */
#include "tls_pair.h"

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
    tls_client_free(client);
    identity_done(&alpha);
    identity_done(&beta);
    authority_done(&authority);
    return 0;
}

static void a_connection_carries_bytes_both_ways_with_the_key_elsewhere(void **state)
{
    struct tls_server *server = server_of(&alpha, "alpha.test");
    struct pair pair;

    (void)state;
    pair_open(&pair, server, client, "alpha.test", &alpha, 1);
    tls_server_unref(server);
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

static void a_connection_can_be_freed_while_it_waits_for_a_signature(void **state)
{
    struct tls_server *server = server_of(&alpha, "alpha.test");
    struct pair pair;

    (void)state;
    pair_open(&pair, server, client, "alpha.test", &alpha, 1);
    tls_server_unref(server);
    assert_int_equal(tls_handshake(pair.client), TLS_WANT_READ);
    assert_true(pair_move(&pair));
    assert_int_equal(tls_handshake(pair.server), TLS_WANT_SIGNATURE);
    pair_done(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_carries_bytes_both_ways_with_the_key_elsewhere),
        cmocka_unit_test(a_refused_signature_fails_the_handshake),
        cmocka_unit_test(a_connection_can_be_freed_while_it_waits_for_a_signature),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
