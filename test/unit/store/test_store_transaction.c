#include "store_test.h"

#define TRANSACTION(name)                                                                          \
    CLEANUP(store_transaction_freep) struct store_transaction *name = store_transaction_new()

static void a_transaction_has_one_revision(void **state)
{
    struct fixture *f = *state;
    uint64_t revision = 0;
    TRANSACTION(t);
    store_put(t, "/a", SLICE("1"), 0);
    store_put(t, "/b", SLICE("2"), 0);
    assert_int_equal(store_commit(f->store, t, &revision, &f->err), 0);
    assert_int_equal(revision, 1);
    assert_int_equal(entry_of(f, "/a").mod_revision, 1);
    assert_int_equal(entry_of(f, "/b").mod_revision, 1);
}

static void a_failed_compare_changes_nothing_and_names_the_key(void **state)
{
    struct fixture *f = *state;
    uint64_t revision = 77;
    set(f, "/a", "1");
    set(f, "/a", "2");
    TRANSACTION(t);
    store_put(t, "/b", SLICE("new"), 0);
    store_compare(t, "/a", 1);
    assert_int_equal(store_commit(f->store, t, &revision, &f->err), ERR_CONFLICT);
    assert_string_equal(f->err.text, "'/a' was changed meanwhile (revision 2, expected 1)");
    assert_int_equal(revision, 77);
    assert_null(get(f, "/b"));
    assert_int_equal(store_revision(f->store), 2);
    set(f, "/c", "goes on");
    assert_int_equal(store_revision(f->store), 3);
}

static void comparing_with_zero_demands_absence(void **state)
{
    struct fixture *f = *state;
    TRANSACTION(t);
    store_compare(t, "/lock", 0);
    store_put(t, "/lock", SLICE("me"), 0);
    assert_int_equal(store_commit(f->store, t, NULL, &f->err), 0);
    assert_int_equal(store_commit(f->store, t, NULL, &f->err), ERR_CONFLICT);
    assert_string_equal(f->err.text, "'/lock' exists already");
    TRANSACTION(gone);
    store_delete(gone, "/lock");
    assert_int_equal(store_commit(f->store, gone, NULL, &f->err), 0);
    assert_int_equal(store_commit(f->store, t, NULL, &f->err), 0);
    struct store_entry entry = entry_of(f, "/lock");
    assert_int_equal(entry.create_revision, 3); /* a new life */
    assert_int_equal(entry.version, 1);
}

static void a_subtree_is_replaced_at_once(void **state)
{
    struct fixture *f = *state;
    set(f, "/apps/a/1", "x");
    set(f, "/apps/a/2", "x");
    set(f, "/apps/b", "stays");
    TRANSACTION(t);
    store_delete_prefix(t, "/apps/a/");
    store_put(t, "/apps/a/2", SLICE("new"), 0);
    assert_int_equal(store_commit(f->store, t, NULL, &f->err), 0);
    assert_null(get(f, "/apps/a/1"));
    assert_string_equal(get(f, "/apps/a/2"), "new");
    assert_int_equal(entry_of(f, "/apps/a/2").version, 1);
    assert_string_equal(get(f, "/apps/b"), "stays");
    assert_int_equal(store_revision(f->store), 4);
}

static void changing_nothing_takes_no_revision(void **state)
{
    struct fixture *f = *state;
    uint64_t revision = 0;
    set(f, "/a", "1");
    TRANSACTION(t);
    store_delete(t, "/absent");
    store_delete_prefix(t, "/nowhere/");
    assert_int_equal(store_commit(f->store, t, &revision, &f->err), 0);
    assert_int_equal(revision, 1);
    reopen(f);
    assert_int_equal(store_revision(f->store), 1);
}

static void ceilings_are_told(void **state)
{
    struct fixture *f = *state;
    static char bytes[STORE_VALUE_MAX + 1];
    char key[STORE_KEY_MAX + 2];
    memset(key, 'k', sizeof(key) - 1);
    key[sizeof(key) - 1] = '\0';
    assert_int_equal(store_set(f->store, key, SLICE(""), &f->err), ERR_LIMIT);
    assert_string_equal(f->err.text, "a key of 1025 bytes is too long, the limit is 1024");
    key[STORE_KEY_MAX] = '\0';
    assert_int_equal(store_set(f->store, key, SLICE(""), &f->err), 0);
    assert_int_equal(store_set(f->store, "/v", (struct slice){bytes, sizeof(bytes)}, &f->err),
                     ERR_LIMIT);
    assert_string_equal(f->err.text,
                        "the value of '/v' is too large: 4194305 bytes, the limit is 4194304");
    assert_int_equal(store_set(f->store, "/v", (struct slice){bytes, STORE_VALUE_MAX}, &f->err), 0);
    assert_int_equal(entry_of(f, "/v").value.len, STORE_VALUE_MAX);
    TRANSACTION(t);
    for (unsigned i = 0; i <= STORE_OPERATIONS_MAX; i++)
        store_delete(t, "/v");
    assert_int_equal(store_commit(f->store, t, NULL, &f->err), ERR_LIMIT);
    assert_string_equal(f->err.text, "a transaction holds at most 512 operations");
    assert_non_null(get(f, "/v"));
    TRANSACTION(large);
    for (unsigned i = 0; i < 5; i++)
        store_put(large, "/v", (struct slice){bytes, STORE_VALUE_MAX}, 0);
    assert_int_equal(store_commit(f->store, large, NULL, &f->err), ERR_LIMIT);
    assert_string_equal(f->err.text, "a transaction holds at most 16777216 bytes");
}

static void keys_are_readable(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(store_set(f->store, "", SLICE("x"), &f->err), ERR_INVALID);
    assert_int_equal(store_set(f->store, "/a\nb", SLICE("x"), &f->err), ERR_INVALID);
    assert_int_equal(store_set(f->store, "/a\xff", SLICE("x"), &f->err), ERR_INVALID);
    assert_int_equal(store_set(f->store, "/a \xc3\xa4", SLICE("x"), &f->err), 0);
    assert_int_equal(store_revision(f->store), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_transaction_has_one_revision),
        TEST(a_failed_compare_changes_nothing_and_names_the_key),
        TEST(comparing_with_zero_demands_absence),
        TEST(a_subtree_is_replaced_at_once),
        TEST(changing_nothing_takes_no_revision),
        TEST(ceilings_are_told),
        TEST(keys_are_readable),
    };
    return cmocka_run_group_tests_name("store_transaction", tests, NULL, NULL);
}
