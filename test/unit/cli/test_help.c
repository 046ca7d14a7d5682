#include "base/json.h"
#include "cli/cli_private.h"
#include "os/file.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct buf made(void (*write)(struct buf *ret_text))
{
    struct buf text = BUF_INIT(4 * 1024 * 1024);
    write(&text);
    assert_false(text.failed);
    assert_true(text.len > 0);
    return text;
}

static void every_verb_is_in_help_man_and_completions(void **state UNUSED)
{
    struct buf pages[] = {made(help_overview), made(manual_slipway), made(manual_cli_markdown),
                          made(completion_bash), made(completion_zsh)};
    for (size_t i = 0; i < operation_verb_count; i++) {
        const struct operation_verb *verb = &operation_verbs[i];
        if (!verb->description)
            continue;
        for (size_t k = 0; k < ARRAY_LEN(pages); k++)
            assert_non_null(strstr(buf_text(&pages[k]), verb->name));
    }
    for (size_t k = 0; k < ARRAY_LEN(pages); k++)
        buf_done(&pages[k]);
}

static void help_fits_eighty_columns(void **state UNUSED)
{
    struct buf text = made(help_overview);
    for (size_t i = 0; i < operation_verb_count; i++)
        help_verb(&operation_verbs[i], &text);
    help_exit_codes(&text);
    struct slice rest = buf_slice(&text);
    while (rest.len) {
        struct slice line = slice_cut(&rest, '\n');
        if (text_columns(line) > 80)
            fail_msg("too wide: " SLICE_FORMAT, SLICE_ARG(line));
    }
    buf_done(&text);
}

static void every_option_is_explained_by_its_verb(void **state UNUSED)
{
    for (size_t i = 0; i < operation_option_count; i++) {
        const struct operation_option *option = &operation_options[i];
        if (strcmp(option->verb, "*") == 0)
            continue;
        struct buf text = BUF_INIT(65536);
        char wanted[64];
        snprintf(wanted, sizeof(wanted), "--%s", option->long_name);
        help_verb(operation_verb_find(option->verb), &text);
        assert_non_null(strstr(buf_text(&text), wanted));
        buf_done(&text);
    }
}

static void every_exit_status_is_documented(void **state UNUSED)
{
    struct buf pages[] = {made(help_exit_codes), made(manual_slipway)};
    for (size_t k = 0; k < ARRAY_LEN(pages); k++) {
#define X(code, name, http, exit, text) assert_true((exit) > 0 && (exit) < 10);
#include "base/errors.def"
#undef X
        for (int status = 1; status < 10; status++) {
            char row[16];
            bool is_used = false;
#define X(code, name, http, exit, text) is_used |= (exit) == status;
#include "base/errors.def"
#undef X
            snprintf(row, sizeof(row), k ? ".B %d\n" : "\n  %d    ", status);
            assert_int_equal(is_used, strstr(buf_text(&pages[k]), row) != NULL);
        }
        assert_non_null(strstr(buf_text(&pages[k]), "130"));
        buf_done(&pages[k]);
    }
}

static void manual_lines_never_begin_with_a_stray_request(void **state UNUSED)
{
    static const char *const known[] = {".TH", ".SH", ".SS", ".TP", ".PP", ".RS", ".RE",
                                        ".EX", ".EE", ".B ", ".BR", ".I ", ".IR", ".\\\""};
    struct buf text = made(manual_slipway);
    struct slice rest = buf_slice(&text);
    while (rest.len) {
        struct slice line = slice_cut(&rest, '\n');
        bool is_known = line.len == 0 || (line.ptr[0] != '.' && line.ptr[0] != '\'');
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            is_known |= slice_starts_with(line, slice_from(known[i]));
        assert_true(is_known);
    }
    buf_done(&text);
}

static void generated_documents_are_up_to_date(void **state UNUSED)
{
    static const struct {
        const char *path;
        void (*write)(struct buf *ret_text);
    } documents[] = {{SOURCE_ROOT "/docs/cli.md", manual_cli_markdown},
                     {SOURCE_ROOT "/docs/admin-api.md", operations_api_markdown}};
    for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
        struct buf wanted = made(documents[i].write), stored = BUF_INIT(4 * 1024 * 1024);
        assert_int_equal(file_read(documents[i].path, 4 * 1024 * 1024, &stored, NULL), 0);
        if (!slice_eq(buf_slice(&wanted), buf_slice(&stored)))
            fail_msg("%s differs from the table: slipway manual cli > docs/cli.md; slipway manual "
                     "admin-api > docs/admin-api.md",
                     documents[i].path);
        buf_done(&wanted);
        buf_done(&stored);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_verb_is_in_help_man_and_completions),
        cmocka_unit_test(help_fits_eighty_columns),
        cmocka_unit_test(every_option_is_explained_by_its_verb),
        cmocka_unit_test(every_exit_status_is_documented),
        cmocka_unit_test(manual_lines_never_begin_with_a_stray_request),
        cmocka_unit_test(generated_documents_are_up_to_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
