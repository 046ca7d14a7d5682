/* Which file may be executed as root, and how it stays what it was when it was looked at.
 *
 * Control names the path, and control is not root: so only a file counts that nobody but root (or,
 * without root, the keeper's own user) can have written, at a place where nobody else could have
 * put it. What was checked is copied into a file without a name on the state folder's disk, and
 * only that is ever executed: the next `cp` or package upgrade over the path changes nothing, not
 * even in the middle of the copying. A file and not a memfd, as its pages can be dropped and read
 * again, and as hardened machines execute no memfd.
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

#define BINARY_BYTES_MAX ((off_t)1024 * 1024 * 1024)
#define BINARY_MODE      0555
#define DESCRIPTOR_FLOOR 10

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

/* The file and every folder above it, by the name that the kernel has for the open file: no link is
 * left in it. */
static int check_place(const struct keeper *keeper, int fd, struct error *err)
{
    char link[64], path[PATH_MAX];
    struct stat info;
    ssize_t len;
    int code;

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    len = readlink(link, path, sizeof path - 1);
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

static int check_content(int fd, const char *path, const struct stat *info, struct error *err)
{
    char magic[SELFMAG] = "";

    if (!S_ISREG(info->st_mode)) {
        error_set(err, ERR_INVALID, "'%s' is not a file", path);
        return error_hint(err, "name the new slipway binary itself");
    }
    if (info->st_size > BINARY_BYTES_MAX)
        return error_set(err, ERR_LIMIT, "'%s' is too large for a program", path);
    if (pread(fd, magic, sizeof magic, 0) != (ssize_t)sizeof magic ||
        memcmp(magic, ELFMAG, SELFMAG) != 0) {
        error_set(err, ERR_INVALID, "'%s' is not a program", path);
        return error_hint(err, "name the new slipway binary itself, not an archive or a script");
    }
    return 0;
}

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

/* A program that is open for writing cannot be executed: the writer is closed, and a reader of the
 * same file stays. */
static int copy(const struct keeper *keeper, int from, off_t size, int *ret_fd, struct error *err)
{
    CLEANUP(fd_closep) int writer = open_nameless(keeper, err);
    CLEANUP(fd_closep) int reader = -1;
    char link[64];
    off_t at = 0;

    if (writer < 0)
        return writer;
    while (at < size) {
        ssize_t moved = sendfile(writer, from, &at, (size_t)(size - at));

        if (moved == 0)
            return error_set(err, ERR_INVALID, "the program became shorter while it was read");
        if (moved < 0 && errno != EINTR && errno != EAGAIN)
            return error_errno(err, errno, "unable to copy the program");
    }
    if (fchmod(writer, BINARY_MODE) < 0)
        return error_errno(err, errno, "unable to make the copy a program");
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", writer);
    reader = open(link, O_RDONLY | O_CLOEXEC);
    if (reader < 0)
        return error_errno(err, errno, "unable to open the copy of the program");
    *ret_fd = fcntl(reader, F_DUPFD_CLOEXEC, DESCRIPTOR_FLOOR);
    return *ret_fd < 0 ? error_errno(err, errno, "no descriptor is free") : 0;
}

int binary_open(struct keeper *keeper, const char *path, struct binary *ret_binary,
                struct error *err)
{
    CLEANUP(fd_closep) int fd = -1;
    struct stat info;
    int copied = -1;
    int code;

    if (path[0] != '/')
        return error_set(err, ERR_INVALID, "'%s' is not an absolute path", path);
    fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) < 0)
        return error_errno(err, errno, "unable to open '%s'", path);
    code = check_content(fd, path, &info, err);
    if (code == 0)
        code = check_place(keeper, fd, err);
    if (code == 0)
        code = copy(keeper, fd, info.st_size, &copied, err);
    if (code < 0)
        return code;
    *ret_binary = (struct binary){.id = ++keeper->last_binary, .fd = copied, .is_private = true};
    return 0;
}

int binary_secure(struct keeper *keeper, struct error *err)
{
    struct stat info;
    int copied = -1;
    int code;

    if (keeper->binary.is_private)
        return 0;
    if (fstat(keeper->binary.fd, &info) < 0)
        return error_errno(err, errno, "unable to look at the running program");
    code = copy(keeper, keeper->binary.fd, info.st_size, &copied, err);
    if (code < 0)
        return error_wrap(err, "the running program");
    fd_close(keeper->binary.fd);
    keeper->binary.fd = copied;
    keeper->binary.is_private = true;
    return 0;
}
