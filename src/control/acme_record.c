/* Records, all below /acme/ (ID: half a SHA-256 in hexadecimal):
 *
 *   limits/ID            of a directory: tokens, pause
 *   accounts/ID          directory, email, URL at the CA     keys/account/ID      PEM
 *   names/NAME           failures, next attempt, last error; none: all is well
 *   orders/NAME          URL, CA, what hooks presented       keys/order/NAME      PEM
 *   certificates/NAME    names, dates, directory             keys/certificate/NAME PEM, key then
 * chain
 *
 * Keys stand apart and bare: what lists records never loads one, and none passes the JSON writer.
 */
#include "control/acme_private.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "net/x509.h"
#include "store/store.h"

#define ARENA_BYTES      (512ull * 1024)
#define LIST_ARENA_BYTES (256ull * 1024 * 1024)
#define RECORD_MAX       (256ull * 1024)
#define KEY_SIZE         (STORE_KEY_MAX + 1)
#define ORDER_LIFE_US    (7ull * 24 * 3600 * 1000000)
#define FAILURE_LIFE_US  (30ull * 24 * 3600 * 1000000)
#define DROPS_AT_ONCE    50u /* names of a transaction */
#define KEY_END          "-----END PRIVATE KEY-----"

static const char *key_of(char buffer[KEY_SIZE], const char *folder, const char *name)
{
    snprintf(buffer, KEY_SIZE, "/acme/%s/%s", folder, name);
    return buffer;
}

static int record_load(struct acme *acme, const char *folder, const char *name, struct arena *arena,
                       struct json **ret_json, struct error *err)
{
    char key[KEY_SIZE];
    struct store_entry entry;
    int result = store_get(acme->store, key_of(key, folder, name), arena, &entry, err);
    if (result < 0)
        return result;
    if (json_parse(arena, entry.value, ret_json, err) < 0) {
        err->code = ERR_CORRUPT;
        return error_wrap(err, "the record %s is damaged", key);
    }
    return 0;
}

/* A key as it stands; the store's copy of it is wiped. */
static int secret_load(struct acme *acme, const char *folder, const char *name, struct buf *ret,
                       struct error *err)
{
    struct arena *arena CLEANUP(arena_freep) = arena_new(ARENA_BYTES);
    char key[KEY_SIZE];
    struct store_entry entry;
    int result = store_get(acme->store, key_of(key, folder, name), arena, &entry, err);
    if (result < 0)
        return result;
    buf_append_slice(ret, entry.value);
    explicit_bzero((void *)(uintptr_t)entry.value.ptr, entry.value.len);
    return ret->failed ? error_set(err, ERR_CORRUPT, "the record %s is damaged", key) : 0;
}

static void put(struct store_transaction *transaction, const char *folder, const char *name,
                const struct buf *value)
{
    char key[KEY_SIZE];
    store_put(transaction, key_of(key, folder, name), buf_slice(value), 0);
}

static int commit(struct acme *acme, struct store_transaction *transaction, struct error *err)
{
    uint64_t revision;
    int result = store_commit(acme->store, transaction, &revision, err);
    return result < 0 ? error_wrap(err, "unable to record the state of certificates") : 0;
}

static char *copy_or_null(const char *text)
{
    return text ? strdup(text) : NULL;
}

static uint64_t get_time(const struct json *json, const char *key)
{
    uint64_t wall_us;
    return clock_parse(json_get_text(json, key, ""), &wall_us) == 0 ? wall_us : 0;
}

/* ---- names: what failed */

static void write_item(const struct acme_item *item, struct buf *value)
{
    struct json_writer writer = JSON_WRITER(value);
    json_begin_object(&writer, NULL);
    json_write_integer(&writer, "failures", item->failures);
    json_write_integer(&writer, "check_failures", item->check_failures);
    json_write_time(&writer, "next_attempt_at", item->next_attempt_at_us);
    json_write_text(&writer, "last_error", item->last_error);
    json_write_text(&writer, "hint", item->hint);
    json_write_time(&writer, "last_error_at", item->last_error_at_us);
    json_begin_array(&writer, "blocked");
    for (size_t i = 0; i < ACME_CAS_MAX; i++) {
        if (!item->blocks[i].directory[0])
            continue;
        json_begin_object(&writer, NULL);
        json_write_text(&writer, "directory", item->blocks[i].directory);
        json_write_time(&writer, "until", item->blocks[i].until_us);
        json_end_object(&writer);
    }
    json_end_array(&writer);
    json_end_object(&writer);
}

void acme_record_save_item(struct acme_item *item)
{
    struct store_transaction *transaction CLEANUP(store_transaction_freep) =
        store_transaction_new();
    struct buf value CLEANUP(buf_done) = BUF_INIT(RECORD_MAX);
    struct error err = {0};
    write_item(item, &value);
    put(transaction, "names", item->name, &value);
    if (commit(item->acme, transaction, &err) < 0)
        log_failure(&err, "certificate %s", item->name);
}

static void read_item(struct acme_item *item, const struct json *json)
{
    size_t i = 0;
    item->failures = (unsigned)json_get_integer(json, "failures", 0);
    item->check_failures = (unsigned)json_get_integer(json, "check_failures", 0);
    item->next_attempt_at_us = get_time(json, "next_attempt_at");
    item->last_error = copy_or_null(json_get_text(json, "last_error", NULL));
    item->hint = copy_or_null(json_get_text(json, "hint", NULL));
    item->last_error_at_us = get_time(json, "last_error_at");
    json_each (child, json_get(json, "blocked")) {
        if (i == ACME_CAS_MAX)
            break;
        snprintf(item->blocks[i].directory, ACME_ID_SIZE, "%s",
                 json_get_text(child, "directory", ""));
        item->blocks[i++].until_us = get_time(child, "until");
    }
}

static void read_certificate(struct acme_item *item, const struct json *json, struct arena *arena)
{
    const struct json *names = json_get(json, "names");
    size_t count = 0;
    const char **have = arena_array_of(arena, const char *, names ? names->count : 0);
    json_each (child, names)
        have[count++] = json_text(child, "");
    item->has_certificate = true;
    item->certificate_directory = copy_or_null(json_get_text(json, "directory", ""));
    item->ari_id = copy_or_null(json_get_text(json, "ari_id", NULL));
    item->not_before_us = get_time(json, "not_before");
    item->not_after_us = get_time(json, "not_after");
    item->is_covering =
        item->arena && acme_names_are_covered(item->spec.names, item->spec.name_count, have, count);
}

int acme_record_load_item(struct acme_item *item, struct error *err)
{
    struct arena *arena CLEANUP(arena_freep) = arena_new(ARENA_BYTES);
    struct json *json;
    int result = record_load(item->acme, "names", item->name, arena, &json, err);
    if (result == 0)
        read_item(item, json);
    else if (result != ERR_NOT_FOUND)
        return result;
    result = record_load(item->acme, "certificates", item->name, arena, &json, err);
    if (result == 0)
        read_certificate(item, json, arena);
    return result == ERR_NOT_FOUND ? 0 : result;
}

bool acme_names_are_covered(const char *const *names, size_t name_count, const char **have,
                            size_t have_count)
{
    for (size_t i = 0; i < name_count; i++) {
        bool is_found = false;
        for (size_t j = 0; j < have_count && !is_found; j++)
            is_found = strcmp(names[i], have[j]) == 0;
        if (!is_found)
            return false;
    }
    return true;
}

/* ---- accounts and limits */

int acme_record_load_account(struct acme_account *account, struct error *err)
{
    struct acme *acme = account->directory->acme;
    struct arena *arena CLEANUP(arena_freep) = arena_new(ARENA_BYTES);
    struct json *json;
    int result = secret_load(acme, "keys/account", account->id, &account->key_pem, err);
    if (result < 0)
        return result;
    result = record_load(acme, "accounts", account->id, arena, &json, err);
    if (result == 0)
        account->url = copy_or_null(json_get_text(json, "url", NULL));
    return result;
}

int acme_record_save_account(struct acme_account *account, struct error *err)
{
    struct acme *acme = account->directory->acme;
    struct store_transaction *transaction CLEANUP(store_transaction_freep) =
        store_transaction_new();
    struct buf value CLEANUP(buf_done) = BUF_INIT(RECORD_MAX);
    struct json_writer writer = JSON_WRITER(&value);
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "directory", account->directory->url);
    json_write_text(&writer, "email", account->email);
    json_write_text(&writer, "url", account->url);
    json_write_time(&writer, "changed_at", clock_wall_us());
    json_end_object(&writer);
    put(transaction, "accounts", account->id, &value);
    put(transaction, "keys/account", account->id, &account->key_pem);
    return commit(acme, transaction, err);
}

int acme_record_load_limits(struct acme_directory *directory, struct error *err)
{
    struct arena *arena CLEANUP(arena_freep) = arena_new(ARENA_BYTES);
    struct json *json, *tokens;
    int result = record_load(directory->acme, "limits", directory->id, arena, &json, err);
    if (result < 0)
        return result;
    tokens = json_get(json, "tokens");
    if (tokens && tokens->type == JSON_NUMBER)
        directory->tokens = tokens->number;
    directory->tokens_at_us = get_time(json, "tokens_at");
    directory->paused_until_us = get_time(json, "paused_until");
    return 0;
}

int acme_record_save_limits(struct acme_directory *directory, struct error *err)
{
    struct store_transaction *transaction CLEANUP(store_transaction_freep) =
        store_transaction_new();
    struct buf value CLEANUP(buf_done) = BUF_INIT(RECORD_MAX);
    struct json_writer writer = JSON_WRITER(&value);
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "directory", directory->url);
    json_write_number(&writer, "tokens", directory->tokens);
    json_write_time(&writer, "tokens_at", directory->tokens_at_us);
    json_write_time(&writer, "paused_until", directory->paused_until_us);
    json_end_object(&writer);
    put(transaction, "limits", directory->id, &value);
    return commit(directory->acme, transaction, err);
}

/* ---- orders */

int acme_record_save_order(struct acme_order *order, struct error *err)
{
    struct store_transaction *transaction CLEANUP(store_transaction_freep) =
        store_transaction_new();
    struct buf value CLEANUP(buf_done) = BUF_INIT(RECORD_MAX);
    struct json_writer writer = JSON_WRITER(&value);
    const struct acme_spec *spec = &order->item->spec;
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "account", order->account->id);
    json_write_text(&writer, "url", order->url);
    json_write_time(&writer, "created_at", order->created_at_us);
    json_begin_array(&writer, "names");
    for (size_t i = 0; i < spec->name_count; i++)
        json_write_text(&writer, NULL, spec->names[i]);
    json_end_array(&writer);
    json_begin_array(&writer, "presented");
    for (size_t i = 0; i < order->presented_count; i++) {
        json_begin_object(&writer, NULL);
        json_write_text(&writer, "domain", order->presented[i].domain);
        json_write_text(&writer, "value", order->presented[i].value);
        json_end_object(&writer);
    }
    json_end_array(&writer);
    json_end_object(&writer);
    put(transaction, "orders", order->item->name, &value);
    put(transaction, "keys/order", order->item->name, &order->key_pem);
    return commit(order->acme, transaction, err);
}

static void read_presented(struct acme_order *order, const struct json *list)
{
    if (!list || list->count == 0)
        return;
    order->presented = calloc(list->count, sizeof(*order->presented));
    if (!order->presented)
        abort();
    json_each (child, list) {
        struct acme_presented *presented = &order->presented[order->presented_count++];
        presented->domain = strdup(json_get_text(child, "domain", ""));
        presented->value = strdup(json_get_text(child, "value", ""));
    }
}

int acme_record_load_order(struct acme_order *order, char ret_account[ACME_ID_SIZE],
                           struct error *err)
{
    struct arena *arena CLEANUP(arena_freep) = arena_new(ARENA_BYTES);
    const struct acme_spec *spec = &order->item->spec;
    struct json *json;
    int result = record_load(order->acme, "orders", order->item->name, arena, &json, err);
    if (result < 0)
        return result;
    read_presented(order, json_get(json, "presented"));
    const struct json *names = json_get(json, "names");
    const char **have = arena_array_of(arena, const char *, names ? names->count : 0);
    size_t count = 0;
    json_each (child, names)
        have[count++] = json_text(child, "");
    const char *url = json_get_text(json, "url", "");
    uint64_t created_at_us = get_time(json, "created_at");
    if (count != spec->name_count ||
        !acme_names_are_covered(spec->names, spec->name_count, have, count) || !*url ||
        created_at_us + ORDER_LIFE_US < clock_wall_us())
        return error_set(err, ERR_NOT_FOUND, "the order is for another certificate");
    result = secret_load(order->acme, "keys/order", order->item->name, &order->key_pem, err);
    if (result < 0)
        return result;
    snprintf(ret_account, ACME_ID_SIZE, "%s", json_get_text(json, "account", ""));
    order->url = strdup(url);
    order->created_at_us = created_at_us;
    return 0;
}

static void delete_order(struct store_transaction *transaction, const char *name)
{
    char key[KEY_SIZE];
    store_delete(transaction, key_of(key, "orders", name));
    store_delete(transaction, key_of(key, "keys/order", name));
}

void acme_record_drop_order(struct acme_item *item)
{
    struct store_transaction *transaction CLEANUP(store_transaction_freep) =
        store_transaction_new();
    struct error err = {0};
    delete_order(transaction, item->name);
    if (commit(item->acme, transaction, &err) < 0)
        log_failure(&err, "certificate %s", item->name);
}

/* ---- certificates */

int acme_record_issue(struct acme_order *order, struct slice chain_pem,
                      const struct x509_facts *facts, struct error *err)
{
    const struct acme_item *item = order->item;
    char key[KEY_SIZE];
    struct store_transaction *transaction CLEANUP(store_transaction_freep) =
        store_transaction_new();
    struct buf value CLEANUP(buf_done) = BUF_INIT(RECORD_MAX);
    struct buf pair CLEANUP(buf_wipe) = BUF_INIT(ACME_KEY_MAX + ACME_CHAIN_MAX);
    struct json_writer writer = JSON_WRITER(&value);
    json_begin_object(&writer, NULL);
    json_begin_array(&writer, "names");
    for (size_t i = 0; i < item->spec.name_count; i++)
        json_write_text(&writer, NULL, item->spec.names[i]);
    json_end_array(&writer);
    json_write_text(&writer, "directory", order->account->directory->url);
    json_write_time(&writer, "not_before", facts->not_before * 1000000);
    json_write_time(&writer, "not_after", facts->not_after * 1000000);
    json_write_text(&writer, "ari_id", facts->ari_id);
    json_write_time(&writer, "issued_at", clock_wall_us());
    json_write_boolean(&writer, "on_demand", item->spec.is_on_demand);
    json_end_object(&writer);
    put(transaction, "certificates", item->name, &value);
    buf_append_slice(&pair, buf_slice(&order->key_pem));
    buf_append_slice(&pair, chain_pem);
    put(transaction, "keys/certificate", item->name, &pair);
    delete_order(transaction, item->name);
    store_delete(transaction, key_of(key, "names", item->name));
    return commit(order->acme, transaction, err);
}

int acme_stored(struct acme *acme, const char *name, struct buf *ret_key, struct buf *ret_chain,
                struct error *err)
{
    struct buf pair CLEANUP(buf_wipe) = BUF_INIT(ACME_KEY_MAX + ACME_CHAIN_MAX);
    int result = secret_load(acme, "keys/certificate", name, &pair, err);
    if (result < 0)
        return result;
    ptrdiff_t end = slice_find(buf_slice(&pair), SLICE(KEY_END "\n"));
    if (end < 0)
        return error_set(err, ERR_CORRUPT, "the record of certificate %s is damaged", name);
    size_t cut = (size_t)end + sizeof(KEY_END);
    buf_append_slice(ret_key, slice_sub(buf_slice(&pair), 0, cut));
    buf_append_slice(ret_chain, slice_sub(buf_slice(&pair), cut, SIZE_MAX));
    return 0;
}

/* ---- what is over */

static bool is_expired(const struct json *certificate)
{
    return get_time(certificate, "not_after") <= clock_wall_us();
}

static bool is_order_old(const struct json *order)
{
    return get_time(order, "created_at") + ORDER_LIFE_US < clock_wall_us();
}

/* No wait and no block is as long. */
static bool is_failure_old(const struct json *name)
{
    return get_time(name, "last_error_at") + FAILURE_LIFE_US < clock_wall_us();
}

static void drop_commit(struct acme *acme, struct store_transaction **transaction)
{
    struct error err = {0};
    if (commit(acme, *transaction, &err) < 0)
        log_failure(&err, "unable to forget what is over");
    store_transaction_freep(transaction);
    *transaction = store_transaction_new();
}

/* The records of a folder that are over and of no name that is wanted, with those of the same name
 * in other folders. */
static void drop_from(struct acme *acme, const char *folder, bool (*is_over)(const struct json *),
                      const char *const *others, size_t other_count)
{
    struct arena *arena CLEANUP(arena_freep) = arena_new(LIST_ARENA_BYTES);
    struct store_transaction *transaction CLEANUP(store_transaction_freep) =
        store_transaction_new();
    struct store_entry *entries;
    size_t count, gathered = 0;
    struct error err = {0};
    char key[KEY_SIZE], prefix[KEY_SIZE];
    size_t prefix_len = strlen(key_of(prefix, folder, ""));
    if (store_range(acme->store, prefix, 0, arena, &entries, &count, &err) < 0) {
        log_failure(&err, "unable to look for what is over");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct arena *scratch CLEANUP(arena_freep) = arena_new(ARENA_BYTES);
        const char *name = entries[i].key.ptr + prefix_len;
        struct json *json;
        if (map_get(acme->items, slice_from(name)) ||
            json_parse(scratch, entries[i].value, &json, NULL) < 0 || !is_over(json))
            continue;
        store_delete(transaction, key_of(key, folder, name));
        for (size_t j = 0; j < other_count; j++)
            store_delete(transaction, key_of(key, others[j], name));
        log_info("certificate %s: nobody wants it, and its %s are over: forgotten", name, folder);
        if (++gathered % DROPS_AT_ONCE == 0)
            drop_commit(acme, &transaction);
    }
    if (gathered % DROPS_AT_ONCE)
        drop_commit(acme, &transaction);
}

void acme_record_drop_old(struct acme *acme)
{
    static const char *const of_certificate[] = {"keys/certificate", "names", "orders",
                                                 "keys/order"};
    static const char *const of_order[] = {"keys/order"};
    drop_from(acme, "certificates", is_expired, of_certificate, ARRAY_LEN(of_certificate));
    drop_from(acme, "orders", is_order_old, of_order, ARRAY_LEN(of_order));
    drop_from(acme, "names", is_failure_old, NULL, 0);
}
