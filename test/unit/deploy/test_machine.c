#include "unit.h"

#include "deploy/machine.h"

static void names_and_states_match_in_both_directions(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DEPLOY_STATE_COUNT; i++)
        assert_int_equal(deploy_state_from_name(deploy_state_name((enum deploy_state)i)), i);
    for (unsigned i = 0; i < DEPLOY_KIND_COUNT; i++)
        assert_int_equal(deploy_kind_from_name(deploy_kind_name((enum deploy_kind)i)), i);
    assert_int_equal(deploy_state_from_name("no such"), DEPLOY_STATE_COUNT);
    assert_int_equal(deploy_state_from_name(NULL), DEPLOY_STATE_COUNT);
    assert_int_equal(deploy_kind_from_name("no such"), DEPLOY_KIND_COUNT);
}

static enum deploy_state done(enum deploy_kind kind, enum deploy_state state)
{
    return machine_next(kind, state, DEPLOY_EVENT_DONE, DEPLOY_OUTCOME_FAILED);
}

static void every_kind_walks_to_its_end(void **state)
{
    static const enum deploy_state ends[] = {DEPLOY_LIVE, DEPLOY_LIVE, DEPLOY_LIVE, DEPLOY_LIVE,
                                             DEPLOY_REMOVED};

    (void)state;
    for (unsigned kind = 0; kind < DEPLOY_KIND_COUNT; kind++) {
        enum deploy_state at = kind == DEPLOY_KIND_DEPLOY ? DEPLOY_UPLOADING : DEPLOY_QUEUED;
        unsigned steps = 0;

        while (!machine_is_final(at) && steps++ < 20) {
            at = done((enum deploy_kind)kind, at);
            assert_int_not_equal(at, DEPLOY_STATE_COUNT);
        }
        assert_int_equal(at, ends[kind]);
    }
}

static void a_deploy_walks_through_all_its_steps(void **state)
{
    static const enum deploy_state path[] = {
        DEPLOY_UPLOADING, DEPLOY_QUEUED,   DEPLOY_UNPACKING, DEPLOY_PREPARING, DEPLOY_BUILDING,
        DEPLOY_MIGRATING, DEPLOY_STARTING, DEPLOY_CHECKING,  DEPLOY_SHIFTING,  DEPLOY_LIVE};

    (void)state;
    for (size_t i = 0; i + 1 < ARRAY_LEN(path); i++)
        assert_int_equal(done(DEPLOY_KIND_DEPLOY, path[i]), path[i + 1]);
}

static void only_shifting_goes_round_again(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DEPLOY_STATE_COUNT; i++)
        assert_int_equal(machine_next(DEPLOY_KIND_DEPLOY, (enum deploy_state)i, DEPLOY_EVENT_AGAIN,
                                      DEPLOY_OUTCOME_FAILED),
                         i == DEPLOY_SHIFTING ? DEPLOY_STARTING : DEPLOY_STATE_COUNT);
}

static void final_states_are_final(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DEPLOY_STATE_COUNT; i++)
        for (unsigned event = 0;
             machine_is_final((enum deploy_state)i) && event < DEPLOY_EVENT_COUNT; event++)
            assert_int_equal(machine_next(DEPLOY_KIND_DEPLOY, (enum deploy_state)i,
                                          (enum deploy_event)event, DEPLOY_OUTCOME_FAILED),
                             DEPLOY_STATE_COUNT);
}

static void every_state_on_the_way_can_fail_and_ends(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DEPLOY_STATE_COUNT; i++) {
        enum deploy_state next = machine_next(DEPLOY_KIND_DEPLOY, (enum deploy_state)i,
                                              DEPLOY_EVENT_FAIL, DEPLOY_OUTCOME_FAILED);

        if (machine_is_final((enum deploy_state)i) || i == DEPLOY_RETURNING)
            continue;
        assert_true(next == DEPLOY_RETURNING || next == DEPLOY_FAILED);
    }
}

static void returning_ends_as_its_outcome_says(void **state)
{
    (void)state;
    assert_int_equal(machine_next(DEPLOY_KIND_DEPLOY, DEPLOY_RETURNING, DEPLOY_EVENT_DONE,
                                  DEPLOY_OUTCOME_FAILED),
                     DEPLOY_FAILED);
    assert_int_equal(machine_next(DEPLOY_KIND_SCALE, DEPLOY_RETURNING, DEPLOY_EVENT_DONE,
                                  DEPLOY_OUTCOME_ROLLED_BACK),
                     DEPLOY_ROLLED_BACK);
    assert_int_equal(machine_next(DEPLOY_KIND_ROLLBACK, DEPLOY_RETURNING, DEPLOY_EVENT_DONE,
                                  DEPLOY_OUTCOME_CANCELLED),
                     DEPLOY_CANCELLED);
}

static void a_removal_that_has_begun_is_not_cancelled(void **state)
{
    (void)state;
    assert_int_equal(machine_next(DEPLOY_KIND_REMOVE, DEPLOY_QUEUED, DEPLOY_EVENT_CANCEL,
                                  DEPLOY_OUTCOME_CANCELLED),
                     DEPLOY_CANCELLED);
    assert_int_equal(machine_next(DEPLOY_KIND_REMOVE, DEPLOY_STOPPING, DEPLOY_EVENT_CANCEL,
                                  DEPLOY_OUTCOME_CANCELLED),
                     DEPLOY_STATE_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_states_match_in_both_directions),
        cmocka_unit_test(every_kind_walks_to_its_end),
        cmocka_unit_test(a_deploy_walks_through_all_its_steps),
        cmocka_unit_test(only_shifting_goes_round_again),
        cmocka_unit_test(final_states_are_final),
        cmocka_unit_test(every_state_on_the_way_can_fail_and_ends),
        cmocka_unit_test(returning_ends_as_its_outcome_says),
        cmocka_unit_test(a_removal_that_has_begun_is_not_cancelled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
