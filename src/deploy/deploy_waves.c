/* A rolling change: waves of STARTING → CHECKING → SHIFTING over all services at once.
 *
 * The counts come from the instances' own records each time (rolling.h), so a control that was
 * killed in the middle sees the same and goes on. New instances are held back (proven) until their
 * wave shifts; in the last wave the routes and the static sites of the release come with them.
 */
#include "base/log.h"
#include "deploy/deploy.h"
#include "deploy/rolling.h"
#include <stdio.h>

#define CHECKING_EXTRA_MS 60000u

bool deploy_owns(const struct deploy *deploy, const struct instance *instance)
{
    if (instance->release != deploy->release)
        return false;
    return deploy->kind == DEPLOY_KIND_SCALE || instance->generation == deploy->id;
}

static bool is_in_scope(const struct deploy *deploy, const char *service)
{
    return deploy->service[0] == 0 || strcmp(deploy->service, service) == 0;
}

static unsigned before_of(const struct deploy *deploy, const char *service)
{
    for (size_t i = 0; i < deploy->before_count; i++)
        if (strcmp(deploy->before[i].service, service) == 0)
            return deploy->before[i].instances;
    return 0;
}

/* How the change of one service stands. `service` may be gone from the target: then nothing of it
 * is wanted. */
static struct rolling rolling_of(const struct deploy *deploy, const char *name)
{
    const struct release *release = app_release(deploy->app, deploy->release);
    const struct manifest_service *service = manifest_service_find(release->manifest, name);
    struct rolling rolling = {.before = before_of(deploy, name), .surge = 1};

    if (service) {
        rolling.surge = service->deploy.max_surge;
        rolling.want = deploy->kind == DEPLOY_KIND_SCALE
                           ? deploy->instances
                           : app_instances_wanted(deploy->app, service);
    }
    list_each (node, &deploy->app->instances) {
        const struct instance *instance = container_of(node, struct instance, node);

        if (!instance_is_wanted(instance) || strcmp(instance->service, name) != 0)
            continue;
        if (!deploy_owns(deploy, instance)) {
            rolling.old++;
            continue;
        }
        rolling.fresh++;
        rolling.proven += instance->is_admitted || instance->state == INSTANCE_PROVEN;
    }
    return rolling;
}

/* Names of all services that the change is about: those of the target, then those that only old
 * instances have. */
static size_t services_in_scope(const struct deploy *deploy, const char **names, size_t capacity)
{
    const struct manifest *manifest = app_release(deploy->app, deploy->release)->manifest;
    size_t count = 0;

    for (size_t i = 0; i < manifest->service_count && count < capacity; i++)
        if (is_in_scope(deploy, manifest->services[i].name))
            names[count++] = manifest->services[i].name;
    list_each (node, &deploy->app->instances) {
        const struct instance *instance = container_of(node, struct instance, node);
        bool is_known = false;

        for (size_t i = 0; i < count; i++)
            is_known |= strcmp(names[i], instance->service) == 0;
        if (!is_known && count < capacity && is_in_scope(deploy, instance->service))
            names[count++] = instance->service;
    }
    return count;
}

#define SCOPE_MAX (2 * MANIFEST_SERVICES_MAX)

/* ---- STARTING */

static void remember_before(struct deploy *deploy)
{
    const char *names[SCOPE_MAX];
    size_t count = services_in_scope(deploy, names, ARRAY_LEN(names));

    deploy->has_begun_waves = true;
    deploy->before = calloc(MAX(count, (size_t)1), sizeof(*deploy->before));
    if (!deploy->before)
        abort();
    for (size_t i = 0; i < count; i++) {
        struct deploy_before *before = &deploy->before[deploy->before_count];

        (void)snprintf(before->service, sizeof(before->service), "%s", names[i]);
        before->instances = rolling_of(deploy, names[i]).old;
        deploy->before_count++;
    }
    deploy_write(deploy);
}

static unsigned draining_count(const struct app *app)
{
    unsigned count = 0;

    list_each (node, &app->instances) {
        enum instance_state state = container_of(node, struct instance, node)->state;

        count += state == INSTANCE_DRAINING || state == INSTANCE_STOPPING;
    }
    return count;
}

static bool start_wave(struct deploy *deploy)
{
    const struct release *release = app_release(deploy->app, deploy->release);
    const char *names[SCOPE_MAX];
    size_t count = services_in_scope(deploy, names, ARRAY_LEN(names));
    struct error err = {0};

    for (size_t i = 0; i < count; i++) {
        struct rolling rolling = rolling_of(deploy, names[i]);

        for (unsigned k = rolling_start(&rolling); k > 0; k--) {
            struct instance *instance;

            if (instance_new(deploy->app, release, names[i], deploy->id, false, &instance, &err) !=
                0) {
                deploy_fail(deploy, 0, NULL, err.hint, "%s", err.text);
                return false;
            }
        }
    }
    return true;
}

void deploy_waves_start(struct deploy *deploy)
{
    unsigned draining = draining_count(deploy->app);

    if (!deploy->has_begun_waves)
        remember_before(deploy);
    if (draining >= PLATFORM_DRAINING_MAX) {
        deploy_say(deploy, DEPLOY_WARNING, NULL, NULL, NULL,
                   "waits: %u instances of earlier releases are still draining", draining);
        return;
    }
    if (start_wave(deploy))
        deploy_send(deploy, DEPLOY_EVENT_DONE);
}

/* ---- CHECKING */

static void fail_because_of(struct deploy *deploy, const struct instance *instance)
{
    const struct manifest_service *service = instance_service(instance);
    bool has_timed_out = strstr(instance->exit_words, "startTimeout");
    char hint[DEPLOY_TEXT_SIZE];

    if (has_timed_out && instance->port && strstr(instance->probe_text, "refused"))
        (void)snprintf(hint, sizeof(hint),
                       "the process must listen on 127.0.0.1 and the port in $PORT; here it was %u",
                       instance->port);
    else if (has_timed_out && instance->probe.kind == PROBE_HTTP)
        (void)snprintf(hint, sizeof(hint),
                       "GET %s must answer with 2xx or 3xx; see health.path, health.timeout and "
                       "health.startTimeout",
                       instance->probe.path);
    else if (has_timed_out)
        (void)snprintf(hint, sizeof(hint),
                       "see `ready` and health.startTimeout of the service in the manifest");
    else
        (void)snprintf(
            hint, sizeof(hint),
            "the lines above are the end of its output; it was started by `%.200s` in '%s'",
            service->start, service->root);
    deploy_fail(deploy, instance->last_unit ? instance->last_unit : instance->unit.id,
                instance->probe_text, hint, "instance %s %s", instance->name, instance->exit_words);
}

/* True when an instance of this change has failed, which is the end of the change. */
static bool has_failed_instance(struct deploy *deploy)
{
    list_each (node, &deploy->app->instances) {
        const struct instance *instance = container_of(node, struct instance, node);

        if (instance->generation != deploy->id || instance->release != deploy->release)
            continue;
        if (instance->state == INSTANCE_FAILED || instance->state == INSTANCE_BACKOFF ||
            instance->state == INSTANCE_CRASH_LOOP) {
            fail_because_of(deploy, instance);
            return true;
        }
    }
    return false;
}

void deploy_waves_look(struct deploy *deploy)
{
    if (has_failed_instance(deploy))
        return;
    if (deploy->state == DEPLOY_STARTING) {
        if (draining_count(deploy->app) < PLATFORM_DRAINING_MAX)
            deploy_waves_start(deploy);
        return;
    }
    list_each (node, &deploy->app->instances) {
        const struct instance *instance = container_of(node, struct instance, node);

        if (instance->generation == deploy->id && instance_is_wanted(instance) &&
            !instance->is_admitted && instance->state != INSTANCE_PROVEN)
            return;
    }
    deploy_send(deploy, DEPLOY_EVENT_DONE);
}

/* ---- SHIFTING */

/* Each instance has its own startTimeout; this is for what keeps it from being started at all, as a
 * database that went away. */
uint64_t deploy_waves_timeout_ms(const struct deploy *deploy)
{
    const struct manifest *manifest = app_release(deploy->app, deploy->release)->manifest;
    uint64_t longest_ms = 0;

    for (size_t i = 0; i < manifest->service_count; i++)
        longest_ms = MAX(longest_ms, manifest->services[i].health.start_timeout_ms);
    return longest_ms + CHECKING_EXTRA_MS;
}

static int goodness(const struct instance *instance)
{
    return instance->state == INSTANCE_READY ? 2 : instance->state == INSTANCE_UNHEALTHY ? 1 : 0;
}

/* Take `count` of the service out of rotation, those in the worst state first, then the newest. */
static void retire(struct deploy *deploy, const char *service, unsigned count, bool is_owned)
{
    while (count-- > 0) {
        struct instance *victim = NULL;

        list_each (node, &deploy->app->instances) {
            struct instance *instance = container_of(node, struct instance, node);

            if (!instance_is_wanted(instance) || strcmp(instance->service, service) != 0 ||
                deploy_owns(deploy, instance) != is_owned)
                continue;
            if (!victim || goodness(instance) < goodness(victim) ||
                (goodness(instance) == goodness(victim) && instance->key > victim->key))
                victim = instance;
        }
        if (!victim)
            return;
        deploy->has_shifted = true;
        instance_send(victim, INSTANCE_EVENT_RETIRE);
    }
}

static void admit_proven(struct deploy *deploy)
{
    list_each (node, &deploy->app->instances) {
        struct instance *instance = container_of(node, struct instance, node);

        if (instance->generation != deploy->id || instance->state != INSTANCE_PROVEN)
            continue;
        deploy->has_shifted = true;
        instance_send(instance, INSTANCE_EVENT_ADMIT);
    }
}

static bool is_done(const struct deploy *deploy)
{
    const char *names[SCOPE_MAX];
    size_t count = services_in_scope(deploy, names, ARRAY_LEN(names));

    for (size_t i = 0; i < count; i++) {
        struct rolling rolling = rolling_of(deploy, names[i]);

        if (!rolling_is_done(&rolling))
            return false;
    }
    return true;
}

void deploy_waves_shift(struct deploy *deploy)
{
    const char *names[SCOPE_MAX];
    size_t count;

    admit_proven(deploy);
    count = services_in_scope(deploy, names, ARRAY_LEN(names));
    for (size_t i = 0; i < count; i++) {
        struct rolling rolling = rolling_of(deploy, names[i]);

        retire(deploy, names[i], rolling_retire(&rolling), false);
        if (rolling.fresh > rolling.want) /* scale down */
            retire(deploy, names[i], rolling.fresh - rolling.want, true);
    }
    if (is_done(deploy))
        deploy->is_routed = deploy->has_shifted = true;
    deploy->version = platform_publish(deploy->app->platform);
    deploy_write(deploy);
    loop_defer(deploy->app->platform->loop, &deploy->look);
}

void deploy_waves_shifted(struct deploy *deploy)
{
    const struct platform *platform = deploy->app->platform;

    if (has_failed_instance(deploy))
        return;
    if (platform->reject && platform->reject_version >= deploy->version) {
        deploy_fail(deploy, 0, NULL, "this is a bug; the platform's own log tells more",
                    "the edges refused the new routing: %s", platform->reject);
        return;
    }
    if (platform_is_acked(platform, deploy->version))
        deploy_send(deploy, deploy->is_routed ? DEPLOY_EVENT_DONE : DEPLOY_EVENT_AGAIN);
}

/* ---- what is said of an instance of the change */

void deploy_instance_changed(struct instance *instance)
{
    struct app *app = instance->app;
    struct deploy *deploy = app->running;

    if (!deploy || !app->platform->is_resumed)
        return;
    if (instance->generation == deploy->id && !machine_is_final(deploy->state)) {
        double seconds = instance->spawned_at_us < instance->ready_at_us
                             ? (double)(instance->ready_at_us - instance->spawned_at_us) / 1e6
                             : 0;

        if (instance->state == INSTANCE_CHECKING && instance->port)
            deploy_say(deploy, DEPLOY_INFO, NULL, instance->service, instance->name,
                       "%s runs: pid %d, port %u", instance->name, instance->unit.pid,
                       instance->port);
        else if (instance->state == INSTANCE_CHECKING)
            deploy_say(deploy, DEPLOY_INFO, NULL, instance->service, instance->name,
                       "%s runs: pid %d", instance->name, instance->unit.pid);
        else if (instance->state == INSTANCE_PROVEN)
            deploy_say(deploy, DEPLOY_INFO, NULL, instance->service, instance->name,
                       "%s is healthy after %.2f s", instance->name, seconds);
        else if (instance->state == INSTANCE_READY && deploy->state == DEPLOY_SHIFTING)
            deploy_say(deploy, DEPLOY_INFO, NULL, instance->service, instance->name,
                       "%s gets traffic", instance->name);
    } else if (instance->state == INSTANCE_DRAINING) {
        deploy_say(deploy, DEPLOY_INFO, NULL, instance->service, instance->name,
                   "%s of v%llu drains", instance->name, (unsigned long long)instance->release);
    }
    loop_defer(app->platform->loop, &deploy->look);
}
