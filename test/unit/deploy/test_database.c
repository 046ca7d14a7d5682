/* A database through its life; Redis, as its programs are found without looking for a version. */
#include "world.h"

#include <signal.h>

#define SHOP                                                                                       \
    "app: shop\n"                                                                                  \
    "services:\n"                                                                                  \
    "  web: {start: node server.js, build: make, env: {REDIS_URL: {from: cache.url}}}\n"           \
    "databases:\n"                                                                                 \
    "  cache: {type: redis}\n"

static int setup(void **state)
{
    *state = world_new();
    return 0;
}

static int teardown(void **state)
{
    world_free(*state);
    return 0;
}

/* Without the programs there is nothing to test, and it is said. */
static bool is_installed(void)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(1024u * 1024);
    const char *programs;
    unsigned version;

    return engine_find(arena, DATABASE_REDIS, 0, &version, &programs, NULL) == 0;
}

static struct database *cache_of(struct world *world)
{
    return database_find(world_app(world, "shop"), "cache");
}

static void end_prepare(struct world *world, int status)
{
    struct world_unit *unit = world_unit_like(world, "cache prepare");

    assert_non_null(unit);
    world_exit(world, unit->id, status);
}

static struct deploy *live(struct world *world)
{
    struct deploy *deploy = world_deploy(world, SHOP);

    world_pass(world, 50);
    end_prepare(world, 0);
    world_pass(world, 3000);
    assert_int_equal(deploy->state, DEPLOY_LIVE);
    return deploy;
}

static void it_is_prepared_started_and_probed_before_anything_is_built(void **state)
{
    struct world *world = *state;

    if (!is_installed())
        skip();
    struct deploy *deploy = world_deploy(world, SHOP);
    world_pass(world, 200);
    assert_int_equal(deploy->state, DEPLOY_PREPARING);
    assert_int_equal(cache_of(world)->state, DATABASE_PREPARING);
    world->probes_are_good = false;
    end_prepare(world, 0);
    world_pass(world, 500);
    assert_int_equal(cache_of(world)->state, DATABASE_STARTING);
    assert_null(world_unit_like(world, "web build"));
    world->probes_are_good = true;
    world_pass(world, 3000);
    assert_int_equal(cache_of(world)->state, DATABASE_READY);
    assert_int_equal(deploy->state, DEPLOY_LIVE);
    const struct world_unit *run = world_unit_like(world, "shop/web-1");
    const char *url = strstr(run->environment, "\nREDIS_URL=redis://");
    assert_non_null(url);
    assert_non_null(strstr(url, cache_of(world)->config.password));
    assert_null(strstr(run->command, cache_of(world)->config.password));
}

static void one_that_cannot_be_prepared_fails_the_deploy_with_its_words(void **state)
{
    struct world *world = *state;

    if (!is_installed())
        skip();
    struct deploy *deploy = world_deploy(world, SHOP);
    for (unsigned i = 0; i < 100 && !machine_is_final(deploy->state); i++) {
        struct world_unit *unit = world_unit_like(world, "cache prepare");

        if (unit && unit->is_running)
            world_exit(world, unit->id, WAIT_EXIT(9));
        world_pass(world, 50);
    }
    assert_int_equal(deploy->state, DEPLOY_FAILED);
    assert_non_null(strstr(deploy->reason, "database 'cache' does not start"));
    assert_non_null(strstr(deploy->reason, "status 9"));
    assert_int_equal(deploy->log_count, 2);
}

static void nothing_touches_its_folder_before_the_keeper_has_given_it_over(void **state)
{
    struct world *world = *state;

    if (!is_installed())
        skip();
    world->directories_are_made = false;
    struct deploy *deploy = world_deploy(world, SHOP);
    world_pass(world, 60000);
    assert_int_equal(cache_of(world)->state, DATABASE_CLAIMING);
    assert_null(world_unit_like(world, "cache prepare"));
    world->directories_are_made = true;
    world_pass(world, 50);
    assert_int_equal(cache_of(world)->state, DATABASE_PREPARING);
    end_prepare(world, 0);
    world_pass(world, 3000);
    assert_int_equal(deploy->state, DEPLOY_LIVE);
}

static void a_folder_that_cannot_be_given_over_is_tried_again(void **state)
{
    struct world *world = *state;

    if (!is_installed())
        skip();
    world->directory_failure = "unable to give the folder to its owner in time";
    (void)world_deploy(world, SHOP);
    world_pass(world, 50);
    assert_int_equal(cache_of(world)->state, DATABASE_BACKOFF);
    assert_non_null(strstr(cache_of(world)->message, "to its owner in time"));
    assert_null(world_unit_like(world, "cache prepare"));
    world->directory_failure = NULL;
    world_pass(world, 500);
    assert_int_equal(cache_of(world)->state, DATABASE_PREPARING);
}

static void a_restart_while_its_folder_is_given_over_asks_again(void **state)
{
    struct world *world = *state;

    if (!is_installed())
        skip();
    world->directories_are_made = false;
    (void)world_deploy(world, SHOP);
    world_pass(world, 100);
    world_restart(world, false);
    world_pass(world, 100);
    assert_int_equal(cache_of(world)->state, DATABASE_CLAIMING);
    world->directories_are_made = true;
    world_pass(world, 100);
    assert_int_equal(cache_of(world)->state, DATABASE_PREPARING);
}

static void a_crashed_server_is_prepared_and_started_again(void **state)
{
    struct world *world = *state;

    if (!is_installed())
        skip();
    (void)live(world);
    world_exit(world, cache_of(world)->unit.id, WAIT_SIGNAL(SIGKILL));
    assert_int_equal(cache_of(world)->state, DATABASE_BACKOFF);
    assert_string_equal(app_state_name(world_app(world, "shop")), "degraded");
    world_pass(world, 300);
    end_prepare(world, 0);
    world_pass(world, 1000);
    assert_int_equal(cache_of(world)->state, DATABASE_READY);
    assert_int_equal(cache_of(world)->restarts, 1);
    assert_int_equal(world_instance(world, "shop", 0)->restarts, 0);
}

static void a_killed_control_takes_a_running_server_over(void **state)
{
    struct world *world = *state;

    if (!is_installed())
        skip();
    (void)live(world);
    uint64_t unit = cache_of(world)->unit.id;
    char password[ENGINE_PASSWORD_LEN + 1];
    (void)snprintf(password, sizeof(password), "%s", cache_of(world)->config.password);
    world_restart(world, false);
    world_pass(world, 3000);
    assert_int_equal(cache_of(world)->unit.id, unit);
    assert_int_equal(cache_of(world)->state, DATABASE_READY);
    assert_string_equal(cache_of(world)->config.password, password);
    assert_int_equal(world_unit(world, unit)->stop_signal, 0);
}

static void after_a_reboot_services_wait_for_it(void **state)
{
    struct world *world = *state;

    if (!is_installed())
        skip();
    (void)live(world);
    world_restart(world, true);
    world_pass(world, 1000);
    assert_int_equal(cache_of(world)->state, DATABASE_PREPARING);
    assert_int_equal(world_instance(world, "shop", 0)->state, INSTANCE_WAITING);
    assert_string_equal(world_instance(world, "shop", 0)->message, "waits for database 'cache'");
    end_prepare(world, 0);
    world_pass(world, 2000);
    assert_int_equal(world_instance(world, "shop", 0)->state, INSTANCE_READY);
    assert_int_equal(world_instance(world, "shop", 0)->restarts, 0);
}

static void one_that_is_in_no_release_any_more_is_stopped_and_kept(void **state)
{
    struct world *world = *state;

    if (!is_installed())
        skip();
    (void)live(world);
    (void)world_deploy(world, "app: shop\nservices:\n  web: {start: node server.js}\n");
    world_pass(world, 5000);
    assert_int_equal(world_app(world, "shop")->current, 2);
    assert_int_equal(cache_of(world)->state, DATABASE_STOPPED);
    assert_int_equal(world_running(world), 1);
    /* Going back brings it up first. */
    struct deploy *back = world_begin(world, "shop", DEPLOY_KIND_ROLLBACK);
    back->release = 1;
    world_commit(world, back);
    world_pass(world, 300);
    assert_int_equal(back->state, DEPLOY_PREPARING);
    end_prepare(world, 0);
    world_pass(world, 3000);
    assert_int_equal(back->state, DEPLOY_LIVE);
}

static void one_that_goes_away_in_the_middle_ends_the_deploy_in_time(void **state)
{
    struct world *world = *state;

    if (!is_installed())
        skip();
    (void)live(world);
    world->jobs_end = false;
    struct deploy *deploy = world_deploy(world, SHOP);
    world_pass(world, 50);
    world_exit(world, world_unit_like(world, " unpack")->id, 0);
    world_pass(world, 50);
    assert_int_equal(deploy->state, DEPLOY_BUILDING);
    world_exit(world, cache_of(world)->unit.id, WAIT_EXIT(1)); /* and nobody prepares it again */
    world->jobs_end = true;
    world_pass(world, 1000);
    assert_int_equal(deploy->state, DEPLOY_CHECKING);
    world_pass(world, 130000);
    assert_int_equal(deploy->state, DEPLOY_FAILED);
    assert_int_equal(world_count(world, "shop", INSTANCE_READY, 1), 1);
}

static void another_type_under_the_same_name_is_refused(void **state)
{
    struct world *world = *state;

    if (!is_installed())
        skip();
    (void)live(world);
    struct deploy *deploy = world_deploy(
        world, "app: shop\nservices:\n  web: {start: x}\ndatabases:\n  cache: {type: postgres}\n");
    world_pass(world, 3000);
    assert_int_equal(deploy->state, DEPLOY_FAILED);
    assert_non_null(strstr(deploy->reason, "holds data of redis"));
    assert_int_equal(cache_of(world)->state, DATABASE_READY);
}

static void a_removal_stops_it_after_the_services(void **state)
{
    struct world *world = *state;

    if (!is_installed())
        skip();
    (void)live(world);
    world->stops_end = false;
    uint64_t server = cache_of(world)->unit.id, web = world_instance(world, "shop", 0)->unit.id;
    world_commit(world, world_begin(world, "shop", DEPLOY_KIND_REMOVE));
    world_pass(world, 1000);
    assert_int_equal(world_unit(world, web)->stop_signal, SIGTERM);
    assert_int_equal(world_unit(world, server)->stop_signal, 0);
    world_exit(world, web, WAIT_SIGNAL(SIGTERM));
    world_pass(world, 200);
    assert_int_not_equal(world_unit(world, server)->stop_signal, 0);
    world_exit(world, server, 0);
    world_pass(world, 200);
    assert_null(world_app(world, "shop"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(it_is_prepared_started_and_probed_before_anything_is_built),
        T(one_that_cannot_be_prepared_fails_the_deploy_with_its_words),
        T(nothing_touches_its_folder_before_the_keeper_has_given_it_over),
        T(a_folder_that_cannot_be_given_over_is_tried_again),
        T(a_restart_while_its_folder_is_given_over_asks_again),
        T(a_crashed_server_is_prepared_and_started_again),
        T(a_killed_control_takes_a_running_server_over),
        T(after_a_reboot_services_wait_for_it),
        T(one_that_is_in_no_release_any_more_is_stopped_and_kept),
        T(one_that_goes_away_in_the_middle_ends_the_deploy_in_time),
        T(another_type_under_the_same_name_is_refused),
        T(a_removal_stops_it_after_the_services),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
