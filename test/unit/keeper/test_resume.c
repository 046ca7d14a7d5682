#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper/keeper_private.h"
#include "keeper/resume.h"
#include "os/file.h"
#include "unit.h"

/* ---- records */

static struct buf make_block(void)
{
    struct buf block = BUF_INIT(RESUME_BYTES_MAX);
    struct resume_keeper keeper = {.state_directory = "/var/lib/slipway",
                                   .edge_count = 2,
                                   .lock_fd = 5,
                                   .state_fd = 6,
                                   .guard_writer = -1};
    struct resume_unit unit = {
        .id = 7, .pid = 4711, .tag = "", .program = "node", .cgroup = NULL, .result = -1};

    resume_begin(&block);
    resume_append(&block, RESUME_TAG_keeper, &keeper);
    resume_append(&block, RESUME_TAG_unit, &unit);
    resume_finish(&block);
    assert_false(block.failed);
    return block;
}

static int count_records(struct slice block)
{
    struct resume_record record;
    size_t cursor;
    int count = 0, code = resume_open(block, &cursor, NULL);

    while (code == 0 && (code = resume_next(block, &cursor, &record, NULL)) > 0) {
        count++;
        code = 0;
    }
    return code < 0 ? code : count;
}

static void what_is_written_is_read(void **state UNUSED)
{
    struct buf block = make_block();
    struct resume_record record;
    size_t cursor;

    assert_int_equal(resume_open(buf_slice(&block), &cursor, NULL), 0);
    assert_int_equal(resume_next(buf_slice(&block), &cursor, &record, NULL), 1);
    assert_int_equal(record.tag, RESUME_TAG_keeper);
    assert_string_equal(record.keeper.state_directory, "/var/lib/slipway");
    assert_int_equal(record.keeper.edge_count, 2);
    assert_int_equal(record.keeper.lock_fd, 5);
    assert_int_equal(record.keeper.guard_writer, -1);
    assert_string_equal(record.keeper.start_path, "");
    assert_int_equal(resume_next(buf_slice(&block), &cursor, &record, NULL), 1);
    assert_int_equal(record.unit.pid, 4711);
    assert_string_equal(record.unit.cgroup, "");
    assert_int_equal(resume_next(buf_slice(&block), &cursor, &record, NULL), 0);
    buf_done(&block);
}

static void put_u32(struct buf *buf, uint32_t value)
{
    buf_append(buf, &value, sizeof value);
}

static void what_a_newer_version_adds_is_skipped(void **state UNUSED)
{
    struct buf block = BUF_INIT(4096);
    struct resume_record record;
    const uint64_t number = 9;
    size_t cursor;

    resume_begin(&block);
    put_u32(&block, 4000); /* a record of unknown kind */
    put_u32(&block, 3);
    buf_append(&block, "abc", 3);
    put_u32(&block, RESUME_TAG_giving);
    put_u32(&block, 8 + 5 + 8 + 8);
    put_u32(&block, 3999); /* a field of unknown kind */
    put_u32(&block, 5);
    buf_append(&block, "hello", 5);
    put_u32(&block, 1);
    put_u32(&block, 8);
    buf_append(&block, &number, 8);
    resume_finish(&block);
    assert_int_equal(resume_open(buf_slice(&block), &cursor, NULL), 0);
    assert_int_equal(resume_next(buf_slice(&block), &cursor, &record, NULL), 1);
    assert_int_equal(record.tag, RESUME_TAG_giving);
    assert_int_equal(record.giving.pid, 9);
    assert_int_equal(record.giving.request, 0);
    buf_done(&block);
}

static void formats_beyond_the_next_one_are_refused(void **state UNUSED)
{
    static const struct {
        uint32_t format;
        int code;
    } cases[] = {{RESUME_FORMAT - 1, 0},
                 {RESUME_FORMAT, 0},
                 {RESUME_FORMAT + 1, 0},
                 {RESUME_FORMAT + 2, ERR_VERSION}};
    struct buf block = make_block();
    size_t cursor;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        memcpy(block.ptr + 8, &cases[i].format, sizeof cases[i].format);
        assert_int_equal(resume_open(buf_slice(&block), &cursor, NULL), cases[i].code);
    }
    buf_done(&block);
}

static void a_state_that_is_cut_off_anywhere_is_refused(void **state UNUSED)
{
    struct buf block = make_block();

    for (size_t len = 0; len < block.len; len++) {
        uint64_t total = len;
        char *copy = malloc(len ? len : 1); /* its end is watched */

        assert_non_null(copy);
        memcpy(copy, block.ptr, len);
        if (len >= 24)
            memcpy(copy + 16, &total, sizeof total); /* the length lies, too */
        assert_true(count_records((struct slice){copy, len}) <= 1);
        free(copy);
    }
    assert_int_equal(count_records(buf_slice(&block)), 2);
    buf_done(&block);
}

static void malformed_fields_are_refused(void **state UNUSED)
{
    static const struct {
        const char *bytes;
        uint32_t tag, len;
    } cases[] = {{"\1\0\0\0\0\0\0", 1, 7}, /* a number of seven bytes */
                 {"\1\0\0\0", 2, 4},       /* standard output is nobody's descriptor */
                 {"\377\377\377\377", 2, 4},
                 {"abc", 3, 3}, /* a text without an end */
                 {"a\0c", 3, 4} /* and one with two */};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf block = BUF_INIT(4096);

        resume_begin(&block);
        put_u32(&block, RESUME_TAG_listener);
        put_u32(&block, 8 + cases[i].len);
        put_u32(&block, cases[i].tag);
        put_u32(&block, cases[i].len);
        buf_append(&block, cases[i].bytes, cases[i].len);
        resume_finish(&block);
        assert_int_equal(count_records(buf_slice(&block)), ERR_INVALID);
        buf_done(&block);
    }
}

/* ---- which file may be executed */

static void put_file(const char *path, const char *content, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, (struct slice){content, strlen(content)}, NULL), 0);
    assert_int_equal(fchmod(fd, mode), 0);
    fd_close(fd);
}

static int try_open(struct keeper *keeper, const char *path, struct error *err)
{
    struct binary binary = {.fd = -1};
    int code = binary_open(keeper, path, &binary, err);

    binary_close(&binary);
    return code;
}

static void only_what_nobody_else_could_write_is_executed(void **state UNUSED)
{
    char folder[] = "/tmp/slipway-test-XXXXXX", path[128];
    struct keeper keeper = {.policy = {.is_root = geteuid() == 0}};
    struct error err = {0};

    assert_non_null(mkdtemp(folder));
    keeper.state_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)snprintf(path, sizeof path, "%s/program", folder);
    put_file(path, "\177ELF and more", 0755);
    assert_int_equal(try_open(&keeper, path, &err), 0);
    assert_int_equal(chmod(path, 0775), 0);
    assert_int_equal(try_open(&keeper, path, &err), ERR_PERMISSION);
    assert_true(err.hint[0]);
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(chmod(folder, 0777), 0);
    assert_int_equal(try_open(&keeper, path, &err), ERR_PERMISSION);
    assert_int_equal(chmod(folder, 0755), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 65534, 0), 0);
        assert_int_equal(try_open(&keeper, path, &err), ERR_PERMISSION);
        assert_int_equal(chown(path, 0, 0), 0);
    }
    put_file(path, "#!/bin/sh", 0755);
    assert_int_equal(try_open(&keeper, path, &err), ERR_INVALID);
    assert_int_equal(try_open(&keeper, folder, &err), ERR_INVALID);
    assert_int_equal(try_open(&keeper, "program", &err), ERR_INVALID);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(try_open(&keeper, path, &err), ERR_NOT_FOUND);
    fd_close(keeper.state_fd);
    assert_int_equal(rmdir(folder), 0);
}

static void what_was_opened_stays_what_it_was(void **state UNUSED)
{
    char folder[] = "/tmp/slipway-test-XXXXXX", path[128], bytes[16];
    struct keeper keeper = {.policy = {.is_root = geteuid() == 0}};
    struct binary binary = {.fd = -1};

    assert_non_null(mkdtemp(folder));
    keeper.state_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)snprintf(path, sizeof path, "%s/program", folder);
    put_file(path, "\177ELF before", 0755);
    assert_int_equal(binary_open(&keeper, path, &binary, NULL), 0);
    put_file(path, "\177ELF after!", 0755);
    assert_int_equal(pread(binary.fd, bytes, sizeof bytes, 0), 11);
    assert_memory_equal(bytes, "\177ELF before", 11);
    assert_int_equal(binary.id, 1);
    assert_true(binary.is_private);
    binary_close(&binary);
    fd_close(keeper.state_fd);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(what_a_newer_version_adds_is_skipped),
        cmocka_unit_test(formats_beyond_the_next_one_are_refused),
        cmocka_unit_test(a_state_that_is_cut_off_anywhere_is_refused),
        cmocka_unit_test(malformed_fields_are_refused),
        cmocka_unit_test(only_what_nobody_else_could_write_is_executed),
        cmocka_unit_test(what_was_opened_stays_what_it_was),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
