/* environment.h - the environment of a unit: what the manifest says, resolved, and what the
 * platform adds. */
#ifndef DEPLOY_ENVIRONMENT_H
#define DEPLOY_ENVIRONMENT_H

#include "deploy/app.h"

struct environment {
    const char **items; /* "NAME=value" */
    size_t count;
};

struct environment_extra {
    bool is_build;    /* CI=true; caches */
    unsigned port;    /* 0: none */
    bool is_notified; /* NOTIFY_SOCKET */
    const char *instance;
};

/* Generate what {generate: true} asks for and the app does not have yet; values of earlier releases
 * are kept. Call once when the release is made. */
void environment_generate(struct app *app, struct release *release);
/* Everything for a process of the service. Later names replace earlier ones; what the platform sets
 * (PORT, SLIPWAY_…) cannot be replaced. ERR_NOT_FOUND: a reference that leads nowhere, named
 * without its value. */
MUST_USE int environment_make(struct app *app, const struct release *release,
                              const struct manifest_service *service,
                              const struct environment_extra *extra, struct arena *arena,
                              struct environment *ret_environment, struct error *err);
/* Check references before anything runs. */
MUST_USE int environment_check(const struct manifest *manifest, struct error *err);

#endif
