#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/forwarded.h"
#include <arpa/inet.h>

static void assert_address(const char *text, const char *wanted)
{
    uint8_t address[16];
    char seen[INET6_ADDRSTRLEN] = "";

    if (forwarded_address(slice_from(text), address))
        assert_non_null(inet_ntop(AF_INET6, address, seen, sizeof(seen)));
    if (strcmp(seen, wanted) != 0)
        fail_msg("%s is read as \"%s\"", text, seen);
}

static void addresses_may_have_ports(void **state)
{
    (void)state;
    assert_address("192.0.2.1", "::ffff:192.0.2.1");
    assert_address("192.0.2.1:4711", "::ffff:192.0.2.1");
    assert_address("2001:db8::1", "2001:db8::1");
    assert_address("[2001:db8::1]", "2001:db8::1");
    assert_address("[2001:db8::1]:4711", "2001:db8::1");
    assert_address("::1", "::1");
    assert_address("::ffff:192.0.2.1", "::ffff:192.0.2.1");
}

static void what_is_no_address_is_none(void **state)
{
    static const char *const texts[] = {"",           "unknown",    "_hidden",     "1.2.3",
                                        "1.2.3.4.5",  "1.2.3.4:",   "1.2.3.4:x",   "1.2.3.4:123456",
                                        "[::1",       "[::1]x",     "[::1]:",      "[]",
                                        "[1.2.3.4]",  "::1]",       "1.2.3.4 ",    "01.2.3.4",
                                        "1.2.3.4:-1", "::1%lo",     "[",           "]",
                                        ":",          "fe80::1::2", "1.2.3.4, ::1"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_address(texts[i], "");
}

static void assert_elements(const char *text, char separator, const char *const *wanted)
{
    struct slice list = slice_from(text);

    while (list.len) {
        struct slice element = forwarded_cut_last(&list, separator);

        assert_non_null(*wanted);
        assert_true(slice_eq(element, slice_from(*wanted)));
        wanted++;
    }
    assert_null(*wanted);
}

static void lists_are_read_from_the_right(void **state)
{
    (void)state;
    assert_elements("a, b ,c", ',', (const char *const[]){"c", "b", "a", NULL});
    assert_elements("a,,b", ',', (const char *const[]){"b", "", "a", NULL});
    assert_elements("", ',', (const char *const[]){NULL});
    assert_elements("for=\"a,b\";x, for=c", ',',
                    (const char *const[]){"for=c", "for=\"a,b\";x", NULL});
    assert_elements("\"a\\\",b\", c", ',', (const char *const[]){"c", "\"a\\\",b\"", NULL});
    assert_elements("c, \"open, end", ',', (const char *const[]){"\"open, end", "c", NULL});
}

static void the_for_parameter_is_found_whatever_its_place(void **state)
{
    static const char *const texts[][2] = {
        {"for=192.0.2.1", "192.0.2.1"},
        {"proto=http;For=\"[2001:db8::1]:80\";by=x", "[2001:db8::1]:80"},
        {"by=for=x", ""},
        {"host=\";for=6.6.6.6\";for=_a", "_a"},
        {"for=", ""},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_true(slice_eq(forwarded_parameter(slice_from(texts[i][0]), SLICE("for")),
                             slice_from(texts[i][1])));
}

static void parameters_are_told_apart(void **state)
{
    struct slice element = SLICE("for=192.0.2.1;Proto=\"https\";protocol=gopher;proto");

    (void)state;
    assert_true(slice_eq(forwarded_parameter(element, SLICE("proto")), SLICE("https")));
    assert_true(slice_eq(forwarded_parameter(element, SLICE("protocol")), SLICE("gopher")));
    assert_true(slice_eq(forwarded_parameter(element, SLICE("host")), SLICE("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_may_have_ports),
        cmocka_unit_test(what_is_no_address_is_none),
        cmocka_unit_test(lists_are_read_from_the_right),
        cmocka_unit_test(the_for_parameter_is_found_whatever_its_place),
        cmocka_unit_test(parameters_are_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
