#include "config_test.h"

static const char *diff_text(struct fixture *f, const char *from, const char *to)
{
    const struct manifest *old = from ? parsed(f, from) : NULL, *new = parsed(f, to);
    struct manifest_change *changes;
    size_t count;
    struct buf text = BUF_INIT((size_t)64 * 1024);
    assert_int_equal(manifest_diff(f->arena, old, new, &changes, &count, &f->err), 0);
    for (size_t i = 0; i < count; i++) {
        const struct manifest_change *it = &changes[i];
        buf_printf(&text, "%c %s", "+-~"[it->kind], it -> path);
        if (it->before)
            buf_printf(&text, " <%s>", it->before);
        if (it->after)
            buf_printf(&text, " -> %s", it->after);
        buf_append_byte(&text, '\n');
    }
    const char *copy = arena_text(f->arena, buf_text(&text));
    buf_done(&text);
    return copy;
}

static void nothing_changes_from_a_manifest_to_itself(void **state)
{
    assert_string_equal(diff_text(*state, WEB(""), WEB("    instances: 1\n    type: web\n")), "");
}

static void a_new_application_is_told_by_its_parts(void **state)
{
    assert_string_equal(diff_text(*state, NULL, WEB("") "databases: {db: {type: redis}}\n"),
                        "+ services.web -> web\n"
                        "+ databases.db -> redis\n"
                        "+ routes[/] -> web\n");
}

static void values_show_before_and_after(void **state)
{
    assert_string_equal(
        diff_text(*state, WEB("    instances: 2\n    build: make\n    stop: {grace: 5s}\n"),
                  WEB("    instances: max\n    preDeploy: migrate\n    stop: {grace: 90s}\n")),
        "- services.web.build <make>\n"
        "+ services.web.preDeploy -> migrate\n"
        "~ services.web.instances <2> -> max\n"
        "~ services.web.stop.grace <5s> -> 1m30s\n");
}

static void services_and_databases_come_and_go(void **state)
{
    assert_string_equal(
        diff_text(*state,
                  "app: a\nservices: {web: {start: x}, old: {type: worker, start: y}}\ndatabases: "
                  "{db: {type: redis}}\n",
                  "app: a\nservices: {new: {type: worker, start: y}, web: {start: x}}\n"),
        "+ services.new -> worker\n"
        "- services.old <worker>\n"
        "- databases.db <redis>\n");
}

static void list_items_are_known_by_what_they_are(void **state)
{
    assert_string_equal(diff_text(*state,
                                  "app: a\nservices: {one: {start: x}, two: {start: x}}\n"
                                  "routes: [{path: /a, service: one}, {path: /b, service: two}, "
                                  "{host: x.org, path: /a, service: two}]\n",
                                  "app: a\nservices: {one: {start: x}, two: {start: x}}\n"
                                  "routes: [{path: /c, service: one}, {host: x.org, path: /a, "
                                  "service: two, retries: 3}, {path: /b, "
                                  "service: one}]\n"),
                        "+ routes[/c] -> one\n"
                        "~ routes[x.org /a].retries <1> -> 3\n"
                        "~ routes[/b].service <two> -> one\n"
                        "- routes[/a] <one>\n");
}

static void variables_are_shown_only_when_they_are_harmless(void **state)
{
    assert_string_equal(diff_text(*state,
                                  WEB("    env: {LEVEL: info, TOKEN: one, URL: 'pg://u:p@h', SAME: "
                                      "x, GONE: y, LONG: a}\n"),
                                  WEB("    env: {LEVEL: debug, TOKEN: two, URL: {generate: true}, "
                                      "SAME: x, NEW: z, api_key: k,\n"
                                      "          LONG: 'a very long text that does not fit'}\n")),
                        "~ services.web.env.LEVEL <'info'> -> 'debug'\n"
                        "~ services.web.env.TOKEN\n"
                        "~ services.web.env.URL\n"
                        "+ services.web.env.NEW -> 'z'\n"
                        "+ services.web.env.api_key\n"
                        "~ services.web.env.LONG\n"
                        "- services.web.env.GONE <'y'>\n");
}

static void sources_of_variables_are_named(void **state)
{
    assert_string_equal(
        diff_text(*state,
                  WEB("    env: {A: x, B: {from: db.url}}\n") "databases: {db: {type: redis}}\n",
                  WEB("    env: {A: {from: db.url}, B: {generate: true}}\n") "databases: {db: "
                                                                             "{type: redis}}\n"),
        "~ services.web.env.A <'x'> -> from db.url\n"
        "~ services.web.env.B <from db.url> -> generated\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_changes_from_a_manifest_to_itself),
        TEST(a_new_application_is_told_by_its_parts),
        TEST(values_show_before_and_after),
        TEST(services_and_databases_come_and_go),
        TEST(list_items_are_known_by_what_they_are),
        TEST(variables_are_shown_only_when_they_are_harmless),
        TEST(sources_of_variables_are_named),
    };
    return cmocka_run_group_tests_name("manifest_diff", tests, NULL, NULL);
}
