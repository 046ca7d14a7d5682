/* The source of a deploy: from the socket to a file of control's. Writes go to the page cache of a
 * local disk; what slows the disk down slows the socket down, and with it the sender. */
#include "admin/admin_private.h"

#include "os/file.h"

struct upload {
    struct admin_request *request;
    struct http_body_sink sink;
    const char *app;
    uint64_t deploy;
    uint64_t bytes, limit_bytes;
    int fd;
};

/* Tell control how it ended, and the client. */
static void upload_end(struct upload *upload, const struct error *failed)
{
    struct http_exchange *exchange = upload->request->exchange;
    struct error err = {0};
    fd_close(TAKE_FD(upload->fd));
    int r =
        control_source_done(upload->request->control, upload->app, upload->deploy, !failed, &err);
    if (failed || r < 0) {
        http_exchange_answer_error(exchange, failed ? failed : &err);
        return;
    }
    struct buf text = BUF_INIT(4096);
    struct json_writer writer = JSON_WRITER(&text);
    json_begin_object(&writer, NULL);
    json_write_integer(&writer, "deploy", (int64_t)upload->deploy);
    json_write_text(&writer, "app", upload->app);
    json_write_text(&writer, "state", "queued");
    json_end_object(&writer);
    http_exchange_answer(exchange, 200, "application/json", buf_slice(&text));
    buf_done(&text);
}

static bool on_data(struct http_body_sink *sink, struct slice data)
{
    struct upload *upload = container_of(sink, struct upload, sink);
    struct error err = {0};
    upload->bytes += data.len;
    if (upload->bytes > upload->limit_bytes) {
        error_set(&err, ERR_LIMIT, "the source is larger than was announced");
        error_hint(&err, "is something writing to the folder? leave it out by .slipwayignore");
    } else if (file_write_all(upload->fd, data, &err) < 0) {
        error_wrap(&err, "unable to keep the source");
    }
    if (err.code != 0) {
        upload_end(upload, &err);
        return false;
    }
    return true;
}

static void on_end(struct http_body_sink *sink, const struct error *failed)
{
    upload_end(container_of(sink, struct upload, sink), failed);
}

void admin_upload(struct admin_request *request)
{
    struct error err = {0};
    struct upload *upload = arena_new_of(http_exchange_arena(request->exchange), struct upload);
    upload->request = request;
    upload->sink = (struct http_body_sink){on_data, on_end};
    upload->app = admin_parameter(request, "app");
    int r = admin_parameter_u64(request, "deploy", &upload->deploy, &err);
    if (r == 0)
        r = control_source_open(request->control, upload->app, upload->deploy, &upload->fd,
                                &upload->limit_bytes, &err);
    if (r < 0)
        http_exchange_answer_error(request->exchange, &err);
    else
        http_exchange_stream_body(request->exchange, &upload->sink);
}
