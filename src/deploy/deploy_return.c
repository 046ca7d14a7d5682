/* The way back after a failure or a cancellation: the old set at its full count, the new one out.
 *
 * Nothing shifted yet: the new instances end, the old ones never noticed. Else those of the old
 * ones that still drain are called back (they are warm), missing ones are started from their kept
 * release, and only when these are up do the new ones leave the rotation. The last lines of what
 * failed are fetched meanwhile.
 */
#include "base/log.h"
#include "deploy/chore.h"
#include "deploy/deploy.h"
#include <signal.h>

#define STEP_STOP_GRACE_MS 5000u
#define LOG_DELAY_MS       100u /* logd reads what the process wrote last at its own pace */
#define LOG_ATTEMPTS       4u

/* ---- the last lines */

static void on_log_lines(struct log_request *request, const char *const *lines, size_t count)
{
    struct deploy *deploy = container_of(request, struct deploy, log);

    if (count == 0 && ++deploy->log_attempts < LOG_ATTEMPTS) {
        loop_timer_start_in(deploy->app->platform->loop, &deploy->log_timer, LOOP_MS(LOG_DELAY_MS));
        return;
    }
    if (count > 0 && !deploy->log_lines) {
        deploy->log_lines = calloc(count, sizeof(*deploy->log_lines));
        if (!deploy->log_lines)
            abort();
        for (size_t i = 0; i < count; i++)
            deploy->log_lines[deploy->log_count++] = strdup(lines[i]);
    }
    deploy->is_log_due = false;
    loop_defer(deploy->app->platform->loop, &deploy->look);
}

static void on_log_timer(struct loop_timer *timer)
{
    struct deploy *deploy = container_of(timer, struct deploy, log_timer);
    struct platform *platform = deploy->app->platform;

    if (platform->is_quitting)
        return;
    deploy->log.app = deploy->app->name;
    deploy->log.unit = deploy->log_unit;
    deploy->log.limit = DEPLOY_LOG_LINES_MAX;
    deploy->log.on_lines = on_log_lines;
    platform->port->log_start(platform->port, &deploy->log);
}

static void fetch_log(struct deploy *deploy)
{
    deploy->log_timer.on_timer = on_log_timer;
    deploy->log_attempts = 0;
    loop_timer_start_in(deploy->app->platform->loop, &deploy->log_timer, LOOP_MS(LOG_DELAY_MS));
}

/* ---- the old set */

static bool is_old(const struct deploy *deploy, const struct instance *instance,
                   const char *service)
{
    return instance->release == deploy->previous && instance->generation != deploy->id &&
           strcmp(instance->service, service) == 0;
}

static unsigned count_old(const struct deploy *deploy, const char *service)
{
    unsigned count = 0;

    list_each (node, &deploy->app->instances) {
        const struct instance *instance = container_of(node, struct instance, node);

        count += is_old(deploy, instance, service) && instance_is_wanted(instance);
    }
    return count;
}

static void bring_back(struct deploy *deploy, const struct deploy_before *before)
{
    const struct release *release = app_release(deploy->app, deploy->previous);
    struct error err = {0};

    if (!release || !release->manifest ||
        !manifest_service_find(release->manifest, before->service))
        return;
    unsigned have = count_old(deploy, before->service);
    list_each (node, &deploy->app->instances) {
        struct instance *instance = container_of(node, struct instance, node);

        if (have < before->instances && is_old(deploy, instance, before->service) &&
            instance->state == INSTANCE_DRAINING && !instance->unit.is_stopping) {
            instance_send(instance, INSTANCE_EVENT_RECALL);
            have++;
        }
    }
    while (have < before->instances) {
        struct instance *instance;

        if (instance_new(deploy->app, release, before->service, 0, true, &instance, &err) != 0) {
            log_failure(&err, "%s: unable to bring back an instance of '%s'", deploy->app->name,
                        before->service);
            return;
        }
        have++;
    }
}

/* Take away what this change made. Those that serve stay until the old ones are up. */
static void retire_fresh(struct deploy *deploy, bool is_everything)
{
    list_each_safe (node, &deploy->app->instances) {
        struct instance *instance = container_of(node, struct instance, node);

        if (instance->generation == deploy->id && instance->release == deploy->release &&
            (is_everything || !instance->is_admitted))
            instance_send(instance, INSTANCE_EVENT_RETIRE);
    }
}

static bool is_old_coming_up(const struct deploy *deploy)
{
    list_each (node, &deploy->app->instances) {
        const struct instance *instance = container_of(node, struct instance, node);

        if (instance->release == deploy->previous && instance->generation != deploy->id &&
            (instance->state == INSTANCE_WAITING || instance->state == INSTANCE_STARTING ||
             instance->state == INSTANCE_CHECKING))
            return true;
    }
    return false;
}

void deploy_return_start(struct deploy *deploy)
{
    struct platform *platform = deploy->app->platform;

    if (deploy->unit.state == UNIT_EXITED)
        platform_unit_release(platform, &deploy->unit);
    else if (deploy->unit.id)
        platform_unit_stop(platform, &deploy->unit, SIGTERM, STEP_STOP_GRACE_MS);
    if (deploy->is_log_due)
        fetch_log(deploy);
    retire_fresh(deploy, false);
    if (deploy->has_shifted)
        for (size_t i = 0; i < deploy->before_count; i++)
            bring_back(deploy, &deploy->before[i]);
    (void)platform_publish(platform);
    deploy_write(deploy);
    loop_defer(platform->loop, &deploy->look);
}

void deploy_return_look(struct deploy *deploy)
{
    struct app *app = deploy->app;

    if (deploy->unit.id != 0 || deploy->is_log_due)
        return;
    if (deploy->is_room_due && !deploy->has_shifted) {
        deploy->is_room_due = false;
        app_drop_files(app, app_release(app, deploy->release));
    }
    if (chores_has(app->platform, app->name) && !deploy->has_shifted)
        return;
    if (deploy->has_shifted && is_old_coming_up(deploy))
        return;
    retire_fresh(deploy, true);
    deploy_send(deploy, DEPLOY_EVENT_DONE);
}
