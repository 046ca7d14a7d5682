#include "control/readiness.h"
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

static void on_datagram(struct readiness *readiness, struct slice text, const struct ucred *sender)
{
    pid_t session = getsid(sender->pid);

    if (session <= 0 || !says_ready(text) || probes_notify(&readiness->control->probes, session))
        return;
    readiness->recent[readiness->recent_next++ % READINESS_RECENT] = session;
}

static void on_event(struct loop_io *io, unsigned events)
{
    struct readiness *readiness = container_of(io, struct readiness, io);

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
            on_datagram(readiness, (struct slice){text, (size_t)len}, &sender);
    }
}

void readiness_init(struct readiness *readiness, struct control *control)
{
    readiness->control = control;
    readiness->io.fd = -1;
    readiness->io.on_event = on_event;
}

void readiness_done(struct readiness *readiness)
{
    loop_io_stop(&readiness->io);
    fd_closep(&readiness->io.fd);
}

void readiness_take(struct readiness *readiness, int *fd)
{
    struct sockaddr_un address = {0};
    socklen_t len = sizeof(address);

    if (getsockname(*fd, (struct sockaddr *)&address, &len) != 0 ||
        len <= offsetof(struct sockaddr_un, sun_path) + 1 || address.sun_path[0] != 0)
        return;
    (void)snprintf(readiness->address, sizeof(readiness->address), "@%.*s",
                   (int)(len - offsetof(struct sockaddr_un, sun_path) - 1), address.sun_path + 1);
    fd_close(readiness->io.fd);
    readiness->io.fd = TAKE_FD(*fd);
}

static int open_socket(struct readiness *readiness, int *ret_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char token[25];
    int yes = 1;
    CLEANUP(fd_closep)
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    (void)snprintf(readiness->address, sizeof(readiness->address), "@slipway-notify-%s",
                   random_token(token, 24));
    size_t len = strlen(readiness->address);
    memcpy(address.sun_path + 1, readiness->address + 1, len - 1);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes)) != 0 ||
        bind(fd, (struct sockaddr *)&address,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) != 0)
        return ERR_SYSTEM;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

void readiness_open(struct readiness *readiness)
{
    if (readiness->io.fd >= 0)
        return;
    if (open_socket(readiness, &readiness->io.fd) != 0) {
        log_error("unable to make the notify socket: services with `ready: notify` cannot start");
        return;
    }
    keeper_link_hold(&readiness->control->link, READINESS_HELD_NAME, readiness->io.fd);
}

void readiness_listen(struct readiness *readiness)
{
    struct error err = {0};

    if (readiness->io.fd >= 0 &&
        loop_io_start(readiness->control->loop, &readiness->io, LOOP_READ, &err) != 0)
        log_failure(&err, "unable to listen on the notify socket");
}

bool readiness_was_ready(struct readiness *readiness, int32_t session)
{
    for (unsigned i = 0; i < READINESS_RECENT; i++)
        if (readiness->recent[i] == session && session > 0) {
            readiness->recent[i] = 0;
            return true;
        }
    return false;
}
