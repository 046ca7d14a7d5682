/* Units: one process tree each, from the fork to the last process's end.
 *
 *   STARTING ── exec fails: the request is refused, the rest goes unseen ────┐
 *      │ exec                                                                │
 *   RUNNING ── the leader ends ─────────────────────────────────────────┐    │
 *      │ STOP                                                           ▼    ▼
 *   STOPPING ── the leader ends, nobody else has the grace ──────────► SWEEPING ─► EXITED ─ FORGET
 *      │ the leader ends, others have the grace                         ▲
 *   LINGERING ── they end, or the grace does ───────────────────────────┘
 *
 * Only EXITED is told to control as the end: by then no process, no port and no lock of the unit is
 * left.
 */
#include "keeper/keeper_private.h"
#include "keeper/resume.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/spawn.h"

#define EXEC_DEADLINE_US  (10u * 1000000u)
#define SWEEP_EVERY_US    5000u
#define SWEEP_DEADLINE_US (30u * 1000000u)
#define GRACE_MAX_MS      (24u * 3600u * 1000u)
#define PIPE_BYTES        (1024 * 1024)
#define PIPE_BYTES_USER   (256 * 1024)
#define NOFILE_DEFAULT    65536u
/* Processes and threads of one unit: far above what a server or a build has, far below what the
 * machine has. */
#define PROCESSES_MAX 8192u

static const char *const state_names[UNIT_STATE_COUNT] = {
#define X(state, name) [state] = name,
    UNIT_STATES(X)
#undef X
};

const char *unit_state_name(enum unit_state state)
{
    return state_names[state];
}

static struct slice unit_key(const uint64_t *id)
{
    return (struct slice){(const char *)id, sizeof *id};
}

static struct unit *unit_find(struct keeper *keeper, uint64_t id)
{
    return map_get(keeper->units_by_id, unit_key(&id));
}

static bool has_leader(const struct unit *unit)
{
    return unit->state == UNIT_STARTING || unit->state == UNIT_RUNNING ||
           unit->state == UNIT_STOPPING;
}

struct unit *unit_find_pid(struct keeper *keeper, pid_t pid)
{
    list_each (node, &keeper->units) {
        struct unit *unit = container_of(node, struct unit, node);

        if (unit->pid == pid && has_leader(unit))
            return unit;
    }
    return NULL;
}

static void unit_free(struct unit *unit)
{
    struct keeper *keeper = unit->keeper;

    loop_timer_stop(&unit->timer);
    if (unit->result.fd >= 0) {
        loop_io_stop(&unit->result);
        fd_close(unit->result.fd);
    }
    if (!list_is_empty(&unit->node)) {
        (void)map_remove(keeper->units_by_id, unit_key(&unit->id));
        list_remove(&unit->node);
        keeper->unit_count--;
    }
    free(unit->tag);
    free(unit->program);
    free(unit);
}

static void unit_freep(struct unit **unit)
{
    if (*unit)
        unit_free(*unit);
}

/* ---- what control sees */

static bool is_told(const struct unit *unit)
{
    return unit->state != UNIT_STARTING && !unit->is_stillborn;
}

void unit_describe(const struct unit *unit, struct role *to)
{
    static const enum keeper_unit_state told[UNIT_STATE_COUNT] = {
        [UNIT_STARTING] = KEEPER_UNIT_RUNNING,  [UNIT_RUNNING] = KEEPER_UNIT_RUNNING,
        [UNIT_STOPPING] = KEEPER_UNIT_STOPPING, [UNIT_LINGERING] = KEEPER_UNIT_STOPPING,
        [UNIT_SWEEPING] = KEEPER_UNIT_STOPPING, [UNIT_EXITED] = KEEPER_UNIT_EXITED,
    };
    const struct timeval *user = &unit->usage.ru_utime, *system = &unit->usage.ru_stime;
    char folders[CGROUP_HIERARCHIES_MAX * CGROUP_PATH_MAX];
    struct keeper_unit message = {
        .header = {.type = KEEPER_UNIT},
        .unit = unit->id,
        .state = told[unit->state],
        .pid = unit->pid,
        .started_at_us = unit->started_wall_us,
        .exited_at_us = unit->exited_wall_us,
        .wait_status = unit->wait_status,
        .is_oom = unit->is_oom,
        .was_killed = unit->was_killed,
        .user_us = (uint64_t)user->tv_sec * 1000000u + (uint64_t)user->tv_usec,
        .system_us = (uint64_t)system->tv_sec * 1000000u + (uint64_t)system->tv_usec,
        .memory_peak_bytes = unit->memory_peak_bytes,
    };
    const char *strings[] = {unit->tag, folders};

    if (!is_told(unit))
        return;
    (void)cgroup_folders(&unit->cgroup, folders, sizeof folders); /* too long: none */
    role_post(to, &message, sizeof message, strings, ARRAY_LEN(strings), -1);
}

static void unit_tell(const struct unit *unit)
{
    struct role *control = role_find(unit->keeper, KEEPER_ROLE_CONTROL, 0);

    if (control)
        unit_describe(unit, control);
}

static void unit_set_state(struct unit *unit, enum unit_state state)
{
    log_debug("unit %" PRIu64 " (%s, pid %d): %s -> %s", unit->id, unit->tag, (int)unit->pid,
              state_names[unit->state], state_names[state]);
    unit->state = state;
}

/* ---- the end */

static void signal_members(const struct unit *unit, int number)
{
    (void)kill(unit->is_leader_only ? unit->pid : -unit->pid, number);
    (void)kill(-unit->pid, SIGCONT); /* a stopped process could not follow */
}

/* While the leader is not reaped its number names its process group for sure. */
static void kill_members(const struct unit *unit)
{
    if (has_leader(unit))
        (void)kill(-unit->pid, SIGKILL);
    cgroup_kill(&unit->cgroup);
}

/* Processes of the unit, now that its leader is gone. */
static bool has_rest(const struct unit *unit)
{
    pid_t any;

    if (unit->cgroup.root)
        return !cgroup_is_empty(&unit->cgroup);
    return proc_session_members(unit->pid, &any, 1) > 0;
}

static void unit_enter_exited(struct unit *unit)
{
    struct keeper *keeper = unit->keeper;

    loop_timer_stop(&unit->timer);
    if (unit->is_stillborn) {
        unit_free(unit);
    } else {
        unit->exited_wall_us = clock_wall_us();
        unit->cgroup = (struct cgroup){0};
        unit_set_state(unit, UNIT_EXITED);
        unit_tell(unit);
    }
    quit_advance(keeper);
}

/* Kill what is left and see whether that was all. */
static void unit_sweep(struct unit *unit)
{
    bool is_over = loop_now_us(unit->keeper->loop) - unit->sweep_started_us >= SWEEP_DEADLINE_US;
    bool is_clear;

    if (unit->cgroup.root) {
        is_clear = cgroup_is_empty(&unit->cgroup) && cgroup_remove(&unit->cgroup);
        if (!is_clear)
            cgroup_kill(&unit->cgroup);
    } else {
        is_clear = orphans_kill(unit->keeper) == 0;
    }
    if (is_clear || is_over) {
        if (!is_clear)
            log_error("unit %" PRIu64
                      " (%s): a process does not end on SIGKILL (waiting for a disk?)",
                      unit->id, unit->tag);
        unit_enter_exited(unit);
        return;
    }
    loop_timer_start_in(unit->keeper->loop, &unit->timer, SWEEP_EVERY_US);
}

static void unit_enter_sweeping(struct unit *unit)
{
    if (unit->cgroup.root) {
        unit->memory_peak_bytes = cgroup_memory_peak(&unit->cgroup);
        unit->is_oom = cgroup_is_oom_killed(&unit->cgroup);
    }
    if (!unit->memory_peak_bytes)
        unit->memory_peak_bytes = (uint64_t)unit->usage.ru_maxrss * 1024u;
    unit_set_state(unit, UNIT_SWEEPING);
    unit->sweep_started_us = loop_now_us(unit->keeper->loop);
    unit_sweep(unit);
}

void units_sweep(struct keeper *keeper)
{
    list_each_safe (node, &keeper->units) {
        struct unit *unit = container_of(node, struct unit, node);

        if (unit->state == UNIT_SWEEPING)
            unit_sweep(unit);
        else if (unit->state == UNIT_LINGERING && !has_rest(unit))
            unit_enter_sweeping(unit);
    }
}

static void unit_grace_over(struct unit *unit)
{
    log_info("unit %" PRIu64 " (%s) did not end in time: SIGKILL", unit->id, unit->tag);
    unit->was_killed = true;
    kill_members(unit);
    if (unit->state == UNIT_LINGERING)
        unit_enter_sweeping(unit);
}

static void unit_begin_stop(struct unit *unit, uint32_t number, uint32_t grace_ms)
{
    struct loop *loop = unit->keeper->loop;
    uint64_t deadline_us = loop_now_us(loop) + (uint64_t)MIN(grace_ms, GRACE_MAX_MS) * 1000u;
    bool is_first = unit->state == UNIT_RUNNING;

    if (is_first)
        unit_set_state(unit, UNIT_STOPPING);
    if (has_leader(unit) && (is_first || number != unit->last_signal))
        signal_members(unit, (int)number);
    unit->last_signal = number;
    if (is_first || deadline_us < unit->timer.deadline_us)
        loop_timer_start(loop, &unit->timer, deadline_us);
    if (is_first)
        unit_tell(unit);
}

int unit_stop(struct keeper *keeper, const struct keeper_stop *stop, struct error *err)
{
    struct unit *unit = unit_find(keeper, stop->unit);

    if (!unit || unit->is_stillborn)
        return error_set(err, ERR_NOT_FOUND, "no unit %" PRIu64, stop->unit);
    switch (unit->state) {
    case UNIT_STARTING: /* it gets the signal once it can have a handler for it */
        unit->pending_signal = stop->signal;
        unit->pending_grace_ms = stop->grace_ms;
        break;
    case UNIT_RUNNING:
    case UNIT_STOPPING:
    case UNIT_LINGERING:
        unit_begin_stop(unit, stop->signal, stop->grace_ms);
        break;
    case UNIT_SWEEPING:
    case UNIT_EXITED:
    case UNIT_STATE_COUNT:
        break;
    }
    return 0;
}

void units_stop_all(struct keeper *keeper, int number, uint64_t grace_ms)
{
    list_each_safe (node, &keeper->units) {
        struct keeper_stop stop = {.unit = container_of(node, struct unit, node)->id,
                                   .signal = (uint32_t)number,
                                   .grace_ms = (uint32_t)MIN(grace_ms, (uint64_t)GRACE_MAX_MS)};

        if (unit_stop(keeper, &stop, NULL) < 0)
            continue; /* stillborn: on its way out */
    }
}

size_t units_running(const struct keeper *keeper)
{
    size_t count = 0;

    list_each (node, &keeper->units)
        count += container_of(node, struct unit, node)->state != UNIT_EXITED;
    return count;
}

int unit_forget(struct keeper *keeper, uint64_t id, struct error *err)
{
    struct unit *unit = unit_find(keeper, id);

    if (!unit)
        return error_set(err, ERR_NOT_FOUND, "no unit %" PRIu64, id);
    if (unit->state != UNIT_EXITED)
        return error_set(err, ERR_CONFLICT, "unit %" PRIu64 " is %s", id, state_names[unit->state]);
    unit_free(unit);
    return 0;
}

/* ---- the beginning */

static void result_close(struct unit *unit)
{
    loop_io_stop(&unit->result);
    fd_close(unit->result.fd);
    unit->result.fd = -1;
}

/* The unit never came to run: whoever asked learns why, and the remains go the way of all units. */
static void unit_fail(struct unit *unit, const struct error *err)
{
    struct keeper *keeper = unit->keeper;

    result_close(unit);
    (void)kill(unit->pid, SIGKILL);
    stream_drop_unit(keeper, unit->id);
    request_reply(keeper, unit->control_life, unit->request, err);
    unit->is_stillborn = true;
    unit_enter_sweeping(unit); /* may free it */
}

static void unit_enter_running(struct unit *unit)
{
    result_close(unit);
    loop_timer_stop(&unit->timer);
    unit_set_state(unit, UNIT_RUNNING);
    unit_tell(unit);
    request_reply(unit->keeper, unit->control_life, unit->request, NULL);
    stream_announce(unit->keeper, unit->id);
    if (unit->pending_signal)
        unit_begin_stop(unit, unit->pending_signal, unit->pending_grace_ms);
}

static void unit_resolve_start(struct unit *unit)
{
    struct error err = {0};
    int code = spawn_result(unit->result.fd, unit->program, &err);

    if (code == 0)
        unit_enter_running(unit);
    else if (code != ERR_UNAVAILABLE)
        unit_fail(unit, &err);
}

static void result_came(struct loop_io *io, unsigned events)
{
    (void)events;
    unit_resolve_start(container_of(io, struct unit, result));
}

static void unit_timer_due(struct loop_timer *timer)
{
    struct unit *unit = container_of(timer, struct unit, timer);
    struct error err = {0};

    switch (unit->state) {
    case UNIT_STARTING:
        error_set(&err, ERR_TIMEOUT, "unable to start '%s': its file system did not answer in %u s",
                  unit->program, EXEC_DEADLINE_US / 1000000u);
        unit_fail(unit, &err);
        break;
    case UNIT_STOPPING:
    case UNIT_LINGERING:
        unit_grace_over(unit);
        break;
    case UNIT_SWEEPING:
        unit_sweep(unit);
        break;
    case UNIT_RUNNING:
    case UNIT_EXITED:
    case UNIT_STATE_COUNT:
        break;
    }
}

void unit_leader_ended(struct unit *unit)
{
    struct keeper *keeper = unit->keeper;
    uint64_t id = unit->id;

    if (unit->state == UNIT_STARTING) {
        unit_resolve_start(unit); /* the answer is there by now: the process is dead */
        unit = unit_find(keeper, id);
        if (!unit)
            return; /* it never ran, and nothing of it is left */
    } else if (unit->state == UNIT_STOPPING && !unit->is_leader_only && !unit->was_killed) {
        return; /* the others were signalled, too, and may finish */
    }
    if (has_leader(unit))
        kill_members(unit);
}

void unit_leader_reaped(struct unit *unit, int wait_status, const struct rusage *usage)
{
    bool has_grace = unit->state == UNIT_STOPPING && !unit->is_leader_only && !unit->was_killed;

    unit->wait_status = wait_status;
    unit->usage = *usage;
    if (has_grace && has_rest(unit)) {
        unit_set_state(unit, UNIT_LINGERING); /* the timer goes on */
        return;
    }
    unit_enter_sweeping(unit);
}

/* "api-1" and 17 → "api-1-17"; what the file system of groups might not like becomes '_'. */
static void group_name(char name[CGROUP_NAME_MAX], const char *wanted, uint64_t id)
{
    (void)snprintf(name, CGROUP_NAME_MAX, "u%.64s-%" PRIu64, wanted, id);
    for (char *at = name; *at; at++) {
        if (!isalnum((unsigned char)*at) && *at != '-' && *at != '_')
            *at = '_';
    }
}

static int unit_make_group(struct unit *unit, const struct message_spawn *spawn, struct error *err)
{
    static bool was_said;
    struct cgroup_limits limits = {.memory_bytes = spawn->fixed.memory_limit_bytes,
                                   .cpu_millis = spawn->fixed.cpu_limit_millis,
                                   .cpu_weight = spawn->fixed.cpu_weight,
                                   .processes = PROCESSES_MAX};
    struct error story = {0};
    char name[CGROUP_NAME_MAX];

    if (!unit->keeper->cgroups.count)
        return 0;
    group_name(name, spawn->cgroup, unit->id);
    if (cgroup_make(&unit->keeper->cgroups, name, &limits, &unit->cgroup, &story) == 0)
        return 0;
    if (story.code != ERR_UNSUPPORTED)
        return error_copy(err, &story);
    if (!was_said)
        log_warning("%s; units run without that limit", story.text);
    was_said = true;
    return 0;
}

/* An output pipe: large, so that a pause of logd is not one of the unit; its writer blocks as
 * programs expect. */
static int output_open(struct unit *unit, const struct message_spawn *spawn,
                       enum keeper_stream_kind kind, int *ret_writer, struct error *err)
{
    CLEANUP(fd_closep) int reader = -1;
    CLEANUP(fd_closep) int writer = -1;
    int ends[2], code;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(err, errno, "unable to make an output pipe");
    reader = ends[0];
    writer = ends[1];
    /* The pipes of one user together may take 64 MiB; then every new one of his shrinks to a page.
     */
    (void)fcntl(writer, F_SETPIPE_SZ, unit->keeper->policy.is_root ? PIPE_BYTES : PIPE_BYTES_USER);
    if (fd_set_nonblocking(reader, true) < 0)
        return error_errno(err, errno, "unable to make a pipe non-blocking");
    code =
        stream_add(unit->keeper, unit->id * 4 + kind, unit->id, kind, spawn->label, &reader, err);
    if (code == 0)
        *ret_writer = TAKE_FD(writer);
    return code;
}

static int unit_fork(struct unit *unit, struct message_spawn *message, int stdin_fd, int stdout_fd,
                     int stderr_fd, struct error *err)
{
    struct keeper *keeper = unit->keeper;
    char procs[SPAWN_CGROUPS_MAX][CGROUP_PATH_MAX];
    char marker[KEEPER_MARKER_SIZE];
    struct spawn spawn = {
        .argv = message->argv,
        .envp = message->envp,
        .exec_fd = message->is_self ? keeper->binary.fd : -1,
        .working_directory = message->working_directory,
        .stdin_fd = stdin_fd,
        .stdout_fd = stdout_fd,
        .stderr_fd = stderr_fd,
        .channel_fd = -1,
        .is_user_switched = keeper->policy.is_root,
        .uid = message->fixed.uid,
        .gid = message->fixed.gid,
        .is_session_leader = true,
        .is_subreaper = !unit->cgroup.root,
        .nofile_limit = message->fixed.nofile_limit ? message->fixed.nofile_limit : NOFILE_DEFAULT,
    };

    for (size_t i = 0; i < SPAWN_CGROUPS_MAX && cgroup_procs_path(&unit->cgroup, i, procs[i]); i++)
        spawn.cgroup_procs[i] = procs[i];
    if (message->is_self)
        message->argv[0] = (char *)(uintptr_t) "slipway"; /* never the title of a role */
    orphans_format_marker(keeper->marker, unit->id, marker);
    message->envp[message->envc] = marker;
    message->envp[message->envc + 1] = NULL;
    return spawn_start(&spawn, &unit->pid, &unit->result.fd, err);
}

static int unit_register(struct unit *unit, struct error *err)
{
    struct keeper *keeper = unit->keeper;

    if (map_put(keeper->units_by_id, unit_key(&unit->id), unit) < 0)
        return error_set(err, ERR_LIMIT, "%u units are known already", KEEPER_UNITS_MAX);
    list_push_back(&keeper->units, &unit->node);
    keeper->unit_count++;
    return 0;
}

static int unit_new(struct keeper *keeper, const struct message_spawn *spawn,
                    struct unit **ret_unit, struct error *err)
{
    CLEANUP(unit_freep) struct unit *unit = calloc(1, sizeof *unit);
    int code;

    if (!unit)
        return error_set(err, ERR_LIMIT, "no memory for a unit");
    unit->keeper = keeper;
    list_init(&unit->node);
    unit->result = (struct loop_io){.fd = -1, .on_event = result_came};
    unit->timer.on_timer = unit_timer_due;
    unit->id = spawn->fixed.unit;
    unit->is_leader_only = spawn->fixed.flags & KEEPER_SPAWN_LEADER_ONLY;
    unit->request = spawn->fixed.header.request;
    unit->started_wall_us = clock_wall_us();
    unit->tag = strdup(spawn->tag);
    unit->program = strdup(spawn->is_self ? "slipway" : spawn->argv[0]);
    if (!unit->tag || !unit->program)
        return error_set(err, ERR_LIMIT, "no memory for a unit");
    code = unit_register(unit, err);
    if (code == 0)
        *ret_unit = TAKE_PTR(unit);
    return code;
}

int unit_spawn(struct keeper *keeper, struct message_spawn *spawn, int *stdin_fd,
               uint64_t control_life, struct error *err)
{
    CLEANUP(fd_closep) int stdout_fd = -1;
    CLEANUP(fd_closep) int stderr_fd = -1;
    struct unit *unit = NULL;
    int code;

    if (keeper->quit >= QUIT_UNITS)
        return error_set(err, ERR_UNAVAILABLE, "the platform is stopping");
    if (unit_find(keeper, spawn->fixed.unit))
        return error_set(err, ERR_EXISTS, "unit %" PRIu64 " exists already", spawn->fixed.unit);
    code = unit_new(keeper, spawn, &unit, err);
    if (code < 0)
        return code;
    unit->control_life = control_life;
    code = unit_make_group(unit, spawn, err);
    if (code == 0)
        code = output_open(unit, spawn, KEEPER_STREAM_STDOUT, &stdout_fd, err);
    if (code == 0)
        code = output_open(unit, spawn, KEEPER_STREAM_STDERR, &stderr_fd, err);
    if (code == 0)
        code = unit_fork(unit, spawn, *stdin_fd, stdout_fd, stderr_fd, err);
    if (code < 0) {
        stream_drop_unit(keeper, unit->id);
        (void)cgroup_remove(&unit->cgroup); /* nothing was in it */
        unit_free(unit);
        return code;
    }
    loop_timer_start_in(keeper->loop, &unit->timer, EXEC_DEADLINE_US);
    if (loop_io_start(keeper->loop, &unit->result, LOOP_READ, err) < 0)
        unit_fail(unit, err);
    return 0;
}

/* ---- from one binary to the next */

static uint64_t time_us(const struct timeval *time)
{
    return (uint64_t)time->tv_sec * 1000000u + (uint64_t)time->tv_usec;
}

void unit_save(const struct unit *unit, struct resume_unit *ret_record)
{
    *ret_record = (struct resume_unit){
        .id = unit->id,
        .state = unit->state,
        .pid = (uint64_t)unit->pid,
        .is_leader_only = unit->is_leader_only,
        .was_killed = unit->was_killed,
        .is_oom = unit->is_oom,
        .tag = unit->tag,
        .program = unit->program,
        .cgroup = unit->cgroup.root ? unit->cgroup.name : "",
        .started_wall_us = unit->started_wall_us,
        .exited_wall_us = unit->exited_wall_us,
        .wait_status = (uint64_t)unit->wait_status,
        .user_us = time_us(&unit->usage.ru_utime),
        .system_us = time_us(&unit->usage.ru_stime),
        .memory_peak_bytes = unit->memory_peak_bytes,
        .timer_at_us = unit->timer.loop ? unit->timer.deadline_us : 0,
        .result = unit->result.fd,
        .request = unit->request,
        .control_life = unit->control_life,
        .pending_signal = unit->pending_signal,
        .pending_grace_ms = unit->pending_grace_ms,
        .last_signal = unit->last_signal,
        .sweep_started_us = unit->sweep_started_us,
        .is_stillborn = unit->is_stillborn,
        .max_rss = (uint64_t)unit->usage.ru_maxrss,
    };
}

static void unit_fill(struct unit *unit, const struct resume_unit *record)
{
    unit->state = (enum unit_state)record->state;
    unit->pid = (pid_t)record->pid;
    unit->is_leader_only = record->is_leader_only;
    unit->was_killed = record->was_killed;
    unit->is_oom = record->is_oom;
    unit->started_wall_us = record->started_wall_us;
    unit->exited_wall_us = record->exited_wall_us;
    unit->wait_status = (int)record->wait_status;
    unit->usage.ru_utime = (struct timeval){.tv_sec = (time_t)(record->user_us / 1000000u),
                                            .tv_usec = (suseconds_t)(record->user_us % 1000000u)};
    unit->usage.ru_stime = (struct timeval){.tv_sec = (time_t)(record->system_us / 1000000u),
                                            .tv_usec = (suseconds_t)(record->system_us % 1000000u)};
    unit->usage.ru_maxrss = (long)record->max_rss;
    unit->memory_peak_bytes = record->memory_peak_bytes;
    unit->request = (uint32_t)record->request;
    unit->control_life = record->control_life;
    unit->pending_signal = (uint32_t)record->pending_signal;
    unit->pending_grace_ms = (uint32_t)record->pending_grace_ms;
    unit->last_signal = (uint32_t)record->last_signal;
    unit->sweep_started_us = record->sweep_started_us;
    unit->is_stillborn = record->is_stillborn;
    if (*record->cgroup) {
        unit->cgroup.root = &unit->keeper->cgroups;
        (void)snprintf(unit->cgroup.name, sizeof unit->cgroup.name, "%s", record->cgroup);
    }
}

int unit_adopt(struct keeper *keeper, const struct resume_unit *record, struct error *err)
{
    struct message_spawn wanted = {.fixed = {.unit = record->id},
                                   .tag = record->tag,
                                   .argv = {(char *)(uintptr_t)record->program}};
    struct unit *unit;
    int code;

    if (record->state >= UNIT_STATE_COUNT || unit_find(keeper, record->id))
        return error_set(err, ERR_INVALID, "unit %" PRIu64 " of the keeper's state has no sense",
                         record->id);
    code = unit_new(keeper, &wanted, &unit, err);
    if (code < 0)
        return code;
    unit_fill(unit, record);
    unit->result.fd = record->result;
    if (record->result >= 0)
        code = loop_io_start(keeper->loop, &unit->result, LOOP_READ, err);
    if (record->timer_at_us)
        loop_timer_start(keeper->loop, &unit->timer, record->timer_at_us);
    return code;
}

void units_done(struct keeper *keeper)
{
    list_each_safe (node, &keeper->units)
        unit_free(container_of(node, struct unit, node));
}
