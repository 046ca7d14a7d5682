/* control.c - the control role: how its parts come up and are wired. */
#include "base/log.h"
#include "control/control_private.h"
#include "deploy/ballast.h"
#include "os/file.h"
#include "os/socket.h"
#include "store/store.h"
#include <stdio.h>
#include <unistd.h>

#define HOUSEKEEPING_MS 5000u
#define HISTORY_KEPT    5000u /* revisions that a watcher could still ask for */

/* ---- the port: what the model asks of the world */

static struct control *control_of(struct platform_port *port)
{
    return container_of(port, struct control, port);
}

static void port_spawn(struct platform_port *port, struct unit *unit, const struct unit_spec *spec)
{
    keeper_link_spawn(&control_of(port)->link, unit, spec);
}

static void port_stop(struct platform_port *port, uint64_t unit, int signal, uint64_t grace_ms)
{
    keeper_link_stop_unit(&control_of(port)->link, unit, signal, grace_ms);
}

static void port_forget(struct platform_port *port, uint64_t unit)
{
    keeper_link_forget(&control_of(port)->link, unit);
}

static void port_make_directory(struct platform_port *port, const char *path, uint32_t uid,
                                unsigned mode, bool is_recursive, struct directory_request *request)
{
    keeper_link_make_directory(&control_of(port)->link, path, uid, mode, is_recursive, request);
}

static void port_make_directory_stop(struct platform_port *port, struct directory_request *request)
{
    keeper_link_make_directory_stop(&control_of(port)->link, request);
}

static void port_publish(struct platform_port *port, uint64_t version)
{
    edges_publish(&control_of(port)->edges, version);
}

static void port_probe_start(struct platform_port *port, struct probe *probe)
{
    probes_start(&control_of(port)->probes, probe);
}

static void port_probe_stop(struct platform_port *port, struct probe *probe)
{
    probes_stop(&control_of(port)->probes, probe);
}

static void port_log_start(struct platform_port *port, struct log_request *request)
{
    logs_request_start(&control_of(port)->logs, request);
}

static void port_log_stop(struct platform_port *port, struct log_request *request)
{
    logs_request_stop(&control_of(port)->logs, request);
}

static bool port_is_free(struct platform_port *port, unsigned number)
{
    (void)port;
    return socket_port_is_free(number);
}

static void port_add_tls(struct platform_port *port, struct snapshot_builder *builder)
{
    certificates_add_tls(control_of(port)->certificates, builder);
}

static struct slice port_read_authority(struct platform_port *port, const char *ca)
{
    return certificates_authority(control_of(port)->certificates, ca);
}

static void port_flush(struct platform_port *port)
{
    keeper_link_flush(&control_of(port)->link);
}

static const struct platform_port port_to_keeper = {
    .spawn = port_spawn,
    .stop = port_stop,
    .forget = port_forget,
    .make_directory = port_make_directory,
    .make_directory_stop = port_make_directory_stop,
    .publish = port_publish,
    .probe_start = port_probe_start,
    .probe_stop = port_probe_stop,
    .log_start = port_log_start,
    .log_stop = port_log_stop,
    .port_is_free = port_is_free,
    .add_tls = port_add_tls,
    .read_authority = port_read_authority,
    .flush = port_flush,
};

/* ---- housekeeping of the store */

static void on_housekeeping(struct loop_timer *timer)
{
    struct control *control = container_of(timer, struct control, housekeeping);
    uint64_t revision = store_revision(control->store);
    struct error err = {0};

    (void)store_lease_expire(control->store, &err);
    ballast_take(control->state_directory);
    if (revision > 2 * HISTORY_KEPT && revision - control->compacted > HISTORY_KEPT) {
        if (store_compact(control->store, revision - HISTORY_KEPT, &err) != 0)
            log_failure(&err, "unable to compact the store");
        control->compacted = revision;
    }
    loop_timer_start_in(control->loop, timer, LOOP_MS(HOUSEKEEPING_MS));
}

/* ---- what the keeper tells at the start */

/* A role that cannot do its work ends; the keeper starts it again, and says so. */
static NORETURN void give_up(const struct error *err)
{
    log_failure(err, "the control role cannot work");
    _exit(error_exit_status(err->code));
}

/* Strings that an older keeper does not send stay empty. */
static void take_hello_strings(struct control *control, const struct keeper_hello *hello,
                               size_t len)
{
    size_t cursor = sizeof(*hello);
    const char *text = keeper_next_string(hello, len, &cursor); /* the state folder is known */

    text = keeper_next_string(hello, len, &cursor);
    (void)snprintf(control->http_address, sizeof(control->http_address), "%s", text ? text : "");
    text = keeper_next_string(hello, len, &cursor);
    (void)snprintf(control->https_address, sizeof(control->https_address), "%s", text ? text : "");
    (void)keeper_next_string(hello, len, &cursor); /* ROLE tells every version */
    text = keeper_next_string(hello, len, &cursor);
    (void)snprintf(control->before_version, sizeof(control->before_version), "%s",
                   text ? text : "");
}

void control_on_hello(struct control *control, const struct keeper_hello *hello, size_t len)
{
    const char *path = getenv("PATH");
    struct platform_settings settings = {
        .state_directory = control->state_directory,
        .is_root = hello->flags & KEEPER_FLAG_ROOT,
        .own_uid = (uint32_t)geteuid(),
        .edge_uid = hello->edge_uid,
        .uid_first = hello->unit_uid_first,
        .uid_count = hello->unit_uid_count,
        .http_port = hello->http_port,
        .https_port = hello->https_port,
        .unit_path =
            path && path[0] ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    };
    struct error err = {0};

    if (hello->protocol_version != KEEPER_PROTOCOL_VERSION) {
        error_set(&err, ERR_VERSION, "the keeper speaks version %u of the protocol, not %u",
                  hello->protocol_version, KEEPER_PROTOCOL_VERSION);
        give_up(&err);
    }
    take_hello_strings(control, hello, len);
    if (control->platform)
        return;
    if (platform_new(control->loop, control->store, &control->port, &settings, &control->platform,
                     &err) != 0)
        give_up(&err);
    control->platform->is_first_life = true;
}

void control_on_role(struct control *control, const struct keeper_role_state *state,
                     const char *version)
{
    struct control_role_state *entry = NULL;

    for (size_t i = 0; i < control->role_count && !entry; i++)
        if (control->roles[i].role == state->role && control->roles[i].index == state->role_index)
            entry = &control->roles[i];
    if (state->phase >= KEEPER_PHASE_GONE) {
        if (entry)
            *entry = control->roles[--control->role_count];
        return;
    }
    if (!entry) {
        if (control->role_count == CONTROL_ROLES_MAX || state->role >= KEEPER_ROLE_COUNT)
            return;
        entry = &control->roles[control->role_count++];
    }
    *entry = (struct control_role_state){
        .role = (enum keeper_role)state->role,
        .index = state->role_index,
        .pid = state->pid,
        .restarts = state->restarts,
        .started_at_us = state->started_at_us,
        .phase = (enum keeper_role_phase)state->phase,
    };
    (void)snprintf(entry->version, sizeof(entry->version), "%s", version ? version : "");
}

void control_on_table_end(struct control *control)
{
    struct platform *platform = control->platform;

    ballast_take(control->state_directory);
    readiness_open(&control->readiness);
    free((void *)(uintptr_t)platform->settings.notify_socket);
    platform->settings.notify_socket = strdup(control->readiness.address);
    platform_resume(platform);
    certificates_start(control->certificates);
    platform_flush(platform);
    readiness_listen(&control->readiness);
    loop_timer_start_in(control->loop, &control->housekeeping, LOOP_MS(HOUSEKEEPING_MS));
    keeper_link_ready(&control->link);
    control->handler->on_ready(control->handler, control);
}

/* ---- life */

int control_new(struct loop *loop, const struct control_settings *settings,
                struct control_handler *handler, struct control **ret_control, struct error *err)
{
    struct control *control = calloc(1, sizeof(*control));
    char path[NAMES_PATH_SIZE];

    if (!control)
        abort();
    control->loop = loop;
    control->handler = handler;
    control->state_directory = strdup(settings->state_directory);
    control->port = port_to_keeper;
    control->housekeeping.on_timer = on_housekeeping;
    list_init(&control->followers);
    edges_init(&control->edges, control);
    logs_init(&control->logs, control);
    readiness_init(&control->readiness, control);
    probes_init(&control->probes, control);
    int code =
        store_open(names_path(path, "%s/store", settings->state_directory), &control->store, err);
    if (code == 0)
        code = certificates_new(control, &control->certificates, err);
    if (code != 0)
        fd_close(settings->keeper_fd);
    else
        code = keeper_link_start(&control->link, control, settings->keeper_fd, err);
    if (code != 0) {
        certificates_free(control->certificates);
        store_close(control->store);
        free(control->state_directory);
        free(control);
        return code;
    }
    *ret_control = control;
    return 0;
}

void control_free(struct control *control)
{
    if (!control)
        return;
    loop_timer_stop(&control->housekeeping);
    quit_free(control);
    followers_free(control);
    certificates_free(control->certificates);
    platform_free(control->platform);
    probes_done(&control->probes);
    readiness_done(&control->readiness);
    logs_done(&control->logs);
    edges_done(&control->edges);
    keeper_link_stop(&control->link);
    store_close(control->store);
    free(control->state_directory);
    free(control);
}

/* ---- who may ask */

bool control_peer_is_allowed(struct control *control, uint32_t uid, uint32_t gid)
{
    return people_find(&control->people, uid, gid)->is_operator;
}

const char *control_peer_name(struct control *control, uint32_t uid, uint32_t gid)
{
    return people_find(&control->people, uid, gid)->name;
}
