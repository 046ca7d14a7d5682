/* fuzz_forwarded.c - arbitrary bytes as lists of those who forwarded: every element lies inside
 * them, the walk ends, and an address that is read is one. */
#include "net/forwarded.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct slice part, const char *bytes, size_t size)
{
    assert(part.len == 0 || (part.ptr >= bytes && part.ptr + part.len <= bytes + size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *bytes = malloc(size ? size : 1); /* its end is where the sanitizer looks */
    struct slice list = {bytes, size};
    size_t count = 0;

    if (!bytes)
        return 0;
    memcpy(bytes, data, size);
    while (list.len) {
        struct slice element = forwarded_cut_last(&list, ',');
        struct slice value = forwarded_parameter(element, SLICE("for"));
        uint8_t address[16];

        assert(++count <= size + 1);
        check_inside(element, bytes, size);
        check_inside(value, bytes, size);
        if (forwarded_address(element, address))
            assert(slice_find_byte(element, ',') < 0 && slice_find_byte(element, '"') < 0);
        (void)!forwarded_address(value, address);
    }
    free(bytes);
    return 0;
}
