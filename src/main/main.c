/* One binary: a role under its title, a job, or the command line. */
#include <sys/prctl.h>

#include "cli/cli.h"
#include "deploy/job.h"
#include "main/roles.h"

/* The memory of the arguments, where ps(1) reads a process's title. */
static struct {
    char *start;
    size_t size;
} arguments;

static void arguments_measure(int argc, char **argv)
{
    arguments.start = argv[0];
    arguments.size = 0;
    for (int i = 0; i < argc && argv[i] == arguments.start + arguments.size; i++)
        arguments.size += strlen(argv[i]) + 1;
}

static int serve(const struct cli_serve *wanted, struct error *err)
{
    const char *addresses[] = {wanted->http}, *secure_addresses[] = {wanted->https};
    struct keeper_options options = {
        .state_directory = wanted->state_directory,
        .http = addresses,
        .http_count = ARRAY_LEN(addresses),
        .https = secure_addresses,
        .https_count = wanted->https ? ARRAY_LEN(secure_addresses) : 0,
        .edge_count = wanted->edges,
        .log_level = wanted->log_level,
        .roles = roles_table,
        .role_count = roles_count,
        .title = arguments.start,
        .title_size = arguments.size,
    };

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
    return cli_main(argc, argv, &platform);
}
