/* http2_client.c - HTTP/2 connections of clients: from ALPN (or the preface) to the last GOAWAY.
 *
 * The connection's own client stays, in state SESSION, as what holds the socket and the deadline;
 * each request is a client of its own on a stream. A request's header block is parsed by the parser
 * of HTTP/1.1, so what is refused there is refused here, and everything behind it is one path.
 */
#include "edge/stream_private.h"
#include <stdlib.h>

#define PROGRESS_MIN    256u
#define TICK_MS         5000u             /* how often a connection with work is looked at */
#define NOTICE_US       (1000u * EDGE_MS) /* from the notice to the last GOAWAY, without an answer */
#define LINGER_LEFT_MAX (1024u * 1024u)   /* of a client that did wrong */

struct http2_client {
    struct http2_connection connection;
    struct client *client;
    uint64_t noticed_us;
};

static struct http2_client *owner_of(struct http2_connection *connection)
{
    return container_of(connection, struct http2_client, connection);
}

/* ---- requests */

static const char *protocol_fault(const struct stream *stream, const struct http1_head *head)
{
    if (stream->handle.is_tunnel && !slice_eq_nocase(head->upgrade, SLICE("websocket")))
        return "no such protocol to connect with";
    return NULL;
}

static void parse_request(struct client *client, struct stream *stream)
{
    struct edge *edge = client->edge;
    struct http1_head *head = &edge->head;
    struct http1_failure failure = {.status = 400, .reason = "header is not complete"};
    struct http1_progress progress = {0};
    enum http1_result result;

    if (stream->head_status) {
        failure = (struct http1_failure){stream->head_status, "request header is too large"};
        client_refuse(client, &failure);
        return;
    }
    result = http1_parse_request(client->block->bytes, client->to, &progress, &edge->limits, head,
                                 &failure);
    if (result == HTTP1_DONE && (failure.reason = protocol_fault(stream, head))) {
        failure.status = 501;
        result = HTTP1_BAD;
    }
    if (result != HTTP1_DONE) {
        client_refuse(client, &failure);
        return;
    }
    client->from = client->to;
    /* The end of a body without a length is the end of its stream; so is that of an empty one: what
     * follows against its length must be refused before the upstream has a whole request. */
    if (!stream->is_bodyless && !stream->handle.is_tunnel &&
        (head->body == HTTP1_BODY_NONE ||
         (head->body == HTTP1_BODY_LENGTH && head->content_length == 0)))
        head->body = HTTP1_BODY_CLOSE;
    client_set_state(client, CLIENT_REQUEST);
    request_begin(client);
}

static void begin_request(struct stream *stream)
{
    struct http2_client *owner = owner_of(stream->connection);
    struct client *client;

    stream->is_head_ready = false;
    if (stream->is_reset || !stream->handle.session) { /* taken back before it was looked at */
        stream_free(stream);
        return;
    }
    client = client_new(owner->client->edge, owner->client->facts, CLIENT_HTTP2);
    client->transport.io.on_event = client_on_event;
    stream->client = client;
    stream_attach(stream, &client->transport);
    client->block = TAKE_PTR(stream->head_block);
    client->from = 0;
    client->to = stream->text.len;
    parse_request(client, stream);
    client_advance(client);
}

static void on_ready(struct stream *stream, unsigned events)
{
    const struct http2_connection *connection = stream->connection;
    struct client *client = stream->client;

    if (stream->is_head_ready) {
        begin_request(stream);
        return;
    }
    if (!client)
        return;
    /* Bytes that left on their own are progress, too; single ones are not, see forward.c. */
    if ((events & LOOP_WRITE) && client->state == CLIENT_REQUEST &&
        (stream->moved >= PROGRESS_MIN || output_is_empty(&client->output))) {
        stream->moved = 0;
        request_touch(client);
    }
    client_on_event(&client->transport.io, events);
    /* The stream may be gone by now, its client is not before the end of the turn. */
    if (connection->is_closed && client->transport.stream == stream)
        client_close(client, true);
}

/* ---- the connection */

static void set_deadline(struct http2_client *owner)
{
    struct http2_connection *connection = &owner->connection;
    struct client *client = owner->client;
    struct edge *edge = client->edge;
    bool is_busy = connection->stream_count || connection->output ||
                   http2_session_head_since(connection->session);

    if (is_busy) {
        client->idle_since_us = 0;
        client_set_deadline(client,
                            edge_after_ms(edge, MIN(TICK_MS, edge->settings.header_timeout_ms)));
    } else if (!client->idle_since_us) {
        client->idle_since_us = loop_now_us(edge->loop);
        client_set_deadline(client, edge_after_ms(edge, edge->settings.keepalive_timeout_ms));
    }
}

/* Say goodbye; the socket lingers, so that the client can read why. */
static void finish(struct http2_client *owner, enum http2_code code)
{
    struct client *client = owner->client;

    http2_session_goaway(owner->connection.session, code);
    http2_connection_flush(&owner->connection);
    http2_connection_done(&owner->connection);
    client_linger(client);
    client_linger_at_most(client, LINGER_LEFT_MAX);
}

static void on_failed(struct http2_connection *connection, const char *reason)
{
    struct http2_client *owner = owner_of(connection);
    struct client *client = owner->client;
    bool is_offence = *http2_session_failure(connection->session) != '\0';

    log_debug("client %d: %s", client->transport.io.fd, reason);
    http2_connection_done(connection);
    if (is_offence) {
        client_linger(client);
        client_linger_at_most(client, LINGER_LEFT_MAX);
    } else {
        client_close(client, false);
    }
}

static void say_last_goaway(struct http2_client *owner)
{
    owner->connection.is_drained = true;
    http2_session_goaway(owner->connection.session, HTTP2_NO_ERROR);
    http2_connection_work_later(&owner->connection);
}

static void on_rest(struct http2_connection *connection)
{
    struct http2_client *owner = owner_of(connection);

    if (connection->is_draining && !connection->is_drained &&
        http2_session_pongs(connection->session) > 0)
        say_last_goaway(owner);
    if (http2_session_is_over(connection->session) ||
        ((connection->is_drained || connection->is_peer_leaving) && !connection->stream_count &&
         !connection->output && !http2_session_wants_pack(connection->session))) {
        http2_connection_done(connection);
        client_linger(owner->client);
        return;
    }
    set_deadline(owner);
}

void http2_client_begin(struct client *client)
{
    struct http2_client *owner = malloc(sizeof(*owner));
    struct block *block = TAKE_PTR(client->block);
    size_t from = client->from, to = client->to;

    if (!owner)
        abort();
    owner->client = client;
    owner->noticed_us = 0;
    client->from = client->to = 0;
    client->http2 = owner;
    client->edge->session_count++;
    client_set_state(client, CLIENT_SESSION);
    client->idle_since_us = 0;
    if (!http2_connection_init(&owner->connection, client->edge, &client->transport, true)) {
        owner->connection.is_closed = true;
        client_close(client, false);
    } else {
        owner->connection.on_ready = on_ready;
        owner->connection.on_failed = on_failed;
        owner->connection.on_rest = on_rest;
        if (from == to || http2_connection_feed(&owner->connection, block->bytes + from, to - from))
            http2_connection_move(&owner->connection);
        if (client->edge->is_quitting)
            http2_client_drain(client);
    }
    if (block)
        block_give(&client->edge->blocks, block);
}

void http2_client_move(struct client *client)
{
    http2_connection_move(&client->http2->connection);
}

void http2_client_timed_out(struct client *client)
{
    struct http2_client *owner = client->http2;
    struct http2_connection *connection = &owner->connection;
    struct edge *edge = client->edge;
    uint64_t now_us = loop_now_us(edge->loop);
    uint64_t head_since_us = http2_session_head_since(connection->session);

    http2_connection_expire(connection);
    if (http2_connection_is_stalled(connection)) {
        client_close(client, true);
    } else if (head_since_us &&
               now_us - head_since_us > (uint64_t)edge->settings.header_timeout_ms * EDGE_MS) {
        finish(owner, HTTP2_ENHANCE_YOUR_CALM);
    } else if (connection->is_draining && !connection->is_drained &&
               now_us - owner->noticed_us >= NOTICE_US) {
        say_last_goaway(owner);
        set_deadline(owner);
    } else if (client->idle_since_us && !connection->stream_count) {
        finish(owner, HTTP2_NO_ERROR);
    } else {
        set_deadline(owner);
    }
}

void http2_client_drain(struct client *client)
{
    struct http2_client *owner = client->http2;
    struct http2_connection *connection = &owner->connection;

    if (connection->is_closed || connection->is_draining)
        return;
    connection->is_draining = true;
    owner->noticed_us = loop_now_us(client->edge->loop);
    http2_session_notice(connection->session);
    http2_session_ping(connection->session);
    client->idle_since_us = 0;
    client_set_deadline(client, owner->noticed_us + NOTICE_US);
    http2_connection_work_later(connection);
}

void http2_client_served(const struct client *client)
{
    struct http2_connection *connection = client->transport.stream->connection;

    if (!connection->is_closed)
        owner_of(connection)->client->is_served = true;
}

bool http2_client_is_idle(const struct client *client)
{
    const struct http2_connection *connection = &client->http2->connection;

    return !connection->stream_count && !connection->output &&
           !http2_session_head_since(connection->session);
}

void http2_client_close(struct client *client)
{
    struct http2_connection *connection = &client->http2->connection;

    client->edge->session_count--;
    if (!connection->is_closed) {
        http2_session_goaway(connection->session, HTTP2_NO_ERROR);
        http2_connection_flush(connection);
        http2_connection_done(connection);
    }
}

void http2_client_free(struct client *client)
{
    free(TAKE_PTR(client->http2));
}

/* ---- answers */

void http2_answer_head(struct client *client, struct slice text, bool is_interim, bool ends)
{
    struct stream *stream = client->transport.stream;
    struct http2_field fields[HTTP2_FIELDS_MAX];
    bool is_tunnel = stream->handle.is_tunnel && client->request.status == 101;
    size_t count = http2_fields_of_response(text, is_tunnel, fields);
    int result;

    if (!count)
        return;
    if (is_interim && !is_tunnel) {
        result = http2_submit_interim(&stream->handle, fields, count);
    } else {
        result = http2_submit_response(&stream->handle, fields, count, ends);
        stream->handle.ends = ends;
    }
    if (result == 0)
        http2_connection_work_later(stream->connection);
}

char *http2_put_websocket_key(struct client *client, char *at)
{
    struct stream *stream = client->transport.stream;
    uint64_t bits[2] = {edge_random(client->edge), edge_random(client->edge)};

    http2_websocket_key((const uint8_t *)bits, stream->websocket_key);
    at = rewrite_slice(at, SLICE("Sec-WebSocket-Key: "));
    at = rewrite_slice(at, slice_from(stream->websocket_key));
    return rewrite_slice(at, SLICE("\r\n"));
}

bool http2_is_tunnel_asked(const struct client *client)
{
    return client->protocol == CLIENT_HTTP2 && client->transport.stream->handle.is_tunnel;
}

bool http2_websocket_is_accepted(const struct client *client, const struct http1_head *head)
{
    const struct http1_field *field = http1_field_named(head, SLICE("sec-websocket-accept"));
    char accept[HTTP2_WEBSOCKET_ACCEPT_SIZE];

    http2_websocket_accept(client->transport.stream->websocket_key, accept);
    return field && slice_eq(field->value, slice_from(accept));
}

/* An answer of our own begins with its header block, in as many parts as it was made of. */
void http2_answer_local(struct client *client)
{
    struct output *output = &client->output;
    char *text = client->edge->scratch;
    size_t len = 0, head_len;
    ptrdiff_t end = -1;

    if (client->transport.stream->handle.is_submitted || output_is_empty(output))
        return;
    for (unsigned i = output->first; i < output->count && end < 0; i++) {
        size_t take = MIN(output->parts[i].iov_len, sizeof(client->edge->scratch) - len);

        memcpy(text + len, output->parts[i].iov_base, take);
        len += take;
        end = slice_find((struct slice){text, len}, SLICE("\r\n\r\n"));
    }
    if (end < 0)
        return;
    head_len = (size_t)end + 4;
    output_advance(output, head_len);
    http2_answer_head(client, (struct slice){text, head_len}, false,
                      output_is_empty(output) && !client->request.file_left);
}
