#include "base/hash.h"

#include <endian.h>
#include <pthread.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

static uint64_t load64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return le64toh(value);
}

/* The last 0..7 bytes as a little-endian number. */
static uint64_t load_tail(const uint8_t *at, size_t len)
{
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

/* ---- hash_fast: fold a 64x64 to 128 bit product, eight bytes a step ------------------------- */

static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t hash_fast(const void *bytes, size_t len, uint64_t seed)
{
    const uint64_t first = 0x9e3779b97f4a7c15u, second = 0xd1b54a32d192ed03u;
    const uint8_t *at = bytes;
    size_t left = len;
    uint64_t state = seed ^ first;
    for (; left >= 8; at += 8, left -= 8)
        state = fold(state ^ load64(at), second);
    state = fold(state ^ load_tail(at, left), second);
    return fold(state ^ len, first);
}

/* ---- hash_keyed: SipHash-2-4 (Aumasson, Bernstein: SipHash: a fast short-input PRF, 2012) --- */

static uint64_t rotate64(uint64_t value, unsigned bits)
{
    return value << bits | value >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate64(v[1], 13) ^ v[0];
    v[0] = rotate64(v[0], 32);
    v[2] += v[3];
    v[3] = rotate64(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate64(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate64(v[1], 17) ^ v[2];
    v[2] = rotate64(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    sip_round(v);
    v[0] ^= word;
}

uint64_t hash_keyed(const void *bytes, size_t len, const uint8_t key[16])
{
    uint64_t k0 = load64(key), k1 = load64(key + 8);
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du, k0 ^ 0x6c7967656e657261u,
                     k1 ^ 0x7465646279746573u};
    const uint8_t *at = bytes;
    size_t left = len;
    for (; left >= 8; at += 8, left -= 8)
        sip_word(v, load64(at));
    sip_word(v, load_tail(at, left) | (uint64_t)len << 56);
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- CRC-32C: the processor's instruction where it has one, else a table -------------------- */

static uint32_t crc_table[256];
static pthread_once_t crc_table_once = PTHREAD_ONCE_INIT;

static void crc_table_build(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? 0x82f63b78u : 0);
        crc_table[i] = value;
    }
}

static uint32_t crc_by_table(uint32_t crc, const uint8_t *at, size_t len)
{
    pthread_once(&crc_table_once, crc_table_build);
    for (size_t i = 0; i < len; i++)
        crc = crc >> 8 ^ crc_table[(crc ^ at[i]) & 0xff];
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_by_instruction(uint32_t crc,
                                                                     const uint8_t *at, size_t len)
{
    uint64_t wide = crc;
    for (; len >= 8; at += 8, len -= 8)
        wide = _mm_crc32_u64(wide, load64(at));
    crc = (uint32_t)wide;
    for (; len; at++, len--)
        crc = _mm_crc32_u8(crc, *at);
    return crc;
}
#endif

uint32_t hash_crc32c(uint32_t crc, const void *bytes, size_t len)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_by_instruction(~crc, bytes, len);
#endif
    return ~crc_by_table(~crc, bytes, len);
}

/* ---- SHA-256 (FIPS 180-4) ------------------------------------------------------------------- */

static const uint32_t sha_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate_right32(uint32_t value, unsigned bits)
{
    return value >> bits | value << (32 - bits);
}

static void sha_block(uint32_t state[8], const uint8_t block[64])
{
    uint32_t w[64];
    for (int i = 0; i < 16; i++) {
        uint32_t word;
        memcpy(&word, block + 4 * i, sizeof(word));
        w[i] = be32toh(word);
    }
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        uint32_t s0 = rotate_right32(a, 7) ^ rotate_right32(a, 18) ^ a >> 3;
        uint32_t s1 = rotate_right32(b, 17) ^ rotate_right32(b, 19) ^ b >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t v[8];
    memcpy(v, state, sizeof(v));
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = rotate_right32(v[4], 6) ^ rotate_right32(v[4], 11) ^ rotate_right32(v[4], 25);
        uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t t1 = v[7] + s1 + choice + sha_constants[i] + w[i];
        uint32_t s0 = rotate_right32(v[0], 2) ^ rotate_right32(v[0], 13) ^ rotate_right32(v[0], 22);
        uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        memmove(v + 1, v, 7 * sizeof(v[0]));
        v[4] += t1;
        v[0] = t1 + s0 + majority;
    }
    for (int i = 0; i < 8; i++)
        state[i] += v[i];
}

void hash_sha256(const void *bytes, size_t len, uint8_t ret_digest[32])
{
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    const uint8_t *at = bytes;
    size_t left = len;
    for (; left >= 64; at += 64, left -= 64)
        sha_block(state, at);

    /* One or two closing blocks: the rest, a set bit, zeroes, the length in bits. */
    uint8_t closing[128] = {0};
    if (left)
        memcpy(closing, at, left);
    closing[left] = 0x80;
    size_t closing_len = left < 56 ? 64 : 128;
    uint64_t bits = htobe64((uint64_t)len * 8);
    memcpy(closing + closing_len - 8, &bits, 8);
    sha_block(state, closing);
    if (closing_len == 128)
        sha_block(state, closing + 64);

    for (int i = 0; i < 8; i++) {
        uint32_t word = htobe32(state[i]);
        memcpy(ret_digest + 4 * i, &word, sizeof(word));
    }
}
