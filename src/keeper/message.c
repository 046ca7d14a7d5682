#include "keeper/message.h"

#include <limits.h>
#include <signal.h>

/* Ids are spread to streams by four, and the upper half belongs to access pipes. */
#define UNIT_ID_MAX (UINT64_MAX >> 4)

/* Copied out, as the bytes of a message need not be aligned for the struct. */
static int read_fixed(const void *message, size_t len, void *fixed, size_t size, struct error *err)
{
    if (len < size)
        return error_set(err, ERR_INVALID, "the message is too short");
    memcpy(fixed, message, size);
    return 0;
}

/* The next string of a region in which every one is shorter than `limit`. */
static const char *read_string(const void *message, size_t len, size_t *cursor, size_t limit)
{
    const char *text = keeper_next_string(message, len, cursor);

    return text && strlen(text) < limit ? text : NULL;
}

uint32_t message_type(const void *message, size_t len)
{
    struct keeper_header header;

    return read_fixed(message, len, &header, sizeof header, NULL) < 0 ? 0 : header.type;
}

uint32_t message_request(const void *message, size_t len)
{
    struct keeper_header header;

    return read_fixed(message, len, &header, sizeof header, NULL) < 0 ? 0 : header.request;
}

static bool is_unit_user(const struct keeper_policy *policy, uid_t uid)
{
    return uid >= policy->unit_uid_first && uid - policy->unit_uid_first < policy->unit_uid_count;
}

/* Control knows its uid only, and says it for both. */
static gid_t group_of(const struct keeper_policy *policy, uid_t uid, gid_t gid)
{
    return uid == policy->control_uid && gid == uid ? policy->control_gid : gid;
}

static int check_user(const struct keeper_policy *policy, const struct keeper_spawn *spawn,
                      struct error *err)
{
    bool is_self = spawn->flags & KEEPER_SPAWN_SELF;

    if (!policy->is_root)
        return 0;
    if (is_unit_user(policy, spawn->uid) && spawn->gid == spawn->uid)
        return 0;
    if (is_self && spawn->uid == policy->control_uid && spawn->gid == policy->control_gid)
        return 0;
    return error_set(err, ERR_PERMISSION, "no unit may run as user %u, group %u", spawn->uid,
                     spawn->gid);
}

static int check_spawn(const struct message_spawn *spawn, struct error *err)
{
    const struct keeper_spawn *fixed = &spawn->fixed;
    const uint32_t known = KEEPER_SPAWN_STDIN | KEEPER_SPAWN_LEADER_ONLY | KEEPER_SPAWN_SELF;

    if (fixed->unit == 0 || fixed->unit > UNIT_ID_MAX)
        return error_set(err, ERR_INVALID, "the unit's number is out of range");
    if (fixed->flags & ~known)
        return error_set(err, ERR_INVALID, "unknown flags 0x%x", fixed->flags & ~known);
    if (fixed->cpu_weight > 10000)
        return error_set(err, ERR_INVALID, "the processor weight %u is above 10000",
                         fixed->cpu_weight);
    if (fixed->cpu_limit_millis > 1000u * 1024u)
        return error_set(err, ERR_INVALID, "the processor limit is above 1024 cores");
    if (spawn->working_directory[0] != '/' || strlen(spawn->working_directory) >= PATH_MAX)
        return error_set(err, ERR_INVALID, "the working directory is not an absolute path");
    if (!spawn->is_self && !*spawn->argv[0])
        return error_set(err, ERR_INVALID, "the program has no name");
    return 0;
}

/* Only NAME=value; what the keeper itself sets is not taken from elsewhere. */
static bool is_variable(const char *text)
{
    const char *equals = strchr(text, '=');

    return equals && equals != text;
}

int message_read_spawn(const void *message, size_t len, const struct keeper_policy *policy,
                       struct message_spawn *ret_spawn, struct error *err)
{
    struct message_spawn *spawn = ret_spawn;
    size_t cursor = sizeof spawn->fixed;
    int code = read_fixed(message, len, &spawn->fixed, sizeof spawn->fixed, err);

    if (code < 0)
        return code;
    if (len - cursor > KEEPER_SPAWN_STRINGS_MAX)
        return error_set(err, ERR_INVALID, "the strings of the message are too long");
    if (spawn->fixed.argc == 0 || spawn->fixed.argc > KEEPER_ARGUMENTS_MAX)
        return error_set(err, ERR_INVALID, "%u arguments are not 1 to %u", spawn->fixed.argc,
                         KEEPER_ARGUMENTS_MAX);
    if (spawn->fixed.envc > KEEPER_ENVIRONMENT_MAX)
        return error_set(err, ERR_INVALID, "%u environment variables are more than %u",
                         spawn->fixed.envc, KEEPER_ENVIRONMENT_MAX);
    spawn->is_self = spawn->fixed.flags & KEEPER_SPAWN_SELF;
    spawn->fixed.gid = group_of(policy, spawn->fixed.uid, spawn->fixed.gid);
    spawn->tag = read_string(message, len, &cursor, KEEPER_TEXT_MAX);
    spawn->label = spawn->tag ? read_string(message, len, &cursor, KEEPER_TEXT_MAX) : NULL;
    spawn->working_directory = spawn->label ? read_string(message, len, &cursor, SIZE_MAX) : NULL;
    spawn->cgroup =
        spawn->working_directory ? read_string(message, len, &cursor, KEEPER_TEXT_MAX) : NULL;
    if (!spawn->cgroup)
        return error_set(err, ERR_INVALID, "a string of the message is missing or too long");
    for (uint32_t i = 0; i < spawn->fixed.argc; i++) {
        spawn->argv[i] = (char *)(uintptr_t)read_string(message, len, &cursor, SIZE_MAX);
        if (!spawn->argv[i])
            return error_set(err, ERR_INVALID, "argument %u is missing", i);
    }
    spawn->argv[spawn->fixed.argc] = NULL;
    spawn->envc = 0;
    for (uint32_t i = 0; i < spawn->fixed.envc; i++) {
        const char *text = read_string(message, len, &cursor, SIZE_MAX);

        if (!text || !is_variable(text))
            return error_set(err, ERR_INVALID,
                             "environment variable %u is missing or not NAME=value", i);
        if (strncmp(text, KEEPER_MARKER_VARIABLE "=", sizeof KEEPER_MARKER_VARIABLE) != 0)
            spawn->envp[spawn->envc++] = (char *)(uintptr_t)text;
    }
    spawn->envp[spawn->envc] = NULL;
    if (cursor != len)
        return error_set(err, ERR_INVALID, "the message has more strings than it says");
    code = check_spawn(spawn, err);
    return code < 0 ? code : check_user(policy, &spawn->fixed, err);
}

int message_read_stop(const void *message, size_t len, struct keeper_stop *ret_stop,
                      struct error *err)
{
    struct keeper_stop stop;
    int code = read_fixed(message, len, &stop, sizeof stop, err);

    if (code < 0)
        return code;
    /* A stopped process would sit out its grace without knowing. */
    if (stop.signal < 1 || stop.signal > 31 || stop.signal == SIGSTOP || stop.signal == SIGTSTP ||
        stop.signal == SIGTTIN || stop.signal == SIGTTOU)
        return error_set(err, ERR_INVALID, "signal %u does not stop a unit", stop.signal);
    *ret_stop = stop;
    return 0;
}

int message_read_forget(const void *message, size_t len, struct keeper_forget *ret_forget,
                        struct error *err)
{
    return read_fixed(message, len, ret_forget, sizeof *ret_forget, err);
}

/* "a/b/c": no empty, "." or ".." component, so that it cannot leave the folder that it is relative
 * to. */
static bool is_plain_path(const char *path)
{
    if (strlen(path) >= PATH_MAX)
        return false;
    for (const char *at = path;; at++) {
        size_t len = strcspn(at, "/");

        if (len == 0 || len > NAME_MAX || (len == 1 && at[0] == '.') ||
            (len == 2 && at[0] == '.' && at[1] == '.'))
            return false;
        at += len;
        if (!*at)
            return true;
    }
}

/* Where applications and databases live; the rest of the state folder is the platform's own. */
static bool is_for_applications(const char *path)
{
    static const char *const folders[] = {"apps/", "data/", "run/", "uploads/", "trash/"};

    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        if (strncmp(path, folders[i], strlen(folders[i])) == 0)
            return true;
    }
    return false;
}

int message_read_directory(const void *message, size_t len, const struct keeper_policy *policy,
                           struct message_directory *ret_directory, struct error *err)
{
    struct message_directory directory;
    size_t cursor = sizeof directory.fixed;
    int code = read_fixed(message, len, &directory.fixed, sizeof directory.fixed, err);

    if (code < 0)
        return code;
    directory.path = keeper_next_string(message, len, &cursor);
    if (!directory.path || !is_plain_path(directory.path))
        return error_set(err, ERR_INVALID, "the path is not a plain relative one");
    if (!is_for_applications(directory.path))
        return error_set(err, ERR_PERMISSION, "no folder may be made there");
    if (directory.fixed.mode & ~0777u)
        return error_set(err, ERR_INVALID, "the mode 0%o has special bits", directory.fixed.mode);
    if (policy->is_root) {
        uid_t uid = directory.fixed.uid;
        gid_t gid = group_of(policy, uid, directory.fixed.gid);

        if (!is_unit_user(policy, uid) && uid != policy->control_uid)
            return error_set(err, ERR_PERMISSION, "no folder may belong to user %u", uid);
        if (!is_unit_user(policy, gid) && gid != policy->control_gid && gid != policy->edge_gid)
            return error_set(err, ERR_PERMISSION, "no folder may belong to group %u", gid);
    }
    directory.fixed.gid = group_of(policy, directory.fixed.uid, directory.fixed.gid);
    *ret_directory = directory;
    return 0;
}

int message_read_name(const void *message, size_t len, const char **ret_name, struct error *err)
{
    struct keeper_hold fixed;
    size_t cursor = sizeof fixed;
    int code = read_fixed(message, len, &fixed, sizeof fixed, err);
    const char *name = code < 0 ? NULL : read_string(message, len, &cursor, KEEPER_TEXT_MAX);

    if (code < 0)
        return code;
    if (!name || !*name)
        return error_set(err, ERR_INVALID, "a held descriptor needs a name");
    *ret_name = name;
    return 0;
}

int message_read_upgrade(const void *message, size_t len, struct keeper_upgrade *ret_upgrade,
                         const char **ret_path, struct error *err)
{
    struct keeper_upgrade upgrade;
    size_t cursor = sizeof upgrade;
    int code = read_fixed(message, len, &upgrade, sizeof upgrade, err);
    const char *path = code < 0 ? NULL : read_string(message, len, &cursor, PATH_MAX);

    if (code < 0)
        return code;
    if (!path || cursor != len || upgrade.kind > KEEPER_UPGRADE_BACK ||
        (upgrade.kind == KEEPER_UPGRADE_TO_PATH ? path[0] != '/' : path[0] != '\0'))
        return error_set(err, ERR_INVALID, "the upgrade names no absolute path of a binary");
    *ret_upgrade = upgrade;
    *ret_path = path;
    return 0;
}

int message_read_stream_done(const void *message, size_t len, uint64_t *ret_stream,
                             struct error *err)
{
    struct keeper_stream_done done;
    int code = read_fixed(message, len, &done, sizeof done, err);

    if (code < 0)
        return code;
    *ret_stream = done.stream;
    return 0;
}
