/* fuzz_sign_request.c - arbitrary bytes as a request for a signature: refused, or all of it lies
 * inside the message. */
#include "signer/request.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile size_t sink; /* keeps the reads below from being optimised away */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct request request;
    uint8_t *message = aligned_alloc(16, (size + 16) / 16 * 16);

    if (!message)
        return 0;
    memcpy(message, data, size);
    if (request_read(message, size, &request) == 0) {
        assert(request.bytes.ptr + request.bytes.len == (const char *)message + size);
        for (size_t i = 0; i < request.bytes.len; i++)
            sink += (uint8_t)request.bytes.ptr[i];
        for (size_t i = 0; i < PEER_KEY_ID_BYTES; i++)
            sink += request.key_id[i];
    }
    free(message);
    return 0;
}
