#include "control/probe.h"
#include "base/log.h"
#include "control/control_private.h"
#include "net/http_client.h"
#include "os/file.h"
#include "os/random.h"
#include <errno.h>
#include <stdio.h>

/* While an instance starts: soon, then in steps that double. A refused connection costs next to
 * nothing, and what a deploy waits for too long is lost to the one who waits. */
#define FAST_FIRST_MS  10u
#define FAST_MAX_MS    100u
#define JITTER_PERCENT 10u
#define EXCERPT_MAX    300u

struct prober {
    struct list node;
    struct probes *probes;
    struct probe *probe;
    struct loop_timer timer; /* the next one, or the deadline of a TCP connect */
    uint64_t delay_ms;       /* fast: the last step */
    bool is_connecting;
    struct loop_io io; /* TCP */
    struct http_client *client;
    struct http_client_handler handler;
    int status;
    struct buf excerpt;
    struct engine_probe engine;
};

static struct loop *loop_of(const struct prober *prober)
{
    return prober->probes->control->loop;
}

static void prober_begin(struct prober *prober);

static uint64_t next_delay_ms(struct prober *prober)
{
    const struct probe *probe = prober->probe;
    uint64_t jitter = probe->interval_ms * JITTER_PERCENT / 100;

    if (probe->kind == PROBE_ALIVE || !probe->is_fast)
        return probe->interval_ms - jitter + (jitter ? random_u64() % (2 * jitter) : 0);
    prober->delay_ms =
        prober->delay_ms ? MIN(prober->delay_ms * 2, (uint64_t)FAST_MAX_MS) : FAST_FIRST_MS;
    return MIN(prober->delay_ms, probe->interval_ms);
}

static void schedule(struct prober *prober)
{
    if (prober->probe->kind != PROBE_NOTIFY)
        loop_timer_start_in(loop_of(prober), &prober->timer, LOOP_MS(next_delay_ms(prober)));
}

/* The last act of whoever calls it: the owner may stop or restart the probe from inside. */
static void report(struct prober *prober, bool is_good, const char *text)
{
    struct probe *probe = prober->probe;

    schedule(prober);
    probe->on_result(probe, is_good, text);
}

/* ---- TCP */

static void tcp_end(struct prober *prober)
{
    loop_io_stop(&prober->io);
    fd_closep(&prober->io.fd);
    prober->is_connecting = false;
}

static void tcp_report(struct prober *prober, int errno_value)
{
    char text[PROBE_TEXT_SIZE];
    unsigned port = prober->probe->port;

    tcp_end(prober);
    if (errno_value == 0)
        (void)snprintf(text, sizeof(text), "port %u accepts connections", port);
    else if (errno_value == ECONNREFUSED)
        (void)snprintf(text, sizeof(text), "connection refused on 127.0.0.1:%u", port);
    else if (errno_value == ETIMEDOUT)
        (void)snprintf(text, sizeof(text), "no connection to 127.0.0.1:%u within %llu ms", port,
                       (unsigned long long)prober->probe->timeout_ms);
    else
        (void)snprintf(text, sizeof(text), "127.0.0.1:%u: %s", port, strerror(errno_value));
    report(prober, errno_value == 0, text);
}

static void on_tcp_event(struct loop_io *io, unsigned events)
{
    struct prober *prober = container_of(io, struct prober, io);

    (void)events;
    tcp_report(prober, socket_error(io->fd));
}

static struct address loopback(unsigned port)
{
    struct address address = {.len = sizeof(address.in)};

    address.in.sin_family = AF_INET;
    address.in.sin_port = htons((uint16_t)port);
    address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/* There was no connection. */
static void report_failure(struct prober *prober, const struct error *err)
{
    char text[PROBE_TEXT_SIZE];

    if (strstr(err->text, "refused"))
        (void)snprintf(text, sizeof(text), "connection refused on 127.0.0.1:%u",
                       prober->probe->port);
    else
        (void)snprintf(text, sizeof(text), "%.400s", err->text);
    report(prober, false, text);
}

static void tcp_begin(struct prober *prober)
{
    struct address address = loopback(prober->probe->port);
    struct error err = {0};

    if (socket_connect(&address, &prober->io.fd, &err) != 0) {
        report_failure(prober, &err);
        return;
    }
    prober->io.on_event = on_tcp_event;
    prober->is_connecting = true;
    if (loop_io_start(loop_of(prober), &prober->io, LOOP_WRITE, &err) != 0) {
        tcp_end(prober);
        report(prober, false, "out of descriptors");
        return;
    }
    loop_timer_start_in(loop_of(prober), &prober->timer, LOOP_MS(prober->probe->timeout_ms));
}

/* ---- HTTP */

static void http_report(struct prober *prober)
{
    bool is_good = prober->status >= 200 && prober->status < 400;
    char text[PROBE_TEXT_SIZE];

    (void)snprintf(text, sizeof(text), "GET %.100s answered %d%s%.*s", prober->probe->path,
                   prober->status, prober->excerpt.len && !is_good ? ": " : "",
                   is_good ? 0 : (int)prober->excerpt.len, buf_text(&prober->excerpt));
    report(prober, is_good, text);
}

static void http_cut(struct prober *prober)
{
    http_client_cancel(TAKE_PTR(prober->client));
    http_report(prober);
}

static void on_http_head(struct http_client_handler *handler, int status)
{
    struct prober *prober = container_of(handler, struct prober, handler);

    prober->status = status;
    if (status >= 200 && status < 400)
        http_cut(prober); /* nobody reads the body of a good one */
}

static void on_http_data(struct http_client_handler *handler, struct slice data)
{
    struct prober *prober = container_of(handler, struct prober, handler);

    buf_append_slice(&prober->excerpt, slice_sub(data, 0, EXCERPT_MAX - prober->excerpt.len));
    if (prober->excerpt.len >= EXCERPT_MAX)
        http_cut(prober);
}

static void on_http_done(struct http_client_handler *handler,
                         const struct http_client_response *response)
{
    struct prober *prober = container_of(handler, struct prober, handler);
    char text[PROBE_TEXT_SIZE];

    prober->client = NULL;
    if (prober->status) { /* a body that breaks off does not unsay the status */
        http_report(prober);
        return;
    }
    if (response->code == 0) {
        prober->status = response->status;
        http_report(prober);
        return;
    }
    if (response->err && strstr(response->err->text, "refused"))
        (void)snprintf(text, sizeof(text), "connection refused on 127.0.0.1:%u",
                       prober->probe->port);
    else
        (void)snprintf(text, sizeof(text), "GET %.100s: %.300s", prober->probe->path,
                       response->err ? response->err->text : error_text(response->code));
    report(prober, false, text);
}

static void http_begin(struct prober *prober)
{
    struct address address = loopback(prober->probe->port);
    char host[32];
    struct http_client_request request = {
        .address = &address,
        .method = "GET",
        .target = prober->probe->path,
        .host = host,
        .body_fd = -1,
        .body_bytes = -1,
        .user_agent = "slipway-probe",
        .timeout_ms = prober->probe->timeout_ms,
        .is_streamed = true,
    };
    struct error err = {0};

    (void)snprintf(host, sizeof(host), "127.0.0.1:%u", prober->probe->port);
    prober->status = 0;
    buf_clear(&prober->excerpt);
    prober->handler = (struct http_client_handler){
        .on_head = on_http_head, .on_data = on_http_data, .on_done = on_http_done};
    if (http_client_start(loop_of(prober), &request, &prober->handler, &prober->client, &err) == 0)
        return;
    prober->client = NULL;
    report_failure(prober, &err);
}

/* ---- databases */

static void on_engine_done(struct engine_probe *engine, int code, const char *text)
{
    struct prober *prober = container_of(engine, struct prober, engine);
    char copy[PROBE_TEXT_SIZE];

    (void)snprintf(copy, sizeof(copy), "%s", text ? text : "");
    report(prober, code == 0, copy);
}

static void engine_begin(struct prober *prober)
{
    prober->engine.on_done = on_engine_done;
    engine_probe_start(&prober->engine, loop_of(prober), prober->probe->engine,
                       LOOP_MS(prober->probe->timeout_ms));
}

/* ---- all */

static void prober_begin(struct prober *prober)
{
    switch (prober->probe->kind) {
    case PROBE_HTTP:
        http_begin(prober);
        break;
    case PROBE_TCP:
        tcp_begin(prober);
        break;
    case PROBE_ENGINE:
        engine_begin(prober);
        break;
    case PROBE_NOTIFY:
        report(prober, true, "READY=1");
        break;
    case PROBE_ALIVE:
        report(prober, true, "runs");
        break;
    }
}

static void on_timer(struct loop_timer *timer)
{
    struct prober *prober = container_of(timer, struct prober, timer);

    if (prober->is_connecting)
        tcp_report(prober, ETIMEDOUT);
    else
        prober_begin(prober);
}

void probes_start(struct probes *probes, struct probe *probe)
{
    struct prober *prober = calloc(1, sizeof(*prober));

    if (!prober)
        abort();
    assert(!probe->driver);
    prober->probes = probes;
    prober->probe = probe;
    prober->io.fd = -1;
    prober->timer.on_timer = on_timer;
    prober->excerpt = BUF_INIT(EXCERPT_MAX + 1);
    probe->driver = prober;
    list_push_back(&probes->all, &prober->node);
    if (probe->kind == PROBE_NOTIFY && readiness_was_ready(&probes->control->readiness, probe->pid))
        loop_timer_start_in(probes->control->loop, &prober->timer, 0);
    else
        schedule(prober);
}

static void prober_free(struct prober *prober)
{
    prober->probe->driver = NULL;
    list_remove(&prober->node);
    loop_timer_stop(&prober->timer);
    tcp_end(prober);
    if (prober->client)
        http_client_cancel(prober->client);
    engine_probe_stop(&prober->engine);
    buf_done(&prober->excerpt);
    free(prober);
}

void probes_stop(struct probes *probes, struct probe *probe)
{
    (void)probes;
    if (probe->driver)
        prober_free(probe->driver);
}

bool probes_notify(struct probes *probes, int32_t session)
{
    list_each (node, &probes->all) {
        struct prober *prober = container_of(node, struct prober, node);

        if (prober->probe->kind == PROBE_NOTIFY && prober->probe->pid == session) {
            report(prober, true, "READY=1");
            return true;
        }
    }
    return false;
}

void probes_init(struct probes *probes, struct control *control)
{
    probes->control = control;
    list_init(&probes->all);
}

void probes_done(struct probes *probes)
{
    list_each_safe (node, &probes->all)
        prober_free(container_of(node, struct prober, node));
}
