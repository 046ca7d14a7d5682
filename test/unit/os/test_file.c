#include "os/file.h"
#include "unit.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[UNIT_PATH_SIZE], path[UNIT_PATH_SIZE];

static int setup(void **state)
{
    (void)state;
    unit_path(path, unit_folder(folder), "file");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return directory_remove_tree(folder, NULL);
}

static unsigned entries(void)
{
    uint64_t bytes, files;
    assert_int_equal(directory_size(folder, &bytes, &files, NULL), 0);
    return (unsigned)files;
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf content = {0};
    struct stat status;
    assert_int_equal(file_write_durable(path, SLICE("hello"), 0640, NULL), 0);
    assert_int_equal(file_write_durable(path, SLICE("hello again"), 0600, NULL), 0);
    assert_int_equal(file_read(path, 11, &content, NULL), 0);
    assert_string_equal(buf_text(&content), "hello again");
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(entries(), 1); /* no temporary file stays */
}

static void an_empty_file_reads_as_nothing(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf content = {0};
    assert_int_equal(file_write_durable(path, (struct slice){0}, 0600, NULL), 0);
    assert_int_equal(file_read(path, 0, &content, NULL), 0);
    assert_string_equal(buf_text(&content), "");
}

static void a_fifo_is_refused_and_not_waited_for(void **state)
{
    (void)state;
    struct error err = {0};
    struct buf content = {0};
    assert_int_equal(mkfifo(path, 0600), 0);
    alarm(10); /* the whole test ends when it waits for a writer */
    assert_int_equal(file_read(path, 4, &content, &err), ERR_INVALID);
    alarm(0);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(unlink(path), 0);
}

static void a_file_beyond_the_ceiling_is_not_read(void **state)
{
    (void)state;
    struct error err = {0};
    struct buf content = {0};
    assert_int_equal(file_write_durable(path, SLICE("hello"), 0600, NULL), 0);
    assert_int_equal(file_read(path, 4, &content, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, path));
    assert_null(content.ptr);
}

static void a_large_file_is_read_whole(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf wanted = BUF_INIT(1 << 22), content = {0};
    for (int i = 0; i < 100000; i++)
        buf_append_u64(&wanted, (uint64_t)i);
    assert_int_equal(file_write_durable(path, buf_slice(&wanted), 0600, NULL), 0);
    assert_int_equal(file_read(path, 1 << 22, &content, NULL), 0);
    assert_true(slice_eq(buf_slice(&content), buf_slice(&wanted)));
}

static void files_whose_size_says_nothing_are_read(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf content = {0};
    assert_int_equal(file_read("/proc/self/status", 1 << 20, &content, NULL), 0);
    assert_non_null(strstr(buf_text(&content), "Pid:"));
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    struct error err = {0};
    struct buf content = {0};
    assert_int_equal(file_read(path, 10, &content, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "no such file or directory"));
    char deep[UNIT_PATH_SIZE];
    unit_path(deep, folder, "none/file");
    assert_int_equal(file_write_durable(deep, SLICE("x"), 0600, &err), ERR_NOT_FOUND);
}

static void a_failed_write_leaves_the_old_content(void **state)
{
    (void)state;
    char target[UNIT_PATH_SIZE];
    unit_path(target, folder, "directory");
    assert_int_equal(mkdir(target, 0700), 0);
    /* A folder cannot be replaced by a file: the last step fails. */
    assert_int_not_equal(file_write_durable(target, SLICE("x"), 0600, NULL), 0);
    assert_int_equal(entries(), 0);
    assert_true(file_is_directory(target));
}

static void existence_looks_at_links_themselves(void **state)
{
    (void)state;
    assert_false(file_exists(path));
    assert_int_equal(symlink("nowhere", path), 0);
    assert_true(file_exists(path));
    assert_false(file_is_directory(path));
    assert_true(file_is_directory(folder));
}

static void a_lock_has_one_holder(void **state)
{
    (void)state;
    struct error err = {0};
    CLEANUP(fd_closep) int fd = -1;
    assert_int_equal(file_lock(path, &fd, NULL), 0);
    int other = -1;
    assert_int_equal(file_lock(path, &other, &err), ERR_CONFLICT);
    assert_int_equal(other, -1);
    fd_closep(&fd);
    assert_int_equal(file_lock(path, &fd, NULL), 0);
}

static void a_lock_ends_with_its_process(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        int fd;
        _exit(file_lock(path, &fd, NULL) == 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    CLEANUP(fd_closep) int fd = -1;
    assert_int_equal(file_lock(path, &fd, NULL), 0);
}

static void flags_of_descriptors_are_switched(void **state)
{
    (void)state;
    CLEANUP(fd_closep) int fd = open(folder, O_RDONLY);
    assert_int_equal(fd_set_cloexec(fd, true), 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fd_set_cloexec(fd, false), 0);
    assert_int_equal(fcntl(fd, F_GETFD), 0);
    assert_int_equal(fd_set_nonblocking(fd, true), 0);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_int_equal(fd_set_nonblocking(fd, false), 0);
    assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
    fd_close(-1);
}

static void paths_are_joined_with_one_slash(void **state)
{
    (void)state;
    CLEANUP(arena_freep) struct arena *arena = arena_new(4096);
    assert_string_equal(path_join(arena, "a", "b"), "a/b");
    assert_string_equal(path_join(arena, "a/", "b"), "a/b");
    assert_string_equal(path_join(arena, "/", "b"), "/b");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_written_is_read),
        TEST(an_empty_file_reads_as_nothing),
        TEST(a_fifo_is_refused_and_not_waited_for),
        TEST(a_file_beyond_the_ceiling_is_not_read),
        TEST(a_large_file_is_read_whole),
        TEST(files_whose_size_says_nothing_are_read),
        TEST(what_is_missing_is_named),
        TEST(a_failed_write_leaves_the_old_content),
        TEST(existence_looks_at_links_themselves),
        TEST(a_lock_has_one_holder),
        TEST(a_lock_ends_with_its_process),
        TEST(flags_of_descriptors_are_switched),
        TEST(paths_are_joined_with_one_slash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
