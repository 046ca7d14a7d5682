#include "config_test.h"

#include "config/table_private.h"
#include "config/value_private.h"
#include "config/walk_private.h"

/* manifest.h has the enums by hand, manifest.def the words; they must be in one order. */
static void words_are_in_the_order_of_their_enums(void **state)
{
    (void)state;
    struct slice word;
    bool is_later;
    const struct key *type = key_find(SECTION_service, "type"),
                     *ready = key_find(SECTION_service, "ready");
    const struct key *database = key_find(SECTION_database, "type"),
                     *strategy = key_find(SECTION_deploy, "strategy");
    static const char *const strategies[] = {[STRATEGY_ROLLING] = "rolling",
                                             [STRATEGY_BLUE_GREEN] = "blue-green",
                                             [STRATEGY_CANARY] = "canary",
                                             [STRATEGY_EXCLUSIVE] = "exclusive"};
    for (unsigned i = 0; i <= SERVICE_STATIC; i++)
        assert_true(key_word(type, i, &word, &is_later) &&
                    slice_eq(word, slice_from(service_type_name(i))));
    for (unsigned i = 0; i <= READY_ALIVE; i++)
        assert_true(key_word(ready, i, &word, &is_later) &&
                    slice_eq(word, slice_from(ready_kind_name(i))));
    for (unsigned i = 0; i <= DATABASE_SQLITE; i++)
        assert_true(key_word(database, i, &word, &is_later) &&
                    slice_eq(word, slice_from(database_type_name(i))));
    for (unsigned i = 0; i <= STRATEGY_EXCLUSIVE; i++)
        assert_true(key_word(strategy, i, &word, &is_later) &&
                    slice_eq(word, slice_from(strategies[i])));
    assert_string_equal(service_type_name(SERVICE_CRON), "cron");
    assert_string_equal(ready_kind_name(READY_NOTIFY), "notify");
    assert_string_equal(database_type_name(DATABASE_DGRAPH), "dgraph");
}

static void names_are_unique_within_a_section(void **state)
{
    (void)state;
    for (const struct key *key = manifest_keys; key < manifest_keys + manifest_key_count; key++)
        assert_ptr_equal(key_find(key->owner, key->name), key);
}

static void every_default_is_a_valid_value(void **state)
{
    struct fixture *f = *state;
    char base[4096];
    for (enum section section = 0; section < SECTION_COUNT; section++) {
        assert_true(section_infos[section].bytes <= sizeof(base));
        memset(base, 0, sizeof(base));
        manifest_walk_defaults(f->arena, section, base); /* asserts */
    }
}

/* The example of each key is shown to people in messages; it must be right. */
static void every_example_is_a_valid_value(void **state)
{
    struct fixture *f = *state;
    for (const struct key *key = manifest_keys; key < manifest_keys + manifest_key_count; key++) {
        struct complaint complaint;
        bool is_other = key->kind == KIND_WORD || key->kind == KIND_CHOICE ||
                        key->kind == KIND_NUMBERS || key->kind == KIND_TEXTS;
        if (!key->detail || is_other)
            continue;
        struct node node = {.kind = NODE_SCALAR, .text = key->detail, .len = strlen(key->detail)};
        if (!value_read(f->arena, key, &node, NULL, &complaint))
            fail_msg("%s: %s", key->name, complaint.text);
    }
}

static void help_is_written_as_sentences(void **state)
{
    (void)state;
    for (const struct key *key = manifest_keys; key < manifest_keys + manifest_key_count; key++)
        if (key->help[strlen(key->help) - 1] != '.')
            fail_msg("%s: %s", key->name, key->help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(words_are_in_the_order_of_their_enums), TEST(names_are_unique_within_a_section),
        TEST(every_default_is_a_valid_value),        TEST(every_example_is_a_valid_value),
        TEST(help_is_written_as_sentences),
    };
    return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
