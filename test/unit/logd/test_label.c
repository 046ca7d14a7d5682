#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/error.h"
#include "logd/label.h"

static void five_fields_are_read(void **state)
{
    struct label label;

    (void)state;
    assert_int_equal(label_parse(SLICE("shop\x1fweb\x1f"
                                       "12\x1fweb-1\x1frun"),
                                 &label),
                     0);
    assert_true(slice_eq(label.app, SLICE("shop")));
    assert_true(slice_eq(label.service, SLICE("web")));
    assert_true(slice_eq(label.instance, SLICE("web-1")));
    assert_true(slice_eq(label.kind, SLICE("run")));
    assert_int_equal(label.release_number, 12);
}

static void fields_may_be_empty(void **state)
{
    struct label label;

    (void)state;
    assert_int_equal(label_parse(SLICE("\x1f\x1f\x1f\x1f"), &label), 0);
    assert_int_equal(label.app.len, 0);
    assert_int_equal(label.release_number, 0);
}

static void anything_else_is_refused(void **state)
{
    char longest[LABEL_LEN_MAX + 2];
    struct label label = {.release_number = 7};

    (void)state;
    assert_int_equal(label_parse(SLICE(""), &label), ERR_INVALID);
    assert_int_equal(label_parse(SLICE("a\x1f"
                                       "b\x1f"
                                       "1\x1f"
                                       "c"),
                                 &label),
                     ERR_INVALID);
    assert_int_equal(label_parse(SLICE("a\x1f"
                                       "b\x1f"
                                       "1\x1f"
                                       "c\x1f"
                                       "d\x1f"
                                       "e"),
                                 &label),
                     ERR_INVALID);
    assert_int_equal(label_parse(SLICE("a\n\x1f"
                                       "b\x1f"
                                       "1\x1f"
                                       "c\x1f"
                                       "d"),
                                 &label),
                     ERR_INVALID);
    memset(longest, 'a', sizeof longest);
    memcpy(longest, "\x1f\x1f\x1f\x1f", 4);
    assert_int_equal(label_parse((struct slice){longest, LABEL_LEN_MAX}, &label), 0);
    label.release_number = 7;
    assert_int_equal(label_parse((struct slice){longest, LABEL_LEN_MAX + 1}, &label), ERR_INVALID);
    assert_int_equal(label.release_number, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_fields_are_read),
        cmocka_unit_test(fields_may_be_empty),
        cmocka_unit_test(anything_else_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
