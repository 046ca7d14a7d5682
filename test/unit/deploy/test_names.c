#include "unit.h"

#include "deploy/names.h"

static void only_plain_names_are_valid(void **state)
{
    (void)state;
    assert_true(names_is_valid("a"));
    assert_true(names_is_valid("shop-2"));
    assert_true(names_is_valid("abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuv")); /* 48 */
    assert_false(names_is_valid("abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvw"));
    assert_false(names_is_valid(""));
    assert_false(names_is_valid(NULL));
    assert_false(names_is_valid("2shop"));
    assert_false(names_is_valid("Shop"));
    assert_false(names_is_valid("../etc"));
    assert_false(names_is_valid("a/b"));
    assert_false(names_is_valid("a b"));
}

static void a_label_has_five_fields(void **state)
{
    char label[NAMES_LABEL_SIZE];

    (void)state;
    assert_string_equal(names_label(label, "shop", "api", 3, "api-1", "run"), "shop\x1f"
                                                                              "api\x1f"
                                                                              "3\x1f"
                                                                              "api-1\x1f"
                                                                              "run");
}

static void numbers_stand_at_the_end_of_keys(void **state)
{
    uint64_t number = 0;

    (void)state;
    assert_true(names_number("/apps/shop/releases/12", &number));
    assert_int_equal(number, 12);
    assert_false(names_number("/apps/shop/current", &number));
    assert_false(names_number("12", &number));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_plain_names_are_valid),
        cmocka_unit_test(a_label_has_five_fields),
        cmocka_unit_test(numbers_stand_at_the_end_of_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
