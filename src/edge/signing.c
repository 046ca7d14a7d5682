/* signing.c - what handshakes need from others: signatures from the signer, certificates from
 * control.
 *
 * The signer answers in the order of the requests, so those that wait are a queue, and an answer
 * finds its request at the front; what stands before it belongs to clients that went away. When
 * the signer restarts, everything that waits is asked again. Deadlines are the handshakes' own.
 */
#include "base/peer_protocol.h"
#include "edge/edge_private.h"

#define SIGNER_QUEUE_BYTES (4u * 1024u * 1024u)

/* False: there will never be an answer. A signer that is gone, heard of or not yet, is no reason:
 * whatever waits is asked again when it is back. */
static bool post(struct edge *edge, const struct handshake *handshake)
{
    const struct tls_sign_request *request = tls_sign_request(handshake->client->transport.tls);
    struct {
        struct peer_sign head;
        uint8_t bytes[PEER_SIGN_BYTES_MAX];
    } message = {.head = {.type = PEER_SIGN, .request = handshake->sign_request}};
    int code;

    if (!request || request->len > sizeof(message.bytes))
        return false;
    message.head.kind = request->kind;
    message.head.len = (uint32_t)request->len;
    memcpy(message.head.key_id, request->key_id, sizeof(message.head.key_id));
    memcpy(message.bytes, request->bytes, request->len);
    code = channel_post(&edge->signer, &message, sizeof(message.head) + request->len, NULL, 0);
    return code == 0 || code == ERR_IO;
}

bool signing_ask(struct handshake *handshake)
{
    struct edge *edge = handshake->client->edge;

    handshake->sign_request = ++edge->sign_request;
    list_push_back(&edge->signing, &handshake->wait_node);
    if (!edge->has_signer) /* it is being restarted: asked when it is back, see signing_connect */
        return true;
    return edge->signer.queued_bytes < SIGNER_QUEUE_BYTES && post(edge, handshake);
}

static void take_answer(struct edge *edge, const struct peer_signed *answer)
{
    while (!list_is_empty(&edge->signing)) {
        struct handshake *handshake = container_of(edge->signing.next, struct handshake, wait_node);

        if (handshake->sign_request > answer->request)
            return; /* of a client that is gone */
        if (handshake->sign_request == answer->request) {
            handshake_signed(handshake,
                             answer->is_refused
                                 ? SLICE("")
                                 : (struct slice){(const char *)(answer + 1), answer->len});
            return;
        }
        handshake_signed(handshake, SLICE("")); /* passed over: there will be no answer */
    }
}

static void on_signer_message(struct channel *channel, const void *message, size_t len, int *fds,
                              size_t fd_count)
{
    struct edge *edge = container_of(channel, struct edge, signer);
    const struct peer_signed *answer = message;

    (void)fds;
    (void)fd_count;
    if (len < sizeof(*answer) || answer->type != PEER_SIGNED ||
        answer->len > MIN(len - sizeof(*answer), (size_t)PEER_SIGNATURE_MAX))
        log_warning("the signer sent a message that is not understood");
    else
        take_answer(edge, answer);
}

static void on_signer_closed(struct channel *channel)
{
    container_of(channel, struct edge, signer)->has_signer = false;
}

void signing_connect(struct edge *edge, int fd)
{
    struct error err = {0};

    if (edge->has_signer)
        channel_stop(&edge->signer);
    memset(&edge->signer, 0, sizeof(edge->signer));
    edge->signer.on_message = on_signer_message;
    edge->signer.on_closed = on_signer_closed;
    edge->has_signer = channel_start(&edge->signer, edge->loop, fd, &err) == 0;
    if (!edge->has_signer) {
        log_failure(&err, "no channel to the signer");
        return;
    }
    list_each (node, &edge->signing)
        if (!post(edge, container_of(node, struct handshake, wait_node)))
            log_warning("the signer does not take a request");
}

/* ---- certificates */

static void tell_wanted(struct edge *edge, struct slice host)
{
    struct {
        struct peer_certificate head;
        char host[256];
    } message = {.head = {.type = PEER_CERTIFICATE_WANTED}};
    size_t len = MIN(host.len, sizeof(message.host) - 1);

    memcpy(message.host, host.ptr, len);
    edge_tell_control(edge, &message, sizeof(message.head) + len + 1);
}

/* The host that a handshake in edge.wanting waits for. */
static struct slice wanted_host(const struct list *node)
{
    return tls_name(container_of(node, struct handshake, wait_node)->client->transport.tls);
}

/* One message for a host, however many clients wait for it. */
void signing_want(struct handshake *handshake)
{
    struct edge *edge = handshake->client->edge;
    struct slice host = tls_name(handshake->client->transport.tls);
    bool is_told = false;

    list_each (node, &edge->wanting)
        is_told = is_told || slice_eq(wanted_host(node), host);
    list_push_back(&edge->wanting, &handshake->wait_node);
    if (!is_told)
        tell_wanted(edge, host);
}

void signing_want_again(struct edge *edge)
{
    list_each (node, &edge->wanting)
        tell_wanted(edge, wanted_host(node));
}
