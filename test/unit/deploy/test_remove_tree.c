#include "unit.h"

#include "deploy/remove_tree.h"
#include "os/file.h"

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

static void empty_folders_and_their_own_folder_go(void **state)
{
    char root[UNIT_PATH_SIZE], below[UNIT_PATH_SIZE];
    struct error err = {0};

    (void)state;
    unit_folder(root);
    make(root, "source", below);
    make(root, "site", below);
    assert_int_equal(remove_tree_shell(root, &err), 0);
    assert_false(file_exists(root));
    assert_int_equal(remove_tree_shell(root, &err), 0); /* absent is fine */
}

static void what_is_not_empty_stays_and_is_told(void **state)
{
    char root[UNIT_PATH_SIZE], below[UNIT_PATH_SIZE];
    struct error err = {0};

    (void)state;
    unit_folder(root);
    make(root, "source", below);
    write_file(below, "left");
    assert_true(remove_tree_shell(root, &err) < 0);
    assert_true(file_exists(below));
    assert_int_equal(directory_remove_tree(root, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_folders_and_their_own_folder_go),
        cmocka_unit_test(what_is_not_empty_stays_and_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
