/* tls.c - what a TLS handshake costs a server process, with the private key in it and with the key
 * in the signer; what an idle connection keeps; what bulk data costs. Commands: see main.
 *
 * The server side is the code of the platform: net/tls.h on a loop, and the signer role as it is,
 * in a process of its own behind the channel that the keeper would give it. Clients are other
 * processes. CPU time is the processes' own clock. Build: see bench/README.md.
 */
#include "base/clock.h"
#include "base/keeper_protocol.h"
#include "base/log.h"
#include "loop/channel.h"
#include "net/keyset.h"
#include "net/private_key.h"
#include "net/tls_private.h"
#include "net/x509.h"
#include "os/memory.h"
#include "os/socket.h"
#include "signer/signer.h"
#include <errno.h>
#include <malloc.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS    16
#define ROUNDS_MAX 99
#define PHASE      64 /* handshakes */
#define PHASES     20 /* of each way, in a round */

/* The steps between, to see what each costs. */
enum key_place { IN_PROCESS, WITH_JOBS, WITH_PAUSES, IN_SIGNER, PLACES };

struct identity {
    struct buf key, pem, der;
    uint8_t id[PEER_KEY_ID_BYTES];
};

struct bench;

struct connection {
    struct loop_io io;
    struct bench *bench;
    struct tls *tls;
    enum key_place place;
    bool has_begun;
};

struct bench {
    struct loop *loop;
    struct loop_io listener;
    struct channel signer;
    struct tls_server *server;
    struct identity identity;
    enum key_place place;
    EVP_PKEY *own_key, *public_key;
    struct private_key *private_key;
    pid_t signer_pid;
    int keeper_fd;
    unsigned port, done, wanted;
    bool stays;
    struct connection *waiting[65536]; /* by request number */
    uint64_t requests;
};

static void must(bool is_good, const char *what)
{
    if (is_good)
        return;
    fprintf(stderr, "%s failed: %s\n", what, strerror(errno));
    exit(1);
}

static void pin(int core)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(core, &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}

static double cpu_us(pid_t pid)
{
    clockid_t clock;
    struct timespec at;

    must(clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &at) == 0, "CPU clock");
    return (double)at.tv_sec * 1e6 + (double)at.tv_nsec / 1e3;
}

/* ---- the signer */

static void signer_start(struct bench *bench)
{
    struct keeper_hello hello = {.header = {.type = KEEPER_HELLO},
                                 .protocol_version = KEEPER_PROTOCOL_VERSION,
                                 .log_level = LOG_WARNING};
    struct keeper_peer peer = {.header = {.type = KEEPER_PEER}, .role = KEEPER_ROLE_EDGE};
    struct {
        struct keeper_held held;
        char name[8];
    } held = {{.header = {.type = KEEPER_HELD}}, "keys"};
    struct keyset_key key = {.der = buf_slice(&bench->identity.der)};
    struct buf block = BUF_INIT(65536);
    int fds[2], edge[2], keys;

    memcpy(key.id, bench->identity.id, sizeof(key.id));
    must(keyset_build(&key, 1, 1, &block, NULL) == 0, "keyset");
    must(memory_sealed("keys", buf_slice(&block), &keys, NULL) == 0, "memfd");
    must(channel_pair(fds, NULL) == 0 && channel_pair(edge, NULL) == 0, "channel");
    bench->signer_pid = fork();
    if (bench->signer_pid == 0) {
        (void)dup2(fds[1], KEEPER_CHANNEL_FD);
        _exit(signer_main());
    }
    bench->keeper_fd = fds[0];
    must(channel_send(fds[0], &hello, sizeof(hello), NULL, 0) == 0, "hello");
    must(channel_send(fds[0], &held, sizeof(held.held) + 5, &keys, 1) == 0, "keys");
    must(channel_send(fds[0], &peer, sizeof(peer), &edge[1], 1) == 0, "peer");
    (void)close(edge[1]);
    (void)close(keys);
    must(channel_start(&bench->signer, bench->loop, edge[0], NULL) == 0, "channel");
    buf_wipe(&block);
}

static void step(struct connection *connection);

static void on_signed(struct channel *channel, const void *message, size_t len, int *fds,
                      size_t fd_count)
{
    struct bench *bench = container_of(channel, struct bench, signer);
    const struct peer_signed *answer = message;
    struct connection *connection = bench->waiting[answer->request % ARRAY_LEN(bench->waiting)];

    (void)fds;
    (void)fd_count;
    must(len == sizeof(*answer) + answer->len && !answer->is_refused, "signing");
    tls_sign_answer(connection->tls, (struct slice){(const char *)(answer + 1), answer->len});
    step(connection);
}

static void on_signer_closed(struct channel *channel)
{
    (void)channel;
    must(false, "the signer");
}

/* The same work without another process. */
static void sign_here(struct connection *connection)
{
    const struct tls_sign_request *request = tls_sign_request(connection->tls);
    uint8_t signature[PEER_SIGNATURE_MAX];
    size_t len;

    must(private_key_sign(connection->bench->private_key, request->kind,
                          (struct slice){(const char *)request->bytes, request->len}, signature,
                          &len) == 0,
         "signing");
    tls_sign_answer(connection->tls, (struct slice){(const char *)signature, len});
    step(connection);
}

static void ask(struct connection *connection)
{
    struct bench *bench = connection->bench;
    const struct tls_sign_request *request = tls_sign_request(connection->tls);
    struct {
        struct peer_sign header;
        uint8_t bytes[PEER_SIGN_BYTES_MAX];
    } message = {.header = {.type = PEER_SIGN,
                            .kind = request->kind,
                            .request = bench->requests++,
                            .len = (uint32_t)request->len}};

    memcpy(message.header.key_id, request->key_id, PEER_KEY_ID_BYTES);
    memcpy(message.bytes, request->bytes, request->len);
    bench->waiting[message.header.request % ARRAY_LEN(bench->waiting)] = connection;
    must(channel_post(&bench->signer, &message, sizeof(message.header) + request->len, NULL, 0) ==
             0,
         "posting");
}

/* ---- the server */

static void connection_end(struct connection *connection)
{
    struct bench *bench = connection->bench;

    if (!bench->stays) {
        tls_free(connection->tls);
        loop_io_stop(&connection->io);
        (void)close(connection->io.fd);
        free(connection);
    }
    if (++bench->done == bench->wanted)
        loop_stop(bench->loop);
}

static void step(struct connection *connection)
{
    switch (tls_handshake(connection->tls)) {
    case TLS_WANT_SIGNATURE:
        if (connection->place == WITH_PAUSES)
            sign_here(connection);
        else
            ask(connection);
        break;
    case TLS_DONE:
        connection_end(connection);
        break;
    case TLS_FAILED:
        fprintf(stderr, "handshake: %s\n", tls_failure(connection->tls));
        exit(1);
    default:
        break;
    }
}

static void on_event(struct loop_io *io, unsigned events)
{
    struct connection *connection = container_of(io, struct connection, io);

    (void)events;
    if (!connection->has_begun) { /* the ClientHello is there */
        connection->has_begun = true;
        connection->place = connection->bench->place;
        if (connection->place == IN_PROCESS)
            SSL_clear_mode(connection->tls->ssl, SSL_MODE_ASYNC);
    }
    step(connection);
}

static void on_accept(struct loop_io *io, unsigned events)
{
    struct bench *bench = container_of(io, struct bench, listener);
    int fd;

    (void)events;
    while ((fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *connection = calloc(1, sizeof(*connection));

        must(socket_set_nodelay(fd) == 0, "nodelay");
        connection->bench = bench;
        connection->io.fd = fd;
        connection->io.on_event = on_event;
        must(tls_accept(bench->server, fd, &connection->tls, NULL) == 0, "accept");
        must(loop_io_start(bench->loop, &connection->io, LOOP_READ | LOOP_EDGE, NULL) == 0, "io");
    }
}

/* ---- the other side */

static int dial(unsigned port)
{
    struct address address;
    char text[64];
    int fd;

    snprintf(text, sizeof(text), "127.0.0.1:%u", port);
    must(address_parse(text, &address, NULL) == 0 && socket_connect(&address, &fd, NULL) == 0,
         "connect");
    must(socket_set_nodelay(fd) == 0, "nodelay");
    return fd;
}

static void wait_for(int fd, short events)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};

    (void)poll(&poll_fd, 1, 30000);
}

static struct tls *shake(struct tls_client *client, int fd)
{
    struct tls *tls;
    enum tls_result result;

    must(tls_connect(client, fd, "bench.test", &tls, NULL) == 0, "connect");
    while ((result = tls_handshake(tls)) != TLS_DONE) {
        if (result == TLS_FAILED) {
            fprintf(stderr, "client: %s\n", tls_failure(tls));
            exit(1);
        }
        wait_for(fd, result == TLS_WANT_READ ? POLLIN : POLLOUT);
    }
    return tls;
}

/* Handshakes one after another until the server has enough. With `resumes` the ticket of the first
 * one is used by all. */
static NORETURN void be_client(unsigned port, bool resumes)
{
    struct tls_client_spec spec = {.is_unverified = true};
    struct tls_client *client = NULL;

    for (;;) {
        char byte;
        int fd = dial(port);
        struct tls *tls;

        if (!client)
            must(tls_client_new(&spec, &client, NULL) == 0, "client");
        tls = shake(client, fd);
        for (int turn = 0; turn < 100 && tls_read(tls, &byte, 1) == TLS_AGAIN; turn++)
            wait_for(fd, POLLIN); /* ticket, close_notify */
        tls_free(tls);
        (void)close(fd);
        if (!resumes) {
            tls_client_unref(client);
            client = NULL;
        }
    }
}

/* ---- set up */

static void identity_make(struct identity *identity, EVP_PKEY *key)
{
    static const char *const name = "bench.test";
    struct buf authority_key = BUF_INIT(65536), authority = BUF_INIT(65536);
    BIO *bio = BIO_new(BIO_s_mem());
    char *bytes;
    long len;

    *identity = (struct identity){BUF_INIT(65536), BUF_INIT(65536), BUF_INIT(65536), {0}};
    must(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1, "PEM");
    len = BIO_get_mem_data(bio, &bytes);
    buf_append(&identity->key, bytes, (size_t)len);
    BIO_free(bio);
    must(x509_make_key(&authority_key, NULL) == 0 &&
             x509_make_authority(buf_slice(&authority_key), "Bench", 864000, &authority, NULL) ==
                 0 &&
             x509_make_leaf(buf_slice(&authority), buf_slice(&authority_key),
                            buf_slice(&identity->key), &name, 1, 86400, &identity->pem, NULL) == 0,
         "certificate");
    buf_append_slice(&identity->pem, buf_slice(&authority)); /* a chain of two, as from a CA */
    must(x509_read_key(buf_slice(&identity->key), identity->id, &identity->der, NULL) == 0, "key");
    buf_done(&authority);
    buf_wipe(&authority_key);
}

static void server_make(struct bench *bench, EVP_PKEY *key)
{
    struct tls_certificate_spec spec = {.chain_pem = buf_slice(&bench->identity.pem)};
    struct tls_name_spec name = {.name = SLICE("bench.test"), .client_ca = TLS_NO_CLIENT_CA};
    char keys[TLS_TICKET_KEY_BYTES];

    memset(keys, 7, sizeof(keys));
    memcpy(spec.key_id, bench->identity.id, sizeof(spec.key_id));
    must(tls_server_new(&bench->server, NULL) == 0 &&
             tls_server_certificate(bench->server, &spec, &name.certificate, NULL) == 0 &&
             tls_server_name(bench->server, &name, NULL) == 0 &&
             tls_server_ticket_keys(bench->server, (struct slice){keys, sizeof(keys)}, NULL) == 0,
         "server");
    tls_certificate_parse(bench->server->served[0].certificate);
    bench->own_key = key;
    bench->public_key = bench->server->served[0].certificate->key;
}

static void place_set(struct bench *bench, enum key_place place)
{
    bench->place = place;
    bench->server->served[0].certificate->key =
        place <= WITH_JOBS ? bench->own_key : bench->public_key;
}

static void bench_open(struct bench *bench, EVP_PKEY *key)
{
    struct address address;
    socklen_t len = sizeof(address.in);

    memset(bench, 0, sizeof(*bench));
    must(loop_new(&bench->loop, NULL) == 0, "loop");
    identity_make(&bench->identity, key);
    server_make(bench, key);
    must(address_parse("127.0.0.1:0", &address, NULL) == 0 &&
             socket_listen(&address, 1024, &bench->listener.fd, NULL) == 0 &&
             getsockname(bench->listener.fd, &address.any, &len) == 0,
         "listen");
    bench->port = ntohs(address.in.sin_port);
    bench->listener.on_event = on_accept;
    must(loop_io_start(bench->loop, &bench->listener, LOOP_READ, NULL) == 0, "listener");
    bench->signer.on_message = on_signed;
    bench->signer.on_closed = on_signer_closed;
    must(private_key_load(buf_slice(&bench->identity.der), bench->identity.id, &bench->private_key,
                          NULL) == 0,
         "key");
    signer_start(bench);
    place_set(bench, IN_SIGNER);
}

static void end_process(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

struct cost { /* CPU microseconds a handshake, in one phase */
    double edge, signer;
};

/* All ways in turn, PHASE handshakes each, so that other work on the machine meets them alike. */
static void phases_run(struct bench *bench, struct cost costs[PLACES][PHASES])
{
    for (unsigned i = 0; i < PHASES * PLACES; i++) {
        enum key_place place = (i + i / PLACES) % PLACES;
        struct cost *cost = &costs[place][i / PLACES];
        double edge, signer;

        place_set(bench, place);
        bench->wanted += CLIENTS; /* those that began before */
        must(loop_run(bench->loop, NULL) == 0, "loop");
        edge = cpu_us(getpid());
        signer = cpu_us(bench->signer_pid);
        bench->wanted += PHASE;
        must(loop_run(bench->loop, NULL) == 0, "loop");
        cost->edge = (cpu_us(getpid()) - edge) / PHASE;
        cost->signer = (cpu_us(bench->signer_pid) - signer) / PHASE;
    }
}

/* One round in a process of its own, so that none inherits the heap of another. */
static void round_run(EVP_PKEY *key, bool resumes, bool is_alone,
                      struct cost ret_costs[PLACES][PHASES])
{
    size_t size = PLACES * PHASES * sizeof(struct cost);
    int fds[2];
    pid_t pid;

    must(pipe(fds) == 0, "pipe");
    pid = fork();
    if (pid == 0) {
        static struct bench bench;
        static struct cost costs[PLACES][PHASES];
        pid_t clients[CLIENTS];

        pin(0);
        bench_open(&bench, key);
        for (int i = 0; i < CLIENTS; i++)
            if ((clients[i] = fork()) == 0) {
                pin(i % 2 || is_alone); /* in a rush, they have to queue for the server */
                be_client(bench.port, resumes);
            }
        bench.wanted = 200; /* warm */
        must(loop_run(bench.loop, NULL) == 0, "loop");
        phases_run(&bench, costs);
        for (int i = 0; i < CLIENTS; i++)
            end_process(clients[i]);
        end_process(bench.signer_pid);
        must(write(fds[1], costs, size) == (ssize_t)size, "write");
        _exit(0);
    }
    (void)close(fds[1]);
    must(read(fds[0], ret_costs, size) == (ssize_t)size, "round");
    (void)close(fds[0]);
    (void)waitpid(pid, NULL, 0);
}

static int by_sum(const void *a, const void *b)
{
    const struct cost *x = a, *y = b;
    double left = x->edge + x->signer, right = y->edge + y->signer;

    return (left > right) - (left < right);
}

/* The median of all phases, and their lower tenth: what is left when other work on the machine
 * disturbs least. */
static void handshakes(const char *kind, EVP_PKEY *key, bool resumes, bool is_alone,
                       unsigned rounds)
{
    static const char *const names[] = {"key in process", "and jobs", "and pauses",
                                        "key in signer"};
    static struct cost costs[ROUNDS_MAX][PLACES][PHASES], all[ROUNDS_MAX * PHASES];
    double first[2] = {0};

    for (unsigned i = 0; i < rounds; i++)
        round_run(key, resumes, is_alone, costs[i]);
    for (unsigned n = 0; n < PLACES; n++) {
        for (unsigned i = 0; i < rounds; i++)
            memcpy(all + i * PHASES, costs[i][n], sizeof(costs[i][n]));
        qsort(all, rounds * PHASES, sizeof(all[0]), by_sum);
        printf("%-12s %-8s %-15s", kind, resumes ? "resumed" : "full", names[n]);
        for (unsigned k = 0; k < 2; k++) {
            const struct cost *cost = &all[rounds * PHASES / (k ? 10 : 2)];
            double sum = cost->edge + cost->signer;

            if (n == IN_PROCESS)
                first[k] = sum;
            printf(" %s edge %6.1f us + signer %5.1f us, ratio %.3f%s",
                   k ? "lower tenth" : "median", cost->edge, cost->signer, sum / first[k],
                   k ? "\n" : ";");
        }
    }
    (void)fflush(stdout);
}

/* ---- memory of idle connections */

static long heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();

    return (long)(info.uordblks + info.hblkhd);
}

static long resident_kib(void)
{
    char text[4096];
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    long kib = 0, value;

    while (file && fgets(text, sizeof(text), file))
        if (sscanf(text, "Private_Dirty: %ld", &value) == 1)
            kib = value;
    if (file)
        (void)fclose(file);
    return kib;
}

static void idle(unsigned count)
{
    static struct bench bench;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    long heap, resident;
    pid_t pid;

    bench_open(&bench, key);
    pid = fork();
    if (pid == 0) {
        struct tls_client_spec spec = {.is_unverified = true};
        struct tls_client *client;

        must(tls_client_new(&spec, &client, NULL) == 0, "client");
        for (unsigned i = 0; i < count + 100; i++)
            (void)shake(client, dial(bench.port));
        (void)pause();
    }
    bench.stays = true;
    bench.wanted = 100;
    must(loop_run(bench.loop, NULL) == 0, "loop");
    heap = heap_bytes();
    resident = resident_kib();
    bench.wanted += count;
    must(loop_run(bench.loop, NULL) == 0, "loop");
    printf("idle: %ld bytes of heap, %.2f KiB of private memory a connection (sizeof struct tls "
           "%zu)\n",
           (heap_bytes() - heap) / (long)count, (double)(resident_kib() - resident) / (double)count,
           sizeof(struct tls));
    end_process(pid);
    end_process(bench.signer_pid);
}

/* ---- bulk */

static void bulk(unsigned megabytes)
{
    static struct bench bench;
    static char bytes[65536];
    size_t total = (size_t)megabytes << 20;
    EVP_PKEY *key = EVP_EC_gen("P-256");

    for (int is_receiving = 0; is_receiving < 2; is_receiving++) {
        struct tls *tls = NULL;
        size_t moved = 0;
        double before;
        pid_t pid;
        int fd;

        bench_open(&bench, key);
        place_set(&bench, IN_PROCESS);
        pid = fork();
        if (pid == 0) {
            struct tls_client_spec spec = {.is_unverified = true};
            struct tls_client *client;
            struct iovec part = {bytes, sizeof(bytes)};

            pin(1);
            must(tls_client_new(&spec, &client, NULL) == 0, "client");
            fd = dial(bench.port);
            tls = shake(client, fd);
            for (ssize_t n;;) {
                n = is_receiving ? tls_write(tls, &part, 1) : tls_read(tls, bytes, sizeof(bytes));
                if (n == TLS_BROKEN || n == TLS_END)
                    _exit(0);
                if (n == TLS_AGAIN)
                    wait_for(fd, is_receiving ? POLLOUT : POLLIN);
            }
        }
        pin(0);
        wait_for(bench.listener.fd, POLLIN);
        fd = accept4(bench.listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        must(tls_accept(bench.server, fd, &tls, NULL) == 0, "accept");
        SSL_clear_mode(tls->ssl, SSL_MODE_ASYNC);
        for (enum tls_result result; (result = tls_handshake(tls)) != TLS_DONE;)
            wait_for(fd, result == TLS_WANT_READ ? POLLIN : POLLOUT);
        before = cpu_us(getpid());
        while (moved < total) {
            struct iovec part = {bytes, sizeof(bytes)};
            ssize_t n =
                is_receiving ? tls_read(tls, bytes, sizeof(bytes)) : tls_write(tls, &part, 1);

            must(n != TLS_BROKEN && n != TLS_END, "bulk");
            if (n == TLS_AGAIN)
                wait_for(fd, is_receiving ? POLLIN : POLLOUT);
            else
                moved += (size_t)n;
        }
        printf("%s: %.0f MB per CPU-second\n", is_receiving ? "receive" : "send",
               (double)moved / (cpu_us(getpid()) - before));
        end_process(pid);
        end_process(bench.signer_pid);
        tls_free(tls);
        (void)close(fd);
    }
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    unsigned long first = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    bool resumes = strcmp(what, "resume") == 0, is_alone = strcmp(what, "alone") == 0;

    log_init("bench", LOG_WARNING);
    (void)signal(SIGPIPE, SIG_IGN);
    if (strcmp(what, "idle") == 0) {
        idle(first ? (unsigned)first : 1000);
    } else if (strcmp(what, "bulk") == 0) {
        bulk(first ? (unsigned)first : 1000);
    } else if (resumes || is_alone || strcmp(what, "handshake") == 0) {
        unsigned rounds = first && first < ROUNDS_MAX ? (unsigned)first : 5;

        handshakes("ECDSA P-256", EVP_EC_gen("P-256"), resumes, is_alone, rounds);
        handshakes("RSA 2048", EVP_RSA_gen(2048), resumes, is_alone, rounds);
    } else {
        fprintf(
            stderr,
            "tls handshake ROUNDS  CPU time of a full TLS 1.3 handshake in a rush of them, key in "
            "the process and elsewhere, in turn\n"
            "tls alone ROUNDS      the same, hardly ever two at once\n"
            "tls resume ROUNDS     the same for resumed ones\n"
            "tls idle CONNECTIONS  memory of the server process for each\n"
            "tls bulk MEGABYTES    CPU time to send and to receive\n");
        return 2;
    }
    return 0;
}
