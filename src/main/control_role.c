/* The control role: control decides, admin is its door. They meet here because neither room may
 * know the other in both directions. */
#include "admin/admin.h"
#include "base/keeper_protocol.h"
#include "base/log.h"
#include "control/control.h"
#include "main/roles.h"
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#define HELLO_DEADLINE_MS 10000

struct control_role {
    struct loop *loop;
    struct control *control;
    struct admin *admin;
    struct control_handler handler;
    char state_directory[KEEPER_TEXT_MAX + 4096];
    bool is_failed;
};

/* Look at the keeper's first message without taking it: control reads it again. */
static int role_hello(struct control_role *role, struct error *err)
{
    union {
        struct keeper_hello hello;
        char bytes[sizeof(struct keeper_hello) + sizeof(role->state_directory)];
    } message;
    struct pollfd channel = {.fd = KEEPER_CHANNEL_FD, .events = POLLIN};
    size_t cursor = sizeof(message.hello);
    if (poll(&channel, 1, HELLO_DEADLINE_MS) != 1)
        return error_set(err, ERR_TIMEOUT, "the keeper said nothing");
    ssize_t len = recv(channel.fd, &message, sizeof(message), MSG_PEEK);
    if (len < 0)
        return error_errno(err, errno, "unable to hear the keeper");
    if ((size_t)len < sizeof(message.hello) || message.hello.header.type != KEEPER_HELLO)
        return error_set(err, ERR_INVALID, "the keeper did not greet");
    const char *directory = keeper_next_string(&message, (size_t)len, &cursor);
    if (!directory || strlen(directory) >= sizeof(role->state_directory))
        return error_set(err, ERR_INVALID, "the keeper named no state folder");
    memcpy(role->state_directory, directory, strlen(directory) + 1);
    log_init("control", (enum log_level)MIN(message.hello.log_level, (uint32_t)LOG_DEBUG));
    return 0;
}

static void on_ready(struct control_handler *handler, struct control *control)
{
    struct control_role *role = container_of(handler, struct control_role, handler);
    struct error err = {0};
    if (admin_start(role->loop, control, role->state_directory, &role->admin, &err) < 0) {
        log_failure(&err, "unable to open the admin socket");
        role->is_failed = true;
        loop_stop(role->loop);
    }
}

static void on_quit(struct control_handler *handler)
{
    loop_stop(container_of(handler, struct control_role, handler)->loop);
}

int control_main(void)
{
    struct control_role role = {.handler = {on_ready, on_quit}};
    struct control_settings settings = {.state_directory = role.state_directory,
                                        .keeper_fd = KEEPER_CHANNEL_FD};
    struct error err = {0};
    log_init("control", LOG_INFO);
    int r = role_hello(&role, &err);
    if (r == 0)
        r = loop_new(&role.loop, &err);
    if (r == 0)
        r = control_new(role.loop, &settings, &role.handler, &role.control, &err);
    if (r == 0)
        r = loop_run(role.loop, &err);
    if (r < 0)
        log_failure(&err, "the control role ends");
    admin_stop(role.admin);
    if (role.control)
        control_free(role.control);
    if (role.loop && role.control)
        loop_free(role.loop);
    return r < 0 || role.is_failed ? error_exit_status(r < 0 ? r : ERR_FAILED) : 0;
}
