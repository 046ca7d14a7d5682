/* app.h - one app: its records in the store, its releases and what should run. */
#ifndef DEPLOY_APP_H
#define DEPLOY_APP_H

#include "deploy/platform.h"
#include "deploy/release.h"

struct app *app_new(struct platform *platform, const char *name);
void app_free(struct app *app); /* and everything of it; nothing of it may run */

struct release *app_release(const struct app *app, uint64_t number); /* NULL */
struct release *app_current(const struct app *app);                  /* NULL */
/* The release that the routes come from: the live one, or that of the running deploy once its
 * routes are shifted. */
struct release *app_routed(const struct app *app);
/* What `slipway rollback` without a number means; 0: none. */
uint64_t app_previous(const struct app *app);
/* Release `number` has become live (again). */
void app_history_push(struct app *app, uint64_t number);

/* How many instances a service of a release should have: the person's word, else the manifest's. */
unsigned app_instances_wanted(const struct app *app, const struct manifest_service *service);
void app_scale_set(struct app *app, const char *service, unsigned instances,
                   unsigned manifest_count);
/* Drop words of a person that a new manifest overrules. */
void app_scales_prune(struct app *app, const struct manifest *manifest);

/* True when every database of the release is ready (or there is none). ret_waiting: the first that
 * is not. */
bool app_databases_are_ready(const struct app *app, const struct release *release,
                             const char **ret_waiting);

/* Records. */
void app_write(struct app *app); /* /apps/<app>/current: release, history, next number */
void app_write_release(struct app *app, const struct release *release);
/* Read /apps/<app>/… into the model. */
MUST_USE int app_load(struct app *app, struct error *err);

/* Make true what should be: instances of the live release, databases. Runs at the end of the turn.
 */
void app_reconcile_later(struct app *app);

/* "live", "deploying", "degraded", "crash_loop", "failed", "removing", "new" */
const char *app_state_name(const struct app *app);

/* Keep newest `keep` releases' folders (see retention.h); drop records beyond PLATFORM_RECORDS_MAX.
 */
void app_retain(struct app *app);

/* The folders of a release, in the background; its record stays. */
void app_drop_files(struct app *app, struct release *release);

/* Root mode: two uids that no app has, not even one in the trash; one for both when only one is
 * left. */
MUST_USE int app_uids_take(struct platform *platform, uint32_t ret_uids[2], struct error *err);

/* Have every record below from_prefix stand below to_prefix instead, in one commit with one further
 * put (put_key) and one further delete (delete_key); either may be NULL. */
MUST_USE int app_records_move(struct platform *platform, const char *from_prefix,
                              const char *to_prefix, const char *put_key, struct slice put_value,
                              const char *delete_key, struct error *err);

#endif
