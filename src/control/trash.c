/* trash.c - what was removed, and the way back. */
#include "base/log.h"
#include "control/control_private.h"
#include "deploy/app.h"
#include "deploy/deploy.h"
#include "os/file.h"
#include <errno.h>
#include <stdio.h>

#define TRASH_ARENA_BYTES (16u * 1024 * 1024)

int control_trash(struct control *control, struct buf *ret_json, struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(TRASH_ARENA_BYTES);
    struct json_writer writer = JSON_WRITER(ret_json);
    struct store_entry *entries;
    size_t count;
    int code = store_range(control->store, "/trash/", 0, arena, &entries, &count, err);

    if (code != 0)
        return code;
    json_begin_object(&writer, NULL);
    json_begin_array(&writer, "trash");
    for (size_t i = 0; i < count; i++) {
        struct json *json;

        if (json_parse(arena, entries[i].value, &json, NULL) != 0)
            continue;
        json_begin_object(&writer, NULL);
        json_write_text(&writer, "id", json_get_text(json, "id", ""));
        json_write_text(&writer, "app", json_get_text(json, "app", ""));
        json_write_text(&writer, "removed_at", json_get_text(json, "removed_at", NULL));
        json_write_null(&writer, "bytes"); /* counting them would take longer than an answer may */
        json_write_integer(&writer, "releases", json_get_integer(json, "releases", 0));
        json_write_text(&writer, "who", json_get_text(json, "who", ""));
        json_end_object(&writer);
    }
    json_end_array(&writer);
    json_end_object(&writer);
    return 0;
}

static int move_back(const struct control *control, const char *id, const char *part,
                     const char *folder, const char *app, struct error *err)
{
    char from[NAMES_PATH_SIZE], to[NAMES_PATH_SIZE];

    names_path(from, "%s/trash/%s/%s", control->state_directory, id, part);
    names_path(to, "%s/%s/%s", control->state_directory, folder, app);
    if (rename(from, to) == 0 || errno == ENOENT)
        return 0;
    return error_errno(err, errno, "unable to move '%s' back", from);
}

/* The removal's own record came along; it ended where it is read. */
static void end_removals(struct app *app)
{
    list_each (node, &app->deploys) {
        struct deploy *deploy = container_of(node, struct deploy, node);

        if (deploy->kind == DEPLOY_KIND_REMOVE && !machine_is_final(deploy->state)) {
            deploy->state = DEPLOY_REMOVED;
            deploy_write(deploy);
        }
    }
}

static int bring_back(struct control *control, const char *id, const char *name,
                      struct app **ret_app, struct error *err)
{
    char from[NAMES_KEY_SIZE], to[NAMES_KEY_SIZE], key[NAMES_KEY_SIZE];
    int code = journal_commit(&control->platform->journal, err);

    if (code == 0)
        code = move_back(control, id, "app", "apps", name, err);
    if (code == 0)
        code = move_back(control, id, "data", "data", name, err);
    if (code == 0)
        code = app_records_move(control->platform, names_key(from, "/trashed/%s/", id),
                                names_key(to, "/apps/%s/", name), NULL, (struct slice){0},
                                names_key(key, "/trash/%s", id), err);
    if (code != 0)
        return code;
    struct app *app = app_new(control->platform, name);
    code = app_load(app, err);
    if (code != 0) {
        app_free(app);
        return code;
    }
    end_removals(app);
    *ret_app = app;
    return 0;
}

static bool is_trash_id(const char *id)
{
    size_t len = strlen(id);

    return len > 0 && len < 120 && strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

int control_trash_restore(struct control *control, const char *id,
                          const struct control_actor *actor, struct buf *ret_json,
                          struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(TRASH_ARENA_BYTES);
    char key[NAMES_KEY_SIZE], path[NAMES_PATH_SIZE];
    struct store_entry entry;
    struct json *json;
    struct app *app;

    if (!is_trash_id(id) ||
        store_get(control->store, names_key(key, "/trash/%s", id), arena, &entry, NULL) != 0) {
        error_set(err, ERR_NOT_FOUND, "there is no '%.100s' in the trash", id);
        return error_hint(err, "`slipway trash` lists what is there");
    }
    int code = json_parse(arena, entry.value, &json, err);
    if (code != 0)
        return error_set(err, ERR_CORRUPT, "the record of '%s' in the trash is damaged", id);
    const char *name = json_get_text(json, "app", "");
    if (platform_app_find(control->platform, name)) {
        error_set(err, ERR_EXISTS, "there is an app '%s' already", name);
        return error_hint(err, "remove it first");
    }
    code = bring_back(control, id, name, &app, err);
    if (code != 0)
        return code;
    (void)remove(names_path(path, "%s/trash/%s", control->state_directory, id));
    log_info("%s: back from the trash", name);
    if (app->current)
        return control_restart(control, name, NULL, actor, ret_json, err);
    struct json_writer writer = JSON_WRITER(ret_json);
    json_begin_object(&writer, NULL);
    json_write_integer(&writer, "deploy", 0);
    json_write_text(&writer, "app", name);
    json_write_integer(&writer, "release", 0);
    json_write_text(&writer, "state", "live");
    json_end_object(&writer);
    return 0;
}
