/* keeper.h - the keeper: the one process that is root, starts every other one and outlives them
 * all.
 *
 * Why: what must survive a crash of any other role (listeners, output pipes, counters, held
 * descriptors, the table of running units) lives here, in a program that parses nothing and never
 * blocks, so small that it has no reason to crash. Threads: one.   Blocks: at start only.   Design:
 * docs/design/keeper.md
 */
#ifndef KEEPER_KEEPER_H
#define KEEPER_KEEPER_H

#include "base/error.h"
#include "base/keeper_protocol.h"
#include "base/log.h"
#include <stdbool.h>

#define KEEPER_LISTENERS_MAX 8u
/* The title that a role runs under: argv[0] is "slipway: control", "slipway: edge 1", … */
#define KEEPER_TITLE_PREFIX "slipway: "

/* A row of the table of roles (main/roles.c). The keeper starts this binary again under the row's
 * title; main() then looks the title up and calls the entry. */
struct keeper_role_entry {
    enum keeper_role role;
    const char *name;   /* "edge" */
    const char *user;   /* in root mode */
    bool is_per_edge;   /* edge_count of them, numbered from 1 */
    int (*entry)(void); /* returns the exit status; its channel is KEEPER_CHANNEL_FD */
};

struct keeper_options {
    const char *state_directory; /* absolute; made when missing */
    /* Addresses to listen on, for plain connections and for TLS; port 0: any free one. */
    const char *const *http, *const *https;
    size_t http_count, https_count; /* together 1..KEEPER_LISTENERS_MAX, http at least 1 */
    unsigned edge_count;            /* 1..KEEPER_EDGES_MAX */
    enum log_level log_level;
    const struct keeper_role_entry
        *roles; /* started in this order, which must be logd, signer, control, edges */
    size_t role_count;
    /* Formats of the state store: what this binary reads, from oldest to readable, and writes. */
    unsigned store_oldest, store_newest, store_readable;
    char **argv;      /* for the next binary, so that ps(1) shows the same; NULL-terminated */
    uint64_t quit_ms; /* from the first SIGTERM until everything is killed; 0: 85 s */
    bool is_without_cgroups; /* behave as on a machine that has none */
    char *title;             /* the memory of argv, for the title of the guard; NULL: leave */
    size_t title_size;
};

#define KEEPER_TRIAL_TITLE KEEPER_TITLE_PREFIX "trial"
/* In the environment of a binary that is to go on as the keeper: the descriptor of the state that
 * the one before left, and ":back" when the other could not. */
#define KEEPER_RESUME_VARIABLE "SLIPWAY_KEEPER_STATE"

/* Say on stdout whether this binary could go on with the state at KEEPER_CHANNEL_FD; changes
 * nothing. Returns the exit status. */
int keeper_trial(const struct keeper_options *options);
/* Whether this process is to go on where another binary left off. */
bool keeper_is_resumed(void);
/* keeper_run for that case: of `options` only roles, title, argv and the formats count, the rest
 * is in the state. */
MUST_USE int keeper_run_resumed(const struct keeper_options *options, struct error *err);

/* Be the keeper until SIGTERM or SIGINT; nothing that was started here is left when it returns.
 * Errors at start: ERR_CONFLICT another platform has the state folder; ERR_PERMISSION, ERR_INVALID,
 * ERR_SYSTEM: folder, address, users, each with what to do. */
MUST_USE int keeper_run(const struct keeper_options *options, struct error *err);

#endif
