/* operations.c - what a person can ask for: checks, then one durable record; the machines do the
 * rest. */
#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"
#include "control/control_private.h"
#include "deploy/app.h"
#include "deploy/deploy.h"
#include "deploy/environment.h"
#include "deploy/routes.h"
#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#define QUEUE_MAX 20u /* unfinished deploys of an app */

/* ---- common */

static int check_ready(const struct control *control, struct error *err)
{
    if (!control->quit && control->platform && control->platform->is_resumed)
        return 0;
    error_set(err, ERR_UNAVAILABLE, "the platform is %s", control->quit ? "stopping" : "starting");
    return error_hint(err, "try again in a moment");
}

static void answer(const struct deploy *deploy, struct buf *ret_json)
{
    struct json_writer writer = JSON_WRITER(ret_json);

    json_begin_object(&writer, NULL);
    json_write_integer(&writer, "deploy", (int64_t)deploy->id);
    json_write_text(&writer, "app", deploy->app->name);
    json_write_integer(&writer, "release", (int64_t)deploy->release);
    json_write_text(&writer, "state", deploy_state_name(deploy->state));
    if (deploy->trash)
        json_write_text(&writer, "trash", deploy->trash);
    json_end_object(&writer);
}

static int check_queue(const struct app *app, struct error *err)
{
    unsigned open_count = 0;

    list_each (node, &app->deploys) {
        const struct deploy *deploy = container_of(node, struct deploy, node);

        open_count += !machine_is_final(deploy->state);
        if (!machine_is_final(deploy->state) && deploy->kind == DEPLOY_KIND_REMOVE)
            return error_set(err, ERR_CONFLICT, "app '%s' is being removed", app->name);
    }
    if (open_count < QUEUE_MAX)
        return 0;
    error_set(err, ERR_LIMIT, "%u deploys of app '%s' wait already", open_count, app->name);
    return error_hint(err, "`slipway cancel %s` ends the running one", app->name);
}

/* A new record; the journal is not yet committed. */
static int begin(struct app *app, enum deploy_kind kind, const struct control_actor *actor,
                 struct deploy **ret_deploy, struct error *err)
{
    uint64_t id;
    int code = check_queue(app, err);

    if (code == 0)
        code = store_next_number(app->platform->store, "/meta/next-deploy", &id, err);
    if (code == 0)
        *ret_deploy = deploy_new(app, id, kind, actor->who);
    return code;
}

/* Durable from here on, and on its way. On failure the deploy is gone. */
static int commit(struct deploy *deploy, struct buf *ret_json, struct error *err)
{
    struct app *app = deploy->app;

    deploy_say_state(deploy);
    deploy_write(deploy);
    int code = journal_commit(&app->platform->journal, err);
    if (code != 0) {
        journal_drop(&app->platform->journal);
        deploy_free(deploy);
        return error_wrap(err, "unable to store the request");
    }
    answer(deploy, ret_json);
    deploy_queue(deploy);
    return 0;
}

static int find_live(struct control *control, const char *name, struct app **ret_app,
                     struct release **ret_release, struct error *err)
{
    int code = check_ready(control, err);

    if (code == 0)
        code = control_app_find(control, name, ret_app, err);
    if (code != 0)
        return code;
    *ret_release = app_current(*ret_app);
    if (!*ret_release)
        return error_set(err, ERR_CONFLICT, "app '%s' has no live release", name);
    return 0;
}

/* ---- deploy */

static int read_manifest(const char *app, const struct json *request, struct arena *arena,
                         struct manifest **ret_manifest, struct error *err)
{
    struct buf text = BUF_INIT(4 * MANIFEST_BYTES_MAX);
    struct json_writer writer = JSON_WRITER(&text);
    const struct json *tree = json_get(request, "manifest");
    struct manifest_findings findings = {0};

    if (!tree || tree->type != JSON_OBJECT)
        return error_set(err, ERR_INVALID, "the request has no manifest");
    json_write_tree(&writer, NULL, tree);
    int code = manifest_parse(arena, MANIFEST_FILE, buf_slice(&text), NULL, (struct slice){0},
                              ret_manifest, &findings, err);
    buf_done(&text);
    if (code != 0) {
        for (size_t i = 0; i < findings.count; i++)
            if (findings.items[i].level != FINDING_WARNING)
                return error_set(err, ERR_INVALID, "the manifest is not valid: %s: %s",
                                 findings.items[i].path ? findings.items[i].path : "",
                                 findings.items[i].message);
        return code;
    }
    if (strcmp((*ret_manifest)->app, app) != 0)
        return error_set(err, ERR_INVALID, "the manifest is of app '%s', not '%s'",
                         (*ret_manifest)->app, app);
    return 0;
}

static uint64_t disk_reserve(void)
{
    const char *text = getenv("SLIPWAY_DISK_RESERVE");
    uint64_t bytes;

    if (text && units_parse_size(slice_from(text), &bytes) == 0)
        return bytes;
    return PLATFORM_DISK_RESERVE;
}

/* The stream, the unpacked folder, and room for the build to work in. */
static int check_disk(const struct control *control, uint64_t source_bytes, struct error *err)
{
    char need_text[UNITS_TEXT_SIZE], free_text[UNITS_TEXT_SIZE];
    uint64_t free_bytes, need_bytes;
    int code = disk_free_bytes(control->state_directory, &free_bytes, err);

    if (code != 0)
        return code;
    if (__builtin_mul_overflow(source_bytes, 2, &need_bytes) ||
        __builtin_add_overflow(need_bytes, disk_reserve(), &need_bytes))
        return error_set(err, ERR_INVALID, "the source is impossibly large");
    if (free_bytes >= need_bytes)
        return 0;
    error_set(err, ERR_NO_SPACE, "not enough disk space: the deploy needs %s in '%s', %s are free",
              units_format_size(need_bytes, need_text), control->state_directory,
              units_format_size(free_bytes, free_text));
    return error_hint(err, "free some space there, or keep large files out of the source with "
                           ".slipwayignore");
}

static int check_engines(const struct manifest *manifest, struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(1024u * 1024);

    for (size_t i = 0; i < manifest->database_count; i++) {
        const struct manifest_database *database = &manifest->databases[i];
        const char *programs;
        unsigned version;
        int code = engine_find(arena, database->type, database->version, &version, &programs, err);

        if (code != 0)
            return error_wrap(err, "databases.%s", database->name);
    }
    return 0;
}

static int check_strategies(const struct manifest *manifest, struct error *err)
{
    for (size_t i = 0; i < manifest->service_count; i++) {
        const struct manifest_service *service = &manifest->services[i];

        if (service->type == SERVICE_CRON)
            return error_set(err, ERR_UNSUPPORTED,
                             "services.%s: cron services are not supported yet", service->name);
        if (service->deploy.strategy != STRATEGY_ROLLING)
            return error_set(err, ERR_UNSUPPORTED,
                             "services.%s.deploy.strategy: only rolling is supported yet",
                             service->name);
        if (service->ready == READY_MESSAGE)
            return error_set(err, ERR_UNSUPPORTED,
                             "services.%s.ready: message is not supported yet", service->name);
    }
    return 0;
}

static int check_deploy(struct control *control, const char *app, const struct json *request,
                        struct arena *arena, struct manifest **ret_manifest, struct error *err)
{
    int64_t source_bytes = json_get_integer(request, "source_bytes", 0);
    int code = read_manifest(app, request, arena, ret_manifest, err);

    if (code == 0 && (source_bytes < 0 || json_get_integer(request, "source_files", 0) < 0))
        code = error_set(err, ERR_INVALID, "source_bytes and source_files cannot be negative");
    if (code == 0)
        code = check_strategies(*ret_manifest, err);
    if (code == 0)
        code = environment_check(*ret_manifest, err);
    if (code == 0)
        code = routes_check(control->platform, app, *ret_manifest, err);
    if (code == 0)
        code = certificates_check(*ret_manifest, err);
    if (code == 0)
        code = check_engines(*ret_manifest, err);
    if (code == 0)
        code = check_disk(control, (uint64_t)source_bytes, err);
    return code;
}

static struct release *make_release(struct app *app, const struct json *request,
                                    const struct control_actor *actor)
{
    struct release *release = release_new(app->next_release);

    release->state = RELEASE_DEPLOYING;
    release->commit = arena_text(release->arena, json_get_text(request, "commit", ""));
    release->environment = arena_text(release->arena, json_get_text(request, "environment", ""));
    release->who = arena_text(release->arena, actor->who);
    release->created_at_us = clock_wall_us();
    release->has_files = true;
    return release;
}

/* The record must fit the store, with all defaults written out. */
static int check_size(const struct release *release, struct error *err)
{
    struct buf json = BUF_INIT(STORE_VALUE_MAX / 2);

    release_write_json(release, &json);
    bool has_failed = json.failed;
    buf_done(&json);
    return has_failed ? error_set(err, ERR_LIMIT, "the manifest is too large") : 0;
}

int control_deploy_create(struct control *control, const char *name, const struct json *request,
                          const struct control_actor *actor, struct buf *ret_json,
                          struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(RELEASE_ARENA_BYTES);
    struct app *app = platform_app_find(control->platform, name);
    struct manifest *checked;
    struct deploy *deploy;
    int code = check_ready(control, err);

    if (code == 0)
        code = check_deploy(control, name, request, arena, &checked, err);
    if (code == 0 && app)
        code = check_queue(app, err);
    if (code == 0)
        code = journal_commit(&control->platform->journal, err);
    if (code == 0 && !app)
        code = platform_app_make(control->platform, name, &app, err);
    if (code == 0)
        code = begin(app, DEPLOY_KIND_DEPLOY, actor, &deploy, err);
    if (code != 0)
        return code;

    CLEANUP(release_freep) struct release *release = make_release(app, request, actor);
    code = read_manifest(name, request, release->arena, &release->manifest, err);
    if (code != 0) {
        deploy_free(deploy);
        return code;
    }
    environment_generate(app, release);
    code = check_size(release, err);
    if (code != 0) {
        deploy_free(deploy);
        return code;
    }
    deploy->release = release->number;
    deploy->source_bytes = (uint64_t)json_get_integer(request, "source_bytes", 0);
    deploy->source_files = (uint64_t)json_get_integer(request, "source_files", 0);
    certificates_say_doubts(release->manifest, deploy);
    app->next_release++;
    app_write(app);
    app_write_release(app, release);
    list_push_back(&app->releases, &release->node);
    code = commit(deploy, ret_json, err);
    if (code == 0)
        (void)TAKE_PTR(release); /* the app's from here on */
    return code;
}

static int find_upload(struct control *control, const char *name, uint64_t id,
                       struct deploy **ret_deploy, struct error *err)
{
    struct app *app;
    int code = control_app_find(control, name, &app, err);

    if (code != 0)
        return code;
    *ret_deploy = deploy_find(app, id);
    if (!*ret_deploy)
        return error_set(err, ERR_NOT_FOUND, "app '%s' has no deploy %llu", name,
                         (unsigned long long)id);
    if ((*ret_deploy)->state != DEPLOY_UPLOADING)
        return error_set(err, ERR_CONFLICT, "deploy %llu is %s and takes no source",
                         (unsigned long long)id, deploy_state_name((*ret_deploy)->state));
    return 0;
}

/* What a tar of the announced files may take: headers, padding, long names, and files that grew a
 * little since they were counted. */
static uint64_t source_limit(const struct deploy *deploy)
{
    return deploy->source_bytes + deploy->source_bytes / 10 + deploy->source_files * 4096 +
           (64ull << 20);
}

int control_source_open(struct control *control, const char *name, uint64_t id, int *ret_fd,
                        uint64_t *ret_limit_bytes, struct error *err)
{
    char path[NAMES_PATH_SIZE];
    struct deploy *deploy;
    int code = check_ready(control, err);

    if (code == 0)
        code = find_upload(control, name, id, &deploy, err);
    if (code != 0)
        return code;
    names_path(path, "%s/uploads/%llu.tar", control->state_directory, (unsigned long long)id);
    CLEANUP(fd_closep) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_errno(err, errno, "unable to make '%s'", path);
    /* The lock ends with the descriptor: a sender that broke off does not stand in the way of its
     * next try. */
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return error_set(err, ERR_CONFLICT, "the source of deploy %llu is being sent already",
                         (unsigned long long)id);
    if (ftruncate(fd, 0) != 0)
        return error_errno(err, errno, "unable to empty '%s'", path);
    *ret_fd = TAKE_FD(fd);
    *ret_limit_bytes = source_limit(deploy);
    return 0;
}

int control_source_done(struct control *control, const char *name, uint64_t id, bool is_complete,
                        struct error *err)
{
    struct deploy *deploy;
    int code = find_upload(control, name, id, &deploy, err);

    if (code != 0)
        return code;
    deploy_uploaded(deploy, is_complete);
    platform_flush(control->platform); /* who gets the answer may forget the source */
    return 0;
}

static const char *const change_names[] = {
    [CHANGE_ADD] = "add", [CHANGE_REMOVE] = "remove", [CHANGE_EDIT] = "edit"};

int control_plan(struct control *control, const char *name, const struct json *request,
                 struct buf *ret_json, struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(RELEASE_ARENA_BYTES);
    const struct app *app = platform_app_find(control->platform, name);
    const struct release *current = app ? app_current(app) : NULL;
    struct json_writer writer = JSON_WRITER(ret_json);
    struct manifest_change *changes;
    struct manifest *manifest;
    size_t count;
    int code = check_deploy(control, name, request, arena, &manifest, err);

    if (code == 0)
        code = manifest_diff(arena, current ? current->manifest : NULL, manifest, &changes, &count,
                             err);
    if (code != 0)
        return code;
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "app", name);
    json_write_integer(&writer, "release", app ? (int64_t)app->current : 0);
    json_begin_array(&writer, "changes");
    for (size_t i = 0; i < count; i++) {
        json_begin_object(&writer, NULL);
        json_write_text(&writer, "kind", change_names[changes[i].kind]);
        json_write_text(&writer, "path", changes[i].path);
        json_write_text(&writer, "before", changes[i].before);
        json_write_text(&writer, "after", changes[i].after);
        json_end_object(&writer);
    }
    json_end_array(&writer);
    json_end_object(&writer);
    return 0;
}

/* ---- the other kinds */

int control_rollback(struct control *control, const char *name, uint64_t number,
                     const struct control_actor *actor, struct buf *ret_json, struct error *err)
{
    struct release *current, *release;
    struct deploy *deploy;
    struct app *app;
    int code = find_live(control, name, &app, &current, err);

    if (code != 0)
        return code;
    if (number == 0) {
        number = app_previous(app);
        if (number == 0) {
            error_set(err, ERR_NOT_FOUND, "app '%s' has no earlier live release that is kept",
                      name);
            return error_hint(err, "`slipway releases %s` lists them", name);
        }
    }
    if (number == app->current) {
        error_set(err, ERR_CONFLICT, "release v%llu of app '%s' is live already",
                  (unsigned long long)number, name);
        return error_hint(
            err, "`slipway restart %s` starts it anew, `slipway cancel %s` ends a running deploy",
            name, name);
    }
    release = app_release(app, number);
    if (!release || !release->has_files || !release->was_live) {
        error_set(err, release ? ERR_CONFLICT : ERR_NOT_FOUND,
                  !release             ? "app '%s' has no release v%llu"
                  : !release->was_live ? "app '%s': release v%llu was never live"
                                       : "app '%s': release v%llu is not kept any more",
                  name, (unsigned long long)number);
        return error_hint(err, "`slipway releases %s` lists them", name);
    }
    code = routes_check(control->platform, name, release->manifest, err);
    if (code == 0)
        code = begin(app, DEPLOY_KIND_ROLLBACK, actor, &deploy, err);
    if (code != 0)
        return code;
    deploy->release = number;
    return commit(deploy, ret_json, err);
}

static int check_service(const struct release *release, const char *service, struct error *err)
{
    const struct manifest_service *found = manifest_service_find(release->manifest, service);

    if (!found) {
        error_set(err, ERR_NOT_FOUND, "there is no service '%s' in the live release", service);
        return error_hint(err, "`slipway status` lists the services");
    }
    if (found->type == SERVICE_STATIC)
        return error_set(err, ERR_INVALID, "service '%s' is a static site and has no instances",
                         service);
    return 0;
}

int control_restart(struct control *control, const char *name, const char *service,
                    const struct control_actor *actor, struct buf *ret_json, struct error *err)
{
    struct release *current;
    struct deploy *deploy;
    struct app *app;
    int code = find_live(control, name, &app, &current, err);

    if (code == 0 && service)
        code = check_service(current, service, err);
    if (code == 0)
        code = begin(app, DEPLOY_KIND_RESTART, actor, &deploy, err);
    if (code != 0)
        return code;
    deploy->release = current->number;
    if (service)
        (void)snprintf(deploy->service, sizeof(deploy->service), "%s", service);
    return commit(deploy, ret_json, err);
}

int control_scale(struct control *control, const char *name, const char *service,
                  unsigned instances, const struct control_actor *actor, struct buf *ret_json,
                  struct error *err)
{
    struct release *current;
    struct deploy *deploy;
    struct app *app;
    int code = find_live(control, name, &app, &current, err);

    if (code == 0)
        code = check_service(current, service, err);
    if (code == 0 && instances > MANIFEST_INSTANCES_MAX)
        code = error_set(err, ERR_INVALID, "a service has at most %u instances",
                         MANIFEST_INSTANCES_MAX);
    if (code == 0)
        code = begin(app, DEPLOY_KIND_SCALE, actor, &deploy, err);
    if (code != 0)
        return code;
    deploy->release = current->number;
    deploy->instances = instances;
    (void)snprintf(deploy->service, sizeof(deploy->service), "%s", service);
    return commit(deploy, ret_json, err);
}

int control_cancel(struct control *control, const char *name, const struct control_actor *actor,
                   struct buf *ret_json, struct error *err)
{
    struct deploy *chosen = NULL;
    struct app *app;
    int code = check_ready(control, err);

    if (code == 0)
        code = control_app_find(control, name, &app, err);
    if (code != 0)
        return code;
    chosen = app->running;
    list_each (node, &app->deploys) {
        struct deploy *deploy = container_of(node, struct deploy, node);

        if (!chosen && !machine_is_final(deploy->state))
            chosen = deploy;
    }
    if (!chosen) {
        error_set(err, ERR_NOT_FOUND, "app '%s' has no deploy that could be cancelled", name);
        return error_hint(err, "`slipway releases %s` tells how the last one ended", name);
    }
    if (chosen->kind == DEPLOY_KIND_REMOVE && chosen->state >= DEPLOY_STOPPING)
        return error_set(err, ERR_CONFLICT,
                         "a removal that has begun is not cancelled; see "
                         "`slipway trash restore`");
    deploy_cancel(chosen, actor->who);
    answer(chosen, ret_json);
    return 0;
}

int control_remove(struct control *control, const char *name, const struct control_actor *actor,
                   struct buf *ret_json, struct error *err)
{
    char id[NAMES_KEY_SIZE], day[9];
    struct deploy *deploy;
    struct app *app;
    int code = check_ready(control, err);

    if (code == 0)
        code = control_app_find(control, name, &app, err);
    if (code == 0)
        code = begin(app, DEPLOY_KIND_REMOVE, actor, &deploy, err);
    if (code != 0)
        return code;
    time_t now = (time_t)(clock_wall_us() / 1000000);
    struct tm date;
    (void)gmtime_r(&now, &date);
    (void)strftime(day, sizeof(day), "%Y%m%d", &date);
    deploy->trash = strdup(names_key(id, "%s-%s-%llu", name, day, (unsigned long long)deploy->id));
    code = commit(deploy, ret_json, err);
    if (code != 0)
        return code;
    /* What waits or runs before it must not delay the end. */
    list_each_safe (node, &app->deploys) {
        struct deploy *earlier = container_of(node, struct deploy, node);

        if (earlier != deploy && earlier != app->running && !machine_is_final(earlier->state))
            deploy_cancel(earlier, actor->who);
    }
    if (app->running && app->running != deploy)
        deploy_cancel(app->running, actor->who);
    return 0;
}

/* ---- followers */

struct follower {
    struct list node; /* in control->followers */
    struct deploy_listener listener;
    struct control_subscription *subscription;
};

static void on_progress(struct deploy_listener *listener, struct slice json_line, bool is_final)
{
    struct follower *follower = container_of(listener, struct follower, listener);

    follower->subscription->on_event(follower->subscription, json_line, is_final);
}

static struct deploy *find_followed(const struct control *control, const char *app, uint64_t id)
{
    const struct list *lists[] = {&control->platform->apps, &control->platform->removed};

    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        list_each (node, lists[i]) {
            const struct app *candidate = container_of(node, struct app, node);
            struct deploy *deploy =
                strcmp(candidate->name, app) == 0 ? deploy_find(candidate, id) : NULL;

            if (deploy)
                return deploy;
        }
    return NULL;
}

int control_subscribe(struct control *control, const char *app, uint64_t id, uint64_t after,
                      struct control_subscription *subscription, struct error *err)
{
    struct deploy *deploy = find_followed(control, app, id);
    struct follower *follower;

    if (!deploy)
        return error_set(err, ERR_NOT_FOUND, "app '%s' has no deploy %llu", app,
                         (unsigned long long)id);
    follower = calloc(1, sizeof(*follower));
    if (!follower)
        abort();
    subscription->control = control;
    follower->subscription = subscription;
    follower->listener.after = after;
    follower->listener.on_event = on_progress;
    list_push_back(&control->followers, &follower->node);
    deploy_listen(deploy, &follower->listener);
    return 0;
}

static void follower_free(struct follower *follower)
{
    list_remove(&follower->node);
    list_remove(&follower->listener.node);
    free(follower);
}

void control_unsubscribe(struct control_subscription *subscription)
{
    if (!subscription->control)
        return;
    list_each_safe (node, &subscription->control->followers) {
        struct follower *follower = container_of(node, struct follower, node);

        if (follower->subscription == subscription)
            follower_free(follower);
    }
}

void followers_free(struct control *control)
{
    list_each_safe (node, &control->followers)
        follower_free(container_of(node, struct follower, node));
}
