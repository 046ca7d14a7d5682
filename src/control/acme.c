/* The door: what is wanted, what is due, what is known.
 *
 * There is one schedule for all certificates, looked through whenever something has changed: who is
 * due and may go, by precedence (a handshake waits, nothing there yet, renewal), as many at once as
 * are allowed. What is not due yet sets the timer. All plans are wall clock times, since they
 * outlive this process; the timer looks again every hour, in case that clock was set. */
#include "control/acme_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "os/random.h"

#define LOOK_AGAIN_US     (3600ull * 1000000)
#define CAP_MIN_US        (600ull * 1000000) /* between renewals that fail near the end */
#define POLICY_FAILURES   ACME_BACKOFFS
#define ARI_SPREAD_US     2000000ull /* a certificate, after a start */
#define TRY_AGAIN_SOON_US 1000000ull

const char *acme_state_name(enum acme_state state)
{
    static const char *const names[] = {
#define X(state, name) [state] = name,
        ACME_STATES(X)
#undef X
    };
    return names[state];
}

/* ---- items */

static void item_forget_certificate(struct acme_item *item)
{
    free(item->certificate_directory);
    free(item->ari_id);
    free(item->last_error);
    free(item->hint);
    item->certificate_directory = item->ari_id = item->last_error = item->hint = NULL;
    item->has_certificate = item->is_covering = false;
}

static void item_free(struct acme_item *item)
{
    list_remove(&item->delivery);
    item_forget_certificate(item);
    arena_free(item->arena);
    free(item->name);
    free(item);
}

void acme_item_release(struct acme_item *item)
{
    struct acme *acme = item->acme;
    if (!item->arena) {
        (void)map_remove(acme->items, slice_from(item->name));
        item_free(item);
    }
    acme_schedule(acme);
}

static struct acme_item *item_find(struct acme *acme, const char *name)
{
    struct acme_item *item = map_get(acme->items, slice_from(name));
    return item && item->arena ? item : NULL;
}

static bool item_has_valid(const struct acme_item *item)
{
    return item->has_certificate && item->not_after_us > clock_wall_us();
}

/* From when on an order is to be made. A plan that lies too far ahead does not count. */
static uint64_t item_due_us(const struct acme_item *item)
{
    uint64_t due_us = item->has_certificate ? item->renew_at_us : 0;
    if (item->next_attempt_at_us > clock_wall_us() + ACME_ATTEMPT_MAX_US)
        return due_us;
    return MAX(due_us, item->next_attempt_at_us);
}

/* ---- attempts that are over */

void acme_item_succeeded(struct acme_item *item)
{
    free(item->last_error);
    free(item->hint);
    item->last_error = item->hint = NULL;
    item->failures = item->check_failures = 0;
    item->next_attempt_at_us = item->last_error_at_us = 0;
    item->is_renewal_forced = false;
    item->ari_at_us = item->ari_failures = 0;
    item->ari_next_us = clock_wall_us() + TRY_AGAIN_SOON_US;
    memset(item->blocks, 0, sizeof(item->blocks));
}

static uint64_t item_backoff_us(struct acme_item *item, enum acme_blame blame, bool is_policy)
{
    const struct acme_settings *settings = &item->acme->settings;
    uint64_t now_us = clock_wall_us(), backoff_us, cap_us;
    if (blame == ACME_BLAME_CHECK) {
        backoff_us = acme_backoff_us(settings->check_backoff_ms, ++item->check_failures);
    } else {
        item->check_failures = 0;
        item->failures = is_policy ? MAX(item->failures + 1, POLICY_FAILURES) : item->failures + 1;
        backoff_us = acme_backoff_us(settings->backoff_ms, item->failures);
    }
    /* A certificate that nears its end is not left to a wait that would see it dead. */
    if (item_has_valid(item)) {
        cap_us = MAX((item->not_after_us - now_us) / 4, CAP_MIN_US);
        backoff_us = MIN(backoff_us, cap_us);
    }
    return backoff_us;
}

void acme_item_failed(struct acme_item *item, enum acme_blame blame, bool is_policy,
                      const struct error *err)
{
    struct acme *acme = item->acme;
    char text[CLOCK_TEXT_SIZE];
    uint64_t now_us = clock_wall_us();
    item->next_attempt_at_us = now_us + item_backoff_us(item, blame, is_policy);
    item->last_error_at_us = now_us;
    item->is_renewal_forced = false;
    free(item->last_error);
    free(item->hint);
    item->last_error = strdup(err->text);
    item->hint = err->hint[0] ? strdup(err->hint) : NULL;
    acme_renewal_plan(item);
    acme_record_save_item(item);
    log_failure(err, "certificate %s: next attempt at %s", item->name,
                clock_format(item->next_attempt_at_us, text));
    acme_schedule(acme);
    acme->handler->on_failure(acme->handler, item->name, err);
}

/* ---- schedule */

/* The CA to begin with; else when one will take an order. */
static bool choose_ca(const struct acme_item *item, size_t *ret_ca, uint64_t *ret_next_us)
{
    uint64_t next_us = UINT64_MAX;
    for (size_t i = 0; i < item->spec.ca_count; i++) {
        struct acme_directory *directory = acme_directory_of(item->acme, &item->spec.cas[i]);
        uint64_t blocked_us = acme_item_block(item, directory);
        uint64_t limit_us = acme_limit_next(directory);
        if (!blocked_us && !limit_us) {
            *ret_ca = i;
            return true;
        }
        next_us = MIN(next_us, MAX(blocked_us, limit_us));
        /* Our own limit is no reason to go to another CA. */
        if (!blocked_us && !acme_limit_is_paused(directory))
            break;
    }
    *ret_next_us = next_us;
    return false;
}

static unsigned item_precedence(const struct acme_item *item)
{
    if (item_has_valid(item))
        return 2;
    return item->spec.is_on_demand ? 0 : 1;
}

static bool item_is_before(const struct acme_item *item, const struct acme_item *other)
{
    unsigned mine, others;
    if (!other)
        return true;
    mine = item_precedence(item);
    others = item_precedence(other);
    if (mine != others)
        return mine < others;
    return mine == 2 ? item->not_after_us < other->not_after_us
                     : item->next_attempt_at_us < other->next_attempt_at_us;
}

/* The most urgent one that may go now. *wake_us: when another one will. */
static struct acme_item *schedule_find(struct acme *acme, bool is_full, size_t *ret_ca,
                                       uint64_t *wake_us)
{
    struct acme_item *best = NULL;
    struct slice key;
    void *value;
    size_t cursor = 0, ca = 0;
    uint64_t now_us = clock_wall_us(), next_us = 0;
    while (map_next(acme->items, &cursor, &key, &value)) {
        struct acme_item *item = value;
        if (!item->arena || item->order)
            continue;
        uint64_t due_us = item_due_us(item);
        if (due_us > now_us) {
            *wake_us = MIN(*wake_us, due_us);
            continue;
        }
        if ((is_full && item_precedence(item) != 0) || !item_is_before(item, best))
            continue;
        if (!choose_ca(item, &ca, &next_us)) {
            *wake_us = MIN(*wake_us, next_us);
            continue;
        }
        best = item;
        *ret_ca = ca;
    }
    return best;
}

static void on_schedule(struct loop_deferred *deferred)
{
    struct acme *acme = container_of(deferred, struct acme, schedule);
    uint64_t wake_us = UINT64_MAX, now_us = clock_wall_us();
    size_t ca;
    if (!acme->is_started)
        return;
    while (acme->order_count < 2 * (size_t)acme->settings.at_once) {
        bool is_full = acme->order_count >= acme->settings.at_once;
        struct acme_item *item = schedule_find(acme, is_full, &ca, &wake_us);
        if (!item)
            break;
        acme_order_start(item, ca);
    }
    uint64_t ari_us = acme_renewal_step(acme);
    if (ari_us)
        wake_us = MIN(wake_us, ari_us);
    uint64_t delay_us = wake_us > now_us ? MIN(wake_us - now_us, LOOK_AGAIN_US) : 0;
    loop_timer_start_in(acme->loop, &acme->timer, delay_us);
}

void acme_schedule(struct acme *acme)
{
    if (!acme->is_freeing)
        loop_defer(acme->loop, &acme->schedule);
}

static void on_timer(struct loop_timer *timer)
{
    acme_schedule(container_of(timer, struct acme, timer));
}

static void on_tidy(struct loop_timer *timer)
{
    struct acme *acme = container_of(timer, struct acme, tidy);
    acme_record_drop_old(acme);
    loop_timer_start_in(acme->loop, timer, 24 * LOOK_AGAIN_US);
}

/* ---- handing out */

void acme_deliver(struct acme *acme, struct acme_item *item)
{
    list_remove(&item->delivery);
    list_push_back(&acme->deliveries, &item->delivery);
    loop_defer(acme->loop, &acme->deliver);
}

static void on_deliver(struct loop_deferred *deferred)
{
    struct acme *acme = container_of(deferred, struct acme, deliver);
    while (!list_is_empty(&acme->deliveries)) {
        struct acme_item *item = container_of(acme->deliveries.next, struct acme_item, delivery);
        struct buf key CLEANUP(buf_wipe) = BUF_INIT(ACME_KEY_MAX);
        struct buf chain CLEANUP(buf_done) = BUF_INIT(ACME_CHAIN_MAX);
        struct error err = {0};
        list_remove(&item->delivery);
        if (acme_stored(acme, item->name, &key, &chain, &err) == 0) {
            acme->handler->on_certificate(acme->handler, item->name, buf_slice(&chain),
                                          buf_slice(&key));
            continue;
        }
        /* A certificate whose record is no good is none. */
        log_failure(&err, "certificate %s", item->name);
        item->has_certificate = item->is_covering = false;
        acme_schedule(acme);
    }
}

/* ---- what is wanted */

static struct acme_item *item_make(struct acme *acme, const char *name, struct error *err)
{
    struct acme_item *item = calloc(1, sizeof(*item));
    if (!item)
        abort();
    item->acme = acme;
    item->name = strdup(name);
    list_init(&item->delivery);
    if (map_put(acme->items, slice_from(name), item) < 0) {
        error_set(err, ERR_LIMIT, "more than %u certificates", ACME_ITEMS_MAX);
        item_free(item);
        return NULL;
    }
    return item;
}

int acme_want(struct acme *acme, const struct acme_spec *spec, struct error *err)
{
    struct error story = {0};
    int result = acme_spec_check(spec, err);
    if (result < 0)
        return result;
    struct acme_item *item = map_get(acme->items, slice_from(spec->names[0]));
    uint64_t fingerprint = acme_spec_fingerprint(spec);
    if (item && item->arena && item->fingerprint == fingerprint)
        return 0;
    bool is_change = item && item->arena;
    if (!item && !(item = item_make(acme, spec->names[0], err)))
        return ERR_LIMIT;
    acme_renewal_forget(acme, item);
    /* While its spec is still the old one: an order speaks of it. */
    if (item->order && !item->order->is_cancelled)
        acme_order_halt(item->order);
    acme_spec_copy(spec, item);
    item->fingerprint = fingerprint;
    item_forget_certificate(item);
    if (acme_record_load_item(item, &story) < 0)
        log_failure(&story, "certificate %s", item->name);
    if (is_change)
        item->next_attempt_at_us = 0;
    item->ari_at_us = 0;
    item->ari_next_us =
        clock_wall_us() + random_u64() % (map_count(acme->items) * ARI_SPREAD_US + 1);
    acme_renewal_plan(item);
    if (item_has_valid(item))
        acme_deliver(acme, item);
    if (item->order && !item->order->is_cancelled)
        acme_order_cancel(item->order);
    acme_schedule(acme);
    return 0;
}

void acme_forget(struct acme *acme, const char *name)
{
    struct acme_item *item = item_find(acme, name);
    if (!item)
        return;
    acme_renewal_forget(acme, item);
    list_remove(&item->delivery);
    if (item->order) {
        acme_order_halt(item->order);
        arena_free(TAKE_PTR(item->arena));
        if (!item->order->is_cancelled)
            acme_order_cancel(item->order);
        return;
    }
    arena_free(TAKE_PTR(item->arena));
    acme_item_release(item);
}

int acme_renew(struct acme *acme, const char *name, struct error *err)
{
    struct acme_item *item = item_find(acme, name);
    if (!item)
        return error_set(err, ERR_NOT_FOUND, "no certificate '%.253s' is managed here", name);
    if (item->order)
        return error_set(err, ERR_EXISTS, "certificate %s is being ordered already", name);
    item->next_attempt_at_us = 0;
    item->is_renewal_forced = item->has_certificate;
    acme_renewal_plan(item);
    acme_schedule(acme);
    return 0;
}

/* ---- status */

static void status_fill(const struct acme_item *item, struct acme_status *status)
{
    bool is_due = item_due_us(item) <= clock_wall_us();
    *status = (struct acme_status){
        .name = item->name,
        .state = item->order ? acme_order_state(item->order)
                 : item_has_valid(item) && !is_due && !item->failures ? ACME_VALID
                                                                      : ACME_WAITING,
        .has_certificate = item->has_certificate,
        .is_on_demand = item->spec.is_on_demand,
        .directory = item->certificate_directory,
        .failures = item->failures + item->check_failures,
        .last_error = item->last_error,
        .hint = item->hint,
        .last_error_at_us = item->last_error_at_us,
        .next_attempt_at_us = item->order ? 0 : item->next_attempt_at_us,
        .next_renewal_at_us = item->has_certificate ? item->renew_at_us : 0,
    };
}

int acme_status(struct acme *acme, const char *name, struct acme_status *ret_status)
{
    const struct acme_item *item = item_find(acme, name);
    if (!item)
        return ERR_NOT_FOUND;
    status_fill(item, ret_status);
    return 0;
}

/* ---- life */

static void settings_fill(struct acme_settings *settings)
{
    static const uint64_t backoff_ms[] = {60000, 600000, 3600000, 6 * 3600000, 24 * 3600000};
    static const uint64_t check_backoff_ms[] = {15000, 60000, 120000, 300000, 600000};
#define DEFAULT(field, value)                                                                      \
    if (!settings->field)                                                                          \
        settings->field = (value);
    DEFAULT(http_port, 80)
    DEFAULT(https_port, 443)
    DEFAULT(at_once, 4)
    DEFAULT(orders_per_window, 20)
    DEFAULT(window_ms, 600000)
    DEFAULT(published_timeout_ms, 30000)
    DEFAULT(request_timeout_ms, 30000)
    DEFAULT(order_timeout_ms, 600000)
    DEFAULT(poll_ms, 2000)
    DEFAULT(retry_ms, 1000)
    for (size_t i = 0; i < ACME_BACKOFFS; i++) {
        DEFAULT(backoff_ms[i], backoff_ms[i])
        DEFAULT(check_backoff_ms[i], check_backoff_ms[i])
    }
#undef DEFAULT
}

int acme_new(struct loop *loop, struct store *store, struct https_client *https,
             struct acme_handler *handler, const struct acme_settings *settings,
             struct acme **ret_acme, struct error *err UNUSED)
{
    struct acme *acme = calloc(1, sizeof(*acme));
    if (!acme)
        abort();
    acme->loop = loop;
    acme->store = store;
    acme->https = https;
    acme->handler = handler;
    if (settings)
        acme->settings = *settings;
    settings_fill(&acme->settings);
    acme->items = map_new(ACME_ITEMS_MAX);
    list_init(&acme->directories);
    list_init(&acme->accounts);
    list_init(&acme->orders);
    list_init(&acme->deliveries);
    acme->timer.on_timer = on_timer;
    acme->tidy.on_timer = on_tidy;
    acme->schedule.on_deferred = on_schedule;
    acme->deliver.on_deferred = on_deliver;
    acme_challenges_init(acme);
    acme_renewal_new(acme);
    *ret_acme = acme;
    return 0;
}

void acme_start(struct acme *acme)
{
    acme->is_started = true;
    loop_timer_start_in(acme->loop, &acme->tidy, LOOK_AGAIN_US);
    acme_schedule(acme);
}

void acme_free(struct acme *acme)
{
    struct slice key;
    void *value;
    size_t cursor = 0;
    if (!acme)
        return;
    acme->is_freeing = true;
    list_each_safe (node, &acme->orders)
        acme_order_free(container_of(node, struct acme_order, node));
    acme_renewal_free(acme);
    while (map_next(acme->items, &cursor, &key, &value))
        item_free(value);
    map_free(acme->items);
    list_each_safe (node, &acme->accounts)
        acme_account_free(container_of(node, struct acme_account, node));
    list_each_safe (node, &acme->directories)
        acme_directory_free(container_of(node, struct acme_directory, node));
    loop_timer_stop(&acme->timer);
    loop_timer_stop(&acme->tidy);
    loop_defer_cancel(&acme->schedule);
    loop_defer_cancel(&acme->deliver);
    acme_challenges_done(acme);
    free(acme);
}
