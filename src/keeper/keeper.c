#include "keeper/keeper.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/keeper_private.h"

#define END_MS 5000u

static void child_reaped(struct keeper *keeper, pid_t pid, int wait_status,
                         const struct rusage *usage)
{
    struct unit *unit = unit_find_pid(keeper, pid);
    struct role *role = role_find_pid(keeper, pid);
    struct error err = {0};

    if (unit) {
        unit_leader_reaped(unit, wait_status, usage);
    } else if (role) {
        role_exited(role, wait_status);
    } else if (pid == keeper->guard_pid) {
        log_warning("the guard was killed: another takes its place");
        keeper->guard_pid = 0;
        if (guard_start(keeper, &err) < 0)
            log_failure(&err, "nobody guards the units against the keeper's own end");
    } else if (!directory_child_exited(keeper, pid, wait_status) &&
               !trial_child_exited(keeper, pid)) {
        log_debug("reaped the orphan %d", (int)pid);
    }
}

/* Each is looked at before it is reaped: until then its number cannot become that of another
 * process, so its group can be signalled. */
static void children_ended(struct loop_signal *handle)
{
    struct keeper *keeper = container_of(handle, struct keeper, on_child);

    for (;;) {
        siginfo_t info = {0};
        struct rusage usage = {0};
        struct unit *unit;
        int wait_status = 0;

        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
            break;
        unit = unit_find_pid(keeper, info.si_pid);
        if (unit)
            unit_leader_ended(unit);
        if (wait4(info.si_pid, &wait_status, 0, &usage) == info.si_pid)
            child_reaped(keeper, info.si_pid, wait_status, &usage);
    }
    units_sweep(keeper);
    quit_advance(keeper);
}

static void term_came(struct loop_signal *handle)
{
    quit_request(container_of(handle, struct keeper, on_term));
}

static void int_came(struct loop_signal *handle)
{
    quit_request(container_of(handle, struct keeper, on_int));
}

static void hup_came(struct loop_signal *handle)
{
    (void)handle; /* a closed terminal does not end the platform */
}

/* SIGUSR1: the tables, for a person. */
static void usr1_came(struct loop_signal *handle)
{
    struct keeper *keeper = container_of(handle, struct keeper, on_usr1);

    log_info("state: %s; %zu units, %zu streams, %zu control group hierarchies",
             quit_stage_name(keeper->quit), keeper->unit_count, keeper->stream_count,
             keeper->cgroups.count);
    for (size_t i = 0; i < keeper->role_count; i++) {
        const struct role *role = &keeper->roles[i];

        log_info("  %s: %s, pid %d, %u restarts, %zu bytes to read", role->title,
                 role_state_name(role->state), (int)role->pid, role->restarts,
                 role->channel.queued_bytes);
    }
    list_each (node, &keeper->units) {
        const struct unit *unit = container_of(node, struct unit, node);

        log_info("  unit %" PRIu64 " (%s): %s, pid %d", unit->id, unit->tag,
                 unit_state_name(unit->state), (int)unit->pid);
    }
}

static int signals_start(struct keeper *keeper, struct error *err)
{
    const struct {
        struct loop_signal *handle;
        int number;
        void (*on_signal)(struct loop_signal *signal);
    } signals[] = {
        {&keeper->on_child, SIGCHLD, children_ended}, {&keeper->on_term, SIGTERM, term_came},
        {&keeper->on_int, SIGINT, int_came},          {&keeper->on_hup, SIGHUP, hup_came},
        {&keeper->on_usr1, SIGUSR1, usr1_came},
    };

    (void)signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        int code;

        signals[i].handle->on_signal = signals[i].on_signal;
        code = loop_signal_start(keeper->loop, signals[i].handle, signals[i].number, err);
        if (code < 0)
            return code;
    }
    return 0;
}

static void signals_stop(struct keeper *keeper)
{
    loop_signal_stop(&keeper->on_child);
    loop_signal_stop(&keeper->on_term);
    loop_signal_stop(&keeper->on_int);
    loop_signal_stop(&keeper->on_hup);
    loop_signal_stop(&keeper->on_usr1);
}

/* Whatever the loop left (it may have failed): nothing that was started here stays. */
static void end_everything(struct keeper *keeper)
{
    for (size_t i = 0; i < keeper->role_count; i++)
        role_kill(&keeper->roles[i]);
    list_each (node, &keeper->units) {
        struct unit *unit = container_of(node, struct unit, node);

        if (unit_find_pid(keeper, unit->pid) == unit)
            (void)kill(-unit->pid, SIGKILL);
    }
    if (!cgroup_root_clear(&keeper->cgroups, END_MS))
        log_error("control groups are left behind: a process does not end on SIGKILL");
    guard_stop(keeper);
    for (unsigned waited_ms = 0; waited_ms < END_MS; waited_ms += 2) {
        pid_t pid;

        do
            pid = waitpid(-1, NULL, WNOHANG);
        while (pid > 0);
        if (pid < 0)
            break; /* no child is left */
        orphans_kill_all();
        (void)usleep(2000);
    }
    cgroup_root_remove(&keeper->cgroups);
}

static struct keeper the_keeper; /* one a process; large */

static int keeper_end(struct keeper *keeper, int code, struct error *err)
{
    if (code == 0 && keeper->is_quit_incomplete)
        code = error_set(err, ERR_TIMEOUT, "the platform ended, but not all of its processes");
    end_everything(keeper);
    if (keeper->loop)
        signals_stop(keeper);
    keeper_close(keeper);
    return code;
}

int keeper_run(const struct keeper_options *options, struct error *err)
{
    struct keeper *keeper = &the_keeper;
    int code = keeper_open(keeper, options, err);

    if (code == 0)
        code = signals_start(keeper, err);
    if (code == 0) {
        systemd_open(keeper);
        roles_start(keeper);
        code = loop_run(keeper->loop, err);
    }
    return keeper_end(keeper, code, err);
}

int keeper_run_resumed(const struct keeper_options *options, struct error *err)
{
    struct keeper *keeper = &the_keeper;
    struct error story = {0};
    int code;

    log_init("keeper", LOG_INFO);
    code = keeper_take_over(keeper, options, err);
    if (code < 0)
        return code; /* the guard sees our end and clears up */
    log_info("version %s goes on as the keeper", keeper->binary.version);
    code = signals_start(keeper, err);
    if (code == 0) {
        systemd_open(keeper);
        if (guard_renew(keeper, &story) < 0)
            log_failure(&story, "the guard of the binary before stays");
        children_ended(&keeper->on_child); /* who ended meanwhile */
        upgrade_resumed(keeper);
        code = loop_run(keeper->loop, err);
    }
    return keeper_end(keeper, code, err);
}
