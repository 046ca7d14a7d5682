/* http2.c - sessions: their birth and death, streams, windows, what is submitted; see http2.h. */
#include "net/http2_private.h"
#include <stdlib.h>

#define DEFLATE_TABLE     4096u
#define CONTINUATIONS_MAX 8u

/* ---- streams */

void http2_stream_enter(struct http2_session *session, struct http2_stream *stream, int32_t id)
{
    stream->session = session;
    stream->id = id;
    list_push_back(&session->streams, &stream->node);
    session->stream_count++;
}

void http2_stream_forget(struct http2_session *session, struct http2_stream *stream)
{
    list_remove(&stream->node);
    session->stream_count--;
    stream->session = NULL;
    if (session->head_stream == stream) {
        session->head_stream = NULL;
        session->head.text = NULL;
    }
}

void http2_stream_leave(struct http2_stream *stream, enum http2_code code)
{
    struct http2_session *session = stream->session;

    if (!session)
        return;
    stream->is_reset_ours = true;
    if (!stream->has_local_ended || !stream->has_remote_ended)
        (void)nghttp2_submit_rst_stream(session->inner, NGHTTP2_FLAG_NONE, stream->id, code);
    (void)nghttp2_session_set_stream_user_data(session->inner, stream->id, NULL);
    http2_stream_forget(session, stream);
}

/* ---- the state of a session */

bool http2_session_wants_pack(struct http2_session *session)
{
    return nghttp2_session_want_write(session->inner);
}

bool http2_session_is_over(struct http2_session *session)
{
    return !nghttp2_session_want_read(session->inner) &&
           !nghttp2_session_want_write(session->inner);
}

uint64_t http2_session_head_since(const struct http2_session *session)
{
    return session->head_since_us;
}

const char *http2_session_failure(const struct http2_session *session)
{
    return session->failure ? session->failure : "";
}

/* ---- windows */

void http2_session_consume_connection(struct http2_session *session, size_t len)
{
    (void)nghttp2_session_consume_connection(session->inner, len);
}

void http2_stream_consume(struct http2_stream *stream, size_t len)
{
    if (stream->session && !stream->has_remote_ended)
        (void)nghttp2_session_consume_stream(stream->session->inner, stream->id, len);
}

void http2_stream_window(struct http2_stream *stream, uint32_t bytes)
{
    nghttp2_session *inner;

    if (!stream->session)
        return;
    inner = stream->session->inner;
    if (nghttp2_session_get_stream_effective_local_window_size(inner, stream->id) < (int32_t)bytes)
        (void)nghttp2_session_set_local_window_size(inner, NGHTTP2_FLAG_NONE, stream->id,
                                                    (int32_t)bytes);
}

void http2_session_window(struct http2_session *session, uint32_t bytes)
{
    if (nghttp2_session_get_effective_local_window_size(session->inner) < (int32_t)bytes)
        (void)nghttp2_session_set_local_window_size(session->inner, NGHTTP2_FLAG_NONE, 0,
                                                    (int32_t)bytes);
}

size_t http2_stream_allowance(const struct http2_stream *stream)
{
    int32_t own, shared;

    if (!stream->session)
        return 0;
    own = nghttp2_session_get_stream_remote_window_size(stream->session->inner, stream->id);
    shared = nghttp2_session_get_remote_window_size(stream->session->inner);
    return (size_t)MAX(0, MIN(own, shared));
}

/* ---- the end of a connection */

void http2_session_notice(struct http2_session *session)
{
    (void)nghttp2_submit_shutdown_notice(session->inner);
}

void http2_session_goaway(struct http2_session *session, enum http2_code code)
{
    if (code != HTTP2_NO_ERROR)
        (void)nghttp2_session_terminate_session(session->inner, (uint32_t)code);
    else
        (void)nghttp2_submit_goaway(session->inner, NGHTTP2_FLAG_NONE,
                                    nghttp2_session_get_last_proc_stream_id(session->inner),
                                    NGHTTP2_NO_ERROR, NULL, 0);
}

void http2_session_ping(struct http2_session *session)
{
    (void)nghttp2_submit_ping(session->inner, NGHTTP2_FLAG_NONE, NULL);
}

uint64_t http2_session_pongs(const struct http2_session *session)
{
    return session->pongs;
}

/* ---- submitting */

_Static_assert(sizeof(struct http2_field) == sizeof(nghttp2_nv) &&
                   offsetof(struct http2_field, name) == offsetof(nghttp2_nv, name) &&
                   offsetof(struct http2_field, value) == offsetof(nghttp2_nv, value) &&
                   offsetof(struct http2_field, name_len) == offsetof(nghttp2_nv, namelen) &&
                   offsetof(struct http2_field, value_len) == offsetof(nghttp2_nv, valuelen) &&
                   offsetof(struct http2_field, flags) == offsetof(nghttp2_nv, flags) &&
                   HTTP2_FIELD_UNINDEXED == NGHTTP2_NV_FLAG_NO_INDEX,
               "a field is what nghttp2 takes");

static const nghttp2_nv *as_nv(const struct http2_field *fields)
{
    return (const nghttp2_nv *)(const void *)fields;
}

static int submit_result(int result)
{
    return result == 0 ? 0 : ERR_FAILED;
}

int http2_submit_response(struct http2_stream *stream, const struct http2_field *fields,
                          size_t count, bool ends)
{
    nghttp2_data_provider provider = {.read_callback = http2_on_read};

    if (!stream->session)
        return ERR_UNAVAILABLE;
    stream->is_submitted = true;
    return submit_result(nghttp2_submit_response(stream->session->inner, stream->id, as_nv(fields),
                                                 count, ends ? NULL : &provider));
}

int http2_submit_interim(struct http2_stream *stream, const struct http2_field *fields,
                         size_t count)
{
    if (!stream->session)
        return ERR_UNAVAILABLE;
    return submit_result(nghttp2_submit_headers(stream->session->inner, NGHTTP2_FLAG_NONE,
                                                stream->id, NULL, as_nv(fields), count, NULL));
}

int http2_submit_request(struct http2_session *session, struct http2_stream *stream,
                         const struct http2_field *fields, size_t count, bool ends)
{
    nghttp2_data_provider provider = {.read_callback = http2_on_read};
    int32_t id;

    if (http2_session_is_spent(session))
        return ERR_UNAVAILABLE;
    if (http2_session_room(session) == 0)
        return ERR_LIMIT;
    id = nghttp2_submit_request(session->inner, NULL, as_nv(fields), count, ends ? NULL : &provider,
                                stream);
    if (id < 0)
        return ERR_UNAVAILABLE;
    stream->is_submitted = true;
    stream->is_tunnel =
        slice_eq((struct slice){fields->value, fields->value_len}, SLICE("CONNECT"));
    http2_stream_enter(session, stream, id);
    return 0;
}

void http2_stream_ready(struct http2_stream *stream)
{
    if (!stream->is_waiting || !stream->session)
        return;
    stream->is_waiting = false;
    (void)nghttp2_session_resume_data(stream->session->inner, stream->id);
}

unsigned http2_session_room(struct http2_session *session)
{
    uint32_t limit = nghttp2_session_get_remote_settings(session->inner,
                                                         NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

    limit = MIN(limit, session->limits.streams);
    return session->stream_count < limit ? limit - session->stream_count : 0;
}

bool http2_session_is_spent(const struct http2_session *session)
{
    return session->is_doomed || !nghttp2_session_check_request_allowed(session->inner);
}

bool http2_session_has_settings(const struct http2_session *session)
{
    return session->has_settings;
}

bool http2_session_has_connect_protocol(struct http2_session *session)
{
    return nghttp2_session_get_remote_settings(session->inner,
                                               NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
}

/* ---- birth and death */

static nghttp2_option *options_make(bool is_server)
{
    nghttp2_option *option;

    if (nghttp2_option_new(&option) != 0)
        return NULL;
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_deflate_dynamic_table_size(option, DEFLATE_TABLE);
    nghttp2_option_set_max_continuations(option, CONTINUATIONS_MAX);
    /* Ours is the tighter limit, and one place decides. */
    nghttp2_option_set_stream_reset_rate_limit(option, 2000, 1000);
    if (is_server)
        nghttp2_option_set_builtin_recv_extension_type(option, NGHTTP2_PRIORITY_UPDATE);
    return option;
}

static int inner_new(struct http2_session *session)
{
    static nghttp2_session_callbacks *callbacks;
    static nghttp2_option *options[2];
    nghttp2_option *option;

    if (!callbacks)
        callbacks = http2_callbacks_new();
    if (!options[session->is_server])
        options[session->is_server] = options_make(session->is_server);
    option = options[session->is_server];
    if (!callbacks || !option)
        return NGHTTP2_ERR_NOMEM;
    return session->is_server ? nghttp2_session_server_new3(&session->inner, callbacks, session,
                                                            option, http2_memory())
                              : nghttp2_session_client_new3(&session->inner, callbacks, session,
                                                            option, http2_memory());
}

static int say_hello(struct http2_session *session)
{
    const struct http2_limits *limits = &session->limits;
    const nghttp2_settings_entry server[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits->streams},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits->head_bytes},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits->stream_window},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    const nghttp2_settings_entry client[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits->head_bytes},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits->stream_window},
    };

    return nghttp2_submit_settings(session->inner, NGHTTP2_FLAG_NONE,
                                   session->is_server ? server : client,
                                   session->is_server ? ARRAY_LEN(server) : ARRAY_LEN(client));
}

int http2_session_new(bool is_server, const struct http2_limits *limits,
                      const struct http2_events *events, struct http2_session **ret_session,
                      struct error *err)
{
    struct http2_session *session = calloc(1, sizeof(*session));
    int result;

    if (!session)
        return error_set(err, ERR_LIMIT, "out of memory");
    session->is_server = is_server;
    session->limits = *limits;
    session->events = events;
    list_init(&session->streams);
    http2_floods_reset(session);
    result = inner_new(session);
    if (result == 0)
        result = say_hello(session);
    if (result != 0) {
        http2_session_free(session);
        return error_set(err, ERR_FAILED, "unable to begin an HTTP/2 session: %s",
                         nghttp2_strerror(result));
    }
    if (limits->connection_window > NGHTTP2_INITIAL_CONNECTION_WINDOW_SIZE)
        http2_session_window(session, limits->connection_window);
    *ret_session = session;
    return 0;
}

void http2_session_free(struct http2_session *session)
{
    if (!session)
        return;
    list_each_safe (node, &session->streams) {
        struct http2_stream *stream = container_of(node, struct http2_stream, node);

        list_remove(node);
        stream->session = NULL;
    }
    http2_head_done(&session->head);
    nghttp2_session_del(session->inner); /* NULL allowed; calls nobody back */
    free(session);
}

void http2_session_set_owner(struct http2_session *session, void *owner)
{
    session->owner = owner;
}

void *http2_session_owner(const struct http2_session *session)
{
    return session->owner;
}
