/* engine_private.h - what an engine is made of; one table row each, see engine.c. */
#ifndef DATA_ENGINE_PRIVATE_H
#define DATA_ENGINE_PRIVATE_H

#include "data/engine.h"

#define ENGINE_ADMIN     "slipway_admin" /* the platform's own role */
#define ENGINE_NAME_SIZE 64u

struct engine {
    enum database_type type;
    int (*check)(const struct engine_config *config,
                 struct error *err); /* beyond the common part */
    int (*find)(struct arena *arena, unsigned version, unsigned *ret_version,
                const char **ret_programs, struct error *err);
    void (*run_unit)(struct arena *arena, const struct engine_config *config,
                     struct engine_unit *ret_unit);
    /* The application's side: role, database, and the scheme of the URL. */
    const char *scheme;
    const char *(*user)(const struct engine_config *config, char buffer[ENGINE_NAME_SIZE]);
    const char *(*database)(const struct engine_config *config, char buffer[ENGINE_NAME_SIZE]);
    /* In the prepare job: `folder`/data does not exist yet (make it whole, then rename) or does
     * (check and update it). */
    int (*prepare)(const struct engine_config *config, bool has_new_passwords, struct error *err);
    /* Probe: what to send, and what an answer means: ERR_CANCELLED = not complete yet, else as
     * engine_probe.on_done. */
    void (*probe_request)(const struct engine_config *config, struct buf *ret_request);
    int (*probe_answer)(struct slice answer, char *text, size_t size);
};

extern const struct engine engine_postgres, engine_redis;
const struct engine *engine_of(enum database_type type); /* NULL: not in this version */

/* Append `text` with `quote` and '\\' escaped as the engine's configuration file wants it. */
const char **engine_environment(struct arena *arena, const struct engine_config *config,
                                size_t *ret_count);

#endif
