/* loop_private.h - the loop itself, and what its parts offer to a turn. */
#ifndef LOOP_LOOP_PRIVATE_H
#define LOOP_LOOP_PRIVATE_H

#include "loop/loop.h"
#include <sys/epoll.h>

#define LOOP_EVENTS_MAX 256

struct loop {
    uint64_t now_us;
    int epoll_fd;
    bool is_stopping;

    /* Descriptors: who watches which, by number. An event carries the number and the generation
     * that its handle had when it was started, so that what epoll still reports for a stopped
     * handle finds nobody, even when number and memory are in use again. */
    struct loop_io **watchers;
    size_t watcher_capacity, watcher_count;
    unsigned generation;
    struct epoll_event events[LOOP_EVENTS_MAX];

    struct loop_timer **heap;
    size_t heap_capacity, heap_count;
    bool is_in_timers;

    struct list deferred, deferred_running;

    struct list signals, signals_running;
    struct loop_io signal_io;
    sigset_t signal_mask;
    bool has_signals;
};

void loop_timers_run(struct loop *loop);
/* Milliseconds until the first timer, rounded up; -1 without one. */
int loop_timers_timeout_ms(struct loop *loop);
void loop_deferred_run(struct loop *loop);
void loop_signals_run(struct loop *loop);

#endif
