/* fuzz_glob.c - "pattern NUL text": never out of bounds, and a pattern without wildcards matches
 * itself alone. */
#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    struct slice pattern = slice_cut(&text, '\0');
    bool matches = text_glob(pattern, text);
    bool is_plain = pattern.len <= TEXT_GLOB_MAX;
    for (size_t i = 0; i < pattern.len; i++)
        is_plain = is_plain && !strchr("*?[\\", pattern.ptr[i]);
    if (is_plain)
        assert(matches == slice_eq(pattern, text));
    (void)text_is_utf8(text);
    return 0;
}
