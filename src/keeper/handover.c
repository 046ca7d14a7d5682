/* What a role gets at its start: all that its predecessor had, in the order of
 * base/keeper_protocol.h. */
#include "keeper/keeper_private.h"

#include <unistd.h>

#include "os/file.h"
#include "os/socket.h"

static void handover_hello(struct role *role)
{
    const struct keeper *keeper = role->keeper;
    const struct keeper_policy *policy = &keeper->policy;
    const struct listener *http = listener_first(keeper, KEEPER_LISTENER_HTTP),
                          *https = listener_first(keeper, KEEPER_LISTENER_HTTPS);
    struct keeper_hello message = {
        .header = {.type = KEEPER_HELLO},
        .protocol_version = KEEPER_PROTOCOL_VERSION,
        .role = role->entry->role,
        .role_index = role->index,
        .edge_count = keeper->options->edge_count,
        .flags = policy->is_root ? KEEPER_FLAG_ROOT : 0,
        .log_level = log_level(),
        .unit_uid_first = policy->unit_uid_first,
        .unit_uid_count = policy->unit_uid_count,
        .control_uid = policy->control_uid,
        .edge_uid = policy->edge_uid,
        .log_uid = keeper->log_uid,
        .http_port = http ? http->port : 0,
        .https_port = https ? https->port : 0,
    };
    const char *strings[] = {keeper->options->state_directory, http ? http->address : "",
                             https ? https->address : "", keeper->binary.version,
                             keeper->before.version};

    role_post(role, &message, sizeof message, strings, ARRAY_LEN(strings), -1);
}

static void peer_post(struct role *to, const struct role *other, int fd)
{
    struct keeper_peer message = {
        .header = {.type = KEEPER_PEER}, .role = other->entry->role, .role_index = other->index};

    role_post(to, &message, sizeof message, NULL, 0, fd);
}

static void peers_connect(struct role *one, struct role *other)
{
    struct error err = {0};
    int fds[2];

    if (!role_is_up(one) || !role_is_up(other))
        return; /* the one that starts later brings them together */
    if (channel_pair(fds, &err) < 0) {
        log_failure(&err, "unable to connect %s and %s", one->title, other->title);
        return;
    }
    peer_post(one, other, fds[0]);
    peer_post(other, one, fds[1]);
    fd_close(fds[0]);
    fd_close(fds[1]);
}

/* Control talks to everyone, the signer to the edges as well. */
static bool are_peers(enum keeper_role one, enum keeper_role other)
{
    if (one == KEEPER_ROLE_CONTROL || other == KEEPER_ROLE_CONTROL)
        return one != other;
    return (one == KEEPER_ROLE_SIGNER && other == KEEPER_ROLE_EDGE) ||
           (one == KEEPER_ROLE_EDGE && other == KEEPER_ROLE_SIGNER);
}

static void handover_peers(struct role *role)
{
    struct keeper *keeper = role->keeper;

    for (size_t i = 0; i < keeper->role_count; i++) {
        if (are_peers(role->entry->role, keeper->roles[i].entry->role))
            peers_connect(role, &keeper->roles[i]);
    }
}

void handover_counters(const struct role *edge, struct role *to)
{
    struct keeper_counters message = {.header = {.type = KEEPER_COUNTERS},
                                      .role_index = edge->index};

    role_post(to, &message, sizeof message, NULL, 0, edge->counters_fd);
}

static void state_post(struct role *to, const struct role *role)
{
    struct keeper_role_state message = {
        .header = {.type = KEEPER_ROLE},
        .role = role->entry->role,
        .role_index = role->index,
        .pid = role->pid,
        .restarts = role->restarts,
        .started_at_us = role->started_wall_us,
        .phase = role_phase(role),
    };
    const char *strings[] = {role->version};

    role_post(to, &message, sizeof message, strings, ARRAY_LEN(strings), -1);
}

void handover_state(struct role *role)
{
    struct role *control = role_find(role->keeper, KEEPER_ROLE_CONTROL, 0);

    if (control)
        state_post(control, role);
}

static void handover_control(struct role *role)
{
    struct keeper *keeper = role->keeper;
    struct keeper_role_state self = {
        .header = {.type = KEEPER_ROLE},
        .role = KEEPER_ROLE_KEEPER,
        .pid = getpid(),
        .started_at_us = keeper->started_wall_us,
        .phase = KEEPER_PHASE_SERVING,
    };
    const char *strings[] = {keeper->binary.version};

    role_post(role, &self, sizeof self, strings, ARRAY_LEN(strings), -1);
    for (size_t i = 0; i < keeper->role_count; i++)
        state_post(role, &keeper->roles[i]);
    for (size_t i = 0; i < keeper->role_count; i++) {
        if (keeper->roles[i].entry->role == KEEPER_ROLE_EDGE)
            handover_counters(&keeper->roles[i], role);
    }
    held_describe(keeper, role);
    list_each (node, &keeper->units)
        unit_describe(container_of(node, struct unit, node), role);
    upgrade_describe(keeper, role);
}

static void handover_edge(struct role *role)
{
    struct keeper *keeper = role->keeper;
    struct keeper_listener listener = {.header = {.type = KEEPER_LISTENER}};
    struct keeper_access access = {.header = {.type = KEEPER_ACCESS}};

    for (size_t i = 0; i < keeper->listener_count; i++) {
        listener.kind = keeper->listeners[i].kind;
        role_post(role, &listener, sizeof listener, NULL, 0, keeper->listeners[i].fd);
    }
    handover_counters(role, role);
    held_describe(keeper, role);
    role_post(role, &access, sizeof access, NULL, 0, role->access_writer);
}

static void handover_logd(struct role *role)
{
    list_each (node, &role->keeper->streams)
        stream_describe(container_of(node, struct stream, node), role);
}

void handover_role(struct role *role)
{
    struct keeper_table_end end = {.header = {.type = KEEPER_TABLE_END}};
    const struct keeper *keeper = role->keeper;

    handover_hello(role);
    handover_peers(role);
    if (role->entry->role == KEEPER_ROLE_CONTROL)
        handover_control(role);
    else if (role->entry->role == KEEPER_ROLE_EDGE)
        handover_edge(role);
    else if (role->entry->role == KEEPER_ROLE_SIGNER)
        held_describe(keeper, role);
    else
        handover_logd(role);
    role_post(role, &end, sizeof end, NULL, 0, -1);
}
