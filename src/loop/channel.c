#include "loop/channel.h"

#include "base/log.h"
#include "os/file.h"
#include "os/socket.h"
#include <fcntl.h>
#include <stdalign.h>

#define QUEUED_BYTES_MAX   ((size_t)64 * 1024 * 1024)
#define MESSAGES_PER_EVENT 64 /* then the others have their turn */

struct queued {
    struct list node;
    size_t len, fd_count;
    int fds[CHANNEL_FDS_MAX];
    unsigned char bytes[];
};

/* One loop a process, and a callback never receives: so one buffer serves every channel. Aligned,
 * as the messages are structs. `receiving` becomes NULL when that channel is stopped (and perhaps
 * freed) by its own callback. */
static alignas(max_align_t) unsigned char received[CHANNEL_MESSAGE_MAX];
static struct channel *receiving;

static void fds_close(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        fd_closep(&fds[i]);
}

static void queued_free(struct channel *channel, struct queued *queued)
{
    list_remove(&queued->node);
    channel->queued_bytes -= queued->len;
    fds_close(queued->fds, queued->fd_count);
    free(queued);
}

static void queue_clear(struct channel *channel)
{
    while (!list_is_empty(&channel->outgoing))
        queued_free(channel, container_of(channel->outgoing.next, struct queued, node));
}

static void flush(struct channel *channel)
{
    while (!list_is_empty(&channel->outgoing)) {
        struct queued *queued = container_of(channel->outgoing.next, struct queued, node);
        int r =
            channel_send(channel->io.fd, queued->bytes, queued->len, queued->fds, queued->fd_count);
        if (r == ERR_UNAVAILABLE)
            return;
        if (r == ERR_IO) {
            /* The peer is gone; what it said last is still to be read, and then its end. */
            queue_clear(channel);
            break;
        }
        if (r != 0)
            log_error("a message of %zu bytes was dropped: %s", queued->len, error_text(r));
        queued_free(channel, queued);
    }
    loop_io_set(&channel->io, LOOP_READ);
}

static void closed(struct channel *channel)
{
    channel_stop(channel);
    channel->on_closed(channel);
}

static void receive(struct channel *channel)
{
    assert(!receiving);
    receiving = channel;
    for (int i = 0; i < MESSAGES_PER_EVENT && receiving; i++) {
        int fds[CHANNEL_FDS_MAX];
        size_t len, fd_count;
        int r = channel_receive(channel->io.fd, received, sizeof(received), &len, fds, &fd_count);
        if (r == ERR_UNAVAILABLE)
            break;
        if (r == ERR_LIMIT) {
            log_error("a message that is too large for its channel was dropped");
            continue;
        }
        if (r != 0 || len == 0) {
            receiving = NULL;
            closed(channel);
            return;
        }
        channel->on_message(channel, received, len, fds, fd_count);
        fds_close(fds, fd_count);
    }
    receiving = NULL;
}

static void on_event(struct loop_io *io, unsigned events)
{
    struct channel *channel = container_of(io, struct channel, io);
    if (events & LOOP_WRITE)
        flush(channel);
    if (events & (LOOP_READ | LOOP_CLOSE))
        receive(channel);
}

int channel_start(struct channel *channel, struct loop *loop, int fd, struct error *err)
{
    assert(channel->on_message && channel->on_closed && !channel->io.loop);
    channel->io.fd = fd;
    channel->io.on_event = on_event;
    channel->queued_bytes = 0;
    list_init(&channel->outgoing);
    int r = loop_io_start(loop, &channel->io, LOOP_READ, err);
    if (r != 0) {
        fd_closep(&channel->io.fd);
        return error_wrap(err, "unable to start a channel");
    }
    return 0;
}

void channel_stop(struct channel *channel)
{
    if (!channel->io.loop)
        return;
    if (receiving == channel)
        receiving = NULL;
    loop_io_stop(&channel->io);
    fd_closep(&channel->io.fd);
    queue_clear(channel);
}

int channel_post(struct channel *channel, const void *message, size_t len, const int *fds,
                 size_t fd_count)
{
    if (!channel->io.loop)
        return ERR_IO;
    if (list_is_empty(&channel->outgoing)) {
        int r = channel_send(channel->io.fd, message, len, fds, fd_count);
        if (r != ERR_UNAVAILABLE)
            return r;
    }
    if (len > CHANNEL_MESSAGE_MAX || channel->queued_bytes + len > QUEUED_BYTES_MAX)
        return ERR_LIMIT;
    assert(len > 0 && fd_count <= CHANNEL_FDS_MAX);
    struct queued *queued = malloc(sizeof(*queued) + len);
    if (!queued)
        abort();
    list_init(&queued->node);
    queued->len = len;
    queued->fd_count = 0;
    memcpy(queued->bytes, message, len);
    list_push_back(&channel->outgoing, &queued->node);
    channel->queued_bytes += len;
    for (size_t i = 0; i < fd_count; i++) {
        int copy = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (copy < 0) {
            queued_free(channel, queued);
            return ERR_LIMIT;
        }
        queued->fds[queued->fd_count++] = copy;
    }
    loop_io_set(&channel->io, LOOP_READ | LOOP_WRITE);
    return 0;
}
