#include "unit.h"

#include "base/compiler.h"
#include "deploy/retention.h"

static void the_newest_are_kept(void **state)
{
    struct retention_release releases[8];

    (void)state;
    for (size_t i = 0; i < 8; i++)
        releases[i] =
            (struct retention_release){.number = i + 1, .was_live = true, .has_files = true};
    retention_mark(releases, 8, 5);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(releases[i].is_dropped, i < 3);
}

static void what_is_needed_is_never_dropped(void **state)
{
    struct retention_release releases[8];

    (void)state;
    for (size_t i = 0; i < 8; i++)
        releases[i] = (struct retention_release){
            .number = i + 1, .was_live = true, .has_files = true, .is_needed = i == 0};
    retention_mark(releases, 8, 3);
    assert_false(releases[0].is_dropped);
    assert_true(releases[1].is_dropped);
    assert_true(releases[5].is_dropped);
    assert_false(releases[6].is_dropped); /* it and two more */
    retention_mark(releases, 8, 1);
    assert_false(releases[0].is_dropped);
    assert_true(releases[7].is_dropped);
}

static void failed_ones_go_first(void **state)
{
    struct retention_release releases[] = {
        {.number = 1, .was_live = true, .has_files = true},
        {.number = 2, .was_live = false, .has_files = true},
        {.number = 3, .was_live = true, .has_files = true, .is_needed = true},
    };

    (void)state;
    retention_mark(releases, ARRAY_LEN(releases), 5);
    assert_false(releases[0].is_dropped);
    assert_true(releases[1].is_dropped);
}

static void what_has_no_files_counts_nothing(void **state)
{
    struct retention_release releases[] = {
        {.number = 1, .was_live = true, .has_files = true},
        {.number = 2, .was_live = true, .has_files = false},
        {.number = 3, .was_live = true, .has_files = false},
    };

    (void)state;
    retention_mark(releases, ARRAY_LEN(releases), 1);
    for (size_t i = 0; i < ARRAY_LEN(releases); i++)
        assert_false(releases[i].is_dropped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_are_kept),
        cmocka_unit_test(what_is_needed_is_never_dropped),
        cmocka_unit_test(failed_ones_go_first),
        cmocka_unit_test(what_has_no_files_counts_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
