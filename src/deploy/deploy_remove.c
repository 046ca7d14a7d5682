/* Removal of an app: everything of it stops, then its folders and records move to the trash;
 * nothing is deleted.
 *
 * The trash id is stored before the first folder moves, and each move is repeatable, so a crash in
 * the middle is taken up at the same place. The last act is one transaction that takes the app's
 * records away; with them goes the deploy's own.
 */
#include "base/clock.h"
#include "base/log.h"
#include "deploy/database.h"
#include "deploy/deploy.h"
#include "os/file.h"
#include <errno.h>
#include <stdio.h>

#define FOLLOWERS_MS 60000u /* how long who followed the removal still finds its end */

void deploy_remove_start(struct deploy *deploy)
{
    struct app *app = deploy->app;

    (void)platform_publish(app->platform);
    list_each_safe (node, &app->instances)
        instance_send(container_of(node, struct instance, node), INSTANCE_EVENT_RETIRE);
    loop_defer(app->platform->loop, &deploy->look);
}

void deploy_remove_look(struct deploy *deploy)
{
    struct app *app = deploy->app;
    bool is_down = true;

    if (!list_is_empty(&app->instances))
        return;
    /* Databases last: what used them is gone by now. */
    list_each_safe (node, &app->databases) {
        struct database *database = container_of(node, struct database, node);

        database_unwant(database);
        is_down &= database_is_down(database);
    }
    if (is_down)
        deploy_send(deploy, DEPLOY_EVENT_DONE);
}

/* ---- to the trash */

static int move_folder(const char *from, const char *to, struct error *err)
{
    if (rename(from, to) == 0 || errno == ENOENT) /* never made, or moved before a crash */
        return 0;
    return error_errno(err, errno, "unable to move '%s' to the trash", from);
}

static int move_folders(struct deploy *deploy, struct error *err)
{
    const char *state = deploy->app->platform->settings.state_directory;
    const char *name = deploy->app->name;
    char from[NAMES_PATH_SIZE], to[NAMES_PATH_SIZE];
    int code = directory_make(names_path(to, "%s/trash/%s", state, deploy->trash), 0711, err);

    if (code == 0)
        code = move_folder(names_path(from, "%s/apps/%s", state, name),
                           names_path(to, "%s/trash/%s/app", state, deploy->trash), err);
    if (code == 0)
        code = move_folder(names_path(from, "%s/data/%s", state, name),
                           names_path(to, "%s/trash/%s/data", state, deploy->trash), err);
    return code;
}

static void write_trash(const struct deploy *deploy, struct buf *ret_json)
{
    struct json_writer writer = JSON_WRITER(ret_json);
    const struct app *app = deploy->app;
    int64_t releases = 0;

    list_each (node, &app->releases)
        releases++;
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "id", deploy->trash);
    json_write_text(&writer, "app", app->name);
    json_write_time(&writer, "removed_at", clock_wall_us());
    json_write_integer(&writer, "releases", releases);
    json_write_text(&writer, "who", deploy->who);
    json_write_integer(&writer, "uid", app->uid);
    json_write_integer(&writer, "data_uid", app->data_uid);
    json_end_object(&writer);
}

static int move_records(struct deploy *deploy, struct error *err)
{
    struct app *app = deploy->app;
    char from[NAMES_KEY_SIZE], to[NAMES_KEY_SIZE], key[NAMES_KEY_SIZE];
    struct buf json = BUF_INIT(16384);

    write_trash(deploy, &json);
    int code =
        app_records_move(app->platform, names_key(from, "/apps/%s/", app->name),
                         names_key(to, "/trashed/%s/", deploy->trash),
                         names_key(key, "/trash/%s", deploy->trash), buf_slice(&json), NULL, err);
    buf_done(&json);
    return code;
}

void deploy_remove_move(struct deploy *deploy)
{
    struct app *app = deploy->app;
    struct platform *platform = app->platform;
    struct error err = {0};
    char id[NAMES_KEY_SIZE];

    if (!deploy->trash)
        deploy->trash = strdup(names_key(id, "%s-%llu", app->name, (unsigned long long)deploy->id));
    deploy_write(deploy);
    int code = journal_commit(&platform->journal, &err);
    if (code == 0)
        code = move_folders(deploy, &err);
    if (code == 0) {
        deploy_lease_give_back(app); /* the lock must not travel along */
        code = move_records(deploy, &err);
    }
    if (code != 0) {
        deploy_fail(deploy, 0, NULL, err.hint, "%s", err.text);
        return;
    }
    log_info("%s: moved to the trash as '%s'", app->name, deploy->trash);
    deploy->state = DEPLOY_REMOVED;
    deploy->ended_at_us = clock_wall_us();
    app->is_removed = true;
    app->running = NULL;
    list_remove(&app->node);
    list_push_back(&platform->removed, &app->node);
    loop_defer_cancel(&app->reconcile);
    loop_timer_start_in(platform->loop, &app->lease_timer, LOOP_MS(FOLLOWERS_MS));
    deploy_say_state(deploy);
}
