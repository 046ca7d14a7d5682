#include "store_test.h"

struct log {
    struct store_watch watch;
    struct fixture *fixture;
    struct buf text; /* "+/a=1@1 -/a@2 " */
    bool stops_itself, answers;
    struct log *stops;
};

static void note(struct store_watch *watch, const struct store_event *event)
{
    struct log *log = container_of(watch, struct log, watch);
    const struct store_entry *entry = &event->entry;
    if (event->is_delete)
        buf_printf(&log->text, "-%s@%u ", entry->key.ptr, (unsigned)entry->mod_revision);
    else
        buf_printf(&log->text, "+%s=%s@%u ", entry->key.ptr, entry->value.ptr,
                   (unsigned)entry->mod_revision);
    if (log->stops_itself)
        store_watch_stop(&log->watch);
    if (log->stops)
        store_watch_stop(&log->stops->watch);
    if (log->answers) {
        log->answers = false;
        set(log->fixture, "/w/answer", "yes");
    }
}

static struct log log_of(struct fixture *f, const char *prefix)
{
    return (struct log){
        .watch = {.prefix = prefix, .on_event = note}, .fixture = f, .text = BUF_INIT(1 << 20)};
}

static void start(struct fixture *f, struct log *log, uint64_t from)
{
    assert_int_equal(store_watch_start(f->store, &log->watch, from, &f->err), 0);
}

static void expect(struct log *log, const char *text)
{
    store_dispatch(log->fixture->store);
    assert_string_equal(buf_text(&log->text), text);
    buf_clear(&log->text);
}

static void done(struct log *log)
{
    store_watch_stop(&log->watch);
    buf_done(&log->text);
}

static void new_changes_come_in_order_and_once(void **state)
{
    struct fixture *f = *state;
    struct log log = log_of(f, "/w/");
    set(f, "/w/a", "before");
    start(f, &log, 0);
    assert_false(store_has_events(f->store));
    set(f, "/w/a", "1");
    set(f, "/other", "x");
    CLEANUP(store_transaction_freep) struct store_transaction *t = store_transaction_new();
    store_delete(t, "/w/a");
    store_put(t, "/w/b", SLICE("2"), 0);
    assert_int_equal(store_commit(f->store, t, NULL, &f->err), 0);
    assert_true(store_has_events(f->store));
    expect(&log, "+/w/a=1@2 -/w/a@4 +/w/b=2@4 ");
    assert_false(store_has_events(f->store));
    expect(&log, "");
    done(&log);
}

static void history_is_delivered_from_a_revision_on(void **state)
{
    struct fixture *f = *state;
    struct log log = log_of(f, "/");
    for (int i = 1; i <= 4; i++)
        set(f, "/k", (const char *[]){"", "1", "2", "3", "4"}[i]);
    reopen(f);
    start(f, &log, 3);
    set(f, "/k", "5");
    expect(&log, "+/k=3@3 +/k=4@4 +/k=5@5 ");
    done(&log);
    start(f, &log, 100); /* a future revision: only what is new by then */
    set(f, "/k", "6");
    expect(&log, "+/k=6@6 ");
    done(&log);
}

static void callbacks_may_commit_and_stop_watches(void **state)
{
    struct fixture *f = *state;
    struct log first = log_of(f, "/w/"), second = log_of(f, "/w/");
    first.answers = true;
    start(f, &first, 0);
    start(f, &second, 0);
    set(f, "/w/question", "?");
    expect(&first, "+/w/question=?@1 +/w/answer=yes@2 ");
    expect(&second, "+/w/question=?@1 +/w/answer=yes@2 ");
    first.stops = &second;
    set(f, "/w/x", "1");
    expect(&first, "+/w/x=1@3 ");
    expect(&second, "");
    first.stops_itself = true;
    set(f, "/w/y", "1");
    set(f, "/w/z", "1");
    expect(&first, "+/w/y=1@4 ");
    assert_false(store_has_events(f->store));
    done(&first);
    done(&second);
}

static void stopping_twice_or_never_started_is_fine(void **state)
{
    struct fixture *f = *state;
    struct log log = log_of(f, "/");
    store_watch_stop(&log.watch);
    start(f, &log, 0);
    done(&log);
    done(&log);
}

static void a_watch_below_the_compaction_is_refused(void **state)
{
    struct fixture *f = *state;
    struct log log = log_of(f, "/");
    for (int i = 0; i < 5; i++)
        set(f, "/k", "v");
    assert_int_equal(store_compact(f->store, 4, &f->err), 0);
    assert_int_equal(store_watch_start(f->store, &log.watch, 3, &f->err), ERR_LIMIT);
    assert_string_equal(f->err.text,
                        "changes before revision 4 are compacted away, asked for those from 3");
    start(f, &log, 4);
    expect(&log, "+/k=v@4 +/k=v@5 ");
    done(&log);
    reopen(f);
    assert_int_equal(store_watch_start(f->store, &log.watch, 3, &f->err), ERR_LIMIT);
}

static void compaction_keeps_what_lives_and_what_a_watch_has_not_seen(void **state)
{
    struct fixture *f = *state;
    struct log log = log_of(f, "/");
    set(f, "/old", "kept");
    set(f, "/gone", "1");
    CLEANUP(store_transaction_freep) struct store_transaction *t = store_transaction_new();
    store_delete(t, "/gone");
    assert_int_equal(store_commit(f->store, t, NULL, &f->err), 0);
    start(f, &log, 2);
    assert_int_equal(store_compact(f->store, UINT64_MAX, &f->err), 0);
    expect(&log, "+/gone=1@2 -/gone@3 ");
    assert_int_equal(store_compact(f->store, UINT64_MAX, &f->err), 0);
    set(f, "/new", "1"); /* its id lies above those removed, so the watch meets it */
    expect(&log, "+/new=1@4 ");
    assert_string_equal(get(f, "/old"), "kept");
    assert_int_equal(entry_of(f, "/old").mod_revision, 1);
    done(&log);
}

static void compaction_gives_the_space_back(void **state)
{
    struct fixture *f = *state;
    static char bytes[100000];
    uint64_t before, after, files;
    memset(bytes, 'x', sizeof(bytes));
    for (int i = 0; i < 60; i++)
        assert_int_equal(store_set(f->store, "/k", (struct slice){bytes, sizeof(bytes)}, &f->err),
                         0);
    reopen(f);
    assert_int_equal(directory_size(f->directory, &before, &files, &f->err), 0);
    assert_int_equal(store_compact(f->store, 60, &f->err), 0);
    assert_int_equal(directory_size(f->directory, &after, &files, &f->err), 0);
    assert_true(before > 6000000);
    assert_true(after < 400000);
    assert_int_equal(entry_of(f, "/k").version, 60);
}

static void many_batches_are_compacted(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++) {
        CLEANUP(store_transaction_freep) struct store_transaction *t = store_transaction_new();
        for (unsigned k = 0; k < STORE_OPERATIONS_MAX; k++)
            store_put(t, "/k", SLICE("v"), 0);
        assert_int_equal(store_commit(f->store, t, NULL, &f->err), 0);
    }
    struct log log = log_of(f, "/");
    assert_int_equal(store_compact(f->store, 6, &f->err), 0);
    start(f, &log, 6);
    expect(&log, "");
    assert_int_equal(entry_of(f, "/k").version, 5 * STORE_OPERATIONS_MAX);
    done(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(new_changes_come_in_order_and_once),
        TEST(history_is_delivered_from_a_revision_on),
        TEST(callbacks_may_commit_and_stop_watches),
        TEST(stopping_twice_or_never_started_is_fine),
        TEST(a_watch_below_the_compaction_is_refused),
        TEST(compaction_keeps_what_lives_and_what_a_watch_has_not_seen),
        TEST(compaction_gives_the_space_back),
        TEST(many_batches_are_compacted),
    };
    return cmocka_run_group_tests_name("store_watch", tests, NULL, NULL);
}
