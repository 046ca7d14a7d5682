/* certificates_keys.c - private keys on their way to the signer, and ticket keys to the edges.
 *
 * A snapshot that names a key goes out once a signer has said that it has it, so no handshake meets
 * a signer that does not. The set is held by the keeper, so a signer that restarts has it before
 * the edges ask. When no signer answers for ten seconds the certificate is published all the same:
 * handshakes fail without a signer anyway, and the held set is the first that the next one gets. */
#include "base/clock.h"
#include "base/log.h"
#include "control/certificates_private.h"
#include "net/keyset.h"
#include "os/file.h"
#include "os/memory.h"
#include "os/random.h"
#include "store/store.h"

#define ACK_TIMEOUT_MS   10000u
#define GATHER_MS        500u /* while many keys are made they go out together */
#define TICKET_ROTATE_US (12ull * 3600 * 1000000)
#define TICKET_KEYS      3u

static struct slice id_slice(const uint8_t id[PEER_KEY_ID_BYTES])
{
    return (struct slice){(const char *)id, PEER_KEY_ID_BYTES};
}

bool certificates_key_is_known(const struct certificates *all, const uint8_t id[PEER_KEY_ID_BYTES])
{
    return map_get(all->known_keys, id_slice(id)) != NULL;
}

/* ---- the set */

struct key_list {
    struct keyset_key *items;
    size_t count, capacity;
};

static void list_add(struct key_list *list, const uint8_t id[PEER_KEY_ID_BYTES], struct slice der)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 64;
        list->items = realloc(list->items, list->capacity * sizeof *list->items);
        if (!list->items)
            abort();
    }
    memcpy(list->items[list->count].id, id, PEER_KEY_ID_BYTES);
    list->items[list->count++].der = der;
}

static void list_add_material(struct key_list *list, const struct material *material)
{
    if (material)
        list_add(list, material->key_id, buf_slice(&material->key_der));
}

static void list_add_challenges(struct certificates *all, struct key_list *list, struct buf *der)
{
    const struct acme_challenge *challenges;
    size_t count;

    (void)acme_challenges(all->acme, &challenges, &count);
    if (count == 0 || !buf_reserve(der, count * KEYSET_KEY_MAX)) /* it must not move below */
        return;
    for (size_t i = 0; i < count; i++) {
        uint8_t id[PEER_KEY_ID_BYTES];
        struct buf one = BUF_INIT(KEYSET_KEY_MAX);

        if (challenges[i].kind == ACME_TLS_ALPN_01 &&
            x509_read_key(challenges[i].key_pem, id, &one, NULL) == 0) {
            buf_append_slice(der, buf_slice(&one));
            list_add(list, id, (struct slice){der->ptr + der->len - one.len, one.len});
        }
        buf_wipe(&one);
    }
}

static bool all_are_known(const struct certificates *all, const struct key_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (!certificates_key_is_known(all, list->items[i].id))
            return false;
    return true;
}

static void post_keys(struct certificates *all)
{
    struct peer_keys message = {.type = PEER_KEYS, .version = all->keys_version};

    if (all->signer.io.loop && all->keys_fd >= 0 &&
        channel_post(&all->signer, &message, sizeof message, &all->keys_fd, 1) != 0)
        log_error("the signer does not take messages");
}

static int send_set(struct certificates *all, struct key_list *list, struct error *err)
{
    struct buf block = BUF_INIT(KEYSET_BYTES_MAX);
    CLEANUP(fd_closep) int fd = -1;
    uint64_t version;
    int code = store_next_number(all->control->store, "/meta/next-keys", &version, err);

    if (code == 0)
        code = keyset_build(list->items, list->count, version, &block, err);
    if (code == 0)
        code = memory_sealed("keys", buf_slice(&block), &fd, err);
    buf_wipe(&block);
    if (code != 0)
        return code;
    fd_closep(&all->keys_fd);
    all->keys_fd = TAKE_FD(fd);
    all->keys_version = version;
    keeper_link_hold(&all->control->link, "keys", all->keys_fd);
    post_keys(all);
    loop_timer_start_in(all->control->loop, &all->keys_timeout, LOOP_MS(ACK_TIMEOUT_MS));
    return 0;
}

/* Serve what the signer has. */
static void promote(struct certificates *all)
{
    certificate_each(certificate, all)
    {
        struct material *pending = certificate->pending;

        if (!pending || !certificates_key_is_known(all, pending->key_id))
            continue;
        certificate_ocsp_stop(certificate); /* it asks about the one before */
        material_free(certificate->previous);
        certificate->previous = certificate->serving;
        certificate->serving = pending;
        certificate->pending = NULL;
        certificate->ocsp_at_us =
            pending->ocsp.len ? loop_now_us(all->control->loop) + LOOP_MS(3600000) : 0;
        certificates_publish(all);
    }
    if (all->challenge_keys != 0 && all->challenge_keys <= all->keys_acked) {
        all->challenge_keys = 0;
        certificates_publish(all);
    }
}

static void know_set(struct certificates *all, int fd)
{
    struct keyset keyset;
    struct error err = {0};
    void *base;
    size_t size;

    if (memory_map(fd, false, true, &base, &size, &err) != 0) {
        log_failure(&err, "unable to read the key set");
        return;
    }
    map_free(all->known_keys);
    all->known_keys = map_new(KEYSET_KEYS_MAX);
    if (keyset_open(base, size, &keyset, &err) != 0)
        log_failure(&err, "the key set");
    else
        for (uint32_t i = 0; i < keyset.header->count; i++)
            if (map_put(all->known_keys, id_slice(keyset.entries[i].id), all) != 0)
                break;
    memory_unmap(base, size);
}

void certificates_keys_due(struct certificates *all)
{
    if (!all->are_keys_due)
        all->keys_due_at_us = loop_now_us(all->control->loop);
    all->are_keys_due = true;
    if (!all->is_frozen)
        loop_defer(all->control->loop, &all->turn_end);
}

void certificates_keys_flush(struct certificates *all)
{
    uint64_t now = loop_now_us(all->control->loop);
    struct buf der = BUF_INIT((size_t)64 * 1024 * 1024);
    struct key_list list = {0};
    struct error err = {0};

    if (!all->are_keys_due || all->is_frozen || !all->is_started ||
        (all->has_backlog && now < all->keys_due_at_us + LOOP_MS(GATHER_MS)))
        return;
    all->are_keys_due = false;
    certificate_each(certificate, all)
    {
        list_add_material(&list, certificate->serving);
        list_add_material(&list, certificate->pending);
        list_add_material(&list, certificate->previous);
    }
    list_add_challenges(all, &list, &der);
    if (!all_are_known(all, &list) && send_set(all, &list, &err) != 0) {
        log_failure(&err, "unable to give the signer its keys; it is tried again");
        loop_timer_start_in(all->control->loop, &all->keys_timeout, LOOP_MS(ACK_TIMEOUT_MS));
    }
    if (all->are_challenges_due && all->keys_version > all->keys_acked)
        all->challenge_keys = all->keys_version;
    else if (all->are_challenges_due)
        certificates_publish(all);
    promote(all);
    free(list.items);
    buf_wipe(&der);
}

/* ---- the signer */

static void acked(struct certificates *all, uint64_t version)
{
    if (version != all->keys_version || version <= all->keys_acked)
        return;
    loop_timer_stop(&all->keys_timeout);
    all->keys_acked = version;
    know_set(all, all->keys_fd);
    promote(all);
}

static void on_message(struct channel *channel, const void *message, size_t len, int *fds,
                       size_t fd_count)
{
    struct certificates *all = container_of(channel, struct certificates, signer);
    const struct peer_keys_ack *ack = message;

    (void)fds;
    (void)fd_count;
    if (len < sizeof *ack || ack->type != PEER_KEYS_ACK) {
        log_warning("the signer sent a message that is not understood");
        return;
    }
    if (ack->refused)
        log_error("the signer cannot use %u of the keys", ack->refused);
    acked(all, ack->version);
}

static void on_closed(struct channel *channel)
{
    (void)channel; /* the keeper starts it again, with the set that it holds */
}

static void on_timeout(struct loop_timer *timer)
{
    struct certificates *all = container_of(timer, struct certificates, keys_timeout);

    if (all->keys_version > all->keys_acked && all->keys_fd >= 0) {
        log_warning("no signer has taken the newest keys within %u s", ACK_TIMEOUT_MS / 1000);
        acked(all, all->keys_version);
    }
    certificates_keys_due(all);
}

void certificates_connect_signer(struct certificates *all, int *fd)
{
    struct error err = {0};

    channel_stop(&all->signer);
    if (channel_start(&all->signer, all->control->loop, TAKE_FD(*fd), &err) != 0) {
        log_failure(&err, "unable to talk to the signer");
        return;
    }
    post_keys(all);
}

void certificates_take_held(struct certificates *all, int *fd)
{
    fd_closep(&all->keys_fd);
    all->keys_fd = TAKE_FD(*fd);
    know_set(all, all->keys_fd);
    promote(all);
}

/* ---- tickets */

void certificates_tickets(struct certificates *all)
{
    uint64_t now = clock_wall_us();
    unsigned char fresh[TLS_TICKET_KEY_BYTES];
    struct buf keys = BUF_INIT(all->ticket_keys.limit);
    bool is_due = all->ticket_keys.len == 0 || now < all->tickets_at_us ||
                  now - all->tickets_at_us >= TICKET_ROTATE_US;

    if (!is_due || list_is_empty(&all->list))
        return;
    random_bytes(fresh, sizeof fresh);
    buf_append(&keys, fresh, sizeof fresh);
    explicit_bzero(fresh, sizeof fresh);
    buf_append_slice(&keys, slice_sub(buf_slice(&all->ticket_keys), 0,
                                      (size_t)(TICKET_KEYS - 1) * TLS_TICKET_KEY_BYTES));
    buf_wipe(&all->ticket_keys);
    all->ticket_keys = keys;
    all->tickets_at_us = now;
    certificates_store_tickets(all);
    certificates_publish(all);
}

/* ---- life */

void certificates_keys_init(struct certificates *all)
{
    all->keys_fd = -1;
    all->known_keys = map_new(KEYSET_KEYS_MAX);
    all->signer.on_message = on_message;
    all->signer.on_closed = on_closed;
    all->keys_timeout.on_timer = on_timeout;
}

void certificates_keys_done(struct certificates *all)
{
    loop_timer_stop(&all->keys_timeout);
    channel_stop(&all->signer);
    fd_closep(&all->keys_fd);
    map_free(all->known_keys);
}
