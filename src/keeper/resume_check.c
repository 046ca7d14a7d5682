/* Whether a keeper's state has sense: all that can be said of it without looking at a descriptor or
 * a process. The trial asks before anything is changed, and the binary that takes over before it
 * fills its tables; so a state that this version cannot go on with is refused, and nothing else.
 *
 * A number of a state or a kind that a newer version made is one of those. A role of an unknown
 * kind is not: roles can be started anew, and this version has no use for it. */
#include "keeper/keeper_private.h"
#include "keeper/resume.h"

#include <inttypes.h>
#include <limits.h>

#define ROOM(type, member) (sizeof((type *)0)->member)

static int bad(struct error *err, const char *what, uint64_t number)
{
    return error_set(err, ERR_INVALID, "%s %" PRIu64 " of the keeper's state has no sense", what,
                     number);
}

/* 1 is everybody's ancestor, and -1 everybody. */
static bool is_pid(uint64_t number)
{
    return number > 1 && number <= INT_MAX;
}

static int check_keeper(const struct resume_keeper *record, struct error *err)
{
    if (!*record->state_directory || record->lock_fd < 0 || record->state_fd < 0 ||
        record->edge_count < 1 || record->edge_count > KEEPER_EDGES_MAX ||
        record->log_level > LOG_DEBUG || (record->guard_pid && !is_pid(record->guard_pid)))
        return error_set(err, ERR_INVALID, "the keeper's state is incomplete");
    return 0;
}

static int check_binary(const struct resume_binary *record, struct error *err)
{
    if (record->place < RESUME_IS_RUNNING || record->place > RESUME_IS_SPARE || record->fd < 0 ||
        record->id == 0 || strlen(record->version) >= VERSION_TEXT_SIZE)
        return bad(err, "binary", record->id);
    return 0;
}

static int check_group(const struct resume_group *record, struct error *err)
{
    if (strlen(record->folder) >= ROOM(struct cgroup_hierarchy, folder))
        return bad(err, "control group", record->uses);
    return 0;
}

static int check_listener(const struct resume_listener *record, struct error *err)
{
    if (record->kind > KEEPER_LISTENER_HTTPS)
        return error_set(err, ERR_VERSION, "this version knows no listeners of kind %" PRIu64,
                         record->kind);
    if (record->fd < 0 || record->port > UINT16_MAX ||
        strlen(record->address) >= ROOM(struct listener, address))
        return bad(err, "the listener on port", record->port);
    return 0;
}

static int check_role(const struct resume_role *record, struct error *err)
{
    if (record->state >= ROLE_STATE_COUNT || record->index > KEEPER_EDGES_MAX ||
        (record->pid && !is_pid(record->pid)) || strlen(record->version) >= VERSION_TEXT_SIZE)
        return bad(err, "a role of kind", record->kind);
    return 0;
}

static int check_unit(const struct resume_unit *record, struct error *err)
{
    if (record->state >= UNIT_STATE_COUNT || !is_pid(record->pid) ||
        strlen(record->cgroup) >= ROOM(struct cgroup, name))
        return bad(err, "unit", record->id);
    return 0;
}

static int check_stream(const struct resume_stream *record, struct error *err)
{
    if (record->fd < 0 || record->kind < KEEPER_STREAM_STDOUT ||
        record->kind > KEEPER_STREAM_ACCESS)
        return bad(err, "stream", record->id);
    return 0;
}

static int check_held(const struct resume_held *record, struct error *err)
{
    if (record->fd < 0 || !*record->name)
        return error_set(err, ERR_INVALID,
                         "what is held as '%s' in the keeper's state is not there", record->name);
    return 0;
}

static int check_giving(const struct resume_giving *record, struct error *err)
{
    return is_pid(record->pid) ? 0 : bad(err, "the giving of a folder by process", record->pid);
}

static int check_upgrade(const struct resume_upgrade *record, struct error *err)
{
    if (record->phase > KEEPER_UPGRADE_RETURNED)
        return error_set(err, ERR_VERSION, "this version knows no phase %" PRIu64 " of an upgrade",
                         record->phase);
    if (record->id > UINT32_MAX || record->code > INT_MAX || record->drain_ms > UINT32_MAX)
        return bad(err, "upgrade", record->id);
    return 0;
}

static int check_record(const struct resume_record *record, struct error *err)
{
    switch (record->tag) {
#define X(tag, name, table)                                                                        \
    case RESUME_TAG_##name:                                                                        \
        return check_##name(&record->name, err);
        RESUME_RECORDS(X)
#undef X
    }
    return 0;
}

/* What there must be one of. */
struct census {
    unsigned keepers, running, http;
};

static void count(const struct resume_record *record, struct census *census)
{
    census->keepers += record->tag == RESUME_TAG_keeper;
    census->running +=
        record->tag == RESUME_TAG_binary && record->binary.place == RESUME_IS_RUNNING;
    census->http +=
        record->tag == RESUME_TAG_listener && record->listener.kind == KEEPER_LISTENER_HTTP;
}

int resume_check(struct slice block, struct error *err)
{
    struct census census = {0};
    struct resume_record record;
    size_t cursor;
    int code = resume_open(block, &cursor, err);

    if (code < 0)
        return code;
    while ((code = resume_next(block, &cursor, &record, err)) > 0) {
        code = check_record(&record, err);
        if (code < 0)
            return code;
        count(&record, &census);
    }
    if (code == 0 && (census.keepers != 1 || census.running != 1 || census.http < 1))
        return error_set(err, ERR_INVALID, "the keeper's state is incomplete");
    return code;
}
