/* prepare.h - the job that makes a database's data folder ready for its server. Runs as a unit
 * (`slipway job database-prepare`).
 *
 * Why: the folder belongs to the database's own uid, so neither control nor the keeper can or
 * should work in it; and making a database takes seconds, which no loop may wait for. Repeating the
 * job is always right: what exists and fits is left alone, what a killed run left half made is
 * thrown away (it never had data), the configuration is written again each time.
 */
#ifndef DATA_PREPARE_H
#define DATA_PREPARE_H

#include "base/error.h"
#include "data/engine.h"

/* What engine_prepare_unit puts on standard input (JSON, secrets included) → config. Strings live
 * in arena. ERR_INVALID. */
MUST_USE int prepare_read(struct arena *arena, struct slice text, struct engine_config *ret_config,
                          struct error *err);

/* Make or update the folder. Blocks. ERR_VERSION: the data is of another engine or major version;
 * ERR_CONFLICT: a server still runs on it; ERR_PERMISSION: runs as root or as a uid without passwd
 * entry (PostgreSQL refuses both). */
MUST_USE int prepare_folder(const struct engine_config *config, struct error *err);

/* The job: reads standard input, prepares, tells a failure on stderr ("slipway: …", "HINT: …").
 * Returns the exit status. */
int prepare_main(void);

#endif
