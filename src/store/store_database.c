/* store_database.c - SQLite's calls as this room uses them: cached statements, errors in our terms,
 * rows as entries. */
#include "store/store_private.h"

#include <errno.h>

static const char *const statement_texts[] = {
#define X(name, sql) [STATEMENT_##name] = (sql),
    STORE_STATEMENTS
#undef X
};

void store_note_sync(struct store *store, int result)
{
    if (result == SQLITE_IOERR_FSYNC || result == SQLITE_IOERR_DIR_FSYNC)
        store->is_broken = true;
}

int store_database_error(struct store *store, int result, struct error *err, const char *what)
{
    const char *text = store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(result);
    int system_errno = store->db ? sqlite3_system_errno(store->db) : 0;
    int code;
    switch (result & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
        error_set(err, ERR_CORRUPT, "the state file '%s' is damaged: %s: %s", store->path, what,
                  text);
        error_hint(err, "stop slipway, keep a copy of the folder, and put a snapshot in its place");
        return ERR_CORRUPT;
    case SQLITE_FULL:
        code = ERR_NO_SPACE;
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        code = ERR_CONFLICT;
        break;
    case SQLITE_TOOBIG:
        code = ERR_LIMIT;
        break;
    case SQLITE_IOERR:
        code = system_errno == ENOSPC || system_errno == EDQUOT ? ERR_NO_SPACE : ERR_IO;
        break;
    case SQLITE_CANTOPEN:
        code = system_errno == ENOENT ? ERR_NOT_FOUND : ERR_PERMISSION;
        break;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
        code = ERR_PERMISSION;
        break;
    default:
        code = ERR_IO;
        break;
    }
    error_set(err, code, "%s in the state file '%s': %s", what, store->path, text);
    if (code == ERR_NO_SPACE)
        error_hint(err, "free some space on the disk of '%s'; nothing was changed", store->path);
    return code;
}

sqlite3_stmt *store_statement(struct store *store, enum store_statement statement,
                              struct error *err)
{
    sqlite3_stmt **slot = &store->statements[statement];
    if (!*slot) {
        int result = sqlite3_prepare_v3(store->db, statement_texts[statement], -1,
                                        SQLITE_PREPARE_PERSISTENT, slot, NULL);
        if (result != SQLITE_OK) {
            store_database_error(store, result, err, "unable to prepare a query");
            return NULL;
        }
    }
    return *slot;
}

void store_statement_resetp(sqlite3_stmt **statement)
{
    if (!*statement)
        return;
    sqlite3_reset(*statement);
    sqlite3_clear_bindings(*statement);
}

/* A binding fails only for a wrong index or a value beyond SQLite's ceiling, which ours lies far
 * below. */
static void bound(int result)
{
    assert(result == SQLITE_OK);
    (void)result;
}

void store_bind_slice(sqlite3_stmt *statement, int index, struct slice bytes)
{
    bound(sqlite3_bind_blob64(statement, index, bytes.ptr ? bytes.ptr : "", bytes.len,
                              SQLITE_STATIC));
}

void store_bind_u64(sqlite3_stmt *statement, int index, uint64_t value)
{
    bound(sqlite3_bind_int64(statement, index, (sqlite3_int64)value));
}

uint64_t store_column_u64(sqlite3_stmt *statement, int column)
{
    sqlite3_int64 value = sqlite3_column_int64(statement, column);
    return value < 0 ? 0 : (uint64_t)value;
}

struct slice store_column_slice(sqlite3_stmt *statement, int column)
{
    const char *bytes = sqlite3_column_blob(statement, column);
    int len = sqlite3_column_bytes(statement, column);
    return (struct slice){bytes ? bytes : "", len < 0 ? 0 : (size_t)len};
}

int store_step(struct store *store, sqlite3_stmt *statement, struct error *err)
{
    int result = sqlite3_step(statement);
    if (result == SQLITE_ROW)
        return 1;
    if (result == SQLITE_DONE)
        return 0;
    return store_database_error(store, result, err, "unable to read or write");
}

int store_run(struct store *store, enum store_statement statement, struct error *err)
{
    CLEANUP(store_statement_resetp) sqlite3_stmt *prepared = store_statement(store, statement, err);
    if (!prepared)
        return store_failed(err);
    int result = store_step(store, prepared, err);
    return result < 0 ? result : 0;
}

int store_meta_get(struct store *store, const char *name, uint64_t *ret_value, struct error *err)
{
    CLEANUP(store_statement_resetp)
    sqlite3_stmt *statement = store_statement(store, STATEMENT_META_GET, err);
    if (!statement)
        return store_failed(err);
    bound(sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC));
    int result = store_step(store, statement, err);
    if (result < 0)
        return result;
    if (result == 0 || sqlite3_column_type(statement, 0) != SQLITE_INTEGER) {
        error_set(err, ERR_CORRUPT, "the state file '%s' is damaged: it does not hold '%s'",
                  store->path, name);
        return error_hint(
            err, "stop slipway, keep a copy of the folder, and put a snapshot in its place");
    }
    *ret_value = store_column_u64(statement, 0);
    return 0;
}

int store_meta_put(struct store *store, const char *name, uint64_t value, struct error *err)
{
    CLEANUP(store_statement_resetp)
    sqlite3_stmt *statement = store_statement(store, STATEMENT_META_PUT, err);
    if (!statement)
        return store_failed(err);
    bound(sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC));
    store_bind_u64(statement, 2, value);
    return store_step(store, statement, err);
}

static int copy_slice(struct arena *arena, struct slice bytes, struct slice *ret_copy)
{
    char *copy = arena_try(arena, bytes.len + 1);
    if (!copy)
        return ERR_LIMIT;
    memcpy(copy, bytes.ptr, bytes.len);
    *ret_copy = (struct slice){copy, bytes.len};
    return 0;
}

int store_entry_read(sqlite3_stmt *statement, struct arena *arena, struct store_entry *ret_entry,
                     struct error *err)
{
    struct store_entry entry = {
        .create_revision = store_column_u64(statement, 2),
        .mod_revision = store_column_u64(statement, 3),
        .version = store_column_u64(statement, 4),
        .lease = store_column_u64(statement, 5),
    };
    struct slice key = store_column_slice(statement, 1);
    if (copy_slice(arena, key, &entry.key) != 0 ||
        copy_slice(arena, store_column_slice(statement, 7), &entry.value) != 0)
        return error_set(err, ERR_LIMIT, "the answer is too large: '" SLICE_FORMAT "' does not fit",
                         SLICE_ARG(key));
    *ret_entry = entry;
    return 0;
}

struct slice store_prefix_end(struct slice prefix, char *buffer)
{
    size_t len = MIN(prefix.len, (size_t)STORE_KEY_MAX);
    memcpy(buffer, prefix.ptr ? prefix.ptr : "", len);
    while (len && (unsigned char)buffer[len - 1] == 0xff)
        len--;
    if (len == 0) {
        buffer[0] = (char)0xff; /* keys are UTF-8: none begins with this byte */
        return (struct slice){buffer, 1};
    }
    buffer[len - 1] = (char)((unsigned char)buffer[len - 1] + 1);
    return (struct slice){buffer, len};
}
