#include "control/keeper_link.h"
#include "base/clock.h"
#include "base/log.h"
#include "control/control_private.h"
#include "os/file.h"
#include <stdio.h>
#include <unistd.h>

/* The keeper gives an exec 10 s, a tree that changes its owner KEEPER_GIVING_MAX_MS, the trial of a
 * binary KEEPER_UPGRADE_ANSWER_MAX_MS; it answers everything else in a turn of its loop. */
#define REQUEST_DEADLINE_MS 20000u
#define DEADLINE_CHECK_MS   1000u

struct link_message {
    struct list node;
    size_t len;
    int fd;
    unsigned char bytes[];
};

struct link_request {
    struct list node;
    uint32_t request, type;
    uint64_t unit;                    /* SPAWN, STOP, FORGET */
    struct directory_request *waiter; /* MAKE_DIRECTORY; NULL: nobody */
    uint64_t deadline_ms, deadline_us;
    char text[64];
};

/* ---- sending */

static void request_extend(struct link_request *request, uint64_t more_ms)
{
    request->deadline_ms += more_ms;
    request->deadline_us += LOOP_MS(more_ms);
}

static struct link_request *request_add(struct keeper_link *link, uint32_t number, uint32_t type,
                                        uint64_t unit, const char *text)
{
    struct link_request *request = calloc(1, sizeof(*request));

    if (!request)
        abort();
    request->request = number;
    request->type = type;
    request->unit = unit;
    request->deadline_ms = REQUEST_DEADLINE_MS;
    request->deadline_us = loop_now_us(link->control->loop) + LOOP_MS(REQUEST_DEADLINE_MS);
    (void)snprintf(request->text, sizeof(request->text), "%s", text);
    list_push_back(&link->requests, &request->node);
    if (!link->deadline.loop)
        loop_timer_start_in(link->control->loop, &link->deadline, LOOP_MS(DEADLINE_CHECK_MS));
    return request;
}

static void queue(struct keeper_link *link, const void *fixed, size_t fixed_len,
                  struct slice strings, int fd)
{
    struct link_message *message = malloc(sizeof(*message) + fixed_len + strings.len);

    if (!message)
        abort();
    memcpy(message->bytes, fixed, fixed_len);
    if (strings.len)
        memcpy(message->bytes + fixed_len, strings.ptr, strings.len);
    message->len = fixed_len + strings.len;
    message->fd = fd;
    list_push_back(&link->outgoing, &message->node);
}

static void message_free(struct link_message *message)
{
    list_remove(&message->node);
    fd_close(message->fd);
    free(message);
}

void keeper_link_flush(struct keeper_link *link)
{
    list_each_safe (node, &link->outgoing) {
        struct link_message *message = container_of(node, struct link_message, node);
        int code = channel_post(&link->channel, message->bytes, message->len, &message->fd,
                                message->fd >= 0 ? 1 : 0);

        if (code != 0)
            log_error("unable to ask the keeper: %s", error_text(code));
        message_free(message);
    }
}

static void append_string(struct buf *strings, const char *text)
{
    buf_append(strings, text, strlen(text) + 1);
}

void keeper_link_spawn(struct keeper_link *link, const struct unit *unit,
                       const struct unit_spec *spec)
{
    struct buf strings = BUF_INIT(KEEPER_SPAWN_STRINGS_MAX);
    struct keeper_spawn message = {
        .header = {.type = KEEPER_SPAWN, .request = ++link->last_request},
        .unit = unit->id,
        .uid = spec->uid,
        .gid = spec->gid,
        .flags = spec->flags,
        .argc = (uint32_t)spec->argument_count,
        .envc = (uint32_t)spec->environment_count,
        .nofile_limit = spec->nofile_limit,
        .memory_limit_bytes = spec->memory_limit_bytes,
        .cpu_limit_millis = spec->cpu_limit_millis,
        .cpu_weight = spec->cpu_weight,
    };

    append_string(&strings, spec->tag);
    append_string(&strings, spec->label);
    append_string(&strings, spec->directory);
    append_string(&strings, spec->cgroup);
    for (size_t i = 0; i < spec->argument_count; i++)
        append_string(&strings, spec->arguments[i]);
    for (size_t i = 0; i < spec->environment_count; i++)
        append_string(&strings, spec->environment[i]);
    struct link_request *request =
        request_add(link, message.header.request, KEEPER_SPAWN, unit->id, spec->tag);
    if (strings.failed) {
        /* The answer comes as the keeper's would, later: nobody expects one from inside the call.
         */
        log_error("the command and environment of %s are larger than %u bytes", spec->tag,
                  KEEPER_SPAWN_STRINGS_MAX);
        request->deadline_us = 0;
    } else {
        queue(link, &message, sizeof(message), buf_slice(&strings),
              spec->stdin_fd >= 0 ? dup(spec->stdin_fd) : -1);
    }
    buf_done(&strings);
}

void keeper_link_stop_unit(struct keeper_link *link, uint64_t unit, int signal, uint64_t grace_ms)
{
    struct keeper_stop message = {
        .header = {.type = KEEPER_STOP, .request = ++link->last_request},
        .unit = unit,
        .signal = (uint32_t)signal,
        .grace_ms = (uint32_t)MIN(grace_ms, (uint64_t)UINT32_MAX),
    };

    (void)request_add(link, message.header.request, KEEPER_STOP, unit, "stop");
    queue(link, &message, sizeof(message), (struct slice){0}, -1);
}

void keeper_link_forget(struct keeper_link *link, uint64_t unit)
{
    struct keeper_forget message = {
        .header = {.type = KEEPER_FORGET, .request = ++link->last_request},
        .unit = unit,
    };

    (void)request_add(link, message.header.request, KEEPER_FORGET, unit, "forget");
    queue(link, &message, sizeof(message), (struct slice){0}, -1);
}

void keeper_link_make_directory(struct keeper_link *link, const char *path, uint32_t uid,
                                unsigned mode, bool is_recursive, struct directory_request *waiter)
{
    struct keeper_make_directory message = {
        .header = {.type = KEEPER_MAKE_DIRECTORY, .request = ++link->last_request},
        .uid = uid,
        .gid = uid,
        .mode = mode,
        .is_recursive = is_recursive,
    };

    struct link_request *request =
        request_add(link, message.header.request, KEEPER_MAKE_DIRECTORY, 0, path);
    if (is_recursive)
        request_extend(request, KEEPER_GIVING_MAX_MS);
    request->waiter = waiter;
    if (waiter)
        waiter->driver = request;
    queue(link, &message, sizeof(message), (struct slice){path, strlen(path) + 1}, -1);
}

void keeper_link_make_directory_stop(struct keeper_link *link, struct directory_request *waiter)
{
    struct link_request *request = waiter->driver;

    (void)link;
    request->waiter = NULL;
    waiter->driver = NULL;
}

void keeper_link_hold(struct keeper_link *link, const char *name, int fd)
{
    struct {
        struct keeper_hold fixed;
        char name[64];
    } message = {.fixed.header = {.type = KEEPER_HOLD, .request = ++link->last_request}};
    size_t len = strlen(name) + 1;

    assert(len <= sizeof(message.name));
    memcpy(message.name, name, len);
    (void)request_add(link, message.fixed.header.request, KEEPER_HOLD, 0, name);
    if (channel_post(&link->channel, &message, sizeof(message.fixed) + len, &fd, 1) != 0)
        log_error("unable to have the keeper hold '%s'", name);
}

void keeper_link_upgrade(struct keeper_link *link, enum keeper_upgrade_kind kind, uint32_t upgrade,
                         uint32_t drain_ms, const char *path)
{
    struct keeper_upgrade message = {
        .header = {.type = KEEPER_UPGRADE, .request = ++link->last_request},
        .kind = kind,
        .upgrade = upgrade,
        .drain_ms = drain_ms,
    };

    request_extend(request_add(link, message.header.request, KEEPER_UPGRADE, 0, "upgrade"),
                   KEEPER_UPGRADE_ANSWER_MAX_MS);
    queue(link, &message, sizeof(message), (struct slice){path, strlen(path) + 1}, -1);
    keeper_link_flush(link);
}

void keeper_link_ready(struct keeper_link *link)
{
    struct keeper_ready message = {
        .header = {.type = KEEPER_READY, .request = ++link->last_request}};

    if (channel_post(&link->channel, &message, sizeof(message), NULL, 0) != 0)
        log_error("unable to tell the keeper that control is ready");
}

/* ---- answers */

static void request_failed(struct keeper_link *link, const struct link_request *request,
                           const struct error *err)
{
    switch (request->type) {
    case KEEPER_SPAWN:
        platform_unit_refused(link->control->platform, request->unit, err);
        break;
    case KEEPER_UPGRADE:
        control_upgrade_refused(link->control, err);
        break;
    case KEEPER_STOP:
    case KEEPER_FORGET:
        /* It went its own way meanwhile. */
        log_debug("unit %llu, %s: %s", (unsigned long long)request->unit, request->text, err->text);
        break;
    default:
        log_failure(err, "the keeper refused '%s'", request->text);
        break;
    }
}

static void request_free(struct link_request *request)
{
    list_remove(&request->node);
    if (request->waiter)
        request->waiter->driver = NULL;
    free(request);
}

/* err NULL: done as asked. Frees the request before anyone is told, as the answer may be a new one.
 */
static void request_end(struct keeper_link *link, struct link_request *request,
                        const struct error *err)
{
    struct directory_request *waiter = request->waiter;

    if (err && !waiter)
        request_failed(link, request, err);
    request_free(request);
    if (waiter)
        waiter->on_made(waiter, err);
}

static void on_reply(struct keeper_link *link, const struct keeper_reply *reply, const char *text,
                     const char *hint)
{
    list_each (node, &link->requests) {
        struct link_request *request = container_of(node, struct link_request, node);
        struct error err = {0};

        if (request->request != reply->header.request)
            continue;
        if (reply->code != 0)
            error_set(&err, reply->code, "%s", text ? text : "");
        if (reply->code != 0 && hint && hint[0])
            error_hint(&err, "%s", hint);
        request_end(link, request, reply->code != 0 ? &err : NULL);
        return;
    }
}

static void on_deadline(struct loop_timer *timer)
{
    struct keeper_link *link = container_of(timer, struct keeper_link, deadline);
    uint64_t now_us = loop_now_us(link->control->loop);

    list_each_safe (node, &link->requests) {
        struct link_request *request = container_of(node, struct link_request, node);
        struct error err = {0};

        if (request->deadline_us > now_us)
            continue;
        if (request->deadline_us == 0)
            error_set(&err, ERR_LIMIT, "command and environment together are too large");
        else
            error_set(&err, ERR_TIMEOUT, "the keeper did not answer within %llu s",
                      (unsigned long long)request->deadline_ms / 1000);
        request_end(link, request, &err);
    }
    if (!list_is_empty(&link->requests))
        loop_timer_start_in(link->control->loop, timer, LOOP_MS(DEADLINE_CHECK_MS));
}

/* ---- what the keeper tells */

static void on_unit(struct keeper_link *link, const struct keeper_unit *message, const char *cgroup)
{
    struct unit_report report = {
        .unit = message->unit,
        .is_exited = message->state == KEEPER_UNIT_EXITED,
        .pid = message->pid,
        .started_at_us = message->started_at_us,
        .cgroup = cgroup,
        .exit = {.wait_status = message->wait_status,
                 .is_oom = message->is_oom,
                 .was_killed = message->was_killed,
                 .exited_at_us = message->exited_at_us},
    };

    platform_unit_report(link->control->platform, &report);
    if (report.is_exited && link->control->quit)
        quit_unit_exited(link->control);
}

static void on_held(struct control *control, const char *name, int *fds, size_t fd_count)
{
    if (fd_count != 1 || !name)
        return;
    if (strcmp(name, "snapshot") == 0)
        control->platform->is_first_life = false;
    else if (strcmp(name, READINESS_HELD_NAME) == 0)
        readiness_take(&control->readiness, &fds[0]);
    else if (strcmp(name, "keys") == 0)
        certificates_take_held(control->certificates, &fds[0]);
}

static void on_peer(struct control *control, const struct keeper_peer *message, int *fds,
                    size_t fd_count)
{
    if (fd_count != 1)
        return;
    if (message->role == KEEPER_ROLE_EDGE)
        edges_connect(&control->edges, message->role_index, &fds[0]);
    else if (message->role == KEEPER_ROLE_LOGD)
        logs_connect(&control->logs, &fds[0]);
    else if (message->role == KEEPER_ROLE_SIGNER)
        certificates_connect_signer(control->certificates, &fds[0]);
}

static void on_message(struct channel *channel, const void *message, size_t len, int *fds,
                       size_t fd_count)
{
    struct keeper_link *link = container_of(channel, struct keeper_link, channel);
    struct control *control = link->control;
    const struct keeper_header *header = message;
    size_t cursor = len >= sizeof(*header) ? keeper_message_size(header->type) : SIZE_MAX;

    if (len < cursor || (!control->platform && header->type != KEEPER_HELLO)) {
        log_error("a message of the keeper has no sense here");
        return;
    }
    switch (header->type) {
    case KEEPER_HELLO:
        control_on_hello(control, message, len);
        break;
    case KEEPER_PEER:
        on_peer(control, message, fds, fd_count);
        break;
    case KEEPER_QUIT:
        if (((const struct keeper_quit *)message)->flags & KEEPER_QUIT_REPLACED)
            quit_leave(control);
        else
            quit_begin(control, ((const struct keeper_quit *)message)->grace_ms);
        break;
    case KEEPER_ROLE:
        control_on_role(control, message, keeper_next_string(message, len, &cursor));
        break;
    case KEEPER_UPGRADE_STATE:
        control_on_upgrade(control, message, len);
        break;
    case KEEPER_COUNTERS:
        if (fd_count == 1)
            edges_map_counters(&control->edges,
                               ((const struct keeper_counters *)message)->role_index, fds[0]);
        break;
    case KEEPER_HELD:
        on_held(control, keeper_next_string(message, len, &cursor), fds, fd_count);
        break;
    case KEEPER_UNIT:
        (void)keeper_next_string(message, len, &cursor); /* the tag */
        on_unit(link, message, keeper_next_string(message, len, &cursor));
        break;
    case KEEPER_TABLE_END:
        link->has_table = true;
        control_on_table_end(control);
        break;
    case KEEPER_REPLY: {
        const char *text = keeper_next_string(message, len, &cursor);

        on_reply(link, message, text, text ? keeper_next_string(message, len, &cursor) : NULL);
        break;
    }
    default:
        log_warning("a message of the keeper of unknown type %u", header->type);
        break;
    }
}

static void on_closed(struct channel *channel)
{
    struct keeper_link *link = container_of(channel, struct keeper_link, channel);

    /* Without a keeper there is nothing to control, and it takes everyone along. */
    log_error("the keeper is gone");
    loop_stop(link->control->loop);
}

int keeper_link_start(struct keeper_link *link, struct control *control, int fd, struct error *err)
{
    link->control = control;
    list_init(&link->outgoing);
    list_init(&link->requests);
    link->deadline.on_timer = on_deadline;
    link->channel.on_message = on_message;
    link->channel.on_closed = on_closed;
    return channel_start(&link->channel, control->loop, fd, err);
}

void keeper_link_stop(struct keeper_link *link)
{
    channel_stop(&link->channel);
    loop_timer_stop(&link->deadline);
    list_each_safe (node, &link->outgoing)
        message_free(container_of(node, struct link_message, node));
    list_each_safe (node, &link->requests)
        request_free(container_of(node, struct link_request, node));
}
