/* fuzz_log_pattern.c - "expression NUL line": never out of bounds, never for long, the same answer
 * twice; and an expression without special characters is a plain search. */
#include "logd/pattern.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice line = {(const char *)data, size};
    struct slice text = slice_cut(&line, '\0');
    struct pattern *pattern;
    struct error err = {0};
    enum pattern_result result;
    bool is_plain = true;

    if (pattern_new(text, &pattern, &err) != 0) {
        assert(err.text[0]);
        return 0;
    }
    result = pattern_search(pattern, line);
    if (result != PATTERN_TOO_EXPENSIVE)
        assert(pattern_search(pattern, line) == result);
    for (size_t i = 0; i < text.len; i++)
        is_plain = is_plain && !strchr("^$.[]()*+?{}|\\", text.ptr[i]);
    if (is_plain)
        assert((result == PATTERN_FOUND) == (slice_find(line, text) >= 0 || text.len == 0));
    pattern_free(pattern);
    return 0;
}
