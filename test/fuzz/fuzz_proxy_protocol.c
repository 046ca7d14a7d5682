/* fuzz_proxy_protocol.c - arbitrary bytes as the beginning of a connection: what is accepted lies
 * inside them, and what is written of it reads the same. */
#include "net/proxy_protocol.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_written(const struct proxy_header *header)
{
    for (unsigned version = 1; version <= 2; version++) {
        char bytes[PROXY_WRITE_MAX];
        size_t len = proxy_header_write(version, header, bytes);
        struct proxy_header again = {0};
        const char *reason = "";

        assert(len <= sizeof(bytes));
        assert(proxy_header_read(bytes, len, &again, &reason) == PROXY_DONE);
        assert(again.bytes == len && again.is_known == header->is_known);
        assert(memcmp(&again.source, &header->source, sizeof(again.source)) == 0);
        assert(memcmp(&again.destination, &header->destination, sizeof(again.source)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header header;
    const char *reason = NULL;
    char *bytes = malloc(size ? size : 1); /* its end is where the sanitizer looks */

    if (!bytes)
        return 0;
    memcpy(bytes, data, size);
    switch (proxy_header_read(bytes, size, &header, &reason)) {
    case PROXY_DONE:
        assert(header.bytes <= size && header.bytes <= PROXY_HEADER_MAX);
        check_written(&header);
        break;
    case PROXY_MORE:
        assert(size < PROXY_HEADER_MAX);
        break;
    case PROXY_BAD:
        assert(reason && reason[0]);
        break;
    }
    free(bytes);
    return 0;
}
