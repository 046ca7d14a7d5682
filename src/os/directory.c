/* directory.c - folders as wholes.
 *
 * Trees here belong to applications, so they are hostile: links are never followed, and neither a
 * deep tree nor one that changes meanwhile can exhaust the stack or the descriptors. Removal
 * therefore never goes deeper than one level: a folder found within a folder is first moved up to
 * the top, where its turn comes.
 */
#include "os/file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SIZE_DEPTH_MAX    128 /* one descriptor a level */
#define FOREIGN_DEPTH_MAX 8   /* likewise */
/* Each takes one level away, so the depth bounds them; more means that somebody adds faster. */
#define PASSES_MAX 100000u

static void dir_closep(DIR **dir)
{
    if (*dir)
        closedir(*dir);
    *dir = NULL;
}

static bool is_dot(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

int directory_make(const char *path, mode_t mode, struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(SIZE_MAX);
    char *part = arena_text(arena, path);
    for (char *at = part; *at;) {
        at += strspn(at, "/");
        at += strcspn(at, "/");
        char kept = *at;
        *at = '\0';
        if (*part && mkdir(part, mode) != 0) {
            int errno_kept = errno;
            if (!file_is_directory(part)) {
                if (errno_kept == EEXIST)
                    return error_set(err, ERR_EXISTS,
                                     "unable to create the folder '%s': '%s' is not a folder", path,
                                     part);
                return error_errno(err, errno_kept, "unable to create the folder '%s'", part);
            }
        }
        *at = kept;
    }
    return 0;
}

int directory_fsync(const char *path, struct error *err)
{
    CLEANUP(fd_closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "unable to open the folder '%s'", path);
    if (fsync(fd) != 0)
        return error_errno(err, errno, "unable to make the folder '%s' durable", path);
    return 0;
}

/* ---- removal -------------------------------------------------------------------------------- */

/* Open for listing and for changes; a folder that its owner made read-only (module caches are) is
 * made writable. */
static int open_for_removal(int at, const char *name, int *ret_fd)
{
    const int flags = O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    CLEANUP(fd_closep) int fd = openat(at, name, O_RDONLY | flags);
    struct stat status;
    if (fd < 0 && errno == EACCES) {
        CLEANUP(fd_closep) int handle = openat(at, name, O_PATH | flags);
        char link[64];
        if (handle < 0)
            return errno;
        snprintf(link, sizeof(link), "/proc/self/fd/%d", handle);
        if (chmod(link, 0700) != 0)
            return errno;
        fd = openat(at, name, O_RDONLY | flags);
    }
    if (fd < 0 || fstat(fd, &status) != 0)
        return errno;
    if ((status.st_mode & 0700) != 0700 && fchmod(fd, 0700) != 0)
        return errno;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* Move the folder `name` from `from` into `top` under a fresh name. 0 or errno. */
static int move_up(int from, const char *name, int top, unsigned *next_name)
{
    bool is_opened = false;
    for (;;) {
        char moved[40];
        snprintf(moved, sizeof(moved), ".remove-%u", (*next_name)++);
        if (renameat2(from, name, top, moved, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno == EACCES && !is_opened) {
            /* Moving a folder changes its "..", which needs write permission on it. */
            CLEANUP(fd_closep) int child = -1;
            int r = open_for_removal(from, name, &child);
            if (r != 0)
                return r;
            is_opened = true;
        } else if (errno != EEXIST) {
            return errno;
        }
    }
}

/* Remove what is in `name`, folders moved up into `top` under fresh names. 0 or errno. */
static int level_empty(int top, const char *name, unsigned *next_name)
{
    int fd = -1;
    int r = open_for_removal(top, name, &fd);
    if (r != 0)
        return r;
    CLEANUP(dir_closep) DIR *dir = fdopendir(fd);
    if (!dir) {
        r = errno;
        fd_close(fd);
        return r;
    }
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry)
            return errno;
        if (is_dot(entry->d_name) || unlinkat(fd, entry->d_name, 0) == 0 || errno == ENOENT)
            continue;
        if (errno != EISDIR && errno != EPERM)
            return errno;
        if (unlinkat(fd, entry->d_name, AT_REMOVEDIR) == 0)
            continue;
        if (errno == ENOTDIR)
            return EPERM; /* a file after all, which unlink refused */
        if (errno != ENOTEMPTY && errno != EEXIST)
            return errno;
        if ((r = move_up(fd, entry->d_name, top, next_name)) != 0)
            return r;
    }
}

/* One pass over the top folder. *ret_left tells whether anything was there. */
static int top_pass(int top, unsigned *next_name, bool *ret_left)
{
    CLEANUP(fd_closep) int fd = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(dir_closep) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return errno;
    fd = -1; /* belongs to dir now */
    *ret_left = false;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry)
            return errno;
        if (is_dot(entry->d_name))
            continue;
        *ret_left = true;
        if (unlinkat(top, entry->d_name, 0) == 0 || errno == ENOENT)
            continue;
        if (errno != EISDIR && errno != EPERM)
            return errno;
        int r = level_empty(top, entry->d_name, next_name);
        if (r != 0)
            return r == ENOTDIR ? EPERM : r; /* ENOTDIR: a file that unlink refused */
        /* ENOTEMPTY: somebody adds to it still, the next pass sees. */
        if (unlinkat(top, entry->d_name, AT_REMOVEDIR) != 0 && errno != ENOENT &&
            errno != ENOTEMPTY && errno != EEXIST)
            return errno;
    }
}

static int unable_to_empty(const char *path, int r, struct error *err)
{
    if (r == EAGAIN)
        return error_set(err, ERR_CONFLICT, "unable to empty the folder '%s': it keeps filling",
                         path);
    return error_errno(err, r, "unable to empty the folder '%s'", path);
}

/* All that is in `top`. 0 or errno; EAGAIN: it keeps filling. */
static int top_empty(int top, unsigned *passes)
{
    unsigned next_name = 0;
    while ((*passes)++ < PASSES_MAX) {
        bool left = false;
        int r = top_pass(top, &next_name, &left);
        if (r != 0 || !left)
            return r;
    }
    return EAGAIN;
}

int directory_remove_tree(const char *path, struct error *err)
{
    if (unlink(path) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return error_errno(err, errno, "unable to remove '%s'", path);
    CLEANUP(fd_closep) int top = -1;
    int r = open_for_removal(AT_FDCWD, path, &top);
    if (r != 0)
        return error_errno(err, r, "unable to open the folder '%s' for its removal", path);
    unsigned passes = 0;
    while ((r = top_empty(top, &passes)) == 0) {
        if (rmdir(path) == 0 || errno == ENOENT)
            return 0;
        if (errno != ENOTEMPTY && errno != EEXIST)
            return error_errno(err, errno, "unable to remove the folder '%s'", path);
    }
    return unable_to_empty(path, r, err);
}

static int foreign_empty(int folder, unsigned depth);

/* Takes over `folder`. */
static int folder_empty(int folder, unsigned depth)
{
    struct stat status;
    unsigned passes = 0;
    int r = fstat(folder, &status) != 0 ? errno : 0;
    if (r == 0 && status.st_uid != geteuid() && geteuid() != 0)
        return foreign_empty(folder, depth);
    if (r == 0 && (status.st_mode & 0700) != 0700 && fchmod(folder, 0700) != 0)
        r = errno;
    if (r == 0)
        r = top_empty(folder, &passes);
    fd_close(folder);
    return r;
}

/* An entry of a folder in which nothing can be moved: remove it in its place. */
static int entry_remove(int folder, const char *name, unsigned depth)
{
    if (unlinkat(folder, name, 0) == 0 || errno == ENOENT)
        return 0;
    int unlink_errno = errno;
    int below = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int r = below < 0 ? errno : 0;
    if (r == EACCES)
        r = open_for_removal(folder, name, &below);
    if (r == ENOTDIR || r == ELOOP)
        return unlink_errno;
    if (r == 0)
        r = folder_empty(below, depth + 1);
    if (r != 0)
        return r == ENOENT ? 0 : r;
    if (unlinkat(folder, name, AT_REMOVEDIR) != 0 && errno != EACCES && errno != EPERM &&
        errno != ENOENT)
        return errno;
    return 0;
}

static int foreign_empty(int folder, unsigned depth)
{
    CLEANUP(dir_closep) DIR *dir = depth < FOREIGN_DEPTH_MAX ? fdopendir(folder) : NULL;
    if (!dir) {
        int r = depth < FOREIGN_DEPTH_MAX ? errno : ELOOP;
        fd_close(folder);
        return r;
    }
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        int r = entry ? 0 : errno;
        if (entry && !is_dot(entry->d_name))
            r = entry_remove(folder, entry->d_name, depth);
        if (!entry || r != 0)
            return r;
    }
}

int directory_remove_content(const char *path, struct error *err)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        return errno == ENOENT ? 0
                               : error_errno(err, errno, "unable to open the folder '%s'", path);
    int r = folder_empty(folder, 0);
    return r == 0 ? 0 : unable_to_empty(path, r, err);
}

/* ---- measuring ------------------------------------------------------------------------------ */

struct measure {
    DIR *levels[SIZE_DEPTH_MAX];
    unsigned depth;
    uint64_t bytes, files;
};

static void measure_done(struct measure *measure)
{
    while (measure->depth)
        closedir(measure->levels[--measure->depth]);
}

static int measure_enter(struct measure *measure, int at, const char *name)
{
    if (measure->depth == SIZE_DEPTH_MAX)
        return ELOOP;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        fd_close(fd);
        return errno;
    }
    measure->levels[measure->depth++] = dir;
    return 0;
}

static int measure_step(struct measure *measure)
{
    DIR *dir = measure->levels[measure->depth - 1];
    errno = 0;
    struct dirent *entry = readdir(dir);
    if (!entry) {
        int r = errno;
        closedir(dir);
        measure->depth--;
        return r;
    }
    struct stat status;
    if (is_dot(entry->d_name))
        return 0;
    if (fstatat(dirfd(dir), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : errno;
    if (S_ISDIR(status.st_mode)) {
        int r = measure_enter(measure, dirfd(dir), entry->d_name);
        return r == ENOENT ? 0 : r;
    }
    measure->files++;
    measure->bytes += (uint64_t)status.st_size;
    return 0;
}

int directory_size(const char *path, uint64_t *ret_bytes, uint64_t *ret_files, struct error *err)
{
    CLEANUP(measure_done) struct measure measure = {.depth = 0};
    int r = measure_enter(&measure, AT_FDCWD, path);
    while (r == 0 && measure.depth)
        r = measure_step(&measure);
    if (r == ELOOP)
        return error_set(err, ERR_LIMIT, "unable to measure '%s': more than %d folders deep", path,
                         SIZE_DEPTH_MAX);
    if (r != 0)
        return error_errno(err, r, "unable to measure '%s'", path);
    *ret_bytes = measure.bytes;
    *ret_files = measure.files;
    return 0;
}

int disk_free_bytes(const char *path, uint64_t *ret_bytes, struct error *err)
{
    struct statvfs status;
    if (statvfs(path, &status) != 0)
        return error_errno(err, errno, "unable to ask for the free space of '%s'", path);
    *ret_bytes = (uint64_t)status.f_bavail * status.f_frsize;
    return 0;
}
