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

    if (LIKELY(got > 0)) {
        if (tls_is_drained(transport->tls) && !transport->is_ending)
            transport->can_read = false;
        return got;
    }
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
    ssize_t total = 0;

    while (!output_is_empty(output)) {
        size_t wanted = 0;
        ssize_t put = tls_write(transport->tls, output->parts + output->first,
                                (int)(output->count - output->first));

        if (put == TLS_BROKEN) {
            transport->is_broken = true;
            return TRANSPORT_BROKEN;
        }
        for (unsigned i = output->first; i < output->count; i++)
            wanted += output->parts[i].iov_len;
        if (put > 0) {
            total += put;
            output_advance(output, (size_t)put);
        }
        if (put < (ssize_t)MIN(wanted, (size_t)TLS_WRITE_BYTES)) { /* the socket is full */
            transport->can_write = false;
            break;
        }
    }
    transport->is_owing = !output_is_empty(output);
    return total ? total : TRANSPORT_AGAIN;
}

void transport_tls_close(struct transport *transport, bool is_abort)
{
    if (is_abort)
        tls_abort(transport->tls);
    tls_free(TAKE_PTR(transport->tls));
}

/* What comes unasked may be of TLS alone: session tickets, key updates. */
bool transport_tls_is_quiet(struct transport *transport)
{
    char byte;

    return transport_tls_read(transport, &byte, 1) == TRANSPORT_AGAIN;
}
