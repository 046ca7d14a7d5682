/* The lock of an app: /apps/<app>/lock under a lease of the store, naming the deploy whose turn it
 * is. */
#include "base/log.h"
#include "deploy/deploy.h"
#include <stdio.h>

#define LEASE_MS   15000u
#define REFRESH_MS 4000u

static char *lock_key(const struct app *app, char *key)
{
    return names_key(key, "/apps/%s/lock", app->name);
}

/* The deploy that the lock names; 0: it is free. */
static uint64_t lock_holder(const struct app *app)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(65536);
    char key[NAMES_KEY_SIZE];
    struct store_entry entry;
    struct json *json;

    if (store_get(app->platform->store, lock_key(app, key), arena, &entry, NULL) != 0 ||
        json_parse(arena, entry.value, &json, NULL) != 0)
        return 0;
    return (uint64_t)json_get_integer(json, "deploy", 0);
}

bool deploy_lease_take(struct deploy *deploy)
{
    struct app *app = deploy->app;
    struct store *store = app->platform->store;
    CLEANUP(store_transaction_freep)
    struct store_transaction *transaction = store_transaction_new();
    uint64_t holder = lock_holder(app), revision;
    struct buf json = BUF_INIT(4096);
    struct json_writer writer = JSON_WRITER(&json);
    struct error err = {0};
    char key[NAMES_KEY_SIZE];

    /* A holder that is over, or unknown, is a rest of a crash: this process alone gives locks. */
    const struct deploy *other = holder && holder != deploy->id ? deploy_find(app, holder) : NULL;
    if (other && !machine_is_final(other->state)) {
        deploy_say(deploy, DEPLOY_INFO, NULL, NULL, NULL, "waits for deploy %llu of %s",
                   (unsigned long long)other->id, other->who);
        return false;
    }
    json_begin_object(&writer, NULL);
    json_write_integer(&writer, "deploy", (int64_t)deploy->id);
    json_write_text(&writer, "kind", deploy_kind_name(deploy->kind));
    json_write_text(&writer, "who", deploy->who);
    json_end_object(&writer);
    int code = store_lease_grant(store, LEASE_MS, &app->lease, &err);
    if (code == 0) {
        store_put(transaction, lock_key(app, key), buf_slice(&json), app->lease);
        code = store_commit(store, transaction, &revision, &err);
    }
    buf_done(&json);
    if (code != 0)
        log_failure(&err, "%s: unable to take the lock", app->name);
    loop_timer_start_in(app->platform->loop, &app->lease_timer, LOOP_MS(REFRESH_MS));
    return true;
}

void deploy_lease_give_back(struct app *app)
{
    struct error err = {0};

    loop_timer_stop(&app->lease_timer);
    if (app->lease && store_lease_revoke(app->platform->store, app->lease, &err) != 0)
        log_failure(&err, "%s: unable to give the lock back", app->name);
    app->lease = 0;
}

void deploy_lease_refresh(struct app *app)
{
    struct error err = {0};

    if (!app->running || app->platform->is_quitting)
        return;
    if (store_lease_keepalive(app->platform->store, app->lease, &err) == ERR_NOT_FOUND &&
        deploy_lease_take(app->running))
        return; /* it ended while the loop was away, and is taken again */
    loop_timer_start_in(app->platform->loop, &app->lease_timer, LOOP_MS(REFRESH_MS));
}
