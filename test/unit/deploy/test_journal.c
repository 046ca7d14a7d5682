#include "unit.h"

#include "deploy/journal.h"
#include "os/file.h"

struct fixture {
    char folder[UNIT_PATH_SIZE];
    struct store *store;
    struct journal journal;
    unsigned dirty, committed;
    struct error err;
};

static void on_dirty(struct journal *journal)
{
    container_of(journal, struct fixture, journal)->dirty++;
}

static void on_committed(struct journal *journal)
{
    container_of(journal, struct fixture, journal)->committed++;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    unit_folder(f->folder);
    assert_int_equal(store_open(f->folder, &f->store, &f->err), 0);
    journal_init(&f->journal, f->store);
    f->journal.on_dirty = on_dirty;
    f->journal.on_committed = on_committed;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    journal_done(&f->journal);
    store_close(f->store);
    assert_int_equal(directory_remove_tree(f->folder, &f->err), 0);
    free(f);
    return 0;
}

static bool has(struct fixture *f, const char *key, const char *value)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(65536);
    struct store_entry entry;

    return store_get(f->store, key, arena, &entry, NULL) == 0 &&
           slice_eq(entry.value, slice_from(value));
}

static void a_turn_is_one_commit(void **state)
{
    struct fixture *f = *state;
    uint64_t before = store_revision(f->store);

    journal_put(&f->journal, "/a", SLICE("1"));
    journal_put(&f->journal, "/b", SLICE("2"));
    journal_put(&f->journal, "/a", SLICE("3"));
    assert_false(journal_is_clean(&f->journal));
    assert_false(has(f, "/a", "3"));
    assert_int_equal(journal_commit(&f->journal, &f->err), 0);
    assert_true(journal_is_clean(&f->journal));
    assert_true(has(f, "/a", "3")); /* the last word counts */
    assert_true(has(f, "/b", "2"));
    assert_int_equal(store_revision(f->store), before + 1);
    assert_int_equal(f->dirty, 1);
    assert_int_equal(f->committed, 1);
    journal_delete(&f->journal, "/a");
    journal_delete_prefix(&f->journal, "/b");
    assert_int_equal(journal_commit(&f->journal, &f->err), 0);
    assert_false(has(f, "/a", "3") || has(f, "/b", "2"));
}

static void nothing_pending_is_no_commit(void **state)
{
    struct fixture *f = *state;
    uint64_t before = store_revision(f->store);

    assert_int_equal(journal_commit(&f->journal, &f->err), 0);
    assert_int_equal(store_revision(f->store), before);
    assert_int_equal(f->committed, 0);
}

static void more_than_a_transaction_holds_is_split(void **state)
{
    struct fixture *f = *state;
    char key[32];

    for (unsigned i = 0; i < 1500; i++) {
        (void)snprintf(key, sizeof(key), "/many/%u", i);
        journal_put(&f->journal, key, SLICE("x"));
    }
    assert_int_equal(journal_commit(&f->journal, &f->err), 0);
    assert_true(has(f, "/many/0", "x"));
    assert_true(has(f, "/many/1499", "x"));
}

static void a_frozen_one_writes_nothing(void **state)
{
    struct fixture *f = *state;

    journal_put(&f->journal, "/a", SLICE("1"));
    journal_freeze(&f->journal);
    journal_put(&f->journal, "/b", SLICE("1"));
    journal_delete(&f->journal, "/c");
    assert_true(journal_is_clean(&f->journal));
    assert_int_equal(journal_commit(&f->journal, &f->err), 0);
    assert_false(has(f, "/a", "1") || has(f, "/b", "1"));
}

static void what_is_dropped_is_gone(void **state)
{
    struct fixture *f = *state;

    journal_put(&f->journal, "/a", SLICE("1"));
    journal_drop(&f->journal);
    assert_true(journal_is_clean(&f->journal));
    journal_put(&f->journal, "/b", SLICE("1"));
    assert_int_equal(journal_commit(&f->journal, &f->err), 0);
    assert_false(has(f, "/a", "1"));
    assert_true(has(f, "/b", "1"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_turn_is_one_commit),
        T(nothing_pending_is_no_commit),
        T(more_than_a_transaction_holds_is_split),
        T(a_frozen_one_writes_nothing),
        T(what_is_dropped_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
