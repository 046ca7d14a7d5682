/* store_kill.c - kill -9 at random moments between and within commits: what was acknowledged is
 * there, nothing is there in part.
 *
 * A child commits transactions of several keys that all carry one number, says each number that was
 * acknowledged on a pipe, compacts and takes leases now and then, and is killed. The parent opens
 * the store and compares. TAP, exit status 0 or 1.
 */
#include "base/arena.h"
#include "os/file.h"
#include "os/random.h"
#include "store/store.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 40
#define KEYS   7

static void NORETURN fail(const char *what, const struct error *err)
{
    printf("not ok 1 - %s%s%s\n", what, err ? ": " : "", err ? err->text : "");
    exit(1);
}

static void commit_number(struct store *store, uint64_t number, uint64_t lease)
{
    CLEANUP(store_transaction_freep)
    struct store_transaction *transaction = store_transaction_new();
    struct error err;
    char key[32], value[4096];
    /* Of changing size, so that a commit is one page at times and many at others. */
    size_t len = 32 + (size_t)(number * 7919 % 4000);
    memset(value, 'x', sizeof(value));
    snprintf(value, sizeof(value), "%020llu", (unsigned long long)number);
    value[20] = ' ';
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "/k/%d", i);
        store_put(transaction, key, (struct slice){value, len}, 0);
    }
    if (number % 3 == 0)
        store_delete(transaction, "/odd");
    else
        store_put(transaction, "/odd", SLICE("there"), lease);
    if (store_commit(store, transaction, NULL, &err) != 0)
        fail("a commit", &err);
}

static void NORETURN child_run(const char *directory, int acknowledged_fd, uint64_t number)
{
    struct store *store;
    struct error err;
    uint64_t lease = 0;
    if (store_open(directory, &store, &err) != 0)
        fail("opening in the child", &err);
    for (;;) {
        number++;
        if (number % 50 == 0 && store_lease_grant(store, 60000, &lease, &err) != 0)
            fail("a lease", &err);
        commit_number(store, number, lease);
        if (write(acknowledged_fd, &number, sizeof(number)) != (ssize_t)sizeof(number))
            _exit(1);
        if (number % 20 == 0 && store_compact(store, store_revision(store) - 5, &err) != 0)
            fail("a compaction", &err);
    }
}

static uint64_t number_of(struct store *store, const char *key, struct arena *arena)
{
    struct store_entry entry;
    struct error err;
    uint64_t number = 0;
    int result = store_get(store, key, arena, &entry, &err);
    if (result == ERR_NOT_FOUND)
        return 0;
    if (result != 0 || slice_to_u64(slice_sub(entry.value, 0, 20), &number) != 0)
        fail("a value is damaged", &err);
    if (entry.value.len != 32 + (size_t)(number * 7919 % 4000))
        fail("a value was cut", NULL);
    return number;
}

/* Opens, compares, closes; returns the number that is there. */
static uint64_t check(const char *directory, uint64_t acknowledged)
{
    CLEANUP(store_closep) struct store *store = NULL;
    CLEANUP(arena_freep) struct arena *arena = arena_new((size_t)1024 * 1024);
    struct store_entry odd;
    struct error err;
    char key[32];
    if (store_open(directory, &store, &err) != 0)
        fail("opening after a kill", &err);
    uint64_t number = number_of(store, "/k/0", arena);
    if (number != acknowledged && number != acknowledged + 1)
        fail("an acknowledged transaction is gone", NULL);
    for (int i = 1; i < KEYS; i++) {
        snprintf(key, sizeof(key), "/k/%d", i);
        if (number_of(store, key, arena) != number)
            fail("a transaction is there in part", NULL);
    }
    bool has_odd = store_get(store, "/odd", arena, &odd, NULL) == 0;
    if (number && has_odd != (number % 3 != 0))
        fail("a deletion is there in part", NULL);
    if (store_revision(store) != number)
        fail("the revision does not count the transactions", NULL);
    return number;
}

static uint64_t round_run(const char *directory, uint64_t number, unsigned *ret_commits)
{
    int fds[2];
    if (pipe(fds) != 0)
        fail("a pipe", NULL);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        child_run(directory, fds[1], number);
    }
    close(fds[1]);
    uint64_t acknowledged = number, next;
    /* Wait for the first commit, so that the kill meets commits and not the start of the process.
     */
    if (read(fds[0], &next, sizeof(next)) == (ssize_t)sizeof(next))
        acknowledged = next;
    usleep((unsigned)(random_u64() % 40000));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    while (read(fds[0], &next, sizeof(next)) == (ssize_t)sizeof(next))
        acknowledged = next;
    close(fds[0]);
    *ret_commits += (unsigned)(acknowledged - number);
    return check(directory, acknowledged);
}

int main(void)
{
    char directory[] = "/tmp/slipway-store-kill-XXXXXX";
    uint64_t number = 0;
    unsigned commits = 0;
    printf("1..1\n");
    if (!mkdtemp(directory))
        fail("a folder", NULL);
    for (int i = 0; i < ROUNDS; i++)
        number = round_run(directory, number, &commits);
    if (directory_remove_tree(directory, NULL) != 0)
        fail("cleaning up", NULL);
    printf("# %u commits, %d kills\n", commits, ROUNDS);
    printf("ok 1 - what was acknowledged survives kill -9, whole\n");
    return 0;
}
