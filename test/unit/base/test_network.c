#include "../unit.h"

#include "base/error.h"
#include "base/network.h"

static bool contains(const char *text, const char *address)
{
    struct network network, single;

    assert_int_equal(network_parse(slice_from(text), &network), 0);
    assert_int_equal(network_parse(slice_from(address), &single), 0);
    return network_contains(&network, single.address);
}

static void a_network_contains_its_addresses_and_no_others(void **state)
{
    (void)state;
    assert_true(contains("10.0.0.0/8", "10.255.1.2"));
    assert_false(contains("10.0.0.0/8", "11.0.0.0"));
    assert_true(contains("192.0.2.128/25", "192.0.2.129"));
    assert_false(contains("192.0.2.128/25", "192.0.2.127"));
    assert_true(contains("192.0.2.7", "192.0.2.7"));
    assert_false(contains("192.0.2.7", "192.0.2.6"));
    assert_true(contains("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(contains("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(contains("0.0.0.0/0", "203.0.113.9"));
    assert_false(contains("0.0.0.0/0", "2001:db8::1"));
    assert_true(contains("::/0", "203.0.113.9"));
}

static void ipv4_is_kept_as_mapped_and_bits_behind_the_prefix_are_dropped(void **state)
{
    struct network network;

    (void)state;
    assert_int_equal(network_parse(SLICE("10.1.2.3/8"), &network), 0);
    assert_int_equal(network.prefix_bits, 104);
    assert_int_equal(network.address[11], 0xff);
    assert_int_equal(network.address[12], 10);
    assert_int_equal(network.address[13], 0);
}

static void anything_else_is_refused(void **state)
{
    static const char *const texts[] = {"",          "10.0.0.0/33", "::/129",  "10.0.0.0/",
                                        "10.0.0",    "10.0.0.0/-1", "x",       "10.0.0.0/8/8",
                                        "/8",        "10.0.0.0/a",  "::1%lo",  " 10.0.0.1",
                                        "010.0.0.1", "1.2.3.4.5",   "[::1]/8", "10.0.0.0 /8"};
    struct network network;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_int_equal(network_parse(slice_from(texts[i]), &network), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_network_contains_its_addresses_and_no_others),
        cmocka_unit_test(ipv4_is_kept_as_mapped_and_bits_behind_the_prefix_are_dropped),
        cmocka_unit_test(anything_else_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
