/* The command line's talk with the platform: one loop and one connection a call. */
#include "cli/client.h"

#include "admin/admin_socket.h"
#include "base/clock.h"
#include "os/file.h"
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#define CALL_TIMEOUT_MS 30000u
#define ANSWER_LIMIT    ((size_t)64 * 1024 * 1024)
#define RETRY_FOR_US    (10u * 1000000u)
#define RETRY_PAUSE_MS  50

/* ---- is it there */

/* The inode of a held lock in a line of /proc/locks; 0: none.
 * "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF"; who waits for a lock has "->" behind the
 * number. */
static uint64_t lock_inode(struct slice line)
{
    uint64_t inode = 0;
    bool is_held = slice_find(line, SLICE("FLOCK")) >= 0 && slice_find(line, SLICE("->")) < 0;
    while (is_held && line.len) {
        struct slice inode_part = slice_cut(&line, ' ');
        struct slice major = slice_cut(&inode_part, ':'), minor = slice_cut(&inode_part, ':');
        if (major.len && minor.len && slice_to_u64(inode_part, &inode) == 0)
            return inode;
    }
    return 0;
}

/* The keeper locks <state>/lock with flock(2). /proc/locks tells so without taking the lock, which
 * would get in the way of a keeper that starts this moment. */
bool platform_is_there(const char *state_directory)
{
    char path[4096], line[512];
    struct stat status;
    bool is_found = false;
    snprintf(path, sizeof(path), "%s/lock", state_directory);
    if (stat(path, &status) != 0)
        return false;
    FILE *locks = fopen("/proc/locks", "re");
    if (!locks)
        return true; /* unknown: better to wait than to give up on a platform that restarts */
    while (!is_found && fgets(line, sizeof(line), locks))
        is_found = lock_inode(slice_from(line)) == status.st_ino;
    fclose(locks);
    return is_found;
}

int platform_absent(const struct command *command, struct error *err)
{
    error_set(err, ERR_UNAVAILABLE, "nothing serves at '%s'", command->state_directory);
    return error_hint(err,
                      "start the platform with 'slipway serve', or name its folder with --state");
}

/* ---- calls */

int platform_error(int status, struct slice body, struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(1024 * 1024);
    struct json *json = NULL;
    if (json_parse(arena, body, &json, NULL) < 0 || !json_get(json, "error"))
        return error_set(err, ERR_FAILED, "the platform answered with status %d", status);
    const struct json *story = json_get(json, "error");
    int code = error_from_name(json_get_text(story, "code", "failed"));
    error_set(err, code, "%s", json_get_text(story, "message", error_text(code)));
    if (json_get_text(story, "hint", NULL))
        error_hint(err, "%s", json_get_text(story, "hint", ""));
    return code;
}

int client_request(const struct command *command, struct address *ret_address,
                   int *ret_directory_fd, struct http_client_request *ret_request,
                   struct error *err)
{
    int r = admin_socket_address(command->state_directory, ret_address, ret_directory_fd, err);
    if (r < 0)
        return r;
    *ret_request = (struct http_client_request){
        .address = ret_address, .host = "localhost", .body_fd = -1, .body_bytes = -1};
    return 0;
}

struct exchange {
    struct http_client_handler handler;
    struct loop *loop;
    struct arena *arena;
    struct slice body;
    int status, code;
    struct error err;
};

static void on_done(struct http_client_handler *handler,
                    const struct http_client_response *response)
{
    struct exchange *exchange = container_of(handler, struct exchange, handler);
    exchange->status = response->status;
    exchange->code = response->code;
    if (response->err)
        exchange->err = *response->err;
    else
        exchange->body = arena_slice(exchange->arena, response->body);
    loop_stop(exchange->loop);
}

/* One attempt. `exchange` says how it went; a negative result is a failure of this side. */
static int call_once(struct command *command, const struct call *call, struct exchange *exchange,
                     struct error *err)
{
    struct http_client_request request;
    struct address address;
    CLEANUP(fd_closep) int directory_fd = -1;
    *exchange = (struct exchange){.handler = {.on_done = on_done}, .arena = command->arena};
    int r = client_request(command, &address, &directory_fd, &request, err);
    if (r == ERR_NOT_FOUND) { /* no state folder: nobody serves */
        error_copy(&exchange->err, err);
        exchange->code = ERR_UNAVAILABLE;
        return 0;
    }
    if (r == 0)
        r = loop_new(&exchange->loop, err);
    if (r < 0)
        return r;
    request.method = call->method;
    request.target = call->target;
    request.body = call->body;
    request.content_type = call->body.len ? "application/json" : NULL;
    request.timeout_ms = CALL_TIMEOUT_MS;
    request.response_limit_bytes = ANSWER_LIMIT;
    r = http_client_start(exchange->loop, &request, &exchange->handler, NULL, err);
    if (r == 0)
        r = loop_run(exchange->loop, err);
    loop_free(exchange->loop);
    return r;
}

/* Whether it makes sense to try again: the platform is there, and the call had no effect yet or may
 * be repeated. */
static bool is_worth_another(struct command *command, const struct call *call,
                             const struct exchange *exchange)
{
    bool was_sent = exchange->code != ERR_UNAVAILABLE;
    bool is_broken = exchange->code == ERR_IO || exchange->code == ERR_UNAVAILABLE ||
                     (exchange->code == 0 && exchange->status == 503);
    return is_broken && (!was_sent || call->is_repeatable) &&
           platform_is_there(command->state_directory);
}

int platform_call(struct command *command, const struct call *call, struct slice *ret_text,
                  struct error *err)
{
    uint64_t end_us = clock_monotonic_us() + RETRY_FOR_US;
    struct exchange exchange;
    for (;;) {
        int r = call_once(command, call, &exchange, err);
        if (r < 0)
            return r;
        if (clock_monotonic_us() >= end_us || !is_worth_another(command, call, &exchange))
            break;
        usleep(RETRY_PAUSE_MS * 1000);
    }
    bool has_no_effect =
        exchange.code == ERR_UNAVAILABLE || (exchange.code == ERR_IO && call->is_repeatable);
    if (has_no_effect && !platform_is_there(command->state_directory))
        return platform_absent(command, err);
    if (exchange.code == ERR_PERMISSION) {
        error_copy(err, &exchange.err);
        return error_hint(err, "use sudo, or join the group: usermod -aG slipway NAME");
    }
    if (exchange.code) {
        error_copy(err, &exchange.err);
        error_wrap(err, "no answer from the platform at '%s'", command->state_directory);
        return error_hint(err, "'slipway status' shows what was done");
    }
    if (exchange.status < 200 || exchange.status > 299)
        return platform_error(exchange.status, exchange.body, err);
    *ret_text = exchange.body;
    return 0;
}

int platform_call_json(struct command *command, const struct call *call, struct slice *ret_text,
                       struct json **ret_json, struct error *err)
{
    struct slice text = {0};
    int r = platform_call(command, call, &text, err);
    if (r == 0 && json_parse(command->arena, text, ret_json, err) < 0)
        r = error_wrap(err, "the platform's answer is not JSON");
    if (r == 0 && ret_text)
        *ret_text = text;
    return r;
}

/* ---- targets */

void append_encoded(struct buf *buf, const char *text)
{
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        bool is_plain = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                        (byte >= 'A' && byte <= 'Z') || strchr("-._~", byte) != NULL;
        if (is_plain)
            buf_append_byte(buf, *text);
        else
            buf_printf(buf, "%%%02X", byte);
    }
}

const char *encoded(struct command *command, const char *text)
{
    struct buf buf = BUF_INIT(65536);
    append_encoded(&buf, text);
    const char *result = arena_text(command->arena, buf_text(&buf));
    buf_done(&buf);
    return result;
}

const char *target_format(struct command *command, const char *format, ...)
{
    struct buf buf = BUF_INIT(65536);
    va_list args;
    va_start(args, format);
    buf_vprintf(&buf, format, args);
    va_end(args);
    const char *result = arena_text(command->arena, buf_text(&buf));
    buf_done(&buf);
    return result;
}

/* ---- which app */

static int only_app(struct command *command, const char **ret_app, struct error *err)
{
    struct call call = {.method = "GET", .target = "/v1/status", .is_repeatable = true};
    struct json *status = NULL;
    int r = platform_call_json(command, &call, NULL, &status, err);
    if (r < 0)
        return r;
    const struct json *apps = json_get(status, "apps");
    const char *name = apps && apps->count == 1 ? json_get_text(apps->first, "app", NULL) : NULL;
    if (!name) {
        error_set(err, ERR_USAGE, "which app? there is no %s here and %zu apps on the platform",
                  MANIFEST_FILE, apps ? apps->count : 0);
        return error_hint(err, "name it: slipway %s %s", command->verb->name, command->verb->usage);
    }
    *ret_app = name;
    return 0;
}

int command_app(struct command *command, const char *argument, const char **ret_app,
                struct error *err)
{
    struct manifest *manifest;
    struct manifest_findings findings;
    if (argument) {
        *ret_app = argument;
        return 0;
    }
    if (!file_exists(MANIFEST_FILE))
        return only_app(command, ret_app, err);
    int r = manifest_load(command->arena, ".", NULL, &manifest, &findings, err);
    if (r < 0) {
        error_wrap(err, "unable to tell which app is meant");
        return error_hint(err, "'slipway validate' lists the mistakes; or name the app");
    }
    *ret_app = manifest->app;
    return 0;
}
