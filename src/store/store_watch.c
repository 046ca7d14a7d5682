/* store_watch.c - watches: every change, in order, once.
 *
 * The table of history is the queue: each watch holds the id of the next row that it has not seen,
 * and dispatch reads rows from the lowest of those on. What was just written lies in SQLite's page
 * cache, so this costs microseconds, and no second copy can overflow, run out of step or be lost.
 * Compaction leaves the rows that a watch has not seen.
 */
#include "store/store_private.h"

static int first_id_of(struct store *store, uint64_t revision, uint64_t *ret_id, struct error *err)
{
    CLEANUP(store_statement_resetp)
    sqlite3_stmt *statement = store_statement(store, STATEMENT_EVENT_FIRST, err);
    if (!statement)
        return store_failed(err);
    store_bind_u64(statement, 1, revision);
    int result = store_step(store, statement, err);
    if (result < 0)
        return result;
    bool is_found = result == 1 && sqlite3_column_type(statement, 0) != SQLITE_NULL;
    *ret_id = is_found ? store_column_u64(statement, 0) : store->last_id + 1;
    return 0;
}

int store_watch_start(struct store *store, struct store_watch *watch, uint64_t from_revision,
                      struct error *err)
{
    struct error ignored;
    if (!err)
        err = &ignored;
    uint64_t next_id = store->last_id + 1;
    if (from_revision && from_revision < store->compacted)
        return error_set(
            err, ERR_LIMIT,
            "changes before revision %llu are compacted away, asked for those from %llu",
            (unsigned long long)store->compacted, (unsigned long long)from_revision);
    if (from_revision) {
        int result = first_id_of(store, from_revision, &next_id, err);
        if (result != 0)
            return result;
    }
    watch->next_id = next_id;
    watch->next_revision = from_revision ? from_revision : store->revision + 1;
    list_push_back(&store->watches, &watch->node);
    return 0;
}

void store_watch_stop(struct store_watch *watch)
{
    if (watch->node.next)
        list_remove(&watch->node);
}

static uint64_t lowest_next_id(const struct store *store)
{
    uint64_t lowest = UINT64_MAX;
    list_each (node, &store->watches)
        lowest = MIN(lowest, container_of(node, struct store_watch, node)->next_id);
    return lowest;
}

bool store_has_events(const struct store *store)
{
    return lowest_next_id(store) <= store->last_id;
}

/* Callbacks may start and stop any watch, so the list is looked through from its head after each.
 */
static struct store_watch *watch_due(struct store *store, uint64_t id)
{
    list_each (node, &store->watches) {
        struct store_watch *watch = container_of(node, struct store_watch, node);
        if (watch->next_id <= id)
            return watch;
    }
    return NULL;
}

/* The first row from `id` on; false: there is none, or it cannot be read now. */
static bool event_read(struct store *store, uint64_t id, struct store_event *ret_event,
                       uint64_t *ret_id)
{
    struct error ignored;
    CLEANUP(store_statement_resetp)
    sqlite3_stmt *statement = store_statement(store, STATEMENT_EVENT, &ignored);
    if (!statement)
        return false;
    store_bind_u64(statement, 1, id);
    if (store_step(store, statement, &ignored) != 1)
        return false;
    arena_clear(store->event_arena);
    *ret_id = store_column_u64(statement, 0);
    ret_event->is_delete = store_column_u64(statement, 6) != 0;
    return store_entry_read(statement, store->event_arena, &ret_event->entry, &ignored) == 0;
}

void store_dispatch(struct store *store)
{
    assert(!store->is_dispatching);
    store->is_dispatching = true;
    for (;;) {
        struct store_event event;
        uint64_t id = lowest_next_id(store);
        if (id > store->last_id || !event_read(store, id, &event, &id))
            break;
        struct store_watch *watch;
        while ((watch = watch_due(store, id))) {
            watch->next_id = id + 1;
            watch->next_revision = event.entry.mod_revision; /* more of it may follow */
            if (slice_starts_with(event.entry.key, slice_from(watch->prefix)))
                watch->on_event(watch, &event);
        }
    }
    arena_clear(store->event_arena);
    store->is_dispatching = false;
}

/* ---- compaction */

#define COMPACT_BATCH ((uint64_t)1000)

struct compaction {
    uint64_t revision, after_id;
    bool is_done;
};

/* One batch a transaction, so that the log stays small and a kill loses only work. */
static int compact_batch(struct store *store, void *argument, struct error *err)
{
    struct compaction *compaction = argument;
    if (store->compacted < compaction->revision) {
        int result = store_meta_put(store, "compacted", compaction->revision, err);
        if (result != 0)
            return result;
    }
    CLEANUP(store_statement_resetp)
    sqlite3_stmt *statement = store_statement(store, STATEMENT_COMPACT, err);
    if (!statement)
        return store_failed(err);
    store_bind_u64(statement, 1, compaction->revision);
    store_bind_u64(statement, 2, compaction->after_id);
    store_bind_u64(statement, 3, COMPACT_BATCH);
    uint64_t count = 0;
    int result;
    while ((result = store_step(store, statement, err)) == 1) {
        compaction->after_id = MAX(compaction->after_id, store_column_u64(statement, 0));
        count++;
    }
    compaction->is_done = count < COMPACT_BATCH;
    return result;
}

int store_compact(struct store *store, uint64_t revision, struct error *err)
{
    struct error ignored;
    if (!err)
        err = &ignored;
    struct compaction compaction = {.revision = MIN(revision, store->revision + 1)};
    list_each (node, &store->watches) {
        const struct store_watch *watch = container_of(node, struct store_watch, node);
        if (watch->next_id <= store->last_id)
            compaction.revision = MIN(compaction.revision, watch->next_revision);
    }
    if (compaction.revision <= store->compacted)
        return 0;
    while (!compaction.is_done) {
        int result = store_atomically(store, compact_batch, &compaction, err);
        if (result != 0)
            return result;
        store->compacted = compaction.revision;
    }
    int result = sqlite3_exec(store->db, "PRAGMA incremental_vacuum", NULL, NULL, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    store_note_sync(store, result);
    sqlite3_db_release_memory(store->db);
    return result == SQLITE_OK ? 0 : store_database_error(store, result, err, "unable to compact");
}
