/* certificates_ocsp.c - answers of responders, to staple to handshakes.
 *
 * Fetched as soon as a certificate serves, again when half of an answer's time is over. A responder
 * that is away is told once and asked again every hour; an answer that is over is not stapled. */
#include "base/clock.h"
#include "base/log.h"
#include "control/certificates_private.h"

#define FETCHES_AT_ONCE  4u
#define FETCH_TIMEOUT_MS 15000u
#define ANSWER_BYTES_MAX 65536u
#define RETRY_MS         3600000u
#define REFRESH_MIN_MS   300000u
#define REFRESH_MAX_MS   (7ull * 86400 * 1000)

struct ocsp_fetch {
    struct certificate *certificate;
    struct https_handler handler;
    struct https_exchange *exchange;
};

static void ask_again_in(struct certificate *certificate, uint64_t ms)
{
    certificate->ocsp_at_us = loop_now_us(certificate->all->control->loop) + LOOP_MS(ms);
}

static void fetch_failed(struct certificate *certificate, const struct error *err)
{
    if (!certificate->has_ocsp_failed)
        log_failure(err, "certificate of %s: no OCSP answer to staple",
                    manifest_host_text(certificate->host));
    certificate->has_ocsp_failed = true;
    ask_again_in(certificate, RETRY_MS);
}

void certificate_ocsp_stop(struct certificate *certificate)
{
    struct ocsp_fetch *fetch = certificate->ocsp_fetch;

    if (!fetch)
        return;
    https_client_cancel(fetch->exchange);
    certificate->all->ocsp_count--;
    certificate->ocsp_fetch = NULL;
    free(fetch);
}

static int take_answer(struct certificate *certificate, const struct https_response *response,
                       struct error *err)
{
    struct material *material = certificate->serving;
    uint64_t now = clock_wall_us() / 1000000, next;
    int code = response->code;

    if (code != 0)
        return error_copy(err, response->err);
    if (response->status != 200)
        return error_set(err, ERR_FAILED, "the responder says %d", response->status);
    code = x509_ocsp_check((struct slice){material->chain, material->chain_len}, response->body,
                           now, &next, err);
    if (code != 0)
        return code;
    buf_clear(&material->ocsp);
    buf_append_slice(&material->ocsp, response->body);
    material->ocsp_next = next;
    certificate_store_ocsp(certificate, material);
    ask_again_in(
        certificate,
        MIN(MAX((next > now ? next - now : 0) * 500, (uint64_t)REFRESH_MIN_MS), REFRESH_MAX_MS));
    return 0;
}

static void on_done(struct https_handler *handler, const struct https_response *response)
{
    struct ocsp_fetch *fetch = container_of(handler, struct ocsp_fetch, handler);
    struct certificate *certificate = fetch->certificate;
    struct error err = {0};

    fetch->exchange = NULL;
    certificate_ocsp_stop(certificate);
    if (!certificate->serving)
        return;
    if (take_answer(certificate, response, &err) != 0) {
        fetch_failed(certificate, &err);
        return;
    }
    certificate->has_ocsp_failed = false;
    certificates_publish(certificate->all);
}

static int fetch_start(struct certificate *certificate, struct error *err)
{
    const struct material *material = certificate->serving;
    static const char *const headers[] = {"Content-Type: application/ocsp-request",
                                          "Accept: application/ocsp-response"};
    struct buf body = BUF_INIT(65536);
    struct https_request request = {.method = "POST",
                                    .url = material->ocsp_url,
                                    .headers = headers,
                                    .header_count = ARRAY_LEN(headers),
                                    .timeout_ms = FETCH_TIMEOUT_MS,
                                    .response_limit_bytes = ANSWER_BYTES_MAX};
    struct ocsp_fetch *fetch = calloc(1, sizeof *fetch);
    int code;

    if (!fetch)
        abort();
    fetch->certificate = certificate;
    fetch->handler.on_done = on_done;
    certificate->ocsp_fetch = fetch;
    certificate->all->ocsp_count++;
    code = x509_ocsp_request((struct slice){material->chain, material->chain_len}, &body, err);
    request.body = buf_slice(&body);
    if (code == 0)
        code = https_client_start(certificate->all->https, &request, &fetch->handler,
                                  &fetch->exchange, err);
    buf_done(&body);
    if (code != 0)
        certificate_ocsp_stop(certificate);
    return code;
}

static void drop_what_is_over(struct certificate *certificate)
{
    struct material *material = certificate->serving;

    if (material->ocsp.len == 0 || material->ocsp_next > clock_wall_us() / 1000000)
        return;
    buf_clear(&material->ocsp);
    certificates_publish(certificate->all);
}

void certificate_look_at_ocsp(struct certificate *certificate)
{
    const struct material *material = certificate->serving;
    struct error err = {0};

    if (material)
        drop_what_is_over(certificate);
    if (!material || !material->ocsp_url || certificate->ocsp_fetch ||
        certificate->ocsp_at_us > loop_now_us(certificate->all->control->loop) ||
        certificate->all->ocsp_count >= FETCHES_AT_ONCE)
        return;
    if (fetch_start(certificate, &err) != 0)
        fetch_failed(certificate, &err);
}
