#include "logd/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "os/file.h"

#define SPOOL_MAGIC   0x4c505053u
#define SPOOL_VERSION 2u
#define MARKS_AT      1024
#define DATA_AT       4096
#define MARK_US       50000u
#define PATH_BYTES    (SPOOL_DIRECTORY_MAX + 64u)
#define COPY_MAX      (1u << 20)
#define DROP_BYTES    (64u << 10)

struct spool_header {
    uint32_t magic, version;
    uint64_t stream, unit, base;
    uint32_t kind, label_len;
    char label[LABEL_LEN_MAX];
    uint32_t crc; /* of everything before */
    uint32_t reserved;
    uint64_t dropped_lines, dropped_bytes, gap_at; /* written again with each drop */
};
_Static_assert(sizeof(struct spool_header) <= MARKS_AT, "the header has its place");
_Static_assert(MARKS_AT + SPOOL_MARKS_MAX * sizeof(struct spool_mark) <= DATA_AT,
               "the marks have theirs");

static bool splice_is_refused; /* by the file system, once seen */

void spool_init(struct spool *spool, const char *directory, uint64_t stream, uint64_t unit,
                uint32_t kind, const char *label)
{
    *spool = (struct spool){
        .directory = directory, .stream = stream, .unit = unit, .kind = kind, .fd = -1};
    (void)snprintf(spool->label, sizeof spool->label, "%s", label);
}

void spool_close(struct spool *spool)
{
    fd_close(TAKE_FD(spool->fd));
}

static char *spool_path(const struct spool *spool, uint64_t base, char *buffer)
{
    (void)snprintf(buffer, PATH_BYTES, "%s/%" PRIu64 ".%" PRIu64, spool->directory, spool->stream,
                   base);
    return buffer;
}

static int code_from_errno(int reason)
{
    return reason == ENOSPC || reason == EDQUOT || reason == EFBIG ? ERR_NO_SPACE : ERR_IO;
}

static int write_at(int fd, const void *bytes, size_t len, off_t at)
{
    const char *from = bytes;

    while (len > 0) {
        ssize_t n = pwrite(fd, from, len, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? ERR_NO_SPACE : code_from_errno(errno);
        from += n;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

/* A new file at `path` with this base and nothing in it but the header. */
static int file_make(const struct spool *spool, uint64_t base, const char *path, int *ret_fd)
{
    struct spool_header header = {.magic = SPOOL_MAGIC,
                                  .version = SPOOL_VERSION,
                                  .stream = spool->stream,
                                  .unit = spool->unit,
                                  .base = base,
                                  .kind = spool->kind,
                                  .label_len = (uint32_t)strlen(spool->label),
                                  .dropped_lines = spool->dropped_lines,
                                  .dropped_bytes = spool->dropped_bytes,
                                  .gap_at = spool->gap_at};
    char page[DATA_AT] = {0};
    int fd, code;

    memcpy(header.label, spool->label, header.label_len);
    header.crc = hash_crc32c(0, &header, offsetof(struct spool_header, crc));
    memcpy(page, &header, sizeof header);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return code_from_errno(errno);
    code = write_at(fd, page, sizeof page, 0);
    if (code) {
        fd_close(fd);
        (void)unlink(path);
        return code;
    }
    *ret_fd = fd;
    return 0;
}

static int spool_need_file(struct spool *spool)
{
    char path[PATH_BYTES];

    if (spool->fd >= 0)
        return 0;
    spool->base = spool->end;
    spool->marked_us = 0;
    return file_make(spool, spool->base, spool_path(spool, spool->base, path), &spool->fd);
}

static off_t file_offset(const struct spool *spool, uint64_t offset)
{
    return (off_t)(DATA_AT + (offset - spool->base));
}

/* Count what is not kept, and where in the stream; the numbers go to the file, too, so that they
 * outlive this process. */
static void note_drop(struct spool *spool, const char *bytes, size_t len)
{
    uint64_t counters[3];

    for (const char *at = bytes; (at = memchr(at, '\n', len - (size_t)(at - bytes))); at++)
        spool->dropped_lines++;
    spool->dropped_bytes += len;
    counters[0] = spool->dropped_lines;
    counters[1] = spool->dropped_bytes;
    counters[2] = spool->gap_at;
    if (spool->fd >= 0)
        (void)!pwrite(spool->fd, counters, sizeof counters,
                      offsetof(struct spool_header, dropped_lines));
}

/* For file systems that refuse splice: here a kill -9 between the two calls loses what was read. */
static int64_t take_by_copy(struct spool *spool, int pipe_fd, size_t limit)
{
    char bytes[DROP_BYTES];
    ssize_t n = read(pipe_fd, bytes, MIN(limit, sizeof bytes));
    int code;

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? ERR_UNAVAILABLE : ERR_IO;
    if (n == 0)
        return 0;
    code = write_at(spool->fd, bytes, (size_t)n, file_offset(spool, spool->end));
    if (code) {
        note_drop(spool, bytes, (size_t)n);
        return code;
    }
    spool->end += (uint64_t)n;
    return n;
}

int64_t spool_take(struct spool *spool, int pipe_fd, size_t limit)
{
    loff_t at;
    ssize_t n;
    int code;

    if (spool->fd < 0) {
        /* Most streams end without a further byte: no file for that. */
        struct pollfd state = {.fd = pipe_fd, .events = POLLIN};
        if (poll(&state, 1, 0) == 1 && !(state.revents & POLLIN))
            return 0;
        if (state.revents == 0)
            return ERR_UNAVAILABLE;
    }
    code = spool_need_file(spool);
    if (code)
        return code;
    if (splice_is_refused)
        return take_by_copy(spool, pipe_fd, limit);
    at = file_offset(spool, spool->end);
    n = splice(pipe_fd, NULL, spool->fd, &at, limit, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n >= 0) {
        spool->end += (uint64_t)n;
        return n;
    }
    if (errno == EAGAIN || errno == EINTR)
        return ERR_UNAVAILABLE;
    if (errno == EINVAL) {
        log_warning("the file system of '%s' does not take splice: "
                    "a crash of logd can lose the output of that moment",
                    spool->directory);
        splice_is_refused = true;
        return take_by_copy(spool, pipe_fd, limit);
    }
    return code_from_errno(errno);
}

int64_t spool_drop(struct spool *spool, int pipe_fd, size_t limit)
{
    char bytes[DROP_BYTES];
    ssize_t n = read(pipe_fd, bytes, MIN(limit, sizeof bytes));

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? ERR_UNAVAILABLE : ERR_IO;
    if (n > 0)
        note_drop(spool, bytes, (size_t)n);
    return n;
}

void spool_mark(struct spool *spool, uint64_t wall_us)
{
    struct spool_mark mark = {.end = spool->end};

    if (spool->fd < 0)
        return;
    if (spool->marked_us == 0 || wall_us - spool->marked_us >= MARK_US) {
        spool->mark_slot = spool->marked_us == 0 ? 0 : (spool->mark_slot + 1) % SPOOL_MARKS_MAX;
        spool->marked_us = wall_us;
    }
    mark.time_us = spool->marked_us;
    (void)!pwrite(spool->fd, &mark, sizeof mark,
                  MARKS_AT + (off_t)(spool->mark_slot * sizeof mark));
}

static int compare_marks(const void *a, const void *b)
{
    const struct spool_mark *first = a, *second = b;

    return first->end < second->end ? -1 : first->end > second->end;
}

size_t spool_marks_read(const struct spool *spool, struct spool_mark marks[SPOOL_MARKS_MAX])
{
    size_t size = SPOOL_MARKS_MAX * sizeof *marks, count = 0;

    if (pread(spool->fd, marks, size, MARKS_AT) != (ssize_t)size)
        return 0;
    for (size_t i = 0; i < SPOOL_MARKS_MAX; i++)
        if (marks[i].end > spool->base && marks[i].end <= spool->end)
            marks[count++] = marks[i];
    qsort(marks, count, sizeof *marks, compare_marks);
    return count;
}

int spool_read(const struct spool *spool, uint64_t offset, void *to, size_t len)
{
    char *at = to;

    while (len > 0) {
        ssize_t n = pread(spool->fd, at, len, file_offset(spool, offset));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_IO;
        at += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int copy_rest(const struct spool *spool, uint64_t from, int fd)
{
    size_t len = (size_t)(spool->end - from);
    char *bytes;
    int code;

    if (len == 0)
        return 0;
    bytes = malloc(len);
    if (!bytes)
        return ERR_LIMIT;
    code = spool_read(spool, from, bytes, len);
    if (!code)
        code = write_at(fd, bytes, len, DATA_AT);
    free(bytes);
    return code;
}

void spool_renew(struct spool *spool, uint64_t stored)
{
    char path[PATH_BYTES], old_path[PATH_BYTES], hidden[PATH_BYTES + 8];
    int fd;

    if (spool->fd < 0 || stored == spool->base)
        return;
    if (spool->end - stored > COPY_MAX) {
        (void)fallocate(spool->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, DATA_AT,
                        (off_t)(stored - spool->base));
        return;
    }
    spool_path(spool, spool->base, old_path);
    spool_path(spool, stored, path);
    (void)snprintf(hidden, sizeof hidden, "%s.new", path);
    if (file_make(spool, stored, hidden, &fd))
        return;
    if (copy_rest(spool, stored, fd) || rename(hidden, path) < 0) {
        fd_close(fd);
        (void)unlink(hidden);
        return;
    }
    (void)unlink(old_path);
    fd_close(spool->fd);
    spool->fd = fd;
    spool->base = stored;
    spool->marked_us = 0; /* the few bytes that were carried over count as new */
}

void spool_discard(struct spool *spool)
{
    char path[PATH_BYTES];

    if (spool->fd < 0)
        return;
    (void)unlink(spool_path(spool, spool->base, path));
    fd_close(TAKE_FD(spool->fd));
    spool->base = spool->end;
}

static int header_read(int fd, const char *directory, struct spool *ret_spool,
                       uint64_t *ret_written)
{
    struct spool_header header;
    struct stat status;
    char label[LABEL_LEN_MAX + 1];

    if (fstat(fd, &status) < 0 || status.st_size < DATA_AT ||
        pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header ||
        header.magic != SPOOL_MAGIC || header.version != SPOOL_VERSION ||
        header.label_len > LABEL_LEN_MAX ||
        header.crc != hash_crc32c(0, &header, offsetof(struct spool_header, crc)))
        return ERR_CORRUPT;
    memcpy(label, header.label, header.label_len);
    label[header.label_len] = '\0';
    spool_init(ret_spool, directory, header.stream, header.unit, header.kind, label);
    ret_spool->base = header.base;
    ret_spool->end = header.base + (uint64_t)(status.st_size - DATA_AT);
    ret_spool->dropped_lines = header.dropped_lines;
    ret_spool->dropped_bytes = header.dropped_bytes;
    ret_spool->gap_at = header.gap_at;
    *ret_written =
        (uint64_t)status.st_mtim.tv_sec * 1000000 + (uint64_t)status.st_mtim.tv_nsec / 1000;
    return 0;
}

static bool name_read(const char *name, uint64_t *ret_stream, uint64_t *ret_base)
{
    struct slice rest = slice_from(name), stream = slice_cut(&rest, '.');

    return !slice_to_u64(stream, ret_stream) && !slice_to_u64(rest, ret_base);
}

struct found {
    uint64_t stream, base;
};

static int compare_found(const void *a, const void *b)
{
    const struct found *first = a, *second = b;

    if (first->stream != second->stream)
        return first->stream < second->stream ? -1 : 1;
    return first->base < second->base ? -1 : first->base > second->base;
}

/* All files that are named like spools, sorted; others are left-overs of a renewal and go. */
static int names_read(const char *directory, struct found **ret_found, size_t *ret_count,
                      struct error *err)
{
    DIR *folder = opendir(directory);
    struct found *found = NULL;
    size_t count = 0, capacity = 0;
    struct dirent *entry;

    if (!folder)
        return error_errno(err, errno, "unable to read '%s'", directory);
    while ((entry = readdir(folder))) {
        struct found one;
        if (entry->d_name[0] == '.')
            continue;
        if (!name_read(entry->d_name, &one.stream, &one.base)) {
            (void)unlinkat(dirfd(folder), entry->d_name, 0);
            continue;
        }
        if (count == capacity) {
            struct found *grown = reallocarray(found, MAX(capacity * 2, (size_t)64), sizeof *grown);
            if (!grown)
                break;
            found = grown;
            capacity = MAX(capacity * 2, (size_t)64);
        }
        found[count++] = one;
    }
    (void)closedir(folder);
    if (count > 0)
        qsort(found, count, sizeof *found, compare_found);
    *ret_found = found;
    *ret_count = count;
    return 0;
}

static void scan_file(const char *directory, const char *path, struct found found,
                      struct spool_scan *scan)
{
    uint64_t written;
    struct spool spool;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return;
    if (header_read(fd, directory, &spool, &written) || spool.stream != found.stream ||
        spool.base != found.base) {
        log_warning("removing '%s': its beginning was not completely written", path);
        (void)unlink(path);
        fd_close(fd);
        return;
    }
    spool.fd = fd;
    scan->on_spool(scan, &spool, written);
    fd_close(spool.fd);
}

int spool_scan(const char *directory, struct spool_scan *scan, struct error *err)
{
    struct found *found;
    size_t count;
    int code = names_read(directory, &found, &count, err);

    if (code)
        return code;
    for (size_t i = 0; i < count; i++) {
        struct spool spool = {.directory = directory, .stream = found[i].stream};
        char path[PATH_BYTES];
        spool_path(&spool, found[i].base, path);
        if (i + 1 < count && found[i + 1].stream == found[i].stream)
            (void)unlink(path);
        else
            scan_file(directory, path, found[i], scan);
    }
    free(found);
    return 0;
}
