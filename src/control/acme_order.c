/* One attempt at one certificate. The states and what is done on entering each stand in one table;
 * every request, wait and hook of a state ends in acme_order_step, acme_order_fail or
 * acme_order_postpone.
 *
 *   self-check → account → new order → authorizations → present → publish → respond → poll
 *     → clean up → order ready → finalize → issuance → download
 *
 * An attempt that fails cleans up after itself first. Then, when it was the CA and there is another
 * one, it begins anew with that; else the item counts the failure. An order whose fate is open (no
 * answer, too slow) stays in its record: the next attempt asks what became of it. */
#include "control/acme_private.h"

#include "base/clock.h"
#include "base/log.h"

#define RATE_LIMITED_S 3600u /* where a CA does not say for how long */

static void order_fetch(struct acme_order *order);

static void nothing(struct acme_order *order UNUSED) {}

static const struct {
    const char *name;
    enum acme_state state;
} steps[] = {
#define X(step, name, state) [step] = {name, state},
    ACME_ORDER_STEPS(X)
#undef X
};

static void (*const on_enter[])(struct acme_order *order) = {
    [ACME_STEP_CHECK_PUBLISH] = acme_order_check,
    [ACME_STEP_CHECK] = acme_order_check_run,
    [ACME_STEP_ACCOUNT] = acme_order_account,
    [ACME_STEP_ACCOUNT_WAIT] = nothing,
    [ACME_STEP_NEW] = acme_order_new,
    [ACME_STEP_FETCH] = order_fetch,
    [ACME_STEP_AUTHORIZATIONS] = acme_order_authorize,
    [ACME_STEP_PRESENT] = acme_order_present,
    [ACME_STEP_PUBLISH] = acme_order_publish,
    [ACME_STEP_HOOK_DELAY] = nothing,
    [ACME_STEP_RESPOND] = acme_order_respond,
    [ACME_STEP_POLL] = acme_order_poll,
    [ACME_STEP_CLEANUP] = acme_order_cleanup,
    [ACME_STEP_READY] = order_fetch,
    [ACME_STEP_FINALIZE] = acme_order_finalize,
    [ACME_STEP_ISSUE] = nothing,
    [ACME_STEP_DOWNLOAD] = acme_order_download,
};

void acme_order_step(struct acme_order *order, enum acme_order_step step)
{
    if (order->step != step)
        log_debug("certificate %s: %s -> %s", order->item->name, steps[order->step].name,
                  steps[step].name);
    loop_timer_stop(&order->timer);
    order->step = step;
    on_enter[step](order);
}

enum acme_state acme_order_state(const struct acme_order *order)
{
    return steps[order->step].state;
}

void acme_order_wait(struct acme_order *order, uint64_t delay_us,
                     void (*on_timer)(struct loop_timer *timer))
{
    order->timer.on_timer = on_timer;
    loop_timer_start_in(order->acme->loop, &order->timer, delay_us);
}

void acme_order_post(struct acme_order *order, const char *url,
                     void (*on_done)(struct acme_call *call, const struct acme_reply *reply))
{
    acme_call_start(&order->call, order->account, ACME_TARGET_URL, url, on_done);
}

/* When to ask again: as the CA says, within reason. */
uint64_t acme_order_poll_us(const struct acme_order *order, const struct acme_reply *reply)
{
    uint64_t said_us = MIN(reply->retry_after_s, (uint64_t)300) * 1000000;
    return said_us ? said_us : order->acme->settings.poll_ms * 1000;
}

/* ---- life */

static void authorizations_clear(struct acme_order *order)
{
    for (size_t i = 0; i < order->authorization_count; i++)
        acme_authorization_done(&order->authorizations[i]);
    free(order->authorizations);
    order->authorizations = NULL;
    order->authorization_count = order->cursor = 0;
}

static void presented_clear(struct acme_order *order)
{
    for (size_t i = 0; i < order->presented_count; i++) {
        free(order->presented[i].domain);
        free(order->presented[i].value);
    }
    free(order->presented);
    order->presented = NULL;
    order->presented_count = 0;
}

static void urls_clear(struct acme_order *order)
{
    free(order->url);
    free(order->finalize_url);
    free(order->certificate_url);
    order->url = order->finalize_url = order->certificate_url = NULL;
}

void acme_order_halt(struct acme_order *order)
{
    acme_call_cancel(&order->call);
    acme_check_cancel(order);
    acme_account_leave(order);
    loop_timer_stop(&order->timer);
    loop_timer_stop(&order->deadline);
    if (order->is_hook_running) {
        order->is_hook_running = false;
        order->acme->handler->cancel_hook(order->acme->handler, &order->hook);
    }
    acme_order_unpublish(order);
    order->call.accept = NULL;
    order->call.answer_limit = 0;
}

void acme_order_free(struct acme_order *order)
{
    struct acme *acme = order->acme;
    acme_order_halt(order);
    list_remove(&order->node);
    acme->order_count--;
    order->item->order = NULL;
    acme_call_done(&order->call);
    authorizations_clear(order);
    acme_authorization_done(&order->self);
    presented_clear(order);
    urls_clear(order);
    buf_wipe(&order->key_pem);
    for (size_t i = 0; i < ARRAY_LEN(order->hook_environment); i++)
        free(order->hook_environment[i]);
    free(order->hook_command);
    free(order);
    acme_schedule(acme);
}

static void on_deadline(struct loop_timer *timer)
{
    struct acme_order *order = container_of(timer, struct acme_order, deadline);
    struct error err = {0};
    error_set(&err, ERR_TIMEOUT, "%s did not issue in time (it was at \"%s\")",
              order->account ? order->account->directory->url : "the CA", steps[order->step].name);
    order->is_kept = order->url != NULL;
    acme_order_fail(order, ACME_BLAME_CA, &err);
}

/* Open the account of the CA whose turn it is. */
static int order_open(struct acme_order *order, struct error *err)
{
    loop_timer_start_in(order->acme->loop, &order->deadline,
                        order->acme->settings.order_timeout_ms * 1000);
    return acme_account_of(order->acme, &order->item->spec.cas[order->ca], &order->account, err);
}

/* Is there an order of an earlier life, or of an attempt that stayed open? */
static bool order_resume(struct acme_order *order)
{
    const struct acme_spec *spec = &order->item->spec;
    char account[ACME_ID_SIZE] = "", id[ACME_ID_SIZE];
    struct error err = {0};
    int result = acme_record_load_order(order, account, &err);
    if (result < 0 && result != ERR_NOT_FOUND)
        log_failure(&err, "certificate %s", order->item->name);
    for (size_t i = 0; result == 0 && i < spec->ca_count; i++) {
        acme_account_id(&spec->cas[i], id);
        if (strcmp(id, account) == 0) {
            order->ca = i;
            return true;
        }
    }
    urls_clear(order);
    buf_wipe(&order->key_pem);
    return false;
}

static void order_begin(struct acme_order *order)
{
    struct error err = {0};
    if (order_open(order, &err) < 0)
        acme_order_fail(order, ACME_BLAME_LOCAL, &err);
    else if (order->is_resumed)
        acme_order_step(order, ACME_STEP_ACCOUNT);
    else
        acme_order_step(order, ACME_STEP_CHECK_PUBLISH);
}

static void on_begin(struct loop_timer *timer)
{
    struct acme_order *order = container_of(timer, struct acme_order, timer);
    if (order->is_sweeping)
        acme_order_step(order, ACME_STEP_CLEANUP);
    else
        order_begin(order);
}

void acme_order_start(struct acme_item *item, size_t ca)
{
    struct acme *acme = item->acme;
    struct acme_order *order = calloc(1, sizeof(*order));
    if (!order)
        abort();
    order->acme = acme;
    order->item = item;
    order->ca = ca;
    order->kind = item->spec.challenge;
    order->is_policy = true;
    order->is_replacing = item->has_certificate && item->is_covering;
    order->key_pem = BUF_INIT(ACME_KEY_MAX);
    order->deadline.on_timer = on_deadline;
    order->hook_command = item->spec.dns_hook ? strdup(item->spec.dns_hook) : NULL;
    acme_call_init(&order->call, acme);
    acme_renewal_forget(acme, item); /* the answer would be taken for one on the next certificate */
    item->order = order;
    list_push_back(&acme->orders, &order->node);
    acme->order_count++;
    order->is_resumed = order_resume(order);
    order->is_sweeping = !order->is_resumed && order->presented_count > 0;
    if (order->is_resumed)
        log_info("certificate %s: going on with order %s", item->name, order->url);
    /* Later, so that whoever starts it may start others first. */
    acme_order_wait(order, 0, on_begin);
}

void acme_order_cancel(struct acme_order *order)
{
    order->is_cancelled = true;
    acme_order_halt(order);
    order->cursor = 0;
    if (order->presented_count)
        acme_order_step(order, ACME_STEP_CLEANUP);
    else
        acme_order_settled(order);
}

/* ---- failing */

void acme_order_fail(struct acme_order *order, enum acme_blame blame, const struct error *err)
{
    log_debug("certificate %s: at \"%s\": %s", order->item->name, steps[order->step].name,
              err->text);
    acme_order_halt(order);
    order->is_failing = true;
    order->blame = blame;
    error_copy(&order->err, err);
    order->cursor = 0;
    if (order->presented_count)
        acme_order_step(order, ACME_STEP_CLEANUP);
    else
        acme_order_settled(order);
}

void acme_order_refused(struct acme_order *order, const struct acme_reply *reply,
                        const char *format, ...)
{
    struct error err = {0};
    char context[512];
    va_list args;
    va_start(args, format);
    vsnprintf(context, sizeof(context), format, args);
    va_end(args);
    error_copy(&err, reply->err);
    error_wrap(&err, "%s", context);
    if (reply->problem.kind == ACME_PROBLEM_RATE) {
        uint64_t seconds = reply->retry_after_s ? reply->retry_after_s : RATE_LIMITED_S;
        acme_item_block_set(order->item, order->account->directory,
                            clock_wall_us() + seconds * 1000000);
    }
    if (reply->problem.kind == ACME_PROBLEM_EXTERNAL)
        error_hint(&err, "this CA gives out a key id and an HMAC key; set both");
    order->is_refusing = acme_problem_is_policy(reply->problem.kind);
    /* What the CA did not say is still open. */
    order->is_kept = reply->is_transient && order->url;
    acme_order_fail(order, ACME_BLAME_CA, &err);
}

/* The next CA that takes an order now. */
static bool next_ca(const struct acme_order *order, size_t *ret_ca)
{
    const struct acme_spec *spec = &order->item->spec;
    for (size_t i = order->ca + 1; i < spec->ca_count; i++) {
        struct acme_directory *directory = acme_directory_of(order->acme, &spec->cas[i]);
        if (!acme_item_block(order->item, directory) && !acme_limit_next(directory)) {
            *ret_ca = i;
            return true;
        }
    }
    return false;
}

static void merge_errors(struct acme_order *order)
{
    struct error both = order->err;
    if (!order->first_err.code)
        return;
    snprintf(both.text, sizeof(both.text), "%.480s; then %.480s", order->first_err.text,
             order->err.text);
    if (!both.hint[0])
        memcpy(both.hint, order->first_err.hint, sizeof(both.hint));
    order->err = both;
}

static void order_settle_failure(struct acme_order *order)
{
    struct acme_item *item = order->item;
    struct error err = {0};
    size_t ca;
    merge_errors(order);
    order->is_policy = order->is_policy && order->is_refusing;
    order->is_refusing = false;
    if (order->blame == ACME_BLAME_CA && next_ca(order, &ca)) {
        log_warning("certificate %s: %s; trying %s", item->name, order->err.text,
                    item->spec.cas[ca].directory);
        order->first_err = order->err;
        order->is_failing = order->is_resumed = order->is_kept = order->is_sweeping = false;
        order->is_account_renewed = false;
        order->ca = ca;
        urls_clear(order);
        authorizations_clear(order);
        if (order_open(order, &err) < 0)
            acme_order_fail(order, ACME_BLAME_LOCAL, &err);
        else
            acme_order_step(order, ACME_STEP_ACCOUNT);
        return;
    }
    err = order->err;
    enum acme_blame blame = order->blame;
    bool is_policy = order->is_policy;
    if (!order->is_kept)
        acme_record_drop_order(item);
    acme_order_free(order);
    acme_item_failed(item, blame, is_policy, &err);
}

/* Nothing of it is left in the DNS. */
void acme_order_settled(struct acme_order *order)
{
    struct acme_item *item = order->item;
    struct error err = {0};
    bool had_presented = order->presented_count > 0;
    presented_clear(order);
    if (order->is_cancelled) {
        if (had_presented) /* its record names what is no longer there */
            acme_record_drop_order(item);
        acme_order_free(order);
        acme_item_release(item);
        return;
    }
    if (order->is_sweeping && !order->is_failing) {
        order->is_sweeping = false;
        acme_record_drop_order(item);
        order_begin(order);
        return;
    }
    if (had_presented && order->url && acme_record_save_order(order, &err) < 0)
        log_failure(&err, "certificate %s", item->name);
    if (order->is_failing)
        order_settle_failure(order);
    else
        acme_order_step(order, ACME_STEP_READY);
}

void acme_order_postpone(struct acme_order *order, uint64_t until_us)
{
    struct acme_item *item = order->item;
    item->next_attempt_at_us = until_us;
    acme_order_free(order);
    acme_record_save_item(item);
}

/* ---- the order object */

static void on_poll(struct loop_timer *timer)
{
    order_fetch(container_of(timer, struct acme_order, timer));
}

static void order_invalid(struct acme_order *order, const struct acme_answer_order *answer)
{
    struct error err = {0};
    error_set(&err, ERR_FAILED, "%s gave the order up%s%s", order->account->directory->url,
              *answer->problem.text ? ": " : "", answer->problem.text);
    order->is_refusing = acme_problem_is_policy(answer->problem.kind);
    acme_order_fail(order,
                    acme_problem_is_of_name(answer->problem.kind) ? ACME_BLAME_NAME : ACME_BLAME_CA,
                    &err);
}

void acme_keep_text(char **place, const char *text)
{
    char *copy = text ? strdup(text) : NULL;
    free(*place);
    *place = copy;
}

static void take_authorizations(struct acme_order *order, const struct acme_answer_order *answer)
{
    authorizations_clear(order);
    order->authorizations = calloc(answer->authorization_count, sizeof(*order->authorizations));
    if (!order->authorizations)
        abort();
    for (size_t i = 0; i < answer->authorization_count; i++)
        order->authorizations[i].url = strdup(answer->authorizations[i]);
    order->authorization_count = answer->authorization_count;
    acme_order_step(order, ACME_STEP_AUTHORIZATIONS);
}

/* What the order's own status says to do next. */
static void order_take(struct acme_order *order, const struct acme_reply *reply,
                       const struct acme_answer_order *answer)
{
    acme_keep_text(&order->finalize_url, answer->finalize);
    acme_keep_text(&order->certificate_url, answer->certificate);
    if (order->step == ACME_STEP_FETCH && answer->status != ACME_OBJECT_PENDING &&
        order->presented_count) {
        /* Its validation was over when an earlier life ended. */
        acme_order_step(order, ACME_STEP_CLEANUP);
        return;
    }
    switch (answer->status) {
    case ACME_OBJECT_PENDING:
        if (order->step == ACME_STEP_FETCH)
            take_authorizations(order, answer);
        else
            acme_order_wait(order, acme_order_poll_us(order, reply), on_poll);
        break;
    case ACME_OBJECT_READY:
        /* A CA that has just been told to finalize may still say so. */
        if (order->step == ACME_STEP_ISSUE)
            acme_order_wait(order, acme_order_poll_us(order, reply), on_poll);
        else
            acme_order_step(order, ACME_STEP_FINALIZE);
        break;
    case ACME_OBJECT_PROCESSING:
        if (order->step != ACME_STEP_ISSUE)
            acme_order_step(order, ACME_STEP_ISSUE);
        acme_order_wait(order, acme_order_poll_us(order, reply), on_poll);
        break;
    case ACME_OBJECT_VALID:
        acme_order_step(order, ACME_STEP_DOWNLOAD);
        break;
    default:
        order_invalid(order, answer);
    }
}

/* What an earlier life ordered is of no use: in this one, once. */
void acme_order_anew(struct acme_order *order)
{
    order->is_resumed = false;
    urls_clear(order);
    authorizations_clear(order);
    if (order->presented_count) {
        order->is_sweeping = true;
        acme_order_step(order, ACME_STEP_CLEANUP);
        return;
    }
    acme_record_drop_order(order->item);
    acme_order_step(order, ACME_STEP_CHECK_PUBLISH);
}

void acme_order_on_reply(struct acme_call *call, const struct acme_reply *reply)
{
    struct acme_order *order = container_of(call, struct acme_order, call);
    struct acme_directory *directory = order->account->directory;
    struct acme_answer_order answer;
    struct error err = {0};
    if (reply->code < 0 && !reply->is_transient && order->is_resumed) {
        /* It is gone, or not ours any more (a CA that lost its memory): begin anew. */
        log_info("certificate %s: the order of before is gone: %s", order->item->name,
                 reply->err->text);
        if (reply->problem.kind == ACME_PROBLEM_ACCOUNT) {
            order->is_account_renewed = true;
            acme_keep_text(&order->account->url, NULL);
        }
        acme_order_anew(order);
        return;
    }
    if (reply->code < 0) {
        acme_order_refused(order, reply, "%s", directory->url);
        return;
    }
    if (acme_answer_order(call->arena, reply->body, directory->is_plain, &answer, &err) < 0) {
        error_wrap(&err, "%s", directory->url);
        acme_order_fail(order, ACME_BLAME_CA, &err);
        return;
    }
    if (answer.status == ACME_OBJECT_INVALID && order->is_resumed &&
        order->step == ACME_STEP_FETCH) {
        log_info("certificate %s: the order of before has ended without a certificate",
                 order->item->name);
        acme_order_anew(order);
        return;
    }
    order_take(order, reply, &answer);
}

static void order_fetch(struct acme_order *order)
{
    buf_clear(&order->call.payload);
    acme_order_post(order, order->url, acme_order_on_reply);
}
