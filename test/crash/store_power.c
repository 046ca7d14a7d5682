/* store_power.c - power cuts: what was acknowledged is there when the disk kept only what had been
 * synced, and anything else or not.
 *
 * A layer below SQLite (its VFS interface) remembers each file as the disk surely has it, and the
 * writes since the last sync. At a random write the power goes: of the writes that were not synced
 * each is kept, lost or torn at a sector, by chance, as a disk may have it. What is left becomes a
 * folder of its own, is opened, and must hold the acknowledged transactions, whole. TAP.
 */
#include "base/arena.h"
#include "os/file.h"
#include "store/store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROUNDS      40
#define KEYS        5
#define SECTOR      512
#define FILES_MAX   8
#define WRITES_MAX  20000
#define CONTENT_MAX ((size_t)32 * 1024 * 1024)

struct image { /* what the disk surely holds */
    char path[256];
    bool is_used, is_named; /* named: the folder's entry is synced as well */
    struct buf content;
};

struct change { /* since the last sync */
    size_t file;
    bool is_truncation;
    uint64_t offset;
    struct buf bytes;
};

struct tracked_file { /* what SQLite holds; the real file's object follows */
    sqlite3_file base;
    sqlite3_file *real;
    size_t image; /* FILES_MAX: not tracked */
};

static struct {
    sqlite3_vfs vfs, *real;
    struct image images[FILES_MAX];
    struct change changes[WRITES_MAX];
    size_t change_count;
    unsigned operations_left; /* until the power goes */
    bool is_on, is_tracking;
} disk;

static unsigned random_state = 1;

static unsigned pick(unsigned count)
{
    random_state = random_state * 1103515245u + 12345u;
    return (random_state >> 8) % count;
}

static void NORETURN fail(const char *what, const struct error *err)
{
    printf("not ok 1 - %s%s%s\n", what, err ? ": " : "", err ? err->text : "");
    exit(1);
}

/* ---- the disk */

static void content_write(struct buf *content, uint64_t offset, const char *bytes, size_t len)
{
    while (content->len < offset + len)
        buf_append_byte(content, '\0');
    memcpy(content->ptr + offset, bytes, len);
}

static void change_apply(const struct change *change, struct buf *content)
{
    if (change->is_truncation)
        content->len = MIN(content->len, (size_t)change->offset);
    else
        content_write(content, change->offset, change->bytes.ptr, change->bytes.len);
}

/* *ret_is_moment: it went with this very operation, which may have begun. */
static bool power_is_gone(bool *ret_is_moment)
{
    *ret_is_moment = disk.is_on && disk.operations_left == 0;
    if (*ret_is_moment)
        disk.is_on = false;
    else if (disk.is_on)
        disk.operations_left--;
    return !disk.is_on;
}

static void change_add(size_t file, bool is_truncation, uint64_t offset, const void *bytes,
                       size_t len)
{
    if (disk.change_count == WRITES_MAX)
        fail("too many writes without a sync", NULL);
    struct change *change = &disk.changes[disk.change_count++];
    *change = (struct change){file, is_truncation, offset, BUF_INIT(CONTENT_MAX)};
    buf_append(&change->bytes, bytes, len);
}

static void changes_sync(size_t file)
{
    size_t kept = 0;
    for (size_t i = 0; i < disk.change_count; i++) {
        if (disk.changes[i].file != file) {
            disk.changes[kept++] = disk.changes[i];
            continue;
        }
        change_apply(&disk.changes[i], &disk.images[file].content);
        buf_done(&disk.changes[i].bytes);
    }
    disk.change_count = kept;
    disk.images[file].is_named = true;
}

static size_t image_find(const char *path)
{
    size_t file = 0;
    while (file < FILES_MAX && disk.images[file].is_used &&
           strcmp(disk.images[file].path, path) != 0)
        file++;
    if (file == FILES_MAX)
        fail("too many files", NULL);
    struct image *image = &disk.images[file];
    if (image->is_used)
        return file;
    *image = (struct image){.is_used = true, .content = BUF_INIT(CONTENT_MAX)};
    snprintf(image->path, sizeof(image->path), "%s", path);
    image->is_named =
        file_read(path, CONTENT_MAX, &image->content, NULL) == 0; /* was there before */
    return file;
}

/* ---- SQLite's methods: the real ones, with the disk in between */

static struct tracked_file *tracked(sqlite3_file *file)
{
    return (struct tracked_file *)file;
}

static int file_close(sqlite3_file *file)
{
    return tracked(file)->real->pMethods->xClose(tracked(file)->real);
}

static int file_read_at(sqlite3_file *file, void *bytes, int len, sqlite3_int64 offset)
{
    return tracked(file)->real->pMethods->xRead(tracked(file)->real, bytes, len, offset);
}

static int file_write_at(sqlite3_file *file, const void *bytes, int len, sqlite3_int64 offset)
{
    struct tracked_file *it = tracked(file);
    if (disk.is_tracking && it->image < FILES_MAX) {
        bool is_moment, is_gone = power_is_gone(&is_moment);
        if (!is_gone || is_moment)
            change_add(it->image, false, (uint64_t)offset, bytes, (size_t)len);
        if (is_gone)
            return SQLITE_IOERR_WRITE;
    }
    return it->real->pMethods->xWrite(it->real, bytes, len, offset);
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct tracked_file *it = tracked(file);
    if (disk.is_tracking && it->image < FILES_MAX) {
        bool is_moment, is_gone = power_is_gone(&is_moment);
        if (!is_gone || is_moment)
            change_add(it->image, true, (uint64_t)size, "", 0);
        if (is_gone)
            return SQLITE_IOERR_TRUNCATE;
    }
    return it->real->pMethods->xTruncate(it->real, size);
}

static int file_sync(sqlite3_file *file, int flags)
{
    struct tracked_file *it = tracked(file);
    (void)flags;
    if (disk.is_tracking && it->image < FILES_MAX) {
        bool is_moment;
        if (power_is_gone(&is_moment))
            return SQLITE_IOERR_FSYNC;
        changes_sync(it->image);
    }
    return SQLITE_OK; /* the real disk need not be waited for */
}

static int file_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
    return tracked(file)->real->pMethods->xFileSize(tracked(file)->real, ret_size);
}

static int file_lock_take(sqlite3_file *file, int level)
{
    return tracked(file)->real->pMethods->xLock(tracked(file)->real, level);
}

static int file_lock_drop(sqlite3_file *file, int level)
{
    return tracked(file)->real->pMethods->xUnlock(tracked(file)->real, level);
}

static int file_lock_check(sqlite3_file *file, int *ret_locked)
{
    return tracked(file)->real->pMethods->xCheckReservedLock(tracked(file)->real, ret_locked);
}

static int file_control(sqlite3_file *file, int operation, void *argument)
{
    return tracked(file)->real->pMethods->xFileControl(tracked(file)->real, operation, argument);
}

static int file_sector_size(sqlite3_file *file)
{
    (void)file;
    return SECTOR;
}

/* No promises: writes come apart and out of order, as on the plainest disk. */
static int file_characteristics(sqlite3_file *file)
{
    (void)file;
    return 0;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2, /* shared memory is not there: the store must not need it */
    .xClose = file_close,
    .xRead = file_read_at,
    .xWrite = file_write_at,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock_take,
    .xUnlock = file_lock_drop,
    .xCheckReservedLock = file_lock_check,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
};

static int disk_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags,
                     int *ret_flags)
{
    struct tracked_file *it = tracked(file);
    (void)vfs;
    *it = (struct tracked_file){.real = (sqlite3_file *)(it + 1), .image = FILES_MAX};
    if (disk.is_tracking && path &&
        (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL)))
        it->image = image_find(path);
    int result = disk.real->xOpen(disk.real, path, it->real, flags, ret_flags);
    it->base.pMethods = it->real->pMethods ? &methods : NULL;
    return result;
}

static void disk_install(void)
{
    disk.real = sqlite3_vfs_find(NULL);
    disk.vfs = *disk.real;
    disk.vfs.zName = "power";
    disk.vfs.szOsFile = (int)sizeof(struct tracked_file) + disk.real->szOsFile;
    disk.vfs.xOpen = disk_open;
    if (sqlite3_vfs_register(&disk.vfs, 1) != SQLITE_OK)
        fail("registering the disk", NULL);
}

/* ---- what is left after the cut */

static void change_settle(const struct change *change, struct buf *content)
{
    switch (pick(3)) {
    case 0:
        return; /* lost */
    case 1:
        change_apply(change, content);
        return;
    default: /* some of its sectors */
        if (change->is_truncation)
            return;
        for (size_t at = 0; at < change->bytes.len; at += SECTOR)
            if (pick(2))
                content_write(content, change->offset + at, change->bytes.ptr + at,
                              MIN((size_t)SECTOR, change->bytes.len - at));
    }
}

static void write_remains(const char *directory)
{
    for (size_t i = 0; i < disk.change_count; i++)
        change_settle(&disk.changes[i], &disk.images[disk.changes[i].file].content);
    for (size_t i = 0; i < FILES_MAX; i++) {
        struct image *image = &disk.images[i];
        char path[512];
        if (!image->is_used || (!image->is_named && pick(2)))
            continue;
        snprintf(path, sizeof(path), "%s/%s", directory, strrchr(image->path, '/') + 1);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || file_write_all(fd, buf_slice(&image->content), NULL) != 0)
            fail("writing what is left", NULL);
        close(fd);
    }
}

static void disk_forget(void)
{
    for (size_t i = 0; i < disk.change_count; i++)
        buf_done(&disk.changes[i].bytes);
    for (size_t i = 0; i < FILES_MAX; i++)
        buf_done(&disk.images[i].content);
    memset(disk.images, 0, sizeof(disk.images));
    disk.change_count = 0;
}

/* ---- transactions */

static int commit_number(struct store *store, uint64_t number)
{
    CLEANUP(store_transaction_freep)
    struct store_transaction *transaction = store_transaction_new();
    static char value[6000];
    char key[32];
    memset(value, 'x', sizeof(value));
    snprintf(value, sizeof(value), "%020llu", (unsigned long long)number);
    value[20] = ' ';
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "/k/%d", i);
        store_put(transaction, key, (struct slice){value, 32 + (size_t)(number * 7919 % 5900)}, 0);
    }
    return store_commit(store, transaction, NULL, NULL);
}

static void check_remains(const char *directory, uint64_t acknowledged)
{
    CLEANUP(store_closep) struct store *store = NULL;
    CLEANUP(arena_freep) struct arena *arena = arena_new((size_t)1024 * 1024);
    struct error err;
    if (store_open(directory, &store, &err) != 0)
        fail("opening after a power cut", &err);
    uint64_t newest = store_revision(store);
    if (newest != acknowledged && newest != acknowledged + 1)
        fail("an acknowledged transaction is gone", NULL);
    for (int i = 0; i < KEYS; i++) {
        char key[32];
        struct store_entry entry;
        uint64_t number = 0;
        snprintf(key, sizeof(key), "/k/%d", i);
        if (store_get(store, key, arena, &entry, &err) != 0)
            fail("a key is gone", &err);
        if (slice_to_u64(slice_sub(entry.value, 0, 20), &number) != 0 || number != newest ||
            entry.value.len != 32 + (size_t)(number * 7919 % 5900))
            fail("a transaction is there in part", NULL);
    }
    if (commit_number(store, newest + 1) != 0)
        fail("the store does not go on", NULL);
}

static void round_run(const char *directory, unsigned round)
{
    char before[128], after[128];
    struct store *store;
    struct error err;
    uint64_t number = 1;
    snprintf(before, sizeof(before), "%s/before%u", directory, round);
    snprintf(after, sizeof(after), "%s/after%u", directory, round);
    if (store_open(before, &store, &err) != 0 || commit_number(store, number) != 0)
        fail("a first commit", NULL);
    store_close(store);
    random_state = round * 2654435761u + 1;
    disk.operations_left = pick(round % 2 ? 120 : 1500);
    disk.is_on = disk.is_tracking = true;
    if (store_open(before, &store, &err) == 0) {
        while (disk.is_on && commit_number(store, number + 1) == 0) {
            number++;
            if (number % 25 == 0 && store_compact(store, number - 3, &err) != 0)
                break;
        }
        disk.is_on = false;
        store_close(store);
    }
    disk.is_tracking = false;
    if (mkdir(after, 0700) != 0)
        fail("a folder", NULL);
    write_remains(after);
    disk_forget();
    check_remains(after, number);
}

int main(void)
{
    char directory[] = "/tmp/slipway-store-power-XXXXXX";
    printf("1..1\n");
    if (!mkdtemp(directory))
        fail("a folder", NULL);
    disk_install();
    for (unsigned i = 1; i <= ROUNDS; i++)
        round_run(directory, i);
    if (directory_remove_tree(directory, NULL) != 0)
        fail("cleaning up", NULL);
    printf("ok 1 - what was acknowledged survives power cuts, whole\n");
    return 0;
}
