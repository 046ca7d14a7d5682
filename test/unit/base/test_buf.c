#include "base/buf.h"
#include "unit.h"

static void appended_pieces_stand_in_order_and_end_in_nul(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf buf = BUF_INIT(1000);
    assert_string_equal(buf_text(&buf), "");
    buf_append_text(&buf, "a");
    buf_append_byte(&buf, '=');
    buf_append_u64(&buf, UINT64_MAX);
    buf_append_slice(&buf, SLICE(";"));
    buf_append_u64(&buf, 0);
    buf_printf(&buf, " %s:%d", "x", -1);
    assert_string_equal(buf.ptr, "a=18446744073709551615;0 x:-1");
    assert_int_equal(buf.len, strlen(buf.ptr));
    assert_false(buf.failed);
}

static void the_ceiling_can_be_reached_but_not_passed(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf buf = BUF_INIT(4);
    buf_append_text(&buf, "abcd");
    assert_false(buf.failed);
    buf_append_byte(&buf, 'e');
    assert_true(buf.failed);
    assert_string_equal(buf_text(&buf), "abcd");
}

static void a_failure_sticks_until_the_buffer_is_cleared(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf buf = BUF_INIT(4);
    buf_append_text(&buf, "ab");
    buf_append_text(&buf, "too long");
    assert_true(buf.failed);
    buf_append_byte(&buf, 'c');
    assert_null(buf_reserve(&buf, 0));
    assert_slice_equal(buf_slice(&buf), "ab");
    buf_clear(&buf);
    buf_append_text(&buf, "xyz");
    assert_false(buf.failed);
    assert_string_equal(buf_text(&buf), "xyz");
}

static void formatted_text_beyond_the_ceiling_leaves_the_content(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf buf = BUF_INIT(100);
    buf_append_text(&buf, "kept");
    buf_printf(&buf, "%200d", 1);
    assert_true(buf.failed);
    assert_string_equal(buf_text(&buf), "kept");
}

static void formatted_text_grows_the_buffer(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf buf = BUF_INIT(5000);
    for (int i = 0; i < 40; i++)
        buf_printf(&buf, "%100d", i);
    assert_false(buf.failed);
    assert_int_equal(buf.len, 4000);
    assert_memory_equal(buf.ptr + 3990, "        39", 10);
}

static void reserved_room_is_filled_by_the_caller(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf buf = BUF_INIT(10);
    char *to = buf_reserve(&buf, 10);
    assert_non_null(to);
    memset(to, 'x', 10);
    buf.len += 10;
    assert_null(buf_reserve(&buf, 1));
    assert_true(buf.failed);
    CLEANUP(buf_done) struct buf huge = BUF_INIT(SIZE_MAX);
    buf_append_byte(&huge, 'x');
    assert_null(buf_reserve(&huge, SIZE_MAX)); /* no overflow */
}

static void consuming_moves_the_rest_to_the_front(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf buf = BUF_INIT(10);
    buf_append_text(&buf, "abcdef");
    buf_consume(&buf, 4);
    assert_string_equal(buf_text(&buf), "ef");
    buf_consume(&buf, 2);
    assert_string_equal(buf_text(&buf), "");
    buf_consume(&buf, 0);
}

static void taking_moves_the_memory_out(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(10);
    char *empty = buf_take(&buf);
    assert_string_equal(empty, "");
    free(empty);
    buf_append_text(&buf, "abc");
    char *taken = buf_take(&buf);
    assert_string_equal(taken, "abc");
    free(taken);
    assert_int_equal(buf.len, 0);
    assert_int_equal(buf.limit, 10);
    buf_done(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appended_pieces_stand_in_order_and_end_in_nul),
        cmocka_unit_test(the_ceiling_can_be_reached_but_not_passed),
        cmocka_unit_test(a_failure_sticks_until_the_buffer_is_cleared),
        cmocka_unit_test(formatted_text_beyond_the_ceiling_leaves_the_content),
        cmocka_unit_test(formatted_text_grows_the_buffer),
        cmocka_unit_test(reserved_room_is_filled_by_the_caller),
        cmocka_unit_test(consuming_moves_the_rest_to_the_front),
        cmocka_unit_test(taking_moves_the_memory_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
