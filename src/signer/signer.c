/* signer.c - the role: its start, its channels, its end.
 *
 * Channels: one to the keeper, one from control, one from each edge. While edges are replaced, the
 * old one finishes its handshakes: a channel lives until its other end is gone, and a second one of
 * the same edge takes nothing away.
 */
#include "signer/signer.h"

#include "base/keeper_protocol.h"
#include "base/log.h"
#include "loop/channel.h"
#include "signer/request.h"
#include "signer/signer_private.h"
#include "signer/vault.h"
#include <sched.h>
#include <sys/prctl.h>

#define PEERS_MAX   (2u * KEEPER_EDGES_MAX + 4u)
#define TRY_KEYS_US 2000u /* of each turn, while a new set is tried */

struct peer {
    struct list node;
    struct signer *signer;
    struct channel channel;
    uint32_t role;
};

struct signer {
    struct loop *loop;
    struct channel keeper;
    struct loop_signal terminate, interrupt;
    struct loop_timer trying; /* the keys of a new set */
    struct list peers;
    struct vault *vault;
    uint32_t peer_count;
    int exit_status;
};

static void end(struct signer *signer, int exit_status)
{
    signer->exit_status = exit_status;
    loop_stop(signer->loop);
}

static void peer_free(struct peer *peer)
{
    channel_stop(&peer->channel);
    list_remove(&peer->node);
    peer->signer->peer_count--;
    free(peer);
}

/* ---- keys */

static void acknowledge(struct signer *signer)
{
    struct peer_keys_ack ack = {.type = PEER_KEYS_ACK,
                                .refused = vault_refused(signer->vault),
                                .version = vault_version(signer->vault)};

    list_each (node, &signer->peers) {
        struct peer *peer = container_of(node, struct peer, node);

        if (peer->role == KEEPER_ROLE_CONTROL &&
            channel_post(&peer->channel, &ack, sizeof(ack), NULL, 0) == ERR_LIMIT)
            log_warning("control does not read its messages");
    }
    log_debug("keys of version %llu are in use", (unsigned long long)ack.version);
}

static void on_trying(struct loop_timer *timer)
{
    struct signer *signer = container_of(timer, struct signer, trying);

    if (vault_try_keys(signer->vault, TRY_KEYS_US))
        acknowledge(signer);
    else
        loop_timer_start_in(signer->loop, &signer->trying, TRY_KEYS_US);
}

static void take_keys(struct signer *signer, int fd)
{
    struct error err = {0};

    if (vault_replace(signer->vault, fd, &err) != 0) {
        log_failure(&err, "the keys are not used");
        return;
    }
    loop_timer_start_in(signer->loop, &signer->trying, 0);
}

/* ---- edges */

static void answer(struct peer *peer, const struct request *request)
{
    struct {
        struct peer_signed header;
        uint8_t signature[PEER_SIGNATURE_MAX];
    } message = {.header = {.type = PEER_SIGNED, .request = request->request}};
    size_t len = 0;
    int code = vault_sign(peer->signer->vault, request->key_id, request->kind, request->bytes,
                          message.signature, &len);

    if (code != 0)
        log_debug("a signature is refused: %s", error_text(code));
    message.header.is_refused = code != 0;
    message.header.len = code == 0 ? (uint32_t)len : 0;
    /* Else it is gone, and its successor asks again. */
    if (channel_post(&peer->channel, &message, sizeof(message.header) + message.header.len, NULL,
                     0) == ERR_LIMIT)
        log_warning("an edge does not read its signatures");
}

static void on_peer_message(struct channel *channel, const void *message, size_t len, int *fds,
                            size_t fd_count)
{
    struct peer *peer = container_of(channel, struct peer, channel);
    const struct peer_keys *keys = message;
    struct request request;

    if (peer->role == KEEPER_ROLE_EDGE && request_read(message, len, &request) == 0)
        answer(peer, &request);
    else if (peer->role == KEEPER_ROLE_CONTROL && len == sizeof(*keys) && keys->type == PEER_KEYS &&
             fd_count == 1)
        take_keys(peer->signer, fds[0]);
    else
        log_warning("a peer sent a message that is not understood");
}

static void on_peer_closed(struct channel *channel)
{
    peer_free(container_of(channel, struct peer, channel));
}

/* ---- the keeper */

static void hello_message(struct signer *signer, const struct keeper_hello *hello)
{
    if (hello->protocol_version != KEEPER_PROTOCOL_VERSION) {
        log_error("the keeper speaks protocol version %u, this signer %u", hello->protocol_version,
                  KEEPER_PROTOCOL_VERSION);
        end(signer, 1);
        return;
    }
    log_init("signer", (enum log_level)MIN(hello->log_level, (uint32_t)LOG_DEBUG));
}

static void peer_message(struct signer *signer, const struct keeper_peer *message, int *fd)
{
    struct error err = {0};
    struct peer *peer;

    if ((message->role != KEEPER_ROLE_EDGE && message->role != KEEPER_ROLE_CONTROL) ||
        signer->peer_count >= PEERS_MAX) {
        log_warning("a channel to role %u is not used", message->role);
        return;
    }
    peer = calloc(1, sizeof(*peer));
    if (!peer)
        abort();
    peer->signer = signer;
    peer->role = message->role;
    peer->channel.on_message = on_peer_message;
    peer->channel.on_closed = on_peer_closed;
    list_push_back(&signer->peers, &peer->node);
    signer->peer_count++;
    if (channel_start(&peer->channel, signer->loop, TAKE_FD(*fd), &err) != 0) {
        log_failure(&err, "no channel to role %u", message->role);
        peer_free(peer);
    }
}

/* What the keeper held over a restart; newer ones come from control. */
static void held_message(struct signer *signer, const void *message, size_t len, int fd)
{
    size_t cursor = sizeof(struct keeper_held);
    const char *name = keeper_next_string(message, len, &cursor);

    if (name && strcmp(name, "keys") == 0 && vault_version(signer->vault) == 0)
        take_keys(signer, fd);
}

static void table_end_message(struct signer *signer)
{
    struct keeper_ready ready = {.header = {.type = KEEPER_READY}};

    if (channel_post(&signer->keeper, &ready, sizeof(ready), NULL, 0) != 0)
        log_error("the keeper does not take messages");
}

static void on_keeper_message(struct channel *channel, const void *message, size_t len, int *fds,
                              size_t fd_count)
{
    struct signer *signer = container_of(channel, struct signer, keeper);
    const struct keeper_header *header = message;

    if (len < sizeof(*header) || len < keeper_message_size(header->type)) {
        log_warning("the keeper sent a message that is not understood");
        return;
    }
    if ((header->type == KEEPER_PEER || header->type == KEEPER_HELD) && fd_count != 1) {
        log_warning("the keeper sent message %u without its descriptor", header->type);
        return;
    }
    switch (header->type) {
    case KEEPER_HELLO:
        hello_message(signer, message);
        break;
    case KEEPER_PEER:
        peer_message(signer, message, &fds[0]);
        break;
    case KEEPER_HELD:
        held_message(signer, message, len, fds[0]);
        break;
    case KEEPER_TABLE_END:
        table_end_message(signer);
        break;
    case KEEPER_QUIT:
        end(signer, 0);
        break;
    default:
        break;
    }
}

static void on_keeper_closed(struct channel *channel)
{
    struct signer *signer = container_of(channel, struct signer, keeper);

    log_error("the keeper is gone");
    end(signer, 1);
}

/* ---- the life of the process */

static void on_terminate(struct loop_signal *handle)
{
    (void)handle; /* the keeper decides, and says QUIT */
}

static int signer_init(struct signer *signer, struct error *err)
{
    int code;

    signer->terminate.on_signal = signer->interrupt.on_signal = on_terminate;
    signer->keeper.on_message = on_keeper_message;
    signer->keeper.on_closed = on_keeper_closed;
    signer->trying.on_timer = on_trying;
    list_init(&signer->peers);
    signer->vault = vault_new();
    if ((code = private_key_init(err)) != 0 || (code = loop_new(&signer->loop, err)) != 0 ||
        (code = loop_signal_start(signer->loop, &signer->terminate, SIGTERM, err)) != 0 ||
        (code = loop_signal_start(signer->loop, &signer->interrupt, SIGINT, err)) != 0)
        return code;
    return channel_start(&signer->keeper, signer->loop, KEEPER_CHANNEL_FD, err);
}

static void signer_done(struct signer *signer)
{
    list_each_safe (node, &signer->peers)
        peer_free(container_of(node, struct peer, node));
    loop_timer_stop(&signer->trying);
    channel_stop(&signer->keeper);
    loop_signal_stop(&signer->terminate);
    loop_signal_stop(&signer->interrupt);
    loop_free(signer->loop);
    vault_free(signer->vault);
}

int signer_main(void)
{
    static struct signer signer;
    struct error err = {0};

    log_init("signer", LOG_INFO);
    /* No core file, and no other process of this user looks into its memory. */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    signal(SIGPIPE, SIG_IGN);
    /* A request does not take the processor from the edge that sent it: what the edge has to ask in
     * one turn is signed in one. */
    (void)sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0});
    if (signer_init(&signer, &err) != 0) {
        log_failure(&err, "unable to run");
        return 1;
    }
    signer_confine();
    if (loop_run(signer.loop, &err) != 0) {
        log_failure(&err, "unable to run");
        signer.exit_status = 1;
    }
    signer_done(&signer);
    return signer.exit_status;
}
