/* upgrade and downgrade: ask, then follow what the keeper does. The control that was asked is
 * replaced on the way, so the following is a question again and again. */
#include "base/clock.h"
#include "cli/cli_private.h"
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define LOOK_EVERY_US 50000
/* The keeper's own deadlines add up to less, there and back again. */
#define FOLLOW_MAX_US (10u * 60u * 1000000ull)
/* A control that was replaced at once may not have passed the request on. */
#define UNHEARD_MAX_US (5u * 1000000u)

static int binary_path(struct command *command, const char **ret_path, struct error *err)
{
    const char *given = command_argument(command, 0);
    char path[PATH_MAX];
    *ret_path = NULL;
    if (!given)
        return 0;
    if (!realpath(given, path)) {
        error_errno(err, errno, "unable to find '%s'", given);
        return error_hint(err, "name the new slipway binary; without a name the one is taken that "
                               "lies where the platform was started from");
    }
    *ret_path = arena_text(command->arena, path);
    return 0;
}

static int upgrade_ask(struct command *command, bool is_back, int64_t *ret_upgrade,
                       struct error *err)
{
    struct buf body = BUF_INIT(2 * PATH_MAX);
    struct json_writer writer = JSON_WRITER(&body);
    struct json *answer = NULL;
    const char *path = NULL;
    int r = is_back ? 0 : binary_path(command, &path, err);
    if (r < 0)
        return r;
    json_begin_object(&writer, NULL);
    if (path)
        json_write_text(&writer, "binary", path);
    json_write_boolean(&writer, "is_downgrade", is_back);
    json_end_object(&writer);
    struct call call = {.method = "POST", .target = "/v1/upgrade", .body = buf_slice(&body)};
    r = platform_call_json(command, &call, NULL, &answer, err);
    if (r == 0)
        *ret_upgrade = json_get_integer(answer, "upgrade", 0);
    buf_done(&body);
    return r;
}

/* One line for each new step. */
static void show(struct command *command, const struct json *state, struct slice raw,
                 const char **last)
{
    const char *name = json_get_text(state, "state", "?"), *step = json_get_text(state, "step", "");
    const char *now = arena_printf(command->arena, "%s/%s", name, step);
    if (*last && strcmp(*last, now) == 0)
        return;
    *last = now;
    if (command_option(command, "json")) {
        printf(SLICE_FORMAT "\n", SLICE_ARG(raw));
    } else if (strcmp(name, "returning") == 0 && step[0]) {
        printf("  returning to %s: %s\n", json_get_text(state, "from", "the old version"), step);
    } else if (step[0]) {
        printf("  %s\n", step);
    }
    fflush(stdout);
}

/* 0: done; else why not. */
static int conclude(struct command *command, const struct json *state, struct error *err)
{
    const char *name = json_get_text(state, "state", "?"),
               *from = json_get_text(state, "from", "?"), *to = json_get_text(state, "to", "?");
    int code = error_from_name(json_get_text(state, "code", "failed"));
    if (strcmp(name, "done") == 0) {
        if (!command_option(command, "json"))
            printf("the platform runs %s, before %s\n", to, from);
        return 0;
    }
    error_set(err, code, "%s", json_get_text(state, "reason", "it failed"));
    if (strcmp(name, "returned") == 0)
        error_wrap(err, "the platform returned to %s", from);
    else
        error_wrap(err, "nothing was changed");
    if (json_get_text(state, "hint", NULL))
        error_hint(err, "%s", json_get_text(state, "hint", ""));
    return code;
}

static volatile sig_atomic_t is_interrupted;

static void on_interrupt(int number)
{
    (void)number;
    is_interrupted = 1;
}

/* ERR_CANCELLED: Ctrl-C ended the following, not the upgrade. */
static int upgrade_follow(struct command *command, int64_t upgrade, struct error *err)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    struct call call = {.method = "GET", .target = "/v1/upgrade", .is_repeatable = true};
    uint64_t began_us = clock_monotonic_us();
    const char *last = NULL;
    (void)sigaction(SIGINT, &action, NULL);
    for (;;) {
        struct json *state = NULL;
        struct slice raw = {0};
        int r = platform_call_json(command, &call, &raw, &state, err);
        uint64_t waited_us = clock_monotonic_us() - began_us;
        if (is_interrupted)
            return ERR_CANCELLED;
        if (r < 0 && r != ERR_UNAVAILABLE && r != ERR_IO && r != ERR_TIMEOUT)
            return r;
        if (r < 0 && (waited_us > FOLLOW_MAX_US || !platform_is_there(command->state_directory)))
            return r;
        bool is_known = r == 0 && json_get_integer(state, "upgrade", 0) >= upgrade;
        if (is_known)
            show(command, state, raw, &last);
        if (is_known && json_get_text(state, "ended_at", NULL))
            return conclude(command, state, err);
        if (r == 0 && !is_known && waited_us > UNHEARD_MAX_US)
            return error_set(err, ERR_FAILED,
                             "control was restarted before the request reached the keeper");
        if (waited_us > FOLLOW_MAX_US)
            return error_set(err, ERR_TIMEOUT, "the upgrade does not end");
        usleep(LOOK_EVERY_US);
    }
}

static int run(struct command *command, bool is_back)
{
    struct error err = {0};
    int64_t upgrade = 0;
    int r = upgrade_ask(command, is_back, &upgrade, &err);
    if (r == 0)
        r = upgrade_follow(command, upgrade, &err);
    if (r == ERR_CANCELLED && is_interrupted) {
        print_note("it goes on; 'slipway status' shows how");
        return CLI_EXIT_INTERRUPTED;
    }
    return r < 0 ? fail_with(&err) : 0;
}

int verb_upgrade(struct command *command)
{
    return run(command, false);
}

int verb_downgrade(struct command *command)
{
    return run(command, true);
}
