/* journal.h - what the model wants written, gathered over one turn of the loop and committed at
 * once.
 *
 * Why: intent is durable before the act. Everything a turn decides goes into one transaction;
 * requests to the keeper wait until it is committed (journal_is_clean). So a crash leaves either
 * nothing of a decision or all of it, and a turn costs one fsync. Failure: a commit that fails
 * (disk full) keeps what is pending and is tried again; nothing is acted upon meanwhile.
 */
#ifndef DEPLOY_JOURNAL_H
#define DEPLOY_JOURNAL_H

#include "base/json.h"
#include "store/store.h"

struct journal {
    struct store *store;
    struct store_transaction *pending; /* NULL: clean */
    unsigned operations;
    bool is_frozen;
    void (*on_dirty)(struct journal *journal); /* the first write after a commit */
    void (*on_committed)(struct journal *journal);
};

void journal_init(struct journal *journal, struct store *store);
void journal_done(struct journal *journal); /* drops what is pending */
void journal_put(struct journal *journal, const char *key, struct slice value);
void journal_delete(struct journal *journal, const char *key);
void journal_delete_prefix(struct journal *journal, const char *prefix);
bool journal_is_clean(const struct journal *journal);
/* 0 (also with nothing pending), or the store's error with everything still pending. */
MUST_USE int journal_commit(struct journal *journal, struct error *err);
/* Forget what is pending. */
void journal_drop(struct journal *journal);
/* From now on nothing is written: the platform stops, and what is desired stays as it was. */
void journal_freeze(struct journal *journal);

#endif
