/* fuzz_archive.c - arbitrary bytes as an archive: whatever it says, nothing appears outside of the
 * folder, and what appears inside keeps to the limits and leads nowhere else. */
#include "os/archive.h"
#include "os/file.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64];

/* <folder>/sentinel stands beside <folder>/target; in memory where there is such a place. */
static void prepare(void)
{
    char path[128];
    snprintf(folder, sizeof(folder), "%s/slipway-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(folder))
        abort();
    snprintf(path, sizeof(path), "%s/sentinel", folder);
    if (file_write_durable(path, SLICE("untouched"), 0600, NULL) != 0)
        abort();
}

static void clean_up(void)
{
    (void)!directory_remove_tree(folder, NULL);
}

static unsigned count_entries(void)
{
    unsigned count = 0;
    DIR *dir = opendir(folder);
    while (dir && readdir(dir))
        count++;
    closedir(dir);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct archive_limits limits = {.bytes = 1 << 20, .files = 100};
    char target[128], sentinel[128];
    if (!folder[0]) {
        prepare();
        atexit(clean_up);
    }
    snprintf(target, sizeof(target), "%s/target", folder);
    snprintf(sentinel, sizeof(sentinel), "%s/sentinel", folder);
    int fd = memfd_create("archive", MFD_CLOEXEC);
    if (fd < 0 || mkdir(target, 0700) != 0)
        abort();
    if (file_write_all(fd, (struct slice){(const char *)data, size}, NULL) != 0 ||
        lseek(fd, 0, SEEK_SET) != 0)
        abort();
    struct error err = {0};
    int r = archive_unpack(fd, target, limits, &err);
    assert(r == 0 || err.text[0]);
    fd_close(fd);

    uint64_t bytes, files;
    struct stat status;
    CLEANUP(buf_done) struct buf content = {0};
    assert(directory_size(target, &bytes, &files, NULL) != 0 || files <= limits.files);
    assert(count_entries() == 4); /* ".", "..", "target", "sentinel" */
    assert(file_read(sentinel, 100, &content, NULL) == 0 &&
           slice_eq(buf_slice(&content), SLICE("untouched")));
    assert(stat(sentinel, &status) == 0 && status.st_nlink == 1);
    if (directory_remove_tree(target, NULL) != 0)
        abort();
    return 0;
}
