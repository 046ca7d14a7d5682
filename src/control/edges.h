/* edges.h - the edges as control sees them: channels, acknowledgements, counters, the newest
 * snapshot. */
#ifndef CONTROL_EDGES_H
#define CONTROL_EDGES_H

#include "base/counters.h"
#include "base/keeper_protocol.h"
#include "loop/channel.h"

struct control;
struct edges;

struct edge {
    struct edges *edges;
    struct channel channel;
    unsigned index; /* from 0 */
    void *counters;
    size_t counters_size;
};

struct edges {
    struct control *control;
    struct edge all[KEEPER_EDGES_MAX];
    int snapshot_fd; /* -1: none yet */
    uint64_t version;
    uint64_t refused_version;
};

void edges_init(struct edges *edges, struct control *control);
void edges_done(struct edges *edges);
/* role_index from 1. Takes *fd over. */
void edges_connect(struct edges *edges, unsigned role_index, int *fd);
void edges_map_counters(struct edges *edges, unsigned role_index, int fd);
/* Who waits for a certificate of this name in a handshake gets none. */
void edges_refuse_certificate(struct edges *edges, const char *name);
/* Build this moment's snapshot under `version`, hand it to every edge and to the keeper. */
void edges_publish(struct edges *edges, uint64_t version);

#endif
