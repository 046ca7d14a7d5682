/* The whole command line against a platform that is an admin server with a fake control, in a
 * child. */
#include "admin/admin.h"
#include "admin/admin_socket.h"
#include "cli/cli_private.h"
#include "fake_control.h"
#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char base[64], state[96], app[96], dies[96];
    pid_t platform;
    int status; /* of the last command */
    char out[65536], err[16384];
};

static void write_file(const char *directory, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, slice_from(text), NULL), 0);
    fd_close(fd);
}

/* ---- the platform: one process that holds the lock, as the keeper does, and starts the other one
 * anew when it dies */

static void NORETURN control_run(struct fixture *fixture, int ready_fd)
{
    char pid[32];
    struct loop *loop;
    struct admin *admin;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fake_control_init();
    unlink(fake.source_path);
    snprintf(fake.source_path, sizeof(fake.source_path), "%s/upload", fixture->base);
    write_file(fixture->base, "upload", "");
    fake.fail_app = "ghost";
    fake.fail_code = ERR_NOT_FOUND;
    fake.broken_app = "broken";
    fake.new_app = "fresh";
    fake.dies_path = fixture->dies;
    snprintf(pid, sizeof(pid), "%d\n", getpid());
    write_file(fixture->base, "control.pid", pid);
    if (loop_new(&loop, NULL) < 0 || admin_start(loop, NULL, fixture->state, &admin, NULL) < 0)
        _exit(1);
    (void)!write(ready_fd, "r", 1);
    for (;;)
        (void)!loop_turn(loop, 1000, NULL);
}

static void NORETURN platform_main(struct fixture *fixture, int ready_fd)
{
    char lock[128];
    int lock_fd;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(lock, sizeof(lock), "%s/lock", fixture->state);
    if (file_lock(lock, &lock_fd, NULL) < 0)
        _exit(1);
    for (;;) {
        pid_t pid = fork();
        if (pid == 0)
            control_run(fixture, ready_fd);
        (void)!waitpid(pid, NULL, 0);
        usleep(200000);
    }
}

static void platform_start(struct fixture *fixture)
{
    int fds[2];
    char byte;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    fixture->platform = fork();
    if (fixture->platform == 0)
        platform_main(fixture, fds[1]);
    fd_close(fds[1]);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    fd_close(fds[0]);
}

static bool is_answered(struct fixture *fixture)
{
    struct address address;
    int directory_fd, fd = -1;
    assert_int_equal(admin_socket_address(fixture->state, &address, &directory_fd, NULL), 0);
    bool is_open = socket_connect(&address, &fd, NULL) == 0;
    fd_close(fd);
    fd_close(directory_fd);
    return is_open;
}

static void platform_kill(struct fixture *fixture)
{
    if (fixture->platform > 0) {
        kill(fixture->platform, SIGKILL);
        waitpid(fixture->platform, NULL, 0);
        while (is_answered(fixture)) /* its child dies a moment later */
            usleep(1000);
    }
    fixture->platform = 0;
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    snprintf(fixture->base, sizeof(fixture->base), "/tmp/test_cli_XXXXXX");
    assert_non_null(mkdtemp(fixture->base));
    snprintf(fixture->state, sizeof(fixture->state), "%s/state", fixture->base);
    snprintf(fixture->app, sizeof(fixture->app), "%s/app", fixture->base);
    snprintf(fixture->dies, sizeof(fixture->dies), "%s/dies", fixture->base);
    assert_int_equal(directory_make(fixture->state, 0700, NULL), 0);
    assert_int_equal(directory_make(fixture->app, 0700, NULL), 0);
    write_file(fixture->app, "slipway.yaml",
               "app: shop\nservices:\n  api: {start: node server.js}\n");
    write_file(fixture->app, "server.js", "// serves\n");
    platform_start(fixture);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    platform_kill(fixture);
    assert_int_equal(directory_remove_tree(fixture->base, NULL), 0);
    free(fixture);
    return 0;
}

/* ---- commands */

static void read_back(const char *directory, const char *name, char *buffer, size_t size)
{
    char path[256];
    struct buf text = BUF_INIT(size - 1);
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    assert_int_equal(file_read(path, size - 1, &text, NULL), 0);
    snprintf(buffer, size, "%s", buf_text(&text));
    buf_done(&text);
}

static pid_t command_start(struct fixture *fixture, const char *line)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid)
        return pid;
    char *argv[32] = {(char[]){"slipway"}};
    char words[512];
    int argc = 1;
    snprintf(words, sizeof(words), "%s", line);
    for (char *rest = words, *word; (word = strsep(&rest, " "));)
        argv[argc++] = word;
    setenv("SLIPWAY_STATE", fixture->state, 1);
    setenv("TZ", "UTC", 1);
    if (chdir(fixture->app) < 0 || !freopen("../out", "w", stdout) ||
        !freopen("../err", "w", stderr) || !freopen("/dev/null", "r", stdin))
        _exit(99);
    exit(cli_main(argc, argv, &(struct cli_platform){0}));
}

static void command_end(struct fixture *fixture, pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    read_back(fixture->base, "out", fixture->out, sizeof(fixture->out));
    read_back(fixture->base, "err", fixture->err, sizeof(fixture->err));
    if (!WIFEXITED(status))
        fail_msg("ended by signal %d: %s", WTERMSIG(status), fixture->err);
    fixture->status = WEXITSTATUS(status);
}

static void run(struct fixture *fixture, const char *line)
{
    command_end(fixture, command_start(fixture, line));
}

#define assert_contains(text, part)                                                                \
    do {                                                                                           \
        if (!strstr((text), (part)))                                                               \
            fail_msg("'%s' is not in: %s", (part), (text));                                        \
    } while (0)

static void status_shows_apps_services_and_roles(void **state)
{
    struct fixture *fixture = *state;
    run(fixture, "status");
    assert_int_equal(fixture->status, 0);
    assert_contains(fixture->out, "slipway 0.1.0  http port 8080");
    assert_contains(fixture->out, "edge 102 (2 restarts)");
    assert_contains(fixture->out, "shop  v3  live");
    assert_contains(fixture->out, "crash_loop");
    assert_contains(fixture->out, "1/2");
    run(fixture, "status --json");
    assert_contains(fixture->out, "\"state_directory\":\"/state\"");
    run(fixture, "ps shop");
    assert_contains(fixture->out, "api-1");
    assert_contains(fixture->out, "20001");
    run(fixture, "ps --json");
    assert_contains(
        fixture->out,
        "{\"instances\":[{\"app\":\"shop\",\"service\":\"api\",\"type\":\"web\",\"id\":\"api-1\"");
}

static void listings_are_tables_or_json(void **state)
{
    struct fixture *fixture = *state;
    run(fixture, "releases");
    assert_contains(fixture->out, "v3");
    assert_contains(fixture->out, "0123456+");
    assert_contains(fixture->out, "8.3s");
    assert_contains(fixture->out, "KEPT");
    run(fixture, "releases shop -n 1");
    assert_null(strstr(fixture->out, "v2"));
    run(fixture, "releases shop --json");
    assert_contains(fixture->out, "{\"app\":\"shop\",\"releases\":[");
    run(fixture, "trash");
    assert_contains(fixture->out, "old-1");
    run(fixture, "trash list --json");
    assert_contains(fixture->out, "{\"trash\":[");
    run(fixture, "certificates");
    assert_contains(fixture->out, "shop.example.org");
    assert_contains(fixture->out, "(any host)");
    assert_contains(fixture->out, "Local");
    assert_contains(fixture->out, "the name leads elsewhere");
    assert_contains(fixture->out, "HINT: point it here");
    run(fixture, "certificates --json");
    assert_contains(fixture->out, "{\"certificates\":[");
    run(fixture, "certificates renew shop.example.org");
    assert_int_equal(fixture->status, 0);
    run(fixture, "certificates renew other.example.org");
    assert_int_equal(fixture->status, 3);
    run(fixture, "certificates renew");
    assert_int_equal(fixture->status, 2);
    run(fixture, "trust");
    assert_string_equal(fixture->out, "-----BEGIN CERTIFICATE-----\nAA==\n");
    run(fixture, "trust --json");
    assert_contains(fixture->out, "\"name\":\"CN=Local\"");
    run(fixture, "version --json");
    assert_contains(fixture->out,
                    "{\"version\":\"0.1.0\",\"platform\":\"0.1.0\",\"keeper\":\"0.1.0\"");
    run(fixture, "upgrade");
    assert_int_equal(fixture->status, 0);
    assert_contains(fixture->out, "the platform runs 0.2.0, before 0.1.0");
    run(fixture, "downgrade --json");
    assert_contains(fixture->out, "\"is_downgrade\":true");
    run(fixture, "upgrade /no/such/file");
    assert_contains(fixture->err, "HINT: name the new slipway binary");
}

static void errors_have_a_message_a_hint_and_a_status(void **state)
{
    struct fixture *fixture = *state;
    run(fixture, "rollback ghost");
    assert_int_equal(fixture->status, 3);
    assert_string_equal(fixture->err, "slipway: no luck with 'ghost'\nHINT: try another\n");
    run(fixture, "satus");
    assert_int_equal(fixture->status, 2);
    assert_contains(fixture->err, "HINT: did you mean 'slipway status'?");
    run(fixture, "deploy /nonexistent");
    assert_int_equal(fixture->status, 3);
    run(fixture, "remove shop");
    assert_int_equal(fixture->status, 2);
    assert_contains(fixture->err, "--yes");
    run(fixture, "scale shop web");
    assert_int_equal(fixture->status, 2);
    run(fixture, "trash restore");
    assert_int_equal(fixture->status, 2);
}

static void nothing_serves_is_said_at_once(void **state)
{
    struct fixture *fixture = *state;
    platform_kill(fixture);
    run(fixture, "status");
    assert_int_equal(fixture->status, 8);
    assert_contains(fixture->err, "nothing serves at '");
    assert_contains(fixture->err, "HINT: start the platform with 'slipway serve'");
    run(fixture, "logs shop -f");
    assert_int_equal(fixture->status, 8);
    run(fixture, "status --state /nonexistent/folder");
    assert_int_equal(fixture->status, 8);
}

static void a_deploy_sends_the_source_and_shows_its_progress(void **state)
{
    struct fixture *fixture = *state;
    run(fixture, "deploy");
    assert_string_equal(fixture->err, "");
    assert_int_equal(fixture->status, 0);
    assert_contains(fixture->out, "starting    api-1: healthy after 310ms");
    assert_contains(fixture->out, "shop: v3 is live after 2.0 s");
    assert_contains(fixture->out, "http://127.0.0.1:8080/");
    run(fixture, "deploy . --json");
    assert_contains(fixture->out, "\"final\":true");
    run(fixture, "deploy --detach");
    assert_int_equal(fixture->status, 0);
    assert_contains(fixture->out, "makes v3");
}

static void a_failed_deploy_says_why(void **state)
{
    struct fixture *fixture = *state;
    write_file(fixture->app, "slipway.yaml",
               "app: broken\nservices:\n  api: {start: node server.js}\n");
    run(fixture, "deploy");
    assert_int_equal(fixture->status, 1);
    assert_contains(fixture->err, "| no such header\n");
    assert_contains(fixture->err, "last probe: GET /health: connection refused\n");
    assert_contains(fixture->err,
                    "slipway: deploy 7 of broken failed: build of api failed: exit status 3\n");
    assert_contains(fixture->err, "HINT: look at the output\n");
}

static void a_bad_manifest_is_reported_whole_before_anything_is_sent(void **state)
{
    struct fixture *fixture = *state;
    write_file(fixture->app, "slipway.yaml",
               "app: shop\nservices:\n  api: {start: node server.js, instnaces: 2}\n  job: {start: "
               "x, bild: y}\n");
    run(fixture, "deploy");
    assert_int_equal(fixture->status, 2);
    assert_contains(fixture->err, "instnaces");
    assert_contains(fixture->err, "did you mean 'instances'?");
    assert_contains(fixture->err, "bild");
    run(fixture, "validate");
    assert_int_equal(fixture->status, 2);
    assert_contains(fixture->out, "slipway.yaml:3:");
    run(fixture, "validate --json");
    assert_contains(fixture->out, "{\"valid\":false,\"findings\":[{");
}

static void a_good_manifest_is_valid_and_planned(void **state)
{
    struct fixture *fixture = *state;
    run(fixture, "validate");
    assert_int_equal(fixture->status, 0);
    assert_contains(fixture->out, "app shop, 1 service, 0 databases");
    run(fixture, "plan");
    assert_contains(fixture->out,
                    "~ services.api.instances: 2 -> 3\n+ services.site\n- databases.cache\n");
    run(fixture, "schema");
    assert_contains(fixture->out, "\"$schema\"");
}

static void init_never_overwrites(void **state)
{
    struct fixture *fixture = *state;
    run(fixture, "init");
    assert_int_equal(fixture->status, 5);
    unlink("/nonexistent");
    char path[128];
    snprintf(path, sizeof(path), "%s/slipway.yaml", fixture->app);
    unlink(path);
    write_file(fixture->app, "Procfile", "web: node server.js\n");
    run(fixture, "init");
    assert_int_equal(fixture->status, 0);
    run(fixture, "validate");
    assert_int_equal(fixture->status, 0);
}

static void changes_are_followed_to_their_end(void **state)
{
    struct fixture *fixture = *state;
    static const char *const lines[] = {
        "rollback",     "rollback shop v2", "rollback v2",       "scale shop api=2 web=3",
        "restart shop", "restart shop api", "remove shop --yes", "trash restore old-1"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        run(fixture, lines[i]);
        assert_string_equal(fixture->err, "");
        assert_int_equal(fixture->status, 0);
        assert_contains(fixture->out, "is live");
    }
    run(fixture, "cancel shop");
    assert_contains(fixture->out, "is being cancelled");
    run(fixture, "restart shop --detach");
    assert_contains(fixture->out, "begun");
}

static void logs_are_readable(void **state)
{
    struct fixture *fixture = *state;
    run(fixture, "logs");
    assert_int_equal(fixture->status, 0);
    assert_contains(fixture->out, "03-01 12:34:56.000 api-1 | listening");
    assert_contains(fixture->out, "--- 12 lines (2K) were dropped here ---");
    assert_contains(fixture->out, "GET h/x 200 1ms 100B 127.0.0.1");
    run(fixture, "logs shop --json -n 5 -g a|b --since 1h -s api");
    assert_contains(fixture->out, "\"kind\":\"gap\"");
    run(fixture, "logs shop --since soon");
    assert_int_equal(fixture->status, 2);
    run(fixture, "logs shop -g (");
    assert_int_equal(fixture->status, 2);
    assert_string_equal(fixture->err, "slipway: unclosed group\n");
    run(fixture, "logs ghost");
    assert_int_equal(fixture->status, 3);
    run(fixture, "logs shop -n 0");
    assert_string_equal(fixture->out, "");
}

/* Wait until the output of the running command contains `part`. */
static void await_output(struct fixture *fixture, const char *part)
{
    struct buf text = BUF_INIT(65536);
    char path[128];
    snprintf(path, sizeof(path), "%s/out", fixture->base);
    for (int i = 0; i < 1000 && !strstr(buf_text(&text), part); i++) {
        usleep(10000);
        buf_clear(&text);
        (void)!file_read(path, 65536, &text, NULL);
    }
    assert_contains(buf_text(&text), part);
    buf_done(&text);
}

static void control_kill(struct fixture *fixture)
{
    char text[32];
    uint64_t pid;
    read_back(fixture->base, "control.pid", text, sizeof(text));
    assert_int_equal(slice_to_u64(slice_trim(slice_from(text)), &pid), 0);
    kill((pid_t)pid, SIGKILL);
    /* Until it is reaped, or it takes a request with it into the grave. */
    for (int i = 0; i < 2000 && kill((pid_t)pid, 0) == 0; i++)
        usleep(1000);
}

static void followed_logs_go_on_without_repeats_after_a_restart(void **state)
{
    struct fixture *fixture = *state;
    pid_t pid = command_start(fixture, "logs shop -f");
    await_output(fixture, "127.0.0.1");
    control_kill(fixture); /* the one that comes back has the same three records */
    usleep(1000000);
    kill(pid, SIGINT);
    command_end(fixture, pid);
    assert_int_equal(fixture->status, CLI_EXIT_INTERRUPTED);
    const char *first = strstr(fixture->out, "listening");
    assert_non_null(first);
    assert_null(strstr(first + 1, "listening"));
}

static void a_command_waits_for_a_control_that_restarts(void **state)
{
    struct fixture *fixture = *state;
    control_kill(fixture);
    run(fixture, "status");
    assert_int_equal(fixture->status, 0);
    control_kill(fixture);
    run(fixture, "restart shop");
    assert_int_equal(fixture->status, 0);
}

static void an_upload_that_control_did_not_survive_is_sent_again(void **state)
{
    struct fixture *fixture = *state;
    write_file(fixture->app, "slipway.yaml",
               "app: fresh\nservices:\n  api: {start: node server.js}\n");
    write_file(fixture->base, "dies", "");
    run(fixture, "deploy");
    assert_string_equal(fixture->err, "");
    assert_int_equal(fixture->status, 0);
    assert_int_equal(access(fixture->dies, F_OK), -1);
    assert_contains(fixture->out, "fresh: v3 is live");
}

static void a_source_that_cannot_be_packed_ends_the_deploy(void **state)
{
    struct fixture *fixture = *state;
    char path[128];
    snprintf(path, sizeof(path), "%s/outside", fixture->app);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    run(fixture, "deploy");
    assert_int_equal(fixture->status, 2);
    assert_contains(fixture->err, "outside");
}

static void help_is_there_without_a_platform(void **state)
{
    struct fixture *fixture = *state;
    platform_kill(fixture);
    static const char *const lines[] = {
        "help",       "help deploy",     "deploy --help",  "help exit-codes", "manual slipway",
        "manual cli", "completion bash", "completion zsh", "version",         "schema"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        run(fixture, lines[i]);
        assert_int_equal(fixture->status, 0);
        assert_true(fixture->out[0] != '\0');
    }
    run(fixture, "help nothing");
    assert_int_equal(fixture->status, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(status_shows_apps_services_and_roles),
        TEST(listings_are_tables_or_json),
        TEST(errors_have_a_message_a_hint_and_a_status),
        TEST(nothing_serves_is_said_at_once),
        TEST(a_deploy_sends_the_source_and_shows_its_progress),
        TEST(a_failed_deploy_says_why),
        TEST(a_bad_manifest_is_reported_whole_before_anything_is_sent),
        TEST(a_good_manifest_is_valid_and_planned),
        TEST(init_never_overwrites),
        TEST(changes_are_followed_to_their_end),
        TEST(logs_are_readable),
        TEST(followed_logs_go_on_without_repeats_after_a_restart),
        TEST(a_command_waits_for_a_control_that_restarts),
        TEST(an_upload_that_control_did_not_survive_is_sent_again),
        TEST(a_source_that_cannot_be_packed_ends_the_deploy),
        TEST(help_is_there_without_a_platform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
