#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "deploy/publish.h"
#include "os/file.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

struct fixture {
    char folder[64], from[80], to[80];
    struct error err;
};

static void path_of(char path[256], const char *folder, const char *name)
{
    (void)snprintf(path, 256, "%s/%s", folder, name);
}

static void write_file(struct fixture *fixture, const char *name, const char *content, size_t len,
                       mode_t mode)
{
    char path[256];
    int fd;

    path_of(path, fixture->from, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, len), (ssize_t)len);
    assert_int_equal(fchmod(fd, mode), 0);
    (void)close(fd);
}

static void write_text(struct fixture *fixture, const char *name, const char *content)
{
    write_file(fixture, name, content, strlen(content), 0600);
}

static void make_folder(struct fixture *fixture, const char *name)
{
    char path[256];

    path_of(path, fixture->from, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void make_link(struct fixture *fixture, const char *target, const char *name)
{
    char path[256];

    path_of(path, fixture->from, name);
    assert_int_equal(symlink(target, path), 0);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    assert_non_null(fixture);
    (void)snprintf(fixture->folder, sizeof fixture->folder, "/tmp/publish-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    (void)snprintf(fixture->from, sizeof fixture->from, "%s/dist", fixture->folder);
    (void)snprintf(fixture->to, sizeof fixture->to, "%s/site", fixture->folder);
    assert_int_equal(mkdir(fixture->from, 0700), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(directory_remove_tree(fixture->folder, &fixture->err), 0);
    free(fixture);
    return 0;
}

static void publish(struct fixture *fixture)
{
    if (publish_run(fixture->from, fixture->to, &fixture->err) < 0)
        fail_msg("%s", fixture->err.text);
}

static bool has(struct fixture *fixture, const char *name)
{
    char path[256];

    path_of(path, fixture->to, name);
    return file_exists(path);
}

static void expect_content(struct fixture *fixture, const char *name, const char *expected)
{
    struct buf content = BUF_INIT(1u << 20);
    char path[256];

    path_of(path, fixture->to, name);
    assert_int_equal(file_read(path, 1u << 20, &content, &fixture->err), 0);
    assert_string_equal(buf_text(&content), expected);
    buf_done(&content);
}

static void the_folder_is_copied_readable_for_the_edge(void **state)
{
    struct fixture *fixture = *state;
    struct stat stat_from, stat_to;
    char path[256];

    make_folder(fixture, "css");
    write_text(fixture, "index.html", "<h1>");
    write_file(fixture, "css/a.css", "a{}", 3, 0700);
    publish(fixture);
    expect_content(fixture, "index.html", "<h1>");
    expect_content(fixture, "css/a.css", "a{}");
    path_of(path, fixture->to, "css");
    assert_int_equal(stat(path, &stat_to), 0);
    assert_int_equal(stat_to.st_mode & 07777, 0755);
    path_of(path, fixture->to, "css/a.css");
    assert_int_equal(stat(path, &stat_to), 0);
    assert_int_equal(stat_to.st_mode & 07777, 0644);
    path_of(path, fixture->from, "css/a.css");
    assert_int_equal(stat(path, &stat_from), 0);
    assert_int_equal(stat_from.st_mtim.tv_nsec, stat_to.st_mtim.tv_nsec);
    assert_int_equal(stat(fixture->to, &stat_to), 0);
    assert_int_equal(stat_to.st_mode & 07777, 0755);
}

static void what_compresses_gets_smaller_twins_that_unpack_to_the_same(void **state)
{
    struct fixture *fixture = *state;
    char text[8192], unpacked[sizeof text], path[256];
    gzFile file;

    for (size_t i = 0; i < sizeof text; i++)
        text[i] = "slipway "[i % 8];
    write_file(fixture, "app.js", text, sizeof text, 0600);
    write_file(fixture, "photo.jpg", text, sizeof text, 0600);
    write_file(fixture, "small.js", text, 1000, 0600);
    publish(fixture);
    assert_true(has(fixture, "app.js.br"));
    assert_true(has(fixture, "app.js.gz"));
    assert_false(has(fixture, "photo.jpg.gz"));
    assert_false(has(fixture, "small.js.br"));
    path_of(path, fixture->to, "app.js.gz");
    file = gzopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(gzread(file, unpacked, sizeof unpacked), sizeof unpacked);
    assert_memory_equal(text, unpacked, sizeof text);
    (void)gzclose(file);
}

static void what_does_not_shrink_gets_no_twin(void **state)
{
    struct fixture *fixture = *state;
    char noise[4096];
    uint64_t seed = 88172645463325252u;

    for (size_t i = 0; i < sizeof noise; i++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        noise[i] = (char)(seed >> 24);
    }
    write_file(fixture, "noise.js", noise, sizeof noise, 0600);
    publish(fixture);
    assert_true(has(fixture, "noise.js"));
    assert_false(has(fixture, "noise.js.br"));
    assert_false(has(fixture, "noise.js.gz"));
}

static void twins_that_the_build_made_are_kept(void **state)
{
    struct fixture *fixture = *state;
    char text[4096];

    memset(text, 'a', sizeof text);
    write_file(fixture, "app.js", text, sizeof text, 0600);
    write_text(fixture, "app.js.br", "made by the build");
    publish(fixture);
    expect_content(fixture, "app.js.br", "made by the build");
    assert_true(has(fixture, "app.js.gz"));
}

static void what_must_not_be_served_is_not_copied(void **state)
{
    struct fixture *fixture = *state;

    make_folder(fixture, ".git");
    make_folder(fixture, ".well-known");
    make_folder(fixture, "sub");
    write_text(fixture, ".git/config", "x");
    write_text(fixture, ".env", "SECRET=1");
    write_text(fixture, "sub/.env", "SECRET=1");
    write_text(fixture, ".well-known/security.txt", "x");
    write_text(fixture, "slipway.yaml", "app: x");
    write_text(fixture, "slipway.staging.yaml", "app: x");
    write_text(fixture, "slipway.js", "x");
    publish(fixture);
    assert_false(has(fixture, ".git"));
    assert_false(has(fixture, ".env"));
    assert_false(has(fixture, "sub/.env"));
    assert_false(has(fixture, "slipway.yaml"));
    assert_false(has(fixture, "slipway.staging.yaml"));
    assert_true(has(fixture, "slipway.js"));
    assert_true(has(fixture, ".well-known/security.txt"));
}

static void links_inside_become_copies(void **state)
{
    struct fixture *fixture = *state;
    struct stat stat;
    char path[256];

    make_folder(fixture, "a");
    write_text(fixture, "a/x.txt", "x");
    make_link(fixture, "a/x.txt", "y.txt");
    make_link(fixture, "a", "b");
    publish(fixture);
    expect_content(fixture, "y.txt", "x");
    expect_content(fixture, "b/x.txt", "x");
    path_of(path, fixture->to, "y.txt");
    assert_int_equal(lstat(path, &stat), 0);
    assert_true(S_ISREG(stat.st_mode));
}

static void links_that_leave_dangle_or_loop_are_refused_and_leave_nothing(void **state)
{
    static const char *const targets[] = {"/etc/passwd", "../outside", "missing", "link.txt", "."};
    struct fixture *fixture = *state;
    char path[256];

    path_of(path, fixture->folder, "outside");
    assert_int_equal(mkdir(path, 0700), 0);
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        make_link(fixture, targets[i], "link.txt");
        assert_int_equal(publish_run(fixture->from, fixture->to, &fixture->err), ERR_INVALID);
        assert_non_null(strstr(fixture->err.text, "link.txt"));
        assert_false(file_exists(fixture->to));
        path_of(path, fixture->folder, "site.part");
        assert_false(file_exists(path));
        path_of(path, fixture->from, "link.txt");
        assert_int_equal(unlink(path), 0);
    }
}

static void a_fifo_is_refused(void **state)
{
    struct fixture *fixture = *state;
    char path[256];

    path_of(path, fixture->from, "pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(publish_run(fixture->from, fixture->to, &fixture->err), ERR_INVALID);
}

static void a_second_run_after_a_crash_or_success_ends_well(void **state)
{
    struct fixture *fixture = *state;
    char path[256];

    write_text(fixture, "index.html", "1");
    path_of(path, fixture->folder, "site.part");
    assert_int_equal(mkdir(path, 0700), 0); /* what a killed run leaves */
    publish(fixture);
    write_text(fixture, "index.html", "2");
    publish(fixture); /* done already: the release is immutable */
    expect_content(fixture, "index.html", "1");
}

static void a_publish_folder_that_the_build_did_not_make_is_said_with_a_hint(void **state)
{
    struct fixture *fixture = *state;
    char path[256];

    path_of(path, fixture->folder, "nowhere");
    assert_int_equal(publish_run(path, fixture->to, &fixture->err), ERR_NOT_FOUND);
    assert_non_null(strstr(fixture->err.text, "nowhere"));
    assert_non_null(strstr(fixture->err.hint, "publish:"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(the_folder_is_copied_readable_for_the_edge),
        T(what_compresses_gets_smaller_twins_that_unpack_to_the_same),
        T(what_does_not_shrink_gets_no_twin),
        T(twins_that_the_build_made_are_kept),
        T(what_must_not_be_served_is_not_copied),
        T(links_inside_become_copies),
        T(links_that_leave_dangle_or_loop_are_refused_and_leave_nothing),
        T(a_fifo_is_refused),
        T(a_second_run_after_a_crash_or_success_ends_well),
        T(a_publish_folder_that_the_build_did_not_make_is_said_with_a_hint),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
