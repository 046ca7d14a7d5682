#include "world.h"

#include "deploy/environment.h"
#include "deploy/routes.h"
#include "net/snapshot.h"

#define SHOP                                                                                       \
    "app: shop\n"                                                                                  \
    "services:\n"                                                                                  \
    "  api: {type: web, start: x, instances: 2}\n"                                                 \
    "  work: {type: worker, start: y}\n"                                                           \
    "  site: {type: static, publish: dist, singlePage: true,\n"                                    \
    "         headers: [{path: '/*', name: X-Test, value: 'yes'}],\n"                              \
    "         redirects: [{from: /old, to: /new, status: 302}]}\n"                                 \
    "routes:\n"                                                                                    \
    "  - {host: shop.example.org, path: /api, service: api}\n"                                     \
    "  - {host: shop.example.org, path: /, service: site}\n"

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

struct built {
    struct buf block;
    struct snapshot snapshot;
};

static void build(struct world *world, struct built *built)
{
    built->block = BUF_INIT(SNAPSHOT_MAX);
    assert_int_equal(routes_build(world->platform, 42, &built->block, &world->err), 0);
    assert_int_equal(
        snapshot_open(built->block.ptr, built->block.len, &built->snapshot, &world->err), 0);
    assert_int_equal(built->snapshot.header->version, 42);
}

static const struct snapshot_service *service_at(const struct built *built, const char *path)
{
    const struct snapshot_route *route =
        snapshot_route_find(&built->snapshot, SLICE("shop.example.org"), slice_from(path));

    return route ? &built->snapshot.services[route->service] : NULL;
}

static void a_live_app_is_routed(void **state)
{
    struct world *world = *state;
    struct built built;

    (void)world_deploy(world, SHOP);
    world_pass(world, 5000);
    build(world, &built);
    const struct snapshot_service *api = service_at(&built, "/api/x");
    assert_non_null(api);
    assert_int_equal(api->kind, SNAPSHOT_PROXY);
    assert_int_equal(api->endpoints.count, 2);
    const struct snapshot_endpoint *endpoint = &built.snapshot.endpoints[api->endpoints.first];
    assert_int_equal(endpoint->state, SNAPSHOT_ACTIVE);
    assert_int_equal(endpoint->port, world_instance(world, "shop", 0)->port);
    assert_int_equal(endpoint->instance, world_instance(world, "shop", 0)->unit.id);
    assert_slice_equal(snapshot_slice(&built.snapshot, endpoint->name), "api-1");
    const struct snapshot_service *site = service_at(&built, "/");
    assert_int_equal(site->kind, SNAPSHOT_STATIC);
    assert_int_equal(site->is_single_page, 1);
    assert_int_equal(site->headers.count, 1);
    assert_int_equal(site->redirects.count, 1);
    assert_true(slice_ends_with(snapshot_slice(&built.snapshot, site->root),
                                SLICE("/apps/shop/static/1/site")));
    buf_done(&built.block);
}

static void nothing_is_routed_before_the_first_release_is_live(void **state)
{
    struct world *world = *state;
    struct built built;

    world->probes_are_good = false;
    (void)world_deploy(world, SHOP);
    world_pass(world, 1000);
    build(world, &built);
    assert_null(service_at(&built, "/api"));
    assert_int_equal(built.snapshot.endpoints_count, 0);
    buf_done(&built.block);
}

static void what_still_drains_of_a_dropped_service_is_told(void **state)
{
    struct world *world = *state;
    struct built built;

    (void)world_deploy(world, SHOP);
    world_pass(world, 5000);
    world->edges_drain = false;
    (void)world_deploy(world, "app: shop\nservices:\n  site: {type: static, publish: dist}\n");
    world_pass(world, 1000);
    assert_int_equal(world_app(world, "shop")->current, 2);
    build(world, &built);
    assert_null(service_at(&built, "/api")->endpoints.count ? service_at(&built, "/api") : NULL);
    assert_int_equal(built.snapshot.endpoints_count, 2);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(built.snapshot.endpoints[i].state, SNAPSHOT_DRAINING);
    buf_done(&built.block);
}

static struct manifest *parse(struct arena *arena, const char *yaml)
{
    struct manifest_findings findings = {0};
    struct manifest *manifest;
    struct error err = {0};

    assert_int_equal(manifest_parse(arena, "slipway.yaml", slice_from(yaml), NULL,
                                    (struct slice){0}, &manifest, &findings, &err),
                     0);
    return manifest;
}

static void two_apps_cannot_have_one_route(void **state)
{
    struct world *world = *state;
    CLEANUP(arena_freep) struct arena *arena = arena_new(16u * 1024 * 1024);

    (void)world_deploy(world, "app: first\nservices:\n  web: {start: x}\n");
    struct manifest *same = parse(arena, "app: second\nservices:\n  web: {start: x}\n");
    struct manifest *other =
        parse(arena,
              "app: second\nservices:\n  web: {start: x}\nroutes: [{host: b.org, service: web}]\n");
    /* On its way counts, too. */
    assert_int_equal(routes_check(world->platform, "second", same, &world->err), ERR_CONFLICT);
    assert_non_null(strstr(world->err.text, "app 'first'"));
    assert_int_equal(routes_check(world->platform, "second", other, &world->err), 0);
    assert_int_equal(routes_check(world->platform, "first", same, &world->err), 0);
    world_pass(world, 3000);
    assert_int_equal(routes_check(world->platform, "second", same, &world->err), ERR_CONFLICT);
}

static void references_are_checked_before_anything_runs(void **state)
{
    struct world *world = *state;
    CLEANUP(arena_freep) struct arena *arena = arena_new(16u * 1024 * 1024);
    struct manifest *good =
        parse(arena, "app: a\nservices:\n  web: {start: x, env: {U: {from: db.url}}}\n"
                     "databases: {db: {type: redis}}\n");

    assert_int_equal(environment_check(good, &world->err), 0);
    struct manifest_environment *variable = &good->services[0].environment[0];
    variable->value = "db.ulr";
    assert_int_equal(environment_check(good, &world->err), ERR_NOT_FOUND);
    assert_non_null(strstr(world->err.text, "services.web.env.U"));
    variable->value = "nobody.url";
    assert_int_equal(environment_check(good, &world->err), ERR_NOT_FOUND);
    variable->value = "nonsense";
    assert_int_equal(environment_check(good, &world->err), ERR_INVALID);
    variable->value = "web.url";
    assert_int_equal(environment_check(good, &world->err), 0);
}

static void one_host_has_one_certificate_whichever_app_says_it(void **state)
{
    struct world *world = *state;
    CLEANUP(arena_freep) struct arena *arena = arena_new(16u * 1024 * 1024);

    (void)world_deploy(world, "app: first\nservices:\n  web: {start: x}\n"
                              "routes: [{host: a.org, service: web, tls: internal}]\n");
    world_pass(world, 5000);
    assert_int_equal(routes_check(world->platform, "second",
                                  parse(arena, "app: second\nservices:\n  web: {start: x}\n"
                                               "routes: [{host: a.org, path: /b, service: web}]\n"),
                                  &world->err),
                     0);
    assert_int_equal(
        routes_check(world->platform, "second",
                     parse(arena, "app: second\nservices:\n  web: {start: x}\n"
                                  "routes: [{host: a.org, path: /b, service: web, tls: acme}]\n"),
                     &world->err),
        ERR_CONFLICT);
    assert_string_equal(world->err.text, "routes[0].tls.mode: app 'first' has another for 'a.org'");
}

static struct slice read_authority(struct platform_port *port, const char *ca)
{
    (void)port;
    assert_string_equal(ca, "/ca.pem");
    return SLICE("-----BEGIN CERTIFICATE-----\n");
}

static void add_tls(struct platform_port *port, struct snapshot_builder *builder)
{
    struct snapshot_host tls = {.is_tls = 1};

    (void)port;
    snapshot_builder_host(builder, "shop.example.org", &tls);
}

static void what_routes_say_of_transport_is_in_the_snapshot(void **state)
{
    struct world *world = *state;
    CLEANUP(arena_freep) struct arena *arena = arena_new(16u * 1024 * 1024);
    const struct snapshot_route *route;
    struct routes_host *hosts;
    struct built built;
    size_t count;

    (void)world_deploy(
        world, "app: shop\n"
               "services:\n  api: {start: x}\n"
               "routes:\n"
               "  - {host: shop.example.org, service: api, tls: {mode: internal, hsts: 1h},\n"
               "     clientCertificate: {ca: /ca.pem}}\n"
               "  - {host: shop.example.org, path: /rpc, service: api,\n"
               "     upstream: {protocol: h2, tls: {ca: /ca.pem, serverName: api.internal}}}\n"
               "  - {host: plain.example.org, service: api, upstream: {proxyProtocol: v2}}\n"
               "edge: {trustedProxies: [10.0.0.0/8], proxyProtocol: [192.0.2.0/24, '::1']}\n");
    world->port.read_authority = read_authority;
    world->port.add_tls = add_tls;
    world_pass(world, 5000);
    build(world, &built);
    route = snapshot_route_find(&built.snapshot, SLICE("shop.example.org"), SLICE("/"));
    assert_slice_equal(snapshot_slice(&built.snapshot, route->transport_security), "max-age=3600");
    assert_int_equal(route->client_certificate, SNAPSHOT_CERTIFICATE_REQUIRED);
    assert_int_equal(route->upstream_tls, 0);
    assert_int_equal(route->trusted_proxies.count, 1);
    assert_int_equal(built.snapshot.networks[route->trusted_proxies.first].prefix_bits, 104);
    route = snapshot_route_find(&built.snapshot, SLICE("shop.example.org"), SLICE("/rpc"));
    assert_slice_equal(snapshot_slice(&built.snapshot, route->transport_security), "max-age=3600");
    assert_int_equal(route->client_certificate, SNAPSHOT_CERTIFICATE_OPTIONAL);
    assert_int_equal(route->upstream_protocol, SNAPSHOT_H2);
    const struct snapshot_upstream_tls *tls = &built.snapshot.upstream_tls[route->upstream_tls - 1];
    assert_slice_equal(snapshot_slice(&built.snapshot, tls->server_name), "api.internal");
    assert_int_equal(tls->ca_pem.len, 28);
    route = snapshot_route_find(&built.snapshot, SLICE("plain.example.org"), SLICE("/"));
    assert_int_equal(route->transport_security.len, 0);
    assert_int_equal(route->upstream_proxy_version, 2);
    assert_int_equal(built.snapshot.settings->proxy_networks.count, 2);
    assert_int_equal(snapshot_host_find(&built.snapshot, SLICE("shop.example.org"))->is_tls, 1);
    routes_hosts(world->platform, arena, &hosts, &count);
    assert_int_equal(count, 1);
    assert_string_equal(hosts[0].host, "shop.example.org");
    assert_string_equal(hosts[0].client->ca, "/ca.pem");
    snapshot_close(&built.snapshot);
    buf_done(&built.block);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_live_app_is_routed),
        T(nothing_is_routed_before_the_first_release_is_live),
        T(what_still_drains_of_a_dropped_service_is_told),
        T(two_apps_cannot_have_one_route),
        T(references_are_checked_before_anything_runs),
        T(one_host_has_one_certificate_whichever_app_says_it),
        T(what_routes_say_of_transport_is_in_the_snapshot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
