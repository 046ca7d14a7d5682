/* fuzz_acme_answer.c - arbitrary bytes as what an ACME server says. The first byte chooses of what
 * kind. What a parser lets through must be as its header promises. */
#include "base/json.h"
#include "control/acme_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void url_holds(const char *url, bool is_plain)
{
    assert(acme_url_is_valid(slice_from(url), is_plain));
    assert(strlen(url) <= ACME_URL_MAX);
}

static void order_holds(struct arena *arena, struct slice text, bool is_plain)
{
    struct acme_answer_order order;
    if (acme_answer_order(arena, text, is_plain, &order, NULL) < 0)
        return;
    url_holds(order.finalize, is_plain);
    assert(order.authorization_count > 0);
    for (size_t i = 0; i < order.authorization_count; i++)
        url_holds(order.authorizations[i], is_plain);
    if (order.status == ACME_OBJECT_VALID || order.certificate)
        url_holds(order.certificate, is_plain);
    assert(strlen(order.problem.text) < 8192);
}

static void authorization_holds(struct arena *arena, struct slice text, bool is_plain)
{
    struct acme_answer_authorization authorization;
    if (acme_answer_authorization(arena, text, is_plain, &authorization, NULL) < 0)
        return;
    assert(acme_name_is_valid(authorization.name) && authorization.name[0] != '*');
    assert(authorization.challenge_count <= ACME_CHALLENGES_MAX);
    for (size_t i = 0; i < authorization.challenge_count; i++) {
        const char *token = authorization.challenges[i].token;
        url_holds(authorization.challenges[i].url, is_plain);
        /* It becomes part of a URL path, a file of ours, a record. */
        assert(*token && strlen(token) <= ACME_TOKEN_MAX);
        assert(!strpbrk(token, "./\\ \"%\r\n"));
    }
}

static void rest_holds(struct arena *arena, struct slice text, uint8_t kind)
{
    struct acme_endpoints endpoints;
    struct acme_answer_renewal renewal;
    struct acme_problem problem;
    struct buf bytes CLEANUP(buf_done) = BUF_INIT(4096);
    char *copy = arena_slice_text(arena, text);
    switch (kind) {
    case 0:
        if (acme_answer_directory(arena, text, false, &endpoints, NULL) == 0)
            url_holds(endpoints.new_order, false);
        break;
    case 1:
        acme_answer_problem(arena, text, &problem);
        for (const char *c = problem.text; *c; c++)
            assert((unsigned char)*c >= ' ');
        break;
    case 2:
        if (acme_answer_renewal(arena, text, &renewal, NULL) == 0)
            assert(renewal.start_us < renewal.end_us);
        break;
    case 3:
        assert(acme_retry_after_s(text, 1700000000000000ull) <= ACME_RETRY_AFTER_MAX);
        break;
    case 4:
        if (acme_base64url_decode(copy, &bytes) == 0)
            assert(bytes.len <= strlen(copy) * 3 / 4);
        break;
    default:
        if (acme_name_is_valid(copy))
            assert(strlen(copy) <= 255);
        assert(strlen(acme_text_tame(arena, copy)) <= ACME_EXPLANATION_MAX + 3);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct arena *arena = arena_new(4 * 1024 * 1024);
    struct slice text = {(const char *)data + 1, size - 1};
    switch (data[0] % 8) {
    case 6:
        order_holds(arena, text, data[0] & 16);
        break;
    case 7:
        authorization_holds(arena, text, data[0] & 16);
        break;
    default:
        rest_holds(arena, text, data[0] % 8);
    }
    arena_free(arena);
    return 0;
}
