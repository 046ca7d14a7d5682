#include "loop/loop.h"

#include "base/clock.h"
#include "loop/loop_private.h"
#include "os/file.h"
#include <errno.h>
#include <unistd.h>

int loop_new(struct loop **ret_loop, struct error *err)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (!loop)
        abort();
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        free(loop);
        return error_errno(err, errno, "unable to create an event loop");
    }
    list_init(&loop->deferred);
    list_init(&loop->deferred_running);
    list_init(&loop->signals);
    list_init(&loop->signals_running);
    sigemptyset(&loop->signal_mask);
    loop->signal_io.fd = -1;
    loop->now_us = clock_monotonic_us();
    *ret_loop = loop;
    return 0;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    assert(list_is_empty(&loop->signals) && list_is_empty(&loop->deferred));
    loop_io_stop(&loop->signal_io);
    fd_close(loop->signal_io.fd);
    assert(loop->watcher_count == 0 && loop->heap_count == 0);
    fd_close(loop->epoll_fd);
    free(loop->watchers);
    free(loop->heap);
    free(loop);
}

uint64_t loop_now_us(const struct loop *loop)
{
    return loop->now_us;
}

void loop_stop(struct loop *loop)
{
    loop->is_stopping = true;
}

/* ---- descriptors ---------------------------------------------------------------------------- */

static uint32_t epoll_mask(unsigned interest)
{
    /* Hang-ups cannot be masked; edge-triggered, one that nobody wants to see yet is told once
     * instead of for ever. A half-closed peer is news only to a reader. */
    uint32_t mask = interest & LOOP_EDGE || interest == 0 ? (uint32_t)EPOLLET : 0;
    /* Goes with few other flags, and a listener has no half-closed peer. */
    if (interest & LOOP_EXCLUSIVE)
        return mask | EPOLLIN | (uint32_t)EPOLLEXCLUSIVE;
    if (interest & LOOP_READ)
        mask |= EPOLLIN | EPOLLRDHUP;
    if (interest & LOOP_WRITE)
        mask |= EPOLLOUT;
    return mask;
}

static int epoll_tell(const struct loop_io *io, int operation)
{
    struct epoll_event event = {.events = epoll_mask(io->interest),
                                .data.u64 = (uint64_t)io->slot_generation << 32 | (uint32_t)io->fd};
    return epoll_ctl(io->loop->epoll_fd, operation, io->fd, &event);
}

static void watchers_fit(struct loop *loop, size_t fd)
{
    if (fd < loop->watcher_capacity)
        return;
    size_t capacity = MAX(loop->watcher_capacity * 2, (size_t)64);
    capacity = MAX(capacity, fd + 1);
    struct loop_io **grown = reallocarray(loop->watchers, capacity, sizeof(struct loop_io *));
    if (!grown)
        abort();
    memset(grown + loop->watcher_capacity, 0,
           (capacity - loop->watcher_capacity) * sizeof(struct loop_io *));
    loop->watchers = grown;
    loop->watcher_capacity = capacity;
}

int loop_io_start(struct loop *loop, struct loop_io *io, unsigned interest, struct error *err)
{
    assert(!io->loop && io->on_event && io->fd >= 0);
    watchers_fit(loop, (size_t)io->fd);
    io->loop = loop;
    io->interest = interest;
    io->slot_generation = ++loop->generation;
    if (epoll_tell(io, EPOLL_CTL_ADD) != 0) {
        io->loop = NULL;
        return error_errno(err, errno, "unable to watch descriptor %d", io->fd);
    }
    assert(!loop->watchers[io->fd]);
    loop->watchers[io->fd] = io;
    loop->watcher_count++;
    return 0;
}

void loop_io_set(struct loop_io *io, unsigned interest)
{
    assert(io->loop);
    if (interest == io->interest)
        return;
    assert(!((io->interest | interest) & (LOOP_EDGE | LOOP_EXCLUSIVE)));
    io->interest = interest;
    /* Only a descriptor that was closed before its handle was stopped can fail here: a bug. */
    if (epoll_tell(io, EPOLL_CTL_MOD) != 0)
        abort();
}

void loop_io_stop(struct loop_io *io)
{
    struct loop *loop = io->loop;
    if (!loop)
        return;
    epoll_tell(io, EPOLL_CTL_DEL);
    assert(loop->watchers[io->fd] == io);
    loop->watchers[io->fd] = NULL;
    loop->watcher_count--;
    io->loop = NULL;
}

static void dispatch(struct loop *loop, const struct epoll_event *event)
{
    uint32_t fd = (uint32_t)event->data.u64;
    struct loop_io *io = loop->watchers[fd];
    if (UNLIKELY(!io || io->slot_generation != (unsigned)(event->data.u64 >> 32)))
        return;
    unsigned events = 0;
    if (event->events & EPOLLIN)
        events |= LOOP_READ;
    if (event->events & EPOLLOUT)
        events |= LOOP_WRITE;
    /* Less may be asked for by now than when epoll looked. */
    events &= io->interest;
    if (event->events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))
        events |= LOOP_CLOSE;
    if (events)
        io->on_event(io, events);
}

/* ---- turns ---------------------------------------------------------------------------------- */

int loop_turn(struct loop *loop, int timeout_ms, struct error *err)
{
    int due_ms = list_is_empty(&loop->deferred) ? loop_timers_timeout_ms(loop) : 0;
    if (due_ms >= 0 && (timeout_ms < 0 || due_ms < timeout_ms))
        timeout_ms = due_ms;
    int count = epoll_wait(loop->epoll_fd, loop->events, LOOP_EVENTS_MAX, timeout_ms);
    if (count < 0 && errno != EINTR)
        return error_set(err, ERR_SYSTEM, "unable to wait for events: system error %d", errno);
    loop->now_us = clock_monotonic_us();
    loop_timers_run(loop);
    for (int i = 0; i < count; i++)
        dispatch(loop, &loop->events[i]);
    if (UNLIKELY(loop->has_signals))
        loop_signals_run(loop);
    loop_deferred_run(loop);
    return 0;
}

int loop_run(struct loop *loop, struct error *err)
{
    int r = 0;
    while (!loop->is_stopping && r == 0)
        r = loop_turn(loop, -1, err);
    loop->is_stopping = false;
    return r;
}

/* ---- deferred work -------------------------------------------------------------------------- */

void loop_defer(struct loop *loop, struct loop_deferred *deferred)
{
    if (deferred->loop)
        return;
    deferred->loop = loop;
    list_push_back(&loop->deferred, &deferred->node);
}

void loop_defer_cancel(struct loop_deferred *deferred)
{
    if (!deferred->loop)
        return;
    list_remove(&deferred->node);
    deferred->loop = NULL;
}

void loop_deferred_run(struct loop *loop)
{
    /* What is posted from here on runs at the end of the next turn, which does not wait. */
    list_move_all(&loop->deferred, &loop->deferred_running);
    while (!list_is_empty(&loop->deferred_running)) {
        struct loop_deferred *deferred =
            container_of(loop->deferred_running.next, struct loop_deferred, node);
        loop_defer_cancel(deferred);
        deferred->on_deferred(deferred);
    }
}
