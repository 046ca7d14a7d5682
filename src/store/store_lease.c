/* store_lease.c - leases: keys that vanish when nobody says any more that they are wanted.
 *
 * The term is durable, the deadline is not: it lies on the monotonic clock, and after a restart
 * every lease has its full term anew, as the time that control was away is nobody's fault (etcd
 * does the same). An id is never used twice, so that it can serve as a fencing token.
 */
#include "store/store_private.h"

#include "base/clock.h"

#define LEASES_MAX ((size_t)10000)

static struct store_lease *lease_find(struct store *store, uint64_t id)
{
    for (size_t i = 0; i < store->lease_count; i++)
        if (store->leases[i].id == id)
            return &store->leases[i];
    return NULL;
}

static uint64_t due_at(uint64_t ttl_ms)
{
    return clock_monotonic_us() + ttl_ms * 1000;
}

static void lease_add(struct store *store, uint64_t id, uint64_t ttl_ms)
{
    if (store->lease_count == store->lease_capacity) {
        size_t capacity = MAX(store->lease_capacity * 2, (size_t)8);
        struct store_lease *leases = reallocarray(store->leases, capacity, sizeof(*leases));
        if (!leases)
            abort();
        store->leases = leases;
        store->lease_capacity = capacity;
    }
    store->leases[store->lease_count++] = (struct store_lease){id, ttl_ms, due_at(ttl_ms)};
}

int store_lease_load(struct store *store, struct error *err)
{
    CLEANUP(store_statement_resetp)
    sqlite3_stmt *statement = store_statement(store, STATEMENT_LEASE_LIST, err);
    if (!statement)
        return store_failed(err);
    int result;
    while ((result = store_step(store, statement, err)) == 1)
        lease_add(store, store_column_u64(statement, 0), store_column_u64(statement, 1));
    return result;
}

static int grant_run(struct store *store, void *argument, struct error *err)
{
    const struct store_lease *lease = argument;
    int result = store_meta_put(store, "last_lease", lease->id, err);
    CLEANUP(store_statement_resetp)
    sqlite3_stmt *statement = result == 0 ? store_statement(store, STATEMENT_LEASE_PUT, err) : NULL;
    if (!statement)
        return store_failed(err);
    store_bind_u64(statement, 1, lease->id);
    store_bind_u64(statement, 2, lease->ttl_ms);
    return store_step(store, statement, err);
}

int store_lease_grant(struct store *store, uint64_t ttl_ms, uint64_t *ret_lease, struct error *err)
{
    struct error ignored;
    if (!err)
        err = &ignored;
    if (ttl_ms == 0 || ttl_ms > (uint64_t)365 * 86400 * 1000)
        return error_set(err, ERR_INVALID, "the term of a lease lies between 1 ms and a year");
    if (store->lease_count == LEASES_MAX)
        return error_set(err, ERR_LIMIT, "there are %zu leases already", LEASES_MAX);
    struct store_lease lease = {.id = store->last_lease + 1, .ttl_ms = ttl_ms};
    int result = store_atomically(store, grant_run, &lease, err);
    if (result != 0)
        return result;
    store->last_lease = lease.id;
    lease_add(store, lease.id, ttl_ms);
    *ret_lease = lease.id;
    return 0;
}

static int lease_unknown(uint64_t id, struct error *err)
{
    return error_set(err, ERR_NOT_FOUND, "lease %llu has ended", (unsigned long long)id);
}

int store_lease_keepalive(struct store *store, uint64_t lease, struct error *err)
{
    struct store_lease *found = lease_find(store, lease);
    if (!found || found->due_at_us <= clock_monotonic_us())
        return lease_unknown(lease, err);
    found->due_at_us = due_at(found->ttl_ms);
    return 0;
}

static int revoke_run(struct store *store, void *argument, struct error *err)
{
    uint64_t lease = *(const uint64_t *)argument;
    int result = store_delete_lease_keys(store, lease, err);
    if (result != 0)
        return result;
    CLEANUP(store_statement_resetp)
    sqlite3_stmt *statement = store_statement(store, STATEMENT_LEASE_DELETE, err);
    if (!statement)
        return store_failed(err);
    store_bind_u64(statement, 1, lease);
    return store_step(store, statement, err);
}

int store_lease_revoke(struct store *store, uint64_t lease, struct error *err)
{
    struct error ignored;
    if (!err)
        err = &ignored;
    struct store_lease *found = lease_find(store, lease);
    if (!found)
        return lease_unknown(lease, err);
    int result = store_atomically(store, revoke_run, &lease, err);
    if (result != 0)
        return result;
    *found = store->leases[--store->lease_count];
    return 0;
}

uint64_t store_lease_expire(struct store *store, struct error *err)
{
    struct error ignored;
    if (!err)
        err = &ignored;
    error_clear(err);
    uint64_t now_us = clock_monotonic_us(), next_us = UINT64_MAX;
    for (size_t i = 0; i < store->lease_count;) {
        struct store_lease *lease = &store->leases[i];
        if (lease->due_at_us > now_us) {
            next_us = MIN(next_us, lease->due_at_us);
            i++;
        } else if (store_lease_revoke(store, lease->id, err) != 0) {
            return now_us + 1000000; /* the disk may have room again by then; the lease stays ended
                                        for its holder */
        }
    }
    return next_us;
}
