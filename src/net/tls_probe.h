/* tls_probe.h - one TLS handshake with a server, to see which certificate it shows for a name and
 * an ALPN protocol. Verifies nothing, sends nothing else. */
#ifndef NET_TLS_PROBE_H
#define NET_TLS_PROBE_H

#include "base/peer_protocol.h"
#include "loop/loop.h"

struct tls_probe;

struct tls_probe_handler {
    /* Once, never within tls_probe_start; the probe is gone afterwards. err NULL: `key_id` is that
     * of the certificate's key. Else ERR_IO: no handshake; ERR_TIMEOUT; ERR_INVALID: the server did
     * not agree to the protocol, or showed no certificate. */
    void (*on_done)(struct tls_probe_handler *handler, const uint8_t key_id[PEER_KEY_ID_BYTES],
                    const struct error *err);
};

/* `fd`: connected, non-blocking, taken over (also on failure). protocol: of ALPN, at most 255
 * bytes.
 */
MUST_USE int tls_probe_start(struct loop *loop, int fd, const char *name, const char *protocol,
                             uint64_t timeout_ms, struct tls_probe_handler *handler,
                             struct tls_probe **ret_probe, struct error *err);
void tls_probe_cancel(struct tls_probe *probe); /* without on_done; NULL allowed */

#endif
