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
    for (uint32_t i = 0; i < view->header->service_count; i++) {
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
    for (uint32_t i = 0; i < view->header->host_count; i++) {
        const struct snapshot_host *host = &view->hosts[i];

        for (uint32_t n = 0; n < host->routes.count; n++) {
            const struct snapshot_route *route = &view->routes[host->routes.first + n];
            const struct snapshot_route *found = snapshot_route_find(
                view, snapshot_slice(view, host->name), snapshot_slice(view, route->path));

            assert(found && route->service < view->header->service_count);
        }
    }
    (void)snapshot_route_find(view, SLICE("a.b.example.org"), SLICE("/api/x"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct snapshot view;
    void *copy = malloc(size ? size : 1); /* 8-byte aligned, and its end is watched */

    if (!copy)
        return 0;
    memcpy(copy, data, size);
    if (snapshot_open(copy, size, &view, NULL) == 0)
        walk(&view);
    free(copy);
    return 0;
}
