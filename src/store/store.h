/* store.h - durable state: a key-value store with revisions, transactions with compare, range
 * reads, watches and leases.
 *
 * Model: etcd's. Every successful transaction has one revision, greater than all before; a key
 * remembers the revisions of its creation and last change. Backed by SQLite (WAL,
 * synchronous=FULL): when store_commit returns 0 the change survives kill -9 and power loss. Keys
 * are readable paths ("/apps/gloria/releases/12"), values are bytes (JSON by custom). Blocks: on
 * fsync, a few milliseconds; writers are few and small. Threads: one. Source: data.md §5 of the
 * design notes; etcd API v3.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/arena.h"
#include "base/error.h"
#include "base/list.h"
#include "base/slice.h"

#define STORE_FORMAT_VERSION 1
#define STORE_KEY_MAX        1024u
#define STORE_VALUE_MAX      (4u * 1024u * 1024u)
#define STORE_OPERATIONS_MAX 512u

struct store;

/* Open or create `<directory>/state.db`. ERR_CORRUPT (integrity check failed: what and what to do),
 * ERR_VERSION (made by a newer format), ERR_CONFLICT (another process has it open). Never
 * overwrites what it does not understand. */
MUST_USE int store_open(const char *directory, struct store **ret_store, struct error *err);
void store_close(struct store *store); /* NULL allowed */
void store_closep(struct store **store);

struct store_entry {
    struct slice key, value; /* NUL-terminated copies in the caller's arena */
    uint64_t create_revision, mod_revision;
    uint64_t version; /* changes since creation, from 1 */
    uint64_t lease;   /* 0: none */
};

uint64_t store_revision(const struct store *store); /* newest */

/* ERR_NOT_FOUND when absent. */
MUST_USE int store_get(struct store *store, const char *key, struct arena *arena,
                       struct store_entry *ret_entry, struct error *err);
/* All keys with the prefix, in key order; limit 0: all. */
MUST_USE int store_range(struct store *store, const char *prefix, size_t limit, struct arena *arena,
                         struct store_entry **ret_entries, size_t *ret_count, struct error *err);

/* A transaction is built in memory, then committed at once: when every compare holds, all puts and
 * deletes happen. */
struct store_transaction;
struct store_transaction *store_transaction_new(void);
void store_transaction_freep(struct store_transaction **transaction);
/* mod_revision 0: the key must not exist. */
void store_compare(struct store_transaction *transaction, const char *key, uint64_t mod_revision);
void store_compare_lease(struct store_transaction *transaction, const char *key, uint64_t lease);
void store_put(struct store_transaction *transaction, const char *key, struct slice value,
               uint64_t lease);
void store_delete(struct store_transaction *transaction, const char *key);
void store_delete_prefix(struct store_transaction *transaction, const char *prefix);
/* ERR_CONFLICT: a compare failed, nothing changed, the key is named. ERR_NO_SPACE, ERR_LIMIT,
 * ERR_IO: nothing changed. */
MUST_USE int store_commit(struct store *store, struct store_transaction *transaction,
                          uint64_t *ret_revision, struct error *err);
/* One put without compare. */
MUST_USE int store_set(struct store *store, const char *key, struct slice value, struct error *err);

struct store_event {
    bool is_delete;
    struct store_entry entry; /* delete: key and mod_revision only */
};

struct store_watch {
    struct list node;                /* private */
    const char *prefix;              /* borrowed while watching */
    uint64_t next_revision, next_id; /* private */
    /* Called from store_dispatch, in revision order, once for every event. */
    void (*on_event)(struct store_watch *watch, const struct store_event *event);
};
/* Events from `from_revision` on (0: only new ones). ERR_LIMIT: that revision is compacted away;
 * range, then watch anew. */
MUST_USE int store_watch_start(struct store *store, struct store_watch *watch,
                               uint64_t from_revision, struct error *err);
void store_watch_stop(struct store_watch *watch);
void store_dispatch(
    struct store *store); /* deliver what is due; call it from a deferred handle after commits */
bool store_has_events(const struct store *store);

/* Leases: keys put with one vanish when it ends. Time is monotonic; after a restart every lease
 * gets its full term anew. */
MUST_USE int store_lease_grant(struct store *store, uint64_t ttl_ms, uint64_t *ret_lease,
                               struct error *err);
MUST_USE int store_lease_keepalive(struct store *store, uint64_t lease,
                                   struct error *err); /* ERR_NOT_FOUND: it ended */
MUST_USE int store_lease_revoke(struct store *store, uint64_t lease, struct error *err);
/* End what is due. Returns when to call again (monotonic µs), UINT64_MAX: no lease. */
uint64_t store_lease_expire(struct store *store, struct error *err);

/* Forget superseded values older than `revision`. */
MUST_USE int store_compact(struct store *store, uint64_t revision, struct error *err);
/* A consistent copy (VACUUM INTO) to a new file. */
MUST_USE int store_snapshot(struct store *store, const char *path, struct error *err);

/* Atomically take the next number of a counter key (decimal value), from 1. */
MUST_USE int store_next_number(struct store *store, const char *key, uint64_t *ret_number,
                               struct error *err);

#endif
