/* fuzz_units.c - arbitrary text as a duration, a size, a percentage, a time and an address:
 * refused, or written so that it means the same. */
#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "os/socket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_address(const char *text)
{
    struct address address, again;
    char written[ADDRESS_TEXT_SIZE], written_again[ADDRESS_TEXT_SIZE];
    if (address_parse(text, &address, NULL) != 0)
        return;
    address_format(&address, written);
    assert(address_parse(written, &again, NULL) == 0);
    assert(strcmp(address_format(&again, written_again), written) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    char written[UNITS_TEXT_SIZE], time_written[CLOCK_TEXT_SIZE];
    uint64_t value, again;
    double percent;
    if (units_parse_duration_ms(text, &value) == 0) {
        units_format_duration_ms(value, written);
        assert(units_parse_duration_ms(slice_from(written), &again) == 0 && again == value);
    }
    if (units_parse_size(text, &value) == 0)
        assert(strlen(units_format_size(value, written)) < UNITS_TEXT_SIZE);
    if (units_parse_percent(text, &percent) == 0)
        assert(percent >= 0);

    char *copy = strndup((const char *)data, size);
    if (!copy)
        return 0;
    if (clock_parse(copy, &value) == 0) {
        clock_format(value, time_written);
        assert(clock_parse(time_written, &again) == 0 && again == value);
    }
    check_address(copy);
    free(copy);
    return 0;
}
