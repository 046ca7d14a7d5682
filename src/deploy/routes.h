/* routes.h - from the model to the edges' routing snapshot. */
#ifndef DEPLOY_ROUTES_H
#define DEPLOY_ROUTES_H

#include "deploy/app.h"

/* A host that some live release serves with TLS: what its routes say together. */
struct routes_host {
    const char *host; /* as in a manifest: lower case, "*.example.org", "" */
    const struct app *app;
    const struct manifest *manifest;                  /* whose route says so; its `acme` applies */
    const struct manifest_tls *tls;                   /* mode is not off */
    const struct manifest_client_certificate *client; /* NULL: none */
};

/* ERR_CONFLICT when a route of the manifest is taken by another app (its live release or one on its
 * way), or when another app serves the same host with another certificate or other TLS settings. */
MUST_USE int routes_check(const struct platform *platform, const char *app,
                          const struct manifest *manifest, struct error *err);
/* All of them, by name; in `arena`, what they point to lives as long as the releases. */
void routes_hosts(const struct platform *platform, struct arena *arena,
                  struct routes_host **ret_hosts, size_t *ret_count);
/* The block for net/snapshot.h. Draining instances are in it until they are gone. ERR_LIMIT. */
MUST_USE int routes_build(struct platform *platform, uint64_t version, struct buf *ret_block,
                          struct error *err);

#endif
