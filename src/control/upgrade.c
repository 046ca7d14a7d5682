/* upgrade.c - another binary for the whole platform: asked for here, done by the keeper, which
 * tells each step. The control that asked does not live to see the end: what it knows of the
 * upgrade comes from the keeper's table, as everything. */
#include "base/clock.h"
#include "control/control_private.h"
#include "deploy/app.h"
#include "deploy/deploy.h"
#include "deploy/release.h"
#include <limits.h>

#define DRAIN_LEAST_MS 30000u

static const char *const phase_names[] = {
#define X(state, name) [KEEPER_UPGRADE_##state] = name,
    KEEPER_UPGRADE_STATES(X)
#undef X
};

static bool is_under_way(const struct control_upgrade *upgrade)
{
    return upgrade->phase >= KEEPER_UPGRADE_TRYING && upgrade->phase < KEEPER_UPGRADE_DONE;
}

static void take_text(char *to, size_t size, const void *message, size_t len, size_t *cursor)
{
    const char *text = keeper_next_string(message, len, cursor);

    (void)snprintf(to, size, "%s", text ? text : "");
}

void control_on_upgrade(struct control *control, const struct keeper_upgrade_state *state,
                        size_t len)
{
    struct control_upgrade *upgrade = &control->upgrade;
    size_t cursor = sizeof(*state);

    if (state->phase >= ARRAY_LEN(phase_names) ||
        keeper_upgrade_is_after(upgrade->id, state->upgrade))
        return;
    upgrade->id = state->upgrade;
    upgrade->phase = (enum keeper_upgrade_phase)state->phase;
    upgrade->code = state->code;
    upgrade->is_back = state->is_back;
    upgrade->started_at_us = state->started_at_us;
    upgrade->ended_at_us = state->ended_at_us;
    take_text(upgrade->from, sizeof(upgrade->from), state, len, &cursor);
    take_text(upgrade->to, sizeof(upgrade->to), state, len, &cursor);
    take_text(upgrade->step, sizeof(upgrade->step), state, len, &cursor);
    take_text(upgrade->reason, sizeof(upgrade->reason), state, len, &cursor);
    take_text(upgrade->hint, sizeof(upgrade->hint), state, len, &cursor);
}

void control_upgrade_refused(struct control *control, const struct error *err)
{
    struct control_upgrade *upgrade = &control->upgrade;

    if (!is_under_way(upgrade))
        return;
    upgrade->phase = KEEPER_UPGRADE_REFUSED;
    upgrade->code = err->code;
    upgrade->ended_at_us = clock_wall_us();
    (void)snprintf(upgrade->reason, sizeof(upgrade->reason), "%.*s",
                   (int)sizeof(upgrade->reason) - 1, err->text);
    (void)snprintf(upgrade->hint, sizeof(upgrade->hint), "%.*s", (int)sizeof(upgrade->hint) - 1,
                   err->hint);
}

/* As long as the most patient service lets its WebSockets and requests go on. */
static uint32_t drain_ms(const struct control *control)
{
    uint64_t longest_ms = DRAIN_LEAST_MS;

    list_each (node, &control->platform->apps) {
        const struct app *app = container_of(node, struct app, node);
        const struct release *release = app_release(app, app->current);

        for (size_t i = 0; release && release->manifest && i < release->manifest->service_count;
             i++) {
            const struct manifest_service *service = &release->manifest->services[i];
            const struct manifest_stop *stop = &service->stop;

            if (service->type != SERVICE_WEB && service->type != SERVICE_PRIVATE)
                continue; /* no edge has connections to it */
            longest_ms = MAX(longest_ms, stop->drain_ms);
            longest_ms = MAX(longest_ms, stop->websocket_drain_ms);
        }
    }
    return (uint32_t)MIN(longest_ms, (uint64_t)UINT32_MAX);
}

static int check(const struct control *control, struct error *err)
{
    if (is_under_way(&control->upgrade)) {
        error_set(err, ERR_CONFLICT, "upgrade %u is under way: %s", control->upgrade.id,
                  control->upgrade.step[0] ? control->upgrade.step
                                           : phase_names[control->upgrade.phase]);
        return error_hint(err, "wait for its end; 'slipway status' shows it");
    }
    list_each (node, &control->platform->apps) {
        const struct app *app = container_of(node, struct app, node);

        if (!app->running)
            continue;
        error_set(err, ERR_CONFLICT, "deploy %llu of '%s' is under way",
                  (unsigned long long)app->running->id, app->name);
        return error_hint(err, "wait for its end, or end it with 'slipway cancel %s'", app->name);
    }
    return 0;
}

int control_upgrade_begin(struct control *control, const char *binary, bool is_back,
                          struct buf *ret_json, struct error *err)
{
    struct control_upgrade *upgrade = &control->upgrade;
    enum keeper_upgrade_kind kind = is_back  ? KEEPER_UPGRADE_BACK
                                    : binary ? KEEPER_UPGRADE_TO_PATH
                                             : KEEPER_UPGRADE_TO_START;
    struct json_writer writer = JSON_WRITER(ret_json);
    int code;

    if (binary && (is_back || binary[0] != '/' || strlen(binary) >= PATH_MAX))
        return error_set(err, ERR_INVALID, "'binary' must be the absolute path of a program");
    code = check(control, err);
    if (code != 0)
        return code;
    *upgrade = (struct control_upgrade){.id = MAX(upgrade->id + 1, 1u), /* 0 is none */
                                        .phase = KEEPER_UPGRADE_TRYING,
                                        .is_back = is_back,
                                        .started_at_us = clock_wall_us()};
    keeper_link_upgrade(&control->link, kind, upgrade->id, drain_ms(control), binary ? binary : "");
    json_begin_object(&writer, NULL);
    json_write_integer(&writer, "upgrade", upgrade->id);
    json_write_text(&writer, "state", phase_names[upgrade->phase]);
    json_end_object(&writer);
    return 0;
}

void control_upgrade_write(const struct control *control, struct json_writer *writer)
{
    const struct control_upgrade *upgrade = &control->upgrade;

    json_write_integer(writer, "upgrade", upgrade->id);
    json_write_text(writer, "state", phase_names[upgrade->phase]);
    json_write_boolean(writer, "is_downgrade", upgrade->is_back);
    json_write_text(writer, "from", upgrade->from[0] ? upgrade->from : NULL);
    json_write_text(writer, "to", upgrade->to[0] ? upgrade->to : NULL);
    json_write_text(writer, "step", upgrade->step[0] ? upgrade->step : NULL);
    json_write_text(writer, "code", upgrade->code ? error_name(upgrade->code) : NULL);
    json_write_text(writer, "reason", upgrade->reason[0] ? upgrade->reason : NULL);
    json_write_text(writer, "hint", upgrade->hint[0] ? upgrade->hint : NULL);
    json_write_time(writer, "started_at", upgrade->started_at_us);
    json_write_time(writer, "ended_at", upgrade->ended_at_us);
}

int control_upgrade_state(struct control *control, struct buf *ret_json, struct error *err)
{
    struct json_writer writer = JSON_WRITER(ret_json);

    (void)err;
    json_begin_object(&writer, NULL);
    control_upgrade_write(control, &writer);
    json_end_object(&writer);
    return 0;
}

int control_version(struct control *control, struct buf *ret_json, struct error *err)
{
    struct json_writer writer = JSON_WRITER(ret_json);
    const char *keeper = "";

    (void)err;
    for (size_t i = 0; i < control->role_count; i++)
        if (control->roles[i].role == KEEPER_ROLE_KEEPER)
            keeper = control->roles[i].version;
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "version", slipway_version);
    json_write_text(&writer, "keeper", keeper);
    json_write_text(&writer, "before", control->before_version[0] ? control->before_version : NULL);
    json_end_object(&writer);
    return 0;
}
