/* store_test.h - a store in a folder of its own, and short words for what the tests of this room do
 * all the time. */
#ifndef TEST_STORE_TEST_H
#define TEST_STORE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "os/file.h"
#include "store/store.h"
#include <unistd.h>

struct fixture {
    char directory[64];
    struct store *store;
    struct arena *arena;
    struct error err;
};

static inline int fixture_setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    if (!fixture)
        return -1;
    snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/slipway-store-XXXXXX");
    if (!mkdtemp(fixture->directory))
        return -1;
    fixture->arena = arena_new((size_t)64 * 1024 * 1024);
    if (store_open(fixture->directory, &fixture->store, &fixture->err) != 0) {
        print_error("%s\n", fixture->err.text);
        return -1;
    }
    *state = fixture;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    clock_real();
    store_close(fixture->store);
    arena_free(fixture->arena);
    int result = directory_remove_tree(fixture->directory, NULL);
    free(fixture);
    return result;
}

static inline void reopen(struct fixture *fixture)
{
    store_closep(&fixture->store);
    assert_int_equal(store_open(fixture->directory, &fixture->store, &fixture->err), 0);
}

static inline void set(struct fixture *fixture, const char *key, const char *value)
{
    assert_int_equal(store_set(fixture->store, key, slice_from(value), &fixture->err), 0);
}

/* The value, or NULL. */
static inline const char *get(struct fixture *fixture, const char *key)
{
    struct store_entry entry;
    int result = store_get(fixture->store, key, fixture->arena, &entry, &fixture->err);
    if (result == ERR_NOT_FOUND)
        return NULL;
    assert_int_equal(result, 0);
    return entry.value.ptr;
}

static inline struct store_entry entry_of(struct fixture *fixture, const char *key)
{
    struct store_entry entry;
    assert_int_equal(store_get(fixture->store, key, fixture->arena, &entry, &fixture->err), 0);
    return entry;
}

static inline const char *path_in(struct fixture *fixture, const char *name)
{
    return path_join(fixture->arena, fixture->directory, name);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

#endif
