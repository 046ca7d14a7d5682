/* unit.h - what the unit tests share: CMocka and a folder of their own. */
#ifndef TEST_UNIT_H
#define TEST_UNIT_H

/* CMocka wants these before its own header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/slice.h"

#define UNIT_PATH_SIZE 512

/* A fresh folder below $TMPDIR (or /tmp); remove it with directory_remove_tree. */
static inline char *unit_folder(char path[UNIT_PATH_SIZE])
{
    const char *parent = getenv("TMPDIR");
    snprintf(path, UNIT_PATH_SIZE, "%s/slipway-unit-XXXXXX", parent ? parent : "/tmp");
    assert_non_null(mkdtemp(path));
    return path;
}

/* path + "/" + name into a buffer of UNIT_PATH_SIZE. */
static inline char *unit_path(char *buffer, const char *folder, const char *name)
{
    assert_true(snprintf(buffer, UNIT_PATH_SIZE, "%s/%s", folder, name) < UNIT_PATH_SIZE);
    return buffer;
}

#define assert_slice_equal(s, text)                                                                \
    do {                                                                                           \
        struct slice actual_ = (s), wanted_ = slice_from(text);                                    \
        assert_int_equal(actual_.len, wanted_.len);                                                \
        if (wanted_.len)                                                                           \
            assert_memory_equal(actual_.ptr, wanted_.ptr, wanted_.len);                            \
    } while (0)

#endif
