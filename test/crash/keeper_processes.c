/* The bare keeper with real processes: every test runs as root with control groups, as root
 * without, and as an ordinary user, as far as this machine allows. */
#include "keeper_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* after what it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "base/counters.h"
#include "os/cgroup.h"
#include "os/file.h"
#include "os/proc.h"

static struct harness harness;

/* ---- the platform */

static void assert_datagram(const char *text)
{
    char datagram[256] = "";
    struct pollfd watch = {.fd = harness.notify, .events = POLLIN};

    assert_int_equal(poll(&watch, 1, HARNESS_WAIT_MS), 1);
    assert_true(recv(harness.notify, datagram, sizeof datagram - 1, 0) > 0);
    if (!strstr(datagram, text))
        fail_msg("'%s' is not in '%s'", text, datagram);
}

static void the_service_manager_hears_of_ready_and_stopping(void **state)
{
    (void)state;
    assert_datagram("READY=1"); /* control and both edges said so; logd never did */
    assert_int_equal(kill(harness.keeper, SIGHUP), 0); /* a closed terminal */
    assert_int_equal(kill(harness.keeper, SIGUSR1), 0);
    assert_int_equal(harness_quit(&harness), 0);
    assert_datagram("STOPPING=1");
}

static void the_chosen_port_is_told_and_answers(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)harness.hello.http_port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_true(harness.hello.http_port > 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    fd_close(fd);
    for (unsigned i = 0; i < HARNESS_EDGES; i++)
        puppet_kill(&harness.edges[i]);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address),
                     0); /* the keeper holds it open */
    fd_close(fd);
    for (unsigned i = 0; i < HARNESS_EDGES; i++)
        harness_accept(&harness);
}

static void a_killed_guard_is_replaced(void **state)
{
    pid_t children[64];
    size_t count = proc_children(harness.keeper, children, ARRAY_LEN(children));
    pid_t guard = 0;

    (void)state;
    for (size_t i = 0; i < count; i++) {
        if (children[i] != harness.control.pid && children[i] != harness.logd.pid &&
            children[i] != harness.edges[0].pid && children[i] != harness.edges[1].pid)
            guard = children[i];
    }
    assert_true(guard > 0);
    assert_int_equal(count, 3 + HARNESS_EDGES);
    assert_int_equal(kill(guard, SIGKILL), 0);
    (void)usleep(100000);
    assert_int_equal(proc_children(harness.keeper, children, ARRAY_LEN(children)), count);
    assert_false(harness_is_alive(guard));
}

/* ---- units */

static void a_unit_runs_and_its_output_and_exit_are_told(void **state)
{
    struct keeper_unit unit = {0};
    struct wish wish = {.unit = 7, .script = "echo out; echo err >&2; exit 3"};
    char text[64];
    int out, err;

    (void)state;
    assert_int_equal(harness_spawn(&harness, &wish, &unit), 0);
    assert_true(unit.pid > 0);
    out = harness_stream(&harness, 7, KEEPER_STREAM_STDOUT);
    err = harness_stream(&harness, 7, KEEPER_STREAM_STDERR);
    harness_read_all(out, text, sizeof text);
    assert_string_equal(text, "out\n");
    harness_read_all(err, text, sizeof text);
    assert_string_equal(text, "err\n");
    fd_close(out);
    fd_close(err);
    unit = harness_wait_exit(&harness, 7);
    assert_true(WIFEXITED(unit.wait_status));
    assert_int_equal(WEXITSTATUS(unit.wait_status), 3);
    assert_true(unit.exited_at_us >= unit.started_at_us);
    assert_true(unit.memory_peak_bytes > 0);
    assert_false(unit.was_killed);
    harness_forget(&harness, 7);
    assert_int_equal(harness_spawn(&harness, &wish, NULL), 0); /* a forgotten number is free */
    (void)harness_wait_exit(&harness, 7);
}

static void a_program_that_does_not_exist_is_refused_at_once(void **state)
{
    struct wish wish = {.unit = 8, .program = "no-such-program"};

    (void)state;
    assert_int_equal(harness_spawn(&harness, &wish, NULL), ERR_NOT_FOUND);
    wish.directory = "/no/such/folder";
    wish.program = "true";
    wish.unit = 9;
    assert_int_equal(harness_spawn(&harness, &wish, NULL), ERR_NOT_FOUND);
    wish.directory = "/";
    wish.unit = 10;
    assert_int_equal(harness_spawn(&harness, &wish, NULL), 0);
    assert_int_equal(harness_wait_exit(&harness, 10).wait_status, 0);
    assert_int_equal(harness_spawn(&harness, &wish, NULL), ERR_EXISTS);
}

static void a_unit_has_only_the_descriptors_that_it_was_given(void **state)
{
    struct wish wish = {.unit = 11, .script = "exec ls /proc/self/fd"};
    char text[128];
    int out;

    (void)state;
    assert_int_equal(harness_spawn(&harness, &wish, NULL), 0);
    out = harness_stream(&harness, 11, KEEPER_STREAM_STDOUT);
    harness_read_all(out, text, sizeof text);
    fd_close(out);
    assert_string_equal(text, "0\n1\n2\n3\n"); /* 3: the folder that ls itself reads */
    (void)harness_wait_exit(&harness, 11);
}

static void a_unit_begins_with_clean_signals_its_own_session_and_its_user(void **state)
{
    struct wish wish = {.unit = 12,
                        .script =
                            "grep -E '^(SigBlk|SigIgn)' /proc/self/status; id -u; id -G; umask; "
                            "ps -o sid= -p $$ | tr -d ' '; echo $$"};
    char text[512], expected[512];
    uint32_t uid = harness.hello.flags & KEEPER_FLAG_ROOT ? harness.hello.unit_uid_first
                   : geteuid() == 0                       ? 65534
                                                          : geteuid();
    struct keeper_unit unit;
    int out;

    (void)state;
    assert_int_equal(harness_spawn(&harness, &wish, &unit), 0);
    out = harness_stream(&harness, 12, KEEPER_STREAM_STDOUT);
    harness_read_all(out, text, sizeof text);
    fd_close(out);
    (void)snprintf(expected, sizeof expected,
                   "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n%u\n%u\n0022\n%d\n%d\n",
                   uid, uid, unit.pid, unit.pid);
    if (harness.mode != MODE_USER || geteuid() == 0)
        assert_string_equal(text, expected);
    (void)harness_wait_exit(&harness, 12);
}

static void a_unit_reads_the_stdin_that_came_with_the_request(void **state)
{
    struct wish wish = {
        .unit = 13, .script = "read line; echo got $line", .flags = KEEPER_SPAWN_STDIN};
    char text[64];
    int ends[2], out;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    wish.stdin_fd = ends[0];
    assert_int_equal(harness_spawn(&harness, &wish, NULL), 0);
    assert_int_equal(write(ends[1], "word\n", 5), 5);
    fd_close(ends[0]);
    fd_close(ends[1]);
    out = harness_stream(&harness, 13, KEEPER_STREAM_STDOUT);
    harness_read_all(out, text, sizeof text);
    fd_close(out);
    assert_string_equal(text, "got word\n");
    (void)harness_wait_exit(&harness, 13);
}

static void a_hundred_short_units_all_end_with_their_status(void **state)
{
    char script[32];

    (void)state;
    for (uint64_t id = 100; id < 200; id++) {
        struct wish wish = {.unit = id, .script = script};

        (void)snprintf(script, sizeof script, "exit %u", (unsigned)(id % 50));
        assert_int_equal(harness_spawn(&harness, &wish, NULL), 0);
        if (id % 2)
            continue; /* some end in the shadow of others */
        assert_int_equal(WEXITSTATUS(harness_wait_exit(&harness, id).wait_status), id % 50);
    }
}

/* ---- stopping */

static void stop_signals_waits_the_grace_and_then_kills(void **state)
{
    struct wish wish = {
        .unit = 20, .script = "trap '' TERM; echo ready > $F/ready; while :; do sleep 0.05; done"};
    struct keeper_unit unit;
    uint64_t begin_us;

    (void)state;
    wish.script = "trap '' TERM; echo 1 > $F/ready; while :; do sleep 0.05; done";
    assert_int_equal(harness_spawn(&harness, &wish, NULL), 0);
    (void)harness_wait_number(&harness, "ready");
    begin_us = clock_monotonic_us();
    harness_stop(&harness, 20, SIGTERM, 300);
    unit = harness_wait_exit(&harness, 20);
    assert_in_range(clock_monotonic_us() - begin_us, 290000, 2000000);
    assert_true(WIFSIGNALED(unit.wait_status));
    assert_int_equal(WTERMSIG(unit.wait_status), SIGKILL);
    assert_true(unit.was_killed);
}

static void a_unit_that_obeys_ends_without_being_killed(void **state)
{
    struct wish wish = {.unit = 21, .script = "exec sleep 1000"};
    struct keeper_unit unit;
    uint64_t begin_us;

    (void)state;
    assert_int_equal(harness_spawn(&harness, &wish, NULL), 0);
    begin_us = clock_monotonic_us();
    harness_stop(&harness, 21, SIGTERM, 10000);
    unit = harness_wait_exit(&harness, 21);
    assert_true(clock_monotonic_us() - begin_us < 1000000);
    assert_int_equal(WTERMSIG(unit.wait_status), SIGTERM);
    assert_false(unit.was_killed);
}

static void a_shorter_grace_shortens_a_stop(void **state)
{
    struct wish wish = {.unit = 22,
                        .script = "trap '' TERM; echo 1 > $F/ready; while :; do sleep 0.05; done"};
    uint64_t begin_us = clock_monotonic_us();

    (void)state;
    assert_int_equal(harness_spawn(&harness, &wish, NULL), 0);
    (void)harness_wait_number(&harness, "ready");
    harness_stop(&harness, 22, SIGTERM, 60000);
    harness_stop(&harness, 22, SIGTERM, 100);
    assert_true(harness_wait_exit(&harness, 22).was_killed);
    assert_true(clock_monotonic_us() - begin_us < 5000000);
}

static void helpers_of_a_stopped_leader_keep_the_rest_of_the_grace(void **state)
{
    /* As with `npm start`: the leader dies at once, the server behind it still answers its last
     * request. */
    struct wish wish = {
        .unit = 23,
        .script =
            "sh -c 'trap \"sleep 0.3; echo 1 > $F/finished; exit\" TERM; echo 1 > $F/ready; "
            "while :; do sleep 0.02; done' & trap 'exit 0' TERM; while :; do sleep 0.02; done"};
    struct keeper_unit unit;
    char path[128];

    (void)state;
    assert_int_equal(harness_spawn(&harness, &wish, NULL), 0);
    (void)harness_wait_number(&harness, "ready");
    (void)usleep(50000); /* the leader's own trap */
    harness_stop(&harness, 23, SIGTERM, 8000);
    unit = harness_wait_exit(&harness, 23);
    assert_false(unit.was_killed);
    (void)snprintf(path, sizeof path, "%s/finished", harness.folder);
    assert_true(file_exists(path));
}

static void what_a_crashed_leader_leaves_is_killed_before_the_exit_is_told(void **state)
{
    struct wish wish = {.unit = 24,
                        .script = "sleep 1000 & echo $! > $F/child; setsid sh -c 'echo $$ > "
                                  "$F/session; exec sleep 1000' & "
                                  "while [ ! -s $F/session ]; do sleep 0.01; done; kill -9 $$"};
    long child, session;

    (void)state;
    assert_int_equal(harness_spawn(&harness, &wish, NULL), 0);
    child = harness_wait_number(&harness, "child");
    session = harness_wait_number(&harness, "session");
    assert_int_equal(WTERMSIG(harness_wait_exit(&harness, 24).wait_status), SIGKILL);
    assert_false(harness_is_alive((pid_t)child));
    assert_false(harness_is_alive((pid_t)session));
}

static void a_daemon_that_hides_is_found_and_killed(void **state)
{
    /* Forked twice, in a session of its own, without the environment that would tell whose it is.
     */
    struct wish wish = {.unit = 25,
                        .script = "setsid sh -c 'env -i F=$F setsid sh -c \"echo \\$\\$ > "
                                  "\\$F/daemon; exec sleep 1000\" & ' ; "
                                  "echo 1 > $F/ready; exec sleep 1000"};
    long daemon;

    (void)state;
    assert_int_equal(harness_spawn(&harness, &wish, NULL), 0);
    daemon = harness_wait_number(&harness, "daemon");
    (void)harness_wait_number(&harness, "ready");
    assert_true(harness_is_alive((pid_t)daemon));
    harness_stop(&harness, 25, SIGTERM, 200);
    (void)harness_wait_exit(&harness, 25);
    assert_false(harness_is_alive((pid_t)daemon));
}

static void stop_can_signal_the_leader_alone(void **state)
{
    struct wish wish = {
        .unit = 26,
        .flags = KEEPER_SPAWN_LEADER_ONLY,
        .script =
            "sh -c 'trap \"echo 1 > $F/child_was_signalled\" TERM; echo 1 > $F/ready; while :; do "
            "sleep 0.02; done' & trap 'sleep 0.2; exit 5' TERM; while :; do sleep 0.02; done"};
    char path[128];

    (void)state;
    assert_int_equal(harness_spawn(&harness, &wish, NULL), 0);
    (void)harness_wait_number(&harness, "ready");
    (void)usleep(50000);
    harness_stop(&harness, 26, SIGTERM, 5000);
    assert_int_equal(WEXITSTATUS(harness_wait_exit(&harness, 26).wait_status), 5);
    (void)snprintf(path, sizeof path, "%s/child_was_signalled", harness.folder);
    assert_false(file_exists(path));
}

/* ---- what may not be asked */

static void malformed_messages_are_refused_and_change_nothing(void **state)
{
    struct keeper_stop stop = {
        .header = {.type = KEEPER_STOP, .request = 5}, .unit = 404, .signal = SIGTERM};
    struct keeper_header unknown = {.type = 55, .request = 6};
    struct keeper_spawn cut = {
        .header = {.type = KEEPER_SPAWN, .request = 7}, .unit = 30, .argc = 200, .envc = 1000};
    struct keeper_stream_done stolen = {.header = {.type = KEEPER_STREAM_DONE, .request = 8},
                                        .stream = 1};
    struct wish wish = {.unit = 31, .script = "exit 0"};

    (void)state;
    puppet_send(&harness.control, "x", 1, -1);
    puppet_send(&harness.control, &stop, sizeof stop, -1);
    assert_int_equal(harness_reply(&harness, 5), ERR_NOT_FOUND);
    puppet_send(&harness.control, &unknown, sizeof unknown, -1);
    assert_int_equal(harness_reply(&harness, 6), ERR_INVALID);
    puppet_send(&harness.control, &cut, sizeof cut, -1);
    assert_int_equal(harness_reply(&harness, 7), ERR_INVALID);
    puppet_send(&harness.control, &stolen, sizeof stolen, -1);
    assert_int_equal(harness_reply(&harness, 8), ERR_PERMISSION);
    puppet_send(&harness.edges[0], &cut, sizeof cut, -1); /* an edge has no say */
    assert_int_equal(harness_spawn(&harness, &wish, NULL), 0);
    (void)harness_wait_exit(&harness, 31);
}

static void no_unit_runs_as_a_user_outside_the_pool(void **state)
{
    struct wish wish = {.unit = 32, .script = "exit 0", .is_as_root = true};
    uint32_t control = harness.hello.control_uid;

    (void)state;
    if (harness.mode == MODE_USER)
        return; /* there, uids mean nothing */
    assert_int_equal(harness_spawn(&harness, &wish, NULL), ERR_PERMISSION);
    wish = (struct wish){.unit = 32, .script = "exit 0", .uid = control, .gid = control};
    assert_int_equal(harness_spawn(&harness, &wish, NULL), ERR_PERMISSION);
    wish = (struct wish){.unit = 32,
                         .script = "exit 0",
                         .uid = harness.hello.unit_uid_first,
                         .gid = harness.hello.unit_uid_first + 1};
    assert_int_equal(harness_spawn(&harness, &wish, NULL), ERR_PERMISSION);
}

static int make_directory(const char *path, uint32_t mode, bool is_recursive)
{
    static uint32_t request = 500;
    struct keeper_make_directory make = {
        .header = {.type = KEEPER_MAKE_DIRECTORY, .request = ++request},
        .uid = harness.hello.unit_uid_first,
        .gid = harness.hello.unit_uid_first,
        .mode = mode,
        .is_recursive = is_recursive};
    char bytes[512];

    memcpy(bytes, &make, sizeof make);
    memcpy(bytes + sizeof make, path, strlen(path) + 1);
    puppet_send(&harness.control, bytes, sizeof make + strlen(path) + 1, -1);
    return harness_reply(&harness, request);
}

static void folders_are_made_for_their_owner_and_never_through_links(void **state)
{
    char path[256], target[256];
    struct stat info;

    (void)state;
    assert_int_equal(make_directory("apps/shop/home", 0750, false), 0);
    (void)snprintf(path, sizeof path, "%s/apps/shop/home", harness.state);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0750);
    if (harness.mode != MODE_USER)
        assert_int_equal(info.st_uid, harness.hello.unit_uid_first);
    (void)snprintf(path, sizeof path, "%s/apps/shop", harness.state);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0711);

    (void)snprintf(path, sizeof path, "%s/apps/link", harness.state);
    assert_int_equal(symlink("/tmp", path), 0);
    assert_true(make_directory("apps/link/inside", 0755, false) < 0);
    assert_true(make_directory("../outside", 0755, false) < 0);
    assert_true(make_directory("/tmp/outside", 0755, false) < 0);
    assert_true(make_directory("apps//x", 0755, false) < 0);
    assert_true(make_directory("apps/set", 04755, false) < 0);

    if (harness.mode == MODE_USER)
        return;
    (void)snprintf(path, sizeof path, "%s/apps/shop/home/file", harness.state);
    fd_close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    (void)snprintf(target, sizeof target, "%s/secret", harness.folder);
    fd_close(open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    (void)snprintf(path, sizeof path, "%s/apps/shop/home/hard", harness.state);
    assert_int_equal(link(target, path), 0);
    (void)snprintf(path, sizeof path, "%s/apps/shop/home/soft", harness.state);
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(make_directory("apps/shop/home", 0700, true), 0);
    (void)snprintf(path, sizeof path, "%s/apps/shop/home/file", harness.state);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_uid, harness.hello.unit_uid_first);
    assert_int_equal(stat(target, &info), 0);
    assert_int_equal(info.st_uid, 0);
}

/* ---- roles that die */

static void hold(const char *name, const char *content)
{
    struct keeper_hold message = {.header = {.type = KEEPER_HOLD, .request = 900}};
    char bytes[128];
    int fd = memfd_create("held", MFD_CLOEXEC);

    assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    memcpy(bytes, &message, sizeof message);
    memcpy(bytes + sizeof message, name, strlen(name) + 1);
    puppet_send(&harness.control, bytes, sizeof message + strlen(name) + 1, fd);
    fd_close(fd);
    assert_int_equal(harness_reply(&harness, 900), 0);
}

static void assert_content(int fd, const char *content)
{
    char text[64] = "";

    assert_true(pread(fd, text, sizeof text - 1, 0) >= 0);
    assert_string_equal(text, content);
    fd_close(fd);
}

static void a_killed_control_gets_everything_back_within_200_ms(void **state)
{
    struct wish wish = {.unit = 40, .script = "exec sleep 1000"};
    unsigned roles = 0, counters = 0, peers = 0, units = 0, held = 0;
    struct received received;
    struct keeper_header header = {0};
    uint64_t begin_us;

    (void)state;
    assert_int_equal(harness_spawn(&harness, &wish, NULL), 0);
    hold("snapshot", "routes");
    hold("other", "thing");
    begin_us = clock_monotonic_us();
    puppet_kill(&harness.control);
    puppet_accept(&harness, "slipway: control", &harness.control);
    assert_true(clock_monotonic_us() - begin_us < 200000);
    while (header.type != KEEPER_TABLE_END) {
        assert_true(puppet_receive_any(&harness.control, &received, HARNESS_WAIT_MS));
        memcpy(&header, received.bytes, sizeof header);
        roles += header.type == KEEPER_ROLE;
        counters += header.type == KEEPER_COUNTERS && received.fd >= 0;
        peers += header.type == KEEPER_PEER && received.fd >= 0;
        held += header.type == KEEPER_HELD && received.fd >= 0;
        if (header.type == KEEPER_UNIT) {
            struct keeper_unit unit;

            memcpy(&unit, received.bytes, sizeof unit);
            assert_int_equal(unit.unit, 40);
            assert_int_equal(unit.state, KEEPER_UNIT_RUNNING);
            assert_true(harness_is_alive(unit.pid));
            units++;
        }
        fd_close(received.fd);
    }
    assert_int_equal(roles, 3 + HARNESS_EDGES); /* the keeper itself, logd, control, edges */
    assert_int_equal(counters, HARNESS_EDGES);
    assert_int_equal(peers, 1 + HARNESS_EDGES);
    assert_int_equal(held, 2);
    assert_int_equal(units, 1);
    harness_stop(&harness, 40, SIGTERM, 1000);
    (void)harness_wait_exit(&harness, 40);
}

static void peers_talk_again_after_either_died(void **state)
{
    struct received received;
    struct keeper_peer peer;
    char text[16];
    int at_control = -1, at_edge = -1;
    size_t len, fd_count;
    int fds[CHANNEL_FDS_MAX];

    (void)state;
    puppet_kill(&harness.edges[1]);
    puppet_accept(&harness, "slipway: edge 2", &harness.edges[1]);
    for (;;) { /* the first PEER of edge 2 is of its dead channel; the last one counts */
        puppet_receive(&harness.control, KEEPER_PEER, &received);
        memcpy(&peer, received.bytes, sizeof peer);
        if (peer.role != KEEPER_ROLE_EDGE || peer.role_index != 2) {
            fd_close(received.fd);
            continue;
        }
        if (at_control < 0) {
            at_control = received.fd;
            continue;
        }
        fd_close(at_control);
        at_control = received.fd;
        break;
    }
    puppet_receive(&harness.edges[1], KEEPER_PEER, &received);
    at_edge = received.fd;
    assert_int_equal(channel_send(at_edge, "hello", 6, NULL, 0), 0);
    assert_int_equal(channel_receive(at_control, text, sizeof text, &len, fds, &fd_count), 0);
    assert_string_equal(text, "hello");
    fd_close(at_control);
    fd_close(at_edge);
}

static void a_killed_edge_gets_its_listener_counters_and_the_snapshot(void **state)
{
    struct received received;
    struct keeper_counters *message;
    struct counters *before, *after;

    (void)state;
    hold("snapshot", "routes");
    hold("other", "thing");
    puppet_receive(&harness.edges[0], KEEPER_COUNTERS, &received);
    before = mmap(NULL, sizeof *before, PROT_READ | PROT_WRITE, MAP_SHARED, received.fd, 0);
    fd_close(received.fd);
    assert_true(before != MAP_FAILED);
    assert_int_equal(before->magic, COUNTERS_MAGIC);
    before->requests = 12345;
    puppet_kill(&harness.edges[0]);
    puppet_accept(&harness, "slipway: edge 1", &harness.edges[0]);
    puppet_receive(&harness.edges[0], KEEPER_LISTENER, &received);
    assert_true(received.fd >= 0);
    fd_close(received.fd);
    puppet_receive(&harness.edges[0], KEEPER_COUNTERS, &received);
    message = (struct keeper_counters *)(void *)received.bytes;
    assert_int_equal(message->role_index, 1);
    after = mmap(NULL, sizeof *after, PROT_READ, MAP_SHARED, received.fd, 0);
    fd_close(received.fd);
    assert_int_equal(after->requests, 12345);
    munmap(before, sizeof *before);
    munmap(after, sizeof *after);
    puppet_receive(&harness.edges[0], KEEPER_HELD, &received);
    assert_string_equal(received.bytes + sizeof(struct keeper_held), "snapshot");
    assert_content(received.fd, "routes");
    puppet_receive(&harness.edges[0], KEEPER_ACCESS,
                   &received); /* and nothing else is held for it */
    fd_close(received.fd);
    puppet_receive(&harness.edges[0], KEEPER_TABLE_END, &received);
}

static void output_survives_logd_and_goes_to_the_next_one(void **state)
{
    struct wish wish = {
        .unit = 41,
        .script =
            "echo one; echo 1 > $F/said; while [ ! -s $F/go ]; do sleep 0.02; done; echo two"};
    struct keeper_stream_done done = {.header = {.type = KEEPER_STREAM_DONE},
                                      .stream = 41 * 4 + KEEPER_STREAM_STDOUT};
    char text[64], path[128];
    int out, fd;
    struct received received;
    struct keeper_header header = {0};

    (void)state;
    assert_int_equal(harness_spawn(&harness, &wish, NULL), 0);
    (void)harness_wait_number(&harness, "said");
    puppet_kill(&harness.logd);
    puppet_accept(&harness, "slipway: logd", &harness.logd);
    out = harness_stream(&harness, 41, KEEPER_STREAM_STDOUT);
    (void)snprintf(path, sizeof path, "%s/go", harness.folder);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(write(fd, "1\n", 2), 2);
    fd_close(fd);
    harness_read_all(out, text, sizeof text);
    fd_close(out);
    assert_string_equal(text, "one\ntwo\n");
    (void)harness_wait_exit(&harness, 41);
    harness_forget(&harness, 41); /* its streams stay until logd has them */
    puppet_kill(&harness.logd);
    puppet_accept(&harness, "slipway: logd", &harness.logd);
    fd_close(harness_stream(&harness, 41, KEEPER_STREAM_STDOUT));
    puppet_send(&harness.logd, &done, sizeof done, -1);
    (void)usleep(50000);
    puppet_kill(&harness.logd);
    puppet_accept(&harness, "slipway: logd", &harness.logd);
    while (header.type != KEEPER_TABLE_END) {
        struct keeper_stream stream;

        assert_true(puppet_receive_any(&harness.logd, &received, HARNESS_WAIT_MS));
        memcpy(&header, received.bytes, sizeof header);
        fd_close(received.fd);
        if (header.type != KEEPER_STREAM)
            continue;
        memcpy(&stream, received.bytes, sizeof stream);
        assert_int_not_equal(stream.stream, done.stream);
    }
}

static void a_role_that_dies_at_once_is_restarted_ever_more_slowly(void **state)
{
    uint64_t begin_us = clock_monotonic_us();

    (void)state;
    for (int i = 0; i < 6; i++) { /* 0 + 10 + 20 + 40 + 80 + 160 ms */
        puppet_kill(&harness.edges[0]);
        puppet_accept(&harness, "slipway: edge 1", &harness.edges[0]);
    }
    assert_in_range(clock_monotonic_us() - begin_us, 300000, 3000000);
}

static void random_kills_of_roles_leave_units_alone(void **state)
{
    struct wish wish = {.unit = 42, .script = "exec sleep 1000"};
    struct keeper_unit unit;

    (void)state;
    assert_int_equal(harness_spawn(&harness, &wish, &unit), 0);
    for (int i = 0; i < 4; i++) {
        puppet_kill(&harness.control);
        puppet_accept(&harness, "slipway: control", &harness.control);
        puppet_kill(&harness.logd);
        puppet_accept(&harness, "slipway: logd", &harness.logd);
    }
    assert_true(harness_is_alive(unit.pid));
    harness_stop(&harness, 42, SIGTERM, 1000);
    assert_int_equal(harness_wait_exit(&harness, 42).pid, unit.pid);
}

/* ---- the end */

static void quit_goes_from_edges_to_control_to_units_to_logd(void **state)
{
    struct wish obeys = {.unit = 50, .script = "exec sleep 1000"};
    struct wish defies = {
        .unit = 51, .script = "trap '' TERM; echo 1 > $F/ready; while :; do sleep 0.05; done"};
    struct keeper_unit first, second;
    struct received received;

    (void)state;
    assert_int_equal(harness_spawn(&harness, &obeys, &first), 0);
    assert_int_equal(harness_spawn(&harness, &defies, &second), 0);
    (void)harness_wait_number(&harness, "ready");
    assert_int_equal(kill(harness.keeper, SIGTERM), 0);
    for (unsigned i = 0; i < HARNESS_EDGES; i++)
        puppet_receive(&harness.edges[i], KEEPER_QUIT, &received);
    puppet_end(&harness.edges[0], 0);
    (void)usleep(100000);
    while (puppet_receive_any(&harness.control, &received,
                              0)) { /* edge 2 still drains: nobody else was told */
        struct keeper_header header;

        memcpy(&header, received.bytes, sizeof header);
        assert_int_not_equal(header.type, KEEPER_QUIT);
        fd_close(received.fd);
    }
    puppet_end(&harness.edges[1], 0);
    puppet_receive(&harness.control, KEEPER_QUIT, &received);
    assert_true(harness_is_alive(first.pid));
    puppet_kill(&harness.control); /* even now it comes back, and is told again */
    puppet_accept(&harness, "slipway: control", &harness.control);
    puppet_receive(&harness.control, KEEPER_QUIT, &received);
    puppet_end(&harness.control, 0);
    puppet_receive(&harness.logd, KEEPER_QUIT, &received);
    assert_false(harness_is_alive(first.pid));
    assert_false(harness_is_alive(second.pid));
    puppet_end(&harness.logd, 0);
    assert_int_equal(harness_wait_keeper(&harness), 0);
}

static void a_third_signal_ends_everything_at_once(void **state)
{
    struct wish wish = {.unit = 52,
                        .script = "trap '' TERM; echo 1 > $F/ready; while :; do sleep 0.05; done"};
    struct keeper_unit unit;
    uint64_t begin_us;

    (void)state;
    assert_int_equal(harness_spawn(&harness, &wish, &unit), 0);
    (void)harness_wait_number(&harness, "ready");
    begin_us = clock_monotonic_us();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kill(harness.keeper, i ? SIGINT : SIGTERM), 0);
        (void)usleep(30000);
    }
    assert_int_equal(harness_wait_keeper(&harness), 0);
    assert_true(clock_monotonic_us() - begin_us < 3000000);
    assert_false(harness_is_alive(unit.pid));
    assert_false(harness_is_alive(harness.control.pid));
}

static void a_killed_keeper_leaves_no_process_and_can_start_again(void **state)
{
    struct wish wish = {
        .unit = 53,
        .script =
            "setsid sh -c 'echo $$ > $F/child; exec sleep 1000' & sleep 1000 & exec sleep 1000"};
    struct keeper_unit unit;
    long child;

    (void)state;
    assert_int_equal(harness_spawn(&harness, &wish, &unit), 0);
    child = harness_wait_number(&harness, "child");
    assert_int_equal(kill(harness.keeper, SIGKILL), 0);
    assert_int_equal(WTERMSIG(harness_wait_keeper(&harness)), SIGKILL);
    harness_start(&harness); /* waits until the guard has cleared away and let go of the lock */
    assert_false(harness_is_alive(unit.pid));
    assert_false(harness_is_alive((pid_t)child));
    wish = (struct wish){.unit = 54, .script = "exit 0"};
    assert_int_equal(harness_spawn(&harness, &wish, NULL), 0);
    (void)harness_wait_exit(&harness, 54);
}

static void a_second_platform_on_the_same_folder_is_refused(void **state)
{
    char text[512], expected[64];

    (void)state;
    assert_int_equal(harness_start_refused(&harness, text, sizeof text), ERR_CONFLICT);
    (void)snprintf(expected, sizeof expected, "another platform (pid %d) has", (int)harness.keeper);
    assert_non_null(strstr(text, expected));
    assert_true(harness_is_alive(harness.keeper));
}

static void a_unit_above_its_memory_is_reported_as_out_of_memory(void **state)
{
    struct wish wish = {.unit = 60,
                        .script = "exec head -c 200M /dev/zero | tail -c 199M > /dev/null",
                        .memory_limit_bytes = 32u << 20};
    struct keeper_unit unit;
    struct cgroup_root root = {0};

    (void)state;
    if (harness.mode != MODE_ROOT || cgroup_root_open(&root, "slipway-probe", NULL) < 0)
        return;
    cgroup_root_remove(&root);
    if (!cgroup_root_has(&root, CGROUP_MEMORY))
        return;
    assert_int_equal(harness_spawn(&harness, &wish, NULL), 0);
    unit = harness_wait_exit(&harness, 60);
    assert_true(unit.is_oom);
    assert_in_range(unit.memory_peak_bytes, 16u << 20, 33u << 20);
}

/* ---- every test in every mode */

static int setup(void **state)
{
    harness_open(&harness, *(enum harness_mode *)*state);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    harness_close(&harness);
    return 0;
}

#define TESTS(X)                                                                                   \
    X(the_service_manager_hears_of_ready_and_stopping)                                             \
    X(the_chosen_port_is_told_and_answers)                                                         \
    X(a_killed_guard_is_replaced)                                                                  \
    X(a_unit_runs_and_its_output_and_exit_are_told)                                                \
    X(a_program_that_does_not_exist_is_refused_at_once)                                            \
    X(a_unit_has_only_the_descriptors_that_it_was_given)                                           \
    X(a_unit_begins_with_clean_signals_its_own_session_and_its_user)                               \
    X(a_unit_reads_the_stdin_that_came_with_the_request)                                           \
    X(a_hundred_short_units_all_end_with_their_status)                                             \
    X(stop_signals_waits_the_grace_and_then_kills)                                                 \
    X(a_unit_that_obeys_ends_without_being_killed)                                                 \
    X(a_shorter_grace_shortens_a_stop)                                                             \
    X(helpers_of_a_stopped_leader_keep_the_rest_of_the_grace)                                      \
    X(what_a_crashed_leader_leaves_is_killed_before_the_exit_is_told)                              \
    X(a_daemon_that_hides_is_found_and_killed)                                                     \
    X(stop_can_signal_the_leader_alone)                                                            \
    X(malformed_messages_are_refused_and_change_nothing)                                           \
    X(no_unit_runs_as_a_user_outside_the_pool)                                                     \
    X(folders_are_made_for_their_owner_and_never_through_links)                                    \
    X(a_killed_control_gets_everything_back_within_200_ms)                                         \
    X(peers_talk_again_after_either_died)                                                          \
    X(a_killed_edge_gets_its_listener_counters_and_the_snapshot)                                   \
    X(output_survives_logd_and_goes_to_the_next_one)                                               \
    X(a_role_that_dies_at_once_is_restarted_ever_more_slowly)                                      \
    X(random_kills_of_roles_leave_units_alone)                                                     \
    X(quit_goes_from_edges_to_control_to_units_to_logd)                                            \
    X(a_third_signal_ends_everything_at_once)                                                      \
    X(a_killed_keeper_leaves_no_process_and_can_start_again)                                       \
    X(a_second_platform_on_the_same_folder_is_refused)                                             \
    X(a_unit_above_its_memory_is_reported_as_out_of_memory)

int main(int argc, char **argv)
{
    static enum harness_mode modes[MODE_COUNT] = {MODE_ROOT, MODE_ROOT_WITHOUT_CGROUPS, MODE_USER};
    static const struct {
        const char *name;
        CMUnitTestFunction function;
    } tests[] = {
#define X(test) {#test, test},
        TESTS(X)
#undef X
    };
    static struct CMUnitTest table[ARRAY_LEN(tests) * MODE_COUNT];
    static char names[ARRAY_LEN(tests) * MODE_COUNT][160];
    size_t count = 0;

    harness_role_main(argv[0]);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    for (enum harness_mode mode = 0; mode < MODE_COUNT; mode++) {
        if (!harness_can(mode))
            continue;
        for (size_t i = 0; i < ARRAY_LEN(tests); i++, count++) {
            (void)snprintf(names[count], sizeof names[count], "%s (%s)", tests[i].name,
                           harness_mode_name(mode));
            table[count] = (struct CMUnitTest){.name = names[count],
                                               .test_func = tests[i].function,
                                               .setup_func = setup,
                                               .teardown_func = teardown,
                                               .initial_state = &modes[mode]};
        }
    }
    return _cmocka_run_group_tests("keeper", table, count, NULL, NULL);
}
