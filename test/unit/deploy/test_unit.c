#include "unit.h"

#include "deploy/unit.h"
#include <signal.h>

static const char *words(struct unit_exit exit, uint64_t limit)
{
    static char buffer[UNIT_WORDS_SIZE];

    return unit_exit_words(&exit, limit, buffer);
}

static void an_exit_is_told_in_words(void **state)
{
    (void)state;
    assert_string_equal(words((struct unit_exit){.wait_status = 3 << 8}, 0),
                        "exited with status 3");
    assert_string_equal(words((struct unit_exit){.wait_status = SIGSEGV}, 0),
                        "was killed by SIGSEGV");
    assert_string_equal(words((struct unit_exit){.wait_status = SIGKILL, .is_oom = true}, 1u << 30),
                        "was killed by SIGKILL (out of memory, limit 1G)");
    assert_string_equal(words((struct unit_exit){.wait_status = SIGKILL, .is_oom = true}, 0),
                        "was killed by SIGKILL (the machine is out of memory)");
    assert_string_equal(words((struct unit_exit){.wait_status = SIGKILL, .was_killed = true}, 0),
                        "was killed by SIGKILL (it did not stop within its grace)");
}

static void only_status_0_is_a_success(void **state)
{
    (void)state;
    assert_true(unit_exit_is_success(&(struct unit_exit){.wait_status = 0}));
    assert_false(unit_exit_is_success(&(struct unit_exit){.wait_status = 1 << 8}));
    assert_false(unit_exit_is_success(&(struct unit_exit){.wait_status = SIGTERM}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exit_is_told_in_words),
        cmocka_unit_test(only_status_0_is_a_success),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
