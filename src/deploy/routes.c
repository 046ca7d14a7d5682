#include "deploy/routes.h"
#include "base/log.h"
#include "deploy/deploy.h"
#include "deploy/instance.h"
#include "net/snapshot.h"
#include <arpa/inet.h>

/* ---- conflicts */

static const struct manifest_route *find_same(const struct manifest *manifest,
                                              const struct manifest_route *route)
{
    for (size_t i = 0; i < manifest->route_count; i++)
        if (strcmp(manifest->routes[i].host, route->host) == 0 &&
            strcmp(manifest->routes[i].path, route->path) == 0)
            return &manifest->routes[i];
    return NULL;
}

static int conflict(const struct manifest *mine, const struct manifest *theirs, const char *owner,
                    struct error *err)
{
    for (size_t i = 0; theirs && i < mine->route_count; i++) {
        const struct manifest_route *route = &mine->routes[i];

        if (!find_same(theirs, route))
            continue;
        error_set(err, ERR_CONFLICT, "the route %s%s is taken by app '%s'",
                  route->host[0] ? route->host : "(any host) ", route->path, owner);
        return error_hint(err,
                          "give each app a host name of its own, for example "
                          "`routes: [{host: %s.example.org, service: …}]`",
                          mine->app);
    }
    return 0;
}

int routes_check(const struct platform *platform, const char *app, const struct manifest *manifest,
                 struct error *err)
{
    list_each (node, &platform->apps) {
        const struct app *other = container_of(node, struct app, node);
        const struct release *current = app_current(other);

        if (strcmp(other->name, app) == 0)
            continue;
        int code = current ? conflict(manifest, current->manifest, other->name, err) : 0;
        if (code != 0)
            return code;
        list_each (item, &other->deploys) {
            const struct deploy *deploy = container_of(item, struct deploy, node);
            const struct release *coming = app_release(other, deploy->release);

            if (machine_is_final(deploy->state) || !coming)
                continue;
            code = conflict(manifest, coming->manifest, other->name, err);
            if (code != 0)
                return code;
        }
    }
    return 0;
}

/* ---- the snapshot */

static void add_endpoints(struct snapshot_builder *builder, const struct app *app,
                          const char *service)
{
    list_each (node, &app->instances) {
        const struct instance *instance = container_of(node, struct instance, node);
        char label[NAMES_LABEL_SIZE];
        bool is_draining;

        if (strcmp(instance->service, service) != 0 ||
            !instance_is_published(instance, &is_draining))
            continue;
        snapshot_builder_endpoint(
            builder, instance->unit.id, instance->slot,
            is_draining ? SNAPSHOT_DRAINING : SNAPSHOT_ACTIVE, htonl(INADDR_LOOPBACK),
            instance->port, instance->name,
            names_label(label, app->name, service, instance->release, instance->name, "run"));
    }
}

static uint32_t add_proxy(struct snapshot_builder *builder, const struct app *app,
                          const char *service, uint64_t release)
{
    char label[NAMES_LABEL_SIZE];
    struct snapshot_service_spec spec = {
        .kind = SNAPSHOT_PROXY,
        .app = app->name,
        .name = service,
        .label = names_label(label, app->name, service, release, "", "run"),
        .root = "",
        .release = release,
    };
    uint32_t index = snapshot_builder_service(builder, &spec);

    add_endpoints(builder, app, service);
    return index;
}

static uint32_t add_static(struct snapshot_builder *builder, const struct app *app,
                           const struct manifest_service *service, uint64_t release)
{
    char label[NAMES_LABEL_SIZE], root[NAMES_PATH_SIZE];
    struct snapshot_service_spec spec = {
        .kind = SNAPSHOT_STATIC,
        .app = app->name,
        .name = service->name,
        .label = names_label(label, app->name, service->name, release, "", "run"),
        .root =
            names_path(root, "%s/apps/%s/static/%llu/%s", app->platform->settings.state_directory,
                       app->name, (unsigned long long)release, service->name),
        .is_single_page = service->is_single_page,
        .release = release,
    };
    uint32_t index = snapshot_builder_service(builder, &spec);

    for (size_t i = 0; i < service->header_count; i++)
        snapshot_builder_header(builder, service->headers[i].path, service->headers[i].name,
                                service->headers[i].value);
    for (size_t i = 0; i < service->redirect_count; i++)
        snapshot_builder_redirect(builder, service->redirects[i].from, service->redirects[i].to,
                                  service->redirects[i].status);
    return index;
}

static void add_routes(struct snapshot_builder *builder, const struct manifest *manifest,
                       const char *service, uint32_t index)
{
    for (size_t i = 0; i < manifest->route_count; i++) {
        const struct manifest_route *route = &manifest->routes[i];
        struct snapshot_route numbers = {
            .retries = route->retries,
            .connect_timeout_ms = (uint32_t)MIN(route->connect_timeout_ms, (uint64_t)UINT32_MAX),
            .first_byte_timeout_ms =
                (uint32_t)MIN(route->first_byte_timeout_ms, (uint64_t)UINT32_MAX),
            .idle_timeout_ms = (uint32_t)MIN(route->idle_timeout_ms, (uint64_t)UINT32_MAX),
            .body_limit_bytes = route->body_limit_bytes,
        };

        if (strcmp(route->service, service) == 0)
            snapshot_builder_route(builder, route->host, route->path, index, &numbers);
    }
}

static void add_routed(struct snapshot_builder *builder, const struct app *app,
                       const struct release *release)
{
    const struct manifest *manifest = release->manifest;

    for (size_t i = 0; i < manifest->service_count; i++) {
        const struct manifest_service *service = &manifest->services[i];
        uint32_t index;

        if (service->type == SERVICE_STATIC)
            index = add_static(builder, app, service, release->number);
        else if (service->type == SERVICE_WEB || service->type == SERVICE_PRIVATE)
            index = add_proxy(builder, app, service->name, release->number);
        else
            continue;
        add_routes(builder, manifest, service->name, index);
    }
}

/* What still drains of a service that the routes know no more must be reported drained, too. */
static void add_leftovers(struct snapshot_builder *builder, const struct app *app,
                          const struct release *routed)
{
    list_each (node, &app->instances) {
        const struct instance *instance = container_of(node, struct instance, node);
        const struct manifest_service *service =
            routed ? manifest_service_find(routed->manifest, instance->service) : NULL;
        bool is_draining, is_first = true;

        if ((service && service->type != SERVICE_STATIC) ||
            !instance_is_published(instance, &is_draining))
            continue;
        for (const struct list *earlier = node->previous; earlier != &app->instances;
             earlier = earlier->previous) {
            const struct instance *other =
                (const struct instance *)((uintptr_t)earlier - offsetof(struct instance, node));

            if (strcmp(other->service, instance->service) == 0 &&
                instance_is_published(other, &is_draining))
                is_first = false;
        }
        if (is_first)
            (void)add_proxy(builder, app, instance->service, instance->release);
    }
}

int routes_build(struct platform *platform, uint64_t version, struct buf *ret_block,
                 struct error *err)
{
    CLEANUP(snapshot_builder_freep) struct snapshot_builder *builder = snapshot_builder_new();
    struct snapshot_settings settings = {0};

    snapshot_builder_settings(builder, &settings);
    list_each (node, &platform->apps) {
        const struct app *app = container_of(node, struct app, node);
        const struct release *routed = app_routed(app);

        if (routed && routed->manifest)
            add_routed(builder, app, routed);
        add_leftovers(builder, app, routed && routed->manifest ? routed : NULL);
    }
    return snapshot_builder_finish(builder, version, ret_block, err);
}
