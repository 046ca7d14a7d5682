/* The platform's end, in the order in which nothing is lost: edges answer what they have, control
 * stops units in order, what is left of them is ended, logd stores the last output. Each stage has
 * its share of the time; what is late is killed. */
#include "keeper/keeper_private.h"

#include <signal.h>

#include "os/file.h"

#define QUIT_DEFAULT_MS 85000u /* below the 90 s that systemd gives */
#define HURRY_MS        1000u  /* for each stage, after the second signal */
/* From SIGKILL to the next stage: a process that waits for a disk hears no signal at all. */
#define LAST_RESORT_MS 5000u
#define NOBODY         KEEPER_ROLE_COUNT

static const struct {
    const char *name;
    enum keeper_role role;  /* who is told, and waited for */
    unsigned until_percent; /* of the whole time */
} stages[QUIT_STAGE_COUNT] = {
    [QUIT_NOT] = {"serving", NOBODY, 0},
    [QUIT_EDGES] = {"draining the edges", KEEPER_ROLE_EDGE, 35},
    [QUIT_SIGNER] = {"ending the signer", KEEPER_ROLE_SIGNER, 38},
    [QUIT_CONTROL] = {"stopping the units", KEEPER_ROLE_CONTROL, 85},
    [QUIT_UNITS] = {"ending leftover units", NOBODY, 93},
    [QUIT_LOGD] = {"storing the last output", KEEPER_ROLE_LOGD, 100},
    [QUIT_DONE] = {"done", NOBODY, 100},
};

const char *quit_stage_name(enum quit_stage stage)
{
    return stages[stage].name;
}

static enum quit_stage stage_of(const struct role *role)
{
    for (enum quit_stage stage = QUIT_EDGES; stage < QUIT_DONE; stage++) {
        if (stages[stage].role == role->entry->role)
            return stage;
    }
    return QUIT_DONE;
}

bool quit_allows_restart(const struct role *role, bool is_done)
{
    const struct keeper *keeper = role->keeper;

    if (keeper->quit == QUIT_NOT)
        return true;
    if (role->entry->role == KEEPER_ROLE_EDGE || keeper->quit > stage_of(role))
        return false; /* listeners are closed: a new edge would have nothing to do */
    return keeper->quit < stage_of(role) || (!is_done && !keeper->is_stage_overdue);
}

/* What the present stage has, from now. */
static uint64_t stage_ms(const struct keeper *keeper)
{
    uint64_t total_ms = keeper->options->quit_ms ? keeper->options->quit_ms : QUIT_DEFAULT_MS;
    uint64_t end_us = keeper->quit_started_us + total_ms * stages[keeper->quit].until_percent * 10u;
    uint64_t now_us = loop_now_us(keeper->loop);
    uint64_t left_ms = end_us > now_us ? (end_us - now_us) / 1000u : 0;

    if (keeper->quit_signals > 2)
        return 0;
    return keeper->quit_signals == 2 ? MIN(left_ms, (uint64_t)HURRY_MS) : left_ms;
}

static void tell_stage(struct keeper *keeper, uint64_t left_ms)
{
    uint64_t grace_ms = left_ms * 9 / 10; /* so that they end before they are ended */

    for (size_t i = 0; i < keeper->role_count; i++) {
        if (keeper->roles[i].entry->role == stages[keeper->quit].role)
            role_quit(&keeper->roles[i], grace_ms);
    }
    if (keeper->quit == QUIT_UNITS)
        units_stop_all(keeper, SIGTERM, grace_ms / 2);
}

void quit_tell_role(struct role *role)
{
    if (role->keeper->quit != QUIT_NOT && role->keeper->quit == stage_of(role))
        role_quit(role, stage_ms(role->keeper) * 9 / 10);
}

static void close_listeners(struct keeper *keeper)
{
    /* The edges have theirs; once they close them, new clients are refused rather than left
     * waiting. */
    for (size_t i = 0; i < keeper->listener_count; i++)
        fd_closep(&keeper->listeners[i].fd);
    keeper->listener_count = 0;
}

static void close_access_pipes(struct keeper *keeper)
{
    for (size_t i = 0; i < keeper->role_count; i++)
        fd_closep(&keeper->roles[i].access_writer); /* logd sees their end */
}

static void quit_enter(struct keeper *keeper, enum quit_stage stage)
{
    uint64_t left_ms;

    log_info("%s -> %s", stages[keeper->quit].name, stages[stage].name);
    keeper->quit = stage;
    keeper->is_stage_overdue = false;
    systemd_send(keeper, "%sSTATUS=%s", stage == QUIT_EDGES ? "STOPPING=1\n" : "",
                 stages[stage].name);
    if (stage == QUIT_EDGES)
        close_listeners(keeper);
    if (stage == QUIT_UNITS)
        directories_stop(keeper);
    if (stage == QUIT_LOGD)
        close_access_pipes(keeper);
    if (stage == QUIT_DONE) {
        loop_timer_stop(&keeper->quit_timer);
        loop_stop(keeper->loop);
        return;
    }
    left_ms = stage_ms(keeper);
    tell_stage(keeper, left_ms);
    loop_timer_start_in(keeper->loop, &keeper->quit_timer, left_ms * 1000u);
}

static bool is_stage_over(const struct keeper *keeper)
{
    for (size_t i = 0; i < keeper->role_count; i++) {
        const struct role *role = &keeper->roles[i];

        if (role->entry->role == stages[keeper->quit].role && role->state != ROLE_ENDED)
            return false;
    }
    return keeper->quit != QUIT_UNITS ||
           (units_running(keeper) == 0 && directories_pending(keeper) == 0);
}

void quit_advance(struct keeper *keeper)
{
    /* What runs below may end things, and so come here again. */
    if (keeper->quit == QUIT_NOT || keeper->is_quit_advancing)
        return;
    keeper->is_quit_advancing = true;
    while (keeper->quit != QUIT_DONE && is_stage_over(keeper))
        quit_enter(keeper, keeper->quit + 1);
    keeper->is_quit_advancing = false;
}

static void quit_go_on_without(struct keeper *keeper)
{
    log_error("%s: what does not end on SIGKILL is left behind (waiting for a disk?)",
              stages[keeper->quit].name);
    keeper->is_quit_incomplete = true;
    quit_enter(keeper, keeper->quit + 1);
    quit_advance(keeper);
}

static void quit_overdue(struct loop_timer *timer)
{
    struct keeper *keeper = container_of(timer, struct keeper, quit_timer);

    if (keeper->is_stage_overdue) {
        quit_go_on_without(keeper);
        return;
    }
    log_warning("%s takes too long: killed", stages[keeper->quit].name);
    keeper->is_stage_overdue = true;
    loop_timer_start_in(keeper->loop, timer, LAST_RESORT_MS * 1000u);
    for (size_t i = 0; i < keeper->role_count; i++) {
        struct role *role = &keeper->roles[i];

        if (role->entry->role != stages[keeper->quit].role)
            continue;
        role_kill(role);
        role_quit(role, 0); /* one that waits for its restart ends here */
    }
    if (keeper->quit == QUIT_UNITS)
        units_stop_all(keeper, SIGKILL, 0);
    quit_advance(keeper);
}

void quit_request(struct keeper *keeper)
{
    keeper->quit_signals++;
    if (keeper->quit == QUIT_NOT) {
        keeper->quit_started_us = loop_now_us(keeper->loop);
        keeper->quit_timer.on_timer = quit_overdue;
        upgrade_stop(keeper);
        quit_enter(keeper, QUIT_EDGES);
        quit_advance(keeper);
        return;
    }
    if (keeper->quit == QUIT_DONE)
        return;
    log_info(keeper->quit_signals == 2 ? "told again: in a hurry"
                                       : "told once more: killing what is left");
    if (keeper->is_stage_overdue)
        return; /* all of it was killed already */
    tell_stage(keeper, stage_ms(keeper));
    loop_timer_start_in(keeper->loop, &keeper->quit_timer, stage_ms(keeper) * 1000u);
}
