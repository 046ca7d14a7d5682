/* fuzz_snapshot.c - arbitrary bytes as a routing snapshot: refused, or safe to walk from end to
 * end. */
#include "net/snapshot.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile size_t sink; /* keeps the reads below from being optimised away */

static void read_text(const struct snapshot *view, struct snapshot_text text)
{
    sink += strlen(view->strings + text.offset) + snapshot_slice(view, text).len;
}

static void walk(const struct snapshot *view)
{
    for (uint32_t i = 0; i < view->services_count; i++) {
        const struct snapshot_service *service = &view->services[i];

        read_text(view, service->app);
        read_text(view, service->root);
        for (uint32_t n = 0; n < service->endpoints.count; n++)
            read_text(view, view->endpoints[service->endpoints.first + n].label);
        for (uint32_t n = 0; n < service->headers.count; n++)
            read_text(view, view->headers[service->headers.first + n].value);
        for (uint32_t n = 0; n < service->redirects.count; n++)
            read_text(view, view->redirects[service->redirects.first + n].to);
    }
    for (uint32_t i = 0; i < view->hosts_count; i++) {
        const struct snapshot_host *host = &view->hosts[i];

        for (uint32_t n = 0; n < host->routes.count; n++) {
            const struct snapshot_route *route = &view->routes[host->routes.first + n];
            const struct snapshot_route *found = snapshot_route_find(
                view, snapshot_slice(view, host->name), snapshot_slice(view, route->path));

            for (uint32_t at = 0; at < route->trusted_proxies.count; at++)
                sink += view->networks[route->trusted_proxies.first + at].address[15];
            read_text(view, route->transport_security);
            assert(found && route->service < view->services_count);
        }
    }
    for (uint32_t i = 0; i < view->certificates_count; i++) {
        read_text(view, view->certificates[i].chain_pem);
        read_text(view, view->certificates[i].ocsp_der);
        sink += view->certificates[i].key_id[31];
    }
    for (uint32_t i = 0; i < view->challenges_count; i++)
        read_text(view, view->challenges[i].value);
    for (uint32_t i = 0; i < view->authorities_count; i++)
        read_text(view, view->authorities[i].pem);
    for (uint32_t i = 0; i < view->upstream_tls_count; i++)
        read_text(view, view->upstream_tls[i].ca_pem);
    for (uint32_t i = 0; i < view->settings->proxy_networks.count; i++)
        sink += view->networks[view->settings->proxy_networks.first + i].prefix_bits;
    if (view->settings->ticket_keys.len)
        read_text(view, view->settings->ticket_keys);
    (void)snapshot_host_find(view, SLICE("a.b.example.org"));
    (void)snapshot_route_find(view, SLICE("a.b.example.org"), SLICE("/api/x"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct snapshot view;
    void *copy = malloc(size ? size : 1); /* 8-byte aligned, and its end is watched */

    if (!copy)
        return 0;
    memcpy(copy, data, size);
    if (snapshot_open(copy, size, &view, NULL) == 0) {
        walk(&view);
        snapshot_close(&view);
    }
    free(copy);
    return 0;
}
