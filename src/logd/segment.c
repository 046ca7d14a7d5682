#include "logd/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "logd/segment_private.h"
#include "os/file.h"

char *segment_path(const struct segment_store *store, const struct segment *segment, char *buffer)
{
    (void)snprintf(buffer, SEGMENT_PATH_MAX, "%s/%s/%010llu.seg", store->directory, segment->day,
                   (unsigned long long)segment->number);
    return buffer;
}

int segment_add(struct segment_store *store, const struct segment *segment)
{
    if (store->segment_count == store->segment_capacity) {
        size_t capacity = MAX(store->segment_capacity * 2, (size_t)16);
        struct segment *grown = reallocarray(store->segments, capacity, sizeof *grown);
        if (!grown)
            return ERR_LIMIT;
        store->segments = grown;
        store->segment_capacity = capacity;
    }
    store->segments[store->segment_count++] = *segment;
    store->stored_bytes += segment->bytes;
    return 0;
}

int segment_store_open(struct segment_store *store, const char *directory,
                       const struct logd_settings *settings, struct segment_recovery *recovery,
                       struct error *err)
{
    int code;

    memset(store, 0, sizeof *store);
    store->fd = store->previous_fd = store->folder_fd = -1;
    store->settings = settings;
    if (strlen(directory) >= sizeof store->directory)
        return error_set(err, ERR_LIMIT, "the path of the log store is too long");
    memcpy(store->directory, directory, strlen(directory) + 1);
    code = directory_make(directory, 0750, err);
    if (!code)
        code = segment_recover(store, recovery, err);
    if (code)
        segment_store_close(store);
    return code;
}

void segment_store_close(struct segment_store *store)
{
    fd_close(store->fd);
    fd_close(store->previous_fd);
    fd_close(store->folder_fd);
    store->fd = store->previous_fd = store->folder_fd = -1;
    free(store->segments);
    store->segments = NULL;
    store->segment_count = store->segment_capacity = 0;
}

static struct segment *segment_last(struct segment_store *store)
{
    return store->segment_count ? &store->segments[store->segment_count - 1] : NULL;
}

static void day_format(uint64_t wall_us, char day[11])
{
    char text[CLOCK_TEXT_SIZE];

    memcpy(day, clock_format(wall_us, text), 10);
    day[10] = '\0';
}

static int segment_create_file(struct segment_store *store, struct segment *segment,
                               struct slice content, int *ret_fd, struct error *err)
{
    char path[SEGMENT_PATH_MAX], day[sizeof store->directory + 16];
    CLEANUP(fd_closep) int fd = -1;
    int code;

    (void)snprintf(day, sizeof day, "%s/%s", store->directory, segment->day);
    if (!file_is_directory(day)) {
        code = directory_make(day, 0750, err);
        if (!code)
            code = directory_fsync(store->directory, err);
        if (code)
            return code;
    }
    segment_path(store, segment, path);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return error_errno(err, errno, "unable to make '%s'", path);
    code = file_write_all(fd, content, err);
    if (code) {
        (void)unlink(path);
        return error_wrap(err, "unable to write '%s'", path);
    }
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* The full file goes to the next sync. Two of them between two syncs means a flood; then the older
 * one is synced here, which is the brake that a disk at its limit needs. */
static void segment_leave(struct segment_store *store)
{
    if (store->previous_fd >= 0) {
        (void)fdatasync(store->previous_fd);
        fd_close(store->previous_fd);
    }
    store->previous_fd = store->fd;
    store->fd = -1;
}

static int open_folder(const struct segment_store *store, const char *day)
{
    char path[SEGMENT_PATH_MAX];

    (void)snprintf(path, sizeof path, "%s/%s", store->directory, day);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

size_t segment_store_take_unsynced(struct segment_store *store, int ret_fds[SEGMENT_SYNC_MAX])
{
    size_t count = 0;

    if (store->is_unsynced && store->fd >= 0) {
        int fd = fcntl(store->fd, F_DUPFD_CLOEXEC, 3);
        if (fd >= 0)
            ret_fds[count++] = fd;
        else
            (void)fdatasync(store->fd);
    }
    if (store->previous_fd >= 0)
        ret_fds[count++] = TAKE_FD(store->previous_fd);
    if (store->folder_fd >= 0)
        ret_fds[count++] = TAKE_FD(store->folder_fd);
    store->is_unsynced = false;
    return count;
}

static int segment_create(struct segment_store *store, const char *day, uint64_t wall_us,
                          const struct block_stream *checkpoint, size_t stream_count,
                          struct error *err)
{
    struct segment *last = segment_last(store);
    struct segment segment = {.number = last ? last->number + 1 : 1, .min_time_us = UINT64_MAX};
    struct segment_file_header header = {.magic = SEGMENT_MAGIC,
                                         .version = SEGMENT_VERSION,
                                         .number = segment.number,
                                         .created_us = wall_us,
                                         .next_sequence = store->next_sequence,
                                         .totals = store->totals,
                                         .stream_count = (uint32_t)stream_count};
    struct buf content = BUF_INIT(sizeof header + stream_count * sizeof *checkpoint);
    int fd, code;

    segment.has_range = true;
    memcpy(segment.day, day, sizeof segment.day);
    header.crc = hash_crc32c(0, &header, sizeof header);
    if (stream_count > 0)
        header.crc = hash_crc32c(header.crc, checkpoint, stream_count * sizeof *checkpoint);
    buf_append(&content, &header, sizeof header);
    buf_append(&content, checkpoint, stream_count * sizeof *checkpoint);
    segment.bytes = content.len;
    code = content.failed ? error_set(err, ERR_LIMIT, "out of memory")
                          : segment_create_file(store, &segment, buf_slice(&content), &fd, err);
    buf_done(&content);
    if (code)
        return code;
    code = segment_add(store, &segment);
    if (code) {
        fd_close(fd);
        return error_set(err, code, "out of memory");
    }
    segment_leave(store);
    store->fd = fd;
    fd_close(store->folder_fd);
    store->folder_fd = open_folder(store, day);
    store->block_count = 0;
    store->is_unsynced = true;
    return 0;
}

int segment_store_begin(struct segment_store *store, uint64_t wall_us,
                        const struct block_stream *checkpoint, size_t stream_count,
                        struct place *ret_place, struct error *err)
{
    const struct logd_settings *settings = store->settings;
    struct segment *last = segment_last(store);
    char day[11];
    int code;

    day_format(wall_us, day);
    if (store->fd < 0 || !last || last->bytes >= settings->segment_bytes ||
        store->block_count >= settings->segment_blocks || strcmp(day, last->day) != 0) {
        code = segment_create(store, day, wall_us, checkpoint, stream_count, err);
        if (code)
            return code;
        last = segment_last(store);
    }
    *ret_place = (struct place){.segment = last->number, .block = last->bytes};
    return 0;
}

int segment_store_append(struct segment_store *store, const struct block_builder *builder,
                         struct slice bytes, const struct block_totals *totals, struct error *err)
{
    struct segment *last = segment_last(store);
    size_t done = 0;

    assert(store->fd >= 0 && last);
    while (done < bytes.len) {
        ssize_t n =
            pwrite(store->fd, bytes.ptr + done, bytes.len - done, (off_t)(last->bytes + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int reason = n == 0 ? ENOSPC : errno;
            (void)!ftruncate(store->fd, (off_t)last->bytes);
            return error_errno(err, reason, "unable to write log segment %llu",
                               (unsigned long long)last->number);
        }
        done += (size_t)n;
    }
    last->bytes += bytes.len;
    last->min_time_us = MIN(last->min_time_us, builder->min_time_us);
    last->max_time_us = MAX(last->max_time_us, builder->max_time_us);
    store->stored_bytes += bytes.len;
    store->block_count++;
    store->next_sequence = builder->first_sequence + builder->record_count;
    store->totals = *totals;
    store->is_unsynced = true;
    return 0;
}

static void segment_remove_first(struct segment_store *store)
{
    struct segment *first = &store->segments[0];
    char path[SEGMENT_PATH_MAX];
    char *slash;

    segment_path(store, first, path);
    if (unlink(path) < 0 && errno != ENOENT)
        log_warning("unable to remove log segment '%s': %s", path, strerror(errno));
    slash = strrchr(path, '/');
    *slash = '\0';
    (void)rmdir(path); /* the day's folder, once it is empty */
    store->stored_bytes -= first->bytes;
    memmove(first, first + 1, (--store->segment_count) * sizeof *first);
}

bool segment_store_retain(struct segment_store *store, uint64_t wall_us)
{
    struct segment *first = store->segments;

    if (store->segment_count < 2)
        return false;
    if (store->stored_bytes <= store->settings->retention_bytes) {
        uint64_t oldest =
            wall_us > store->settings->retention_us ? wall_us - store->settings->retention_us : 0;
        char day[11];
        day_format(oldest, day);
        if (strcmp(first->day, day) > 0) /* cheap, and the usual case */
            return false;
        segment_measure(store, first);
        if (first->max_time_us >= oldest)
            return false;
    }
    segment_remove_first(store);
    return true;
}

bool segment_store_free_oldest(struct segment_store *store)
{
    if (store->segment_count < 2)
        return false;
    segment_remove_first(store);
    return true;
}

struct segment *segment_find(struct segment_store *store, uint64_t number)
{
    size_t low = 0, high = store->segment_count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (store->segments[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < store->segment_count ? &store->segments[low] : NULL;
}

struct segment *segment_find_before(struct segment_store *store, uint64_t number)
{
    struct segment *at = segment_find(store, number);
    size_t index = at ? (size_t)(at - store->segments) : store->segment_count;

    return index > 0 ? &store->segments[index - 1] : NULL;
}

void segment_measure(struct segment_store *store, struct segment *segment)
{
    struct segment_reader reader;
    struct block_header header;
    struct slice bytes;
    uint64_t offset = SEGMENT_FIRST_BLOCK;

    if (segment->has_range)
        return;
    segment->min_time_us = UINT64_MAX;
    segment->max_time_us = 0;
    segment_reader_init(&reader);
    if (!segment_reader_open(&reader, store, segment))
        while (!segment_reader_header(&reader, segment, &offset, &header, &bytes)) {
            segment->min_time_us = MIN(segment->min_time_us, header.min_time_us);
            segment->max_time_us = MAX(segment->max_time_us, header.max_time_us);
            offset += header.header_len + header.body_len;
        }
    segment_reader_done(&reader);
    segment->has_range = true;
}
