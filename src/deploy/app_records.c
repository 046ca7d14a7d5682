/* What of an app's records concerns several apps: uids, and the way to the trash and back. */
#include "base/json.h"
#include "deploy/app.h"

#define UIDS_MAX 4096u

static void mark_used(const struct platform *platform, bool *used, uint32_t uid)
{
    const struct platform_settings *settings = &platform->settings;

    if (uid >= settings->uid_first &&
        uid - settings->uid_first < MIN(settings->uid_count, UIDS_MAX))
        used[uid - settings->uid_first] = true;
}

int app_uids_take(struct platform *platform, uint32_t ret_uids[2], struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(16u * 1024 * 1024);
    bool *used = arena_array_of(arena, bool, UIDS_MAX);
    struct store_entry *entries;
    size_t count, found = 0;
    int code = store_range(platform->store, "/trash/", 0, arena, &entries, &count, err);

    if (code != 0)
        return code;
    for (size_t i = 0; i < count; i++) {
        struct json *json;

        if (json_parse(arena, entries[i].value, &json, NULL) != 0)
            continue;
        mark_used(platform, used, (uint32_t)json_get_integer(json, "uid", 0));
        mark_used(platform, used, (uint32_t)json_get_integer(json, "data_uid", 0));
    }
    list_each (node, &platform->apps) {
        mark_used(platform, used, container_of(node, struct app, node)->uid);
        mark_used(platform, used, container_of(node, struct app, node)->data_uid);
    }
    for (uint32_t i = 0; i < MIN(platform->settings.uid_count, UIDS_MAX) && found < 2; i++)
        if (!used[i])
            ret_uids[found++] = platform->settings.uid_first + i;
    if (found == 0) {
        error_set(err, ERR_LIMIT, "all %u users for applications are taken",
                  platform->settings.uid_count);
        return error_hint(err, "each app has a user of its own, also those in the trash; "
                               "remove an app for good or add users to the pool");
    }
    if (found == 1)
        ret_uids[1] = ret_uids[0];
    return 0;
}

int app_records_move(struct platform *platform, const char *from_prefix, const char *to_prefix,
                     const char *put_key, struct slice put_value, const char *delete_key,
                     struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(256u * 1024 * 1024);
    CLEANUP(store_transaction_freep)
    struct store_transaction *transaction = store_transaction_new();
    struct store_entry *entries;
    uint64_t revision;
    size_t count;
    int code = store_range(platform->store, from_prefix, 0, arena, &entries, &count, err);

    if (code != 0)
        return code;
    for (size_t i = 0; i < count; i++) {
        struct slice rest = slice_sub(entries[i].key, strlen(from_prefix), SIZE_MAX);

        store_put(transaction, arena_printf(arena, "%s" SLICE_FORMAT, to_prefix, SLICE_ARG(rest)),
                  entries[i].value, 0);
    }
    store_delete_prefix(transaction, from_prefix);
    if (put_key)
        store_put(transaction, put_key, put_value, 0);
    if (delete_key)
        store_delete(transaction, delete_key);
    return store_commit(platform->store, transaction, &revision, err);
}
