#include "base/error.h"
#include "base/map.h"
#include "unit.h"

static int values[5000];

static struct slice key_of(char *buffer, size_t n)
{
    snprintf(buffer, 32, "key-%zu", n);
    return slice_from(buffer);
}

static void what_was_put_is_found_and_the_rest_is_not(void **state)
{
    (void)state;
    CLEANUP(map_freep) struct map *map = map_new(10000);
    char buffer[32];
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        assert_int_equal(map_put(map, key_of(buffer, i), &values[i]), 0);
    assert_int_equal(map_count(map), ARRAY_LEN(values));
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        assert_ptr_equal(map_get(map, key_of(buffer, i)), &values[i]);
    assert_null(map_get(map, SLICE("key-")));
    assert_null(map_get(map, SLICE("key-5000")));
}

static void a_key_may_be_empty_or_hold_any_byte(void **state)
{
    (void)state;
    CLEANUP(map_freep) struct map *map = map_new(10);
    assert_int_equal(map_put(map, (struct slice){0}, &values[0]), 0);
    assert_int_equal(map_put(map, SLICE("a\0b"), &values[1]), 0);
    assert_ptr_equal(map_get(map, SLICE("")), &values[0]);
    assert_ptr_equal(map_get(map, SLICE("a\0b")), &values[1]);
    assert_null(map_get(map, SLICE("a\0c")));
    assert_null(map_get(map, SLICE("a")));
}

static void an_existing_key_gets_the_new_value(void **state)
{
    (void)state;
    CLEANUP(map_freep) struct map *map = map_new(1);
    assert_int_equal(map_put(map, SLICE("a"), &values[0]), 0);
    assert_int_equal(map_put(map, SLICE("a"), &values[1]), 0); /* also when it is full */
    assert_ptr_equal(map_get(map, SLICE("a")), &values[1]);
    assert_int_equal(map_count(map), 1);
}

static void a_full_map_takes_no_more(void **state)
{
    (void)state;
    CLEANUP(map_freep) struct map *map = map_new(2);
    assert_int_equal(map_put(map, SLICE("a"), &values[0]), 0);
    assert_int_equal(map_put(map, SLICE("b"), &values[1]), 0);
    assert_int_equal(map_put(map, SLICE("c"), &values[2]), ERR_LIMIT);
    assert_null(map_get(map, SLICE("c")));
    assert_ptr_equal(map_remove(map, SLICE("a")), &values[0]);
    assert_int_equal(map_put(map, SLICE("c"), &values[2]), 0);
}

static void the_walk_has_the_order_of_insertion(void **state)
{
    (void)state;
    CLEANUP(map_freep) struct map *map = map_new(1000);
    char buffer[32];
    for (size_t i = 0; i < 500; i++)
        assert_int_equal(map_put(map, key_of(buffer, i), &values[i]), 0);
    for (size_t i = 0; i < 500; i += 2)
        assert_ptr_equal(map_remove(map, key_of(buffer, i)), &values[i]);
    size_t cursor = 0, n = 1;
    struct slice key;
    void *value;
    while (map_next(map, &cursor, &key, &value)) {
        assert_slice_equal(key, key_of(buffer, n).ptr);
        assert_ptr_equal(value, &values[n]);
        n += 2;
    }
    assert_int_equal(n, 501);
}

static void the_entry_just_seen_may_be_removed(void **state)
{
    (void)state;
    CLEANUP(map_freep) struct map *map = map_new(1000);
    char buffer[32];
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(map_put(map, key_of(buffer, i), &values[i]), 0);
    size_t cursor = 0, seen = 0;
    struct slice key;
    while (map_next(map, &cursor, &key, NULL)) {
        assert_non_null(map_remove(map, key));
        seen++;
    }
    assert_int_equal(seen, 100);
    assert_int_equal(map_count(map), 0);
}

static void coming_and_going_for_long_keeps_all_right(void **state)
{
    (void)state;
    CLEANUP(map_freep) struct map *map = map_new(100);
    char buffer[32];
    for (size_t i = 0; i < 100000; i++) {
        assert_int_equal(map_put(map, key_of(buffer, i), &values[i % 5000]), 0);
        if (i >= 50)
            assert_ptr_equal(map_remove(map, key_of(buffer, i - 50)), &values[(i - 50) % 5000]);
    }
    assert_int_equal(map_count(map), 50);
    assert_null(map_get(map, key_of(buffer, 99949)));
    assert_ptr_equal(map_get(map, key_of(buffer, 99950)), &values[99950 % 5000]);
    assert_null(map_remove(map, SLICE("never")));
    map_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_found_and_the_rest_is_not),
        cmocka_unit_test(a_key_may_be_empty_or_hold_any_byte),
        cmocka_unit_test(an_existing_key_gets_the_new_value),
        cmocka_unit_test(a_full_map_takes_no_more),
        cmocka_unit_test(the_walk_has_the_order_of_insertion),
        cmocka_unit_test(the_entry_just_seen_may_be_removed),
        cmocka_unit_test(coming_and_going_for_long_keeps_all_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
