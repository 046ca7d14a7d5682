/* channel_socket.c - message channels: SOCK_SEQPACKET pairs that carry descriptors (unix(7),
 * SCM_RIGHTS). */
#include "os/file.h"
#include "os/socket.h"
#include <errno.h>

/* Room for a few of the largest messages, with the kernel's own overhead. */
#define CHANNEL_BUFFER_BYTES (1024 * 1024)

static int buffer_set(int fd)
{
    int size = CHANNEL_BUFFER_BYTES;
    socklen_t len = sizeof(size);
    /* Beyond the system's ceiling only with privilege; the ceiling itself fits one message. */
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, len) != 0 &&
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, len) != 0)
        return errno;
    if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &len) != 0)
        return errno;
    return size > CHANNEL_MESSAGE_MAX ? 0 : EMSGSIZE;
}

int channel_pair(int ret_fds[2], struct error *err)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
        return error_errno(err, errno, "unable to create a channel");
    int r = buffer_set(fds[0]);
    if (r == 0)
        r = buffer_set(fds[1]);
    if (r != 0) {
        fd_close(fds[0]);
        fd_close(fds[1]);
        return error_errno(err, r, "unable to size the buffers of a channel");
    }
    ret_fds[0] = fds[0];
    ret_fds[1] = fds[1];
    return 0;
}

union control {
    struct cmsghdr header; /* for its alignment */
    char bytes[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int))];
};

int channel_send(int fd, const void *message, size_t len, const int *fds, size_t fd_count)
{
    assert(len > 0 && fd_count <= CHANNEL_FDS_MAX); /* an empty message would read as the end */
    if (len > CHANNEL_MESSAGE_MAX)
        return ERR_LIMIT;
    struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = len};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    union control control = {0};
    if (fd_count) {
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(rights), fds, fd_count * sizeof(int));
    }
    for (;;) {
        if (sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return 0;
        switch (errno) {
        case EINTR:
            continue;
        case EAGAIN:
        case ENOBUFS:
        case ETOOMANYREFS: /* too many descriptors under way: the reader is behind */
            return ERR_UNAVAILABLE;
        case EMSGSIZE:
            return ERR_LIMIT;
        default:
            return ERR_IO;
        }
    }
}

static size_t take_fds(struct msghdr *header, int *ret_fds)
{
    size_t count = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t here = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < here; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(fd));
            if (count < CHANNEL_FDS_MAX)
                ret_fds[count++] = fd;
            else
                fd_close(fd);
        }
    }
    return count;
}

int channel_receive(int fd, void *message, size_t capacity, size_t *ret_len,
                    int ret_fds[CHANNEL_FDS_MAX], size_t *ret_fd_count)
{
    struct iovec part = {.iov_base = message, .iov_len = capacity};
    union control control;
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof(control.bytes)};
    ssize_t n;
    do {
        n = recvmsg(fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return ERR_UNAVAILABLE;
    if (n < 0 && errno != ECONNRESET)
        return ERR_IO;
    int fds[CHANNEL_FDS_MAX];
    size_t fd_count = n > 0 ? take_fds(&header, fds) : 0;
    if (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        for (size_t i = 0; i < fd_count; i++)
            fd_close(fds[i]);
        fd_count = 0;
    }
    if (header.msg_flags & MSG_TRUNC)
        return ERR_LIMIT;
    *ret_len = n > 0 ? (size_t)n : 0; /* a reset is an end: the peer left without reading all */
    if (fd_count)
        memcpy(ret_fds, fds, fd_count * sizeof(fds[0]));
    *ret_fd_count = fd_count;
    return 0;
}
