/* publish.c - copying a built site into its place.
 *
 * Why openat2(2) with RESOLVE_BENEATH for every source: the folder was written by the application's
 * build, which may leave links to anywhere; the kernel refuses to follow those that leave it,
 * whatever else changes meanwhile. */
#include "deploy/publish.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "deploy/publish_private.h"
#include "net/media_type.h"
#include "os/file.h"

#define DEPTH_MAX  64u
#define CHUNK_MAX  (1u << 30)
#define PATH_SPACE 4096u

struct publish {
    const char *from; /* for messages */
    int from_fd, to_fd;
    unsigned files, depth;
    char path[PATH_SPACE]; /* of the entry at hand, relative to both roots; "" is the root itself */
    size_t path_len;
    struct error *err;
};

static int copy_folder(struct publish *publish);

static bool is_published(const char *name, unsigned depth)
{
    struct slice text = slice_from(name);

    if (name[0] == '.')
        return depth == 1 && strcmp(name, ".well-known") == 0;
    return depth > 1 || !slice_starts_with(text, SLICE("slipway.")) ||
           !slice_ends_with(text, SLICE(".yaml"));
}

static int open_source(const struct publish *publish, struct stat *ret_stat)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    const char *path = publish->path_len ? publish->path : ".";
    int fd = (int)syscall(SYS_openat2, publish->from_fd, path, &how, sizeof how);

    if (fd < 0) {
        if (errno == EXDEV || errno == ELOOP || errno == ENOENT)
            return error_set(
                publish->err, ERR_INVALID,
                "'%s' in '%s' is a symbolic link that leaves the folder or leads nowhere", path,
                publish->from);
        return error_errno(publish->err, errno, "unable to open '%s' in '%s'", path, publish->from);
    }
    if (fstat(fd, ret_stat) < 0) {
        int code =
            error_errno(publish->err, errno, "unable to examine '%s' in '%s'", path, publish->from);

        fd_close(fd);
        return code;
    }
    return fd;
}

/* ---- files */

static int copy_bytes(struct publish *publish, int from, int to, off_t bytes)
{
    while (bytes > 0) {
        ssize_t copied =
            copy_file_range(from, NULL, to, NULL, (size_t)MIN(bytes, (off_t)CHUNK_MAX), 0);

        if (copied < 0 && errno == EINTR)
            continue;
        if (copied < 0 &&
            (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP))
            return ERR_UNSUPPORTED; /* some pairs of file systems; told by nobody */
        if (copied < 0)
            return error_errno(publish->err, errno, "unable to copy '%s'", publish->path);
        if (copied == 0)
            return error_set(publish->err, ERR_CONFLICT, "'%s' became shorter while it was copied",
                             publish->path);
        bytes -= copied;
    }
    return 0;
}

static int copy_by_hand(struct publish *publish, int from, int to)
{
    char chunk[65536];

    if (lseek(from, 0, SEEK_SET) < 0 || lseek(to, 0, SEEK_SET) < 0)
        return error_errno(publish->err, errno, "unable to copy '%s'", publish->path);
    for (;;) {
        ssize_t got = read(from, chunk, sizeof chunk);
        int code;

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(publish->err, errno, "unable to read '%s'", publish->path);
        if (got == 0)
            return 0;
        if ((code = file_write_all(to, (struct slice){chunk, (size_t)got}, publish->err)) < 0)
            return code;
    }
}

static int finish_file(struct publish *publish, int fd, const struct stat *source)
{
    struct timespec times[2] = {source->st_atim, source->st_mtim};

    if (fchmod(fd, 0644) < 0 || futimens(fd, times) < 0)
        return error_errno(publish->err, errno, "unable to finish '%s'", publish->path);
    return 0;
}

static int create(struct publish *publish, const char *path)
{
    int fd = openat(publish->to_fd, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

    return fd >= 0 ? fd : error_errno(publish->err, errno, "unable to write '%s'", path);
}

/* The twin of the file at hand, when it is smaller and the build did not make one itself. */
static int write_twin(struct publish *publish, const struct slice *content,
                      enum publish_coding coding, const struct stat *source)
{
    int fd CLEANUP(fd_closep) = -1;
    char path[PATH_SPACE + 8];
    struct buf twin CLEANUP(buf_done) = BUF_INIT(content->len - 1);
    int code;

    (void)snprintf(path, sizeof path, "%s%s", publish->path,
                   coding == PUBLISH_BROTLI ? ".br" : ".gz");
    if (faccessat(publish->from_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    if (!publish_compress(*content, coding, &twin))
        return 0;
    if ((fd = create(publish, path)) < 0)
        return fd;
    if ((code = file_write_all(fd, buf_slice(&twin), publish->err)) < 0)
        return code;
    return finish_file(publish, fd, source);
}

static int write_twins(struct publish *publish, int fd, const struct stat *source)
{
    struct buf content CLEANUP(buf_done) = BUF_INIT(PUBLISH_COMPRESS_MAX);
    size_t size = (size_t)source->st_size;
    struct slice whole;
    char *space;
    int code;

    space = buf_reserve(&content, size);
    if (!space)
        return error_set(publish->err, ERR_LIMIT, "not enough memory to compress '%s'",
                         publish->path);
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(fd, space + done, size - done, (off_t)done);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return error_errno(publish->err, got < 0 ? errno : EIO, "unable to read '%s'",
                               publish->path);
        done += (size_t)got;
    }
    whole = (struct slice){space, size};
    if ((code = write_twin(publish, &whole, PUBLISH_BROTLI, source)) < 0)
        return code;
    return write_twin(publish, &whole, PUBLISH_GZIP, source);
}

static int copy_file(struct publish *publish, int from, const struct stat *source)
{
    int to CLEANUP(fd_closep) = create(publish, publish->path);
    struct slice name = {publish->path, publish->path_len};
    int code;

    if (to < 0)
        return to;
    code = copy_bytes(publish, from, to, source->st_size);
    if (code == ERR_UNSUPPORTED)
        code = copy_by_hand(publish, from, to);
    if (code < 0 || (code = finish_file(publish, to, source)) < 0)
        return code;
    if (source->st_size < PUBLISH_COMPRESS_MIN || source->st_size > PUBLISH_COMPRESS_MAX ||
        !media_type_of(name)->is_compressible)
        return 0;
    return write_twins(publish, to, source);
}

/* ---- folders */

static int copy_entry(struct publish *publish)
{
    struct stat stat;
    int code, fd CLEANUP(fd_closep) = open_source(publish, &stat);

    if (fd < 0)
        return fd;
    if (++publish->files > PUBLISH_FILES_MAX)
        return error_set(publish->err, ERR_LIMIT, "'%s' has more than %u files", publish->from,
                         PUBLISH_FILES_MAX);
    if (S_ISREG(stat.st_mode))
        return copy_file(publish, fd, &stat);
    if (!S_ISDIR(stat.st_mode))
        return error_set(publish->err, ERR_INVALID, "'%s' in '%s' is neither a file nor a folder",
                         publish->path, publish->from);
    if (publish->depth >= DEPTH_MAX)
        return error_set(publish->err, ERR_INVALID, "'%s' in '%s' is nested deeper than %u folders",
                         publish->path, publish->from, DEPTH_MAX);
    if (mkdirat(publish->to_fd, publish->path, 0755) < 0 ||
        fchmodat(publish->to_fd, publish->path, 0755, 0) < 0)
        return error_errno(publish->err, errno, "unable to make the folder '%s'", publish->path);
    fd_close(TAKE_FD(fd));
    code = copy_folder(publish);
    return code;
}

static void closedirp(DIR **stream)
{
    if (*stream)
        (void)closedir(*stream);
}

/* Everything in the folder at hand. */
static int copy_folder(struct publish *publish)
{
    DIR *stream CLEANUP(closedirp) = NULL;
    size_t outer = publish->path_len;
    const struct dirent *entry;
    struct stat stat;
    int code = 0, fd = open_source(publish, &stat);

    if (fd < 0)
        return fd;
    stream = fdopendir(fd);
    if (!stream) {
        code = error_errno(publish->err, errno, "unable to read the folder '%s'", publish->path);
        fd_close(fd);
        return code;
    }
    publish->depth++;
    while (code == 0 && (errno = 0, entry = readdir(stream))) {
        int len;

        if (!is_published(entry->d_name, publish->depth))
            continue;
        len = snprintf(publish->path + outer, sizeof publish->path - outer, "%s%s",
                       outer ? "/" : "", entry->d_name);
        if ((size_t)len >= sizeof publish->path - outer)
            return error_set(publish->err, ERR_INVALID, "a path in '%s' is longer than %u bytes",
                             publish->from, PATH_SPACE);
        publish->path_len = outer + (size_t)len;
        code = copy_entry(publish);
        publish->path_len = outer;
        publish->path[outer] = '\0';
    }
    if (code == 0 && errno != 0)
        code = error_errno(publish->err, errno, "unable to read the folder '%s'", publish->path);
    publish->depth--;
    return code;
}

/* ---- the job */

static int open_folder(const char *path)
{
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int open_from(const char *from, struct error *err)
{
    int fd = open_folder(from), code;

    if (fd >= 0)
        return fd;
    code = error_errno(err, errno, "unable to open the publish folder '%s'", from);
    (void)error_hint(err,
                     "does the build make it? 'publish:' names it relative to the service's root");
    return code;
}

static int fill(const char *from, const char *part, struct error *err)
{
    int from_fd CLEANUP(fd_closep) = open_from(from, err), to_fd CLEANUP(fd_closep) = -1;
    struct publish publish = {.from = from, .from_fd = from_fd, .err = err};
    int code;

    if (from_fd < 0)
        return from_fd;
    if (mkdir(part, 0755) < 0 || chmod(part, 0755) < 0)
        return error_errno(err, errno, "unable to make '%s'", part);
    if ((to_fd = open_folder(part)) < 0)
        return error_errno(err, errno, "unable to open '%s'", part);
    publish.to_fd = to_fd;
    if ((code = copy_folder(&publish)) < 0)
        return code;
    if (syncfs(to_fd) < 0)
        return error_errno(err, errno, "unable to write '%s' to the disk", part);
    return 0;
}

int publish_run(const char *from, const char *to, struct error *err)
{
    char part[PATH_SPACE], parent[PATH_SPACE];
    const char *slash = strrchr(to, '/');
    int code;

    if ((size_t)snprintf(part, sizeof part, "%s.part", to) >= sizeof part || !slash || slash == to)
        return error_set(err, ERR_INVALID, "'%s' is no place for a site", to);
    (void)snprintf(parent, sizeof parent, "%.*s", (int)(slash - to), to);
    if (file_is_directory(to))
        return 0;
    if ((code = directory_remove_tree(part, err)) < 0)
        return code;
    if ((code = fill(from, part, err)) < 0) {
        struct error ignored; /* the next run removes what is left */

        (void)!directory_remove_tree(part, &ignored);
        return code;
    }
    if (rename(part, to) < 0)
        return error_errno(err, errno, "unable to put the site in its place '%s'", to);
    return directory_fsync(parent, err);
}
