/* loop_timer.c - timers in a binary heap.
 *
 * Idle and request deadlines are moved later with every byte and almost never come due, so moving
 * one later only stores the new deadline. The heap is ordered by `key_us`, which may lie before the
 * deadline; a timer whose key comes to the top is put where its deadline belongs.
 */
#include "loop/loop.h"
#include "loop/loop_private.h"

static void place(struct loop *loop, size_t index, struct loop_timer *timer)
{
    loop->heap[index] = timer;
    timer->heap_index = index;
}

static void sift_up(struct loop *loop, size_t index)
{
    struct loop_timer *timer = loop->heap[index];
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (loop->heap[parent]->key_us <= timer->key_us)
            break;
        place(loop, index, loop->heap[parent]);
        index = parent;
    }
    place(loop, index, timer);
}

static void sift_down(struct loop *loop, size_t index)
{
    struct loop_timer *timer = loop->heap[index];
    for (;;) {
        size_t child = index * 2 + 1;
        if (child >= loop->heap_count)
            break;
        if (child + 1 < loop->heap_count &&
            loop->heap[child + 1]->key_us < loop->heap[child]->key_us)
            child++;
        if (timer->key_us <= loop->heap[child]->key_us)
            break;
        place(loop, index, loop->heap[child]);
        index = child;
    }
    place(loop, index, timer);
}

static void heap_fit(struct loop *loop)
{
    if (loop->heap_count < loop->heap_capacity)
        return;
    size_t capacity = MAX(loop->heap_capacity * 2, (size_t)64);
    struct loop_timer **grown = reallocarray(loop->heap, capacity, sizeof(struct loop_timer *));
    if (!grown)
        abort();
    loop->heap = grown;
    loop->heap_capacity = capacity;
}

void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t deadline_us)
{
    /* What a timer's callback arms is due in the next turn at the earliest, else it could hold this
     * one for ever. */
    if (loop->is_in_timers)
        deadline_us = MAX(deadline_us, loop->now_us + 1);
    timer->deadline_us = deadline_us;
    if (timer->loop) {
        assert(timer->loop == loop);
        if (deadline_us >= timer->key_us)
            return;
        timer->key_us = deadline_us;
        sift_up(loop, timer->heap_index);
        return;
    }
    assert(timer->on_timer);
    heap_fit(loop);
    timer->loop = loop;
    timer->key_us = deadline_us;
    place(loop, loop->heap_count++, timer);
    sift_up(loop, timer->heap_index);
}

void loop_timer_start_in(struct loop *loop, struct loop_timer *timer, uint64_t delay_us)
{
    uint64_t deadline_us;
    if (__builtin_add_overflow(loop->now_us, delay_us, &deadline_us))
        deadline_us = UINT64_MAX;
    loop_timer_start(loop, timer, deadline_us);
}

void loop_timer_stop(struct loop_timer *timer)
{
    struct loop *loop = timer->loop;
    if (!loop)
        return;
    timer->loop = NULL;
    struct loop_timer *last = loop->heap[--loop->heap_count];
    if (last == timer)
        return;
    place(loop, timer->heap_index, last);
    sift_up(loop, last->heap_index);
    sift_down(loop, last->heap_index);
}

/* The timer that is due first, with its key true; NULL: none. */
static struct loop_timer *first(struct loop *loop)
{
    while (loop->heap_count) {
        struct loop_timer *timer = loop->heap[0];
        if (timer->key_us == timer->deadline_us)
            return timer;
        timer->key_us = timer->deadline_us;
        sift_down(loop, 0);
    }
    return NULL;
}

void loop_timers_run(struct loop *loop)
{
    loop->is_in_timers = true;
    struct loop_timer *timer;
    while ((timer = first(loop)) != NULL && timer->key_us <= loop->now_us) {
        loop_timer_stop(timer);
        timer->on_timer(timer);
    }
    loop->is_in_timers = false;
}

int loop_timers_timeout_ms(struct loop *loop)
{
    const struct loop_timer *timer = first(loop);
    if (!timer)
        return -1;
    if (timer->key_us <= loop->now_us)
        return 0;
    /* Up, so that a turn finds its timer due; an hour at most, as the kernel takes no more than an
     * int. */
    uint64_t wait_ms = (timer->key_us - loop->now_us + 999) / 1000;
    return (int)MIN(wait_ms, (uint64_t)3600 * 1000);
}
