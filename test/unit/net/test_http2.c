#include "net/http2.h"

#include "base/buf.h"
#include "net/http2_private.h"
#include "unit.h"

/* A session and a peer that writes frames by hand, so that it may write wrong ones. */

enum {
    DATA,
    HEADERS,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    PUSH,
    PING,
    GOAWAY,
    WINDOW_UPDATE,
    CONTINUATION
};
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };

struct peer_stream {
    struct http2_stream stream;
    struct http2_text text;
    char bytes[65536 + HTTP2_TEXT_EXTRA];
    char trailer_bytes[8192];
    struct http2_text trailers;
    unsigned heads, status, ends, closes;
    bool has_trailers;
    struct buf body;
    const char *answer; /* what is left to send */
};

struct fixture {
    struct http2_session *session;
    struct peer_stream streams[8];
    unsigned opened, limit;
    int32_t goaway;
    uint64_t now_us;
    struct buf in, out;
};

static struct fixture *self;

static struct peer_stream *owner_of(struct http2_stream *stream)
{
    return container_of(stream, struct peer_stream, stream);
}

static struct peer_stream *stream_prepare(unsigned index)
{
    struct peer_stream *stream = &self->streams[index % ARRAY_LEN(self->streams)];

    buf_done(&stream->body);
    memset(stream, 0, sizeof(*stream));
    stream->body = BUF_INIT(1 << 20);
    return stream;
}

static struct http2_stream *on_open(struct http2_session *session)
{
    (void)session;
    if (self->opened >= self->limit)
        return NULL;
    return &stream_prepare(self->opened++)->stream;
}

static struct http2_text *on_block(struct http2_stream *stream, enum http2_block block)
{
    struct peer_stream *owner = owner_of(stream);

    if (block == HTTP2_TRAILERS) {
        owner->trailers =
            (struct http2_text){owner->trailer_bytes, 0, sizeof(owner->trailer_bytes)};
        return &owner->trailers;
    }
    owner->text = (struct http2_text){owner->bytes, 0, sizeof(owner->bytes)};
    return &owner->text;
}

static void on_head(struct http2_stream *stream, unsigned status)
{
    owner_of(stream)->heads++;
    owner_of(stream)->status = status;
}

static void on_trailers(struct http2_stream *stream)
{
    owner_of(stream)->has_trailers = true;
}

static void on_data(struct http2_stream *stream, struct slice data)
{
    buf_append_slice(&owner_of(stream)->body, data);
}

static void on_end(struct http2_stream *stream)
{
    owner_of(stream)->ends++;
}

static void on_closed(struct http2_stream *stream)
{
    owner_of(stream)->closes++;
}

static void copy(struct http2_stream *stream, char *to, size_t len)
{
    struct peer_stream *owner = owner_of(stream);

    memcpy(to, owner->answer, len);
    owner->answer += len;
    stream->sendable -= len;
}

static void on_goaway(struct http2_session *session, int32_t last_id)
{
    (void)session;
    self->goaway = last_id;
}

static const struct http2_events events = {
    .on_open = on_open,
    .on_block = on_block,
    .on_head = on_head,
    .on_trailers = on_trailers,
    .on_data = on_data,
    .on_end = on_end,
    .on_closed = on_closed,
    .copy = copy,
    .on_goaway = on_goaway,
};

static const struct http2_limits limits = {.streams = 100,
                                           .head_bytes = 16384,
                                           .field_count = 100,
                                           .connection_window = 65535,
                                           .stream_window = 65535};

/* ---- the peer's pen */

static void frame(unsigned type, unsigned flags, uint32_t id, const void *bytes, size_t len)
{
    uint8_t head[9] = {(uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len,
                       (uint8_t)type,        (uint8_t)flags,      (uint8_t)(id >> 24),
                       (uint8_t)(id >> 16),  (uint8_t)(id >> 8),  (uint8_t)id};

    buf_append(&self->in, head, sizeof(head));
    buf_append(&self->in, bytes, len);
}

static void number_frame(unsigned type, uint32_t id, uint32_t value)
{
    uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                        (uint8_t)value};

    frame(type, 0, id, bytes, sizeof(bytes));
}

/* "name: value" lines as literals without indexing; ':' of a pseudo-header belongs to its name. */
static size_t literals(uint8_t *at, const char *const *lines)
{
    uint8_t *start = at;

    for (; *lines; lines++) {
        const char *colon = strchr(*lines + 1, ':');
        size_t name_len = (size_t)(colon - *lines), value_len = strlen(colon + 2);

        *at++ = 0;
        assert_true(name_len < 127);
        *at++ = (uint8_t)name_len;
        memcpy(at, *lines, name_len);
        at += name_len;
        if (value_len < 127) {
            *at++ = (uint8_t)value_len;
        } else {
            size_t rest = value_len - 127;

            *at++ = 127;
            for (; rest >= 128; rest >>= 7)
                *at++ = (uint8_t)(rest | 128);
            *at++ = (uint8_t)rest;
        }
        memcpy(at, colon + 2, value_len);
        at += value_len;
    }
    return (size_t)(at - start);
}

#define headers(flags, id, ...)                                                                    \
    do {                                                                                           \
        static uint8_t block_[65536];                                                              \
        const char *lines_[] = {__VA_ARGS__, NULL};                                                \
        frame(HEADERS, (flags) | END_HEADERS, id, block_, literals(block_, lines_));               \
    } while (0)

#define GET ":method: GET", ":scheme: https", ":authority: a.test", ":path: /x?y=1"

static bool deliver(void)
{
    bool result = http2_session_receive(self->session, self->in.ptr, self->in.len, self->now_us);

    buf_clear(&self->in);
    return result;
}

static void collect(void)
{
    static char bytes[65536];
    size_t len;

    while ((len = http2_session_pack(self->session, bytes, sizeof(bytes))))
        buf_append(&self->out, bytes, len);
}

/* The first frame of that type that was sent and not seen yet; cleared from there on. */
static bool sent(unsigned type, unsigned *ret_flags, uint32_t *ret_id, struct slice *ret_payload)
{
    static char kept[1 << 20];
    const uint8_t *at;
    size_t offset = 0;

    collect();
    while (offset + 9 <= self->out.len) {
        size_t len;

        at = (const uint8_t *)self->out.ptr + offset;
        len = (size_t)(at[0] << 16 | at[1] << 8 | at[2]);
        if (at[3] == type) {
            *ret_flags = at[4];
            *ret_id = (uint32_t)at[5] << 24 | (uint32_t)(at[6] << 16 | at[7] << 8 | at[8]);
            memcpy(kept, at + 9, len);
            *ret_payload = (struct slice){kept, len};
            buf_consume(&self->out, offset + 9 + len);
            return true;
        }
        offset += 9 + len;
    }
    return false;
}

static uint32_t sent_number(unsigned type, uint32_t *ret_id)
{
    struct slice payload;
    unsigned flags;
    const uint8_t *at;

    assert_true(sent(type, &flags, ret_id, &payload));
    at = (const uint8_t *)payload.ptr + payload.len - 4;
    if (type == GOAWAY)
        at = (const uint8_t *)payload.ptr + 4;
    return (uint32_t)at[0] << 24 | (uint32_t)(at[1] << 16 | at[2] << 8 | at[3]);
}

static void open_session(bool is_server)
{
    struct error err = {0};

    assert_int_equal(http2_session_new(is_server, &limits, &events, &self->session, &err), 0);
    if (is_server)
        buf_append(&self->in, HTTP2_PREFACE, HTTP2_PREFACE_LEN);
    frame(SETTINGS, 0, 0, NULL, 0);
}

static int setup(void **state)
{
    self = calloc(1, sizeof(*self));
    assert_non_null(self);
    self->in = BUF_INIT(8u << 20);
    self->out = BUF_INIT(8u << 20);
    self->limit = UINT32_MAX;
    self->now_us = 1000000;
    open_session(true);
    *state = self;
    return 0;
}

static int teardown(void **state)
{
    http2_session_free(self->session);
    for (size_t i = 0; i < ARRAY_LEN(self->streams); i++)
        buf_done(&self->streams[i].body);
    buf_done(&self->in);
    buf_done(&self->out);
    free(self);
    *state = NULL;
    return 0;
}

static int setup_client(void **state)
{
    (void)setup(state);
    http2_session_free(self->session);
    buf_clear(&self->in);
    open_session(false);
    return 0;
}

static void assert_text(const struct peer_stream *stream, const char *wanted)
{
    assert_slice_equal(((struct slice){stream->bytes, stream->text.len}), wanted);
}

/* ---- requests */

static void a_request_comes_out_as_the_http1_block_it_stands_for(void **state)
{
    (void)state;
    headers(END_STREAM, 1, GET, "accept: */*", "te: trailers");
    assert_true(deliver());
    assert_int_equal(self->streams[0].heads, 1);
    assert_int_equal(self->streams[0].ends, 1);
    assert_int_equal(self->streams[0].status, 0);
    assert_text(&self->streams[0], "GET /x?y=1 HTTP/1.1\r\nhost: a.test\r\naccept: */*\r\n"
                                   "te: trailers\r\n\r\n");
}

static void crumbs_of_a_cookie_become_one_field(void **state)
{
    (void)state;
    headers(END_STREAM, 1, GET, "cookie: a=1", "x: y", "cookie: b=2", "cookie: c=3");
    assert_true(deliver());
    assert_text(&self->streams[0], "GET /x?y=1 HTTP/1.1\r\nhost: a.test\r\n"
                                   "cookie: a=1; b=2; c=3\r\nx: y\r\n\r\n");
}

static void an_extended_connect_becomes_an_upgrade(void **state)
{
    (void)state;
    headers(0, 1, ":method: CONNECT", ":protocol: websocket", ":scheme: https",
            ":authority: a.test", ":path: /chat", "sec-websocket-version: 13",
            "sec-websocket-key: mine");
    assert_true(deliver());
    assert_true(self->streams[0].stream.is_tunnel);
    assert_text(&self->streams[0], "GET /chat HTTP/1.1\r\nhost: a.test\r\nsec-websocket-version: 13"
                                   "\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
}

#define refused(...)                                                                               \
    do {                                                                                           \
        uint32_t id_;                                                                              \
        headers(END_STREAM, next_id, __VA_ARGS__);                                                 \
        assert_true(deliver());                                                                    \
        assert_int_equal(sent_number(RST_STREAM, &id_), HTTP2_PROTOCOL_ERROR);                     \
        assert_int_equal(id_, next_id);                                                            \
        next_id += 2;                                                                              \
    } while (0)

static void malformed_requests_are_reset_and_never_seen(void **state)
{
    uint32_t next_id = 1;

    (void)state;
    refused(GET, "Accept: */*");
    refused(GET, "connection: close");
    refused(GET, "transfer-encoding: chunked");
    refused(GET, "keep-alive: 1");
    refused(GET, "upgrade: h2c");
    refused(GET, "te: gzip");
    refused(GET, "host: b.test");
    refused(GET, "x: a\r\nevil: 1");
    refused(GET, "x: a\nevil: 1");
    refused(GET, "x:  leading");
    refused(GET, "x: trailing ");
    refused(GET, "na me: x");
    refused(GET, "x: y", ":path: /late");
    refused(GET, ":path: /twice");
    refused(GET, ":status: 200");
    refused(GET, ":unknown: 1");
    refused(":method: GET", ":scheme: https", ":authority: a.test");
    refused(":method: GET", ":authority: a.test", ":path: /");
    refused(":scheme: https", ":authority: a.test", ":path: /");
    refused(":method: GET", ":scheme: https", ":authority: a.test", ":path: ");
    refused(":method: GET", ":scheme: https", ":authority: a.test", ":path: x");
    refused(":method: GET", ":scheme: foo", ":authority: a.test", ":path: http://b.test/");
    refused(":method: GET", ":scheme: https", ":authority: a.test", ":path: *");
    refused(":method: GET", ":scheme: https", ":authority: a.test", ":path: / HTTP/1.1\r\nx: y");
    refused(GET, "content-length: 5");
    refused(GET, "content-length: +5");
    for (size_t i = 0; i < ARRAY_LEN(self->streams); i++)
        assert_int_equal(self->streams[i].heads, 0);
}

static void a_body_that_differs_from_its_length_is_reset(void **state)
{
    uint32_t id;

    (void)state;
    headers(0, 1, GET, "content-length: 5");
    frame(DATA, END_STREAM, 1, "abc", 3);
    assert_true(deliver());
    assert_int_equal(self->streams[0].ends, 0);
    assert_int_equal(sent_number(RST_STREAM, &id), HTTP2_PROTOCOL_ERROR);
    assert_int_equal(self->streams[0].closes, 1);
    headers(0, 3, GET, "content-length: 2");
    frame(DATA, 0, 3, "abc", 3);
    assert_true(deliver());
    assert_int_equal(sent_number(RST_STREAM, &id), HTTP2_PROTOCOL_ERROR);
}

static void body_and_trailers_arrive_in_order(void **state)
{
    (void)state;
    headers(0, 1, GET);
    frame(DATA, 0, 1, "hello ", 6);
    frame(DATA, 0, 1, "world", 5);
    headers(END_STREAM, 1, "grpc-status: 0", "x-sum: 9");
    assert_true(deliver());
    assert_slice_equal(buf_slice(&self->streams[0].body), "hello world");
    assert_true(self->streams[0].has_trailers);
    assert_slice_equal(
        ((struct slice){self->streams[0].trailer_bytes, self->streams[0].trailers.len}),
        "grpc-status: 0\r\nx-sum: 9\r\n");
    assert_int_equal(self->streams[0].ends, 1);
}

static void a_header_list_over_the_limit_is_431_and_one_far_over_ends_the_connection(void **state)
{
    static char big[16300], bomb[20000];
    uint32_t id;

    (void)state;
    memset(big, 'x', sizeof(big) - 1);
    memcpy(big, "x: ", 3);
    headers(END_STREAM, 1, GET, big);
    assert_true(deliver());
    assert_int_equal(self->streams[0].status, 431);
    /* A small field in the table, then one byte for each time it is meant. */
    memset(bomb, 0xbe, sizeof(bomb));
    bomb[0] = 0x40;
    memcpy(bomb + 1, "\1a\1b", 4);
    frame(HEADERS, END_HEADERS | END_STREAM, 3, bomb, 16000);
    assert_false(deliver());
    assert_int_equal(sent_number(GOAWAY, &id), HTTP2_ENHANCE_YOUR_CALM);
}

static void continuations_are_bounded(void **state)
{
    (void)state;
    frame(HEADERS, 0, 1, "", 0);
    for (int i = 0; i < 20; i++)
        frame(CONTINUATION, 0, 1, "", 0);
    assert_false(deliver());
}

static void streams_that_the_owner_refuses_may_be_sent_again(void **state)
{
    uint32_t id;

    (void)state;
    self->limit = 0;
    headers(END_STREAM, 1, GET);
    assert_true(deliver());
    assert_int_equal(sent_number(RST_STREAM, &id), HTTP2_REFUSED_STREAM);
}

static void frames_on_streams_that_they_cannot_be_on_end_the_connection(void **state)
{
    static const uint8_t priority[5] = {0, 0, 0, 0, 1};
    uint32_t id;

    (void)state;
    headers(END_STREAM, 5, GET);
    assert_true(deliver());
    frame(PRIORITY, 0, 1, priority, sizeof(priority));
    assert_true(deliver());
    headers(END_STREAM, 3, GET); /* skipped, and never to be used */
    assert_false(deliver());
    assert_int_equal(sent_number(GOAWAY, &id), HTTP2_PROTOCOL_ERROR);

    http2_session_free(self->session);
    buf_clear(&self->in);
    buf_clear(&self->out);
    open_session(true);
    frame(PRIORITY, 0, 0, priority, sizeof(priority));
    assert_false(deliver());
    assert_int_equal(sent_number(GOAWAY, &id), HTTP2_PROTOCOL_ERROR);
}

/* ---- floods */

static void each_kind_of_flood_ends_the_connection(void **state)
{
    static const uint8_t ping[8], priority[5] = {0, 0, 0, 0, 1};

    (void)state;
    for (unsigned kind = 0; kind < 6; kind++) {
        uint32_t id;
        unsigned rounds = kind == 4 ? 6000 : 1200;

        http2_session_free(self->session);
        buf_clear(&self->in);
        buf_clear(&self->out);
        open_session(true);
        if (kind == 2)
            headers(0, 1, GET);
        for (unsigned i = 0; i < rounds; i++)
            switch (kind) {
            case 0:
                frame(PING, 0, 0, ping, sizeof(ping));
                break;
            case 1:
                frame(SETTINGS, 0, 0, NULL, 0);
                break;
            case 2:
                frame(DATA, i % 2 ? PADDED : 0, 1, "\0", i % 2);
                break;
            case 3:
                frame(PRIORITY, 0, 1 + 2 * i, priority, sizeof(priority));
                break;
            case 4:
                number_frame(WINDOW_UPDATE, 0, 1);
                break;
            default:
                headers(END_STREAM, 1 + 2 * i, GET);
                number_frame(RST_STREAM, 1 + 2 * i, HTTP2_CANCEL);
                break;
            }
        assert_false(deliver());
        assert_string_not_equal(http2_session_failure(self->session), "");
        assert_int_equal(sent_number(GOAWAY, &id), HTTP2_ENHANCE_YOUR_CALM);
        assert_true(self->out.len < 65536);
    }
}

static void resets_that_the_peer_provokes_are_counted_too(void **state)
{
    unsigned made = 0;
    bool is_alive = true;

    (void)state;
    for (uint32_t id = 1; is_alive && made < 1000; id += 2, made++) {
        headers(0, id, GET);
        number_frame(WINDOW_UPDATE, id, 0x7fffffff);
        is_alive = deliver();
        collect();
    }
    assert_true(made < 100);
    assert_false(http2_session_receive(self->session, "", 0, self->now_us));
}

static void patience_grows_back_with_time(void **state)
{
    static const uint8_t ping[8];

    (void)state;
    for (unsigned i = 0; i < 2000; i++) {
        frame(PING, 0, 0, ping, sizeof(ping));
        self->now_us += 50000;
        assert_true(deliver());
        collect();
    }
}

static void patience_grows_back_in_a_session_that_never_rests(void **state)
{
    (void)state;
    for (uint32_t id = 1; id < 2 * 400; id += 2) {
        headers(0, id, GET);
        number_frame(WINDOW_UPDATE, id, 0x7fffffff);
        for (unsigned i = 0; i < 3; i++) {
            self->now_us += 110000;
            assert_true(deliver());
            collect();
        }
    }
}

/* ---- answers */

static void an_answer_is_framed_as_its_windows_allow(void **state)
{
    static char body[100000];
    const struct http2_field fields[] = {{":status", "200", 7, 3, 0}, {"X-Up", "v", 4, 1, 0}};
    struct peer_stream *stream = &self->streams[0];
    struct slice payload;
    unsigned flags = 0;
    uint32_t id;
    size_t total = 0;

    (void)state;
    headers(END_STREAM, 1, GET);
    assert_true(deliver());
    assert_int_equal(http2_submit_response(&stream->stream, fields, 2, false), 0);
    collect();
    stream->answer = body;
    stream->stream.sendable = sizeof(body);
    stream->stream.ends = true;
    http2_stream_ready(&stream->stream);
    assert_true(sent(HEADERS, &flags, &id, &payload));
    while (sent(DATA, &flags, &id, &payload))
        total += payload.len;
    assert_int_equal(total, 65535);
    assert_int_equal(http2_stream_allowance(&stream->stream), 0);
    number_frame(WINDOW_UPDATE, 0, 100000);
    number_frame(WINDOW_UPDATE, 1, 100000);
    assert_true(deliver());
    while (sent(DATA, &flags, &id, &payload))
        total += payload.len;
    assert_int_equal(total, sizeof(body));
    assert_true(flags & END_STREAM);
    assert_int_equal(stream->closes, 1);
}

static void trailers_follow_the_body(void **state)
{
    const struct http2_field fields[] = {{":status", "200", 7, 3, 0}};
    struct peer_stream *stream = &self->streams[0];
    struct slice payload;
    unsigned flags;
    uint32_t id;

    (void)state;
    headers(END_STREAM, 1, GET);
    assert_true(deliver());
    assert_int_equal(http2_submit_response(&stream->stream, fields, 1, false), 0);
    stream->answer = "abc";
    stream->stream.sendable = 3;
    stream->stream.ends = true;
    stream->stream.trailers = SLICE("grpc-status: 0\r\n");
    assert_true(sent(HEADERS, &flags, &id, &payload));
    assert_true(sent(DATA, &flags, &id, &payload));
    assert_false(flags & END_STREAM);
    assert_true(sent(HEADERS, &flags, &id, &payload));
    assert_true(flags & END_STREAM);
    assert_int_equal(stream->closes, 1);
}

static void whoever_leaves_hears_nothing_any_more(void **state)
{
    uint32_t id;

    (void)state;
    headers(0, 1, GET);
    assert_true(deliver());
    http2_stream_leave(&self->streams[0].stream, HTTP2_CANCEL);
    frame(DATA, END_STREAM, 1, "x", 1);
    assert_true(deliver());
    assert_int_equal(sent_number(RST_STREAM, &id), HTTP2_CANCEL);
    assert_int_equal(self->streams[0].body.len, 0);
    assert_int_equal(self->streams[0].closes, 0);
}

static void a_window_opens_only_as_its_owner_consumes(void **state)
{
    static char data[16384];
    struct slice payload;
    unsigned flags;
    uint32_t id;

    (void)state;
    headers(0, 1, GET);
    for (int i = 0; i < 3; i++)
        frame(DATA, 0, 1, data, sizeof(data));
    assert_true(deliver());
    assert_false(sent(WINDOW_UPDATE, &flags, &id, &payload));
    http2_session_consume_connection(self->session, 3 * sizeof(data));
    http2_stream_consume(&self->streams[0].stream, 3 * sizeof(data));
    assert_true(sent(WINDOW_UPDATE, &flags, &id, &payload));
    assert_true(sent(WINDOW_UPDATE, &flags, &id, &payload));
    http2_stream_window(&self->streams[0].stream, 200000);
    assert_int_equal(sent_number(WINDOW_UPDATE, &id), 200000 - 65535);
    assert_int_equal(id, 1);
}

static void a_drain_says_goaway_twice(void **state)
{
    struct slice payload;
    unsigned flags;
    uint32_t id;

    (void)state;
    headers(0, 1, GET);
    assert_true(deliver());
    http2_session_notice(self->session);
    assert_true(sent(GOAWAY, &flags, &id, &payload));
    assert_memory_equal(payload.ptr, "\x7f\xff\xff\xff", 4);
    http2_session_goaway(self->session, HTTP2_NO_ERROR);
    assert_true(sent(GOAWAY, &flags, &id, &payload));
    assert_memory_equal(payload.ptr, "\0\0\0\1", 4);
    assert_false(http2_session_is_over(self->session));
}

static void a_header_block_is_on_its_way_until_it_is_read_or_refused(void **state)
{
    static const char *const wrong[][2] = {
        {"host: b.test", NULL}, {"x: a\rb", NULL}, {"connection: close", NULL}, {"UP: x", NULL}};
    uint8_t block[512];
    uint32_t id = 1;

    (void)state;
    self->now_us = 7000000;
    frame(HEADERS, END_STREAM, id, block, literals(block, (const char *const[]){GET, NULL}));
    assert_true(deliver());
    assert_int_equal(http2_session_head_since(self->session), 7000000);
    frame(CONTINUATION, END_HEADERS, id, "", 0);
    assert_true(deliver());
    assert_int_equal(http2_session_head_since(self->session), 0);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        id += 2;
        headers(END_STREAM, id, GET, wrong[i][0]);
        assert_true(deliver());
        assert_int_equal(http2_session_head_since(self->session), 0);
    }
    headers(END_STREAM, id + 2, ":method: GET"); /* and no more */
    assert_true(deliver());
    assert_int_equal(http2_session_head_since(self->session), 0);
}

/* ---- the client side */

static const struct http2_field get_fields[] = {{":method", "GET", 7, 3, 0},
                                                {":scheme", "http", 7, 4, 0},
                                                {":authority", "a", 10, 1, 0},
                                                {":path", "/", 5, 1, 0}};

static void a_response_comes_out_as_an_http1_block(void **state)
{
    struct peer_stream *stream = stream_prepare(0);

    (void)state;
    assert_true(deliver());
    assert_int_equal(http2_submit_request(self->session, &stream->stream, get_fields, 4, true), 0);
    collect();
    headers(0, 1, ":status: 103", "link: </a>");
    assert_true(deliver());
    assert_text(stream, "HTTP/1.1 103 \r\nlink: </a>\r\n\r\n");
    assert_false(stream->stream.is_head_received);
    headers(0, 1, ":status: 200", "content-length: 2");
    frame(DATA, 0, 1, "ok", 2);
    headers(END_STREAM, 1, "x-sum: 1");
    assert_true(deliver());
    assert_text(stream, "HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\n");
    assert_slice_equal(buf_slice(&stream->body), "ok");
    assert_true(stream->has_trailers);
    assert_int_equal(stream->closes, 1);
    assert_int_equal(stream->stream.code, HTTP2_NO_ERROR);
}

static void requests_above_the_goaway_come_back_as_refused(void **state)
{
    struct peer_stream *first = stream_prepare(0), *second = stream_prepare(1);

    (void)state;
    assert_true(deliver());
    assert_int_equal(http2_submit_request(self->session, &first->stream, get_fields, 4, true), 0);
    assert_int_equal(http2_submit_request(self->session, &second->stream, get_fields, 4, true), 0);
    collect();
    frame(GOAWAY, 0, 0, "\0\0\0\1\0\0\0\0", 8);
    assert_true(deliver());
    assert_int_equal(self->goaway, 1);
    assert_int_equal(second->closes, 1);
    assert_int_equal(second->stream.code, HTTP2_REFUSED_STREAM);
    assert_int_equal(first->closes, 0);
    second = stream_prepare(1);
    assert_int_equal(http2_submit_request(self->session, &second->stream, get_fields, 4, true),
                     ERR_UNAVAILABLE);
}

static void the_peers_limit_on_streams_holds(void **state)
{
    struct peer_stream *first = stream_prepare(0), *second = stream_prepare(1);

    (void)state;
    frame(SETTINGS, 0, 0, "\0\3\0\0\0\1", 6);
    assert_true(deliver());
    assert_int_equal(http2_submit_request(self->session, &first->stream, get_fields, 4, true), 0);
    assert_int_equal(http2_submit_request(self->session, &second->stream, get_fields, 4, true),
                     ERR_LIMIT);
    assert_int_equal(http2_session_room(self->session), 0);
}

static void a_session_without_identifiers_left_is_spent(void **state)
{
    struct peer_stream *first = stream_prepare(0), *second = stream_prepare(1);

    (void)state;
    assert_int_equal(nghttp2_session_set_next_stream_id(self->session->inner, INT32_MAX), 0);
    assert_false(http2_session_is_spent(self->session));
    assert_int_equal(http2_submit_request(self->session, &first->stream, get_fields, 4, true), 0);
    assert_true(http2_session_is_spent(self->session));
    assert_int_equal(http2_submit_request(self->session, &second->stream, get_fields, 4, true),
                     ERR_UNAVAILABLE);
}

static void an_extended_connect_that_is_agreed_to_comes_out_as_101(void **state)
{
    static const struct http2_field fields[] = {{":method", "CONNECT", 7, 7, 0},
                                                {":protocol", "websocket", 9, 9, 0},
                                                {":scheme", "https", 7, 5, 0},
                                                {":authority", "a.test", 10, 6, 0},
                                                {":path", "/", 5, 1, 0}};
    struct peer_stream *first = stream_prepare(0), *second = stream_prepare(1);

    (void)state;
    assert_false(http2_session_has_settings(self->session));
    frame(SETTINGS, 0, 0, "\0\10\0\0\0\1", 6);
    assert_true(deliver());
    assert_true(http2_session_has_settings(self->session));
    assert_true(http2_session_has_connect_protocol(self->session));
    assert_int_equal(http2_submit_request(self->session, &first->stream, fields, 5, false), 0);
    assert_int_equal(http2_submit_request(self->session, &second->stream, fields, 5, false), 0);
    collect();
    headers(0, 1, ":status: 200", "sec-websocket-protocol: chat");
    headers(0, 3, ":status: 404");
    assert_true(deliver());
    assert_text(first, "HTTP/1.1 101 \r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                       "sec-websocket-protocol: chat\r\n\r\n");
    assert_text(second, "HTTP/1.1 404 \r\n\r\n");
}

static void the_accept_value_is_that_of_rfc_6455(void **state)
{
    char accept[HTTP2_WEBSOCKET_ACCEPT_SIZE], key[HTTP2_WEBSOCKET_KEY_SIZE];

    (void)state;
    http2_websocket_key((const uint8_t *)"the sample nonce", key);
    assert_string_equal(key, "dGhlIHNhbXBsZSBub25jZQ==");
    http2_websocket_accept(key, accept);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#define with(test)        cmocka_unit_test_setup_teardown(test, setup, teardown)
#define with_client(test) cmocka_unit_test_setup_teardown(test, setup_client, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with(a_request_comes_out_as_the_http1_block_it_stands_for),
        with(crumbs_of_a_cookie_become_one_field),
        with(an_extended_connect_becomes_an_upgrade),
        with(malformed_requests_are_reset_and_never_seen),
        with(a_body_that_differs_from_its_length_is_reset),
        with(body_and_trailers_arrive_in_order),
        with(a_header_list_over_the_limit_is_431_and_one_far_over_ends_the_connection),
        with(continuations_are_bounded),
        with(streams_that_the_owner_refuses_may_be_sent_again),
        with(frames_on_streams_that_they_cannot_be_on_end_the_connection),
        with(each_kind_of_flood_ends_the_connection),
        with(resets_that_the_peer_provokes_are_counted_too),
        with(patience_grows_back_with_time),
        with(patience_grows_back_in_a_session_that_never_rests),
        with(an_answer_is_framed_as_its_windows_allow),
        with(trailers_follow_the_body),
        with(whoever_leaves_hears_nothing_any_more),
        with(a_window_opens_only_as_its_owner_consumes),
        with(a_drain_says_goaway_twice),
        with(a_header_block_is_on_its_way_until_it_is_read_or_refused),
        with_client(a_response_comes_out_as_an_http1_block),
        with_client(requests_above_the_goaway_come_back_as_refused),
        with_client(the_peers_limit_on_streams_holds),
        with_client(a_session_without_identifiers_left_is_spent),
        with_client(an_extended_connect_that_is_agreed_to_comes_out_as_101),
        cmocka_unit_test(the_accept_value_is_that_of_rfc_6455),
    };

    return cmocka_run_group_tests_name("http2", tests, NULL, NULL);
}
