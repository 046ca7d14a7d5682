/* The durable record of a deploy: /apps/<app>/deploys/<id>. */
#include "base/clock.h"
#include "deploy/deploy.h"
#include <stdio.h>

static void write_before(const struct deploy *deploy, struct json_writer *writer)
{
    json_begin_array(writer, "before");
    for (size_t i = 0; i < deploy->before_count; i++) {
        json_begin_object(writer, NULL);
        json_write_text(writer, "service", deploy->before[i].service);
        json_write_integer(writer, "instances", deploy->before[i].instances);
        json_end_object(writer);
    }
    json_end_array(writer);
}

static void write_end(const struct deploy *deploy, struct json_writer *writer)
{
    json_write_integer(writer, "outcome", deploy->outcome);
    json_write_boolean(writer, "is_cancelled", deploy->is_cancelled);
    json_write_text(writer, "reason", deploy->reason);
    json_write_text(writer, "hint", deploy->hint);
    json_write_text(writer, "probe", deploy->probe_text);
    json_write_integer(writer, "log_unit", deploy->is_log_due ? (int64_t)deploy->log_unit : 0);
    json_write_text(writer, "trash", deploy->trash);
    json_begin_array(writer, "log");
    for (size_t i = 0; i < deploy->log_count; i++)
        json_write_text(writer, NULL, deploy->log_lines[i]);
    json_end_array(writer);
}

void deploy_write_json(const struct deploy *deploy, struct buf *ret_json)
{
    struct json_writer writer = JSON_WRITER(ret_json);

    json_begin_object(&writer, NULL);
    json_write_integer(&writer, "deploy", (int64_t)deploy->id);
    json_write_text(&writer, "kind", deploy_kind_name(deploy->kind));
    json_write_text(&writer, "state", deploy_state_name(deploy->state));
    json_write_integer(&writer, "release", (int64_t)deploy->release);
    json_write_integer(&writer, "previous", (int64_t)deploy->previous);
    json_write_text(&writer, "service", deploy->service);
    json_write_integer(&writer, "instances", deploy->instances);
    json_write_text(&writer, "who", deploy->who);
    json_write_integer(&writer, "source_bytes", (int64_t)deploy->source_bytes);
    json_write_integer(&writer, "source_files", (int64_t)deploy->source_files);
    json_write_time(&writer, "created_at", deploy->created_at_us);
    json_write_time(&writer, "began_at", deploy->began_at_us);
    json_write_time(&writer, "ended_at", deploy->ended_at_us);
    json_write_integer(&writer, "unit", (int64_t)deploy->unit.id);
    json_write_integer(&writer, "step", deploy->step);
    json_write_boolean(&writer, "has_begun_waves", deploy->has_begun_waves);
    json_write_boolean(&writer, "has_shifted", deploy->has_shifted);
    json_write_boolean(&writer, "is_routed", deploy->is_routed);
    write_before(deploy, &writer);
    write_end(deploy, &writer);
    json_write_integer(&writer, "sequence", (int64_t)deploy->sequence);
    deploy_events_write(deploy, &writer);
    json_end_object(&writer);
}

void deploy_write(struct deploy *deploy)
{
    struct buf json = BUF_INIT(STORE_VALUE_MAX);
    char key[NAMES_KEY_SIZE];

    deploy_write_json(deploy, &json);
    journal_put(
        &deploy->app->platform->journal,
        names_key(key, "/apps/%s/deploys/%llu", deploy->app->name, (unsigned long long)deploy->id),
        buf_slice(&json));
    buf_done(&json);
}

static char *copy_text(const struct json *json, const char *key)
{
    const char *text = json_get_text(json, key, NULL);

    return text ? strdup(text) : NULL;
}

static uint64_t read_time(const struct json *json, const char *key)
{
    uint64_t at_us;

    return clock_parse(json_get_text(json, key, ""), &at_us) == 0 ? at_us : 0;
}

static void read_before(struct deploy *deploy, const struct json *array)
{
    if (!array || array->count == 0)
        return;
    deploy->before = calloc(array->count, sizeof(*deploy->before));
    if (!deploy->before)
        abort();
    json_each (item, array) {
        struct deploy_before *before = &deploy->before[deploy->before_count++];

        (void)snprintf(before->service, sizeof(before->service), "%s",
                       json_get_text(item, "service", ""));
        before->instances = (unsigned)json_get_integer(item, "instances", 0);
    }
}

static void read_log(struct deploy *deploy, const struct json *array)
{
    if (!array || array->count == 0)
        return;
    deploy->log_lines = calloc(array->count, sizeof(*deploy->log_lines));
    if (!deploy->log_lines)
        abort();
    json_each (item, array)
        deploy->log_lines[deploy->log_count++] = strdup(json_text(item, ""));
}

int deploy_load(struct app *app, const struct json *json, struct error *err)
{
    uint64_t id = (uint64_t)json_get_integer(json, "deploy", 0);
    enum deploy_kind kind = deploy_kind_from_name(json_get_text(json, "kind", ""));
    enum deploy_state state = deploy_state_from_name(json_get_text(json, "state", ""));
    int64_t outcome = json_get_integer(json, "outcome", 0);

    if (id == 0 || kind == DEPLOY_KIND_COUNT || state == DEPLOY_STATE_COUNT || outcome < 0 ||
        outcome > DEPLOY_OUTCOME_CANCELLED)
        return error_set(err, ERR_CORRUPT, "the record of a deploy of '%s' is not valid",
                         app->name);
    struct deploy *deploy = deploy_new(app, id, kind, json_get_text(json, "who", ""));
    deploy->state = state;
    deploy->outcome = (enum deploy_outcome)outcome;
    deploy->release = (uint64_t)json_get_integer(json, "release", 0);
    deploy->previous = (uint64_t)json_get_integer(json, "previous", 0);
    (void)snprintf(deploy->service, sizeof(deploy->service), "%s",
                   json_get_text(json, "service", ""));
    deploy->instances = (unsigned)json_get_integer(json, "instances", 0);
    deploy->source_bytes = (uint64_t)json_get_integer(json, "source_bytes", 0);
    deploy->source_files = (uint64_t)json_get_integer(json, "source_files", 0);
    deploy->created_at_us = read_time(json, "created_at");
    deploy->began_at_us = read_time(json, "began_at");
    deploy->ended_at_us = read_time(json, "ended_at");
    deploy->step = (unsigned)json_get_integer(json, "step", 0);
    deploy->has_begun_waves = json_get_boolean(json, "has_begun_waves", false);
    deploy->has_shifted = json_get_boolean(json, "has_shifted", false);
    deploy->is_routed = json_get_boolean(json, "is_routed", false);
    deploy->is_cancelled = json_get_boolean(json, "is_cancelled", false);
    deploy->reason = copy_text(json, "reason");
    deploy->hint = copy_text(json, "hint");
    deploy->probe_text = copy_text(json, "probe");
    deploy->trash = copy_text(json, "trash");
    deploy->log_unit = (uint64_t)json_get_integer(json, "log_unit", 0);
    deploy->is_log_due = deploy->log_unit != 0;
    read_before(deploy, json_get(json, "before"));
    read_log(deploy, json_get(json, "log"));
    deploy_events_load(deploy, json_get(json, "events"));
    /* Events since the record was written are lost; a follower who saw them must not see their
     * numbers again. */
    deploy->sequence = (uint64_t)json_get_integer(json, "sequence", 1) +
                       (machine_is_final(state) ? 0 : DEPLOY_EVENTS_MAX);
    if (!machine_is_final(state)) {
        const struct release *release = app_release(app, deploy->release);

        if (kind != DEPLOY_KIND_REMOVE && state != DEPLOY_QUEUED &&
            (!release || !release->manifest))
            return error_set(err, ERR_CORRUPT,
                             "deploy %llu refers to release v%llu, which is not there",
                             (unsigned long long)id, (unsigned long long)deploy->release);
        platform_unit_adopt(app->platform, &deploy->unit,
                            (uint64_t)json_get_integer(json, "unit", 0));
    }
    return 0;
}
