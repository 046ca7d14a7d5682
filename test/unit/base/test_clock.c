#include "base/clock.h"
#include "base/error.h"
#include "unit.h"

static void a_fake_clock_stands_still_until_it_is_moved(void **state)
{
    (void)state;
    clock_fake(5, 7);
    assert_int_equal(clock_monotonic_us(), 5);
    clock_fake_advance(10);
    assert_int_equal(clock_monotonic_us(), 15);
    assert_int_equal(clock_wall_us(), 17);
    clock_real();
    assert_true(clock_wall_us() > 1700000000000000u);
}

static void the_real_clock_never_goes_back(void **state)
{
    (void)state;
    uint64_t last = clock_monotonic_us();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_monotonic_us();
        assert_true(now >= last);
        last = now;
    }
}

static void times_are_written_as_rfc_3339(void **state)
{
    (void)state;
    const struct {
        uint64_t us;
        const char *text;
    } rows[] = {{0, "1970-01-01T00:00:00.000000Z"},
                {951782399999999, "2000-02-28T23:59:59.999999Z"},
                {951782400000000, "2000-02-29T00:00:00.000000Z"},
                {1772368496789012, "2026-03-01T12:34:56.789012Z"},
                {4107542400000000, "2100-03-01T00:00:00.000000Z"}};
    char buffer[CLOCK_TEXT_SIZE];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t back;
        assert_string_equal(clock_format(rows[i].us, buffer), rows[i].text);
        assert_int_equal(clock_parse(rows[i].text, &back), 0);
        assert_int_equal(back, rows[i].us);
    }
}

static void every_day_of_four_centuries_comes_back(void **state)
{
    (void)state;
    char buffer[CLOCK_TEXT_SIZE];
    for (uint64_t day = 0; day < 146097; day++) {
        uint64_t back, us = day * 86400 * 1000000;
        assert_int_equal(clock_parse(clock_format(us, buffer), &back), 0);
        assert_int_equal(back, us);
    }
}

static void seconds_and_short_fractions_are_read(void **state)
{
    (void)state;
    uint64_t us;
    assert_int_equal(clock_parse("1970-01-01T00:00:01Z", &us), 0);
    assert_int_equal(us, 1000000);
    assert_int_equal(clock_parse("1970-01-01T00:00:01.5Z", &us), 0);
    assert_int_equal(us, 1500000);
}

static void what_is_no_time_is_refused(void **state)
{
    (void)state;
    const char *bad[] = {"",
                         "1970-01-01",
                         "1970-01-01T00:00:00",
                         "1970-01-01 00:00:00Z",
                         "1970-13-01T00:00:00Z",
                         "1970-00-01T00:00:00Z",
                         "2023-02-29T00:00:00Z",
                         "1970-01-01T24:00:00Z",
                         "1970-01-01T00:60:00Z",
                         "1970-01-01T00:00:60Z",
                         "1970-01-01T00:00:00.Z",
                         "1970-01-01T00:00:00.1234567Z",
                         "1970-01-01T00:00:00+01:00",
                         "1970-01-01T00:00:00Zx",
                         "1969-12-31T23:59:59Z",
                         "+970-01-01T00:00:00Z"};
    uint64_t us = 42;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(clock_parse(bad[i], &us), ERR_INVALID);
    assert_int_equal(us, 42);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fake_clock_stands_still_until_it_is_moved),
        cmocka_unit_test(the_real_clock_never_goes_back),
        cmocka_unit_test(times_are_written_as_rfc_3339),
        cmocka_unit_test(every_day_of_four_centuries_comes_back),
        cmocka_unit_test(seconds_and_short_fractions_are_read),
        cmocka_unit_test(what_is_no_time_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
