#include "deploy/environment.h"
#include "deploy/database.h"
#include "os/random.h"
#include <stdio.h>

#define GENERATED_LEN   43u /* 256 bits in base 62 */
#define ENVIRONMENT_MAX 1000u

/* ---- generated values */

/* What an earlier release has, the newest first: a session key must not change with a deploy. */
static const char *find_generated(const struct app *app, const char *service, const char *name)
{
    for (const struct list *node = app->releases.previous; node != &app->releases;
         node = node->previous) {
        const struct release *release =
            (const struct release *)((uintptr_t)node - offsetof(struct release, node));
        const char *value = release_generated_value(release, service, name);

        if (value)
            return value;
    }
    return NULL;
}

void environment_generate(struct app *app, struct release *release)
{
    const struct manifest *manifest = release->manifest;
    size_t count = 0, i = 0;

    for (size_t s = 0; s < manifest->service_count; s++)
        for (size_t e = 0; e < manifest->services[s].environment_count; e++)
            count += manifest->services[s].environment[e].source == ENVIRONMENT_GENERATE;
    if (count == 0)
        return;
    struct release_generated *items =
        arena_array_of(release->arena, struct release_generated, count);
    for (size_t s = 0; s < manifest->service_count; s++) {
        const struct manifest_service *service = &manifest->services[s];

        for (size_t e = 0; e < service->environment_count; e++) {
            const struct manifest_environment *variable = &service->environment[e];

            if (variable->source != ENVIRONMENT_GENERATE)
                continue;
            const char *value = find_generated(app, service->name, variable->name);
            char token[GENERATED_LEN + 1];

            items[i++] = (struct release_generated){
                .service = service->name,
                .name = variable->name,
                .value =
                    arena_text(release->arena, value ? value : random_token(token, GENERATED_LEN)),
            };
        }
    }
    release->generated = items;
    release->generated_count = count;
}

/* ---- references */

/* The first route to a service: where others reach it. */
static const struct manifest_route *find_route(const struct manifest *manifest, const char *service)
{
    for (size_t i = 0; i < manifest->route_count; i++)
        if (strcmp(manifest->routes[i].service, service) == 0)
            return &manifest->routes[i];
    return NULL;
}

static int resolve_service(const struct app *app, const struct manifest *manifest,
                           const char *service, const char *property, struct buf *value,
                           struct error *err)
{
    const struct manifest_route *route = find_route(manifest, service);
    unsigned port = app ? app->platform->settings.http_port : 0;

    if (!route || route->host[0] == '*') {
        error_set(err, ERR_UNSUPPORTED,
                  "'%s.%s': the service has no route that others could reach it by", service,
                  property);
        return error_hint(err, "add a route with a plain host name to service '%s'", service);
    }
    const char *host = route->host[0] ? route->host : "127.0.0.1";
    if (strcmp(property, "host") == 0)
        buf_append_text(value, host);
    else if (strcmp(property, "port") == 0)
        buf_append_u64(value, port);
    else if (strcmp(property, "url") == 0)
        buf_printf(value, "http://%s:%u%s", host, port,
                   strcmp(route->path, "/") == 0 ? "" : route->path);
    else
        return error_set(err, ERR_NOT_FOUND, "'%s.%s': a service has url, host and port", service,
                         property);
    return 0;
}

/* "db.url" into its two parts; name must hold NAMES_NAME_SIZE. */
static bool split_reference(const char *reference, char *name, const char **ret_property)
{
    const char *dot = strchr(reference, '.');
    size_t len = dot ? (size_t)(dot - reference) : 0;

    if (len == 0 || len >= NAMES_NAME_SIZE || !dot[1])
        return false;
    memcpy(name, reference, len);
    name[len] = 0;
    *ret_property = dot + 1;
    return true;
}

/* app NULL: check only. */
static int resolve(const struct app *app, const struct manifest *manifest, const char *reference,
                   struct buf *value, struct error *err)
{
    char name[NAMES_NAME_SIZE];
    const char *property;

    if (!split_reference(reference, name, &property))
        return error_set(err, ERR_INVALID, "'%s' is not of the form name.property", reference);
    const struct manifest_database *spec = manifest_database_find(manifest, name);
    if (!spec && manifest_service_find(manifest, name))
        return resolve_service(app, manifest, name, property, value, err);
    if (!spec)
        return error_set(err, ERR_NOT_FOUND, "'%s': there is no database or service of that name",
                         reference);
    if (!app) {
        if (engine_has_property(spec->type, property))
            return 0;
        return error_set(err, ERR_NOT_FOUND, "'%s': a %s database has no property '%s'", reference,
                         database_type_name(spec->type), property);
    }
    const struct database *database = database_find(app, name);
    if (!database)
        return error_set(err, ERR_UNAVAILABLE, "database '%s' does not exist yet", name);
    return engine_property(&database->config, property, value, err);
}

int environment_check(const struct manifest *manifest, struct error *err)
{
    struct buf value = BUF_INIT(8192);
    int code = 0;

    for (size_t s = 0; code == 0 && s < manifest->service_count; s++) {
        const struct manifest_service *service = &manifest->services[s];

        for (size_t e = 0; code == 0 && e < service->environment_count; e++) {
            const struct manifest_environment *variable = &service->environment[e];

            if (variable->source == ENVIRONMENT_SECRET)
                code = error_set(err, ERR_UNSUPPORTED, "secrets are not supported yet");
            else if (variable->source == ENVIRONMENT_FROM)
                code = resolve(NULL, manifest, variable->value, &value, err);
            if (code != 0)
                (void)error_wrap(err, "services.%s.env.%s", service->name, variable->name);
        }
    }
    buf_done(&value);
    return code;
}

/* ---- the whole */

struct maker {
    struct arena *arena;
    struct environment *environment;
};

static void set(struct maker *maker, const char *name, const char *value)
{
    struct environment *environment = maker->environment;
    const char *item = arena_printf(maker->arena, "%s=%s", name, value);
    size_t len = strlen(name) + 1;

    for (size_t i = 0; i < environment->count; i++)
        if (strncmp(environment->items[i], item, len) == 0) {
            environment->items[i] = item;
            return;
        }
    if (environment->count < ENVIRONMENT_MAX)
        environment->items[environment->count++] = item;
}

static void set_number(struct maker *maker, const char *name, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    set(maker, name, text);
}

static void set_base(struct maker *maker, const struct app *app,
                     const struct environment_extra *extra)
{
    const struct platform_settings *settings = &app->platform->settings;
    char path[NAMES_PATH_SIZE];

    set(maker, "PATH", settings->unit_path);
    set(maker, "LANG", "C.UTF-8");
    /* Python keeps back what it prints into a pipe: the last lines before a crash would be lost. */
    set(maker, "PYTHONUNBUFFERED", "1");
    set(maker, "HOME", names_path(path, "%s/apps/%s/home", settings->state_directory, app->name));
    if (extra->is_build) {
        set(maker, "CI", "true");
        names_path(path, "%s/apps/%s/cache", settings->state_directory, app->name);
        set(maker, "XDG_CACHE_HOME", path);
        set(maker, "npm_config_cache", arena_printf(maker->arena, "%s/npm", path));
    } else {
        set(maker, "HOST", "127.0.0.1");
    }
}

static void set_platform(struct maker *maker, const struct app *app, const struct release *release,
                         const struct manifest_service *service,
                         const struct environment_extra *extra)
{
    if (extra->port)
        set_number(maker, "PORT", extra->port);
    if (extra->is_notified)
        set(maker, "NOTIFY_SOCKET", app->platform->settings.notify_socket);
    set(maker, "SLIPWAY_APP", app->name);
    set(maker, "SLIPWAY_SERVICE", service->name);
    set_number(maker, "SLIPWAY_RELEASE", release->number);
    set(maker, "SLIPWAY_COMMIT", release->commit);
    set(maker, "SLIPWAY_ENVIRONMENT", release->environment);
    if (extra->instance)
        set(maker, "SLIPWAY_INSTANCE", extra->instance);
}

static int set_variable(struct maker *maker, const struct app *app, const struct release *release,
                        const struct manifest_service *service,
                        const struct manifest_environment *variable, struct error *err)
{
    struct buf value = BUF_INIT(65536);
    const char *generated;
    int code = 0;

    switch (variable->source) {
    case ENVIRONMENT_VALUE:
        buf_append_text(&value, variable->value);
        break;
    case ENVIRONMENT_FROM:
        code = resolve(app, release->manifest, variable->value, &value, err);
        break;
    case ENVIRONMENT_GENERATE:
        generated = release_generated_value(release, service->name, variable->name);
        if (generated)
            buf_append_text(&value, generated);
        else
            code = error_set(err, ERR_INTERNAL, "the release has no value for it");
        break;
    case ENVIRONMENT_SECRET:
        code = error_set(err, ERR_UNSUPPORTED, "secrets are not supported yet");
        break;
    }
    if (code == 0)
        set(maker, variable->name, buf_text(&value));
    else
        (void)error_wrap(err, "services.%s.env.%s", service->name, variable->name);
    buf_done(&value);
    return code;
}

int environment_make(struct app *app, const struct release *release,
                     const struct manifest_service *service, const struct environment_extra *extra,
                     struct arena *arena, struct environment *ret_environment, struct error *err)
{
    struct environment environment = {0};
    struct maker maker = {.arena = arena, .environment = &environment};

    environment.items = arena_array_of(arena, const char *, ENVIRONMENT_MAX);
    set_base(&maker, app, extra);
    for (size_t i = 0; i < service->environment_count; i++) {
        int code = set_variable(&maker, app, release, service, &service->environment[i], err);

        if (code != 0)
            return code;
    }
    set_platform(&maker, app, release, service, extra);
    *ret_environment = environment;
    return 0;
}
