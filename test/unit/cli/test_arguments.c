#include "cli/cli_private.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct arena *arena;

static int setup(void **state UNUSED)
{
    arena = arena_new(1024 * 1024);
    return 0;
}

static int teardown(void **state UNUSED)
{
    arena_free(arena);
    return 0;
}

/* Parse a line of words that are separated by single spaces. */
static int parse(struct command *command, const char *line, struct error *err)
{
    char *argv[32] = {arena_text(arena, "slipway")};
    struct slice rest = slice_from(line);
    int argc = 1;
    while (rest.len)
        argv[argc++] = arena_slice_text(arena, slice_cut(&rest, ' '));
    *command = (struct command){.arena = arena};
    return command_parse(command, argc, argv, err);
}

static void usage_texts_tell_how_many_arguments_there_may_be(void **state UNUSED)
{
    static const struct {
        const char *usage;
        size_t least, most;
    } cases[] = {
        {"", 0, 0},
        {"[DIR]", 0, 1},
        {"APP", 1, 1},
        {"[APP] [vN]", 0, 2},
        {"APP [SERVICE]", 1, 2},
        {"APP SERVICE=N...", 2, SIZE_MAX / 2},
        {"[list | restore ID]", 0, 2},
        {"[COMMAND | exit-codes]", 0, 1},
        {"bash | zsh | apps", 1, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t least, most;
        usage_bounds(cases[i].usage, &least, &most);
        assert_int_equal(least, cases[i].least);
        assert_int_equal(most, cases[i].most);
    }
}

static void options_are_taken_in_every_form(void **state UNUSED)
{
    static const char *const lines[] = {"logs shop -f -n 5 -s api", "logs -fn5 -s api shop",
                                        "logs --lines=5 --follow shop --service api",
                                        "--state /x logs shop -f --lines 5 --service=api"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct command command;
        uint64_t lines_wanted;
        assert_int_equal(parse(&command, lines[i], NULL), 0);
        assert_string_equal(command.verb->name, "logs");
        assert_string_equal(command_argument(&command, 0), "shop");
        assert_string_equal(command_option(&command, "follow"), "");
        assert_string_equal(command_option(&command, "service"), "api");
        assert_int_equal(command_number(&command, "lines", 1, 100, &lines_wanted, NULL), 0);
        assert_int_equal(lines_wanted, 5);
        assert_null(command_option(&command, "grep"));
        assert_null(command_argument(&command, 1));
    }
}

static void words_behind_two_dashes_are_no_options(void **state UNUSED)
{
    struct command command;
    assert_int_equal(parse(&command, "deploy -- -odd-folder", NULL), 0);
    assert_string_equal(command_argument(&command, 0), "-odd-folder");
}

static void mistakes_are_usage_errors_with_a_hint(void **state UNUSED)
{
    static const struct {
        const char *line, *text, *hint;
    } cases[] = {
        {"satus", "there is no command 'satus'", "did you mean 'slipway status'?"},
        {"xyzzy", "there is no command 'xyzzy'", "'slipway help' lists the commands"},
        {"deploy --enviroment x", "deploy has no option '--enviroment'",
         "did you mean '--environment'?"},
        {"deploy -x", "deploy has no option '-x'", "'slipway help deploy' lists its options"},
        {"deploy --detach=yes", "'--detach' takes no value",
         "'slipway help deploy' lists its options"},
        {"logs -n", "'--lines' needs a value: N", "'slipway help logs' lists its options"},
        {"logs -n 5 --lines=6", "'--lines' is given twice, as '5' and '6'", "give it once"},
        {"scale shop", "scale needs more: slipway scale APP SERVICE=N...",
         "'slipway help scale' explains it"},
        {"status a b", "'b' is one argument too many: slipway status [APP]",
         "'slipway help status' explains it"},
        {"schema x", "'x' is one argument too many: slipway schema",
         "'slipway help schema' explains it"},
        {"--foo", "unknown option '--foo'", "'slipway help' lists the commands"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct command command;
        struct error err = {0};
        assert_int_equal(parse(&command, cases[i].line, &err), ERR_USAGE);
        assert_string_equal(err.text, cases[i].text);
        assert_string_equal(err.hint, cases[i].hint);
    }
}

static void numbers_out_of_range_are_refused(void **state UNUSED)
{
    static const char *const lines[] = {"logs -n x", "logs -n -1", "logs -n 101", "logs --lines="};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct command command;
        uint64_t number;
        assert_int_equal(parse(&command, lines[i], NULL), 0);
        assert_int_equal(command_number(&command, "lines", 1, 100, &number, NULL), ERR_USAGE);
    }
}

static void help_needs_no_arguments_of_its_verb(void **state UNUSED)
{
    struct command command;
    assert_int_equal(parse(&command, "scale --help", NULL), 0);
    assert_int_equal(parse(&command, "scale -h", NULL), 0);
    assert_int_equal(parse(&command, "", NULL), 0);
    assert_string_equal(command.verb->name, "help");
    assert_int_equal(parse(&command, "--version", NULL), 0);
    assert_string_equal(command.verb->name, "version");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(usage_texts_tell_how_many_arguments_there_may_be, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(options_are_taken_in_every_form, setup, teardown),
        cmocka_unit_test_setup_teardown(words_behind_two_dashes_are_no_options, setup, teardown),
        cmocka_unit_test_setup_teardown(mistakes_are_usage_errors_with_a_hint, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_out_of_range_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(help_needs_no_arguments_of_its_verb, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
