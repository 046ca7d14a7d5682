/* fuzz_tls_accept.c - arbitrary bytes as what a client sends to a TLS server: a handshake that
 * fails, waits for more or for a signature, which is refused. */
#include "net/tls.h"
#include "net/x509.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tls_server *server_make(void)
{
    static const char *const names[] = {"one.test"};
    struct buf key = BUF_INIT(8192), authority = BUF_INIT(8192), leaf = BUF_INIT(8192),
               der = BUF_INIT(8192);
    struct tls_certificate_spec spec = {.ocsp_der = SLICE("staple")};
    struct tls_name_spec name = {.name = SLICE("one.test"), .is_http2 = true};
    struct tls_server *server = NULL;
    char tickets[TLS_TICKET_KEY_BYTES] = {1};
    int code = x509_make_key(&key, NULL);

    (void)signal(SIGPIPE, SIG_IGN);
    code |= x509_make_authority(buf_slice(&key), "A", 1000000, &authority, NULL);
    code |= x509_make_leaf(buf_slice(&authority), buf_slice(&key), buf_slice(&key), names, 1,
                           1000000, &leaf, NULL);
    code |= x509_read_key(buf_slice(&key), spec.key_id, &der, NULL);
    spec.chain_pem = buf_slice(&leaf);
    code |= tls_server_new(&server, NULL);
    code |= tls_server_certificate(server, &spec, &name.certificate, NULL);
    code |= tls_server_client_ca(server, buf_slice(&authority), &name.client_ca, NULL);
    code |= tls_server_name(server, &name, NULL);
    name.client_ca = TLS_NO_CLIENT_CA;
    name.name = SLICE("*.one.test");
    code |= tls_server_name(server, &name, NULL);
    code |= tls_server_challenge(server, SLICE("one.test"), name.certificate, NULL);
    code |= tls_server_ticket_keys(server, (struct slice){tickets, sizeof(tickets)}, NULL);
    if (code != 0)
        abort();
    buf_wipe(&key);
    buf_wipe(&der);
    buf_done(&authority);
    buf_done(&leaf);
    return server;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tls_server *server;
    enum tls_result result = TLS_FAILED;
    struct tls *tls;
    int fds[2];

    if (!server)
        server = server_make();
    if (size > 65536 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0)
        return 0;
    if (tls_accept(server, fds[0], &tls, NULL) == 0) {
        if (send(fds[1], data, size, MSG_NOSIGNAL) >= 0)
            while ((result = tls_handshake(tls)) == TLS_WANT_SIGNATURE)
                tls_sign_answer(tls, (struct slice){0});
        assert(result != TLS_DONE && tls_name(tls).len <= 255);
        (void)tls_covers(tls, tls_name(tls));
        tls_free(tls);
    }
    (void)close(fds[0]);
    (void)close(fds[1]);
    return 0;
}
