/* store_transaction.c - changes: collected in memory, checked, then written as one revision within
 * one SQLite transaction.
 *
 * Operations apply in the order they were added, so a delete_prefix followed by puts replaces a
 * subtree. An operation that changes nothing (deleting what is absent) makes no event; a
 * transaction of such only takes no revision.
 */
#include "store/store_private.h"

#include "base/text.h"

#define TRANSACTION_BYTES_MAX ((size_t)16 * 1024 * 1024)

enum operation_kind {
    OPERATION_COMPARE,
    OPERATION_COMPARE_LEASE,
    OPERATION_PUT,
    OPERATION_DELETE,
    OPERATION_DELETE_PREFIX
};

struct operation {
    struct operation *next;
    enum operation_kind kind;
    struct slice key, value;
    uint64_t number; /* the revision or lease to compare with, or the lease to put with */
};

struct store_transaction {
    struct arena *arena;
    struct operation *first, **end;
    size_t count;
    struct error failure; /* the first mistake in building it; commit returns it */
};

struct store_transaction *store_transaction_new(void)
{
    struct store_transaction *transaction = calloc(1, sizeof(*transaction));
    if (!transaction)
        abort();
    transaction->arena = arena_new(TRANSACTION_BYTES_MAX);
    transaction->end = &transaction->first;
    return transaction;
}

void store_transaction_freep(struct store_transaction **transaction)
{
    if (!*transaction)
        return;
    arena_free((*transaction)->arena);
    free(*transaction);
    *transaction = NULL;
}

static bool key_is_valid(struct slice key)
{
    if (key.len == 0 || !text_is_utf8(key))
        return false;
    for (size_t i = 0; i < key.len; i++)
        if ((unsigned char)key.ptr[i] < 0x20 || key.ptr[i] == 0x7f)
            return false;
    return true;
}

static void operation_add(struct store_transaction *transaction, enum operation_kind kind,
                          const char *key, struct slice value, uint64_t number)
{
    struct slice name = slice_from(key);
    struct error *failure = &transaction->failure;
    if (failure->code)
        return;
    bool may_be_empty = kind == OPERATION_DELETE_PREFIX;
    if (name.len > STORE_KEY_MAX)
        error_set(failure, ERR_LIMIT, "a key of %zu bytes is too long, the limit is %u", name.len,
                  STORE_KEY_MAX);
    else if (!key_is_valid(name) && !(may_be_empty && name.len == 0))
        error_set(failure, ERR_INVALID, "'%s' is not a valid key", key);
    else if (value.len > STORE_VALUE_MAX)
        error_set(failure, ERR_LIMIT, "the value of '%s' is too large: %zu bytes, the limit is %u",
                  key, value.len, STORE_VALUE_MAX);
    else if (transaction->count == STORE_OPERATIONS_MAX)
        error_set(failure, ERR_LIMIT, "a transaction holds at most %u operations",
                  STORE_OPERATIONS_MAX);
    if (failure->code)
        return;
    struct operation *operation = arena_try(transaction->arena, sizeof(*operation));
    char *bytes = operation ? arena_try(transaction->arena, name.len + value.len + 1) : NULL;
    if (!bytes) {
        error_set(failure, ERR_LIMIT, "a transaction holds at most %zu bytes",
                  TRANSACTION_BYTES_MAX);
        return;
    }
    if (name.len)
        memcpy(bytes, name.ptr, name.len);
    if (value.len)
        memcpy(bytes + name.len, value.ptr, value.len);
    *operation = (struct operation){.kind = kind,
                                    .key = {bytes, name.len},
                                    .value = {bytes + name.len, value.len},
                                    .number = number};
    *transaction->end = operation;
    transaction->end = &operation->next;
    transaction->count++;
}

void store_compare(struct store_transaction *transaction, const char *key, uint64_t mod_revision)
{
    operation_add(transaction, OPERATION_COMPARE, key, (struct slice){0}, mod_revision);
}

void store_compare_lease(struct store_transaction *transaction, const char *key, uint64_t lease)
{
    operation_add(transaction, OPERATION_COMPARE_LEASE, key, (struct slice){0}, lease);
}

void store_put(struct store_transaction *transaction, const char *key, struct slice value,
               uint64_t lease)
{
    operation_add(transaction, OPERATION_PUT, key, value, lease);
}

void store_delete(struct store_transaction *transaction, const char *key)
{
    operation_add(transaction, OPERATION_DELETE, key, (struct slice){0}, 0);
}

void store_delete_prefix(struct store_transaction *transaction, const char *prefix)
{
    operation_add(transaction, OPERATION_DELETE_PREFIX, prefix, (struct slice){0}, 0);
}

/* ---- within SQLite's transaction */

/* What is there now; all zero when the key is absent. */
struct live_entry {
    uint64_t create_revision, mod_revision, version, lease;
};

static int live_read(struct store *store, struct slice key, struct live_entry *ret_live,
                     struct error *err)
{
    CLEANUP(store_statement_resetp)
    sqlite3_stmt *statement = store_statement(store, STATEMENT_LIVE, err);
    if (!statement)
        return store_failed(err);
    store_bind_slice(statement, 1, key);
    int result = store_step(store, statement, err);
    if (result < 0)
        return result;
    *ret_live = (struct live_entry){0};
    if (result == 1)
        *ret_live = (struct live_entry){
            store_column_u64(statement, 0),
            store_column_u64(statement, 1),
            store_column_u64(statement, 2),
            store_column_u64(statement, 3),
        };
    return 0;
}

static int history_append(struct store *store, struct slice key, struct live_entry live,
                          bool is_delete, struct slice value, struct error *err)
{
    CLEANUP(store_statement_resetp)
    sqlite3_stmt *statement = store_statement(store, STATEMENT_APPEND, err);
    if (!statement)
        return store_failed(err);
    store_bind_u64(statement, 1, ++store->last_id);
    store_bind_u64(statement, 2, live.mod_revision);
    store_bind_slice(statement, 3, key);
    store_bind_u64(statement, 4, live.create_revision);
    store_bind_u64(statement, 5, live.version);
    store_bind_u64(statement, 6, live.lease);
    store_bind_u64(statement, 7, is_delete);
    store_bind_slice(statement, 8, value);
    return store_step(store, statement, err);
}

static int key_put(struct store *store, struct slice key, struct slice value, uint64_t lease,
                   struct error *err)
{
    struct live_entry live;
    int result = live_read(store, key, &live, err);
    if (result != 0)
        return result;
    live.mod_revision = store->revision + 1;
    if (live.version == 0)
        live.create_revision = live.mod_revision;
    live.version++;
    live.lease = lease;
    result = history_append(store, key, live, false, value, err);
    if (result != 0)
        return result;
    CLEANUP(store_statement_resetp)
    sqlite3_stmt *statement = store_statement(store, STATEMENT_LIVE_PUT, err);
    if (!statement)
        return store_failed(err);
    store_bind_slice(statement, 1, key);
    store_bind_u64(statement, 2, store->last_id);
    store_bind_u64(statement, 3, lease);
    return store_step(store, statement, err);
}

static int key_delete(struct store *store, struct slice key, struct error *err)
{
    struct live_entry live;
    int result = live_read(store, key, &live, err);
    if (result != 0 || live.version == 0)
        return result;
    live = (struct live_entry){.mod_revision = store->revision + 1};
    result = history_append(store, key, live, true, (struct slice){0}, err);
    if (result != 0)
        return result;
    CLEANUP(store_statement_resetp)
    sqlite3_stmt *statement = store_statement(store, STATEMENT_LIVE_DELETE, err);
    if (!statement)
        return store_failed(err);
    store_bind_slice(statement, 1, key);
    return store_step(store, statement, err);
}

struct key_list {
    struct key_list *next;
    struct slice key;
};

/* Keys are collected first, as deleting moves the rows under a running query. */
static int delete_rows(struct store *store, sqlite3_stmt *query, struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(TRANSACTION_BYTES_MAX);
    struct key_list *first = NULL, **end = &first;
    int result;
    while ((result = store_step(store, query, err)) == 1) {
        struct slice key = store_column_slice(query, 0);
        struct key_list *item = arena_try(arena, sizeof(*item) + key.len);
        if (!item)
            return error_set(err, ERR_LIMIT, "too many keys to remove at once");
        memcpy(item + 1, key.ptr, key.len);
        item->key = (struct slice){(const char *)(item + 1), key.len};
        *end = item;
        end = &item->next;
    }
    for (; result == 0 && first; first = first->next)
        result = key_delete(store, first->key, err);
    return result;
}

static int prefix_delete(struct store *store, struct slice prefix, struct error *err)
{
    char end_bytes[STORE_KEY_MAX + 1];
    CLEANUP(store_statement_resetp)
    sqlite3_stmt *query = store_statement(store, STATEMENT_RANGE_KEYS, err);
    if (!query)
        return store_failed(err);
    store_bind_slice(query, 1, prefix);
    store_bind_slice(query, 2, store_prefix_end(prefix, end_bytes));
    return delete_rows(store, query, err);
}

int store_delete_lease_keys(struct store *store, uint64_t lease, struct error *err)
{
    CLEANUP(store_statement_resetp)
    sqlite3_stmt *query = store_statement(store, STATEMENT_LEASE_KEYS, err);
    if (!query)
        return store_failed(err);
    store_bind_u64(query, 1, lease);
    return delete_rows(store, query, err);
}

static bool lease_is_known(const struct store *store, uint64_t lease)
{
    for (size_t i = 0; i < store->lease_count; i++)
        if (store->leases[i].id == lease)
            return true;
    return lease == 0;
}

static int compare_run(struct store *store, const struct operation *operation, struct error *err)
{
    struct live_entry live;
    int result = live_read(store, operation->key, &live, err);
    if (result != 0)
        return result;
    bool is_lease = operation->kind == OPERATION_COMPARE_LEASE;
    if ((is_lease ? live.lease : live.mod_revision) == operation->number)
        return 0;
    if (is_lease)
        return error_set(err, ERR_CONFLICT, "'" SLICE_FORMAT "' is not held by lease %llu any more",
                         SLICE_ARG(operation->key), (unsigned long long)operation->number);
    if (operation->number == 0)
        return error_set(err, ERR_CONFLICT, "'" SLICE_FORMAT "' exists already",
                         SLICE_ARG(operation->key));
    return error_set(err, ERR_CONFLICT,
                     "'" SLICE_FORMAT "' was changed meanwhile (revision %llu, expected %llu)",
                     SLICE_ARG(operation->key), (unsigned long long)live.mod_revision,
                     (unsigned long long)operation->number);
}

static int operation_run(struct store *store, const struct operation *operation, struct error *err)
{
    switch (operation->kind) {
    case OPERATION_PUT:
        if (!lease_is_known(store, operation->number))
            return error_set(err, ERR_CONFLICT, "lease %llu of '" SLICE_FORMAT "' has ended",
                             (unsigned long long)operation->number, SLICE_ARG(operation->key));
        return key_put(store, operation->key, operation->value, operation->number, err);
    case OPERATION_DELETE:
        return key_delete(store, operation->key, err);
    case OPERATION_DELETE_PREFIX:
        return prefix_delete(store, operation->key, err);
    case OPERATION_COMPARE:
    case OPERATION_COMPARE_LEASE:
        return 0; /* held already: compares look at the state before the transaction */
    }
    return 0;
}

static int transaction_run(struct store *store, void *argument, struct error *err)
{
    const struct store_transaction *transaction = argument;
    int result = 0;
    for (const struct operation *it = transaction->first; it && result == 0; it = it->next)
        if (it->kind == OPERATION_COMPARE || it->kind == OPERATION_COMPARE_LEASE)
            result = compare_run(store, it, err);
    for (const struct operation *it = transaction->first; it && result == 0; it = it->next)
        result = operation_run(store, it, err);
    return result;
}

static int commit_failed(struct store *store, struct error *err)
{
    store_note_sync(store, sqlite3_extended_errcode(store->db));
    return store_failed(err);
}

int store_atomically(struct store *store,
                     int (*body)(struct store *store, void *argument, struct error *err),
                     void *argument, struct error *err)
{
    if (store->is_broken)
        return error_set(err, ERR_IO,
                         "the state file '%s' could not be synced and must be opened anew",
                         store->path);
    uint64_t first_id = store->last_id;
    int result = store_run(store, STATEMENT_BEGIN, err);
    if (result != 0)
        return result;
    result = body(store, argument, err);
    bool has_revision = store->last_id != first_id;
    if (result == 0 && has_revision)
        result = store_meta_put(store, "revision", store->revision + 1, err);
    if (result == 0 && store_run(store, STATEMENT_COMMIT, err) != 0)
        result = commit_failed(store, err);
    if (result == 0) {
        store->revision += has_revision;
        return 0;
    }
    struct error ignored; /* SQLite may have rolled back on its own */
    if (!sqlite3_get_autocommit(store->db) && store_run(store, STATEMENT_ROLLBACK, &ignored) != 0)
        store->is_broken = true;
    store->last_id = first_id;
    return result;
}

int store_commit(struct store *store, struct store_transaction *transaction, uint64_t *ret_revision,
                 struct error *err)
{
    struct error ignored;
    if (!err)
        err = &ignored;
    if (transaction->failure.code)
        return error_copy(err, &transaction->failure);
    int result = store_atomically(store, transaction_run, transaction, err);
    if (result == 0 && ret_revision)
        *ret_revision = store->revision;
    return result;
}

int store_set(struct store *store, const char *key, struct slice value, struct error *err)
{
    CLEANUP(store_transaction_freep)
    struct store_transaction *transaction = store_transaction_new();
    store_put(transaction, key, value, 0);
    return store_commit(store, transaction, NULL, err);
}

int store_next_number(struct store *store, const char *key, uint64_t *ret_number, struct error *err)
{
    struct error ignored;
    if (!err)
        err = &ignored;
    CLEANUP(arena_freep) struct arena *arena = arena_new((size_t)64 * 1024);
    CLEANUP(store_transaction_freep)
    struct store_transaction *transaction = store_transaction_new();
    struct store_entry entry = {0};
    uint64_t number = 0;
    int result = store_get(store, key, arena, &entry, err);
    if (result == 0 && (slice_to_u64(entry.value, &number) != 0 || number >= INT64_MAX))
        return error_set(err, ERR_CORRUPT, "'%s' in the state does not hold a number", key);
    if (result != 0 && result != ERR_NOT_FOUND)
        return result;
    number++;
    store_compare(transaction, key, entry.mod_revision);
    store_put(transaction, key, slice_from(arena_printf(arena, "%llu", (unsigned long long)number)),
              0);
    result = store_commit(store, transaction, NULL, err);
    if (result == 0)
        *ret_number = number;
    return result;
}
