/* One binary: a role under its title, a job, or the command line. */
#include <sys/prctl.h>

#include "cli/cli.h"
#include "deploy/job.h"
#include "main/roles.h"
#include "store/store.h"

/* The memory of the arguments, where ps(1) reads a process's title. */
static struct {
    char *start;
    size_t size;
    char **argv;
} arguments;

static void arguments_measure(int argc, char **argv)
{
    arguments.start = argv[0];
    arguments.argv = argv;
    arguments.size = 0;
    for (int i = 0; i < argc && argv[i] == arguments.start + arguments.size; i++)
        arguments.size += strlen(argv[i]) + 1;
}

/* What is the same for every keeper of this binary. */
static struct keeper_options keeper_base(char **argv)
{
    return (struct keeper_options){
        .roles = roles_table,
        .role_count = roles_count,
        .title = arguments.start,
        .title_size = arguments.size,
        .argv = argv,
        .store_oldest = STORE_FORMAT_VERSION,
        .store_newest = STORE_FORMAT_VERSION,
        .store_readable = STORE_FORMAT_VERSION,
    };
}

static int go_on(char **argv)
{
    struct keeper_options options = keeper_base(argv);
    struct error err = {0};
    int code = keeper_run_resumed(&options, &err);

    if (code < 0)
        log_failure(&err, "the platform ends");
    return code < 0 ? error_exit_status(code) : 0;
}

static int serve(const struct cli_serve *wanted, struct error *err)
{
    const char *addresses[] = {wanted->http}, *secure_addresses[] = {wanted->https};
    struct keeper_options options = keeper_base(arguments.argv);

    options.state_directory = wanted->state_directory;
    options.http = addresses;
    options.http_count = ARRAY_LEN(addresses);
    options.https = secure_addresses;
    options.https_count = wanted->https ? ARRAY_LEN(secure_addresses) : 0;
    options.edge_count = wanted->edges;
    options.log_level = wanted->log_level;
    return keeper_run(&options, err);
}

int main(int argc, char **argv)
{
    const struct cli_platform platform = {.serve = serve};
    const struct keeper_role_entry *role;

    if (argc < 1)
        return 2;
    role = roles_find(argv[0]);
    if (role) {
        (void)prctl(PR_SET_NAME, argv[0]);
        return role->entry();
    }
    if (argc >= 3 && strcmp(argv[1], "job") == 0)
        return job_main(argc - 2, argv + 2);
    arguments_measure(argc, argv);
    if (strcmp(argv[0], KEEPER_TRIAL_TITLE) == 0) {
        struct keeper_options options = keeper_base(argv);

        return keeper_trial(&options);
    }
    if (keeper_is_resumed())
        return go_on(argv);
    return cli_main(argc, argv, &platform);
}
