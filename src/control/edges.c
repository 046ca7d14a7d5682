#include "control/edges.h"
#include "base/log.h"
#include "control/control_private.h"
#include "deploy/routes.h"
#include "net/snapshot.h"
#include "os/file.h"
#include "os/memory.h"

static bool is_connected(const struct edge *edge)
{
    return edge->channel.io.loop != NULL;
}

static void tell_who_lives(struct edges *edges)
{
    uint64_t live = 0;

    for (unsigned i = 0; i < KEEPER_EDGES_MAX; i++)
        if (is_connected(&edges->all[i]))
            live |= 1ull << i;
    if (!edges->control->platform)
        return;
    platform_edges_changed(edges->control->platform, live);
    certificates_edges_changed(edges->control->certificates);
}

static void send_snapshot(struct edge *edge)
{
    struct edges *edges = edge->edges;
    struct peer_snapshot message = {.type = PEER_SNAPSHOT, .version = edges->version};

    if (edges->snapshot_fd < 0 || !is_connected(edge))
        return;
    if (channel_post(&edge->channel, &message, sizeof(message), &edges->snapshot_fd, 1) != 0)
        log_error("unable to send edge %u a snapshot", edge->index + 1);
}

static void on_message(struct channel *channel, const void *message, size_t len, int *fds,
                       size_t fd_count)
{
    struct edge *edge = container_of(channel, struct edge, channel);
    struct platform *platform = edge->edges->control->platform;
    const struct peer_ack *ack = message; /* REJECT has the same head */
    const struct peer_drained *drained = message;
    size_t cursor = sizeof(*ack);

    (void)fds;
    (void)fd_count;
    if (len < (len >= sizeof(ack->type) && ack->type == PEER_CERTIFICATE_WANTED
                   ? sizeof(struct peer_certificate)
                   : sizeof(*ack))) {
        log_warning("edge %u sent a message that is too short", edge->index + 1);
        return;
    }
    switch (ack->type) {
    case PEER_ACK:
        platform_edge_acked(platform, edge->index, ack->version);
        certificates_edges_changed(edge->edges->control->certificates);
        break;
    case PEER_REJECT: {
        const char *text = keeper_next_string(message, len, &cursor);

        platform_edge_rejected(platform, edge->index, ack->version, text ? text : "");
        break;
    }
    case PEER_DRAINED:
        if (len >= sizeof(*drained))
            platform_edge_drained(platform, edge->index, drained->version, drained->instance,
                                  drained->is_tunnels);
        break;
    case PEER_CERTIFICATE_WANTED: {
        size_t at = sizeof(struct peer_certificate);

        certificates_wanted(edge->edges->control->certificates,
                            slice_from(keeper_next_string(message, len, &at)));
        break;
    }
    default:
        log_warning("edge %u sent a message of unknown type %u", edge->index + 1, ack->type);
        break;
    }
}

static void on_closed(struct channel *channel)
{
    struct edge *edge = container_of(channel, struct edge, channel);

    tell_who_lives(edge->edges);
}

void edges_init(struct edges *edges, struct control *control)
{
    edges->control = control;
    edges->snapshot_fd = -1;
    for (unsigned i = 0; i < KEEPER_EDGES_MAX; i++) {
        edges->all[i].edges = edges;
        edges->all[i].index = i;
        edges->all[i].channel.on_message = on_message;
        edges->all[i].channel.on_closed = on_closed;
    }
}

void edges_done(struct edges *edges)
{
    for (unsigned i = 0; i < KEEPER_EDGES_MAX; i++) {
        channel_stop(&edges->all[i].channel);
        if (edges->all[i].counters)
            memory_unmap(edges->all[i].counters, edges->all[i].counters_size);
    }
    fd_closep(&edges->snapshot_fd);
}

void edges_connect(struct edges *edges, unsigned role_index, int *fd)
{
    struct error err = {0};

    if (role_index == 0 || role_index > KEEPER_EDGES_MAX)
        return;
    struct edge *edge = &edges->all[role_index - 1];
    channel_stop(&edge->channel);
    /* Between the two it does not count, so that what it acknowledged in an earlier life is
     * forgotten. */
    tell_who_lives(edges);
    if (channel_start(&edge->channel, edges->control->loop, TAKE_FD(*fd), &err) != 0) {
        log_failure(&err, "unable to talk to edge %u", role_index);
        return;
    }
    tell_who_lives(edges);
    send_snapshot(edge);
}

void edges_map_counters(struct edges *edges, unsigned role_index, int fd)
{
    struct error err = {0};
    void *base;
    size_t size;

    if (role_index == 0 || role_index > KEEPER_EDGES_MAX)
        return;
    struct edge *edge = &edges->all[role_index - 1];
    if (memory_map(fd, false, false, &base, &size, &err) != 0) {
        log_failure(&err, "the counters of edge %u", role_index);
        return;
    }
    if (size < sizeof(struct counters)) {
        log_error("the counters of edge %u are too small", role_index);
        memory_unmap(base, size);
        return;
    }
    if (edge->counters)
        memory_unmap(edge->counters, edge->counters_size);
    edge->counters = base;
    edge->counters_size = size;
    edges->control->platform->counters[role_index - 1] = base;
}

void edges_refuse_certificate(struct edges *edges, const char *name)
{
    struct {
        struct peer_certificate fixed;
        char name[256];
    } message = {.fixed.type = PEER_CERTIFICATE_REFUSED};
    size_t len = (size_t)snprintf(message.name, sizeof message.name, "%s", name);

    len = sizeof message.fixed + MIN(len, sizeof message.name - 1) + 1;
    for (unsigned i = 0; i < KEEPER_EDGES_MAX; i++)
        if (is_connected(&edges->all[i]) &&
            channel_post(&edges->all[i].channel, &message, len, NULL, 0) != 0)
            log_error("unable to tell edge %u of a refused certificate", i + 1);
}

void edges_publish(struct edges *edges, uint64_t version)
{
    struct platform *platform = edges->control->platform;
    struct buf block = BUF_INIT(SNAPSHOT_MAX);
    CLEANUP(fd_closep) int fd = -1;
    struct error err = {0};

    int code = routes_build(platform, version, &block, &err);
    if (code == 0)
        code = memory_sealed("snapshot", buf_slice(&block), &fd, &err);
    buf_done(&block);
    if (code != 0) {
        log_failure(&err, "unable to make routing snapshot %llu", (unsigned long long)version);
        platform_edge_rejected(platform, 0, version, err.text);
        return;
    }
    fd_closep(&edges->snapshot_fd);
    edges->snapshot_fd = TAKE_FD(fd);
    edges->version = version;
    for (unsigned i = 0; i < KEEPER_EDGES_MAX; i++)
        send_snapshot(&edges->all[i]);
    keeper_link_hold(&edges->control->link, "snapshot", edges->snapshot_fd);
}
