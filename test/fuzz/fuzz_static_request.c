/* fuzz_static_request.c - what clients may write in a request for a file: path, Accept-Encoding,
 * If-None-Match, Range. One field a line. Whatever the path, a decoded one that is served has no
 * segment that could leave the root. */
#include <assert.h>

#include "edge/static_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_served(struct slice path)
{
    assert(path.ptr[0] == '/' && !memchr(path.ptr, '\0', path.len) &&
           !memchr(path.ptr, '\\', path.len));
    while (path.len > 0) {
        struct slice segment;

        path = slice_sub(path, 1, path.len);
        segment = path;
        if (slice_find_byte(path, '/') >= 0)
            segment.len = (size_t)slice_find_byte(path, '/');
        assert(!slice_eq(segment, SLICE("..")) && !slice_eq(segment, SLICE(".")));
        assert(segment.len > 0 || path.len == 0);
        path = slice_sub(path, segment.len, path.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = {(const char *)data, size}, path = slice_cut(&rest, '\n'), decoded, range;
    const bool is_present[STATIC_CODINGS] = {true, size % 2 == 0, size % 3 == 0};
    char space[STATIC_PATH_MAX];
    struct buf location = BUF_INIT(3 * STATIC_PATH_MAX);
    uint64_t offset, len;

    if (static_path_decode(path, space, &decoded) == 0) {
        (void)static_path_is_hashed(decoded);
        (void)static_path_matches(SLICE("/*a*/*.js"), decoded);
        static_path_append(&location, decoded, true);
        assert(!location.ptr || !memchr(location.ptr, '\n', location.len));
        if (static_path_is_served(decoded))
            check_served(decoded);
    }
    buf_done(&location);
    assert(is_present[static_negotiate(slice_cut(&rest, '\n'), is_present)]);
    (void)static_etag_is_listed(slice_cut(&rest, '\n'), SLICE("\"5f3-d\""));
    (void)static_date_is(slice_cut(&rest, '\n'), 1700000000);
    range = slice_cut(&rest, '\n');
    if (static_range_parse(range, size * 7, &offset, &len) == STATIC_RANGE_ONE)
        assert(len > 0 && offset < size * 7 && len <= size * 7 - offset);
    return 0;
}
