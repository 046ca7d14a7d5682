#include <sys/resource.h>
#include <unistd.h>

#include "keeper/keeper_private.h"
#include "unit.h"

static const struct keeper_role_entry entries[] = {
    {.role = KEEPER_ROLE_CONTROL, .name = "control"},
    {.role = KEEPER_ROLE_EDGE, .name = "edge", .is_per_edge = true}};

static const struct keeper_options options = {
    .roles = entries, .role_count = ARRAY_LEN(entries), .edge_count = 2};

static void open_no_more(bool is_forbidden)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = is_forbidden ? 0 : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void an_edge_that_did_not_come_to_be_takes_no_place(void **state UNUSED)
{
    struct keeper keeper = {.options = &options};
    struct error err = {0};

    list_init(&keeper.streams);
    assert_int_equal(roles_make_table(&keeper, NULL), 0);
    for (int i = 0; i < 3; i++) {
        open_no_more(true);
        assert_true(edge_add(&keeper, &err) < 0);
        open_no_more(false);
        assert_int_equal(edges_addable(&keeper), KEEPER_EDGES_MAX);
        assert_int_equal(keeper.role_count, 1);
    }
    assert_int_equal(keeper.stream_count, 0);
    roles_done(&keeper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_edge_that_did_not_come_to_be_takes_no_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
