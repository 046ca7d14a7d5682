/* archive_read.c - unpacking what a client sent.
 *
 * The stream is hostile. libarchive only parses it; every name is checked as text, with a message
 * that names the entry, and then created relative to the opened folder by openat2(2) with
 * RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, so that the kernel itself keeps each step inside. Why a
 * link cannot lead out: it may climb (leading "..") at most to the folder that is unpacked, and
 * never after having gone down, where another link could have taken it elsewhere.
 */
#include "os/archive.h"
#include "os/archive_private.h"
#include "os/file.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)128 * 1024)

static locale_t utf8_locale;
static pthread_once_t utf8_locale_once = PTHREAD_ONCE_INIT;

static void utf8_locale_open(void)
{
    utf8_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

locale_t archive_locale_enter(void)
{
    pthread_once(&utf8_locale_once, utf8_locale_open);
    return uselocale(utf8_locale); /* without that locale: (locale_t)0, which changes nothing */
}

void archive_locale_leavep(locale_t *previous)
{
    uselocale(*previous);
}

struct unpacking {
    struct archive *tar;
    struct archive_limits left;
    struct error *err;
    int root;         /* the folder */
    const char *name; /* of the entry at hand, as the stream has it */
};

static int refuse(struct unpacking *u, const char *why)
{
    return error_set(u->err, ERR_INVALID, "the archive's entry '%s' is refused: %s", u->name, why);
}

static int fail_errno(struct unpacking *u, int errno_value)
{
    return error_errno(u->err, errno_value, "unable to unpack '%s'", u->name);
}

static int fail_stream(struct unpacking *u)
{
    const char *why = archive_error_string(u->tar);
    return error_set(u->err, ERR_INVALID, "the archive is damaged%s%s: %s", u->name ? " at " : "",
                     u->name ? u->name : "", why ? why : "unknown error");
}

/* ---- names ---------------------------------------------------------------------------------- */

/* "./a//b/" → "a/b" in the arena; the folder itself is "". */
static int name_clean(struct unpacking *u, struct arena *arena, const char *name,
                      const char **ret_name)
{
    struct slice rest = slice_from(name);
    CLEANUP(buf_done) struct buf clean = BUF_INIT(4096);
    if (rest.len == 0)
        return refuse(u, "the name is empty");
    if (rest.ptr[0] == '/')
        return refuse(u, "the name is absolute");
    while (rest.len) {
        struct slice part = slice_cut(&rest, '/');
        if (part.len == 0 || slice_eq(part, SLICE(".")))
            continue;
        if (slice_eq(part, SLICE("..")))
            return refuse(u, "the name contains '..'");
        if (part.len > 255)
            return refuse(u, "a part of the name is longer than 255 bytes");
        if (clean.len)
            buf_append_byte(&clean, '/');
        buf_append_slice(&clean, part);
    }
    if (clean.failed)
        return refuse(u, "the name is too long");
    *ret_name = arena_slice_text(arena, buf_slice(&clean));
    return 0;
}

static int link_check(struct unpacking *u, const char *name, const char *target)
{
    struct slice rest = slice_from(target);
    unsigned climbed = 0, depth = 0;
    bool went_down = false;
    for (const char *c = name; *c; c++)
        depth += *c == '/';
    if (rest.len == 0)
        return refuse(u, "the link has no target");
    if (rest.ptr[0] == '/')
        return refuse(u, "the link's target is absolute");
    while (rest.len) {
        struct slice part = slice_cut(&rest, '/');
        if (part.len == 0 || slice_eq(part, SLICE(".")))
            continue;
        if (!slice_eq(part, SLICE("..")))
            went_down = true;
        else if (went_down)
            return refuse(u, "the link's target has '..' behind a name");
        else if (++climbed > depth)
            return refuse(u, "the link leaves the folder");
    }
    return 0;
}

/* ---- places --------------------------------------------------------------------------------- */

static int open_beneath(int root, const char *path, int *ret_fd)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    long fd = syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof(how));
    if (fd < 0)
        return errno;
    *ret_fd = (int)fd;
    return 0;
}

/* The folder of `name`, made if it is missing, and the last part of the name. 0 or errno. */
static int parent_open(int root, struct arena *arena, const char *name, int *ret_fd,
                       const char **ret_last)
{
    const char *slash = strrchr(name, '/');
    const char *parent =
        slash ? arena_slice_text(arena, (struct slice){name, (size_t)(slash - name)}) : "";
    *ret_last = slash ? slash + 1 : name;
    int r = open_beneath(root, parent, ret_fd);
    if (r != ENOENT)
        return r;

    /* Missing: down from the top, one folder at a time. */
    CLEANUP(fd_closep) int at = -1;
    struct slice rest = slice_from(parent);
    if ((r = open_beneath(root, "", &at)) != 0)
        return r;
    while (rest.len) {
        const char *part = arena_slice_text(arena, slice_cut(&rest, '/'));
        int next = -1;
        if (mkdirat(at, part, 0755) != 0 && errno != EEXIST)
            return errno;
        if ((r = open_beneath(at, part, &next)) != 0)
            return r;
        fd_close(at);
        at = next;
    }
    *ret_fd = TAKE_FD(at);
    return 0;
}

static int refuse_errno(struct unpacking *u, int errno_value)
{
    switch (errno_value) {
    case EEXIST:
        return refuse(u, "the name stands twice in the archive");
    case ELOOP:
    case EXDEV:
    case ENOTDIR:
        return refuse(u, "the name leads through something that is not a folder");
    case ENAMETOOLONG:
        return refuse(u, "the name is too long");
    default:
        return fail_errno(u, errno_value);
    }
}

/* ---- kinds of entries ----------------------------------------------------------------------- */

static int write_at(int fd, const char *bytes, size_t len, off_t offset)
{
    while (len) {
        ssize_t n = pwrite(fd, bytes, len, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        bytes += n;
        offset += n;
        len -= (size_t)n;
    }
    return 0;
}

static int content_unpack(struct unpacking *u, int fd, uint64_t size)
{
    const void *bytes;
    size_t len;
    la_int64_t offset;
    int r;
    while ((r = archive_read_data_block(u->tar, &bytes, &len, &offset)) != ARCHIVE_EOF) {
        if (r < ARCHIVE_WARN)
            return fail_stream(u);
        if (offset < 0 || (uint64_t)offset > size || len > size - (uint64_t)offset)
            return refuse(u, "its content is longer than its header says");
        if ((r = write_at(fd, bytes, len, offset)) != 0)
            return fail_errno(u, r);
    }
    /* A sparse file may end in a hole. */
    return ftruncate(fd, (off_t)size) == 0 ? 0 : fail_errno(u, errno);
}

static int file_unpack(struct unpacking *u, int parent, const char *last,
                       struct archive_entry *entry)
{
    la_int64_t size = archive_entry_size(entry);
    if (size < 0)
        return refuse(u, "its size is negative");
    if ((uint64_t)size > u->left.bytes)
        return error_set(u->err, ERR_LIMIT, "the archive is too large: '%s' passes the limit",
                         u->name);
    u->left.bytes -= (uint64_t)size;
    CLEANUP(fd_closep)
    int fd = openat(parent, last, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return refuse_errno(u, errno);
    int r = content_unpack(u, fd, (uint64_t)size);
    if (r != 0)
        return r;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = archive_entry_mtime(entry)}};
    if (fchmod(fd, archive_entry_perm(entry) & 0777) != 0 ||
        (archive_entry_mtime_is_set(entry) && futimens(fd, times) != 0))
        return fail_errno(u, errno);
    return 0;
}

static int folder_unpack(struct unpacking *u, int parent, const char *last, mode_t mode)
{
    if (mkdirat(parent, last, 0700) != 0) {
        struct stat status;
        if (errno != EEXIST)
            return refuse_errno(u, errno);
        /* Made already for an entry below it. */
        if (fstatat(parent, last, &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(status.st_mode))
            return refuse_errno(u, EEXIST);
    }
    CLEANUP(fd_closep)
    int fd = openat(parent, last, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    /* The owner can always work in it, whatever the stream says. */
    if (fd < 0 || fchmod(fd, (mode & 0777) | 0700) != 0)
        return fail_errno(u, errno);
    return 0;
}

static int symlink_unpack(struct unpacking *u, int parent, const char *last, const char *name,
                          const char *target)
{
    if (!target)
        return refuse(u, "the link has no target");
    int r = link_check(u, name, target);
    if (r != 0)
        return r;
    return symlinkat(target, parent, last) == 0 ? 0 : refuse_errno(u, errno);
}

/* A second name of a file that was unpacked before. */
static int hard_link_unpack(struct unpacking *u, struct arena *arena, int parent, const char *last,
                            const char *target)
{
    const char *clean, *target_last;
    CLEANUP(fd_closep) int target_parent = -1;
    struct stat status;
    int r = name_clean(u, arena, target, &clean);
    if (r != 0)
        return r;
    if ((r = parent_open(u->root, arena, clean, &target_parent, &target_last)) != 0)
        return refuse_errno(u, r);
    /* Of files only: a link moved to another depth would lead elsewhere. */
    if (fstatat(target_parent, target_last, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(status.st_mode))
        return refuse(u, "it is a hard link to something that is not a file of the archive");
    if (linkat(target_parent, target_last, parent, last, 0) != 0)
        return refuse_errno(u, errno);
    return 0;
}

static int entry_unpack(struct unpacking *u, struct archive_entry *entry)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(SIZE_MAX);
    CLEANUP(fd_closep) int parent = -1;
    const char *name, *last;
    u->name = archive_entry_pathname(entry);
    if (!u->name)
        return error_set(u->err, ERR_INVALID, "the archive has an entry with an unreadable name");
    if (u->left.files == 0)
        return error_set(u->err, ERR_LIMIT,
                         "the archive has too many entries: '%s' passes the limit", u->name);
    u->left.files--;
    int r = name_clean(u, arena, u->name, &name);
    if (r != 0)
        return r;
    mode_t type = archive_entry_filetype(entry);
    const char *hard_link = archive_entry_hardlink(entry);
    if (*name == '\0')
        return type == AE_IFDIR ? 0 : refuse(u, "the name is empty");
    if ((r = parent_open(u->root, arena, name, &parent, &last)) != 0)
        return refuse_errno(u, r);
    if (hard_link)
        return hard_link_unpack(u, arena, parent, last, hard_link);
    if (type == AE_IFREG)
        return file_unpack(u, parent, last, entry);
    if (type == AE_IFDIR)
        return folder_unpack(u, parent, last, archive_entry_perm(entry));
    if (type == AE_IFLNK)
        return symlink_unpack(u, parent, last, name, archive_entry_symlink(entry));
    return refuse(u, "it is neither a file nor a folder nor a link");
}

static int stream_unpack(struct unpacking *u, int fd)
{
    /* Plain tar only: no filters, so that nothing small becomes something huge. */
    if (archive_read_support_format_tar(u->tar) != ARCHIVE_OK ||
        archive_read_support_format_empty(u->tar) != ARCHIVE_OK ||
        archive_read_open_fd(u->tar, fd, BLOCK_BYTES) != ARCHIVE_OK)
        return fail_stream(u);
    for (;;) {
        struct archive_entry *entry;
        u->name = NULL;
        int r = archive_read_next_header(u->tar, &entry);
        if (r == ARCHIVE_EOF)
            return 0;
        if (r < ARCHIVE_WARN)
            return fail_stream(u);
        if ((r = entry_unpack(u, entry)) != 0)
            return r;
    }
}

int archive_unpack(int fd, const char *directory, struct archive_limits limits, struct error *err)
{
    CLEANUP(archive_locale_leavep) UNUSED locale_t previous = archive_locale_enter();
    CLEANUP(fd_closep) int root = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return error_errno(err, errno, "unable to open the folder '%s'", directory);
    struct unpacking u = {
        .tar = archive_read_new(), .left = limits, .err = err, .root = root, .name = NULL};
    if (!u.tar)
        abort();
    int r = stream_unpack(&u, fd);
    archive_read_free(u.tar);
    return r;
}
