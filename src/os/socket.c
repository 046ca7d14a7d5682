#include "os/socket.h"

#include "os/file.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(struct error *err, int errno_value, const char *what, const struct address *address)
{
    char text[ADDRESS_TEXT_SIZE];
    int code =
        error_errno(err, errno_value, "unable to %s %s", what, address_format(address, text));
    switch (errno_value) {
    case EADDRINUSE:
        code = ERR_CONFLICT;
        break;
    case ECONNREFUSED:
    case ECONNRESET:
    case EAGAIN:
    case ENETUNREACH:
    case EHOSTUNREACH:
        code = ERR_UNAVAILABLE;
        break;
    default:
        break;
    }
    if (err)
        err->code = code;
    return code;
}

static int socket_new(int family, int *ret_fd)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    *ret_fd = fd;
    return 0;
}

static int option_set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) == 0 ? 0 : errno;
}

/* A socket file that outlived its listener: present, a socket, and nobody accepts. */
static bool is_abandoned(const struct address *address)
{
    struct stat status;
    CLEANUP(fd_closep) int fd = -1;
    if (lstat(address->un.sun_path, &status) != 0 || !S_ISSOCK(status.st_mode) ||
        socket_new(AF_UNIX, &fd) != 0)
        return false;
    return connect(fd, &address->any, address->len) != 0 && errno == ECONNREFUSED;
}

/* 0 or errno. */
static int bind_and_listen(int fd, const struct address *address, int backlog)
{
    sa_family_t family = address->any.sa_family;
    int r = 0;
    if (family != AF_UNIX)
        r = option_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (r == 0 && family == AF_INET6)
        r = option_set(fd, IPPROTO_IPV6, IPV6_V6ONLY,
                       !IN6_IS_ADDR_UNSPECIFIED(&address->in6.sin6_addr));
    if (r != 0)
        return r;
    if (bind(fd, &address->any, address->len) != 0) {
        if (errno != EADDRINUSE || family != AF_UNIX)
            return errno;
        if (!is_abandoned(address))
            return EADDRINUSE;
        unlink(address->un.sun_path);
        if (bind(fd, &address->any, address->len) != 0)
            return errno;
    }
    return listen(fd, backlog) == 0 ? 0 : errno;
}

int socket_listen(const struct address *address, int backlog, int *ret_fd, struct error *err)
{
    CLEANUP(fd_closep) int fd = -1;
    struct address actual = *address;
    int r = socket_new(actual.any.sa_family, &fd);
    if (r == EAFNOSUPPORT && actual.any.sa_family == AF_INET6 &&
        IN6_IS_ADDR_UNSPECIFIED(&actual.in6.sin6_addr)) {
        /* A kernel without IPv6: every address is every IPv4 address. */
        in_port_t port = actual.in6.sin6_port;
        actual = (struct address){.len = sizeof(actual.in)};
        actual.in.sin_family = AF_INET;
        actual.in.sin_port = port;
        r = socket_new(AF_INET, &fd);
    }
    if (r == 0)
        r = bind_and_listen(fd, &actual, backlog);
    if (r != 0)
        return fail(err, r, "listen on", address);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int socket_connect(const struct address *address, int *ret_fd, struct error *err)
{
    CLEANUP(fd_closep) int fd = -1;
    int r = socket_new(address->any.sa_family, &fd);
    if (r == 0 && address->any.sa_family != AF_UNIX)
        r = option_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (r == 0 && connect(fd, &address->any, address->len) != 0 && errno != EINPROGRESS)
        r = errno;
    if (r != 0)
        return fail(err, r, "connect to", address);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int socket_error(int fd)
{
    int value = 0;
    socklen_t len = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &len) == 0 ? value : errno;
}

int socket_set_nodelay(int fd)
{
    return option_set(fd, IPPROTO_TCP, TCP_NODELAY, 1) == 0 ? 0 : ERR_SYSTEM;
}

bool socket_port_is_free(unsigned port)
{
    CLEANUP(fd_closep) int fd = -1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    /* SO_REUSEADDR: connections in TIME_WAIT do not count, a listener does. */
    return port > 0 && port <= 65535 && socket_new(AF_INET, &fd) == 0 &&
           option_set(fd, SOL_SOCKET, SO_REUSEADDR, 1) == 0 &&
           bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 1) == 0;
}

int socket_peer(int fd, struct peer *ret_peer, struct error *err)
{
    struct ucred credentials;
    socklen_t len = sizeof(credentials);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &len) != 0)
        return error_errno(err, errno, "unable to tell who is at the other end of a socket");
    *ret_peer =
        (struct peer){.pid = credentials.pid, .uid = credentials.uid, .gid = credentials.gid};
    return 0;
}
