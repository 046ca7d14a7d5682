#include "store_test.h"

static uint64_t granted(struct fixture *f, uint64_t ttl_ms)
{
    uint64_t lease = 0;
    assert_int_equal(store_lease_grant(f->store, ttl_ms, &lease, &f->err), 0);
    return lease;
}

static int put_with(struct fixture *f, const char *key, uint64_t lease)
{
    CLEANUP(store_transaction_freep) struct store_transaction *t = store_transaction_new();
    store_put(t, key, SLICE("held"), lease);
    return store_commit(f->store, t, NULL, &f->err);
}

static void keys_vanish_when_their_lease_ends(void **state)
{
    struct fixture *f = *state;
    clock_fake(1000000, 1000000);
    uint64_t lease = granted(f, 500);
    assert_int_equal(put_with(f, "/a", lease), 0);
    assert_int_equal(put_with(f, "/b", lease), 0);
    set(f, "/stays", "1");
    assert_int_equal(store_lease_expire(f->store, &f->err), 1500000);
    assert_non_null(get(f, "/a"));
    clock_fake_advance(500000);
    uint64_t revision = store_revision(f->store);
    assert_int_equal(store_lease_expire(f->store, &f->err), UINT64_MAX);
    assert_null(get(f, "/a"));
    assert_null(get(f, "/b"));
    assert_non_null(get(f, "/stays"));
    assert_int_equal(store_revision(f->store), revision + 1);
    assert_int_equal(put_with(f, "/a", lease), ERR_CONFLICT);
    assert_string_equal(f->err.text, "lease 1 of '/a' has ended");
}

static void a_lease_that_is_kept_alive_goes_on(void **state)
{
    struct fixture *f = *state;
    clock_fake(1000000, 1000000);
    uint64_t lease = granted(f, 1000);
    assert_int_equal(put_with(f, "/a", lease), 0);
    for (int i = 0; i < 5; i++) {
        clock_fake_advance(900000);
        assert_int_equal(store_lease_keepalive(f->store, lease, &f->err), 0);
        assert_true(store_lease_expire(f->store, &f->err) != UINT64_MAX);
    }
    clock_fake_advance(1000000);
    assert_int_equal(store_lease_keepalive(f->store, lease, &f->err), ERR_NOT_FOUND);
    assert_string_equal(f->err.text, "lease 1 has ended");
    assert_int_equal(store_lease_expire(f->store, &f->err), UINT64_MAX);
    assert_null(get(f, "/a"));
}

static void revoking_removes_the_keys_at_once(void **state)
{
    struct fixture *f = *state;
    uint64_t first = granted(f, 60000), second = granted(f, 60000);
    assert_int_not_equal(first, second);
    assert_int_equal(put_with(f, "/a", first), 0);
    assert_int_equal(put_with(f, "/b", second), 0);
    assert_int_equal(store_lease_revoke(f->store, first, &f->err), 0);
    assert_null(get(f, "/a"));
    assert_non_null(get(f, "/b"));
    assert_int_equal(store_lease_revoke(f->store, first, &f->err), ERR_NOT_FOUND);
    assert_int_equal(store_lease_keepalive(f->store, second, &f->err), 0);
}

static void a_key_put_anew_without_the_lease_stays(void **state)
{
    struct fixture *f = *state;
    uint64_t lease = granted(f, 60000);
    assert_int_equal(put_with(f, "/a", lease), 0);
    set(f, "/a", "mine now");
    assert_int_equal(store_lease_revoke(f->store, lease, &f->err), 0);
    assert_string_equal(get(f, "/a"), "mine now");
}

static void after_opening_anew_a_lease_has_its_full_term(void **state)
{
    struct fixture *f = *state;
    clock_fake(1000000, 1000000);
    uint64_t lease = granted(f, 1000);
    assert_int_equal(put_with(f, "/a", lease), 0);
    clock_fake_advance(999000);
    reopen(f);
    assert_int_equal(store_lease_expire(f->store, &f->err), 1000000 + 999000 + 1000000);
    assert_int_equal(entry_of(f, "/a").lease, lease);
    assert_int_equal(store_lease_revoke(f->store, lease, &f->err), 0);
    reopen(f);
    assert_int_equal(granted(f, 1000), lease + 1); /* an id is never used twice */
}

static void a_holder_is_compared(void **state)
{
    struct fixture *f = *state;
    uint64_t lease = granted(f, 60000);
    assert_int_equal(put_with(f, "/lock", lease), 0);
    CLEANUP(store_transaction_freep) struct store_transaction *t = store_transaction_new();
    store_compare_lease(t, "/lock", lease);
    store_put(t, "/work", SLICE("done"), 0);
    assert_int_equal(store_commit(f->store, t, NULL, &f->err), 0);
    assert_int_equal(store_lease_revoke(f->store, lease, &f->err), 0);
    assert_int_equal(store_commit(f->store, t, NULL, &f->err), ERR_CONFLICT);
    assert_string_equal(f->err.text, "'/lock' is not held by lease 1 any more");
}

static void a_senseless_term_is_refused(void **state)
{
    struct fixture *f = *state;
    uint64_t lease = 5;
    assert_int_equal(store_lease_grant(f->store, 0, &lease, &f->err), ERR_INVALID);
    assert_int_equal(store_lease_grant(f->store, UINT64_MAX, &lease, &f->err), ERR_INVALID);
    assert_int_equal(lease, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keys_vanish_when_their_lease_ends),
        TEST(a_lease_that_is_kept_alive_goes_on),
        TEST(revoking_removes_the_keys_at_once),
        TEST(a_key_put_anew_without_the_lease_stays),
        TEST(after_opening_anew_a_lease_has_its_full_term),
        TEST(a_holder_is_compared),
        TEST(a_senseless_term_is_refused),
    };
    return cmocka_run_group_tests_name("store_lease", tests, NULL, NULL);
}
