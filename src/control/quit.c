/* quit.c - the end of the platform: services first, databases last, nothing of what is desired
 * changes.
 *
 *   services and steps get their signal → all have exited → databases get theirs → all have exited
 * → on_quit
 *
 * The edges have drained by then (the keeper stops them first). Each stage has a share of the
 * grace; what it does not need the next one has.
 */
#include "base/log.h"
#include "control/control_private.h"
#include "deploy/app.h"
#include "deploy/chore.h"
#include "deploy/database.h"
#include "deploy/deploy.h"
#include "deploy/instance.h"
#include <signal.h>

enum quit_stage { QUIT_SERVICES, QUIT_DATABASES, QUIT_DONE };

struct quit {
    struct control *control;
    enum quit_stage stage;
    uint32_t grace_ms;
    struct loop_timer deadline;
    struct loop_deferred look;
};

static void stop_unit(struct control *control, const struct unit *unit, int signal,
                      uint64_t grace_ms, size_t *count)
{
    if (unit->id == 0 || unit->state == UNIT_EXITED)
        return;
    ++*count;
    if (signal)
        keeper_link_stop_unit(&control->link, unit->id, signal, grace_ms);
}

/* Stop (signal) or only count what runs of the stage. */
static size_t each_service(struct control *control, bool is_signalled, uint64_t grace_ms)
{
    size_t count = 0;

    list_each (node, &control->platform->apps) {
        const struct app *app = container_of(node, struct app, node);

        list_each (item, &app->instances) {
            const struct instance *instance = container_of(item, struct instance, node);
            const struct manifest_stop *stop = &instance_service(instance)->stop;

            stop_unit(control, &instance->unit, is_signalled ? stop->signal : 0,
                      MIN(stop->grace_ms, grace_ms), &count);
        }
        list_each (item, &app->deploys)
            stop_unit(control, &container_of(item, struct deploy, node)->unit,
                      is_signalled ? SIGTERM : 0, grace_ms, &count);
    }
    list_each (node, &control->platform->chores)
        stop_unit(control, &container_of(node, struct chore, node)->unit,
                  is_signalled ? SIGTERM : 0, grace_ms, &count);
    return count;
}

static size_t each_database(struct control *control, bool is_signalled, uint64_t grace_ms)
{
    size_t count = 0;

    list_each (node, &control->platform->apps) {
        const struct app *app = container_of(node, struct app, node);

        list_each (item, &app->databases) {
            const struct database *database = container_of(item, struct database, node);

            stop_unit(control, &database->unit, is_signalled ? database->stop_signal : 0,
                      MIN((uint64_t)database->stop_grace_ms, grace_ms), &count);
        }
    }
    return count;
}

static void enter(struct quit *quit, enum quit_stage stage)
{
    struct control *control = quit->control;
    uint64_t grace_ms = quit->grace_ms * 2 / 5;

    quit->stage = stage;
    if (stage == QUIT_SERVICES)
        log_info("stopping: %zu processes of services", each_service(control, true, grace_ms));
    else if (stage == QUIT_DATABASES)
        log_info("stopping: %zu databases", each_database(control, true, grace_ms));
    keeper_link_flush(&control->link);
    if (stage == QUIT_DONE) {
        loop_timer_stop(&quit->deadline);
        control->handler->on_quit(control->handler);
        return;
    }
    loop_timer_start_in(control->loop, &quit->deadline, LOOP_MS(grace_ms + grace_ms / 8));
    loop_defer(control->loop, &quit->look);
}

static void on_look(struct loop_deferred *deferred)
{
    struct quit *quit = container_of(deferred, struct quit, look);

    if (quit->stage == QUIT_SERVICES && each_service(quit->control, false, 0) == 0)
        enter(quit, QUIT_DATABASES);
    else if (quit->stage == QUIT_DATABASES && each_database(quit->control, false, 0) == 0)
        enter(quit, QUIT_DONE);
}

static void on_deadline(struct loop_timer *timer)
{
    struct quit *quit = container_of(timer, struct quit, deadline);

    log_warning("not everything stopped in time");
    enter(quit, quit->stage + 1);
}

void quit_unit_exited(struct control *control)
{
    loop_defer(control->loop, &control->quit->look);
}

void quit_leave(struct control *control)
{
    struct error err = {0};

    if (journal_commit(&control->platform->journal, &err) != 0)
        log_failure(&err, "unable to store the last decisions");
    keeper_link_flush(&control->link);
    control->handler->on_quit(control->handler);
}

void quit_begin(struct control *control, uint32_t grace_ms)
{
    struct error err = {0};

    if (control->quit)
        return;
    control->quit = calloc(1, sizeof(*control->quit));
    if (!control->quit)
        abort();
    control->quit->control = control;
    control->quit->grace_ms = grace_ms;
    control->quit->deadline.on_timer = on_deadline;
    control->quit->look.on_deferred = on_look;
    if (journal_commit(&control->platform->journal, &err) != 0)
        log_failure(&err, "unable to store the last decisions");
    keeper_link_flush(&control->link);
    certificates_freeze(control->certificates);
    platform_freeze(control->platform);
    enter(control->quit, QUIT_SERVICES);
}

void quit_free(struct control *control)
{
    if (!control->quit)
        return;
    loop_timer_stop(&control->quit->deadline);
    loop_defer_cancel(&control->quit->look);
    free(control->quit);
    control->quit = NULL;
}
