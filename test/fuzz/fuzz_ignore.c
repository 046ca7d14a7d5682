/* fuzz_ignore.c - arbitrary bytes as a file of patterns (up to the first empty line) and paths to
 * ask it for. */
#include "config/ignore_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(1 << 20);
    struct slice input = {(const char *)data, size};
    if (size > 20000)
        return 0;
    ptrdiff_t border = slice_find(input, SLICE("\n\n"));
    size_t end = border < 0 ? size : (size_t)border + 1;
    const struct ignore_file *file = ignore_parse(arena, NULL, 0, slice_sub(input, 0, end));
    struct slice rest = slice_sub(input, end, SIZE_MAX);
    for (unsigned i = 0; rest.len && i < 20; i++) {
        struct slice path = slice_sub(slice_cut(&rest, '\n'), 0, 1000);
        enum ignore_verdict as_file = ignore_match(file, path, false),
                            as_folder = ignore_match(file, path, true);
        assert(file || (as_file == IGNORE_UNDECIDED && as_folder == IGNORE_UNDECIDED));
    }
    return 0;
}
