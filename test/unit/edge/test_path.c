#include "unit.h"

#include "edge/edge_private.h"

struct sample {
    const char *path, *wanted; /* NULL: refused */
};

static const struct sample samples[] = {
    {"/", "/"},
    {"/a/b", "/a/b"},
    {"/a/b/", "/a/b/"},
    {"//", "//"},
    {"/a//b", "/a//b"},
    {"/.", "/"},
    {"/..", NULL},
    {"/./", "/"},
    {"/../", NULL},
    {"/a/.", "/a/"},
    {"/a/..", "/"},
    {"/a/../", "/"},
    {"/a/../..", NULL},
    {"/a/b/../c", "/a/c"},
    {"/a/./././b", "/a/b"},
    {"/a//../b", "/a/b"},
    {"/a/b/../../c", "/c"},
    {"/...", "/..."},
    {"/.a/b./..c", "/.a/b./..c"},
    {"/%2e", "/"},
    {"/%2E%2e", NULL},
    {"/a/%2e%2e/b", "/b"},
    {"/a/%2e./b", "/b"},
    {"/%7e%41%5a%61%30%2d%5f", "/~AZa0-_"},
    {"/%2f%5c%3b", "/%2F%5C%3B"},
    {"/a%2f..%2fb", "/a%2F..%2Fb"},
    {"/%252e", "/%252e"},
    {"/a;b=1/c", "/a;b=1/c"},
    {"/%00", NULL},
    {"/%", NULL},
    {"/%4", NULL},
    {"/%4g", NULL},
    {"/%g4", NULL},
    {"/a\\b", NULL},
    {"/a?x=%zz&y=\\..", "/a?x=%zz&y=\\.."},
    {"/a/../b?../..", "/b?../.."},
    {"/%41?", "/A?"},
    {"/?", "/?"},
};

static void paths_have_one_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        char bytes[64];
        size_t len = strlen(samples[i].path), path_bytes = 0;
        struct slice path = {0};
        const char *reason;

        memcpy(bytes, samples[i].path, len);
        reason = path_normalise(bytes, len, &path, &path_bytes);
        if (!samples[i].wanted) {
            assert_non_null(reason);
            continue;
        }
        if (reason)
            fail_msg("'%s' was refused: %s", samples[i].path, reason);
        assert_slice_equal(path, samples[i].wanted);
        assert_int_equal(path_bytes, strcspn(samples[i].wanted, "?"));
    }
}

static void the_form_of_a_path_is_final(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        char bytes[64];
        struct slice path;
        size_t path_bytes;

        if (!samples[i].wanted)
            continue;
        memcpy(bytes, samples[i].wanted, strlen(samples[i].wanted));
        assert_null(path_normalise(bytes, strlen(samples[i].wanted), &path, &path_bytes));
        assert_slice_equal(path, samples[i].wanted);
    }
}

static void no_path_of_six_letters_leaves_the_root(void **state)
{
    static const char letters[] = "/.%2eaE\\?5";
    char bytes[8];

    (void)state;
    for (size_t n = 0; n < 1000 * 1000; n++) {
        size_t rest = n, path_bytes;
        struct slice path;

        bytes[0] = '/';
        for (size_t i = 1; i < 7; i++, rest /= 10)
            bytes[i] = letters[rest % 10];
        if (path_normalise(bytes, 7, &path, &path_bytes))
            continue;
        assert_true(path_bytes >= 1 && path.ptr[0] == '/' && path.len <= 7);
        path.len = path_bytes;
        assert_true(slice_find(path, SLICE("/../")) < 0 && slice_find(path, SLICE("/./")) < 0);
        assert_false(slice_ends_with(path, SLICE("/..")) || slice_ends_with(path, SLICE("/.")));
    }
}

static void hosts_have_one_form(void **state)
{
    static const struct sample hosts[] = {
        {"example.org", "example.org"},
        {"Example.ORG:80", "example.org:80"},
        {"x.", "x"},
        {"X.:8080", "x:8080"},
        {"[::1]", "[::1]"},
        {"[FE80::1]:81", "[fe80::1]:81"},
        {"10.0.0.1:", "10.0.0.1:"},
    };
    static const char *const names[] = {"example.org", "example.org", "x",       "x",
                                        "[::1]",       "[fe80::1]",   "10.0.0.1"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        char bytes[64];
        struct slice host = {bytes, strlen(hosts[i].path)};

        memcpy(bytes, hosts[i].path, host.len);
        host = host_normalise(host);
        assert_slice_equal(host, hosts[i].wanted);
        assert_slice_equal(host_name(host), names[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_have_one_form),
        cmocka_unit_test(the_form_of_a_path_is_final),
        cmocka_unit_test(no_path_of_six_letters_leaves_the_root),
        cmocka_unit_test(hosts_have_one_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
