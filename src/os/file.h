/* file.h - files and folders: durable writes, whole-file reads, safe trees. Blocking; local disks
 * only. */
#ifndef OS_FILE_H
#define OS_FILE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include <stdbool.h>
#include <sys/types.h>

void fd_close(int fd);   /* -1 allowed; keeps errno */
void fd_closep(int *fd); /* for CLEANUP */
MUST_USE int fd_set_nonblocking(int fd, bool nonblocking);
MUST_USE int fd_set_cloexec(int fd, bool cloexec);

/* The whole content, without waiting; ERR_LIMIT when larger than limit_bytes, ERR_INVALID for a
 * FIFO. */
MUST_USE int file_read(const char *path, size_t limit_bytes, struct buf *ret_content,
                       struct error *err);
/* Atomic and durable: temporary file beside it, fsync, rename, fsync of the folder. */
MUST_USE int file_write_durable(const char *path, struct slice content, mode_t mode,
                                struct error *err);
MUST_USE int file_write_all(int fd, struct slice content,
                            struct error *err); /* loops over short writes */
bool file_exists(const char *path);
bool file_is_directory(const char *path);

MUST_USE int directory_make(const char *path, mode_t mode,
                            struct error *err); /* with parents; existing is fine */
MUST_USE int directory_remove_tree(const char *path,
                                   struct error *err); /* absent is fine; never follows links */
/* What is in the folder `path` goes, the folder stays; absent is fine. Folders of other users below
 * it are emptied as far as this user may, and stay where it may not remove them; they may nest 8
 * deep, this user's own at any depth. Never follows links, neither in the place of the folder.
 * ERR_PERMISSION and others when something else remains. */
MUST_USE int directory_remove_content(const char *path, struct error *err);
MUST_USE int directory_fsync(const char *path, struct error *err);
MUST_USE int directory_size(const char *path, uint64_t *ret_bytes, uint64_t *ret_files,
                            struct error *err);
/* Bytes that an unprivileged writer may still use on the file system of `path`. */
MUST_USE int disk_free_bytes(const char *path, uint64_t *ret_bytes, struct error *err);
/* "a/b" joined; absolute `name` is not special. */
char *path_join(struct arena *arena, const char *directory, const char *name);
/* An advisory whole-file lock that ends with the process. ERR_CONFLICT when another process has it.
 */
MUST_USE int file_lock(const char *path, int *ret_fd, struct error *err);

#endif
