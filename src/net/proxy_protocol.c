/* proxy_protocol.c - see proxy_protocol.h. */
#include "net/proxy_protocol.h"

#include "base/hash.h"
#include <arpa/inet.h>

#define SIGNATURE      "\r\n\r\n\0\r\nQUIT\n"
#define SIGNATURE_LEN  (sizeof(SIGNATURE) - 1)
#define HEAD_BYTES     16u
#define IPV4_BYTES     12u
#define IPV6_BYTES     36u
#define UNIX_BYTES     216u
#define TLV_HEAD_BYTES 3u
#define TYPE_CRC32C    0x03

static const uint8_t ipv4_prefix[12] = {[10] = 0xff, [11] = 0xff};

static bool is_ipv4(const uint8_t address[16])
{
    return memcmp(address, ipv4_prefix, sizeof(ipv4_prefix)) == 0;
}

static unsigned two_bytes(const char *at)
{
    return (unsigned)(uint8_t)at[0] << 8 | (uint8_t)at[1];
}

static enum proxy_result bad(const char **ret_reason, const char *reason)
{
    *ret_reason = reason;
    return PROXY_BAD;
}

/* ---- version 1: a line of text */

static bool read_port(struct slice text, uint16_t *ret_port)
{
    uint64_t number;

    if (text.len == 0 || text.len > 5 || (text.ptr[0] == '0' && text.len > 1) ||
        slice_to_u64(text, &number) != 0 || number > 65535)
        return false;
    *ret_port = (uint16_t)number;
    return true;
}

static bool read_address(struct slice text, int family, uint8_t ret_address[16])
{
    char copy[INET6_ADDRSTRLEN];

    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    if (family == AF_INET6)
        return inet_pton(AF_INET6, copy, ret_address) == 1;
    memcpy(ret_address, ipv4_prefix, sizeof(ipv4_prefix));
    return inet_pton(AF_INET, copy, ret_address + 12) == 1;
}

static enum proxy_result read_line(struct slice line, struct proxy_header *header,
                                   const char **ret_reason)
{
    struct slice rest = slice_sub(line, 6, line.len); /* behind "PROXY " */
    struct slice protocol = slice_cut(&rest, ' ');
    int family = slice_eq(protocol, SLICE("TCP6")) ? AF_INET6 : AF_INET;

    if (slice_eq(protocol, SLICE("UNKNOWN")))
        return PROXY_DONE; /* whatever follows */
    if (family == AF_INET && !slice_eq(protocol, SLICE("TCP4")))
        return bad(ret_reason, "PROXY header of an unknown protocol");
    if (!read_address(slice_cut(&rest, ' '), family, header->source.address) ||
        !read_address(slice_cut(&rest, ' '), family, header->destination.address))
        return bad(ret_reason, "PROXY header with an invalid address");
    if (!read_port(slice_cut(&rest, ' '), &header->source.port) ||
        !read_port(rest, &header->destination.port))
        return bad(ret_reason, "PROXY header with an invalid port");
    header->is_known = true;
    return PROXY_DONE;
}

static enum proxy_result read_version1(struct slice all, struct proxy_header *header,
                                       const char **ret_reason)
{
    struct slice seen = slice_sub(all, 0, MIN(all.len, (size_t)PROXY_V1_MAX));
    ptrdiff_t end = slice_find_byte(seen, '\n');

    if (end < 0)
        return seen.len == PROXY_V1_MAX ? bad(ret_reason, "PROXY header without an end")
                                        : PROXY_MORE;
    if (seen.ptr[end - 1] != '\r')
        return bad(ret_reason, "PROXY header without CRLF");
    header->bytes = (size_t)end + 1;
    return read_line(slice_sub(seen, 0, (size_t)end - 1), header, ret_reason);
}

/* ---- version 2: binary */

/* The checksum is that of the whole header with zeros in its place. */
static bool checksum_is_right(const char *bytes, size_t len, size_t at)
{
    static const char zeros[4];
    uint32_t crc = hash_crc32c(0, bytes, at), given;

    crc = hash_crc32c(crc, zeros, sizeof(zeros));
    crc = hash_crc32c(crc, bytes + at + 4, len - at - 4);
    memcpy(&given, bytes + at, sizeof(given));
    return ntohl(given) == crc;
}

static const char *check_tlvs(const char *bytes, size_t at, size_t len)
{
    while (at < len) {
        size_t value_len;

        if (len - at < TLV_HEAD_BYTES)
            return "PROXY header with half a TLV";
        value_len = two_bytes(bytes + at + 1);
        if (value_len > len - at - TLV_HEAD_BYTES)
            return "PROXY header with a TLV beyond its end";
        if (bytes[at] == TYPE_CRC32C &&
            (value_len != 4 || !checksum_is_right(bytes, len, at + TLV_HEAD_BYTES)))
            return "PROXY header with a wrong checksum";
        at += TLV_HEAD_BYTES + value_len;
    }
    return NULL;
}

static void take_addresses(const char *at, size_t address_len, struct proxy_header *header)
{
    struct proxy_address *both[] = {&header->source, &header->destination};

    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        if (address_len == 4)
            memcpy(both[i]->address, ipv4_prefix, sizeof(ipv4_prefix));
        memcpy(both[i]->address + 16 - address_len, at + i * address_len, address_len);
        both[i]->port = (uint16_t)two_bytes(at + 2 * address_len + 2 * i);
    }
    header->is_known = true;
}

static enum proxy_result read_version2(struct slice all, struct proxy_header *header,
                                       const char **ret_reason)
{
    static const size_t sizes[] = {0, IPV4_BYTES, IPV6_BYTES, UNIX_BYTES};
    unsigned command, family, transport;
    const char *reason;
    size_t len;

    if (all.len < HEAD_BYTES)
        return PROXY_MORE;
    command = (uint8_t)all.ptr[12];
    family = (uint8_t)all.ptr[13] >> 4;
    transport = (uint8_t)all.ptr[13] & 15;
    len = HEAD_BYTES + two_bytes(all.ptr + 14);
    if (command != 0x20 && command != 0x21)
        return bad(ret_reason, "PROXY header of an unknown version or command");
    if (len > PROXY_HEADER_MAX)
        return bad(ret_reason, "PROXY header is too long");
    /* LOCAL may carry anything, and it is skipped (§2.2). */
    if (command == 0x21 && (family >= ARRAY_LEN(sizes) || (family && transport != 1)))
        return bad(ret_reason, "PROXY header of an unknown protocol");
    if (all.len < len)
        return PROXY_MORE;
    header->bytes = len;
    if (command == 0x20 || family == 0)
        return PROXY_DONE;
    if (len - HEAD_BYTES < sizes[family])
        return bad(ret_reason, "PROXY header without its addresses");
    if ((reason = check_tlvs(all.ptr, HEAD_BYTES + sizes[family], len)))
        return bad(ret_reason, reason);
    if (family != 3)
        take_addresses(all.ptr + HEAD_BYTES, family == 1 ? 4 : 16, header);
    return PROXY_DONE;
}

enum proxy_result proxy_header_read(const char *bytes, size_t len, struct proxy_header *ret_header,
                                    const char **ret_reason)
{
    static const struct slice one = SLICE("PROXY "), two = {SIGNATURE, SIGNATURE_LEN};
    struct slice all = {bytes, len};
    struct proxy_header header = {0};
    enum proxy_result result;

    if (memcmp(bytes, one.ptr, MIN(len, one.len)) == 0)
        result = len < one.len ? PROXY_MORE : read_version1(all, &header, ret_reason);
    else if (memcmp(bytes, two.ptr, MIN(len, two.len)) == 0)
        result = len < two.len ? PROXY_MORE : read_version2(all, &header, ret_reason);
    else
        return bad(ret_reason, "no PROXY header");
    if (result == PROXY_DONE)
        *ret_header = header;
    return result;
}

/* ---- writing */

static char *put(char *at, const void *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}

static char *put_number(char *at, unsigned number)
{
    char digits[10];
    unsigned count = 0;

    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count)
        *at++ = digits[--count];
    return at;
}

static char *put_text(char *at, const uint8_t address[16], bool is_short)
{
    if (!inet_ntop(is_short ? AF_INET : AF_INET6, is_short ? address + 12 : address, at,
                   INET6_ADDRSTRLEN))
        abort();
    return at + strlen(at);
}

static size_t write_line(const struct proxy_header *header, bool is_short, char *bytes)
{
    char *at = put(bytes, is_short ? "PROXY TCP4 " : "PROXY TCP6 ", 11);

    at = put_text(at, header->source.address, is_short);
    *at++ = ' ';
    at = put_text(at, header->destination.address, is_short);
    *at++ = ' ';
    at = put_number(at, header->source.port);
    *at++ = ' ';
    at = put(put_number(at, header->destination.port), "\r\n", 2);
    return (size_t)(at - bytes);
}

static char *put_two(char *at, unsigned value)
{
    *at++ = (char)(value >> 8);
    *at++ = (char)value;
    return at;
}

size_t proxy_header_write(unsigned version, const struct proxy_header *header,
                          char bytes[PROXY_WRITE_MAX])
{
    /* Both addresses in one family: IPv4 only when both are. */
    bool is_short = is_ipv4(header->source.address) && is_ipv4(header->destination.address);
    size_t address_len = is_short ? 4 : 16;
    char *at;

    if (version == 1) {
        if (header->is_known)
            return write_line(header, is_short, bytes);
        return (size_t)(put(bytes, "PROXY UNKNOWN\r\n", 15) - bytes);
    }
    at = put(bytes, SIGNATURE, SIGNATURE_LEN);
    if (!header->is_known)
        return (size_t)(put(at, "\x20\0\0\0", 4) - bytes);
    *at++ = 0x21;
    *at++ = is_short ? 0x11 : 0x21;
    at = put_two(at, (unsigned)(2 * address_len + 4));
    at = put(at, header->source.address + 16 - address_len, address_len);
    at = put(at, header->destination.address + 16 - address_len, address_len);
    at = put_two(put_two(at, header->source.port), header->destination.port);
    return (size_t)(at - bytes);
}
