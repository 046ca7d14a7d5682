/* Probes against real sockets on a real loop. */
#include "unit.h"

#include "base/clock.h"
#include "control/control_private.h"
#include "os/file.h"
#include "os/socket.h"
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
    struct control control;
    struct probe probe;
    struct loop_io listener;
    struct loop_io connection;
    const char *answer;
    unsigned results, good;
    char text[PROBE_TEXT_SIZE];
    struct error err;
    char request[2048]; /* the last one */
};

static void on_result(struct probe *probe, bool is_good, const char *text)
{
    struct fixture *f = container_of(probe, struct fixture, probe);

    f->results++;
    f->good += is_good;
    (void)snprintf(f->text, sizeof(f->text), "%s", text);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(loop_new(&f->control.loop, &f->err), 0);
    probes_init(&f->control.probes, &f->control);
    readiness_init(&f->control.readiness, &f->control);
    f->listener.fd = f->connection.fd = -1;
    f->probe = (struct probe){.interval_ms = 50,
                              .timeout_ms = 200,
                              .is_fast = true,
                              .path = "/health",
                              .on_result = on_result};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    probes_done(&f->control.probes);
    loop_io_stop(&f->listener);
    loop_io_stop(&f->connection);
    fd_close(f->listener.fd);
    fd_close(f->connection.fd);
    readiness_done(&f->control.readiness);
    loop_free(f->control.loop);
    free(f);
    return 0;
}

static void wait_results(struct fixture *f, unsigned count)
{
    uint64_t end_us = clock_monotonic_us() + 5000000;

    while (f->results < count && clock_monotonic_us() < end_us)
        assert_int_equal(loop_turn(f->control.loop, 20, &f->err), 0);
    assert_true(f->results >= count);
}

static void on_request(struct loop_io *io, unsigned events)
{
    struct fixture *f = container_of(io, struct fixture, connection);
    ssize_t got = read(io->fd, f->request, sizeof(f->request) - 1);

    (void)events;
    if (got > 0)
        f->request[got] = '\0';
    if (got > 0 && f->answer)
        assert_true(write(io->fd, f->answer, strlen(f->answer)) > 0);
    if (!f->answer)
        return;
    loop_io_stop(io);
    fd_closep(&io->fd);
}

static void on_accept(struct loop_io *io, unsigned events)
{
    struct fixture *f = container_of(io, struct fixture, listener);
    int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)events;
    if (fd < 0)
        return;
    loop_io_stop(&f->connection);
    fd_close(f->connection.fd);
    f->connection.fd = fd;
    f->connection.on_event = on_request;
    assert_int_equal(loop_io_start(f->control.loop, &f->connection, LOOP_READ, &f->err), 0);
}

/* A listener on a port of its own; answers what f->answer says. */
static void listen_somewhere(struct fixture *f)
{
    struct address address;

    assert_int_equal(address_parse("127.0.0.1:0", &address, &f->err), 0);
    assert_int_equal(socket_listen(&address, 16, &f->listener.fd, &f->err), 0);
    socklen_t len = sizeof(address.in);
    assert_int_equal(getsockname(f->listener.fd, &address.any, &len), 0);
    f->probe.port = ntohs(address.in.sin_port);
    f->listener.on_event = on_accept;
    assert_int_equal(loop_io_start(f->control.loop, &f->listener, LOOP_READ, &f->err), 0);
}

/* A port that nobody listens on: bound, so that it stays so. */
static void bind_silently(struct fixture *f)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    f->listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->listener.fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(f->listener.fd, (struct sockaddr *)&address, &len), 0);
    f->probe.port = ntohs(address.sin_port);
}

static void a_good_answer_is_good(void **state)
{
    struct fixture *f = *state;

    listen_somewhere(f);
    f->answer = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    f->probe.kind = PROBE_HTTP;
    probes_start(&f->control.probes, &f->probe);
    wait_results(f, 2);
    assert_int_equal(f->good, f->results);
    assert_string_equal(f->text, "GET /health answered 204");
}

static void a_probe_says_who_it_is_once(void **state)
{
    struct fixture *f = *state;

    listen_somewhere(f);
    f->answer = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    f->probe.kind = PROBE_HTTP;
    probes_start(&f->control.probes, &f->probe);
    wait_results(f, 1);
    const char *agent = strstr(f->request, "\r\nUser-Agent: slipway-probe\r\n");
    assert_non_null(agent);
    assert_null(strstr(agent + 2, "\r\nUser-Agent:"));
    assert_true(strstr(f->request, "User-Agent:") == agent + 2);
}

static void a_bad_answer_is_told_with_its_body(void **state)
{
    struct fixture *f = *state;

    listen_somewhere(f);
    f->answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 16\r\nConnection: "
                "close\r\n\r\ndatabase is away";
    f->probe.kind = PROBE_HTTP;
    probes_start(&f->control.probes, &f->probe);
    wait_results(f, 1);
    assert_int_equal(f->good, 0);
    assert_string_equal(f->text, "GET /health answered 503: database is away");
}

static void no_answer_ends_at_the_deadline(void **state)
{
    struct fixture *f = *state;
    uint64_t began_us = clock_monotonic_us();

    listen_somewhere(f);
    f->answer = NULL;
    f->probe.kind = PROBE_HTTP;
    probes_start(&f->control.probes, &f->probe);
    wait_results(f, 1);
    assert_int_equal(f->good, 0);
    assert_in_range(clock_monotonic_us() - began_us, 150000, 2000000);
}

static void a_port_that_nobody_listens_on_is_refused(void **state)
{
    struct fixture *f = *state;
    char wanted[64];

    bind_silently(f);
    (void)snprintf(wanted, sizeof(wanted), "connection refused on 127.0.0.1:%u", f->probe.port);
    f->probe.kind = PROBE_TCP;
    probes_start(&f->control.probes, &f->probe);
    wait_results(f, 2);
    assert_int_equal(f->good, 0);
    assert_string_equal(f->text, wanted);
    probes_stop(&f->control.probes, &f->probe);
    f->results = 0;
    f->probe.kind = PROBE_HTTP;
    probes_start(&f->control.probes, &f->probe);
    wait_results(f, 2);
    assert_string_equal(f->text, wanted);
}

static void a_listener_is_enough_for_tcp(void **state)
{
    struct fixture *f = *state;

    listen_somewhere(f);
    f->probe.kind = PROBE_TCP;
    probes_start(&f->control.probes, &f->probe);
    wait_results(f, 3);
    assert_int_equal(f->good, f->results);
}

static void a_stopped_probe_says_nothing(void **state)
{
    struct fixture *f = *state;

    listen_somewhere(f);
    f->probe.kind = PROBE_TCP;
    probes_start(&f->control.probes, &f->probe);
    wait_results(f, 1);
    probes_stop(&f->control.probes, &f->probe);
    assert_null(f->probe.driver);
    unsigned results = f->results;
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(loop_turn(f->control.loop, 20, &f->err), 0);
    assert_int_equal(f->results, results);
}

/* ---- sd_notify */

static void notify_from_here(struct fixture *f, const char *text)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(f->control.readiness.address);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    memcpy(address.sun_path + 1, f->control.readiness.address + 1, len - 1);
    assert_true(sendto(fd, text, strlen(text), 0, (struct sockaddr *)&address,
                       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) > 0);
    fd_close(fd);
}

static void hold_nothing(struct channel *channel, const void *message, size_t len, int *fds,
                         size_t count)
{
    (void)channel;
    (void)message;
    (void)len;
    (void)fds;
    (void)count;
}

static void no_deadline(struct loop_timer *timer)
{
    (void)timer;
}

static void never_closed(struct channel *channel)
{
    (void)channel;
}

static void open_readiness(struct fixture *f, int pair[2])
{
    assert_int_equal(channel_pair(pair, &f->err), 0);
    f->control.link.control = &f->control;
    list_init(&f->control.link.requests);
    list_init(&f->control.link.outgoing);
    f->control.link.deadline.on_timer = no_deadline;
    f->control.link.channel.on_message = hold_nothing;
    f->control.link.channel.on_closed = never_closed;
    assert_int_equal(channel_start(&f->control.link.channel, f->control.loop, pair[0], &f->err), 0);
    readiness_open(&f->control.readiness);
    readiness_listen(&f->control.readiness);
}

static void a_ready_datagram_counts_for_its_own_session_only(void **state)
{
    struct fixture *f = *state;
    int pair[2];

    open_readiness(f, pair);
    f->probe.kind = PROBE_NOTIFY;
    f->probe.pid = getsid(0) + 1; /* somebody else's */
    probes_start(&f->control.probes, &f->probe);
    notify_from_here(f, "READY=1");
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(loop_turn(f->control.loop, 10, &f->err), 0);
    assert_int_equal(f->results, 0);
    probes_stop(&f->control.probes, &f->probe);
    /* It was remembered for whom it was meant. */
    f->probe.pid = getsid(0);
    probes_start(&f->control.probes, &f->probe);
    wait_results(f, 1);
    assert_int_equal(f->good, 1);
    probes_stop(&f->control.probes, &f->probe);
    probes_start(&f->control.probes, &f->probe);
    notify_from_here(f, "STATUS=warming up\nMAINPID=7");
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(loop_turn(f->control.loop, 10, &f->err), 0);
    assert_int_equal(f->results, 1);
    notify_from_here(f, "STATUS=done\nREADY=1\n");
    wait_results(f, 2);
    keeper_link_stop(&f->control.link);
    fd_close(pair[1]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_good_answer_is_good),
        T(a_probe_says_who_it_is_once),
        T(a_bad_answer_is_told_with_its_body),
        T(no_answer_ends_at_the_deadline),
        T(a_port_that_nobody_listens_on_is_refused),
        T(a_listener_is_enough_for_tcp),
        T(a_stopped_probe_says_nothing),
        T(a_ready_datagram_counts_for_its_own_session_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
