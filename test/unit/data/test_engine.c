/* What control learns without running anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/keeper_protocol.h"
#include "data/engine.h"
#include "data/prepare.h"

#define PASSWORD "abcdefghijklmnopqrstuvwxyz012345"
#define ADMIN    "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"

static struct engine_config example(enum database_type type)
{
    return (struct engine_config){.type = type,
                                  .app = "my-shop",
                                  .name = "db",
                                  .version = 15,
                                  .programs = "/usr/lib/postgresql/15/bin",
                                  .folder = "/var/lib/slipway/data/my-shop/db",
                                  .port = 20001,
                                  .password = PASSWORD,
                                  .admin_password = ADMIN};
}

static void assert_property(const struct engine_config *config, const char *property,
                            const char *wanted)
{
    struct buf value = BUF_INIT(1024);

    assert_int_equal(engine_property(config, property, &value, NULL), 0);
    assert_string_equal(buf_text(&value), wanted);
    buf_done(&value);
}

static void properties_give_a_client_what_it_needs(void **state)
{
    struct engine_config postgres = example(DATABASE_POSTGRES), redis = example(DATABASE_REDIS);

    (void)state;
    assert_property(&postgres, "url", "postgresql://my_shop:" PASSWORD "@127.0.0.1:20001/my_shop");
    assert_property(&postgres, "host", "127.0.0.1");
    assert_property(&postgres, "port", "20001");
    assert_property(&postgres, "user", "my_shop");
    assert_property(&postgres, "password", PASSWORD);
    assert_property(&postgres, "database", "my_shop");
    assert_property(&redis, "url", "redis://default:" PASSWORD "@127.0.0.1:20001/0");
    assert_property(&redis, "database", "0");
}

static void names_that_postgresql_reserves_get_a_prefix(void **state)
{
    struct engine_config config = example(DATABASE_POSTGRES);

    (void)state;
    config.app = "postgres";
    assert_property(&config, "user", "app_postgres");
    config.app = "pg-stats";
    assert_property(&config, "user", "app_pg_stats");
}

static void an_unknown_property_names_the_nearest_one(void **state)
{
    struct engine_config config = example(DATABASE_POSTGRES);
    struct buf value = BUF_INIT(64);
    struct error err = {0};

    (void)state;
    assert_int_equal(engine_property(&config, "pasword", &value, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.hint, "db.password"));
    assert_true(engine_has_property(DATABASE_REDIS, "url"));
    assert_false(engine_has_property(DATABASE_REDIS, "uri"));
    assert_false(engine_has_property(DATABASE_MONGODB, "url"));
    buf_done(&value);
}

static void what_is_out_of_form_is_refused_before_anything_runs(void **state)
{
    struct engine_config config;
    struct error err = {0};

    (void)state;
    config = example(DATABASE_POSTGRES);
    assert_int_equal(engine_check(&config, &err), 0);
    config.app = "x'; DROP";
    assert_int_equal(engine_check(&config, &err), ERR_INVALID);
    config = example(DATABASE_POSTGRES);
    config.password = "short";
    assert_int_equal(engine_check(&config, &err), ERR_INVALID);
    assert_null(strstr(err.text, "short"));
    config = example(DATABASE_POSTGRES);
    config.folder = "/a\nport = 1";
    assert_int_equal(engine_check(&config, &err), ERR_INVALID);
    config = example(DATABASE_POSTGRES);
    config.port = 80;
    assert_int_equal(engine_check(&config, &err), ERR_INVALID);
    config = example(DATABASE_REDIS);
    config.eviction = "allkeys-lur";
    assert_int_equal(engine_check(&config, &err), ERR_INVALID);
    assert_non_null(strstr(err.hint, "allkeys-lru"));
    config = example(DATABASE_MONGODB);
    assert_int_equal(engine_check(&config, &err), ERR_UNSUPPORTED);
}

static void a_missing_version_names_the_package(void **state)
{
    struct arena *arena = arena_new(65536);
    const char *programs;
    unsigned version;
    struct error err = {0};

    (void)state;
    assert_int_equal(engine_find(arena, DATABASE_POSTGRES, 99, &version, &programs, &err),
                     ERR_NOT_FOUND);
    assert_non_null(strstr(err.hint, "postgresql-99"));
    assert_int_equal(engine_find(arena, DATABASE_POSTGRES, 9, &version, &programs, &err),
                     ERR_UNSUPPORTED);
    assert_int_equal(engine_find(arena, DATABASE_DGRAPH, 0, &version, &programs, &err),
                     ERR_UNSUPPORTED);
    arena_free(arena);
}

static bool is_secret_in(const char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strstr(texts[i], PASSWORD) || strstr(texts[i], ADMIN))
            return true;
    return false;
}

static void units_carry_secrets_on_standard_input_alone(void **state)
{
    static const enum database_type types[] = {DATABASE_POSTGRES, DATABASE_REDIS};
    struct arena *arena = arena_new(1 << 20);
    struct engine_unit unit;
    struct error err = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct engine_config config = example(types[i]);
        assert_int_equal(engine_prepare_unit(arena, &config, &unit, &err), 0);
        assert_false(is_secret_in(unit.arguments, unit.argument_count));
        assert_false(is_secret_in(unit.environment, unit.environment_count));
        assert_true(slice_find(unit.standard_input, SLICE(PASSWORD)) >= 0);
        assert_true(unit.flags & KEEPER_SPAWN_SELF);
        assert_int_equal(engine_run_unit(arena, &config, &unit, &err), 0);
        assert_false(is_secret_in(unit.arguments, unit.argument_count));
        assert_false(is_secret_in(unit.environment, unit.environment_count));
        assert_null(unit.standard_input.ptr);
    }
    arena_free(arena);
}

static void the_job_reads_back_what_the_unit_was_given(void **state)
{
    struct arena *arena = arena_new(1 << 20);
    struct engine_config config = example(DATABASE_REDIS), back;
    struct engine_unit unit;
    struct error err = {0};

    (void)state;
    config.max_memory_bytes = UINT64_C(5) << 30;
    config.eviction = "allkeys-lru";
    config.programs = "/usr/bin";
    assert_int_equal(engine_prepare_unit(arena, &config, &unit, &err), 0);
    assert_int_equal(prepare_read(arena, unit.standard_input, &back, &err), 0);
    assert_int_equal(back.type, DATABASE_REDIS);
    assert_string_equal(back.app, config.app);
    assert_string_equal(back.folder, config.folder);
    assert_string_equal(back.password, config.password);
    assert_string_equal(back.eviction, "allkeys-lru");
    assert_int_equal(back.port, config.port);
    assert_true(back.max_memory_bytes == config.max_memory_bytes);
    assert_int_equal(prepare_read(arena, SLICE("{\"type\":\"oracle\"}"), &back, &err), ERR_INVALID);
    assert_int_equal(prepare_read(arena, SLICE("nonsense"), &back, &err), ERR_INVALID);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(properties_give_a_client_what_it_needs),
        cmocka_unit_test(names_that_postgresql_reserves_get_a_prefix),
        cmocka_unit_test(an_unknown_property_names_the_nearest_one),
        cmocka_unit_test(what_is_out_of_form_is_refused_before_anything_runs),
        cmocka_unit_test(a_missing_version_names_the_package),
        cmocka_unit_test(units_carry_secrets_on_standard_input_alone),
        cmocka_unit_test(the_job_reads_back_what_the_unit_was_given),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
