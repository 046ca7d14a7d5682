/* static_private.h - what the files of the static sites share. */
#ifndef EDGE_STATIC_PRIVATE_H
#define EDGE_STATIC_PRIVATE_H

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "edge/static.h"
#include "net/http1.h"
#include "net/media_type.h"

/* Kept in memory and sent with the head in one call; larger bodies are sent from the file: without
 * the copy, sendfile(2) is the faster way from about this size on (bench/README.md). */
#define STATIC_BODY_MAX  (16u * 1024)
#define STATIC_HASH_MAX  (256u * 1024) /* bodies up to here are read once, for their entity tag */
#define STATIC_PATH_MAX  4096u         /* decoded; longer ones name no file */
#define STATIC_RULES_MAX 64u           /* header rules of a site: a bit each in a mask */
#define STATIC_ETAG_SIZE 48

enum static_coding { STATIC_IDENTITY, STATIC_GZIP, STATIC_BROTLI, STATIC_CODINGS };

struct static_rule { /* a header of the site for paths that match */
    struct slice path, name, value;
};

struct static_redirect {
    struct slice from, to; /* without the "*" */
    bool is_prefix;        /* from ended in "*" */
    bool carries_rest;     /* to ended in "*" */
    unsigned status;
};

struct static_site {
    struct static_cache *cache;
    struct list node;
    unsigned references;
    int root_fd;
    struct buf definition; /* root and rules, serialised: what makes two sites the same; the slices
                              below point here */
    bool is_single_page;
    struct static_rule *rules;
    size_t rule_count;
    struct static_redirect *redirects;
    size_t redirect_count;
    struct map *pages; /* URL path → struct static_page */
};

enum static_variant_state { VARIANT_ABSENT, VARIANT_PRESENT, VARIANT_LOADED };

struct static_variant { /* one encoding of a page */
    enum static_variant_state state;
    uint64_t bytes;
    char *body; /* when it is small enough */
    int fd;     /* else; -1 */
    int64_t modified_s;
    char etag[STATIC_ETAG_SIZE];
    char *heads; /* the heads of 200 and of 304, one behind the other */
    size_t ok_len, not_modified_len;
};

struct static_page { /* one URL path that names a file */
    struct static_cache *cache;
    struct static_site *site; /* NULL once out of its table */
    struct list node;         /* least recently used last; in no list once out of the table */
    unsigned references;      /* one of the table, one for each answer */
    size_t memory_bytes;
    unsigned fd_count;
    const struct media_type *type;
    struct static_variant variants[STATIC_CODINGS];
    struct slice path; /* URL path, decoded; in the same allocation */
    const char *file;  /* relative to the root; NUL-terminated; in the same allocation */
};

struct static_cache {
    struct list sites;
    struct list pages; /* most recently used first */
    size_t memory_limit, memory_bytes;
    unsigned fd_limit, fd_count;
};

/* ---- static_path.c */

/* Undo percent-encoding once. 0 with the decoded path (in `space`, or `path` itself when nothing is
 * encoded), or the status to refuse the request with: 400 for broken encoding or NUL, 404 for what
 * can name no file. */
unsigned static_path_decode(struct slice path, char space[STATIC_PATH_MAX], struct slice *ret_path);
/* No dot files (except /.well-known/), no empty or dot segments, no backslash, no control
 * character. */
bool static_path_is_served(struct slice path);
/* '*' stands for any number of any characters. Linear in both but for one factor. */
bool static_path_matches(struct slice pattern, struct slice path);
/* Append for use in a Location field: what must be encoded is; '%', '?' and '#' too when the text
 * is decoded. */
void static_path_append(struct buf *buf, struct slice text, bool is_decoded);
/* A name that bundlers derive from the content, such as index-DiwrgTda.js or main.3f2a1b4c.css. */
bool static_path_is_hashed(struct slice path);

/* ---- static_negotiate.c */

/* The best of the codings for which `is_present`, RFC 9110 §12.5.3. Identity when nothing else will
 * do. */
enum static_coding static_negotiate(struct slice accept_encoding,
                                    const bool is_present[STATIC_CODINGS]);
/* If-None-Match against a strong entity tag: RFC 9110 §13.1.2, weak comparison. */
bool static_etag_is_listed(struct slice list, struct slice etag);
/* A date field that names exactly this second. Why not "not later than": after a rollback the older
 * file is the newer one. */
bool static_date_is(struct slice date, int64_t epoch_seconds);
enum static_range { STATIC_RANGE_NONE, STATIC_RANGE_ONE, STATIC_RANGE_UNSATISFIABLE };
/* RFC 9110 §14.1.2. Several ranges, other units and bad syntax: NONE, the whole is sent. */
enum static_range static_range_parse(struct slice range, uint64_t size, uint64_t *ret_offset,
                                     uint64_t *ret_len);

/* ---- static_page.c */

enum static_load { STATIC_LOADED, STATIC_ABSENT, STATIC_REFUSED, STATIC_FOLDER, STATIC_FAILED };
/* The page of a path from the table or, the first time, from the disk. REFUSED: the path is not
 * static_path_is_served. FOLDER: there is /path/index.html. The page is borrowed until the next
 * call. */
enum static_load static_page_find(struct static_site *site, struct slice path,
                                  struct static_page **ret_page);
/* The chosen variant, with body or file and heads ready. NULL: the disk refused. */
struct static_variant *static_page_variant(struct static_page *page, struct slice accept_encoding);
void static_page_unref(struct static_page *page);
void static_page_forget(
    struct static_page *page); /* out of the table; freed with its last answer */

/* ---- static_head.c */

struct static_head {
    unsigned status;
    const struct static_page *page;
    enum static_coding coding;
    struct slice path;                /* that header rules are matched against */
    uint64_t body_offset, body_bytes; /* 206: the part; else all */
};
void static_head_append(struct buf *buf, const struct static_site *site,
                        const struct static_head *head);
/* Header rules that apply to a path, a bit each. */
uint64_t static_head_rules(const struct static_site *site, struct slice path);
/* The fields of the header rules alone, for answers without a page. */
void static_head_append_rules(struct buf *buf, const struct static_site *site, struct slice path);

#endif
