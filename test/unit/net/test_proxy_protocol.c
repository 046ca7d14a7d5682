#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "net/proxy_protocol.h"
#include <arpa/inet.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static enum proxy_result read_all(struct slice text, struct proxy_header *header,
                                  const char **reason)
{
    *reason = "";
    return proxy_header_read(text.ptr, text.len, header, reason);
}

static void assert_bad(struct slice text, const char *wanted)
{
    struct proxy_header header;
    const char *reason;

    if (read_all(text, &header, &reason) != PROXY_BAD)
        fail_msg("%.*s is not refused", (int)text.len, text.ptr);
    assert_string_equal(reason, wanted);
}

static void assert_address(const struct proxy_address *address, const char *text, unsigned port)
{
    char seen[INET6_ADDRSTRLEN];

    assert_non_null(inet_ntop(AF_INET6, address->address, seen, sizeof(seen)));
    assert_string_equal(seen, text);
    assert_int_equal(address->port, port);
}

static void a_line_names_both_ends(void **state)
{
    struct proxy_header header;
    const char *reason;

    (void)state;
    assert_int_equal(
        read_all(SLICE("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nGET / HTTP/1.1\r\n"),
                 &header, &reason),
        PROXY_DONE);
    assert_int_equal(header.bytes, 45);
    assert_true(header.is_known);
    assert_address(&header.source, "::ffff:192.0.2.1", 56324);
    assert_address(&header.destination, "::ffff:198.51.100.7", 443);
    assert_int_equal(read_all(SLICE("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"), &header, &reason),
                     PROXY_DONE);
    assert_address(&header.source, "2001:db8::1", 1);
    assert_address(&header.destination, "::1", 65535);
}

static void an_unknown_client_keeps_the_connections_addresses(void **state)
{
    struct proxy_header header;
    const char *reason;

    (void)state;
    assert_int_equal(read_all(SLICE("PROXY UNKNOWN\r\nx"), &header, &reason), PROXY_DONE);
    assert_false(header.is_known);
    assert_int_equal(header.bytes, 15);
    assert_int_equal(read_all(SLICE("PROXY UNKNOWN ff:: what ever\r\n"), &header, &reason),
                     PROXY_DONE);
    assert_false(header.is_known);
}

static void every_beginning_of_a_header_wants_more(void **state)
{
    static const char line[] = "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n";
    static const char binary[] = SIGNATURE "\x21\x11\0\x0c"
                                           "\xc0\0\2\1\xc6\x33\x64\7\xdc\4\1\xbb";
    struct proxy_header header;
    const char *reason;

    (void)state;
    for (size_t i = 1; i < sizeof(line) - 1; i++)
        assert_int_equal(proxy_header_read(line, i, &header, &reason), PROXY_MORE);
    for (size_t i = 1; i < sizeof(binary) - 1; i++)
        assert_int_equal(proxy_header_read(binary, i, &header, &reason), PROXY_MORE);
    assert_int_equal(proxy_header_read(binary, sizeof(binary) - 1, &header, &reason), PROXY_DONE);
    assert_address(&header.source, "::ffff:192.0.2.1", 56324);
    assert_address(&header.destination, "::ffff:198.51.100.7", 443);
}

static void lines_have_one_form(void **state)
{
    (void)state;
    assert_bad(SLICE("GET / HTTP/1.1\r\n"), "no PROXY header");
    assert_bad(SLICE("proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n"), "no PROXY header");
    assert_bad(SLICE("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n"), "PROXY header without CRLF");
    assert_bad(SLICE("PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n"), "PROXY header of an unknown protocol");
    assert_bad(SLICE("PROXY TCP4  1.1.1.1 1.1.1.1 1 1\r\n"),
               "PROXY header with an invalid address");
    assert_bad(SLICE("PROXY TCP4 1.1.1 1.1.1.1 1 1\r\n"), "PROXY header with an invalid address");
    assert_bad(SLICE("PROXY TCP4 ::1 ::1 1 1\r\n"), "PROXY header with an invalid address");
    assert_bad(SLICE("PROXY TCP6 1.1.1.1 ::1 1 1\r\n"), "PROXY header with an invalid address");
    assert_bad(SLICE("PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n"), "PROXY header with an invalid port");
    assert_bad(SLICE("PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n"),
               "PROXY header with an invalid port");
    assert_bad(SLICE("PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n"), "PROXY header with an invalid port");
    assert_bad(SLICE("PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n"), "PROXY header with an invalid port");
    assert_bad(SLICE("PROXY TCP4 1.1.1.1 1.1.1.1 1 -1\r\n"), "PROXY header with an invalid port");
}

static void a_line_ends_within_107_bytes(void **state)
{
    char line[PROXY_V1_MAX + 1];
    struct proxy_header header;
    const char *reason;

    (void)state;
    memset(line, 'x', sizeof(line));
    memcpy(line, "PROXY UNKNOWN ", 14);
    memcpy(line + PROXY_V1_MAX - 2, "\r\n", 2);
    assert_int_equal(proxy_header_read(line, PROXY_V1_MAX, &header, &reason), PROXY_DONE);
    memcpy(line + PROXY_V1_MAX - 2, "x\r\n", 3);
    assert_int_equal(proxy_header_read(line, sizeof(line), &header, &reason), PROXY_BAD);
}

static void binary_headers_are_checked(void **state)
{
    (void)state;
    assert_bad(SLICE(SIGNATURE "\x11\x11\0\x0c"), "PROXY header of an unknown version or command");
    assert_bad(SLICE(SIGNATURE "\x22\x11\0\x0c"), "PROXY header of an unknown version or command");
    assert_bad(SLICE(SIGNATURE "\x21\x12\0\x0c"), "PROXY header of an unknown protocol");
    assert_bad(SLICE(SIGNATURE "\x21\x41\0\x0c"), "PROXY header of an unknown protocol");
    assert_bad(SLICE(SIGNATURE "\x21\x11\xff\xff"), "PROXY header is too long");
    assert_bad(SLICE(SIGNATURE "\x21\x11\0\x04"
                               "1234"),
               "PROXY header without its addresses");
    assert_bad(SLICE(SIGNATURE "\x21\x11\0\x0e"
                               "123412341212"
                               "\x04\0"),
               "PROXY header with half a TLV");
    assert_bad(SLICE(SIGNATURE "\x21\x11\0\x0f"
                               "123412341212"
                               "\x04\0\x01"),
               "PROXY header with a TLV beyond its end");
    assert_bad(SLICE(SIGNATURE "\x21\x11\0\x13"
                               "123412341212"
                               "\x03\0\x04"
                               "abcd"),
               "PROXY header with a wrong checksum");
}

static void a_right_checksum_passes(void **state)
{
    char bytes[] = SIGNATURE "\x21\x11\0\x13"
                             "123412341212"
                             "\x03\0\x04\0\0\0\0";
    uint32_t crc = htonl(hash_crc32c(0, bytes, sizeof(bytes) - 1));
    struct proxy_header header;
    const char *reason;

    (void)state;
    memcpy(bytes + sizeof(bytes) - 5, &crc, 4);
    assert_int_equal(proxy_header_read(bytes, sizeof(bytes) - 1, &header, &reason), PROXY_DONE);
    assert_true(header.is_known);
    assert_int_equal(header.bytes, sizeof(bytes) - 1);
}

static void local_and_other_families_keep_the_connections_addresses(void **state)
{
    struct proxy_header header;
    const char *reason;
    char bytes[16 + 216] = SIGNATURE "\x21\x31\0\xd8";

    (void)state;
    assert_int_equal(read_all(SLICE(SIGNATURE "\x20\0\0\0GET"), &header, &reason), PROXY_DONE);
    assert_false(header.is_known);
    assert_int_equal(header.bytes, 16);
    /* LOCAL says nothing, whatever it carries. */
    assert_int_equal(read_all(SLICE(SIGNATURE "\x20\x11\0\x03"
                                              "abc"),
                              &header, &reason),
                     PROXY_DONE);
    assert_int_equal(header.bytes, 19);
    assert_int_equal(read_all((struct slice){bytes, sizeof(bytes)}, &header, &reason), PROXY_DONE);
    assert_false(header.is_known);
}

static void what_is_written_reads_the_same(void **state)
{
    static const char *const lines[] = {"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n",
                                        "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n",
                                        "PROXY UNKNOWN\r\n"};
    char bytes[PROXY_WRITE_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        for (unsigned version = 1; version <= 2; version++) {
            struct proxy_header header, again;
            const char *reason;
            size_t len;

            assert_int_equal(read_all(slice_from(lines[i]), &header, &reason), PROXY_DONE);
            len = proxy_header_write(version, &header, bytes);
            if (version == 1)
                assert_memory_equal(bytes, lines[i], len);
            assert_int_equal(proxy_header_read(bytes, len, &again, &reason), PROXY_DONE);
            assert_int_equal(again.bytes, len);
            again.bytes = header.bytes;
            assert_memory_equal(&again, &header, sizeof(header));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_names_both_ends),
        cmocka_unit_test(an_unknown_client_keeps_the_connections_addresses),
        cmocka_unit_test(every_beginning_of_a_header_wants_more),
        cmocka_unit_test(lines_have_one_form),
        cmocka_unit_test(a_line_ends_within_107_bytes),
        cmocka_unit_test(binary_headers_are_checked),
        cmocka_unit_test(a_right_checksum_passes),
        cmocka_unit_test(local_and_other_families_keep_the_connections_addresses),
        cmocka_unit_test(what_is_written_reads_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
