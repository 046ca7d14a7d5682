/* segment_recover.c - what a start finds on disk.
 *
 * Only the last segment can have been written to when the process died, so only that one is read:
 * its checkpoint and the stream table of each block tell where every stream goes on. The first
 * block that does not check ends it; what follows was never acknowledged to anyone, and its bytes
 * are still in the spool files.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "logd/segment_private.h"
#include "os/file.h"

int segment_read_file_header(int fd, struct segment_file_header *ret_header, struct buf *ret_table)
{
    struct segment_file_header header, unsealed;
    CLEANUP(buf_done) struct buf table = BUF_INIT(BLOCK_STREAMS_MAX * sizeof(struct block_stream));
    uint32_t crc;
    size_t len;

    if (pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header ||
        header.magic != SEGMENT_MAGIC || header.stream_count > BLOCK_STREAMS_MAX)
        return ERR_CORRUPT;
    if (header.version != SEGMENT_VERSION)
        return ERR_VERSION;
    len = header.stream_count * sizeof(struct block_stream);
    if (len > 0) {
        if (!buf_reserve(&table, len))
            return ERR_LIMIT;
        if (pread(fd, table.ptr, len, sizeof header) != (ssize_t)len)
            return ERR_CORRUPT;
        table.len = len;
    }
    unsealed = header;
    unsealed.crc = 0;
    crc = hash_crc32c(0, &unsealed, sizeof unsealed);
    if (table.len > 0)
        crc = hash_crc32c(crc, table.ptr, table.len);
    if (crc != header.crc)
        return ERR_CORRUPT;
    *ret_header = header;
    if (ret_table)
        buf_append_slice(ret_table, buf_slice(&table));
    return 0;
}

static int compare_segments(const void *a, const void *b)
{
    const struct segment *first = a, *second = b;

    return first->number < second->number ? -1 : first->number > second->number;
}

static bool is_day(const char *name)
{
    static const char form[] = "dddd-dd-dd";
    size_t i = 0;

    for (; form[i]; i++)
        if (form[i] == 'd' ? name[i] < '0' || name[i] > '9' : name[i] != form[i])
            return false;
    return name[i] == '\0';
}

static int day_read(struct segment_store *store, const char *day, struct error *err)
{
    char path[SEGMENT_PATH_MAX];
    DIR *directory;
    struct dirent *entry;
    int code = 0;

    (void)snprintf(path, sizeof path, "%s/%s", store->directory, day);
    directory = opendir(path);
    if (!directory)
        return error_errno(err, errno, "unable to read '%s'", path);
    while (!code && (entry = readdir(directory))) {
        struct slice name = slice_from(entry->d_name);
        struct segment segment = {0};
        struct stat status;
        if (!slice_ends_with(name, SLICE(".seg")) ||
            slice_to_u64(slice_sub(name, 0, name.len - 4), &segment.number))
            continue;
        memcpy(segment.day, day, sizeof segment.day);
        if (fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISREG(status.st_mode))
            continue;
        segment.bytes = (uint64_t)status.st_size;
        code = segment_add(store, &segment);
    }
    (void)closedir(directory);
    return code ? error_set(err, code, "out of memory") : 0;
}

static int folders_read(struct segment_store *store, struct error *err)
{
    DIR *directory = opendir(store->directory);
    struct dirent *entry;
    int code = 0;

    if (!directory)
        return error_errno(err, errno, "unable to read '%s'", store->directory);
    while (!code && (entry = readdir(directory)))
        if (is_day(entry->d_name))
            code = day_read(store, entry->d_name, err);
    (void)closedir(directory);
    if (store->segment_count > 0)
        qsort(store->segments, store->segment_count, sizeof *store->segments, compare_segments);
    return code;
}

static void table_tell(struct segment_recovery *recovery, struct slice table)
{
    struct block_stream stream;

    for (size_t at = 0; at + sizeof stream <= table.len; at += sizeof stream) {
        memcpy(&stream, table.ptr + at, sizeof stream);
        recovery->on_stream(recovery, &stream);
    }
}

/* Walk the blocks behind the checkpoint; returns where the valid ones end. */
static uint64_t blocks_read(struct segment_store *store, struct segment *segment, uint64_t start,
                            struct segment_recovery *recovery)
{
    CLEANUP(buf_done) struct buf table = BUF_INIT(BLOCK_STREAMS_MAX * sizeof(struct block_stream));
    struct segment_reader reader;
    struct block_header header;
    struct slice bytes;
    uint64_t offset = start;

    segment_reader_init(&reader);
    if (segment_reader_open(&reader, store, segment)) {
        segment_reader_done(&reader);
        return start;
    }
    while (!segment_reader_header(&reader, segment, &offset, &header, &bytes)) {
        buf_clear(&table); /* a copy: checking the body moves the reader's window */
        buf_append(&table, bytes.ptr + sizeof header,
                   header.stream_count * sizeof(struct block_stream));
        if (segment_reader_check(&reader, offset, &header))
            break;
        table_tell(recovery, buf_slice(&table));
        segment->min_time_us = MIN(segment->min_time_us, header.min_time_us);
        segment->max_time_us = MAX(segment->max_time_us, header.max_time_us);
        store->next_sequence = header.first_sequence + header.record_count;
        store->totals = header.totals;
        store->block_count++;
        offset += header.header_len + header.body_len;
    }
    segment_reader_done(&reader);
    return offset;
}

/* The last segment: take its numbers, cut off a torn end, go on writing to it. ERR_CORRUPT: it has
 * no valid header. */
static int last_recover(struct segment_store *store, struct segment *segment,
                        struct segment_recovery *recovery)
{
    CLEANUP(buf_done) struct buf table = BUF_INIT(BLOCK_STREAMS_MAX * sizeof(struct block_stream));
    CLEANUP(fd_closep) int fd = -1;
    struct segment_file_header header;
    char path[SEGMENT_PATH_MAX];
    uint64_t end;
    int code;

    fd = open(segment_path(store, segment, path), O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return ERR_IO;
    code = segment_read_file_header(fd, &header, &table);
    if (code)
        return code;
    table_tell(recovery, buf_slice(&table));
    store->next_sequence = header.next_sequence;
    store->totals = header.totals;
    segment->min_time_us = UINT64_MAX;
    segment->has_range = true;
    end = blocks_read(store, segment, sizeof header + table.len, recovery);
    if (end < segment->bytes) {
        log_warning("cutting %llu bytes that were not completely written off log segment %llu",
                    (unsigned long long)(segment->bytes - end),
                    (unsigned long long)segment->number);
        if (ftruncate(fd, (off_t)end) < 0)
            return ERR_IO;
        store->stored_bytes -= segment->bytes - end;
        segment->bytes = end;
    }
    store->fd = TAKE_FD(fd);
    store->is_unsynced = true;
    return 0;
}

int segment_recover(struct segment_store *store, struct segment_recovery *recovery,
                    struct error *err)
{
    int code = folders_read(store, err);

    while (!code && store->segment_count > 0) {
        struct segment *last = &store->segments[store->segment_count - 1];
        char path[SEGMENT_PATH_MAX], aside[SEGMENT_PATH_MAX + 16];
        code = last_recover(store, last, recovery);
        segment_path(store, last, path);
        if (code == ERR_VERSION) {
            log_warning("leaving '%s' alone: it was written by another version", path);
            return 0;
        }
        if (code != ERR_CORRUPT)
            return code ? error_set(err, code, "unable to recover '%s'", path) : 0;
        (void)snprintf(aside, sizeof aside, "%s.damaged", path);
        log_warning("putting '%s' aside: its beginning was not completely written", path);
        if (rename(path, aside) < 0)
            return error_errno(err, errno, "unable to rename '%s'", path);
        store->stored_bytes -= last->bytes;
        store->segment_count--;
        code = 0;
    }
    return code;
}
