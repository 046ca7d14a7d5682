#include "unit.h"

#include "base/clock.h"
#include "control/people.h"
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

/* The user database, as these tests have it: this program's functions are found first. */
static struct group operators = {.gr_name = (char *)(uintptr_t) "slipway", .gr_gid = 700};
static struct passwd anna = {.pw_name = (char *)(uintptr_t) "anna", .pw_uid = 4001};
static unsigned questions;
static bool has_anna;

#define VISIBLE __attribute__((visibility("default")))

VISIBLE struct group *getgrnam(const char *name)
{
    static char *members[2];

    assert_string_equal(name, "slipway");
    questions++;
    members[0] = has_anna ? anna.pw_name : NULL;
    operators.gr_mem = members;
    return &operators;
}

VISIBLE struct passwd *getpwnam(const char *name)
{
    return strcmp(name, "anna") == 0 ? &anna : NULL;
}

VISIBLE struct passwd *getpwuid(uid_t uid)
{
    questions++;
    return uid == anna.pw_uid ? &anna : NULL;
}

static int setup(void **state)
{
    (void)state;
    clock_fake(1000000000, 1700000000000000);
    questions = 0;
    has_anna = true;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    clock_real();
    return 0;
}

static void members_of_the_group_and_of_its_gid_are_operators(void **state)
{
    struct people people = {0};

    (void)state;
    assert_true(people_find(&people, 4001, 4001)->is_operator);
    assert_string_equal(people_find(&people, 4001, 4001)->name, "uid 4001 (anna)");
    assert_true(people_find(&people, 4002, 700)->is_operator);
    assert_false(people_find(&people, 4002, 4002)->is_operator);
    assert_string_equal(people_find(&people, 4002, 4002)->name, "uid 4002");
    assert_true(people_find(&people, geteuid(), 4002)->is_operator);
    assert_true(people_find(&people, 0, 0)->is_operator);
}

static void the_database_is_asked_once_in_a_while(void **state)
{
    struct people people = {0};

    (void)state;
    (void)people_find(&people, 4001, 4001);
    unsigned once = questions;
    for (unsigned i = 0; i < 1000; i++)
        assert_true(people_find(&people, 4001, 4001)->is_operator);
    assert_int_equal(questions, once);
    has_anna = false;
    clock_fake_advance(31000000);
    assert_false(people_find(&people, 4001, 4001)->is_operator);
    assert_true(questions > once);
}

static void someone_let_in_need_not_wait_long(void **state)
{
    struct people people = {0};

    (void)state;
    has_anna = false;
    assert_false(people_find(&people, 4001, 4001)->is_operator);
    has_anna = true;
    clock_fake_advance(4000000);
    assert_true(people_find(&people, 4001, 4001)->is_operator);
}

static void the_memory_is_bounded_and_keeps_who_asked_last(void **state)
{
    struct people people = {0};

    (void)state;
    for (uint32_t uid = 5000; uid < 5000 + 2 * PEOPLE_MAX; uid++) {
        assert_true(people_find(&people, uid, 700)->is_operator);
        clock_fake_advance(1000);
    }
    unsigned before = questions;
    (void)people_find(&people, 5000 + 2 * PEOPLE_MAX - 1, 700);
    assert_int_equal(questions, before);
    (void)people_find(&people, 5000, 700);
    assert_true(questions > before);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(members_of_the_group_and_of_its_gid_are_operators),
        T(the_database_is_asked_once_in_a_while),
        T(someone_let_in_need_not_wait_long),
        T(the_memory_is_bounded_and_keeps_who_asked_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
