/* The whole control role against a keeper, an edge and a logd that this test plays over real
 * channels. */
#include "unit.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/control_private.h"
#include "deploy/app.h"
#include "deploy/deploy.h"
#include "net/snapshot.h"
#include "os/file.h"
#include "os/memory.h"
#include "os/socket.h"
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNITS_MAX 64

struct played_unit {
    uint64_t id;
    bool is_running;
};

struct fixture {
    struct loop *loop;
    struct control *control;
    struct control_handler handler;
    char folder[64];
    struct channel keeper, edge, logd, signer;
    struct played_unit units[UNITS_MAX];
    size_t unit_count;
    bool is_ready, has_quit, jobs_fail;
    uint64_t snapshot_version;
    uint64_t keys_version; /* that the signer was given */
    bool signer_is_silent;
    bool has_certificate; /* the newest snapshot has one for a.test */
    uint8_t key_id[PEER_KEY_ID_BYTES];
    unsigned directories;
    bool directories_hang;
    struct directory_request tree;
    unsigned folder_answers;
    int folder_code;
    struct error err;
    struct control_subscription subscription;
    struct buf events;
    bool is_final;
};

static const struct control_actor actor = {.who = "uid 0 (test)"};

static void on_ready(struct control_handler *handler, struct control *control)
{
    (void)control;
    container_of(handler, struct fixture, handler)->is_ready = true;
}

static void on_quit(struct control_handler *handler)
{
    container_of(handler, struct fixture, handler)->has_quit = true;
}

/* ---- the keeper that is played */

static void post(struct fixture *f, const void *fixed, size_t len, const char *const *strings,
                 size_t count, int fd)
{
    struct buf message = BUF_INIT(65536);

    buf_append(&message, fixed, len);
    for (size_t i = 0; i < count; i++)
        buf_append(&message, strings[i], strlen(strings[i]) + 1);
    assert_int_equal(channel_post(&f->keeper, message.ptr, message.len, &fd, fd >= 0 ? 1 : 0), 0);
    buf_done(&message);
}

static void tell_unit(struct fixture *f, const struct played_unit *unit,
                      enum keeper_unit_state state, int wait_status)
{
    const char *strings[] = {"tag", ""};
    struct keeper_unit message = {.header.type = KEEPER_UNIT,
                                  .unit = unit->id,
                                  .state = state,
                                  .pid = 100000,
                                  .wait_status = wait_status};

    post(f, &message, sizeof(message), strings, 2, -1);
}

static void reply(struct fixture *f, uint32_t request)
{
    const char *strings[] = {""};
    struct keeper_reply message = {.header = {KEEPER_REPLY, request}};

    post(f, &message, sizeof(message), strings, 1, -1);
}

static void on_spawn(struct fixture *f, const struct keeper_spawn *spawn)
{
    struct played_unit *unit = &f->units[f->unit_count++];

    assert_true(f->unit_count < UNITS_MAX);
    *unit = (struct played_unit){.id = spawn->unit, .is_running = true};
    tell_unit(f, unit, KEEPER_UNIT_RUNNING, 0);
    reply(f, spawn->header.request);
    if (spawn->flags & KEEPER_SPAWN_SELF) {
        unit->is_running = false;
        tell_unit(f, unit, KEEPER_UNIT_EXITED, f->jobs_fail ? 2 << 8 : 0);
    }
}

static void on_stop(struct fixture *f, const struct keeper_stop *stop)
{
    reply(f, stop->header.request);
    for (size_t i = 0; i < f->unit_count; i++)
        if (f->units[i].id == stop->unit && f->units[i].is_running) {
            f->units[i].is_running = false;
            tell_unit(f, &f->units[i], KEEPER_UNIT_EXITED, (int)stop->signal);
        }
}

static void on_keeper_message(struct channel *channel, const void *message, size_t len, int *fds,
                              size_t fd_count)
{
    struct fixture *f = container_of(channel, struct fixture, keeper);
    const struct keeper_header *header = message;

    (void)fds;
    (void)fd_count;
    assert_true(len >= sizeof(*header));
    switch (header->type) {
    case KEEPER_SPAWN:
        on_spawn(f, message);
        break;
    case KEEPER_STOP:
        on_stop(f, message);
        break;
    case KEEPER_MAKE_DIRECTORY:
        f->directories++;
        if (!f->directories_hang)
            reply(f, header->request);
        break;
    default:
        reply(f, header->request);
        break;
    }
}

static void on_signer_message(struct channel *channel, const void *message, size_t len, int *fds,
                              size_t fd_count)
{
    struct fixture *f = container_of(channel, struct fixture, signer);
    const struct peer_keys *keys = message;
    struct peer_keys_ack ack = {.type = PEER_KEYS_ACK, .version = keys->version};

    assert_int_equal(len, sizeof(*keys));
    assert_int_equal(keys->type, PEER_KEYS);
    assert_int_equal(fd_count, 1);
    assert_true(fds[0] >= 0);
    f->keys_version = keys->version;
    if (!f->signer_is_silent)
        assert_int_equal(channel_post(channel, &ack, sizeof(ack), NULL, 0), 0);
}

static void look_for_certificate(struct fixture *f, int fd)
{
    const struct snapshot_host *host;
    struct snapshot snapshot;
    void *base;
    size_t size;

    assert_int_equal(memory_map(fd, false, true, &base, &size, &f->err), 0);
    assert_int_equal(snapshot_open(base, size, &snapshot, &f->err), 0);
    host = snapshot_host_find(&snapshot, SLICE("a.test"));
    f->has_certificate = host && host->certificate;
    if (f->has_certificate)
        memcpy(f->key_id, snapshot.certificates[host->certificate - 1].key_id, sizeof f->key_id);
    snapshot_close(&snapshot);
    memory_unmap(base, size);
}

static void on_edge_message(struct channel *channel, const void *message, size_t len, int *fds,
                            size_t fd_count)
{
    struct fixture *f = container_of(channel, struct fixture, edge);
    const struct peer_snapshot *snapshot = message;
    struct peer_ack ack = {.type = PEER_ACK, .version = snapshot->version};

    assert_int_equal(len, sizeof(*snapshot));
    assert_int_equal(fd_count, 1);
    assert_true(fds[0] >= 0);
    assert_true(snapshot->version > f->snapshot_version);
    f->snapshot_version = snapshot->version;
    look_for_certificate(f, fds[0]);
    assert_int_equal(channel_post(channel, &ack, sizeof(ack), NULL, 0), 0);
}

static void on_logd_message(struct channel *channel, const void *message, size_t len, int *fds,
                            size_t fd_count)
{
    static const char line[] = "{\"line\": \"what it said last\"}\n{\"kind\": \"gap\"}\n";
    const struct peer_log_query *query = message;

    (void)channel;
    assert_true(len > sizeof(*query));
    assert_int_equal(query->type, PEER_LOG_QUERY);
    assert_int_equal(fd_count, 1);
    assert_int_equal(write(fds[0], line, sizeof(line) - 1), sizeof(line) - 1);
}

static void on_closed(struct channel *channel)
{
    (void)channel;
}

static void connect_peer(struct fixture *f, struct channel *channel, enum keeper_role role,
                         uint32_t index)
{
    struct keeper_peer message = {.header.type = KEEPER_PEER, .role = role, .role_index = index};
    int pair[2];

    assert_int_equal(channel_pair(pair, &f->err), 0);
    assert_int_equal(channel_start(channel, f->loop, pair[0], &f->err), 0);
    post(f, &message, sizeof(message), NULL, 0, pair[1]);
    fd_close(pair[1]);
}

static void greet(struct fixture *f)
{
    const char *strings[] = {f->folder};
    struct keeper_hello hello = {.header.type = KEEPER_HELLO,
                                 .protocol_version = KEEPER_PROTOCOL_VERSION,
                                 .role = KEEPER_ROLE_CONTROL,
                                 .edge_count = 1,
                                 .http_port = 8080};
    struct keeper_role_state role = {.header.type = KEEPER_ROLE,
                                     .role = KEEPER_ROLE_EDGE,
                                     .role_index = 1,
                                     .pid = 77,
                                     .restarts = 2};
    struct keeper_table_end end = {.header.type = KEEPER_TABLE_END};

    post(f, &hello, sizeof(hello), strings, 1, -1);
    connect_peer(f, &f->edge, KEEPER_ROLE_EDGE, 1);
    connect_peer(f, &f->logd, KEEPER_ROLE_LOGD, 0);
    connect_peer(f, &f->signer, KEEPER_ROLE_SIGNER, 0);
    post(f, &role, sizeof(role), NULL, 0, -1);
    for (size_t i = 0; i < f->unit_count; i++)
        if (f->units[i].is_running)
            tell_unit(f, &f->units[i], KEEPER_UNIT_RUNNING, 0);
    post(f, &end, sizeof(end), NULL, 0, -1);
}

/* ---- life */

static bool pass_until(struct fixture *f, bool (*is_true)(struct fixture *f))
{
    uint64_t end_us = clock_monotonic_us() + 10000000;

    while (!is_true(f)) {
        if (clock_monotonic_us() > end_us)
            return false;
        assert_int_equal(loop_turn(f->loop, 10, &f->err), 0);
    }
    return true;
}

static bool is_ready(struct fixture *f)
{
    return f->is_ready;
}

static bool is_final(struct fixture *f)
{
    return f->is_final;
}

static bool has_quit(struct fixture *f)
{
    return f->has_quit;
}

static void start_control(struct fixture *f)
{
    struct control_settings settings = {.state_directory = f->folder};
    int pair[2];

    f->is_ready = false;
    f->keeper.on_message = on_keeper_message;
    f->edge.on_message = on_edge_message;
    f->logd.on_message = on_logd_message;
    f->signer.on_message = on_signer_message;
    f->keeper.on_closed = f->edge.on_closed = f->logd.on_closed = f->signer.on_closed = on_closed;
    assert_int_equal(channel_pair(pair, &f->err), 0);
    assert_int_equal(channel_start(&f->keeper, f->loop, pair[0], &f->err), 0);
    settings.keeper_fd = pair[1];
    assert_int_equal(control_new(f->loop, &settings, &f->handler, &f->control, &f->err), 0);
    greet(f);
    assert_true(pass_until(f, is_ready));
}

static void stop_control(struct fixture *f)
{
    control_unsubscribe(&f->subscription);
    f->subscription.control = NULL;
    control_free(f->control);
    channel_stop(&f->keeper);
    channel_stop(&f->edge);
    channel_stop(&f->logd);
    channel_stop(&f->signer);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    static const char *const folders[] = {"store", "uploads", "apps", "data", "trash"};
    char path[128];

    assert_non_null(f);
    log_set_level(getenv("WORLD_LOG") ? LOG_INFO : LOG_ERROR);
    (void)snprintf(f->folder, sizeof(f->folder), "/tmp/slipway-control-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", f->folder, folders[i]);
        assert_int_equal(directory_make(path, 0700, &f->err), 0);
    }
    (void)setenv("SLIPWAY_DISK_RESERVE", "1M", 1);
    f->handler = (struct control_handler){on_ready, on_quit};
    f->events = BUF_INIT(1024u * 1024);
    assert_int_equal(loop_new(&f->loop, &f->err), 0);
    start_control(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    stop_control(f);
    loop_free(f->loop);
    buf_done(&f->events);
    assert_int_equal(directory_remove_tree(f->folder, &f->err), 0);
    free(f);
    return 0;
}

/* ---- what people do */

static void on_event(struct control_subscription *subscription, struct slice line, bool final)
{
    struct fixture *f = container_of(subscription, struct fixture, subscription);

    buf_append_slice(&f->events, line);
    buf_append_byte(&f->events, '\n');
    f->is_final |= final;
}

static int create(struct fixture *f, const char *app, const char *request, uint64_t *ret_deploy)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(1024u * 1024);
    struct buf answer = BUF_INIT(65536);
    struct json *json;

    assert_int_equal(json_parse(arena, slice_from(request), &json, &f->err), 0);
    int code = control_deploy_create(f->control, app, json, &actor, &answer, &f->err);
    if (code == 0) {
        assert_int_equal(json_parse(arena, buf_slice(&answer), &json, &f->err), 0);
        *ret_deploy = (uint64_t)json_get_integer(json, "deploy", 0);
        assert_string_equal(json_get_text(json, "state", ""), "uploading");
    }
    buf_done(&answer);
    return code;
}

#define WORKER                                                                                     \
    "{\"manifest\": {\"app\": \"shop\", \"services\": {\"work\": {\"type\": \"worker\", "          \
    "\"start\": \"x\", \"health\": {\"interval\": \"100ms\"}}}}, \"commit\": \"abc\", "            \
    "\"source_bytes\": 100, \"source_files\": 2}"

static uint64_t deploy_of(struct fixture *f, const char *request)
{
    uint64_t id = 0, limit_bytes = 0;
    int fd, second = -1;

    if (create(f, "shop", request, &id) != 0)
        fail_msg("%s", f->err.text);
    assert_int_equal(control_source_open(f->control, "shop", id, &fd, &limit_bytes, &f->err), 0);
    assert_true(limit_bytes > 100);
    assert_int_equal(control_source_open(f->control, "shop", id, &second, &limit_bytes, &f->err),
                     ERR_CONFLICT); /* two senders would write over each other */
    assert_int_equal(write(fd, "tar", 3), 3);
    fd_close(fd);
    assert_int_equal(control_source_done(f->control, "shop", id, true, &f->err), 0);
    f->is_final = false;
    buf_clear(&f->events);
    control_unsubscribe(&f->subscription);
    f->subscription.on_event = on_event;
    assert_int_equal(control_subscribe(f->control, "shop", id, 0, &f->subscription, &f->err), 0);
    return id;
}

static uint64_t deploy(struct fixture *f)
{
    return deploy_of(f, WORKER);
}

#define SECURE                                                                                     \
    "{\"manifest\": {\"app\": \"shop\", \"services\": {\"site\": {\"type\": \"static\"}}, "        \
    "\"routes\": [{\"host\": \"a.test\", \"service\": \"site\", \"tls\": \"internal\"}]}, "        \
    "\"source_bytes\": 100, \"source_files\": 2}"

static bool has_keys(struct fixture *f)
{
    return f->keys_version > 0;
}

static bool has_certificate(struct fixture *f)
{
    return f->has_certificate;
}

static void a_snapshot_names_a_key_once_the_signer_has_it(void **state)
{
    struct fixture *f = *state;
    struct peer_keys_ack ack = {.type = PEER_KEYS_ACK};
    struct buf answer = BUF_INIT(65536);

    f->signer_is_silent = true;
    (void)deploy_of(f, SECURE);
    assert_true(pass_until(f, is_final));
    assert_true(pass_until(f, has_keys));
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(loop_turn(f->loop, 5, &f->err), 0);
    assert_false(f->has_certificate);
    assert_int_equal(control_certificates(f->control, &answer, &f->err), 0);
    assert_non_null(strstr(buf_text(&answer), "\"state\":\"starting\""));
    ack.version = f->keys_version;
    assert_int_equal(channel_post(&f->signer, &ack, sizeof(ack), NULL, 0), 0);
    assert_true(pass_until(f, has_certificate));
    buf_clear(&answer);
    assert_int_equal(control_certificates(f->control, &answer, &f->err), 0);
    assert_non_null(strstr(buf_text(&answer), "\"state\":\"valid\""));
    assert_null(strstr(buf_text(&answer), "PRIVATE"));
    buf_done(&answer);
}

static void a_restarted_control_serves_the_certificate_that_it_has(void **state)
{
    struct fixture *f = *state;
    uint8_t before[PEER_KEY_ID_BYTES];
    uint64_t keys_version;

    (void)deploy_of(f, SECURE);
    assert_true(pass_until(f, has_certificate));
    memcpy(before, f->key_id, sizeof before);
    keys_version = f->keys_version;
    stop_control(f);
    f->has_certificate = false;
    start_control(f);
    assert_true(pass_until(f, has_certificate));
    assert_memory_equal(f->key_id, before, sizeof before);
    assert_true(f->keys_version > keys_version);
}

static void a_host_that_nobody_routes_any_more_has_no_certificate(void **state)
{
    struct fixture *f = *state;
    struct buf answer = BUF_INIT(65536);

    (void)deploy_of(f, SECURE);
    assert_true(pass_until(f, has_certificate));
    assert_true(pass_until(f, is_final));
    (void)deploy(f);
    assert_true(pass_until(f, is_final));
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(loop_turn(f->loop, 5, &f->err), 0);
    assert_false(f->has_certificate);
    assert_int_equal(control_certificates(f->control, &answer, &f->err), 0);
    assert_string_equal(buf_text(&answer), "{\"certificates\":[]}");
    buf_done(&answer);
}

static void it_greets_publishes_and_is_ready(void **state)
{
    struct fixture *f = *state;
    struct buf status = BUF_INIT(65536);

    while (f->snapshot_version == 0)
        assert_int_equal(loop_turn(f->loop, 10, &f->err), 0);
    assert_int_equal(control_status(f->control, NULL, &status, &f->err), 0);
    assert_non_null(
        strstr(buf_text(&status), "{\"role\":\"edge\",\"index\":1,\"pid\":77,\"restarts\":2"));
    assert_non_null(strstr(buf_text(&status), "\"apps\":[]"));
    buf_done(&status);
}

static void a_deploy_goes_through_the_real_channels(void **state)
{
    struct fixture *f = *state;
    struct buf answer = BUF_INIT(65536);

    (void)deploy(f);
    assert_true(pass_until(f, is_final));
    assert_non_null(strstr(buf_text(&f->events), "\"state\":\"live\""));
    assert_int_equal(control_status(f->control, "shop", &answer, &f->err), 0);
    assert_non_null(strstr(buf_text(&answer), "\"release\":1,\"state\":\"live\""));
    assert_non_null(strstr(buf_text(&answer), "\"id\":\"work-1\",\"pid\":100000"));
    buf_clear(&answer);
    assert_int_equal(control_releases(f->control, "shop", &answer, &f->err), 0);
    assert_non_null(strstr(buf_text(&answer), "\"commit\":\"abc\",\"state\":\"live\""));
    assert_non_null(strstr(buf_text(&answer), "\"who\":\"uid 0 (test)\""));
    buf_done(&answer);
}

static void a_failed_job_is_told_with_its_last_words(void **state)
{
    struct fixture *f = *state;

    f->jobs_fail = true;
    (void)deploy(f);
    assert_true(pass_until(f, is_final));
    assert_non_null(strstr(buf_text(&f->events), "\"final\":true"));
    assert_non_null(strstr(buf_text(&f->events), "unpack exited with status 2"));
    assert_non_null(strstr(buf_text(&f->events), "\"log\":[\"what it said last\"]"));
}

static void a_restarted_control_takes_over_what_runs(void **state)
{
    struct fixture *f = *state;
    struct buf answer = BUF_INIT(65536);
    uint64_t id = deploy(f), version;

    assert_true(pass_until(f, is_final));
    size_t units = f->unit_count;
    version = f->snapshot_version;
    stop_control(f);
    start_control(f);
    for (unsigned i = 0; i < 30; i++)
        assert_int_equal(loop_turn(f->loop, 10, &f->err), 0);
    assert_int_equal(f->unit_count, units);
    assert_true(f->snapshot_version > version);
    assert_int_equal(control_status(f->control, "shop", &answer, &f->err), 0);
    assert_non_null(strstr(buf_text(&answer), "\"state\":\"ready\",\"release\":1,\"restarts\":0"));
    buf_done(&answer);
    /* The story of the deploy is still there. */
    f->is_final = false;
    assert_int_equal(control_subscribe(f->control, "shop", id, 0, &f->subscription, &f->err), 0);
    assert_true(f->is_final);
}

static void what_cannot_work_is_refused_before_anything_is_written(void **state)
{
    struct fixture *f = *state;
    uint64_t id;

    assert_int_equal(create(f, "shop", "{\"source_bytes\": 1}", &id), ERR_INVALID);
    assert_int_equal(create(f, "other", WORKER, &id), ERR_INVALID);
    assert_int_equal(
        create(f, "shop",
               "{\"manifest\": {\"app\": \"shop\", \"services\": {\"work\": {\"type\": \"worker\", "
               "\"start\": \"x\"}}}, \"source_bytes\": 1000000000000000}",
               &id),
        ERR_NO_SPACE);
    assert_non_null(strstr(f->err.text, "not enough disk space"));
    assert_null(platform_app_find(f->control->platform, "shop"));
}

static void questions_about_nothing_are_answered_clearly(void **state)
{
    struct fixture *f = *state;
    struct buf answer = BUF_INIT(65536);
    uint64_t limit_bytes;
    int fd;

    assert_int_equal(control_status(f->control, "none", &answer, &f->err), ERR_NOT_FOUND);
    assert_int_equal(control_releases(f->control, "none", &answer, &f->err), ERR_NOT_FOUND);
    assert_int_equal(control_rollback(f->control, "none", 0, &actor, &answer, &f->err),
                     ERR_NOT_FOUND);
    assert_int_equal(control_restart(f->control, "none", NULL, &actor, &answer, &f->err),
                     ERR_NOT_FOUND);
    assert_int_equal(control_scale(f->control, "none", "x", 1, &actor, &answer, &f->err),
                     ERR_NOT_FOUND);
    assert_int_equal(control_cancel(f->control, "none", &actor, &answer, &f->err), ERR_NOT_FOUND);
    assert_int_equal(control_remove(f->control, "none", &actor, &answer, &f->err), ERR_NOT_FOUND);
    assert_int_equal(control_trash_restore(f->control, "none", &actor, &answer, &f->err),
                     ERR_NOT_FOUND);
    assert_int_equal(control_trash_restore(f->control, "../x", &actor, &answer, &f->err),
                     ERR_NOT_FOUND);
    assert_int_equal(control_source_open(f->control, "none", 1, &fd, &limit_bytes, &f->err),
                     ERR_NOT_FOUND);
    assert_int_equal(control_subscribe(f->control, "none", 1, 0, &f->subscription, &f->err),
                     ERR_NOT_FOUND);
    buf_done(&answer);
    (void)deploy(f);
    assert_true(pass_until(f, is_final));
    answer = BUF_INIT(65536);
    assert_int_equal(control_rollback(f->control, "shop", 0, &actor, &answer, &f->err),
                     ERR_NOT_FOUND);
    assert_int_equal(control_rollback(f->control, "shop", 9, &actor, &answer, &f->err),
                     ERR_NOT_FOUND);
    assert_int_equal(control_scale(f->control, "shop", "none", 1, &actor, &answer, &f->err),
                     ERR_NOT_FOUND);
    assert_int_equal(control_scale(f->control, "shop", "work", 501, &actor, &answer, &f->err),
                     ERR_INVALID);
    assert_int_equal(control_cancel(f->control, "shop", &actor, &answer, &f->err), ERR_NOT_FOUND);
    buf_done(&answer);
}

static bool is_removed(struct fixture *f)
{
    return !platform_app_find(f->control->platform, "shop");
}

static bool is_back(struct fixture *f)
{
    const struct app *app = platform_app_find(f->control->platform, "shop");

    return app && strcmp(app_state_name(app), "live") == 0;
}

static void a_removed_app_comes_back_from_the_trash(void **state)
{
    struct fixture *f = *state;
    struct buf answer = BUF_INIT(65536);
    CLEANUP(arena_freep) struct arena *arena = arena_new(1024u * 1024);
    char folder[128];
    struct json *json;

    (void)deploy(f);
    assert_true(pass_until(f, is_final));
    (void)snprintf(folder, sizeof(folder), "%s/apps/shop/home", f->folder);
    assert_int_equal(directory_make(folder, 0700, &f->err), 0);
    assert_int_equal(control_remove(f->control, "shop", &actor, &answer, &f->err), 0);
    assert_int_equal(json_parse(arena, buf_slice(&answer), &json, &f->err), 0);
    const char *id = json_get_text(json, "trash", "");
    assert_true(id[0]);
    assert_true(pass_until(f, is_removed));
    assert_false(file_exists(folder));
    buf_clear(&answer);
    assert_int_equal(control_trash(f->control, &answer, &f->err), 0);
    assert_non_null(strstr(buf_text(&answer), id));
    buf_clear(&answer);
    assert_int_equal(control_trash_restore(f->control, id, &actor, &answer, &f->err), 0);
    assert_true(pass_until(f, is_back));
    assert_true(file_exists(folder));
    buf_clear(&answer);
    assert_int_equal(control_trash(f->control, &answer, &f->err), 0);
    assert_string_equal(buf_text(&answer), "{\"trash\":[]}");
    buf_done(&answer);
}

static void on_folder(struct directory_request *request, const struct error *err)
{
    struct fixture *f = container_of(request, struct fixture, tree);

    f->folder_answers++;
    f->folder_code = err ? err->code : 0;
}

static bool is_folder_answered(struct fixture *f)
{
    return f->folder_answers > 0;
}

static void ask_for_a_tree(struct fixture *f)
{
    f->tree.on_made = on_folder;
    keeper_link_make_directory(&f->control->link, "data/shop/db", 1, 0700, true, &f->tree);
    keeper_link_flush(&f->control->link);
    assert_non_null(f->tree.driver);
}

static void whoever_asks_for_a_tree_hears_when_it_is_given_over(void **state)
{
    struct fixture *f = *state;

    ask_for_a_tree(f);
    assert_int_equal(f->folder_answers, 0);
    assert_true(pass_until(f, is_folder_answered));
    assert_int_equal(f->folder_code, 0);
    assert_null(f->tree.driver);
}

static void a_tree_has_minutes_to_change_its_owner_but_not_for_ever(void **state)
{
    struct fixture *f = *state;
    uint64_t now_us = clock_monotonic_us();

    f->directories_hang = true;
    ask_for_a_tree(f);
    clock_fake(now_us, clock_wall_us());
    clock_fake_advance(KEEPER_GIVING_MAX_MS * UINT64_C(1000));
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(loop_turn(f->loop, 0, &f->err), 0);
    assert_int_equal(f->folder_answers, 0);
    clock_fake_advance(30 * UINT64_C(1000000));
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(loop_turn(f->loop, 0, &f->err), 0);
    clock_real();
    assert_int_equal(f->folder_answers, 1);
    assert_int_equal(f->folder_code, ERR_TIMEOUT);
}

static void a_removal_cancels_what_waits_before_it(void **state)
{
    struct fixture *f = *state;
    struct buf answer = BUF_INIT(65536);
    uint64_t upload;

    (void)deploy(f);
    assert_true(pass_until(f, is_final));
    assert_int_equal(create(f, "shop", WORKER, &upload), 0);
    assert_int_equal(control_restart(f->control, "shop", NULL, &actor, &answer, &f->err), 0);
    assert_int_equal(control_remove(f->control, "shop", &actor, &answer, &f->err), 0);
    assert_true(pass_until(f, is_removed));
    assert_false(f->units[f->unit_count - 1].is_running);
    buf_done(&answer);
}

static void a_rollback_to_what_is_live_is_refused(void **state)
{
    struct fixture *f = *state;
    struct buf answer = BUF_INIT(65536);

    (void)deploy(f);
    assert_true(pass_until(f, is_final));
    assert_int_equal(control_rollback(f->control, "shop", 1, &actor, &answer, &f->err),
                     ERR_CONFLICT);
    buf_done(&answer);
}

static void a_plan_says_what_would_change(void **state)
{
    struct fixture *f = *state;
    CLEANUP(arena_freep) struct arena *arena = arena_new(1024u * 1024);
    struct buf answer = BUF_INIT(65536);
    struct json *json;

    (void)deploy(f);
    assert_true(pass_until(f, is_final));
    assert_int_equal(
        json_parse(
            arena,
            SLICE("{\"manifest\": {\"app\": \"shop\", \"services\": {\"work\": {\"type\": "
                  "\"worker\", \"start\": \"x\", \"instances\": 3, \"health\": {\"interval\": "
                  "\"100ms\"}}}}}"),
            &json, &f->err),
        0);
    assert_int_equal(control_plan(f->control, "shop", json, &answer, &f->err), 0);
    assert_non_null(
        strstr(buf_text(&answer),
               "\"path\":\"services.work.instances\",\"before\":\"1\",\"after\":\"3\""));
    buf_done(&answer);
}

static void a_quit_stops_everything_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct keeper_quit quit = {.header.type = KEEPER_QUIT, .grace_ms = 5000};
    struct buf answer = BUF_INIT(65536);

    (void)deploy(f);
    assert_true(pass_until(f, is_final));
    post(f, &quit, sizeof(quit), NULL, 0, -1);
    assert_true(pass_until(f, has_quit));
    for (size_t i = 0; i < f->unit_count; i++)
        assert_false(f->units[i].is_running);
    assert_int_equal(control_restart(f->control, "shop", NULL, &actor, &answer, &f->err),
                     ERR_UNAVAILABLE);
    stop_control(f);
    start_control(f);
    assert_true(pass_until(f, is_back)); /* the same release, with a process of its own */
    assert_true(f->units[f->unit_count - 1].is_running);
    buf_done(&answer);
}

static void logs_come_through_a_pipe(void **state)
{
    struct fixture *f = *state;
    struct control_log_query query = {.app = "shop", .limit = 10, .with_output = true};
    char text[256] = "";
    int fd;

    assert_int_equal(control_logs(f->control, &query, &fd, &f->err), 0);
    for (unsigned i = 0; i < 100 && read(fd, text, sizeof(text) - 1) <= 0; i++)
        assert_int_equal(loop_turn(f->loop, 10, &f->err), 0);
    assert_non_null(strstr(text, "what it said last"));
    fd_close(fd);
    query.deploy = 99;
    assert_int_equal(control_logs(f->control, &query, &fd, &f->err), ERR_NOT_FOUND);
    channel_stop(&f->logd);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(loop_turn(f->loop, 10, &f->err), 0);
    query.deploy = 0;
    assert_int_equal(control_logs(f->control, &query, &fd, &f->err), ERR_UNAVAILABLE);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(it_greets_publishes_and_is_ready),
        T(a_deploy_goes_through_the_real_channels),
        T(a_failed_job_is_told_with_its_last_words),
        T(a_restarted_control_takes_over_what_runs),
        T(what_cannot_work_is_refused_before_anything_is_written),
        T(questions_about_nothing_are_answered_clearly),
        T(a_removed_app_comes_back_from_the_trash),
        T(whoever_asks_for_a_tree_hears_when_it_is_given_over),
        T(a_tree_has_minutes_to_change_its_owner_but_not_for_ever),
        T(a_removal_cancels_what_waits_before_it),
        T(a_rollback_to_what_is_live_is_refused),
        T(a_plan_says_what_would_change),
        T(a_quit_stops_everything_and_changes_nothing),
        T(logs_come_through_a_pipe),
        T(a_snapshot_names_a_key_once_the_signer_has_it),
        T(a_restarted_control_serves_the_certificate_that_it_has),
        T(a_host_that_nobody_routes_any_more_has_no_certificate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
