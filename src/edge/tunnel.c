/* tunnel.c - after a 101 the edge only moves bytes: WebSockets and whatever else was agreed on.
 *
 * Bytes that arrived behind the two header blocks are delivered first. Each direction ends on its
 * own: an end of file is passed on as an end of file, and the other direction goes on for a while.
 */
#include "edge/edge_private.h"

#define ROUNDS_MAX        16u
#define HALF_CLOSED_MS    60000u
#define TUNNEL_DEFAULT_MS 3600000u

/* One direction: source reads into `block`, sink writes from it. */
struct direction {
    struct transport *source, *sink;
    struct output *output;
    struct block **block;
    size_t *from, *to;
    bool *is_ended;
    uint64_t *bytes;
};

enum move { MOVE_IDLE, MOVE_SOME, MOVE_AGAIN, MOVE_BROKEN };

static void tunnel_touch(struct client *client)
{
    const struct request *request = &client->request;
    uint32_t wait_ms = request->route->tunnel_idle_timeout_ms
                           ? request->route->tunnel_idle_timeout_ms
                           : TUNNEL_DEFAULT_MS;

    if (request->is_body_ended || request->upstream->is_answer_ended)
        wait_ms = MIN(wait_ms, HALF_CLOSED_MS);
    client_set_deadline(client, edge_after_ms(client->edge, wait_ms));
}

static void direction_release(struct edge *edge, struct direction *direction)
{
    if (*direction->block)
        block_give(&edge->blocks, *direction->block);
    *direction->block = NULL;
    *direction->from = *direction->to = 0;
}

/* Write what is queued or left over. MOVE_SOME: all of it is out. */
static enum move direction_flush(struct direction *direction)
{
    ssize_t put;

    if (*direction->from < *direction->to) {
        output_push(direction->output, (*direction->block)->bytes + *direction->from,
                    *direction->to - *direction->from);
        *direction->bytes += *direction->to - *direction->from;
        *direction->from = *direction->to;
    }
    if (output_is_empty(direction->output))
        return MOVE_SOME;
    if (!direction->sink->can_write)
        return MOVE_IDLE;
    put = transport_write(direction->sink, direction->output);
    if (put == TRANSPORT_BROKEN)
        return MOVE_BROKEN;
    return output_is_empty(direction->output) ? MOVE_SOME : MOVE_IDLE;
}

static enum move direction_move(struct client *client, struct direction *direction)
{
    struct edge *edge = client->edge;

    for (unsigned round = 0;; round++) {
        enum move flushed = direction_flush(direction);
        ssize_t got;

        if (flushed != MOVE_SOME)
            return flushed;
        if (*direction->is_ended || !direction->source->can_read) {
            direction_release(edge, direction);
            return MOVE_IDLE;
        }
        if (round == ROUNDS_MAX)
            return MOVE_AGAIN;
        if (!*direction->block)
            *direction->block = block_take(&edge->blocks);
        *direction->from = *direction->to = 0;
        got = transport_read(direction->source, (*direction->block)->bytes, BLOCK_BYTES);
        if (got == TRANSPORT_BROKEN)
            return MOVE_BROKEN;
        if (got > 0) {
            *direction->to = (size_t)got;
            tunnel_touch(client);
        } else if (got == TRANSPORT_END) {
            *direction->is_ended = true;
            transport_finish(direction->sink);
            tunnel_touch(client);
        }
    }
}

void tunnel_move(struct client *client)
{
    struct request *request = &client->request;
    struct upstream *upstream = request->upstream;
    struct direction up = {.source = &client->transport,
                           .sink = &upstream->transport,
                           .output = &upstream->output,
                           .block = &client->block,
                           .from = &client->from,
                           .to = &client->to,
                           .is_ended = &request->is_body_ended,
                           .bytes = &request->body_seen};
    struct direction down = {.source = &upstream->transport,
                             .sink = &client->transport,
                             .output = &client->output,
                             .block = &upstream->block,
                             .from = &upstream->from,
                             .to = &upstream->to,
                             .is_ended = &upstream->is_answer_ended,
                             .bytes = &request->bytes_sent};
    enum move upward = direction_move(client, &up);
    enum move downward = upward == MOVE_BROKEN ? MOVE_BROKEN : direction_move(client, &down);

    if (upward == MOVE_BROKEN || downward == MOVE_BROKEN) {
        request_abort(client, 101, "tunnel was reset");
        return;
    }
    if (output_is_empty(&client->output) && client->output_block)
        client_output_release(client);
    if (request->is_body_ended && upstream->is_answer_ended && output_is_empty(&client->output) &&
        output_is_empty(&upstream->output)) {
        client_close(client, false);
        return;
    }
    if (upward == MOVE_AGAIN || downward == MOVE_AGAIN)
        client_resume_later(client);
}

void tunnel_begin(struct client *client)
{
    struct request *request = &client->request;
    struct upstream *upstream = request->upstream;

    request_keep_texts(client);
    block_give(&client->edge->blocks, request->head_block);
    request->head_block = NULL;
    request->is_body_ended = false;
    upstream->is_answer_ended = false;
    client_set_state(client, CLIENT_TUNNEL);
    upstream_set_state(upstream, UPSTREAM_TUNNEL);
    /* A tunnel before it stops being a request, so that no report finds the instance idle in
     * between. */
    endpoint_tunnels(upstream->endpoint, 1);
    endpoint_in_flight(upstream->endpoint, -1);
    client->edge->tunnel_count++;
    edge_check_quit(client->edge);
    tunnel_touch(client);
    tunnel_move(client);
}
