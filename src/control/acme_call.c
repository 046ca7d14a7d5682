/* One signed request, as a walk: know the directory, have a nonce, sign, post. What fails on the
 * way for no fault of the request (no answer, a server's own error) is sent again, five times, each
 * wait twice the one before; a bad nonce is answered with a fresh one, ten times. Every nonce that
 * comes along is kept for the next request, whoever makes it. Sources: RFC 8555 §6.2-6.7. */
#include "control/acme_private.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "net/x509.h"

#define NONCE_TRIES_MAX 10u
#define HEADER_MAX      (16u * 1024u)
#define BODY_MAX        (128u * 1024u)

static void call_go(struct acme_call *call);

static void call_finish(struct acme_call *call, const struct acme_reply *reply)
{
    call->step = ACME_CALL_IDLE;
    call->on_done(call, reply);
}

static void call_fail(struct acme_call *call, bool is_transient, const struct error *err)
{
    struct acme_reply reply = {
        .code = err->code,
        .err = err,
        .is_transient = is_transient,
        .problem = {ACME_PROBLEM_OTHER, ""},
    };
    call_finish(call, &reply);
}

/* ---- nonces */

static bool nonce_is_valid(struct slice nonce)
{
    for (size_t i = 0; i < nonce.len; i++) {
        char c = nonce.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '_'))
            return false;
    }
    return nonce.len > 0;
}

static void nonce_keep(struct acme_directory *directory, struct slice nonce)
{
    if (!nonce_is_valid(nonce))
        return;
    if (directory->nonce_count == ACME_NONCES_MAX) { /* the oldest one is the next to expire */
        free(directory->nonces[0]);
        memmove(directory->nonces, directory->nonces + 1,
                (ACME_NONCES_MAX - 1) * sizeof(directory->nonces[0]));
        directory->nonce_count--;
    }
    char *copy = strndup(nonce.ptr, nonce.len);
    if (copy)
        directory->nonces[directory->nonce_count++] = copy;
}

static void nonces_drop(struct acme_directory *directory)
{
    while (directory->nonce_count)
        free(directory->nonces[--directory->nonce_count]);
}

void acme_directory_forget(struct acme_directory *directory)
{
    nonces_drop(directory);
    arena_free(directory->arena);
    directory->arena = NULL;
    directory->endpoints = (struct acme_endpoints){0};
}

/* ---- what comes back */

/* It will be sent again, unless that was tried often enough. */
static void call_again(struct acme_call *call, uint64_t retry_after_s, const struct error *err)
{
    const struct acme_settings *settings = &call->acme->settings;
    uint64_t delay_ms = settings->retry_ms << MIN(call->tries, 10u);
    if (++call->tries >= ACME_TRIES_MAX || retry_after_s * 1000 > settings->retry_ms * 64) {
        if (retry_after_s)
            acme_limit_pause(call->directory, retry_after_s);
        /* Perhaps it has moved. */
        acme_directory_forget(call->directory);
        call_fail(call, true, err);
        return;
    }
    log_debug("CA %s: %s; try %u follows", call->directory->url, err->text, call->tries + 1);
    delay_ms = MAX(delay_ms, retry_after_s * 1000);
    loop_timer_start_in(call->acme->loop, &call->retry, delay_ms * 1000);
}

/* It did not even start (no libcurl, no memory, no key). Never told from within the start of it. */
static void on_failed(struct loop_deferred *deferred)
{
    struct acme_call *call = container_of(deferred, struct acme_call, failed);
    call_fail(call, true, &call->err);
}

static void on_retry(struct loop_timer *timer)
{
    call_go(container_of(timer, struct acme_call, retry));
}

static void call_take_directory(struct acme_call *call, struct slice body)
{
    struct acme_directory *directory = call->directory;
    struct arena *arena = arena_new(ACME_ARENA_BYTES);
    struct error err = {0};
    if (acme_answer_directory(arena, body, directory->is_plain, &directory->endpoints, &err) < 0) {
        arena_free(arena);
        error_wrap(&err, "CA %s", directory->url);
        call_fail(call, true, &err);
        return;
    }
    arena_free(directory->arena);
    directory->arena = arena;
    directory->known_at_us = clock_monotonic_us();
    call_go(call);
}

static void call_take_answer(struct acme_call *call, const struct https_response *response)
{
    struct error err = {0};
    struct acme_reply reply = {
        .status = response->status,
        .body = response->body,
        .location = response->location,
        .content_type = response->content_type,
        .retry_after_s = acme_retry_after_s(response->retry_after, clock_wall_us()),
        .problem = {ACME_PROBLEM_OTHER, ""},
    };
    if (response->status >= 200 && response->status < 300) {
        call_finish(call, &reply);
        return;
    }
    acme_answer_problem(call->arena, response->body, &reply.problem);
    if (reply.problem.kind == ACME_PROBLEM_NONCE && ++call->nonce_tries < NONCE_TRIES_MAX) {
        call_go(call); /* with the nonce that came along */
        return;
    }
    reply.is_transient = response->status >= 500 || reply.problem.kind == ACME_PROBLEM_SERVER ||
                         (response->status == 429 && !*reply.problem.text);
    if (*reply.problem.text)
        error_set(&err, ERR_FAILED, "%s", reply.problem.text);
    else
        error_set(&err, ERR_FAILED, "status %d without an explanation", response->status);
    if (reply.is_transient) {
        call_again(call, reply.retry_after_s, &err);
        return;
    }
    reply.code = err.code;
    reply.err = &err;
    call_finish(call, &reply);
}

static void on_https_done(struct https_handler *handler, const struct https_response *response)
{
    struct acme_call *call = container_of(handler, struct acme_call, https);
    struct acme_directory *directory = call->directory;
    call->exchange = NULL;
    nonce_keep(directory, response->replay_nonce);
    if (response->code == ERR_LIMIT || response->code == ERR_PERMISSION) {
        call_fail(call, true, response->err); /* the next answer would be no other */
    } else if (response->code < 0) {
        call_again(call, 0, response->err);
    } else if (call->step == ACME_CALL_POST) {
        call_take_answer(call, response);
    } else if (response->status < 200 || response->status >= 300) {
        struct error err = {0};
        error_set(&err, ERR_UNAVAILABLE, "CA %s answers with status %d", directory->url,
                  response->status);
        if (response->status < 500 && response->status != 429)
            call->tries = ACME_TRIES_MAX; /* a wrong URL is no better in a minute */
        call_again(call, acme_retry_after_s(response->retry_after, clock_wall_us()), &err);
    } else if (call->step == ACME_CALL_DIRECTORY) {
        call_take_directory(call, response->body);
    } else if (directory->nonce_count == 0) {
        struct error err = {0};
        error_set(&err, ERR_INVALID, "CA %s gives no nonce", directory->url);
        call_again(call, 0, &err);
    } else {
        call_go(call);
    }
}

/* ---- what goes out */

static int call_send(struct acme_call *call, enum acme_call_step step, const char *method,
                     const char *url, struct slice body, struct error *err)
{
    const char *headers[2] = {"Content-Type: application/jose+json"};
    size_t header_count = body.len ? 1 : 0;
    if (body.len && call->accept)
        headers[header_count++] = call->accept;
    struct https_request request = {
        .method = method,
        .url = url,
        .headers = headers,
        .header_count = header_count,
        .body = body,
        .ca_file = call->directory->ca_file,
        .timeout_ms = call->acme->settings.request_timeout_ms,
        .response_limit_bytes = call->answer_limit,
    };
    call->step = step;
    return https_client_start(call->acme->https, &request, &call->https, &call->exchange, err);
}

static const char *call_url(const struct acme_call *call)
{
    switch (call->target) {
    case ACME_TARGET_NEW_ACCOUNT:
        return call->directory->endpoints.new_account;
    case ACME_TARGET_NEW_ORDER:
        return call->directory->endpoints.new_order;
    default:
        return call->url;
    }
}

/* The protected header. newAccount shows the key itself, everything else its account. */
static int call_header(struct acme_call *call, const char *url, const char *nonce,
                       struct buf *header, struct error *err)
{
    struct buf jwk CLEANUP(buf_done) = BUF_INIT(ACME_KEY_MAX);
    struct json_writer writer = JSON_WRITER(header);
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "alg", "ES256");
    if (call->target == ACME_TARGET_NEW_ACCOUNT) {
        int result = x509_jwk(buf_slice(&call->account->key_pem), &jwk, err);
        if (result < 0)
            return result;
        json_write_raw(&writer, "jwk", buf_slice(&jwk));
    } else {
        json_write_text(&writer, "kid", call->account->url);
    }
    json_write_text(&writer, "nonce", nonce);
    json_write_text(&writer, "url", url);
    json_end_object(&writer);
    return header->failed ? error_set(err, ERR_LIMIT, "the request is too large") : 0;
}

static int call_post(struct acme_call *call, struct error *err)
{
    struct buf header CLEANUP(buf_done) = BUF_INIT(HEADER_MAX);
    struct buf body CLEANUP(buf_done) = BUF_INIT(BODY_MAX);
    const char *url = call_url(call);
    char *nonce = call->directory->nonces[--call->directory->nonce_count];
    int result = call_header(call, url, nonce, &header, err);
    free(nonce);
    if (result == 0)
        result = x509_jws(buf_slice(&call->account->key_pem), buf_slice(&header),
                          buf_slice(&call->payload), &body, err);
    if (result == 0)
        result = call_send(call, ACME_CALL_POST, "POST", url, buf_slice(&body), err);
    return result;
}

static void call_go(struct acme_call *call)
{
    struct acme_directory *directory = call->directory;
    struct error err = {0};
    int result = 0;
    if (directory->arena && clock_monotonic_us() - directory->known_at_us > ACME_DIRECTORY_US)
        acme_directory_forget(directory);
    if (!directory->arena)
        result =
            call_send(call, ACME_CALL_DIRECTORY, "GET", directory->url, (struct slice){0}, &err);
    else if (call->target == ACME_TARGET_DIRECTORY)
        call_finish(call, &(struct acme_reply){.status = 200});
    else if (directory->nonce_count == 0)
        result = call_send(call, ACME_CALL_NONCE, "HEAD", directory->endpoints.new_nonce,
                           (struct slice){0}, &err);
    else
        result = call_post(call, &err);
    if (result < 0) {
        error_copy(&call->err, &err);
        loop_defer(call->acme->loop, &call->failed);
    }
}

/* ---- life */

void acme_call_init(struct acme_call *call, struct acme *acme)
{
    *call = (struct acme_call){.acme = acme, .payload = BUF_INIT(BODY_MAX)};
    call->https.on_done = on_https_done;
    call->retry.on_timer = on_retry;
    call->failed.on_deferred = on_failed;
    call->arena = arena_new(ACME_ARENA_BYTES);
}

void acme_call_start(struct acme_call *call, struct acme_account *account, enum acme_target target,
                     const char *url,
                     void (*on_done)(struct acme_call *call, const struct acme_reply *reply))
{
    assert(call->step == ACME_CALL_IDLE);
    char *copy = url ? strdup(url) : NULL; /* may be the one of before */
    free(call->url);
    call->url = copy;
    call->account = account;
    call->directory = account->directory;
    call->target = target;
    call->on_done = on_done;
    call->tries = call->nonce_tries = 0;
    if (!call->answer_limit)
        call->answer_limit = ACME_ANSWER_MAX;
    arena_clear(call->arena);
    call->step = ACME_CALL_DIRECTORY;
    call_go(call);
}

void acme_call_cancel(struct acme_call *call)
{
    https_client_cancel(call->exchange);
    call->exchange = NULL;
    loop_timer_stop(&call->retry);
    loop_defer_cancel(&call->failed);
    call->step = ACME_CALL_IDLE;
}

void acme_call_done(struct acme_call *call)
{
    if (!call->acme)
        return;
    acme_call_cancel(call);
    free(call->url);
    buf_done(&call->payload);
    arena_free(call->arena);
    *call = (struct acme_call){0};
}
