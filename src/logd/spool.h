/* spool.h - the bytes of one stream between its pipe and the store.
 *
 * Why: bytes that logd has taken out of a pipe and not yet stored must not exist in its memory
 * alone, or a kill -9 would lose them. splice(2) moves them inside the kernel from the pipe to the
 * end of this file; the file's size is the truth about how many were moved, whenever logd dies.
 * spool/<stream>.<base>: a header page with all that is known of the stream, then its bytes from
 * the logical offset <base> on. When the stored part grows large, a new file with a higher base
 * takes over what is left; of two files the higher base counts. The file exists only while there is
 * something in it.
 */
#ifndef LOGD_SPOOL_H
#define LOGD_SPOOL_H

#include "base/error.h"
#include "logd/label.h"

#define SPOOL_DIRECTORY_MAX 3900u

/* When the bytes up to `end` came, to 50 ms. The newest ones are kept in the file, so that a
 * restart can give lines their time and put those of several streams in order. */
struct spool_mark {
    uint64_t end, time_us;
};
#define SPOOL_MARKS_MAX 192u /* of 50 ms each: more than a block stays open */

struct spool {
    const char *directory; /* borrowed */
    uint64_t stream, unit;
    uint32_t kind; /* enum keeper_stream_kind */
    char label[LABEL_LEN_MAX + 1];
    int fd;        /* -1: no file at the moment */
    uint64_t base; /* logical offset of the first byte in the file */
    uint64_t end;  /* logical offset behind the last one */
    /* What was dropped since the stream began. Survives with the file. */
    uint64_t dropped_lines, dropped_bytes;
    uint64_t marked_us; /* time of the newest mark */
    uint32_t mark_slot; /* where it stands */
    uint64_t
        gap_at; /* logical offset at which the first drop that no gap record tells of happened */
};

/* A spool without file. */
void spool_init(struct spool *spool, const char *directory, uint64_t stream, uint64_t unit,
                uint32_t kind, const char *label);
void spool_close(struct spool *spool); /* keeps the file */

/* Move up to `limit` bytes from the pipe. Returns > 0: bytes; 0: end of file; ERR_UNAVAILABLE:
 * nothing there now; ERR_NO_SPACE, ERR_IO: the file cannot take more. */
int64_t spool_take(struct spool *spool, int pipe_fd, size_t limit);
/* Read and forget up to `limit` bytes of the pipe, counting them. Returns like spool_take. */
int64_t spool_drop(struct spool *spool, int pipe_fd, size_t limit);
/* Note that what was taken up to now had come by `wall_us`. */
void spool_mark(struct spool *spool, uint64_t wall_us);
/* The marks of the file that lie within it, oldest first. Returns how many. */
size_t spool_marks_read(const struct spool *spool, struct spool_mark marks[SPOOL_MARKS_MAX]);
/* Exactly `len` bytes at the logical `offset`, which must lie within. ERR_IO. */
MUST_USE int spool_read(const struct spool *spool, uint64_t offset, void *to, size_t len);
/* Everything below `stored` may go: start a new file when little is left over, else punch a hole.
 * Failure is harmless. */
void spool_renew(struct spool *spool, uint64_t stored);
/* Remove the file; end stays, so the stream can go on. Only when all is stored. */
void spool_discard(struct spool *spool);

/* What was left behind by the process before. Calls `on_spool` for each stream's file with an open
 * spool, whose fd the callee may keep (by copying the struct and setting fd = -1 in the one
 * passed); written_us is when bytes last went in. Older doubles and files that are no spools are
 * removed. */
struct spool_scan {
    void (*on_spool)(struct spool_scan *scan, struct spool *spool, uint64_t written_us);
};
MUST_USE int spool_scan(const char *directory, struct spool_scan *scan, struct error *err);

#endif
