/* config_test.h - manifests in short words: what is wrong with a text, as lines; folders made of
 * files. */
#ifndef TEST_CONFIG_TEST_H
#define TEST_CONFIG_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config/manifest.h"
#include "os/file.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    struct arena *arena;
    char directory[64];
    struct manifest *manifest;
    struct manifest_findings findings;
    struct error err;
};

static inline int fixture_setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    if (!fixture)
        return -1;
    fixture->arena = arena_new((size_t)256 * 1024 * 1024);
    snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/slipway-config-XXXXXX");
    *state = fixture;
    return mkdtemp(fixture->directory) ? 0 : -1;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    arena_free(fixture->arena);
    int result = directory_remove_tree(fixture->directory, NULL);
    free(fixture);
    return result;
}

/* "4:5 services.api: unknown key 'x' (did you mean 'y'?)", one a line; a later feature has "! ", a
 * warning "? " before it. */
static inline const char *findings_text(struct fixture *fixture)
{
    struct buf text = BUF_INIT((size_t)1024 * 1024);
    for (size_t i = 0; i < fixture->findings.count; i++) {
        const struct manifest_finding *it = &fixture->findings.items[i];
        const char *mark = it->level == FINDING_UNSUPPORTED ? "! "
                           : it->level == FINDING_WARNING   ? "? "
                                                            : "";
        buf_printf(&text, "%s%u:%u %s: %s", mark, it->line, it->column, it->path, it->message);
        if (it->suggestion)
            buf_printf(&text, " (%s)", it->suggestion);
        buf_append_byte(&text, '\n');
    }
    const char *copy = arena_text(fixture->arena, buf_text(&text));
    buf_done(&text);
    return copy;
}

static inline int parse_with(struct fixture *fixture, const char *text, const char *overlay)
{
    fixture->manifest = NULL;
    return manifest_parse(fixture->arena, "slipway.yaml", slice_from(text), "slipway.test.yaml",
                          slice_from(overlay), &fixture->manifest, &fixture->findings,
                          &fixture->err);
}

/* The mistakes of `text` are exactly these. */
static inline void expect(struct fixture *fixture, const char *text, const char *findings)
{
    int result = parse_with(fixture, text, NULL);
    assert_string_equal(findings_text(fixture), findings);
    assert_int_equal(result, fixture->findings.error_count ? ERR_INVALID : 0);
}

static inline struct manifest *parsed(struct fixture *fixture, const char *text)
{
    int result = parse_with(fixture, text, NULL);
    assert_string_equal(findings_text(fixture), "");
    assert_int_equal(result, 0);
    return fixture->manifest;
}

static inline const char *json_of(struct fixture *fixture, const struct manifest *manifest)
{
    struct buf json = BUF_INIT((size_t)16 * 1024 * 1024);
    manifest_write_json(manifest, &json);
    const char *copy = arena_text(fixture->arena, buf_text(&json));
    buf_done(&json);
    return copy;
}

static inline const char *path_in(struct fixture *fixture, const char *name)
{
    return path_join(fixture->arena, fixture->directory, name);
}

/* A file with its folders. */
static inline void write_file(struct fixture *fixture, const char *name, const char *text)
{
    char *path = path_join(fixture->arena, fixture->directory, name), *slash = strrchr(path, '/');
    *slash = '\0';
    assert_int_equal(directory_make(path, 0755, &fixture->err), 0);
    *slash = '/';
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, slice_from(text), &fixture->err), 0);
    close(fd);
}

/* A whole manifest around the keys of one service. */
#define WEB(keys) "app: a\nservices:\n  web:\n    start: x\n" keys

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

#endif
