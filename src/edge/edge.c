/* edge.c - the role: its start, its channels, its end. */
#include "edge/edge.h"
#include "base/keeper_protocol.h"
#include "base/map.h"
#include "base/peer_protocol.h"
#include "edge/edge_private.h"
#include "os/file.h"
#include "os/memory.h"
#include "os/random.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define RETRY_START_FIFTHS 500u
#define TERMINATE_GRACE_MS 5000u
#define QUIT_TUNNELS_MS    1000u /* once only tunnels are left */
#define LAST_FLUSH_MS      500
#define COMPILE_BUDGET_US  2000u /* of a turn, for a table that is being made */

/* ---- small services for the other files */

/* xoroshiro128+ (D. Blackman, S. Vigna): ids and tie-breaks, nothing secret. */
uint64_t edge_random(struct edge *edge)
{
    uint64_t a = edge->random_state[0], b = edge->random_state[1], result = a + b;

    b ^= a;
    edge->random_state[0] = (a << 24 | a >> 40) ^ b ^ b << 16;
    edge->random_state[1] = b << 37 | b >> 27;
    return result;
}

void edge_tick_date(struct edge *edge)
{
    uint64_t second = (loop_now_us(edge->loop) + edge->wall_offset_us) / 1000000;
    char date[HTTP1_DATE_SIZE];
    char *at = edge->date_field;

    if (LIKELY(second == edge->date_second))
        return;
    edge->wall_offset_us = clock_wall_us() - loop_now_us(edge->loop);
    edge->date_second = (loop_now_us(edge->loop) + edge->wall_offset_us) / 1000000;
    at = rewrite_slice(at, SLICE("Date: "));
    at = rewrite_slice(at, slice_from(http1_format_date(edge->date_second, date)));
    at = rewrite_slice(at, SLICE("\r\n"));
    edge->date_field_len = (size_t)(at - edge->date_field);
}

static void on_resume(struct loop_deferred *deferred)
{
    struct edge *edge = container_of(deferred, struct edge, resume_work);
    struct list now;

    list_init(&now);
    while (!list_is_empty(&edge->resumed)) { /* who asks again gets the next turn */
        struct list *node = edge->resumed.next;

        list_remove(node);
        list_push_back(&now, node);
    }
    while (!list_is_empty(&now))
        client_resume(container_of(now.next, struct client, resume_node));
}

static void on_handshake_work(struct loop_deferred *deferred)
{
    handshake_take_steps(container_of(deferred, struct edge, handshake_work));
}

static void on_burial(struct loop_deferred *deferred)
{
    struct edge *edge = container_of(deferred, struct edge, burial);

    client_bury(edge);
    upstream_bury(edge);
}

/* ---- control: snapshots in, reports out */

void edge_tell_control(struct edge *edge, const void *message, size_t len)
{
    if (edge->has_control && channel_post(&edge->control, message, len, NULL, 0) != 0)
        log_warning("control does not take messages; it hears the state again when it reconnects");
}

void edge_report_drained(struct edge *edge, const struct endpoint *endpoint, bool is_tunnels)
{
    struct peer_drained message = {.type = PEER_DRAINED,
                                   .is_tunnels = is_tunnels,
                                   .version = edge->table->snapshot.header->version,
                                   .instance = endpoint->instance};

    log_debug("%s is drained of %s", endpoint->name, is_tunnels ? "tunnels" : "requests");
    edge_tell_control(edge, &message, sizeof(message));
}

static void take_snapshot(struct edge *edge, int fd);

static void report_all_drained(struct edge *edge)
{
    for (uint32_t i = 0; i < edge->table->snapshot.endpoints_count; i++)
        endpoint_check_drained(edge->table->endpoints[i]);
}

static void reject(struct edge *edge, const struct error *err)
{
    struct {
        uint32_t type;
        char text[sizeof(err->text)];
    } message = {.type = PEER_REJECT};
    size_t len = strlen(err->text);

    log_failure(err, "the snapshot is not used");
    memcpy(message.text, err->text, len + 1);
    edge_tell_control(edge, &message, offsetof(__typeof__(message), text) + len + 1);
}

/* Between two turns nothing is half done, so the new table holds for every request that begins from
 * here on. */
static void adopt(struct edge *edge, struct table *table)
{
    struct peer_ack ack = {.type = PEER_ACK, .version = table->snapshot.header->version};

    table_adopt(edge, table);
    edge_tell_control(edge, &ack, sizeof(ack));
    report_all_drained(edge);
    log_debug("snapshot %llu is in use", (unsigned long long)ack.version);
}

/* A table with thousands of certificates is compiled a few milliseconds at a time; the last one
 * that arrived meanwhile comes next. */
static void on_compile(struct loop_deferred *deferred)
{
    struct edge *edge = container_of(deferred, struct edge, compile_work);

    if (!table_compile_step(edge->compiling, COMPILE_BUDGET_US)) {
        loop_defer(edge->loop, deferred);
        return;
    }
    adopt(edge, TAKE_PTR(edge->compiling));
    if (edge->next_snapshot >= 0) {
        int fd = TAKE_FD(edge->next_snapshot);

        take_snapshot(edge, fd);
        close(fd);
    }
}

static void take_snapshot(struct edge *edge, int fd)
{
    struct error err = {0};
    struct table *table;

    if (edge->compiling) {
        if (edge->next_snapshot >= 0)
            close(edge->next_snapshot);
        edge->next_snapshot = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        return;
    }
    if (table_open(edge, fd, &table, &err) != 0) {
        reject(edge, &err);
    } else if (table_compile_step(table, COMPILE_BUDGET_US)) {
        adopt(edge, table);
    } else {
        edge->compiling = table;
        loop_defer(edge->loop, &edge->compile_work);
    }
}

static void certificate_refused(struct edge *edge, const void *message, size_t len)
{
    struct slice host = {(const char *)message + sizeof(struct peer_certificate),
                         len - sizeof(struct peer_certificate)};

    if (host.len && host.ptr[host.len - 1] == 0)
        handshake_refuse(edge, slice_sub(host, 0, host.len - 1));
}

static void on_control_message(struct channel *channel, const void *message, size_t len, int *fds,
                               size_t fd_count)
{
    struct edge *edge = container_of(channel, struct edge, control);
    const struct peer_snapshot *snapshot = message;

    if (len >= sizeof(*snapshot) && snapshot->type == PEER_SNAPSHOT && fd_count == 1)
        take_snapshot(edge, fds[0]);
    else if (len > sizeof(struct peer_certificate) && snapshot->type == PEER_CERTIFICATE_REFUSED)
        certificate_refused(edge, message, len);
    else
        log_warning("control sent a message that is not understood");
}

static void on_control_closed(struct channel *channel)
{
    struct edge *edge = container_of(channel, struct edge, control);

    edge->has_control = false; /* the keeper sends a new channel once control is back */
}

/* ---- the keeper */

static void quit_finish(struct edge *edge)
{
    loop_stop(edge->loop);
}

void edge_check_quit(struct edge *edge)
{
    if (LIKELY(!edge->is_quitting))
        return;
    if (edge->client_count == 0) {
        quit_finish(edge);
    } else if (edge->client_count - edge->session_count == edge->tunnel_count &&
               !edge->is_draining) {
        /* Nothing ends a tunnel from outside, and its instance ends next: a moment for a close that
         * is under way. */
        uint64_t end_us = edge_after_ms(edge, QUIT_TUNNELS_MS);

        loop_timer_start(edge->loop, &edge->quit, MIN(edge->quit.deadline_us, end_us));
    }
}

static void on_quit_deadline(struct loop_timer *timer)
{
    struct edge *edge = container_of(timer, struct edge, quit);

    log_info("%u connections are left at the end of the grace period", edge->client_count);
    quit_finish(edge);
}

/* is_draining: another edge takes over and the instances stay, so whoever is connected has the
 * whole grace. Again without it: the platform stops after all. */
static void quit_begin(struct edge *edge, uint32_t grace_ms, bool is_draining)
{
    bool is_known = edge->is_quitting && edge->is_draining == is_draining;

    edge->quit.on_timer = on_quit_deadline;
    loop_timer_start_in(edge->loop, &edge->quit, (uint64_t)grace_ms * EDGE_MS);
    if (is_known)
        return;
    edge->is_quitting = true;
    edge->is_draining = is_draining;
    loop_timer_stop(&edge->accept_pause);
    listener_stop_all(edge);
    client_quit_all(edge);
    edge_check_quit(edge);
}

static void on_terminate(struct loop_signal *signal_handle)
{
    quit_begin(container_of(signal_handle, struct edge, terminate), TERMINATE_GRACE_MS, false);
}

static void take_hello(struct edge *edge, const struct keeper_hello *hello)
{
    static char name[24];

    if (hello->protocol_version != KEEPER_PROTOCOL_VERSION) {
        log_error("the keeper speaks protocol version %u, this edge %u", hello->protocol_version,
                  KEEPER_PROTOCOL_VERSION);
        loop_stop(edge->loop);
        return;
    }
    edge->index = hello->role_index;
    edge->edge_count = hello->edge_count;
    edge->http_port = hello->http_port;
    edge->https_port = hello->https_port;
    snprintf(name, sizeof(name), "edge %u", hello->role_index);
    log_init(name, (enum log_level)MIN(hello->log_level, (uint32_t)LOG_DEBUG));
    if (!edge->is_confined) /* before anything that a stranger said is read */
        edge_confine(hello->flags & KEEPER_FLAG_ROOT);
    edge->is_confined = true;
}

static void take_peer(struct edge *edge, const struct keeper_peer *peer, int *fd)
{
    struct error err = {0};

    if (peer->role == KEEPER_ROLE_SIGNER)
        signing_connect(edge, TAKE_FD(*fd));
    if (peer->role != KEEPER_ROLE_CONTROL)
        return;
    if (edge->has_control)
        channel_stop(&edge->control);
    memset(&edge->control, 0, sizeof(edge->control));
    edge->control.on_message = on_control_message;
    edge->control.on_closed = on_control_closed;
    edge->has_control = channel_start(&edge->control, edge->loop, TAKE_FD(*fd), &err) == 0;
    if (edge->has_control)
        signing_want_again(edge);
    else
        log_failure(&err, "no channel to control");
}

/* Totals go on where the edge before this one left them; gauges begin at nothing. */
static void take_counters(struct edge *edge, int fd)
{
    struct error err = {0};
    struct counters *counters;
    void *base;
    size_t size;

    if (memory_map(fd, true, false, &base, &size, &err) != 0) {
        log_failure(&err, "counters are not shared");
        return;
    }
    if (size < offsetof(struct counters, tls)) {
        log_error("the counters' memory is too small");
        memory_unmap(base, size);
        return;
    }
    counters = base;
    if (counters->magic != COUNTERS_MAGIC || counters->version != COUNTERS_VERSION)
        memset(counters, 0, MIN(size, sizeof(*counters)));
    if (size >= sizeof(*counters))
        edge->tls_counters = &counters->tls;
    for (size_t i = 0; i < COUNTERS_ENDPOINTS_MAX; i++)
        if (counters->endpoints[i].instance) {
            count_u32(&counters->endpoints[i].in_flight, 0);
            count_u32(&counters->endpoints[i].tunnels, 0);
        }
    count_u32(&counters->connections, edge->connection_count);
    counters->version = COUNTERS_VERSION;
    counters->magic = COUNTERS_MAGIC;
    edge->counters = counters; /* mapped for the life of the process */
}

static void take_held(struct edge *edge, const void *message, size_t len, int fd)
{
    size_t cursor = sizeof(struct keeper_held);
    const char *name = keeper_next_string(message, len, &cursor);
    struct error err = {0};
    struct table *table;

    if (!name || strcmp(name, "snapshot") != 0 || edge->table)
        return;
    if (table_open(edge, fd, &table, &err) != 0) {
        log_failure(&err, "the held snapshot is not used");
        return;
    }
    while (!table_compile_step(table, COMPILE_BUDGET_US))
        ; /* nobody is served yet who would have to wait */
    table_adopt(edge, table);
}

static void take_table_end(struct edge *edge)
{
    struct keeper_ready ready = {.header = {.type = KEEPER_READY}};

    listener_start_all(edge);
    if (channel_post(&edge->keeper, &ready, sizeof(ready), NULL, 0) != 0)
        log_error("the keeper does not take messages");
    edge->is_ready = true;
}

static void take_listener(struct edge *edge, const struct keeper_listener *message, int *fd)
{
    struct error err = {0};

    if (listener_add(edge, *fd, message->kind == KEEPER_LISTENER_HTTPS, &err) != 0) {
        log_failure(&err, "a listener is not used");
        return;
    }
    *fd = -1;
    if (edge->is_ready)
        listener_start_all(edge);
}

static void on_keeper_message(struct channel *channel, const void *message, size_t len, int *fds,
                              size_t fd_count)
{
    static const size_t sizes[] = {
        [KEEPER_HELLO] = sizeof(struct keeper_hello),
        [KEEPER_PEER] = sizeof(struct keeper_peer),
        [KEEPER_QUIT] = sizeof(struct keeper_quit),
        [KEEPER_COUNTERS] = sizeof(struct keeper_counters),
        [KEEPER_HELD] = sizeof(struct keeper_held),
        [KEEPER_TABLE_END] = sizeof(struct keeper_table_end),
        [KEEPER_LISTENER] = sizeof(struct keeper_listener),
        [KEEPER_ACCESS] = sizeof(struct keeper_access),
    };
    struct edge *edge = container_of(channel, struct edge, keeper);
    const struct keeper_header *header = message;
    bool needs_fd;

    if (len < sizeof(*header) || header->type >= ARRAY_LEN(sizes) || !sizes[header->type] ||
        len < sizes[header->type]) {
        log_warning("the keeper sent a message that is not understood");
        return;
    }
    needs_fd = header->type == KEEPER_PEER || header->type == KEEPER_COUNTERS ||
               header->type == KEEPER_HELD || header->type == KEEPER_LISTENER ||
               header->type == KEEPER_ACCESS;
    if (needs_fd && fd_count != 1) {
        log_warning("the keeper sent message %u without its descriptor", header->type);
        return;
    }
    switch (header->type) {
    case KEEPER_HELLO:
        take_hello(edge, message);
        break;
    case KEEPER_PEER:
        take_peer(edge, message, &fds[0]);
        break;
    case KEEPER_QUIT:
        quit_begin(edge, ((const struct keeper_quit *)message)->grace_ms,
                   ((const struct keeper_quit *)message)->flags & KEEPER_QUIT_REPLACED);
        break;
    case KEEPER_COUNTERS:
        take_counters(edge, fds[0]);
        break;
    case KEEPER_HELD:
        take_held(edge, message, len, fds[0]);
        break;
    case KEEPER_LISTENER:
        take_listener(edge, message, &fds[0]);
        break;
    case KEEPER_ACCESS:
        access_start(edge, TAKE_FD(fds[0]));
        break;
    default:
        take_table_end(edge);
        break;
    }
}

static void on_keeper_closed(struct channel *channel)
{
    struct edge *edge = container_of(channel, struct edge, keeper);

    log_error("the keeper is gone");
    loop_stop(edge->loop);
}

/* ---- the life of the process */

static int edge_init(struct edge *edge, struct error *err)
{
    int code = loop_new(&edge->loop, err);

    if (code != 0)
        return code;
    list_init(&edge->clients);
    list_init(&edge->endpoints);
    list_init(&edge->resumed);
    list_init(&edge->free_clients);
    list_init(&edge->free_upstreams);
    list_init(&edge->graveyard_clients);
    list_init(&edge->graveyard_upstreams);
    list_init(&edge->http2.graveyard);
    list_init(&edge->securities);
    list_init(&edge->handshakes);
    list_init(&edge->handshake_queue);
    list_init(&edge->handshakes_ready);
    list_init(&edge->handshakes_many);
    list_init(&edge->signing);
    list_init(&edge->wanting);
    edge->next_snapshot = -1;
    edge->compile_work.on_deferred = on_compile;
    edge->resume_work.on_deferred = on_resume;
    edge->handshake_work.on_deferred = on_handshake_work;
    edge->burial.on_deferred = on_burial;
    edge->access_io.fd = -1;
    edge->retry_fifths = RETRY_START_FIFTHS;
    edge->statics = static_cache_new(STATIC_MEMORY_LIMIT, STATIC_FD_LIMIT);
    edge->counters = edge->own_counters = calloc(1, sizeof(struct counters));
    if (!edge->counters)
        abort();
    edge->tls_counters = &edge->own_counters->tls;
    do
        random_bytes(edge->random_state, sizeof(edge->random_state));
    while (edge->random_state[0] == 0 && edge->random_state[1] == 0);
    edge_tick_date(edge);
    table_adopt(edge, NULL);
    edge->terminate.on_signal = on_terminate;
    code = loop_signal_start(edge->loop, &edge->terminate, SIGTERM, err);
    if (code != 0)
        return code;
    edge->keeper.on_message = on_keeper_message;
    edge->keeper.on_closed = on_keeper_closed;
    return channel_start(&edge->keeper, edge->loop, KEEPER_CHANNEL_FD, err);
}

static void free_list(struct list *list, size_t node_offset)
{
    while (!list_is_empty(list)) {
        struct list *node = list->next;

        list_remove(node);
        free((char *)node - node_offset);
    }
}

/* What is in flight at the end of the grace period is cut; its records are written. */
static void edge_done(struct edge *edge)
{
    edge->is_quitting = true;
    while (!list_is_empty(&edge->clients)) /* a connection takes its streams with it */
        client_close(container_of(edge->clients.next, struct client, node), false);
    if (edge->access_io.fd >= 0 && edge->access_len) {
        struct pollfd room = {.fd = edge->access_io.fd, .events = POLLOUT};

        access_flush(edge);
        if (edge->access_len)
            (void)poll(&room, 1, LAST_FLUSH_MS);
    }
    access_stop(edge);
    list_each (node, &edge->endpoints)
        upstream_close_idle(container_of(node, struct endpoint, node));
    client_bury(edge);
    upstream_bury(edge);
    free_list(&edge->free_clients, offsetof(struct client, node));
    free_list(&edge->free_upstreams, offsetof(struct upstream, node));
    list_each_safe (node, &edge->endpoints)
        endpoint_unlist(container_of(node, struct endpoint, node));
    table_unref(edge->table);
    table_unref(edge->compiling);
    if (edge->next_snapshot >= 0)
        close(edge->next_snapshot);
    static_cache_free(edge->statics);
    stream_pool_trim(&edge->http2);
    block_pool_done(&edge->blocks);
    map_free(edge->peers);
    map_free(edge->handshake_sources);
    free(edge->access_bytes);
    free(edge->own_counters);
    listener_stop_all(edge);
    loop_timer_stop(&edge->quit);
    loop_timer_stop(&edge->expiry);
    loop_timer_stop(&edge->accept_pause);
    loop_defer_cancel(&edge->burial);
    loop_defer_cancel(&edge->compile_work);
    loop_defer_cancel(&edge->resume_work);
    loop_defer_cancel(&edge->handshake_work);
    loop_signal_stop(&edge->terminate);
    if (edge->has_control)
        channel_stop(&edge->control);
    if (edge->has_signer)
        channel_stop(&edge->signer);
    channel_stop(&edge->keeper);
    loop_free(edge->loop);
}

int edge_main(void)
{
    struct edge *edge = calloc(1, sizeof(*edge));
    struct error err = {0};
    int code;
    bool is_clean;

    if (!edge)
        abort();
    log_init("edge", LOG_INFO);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* a terminal's Ctrl-C is the keeper's to act on */
    code = edge_init(edge, &err);
    if (code == 0)
        code = loop_run(edge->loop, &err);
    is_clean = code == 0 && edge->is_quitting;
    if (code != 0)
        log_failure(&err, "the edge stops");
    if (edge->loop && edge->keeper.on_message)
        edge_done(edge);
    free(edge);
    return is_clean ? 0 : 1;
}
