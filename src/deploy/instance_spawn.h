/* instance_spawn.h - the parts of an instance that are not its state machine: its record and its
 * process. */
#ifndef DEPLOY_INSTANCE_SPAWN_H
#define DEPLOY_INSTANCE_SPAWN_H

#include "deploy/instance.h"

/* A zeroed instance with its callbacks set, in the app's list. */
struct instance *instance_allocate(struct app *app, const char *service, unsigned ordinal);

/* Choose a unit id and a port, and ask for the process. ERR_LIMIT (ports), or what environment_make
 * says. */
MUST_USE int instance_spawn(struct instance *instance, struct error *err);

#endif
