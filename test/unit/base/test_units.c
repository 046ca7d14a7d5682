#include "base/error.h"
#include "base/units.h"
#include "unit.h"

static void durations_are_sums_from_large_to_small(void **state)
{
    (void)state;
    const struct {
        const char *text;
        uint64_t ms;
    } rows[] = {{"0", 0},       {"0s", 0},          {"250ms", 250},           {"30s", 30000},
                {"2m", 120000}, {"1h", 3600000},    {"7d", 604800000},        {"1m30s", 90000},
                {"90s", 90000}, {"1h1ms", 3600001}, {"1d1h1m1s1ms", 90061001}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t ms;
        assert_int_equal(units_parse_duration_ms(slice_from(rows[i].text), &ms), 0);
        assert_int_equal(ms, rows[i].ms);
    }
}

static void what_is_no_duration_is_refused(void **state)
{
    (void)state;
    const char *bad[] = {"",      "1",
                         "s",     "1 s",
                         "-1s",   "1.5s",
                         "1S",    "30s1m",
                         "1m1m",  "1m30",
                         "1week", "99999999999999999999d",
                         "+1s",   "213503982334602d"};
    uint64_t ms = 42;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(units_parse_duration_ms(slice_from(bad[i]), &ms), ERR_INVALID);
    assert_int_equal(ms, 42);
}

static void sizes_are_powers_of_1024(void **state)
{
    (void)state;
    const struct {
        const char *text;
        uint64_t bytes;
    } rows[] = {{"0", 0},
                {"100B", 100},
                {"512K", 524288},
                {"512k", 524288},
                {"1M", 1048576},
                {"1G", 1073741824},
                {"10GB", 10737418240},
                {"1GiB", 1073741824},
                {"1.5G", 1610612736},
                {"2T", 2199023255552},
                {"16383P", 18445618173802708992u}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t bytes;
        assert_int_equal(units_parse_size(slice_from(rows[i].text), &bytes), 0);
        assert_true(bytes == rows[i].bytes);
    }
    const char *bad[] = {"", "1", "G", "-1G", "1X", "1GX", "1Gi", "1 G", "1.G", "16384P", "1..5G"};
    uint64_t bytes = 42;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(units_parse_size(slice_from(bad[i]), &bytes), ERR_INVALID);
    assert_int_equal(bytes, 42);
}

static void percentages_need_their_sign(void **state)
{
    (void)state;
    double percent;
    assert_int_equal(units_parse_percent(SLICE("0.1%"), &percent), 0);
    assert_true(percent > 0.0999999 && percent < 0.1000001);
    assert_int_equal(units_parse_percent(SLICE("100%"), &percent), 0);
    assert_true(percent > 99.999 && percent < 100.001);
    assert_int_equal(units_parse_percent(SLICE("0"), &percent), 0);
    const char *bad[] = {"", "5", "%", "-1%", "1.%", ".1%", "1%%", "1 %"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(units_parse_percent(slice_from(bad[i]), &percent), ERR_INVALID);
}

static void durations_come_back_in_their_shortest_form(void **state)
{
    (void)state;
    char text[UNITS_TEXT_SIZE];
    assert_string_equal(units_format_duration_ms(0, text), "0s");
    assert_string_equal(units_format_duration_ms(90000, text), "1m30s");
    assert_string_equal(units_format_duration_ms(86400000, text), "1d");
    assert_string_equal(units_format_duration_ms(1500, text), "1s500ms");
    for (uint64_t ms = 0; ms < 200000000; ms += 77777) {
        uint64_t back;
        assert_int_equal(
            units_parse_duration_ms(slice_from(units_format_duration_ms(ms, text)), &back), 0);
        assert_int_equal(back, ms);
    }
    assert_true(strlen(units_format_duration_ms(UINT64_MAX, text)) < UNITS_TEXT_SIZE - 1);
}

static void sizes_are_rounded_to_a_tenth(void **state)
{
    (void)state;
    char text[UNITS_TEXT_SIZE];
    assert_string_equal(units_format_size(0, text), "0B");
    assert_string_equal(units_format_size(1023, text), "1023B");
    assert_string_equal(units_format_size(1024, text), "1K");
    assert_string_equal(units_format_size(1610612736, text), "1.5G");
    assert_string_equal(units_format_size(1048575, text), "1M");
    assert_string_equal(units_format_size(UINT64_MAX, text), "16E");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_sums_from_large_to_small),
        cmocka_unit_test(what_is_no_duration_is_refused),
        cmocka_unit_test(sizes_are_powers_of_1024),
        cmocka_unit_test(percentages_need_their_sign),
        cmocka_unit_test(durations_come_back_in_their_shortest_form),
        cmocka_unit_test(sizes_are_rounded_to_a_tenth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
