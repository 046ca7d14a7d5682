/* Which file may be executed as root, and how it stays what it was when it was looked at.
 *
 * Control names the path, and control is not root: so only a file counts that nobody but root (or,
 * without root, the keeper's own user) can have written, at a place where nobody else could have
 * put it. What was checked is copied into a file without a name on the state folder's disk, and
 * only that is ever executed: the next `cp` or package upgrade over the path changes nothing, and
 * one in the middle of the copying is noticed. Slice by slice, as the keeper serves meanwhile. A
 * file and not a memfd, as its pages can be dropped and read again, and as hardened machines
 * execute no memfd.
 */
#include "keeper/keeper_private.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "os/file.h"

#define MIB              ((off_t)1024 * 1024)
#define BINARY_BYTES_MAX (128 * MIB)
#define SLICE_BYTES      MIB /* of one step: about a millisecond */
#define BINARY_MODE      0555
#define DESCRIPTOR_FLOOR 10
#define LINK_SIZE        32u

void binary_close(struct binary *binary)
{
    if (binary->id)
        fd_close(binary->fd);
    *binary = (struct binary){.fd = -1};
}

static bool is_trusted_owner(const struct keeper *keeper, const struct stat *info)
{
    return info->st_uid == 0 || (!keeper->policy.is_root && info->st_uid == geteuid());
}

/* In a folder with the sticky bit nobody can take away what is not his; the entry's own owner is
 * checked by its own turn. */
static bool is_closed(const struct stat *info)
{
    return !(info->st_mode & (S_IWGRP | S_IWOTH)) ||
           (S_ISDIR(info->st_mode) && info->st_mode & S_ISVTX);
}

static int check_part(const struct keeper *keeper, const char *path, const struct stat *info,
                      struct error *err)
{
    const char *owner = keeper->policy.is_root ? "root" : "the platform's user or root";

    if (!is_trusted_owner(keeper, info)) {
        error_set(err, ERR_PERMISSION, "'%s' does not belong to %s", path, owner);
        return error_hint(err, "chown root '%s', or put the program below /usr/local/bin", path);
    }
    if (!is_closed(info)) {
        error_set(err, ERR_PERMISSION, "others than %s may write to '%s'", owner, path);
        return error_hint(err, "chmod go-w '%s', or put the program below /usr/local/bin", path);
    }
    return 0;
}

static const char *link_to(int fd, char link[LINK_SIZE])
{
    (void)snprintf(link, LINK_SIZE, "/proc/self/fd/%d", fd);
    return link;
}

/* The file and every folder above it, by the name that the kernel has for the open file: no link is
 * left in it. */
static int check_place(const struct keeper *keeper, int fd, struct error *err)
{
    char link[LINK_SIZE], path[PATH_MAX];
    struct stat info;
    ssize_t len;
    int code;

    len = readlink(link_to(fd, link), path, sizeof path - 1);
    if (len <= 0 || path[0] != '/' || fstat(fd, &info) < 0)
        return error_errno(err, errno, "unable to tell where the program lies");
    path[len] = '\0';
    if (info.st_nlink == 0)
        return error_set(err, ERR_NOT_FOUND, "the program was removed meanwhile");
    code = check_part(keeper, path, &info, err);
    for (char *slash = strrchr(path, '/'); code == 0 && slash; slash = strrchr(path, '/')) {
        *slash = '\0';
        if (stat(*path ? path : "/", &info) < 0)
            return error_errno(err, errno, "unable to look at '%s'", path);
        code = check_part(keeper, *path ? path : "/", &info, err);
    }
    return code;
}

static int check_size(const char *path, off_t size, struct error *err)
{
    if (size <= BINARY_BYTES_MAX)
        return 0;
    error_set(err, ERR_LIMIT, "'%s' has %lld MiB; a program that is taken over has %lld at most",
              path, (long long)(size / MIB), (long long)(BINARY_BYTES_MAX / MIB));
    return error_hint(err, "is it the slipway binary itself? strip(1) makes it smaller");
}

static int check_magic(int fd, const char *path, struct error *err)
{
    char magic[SELFMAG] = "";

    if (pread(fd, magic, sizeof magic, 0) == (ssize_t)sizeof magic &&
        memcmp(magic, ELFMAG, SELFMAG) == 0)
        return 0;
    error_set(err, ERR_INVALID, "'%s' is not a program", path);
    return error_hint(err, "name the new slipway binary itself, not an archive or a script");
}

/* Where it lies is looked at before it is opened for reading: a device, or a FIFO, that control
 * names must not notice. */
static int open_checked(const struct keeper *keeper, const char *path, int *ret_fd,
                        struct stat *ret_info, struct error *err)
{
    CLEANUP(fd_closep) int place = open(path, O_PATH | O_CLOEXEC);
    CLEANUP(fd_closep) int fd = -1;
    char link[LINK_SIZE];
    struct stat info;
    int code;

    if (place < 0 || fstat(place, &info) < 0)
        return error_errno(err, errno, "unable to open '%s'", path);
    if (!S_ISREG(info.st_mode)) {
        error_set(err, ERR_INVALID, "'%s' is not a file", path);
        return error_hint(err, "name the new slipway binary itself");
    }
    code = check_place(keeper, place, err);
    if (code == 0)
        code = check_size(path, info.st_size, err);
    if (code < 0)
        return code;
    fd = open(link_to(place, link), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "unable to open '%s'", path);
    code = check_magic(fd, path, err);
    if (code < 0)
        return code;
    *ret_fd = TAKE_FD(fd);
    *ret_info = info;
    return 0;
}

/* ---- the copy */

/* A file without a name; where the disk has no such thing, or executes nothing, memory. */
static int open_nameless(const struct keeper *keeper, struct error *err)
{
    struct statvfs disk;
    bool is_executed = fstatvfs(keeper->state_fd, &disk) == 0 && !(disk.f_flag & ST_NOEXEC);
    int fd = is_executed ? openat(keeper->state_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0700) : -1;

    if (fd < 0)
        fd = memfd_create("slipway", MFD_CLOEXEC);
    return fd < 0 ? error_errno(err, errno, "unable to make a copy of the program") : fd;
}

static int copy_begin(const struct keeper *keeper, int *from, const struct stat *info,
                      struct binary_copy *ret_copy, struct error *err)
{
    int writer = open_nameless(keeper, err);

    if (writer < 0)
        return writer;
    *ret_copy = (struct binary_copy){
        .from = TAKE_FD(*from), .writer = writer, .size = info->st_size, .modified = info->st_mtim};
    return 0;
}

int binary_copy_begin(const struct keeper *keeper, const char *path, struct binary_copy *ret_copy,
                      struct error *err)
{
    CLEANUP(fd_closep) int fd = -1;
    struct stat info;
    int code;

    if (path[0] != '/')
        return error_set(err, ERR_INVALID, "'%s' is not an absolute path", path);
    code = open_checked(keeper, path, &fd, &info, err);
    return code < 0 ? code : copy_begin(keeper, &fd, &info, ret_copy, err);
}

int binary_copy_begin_running(const struct keeper *keeper, struct binary_copy *ret_copy,
                              struct error *err)
{
    CLEANUP(fd_closep) int fd = fcntl(keeper->binary.fd, F_DUPFD_CLOEXEC, DESCRIPTOR_FLOOR);
    struct stat info;
    int code;

    if (fd < 0 || fstat(fd, &info) < 0)
        return error_errno(err, errno, "unable to look at the running program");
    code = check_size(keeper->start_path, info.st_size, err);
    return code < 0 ? code : copy_begin(keeper, &fd, &info, ret_copy, err);
}

/* A program that is open for writing cannot be executed: the writer is closed, and a reader of the
 * same file stays. */
static int copy_finish(struct binary_copy *copy, int *ret_fd, struct error *err)
{
    CLEANUP(fd_closep) int reader = -1;
    char link[LINK_SIZE];
    struct stat info;
    int fd;

    if (fstat(copy->from, &info) < 0 || info.st_mtim.tv_sec != copy->modified.tv_sec ||
        info.st_mtim.tv_nsec != copy->modified.tv_nsec) {
        error_set(err, ERR_CONFLICT, "the program was written to while it was read");
        return error_hint(err, "try again once its new version is complete");
    }
    if (fchmod(copy->writer, BINARY_MODE) < 0)
        return error_errno(err, errno, "unable to make the copy a program");
    reader = open(link_to(copy->writer, link), O_RDONLY | O_CLOEXEC);
    if (reader < 0)
        return error_errno(err, errno, "unable to open the copy of the program");
    fd = fcntl(reader, F_DUPFD_CLOEXEC, DESCRIPTOR_FLOOR);
    if (fd < 0)
        return error_errno(err, errno, "no descriptor is free");
    *ret_fd = fd;
    return 0;
}

int binary_copy_step(struct binary_copy *copy, int *ret_fd, struct error *err)
{
    off_t end = MIN(copy->size, copy->at + SLICE_BYTES);
    int code;

    while (copy->at < end) {
        ssize_t moved = sendfile(copy->writer, copy->from, &copy->at, (size_t)(end - copy->at));

        if (moved == 0)
            return error_set(err, ERR_INVALID, "the program became shorter while it was read");
        if (moved < 0 && errno != EINTR && errno != EAGAIN)
            return error_errno(err, errno, "unable to copy the program");
    }
    if (copy->at < copy->size)
        return 1;
    code = copy_finish(copy, ret_fd, err);
    if (code == 0)
        binary_copy_stop(copy);
    return code;
}

void binary_copy_stop(struct binary_copy *copy)
{
    fd_closep(&copy->from);
    fd_closep(&copy->writer);
}

int binary_dup(struct keeper *keeper, const struct binary *binary, struct binary *ret_binary,
               struct error *err)
{
    int fd = fcntl(binary->fd, F_DUPFD_CLOEXEC, DESCRIPTOR_FLOOR);

    if (fd < 0)
        return error_errno(err, errno, "no descriptor is free");
    *ret_binary = *binary;
    ret_binary->id = ++keeper->last_binary;
    ret_binary->fd = fd;
    return 0;
}
