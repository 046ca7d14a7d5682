/* signer.c - the role: its start, its channels, its end. */
#include "signer/signer.h"

#include "base/keeper_protocol.h"
#include "base/log.h"
#include "loop/channel.h"

struct signer {
    struct loop *loop;
    struct channel keeper;
    struct loop_signal terminate, interrupt;
    int exit_status;
};

static void end(struct signer *signer, int exit_status)
{
    signer->exit_status = exit_status;
    loop_stop(signer->loop);
}

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

static void table_end_message(struct signer *signer)
{
    struct keeper_ready ready = {.header = {.type = KEEPER_READY}};

    if (channel_post(&signer->keeper, &ready, sizeof ready, NULL, 0) != 0)
        log_error("the keeper does not take messages");
}

static void on_keeper_message(struct channel *channel, const void *message, size_t len, int *fds,
                              size_t fd_count)
{
    struct signer *signer = container_of(channel, struct signer, keeper);
    const struct keeper_header *header = message;

    (void)fds; /* what is not taken is closed */
    (void)fd_count;
    if (len < sizeof *header || len < keeper_message_size(header->type)) {
        log_warning("the keeper sent a message that is not understood");
        return;
    }
    switch (header->type) {
    case KEEPER_HELLO:
        hello_message(signer, message);
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

static void on_terminate(struct loop_signal *handle)
{
    (void)handle; /* the keeper decides, and says QUIT */
}

int signer_main(void)
{
    static struct signer signer;
    struct error err = {0};

    log_init("signer", LOG_INFO);
    signer.terminate.on_signal = signer.interrupt.on_signal = on_terminate;
    signer.keeper.on_message = on_keeper_message;
    signer.keeper.on_closed = on_keeper_closed;
    if (loop_new(&signer.loop, &err) < 0 ||
        loop_signal_start(signer.loop, &signer.terminate, SIGTERM, &err) < 0 ||
        loop_signal_start(signer.loop, &signer.interrupt, SIGINT, &err) < 0 ||
        channel_start(&signer.keeper, signer.loop, KEEPER_CHANNEL_FD, &err) < 0 ||
        loop_run(signer.loop, &err) < 0) {
        log_failure(&err, "unable to run");
        return 1;
    }
    channel_stop(&signer.keeper);
    loop_signal_stop(&signer.terminate);
    loop_signal_stop(&signer.interrupt);
    loop_free(signer.loop);
    return signer.exit_status;
}
