#include "fake_control.h"

#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct fake_control fake;

void fake_control_init(void)
{
    fake = (struct fake_control){.next_deploy = 7, .log_fd = -1};
    snprintf(fake.source_path, sizeof(fake.source_path), "/tmp/fake_control_XXXXXX");
    fd_close(mkstemp(fake.source_path));
}

void fake_control_done(void)
{
    fd_close(fake.log_fd);
    unlink(fake.source_path);
}

static int check(const char *app, struct error *err)
{
    if (!fake.fail_app || !app || strcmp(app, fake.fail_app) != 0)
        return 0;
    error_set(err, fake.fail_code, "no luck with '%s'", app);
    return error_hint(err, "try another");
}

static int answer(const char *app, const struct control_actor *actor, struct buf *ret_json,
                  struct error *err)
{
    if (check(app, err) < 0)
        return err->code;
    snprintf(fake.who, sizeof(fake.who), "%s", actor->who);
    buf_printf(ret_json, "{\"deploy\":%llu,\"app\":\"%s\",\"release\":3,\"state\":\"queued\"}",
               (unsigned long long)fake.next_deploy++, app);
    return 0;
}

int control_status(struct control *control UNUSED, const char *app, struct buf *ret_json,
                   struct error *err)
{
    if (check(app, err) < 0)
        return err->code;
    buf_append_text(
        ret_json,
        "{\"version\":\"0.1.0\",\"state_directory\":\"/state\",\"http_port\":8080,"
        "\"roles\":[{\"role\":\"keeper\",\"pid\":100,\"restarts\":0},{\"role\":\"edge\",\"pid\":"
        "102,\"restarts\":2}],"
        "\"apps\":[{\"app\":\"shop\",\"release\":3,\"state\":\"live\",\"services\":["
        "{\"service\":\"api\",\"type\":\"web\",\"instances\":["
        "{\"id\":\"api-1\",\"pid\":200,\"port\":20001,\"state\":\"ready\",\"release\":3,"
        "\"restarts\":0,"
        "\"started_at\":\"2026-03-01T12:34:56.789012Z\",\"cpu_seconds\":1.5,\"memory_bytes\":"
        "52428800,\"in_flight\":2},"
        "{\"id\":\"api-2\",\"pid\":0,\"port\":20002,\"state\":\"crash_loop\",\"release\":3,"
        "\"restarts\":9,"
        "\"started_at\":null,\"cpu_seconds\":0.25,\"memory_bytes\":0,\"in_flight\":0}]}]}]}");
    return 0;
}

int control_certificates(struct control *control UNUSED, struct buf *ret_json,
                         struct error *err UNUSED)
{
    buf_append_text(
        ret_json,
        "{\"certificates\":[{\"name\":\"shop.example.org\",\"app\":\"shop\",\"source\":\"acme\","
        "\"state\":\"checking\",\"issuer\":null,\"not_after\":null,\"last_error\":\"the name leads "
        "elsewhere\\u001b[31m\",\"hint\":\"point it here\",\"last_error_at\":\"2026-03-01T12:34:56."
        "789012Z\"},{\"name\":\"\",\"app\":\"shop\",\"source\":\"internal\",\"state\":\"valid\","
        "\"issuer\":\"O=Slipway,CN=Local\",\"not_after\":\"2126-03-01T12:34:56.000000Z\"}]}");
    return 0;
}

int control_certificate_renew(struct control *control UNUSED, const char *name,
                              struct buf *ret_json, struct error *err)
{
    if (strcmp(name, "shop.example.org") != 0)
        return error_set(err, ERR_NOT_FOUND, "there is no certificate of '%s'", name);
    buf_append_text(ret_json, "{\"name\":\"shop.example.org\",\"state\":\"waiting\"}");
    return 0;
}

int control_trust(struct control *control UNUSED, struct buf *ret_json, struct error *err UNUSED)
{
    buf_append_text(ret_json, "{\"certificate\":\"-----BEGIN CERTIFICATE-----\\nAA==\\n\","
                              "\"name\":\"CN=Local\",\"not_after\":null}");
    return 0;
}

int control_releases(struct control *control UNUSED, const char *app, struct buf *ret_json,
                     struct error *err)
{
    if (check(app, err) < 0)
        return err->code;
    if (fake.new_app && strcmp(app, fake.new_app) == 0) {
        buf_printf(ret_json, "{\"app\":\"%s\",\"releases\":[]}", app);
        return 0;
    }
    buf_printf(ret_json,
               "{\"app\":\"%s\",\"releases\":[{\"release\":3,\"created_at\":\"2026-03-01T12:34:56."
               "789012Z\","
               "\"commit\":\"0123456789012345678901234567890123456789-dirty\",\"state\":\"live\","
               "\"duration_ms\":8300,"
               "\"who\":\"uid 0 (root)\",\"reason\":null,\"environment\":null,\"kind\":\"deploy\"},"
               "{\"release\":2,\"created_at\":\"2026-03-01T12:30:56.789012Z\",\"commit\":\"\","
               "\"state\":\"failed\","
               "\"duration_ms\":90,\"who\":\"uid 0 (root)\",\"reason\":\"the build "
               "failed\\u001b[31m\",\"environment\":null,"
               "\"kind\":\"deploy\"}]}",
               app);
    return 0;
}

int control_version(struct control *control UNUSED, struct buf *ret_json, struct error *err UNUSED)
{
    buf_append_text(ret_json, "{\"version\":\"" SLIPWAY_VERSION "\",\"keeper\":\"0.1.0\"}");
    return 0;
}

int control_upgrade_state(struct control *control UNUSED, struct buf *ret_json,
                          struct error *err UNUSED)
{
    buf_printf(ret_json,
               "{\"upgrade\":%u,\"state\":\"done\",\"is_downgrade\":%s,\"from\":\"0.1.0\",\"to\":"
               "\"0.2.0\","
               "\"ended_at\":\"2026-03-01T12:34:56.789012Z\"}",
               fake.upgrades, fake.is_downgraded ? "true" : "false");
    return 0;
}

int control_upgrade_begin(struct control *control UNUSED, const char *binary, bool is_back,
                          struct buf *ret_json, struct error *err)
{
    if (binary && strcmp(binary, "/no/slipway") == 0)
        return error_set(err, ERR_CONFLICT, "deploy 7 of 'shop' is under way");
    fake.upgrades++;
    fake.is_downgraded = is_back;
    buf_printf(ret_json, "{\"upgrade\":%u,\"state\":\"trying\"}", fake.upgrades);
    return 0;
}

int control_trash(struct control *control UNUSED, struct buf *ret_json, struct error *err UNUSED)
{
    buf_append_text(ret_json, "{\"trash\":[{\"id\":\"old-1\",\"app\":\"old\",\"removed_at\":\"2026-"
                              "03-01T12:34:56.789012Z\","
                              "\"bytes\":1048576,\"releases\":5}]}");
    return 0;
}

bool control_peer_is_allowed(struct control *control UNUSED, uint32_t uid UNUSED,
                             uint32_t gid UNUSED)
{
    return !fake.is_peer_refused;
}

const char *control_peer_name(struct control *control UNUSED, uint32_t uid, uint32_t gid UNUSED)
{
    static char name[32];

    (void)snprintf(name, sizeof(name), "uid %u (fake)", (unsigned)uid);
    return name;
}

int control_deploy_create(struct control *control UNUSED, const char *app,
                          const struct json *request, const struct control_actor *actor,
                          struct buf *ret_json, struct error *err)
{
    if (!json_get(request, "manifest"))
        return error_set(err, ERR_INVALID, "'manifest' is missing");
    snprintf(fake.manifest_app, sizeof(fake.manifest_app), "%s",
             json_get_text(json_get(request, "manifest"), "app", ""));
    return answer(app, actor, ret_json, err);
}

int control_source_open(struct control *control UNUSED, const char *app, uint64_t deploy UNUSED,
                        int *ret_fd, uint64_t *ret_limit_bytes, struct error *err)
{
    if (check(app, err) < 0)
        return err->code;
    if (fake.dies_path && unlink(fake.dies_path) == 0)
        _exit(9);
    *ret_limit_bytes = FAKE_SOURCE_LIMIT;
    *ret_fd = open(fake.source_path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    return *ret_fd < 0 ? error_errno(err, errno, "unable to open the upload") : 0;
}

int control_source_done(struct control *control UNUSED, const char *app UNUSED,
                        uint64_t deploy UNUSED, bool is_complete, struct error *err UNUSED)
{
    *(is_complete ? &fake.sources_complete : &fake.sources_broken) += 1;
    return 0;
}

int control_plan(struct control *control UNUSED, const char *app, const struct json *request,
                 struct buf *ret_json, struct error *err)
{
    if (!json_get(request, "manifest"))
        return error_set(err, ERR_INVALID, "'manifest' is missing");
    buf_printf(
        ret_json,
        "{\"app\":\"%s\",\"changes\":[{\"kind\":\"edit\",\"path\":\"services.api.instances\","
        "\"before\":\"2\",\"after\":\"3\"},"
        "{\"kind\":\"add\",\"path\":\"services.site\",\"before\":null,\"after\":null},"
        "{\"kind\":\"remove\",\"path\":\"databases.cache\",\"before\":null,\"after\":null}]}",
        app);
    return 0;
}

int control_rollback(struct control *control UNUSED, const char *app, uint64_t release,
                     const struct control_actor *actor, struct buf *ret_json, struct error *err)
{
    fake.rolled_back_to = release;
    return answer(app, actor, ret_json, err);
}

int control_restart(struct control *control UNUSED, const char *app, const char *service,
                    const struct control_actor *actor, struct buf *ret_json, struct error *err)
{
    snprintf(fake.service, sizeof(fake.service), "%s", service ? service : "(all)");
    return answer(app, actor, ret_json, err);
}

int control_scale(struct control *control UNUSED, const char *app, const char *service,
                  unsigned instances, const struct control_actor *actor, struct buf *ret_json,
                  struct error *err)
{
    snprintf(fake.service, sizeof(fake.service), "%s", service);
    fake.scaled_to = instances;
    return answer(app, actor, ret_json, err);
}

int control_cancel(struct control *control UNUSED, const char *app,
                   const struct control_actor *actor, struct buf *ret_json, struct error *err)
{
    return answer(app, actor, ret_json, err);
}

int control_remove(struct control *control UNUSED, const char *app,
                   const struct control_actor *actor, struct buf *ret_json, struct error *err)
{
    return answer(app, actor, ret_json, err);
}

int control_trash_restore(struct control *control UNUSED, const char *id,
                          const struct control_actor *actor, struct buf *ret_json,
                          struct error *err)
{
    return answer(id, actor, ret_json, err);
}

static void say(struct control_subscription *subscription, uint64_t after, uint64_t sequence,
                const char *state, const char *message, const char *more)
{
    struct buf line = BUF_INIT(4096);
    buf_printf(&line,
               "{\"sequence\":%llu,\"time\":\"2026-03-01T12:34:5%llu.000000Z\",\"deploy\":7,"
               "\"state\":\"%s\",\"step\":\"%s\","
               "\"service\":null,\"instance\":%s,\"message\":\"%s\",\"level\":\"info\"%s}",
               (unsigned long long)sequence, (unsigned long long)sequence, state, state,
               sequence == 2 ? "\"api-1\"" : "null", message, more);
    if (sequence > after)
        subscription->on_event(subscription, buf_slice(&line), more[0] != '\0');
    buf_done(&line);
}

int control_subscribe(struct control *control, const char *app, uint64_t deploy, uint64_t after,
                      struct control_subscription *subscription, struct error *err)
{
    if (deploy == 404)
        return error_set(err, ERR_NOT_FOUND, "there is no deploy 404");
    subscription->control = control;
    say(subscription, after, 1, "queued", "queued", "");
    say(subscription, after, 2, "starting", "healthy after 310ms", "");
    if (fake.keeps_events_open)
        fake.open_subscription = subscription;
    else if (fake.broken_app && strcmp(fake.broken_app, app) == 0)
        say(subscription, after, 3, "failed", "the build failed",
            ",\"final\":true,\"kind\":\"deploy\",\"reason\":\"build of api failed: exit status "
            "3\",\"hint\":\"look at the output\","
            "\"log\":[\"compiling\",\"no such header\"],\"probe\":\"GET /health: connection "
            "refused\"");
    else
        say(subscription, after, 3, "live", "v3 is live after 2.0 s",
            ",\"final\":true,\"kind\":\"deploy\",\"reason\":null,\"hint\":null,\"log\":[],"
            "\"probe\":null");
    return 0;
}

void control_unsubscribe(struct control_subscription *subscription)
{
    fake.unsubscribed++;
    if (fake.open_subscription == subscription)
        fake.open_subscription = NULL;
}

int control_logs(struct control *control UNUSED, const struct control_log_query *query, int *ret_fd,
                 struct error *err)
{
    static const char lines[] =
        "{\"time\":\"2026-03-01T12:34:56.000000Z\",\"app\":\"shop\",\"service\":\"api\","
        "\"instance\":\"api-1\",\"release\":3,"
        "\"unit\":5,\"kind\":\"run\",\"stream\":\"stdout\",\"line\":\"listening "
        "\\u001b[31mred\\u001b[2J\"}\n"
        "{\"time\":\"2026-03-01T12:34:57.000000Z\",\"app\":\"shop\",\"service\":\"api\","
        "\"instance\":\"api-1\",\"release\":3,"
        "\"unit\":5,\"kind\":\"gap\",\"stream\":\"stdout\",\"dropped_lines\":12,\"dropped_bytes\":"
        "2048}\n"
        "{\"time\":\"2026-03-01T12:34:58.000000Z\",\"app\":\"shop\",\"service\":\"api\","
        "\"instance\":\"\",\"release\":3,"
        "\"unit\":0,\"kind\":\"access\",\"stream\":\"access\",\"line\":\"{\\\"method\\\":"
        "\\\"GET\\\",\\\"host\\\":\\\"h\\\",\\\"path\\\":\\\"/x\\\","
        "\\\"status\\\":200,\\\"bytes\\\":100,\\\"duration_us\\\":1500,\\\"client\\\":\\\"127.0.0."
        "1\\\"}\"}\n";
    int fds[2];
    if (check(query->app, err) < 0)
        return err->code;
    fake.last_query = *query;
    snprintf(fake.query_app, sizeof(fake.query_app), "%s", query->app ? query->app : "");
    snprintf(fake.query_regex, sizeof(fake.query_regex), "%s", query->regex ? query->regex : "");
    if (pipe2(fds, O_CLOEXEC) < 0)
        return error_errno(err, errno, "unable to make a pipe");
    bool is_bad = query->regex && strcmp(query->regex, "(") == 0;
    struct slice bad = SLICE("{\"error\":{\"code\":\"invalid\",\"message\":\"unclosed group\"}}\n");
    if (file_write_all(fds[1], is_bad ? bad : SLICE(lines), err) < 0)
        return err->code;
    *ret_fd = fds[0];
    if (query->is_followed) {
        fd_close(fake.log_fd);
        fake.log_fd = fds[1];
    } else {
        fd_close(fds[1]);
    }
    return 0;
}
