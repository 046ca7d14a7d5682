#include "store_test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void overwrite(const char *path, off_t at, const void *bytes, size_t len)
{
    CLEANUP(fd_closep) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, len, at), len);
}

static struct buf content(const char *path)
{
    struct buf bytes = BUF_INIT((size_t)64 * 1024 * 1024);
    assert_int_equal(file_read(path, bytes.limit, &bytes, NULL), 0);
    return bytes;
}

/* Opening fails with `code` and leaves the file as it was, byte for byte. */
static void is_refused(struct fixture *f, int code, const char *text)
{
    const char *path = path_in(f, "state.db");
    struct buf before = content(path);
    struct store *store = NULL;
    assert_int_equal(store_open(f->directory, &store, &f->err), code);
    assert_null(store);
    const char *wanted = arena_printf(f->arena, "the state file '%s' %s", path, text);
    assert_string_equal(f->err.text, wanted);
    assert_true(f->err.hint[0] != '\0');
    struct buf after = content(path);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.ptr, after.ptr, before.len);
    buf_done(&before);
    buf_done(&after);
}

static void the_file_is_private_and_made_at_once(void **state)
{
    struct fixture *f = *state;
    struct stat status;
    assert_int_equal(stat(path_in(f, "state.db"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_false(file_exists(path_in(f, "state.db.new")));
    store_closep(&f->store);
    assert_int_equal(unlink(path_in(f, "state.db")), 0);
    overwrite(path_in(f, "state.db.new"), 0, "half", 4); /* killed while it was made */
    reopen(f);
    set(f, "/a", "1");
}

static void a_second_opener_is_told(void **state)
{
    struct fixture *f = *state;
    struct store *store = NULL;
    assert_int_equal(store_open(f->directory, &store, &f->err), ERR_CONFLICT);
    const char *wanted =
        arena_printf(f->arena, "the state in '%s' is in use by another process", f->directory);
    assert_string_equal(f->err.text, wanted);
    assert_string_equal(f->err.hint, "is slipway running already? 'slipway status' shows it");
    set(f, "/a", "still mine");
}

static void foreign_content_is_refused(void **state)
{
    struct fixture *f = *state;
    const char *path = path_in(f, "state.db");
    store_closep(&f->store);
    overwrite(path, 0, "MySQL format 3!", 15);
    is_refused(f, ERR_CORRUPT, "is damaged: it does not begin like one");
    assert_int_equal(truncate(path, 0), 0);
    is_refused(f, ERR_CORRUPT, "is damaged: it does not begin like one");
    overwrite(path, 0, "app: hello\n", 11);
    is_refused(f, ERR_CORRUPT, "is damaged: it does not begin like one");
}

static void another_programs_database_is_refused(void **state)
{
    struct fixture *f = *state;
    store_closep(&f->store);
    overwrite(path_in(f, "state.db"), 68, "\0\0\0\x7", 4);
    is_refused(f, ERR_CORRUPT, "is damaged: it belongs to another program");
}

static void a_newer_format_is_refused(void **state)
{
    struct fixture *f = *state;
    store_closep(&f->store);
    overwrite(path_in(f, "state.db"), 60, "\0\0\0\x2", 4);
    is_refused(f, ERR_VERSION, "has format 2, this slipway reads format 1");
}

static void a_folder_in_its_place_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store *store;
    store_closep(&f->store);
    assert_int_equal(unlink(path_in(f, "state.db")), 0);
    assert_int_equal(mkdir(path_in(f, "state.db"), 0700), 0);
    assert_int_equal(store_open(f->directory, &store, &f->err), ERR_CORRUPT);
    assert_int_equal(rmdir(path_in(f, "state.db")), 0);
}

static void damage_within_is_found_at_opening(void **state)
{
    struct fixture *f = *state;
    const char *path = path_in(f, "state.db");
    char key[32], garbage[2048];
    struct store *store = NULL;
    for (int i = 0; i < 400; i++) {
        snprintf(key, sizeof(key), "/apps/gloria/releases/%d", i);
        set(f, key, "some value that fills a page after a while");
    }
    store_closep(&f->store);
    memset(garbage, 0xa5, sizeof(garbage));
    overwrite(path, 4096 * 8, garbage, sizeof(garbage));
    struct buf before = content(path);
    assert_int_equal(store_open(f->directory, &store, &f->err), ERR_CORRUPT);
    assert_true(strstr(f->err.text, "is damaged: ") != NULL);
    assert_true(strstr(f->err.hint, "snapshot") != NULL);
    struct buf after = content(path);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.ptr, after.ptr, before.len);
    buf_done(&before);
    buf_done(&after);
}

static void a_file_cut_short_is_found_at_opening(void **state)
{
    struct fixture *f = *state;
    struct store *store = NULL;
    for (int i = 0; i < 100; i++)
        set(f, "/k", "a value of some length, again and again and again and again");
    store_closep(&f->store);
    assert_int_equal(truncate(path_in(f, "state.db"), 4096 * 3), 0);
    assert_int_equal(store_open(f->directory, &store, &f->err), ERR_CORRUPT);
}

static void a_lost_file_beside_its_log_is_told(void **state)
{
    struct fixture *f = *state;
    struct store *store = NULL;
    store_closep(&f->store);
    assert_int_equal(unlink(path_in(f, "state.db")), 0);
    overwrite(path_in(f, "state.db-wal"), 0, "frames", 6);
    assert_int_equal(store_open(f->directory, &store, &f->err), ERR_CORRUPT);
    assert_true(strstr(f->err.text, "is gone, but its log") != NULL);
    assert_false(file_exists(path_in(f, "state.db")));
    assert_true(file_exists(path_in(f, "state.db-wal")));
}

static void a_snapshot_is_a_whole_store(void **state)
{
    struct fixture *f = *state;
    set(f, "/a", "1");
    set(f, "/a", "2");
    const char *directory = path_in(f, "copy");
    assert_int_equal(mkdir(directory, 0700), 0);
    const char *path = path_in(f, "copy/state.db");
    assert_int_equal(store_snapshot(f->store, path, &f->err), 0);
    set(f, "/a", "3");
    struct store *copy = NULL;
    struct store_entry entry;
    assert_int_equal(store_open(directory, &copy, &f->err), 0);
    assert_int_equal(store_get(copy, "/a", f->arena, &entry, &f->err), 0);
    assert_string_equal(entry.value.ptr, "2");
    assert_int_equal(store_revision(copy), 2);
    store_close(copy);
    assert_int_equal(store_snapshot(f->store, path, &f->err), ERR_EXISTS);
    assert_int_equal(store_snapshot(f->store, path_in(f, "no/folder/x"), &f->err), ERR_NOT_FOUND);
}

/* A file size limit makes write(2) fail in the middle of a commit, as a full disk does. */
static void a_disk_that_takes_no_more_changes_nothing(void **state)
{
    struct fixture *f = *state;
    static char bytes[400000];
    memset(bytes, 'x', sizeof(bytes));
    set(f, "/a", "1");
    struct rlimit before, tight;
    struct stat status;
    assert_int_equal(stat(path_in(f, "state.db-wal"), &status), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    tight = before;
    tight.rlim_cur = (rlim_t)status.st_size + 100000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    CLEANUP(store_transaction_freep) struct store_transaction *t = store_transaction_new();
    store_put(t, "/a", SLICE("2"), 0);
    store_put(t, "/b", (struct slice){bytes, sizeof(bytes)}, 0);
    int result = store_commit(f->store, t, NULL, &f->err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(result == ERR_IO || result == ERR_NO_SPACE);
    assert_string_equal(get(f, "/a"), "1");
    assert_int_equal(store_revision(f->store), 1);
    assert_int_equal(store_commit(f->store, t, NULL, &f->err), 0); /* room again */
    reopen(f);
    assert_string_equal(get(f, "/a"), "2");
    assert_int_equal(store_revision(f->store), 2);
}

/* The library's syncs come here: this program's symbols are found first. */
static bool is_database_sync_failing;
static unsigned failed_syncs;

static int sync_of(int fd, long number)
{
    char link[64], path[256] = "";

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof(path) - 1);
    if (is_database_sync_failing && len > 0 &&
        slice_ends_with((struct slice){path, (size_t)len}, SLICE("/state.db"))) {
        failed_syncs++;
        errno = EIO;
        return -1;
    }
    return (int)syscall(number, fd);
}

__attribute__((visibility("default"))) int fdatasync(int fd)
{
    return sync_of(fd, SYS_fdatasync);
}

__attribute__((visibility("default"))) int fsync(int fd)
{
    return sync_of(fd, SYS_fsync);
}

static void a_checkpoint_that_cannot_be_synced_is_noticed(void **state)
{
    struct fixture *f = *state;
    static const char bytes[64 * 1024];
    unsigned i;

    is_database_sync_failing = true;
    for (i = 0; i < 200 && failed_syncs == 0; i++) /* each is durable in the log */
        assert_int_equal(store_set(f->store, "/a", (struct slice){bytes, sizeof(bytes)}, &f->err),
                         0);
    assert_true(failed_syncs > 0);
    is_database_sync_failing = false;
    assert_int_equal(store_set(f->store, "/b", SLICE("x"), &f->err), ERR_IO);
    assert_non_null(strstr(f->err.text, "opened anew"));
    reopen(f);
    assert_int_equal(store_revision(f->store), i);
    assert_int_equal(store_set(f->store, "/b", SLICE("x"), &f->err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_file_is_private_and_made_at_once),
        TEST(a_second_opener_is_told),
        TEST(foreign_content_is_refused),
        TEST(another_programs_database_is_refused),
        TEST(a_newer_format_is_refused),
        TEST(a_folder_in_its_place_is_refused),
        TEST(damage_within_is_found_at_opening),
        TEST(a_file_cut_short_is_found_at_opening),
        TEST(a_lost_file_beside_its_log_is_told),
        TEST(a_snapshot_is_a_whole_store),
        TEST(a_disk_that_takes_no_more_changes_nothing),
        TEST(a_checkpoint_that_cannot_be_synced_is_noticed),
    };
    return cmocka_run_group_tests_name("store_file", tests, NULL, NULL);
}
