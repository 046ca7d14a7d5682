#include "config_test.h"

#include "base/json.h"
#include "config/table_private.h"

static struct json *schema(struct fixture *f)
{
    struct buf text = BUF_INIT((size_t)1024 * 1024);
    struct json *json;
    manifest_schema(&text);
    int result = json_parse(f->arena, arena_slice(f->arena, buf_slice(&text)), &json, &f->err);
    buf_done(&text);
    assert_int_equal(result, 0);
    return json;
}

static void every_key_of_the_table_is_in_the_schema(void **state)
{
    struct fixture *f = *state;
    const struct json *root = schema(f), *definitions = json_get(root, "$defs");
    assert_string_equal(json_get_text(root, "$schema", ""),
                        "https://json-schema.org/draft/2020-12/schema");
    for (const struct key *key = manifest_keys; key < manifest_keys + manifest_key_count; key++) {
        const struct json *section = key->owner == SECTION_manifest
                                         ? root
                                         : json_get(definitions, section_infos[key->owner].name);
        if (section_is_value(key->owner))
            continue; /* it is what its key is */
        if (key->owner == SECTION_environment || key_short(key->owner))
            section = json_get(section, "anyOf")->first->next;
        const struct json *property = json_get(json_get(section, "properties"), key->name);
        if (!property)
            fail_msg("%s.%s", section_infos[key->owner].name, key->name);
        assert_true(strlen(json_get_text(property, "description", "")) > 5);
        bool says_later =
            strstr(json_get_text(property, "description", ""), "Not supported yet") != NULL;
        assert_int_equal(says_later, (key->flags & KEY_LATER) != 0);
    }
}

static void check_references(const struct json *json, const struct json *definitions)
{
    json_each (child, json) {
        if (slice_eq(child->key, SLICE("$ref"))) {
            const char *name = json_text(child, "");
            assert_true(strncmp(name, "#/$defs/", 8) == 0);
            assert_non_null(json_get(definitions, name + 8));
        }
        check_references(child, definitions);
    }
}

static void every_reference_leads_somewhere(void **state)
{
    const struct json *root = schema(*state);
    check_references(root, json_get(root, "$defs"));
}

static void objects_are_closed_but_for_extensions(void **state)
{
    const struct json *root = schema(*state);
    json_each (definition, json_get(root, "$defs")) {
        const struct json *map = json_get(definition, "anyOf"); /* a value, or a map */
        map = map ? map->first->next : definition;
        if (slice_eq(definition->key, SLICE("environment")) ||
            slice_eq(definition->key, SLICE("network")))
            continue;
        assert_false(json_get_boolean(map, "additionalProperties", true));
        assert_non_null(json_get(json_get(map, "patternProperties"), "^x-"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_key_of_the_table_is_in_the_schema),
        TEST(every_reference_leads_somewhere),
        TEST(objects_are_closed_but_for_extensions),
    };
    return cmocka_run_group_tests_name("manifest_schema", tests, NULL, NULL);
}
