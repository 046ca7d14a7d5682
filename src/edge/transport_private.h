/* transport_private.h - a byte stream below HTTP, and what waits to be written to it.
 *
 * Three kinds: a plain socket, TLS on a socket (transport_tls.c), a stream of an HTTP/2 connection
 * (stream_private.h). Nothing above knows which one it has; the plain one stays inline, the others
 * are calls behind one branch that is rarely taken wrong.
 *
 * Sockets are edge-triggered and registered once: `can_read` and `can_write` remember what epoll
 * said last. A read from a plain socket that returned less than was asked for has emptied it
 * (epoll(7)), so nobody asks again to hear EAGAIN. Once the peer has said that it is done (RDHUP)
 * that no longer holds: the end of file itself wants to be read. TLS hands out records, so only
 * AGAIN says that nothing is left.
 */
#ifndef EDGE_TRANSPORT_PRIVATE_H
#define EDGE_TRANSPORT_PRIVATE_H

#include "loop/loop.h"
#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

struct tls;
struct stream;

enum transport_kind { TRANSPORT_PLAIN, TRANSPORT_TLS, TRANSPORT_STREAM };

struct transport {
    struct loop_io io; /* of the socket; a stream has none: fd is -1 */
    uint8_t kind;      /* enum transport_kind */
    bool can_read, can_write;
    bool is_ending; /* the peer sends no more; data may still wait */
    bool is_broken; /* both directions are gone */
    bool is_owing; /* TLS: what was queued last is encrypted in part and must come again as it is */
    union {
        struct tls *tls;       /* owned */
        struct stream *stream; /* TRANSPORT_STREAM: stream_close lets go of it */
    };
};

enum { TRANSPORT_END = 0, TRANSPORT_AGAIN = -1, TRANSPORT_BROKEN = -2 };

struct output;

/* transport_tls.c: the same contracts as the calls below */
void transport_tls_note(struct transport *transport, unsigned events);
ssize_t transport_tls_read(struct transport *transport, char *bytes, size_t len);
ssize_t transport_tls_write(struct transport *transport, struct output *output);
void transport_tls_close(struct transport *transport, bool is_abort);
bool transport_tls_is_quiet(struct transport *transport);
/* stream.c */
ssize_t stream_read(struct transport *transport, char *bytes, size_t len);
ssize_t stream_write(struct transport *transport, struct output *output);

static inline void transport_note(struct transport *transport, unsigned events)
{
    if (events & LOOP_READ)
        transport->can_read = true;
    if (events & LOOP_WRITE)
        transport->can_write = true;
    if (UNLIKELY(events & LOOP_CLOSE)) {
        transport->can_read = true;
        transport->is_ending = true;
    }
    if (transport->kind == TRANSPORT_TLS)
        transport_tls_note(transport, events);
}

static inline ssize_t transport_failure(struct transport *transport, bool *ret_can)
{
    if (errno == EAGAIN) {
        *ret_can = false;
        return TRANSPORT_AGAIN;
    }
    transport->is_broken = true;
    return TRANSPORT_BROKEN;
}

/* Bytes read, TRANSPORT_END, TRANSPORT_AGAIN or TRANSPORT_BROKEN (errno says why). len > 0. */
static inline ssize_t transport_read(struct transport *transport, char *bytes, size_t len)
{
    ssize_t got;

    if (UNLIKELY(transport->kind != TRANSPORT_PLAIN))
        return transport->kind == TRANSPORT_TLS ? transport_tls_read(transport, bytes, len)
                                                : stream_read(transport, bytes, len);
    do
        got = read(transport->io.fd, bytes, len);
    while (UNLIKELY(got < 0 && errno == EINTR));
    if (LIKELY(got > 0)) {
        if ((size_t)got < len && !transport->is_ending)
            transport->can_read = false;
        return got;
    }
    return got == 0 ? TRANSPORT_END : transport_failure(transport, &transport->can_read);
}

/* ---- output: a short queue of borrowed parts */

#define OUTPUT_PARTS 6

struct output {
    unsigned first, count; /* parts[first, count) are not written yet */
    struct iovec parts[OUTPUT_PARTS];
};

static inline bool output_is_empty(const struct output *output)
{
    return output->first == output->count;
}

static inline void output_clear(struct output *output)
{
    output->first = output->count = 0;
}

/* Queue bytes that stay where they are until they are written. Only what was queued since the queue
 * was last empty counts. */
static inline void output_push(struct output *output, const char *bytes, size_t len)
{
    if (output->first == output->count)
        output->first = output->count = 0;
    if (len == 0)
        return;
    assert(output->count < OUTPUT_PARTS);
    output->parts[output->count++] = (struct iovec){(char *)(uintptr_t)bytes, len};
}

static inline void output_advance(struct output *output, size_t written)
{
    while (output->first < output->count && written >= output->parts[output->first].iov_len)
        written -= output->parts[output->first++].iov_len;
    if (output->first < output->count && written) {
        struct iovec *part = &output->parts[output->first];

        part->iov_base = (char *)part->iov_base + written;
        part->iov_len -= written;
    }
}

/* Write what is queued. The bytes written (the queue may be empty afterwards or not),
 * TRANSPORT_AGAIN or TRANSPORT_BROKEN. A short write has filled the socket. An empty queue writes
 * 0. */
static inline ssize_t transport_write(struct transport *transport, struct output *output)
{
    size_t wanted = 0;
    ssize_t put;

    if (UNLIKELY(transport->kind != TRANSPORT_PLAIN))
        return output_is_empty(output)            ? 0
               : transport->kind == TRANSPORT_TLS ? transport_tls_write(transport, output)
                                                  : stream_write(transport, output);
    for (unsigned i = output->first; i < output->count; i++)
        wanted += output->parts[i].iov_len;
    if (wanted == 0)
        return 0;
    do {
        if (output->count - output->first == 1)
            put = write(transport->io.fd, output->parts[output->first].iov_base, wanted);
        else
            put = writev(transport->io.fd, output->parts + output->first,
                         (int)(output->count - output->first));
    } while (UNLIKELY(put < 0 && errno == EINTR));
    if (UNLIKELY(put < 0))
        return transport_failure(transport, &transport->can_write);
    if ((size_t)put < wanted)
        transport->can_write = false;
    output_advance(output, (size_t)put);
    return put;
}

/* Tell the peer that nothing more will come. */
void transport_finish(struct transport *transport);
/* What is queued, or is queued before the next write, is the last of it: a stream says so in the
 * same frame. Nothing to other kinds. */
void transport_last(struct transport *transport);
/* Stop and close. With `is_abort` the peer gets a reset, so that it cannot take what it has for the
 * whole. Idempotent. */
void transport_close(struct transport *transport, bool is_abort);
/* Nothing came on a connection on which nothing may come. False: bytes are an answer to nobody, the
 * end is the end. */
bool transport_is_quiet(struct transport *transport);
/* The peer has said that it sends no more, or is gone, and nothing of it is left to be read. */
bool transport_is_ended(const struct transport *transport);
/* The peer sends no more, or is gone: only a look at the socket tells which. True: it is gone. */
bool transport_is_gone(const struct transport *transport);

#endif
