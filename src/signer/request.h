/* request.h - reading PEER_SIGN, the only message that comes from a process which reads what
 * strangers send. */
#ifndef SIGNER_REQUEST_H
#define SIGNER_REQUEST_H

#include "base/compiler.h"
#include "base/peer_protocol.h"
#include "base/slice.h"

struct request {
    uint64_t request;
    enum peer_sign_kind kind;
    const uint8_t *key_id; /* PEER_KEY_ID_BYTES */
    struct slice bytes;    /* 1 to PEER_SIGN_BYTES_MAX */
};

/* Everything in ret_request points into the message. ERR_INVALID: not such a message, or one whose
 * size, kind or length is not as it must be. */
MUST_USE int request_read(const void *message, size_t len, struct request *ret_request);

#endif
