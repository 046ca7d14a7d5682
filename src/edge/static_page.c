/* static_page.c - the table of pages: from the disk once, from memory afterwards.
 *
 * Ownership: the table of a site holds one reference to each of its pages, every answer another. A
 * page that leaves the table (evicted, or its site closed) keeps its memory and files, and stays in
 * the cache's account, until its last answer is sent. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/hash.h"
#include "edge/static_private.h"
#include "os/file.h"

#define HEAD_MAX (128u * 1024)

static const char *const suffixes[STATIC_CODINGS] = {"", ".gz", ".br"};

/* ---- files */

/* A regular file or folder below the root, no symbolic link on the way. The fd, or -errno.
 * O_NONBLOCK: a FIFO must not hold up the edge. */
static int site_open_file(const struct static_site *site, const char *file, struct stat *ret_stat)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW,
                           .resolve =
                               RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    long fd = syscall(SYS_openat2, site->root_fd, file, &how, sizeof how);

    if (fd < 0)
        return -errno;
    if (fstat((int)fd, ret_stat) < 0) {
        int code = -errno;

        fd_close((int)fd);
        return code;
    }
    return (int)fd;
}

static bool is_absence(int code)
{
    return code == -ENOENT || code == -ENOTDIR || code == -ELOOP || code == -EXDEV ||
           code == -ENAMETOOLONG || code == -ENXIO || code == -EACCES;
}

/* ---- account */

static void account(struct static_page *page, size_t bytes, unsigned fds)
{
    page->memory_bytes += bytes;
    page->fd_count += fds;
    page->cache->memory_bytes += bytes;
    page->cache->fd_count += fds;
}

static void page_free(struct static_page *page)
{
    for (int i = 0; i < STATIC_CODINGS; i++) {
        struct static_variant *variant = &page->variants[i];

        if (variant->state != VARIANT_LOADED)
            continue;
        free(variant->body);
        free(variant->heads);
        fd_close(variant->fd);
    }
    page->cache->memory_bytes -= page->memory_bytes;
    page->cache->fd_count -= page->fd_count;
    free(page);
}

void static_page_unref(struct static_page *page)
{
    assert(page->references > 0);
    if (--page->references == 0)
        page_free(page);
}

void static_page_forget(struct static_page *page)
{
    (void)map_remove(page->site->pages, page->path);
    list_remove(&page->node);
    page->site = NULL;
    static_page_unref(page);
}

/* Forget the least recently used until the ceilings hold again; `keep` is in use just now. */
static void cache_shrink(struct static_cache *cache, const struct static_page *keep)
{
    struct list *node = cache->pages.previous;

    while (node != &cache->pages &&
           (cache->memory_bytes > cache->memory_limit || cache->fd_count > cache->fd_limit)) {
        struct static_page *page = container_of(node, struct static_page, node);

        node = node->previous;
        if (page != keep)
            static_page_forget(page);
    }
}

/* ---- loading */

/* The folder's index for paths that end with a slash. */
static size_t file_name(char name[STATIC_PATH_MAX + 16], struct slice path)
{
    size_t len = path.len - 1;

    memcpy(name, path.ptr + 1, len);
    if (path.ptr[path.len - 1] == '/') {
        memcpy(name + len, "index.html", sizeof "index.html" - 1);
        len += sizeof "index.html" - 1;
    }
    name[len] = '\0';
    return len;
}

static struct static_page *page_new(struct static_site *site, struct slice path, const char *file,
                                    size_t file_len)
{
    size_t size = sizeof(struct static_page) + path.len + 1 + file_len + 1;
    struct static_page *page = calloc(1, size);
    char *texts;

    if (!page)
        return NULL;
    texts = (char *)(page + 1);
    memcpy(texts, path.ptr, path.len);
    memcpy(texts + path.len + 1, file, file_len);
    page->path = (struct slice){texts, path.len};
    page->file = texts + path.len + 1;
    page->cache = site->cache;
    page->references = 1;
    page->type = media_type_of((struct slice){page->file, file_len});
    list_init(&page->node);
    account(page, size + 2 * path.len + 64, 0); /* with its place in the table */
    return page;
}

/* Is there a precompressed file beside it? */
static enum static_variant_state variant_look(const struct static_site *site, const char *file,
                                              const char *suffix)
{
    char name[STATIC_PATH_MAX + 32];
    struct stat stat = {0};
    int fd;

    (void)snprintf(name, sizeof name, "%s%s", file, suffix);
    fd = site_open_file(site, name, &stat);
    if (fd < 0)
        return VARIANT_ABSENT;
    fd_close(fd);
    return S_ISREG(stat.st_mode) ? VARIANT_PRESENT : VARIANT_ABSENT;
}

static bool folder_has_index(const struct static_site *site, const char *folder)
{
    char name[STATIC_PATH_MAX + 32];

    (void)snprintf(name, sizeof name, "%s%s", folder, "/index.html");
    return variant_look(site, name, "") == VARIANT_PRESENT;
}

static enum static_load page_load(struct static_site *site, struct slice path,
                                  struct static_page **ret_page)
{
    char name[STATIC_PATH_MAX + 16];
    size_t name_len;
    struct static_page *page;
    struct stat stat = {0};
    int fd;

    if (!static_path_is_served(path))
        return STATIC_REFUSED;
    name_len = file_name(name, path);
    fd = site_open_file(site, name, &stat);
    if (fd < 0)
        return is_absence(fd) ? STATIC_ABSENT : STATIC_FAILED;
    fd_close(fd);
    if (S_ISDIR(stat.st_mode))
        return folder_has_index(site, name) ? STATIC_FOLDER : STATIC_ABSENT;
    if (!S_ISREG(stat.st_mode))
        return STATIC_ABSENT;
    page = page_new(site, path, name, name_len);
    if (!page)
        return STATIC_FAILED;
    page->variants[STATIC_IDENTITY].state = VARIANT_PRESENT;
    if (page->type->is_compressible) {
        page->variants[STATIC_GZIP].state = variant_look(site, name, suffixes[STATIC_GZIP]);
        page->variants[STATIC_BROTLI].state = variant_look(site, name, suffixes[STATIC_BROTLI]);
    }
    if (map_put(site->pages, page->path, page) < 0) {
        static_page_unref(page);
        return STATIC_FAILED;
    }
    page->site = site;
    list_push_front(&site->cache->pages, &page->node);
    cache_shrink(site->cache, page);
    *ret_page = page;
    return STATIC_LOADED;
}

enum static_load static_page_find(struct static_site *site, struct slice path,
                                  struct static_page **ret_page)
{
    struct static_page *page = map_get(site->pages, path);

    if (LIKELY(page)) {
        if (site->cache->pages.next != &page->node) {
            list_remove(&page->node);
            list_push_front(&site->cache->pages, &page->node);
        }
        *ret_page = page;
        return STATIC_LOADED;
    }
    return page_load(site, path, ret_page);
}

/* ---- variants */

static bool read_whole(int fd, char *body, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t got = pread(fd, body + done, len - done, (off_t)done);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

/* The entity tag of a file is a hash of its content, so a release that does not change it keeps the
 * browsers' copies. A big file is not read for this: its size and time of change stand in. */
static void variant_name(struct static_variant *variant, enum static_coding coding,
                         const char *content, const struct stat *stat)
{
    uint64_t high = (uint64_t)stat->st_mtim.tv_sec, low = (uint64_t)stat->st_mtim.tv_nsec;

    if (content) {
        high = hash_fast(content, variant->bytes, 0);
        low = variant->bytes;
    } else {
        low ^= variant->bytes << 20;
    }
    (void)snprintf(variant->etag, sizeof variant->etag, "\"%llx-%llx%s\"", (unsigned long long)high,
                   (unsigned long long)low,
                   coding == STATIC_IDENTITY ? ""
                   : coding == STATIC_BROTLI ? "-br"
                                             : "-gz");
}

static bool variant_make_heads(struct static_page *page, enum static_coding coding)
{
    struct static_variant *variant = &page->variants[coding];
    struct static_head head = {.status = 200,
                               .page = page,
                               .coding = coding,
                               .path = page->path,
                               .body_bytes = variant->bytes};
    struct buf heads CLEANUP(buf_done) = BUF_INIT(HEAD_MAX);

    static_head_append(&heads, page->site, &head);
    variant->ok_len = heads.len;
    head.status = 304;
    static_head_append(&heads, page->site, &head);
    if (heads.failed)
        return false;
    variant->not_modified_len = heads.len - variant->ok_len;
    variant->heads = buf_take(&heads);
    return true;
}

static bool variant_fill(struct static_page *page, enum static_coding coding, int fd,
                         const struct stat *stat)
{
    struct static_variant *variant = &page->variants[coding];
    char *content = NULL;

    variant->bytes = (uint64_t)stat->st_size;
    variant->modified_s = stat->st_mtim.tv_sec;
    variant->fd = -1;
    if (variant->bytes <= STATIC_HASH_MAX) {
        content = malloc(variant->bytes + 1);
        if (!content || !read_whole(fd, content, variant->bytes))
            goto fail;
    }
    variant_name(variant, coding, content, stat);
    if (!variant_make_heads(page, coding))
        goto fail;
    if (variant->bytes <= STATIC_BODY_MAX)
        variant->body = TAKE_PTR(content);
    free(content);
    account(page,
            (variant->body ? variant->bytes : 0) + variant->ok_len + variant->not_modified_len,
            !variant->body);
    variant->state = VARIANT_LOADED;
    return true;
fail:
    free(content);
    return false;
}

static bool variant_load(struct static_page *page, enum static_coding coding)
{
    struct static_site *site = page->site;
    char name[STATIC_PATH_MAX + 32];
    struct stat stat = {0};
    int fd;

    (void)snprintf(name, sizeof name, "%s%s", page->file, suffixes[coding]);
    fd = site_open_file(site, name, &stat);
    if (fd < 0)
        return false;
    if (!S_ISREG(stat.st_mode) || !variant_fill(page, coding, fd, &stat)) {
        fd_close(fd);
        return false;
    }
    if (page->variants[coding].body)
        fd_close(fd);
    else
        page->variants[coding].fd = fd;
    cache_shrink(site->cache, page);
    return true;
}

struct static_variant *static_page_variant(struct static_page *page, struct slice accept_encoding)
{
    bool is_present[STATIC_CODINGS] = {true, page->variants[STATIC_GZIP].state != VARIANT_ABSENT,
                                       page->variants[STATIC_BROTLI].state != VARIANT_ABSENT};
    enum static_coding coding = STATIC_IDENTITY;

    if (accept_encoding.len > 0 && (is_present[STATIC_GZIP] || is_present[STATIC_BROTLI]))
        coding = static_negotiate(accept_encoding, is_present);
    if (UNLIKELY(page->variants[coding].state != VARIANT_LOADED) && !variant_load(page, coding))
        return NULL;
    return &page->variants[coding];
}
