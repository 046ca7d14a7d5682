#include "world.h"

#include "base/clock.h"
#include "base/log.h"
#include "deploy/environment.h"
#include "os/file.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define START_US 1000000000ull
#define WALL_US  1700000000000000ull

static struct world *world_of(struct platform_port *port)
{
    return container_of(port, struct world, port);
}

/* ---- the fake keeper */

struct world_unit *world_unit(struct world *world, uint64_t id)
{
    for (size_t i = 0; i < world->unit_count; i++)
        if (world->units[i].id == id)
            return &world->units[i];
    return NULL;
}

struct world_unit *world_unit_like(struct world *world, const char *tag)
{
    for (size_t i = world->unit_count; i-- > 0;)
        if (strstr(world->units[i].tag, tag))
            return &world->units[i];
    return NULL;
}

size_t world_running(const struct world *world)
{
    size_t count = 0;

    for (size_t i = 0; i < world->unit_count; i++)
        count += world->units[i].is_running;
    return count;
}

static void port_spawn(struct platform_port *port, struct unit *unit, const struct unit_spec *spec)
{
    struct world *world = world_of(port);
    struct world_unit *entry = &world->units[world->unit_count++];
    struct buf environment = BUF_INIT(1024u * 1024);

    assert_true(world->unit_count < WORLD_UNITS_MAX);
    assert_null(world_unit(world, unit->id)); /* ids are never used twice */
    for (size_t i = 0; i < spec->environment_count; i++)
        buf_printf(&environment, "%s\n", spec->environment[i]);
    *entry = (struct world_unit){.id = unit->id,
                                 .pid = 1000 + (int32_t)world->unit_count,
                                 .environment = buf_take(&environment)};
    (void)snprintf(entry->tag, sizeof(entry->tag), "%s", spec->tag);
    (void)snprintf(entry->command, sizeof(entry->command), "%s",
                   spec->arguments[spec->argument_count - 1]);
}

static void port_stop(struct platform_port *port, uint64_t unit, int signal, uint64_t grace_ms)
{
    struct world_unit *entry = world_unit(world_of(port), unit);

    (void)grace_ms;
    if (entry)
        entry->stop_signal = signal;
}

static void port_forget(struct platform_port *port, uint64_t unit)
{
    struct world_unit *entry = world_unit(world_of(port), unit);

    if (entry) {
        assert_true(entry->is_exited || !entry->is_running);
        entry->is_forgotten = true;
    }
}

static void port_make_directory(struct platform_port *port, const char *path, uint32_t uid,
                                unsigned mode, bool is_recursive, struct directory_request *request)
{
    (void)path;
    (void)uid;
    (void)mode;
    assert_true(request || !is_recursive); /* the keeper is overtaken by what follows */
    if (!request)
        return;
    assert_null(request->driver);
    request->driver = port;
    list_push_back(&world_of(port)->directories, &request->node);
}

static void port_make_directory_stop(struct platform_port *port, struct directory_request *request)
{
    assert_ptr_equal(request->driver, port);
    request->driver = NULL;
    list_remove(&request->node);
}

static void report(struct world *world, const struct world_unit *entry)
{
    struct unit_report message = {
        .unit = entry->id,
        .is_exited = entry->is_exited,
        .pid = entry->pid,
        .started_at_us = clock_wall_us(),
        .exit = {.wait_status = entry->wait_status, .exited_at_us = clock_wall_us()}};

    platform_unit_report(world->platform, &message);
}

void world_exit(struct world *world, uint64_t unit, int wait_status)
{
    struct world_unit *entry = world_unit(world, unit);

    assert_non_null(entry);
    assert_true(entry->is_running);
    entry->is_running = false;
    entry->is_exited = true;
    entry->wait_status = wait_status;
    report(world, entry);
}

/* ---- the rest of the world */

static void port_publish(struct platform_port *port, uint64_t version)
{
    struct world *world = world_of(port);

    world->published = version;
    world->publish_count++;
}

static void port_probe_start(struct platform_port *port, struct probe *probe)
{
    struct world *world = world_of(port);

    assert_true(world->probe_count < ARRAY_LEN(world->probes));
    world->probes[world->probe_count++] = probe;
    probe->driver = world;
}

static void port_probe_stop(struct platform_port *port, struct probe *probe)
{
    struct world *world = world_of(port);

    probe->driver = NULL;
    for (size_t i = 0; i < world->probe_count; i++)
        if (world->probes[i] == probe) {
            world->probes[i] = world->probes[--world->probe_count];
            return;
        }
}

static void port_log_start(struct platform_port *port, struct log_request *request)
{
    world_of(port)->log = request;
    request->driver = port;
}

static void port_log_stop(struct platform_port *port, struct log_request *request)
{
    world_of(port)->log = NULL;
    request->driver = NULL;
}

static bool port_is_free(struct platform_port *port, unsigned number)
{
    return number != world_of(port)->taken_port;
}

static void port_flush(struct platform_port *port)
{
    /* Requests leave only behind a commit. */
    assert_true(journal_is_clean(&world_of(port)->platform->journal));
}

/* ---- life */

static void make_platform(struct world *world)
{
    struct platform_settings settings = {.state_directory = world->folder,
                                         .own_uid = (uint32_t)geteuid(),
                                         .http_port = 8080,
                                         .notify_socket = "@test",
                                         .unit_path = "/usr/bin:/bin"};

    assert_int_equal(platform_new(world->loop, world->store, &world->port, &settings,
                                  &world->platform, &world->err),
                     0);
    world->platform->live_edges = 3;
}

struct world *world_new(void)
{
    struct world *world = calloc(1, sizeof(*world));
    char path[128];

    assert_non_null(world);
    log_set_level(getenv("WORLD_LOG") ? LOG_INFO : LOG_ERROR);
    clock_fake(START_US, WALL_US);
    list_init(&world->directories);
    world->directories_are_made = true;
    world->spawns_run = world->jobs_end = world->probes_are_good = true;
    world->edges_ack = world->edges_drain = world->stops_end = true;
    world->failing_status = WAIT_EXIT(3);
    world->probe_text = "connection refused on 127.0.0.1:1";
    world->port = (struct platform_port){
        .spawn = port_spawn,
        .stop = port_stop,
        .forget = port_forget,
        .make_directory = port_make_directory,
        .make_directory_stop = port_make_directory_stop,
        .publish = port_publish,
        .probe_start = port_probe_start,
        .probe_stop = port_probe_stop,
        .log_start = port_log_start,
        .log_stop = port_log_stop,
        .port_is_free = port_is_free,
        .flush = port_flush,
    };
    (void)snprintf(world->folder, sizeof(world->folder), "/tmp/slipway-world-XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    (void)snprintf(path, sizeof(path), "%s/uploads", world->folder);
    assert_int_equal(directory_make(path, 0700, &world->err), 0);
    (void)snprintf(path, sizeof(path), "%s/store", world->folder);
    assert_int_equal(directory_make(path, 0700, &world->err), 0);
    assert_int_equal(store_open(path, &world->store, &world->err), 0);
    assert_int_equal(loop_new(&world->loop, &world->err), 0);
    make_platform(world);
    world->platform->is_first_life = true;
    platform_resume(world->platform);
    world_pass(world, 1);
    return world;
}

void world_free(struct world *world)
{
    platform_free(world->platform);
    assert_int_equal(world->probe_count, 0);
    assert_true(list_is_empty(&world->directories));
    loop_free(world->loop);
    store_close(world->store);
    for (size_t i = 0; i < world->unit_count; i++)
        free(world->units[i].environment);
    assert_int_equal(directory_remove_tree(world->folder, &world->err), 0);
    clock_real();
    free(world);
}

void world_restart(struct world *world, bool is_reboot)
{
    platform_free(world->platform);
    assert_int_equal(world->probe_count, 0);
    assert_true(list_is_empty(&world->directories));
    world->log = NULL;
    if (is_reboot)
        for (size_t i = 0; i < world->unit_count; i++)
            world->units[i].is_running = false, world->units[i].is_forgotten = true;
    /* What was asked for and not answered: in half of the cases the keeper never heard of it. */
    for (size_t i = 0; i < world->unit_count; i++) {
        struct world_unit *entry = &world->units[i];

        if (entry->is_running || entry->is_exited || entry->is_forgotten)
            continue;
        if (world->kills++ % 2)
            entry->is_running = true;
        else
            entry->is_forgotten = true;
    }
    make_platform(world);
    world->platform->is_first_life = is_reboot;
    for (size_t i = 0; i < world->unit_count; i++)
        if (world->units[i].is_running ||
            (world->units[i].is_exited && !world->units[i].is_forgotten))
            report(world, &world->units[i]);
    platform_resume(world->platform);
    world_pass(world, 1);
}

/* ---- what happens by itself */

static bool is_job(const struct world_unit *entry)
{
    return strstr(entry->tag, " build") || strstr(entry->tag, " unpack") ||
           strstr(entry->tag, " publish") || strstr(entry->tag, " preDeploy") ||
           strstr(entry->tag, "remove-tree");
}

static bool spawn_step(struct world *world)
{
    for (size_t i = 0; i < world->unit_count; i++) {
        struct world_unit *entry = &world->units[i];

        if (entry->is_running || entry->is_exited || entry->is_forgotten || !world->spawns_run)
            continue;
        if (world->refused_tag && strstr(entry->tag, world->refused_tag)) {
            struct error err = {0};

            entry->is_forgotten = true;
            error_set(&err, ERR_NOT_FOUND, "unable to start '/bin/sh': no such file or directory");
            platform_unit_refused(world->platform, entry->id, &err);
            return true;
        }
        entry->is_running = true;
        report(world, entry);
        return true;
    }
    return false;
}

static bool directory_step(struct world *world)
{
    struct error err = {0};

    if (list_is_empty(&world->directories) || !world->directories_are_made)
        return false;
    struct directory_request *request =
        container_of(world->directories.next, struct directory_request, node);
    list_remove(&request->node);
    request->driver = NULL;
    if (world->directory_failure)
        error_set(&err, ERR_TIMEOUT, "%s", world->directory_failure);
    request->on_made(request, world->directory_failure ? &err : NULL);
    return true;
}

static bool exit_step(struct world *world)
{
    for (size_t i = 0; i < world->unit_count; i++) {
        struct world_unit *entry = &world->units[i];

        if (!entry->is_running)
            continue;
        if (entry->stop_signal && world->stops_end) {
            world_exit(world, entry->id, WAIT_SIGNAL(entry->stop_signal));
            return true;
        }
        if (is_job(entry) && world->jobs_end) {
            bool fails = world->failing_tag && strstr(entry->tag, world->failing_tag);

            world_exit(world, entry->id, fails ? world->failing_status : 0);
            return true;
        }
    }
    return false;
}

static void edges_step(struct world *world)
{
    if (!world->edges_ack)
        return;
    for (unsigned edge = 0; edge < 2; edge++)
        platform_edge_acked(world->platform, edge, world->published);
    if (!world->edges_drain)
        return;
    list_each (node, &world->platform->apps) {
        struct app *app = container_of(node, struct app, node);

        list_each_safe (item, &app->instances) {
            struct instance *instance = container_of(item, struct instance, node);

            if (instance->state == INSTANCE_DRAINING && instance->drain_version <= world->published)
                world_drained(world, instance, true);
        }
    }
}

void world_drained(struct world *world, struct instance *instance, bool is_tunnels)
{
    uint64_t unit = instance->unit.id;

    for (unsigned edge = 0; edge < 2; edge++)
        platform_edge_drained(world->platform, edge, world->published, unit, is_tunnels);
}

static void probes_step(struct world *world)
{
    struct probe *probes[256];
    size_t count = world->probe_count;

    memcpy(probes, world->probes, sizeof(probes));
    for (size_t i = 0; i < count; i++)
        if (probes[i]->driver)
            probes[i]->on_result(probes[i], world->probes_are_good,
                                 world->probes_are_good ? "200" : world->probe_text);
}

static void log_step(struct world *world)
{
    const char *lines[] = {"one before", "the last line"};
    struct log_request *request = world->log;

    if (!request)
        return;
    world->log = NULL;
    request->driver = NULL;
    request->on_lines(request, lines, ARRAY_LEN(lines));
}

static void turn(struct world *world)
{
    assert_int_equal(loop_turn(world->loop, 0, &world->err), 0);
}

void world_pass(struct world *world, uint64_t ms)
{
    for (uint64_t passed = 0;; passed += 10) {
        for (unsigned i = 0; i < 4; i++)
            turn(world);
        while (directory_step(world) || spawn_step(world) || exit_step(world))
            turn(world);
        edges_step(world);
        log_step(world);
        if (passed % 100 == 0)
            probes_step(world);
        turn(world);
        if (passed >= ms)
            break;
        clock_fake_advance(10000);
    }
}

/* ---- what people do */

struct app *world_app(struct world *world, const char *name)
{
    return platform_app_find(world->platform, name);
}

struct instance *world_instance(struct world *world, const char *app, size_t n)
{
    list_each (node, &world_app(world, app)->instances)
        if (n-- == 0)
            return container_of(node, struct instance, node);
    return NULL;
}

unsigned world_count(struct world *world, const char *app, enum instance_state state,
                     uint64_t release)
{
    unsigned count = 0;

    list_each (node, &world_app(world, app)->instances) {
        const struct instance *instance = container_of(node, struct instance, node);

        count += instance->state == state && (release == 0 || instance->release == release);
    }
    return count;
}

struct deploy *world_begin(struct world *world, const char *app, enum deploy_kind kind)
{
    uint64_t id;

    assert_int_equal(store_next_number(world->store, "/meta/next-deploy", &id, &world->err), 0);
    return deploy_new(world_app(world, app), id, kind, "uid 0 (test)");
}

void world_commit(struct world *world, struct deploy *deploy)
{
    deploy_say_state(deploy);
    deploy_write(deploy);
    assert_int_equal(journal_commit(&world->platform->journal, &world->err), 0);
    deploys_next(deploy->app);
}

struct deploy *world_deploy(struct world *world, const char *yaml)
{
    struct release *release;
    struct manifest_findings findings = {0};
    struct app *app;
    char path[128];

    release = release_new(1);
    int code = manifest_parse(release->arena, "slipway.yaml", slice_from(yaml), NULL,
                              (struct slice){0}, &release->manifest, &findings, &world->err);
    if (code != 0 && findings.count)
        fail_msg("%s: %s", findings.items[0].path, findings.items[0].message);
    app = world_app(world, release->manifest->app);
    if (!app)
        assert_int_equal(
            platform_app_make(world->platform, release->manifest->app, &app, &world->err), 0);
    release->number = app->next_release++;
    release->state = RELEASE_DEPLOYING;
    release->created_at_us = clock_wall_us();
    release->has_files = true;
    environment_generate(app, release);
    list_push_back(&app->releases, &release->node);
    struct deploy *deploy = world_begin(world, app->name, DEPLOY_KIND_DEPLOY);
    deploy->release = release->number;
    app_write(app);
    app_write_release(app, release);
    (void)snprintf(path, sizeof(path), "%s/uploads/%llu.tar", world->folder,
                   (unsigned long long)deploy->id);
    assert_int_equal(file_write_durable(path, SLICE("tar"), 0600, &world->err), 0);
    world_commit(world, deploy);
    deploy_uploaded(deploy, true);
    platform_flush(world->platform);
    return deploy;
}

struct deploy *world_deploy_of(struct world *world, const char *app, uint64_t id)
{
    struct deploy *deploy = deploy_find(world_app(world, app), id);

    assert_non_null(deploy);
    return deploy;
}
