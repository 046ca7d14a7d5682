/* socket.h - sockets: addresses, listeners, non-blocking connects, message channels with fd
 * passing. All fds are close-on-exec; all but channel tests' are non-blocking. */
#ifndef OS_SOCKET_H
#define OS_SOCKET_H

#include "base/error.h"
#include "base/slice.h"
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

struct address {
    socklen_t len; /* 0: none */
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
};

/* "127.0.0.1:8080", "[::1]:8080", "*:8080", ":8080", "unix:/path". No name look-ups. ERR_INVALID.
 */
MUST_USE int address_parse(const char *text, struct address *ret_address, struct error *err);
#define ADDRESS_TEXT_SIZE 128
char *address_format(const struct address *address, char *buffer); /* as address_parse reads it */
unsigned address_port(const struct address *address);              /* 0 for unix */

/* Bound and listening; unix: an old socket file that nothing answers on is replaced. */
MUST_USE int socket_listen(const struct address *address, int backlog, int *ret_fd,
                           struct error *err);
/* Begin a non-blocking connect; finished when writable, then ask socket_error. */
MUST_USE int socket_connect(const struct address *address, int *ret_fd, struct error *err);
int socket_error(int fd); /* SO_ERROR: 0 or errno */
MUST_USE int socket_set_nodelay(int fd);
/* True when 127.0.0.1:port can be bound now. */
bool socket_port_is_free(unsigned port);
struct peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};
MUST_USE int socket_peer(int fd, struct peer *ret_peer, struct error *err); /* SO_PEERCRED */

/* Channels: SOCK_SEQPACKET unix pairs; one message a call, at most CHANNEL_FDS_MAX descriptors with
 * it. */
#define CHANNEL_FDS_MAX     8
#define CHANNEL_MESSAGE_MAX (160 * 1024)
MUST_USE int
channel_pair(int ret_fds[2],
             struct error *err); /* non-blocking both, buffers fit CHANNEL_MESSAGE_MAX */
/* 0; ERR_UNAVAILABLE when the queue is full (try again when writable); ERR_IO when the peer is
 * gone. fds stay the caller's. */
MUST_USE int channel_send(int fd, const void *message, size_t len, const int *fds, size_t fd_count);
/* The length in *ret_len, 0 = the peer is gone; ERR_UNAVAILABLE when nothing is there; ERR_LIMIT
 * when the message was larger than capacity (message and fds are dropped). When this process may
 * not open all of its descriptors, the message comes without any, so that whoever sent it can be
 * told: a receiver that needs one must look whether it is there. Received fds are the caller's,
 * close-on-exec. */
MUST_USE int channel_receive(int fd, void *message, size_t capacity, size_t *ret_len,
                             int ret_fds[CHANNEL_FDS_MAX], size_t *ret_fd_count);

#endif
