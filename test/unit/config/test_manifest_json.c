#include "config_test.h"

#include "base/json.h"

static void a_static_site_is_written_with_all_its_defaults(void **state)
{
    struct fixture *f = *state;
    const struct manifest *m = parsed(f, "app: a\nservices: {site: {type: static}}\n");
    assert_string_equal(
        json_of(f, m),
        "{\"app\":\"a\",\"services\":{\"site\":{\"type\":\"static\",\"root\":\".\",\"deploy\":{"
        "\"strategy\":\"rolling\","
        "\"maxSurge\":1,\"buildTimeout\":\"15m\",\"preDeployTimeout\":\"10m\"},\"publish\":\".\","
        "\"singlePage\":false}},"
        "\"routes\":[{\"host\":\"\",\"path\":\"/"
        "\",\"service\":\"site\",\"timeouts\":{\"connect\":\"5s\",\"firstByte\":\"1m\","
        "\"idle\":\"1m\"},\"retries\":1}],\"keepReleases\":5}");
}

/* ---- the property: parse(write(m)) is m, whatever m is */

static unsigned random_state = 1;

static unsigned pick(unsigned count)
{
    random_state = random_state * 1103515245u + 12345u;
    return (random_state >> 16) % count;
}

static const char *one_of(const char *words)
{
    static char words_made[8][80]; /* several live in one printf */
    static unsigned turn;
    char *word = words_made[turn++ % ARRAY_LEN(words_made)];
    unsigned count = 1;
    for (const char *c = words; *c; c++)
        count += *c == '|';
    unsigned index = pick(count);
    for (; index; words++)
        index -= *words == '|';
    snprintf(word, sizeof(words_made[0]), "%.*s", (int)strcspn(words, "|"), words);
    return word;
}

static void add(struct buf *text, const char *indent, const char *key, const char *values)
{
    if (pick(2))
        buf_printf(text, "%s%s: %s\n", indent, key, one_of(values));
}

static void random_process(struct buf *text)
{
    buf_printf(
        text, "    start: %s\n",
        one_of(
            "node x.js|\"quote \\\" and \\\\ back\"|'it''s'|\"tab\\tend\\n\"|\"\\u00e4\\u20ac\""));
    add(text, "    ", "preDeploy", "make|'a: b # c'");
    add(text, "    ", "instances", "1|7|500|max");
    add(text, "    ", "ready", "tcp|http|alive|notify");
    if (pick(2))
        buf_printf(text, "    health: {path: %s, interval: %s, startTimeout: %s}\n",
                   one_of("/|/up?a=b"), one_of("100ms|1m1s1ms"), one_of("1h|90s"));
    if (pick(2))
        buf_printf(text, "    stop: {signal: %s, drain: %s}\n", one_of("SIGINT|SIGQUIT|SIGHUP"),
                   one_of("0|1d|61m"));
    if (pick(2))
        buf_printf(text, "    restart: {backoff: %s, maxRestarts: %s}\n", one_of("1ms..1ms|1s..1d"),
                   one_of("0|3"));
    if (pick(2))
        buf_printf(text, "    resources: {cpus: %s, memory: %s}\n", one_of("0.01|1|2.5|0.125|1024"),
                   one_of("4M|4194305B|1.5G|1T"));
}

static void random_site(struct buf *text)
{
    buf_append_text(text, "    type: static\n");
    add(text, "    ", "publish", "dist|a/b");
    add(text, "    ", "singlePage", "true|false|yes|off");
    if (pick(2))
        buf_printf(text,
                   "    headers: [{path: /*, name: X-A, value: %s}, {name: X-B, value: \"\"}]\n",
                   one_of("a|\"b, 'c'\""));
    if (pick(2))
        buf_printf(text, "    redirects: [{from: /a*, to: %s, status: %s}]\n",
                   one_of("/b*|https://x.org/"), one_of("200|301|302|303|307|308"));
}

static void random_manifest(struct buf *text)
{
    unsigned services = 1 + pick(4);
    buf_append_text(
        text, "app: a\ndatabases: {db: {type: postgres}, c: {type: redis, maxMemory: 100M}}\n");
    add(text, "", "keepReleases", "1|5|100");
    buf_append_text(text, "services:\n");
    for (unsigned i = 0; i < services; i++) {
        buf_printf(text, "  s%u:\n", i);
        add(text, "    ", "root", "a|./b/c|.");
        add(text, "    ", "build", "make|\"a\\\"b\"");
        if (pick(3) == 0)
            random_site(text);
        else
            random_process(text);
        if (pick(2))
            buf_printf(text,
                       "    env: {A: %s, B: {from: %s}, C: {generate: true}, D: "
                       "\"\\x1b[0m\\r\\n\", E: \"\"}\n",
                       one_of("x|'it''s'|5|true|~x|\"null\"|\"~\"|\" lead\"|\"a: b\""),
                       one_of("db.url|c.port|db.password"));
        if (pick(2))
            buf_printf(text, "    deploy: {maxSurge: %s, buildTimeout: %s}\n", one_of("1|9"),
                       one_of("1s|1h30m"));
    }
    buf_append_text(text, "routes:\n");
    for (unsigned i = 0; i < services; i++)
        buf_printf(text, "  - {host: %s, path: /p%u, service: s%u, maxBody: %s, retries: %s}\n",
                   one_of("a.org|\"*.b.org\"|\"*\"|\"\""), i, i, one_of("1K|10M|12345B"),
                   one_of("0|1|10"));
}

static void what_is_written_is_read_back_the_same(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 400; i++) {
        struct buf text = BUF_INIT((size_t)64 * 1024);
        CLEANUP(arena_freep) struct arena *arena = arena_new((size_t)16 * 1024 * 1024);
        struct arena *kept = f->arena;
        f->arena = arena;
        random_manifest(&text);
        const struct manifest *first = parsed(f, buf_text(&text));
        const char *json = json_of(f, first);
        struct json *tree;
        assert_int_equal(json_parse(arena, slice_from(json), &tree, &f->err),
                         0); /* strict JSON as well */
        const struct manifest *second = parsed(f, json);
        assert_string_equal(json_of(f, second), json);
        struct manifest_change *changes;
        size_t count;
        assert_int_equal(manifest_diff(arena, first, second, &changes, &count, &f->err), 0);
        assert_int_equal(count, 0);
        f->arena = kept;
        buf_done(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_static_site_is_written_with_all_its_defaults),
        TEST(what_is_written_is_read_back_the_same),
    };
    return cmocka_run_group_tests_name("manifest_json", tests, NULL, NULL);
}
