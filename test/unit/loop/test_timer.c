#include "base/clock.h"
#include "loop/loop.h"
#include "unit.h"

static struct loop *loop;

struct alarm {
    struct loop_timer timer;
    unsigned calls;
    uint64_t called_at_us, again_in_us;
    struct alarm *stops;
};

static void on_timer(struct loop_timer *timer)
{
    struct alarm *alarm = container_of(timer, struct alarm, timer);
    alarm->calls++;
    alarm->called_at_us = loop_now_us(loop);
    if (alarm->again_in_us != UINT64_MAX)
        loop_timer_start_in(loop, timer, alarm->again_in_us);
    if (alarm->stops)
        loop_timer_stop(&alarm->stops->timer);
}

static struct alarm alarm_new(void)
{
    return (struct alarm){.timer = {.on_timer = on_timer}, .again_in_us = UINT64_MAX};
}

static int setup(void **state)
{
    (void)state;
    clock_fake(1000000, 0);
    return loop_new(&loop, NULL);
}

static int teardown(void **state)
{
    (void)state;
    loop_free(loop);
    clock_real();
    return 0;
}

static void advance(uint64_t us)
{
    clock_fake_advance(us);
    assert_int_equal(loop_turn(loop, 0, NULL), 0);
}

static void a_timer_comes_due_once_and_not_before_its_deadline(void **state)
{
    (void)state;
    struct alarm alarm = alarm_new();
    loop_timer_start_in(loop, &alarm.timer, 100);
    advance(99);
    assert_int_equal(alarm.calls, 0);
    advance(1);
    assert_int_equal(alarm.calls, 1);
    assert_null(alarm.timer.loop);
    advance(1000);
    assert_int_equal(alarm.calls, 1);
}

static void a_deadline_can_be_moved_later_and_sooner(void **state)
{
    (void)state;
    struct alarm alarm = alarm_new();
    loop_timer_start_in(loop, &alarm.timer, 100);
    loop_timer_start_in(loop, &alarm.timer, 1000);
    advance(500);
    assert_int_equal(alarm.calls, 0);
    loop_timer_start_in(loop, &alarm.timer, 100);
    advance(99);
    assert_int_equal(alarm.calls, 0);
    advance(1);
    assert_int_equal(alarm.calls, 1);
}

static void a_stopped_timer_stays_silent(void **state)
{
    (void)state;
    struct alarm alarm = alarm_new();
    loop_timer_start_in(loop, &alarm.timer, 100);
    loop_timer_stop(&alarm.timer);
    loop_timer_stop(&alarm.timer);
    advance(1000);
    assert_int_equal(alarm.calls, 0);
}

static void a_timer_stopped_by_another_of_the_same_turn_stays_silent(void **state)
{
    (void)state;
    struct alarm a = alarm_new(), b = alarm_new();
    a.stops = &b;
    loop_timer_start_in(loop, &a.timer, 100);
    loop_timer_start_in(loop, &b.timer, 101);
    advance(1000);
    assert_int_equal(a.calls, 1);
    assert_int_equal(b.calls, 0);
}

static void a_timer_that_rearms_itself_at_once_does_not_hold_the_turn(void **state)
{
    (void)state;
    struct alarm alarm = alarm_new();
    alarm.again_in_us = 0;
    loop_timer_start_in(loop, &alarm.timer, 0);
    advance(10);
    assert_int_equal(alarm.calls, 1);
    advance(10);
    assert_int_equal(alarm.calls, 2);
    loop_timer_stop(&alarm.timer);
}

static void a_deadline_in_the_past_is_due_at_once(void **state)
{
    (void)state;
    struct alarm alarm = alarm_new();
    loop_timer_start(loop, &alarm.timer, 5);
    advance(0);
    assert_int_equal(alarm.calls, 1);
    loop_timer_start_in(loop, &alarm.timer, UINT64_MAX); /* never, and no overflow */
    advance(1000000);
    assert_int_equal(alarm.calls, 1);
    loop_timer_stop(&alarm.timer);
}

/* Against a plain model: each timer's wanted deadline, looked at one by one. */
static void many_timers_armed_moved_and_stopped_come_due_as_in_a_model(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    static struct alarm alarms[COUNT];
    static uint64_t wanted[COUNT]; /* 0: stopped */
    unsigned expected[COUNT] = {0};
    uint64_t random = 12345;
    for (size_t i = 0; i < COUNT; i++)
        alarms[i] = alarm_new();
    for (int step = 0; step < 20000; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t i = (random >> 33) % COUNT;
        uint64_t value = random >> 45;
        switch ((random >> 20) % 4) {
        case 0:
            loop_timer_stop(&alarms[i].timer);
            wanted[i] = 0;
            break;
        case 1:
            advance(value % 50);
            for (size_t n = 0; n < COUNT; n++) {
                if (wanted[n] && wanted[n] <= loop_now_us(loop)) {
                    wanted[n] = 0;
                    expected[n]++;
                }
                assert_int_equal(alarms[n].calls, expected[n]);
            }
            break;
        default:
            wanted[i] = loop_now_us(loop) + 1 + value % 3000;
            loop_timer_start(loop, &alarms[i].timer, wanted[i]);
            break;
        }
    }
    for (size_t i = 0; i < COUNT; i++)
        loop_timer_stop(&alarms[i].timer);
}

static void timers_of_one_turn_run_in_the_order_of_their_deadlines(void **state)
{
    (void)state;
    static struct alarm alarms[50];
    for (size_t i = 0; i < ARRAY_LEN(alarms); i++) {
        alarms[i] = alarm_new();
        alarms[i].stops = i + 1 < ARRAY_LEN(alarms) ? &alarms[i + 1] : NULL;
        loop_timer_start_in(loop, &alarms[i].timer, 1 + (i * 7919) % 50);
    }
    /* Each stops its neighbour; who is called depends on the order alone. */
    advance(1000);
    for (size_t i = 1; i < ARRAY_LEN(alarms); i++) {
        bool comes_before = (i * 7919) % 50 < ((i - 1) * 7919) % 50;
        bool is_stopped_first = alarms[i - 1].calls && !comes_before;
        assert_int_equal(alarms[i].calls, !is_stopped_first);
    }
}

static void waiting_ends_when_a_timer_is_due(void **state)
{
    (void)state;
    clock_real();
    struct loop *real;
    struct error err = {0};
    assert_int_equal(loop_new(&real, &err), 0);
    struct alarm alarm = alarm_new();
    uint64_t start = clock_monotonic_us();
    loop_timer_start_in(real, &alarm.timer, 20000);
    for (int turns = 0; !alarm.calls; turns++) {
        assert_true(turns < 10); /* it sleeps instead of spinning */
        assert_int_equal(loop_turn(real, -1, &err), 0);
    }
    uint64_t waited = clock_monotonic_us() - start;
    assert_true(waited >= 20000 && waited < 5000000);
    loop_free(real);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_timer_comes_due_once_and_not_before_its_deadline),
        TEST(a_deadline_can_be_moved_later_and_sooner),
        TEST(a_stopped_timer_stays_silent),
        TEST(a_timer_stopped_by_another_of_the_same_turn_stays_silent),
        TEST(a_timer_that_rearms_itself_at_once_does_not_hold_the_turn),
        TEST(a_deadline_in_the_past_is_due_at_once),
        TEST(many_timers_armed_moved_and_stopped_come_due_as_in_a_model),
        TEST(timers_of_one_turn_run_in_the_order_of_their_deadlines),
        TEST(waiting_ends_when_a_timer_is_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
