#include "os/file.h"

#include "os/random.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

void fd_close(int fd)
{
    if (fd < 0)
        return;
    int errno_kept = errno;
    close(fd); /* never again after EINTR: Linux has freed the number by then */
    errno = errno_kept;
}

void fd_closep(int *fd)
{
    fd_close(*fd);
    *fd = -1;
}

static int flag_set(int fd, int get, int set, int flag, bool on)
{
    int flags = fcntl(fd, get);
    if (flags < 0)
        return ERR_SYSTEM;
    int wanted = on ? flags | flag : flags & ~flag;
    return wanted == flags || fcntl(fd, set, wanted) == 0 ? 0 : ERR_SYSTEM;
}

int fd_set_nonblocking(int fd, bool nonblocking)
{
    return flag_set(fd, F_GETFL, F_SETFL, O_NONBLOCK, nonblocking);
}

int fd_set_cloexec(int fd, bool cloexec)
{
    return flag_set(fd, F_GETFD, F_SETFD, FD_CLOEXEC, cloexec);
}

int file_read(const char *path, size_t limit_bytes, struct buf *ret_content, struct error *err)
{
    /* Without O_NONBLOCK a FIFO at the path, which others may choose, would stop the caller. */
    CLEANUP(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return error_errno(err, errno, "unable to open '%s'", path);
    struct stat status;
    if (fstat(fd, &status) != 0)
        return error_errno(err, errno, "unable to read '%s'", path);
    if (S_ISFIFO(status.st_mode)) /* it would read as empty */
        return error_set(err, ERR_INVALID, "unable to read '%s': not a file", path);

    CLEANUP(buf_done) struct buf content = BUF_INIT(limit_bytes);
    /* The size is a first guess only: files of /proc say 0, and others may grow meanwhile. */
    size_t step = status.st_size > 0 ? (size_t)status.st_size : 4096;
    for (;;) {
        char beyond =
            0; /* with the ceiling reached, one more byte tells whether the file ends here */
        size_t room = MIN(step, limit_bytes - content.len);
        char *to = room ? buf_reserve(&content, room) : &beyond;
        if (!to)
            return error_set(err, ERR_SYSTEM, "unable to read '%s': out of memory", path);
        ssize_t n = read(fd, to, MAX(room, (size_t)1));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, errno, "unable to read '%s'", path);
        if (n == 0)
            break;
        if (room == 0)
            return error_set(err, ERR_LIMIT, "unable to read '%s': larger than %zu bytes", path,
                             limit_bytes);
        content.len += (size_t)n;
        step = 65536;
    }
    if (content.ptr)
        content.ptr[content.len] = '\0';
    *ret_content = content;
    content = BUF_INIT(limit_bytes);
    return 0;
}

int file_write_all(int fd, struct slice content, struct error *err)
{
    while (content.len) {
        ssize_t n = write(fd, content.ptr, content.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, errno, "unable to write");
        content = slice_sub(content, (size_t)n, SIZE_MAX);
    }
    return 0;
}

/* Everything up to the rename; the caller removes what is left of it on failure. */
static int temporary_write(const char *temporary, struct slice content, mode_t mode,
                           struct error *err)
{
    CLEANUP(fd_closep)
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_errno(err, errno, "unable to create '%s'", temporary);
    int r = file_write_all(fd, content, err);
    if (r != 0)
        return error_wrap(err, "'%s'", temporary);
    /* After the content and past the umask: nobody reads a secret before its mode is right. */
    if (fchmod(fd, mode) != 0)
        return error_errno(err, errno, "unable to set the mode of '%s'", temporary);
    if (fsync(fd) != 0)
        return error_errno(err, errno, "unable to make '%s' durable", temporary);
    return 0;
}

static int parent_fsync(struct arena *arena, const char *path, struct error *err)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return directory_fsync(".", err);
    struct slice parent = {path, slash == path ? 1 : (size_t)(slash - path)};
    return directory_fsync(arena_slice_text(arena, parent), err);
}

int file_write_durable(const char *path, struct slice content, mode_t mode, struct error *err)
{
    char token[13];
    CLEANUP(arena_freep) struct arena *arena = arena_new(SIZE_MAX);
    char *temporary = arena_printf(arena, "%s.new-%s", path, random_token(token, 12));
    int r = temporary_write(temporary, content, mode, err);
    if (r == 0 && rename(temporary, path) != 0)
        r = error_errno(err, errno, "unable to rename '%s' to '%s'", temporary, path);
    if (r != 0) {
        unlink(temporary);
        return r;
    }
    return parent_fsync(arena, path, err);
}

bool file_exists(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

bool file_is_directory(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

int file_lock(const char *path, int *ret_fd, struct error *err)
{
    CLEANUP(fd_closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_errno(err, errno, "unable to open '%s'", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return error_set(err, ERR_CONFLICT, "'%s' is locked by another process", path);
        return error_errno(err, errno, "unable to lock '%s'", path);
    }
    *ret_fd = TAKE_FD(fd);
    return 0;
}

char *path_join(struct arena *arena, const char *directory, const char *name)
{
    size_t len = strlen(directory);
    bool has_slash = len && directory[len - 1] == '/';
    return arena_printf(arena, "%s%s%s", directory, has_slash ? "" : "/", name);
}
