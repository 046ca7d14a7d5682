/* certificates.c - which hosts want a certificate, and what of it is in the next snapshot. */
#include "base/clock.h"
#include "base/log.h"
#include "control/certificates_private.h"
#include "net/snapshot.h"
#include <stdio.h>

#define WORK_AT_ONCE  16u /* sources looked at a turn: keys cost time */
#define WORK_REST_MS  60000u
#define FILES_LOOK_MS 2000u

/* ---- one certificate */

struct certificate *certificate_find(struct certificates *all, struct slice host)
{
    return map_get(all->by_host, host);
}

int certificate_make(struct certificates *all, const char *host,
                     struct certificate **ret_certificate, struct error *err)
{
    struct certificate *certificate = certificate_find(all, slice_from(host));

    if (!certificate) {
        certificate = calloc(1, sizeof *certificate);
        if (!certificate)
            abort();
        certificate->all = all;
        (void)snprintf(certificate->host, sizeof certificate->host, "%s", host);
        if (strlen(host) >= sizeof certificate->host ||
            map_put(all->by_host, slice_from(host), certificate) != 0) {
            free(certificate);
            return error_set(err, ERR_LIMIT, "more than %u hosts want a certificate",
                             CERTIFICATES_MAX);
        }
        list_push_back(&all->list, &certificate->node);
    }
    *ret_certificate = certificate;
    return 0;
}

struct certificate *certificates_next(const struct certificates *all,
                                      const struct certificate *certificate)
{
    const struct list *node = certificate ? certificate->node.next : all->list.next;

    return node == &all->list
               ? NULL
               : (struct certificate *)((uintptr_t)node - offsetof(struct certificate, node));
}

static void certificate_free(struct certificate *certificate)
{
    certificate_ocsp_stop(certificate);
    list_remove(&certificate->node);
    material_free(certificate->serving);
    material_free(certificate->pending);
    material_free(certificate->previous);
    arena_free(certificate->arena);
    free(certificate->config_text);
    free(certificate);
}

/* Out of the maps and gone, its records too. */
static void certificate_remove(struct certificate *certificate)
{
    certificate_forget_acme(certificate);
    certificate_forget(certificate);
    (void)map_remove(certificate->all->by_host, slice_from(certificate->host));
    certificate_free(certificate);
}

void certificate_failed(struct certificate *certificate, const struct error *err)
{
    bool is_news = strncmp(certificate->last_error, err->text, sizeof certificate->last_error - 1);

    certificate->last_error_at_us = clock_wall_us();
    (void)snprintf(certificate->last_error, sizeof certificate->last_error, "%s", err->text);
    (void)snprintf(certificate->hint, sizeof certificate->hint, "%s", err->hint);
    if (is_news)
        log_failure(err, "certificate of %s", manifest_host_text(certificate->host));
}

void certificate_succeeded(struct certificate *certificate)
{
    certificate->last_error[0] = certificate->hint[0] = '\0';
    certificate->last_error_at_us = 0;
}

void certificate_offer(struct certificate *certificate, struct material *material,
                       struct slice key_pem)
{
    struct certificates *all = certificate->all;

    material->obtained_at_us = clock_wall_us();
    certificate_store(certificate, material, key_pem);
    material_free(certificate->pending);
    certificate->pending = material;
    certificates_keys_due(all);
    log_write(
        certificate_settings(certificate)->mode == MANIFEST_TLS_INTERNAL ? LOG_DEBUG : LOG_INFO,
        "certificate of %s: new, by %s", manifest_host_text(certificate->host), material->issuer);
}

/* ---- looking at sources */

static void work_arm(struct certificates *all, uint64_t at_us)
{
    if (all->is_frozen || !all->is_started)
        return;
    if (!all->work.loop || all->work.deadline_us > at_us)
        loop_timer_start(all->control->loop, &all->work, at_us);
}

void certificate_work_in(struct certificate *certificate, uint64_t delay_ms)
{
    certificate->work_at_us = loop_now_us(certificate->all->control->loop) + LOOP_MS(delay_ms) + 1;
    work_arm(certificate->all, certificate->work_at_us);
}

static void certificate_work(struct certificate *certificate)
{
    certificate->work_at_us = 0;
    switch (certificate_settings(certificate)->mode) {
    case MANIFEST_TLS_FILES:
        certificate_look_at_files(certificate);
        certificate_work_in(certificate, FILES_LOOK_MS);
        break;
    case MANIFEST_TLS_INTERNAL:
        certificate_issue(certificate);
        break;
    case MANIFEST_TLS_ACME:
        certificate_want_acme(certificate);
        break;
    case MANIFEST_TLS_OFF:
        break;
    }
}

static void on_work(struct loop_timer *timer)
{
    struct certificates *all = container_of(timer, struct certificates, work);
    uint64_t now = loop_now_us(all->control->loop), next = now + LOOP_MS(WORK_REST_MS);
    unsigned done = 0;

    all->has_backlog = false;
    certificates_tickets(all);
    certificates_look_at_authorities(all);
    if (map_count(all->authorities) > 0)
        next = now + LOOP_MS(FILES_LOOK_MS);
    certificate_each(certificate, all)
    {
        if (!certificate->is_wanted)
            continue;
        if (certificate->work_at_us != 0 && certificate->work_at_us <= now && done < WORK_AT_ONCE) {
            certificate_work(certificate);
            done++;
        } else if (certificate->work_at_us != 0 && certificate->work_at_us <= now) {
            all->has_backlog = true;
        }
        certificate_look_at_ocsp(certificate);
        if (certificate->work_at_us != 0)
            next = MIN(next, certificate->work_at_us);
        if (certificate->ocsp_at_us > now)
            next = MIN(next, certificate->ocsp_at_us);
    }
    loop_defer(all->control->loop, &all->turn_end);
    work_arm(all, MAX(next, now + LOOP_MS(1)));
}

/* ---- what is wanted */

static void text_add(struct buf *text, const char *value)
{
    buf_append_text(text, value ? value : "\x01");
    buf_append_byte(text, '\n');
}

static void acme_text(struct buf *text, const struct manifest_acme *acme)
{
    const struct manifest_acme_fallback *fallback = &acme->fallback;

    text_add(text, acme->email);
    text_add(text, acme->directory);
    text_add(text, acme->ca_file);
    text_add(text, acme->eab.is_given ? acme->eab.key_id : NULL);
    text_add(text, acme->eab.is_given ? acme->eab.hmac_file : NULL);
    text_add(text, fallback->is_given ? fallback->directory : NULL);
    text_add(text, fallback->email);
    text_add(text, fallback->ca_file);
    text_add(text, fallback->eab.is_given ? fallback->eab.key_id : NULL);
    text_add(text, fallback->eab.is_given ? fallback->eab.hmac_file : NULL);
    buf_printf(text, "%d", acme->is_checked);
}

/* Everything that makes a difference, as one text: when it is the same, nothing has changed. */
static void config_text(const struct routes_host *host, struct buf *text)
{
    const struct manifest_tls *tls = host->tls;

    buf_printf(text, "%d %d %d %d %d\n", (int)tls->mode, (int)tls->challenge,
               (int)tls->minimum_version, tls->is_redirected, tls->is_http2);
    text_add(text, host->app->name);
    text_add(text, tls->cert);
    text_add(text, tls->key);
    text_add(text, tls->dns_hook);
    text_add(text, tls->on_demand.is_given ? tls->on_demand.ask : NULL);
    text_add(text, host->client ? host->client->ca : NULL);
    if (tls->mode == MANIFEST_TLS_ACME)
        acme_text(text, &host->manifest->acme);
}

static void copy_eab(struct arena *arena, struct manifest_eab *eab)
{
    eab->key_id = arena_text(arena, eab->key_id);
    eab->hmac_file = arena_text(arena, eab->hmac_file);
}

/* The release that said so may be gone while its certificate is still served. */
static void copy_config(struct certificate *certificate, const struct routes_host *host)
{
    const struct manifest_tls *tls = host->tls;
    struct arena *arena = arena_new((size_t)1024 * 1024);
    struct certificate_config config = {
        .mode = tls->mode,
        .app = arena_text(arena, host->app->name),
        .cert = arena_text(arena, tls->cert),
        .key = arena_text(arena, tls->key),
        .challenge = tls->challenge,
        .dns_hook = arena_text(arena, tls->dns_hook),
        .ask = arena_text(arena, tls->on_demand.ask),
        .acme = host->manifest->acme,
        .client_ca = host->client ? arena_text(arena, host->client->ca) : NULL,
        .is_on_demand = tls->on_demand.is_given,
        .is_tls13_only = tls->minimum_version == MANIFEST_TLS_1_3,
        .is_redirected = tls->is_redirected,
        .is_http2 = tls->is_http2,
    };

    config.acme.email = arena_text(arena, config.acme.email);
    config.acme.directory = arena_text(arena, config.acme.directory);
    config.acme.ca_file = arena_text(arena, config.acme.ca_file);
    copy_eab(arena, &config.acme.eab);
    config.acme.fallback.email = arena_text(arena, config.acme.fallback.email);
    config.acme.fallback.directory = arena_text(arena, config.acme.fallback.directory);
    config.acme.fallback.ca_file = arena_text(arena, config.acme.fallback.ca_file);
    copy_eab(arena, &config.acme.fallback.eab);
    arena_free(certificate->arena);
    certificate->arena = arena;
    certificate->config = config;
}

/* Names on demand go by the settings of their route. */
static void settings_changed(struct certificate *route)
{
    certificate_each(certificate, route->all)
    {
        if (certificate->parent == route)
            certificate_work_in(certificate, 0);
    }
}

static void want(struct certificates *all, const struct routes_host *host, struct buf *text)
{
    struct certificate *certificate;
    struct error err = {0};
    bool was_others;

    if (certificate_make(all, host->host, &certificate, &err) != 0) {
        log_failure(&err, "no certificate for %s", manifest_host_text(host->host));
        return;
    }
    was_others = certificate->parent != NULL; /* and its source is that route's */
    certificate->is_wanted = true;
    certificate->parent = NULL;
    buf_clear(text);
    config_text(host, text);
    if (!was_others && certificate->config_text &&
        strcmp(certificate->config_text, buf_text(text)) == 0)
        return;
    certificate_forget_acme(certificate);
    free(certificate->config_text);
    certificate->config_text = strdup(buf_text(text));
    copy_config(certificate, host);
    settings_changed(certificate);
    certificate->has_tried_files = false;
    certificate_succeeded(certificate);
    if (!certificate->config.is_on_demand || certificate->is_demanded)
        certificate_work_in(certificate, 0);
}

/* Names on demand live as long as there is a route for them that allows it. */
static void want_on_demand(struct certificates *all)
{
    certificate_each(certificate, all)
    {
        struct certificate *parent;

        if (certificate->is_wanted || !certificate->is_demanded)
            continue;
        parent = certificate_covering(all, slice_from(certificate->host));
        if (!parent)
            continue;
        if (certificate->parent != parent) {
            certificate->parent = parent;
            certificate_work_in(certificate, 0);
        }
        certificate->is_wanted = true;
    }
}

static void look_at_routes(struct certificates *all)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new((size_t)64 * 1024 * 1024);
    struct buf text = BUF_INIT((size_t)1024 * 1024);
    struct routes_host *hosts;
    size_t count;

    certificate_each(certificate, all)
    {
        certificate->is_wanted = false;
    }
    routes_hosts(all->control->platform, arena, &hosts, &count);
    for (size_t i = 0; i < count; i++)
        want(all, &hosts[i], &text);
    buf_done(&text);
    want_on_demand(all);
    if (!all->is_started)
        return; /* the routes of this moment may not be all */
    /* Names on demand first: an order that ends cleans up by the settings of their route. */
    certificate_each(certificate, all)
    {
        if (!certificate->is_wanted && certificate->parent)
            certificate_remove(certificate);
    }
    certificate_each(certificate, all)
    {
        if (!certificate->is_wanted)
            certificate_remove(certificate);
    }
    loop_defer(all->control->loop, &all->turn_end);
}

/* ---- into the snapshot */

static uint32_t add_material(struct snapshot_builder *builder,
                             const struct certificate *certificate)
{
    const struct material *material = certificate->serving;
    struct slice ocsp = {0};

    if (!material)
        return 0;
    if (material->ocsp_next > clock_wall_us() / 1000000)
        ocsp = buf_slice(&material->ocsp);
    return snapshot_builder_certificate(builder, certificate->host,
                                        (struct slice){material->chain, material->chain_len}, ocsp,
                                        material->key_id);
}

static void add_host(struct certificates *all, struct snapshot_builder *builder,
                     const struct certificate *certificate)
{
    const struct certificate_config *config = certificate_settings(certificate);
    struct snapshot_host host = {
        .is_tls = true,
        .certificate = add_material(builder, certificate),
        .is_redirected = config->is_redirected,
        .is_on_demand = config->is_on_demand,
        .is_tls13_only = config->is_tls13_only,
        .is_http2_off = !config->is_http2,
    };

    if (config->client_ca) {
        struct slice pem = certificates_authority(all, config->client_ca);

        host.client_authority = pem.len ? snapshot_builder_authority(builder, pem) : 0;
    }
    snapshot_builder_host(builder, certificate->host, &host);
}

void certificates_add_tls(struct certificates *all, struct snapshot_builder *builder)
{
    look_at_routes(all);
    certificate_each(certificate, all)
    {
        if (certificate->is_wanted && (!certificate->parent || certificate->serving))
            add_host(all, builder, certificate);
    }
    if (map_count(all->by_host) > 0) {
        certificates_tickets(all);
        snapshot_builder_ticket_keys(builder, buf_slice(&all->ticket_keys));
    }
    certificates_add_challenges(all, builder);
    all->is_changed = false;
}

void certificates_publish(struct certificates *all)
{
    all->is_changed = true;
    if (!all->is_frozen && all->control->platform)
        loop_defer(all->control->loop, &all->turn_end);
}

static void on_turn_end(struct loop_deferred *deferred)
{
    struct certificates *all = container_of(deferred, struct certificates, turn_end);

    certificates_commit(all);
    certificates_keys_flush(all);
    if (all->is_changed && !all->is_frozen)
        (void)platform_publish(all->control->platform);
}

/* ---- life */

int certificates_new(struct control *control, struct certificates **ret_certificates,
                     struct error *err)
{
    struct certificates *all = calloc(1, sizeof *all);
    int code;

    if (!all)
        abort();
    all->control = control;
    list_init(&all->list);
    all->by_host = map_new(CERTIFICATES_MAX);
    all->authorities = map_new(CERTIFICATES_MAX);
    all->refusals = map_new(CERTIFICATES_MAX);
    all->ticket_keys = BUF_INIT(TLS_TICKET_KEYS_MAX * TLS_TICKET_KEY_BYTES);
    all->authority_key = BUF_INIT(65536);
    all->work.on_timer = on_work;
    all->turn_end.on_deferred = on_turn_end;
    list_init(&all->hooks);
    list_init(&all->asks);
    certificates_keys_init(all);
    code = certificates_acme_new(all, err);
    if (code == 0)
        code = certificates_load(all, err);
    if (code != 0) {
        certificates_free(all);
        return code;
    }
    *ret_certificates = all;
    return 0;
}

void certificates_start(struct certificates *all)
{
    all->is_started = true;
    acme_start(all->acme);
    work_arm(all, loop_now_us(all->control->loop) + LOOP_MS(1));
    certificates_publish(all);
}

void certificates_freeze(struct certificates *all)
{
    all->is_frozen = true;
    loop_timer_stop(&all->work);
}

void certificates_free(struct certificates *all)
{
    if (!all)
        return;
    loop_timer_stop(&all->work);
    loop_defer_cancel(&all->turn_end);
    certificates_commit(all);
    certificates_demand_free(all);
    certificate_each(certificate, all)
    {
        certificate_free(certificate);
    }
    certificates_acme_free(all);
    certificates_keys_done(all);
    authority_files_free(all);
    map_free(all->by_host);
    map_free(all->authorities);
    map_free(all->refusals);
    buf_wipe(&all->ticket_keys);
    buf_wipe(&all->authority_key);
    free(all->authority_pem);
    free(all);
}
