/* acme_harness.c - the ACME client alone, for tests against real CAs: no edges, no keeper.
 *
 *   acme_harness '{"state": FOLDER, "answer_http_port": N, "answer_https_port": N, ...settings}'
 *
 * It answers HTTP-01 and TLS-ALPN-01 on 127.0.0.1 itself, by two threads that know the published
 * challenges. Commands are lines on standard input: "want {spec}", "forget NAME", "renew NAME",
 * "status NAME", "hold" and "release" (publishing is acknowledged), "quit". Events are JSON lines
 * on standard output. */
#include "control/acme.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "net/https_client.h"
#include "os/file.h"
#include "store/store.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHALLENGES_MAX 512
#define HOOKS_MAX      16

extern char **environ;

struct published {
    enum acme_challenge_kind kind;
    char *name, *token, *value, *certificate, *key;
};

struct hook_run {
    struct acme_hook *hook; /* NULL: free */
    pid_t pid;
    uint64_t deadline_us;
};

static struct {
    struct loop *loop;
    struct store *store;
    struct https_client *https;
    struct acme *acme;
    struct acme_handler handler;
    struct loop_io input;
    struct loop_timer reaper;
    struct buf line;
    struct hook_run hooks[HOOKS_MAX];
    bool is_held;
    int http_fd, https_fd;
    pthread_mutex_t lock;
    struct published published[CHALLENGES_MAX];
    size_t published_count;
} harness = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- events */

static void emit(struct buf *text)
{
    buf_append_byte(text, '\n');
    if (write(1, text->ptr, text->len) < 0)
        _exit(1);
}

static void emit_simple(const char *event, const char *key, const char *value)
{
    struct buf text CLEANUP(buf_done) = BUF_INIT(1024 * 1024);
    struct json_writer writer = JSON_WRITER(&text);
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "event", event);
    json_write_text(&writer, key, value);
    json_end_object(&writer);
    emit(&text);
}

static void on_certificate(struct acme_handler *handler UNUSED, const char *name,
                           struct slice chain_pem, struct slice key_pem)
{
    struct buf text CLEANUP(buf_done) = BUF_INIT(1024 * 1024);
    struct json_writer writer = JSON_WRITER(&text);
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "event", "certificate");
    json_write_text(&writer, "name", name);
    json_write_slice(&writer, "chain", chain_pem);
    json_write_slice(&writer, "key", key_pem);
    json_end_object(&writer);
    emit(&text);
}

static void on_failure(struct acme_handler *handler UNUSED, const char *name,
                       const struct error *err)
{
    struct buf text CLEANUP(buf_done) = BUF_INIT(1024 * 1024);
    struct json_writer writer = JSON_WRITER(&text);
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "event", "failure");
    json_write_text(&writer, "name", name);
    json_write_text(&writer, "code", error_name(err->code));
    json_write_text(&writer, "text", err->text);
    json_write_text(&writer, "hint", err->hint);
    json_end_object(&writer);
    emit(&text);
}

/* ---- challenges */

static char *copy_slice(struct slice s)
{
    return s.len ? strndup(s.ptr, s.len) : NULL;
}

static void published_clear(void)
{
    for (size_t i = 0; i < harness.published_count; i++) {
        struct published *old = &harness.published[i];
        free(old->name);
        free(old->token);
        free(old->value);
        free(old->certificate);
        free(old->key);
    }
    harness.published_count = 0;
}

static void on_challenges_changed(struct acme_handler *handler UNUSED)
{
    const struct acme_challenge *challenges;
    size_t count;
    if (harness.is_held)
        return;
    uint64_t generation = acme_challenges(harness.acme, &challenges, &count);
    pthread_mutex_lock(&harness.lock);
    published_clear();
    for (size_t i = 0; i < count && i < CHALLENGES_MAX; i++)
        harness.published[harness.published_count++] = (struct published){
            .kind = challenges[i].kind,
            .name = strdup(challenges[i].name),
            .token = challenges[i].token ? strdup(challenges[i].token) : NULL,
            .value =
                challenges[i].key_authorization ? strdup(challenges[i].key_authorization) : NULL,
            .certificate = copy_slice(challenges[i].certificate_pem),
            .key = copy_slice(challenges[i].key_pem),
        };
    pthread_mutex_unlock(&harness.lock);
    acme_published(harness.acme, generation);
}

static int listen_on(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 64) < 0) {
        perror("listen");
        exit(1);
    }
    return fd;
}

static void answer_http(int fd)
{
    char request[8192], answer[8192];
    size_t len = 0;
    struct timeval timeout = {5, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    do {
        ssize_t got = read(fd, request + len, sizeof(request) - 1 - len);
        if (got <= 0)
            return;
        len += (size_t)got;
        request[len] = '\0';
    } while (!strstr(request, "\r\n\r\n") && len < sizeof(request) - 1);
    snprintf(answer, sizeof(answer), "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    pthread_mutex_lock(&harness.lock);
    for (size_t i = 0; i < harness.published_count; i++) {
        const struct published *published = &harness.published[i];
        char target[1024], host[512];
        snprintf(target, sizeof(target), "GET /.well-known/acme-challenge/%s HTTP/",
                 published->token ? published->token : "");
        snprintf(host, sizeof(host), "Host: %s", published->name);
        if (published->kind == ACME_HTTP_01 && strncmp(request, target, strlen(target)) == 0 &&
            strcasestr(request, host))
            snprintf(answer, sizeof(answer),
                     "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                     strlen(published->value), published->value);
    }
    pthread_mutex_unlock(&harness.lock);
    if (write(fd, answer, strlen(answer)) < 0)
        perror("write");
}

static void *serve_http(void *unused UNUSED)
{
    for (;;) {
        int fd = accept(harness.http_fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        answer_http(fd);
        close(fd);
    }
}

static int choose_protocol(SSL *ssl UNUSED, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *unused UNUSED)
{
    static const unsigned char protocol[] = "\x0a"
                                            "acme-tls/1";
    unsigned char *found;
    if (SSL_select_next_proto(&found, out_len, protocol, sizeof(protocol) - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = found;
    return SSL_TLSEXT_ERR_OK;
}

static int choose_certificate(SSL *ssl, void *unused UNUSED)
{
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    int result = 0;
    pthread_mutex_lock(&harness.lock);
    for (size_t i = 0; name && i < harness.published_count; i++) {
        const struct published *published = &harness.published[i];
        if (published->kind != ACME_TLS_ALPN_01 || strcasecmp(published->name, name) != 0)
            continue;
        BIO *bio = BIO_new_mem_buf(published->certificate, -1);
        X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        BIO_free(bio);
        bio = BIO_new_mem_buf(published->key, -1);
        EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        BIO_free(bio);
        result = SSL_use_certificate(ssl, certificate) == 1 && SSL_use_PrivateKey(ssl, key) == 1;
        X509_free(certificate);
        EVP_PKEY_free(key);
    }
    pthread_mutex_unlock(&harness.lock);
    return result;
}

static void *serve_tls(void *unused UNUSED)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    SSL_CTX_set_cert_cb(context, choose_certificate, NULL);
    for (;;) {
        int fd = accept(harness.https_fd, NULL, NULL);
        struct timeval timeout = {5, 0};
        if (fd < 0)
            break;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
        SSL *ssl = SSL_new(context);
        SSL_set_fd(ssl, fd);
        if (SSL_accept(ssl) == 1)
            SSL_shutdown(ssl);
        SSL_free(ssl);
        close(fd);
    }
    SSL_CTX_free(context);
    return NULL;
}

/* ---- hooks */

static void run_hook(struct acme_handler *handler UNUSED, struct acme_hook *hook)
{
    char *arguments[] = {strdup("/bin/sh"), strdup("-c"), strdup(hook->command), NULL};
    char *environment[16] = {NULL};
    size_t count = 0;
    for (size_t i = 0; i < hook->environment_count; i++)
        environment[count++] = strdup(hook->environment[i]);
    environment[count++] = strdup("PATH=/usr/bin:/bin");
    for (size_t i = 0; i < HOOKS_MAX; i++) {
        struct hook_run *run = &harness.hooks[i];
        if (run->hook)
            continue;
        run->hook = hook;
        run->deadline_us = clock_monotonic_us() + hook->timeout_ms * 1000;
        if (posix_spawn(&run->pid, "/bin/sh", NULL, NULL, arguments, environment) != 0)
            abort();
        break;
    }
    for (size_t i = 0; i < count; i++)
        free(environment[i]);
    for (size_t i = 0; i < 3; i++)
        free(arguments[i]);
}

static void cancel_hook(struct acme_handler *handler UNUSED, struct acme_hook *hook)
{
    for (size_t i = 0; i < HOOKS_MAX; i++) {
        struct hook_run *run = &harness.hooks[i];
        if (run->hook != hook)
            continue;
        kill(run->pid, SIGKILL);
        waitpid(run->pid, NULL, 0);
        run->hook = NULL;
    }
}

static void on_reaper(struct loop_timer *timer)
{
    for (size_t i = 0; i < HOOKS_MAX; i++) {
        struct hook_run *run = &harness.hooks[i];
        struct error err = {0};
        int status;
        if (!run->hook || waitpid(run->pid, &status, WNOHANG) != run->pid)
            continue;
        struct acme_hook *hook = TAKE_PTR(run->hook);
        if (status != 0)
            error_set(&err, ERR_FAILED, "it exited with status %d", WEXITSTATUS(status));
        hook->on_done(hook, err.code ? &err : NULL);
    }
    loop_timer_start_in(harness.loop, timer, 20000);
}

/* ---- commands */

static enum acme_challenge_kind kind_of(const char *name)
{
    if (strcmp(name, "http-01") == 0)
        return ACME_HTTP_01;
    if (strcmp(name, "tls-alpn-01") == 0)
        return ACME_TLS_ALPN_01;
    return strcmp(name, "dns-01") == 0 ? ACME_DNS_01 : ACME_AUTO;
}

static void command_want(const char *text)
{
    struct arena *arena CLEANUP(arena_freep) = arena_new(1024 * 1024);
    struct json *json;
    struct error err = {0};
    const char *names[ACME_NAMES_MAX];
    struct acme_ca cas[ACME_CAS_MAX];
    struct acme_spec spec = {.names = names, .cas = cas};
    if (json_parse(arena, slice_from(text), &json, &err) < 0) {
        emit_simple("error", "text", err.text);
        return;
    }
    json_each (child, json_get(json, "names"))
        names[spec.name_count++] = json_text(child, "");
    json_each (child, json_get(json, "cas"))
        cas[spec.ca_count++] = (struct acme_ca){
            .directory = json_get_text(child, "directory", ""),
            .email = json_get_text(child, "email", NULL),
            .eab_key_id = json_get_text(child, "eab_key_id", NULL),
            .eab_hmac = json_get_text(child, "eab_hmac", NULL),
            .ca_file = json_get_text(child, "ca_file", NULL),
        };
    spec.challenge = kind_of(json_get_text(json, "challenge", "auto"));
    spec.dns_hook = json_get_text(json, "dns_hook", NULL);
    spec.dns_delay_ms = (uint64_t)json_get_integer(json, "dns_delay_ms", 1);
    spec.is_on_demand = json_get_boolean(json, "on_demand", false);
    spec.is_check_skipped = json_get_boolean(json, "check_skipped", false);
    if (acme_want(harness.acme, &spec, &err) < 0)
        emit_simple("error", "text", err.text);
}

static void command_status(const char *name)
{
    struct buf text CLEANUP(buf_done) = BUF_INIT(1024 * 1024);
    struct json_writer writer = JSON_WRITER(&text);
    struct acme_status status;
    if (acme_status(harness.acme, name, &status) < 0) {
        emit_simple("error", "text", "not found");
        return;
    }
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "event", "status");
    json_write_text(&writer, "name", status.name);
    json_write_text(&writer, "state", acme_state_name(status.state));
    json_write_boolean(&writer, "has_certificate", status.has_certificate);
    json_write_text(&writer, "directory", status.directory);
    json_write_integer(&writer, "failures", status.failures);
    json_write_text(&writer, "last_error", status.last_error);
    json_write_text(&writer, "hint", status.hint);
    json_write_integer(&writer, "now", (int64_t)(clock_wall_us() / 1000));
    json_write_integer(&writer, "next_attempt", (int64_t)(status.next_attempt_at_us / 1000));
    json_write_integer(&writer, "next_renewal", (int64_t)(status.next_renewal_at_us / 1000));
    json_end_object(&writer);
    emit(&text);
}

static void command(char *line)
{
    struct error err = {0};
    char *space = strchr(line, ' ');
    const char *argument = space ? space + 1 : "";
    if (space)
        *space = '\0';
    if (strcmp(line, "want") == 0)
        command_want(argument);
    else if (strcmp(line, "forget") == 0)
        acme_forget(harness.acme, argument);
    else if (strcmp(line, "status") == 0)
        command_status(argument);
    else if (strcmp(line, "renew") == 0 && acme_renew(harness.acme, argument, &err) < 0)
        emit_simple("error", "text", err.text);
    else if (strcmp(line, "hold") == 0)
        harness.is_held = true;
    else if (strcmp(line, "quit") == 0)
        loop_stop(harness.loop);
    if (strcmp(line, "release") == 0) {
        harness.is_held = false;
        on_challenges_changed(&harness.handler);
    }
}

static void on_input(struct loop_io *io, unsigned events UNUSED)
{
    char bytes[65536];
    ssize_t got = read(io->fd, bytes, sizeof(bytes));
    if (got <= 0) {
        loop_stop(harness.loop);
        return;
    }
    buf_append(&harness.line, bytes, (size_t)got);
    char *end;
    while (harness.line.len && (end = memchr(harness.line.ptr, '\n', harness.line.len))) {
        *end = '\0';
        char *line = strdup(harness.line.ptr);
        buf_consume(&harness.line, (size_t)(end - harness.line.ptr) + 1);
        command(line);
        free(line);
    }
}

/* ---- life */

static void read_settings(const struct json *json, struct acme_settings *settings)
{
    const uint64_t backoff = (uint64_t)json_get_integer(json, "backoff_ms", 0);
    settings->http_port = (unsigned)json_get_integer(json, "http_port", 0);
    settings->https_port = (unsigned)json_get_integer(json, "https_port", 0);
    settings->at_once = (unsigned)json_get_integer(json, "at_once", 0);
    settings->orders_per_window = (unsigned)json_get_integer(json, "orders_per_window", 0);
    settings->window_ms = (uint64_t)json_get_integer(json, "window_ms", 0);
    settings->poll_ms = (uint64_t)json_get_integer(json, "poll_ms", 100);
    settings->retry_ms = (uint64_t)json_get_integer(json, "retry_ms", 100);
    settings->order_timeout_ms = (uint64_t)json_get_integer(json, "order_timeout_ms", 0);
    settings->published_timeout_ms = (uint64_t)json_get_integer(json, "published_timeout_ms", 0);
    for (size_t i = 0; backoff && i < ARRAY_LEN(settings->backoff_ms); i++)
        settings->backoff_ms[i] = settings->check_backoff_ms[i] = backoff;
}

int main(int argc, char **argv)
{
    struct arena *arena CLEANUP(arena_freep) = arena_new(1024 * 1024);
    struct acme_settings settings = {0};
    struct json *json;
    struct error err = {0};
    pthread_t http, https;
    log_init("acme", LOG_DEBUG);
    if (argc != 2 || json_parse(arena, slice_from(argv[1]), &json, &err) < 0)
        return 2;
    read_settings(json, &settings);
    harness.line = BUF_INIT(1024 * 1024);
    harness.http_fd = listen_on((unsigned)json_get_integer(json, "answer_http_port", 0));
    harness.https_fd = listen_on((unsigned)json_get_integer(json, "answer_https_port", 0));
    harness.handler = (struct acme_handler){on_certificate, on_failure, on_challenges_changed,
                                            run_hook, cancel_hook};
    if (loop_new(&harness.loop, &err) < 0 ||
        store_open(json_get_text(json, "state", "."), &harness.store, &err) < 0) {
        log_failure(&err, "start");
        return 1;
    }
    harness.https = https_client_new(harness.loop);
    if (acme_new(harness.loop, harness.store, harness.https, &harness.handler, &settings,
                 &harness.acme, &err) < 0)
        return 1;
    pthread_create(&http, NULL, serve_http, NULL);
    pthread_create(&https, NULL, serve_tls, NULL);
    harness.input = (struct loop_io){.fd = 0, .on_event = on_input};
    harness.reaper.on_timer = on_reaper;
    loop_timer_start_in(harness.loop, &harness.reaper, 20000);
    if (loop_io_start(harness.loop, &harness.input, LOOP_READ, &err) < 0)
        return 1;
    acme_start(harness.acme);
    emit_simple("ready", "state", json_get_text(json, "state", "."));
    int result = loop_run(harness.loop, &err);
    acme_free(harness.acme);
    https_client_free(harness.https);
    loop_io_stop(&harness.input);
    loop_timer_stop(&harness.reaper);
    store_close(harness.store);
    loop_free(harness.loop);
    buf_done(&harness.line);
    shutdown(harness.http_fd, SHUT_RDWR); /* the threads wait in accept */
    shutdown(harness.https_fd, SHUT_RDWR);
    pthread_join(http, NULL);
    pthread_join(https, NULL);
    published_clear();
    return result < 0 ? 1 : 0;
}
