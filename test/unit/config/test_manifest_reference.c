#include "config_test.h"

#include "config/table_private.h"

static void the_stored_reference_is_up_to_date(void **state)
{
    (void)state;
    struct buf wanted = BUF_INIT((size_t)1024 * 1024), stored = BUF_INIT((size_t)1024 * 1024);
    manifest_reference_markdown(&wanted);
    assert_int_equal(file_read(SOURCE_ROOT "/docs/manifest.md", stored.limit, &stored, NULL), 0);
    if (!slice_eq(buf_slice(&wanted), buf_slice(&stored)))
        fail_msg(
            "docs/manifest.md differs from the table: slipway manual manifest > docs/manifest.md");
    buf_done(&wanted);
    buf_done(&stored);
}

static void every_key_is_described(void **state)
{
    struct fixture *f = *state;
    struct buf page = BUF_INIT((size_t)1024 * 1024), markdown = BUF_INIT((size_t)1024 * 1024);
    manifest_reference_man(&page);
    manifest_reference_markdown(&markdown);
    for (const struct key *key = manifest_keys; key < manifest_keys + manifest_key_count; key++) {
        if (section_is_value(key->owner))
            continue; /* told where it stands */
        assert_non_null(strstr(buf_text(&markdown), arena_printf(f->arena, "| `%s` |", key->name)));
        assert_non_null(strstr(buf_text(&page), arena_printf(f->arena, "\n.B %s\n", key->name)));
    }
    buf_done(&page);
    buf_done(&markdown);
}

static void the_manual_page_has_no_stray_requests(void **state)
{
    (void)state;
    static const char *const known[] = {".TH ", ".SH ", ".TP", ".B ", ".I ", ".PP",
                                        ".RS",  ".RE",  ".nf", ".fi", ".br"};
    struct buf page = BUF_INIT((size_t)1024 * 1024);
    manifest_reference_man(&page);
    struct slice rest = buf_slice(&page);
    assert_true(slice_starts_with(rest, SLICE(".TH SLIPWAY.YAML 5 ")));
    while (rest.len) {
        struct slice line = slice_cut(&rest, '\n');
        bool is_known = line.len == 0 || (line.ptr[0] != '.' && line.ptr[0] != '\'');
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            is_known = is_known || slice_starts_with(line, slice_from(known[i]));
        if (!is_known)
            fail_msg(SLICE_FORMAT, SLICE_ARG(line));
    }
    buf_done(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_stored_reference_is_up_to_date),
        TEST(every_key_is_described),
        TEST(the_manual_page_has_no_stray_requests),
    };
    return cmocka_run_group_tests_name("manifest_reference", tests, NULL, NULL);
}
