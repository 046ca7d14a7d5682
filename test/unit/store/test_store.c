#include "store_test.h"

static void a_value_is_read_back_with_its_numbers(void **state)
{
    struct fixture *f = *state;
    set(f, "/a", "one");
    set(f, "/b", "other");
    set(f, "/a", "two");
    struct store_entry entry = entry_of(f, "/a");
    assert_string_equal(entry.key.ptr, "/a");
    assert_string_equal(entry.value.ptr, "two");
    assert_int_equal(entry.create_revision, 1);
    assert_int_equal(entry.mod_revision, 3);
    assert_int_equal(entry.version, 2);
    assert_int_equal(entry.lease, 0);
    assert_int_equal(store_revision(f->store), 3);
}

static void an_absent_key_is_not_found(void **state)
{
    struct fixture *f = *state;
    struct store_entry entry;
    assert_int_equal(store_get(f->store, "/nothing", f->arena, &entry, &f->err), ERR_NOT_FOUND);
    assert_string_equal(f->err.text, "there is no '/nothing' in the state");
    assert_int_equal(store_get(f->store, "/nothing", f->arena, &entry, NULL), ERR_NOT_FOUND);
}

static void bytes_of_any_kind_are_kept(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(store_set(f->store, "/bytes", (struct slice){"a\0b\xff", 4}, &f->err), 0);
    assert_int_equal(store_set(f->store, "/empty", (struct slice){0}, &f->err), 0);
    struct store_entry entry = entry_of(f, "/bytes");
    assert_int_equal(entry.value.len, 4);
    assert_memory_equal(entry.value.ptr, "a\0b\xff", 5); /* and a NUL behind it */
    assert_int_equal(entry_of(f, "/empty").value.len, 0);
}

static void a_range_has_the_keys_of_a_prefix_in_order(void **state)
{
    struct fixture *f = *state;
    struct store_entry *entries;
    size_t count;
    set(f, "/apps/b", "2");
    set(f, "/apps/a/x", "1");
    set(f, "/apps0", "outside");
    set(f, "/app", "outside");
    set(f, "/apps/c\xc3\xbf", "3");
    assert_int_equal(store_range(f->store, "/apps/", 0, f->arena, &entries, &count, &f->err), 0);
    assert_int_equal(count, 3);
    assert_string_equal(entries[0].key.ptr, "/apps/a/x");
    assert_string_equal(entries[1].key.ptr, "/apps/b");
    assert_string_equal(entries[2].value.ptr, "3");
    assert_int_equal(store_range(f->store, "/apps/", 2, f->arena, &entries, &count, &f->err), 0);
    assert_int_equal(count, 2);
    assert_int_equal(store_range(f->store, "", 0, f->arena, &entries, &count, &f->err), 0);
    assert_int_equal(count, 5);
    assert_int_equal(store_range(f->store, "/none", 0, f->arena, &entries, &count, &f->err), 0);
    assert_int_equal(count, 0);
}

static void an_answer_beyond_the_arena_is_an_error(void **state)
{
    struct fixture *f = *state;
    CLEANUP(arena_freep) struct arena *small = arena_new(4096);
    struct store_entry entry, *entries;
    size_t count;
    static char large[8192];
    assert_int_equal(store_set(f->store, "/large", (struct slice){large, sizeof(large)}, &f->err),
                     0);
    assert_int_equal(store_get(f->store, "/large", small, &entry, &f->err), ERR_LIMIT);
    assert_string_equal(f->err.text, "the answer is too large: '/large' does not fit");
    assert_int_equal(store_range(f->store, "/", 0, small, &entries, &count, &f->err), ERR_LIMIT);
    assert_string_equal(get(f, "/large"), "");
}

static void numbers_count_from_one_and_survive(void **state)
{
    struct fixture *f = *state;
    uint64_t number = 0;
    assert_int_equal(store_next_number(f->store, "/counter", &number, &f->err), 0);
    assert_int_equal(number, 1);
    assert_int_equal(store_next_number(f->store, "/counter", &number, &f->err), 0);
    assert_int_equal(number, 2);
    reopen(f);
    assert_int_equal(store_next_number(f->store, "/counter", &number, &f->err), 0);
    assert_int_equal(number, 3);
    set(f, "/counter", "many");
    assert_int_equal(store_next_number(f->store, "/counter", &number, &f->err), ERR_CORRUPT);
    assert_string_equal(f->err.text, "'/counter' in the state does not hold a number");
    assert_int_equal(number, 3);
}

static void everything_is_there_after_opening_anew(void **state)
{
    struct fixture *f = *state;
    char key[32];
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "/k/%d", i % 50);
        set(f, key, key);
    }
    reopen(f);
    struct store_entry *entries;
    size_t count;
    assert_int_equal(store_revision(f->store), 300);
    assert_int_equal(store_range(f->store, "/k/", 0, f->arena, &entries, &count, &f->err), 0);
    assert_int_equal(count, 50);
    assert_int_equal(entry_of(f, "/k/49").version, 6);
    set(f, "/k/49", "next");
    assert_int_equal(store_revision(f->store), 301);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_value_is_read_back_with_its_numbers),
        TEST(an_absent_key_is_not_found),
        TEST(bytes_of_any_kind_are_kept),
        TEST(a_range_has_the_keys_of_a_prefix_in_order),
        TEST(an_answer_beyond_the_arena_is_an_error),
        TEST(numbers_count_from_one_and_survive),
        TEST(everything_is_there_after_opening_anew),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
