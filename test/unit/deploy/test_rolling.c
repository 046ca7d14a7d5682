#include "unit.h"

#include "deploy/rolling.h"

/* Walk a whole change; every wave must keep the promises. Returns the number of waves. */
static unsigned walk(unsigned before, unsigned want, unsigned surge)
{
    struct rolling rolling = {.want = want, .before = before, .surge = surge, .old = before};
    unsigned waves = 0;

    while (!rolling_is_done(&rolling)) {
        unsigned start = rolling_start(&rolling), retire;

        assert_true(waves++ < 1000);
        assert_true(start <= ROLLING_WAVE_MAX);
        rolling.fresh += start;
        if (rolling.old > 0 && before > 0)
            assert_true(rolling.fresh + rolling.old <= MAX(want, before) + MAX(surge, 1u));
        rolling.proven = rolling.fresh;
        retire = rolling_retire(&rolling);
        assert_true(retire <= rolling.old);
        rolling.old -= retire;
        /* Never fewer than before, until the new set is whole. */
        if (rolling.proven < want)
            assert_true(rolling.old + rolling.proven >= MIN(before, MAX(before, want)));
        assert_true(start > 0 || retire > 0 || rolling_is_done(&rolling));
    }
    assert_int_equal(rolling.fresh, want);
    assert_int_equal(rolling.old, 0);
    return waves;
}

static void the_same_number_is_replaced_one_by_one(void **state)
{
    (void)state;
    assert_int_equal(walk(3, 3, 1), 3);
    assert_int_equal(walk(1, 1, 1), 1);
}

static void a_larger_surge_takes_fewer_waves(void **state)
{
    (void)state;
    assert_int_equal(walk(4, 4, 2), 2);
    assert_int_equal(walk(4, 4, 4), 1);
}

static void with_nothing_to_replace_all_start_at_once(void **state)
{
    (void)state;
    assert_int_equal(walk(0, 5, 1), 1);
    assert_int_equal(walk(0, 40, 1), 3); /* but for the ceiling */
}

static void every_combination_ends(void **state)
{
    (void)state;
    for (unsigned before = 0; before <= 12; before++)
        for (unsigned want = 0; want <= 12; want++)
            for (unsigned surge = 0; surge <= 5; surge++)
                (void)walk(before, want, surge);
}

static void what_is_not_proven_replaces_nothing(void **state)
{
    const struct rolling rolling = {.want = 3, .before = 3, .surge = 1, .fresh = 1, .old = 3};

    (void)state;
    assert_int_equal(rolling_retire(&rolling), 0);
    assert_int_equal(rolling_start(&rolling), 0); /* the surge is used up */
    assert_false(rolling_is_done(&rolling));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_number_is_replaced_one_by_one),
        cmocka_unit_test(a_larger_surge_takes_fewer_waves),
        cmocka_unit_test(with_nothing_to_replace_all_start_at_once),
        cmocka_unit_test(every_combination_ends),
        cmocka_unit_test(what_is_not_proven_replaces_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
