#include "net/https_private.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

struct https_library https_library;
/* Of the process, when it was loaded: those after them came with it. */
static unsigned objects_before;

static int object_count(struct dl_phdr_info *info UNUSED, size_t size UNUSED, void *count)
{
    ++*(unsigned *)count;
    return 0;
}

/* Segments that are never written (what is relocated lies in others) are pages of a file: dropped
 * here, they come back from there, or from the page cache, when they are next used. */
static int object_page_out(struct dl_phdr_info *info, size_t size UNUSED, void *count)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (++*(unsigned *)count <= objects_before)
        return 0;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type != PT_LOAD || header->p_flags & PF_W)
            continue;
        uintptr_t from = (info->dlpi_addr + header->p_vaddr) & ~(page - 1);
        uintptr_t to = info->dlpi_addr + header->p_vaddr + header->p_memsz;
        (void)madvise((void *)from, to - from, MADV_DONTNEED);
    }
    return 0;
}

void https_library_page_out(void)
{
    unsigned count = 0;
    (void)dl_iterate_phdr(object_page_out, &count);
}

int https_library_load(struct error *err)
{
    if (https_library.is_loaded)
        return 0;
    objects_before = 0;
    (void)dl_iterate_phdr(object_count, &objects_before);
    void *handle = dlopen(HTTPS_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        error_set(err, ERR_UNSUPPORTED, "unable to load " HTTPS_LIBRARY);
        return error_hint(err, "install it: apt-get install libcurl4");
    }
#define X(name)                                                                                    \
    https_library.name = (__typeof__(https_library.name))dlsym(handle, "curl_" #name);             \
    if (!https_library.name)                                                                       \
        return error_set(err, ERR_UNSUPPORTED, HTTPS_LIBRARY " has no curl_" #name);
    CURL_FUNCTIONS(X)
#undef X
    if (https_library.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return error_set(err, ERR_FAILED, "unable to set up " HTTPS_LIBRARY);
    https_library.is_loaded = true;
    return 0;
}
