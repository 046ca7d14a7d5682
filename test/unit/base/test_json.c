#include "base/json.h"
#include "unit.h"

static struct arena *arena;

static int setup(void **state)
{
    (void)state;
    arena = arena_new(1 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_freep(&arena);
    return 0;
}

static struct json *parse(const char *text)
{
    struct error err = {0};
    struct json *json = NULL;
    if (json_parse(arena, slice_from(text), &json, &err) != 0)
        fail_msg("%s: %s", text, err.text);
    return json;
}

static void a_document_is_read_into_a_tree(void **state)
{
    (void)state;
    struct json *json =
        parse(" {\"name\": \"api\", \"count\": 3, \"on\": true, \"off\": false,"
              "\"none\": null, \"list\": [1, \"two\", []], \"deep\": {\"a\": {\"b\": -7}}} ");
    assert_int_equal(json->count, 7);
    assert_string_equal(json_get_text(json, "name", "x"), "api");
    assert_int_equal(json_get_integer(json, "count", 0), 3);
    assert_true(json_get_boolean(json, "on", false));
    assert_false(json_get_boolean(json, "off", true));
    assert_int_equal(json_get(json, "none")->type, JSON_NULL);
    assert_int_equal(json_get(json, "list")->count, 3);
    assert_int_equal(json_integer(json_path(json, "deep.a.b"), 0), -7);
    size_t seen = 0;
    json_each (child, json_get(json, "list"))
        seen++;
    assert_int_equal(seen, 3);
}

static void looking_up_what_is_not_there_gives_the_fallback(void **state)
{
    (void)state;
    struct json *json = parse("{\"a\": \"text\", \"n\": 1.5}");
    assert_null(json_get(json, "b"));
    assert_null(json_get(NULL, "b"));
    assert_null(json_get(json_get(json, "a"), "b"));
    assert_null(json_path(json, "a.b.c"));
    assert_null(json_path(json, ""));
    assert_string_equal(json_get_text(json, "n", "fallback"), "fallback");
    assert_int_equal(json_get_integer(json, "a", 42), 42);
    assert_int_equal(json_get_integer(json, "n", 42), 42);
    assert_true(json_get_boolean(NULL, "a", true));
}

static void strings_are_decoded(void **state)
{
    (void)state;
    assert_string_equal(json_text(parse("\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\""), ""),
                        "a\"\\/\b\f\n\r\tz");
    assert_string_equal(json_text(parse("\"\\u0041\\u00e4\\u20AC\\ud83d\\ude00\""), ""),
                        "A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
    assert_string_equal(json_text(parse("\"\xc3\xa4\""), ""), "\xc3\xa4");
    assert_string_equal(json_text(parse("\"\""), "x"), "");
}

static void numbers_know_whether_they_are_whole(void **state)
{
    (void)state;
    const struct {
        const char *text;
        bool is_integer;
        int64_t integer;
    } rows[] = {{"0", true, 0},
                {"-0", true, 0},
                {"12", true, 12},
                {"1e3", true, 1000},
                {"2.0", true, 2},
                {"9223372036854775807", true, INT64_MAX},
                {"-9223372036854775808", true, INT64_MIN},
                {"9223372036854775808", false, 0},
                {"1.5", false, 0},
                {"1e300", false, 0},
                {"1e-5", false, 0}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json *json = parse(rows[i].text);
        assert_int_equal(json->type, JSON_NUMBER);
        assert_int_equal(json->is_integer, rows[i].is_integer);
        assert_true(json->integer == rows[i].integer);
        assert_slice_equal(json->string, rows[i].text);
    }
    double half = parse("-0.5e0")->number;
    assert_true(half < -0.49 && half > -0.51);
}

static void what_is_not_json_is_refused(void **state)
{
    (void)state;
    const char *bad[] = {"",
                         " ",
                         "nul",
                         "tru",
                         "True",
                         "01",
                         "-",
                         "+1",
                         ".5",
                         "1.",
                         "1e",
                         "1e+",
                         "0x1",
                         "NaN",
                         "Infinity",
                         "'a'",
                         "\"",
                         "\"\\\"",
                         "\"\\x\"",
                         "\"\\u12\"",
                         "\"\\ud800\"",
                         "\"\\ud800x\"",
                         "\"\\udc00\"",
                         "\"\\ud800\\u0041\"",
                         "\"\\u0000\"",
                         "\"\n\"",
                         "\"\x01\"",
                         "\"\xff\"",
                         "\"\xc0\x80\"",
                         "\"\xed\xa0\x80\"",
                         "[",
                         "[1",
                         "[1,",
                         "[1,]",
                         "[,1]",
                         "[1 2]",
                         "]",
                         "{",
                         "{\"a\"",
                         "{\"a\":",
                         "{\"a\":1",
                         "{\"a\":1,}",
                         "{a:1}",
                         "{1:1}",
                         "{\"a\" 1}",
                         "{\"a\":1 \"b\":2}",
                         "1 2",
                         "[1]]",
                         "\xef\xbb\xbf{}",
                         "/* c */ 1",
                         "1e999",
                         "-1e999",
                         "{\"a\":1,\"a\":2}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct error err = {0};
        struct json *json = NULL;
        if (json_parse(arena, slice_from(bad[i]), &json, &err) != ERR_INVALID)
            fail_msg("accepted: %s", bad[i]);
        assert_null(json);
        assert_memory_equal(err.text, "line ", 5);
    }
    struct json *json = NULL;
    assert_int_equal(json_parse(arena, SLICE("\"a\0b\""), &json, NULL), ERR_INVALID);
    assert_int_equal(json_parse(arena, (struct slice){0}, &json, NULL), ERR_INVALID);
}

static void the_place_of_a_mistake_is_named(void **state)
{
    (void)state;
    struct error err = {0};
    struct json *json;
    assert_int_equal(json_parse(arena, SLICE("{\n  \"a\": nope\n}"), &json, &err), ERR_INVALID);
    assert_string_equal(err.text, "line 2, column 8: expected a value");
}

static void a_key_twice_is_found_in_large_objects_too(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 << 20);
    buf_append_byte(&text, '{');
    for (int i = 0; i < 3000; i++)
        buf_printf(&text, "\"k%d\":%d,", i, i);
    size_t len = text.len;
    buf_append_text(&text, "\"last\":1}");
    assert_int_equal(json_get_integer(parse(text.ptr), "k2999", 0), 2999);
    text.len = len;
    buf_append_text(&text, "\"k7\":1}");
    struct json *json;
    arena_clear(arena);
    assert_int_equal(json_parse(arena, buf_slice(&text), &json, NULL), ERR_INVALID);
}

static void depth_and_memory_have_their_ceilings(void **state)
{
    (void)state;
    char text[2 * (JSON_DEPTH_MAX + 1)];
    struct json *json;
    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    assert_int_equal(json_parse(arena, (struct slice){text, 2 * JSON_DEPTH_MAX}, &json, NULL), 0);
    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    assert_int_equal(json_parse(arena, (struct slice){text, sizeof(text)}, &json, NULL), ERR_LIMIT);
    CLEANUP(arena_freep) struct arena *small = arena_new(1024);
    assert_int_equal(json_parse(small, SLICE("[1,2,3,4,5,6,7,8,9,10,11,12,13]"), &json, NULL),
                     ERR_LIMIT);
}

static void the_writer_puts_commas_and_colons(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf buf = BUF_INIT(10000);
    struct json_writer writer = JSON_WRITER(&buf);
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "name", "a\"b");
    json_write_text(&writer, "none", NULL);
    json_begin_array(&writer, "list");
    json_write_integer(&writer, NULL, INT64_MIN);
    json_write_number(&writer, NULL, 0.1);
    json_write_boolean(&writer, NULL, true);
    json_begin_object(&writer, NULL);
    json_end_object(&writer);
    json_end_array(&writer);
    json_write_null(&writer, "null");
    json_write_time(&writer, "at", 1000000);
    json_write_time(&writer, "never", 0);
    json_write_raw(&writer, "raw", SLICE("[1]"));
    json_end_object(&writer);
    assert_string_equal(
        buf_text(&buf),
        "{\"name\":\"a\\\"b\",\"none\":null,\"list\":[-9223372036854775808,0.1,true,"
        "{}],\"null\":null,\"at\":\"1970-01-01T00:00:01.000000Z\",\"never\":null,"
        "\"raw\":[1]}");
}

static void written_strings_are_always_valid(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf buf = BUF_INIT(10000);
    json_append_string(&buf, SLICE("a\n\r\t\x01\x7f\\/\xff\xc3\xa4\xe2\x82z\xc3"));
    assert_string_equal(buf_text(&buf),
                        "\"a\\n\\r\\t\\u0001\x7f\\\\/\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd"
                        "\xef\xbf\xbdz\xef\xbf\xbd\"");
    buf_clear(&buf);
    json_append_string(&buf, (struct slice){0});
    assert_string_equal(buf_text(&buf), "\"\"");
}

static void every_byte_pair_is_written_so_that_it_reads_back(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf buf = BUF_INIT(100);
    for (unsigned pair = 0x100; pair < 0x10000; pair++) {
        char bytes[2] = {(char)(pair >> 8), (char)(pair & 0xff)};
        struct json *json;
        buf_clear(&buf);
        arena_clear(arena);
        json_append_string(&buf, (struct slice){bytes, 1 + (bytes[1] != 0)});
        assert_int_equal(json_parse(arena, buf_slice(&buf), &json, NULL), 0);
        if (bytes[0] > 0 && bytes[1] > 0)
            assert_memory_equal(json->string.ptr, bytes, 2);
    }
}

static void a_tree_is_written_as_it_was_read(void **state)
{
    (void)state;
    const char *text = "{\"a\":[1,2.50,\"x\",true,false,null,{}],\"\":{\"b\":[]}}";
    CLEANUP(buf_done) struct buf buf = BUF_INIT(1000);
    struct json_writer writer = JSON_WRITER(&buf);
    json_write_tree(&writer, NULL, parse(text));
    assert_string_equal(buf_text(&buf), text);
    buf_clear(&buf);
    json_begin_object(&writer, NULL);
    json_write_tree(&writer, "t", NULL);
    json_end_object(&writer);
    assert_string_equal(buf_text(&buf), "{\"t\":null}");
}

static void numbers_are_written_so_that_they_read_back(void **state)
{
    (void)state;
    const double numbers[] = {0.1, 1.0 / 3, 1e300, 5e-324, -123456.789, 1e15, 123456789012345678.0};
    CLEANUP(buf_done) struct buf buf = BUF_INIT(1000);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        struct json_writer writer = JSON_WRITER(&buf);
        buf_clear(&buf);
        json_write_number(&writer, NULL, numbers[i]);
        double back = parse(buf_text(&buf))->number;
        assert_false(back < numbers[i] || back > numbers[i]);
    }
    struct json_writer writer = JSON_WRITER(&buf);
    buf_clear(&buf);
    json_begin_array(&writer, NULL);
    json_write_number(&writer, NULL, __builtin_nan(""));
    json_write_number(&writer, NULL, __builtin_inf());
    json_end_array(&writer);
    assert_string_equal(buf_text(&buf), "[null,null]");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_document_is_read_into_a_tree),
        TEST(looking_up_what_is_not_there_gives_the_fallback),
        TEST(strings_are_decoded),
        TEST(numbers_know_whether_they_are_whole),
        TEST(what_is_not_json_is_refused),
        TEST(the_place_of_a_mistake_is_named),
        TEST(a_key_twice_is_found_in_large_objects_too),
        TEST(depth_and_memory_have_their_ceilings),
        TEST(the_writer_puts_commas_and_colons),
        TEST(written_strings_are_always_valid),
        TEST(every_byte_pair_is_written_so_that_it_reads_back),
        TEST(a_tree_is_written_as_it_was_read),
        TEST(numbers_are_written_so_that_they_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
