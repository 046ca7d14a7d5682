#include "config_test.h"

#include "config/ignore_private.h"

static void expect_glob(const char *pattern, const char *text, bool is_match)
{
    if (ignore_glob(slice_from(pattern), slice_from(text)) != is_match)
        fail_msg("'%s' and '%s'", pattern, text);
}

static void globs_match_as_git_has_it(void **state)
{
    (void)state;
    expect_glob("*.o", "a.o", true);
    expect_glob("*", "a/b", false);
    expect_glob("a*c*e", "abcde", true);
    expect_glob("a*c*e", "abcd", false);
    expect_glob("?", "/", false);
    expect_glob("a/*/c", "a/b/c", true);
    expect_glob("a/*/c", "a/b/b/c", false);
    expect_glob("a/**/c", "a/c", true);
    expect_glob("a/**/c", "a/b/b/c", true);
    expect_glob("a/**/c", "a/bc", false);
    expect_glob("**/c", "c", true);
    expect_glob("**/c", "a/b/c", true);
    expect_glob("**/c", "a/bc", false);
    expect_glob("a/**", "a/b/c", true);
    expect_glob("a/**", "a", false);
    expect_glob("a**c", "abc", true);
    expect_glob("a**c", "a/c", false);
    expect_glob("**/a*b/**/c*", "x/aXb/y/z/cc", true);
    expect_glob("**/a*b/**/c*", "x/aX/b/y/z/cc", false);
    expect_glob("[a-c]x[!0-9]", "bxz", true);
    expect_glob("[a-c]x[!0-9]", "bx5", false);
    expect_glob("[^a]", "a", false);
    expect_glob("[]x]", "]", true);
    expect_glob("[a\\]b]", "]", true);
    expect_glob("[[:digit:]x]", "7", true);
    expect_glob("[[:digit:]x]", "y", false);
    expect_glob("[a", "[a", false);
    expect_glob("a[/]b", "a/b", false);
    expect_glob("\\*", "*", true);
    expect_glob("\\*", "a", false);
    expect_glob("", "", true);
}

static void a_pattern_of_stars_takes_no_time(void **state)
{
    struct fixture *f = *state;
    char pattern[201], text[4001];
    for (size_t i = 0; i < 200; i += 2)
        memcpy(pattern + i, "*a", 2);
    memcpy(pattern + 198, "*b", 3);
    memset(text, 'a', 4000);
    text[4000] = '\0';
    expect_glob(pattern, text, false);
    expect_glob(arena_printf(f->arena, "**/%s", pattern), text, false);
}

static const char *verdicts(struct fixture *f, const char *rules, const char *const *paths,
                            size_t count)
{
    const struct ignore_file *file = ignore_parse(f->arena, NULL, 0, slice_from(rules));
    char *text = arena_alloc(f->arena, count + 1);
    for (size_t i = 0; i < count; i++) {
        struct slice path = slice_from(paths[i]);
        bool is_directory = slice_ends_with(path, SLICE("/"));
        path.len -= is_directory;
        text[i] = "?-+"[ignore_match(file, path, is_directory)];
    }
    return text;
}

static void lines_are_read_as_git_reads_them(void **state)
{
    struct fixture *f = *state;
    static const char *const paths[] = {"a.log",    "keep.log", "x/a.log", "build", "build/",
                                        "x/build/", "top",      "x/top",   "a/b",   "x/a/b",
                                        "#x",       "!x",       "sp ",     "sp"};
    assert_string_equal(verdicts(f,
                                 "\xef\xbb\xbf*.log\r\n!keep.log\n# "
                                 "comment\n\nbuild/\n/top\na/b\n\\#x\n\\!x\nsp\\ \nsp \n!\n/\n",
                                 paths, ARRAY_LEN(paths)),
                        "-+-?--"
                        "-?"
                        "-?"
                        "--"
                        "--");
}

static void deeper_files_win(void **state)
{
    struct fixture *f = *state;
    const struct ignore_file *top = ignore_parse(f->arena, NULL, 0, SLICE("*.log\n/sub/x\n"));
    const struct ignore_file *below = ignore_parse(f->arena, top, 4, SLICE("!a.log\n/y\n"));
    assert_int_equal(ignore_match(below, SLICE("sub/a.log"), false), IGNORE_KEPT);
    assert_int_equal(ignore_match(below, SLICE("sub/b.log"), false), IGNORE_LEFT_OUT);
    assert_int_equal(ignore_match(below, SLICE("sub/y"), false), IGNORE_LEFT_OUT);
    assert_int_equal(ignore_match(below, SLICE("sub/z/y"), false), IGNORE_UNDECIDED);
    assert_int_equal(ignore_match(below, SLICE("sub/x"), false), IGNORE_LEFT_OUT);
    assert_ptr_equal(ignore_parse(f->arena, top, 4, SLICE("# nothing\n")), top);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(globs_match_as_git_has_it),
        TEST(a_pattern_of_stars_takes_no_time),
        TEST(lines_are_read_as_git_reads_them),
        TEST(deeper_files_win),
    };
    return cmocka_run_group_tests_name("ignore", tests, NULL, NULL);
}
