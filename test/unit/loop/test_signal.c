#include "loop/loop.h"
#include "unit.h"
#include <unistd.h>

static struct loop *loop;

struct handler {
    struct loop_signal signal;
    unsigned calls;
    struct handler *stops;
};

static void on_signal(struct loop_signal *signal)
{
    struct handler *handler = container_of(signal, struct handler, signal);
    handler->calls++;
    if (handler->stops)
        loop_signal_stop(&handler->stops->signal);
}

static struct handler handler_new(void)
{
    return (struct handler){.signal = {.on_signal = on_signal}};
}

static int setup(void **state)
{
    (void)state;
    return loop_new(&loop, NULL);
}

static int teardown(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

/* The descriptor's event and the signals themselves belong to one turn; two turns leave room for
 * the kernel. */
static void raise_and_turn(int number)
{
    assert_int_equal(kill(getpid(), number), 0);
    assert_int_equal(loop_turn(loop, 1000, NULL), 0);
    assert_int_equal(loop_turn(loop, 0, NULL), 0);
}

static void each_handler_hears_its_own_signal(void **state)
{
    (void)state;
    struct handler one = handler_new(), two = handler_new(), other = handler_new();
    assert_int_equal(loop_signal_start(loop, &one.signal, SIGUSR1, NULL), 0);
    assert_int_equal(loop_signal_start(loop, &two.signal, SIGUSR1, NULL), 0);
    assert_int_equal(loop_signal_start(loop, &other.signal, SIGUSR2, NULL), 0);
    raise_and_turn(SIGUSR1);
    assert_int_equal(one.calls, 1);
    assert_int_equal(two.calls, 1);
    assert_int_equal(other.calls, 0);
    raise_and_turn(SIGUSR2);
    assert_int_equal(other.calls, 1);
    loop_signal_stop(&one.signal);
    raise_and_turn(SIGUSR1);
    assert_int_equal(one.calls, 1);
    assert_int_equal(two.calls, 2);
    loop_signal_stop(&one.signal);
    loop_signal_stop(&two.signal);
    loop_signal_stop(&other.signal);
}

static void a_handler_may_stop_itself_and_the_next(void **state)
{
    (void)state;
    struct handler one = handler_new(), two = handler_new();
    one.stops = &two;
    two.stops = &one;
    assert_int_equal(loop_signal_start(loop, &one.signal, SIGUSR1, NULL), 0);
    assert_int_equal(loop_signal_start(loop, &two.signal, SIGUSR1, NULL), 0);
    raise_and_turn(SIGUSR1);
    assert_int_equal(one.calls, 1);
    assert_int_equal(two.calls, 0);
    one.stops = &one;
    raise_and_turn(SIGUSR1);
    assert_int_equal(one.calls, 2);
    assert_null(one.signal.loop);
}

static void a_signal_without_a_handler_does_no_harm(void **state)
{
    (void)state;
    struct handler handler = handler_new();
    assert_int_equal(loop_signal_start(loop, &handler.signal, SIGTERM, NULL), 0);
    loop_signal_stop(&handler.signal);
    assert_int_equal(kill(getpid(), SIGTERM), 0); /* blocked since */
    assert_int_equal(loop_turn(loop, 0, NULL), 0);
    assert_int_equal(handler.calls, 0);
    /* It stayed pending for the next who asks. */
    assert_int_equal(loop_signal_start(loop, &handler.signal, SIGTERM, NULL), 0);
    assert_int_equal(loop_turn(loop, 1000, NULL), 0);
    assert_int_equal(handler.calls, 1);
    loop_signal_stop(&handler.signal);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(each_handler_hears_its_own_signal),
        TEST(a_handler_may_stop_itself_and_the_next),
        TEST(a_signal_without_a_handler_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
