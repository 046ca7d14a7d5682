#include "world.h"

#include "base/clock.h"
#include <signal.h>

#define WEB                                                                                        \
    "app: shop\n"                                                                                  \
    "services:\n"                                                                                  \
    "  web: {type: web, start: node server.js, instances: 3,\n"                                    \
    "        health: {path: /health, interval: 1s, startTimeout: 20s},\n"                          \
    "        stop: {grace: 5s, drain: 10s, websocketDrain: 30s}}\n"

static const char web_built[] =
    "app: shop\n"
    "services:\n"
    "  web: {type: web, root: back, build: make all, preDeploy: make migrate, start: node "
    "server.js,\n"
    "        env: {KEY: {generate: true}, MARK: one}}\n"
    "  worker: {type: worker, root: back, build: make all, start: node worker.js}\n"
    "  site: {type: static, root: front, build: make site, publish: dist}\n"
    "routes:\n"
    "  - {path: /api, service: web}\n"
    "  - {path: /, service: site}\n";

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

static struct deploy *live(struct world *world, const char *yaml)
{
    struct deploy *deploy = world_deploy(world, yaml);

    world_pass(world, 20000);
    if (deploy->state != DEPLOY_LIVE)
        fail_msg("%s: %s", deploy_state_name(deploy->state), deploy->reason);
    return deploy;
}

static void old_release_serves(struct world *world, unsigned instances)
{
    assert_int_equal(world_app(world, "shop")->current, 1);
    assert_int_equal(world_count(world, "shop", INSTANCE_READY, 1), instances);
    assert_int_equal(world_count(world, "shop", INSTANCE_READY, 0), instances);
    assert_int_equal(world_running(world), instances);
}

/* ---- the good way */

static void a_first_deploy_goes_live(void **state)
{
    struct world *world = *state;
    struct deploy *deploy = live(world, WEB);

    assert_int_equal(deploy->release, 1);
    assert_int_equal(world_app(world, "shop")->current, 1);
    assert_int_equal(world_count(world, "shop", INSTANCE_READY, 1), 3);
    assert_string_equal(app_state_name(world_app(world, "shop")), "live");
    assert_string_equal(world_instance(world, "shop", 0)->name, "web-1");
    assert_string_equal(world_instance(world, "shop", 2)->name, "web-3");
    assert_true(world_instance(world, "shop", 0)->port != world_instance(world, "shop", 1)->port);
}

static size_t position(struct world *world, const char *tag)
{
    for (size_t i = 0; i < world->unit_count; i++)
        if (strstr(world->units[i].tag, tag))
            return i;
    fail_msg("no unit like '%s'", tag);
    return 0;
}

static void steps_run_in_order_and_shared_builds_once(void **state)
{
    struct world *world = *state;
    unsigned builds = 0;

    (void)live(world, web_built);
    assert_int_equal(position(world, " unpack"), 0);
    assert_true(position(world, "web build") < position(world, "site build"));
    assert_true(position(world, "site build") < position(world, "site publish"));
    assert_true(position(world, "site publish") < position(world, "web preDeploy"));
    assert_true(position(world, "web preDeploy") < position(world, "shop/web-1"));
    for (size_t i = 0; i < world->unit_count; i++)
        builds += strstr(world->units[i].tag, " build") != NULL;
    assert_int_equal(builds, 2);
}

static const char *variable(const struct world_unit *unit, const char *name)
{
    static char value[512];
    char prefix[64];

    (void)snprintf(prefix, sizeof(prefix), "%s=", name);
    const char *at =
        strncmp(unit->environment, prefix, strlen(prefix)) == 0 ? unit->environment : NULL;
    (void)snprintf(prefix, sizeof(prefix), "\n%s=", name);
    const char *found = at ? at : strstr(unit->environment, prefix);
    if (!found)
        return NULL;
    found = strchr(found + 1, '=') + 1;
    (void)snprintf(value, sizeof(value), "%.*s", (int)strcspn(found, "\n"), found);
    return value;
}

static void units_get_their_environment(void **state)
{
    struct world *world = *state;
    char key[128];

    (void)live(world, web_built);
    const struct world_unit *run = world_unit_like(world, "shop/web-1");
    assert_string_equal(variable(run, "MARK"), "one");
    assert_string_equal(variable(run, "SLIPWAY_APP"), "shop");
    assert_string_equal(variable(run, "SLIPWAY_SERVICE"), "web");
    assert_string_equal(variable(run, "SLIPWAY_RELEASE"), "1");
    assert_string_equal(variable(run, "SLIPWAY_INSTANCE"), "web-1");
    assert_int_equal(strtoul(variable(run, "PORT"), NULL, 10),
                     world_instance(world, "shop", 0)->port);
    assert_null(variable(run, "CI"));
    assert_null(variable(run, "NOTIFY_SOCKET"));
    (void)snprintf(key, sizeof(key), "%s", variable(run, "KEY"));
    assert_int_equal(strlen(key), 43);
    assert_string_equal(variable(world_unit_like(world, "web build"), "CI"), "true");
    assert_null(variable(world_unit_like(world, "web build"), "PORT"));
    assert_null(variable(world_unit_like(world, "shop/worker-1"), "PORT"));

    /* A session key does not change with a deploy. */
    (void)live(world, web_built);
    assert_string_equal(variable(world_unit_like(world, "shop/web-"), "KEY"), key);
}

static void a_rolling_deploy_never_has_too_few_or_too_many(void **state)
{
    struct world *world = *state;

    (void)live(world, WEB);
    world->edges_drain = false;
    struct deploy *deploy = world_deploy(world, WEB);
    while (!machine_is_final(deploy->state)) {
        unsigned ready = world_count(world, "shop", INSTANCE_READY, 0);
        unsigned busy = ready + world_count(world, "shop", INSTANCE_STARTING, 0) +
                        world_count(world, "shop", INSTANCE_CHECKING, 0) +
                        world_count(world, "shop", INSTANCE_PROVEN, 0) +
                        world_count(world, "shop", INSTANCE_WAITING, 0);

        assert_true(ready >= 3);
        assert_true(busy <= 4);
        world_pass(world, 0);
        clock_fake_advance(10000);
    }
    assert_int_equal(deploy->state, DEPLOY_LIVE);
    assert_int_equal(world_count(world, "shop", INSTANCE_READY, 2), 3);
    assert_int_equal(world_count(world, "shop", INSTANCE_DRAINING, 1), 3);
    world->edges_drain = true;
    world_pass(world, 1000);
    assert_int_equal(world_running(world), 3);
    assert_int_equal(world_app(world, "shop")->current, 2);
}

static void traffic_shifts_only_when_every_edge_follows(void **state)
{
    struct world *world = *state;

    (void)live(world, WEB);
    world->edges_ack = false;
    struct deploy *deploy = world_deploy(world, WEB);
    world_pass(world, 3000);
    assert_int_equal(deploy->state, DEPLOY_SHIFTING);
    platform_edge_acked(world->platform, 0, world->published);
    world_pass(world, 100);
    assert_int_equal(deploy->state, DEPLOY_SHIFTING);
    assert_int_equal(world_count(world, "shop", INSTANCE_READY, 2), 1);
    platform_edges_changed(world->platform, 1); /* the second edge is down, and does not count */
    world_pass(world, 500);
    assert_int_equal(world_count(world, "shop", INSTANCE_READY, 2), 2); /* the next wave */
    platform_edges_changed(world->platform, 3);
    world->edges_ack = true;
    world_pass(world, 20000);
    assert_int_equal(deploy->state, DEPLOY_LIVE);
}

static void an_edge_that_never_follows_ends_the_deploy(void **state)
{
    struct world *world = *state;

    (void)live(world, WEB);
    world->edges_ack = false;
    struct deploy *deploy = world_deploy(world, WEB);
    world_pass(world, 30000);
    assert_int_equal(deploy->state, DEPLOY_ROLLED_BACK);
    assert_non_null(strstr(deploy->reason, "edge"));
    world->edges_ack = true;
    world_pass(world, 20000);
    old_release_serves(world, 3);
}

static void routes_follow_with_the_last_wave(void **state)
{
    struct world *world = *state;
    struct app *app;

    (void)live(world, WEB);
    app = world_app(world, "shop");
    struct deploy *deploy = world_deploy(world, WEB);
    while (deploy->state != DEPLOY_LIVE) {
        if (world_count(world, "shop", INSTANCE_READY, 2) < 3)
            assert_int_equal(app_routed(app)->number, 1);
        world_pass(world, 0);
        clock_fake_advance(10000);
    }
    assert_int_equal(app_routed(app)->number, 2);
}

static void a_service_that_is_gone_is_stopped(void **state)
{
    struct world *world = *state;

    (void)live(world, web_built);
    (void)live(world, "app: shop\nservices:\n  web: {start: node server.js}\n");
    world_pass(world, 5000);
    assert_int_equal(world_running(world), 1);
    assert_string_equal(world_instance(world, "shop", 0)->service, "web");
}

/* ---- what goes wrong */

static struct deploy *fails(struct world *world, const char *yaml)
{
    struct deploy *deploy = world_deploy(world, yaml);

    world_pass(world, 60000);
    assert_true(machine_is_final(deploy->state));
    assert_int_not_equal(deploy->state, DEPLOY_LIVE);
    assert_non_null(deploy->reason);
    assert_null(world_app(world, "shop")->running);
    return deploy;
}

static void a_broken_build_leaves_the_old_release(void **state)
{
    struct world *world = *state;

    (void)live(world, WEB);
    world->failing_tag = "web build";
    struct deploy *deploy = fails(world, web_built);
    assert_int_equal(deploy->state, DEPLOY_FAILED);
    assert_string_equal(deploy->reason, "build of web exited with status 3");
    assert_non_null(deploy->hint);
    assert_int_equal(deploy->log_count, 2);
    assert_string_equal(deploy->log_lines[1], "the last line");
    old_release_serves(world, 3);
    assert_int_equal(app_release(world_app(world, "shop"), 2)->state, RELEASE_FAILED);
    assert_string_equal(app_release(world_app(world, "shop"), 2)->reason, deploy->reason);
}

static void a_build_that_never_ends_is_stopped(void **state)
{
    struct world *world = *state;

    (void)live(world, WEB);
    world->jobs_end = false;
    struct deploy *deploy =
        world_deploy(world, "app: shop\nservices:\n  web: {start: x, build: sleep 1000, "
                            "deploy: {buildTimeout: 20s}}\n");
    world_pass(world, 100);
    world_exit(world, world_unit_like(world, " unpack")->id, 0);
    world_pass(world, 30000);
    assert_int_equal(deploy->state, DEPLOY_FAILED);
    assert_non_null(strstr(deploy->reason, "did not end within 20 s"));
    assert_int_equal(world_unit_like(world, "web build")->stop_signal, SIGTERM);
    old_release_serves(world, 3);
}

static void a_failed_migration_leaves_the_old_release(void **state)
{
    struct world *world = *state;

    (void)live(world, WEB);
    world->failing_tag = "preDeploy";
    world->failing_status = WAIT_EXIT(9);
    struct deploy *deploy = fails(world, web_built);
    assert_int_equal(deploy->state, DEPLOY_FAILED);
    assert_string_equal(deploy->reason, "preDeploy of web exited with status 9");
    assert_int_equal(world_count(world, "shop", INSTANCE_READY, 2), 0);
    old_release_serves(world, 3);
}

static void a_crash_at_start_fails_at_once(void **state)
{
    struct world *world = *state;

    (void)live(world, WEB);
    world->probes_are_good = false;
    struct deploy *deploy = world_deploy(world, WEB);
    world_pass(world, 500);
    assert_int_equal(deploy->state, DEPLOY_CHECKING);
    uint64_t began_us = clock_monotonic_us();
    world_exit(world, world_unit_like(world, "shop/web-4")->id, WAIT_EXIT(7));
    world_pass(world, 500);
    assert_int_equal(deploy->state, DEPLOY_FAILED);
    assert_string_equal(deploy->reason, "instance web-4 exited with status 7");
    assert_true(clock_monotonic_us() - began_us < 1000000);
    world->probes_are_good = true;
    world_pass(world, 2000);
    old_release_serves(world, 3);
}

static void a_killed_process_is_told_of_with_its_signal(void **state)
{
    struct world *world = *state;

    (void)live(world, WEB);
    world->probes_are_good = false;
    struct deploy *deploy = world_deploy(world, WEB);
    world_pass(world, 500);
    world_exit(world, world_unit_like(world, "shop/web-4")->id, WAIT_SIGNAL(SIGSEGV));
    world_pass(world, 500);
    assert_string_equal(deploy->reason, "instance web-4 was killed by SIGSEGV");
}

static void a_program_that_is_not_there_fails_at_once(void **state)
{
    struct world *world = *state;

    (void)live(world, WEB);
    world->refused_tag = "shop/web-4";
    struct deploy *deploy = fails(world, WEB);
    assert_non_null(strstr(deploy->reason, "could not be started"));
    old_release_serves(world, 3);
}

static void a_port_that_is_never_bound_fails_with_a_hint(void **state)
{
    struct world *world = *state;

    (void)live(world, WEB);
    /* The old ones are probed well, the new one never. */
    struct deploy *deploy = world_deploy(world, WEB);
    world->probes_are_good = false;
    for (unsigned i = 0; i < 300 && !machine_is_final(deploy->state); i++) {
        world->probe_count = world->probe_count;
        world_pass(world, 100);
        for (size_t k = 0; k < 3; k++)
            world_instance(world, "shop", k)->bad_count = 0;
    }
    assert_int_equal(deploy->state, DEPLOY_FAILED);
    assert_non_null(strstr(deploy->reason, "startTimeout"));
    assert_non_null(strstr(deploy->hint, "$PORT"));
    assert_non_null(strstr(deploy->probe_text, "refused"));
}

static void a_failure_in_a_later_wave_brings_the_old_set_back(void **state)
{
    struct world *world = *state;

    (void)live(world, WEB);
    struct deploy *deploy = world_deploy(world, WEB);
    for (unsigned i = 0; i < 1000 && world_count(world, "shop", INSTANCE_READY, 2) < 1; i++)
        world_pass(world, 0);
    world->probes_are_good = false;
    world_pass(world, 80); /* by now the old one that was replaced is gone */
    assert_int_equal(world_count(world, "shop", INSTANCE_CHECKING, 2), 1);
    world_exit(world, world_unit_like(world, "shop/web-")->id, WAIT_EXIT(1));
    world->probes_are_good = true;
    for (unsigned i = 0; i < 2000 && !machine_is_final(deploy->state); i++) {
        assert_true(world_count(world, "shop", INSTANCE_READY, 0) >= 3);
        world_pass(world, 10);
    }
    assert_int_equal(deploy->state, DEPLOY_ROLLED_BACK);
    world_pass(world, 10000);
    old_release_serves(world, 3);
    assert_int_equal(app_release(world_app(world, "shop"), 2)->state, RELEASE_ROLLED_BACK);
}

static void old_instances_that_still_drain_are_called_back(void **state)
{
    struct world *world = *state;
    uint64_t units[3];

    (void)live(world, WEB);
    for (size_t i = 0; i < 3; i++)
        units[i] = world_instance(world, "shop", i)->unit.id;
    world->edges_drain = false;
    struct deploy *deploy = world_deploy(world, WEB);
    for (unsigned i = 0; i < 1000 && world_count(world, "shop", INSTANCE_READY, 2) < 2; i++)
        world_pass(world, 10);
    deploy_cancel(deploy, "uid 0 (test)");
    world_pass(world, 2000);
    assert_int_equal(deploy->state, DEPLOY_CANCELLED);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(world_instance(world, "shop", i)->unit.id, units[i]);
        assert_int_equal(world_instance(world, "shop", i)->state, INSTANCE_READY);
    }
    world->edges_drain = true;
    world_pass(world, 3000);
    old_release_serves(world, 3);
}

static void a_new_instance_that_crashes_after_its_shift_fails_the_deploy(void **state)
{
    struct world *world = *state;

    (void)live(world, WEB);
    struct deploy *deploy = world_deploy(world, WEB);
    for (unsigned i = 0; i < 1000 && world_count(world, "shop", INSTANCE_READY, 2) < 1; i++)
        world_pass(world, 0);
    world_exit(world, world_unit_like(world, "shop/web-4")->id, WAIT_EXIT(1));
    world_pass(world, 20000);
    assert_int_equal(deploy->state, DEPLOY_ROLLED_BACK);
    old_release_serves(world, 3);
}

/* ---- people */

static void cancelling_kills_the_step_and_ends_cleanly(void **state)
{
    struct world *world = *state;

    (void)live(world, WEB);
    world->jobs_end = false;
    struct deploy *deploy = world_deploy(world, web_built);
    world_pass(world, 50);
    assert_int_equal(deploy->state, DEPLOY_UNPACKING);
    deploy_cancel(deploy, "uid 5 (eve)");
    world_pass(world, 1000);
    assert_int_equal(deploy->state, DEPLOY_CANCELLED);
    assert_string_equal(deploy->reason, "cancelled by uid 5 (eve)");
    assert_int_equal(world_unit_like(world, " unpack")->stop_signal, SIGTERM);
    old_release_serves(world, 3);
}

static void deploys_of_an_app_wait_for_each_other(void **state)
{
    struct world *world = *state;
    struct deploy *first = world_deploy(world, WEB);
    struct deploy *second = world_deploy(world, WEB);
    struct deploy *third = world_deploy(world, WEB);

    assert_int_equal(second->state, DEPLOY_QUEUED);
    assert_non_null(
        strstr(second->events[second->event_count - 1].json, "waits for deploy 1 of uid 0 (test)"));
    world_pass(world, 100);
    assert_int_equal(second->state, DEPLOY_QUEUED);
    deploy_cancel(third, "someone");
    world_pass(world, 20000);
    assert_int_equal(first->state, DEPLOY_LIVE);
    assert_int_equal(second->state, DEPLOY_LIVE);
    assert_int_equal(third->state, DEPLOY_CANCELLED);
    assert_int_equal(world_app(world, "shop")->current, 2);
}

static void an_interrupted_upload_fails(void **state)
{
    struct world *world = *state;
    struct release *release;

    (void)live(world, WEB);
    struct deploy *deploy = world_begin(world, "shop", DEPLOY_KIND_DEPLOY);
    release = release_new(2);
    release->manifest = app_release(world_app(world, "shop"), 1)->manifest;
    list_push_back(&world_app(world, "shop")->releases, &release->node);
    deploy->release = 2;
    world_commit(world, deploy);
    deploy_uploaded(deploy, false);
    assert_int_equal(deploy->state, DEPLOY_FAILED);
    world_pass(world, 100);
    old_release_serves(world, 3);
}

static void a_rollback_starts_the_kept_release(void **state)
{
    struct world *world = *state;

    (void)live(world, WEB);
    (void)live(world, WEB);
    assert_int_equal(app_previous(world_app(world, "shop")), 1);
    struct deploy *deploy = world_begin(world, "shop", DEPLOY_KIND_ROLLBACK);
    deploy->release = 1;
    world_commit(world, deploy);
    world_pass(world, 20000);
    assert_int_equal(deploy->state, DEPLOY_LIVE);
    old_release_serves(world, 3);
    assert_int_equal(app_release(world_app(world, "shop"), 1)->state, RELEASE_LIVE);
    assert_int_equal(app_release(world_app(world, "shop"), 2)->state, RELEASE_RETIRED);
    (void)live(world, WEB);
    assert_int_equal(world_app(world, "shop")->current, 3);
    assert_int_equal(app_previous(world_app(world, "shop")), 1);
}

static void a_restart_replaces_every_process_of_the_service(void **state)
{
    struct world *world = *state;
    uint64_t units[3];

    (void)live(world, WEB);
    for (size_t i = 0; i < 3; i++)
        units[i] = world_instance(world, "shop", i)->unit.id;
    struct deploy *deploy = world_begin(world, "shop", DEPLOY_KIND_RESTART);
    deploy->release = 1;
    world_commit(world, deploy);
    world_pass(world, 20000);
    assert_int_equal(deploy->state, DEPLOY_LIVE);
    old_release_serves(world, 3);
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < 3; k++)
            assert_int_not_equal(world_instance(world, "shop", i)->unit.id, units[k]);
}

static void scale(struct world *world, unsigned instances)
{
    struct deploy *deploy = world_begin(world, "shop", DEPLOY_KIND_SCALE);

    deploy->release = world_app(world, "shop")->current;
    deploy->instances = instances;
    (void)snprintf(deploy->service, sizeof(deploy->service), "web");
    world_commit(world, deploy);
    world_pass(world, 20000);
    assert_int_equal(deploy->state, DEPLOY_LIVE);
}

static void scaling_keeps_what_runs(void **state)
{
    struct world *world = *state;

    (void)live(world, WEB);
    uint64_t first = world_instance(world, "shop", 0)->unit.id;
    scale(world, 6);
    assert_int_equal(world_running(world), 6);
    assert_int_equal(world_instance(world, "shop", 0)->unit.id, first);
    scale(world, 1);
    assert_int_equal(world_running(world), 1);
    assert_int_equal(world_instance(world, "shop", 0)->unit.id, first);
    scale(world, 0);
    assert_int_equal(world_running(world), 0);
    scale(world, 2);
    assert_int_equal(world_running(world), 2);
}

static void a_persons_scale_holds_until_the_manifest_speaks(void **state)
{
    struct world *world = *state;

    (void)live(world, WEB);
    scale(world, 5);
    (void)live(world, WEB);
    assert_int_equal(world_count(world, "shop", INSTANCE_READY, 2), 5);
    (void)live(world, "app: shop\nservices:\n  web: {start: node server.js, instances: 2}\n");
    world_pass(world, 20000);
    assert_int_equal(world_count(world, "shop", INSTANCE_READY, 3), 2);
    (void)live(world, WEB);
    world_pass(world, 20000);
    assert_int_equal(world_count(world, "shop", INSTANCE_READY, 4), 3);
}

static void a_removed_app_lies_in_the_trash(void **state)
{
    struct world *world = *state;
    CLEANUP(arena_freep) struct arena *arena = arena_new(16u * 1024 * 1024);
    struct store_entry *entries;
    size_t count;

    (void)live(world, WEB);
    struct deploy *deploy = world_begin(world, "shop", DEPLOY_KIND_REMOVE);
    world_commit(world, deploy);
    world_pass(world, 20000);
    assert_null(world_app(world, "shop"));
    assert_int_equal(deploy->state, DEPLOY_REMOVED);
    assert_int_equal(world_running(world), 0);
    assert_int_equal(store_range(world->store, "/apps/", 0, arena, &entries, &count, &world->err),
                     0);
    assert_int_equal(count, 0);
    assert_int_equal(store_range(world->store, "/trash/", 0, arena, &entries, &count, &world->err),
                     0);
    assert_int_equal(count, 1);
    assert_int_equal(
        store_range(world->store, "/trashed/", 0, arena, &entries, &count, &world->err), 0);
    assert_true(count >= 3);
    world_restart(world, false);
    assert_null(world_app(world, "shop"));
    (void)live(world, WEB);
}

static void old_releases_lose_their_files(void **state)
{
    struct world *world = *state;
    unsigned kept = 0;

    for (unsigned i = 0; i < 9; i++)
        (void)live(world, WEB);
    list_each (node, &world_app(world, "shop")->releases)
        kept += container_of(node, struct release, node)->has_files;
    assert_int_equal(kept, 5);
    assert_true(app_release(world_app(world, "shop"), 9)->has_files);
    assert_false(app_release(world_app(world, "shop"), 1)->has_files);
    assert_null(app_release(world_app(world, "shop"), 1)->manifest);
    world_restart(world, false);
    assert_int_equal(world_count(world, "shop", INSTANCE_READY, 9), 3);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_first_deploy_goes_live),
        T(steps_run_in_order_and_shared_builds_once),
        T(units_get_their_environment),
        T(a_rolling_deploy_never_has_too_few_or_too_many),
        T(traffic_shifts_only_when_every_edge_follows),
        T(an_edge_that_never_follows_ends_the_deploy),
        T(routes_follow_with_the_last_wave),
        T(a_service_that_is_gone_is_stopped),
        T(a_broken_build_leaves_the_old_release),
        T(a_build_that_never_ends_is_stopped),
        T(a_failed_migration_leaves_the_old_release),
        T(a_crash_at_start_fails_at_once),
        T(a_killed_process_is_told_of_with_its_signal),
        T(a_program_that_is_not_there_fails_at_once),
        T(a_port_that_is_never_bound_fails_with_a_hint),
        T(a_failure_in_a_later_wave_brings_the_old_set_back),
        T(old_instances_that_still_drain_are_called_back),
        T(a_new_instance_that_crashes_after_its_shift_fails_the_deploy),
        T(cancelling_kills_the_step_and_ends_cleanly),
        T(deploys_of_an_app_wait_for_each_other),
        T(an_interrupted_upload_fails),
        T(a_rollback_starts_the_kept_release),
        T(a_restart_replaces_every_process_of_the_service),
        T(scaling_keeps_what_runs),
        T(a_persons_scale_holds_until_the_manifest_speaks),
        T(a_removed_app_lies_in_the_trash),
        T(old_releases_lose_their_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
