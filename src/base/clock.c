#include "base/clock.h"

#include "base/error.h"
#include "base/slice.h"
#include <stdbool.h>

static bool is_fake;
static uint64_t fake_monotonic_us, fake_wall_us;

static uint64_t read_clock_us(clockid_t id)
{
    struct timespec now;
    if (clock_gettime(id, &now) != 0)
        abort();
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_monotonic_us(void)
{
    return UNLIKELY(is_fake) ? fake_monotonic_us : read_clock_us(CLOCK_MONOTONIC);
}

uint64_t clock_wall_us(void)
{
    return UNLIKELY(is_fake) ? fake_wall_us : read_clock_us(CLOCK_REALTIME);
}

void clock_fake(uint64_t monotonic_us, uint64_t wall_us)
{
    is_fake = true;
    fake_monotonic_us = monotonic_us;
    fake_wall_us = wall_us;
}

void clock_fake_advance(uint64_t us)
{
    assert(is_fake);
    fake_monotonic_us += us;
    fake_wall_us += us;
}

void clock_real(void)
{
    is_fake = false;
}

static void put_digits(char *at, unsigned count, uint64_t value)
{
    while (count--) {
        at[count] = (char)('0' + value % 10);
        value /= 10;
    }
}

/* Days since the epoch <-> Gregorian date, by eras of 400 years that begin on 1 March. */
static void civil_from_days(uint64_t days, unsigned *ret_year, unsigned *ret_month,
                            unsigned *ret_day)
{
    uint64_t shifted = days + 719468;
    uint64_t era = shifted / 146097;
    unsigned day_of_era = (unsigned)(shifted % 146097);
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month_from_march = (5 * day_of_year + 2) / 153;
    *ret_day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    *ret_month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    *ret_year = (unsigned)(year_of_era + era * 400) + (*ret_month <= 2);
}

static uint64_t days_from_civil(unsigned year, unsigned month, unsigned day)
{
    unsigned shifted = year - (month <= 2);
    unsigned era = shifted / 400, year_of_era = shifted % 400;
    unsigned day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (uint64_t)era * 146097 + day_of_era - 719468;
}

char *clock_format(uint64_t wall_us, char *buffer)
{
    uint64_t seconds = wall_us / 1000000;
    unsigned year, month, day;
    civil_from_days(seconds / 86400, &year, &month, &day);
    memcpy(buffer, "0000-00-00T00:00:00.000000Z", 28);
    put_digits(buffer, 4, year);
    put_digits(buffer + 5, 2, month);
    put_digits(buffer + 8, 2, day);
    put_digits(buffer + 11, 2, seconds / 3600 % 24);
    put_digits(buffer + 14, 2, seconds / 60 % 60);
    put_digits(buffer + 17, 2, seconds % 60);
    put_digits(buffer + 20, 6, wall_us % 1000000);
    return buffer;
}

/* Take `digits` decimal digits and, unless it is NUL, the byte behind them. */
static bool take_number(struct slice *rest, size_t digits, char behind, unsigned *ret_value)
{
    uint64_t value;
    if (rest->len < digits || slice_to_u64(slice_sub(*rest, 0, digits), &value) != 0)
        return false;
    *rest = slice_sub(*rest, digits, SIZE_MAX);
    *ret_value = (unsigned)value;
    if (!behind)
        return true;
    if (rest->len == 0 || rest->ptr[0] != behind)
        return false;
    *rest = slice_sub(*rest, 1, SIZE_MAX);
    return true;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && is_leap);
}

int clock_parse(const char *text, uint64_t *ret_wall_us)
{
    struct slice rest = slice_from(text);
    unsigned year, month, day, hour, minute, second;
    if (!take_number(&rest, 4, '-', &year) || !take_number(&rest, 2, '-', &month) ||
        !take_number(&rest, 2, 'T', &day) || !take_number(&rest, 2, ':', &hour) ||
        !take_number(&rest, 2, ':', &minute) || !take_number(&rest, 2, '\0', &second))
        return ERR_INVALID;
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) ||
        hour > 23 || minute > 59 || second > 59)
        return ERR_INVALID;

    uint64_t fraction_us = 0;
    if (rest.len && rest.ptr[0] == '.') {
        unsigned digits = 0;
        for (rest = slice_sub(rest, 1, SIZE_MAX);
             rest.len && rest.ptr[0] >= '0' && rest.ptr[0] <= '9';
             rest = slice_sub(rest, 1, SIZE_MAX), digits++)
            fraction_us = fraction_us * 10 + (uint64_t)(rest.ptr[0] - '0') * (digits < 6);
        if (digits == 0 || digits > 6)
            return ERR_INVALID;
        for (; digits < 6; digits++)
            fraction_us *= 10;
    }
    if (!slice_eq(rest, SLICE("Z")))
        return ERR_INVALID;
    uint64_t seconds =
        days_from_civil(year, month, day) * 86400 + hour * 3600u + minute * 60u + second;
    *ret_wall_us = seconds * 1000000 + fraction_us;
    return 0;
}
