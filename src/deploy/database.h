/* database.h - a database of an app: an instance of the platform that is prepared, started, probed
 * and never cleaned up.
 *
 *   stopped → claiming → preparing → starting → ready ⇄ unhealthy
 *                ↑                      └── crash ──→ backoff ┘      any → stopping → stopped
 *
 * Claiming: its folder, with all that is in it, is given to its user.
 */
#ifndef DEPLOY_DATABASE_H
#define DEPLOY_DATABASE_H

#include "data/engine.h"
#include "deploy/app.h"
#include "deploy/restart.h"

#define DATABASE_STATES(X)                                                                         \
    X(DATABASE_STOPPED, "stopped")                                                                 \
    X(DATABASE_CLAIMING, "claiming")                                                               \
    X(DATABASE_PREPARING, "preparing")                                                             \
    X(DATABASE_STARTING, "starting")                                                               \
    X(DATABASE_READY, "ready")                                                                     \
    X(DATABASE_UNHEALTHY, "unhealthy")                                                             \
    X(DATABASE_BACKOFF, "backoff")                                                                 \
    X(DATABASE_STOPPING, "stopping")

enum database_state {
#define X(state, name) state,
    DATABASE_STATES(X)
#undef X
        DATABASE_STATE_COUNT
};

struct database {
    struct list node; /* in app->databases */
    struct app *app;
    char name[NAMES_NAME_SIZE];
    enum database_state state;
    struct engine_config config; /* strings are owned by the arena */
    struct arena *arena;
    struct unit unit; /* prepare job or server, by state */
    struct directory_request folder;
    struct probe probe;
    struct loop_timer timer;
    struct restart restart;
    bool is_wanted;
    bool is_probe_good; /* answered once since it was started */
    unsigned restarts, bad_count;
    uint64_t spawned_at_us;
    uint64_t last_unit; /* whose output tells why it ended */
    char probe_text[PROBE_TEXT_SIZE];
    int stop_signal;
    uint32_t stop_grace_ms;
    char message[PROBE_TEXT_SIZE];
};

const char *database_state_name(enum database_state state);
struct database *database_find(const struct app *app, const char *name); /* NULL */
/* Make sure that the database of the manifest exists in the model (passwords, port, record) and is
 * wanted: it starts. ERR_NOT_FOUND (programs, with the package as hint), ERR_UNSUPPORTED,
 * ERR_CONFLICT (the data are of another type). */
MUST_USE int database_want(struct app *app, const struct manifest_database *spec,
                           struct error *err);
void database_unwant(struct database *database); /* stops gracefully; data stay */
MUST_USE int database_load(struct app *app, const char *name, const struct json *json,
                           struct error *err);
void database_resume(struct database *database);
void database_free(struct database *database);
bool database_is_down(const struct database *database); /* no process of it is left */

#endif
