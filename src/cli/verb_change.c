/* The verbs that change what runs without sending a source: rollback, scale, restart, cancel,
 * remove. */
#include "cli/cli_private.h"
#include <unistd.h>

int change_and_watch(struct command *command, const struct call *call)
{
    struct deploy_ticket ticket = {0};
    struct json *answer = NULL;
    struct slice text = {0};
    struct error err = {0};
    bool is_interrupted = false;
    int r = platform_call_json(command, call, &text, &answer, &err);
    if (r == 0 && json_get(answer, "deploy") && json_get_integer(answer, "deploy", -1) == 0) {
        if (command_option(command, "json"))
            printf(SLICE_FORMAT "\n", SLICE_ARG(text));
        else
            printf("%s is back; it had nothing live to start\n",
                   json_get_text(answer, "app", "it"));
        return 0;
    }
    if (r == 0)
        r = ticket_read(command, answer, &ticket, &err);
    if (r < 0)
        return fail_with(&err);
    if (command_option(command, "detach")) {
        if (command_option(command, "json"))
            printf(SLICE_FORMAT "\n", SLICE_ARG(text));
        else
            printf("begun; 'slipway status %s' shows how it goes\n", ticket.app);
        return 0;
    }
    r = deploy_watch(command, &ticket, &is_interrupted, &err);
    if (is_interrupted) {
        print_note("it goes on; 'slipway cancel %s' ends it", ticket.app);
        return CLI_EXIT_INTERRUPTED;
    }
    return r < 0 ? fail_with(&err) : 0;
}

/* "v12": 12; 0: not a release. */
static uint64_t release_number(const char *text)
{
    uint64_t number = 0;
    if (text && text[0] == 'v' && slice_to_u64(slice_from(text + 1), &number) == 0)
        return number;
    return 0;
}

int verb_rollback(struct command *command)
{
    const char *first = command_argument(command, 0), *second = command_argument(command, 1), *app;
    struct error err = {0};
    uint64_t release = release_number(second ? second : first);
    if (second && !release) {
        error_set(&err, ERR_USAGE, "'%s' is not a release like v12", second);
        error_hint(&err, "'slipway releases %s' lists them", first);
        return fail_with(&err);
    }
    if (command_app(command, second || !release ? first : NULL, &app, &err) < 0)
        return fail_with(&err);
    struct call call = {
        .method = "POST",
        .target = target_format(command, "/v1/apps/%s/rollback", encoded(command, app)),
        .is_repeatable = release != 0, /* "the previous one" would go back and forth */
    };
    if (release)
        call.body = slice_from(
            arena_printf(command->arena, "{\"release\":%llu}", (unsigned long long)release));
    return change_and_watch(command, &call);
}

static const char *json_quoted(struct command *command, const char *text)
{
    struct buf buf = BUF_INIT(65536);
    json_append_string(&buf, slice_from(text));
    const char *result = arena_text(command->arena, buf_text(&buf));
    buf_done(&buf);
    return result;
}

static int scale_one(struct command *command, const char *app, const char *wanted)
{
    struct slice rest = slice_from(wanted), service = slice_cut(&rest, '=');
    struct error err = {0};
    uint64_t instances;
    if (service.len == 0 || slice_to_u64(rest, &instances) < 0 ||
        instances > MANIFEST_INSTANCES_MAX) {
        error_set(&err, ERR_USAGE, "'%s' is not SERVICE=N with N from 0 to %u", wanted,
                  MANIFEST_INSTANCES_MAX);
        error_hint(&err, "like this: slipway scale %s web=3", app);
        return fail_with(&err);
    }
    const char *name = arena_slice_text(command->arena, service);
    struct call call = {
        .method = "POST",
        .target = target_format(command, "/v1/apps/%s/scale", encoded(command, app)),
        .body = slice_from(arena_printf(command->arena, "{\"service\":%s,\"instances\":%u}",
                                        json_quoted(command, name), (unsigned)instances)),
        .is_repeatable = true,
    };
    return change_and_watch(command, &call);
}

int verb_scale(struct command *command)
{
    int status = 0;
    for (size_t i = 1; i < command->argument_count && status == 0; i++)
        status = scale_one(command, command->arguments[0], command->arguments[i]);
    return status;
}

int verb_restart(struct command *command)
{
    const char *service = command_argument(command, 1);
    struct call call = {
        .method = "POST",
        .target =
            target_format(command, "/v1/apps/%s/restart", encoded(command, command->arguments[0])),
    };
    if (service)
        call.body = slice_from(
            arena_printf(command->arena, "{\"service\":%s}", json_quoted(command, service)));
    return change_and_watch(command, &call);
}

int verb_cancel(struct command *command)
{
    struct call call = {
        .method = "POST",
        .target =
            target_format(command, "/v1/apps/%s/cancel", encoded(command, command->arguments[0])),
    };
    struct json *answer = NULL;
    struct slice text = {0};
    struct error err = {0};
    int r = platform_call_json(command, &call, &text, &answer, &err);
    if (r < 0)
        return fail_with(&err);
    if (command_option(command, "json"))
        printf(SLICE_FORMAT "\n", SLICE_ARG(text));
    else
        printf("deploy %lld of %s is being cancelled; the old release serves on\n",
               (long long)json_get_integer(answer, "deploy", 0), command->arguments[0]);
    return 0;
}

/* True when the person at the terminal types the app's name. */
static bool is_confirmed(const char *app)
{
    char answer[256];
    printf("remove %s? It stops, and its releases and data move to the trash.\ntype its name to go "
           "on: ",
           app);
    fflush(stdout);
    if (!fgets(answer, sizeof(answer), stdin))
        return false;
    return slice_eq(slice_trim(slice_from(answer)), slice_from(app));
}

int verb_remove(struct command *command)
{
    const char *app = command->arguments[0];
    struct error err = {0};
    if (!command_option(command, "yes")) {
        if (isatty(STDIN_FILENO) != 1) {
            error_set(&err, ERR_USAGE, "remove asks, and there is nobody at a terminal to answer");
            error_hint(&err, "slipway remove %s --yes", app);
            return fail_with(&err);
        }
        if (!is_confirmed(app)) {
            error_set(&err, ERR_CANCELLED, "nothing was removed");
            return fail_with(&err);
        }
    }
    struct call call = {.method = "DELETE",
                        .target = target_format(command, "/v1/apps/%s", encoded(command, app))};
    return change_and_watch(command, &call);
}
