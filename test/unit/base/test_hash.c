#include "base/hash.h"
#include "unit.h"

static void siphash_matches_the_vectors_of_its_paper(void **state)
{
    (void)state;
    uint8_t key[16], message[64];
    for (uint8_t i = 0; i < 16; i++)
        key[i] = i;
    for (uint8_t i = 0; i < 64; i++)
        message[i] = i;
    assert_true(hash_keyed(message, 0, key) == 0x726fdb47dd0e0e31u);
    assert_true(hash_keyed(message, 1, key) == 0x74f839c593dc67fdu);
    assert_true(hash_keyed(message, 7, key) == 0xab0200f58b01d137u);
    assert_true(hash_keyed(message, 8, key) == 0x93f5f5799a932462u);
    assert_true(hash_keyed(message, 15, key) == 0xa129ca6149be45e5u);
    key[3] ^= 1;
    assert_true(hash_keyed(message, 15, key) != 0xa129ca6149be45e5u);
}

static void crc32c_matches_rfc_3720(void **state)
{
    (void)state;
    uint8_t bytes[32] = {0};
    assert_int_equal(hash_crc32c(0, bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, 32);
    assert_int_equal(hash_crc32c(0, bytes, 32), 0x62a8ab43u);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    assert_int_equal(hash_crc32c(0, bytes, 32), 0x46dd794eu);
    assert_int_equal(hash_crc32c(0, "123456789", 9), 0xe3069283u);
}

static void crc32c_can_be_continued(void **state)
{
    (void)state;
    const char text[] = "the quick brown fox jumps over the lazy dog";
    uint32_t whole = hash_crc32c(0, text, sizeof(text));
    for (size_t at = 0; at <= sizeof(text); at++)
        assert_int_equal(hash_crc32c(hash_crc32c(0, text, at), text + at, sizeof(text) - at),
                         whole);
}

static void sha256_matches_its_standard(void **state)
{
    (void)state;
    const struct {
        const char *text, *digest;
    } rows[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"0123456789012345678901234567890123456789012345678901234567890123",
         "9674d9e078535b7cec43284387a6ee39956188e735a85452b0050b55341cda56"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t digest[32];
        char hex[65];
        hash_sha256(rows[i].text, strlen(rows[i].text), digest);
        for (size_t n = 0; n < 32; n++)
            snprintf(hex + 2 * n, 3, "%02x", digest[n]);
        assert_string_equal(hex, rows[i].digest);
    }
}

static void the_fast_hash_tells_near_inputs_apart(void **state)
{
    (void)state;
    enum { COUNT = 4096 };
    static uint64_t seen[COUNT];
    unsigned buckets[64] = {0};
    for (uint32_t i = 0; i < COUNT; i++) {
        seen[i] = hash_fast(&i, sizeof(i), 1);
        buckets[seen[i] & 63]++;
    }
    for (size_t i = 0; i < COUNT; i++)
        for (size_t j = i + 1; j < COUNT; j++)
            if (seen[i] == seen[j])
                fail();
    for (size_t i = 0; i < 64; i++)
        assert_in_range(buckets[i], 30, 110); /* 64 on average */
    assert_true(hash_fast("a", 1, 1) != hash_fast("a\0", 2, 1));
    assert_true(hash_fast("a", 1, 1) != hash_fast("a", 1, 2));
    /* It is written to disk, so it may never change. */
    assert_true(hash_fast("slipway", 7, 0) == 0xe5d55e3a5a512357u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_matches_the_vectors_of_its_paper),
        cmocka_unit_test(crc32c_matches_rfc_3720),
        cmocka_unit_test(crc32c_can_be_continued),
        cmocka_unit_test(sha256_matches_its_standard),
        cmocka_unit_test(the_fast_hash_tells_near_inputs_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
