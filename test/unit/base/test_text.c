#include "base/text.h"
#include "unit.h"

static void a_near_word_is_suggested(void **state)
{
    (void)state;
    const char *keys[] = {"services", "databases", "routes", "instances", "app"};
    assert_string_equal(text_suggest(SLICE("servcies"), keys, 5), "services");
    assert_string_equal(text_suggest(SLICE("rotes"), keys, 5), "routes");
    assert_string_equal(text_suggest(SLICE("instancess"), keys, 5), "instances");
    assert_string_equal(text_suggest(SLICE("apps"), keys, 5), "app");
}

static void a_far_word_gets_no_suggestion(void **state)
{
    (void)state;
    const char *keys[] = {"services", "databases"};
    assert_null(text_suggest(SLICE("health"), keys, 2));
    assert_null(text_suggest(SLICE(""), keys, 2));
    assert_null(text_suggest(SLICE("x"), keys, 2));
    char essay[200];
    memset(essay, 's', sizeof(essay));
    assert_null(text_suggest((struct slice){essay, sizeof(essay)}, keys, 2));
}

static void globs_match_as_the_shell_does(void **state)
{
    (void)state;
    const struct {
        const char *pattern, *text;
        bool matches;
    } rows[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "abc", true},
        {"*", "a/b", false},
        {"/*", "/a", true},
        {"*.js", "app.js", true},
        {"*.js", "app.jsx", false},
        {"*.js", "x/app.js", false},
        {"a*b*c", "aXbYbZc", true},
        {"a*b*c", "acb", false},
        {"?", "a", true},
        {"?", "/", false},
        {"?", "", false},
        {"[abc]x", "bx", true},
        {"[a-c]x", "dx", false},
        {"[!a-c]x", "dx", true},
        {"[!a-c]x", "ax", false},
        {"[!a]", "/", false},
        {"[]]", "]", true},
        {"[a-]", "-", true},
        {"[", "[", true},
        {"[a", "[a", true},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"a\\", "a\\", true},
        {"**", "a/b/c", true},
        {"**", "", true},
        {"a/**", "a/b/c", true},
        {"a/**", "a", false},
        {"**/x", "x", true},
        {"**/x", "a/b/x", true},
        {"**/x", "ax", false},
        {"a/**/b", "a/b", true},
        {"a/**/b", "a/x/y/b", true},
        {"a/**/b", "ab", false},
        {"a**b", "a/x/b", true},
        {"**/*.js", "src/app.js", true},
        {"src/**/*.c", "src/base/json.c", true},
        {"*/b", "a/c/b", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (text_glob(slice_from(rows[i].pattern), slice_from(rows[i].text)) != rows[i].matches)
            fail_msg("'%s' and '%s'", rows[i].pattern, rows[i].text);
}

static void a_wicked_glob_costs_no_more_than_its_length(void **state)
{
    (void)state;
    char pattern[400], text[20000];
    for (size_t i = 0; i < sizeof(pattern); i += 2) {
        pattern[i] = '*';
        pattern[i + 1] = 'a';
    }
    pattern[sizeof(pattern) - 1] = 'b';
    memset(text, 'a', sizeof(text));
    assert_false(
        text_glob((struct slice){pattern, sizeof(pattern)}, (struct slice){text, sizeof(text)}));
    text[sizeof(text) - 1] = 'b';
    assert_true(
        text_glob((struct slice){pattern, sizeof(pattern)}, (struct slice){text, sizeof(text)}));
    char longer[TEXT_GLOB_MAX + 1];
    memset(longer, '*', sizeof(longer));
    assert_false(text_glob((struct slice){longer, sizeof(longer)}, SLICE("a")));
}

static void utf8_is_told_from_other_bytes(void **state)
{
    (void)state;
    const char *good[] = {"",
                          "abc",
                          "\xc2\x80",
                          "\xdf\xbf",
                          "\xe0\xa0\x80",
                          "\xed\x9f\xbf",
                          "\xee\x80\x80",
                          "\xf0\x90\x80\x80",
                          "\xf4\x8f\xbf\xbf",
                          "a\xc3\xa4z"};
    const char *bad[] = {"\x80",
                         "\xc0\x80",
                         "\xc1\xbf",
                         "\xe0\x9f\xbf",
                         "\xed\xa0\x80",
                         "\xf0\x8f\xbf\xbf",
                         "\xf4\x90\x80\x80",
                         "\xf5\x80\x80\x80",
                         "\xff",
                         "\xc3",
                         "\xe2\x82",
                         "\xf0\x9f\x98",
                         "\xc3(",
                         "\xe2(\xa1",
                         "\xe2\x82("};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(text_is_utf8(slice_from(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(text_is_utf8(slice_from(bad[i])));
    assert_int_equal(text_utf8_sequence(SLICE("\xf0\x9f\x98\x80z")), 4);
    assert_int_equal(text_utf8_sequence(SLICE("")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_near_word_is_suggested),
        cmocka_unit_test(a_far_word_gets_no_suggestion),
        cmocka_unit_test(globs_match_as_the_shell_does),
        cmocka_unit_test(a_wicked_glob_costs_no_more_than_its_length),
        cmocka_unit_test(utf8_is_told_from_other_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
