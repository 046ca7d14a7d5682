/* The table of roles: its rows, which of them run the present binary, and edges that come and go.
 *
 * The row of an edge that ended stays, for its counters: the next edge that is added goes on with
 * them under the same index, so that totals never fall.
 */
#include "keeper/keeper_private.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/counters.h"
#include "os/file.h"
#include "os/memory.h"
#include "os/users.h"

#define ACCESS_PIPE_BYTES (1024 * 1024)

struct role *role_find(struct keeper *keeper, enum keeper_role kind, unsigned index)
{
    for (size_t i = 0; i < keeper->role_count; i++) {
        if (keeper->roles[i].entry->role == kind && keeper->roles[i].index == index)
            return &keeper->roles[i];
    }
    return NULL;
}

struct role *role_find_pid(struct keeper *keeper, pid_t pid)
{
    for (size_t i = 0; i < keeper->role_count; i++) {
        if (keeper->roles[i].pid == pid)
            return &keeper->roles[i];
    }
    return NULL;
}

/* ---- the present binary */

bool role_is_current(const struct role *role)
{
    return role->binary == role->keeper->binary.id && !role->is_retiring &&
           role->state != ROLE_ENDED;
}

unsigned edges_current(const struct keeper *keeper)
{
    unsigned count = 0;

    for (size_t i = 0; i < keeper->role_count; i++)
        count +=
            keeper->roles[i].entry->role == KEEPER_ROLE_EDGE && role_is_current(&keeper->roles[i]);
    return count;
}

unsigned roles_deaths(const struct keeper *keeper)
{
    unsigned deaths = 0;

    for (size_t i = 0; i < keeper->role_count; i++)
        deaths += role_is_current(&keeper->roles[i]) ? keeper->roles[i].deaths : 0;
    return deaths;
}

const struct role *role_find_unready(const struct keeper *keeper, enum keeper_role kind)
{
    for (size_t i = 0; i < keeper->role_count; i++) {
        const struct role *role = &keeper->roles[i];
        bool is_edge = role->entry->role == KEEPER_ROLE_EDGE;

        if ((kind != KEEPER_ROLE_COUNT && role->entry->role != kind) ||
            (is_edge && !role_is_current(role)))
            continue;
        if (!role_is_current(role) || role->state != ROLE_SERVING)
            return role;
    }
    return NULL;
}

/* ---- rows */

static int edge_make_counters(struct role *role, struct error *err)
{
    struct counters *counters;
    size_t size = 0;
    void *base = NULL;
    int code = memory_shared("slipway counters", sizeof(struct counters), &role->counters_fd, err);

    if (code == 0)
        code = memory_map(role->counters_fd, true, false, &base, &size, err);
    if (code != 0)
        return code;
    counters = base;
    counters->magic = COUNTERS_MAGIC;
    counters->version = COUNTERS_VERSION;
    memory_unmap(base, size);
    return 0;
}

static int edge_make_pipe(struct role *role, struct error *err)
{
    struct keeper *keeper = role->keeper;
    CLEANUP(fd_closep) int reader = -1;
    CLEANUP(fd_closep) int writer = -1;
    int ends[2];
    int code;

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return error_errno(err, errno, "unable to make an access pipe");
    reader = ends[0];
    writer = ends[1];
    (void)fcntl(writer, F_SETPIPE_SZ, ACCESS_PIPE_BYTES);
    /* Unique for the life of the state folder: no unit has the upper half, no other pipe this
     * time. */
    keeper->access_stamp = MAX(keeper->access_stamp + 1, clock_wall_us());
    code = stream_add(
        keeper, UINT64_C(1) << 63 | (keeper->access_stamp * KEEPER_EDGES_MAX + role->index - 1), 0,
        KEEPER_STREAM_ACCESS, "", &reader, err);
    if (code == 0)
        role->access_writer = TAKE_FD(writer);
    return code;
}

int role_add(struct keeper *keeper, const struct keeper_role_entry *entry, unsigned index,
             struct role **ret_role, struct error *err)
{
    struct role *role = &keeper->roles[keeper->role_count];

    if (keeper->role_count == keeper->options->role_count + KEEPER_EDGES_MAX)
        return error_set(err, ERR_LIMIT, "the table of roles is full");
    *role = (struct role){.keeper = keeper,
                          .entry = entry,
                          .index = index,
                          .result_fd = -1,
                          .counters_fd = -1,
                          .access_writer = -1,
                          .timer = {.on_timer = role_timer_due}};
    keeper->role_count++;
    if (keeper->policy.is_root) {
        int code = users_find(entry->user, &role->uid, &role->gid, err);

        if (code < 0)
            return code;
    }
    if (index)
        (void)snprintf(role->title, sizeof role->title, KEEPER_TITLE_PREFIX "%s %u", entry->name,
                       index);
    else
        (void)snprintf(role->title, sizeof role->title, KEEPER_TITLE_PREFIX "%s", entry->name);
    *ret_role = role;
    return 0;
}

static int role_init(struct keeper *keeper, const struct keeper_role_entry *entry, unsigned index,
                     struct error *err)
{
    struct role *role;
    int code = role_add(keeper, entry, index, &role, err);

    if (code == 0 && entry->is_per_edge)
        code = edge_make_counters(role, err);
    if (code == 0 && entry->is_per_edge)
        code = edge_make_pipe(role, err);
    return code;
}

const struct keeper_role_entry *role_entry_find(const struct keeper *keeper, uint64_t kind)
{
    for (size_t i = 0; i < keeper->options->role_count; i++) {
        if (keeper->options->roles[i].role == kind)
            return &keeper->options->roles[i];
    }
    return NULL;
}

unsigned edges_addable(const struct keeper *keeper)
{
    unsigned count = KEEPER_EDGES_MAX;

    for (size_t i = 0; i < keeper->role_count; i++) {
        const struct role *role = &keeper->roles[i];

        count -= role->entry->role == KEEPER_ROLE_EDGE && role->state != ROLE_ENDED;
    }
    return count;
}

/* A row that ended, else one more. */
static int edge_find_row(struct keeper *keeper, struct role **ret_role, struct error *err)
{
    unsigned highest = 0;
    struct role *role;
    int code;

    for (size_t i = 0; i < keeper->role_count; i++) {
        role = &keeper->roles[i];
        if (role->entry->role != KEEPER_ROLE_EDGE)
            continue;
        highest = MAX(highest, role->index);
        if (role->state == ROLE_ENDED) {
            *ret_role = role;
            return 0;
        }
    }
    if (highest >= KEEPER_EDGES_MAX)
        return error_set(err, ERR_LIMIT, "%u edges are there already", KEEPER_EDGES_MAX);
    code = role_add(keeper, role_entry_find(keeper, KEEPER_ROLE_EDGE), highest + 1, &role, err);
    if (code < 0)
        return code;
    role->state = ROLE_ENDED; /* until it has all that an edge needs: see edge_add */
    *ret_role = role;
    return 0;
}

int edge_add(struct keeper *keeper, struct error *err)
{
    struct role *control = role_find(keeper, KEEPER_ROLE_CONTROL, 0);
    struct role *role;
    int code = edge_find_row(keeper, &role, err);

    if (code == 0 && role->counters_fd < 0)
        code = edge_make_counters(role, err);
    if (code == 0)
        code = edge_make_pipe(role, err);
    if (code < 0)
        return code;
    stream_announce(keeper, 0);
    if (control)
        handover_counters(role, control);
    role->quick_deaths = role->deaths = 0;
    role_start(role);
    return 0;
}

int roles_make_table(struct keeper *keeper, struct error *err)
{
    keeper->roles = calloc(keeper->options->role_count + KEEPER_EDGES_MAX, sizeof *keeper->roles);
    return keeper->roles ? 0 : error_set(err, ERR_LIMIT, "no memory for the table of roles");
}

int roles_init(struct keeper *keeper, struct error *err)
{
    const struct keeper_options *options = keeper->options;

    if (roles_make_table(keeper, err) < 0)
        return err ? err->code : ERR_LIMIT;
    for (size_t i = 0; i < options->role_count; i++) {
        const struct keeper_role_entry *entry = &options->roles[i];
        unsigned count = entry->is_per_edge ? options->edge_count : 1;

        for (unsigned n = 0; n < count; n++) {
            int code = role_init(keeper, entry, entry->is_per_edge ? n + 1 : 0, err);

            if (code < 0)
                return code;
        }
    }
    stream_announce(keeper, 0); /* the access pipes are there for the first logd */
    return 0;
}

void roles_start(struct keeper *keeper)
{
    for (size_t i = 0; i < keeper->role_count; i++)
        role_start(&keeper->roles[i]);
}

void roles_done(struct keeper *keeper)
{
    for (size_t i = 0; i < keeper->role_count; i++) {
        struct role *role = &keeper->roles[i];

        loop_timer_stop(&role->timer);
        if (role->channel.io.loop)
            channel_stop(&role->channel);
        fd_close(role->result_fd);
        fd_close(role->counters_fd);
        fd_close(role->access_writer);
    }
    free(keeper->roles);
    keeper->roles = NULL;
    keeper->role_count = 0;
}
