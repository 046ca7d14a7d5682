#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/snapshot.h"

struct fixture {
    struct snapshot_builder *builder;
    struct buf block;
    struct snapshot view;
    struct error err;
};

static int fixture_setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    assert_non_null(fixture);
    fixture->builder = snapshot_builder_new();
    fixture->block = BUF_INIT(SNAPSHOT_MAX);
    *state = fixture;
    return 0;
}

static int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;

    snapshot_builder_free(fixture->builder);
    buf_done(&fixture->block);
    free(fixture);
    return 0;
}

static uint32_t add_service(struct fixture *fixture, const char *name)
{
    return snapshot_builder_service(fixture->builder,
                                    &(struct snapshot_service_spec){.kind = SNAPSHOT_PROXY,
                                                                    .app = "shop",
                                                                    .name = name,
                                                                    .label = "shop\x1fweb\x1f"
                                                                             "1\x1f\x1frun"});
}

static void add_endpoint(struct fixture *fixture, uint32_t slot)
{
    snapshot_builder_endpoint(fixture->builder, 100 + slot, slot, SNAPSHOT_ACTIVE,
                              htonl(INADDR_LOOPBACK), 20000 + slot, "web-1",
                              "shop\x1fweb\x1f"
                              "1\x1fweb-1\x1frun");
}

static void add_route(struct fixture *fixture, const char *host, const char *path, uint32_t service)
{
    snapshot_builder_route(fixture->builder, host, path, service,
                           &(struct snapshot_route){.retries = 1});
}

static void finish(struct fixture *fixture)
{
    if (snapshot_builder_finish(fixture->builder, 7, &fixture->block, &fixture->err) < 0)
        fail_msg("%s", fixture->err.text);
    assert_int_equal(
        snapshot_open(fixture->block.ptr, fixture->block.len, &fixture->view, &fixture->err), 0);
}

/* A block with two services, three hosts and all kinds of entries. */
static void finish_full(struct fixture *fixture)
{
    uint32_t api = add_service(fixture, "api"), site;

    add_endpoint(fixture, 0);
    add_endpoint(fixture, 5);
    site = snapshot_builder_service(fixture->builder,
                                    &(struct snapshot_service_spec){.kind = SNAPSHOT_STATIC,
                                                                    .app = "shop",
                                                                    .name = "site",
                                                                    .label = "l",
                                                                    .root = "/srv/site",
                                                                    .is_single_page = true,
                                                                    .release = 3});
    snapshot_builder_header(fixture->builder, "/*", "X-Frame-Options", "DENY");
    snapshot_builder_redirect(fixture->builder, "/old", "/new", 301);
    snapshot_builder_redirect(fixture->builder, "/was/*", "/is/*", 308);
    snapshot_builder_redirect(fixture->builder, "/a", "/b", 200);
    add_route(fixture, "", "/", site);
    add_route(fixture, "Shop.Example.ORG", "/", site);
    add_route(fixture, "shop.example.org", "/api", api);
    add_route(fixture, "shop.example.org", "/api/v1/", site);
    add_route(fixture, "*.example.org", "/deep", api);
    finish(fixture);
}

static int service_at(const struct fixture *fixture, const char *host, const char *path)
{
    const struct snapshot_route *route =
        snapshot_route_find(&fixture->view, slice_from(host), slice_from(path));

    return route ? (int)route->service : -1;
}

static void what_was_built_is_read_back(void **state)
{
    struct fixture *fixture = *state;
    const struct snapshot *view = &fixture->view;

    finish_full(fixture);
    assert_int_equal(view->header->version, 7);
    assert_int_equal(view->header->host_count, 3);
    assert_int_equal(view->header->route_count, 5);
    assert_int_equal(view->header->service_count, 2);
    assert_int_equal(view->services[0].endpoints.count, 2);
    assert_int_equal(view->endpoints[1].slot, 5);
    assert_int_equal(view->endpoints[1].port, 20005);
    assert_true(slice_eq(snapshot_slice(view, view->services[0].name), SLICE("api")));
    assert_true(slice_eq(snapshot_slice(view, view->services[1].root), SLICE("/srv/site")));
    assert_int_equal(view->services[1].redirects.first, 0);
    assert_int_equal(view->services[1].redirects.count, 3);
    assert_int_equal(view->redirects[2].status, 200);
    assert_true(slice_eq(snapshot_slice(view, view->headers[0].value), SLICE("DENY")));
}

static void the_longest_path_of_the_exact_host_wins(void **state)
{
    struct fixture *fixture = *state;

    finish_full(fixture);
    assert_int_equal(service_at(fixture, "shop.example.org", "/"), 1);
    assert_int_equal(service_at(fixture, "shop.example.org", "/api"), 0);
    assert_int_equal(service_at(fixture, "shop.example.org", "/api/x"), 0);
    assert_int_equal(service_at(fixture, "shop.example.org", "/apis"), 1);
    assert_int_equal(service_at(fixture, "shop.example.org", "/api/v1"), 1);
    assert_int_equal(service_at(fixture, "shop.example.org", "/api/v1/x"), 1);
    assert_int_equal(service_at(fixture, "shop.example.org", "/api/v12"), 0);
}

static void a_wildcard_covers_one_or_more_labels_and_not_the_bare_domain(void **state)
{
    struct fixture *fixture = *state;

    finish_full(fixture);
    assert_int_equal(service_at(fixture, "a.example.org", "/deep"), 0);
    assert_int_equal(service_at(fixture, "a.b.example.org", "/deep/x"), 0);
    assert_int_equal(service_at(fixture, "example.org", "/deep"), 1);
    assert_int_equal(service_at(fixture, "badexample.org", "/deep"), 1);
}

static void a_request_that_no_route_of_its_host_takes_goes_to_the_next_wider_host(void **state)
{
    struct fixture *fixture = *state;

    finish_full(fixture);
    assert_int_equal(service_at(fixture, "a.example.org", "/other"), 1);
    assert_int_equal(service_at(fixture, "", "/"), 1);
    assert_int_equal(service_at(fixture, "unknown", "/x"), 1);
}

static void the_most_specific_wildcard_wins(void **state)
{
    struct fixture *fixture = *state;
    uint32_t wide = add_service(fixture, "wide"), narrow = add_service(fixture, "narrow");

    add_route(fixture, "*.example.org", "/", wide);
    add_route(fixture, "*.b.example.org", "/", narrow);
    finish(fixture);
    assert_int_equal(service_at(fixture, "a.b.example.org", "/"), (int)narrow);
    assert_int_equal(service_at(fixture, "b.example.org", "/"), (int)wide);
    assert_int_equal(service_at(fixture, "example.net", "/"), -1);
}

static void every_one_of_many_hosts_is_found(void **state)
{
    struct fixture *fixture = *state;
    char host[32];

    for (int i = 0; i < 500; i++) {
        (void)snprintf(host, sizeof host, "h%d.example.org", i * 7919 % 500);
        add_route(fixture, host, "/", add_service(fixture, "s"));
    }
    finish(fixture);
    for (int i = 0; i < 500; i++) {
        (void)snprintf(host, sizeof host, "h%d.example.org", i * 7919 % 500);
        assert_int_equal(service_at(fixture, host, "/x"), i);
    }
}

static void an_empty_table_has_no_route(void **state)
{
    struct fixture *fixture = *state;

    finish(fixture);
    assert_int_equal(service_at(fixture, "a", "/"), -1);
}

static void two_routes_with_one_host_and_path_are_refused_by_name(void **state)
{
    struct fixture *fixture = *state;
    uint32_t service = add_service(fixture, "api");

    add_route(fixture, "a.org", "/x", service);
    add_route(fixture, "A.org", "/x/", service);
    assert_int_equal(snapshot_builder_finish(fixture->builder, 1, &fixture->block, &fixture->err),
                     ERR_EXISTS);
    assert_non_null(strstr(fixture->err.text, "'a.org' and path '/x'"));
    assert_int_equal(fixture->block.len, 0);
}

static void a_slot_used_twice_is_refused(void **state)
{
    struct fixture *fixture = *state;

    (void)add_service(fixture, "api");
    add_endpoint(fixture, 4);
    add_endpoint(fixture, 4);
    assert_int_equal(snapshot_builder_finish(fixture->builder, 1, &fixture->block, &fixture->err),
                     ERR_INVALID);
    assert_int_equal(fixture->block.len, 0);
}

static void a_header_rule_cannot_smuggle_a_line_end(void **state)
{
    struct fixture *fixture = *state;

    (void)add_service(fixture, "site");
    snapshot_builder_header(fixture->builder, "/*", "X-A", "b\r\nSet-Cookie: c");
    assert_int_equal(snapshot_builder_finish(fixture->builder, 1, &fixture->block, &fixture->err),
                     ERR_INVALID);
}

static void a_block_that_does_not_fit_is_a_limit(void **state)
{
    struct fixture *fixture = *state;

    fixture->block.limit = 300;
    add_route(fixture, "a.org", "/", add_service(fixture, "api"));
    assert_int_equal(snapshot_builder_finish(fixture->builder, 1, &fixture->block, &fixture->err),
                     ERR_LIMIT);
}

static void another_format_version_is_told_apart(void **state)
{
    struct fixture *fixture = *state;

    finish_full(fixture);
    ((struct snapshot_header *)(void *)fixture->block.ptr)->format_version++;
    assert_int_equal(
        snapshot_open(fixture->block.ptr, fixture->block.len, &fixture->view, &fixture->err),
        ERR_VERSION);
}

static void a_block_cut_at_any_byte_is_refused(void **state)
{
    struct fixture *fixture = *state;

    finish_full(fixture);
    for (size_t len = 0; len < fixture->block.len; len++) {
        char *copy = malloc(len + 1);

        assert_non_null(copy);
        memcpy(copy, fixture->block.ptr, len);
        assert_true(snapshot_open(copy, len, &fixture->view, NULL) < 0);
        free(copy);
    }
}

/* Whatever a flipped byte does, the view that is accepted can be walked (the sanitizers watch). */
static void a_block_with_any_flipped_byte_is_refused_or_harmless(void **state)
{
    struct fixture *fixture = *state;
    char *copy;

    finish_full(fixture);
    copy = malloc(fixture->block.len);
    assert_non_null(copy);
    for (size_t at = 0; at < fixture->block.len; at++) {
        for (unsigned flip = 1; flip < 256; flip += flip < 16 ? 5 : 61) {
            memcpy(copy, fixture->block.ptr, fixture->block.len);
            copy[at] = (char)(copy[at] ^ (int)flip);
            if (snapshot_open(copy, fixture->block.len, &fixture->view, NULL) == 0)
                (void)service_at(fixture, "a.example.org", "/api/v1");
        }
    }
    free(copy);
}

static void texts_and_ranges_that_leave_their_region_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct snapshot_service *service;
    struct snapshot_endpoint *endpoint;
    struct snapshot_route *route;

    finish_full(fixture);
    service = (struct snapshot_service *)(uintptr_t)fixture->view.services;
    endpoint = (struct snapshot_endpoint *)(uintptr_t)fixture->view.endpoints;
    route = (struct snapshot_route *)(uintptr_t)fixture->view.routes;
#define refused(field, bad)                                                                        \
    do {                                                                                           \
        __typeof__(field) good_ = (field);                                                         \
        (field) = (__typeof__(field))(bad);                                                        \
        assert_int_equal(                                                                          \
            snapshot_open(fixture->block.ptr, fixture->block.len, &fixture->view, NULL),           \
            ERR_INVALID);                                                                          \
        (field) = good_;                                                                           \
        assert_int_equal(                                                                          \
            snapshot_open(fixture->block.ptr, fixture->block.len, &fixture->view, NULL), 0);       \
    } while (0)
    refused(service->name.offset, UINT32_MAX);
    refused(service->name.len, UINT32_MAX);
    refused(service->name.len, service->name.len - 1); /* no NUL behind it */
    refused(service->endpoints.count, 3);
    refused(service->endpoints.first, 1);
    refused(service->kind, 2);
    refused(endpoint->state, 2);
    refused(endpoint->port, 0);
    refused(endpoint->port, 70000);
    refused(endpoint->slot, 4096);
    refused(endpoint->ipv4, 0);
    refused(endpoint->weight, 1001);
    refused(route->service, 2);
    refused(route->path.len, 0);
#undef refused
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        T(what_was_built_is_read_back),
        T(the_longest_path_of_the_exact_host_wins),
        T(a_wildcard_covers_one_or_more_labels_and_not_the_bare_domain),
        T(a_request_that_no_route_of_its_host_takes_goes_to_the_next_wider_host),
        T(the_most_specific_wildcard_wins),
        T(every_one_of_many_hosts_is_found),
        T(an_empty_table_has_no_route),
        T(two_routes_with_one_host_and_path_are_refused_by_name),
        T(a_slot_used_twice_is_refused),
        T(a_header_rule_cannot_smuggle_a_line_end),
        T(a_block_that_does_not_fit_is_a_limit),
        T(another_format_version_is_told_apart),
        T(a_block_cut_at_any_byte_is_refused),
        T(a_block_with_any_flipped_byte_is_refused_or_harmless),
        T(texts_and_ranges_that_leave_their_region_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
