#include "base/error.h"
#include "base/slice.h"
#include "unit.h"

static void comparison_ignores_case_only_for_ascii_letters(void **state)
{
    (void)state;
    assert_true(slice_eq_nocase(SLICE("Content-Type"), SLICE("content-TYPE")));
    assert_false(slice_eq_nocase(SLICE("a["), SLICE("A{")));
    assert_false(slice_eq_nocase(SLICE("\xc3\x84"), SLICE("\xc3\xa4")));
    assert_false(slice_eq_nocase(SLICE("a"), SLICE("ab")));
}

static void a_prefix_sorts_before_the_longer_text(void **state)
{
    (void)state;
    assert_true(slice_compare(SLICE("ab"), SLICE("abc")) < 0);
    assert_true(slice_compare(SLICE("b"), SLICE("abc")) > 0);
    assert_int_equal(slice_compare(SLICE("abc"), SLICE("abc")), 0);
    assert_true(slice_compare(SLICE("\xff"), SLICE("a")) > 0);
    assert_int_equal(slice_compare((struct slice){0}, SLICE("")), 0);
}

static void prefixes_and_suffixes_are_found(void **state)
{
    (void)state;
    assert_true(slice_starts_with(SLICE("/api/v1"), SLICE("/api")));
    assert_false(slice_starts_with(SLICE("/ap"), SLICE("/api")));
    assert_true(slice_ends_with(SLICE("app.js"), SLICE(".js")));
    assert_false(slice_ends_with(SLICE("js"), SLICE(".js")));
    assert_true(slice_starts_with(SLICE("x"), SLICE("")));
}

static void searching_gives_the_first_offset_or_minus_one(void **state)
{
    (void)state;
    assert_int_equal(slice_find_byte(SLICE("a=b=c"), '='), 1);
    assert_int_equal(slice_find_byte(SLICE("abc"), '='), -1);
    assert_int_equal(slice_find_byte((struct slice){0}, '='), -1);
    assert_int_equal(slice_find(SLICE("aab"), SLICE("ab")), 1);
    assert_int_equal(slice_find(SLICE("a"), SLICE("ab")), -1);
    assert_int_equal(slice_find(SLICE("a"), SLICE("")), 0);
}

static void a_part_is_clamped_to_the_whole(void **state)
{
    (void)state;
    assert_slice_equal(slice_sub(SLICE("hello"), 1, 3), "ell");
    assert_slice_equal(slice_sub(SLICE("hello"), 3, SIZE_MAX), "lo");
    assert_slice_equal(slice_sub(SLICE("hello"), 9, 1), "");
}

static void trimming_takes_blanks_from_both_ends(void **state)
{
    (void)state;
    assert_slice_equal(slice_trim(SLICE(" \t a b\r\n")), "a b");
    assert_slice_equal(slice_trim(SLICE(" \t\r\n")), "");
}

static void cutting_walks_through_all_parts(void **state)
{
    (void)state;
    struct slice rest = SLICE("a,,b");
    assert_slice_equal(slice_cut(&rest, ','), "a");
    struct slice empty = slice_cut(&rest, ',');
    assert_non_null(empty.ptr); /* an empty part is not the end */
    assert_int_equal(empty.len, 0);
    assert_slice_equal(slice_cut(&rest, ','), "b");
    assert_null(slice_cut(&rest, ',').ptr);
}

static void numbers_are_digits_within_range_only(void **state)
{
    (void)state;
    uint64_t u = 7;
    int64_t i = 7;
    assert_int_equal(slice_to_u64(SLICE("18446744073709551615"), &u), 0);
    assert_true(u == UINT64_MAX);
    u = 7;
    const char *bad[] = {"", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616", "1e3"};
    for (size_t n = 0; n < ARRAY_LEN(bad); n++)
        assert_int_equal(slice_to_u64(slice_from(bad[n]), &u), ERR_INVALID);
    assert_int_equal(u, 7);
    assert_int_equal(slice_to_i64(SLICE("-9223372036854775808"), &i), 0);
    assert_true(i == INT64_MIN);
    assert_int_equal(slice_to_i64(SLICE("9223372036854775807"), &i), 0);
    assert_true(i == INT64_MAX);
    i = 7;
    assert_int_equal(slice_to_i64(SLICE("9223372036854775808"), &i), ERR_INVALID);
    assert_int_equal(slice_to_i64(SLICE("-9223372036854775809"), &i), ERR_INVALID);
    assert_int_equal(slice_to_i64(SLICE("-"), &i), ERR_INVALID);
    assert_int_equal(slice_to_i64(SLICE("--1"), &i), ERR_INVALID);
    assert_int_equal(i, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparison_ignores_case_only_for_ascii_letters),
        cmocka_unit_test(a_prefix_sorts_before_the_longer_text),
        cmocka_unit_test(prefixes_and_suffixes_are_found),
        cmocka_unit_test(searching_gives_the_first_offset_or_minus_one),
        cmocka_unit_test(a_part_is_clamped_to_the_whole),
        cmocka_unit_test(trimming_takes_blanks_from_both_ends),
        cmocka_unit_test(cutting_walks_through_all_parts),
        cmocka_unit_test(numbers_are_digits_within_range_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
