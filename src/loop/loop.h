/* loop.h - the event loop: file descriptors, timers, signals, end-of-turn work. epoll(7); one loop
 * a thread.
 *
 * Handles are embedded in their owners, zero-initialised, and found back with container_of; the
 * loop never allocates for them. A callback never runs inside the call that registers it. A handle
 * may be stopped (and its owner freed) from any callback, its own included: events of this turn
 * that are still queued for a stopped handle are dropped. Order of a turn: due timers, descriptors,
 * signals, deferred work (in order of posting). Threads: one.
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include "base/error.h"
#include "base/list.h"
#include <signal.h>
#include <stdbool.h>

struct loop;

#define LOOP_READ  1u
#define LOOP_WRITE 2u
/* Reported, never asked for: EPOLLHUP, EPOLLERR or EPOLLRDHUP; together with READ and WRITE when
 * those are set, and then what is there is still to be read. */
#define LOOP_CLOSE 4u
/* Asked for at start, and such a handle is never modified. Edge-triggered. */
#define LOOP_EDGE 8u
/* Asked for at start, with READ only, and never modified: of several loops that watch one listener
 * few are woken. */
#define LOOP_EXCLUSIVE 16u

struct loop_io {
    int fd;
    unsigned interest; /* private: what epoll was told */
    unsigned slot_generation;
    struct loop *loop; /* NULL while stopped */
    void (*on_event)(struct loop_io *io, unsigned events);
};

struct loop_timer {
    uint64_t deadline_us; /* what the owner wants */
    uint64_t key_us;   /* private: where it stands in the heap; may be earlier (lazy re-arming) */
    size_t heap_index; /* private */
    struct loop *loop; /* NULL while stopped */
    void (*on_timer)(struct loop_timer *timer);
};

struct loop_deferred {
    struct list node;  /* private */
    struct loop *loop; /* NULL while not posted */
    void (*on_deferred)(struct loop_deferred *deferred);
};

struct loop_signal {
    struct list node; /* private */
    struct loop *loop;
    int number;
    void (*on_signal)(struct loop_signal *signal);
};

MUST_USE int loop_new(struct loop **ret_loop, struct error *err);
void loop_free(struct loop *loop); /* every handle must be stopped */
/* Run until loop_stop. 0, or ERR_SYSTEM when epoll itself fails. */
MUST_USE int loop_run(struct loop *loop, struct error *err);
void loop_stop(struct loop *loop);
/* One turn, waiting at most timeout_ms (-1: as long as nothing is due). For tests. */
MUST_USE int loop_turn(struct loop *loop, int timeout_ms, struct error *err);
uint64_t loop_now_us(const struct loop *loop); /* monotonic, read once a turn */

/* Begin to watch io->fd for `interest`; io->on_event must be set. ERR_SYSTEM. */
MUST_USE int loop_io_start(struct loop *loop, struct loop_io *io, unsigned interest,
                           struct error *err);
/* Change what is watched (level-triggered handles); cheap when nothing changes. Aborts on a stopped
 * handle. */
void loop_io_set(struct loop_io *io, unsigned interest);
void loop_io_stop(struct loop_io *io); /* before closing the fd; idempotent */

/* Arm or re-arm. Moving a deadline later costs a store (the heap is touched when the old key comes
 * due). */
void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t deadline_us);
void loop_timer_start_in(struct loop *loop, struct loop_timer *timer, uint64_t delay_us);
void loop_timer_stop(struct loop_timer *timer); /* idempotent */

void loop_defer(
    struct loop *loop,
    struct loop_deferred *deferred); /* runs at the end of this turn, once; idempotent */
void loop_defer_cancel(struct loop_deferred *deferred);

/* Signals through signalfd; the signal is blocked for the process from here on. */
MUST_USE int loop_signal_start(struct loop *loop, struct loop_signal *signal, int number,
                               struct error *err);
void loop_signal_stop(struct loop_signal *signal);

#endif
