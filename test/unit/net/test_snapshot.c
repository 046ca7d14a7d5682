#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/snapshot.h"
#include "net/tls.h"

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
    snapshot_close(&fixture->view);
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
    assert_int_equal(view->hosts_count, 3);
    assert_int_equal(view->routes_count, 5);
    assert_int_equal(view->services_count, 2);
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
            if (snapshot_open(copy, fixture->block.len, &fixture->view, NULL) < 0)
                continue;
            (void)service_at(fixture, "a.example.org", "/api/v1");
            snapshot_close(&fixture->view);
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

/* ---- TLS, networks, upstreams */

static void add_secure(struct fixture *fixture)
{
    static const uint8_t key_id[32] = {1, 2, 3};
    static const struct snapshot_network network = {
        .address = {[10] = 0xff, [11] = 0xff, [12] = 10}, .prefix_bits = 104};
    struct snapshot_range networks = snapshot_builder_networks(fixture->builder, &network, 1);
    struct snapshot_settings settings = {.handshake_timeout_ms = 9000, .proxy_networks = networks};
    struct snapshot_route route = {.trusted_proxies = networks,
                                   .client_certificate = SNAPSHOT_CERTIFICATE_REQUIRED,
                                   .upstream_protocol = SNAPSHOT_H2,
                                   .upstream_proxy_version = 2};
    struct snapshot_host host = {.is_tls = 1, .is_redirected = 1};
    struct slice chain = SLICE("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");

    snapshot_builder_ticket_keys(
        fixture->builder,
        (struct slice){(const char[TLS_TICKET_KEY_BYTES]){0}, TLS_TICKET_KEY_BYTES});
    snapshot_builder_settings(fixture->builder, &settings);
    host.certificate = snapshot_builder_certificate(fixture->builder, "S.example.org", chain,
                                                    SLICE("\0\1\2"), key_id);
    host.client_authority = snapshot_builder_authority(fixture->builder, chain);
    snapshot_builder_host(fixture->builder, "s.Example.org", &host);
    route.upstream_tls =
        snapshot_builder_upstream_tls(fixture->builder, "internal.test", chain, false);
    snapshot_builder_route(fixture->builder, "s.example.org", "/", add_service(fixture, "web"),
                           &route);
    snapshot_builder_transport_security(fixture->builder, "S.example.org", "/", "max-age=60");
    snapshot_builder_challenge(fixture->builder, SNAPSHOT_CHALLENGE_HTTP, "token_1",
                               "token_1.print", 0);
    snapshot_builder_challenge(fixture->builder, SNAPSHOT_CHALLENGE_TLS, "c.example.org", NULL,
                               snapshot_builder_certificate(fixture->builder, "c.example.org",
                                                            chain, (struct slice){0}, key_id));
}

static void what_tls_needs_is_read_back(void **state)
{
    struct fixture *fixture = *state;
    const struct snapshot *view = &fixture->view;
    const struct snapshot_host *host;
    const struct snapshot_route *route;

    add_secure(fixture);
    finish(fixture);
    host = snapshot_host_find(view, SLICE("s.example.org"));
    assert_non_null(host);
    assert_int_equal(host->is_tls, 1);
    assert_int_equal(host->is_redirected, 1);
    assert_int_equal(host->certificate, 1);
    assert_true(slice_eq(snapshot_slice(view, view->certificates[0].name), SLICE("s.example.org")));
    assert_true(slice_eq(snapshot_slice(view, view->certificates[0].ocsp_der), SLICE("\0\1\2")));
    assert_int_equal(view->certificates[0].key_id[2], 3);
    assert_int_equal(host->client_authority, 1);
    route = &view->routes[host->routes.first];
    assert_int_equal(view->networks[route->trusted_proxies.first].prefix_bits, 104);
    assert_true(slice_eq(snapshot_slice(view, route->transport_security), SLICE("max-age=60")));
    assert_true(
        slice_eq(snapshot_slice(view, view->upstream_tls[route->upstream_tls - 1].server_name),
                 SLICE("internal.test")));
    assert_int_equal(view->challenges_count, 2);
    assert_true(slice_eq(snapshot_slice(view, view->challenges[0].value), SLICE("token_1.print")));
    assert_int_equal(view->challenges[1].certificate, 2);
    assert_int_equal(view->settings->handshake_timeout_ms, 9000);
    assert_int_equal(view->settings->ticket_keys.len, TLS_TICKET_KEY_BYTES);
}

static void equal_certificates_and_authorities_are_kept_once(void **state)
{
    struct fixture *fixture = *state;
    const uint8_t one[32] = {1}, two[32] = {2};
    struct slice none = {0};

    assert_int_equal(snapshot_builder_certificate(fixture->builder, "a.org", SLICE("x"), none, one),
                     1);
    assert_int_equal(snapshot_builder_certificate(fixture->builder, "a.org", SLICE("y"), none, one),
                     2);
    assert_int_equal(snapshot_builder_certificate(fixture->builder, "a.org", SLICE("x"), none, one),
                     1);
    assert_int_equal(snapshot_builder_certificate(fixture->builder, "a.org", SLICE("x"), none, two),
                     3);
    assert_int_equal(snapshot_builder_authority(fixture->builder, SLICE("x")), 1);
    assert_int_equal(snapshot_builder_authority(fixture->builder, SLICE("z")), 2);
    assert_int_equal(snapshot_builder_authority(fixture->builder, SLICE("x")), 1);
    finish(fixture);
    assert_int_equal(fixture->view.certificates_count, 3);
    assert_int_equal(fixture->view.authorities_count, 2);
}

static void a_host_is_found_as_its_routes_are(void **state)
{
    struct fixture *fixture = *state;
    uint32_t service = add_service(fixture, "web");

    add_route(fixture, "*.example.org", "/", service);
    add_route(fixture, "example.org", "/only", service);
    finish(fixture);
    assert_non_null(snapshot_host_find(&fixture->view, SLICE("example.org")));
    assert_non_null(snapshot_host_find(&fixture->view, SLICE("a.b.example.org")));
    assert_null(snapshot_host_find(&fixture->view, SLICE("example.net")));
    assert_null(snapshot_host_find(&fixture->view, SLICE("")));
}

static void a_host_without_routes_is_found_and_its_requests_go_by_the_wider_one(void **state)
{
    struct fixture *fixture = *state;
    uint32_t service = add_service(fixture, "web");
    struct snapshot_host first = {.is_tls = 1}, tls = {.is_tls = 1, .is_tls13_only = 1};

    add_route(fixture, "*.example.org", "/", service);
    add_route(fixture, "zoo.example.org", "/", service);
    snapshot_builder_host(fixture->builder, "shop.example.org", &first);
    snapshot_builder_host(fixture->builder, "shop.example.org", &tls);
    snapshot_builder_host(fixture->builder, "zz.example.org", &tls);
    finish(fixture);
    assert_int_equal(fixture->view.hosts_count, 4);
    assert_int_equal(snapshot_host_find(&fixture->view, SLICE("shop.example.org"))->is_tls13_only,
                     1);
    assert_int_equal(snapshot_host_find(&fixture->view, SLICE("x.example.org"))->is_tls, 0);
    assert_int_equal(service_at(fixture, "shop.example.org", "/x"), (int)service);
    assert_int_equal(service_at(fixture, "zz.example.org", "/x"), (int)service);
}

/* ---- blocks of another build */

static void append_padded(struct buf *block, const void *bytes, size_t len, size_t *ret_offset)
{
    while (block->len % 8 != 0)
        buf_append_byte(block, '\0');
    *ret_offset = block->len;
    buf_append(block, bytes, len);
}

/* The fixture's block as a build would lay it out whose elements are `grow` bytes longer (or
 * shorter), which knows `arrays` arrays and `settings_bytes` of settings. */
static void lay_out_foreign(const struct fixture *fixture, int grow, uint32_t arrays,
                            uint32_t settings_bytes, struct buf *block)
{
    const struct snapshot_header *ours = fixture->view.header;
    const struct snapshot_array *specs = (const void *)(fixture->block.ptr + ours->arrays_offset);
    struct snapshot_array theirs[SNAPSHOT_ARRAY_COUNT + 4] = {0};
    struct snapshot_header header = *ours;
    char settings[256] = {0};
    size_t offset;

    assert_true(settings_bytes <= sizeof settings && arrays <= ARRAY_LEN(theirs));
    memset(settings, 0xee, sizeof settings);
    memcpy(settings, fixture->view.settings, MIN(settings_bytes, ours->settings_bytes));
    append_padded(block, &header, sizeof header, &offset);
    append_padded(block, settings, settings_bytes, &offset);
    header.settings_offset = offset;
    header.settings_bytes = settings_bytes;
    for (uint32_t i = 0; i < arrays; i++) {
        uint32_t known = i < SNAPSHOT_ARRAY_COUNT ? specs[i].stride : 24;
        uint32_t stride = grow < 0 && known <= (uint32_t)-grow ? known : known + (uint32_t)grow;

        theirs[i].stride = stride;
        theirs[i].count = i < SNAPSHOT_ARRAY_COUNT ? specs[i].count : 3;
        append_padded(block, "", 0, &offset);
        theirs[i].offset = offset;
        for (uint32_t n = 0; n < theirs[i].count; n++) {
            char element[256];

            memset(element, 0xee, sizeof element); /* what only they know */
            if (i < SNAPSHOT_ARRAY_COUNT)
                memcpy(element, fixture->block.ptr + specs[i].offset + n * known,
                       MIN(known, stride));
            buf_append(block, element, stride);
        }
    }
    append_padded(block, theirs, arrays * sizeof *theirs, &offset);
    header.arrays_offset = offset;
    header.array_count = arrays;
    append_padded(block, fixture->view.strings, ours->strings_len, &offset);
    header.strings_offset = offset;
    header.total_bytes = block->len;
    memcpy(block->ptr, &header, sizeof header);
}

static void a_block_of_a_newer_build_is_read_as_far_as_it_is_known(void **state)
{
    struct fixture *fixture = *state;
    struct buf block CLEANUP(buf_done) = BUF_INIT(SNAPSHOT_MAX);
    struct snapshot view;

    add_secure(fixture);
    finish_full(fixture);
    lay_out_foreign(fixture, 16, SNAPSHOT_ARRAY_COUNT + 4, sizeof(struct snapshot_settings) + 32,
                    &block);
    assert_int_equal(snapshot_open(block.ptr, block.len, &view, &fixture->err), 0);
    assert_int_equal(view.hosts_count, fixture->view.hosts_count);
    assert_memory_equal(view.hosts, fixture->view.hosts, view.hosts_count * sizeof *view.hosts);
    assert_memory_equal(view.routes, fixture->view.routes, view.routes_count * sizeof *view.routes);
    assert_memory_equal(view.certificates, fixture->view.certificates,
                        view.certificates_count * sizeof *view.certificates);
    assert_int_equal(view.settings->handshake_timeout_ms, 9000);
    assert_non_null(snapshot_route_find(&view, SLICE("s.example.org"), SLICE("/")));
    snapshot_close(&view);
}

static void what_a_block_of_an_older_build_lacks_is_zero(void **state)
{
    struct fixture *fixture = *state;
    struct buf block CLEANUP(buf_done) = BUF_INIT(SNAPSHOT_MAX);
    const struct snapshot_route *route;
    struct snapshot view;

    add_secure(fixture);
    finish_full(fixture);
    lay_out_foreign(fixture, -8, SNAPSHOT_ARRAY_headers, 20, &block);
    /* Nothing may refer to the arrays that such a build has not. */
    for (uint32_t i = 0; i < SNAPSHOT_ARRAY_headers; i++) {
        const struct snapshot_header *header = (const void *)block.ptr;
        struct snapshot_array *spec =
            (struct snapshot_array *)(void *)(block.ptr + header->arrays_offset) + i;

        for (uint32_t n = 0; i == SNAPSHOT_ARRAY_hosts && n < spec->count; n++)
            memset(block.ptr + spec->offset + n * spec->stride + 16, 0, spec->stride - 16);
        for (uint32_t n = 0; i == SNAPSHOT_ARRAY_routes && n < spec->count; n++)
            memset(block.ptr + spec->offset + n * spec->stride + 44, 0, spec->stride - 44);
        for (uint32_t n = 0; i == SNAPSHOT_ARRAY_services && n < spec->count; n++)
            memset(block.ptr + spec->offset + n * spec->stride + 48, 0, spec->stride - 48);
    }
    assert_int_equal(snapshot_open(block.ptr, block.len, &view, &fixture->err), 0);
    assert_int_equal(view.certificates_count, 0);
    assert_int_equal(view.settings->handshake_timeout_ms, 0);
    assert_int_equal(view.settings->ticket_keys.len, 0);
    route = snapshot_route_find(&view, SLICE("s.example.org"), SLICE("/"));
    assert_non_null(route);
    assert_int_equal(route->transport_security.len, 0);
    snapshot_close(&view);
}

static void frames_that_make_no_sense_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct snapshot_header *header;
    struct snapshot_array *arrays;

    finish_full(fixture);
    header = (struct snapshot_header *)(void *)fixture->block.ptr;
    arrays = (struct snapshot_array *)(void *)(fixture->block.ptr + header->arrays_offset);
#define refused(field, bad)                                                                        \
    do {                                                                                           \
        __typeof__(field) good_ = (field);                                                         \
        (field) = (__typeof__(field))(bad);                                                        \
        assert_true(snapshot_open(fixture->block.ptr, fixture->block.len, &fixture->view, NULL) <  \
                    0);                                                                            \
        (field) = good_;                                                                           \
    } while (0)
    refused(header->array_count, UINT32_MAX);
    refused(header->arrays_offset, UINT64_MAX - 7);
    refused(header->arrays_offset, header->arrays_offset + 4);
    refused(header->settings_offset, header->total_bytes + 8);
    refused(header->settings_bytes, UINT32_MAX);
    refused(header->strings_len, UINT64_MAX);
    refused(arrays[SNAPSHOT_ARRAY_routes].stride, 0);
    refused(arrays[SNAPSHOT_ARRAY_routes].stride, 12);
    refused(arrays[SNAPSHOT_ARRAY_routes].stride, UINT32_MAX - 7);
    refused(arrays[SNAPSHOT_ARRAY_routes].count, UINT32_MAX);
    refused(arrays[SNAPSHOT_ARRAY_routes].offset, UINT64_MAX - 7);
    refused(arrays[SNAPSHOT_ARRAY_routes].offset, arrays[SNAPSHOT_ARRAY_routes].offset + 4);
    assert_int_equal(snapshot_open(fixture->block.ptr, fixture->block.len, &fixture->view, NULL),
                     0);
#undef refused
}

static void what_tls_needs_is_checked_field_by_field(void **state)
{
    struct fixture *fixture = *state;
    const struct snapshot *view = &fixture->view;

    add_secure(fixture);
    finish(fixture);
#define refused(array, index, field, bad)                                                          \
    do {                                                                                           \
        uint32_t *at_ = (uint32_t *)(uintptr_t)&view->array[index].field, good_ = *at_;            \
        *at_ = (bad);                                                                              \
        assert_int_equal(                                                                          \
            snapshot_open(fixture->block.ptr, fixture->block.len, &fixture->view, NULL),           \
            ERR_INVALID);                                                                          \
        *at_ = good_;                                                                              \
        assert_int_equal(                                                                          \
            snapshot_open(fixture->block.ptr, fixture->block.len, &fixture->view, NULL), 0);       \
    } while (0)
    refused(hosts, 0, certificate, 3);
    refused(hosts, 0, client_authority, 2);
    refused(hosts, 0, is_tls, 2);
    refused(hosts, 0, is_redirected, 2);
    refused(hosts, 0, is_on_demand, 2);
    refused(hosts, 0, is_tls13_only, 2);
    refused(hosts, 0, is_http2_off, 2);
    refused(hosts, 0, is_plain_off, 2);
    refused(routes, 0, client_certificate, 2);
    refused(routes, 0, upstream_protocol, 2);
    refused(routes, 0, upstream_tls, 2);
    refused(routes, 0, upstream_proxy_version, 3);
    refused(routes, 0, trusted_proxies.first, UINT32_MAX);
    refused(routes, 0, trusted_proxies.count, 2);
    refused(routes, 0, transport_security.len, UINT32_MAX);
    refused(certificates, 0, chain_pem.offset, UINT32_MAX);
    refused(certificates, 0, ocsp_der.len, 2); /* no NUL behind it */
    refused(challenges, 0, kind, 2);
    refused(challenges, 0, certificate, 1);
    refused(challenges, 1, certificate, 0);
    refused(challenges, 1, certificate, 3);
    refused(authorities, 0, pem.len, UINT32_MAX);
    refused(networks, 0, prefix_bits, 129);
    refused(upstream_tls, 0, is_unverified, 2);
    refused(upstream_tls, 0, ca_pem.offset, UINT32_MAX);
    refused(settings, 0, proxy_networks.count, 2);
    refused(settings, 0, ticket_keys.len, TLS_TICKET_KEY_BYTES - 1);
#undef refused
}

static void texts_that_could_end_a_header_or_are_no_pem_are_refused(void **state)
{
    struct fixture *fixture = *state;
    const uint8_t id[32] = {0};

    add_route(fixture, "a.org", "/", add_service(fixture, "web"));
    snapshot_builder_transport_security(fixture->builder, "a.org", "/", "a\r\nX: b");
    assert_int_equal(snapshot_builder_finish(fixture->builder, 1, &fixture->block, &fixture->err),
                     ERR_INVALID);
    snapshot_builder_transport_security(fixture->builder, "a.org", "/", "max-age=1");
    assert_int_equal(snapshot_builder_finish(fixture->builder, 1, &fixture->block, &fixture->err),
                     0);
    buf_clear(&fixture->block);
    snapshot_builder_certificate(fixture->builder, "a.org", SLICE("\x01"), (struct slice){0}, id);
    assert_int_equal(snapshot_builder_finish(fixture->builder, 1, &fixture->block, &fixture->err),
                     ERR_INVALID);
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
        T(what_tls_needs_is_read_back),
        T(equal_certificates_and_authorities_are_kept_once),
        T(a_host_is_found_as_its_routes_are),
        T(a_host_without_routes_is_found_and_its_requests_go_by_the_wider_one),
        T(a_block_of_a_newer_build_is_read_as_far_as_it_is_known),
        T(what_a_block_of_an_older_build_lacks_is_zero),
        T(frames_that_make_no_sense_are_refused),
        T(what_tls_needs_is_checked_field_by_field),
        T(texts_that_could_end_a_header_or_are_no_pem_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
