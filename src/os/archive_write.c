#include "os/archive.h"
#include "os/archive_private.h"
#include "os/file.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct archive_writer {
    struct archive *tar;
};

static int fail(struct archive_writer *writer, const char *what, struct error *err)
{
    const char *why = archive_error_string(writer->tar);
    int errno_value = archive_errno(writer->tar);
    if (errno_value > 0)
        return error_errno(err, errno_value, "%s", what);
    return error_set(err, ERR_IO, "%s: %s", what, why ? why : "unknown error");
}

int archive_writer_new(int fd, struct archive_writer **ret_writer, struct error *err)
{
    CLEANUP(archive_writer_freep) struct archive_writer *writer = calloc(1, sizeof(*writer));
    if (!writer || !(writer->tar = archive_write_new()))
        abort();
    /* "restricted": extended headers only where a name, a link or a size needs them. */
    if (archive_write_set_format_pax_restricted(writer->tar) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(writer->tar, 1) != ARCHIVE_OK ||
        archive_write_open_fd(writer->tar, fd) != ARCHIVE_OK)
        return fail(writer, "unable to begin an archive", err);
    *ret_writer = TAKE_PTR(writer);
    return 0;
}

static int content_add(struct archive_writer *writer, int fd, const char *path, struct error *err)
{
    static const size_t chunk_bytes = 128 * 1024;
    char *chunk = malloc(chunk_bytes);
    if (!chunk)
        abort();
    int r = 0;
    for (;;) {
        ssize_t n = read(fd, chunk, chunk_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            r = error_errno(err, errno, "unable to read '%s'", path);
        /* A file that grows meanwhile is cut at the size of its header by libarchive. */
        else if (n > 0 && archive_write_data(writer->tar, chunk, (size_t)n) < 0)
            r = fail(writer, "unable to write an archive", err);
        if (n <= 0 || r != 0)
            break;
    }
    free(chunk);
    return r;
}

/* What the entry says beside its name; *ret_fd is the opened content of a file. */
static int describe(const char *path, struct archive_entry *entry, int *ret_fd, struct error *err)
{
    char target[4096];
    struct stat status;
    CLEANUP(fd_closep) int fd = -1;
    if (lstat(path, &status) != 0)
        return error_errno(err, errno, "unable to add '%s'", path);
    if (S_ISLNK(status.st_mode)) {
        ssize_t len = readlink(path, target, sizeof(target) - 1);
        if (len < 0)
            return error_errno(err, errno, "unable to read the link '%s'", path);
        target[len] = '\0';
        archive_entry_set_symlink(entry, target);
    } else if (S_ISREG(status.st_mode)) {
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        /* The name may stand for something else by now; what was opened counts. */
        if (fd < 0 || fstat(fd, &status) != 0)
            return error_errno(err, errno, "unable to open '%s'", path);
    }
    if (!S_ISLNK(status.st_mode) && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
        return error_set(err, ERR_UNSUPPORTED,
                         "unable to add '%s': it is neither a file nor a folder nor a link", path);
    archive_entry_set_filetype(entry, status.st_mode & S_IFMT);
    archive_entry_set_perm(entry, status.st_mode & 0777);
    archive_entry_set_mtime(entry, status.st_mtime, 0);
    archive_entry_set_size(entry, S_ISREG(status.st_mode) ? status.st_size : 0);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int archive_writer_add(struct archive_writer *writer, const char *path, const char *name,
                       struct error *err)
{
    CLEANUP(archive_locale_leavep) UNUSED locale_t previous = archive_locale_enter();
    CLEANUP(fd_closep) int fd = -1;
    struct archive_entry *entry = archive_entry_new();
    if (!entry)
        abort();
    archive_entry_set_pathname(entry, name);
    int r = describe(path, entry, &fd, err);
    if (r == 0 && archive_write_header(writer->tar, entry) < ARCHIVE_WARN)
        r = fail(writer, "unable to write an archive", err);
    if (r == 0 && fd >= 0)
        r = content_add(writer, fd, path, err);
    /* Ends the entry: a file that shrank meanwhile is filled up with zeroes. */
    if (r == 0 && archive_write_finish_entry(writer->tar) < ARCHIVE_WARN)
        r = fail(writer, "unable to write an archive", err);
    archive_entry_free(entry);
    return r;
}

int archive_writer_finish(struct archive_writer *writer, struct error *err)
{
    if (archive_write_close(writer->tar) != ARCHIVE_OK)
        return fail(writer, "unable to end an archive", err);
    return 0;
}

void archive_writer_freep(struct archive_writer **writer)
{
    if (!*writer)
        return;
    archive_write_free((*writer)->tar);
    free(*writer);
    *writer = NULL;
}
