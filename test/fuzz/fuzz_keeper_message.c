/* fuzz_keeper_message.c - arbitrary bytes as a request to the keeper: refused, or within its policy
 * and safe to use. */
#include "keeper/message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct keeper_policy policies[] = {
    {.is_root = true,
     .unit_uid_first = 900,
     .unit_uid_count = 32,
     .control_uid = 800,
     .control_gid = 800,
     .edge_uid = 801,
     .edge_gid = 801},
    {.is_root = false},
};

static size_t used; /* keeps the reads below from being optimised away */

static void use_spawn(const struct message_spawn *spawn, const struct keeper_policy *policy)
{
    size_t argc = 0, envc = 0;

    used += strlen(spawn->tag) + strlen(spawn->label) + strlen(spawn->cgroup);
    for (; spawn->argv[argc]; argc++)
        used += strlen(spawn->argv[argc]);
    for (; spawn->envp[envc]; envc++)
        assert(strchr(spawn->envp[envc], '=') > spawn->envp[envc]);
    assert(argc == spawn->fixed.argc && argc > 0 && envc == spawn->envc);
    assert(envc + 2 <= ARRAY_LEN(spawn->envp)); /* the marker's place */
    assert(spawn->working_directory[0] == '/');
    assert(spawn->fixed.unit != 0 && spawn->fixed.unit * 4 >> 63 == 0);
    if (policy->is_root)
        assert(spawn->fixed.uid >= 800 && spawn->fixed.uid < 932);
}

static void use_directory(const struct message_directory *directory)
{
    assert(*directory->path && *directory->path != '/' && !strstr(directory->path, "//"));
    assert(strncmp(directory->path, "../", 3) != 0 && !strstr(directory->path, "/../"));
    assert(!(directory->fixed.mode & ~0777u));
}

static void read_all(const void *message, size_t len, const struct keeper_policy *policy)
{
    static struct message_spawn spawn;
    struct message_directory directory;
    struct keeper_forget forget;
    struct keeper_stop stop;
    struct keeper_upgrade upgrade;
    struct error err = {0};
    const char *name;
    uint64_t stream;

    used += message_type(message, len) + message_request(message, len);
    if (message_read_spawn(message, len, policy, &spawn, &err) == 0)
        use_spawn(&spawn, policy);
    if (message_read_directory(message, len, policy, &directory, &err) == 0)
        use_directory(&directory);
    if (message_read_stop(message, len, &stop, &err) == 0)
        assert(stop.signal > 0 && stop.signal < 32);
    if (message_read_name(message, len, &name, &err) == 0)
        assert(*name && strlen(name) < KEEPER_TEXT_MAX);
    if (message_read_upgrade(message, len, &upgrade, &name, &err) == 0)
        assert(upgrade.kind == KEEPER_UPGRADE_TO_PATH ? name[0] == '/' : name[0] == 0);
    if (message_read_forget(message, len, &forget, &err) == 0)
        used += forget.unit != 0;
    if (message_read_stream_done(message, len, &stream, &err) == 0)
        used += stream != 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *copy = malloc(size ? size : 1); /* its end is watched */

    if (!copy)
        return 0;
    memcpy(copy, data, size);
    for (size_t i = 0; i < ARRAY_LEN(policies); i++)
        read_all(copy, size, &policies[i]);
    free(copy);
    return 0;
}
