/* One row a message type: who may send it, and what answers. */
#include "keeper/keeper_private.h"

#include <inttypes.h>

struct request {
    struct role *role;
    const void *message;
    size_t len;
    int *fds;
    size_t fd_count;
};

/* A result above zero: the reply comes later. */
#define IS_PENDING 1

static int handle_ready(struct keeper *keeper, const struct request *request, struct error *err)
{
    (void)keeper;
    (void)err;
    role_ready(request->role);
    return 0;
}

static int handle_spawn(struct keeper *keeper, const struct request *request, struct error *err)
{
    static struct message_spawn spawn; /* large, and one at a time */
    int none = -1, *stdin_fd = &none;
    int code = message_read_spawn(request->message, request->len, &keeper->policy, &spawn, err);

    if (code < 0)
        return code;
    if (spawn.fixed.flags & KEEPER_SPAWN_STDIN) {
        /* Well-behaved senders send it: it was lost on the way. */
        if (request->fd_count == 0)
            return error_set(err, ERR_LIMIT, "no descriptor is free for the input of the unit");
        if (request->fd_count != 1)
            return error_set(err, ERR_INVALID, "stdin is one descriptor, not %zu",
                             request->fd_count);
        stdin_fd = &request->fds[0];
    }
    code = unit_spawn(keeper, &spawn, stdin_fd, request->role->life, err);
    return code < 0 ? error_wrap(err, "unit %" PRIu64 " (%s)", spawn.fixed.unit, spawn.tag)
                    : IS_PENDING;
}

static int handle_stop(struct keeper *keeper, const struct request *request, struct error *err)
{
    struct keeper_stop stop;
    int code = message_read_stop(request->message, request->len, &stop, err);

    return code < 0 ? code : unit_stop(keeper, &stop, err);
}

static int handle_forget(struct keeper *keeper, const struct request *request, struct error *err)
{
    struct keeper_forget forget;
    int code = message_read_forget(request->message, request->len, &forget, err);

    return code < 0 ? code : unit_forget(keeper, forget.unit, err);
}

static int handle_directory(struct keeper *keeper, const struct request *request, struct error *err)
{
    struct message_directory directory;
    bool is_pending = false;
    int code =
        message_read_directory(request->message, request->len, &keeper->policy, &directory, err);

    if (code == 0)
        code = directory_request(keeper, &directory, request->role->life, &is_pending, err);
    return code < 0 ? code : is_pending ? IS_PENDING : 0;
}

static int handle_hold(struct keeper *keeper, const struct request *request, struct error *err)
{
    const char *name;
    int code = message_read_name(request->message, request->len, &name, err);

    if (code < 0)
        return code;
    if (request->fd_count == 0)
        return error_set(err, ERR_LIMIT, "no descriptor is free to hold '%s'", name);
    if (request->fd_count != 1)
        return error_set(err, ERR_INVALID, "HOLD comes with one descriptor, not %zu",
                         request->fd_count);
    return held_put(keeper, name, &request->fds[0], err);
}

static int handle_drop(struct keeper *keeper, const struct request *request, struct error *err)
{
    const char *name;
    int code = message_read_name(request->message, request->len, &name, err);

    return code < 0 ? code : held_drop(keeper, name, err);
}

static int handle_upgrade(struct keeper *keeper, const struct request *request, struct error *err)
{
    struct keeper_upgrade upgrade;
    const char *path;
    int code = message_read_upgrade(request->message, request->len, &upgrade, &path, err);

    if (code == 0)
        code = upgrade_begin(keeper, &upgrade, path, request->role->life, err);
    return code < 0 ? code : IS_PENDING;
}

static int handle_stream_done(struct keeper *keeper, const struct request *request,
                              struct error *err)
{
    uint64_t id;
    int code = message_read_stream_done(request->message, request->len, &id, err);

    if (code == 0)
        stream_done(keeper, id);
    return code;
}

#define BIT(role) (1u << (role))

static const struct {
    uint32_t type;
    const char *name;
    unsigned senders;
    int (*handle)(struct keeper *keeper, const struct request *request, struct error *err);
} kinds[] = {
    {KEEPER_READY, "READY",
     BIT(KEEPER_ROLE_CONTROL) | BIT(KEEPER_ROLE_EDGE) | BIT(KEEPER_ROLE_LOGD) |
         BIT(KEEPER_ROLE_SIGNER),
     handle_ready},
    {KEEPER_SPAWN, "SPAWN", BIT(KEEPER_ROLE_CONTROL), handle_spawn},
    {KEEPER_STOP, "STOP", BIT(KEEPER_ROLE_CONTROL), handle_stop},
    {KEEPER_FORGET, "FORGET", BIT(KEEPER_ROLE_CONTROL), handle_forget},
    {KEEPER_MAKE_DIRECTORY, "MAKE_DIRECTORY", BIT(KEEPER_ROLE_CONTROL), handle_directory},
    {KEEPER_HOLD, "HOLD", BIT(KEEPER_ROLE_CONTROL), handle_hold},
    {KEEPER_DROP, "DROP", BIT(KEEPER_ROLE_CONTROL), handle_drop},
    {KEEPER_UPGRADE, "UPGRADE", BIT(KEEPER_ROLE_CONTROL), handle_upgrade},
    {KEEPER_STREAM_DONE, "STREAM_DONE", BIT(KEEPER_ROLE_LOGD), handle_stream_done},
};

void request_received(struct role *role, const void *message, size_t len, int *fds, size_t fd_count)
{
    struct keeper *keeper = role->keeper;
    uint32_t type = message_type(message, len);
    struct request request = {role, message, len, fds, fd_count};
    struct error err = {0};
    int code = ERR_INVALID;
    const char *name = "a message of unknown type";

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (kinds[i].type != type)
            continue;
        name = kinds[i].name;
        code = kinds[i].senders & BIT(role->entry->role)
                   ? kinds[i].handle(keeper, &request, &err)
                   : error_set(&err, ERR_PERMISSION, "not for this role");
        break;
    }
    if (code == IS_PENDING)
        return;
    if (code < 0 && !err.code)
        error_set(&err, code, "unknown type %u", type);
    /* What a request was refused for is told to the one who asked; only malformed ones are for the
     * keeper's log. */
    if (code == ERR_INVALID || code == ERR_PERMISSION)
        log_failure(&err, "%s sent %s", role_name(role), name);
    /* Only control counts its requests: what an edge says must not pass for an answer to it. */
    if (role->entry->role == KEEPER_ROLE_CONTROL)
        request_reply(keeper, role->life, message_request(message, len), &err);
}

void request_reply(struct keeper *keeper, uint64_t control_life, uint32_t request,
                   const struct error *err)
{
    struct role *control = role_find(keeper, KEEPER_ROLE_CONTROL, 0);
    struct keeper_reply message = {.header = {.type = KEEPER_REPLY, .request = request},
                                   .code = err ? err->code : 0};
    bool is_failed = err && err->code;
    char text[KEEPER_TEXT_MAX];
    const char *strings[] = {text, is_failed ? err->hint : ""};

    /* A number of an earlier control means nothing to this one; and 0 asks for no reply. */
    if (!control || control->life != control_life || !request)
        return;
    (void)snprintf(text, sizeof text, "%.*s", (int)sizeof text - 1, is_failed ? err->text : "");
    role_post(control, &message, sizeof message, strings, ARRAY_LEN(strings), -1);
}
