/* kill -9 of control at every moment: whatever was going on ends, nothing runs twice, nothing is
 * left over. */
#include "world.h"

#include "base/clock.h"
#include <signal.h>

#define WEB                                                                                        \
    "app: shop\n"                                                                                  \
    "services:\n"                                                                                  \
    "  web: {type: web, build: make, preDeploy: migrate, start: node server.js, instances: 2,\n"   \
    "        stop: {grace: 5s, drain: 2s, websocketDrain: 2s}}\n"

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

static void go_live(struct world *world)
{
    struct deploy *deploy = world_deploy(world, WEB);

    world_pass(world, 5000);
    assert_int_equal(deploy->state, DEPLOY_LIVE);
}

/* Everything is as it should be: `release` serves with two instances, and not one process more
 * runs. */
static void settled(struct world *world, uint64_t release)
{
    assert_int_equal(world_app(world, "shop")->current, release);
    assert_int_equal(world_count(world, "shop", INSTANCE_READY, release), 2);
    assert_int_equal(world_running(world), 2);
    assert_null(world_app(world, "shop")->running);
    list_each (node, &world_app(world, "shop")->instances)
        assert_int_equal(container_of(node, struct instance, node)->restarts, 0);
}

static unsigned count_units(struct world *world, const char *tag)
{
    unsigned count = 0;

    for (size_t i = 0; i < world->unit_count; i++)
        count += strstr(world->units[i].tag, tag) &&
                 (world->units[i].is_running || world->units[i].is_exited);
    return count;
}

static void running_instances_are_taken_over_untouched(void **state)
{
    struct world *world = *state;
    uint64_t units[2];

    go_live(world);
    for (size_t i = 0; i < 2; i++)
        units[i] = world_instance(world, "shop", i)->unit.id;
    world_restart(world, false);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(world_instance(world, "shop", i)->unit.id, units[i]);
        assert_int_equal(world_instance(world, "shop", i)->state, INSTANCE_READY);
        assert_int_equal(world_unit(world, units[i])->stop_signal, 0);
    }
    world_pass(world, 3000);
    settled(world, 1);
}

static void an_instance_that_crashed_meanwhile_is_restarted(void **state)
{
    struct world *world = *state;

    go_live(world);
    struct world_unit *unit = world_unit(world, world_instance(world, "shop", 0)->unit.id);
    unit->is_running = false; /* control hears of it after its restart */
    unit->is_exited = true;
    unit->wait_status = WAIT_EXIT(1);
    world_restart(world, false);
    assert_int_equal(world_instance(world, "shop", 0)->state, INSTANCE_BACKOFF);
    world_pass(world, 3000);
    assert_int_equal(world_count(world, "shop", INSTANCE_READY, 1), 2);
    assert_int_equal(world_instance(world, "shop", 0)->restarts, 1);
    assert_int_equal(world_running(world), 2);
}

static void after_a_reboot_everything_runs_again(void **state)
{
    struct world *world = *state;

    go_live(world);
    world_restart(world, true);
    world_pass(world, 3000);
    settled(world, 1);
}

static void a_stranger_is_stopped_and_forgotten(void **state)
{
    struct world *world = *state;
    struct world_unit *stranger = &world->units[world->unit_count++];

    *stranger = (struct world_unit){.id = 999999, .tag = "who", .is_running = true, .pid = 7};
    world_restart(world, false);
    assert_int_equal(stranger->stop_signal, SIGTERM);
    world_pass(world, 100);
    assert_true(stranger->is_exited && stranger->is_forgotten);
}

static void a_deploy_survives_a_kill_at_every_step(void **state)
{
    struct world *world = *state;

    for (unsigned moment = 0; moment < 60; moment++) {
        struct world *fresh = moment == 0 ? world : world_new();

        go_live(fresh);
        uint64_t id = world_deploy(fresh, WEB)->id;
        for (unsigned i = 0;
             i < moment && !machine_is_final(world_deploy_of(fresh, "shop", id)->state); i++) {
            assert_int_equal(loop_turn(fresh->loop, 0, &fresh->err), 0);
            if (i % 3 == 0)
                world_pass(fresh, 0);
            clock_fake_advance(3000);
        }
        world_restart(fresh, false);
        world_pass(fresh, 10000);
        assert_int_equal(world_deploy_of(fresh, "shop", id)->state, DEPLOY_LIVE);
        settled(fresh, 2);
        assert_true(count_units(fresh, "web build") == 2);
        assert_true(count_units(fresh, "preDeploy") == 2);
        if (fresh != world)
            world_free(fresh);
    }
}

/* A cheap generator, so that a failure can be run again by its seed. */
static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 16;
}

static void many_kills_at_random_moments_leave_nothing_behind(void **state)
{
    for (unsigned round = 1; round <= 12; round++) {
        struct world *world = round == 1 ? *state : world_new();
        unsigned seed = round;

        go_live(world);
        for (unsigned i = 0; i < 6; i++) {
            uint64_t id = world_deploy(world, WEB)->id;

            for (unsigned k = 0; k < 5; k++) {
                world_pass(world, next_random(&seed) % 120);
                world_restart(world, false);
                assert_true(world_count(world, "shop", INSTANCE_READY, 0) >= 1);
            }
            world_pass(world, 5000);
            assert_int_equal(world_deploy_of(world, "shop", id)->state, DEPLOY_LIVE);
        }
        world_pass(world, 10000);
        settled(world, 7);
        if (round != 1)
            world_free(world);
    }
}

static void a_failing_deploy_returns_through_kills(void **state)
{
    for (unsigned round = 1; round <= 12; round++) {
        struct world *world = round == 1 ? *state : world_new();
        unsigned seed = 77 * round;

        go_live(world);
        world->failing_tag = round % 2 ? "web build" : "preDeploy";
        uint64_t id = world_deploy(world, WEB)->id;
        for (unsigned k = 0; k < 6; k++) {
            world_pass(world, next_random(&seed) % 60);
            world_restart(world, false);
        }
        world_pass(world, 10000);
        assert_int_equal(world_deploy_of(world, "shop", id)->state, DEPLOY_FAILED);
        assert_non_null(world_deploy_of(world, "shop", id)->reason);
        settled(world, 1);
        if (round != 1)
            world_free(world);
    }
}

static void a_removal_goes_on_after_a_kill(void **state)
{
    for (unsigned moment = 0; moment < 12; moment++) {
        struct world *world = moment == 0 ? *state : world_new();

        go_live(world);
        world_commit(world, world_begin(world, "shop", DEPLOY_KIND_REMOVE));
        for (unsigned i = 0; i < moment; i++)
            assert_int_equal(loop_turn(world->loop, 0, &world->err), 0);
        world_restart(world, false);
        world_pass(world, 10000);
        assert_null(world_app(world, "shop"));
        assert_int_equal(world_running(world), 0);
        if (moment != 0)
            world_free(world);
    }
}

static void a_cut_off_upload_fails_after_a_restart(void **state)
{
    struct world *world = *state;

    go_live(world);
    struct deploy *first = world_deploy(world, WEB); /* for its release */
    world_pass(world, 5000);
    struct deploy *deploy = world_begin(world, "shop", DEPLOY_KIND_DEPLOY);
    uint64_t id = deploy->id;
    deploy->release = first->release;
    deploy_write(deploy);
    world_pass(world, 10);
    world_restart(world, false);
    assert_int_equal(world_deploy_of(world, "shop", id)->state, DEPLOY_FAILED);
    assert_non_null(strstr(world_deploy_of(world, "shop", id)->reason, "interrupted"));
}

static void listen_once(struct deploy_listener *listener, struct slice line, bool is_final)
{
    (void)line;
    listener->after += is_final ? 1000 : 1;
}

static void the_story_of_a_deploy_outlives_control(void **state)
{
    struct world *world = *state;
    struct deploy_listener listener = {.on_event = listen_once};

    world->failing_tag = "web build";
    uint64_t id = world_deploy(world, WEB)->id;
    world_pass(world, 5000);
    world_restart(world, false);
    struct deploy *deploy = world_deploy_of(world, "shop", id);
    assert_int_equal(deploy->state, DEPLOY_FAILED);
    assert_int_equal(deploy->log_count, 2);
    assert_string_equal(deploy->reason, "build of web exited with status 3");
    list_init(&listener.node);
    listener.after = 0;
    deploy_listen(deploy, &listener);
    assert_true(listener.after >= 1000); /* the final event is among the stored ones */
    list_remove(&listener.node);
}

static void draining_goes_on_where_it_was(void **state)
{
    struct world *world = *state;

    go_live(world);
    world->edges_drain = false;
    (void)world_deploy(world, WEB);
    world_pass(world, 1500);
    assert_int_equal(world_count(world, "shop", INSTANCE_DRAINING, 1), 2);
    for (unsigned i = 0; i < 10; i++) { /* however often: the drain time does not begin anew */
        world_restart(world, false);
        world_pass(world, 200);
    }
    assert_int_equal(world_count(world, "shop", INSTANCE_DRAINING, 1), 0);
    world_pass(world, 1000);
    settled(world, 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(running_instances_are_taken_over_untouched),
        T(an_instance_that_crashed_meanwhile_is_restarted),
        T(after_a_reboot_everything_runs_again),
        T(a_stranger_is_stopped_and_forgotten),
        T(a_deploy_survives_a_kill_at_every_step),
        T(many_kills_at_random_moments_leave_nothing_behind),
        T(a_failing_deploy_returns_through_kills),
        T(a_removal_goes_on_after_a_kill),
        T(a_cut_off_upload_fails_after_a_restart),
        T(the_story_of_a_deploy_outlives_control),
        T(draining_goes_on_where_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
