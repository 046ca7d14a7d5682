/* channel.h - a message channel on a loop: framed messages with descriptors, outgoing queue with a
 * ceiling. Used between keeper, control, edges and logd. on_message borrows everything for the
 * call; descriptors that the callee wants to keep it takes by setting fds[i] = -1, the rest are
 * closed afterwards. */
#ifndef LOOP_CHANNEL_H
#define LOOP_CHANNEL_H

#include "loop/loop.h"

struct channel {
    struct loop_io io;
    struct list outgoing; /* private */
    size_t queued_bytes;
    void (*on_message)(struct channel *channel, const void *message, size_t len, int *fds,
                       size_t fd_count);
    void (*on_closed)(
        struct channel *channel); /* the peer is gone; the channel is stopped already */
};

/* Takes over `fd` (a channel_pair end). */
MUST_USE int channel_start(struct channel *channel, struct loop *loop, int fd, struct error *err);
void channel_stop(struct channel *channel); /* closes; queued messages are dropped; idempotent */
/* Queue a message; fds are duplicated, so they stay the caller's. ERR_LIMIT above 64 MiB queued;
 * ERR_IO when stopped. */
MUST_USE int channel_post(struct channel *channel, const void *message, size_t len, const int *fds,
                          size_t fd_count);

#endif
