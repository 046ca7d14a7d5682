/* archive.h - a source folder as a tar stream (pax, by libarchive): how source travels to the
 * platform. */
#ifndef OS_ARCHIVE_H
#define OS_ARCHIVE_H

#include "base/error.h"

struct archive_writer;

MUST_USE int archive_writer_new(int fd, struct archive_writer **ret_writer,
                                struct error *err); /* fd is borrowed */
/* Add the file, folder or symlink `path` (as opened from the current folder) under the name `name`.
 * Only the type, permission bits, mtime and content travel; owners, xattrs and devices do not. */
MUST_USE int archive_writer_add(struct archive_writer *writer, const char *path, const char *name,
                                struct error *err);
MUST_USE int archive_writer_finish(struct archive_writer *writer, struct error *err);
void archive_writer_freep(struct archive_writer **writer);

struct archive_limits {
    uint64_t bytes, files; /* ceilings of what may be unpacked */
};
/* Unpack from `fd` into the existing empty folder `directory`: no absolute names, no "..", no link
 * that leaves the folder, no devices, no setuid bits. ERR_INVALID names the offending entry,
 * ERR_LIMIT, ERR_NO_SPACE. */
MUST_USE int archive_unpack(int fd, const char *directory, struct archive_limits limits,
                            struct error *err);

#endif
