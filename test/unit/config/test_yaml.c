#include "config_test.h"

static void anchors_aliases_and_merge_keys_work(void **state)
{
    struct fixture *f = *state;
    struct manifest *m = parsed(f, "app: a\n"
                                   "x-common: &common\n"
                                   "  env: {A: one, B: two}\n"
                                   "  stop: {grace: 5s}\n"
                                   "services:\n"
                                   "  web:\n"
                                   "    <<: *common\n"
                                   "    start: node web.js\n"
                                   "    stop: &stop {grace: 7s}\n"
                                   "  jobs:\n"
                                   "    <<: [{type: worker}, *common]\n"
                                   "    start: node jobs.js\n"
                                   "    stop: *stop\n");
    assert_int_equal(m->services[0].environment_count, 2);
    assert_string_equal(m->services[0].environment[1].value, "two");
    assert_int_equal(m->services[0].stop.grace_ms, 7000);
    assert_int_equal(m->services[1].type, SERVICE_WORKER);
    assert_int_equal(m->services[1].stop.grace_ms, 7000);
    assert_int_equal(m->services[1].environment_count, 2);
}

static void json_is_yaml_too(void **state)
{
    struct fixture *f = *state;
    struct manifest *m = parsed(f, "{\"app\":\"hello\",\"services\":{\"web\":{\"start\":\"node "
                                   "\\\"a b\\\".js\\n\",\"instances\":2}}}");
    assert_string_equal(m->services[0].start, "node \"a b\".js\n");
    assert_int_equal(m->services[0].instances, 2);
}

static void a_byte_order_mark_is_fine(void **state)
{
    parsed(*state, "\xef\xbb\xbf" WEB(""));
}

static void duplicate_keys_are_told_with_both_lines(void **state)
{
    expect(*state, WEB("    start: y\n") "app: b\n",
           "5:5 : duplicate key 'start', given already in line 4\n"
           "6:1 : duplicate key 'app', given already in line 1\n");
}

static void many_keys_are_searched_for_duplicates_too(void **state)
{
    struct fixture *f = *state;
    struct buf text = BUF_INIT((size_t)1024 * 1024);
    buf_append_text(&text, WEB("    env:\n"));
    for (int i = 0; i < 100; i++)
        buf_printf(&text, "      V%d: x\n", i % 99);
    expect(f, buf_text(&text), "105:7 : duplicate key 'V0', given already in line 6\n");
    buf_done(&text);
}

static void syntax_errors_have_a_place_and_advice(void **state)
{
    struct fixture *f = *state;
    expect(f, "app: a\nservices:\n\tweb: {}\n",
           "3:1 : not valid YAML: while scanning for the next token found character that cannot "
           "start any token (indent "
           "with spaces, not tabs)\n");
    expect(f, "app: a\nservices: {web: {start: x}\n",
           "3:1 : not valid YAML: while parsing a flow mapping did not find expected ',' or '}'\n");
    expect(f, "app: a\nbuild: echo a: b\n",
           "2:14 : not valid YAML: mapping values are not allowed in this context (put the text in "
           "quotes when it holds "
           "': ', or check the indentation)\n");
    expect(f, "app: @home\n",
           "1:6 : not valid YAML: while scanning for the next token found character that cannot "
           "start any token (put the "
           "text in quotes)\n");
    expect(f, "app: *home\n", "1:6 : there is no anchor '&home' before this alias\n");
}

static void an_empty_file_is_told(void **state)
{
    struct fixture *f = *state;
    expect(f, "", "0:0 : the file is empty\n");
    expect(f, "# only a comment\n", "0:0 : the file is empty\n");
    expect(f, "---\n...\n", "0:0 : the file is empty\n");
    assert_string_equal(f->err.text, "slipway.yaml: the file is empty");
}

static void a_second_document_is_told(void **state)
{
    expect(*state, WEB("") "---\napp: b\n",
           "5:1 : a second YAML document begins here (keep one document a file)\n");
}

static void another_shape_is_told(void **state)
{
    struct fixture *f = *state;
    expect(f, "- app\n- services\n", "1:1 : expected a map of keys, got a list\n");
    expect(f, "hello\n", "1:1 : expected a map of keys, got 'hello'\n");
    expect(f, WEB("    ? [a, b]\n    : c\n"), "5:7 : a key must be a word, not a list or a map\n");
    expect(f, WEB("    build: !run make\n"),
           "5:12 : the tag '!run' is not supported (write the value without it)\n");
    assert_string_equal(parsed(f, WEB("    build: !!str 5\n"))->services[0].build, "5");
}

static void bytes_that_are_no_text_are_told(void **state)
{
    struct fixture *f = *state;
    static const char with_nul[] = "app: a\nservices: \0{}\n";
    int result =
        manifest_parse(f->arena, "slipway.yaml", (struct slice){with_nul, sizeof(with_nul) - 1},
                       NULL, (struct slice){0}, &f->manifest, &f->findings, &f->err);
    assert_int_equal(result, ERR_INVALID);
    assert_string_equal(findings_text(f),
                        "2:11 : the file holds a NUL byte (save the file as UTF-8 text)\n");
    expect(f, "app: \xc3\xa4\xff\n", "1:7 : byte 0xff is not UTF-8 (save the file as UTF-8)\n");
    expect(f, WEB("    build: \"a\\0b\"\n"),
           "5:12 : a text cannot hold NUL, DEL or other characters that nobody can see\n"
           "5:12 services.web.build: expected a shell command such as npm ci && npm run build, got "
           "''\n");
}

static void a_bomb_of_aliases_is_defused(void **state)
{
    struct fixture *f = *state;
    struct buf text = BUF_INIT((size_t)1024 * 1024);
    buf_append_text(&text, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 12; i++) {
        buf_printf(&text, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++)
            buf_printf(&text, "%s*a%d", k ? "," : "", i - 1);
        buf_append_text(&text, "]\n");
    }
    expect(f, buf_text(&text),
           "5:10 : with its aliases expanded the file holds more than 20000 values (write less, or "
           "repeat less with "
           "aliases)\n");
    buf_done(&text);
}

static void a_large_file_is_told(void **state)
{
    struct fixture *f = *state;
    struct buf text = BUF_INIT((size_t)2 * 1024 * 1024);
    while (text.len <= MANIFEST_BYTES_MAX)
        buf_append_text(&text, "# a comment that fills the file\n");
    expect(f, buf_text(&text),
           "0:0 : the file is too large: 1048608 bytes, the limit is 1048576\n");
    buf_done(&text);
}

static void many_values_are_told(void **state)
{
    struct fixture *f = *state;
    struct buf text = BUF_INIT((size_t)1024 * 1024);
    buf_append_text(&text, "app: [");
    for (unsigned i = 0; i < MANIFEST_NODES_MAX; i++)
        buf_append_text(&text, "x,");
    buf_append_text(&text, "]\n");
    expect(f, buf_text(&text),
           "1:40001 : the file holds more than 20000 values (write less, or repeat less with "
           "aliases)\n");
    buf_done(&text);
}

static void deep_nesting_is_told(void **state)
{
    struct fixture *f = *state;
    struct buf text = BUF_INIT((size_t)1024 * 1024);
    for (int i = 0; i < 500000; i++)
        buf_append_byte(&text, '[');
    expect(f, buf_text(&text), "1:33 : values are nested more than 32 deep\n");
    buf_clear(&text);
    buf_append_text(&text, "a: &a ");
    for (int i = 0; i < 20; i++)
        buf_append_byte(&text, '[');
    for (int i = 0; i < 20; i++)
        buf_append_byte(&text, ']');
    buf_append_text(&text, "\nb: [[[[[[[[[[[[[*a]]]]]]]]]]]]]\n");
    expect(f, buf_text(&text), "2:17 : values are nested more than 32 deep\n");
    buf_done(&text);
}

static void findings_end_somewhere(void **state)
{
    struct fixture *f = *state;
    struct buf text = BUF_INIT((size_t)1024 * 1024);
    buf_append_text(&text, WEB(""));
    for (int i = 0; i < 300; i++)
        buf_printf(&text, "    zz%d: x\n", i);
    assert_int_equal(parse_with(f, buf_text(&text), NULL), ERR_INVALID);
    assert_int_equal(f->findings.count, MANIFEST_FINDINGS_MAX);
    assert_true(f->findings.is_truncated);
    assert_string_equal(f->err.text,
                        "slipway.yaml:5:5: services.web: unknown key 'zz0' (and 199 more)");
    buf_done(&text);
}

/* ---- overlays */

static void an_overlay_merges_maps_replaces_and_removes(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(
        parse_with(f,
                   "app: a\n"
                   "services:\n"
                   "  web: {start: x, build: make, instances: 2, env: {A: one, B: two}}\n"
                   "routes: [{path: /, service: web}, {path: /b, service: web}]\n",
                   "services:\n"
                   "  web: {instances: 5, build: null, env: {B: null, C: three}}\n"
                   "  jobs: {type: worker, start: y}\n"
                   "routes: [{host: test.example.org, service: web}]\n"),
        0);
    assert_string_equal(findings_text(f), "");
    const struct manifest_service *web = manifest_service_find(f->manifest, "web");
    assert_int_equal(web->instances, 5);
    assert_null(web->build);
    assert_string_equal(web->start, "x");
    assert_int_equal(web->environment_count, 2);
    assert_string_equal(web->environment[1].name, "C");
    assert_non_null(manifest_service_find(f->manifest, "jobs"));
    assert_int_equal(f->manifest->route_count, 1);
    assert_string_equal(f->manifest->routes[0].host, "test.example.org");
}

static void findings_of_an_overlay_carry_its_name(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(parse_with(f, WEB("    instances: many\n"),
                                "services:\n  web: {stop: {grace: never}, ready: null}\n"),
                     ERR_INVALID);
    assert_string_equal(
        findings_text(f),
        "5:16 services.web.instances: expected a whole number from 1 to 500, or max, got 'many'\n"
        "2:23 services.web.stop.grace: expected a duration such as 30s, got 'never'\n"
        "? 2:31 : there is no 'ready' to remove\n");
    assert_string_equal(f->findings.items[0].file, "slipway.yaml");
    assert_string_equal(f->findings.items[1].file, "slipway.test.yaml");
    assert_int_equal(parse_with(f, WEB(""), "a: [\n"), ERR_INVALID);
    assert_string_equal(f->findings.items[0].file, "slipway.test.yaml");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(anchors_aliases_and_merge_keys_work),
        TEST(json_is_yaml_too),
        TEST(a_byte_order_mark_is_fine),
        TEST(duplicate_keys_are_told_with_both_lines),
        TEST(many_keys_are_searched_for_duplicates_too),
        TEST(syntax_errors_have_a_place_and_advice),
        TEST(an_empty_file_is_told),
        TEST(a_second_document_is_told),
        TEST(another_shape_is_told),
        TEST(bytes_that_are_no_text_are_told),
        TEST(a_bomb_of_aliases_is_defused),
        TEST(a_large_file_is_told),
        TEST(many_values_are_told),
        TEST(deep_nesting_is_told),
        TEST(findings_end_somewhere),
        TEST(an_overlay_merges_maps_replaces_and_removes),
        TEST(findings_of_an_overlay_carry_its_name),
    };
    return cmocka_run_group_tests_name("yaml", tests, NULL, NULL);
}
