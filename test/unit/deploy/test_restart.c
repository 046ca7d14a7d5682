#include "unit.h"

#include "deploy/restart.h"

static const struct manifest_restart policy = {
    .min_uptime_ms = 10000, .backoff_min_ms = 100, .backoff_max_ms = 1000, .max_restarts = 6};

static void restart_waits_longer_after_each_crash(void **state)
{
    static const uint64_t wanted[] = {100, 200, 400, 800, 1000, 1000};
    struct restart restart = {0};
    uint64_t delay_ms;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        assert_true(restart_after_crash(&restart, &policy, 50, &delay_ms));
        assert_int_equal(delay_ms, wanted[i]);
    }
}

static void too_many_quick_crashes_end_it(void **state)
{
    struct restart restart = {0};
    uint64_t delay_ms = 7;

    (void)state;
    for (unsigned i = 0; i < 6; i++)
        assert_true(restart_after_crash(&restart, &policy, 50, &delay_ms));
    delay_ms = 7;
    assert_false(restart_after_crash(&restart, &policy, 50, &delay_ms));
    assert_int_equal(delay_ms, 7);
}

static void a_long_life_begins_anew(void **state)
{
    struct restart restart = {.quick_crashes = 6};
    uint64_t delay_ms;

    (void)state;
    assert_true(restart_after_crash(&restart, &policy, 10000, &delay_ms));
    assert_int_equal(delay_ms, 100);
}

static void no_restarts_at_all_can_be_asked_for(void **state)
{
    struct manifest_restart never = policy;
    struct restart restart = {0};
    uint64_t delay_ms;

    (void)state;
    never.max_restarts = 0;
    assert_false(restart_after_crash(&restart, &never, 20000, &delay_ms));
}

static void the_longest_wait_does_not_overflow(void **state)
{
    struct manifest_restart forever = {.min_uptime_ms = 10000,
                                       .backoff_min_ms = 1000,
                                       .backoff_max_ms = 30000,
                                       .max_restarts = UINT32_MAX};
    struct restart restart = {0};
    uint64_t delay_ms = 0;

    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        assert_true(restart_after_crash(&restart, &forever, 0, &delay_ms));
    assert_int_equal(delay_ms, 30000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restart_waits_longer_after_each_crash),
        cmocka_unit_test(too_many_quick_crashes_end_it),
        cmocka_unit_test(a_long_life_begins_anew),
        cmocka_unit_test(no_restarts_at_all_can_be_asked_for),
        cmocka_unit_test(the_longest_wait_does_not_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
