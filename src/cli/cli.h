/* cli.h - the command line: `slipway VERB …`.
 *
 * Why: one table (admin/operations.def) names every verb and option; parsing, help, manual pages
 * and completions come from it. Verbs talk to the platform only through its admin socket; `serve`
 * is handed to main/ through cli_platform, so that this room knows nothing of the roles. Exit
 * status: 0, or that of the error's row in base/errors.def (`slipway help exit-codes`). Errors go
 * to stderr as "slipway: message" plus a "HINT: …" line.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/error.h"
#include "base/log.h"

struct cli_serve {
    const char *state_directory; /* absolute; may not exist yet */
    const char *http;            /* "ADDR:PORT"; default "*:80" for root, "*:8080" else */
    const char *https;           /* "ADDR:PORT"; NULL: none */
    unsigned edges; /* at least 1; default: one a core, at most half of KEEPER_EDGES_MAX, so that
                       an upgrade has as many indexes free */
    enum log_level log_level;
};

struct cli_platform {
    /* Become the platform; returns when it has stopped: 0, or an error code with err filled. */
    int (*serve)(const struct cli_serve *options, struct error *err);
};

/* Run one command; returns the exit status of the process. */
int cli_main(int argc, char **argv, const struct cli_platform *platform);

#endif
