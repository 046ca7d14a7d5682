/* memory.h - shared, sealed and mapped memory (memfd_create(2), mmap(2)). */
#ifndef OS_MEMORY_H
#define OS_MEMORY_H

#include "base/error.h"
#include "base/slice.h"
#include <stdbool.h>

/* A memfd with `content`, sealed against write, grow and shrink: an immutable message. Caller
 * closes. */
MUST_USE int memory_sealed(const char *name, struct slice content, int *ret_fd, struct error *err);
/* A zeroed memfd of `size` bytes, sealed against resizing only: a shared slab. */
MUST_USE int memory_shared(const char *name, size_t size, int *ret_fd, struct error *err);
/* Map a whole memfd. With `require_sealed` an fd that could still change is refused (ERR_INVALID).
 */
MUST_USE int memory_map(int fd, bool writable, bool require_sealed, void **ret_base,
                        size_t *ret_size, struct error *err);
void memory_unmap(void *base, size_t size);
/* Addresses for `size` bytes, zeroed, of which only pages that are written cost memory. */
MUST_USE int memory_reserve(size_t size, void **ret_base, struct error *err);
/* Nobody needs what is in these whole pages: they are zero again and cost nothing. */
void memory_forget(void *base, size_t size);

#endif
