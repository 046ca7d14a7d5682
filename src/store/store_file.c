/* store_file.c - the file behind the store: made at once, checked before it is believed, never
 * overwritten when it is not understood.
 *
 * A new file is made under another name, synced and renamed, so `state.db` is absent or whole.
 * Before SQLite sees an existing file its header is read: application id and format version lie at
 * fixed offsets (SQLite file format §1.3), and a file from a newer version must not even have its
 * log replayed. Then the integrity check runs, within a deadline, as a control that was killed is
 * back within 200 ms; damage that it did not reach is found by the read that meets it. One process
 * owns the file: a lock beside it, and SQLite's exclusive mode, which also keeps the index of the
 * write-ahead log in the heap in place of a shared file.
 */
#include "store/store_private.h"

#include "base/clock.h"
#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUICK_CHECK_DEADLINE_US ((uint64_t)120 * 1000)
#define HEADER_BYTES            ((size_t)100)
#define HEADER_VERSION_AT       ((size_t)60)
#define HEADER_APPLICATION_AT   ((size_t)68)

#define TEXT_OF_(number) #number
#define TEXT_OF(number)  TEXT_OF_(number)

/* Small things first in a row of `history`, so that the value's overflow pages are read only when
 * asked for. */
static const char schema[] =
    "PRAGMA page_size = 4096;"
    "PRAGMA auto_vacuum = INCREMENTAL;"
    "PRAGMA journal_mode = MEMORY;"
    "PRAGMA synchronous = FULL;"
    "BEGIN;"
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE history (id INTEGER PRIMARY KEY, revision INTEGER NOT NULL, key BLOB NOT NULL,"
    " create_revision INTEGER NOT NULL, version INTEGER NOT NULL, lease INTEGER NOT NULL,"
    " is_delete INTEGER NOT NULL, value BLOB NOT NULL);"
    "CREATE INDEX history_revision ON history (revision);"
    "CREATE TABLE live (key BLOB PRIMARY KEY, id INTEGER NOT NULL, lease INTEGER NOT NULL) WITHOUT "
    "ROWID;"
    "CREATE INDEX live_lease ON live (lease) WHERE lease <> 0;"
    "CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl_ms INTEGER NOT NULL);"
    "INSERT INTO meta (name, value) VALUES ('format', " TEXT_OF(
        STORE_FORMAT_VERSION) "),"
                              " ('revision', 0), ('compacted', 0), ('last_lease', 0);"
                              "PRAGMA application_id = " TEXT_OF(
                                  STORE_APPLICATION_ID) ";"
                                                        "PRAGMA user_version = " TEXT_OF(
                                                            STORE_FORMAT_VERSION) ";"
                                                                                  "COMMIT;";

#define CHECKPOINT_PAGES 256

static const char settings[] = "PRAGMA journal_mode = WAL;"
                               "PRAGMA synchronous = FULL;"
                               "PRAGMA journal_size_limit = 1048576;"
                               "PRAGMA temp_store = MEMORY;"
                               "PRAGMA mmap_size = 0;"
                               "PRAGMA cell_size_check = ON;"
                               "PRAGMA trusted_schema = OFF;";

/* In the place of SQLite's own, which does not tell anybody what came of it. The commit that led
 * here is durable in any case. */
static int checkpoint_when_long(void *argument, sqlite3 *db, const char *name, int pages)
{
    struct store *store = argument;

    if (pages >= CHECKPOINT_PAGES)
        store_note_sync(store,
                        sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL));
    return SQLITE_OK;
}

static int refuse_damaged(const struct store *store, struct error *err, const char *what)
{
    error_set(err, ERR_CORRUPT, "the state file '%s' is damaged: %s", store->path, what);
    return error_hint(err, "it is left as it is; stop slipway, keep a copy of the folder, and put "
                           "a snapshot in its place");
}

static int refuse_version(const struct store *store, uint64_t version, struct error *err)
{
    error_set(err, ERR_VERSION, "the state file '%s' has format %llu, this slipway reads format %d",
              store->path, (unsigned long long)version, STORE_FORMAT_VERSION);
    return error_hint(err, "run the newer slipway that wrote it; it is left as it is");
}

static uint32_t big_endian_u32(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Looks at the file without SQLite. The descriptor is closed before SQLite opens the file, as
 * closing it later would drop SQLite's locks (POSIX locks belong to the process). */
static int check_header(const struct store *store, struct error *err)
{
    CLEANUP(fd_closep) int fd = open(store->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    unsigned char header[HEADER_BYTES];
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0)
        return error_errno(err, errno, "unable to open the state file '%s'", store->path);
    if (!S_ISREG(status.st_mode))
        return refuse_damaged(store, err, "it is not a regular file");
    ssize_t len = pread(fd, header, sizeof(header), 0);
    if (len < 0)
        return error_errno(err, errno, "unable to read the state file '%s'", store->path);
    if ((size_t)len < sizeof(header) || memcmp(header, "SQLite format 3", 16) != 0)
        return refuse_damaged(store, err, "it does not begin like one");
    if (big_endian_u32(header + HEADER_APPLICATION_AT) != STORE_APPLICATION_ID)
        return refuse_damaged(store, err, "it belongs to another program");
    uint32_t version = big_endian_u32(header + HEADER_VERSION_AT);
    if (version != STORE_FORMAT_VERSION)
        return refuse_version(store, version, err);
    return 0;
}

static int database_open(struct store *store, const char *path, int flags, struct error *err)
{
    int result =
        sqlite3_open_v2(path, &store->db,
                        flags | SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX |
                            SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOFOLLOW,
                        NULL);
    if (result != SQLITE_OK)
        return store_database_error(store, result, err, "unable to open");
    /* Defaults are made for large databases and many statements; ours is small and lives next to
     * applications. */
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_LOOKASIDE, NULL, 128, 96);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_soft_heap_limit64((sqlite3_int64)2 * 1024 * 1024);
    return 0;
}

static int execute(struct store *store, const char *sql, struct error *err, const char *what)
{
    int result = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    return result == SQLITE_OK ? 0 : store_database_error(store, result, err, what);
}

/* Whole or absent: made as state.db.new, then renamed. */
static int file_create(struct store *store, const char *directory, struct error *err)
{
    static const char *const tails[] = {".new", ".new-journal", ".new-wal", ".new-shm"};
    CLEANUP(arena_freep) struct arena *arena = arena_new(64 * 1024);
    for (size_t i = 0; i < ARRAY_LEN(tails); i++)
        if (unlink(arena_printf(arena, "%s%s", store->path, tails[i])) != 0 && errno != ENOENT)
            return error_errno(err, errno, "unable to remove '%s%s'", store->path, tails[i]);
    const char *path = arena_printf(arena, "%s.new", store->path);
    int result = database_open(store, path, SQLITE_OPEN_CREATE, err);
    if (result == 0)
        result = execute(store, schema, err, "unable to create the tables");
    sqlite3_close(store->db);
    store->db = NULL;
    if (result == 0 && chmod(path, 0600) != 0)
        result = error_errno(err, errno, "unable to protect '%s'", path);
    if (result == 0 && rename(path, store->path) != 0)
        result = error_errno(err, errno, "unable to rename '%s'", path);
    if (result == 0)
        result = directory_fsync(directory, err);
    return result;
}

static int past_deadline(void *deadline_us)
{
    return clock_monotonic_us() > *(const uint64_t *)deadline_us;
}

static int check_integrity(struct store *store, struct error *err)
{
    uint64_t deadline_us = clock_monotonic_us() + QUICK_CHECK_DEADLINE_US;
    sqlite3_stmt *statement = NULL;
    char complaint[256] = "";
    sqlite3_progress_handler(store->db, 2000, past_deadline, &deadline_us);
    int result = sqlite3_prepare_v2(store->db, "PRAGMA quick_check(1)", -1, &statement, NULL);
    if (result == SQLITE_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        const unsigned char *text = sqlite3_column_text(statement, 0);
        if (!text || strcmp((const char *)text, "ok") != 0)
            snprintf(complaint, sizeof(complaint), "%s", text ? (const char *)text : "no answer");
    }
    sqlite3_finalize(statement);
    sqlite3_progress_handler(store->db, 0, NULL, NULL);
    if (complaint[0])
        return refuse_damaged(store, err, complaint);
    if (result != SQLITE_ROW && result != SQLITE_DONE && (result & 0xff) != SQLITE_INTERRUPT)
        return store_database_error(store, result, err, "unable to check its integrity");
    return 0;
}

static int query_u64(struct store *store, const char *sql, uint64_t *ret_value, struct error *err)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
    if (result == SQLITE_OK && (result = sqlite3_step(statement)) == SQLITE_ROW)
        *ret_value = store_column_u64(statement, 0);
    sqlite3_finalize(statement);
    return result == SQLITE_ROW ? 0 : store_database_error(store, result, err, "unable to read");
}

/* The log may hold a newer header than the file. */
static int check_content(struct store *store, struct error *err)
{
    uint64_t version = 0, format = 0, newest = 0;
    int result = query_u64(store, "PRAGMA user_version", &version, err);
    if (result == 0 && version != STORE_FORMAT_VERSION)
        return refuse_version(store, version, err);
    if (result == 0)
        result = check_integrity(store, err);
    if (result == 0)
        result = store_meta_get(store, "format", &format, err);
    if (result == 0 && format != STORE_FORMAT_VERSION)
        return refuse_version(store, format, err);
    if (result == 0)
        result = store_meta_get(store, "revision", &store->revision, err);
    if (result == 0)
        result = store_meta_get(store, "compacted", &store->compacted, err);
    if (result == 0)
        result = store_meta_get(store, "last_lease", &store->last_lease, err);
    if (result == 0)
        result = query_u64(store, "SELECT max(id) FROM history", &store->last_id, err);
    if (result == 0)
        result = query_u64(store, "SELECT max(revision) FROM history", &newest, err);
    if (result == 0 && newest > store->revision)
        return refuse_damaged(store, err, "it holds changes newer than its revision");
    return result;
}

static int file_lock_beside(struct store *store, const char *directory, struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(16 * 1024);
    int result = file_lock(arena_printf(arena, "%s/lock", directory), &store->lock_fd, err);
    if (result == ERR_CONFLICT) {
        error_set(err, ERR_CONFLICT, "the state in '%s' is in use by another process", directory);
        return error_hint(err, "is slipway running already? 'slipway status' shows it");
    }
    return result;
}

/* A log without its file means that the file was lost, and a new one must not hide that. */
static int check_lost_file(const struct store *store, struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(16 * 1024);
    const char *log_path = arena_printf(arena, "%s-wal", store->path);
    struct stat status;
    if (stat(log_path, &status) != 0 || status.st_size == 0)
        return 0;
    error_set(err, ERR_CORRUPT, "the state file '%s' is gone, but its log '%s' is there",
              store->path, log_path);
    return error_hint(
        err, "put the file or a snapshot back, or move the log away to begin with an empty state");
}

int store_file_open(struct store *store, const char *directory, struct error *err)
{
    struct stat status;
    int result = directory_make(directory, 0700, err);
    if (result == 0)
        result = file_lock_beside(store, directory, err);
    if (result != 0)
        return result;
    if (lstat(store->path, &status) != 0) {
        if (errno != ENOENT)
            return error_errno(err, errno, "unable to look at the state file '%s'", store->path);
        result = check_lost_file(store, err);
        if (result == 0)
            result = file_create(store, directory, err);
    } else {
        result = check_header(store, err);
    }
    if (result == 0)
        result = database_open(store, store->path, 0, err);
    if (result != 0)
        return result;
    /* Until the content is known to be ours, closing must not move the log into the file. */
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    result = execute(store, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -256;", err,
                     "unable to lock");
    if (result == 0)
        result = check_content(store, err);
    if (result == 0)
        result = execute(store, settings, err, "unable to apply settings");
    if (result != 0)
        return result;
    sqlite3_wal_hook(store->db, checkpoint_when_long, store);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    return 0;
}

void store_file_close(struct store *store)
{
    for (size_t i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(store->statements[i]);
    if (store->db) {
        int result = sqlite3_close(store->db);
        assert(result == SQLITE_OK);
        (void)result;
    }
    fd_close(store->lock_fd);
}

int store_snapshot(struct store *store, const char *path, struct error *err)
{
    struct error ignored;
    if (!err)
        err = &ignored;
    CLEANUP(arena_freep) struct arena *arena = arena_new(64 * 1024);
    if (strlen(path) > 4096)
        return error_set(err, ERR_LIMIT, "the path of a snapshot is too long");
    if (access(path, F_OK) == 0)
        return error_set(err, ERR_EXISTS, "unable to write a snapshot: '%s' exists", path);
    const char *part = arena_printf(arena, "%s.part", path);
    const char *slash = strrchr(path, '/');
    const char *directory =
        slash == path ? "/"
        : slash       ? arena_slice_text(arena, (struct slice){path, (size_t)(slash - path)})
                      : ".";
    if (unlink(part) != 0 && errno != ENOENT)
        return error_errno(err, errno, "unable to remove '%s'", part);
    sqlite3_stmt *statement = NULL;
    int code = 0, result = sqlite3_prepare_v2(store->db, "VACUUM INTO ?1", -1, &statement, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_bind_text(statement, 1, part, -1, SQLITE_STATIC);
    if (result == SQLITE_OK)
        result = sqlite3_step(statement);
    sqlite3_finalize(statement);
    if (result != SQLITE_DONE)
        code = store_database_error(store, result, err, "unable to write a snapshot");
    CLEANUP(fd_closep) int fd = code == 0 ? open(part, O_RDONLY | O_CLOEXEC) : -1;
    if (code == 0 && (fd < 0 || fchmod(fd, 0600) != 0 || fsync(fd) != 0))
        code = error_errno(err, errno, "unable to sync the snapshot '%s'", part);
    if (code == 0 && renameat2(AT_FDCWD, part, AT_FDCWD, path, RENAME_NOREPLACE) != 0)
        code = error_errno(err, errno, "unable to rename '%s'", part);
    if (code == 0)
        return directory_fsync(directory, err);
    unlink(part);
    return code;
}
