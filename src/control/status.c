/* status.c - what is going on, as JSON; the shapes are the promise of `slipway … --json`
 * (docs/admin-api.md). */
#include "control/control_private.h"
#include "deploy/app.h"
#include "deploy/database.h"
#include "deploy/deploy.h"
#include "deploy/instance.h"
#include "os/cgroup.h"
#include "os/proc.h"

static const char *const role_names[] = {
    [KEEPER_ROLE_KEEPER] = "keeper", [KEEPER_ROLE_CONTROL] = "control", [KEEPER_ROLE_EDGE] = "edge",
    [KEEPER_ROLE_LOGD] = "logd",     [KEEPER_ROLE_SIGNER] = "signer",
};

static const char *const phase_names[] = {
    [KEEPER_PHASE_DOWN] = "down",       [KEEPER_PHASE_STARTING] = "starting",
    [KEEPER_PHASE_SERVING] = "serving", [KEEPER_PHASE_DRAINING] = "draining",
    [KEEPER_PHASE_GONE] = "gone",
};

static void write_roles(const struct control *control, struct json_writer *writer)
{
    json_begin_array(writer, "roles");
    for (size_t i = 0; i < control->role_count; i++) {
        const struct control_role_state *role = &control->roles[i];

        json_begin_object(writer, NULL);
        json_write_text(writer, "role", role_names[role->role]);
        json_write_integer(writer, "index", role->index);
        json_write_integer(writer, "pid", role->pid);
        json_write_integer(writer, "restarts", role->restarts);
        json_write_time(writer, "started_at", role->started_at_us);
        json_write_text(writer, "state", phase_names[role->phase]);
        json_write_text(writer, "version", role->version);
        json_end_object(writer);
    }
    json_end_array(writer);
}

/* The group's numbers where there is one, as processes may leave their session; else the session's.
 */
static void write_usage(const struct unit *unit, struct json_writer *writer)
{
    struct cgroup_usage group = {0};
    struct proc_usage session = {0};

    if (unit->id && unit->state == UNIT_RUNNING) {
        if (unit->cgroup)
            cgroup_read_usage(unit->cgroup, &group);
        if ((!group.has_memory || !group.has_cpu) &&
            proc_session_usage(unit->pid, &session, NULL) != 0)
            session = (struct proc_usage){0};
    }
    json_write_number(writer, "cpu_seconds",
                      group.has_cpu ? (double)group.cpu_us / 1e6 : session.cpu_seconds);
    json_write_integer(writer, "memory_bytes",
                       (int64_t)(group.has_memory ? group.memory_bytes : session.memory_bytes));
}

static void write_instance(const struct instance *instance, struct json_writer *writer)
{
    const struct unit *unit = &instance->unit;
    bool is_running = unit->id && unit->state == UNIT_RUNNING;
    struct platform_load load = {0};

    if (is_running && instance->port)
        load = platform_load_of(instance->app->platform, instance->slot, unit->id);
    json_begin_object(writer, NULL);
    json_write_text(writer, "id", instance->name);
    json_write_integer(writer, "pid", is_running ? unit->pid : 0);
    json_write_integer(writer, "port", instance->port);
    json_write_text(writer, "state", instance_state_name(instance->state));
    json_write_integer(writer, "release", (int64_t)instance->release);
    json_write_integer(writer, "restarts", instance->restarts);
    json_write_time(writer, "started_at", is_running ? unit->started_at_us : 0);
    write_usage(unit, writer);
    json_write_integer(writer, "in_flight", (int64_t)load.in_flight);
    json_write_integer(writer, "tunnels", (int64_t)load.tunnels);
    json_write_integer(writer, "requests", (int64_t)load.requests);
    json_write_integer(writer, "unit", (int64_t)unit->id);
    json_write_text(writer, "probe", instance->probe_text[0] ? instance->probe_text : NULL);
    json_write_text(writer, "message", instance->message[0] ? instance->message : NULL);
    json_end_object(writer);
}

static void write_service(const struct app *app, const char *name, const char *type,
                          const struct manifest_service *service, struct json_writer *writer)
{
    json_begin_object(writer, NULL);
    json_write_text(writer, "service", name);
    json_write_text(writer, "type", type);
    if (service)
        json_write_integer(writer, "wanted", app_instances_wanted(app, service));
    json_begin_array(writer, "instances");
    list_each (node, &app->instances) {
        const struct instance *instance = container_of(node, struct instance, node);

        if (strcmp(instance->service, name) == 0)
            write_instance(instance, writer);
    }
    json_end_array(writer);
    json_end_object(writer);
}

/* The live release's services; before the first one is live, those that are on their way; then what
 * only old or new instances still have. */
static void write_services(const struct app *app, struct json_writer *writer)
{
    const struct release *release = app_current(app);
    const struct manifest *manifest = NULL;

    if (!release && app->running)
        release = app_release(app, app->running->release);
    if (release)
        manifest = release->manifest;
    json_begin_array(writer, "services");
    for (size_t i = 0; manifest && i < manifest->service_count; i++)
        write_service(app, manifest->services[i].name,
                      service_type_name(manifest->services[i].type), &manifest->services[i],
                      writer);
    list_each (node, &app->instances) {
        const struct instance *instance = container_of(node, struct instance, node);
        bool is_first = true;

        if (manifest && manifest_service_find(manifest, instance->service))
            continue;
        list_each (other, &app->instances) {
            if (other == node)
                break;
            is_first &=
                strcmp(container_of(other, struct instance, node)->service, instance->service) != 0;
        }
        if (is_first)
            write_service(app, instance->service,
                          service_type_name(instance_service(instance)->type), NULL, writer);
    }
    json_end_array(writer);
}

static void write_database(const struct database *database, struct json_writer *writer)
{
    const struct unit *unit = &database->unit;
    bool is_running = unit->id && unit->state == UNIT_RUNNING;

    json_begin_object(writer, NULL);
    json_write_text(writer, "database", database->name);
    json_write_text(writer, "type", database_type_name(database->config.type));
    json_write_integer(writer, "version", database->config.version);
    json_write_text(writer, "state", database_state_name(database->state));
    json_write_integer(writer, "pid", is_running ? unit->pid : 0);
    json_write_integer(writer, "port", database->config.port);
    json_write_integer(writer, "restarts", database->restarts);
    json_write_time(writer, "started_at", is_running ? unit->started_at_us : 0);
    write_usage(unit, writer);
    json_write_text(writer, "message", database->message[0] ? database->message : NULL);
    json_end_object(writer);
}

static void write_deploy(const struct app *app, struct json_writer *writer)
{
    const struct deploy *deploy = app->running;

    /* Nothing runs: the newest one, be it waiting or over. */
    if (!deploy && !list_is_empty(&app->deploys))
        deploy = container_of(app->deploys.previous, struct deploy, node);
    if (!deploy) {
        json_write_null(writer, "deploy");
        return;
    }
    json_begin_object(writer, "deploy");
    json_write_integer(writer, "deploy", (int64_t)deploy->id);
    json_write_text(writer, "kind", deploy_kind_name(deploy->kind));
    json_write_text(writer, "state", deploy_state_name(deploy->state));
    json_write_integer(writer, "release", (int64_t)deploy->release);
    json_write_text(writer, "who", deploy->who);
    json_write_time(writer, "created_at", deploy->created_at_us);
    json_write_time(writer, "ended_at", deploy->ended_at_us);
    json_write_text(writer, "reason", deploy->reason);
    json_write_text(writer, "hint", deploy->hint);
    json_end_object(writer);
}

/* Why the app is not simply live: the first message of an instance or a database. */
static const char *reason_of(const struct app *app)
{
    list_each (node, &app->databases) {
        const struct database *database = container_of(node, struct database, node);

        if (database->is_wanted && database->message[0])
            return database->message;
    }
    list_each (node, &app->instances) {
        const struct instance *instance = container_of(node, struct instance, node);

        if (instance_is_wanted(instance) && instance->message[0])
            return instance->message;
    }
    return NULL;
}

static void write_app(const struct app *app, struct json_writer *writer)
{
    json_begin_object(writer, NULL);
    json_write_text(writer, "app", app->name);
    json_write_integer(writer, "release", (int64_t)app->current);
    json_write_text(writer, "state", app_state_name(app));
    json_write_text(writer, "reason", app->running ? NULL : reason_of(app));
    write_services(app, writer);
    json_begin_array(writer, "databases");
    list_each (node, &app->databases)
        write_database(container_of(node, struct database, node), writer);
    json_end_array(writer);
    write_deploy(app, writer);
    json_end_object(writer);
}

int control_app_find(struct control *control, const char *name, struct app **ret_app,
                     struct error *err)
{
    struct app *app = platform_app_find(control->platform, name);

    if (!app) {
        error_set(err, ERR_NOT_FOUND, "there is no app '%s'", name);
        return error_hint(err, "`slipway status` lists the apps");
    }
    *ret_app = app;
    return 0;
}

int control_status(struct control *control, const char *name, struct buf *ret_json,
                   struct error *err)
{
    const struct platform *platform = control->platform;
    struct json_writer writer = JSON_WRITER(ret_json);
    struct app *only = NULL;

    if (name) {
        int code = control_app_find(control, name, &only, err);

        if (code != 0)
            return code;
    }
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "version", slipway_version);
    json_write_text(&writer, "state_directory", control->state_directory);
    json_write_integer(&writer, "http_port", platform->settings.http_port);
    json_write_integer(&writer, "https_port", platform->settings.https_port);
    json_write_text(&writer, "http_address", control->http_address);
    json_write_text(&writer, "https_address", control->https_address);
    write_roles(control, &writer);
    json_begin_object(&writer, "upgrade");
    control_upgrade_write(control, &writer);
    json_end_object(&writer);
    json_begin_array(&writer, "apps");
    list_each (node, &platform->apps)
        if (!only || &only->node == node)
            write_app(container_of(node, struct app, node), &writer);
    json_end_array(&writer);
    certificates_write_problems(control->certificates, &writer);
    json_end_object(&writer);
    return ret_json->failed ? error_set(err, ERR_LIMIT, "the status is too large") : 0;
}

/* Which kind of deploy made or last chose the release. */
static const char *kind_of(const struct app *app, const struct release *release)
{
    const char *kind = "deploy";

    list_each (node, &app->deploys) {
        const struct deploy *deploy = container_of(node, struct deploy, node);

        if (deploy->release == release->number && deploy->state == DEPLOY_LIVE &&
            deploy->kind <= DEPLOY_KIND_ROLLBACK)
            kind = deploy_kind_name(deploy->kind);
    }
    return kind;
}

int control_releases(struct control *control, const char *name, struct buf *ret_json,
                     struct error *err)
{
    struct json_writer writer = JSON_WRITER(ret_json);
    struct app *app;
    int code = control_app_find(control, name, &app, err);

    if (code != 0)
        return code;
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "app", app->name);
    json_begin_array(&writer, "releases");
    for (const struct list *node = app->releases.previous; node != &app->releases;
         node = node->previous) {
        const struct release *release =
            (const struct release *)((uintptr_t)node - offsetof(struct release, node));

        json_begin_object(&writer, NULL);
        json_write_integer(&writer, "release", (int64_t)release->number);
        json_write_time(&writer, "created_at", release->created_at_us);
        json_write_text(&writer, "commit", release->commit);
        json_write_text(&writer, "state", release_state_name(release->state));
        json_write_integer(&writer, "duration_ms", (int64_t)release->duration_ms);
        json_write_text(&writer, "who", release->who);
        json_write_text(&writer, "reason", release->reason);
        json_write_text(&writer, "environment", release->environment);
        json_write_text(&writer, "kind", kind_of(app, release));
        json_write_boolean(&writer, "is_current", release->number == app->current);
        json_write_boolean(&writer, "is_kept", release->has_files);
        json_end_object(&writer);
    }
    json_end_array(&writer);
    json_end_object(&writer);
    return 0;
}
