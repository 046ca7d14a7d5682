#include "edge/static.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "edge/static_private.h"
#include "os/file.h"

#define DEFINITION_MAX (8u * 1024 * 1024)
#define PAGES_MAX      (1u << 20)
#define HEAD_MAX       (128u * 1024)

/* ---- cache */

struct static_cache *static_cache_new(size_t memory_limit_bytes, unsigned fd_limit)
{
    struct static_cache *cache = calloc(1, sizeof *cache);
    struct rlimit limit = {.rlim_cur = 1024};

    assert(cache);
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    list_init(&cache->sites);
    list_init(&cache->pages);
    cache->memory_limit = memory_limit_bytes;
    cache->fd_limit = (unsigned)MIN((rlim_t)fd_limit, limit.rlim_cur / STATIC_FD_SHARE);
    return cache;
}

void static_cache_free(struct static_cache *cache)
{
    if (!cache)
        return;
    assert(list_is_empty(&cache->sites) && list_is_empty(&cache->pages) &&
           cache->memory_bytes == 0);
    free(cache);
}

size_t static_cache_memory(const struct static_cache *cache)
{
    return cache->memory_bytes;
}

unsigned static_cache_fds(const struct static_cache *cache)
{
    return cache->fd_count;
}

/* ---- sites */

static void define_text(struct buf *definition, const struct snapshot *snapshot,
                        struct snapshot_text text)
{
    buf_append_slice(definition, snapshot_slice(snapshot, text));
    buf_append_byte(definition, '\0');
}

/* Everything that decides how this site answers, as NUL-terminated texts in a fixed order. */
static void define(struct buf *definition, const struct snapshot *snapshot,
                   const struct snapshot_service *service)
{
    define_text(definition, snapshot, service->root);
    buf_append_u64(definition, service->is_single_page);
    buf_append_byte(definition, '\0');
    for (uint32_t i = 0; i < service->headers.count; i++) {
        const struct snapshot_header_rule *rule = &snapshot->headers[service->headers.first + i];

        define_text(definition, snapshot, rule->path);
        define_text(definition, snapshot, rule->name);
        define_text(definition, snapshot, rule->value);
    }
    for (uint32_t i = 0; i < service->redirects.count; i++) {
        const struct snapshot_redirect *redirect =
            &snapshot->redirects[service->redirects.first + i];

        define_text(definition, snapshot, redirect->from);
        define_text(definition, snapshot, redirect->to);
        buf_append_u64(definition, redirect->status);
        buf_append_byte(definition, '\0');
    }
    buf_append_u64(definition, service->headers.count);
}

static struct slice next_text(struct slice *rest)
{
    return slice_cut(rest, '\0');
}

static bool cut_star(struct slice *text)
{
    bool has_star = text->len > 0 && text->ptr[text->len - 1] == '*';

    text->len -= has_star;
    return has_star;
}

/* The reverse of define, into slices of the definition. */
static void site_read_rules(struct static_site *site)
{
    struct slice rest = buf_slice(&site->definition);

    (void)next_text(&rest);
    (void)next_text(&rest);
    for (size_t i = 0; i < site->rule_count; i++) {
        site->rules[i].path = next_text(&rest);
        site->rules[i].name = next_text(&rest);
        site->rules[i].value = next_text(&rest);
    }
    for (size_t i = 0; i < site->redirect_count; i++) {
        struct static_redirect *redirect = &site->redirects[i];
        struct slice status;
        uint64_t number = 0;

        redirect->from = next_text(&rest);
        redirect->to = next_text(&rest);
        status = next_text(&rest);
        redirect->is_prefix = cut_star(&redirect->from);
        redirect->carries_rest = cut_star(&redirect->to);
        if (slice_to_u64(status, &number) == 0)
            redirect->status = (unsigned)number;
    }
}

static void site_free(struct static_site *site)
{
    size_t cursor = 0;
    void *page;

    while (site->pages && map_next(site->pages, &cursor, NULL, &page))
        static_page_forget(page);
    map_free(site->pages);
    fd_close(site->root_fd);
    list_remove(&site->node);
    free(site->rules);
    free(site->redirects);
    buf_done(&site->definition);
    free(site);
}

static struct static_site *site_find(struct static_cache *cache, struct slice definition)
{
    list_each (node, &cache->sites) {
        struct static_site *site = container_of(node, struct static_site, node);

        if (slice_eq(buf_slice(&site->definition), definition))
            return site;
    }
    return NULL;
}

int static_site_open(struct static_cache *cache, const struct snapshot *snapshot,
                     const struct snapshot_service *service, struct static_site **ret_site,
                     struct error *err)
{
    struct buf definition CLEANUP(buf_done) = BUF_INIT(DEFINITION_MAX);
    const char *root = snapshot->strings + service->root.offset;
    struct static_site *site;

    if (service->headers.count > STATIC_RULES_MAX)
        return error_set(err, ERR_LIMIT,
                         "a static site has %u header rules, at most %u are possible",
                         service->headers.count, STATIC_RULES_MAX);
    define(&definition, snapshot, service);
    if (definition.failed)
        return error_set(err, ERR_LIMIT, "the rules of a static site are larger than %u MiB",
                         DEFINITION_MAX >> 20);
    site = site_find(cache, buf_slice(&definition));
    if (site) {
        site->references++;
        *ret_site = site;
        return 0;
    }

    site = calloc(1, sizeof *site);
    assert(site);
    list_init(&site->node);
    site->cache = cache;
    site->references = 1;
    site->is_single_page = service->is_single_page;
    site->rule_count = service->headers.count;
    site->redirect_count = service->redirects.count;
    site->rules = calloc(site->rule_count + 1, sizeof *site->rules);
    site->redirects = calloc(site->redirect_count + 1, sizeof *site->redirects);
    assert(site->rules && site->redirects);
    site->definition = definition;
    definition = (struct buf){0};
    site_read_rules(site);
    site->pages = map_new(PAGES_MAX);
    site->root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (site->root_fd < 0) {
        int code = error_errno(err, errno, "unable to open the static site '%s'", root);

        site_free(site);
        return code;
    }
    list_push_back(&cache->sites, &site->node);
    *ret_site = site;
    return 0;
}

void static_site_close(struct static_site *site)
{
    if (!site)
        return;
    assert(site->references > 0);
    if (--site->references == 0)
        site_free(site);
}

/* ---- answers */

static void answer_error(struct static_answer *answer, unsigned status, const char *reason)
{
    answer->status = status;
    answer->is_error = true;
    answer->reason = reason;
}

/* A head for this answer alone. */
static void answer_own_head(struct static_answer *answer, struct buf *head)
{
    if (head->failed) {
        answer_error(answer, 500, "head too large");
        buf_done(head);
        return;
    }
    answer->head = buf_slice(head);
    answer->own_head = buf_take(head);
    answer->head.ptr = answer->own_head;
}

static void answer_body(struct static_answer *answer, const struct static_variant *variant,
                        uint64_t offset, uint64_t bytes)
{
    answer->body_bytes = bytes;
    if (variant->body) {
        answer->body = (struct slice){variant->body + offset, bytes};
    } else {
        answer->fd = variant->fd;
        answer->body_offset = offset;
    }
}

/* What one request makes of one page. */
struct asked {
    struct static_site *site;
    const struct static_request *request;
    struct static_page *page;
    struct static_variant *variant;
    struct slice path; /* as requested: what header rules go by */
};

static void answer_with_head(struct static_answer *answer, const struct asked *asked,
                             unsigned status, uint64_t offset, uint64_t bytes)
{
    struct buf buf = BUF_INIT(HEAD_MAX);
    struct static_head head = {.status = status,
                               .page = asked->page,
                               .coding =
                                   (enum static_coding)(asked->variant - asked->page->variants),
                               .path = asked->path,
                               .body_offset = offset,
                               .body_bytes = bytes};

    answer->status = status;
    static_head_append(&buf, asked->site, &head);
    answer_own_head(answer, &buf);
}

static bool is_unchanged(const struct static_request *request, const struct static_variant *variant)
{
    if (request->if_none_match.len > 0)
        return static_etag_is_listed(request->if_none_match, slice_from(variant->etag));
    return request->if_modified_since.len > 0 &&
           static_date_is(request->if_modified_since, variant->modified_s);
}

static bool is_range_wanted(const struct static_request *request,
                            const struct static_variant *variant)
{
    if (request->range.len == 0 || request->method != STATIC_GET)
        return false;
    if (request->if_range.len == 0)
        return true;
    return slice_eq(request->if_range, slice_from(variant->etag)) ||
           (request->if_range.ptr[0] != '"' &&
            static_date_is(request->if_range, variant->modified_s));
}

static void answer_unsatisfiable(struct static_answer *answer, uint64_t bytes)
{
    struct buf head = BUF_INIT(HEAD_MAX);

    answer_error(answer, 416, "range outside of the file");
    buf_append_text(&head, "Content-Range: bytes */");
    buf_append_u64(&head, bytes);
    buf_append(&head, "\r\n", 2);
    answer_own_head(answer, &head);
}

/* A page whose header rules are those of its own path: the heads that are ready will do. */
static bool is_head_ready(const struct asked *asked)
{
    return asked->site->rule_count == 0 || slice_eq(asked->path, asked->page->path) ||
           static_head_rules(asked->site, asked->path) ==
               static_head_rules(asked->site, asked->page->path);
}

static void answer_page(struct static_answer *answer, const struct asked *asked)
{
    const struct static_request *request = asked->request;
    const struct static_variant *variant = asked->variant;
    uint64_t offset = 0, bytes = variant->bytes;
    unsigned status = 200;

    if (is_unchanged(request, variant)) {
        status = 304;
    } else if (is_range_wanted(request, variant)) {
        enum static_range range =
            static_range_parse(request->range, variant->bytes, &offset, &bytes);

        if (range == STATIC_RANGE_UNSATISFIABLE) {
            answer_unsatisfiable(answer, variant->bytes);
            return;
        }
        if (range == STATIC_RANGE_ONE)
            status = 206;
    }
    if (LIKELY(status != 206 && is_head_ready(asked))) {
        answer->status = status;
        answer->head = status == 200 ? (struct slice){variant->heads, variant->ok_len}
                                     : (struct slice){variant->heads + variant->ok_len,
                                                      variant->not_modified_len};
    } else {
        answer_with_head(answer, asked, status, offset, bytes);
    }
    if (status != 304 && request->method == STATIC_GET && !answer->is_error)
        answer_body(answer, variant, offset, bytes);
}

/* Find the variant and hold the page for the answer. */
static bool ask(struct asked *asked, struct static_page *page, struct static_answer *answer)
{
    asked->page = page;
    asked->variant = static_page_variant(page, asked->request->accept_encoding);
    if (!asked->variant) {
        answer_error(answer, 500, "file cannot be read");
        return false;
    }
    page->references++;
    answer->page = page;
    return true;
}

static void answer_found(struct static_answer *answer, struct asked *asked,
                         struct static_page *page)
{
    if (LIKELY(ask(asked, page, answer)))
        answer_page(answer, asked);
}

/* ---- what is no file */

static void answer_location(struct static_answer *answer, const struct asked *asked,
                            unsigned status, struct buf *location)
{
    struct buf head = BUF_INIT(HEAD_MAX);

    answer->status = status;
    http1_append_status_line(&head, status);
    buf_append_text(&head, "Location: ");
    buf_append_slice(&head, buf_slice(location));
    buf_append_text(&head, "\r\nContent-Length: 0\r\n");
    static_head_append_rules(&head, asked->site, asked->path);
    head.failed |= location->failed;
    buf_done(location);
    answer_own_head(answer, &head);
}

static void append_query(struct buf *location, struct slice query)
{
    if (query.len == 0)
        return;
    buf_append_byte(location, '?');
    static_path_append(location, query, false);
}

static void answer_folder(struct static_answer *answer, const struct asked *asked)
{
    struct buf location = BUF_INIT(HEAD_MAX);

    static_path_append(&location, asked->request->prefix, false);
    static_path_append(&location, asked->path, true);
    buf_append_byte(&location, '/');
    append_query(&location, asked->request->query);
    answer_location(answer, asked, 301, &location);
}

/* True when `path` falls under the redirect; *ret_rest is what "*" stood for. */
static bool redirect_matches(const struct static_redirect *redirect, struct slice path,
                             struct slice *ret_rest)
{
    if (redirect->is_prefix ? !slice_starts_with(path, redirect->from)
                            : !slice_eq(path, redirect->from))
        return false;
    *ret_rest =
        redirect->carries_rest ? slice_sub(path, redirect->from.len, path.len) : (struct slice){0};
    return true;
}

static void answer_redirect(struct static_answer *answer, const struct asked *asked,
                            const struct static_redirect *redirect, struct slice rest)
{
    struct buf location = BUF_INIT(HEAD_MAX);
    bool is_local = redirect->to.len > 0 && redirect->to.ptr[0] == '/';

    if (is_local)
        static_path_append(&location, asked->request->prefix, false);
    static_path_append(&location, redirect->to, false);
    /* The rest must not turn "/" into "//other.host/", which is another site. */
    while (is_local && rest.len > 0 && rest.ptr[0] == '/' && location.len > 0 &&
           location.ptr[location.len - 1] == '/')
        rest = slice_sub(rest, 1, rest.len);
    static_path_append(&location, rest, true);
    if (slice_find_byte(redirect->to, '?') < 0)
        append_query(&location, asked->request->query);
    answer_location(answer, asked, redirect->status, &location);
}

/* A rewrite goes to a file of the site, once; what it names must exist. */
static enum static_load rewrite(const struct asked *asked, const struct static_redirect *redirect,
                                struct slice rest, struct static_page **ret_page)
{
    char space[STATIC_PATH_MAX];
    struct slice path = {space, redirect->to.len + rest.len};

    if (path.len >= sizeof space)
        return STATIC_ABSENT;
    memcpy(space, redirect->to.ptr, redirect->to.len);
    if (rest.len > 0)
        memcpy(space + redirect->to.len, rest.ptr, rest.len);
    return static_page_find(asked->site, path, ret_page);
}

/* True when a redirect or rewrite of the site answered. */
static bool try_redirects(struct static_answer *answer, struct asked *asked)
{
    for (size_t i = 0; i < asked->site->redirect_count; i++) {
        const struct static_redirect *redirect = &asked->site->redirects[i];
        struct static_page *page;
        struct slice rest;

        if (!redirect_matches(redirect, asked->path, &rest))
            continue;
        if (redirect->status != 200) {
            answer_redirect(answer, asked, redirect, rest);
            return true;
        }
        if (rewrite(asked, redirect, rest, &page) != STATIC_LOADED)
            return false;
        answer_found(answer, asked, page);
        return true;
    }
    return false;
}

static void answer_not_found(struct static_answer *answer, struct asked *asked)
{
    struct static_page *page;

    if (static_page_find(asked->site, SLICE("/404.html"), &page) != STATIC_LOADED) {
        answer_error(answer, 404, "no such file");
        return;
    }
    if (!ask(asked, page, answer))
        return;
    answer->reason = "no such file";
    answer_with_head(answer, asked, 404, 0, asked->variant->bytes);
    if (asked->request->method == STATIC_GET && !answer->is_error)
        answer_body(answer, asked->variant, 0, asked->variant->bytes);
}

static void answer_absent(struct static_answer *answer, struct asked *asked)
{
    struct static_page *page;

    if (try_redirects(answer, asked))
        return;
    if (asked->site->is_single_page && media_extension(asked->path).len == 0 &&
        static_page_find(asked->site, SLICE("/index.html"), &page) == STATIC_LOADED)
        answer_found(answer, asked, page);
    else
        answer_not_found(answer, asked);
}

static void answer_path(struct static_answer *answer, struct asked *asked)
{
    struct static_page *page;

    switch (static_page_find(asked->site, asked->path, &page)) {
    case STATIC_LOADED:
        answer_found(answer, asked, page);
        return;
    case STATIC_ABSENT:
        answer_absent(answer, asked);
        return;
    case STATIC_FOLDER:
        answer_folder(answer, asked);
        return;
    case STATIC_REFUSED:
        answer_not_found(answer, asked);
        return;
    case STATIC_FAILED:
        break;
    }
    answer_error(answer, 503, "file cannot be opened");
}

void static_site_answer(struct static_site *site, const struct static_request *request,
                        struct static_answer *ret_answer)
{
    char space[STATIC_PATH_MAX];
    struct asked asked = {.site = site, .request = request};
    unsigned status;

    *ret_answer = (struct static_answer){.fd = -1, .reason = ""};
    if (request->method == STATIC_OTHER) {
        answer_error(ret_answer, 405, "only GET and HEAD");
        ret_answer->head = SLICE("Allow: GET, HEAD\r\n");
        return;
    }
    status = static_path_decode(request->path, space, &asked.path);
    if (status == 400)
        answer_error(ret_answer, 400, "broken percent-encoding");
    else if (status != 0)
        answer_error(ret_answer, 404, "no such file");
    else
        answer_path(ret_answer, &asked);
}

void static_answer_done(struct static_answer *answer)
{
    struct static_page *page = TAKE_PTR(answer->page);

    free(TAKE_PTR(answer->own_head));
    if (page)
        static_page_unref(page);
}
