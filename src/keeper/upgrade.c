/* Another binary in the keeper's place, and then in every role's.
 *
 *   IDLE ─ UPGRADE ─► COPY ─ it is ours ─► TRIAL ─ can go on with the state ─► REST
 *    ▲                  └──── else: refused, nothing is changed ◄──┴────────────────┤
 *    │                                                                no message is under way
 *    │                                                                              ▼
 *    │                                                                        (execution)
 *    └─ 3 s without trouble ─ WATCH ◄─ EDGES ◄─ CONTROL ◄─ LOGD ◄─ SIGNER ◄─────────┘
 *
 * The edges of both binaries accept until the end of WATCH; only then those of the old one drain.
 * So whatever goes wrong before, the old ones are still there: the keeper executes the old binary
 * again (phase RETURNING) and goes through the same stages, in which only what runs the failed
 * binary is replaced. A role that is slow to start, or dies a second time, is what "goes wrong"
 * means.
 */
#include "keeper/keeper_private.h"

#include <sys/wait.h>

#include "base/clock.h"
#include "os/file.h"

#define COPY_PAUSE_US 1000u
#define TRIAL_US      (5u * 1000000u)
#define REST_LOOK_US  5000u
#define REST_US       (10u * 1000000u)
#define STAGE_US      (30u * 1000000u)
#define WATCH_US      (3u * 1000000u)
#define DEATHS_MAX    2u
#define REPLACE_MS    5000u
#define DRAIN_MAX_MS  (24u * 3600u * 1000u)

static_assert(STAGE_US + TRIAL_US + REST_US < KEEPER_UPGRADE_ANSWER_MAX_MS * 1000u,
              "control would give up before the answer");

static const char *const stage_texts[UPGRADE_STAGE_COUNT] = {
#define X(stage, text) [stage] = text,
    UPGRADE_STAGES(X)
#undef X
};

static enum keeper_role role_of(enum upgrade_stage stage)
{
    switch (stage) {
    case UPGRADE_SIGNER:
        return KEEPER_ROLE_SIGNER;
    case UPGRADE_LOGD:
        return KEEPER_ROLE_LOGD;
    case UPGRADE_CONTROL:
        return KEEPER_ROLE_CONTROL;
    case UPGRADE_EDGES:
        return KEEPER_ROLE_EDGE;
    default:
        return KEEPER_ROLE_COUNT;
    }
}

static void upgrade_enter(struct keeper *keeper, enum upgrade_stage stage);

/* ---- telling */

void upgrade_describe(const struct keeper *keeper, struct role *to)
{
    const struct upgrade *upgrade = &keeper->upgrade;
    struct keeper_upgrade_state message = {
        .header = {.type = KEEPER_UPGRADE_STATE},
        .upgrade = upgrade->id,
        .phase = upgrade->phase,
        .code = upgrade->code,
        .is_back = upgrade->is_back,
        .started_at_us = upgrade->started_wall_us,
        .ended_at_us = upgrade->ended_wall_us,
    };
    const char *strings[] = {upgrade->from, upgrade->to, stage_texts[upgrade->stage],
                             upgrade->reason, upgrade->hint};

    role_post(to, &message, sizeof message, strings, ARRAY_LEN(strings), -1);
}

static void upgrade_tell(struct keeper *keeper)
{
    struct role *control = role_find(keeper, KEEPER_ROLE_CONTROL, 0);

    if (control)
        upgrade_describe(keeper, control);
}

static void upgrade_set_stage(struct keeper *keeper, enum upgrade_stage stage)
{
    if (*stage_texts[stage])
        log_info("upgrade %u: %s", keeper->upgrade.id, stage_texts[stage]);
    keeper->upgrade.stage = stage;
}

static void upgrade_let_go(struct upgrade *upgrade)
{
    loop_timer_stop(&upgrade->timer);
    loop_timer_stop(&upgrade->look);
    binary_copy_stop(&upgrade->running);
    binary_copy_stop(&upgrade->wanted);
    binary_close(&upgrade->candidate);
}

static void upgrade_end(struct keeper *keeper, enum keeper_upgrade_phase phase)
{
    struct upgrade *upgrade = &keeper->upgrade;

    upgrade_let_go(upgrade);
    upgrade->phase = phase;
    upgrade->ended_wall_us = clock_wall_us();
    upgrade_set_stage(keeper, UPGRADE_IDLE);
    upgrade_tell(keeper);
}

static void upgrade_note_failure(struct upgrade *upgrade, const struct error *err)
{
    upgrade->code = err->code;
    (void)snprintf(upgrade->reason, sizeof upgrade->reason, "%.*s", (int)sizeof upgrade->reason - 1,
                   err->text);
    (void)snprintf(upgrade->hint, sizeof upgrade->hint, "%.*s", (int)sizeof upgrade->hint - 1,
                   err->hint);
}

/* Once: what comes after the answer, UPGRADE_STATE tells. */
static void upgrade_answer(struct keeper *keeper, const struct error *err)
{
    struct upgrade *upgrade = &keeper->upgrade;

    request_reply(keeper, upgrade->control_life, upgrade->request, err);
    upgrade->request = 0;
}

void upgrade_refuse(struct keeper *keeper, const struct error *err)
{
    struct upgrade *upgrade = &keeper->upgrade;

    log_failure(err, "upgrade %u is refused", upgrade->id);
    upgrade_note_failure(upgrade, err);
    upgrade_end(keeper, KEEPER_UPGRADE_REFUSED);
    upgrade_answer(keeper, err);
}

/* ---- the execution */

static void execute_candidate(struct keeper *keeper)
{
    struct upgrade *upgrade = &keeper->upgrade;
    struct binary spare = keeper->spare;
    struct error err = {0};

    keeper->spare = keeper->before;
    keeper->before = keeper->binary;
    keeper->binary = upgrade->candidate;
    if (keeper_execute(keeper, &err) < 0) {
        keeper->binary = keeper->before;
        keeper->before = keeper->spare;
        keeper->spare = spare;
        upgrade_refuse(keeper, &err);
    }
}

static void execute_before(struct keeper *keeper)
{
    struct binary failed = keeper->binary;
    struct error err = {0};

    keeper->binary = keeper->before;
    keeper->before = keeper->spare;
    keeper->spare = (struct binary){.fd = -1};
    if (keeper_execute(keeper, &err) == 0)
        return;
    error_wrap(&err, "unable to return to the old binary; the new one goes on");
    log_failure(&err, "upgrade %u", keeper->upgrade.id);
    upgrade_note_failure(&keeper->upgrade, &err);
    keeper->spare = keeper->before;
    keeper->before = keeper->binary;
    keeper->binary = failed;
    upgrade_end(keeper, KEEPER_UPGRADE_RETURNED);
}

/* ---- rest: what was told to the roles has reached them */

static struct role *find_unread(struct keeper *keeper)
{
    for (size_t i = 0; i < keeper->role_count; i++) {
        if (role_is_up(&keeper->roles[i]) && keeper->roles[i].channel.queued_bytes)
            return &keeper->roles[i];
    }
    return NULL;
}

static void rest_came(struct keeper *keeper)
{
    loop_timer_stop(&keeper->upgrade.look);
    if (keeper->upgrade.phase == KEEPER_UPGRADE_RETURNING)
        execute_before(keeper);
    else
        execute_candidate(keeper);
}

static void rest_look(struct keeper *keeper)
{
    struct upgrade *upgrade = &keeper->upgrade;

    if (find_unread(keeper))
        return;
    if (upgrade->phase == KEEPER_UPGRADE_TRYING) {
        upgrade_answer(keeper, NULL);
        upgrade->phase = KEEPER_UPGRADE_REPLACING;
        upgrade_tell(keeper);
        if (find_unread(keeper))
            return;
    }
    rest_came(keeper);
}

/* Whoever does not read is of the failed binary, or starts anew just as well. */
static void rest_force(struct keeper *keeper)
{
    for (struct role *role = find_unread(keeper); role; role = find_unread(keeper)) {
        role_kill(role);
        channel_stop(&role->channel);
    }
    rest_came(keeper);
}

static void rest_overdue(struct keeper *keeper)
{
    const struct role *role;
    struct error err = {0};

    if (keeper->upgrade.phase == KEEPER_UPGRADE_RETURNING) {
        rest_force(keeper);
        return;
    }
    rest_look(keeper);
    role = find_unread(keeper);
    if (keeper->upgrade.stage != UPGRADE_REST || !role)
        return;
    error_set(&err, ERR_UNAVAILABLE, "%s does not read its messages", role_name(role));
    error_hint(&err, "try again; if it stays so, end that process: it is started anew");
    upgrade_refuse(keeper, &err);
}

void upgrade_tried(struct keeper *keeper)
{
    const struct upgrade *upgrade = &keeper->upgrade;

    log_info("upgrade %u: from %s to %s", upgrade->id, upgrade->from, upgrade->to);
    upgrade_enter(keeper, UPGRADE_REST);
}

/* ---- the beginning */

static int upgrade_check(const struct keeper *keeper, const struct keeper_upgrade *wanted,
                         struct error *err)
{
    if (keeper->upgrade.stage != UPGRADE_IDLE) {
        error_set(err, ERR_CONFLICT, "another upgrade is under way: %s",
                  stage_texts[keeper->upgrade.stage]);
        return error_hint(err, "wait for its end; 'slipway status' shows it");
    }
    if (keeper->quit != QUIT_NOT || !keeper->was_ready) {
        error_set(err, ERR_UNAVAILABLE, "the platform is %s",
                  keeper->was_ready ? "stopping" : "starting");
        return error_hint(err, "try again in a moment");
    }
    if (wanted->kind == KEEPER_UPGRADE_BACK && !keeper->before.id) {
        error_set(err, ERR_NOT_FOUND, "there is no binary to go back to");
        return error_hint(err, "this one has run since the platform started; name another with "
                               "'slipway upgrade BINARY'");
    }
    if (!keeper_upgrade_is_after(wanted->upgrade, keeper->upgrade.id))
        return error_set(err, ERR_INVALID, "the upgrade's number is not valid");
    if (edges_addable(keeper) < keeper->options->edge_count) {
        error_set(err, ERR_UNAVAILABLE,
                  "the edges of earlier upgrades still drain; no more than "
                  "%u can be there",
                  KEEPER_EDGES_MAX);
        return error_hint(err, "try again when 'slipway status' shows fewer, or serve with fewer "
                               "--edges");
    }
    return 0;
}

/* ---- the copies */

static int copies_begin(struct keeper *keeper, enum keeper_upgrade_kind kind, const char *path,
                        struct error *err)
{
    struct upgrade *upgrade = &keeper->upgrade;
    int code = 0;

    if (!keeper->binary.is_private)
        code = binary_copy_begin_running(keeper, &upgrade->running, err);
    if (code < 0)
        return code;
    if (kind == KEEPER_UPGRADE_BACK)
        return binary_dup(keeper, &keeper->before, &upgrade->candidate, err);
    return binary_copy_begin(keeper, kind == KEEPER_UPGRADE_TO_PATH ? path : keeper->start_path,
                             &upgrade->wanted, err);
}

/* 1: there is more to copy. */
static int copies_step(struct keeper *keeper, struct error *err)
{
    struct upgrade *upgrade = &keeper->upgrade;
    bool is_running = upgrade->running.from >= 0;
    int fd = -1, code = 0;

    if (is_running)
        code = binary_copy_step(&upgrade->running, &fd, err);
    else if (upgrade->wanted.from >= 0)
        code = binary_copy_step(&upgrade->wanted, &fd, err);
    else
        return 0;
    if (code != 0)
        return code;
    if (is_running) {
        fd_close(keeper->binary.fd);
        keeper->binary.fd = fd;
        keeper->binary.is_private = true;
    } else {
        upgrade->candidate =
            (struct binary){.id = ++keeper->last_binary, .fd = fd, .is_private = true};
    }
    return 1;
}

static void copy_on(struct keeper *keeper)
{
    struct error err = {0};
    int code = copies_step(keeper, &err);

    if (code == 0) {
        upgrade_enter(keeper, UPGRADE_TRIAL);
        code = trial_start(keeper, &err);
    }
    if (code < 0)
        upgrade_refuse(keeper, &err);
}

int upgrade_begin(struct keeper *keeper, const struct keeper_upgrade *wanted, const char *path,
                  uint64_t control_life, struct error *err)
{
    struct upgrade *upgrade = &keeper->upgrade;
    int code = upgrade_check(keeper, wanted, err);

    if (code < 0)
        return code;
    upgrade->id = wanted->upgrade;
    upgrade->is_back = wanted->kind == KEEPER_UPGRADE_BACK;
    upgrade->drain_ms = MIN(wanted->drain_ms, DRAIN_MAX_MS);
    upgrade->started_wall_us = clock_wall_us();
    upgrade->ended_wall_us = 0;
    upgrade->code = 0;
    upgrade->to[0] = upgrade->reason[0] = upgrade->hint[0] = '\0';
    memcpy(upgrade->from, keeper->binary.version, sizeof upgrade->from);
    upgrade->request = wanted->header.request;
    upgrade->control_life = control_life;
    upgrade->phase = KEEPER_UPGRADE_TRYING;
    upgrade_enter(keeper, UPGRADE_COPY);
    code = copies_begin(keeper, (enum keeper_upgrade_kind)wanted->kind, path, err);
    if (code < 0)
        upgrade_refuse(keeper, err); /* replies, too */
    return 0;
}

/* ---- the roles */

static void upgrade_fail(struct keeper *keeper, struct error *err)
{
    struct upgrade *upgrade = &keeper->upgrade;

    if (upgrade->phase == KEEPER_UPGRADE_RETURNING || !keeper->before.id) {
        /* The binary that ran before is in trouble as well: its roles are started again and again,
         * as always. */
        log_failure(err, "upgrade %u: the old binary is not healthy either", upgrade->id);
        upgrade_end(keeper, KEEPER_UPGRADE_RETURNED);
        return;
    }
    error_hint(err, "the platform's own log says more");
    log_failure(err, "upgrade %u failed, returning to %s", upgrade->id, keeper->before.version);
    upgrade_note_failure(upgrade, err);
    upgrade->phase = KEEPER_UPGRADE_RETURNING;
    upgrade_enter(keeper, UPGRADE_REST);
}

static void edges_retire_all_but_current(struct keeper *keeper)
{
    unsigned surplus = edges_current(keeper);

    surplus -= MIN(surplus, keeper->options->edge_count);
    for (size_t i = keeper->role_count; i-- > 0;) {
        struct role *role = &keeper->roles[i];

        if (role->entry->role != KEEPER_ROLE_EDGE || role->is_retiring ||
            role->state == ROLE_ENDED || (role_is_current(role) && surplus == 0))
            continue;
        surplus -= role_is_current(role);
        edge_retire(role, keeper->upgrade.drain_ms);
    }
}

static void upgrade_finish(struct keeper *keeper)
{
    bool is_return = keeper->upgrade.phase == KEEPER_UPGRADE_RETURNING;

    edges_retire_all_but_current(keeper);
    binary_close(&keeper->spare);
    log_info("upgrade %u: %s %s", keeper->upgrade.id,
             is_return ? "all is again on" : "all is healthy on", keeper->binary.version);
    systemd_send(keeper, "STATUS=serving on %s, version %s",
                 listener_first(keeper, KEEPER_LISTENER_HTTP)->address, keeper->binary.version);
    upgrade_end(keeper, is_return ? KEEPER_UPGRADE_RETURNED : KEEPER_UPGRADE_DONE);
}

/* Quiet for WATCH_US: nobody died, and all serve. */
static void watch_due(struct keeper *keeper)
{
    struct upgrade *upgrade = &keeper->upgrade;
    const struct role *role = role_find_unready(keeper, KEEPER_ROLE_COUNT);
    unsigned deaths = roles_deaths(keeper);
    struct error err = {0};

    if (!role && deaths == upgrade->deaths_seen) {
        upgrade_finish(keeper);
        return;
    }
    upgrade->deaths_seen = deaths;
    if (loop_now_us(keeper->loop) - upgrade->watch_started_us < STAGE_US) {
        loop_timer_start_in(keeper->loop, &upgrade->timer, WATCH_US);
        return;
    }
    error_set(&err, ERR_FAILED, "%s is not ready 30 s after all roles were replaced",
              role ? role_name(role) : "a role");
    upgrade_fail(keeper, &err);
}

static void look_due(struct loop_timer *timer)
{
    struct keeper *keeper = container_of(timer, struct keeper, upgrade.look);
    bool is_copying = keeper->upgrade.stage == UPGRADE_COPY;

    loop_timer_start_in(keeper->loop, timer, is_copying ? COPY_PAUSE_US : REST_LOOK_US);
    if (is_copying)
        copy_on(keeper);
    else
        rest_look(keeper);
}

static void timer_due(struct loop_timer *timer)
{
    struct keeper *keeper = container_of(timer, struct keeper, upgrade.timer);
    struct upgrade *upgrade = &keeper->upgrade;
    const struct role *role;
    struct error err = {0};

    switch (upgrade->stage) {
    case UPGRADE_COPY:
        error_set(&err, ERR_TIMEOUT, "the program could not be copied within %u s",
                  STAGE_US / 1000000u);
        error_hint(&err, "is the disk of the state folder, or of the program, busy?");
        upgrade_refuse(keeper, &err);
        break;
    case UPGRADE_TRIAL:
        trial_kill(upgrade);
        error_set(&err, ERR_TIMEOUT, "the program did not say within %u s that it can take over",
                  TRIAL_US / 1000000u);
        error_hint(&err, "is it a slipway for this machine?");
        upgrade_refuse(keeper, &err);
        break;
    case UPGRADE_REST:
        rest_overdue(keeper);
        break;
    case UPGRADE_WATCH:
        watch_due(keeper);
        break;
    default:
        role = role_find_unready(keeper, role_of(upgrade->stage));
        error_set(&err, ERR_FAILED, "%s of version %s was not ready within %u s",
                  role ? role_name(role) : "a role", keeper->binary.version, STAGE_US / 1000000u);
        upgrade_fail(keeper, &err);
        break;
    }
}

static void edges_add_missing(struct keeper *keeper)
{
    struct error err = {0};

    for (unsigned count = edges_current(keeper); count < keeper->options->edge_count; count++) {
        if (edge_add(keeper, &err) < 0) {
            log_failure(&err, "unable to add an edge");
            break; /* the stage's deadline decides */
        }
    }
}

static void upgrade_enter(struct keeper *keeper, enum upgrade_stage stage)
{
    struct upgrade *upgrade = &keeper->upgrade;
    struct role *role = role_find(keeper, role_of(stage), 0);
    uint64_t within_us = STAGE_US;

    upgrade_set_stage(keeper, stage);
    upgrade->timer.on_timer = timer_due;
    upgrade->look.on_timer = look_due;
    if (stage == UPGRADE_WATCH && upgrade->phase == KEEPER_UPGRADE_REPLACING)
        upgrade->phase = KEEPER_UPGRADE_WATCHING;
    upgrade_tell(keeper);
    loop_timer_stop(&upgrade->look);
    if (stage == UPGRADE_COPY || stage == UPGRADE_REST)
        loop_timer_start_in(keeper->loop, &upgrade->look, 0);
    if (stage == UPGRADE_TRIAL)
        within_us = TRIAL_US;
    if (stage == UPGRADE_REST)
        within_us = REST_US;
    if (stage == UPGRADE_WATCH) {
        within_us = WATCH_US;
        upgrade->watch_started_us = loop_now_us(keeper->loop);
        upgrade->deaths_seen = roles_deaths(keeper);
    }
    loop_timer_start_in(keeper->loop, &upgrade->timer, within_us);
    if (stage == UPGRADE_EDGES)
        edges_add_missing(keeper);
    else if (role && !role_is_current(role))
        role_replace(role, REPLACE_MS);
}

static void upgrade_advance(struct keeper *keeper)
{
    struct upgrade *upgrade = &keeper->upgrade;

    while (upgrade->stage >= UPGRADE_SIGNER && upgrade->stage < UPGRADE_WATCH) {
        if (role_find_unready(keeper, role_of(upgrade->stage)) ||
            (upgrade->stage == UPGRADE_EDGES &&
             edges_current(keeper) < keeper->options->edge_count))
            return;
        upgrade_enter(keeper, upgrade->stage + 1);
    }
}

void upgrade_resumed(struct keeper *keeper)
{
    struct upgrade *upgrade = &keeper->upgrade;

    if (upgrade->phase != KEEPER_UPGRADE_REPLACING && upgrade->phase != KEEPER_UPGRADE_RETURNING)
        return;
    for (size_t i = 0; i < keeper->role_count; i++)
        keeper->roles[i].deaths = 0;
    /* Those of a binary that failed take no new connections from now on. */
    if (upgrade->phase == KEEPER_UPGRADE_RETURNING)
        edges_retire_all_but_current(keeper);
    upgrade_enter(keeper, UPGRADE_SIGNER);
    upgrade_advance(keeper);
}

void upgrade_role_ready(struct role *role)
{
    upgrade_advance(role->keeper);
}

void upgrade_role_died(struct role *role, int wait_status)
{
    struct keeper *keeper = role->keeper;
    struct error err = {0};

    if (keeper->upgrade.stage < UPGRADE_SIGNER || !role_is_current(role) ||
        role->deaths < DEATHS_MAX || keeper->upgrade.phase == KEEPER_UPGRADE_RETURNING)
        return;
    if (WIFSIGNALED(wait_status))
        error_set(&err, ERR_FAILED, "%s of version %s died twice, of signal %d", role_name(role),
                  keeper->binary.version, WTERMSIG(wait_status));
    else
        error_set(&err, ERR_FAILED, "%s of version %s ended twice, with status %d", role_name(role),
                  keeper->binary.version, WEXITSTATUS(wait_status));
    upgrade_fail(keeper, &err);
}

void upgrade_stop(struct keeper *keeper)
{
    struct upgrade *upgrade = &keeper->upgrade;

    if (upgrade->stage == UPGRADE_IDLE)
        return;
    trial_kill(upgrade);
    upgrade_let_go(upgrade);
    upgrade->stage = UPGRADE_IDLE;
}
