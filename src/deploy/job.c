#include "deploy/job.h"
#include "base/error.h"
#include "base/slice.h"
#include "data/prepare.h"
#include "deploy/publish.h"
#include "os/archive.h"
#include "os/file.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int tell(const struct error *err)
{
    (void)fprintf(stderr, "slipway: %s\n", err->text);
    if (err->hint[0])
        (void)fprintf(stderr, "HINT: %s\n", err->hint);
    return error_exit_status(err->code);
}

static int job_unpack(char **arguments)
{
    struct archive_limits limits;
    struct error err = {0};

    if (slice_to_u64(slice_from(arguments[1]), &limits.bytes) != 0 ||
        slice_to_u64(slice_from(arguments[2]), &limits.files) != 0) {
        error_set(&err, ERR_USAGE, "the ceilings are not numbers");
        return tell(&err);
    }
    /* A run that was cut short may have left a part. */
    if (directory_remove_content(arguments[0], &err) != 0 ||
        archive_unpack(STDIN_FILENO, arguments[0], limits, &err) != 0)
        return tell(&err);
    return 0;
}

static int job_publish(char **arguments)
{
    struct error err = {0};

    if (publish_run(arguments[0], arguments[1], &err) != 0)
        return tell(&err);
    return 0;
}

static int job_remove_tree(char **arguments)
{
    struct error err = {0};

    if (directory_remove_content(arguments[0], &err) != 0)
        return tell(&err);
    return 0;
}

static int job_database_prepare(char **arguments)
{
    (void)arguments;
    return prepare_main();
}

static const struct job {
    const char *name;
    int argument_count;
    int (*run)(char **arguments);
} jobs[] = {
    {"unpack", 3, job_unpack},
    {"publish", 2, job_publish},
    {"remove-tree", 1, job_remove_tree},
    {ENGINE_JOB_PREPARE, 0, job_database_prepare},
};

int job_main(int argc, char **argv)
{
    struct error err = {0};

    for (size_t i = 0; argc > 0 && i < ARRAY_LEN(jobs); i++)
        if (strcmp(jobs[i].name, argv[0]) == 0 && argc - 1 == jobs[i].argument_count)
            return jobs[i].run(argv + 1);
    error_set(&err, ERR_USAGE, "unknown job '%s', or the wrong number of arguments",
              argc > 0 ? argv[0] : "");
    return tell(&err);
}
