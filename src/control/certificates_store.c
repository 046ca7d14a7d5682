/* certificates_store.c - what serves, kept in the store.
 *
 *   /certificates/hosts/<host>/chain    PEM ("_any" stands for the host of routes without one)
 *                             /key      PEM; of source acme neither: those are below /acme/
 *                                       (older records have them here, too)
 *                             /ocsp     DER
 *                             /state    {"source","obtained_at_us","is_on_demand"}
 *   /certificates/authority             {"certificate","key"}: the local one
 *   /certificates/tickets               {"rotated_at_us","keys": hexadecimal}
 */
#include "base/clock.h"
#include "base/log.h"
#include "control/certificates_private.h"
#include "store/store.h"
#include <stdio.h>

#define RECORDS_AT_ONCE 400u /* operations of a transaction, below STORE_OPERATIONS_MAX */
#define LOAD_BYTES_MAX  ((size_t)1024 * 1024 * 1024)
#define HOSTS           "/certificates/hosts/"

/* ---- writing */

static struct store_transaction *records(struct certificates *all, unsigned operations)
{
    if (all->record_count + operations > RECORDS_AT_ONCE)
        certificates_commit(all);
    if (!all->records)
        all->records = store_transaction_new();
    all->record_count += operations;
    if (!all->is_frozen)
        loop_defer(all->control->loop, &all->turn_end);
    return all->records;
}

void certificates_commit(struct certificates *all)
{
    struct error err = {0};
    uint64_t revision;

    if (!all->records)
        return;
    if (store_commit(all->control->store, all->records, &revision, &err) != 0)
        log_failure(&err, "unable to store certificates");
    store_transaction_freep(&all->records);
    all->records = NULL;
    all->record_count = 0;
}

static const char *key_of(char *buffer, const struct certificate *certificate, const char *part)
{
    (void)snprintf(buffer, STORE_KEY_MAX, HOSTS "%s/%s",
                   certificate->host[0] ? certificate->host : "_any", part);
    return buffer;
}

void certificate_store(const struct certificate *certificate, const struct material *material,
                       struct slice key_pem)
{
    enum manifest_tls_mode mode = certificate_settings(certificate)->mode;
    struct store_transaction *transaction = records(certificate->all, 4);
    struct buf state = BUF_INIT(4096);
    struct json_writer writer = JSON_WRITER(&state);
    char key[STORE_KEY_MAX];

    json_begin_object(&writer, NULL);
    json_write_text(&writer, "source", tls_mode_name(mode));
    json_write_integer(&writer, "obtained_at_us", (int64_t)material->obtained_at_us);
    json_write_boolean(&writer, "is_on_demand", certificate->is_demanded);
    json_end_object(&writer);
    if (mode == MANIFEST_TLS_ACME) {
        store_delete(transaction, key_of(key, certificate, "chain"));
        store_delete(transaction, key_of(key, certificate, "key"));
    } else {
        store_put(transaction, key_of(key, certificate, "chain"),
                  (struct slice){material->chain, material->chain_len}, 0);
        store_put(transaction, key_of(key, certificate, "key"), key_pem, 0);
    }
    store_put(transaction, key_of(key, certificate, "state"), buf_slice(&state), 0);
    store_delete(transaction, key_of(key, certificate, "ocsp"));
    buf_done(&state);
}

void certificate_store_ocsp(const struct certificate *certificate, const struct material *material)
{
    char key[STORE_KEY_MAX];

    store_put(records(certificate->all, 1), key_of(key, certificate, "ocsp"),
              buf_slice(&material->ocsp), 0);
}

void certificate_forget(const struct certificate *certificate)
{
    char key[STORE_KEY_MAX];

    if (certificate->serving || certificate->pending)
        store_delete_prefix(records(certificate->all, 1), key_of(key, certificate, ""));
}

int certificates_store_authority(struct certificates *all, struct error *err)
{
    struct buf text = BUF_INIT(65536);
    struct json_writer writer = JSON_WRITER(&text);
    int code;

    json_begin_object(&writer, NULL);
    json_write_text(&writer, "certificate", all->authority_pem);
    json_write_slice(&writer, "key", buf_slice(&all->authority_key));
    json_end_object(&writer);
    code = store_set(all->control->store, "/certificates/authority", buf_slice(&text), err);
    buf_wipe(&text);
    return code;
}

void certificates_store_tickets(struct certificates *all)
{
    struct buf text = BUF_INIT(4096), hexadecimal = BUF_INIT(2048);
    struct json_writer writer = JSON_WRITER(&text);

    for (size_t i = 0; i < all->ticket_keys.len; i++)
        buf_printf(&hexadecimal, "%02x", (unsigned)(unsigned char)all->ticket_keys.ptr[i]);
    json_begin_object(&writer, NULL);
    json_write_integer(&writer, "rotated_at_us", (int64_t)all->tickets_at_us);
    json_write_slice(&writer, "keys", buf_slice(&hexadecimal));
    json_end_object(&writer);
    store_put(records(all, 1), "/certificates/tickets", buf_slice(&text), 0);
    buf_wipe(&text);
    buf_wipe(&hexadecimal);
}

/* ---- reading */

static const struct store_entry *entry_of(const struct store_entry *entries, size_t count,
                                          const char *part)
{
    for (size_t i = 0; i < count; i++)
        if (slice_ends_with(entries[i].key, slice_from(part)))
            return &entries[i];
    return NULL;
}

static int load_material(struct certificates *all, const char *host,
                         const struct store_entry *chain, const struct store_entry *key,
                         struct material **ret_material, struct error *err)
{
    struct buf key_pem = BUF_INIT(65536), chain_pem = BUF_INIT(CERTIFICATE_FILE_BYTES);
    int code;

    if (chain && key)
        return material_make(host, chain->value, key->value, ret_material, err);
    code = acme_stored(all->acme, host, &key_pem, &chain_pem, err);
    if (code == 0)
        code = material_make(host, buf_slice(&chain_pem), buf_slice(&key_pem), ret_material, err);
    buf_wipe(&key_pem);
    buf_done(&chain_pem);
    return code;
}

/* The entries of one host. One that cannot be read is left out: its source makes it again. */
static void load_host(struct certificates *all, struct arena *arena, const char *host,
                      const struct store_entry *entries, size_t count)
{
    const struct store_entry *chain = entry_of(entries, count, "/chain"),
                             *key = entry_of(entries, count, "/key"),
                             *state = entry_of(entries, count, "/state"),
                             *ocsp = entry_of(entries, count, "/ocsp");
    struct certificate *certificate;
    struct material *material;
    struct error err = {0};
    struct json *json = NULL;

    if (load_material(all, host, chain, key, &material, &err) != 0) {
        if (err.code != ERR_NOT_FOUND)
            log_failure(&err, "the stored certificate of %s", manifest_host_text(host));
        return;
    }
    if (certificate_make(all, host, &certificate, &err) != 0) {
        material_free(material);
        return;
    }
    if (state && json_parse(arena, state->value, &json, NULL) == 0) {
        material->obtained_at_us = (uint64_t)json_get_integer(json, "obtained_at_us", 0);
        certificate->is_demanded = json_get_boolean(json, "is_on_demand", false);
    }
    if (ocsp && x509_ocsp_check((struct slice){material->chain, material->chain_len}, ocsp->value,
                                clock_wall_us() / 1000000, &material->ocsp_next, &err) == 0)
        buf_append_slice(&material->ocsp, ocsp->value);
    certificate->pending = material;
    all->are_keys_due = true;
}

/* "/certificates/hosts/a.org/chain" → "a.org" */
static struct slice host_of(const struct store_entry *entry)
{
    struct slice rest = slice_sub(entry->key, sizeof(HOSTS) - 1, SIZE_MAX);

    return slice_cut(&rest, '/');
}

static int load_hosts(struct certificates *all, struct arena *arena, struct error *err)
{
    struct store_entry *entries;
    size_t count;
    int code = store_range(all->control->store, HOSTS, 0, arena, &entries, &count, err);

    for (size_t i = 0, end; code == 0 && i < count; i = end) {
        struct slice host = host_of(&entries[i]);

        for (end = i + 1; end < count && slice_eq(host_of(&entries[end]), host);)
            end++;
        load_host(all, arena, slice_eq(host, SLICE("_any")) ? "" : arena_slice_text(arena, host),
                  entries + i, end - i);
    }
    for (size_t i = 0; code == 0 && i < count; i++) /* keys among them */
        explicit_bzero((void *)(uintptr_t)entries[i].value.ptr, entries[i].value.len);
    return code;
}

static void load_tickets(struct certificates *all, const struct json *json)
{
    struct slice text = slice_from(json_get_text(json, "keys", ""));

    all->tickets_at_us = (uint64_t)json_get_integer(json, "rotated_at_us", 0);
    for (size_t i = 0; i + 1 < text.len; i += 2) {
        static const char digits[] = "0123456789abcdef";
        const char *high = strchr(digits, text.ptr[i]), *low = strchr(digits, text.ptr[i + 1]);

        if (high && low)
            buf_append_byte(&all->ticket_keys, (char)((high - digits) << 4 | (low - digits)));
    }
    if (all->ticket_keys.len % TLS_TICKET_KEY_BYTES != 0)
        buf_clear(&all->ticket_keys);
}

/* ERR_NOT_FOUND is no failure: it was never needed. */
static int load_json(struct certificates *all, struct arena *arena, const char *key,
                     struct json **ret_json, struct error *err)
{
    struct store_entry entry;
    int code = store_get(all->control->store, key, arena, &entry, err);

    *ret_json = NULL;
    if (code == ERR_NOT_FOUND) {
        error_clear(err);
        return 0;
    }
    return code == 0 ? json_parse(arena, entry.value, ret_json, err) : code;
}

int certificates_load(struct certificates *all, struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(LOAD_BYTES_MAX);
    struct json *json;
    int code = load_hosts(all, arena, err);

    if (code == 0)
        code = load_json(all, arena, "/certificates/tickets", &json, err);
    if (code == 0 && json)
        load_tickets(all, json);
    if (code == 0)
        code = load_json(all, arena, "/certificates/authority", &json, err);
    if (code == 0 && json) {
        all->authority_pem = strdup(json_get_text(json, "certificate", ""));
        buf_append_text(&all->authority_key, json_get_text(json, "key", ""));
    }
    return code == 0 ? 0 : error_wrap(err, "unable to read the certificates of the store");
}
