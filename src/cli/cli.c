#include "cli/cli_private.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

#define ARENA_LIMIT ((size_t)512 * 1024 * 1024)

static const struct {
    const char *name;
    int (*run)(struct command *command);
} verbs[] = {
#define VERB(name, usage, summary, description) {#name, verb_##name},
#define HIDDEN(name, usage, summary)            {#name, verb_##name},
#include "admin/operations.def"
};

static int state_directory(struct command *command, struct error *err)
{
    const char *given = command_option(command, "state"), *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME"), *named = getenv("SLIPWAY_STATE");
    char here[PATH_MAX];
    if (!given)
        given = named && named[0] ? named : NULL;
    if (!given && geteuid() == 0)
        given = "/var/lib/slipway";
    if (!given && data && data[0] == '/')
        given = arena_printf(command->arena, "%s/slipway", data);
    if (!given && home && home[0] == '/')
        given = arena_printf(command->arena, "%s/.local/share/slipway", home);
    if (!given || !given[0]) {
        error_set(err, ERR_USAGE, "there is no home folder for the platform's state");
        return error_hint(err, "name a folder with --state DIR");
    }
    if (given[0] != '/') {
        if (!getcwd(here, sizeof(here)))
            return error_errno(err, errno, "unable to tell the current folder");
        given = arena_printf(command->arena, "%s/%s", here, given);
    }
    size_t len = strlen(given);
    while (len > 1 && given[len - 1] == '/')
        len--;
    command->state_directory = arena_slice_text(command->arena, (struct slice){given, len});
    return 0;
}

static int run(struct command *command)
{
    struct error err = {0};
    if (command_option(command, "help") && strcmp(command->verb->name, "help") != 0) {
        struct buf text = BUF_INIT(65536);
        help_verb(command->verb, &text);
        print_buf(&text);
        buf_done(&text);
        return 0;
    }
    if (state_directory(command, &err) < 0)
        return fail_with(&err);
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (strcmp(verbs[i].name, command->verb->name) == 0)
            return verbs[i].run(command);
    error_set(&err, ERR_INTERNAL, "the command '%s' has no code", command->verb->name);
    return fail_with(&err);
}

int cli_main(int argc, char **argv, const struct cli_platform *platform)
{
    struct error err = {0};
    CLEANUP(arena_freep) struct arena *arena = arena_new(ARENA_LIMIT);
    struct command command = {.arena = arena, .platform = platform};
    log_init("slipway", LOG_WARNING);
    if (command_parse(&command, argc, argv, &err) < 0)
        return fail_with(&err);
    return run(&command);
}
