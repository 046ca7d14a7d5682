/* Steps of a deploy that are units: unpacking the source, builds, publishing of static sites,
 * migrations.
 *
 * Which steps there are follows from the manifest alone, so the record needs no more than the
 * number of the present one. A step that a crash of control interrupted before its process began is
 * begun again; one whose process runs or has ended is taken up where it is.
 */
#include "base/log.h"
#include "deploy/deploy.h"
#include "deploy/environment.h"
#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#define UNPACK_TIMEOUT_MS  (10u * 60 * 1000)
#define PUBLISH_TIMEOUT_MS (10u * 60 * 1000)
#define STOP_GRACE_MS      5000u
#define DISK_FULL_BYTES    (1024u * 1024)
#define BUILD_CPU_WEIGHT   25u /* running instances come first */

enum step_kind { STEP_UNPACK, STEP_BUILD, STEP_PUBLISH, STEP_MIGRATE };

struct step {
    enum step_kind kind;
    const struct manifest_service *service; /* NULL: unpack */
};

static const char *const step_names[] = {[STEP_UNPACK] = "unpack",
                                         [STEP_BUILD] = "build",
                                         [STEP_PUBLISH] = "publish",
                                         [STEP_MIGRATE] = "preDeploy"};

/* Two services with one folder and one build command share the result. */
static bool is_built_already(const struct manifest *manifest, size_t index)
{
    const struct manifest_service *service = &manifest->services[index];

    for (size_t i = 0; i < index; i++)
        if (manifest->services[i].build &&
            strcmp(manifest->services[i].build, service->build) == 0 &&
            strcmp(manifest->services[i].root, service->root) == 0)
            return true;
    return false;
}

static bool has_step(const struct manifest *manifest, size_t index, enum step_kind kind)
{
    const struct manifest_service *service = &manifest->services[index];

    switch (kind) {
    case STEP_BUILD:
        return service->build && !is_built_already(manifest, index);
    case STEP_PUBLISH:
        return service->type == SERVICE_STATIC;
    case STEP_MIGRATE:
        return service->pre_deploy;
    case STEP_UNPACK:
        break;
    }
    return false;
}

static bool find_of_kind(const struct manifest *manifest, enum step_kind kind, unsigned *index,
                         struct step *ret_step)
{
    for (size_t i = 0; i < manifest->service_count; i++) {
        if (!has_step(manifest, i, kind))
            continue;
        if (*index == 0) {
            *ret_step = (struct step){.kind = kind, .service = &manifest->services[i]};
            return true;
        }
        --*index;
    }
    return false;
}

static bool find_step(const struct deploy *deploy, struct step *ret_step)
{
    const struct release *release = app_release(deploy->app, deploy->release);
    unsigned index = deploy->step;

    switch (deploy->state) {
    case DEPLOY_UNPACKING:
        *ret_step = (struct step){.kind = STEP_UNPACK};
        return index == 0;
    case DEPLOY_BUILDING:
        return find_of_kind(release->manifest, STEP_BUILD, &index, ret_step) ||
               find_of_kind(release->manifest, STEP_PUBLISH, &index, ret_step);
    case DEPLOY_MIGRATING:
        return find_of_kind(release->manifest, STEP_MIGRATE, &index, ret_step);
    default:
        return false;
    }
}

static uint64_t step_timeout_ms(const struct step *step)
{
    switch (step->kind) {
    case STEP_UNPACK:
        return UNPACK_TIMEOUT_MS;
    case STEP_BUILD:
        return step->service->deploy.build_timeout_ms;
    case STEP_PUBLISH:
        return PUBLISH_TIMEOUT_MS;
    case STEP_MIGRATE:
        return step->service->deploy.pre_deploy_timeout_ms;
    }
    return UNPACK_TIMEOUT_MS;
}

uint64_t deploy_step_timeout_ms(const struct deploy *deploy)
{
    struct step step;

    return find_step(deploy, &step) ? step_timeout_ms(&step) : UNPACK_TIMEOUT_MS;
}

/* ---- folders */

static void make_folder(const struct deploy *deploy, const char *name, uint32_t uid, unsigned mode)
{
    struct platform *platform = deploy->app->platform;
    char path[NAMES_PATH_SIZE];

    names_path(path, "apps/%s%s%s", deploy->app->name, name[0] ? "/" : "", name);
    platform->port->make_directory(platform->port, path, uid, mode, false, NULL);
}

/* The folders above belong to control, so that it can move and remove the whole; the app's user
 * owns what it writes to. */
static void make_source_folders(const struct deploy *deploy)
{
    uint32_t own = deploy->app->platform->settings.own_uid, uid = deploy->app->uid;
    char name[NAMES_KEY_SIZE];

    make_folder(deploy, "", own, 0711);
    make_folder(deploy, "releases", own, 0711);
    make_folder(deploy, "home", uid, 0700);
    make_folder(deploy, "cache", uid, 0700);
    make_folder(deploy, names_key(name, "releases/%llu", (unsigned long long)deploy->release), own,
                0755);
    make_folder(deploy,
                names_key(name, "releases/%llu/source", (unsigned long long)deploy->release), uid,
                0700);
}

/* The site itself appears by rename, so the folder around it belongs to the app's user. */
static void make_site_folders(const struct deploy *deploy)
{
    char name[NAMES_KEY_SIZE];

    make_folder(deploy, "static", deploy->app->platform->settings.own_uid, 0755);
    make_folder(deploy, names_key(name, "static/%llu", (unsigned long long)deploy->release),
                deploy->app->uid, 0755);
}

/* ---- what runs */

struct step_spec {
    struct arena *arena;
    const char *arguments[8];
    size_t argument_count;
    const char *directory;
    struct environment environment;
    uint32_t flags;
    int stdin_fd;
};

static char *source_folder(const struct deploy *deploy, struct arena *arena, const char *below)
{
    return arena_printf(arena, "%s/apps/%s/releases/%llu/source%s%s",
                        deploy->app->platform->settings.state_directory, deploy->app->name,
                        (unsigned long long)deploy->release, below[0] ? "/" : "", below);
}

static void set_arguments(struct step_spec *spec, const char *const *arguments, size_t count)
{
    assert(count <= ARRAY_LEN(spec->arguments));
    memcpy(spec->arguments, arguments, count * sizeof(*arguments));
    spec->argument_count = count;
}

static void set_job(struct step_spec *spec)
{
    static const char *items[] = {"PATH=/usr/bin:/bin"};

    spec->flags = KEEPER_SPAWN_SELF;
    spec->directory = "/";
    spec->environment = (struct environment){.items = items, .count = 1};
}

static int describe_unpack(struct deploy *deploy, struct step_spec *spec, struct error *err)
{
    struct arena *arena = spec->arena;
    const char *path =
        arena_printf(arena, "%s/uploads/%llu.tar", deploy->app->platform->settings.state_directory,
                     (unsigned long long)deploy->id);

    /* What was announced, with room for what a tar stream and an estimate may differ by. */
    unsigned long long bytes = deploy->source_bytes * 2 + (64u << 20);
    unsigned long long files = deploy->source_files * 2 + 1000;

    make_source_folders(deploy);
    spec->stdin_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (spec->stdin_fd < 0)
        return error_errno(err, errno, "unable to open the uploaded source");
    set_job(spec);
    spec->flags |= KEEPER_SPAWN_STDIN;
    const char *arguments[] = {"slipway",
                               "job",
                               "unpack",
                               source_folder(deploy, arena, ""),
                               arena_printf(arena, "%llu", bytes),
                               arena_printf(arena, "%llu", files)};
    set_arguments(spec, arguments, ARRAY_LEN(arguments));
    return 0;
}

static void describe_publish(struct deploy *deploy, const struct step *step, struct step_spec *spec)
{
    struct arena *arena = spec->arena;
    const struct manifest_service *service = step->service;
    const char *below = arena_printf(arena, "%s/%s", service->root, service->publish);
    const char *arguments[] = {"slipway", "job", "publish", source_folder(deploy, arena, below),
                               arena_printf(arena, "%s/apps/%s/static/%llu/%s",
                                            deploy->app->platform->settings.state_directory,
                                            deploy->app->name, (unsigned long long)deploy->release,
                                            service->name)};

    make_site_folders(deploy);
    set_job(spec);
    set_arguments(spec, arguments, ARRAY_LEN(arguments));
}

static int describe_command(struct deploy *deploy, const struct step *step, struct step_spec *spec,
                            struct error *err)
{
    const struct manifest_service *service = step->service;
    const struct release *release = app_release(deploy->app, deploy->release);
    struct environment_extra extra = {.is_build = step->kind == STEP_BUILD};
    const char *arguments[] = {"/bin/sh", "-c",
                               step->kind == STEP_BUILD ? service->build : service->pre_deploy};

    spec->directory = source_folder(deploy, spec->arena, service->root);
    set_arguments(spec, arguments, ARRAY_LEN(arguments));
    return environment_make(deploy->app, release, service, &extra, spec->arena, &spec->environment,
                            err);
}

static int describe(struct deploy *deploy, const struct step *step, struct step_spec *spec,
                    struct error *err)
{
    switch (step->kind) {
    case STEP_UNPACK:
        return describe_unpack(deploy, spec, err);
    case STEP_PUBLISH:
        describe_publish(deploy, step, spec);
        return 0;
    case STEP_BUILD:
    case STEP_MIGRATE:
        break;
    }
    return describe_command(deploy, step, spec, err);
}

static const char *step_service(const struct step *step)
{
    return step->service ? step->service->name : "";
}

static void spawn_step(struct deploy *deploy, const struct step *step, const struct step_spec *what)
{
    struct app *app = deploy->app;
    bool is_job = what->flags & KEEPER_SPAWN_SELF;
    char label[NAMES_LABEL_SIZE], tag[NAMES_KEY_SIZE];
    struct unit_spec spec = {
        .uid = app->uid,
        .gid = app->uid,
        .flags = what->flags,
        .tag = names_key(tag, "%s/%s %s", app->name, step_service(step), step_names[step->kind]),
        .label = names_label(label, app->name, step_service(step), deploy->release,
                             step_names[step->kind], is_job ? "job" : step_names[step->kind]),
        .directory = what->directory,
        .cgroup = step_names[step->kind],
        .arguments = what->arguments,
        .argument_count = what->argument_count,
        .environment = what->environment.items,
        .environment_count = what->environment.count,
        .cpu_weight = step->kind == STEP_MIGRATE ? 0 : BUILD_CPU_WEIGHT,
        .stdin_fd = what->stdin_fd,
    };

    platform_unit_start(app->platform, &deploy->unit, platform_unit_number(app->platform), &spec);
}

bool deploy_step_begin(struct deploy *deploy)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(4u * 1024 * 1024);
    struct step_spec spec = {.arena = arena, .stdin_fd = -1};
    struct error err = {0};
    struct step step;

    if (!find_step(deploy, &step))
        return false;
    if (describe(deploy, &step, &spec, &err) != 0) {
        deploy_fail(deploy, 0, NULL, err.hint, "%s: %s", step_names[step.kind], err.text);
        return true;
    }
    spawn_step(deploy, &step, &spec);
    fd_close(spec.stdin_fd);
    loop_timer_start_in(deploy->app->platform->loop, &deploy->timer,
                        LOOP_MS(step_timeout_ms(&step)));
    deploy_say(deploy, DEPLOY_INFO, step_names[step.kind], step.service ? step.service->name : NULL,
               NULL, "%s%s%s", step_names[step.kind], step.service ? " of " : "",
               step_service(&step));
    deploy_write(deploy);
    return true;
}

/* ---- how it ends */

static void hint_for(const struct step *step, char hint[DEPLOY_TEXT_SIZE])
{
    switch (step->kind) {
    case STEP_BUILD:
        (void)snprintf(
            hint, DEPLOY_TEXT_SIZE,
            "the lines above are the end of its output; run `%.200s` in folder '%s' to see it "
            "happen",
            step->service->build, step->service->root);
        break;
    case STEP_MIGRATE:
        (void)snprintf(
            hint, DEPLOY_TEXT_SIZE,
            "preDeploy must exit with 0; it may have changed the database in part before "
            "it failed");
        break;
    case STEP_PUBLISH:
        (void)snprintf(hint, DEPLOY_TEXT_SIZE,
                       "`publish: %s` must name the folder that the build makes, below '%s'",
                       step->service->publish, step->service->root);
        break;
    case STEP_UNPACK:
        (void)snprintf(hint, DEPLOY_TEXT_SIZE,
                       "look at the lines above and at the free disk space");
        break;
    }
}

/* A full disk also keeps the lines from being stored that would tell of it. */
static bool is_disk_full(const struct deploy *deploy)
{
    uint64_t free_bytes;

    return disk_free_bytes(deploy->app->platform->settings.state_directory, &free_bytes, NULL) ==
               0 &&
           free_bytes < DISK_FULL_BYTES;
}

static void step_failed(struct deploy *deploy, const struct step *step, const char *words)
{
    uint64_t unit = deploy->unit.id;
    char hint[DEPLOY_TEXT_SIZE];

    const char *full = is_disk_full(deploy) ? "; No space left on the disk" : "";

    deploy->is_room_due = full[0];
    if (full[0])
        (void)snprintf(hint, sizeof(hint), "free some space below '%.1000s'",
                       deploy->app->platform->settings.state_directory);
    else
        hint_for(step, hint);
    deploy_fail(deploy, unit, NULL, hint, "%s%s%s %s%s", step_names[step->kind],
                step->service ? " of " : "", step_service(step), words, full);
}

void deploy_step_changed(struct unit *unit)
{
    struct deploy *deploy = container_of(unit, struct deploy, unit);
    struct platform *platform = deploy->app->platform;
    char words[UNIT_WORDS_SIZE + 1100];
    struct step step;

    if (unit->state != UNIT_EXITED || platform->is_quitting)
        return;
    loop_timer_stop(&deploy->timer);
    if (!find_step(deploy, &step)) {
        platform_unit_release(platform, unit);
        loop_defer(platform->loop, &deploy->look);
        return;
    }
    if (unit->refusal || !unit_exit_is_success(&unit->exit)) {
        if (unit->refusal)
            (void)snprintf(words, sizeof(words), "could not be started: %s", unit->refusal->text);
        else
            unit_exit_words(&unit->exit, 0, words);
        step_failed(deploy, &step, words);
        return;
    }
    double seconds = (double)(unit->exit.exited_at_us - unit->started_at_us) / 1e6;
    deploy_say(deploy, DEPLOY_INFO, step_names[step.kind], step.service ? step.service->name : NULL,
               NULL, "%s%s%s done in %.1f s", step_names[step.kind], step.service ? " of " : "",
               step_service(&step), seconds);
    platform_unit_release(platform, unit);
    deploy->step++;
    if (!deploy_step_begin(deploy))
        deploy_send(deploy, DEPLOY_EVENT_DONE);
}

void deploy_step_timed_out(struct deploy *deploy)
{
    struct step step;

    if (!find_step(deploy, &step))
        return;
    char words[UNIT_WORDS_SIZE];
    (void)snprintf(words, sizeof(words), "did not end within %llu s and was stopped",
                   (unsigned long long)(step_timeout_ms(&step) / 1000));
    step_failed(deploy, &step, words);
}
