#include "control/acme_answer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "unit.h"

static int setup(void **state)
{
    *state = arena_new(ACME_ARENA_BYTES);
    return 0;
}

static int teardown(void **state)
{
    arena_free(*state);
    return 0;
}

static void urls_are_of_https_or_of_a_directory_on_loopback(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool is_valid, is_valid_plain;
    } cases[] = {
        {"https://ca.example/directory", true, true},
        {"https://ca.example:14000/dir?x=1#y", true, true},
        {"http://ca.example/", false, false},
        {"http://127.0.0.1:14000/dir", false, true},
        {"http://localhost/dir", false, true},
        {"http://[::1]:14000/dir", false, true},
        {"http://localhost.evil.example/", false, false},
        {"http://127.evil.example/", false, false},
        {"http://127.0.0.1.evil.example:80/", false, false},
        {"http://127.0.0.1@evil.example/", false, false},
        {"https://user:word@ca.example/", false, false},
        {"https://", false, false},
        {"https:///path", false, false},
        {"ftp://ca.example/", false, false},
        {"/relative", false, false},
        {"https://ca.example/a b", false, false},
        {"https://ca.example/\"", false, false},
        {"https://ca.example/\r\nHost: x", false, false},
        {"", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(acme_url_is_valid(slice_from(cases[i].url), false), cases[i].is_valid);
        assert_int_equal(acme_url_is_valid(slice_from(cases[i].url), true),
                         cases[i].is_valid_plain);
    }
    char longer[ACME_URL_MAX + 2];
    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    memcpy(longer, "https://", 8);
    assert_false(acme_url_is_valid(slice_from(longer), true));
    longer[ACME_URL_MAX] = '\0';
    assert_true(acme_url_is_valid(slice_from(longer), true));
    assert_true(acme_url_is_plain("http://127.0.0.1:1/"));
    assert_false(acme_url_is_plain("https://127.0.0.1:1/"));
}

static void names_are_those_of_the_dns(void **state)
{
    (void)state;
    assert_true(acme_name_is_valid("example.org"));
    assert_true(acme_name_is_valid("*.example.org"));
    assert_true(acme_name_is_valid("xn--bcher-kva.example"));
    assert_true(acme_name_is_valid("a_b.example.org"));
    static const char *const bad[] = {"",
                                      "localhost",
                                      "192.0.2.1",
                                      "Example.org",
                                      "a..b",
                                      ".a.b",
                                      "a.b.",
                                      "*.*.example.org",
                                      "-a.example",
                                      "a-.example",
                                      "a.*.example",
                                      "a/b.example",
                                      "*",
                                      "a example.org",
                                      "caf\xc3\xa9.example"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(acme_name_is_valid(bad[i]));
    char label[80];
    memset(label, 'a', sizeof(label));
    snprintf(label + 63, sizeof(label) - 63, ".example");
    assert_true(acme_name_is_valid(label));
    memset(label, 'a', sizeof(label));
    snprintf(label + 64, sizeof(label) - 64, ".example");
    assert_false(acme_name_is_valid(label));
}

static void a_directory_needs_its_urls(void **state)
{
    struct acme_endpoints endpoints;
    struct error err = {0};
    assert_int_equal(
        acme_answer_directory(
            *state,
            SLICE("{\"newNonce\":\"https://ca/n\",\"newAccount\":\"https://ca/a\",\"newOrder\":"
                  "\"https://ca/o\",\"meta\":{\"externalAccountRequired\":true},\"x\":[1]}"),
            false, &endpoints, &err),
        0);
    assert_string_equal(endpoints.new_order, "https://ca/o");
    assert_null(endpoints.renewal_info);
    assert_true(endpoints.needs_external_account);
    assert_int_equal(acme_answer_directory(*state, SLICE("{\"newNonce\":\"https://ca/n\"}"), false,
                                           &endpoints, &err),
                     ERR_INVALID);
    assert_non_null(strstr(err.text, "newAccount"));
    assert_int_equal(
        acme_answer_directory(
            *state,
            SLICE("{\"newNonce\":\"https://ca/n\",\"newAccount\":\"http://ca/a\",\"newOrder\":"
                  "\"https://ca/o\"}"),
            false, &endpoints, &err),
        ERR_INVALID);
}

static void a_problem_is_told_with_its_parts(void **state)
{
    struct acme_problem problem;
    acme_answer_problem(
        *state,
        SLICE("{\"type\":\"urn:ietf:params:acme:error:malformed\",\"detail\":\"some\\nnames are "
              "bad\",\"subproblems\":[{\"type\":\"urn:ietf:params:acme:error:rejectedIdentifier\","
              "\"detail\":\"no\",\"identifier\":{\"type\":\"dns\",\"value\":\"a.example\"}},{"
              "\"type\":\"urn:ietf:params:acme:error:caa\",\"detail\":\"CAA\",\"identifier\":{"
              "\"value\":\"b.example\"}}]}"),
        &problem);
    assert_int_equal(problem.kind, ACME_PROBLEM_MALFORMED);
    assert_string_equal(problem.text, "malformed: some names are bad (a.example: "
                                      "rejectedIdentifier: no; b.example: caa: CAA)");
    acme_answer_problem(*state, SLICE("<html>"), &problem);
    assert_int_equal(problem.kind, ACME_PROBLEM_OTHER);
    assert_string_equal(problem.text, "");
    acme_answer_problem(*state, SLICE("{\"type\":\"about:blank\",\"detail\":\"x\"}"), &problem);
    assert_int_equal(problem.kind, ACME_PROBLEM_OTHER);
    assert_string_equal(problem.text, "about:blank: x");
}

static void validation_failures_are_of_the_name_and_refusals_of_the_ca(void **state)
{
    (void)state;
    assert_true(acme_problem_is_of_name(ACME_PROBLEM_DNS));
    assert_true(acme_problem_is_of_name(ACME_PROBLEM_CONNECTION));
    assert_true(acme_problem_is_of_name(ACME_PROBLEM_UNAUTHORIZED));
    assert_false(acme_problem_is_of_name(ACME_PROBLEM_CAA));
    assert_false(acme_problem_is_of_name(ACME_PROBLEM_RATE));
    assert_true(acme_problem_is_policy(ACME_PROBLEM_REJECTED));
    assert_true(acme_problem_is_policy(ACME_PROBLEM_CAA));
    assert_false(acme_problem_is_policy(ACME_PROBLEM_RATE));
}

static void an_order_is_read(void **state)
{
    struct acme_answer_order order;
    struct error err = {0};
    assert_int_equal(
        acme_answer_order(*state,
                          SLICE("{\"status\":\"valid\",\"finalize\":\"https://ca/f\","
                                "\"authorizations\":[\"https://ca/1\",\"https://ca/2\"],"
                                "\"certificate\":\"https://ca/c\"}"),
                          false, &order, &err),
        0);
    assert_int_equal(order.status, ACME_OBJECT_VALID);
    assert_int_equal(order.authorization_count, 2);
    assert_string_equal(order.certificate, "https://ca/c");
    static const char *const bad[] = {
        "{\"status\":\"valid\",\"finalize\":\"https://ca/f\",\"authorizations\":[\"https://ca/"
        "1\"]}",
        "{\"status\":\"new\",\"finalize\":\"https://ca/f\",\"authorizations\":[\"https://ca/1\"]}",
        "{\"status\":\"ready\",\"finalize\":\"https://ca/f\",\"authorizations\":[]}",
        "{\"status\":\"ready\",\"finalize\":\"https://ca/f\",\"authorizations\":[1]}",
        "{\"status\":\"ready\",\"finalize\":\"http://ca/f\",\"authorizations\":[\"https://ca/1\"]}",
        "{\"status\":\"ready\",\"authorizations\":[\"https://ca/1\"]}",
        "[]",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(acme_answer_order(*state, slice_from(bad[i]), false, &order, &err),
                         ERR_INVALID);
}

static void an_authorization_offers_the_challenges_that_are_known(void **state)
{
    struct acme_answer_authorization authorization;
    struct error err = {0};
    assert_int_equal(
        acme_answer_authorization(
            *state,
            SLICE(
                "{\"status\":\"pending\",\"identifier\":{\"type\":\"dns\",\"value\":\"a.example\"}"
                ",\"wildcard\":true,\"challenges\":[{\"type\":\"carrier-pigeon-01\"},{\"type\":"
                "\"dns-01\",\"url\":\"https://ca/1\",\"token\":\"a-_9\"}]}"),
            false, &authorization, &err),
        0);
    assert_true(authorization.is_wildcard);
    assert_int_equal(authorization.challenge_count, 1);
    assert_int_equal(authorization.challenges[0].kind, ACME_DNS_01);
    assert_string_equal(authorization.problem.text, "");
    static const char *const tokens[] = {"", "../../etc/passwd", "a b", "a%00", "a/b"};
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
        char text[512];
        snprintf(
            text, sizeof(text),
            "{\"status\":\"pending\",\"identifier\":{\"value\":\"a.example\"},\"challenges\":[{"
            "\"type\":\"http-01\",\"url\":\"https://ca/1\",\"token\":\"%s\"}]}",
            tokens[i]);
        assert_int_equal(
            acme_answer_authorization(*state, slice_from(text), false, &authorization, &err),
            ERR_INVALID);
    }
}

static void a_window_may_be_written_in_several_ways(void **state)
{
    struct acme_answer_renewal window;
    struct error err = {0};
    assert_int_equal(
        acme_answer_renewal(
            *state,
            SLICE("{\"suggestedWindow\":{\"start\":\"2026-01-02T04:00:00.123456789Z\",\"end\":"
                  "\"2026-01-02T06:00:01+01:00\"},\"explanationURL\":\"https://ca/why\"}"),
            &window, &err),
        0);
    assert_int_equal(window.start_us, 1767326400123456ull);
    assert_int_equal(window.end_us, 1767330001000000ull);
    assert_string_equal(window.explanation, "https://ca/why");
    static const char *const bad[] = {
        "{}",
        "{\"suggestedWindow\":{\"start\":\"2026-01-02T04:00:00Z\",\"end\":\"2026-01-02T03:00:00Z\"}"
        "}",
        "{\"suggestedWindow\":{\"start\":\"yesterday\",\"end\":\"2026-01-02T03:00:00Z\"}}",
        "{\"suggestedWindow\":{\"start\":\"2026-01-02T04:00:00+25:00\",\"end\":"
        "\"2026-02-02T03:00:00Z\"}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(acme_answer_renewal(*state, slice_from(bad[i]), &window, &err),
                         ERR_INVALID);
}

static void retry_after_is_seconds_or_a_date(void **state)
{
    (void)state;
    const uint64_t now_us = 1792567680ull * 1000000; /* Wed, 21 Oct 2026 07:28:00 GMT */
    assert_int_equal(acme_retry_after_s(SLICE("120"), now_us), 120);
    assert_int_equal(acme_retry_after_s(SLICE("Wed, 21 Oct 2026 07:29:00 GMT"), now_us), 60);
    assert_int_equal(acme_retry_after_s(SLICE("Wed, 21 Oct 2026 07:27:00 GMT"), now_us), 0);
    assert_int_equal(acme_retry_after_s(SLICE("99999999999"), now_us), ACME_RETRY_AFTER_MAX);
    assert_int_equal(acme_retry_after_s(SLICE("soon"), now_us), 0);
    assert_int_equal(acme_retry_after_s(SLICE(""), now_us), 0);
}

static void base64url_is_read_as_people_paste_it(void **state)
{
    (void)state;
    struct buf bytes CLEANUP(buf_done) = BUF_INIT(64);
    assert_int_equal(acme_base64url_decode("-_8", &bytes), 0);
    assert_int_equal(bytes.len, 2);
    assert_memory_equal(bytes.ptr, "\xfb\xff", 2);
    buf_clear(&bytes);
    assert_int_equal(acme_base64url_decode("+/8=", &bytes), 0);
    assert_memory_equal(bytes.ptr, "\xfb\xff", 2);
    assert_int_equal(acme_base64url_decode("a", &bytes), ERR_INVALID);
    assert_int_equal(acme_base64url_decode("a b", &bytes), ERR_INVALID);
}

static void a_long_text_of_a_ca_is_cut_between_characters(void **state)
{
    char text[ACME_EXPLANATION_MAX * 2];
    memset(text, 'x', sizeof(text));
    memcpy(text + ACME_EXPLANATION_MAX - 1, "\xc3\xa9", 2);
    text[sizeof(text) - 1] = '\0';
    const char *tame = acme_text_tame(*state, text);
    assert_int_equal(strlen(tame), ACME_EXPLANATION_MAX - 1 + 3);
    assert_string_equal(tame + ACME_EXPLANATION_MAX - 1, "...");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(urls_are_of_https_or_of_a_directory_on_loopback),
        TEST(names_are_those_of_the_dns),
        TEST(a_directory_needs_its_urls),
        TEST(a_problem_is_told_with_its_parts),
        TEST(validation_failures_are_of_the_name_and_refusals_of_the_ca),
        TEST(an_order_is_read),
        TEST(an_authorization_offers_the_challenges_that_are_known),
        TEST(a_window_may_be_written_in_several_ways),
        TEST(retry_after_is_seconds_or_a_date),
        TEST(base64url_is_read_as_people_paste_it),
        TEST(a_long_text_of_a_ca_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
