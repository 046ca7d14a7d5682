/* listener.c - new connections: a few a turn, so that the edges share them and none starves those
 * it has. */
#include "base/map.h"
#include "edge/edge_private.h"
#include "os/file.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/resource.h>

#define ACCEPT_PER_TURN  2u
#define ACCEPT_PER_PLACE 1u /* connections until an edge goes to the end of the line */
#define EVICT_COUNT      16u
#define PAUSE_US         (100u * EDGE_MS)
#define RESERVED_FDS     128u /* channels, pipes, files */
#define PEERS_MAX        65536u

static void on_pause_over(struct loop_timer *timer)
{
    struct edge *edge = container_of(timer, struct edge, accept_pause);

    if (!edge->is_quitting)
        listener_start_all(edge);
}

/* No descriptor is left and nobody idle to take one from: leave the rest to the backlog and the
 * other edges. */
static void listener_pause(struct edge *edge)
{
    listener_stop_all(edge);
    edge->accept_pause.on_timer = on_pause_over;
    loop_timer_start_in(edge->loop, &edge->accept_pause, PAUSE_US);
}

static bool listener_make_room(struct edge *edge)
{
    unsigned before = edge->connection_count;

    client_evict_idle(edge, EVICT_COUNT);
    if (edge->connection_count < before)
        return true;
    log_warning("%u connections are open and none is idle: not accepting for a moment", before);
    listener_pause(edge);
    return false;
}

/* The kernel wakes whoever stands first among the edges that watch a listener, and asks the next
 * only while that one is not asleep: on a quiet machine one edge would get every connection and
 * keep it. So each goes to the end of the line after it has taken some (measured: 20 and 20 of 40
 * connections instead of 40 and none). */
static void listener_yield(struct listener *listener)
{
    struct error err = {0};

    listener->accepted = 0;
    loop_io_stop(&listener->io);
    if (loop_io_start(listener->edge->loop, &listener->io, LOOP_READ | LOOP_EXCLUSIVE, &err) != 0) {
        log_failure(&err, "unable to accept connections for a moment");
        listener_pause(listener->edge);
    }
}

static void listener_on_event(struct loop_io *io, unsigned events)
{
    struct listener *listener = container_of(io, struct listener, io);
    struct edge *edge = listener->edge;

    (void)events;
    for (unsigned i = 0; i < ACCEPT_PER_TURN; i++) {
        struct address address = {.len = sizeof(address.un)};
        int fd;

        if (edge->connection_count >= edge->connection_limit && !listener_make_room(edge))
            return;
        fd = accept4(io->fd, &address.any, &address.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            client_accept(listener, fd, &address);
            listener->accepted++;
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            (void)listener_make_room(edge);
            return;
        }
        if (errno != EINTR && errno != ECONNABORTED)
            break;
    }
    if (listener->accepted >= ACCEPT_PER_PLACE && edge->edge_count > 1)
        listener_yield(listener);
}

static uint16_t listener_port(int fd)
{
    struct address address = {.len = sizeof(address.un)};

    return getsockname(fd, &address.any, &address.len) == 0 ? (uint16_t)address_port(&address) : 0;
}

int listener_add(struct edge *edge, int fd, bool is_tls, struct error *err)
{
    struct listener *listener = &edge->listeners[edge->listener_count];

    if (edge->listener_count == EDGE_LISTENERS_MAX)
        return error_set(err, ERR_LIMIT, "more than %u listeners", EDGE_LISTENERS_MAX);
    /* Accepted sockets inherit this on Linux; sockets of unix listeners have no such option. */
    if (socket_set_nodelay(fd) != 0)
        log_debug("listener %d is not TCP", fd);
    listener->edge = edge;
    listener->is_tls = is_tls;
    listener->port = listener_port(fd);
    listener->io = (struct loop_io){.fd = fd, .on_event = listener_on_event};
    edge->listener_count++;
    return 0;
}

void listener_start_all(struct edge *edge)
{
    edge->is_accepting = true;
    for (unsigned i = 0; i < edge->listener_count; i++) {
        struct error err = {0};

        if (!edge->listeners[i].io.loop && loop_io_start(edge->loop, &edge->listeners[i].io,
                                                         LOOP_READ | LOOP_EXCLUSIVE, &err) != 0)
            log_failure(&err, "unable to accept connections");
    }
}

void listener_stop_all(struct edge *edge)
{
    edge->is_accepting = false;
    for (unsigned i = 0; i < edge->listener_count; i++)
        loop_io_stop(&edge->listeners[i].io);
}

void listener_limits(struct edge *edge)
{
    struct rlimit limit = {.rlim_cur = 1024};
    uint64_t descriptors;

    (void)getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur -= limit.rlim_cur / STATIC_FD_SHARE;
    descriptors = limit.rlim_cur > 2 * RESERVED_FDS ? limit.rlim_cur - RESERVED_FDS : RESERVED_FDS;
    /* Every client may need an upstream of its own, and half as many may idle in the pools. */
    edge->connection_limit = (unsigned)MIN(descriptors * 2 / 5, (uint64_t)1000000);
    if (edge->settings.connection_limit)
        edge->connection_limit = MIN(edge->connection_limit, edge->settings.connection_limit);
    if (edge->settings.connection_limit_per_client && !edge->peers)
        edge->peers = map_new(PEERS_MAX);
}
