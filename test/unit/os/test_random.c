#include "os/random.h"
#include "unit.h"

static void every_byte_is_drawn(void **state)
{
    (void)state;
    unsigned char bytes[1000], zero[8] = {0};
    memset(bytes, 0, sizeof(bytes));
    random_bytes(bytes, sizeof(bytes) - 8);
    for (size_t i = 0; i + 16 < sizeof(bytes); i += 8)
        assert_memory_not_equal(bytes + i, zero, 8);
    assert_memory_equal(bytes + sizeof(bytes) - 8, zero, 8);
    assert_true(random_u64() != random_u64());
}

static void tokens_use_the_whole_alphabet_evenly(void **state)
{
    (void)state;
    enum { LEN = 62000 };
    static char token[LEN + 1];
    unsigned counts[256] = {0}, letters = 0;
    assert_ptr_equal(random_token(token, LEN), token);
    assert_int_equal(strlen(token), LEN);
    for (size_t i = 0; i < LEN; i++)
        counts[(unsigned char)token[i]]++;
    for (int c = 0; c < 256; c++) {
        if (!counts[c])
            continue;
        letters++;
        assert_in_range(counts[c], 750, 1250); /* 1000 on average, 8 standard deviations */
    }
    assert_int_equal(letters, 62);
    assert_string_equal(random_token(token, 0), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_drawn),
        cmocka_unit_test(tokens_use_the_whole_alphabet_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
