#include "deploy/chore.h"
#include "base/log.h"
#include "deploy/deploy.h"
#include "deploy/remove_tree.h"
#include "os/file.h"
#include <stdio.h>

static void chore_free(struct chore *chore)
{
    list_remove(&chore->node);
    unit_done(&chore->unit);
    free(chore);
}

void chores_free(struct platform *platform)
{
    list_each_safe (node, &platform->chores)
        chore_free(container_of(node, struct chore, node));
}

static void on_chore_changed(struct unit *unit)
{
    struct chore *chore = container_of(unit, struct chore, unit);
    struct platform *platform = chore->platform;
    struct app *app = platform_app_find(platform, chore->app);
    struct error err = {0};

    if (unit->state != UNIT_EXITED)
        return;
    /* What the unit may not remove are the empty folders that belong to control. */
    if (remove_tree_shell(chore->path, &err) != 0)
        log_failure(&err, "unable to remove '%s'", chore->path);
    platform_unit_release(platform, unit);
    chore_free(chore);
    if (app)
        deploy_edges_changed(app); /* one that waits for the room looks again */
}

bool chores_has(const struct platform *platform, const char *app)
{
    list_each (node, &platform->chores)
        if (strcmp(container_of(node, struct chore, node)->app, app) == 0)
            return true;
    return false;
}

void platform_remove_tree(struct platform *platform, const char *app, uint32_t uid,
                          const char *path)
{
    struct chore *chore;
    char absolute[NAMES_PATH_SIZE], label[NAMES_LABEL_SIZE], tag[NAMES_KEY_SIZE];

    names_path(absolute, "%s/%s", platform->settings.state_directory, path);
    if (!file_exists(absolute) || platform->is_quitting)
        return;
    list_each (node, &platform->chores)
        if (strcmp(container_of(node, struct chore, node)->path, absolute) == 0)
            return;
    chore = calloc(1, sizeof(*chore));
    if (!chore)
        abort();
    chore->platform = platform;
    chore->unit.on_change = on_chore_changed;
    (void)snprintf(chore->app, sizeof(chore->app), "%s", app);
    memcpy(chore->path, absolute, sizeof(absolute));
    list_push_back(&platform->chores, &chore->node);

    uint64_t id = platform_unit_number(platform);
    const char *arguments[] = {"slipway", "job", "remove-tree", absolute};
    const char *environment[] = {"PATH=/usr/bin:/bin"};
    struct unit_spec spec = {
        .uid = uid,
        .gid = uid,
        .flags = KEEPER_SPAWN_SELF,
        .tag = names_key(tag, "remove-tree %llu", (unsigned long long)id),
        .label = names_label(label, app, "", 0, "clean-up", "job"),
        .directory = "/",
        .cgroup = "",
        .arguments = arguments,
        .argument_count = ARRAY_LEN(arguments),
        .environment = environment,
        .environment_count = ARRAY_LEN(environment),
        .cpu_weight = 10,
        .stdin_fd = -1,
    };
    platform_unit_start(platform, &chore->unit, id, &spec);
}
