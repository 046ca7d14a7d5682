#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "logd/pattern.h"

static enum pattern_result search(const char *expression, struct slice line)
{
    struct pattern *pattern;
    struct error err = {0};
    enum pattern_result result;

    if (pattern_new(slice_from(expression), &pattern, &err))
        fail_msg("%s: %s", expression, err.text);
    result = pattern_search(pattern, line);
    assert_int_equal(pattern_search(pattern, line), result); /* with the states of the first time */
    pattern_free(pattern);
    return result;
}

static void assert_found(const char *expression, const char *line)
{
    if (search(expression, slice_from(line)) != PATTERN_FOUND)
        fail_msg("'%s' is not found in '%s'", expression, line);
}

static void assert_absent(const char *expression, const char *line)
{
    if (search(expression, slice_from(line)) != PATTERN_ABSENT)
        fail_msg("'%s' is found in '%s'", expression, line);
}

static void assert_refused(const char *expression, int code, const char *text)
{
    struct pattern *pattern = NULL;
    struct error err = {0};

    assert_int_equal(pattern_new(slice_from(expression), &pattern, &err), code);
    assert_null(pattern);
    if (!strstr(err.text, text))
        fail_msg("'%s': %s", expression, err.text);
}

static void expressions_match_where_they_should(void **state)
{
    (void)state;
    assert_found("error", "an error occurred");
    assert_absent("error", "an Error occurred");
    assert_found("(?i)error", "an ERRor occurred");
    assert_found("", "");
    assert_found("^$", "");
    assert_absent("^$", "x");
    assert_found("^abc", "abcdef");
    assert_absent("^bcd", "abcdef");
    assert_found("def$", "abcdef");
    assert_absent("cde$", "abcdef");
    assert_found("a.c", "xxabcxx");
    assert_found("ab*c", "ac");
    assert_absent("ab+c", "ac");
    assert_found("ab?c", "abc");
    assert_found("(foo|ba[rz])+$", "foobarbaz");
    assert_absent("(foo|ba[rz])+$", "foobarbat");
    assert_found("^[^ ]+ 5[0-9]{2} ", "GET 503 x");
    assert_absent("^[^ ]+ 5[0-9]{2} ", "GET 5035 x");
    assert_found("a{2,3}b", "aaaab");
    assert_absent("^a{2,3}b", "aaaab");
    assert_found("x{0}y", "y");
    assert_found("[[:digit:]]+ms", "took 15ms");
    assert_found("[]a]", "]");
    assert_found("[a-]", "-");
    assert_found("\\d+\\.\\d+", "v1.25");
    assert_absent("\\d+\\.\\d+", "v125");
    assert_found("\\w+@\\w+", "mail bob@example now");
    assert_found("a\\|b", "a|b");
    assert_found("{\"level\":50", "{\"level\":50,\"msg\":\"x\"}");
    assert_found("(a|)b", "b");
    assert_found("(^a|b$)", "xb");
    assert_found("a$|b", "xbx");
    assert_found("gr\xc3\xbc+n", "gr\xc3\xbc\xc3\xbcn");
    assert_found("\\S+\\t\\s", "a\t ");
    assert_int_equal(search("a.b", SLICE("a\0b")), PATTERN_FOUND);
}

static void mistakes_are_told_with_their_place(void **state)
{
    (void)state;
    assert_refused("a(b", ERR_INVALID, "never closed");
    assert_refused("a[b", ERR_INVALID, "never closed");
    assert_refused("*a", ERR_INVALID, "character 1: nothing to repeat");
    assert_refused("(a)\\1", ERR_INVALID, "back-references");
    assert_refused("a\\q", ERR_INVALID, "unknown escape");
    assert_refused("a\\", ERR_INVALID, "backslash");
    assert_refused("[z-a]", ERR_INVALID, "not in order");
    assert_refused("a{3,2}", ERR_INVALID, "not in order");
    assert_refused("a{300}", ERR_INVALID, "255");
    assert_refused("[[:nope:]]", ERR_INVALID, "unknown class");
    assert_refused("(?<n>a)", ERR_INVALID, "kind of group");
}

static void what_unfolds_too_far_is_refused(void **state)
{
    char many[PATTERN_LEN_MAX + 2];

    (void)state;
    assert_refused("((a{100}){100}){100}", ERR_LIMIT, "too large");
    assert_refused("((((){255}){255}){255}){255}", ERR_LIMIT, "too large");
    memset(many, '(', sizeof many);
    many[PATTERN_LEN_MAX] = '\0';
    assert_refused(many, ERR_LIMIT, "too large");
    memset(many, 'a', sizeof many);
    many[PATTERN_LEN_MAX + 1] = '\0';
    assert_refused(many, ERR_LIMIT, "longer");
}

/* Patterns that make backtracking matchers and unbounded automatons explode. */
static void hostile_patterns_end_in_bounded_time(void **state)
{
    static const char *const expressions[] = {
        "(a*)*(a*)*(a*)*b",      "(a|aa)+$",         "a.{200}c", "(a|b)*a(a|b){200}c",
        "((a{0,20}){0,20}b|c)d", "(.*)(.*)(.*)(.*)x"};
    size_t len = 1 << 20;
    char *line = malloc(len);

    (void)state;
    for (size_t i = 0; i < len; i++)
        line[i] = (char)("ab"[(i * 2654435761u >> 13) & 1]);
    for (size_t i = 0; i < ARRAY_LEN(expressions); i++) {
        uint64_t start = clock_monotonic_us();
        (void)search(expressions[i], (struct slice){line, len});
        if (clock_monotonic_us() - start >
            8000000) /* generous: sanitizers, a busy machine, two searches */
            fail_msg("'%s' takes too long", expressions[i]);
    }
    free(line);
}

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return *seed >> 16;
}

static void make_expression(unsigned *seed, char *to, size_t size)
{
    static const char *const parts[] = {
        "a",  "b",  "c",     ".",       "[ab]", "[^a]",   "(a|b)",     "(ab|c)", "(b|)", "a*",
        "b+", "c?", "(ab)*", "(a|bc)+", "a{2}", "b{1,2}", "(a.){0,2}", "|",      "^",    "$"};
    unsigned count = 1 + next_random(seed) % 5;

    to[0] = '\0';
    while (count-- > 0) {
        const char *part = parts[next_random(seed) % ARRAY_LEN(parts)];
        size_t len = strlen(to);
        (void)snprintf(to + len, size - len, "%s", part);
    }
}

/* The C library's matcher is slow but well known: on small inputs both must agree. */
static void a_long_literal_may_be_followed_by_a_choice(void **state)
{
    char line[301] = "";

    (void)state;
    memset(line, 'a', 300);
    assert_found("(a{30}){10}b?",
                 line); /* the choice goes on at a step beyond the number of sets */
    assert_absent("(a{30}){10}b", line);
}

static void results_agree_with_the_c_library(void **state)
{
    unsigned seed = 4711, compared = 0;

    (void)state;
    for (unsigned i = 0; i < 4000; i++) {
        char expression[128], line[16];
        struct pattern *pattern;
        regex_t regex;
        size_t len = next_random(&seed) % (sizeof line - 1);
        make_expression(&seed, expression, sizeof expression);
        for (size_t k = 0; k < len; k++)
            line[k] = "abcd"[next_random(&seed) % 4];
        line[len] = '\0';
        if (pattern_new(slice_from(expression), &pattern, NULL))
            continue;
        if (regcomp(&regex, expression, REG_EXTENDED | REG_NOSUB) == 0) {
            bool wanted = regexec(&regex, line, 0, NULL, 0) == 0;
            if ((pattern_search(pattern, slice_from(line)) == PATTERN_FOUND) != wanted)
                fail_msg("'%s' in '%s' should%s be found", expression, line, wanted ? "" : " not");
            compared++;
            regfree(&regex);
        }
        pattern_free(pattern);
    }
    assert_true(compared > 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expressions_match_where_they_should),
        cmocka_unit_test(mistakes_are_told_with_their_place),
        cmocka_unit_test(what_unfolds_too_far_is_refused),
        cmocka_unit_test(hostile_patterns_end_in_bounded_time),
        cmocka_unit_test(a_long_literal_may_be_followed_by_a_choice),
        cmocka_unit_test(results_agree_with_the_c_library),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
