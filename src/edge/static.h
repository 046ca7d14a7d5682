/* static.h - static sites in the edge: what a request for a file is answered with.
 *
 * A release of a site is a folder that never changes, so nothing is looked at twice: the first
 * request for a path opens its files, later ones are answered from a table with a head that is
 * ready but for Date and Connection. Small bodies stay in memory, big ones as open files for
 * sendfile(2); both within the ceilings of one static_cache for the whole edge, least recently used
 * out first. Nothing is kept before somebody asks for it.
 *
 * How the edge sends an answer: one writev of {answer.head, the edge's own fields, CRLF,
 * answer.body}; with answer.fd >= 0 the same without body (MSG_MORE), then sendfile until
 * body_bytes are out. static_answer_done when the last byte is sent or the connection is gone;
 * until then head, body and fd stay valid, even when the site is closed meanwhile.
 *
 * System calls (for the seccomp filter): openat, openat2, fstat (newfstatat), pread64, close,
 * sendfile. All happen on local disks and only when a path is asked for the first time; sendfile
 * may wait for the disk.
 *
 * Paths: decoded once; NUL, backslash, encoded slashes, empty and dot segments are refused before
 * any file is looked for, and the kernel resolves below the root without following symbolic links.
 * Names that begin with a dot do not exist, except below /.well-known/.
 */
#ifndef EDGE_STATIC_H
#define EDGE_STATIC_H

#include "base/error.h"
#include "base/slice.h"
#include "net/snapshot.h"

struct static_cache; /* one per edge */
struct static_site;  /* one static service of a snapshot; sites with one root and one set of rules
                        are shared by snapshots */
struct static_page;

#define STATIC_MEMORY_LIMIT (64u * 1024 * 1024)
#define STATIC_FD_LIMIT     1024u
#define STATIC_FD_SHARE     16u /* never more than this part of RLIMIT_NOFILE */

/* Bodies and heads up to memory_limit_bytes, open files up to fd_limit and 1/STATIC_FD_SHARE of
 * RLIMIT_NOFILE. Pages in flight may exceed both for their time. */
struct static_cache *static_cache_new(size_t memory_limit_bytes, unsigned fd_limit);
void static_cache_free(
    struct static_cache *cache); /* every site closed, every answer done; NULL allowed */
size_t static_cache_memory(const struct static_cache *cache); /* bytes in use */
unsigned static_cache_fds(const struct static_cache *cache);

/* When a snapshot is compiled: the site of a service of kind SNAPSHOT_STATIC. Copies what it needs;
 * cheap when the snapshot before had it, too. ERR_NOT_FOUND and others when the root cannot be
 * opened: answer 503 for its routes. */
MUST_USE int static_site_open(struct static_cache *cache, const struct snapshot *snapshot,
                              const struct snapshot_service *service, struct static_site **ret_site,
                              struct error *err);
void static_site_close(struct static_site *site); /* once for each open; NULL allowed */

enum static_method { STATIC_GET, STATIC_HEAD, STATIC_OTHER };

/* Slices are borrowed for the call. A header that is absent is the empty slice; several lines of
 * one name: the first (Accept-Encoding: joined, or the first). */
struct static_request {
    enum static_method method;
    struct slice path;  /* as routed: begins with '/', percent-encoding not (or only partly) undone,
                           no query; after prefix removal */
    struct slice query; /* without '?', for redirects */
    struct slice
        prefix; /* what the route removed from the path ("/docs"), for redirects; usually empty */
    struct slice accept_encoding, if_none_match, if_modified_since, if_range, range;
};

struct static_answer {
    unsigned status;
    bool is_error; /* the edge makes its own error page for `status`; `head` then has only further
                      fields (Allow, ...) */
    struct slice head; /* status line and fields, each ended by CRLF; without Date, Connection and
                          the empty line */
    struct slice body; /* in memory, or empty */
    int fd;            /* -1, or the file to send body_bytes of from body_offset */
    uint64_t body_offset;
    uint64_t body_bytes; /* of body or fd; 0 for HEAD, 304 */
    const char *reason; /* for the access record and error page: "" or a short word ("not found") */
    struct static_page *page; /* private: what keeps the slices alive */
    char *own_head;           /* private */
};

/* Answer a request. Never fails: trouble with the disk is an answer, too (500, 503). Zero
 * allocations and system calls for a page that is cached, unless a range, a redirect or the like
 * needs a head of its own. */
void static_site_answer(struct static_site *site, const struct static_request *request,
                        struct static_answer *ret_answer);
void static_answer_done(struct static_answer *answer); /* idempotent */

#endif
