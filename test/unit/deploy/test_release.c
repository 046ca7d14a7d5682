#include "unit.h"

#include "base/clock.h"
#include "deploy/release.h"

static const char yaml[] = "app: shop\nservices:\n  web: {start: node x.js, instances: 3, env: {A: "
                           "\"1\", K: {generate: true}}}\n";

static struct release *make(void)
{
    struct release *release = release_new(12);
    struct manifest_findings findings = {0};
    struct error err = {0};

    assert_int_equal(manifest_parse(release->arena, "slipway.yaml", slice_from(yaml), NULL,
                                    (struct slice){0}, &release->manifest, &findings, &err),
                     0);
    release->state = RELEASE_RETIRED;
    release->commit = "abc";
    release->who = "uid 1 (anna)";
    release->environment = "production";
    release->created_at_us = 1700000000123456;
    release->duration_ms = 8300;
    release->has_files = release->was_live = true;
    release_set_reason(release, "because \"so\"\n");
    release->generated = arena_array_of(release->arena, struct release_generated, 1);
    release->generated[0] = (struct release_generated){"web", "K", "secret"};
    release->generated_count = 1;
    return release;
}

static void a_record_is_read_back_whole(void **state)
{
    CLEANUP(release_freep) struct release *release = make();
    CLEANUP(release_freep) struct release *again = NULL;
    struct buf json = BUF_INIT(1024u * 1024);
    struct error err = {0};

    (void)state;
    release_write_json(release, &json);
    assert_int_equal(release_read_json(buf_slice(&json), &again, &err), 0);
    buf_done(&json);
    assert_int_equal(again->number, 12);
    assert_int_equal(again->state, RELEASE_RETIRED);
    assert_string_equal(again->commit, "abc");
    assert_string_equal(again->who, "uid 1 (anna)");
    assert_string_equal(again->environment, "production");
    assert_int_equal(again->created_at_us, 1700000000123456);
    assert_int_equal(again->duration_ms, 8300);
    assert_true(again->has_files && again->was_live);
    assert_string_equal(again->reason, "because \"so\"\n");
    assert_string_equal(release_generated_value(again, "web", "K"), "secret");
    assert_null(release_generated_value(again, "web", "L"));
    assert_null(release_generated_value(again, "work", "K"));
    assert_int_equal(again->manifest->services[0].instances, 3);
    assert_string_equal(again->manifest->services[0].start, "node x.js");
}

static void without_files_the_manifest_is_left_out(void **state)
{
    CLEANUP(release_freep) struct release *release = make();
    CLEANUP(release_freep) struct release *again = NULL;
    CLEANUP(release_freep) struct release *third = NULL;
    struct buf json = BUF_INIT(1024u * 1024);
    struct error err = {0};

    (void)state;
    release->has_files = false;
    release_write_json(release, &json);
    assert_int_equal(release_read_json(buf_slice(&json), &again, &err), 0);
    assert_null(again->manifest);
    assert_string_equal(release_generated_value(again, "web", "K"), "secret");
    buf_clear(&json);
    release_write_json(again, &json); /* and it can be written so */
    assert_int_equal(release_read_json(buf_slice(&json), &third, &err), 0);
    assert_int_equal(third->number, 12);
    buf_done(&json);
}

static void a_damaged_record_is_named_so(void **state)
{
    static const char *const records[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"release\": 1}",
        "{\"release\": 1, \"state\": \"odd\"}",
        "{\"release\": 1, \"state\": \"live\", \"has_files\": true, \"manifest\": {\"app\": 3}}"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(records); i++) {
        struct release *release = NULL;
        struct error err = {0};

        assert_true(release_read_json(slice_from(records[i]), &release, &err) < 0);
        assert_null(release);
        assert_true(err.text[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_read_back_whole),
        cmocka_unit_test(without_files_the_manifest_is_left_out),
        cmocka_unit_test(a_damaged_record_is_named_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
