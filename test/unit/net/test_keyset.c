#include "unit.h"

#include "net/keyset.h"

static struct buf built(size_t count)
{
    struct keyset_key keys[4];
    struct buf block = BUF_INIT(65536);

    for (size_t i = 0; i < count; i++) {
        memset(keys[i].id, 'd' - (int)i, sizeof(keys[i].id)); /* backwards */
        keys[i].der = slice_from(i % 2 ? "odd" : "even key");
    }
    assert_int_equal(keyset_build(keys, count, 9, &block, NULL), 0);
    return block;
}

static void keys_are_found_by_their_id(void **state)
{
    struct buf block = built(4);
    struct keyset keyset;
    uint8_t id[PEER_KEY_ID_BYTES];

    (void)state;
    assert_int_equal(keyset_open(block.ptr, block.len, &keyset, NULL), 0);
    assert_int_equal(keyset.header->version, 9);
    memset(id, 'd', sizeof(id));
    assert_slice_equal(keyset_find(&keyset, id), "even key");
    memset(id, 'c', sizeof(id));
    assert_slice_equal(keyset_find(&keyset, id), "odd");
    id[31]++;
    assert_int_equal(keyset_find(&keyset, id).len, 0);
    buf_done(&block);
}

static void an_empty_set_is_one(void **state)
{
    struct buf block = built(0);
    struct keyset keyset;
    uint8_t id[PEER_KEY_ID_BYTES] = {0};

    (void)state;
    assert_int_equal(keyset_open(block.ptr, block.len, &keyset, NULL), 0);
    assert_int_equal(keyset_find(&keyset, id).len, 0);
    buf_done(&block);
}

static void the_same_id_is_kept_once(void **state)
{
    struct keyset_key keys[2] = {{.der = SLICE("a")}, {.der = SLICE("b")}};
    struct buf block = BUF_INIT(65536);
    struct keyset keyset;

    (void)state;
    assert_int_equal(keyset_build(keys, 2, 1, &block, NULL), 0);
    assert_int_equal(keyset_open(block.ptr, block.len, &keyset, NULL), 0);
    assert_int_equal(keyset.header->count, 1);
    buf_done(&block);
}

static void a_key_that_is_empty_or_too_large_is_not_taken(void **state)
{
    static char large[KEYSET_KEY_MAX + 1];
    struct keyset_key key = {.der = {large, sizeof(large)}};
    struct buf block = BUF_INIT(65536), small = BUF_INIT(40);

    (void)state;
    assert_int_equal(keyset_build(&key, 1, 1, &block, NULL), ERR_LIMIT);
    key.der.len = 0;
    assert_int_equal(keyset_build(&key, 1, 1, &block, NULL), ERR_LIMIT);
    key.der.len = 10;
    assert_int_equal(keyset_build(&key, 1, 1, &small, NULL), ERR_LIMIT);
    assert_int_equal(block.len, 0);
    buf_done(&block);
    buf_done(&small);
}

static void a_damaged_set_is_refused(void **state)
{
    struct buf block = built(3);
    struct keyset_header *header = (struct keyset_header *)(void *)block.ptr;
    struct keyset_entry *entries = (struct keyset_entry *)(void *)(header + 1);
    struct keyset keyset;

    (void)state;
#define MUST_REFUSE(field, value, code)                                                            \
    do {                                                                                           \
        __typeof__(field) kept_ = (field);                                                         \
        (field) = (value);                                                                         \
        assert_int_equal(keyset_open(block.ptr, block.len, &keyset, NULL), (code));                \
        (field) = kept_;                                                                           \
        assert_int_equal(keyset_open(block.ptr, block.len, &keyset, NULL), 0);                     \
    } while (0)
    for (size_t len = 0; len < block.len; len++)
        assert_int_equal(keyset_open(block.ptr, len, &keyset, NULL), ERR_INVALID);
    MUST_REFUSE(header->magic, 1, ERR_INVALID);
    MUST_REFUSE(header->format_version, 2, ERR_VERSION);
    MUST_REFUSE(header->total_bytes, block.len + 1, ERR_INVALID);
    MUST_REFUSE(header->count, 4, ERR_INVALID);
    MUST_REFUSE(header->count, KEYSET_KEYS_MAX + 1, ERR_INVALID);
    MUST_REFUSE(header->count, UINT32_MAX, ERR_INVALID);
    MUST_REFUSE(entries[1].offset, 0, ERR_INVALID);
    MUST_REFUSE(entries[1].offset, UINT32_MAX, ERR_INVALID);
    MUST_REFUSE(entries[2].len, 0, ERR_INVALID);
    MUST_REFUSE(entries[2].len, KEYSET_KEY_MAX + 1, ERR_INVALID);
    MUST_REFUSE(entries[0].id[0], 'z', ERR_INVALID);
    memcpy(entries[1].id, entries[0].id, PEER_KEY_ID_BYTES);
    assert_int_equal(keyset_open(block.ptr, block.len, &keyset, NULL), ERR_INVALID);
    buf_done(&block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_found_by_their_id),
        cmocka_unit_test(an_empty_set_is_one),
        cmocka_unit_test(the_same_id_is_kept_once),
        cmocka_unit_test(a_key_that_is_empty_or_too_large_is_not_taken),
        cmocka_unit_test(a_damaged_set_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
