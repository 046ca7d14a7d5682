/* grpc_origin.c - a gRPC origin over cleartext HTTP/2, by nghttp2: every call is unary and answered
 * with the message that it came with and the trailer grpc-status: 0, so that the proxy is what is
 * measured.
 *
 * grpc_origin PORT: 127.0.0.1:PORT, until SIGTERM.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_MAX 1024

struct stream {
    size_t len, sent;
    uint8_t message[MESSAGE_MAX];
};

struct connection {
    int fd;
    nghttp2_session *session;
    const uint8_t *rest;
    size_t rest_len;
};

#define FIELD(name, value)                                                                         \
    {                                                                                              \
        (uint8_t *)(name), (uint8_t *)(value), sizeof(name) - 1, sizeof(value) - 1,                \
            NGHTTP2_NV_FLAG_NONE                                                                   \
    }

static int epoll_fd;
static nghttp2_session_callbacks *callbacks;

static void connection_free(struct connection *connection)
{
    nghttp2_session_del(connection->session);
    close(connection->fd);
    free(connection);
}

static ssize_t read_message(nghttp2_session *session, int32_t id, uint8_t *bytes, size_t len,
                            uint32_t *flags, nghttp2_data_source *source, void *user)
{
    nghttp2_nv trailer[] = {FIELD("grpc-status", "0")};
    struct stream *stream = source->ptr;
    size_t take = stream->len - stream->sent < len ? stream->len - stream->sent : len;

    (void)user;
    memcpy(bytes, stream->message + stream->sent, take);
    stream->sent += take;
    if (stream->sent == stream->len) {
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(session, id, trailer, 1) != 0)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return (ssize_t)take;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct stream *stream;

    (void)user;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    stream = calloc(1, sizeof *stream);
    return stream ? nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, stream)
                  : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                   size_t len, void *user)
{
    struct stream *stream = nghttp2_session_get_stream_user_data(session, id);

    (void)flags;
    (void)user;
    if (!stream || len > MESSAGE_MAX - stream->len)
        return 0;
    memcpy(stream->message + stream->len, bytes, len);
    stream->len += len;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    nghttp2_nv head[] = {FIELD(":status", "200"), FIELD("content-type", "application/grpc")};
    nghttp2_data_provider provider = {.read_callback = read_message};

    (void)user;
    if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
        !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    provider.source.ptr = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    return provider.source.ptr
               ? nghttp2_submit_response(session, frame->hd.stream_id, head, 2, &provider)
               : 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    (void)code;
    (void)user;
    free(nghttp2_session_get_stream_user_data(session, id));
    return 0;
}

static void accept_all(int listener)
{
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1000}};
    int fd, on = 1;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *connection = calloc(1, sizeof *connection);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};

        if (!connection ||
            nghttp2_session_server_new(&connection->session, callbacks, connection) != 0)
            abort();
        connection->fd = fd;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        (void)nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings, 1);
        (void)epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

/* False when the connection is over. */
static int connection_send(struct connection *connection)
{
    static uint8_t out[262144];

    for (;;) {
        size_t len = 0;
        ssize_t sent;

        if (connection->rest_len == 0) {
            /* Several small frames in one write. */
            while (len < sizeof out / 2) {
                const uint8_t *bytes;
                ssize_t got = nghttp2_session_mem_send(connection->session, &bytes);

                if (got < 0)
                    return 0;
                if (got == 0)
                    break;
                memcpy(out + len, bytes, (size_t)got);
                len += (size_t)got;
            }
            if (len == 0)
                return 1;
            sent = send(connection->fd, out, len, MSG_NOSIGNAL);
            if (sent == (ssize_t)len)
                continue;
            if (sent < 0 && errno != EAGAIN)
                return 0;
            sent = sent < 0 ? 0 : sent;
            connection->rest_len = len - (size_t)sent;
            connection->rest =
                memcpy(malloc(connection->rest_len), out + sent, connection->rest_len);
            return 1;
        }
        sent = send(connection->fd, connection->rest, connection->rest_len, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN;
        memmove((void *)(uintptr_t)connection->rest, connection->rest + sent,
                connection->rest_len - (size_t)sent);
        connection->rest_len -= (size_t)sent;
        if (connection->rest_len > 0)
            return 1;
        free((void *)(uintptr_t)connection->rest);
    }
}

static void connection_event(struct connection *connection)
{
    static uint8_t in[65536];

    for (;;) {
        ssize_t got = recv(connection->fd, in, sizeof in, 0);

        if (got < 0 && errno == EAGAIN)
            break;
        if (got <= 0 || nghttp2_session_mem_recv(connection->session, in, (size_t)got) < 0) {
            connection_free(connection);
            return;
        }
    }
    if (!connection_send(connection))
        connection_free(connection);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct epoll_event event = {.events = EPOLLIN}, events[256];

    if (argc != 2) {
        fprintf(stderr, "usage: grpc_origin PORT\n");
        return 2;
    }
    address.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (nghttp2_session_callbacks_new(&callbacks) != 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 4096) < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) < 0) {
        perror("grpc_origin");
        return 1;
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    for (;;) {
        int count = epoll_wait(epoll_fd, events, 256, -1);

        for (int i = 0; i < count; i++)
            if (events[i].data.ptr)
                connection_event(events[i].data.ptr);
            else
                accept_all(listener);
    }
}
