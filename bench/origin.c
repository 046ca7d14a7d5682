/* origin.c - the origin that benchmarks stand a proxy in front of: fixed answers over keep-alive
 * connections, as cheap as a process can make them, so that the proxy is what is measured.
 *
 * origin PORT: 127.0.0.1:PORT; "/large" answers 64 KiB, "/download" 16 MiB, everything else 100
 * bytes; what is posted (with its length) is read and thrown away; a WebSocket on "/echo" gets its
 * messages back, each in one frame of less than 126 bytes. Until SIGTERM.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SMALL_BYTES    100
#define LARGE_BYTES    65536
#define DOWNLOAD_BYTES (16u << 20)
#define REQUEST_MAX    65536
#define FDS_MAX        65536

struct answer {
    char *bytes;
    size_t len;
};

struct connection {
    size_t len;  /* of the request bytes so far */
    size_t left; /* of the answer being sent */
    size_t body; /* of the request's, still to come */
    int is_echo; /* a WebSocket */
    const struct answer *answer;
    char request[REQUEST_MAX];
};

static struct answer small, large, download, upgrade;
static struct connection *connections[FDS_MAX];

static struct answer answer_new(size_t body_bytes)
{
    struct answer answer = {.bytes = malloc(body_bytes + 256)};

    if (!answer.bytes)
        abort();
    answer.len = (size_t)snprintf(
        answer.bytes, 256,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\n"
        "Cache-Control: no-store\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: "
        "keep-alive\r\n\r\n",
        body_bytes);
    memset(answer.bytes + answer.len, 'x', body_bytes);
    answer.len += body_bytes;
    return answer;
}

static void connection_close(int fd)
{
    free(connections[fd]);
    connections[fd] = NULL;
    (void)close(fd);
}

/* True when all is out. */
static int connection_send(int fd, struct connection *connection)
{
    const struct answer *answer = connection->answer;

    while (connection->left > 0) {
        ssize_t sent = send(fd, answer->bytes + answer->len - connection->left, connection->left,
                            MSG_NOSIGNAL);

        if (sent < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -1;
        connection->left -= (size_t)sent;
    }
    return 1;
}

/* The length of the body that follows this head. */
static size_t body_bytes(char *head, char *end)
{
    char *field;

    *end = 0;
    field = strcasestr(head, "\r\ncontent-length:");
    return field ? strtoul(field + 17, NULL, 10) : 0;
}

/* Whole frames go back without their mask; what is left stays. False when the connection is over.
 */
static int connection_echo(int fd, struct connection *connection)
{
    static unsigned char out[REQUEST_MAX];
    const unsigned char *in = (const unsigned char *)connection->request;
    size_t at = 0, len = 0;

    while (connection->len - at >= 6) {
        size_t payload = in[at + 1] & 0x7f;

        if (payload > 125 || (in[at] & 0x0f) == 8)
            return 0;
        if (connection->len - at < 6 + payload)
            break;
        out[len++] = in[at];
        out[len++] = (unsigned char)payload;
        for (size_t i = 0; i < payload; i++)
            out[len++] = in[at + 6 + i] ^ in[at + 2 + i % 4];
        at += 6 + payload;
    }
    connection->len -= at;
    memmove(connection->request, connection->request + at, connection->len);
    return send(fd, out, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static const struct answer *answer_pick(const char *head)
{
    return strncmp(head, "GET /large", 10) == 0      ? &large
           : strncmp(head, "GET /download", 13) == 0 ? &download
           : strncmp(head, "GET /echo", 9) == 0      ? &upgrade
                                                     : &small;
}

static void connection_event(int fd, struct connection *connection)
{
    for (;;) {
        char *end;
        ssize_t got;

        if (connection->left > 0) {
            int sent = connection_send(fd, connection);

            if (sent < 0)
                connection_close(fd);
            if (sent <= 0)
                return;
        }
        if (connection->is_echo && connection->len > 0 && !connection_echo(fd, connection)) {
            connection_close(fd);
            return;
        }
        if (connection->body > 0) {
            size_t take = connection->len < connection->body ? connection->len : connection->body;

            connection->body -= take;
            connection->len -= take;
            memmove(connection->request, connection->request + take, connection->len);
            if (connection->body == 0) {
                connection->left = connection->answer->len;
                continue;
            }
        }
        end = connection->is_echo || connection->body > 0
                  ? NULL
                  : memmem(connection->request, connection->len, "\r\n\r\n", 4);
        if (end) {
            size_t used = (size_t)(end + 4 - connection->request);

            connection->body = body_bytes(connection->request, end + 2);
            connection->answer = answer_pick(connection->request);
            connection->is_echo = connection->answer == &upgrade;
            connection->len -= used;
            memmove(connection->request, end + 4, connection->len);
            if (connection->body == 0)
                connection->left = connection->answer->len;
            continue;
        }
        if (connection->len == REQUEST_MAX) { /* no head is that long */
            connection_close(fd);
            return;
        }
        got = recv(fd, connection->request + connection->len, REQUEST_MAX - connection->len, 0);
        if (got <= 0) {
            if (got == 0 || (errno != EAGAIN && errno != EINTR))
                connection_close(fd);
            return;
        }
        connection->len += (size_t)got;
    }
}

static void accept_all(int epoll, int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd};

        if (fd < 0)
            return;
        if (fd >= FDS_MAX || !(connections[fd] = calloc(1, sizeof *connections[fd]))) {
            (void)close(fd);
            continue;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        (void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
        epoll = epoll_create1(EPOLL_CLOEXEC), on = 1;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];

    if (argc != 2) {
        fprintf(stderr, "usage: origin PORT\n");
        return 2;
    }
    address.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    small = answer_new(SMALL_BYTES);
    large = answer_new(LARGE_BYTES);
    download = answer_new(DOWNLOAD_BYTES);
    /* The answer to the key that RFC 6455 has as its example, which is the one our load sends. */
    upgrade.bytes =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    upgrade.len = strlen(upgrade.bytes);
    (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 4096) < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0) {
        perror("origin");
        return 1;
    }
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);

        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;

            if (fd == listener)
                accept_all(epoll, listener);
            else if (connections[fd])
                connection_event(fd, connections[fd]);
        }
    }
}
