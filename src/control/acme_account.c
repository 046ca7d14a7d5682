/* Directories and accounts, shared by all orders; and the two requests that begin an order.
 *
 * The key of an account is durable before the CA hears of it: a newAccount that is said twice, by a
 * control that was killed in between, finds the account that it made (RFC 8555 §7.3.1). In the same
 * way the URL of an order and the key of its certificate are durable before anything else is done
 * with it. */
#include "control/acme_private.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "net/x509.h"

static void text_id(const char *text, char ret_id[ACME_ID_SIZE])
{
    uint8_t digest[32];
    hash_sha256(text, strlen(text), digest);
    for (size_t i = 0; i < (ACME_ID_SIZE - 1) / 2; i++)
        snprintf(ret_id + 2 * i, 3, "%02x", digest[i]);
}

void acme_account_id(const struct acme_ca *ca, char ret_id[ACME_ID_SIZE])
{
    struct buf text CLEANUP(buf_done) = BUF_INIT(64u * 1024u);
    buf_printf(&text, "%s\n%s\n%s", ca->directory, ca->email ? ca->email : "",
               ca->eab_key_id ? ca->eab_key_id : "");
    text_id(buf_text(&text), ret_id);
}

struct acme_directory *acme_directory_of(struct acme *acme, const struct acme_ca *ca)
{
    struct error err = {0};
    list_each (node, &acme->directories) {
        struct acme_directory *directory = container_of(node, struct acme_directory, node);
        bool is_same_ca =
            (!directory->ca_file && !ca->ca_file) ||
            (directory->ca_file && ca->ca_file && strcmp(directory->ca_file, ca->ca_file) == 0);
        if (is_same_ca && strcmp(directory->url, ca->directory) == 0)
            return directory;
    }
    struct acme_directory *directory = calloc(1, sizeof(*directory));
    if (!directory)
        abort();
    directory->acme = acme;
    directory->url = strdup(ca->directory);
    directory->ca_file = ca->ca_file ? strdup(ca->ca_file) : NULL;
    directory->is_plain = acme_url_is_plain(ca->directory);
    text_id(ca->directory, directory->id);
    int result = acme_record_load_limits(directory, &err);
    if (result < 0 && result != ERR_NOT_FOUND)
        log_failure(&err, "CA %s", directory->url);
    list_push_back(&acme->directories, &directory->node);
    return directory;
}

void acme_directory_free(struct acme_directory *directory)
{
    list_remove(&directory->node);
    acme_directory_forget(directory);
    free(directory->url);
    free(directory->ca_file);
    free(directory);
}

void acme_account_free(struct acme_account *account)
{
    list_remove(&account->node);
    free(account->email);
    free(account->url);
    buf_wipe(&account->key_pem);
    buf_done(&account->thumbprint);
    free(account);
}

/* Its key from the store, or a new one. */
static int account_open(struct acme_account *account, struct error *err)
{
    int result = acme_record_load_account(account, err);
    if (result == ERR_NOT_FOUND) {
        error_clear(err);
        result = x509_make_key(&account->key_pem, err);
        if (result == 0)
            result = acme_record_save_account(account, err);
    }
    if (result == 0)
        result = x509_thumbprint(buf_slice(&account->key_pem), &account->thumbprint, err);
    return result;
}

int acme_account_of(struct acme *acme, const struct acme_ca *ca, struct acme_account **ret_account,
                    struct error *err)
{
    struct acme_directory *directory = acme_directory_of(acme, ca);
    char id[ACME_ID_SIZE];
    acme_account_id(ca, id);
    list_each (node, &acme->accounts) {
        struct acme_account *account = container_of(node, struct acme_account, node);
        if (account->directory == directory && strcmp(account->id, id) == 0) {
            *ret_account = account;
            return 0;
        }
    }
    struct acme_account *account = calloc(1, sizeof(*account));
    if (!account)
        abort();
    list_init(&account->node);
    account->directory = directory;
    account->email = ca->email ? strdup(ca->email) : NULL;
    account->key_pem = BUF_INIT(ACME_KEY_MAX);
    account->thumbprint = BUF_INIT(128);
    memcpy(account->id, id, sizeof(id));
    int result = account_open(account, err);
    if (result < 0) {
        acme_account_free(account);
        return error_wrap(err, "unable to open the account at %s", ca->directory);
    }
    list_push_back(&acme->accounts, &account->node);
    *ret_account = account;
    return 0;
}

/* ---- newAccount */

/* The JWS that ties the account's key to one that the CA gave out by other means (§7.3.4). */
static int write_binding(const struct acme_order *order, const struct acme_ca *ca,
                         struct json_writer *writer, struct error *err)
{
    struct buf secret CLEANUP(buf_wipe) = BUF_INIT(1024);
    struct buf header CLEANUP(buf_done) = BUF_INIT(ACME_KEY_MAX);
    struct buf jwk CLEANUP(buf_done) = BUF_INIT(ACME_KEY_MAX);
    struct buf jws CLEANUP(buf_done) = BUF_INIT(4 * ACME_KEY_MAX);
    struct json_writer header_writer = JSON_WRITER(&header);
    if (!ca->eab_hmac || acme_base64url_decode(ca->eab_hmac, &secret) < 0)
        return error_set(err, ERR_INVALID, "the external account key is not base64url");
    json_begin_object(&header_writer, NULL);
    json_write_text(&header_writer, "alg", "HS256");
    json_write_text(&header_writer, "kid", ca->eab_key_id);
    json_write_text(&header_writer, "url", order->account->directory->endpoints.new_account);
    json_end_object(&header_writer);
    int result = x509_jwk(buf_slice(&order->account->key_pem), &jwk, err);
    if (result == 0)
        result = x509_jws_hmac(buf_slice(&secret), buf_slice(&header), buf_slice(&jwk), &jws, err);
    if (result == 0)
        json_write_raw(writer, "externalAccountBinding", buf_slice(&jws));
    return result;
}

static int write_account(struct acme_order *order, struct buf *payload, struct error *err)
{
    const struct acme_ca *ca = &order->item->spec.cas[order->ca];
    struct json_writer writer = JSON_WRITER(payload);
    int result = 0;
    json_begin_object(&writer, NULL);
    json_write_boolean(&writer, "termsOfServiceAgreed", true);
    if (ca->email) {
        char contact[512];
        snprintf(contact, sizeof(contact), "mailto:%s", ca->email);
        json_begin_array(&writer, "contact");
        json_write_text(&writer, NULL, contact);
        json_end_array(&writer);
    }
    if (ca->eab_key_id)
        result = write_binding(order, ca, &writer, err);
    json_end_object(&writer);
    return result;
}

static void on_wake(struct loop_timer *timer)
{
    acme_order_step(container_of(timer, struct acme_order, timer), ACME_STEP_ACCOUNT);
}

/* Whoever waited for this account looks again. */
static void account_wake(struct acme_account *account)
{
    struct acme *acme = account->directory->acme;
    list_each_safe (node, &acme->orders) {
        struct acme_order *order = container_of(node, struct acme_order, node);
        if (order->account == account && order->step == ACME_STEP_ACCOUNT_WAIT)
            acme_order_wait(order, 0, on_wake);
    }
}

void acme_account_leave(struct acme_order *order)
{
    struct acme_account *account = order->account;
    if (!account || account->leader != order)
        return;
    account->leader = NULL;
    account_wake(account);
}

static void on_account(struct acme_call *call, const struct acme_reply *reply)
{
    struct acme_order *order = container_of(call, struct acme_order, call);
    struct acme_account *account = order->account;
    struct error err = {0};
    if (reply->code < 0) {
        acme_order_refused(order, reply, "%s refuses the account", account->directory->url);
        return;
    }
    if (!acme_url_is_valid(reply->location, account->directory->is_plain)) {
        error_set(&err, ERR_INVALID, "%s names no URL for the account", account->directory->url);
        acme_order_fail(order, ACME_BLAME_CA, &err);
        return;
    }
    account->url = strndup(reply->location.ptr, reply->location.len);
    if (acme_record_save_account(account, &err) < 0) {
        free(account->url);
        account->url = NULL;
        acme_order_fail(order, ACME_BLAME_LOCAL, &err);
        return;
    }
    log_info("account %s at %s", account->url, account->directory->url);
    acme_account_leave(order);
    acme_order_step(order, ACME_STEP_NEW);
}

/* What the payloads say depends on the directory: the binding on a URL of it, `replaces` on whether
 * it has renewal information. */
static void on_directory(struct acme_call *call, const struct acme_reply *reply)
{
    struct acme_order *order = container_of(call, struct acme_order, call);
    if (reply->code < 0)
        acme_order_refused(order, reply, "%s", order->account->directory->url);
    else
        acme_order_account(order);
}

void acme_order_account(struct acme_order *order)
{
    struct acme_account *account = order->account;
    struct error err = {0};
    if (!account->directory->arena) {
        acme_call_start(&order->call, account, ACME_TARGET_DIRECTORY, NULL, on_directory);
        return;
    }
    if (account->url) {
        acme_order_step(order, ACME_STEP_NEW);
        return;
    }
    if (account->leader && account->leader != order) {
        acme_order_step(order, ACME_STEP_ACCOUNT_WAIT);
        return;
    }
    account->leader = order;
    buf_clear(&order->call.payload);
    if (write_account(order, &order->call.payload, &err) < 0)
        acme_order_fail(order, ACME_BLAME_CA, &err);
    else
        acme_call_start(&order->call, account, ACME_TARGET_NEW_ACCOUNT, NULL, on_account);
}

/* ---- newOrder */

static void write_order(struct acme_order *order, struct buf *payload)
{
    const struct acme_spec *spec = &order->item->spec;
    const struct acme_directory *directory = order->account->directory;
    struct acme_item *item = order->item;
    struct json_writer writer = JSON_WRITER(payload);
    json_begin_object(&writer, NULL);
    json_begin_array(&writer, "identifiers");
    for (size_t i = 0; i < spec->name_count; i++) {
        json_begin_object(&writer, NULL);
        json_write_text(&writer, "type", "dns");
        json_write_text(&writer, "value", spec->names[i]);
        json_end_object(&writer);
    }
    json_end_array(&writer);
    /* RFC 9773 §5; a first order replaces nothing. */
    if (order->is_replacing && item->ari_id && directory->endpoints.renewal_info &&
        strcmp(item->certificate_directory, directory->url) == 0)
        json_write_text(&writer, "replaces", item->ari_id);
    json_end_object(&writer);
}

static void on_order(struct acme_call *call, const struct acme_reply *reply)
{
    struct acme_order *order = container_of(call, struct acme_order, call);
    struct acme_directory *directory = order->account->directory;
    struct error err = {0};
    if (reply->code < 0 && order->is_replacing && reply->status >= 400 && reply->status < 500 &&
        (reply->problem.kind == ACME_PROBLEM_REPLACED ||
         reply->problem.kind == ACME_PROBLEM_MALFORMED)) {
        /* It does not take our word for what this one replaces: then as a new one. */
        order->is_replacing = false;
        acme_order_step(order, ACME_STEP_NEW);
        return;
    }
    if (reply->code < 0 && reply->problem.kind == ACME_PROBLEM_ACCOUNT &&
        !order->is_account_renewed) {
        order->is_account_renewed = true;
        free(order->account->url);
        order->account->url = NULL;
        log_warning("%s does not know its account any more: registering anew", directory->url);
        acme_order_step(order, ACME_STEP_ACCOUNT);
        return;
    }
    if (reply->code < 0) {
        acme_order_refused(order, reply, "%s refuses the order", directory->url);
        return;
    }
    if (!acme_url_is_valid(reply->location, directory->is_plain)) {
        error_set(&err, ERR_INVALID, "%s names no URL for the order", directory->url);
        acme_order_fail(order, ACME_BLAME_CA, &err);
        return;
    }
    free(order->url);
    order->url = strndup(reply->location.ptr, reply->location.len);
    order->created_at_us = clock_wall_us();
    if (acme_record_save_order(order, &err) < 0) {
        acme_order_fail(order, ACME_BLAME_LOCAL, &err);
        return;
    }
    log_info("certificate %s: order %s", order->item->name, order->url);
    acme_order_step(order, ACME_STEP_FETCH);
}

void acme_order_new(struct acme_order *order)
{
    struct error err = {0};
    /* An order that has a URL was made by an earlier life. */
    if (order->url) {
        acme_order_step(order, ACME_STEP_FETCH);
        return;
    }
    uint64_t until_us = acme_limit_take(order->account->directory);
    if (until_us) {
        acme_order_postpone(order, until_us);
        return;
    }
    buf_wipe(&order->key_pem);
    if (x509_make_key(&order->key_pem, &err) < 0) {
        acme_order_fail(order, ACME_BLAME_LOCAL, &err);
        return;
    }
    buf_clear(&order->call.payload);
    write_order(order, &order->call.payload);
    acme_call_start(&order->call, order->account, ACME_TARGET_NEW_ORDER, NULL, on_order);
}
