/* The lines go to stderr, so each test puts a pipe there and reads what comes out. */
#include "base/clock.h"
#include "base/log.h"
#include "unit.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int kept_stderr, pipe_fds[2];

static int setup(void **state)
{
    (void)state;
    fflush(stderr);
    kept_stderr = dup(STDERR_FILENO);
    assert_int_equal(pipe2(pipe_fds, O_NONBLOCK), 0);
    dup2(pipe_fds[1], STDERR_FILENO);
    clock_fake(0, 1772368496789012);
    log_init("test", LOG_INFO);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    dup2(kept_stderr, STDERR_FILENO);
    close(kept_stderr);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    clock_real();
    return 0;
}

static char *lines(void)
{
    static char text[1 << 17];
    size_t len = 0;
    ssize_t n;
    while ((n = read(pipe_fds[0], text + len, sizeof(text) - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    return text;
}

static void a_line_tells_time_level_and_role(void **state)
{
    (void)state;
    log_info("hello %d", 7);
    log_error("bad");
    assert_string_equal(lines(), "2026-03-01T12:34:56.789Z info test: hello 7\n"
                                 "2026-03-01T12:34:56.789Z error test: bad\n");
}

static void levels_below_the_threshold_are_silent(void **state)
{
    (void)state;
    log_debug("hidden");
    log_set_level(LOG_ERROR);
    log_warning("hidden");
    log_info("hidden");
    assert_string_equal(lines(), "");
    log_set_level(LOG_DEBUG);
    log_debug("seen");
    assert_non_null(strstr(lines(), "debug test: seen"));
}

static void control_characters_cannot_forge_a_line(void **state)
{
    (void)state;
    log_info("a\nb\r\t\x1b[31m\x7f");
    assert_string_equal(lines(), "2026-03-01T12:34:56.789Z info test: a\\nb\\r\\t\\x1b[31m\\x7f\n");
}

static void a_long_line_is_cut_and_stays_one_write(void **state)
{
    (void)state;
    char text[10000];
    memset(text, '\n', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_info("%s", text);
    char *line = lines();
    size_t len = strlen(line);
    assert_true(len <= 4096);
    assert_string_equal(line + len - 4, "...\n");
}

static void lines_that_nobody_takes_are_counted(void **state)
{
    (void)state;
    char text[1000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (int i = 0; i < 1000; i++)
        log_info("%s", text); /* returns although the pipe is full */
    size_t taken = 0;
    for (const char *c = lines(); *c; c++)
        taken += *c == '\n';
    assert_true(taken > 0 && taken < 1000);
    log_info("again");
    log_info("and again");
    char wanted[200];
    snprintf(wanted, sizeof(wanted),
             "2026-03-01T12:34:56.789Z info test: (%zu lines dropped) again\n"
             "2026-03-01T12:34:56.789Z info test: and again\n",
             1000 - taken);
    assert_string_equal(lines(), wanted);
}

static void a_failure_is_logged_with_its_hint(void **state)
{
    (void)state;
    struct error err = {0};
    error_set(&err, ERR_FAILED, "it broke");
    log_failure(&err, "deploy %d", 3);
    assert_string_equal(lines(), "2026-03-01T12:34:56.789Z error test: deploy 3: it broke\n");
    error_hint(&err, "mend it");
    log_failure(&err, "deploy");
    assert_string_equal(lines(),
                        "2026-03-01T12:34:56.789Z error test: deploy: it broke HINT: mend it\n");
}

static void logging_keeps_errno(void **state)
{
    (void)state;
    struct error err = {0};
    errno = EXDEV;
    log_info("x");
    log_failure(&err, "x");
    assert_int_equal(errno, EXDEV);
    lines();
}

static void levels_have_names(void **state)
{
    (void)state;
    enum log_level level = LOG_ERROR;
    assert_int_equal(log_level_from_name("debug", &level), 0);
    assert_int_equal(level, LOG_DEBUG);
    assert_int_equal(log_level_from_name("loud", &level), ERR_INVALID);
    assert_int_equal(level, LOG_DEBUG);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_line_tells_time_level_and_role),
        TEST(levels_below_the_threshold_are_silent),
        TEST(control_characters_cannot_forge_a_line),
        TEST(a_long_line_is_cut_and_stays_one_write),
        TEST(lines_that_nobody_takes_are_counted),
        TEST(a_failure_is_logged_with_its_hint),
        TEST(logging_keeps_errno),
        TEST(levels_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
