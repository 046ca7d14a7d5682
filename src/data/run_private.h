/* run_private.h - one of an engine's programs, run to its end inside the prepare job. */
#ifndef DATA_RUN_PRIVATE_H
#define DATA_RUN_PRIVATE_H

#include "data/engine.h"

#define RUN_PATH_SIZE (ENGINE_FOLDER_MAX + 128u)

struct run {
    const char *what;             /* for messages */
    const char *const *arguments; /* NULL-terminated; [0] is a path */
    const struct engine_config *config;
    struct slice input; /* what it reads on standard input */
    struct buf *output; /* its standard output; NULL: thrown away */
    unsigned timeout_seconds;
};

/* Blocks until it has ended. Its stderr is ours, so what it complains about is in the log.
 * ERR_FAILED: its exit status was not 0; ERR_TIMEOUT: it was killed. */
MUST_USE int run_program(const struct run *run, struct error *err);

#endif
