/* The keeper's tables as records (resume.h), and back. */
#include "keeper/keeper_private.h"
#include "keeper/resume.h"

#include <fcntl.h>
#include <unistd.h>

#include "os/file.h"
#include "os/memory.h"

/* ---- saving */

static void save_keeper(const struct keeper *keeper, struct buf *block)
{
    const struct keeper_options *options = keeper->options;
    struct resume_keeper record = {
        .state_directory = options->state_directory,
        .edge_count = options->edge_count,
        .log_level = log_level(),
        .quit_ms = options->quit_ms,
        .is_without_cgroups = options->is_without_cgroups,
        .lock_fd = keeper->lock_fd,
        .state_fd = keeper->state_fd,
        .started_wall_us = keeper->started_wall_us,
        .guard_pid = (uint64_t)keeper->guard_pid,
        .guard_writer = keeper->guard_writer,
        .access_stamp = keeper->access_stamp,
        .was_ready = keeper->was_ready,
        .start_path = keeper->start_path,
        .last_binary = keeper->last_binary,
    };

    resume_append(block, RESUME_TAG_keeper, &record);
}

static void save_binary(const struct binary *binary, enum resume_place place, struct buf *block)
{
    struct resume_binary record = {
        .id = binary->id,
        .place = place,
        .fd = binary->fd,
        .version = binary->version,
        .is_private = binary->is_private,
    };

    if (binary->id)
        resume_append(block, RESUME_TAG_binary, &record);
}

static void save_groups(const struct keeper *keeper, struct buf *block)
{
    for (size_t i = 0; i < keeper->cgroups.count; i++) {
        struct resume_group record = {.uses = keeper->cgroups.hierarchies[i].uses,
                                      .folder = keeper->cgroups.hierarchies[i].folder};

        resume_append(block, RESUME_TAG_group, &record);
    }
}

static void save_listeners(const struct keeper *keeper, struct buf *block)
{
    for (size_t i = 0; i < keeper->listener_count; i++) {
        const struct listener *listener = &keeper->listeners[i];
        struct resume_listener record = {.kind = listener->kind,
                                         .fd = listener->fd,
                                         .address = listener->address,
                                         .port = listener->port};

        resume_append(block, RESUME_TAG_listener, &record);
    }
}

static void save_role(const struct role *role, struct buf *block)
{
    struct resume_role record = {
        .kind = role->entry->role,
        .index = role->index,
        .state = role->state,
        .pid = (uint64_t)role->pid,
        .channel = role->channel.io.loop ? role->channel.io.fd : -1,
        .result = role->result_fd,
        .restarts = role->restarts,
        .quick_deaths = role->quick_deaths,
        .started_at_us = role->started_at_us,
        .started_wall_us = role->started_wall_us,
        .life = role->life,
        .timer_at_us = role->timer.loop ? role->timer.deadline_us : 0,
        .counters = role->counters_fd,
        .access_writer = role->access_writer,
        .binary = role->binary,
        .is_replaced = role->is_replaced,
        .is_retiring = role->is_retiring,
        .version = role->version,
    };

    resume_append(block, RESUME_TAG_role, &record);
}

static void save_streams(const struct keeper *keeper, struct buf *block)
{
    list_each (node, &keeper->streams) {
        const struct stream *stream = container_of(node, struct stream, node);
        struct resume_stream record = {.id = stream->id,
                                       .unit = stream->unit,
                                       .kind = stream->kind,
                                       .is_announced = stream->is_announced,
                                       .label = stream->label,
                                       .fd = stream->fd};

        resume_append(block, RESUME_TAG_stream, &record);
    }
}

static void save_units(const struct keeper *keeper, struct buf *block)
{
    list_each (node, &keeper->units) {
        struct resume_unit record;

        unit_save(container_of(node, struct unit, node), &record);
        resume_append(block, RESUME_TAG_unit, &record);
    }
}

static void save_held(const struct keeper *keeper, struct buf *block)
{
    for (size_t i = 0; i < KEEPER_HELD_MAX; i++) {
        struct resume_held record = {.name = keeper->held[i].name, .fd = keeper->held[i].fd};

        if (keeper->held[i].name)
            resume_append(block, RESUME_TAG_held, &record);
    }
}

static void save_givings(const struct keeper *keeper, struct buf *block)
{
    for (size_t i = 0; i < KEEPER_GIVINGS_MAX; i++) {
        const struct giving *giving = &keeper->givings[i];
        struct resume_giving record = {.pid = (uint64_t)giving->pid,
                                       .request = giving->request,
                                       .control_life = giving->control_life,
                                       .deadline_us = giving->deadline.deadline_us};

        if (giving->pid)
            resume_append(block, RESUME_TAG_giving, &record);
    }
}

static void save_upgrade(const struct upgrade *upgrade, struct buf *block)
{
    struct resume_upgrade record = {
        .id = upgrade->id,
        .phase = upgrade->phase,
        .drain_ms = upgrade->drain_ms,
        .is_back = upgrade->is_back,
        .started_wall_us = upgrade->started_wall_us,
        .ended_wall_us = upgrade->ended_wall_us,
        .code = (uint64_t)-upgrade->code,
        .from = upgrade->from,
        .to = upgrade->to,
        .reason = upgrade->reason,
        .hint = upgrade->hint,
    };

    resume_append(block, RESUME_TAG_upgrade, &record);
}

int resumed_save(struct keeper *keeper, int *ret_fd, struct error *err)
{
    struct buf block = BUF_INIT(RESUME_BYTES_MAX);
    int code = ERR_LIMIT;

    resume_begin(&block);
    save_keeper(keeper, &block);
    save_binary(&keeper->binary, RESUME_IS_RUNNING, &block);
    save_binary(&keeper->before, RESUME_IS_BEFORE, &block);
    save_binary(&keeper->spare, RESUME_IS_SPARE, &block);
    save_groups(keeper, &block);
    save_listeners(keeper, &block);
    for (size_t i = 0; i < keeper->role_count; i++)
        save_role(&keeper->roles[i], &block);
    save_units(keeper, &block);
    save_streams(keeper, &block);
    save_held(keeper, &block);
    save_givings(keeper, &block);
    save_upgrade(&keeper->upgrade, &block);
    resume_finish(&block);
    if (block.failed)
        error_set(err, ERR_LIMIT, "the keeper's state is too large to be handed over");
    else
        code = memory_sealed("slipway keeper", buf_slice(&block), ret_fd, err);
    buf_done(&block);
    return code;
}

/* ---- loading */

static int load_keeper(struct keeper *keeper, const struct resume_keeper *record, struct error *err)
{
    struct keeper_options *options = &keeper->own_options;

    options->state_directory = strdup(record->state_directory);
    options->edge_count = (unsigned)record->edge_count;
    options->log_level = (enum log_level)record->log_level;
    options->quit_ms = record->quit_ms;
    options->is_without_cgroups = record->is_without_cgroups;
    keeper->lock_fd = record->lock_fd;
    keeper->state_fd = record->state_fd;
    keeper->started_wall_us = record->started_wall_us;
    keeper->guard_pid = (pid_t)record->guard_pid;
    keeper->guard_writer = record->guard_writer;
    keeper->access_stamp = record->access_stamp;
    keeper->was_ready = record->was_ready;
    keeper->last_binary = record->last_binary;
    (void)snprintf(keeper->start_path, sizeof keeper->start_path, "%s", record->start_path);
    return options->state_directory ? 0 : error_set(err, ERR_LIMIT, "no memory");
}

static void load_binary(struct keeper *keeper, const struct resume_binary *record)
{
    struct binary binary = {
        .id = record->id, .fd = record->fd, .is_private = record->is_private != 0};

    (void)snprintf(binary.version, sizeof binary.version, "%s", record->version);
    if (record->place == RESUME_IS_RUNNING)
        keeper->binary = binary;
    else if (record->place == RESUME_IS_BEFORE)
        keeper->before = binary;
    else
        keeper->spare = binary;
}

static int load_group(struct keeper *keeper, const struct resume_group *record, struct error *err)
{
    struct cgroup_hierarchy *hierarchy = &keeper->cgroups.hierarchies[keeper->cgroups.count];

    if (keeper->cgroups.count == CGROUP_HIERARCHIES_MAX)
        return error_set(err, ERR_LIMIT, "too many control groups in the keeper's state");
    hierarchy->uses = (unsigned)record->uses;
    (void)snprintf(hierarchy->folder, sizeof hierarchy->folder, "%s", record->folder);
    keeper->cgroups.count++;
    return 0;
}

static int load_listener(struct keeper *keeper, const struct resume_listener *record,
                         struct error *err)
{
    struct listener *listener = &keeper->listeners[keeper->listener_count];

    if (keeper->listener_count == KEEPER_LISTENERS_MAX)
        return error_set(err, ERR_LIMIT, "too many listeners in the keeper's state");
    *listener = (struct listener){.fd = record->fd,
                                  .kind = (enum keeper_listener_kind)record->kind,
                                  .port = (unsigned)record->port};
    (void)snprintf(listener->address, sizeof listener->address, "%s", record->address);
    keeper->listener_count++;
    return 0;
}

static int load_role(struct keeper *keeper, const struct resume_role *record, struct error *err)
{
    const struct keeper_role_entry *entry = role_entry_find(keeper, record->kind);
    struct role *role;
    int code;

    if (!entry)
        return 0; /* see resumed_end_unknown */
    if (role_find(keeper, entry->role, (unsigned)record->index))
        return error_set(err, ERR_INVALID, "role %s %u stands twice in the keeper's state",
                         entry->name, (unsigned)record->index);
    code = role_add(keeper, entry, (unsigned)record->index, &role, err);
    if (code < 0)
        return code;
    role->state = (enum role_state)record->state;
    role->pid = (pid_t)record->pid;
    role->result_fd = record->result;
    role->restarts = (unsigned)record->restarts;
    role->quick_deaths = (unsigned)record->quick_deaths;
    role->started_at_us = record->started_at_us;
    role->started_wall_us = record->started_wall_us;
    role->life = record->life;
    role->counters_fd = record->counters;
    role->access_writer = record->access_writer;
    role->binary = record->binary;
    role->is_replaced = record->is_replaced;
    role->is_retiring = record->is_retiring;
    (void)snprintf(role->version, sizeof role->version, "%s", record->version);
    role_resumed(role, record->channel, record->timer_at_us);
    return 0;
}

static int load_stream(struct keeper *keeper, const struct resume_stream *record, struct error *err)
{
    int fd = record->fd;
    int code = stream_add(keeper, record->id, record->unit, (uint32_t)record->kind, record->label,
                          &fd, err);

    if (code == 0)
        container_of(keeper->streams.previous, struct stream, node)->is_announced =
            record->is_announced;
    return code;
}

static int load_held(struct keeper *keeper, const struct resume_held *record, struct error *err)
{
    int fd = record->fd;

    return held_put(keeper, record->name, &fd, err);
}

static int load_giving(struct keeper *keeper, const struct resume_giving *record, struct error *err)
{
    for (size_t i = 0; i < KEEPER_GIVINGS_MAX; i++) {
        struct giving *giving = &keeper->givings[i];

        if (giving->pid)
            continue;
        *giving = (struct giving){.keeper = keeper,
                                  .pid = (pid_t)record->pid,
                                  .request = (uint32_t)record->request,
                                  .control_life = record->control_life,
                                  .deadline = {.on_timer = giving_overdue}};
        loop_timer_start(keeper->loop, &giving->deadline, record->deadline_us);
        return 0;
    }
    return error_set(err, ERR_LIMIT, "too many folders in the keeper's state");
}

static void load_upgrade(struct keeper *keeper, const struct resume_upgrade *record)
{
    struct upgrade *upgrade = &keeper->upgrade;

    upgrade->id = (uint32_t)record->id;
    upgrade->phase = (enum keeper_upgrade_phase)record->phase;
    upgrade->drain_ms = (uint32_t)record->drain_ms;
    upgrade->is_back = record->is_back;
    upgrade->started_wall_us = record->started_wall_us;
    upgrade->ended_wall_us = record->ended_wall_us;
    upgrade->code = -(int)record->code;
    (void)snprintf(upgrade->from, sizeof upgrade->from, "%s", record->from);
    (void)snprintf(upgrade->to, sizeof upgrade->to, "%s", record->to);
    (void)snprintf(upgrade->reason, sizeof upgrade->reason, "%s", record->reason);
    (void)snprintf(upgrade->hint, sizeof upgrade->hint, "%s", record->hint);
}

static int load_record(struct keeper *keeper, const struct resume_record *record, struct error *err)
{
    switch (record->tag) {
    case RESUME_TAG_keeper:
        return load_keeper(keeper, &record->keeper, err);
    case RESUME_TAG_binary:
        load_binary(keeper, &record->binary);
        break;
    case RESUME_TAG_group:
        return load_group(keeper, &record->group, err);
    case RESUME_TAG_listener:
        return load_listener(keeper, &record->listener, err);
    case RESUME_TAG_role:
        return load_role(keeper, &record->role, err);
    case RESUME_TAG_unit:
        return unit_adopt(keeper, &record->unit, err);
    case RESUME_TAG_stream:
        return load_stream(keeper, &record->stream, err);
    case RESUME_TAG_held:
        return load_held(keeper, &record->held, err);
    case RESUME_TAG_giving:
        return load_giving(keeper, &record->giving, err);
    case RESUME_TAG_upgrade:
        load_upgrade(keeper, &record->upgrade);
        break;
    }
    return 0;
}

int resumed_load(struct keeper *keeper, struct slice state, struct error *err)
{
    struct resume_record record;
    size_t cursor;
    int code = resume_check(state, err);

    if (code == 0)
        code = resume_open(state, &cursor, err);
    if (code < 0)
        return code;
    while ((code = resume_next(state, &cursor, &record, err)) > 0) {
        code = load_record(keeper, &record, err);
        if (code < 0)
            return code;
    }
    return code;
}

static void end_unknown(const struct resume_role *record)
{
    log_warning("a role of kind %u is unknown to this version: it ends", (unsigned)record->kind);
    if (record->pid)
        (void)kill((pid_t)record->pid, SIGKILL);
    fd_close(record->channel);
    fd_close(record->result);
    fd_close(record->counters);
    fd_close(record->access_writer);
}

void resumed_end_unknown(const struct keeper *keeper, struct slice state)
{
    struct resume_record record;
    size_t cursor;

    if (resume_open(state, &cursor, NULL) < 0)
        return;
    while (resume_next(state, &cursor, &record, NULL) > 0) {
        if (record.tag == RESUME_TAG_role && !role_entry_find(keeper, record.role.kind))
            end_unknown(&record.role);
    }
}

/* ---- descriptors across the execution */

static void mark_one(int fd, void *context)
{
    const bool *is_closed_by_exec = context;

    if (fd_set_cloexec(fd, *is_closed_by_exec) < 0)
        log_error("descriptor %d cannot be marked", fd);
}

void resumed_mark(struct slice state, bool is_closed_by_exec)
{
    struct resume_record record;
    size_t cursor;

    if (resume_open(state, &cursor, NULL) < 0)
        return;
    while (resume_next(state, &cursor, &record, NULL) > 0)
        resume_each_descriptor(&record, mark_one, &is_closed_by_exec);
}
