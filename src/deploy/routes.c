#include "deploy/routes.h"
#include "base/log.h"
#include "base/network.h"
#include "deploy/deploy.h"
#include "deploy/instance.h"
#include "net/snapshot.h"
#include <arpa/inet.h>

#define HOSTS_MAX       ((size_t)PLATFORM_APPS_MAX * 500) /* routes of all apps */
#define HOSTS_BYTES_MAX (HOSTS_MAX * (sizeof(struct routes_host) + 64))

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

/* Routes of one host may be of several apps; what they say of TLS must be the same. */
static int tls_conflict(const struct manifest *mine, const struct manifest *theirs,
                        const char *owner, struct error *err)
{
    for (size_t i = 0; i < mine->route_count; i++) {
        const struct manifest_route *route = &mine->routes[i];

        for (size_t k = 0; theirs && k < theirs->route_count; k++) {
            const struct manifest_route *other = &theirs->routes[k];
            const struct manifest_client_certificate *a = &route->client_certificate,
                                                     *b = &other->client_certificate;
            const char *key = NULL;

            if (strcmp(route->host, other->host) != 0)
                continue;
            if (route->tls.is_given && other->tls.is_given)
                key = manifest_tls_difference(&route->tls, &other->tls);
            if (key)
                error_set(err, ERR_CONFLICT, "routes[%zu].tls.%s: app '%s' has another for '%s'", i,
                          key, owner, manifest_host_text(route->host));
            else if (a->is_given && b->is_given && strcmp(a->ca, b->ca) != 0)
                error_set(err, ERR_CONFLICT,
                          "routes[%zu].clientCertificate.ca: app '%s' has another for '%s'", i,
                          owner, manifest_host_text(route->host));
            else
                continue;
            return error_hint(err, "a host has one certificate and one set of TLS settings: write "
                                   "the same in both, or leave it out in one");
        }
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
        if (code == 0 && current)
            code = tls_conflict(manifest, current->manifest, other->name, err);
        if (code != 0)
            return code;
        list_each (item, &other->deploys) {
            const struct deploy *deploy = container_of(item, struct deploy, node);
            const struct release *coming = app_release(other, deploy->release);

            if (machine_is_final(deploy->state) || !coming)
                continue;
            code = conflict(manifest, coming->manifest, other->name, err);
            if (code == 0)
                code = tls_conflict(manifest, coming->manifest, other->name, err);
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

/* ---- routes */

/* What the routes of one snapshot share. */
struct routes {
    struct platform *platform;
    struct snapshot_builder *builder;
    const struct map *tls;                 /* host → struct routes_host */
    struct snapshot_range trusted_proxies; /* of the app at hand */
};

static uint32_t add_upstream_tls(const struct routes *routes, const struct manifest_route *route)
{
    const struct manifest_upstream_tls *tls = &route->upstream.tls;
    struct platform_port *port = routes->platform->port;
    struct slice ca = {0};

    if (!tls->is_given)
        return 0;
    if (tls->ca && port->read_authority)
        ca = port->read_authority(port, tls->ca);
    return snapshot_builder_upstream_tls(
        routes->builder, tls->server_name ? tls->server_name : "localhost", ca, !tls->is_verified);
}

static const struct manifest_tls *tls_of(const struct routes *routes,
                                         const struct manifest_route *route)
{
    const struct routes_host *host;

    if (route->tls.is_given)
        return route->tls.mode == MANIFEST_TLS_OFF ? NULL : &route->tls;
    host = map_get(routes->tls, slice_from(route->host));
    return host ? host->tls : NULL;
}

static void add_transport_security(const struct routes *routes, const struct manifest_route *route)
{
    const struct manifest_tls *tls = tls_of(routes, route);
    char value[96];

    if (!tls || !tls->hsts.is_given)
        return;
    (void)snprintf(value, sizeof value, "max-age=%llu%s%s",
                   (unsigned long long)tls->hsts.max_age_ms / 1000,
                   tls->hsts.is_subdomains ? "; includeSubDomains" : "",
                   tls->hsts.is_preload ? "; preload" : "");
    snapshot_builder_transport_security(routes->builder, route->host, route->path, value);
}

static void add_routes(const struct routes *routes, const struct manifest *manifest,
                       const char *service, uint32_t index)
{
    for (size_t i = 0; i < manifest->route_count; i++) {
        const struct manifest_route *route = &manifest->routes[i];
        const struct manifest_client_certificate *client = &route->client_certificate;
        struct snapshot_route numbers = {
            .retries = route->retries,
            .connect_timeout_ms = (uint32_t)MIN(route->connect_timeout_ms, (uint64_t)UINT32_MAX),
            .first_byte_timeout_ms =
                (uint32_t)MIN(route->first_byte_timeout_ms, (uint64_t)UINT32_MAX),
            .idle_timeout_ms = (uint32_t)MIN(route->idle_timeout_ms, (uint64_t)UINT32_MAX),
            .body_limit_bytes = route->body_limit_bytes,
            .client_certificate = client->is_given && client->is_required
                                      ? SNAPSHOT_CERTIFICATE_REQUIRED
                                      : SNAPSHOT_CERTIFICATE_OPTIONAL,
            .upstream_protocol =
                route->upstream.protocol == UPSTREAM_H2 ? SNAPSHOT_H2 : SNAPSHOT_HTTP1,
            .upstream_proxy_version = route->upstream.proxy_protocol,
            .trusted_proxies = routes->trusted_proxies,
        };

        if (strcmp(route->service, service) != 0)
            continue;
        numbers.upstream_tls = add_upstream_tls(routes, route);
        snapshot_builder_route(routes->builder, route->host, route->path, index, &numbers);
        add_transport_security(routes, route);
    }
}

static size_t read_networks(const struct manifest_network *networks, size_t count,
                            struct snapshot_network *ret_networks)
{
    size_t read = 0;

    for (size_t i = 0; i < count; i++) {
        struct network network;

        if (network_parse(slice_from(networks[i].text), &network) != 0)
            continue; /* the manifest was checked */
        memcpy(ret_networks[read].address, network.address, sizeof network.address);
        ret_networks[read++].prefix_bits = network.prefix_bits;
    }
    return read;
}

static void add_routed(struct routes *routes, const struct app *app, const struct release *release)
{
    const struct manifest *manifest = release->manifest;
    struct snapshot_network trusted[64] = {0};
    size_t trusted_count =
        read_networks(manifest->edge.trusted_proxies,
                      MIN(manifest->edge.trusted_proxy_count, ARRAY_LEN(trusted)), trusted);

    routes->trusted_proxies = snapshot_builder_networks(routes->builder, trusted, trusted_count);
    for (size_t i = 0; i < manifest->service_count; i++) {
        const struct manifest_service *service = &manifest->services[i];
        uint32_t index;

        if (service->type == SERVICE_STATIC)
            index = add_static(routes->builder, app, service, release->number);
        else if (service->type == SERVICE_WEB || service->type == SERVICE_PRIVATE)
            index = add_proxy(routes->builder, app, service->name, release->number);
        else
            continue;
        add_routes(routes, manifest, service->name, index);
    }
}

/* The load balancers of all apps stand before the one machine. */
static struct snapshot_range add_proxy_networks(const struct routes *routes)
{
    struct snapshot_range all = {0};

    list_each (node, &routes->platform->apps) {
        const struct app *app = container_of(node, struct app, node);
        const struct release *routed = app_routed(app);
        struct snapshot_network networks[64] = {0};
        struct snapshot_range range;

        if (!routed || !routed->manifest)
            continue;
        range = snapshot_builder_networks(
            routes->builder, networks,
            read_networks(routed->manifest->edge.proxy_protocol,
                          MIN(routed->manifest->edge.proxy_protocol_count, ARRAY_LEN(networks)),
                          networks));
        all.first = all.count ? all.first : range.first;
        all.count += range.count;
    }
    return all;
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

/* ---- hosts with TLS */

static int host_compare(const void *left, const void *right)
{
    const struct routes_host *a = left, *b = right;

    return strcmp(a->host, b->host);
}

static void host_add(struct map *known, struct arena *arena, const struct app *app,
                     const struct manifest *manifest, const struct manifest_route *route)
{
    struct routes_host *host = map_get(known, slice_from(route->host));

    if (!route->tls.is_given && !route->client_certificate.is_given)
        return;
    if (!host) {
        host = arena_new_of(arena, struct routes_host);
        host->host = route->host;
        if (map_put(known, slice_from(route->host), host) != 0)
            return;
    }
    if (route->client_certificate.is_given && !host->client)
        host->client = &route->client_certificate;
    if (!route->tls.is_given || route->tls.mode == MANIFEST_TLS_OFF || host->tls)
        return;
    host->tls = &route->tls;
    host->app = app;
    host->manifest = manifest;
}

static void hosts_gather(const struct platform *platform, struct arena *arena, struct map *known)
{
    list_each (node, &platform->apps) {
        const struct app *app = container_of(node, struct app, node);
        const struct release *routed = app_routed(app);

        for (size_t i = 0; routed && routed->manifest && i < routed->manifest->route_count; i++)
            host_add(known, arena, app, routed->manifest, &routed->manifest->routes[i]);
    }
}

void routes_hosts(const struct platform *platform, struct arena *arena,
                  struct routes_host **ret_hosts, size_t *ret_count)
{
    CLEANUP(map_freep) struct map *known = map_new(HOSTS_MAX);
    struct routes_host *hosts;
    size_t count = 0, cursor = 0;
    struct slice key;
    void *value;

    hosts_gather(platform, arena, known);
    hosts = arena_array_of(arena, struct routes_host, MAX(map_count(known), (size_t)1));
    while (map_next(known, &cursor, &key, &value)) {
        const struct routes_host *host = value;

        if (host->tls)
            hosts[count++] = *host;
    }
    qsort(hosts, count, sizeof *hosts, host_compare);
    *ret_hosts = hosts;
    *ret_count = count;
}

/* ---- the whole */

int routes_build(struct platform *platform, uint64_t version, struct buf *ret_block,
                 struct error *err)
{
    CLEANUP(snapshot_builder_freep) struct snapshot_builder *builder = snapshot_builder_new();
    CLEANUP(arena_freep) struct arena *arena = arena_new(HOSTS_BYTES_MAX);
    CLEANUP(map_freep) struct map *known = map_new(HOSTS_MAX);
    struct routes routes = {.platform = platform, .builder = builder, .tls = known};
    struct snapshot_settings settings = {0};

    hosts_gather(platform, arena, known);
    settings.proxy_networks = add_proxy_networks(&routes);
    snapshot_builder_settings(builder, &settings);
    list_each (node, &platform->apps) {
        const struct app *app = container_of(node, struct app, node);
        const struct release *routed = app_routed(app);

        if (routed && routed->manifest)
            add_routed(&routes, app, routed);
        add_leftovers(builder, app, routed && routed->manifest ? routed : NULL);
    }
    if (platform->port->add_tls)
        platform->port->add_tls(platform->port, builder);
    return snapshot_builder_finish(builder, version, ret_block, err);
}
