/* The progress of a deploy: JSON lines in memory, the essential ones in its record, all of them to
 * who listens. */
#include "base/clock.h"
#include "base/log.h"
#include "deploy/deploy.h"
#include <stdarg.h>
#include <stdio.h>

#define EVENT_LIMIT_BYTES (1024u * 1024)

static const char *const level_names[] = {
    [DEPLOY_INFO] = "info", [DEPLOY_WARNING] = "warning", [DEPLOY_ERROR] = "error"};

static void event_free(struct deploy_progress *event)
{
    free(event->json);
}

void deploy_events_free(struct deploy *deploy)
{
    for (size_t i = 0; i < deploy->event_count; i++)
        event_free(&deploy->events[i]);
    free(deploy->events);
    deploy->events = NULL;
    deploy->event_count = deploy->event_capacity = 0;
}

/* Room for one more; beyond the ceiling the oldest inessential one goes. */
static struct deploy_progress *event_add(struct deploy *deploy)
{
    if (deploy->event_count == DEPLOY_EVENTS_MAX) {
        size_t victim = 0;

        while (victim + 1 < deploy->event_count && deploy->events[victim].is_essential)
            victim++;
        event_free(&deploy->events[victim]);
        deploy->event_count--;
        memmove(&deploy->events[victim], &deploy->events[victim + 1],
                (deploy->event_count - victim) * sizeof(*deploy->events));
    }
    if (deploy->event_count == deploy->event_capacity) {
        size_t capacity = MAX(deploy->event_capacity * 2, (size_t)16);
        struct deploy_progress *events =
            reallocarray(deploy->events, capacity, sizeof(*deploy->events));

        if (!events)
            abort();
        deploy->events = events;
        deploy->event_capacity = capacity;
    }
    return &deploy->events[deploy->event_count++];
}

static void deliver(struct deploy *deploy, const struct deploy_progress *event)
{
    struct slice line = slice_from(event->json);
    bool is_final = event->is_final;

    list_each_safe (node, &deploy->listeners) {
        struct deploy_listener *listener = container_of(node, struct deploy_listener, node);

        listener->on_event(listener, line, is_final);
    }
}

static void begin_event(struct deploy *deploy, struct json_writer *writer)
{
    json_begin_object(writer, NULL);
    json_write_integer(writer, "sequence", (int64_t)deploy->sequence);
    json_write_time(writer, "time", clock_wall_us());
    json_write_integer(writer, "deploy", (int64_t)deploy->id);
    json_write_integer(writer, "release", (int64_t)deploy->release);
    json_write_text(writer, "state", deploy_state_name(deploy->state));
}

static void end_event(struct deploy *deploy, struct json_writer *writer, bool is_essential,
                      bool is_final)
{
    json_end_object(writer);
    struct deploy_progress *event = event_add(deploy);
    *event = (struct deploy_progress){.sequence = deploy->sequence++,
                                      .json = buf_take(writer->buf),
                                      .is_essential = is_essential,
                                      .is_final = is_final};
    deliver(deploy, event);
}

void deploy_say(struct deploy *deploy, enum deploy_level level, const char *step,
                const char *service, const char *instance, const char *format, ...)
{
    struct buf json = BUF_INIT(EVENT_LIMIT_BYTES);
    struct json_writer writer = JSON_WRITER(&json);
    char message[DEPLOY_TEXT_SIZE];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    begin_event(deploy, &writer);
    json_write_text(&writer, "step", step ? step : deploy_state_name(deploy->state));
    json_write_text(&writer, "service", service);
    json_write_text(&writer, "instance", instance);
    json_write_text(&writer, "message", message);
    json_write_text(&writer, "level", level_names[level]);
    end_event(deploy, &writer, level != DEPLOY_INFO, false);
}

static void state_message(const struct deploy *deploy, char message[DEPLOY_TEXT_SIZE])
{
    unsigned long long release = deploy->release;
    double seconds = (double)(deploy->ended_at_us - deploy->created_at_us) / 1e6;

    switch (deploy->state) {
    case DEPLOY_LIVE:
        (void)snprintf(message, DEPLOY_TEXT_SIZE, "v%llu is live after %.1f s", release, seconds);
        break;
    case DEPLOY_FAILED:
    case DEPLOY_ROLLED_BACK:
    case DEPLOY_CANCELLED:
        if (deploy->previous)
            (void)snprintf(message, DEPLOY_TEXT_SIZE, "%s; v%llu serves",
                           deploy->reason ? deploy->reason : "failed",
                           (unsigned long long)deploy->previous);
        else
            (void)snprintf(message, DEPLOY_TEXT_SIZE, "%s",
                           deploy->reason ? deploy->reason : "failed");
        break;
    case DEPLOY_REMOVED:
        (void)snprintf(message, DEPLOY_TEXT_SIZE, "moved to the trash as '%s'",
                       deploy->trash ? deploy->trash : "");
        break;
    default:
        (void)snprintf(message, DEPLOY_TEXT_SIZE, "%s", deploy_state_name(deploy->state));
        break;
    }
}

void deploy_say_state(struct deploy *deploy)
{
    struct buf json = BUF_INIT(EVENT_LIMIT_BYTES);
    struct json_writer writer = JSON_WRITER(&json);
    bool is_final = machine_is_final(deploy->state);
    bool is_good = deploy->state == DEPLOY_LIVE || deploy->state == DEPLOY_REMOVED;
    char message[DEPLOY_TEXT_SIZE];

    state_message(deploy, message);
    begin_event(deploy, &writer);
    json_write_text(&writer, "step", deploy_state_name(deploy->state));
    json_write_null(&writer, "service");
    json_write_null(&writer, "instance");
    json_write_text(&writer, "message", message);
    json_write_text(&writer, "level",
                    level_names[is_final && !is_good ? DEPLOY_ERROR : DEPLOY_INFO]);
    if (is_final) {
        json_write_boolean(&writer, "final", true);
        json_write_text(&writer, "app", deploy->app->name);
        json_write_text(&writer, "kind", deploy_kind_name(deploy->kind));
        json_write_text(&writer, "reason", deploy->reason);
        json_write_text(&writer, "hint", deploy->hint);
        json_begin_array(&writer, "log");
        for (size_t i = 0; i < deploy->log_count; i++)
            json_write_text(&writer, NULL, deploy->log_lines[i]);
        json_end_array(&writer);
        json_write_text(&writer, "probe", deploy->probe_text);
        if (deploy->trash)
            json_write_text(&writer, "trash", deploy->trash);
    }
    end_event(deploy, &writer, true, is_final);
}

void deploy_listen(struct deploy *deploy, struct deploy_listener *listener)
{
    list_push_back(&deploy->listeners, &listener->node);
    for (size_t i = 0; i < deploy->event_count; i++) {
        const struct deploy_progress *event = &deploy->events[i];

        if (event->sequence > listener->after)
            listener->on_event(listener, slice_from(event->json), event->is_final);
        if (list_is_empty(&listener->node))
            return; /* it left from inside the call */
    }
}

/* ---- in the record */

void deploy_events_write(const struct deploy *deploy, struct json_writer *writer)
{
    size_t essential = 0, skip;

    for (size_t i = 0; i < deploy->event_count; i++)
        essential += deploy->events[i].is_essential;
    skip = essential > DEPLOY_KEPT_EVENTS ? essential - DEPLOY_KEPT_EVENTS : 0;
    json_begin_array(writer, "events");
    for (size_t i = 0; i < deploy->event_count; i++) {
        const struct deploy_progress *event = &deploy->events[i];

        if (!event->is_essential)
            continue;
        if (skip > 0)
            skip--;
        else
            json_write_raw(writer, NULL, slice_from(event->json));
    }
    json_end_array(writer);
}

void deploy_events_load(struct deploy *deploy, const struct json *array)
{
    json_each (item, array) {
        struct buf json = BUF_INIT(EVENT_LIMIT_BYTES);
        struct json_writer writer = JSON_WRITER(&json);

        json_write_tree(&writer, NULL, item);
        struct deploy_progress *event = event_add(deploy);
        *event = (struct deploy_progress){
            .sequence = (uint64_t)json_get_integer(item, "sequence", 0),
            .json = buf_take(&json),
            .is_essential = true,
            .is_final = json_get_boolean(item, "final", false),
        };
    }
}
