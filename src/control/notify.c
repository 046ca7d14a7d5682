#include "control/notify.h"
#include "base/log.h"
#include "base/slice.h"
#include "control/control_private.h"
#include "os/file.h"
#include "os/random.h"
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DATAGRAM_MAX 4096

static bool says_ready(struct slice text)
{
    while (text.len > 0)
        if (slice_eq(slice_cut(&text, '\n'), SLICE("READY=1")))
            return true;
    return false;
}

static void on_datagram(struct notify *notify, struct slice text, const struct ucred *sender)
{
    pid_t session = getsid(sender->pid);

    if (session <= 0 || !says_ready(text) || probes_notify(&notify->control->probes, session))
        return;
    notify->recent[notify->recent_next++ % NOTIFY_RECENT] = session;
}

static void on_event(struct loop_io *io, unsigned events)
{
    struct notify *notify = container_of(io, struct notify, io);

    (void)events;
    for (unsigned i = 0; i < 64; i++) {
        char text[DATAGRAM_MAX];
        union {
            char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int) * 64)];
            struct cmsghdr alignment;
        } control;
        struct iovec part = {text, sizeof(text)};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof(control.bytes)};
        ssize_t len = recvmsg(io->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        struct ucred sender = {0};

        if (len < 0)
            return;
        for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head;
             head = CMSG_NXTHDR(&message, head)) {
            if (head->cmsg_level != SOL_SOCKET)
                continue;
            if (head->cmsg_type == SCM_CREDENTIALS)
                memcpy(&sender, CMSG_DATA(head), sizeof(sender));
            for (size_t k = 0;
                 head->cmsg_type == SCM_RIGHTS && k < (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                 k++) {
                int fd;

                memcpy(&fd, CMSG_DATA(head) + k * sizeof(int), sizeof(int));
                fd_close(fd);
            }
        }
        if (sender.pid > 0)
            on_datagram(notify, (struct slice){text, (size_t)len}, &sender);
    }
}

void notify_init(struct notify *notify, struct control *control)
{
    notify->control = control;
    notify->io.fd = -1;
    notify->io.on_event = on_event;
}

void notify_done(struct notify *notify)
{
    loop_io_stop(&notify->io);
    fd_closep(&notify->io.fd);
}

void notify_take(struct notify *notify, int *fd)
{
    struct sockaddr_un address = {0};
    socklen_t len = sizeof(address);

    if (getsockname(*fd, (struct sockaddr *)&address, &len) != 0 ||
        len <= offsetof(struct sockaddr_un, sun_path) + 1 || address.sun_path[0] != 0)
        return;
    (void)snprintf(notify->address, sizeof(notify->address), "@%.*s",
                   (int)(len - offsetof(struct sockaddr_un, sun_path) - 1), address.sun_path + 1);
    fd_close(notify->io.fd);
    notify->io.fd = TAKE_FD(*fd);
}

static int open_socket(struct notify *notify, int *ret_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char token[25];
    int yes = 1;
    CLEANUP(fd_closep)
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    (void)snprintf(notify->address, sizeof(notify->address), "@slipway-notify-%s",
                   random_token(token, 24));
    size_t len = strlen(notify->address);
    memcpy(address.sun_path + 1, notify->address + 1, len - 1);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes)) != 0 ||
        bind(fd, (struct sockaddr *)&address,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) != 0)
        return ERR_SYSTEM;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

void notify_open(struct notify *notify)
{
    if (notify->io.fd >= 0)
        return;
    if (open_socket(notify, &notify->io.fd) != 0) {
        log_error("unable to make the notify socket: services with `ready: notify` cannot start");
        return;
    }
    keeper_link_hold(&notify->control->link, NOTIFY_HELD_NAME, notify->io.fd);
}

void notify_listen(struct notify *notify)
{
    struct error err = {0};

    if (notify->io.fd >= 0 &&
        loop_io_start(notify->control->loop, &notify->io, LOOP_READ, &err) != 0)
        log_failure(&err, "unable to listen on the notify socket");
}

bool notify_was_ready(struct notify *notify, int32_t session)
{
    for (unsigned i = 0; i < NOTIFY_RECENT; i++)
        if (notify->recent[i] == session && session > 0) {
            notify->recent[i] = 0;
            return true;
        }
    return false;
}
