#include "base/arena.h"
#include "unit.h"

static void memory_is_zeroed_and_aligned_for_any_type(void **state)
{
    (void)state;
    CLEANUP(arena_freep) struct arena *arena = arena_new(1 << 20);
    for (size_t size = 0; size < 3000; size = size * 2 + 1) {
        unsigned char *memory = arena_alloc(arena, size);
        assert_int_equal((uintptr_t)memory % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(memory[i], 0);
        memset(memory, 0xff, size);
    }
}

static void beyond_the_ceiling_there_is_nothing(void **state)
{
    (void)state;
    CLEANUP(arena_freep) struct arena *arena = arena_new(1024);
    assert_non_null(arena_try(arena, 1000));
    assert_null(arena_try(arena, 100));
    assert_non_null(arena_try(arena, 16));
    assert_null(arena_try(arena, SIZE_MAX));
    assert_true(arena_used(arena) <= 1024);
}

static void clearing_gives_the_memory_again_zeroed(void **state)
{
    (void)state;
    CLEANUP(arena_freep) struct arena *arena = arena_new(1 << 20);
    char *first = arena_alloc(arena, 100);
    memset(first, 'x', 100);
    arena_alloc(arena, 100000);
    arena_clear(arena);
    assert_int_equal(arena_used(arena), 0);
    char *again = arena_alloc(arena, 100);
    assert_ptr_equal(again, first);
    assert_int_equal(again[50], 0);
}

static void many_pieces_stay_what_they_were(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    CLEANUP(arena_freep) struct arena *arena = arena_new(SIZE_MAX);
    char *texts[COUNT], wanted[32];
    for (int i = 0; i < COUNT; i++)
        texts[i] = arena_printf(arena, "%d:%*d", i, i % 400, i);
    for (int i = 0; i < COUNT; i++) {
        snprintf(wanted, sizeof(wanted), "%d:", i);
        assert_memory_equal(texts[i], wanted, strlen(wanted));
    }
}

static void texts_and_slices_are_copied_with_a_nul(void **state)
{
    (void)state;
    CLEANUP(arena_freep) struct arena *arena = arena_new(1 << 20);
    char source[] = "hello";
    struct slice copy = arena_slice(arena, (struct slice){source, 3});
    char *text = arena_text(arena, source);
    source[0] = 'J';
    assert_slice_equal(copy, "hel");
    assert_int_equal(copy.ptr[3], 0);
    assert_string_equal(text, "hello");
    assert_null(arena_text(arena, NULL));
    assert_string_equal(arena_slice_text(arena, (struct slice){0}), "");
    arena_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_and_aligned_for_any_type),
        cmocka_unit_test(beyond_the_ceiling_there_is_nothing),
        cmocka_unit_test(clearing_gives_the_memory_again_zeroed),
        cmocka_unit_test(many_pieces_stay_what_they_were),
        cmocka_unit_test(texts_and_slices_are_copied_with_a_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
