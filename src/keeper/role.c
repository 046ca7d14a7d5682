/* Roles: started again whenever they die, with all that the one before had.
 *
 *   DOWN ── start ──► STARTING ── READY ──► SERVING
 *    ▲                   │ dies               │ dies
 *    └───────────────────┴────────────────────┘
 *   any ── QUIT ──► QUITTING ── ends ──► ENDED
 *                      └── replaced (an upgrade) ── ends ──► STARTING
 */
#include "keeper/keeper_private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/counters.h"
#include "os/file.h"
#include "os/memory.h"
#include "os/socket.h"
#include "os/spawn.h"
#include "os/users.h"

/* One that lived this long did not die of its start. */
#define STEADY_US        (10u * 1000000u)
#define BACKOFF_FIRST_US 10000u
/* A role that is killed again and again must still be back within 200 ms; one that cannot start
 * costs seven attempts a second. */
#define BACKOFF_LAST_US (140u * 1000u)
#define ROLE_OOM_SCORE  (-500)
#define MESSAGE_MAX     (32u * 1024u)
/* From the end of the grace to SIGKILL. */
#define RETIRE_MARGIN_US (5u * 1000000u)

static const char *const state_names[ROLE_STATE_COUNT] = {
#define X(state, name) [state] = name,
    ROLE_STATES(X)
#undef X
};

const char *role_state_name(enum role_state state)
{
    return state_names[state];
}

const char *role_name(const struct role *role)
{
    return role->title + strlen(KEEPER_TITLE_PREFIX);
}

static void role_set_state(struct role *role, enum role_state state)
{
    log_debug("%s (pid %d): %s -> %s", role_name(role), (int)role->pid, state_names[role->state],
              state_names[state]);
    role->state = state;
}

bool role_is_up(const struct role *role)
{
    return role->pid > 0;
}

void role_kill(struct role *role)
{
    if (role_is_up(role))
        (void)kill(role->pid, SIGKILL);
}

/* ---- its channel */

void role_post(struct role *role, const void *message, size_t len, const char *const *strings,
               size_t string_count, int fd)
{
    static char bytes[MESSAGE_MAX];
    size_t total = len;

    if (!role_is_up(role))
        return;
    assert(len <= sizeof bytes);
    memcpy(bytes, message, len);
    for (size_t i = 0; i < string_count; i++) {
        size_t size = strlen(strings[i]) + 1;

        assert(size <= sizeof bytes - total); /* every string was limited when it came in */
        memcpy(bytes + total, strings[i], size);
        total += size;
    }
    /* ERR_IO: it has closed its end. It may be storing its last things; its exit tells the rest. */
    if (channel_post(&role->channel, bytes, total, &fd, fd >= 0 ? 1 : 0) == ERR_LIMIT) {
        log_warning("%s does not read its messages: it is started anew", role_name(role));
        role_kill(role);
    }
}

static void channel_message(struct channel *channel, const void *message, size_t len, int *fds,
                            size_t fd_count)
{
    request_received(container_of(channel, struct role, channel), message, len, fds, fd_count);
}

static void channel_gone(struct channel *channel)
{
    struct role *role = container_of(channel, struct role, channel);

    /* A role without its channel is of no use; one that is ending ends on its own. */
    if (role->state != ROLE_QUITTING)
        role_kill(role);
}

/* ---- start */

static uint64_t backoff_us(const struct role *role)
{
    uint64_t delay = BACKOFF_FIRST_US;

    if (role->quick_deaths == 0)
        return 0;
    for (unsigned i = 1; i < role->quick_deaths && delay < BACKOFF_LAST_US; i++)
        delay *= 2;
    return MIN(delay, (uint64_t)BACKOFF_LAST_US);
}

static int role_spawn(struct role *role, int channel_fd, struct error *err)
{
    struct keeper *keeper = role->keeper;
    char *argv[] = {role->title, NULL};
    struct spawn spawn = {
        .argv = argv,
        .envp = keeper->role_environment,
        .exec_fd = keeper->binary.fd,
        .working_directory = "/",
        .stdin_fd = -1,
        .stdout_fd = STDERR_FILENO,
        .stderr_fd = -1,
        .channel_fd = channel_fd,
        .is_session_leader = true, /* Ctrl-C on the terminal is for the keeper alone */
        .is_privilege_final = true,
        .oom_score_adj = ROLE_OOM_SCORE,
        .is_user_switched = keeper->policy.is_root,
        .uid = role->uid,
        .gid = role->gid,
    };

    return spawn_start(&spawn, &role->pid, &role->result_fd, err);
}

static int role_begin(struct role *role, struct error *err)
{
    CLEANUP(fd_closep) int theirs = -1;
    int fds[2];
    int code = channel_pair(fds, err);

    if (code < 0)
        return code;
    theirs = fds[1];
    role->channel = (struct channel){.on_message = channel_message, .on_closed = channel_gone};
    code = channel_start(&role->channel, role->keeper->loop, fds[0], err);
    if (code < 0)
        return code;
    code = role_spawn(role, theirs, err);
    if (code < 0)
        channel_stop(&role->channel);
    return code;
}

static void role_plan_restart(struct role *role)
{
    uint64_t delay_us = backoff_us(role);

    role->quick_deaths++;
    if (delay_us)
        loop_timer_start_in(role->keeper->loop, &role->timer, delay_us);
    else
        role_start(role);
}

void role_start(struct role *role)
{
    const struct binary *binary = &role->keeper->binary;
    struct error err = {0};

    role->binary = binary->id;
    memcpy(role->version, binary->version, sizeof role->version);
    role->is_replaced = role->is_retiring = false;
    role->started_at_us = clock_monotonic_us();
    role->started_wall_us = clock_wall_us();
    role->life++;
    if (role_begin(role, &err) < 0) {
        log_failure(&err, "unable to start %s", role_name(role));
        role->quick_deaths = MAX(role->quick_deaths, 1u); /* not again within this call */
        role_plan_restart(role);
        return;
    }
    role_set_state(role, ROLE_STARTING);
    handover_role(role);
    handover_state(role);
    /* Started again while the platform ends: it has what is left of its stage. */
    quit_tell_role(role);
}

/* Down: it has waited long enough. Up: it was told to end, and has not. */
void role_timer_due(struct loop_timer *timer)
{
    struct role *role = container_of(timer, struct role, timer);

    if (!role_is_up(role)) {
        role_start(role);
        return;
    }
    log_info("%s (pid %d) did not end in time: SIGKILL", role_name(role), (int)role->pid);
    role_kill(role);
}

static bool is_platform_ready(const struct keeper *keeper)
{
    for (size_t i = 0; i < keeper->role_count; i++) {
        if (keeper->roles[i].state != ROLE_SERVING &&
            keeper->roles[i].entry->role != KEEPER_ROLE_LOGD)
            return false;
    }
    return true;
}

void role_ready(struct role *role)
{
    struct keeper *keeper = role->keeper;

    if (role->state != ROLE_STARTING)
        return;
    role_set_state(role, ROLE_SERVING);
    log_info("%s is ready after %u ms (pid %d)", role_name(role),
             (unsigned)((clock_monotonic_us() - role->started_at_us) / 1000), (int)role->pid);
    handover_state(role);
    upgrade_role_ready(role);
    if (keeper->was_ready || !is_platform_ready(keeper))
        return;
    keeper->was_ready = true;
    systemd_send(keeper, "READY=1\nSTATUS=serving on %s",
                 listener_first(keeper, KEEPER_LISTENER_HTTP)->address);
    log_info("the platform is ready on %s", listener_first(keeper, KEEPER_LISTENER_HTTP)->address);
}

/* ---- end */

static void log_end(struct role *role, int wait_status)
{
    struct error err = {0};
    int code = spawn_result(role->result_fd, role->title, &err);

    if (code < 0 && code != ERR_UNAVAILABLE)
        log_failure(&err, "%s", role_name(role));
    else if (role->state == ROLE_QUITTING)
        log_debug("%s ended", role_name(role));
    else if (WIFSIGNALED(wait_status))
        log_warning("%s (pid %d) was killed by signal %d (%s)", role_name(role), (int)role->pid,
                    WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)));
    else
        log_warning("%s (pid %d) exited with status %d", role_name(role), (int)role->pid,
                    WEXITSTATUS(wait_status));
}

/* Nobody counts there any more: what was in flight is not. */
static void gauges_clear(struct role *role)
{
    struct counters *counters;
    void *base;
    size_t size;

    if (memory_map(role->counters_fd, true, false, &base, &size, NULL) < 0)
        return;
    counters = base;
    if (size >= sizeof *counters) {
        counters->connections = 0;
        for (size_t i = 0; i < COUNTERS_ENDPOINTS_MAX; i++)
            counters->endpoints[i].in_flight = counters->endpoints[i].tunnels = 0;
    }
    memory_unmap(base, size);
}

static void edge_retired(struct role *role)
{
    log_info("%s has drained", role_name(role));
    fd_closep(&role->access_writer); /* logd sees the end */
    gauges_clear(role);
    role_set_state(role, ROLE_ENDED);
    handover_state(role);
    quit_advance(role->keeper);
}

void role_exited(struct role *role, int wait_status)
{
    bool is_done =
        role->state == ROLE_QUITTING && WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;

    log_end(role, wait_status);
    channel_stop(&role->channel);
    fd_close(role->result_fd);
    role->result_fd = -1;
    role->pid = 0;
    loop_timer_stop(&role->timer);
    if (role->is_retiring) {
        edge_retired(role);
        return;
    }
    if (role->is_replaced && role->keeper->quit == QUIT_NOT) {
        role->quick_deaths = 0;
        role_start(role);
        return;
    }
    if (clock_monotonic_us() - role->started_at_us >= STEADY_US)
        role->quick_deaths = 0;
    if (!quit_allows_restart(role, is_done)) {
        role_set_state(role, ROLE_ENDED);
        handover_state(role);
        quit_advance(role->keeper);
        return;
    }
    role->restarts++;
    role->deaths++;
    role_set_state(role, ROLE_DOWN);
    handover_state(role);
    role_plan_restart(role);
    upgrade_role_died(role, wait_status);
}

static void post_quit(struct role *role, uint64_t grace_ms, uint32_t flags)
{
    struct keeper_quit message = {.header = {.type = KEEPER_QUIT},
                                  .grace_ms = (uint32_t)MIN(grace_ms, (uint64_t)UINT32_MAX),
                                  .flags = flags};

    if (role->state != ROLE_QUITTING)
        role_set_state(role, ROLE_QUITTING);
    role_post(role, &message, sizeof message, NULL, 0, -1);
}

void role_quit(struct role *role, uint64_t grace_ms)
{
    if (!role_is_up(role)) {
        if (!quit_allows_restart(role, false)) {
            loop_timer_stop(&role->timer);
            role_set_state(role, ROLE_ENDED);
        }
        return;
    }
    loop_timer_stop(&role->timer); /* the stage has a deadline of its own */
    role->is_replaced = false;
    post_quit(role, grace_ms, 0);
}

void role_replace(struct role *role, uint32_t grace_ms)
{
    if (!role_is_up(role)) {
        loop_timer_stop(&role->timer);
        role->quick_deaths = 0;
        role_start(role);
        return;
    }
    role->is_replaced = true;
    post_quit(role, grace_ms, KEEPER_QUIT_REPLACED);
    loop_timer_start_in(role->keeper->loop, &role->timer, (uint64_t)grace_ms * 1000u);
    handover_state(role);
}

void edge_retire(struct role *role, uint32_t grace_ms)
{
    role->is_retiring = true;
    if (!role_is_up(role)) {
        loop_timer_stop(&role->timer);
        edge_retired(role);
        return;
    }
    post_quit(role, grace_ms, KEEPER_QUIT_REPLACED);
    loop_timer_start_in(role->keeper->loop, &role->timer,
                        (uint64_t)grace_ms * 1000u + RETIRE_MARGIN_US);
    handover_state(role);
}

enum keeper_role_phase role_phase(const struct role *role)
{
    static const enum keeper_role_phase phases[ROLE_STATE_COUNT] = {
        [ROLE_DOWN] = KEEPER_PHASE_DOWN,       [ROLE_STARTING] = KEEPER_PHASE_STARTING,
        [ROLE_SERVING] = KEEPER_PHASE_SERVING, [ROLE_QUITTING] = KEEPER_PHASE_DRAINING,
        [ROLE_ENDED] = KEEPER_PHASE_GONE,
    };

    return phases[role->state];
}

/* ---- from one binary to the next */

/* Its process lives; what the timer was for follows from the state. */
void role_resumed(struct role *role, int channel_fd, uint64_t timer_at_us)
{
    struct error err = {0};

    role->channel = (struct channel){.on_message = channel_message, .on_closed = channel_gone};
    if (role_is_up(role) &&
        channel_start(&role->channel, role->keeper->loop, channel_fd, &err) < 0) {
        log_failure(&err, "%s is started anew", role_name(role));
        role_kill(role);
    }
    if (timer_at_us)
        loop_timer_start(role->keeper->loop, &role->timer, timer_at_us);
}
