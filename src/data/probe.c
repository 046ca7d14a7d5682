/* probe.c - connect, say one thing, understand one answer, close. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "data/engine_private.h"
#include "os/file.h"
#include "os/socket.h"

#define OUT_MAX  4096u
#define IN_MAX   8192u
#define TEXT_MAX 256u

enum probe_state { PROBE_IDLE, PROBE_CONNECTING, PROBE_SENDING, PROBE_READING, PROBE_REFUSED };

void engine_probe_stop(struct engine_probe *probe)
{
    if (probe->state == PROBE_IDLE)
        return;
    probe->state = PROBE_IDLE;
    loop_timer_stop(&probe->timer);
    loop_io_stop(&probe->io);
    fd_close(TAKE_FD(probe->io.fd));
    if (probe->out.ptr)
        explicit_bzero(probe->out.ptr, probe->out.len); /* may hold a password */
    buf_done(&probe->out);
    buf_done(&probe->in);
}

static void finish(struct engine_probe *probe, int code, const char *text)
{
    engine_probe_stop(probe);
    probe->on_done(probe, code, text);
}

static void on_timer(struct loop_timer *timer)
{
    struct engine_probe *probe = container_of(timer, struct engine_probe, timer);

    if (probe->state == PROBE_REFUSED)
        finish(probe, ERR_UNAVAILABLE, "the connection was refused");
    else
        finish(probe, ERR_TIMEOUT,
               probe->state == PROBE_CONNECTING ? "no connection in time" : "no answer in time");
}

/* True: go on with reading; false: the probe is over or waits. */
static bool send_request(struct engine_probe *probe)
{
    while (probe->out.len > 0) {
        ssize_t n = send(probe->io.fd, probe->out.ptr, probe->out.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            loop_io_set(&probe->io, LOOP_WRITE);
            return false;
        }
        if (n < 0) {
            finish(probe, ERR_UNAVAILABLE, "the connection was closed");
            return false;
        }
        buf_consume(&probe->out, (size_t)n);
    }
    probe->state = PROBE_READING;
    loop_io_set(&probe->io, LOOP_READ);
    return true;
}

static void read_answer(struct engine_probe *probe)
{
    char bytes[2048], text[TEXT_MAX] = "";
    ssize_t n = recv(probe->io.fd, bytes, sizeof bytes, 0);
    int code;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        finish(probe, ERR_UNAVAILABLE, "the connection was closed");
        return;
    }
    buf_append(&probe->in, bytes, (size_t)n);
    if (probe->in.failed) {
        finish(probe, ERR_FAILED, "the answer is too long");
        return;
    }
    code = engine_of(probe->config->type)->probe_answer(buf_slice(&probe->in), text, sizeof text);
    if (code != ERR_CANCELLED)
        finish(probe, code, text);
}

static void on_event(struct loop_io *io, unsigned events)
{
    struct engine_probe *probe = container_of(io, struct engine_probe, io);

    (void)events;
    if (probe->state == PROBE_CONNECTING) {
        if (socket_error(io->fd)) {
            finish(probe, ERR_UNAVAILABLE, "the connection was refused");
            return;
        }
        probe->state = PROBE_SENDING;
    }
    if (probe->state == PROBE_SENDING && !send_request(probe))
        return;
    if (probe->state == PROBE_READING)
        read_answer(probe);
}

void engine_probe_start(struct engine_probe *probe, struct loop *loop,
                        const struct engine_config *config, uint64_t timeout_us)
{
    const struct engine *engine = engine_of(config->type);
    struct address address = {.len = sizeof(struct sockaddr_in),
                              .in = {.sin_family = AF_INET,
                                     .sin_port = htons((uint16_t)config->port),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};

    assert(engine && probe->on_done);
    engine_probe_stop(probe);
    probe->loop = loop;
    probe->config = config;
    probe->io.fd = -1;
    probe->io.on_event = on_event;
    probe->timer.on_timer = on_timer;
    probe->out = BUF_INIT(OUT_MAX);
    probe->in = BUF_INIT(IN_MAX);
    probe->state = PROBE_CONNECTING;
    engine->probe_request(config, &probe->out);
    if (socket_connect(&address, &probe->io.fd, NULL) ||
        loop_io_start(loop, &probe->io, LOOP_WRITE, NULL)) {
        probe->state = PROBE_REFUSED; /* told by the timer: never from inside this call */
        timeout_us = 0;
    }
    loop_timer_start_in(loop, &probe->timer, timeout_us);
}
