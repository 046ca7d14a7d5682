/* table.c - snapshots: map, check, compile, and the swap between two loop turns. */
#include "edge/edge_private.h"
#include "os/memory.h"
#include <stdlib.h>

static struct table *table_new(void)
{
    struct table *table = calloc(1, sizeof(*table));

    if (!table)
        abort();
    table->references = 1;
    return table;
}

struct table *table_ref(struct table *table)
{
    table->references++;
    return table;
}

void table_unref(struct table *table)
{
    if (!table || --table->references > 0)
        return;
    for (uint32_t i = 0; table->services && i < table->snapshot.services_count; i++)
        static_site_close(table->services[i].site);
    free(table->services);
    free(table->endpoints);
    table_tls_done(table);
    opening_release(table);
    snapshot_close(&table->snapshot);
    if (table->base)
        memory_unmap(table->base, table->size);
    free(table);
}

static void *array_new(size_t count, size_t size)
{
    void *array = calloc(count ? count : 1, size);

    if (!array)
        abort();
    return array;
}

static void table_compile(struct edge *edge, struct table *table)
{
    const struct snapshot *snapshot = &table->snapshot;

    table->services = array_new(snapshot->services_count, sizeof(*table->services));
    table->endpoints = array_new(snapshot->endpoints_count, sizeof(struct endpoint *));
    for (uint32_t i = 0; i < snapshot->services_count; i++) {
        struct service *service = &table->services[i];
        struct error err = {0};

        service->spec = &snapshot->services[i];
        service->label = snapshot_slice(snapshot, service->spec->label);
        service->endpoints = table->endpoints + service->spec->endpoints.first;
        service->endpoint_count = service->spec->endpoints.count;
        if (service->spec->kind == SNAPSHOT_STATIC &&
            static_site_open(edge->statics, snapshot, service->spec, &service->site, &err) != 0)
            log_failure(&err, "site " SLICE_FORMAT " cannot be served",
                        SLICE_ARG(snapshot_slice(snapshot, service->spec->name)));
    }
}

int table_open(struct edge *edge, int fd, struct table **ret_table, struct error *err)
{
    struct table *table = table_new();
    int code = memory_map(fd, false, true, &table->base, &table->size, err);

    if (code == 0)
        code = snapshot_open(table->base, table->size, &table->snapshot, err);
    if (code == 0 && table->snapshot.header->version == 0)
        code = error_set(err, ERR_INVALID, "snapshot version is 0");
    if (code != 0) {
        table_unref(table);
        return code;
    }
    table_compile(edge, table);
    opening_compile(edge, table);
    *ret_table = table;
    return 0;
}

bool table_compile_step(struct table *table, uint64_t budget_us)
{
    return table_tls_step(table, clock_monotonic_us() + budget_us);
}

static void settings_adopt(struct edge *edge, const struct snapshot_settings *given)
{
    struct snapshot_settings *settings = &edge->settings;

    if (given)
        *settings = *given;
#define DEFAULT(field, value) settings->field = settings->field ? settings->field : (value)
    DEFAULT(header_timeout_ms, 15000);
    DEFAULT(body_idle_timeout_ms, 60000);
    DEFAULT(keepalive_timeout_ms, 75000);
    DEFAULT(send_timeout_ms, 60000);
    DEFAULT(upstream_keepalive_ms, 4000);
    DEFAULT(header_limit_bytes, 65536);
    DEFAULT(header_limit_count, 100);
    DEFAULT(handshake_timeout_ms, 10000);
    DEFAULT(http2_streams, 100);
#undef DEFAULT
    edge->limits = HTTP1_LIMITS_DEFAULT;
    edge->limits.head_bytes = MIN(settings->header_limit_bytes, BLOCK_BYTES - EDGE_ADDED_MAX);
    edge->limits.target_bytes = MIN(edge->limits.target_bytes, edge->limits.head_bytes);
    edge->limits.field_count = MIN(settings->header_limit_count, (uint32_t)HTTP1_FIELDS_MAX);
    edge->upstream_limits = (struct http1_limits){
        .head_bytes = 65536, .target_bytes = 0, .field_count = HTTP1_FIELDS_MAX};
    listener_limits(edge);
}

/* Endpoints of the new table are found or made first; whoever is left over leaves. */
static void endpoints_adopt(struct edge *edge, struct table *table)
{
    const struct snapshot *snapshot = &table->snapshot;

    list_each (node, &edge->endpoints)
        container_of(node, struct endpoint, node)->is_listed = false;
    for (uint32_t i = 0; i < snapshot->endpoints_count; i++) {
        const struct snapshot_endpoint *spec = &snapshot->endpoints[i];
        struct endpoint *endpoint = endpoint_find(edge, spec->instance);

        if (!endpoint)
            endpoint = endpoint_new(edge, snapshot, spec);
        endpoint->is_listed = true;
        table->endpoints[i] = endpoint;
    }
    list_each_safe (node, &edge->endpoints) {
        struct endpoint *endpoint = container_of(node, struct endpoint, node);

        if (!endpoint->is_listed)
            endpoint_unlist(endpoint);
    }
    for (uint32_t i = 0; i < snapshot->endpoints_count; i++)
        endpoint_update(table->endpoints[i], snapshot, &snapshot->endpoints[i]);
}

void table_adopt(struct edge *edge, struct table *table)
{
    struct table *before = edge->table;

    edge->table = table;
    if (!table) {
        settings_adopt(edge, NULL);
        return;
    }
    settings_adopt(edge, table->snapshot.settings);
    endpoints_adopt(edge, table);
    __atomic_store_n(&edge->counters->snapshot_version, table->snapshot.header->version,
                     __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < table->snapshot.endpoints_count; i++)
        if (table->endpoints[i]->state == SNAPSHOT_DRAINING)
            upstream_close_idle(table->endpoints[i]);
    table_unref(before);
    handshake_look_again(edge);
}
