/* What the store keeps of ACME, and for how long. */
#include "unit.h"

#include "base/clock.h"
#include "control/acme_private.h"
#include "os/file.h"
#include "store/store.h"

#define DAY_US (24ull * 3600 * 1000000)

struct fixture {
    struct loop *loop;
    struct store *store;
    struct https_client *https;
    struct acme_handler handler;
    struct acme *acme;
    char folder[UNIT_PATH_SIZE];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    unit_folder(f->folder);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    assert_int_equal(store_open(f->folder, &f->store, NULL), 0);
    f->https = https_client_new(f->loop);
    assert_int_equal(acme_new(f->loop, f->store, f->https, &f->handler, NULL, &f->acme, NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    acme_free(f->acme);
    https_client_free(f->https);
    store_close(f->store);
    loop_free(f->loop);
    assert_int_equal(directory_remove_tree(f->folder, NULL), 0);
    free(f);
    return 0;
}

static void put_time(struct fixture *f, const char *key, const char *member, int64_t days)
{
    char value[128], text[CLOCK_TEXT_SIZE];
    uint64_t at_us = (uint64_t)((int64_t)clock_wall_us() + days * (int64_t)DAY_US);
    snprintf(value, sizeof(value), "{\"%s\":\"%s\"}", member, clock_format(at_us, text));
    assert_int_equal(store_set(f->store, key, slice_from(value), NULL), 0);
}

static bool has(struct fixture *f, const char *key)
{
    struct arena *arena = arena_new(1024 * 1024);
    struct store_entry entry;
    int code = store_get(f->store, key, arena, &entry, NULL);
    arena_free(arena);
    assert_true(code == 0 || code == ERR_NOT_FOUND);
    return code == 0;
}

static void what_nobody_wants_any_more_is_forgotten_when_it_is_over(void **state)
{
    struct fixture *f = *state;
    static const char *const gone[] = {
        "/acme/certificates/old.test", "/acme/keys/certificate/old.test", "/acme/names/old.test",
        "/acme/orders/tried.test",     "/acme/keys/order/tried.test",     "/acme/names/failed.test",
    };
    static const char *const kept[] = {
        "/acme/certificates/new.test", "/acme/keys/certificate/new.test",
        "/acme/orders/lately.test",    "/acme/keys/order/lately.test",
        "/acme/names/lately.test",     "/acme/certificates/wanted.test",
        "/acme/names/wanted.test",     "/acme/orders/wanted.test",
    };
    static const char *const names[] = {"wanted.test"};
    static const struct acme_ca ca = {.directory = "http://127.0.0.1:1/directory"};
    const struct acme_spec spec = {.names = names, .name_count = 1, .cas = &ca, .ca_count = 1};
    put_time(f, "/acme/certificates/old.test", "not_after", -1);
    put_time(f, "/acme/keys/certificate/old.test", "key", 0);
    put_time(f, "/acme/names/old.test", "last_error_at", -2);
    put_time(f, "/acme/orders/tried.test", "created_at", -8);
    put_time(f, "/acme/keys/order/tried.test", "key", 0);
    put_time(f, "/acme/names/failed.test", "last_error_at", -31);
    put_time(f, "/acme/certificates/new.test", "not_after", 1);
    put_time(f, "/acme/keys/certificate/new.test", "key", 0);
    put_time(f, "/acme/orders/lately.test", "created_at", -6);
    put_time(f, "/acme/keys/order/lately.test", "key", 0);
    put_time(f, "/acme/names/lately.test", "last_error_at", -29);
    put_time(f, "/acme/certificates/wanted.test", "not_after", -1);
    put_time(f, "/acme/names/wanted.test", "last_error_at", -31);
    put_time(f, "/acme/orders/wanted.test", "created_at", -8);
    assert_int_equal(acme_want(f->acme, &spec, NULL), 0);
    acme_record_drop_old(f->acme);
    for (size_t i = 0; i < ARRAY_LEN(gone); i++)
        assert_false(has(f, gone[i]));
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        assert_true(has(f, kept[i]));
}

static void many_are_forgotten_in_one_go(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 120; i++) {
        char key[64];
        snprintf(key, sizeof(key), "/acme/certificates/old-%u.test", i);
        put_time(f, key, "not_after", -1);
    }
    acme_record_drop_old(f->acme);
    for (unsigned i = 0; i < 120; i++) {
        char key[64];
        snprintf(key, sizeof(key), "/acme/certificates/old-%u.test", i);
        assert_false(has(f, key));
    }
}

/* An order that is halted for another spec must not be left standing because the spec is refused.
 */
static void settings_that_are_too_long_are_refused_before_anything_changes(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"a.test"};
    static char hook[128 * 1024];
    static const struct acme_ca ca = {.directory = "http://127.0.0.1:1/directory"};
    struct acme_spec spec = {
        .names = names, .name_count = 1, .cas = &ca, .ca_count = 1, .is_check_skipped = true};
    struct acme_status status;
    struct error err = {0};
    memset(hook, 'x', sizeof(hook) - 1);
    assert_int_equal(acme_want(f->acme, &spec, NULL), 0);
    acme_start(f->acme);
    for (int i = 0; i < 3; i++)
        assert_int_equal(loop_turn(f->loop, 10, NULL), 0);
    assert_int_equal(acme_status(f->acme, "a.test", &status), 0);
    assert_int_equal(status.state, ACME_ORDERING);
    spec.dns_hook = hook;
    assert_int_equal(acme_want(f->acme, &spec, &err), ERR_LIMIT);
    struct acme_order *order = container_of(f->acme->orders.next, struct acme_order, node);
    assert_false(list_is_empty(&f->acme->orders));
    assert_non_null(order->deadline.loop);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_nobody_wants_any_more_is_forgotten_when_it_is_over),
        TEST(many_are_forgotten_in_one_go),
        TEST(settings_that_are_too_long_are_refused_before_anything_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
