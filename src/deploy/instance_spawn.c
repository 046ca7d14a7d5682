#include "deploy/instance_spawn.h"
#include "base/clock.h"
#include "deploy/environment.h"
#include <stdio.h>

/* ---- the process */

int instance_spawn(struct instance *instance, struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(4u * 1024 * 1024);
    struct app *app = instance->app;
    struct platform *platform = app->platform;
    const struct release *release = app_release(app, instance->release);
    const struct manifest_service *service = instance_service(instance);
    char directory[NAMES_PATH_SIZE], label[NAMES_LABEL_SIZE], tag[NAMES_KEY_SIZE];
    struct environment environment;
    int code;

    instance->port = 0;
    if (instance_has_port(instance)) {
        code = platform_port_take(platform, &instance->port, err);
        if (code != 0)
            return code;
    }
    struct environment_extra extra = {
        .port = instance->port,
        .is_notified = service->ready == READY_NOTIFY,
        .instance = instance->name,
    };
    code = environment_make(app, release, service, &extra, arena, &environment, err);
    if (code != 0)
        return code;
    const char *arguments[] = {"/bin/sh", "-c", service->start};
    struct unit_spec spec = {
        .uid = app->uid,
        .gid = app->uid,
        .tag = names_key(tag, "%s/%s", app->name, instance->name),
        .label =
            names_label(label, app->name, service->name, release->number, instance->name, "run"),
        .directory = names_path(directory, "%s/apps/%s/releases/%llu/source/%s",
                                platform->settings.state_directory, app->name,
                                (unsigned long long)release->number, service->root),
        .cgroup = instance->name,
        .arguments = arguments,
        .argument_count = ARRAY_LEN(arguments),
        .environment = environment.items,
        .environment_count = environment.count,
        .memory_limit_bytes = service->memory_limit_bytes,
        .cpu_limit_millis = service->cpu_limit_millis,
        .stdin_fd = -1,
    };
    platform_unit_start(platform, &instance->unit, platform_unit_number(platform), &spec);
    return 0;
}

/* ---- the record */

void instance_write(struct instance *instance)
{
    struct app *app = instance->app;
    struct buf json = BUF_INIT(16384);
    struct json_writer writer = JSON_WRITER(&json);
    char key[NAMES_KEY_SIZE];

    json_begin_object(&writer, NULL);
    json_write_text(&writer, "service", instance->service);
    json_write_integer(&writer, "ordinal", instance->ordinal);
    json_write_integer(&writer, "release", (int64_t)instance->release);
    json_write_integer(&writer, "generation", (int64_t)instance->generation);
    json_write_boolean(&writer, "is_admitted", instance->is_admitted);
    json_write_text(&writer, "state",
                    instance_state_name(instance->state == INSTANCE_CHECKING ? INSTANCE_STARTING
                                                                             : instance->state));
    json_write_integer(&writer, "unit", (int64_t)instance->unit.id);
    json_write_integer(&writer, "port", instance->port);
    json_write_integer(&writer, "slot", instance->slot);
    json_write_integer(&writer, "restarts", instance->restarts);
    json_write_integer(&writer, "quick_crashes", instance->restart.quick_crashes);
    json_write_time(&writer, "drain_began_at", instance->drain_began_us);
    json_write_text(&writer, "message", instance->message);
    json_end_object(&writer);
    journal_put(
        &app->platform->journal,
        names_key(key, "/apps/%s/instances/%llu", app->name, (unsigned long long)instance->key),
        buf_slice(&json));
    buf_done(&json);
}

static enum instance_state state_from_name(const char *name)
{
    for (unsigned i = 0; i < INSTANCE_STATE_COUNT; i++)
        if (strcmp(instance_state_name((enum instance_state)i), name) == 0)
            return (enum instance_state)i;
    return INSTANCE_STATE_COUNT;
}

int instance_load(struct app *app, uint64_t key, const struct json *json, struct error *err)
{
    const char *service = json_get_text(json, "service", "");
    enum instance_state state = state_from_name(json_get_text(json, "state", ""));
    uint64_t number = (uint64_t)json_get_integer(json, "release", 0);
    int64_t slot = json_get_integer(json, "slot", -1);
    const struct release *release = app_release(app, number);

    if (!names_is_valid(service) || state == INSTANCE_STATE_COUNT || slot < 0 ||
        slot >= (int64_t)COUNTERS_ENDPOINTS_MAX || app->platform->slots[slot])
        return error_set(err, ERR_CORRUPT, "the record of instance %llu is not valid",
                         (unsigned long long)key);
    if (!release || !release->manifest || !manifest_service_find(release->manifest, service))
        return error_set(err, ERR_CORRUPT,
                         "instance %llu refers to release v%llu, which is not there",
                         (unsigned long long)key, (unsigned long long)number);
    struct instance *instance =
        instance_allocate(app, service, (unsigned)json_get_integer(json, "ordinal", 1));
    instance->key = key;
    instance->state = state;
    instance->release = number;
    instance->generation = (uint64_t)json_get_integer(json, "generation", 0);
    instance->is_admitted = json_get_boolean(json, "is_admitted", false);
    instance->port = (unsigned)json_get_integer(json, "port", 0);
    instance->slot = (unsigned)slot;
    app->platform->slots[slot] = 1;
    instance->restarts = (unsigned)json_get_integer(json, "restarts", 0);
    instance->restart.quick_crashes = (unsigned)json_get_integer(json, "quick_crashes", 0);
    if (clock_parse(json_get_text(json, "drain_began_at", ""), &instance->drain_began_us) != 0)
        instance->drain_began_us = 0;
    (void)snprintf(instance->message, sizeof(instance->message), "%s",
                   json_get_text(json, "message", ""));
    platform_unit_adopt(app->platform, &instance->unit,
                        (uint64_t)json_get_integer(json, "unit", 0));
    return 0;
}
