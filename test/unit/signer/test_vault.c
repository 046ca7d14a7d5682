#include "signer_keys.h"

#include "base/clock.h"
#include "signer/vault.h"

static const struct slice digest = {"0123456789abcdef0123456789abcdef", 32};

static int sign(struct vault *vault, const struct made_key *key)
{
    uint8_t signature[PEER_SIGNATURE_MAX];
    size_t len;

    return vault_sign(vault, key->id, PEER_SIGN_ECDSA, digest, signature, &len);
}

static void replace(struct vault *vault, const struct made_key *keys, size_t count,
                    uint64_t version)
{
    int fd = keys_fd(keys, count, version);

    assert_int_equal(vault_replace(vault, fd, NULL), 0);
    (void)close(fd);
}

static void a_key_signs_as_long_as_the_set_has_it(void **state)
{
    struct made_key keys[2] = {key_make(), key_make()};
    struct vault *vault = vault_new();

    (void)state;
    assert_int_equal(sign(vault, &keys[0]), ERR_NOT_FOUND);
    replace(vault, keys, 1, 5);
    assert_int_equal(vault_version(vault), 5);
    assert_int_equal(sign(vault, &keys[0]), 0);
    assert_int_equal(sign(vault, &keys[1]), ERR_NOT_FOUND);
    replace(vault, keys + 1, 1, 6);
    assert_int_equal(sign(vault, &keys[0]), ERR_NOT_FOUND);
    assert_int_equal(sign(vault, &keys[1]), 0);
    vault_free(vault);
    key_done(&keys[0]);
    key_done(&keys[1]);
}

static void a_key_signs_only_what_its_kind_signs(void **state)
{
    struct made_key key = key_make();
    struct vault *vault = vault_new();
    uint8_t signature[PEER_SIGNATURE_MAX];
    size_t len;

    (void)state;
    replace(vault, &key, 1, 1);
    assert_int_equal(vault_sign(vault, key.id, PEER_SIGN_RSA_RAW, digest, signature, &len),
                     ERR_INVALID);
    assert_int_equal(vault_sign(vault, key.id, PEER_SIGN_ED25519, digest, signature, &len),
                     ERR_INVALID);
    vault_free(vault);
    key_done(&key);
}

static void what_is_no_key_set_leaves_the_one_before_in_use(void **state)
{
    struct made_key key = key_make();
    struct vault *vault = vault_new();
    struct error err = {0};
    int fd;

    (void)state;
    replace(vault, &key, 1, 3);
    assert_int_equal(
        memory_sealed("keys", SLICE("no keys, only text that is long enough"), &fd, NULL), 0);
    assert_int_equal(vault_replace(vault, fd, &err), ERR_INVALID);
    (void)close(fd);
    assert_int_equal(memory_shared("keys", 4096, &fd, NULL), 0);
    assert_int_equal(vault_replace(vault, fd, &err), ERR_INVALID); /* could still change */
    (void)close(fd);
    assert_int_equal(vault_version(vault), 3);
    assert_int_equal(sign(vault, &key), 0);
    vault_free(vault);
    key_done(&key);
}

static void keys_that_cannot_be_read_are_counted_and_not_used(void **state)
{
    struct made_key keys[3] = {key_make(), key_make(), key_make()};
    struct vault *vault = vault_new();

    (void)state;
    keys[0].der.ptr[20] ^= 1; /* damaged */
    keys[1].id[0] ^= 1;       /* under another id */
    replace(vault, keys, 3, 1);
    assert_true(vault_try_keys(vault, UINT32_MAX));
    assert_int_equal(vault_refused(vault), 2);
    assert_int_equal(sign(vault, &keys[1]), ERR_INVALID);
    assert_int_equal(sign(vault, &keys[2]), 0);
    vault_free(vault);
    for (size_t i = 0; i < 3; i++)
        key_done(&keys[i]);
}

static void trying_keys_stops_when_its_time_is_over(void **state)
{
    struct made_key keys[2] = {key_make(), key_make()};
    struct vault *vault = vault_new();

    (void)state;
    replace(vault, keys, 2, 1);
    assert_false(vault_try_keys(vault, 0));
    assert_true(vault_try_keys(vault, UINT32_MAX));
    vault_free(vault);
    key_done(&keys[0]);
    key_done(&keys[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_signs_as_long_as_the_set_has_it),
        cmocka_unit_test(a_key_signs_only_what_its_kind_signs),
        cmocka_unit_test(what_is_no_key_set_leaves_the_one_before_in_use),
        cmocka_unit_test(keys_that_cannot_be_read_are_counted_and_not_used),
        cmocka_unit_test(trying_keys_stops_when_its_time_is_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
