/* transport.c - the calls of a transport that are not made for every request. */
#include "edge/stream_private.h"

void transport_last(struct transport *transport)
{
    if (transport->kind == TRANSPORT_STREAM)
        stream_last(transport->stream);
}

void transport_finish(struct transport *transport)
{
    if (transport->kind == TRANSPORT_STREAM) {
        stream_last(transport->stream);
        return;
    }
    if (transport->kind == TRANSPORT_TLS)
        tls_finish(transport->tls);
    /* A close_notify that waits for room must not be overtaken. */
    if (transport->kind == TRANSPORT_PLAIN || !tls_wants_write(transport->tls))
        (void)shutdown(transport->io.fd, SHUT_WR);
}

void transport_close(struct transport *transport, bool is_abort)
{
    if (transport->kind == TRANSPORT_STREAM && transport->stream)
        stream_close(TAKE_PTR(transport->stream));
    if (transport->io.fd < 0)
        return;
    loop_io_stop(&transport->io);
    if (is_abort) {
        struct linger hard = {.l_onoff = 1, .l_linger = 0};

        (void)setsockopt(transport->io.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    }
    if (transport->kind == TRANSPORT_TLS)
        transport_tls_close(transport, is_abort);
    (void)close(transport->io.fd);
    transport->io.fd = -1;
}

bool transport_is_quiet(struct transport *transport)
{
    char byte;

    if (transport->kind == TRANSPORT_TLS)
        return transport_tls_is_quiet(transport);
    if (recv(transport->io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN)
        return false;
    transport->can_read = false;
    return true;
}

bool transport_is_ended(const struct transport *transport)
{
    char byte;

    if (transport->is_ending || transport->is_broken || transport->kind == TRANSPORT_STREAM)
        return transport->is_ending || transport->is_broken;
    return recv(transport->io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

bool transport_is_gone(const struct transport *transport)
{
    char byte;
    ssize_t got;

    if (transport->kind == TRANSPORT_STREAM)
        return transport->stream->is_reset;
    got = recv(transport->io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    return got < 0 && errno != EAGAIN && errno != EINTR;
}
