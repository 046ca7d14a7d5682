/* From the authorizations to their validation: choose a challenge for each, put the answers where
 * the CA looks (edges, DNS by a hook), say so, wait for its verdict, clean up. RFC 8555 §7.5 and
 * §8, RFC 8737. */
#include "control/acme_private.h"

#include "base/hash.h"
#include "base/log.h"
#include "net/x509.h"

#define HOOK_TIMEOUT_MS    120000u
#define HOOK_GRACE_MS      10000u /* for its owner to end it and say so */
#define DNS_DELAY_MS       10000u
#define AUTHORIZATION_TEXT 1024u

static const char *const kind_names[] = {"", "http-01", "tls-alpn-01", "dns-01"};

void acme_authorization_done(struct acme_authorization *authorization)
{
    free(authorization->url);
    free(authorization->challenge_url);
    free(authorization->name);
    free(authorization->token);
    free(authorization->key_authorization);
    free(authorization->value);
    buf_done(&authorization->certificate_pem);
    buf_wipe(&authorization->key_pem);
    *authorization = (struct acme_authorization){0};
}

/* ---- which challenge, and what answers it */

static const struct acme_answer_challenge *
challenge_find(const struct acme_answer_authorization *answer, enum acme_challenge_kind kind)
{
    for (size_t i = 0; i < answer->challenge_count; i++)
        if (answer->challenges[i].kind == kind)
            return &answer->challenges[i];
    return NULL;
}

static const struct acme_answer_challenge *
challenge_choose(const struct acme_order *order, const struct acme_answer_authorization *answer)
{
    const struct acme_answer_challenge *chosen;
    if (answer->is_wildcard || (order->kind == ACME_AUTO && order->hook_command))
        return challenge_find(answer, ACME_DNS_01);
    if (order->kind != ACME_AUTO)
        return challenge_find(answer, order->kind);
    chosen = challenge_find(answer, ACME_HTTP_01);
    return chosen ? chosen : challenge_find(answer, ACME_TLS_ALPN_01);
}

int acme_make_alpn(struct acme_authorization *authorization, struct error *err)
{
    uint8_t digest[32];
    authorization->certificate_pem = BUF_INIT(ACME_CHAIN_MAX);
    authorization->key_pem = BUF_INIT(ACME_KEY_MAX);
    hash_sha256(authorization->key_authorization, strlen(authorization->key_authorization), digest);
    int result = x509_make_key(&authorization->key_pem, err);
    if (result == 0)
        result = x509_make_challenge(buf_slice(&authorization->key_pem), authorization->name,
                                     digest, &authorization->certificate_pem, err);
    return result;
}

static int answer_make(const struct acme_order *order, struct acme_authorization *authorization,
                       const struct acme_answer_challenge *challenge, const char *name,
                       struct error *err)
{
    struct buf text CLEANUP(buf_done) = BUF_INIT(AUTHORIZATION_TEXT);
    struct buf value CLEANUP(buf_done) = BUF_INIT(128);
    uint8_t digest[32];
    buf_printf(&text, "%s.%s", challenge->token, buf_text(&order->account->thumbprint));
    authorization->kind = challenge->kind;
    authorization->challenge_url = strdup(challenge->url);
    authorization->name = strdup(name);
    authorization->token = strdup(challenge->token);
    authorization->key_authorization = strdup(buf_text(&text));
    if (challenge->kind == ACME_DNS_01) {
        hash_sha256(text.ptr, text.len, digest);
        x509_base64url((struct slice){(const char *)digest, sizeof(digest)}, &value);
        authorization->value = strdup(buf_text(&value));
    }
    return challenge->kind == ACME_TLS_ALPN_01 ? acme_make_alpn(authorization, err) : 0;
}

/* ---- the verdict */

static void hint_for(const struct acme_problem *problem, enum acme_challenge_kind kind,
                     const char *name, struct error *err)
{
    if (problem->kind == ACME_PROBLEM_CAA)
        error_hint(err, "the CAA record of %s (or of its parent) does not allow this CA", name);
    else if (kind == ACME_DNS_01)
        error_hint(err,
                   "the TXT record _acme-challenge.%s must be there when the hook is done; a "
                   "longer delay gives slow name servers time",
                   name);
    else if (problem->kind == ACME_PROBLEM_DNS)
        error_hint(err, "give %s an A or AAAA record that leads to this machine", name);
    else
        error_hint(err,
                   "the A and AAAA records of %s must all lead to this machine, and port %s "
                   "must be open to the internet",
                   name, kind == ACME_HTTP_01 ? "80" : "443");
}

static void authorization_refused(struct acme_order *order, const struct acme_problem *problem,
                                  enum acme_challenge_kind kind, const char *name)
{
    struct error err = {0};
    bool is_of_name = acme_problem_is_of_name(problem->kind) || problem->kind == ACME_PROBLEM_OTHER;
    error_set(&err, ERR_FAILED, "%s could not validate %s by %s%s%s",
              order->account->directory->url, name, kind_names[kind], *problem->text ? ": " : "",
              problem->text);
    hint_for(problem, kind, name, &err);
    order->is_refusing = acme_problem_is_policy(problem->kind);
    acme_order_fail(order, is_of_name ? ACME_BLAME_NAME : ACME_BLAME_CA, &err);
}

static void validated(struct acme_order *order)
{
    order->cursor = 0;
    acme_order_step(order, order->presented_count ? ACME_STEP_CLEANUP : ACME_STEP_READY);
}

/* ---- authorizations */

static void on_authorization(struct acme_call *call, const struct acme_reply *reply);

void acme_order_authorize(struct acme_order *order)
{
    if (order->cursor < order->authorization_count) {
        buf_clear(&order->call.payload);
        acme_order_post(order, order->authorizations[order->cursor].url, on_authorization);
        return;
    }
    bool has_pending = false;
    for (size_t i = 0; i < order->authorization_count; i++)
        has_pending = has_pending || order->authorizations[i].is_pending;
    order->cursor = 0;
    if (has_pending)
        acme_order_step(order, ACME_STEP_PRESENT);
    else
        validated(order); /* lately; that needs no challenge */
}

static bool name_is_wanted(const struct acme_spec *spec,
                           const struct acme_answer_authorization *answer)
{
    for (size_t i = 0; i < spec->name_count; i++) {
        const char *name = spec->names[i];
        bool is_wildcard = name[0] == '*';
        if (strcmp(name + (is_wildcard ? 2 : 0), answer->name) == 0)
            return true;
    }
    return false;
}

static void take_authorization(struct acme_order *order,
                               const struct acme_answer_authorization *answer)
{
    struct acme_authorization *authorization = &order->authorizations[order->cursor];
    struct error err = {0};
    const struct acme_answer_challenge *challenge = challenge_choose(order, answer);
    if (!name_is_wanted(&order->item->spec, answer)) {
        error_set(&err, ERR_INVALID, "%s wants %.253s validated, which nobody asked for",
                  order->account->directory->url, answer->name);
        acme_order_fail(order, ACME_BLAME_CA, &err);
        return;
    }
    if (!challenge) {
        error_set(&err, ERR_UNSUPPORTED, "%s offers no challenge for %s that can be answered here",
                  order->account->directory->url, answer->name);
        if (answer->is_wildcard)
            error_hint(&err, "a wildcard needs DNS-01: give a hook");
        acme_order_fail(order, ACME_BLAME_CA, &err);
        return;
    }
    if (answer_make(order, authorization, challenge, answer->name, &err) < 0) {
        acme_order_fail(order, ACME_BLAME_LOCAL, &err);
        return;
    }
    authorization->is_pending = true;
    order->cursor++;
    acme_order_step(order, ACME_STEP_AUTHORIZATIONS);
}

static void on_authorization(struct acme_call *call, const struct acme_reply *reply)
{
    struct acme_order *order = container_of(call, struct acme_order, call);
    struct acme_directory *directory = order->account->directory;
    struct acme_answer_authorization answer;
    struct error err = {0};
    if (reply->code < 0) {
        acme_order_refused(order, reply, "%s", directory->url);
        return;
    }
    if (acme_answer_authorization(call->arena, reply->body, directory->is_plain, &answer, &err) <
        0) {
        error_wrap(&err, "%s", directory->url);
        acme_order_fail(order, ACME_BLAME_CA, &err);
    } else if (answer.status == ACME_OBJECT_VALID) {
        order->cursor++;
        acme_order_step(order, ACME_STEP_AUTHORIZATIONS);
    } else if (answer.status == ACME_OBJECT_INVALID && order->is_resumed) {
        acme_order_anew(order); /* the CA looked while nobody was there to answer */
    } else if (answer.status == ACME_OBJECT_INVALID) {
        authorization_refused(order, &answer.problem, order->kind, answer.name);
    } else {
        take_authorization(order, &answer);
    }
}

/* ---- hooks */

static void hook_run(struct acme_order *order, const char *action, const char *domain,
                     const char *value,
                     void (*on_done)(struct acme_hook *hook, const struct error *err),
                     void (*on_late)(struct loop_timer *timer))
{
    char **environment = order->hook_environment;
    for (size_t i = 0; i < ARRAY_LEN(order->hook_environment); i++)
        free(TAKE_PTR(environment[i]));
    if (asprintf(&environment[0], "SLIPWAY_ACME_ACTION=%s", action) < 0 ||
        asprintf(&environment[1], "SLIPWAY_ACME_DOMAIN=%s", domain) < 0 ||
        asprintf(&environment[2], "SLIPWAY_ACME_NAME=_acme-challenge.%s", domain) < 0 ||
        asprintf(&environment[3], "SLIPWAY_ACME_VALUE=%s", value) < 0)
        abort();
    order->hook = (struct acme_hook){
        .certificate = order->item->name,
        .command = order->hook_command,
        .environment = (const char *const *)environment,
        .environment_count = ARRAY_LEN(order->hook_environment),
        .timeout_ms = HOOK_TIMEOUT_MS,
        .on_done = on_done,
    };
    order->is_hook_running = true;
    acme_order_wait(order, (HOOK_TIMEOUT_MS + HOOK_GRACE_MS) * 1000ull, on_late);
    order->acme->handler->run_hook(order->acme->handler, &order->hook);
}

static void hook_end(struct acme_order *order, bool is_late)
{
    if (is_late && order->is_hook_running)
        order->acme->handler->cancel_hook(order->acme->handler, &order->hook);
    order->is_hook_running = false;
    loop_timer_stop(&order->timer);
}

/* What is about to appear in the DNS is durable first, so that it is taken away again whatever
 * happens to this process. */
static int presented_add(struct acme_order *order, const struct acme_authorization *authorization,
                         struct error *err)
{
    for (size_t i = 0; i < order->presented_count; i++)
        if (strcmp(order->presented[i].domain, authorization->name) == 0 &&
            strcmp(order->presented[i].value, authorization->value) == 0)
            return 0;
    struct acme_presented *grown =
        reallocarray(order->presented, order->presented_count + 1, sizeof(*order->presented));
    if (!grown)
        abort();
    order->presented = grown;
    order->presented[order->presented_count++] =
        (struct acme_presented){strdup(authorization->name), strdup(authorization->value)};
    return acme_record_save_order(order, err);
}

static void hook_presented(struct acme_order *order, const struct error *err)
{
    struct error story = {0};
    if (!err) {
        order->authorizations[order->cursor].is_presented = true;
        order->cursor++;
        acme_order_step(order, ACME_STEP_PRESENT);
        return;
    }
    error_copy(&story, err);
    error_wrap(&story, "the DNS hook failed for %s", order->authorizations[order->cursor].name);
    acme_order_fail(order, ACME_BLAME_LOCAL, &story);
}

static void on_hook_presented(struct acme_hook *hook, const struct error *err)
{
    struct acme_order *order = container_of(hook, struct acme_order, hook);
    hook_end(order, false);
    hook_presented(order, err);
}

static void on_hook_late(struct loop_timer *timer)
{
    struct acme_order *order = container_of(timer, struct acme_order, timer);
    struct error err = {0};
    hook_end(order, true);
    error_set(&err, ERR_TIMEOUT, "it did not end in time");
    hook_presented(order, &err);
}

/* ---- present and publish */

static void on_delay_over(struct loop_timer *timer)
{
    struct acme_order *order = container_of(timer, struct acme_order, timer);
    acme_order_step(order, ACME_STEP_PUBLISH);
}

void acme_order_present(struct acme_order *order)
{
    struct error err = {0};
    const struct acme_spec *spec = &order->item->spec;
    bool was_presented = false;
    for (; order->cursor < order->authorization_count; order->cursor++) {
        struct acme_authorization *authorization = &order->authorizations[order->cursor];
        if (!authorization->is_pending)
            continue;
        authorization->is_published = authorization->kind != ACME_DNS_01;
        if (authorization->is_published)
            continue;
        if (!order->hook_command)
            error_set(&err, ERR_INVALID, "there is no hook for DNS-01");
        else if (presented_add(order, authorization, &err) == 0)
            hook_run(order, "present", authorization->name, authorization->value, on_hook_presented,
                     on_hook_late);
        if (err.code)
            acme_order_fail(order, ACME_BLAME_LOCAL, &err);
        return;
    }
    order->cursor = 0;
    for (size_t i = 0; i < order->authorization_count; i++)
        was_presented = was_presented || order->authorizations[i].is_presented;
    if (!was_presented) {
        acme_order_step(order, ACME_STEP_PUBLISH);
        return;
    }
    acme_order_step(order, ACME_STEP_HOOK_DELAY);
    acme_order_wait(order, (spec->dns_delay_ms ? spec->dns_delay_ms : DNS_DELAY_MS) * 1000,
                    on_delay_over);
}

static void on_publish_late(struct loop_timer *timer)
{
    struct acme_order *order = container_of(timer, struct acme_order, timer);
    struct error err = {0};
    error_set(&err, ERR_TIMEOUT, "the edges did not take the challenge in time");
    order->is_kept = order->url != NULL;
    acme_order_fail(order, ACME_BLAME_LOCAL, &err);
}

/* Of CHECK_PUBLISH and PUBLISH: wait for the edges. */
void acme_order_publish(struct acme_order *order)
{
    bool is_needed = order->step == ACME_STEP_CHECK_PUBLISH;
    for (size_t i = 0; i < order->authorization_count; i++)
        is_needed = is_needed || order->authorizations[i].is_published;
    if (!is_needed) {
        acme_order_published(order);
        return;
    }
    order->is_publishing = true;
    order->generation = acme_challenges_changed(order->acme);
    acme_order_wait(order, order->acme->settings.published_timeout_ms * 1000, on_publish_late);
}

void acme_order_published(struct acme_order *order)
{
    order->is_publishing = false;
    acme_order_step(order,
                    order->step == ACME_STEP_CHECK_PUBLISH ? ACME_STEP_CHECK : ACME_STEP_RESPOND);
}

void acme_order_unpublish(struct acme_order *order)
{
    bool was_published = order->check_kind != ACME_AUTO;
    order->is_publishing = false;
    order->check_kind = ACME_AUTO;
    for (size_t i = 0; i < order->authorization_count; i++) {
        was_published = was_published || order->authorizations[i].is_published;
        order->authorizations[i].is_published = false;
    }
    if (was_published && !order->acme->is_freeing)
        (void)acme_challenges_changed(order->acme);
}

/* ---- respond, poll */

static void on_responded(struct acme_call *call, const struct acme_reply *reply)
{
    struct acme_order *order = container_of(call, struct acme_order, call);
    /* A challenge that has its verdict takes no answer; the authorization tells it. */
    if (reply->code < 0 && reply->problem.kind != ACME_PROBLEM_MALFORMED) {
        acme_order_refused(order, reply, "%s", order->account->directory->url);
        return;
    }
    order->authorizations[order->cursor].is_responded = true;
    acme_order_step(order, ACME_STEP_RESPOND);
}

void acme_order_respond(struct acme_order *order)
{
    for (order->cursor = 0; order->cursor < order->authorization_count; order->cursor++) {
        const struct acme_authorization *authorization = &order->authorizations[order->cursor];
        if (!authorization->is_pending || authorization->is_responded)
            continue;
        buf_clear(&order->call.payload);
        buf_append_text(&order->call.payload, "{}");
        acme_order_post(order, authorization->challenge_url, on_responded);
        return;
    }
    acme_order_step(order, ACME_STEP_POLL);
}

static void on_poll_timer(struct loop_timer *timer)
{
    acme_order_poll(container_of(timer, struct acme_order, timer));
}

static void on_polled(struct acme_call *call, const struct acme_reply *reply)
{
    struct acme_order *order = container_of(call, struct acme_order, call);
    struct acme_directory *directory = order->account->directory;
    struct acme_authorization *authorization = &order->authorizations[order->cursor];
    struct acme_answer_authorization answer;
    struct error err = {0};
    if (reply->code < 0) {
        acme_order_refused(order, reply, "%s", directory->url);
    } else if (acme_answer_authorization(call->arena, reply->body, directory->is_plain, &answer,
                                         &err) < 0) {
        error_wrap(&err, "%s", directory->url);
        acme_order_fail(order, ACME_BLAME_CA, &err);
    } else if (answer.status == ACME_OBJECT_VALID) {
        authorization->is_pending = false;
        acme_order_step(order, ACME_STEP_POLL);
    } else if (answer.status == ACME_OBJECT_INVALID) {
        authorization_refused(order, &answer.problem, authorization->kind, authorization->name);
    } else {
        acme_order_wait(order, acme_order_poll_us(order, reply), on_poll_timer);
    }
}

void acme_order_poll(struct acme_order *order)
{
    for (order->cursor = 0; order->cursor < order->authorization_count; order->cursor++) {
        if (!order->authorizations[order->cursor].is_pending)
            continue;
        buf_clear(&order->call.payload);
        acme_order_post(order, order->authorizations[order->cursor].url, on_polled);
        return;
    }
    acme_order_unpublish(order);
    validated(order);
}

/* ---- clean up */

static void cleanup_next(struct acme_order *order, const struct error *err)
{
    if (err)
        log_failure(err, "certificate %s: the DNS hook failed to clean up", order->item->name);
    order->cursor++;
    /* Not by acme_order_step, which would begin from the first. */
    if (order->cursor < order->presented_count)
        acme_order_cleanup(order);
    else
        acme_order_settled(order);
}

static void on_hook_cleaned(struct acme_hook *hook, const struct error *err)
{
    struct acme_order *order = container_of(hook, struct acme_order, hook);
    hook_end(order, false);
    cleanup_next(order, err);
}

static void on_cleanup_late(struct loop_timer *timer)
{
    struct acme_order *order = container_of(timer, struct acme_order, timer);
    struct error err = {0};
    hook_end(order, true);
    error_set(&err, ERR_TIMEOUT, "it did not end in time");
    cleanup_next(order, &err);
}

void acme_order_cleanup(struct acme_order *order)
{
    if (!order->hook_command) {
        acme_order_settled(order);
        return;
    }
    const struct acme_presented *presented = &order->presented[order->cursor];
    hook_run(order, "cleanup", presented->domain, presented->value, on_hook_cleaned,
             on_cleanup_late);
}
