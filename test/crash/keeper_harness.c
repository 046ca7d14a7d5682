#include "keeper_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* after what it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "keeper/keeper.h"
#include "os/file.h"

#define NOBODY          65534
#define SOCKET_VARIABLE "SLIPWAY_TEST_SOCKET"

static const struct keeper_role_entry roles[] = {
    {KEEPER_ROLE_LOGD, "logd", "slipway-log", false, NULL},
    {KEEPER_ROLE_CONTROL, "control", "slipway", false, NULL},
    {KEEPER_ROLE_EDGE, "edge", "slipway-edge", true, NULL},
};

/* ---- the puppets' side */

void harness_role_main(const char *title)
{
    const char *path = getenv(SOCKET_VARIABLE);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fds[1] = {KEEPER_CHANNEL_FD};
    unsigned char status = 1;
    int string;

    if (strncmp(title, KEEPER_TITLE_PREFIX, strlen(KEEPER_TITLE_PREFIX)) != 0)
        return;
    if (!path || strlen(path) >= sizeof address.sun_path)
        _exit(99);
    memcpy(address.sun_path, path, strlen(path));
    string = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (string < 0 || connect(string, (struct sockaddr *)&address, sizeof address) < 0)
        _exit(98); /* no test is there any more */
    if (channel_send(string, title, strlen(title) + 1, fds, 1) < 0)
        _exit(97);
    (void)signal(SIGINT, SIG_IGN);
    if (read(string, &status, 1) != 1)
        _exit(96);
    _exit(status);
}

/* ---- the test's side */

bool harness_can(enum harness_mode mode)
{
    return mode == MODE_USER || geteuid() == 0;
}

const char *harness_mode_name(enum harness_mode mode)
{
    static const char *const names[MODE_COUNT] = {"root", "root without control groups", "user"};

    return names[mode];
}

static bool wait_readable(int fd, int wait_ms)
{
    struct pollfd watch = {.fd = fd, .events = POLLIN};
    int count;

    do
        count = poll(&watch, 1, wait_ms);
    while (count < 0 && errno == EINTR);
    return count > 0;
}

static void puppet_accept_any(struct harness *harness, struct puppet *puppet)
{
    struct puppet new = {.channel = -1};
    struct peer peer;
    int fds[CHANNEL_FDS_MAX];
    size_t len, fd_count;

    assert_true(wait_readable(harness->listener, HARNESS_WAIT_MS));
    new.string = accept4(harness->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(new.string >= 0);
    assert_true(wait_readable(new.string, HARNESS_WAIT_MS));
    assert_int_equal(channel_receive(new.string, new.title, sizeof new.title, &len, fds, &fd_count),
                     0);
    assert_int_equal(fd_count, 1);
    new.channel = fds[0];
    assert_int_equal(socket_peer(new.string, &peer, NULL), 0);
    new.pid = peer.pid;
    fd_close(puppet->string);
    fd_close(puppet->channel);
    *puppet = new;
}

void puppet_accept(struct harness *harness, const char *title, struct puppet *puppet)
{
    puppet_accept_any(harness, puppet);
    assert_string_equal(puppet->title, title);
}

void puppet_end(struct puppet *puppet, unsigned char status)
{
    (void)send(puppet->string, &status, 1, MSG_NOSIGNAL);
}

void puppet_kill(struct puppet *puppet)
{
    assert_int_equal(kill(puppet->pid, SIGKILL), 0);
}

bool puppet_receive_any(struct puppet *puppet, struct received *ret_received, int wait_ms)
{
    int fds[CHANNEL_FDS_MAX];
    size_t fd_count = 0;

    if (!wait_readable(puppet->channel, wait_ms))
        return false;
    if (channel_receive(puppet->channel, ret_received->bytes, sizeof ret_received->bytes,
                        &ret_received->len, fds, &fd_count) < 0 ||
        ret_received->len == 0)
        return false;
    ret_received->fd = fd_count ? fds[0] : -1;
    return true;
}

void puppet_receive(struct puppet *puppet, uint32_t type, struct received *ret_received)
{
    uint64_t end_us = clock_monotonic_us() + HARNESS_WAIT_MS * 1000u;

    while (clock_monotonic_us() < end_us) {
        struct keeper_header header;

        if (!puppet_receive_any(puppet, ret_received, HARNESS_WAIT_MS))
            break;
        memcpy(&header, ret_received->bytes, sizeof header);
        if (header.type == type)
            return;
        fd_close(ret_received->fd);
    }
    fail_msg("%s did not get a message of type %u", puppet->title, type);
}

void puppet_send(struct puppet *puppet, const void *message, size_t len, int fd)
{
    assert_int_equal(channel_send(puppet->channel, message, len, &fd, fd >= 0 ? 1 : 0), 0);
}

static int keeper_start(struct harness *harness, struct error *err)
{
    const char *addresses[] = {"127.0.0.1:0"};
    struct keeper_options options = {
        .state_directory = harness->state,
        .http = addresses,
        .http_count = 1,
        .edge_count = HARNESS_EDGES,
        .log_level = getenv("SLIPWAY_TEST_VERBOSE") ? LOG_DEBUG : LOG_ERROR,
        .roles = roles,
        .role_count = ARRAY_LEN(roles),
        .quit_ms = 20000,
        .is_without_cgroups = harness->mode != MODE_ROOT,
    };

    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    fd_close(harness->listener);
    if (harness->mode == MODE_USER && geteuid() == 0 &&
        (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0))
        _exit(95);
    (void)prctl(PR_SET_DUMPABLE, 1); /* a change of user takes /proc/self away */
    return keeper_run(&options, err);
}

static NORETURN void keeper_main(struct harness *harness)
{
    struct error err = {0};

    if (keeper_start(harness, &err) < 0) {
        (void)fprintf(stderr, "keeper: %s\n", err.text);
        _exit(1);
    }
    exit(0); /* with the leak check of a sanitized build */
}

int harness_start_refused(struct harness *harness, char *text, size_t size)
{
    struct error err = {0};
    int ends[2], status;
    pid_t pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)keeper_start(harness, &err);
        if (write(ends[1], &err, sizeof err) != (ssize_t)sizeof err)
            _exit(1);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(read(ends[0], &err, sizeof err), sizeof err);
    fd_close(ends[0]);
    fd_close(ends[1]);
    (void)snprintf(text, size, "%s", err.text);
    return err.code;
}

void harness_accept(struct harness *harness)
{
    struct puppet puppet = {.string = -1, .channel = -1};
    struct puppet *place;

    puppet_accept_any(harness, &puppet);
    place = strstr(puppet.title, "logd") ? &harness->logd
            : strstr(puppet.title, "control")
                ? &harness->control
                : &harness->edges[puppet.title[strlen(puppet.title) - 1] - '1'];
    fd_close(place->string);
    fd_close(place->channel);
    *place = puppet;
}

void harness_start(struct harness *harness)
{
    struct keeper_ready ready = {.header = {.type = KEEPER_READY}};
    struct received received;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        keeper_main(harness);
    harness->keeper = pid;
    for (unsigned i = 0; i < 2 + HARNESS_EDGES; i++)
        harness_accept(harness);
    puppet_receive(&harness->control, KEEPER_HELLO, &received);
    memcpy(&harness->hello, received.bytes, sizeof harness->hello);
    puppet_send(&harness->control, &ready, sizeof ready, -1);
    for (unsigned i = 0; i < HARNESS_EDGES; i++)
        puppet_send(&harness->edges[i], &ready, sizeof ready, -1);
}

static void puppet_init(struct puppet *puppet)
{
    *puppet = (struct puppet){.string = -1, .channel = -1};
}

static void notify_open(struct harness *harness)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/notify", harness->folder);
    harness->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(harness->notify, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(chmod(address.sun_path, 0777), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", address.sun_path, 1), 0);
}

void harness_open(struct harness *harness, enum harness_mode mode)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    *harness = (struct harness){.mode = mode, .folder = "/tmp/slipway-keeper-XXXXXX"};
    puppet_init(&harness->control);
    puppet_init(&harness->logd);
    for (unsigned i = 0; i < HARNESS_EDGES; i++)
        puppet_init(&harness->edges[i]);
    assert_non_null(mkdtemp(harness->folder));
    assert_int_equal(chmod(harness->folder, 0777), 0);
    (void)snprintf(harness->state, sizeof harness->state, "%s/state", harness->folder);
    (void)snprintf(harness->socket, sizeof harness->socket, "%s/socket", harness->folder);
    memcpy(address.sun_path, harness->socket, strlen(harness->socket));
    harness->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(harness->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(harness->listener, 16), 0);
    assert_int_equal(chmod(harness->socket, 0777), 0);
    assert_int_equal(setenv(SOCKET_VARIABLE, harness->socket, 1), 0);
    notify_open(harness);
    harness_start(harness);
}

int harness_wait_keeper(struct harness *harness)
{
    uint64_t end_us = clock_monotonic_us() + 3u * HARNESS_WAIT_MS * 1000u;
    int status = -1;

    while (clock_monotonic_us() < end_us) {
        if (waitpid(harness->keeper, &status, WNOHANG) == harness->keeper) {
            harness->keeper = 0;
            return status;
        }
        (void)usleep(1000);
    }
    fail_msg("the keeper does not end");
    return -1;
}

/* Ends only once it is told to: earlier would be a crash. */
static void puppet_obey(struct puppet *puppet)
{
    struct received received;

    puppet_receive(puppet, KEEPER_QUIT, &received);
    puppet_end(puppet, 0);
}

int harness_quit(struct harness *harness)
{
    assert_int_equal(kill(harness->keeper, SIGTERM), 0);
    for (unsigned i = 0; i < HARNESS_EDGES; i++)
        puppet_obey(&harness->edges[i]);
    puppet_obey(&harness->control);
    puppet_obey(&harness->logd);
    return harness_wait_keeper(harness);
}

static void puppet_close(struct puppet *puppet)
{
    fd_closep(&puppet->string);
    fd_closep(&puppet->channel);
}

void harness_close(struct harness *harness)
{
    struct error err = {0};

    if (harness->keeper)
        assert_int_equal(harness_quit(harness), 0);
    puppet_close(&harness->control);
    puppet_close(&harness->logd);
    for (unsigned i = 0; i < HARNESS_EDGES; i++)
        puppet_close(&harness->edges[i]);
    fd_close(harness->listener);
    fd_close(harness->notify);
    if (directory_remove_tree(harness->folder, &err) < 0)
        fail_msg("%s", err.text);
}

/* ---- units */

static void add_string(char *bytes, size_t *len, size_t size, const char *text)
{
    assert_true(strlen(text) + 1 <= size - *len);
    memcpy(bytes + *len, text, strlen(text) + 1);
    *len += strlen(text) + 1;
}

int harness_reply(struct harness *harness, uint32_t request)
{
    for (;;) {
        struct received received;
        struct keeper_reply reply;

        puppet_receive(&harness->control, KEEPER_REPLY, &received);
        memcpy(&reply, received.bytes, sizeof reply);
        if (reply.header.request == request)
            return reply.code;
    }
}

int harness_spawn(struct harness *harness, const struct wish *wish, struct keeper_unit *ret_unit)
{
    static uint32_t last_request = 1000;
    char bytes[8192];
    uint32_t user = harness->hello.unit_uid_first;
    struct keeper_spawn spawn = {
        .header = {.type = KEEPER_SPAWN, .request = ++last_request},
        .unit = wish->unit,
        .uid = wish->is_as_root ? 0
               : wish->uid      ? wish->uid
                                : user,
        .gid = wish->is_as_root ? 0
               : wish->gid      ? wish->gid
                                : user,
        .flags = wish->flags,
        .argc = wish->script ? 3 : 1,
        .envc = 2,
        .memory_limit_bytes = wish->memory_limit_bytes,
    };
    size_t len = sizeof spawn;
    char folder[128];
    struct received received;

    memcpy(bytes, &spawn, sizeof spawn);
    add_string(bytes, &len, sizeof bytes, "test unit");
    add_string(bytes, &len, sizeof bytes,
               "app\x1fservice\x1f"
               "1\x1fservice-1\x1frun");
    add_string(bytes, &len, sizeof bytes, wish->directory ? wish->directory : "/");
    add_string(bytes, &len, sizeof bytes, "app/service-1");
    if (wish->script) {
        add_string(bytes, &len, sizeof bytes, "sh");
        add_string(bytes, &len, sizeof bytes, "-c");
        add_string(bytes, &len, sizeof bytes, wish->script);
    } else {
        add_string(bytes, &len, sizeof bytes, wish->program);
    }
    add_string(bytes, &len, sizeof bytes, "PATH=/usr/local/bin:/usr/bin:/bin");
    (void)snprintf(folder, sizeof folder, "F=%s", harness->folder);
    add_string(bytes, &len, sizeof bytes, folder);
    puppet_send(&harness->control, bytes, len,
                wish->flags & KEEPER_SPAWN_STDIN ? wish->stdin_fd : -1);
    for (;;) {
        struct keeper_header header;
        struct keeper_reply reply;

        assert_true(puppet_receive_any(&harness->control, &received, HARNESS_WAIT_MS));
        fd_close(received.fd);
        memcpy(&header, received.bytes, sizeof header);
        if (header.type == KEEPER_UNIT && ret_unit)
            memcpy(ret_unit, received.bytes, sizeof *ret_unit);
        if (header.type != KEEPER_REPLY || header.request != last_request)
            continue;
        memcpy(&reply, received.bytes, sizeof reply);
        return reply.code;
    }
}

void harness_stop(struct harness *harness, uint64_t unit, int number, uint32_t grace_ms)
{
    struct keeper_stop stop = {.header = {.type = KEEPER_STOP, .request = 0},
                               .unit = unit,
                               .signal = (uint32_t)number,
                               .grace_ms = grace_ms};

    puppet_send(&harness->control, &stop, sizeof stop, -1);
}

void harness_forget(struct harness *harness, uint64_t unit)
{
    struct keeper_forget forget = {.header = {.type = KEEPER_FORGET, .request = 77}, .unit = unit};

    puppet_send(&harness->control, &forget, sizeof forget, -1);
    assert_int_equal(harness_reply(harness, 77), 0);
}

struct keeper_unit harness_wait_exit(struct harness *harness, uint64_t unit)
{
    for (;;) {
        struct received received;
        struct keeper_unit state;

        puppet_receive(&harness->control, KEEPER_UNIT, &received);
        memcpy(&state, received.bytes, sizeof state);
        if (state.unit == unit && state.state == KEEPER_UNIT_EXITED)
            return state;
    }
}

int harness_stream(struct harness *harness, uint64_t unit, uint32_t kind)
{
    for (;;) {
        struct received received;
        struct keeper_stream stream;

        puppet_receive(&harness->logd, KEEPER_STREAM, &received);
        memcpy(&stream, received.bytes, sizeof stream);
        assert_true(received.fd >= 0);
        if (stream.unit == unit && stream.kind == kind)
            return received.fd;
        fd_close(received.fd);
    }
}

void harness_read_all(int fd, char *text, size_t size)
{
    size_t len = 0;

    while (len + 1 < size) {
        ssize_t got;

        assert_true(wait_readable(fd, HARNESS_WAIT_MS));
        got = read(fd, text + len, size - 1 - len);
        if (got < 0 && errno == EAGAIN)
            continue;
        assert_true(got >= 0);
        if (got == 0)
            break;
        len += (size_t)got;
    }
    text[len] = '\0';
}

bool harness_is_alive(pid_t pid)
{
    char path[64], state = 'Z';
    struct buf content = BUF_INIT(1024);

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (file_read(path, 1023, &content, NULL) == 0 && content.len && strrchr(content.ptr, ')'))
        state = strrchr(content.ptr, ')')[2];
    buf_done(&content);
    return state != 'Z' && state != 'X';
}

long harness_wait_number(struct harness *harness, const char *name)
{
    uint64_t end_us = clock_monotonic_us() + HARNESS_WAIT_MS * 1000u;
    char path[128];
    long number = 0;

    (void)snprintf(path, sizeof path, "%s/%s", harness->folder, name);
    while (clock_monotonic_us() < end_us && number == 0) {
        struct buf content = BUF_INIT(256);

        if (file_read(path, 255, &content, NULL) == 0 && content.len && strchr(content.ptr, '\n'))
            number = strtol(content.ptr, NULL, 10);
        buf_done(&content);
        (void)usleep(1000);
    }
    assert_true(number > 0);
    return number;
}
