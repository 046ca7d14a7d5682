#include "deploy/journal.h"
#include "base/log.h"

/* Below STORE_OPERATIONS_MAX, so that one more turn's worth always fits. */
#define JOURNAL_OPERATIONS_MAX 384u

void journal_init(struct journal *journal, struct store *store)
{
    *journal = (struct journal){.store = store};
}

void journal_done(struct journal *journal)
{
    store_transaction_freep(&journal->pending);
}

/* The transaction to add to; NULL when frozen. */
static struct store_transaction *journal_open(struct journal *journal)
{
    struct error err = {0};

    if (journal->is_frozen)
        return NULL;
    if (journal->operations >= JOURNAL_OPERATIONS_MAX && journal_commit(journal, &err) != 0)
        log_failure(&err, "unable to store a decision");
    journal->operations++;
    if (!journal->pending) {
        journal->pending = store_transaction_new();
        if (journal->on_dirty)
            journal->on_dirty(journal);
    }
    return journal->pending;
}

void journal_put(struct journal *journal, const char *key, struct slice value)
{
    struct store_transaction *transaction = journal_open(journal);

    if (transaction)
        store_put(transaction, key, value, 0);
}

void journal_delete(struct journal *journal, const char *key)
{
    struct store_transaction *transaction = journal_open(journal);

    if (transaction)
        store_delete(transaction, key);
}

void journal_delete_prefix(struct journal *journal, const char *prefix)
{
    struct store_transaction *transaction = journal_open(journal);

    if (transaction)
        store_delete_prefix(transaction, prefix);
}

bool journal_is_clean(const struct journal *journal)
{
    return !journal->pending;
}

int journal_commit(struct journal *journal, struct error *err)
{
    uint64_t revision;

    if (!journal->pending)
        return 0;
    int code = store_commit(journal->store, journal->pending, &revision, err);
    if (code != 0)
        return code;
    store_transaction_freep(&journal->pending);
    journal->operations = 0;
    if (journal->on_committed)
        journal->on_committed(journal);
    return 0;
}

void journal_drop(struct journal *journal)
{
    store_transaction_freep(&journal->pending);
    journal->operations = 0;
}

void journal_freeze(struct journal *journal)
{
    journal->is_frozen = true;
    journal_drop(journal);
    if (journal->on_committed)
        journal->on_committed(journal);
}
