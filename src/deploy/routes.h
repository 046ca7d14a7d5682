/* routes.h - from the model to the edges' routing snapshot. */
#ifndef DEPLOY_ROUTES_H
#define DEPLOY_ROUTES_H

#include "deploy/app.h"

/* ERR_CONFLICT when a route of the manifest is taken by another app (its live release or one on its
 * way). */
MUST_USE int routes_check(const struct platform *platform, const char *app,
                          const struct manifest *manifest, struct error *err);
/* The block for net/snapshot.h. Draining instances are in it until they are gone. ERR_LIMIT. */
MUST_USE int routes_build(struct platform *platform, uint64_t version, struct buf *ret_block,
                          struct error *err);

#endif
