/* check_routes.c - which requests go where: services that exist, no two routes alike, and the one
 * route that nobody wrote. */
#include "config/check_private.h"

#include "config/value_private.h"

static void default_routes(struct check *check)
{
    struct manifest *manifest = check->manifest;
    const struct manifest_service *only = NULL;
    size_t count = 0;
    for (size_t i = 0; i < manifest->service_count; i++) {
        if (!check_takes_requests(&manifest->services[i]))
            continue;
        only = &manifest->services[i];
        count++;
    }
    if (count > 1)
        check_report(
            check, FINDING_ERROR,
            check_position(check_item_node(check->root, "services", only->name)), "routes",
            "write for example: routes: [{path: /api, service: api}, {path: /, service: site}]",
            "%zu services take requests, so 'routes' must say which gets what", count);
    if (count != 1)
        return;
    manifest->routes = arena_new_of(check->arena, struct manifest_route);
    manifest->route_count = 1;
    manifest_walk_defaults(check->arena, SECTION_route, manifest->routes);
    manifest->routes->service = only->name;
}

static void check_route_service(const struct check *check, const struct manifest_route *route,
                                const struct node *node, const char *path)
{
    const struct node *name = node_get(node, "service");
    char suggestion[96];
    if (!route->service || !name_is_valid(slice_from(route->service)))
        return; /* told already */
    const struct manifest_service *service = manifest_service_find(check->manifest, route->service);
    struct position at = name ? name->at : check_position(node);
    path = arena_printf(check->arena, "%s.service", path);
    if (!service)
        check_report(check, FINDING_ERROR, at, path,
                     check_suggest(check, route->service, true, false, suggestion),
                     "there is no service '%s'", route->service);
    else if (!check_takes_requests(service) && service->type != SERVICE_CRON)
        check_report(check, FINDING_ERROR, at, path,
                     "a route leads to a service of type web or static",
                     "service '%s' is of type %s and takes no requests from outside",
                     route->service, service_type_name(service->type));
}

static void check_each_route(const struct check *check)
{
    const struct manifest *manifest = check->manifest;
    for (size_t i = 0; i < manifest->route_count; i++) {
        const struct manifest_route *route = &manifest->routes[i];
        const struct node *node = check_list_node(check->root, "routes", i);
        const char *path = arena_printf(check->arena, "routes[%zu]", i);
        check_route_service(check, route, node, path);
        for (size_t k = 0; route->host && route->path && k < i; k++) {
            const struct manifest_route *other = &manifest->routes[k];
            if (!other->host || !other->path || strcmp(other->host, route->host) != 0 ||
                strcmp(other->path, route->path) != 0)
                continue;
            check_report(check, FINDING_ERROR, check_position(node), path, NULL,
                         "the host and path are those of routes[%zu] in line %u already", k,
                         check_list_node(check->root, "routes", k)->at.line);
            break;
        }
    }
}

/* Only when someone wrote routes: a service that none leads to is likely forgotten. */
static void check_unreached(const struct check *check)
{
    const struct manifest *manifest = check->manifest;
    for (size_t i = 0; i < manifest->service_count; i++) {
        const struct manifest_service *service = &manifest->services[i];
        bool is_reached = !check_takes_requests(service);
        for (size_t k = 0; k < manifest->route_count && !is_reached; k++)
            is_reached = manifest->routes[k].service &&
                         strcmp(manifest->routes[k].service, service->name) == 0;
        if (!is_reached)
            check_report(check, FINDING_WARNING,
                         check_position(check_item_node(check->root, "services", service->name)),
                         arena_printf(check->arena, "services.%.64s", service->name),
                         "add a route, or use type private", "no route leads to '%.64s'",
                         service->name);
    }
}

void check_routes(struct check *check)
{
    if (check->manifest->route_count == 0) {
        default_routes(check);
        return;
    }
    check_each_route(check);
    check_unreached(check);
}
