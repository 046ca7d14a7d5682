/* chore.h - removals that go on beside everything else, each in a unit of the uid that owns the
 * files.
 *
 * Nothing durable: what is to be removed is known from the records (a release without files), so a
 * chore that a crash cut short is begun again.
 */
#ifndef DEPLOY_CHORE_H
#define DEPLOY_CHORE_H

#include "deploy/platform.h"

struct chore {
    struct list node; /* in platform->chores */
    struct platform *platform;
    struct unit unit;
    char app[NAMES_NAME_SIZE];
    char path[NAMES_PATH_SIZE]; /* absolute */
};

void chores_free(struct platform *platform);
bool chores_has(const struct platform *platform,
                const char *app); /* something of it is being removed */

#endif
