#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "edge/static.h"
#include "os/file.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define BIG (300u * 1024)

struct fixture {
    char root[64], outside[64];
    struct static_cache *cache;
    struct static_site *site;
    struct snapshot_builder *builder;
    struct buf block;
    struct snapshot snapshot;
    struct static_answer answer;
    struct error err;
    char text[8192]; /* head of the last answer, NUL-terminated */
};

static void write_file(struct fixture *fixture, const char *name, const char *content, size_t len)
{
    char path[256];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", fixture->root, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, len), (ssize_t)len);
    (void)close(fd);
}

static void write_text(struct fixture *fixture, const char *name, const char *content)
{
    write_file(fixture, name, content, strlen(content));
}

static void make_folder(struct fixture *fixture, const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof path, "%s/%s", fixture->root, name);
    assert_int_equal(mkdir(path, 0755), 0);
}

static void make_link(struct fixture *fixture, const char *target, const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof path, "%s/%s", fixture->root, name);
    assert_int_equal(symlink(target, path), 0);
}

static void fill(struct fixture *fixture)
{
    char *big = malloc(BIG);

    assert_non_null(big);
    for (size_t i = 0; i < BIG; i++)
        big[i] = (char)('a' + i % 26);
    write_file(fixture, "big.bin", big, BIG);
    free(big);
    write_text(fixture, "index.html", "<h1>home</h1>");
    write_text(fixture, "app.js", "identity of app");
    write_text(fixture, "app.js.gz", "gzip of app");
    write_text(fixture, "app.js.br", "br of app");
    write_text(fixture, "empty.txt", "");
    write_text(fixture, "a b.txt", "spaced");
    write_text(fixture, ".env", "SECRET=1");
    make_folder(fixture, "docs");
    write_text(fixture, "docs/index.html", "docs");
    make_folder(fixture, "bare");
    write_text(fixture, "bare/x.txt", "x");
    make_folder(fixture, ".git");
    write_text(fixture, ".git/config", "[core]");
    make_folder(fixture, ".well-known");
    write_text(fixture, ".well-known/security.txt", "mail us");
    write_text(fixture, ".well-known/.hidden", "no");
    make_folder(fixture, "assets");
    write_text(fixture, "assets/index-DiwrgTda.js", "bundled");
    make_link(fixture, "/etc/passwd", "passwd.txt");
    make_link(fixture, "index.html", "inner.html");
    make_link(fixture, "/etc", "etc");
}

static struct snapshot_service_spec spec_of(const struct fixture *fixture, bool is_single_page)
{
    return (struct snapshot_service_spec){.kind = SNAPSHOT_STATIC,
                                          .app = "shop",
                                          .name = "site",
                                          .label = "l",
                                          .root = fixture->root,
                                          .is_single_page = is_single_page};
}

/* Finish the snapshot that the builder holds and open the site of its first service. */
static void open_site(struct fixture *fixture)
{
    if (snapshot_builder_finish(fixture->builder, 1, &fixture->block, &fixture->err) < 0 ||
        snapshot_open(fixture->block.ptr, fixture->block.len, &fixture->snapshot, &fixture->err) <
            0 ||
        static_site_open(fixture->cache, &fixture->snapshot, &fixture->snapshot.services[0],
                         &fixture->site, &fixture->err) < 0)
        fail_msg("%s", fixture->err.text);
}

static void open_plain(struct fixture *fixture, bool is_single_page)
{
    struct snapshot_service_spec spec = spec_of(fixture, is_single_page);

    (void)snapshot_builder_service(fixture->builder, &spec);
    open_site(fixture);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    assert_non_null(fixture);
    (void)snprintf(fixture->root, sizeof fixture->root, "/tmp/static-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->root));
    fill(fixture);
    fixture->cache = static_cache_new(1u << 20, 8);
    fixture->builder = snapshot_builder_new();
    fixture->block = BUF_INIT(1u << 20);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    static_answer_done(&fixture->answer);
    static_site_close(fixture->site);
    static_cache_free(fixture->cache);
    snapshot_builder_free(fixture->builder);
    buf_done(&fixture->block);
    assert_int_equal(directory_remove_tree(fixture->root, &fixture->err), 0);
    free(fixture);
    return 0;
}

static unsigned ask(struct fixture *fixture, struct static_request request)
{
    static_answer_done(&fixture->answer);
    static_site_answer(fixture->site, &request, &fixture->answer);
    assert_true(fixture->answer.head.len < sizeof fixture->text);
    if (fixture->answer.head.len > 0)
        memcpy(fixture->text, fixture->answer.head.ptr, fixture->answer.head.len);
    fixture->text[fixture->answer.head.len] = '\0';
    return fixture->answer.status;
}

static unsigned get(struct fixture *fixture, const char *path)
{
    return ask(fixture, (struct static_request){.path = slice_from(path)});
}

static bool head_has(const struct fixture *fixture, const char *text)
{
    return strstr(fixture->text, text) != NULL;
}

static bool body_is(const struct fixture *fixture, const char *text)
{
    return fixture->answer.fd < 0 && slice_eq(fixture->answer.body, slice_from(text)) &&
           fixture->answer.body_bytes == strlen(text);
}

/* The value of a field of the last head, in a static buffer. */
static struct slice field(const struct fixture *fixture, const char *name)
{
    static char value[256];
    char key[64];
    const char *at, *end;

    (void)snprintf(key, sizeof key, "\r\n%s: ", name);
    at = strstr(fixture->text, key);
    assert_non_null(at);
    at += strlen(key);
    end = strstr(at, "\r\n");
    assert_non_null(end);
    assert_true((size_t)(end - at) < sizeof value);
    memcpy(value, at, (size_t)(end - at));
    value[end - at] = '\0';
    return slice_from(value);
}

/* ---- plain answers */

static void a_file_is_answered_whole_with_its_fields(void **state)
{
    struct fixture *fixture = *state;

    open_plain(fixture, false);
    assert_int_equal(get(fixture, "/index.html"), 200);
    assert_true(body_is(fixture, "<h1>home</h1>"));
    assert_true(head_has(fixture, "HTTP/1.1 200 OK\r\n"));
    assert_true(head_has(fixture, "\r\nContent-Type: text/html; charset=utf-8\r\n"));
    assert_true(head_has(fixture, "\r\nContent-Length: 13\r\n"));
    assert_true(head_has(fixture, "\r\nAccept-Ranges: bytes\r\n"));
    assert_true(head_has(fixture, "\r\nCache-Control: no-cache\r\n"));
    assert_true(head_has(fixture, "\r\nLast-Modified: "));
    assert_false(head_has(fixture, "Vary"));
    assert_false(head_has(fixture, "\r\n\r\n"));
    assert_true(slice_ends_with(fixture->answer.head, SLICE("\r\n")));
}

static void a_cached_page_is_answered_from_the_same_memory(void **state)
{
    struct fixture *fixture = *state;
    const char *head, *body;

    open_plain(fixture, false);
    assert_int_equal(get(fixture, "/index.html"), 200);
    head = fixture->answer.head.ptr;
    body = fixture->answer.body.ptr;
    assert_int_equal(get(fixture, "/index.html"), 200);
    assert_ptr_equal(fixture->answer.head.ptr, head);
    assert_ptr_equal(fixture->answer.body.ptr, body);
    assert_null(fixture->answer.own_head);
}

static void head_has_the_length_but_no_body(void **state)
{
    struct fixture *fixture = *state;

    open_plain(fixture, false);
    assert_int_equal(
        ask(fixture, (struct static_request){.method = STATIC_HEAD, .path = SLICE("/big.bin")}),
        200);
    assert_true(head_has(fixture, "\r\nContent-Length: 307200\r\n"));
    assert_int_equal(fixture->answer.fd, -1);
    assert_int_equal(fixture->answer.body_bytes, 0);
}

static void other_methods_are_told_what_is_allowed(void **state)
{
    struct fixture *fixture = *state;

    open_plain(fixture, false);
    assert_int_equal(
        ask(fixture, (struct static_request){.method = STATIC_OTHER, .path = SLICE("/")}), 405);
    assert_true(fixture->answer.is_error);
    assert_string_equal(fixture->text, "Allow: GET, HEAD\r\n");
}

static void a_folder_is_its_index_behind_a_slash(void **state)
{
    struct fixture *fixture = *state;

    open_plain(fixture, false);
    assert_int_equal(get(fixture, "/"), 200);
    assert_true(body_is(fixture, "<h1>home</h1>"));
    assert_int_equal(get(fixture, "/docs/"), 200);
    assert_true(body_is(fixture, "docs"));
    assert_int_equal(ask(fixture, (struct static_request){.path = SLICE("/docs"),
                                                          .query = SLICE("a=1"),
                                                          .prefix = SLICE("/site")}),
                     301);
    assert_true(head_has(fixture, "\r\nLocation: /site/docs/?a=1\r\n"));
    assert_int_equal(get(fixture, "/bare"), 404);
    assert_int_equal(get(fixture, "/bare/"), 404);
    assert_int_equal(get(fixture, "/index.html/"), 404);
}

static void an_empty_file_is_an_empty_body(void **state)
{
    struct fixture *fixture = *state;

    open_plain(fixture, false);
    assert_int_equal(get(fixture, "/empty.txt"), 200);
    assert_true(head_has(fixture, "Content-Length: 0\r\n"));
    assert_int_equal(fixture->answer.body_bytes, 0);
    assert_int_equal(ask(fixture, (struct static_request){.path = SLICE("/empty.txt"),
                                                          .range = SLICE("bytes=0-")}),
                     416);
}

static void a_big_file_is_sent_from_its_descriptor(void **state)
{
    struct fixture *fixture = *state;
    char byte;

    open_plain(fixture, false);
    assert_int_equal(get(fixture, "/big.bin"), 200);
    assert_true(fixture->answer.fd >= 0);
    assert_int_equal(fixture->answer.body_bytes, BIG);
    assert_int_equal(ask(fixture, (struct static_request){.path = SLICE("/big.bin"),
                                                          .range = SLICE("bytes=27-30")}),
                     206);
    assert_int_equal(fixture->answer.body_offset, 27);
    assert_int_equal(fixture->answer.body_bytes, 4);
    assert_int_equal(pread(fixture->answer.fd, &byte, 1, (off_t)fixture->answer.body_offset), 1);
    assert_int_equal(byte, 'b');
    assert_int_equal(static_cache_fds(fixture->cache), 1);
}

/* ---- what is never served */

static void no_spelling_of_a_path_leaves_the_root(void **state)
{
    static const char *const paths[] = {"/../etc/passwd",
                                        "/docs/../../etc/passwd",
                                        "/%2e%2e/etc/passwd",
                                        "/%2e%2e%2fetc/passwd",
                                        "/..%2f..%2fetc/passwd",
                                        "/.%2e/etc/passwd",
                                        "/docs/..",
                                        "/docs/.",
                                        "/..",
                                        "/.",
                                        "//etc/passwd",
                                        "/docs//index.html",
                                        "/\\..\\etc",
                                        "/%5c..%5cetc",
                                        "/..%5cetc/passwd",
                                        "/%252e%252e/etc/passwd",
                                        "/docs/%2e%2e/index.html",
                                        "/passwd.txt",
                                        "/inner.html",
                                        "/etc/passwd",
                                        "/etc/",
                                        "/index.html%20",
                                        "/index.html/..",
                                        "",
                                        "index.html",
                                        "*"};
    struct fixture *fixture = *state;

    open_plain(fixture, false);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (get(fixture, paths[i]) != 404)
            fail_msg("%s is answered with %u", paths[i], fixture->answer.status);
}

static void broken_encoding_and_nul_bytes_are_bad_requests(void **state)
{
    static const char *const paths[] = {
        "/%", "/%4", "/%zz", "/index.html%00", "/%00", "/index.html%00.png", "/a%2"};
    struct fixture *fixture = *state;

    open_plain(fixture, true);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (get(fixture, paths[i]) != 400)
            fail_msg("%s is answered with %u", paths[i], fixture->answer.status);
}

static void dot_files_do_not_exist_even_for_a_single_page_site(void **state)
{
    static const char *const paths[] = {
        "/.env",        "/%2eenv",       "/.git/config",         "/.git",
        "/.git/",       "/docs/.hidden", "/.well-known/.hidden", "/.well-known/../.env",
        "/.well-known", "/.unknown",     "/.well-knownx/y"};
    struct fixture *fixture = *state;

    open_plain(fixture, true);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (get(fixture, paths[i]) != 404)
            fail_msg("%s is answered with %u", paths[i], fixture->answer.status);
    assert_int_equal(get(fixture, "/.well-known/security.txt"), 200);
}

static void an_encoded_name_is_decoded_once(void **state)
{
    struct fixture *fixture = *state;

    open_plain(fixture, false);
    assert_int_equal(get(fixture, "/a%20b.txt"), 200);
    assert_true(body_is(fixture, "spaced"));
    assert_int_equal(get(fixture, "/%69ndex.html"), 200);
    assert_int_equal(get(fixture, "/a%2520b.txt"), 404);
}

static void a_path_longer_than_any_name_is_not_found(void **state)
{
    struct fixture *fixture = *state;
    static char path[20000];

    memset(path, 'a', sizeof path - 1);
    path[0] = '/';
    open_plain(fixture, false);
    assert_int_equal(get(fixture, path), 404);
    path[4000] = '\0';
    assert_int_equal(get(fixture, path), 404);
}

/* ---- negotiation */

static void the_best_accepted_coding_is_sent(void **state)
{
    static const struct {
        const char *accept, *body;
    } cases[] = {
        {"", "identity of app"},
        {"gzip, deflate, br", "br of app"},
        {"gzip", "gzip of app"},
        {"GZIP;q=1.0", "gzip of app"},
        {"br;q=0.5, gzip;q=0.8", "gzip of app"},
        {"br;q=0, *", "gzip of app"},
        {"*", "br of app"},
        {"*;q=0.1, gzip;q=0", "br of app"},
        {"br;q=0, gzip;q=0", "identity of app"},
        {"identity, br;q=0.9", "identity of app"},
        {"br;q=0.001", "br of app"},
        {"br;q=2", "identity of app"},
        {"br;q=abc, x-gzip", "gzip of app"},
        {"brr, zstd", "identity of app"},
        {"identity;q=0, *;q=0", "identity of app"},
        {" br ; q=1 ;x=y , gzip", "br of app"},
        {",,,;q=,;;", "identity of app"},
    };
    struct fixture *fixture = *state;

    open_plain(fixture, false);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(
            ask(fixture, (struct static_request){.path = SLICE("/app.js"),
                                                 .accept_encoding = slice_from(cases[i].accept)}),
            200);
        if (!body_is(fixture, cases[i].body))
            fail_msg("'%s' gets '" SLICE_FORMAT "'", cases[i].accept,
                     SLICE_ARG(fixture->answer.body));
        assert_true(head_has(fixture, "\r\nVary: Accept-Encoding\r\n"));
        assert_true(head_has(fixture, "\r\nContent-Type: text/javascript; charset=utf-8\r\n"));
    }
}

static void each_coding_has_an_entity_tag_of_its_own(void **state)
{
    static const char *const accepts[] = {"", "gzip", "br"};
    struct fixture *fixture = *state;
    char tags[3][64];

    open_plain(fixture, false);
    for (size_t i = 0; i < 3; i++) {
        (void)ask(fixture, (struct static_request){.path = SLICE("/app.js"),
                                                   .accept_encoding = slice_from(accepts[i])});
        (void)snprintf(tags[i], sizeof tags[i], SLICE_FORMAT, SLICE_ARG(field(fixture, "ETag")));
        assert_int_equal(tags[i][0], '"');
    }
    assert_string_not_equal(tags[0], tags[1]);
    assert_string_not_equal(tags[0], tags[2]);
    assert_string_not_equal(tags[1], tags[2]);
}

/* ---- conditions and ranges */

static void what_the_browser_has_already_is_not_sent_again(void **state)
{
    struct fixture *fixture = *state;
    char etag[64], list[256];
    struct static_request request = {.path = SLICE("/index.html")};

    open_plain(fixture, false);
    (void)ask(fixture, request);
    (void)snprintf(etag, sizeof etag, SLICE_FORMAT, SLICE_ARG(field(fixture, "ETag")));
    request.if_none_match = slice_from(etag);
    assert_int_equal(ask(fixture, request), 304);
    assert_int_equal(fixture->answer.body_bytes, 0);
    assert_true(head_has(fixture, "HTTP/1.1 304 Not Modified\r\n"));
    assert_true(head_has(fixture, "\r\nETag: "));
    assert_true(head_has(fixture, "\r\nCache-Control: "));
    assert_false(head_has(fixture, "Content-Length"));
    (void)snprintf(list, sizeof list, "\"a,b\", W/%s", etag);
    request.if_none_match = slice_from(list);
    assert_int_equal(ask(fixture, request), 304);
    request.if_none_match = SLICE("*");
    assert_int_equal(ask(fixture, request), 304);
    request.if_none_match = SLICE("\"other\", \"");
    assert_int_equal(ask(fixture, request), 200);
}

static void a_date_counts_only_when_there_is_no_entity_tag_and_only_if_it_is_the_same(void **state)
{
    struct fixture *fixture = *state;
    char date[64];
    struct static_request request = {.path = SLICE("/index.html")};

    open_plain(fixture, false);
    (void)ask(fixture, request);
    (void)snprintf(date, sizeof date, SLICE_FORMAT, SLICE_ARG(field(fixture, "Last-Modified")));
    request.if_modified_since = slice_from(date);
    assert_int_equal(ask(fixture, request), 304);
    request.if_none_match = SLICE("\"other\"");
    assert_int_equal(ask(fixture, request), 200);
    request.if_none_match = (struct slice){0};
    request.if_modified_since = SLICE("Fri, 01 Jan 2100 00:00:00 GMT"); /* as before a rollback */
    assert_int_equal(ask(fixture, request), 200);
    request.if_modified_since = SLICE("yesterday");
    assert_int_equal(ask(fixture, request), 200);
}

static void one_range_is_cut_out(void **state)
{
    static const struct {
        const char *range;
        unsigned status;
        const char *body, *content_range;
    } cases[] = {
        {"bytes=0-3", 206, "<h1>", "bytes 0-3/13"},
        {"bytes=4-", 206, "home</h1>", "bytes 4-12/13"},
        {"bytes=-5", 206, "</h1>", "bytes 8-12/13"},
        {"bytes=-500", 206, "<h1>home</h1>", "bytes 0-12/13"},
        {"bytes=12-99999999999999999999999", 206, ">", "bytes 12-12/13"},
        {"BYTES=0-0", 206, "<", "bytes 0-0/13"},
        {"bytes=0-1,3-4", 200, "<h1>home</h1>", NULL},
        {"bytes=5-4", 200, "<h1>home</h1>", NULL},
        {"bytes=", 200, "<h1>home</h1>", NULL},
        {"bytes=-", 200, "<h1>home</h1>", NULL},
        {"bytes=a-b", 200, "<h1>home</h1>", NULL},
        {"lines=0-3", 200, "<h1>home</h1>", NULL},
        {"bytes=--1", 200, "<h1>home</h1>", NULL},
    };
    struct fixture *fixture = *state;

    open_plain(fixture, false);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        unsigned status =
            ask(fixture, (struct static_request){.path = SLICE("/index.html"),
                                                 .range = slice_from(cases[i].range)});

        if (status != cases[i].status || !body_is(fixture, cases[i].body))
            fail_msg("%s gets %u and '" SLICE_FORMAT "'", cases[i].range, status,
                     SLICE_ARG(fixture->answer.body));
        if (cases[i].content_range)
            assert_true(
                slice_eq(field(fixture, "Content-Range"), slice_from(cases[i].content_range)));
    }
}

static void a_range_outside_of_the_file_is_told_the_size(void **state)
{
    static const char *const ranges[] = {"bytes=13-", "bytes=99999999999999999999-", "bytes=-0"};
    struct fixture *fixture = *state;

    open_plain(fixture, false);
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        assert_int_equal(ask(fixture, (struct static_request){.path = SLICE("/index.html"),
                                                              .range = slice_from(ranges[i])}),
                         416);
        assert_true(fixture->answer.is_error);
        assert_string_equal(fixture->text, "Content-Range: bytes */13\r\n");
    }
}

static void a_range_of_an_older_version_becomes_the_whole(void **state)
{
    struct fixture *fixture = *state;
    char etag[64], weak[80], date[64];
    struct static_request request = {.path = SLICE("/index.html"), .range = SLICE("bytes=0-3")};

    open_plain(fixture, false);
    (void)get(fixture, "/index.html");
    (void)snprintf(etag, sizeof etag, SLICE_FORMAT, SLICE_ARG(field(fixture, "ETag")));
    (void)snprintf(date, sizeof date, SLICE_FORMAT, SLICE_ARG(field(fixture, "Last-Modified")));
    (void)snprintf(weak, sizeof weak, "W/%s", etag);
    request.if_range = slice_from(etag);
    assert_int_equal(ask(fixture, request), 206);
    request.if_range = slice_from(date);
    assert_int_equal(ask(fixture, request), 206);
    request.if_range = slice_from(weak);
    assert_int_equal(ask(fixture, request), 200);
    request.if_range = SLICE("\"other\"");
    assert_int_equal(ask(fixture, request), 200);
    request.method = STATIC_HEAD;
    request.if_range = (struct slice){0};
    assert_int_equal(ask(fixture, request), 200);
}

/* ---- caching rules */

static void only_names_made_from_the_content_are_kept_for_a_year(void **state)
{
    static const char *const hashed[] = {
        "assets/index-DiwrgTda.css", "main.3f2a1b4c.js",         "static/js/main.3f2a1b4c.chunk.js",
        "a-8f14e45fceea167a.woff2",  "assets/logo-B_x9-k2Q.svg", "main.3f2a1b4c.js.map"};
    static const char *const plain[] = {
        "app.mjs",          "jquery-validate.js",   "photo-20240131.jpg",  "index-3f2a1b4c.html",
        "assets/js-my.css", "assets/helloWorld.js", "report-3f2a1b4c.pdf", "DiwrgTda.css"};
    struct fixture *fixture = *state;
    char path[128];

    make_folder(fixture, "static");
    make_folder(fixture, "static/js");
    open_plain(fixture, false);
    for (size_t i = 0; i < ARRAY_LEN(hashed); i++) {
        write_text(fixture, hashed[i], "x");
        (void)snprintf(path, sizeof path, "/%s", hashed[i]);
        assert_int_equal(get(fixture, path), 200);
        if (!head_has(fixture, "Cache-Control: public, max-age=31536000, immutable\r\n"))
            fail_msg("%s is not immutable", path);
    }
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        write_text(fixture, plain[i], "x");
        (void)snprintf(path, sizeof path, "/%s", plain[i]);
        assert_int_equal(get(fixture, path), 200);
        if (!head_has(fixture, "Cache-Control: no-cache\r\n"))
            fail_msg("%s is kept", path);
    }
}

/* ---- rules of the site */

static void a_single_page_site_answers_unknown_paths_with_its_page(void **state)
{
    struct fixture *fixture = *state;

    open_plain(fixture, true);
    assert_int_equal(get(fixture, "/orders/17"), 200);
    assert_true(body_is(fixture, "<h1>home</h1>"));
    assert_true(head_has(fixture, "\r\nCache-Control: no-cache\r\n"));
    assert_int_equal(get(fixture, "/orders/"), 200);
    assert_int_equal(get(fixture, "/missing.js"), 404);
    assert_int_equal(get(fixture, "/app.js"), 200);
    assert_true(body_is(fixture, "identity of app"));
}

static void the_site_may_bring_its_own_not_found_page(void **state)
{
    struct fixture *fixture = *state;

    write_text(fixture, "404.html", "lost?");
    open_plain(fixture, false);
    assert_int_equal(
        ask(fixture, (struct static_request){.path = SLICE("/nope"), .if_none_match = SLICE("*")}),
        404);
    assert_false(fixture->answer.is_error);
    assert_true(body_is(fixture, "lost?"));
    assert_true(head_has(fixture, "HTTP/1.1 404 Not Found\r\n"));
    assert_false(head_has(fixture, "ETag"));
    assert_int_equal(get(fixture, "/404.html"), 200);
}

static void without_one_the_edge_makes_the_error_page(void **state)
{
    struct fixture *fixture = *state;

    open_plain(fixture, false);
    assert_int_equal(get(fixture, "/nope"), 404);
    assert_true(fixture->answer.is_error);
    assert_int_equal(fixture->answer.head.len, 0);
    assert_string_equal(fixture->answer.reason, "no such file");
}

static void header_rules_apply_by_path_and_override_defaults(void **state)
{
    struct fixture *fixture = *state;
    struct snapshot_service_spec spec = spec_of(fixture, true);

    (void)snapshot_builder_service(fixture->builder, &spec);
    snapshot_builder_header(fixture->builder, "/*", "X-Frame-Options", "DENY");
    snapshot_builder_header(fixture->builder, "/docs/*", "X-Docs", "yes");
    snapshot_builder_header(fixture->builder, "/*.js", "cache-control", "max-age=60");
    snapshot_builder_header(fixture->builder, "/*.js", "Content-Type", "application/javascript");
    snapshot_builder_header(fixture->builder, "/*", "Content-Length", "5");
    open_site(fixture);
    assert_int_equal(get(fixture, "/docs/"), 200);
    assert_true(head_has(fixture, "\r\nX-Frame-Options: DENY\r\n"));
    assert_true(head_has(fixture, "\r\nX-Docs: yes\r\n"));
    assert_false(head_has(fixture, "Content-Length: 5\r\n"));
    assert_int_equal(get(fixture, "/app.js"), 200);
    assert_true(head_has(fixture, "\r\nCache-Control: max-age=60\r\n"));
    assert_true(head_has(fixture, "\r\nContent-Type: application/javascript\r\n"));
    assert_false(head_has(fixture, "no-cache"));
    assert_false(head_has(fixture, "X-Docs"));
    /* the page of a single-page site has the headers of the path that was asked for */
    assert_int_equal(get(fixture, "/docs/unknown"), 200);
    assert_true(body_is(fixture, "<h1>home</h1>"));
    assert_true(head_has(fixture, "\r\nX-Docs: yes\r\n"));
}

static void redirects_carry_the_rest_and_the_query(void **state)
{
    struct fixture *fixture = *state;
    struct snapshot_service_spec spec = spec_of(fixture, true);
    struct static_request request = {
        .path = SLICE("/was/x%20y/z"), .query = SLICE("q=1"), .prefix = SLICE("/p")};

    (void)snapshot_builder_service(fixture->builder, &spec);
    snapshot_builder_redirect(fixture->builder, "/old", "/new", 301);
    snapshot_builder_redirect(fixture->builder, "/was/*", "/is/*", 308);
    snapshot_builder_redirect(fixture->builder, "/out*", "https://example.org/*", 302);
    snapshot_builder_redirect(fixture->builder, "/all*", "/*", 302);
    snapshot_builder_redirect(fixture->builder, "/app.js", "/never", 301);
    snapshot_builder_redirect(fixture->builder, "/r/*", "/docs/index.html", 200);
    snapshot_builder_redirect(fixture->builder, "/bad", "/missing.html", 200);
    open_site(fixture);
    assert_int_equal(get(fixture, "/old"), 301);
    assert_true(head_has(
        fixture, "HTTP/1.1 301 Moved Permanently\r\nLocation: /new\r\nContent-Length: 0\r\n"));
    assert_int_equal(ask(fixture, request), 308);
    assert_true(head_has(fixture, "\r\nLocation: /p/is/x%20y/z?q=1\r\n"));
    assert_int_equal(get(fixture, "/out/a"), 302);
    assert_true(head_has(fixture, "\r\nLocation: https://example.org//a\r\n"));
    assert_int_equal(get(fixture, "/all/evil.example"), 302);
    assert_true(head_has(fixture, "\r\nLocation: /evil.example\r\n"));
    assert_int_equal(get(fixture, "/was/a%0d%0aSet-Cookie:x"), 404);
    assert_int_equal(get(fixture, "/was/%25%3f%23%c3%a4"), 308);
    assert_true(head_has(fixture, "\r\nLocation: /is/%25%3F%23%C3%A4\r\n"));
    assert_int_equal(get(fixture, "/app.js"), 200); /* a file that is there wins */
    assert_int_equal(get(fixture, "/r/anything"), 200);
    assert_true(body_is(fixture, "docs"));
    assert_int_equal(get(fixture, "/old/"), 200); /* exact means exact; the single page answers */
}

/* ---- the cache */

static void nothing_is_kept_before_it_is_asked_for(void **state)
{
    struct fixture *fixture = *state;

    open_plain(fixture, false);
    assert_int_equal(static_cache_memory(fixture->cache), 0);
    assert_int_equal(get(fixture, "/nope"), 404);
    assert_int_equal(get(fixture, "/.env"), 404);
    assert_int_equal(static_cache_memory(fixture->cache), 0);
    (void)get(fixture, "/app.js");
    assert_true(static_cache_memory(fixture->cache) > 0);
}

static void memory_and_descriptors_stay_below_their_ceilings(void **state)
{
    struct fixture *fixture = *state;
    static char content[16 * 1024], big[70 * 1024];
    char name[32], path[40];

    open_plain(fixture, false);
    for (int i = 0; i < 200; i++) {
        (void)snprintf(name, sizeof name, "%c%d.txt", i % 2 ? 'm' : 'f', i);
        write_file(fixture, name, i % 2 ? content : big, i % 2 ? sizeof content : sizeof big);
        (void)snprintf(path, sizeof path, "/%s", name);
        assert_int_equal(get(fixture, path), 200);
        assert_true(static_cache_memory(fixture->cache) <= 1u << 20);
        assert_true(static_cache_fds(fixture->cache) <= 8);
    }
    for (int i = 0; i < 200; i++) {
        (void)snprintf(path, sizeof path, "/%c%d.txt", i % 2 ? 'm' : 'f', i);
        assert_int_equal(get(fixture, path), 200);
    }
}

static void an_answer_outlives_its_page_and_its_site(void **state)
{
    struct fixture *fixture = *state;
    struct static_answer answer;
    struct static_request request = {.path = SLICE("/index.html")};

    open_plain(fixture, false);
    static_site_answer(fixture->site, &request, &answer);
    static_site_close(fixture->site);
    fixture->site = NULL;
    assert_true(slice_eq(answer.body, SLICE("<h1>home</h1>")));
    assert_true(slice_starts_with(answer.head, SLICE("HTTP/1.1 200 OK\r\n")));
    assert_true(static_cache_memory(fixture->cache) > 0);
    static_answer_done(&answer);
    static_answer_done(&answer);
    assert_int_equal(static_cache_memory(fixture->cache), 0);
}

static void the_next_snapshot_shares_the_site_and_what_is_cached(void **state)
{
    struct fixture *fixture = *state;
    struct static_site *again, *other;
    struct snapshot_service changed;
    size_t memory;

    open_plain(fixture, false);
    (void)get(fixture, "/index.html");
    memory = static_cache_memory(fixture->cache);
    assert_int_equal(static_site_open(fixture->cache, &fixture->snapshot,
                                      &fixture->snapshot.services[0], &again, &fixture->err),
                     0);
    assert_ptr_equal(again, fixture->site);
    static_site_close(again);
    assert_int_equal(static_cache_memory(fixture->cache), memory);
    changed = fixture->snapshot.services[0];
    changed.is_single_page = 1;
    assert_int_equal(
        static_site_open(fixture->cache, &fixture->snapshot, &changed, &other, &fixture->err), 0);
    assert_ptr_not_equal(other, fixture->site);
    static_site_close(other);
}

static void a_root_that_is_gone_is_said(void **state)
{
    struct fixture *fixture = *state;
    struct snapshot_service_spec spec = spec_of(fixture, false);

    spec.root = "/nonexistent/site";
    (void)snapshot_builder_service(fixture->builder, &spec);
    assert_int_equal(snapshot_builder_finish(fixture->builder, 1, &fixture->block, &fixture->err),
                     0);
    assert_int_equal(
        snapshot_open(fixture->block.ptr, fixture->block.len, &fixture->snapshot, &fixture->err),
        0);
    assert_int_equal(static_site_open(fixture->cache, &fixture->snapshot,
                                      &fixture->snapshot.services[0], &fixture->site,
                                      &fixture->err),
                     ERR_NOT_FOUND);
    assert_non_null(strstr(fixture->err.text, "/nonexistent/site"));
}

static void a_fifo_or_an_unreadable_file_does_not_stop_the_edge(void **state)
{
    struct fixture *fixture = *state;
    char path[128];

    (void)snprintf(path, sizeof path, "%s/pipe.txt", fixture->root);
    assert_int_equal(mkfifo(path, 0644), 0);
    open_plain(fixture, false);
    assert_int_equal(get(fixture, "/pipe.txt"), 404);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(a_file_is_answered_whole_with_its_fields),
        T(a_cached_page_is_answered_from_the_same_memory),
        T(head_has_the_length_but_no_body),
        T(other_methods_are_told_what_is_allowed),
        T(a_folder_is_its_index_behind_a_slash),
        T(an_empty_file_is_an_empty_body),
        T(a_big_file_is_sent_from_its_descriptor),
        T(no_spelling_of_a_path_leaves_the_root),
        T(broken_encoding_and_nul_bytes_are_bad_requests),
        T(dot_files_do_not_exist_even_for_a_single_page_site),
        T(an_encoded_name_is_decoded_once),
        T(a_path_longer_than_any_name_is_not_found),
        T(the_best_accepted_coding_is_sent),
        T(each_coding_has_an_entity_tag_of_its_own),
        T(what_the_browser_has_already_is_not_sent_again),
        T(a_date_counts_only_when_there_is_no_entity_tag_and_only_if_it_is_the_same),
        T(one_range_is_cut_out),
        T(a_range_outside_of_the_file_is_told_the_size),
        T(a_range_of_an_older_version_becomes_the_whole),
        T(only_names_made_from_the_content_are_kept_for_a_year),
        T(a_single_page_site_answers_unknown_paths_with_its_page),
        T(the_site_may_bring_its_own_not_found_page),
        T(without_one_the_edge_makes_the_error_page),
        T(header_rules_apply_by_path_and_override_defaults),
        T(redirects_carry_the_rest_and_the_query),
        T(nothing_is_kept_before_it_is_asked_for),
        T(memory_and_descriptors_stay_below_their_ceilings),
        T(an_answer_outlives_its_page_and_its_site),
        T(the_next_snapshot_shares_the_site_and_what_is_cached),
        T(a_root_that_is_gone_is_said),
        T(a_fifo_or_an_unreadable_file_does_not_stop_the_edge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
