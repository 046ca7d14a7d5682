#include "world.h"

#include "base/clock.h"
#include <signal.h>

#define WEB                                                                                        \
    "app: shop\n"                                                                                  \
    "services:\n"                                                                                  \
    "  web: {type: web, start: node server.js,\n"                                                  \
    "        health: {path: /health, unhealthyAfter: 3, restartAfter: 6},\n"                       \
    "        restart: {minUptime: 10s, backoff: 100ms..1s, maxRestarts: 4},\n"                     \
    "        stop: {grace: 5s, drain: 4s, websocketDrain: 20s}}\n"

static int setup(void **state)
{
    struct world *world = world_new();

    (void)world_deploy(world, WEB);
    world_pass(world, 2000);
    assert_int_equal(world_count(world, "shop", INSTANCE_READY, 1), 1);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    world_free(*state);
    return 0;
}

static struct instance *the_instance(struct world *world)
{
    return world_instance(world, "shop", 0);
}

static void a_crash_leaves_the_routing_in_the_same_turn(void **state)
{
    struct world *world = *state;
    struct instance *instance = the_instance(world);
    unsigned before = world->publish_count;
    bool is_draining;

    assert_true(instance_is_published(instance, &is_draining));
    world_exit(world, instance->unit.id, WAIT_EXIT(1));
    assert_false(instance_is_published(instance, &is_draining));
    assert_int_equal(loop_turn(world->loop, 0, &world->err), 0);
    assert_int_equal(world->publish_count, before + 1);
}

static void a_crashed_process_is_started_again_as_another_endpoint(void **state)
{
    struct world *world = *state;
    struct instance *instance = the_instance(world);
    uint64_t unit = instance->unit.id;

    world_exit(world, unit, WAIT_SIGNAL(SIGSEGV));
    assert_int_equal(instance->state, INSTANCE_BACKOFF);
    assert_string_equal(instance->message, "the process was killed by SIGSEGV");
    world_pass(world, 1000);
    assert_int_equal(instance->state, INSTANCE_READY);
    assert_int_not_equal(instance->unit.id, unit);
    assert_int_equal(instance->restarts, 1);
}

static void crashes_in_a_row_wait_longer_and_end_in_a_crash_loop(void **state)
{
    struct world *world = *state;
    struct instance *instance = the_instance(world);
    uint64_t last_ms = 0;

    for (unsigned i = 0; i < 4; i++) {
        world_exit(world, instance->unit.id, WAIT_EXIT(1));
        assert_int_equal(instance->state, INSTANCE_BACKOFF);
        uint64_t began_us = clock_monotonic_us();
        while (instance->state == INSTANCE_BACKOFF)
            world_pass(world, 10);
        uint64_t waited_ms = (clock_monotonic_us() - began_us) / 1000;
        assert_true(waited_ms >= last_ms);
        last_ms = waited_ms;
        while (instance->state != INSTANCE_READY)
            world_pass(world, 10);
    }
    assert_in_range(last_ms, 790, 1010);
    world_exit(world, instance->unit.id, WAIT_EXIT(1));
    assert_int_equal(instance->state, INSTANCE_CRASH_LOOP);
    assert_non_null(strstr(instance->message, "5 quick crashes"));
    assert_non_null(strstr(instance->message, "exited with status 1"));
    assert_string_equal(app_state_name(instance->app), "crash_loop");
    world_pass(world, 120000);
    assert_int_equal(instance->state, INSTANCE_CRASH_LOOP);
    assert_int_equal(world_running(world), 0);
}

static void a_long_life_forgives_earlier_crashes(void **state)
{
    struct world *world = *state;
    struct instance *instance = the_instance(world);

    for (unsigned i = 0; i < 10; i++) {
        world_pass(world, 11000);
        world_exit(world, instance->unit.id, WAIT_EXIT(1));
        assert_int_equal(instance->state, INSTANCE_BACKOFF);
        world_pass(world, 1500);
        assert_int_equal(instance->state, INSTANCE_READY);
    }
}

static void a_crash_loop_ends_with_a_deploy(void **state)
{
    struct world *world = *state;

    while (the_instance(world)->state != INSTANCE_CRASH_LOOP) {
        if (the_instance(world)->unit.id && the_instance(world)->unit.state == UNIT_RUNNING)
            world_exit(world, the_instance(world)->unit.id, WAIT_EXIT(1));
        world_pass(world, 50);
    }
    struct deploy *deploy = world_deploy(world, WEB);
    world_pass(world, 3000);
    assert_int_equal(deploy->state, DEPLOY_LIVE);
    assert_int_equal(world_count(world, "shop", INSTANCE_READY, 2), 1);
    assert_int_equal(world_running(world), 1);
}

static void probe_times(struct instance *instance, unsigned count, bool is_good)
{
    while (count-- > 0)
        instance->probe.on_result(&instance->probe, is_good, is_good ? "200" : "503: tired");
}

static void an_unhealthy_one_leaves_the_rotation_and_comes_back(void **state)
{
    struct world *world = *state;
    struct instance *instance = the_instance(world);
    bool is_draining;

    probe_times(instance, 2, false);
    assert_int_equal(instance->state, INSTANCE_READY);
    probe_times(instance, 1, false);
    assert_int_equal(instance->state, INSTANCE_UNHEALTHY);
    assert_non_null(strstr(instance->message, "503: tired"));
    assert_true(instance_is_published(instance, &is_draining));
    assert_true(is_draining); /* what it is doing may end */
    probe_times(instance, 1, true);
    assert_int_equal(instance->state, INSTANCE_READY);
}

static void one_that_stays_unhealthy_is_restarted(void **state)
{
    struct world *world = *state;
    struct instance *instance = the_instance(world);
    uint64_t unit = instance->unit.id;

    probe_times(instance, 6, false);
    assert_int_equal(instance->state, INSTANCE_RESTARTING);
    assert_int_equal(world_unit(world, unit)->stop_signal, SIGTERM);
    world_pass(world, 1000);
    assert_int_equal(instance->state, INSTANCE_READY);
    assert_int_not_equal(instance->unit.id, unit);
}

static struct instance *drain(struct world *world)
{
    struct instance *old = the_instance(world);
    struct deploy *deploy;

    world->edges_drain = false;
    deploy = world_deploy(world, WEB);
    for (unsigned i = 0; i < 1000 && old->state != INSTANCE_DRAINING; i++)
        world_pass(world, 0);
    world_pass(world, 100);
    assert_int_equal(deploy->state, DEPLOY_LIVE);
    assert_int_equal(old->state, INSTANCE_DRAINING);
    return old;
}

static void an_idle_one_is_stopped_at_once(void **state)
{
    struct world *world = *state;
    struct instance *old = drain(world);
    uint64_t unit = old->unit.id;

    world->stops_end = false;
    platform_edge_drained(world->platform, 0, world->published, unit, true);
    assert_int_equal(old->state, INSTANCE_DRAINING); /* the other edge may still be busy */
    platform_edge_drained(world->platform, 1, world->published, unit, true);
    assert_int_equal(old->state, INSTANCE_STOPPING);
    assert_int_equal(world_unit(world, unit)->stop_signal, SIGTERM);
}

static void what_an_edge_said_of_an_older_snapshot_does_not_count(void **state)
{
    struct world *world = *state;
    struct instance *old = drain(world);

    for (unsigned edge = 0; edge < 2; edge++)
        platform_edge_drained(world->platform, edge, old->drain_version - 1, old->unit.id, true);
    assert_int_equal(old->state, INSTANCE_DRAINING);
}

static void an_edge_that_died_is_not_waited_for(void **state)
{
    struct world *world = *state;
    struct instance *old = drain(world);

    platform_edge_drained(world->platform, 0, world->published, old->unit.id, true);
    world->stops_end = false;
    platform_edges_changed(world->platform, 1);
    assert_int_equal(old->state, INSTANCE_STOPPING);
}

static void open_websockets_have_their_own_time(void **state)
{
    struct world *world = *state;
    struct instance *old = drain(world);
    struct counters *counters = calloc(1, sizeof(*counters));

    assert_non_null(counters);
    world->stops_end = false;
    counters->endpoints[old->slot] =
        (struct counters_endpoint){.instance = old->unit.id, .tunnels = 2};
    world->platform->counters[0] = counters;
    world_drained(world, old, false); /* idle but for the tunnels */
    world_pass(world, 10000);
    assert_int_equal(old->state, INSTANCE_DRAINING);
    world_pass(world, 11000);
    assert_int_equal(old->state, INSTANCE_STOPPING);
    world->platform->counters[0] = NULL;
    free(counters);
}

static void a_stuck_request_has_the_drain_time_and_no_more(void **state)
{
    struct world *world = *state;
    struct instance *old = drain(world);

    world->stops_end = false;
    world_pass(world, 3000);
    assert_int_equal(old->state, INSTANCE_DRAINING);
    world_pass(world, 1500);
    assert_int_equal(old->state, INSTANCE_STOPPING);
}

static void a_taken_port_is_not_given(void **state)
{
    struct world *world = *state;
    unsigned port = 0, other = 0;

    assert_int_equal(platform_port_take(world->platform, &port, &world->err), 0);
    world->taken_port =
        PLATFORM_PORT_FIRST + (port + 1 - PLATFORM_PORT_FIRST) % PLATFORM_PORT_COUNT;
    assert_int_equal(platform_port_take(world->platform, &other, &world->err), 0);
    assert_int_not_equal(other, world->taken_port);
    assert_int_not_equal(other, port);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_crash_leaves_the_routing_in_the_same_turn),
        T(a_crashed_process_is_started_again_as_another_endpoint),
        T(crashes_in_a_row_wait_longer_and_end_in_a_crash_loop),
        T(a_long_life_forgives_earlier_crashes),
        T(a_crash_loop_ends_with_a_deploy),
        T(an_unhealthy_one_leaves_the_rotation_and_comes_back),
        T(one_that_stays_unhealthy_is_restarted),
        T(an_idle_one_is_stopped_at_once),
        T(what_an_edge_said_of_an_older_snapshot_does_not_count),
        T(an_edge_that_died_is_not_waited_for),
        T(open_websockets_have_their_own_time),
        T(a_stuck_request_has_the_drain_time_and_no_more),
        T(a_taken_port_is_not_given),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
