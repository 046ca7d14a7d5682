/* The self-check: does each name lead here? Asked from the outside in, as a CA would, with an
 * answer that only we can give, before a CA is asked: a wrong DNS record then costs seconds and
 * says what is wrong, instead of one of the few failures that a CA forgives. HTTP-01 is tried
 * first; when it does not get through and the challenge is ours to choose, TLS-ALPN-01 is. */
#include "control/acme_private.h"

#include "base/log.h"
#include "net/x509.h"
#include "os/file.h"
#include "os/random.h"

#define CHECK_TIMEOUT_MS 10000u
#define CHECK_REDIRECTS  10u /* as many as CAs follow */
#define CHECK_BODY_MAX   (64u * 1024u)

static void check_next(struct acme_order *order);

void acme_check_cancel(struct acme_order *order)
{
    https_client_cancel(order->check_exchange);
    order->check_exchange = NULL;
    tls_probe_cancel(order->probe);
    order->probe = NULL;
}

/* ---- results */

static void check_failed(struct acme_order *order, const struct error *why)
{
    const char *name = order->item->spec.names[order->cursor];
    struct error err = {0};
    bool is_http = order->check_kind == ACME_HTTP_01;
    const char *port = is_http ? "80" : "443";
    error_set(&err, ERR_UNAVAILABLE, "%s does not reach this machine: %s%s%s", name, why->text,
              order->check_addresses[0] ? "; its addresses: " : "", order->check_addresses);
    error_hint(&err,
               "the A and AAAA records of %s must lead here and port %s must be open; if only this "
               "network cannot reach its own address, switch the self-check off",
               name, port);
    if (is_http && order->item->spec.challenge == ACME_AUTO) {
        log_debug("certificate %s: %s; trying TLS-ALPN-01", order->item->name, err.text);
        order->first_check = err;
        acme_check_cancel(order);
        acme_authorization_done(&order->self);
        order->check_kind = ACME_TLS_ALPN_01;
        acme_order_step(order, ACME_STEP_CHECK_PUBLISH);
        return;
    }
    /* With both tried, HTTP is what people know to fix. */
    acme_order_fail(order, ACME_BLAME_CHECK, order->first_check.code ? &order->first_check : &err);
}

static void check_passed(struct acme_order *order)
{
    order->cursor++;
    check_next(order);
}

static void keep_addresses(struct acme_order *order, const struct https_response *response)
{
    struct buf text CLEANUP(buf_done) = BUF_INIT(sizeof(order->check_addresses) - 1);
    for (size_t i = 0; i < response->address_count; i++)
        buf_printf(&text, "%s%s", i ? ", " : "", response->addresses[i]);
    snprintf(order->check_addresses, sizeof(order->check_addresses), "%s", buf_text(&text));
}

/* ---- HTTP-01 */

static void on_http(struct https_handler *handler, const struct https_response *response)
{
    struct acme_order *order = container_of(handler, struct acme_order, check_https);
    struct error err = {0};
    order->check_exchange = NULL;
    keep_addresses(order, response);
    if (response->code == 0 && response->status == 200 &&
        slice_eq(slice_trim(response->body), slice_from(order->self_value))) {
        check_passed(order);
        return;
    }
    if (response->code == 0 || response->code == ERR_LIMIT)
        error_set(&err, ERR_UNAVAILABLE,
                  "%s is answered by another server (status %d, not our token)", order->check_url,
                  response->status);
    else
        error_copy(&err, response->err);
    check_failed(order, &err);
}

static int check_http(struct acme_order *order, const char *name, struct error *err)
{
    unsigned port = order->acme->settings.http_port;
    char port_text[16] = "";
    if (port != 80)
        snprintf(port_text, sizeof(port_text), ":%u", port);
    snprintf(order->check_url, sizeof(order->check_url),
             "http://%s%s/.well-known/acme-challenge/%s", name, port_text, order->self_token);
    struct https_request request = {
        .method = "GET",
        .url = order->check_url,
        .timeout_ms = CHECK_TIMEOUT_MS,
        .response_limit_bytes = CHECK_BODY_MAX,
        .redirects = CHECK_REDIRECTS,
        .is_unverified = true, /* a redirect may lead to https, where there is no certificate yet */
        .is_direct = true,
    };
    order->check_https.on_done = on_http;
    return https_client_start(order->acme->https, &request, &order->check_https,
                              &order->check_exchange, err);
}

/* ---- TLS-ALPN-01 */

static void on_probe(struct tls_probe_handler *handler, const uint8_t key_id[PEER_KEY_ID_BYTES],
                     const struct error *failure)
{
    struct acme_order *order = container_of(handler, struct acme_order, probe_handler);
    struct buf der CLEANUP(buf_wipe) = BUF_INIT(ACME_KEY_MAX);
    uint8_t own_id[PEER_KEY_ID_BYTES];
    struct error err = {0};
    order->probe = NULL;
    if (failure)
        error_copy(&err, failure);
    else if (x509_read_key(buf_slice(&order->self.key_pem), own_id, &der, &err) == 0 &&
             memcmp(own_id, key_id, sizeof(own_id)) != 0)
        error_set(&err, ERR_UNAVAILABLE, "port 443 of it is answered by another server");
    if (err.code)
        check_failed(order, &err);
    else
        check_passed(order);
}

static void on_connected(struct https_handler *handler, const struct https_response *response)
{
    struct acme_order *order = container_of(handler, struct acme_order, check_https);
    struct error err = {0};
    order->check_exchange = NULL;
    keep_addresses(order, response);
    if (response->code < 0)
        error_copy(&err, response->err);
    else if (response->fd < 0)
        error_set(&err, ERR_SYSTEM, "unable to keep the connection");
    else if (fd_set_nonblocking(response->fd, true) < 0)
        fd_close(response->fd), error_set(&err, ERR_SYSTEM, "unable to keep the connection");
    else
        (void)!tls_probe_start(order->acme->loop, response->fd,
                               order->item->spec.names[order->cursor], "acme-tls/1",
                               CHECK_TIMEOUT_MS, &order->probe_handler, &order->probe, &err);
    if (err.code)
        check_failed(order, &err);
}

static int check_tls(struct acme_order *order, const char *name, struct error *err)
{
    snprintf(order->check_url, sizeof(order->check_url), "http://%s:%u/", name,
             order->acme->settings.https_port);
    struct https_request request = {
        .method = "GET",
        .url = order->check_url,
        .timeout_ms = CHECK_TIMEOUT_MS,
        .is_direct = true,
        .is_connect_only = true,
    };
    order->check_https.on_done = on_connected;
    order->probe_handler.on_done = on_probe;
    return https_client_start(order->acme->https, &request, &order->check_https,
                              &order->check_exchange, err);
}

/* ---- all names, one after another */

static void check_next(struct acme_order *order)
{
    const struct acme_spec *spec = &order->item->spec;
    struct error err = {0};
    if (order->cursor == spec->name_count) {
        order->cursor = 0;
        order->kind = order->check_kind;
        acme_order_unpublish(order);
        acme_order_step(order, ACME_STEP_ACCOUNT);
        return;
    }
    order->check_addresses[0] = '\0';
    const char *name = spec->names[order->cursor];
    int result = order->check_kind == ACME_HTTP_01 ? check_http(order, name, &err)
                                                   : check_tls(order, name, &err);
    if (result < 0)
        acme_order_fail(order, ACME_BLAME_LOCAL, &err);
}

void acme_order_check_run(struct acme_order *order)
{
    order->cursor = 0;
    check_next(order);
}

void acme_order_check(struct acme_order *order)
{
    const struct acme_spec *spec = &order->item->spec;
    bool is_dns =
        spec->challenge == ACME_DNS_01 || (spec->challenge == ACME_AUTO && spec->dns_hook);
    struct error err = {0};
    if (is_dns || spec->is_check_skipped) {
        acme_order_step(order, ACME_STEP_ACCOUNT);
        return;
    }
    if (order->check_kind == ACME_AUTO)
        order->check_kind = spec->challenge == ACME_AUTO ? ACME_HTTP_01 : spec->challenge;
    random_token(order->self_token, ACME_SELF_TOKEN_SIZE - 1);
    random_token(order->self_value, ACME_SELF_TOKEN_SIZE - 1);
    if (order->check_kind == ACME_TLS_ALPN_01) {
        acme_authorization_done(&order->self);
        order->self.name = strdup(spec->names[0]);
        order->self.key_authorization = strdup(order->self_value);
        if (acme_make_alpn(&order->self, &err) < 0) {
            acme_order_fail(order, ACME_BLAME_LOCAL, &err);
            return;
        }
    }
    acme_order_publish(order);
}
