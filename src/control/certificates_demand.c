/* certificates_demand.c - names that are only known when somebody connects: domains of customers.
 *
 * Anybody can connect with any name, so nothing is asked of an authority before the application
 * said yes, and the application is not asked faster than it may be: a bucket of tokens, a ceiling
 * of questions at once, and answers that are remembered. */
#include "base/log.h"
#include "control/certificates_private.h"
#include <stdio.h>

#define ASK_TIMEOUT_MS  5000u
#define ASKS_AT_ONCE    32u
#define ASKS_PER_SECOND 10.0
#define ASKS_BURST      50.0
#define NO_MS           60000u /* a no is remembered */
#define BROKEN_MS       5000u  /* no answer is, too, but for a moment */
#define REFUSALS_MAX    10000u

struct ask {
    struct list node;
    struct certificates *all;
    struct https_handler handler;
    struct https_exchange *exchange;
    char name[CERTIFICATE_NAME_SIZE];
};

/* One whose route is gone is on its way out: it allows nothing and hides nothing. */
static struct certificate *find_routed(struct certificates *all, struct slice name)
{
    struct certificate *found = certificate_find(all, name);

    return found && found->config_text && found->is_wanted ? found : NULL;
}

struct certificate *certificate_covering(struct certificates *all, struct slice name)
{
    struct certificate *found = find_routed(all, name);
    char wildcard[CERTIFICATE_NAME_SIZE + 2];

    if (found)
        return found->config.is_on_demand ? found : NULL;
    for (size_t i = 1; i < name.len; i++) {
        if (name.ptr[i] != '.')
            continue;
        (void)snprintf(wildcard, sizeof wildcard, "*" SLICE_FORMAT,
                       SLICE_ARG(slice_sub(name, i, SIZE_MAX)));
        found = find_routed(all, slice_from(wildcard));
        if (found)
            return found->config.is_on_demand ? found : NULL;
    }
    found = find_routed(all, SLICE(""));
    return found && found->config.is_on_demand ? found : NULL;
}

/* ---- refusals */

void certificates_refuse(struct certificates *all, const char *name)
{
    edges_refuse_certificate(&all->control->edges, name);
}

static void remember_refusal(struct certificates *all, const char *name, uint64_t ms)
{
    uint64_t until = loop_now_us(all->control->loop) + LOOP_MS(ms);

    if (map_count(all->refusals) >= REFUSALS_MAX) {
        map_free(all->refusals);
        all->refusals = map_new(REFUSALS_MAX + 1);
    }
    (void)!map_put(all->refusals, slice_from(name), (void *)(uintptr_t)until);
    certificates_refuse(all, name);
}

static bool is_refused(struct certificates *all, struct slice name)
{
    uint64_t until = (uint64_t)(uintptr_t)map_get(all->refusals, name);

    if (until > loop_now_us(all->control->loop))
        return true;
    if (until)
        (void)map_remove(all->refusals, name);
    return false;
}

/* ---- the question */

static void ask_free(struct ask *ask)
{
    https_client_cancel(ask->exchange);
    ask->all->ask_count--;
    list_remove(&ask->node);
    free(ask);
}

static void obtain(struct certificates *all, const char *name)
{
    struct certificate *parent = certificate_covering(all, slice_from(name)), *certificate;
    struct error err = {0};

    if (!parent)
        return;
    if (certificate_make(all, name, &certificate, &err) != 0) {
        log_failure(&err, "no certificate for %s", name);
        certificates_refuse(all, name);
        return;
    }
    certificate->is_demanded = certificate->is_wanted = true;
    if (certificate != parent)
        certificate->parent = parent;
    certificate_want_acme(certificate);
}

static void on_answer(struct https_handler *handler, const struct https_response *response)
{
    struct ask *ask = container_of(handler, struct ask, handler);
    struct certificates *all = ask->all;

    ask->exchange = NULL;
    if (response->code == 0 && response->status == 200) {
        log_info("certificate of %s: the application said yes", ask->name);
        obtain(all, ask->name);
    } else if (response->code == 0) {
        log_info("certificate of %s: the application said no (%d)", ask->name, response->status);
        remember_refusal(all, ask->name, NO_MS);
    } else {
        log_failure(response->err, "certificate of %s: the 'ask' URL gave no answer", ask->name);
        remember_refusal(all, ask->name, BROKEN_MS);
    }
    ask_free(ask);
}

static bool take_token(struct certificates *all)
{
    uint64_t now = loop_now_us(all->control->loop);
    double seconds = (double)(now - all->ask_tokens_at_us) / 1e6;

    all->ask_tokens = all->ask_tokens_at_us
                          ? MIN(all->ask_tokens + seconds * ASKS_PER_SECOND, ASKS_BURST)
                          : ASKS_BURST;
    all->ask_tokens_at_us = now;
    if (all->ask_tokens < 1 || all->ask_count >= ASKS_AT_ONCE)
        return false;
    all->ask_tokens -= 1;
    return true;
}

static void ask_start(struct certificates *all, const struct certificate *parent, const char *name)
{
    struct ask *ask = calloc(1, sizeof *ask);
    char url[HTTPS_URL_MAX + 2]; /* what is cut off is still too long to be asked */
    struct https_request request = {
        .method = "GET", .url = url, .timeout_ms = ASK_TIMEOUT_MS, .response_limit_bytes = 65536};
    struct error err = {0};

    if (!ask)
        abort();
    (void)snprintf(url, sizeof url, "%s%sdomain=%s", parent->config.ask,
                   strchr(parent->config.ask, '?') ? "&" : "?", name);
    ask->all = all;
    ask->handler.on_done = on_answer;
    (void)snprintf(ask->name, sizeof ask->name, "%s", name);
    list_push_back(&all->asks, &ask->node);
    all->ask_count++;
    if (https_client_start(all->https, &request, &ask->handler, &ask->exchange, &err) == 0)
        return;
    log_failure(&err, "unable to ask for %s", name);
    remember_refusal(all, name, BROKEN_MS);
    ask_free(ask);
}

/* A DNS name with a dot, in lower case; no address. */
static bool is_name(struct slice name)
{
    bool has_dot = false, has_letter = false;

    if (name.len == 0 || name.len > 253 || name.ptr[0] == '.' || name.ptr[name.len - 1] == '.')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];

        if (c == '.') {
            has_dot = true;
            has_letter = false;
            if (name.ptr[i + 1] == '.')
                return false;
        } else if ((c >= 'a' && c <= 'z') || c == '-') {
            has_letter = true;
        } else if (c < '0' || c > '9') {
            return false;
        }
    }
    return has_dot && has_letter;
}

/* What is under way for a name that was allowed before. */
static void look_again(struct certificates *all, const struct certificate *certificate)
{
    struct acme_status status;

    if (certificate->serving)
        certificates_publish(all);
    else if (!certificate->pending && (acme_status(all->acme, certificate->host, &status) != 0 ||
                                       (status.state == ACME_WAITING && status.failures > 0)))
        certificates_refuse(all, certificate->host);
}

void certificates_wanted(struct certificates *all, struct slice wanted)
{
    char name[CERTIFICATE_NAME_SIZE];
    struct certificate *certificate, *parent;

    if (!is_name(wanted) || all->is_frozen || !all->is_started)
        return; /* its handshake ends by its own deadline */
    (void)snprintf(name, sizeof name, SLICE_FORMAT, SLICE_ARG(wanted));
    list_each (node, &all->asks)
        if (strcmp(container_of(node, struct ask, node)->name, name) == 0)
            return;
    certificate = certificate_find(all, wanted);
    if (certificate && (certificate->is_demanded || certificate->serving)) {
        look_again(all, certificate);
        return;
    }
    parent = certificate_covering(all, wanted);
    if (!parent || is_refused(all, wanted) || !take_token(all))
        certificates_refuse(all, name);
    else
        ask_start(all, parent, name);
}

void certificates_demand_free(struct certificates *all)
{
    list_each_safe (node, &all->asks)
        ask_free(container_of(node, struct ask, node));
}
