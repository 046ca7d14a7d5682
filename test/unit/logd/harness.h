/* harness.h - logd in a child process, with the test as its keeper and its control. */
#ifndef TEST_LOGD_HARNESS_H
#define TEST_LOGD_HARNESS_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/keeper_protocol.h"
#include "base/log.h"
#include "base/peer_protocol.h"
#include "logd/logd.h"
#include "os/file.h"
#include "os/socket.h"

#define LABEL(app, service, release, instance, kind)                                               \
    app "\x1f" service "\x1f" release "\x1f" instance "\x1f" kind

struct harness {
    char directory[64];
    struct logd_settings settings;
    pid_t pid;
    int keeper_fd, control_fd;
    int held_fd; /* keeps a pipe open that nobody writes to */
};

static void harness_init(struct harness *harness)
{
    memset(harness, 0, sizeof *harness);
    harness->settings = LOGD_SETTINGS_DEFAULT;
    harness->keeper_fd = harness->control_fd = -1;
    (void)snprintf(harness->directory, sizeof harness->directory, "/tmp/slipway-logd-XXXXXX");
    assert_non_null(mkdtemp(harness->directory));
}

static inline void send_with_text(int fd, const void *head, size_t head_len, const char *text,
                                  size_t text_len, const int *fds, size_t fd_count)
{
    char message[4096];

    assert_true(head_len + text_len <= sizeof message);
    memcpy(message, head, head_len);
    memcpy(message + head_len, text, text_len);
    assert_int_equal(channel_send(fd, message, head_len + text_len, fds, fd_count), 0);
}

static inline bool wait_readable(int fd, int timeout_ms)
{
    struct pollfd state = {.fd = fd, .events = POLLIN};

    return poll(&state, 1, timeout_ms) == 1;
}

/* The next message from logd; its type, or 0 when none comes in time. */
static inline uint32_t keeper_receive(struct harness *harness, void *message, size_t capacity,
                                      int timeout_ms)
{
    int fds[CHANNEL_FDS_MAX];
    size_t len, fd_count;
    struct keeper_header header;

    if (!wait_readable(harness->keeper_fd, timeout_ms) ||
        channel_receive(harness->keeper_fd, message, capacity, &len, fds, &fd_count) || len == 0)
        return 0;
    memcpy(&header, message, sizeof header);
    return header.type;
}

/* Start logd and hand it the streams given so far by `hand_over` (may be NULL); returns once it is
 * READY. */
static inline void harness_start(struct harness *harness,
                                 void (*hand_over)(struct harness *, void *), void *context)
{
    struct keeper_hello hello = {.header.type = KEEPER_HELLO,
                                 .protocol_version = KEEPER_PROTOCOL_VERSION,
                                 .role = KEEPER_ROLE_LOGD,
                                 .log_level = LOG_ERROR};
    struct keeper_peer peer = {.header.type = KEEPER_PEER, .role = KEEPER_ROLE_CONTROL};
    struct keeper_table_end end = {.header.type = KEEPER_TABLE_END};
    struct error err = {0};
    int keeper[2], control[2];
    char answer[1024];

    assert_int_equal(channel_pair(keeper, &err), 0);
    assert_int_equal(channel_pair(control, &err), 0);
    harness->pid = fork();
    assert_true(harness->pid >= 0);
    if (harness->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        fd_close(keeper[0]);
        fd_close(control[0]);
        fd_close(control[1]);
        fd_close(harness->control_fd);
        log_init("logd", LOG_ERROR);
        _exit(logd_run(keeper[1], &harness->settings));
    }
    fd_close(keeper[1]);
    harness->keeper_fd = keeper[0];
    harness->control_fd = control[0];
    send_with_text(keeper[0], &hello, sizeof hello, harness->directory,
                   strlen(harness->directory) + 1, NULL, 0);
    assert_int_equal(channel_send(keeper[0], &peer, sizeof peer, &control[1], 1), 0);
    fd_close(control[1]);
    if (hand_over)
        hand_over(harness, context);
    assert_int_equal(channel_send(keeper[0], &end, sizeof end, NULL, 0), 0);
    for (;;) {
        uint32_t type = keeper_receive(harness, answer, sizeof answer, 20000);
        assert_int_not_equal(type, 0);
        if (type == KEEPER_READY)
            break;
    }
}

static inline void harness_give_stream(struct harness *harness, uint64_t id, uint64_t unit,
                                       uint32_t kind, const char *label, int read_fd)
{
    struct keeper_stream stream = {
        .header.type = KEEPER_STREAM, .stream = id, .unit = unit, .kind = kind};

    send_with_text(harness->keeper_fd, &stream, sizeof stream, label, strlen(label) + 1, &read_fd,
                   1);
}

/* Wait until logd says that the stream is done. */
static inline void harness_wait_done(struct harness *harness, uint64_t id)
{
    struct keeper_stream_done done = {0};

    while (keeper_receive(harness, &done, sizeof done, 20000) == KEEPER_STREAM_DONE)
        if (done.stream == id)
            return;
    fail_msg("logd did not say that stream %d is done", (int)id);
}

static inline void harness_kill(struct harness *harness)
{
    assert_int_equal(kill(harness->pid, SIGKILL), 0);
    assert_int_equal(waitpid(harness->pid, NULL, 0), harness->pid);
    fd_close(TAKE_FD(harness->keeper_fd));
    fd_close(TAKE_FD(harness->control_fd));
    harness->pid = 0;
}

static inline void harness_quit(struct harness *harness)
{
    struct keeper_quit quit = {.header.type = KEEPER_QUIT, .grace_ms = 3000};
    int status;

    assert_int_equal(channel_send(harness->keeper_fd, &quit, sizeof quit, NULL, 0), 0);
    assert_int_equal(waitpid(harness->pid, &status, 0), harness->pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    fd_close(TAKE_FD(harness->keeper_fd));
    fd_close(TAKE_FD(harness->control_fd));
    harness->pid = 0;
}

static inline void harness_done(struct harness *harness)
{
    struct error err = {0};

    if (harness->pid)
        harness_kill(harness);
    assert_int_equal(directory_remove_tree(harness->directory, &err), 0);
}

struct query_options {
    const char *app, *service, *instance, *regex;
    struct peer_log_query request;
};

/* Begin a query; returns the read end of the answer. */
static inline int harness_query(struct harness *harness, struct query_options options)
{
    char text[2048];
    struct buf strings = BUF_INIT(sizeof text);
    const char *given[] = {options.app, options.service, options.instance, options.regex};
    int ends[2];

    for (size_t i = 0; i < ARRAY_LEN(given); i++) {
        buf_append_text(&strings, given[i] ? given[i] : "");
        buf_append_byte(&strings, '\0');
    }
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    options.request.type = PEER_LOG_QUERY;
    send_with_text(harness->control_fd, &options.request, sizeof options.request, strings.ptr,
                   strings.len, &ends[1], 1);
    fd_close(ends[1]);
    buf_done(&strings);
    return ends[0];
}

/* Read to the end of file. */
static inline void read_all(int fd, struct buf *ret_text)
{
    char chunk[65536];

    for (;;) {
        ssize_t n;
        assert_true(wait_readable(fd, 20000));
        n = read(fd, chunk, sizeof chunk);
        assert_true(n >= 0);
        if (n == 0)
            break;
        buf_append(ret_text, chunk, (size_t)n);
        assert_false(ret_text->failed);
    }
    fd_close(fd);
}

static inline void harness_ask(struct harness *harness, struct query_options options,
                               struct buf *ret_text)
{
    buf_clear(ret_text);
    read_all(harness_query(harness, options), ret_text);
}

static inline size_t count_lines(struct slice text)
{
    size_t count = 0;

    for (size_t i = 0; i < text.len; i++)
        count += text.ptr[i] == '\n';
    return count;
}

static inline void write_text(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        assert_true(n > 0);
        text += n;
        len -= (size_t)n;
    }
}

#endif
