/* When to renew. Two thirds of a certificate's life, or when its CA says (RFC 9773): one question
 * at a time, each certificate again when its CA's Retry-After has passed. The moment within the
 * window that a CA suggests is drawn from the certificate's own identifier, so that it is the same
 * one after a restart, and another one for every certificate. */
#include "control/acme_private.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "os/random.h"

#define ARI_DEFAULT_S (6ull * 3600)
#define ARI_MIN_S     60ull
#define ARI_MAX_S     (24ull * 3600)
#define ARI_FAILED_S  3600ull
#define LATEST_PART   10u /* of its life is left when it is renewed, whatever its CA says */
#define ARI_NONE_US   (24ull * 3600 * 1000000) /* the CA has none: look again then */

#define ARI_AHEAD_MAX_US ((ARI_MAX_S + 3600) * 1000000)

struct acme_renewal {
    struct acme *acme;
    struct acme_item *item; /* that is asked about; NULL: idle */
    struct acme_directory *directory;
    struct https_handler https;
    struct https_exchange *exchange;
};

void acme_renewal_plan(struct acme_item *item)
{
    item->renew_at_us = 0;
    if (!item->has_certificate)
        return;
    uint64_t life_us = item->not_after_us - MIN(item->not_before_us, item->not_after_us);
    /* Certificates of one day are not all renewed in one hour. */
    uint64_t spread_us =
        hash_fast(item->name, strlen(item->name), item->not_after_us) % (life_us / 50 + 1);
    item->renew_at_us = item->not_before_us + life_us / 3 * 2 - spread_us;
    if (item->ari_at_us) /* a CA's mistake lets no certificate expire */
        item->renew_at_us = MIN(item->ari_at_us, item->not_after_us - life_us / LATEST_PART);
    if (item->is_renewal_forced || !item->is_covering)
        item->renew_at_us = 1;
}

static const struct acme_ca *item_ca(const struct acme_item *item, const char *directory)
{
    for (size_t i = 0; i < item->spec.ca_count; i++)
        if (strcmp(item->spec.cas[i].directory, directory) == 0)
            return &item->spec.cas[i];
    return NULL;
}

/* ---- answers */

static void renewal_idle(struct acme_renewal *renewal, uint64_t again_s)
{
    struct acme_item *item = renewal->item;
    item->ari_next_us = clock_wall_us() + again_s * 1000000;
    renewal->item = NULL;
    acme_renewal_plan(item);
    acme_schedule(renewal->acme);
}

static void take_window(struct acme_renewal *renewal, const struct acme_answer_renewal *window)
{
    struct acme_item *item = renewal->item;
    uint64_t width_us = window->end_us - window->start_us;
    uint64_t at_us = window->start_us +
                     hash_fast(item->ari_id, strlen(item->ari_id), window->start_us) % width_us;
    if (at_us != item->ari_at_us && window->explanation)
        log_info("certificate %s: %s suggests another time to renew, see %s", item->name,
                 item->certificate_directory, window->explanation);
    item->ari_at_us = at_us;
    item->ari_failures = 0;
}

static void on_info(struct https_handler *handler, const struct https_response *response)
{
    struct acme_renewal *renewal = container_of(handler, struct acme_renewal, https);
    struct arena *arena CLEANUP(arena_freep) = arena_new(ACME_ARENA_BYTES);
    struct acme_answer_renewal window;
    struct error err = {0};
    uint64_t again_s = acme_retry_after_s(response->retry_after, clock_wall_us());
    renewal->exchange = NULL;
    if (response->code < 0)
        error_copy(&err, response->err);
    else if (response->status != 200)
        error_set(&err, ERR_FAILED, "status %d", response->status);
    else if (acme_answer_renewal(arena, response->body, &window, &err) == 0)
        take_window(renewal, &window);
    if (err.code) {
        log_debug("certificate %s: no renewal information: %s", renewal->item->name, err.text);
        again_s = MAX(again_s, ARI_FAILED_S << MIN(renewal->item->ari_failures, 4u));
        renewal->item->ari_failures++;
    } else if (again_s == 0) {
        again_s = ARI_DEFAULT_S;
    }
    renewal_idle(renewal, MIN(MAX(again_s, ARI_MIN_S), ARI_MAX_S));
}

static void renewal_ask(struct acme_renewal *renewal);

static void on_directory(struct https_handler *handler, const struct https_response *response)
{
    struct acme_renewal *renewal = container_of(handler, struct acme_renewal, https);
    struct acme_directory *directory = renewal->directory;
    struct arena *arena CLEANUP(arena_freep) = arena_new(ACME_ARENA_BYTES);
    struct acme_endpoints endpoints;
    renewal->exchange = NULL;
    if (response->code < 0 || response->status != 200 ||
        acme_answer_directory(arena, response->body, directory->is_plain, &endpoints, NULL) < 0) {
        renewal_idle(renewal, ARI_FAILED_S);
        return;
    }
    if (!directory->arena) {
        directory->arena = TAKE_PTR(arena);
        directory->endpoints = endpoints;
        directory->known_at_us = clock_monotonic_us();
    }
    renewal_ask(renewal);
}

/* ---- questions */

static void renewal_get(struct acme_renewal *renewal, const char *url,
                        void (*on_done)(struct https_handler *handler,
                                        const struct https_response *response))
{
    struct https_request request = {
        .method = "GET",
        .url = url,
        .ca_file = renewal->directory->ca_file,
        .timeout_ms = renewal->acme->settings.request_timeout_ms,
        .response_limit_bytes = ACME_ANSWER_MAX,
    };
    struct error err = {0};
    renewal->https.on_done = on_done;
    if (https_client_start(renewal->acme->https, &request, &renewal->https, &renewal->exchange,
                           &err) < 0) {
        log_debug("certificate %s: %s", renewal->item->name, err.text);
        renewal_idle(renewal, ARI_FAILED_S);
    }
}

static void renewal_ask(struct acme_renewal *renewal)
{
    struct acme_directory *directory = renewal->directory;
    char url[ACME_URL_MAX + 256];
    if (!directory->arena) {
        renewal_get(renewal, directory->url, on_directory);
        return;
    }
    if (!directory->endpoints.renewal_info) {
        renewal_idle(renewal, ARI_NONE_US / 1000000);
        return;
    }
    size_t len = strlen(directory->endpoints.renewal_info);
    bool has_slash = len && directory->endpoints.renewal_info[len - 1] == '/';
    snprintf(url, sizeof(url), "%s%s%s", directory->endpoints.renewal_info, has_slash ? "" : "/",
             renewal->item->ari_id);
    renewal_get(renewal, url, on_info);
}

/* Further ahead than it is ever put: by a clock that was wrong. */
static uint64_t ari_due_us(const struct acme_item *item)
{
    return item->ari_next_us > clock_wall_us() + ARI_AHEAD_MAX_US ? 0 : item->ari_next_us;
}

uint64_t acme_renewal_step(struct acme *acme)
{
    struct acme_renewal *renewal = acme->renewal;
    struct acme_item *next = NULL;
    struct slice key;
    void *value;
    size_t cursor = 0;
    if (renewal->item)
        return 0;
    while (map_next(acme->items, &cursor, &key, &value)) {
        struct acme_item *item = value;
        if (!item->arena || !item->has_certificate || !item->ari_id || item->order ||
            !item_ca(item, item->certificate_directory))
            continue;
        if (!next || ari_due_us(item) < ari_due_us(next))
            next = item;
    }
    if (!next || ari_due_us(next) > clock_wall_us())
        return next ? next->ari_next_us : UINT64_MAX;
    renewal->item = next;
    renewal->directory = acme_directory_of(acme, item_ca(next, next->certificate_directory));
    renewal_ask(renewal);
    return 0;
}

/* ---- life */

void acme_renewal_forget(struct acme *acme, struct acme_item *item)
{
    struct acme_renewal *renewal = acme->renewal;
    if (renewal->item != item)
        return;
    https_client_cancel(renewal->exchange);
    renewal->exchange = NULL;
    renewal->item = NULL;
}

void acme_renewal_new(struct acme *acme)
{
    acme->renewal = calloc(1, sizeof(*acme->renewal));
    if (!acme->renewal)
        abort();
    acme->renewal->acme = acme;
}

void acme_renewal_free(struct acme *acme)
{
    if (acme->renewal)
        https_client_cancel(acme->renewal->exchange);
    free(acme->renewal);
    acme->renewal = NULL;
}
