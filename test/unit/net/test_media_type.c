#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/media_type.h"

static const char *type_of(const char *path)
{
    return media_type_of(slice_from(path))->name;
}

static void the_extension_decides_whatever_its_case(void **state)
{
    (void)state;
    assert_string_equal(type_of("/index.html"), "text/html; charset=utf-8");
    assert_string_equal(type_of("/A.JPeG"), "image/jpeg");
    assert_string_equal(type_of("/a/b.min.js"), "text/javascript; charset=utf-8");
    assert_string_equal(type_of("app.webmanifest"), "application/manifest+json");
    assert_string_equal(type_of("x.woff2"), "font/woff2");
}

static void what_is_not_known_is_bytes(void **state)
{
    static const char *const paths[] = {"",
                                        "/",
                                        "/a",
                                        "/a.",
                                        "/.html",
                                        "a/.css",
                                        "/a.unheardof",
                                        "/x.html/y",
                                        "/a.htmlhtmlhtmlhtml"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (strcmp(type_of(paths[i]), "application/octet-stream") != 0)
            fail_msg("%s is %s", paths[i], type_of(paths[i]));
}

/* bsearch finds nothing in a table that is out of order. */
static void every_entry_of_the_table_is_found(void **state)
{
    static const char *const extensions[] = {
        "7z",  "avif", "bmp",  "css",  "csv",  "eot",  "gif",  "gz",  "htm", "html", "ico", "jpeg",
        "jpg", "js",   "json", "map",  "mjs",  "mp4",  "otf",  "pdf", "png", "rss",  "svg", "tar",
        "ttf", "txt",  "vtt",  "wasm", "webm", "webp", "woff", "xml", "yml", "zip",  "zst"};
    char path[32];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(extensions); i++) {
        (void)snprintf(path, sizeof path, "/x.%s", extensions[i]);
        assert_string_equal(media_type_of(slice_from(path))->extension, extensions[i]);
    }
}

static void text_compresses_and_pictures_do_not(void **state)
{
    (void)state;
    assert_true(media_type_of(SLICE("a.svg"))->is_compressible);
    assert_true(media_type_of(SLICE("a.json"))->is_compressible);
    assert_false(media_type_of(SLICE("a.png"))->is_compressible);
    assert_false(media_type_of(SLICE("a.woff2"))->is_compressible);
    assert_false(media_type_of(SLICE("a"))->is_compressible);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_extension_decides_whatever_its_case),
        cmocka_unit_test(what_is_not_known_is_bytes),
        cmocka_unit_test(every_entry_of_the_table_is_found),
        cmocka_unit_test(text_compresses_and_pictures_do_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
