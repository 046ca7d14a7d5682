#include "base/network.h"

#include <arpa/inet.h>

#include "base/error.h"

static bool bits_are_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    unsigned mask = rest ? (0xff00u >> rest) & 0xffu : 0;

    return memcmp(a, b, whole) == 0 && (rest == 0 || ((a[whole] ^ b[whole]) & mask) == 0);
}

static int parse_address(struct slice text, uint8_t ret_address[16], unsigned *ret_bits)
{
    char copy[INET6_ADDRSTRLEN];

    if (text.len == 0 || text.len >= sizeof copy)
        return ERR_INVALID;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    *ret_bits = 128;
    if (inet_pton(AF_INET6, copy, ret_address) == 1)
        return 0;
    *ret_bits = 32;
    memcpy(ret_address, (const uint8_t[12]){[10] = 0xff, [11] = 0xff}, 12);
    return inet_pton(AF_INET, copy, ret_address + 12) == 1 ? 0 : ERR_INVALID;
}

int network_parse(struct slice text, struct network *ret_network)
{
    struct network network = {0};
    struct slice rest = text, address = slice_cut(&rest, '/');
    uint64_t bits;
    unsigned width;

    if (parse_address(address, network.address, &width) < 0)
        return ERR_INVALID;
    bits = width;
    if (address.len < text.len && (slice_to_u64(rest, &bits) < 0 || bits > width))
        return ERR_INVALID;
    network.prefix_bits = 128 - width + (unsigned)bits;
    for (unsigned i = network.prefix_bits; i < 128; i++)
        network.address[i / 8] &= (uint8_t) ~(0x80u >> i % 8);
    *ret_network = network;
    return 0;
}

bool network_contains(const struct network *network, const uint8_t address[16])
{
    return bits_are_equal(network->address, address, network->prefix_bits);
}
