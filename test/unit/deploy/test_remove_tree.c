#include "unit.h"

#include "deploy/remove_tree.h"
#include "os/file.h"
#include <sys/stat.h>
#include <unistd.h>

static void write_file(const char *folder, const char *name)
{
    char path[UNIT_PATH_SIZE];
    struct error err = {0};

    assert_int_equal(file_write_durable(unit_path(path, folder, name), SLICE("x"), 0600, &err), 0);
}

static void make(const char *folder, const char *name, char *ret_path)
{
    struct error err = {0};

    assert_int_equal(directory_make(unit_path(ret_path, folder, name), 0700, &err), 0);
}

static void everything_below_goes_and_the_folder_stays(void **state)
{
    char root[UNIT_PATH_SIZE], below[UNIT_PATH_SIZE], deep[UNIT_PATH_SIZE];
    struct error err = {0};

    (void)state;
    unit_folder(root);
    make(root, "a/b/c", deep);
    write_file(root, "one");
    write_file(deep, "two");
    assert_int_equal(remove_tree_content(root, &err), 0);
    assert_true(file_is_directory(root));
    assert_false(file_exists(unit_path(below, root, "a")));
    assert_false(file_exists(unit_path(below, root, "one")));
    assert_int_equal(remove_tree_shell(root, &err), 0);
    assert_false(file_exists(root));
    assert_int_equal(remove_tree_content(root, &err), 0); /* absent is fine */
    assert_int_equal(remove_tree_shell(root, &err), 0);
}

static void links_are_not_followed(void **state)
{
    char root[UNIT_PATH_SIZE], outside[UNIT_PATH_SIZE], link_path[UNIT_PATH_SIZE],
        kept[UNIT_PATH_SIZE];
    struct error err = {0};

    (void)state;
    unit_folder(root);
    unit_folder(outside);
    write_file(outside, "precious");
    assert_int_equal(symlink(outside, unit_path(link_path, root, "link")), 0);
    assert_int_equal(remove_tree_content(root, &err), 0);
    assert_true(file_exists(unit_path(kept, outside, "precious")));
    assert_int_equal(directory_remove_tree(root, &err), 0);
    assert_int_equal(directory_remove_tree(outside, &err), 0);
}

static void a_link_in_the_place_of_the_folder_is_refused(void **state)
{
    char root[UNIT_PATH_SIZE], outside[UNIT_PATH_SIZE], link_path[UNIT_PATH_SIZE],
        kept[UNIT_PATH_SIZE];
    struct error err = {0};

    (void)state;
    unit_folder(root);
    unit_folder(outside);
    write_file(outside, "precious");
    assert_int_equal(symlink(outside, unit_path(link_path, root, "link")), 0);
    assert_true(remove_tree_content(link_path, &err) < 0);
    assert_true(file_exists(unit_path(kept, outside, "precious")));
    assert_int_equal(directory_remove_tree(root, &err), 0);
    assert_int_equal(directory_remove_tree(outside, &err), 0);
}

static void folders_without_rights_are_removed_by_their_owner(void **state)
{
    char root[UNIT_PATH_SIZE], locked[UNIT_PATH_SIZE];
    struct error err = {0};

    (void)state;
    unit_folder(root);
    make(root, "locked", locked);
    write_file(locked, "in");
    assert_int_equal(chmod(locked, 0), 0);
    assert_int_equal(remove_tree_content(root, &err), 0);
    assert_false(file_exists(locked));
    assert_int_equal(directory_remove_tree(root, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_below_goes_and_the_folder_stays),
        cmocka_unit_test(links_are_not_followed),
        cmocka_unit_test(a_link_in_the_place_of_the_folder_is_refused),
        cmocka_unit_test(folders_without_rights_are_removed_by_their_owner),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
