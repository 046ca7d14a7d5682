#include "os/memory.h"

#include "os/file.h"

#define MEMFD_NOEXEC_SEAL 8u /* linux/memfd.h; older headers lack it */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int memory_new(const char *name, int *ret_fd, struct error *err)
{
    /* Never to be executed: hardened systems demand that one says so, kernels before 6.3 do not
     * know it. */
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MEMFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return error_errno(err, errno, "unable to create shared memory '%s'", name);
    *ret_fd = fd;
    return 0;
}

static int memory_seal(int fd, int seals, struct error *err)
{
    if (fcntl(fd, F_ADD_SEALS, seals | F_SEAL_SEAL) != 0)
        return error_errno(err, errno, "unable to seal shared memory");
    return 0;
}

int memory_sealed(const char *name, struct slice content, int *ret_fd, struct error *err)
{
    CLEANUP(fd_closep) int fd = -1;
    int r = memory_new(name, &fd, err);
    if (r != 0)
        return r;
    if (file_write_all(fd, content, err) != 0)
        return error_wrap(err, "unable to fill shared memory '%s'", name);
    if ((r = memory_seal(fd, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK, err)) != 0)
        return r;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int memory_shared(const char *name, size_t size, int *ret_fd, struct error *err)
{
    CLEANUP(fd_closep) int fd = -1;
    int r = memory_new(name, &fd, err);
    if (r != 0)
        return r;
    if (ftruncate(fd, (off_t)size) != 0)
        return error_errno(err, errno, "unable to size shared memory '%s'", name);
    if ((r = memory_seal(fd, F_SEAL_GROW | F_SEAL_SHRINK, err)) != 0)
        return r;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int memory_map(int fd, bool writable, bool require_sealed, void **ret_base, size_t *ret_size,
               struct error *err)
{
    const int all = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;
    if (require_sealed) {
        int seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0 || (seals & all) != all)
            return error_set(err, ERR_INVALID, "unable to map memory that is not sealed");
    }
    struct stat status;
    if (fstat(fd, &status) != 0)
        return error_errno(err, errno, "unable to map memory");
    if (status.st_size <= 0)
        return error_set(err, ERR_INVALID, "unable to map memory: it is empty");
    size_t size = (size_t)status.st_size;
    void *base = mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return error_errno(err, errno, "unable to map %zu bytes of memory", size);
    *ret_base = base;
    *ret_size = size;
    return 0;
}

void memory_unmap(void *base, size_t size)
{
    if (base)
        munmap(base, size);
}

int memory_reserve(size_t size, void **ret_base, struct error *err)
{
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return error_errno(err, errno, "unable to reserve %zu bytes", size);
    *ret_base = base;
    return 0;
}

void memory_forget(void *base, size_t size)
{
    (void)madvise(base, size, MADV_DONTNEED);
}
