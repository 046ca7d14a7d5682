#include "base/error.h"
#include "unit.h"
#include <errno.h>

static void a_story_grows_outwards_and_keeps_its_code(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(error_errno(&err, EACCES, "unable to open '%s'", "x"), ERR_PERMISSION);
    assert_int_equal(error_wrap(&err, "release v%d", 12), ERR_PERMISSION);
    assert_string_equal(err.text, "release v12: unable to open 'x': permission denied");
}

static void errno_values_become_codes(void **state)
{
    (void)state;
    const struct {
        int errno_value, code;
    } rows[] = {{ENOENT, ERR_NOT_FOUND}, {EPERM, ERR_PERMISSION}, {ENOSPC, ERR_NO_SPACE},
                {EDQUOT, ERR_NO_SPACE},  {EEXIST, ERR_EXISTS},    {ETIMEDOUT, ERR_TIMEOUT},
                {EIO, ERR_SYSTEM},       {123456789, ERR_SYSTEM}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct error err = {0};
        assert_int_equal(error_errno(&err, rows[i].errno_value, "x"), rows[i].code);
        assert_int_equal(error_errno(NULL, rows[i].errno_value, "x"), rows[i].code);
    }
}

static void a_long_story_shows_that_it_was_cut(void **state)
{
    (void)state;
    struct error err = {0};
    char filler[3000];
    memset(filler, 'y', sizeof(filler) - 1);
    filler[sizeof(filler) - 1] = '\0';
    error_set(&err, ERR_FAILED, "%s", filler);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    assert_string_equal(err.text + sizeof(err.text) - 4, "...");
    error_wrap(&err, "outer");
    assert_memory_equal(err.text, "outer: yyy", 10);
    assert_string_equal(err.text + sizeof(err.text) - 4, "...");
}

static void a_story_may_quote_itself(void **state)
{
    (void)state;
    struct error err = {0};
    error_set(&err, ERR_FAILED, "inner");
    error_set(&err, ERR_LIMIT, "outer (%s)", err.text);
    assert_string_equal(err.text, "outer (inner)");
}

static void the_last_hint_wins_and_a_new_story_has_none(void **state)
{
    (void)state;
    struct error err = {0};
    error_set(&err, ERR_LIMIT, "x");
    error_hint(&err, "first");
    assert_int_equal(error_hint(&err, "second"), ERR_LIMIT);
    assert_string_equal(err.hint, "second");
    error_set(&err, ERR_LIMIT, "y");
    assert_string_equal(err.hint, "");
}

static void without_a_story_only_codes_travel(void **state)
{
    (void)state;
    struct error empty = {0};
    assert_int_equal(error_set(NULL, ERR_LIMIT, "x"), ERR_LIMIT);
    assert_int_equal(error_wrap(NULL, "x"), ERR_INTERNAL);
    assert_int_equal(error_wrap(&empty, "x"), ERR_INTERNAL);
    assert_int_equal(error_hint(NULL, "x"), ERR_INTERNAL);
    error_clear(NULL);
}

static void the_story_is_copied_whole(void **state)
{
    (void)state;
    struct error from = {0}, to = {0};
    error_set(&from, ERR_EXISTS, "there");
    error_hint(&from, "look");
    assert_int_equal(error_copy(&to, &from), ERR_EXISTS);
    assert_string_equal(to.text, "there");
    assert_string_equal(to.hint, "look");
    assert_int_equal(error_copy(NULL, &from), ERR_EXISTS);
    error_clear(&to);
    assert_int_equal(to.code, 0);
    assert_string_equal(to.text, "");
}

static void every_row_of_the_table_is_found_both_ways(void **state)
{
    (void)state;
#define X(code, name, http, exit, text)                                                            \
    assert_true((code) < 0);                                                                       \
    assert_string_equal(error_name(code), name);                                                   \
    assert_int_equal(error_from_name(name), code);                                                 \
    assert_int_equal(error_http_status(code), http);                                               \
    assert_int_equal(error_exit_status(code), exit);                                               \
    assert_string_equal(error_text(code), text);
#include "base/errors.def"
#undef X
}

static void values_outside_the_table_have_answers_too(void **state)
{
    (void)state;
    const int values[] = {ERR_FIRST_, ERR_END_, 1, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        assert_string_equal(error_name(values[i]), "unknown");
        assert_int_equal(error_http_status(values[i]), 500);
        assert_int_equal(error_exit_status(values[i]), 1);
    }
    assert_int_equal(error_exit_status(0), 0);
    assert_int_equal(error_from_name("no such"), ERR_FAILED);
    assert_int_equal(error_from_name(NULL), ERR_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_story_grows_outwards_and_keeps_its_code),
        cmocka_unit_test(errno_values_become_codes),
        cmocka_unit_test(a_long_story_shows_that_it_was_cut),
        cmocka_unit_test(a_story_may_quote_itself),
        cmocka_unit_test(the_last_hint_wins_and_a_new_story_has_none),
        cmocka_unit_test(without_a_story_only_codes_travel),
        cmocka_unit_test(the_story_is_copied_whole),
        cmocka_unit_test(every_row_of_the_table_is_found_both_ways),
        cmocka_unit_test(values_outside_the_table_have_answers_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
