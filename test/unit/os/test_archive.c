/* Good archives are made by the writer; wicked ones by putting tar headers together by hand
 * (POSIX.1-1988 ustar). */
#include "os/archive.h"
#include "os/file.h"
#include "unit.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static char folder[UNIT_PATH_SIZE], source[UNIT_PATH_SIZE], target[UNIT_PATH_SIZE];
static int stream;
static const struct archive_limits plenty = {.bytes = 1 << 30, .files = 10000};

static int setup(void **state)
{
    (void)state;
    unit_folder(folder);
    assert_int_equal(mkdir(unit_path(source, folder, "source"), 0755), 0);
    assert_int_equal(mkdir(unit_path(target, folder, "target"), 0755), 0);
    stream = memfd_create("archive", MFD_CLOEXEC);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fd_closep(&stream);
    return directory_remove_tree(folder, NULL);
}

static int unpack(struct archive_limits limits, struct error *err)
{
    assert_int_equal(lseek(stream, 0, SEEK_SET), 0);
    return archive_unpack(stream, target, limits, err);
}

static char *in_target(const char *name)
{
    static char path[UNIT_PATH_SIZE];
    return unit_path(path, target, name);
}

/* ---- archives by hand ---- */

static void entry(const char *name, char type, const char *link, const char *content)
{
    char header[512] = {0}, block[512] = {0};
    size_t size = content ? strlen(content) : 0;
    unsigned sum = 0;
    memcpy(header, name, strlen(name));
    snprintf(header + 100, 8, "%07o", 06755u);
    snprintf(header + 108, 8, "%07o", 0u);
    snprintf(header + 116, 8, "%07o", 0u);
    snprintf(header + 124, 12, "%011o", (unsigned)size);
    snprintf(header + 136, 12, "%011o", 1000000u);
    header[156] = type;
    if (link)
        memcpy(header + 157, link, strlen(link));
    memcpy(header + 257, "ustar\00000", 8);
    memset(header + 148, ' ', 8);
    for (size_t i = 0; i < sizeof(header); i++)
        sum += (unsigned char)header[i];
    snprintf(header + 148, 8, "%06o", sum);
    assert_int_equal(file_write_all(stream, (struct slice){header, 512}, NULL), 0);
    if (size) {
        memcpy(block, content, size);
        assert_int_equal(file_write_all(stream, (struct slice){block, 512}, NULL), 0);
    }
}

static void end(void)
{
    char zero[1024] = {0};
    assert_int_equal(file_write_all(stream, (struct slice){zero, sizeof(zero)}, NULL), 0);
}

static void restart(void)
{
    assert_int_equal(ftruncate(stream, 0), 0);
    assert_int_equal(lseek(stream, 0, SEEK_SET), 0);
    assert_int_equal(directory_remove_tree(target, NULL), 0);
    assert_int_equal(mkdir(target, 0755), 0);
}

/* ---- tests ---- */

static void add(struct archive_writer *writer, const char *name)
{
    char path[UNIT_PATH_SIZE];
    struct error err = {0};
    if (archive_writer_add(writer, unit_path(path, source, name), name, &err) != 0)
        fail_msg("%s", err.text);
}

static void a_tree_travels_with_content_modes_times_and_links(void **state)
{
    (void)state;
    char path[UNIT_PATH_SIZE], long_name[200] = "sub/";
    CLEANUP(archive_writer_freep) struct archive_writer *writer = NULL;
    CLEANUP(buf_done) struct buf content = {0};
    struct stat status;
    memset(long_name + 4, 'n', 180);
    assert_int_equal(mkdir(unit_path(path, source, "sub"), 0750), 0);
    assert_int_equal(
        file_write_durable(unit_path(path, source, "sub/run.sh"), SLICE("#!/bin/sh\n"), 0755, NULL),
        0);
    struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    assert_int_equal(
        file_write_durable(unit_path(path, source, long_name), SLICE("long"), 0600, NULL), 0);
    assert_int_equal(file_write_durable(unit_path(path, source, "gr\xc3\xbc\xc3\x9f"),
                                        SLICE("utf8"), 0600, NULL),
                     0);
    assert_int_equal(file_write_durable(unit_path(path, source, "empty"), SLICE(""), 0600, NULL),
                     0);
    assert_int_equal(symlink("../sub/run.sh", unit_path(path, source, "sub/link")), 0);

    assert_int_equal(archive_writer_new(stream, &writer, NULL), 0);
    const char *names[] = {"sub",   "sub/run.sh", long_name, "gr\xc3\xbc\xc3\x9f",
                           "empty", "sub/link"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        add(writer, names[i]);
    assert_int_equal(archive_writer_finish(writer, NULL), 0);

    struct error err = {0};
    if (unpack(plenty, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(stat(in_target("sub/run.sh"), &status), 0);
    assert_int_equal(status.st_mode & 07777, 0755);
    assert_int_equal(status.st_mtime, 1000000000);
    assert_int_equal(stat(in_target("sub"), &status), 0);
    assert_int_equal(status.st_mode & 07777, 0750);
    assert_int_equal(file_read(in_target("sub/link"), 100, &content, NULL), 0);
    assert_string_equal(buf_text(&content), "#!/bin/sh\n");
    buf_done(&content);
    assert_int_equal(file_read(in_target("gr\xc3\xbc\xc3\x9f"), 100, &content, NULL), 0);
    assert_string_equal(buf_text(&content), "utf8");
    assert_true(file_exists(in_target("empty")));
    assert_true(file_exists(in_target(long_name)));
}

static void what_cannot_travel_is_named(void **state)
{
    (void)state;
    char path[UNIT_PATH_SIZE];
    struct error err = {0};
    CLEANUP(archive_writer_freep) struct archive_writer *writer = NULL;
    assert_int_equal(archive_writer_new(stream, &writer, NULL), 0);
    assert_int_equal(mkfifo(unit_path(path, source, "fifo"), 0600), 0);
    assert_int_equal(archive_writer_add(writer, path, "fifo", &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(archive_writer_add(writer, "/nonexistent", "x", &err), ERR_NOT_FOUND);
    archive_writer_freep(&writer);
    archive_writer_freep(&writer);
}

static void a_stream_that_nobody_reads_is_an_error(void **state)
{
    (void)state;
    CLEANUP(archive_writer_freep) struct archive_writer *writer = NULL;
    CLEANUP(fd_closep) int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(archive_writer_new(full, &writer, NULL), 0);
    int r = archive_writer_add(writer, source, "sub", NULL);
    if (r == 0)
        r = archive_writer_finish(writer, NULL);
    assert_int_equal(r, ERR_NO_SPACE);
}

static void wicked_entries_are_refused_by_name(void **state)
{
    (void)state;
    const struct {
        const char *name;
        char type;
        const char *link, *why;
    } rows[] = {
        {"/etc/evil", '0', NULL, "absolute"},
        {"../evil", '0', NULL, "'..'"},
        {"a/../../evil", '0', NULL, "'..'"},
        {"a/..", '5', NULL, "'..'"},
        {"evil", '2', "/etc/passwd", "absolute"},
        {"evil", '2', "../x", "leaves the folder"},
        {"a/evil", '2', "../../x", "leaves the folder"},
        {"a/evil", '2', "b/../../../x", "'..' behind a name"},
        {"a/evil", '2', "../b/../c", "'..' behind a name"},
        {"evil", '1', "/etc/passwd", "absolute"},
        {"evil", '1', "../../etc/passwd", "'..'"},
        {"evil", '1', "missing", "hard link"},
        {"evil", '3', NULL, "neither a file"},
        {"evil", '4', NULL, "neither a file"},
        {"evil", '6', NULL, "neither a file"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct error err = {0};
        restart();
        entry(rows[i].name, rows[i].type, rows[i].link, NULL);
        end();
        if (unpack(plenty, &err) != ERR_INVALID)
            fail_msg("accepted: %s -> %s", rows[i].name, rows[i].link);
        assert_non_null(strstr(err.text, rows[i].name));
        if (!strstr(err.text, rows[i].why))
            fail_msg("%s: %s", rows[i].name, err.text);
        assert_false(file_exists(in_target("evil")));
    }
}

static void nothing_is_written_through_a_link(void **state)
{
    (void)state;
    char outside[UNIT_PATH_SIZE];
    struct error err = {0};
    assert_int_equal(mkdir(unit_path(outside, folder, "outside"), 0755), 0);
    entry("a", '5', NULL, NULL);
    entry("a/b", '5', NULL, NULL);
    entry("a/link", '2', "b", NULL); /* harmless by itself */
    entry("a/link/file", '0', NULL, "x");
    end();
    assert_int_equal(unpack(plenty, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "a/link/file"));
    assert_false(file_exists(in_target("a/b/file")));

    /* A link that is there already, as from somebody who races with us. */
    restart();
    assert_int_equal(symlink(outside, in_target("out")), 0);
    entry("out/file", '0', NULL, "x");
    end();
    assert_int_equal(unpack(plenty, &err), ERR_INVALID);
    restart();
    assert_int_equal(symlink(outside, in_target("out")), 0);
    entry("out", '0', NULL, "x");
    end();
    assert_int_equal(unpack(plenty, &err), ERR_INVALID);
    uint64_t bytes, files;
    assert_int_equal(directory_size(outside, &bytes, &files, NULL), 0);
    assert_int_equal(files, 0);
}

static void a_name_that_stands_twice_is_refused(void **state)
{
    (void)state;
    struct error err = {0};
    entry("file", '0', NULL, "one");
    entry("./file", '0', NULL, "two");
    end();
    assert_int_equal(unpack(plenty, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "twice"));
}

static void links_within_the_folder_and_missing_parents_are_fine(void **state)
{
    (void)state;
    struct error err = {0};
    struct stat status;
    CLEANUP(buf_done) struct buf content = {0};
    entry("./", '5', NULL, NULL);
    entry("deep/er/file", '0', NULL, "content");
    entry("deep", '5', NULL, NULL);
    entry("deep/er/up", '2', "../../other", NULL);
    entry("other", '1', "deep/er/file", NULL);
    end();
    if (unpack(plenty, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(file_read(in_target("deep/er/up"), 100, &content, NULL), 0);
    assert_string_equal(buf_text(&content), "content");
    assert_int_equal(stat(in_target("deep/er/file"), &status), 0);
    assert_int_equal(status.st_mode & 07777, 0755); /* setuid and setgid are gone */
}

static void bytes_and_entries_have_ceilings(void **state)
{
    (void)state;
    struct error err = {0};
    entry("one", '0', NULL, "12345");
    entry("two", '0', NULL, "12345");
    end();
    assert_int_equal(unpack((struct archive_limits){.bytes = 9, .files = 10}, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "'two'"));
    assert_int_equal(directory_remove_tree(target, NULL), 0);
    assert_int_equal(mkdir(target, 0755), 0);
    assert_int_equal(unpack((struct archive_limits){.bytes = 10, .files = 1}, &err), ERR_LIMIT);
    assert_int_equal(directory_remove_tree(target, NULL), 0);
    assert_int_equal(mkdir(target, 0755), 0);
    assert_int_equal(unpack((struct archive_limits){.bytes = 10, .files = 2}, &err), 0);
}

static void a_damaged_stream_is_an_error(void **state)
{
    (void)state;
    struct error err = {0};
    entry("file", '0', NULL, "12345");
    assert_int_equal(ftruncate(stream, 700), 0);
    assert_int_equal(unpack(plenty, &err), ERR_INVALID);
    restart();
    assert_int_equal(file_write_all(stream,
                                    SLICE("this is no archive at all, but a text that is long "
                                          "enough to be looked at"),
                                    NULL),
                     0);
    assert_int_equal(unpack(plenty, &err), ERR_INVALID);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_tree_travels_with_content_modes_times_and_links),
        TEST(what_cannot_travel_is_named),
        TEST(a_stream_that_nobody_reads_is_an_error),
        TEST(wicked_entries_are_refused_by_name),
        TEST(nothing_is_written_through_a_link),
        TEST(a_name_that_stands_twice_is_refused),
        TEST(links_within_the_folder_and_missing_parents_are_fine),
        TEST(bytes_and_entries_have_ceilings),
        TEST(a_damaged_stream_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
