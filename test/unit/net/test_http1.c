#include "net/http1.h"
#include "unit.h"

static struct http1_head head;
static struct http1_failure failure;

/* Each text is parsed from memory of its own size, so that a sanitizer sees a read behind its end;
 * in pieces: every beginning of it, too. */
static enum http1_result parse(struct slice text, bool is_in_pieces, const enum http1_method *asked)
{
    const struct http1_limits limits = HTTP1_LIMITS_DEFAULT;
    static char *bytes;
    struct http1_progress progress = {0};
    enum http1_result result = HTTP1_MORE;

    free(bytes); /* the head of the last text pointed into it */
    bytes = malloc(text.len);
    assert_non_null(bytes);
    memcpy(bytes, text.ptr, text.len);
    for (size_t len = is_in_pieces ? 1 : text.len; len <= text.len && result == HTTP1_MORE; len++)
        result = asked
                     ? http1_parse_response(bytes, len, &progress, &limits, *asked, &head, &failure)
                     : http1_parse_request(bytes, len, &progress, &limits, &head, &failure);
    return result;
}

struct expectation {
    struct slice text;
    unsigned status; /* 0: accepted */
};

#define TEXT(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

static void check_requests(const struct expectation *expected, size_t count, const char *before,
                           const char *after)
{
    for (size_t i = 0; i < count; i++) {
        struct buf text = BUF_INIT(100000);

        buf_append_text(&text, before);
        buf_append_slice(&text, expected[i].text);
        buf_append_text(&text, after);
        for (int pieces = 0; pieces < 2; pieces++) {
            enum http1_result result = parse(buf_slice(&text), pieces, NULL);

            if (result != (expected[i].status ? HTTP1_BAD : HTTP1_DONE) ||
                (result == HTTP1_BAD && failure.status != expected[i].status))
                fail_msg("'%s' in %s: result %d, status %u", buf_text(&text),
                         pieces ? "pieces" : "one", (int)result, failure.status);
        }
        buf_done(&text);
    }
}

static void request_lines_are_read_strictly(void **state)
{
    static const struct expectation lines[] = {
        {TEXT("GET / HTTP/1.1"), 0},
        {TEXT("\r\n\r\n\r\n\r\nGET / HTTP/1.1"), 0},
        {TEXT("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1"), 400},
        {TEXT("\nGET / HTTP/1.1"), 400},
        {TEXT("GET / HTTP/1.2"), 0},
        {TEXT("GET / HTTP/2.0"), 505},
        {TEXT("GET / HTTP/0.9"), 505},
        {TEXT("GET / http/1.1"), 400},
        {TEXT("GET / HTTP/1.1 "), 400},
        {TEXT("GET  / HTTP/1.1"), 400},
        {TEXT("GET /  HTTP/1.1"), 400},
        {TEXT("GET\t/ HTTP/1.1"), 400},
        {TEXT(" GET / HTTP/1.1"), 400},
        {TEXT("GE(T / HTTP/1.1"), 400},
        {TEXT("GET /a#b HTTP/1.1"), 400},
        {TEXT("GET /\x80 HTTP/1.1"), 400},
        {TEXT("GET /\0 HTTP/1.1"), 400},
        {TEXT("GET a HTTP/1.1"), 400},
        {TEXT("GET * HTTP/1.1"), 400},
        {TEXT("OPTIONS * HTTP/1.1"), 0},
        {TEXT("GET http://b/x HTTP/1.1"), 0},
        {TEXT("GET http://b@c/x HTTP/1.1"), 400},
        {TEXT("GET http:///x HTTP/1.1"), 400},
        {TEXT("GET ftp://b/x HTTP/1.1"), 400},
        {TEXT("CONNECT b:443 HTTP/1.1"), 0},
        {TEXT("CONNECT /x HTTP/1.1"), 400},
    };

    (void)state;
    check_requests(lines, ARRAY_LEN(lines), "", "\r\nHost: a\r\n\r\n");
}

static void lines_and_names_are_read_strictly(void **state)
{
    static const struct expectation fields[] = {
        {TEXT("X: y\r\n"), 0},
        {TEXT("X:y\r\n"), 0},
        {TEXT("X:\r\n"), 0},
        {TEXT("X: \xc3\xa9\x80\xff\r\n"), 0},
        {TEXT("X : y\r\n"), 400},
        {TEXT(" X: y\r\n"), 400},
        {TEXT("X y: z\r\n"), 400},
        {TEXT(": z\r\n"), 400},
        {TEXT("X\r\n"), 400},
        {TEXT("X\xc3\xa9: y\r\n"), 400},
        {TEXT("X\0: y\r\n"), 400},
        {TEXT("X: a\rb\r\n"), 400},
        {TEXT("X: a\0b\r\n"), 400},
        {TEXT("X: a\x7f\r\n"), 400},
        {TEXT("X: a\nY: b\r\n"), 400},
        {TEXT("X: a\r\n b\r\n"), 400},
        {TEXT("X: a\r\n\tb\r\n"), 400},
        {TEXT("X: a\r\n\nY: b\r\n"), 400},
    };

    (void)state;
    check_requests(fields, ARRAY_LEN(fields), "GET / HTTP/1.1\r\nHost: a\r\n", "\r\n");
}

static void whatever_frames_a_request_in_two_ways_is_refused(void **state)
{
    static const struct expectation fields[] = {
        {TEXT("Content-Length: 5"), 0},
        {TEXT("Content-Length: 9223372036854775807"), 0},
        {TEXT("Content-Length: 9223372036854775808"), 400},
        {TEXT("Content-Length: 18446744073709551615"), 400},
        {TEXT("Content-Length: 18446744073709551616"), 400},
        {TEXT("Content-Length: +5"), 400},
        {TEXT("Content-Length: -5"), 400},
        {TEXT("Content-Length: 0x5"), 400},
        {TEXT("Content-Length: 5_0"), 400},
        {TEXT("Content-Length:"), 400},
        {TEXT("Content-Length: 5 5"), 400},
        {TEXT("Content-Length: 5,5"), 400},
        {TEXT("Content-Length: 5\r\nContent-Length: 5"), 400},
        {TEXT("Content-Length: 5\r\nContent-Length: 6"), 400},
        {TEXT("Content-Length: 5\r\nTransfer-Encoding: chunked"), 400},
        {TEXT("Transfer-Encoding: chunked"), 0},
        {TEXT("Transfer-Encoding: Chunked"), 0},
        {TEXT("Transfer-Encoding: gzip, chunked"), 501},
        {TEXT("Transfer-Encoding: , chunked"), 400},
        {TEXT("Transfer-Encoding: chunked,"), 400},
        {TEXT("Transfer-Encoding: gzip, chunked, "), 400},
        {TEXT("Transfer-Encoding: chunked, chunked"), 400},
        {TEXT("Transfer-Encoding: chunked, gzip"), 400},
        {TEXT("Transfer-Encoding: chunked ;q=1"), 400},
        {TEXT("Transfer-Encoding: identity"), 400},
        {TEXT("Transfer-Encoding: identity, chunked"), 400},
        {TEXT("Transfer-Encoding: chunked\v"), 400},
        {TEXT("Transfer-Encoding: xchunked"), 400},
        {TEXT("Transfer-Encoding:"), 400},
        {TEXT("Transfer-Encoding:\r\n chunked"), 400},
        {TEXT("Transfer-Encoding : chunked"), 400},
        {TEXT("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400},
        {TEXT("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"), 400},
    };
    static const struct expectation old[] = {
        {TEXT("Content-Length: 5"), 0},
        {TEXT("Transfer-Encoding: chunked"), 400},
    };

    (void)state;
    check_requests(fields, ARRAY_LEN(fields), "POST / HTTP/1.1\r\nHost: a\r\n", "\r\n\r\n");
    check_requests(old, ARRAY_LEN(old), "POST / HTTP/1.0\r\nHost: a\r\n", "\r\n\r\n");
}

static void a_request_has_one_host(void **state)
{
    static const struct expectation hosts[] = {
        {TEXT("Host: a\r\n"), 0},         {TEXT("Host: a:80\r\n"), 0},
        {TEXT("Host: [::1]:80\r\n"), 0},  {TEXT(""), 400},
        {TEXT("Host:\r\n"), 400},         {TEXT("Host: a\r\nHost: a\r\n"), 400},
        {TEXT("Host: a/b\r\n"), 400},     {TEXT("Host: a@b\r\n"), 400},
        {TEXT("Host: a b\r\n"), 400},     {TEXT("Host: a,b\r\n"), 400},
        {TEXT("Host: a:99999\r\n"), 400}, {TEXT("Host: [::1]x\r\n"), 400},
        {TEXT("Host: [::1\r\n"), 400},    {TEXT("Host: .a\r\n"), 400},
    };

    (void)state;
    check_requests(hosts, ARRAY_LEN(hosts), "GET / HTTP/1.1\r\n", "\r\n");
    assert_int_equal(parse(SLICE("GET / HTTP/1.0\r\n\r\n"), false, NULL), HTTP1_DONE);
    assert_int_equal(parse(SLICE("GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n"), false, NULL),
                     HTTP1_DONE);
    assert_slice_equal(head.host, "b:81");
    assert_slice_equal(head.path, "/x?y");
}

static void options_of_a_bare_authority_asks_about_the_server(void **state)
{
    (void)state;
    assert_int_equal(parse(SLICE("OPTIONS http://b:81 HTTP/1.1\r\nHost: a\r\n\r\n"), false, NULL),
                     HTTP1_DONE);
    assert_int_equal(head.target_form, HTTP1_TARGET_ASTERISK);
    assert_slice_equal(head.target, "*");
    assert_slice_equal(head.host, "b:81");
    assert_int_equal(parse(SLICE("OPTIONS http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"), false, NULL),
                     HTTP1_DONE);
    assert_int_equal(head.target_form, HTTP1_TARGET_ABSOLUTE);
}

static void an_unknown_expectation_is_refused_in_any_order(void **state)
{
    static const struct expectation fields[] = {
        {TEXT("Expect: 100-Continue"), 0},
        {TEXT("Expect: 100-continue\r\nExpect: 100-continue"), 0},
        {TEXT("Expect: 200-ok"), 417},
        {TEXT("Expect: 100-continue\r\nExpect: 200-ok"), 417},
        {TEXT("Expect: 200-ok\r\nExpect: 100-continue"), 417},
    };

    (void)state;
    check_requests(fields, ARRAY_LEN(fields), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n",
                   "\r\n\r\n");
}

static void connection_marks_what_it_names_but_not_what_is_protected(void **state)
{
    (void)state;
    assert_int_equal(parse(SLICE("GET / HTTP/1.1\r\nX-A: 1\r\nX-B: 2\r\nCookie: c\r\nHost: a\r\n"
                                 "Connection: x-a, Cookie, host,, close\r\n\r\n"),
                           false, NULL),
                     HTTP1_DONE);
    assert_true(http1_field_named(&head, SLICE("x-a"))->is_hop);
    assert_false(http1_field_named(&head, SLICE("x-b"))->is_hop);
    assert_false(http1_field_find(&head, HTTP1_FIELD_COOKIE)->is_hop);
    assert_false(http1_field_find(&head, HTTP1_FIELD_HOST)->is_hop);
    assert_false(head.is_keepalive);
}

static void thousands_of_connection_options_are_refused(void **state)
{
    struct buf text = BUF_INIT(70000);

    (void)state;
    buf_append_text(&text, "GET / HTTP/1.1\r\nHost: a\r\nConnection: ");
    for (int i = 0; i < 20000; i++)
        buf_append_text(&text, "a,,");
    buf_append_text(&text, "\r\n\r\n");
    assert_int_equal(parse(buf_slice(&text), false, NULL), HTTP1_BAD);
    buf_done(&text);
}

static void underscores_do_not_pass_for_hyphens(void **state)
{
    (void)state;
    assert_int_equal(http1_field_identify(SLICE("Content_Length")), HTTP1_FIELD_SHADOW);
    assert_int_equal(http1_field_identify(SLICE("transfer_encoding")), HTTP1_FIELD_SHADOW);
    assert_int_equal(http1_field_identify(SLICE("X_Forwarded-For")), HTTP1_FIELD_SHADOW);
    assert_int_equal(http1_field_identify(SLICE("X-Client_CERTIFICATE-Subject")),
                     HTTP1_FIELD_SHADOW);
    assert_int_equal(http1_field_identify(SLICE("x-client-certificate-not-made-yet")),
                     HTTP1_FIELD_SHADOW);
    assert_int_equal(http1_field_identify(SLICE("x-client-certificat")), HTTP1_FIELD_OTHER);
    assert_int_equal(http1_field_identify(SLICE("CONTENT-LENGTH")), HTTP1_FIELD_CONTENT_LENGTH);
    assert_int_equal(http1_field_identify(SLICE("x_custom")), HTTP1_FIELD_OTHER);
}

static void check_response(struct slice text, enum http1_method asked, enum http1_result result,
                           enum http1_body body)
{
    for (int pieces = 0; pieces < 2; pieces++) {
        enum http1_result got = parse(text, pieces, &asked);

        if (got != result || (got == HTTP1_BAD && failure.status != 502) ||
            (got == HTTP1_DONE && head.body != body))
            fail_msg("'%s': result %d, body %d", text.ptr, (int)got, (int)head.body);
    }
}

static void a_response_has_one_end(void **state)
{
    const enum http1_method get = HTTP1_METHOD_GET;

    (void)state;
    check_response(SLICE("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), get, HTTP1_DONE,
                   HTTP1_BODY_LENGTH);
    check_response(SLICE("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n"), get, HTTP1_DONE,
                   HTTP1_BODY_CHUNKED);
    check_response(SLICE("HTTP/1.1 200 OK\r\n\r\n"), get, HTTP1_DONE, HTTP1_BODY_CLOSE);
    assert_false(head.is_keepalive);
    check_response(SLICE("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), HTTP1_METHOD_HEAD,
                   HTTP1_DONE, HTTP1_BODY_NONE);
    check_response(SLICE("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n"), get, HTTP1_DONE,
                   HTTP1_BODY_NONE);
    check_response(SLICE("HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n"), get, HTTP1_DONE,
                   HTTP1_BODY_NONE);
    check_response(SLICE("HTTP/1.1 103 Hints\r\n\r\n"), get, HTTP1_DONE, HTTP1_BODY_NONE);
    check_response(
        SLICE("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), get,
        HTTP1_BAD, 0);
    check_response(SLICE("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"), get,
                   HTTP1_BAD, 0);
    check_response(SLICE("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), get, HTTP1_BAD,
                   0);
    check_response(SLICE("HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n"), get, HTTP1_BAD, 0);
    check_response(SLICE("HTTP/1.1 99 OK\r\n\r\n"), get, HTTP1_BAD, 0);
    check_response(SLICE("HTTP/1.1 600 OK\r\n\r\n"), get, HTTP1_BAD, 0);
}

static void a_folded_line_of_a_response_becomes_one(void **state)
{
    const enum http1_method get = HTTP1_METHOD_GET;

    (void)state;
    assert_int_equal(parse(SLICE("HTTP/1.1 200 OK\r\nX: a\r\n\t b\r\nY: c\r\n\r\n"), true, &get),
                     HTTP1_DONE);
    assert_slice_equal(http1_field_named(&head, SLICE("x"))->value, "a  \t b");
    assert_slice_equal(http1_field_named(&head, SLICE("y"))->value, "c");
}

/* Decoded in steps of every size, each from memory of its own. */
static void check_chunks(struct slice text, enum http1_result result, const char *wanted)
{
    for (size_t step = 1; step <= text.len; step++) {
        struct http1_chunked chunked = {0};
        struct buf decoded = BUF_INIT(1024);
        enum http1_result got = HTTP1_MORE;

        for (size_t at = 0, used; at < text.len && got == HTTP1_MORE; at += used) {
            size_t len = MIN(step, text.len - at);
            char *bytes = malloc(len);
            struct slice data;

            assert_non_null(bytes);
            memcpy(bytes, text.ptr + at, len);
            got = http1_chunked_decode(&chunked, bytes, len, &used, &data, &failure);
            buf_append_slice(&decoded, data);
            free(bytes);
        }
        if (got != result || strcmp(buf_text(&decoded), wanted) != 0)
            fail_msg("'%s' in steps of %zu: result %d, '%s'", text.ptr, step, (int)got,
                     buf_text(&decoded));
        buf_done(&decoded);
    }
}

static void chunks_are_read_strictly(void **state)
{
    static const struct slice bad[] = {TEXT("fffffffffffffffff\r\n"),
                                       TEXT("00000000000000005\r\n"),
                                       TEXT("5 \r\n"),
                                       TEXT(" 5\r\n"),
                                       TEXT("+5\r\n"),
                                       TEXT("-5\r\n"),
                                       TEXT("0x5\r\n"),
                                       TEXT("5\n"),
                                       TEXT("\r\n"),
                                       TEXT(";a\r\n"),
                                       TEXT("5;a\nb\r\n"),
                                       TEXT("5;a\rX"),
                                       TEXT("0\r\n\n"),
                                       TEXT("0\r\nX : y\r\n"),
                                       TEXT("0\r\n X: y\r\n"),
                                       TEXT("0\r\nX: y\n"),
                                       TEXT("0\r\n: y\r\n"),
                                       TEXT("0\r\nX\r\n")};

    (void)state;
    check_chunks(SLICE("5\r\nhello\r\n0\r\n\r\n"), HTTP1_DONE, "hello");
    check_chunks(SLICE("0000000000000005;a=\"b\"\r\nhello\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n"),
                 HTTP1_DONE, "hello0123456789");
    check_chunks(SLICE("5\r\nhelloX\r\n"), HTTP1_BAD, "hello");
    check_chunks(SLICE("5\r\nhello\n"), HTTP1_BAD, "hello");
    check_chunks(SLICE("5\r\nhel"), HTTP1_MORE, "hel");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        check_chunks(bad[i], HTTP1_BAD, "");
}

static void trailers_are_handed_out_as_lines(void **state)
{
    static const char text[] = "3\r\nabc\r\n0\r\nX-Sum: 9\r\nX-B:\r\n\r\nnext";

    (void)state;
    for (size_t step = 1; step < sizeof(text); step++) {
        struct buf trailers = BUF_INIT(HTTP1_TRAILERS_MAX);
        struct http1_chunked chunked = {.trailers = &trailers};
        enum http1_result result = HTTP1_MORE;
        char bytes[sizeof(text)];
        size_t at = 0;

        memcpy(bytes, text, sizeof(text));
        while (result == HTTP1_MORE) {
            struct http1_failure why;
            struct slice data;
            size_t consumed;

            result = http1_chunked_decode(&chunked, bytes + at, MIN(step, sizeof(text) - 1 - at),
                                          &consumed, &data, &why);
            at += consumed;
        }
        assert_int_equal(result, HTTP1_DONE);
        assert_string_equal(bytes + at, "next");
        assert_string_equal(buf_text(&trailers), "X-Sum: 9\r\nX-B:\r\n");
        buf_done(&trailers);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trailers_are_handed_out_as_lines),
        cmocka_unit_test(request_lines_are_read_strictly),
        cmocka_unit_test(lines_and_names_are_read_strictly),
        cmocka_unit_test(whatever_frames_a_request_in_two_ways_is_refused),
        cmocka_unit_test(a_request_has_one_host),
        cmocka_unit_test(options_of_a_bare_authority_asks_about_the_server),
        cmocka_unit_test(an_unknown_expectation_is_refused_in_any_order),
        cmocka_unit_test(connection_marks_what_it_names_but_not_what_is_protected),
        cmocka_unit_test(thousands_of_connection_options_are_refused),
        cmocka_unit_test(underscores_do_not_pass_for_hyphens),
        cmocka_unit_test(a_response_has_one_end),
        cmocka_unit_test(a_folded_line_of_a_response_becomes_one),
        cmocka_unit_test(chunks_are_read_strictly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
