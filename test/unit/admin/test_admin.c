#include "admin/admin.h"

#include "admin/admin_socket.h"
#include "fake_control.h"
#include "net/http_client.h"
#include "os/file.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* The admin server on a fake control, and the HTTP client, on one loop. */
struct fixture {
    struct loop *loop;
    struct admin *admin;
    char directory[64];
    struct address address;
    struct http_client_handler handler;
    struct http_client *client;
    struct buf body;
    int status, code;
    bool is_done;
};

static void on_data(struct http_client_handler *handler, struct slice data)
{
    buf_append_slice(&container_of(handler, struct fixture, handler)->body, data);
}

static void on_done(struct http_client_handler *handler,
                    const struct http_client_response *response)
{
    struct fixture *fixture = container_of(handler, struct fixture, handler);
    fixture->is_done = true;
    fixture->client = NULL;
    fixture->status = response->status;
    fixture->code = response->code;
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    int directory_fd;
    fake_control_init();
    snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/test_admin_XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    assert_int_equal(loop_new(&fixture->loop, NULL), 0);
    assert_int_equal(admin_start(fixture->loop, NULL, fixture->directory, &fixture->admin, NULL),
                     0);
    assert_int_equal(
        admin_socket_address(fixture->directory, &fixture->address, &directory_fd, NULL), 0);
    fixture->body = BUF_INIT(4 * 1024 * 1024);
    fixture->handler = (struct http_client_handler){NULL, on_data, on_done};
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    http_client_cancel(fixture->client);
    admin_stop(fixture->admin);
    loop_free(fixture->loop);
    buf_done(&fixture->body);
    fake_control_done();
    assert_int_equal(directory_remove_tree(fixture->directory, NULL), 0);
    free(fixture);
    return 0;
}

static void turn(struct fixture *fixture)
{
    assert_int_equal(loop_turn(fixture->loop, 2, NULL), 0);
}

static void begin(struct fixture *fixture, const char *method, const char *target,
                  struct slice body, int body_fd)
{
    struct http_client_request request = {.address = &fixture->address,
                                          .method = method,
                                          .target = target,
                                          .host = "localhost",
                                          .body = body,
                                          .body_fd = body_fd,
                                          .body_bytes = -1,
                                          .timeout_ms = 5000,
                                          .is_streamed = true};
    buf_clear(&fixture->body);
    fixture->is_done = false;
    assert_int_equal(
        http_client_start(fixture->loop, &request, &fixture->handler, &fixture->client, NULL), 0);
}

static void finish(struct fixture *fixture)
{
    for (int i = 0; i < 3000 && !fixture->is_done; i++)
        turn(fixture);
    assert_true(fixture->is_done);
    assert_int_equal(fixture->code, 0);
}

static const char *call(struct fixture *fixture, const char *method, const char *target,
                        const char *body)
{
    begin(fixture, method, target, slice_from(body), -1);
    finish(fixture);
    return buf_text(&fixture->body);
}

static void the_socket_is_closed_to_others(void **state)
{
    struct fixture *fixture = *state;
    char path[128];
    struct stat status;
    snprintf(path, sizeof(path), "%s/admin.sock", fixture->directory);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0660);
}

static void answers_are_what_control_says(void **state)
{
    struct fixture *fixture = *state;
    assert_non_null(strstr(call(fixture, "GET", "/v1/status", NULL), "\"app\":\"shop\""));
    assert_int_equal(fixture->status, 200);
    assert_non_null(strstr(call(fixture, "GET", "/v1/apps/shop/releases", NULL), "\"release\":2"));
    assert_non_null(strstr(call(fixture, "GET", "/v1/trash", NULL), "old-1"));
    assert_non_null(strstr(call(fixture, "GET", "/v1/version", NULL), SLIPWAY_VERSION));
    assert_non_null(strstr(call(fixture, "GET", "/openapi.json", NULL), "\"3.1.0\""));
}

static void changes_reach_control_with_their_parameters(void **state)
{
    struct fixture *fixture = *state;
    call(fixture, "POST", "/v1/apps/shop/scale", "{\"service\":\"api\",\"instances\":4}");
    assert_int_equal(fixture->status, 200);
    assert_int_equal(fake.scaled_to, 4);
    assert_string_equal(fake.service, "api");
    char who[64];
    snprintf(who, sizeof(who), "uid %u", (unsigned)getuid());
    assert_int_equal(strncmp(fake.who, who, strlen(who)), 0);
    call(fixture, "POST", "/v1/apps/shop/rollback", "{\"release\":2}");
    assert_int_equal(fake.rolled_back_to, 2);
    call(fixture, "POST", "/v1/apps/shop/rollback", NULL);
    assert_int_equal(fake.rolled_back_to, 0);
    call(fixture, "POST", "/v1/apps/shop/restart", NULL);
    assert_string_equal(fake.service, "(all)");
    call(fixture, "DELETE", "/v1/apps/shop", NULL);
    assert_int_equal(fixture->status, 200);
    call(fixture, "POST", "/v1/trash/old-1/restore", NULL);
    assert_int_equal(fixture->status, 200);
}

static void bad_input_is_refused(void **state)
{
    struct fixture *fixture = *state;
    static const char *const bodies[] = {"{",
                                         "[]",
                                         "{\"service\":\"api\",\"instances\":501}",
                                         "{\"service\":\"api\",\"instances\":-1}",
                                         "{\"service\":\"api\"}",
                                         "{\"instances\":1}"};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        assert_non_null(strstr(call(fixture, "POST", "/v1/apps/shop/scale", bodies[i]),
                               "\"code\":\"invalid\""));
        assert_int_equal(fixture->status, 400);
    }
    call(fixture, "GET", "/v1/apps/shop/deploys/x/events", NULL);
    assert_int_equal(fixture->status, 400);
    call(fixture, "GET", "/v1/logs?limit=x", NULL);
    assert_int_equal(fixture->status, 400);
    call(fixture, "GET", "/v1/logs?since=yesterday", NULL);
    assert_int_equal(fixture->status, 400);
    call(fixture, "GET", "/v1/logs?follow=maybe", NULL);
    assert_int_equal(fixture->status, 400);
}

static void errors_keep_their_code_and_hint(void **state)
{
    struct fixture *fixture = *state;
    fake.fail_app = "ghost";
    fake.fail_code = ERR_NOT_FOUND;
    assert_string_equal(call(fixture, "GET", "/v1/apps/ghost/releases", NULL),
                        "{\"error\":{\"code\":\"not_found\",\"message\":\"no luck with "
                        "'ghost'\",\"hint\":\"try another\"}}");
    assert_int_equal(fixture->status, 404);
    fake.fail_code = ERR_NO_SPACE;
    call(fixture, "POST", "/v1/apps/ghost/deploys", "{\"manifest\":{}}");
    assert_int_equal(fixture->status, 507);
}

static void unknown_paths_and_methods_are_told_apart(void **state)
{
    struct fixture *fixture = *state;
    call(fixture, "GET", "/v2/status", NULL);
    assert_int_equal(fixture->status, 404);
    call(fixture, "POST", "/v1/status", NULL);
    assert_int_equal(fixture->status, 405);
}

static void a_peer_without_rights_gets_nothing(void **state)
{
    struct fixture *fixture = *state;
    fake.is_peer_refused = true;
    static const char *const targets[] = {"/v1/status", "/openapi.json", "/v1/logs", "/v1/trash",
                                          "/nowhere"};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        call(fixture, "GET", targets[i], NULL);
        assert_int_equal(fixture->status, 403);
    }
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    begin(fixture, "PUT", "/v1/apps/shop/deploys/7/source", (struct slice){0}, fd);
    finish(fixture);
    assert_int_equal(fixture->status, 403);
    fd_close(fd);
}

static void a_source_arrives_whole(void **state)
{
    struct fixture *fixture = *state;
    struct buf got = BUF_INIT(4 * 1024 * 1024);
    char block[8192];
    int fds[2];
    memset(block, 's', sizeof(block));
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    begin(fixture, "PUT", "/v1/apps/shop/deploys/7/source", (struct slice){0}, fds[0]);
    for (int sent = 0; sent < 200;) {
        if (write(fds[1], block, sizeof(block)) == (ssize_t)sizeof(block))
            sent++;
        else
            turn(fixture);
    }
    fd_close(fds[1]);
    finish(fixture);
    assert_int_equal(fixture->status, 200);
    assert_non_null(strstr(buf_text(&fixture->body), "\"state\":\"queued\""));
    assert_int_equal(fake.sources_complete, 1);
    assert_int_equal(file_read(fake.source_path, 4 * 1024 * 1024, &got, NULL), 0);
    assert_int_equal(got.len, 200 * sizeof(block));
    buf_done(&got);
    fd_close(fds[0]);
}

static void a_source_larger_than_announced_is_cut_off(void **state)
{
    struct fixture *fixture = *state;
    char block[65536];
    int fd = memfd_create("source", MFD_CLOEXEC);
    memset(block, 's', sizeof(block));
    for (size_t sent = 0; sent <= FAKE_SOURCE_LIMIT; sent += sizeof(block))
        assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    begin(fixture, "PUT", "/v1/apps/shop/deploys/7/source", (struct slice){0}, fd);
    finish(fixture);
    assert_int_equal(fixture->status, 413);
    assert_non_null(strstr(buf_text(&fixture->body), "larger than was announced"));
    assert_int_equal(fake.sources_broken, 1);
    fd_close(fd);
}

static void a_source_that_breaks_off_is_incomplete(void **state)
{
    struct fixture *fixture = *state;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    begin(fixture, "PUT", "/v1/apps/shop/deploys/7/source", (struct slice){0}, fds[0]);
    assert_int_equal(write(fds[1], "half", 4), 4);
    for (int i = 0; i < 20; i++)
        turn(fixture);
    http_client_cancel(fixture->client);
    fixture->client = NULL;
    for (int i = 0; i < 100 && !fake.sources_broken; i++)
        turn(fixture);
    assert_int_equal(fake.sources_broken, 1);
    assert_int_equal(fake.sources_complete, 0);
    fd_close(fds[0]);
    fd_close(fds[1]);
}

static void stored_events_come_and_the_last_ends_the_stream(void **state)
{
    struct fixture *fixture = *state;
    const char *text = call(fixture, "GET", "/v1/apps/shop/deploys/7/events", NULL);
    assert_non_null(strstr(text, "\"sequence\":1,"));
    assert_non_null(strstr(text, "\"final\":true"));
    assert_true(slice_ends_with(buf_slice(&fixture->body), SLICE("}\n")));
    assert_int_equal(fake.unsubscribed, 1);
    text = call(fixture, "GET", "/v1/apps/shop/deploys/7/events?after=2", NULL);
    assert_null(strstr(text, "\"sequence\":2,"));
    assert_non_null(strstr(text, "\"sequence\":3,"));
    call(fixture, "GET", "/v1/apps/shop/deploys/404/events", NULL);
    assert_int_equal(fixture->status, 404);
}

static void live_events_follow_stored_ones(void **state)
{
    struct fixture *fixture = *state;
    fake.keeps_events_open = true;
    begin(fixture, "GET", "/v1/apps/shop/deploys/7/events", (struct slice){0}, -1);
    for (int i = 0; i < 500 && !strstr(buf_text(&fixture->body), "\"sequence\":2,"); i++)
        turn(fixture);
    assert_non_null(fake.open_subscription);
    fake.open_subscription->on_event(fake.open_subscription, SLICE("{\"live\":1}"), false);
    for (int i = 0; i < 500 && !strstr(buf_text(&fixture->body), "{\"live\":1}\n"); i++)
        turn(fixture);
    assert_false(fixture->is_done);
    fake.open_subscription->on_event(fake.open_subscription, SLICE("{\"final\":true}"), true);
    finish(fixture);
    assert_non_null(strstr(buf_text(&fixture->body), "{\"final\":true}\n"));
    assert_int_equal(fake.unsubscribed, 1);
}

static void a_client_that_leaves_is_unsubscribed(void **state)
{
    struct fixture *fixture = *state;
    fake.keeps_events_open = true;
    begin(fixture, "GET", "/v1/apps/shop/deploys/7/events", (struct slice){0}, -1);
    for (int i = 0; i < 500 && !fake.open_subscription; i++)
        turn(fixture);
    http_client_cancel(fixture->client);
    fixture->client = NULL;
    for (int i = 0; i < 500 && !fake.unsubscribed; i++)
        turn(fixture);
    assert_int_equal(fake.unsubscribed, 1);
}

static void logs_are_relayed_to_their_end(void **state)
{
    struct fixture *fixture = *state;
    const char *text =
        call(fixture, "GET",
             "/v1/logs?app=shop&regex=a%7Cb&limit=5&since=2026-03-01T00:00:00Z&access=true", NULL);
    assert_non_null(strstr(text, "listening"));
    assert_non_null(strstr(text, "\"kind\":\"access\""));
    assert_string_equal(fake.query_app, "shop");
    assert_string_equal(fake.query_regex, "a|b");
    assert_int_equal(fake.last_query.limit, 5);
    assert_true(fake.last_query.with_access && fake.last_query.with_output &&
                !fake.last_query.is_followed);
    assert_true(fake.last_query.since_us > 0);
}

static void followed_logs_go_on_until_the_client_leaves(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, "GET", "/v1/logs?app=shop&follow=true", (struct slice){0}, -1);
    for (int i = 0; i < 500 && !strstr(buf_text(&fixture->body), "listening"); i++)
        turn(fixture);
    assert_int_equal(write(fake.log_fd, "{\"new\":1}\n", 10), 10);
    for (int i = 0; i < 500 && !strstr(buf_text(&fixture->body), "{\"new\":1}\n"); i++)
        turn(fixture);
    assert_false(fixture->is_done);
    http_client_cancel(fixture->client);
    fixture->client = NULL;
    for (int i = 0; i < 50; i++)
        turn(fixture);
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    sigaction(SIGPIPE, &ignore, &before);
    assert_int_equal(write(fake.log_fd, "x", 1), -1); /* the read end is closed */
    sigaction(SIGPIPE, &before, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_socket_is_closed_to_others),
        TEST(answers_are_what_control_says),
        TEST(changes_reach_control_with_their_parameters),
        TEST(bad_input_is_refused),
        TEST(errors_keep_their_code_and_hint),
        TEST(unknown_paths_and_methods_are_told_apart),
        TEST(a_peer_without_rights_gets_nothing),
        TEST(a_source_arrives_whole),
        TEST(a_source_larger_than_announced_is_cut_off),
        TEST(a_source_that_breaks_off_is_incomplete),
        TEST(stored_events_come_and_the_last_ends_the_stream),
        TEST(live_events_follow_stored_ones),
        TEST(a_client_that_leaves_is_unsubscribed),
        TEST(logs_are_relayed_to_their_end),
        TEST(followed_logs_go_on_until_the_client_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
