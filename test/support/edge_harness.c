/* edge_harness.c - plays keeper and control for edges, so that tests and benchmarks can run the
 * real edge role alone; beside it runs the real signer role when TLS is asked for.
 *
 *   edge_harness --listen ADDR:PORT [--listen-tls ADDR:PORT] [--upstream ADDR:PORT …]
 *                [--static DIR] [--edges N] [--access FILE] [--set NAME=VALUE …] [--no-snapshot]
 *                [--log-level LEVEL]
 *     TLS:       [--host NAME[,OPTION…] …] [--hosts COUNT] [--tls-directory DIR]
 *                [--challenge TOKEN=VALUE]
 *     networks:  [--trusted NETWORK …] [--proxy NETWORK …]
 *     upstreams: [--upstream-tls NAME] [--upstream-ca FILE]
 *
 * Routes: any host, "/" → the upstreams (or the site when there are none), "/strip" → the upstreams
 * without that prefix, "/static" → the site without that prefix, host static.test → the site; each
 * --host NAME, "/" → the upstreams.
 * Settings: the fields of snapshot_settings and snapshot_route that are numbers.
 * TLS: without --host any name gets one certificate (localhost, 127.0.0.1, *.test). Options of a
 * host: chain=FILE and key=FILE (else a certificate is made), redirect, tls13, http1, secure-only,
 * plain-only, on-demand, hidden (no certificate until `show`), client, required (certificates of
 * clients), hsts=VALUE. DIR gets ca.pem and ca.key, to sign what else is needed.
 * --trusted: networks whose X-Forwarded-* count; --proxy: those that begin with a PROXY header.
 * --upstream-tls: the name to verify, "" to verify nothing; by DIR's ca.pem, or by --upstream-ca
 * ("system": the system's).
 *
 * Commands on stdin: add ADDR:PORT | drain N | activate N | remove N (N: number of the endpoint,
 * from 1) | publish | garbage | counters | kill EDGE | quit [GRACE_MS] | show HOST | renew HOST |
 * challenge HOST | refuse HOST | signer stop | signer start | control restart. Reports on stdout:
 * ready, ack, drained, reject, wanted, exited; one line each.
 */
#include "edge_harness.h"
#include "base/counters.h"
#include "base/keeper_protocol.h"
#include "base/log.h"
#include "base/peer_protocol.h"
#include "base/units.h"
#include "edge/edge.h"
#include "loop/channel.h"
#include "net/snapshot.h"
#include "os/file.h"
#include "os/memory.h"
#include "os/socket.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define EDGES_MAX     16u
#define ENDPOINTS_MAX 64u

struct edge_process {
    pid_t pid;
    struct harness *harness;
    struct channel keeper, control;
    struct counters *counters;
    int counters_fd, access_fd;
    unsigned index;
};

struct upstream_endpoint {
    uint64_t instance;
    struct address address;
    enum snapshot_endpoint_state state;
    bool is_removed;
};

struct harness {
    struct loop *loop;
    struct edge_process edges[EDGES_MAX];
    unsigned edge_count;
    struct upstream_endpoint endpoints[ENDPOINTS_MAX];
    unsigned endpoint_count;
    const char *site, *listen, *access;
    bool has_no_snapshot, is_quitting;
    int listener, tls_listener; /* -1: none */
    const char *listen_tls;
    uint32_t http_port, https_port;
    struct harness_tls tls;
    uint64_t version;
    enum log_level level;
    struct snapshot_settings settings;
    struct snapshot_route route;
    struct loop_io input;
    struct loop_signal child, interrupt, terminate;
    char line[4096];
    size_t line_len;
};

void harness_die(const char *what, const struct error *err)
{
    fprintf(stderr, "edge_harness: %s: %s\n", what, err ? err->text : "");
    exit(2);
}

#define die harness_die

static void report(const char *format, ...) PRINTF_LIKE(1, 2);
static void report(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

/* ---- control's part */

static void add_routes(struct harness *harness, struct snapshot_builder *builder)
{
    struct snapshot_route route = harness->route, stripped;
    struct snapshot_service_spec spec = {.kind = SNAPSHOT_PROXY,
                                         .app = "harness",
                                         .name = "api",
                                         .label = "harness\x1f"
                                                  "api\x1f"
                                                  "1\x1f\x1frun",
                                         .release = 1};
    uint32_t service;

    harness_tls_route(&harness->tls, builder, &route);
    stripped = route;
    stripped.is_prefix_stripped = 1;
    if (harness->endpoint_count || !harness->site) {
        service = snapshot_builder_service(builder, &spec);
        for (unsigned i = 0; i < harness->endpoint_count; i++) {
            const struct upstream_endpoint *endpoint = &harness->endpoints[i];
            char name[32], label[64];

            if (endpoint->is_removed)
                continue;
            snprintf(name, sizeof(name), "api-%u", i + 1);
            snprintf(label, sizeof(label), "harness\x1f%s\x1f%u\x1f%s\x1frun", "api", 1u, name);
            snapshot_builder_endpoint(builder, endpoint->instance, i, endpoint->state,
                                      endpoint->address.in.sin_addr.s_addr,
                                      address_port(&endpoint->address), name, label);
        }
        snapshot_builder_route(builder, "", "/", service, &route);
        snapshot_builder_route(builder, "", "/strip", service, &stripped);
        harness_tls_build(&harness->tls, builder, service, &route);
    }
    if (harness->site) {
        spec.kind = SNAPSHOT_STATIC;
        spec.name = "site";
        spec.label = "harness\x1fsite\x1f"
                     "1\x1f\x1frun";
        spec.root = harness->site;
        service = snapshot_builder_service(builder, &spec);
        if (!harness->endpoint_count) {
            snapshot_builder_route(builder, "", "/", service, &route);
            harness_tls_build(&harness->tls, builder, service, &route);
        }
        snapshot_builder_route(builder, "", "/static", service, &stripped);
        snapshot_builder_route(builder, "static.test", "/", service, &route);
    }
}

static int build_snapshot(struct harness *harness)
{
    struct snapshot_builder *builder = snapshot_builder_new();
    struct buf block = BUF_INIT(SNAPSHOT_MAX);
    struct error err;
    int fd;

    harness_tls_settings(&harness->tls, builder, &harness->settings);
    add_routes(harness, builder);
    if (snapshot_builder_finish(builder, ++harness->version, &block, &err) != 0)
        die("snapshot", &err);
    if (memory_sealed("snapshot", buf_slice(&block), &fd, &err) != 0)
        die("snapshot", &err);
    buf_done(&block);
    snapshot_builder_free(builder);
    return fd;
}

static void publish_to(struct edge_process *edge, int fd)
{
    struct peer_snapshot message = {.type = PEER_SNAPSHOT, .version = edge->harness->version};

    if (edge->pid && channel_post(&edge->control, &message, sizeof(message), &fd, 1) != 0)
        die("publish", NULL);
}

static void publish(struct harness *harness)
{
    int fd = build_snapshot(harness);

    for (unsigned i = 0; i < harness->edge_count; i++)
        publish_to(&harness->edges[i], fd);
    close(fd);
    report("published %llu", (unsigned long long)harness->version);
}

static void publish_garbage(struct harness *harness)
{
    struct error err;
    int fd;

    if (memory_sealed("garbage",
                      SLICE("this is not a snapshot at all, but it is long enough to be one"), &fd,
                      &err) != 0)
        die("garbage", &err);
    for (unsigned i = 0; i < harness->edge_count; i++)
        publish_to(&harness->edges[i], fd);
    close(fd);
}

static void on_control_message(struct channel *channel, const void *message, size_t len, int *fds,
                               size_t fd_count)
{
    struct edge_process *edge = container_of(channel, struct edge_process, control);
    const struct peer_drained *drained = message;

    (void)fds;
    (void)fd_count;
    (void)len;
    switch (drained->type) {
    case PEER_ACK:
        report("ack edge %u version %llu", edge->index,
               (unsigned long long)((const struct peer_ack *)message)->version);
        break;
    case PEER_DRAINED:
        report("drained edge %u version %llu instance %llu tunnels %u", edge->index,
               (unsigned long long)drained->version, (unsigned long long)drained->instance,
               drained->is_tunnels);
        break;
    case PEER_CERTIFICATE_WANTED:
        report("wanted edge %u %s", edge->index,
               (const char *)message + sizeof(struct peer_certificate));
        break;
    case PEER_REJECT:
        report("reject edge %u %s", edge->index, (const char *)message + sizeof(uint32_t));
        break;
    default:
        report("unknown edge %u message %u", edge->index, drained->type);
    }
}

static void on_channel_closed(struct channel *channel)
{
    (void)channel; /* the exit tells more */
}

/* ---- the keeper's part */

static void on_keeper_message(struct channel *channel, const void *message, size_t len, int *fds,
                              size_t fd_count)
{
    struct edge_process *edge = container_of(channel, struct edge_process, keeper);

    (void)fds;
    (void)fd_count;
    (void)len;
    if (((const struct keeper_header *)message)->type == KEEPER_READY)
        report("ready edge %u pid %d", edge->index, (int)edge->pid);
}

static void tell(struct edge_process *edge, const void *message, size_t len, int fd)
{
    if (channel_post(&edge->keeper, message, len, &fd, fd >= 0) != 0)
        die("keeper channel", NULL);
}

static void tell_hello(struct edge_process *edge)
{
    struct {
        struct keeper_hello hello;
        char directory[8];
    } message = {.hello = {.header = {.type = KEEPER_HELLO},
                           .protocol_version = KEEPER_PROTOCOL_VERSION,
                           .role = KEEPER_ROLE_EDGE,
                           .role_index = edge->index,
                           .edge_count = edge->harness->edge_count,
                           .http_port = edge->harness->http_port,
                           .https_port = edge->harness->https_port,
                           .log_level = edge->harness->level},
                 .directory = "/"};

    tell(edge, &message, sizeof(message), -1);
}

static void tell_held(struct edge_process *edge, int fd)
{
    struct {
        struct keeper_held held;
        char name[16];
    } message = {.held = {.header = {.type = KEEPER_HELD}}, .name = "snapshot"};

    tell(edge, &message, sizeof(message), fd);
}

static void give_control(struct edge_process *edge)
{
    struct error err = {0};
    int control[2];

    if (channel_pair(control, &err) != 0)
        die("channels", &err);
    edge->control =
        (struct channel){.on_message = on_control_message, .on_closed = on_channel_closed};
    if (channel_start(&edge->control, edge->harness->loop, control[0], &err) != 0)
        die("channels", &err);
    tell(edge, &(struct keeper_peer){.header = {.type = KEEPER_PEER}, .role = KEEPER_ROLE_CONTROL},
         sizeof(struct keeper_peer), control[1]);
    close(control[1]);
}

static void give_signer(struct edge_process *edge)
{
    int fd;

    if (!edge->harness->tls.has_channel)
        return;
    fd = harness_signer_link(&edge->harness->tls, edge->index);
    tell(edge, &(struct keeper_peer){.header = {.type = KEEPER_PEER}, .role = KEEPER_ROLE_SIGNER},
         sizeof(struct keeper_peer), fd);
    close(fd);
}

static void give_listener(struct edge_process *edge, enum keeper_listener_kind kind, int fd)
{
    struct keeper_listener message = {.header = {.type = KEEPER_LISTENER}, .kind = kind};

    if (fd >= 0)
        tell(edge, &message, sizeof(message), fd);
}

static void edge_spawn(struct edge_process *edge)
{
    struct harness *harness = edge->harness;
    int keeper[2];
    struct error err;

    if (channel_pair(keeper, &err) != 0)
        die("channels", &err);
    fflush(stdout);
    edge->pid = fork();
    if (edge->pid < 0)
        die("fork", NULL);
    if (edge->pid == 0)
        harness_role_run(keeper[1], edge_main);
    close(keeper[1]);
    edge->keeper =
        (struct channel){.on_message = on_keeper_message, .on_closed = on_channel_closed};
    if (channel_start(&edge->keeper, harness->loop, keeper[0], &err) != 0)
        die("channels", &err);
    tell_hello(edge);
    give_control(edge);
    give_signer(edge);
    give_listener(edge, KEEPER_LISTENER_HTTP, harness->listener);
    give_listener(edge, KEEPER_LISTENER_HTTPS, harness->tls_listener);
    tell(edge, &(struct keeper_counters){.header = {.type = KEEPER_COUNTERS}},
         sizeof(struct keeper_counters), edge->counters_fd);
    tell(edge, &(struct keeper_access){.header = {.type = KEEPER_ACCESS}},
         sizeof(struct keeper_access), edge->access_fd);
    if (!harness->has_no_snapshot) {
        int fd = build_snapshot(harness);

        tell_held(edge, fd);
        tell(edge, &(struct keeper_table_end){.header = {.type = KEEPER_TABLE_END}},
             sizeof(struct keeper_table_end), -1);
        publish_to(edge, fd);
        close(fd);
        return;
    }
    tell(edge, &(struct keeper_table_end){.header = {.type = KEEPER_TABLE_END}},
         sizeof(struct keeper_table_end), -1);
}

static void edge_prepare(struct harness *harness, unsigned index)
{
    struct edge_process *edge = &harness->edges[index];
    struct error err;
    void *base;
    size_t size;

    edge->harness = harness;
    edge->index = index + 1;
    if (memory_shared("counters", sizeof(struct counters), &edge->counters_fd, &err) != 0 ||
        memory_map(edge->counters_fd, false, false, &base, &size, &err) != 0)
        die("counters", &err);
    edge->counters = base;
    edge->access_fd = open(harness->access ? harness->access : "/dev/null",
                           O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0644);
    if (edge->access_fd < 0)
        die("access file", NULL);
}

static void on_child(struct loop_signal *handle)
{
    struct harness *harness = container_of(handle, struct harness, child);
    unsigned alive = 0;
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == harness->tls.pid) {
            report("exited signer status %d signal %d",
                   WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                   WIFSIGNALED(status) ? WTERMSIG(status) : 0);
            harness->tls.pid = 0;
            harness_signer_stop(&harness->tls); /* its channel's end may not be read yet */
        }
        for (unsigned i = 0; i < harness->edge_count; i++) {
            struct edge_process *edge = &harness->edges[i];

            if (edge->pid != pid)
                continue;
            report("exited edge %u status %d signal %d", edge->index,
                   WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                   WIFSIGNALED(status) ? WTERMSIG(status) : 0);
            channel_stop(&edge->keeper);
            channel_stop(&edge->control);
            edge->pid = 0;
            if (!harness->is_quitting)
                edge_spawn(edge);
        }
    }
    for (unsigned i = 0; i < harness->edge_count; i++)
        alive += harness->edges[i].pid != 0;
    if (harness->is_quitting && alive == 0 && harness->tls.pid)
        harness_signer_quit(&harness->tls);
    else if (harness->is_quitting && alive == 0)
        loop_stop(harness->loop);
}

static void quit(struct harness *harness, unsigned grace_ms)
{
    struct keeper_quit message = {.header = {.type = KEEPER_QUIT}, .grace_ms = grace_ms};

    harness->is_quitting = true;
    for (unsigned i = 0; i < harness->edge_count; i++)
        if (harness->edges[i].pid)
            tell(&harness->edges[i], &message, sizeof(message), -1);
}

static void on_interrupt(struct loop_signal *handle)
{
    quit(container_of(handle, struct harness, interrupt), 1000);
}

static void on_terminate(struct loop_signal *handle)
{
    quit(container_of(handle, struct harness, terminate), 1000);
}

/* ---- commands */

static void add_endpoint(struct harness *harness, const char *text)
{
    struct upstream_endpoint *endpoint = &harness->endpoints[harness->endpoint_count];
    struct error err;

    if (harness->endpoint_count == ENDPOINTS_MAX)
        die("too many upstreams", NULL);
    if (address_parse(text, &endpoint->address, &err) != 0)
        die("address", &err);
    endpoint->instance = 1000 + ++harness->endpoint_count;
    endpoint->state = SNAPSHOT_ACTIVE;
}

static void print_counters(const struct harness *harness)
{
    for (unsigned i = 0; i < harness->edge_count; i++) {
        const struct counters *counters = harness->edges[i].counters;

        report("counters edge %u connections %u requests %llu 4xx %llu 5xx %llu dropped %llu",
               i + 1, counters->connections, (unsigned long long)counters->requests,
               (unsigned long long)counters->errors_4xx, (unsigned long long)counters->errors_5xx,
               (unsigned long long)counters->access_dropped);
        report("tls edge %u handshakes %llu resumed %llu failures %llu shed %llu", i + 1,
               (unsigned long long)counters->tls.handshakes,
               (unsigned long long)counters->tls.resumed,
               (unsigned long long)counters->tls.failures, (unsigned long long)counters->tls.shed);
        for (unsigned slot = 0; slot < harness->endpoint_count; slot++) {
            const struct counters_endpoint *endpoint = &counters->endpoints[slot];

            report("endpoint edge %u instance %llu in_flight %u tunnels %u requests %llu failures "
                   "%llu",
                   i + 1, (unsigned long long)endpoint->instance, endpoint->in_flight,
                   endpoint->tunnels, (unsigned long long)endpoint->requests,
                   (unsigned long long)endpoint->failures);
        }
    }
    report("counters end");
}

static void signer_command(struct harness *harness, const char *argument)
{
    if (strcmp(argument, "stop") == 0) {
        harness_signer_stop(&harness->tls);
        return;
    }
    harness_signer_start(&harness->tls);
    for (unsigned i = 0; i < harness->edge_count; i++)
        give_signer(&harness->edges[i]);
}

static void refuse_host(struct harness *harness, const char *host)
{
    struct {
        struct peer_certificate head;
        char host[256];
    } message = {.head = {.type = PEER_CERTIFICATE_REFUSED}};

    snprintf(message.host, sizeof(message.host), "%s", host);
    for (unsigned i = 0; i < harness->edge_count; i++)
        if (channel_post(&harness->edges[i].control, &message,
                         sizeof(message.head) + strlen(message.host) + 1, NULL, 0) != 0)
            die("refuse", NULL);
}

static void run_command(struct harness *harness, struct slice line)
{
    struct slice rest = slice_trim(line);
    struct slice word = slice_cut(&rest, ' ');
    char argument[128] = "";
    uint64_t number = 0;
    bool is_changed;

    snprintf(argument, sizeof(argument), SLICE_FORMAT, SLICE_ARG(slice_trim(rest)));
    (void)!slice_to_u64(slice_from(argument), &number);
    if (slice_eq(word, SLICE("add"))) {
        add_endpoint(harness, argument);
        publish(harness);
    } else if (slice_eq(word, SLICE("drain")) || slice_eq(word, SLICE("activate")) ||
               slice_eq(word, SLICE("remove"))) {
        struct upstream_endpoint *endpoint = &harness->endpoints[(number - 1) % ENDPOINTS_MAX];

        endpoint->state = slice_eq(word, SLICE("drain")) ? SNAPSHOT_DRAINING : SNAPSHOT_ACTIVE;
        endpoint->is_removed = slice_eq(word, SLICE("remove"));
        publish(harness);
    } else if (slice_eq(word, SLICE("publish"))) {
        publish(harness);
    } else if (slice_eq(word, SLICE("garbage"))) {
        publish_garbage(harness);
    } else if (slice_eq(word, SLICE("signer"))) {
        signer_command(harness, argument);
    } else if (slice_eq(word, SLICE("refuse"))) {
        refuse_host(harness, argument);
    } else if (slice_eq(word, SLICE("control"))) {
        for (unsigned i = 0; i < harness->edge_count; i++) {
            channel_stop(&harness->edges[i].control);
            give_control(&harness->edges[i]);
        }
    } else if (harness_tls_command(&harness->tls, word, argument, &is_changed)) {
        if (is_changed)
            publish(harness);
    } else if (slice_eq(word, SLICE("counters"))) {
        print_counters(harness);
    } else if (slice_eq(word, SLICE("kill"))) {
        if (number >= 1 && number <= harness->edge_count && harness->edges[number - 1].pid)
            (void)kill(harness->edges[number - 1].pid, SIGKILL);
    } else if (slice_eq(word, SLICE("quit"))) {
        quit(harness, number ? (unsigned)number : 1000);
    } else if (word.len) {
        report("what? " SLICE_FORMAT, SLICE_ARG(word));
    }
}

static void on_input(struct loop_io *io, unsigned events)
{
    struct harness *harness = container_of(io, struct harness, input);
    ssize_t got =
        read(io->fd, harness->line + harness->line_len, sizeof(harness->line) - harness->line_len);
    char *newline;

    (void)events;
    if (got <= 0) {
        loop_io_stop(io);
        return;
    }
    harness->line_len += (size_t)got;
    while ((newline = memchr(harness->line, '\n', harness->line_len))) {
        size_t len = (size_t)(newline - harness->line);

        run_command(harness, (struct slice){harness->line, len});
        harness->line_len -= len + 1;
        memmove(harness->line, newline + 1, harness->line_len);
    }
    if (harness->line_len == sizeof(harness->line))
        harness->line_len = 0;
}

/* ---- start */

static void set_option(struct harness *harness, const char *text)
{
#define SETTING(name)                                                                              \
    {                                                                                              \
#name, &harness->settings.name                                                             \
    }
#define ROUTING(name)                                                                              \
    {                                                                                              \
#name, &harness->route.name                                                                \
    }
    const struct {
        const char *name;
        uint32_t *value;
    } options[] = {
        SETTING(header_timeout_ms),
        SETTING(body_idle_timeout_ms),
        SETTING(keepalive_timeout_ms),
        SETTING(send_timeout_ms),
        SETTING(upstream_keepalive_ms),
        SETTING(header_limit_bytes),
        SETTING(header_limit_count),
        SETTING(connection_limit),
        SETTING(connection_limit_per_client),
        SETTING(handshake_timeout_ms),
        SETTING(http2_streams),
        SETTING(accepts_h2c),
        ROUTING(retries),
        ROUTING(connect_timeout_ms),
        ROUTING(first_byte_timeout_ms),
        ROUTING(idle_timeout_ms),
        ROUTING(tunnel_idle_timeout_ms),
        ROUTING(upstream_protocol),
        ROUTING(upstream_proxy_version),
    };
    struct slice rest = slice_from(text);
    struct slice name = slice_cut(&rest, '=');
    uint64_t value;

    if (slice_to_u64(rest, &value) != 0)
        die(text, NULL);
    if (slice_eq(name, SLICE("body_limit_bytes"))) {
        harness->route.body_limit_bytes = value;
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (slice_eq(name, slice_from(options[i].name))) {
            *options[i].value = (uint32_t)value;
            return;
        }
    die(text, NULL);
}

static void parse_arguments(struct harness *harness, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct slice name = slice_from(argv[i]);
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (slice_eq(name, SLICE("--no-snapshot"))) {
            harness->has_no_snapshot = true;
            continue;
        }
        if (!value)
            die(argv[i], NULL);
        i++;
        if (slice_eq(name, SLICE("--listen")))
            harness->listen = value;
        else if (slice_eq(name, SLICE("--listen-tls")))
            harness->listen_tls = value;
        else if (slice_eq(name, SLICE("--upstream")))
            add_endpoint(harness, value);
        else if (slice_eq(name, SLICE("--static")))
            harness->site = value;
        else if (slice_eq(name, SLICE("--access")))
            harness->access = value;
        else if (slice_eq(name, SLICE("--set")))
            set_option(harness, value);
        else if (slice_eq(name, SLICE("--edges")))
            harness->edge_count = (unsigned)strtoul(value, NULL, 10);
        else if (slice_eq(name, SLICE("--log-level"))) {
            if (log_level_from_name(value, &harness->level) != 0)
                die(value, NULL);
        } else if (!harness_tls_argument(&harness->tls, name, value))
            die(argv[i - 1], NULL);
    }
    if (!harness->listen || harness->edge_count < 1 || harness->edge_count > EDGES_MAX)
        die("--listen ADDR:PORT is needed; see the top of edge_harness.c", NULL);
}

int main(int argc, char **argv)
{
    static struct harness harness = {.edge_count = 1, .level = LOG_INFO, .tls_listener = -1};
    struct address address;
    struct error err = {0};

    log_init("harness", LOG_INFO);
    parse_arguments(&harness, argc, argv);
    if (loop_new(&harness.loop, &err) != 0 || address_parse(harness.listen, &address, &err) != 0 ||
        socket_listen(&address, 4096, &harness.listener, &err) != 0)
        die("start", &err);
    harness.http_port = address_port(&address);
    if (harness.listen_tls) {
        if (address_parse(harness.listen_tls, &address, &err) != 0 ||
            socket_listen(&address, 4096, &harness.tls_listener, &err) != 0)
            die("start", &err);
        harness.https_port = address_port(&address);
        harness.tls.is_wanted = true;
    }
    harness.tls.loop = harness.loop;
    harness_tls_prepare(&harness.tls);
    harness.child.on_signal = on_child;
    harness.interrupt.on_signal = on_interrupt;
    harness.terminate.on_signal = on_terminate;
    if (loop_signal_start(harness.loop, &harness.child, SIGCHLD, &err) != 0 ||
        loop_signal_start(harness.loop, &harness.interrupt, SIGINT, &err) != 0 ||
        loop_signal_start(harness.loop, &harness.terminate, SIGTERM, &err) != 0)
        die("signals", &err);
    if (harness.tls.host_count)
        harness_signer_start(&harness.tls);
    for (unsigned i = 0; i < harness.edge_count; i++) {
        edge_prepare(&harness, i);
        edge_spawn(&harness.edges[i]);
    }
    harness.input = (struct loop_io){.fd = STDIN_FILENO, .on_event = on_input};
    if (loop_io_start(harness.loop, &harness.input, LOOP_READ, &err) != 0)
        log_debug("no commands: %s", err.text); /* /dev/null cannot be watched */
    if (loop_run(harness.loop, &err) != 0)
        die("loop", &err);
    loop_io_stop(&harness.input);
    loop_signal_stop(&harness.child);
    loop_signal_stop(&harness.interrupt);
    loop_signal_stop(&harness.terminate);
    loop_free(harness.loop);
    return 0;
}
