/* transport_tls.c - a transport that speaks TLS.
 *
 * epoll sees records, HTTP sees bytes: a record that was read in part leaves nothing in the socket,
 * and a key update makes a read wait for room to write. Both are kept here: `can_read` stays true
 * until TLS itself says that nothing is left, and events of one direction wake the other where TLS
 * asks for it.
 */
#include "edge/edge_private.h"

void transport_tls_note(struct transport *transport, unsigned events)
{
    if (events & LOOP_READ)
        transport->can_write = true;
    if ((events & LOOP_WRITE) && tls_wants_write(transport->tls))
        transport->can_read = true;
}

ssize_t transport_tls_read(struct transport *transport, char *bytes, size_t len)
{
    ssize_t got = tls_read(transport->tls, bytes, len);

    if (LIKELY(got > 0))
        return got;
    if (got == TLS_AGAIN) {
        transport->can_read = false;
        return TRANSPORT_AGAIN;
    }
    if (got == TLS_END)
        return TRANSPORT_END;
    transport->is_broken = true;
    return TRANSPORT_BROKEN;
}

ssize_t transport_tls_write(struct transport *transport, struct output *output)
{
    size_t wanted = 0;
    ssize_t put = tls_write(transport->tls, output->parts + output->first,
                            (int)(output->count - output->first));

    for (unsigned i = output->first; i < output->count; i++)
        wanted += output->parts[i].iov_len;
    if (UNLIKELY(put <= 0)) {
        transport->can_write = false;
        if (put == TLS_AGAIN)
            return TRANSPORT_AGAIN;
        transport->is_broken = true;
        return TRANSPORT_BROKEN;
    }
    if ((size_t)put < wanted)
        transport->can_write = false;
    output_advance(output, (size_t)put);
    return put;
}

void transport_tls_close(struct transport *transport, bool is_abort)
{
    (void)is_abort; /* a goodbye on a socket that is reset goes nowhere */
    tls_free(TAKE_PTR(transport->tls));
}

/* What comes unasked may be of TLS alone: session tickets, key updates. */
bool transport_tls_is_quiet(struct transport *transport)
{
    char byte;

    if (transport_tls_read(transport, &byte, 1) != TRANSPORT_AGAIN)
        return false;
    return true;
}
