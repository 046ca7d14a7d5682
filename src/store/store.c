/* store.c - opening, closing and reading. Design: docs/design/store.md. */
#include "store/store.h"

#include "store/store_private.h"

/* A row of the largest size, its key and the arena's slack. */
#define EVENT_BYTES_MAX ((size_t)STORE_VALUE_MAX + 64 * 1024)

int store_open(const char *directory, struct store **ret_store, struct error *err)
{
    struct error ignored;
    if (!err)
        err = &ignored;
    CLEANUP(store_closep) struct store *store = calloc(1, sizeof(*store));
    if (!store || asprintf(&store->path, "%s/state.db", directory) < 0)
        abort();
    store->lock_fd = -1;
    list_init(&store->watches);
    store->event_arena = arena_new(EVENT_BYTES_MAX);
    int result = store_file_open(store, directory, err);
    if (result == 0)
        result = store_lease_load(store, err);
    if (result != 0)
        return result;
    *ret_store = TAKE_PTR(store);
    return 0;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    list_each_safe (node, &store->watches)
        list_remove(node);
    store_file_close(store);
    arena_free(store->event_arena);
    free(store->leases);
    free(store->path);
    free(store);
}

void store_closep(struct store **store)
{
    store_close(*store);
    *store = NULL;
}

uint64_t store_revision(const struct store *store)
{
    return store->revision;
}

int store_get(struct store *store, const char *key, struct arena *arena,
              struct store_entry *ret_entry, struct error *err)
{
    struct error ignored;
    if (!err)
        err = &ignored;
    CLEANUP(store_statement_resetp)
    sqlite3_stmt *statement = store_statement(store, STATEMENT_GET, err);
    if (!statement)
        return store_failed(err);
    store_bind_slice(statement, 1, slice_from(key));
    int result = store_step(store, statement, err);
    if (result < 0)
        return result;
    if (result == 0)
        return error_set(err, ERR_NOT_FOUND, "there is no '%s' in the state", key);
    return store_entry_read(statement, arena, ret_entry, err);
}

static int range_count(struct store *store, struct slice first, struct slice end,
                       uint64_t *ret_count, struct error *err)
{
    CLEANUP(store_statement_resetp)
    sqlite3_stmt *statement = store_statement(store, STATEMENT_RANGE_COUNT, err);
    if (!statement)
        return store_failed(err);
    store_bind_slice(statement, 1, first);
    store_bind_slice(statement, 2, end);
    int result = store_step(store, statement, err);
    if (result < 0)
        return result;
    *ret_count = store_column_u64(statement, 0);
    return 0;
}

int store_range(struct store *store, const char *prefix, size_t limit, struct arena *arena,
                struct store_entry **ret_entries, size_t *ret_count, struct error *err)
{
    struct error ignored;
    if (!err)
        err = &ignored;
    char end_bytes[STORE_KEY_MAX + 1];
    struct slice first = slice_from(prefix), end = store_prefix_end(first, end_bytes);
    uint64_t count = 0;
    int result = range_count(store, first, end, &count, err);
    if (result != 0)
        return result;
    if (limit && count > limit)
        count = limit;
    struct store_entry *entries = arena_try(arena, MAX(count, (uint64_t)1) * sizeof(*entries));
    if (!entries)
        return error_set(err, ERR_LIMIT, "the answer is too large: %llu keys below '%s'",
                         (unsigned long long)count, prefix);
    CLEANUP(store_statement_resetp)
    sqlite3_stmt *statement = store_statement(store, STATEMENT_RANGE, err);
    if (!statement)
        return store_failed(err);
    store_bind_slice(statement, 1, first);
    store_bind_slice(statement, 2, end);
    store_bind_u64(statement, 3, count);
    size_t found = 0;
    while (found < count && (result = store_step(store, statement, err)) == 1) {
        result = store_entry_read(statement, arena, &entries[found], err);
        if (result != 0)
            return result;
        found++;
    }
    if (result < 0)
        return result;
    *ret_entries = entries;
    *ret_count = found;
    return 0;
}
