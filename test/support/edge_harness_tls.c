/* edge_harness_tls.c - the TLS side of the harness: an authority of its own, certificates for the
 * hosts that it serves, and the real signer role with their keys. */
#include "base/keeper_protocol.h"
#include "base/network.h"
#include "base/peer_protocol.h"
#include "edge_harness.h"
#include "net/keyset.h"
#include "net/tls.h"
#include "net/x509.h"
#include "os/file.h"
#include "os/memory.h"
#include "os/random.h"
#include "os/socket.h"
#include "signer/signer.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#define LIFETIME_S (30u * 86400u)
#define PEM_MAX    65536u

/* ---- arguments */

static void read_text(const char *path, struct buf *to)
{
    struct error err = {0};

    *to = BUF_INIT(PEM_MAX);
    if (file_read(path, PEM_MAX, to, &err) != 0)
        harness_die(path, &err);
}

static void read_key_file(struct harness_host *host, const char *path)
{
    struct buf pem;
    struct error err = {0};

    read_text(path, &pem);
    host->key_der = BUF_INIT(PEM_MAX);
    if (x509_read_key(buf_slice(&pem), host->key_id, &host->key_der, &err) != 0)
        harness_die(path, &err);
    buf_wipe(&pem);
    host->is_plain_certificate = true;
}

static void host_option(struct harness_host *host, struct slice option)
{
    char value[1024] = "";
    struct slice rest = option;
    struct slice name = slice_cut(&rest, '=');

    snprintf(value, sizeof(value), SLICE_FORMAT, SLICE_ARG(rest));
    if (slice_eq(name, SLICE("redirect")))
        host->tls.is_redirected = 1;
    else if (slice_eq(name, SLICE("tls13")))
        host->tls.is_tls13_only = 1;
    else if (slice_eq(name, SLICE("http1")))
        host->tls.is_http2_off = 1;
    else if (slice_eq(name, SLICE("secure-only")))
        host->tls.is_plain_off = 1;
    else if (slice_eq(name, SLICE("plain-only")))
        host->tls.is_tls = 0;
    else if (slice_eq(name, SLICE("on-demand")))
        host->tls.is_on_demand = host->is_hidden = true;
    else if (slice_eq(name, SLICE("hidden")))
        host->is_hidden = true;
    else if (slice_eq(name, SLICE("client")))
        host->has_client_authority = true;
    else if (slice_eq(name, SLICE("required")))
        host->has_client_authority = host->is_required = true;
    else if (slice_eq(name, SLICE("hsts")))
        host->transport_security = strdup(value);
    else if (slice_eq(name, SLICE("chain")))
        read_text(value, &host->chain);
    else if (slice_eq(name, SLICE("key")))
        read_key_file(host, value);
    else
        harness_die(value, NULL);
}

/* NAME[,option…]; "*" is any host. */
static void add_host(struct harness_tls *tls, const char *text)
{
    struct slice rest = slice_from(text);
    struct slice name = slice_cut(&rest, ',');
    struct harness_host *host;

    tls->hosts = reallocarray(tls->hosts, tls->host_count + 1, sizeof(*tls->hosts));
    if (!tls->hosts || tls->host_count == HARNESS_HOSTS_MAX)
        harness_die("too many hosts", NULL);
    host = &tls->hosts[tls->host_count++];
    *host = (struct harness_host){.tls = {.is_tls = 1}};
    host->name = slice_eq(name, SLICE("*")) ? strdup("") : strndup(name.ptr, name.len);
    while (rest.len)
        host_option(host, slice_cut(&rest, ','));
}

static void add_network(struct harness_networks *networks, const char *text)
{
    struct network network;
    struct snapshot_network *entry = &networks->list[networks->count];

    if (networks->count++ == HARNESS_NETWORKS_MAX || network_parse(slice_from(text), &network) != 0)
        harness_die(text, NULL);
    memcpy(entry->address, network.address, sizeof(entry->address));
    entry->prefix_bits = network.prefix_bits;
}

bool harness_tls_argument(struct harness_tls *tls, struct slice name, const char *value)
{
    if (slice_eq(name, SLICE("--host")))
        add_host(tls, value);
    else if (slice_eq(name, SLICE("--hosts"))) /* many: h0.many.test, h1.many.test, … */
        for (unsigned long i = 0, count = strtoul(value, NULL, 10); i < count; i++) {
            char host[64];

            snprintf(host, sizeof(host), "h%lu.many.test", i);
            add_host(tls, host);
        }
    else if (slice_eq(name, SLICE("--tls-directory")))
        tls->directory = value;
    else if (slice_eq(name, SLICE("--trusted")))
        add_network(&tls->trusted, value);
    else if (slice_eq(name, SLICE("--proxy")))
        add_network(&tls->proxies, value);
    else if (slice_eq(name, SLICE("--challenge"))) {
        char *copy = strdup(value), *equals = copy ? strchr(copy, '=') : NULL;

        if (!equals)
            harness_die(value, NULL);
        *equals = 0;
        tls->challenge_token = copy;
        tls->challenge_value = equals + 1;
    } else if (slice_eq(name, SLICE("--upstream-tls"))) { /* "": unverified */
        tls->is_upstream_tls = true;
        tls->upstream_name = value;
        tls->is_upstream_unverified = !value[0];
    } else if (slice_eq(name, SLICE("--upstream-ca"))) {
        tls->is_upstream_system = slice_eq(slice_from(value), SLICE("system"));
        if (!tls->is_upstream_system)
            read_text(value, &tls->upstream_ca);
    } else
        return false;
    return true;
}

/* ---- certificates */

static void make_leaf(struct harness_tls *tls, struct harness_host *host)
{
    struct error err = {0};
    const char *any[] = {"localhost", "127.0.0.1", "*.test", "*.x.test"};
    const char *one[] = {host->name};
    bool is_any = host->name[0] == 0;

    buf_done(&host->chain);
    buf_done(&host->key_pem);
    buf_done(&host->key_der);
    host->chain = host->key_pem = host->key_der = BUF_INIT(PEM_MAX);
    if (x509_make_key(&host->key_pem, &err) != 0 ||
        x509_read_key(buf_slice(&host->key_pem), host->key_id, &host->key_der, &err) != 0 ||
        x509_make_leaf(buf_slice(&tls->authority), buf_slice(&tls->authority_key),
                       buf_slice(&host->key_pem), is_any ? any : one, is_any ? ARRAY_LEN(any) : 1,
                       LIFETIME_S, &host->chain, &err) != 0)
        harness_die(host->name, &err);
}

/* The answer to TLS-ALPN-01, with the key of the host. */
static void make_challenge(struct harness_host *host)
{
    static const uint8_t digest[32] = {1, 2, 3};
    struct error err = {0};

    host->challenge = BUF_INIT(PEM_MAX);
    host->is_challenged = true;
    if (x509_make_challenge(buf_slice(&host->key_pem), host->name, digest, &host->challenge,
                            &err) != 0)
        harness_die(host->name, &err);
}

static void write_file(const char *directory, const char *name, const struct buf *content)
{
    char path[4096];
    struct error err = {0};

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    if (file_write_durable(path, buf_slice(content), 0600, &err) != 0)
        harness_die(path, &err);
}

void harness_tls_prepare(struct harness_tls *tls)
{
    struct error err = {0};

    if (tls->is_wanted && tls->host_count == 0)
        add_host(tls, "*");
    if (tls->host_count == 0)
        return;
    tls->authority = tls->authority_key = BUF_INIT(PEM_MAX);
    if (x509_make_key(&tls->authority_key, &err) != 0 ||
        x509_make_authority(buf_slice(&tls->authority_key), "Harness Authority", LIFETIME_S,
                            &tls->authority, &err) != 0)
        harness_die("authority", &err);
    for (unsigned i = 0; i < tls->host_count; i++)
        if (!tls->hosts[i].is_plain_certificate)
            make_leaf(tls, &tls->hosts[i]);
    if (tls->directory) {
        write_file(tls->directory, "ca.pem", &tls->authority);
        write_file(tls->directory, "ca.key", &tls->authority_key);
    }
    tls->ticket_keys = BUF_INIT(PEM_MAX);
    random_bytes(buf_reserve(&tls->ticket_keys, TLS_TICKET_KEY_BYTES), TLS_TICKET_KEY_BYTES);
    tls->ticket_keys.len = TLS_TICKET_KEY_BYTES;
}

/* ---- the snapshot */

void harness_tls_settings(struct harness_tls *tls, struct snapshot_builder *builder,
                          struct snapshot_settings *settings)
{
    if (tls->proxies.count)
        settings->proxy_networks =
            snapshot_builder_networks(builder, tls->proxies.list, tls->proxies.count);
    snapshot_builder_settings(builder, settings);
    if (tls->ticket_keys.len)
        snapshot_builder_ticket_keys(builder, buf_slice(&tls->ticket_keys));
    if (tls->challenge_token)
        snapshot_builder_challenge(builder, SNAPSHOT_CHALLENGE_HTTP, tls->challenge_token,
                                   tls->challenge_value, 0);
}

void harness_tls_route(struct harness_tls *tls, struct snapshot_builder *builder,
                       struct snapshot_route *route)
{
    if (tls->trusted.count)
        route->trusted_proxies =
            snapshot_builder_networks(builder, tls->trusted.list, tls->trusted.count);
    if (tls->is_upstream_tls)
        route->upstream_tls = snapshot_builder_upstream_tls(
            builder, tls->upstream_name,
            tls->is_upstream_system || tls->upstream_ca.len ? buf_slice(&tls->upstream_ca)
                                                            : buf_slice(&tls->authority),
            tls->is_upstream_unverified);
}

void harness_tls_build(struct harness_tls *tls, struct snapshot_builder *builder, uint32_t service,
                       const struct snapshot_route *route)
{
    for (unsigned i = 0; i < tls->host_count; i++) {
        struct harness_host *host = &tls->hosts[i];
        struct snapshot_route own = *route;

        if (!host->is_hidden)
            host->tls.certificate = snapshot_builder_certificate(
                builder, host->name, buf_slice(&host->chain), SLICE(""), host->key_id);
        if (host->has_client_authority)
            host->tls.client_authority =
                snapshot_builder_authority(builder, buf_slice(&tls->authority));
        if (host->is_required)
            own.client_certificate = SNAPSHOT_CERTIFICATE_REQUIRED;
        if (host->name[0])
            snapshot_builder_route(builder, host->name, "/", service, &own);
        if (host->transport_security)
            snapshot_builder_transport_security(builder, host->name, "/", host->transport_security);
        snapshot_builder_host(builder, host->name, &host->tls);
        if (host->is_challenged)
            snapshot_builder_challenge(builder, SNAPSHOT_CHALLENGE_TLS, host->name, "",
                                       snapshot_builder_certificate(builder, host->name,
                                                                    buf_slice(&host->challenge),
                                                                    SLICE(""), host->key_id));
    }
}

static struct harness_host *find_host(struct harness_tls *tls, const char *name)
{
    for (unsigned i = 0; i < tls->host_count; i++)
        if (strcmp(tls->hosts[i].name, strcmp(name, "*") ? name : "") == 0)
            return &tls->hosts[i];
    harness_die(name, NULL);
}

bool harness_tls_command(struct harness_tls *tls, struct slice word, const char *argument,
                         bool *ret_changed)
{
    *ret_changed = true;
    if (slice_eq(word, SLICE("show")))
        find_host(tls, argument)->is_hidden = false;
    else if (slice_eq(word, SLICE("renew")))
        make_leaf(tls, find_host(tls, argument)); /* the key goes to the next signer */
    else if (slice_eq(word, SLICE("challenge")))
        make_challenge(find_host(tls, argument));
    else
        return false;
    return true;
}

/* ---- the signer role */

void harness_role_run(int channel_fd, int (*role)(void))
{
    sigset_t none;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(channel_fd, KEEPER_CHANNEL_FD) < 0)
        _exit(3);
    if (fd_set_cloexec(KEEPER_CHANNEL_FD, true) != 0)
        _exit(3);
    for (int fd = KEEPER_CHANNEL_FD + 1; fd < 256; fd++)
        (void)close(fd);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    exit(role()); /* not _exit: the leak checker looks at exit */
}

static int keyset_fd(struct harness_tls *tls)
{
    struct keyset_key *keys = calloc(tls->host_count + 1, sizeof(*keys));
    struct buf block = BUF_INIT(KEYSET_BYTES_MAX);
    struct error err = {0};
    static uint64_t version;
    int fd;

    if (!keys)
        harness_die("keys", NULL);
    for (unsigned i = 0; i < tls->host_count; i++) {
        memcpy(keys[i].id, tls->hosts[i].key_id, sizeof(keys[i].id));
        keys[i].der = buf_slice(&tls->hosts[i].key_der);
    }
    if (keyset_build(keys, tls->host_count, ++version, &block, &err) != 0 ||
        memory_sealed("keys", buf_slice(&block), &fd, &err) != 0)
        harness_die("keys", &err);
    buf_wipe(&block);
    free(keys);
    return fd;
}

static void tell(struct harness_tls *tls, const void *message, size_t len, int fd)
{
    if (channel_post(&tls->keeper, message, len, &fd, fd >= 0) != 0)
        harness_die("signer channel", NULL);
}

static void on_message(struct channel *channel, const void *message, size_t len, int *fds,
                       size_t fd_count)
{
    (void)channel;
    (void)message;
    (void)len;
    (void)fds;
    (void)fd_count;
}

static void on_closed(struct channel *channel)
{
    container_of(channel, struct harness_tls, keeper)->has_channel = false;
}

void harness_signer_start(struct harness_tls *tls)
{
    struct {
        struct keeper_hello hello;
        char directory[8];
    } hello = {.hello = {.header = {.type = KEEPER_HELLO},
                         .protocol_version = KEEPER_PROTOCOL_VERSION,
                         .role = KEEPER_ROLE_SIGNER},
               .directory = "/"};
    struct {
        struct keeper_held held;
        char name[8];
    } held = {.held = {.header = {.type = KEEPER_HELD}}, .name = "keys"};
    struct error err = {0};
    int pair[2], keys = keyset_fd(tls);

    if (channel_pair(pair, &err) != 0)
        harness_die("signer", &err);
    fflush(stdout);
    tls->pid = fork();
    if (tls->pid == 0)
        harness_role_run(pair[1], signer_main);
    close(pair[1]);
    tls->keeper = (struct channel){.on_message = on_message, .on_closed = on_closed};
    if (tls->pid < 0 || channel_start(&tls->keeper, tls->loop, pair[0], &err) != 0)
        harness_die("signer", &err);
    tls->has_channel = true;
    tell(tls, &hello, sizeof(hello), -1);
    tell(tls, &held, sizeof(held), keys);
    tell(tls, &(struct keeper_table_end){.header = {.type = KEEPER_TABLE_END}},
         sizeof(struct keeper_table_end), -1);
    close(keys);
}

int harness_signer_link(struct harness_tls *tls, uint32_t edge_index)
{
    struct keeper_peer peer = {
        .header = {.type = KEEPER_PEER}, .role = KEEPER_ROLE_EDGE, .role_index = edge_index};
    struct error err = {0};
    int pair[2];

    if (channel_pair(pair, &err) != 0)
        harness_die("signer", &err);
    tell(tls, &peer, sizeof(peer), pair[1]);
    close(pair[1]);
    return pair[0];
}

void harness_signer_stop(struct harness_tls *tls)
{
    if (tls->pid)
        (void)kill(tls->pid, SIGKILL);
    if (tls->has_channel)
        channel_stop(&tls->keeper);
    tls->has_channel = false;
}

void harness_signer_quit(struct harness_tls *tls)
{
    if (tls->pid && tls->has_channel)
        tell(tls, &(struct keeper_quit){.header = {.type = KEEPER_QUIT}},
             sizeof(struct keeper_quit), -1);
}
