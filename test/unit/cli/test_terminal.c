#include "base/clock.h"
#include "cli/cli_private.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct terminal plain = {0};
static const struct terminal coloured = {.is_terminal = true, .has_colours = true, .width = 40};
static const struct terminal colourless = {.is_terminal = true, .width = 40};

static const char *shown(const struct terminal *terminal, const char *text, bool is_styled)
{
    static char result[512];
    struct buf buf = BUF_INIT(4096);
    terminal_append(&buf, terminal, slice_from(text), is_styled);
    snprintf(result, sizeof(result), "%.500s", buf_text(&buf));
    buf_done(&buf);
    return result;
}

static void control_characters_are_made_visible_on_a_terminal(void **state UNUSED)
{
    assert_string_equal(shown(&coloured, "a\x1b[2Jb", false), "a\\x1b[2Jb");
    assert_string_equal(shown(&coloured, "a\x07\r\x7f", false), "a\\x07\\x0d\\x7f");
    assert_string_equal(shown(&coloured, "\xc2\x9b", false), "\\xc2\\x9b"); /* C1 control */
    assert_string_equal(shown(&coloured, "bad \xff byte", false), "bad \\xff byte");
    assert_string_equal(shown(&coloured, "caf\xc3\xa9 \xe2\x9c\x93", false),
                        "caf\xc3\xa9 \xe2\x9c\x93");
    assert_string_equal(shown(&coloured, "\x1b]0;title\x07", true), "\\x1b]0;title\\x07");
}

static void colours_of_an_application_stay_only_where_they_are_wanted(void **state UNUSED)
{
    assert_string_equal(shown(&coloured, "\x1b[31mred", true), "\x1b[31mred\x1b[0m");
    assert_string_equal(shown(&colourless, "\x1b[31mred\x1b[0m", true), "red");
    assert_string_equal(shown(&coloured, "\x1b[31mred", false), "\\x1b[31mred");
}

static void a_pipe_gets_what_the_application_wrote(void **state UNUSED)
{
    assert_string_equal(shown(&plain, "\x1b[31m\tred\x07", true), "\x1b[31m\tred\x07");
}

static void durations_and_sizes_read_well(void **state UNUSED)
{
    struct arena *arena = arena_new(65536);
    assert_string_equal(duration_format(arena, 310000), "310ms");
    assert_string_equal(duration_format(arena, 8349000), "8.3s");
    assert_string_equal(duration_format(arena, 125000000), "2m05s");
    assert_string_equal(age_format(arena, 99 * 1000000ull), "99s");
    assert_string_equal(age_format(arena, 300 * 1000000ull), "5m");
    assert_string_equal(age_format(arena, 7200 * 1000000ull), "2h");
    assert_string_equal(age_format(arena, 10 * 86400 * 1000000ull), "10d");
    assert_string_equal(time_ago(arena, NULL), "-");
    assert_string_equal(time_ago(arena, "nonsense"), "-");
    clock_fake(0, 1772368500000000ull);
    assert_string_equal(time_ago(arena, "2026-03-01T12:30:00Z"), "5m ago");
    clock_real();
    assert_string_equal(size_format(arena, -1), "-");
    arena_free(arena);
}

static void table_lines_up(void **state UNUSED)
{
    static const char *const headers[] = {"NAME", ">N", "STATE"};
    struct arena *arena = arena_new(65536);
    struct buf text = BUF_INIT(4096);
    struct table table;
    table_init(&table, arena, headers, ARRAY_LEN(headers));
    table_add(&table, (struct table_cell[]){
                          {"api", COLOUR_NONE}, {"1", COLOUR_NONE}, {"ready", COLOUR_GREEN}});
    table_add(&table, (struct table_cell[]){{"caf\xc3\xa9-worker", COLOUR_NONE},
                                            {"1234", COLOUR_NONE},
                                            {"", COLOUR_NONE}});
    table_write(&table, &plain, &text);
    assert_string_equal(buf_text(&text), "NAME            N  STATE\n"
                                         "api             1  ready\n"
                                         "caf\xc3\xa9-worker  1234  -\n");
    buf_done(&text);
    arena_free(arena);
}

static void a_narrow_terminal_shortens_the_widest_column(void **state UNUSED)
{
    static const char *const headers[] = {"NAME", "REASON"};
    struct arena *arena = arena_new(65536);
    struct buf text = BUF_INIT(4096);
    struct table table;
    table_init(&table, arena, headers, ARRAY_LEN(headers));
    table_add(&table, (struct table_cell[]){
                          {"v1", COLOUR_NONE},
                          {"a reason that is much longer than forty columns", COLOUR_NONE}});
    table_write(&table, &colourless, &text);
    struct slice rest = buf_slice(&text);
    while (rest.len)
        assert_true(text_columns(slice_cut(&rest, '\n')) <= 40);
    assert_non_null(strstr(buf_text(&text), "\xe2\x80\xa6\n"));
    buf_done(&text);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_characters_are_made_visible_on_a_terminal),
        cmocka_unit_test(colours_of_an_application_stay_only_where_they_are_wanted),
        cmocka_unit_test(a_pipe_gets_what_the_application_wrote),
        cmocka_unit_test(durations_and_sizes_read_well),
        cmocka_unit_test(table_lines_up),
        cmocka_unit_test(a_narrow_terminal_shortens_the_widest_column),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
