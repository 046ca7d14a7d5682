/* load.c - the load that wrk and h2load do not make: whole TLS 1.3 handshakes, WebSocket messages
 * there and back, connections that stay open and idle. One thread, epoll, OpenSSL.
 *
 *   load handshake|resume|echo|idle PORT SERVER-NAME CONNECTIONS SECONDS PATH
 *
 * SERVER-NAME "-": no TLS. A handshake counts when the answer to one small request has come over
 * it, because a server is done with a handshake only then; `resume` shows the newest ticket each
 * time. `idle` asks once on each connection, says "ready" and holds them until its standard input
 * ends. The last line is JSON.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX    2048
#define PAYLOAD_BYTES 64
#define FRAME_BYTES   (6 + PAYLOAD_BYTES) /* masked, as clients must; the mask is zero */
#define ECHO_BYTES    (2 + PAYLOAD_BYTES)
#define SAMPLES_MAX   2000000u
#define SOURCES       200u

enum mode { MODE_HANDSHAKE, MODE_RESUME, MODE_ECHO, MODE_IDLE };
enum state { STATE_CONNECTING, STATE_TLS, STATE_ASKED, STATE_ECHOING, STATE_RESTING };

struct connection {
    int fd;
    SSL *ssl;
    enum state state;
    uint64_t began_us;
    size_t len;
    char answer[ANSWER_MAX];
};

static struct {
    enum mode mode;
    const char *name, *path;
    uint16_t port;
    int epoll;
    SSL_CTX *context;
    SSL_SESSION *session;
    struct connection *connections;
    unsigned count, resting, source;
    uint64_t done, errors, resumed, *samples;
    uint64_t measure_from_us;
} load;

static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(load.session);
    load.session = session;
    return 1;
}

static void connection_open(struct connection *connection)
{
    struct sockaddr_in address = {.sin_family = AF_INET}, source = {.sin_family = AF_INET};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
    int on = 1;

    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0)
        die("socket");
    /* Many sources, or the ports of one would run out. */
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + load.source++ % SOURCES);
    (void)setsockopt(connection->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(connection->fd, (struct sockaddr *)&source, sizeof source) < 0)
        die("bind");
    address.sin_port = htons(load.port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connection->began_us = now_us();
    connection->state = STATE_CONNECTING;
    connection->len = 0;
    if (connect(connection->fd, (struct sockaddr *)&address, sizeof address) < 0 &&
        errno != EINPROGRESS)
        die("connect");
    if (load.context) {
        connection->ssl = SSL_new(load.context);
        if (!connection->ssl || SSL_set_fd(connection->ssl, connection->fd) != 1)
            die("SSL_new");
        (void)SSL_set_tlsext_host_name(connection->ssl, load.name);
        if (load.mode == MODE_RESUME && load.session)
            (void)SSL_set_session(connection->ssl, load.session);
        SSL_set_connect_state(connection->ssl);
    }
    if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, connection->fd, &event) < 0)
        die("epoll_ctl");
}

static void connection_close(struct connection *connection)
{
    if (connection->ssl) {
        (void)SSL_shutdown(connection->ssl);
        SSL_free(connection->ssl);
        connection->ssl = NULL;
    }
    close(connection->fd);
}

static void connection_failed(struct connection *connection)
{
    if (load.mode == MODE_IDLE && connection->state == STATE_RESTING)
        load.resting--;
    load.errors++;
    connection_close(connection);
    if (load.errors > 10000) {
        fprintf(stderr, "load: too many errors\n");
        exit(1);
    }
    connection_open(connection);
}

/* > 0 bytes, 0 the end, -1 later, -2 broken */
static int connection_read(struct connection *connection, char *bytes, int len)
{
    int got;

    if (connection->ssl) {
        got = SSL_read(connection->ssl, bytes, len);
        if (got > 0)
            return got;
        switch (SSL_get_error(connection->ssl, got)) {
        case SSL_ERROR_WANT_READ:
        case SSL_ERROR_WANT_WRITE:
            return -1;
        case SSL_ERROR_ZERO_RETURN:
            return 0;
        default:
            return -2;
        }
    }
    got = (int)recv(connection->fd, bytes, (size_t)len, 0);
    return got >= 0 ? got : errno == EAGAIN ? -1 : -2;
}

/* Small enough to fit the socket's buffer whole. */
static bool connection_write(struct connection *connection, const char *bytes, int len)
{
    return connection->ssl ? SSL_write(connection->ssl, bytes, len) == len
                           : send(connection->fd, bytes, (size_t)len, MSG_NOSIGNAL) == len;
}

static void connection_done(struct connection *connection)
{
    uint64_t now = now_us();

    if (now >= load.measure_from_us) {
        if (load.done < SAMPLES_MAX)
            load.samples[load.done] = now - connection->began_us;
        load.done++;
    }
    connection->began_us = now;
}

static bool connection_ask(struct connection *connection)
{
    char request[512];
    int len = snprintf(
        request, sizeof request,
        load.mode == MODE_ECHO
            ? "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
              "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        : load.mode == MODE_IDLE ? "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n"
                                 : "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
        load.path, load.context ? load.name : "localhost");

    connection->state = STATE_ASKED;
    return connection_write(connection, request, len);
}

static bool connection_send_frame(struct connection *connection)
{
    static const char frame[FRAME_BYTES] = {(char)0x82, (char)(0x80 | PAYLOAD_BYTES)};

    connection->state = STATE_ECHOING;
    connection->len = 0;
    return connection_write(connection, frame, FRAME_BYTES);
}

/* What has come; false when the connection is broken. */
static bool connection_answer(struct connection *connection)
{
    const char *end = memmem(connection->answer, connection->len, "\r\n\r\n", 4);

    if (connection->state == STATE_ECHOING) {
        if (connection->len < ECHO_BYTES)
            return true;
        connection_done(connection);
        return connection_send_frame(connection);
    }
    if (!end)
        return connection->len < ANSWER_MAX;
    if (strncmp(connection->answer, load.mode == MODE_ECHO ? "HTTP/1.1 101" : "HTTP/1.1 200", 12) !=
        0)
        return false;
    if (load.mode == MODE_ECHO) {
        connection->began_us = now_us();
        return connection_send_frame(connection);
    }
    if (load.mode == MODE_IDLE && connection->state == STATE_ASKED) {
        connection->state = STATE_RESTING;
        load.resting++;
    }
    return true;
}

static void connection_event(struct connection *connection)
{
    if (connection->state == STATE_CONNECTING) {
        int error = 0;
        socklen_t len = sizeof error;

        if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error) {
            connection_failed(connection);
            return;
        }
        connection->state = STATE_TLS;
    }
    if (connection->state == STATE_TLS) {
        if (connection->ssl) {
            int r = SSL_do_handshake(connection->ssl);

            if (r != 1) {
                int why = SSL_get_error(connection->ssl, r);

                if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
                    connection_failed(connection);
                return;
            }
        }
        if (!connection_ask(connection)) {
            connection_failed(connection);
            return;
        }
    }
    for (;;) {
        int got = connection_read(connection, connection->answer + connection->len,
                                  (int)(ANSWER_MAX - connection->len));

        if (got == -1)
            return;
        if (got <= 0) {
            bool is_whole = got == 0 && connection->len > 0 && load.mode <= MODE_RESUME;

            if (!is_whole) {
                connection_failed(connection);
                return;
            }
            if (connection->ssl && SSL_session_reused(connection->ssl))
                load.resumed++;
            connection_done(connection);
            connection_close(connection);
            connection_open(connection);
            return;
        }
        connection->len += (size_t)got;
        if (!connection_answer(connection)) {
            connection_failed(connection);
            return;
        }
        if (connection->state == STATE_RESTING)
            connection->len = 0;
    }
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void turn(int timeout_ms)
{
    struct epoll_event events[256];
    int count = epoll_wait(load.epoll, events, 256, timeout_ms);

    for (int i = 0; i < count; i++)
        if (events[i].data.ptr)
            connection_event(events[i].data.ptr);
        else if (getchar() == EOF)
            exit(0);
}

static void run_idle(void)
{
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL};
    uint64_t deadline = now_us() + 120u * 1000000u;
    unsigned opened = 0;

    if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input) < 0)
        die("epoll_ctl");
    while (load.resting < load.count) {
        while (opened < load.count && opened < load.resting + 200)
            connection_open(&load.connections[opened++]);
        turn(1000);
        if (now_us() > deadline) {
            fprintf(stderr, "load: %u of %u connections rest\n", load.resting, load.count);
            exit(1);
        }
    }
    printf("ready %u\n", load.resting);
    fflush(stdout);
    for (;;)
        turn(1000);
}

static void run_load(double seconds)
{
    uint64_t began, end;
    size_t count;

    load.measure_from_us = now_us() + 300000u; /* the first ones only warm up */
    for (unsigned i = 0; i < load.count; i++) {
        connection_open(&load.connections[i]);
        if (load.mode == MODE_RESUME && i == 0) /* the others shall have its ticket */
            for (unsigned wait = 0; wait < 1000 && !load.session; wait++)
                turn(10);
    }
    began = load.measure_from_us;
    end = began + (uint64_t)(seconds * 1e6);
    while (now_us() < end)
        turn(100);
    count = load.done < SAMPLES_MAX ? (size_t)load.done : SAMPLES_MAX;
    qsort(load.samples, count, sizeof *load.samples, by_size);
    printf("{\"count\": %llu, \"errors\": %llu, \"resumed\": %llu, \"seconds\": %.3f, \"p50_us\": "
           "%llu, \"p99_us\": %llu}\n",
           (unsigned long long)load.done, (unsigned long long)load.errors,
           (unsigned long long)load.resumed, (double)(now_us() - began) / 1e6,
           count ? (unsigned long long)load.samples[count / 2] : 0,
           count ? (unsigned long long)load.samples[count - 1 - count / 100] : 0);
}

int main(int argc, char **argv)
{
    static const char *const modes[] = {"handshake", "resume", "echo", "idle"};
    struct rlimit limit;

    if (argc != 7) {
        fprintf(
            stderr,
            "usage: load handshake|resume|echo|idle PORT SERVER-NAME CONNECTIONS SECONDS PATH\n");
        return 2;
    }
    while (strcmp(argv[1], modes[load.mode]) != 0)
        if (++load.mode > MODE_IDLE)
            return 2;
    load.port = (uint16_t)strtoul(argv[2], NULL, 10);
    load.name = argv[3];
    load.count = (unsigned)strtoul(argv[4], NULL, 10);
    load.path = argv[6];
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.connections = calloc(load.count, sizeof *load.connections);
    load.samples = calloc(SAMPLES_MAX, sizeof *load.samples);
    if (load.epoll < 0 || !load.connections || !load.samples)
        die("start");
    if (strcmp(load.name, "-") != 0) {
        load.context = SSL_CTX_new(TLS_client_method());
        if (!load.context || SSL_CTX_set_min_proto_version(load.context, TLS1_3_VERSION) != 1 ||
            SSL_CTX_set_ciphersuites(load.context, "TLS_AES_128_GCM_SHA256") != 1 ||
            SSL_CTX_set1_groups_list(load.context, "X25519") != 1)
            die("SSL_CTX");
        SSL_CTX_set_session_cache_mode(load.context,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(load.context, on_session);
        SSL_CTX_set_mode(load.context, SSL_MODE_RELEASE_BUFFERS);
        (void)SSL_CTX_set_options(load.context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    }
    if (load.mode == MODE_IDLE)
        run_idle();
    run_load(strtod(argv[5], NULL));
    return 0;
}
