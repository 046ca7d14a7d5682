#include "os/file.h"
#include "unit.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[UNIT_PATH_SIZE], path[UNIT_PATH_SIZE];

static int setup(void **state)
{
    (void)state;
    unit_path(path, unit_folder(folder), "tree");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return directory_remove_tree(folder, NULL);
}

static void touch(const char *name)
{
    CLEANUP(fd_closep) int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, SLICE("12345"), NULL), 0);
}

static void parents_are_made_and_existing_ones_are_fine(void **state)
{
    (void)state;
    char deep[UNIT_PATH_SIZE];
    unit_path(deep, path, "a//b/c/");
    assert_int_equal(directory_make(deep, 0755, NULL), 0);
    assert_int_equal(directory_make(deep, 0755, NULL), 0);
    assert_true(file_is_directory(deep));
}

static void a_file_in_the_way_is_named(void **state)
{
    (void)state;
    struct error err = {0};
    char deep[UNIT_PATH_SIZE];
    touch(path);
    unit_path(deep, path, "a");
    assert_int_not_equal(directory_make(deep, 0755, &err), 0);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(directory_make(path, 0755, &err), ERR_EXISTS);
}

static void a_tree_goes_with_all_that_is_in_it(void **state)
{
    (void)state;
    char name[UNIT_PATH_SIZE];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "%.200s/d%d/sub/deep", path, i);
        assert_int_equal(directory_make(name, 0755, NULL), 0);
        for (int j = 0; j < 10; j++) {
            snprintf(name, sizeof(name), "%.200s/d%d/sub/f%d", path, i, j);
            touch(name);
        }
    }
    assert_int_equal(directory_remove_tree(path, NULL), 0);
    assert_false(file_exists(path));
    assert_int_equal(directory_remove_tree(path, NULL), 0); /* absent is fine */
}

static void links_are_removed_and_not_followed(void **state)
{
    (void)state;
    char outside[UNIT_PATH_SIZE], kept[UNIT_PATH_SIZE], name[UNIT_PATH_SIZE];
    unit_path(outside, folder, "outside");
    unit_path(kept, outside, "kept");
    assert_int_equal(directory_make(outside, 0755, NULL), 0);
    touch(kept);
    assert_int_equal(directory_make(path, 0755, NULL), 0);
    assert_int_equal(symlink(outside, unit_path(name, path, "link")), 0);
    assert_int_equal(directory_remove_tree(path, NULL), 0);
    assert_true(file_exists(kept));
    /* The tree itself being a link: only the link goes. */
    assert_int_equal(symlink(outside, path), 0);
    assert_int_equal(directory_remove_tree(path, NULL), 0);
    assert_false(file_exists(path));
    assert_true(file_exists(kept));
}

static void a_tree_deeper_than_any_path_goes_too(void **state)
{
    (void)state;
    enum { DEPTH = 3000 };
    assert_int_equal(mkdir(path, 0755), 0);
    int at = open(path, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < DEPTH; i++) {
        assert_int_equal(mkdirat(at, "level", 0755), 0);
        int next = openat(at, "level", O_RDONLY | O_DIRECTORY);
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    close(at);
    uint64_t bytes, files;
    assert_int_equal(directory_size(path, &bytes, &files, NULL), ERR_LIMIT);
    assert_int_equal(directory_remove_tree(path, NULL), 0);
    assert_false(file_exists(path));
}

static void folders_without_permissions_go_too(void **state)
{
    (void)state;
    char name[UNIT_PATH_SIZE];
    assert_int_equal(directory_make(unit_path(name, path, "a/b/c"), 0755, NULL), 0);
    touch(unit_path(name, path, "a/b/file"));
    assert_int_equal(chmod(unit_path(name, path, "a/b/c"), 0), 0);
    assert_int_equal(chmod(unit_path(name, path, "a/b"), 0555), 0);
    assert_int_equal(chmod(unit_path(name, path, "a"), 0), 0);
    /* As root permissions do not count, so the removal is done as somebody else. */
    bool is_root = geteuid() == 0;
    if (is_root) {
        assert_int_equal(chmod(folder, 0777), 0);
        const char *owned[] = {"", "a", "a/b", "a/b/c", "a/b/file"};
        for (size_t i = 0; i < ARRAY_LEN(owned); i++)
            assert_int_equal(lchown(unit_path(name, path, owned[i]), 65534, 65534), 0);
        assert_int_equal(seteuid(65534), 0);
    }
    int r = directory_remove_tree(path, NULL);
    if (is_root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(r, 0);
    assert_false(file_exists(path));
}

static void the_content_goes_and_the_folder_stays(void **state)
{
    (void)state;
    char below[UNIT_PATH_SIZE];
    assert_int_equal(directory_remove_content(path, NULL), 0); /* absent is fine */
    assert_int_equal(directory_make(unit_path(below, path, "a/b/c"), 0755, NULL), 0);
    touch(unit_path(below, path, "a/b/two"));
    touch(unit_path(below, path, "one"));
    assert_int_equal(chmod(unit_path(below, path, "a/b"), 0), 0);
    assert_int_equal(directory_remove_content(path, NULL), 0);
    assert_true(file_is_directory(path));
    assert_int_equal(rmdir(path), 0); /* so it was empty */
}

static void the_content_of_a_link_is_not_touched(void **state)
{
    (void)state;
    char link_path[UNIT_PATH_SIZE], inside[UNIT_PATH_SIZE], kept[UNIT_PATH_SIZE];
    assert_int_equal(directory_make(unit_path(inside, path, "inside"), 0755, NULL), 0);
    touch(unit_path(kept, path, "precious"));
    assert_int_equal(symlink(path, unit_path(link_path, folder, "link")), 0);
    assert_int_equal(symlink(path, unit_path(link_path, inside, "link")), 0);
    assert_int_not_equal(directory_remove_content(unit_path(link_path, folder, "link"), NULL), 0);
    assert_int_equal(directory_remove_content(inside, NULL), 0);
    assert_true(file_exists(kept));
    assert_int_equal(rmdir(inside), 0);
}

/* In a child, as the test goes back to being root afterwards. */
static int content_removed_as(uid_t uid)
{
    struct error err = {0};
    pid_t pid = fork();
    int status = -1;
    if (pid == 0) {
        if (setgid(uid) != 0 || setuid(uid) != 0)
            _exit(99);
        int code = directory_remove_content(path, &err);
        _exit(code == 0 ? 0 : code == ERR_PERMISSION ? 1 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status);
}

static void chain_make(const char *start, uid_t uid)
{
    CLEANUP(fd_closep) int fd = open(start, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (int depth = 0; depth < 1000; depth++) {
        assert_int_equal(mkdirat(fd, "chain", 0700), 0);
        assert_int_equal(fchownat(fd, "chain", uid, uid, 0), 0);
        int next = openat(fd, "chain", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        fd_close(fd);
        fd = next;
    }
}

static void another_user_removes_its_own_at_any_depth_and_leaves_the_shells(void **state)
{
    (void)state;
    enum { OTHER = 65533 };
    char own[UNIT_PATH_SIZE], not_own[UNIT_PATH_SIZE];
    if (geteuid() != 0)
        skip();
    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(directory_make(unit_path(own, path, "between/source"), 0755, NULL), 0);
    assert_int_equal(chown(own, OTHER, OTHER), 0);
    chain_make(own, OTHER);
    assert_int_equal(content_removed_as(OTHER), 0);
    assert_int_equal(rmdir(own), 0); /* the shell stood, and was empty */
    touch(unit_path(not_own, path, "between/precious"));
    assert_int_equal(content_removed_as(OTHER), 1);
    assert_true(file_exists(not_own));
}

static void what_cannot_be_removed_is_told(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(directory_remove_tree("/proc/self/fd", &err), ERR_PERMISSION);
    assert_non_null(strstr(err.text, "/proc/self/fd"));
}

static void a_tree_is_measured_without_following_links(void **state)
{
    (void)state;
    char name[UNIT_PATH_SIZE];
    uint64_t bytes, files;
    assert_int_equal(directory_make(unit_path(name, path, "a/b"), 0755, NULL), 0);
    touch(unit_path(name, path, "one"));
    touch(unit_path(name, path, "a/b/two"));
    assert_int_equal(symlink("/usr", unit_path(name, path, "link")), 0);
    assert_int_equal(directory_size(path, &bytes, &files, NULL), 0);
    assert_int_equal(files, 3);
    assert_int_equal(bytes, 14);
    assert_int_equal(directory_size(unit_path(name, path, "none"), &bytes, &files, NULL),
                     ERR_NOT_FOUND);
}

static void a_folder_is_made_durable_and_its_disk_has_room(void **state)
{
    (void)state;
    uint64_t bytes = 0;
    assert_int_equal(directory_fsync(folder, NULL), 0);
    assert_int_equal(directory_fsync(path, NULL), ERR_NOT_FOUND);
    assert_int_equal(disk_free_bytes(folder, &bytes, NULL), 0);
    assert_true(bytes > 0);
    assert_int_equal(disk_free_bytes(path, &bytes, NULL), ERR_NOT_FOUND);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(parents_are_made_and_existing_ones_are_fine),
        TEST(a_file_in_the_way_is_named),
        TEST(a_tree_goes_with_all_that_is_in_it),
        TEST(links_are_removed_and_not_followed),
        TEST(a_tree_deeper_than_any_path_goes_too),
        TEST(folders_without_permissions_go_too),
        TEST(the_content_goes_and_the_folder_stays),
        TEST(the_content_of_a_link_is_not_touched),
        TEST(another_user_removes_its_own_at_any_depth_and_leaves_the_shells),
        TEST(what_cannot_be_removed_is_told),
        TEST(a_tree_is_measured_without_following_links),
        TEST(a_folder_is_made_durable_and_its_disk_has_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
