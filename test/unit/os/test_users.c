#include "unit.h"

#include "os/users.h"

static void known_users_are_found_and_others_are_not(void **state)
{
    uid_t uid = 1;
    gid_t gid = 1;

    (void)state;
    assert_int_equal(users_find("root", &uid, &gid, NULL), 0);
    assert_int_equal(uid, 0);
    assert_int_equal(gid, 0);
    assert_int_equal(users_find("no-such-user", &uid, &gid, NULL), ERR_NOT_FOUND);
    assert_int_equal(uid, 0); /* untouched */
}

static void users_that_exist_need_nothing(void **state)
{
    static const char *const names[] = {"root", "nobody"};

    (void)state;
    assert_int_equal(users_ensure(names, 2, NULL), 0);
    assert_int_equal(users_ensure(names, 0, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_users_are_found_and_others_are_not),
        cmocka_unit_test(users_that_exist_need_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
