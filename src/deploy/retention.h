/* retention.h - which releases keep their folders. Pure. */
#ifndef DEPLOY_RETENTION_H
#define DEPLOY_RETENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct retention_release {
    uint64_t number;
    bool is_needed; /* live, part of a running deploy, or a process of it still runs */
    bool was_live;  /* failed ones are dropped first: nobody can roll back to them */
    bool has_files;
    bool is_dropped; /* out */
};

/* Mark what is beyond the newest `keep` (the needed ones count, and are never marked). `releases`
 * is in order of number. */
void retention_mark(struct retention_release *releases, size_t count, unsigned keep);

#endif
