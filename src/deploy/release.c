#include "deploy/release.h"
#include "base/clock.h"
#include <stdlib.h>

static const char *const state_names[] = {
#define X(state, name) [state] = name,
    RELEASE_STATES(X)
#undef X
};

const char *release_state_name(enum release_state state)
{
    assert(state < RELEASE_STATE_COUNT);
    return state_names[state];
}

struct release *release_new(uint64_t number)
{
    struct release *release = calloc(1, sizeof(*release));

    if (!release)
        abort();
    list_init(&release->node);
    release->number = number;
    release->arena = arena_new(RELEASE_ARENA_BYTES);
    release->commit = release->who = release->environment = "";
    return release;
}

void release_free(struct release *release)
{
    if (!release)
        return;
    list_remove(&release->node);
    arena_free(release->arena);
    free(release->reason);
    free(release);
}

void release_freep(struct release **release)
{
    release_free(*release);
    *release = NULL;
}

void release_set_reason(struct release *release, const char *reason)
{
    free(release->reason);
    release->reason = reason ? strdup(reason) : NULL;
}

void release_write_json(const struct release *release, struct buf *ret_json)
{
    struct json_writer writer = JSON_WRITER(ret_json);
    struct buf manifest = BUF_INIT(4 * MANIFEST_BYTES_MAX);

    if (release->manifest)
        manifest_write_json(release->manifest, &manifest);
    json_begin_object(&writer, NULL);
    json_write_integer(&writer, "release", (int64_t)release->number);
    json_write_text(&writer, "state", release_state_name(release->state));
    json_write_time(&writer, "created_at", release->created_at_us);
    json_write_integer(&writer, "duration_ms", (int64_t)release->duration_ms);
    json_write_text(&writer, "commit", release->commit);
    json_write_text(&writer, "who", release->who);
    json_write_text(&writer, "environment", release->environment);
    json_write_text(&writer, "reason", release->reason);
    json_write_boolean(&writer, "has_files", release->has_files);
    json_write_boolean(&writer, "was_live", release->was_live);
    json_begin_array(&writer, "generated");
    for (size_t i = 0; i < release->generated_count; i++) {
        json_begin_object(&writer, NULL);
        json_write_text(&writer, "service", release->generated[i].service);
        json_write_text(&writer, "name", release->generated[i].name);
        json_write_text(&writer, "value", release->generated[i].value);
        json_end_object(&writer);
    }
    json_end_array(&writer);
    if (release->manifest)
        json_write_raw(&writer, "manifest", slice_trim(buf_slice(&manifest)));
    json_end_object(&writer);
    buf_done(&manifest);
}

static void read_generated(struct release *release, const struct json *array)
{
    size_t i = 0;

    if (!array || array->type != JSON_ARRAY || array->count == 0)
        return;
    release->generated = arena_array_of(release->arena, struct release_generated, array->count);
    json_each (item, array)
        release->generated[i++] = (struct release_generated){
            .service = json_get_text(item, "service", ""),
            .name = json_get_text(item, "name", ""),
            .value = json_get_text(item, "value", ""),
        };
    release->generated_count = i;
}

int release_read_json(struct slice text, struct release **ret_release, struct error *err)
{
    CLEANUP(release_freep) struct release *release = release_new(0);
    struct manifest_findings findings = {0};
    struct buf manifest = BUF_INIT(4 * MANIFEST_BYTES_MAX);
    struct json *json;

    if (json_parse(release->arena, text, &json, err) != 0)
        return error_set(err, ERR_CORRUPT, "the record of a release is not valid JSON");
    release->number = (uint64_t)json_get_integer(json, "release", 0);
    const char *state = json_get_text(json, "state", "");
    release->state = RELEASE_STATE_COUNT;
    for (unsigned i = 0; i < RELEASE_STATE_COUNT; i++)
        if (strcmp(state_names[i], state) == 0)
            release->state = (enum release_state)i;
    if (release->number == 0 || release->state == RELEASE_STATE_COUNT)
        return error_set(err, ERR_CORRUPT, "the record of a release lacks its number or state");
    if (clock_parse(json_get_text(json, "created_at", ""), &release->created_at_us) != 0)
        release->created_at_us = 0;
    release->duration_ms = (uint64_t)json_get_integer(json, "duration_ms", 0);
    release->commit = json_get_text(json, "commit", "");
    release->who = json_get_text(json, "who", "");
    release->environment = json_get_text(json, "environment", "");
    release_set_reason(release, json_get_text(json, "reason", NULL));
    release->has_files = json_get_boolean(json, "has_files", false);
    release->was_live = json_get_boolean(json, "was_live", false);
    read_generated(release, json_get(json, "generated"));
    /* A release without files cannot run any more; its manifest would only take memory. */
    if (!release->has_files) {
        *ret_release = TAKE_PTR(release);
        return 0;
    }

    struct json_writer writer = JSON_WRITER(&manifest);
    json_write_tree(&writer, NULL, json_get(json, "manifest"));
    int code = manifest_parse(release->arena, "manifest", buf_slice(&manifest), NULL,
                              (struct slice){0}, &release->manifest, &findings, err);
    buf_done(&manifest);
    if (code != 0 && !release->manifest)
        return error_wrap(err, "the manifest of release v%llu",
                          (unsigned long long)release->number);
    *ret_release = TAKE_PTR(release);
    return 0;
}

const char *release_generated_value(const struct release *release, const char *service,
                                    const char *name)
{
    for (size_t i = 0; i < release->generated_count; i++)
        if (strcmp(release->generated[i].service, service) == 0 &&
            strcmp(release->generated[i].name, name) == 0)
            return release->generated[i].value;
    return NULL;
}

void release_shrink(struct release *release)
{
    struct arena *small = arena_new(RELEASE_ARENA_BYTES);
    struct release_generated *generated =
        arena_array_of(small, struct release_generated, MAX(release->generated_count, (size_t)1));

    for (size_t i = 0; i < release->generated_count; i++)
        generated[i] = (struct release_generated){
            .service = arena_text(small, release->generated[i].service),
            .name = arena_text(small, release->generated[i].name),
            .value = arena_text(small, release->generated[i].value),
        };
    release->generated = generated;
    release->commit = arena_text(small, release->commit);
    release->who = arena_text(small, release->who);
    release->environment = arena_text(small, release->environment);
    release->manifest = NULL;
    arena_free(release->arena);
    release->arena = small;
}
