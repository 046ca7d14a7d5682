/* The end of an order: finalize, download, and what a CA's word is checked against. RFC 8555 §7.4.
 */
#include "control/acme_private.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "net/x509.h"

#define REQUEST_MAX (64u * 1024u)
#define SKEW_US     (24ull * 3600 * 1000000)

static void on_finalized(struct acme_call *call, const struct acme_reply *reply)
{
    struct acme_order *order = container_of(call, struct acme_order, call);
    if (reply->code < 0 && reply->problem.kind == ACME_PROBLEM_NOT_READY) {
        acme_order_step(order, ACME_STEP_READY);
        return;
    }
    /* From here on the order only has to be waited for. */
    if (reply->code == 0)
        acme_order_step(order, ACME_STEP_ISSUE);
    acme_order_on_reply(call, reply);
}

void acme_order_finalize(struct acme_order *order)
{
    const struct acme_spec *spec = &order->item->spec;
    struct buf der CLEANUP(buf_done) = BUF_INIT(REQUEST_MAX);
    struct buf text CLEANUP(buf_done) = BUF_INIT(2 * REQUEST_MAX);
    struct json_writer writer = JSON_WRITER(&order->call.payload);
    struct error err = {0};
    if (x509_make_request(buf_slice(&order->key_pem), spec->names, spec->name_count, &der, &err) <
        0) {
        acme_order_fail(order, ACME_BLAME_LOCAL, &err);
        return;
    }
    x509_base64url(buf_slice(&der), &text);
    buf_clear(&order->call.payload);
    json_begin_object(&writer, NULL);
    json_write_slice(&writer, "csr", buf_slice(&text));
    json_end_object(&writer);
    acme_order_post(order, order->finalize_url, on_finalized);
}

static int check_names(const struct acme_spec *spec, const struct x509_facts *facts,
                       struct error *err)
{
    if (acme_names_are_covered(spec->names, spec->name_count, facts->names, facts->name_count))
        return 0;
    return error_set(err, ERR_INVALID, "the certificate is not for all of the names");
}

/* A CA is believed only what the certificate itself says. */
static int check_chain(struct acme_order *order, struct slice chain, struct arena *arena,
                       struct x509_facts *facts, struct error *err)
{
    struct buf der CLEANUP(buf_wipe) = BUF_INIT(ACME_KEY_MAX);
    uint8_t key_id[PEER_KEY_ID_BYTES];
    uint64_t now_us = clock_wall_us();
    int result = x509_read(chain, arena, facts, err);
    if (result == 0)
        result = x509_read_key(buf_slice(&order->key_pem), key_id, &der, err);
    if (result == 0 && memcmp(key_id, facts->key_id, sizeof(key_id)) != 0)
        result = error_set(err, ERR_INVALID, "the certificate is for another key");
    if (result == 0)
        result = check_names(&order->item->spec, facts, err);
    if (result == 0 && facts->not_after * 1000000 <= now_us)
        result = error_set(err, ERR_INVALID, "the certificate has expired already");
    if (result == 0 && facts->not_before * 1000000 > now_us + SKEW_US) {
        result = error_set(err, ERR_INVALID, "the certificate is not valid yet");
        error_hint(err, "check the clock of this machine");
    }
    return result;
}

static void order_issued(struct acme_order *order, struct slice chain,
                         const struct x509_facts *facts)
{
    struct acme_item *item = order->item;
    struct error err = {0};
    if (acme_record_issue(order, chain, facts, &err) < 0) {
        order->is_kept = true; /* it can be downloaded again */
        acme_order_fail(order, ACME_BLAME_LOCAL, &err);
        return;
    }
    acme_keep_text(&item->certificate_directory, order->account->directory->url);
    acme_keep_text(&item->ari_id, facts->ari_id);
    item->not_before_us = facts->not_before * 1000000;
    item->not_after_us = facts->not_after * 1000000;
    acme_item_succeeded(item);
    item->has_certificate = item->is_covering = true;
    acme_renewal_plan(item);
    log_info("certificate %s: issued by %s", item->name, facts->issuer);
    acme_deliver(order->acme, item);
    acme_order_free(order);
}

static void on_chain(struct acme_call *call, const struct acme_reply *reply)
{
    struct acme_order *order = container_of(call, struct acme_order, call);
    struct arena *arena CLEANUP(arena_freep) = arena_new(ACME_ARENA_BYTES);
    struct x509_facts facts;
    struct error err = {0};
    if (reply->code < 0) {
        acme_order_refused(order, reply, "%s", order->account->directory->url);
        return;
    }
    if (check_chain(order, reply->body, arena, &facts, &err) < 0) {
        error_wrap(&err, "%s", order->account->directory->url);
        acme_order_fail(order, ACME_BLAME_CA, &err);
        return;
    }
    order_issued(order, reply->body, &facts);
}

void acme_order_download(struct acme_order *order)
{
    buf_clear(&order->call.payload);
    order->call.answer_limit = ACME_CHAIN_MAX;
    order->call.accept = "Accept: application/pem-certificate-chain";
    acme_order_post(order, order->certificate_url, on_chain);
}
