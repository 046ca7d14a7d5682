/* store_private.h - what the files of this room share: the open database, its statements and
 * numbers. */
#ifndef STORE_STORE_PRIVATE_H
#define STORE_STORE_PRIVATE_H

#include "store/store.h"
#include <sqlite3.h>

#define STORE_APPLICATION_ID 0x534c5057 /* "SLPW" */

/* Prepared once, when first used. Columns of an entry come in the order of ENTRY_COLUMNS. */
#define STORE_ENTRY_COLUMNS                                                                        \
    "h.id, h.key, h.create_revision, h.revision, h.version, h.lease, h.is_delete, h.value"
#define STORE_STATEMENTS                                                                           \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                    \
    X(COMMIT, "COMMIT")                                                                            \
    X(ROLLBACK, "ROLLBACK")                                                                        \
    X(GET,                                                                                         \
      "SELECT " STORE_ENTRY_COLUMNS " FROM live l JOIN history h ON h.id = l.id WHERE l.key = ?1") \
    X(RANGE, "SELECT " STORE_ENTRY_COLUMNS " FROM live l JOIN history h ON h.id = l.id"            \
             " WHERE l.key >= ?1 AND l.key < ?2 ORDER BY l.key LIMIT ?3")                          \
    X(RANGE_COUNT, "SELECT count(*) FROM live WHERE key >= ?1 AND key < ?2")                       \
    X(RANGE_KEYS, "SELECT key FROM live WHERE key >= ?1 AND key < ?2 ORDER BY key")                \
    X(LEASE_KEYS, "SELECT key FROM live WHERE lease = ?1 AND lease <> 0 ORDER BY key")             \
    X(LIVE, "SELECT h.create_revision, h.revision, h.version, h.lease FROM live l"                 \
            " JOIN history h ON h.id = l.id WHERE l.key = ?1")                                     \
    X(APPEND, "INSERT INTO history (id, revision, key, create_revision, version, lease,"           \
              " is_delete, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")                        \
    X(LIVE_PUT, "INSERT INTO live (key, id, lease) VALUES (?1, ?2, ?3)"                            \
                " ON CONFLICT (key) DO UPDATE SET id = excluded.id, lease = excluded.lease")       \
    X(LIVE_DELETE, "DELETE FROM live WHERE key = ?1")                                              \
    X(META_GET, "SELECT value FROM meta WHERE name = ?1")                                          \
    X(META_PUT, "INSERT INTO meta (name, value) VALUES (?1, ?2)"                                   \
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value")                        \
    X(EVENT,                                                                                       \
      "SELECT " STORE_ENTRY_COLUMNS " FROM history h WHERE h.id >= ?1 ORDER BY h.id LIMIT 1")      \
    X(EVENT_FIRST, "SELECT min(id) FROM history WHERE revision >= ?1")                             \
    X(LEASE_LIST, "SELECT id, ttl_ms FROM lease ORDER BY id")                                      \
    X(LEASE_PUT, "INSERT INTO lease (id, ttl_ms) VALUES (?1, ?2)")                                 \
    X(LEASE_DELETE, "DELETE FROM lease WHERE id = ?1")                                             \
    X(COMPACT, "DELETE FROM history WHERE id IN (SELECT h.id FROM history h WHERE h.revision < ?1" \
               " AND h.id > ?2 AND h.id IS NOT (SELECT l.id FROM live l WHERE l.key = h.key)"      \
               " ORDER BY h.id LIMIT ?3) RETURNING id")

enum store_statement {
#define X(name, sql) STATEMENT_##name,
    STORE_STATEMENTS
#undef X
        STATEMENT_COUNT
};

struct store_lease {
    uint64_t id, ttl_ms, due_at_us;
};

struct store {
    char *path;
    sqlite3 *db;
    int lock_fd;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    uint64_t revision;  /* newest */
    uint64_t compacted; /* events below are gone */
    uint64_t last_id;   /* newest row of history; grows only, as watches count by it */
    uint64_t last_lease;
    struct list watches;
    struct arena *event_arena;
    bool is_dispatching;
    bool
        is_broken; /* a sync failed: what the disk holds is unknown until the file is opened anew */
    struct store_lease *leases;
    size_t lease_count, lease_capacity;
};

/* ---- store_database.c: SQLite's calls, with our errors */

/* What a commit or a checkpoint returned: a failed sync leaves the disk's content unknown, and a
 * later one may wrongly succeed; only opening anew tells the truth. Marks the store broken. */
void store_note_sync(struct store *store, int result);

/* The statement, reset and without bindings; NULL with err set. */
sqlite3_stmt *store_statement(struct store *store, enum store_statement statement,
                              struct error *err);
void store_statement_resetp(sqlite3_stmt **statement);
void store_bind_slice(sqlite3_stmt *statement, int index,
                      struct slice bytes); /* borrowed until reset */
void store_bind_u64(sqlite3_stmt *statement, int index, uint64_t value);
uint64_t store_column_u64(sqlite3_stmt *statement, int column);
struct slice store_column_slice(sqlite3_stmt *statement,
                                int column); /* borrowed until the next step */
/* 1: a row, 0: done, negative: an error. */
int store_step(struct store *store, sqlite3_stmt *statement, struct error *err);
int store_run(struct store *store, enum store_statement statement,
              struct error *err); /* no bindings, no rows */
int store_database_error(struct store *store, int result, struct error *err, const char *what);
int store_meta_get(struct store *store, const char *name, uint64_t *ret_value, struct error *err);
int store_meta_put(struct store *store, const char *name, uint64_t value, struct error *err);
/* Copies the row that `statement` stands on. ERR_LIMIT: the arena is full. */
int store_entry_read(sqlite3_stmt *statement, struct arena *arena, struct store_entry *ret_entry,
                     struct error *err);
/* The first key behind all that begin with `prefix`, into a buffer of STORE_KEY_MAX + 1. */
struct slice store_prefix_end(struct slice prefix, char *buffer);

/* What a call that left `err` returns; never 0. */
static inline int store_failed(const struct error *err)
{
    return err->code ? err->code : ERR_INTERNAL;
}

/* ---- store_file.c: the file itself */

int store_file_open(struct store *store, const char *directory, struct error *err);
void store_file_close(struct store *store);

/* ---- store_transaction.c */

/* Begin, run `body`, commit; a failure rolls back. */
int store_atomically(struct store *store,
                     int (*body)(struct store *store, void *argument, struct error *err),
                     void *argument, struct error *err);
/* Within a transaction: remove all keys of a lease under one new revision. */
int store_delete_lease_keys(struct store *store, uint64_t lease, struct error *err);

/* ---- store_lease.c */

int store_lease_load(struct store *store, struct error *err);

#endif
