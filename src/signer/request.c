#include "signer/request.h"

#include "base/error.h"

int request_read(const void *message, size_t len, struct request *ret_request)
{
    const struct peer_sign *sign = message;

    if (len < sizeof(*sign) || sign->type != PEER_SIGN || sign->kind > PEER_SIGN_ED25519 ||
        sign->len == 0 || sign->len > PEER_SIGN_BYTES_MAX || len != sizeof(*sign) + sign->len)
        return ERR_INVALID;
    *ret_request = (struct request){
        .request = sign->request,
        .kind = (enum peer_sign_kind)sign->kind,
        .key_id = sign->key_id,
        .bytes = {(const char *)(sign + 1), sign->len},
    };
    return 0;
}
