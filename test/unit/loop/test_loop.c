#include "loop/loop.h"
#include "os/file.h"
#include "unit.h"
#include <sys/socket.h>
#include <unistd.h>

static struct loop *loop;

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

static void turn(void)
{
    assert_int_equal(loop_turn(loop, 0, NULL), 0);
}

/* A descriptor that counts what it is told and may stop another handle. */
struct watcher {
    struct loop_io io;
    int other_end;
    unsigned events, calls;
    struct watcher *victim;
};

static void on_event(struct loop_io *io, unsigned events)
{
    struct watcher *watcher = container_of(io, struct watcher, io);
    watcher->events |= events;
    watcher->calls++;
    if (watcher->victim)
        loop_io_stop(&watcher->victim->io);
}

static void watch(struct watcher *watcher, unsigned interest)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    *watcher = (struct watcher){.io = {.fd = fds[0], .on_event = on_event}, .other_end = fds[1]};
    assert_int_equal(loop_io_start(loop, &watcher->io, interest, NULL), 0);
}

static void unwatch(struct watcher *watcher)
{
    loop_io_stop(&watcher->io);
    fd_closep(&watcher->io.fd);
    fd_closep(&watcher->other_end);
}

static void poke(struct watcher *watcher)
{
    assert_int_equal(write(watcher->other_end, "x", 1), 1);
}

static void a_descriptor_reports_what_was_asked_for(void **state)
{
    (void)state;
    struct watcher watcher;
    watch(&watcher, LOOP_READ);
    turn();
    assert_int_equal(watcher.calls, 0);
    poke(&watcher);
    turn();
    assert_int_equal(watcher.events, LOOP_READ);
    loop_io_set(&watcher.io, LOOP_WRITE);
    watcher.events = 0;
    turn();
    assert_int_equal(watcher.events, LOOP_WRITE);
    loop_io_set(&watcher.io, LOOP_READ | LOOP_WRITE);
    turn();
    assert_int_equal(watcher.events, LOOP_READ | LOOP_WRITE);
    unwatch(&watcher);
}

static void without_interest_even_a_hang_up_is_told_only_once(void **state)
{
    (void)state;
    struct watcher watcher;
    watch(&watcher, LOOP_READ);
    loop_io_set(&watcher.io, 0);
    fd_closep(&watcher.other_end);
    for (int i = 0; i < 5; i++)
        turn();
    assert_true(watcher.calls <= 1);
    loop_io_set(&watcher.io, LOOP_READ);
    turn();
    assert_true(watcher.events & LOOP_CLOSE);
    unwatch(&watcher);
}

static void a_closed_peer_is_reported_with_what_is_still_to_read(void **state)
{
    (void)state;
    struct watcher watcher;
    watch(&watcher, LOOP_READ);
    poke(&watcher);
    fd_closep(&watcher.other_end);
    turn();
    assert_int_equal(watcher.events, LOOP_READ | LOOP_CLOSE);
    unwatch(&watcher);
}

static void an_edge_triggered_descriptor_reports_changes_only(void **state)
{
    (void)state;
    struct watcher watcher;
    watch(&watcher, LOOP_READ | LOOP_WRITE | LOOP_EDGE);
    turn();
    assert_int_equal(watcher.events, LOOP_WRITE);
    turn();
    assert_int_equal(watcher.calls, 1);
    poke(&watcher);
    turn();
    turn();
    assert_int_equal(watcher.calls, 2);
    assert_true(watcher.events & LOOP_READ);
    unwatch(&watcher);
}

static void a_shared_descriptor_is_watched_exclusively(void **state)
{
    (void)state;
    struct watcher watcher;
    watch(&watcher, LOOP_READ | LOOP_EXCLUSIVE);
    turn();
    assert_int_equal(watcher.calls, 0);
    poke(&watcher);
    turn();
    assert_int_equal(watcher.events, LOOP_READ);
    unwatch(&watcher);
}

static void a_handle_stopped_earlier_in_the_turn_gets_no_event(void **state)
{
    (void)state;
    struct watcher a, b;
    watch(&a, LOOP_READ);
    watch(&b, LOOP_READ);
    a.victim = &b;
    b.victim = &a;
    poke(&a);
    poke(&b);
    turn();
    assert_int_equal(a.calls + b.calls, 1); /* whoever came first stopped the other */
    unwatch(&a);
    unwatch(&b);
}

static struct watcher heir;

static void on_event_reuse(struct loop_io *io, unsigned events)
{
    struct watcher *watcher = container_of(io, struct watcher, io);
    (void)events;
    watcher->calls++;
    if (heir.io.loop)
        return;
    /* Close the victim; the heir gets its descriptor number, though not its event. */
    int number = watcher->victim->io.fd;
    loop_io_stop(&watcher->victim->io);
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(dup2(fds[0], number), number);
    close(fds[0]);
    watcher->victim->io.fd = -1;
    heir = (struct watcher){.io = {.fd = number, .on_event = on_event}, .other_end = fds[1]};
    assert_int_equal(loop_io_start(loop, &heir.io, LOOP_READ, NULL), 0);
}

static void a_reused_descriptor_number_does_not_inherit_events(void **state)
{
    (void)state;
    struct watcher a, b;
    watch(&a, LOOP_READ);
    watch(&b, LOOP_READ);
    a.io.on_event = b.io.on_event = on_event_reuse;
    a.victim = &b;
    b.victim = &a;
    poke(&a);
    poke(&b);
    turn();
    assert_int_equal(a.calls + b.calls, 1);
    assert_int_equal(heir.calls, 0);
    poke(&heir);
    turn();
    assert_int_equal(heir.calls, 1);
    unwatch(&a);
    unwatch(&b);
    unwatch(&heir);
}

static void on_event_quiet(struct loop_io *io, unsigned events)
{
    struct watcher *watcher = container_of(io, struct watcher, io);
    watcher->calls++;
    watcher->events |= events;
    if (watcher->victim && watcher->victim->io.loop)
        loop_io_set(&watcher->victim->io, 0);
}

static void an_event_that_is_no_longer_wanted_is_not_told(void **state)
{
    (void)state;
    struct watcher a, b;
    watch(&a, LOOP_READ);
    watch(&b, LOOP_READ);
    a.io.on_event = b.io.on_event = on_event_quiet;
    a.victim = &b;
    b.victim = &a;
    poke(&a);
    poke(&b);
    turn();
    assert_int_equal(a.calls + b.calls, 1);
    unwatch(&a);
    unwatch(&b);
}

static void more_descriptors_than_one_batch_are_all_served(void **state)
{
    (void)state;
    enum { COUNT = 400 };
    static struct watcher watchers[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        watch(&watchers[i], LOOP_READ);
        poke(&watchers[i]);
    }
    turn();
    turn();
    turn();
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(watchers[i].calls > 0);
        unwatch(&watchers[i]);
    }
}

static void a_file_cannot_be_watched(void **state)
{
    (void)state;
    struct error err = {0};
    FILE *file = tmpfile();
    struct loop_io io = {.fd = fileno(file), .on_event = on_event};
    assert_int_equal(loop_io_start(loop, &io, LOOP_READ, &err), ERR_PERMISSION);
    assert_null(io.loop);
    loop_io_stop(&io);
    fclose(file);
}

/* ---- deferred work ---- */

static char order[64];

struct work {
    struct loop_deferred deferred;
    char name;
    struct work *posts, *cancels;
};

static void on_work(struct loop_deferred *deferred)
{
    struct work *work = container_of(deferred, struct work, deferred);
    order[strlen(order)] = work->name;
    if (work->posts)
        loop_defer(loop, &work->posts->deferred);
    if (work->cancels)
        loop_defer_cancel(&work->cancels->deferred);
}

static struct work work_of(char name)
{
    return (struct work){.deferred = {.on_deferred = on_work}, .name = name};
}

static void deferred_work_runs_once_in_the_order_of_posting(void **state)
{
    (void)state;
    struct work a = work_of('a'), b = work_of('b');
    memset(order, 0, sizeof(order));
    loop_defer(loop, &b.deferred);
    loop_defer(loop, &a.deferred);
    loop_defer(loop, &b.deferred);
    assert_string_equal(order, "");
    turn();
    turn();
    assert_string_equal(order, "ba");
}

static void work_posted_by_work_waits_for_the_next_turn(void **state)
{
    (void)state;
    struct work a = work_of('a');
    a.posts = &a;
    memset(order, 0, sizeof(order));
    loop_defer(loop, &a.deferred);
    turn();
    assert_string_equal(order, "a");
    assert_int_equal(loop_turn(loop, -1, NULL), 0); /* does not wait */
    assert_string_equal(order, "aa");
    a.posts = NULL;
    turn();
    assert_string_equal(order, "aaa");
}

static void work_can_be_cancelled_by_work_of_the_same_turn(void **state)
{
    (void)state;
    struct work a = work_of('a'), b = work_of('b'), c = work_of('c');
    a.cancels = &b;
    memset(order, 0, sizeof(order));
    loop_defer(loop, &a.deferred);
    loop_defer(loop, &b.deferred);
    loop_defer(loop, &c.deferred);
    turn();
    assert_string_equal(order, "ac");
    loop_defer_cancel(&b.deferred);
}

static void on_stop_work(struct loop_deferred *deferred)
{
    loop_stop(deferred->loop ? deferred->loop : loop);
}

static void a_loop_runs_until_it_is_stopped(void **state)
{
    (void)state;
    struct loop_deferred stop = {.on_deferred = on_stop_work};
    loop_defer(loop, &stop);
    assert_int_equal(loop_run(loop, NULL), 0);
    loop_defer(loop, &stop); /* and can run again */
    assert_int_equal(loop_run(loop, NULL), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_descriptor_reports_what_was_asked_for),
        TEST(without_interest_even_a_hang_up_is_told_only_once),
        TEST(a_closed_peer_is_reported_with_what_is_still_to_read),
        TEST(an_edge_triggered_descriptor_reports_changes_only),
        TEST(a_shared_descriptor_is_watched_exclusively),
        TEST(a_handle_stopped_earlier_in_the_turn_gets_no_event),
        TEST(a_reused_descriptor_number_does_not_inherit_events),
        TEST(an_event_that_is_no_longer_wanted_is_not_told),
        TEST(more_descriptors_than_one_batch_are_all_served),
        TEST(a_file_cannot_be_watched),
        TEST(deferred_work_runs_once_in_the_order_of_posting),
        TEST(work_posted_by_work_waits_for_the_next_turn),
        TEST(work_can_be_cancelled_by_work_of_the_same_turn),
        TEST(a_loop_runs_until_it_is_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
