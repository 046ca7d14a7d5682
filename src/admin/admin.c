#include "admin/admin.h"

#include "admin/admin_private.h"
#include "admin/admin_socket.h"
#include "base/log.h"
#include "os/file.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define LISTEN_BACKLOG 128
#define ANSWER_LIMIT   ((size_t)64 * 1024 * 1024)
/* A parsed body: its nodes are larger than its text. */
#define TREE_LIMIT    ((size_t)128 * 1024 * 1024)
#define INSTANCES_MAX 500

struct admin {
    struct loop *loop;
    struct control *control;
    struct http_server *server;
    struct http_server_handler handler;
    struct address address;
    int directory_fd;
};

const char *admin_parameter(struct admin_request *request, const char *name)
{
    return arena_slice_text(http_exchange_arena(request->exchange),
                            operation_match_value(&request->match, name));
}

int admin_parameter_u64(struct admin_request *request, const char *name, uint64_t *ret_value,
                        struct error *err)
{
    struct slice text = operation_match_value(&request->match, name);
    if (slice_to_u64(text, ret_value) < 0)
        return error_set(err, ERR_INVALID, "'" SLICE_FORMAT "' is not a number", SLICE_ARG(text));
    return 0;
}

/* ---- operations that answer with one JSON text */

/* `body` is NULL for requests without one. */
static int operate(struct admin_request *request, const struct json *body, struct buf *answer,
                   struct error *err)
{
    struct control *control = request->control;
    const struct control_actor *actor = &request->actor;
    const char *app = admin_parameter(request, "app");
    int64_t number;
    switch (request->match.id) {
    case OPERATION_openapi:
        operations_openapi(answer);
        return 0;
    case OPERATION_version:
        return control_version(control, answer, err);
    case OPERATION_upgrade:
        return control_upgrade_state(control, answer, err);
    case OPERATION_upgrade_begin:
        return control_upgrade_begin(control, json_get_text(body, "binary", NULL),
                                     json_get_boolean(body, "is_downgrade", false), answer, err);
    case OPERATION_status:
        return control_status(control, http_exchange_query(request->exchange, "app"), answer, err);
    case OPERATION_certificates:
        return control_certificates(control, answer, err);
    case OPERATION_certificate_renew:
        return control_certificate_renew(control, admin_parameter(request, "name"), answer, err);
    case OPERATION_trust:
        return control_trust(control, answer, err);
    case OPERATION_releases:
        return control_releases(control, app, answer, err);
    case OPERATION_plan:
        return control_plan(control, app, body, answer, err);
    case OPERATION_deploy_create:
        return control_deploy_create(control, app, body, actor, answer, err);
    case OPERATION_rollback:
        number = json_get_integer(body, "release", 0);
        if (number < 0)
            return error_set(err, ERR_INVALID, "'release' must be a positive number");
        return control_rollback(control, app, (uint64_t)number, actor, answer, err);
    case OPERATION_restart:
        return control_restart(control, app, json_get_text(body, "service", NULL), actor, answer,
                               err);
    case OPERATION_scale:
        number = json_get_integer(body, "instances", -1);
        if (number < 0 || number > INSTANCES_MAX)
            return error_set(err, ERR_INVALID, "'instances' must be a number from 0 to %d",
                             INSTANCES_MAX);
        if (!json_get_text(body, "service", NULL))
            return error_set(err, ERR_INVALID, "'service' is missing");
        return control_scale(control, app, json_get_text(body, "service", NULL), (unsigned)number,
                             actor, answer, err);
    case OPERATION_cancel:
        return control_cancel(control, app, actor, answer, err);
    case OPERATION_remove:
        return control_remove(control, app, actor, answer, err);
    case OPERATION_trash:
        return control_trash(control, answer, err);
    case OPERATION_trash_restore:
        return control_trash_restore(control, admin_parameter(request, "id"), actor, answer, err);
    case OPERATION_deploy_source:
    case OPERATION_deploy_events:
    case OPERATION_logs:
    case OPERATION_ROUTES:
        break;
    }
    return error_set(err, ERR_INTERNAL, "the operation streams");
}

static void answer(struct admin_request *request, const struct json *body)
{
    struct error err = {0};
    struct buf text = BUF_INIT(ANSWER_LIMIT);
    int r = operate(request, body, &text, &err);
    if (r == 0 && text.failed)
        r = error_set(&err, ERR_LIMIT, "the answer is too large");
    if (r < 0) {
        if (error_http_status(r) >= 500)
            log_failure(&err, "%s failed", operation_routes[request->match.id].identifier);
        err.code = r;
        http_exchange_answer_error(request->exchange, &err);
    } else {
        http_exchange_answer(request->exchange, 200, "application/json", buf_slice(&text));
    }
    buf_done(&text);
}

static void on_body(struct http_collected *collected, struct slice text, const struct error *failed)
{
    struct admin_request *request = container_of(collected, struct admin_request, collected);
    struct error err = {0};
    struct json *body = NULL;
    CLEANUP(arena_freep) struct arena *arena = NULL;
    if (failed) {
        http_exchange_answer_error(request->exchange, failed);
        return;
    }
    if (text.len) {
        arena = arena_new(TREE_LIMIT);
        if (json_parse(arena, text, &body, &err) < 0) {
            error_wrap(&err, "the body of the request is not valid JSON");
            http_exchange_answer_error(request->exchange, &err);
            return;
        }
        if (body->type != JSON_OBJECT) {
            error_set(&err, ERR_INVALID, "the body of the request must be a JSON object");
            http_exchange_answer_error(request->exchange, &err);
            return;
        }
    }
    answer(request, body);
}

/* ---- dispatch */

static bool is_refused(struct admin *admin, struct http_exchange *exchange,
                       struct operation_match *match)
{
    const struct peer *peer = http_exchange_peer(exchange);
    struct slice path = http_exchange_path(exchange), method = http_exchange_method(exchange);
    struct error err = {0};
    if (!control_peer_is_allowed(admin->control, peer->uid, peer->gid)) {
        error_set(&err, ERR_PERMISSION, "uid %u may not use this platform", (unsigned)peer->uid);
        error_hint(&err, "use sudo, or join the group: usermod -aG slipway NAME");
        http_exchange_answer_error(exchange, &err);
        return true;
    }
    switch (operation_match(method, path, match)) {
    case OPERATION_MATCHED:
        return false;
    case OPERATION_NO_PATH:
        error_set(&err, ERR_NOT_FOUND, "there is no operation at '" SLICE_FORMAT "'",
                  SLICE_ARG(path));
        error_hint(&err, "GET /openapi.json lists them");
        http_exchange_answer_error(exchange, &err);
        return true;
    case OPERATION_NO_METHOD:
        http_exchange_answer(exchange, 405, "application/json",
                             SLICE("{\"error\":{\"code\":\"invalid\",\"message\":\"this path does "
                                   "not know the method\"}}"));
        return true;
    }
    return true;
}

static void on_request(struct http_server_handler *handler, struct http_exchange *exchange)
{
    struct admin *admin = container_of(handler, struct admin, handler);
    struct operation_match match = {0};
    if (is_refused(admin, exchange, &match))
        return;
    struct arena *arena = http_exchange_arena(exchange);
    struct admin_request *request = arena_new_of(arena, struct admin_request);
    request->admin = admin;
    request->control = admin->control;
    request->loop = admin->loop;
    request->exchange = exchange;
    request->match = match;
    const struct peer *peer = http_exchange_peer(exchange);
    request->actor.who = arena_text(arena, control_peer_name(admin->control, peer->uid, peer->gid));
    request->collected.on_body = on_body;
    if (match.id == OPERATION_deploy_source)
        admin_upload(request);
    else if (match.id == OPERATION_deploy_events)
        admin_events(request);
    else if (match.id == OPERATION_logs)
        admin_logs(request);
    else
        http_exchange_collect(exchange, ADMIN_BODY_MAX, &request->collected);
}

/* ---- start */

int admin_start(struct loop *loop, struct control *control, const char *state_directory,
                struct admin **ret_admin, struct error *err)
{
    int listener = -1;
    struct admin *admin = calloc(1, sizeof(*admin));
    if (!admin)
        return error_set(err, ERR_LIMIT, "out of memory");
    admin->loop = loop;
    admin->control = control;
    admin->handler.on_request = on_request;
    admin->directory_fd = -1;
    int r = admin_socket_address(state_directory, &admin->address, &admin->directory_fd, err);
    if (r == 0) {
        mode_t mask = umask(0117); /* born 0660: never open to all, not even for a moment */
        r = socket_listen(&admin->address, LISTEN_BACKLOG, &listener, err);
        umask(mask);
    }
    if (r == 0)
        r = http_server_start(loop, listener, &admin->handler, &admin->server, err);
    if (r < 0) {
        fd_close(admin->directory_fd);
        free(admin);
        return r;
    }
    *ret_admin = admin;
    return 0;
}

void admin_stop(struct admin *admin)
{
    if (!admin)
        return;
    http_server_stop(admin->server);
    unlink(admin->address.un.sun_path);
    fd_close(admin->directory_fd);
    free(admin);
}
