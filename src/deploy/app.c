#include "deploy/app.h"
#include "base/clock.h"
#include "base/log.h"
#include "deploy/database.h"
#include "deploy/deploy.h"
#include "deploy/instance.h"
#include "deploy/retention.h"
#include <stdio.h>
#include <unistd.h>

#define HISTORY_MAX 50u

static void on_reconcile(struct loop_deferred *deferred);
static void on_lease_timer(struct loop_timer *timer);

struct app *app_new(struct platform *platform, const char *name)
{
    struct app *app = calloc(1, sizeof(*app));
    struct list *after = &platform->apps;

    if (!app)
        abort();
    assert(names_is_valid(name));
    app->platform = platform;
    (void)snprintf(app->name, sizeof(app->name), "%s", name);
    app->uid = app->data_uid = platform->settings.own_uid;
    app->next_release = 1;
    app->history = calloc(HISTORY_MAX + 1, sizeof(*app->history));
    if (!app->history)
        abort();
    list_init(&app->releases);
    list_init(&app->instances);
    list_init(&app->databases);
    list_init(&app->deploys);
    list_init(&app->scales);
    app->reconcile.on_deferred = on_reconcile;
    app->lease_timer.on_timer = on_lease_timer;
    list_each (node, &platform->apps) {
        if (strcmp(container_of(node, struct app, node)->name, name) > 0)
            break;
        after = node;
    }
    list_push_front(after, &app->node);
    return app;
}

static void scale_free(struct scale *scale)
{
    list_remove(&scale->node);
    free(scale);
}

void app_free(struct app *app)
{
    list_each_safe (node, &app->deploys)
        deploy_free(container_of(node, struct deploy, node));
    list_each_safe (node, &app->instances)
        instance_free(container_of(node, struct instance, node));
    list_each_safe (node, &app->databases)
        database_free(container_of(node, struct database, node));
    list_each_safe (node, &app->releases)
        release_free(container_of(node, struct release, node));
    list_each_safe (node, &app->scales)
        scale_free(container_of(node, struct scale, node));
    loop_defer_cancel(&app->reconcile);
    loop_timer_stop(&app->lease_timer);
    list_remove(&app->node);
    free(app->history);
    free(app);
}

/* ---- releases */

struct release *app_release(const struct app *app, uint64_t number)
{
    list_each (node, &app->releases) {
        struct release *release = container_of(node, struct release, node);

        if (release->number == number)
            return release;
    }
    return NULL;
}

struct release *app_current(const struct app *app)
{
    return app->current ? app_release(app, app->current) : NULL;
}

struct release *app_routed(const struct app *app)
{
    const struct deploy *running = app->running;

    if (running && running->kind == DEPLOY_KIND_REMOVE && running->state >= DEPLOY_STOPPING)
        return NULL;
    if (running && running->is_routed && running->state != DEPLOY_RETURNING)
        return app_release(app, running->release);
    return app_current(app);
}

uint64_t app_previous(const struct app *app)
{
    for (size_t i = app->history_count; i-- > 0;) {
        const struct release *release = app_release(app, app->history[i]);

        if (app->history[i] != app->current && release && release->has_files)
            return app->history[i];
    }
    return 0;
}

void app_history_push(struct app *app, uint64_t number)
{
    /* Going back to an earlier one forgets what came after it: the next rollback goes further back.
     */
    for (size_t i = 0; i < app->history_count; i++)
        if (app->history[i] == number)
            app->history_count = i;
    if (app->history_count == HISTORY_MAX) {
        memmove(app->history, app->history + 1, (HISTORY_MAX - 1) * sizeof(*app->history));
        app->history_count--;
    }
    app->history[app->history_count++] = number;
    app->current = number;
}

/* ---- scale */

static struct scale *scale_find(const struct app *app, const char *service)
{
    list_each (node, &app->scales) {
        struct scale *scale = container_of(node, struct scale, node);

        if (strcmp(scale->service, service) == 0)
            return scale;
    }
    return NULL;
}

static unsigned manifest_instances(const struct manifest_service *service)
{
    if (service->type == SERVICE_STATIC)
        return 0;
    if (service->instances == MANIFEST_INSTANCES_CORES) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);

        return cores > 0 ? (unsigned)cores : 1;
    }
    return service->instances;
}

unsigned app_instances_wanted(const struct app *app, const struct manifest_service *service)
{
    const struct scale *scale = scale_find(app, service->name);

    if (scale && scale->manifest_instances == service->instances && service->type != SERVICE_STATIC)
        return scale->instances;
    return manifest_instances(service);
}

void app_scale_set(struct app *app, const char *service, unsigned instances,
                   unsigned manifest_count)
{
    struct scale *scale = scale_find(app, service);
    char key[NAMES_KEY_SIZE], text[64];

    if (!scale) {
        scale = calloc(1, sizeof(*scale));
        if (!scale)
            abort();
        (void)snprintf(scale->service, sizeof(scale->service), "%s", service);
        list_push_back(&app->scales, &scale->node);
    }
    scale->instances = instances;
    scale->manifest_instances = manifest_count;
    (void)snprintf(text, sizeof(text), "{\"instances\":%u,\"manifest\":%u}", instances,
                   manifest_count);
    journal_put(&app->platform->journal, names_key(key, "/apps/%s/scale/%s", app->name, service),
                slice_from(text));
}

void app_scales_prune(struct app *app, const struct manifest *manifest)
{
    char key[NAMES_KEY_SIZE];

    list_each_safe (node, &app->scales) {
        struct scale *scale = container_of(node, struct scale, node);
        const struct manifest_service *service = manifest_service_find(manifest, scale->service);

        if (service && service->instances == scale->manifest_instances)
            continue;
        journal_delete(&app->platform->journal,
                       names_key(key, "/apps/%s/scale/%s", app->name, scale->service));
        scale_free(scale);
    }
}

bool app_databases_are_ready(const struct app *app, const struct release *release,
                             const char **ret_waiting)
{
    for (size_t i = 0; release && release->manifest && i < release->manifest->database_count; i++) {
        const struct database *database = database_find(app, release->manifest->databases[i].name);

        /* Once it has answered, an unhealthy spell of it is no reason to hold the application back.
         */
        if (!database ||
            (database->state != DATABASE_READY && database->state != DATABASE_UNHEALTHY)) {
            if (ret_waiting)
                *ret_waiting = release->manifest->databases[i].name;
            return false;
        }
    }
    return true;
}

/* ---- records */

void app_write(struct app *app)
{
    struct buf json = BUF_INIT(65536);
    struct json_writer writer = JSON_WRITER(&json);
    char key[NAMES_KEY_SIZE];

    json_begin_object(&writer, NULL);
    json_write_integer(&writer, "release", (int64_t)app->current);
    json_write_integer(&writer, "next_release", (int64_t)app->next_release);
    json_write_time(&writer, "created_at", app->created_at_us);
    json_write_integer(&writer, "uid", app->uid);
    json_write_integer(&writer, "data_uid", app->data_uid);
    json_begin_array(&writer, "history");
    for (size_t i = 0; i < app->history_count; i++)
        json_write_integer(&writer, NULL, (int64_t)app->history[i]);
    json_end_array(&writer);
    json_end_object(&writer);
    journal_put(&app->platform->journal, names_key(key, "/apps/%s/current", app->name),
                buf_slice(&json));
    buf_done(&json);
}

void app_write_release(struct app *app, const struct release *release)
{
    struct buf json = BUF_INIT(STORE_VALUE_MAX);
    char key[NAMES_KEY_SIZE];

    release_write_json(release, &json);
    journal_put(
        &app->platform->journal,
        names_key(key, "/apps/%s/releases/%llu", app->name, (unsigned long long)release->number),
        buf_slice(&json));
    buf_done(&json);
}

static void read_current(struct app *app, const struct json *json)
{
    app->current = (uint64_t)json_get_integer(json, "release", 0);
    app->next_release = (uint64_t)json_get_integer(json, "next_release", 1);
    if (clock_parse(json_get_text(json, "created_at", ""), &app->created_at_us) != 0)
        app->created_at_us = 0;
    if (app->platform->settings.is_root) {
        app->uid = (uint32_t)json_get_integer(json, "uid", 0);
        app->data_uid = (uint32_t)json_get_integer(json, "data_uid", app->uid);
    }
    app->history_count = 0;
    json_each (item, json_get(json, "history"))
        if (app->history_count < HISTORY_MAX)
            app->history[app->history_count++] = (uint64_t)json_integer(item, 0);
}

static void insert_release(struct app *app, struct release *release)
{
    struct list *before = &app->releases;

    list_each (node, &app->releases)
        if (container_of(node, struct release, node)->number > release->number) {
            before = node;
            break;
        }
    list_insert_before(before, &release->node);
}

/* An instance or a deploy that makes no sense is no reason to leave all others alone: its process,
 * if there is one, is stopped as a stranger, and the reconciler makes up for it. */
static void tell_lost(int code, const struct error *err)
{
    if (code != 0)
        log_failure(err, "a record is left aside");
}

/* One record below /apps/<app>/; `part` is what follows. Unknown parts belong to a later version
 * and are left alone. */
static int load_record(struct app *app, struct slice part, const struct store_entry *entry,
                       struct arena *arena, struct error *err)
{
    struct slice rest = part, kind = slice_cut(&rest, '/');
    struct json *json;
    struct release *release;
    uint64_t number = 0;
    int code;

    if (slice_eq(kind, SLICE("releases"))) {
        code = release_read_json(entry->value, &release, err);
        if (code == 0)
            insert_release(app, release);
        return code;
    }
    if (slice_eq(kind, SLICE("lock")))
        return 0;
    code = json_parse(arena, entry->value, &json, err);
    if (code != 0)
        return error_set(err, ERR_CORRUPT, "the record '" SLICE_FORMAT "' is not valid JSON",
                         SLICE_ARG(entry->key));
    if (slice_eq(kind, SLICE("current")))
        read_current(app, json);
    else if (slice_eq(kind, SLICE("scale")) && rest.len < NAMES_NAME_SIZE) {
        struct scale *scale = calloc(1, sizeof(*scale));

        if (!scale)
            abort();
        memcpy(scale->service, rest.ptr, rest.len);
        scale->instances = (unsigned)json_get_integer(json, "instances", 1);
        scale->manifest_instances = (unsigned)json_get_integer(json, "manifest", 0);
        list_push_back(&app->scales, &scale->node);
    } else if (slice_eq(kind, SLICE("databases"))) {
        return database_load(app, entry->key.ptr + (entry->key.len - rest.len), json, err);
    } else if (slice_eq(kind, SLICE("instances")) && slice_to_u64(rest, &number) == 0) {
        tell_lost(instance_load(app, number, json, err), err);
    } else if (slice_eq(kind, SLICE("deploys"))) {
        tell_lost(deploy_load(app, json, err), err);
    }
    return 0;
}

/* Releases come before instances and deploys, which refer to them. */
static const char *const load_order[] = {"current",    "scale/",     "releases/",
                                         "databases/", "instances/", "deploys/"};

int app_load(struct app *app, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(load_order); i++) {
        CLEANUP(arena_freep) struct arena *arena = arena_new(256u * 1024 * 1024);
        char prefix[NAMES_KEY_SIZE], root[NAMES_KEY_SIZE];
        struct store_entry *entries;
        size_t count;
        int code = store_range(app->platform->store,
                               names_key(prefix, "/apps/%s/%s", app->name, load_order[i]), 0, arena,
                               &entries, &count, err);

        names_key(root, "/apps/%s/", app->name);
        for (size_t k = 0; code == 0 && k < count; k++)
            code = load_record(app, slice_sub(entries[k].key, strlen(root), SIZE_MAX), &entries[k],
                               arena, err);
        if (code != 0)
            return code;
    }
    return 0;
}

int platform_app_make(struct platform *platform, const char *name, struct app **ret_app,
                      struct error *err)
{
    uint32_t uids[2] = {platform->settings.own_uid, platform->settings.own_uid};

    if (!names_is_valid(name))
        return error_set(err, ERR_INVALID, "'%s' is not a valid name of an app", name);
    if (platform->settings.is_root) {
        int code = app_uids_take(platform, uids, err);

        if (code != 0)
            return code;
    }
    struct app *app = app_new(platform, name);
    app->uid = uids[0];
    app->data_uid = uids[1];
    app->created_at_us = clock_wall_us();
    app_write(app);
    *ret_app = app;
    return 0;
}

/* ---- what should run */

void app_reconcile_later(struct app *app)
{
    loop_defer(app->platform->loop, &app->reconcile);
}

static void reconcile_databases(struct app *app)
{
    const struct release *current = app_current(app);
    const struct release *coming = app->running ? app_release(app, app->running->release) : NULL;
    struct error err = {0};

    list_each_safe (node, &app->databases) {
        struct database *database = container_of(node, struct database, node);
        bool is_wanted = (current && current->manifest &&
                          manifest_database_find(current->manifest, database->name)) ||
                         (coming && coming->manifest &&
                          manifest_database_find(coming->manifest, database->name));

        if (!is_wanted)
            database_unwant(database);
    }
    for (size_t i = 0; current && current->manifest && i < current->manifest->database_count; i++)
        if (database_want(app, &current->manifest->databases[i], &err) != 0)
            log_failure(&err, "app '%s': database '%s'", app->name,
                        current->manifest->databases[i].name);
}

static void reconcile_service(struct app *app, const struct release *release,
                              const struct manifest_service *service)
{
    unsigned want = app_instances_wanted(app, service), have = 0;

    list_each_safe (node, &app->instances) {
        struct instance *instance = container_of(node, struct instance, node);

        if (strcmp(instance->service, service->name) != 0 || !instance_is_wanted(instance))
            continue;
        if (instance->release != release->number || ++have > want)
            instance_send(instance, INSTANCE_EVENT_RETIRE);
    }
    while (have < want) {
        struct instance *instance;
        struct error err = {0};

        if (instance_new(app, release, service->name, 0, true, &instance, &err) != 0) {
            log_failure(&err, "app '%s': unable to add an instance of '%s'", app->name,
                        service->name);
            return;
        }
        have++;
    }
}

static void on_reconcile(struct loop_deferred *deferred)
{
    struct app *app = container_of(deferred, struct app, reconcile);
    const struct release *current = app_current(app);

    if (app->platform->is_quitting || !app->platform->is_resumed || app->is_removed)
        return;
    if (app->running && app->running->kind == DEPLOY_KIND_REMOVE &&
        app->running->state >= DEPLOY_STOPPING)
        return;
    reconcile_databases(app);
    /* While a deploy runs, the instances are its business alone; crashes they mend themselves. */
    if (app->running)
        return;
    list_each_safe (node, &app->instances) {
        struct instance *instance = container_of(node, struct instance, node);

        if (instance_is_wanted(instance) &&
            (!current || !manifest_service_find(current->manifest, instance->service)))
            instance_send(instance, INSTANCE_EVENT_RETIRE);
    }
    for (size_t i = 0; current && current->manifest && i < current->manifest->service_count; i++)
        reconcile_service(app, current, &current->manifest->services[i]);
}

/* ---- the lock of a deploy; and, when there is nothing left to lock, the end */

static void on_lease_timer(struct loop_timer *timer)
{
    struct app *app = container_of(timer, struct app, lease_timer);

    if (app->is_removed)
        app_free(app);
    else
        deploy_lease_refresh(app);
}

/* ---- words */

const char *app_state_name(const struct app *app)
{
    bool is_degraded = false;

    if (app->running)
        return app->running->kind == DEPLOY_KIND_REMOVE ? "removing" : "deploying";
    if (!app->current)
        return list_is_empty(&app->releases) ? "new" : "failed";
    list_each (node, &app->instances) {
        const struct instance *instance = container_of(node, struct instance, node);

        if (instance->state == INSTANCE_CRASH_LOOP)
            return "crash_loop";
        if (instance_is_wanted(instance) && instance->state != INSTANCE_READY)
            is_degraded = true;
    }
    list_each (node, &app->databases) {
        const struct database *database = container_of(node, struct database, node);

        if (database->is_wanted && database->state != DATABASE_READY)
            is_degraded = true;
    }
    return is_degraded ? "degraded" : "live";
}

/* ---- retention */

static bool release_is_needed(const struct app *app, const struct release *release)
{
    if (release->number == app->current || release->state == RELEASE_DEPLOYING)
        return true;
    list_each (node, &app->deploys) {
        const struct deploy *deploy = container_of(node, struct deploy, node);

        if (!machine_is_final(deploy->state) &&
            (deploy->release == release->number || deploy->previous == release->number))
            return true;
    }
    list_each (node, &app->instances)
        if (container_of(node, struct instance, node)->release == release->number)
            return true;
    return false;
}

void app_drop_files(struct app *app, struct release *release)
{
    static const char *const folders[] = {"releases", "static"};
    char path[NAMES_PATH_SIZE];

    if (release->has_files) {
        release->has_files = false;
        app_write_release(app, release);
    }
    for (size_t i = 0; i < ARRAY_LEN(folders); i++)
        platform_remove_tree(app->platform, app->name, app->uid,
                             names_path(path, "apps/%s/%s/%llu", app->name, folders[i],
                                        (unsigned long long)release->number));
}

static void drop_records(struct app *app)
{
    size_t releases = 0, deploys = 0;
    char key[NAMES_KEY_SIZE];

    list_each (node, &app->releases)
        releases++;
    list_each_safe (node, &app->releases) {
        struct release *release = container_of(node, struct release, node);

        if (releases <= PLATFORM_RECORDS_MAX)
            break;
        if (release->has_files)
            continue;
        journal_delete(&app->platform->journal, names_key(key, "/apps/%s/releases/%llu", app->name,
                                                          (unsigned long long)release->number));
        release_free(release);
        releases--;
    }
    list_each (node, &app->deploys)
        deploys++;
    list_each_safe (node, &app->deploys) {
        struct deploy *deploy = container_of(node, struct deploy, node);

        if (deploys <= PLATFORM_DEPLOYS_KEPT)
            break;
        if (!machine_is_final(deploy->state) || !list_is_empty(&deploy->listeners))
            continue;
        journal_delete(&app->platform->journal, names_key(key, "/apps/%s/deploys/%llu", app->name,
                                                          (unsigned long long)deploy->id));
        deploy_free(deploy);
        deploys--;
    }
}

void app_retain(struct app *app)
{
    struct retention_release marks[4 * PLATFORM_RECORDS_MAX];
    const struct release *current = app_current(app);
    unsigned keep = current && current->manifest ? current->manifest->keep_releases : 5;
    size_t count = 0, i = 0;

    list_each (node, &app->releases) {
        const struct release *release = container_of(node, struct release, node);

        if (count < ARRAY_LEN(marks))
            marks[count++] = (struct retention_release){
                .number = release->number,
                .is_needed = release_is_needed(app, release),
                .was_live = release->was_live,
                .has_files = release->has_files,
            };
    }
    retention_mark(marks, count, MAX(keep, 1u));
    list_each (node, &app->releases) {
        struct release *release = container_of(node, struct release, node);

        if (i < count && (marks[i].is_dropped || (!release->has_files && !marks[i].is_needed))) {
            app_drop_files(app, release);
            if (release->manifest)
                release_shrink(release);
        }
        i++;
    }
    drop_records(app);
}
