/* Against a real server (https_server.py beside this file), over plain TCP and TLS. */
#include "net/https_client.h"

#include "base/clock.h"
#include "net/tls_probe.h"
#include "os/file.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "unit.h"

static struct {
    pid_t pid;
    int input;
    unsigned plain, tls, hanging;
    char folder[UNIT_PATH_SIZE], ca_file[UNIT_PATH_SIZE];
} server;

struct fixture {
    struct loop *loop;
    struct https_client *client;
    struct https_exchange *exchange;
    struct https_handler handler;
    struct https_request request;
    struct buf body;
    char url[256], text[1024], nonce[64], location[64], retry_after[64], link[64], address[64];
    int status, code, fd;
    unsigned done;
    bool is_freeing;
};

static int server_start(void **state)
{
    int in[2], out[2];
    char ports[64];
    (void)state;
    unit_folder(server.folder);
    unit_path(server.ca_file, server.folder, "ca.pem");
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
    server.pid = fork();
    if (server.pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execlp("/usr/bin/python3", "python3", HTTPS_SERVER, server.folder, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    server.input = in[1];
    FILE *lines = fdopen(out[0], "r"); /* it may come in pieces */
    bool has_line = lines && fgets(ports, sizeof(ports), lines);
    if (lines)
        fclose(lines);
    if (!has_line)
        return -1;
    return sscanf(ports, "%u %u %u", &server.plain, &server.tls, &server.hanging) == 3 ? 0 : -1;
}

static int server_stop(void **state)
{
    (void)state;
    close(server.input);
    kill(server.pid, SIGTERM);
    waitpid(server.pid, NULL, 0);
    return directory_remove_tree(server.folder, NULL);
}

static void keep(char *place, size_t size, struct slice value)
{
    snprintf(place, size, SLICE_FORMAT, SLICE_ARG(value));
}

static void on_done(struct https_handler *handler, const struct https_response *response)
{
    struct fixture *fixture = container_of(handler, struct fixture, handler);
    fixture->done++;
    fixture->exchange = NULL;
    fixture->status = response->status;
    fixture->code = response->code;
    fixture->fd = response->fd;
    assert_true((response->err != NULL) == (response->code != 0));
    snprintf(fixture->text, sizeof(fixture->text), "%s", response->err ? response->err->text : "");
    keep(fixture->nonce, sizeof(fixture->nonce), response->replay_nonce);
    keep(fixture->location, sizeof(fixture->location), response->location);
    keep(fixture->retry_after, sizeof(fixture->retry_after), response->retry_after);
    keep(fixture->link, sizeof(fixture->link),
         response->link_count ? response->links[0] : (struct slice){0});
    snprintf(fixture->address, sizeof(fixture->address), "%s",
             response->address_count ? response->addresses[0] : "");
    buf_clear(&fixture->body);
    buf_append_slice(&fixture->body, response->body);
    if (fixture->is_freeing)
        https_client_free(TAKE_PTR(fixture->client));
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    if (!fixture || loop_new(&fixture->loop, NULL) < 0)
        return -1;
    fixture->client = https_client_new(fixture->loop);
    fixture->handler.on_done = on_done;
    fixture->body = BUF_INIT(1024 * 1024);
    fixture->request = (struct https_request){.method = "GET",
                                              .url = fixture->url,
                                              .ca_file = server.ca_file,
                                              .timeout_ms = 10000,
                                              .response_limit_bytes = 65536};
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    https_client_free(fixture->client);
    loop_free(fixture->loop);
    buf_done(&fixture->body);
    free(fixture);
    return 0;
}

static void run(struct fixture *fixture, unsigned done)
{
    uint64_t end_us = clock_monotonic_us() + 20000000;
    while (fixture->done < done && clock_monotonic_us() < end_us)
        assert_int_equal(loop_turn(fixture->loop, 1000, NULL), 0);
    assert_int_equal(fixture->done, done);
}

static void start(struct fixture *fixture, const char *scheme, unsigned port, const char *path)
{
    struct error err = {0};
    snprintf(fixture->url, sizeof(fixture->url), "%s://localhost:%u%s", scheme, port, path);
    int result = https_client_start(fixture->client, &fixture->request, &fixture->handler,
                                    &fixture->exchange, &err);
    if (result < 0)
        fail_msg("%s", err.text);
    assert_int_equal(fixture->done, 0);
}

static void ask(struct fixture *fixture, const char *scheme, unsigned port, const char *path)
{
    fixture->done = 0;
    start(fixture, scheme, port, path);
    run(fixture, 1);
}

static void a_request_is_answered_with_its_headers(void **state)
{
    struct fixture *fixture = *state;
    ask(fixture, "https", server.tls, "/hello");
    assert_int_equal(fixture->code, 0);
    assert_int_equal(fixture->status, 200);
    assert_slice_equal(buf_slice(&fixture->body), "/hello");
    assert_string_equal(fixture->nonce, "abc");
    assert_string_equal(fixture->location, "/there");
    assert_string_equal(fixture->link, "<https://localhost/next>;rel=\"up\"");
    assert_string_equal(fixture->address, "127.0.0.1");
    ask(fixture, "http", server.plain, "/error");
    assert_int_equal(fixture->code, 0);
    assert_int_equal(fixture->status, 503);
    assert_string_equal(fixture->retry_after, "17");
    assert_string_equal(fixture->nonce, "");
}

static void a_body_and_headers_are_sent(void **state)
{
    struct fixture *fixture = *state;
    static const char *const headers[] = {"X-Test: one"};
    char body[] = "body";
    fixture->request.method = "POST";
    fixture->request.headers = headers;
    fixture->request.header_count = 1;
    fixture->request.body = (struct slice){body, 4};
    fixture->done = 0;
    start(fixture, "https", server.tls, "/");
    memset(body, '?', 4); /* it was copied */
    run(fixture, 1);
    assert_int_equal(fixture->status, 201);
    assert_slice_equal(buf_slice(&fixture->body), "one:slipway:body");
}

static void a_head_has_no_body(void **state)
{
    struct fixture *fixture = *state;
    fixture->request.method = "HEAD";
    ask(fixture, "https", server.tls, "/");
    assert_int_equal(fixture->status, 200);
    assert_int_equal(fixture->body.len, 0);
    assert_string_equal(fixture->nonce, "abc");
}

static void a_server_that_is_not_trusted_is_refused(void **state)
{
    struct fixture *fixture = *state;
    fixture->request.ca_file = NULL;
    ask(fixture, "https", server.tls, "/");
    assert_int_equal(fixture->code, ERR_PERMISSION);
    assert_non_null(strstr(fixture->text, "certificate"));
    fixture->request.is_unverified = true;
    ask(fixture, "https", server.tls, "/");
    assert_int_equal(fixture->code, 0);
}

static void the_name_must_be_that_of_the_certificate(void **state)
{
    struct fixture *fixture = *state;
    char other[64], good[64];
    const char *const resolve[] = {other, good};
    snprintf(other, sizeof(other), "other.example:%u:127.0.0.1", server.tls);
    snprintf(good, sizeof(good), "ca.example:%u:127.0.0.1", server.tls);
    fixture->request.resolve = resolve;
    fixture->request.resolve_count = 2;
    fixture->done = 0;
    snprintf(fixture->url, sizeof(fixture->url), "https://other.example:%u/", server.tls);
    assert_int_equal(https_client_start(fixture->client, &fixture->request, &fixture->handler,
                                        &fixture->exchange, NULL),
                     0);
    run(fixture, 1);
    assert_int_equal(fixture->code, ERR_PERMISSION);
    snprintf(fixture->url, sizeof(fixture->url), "https://ca.example:%u/", server.tls);
    assert_int_equal(https_client_start(fixture->client, &fixture->request, &fixture->handler,
                                        &fixture->exchange, NULL),
                     0);
    run(fixture, 2);
    assert_int_equal(fixture->code, 0);
}

static void redirects_are_followed_only_when_asked_and_only_to_http(void **state)
{
    struct fixture *fixture = *state;
    ask(fixture, "https", server.tls, "/move");
    assert_int_equal(fixture->status, 302);
    fixture->request.redirects = 3;
    ask(fixture, "https", server.tls, "/move");
    assert_int_equal(fixture->status, 200);
    assert_slice_equal(buf_slice(&fixture->body), "/moved");
    ask(fixture, "https", server.tls, "/circle");
    assert_int_equal(fixture->code, ERR_IO);
    ask(fixture, "https", server.tls, "/file");
    assert_int_equal(fixture->code, ERR_IO);
    assert_int_equal(fixture->body.len, 0);
}

static void a_body_has_a_ceiling(void **state)
{
    struct fixture *fixture = *state;
    ask(fixture, "https", server.tls, "/large");
    assert_int_equal(fixture->code, ERR_LIMIT);
    assert_non_null(strstr(fixture->text, "larger than 65536 bytes"));
    fixture->request.response_limit_bytes = 100000;
    ask(fixture, "https", server.tls, "/large");
    assert_int_equal(fixture->code, 0);
    assert_int_equal(fixture->body.len, 100000);
}

static void failures_to_connect_are_told_apart(void **state)
{
    struct fixture *fixture = *state;
    ask(fixture, "http", 1, "/");
    assert_int_equal(fixture->code, ERR_UNAVAILABLE);
    assert_string_equal(fixture->address, "127.0.0.1");
    fixture->done = 0;
    snprintf(fixture->url, sizeof(fixture->url), "http://nowhere.invalid/");
    assert_int_equal(https_client_start(fixture->client, &fixture->request, &fixture->handler,
                                        &fixture->exchange, NULL),
                     0);
    run(fixture, 1);
    assert_int_equal(fixture->code, ERR_NOT_FOUND);
    assert_string_equal(fixture->text, "the name nowhere.invalid has no address");
}

static void a_deadline_holds(void **state)
{
    struct fixture *fixture = *state;
    fixture->request.timeout_ms = 200;
    ask(fixture, "https", server.hanging, "/");
    assert_int_equal(fixture->code, ERR_TIMEOUT);
    assert_non_null(strstr(fixture->text, "within 200ms"));
}

static void a_cancelled_request_is_silent(void **state)
{
    struct fixture *fixture = *state;
    fixture->done = 0;
    start(fixture, "https", server.hanging, "/");
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(loop_turn(fixture->loop, 10, NULL), 0);
    https_client_cancel(fixture->exchange);
    ask(fixture, "https", server.tls, "/next");
    assert_int_equal(fixture->status, 200);
}

static void the_client_may_be_freed_when_a_request_ends(void **state)
{
    struct fixture *fixture = *state;
    fixture->is_freeing = true;
    ask(fixture, "https", server.tls, "/");
    assert_null(fixture->client);
}

static void the_client_may_be_freed_in_the_middle(void **state)
{
    struct fixture *fixture = *state;
    fixture->done = 0;
    start(fixture, "https", server.hanging, "/");
    start(fixture, "https", server.tls, "/");
    assert_int_equal(loop_turn(fixture->loop, 10, NULL), 0);
}

static void what_is_no_url_is_refused(void **state)
{
    struct fixture *fixture = *state;
    static const char *const urls[] = {"",         "localhost",     "file:///etc/passwd",
                                       "https://", "http://a:b@c/", "https://a b/"};
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        fixture->request.url = urls[i];
        assert_int_equal(https_client_start(fixture->client, &fixture->request, &fixture->handler,
                                            &fixture->exchange, NULL),
                         ERR_INVALID);
    }
}

static void no_password_of_a_url_is_in_the_error(void **state)
{
    struct fixture *fixture = *state;
    struct error err = {0};
    fixture->request.url = "http://somebody:secret@localhost/";
    assert_int_equal(https_client_start(fixture->client, &fixture->request, &fixture->handler,
                                        &fixture->exchange, &err),
                     ERR_INVALID);
    assert_null(strstr(err.text, "secret"));
}

/* ---- a connection, and what TLS shows on it */

struct probing {
    struct tls_probe_handler handler;
    bool is_done;
    int code;
    uint8_t key_id[PEER_KEY_ID_BYTES];
};

static void on_probed(struct tls_probe_handler *handler, const uint8_t key_id[PEER_KEY_ID_BYTES],
                      const struct error *err)
{
    struct probing *probing = container_of(handler, struct probing, handler);
    probing->is_done = true;
    probing->code = err ? err->code : 0;
    memcpy(probing->key_id, key_id, PEER_KEY_ID_BYTES);
}

static int probe(struct fixture *fixture, unsigned port, const char *protocol,
                 struct probing *probing)
{
    struct tls_probe *running;
    fixture->request.is_connect_only = fixture->request.is_direct = true;
    ask(fixture, "http", port, "/");
    assert_int_equal(fixture->code, 0);
    assert_true(fixture->fd >= 0);
    *probing = (struct probing){.handler.on_done = on_probed};
    assert_int_equal(tls_probe_start(fixture->loop, fixture->fd, "localhost", protocol, 300,
                                     &probing->handler, &running, NULL),
                     0);
    for (unsigned i = 0; i < 100 && !probing->is_done; i++)
        assert_int_equal(loop_turn(fixture->loop, 100, NULL), 0);
    assert_true(probing->is_done);
    return probing->code;
}

static void a_probe_sees_the_certificate_of_a_protocol(void **state)
{
    static const uint8_t none[PEER_KEY_ID_BYTES];
    struct fixture *fixture = *state;
    struct probing probing;
    assert_int_equal(probe(fixture, server.tls, "acme-tls/1", &probing), 0);
    assert_memory_not_equal(probing.key_id, none, sizeof(none));
    assert_int_equal(probe(fixture, server.tls, "unheard-of", &probing), ERR_INVALID);
    assert_int_equal(probe(fixture, server.plain, "acme-tls/1", &probing), ERR_IO);
    assert_int_equal(probe(fixture, server.hanging, "acme-tls/1", &probing), ERR_TIMEOUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_request_is_answered_with_its_headers),
        TEST(a_body_and_headers_are_sent),
        TEST(a_head_has_no_body),
        TEST(a_server_that_is_not_trusted_is_refused),
        TEST(the_name_must_be_that_of_the_certificate),
        TEST(redirects_are_followed_only_when_asked_and_only_to_http),
        TEST(a_body_has_a_ceiling),
        TEST(failures_to_connect_are_told_apart),
        TEST(a_deadline_holds),
        TEST(a_cancelled_request_is_silent),
        TEST(the_client_may_be_freed_when_a_request_ends),
        TEST(the_client_may_be_freed_in_the_middle),
        TEST(what_is_no_url_is_refused),
        TEST(no_password_of_a_url_is_in_the_error),
        TEST(a_probe_sees_the_certificate_of_a_protocol),
    };
    return cmocka_run_group_tests(tests, server_start, server_stop);
}
