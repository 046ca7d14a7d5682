/* The read ends of everything that units and edges write. The keeper never reads them: it keeps
 * them open, so that no byte is lost while logd is away. */
#include "keeper/keeper_private.h"

#include "os/file.h"

int stream_add(struct keeper *keeper, uint64_t id, uint64_t unit, uint32_t kind, const char *label,
               int *fd, struct error *err)
{
    struct stream *stream;

    if (keeper->stream_count >= KEEPER_STREAMS_MAX)
        return error_set(err, ERR_LIMIT, "%u output streams wait to be stored", KEEPER_STREAMS_MAX);
    stream = calloc(1, sizeof *stream);
    if (stream)
        stream->label = strdup(label);
    if (!stream || !stream->label) {
        free(stream);
        return error_set(err, ERR_LIMIT, "no memory for an output stream");
    }
    stream->id = id;
    stream->unit = unit;
    stream->kind = kind;
    stream->fd = TAKE_FD(*fd);
    list_push_back(&keeper->streams, &stream->node);
    keeper->stream_count++;
    return 0;
}

static void stream_free(struct keeper *keeper, struct stream *stream)
{
    list_remove(&stream->node);
    keeper->stream_count--;
    fd_close(stream->fd);
    free(stream->label);
    free(stream);
}

void stream_describe(const struct stream *stream, struct role *to)
{
    struct keeper_stream message = {.header = {.type = KEEPER_STREAM},
                                    .stream = stream->id,
                                    .unit = stream->unit,
                                    .kind = stream->kind};
    const char *strings[] = {stream->label};

    if (stream->is_announced)
        role_post(to, &message, sizeof message, strings, 1, stream->fd);
}

void stream_announce(struct keeper *keeper, uint64_t unit)
{
    struct role *logd = role_find(keeper, KEEPER_ROLE_LOGD, 0);

    list_each (node, &keeper->streams) {
        struct stream *stream = container_of(node, struct stream, node);

        if (stream->unit != unit || stream->is_announced)
            continue;
        stream->is_announced = true;
        if (logd)
            stream_describe(stream, logd);
    }
}

void stream_done(struct keeper *keeper, uint64_t id)
{
    list_each_safe (node, &keeper->streams) {
        struct stream *stream = container_of(node, struct stream, node);

        if (stream->id == id) {
            stream_free(keeper, stream);
            return;
        }
    }
}

void stream_drop_unit(struct keeper *keeper, uint64_t unit)
{
    list_each_safe (node, &keeper->streams) {
        struct stream *stream = container_of(node, struct stream, node);

        if (stream->unit == unit)
            stream_free(keeper, stream);
    }
}

void streams_done(struct keeper *keeper)
{
    list_each_safe (node, &keeper->streams)
        stream_free(keeper, container_of(node, struct stream, node));
}
