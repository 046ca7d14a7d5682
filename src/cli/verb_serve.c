/* serve, and up: serve as a child, deploy, follow. */
#include "base/clock.h"
#include "base/keeper_protocol.h"
#include "cli/cli_private.h"
#include "os/file.h"
#include "os/socket.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_WITHIN_MS 30000
#define STOP_WITHIN_MS  100000 /* longer than the keeper gives itself */

/* ---- serve */

/* Where TLS is served unless told: beside the plain address, so that a platform for this machine
 * only stays one; port 0 (any) stays 0. NULL: nowhere, as for a socket in the file system. */
static const char *https_default(struct command *command, const struct address *http)
{
    struct address https = *http;
    unsigned port = address_port(http) == 0 ? 0 : geteuid() == 0 ? 443 : 8443;
    char text[ADDRESS_TEXT_SIZE];
    if (http->any.sa_family == AF_INET)
        https.in.sin_port = htons((uint16_t)port);
    else if (http->any.sa_family == AF_INET6)
        https.in6.sin6_port = htons((uint16_t)port);
    else
        return NULL;
    return arena_text(command->arena, address_format(&https, text));
}

static int https_option(struct command *command, const struct address *http, const char **ret_https,
                        struct error *err)
{
    const char *https = command_option(command, "https");
    struct address address;
    if (!https) {
        *ret_https = https_default(command, http);
        return 0;
    }
    if (strcmp(https, "off") == 0) {
        *ret_https = NULL;
        return 0;
    }
    if (address_parse(https, &address, err) < 0) {
        error_set(err, ERR_USAGE, "'--https %s' is not an address", https);
        return error_hint(err, "like 127.0.0.1:8443, [::1]:8443, *:443 or off");
    }
    *ret_https = https;
    return 0;
}

static int serve_options(struct command *command, struct cli_serve *ret_serve, struct error *err)
{
    const char *level = command_option(command, "log-level"),
               *http = command_option(command, "http");
    struct cli_serve serve = {
        .state_directory = command->state_directory,
        .http = http             ? http
                : geteuid() == 0 ? "*:80"
                                 : "*:8080",
        .log_level = LOG_INFO,
    };
    struct address address;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t edges;
    int r =
        command_number(command, "edges", (uint64_t)MAX(1L, MIN(cores, (long)KEEPER_EDGES_MAX / 2)),
                       KEEPER_EDGES_MAX, &edges, err);
    if (r < 0)
        return r;
    if (edges == 0) {
        error_set(err, ERR_USAGE, "'--edges 0': at least one process must serve");
        return error_hint(err, "leave it out for one a processor core");
    }
    if (level && log_level_from_name(level, &serve.log_level) < 0) {
        error_set(err, ERR_USAGE, "'--log-level %s' is not error, warning, info or debug", level);
        return error_hint(err, "leave it out for info");
    }
    if (address_parse(serve.http, &address, err) < 0) {
        error_set(err, ERR_USAGE, "'--http %s' is not an address", serve.http);
        return error_hint(err, "like 127.0.0.1:8080, [::1]:8080 or *:80");
    }
    r = https_option(command, &address, &serve.https, err);
    if (r < 0)
        return r;
    serve.edges = (unsigned)edges;
    *ret_serve = serve;
    return 0;
}

int verb_serve(struct command *command)
{
    struct cli_serve serve;
    struct error err = {0};
    int r = serve_options(command, &serve, &err);
    if (r == 0) {
        log_init("keeper", serve.log_level);
        r = command->platform->serve(&serve, &err);
    }
    return r < 0 ? fail_with(&err) : 0;
}

/* ---- up */

struct child {
    pid_t pid; /* 0: none */
    int pidfd;
};

static volatile sig_atomic_t is_up_interrupted;

static void on_signal(int number UNUSED)
{
    is_up_interrupted = 1;
}

/* The platform as a child in the same process group: Ctrl-C on the terminal reaches it, too. */
static void NORETURN child_serve(struct command *command, pid_t parent)
{
    const char *http = command_option(command, "http"), *edges = command_option(command, "edges"),
               *https = command_option(command, "https");
    const char *argv[14] = {"slipway",     "serve",  "--state", command->state_directory,
                            "--log-level", "warning"};
    size_t count = 6;
    sigset_t none;
    if (http) {
        argv[count++] = "--http";
        argv[count++] = http;
    }
    if (https) {
        argv[count++] = "--https";
        argv[count++] = https;
    }
    if (edges) {
        argv[count++] = "--edges";
        argv[count++] = edges;
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* when `up` is killed, the platform stops in order */
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || getppid() != parent)
        _exit(1);
    execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
    _exit(127);
}

static bool child_has_ended(const struct child *child, int wait_ms)
{
    struct pollfd end = {.fd = child->pidfd, .events = POLLIN};
    return poll(&end, 1, wait_ms) == 1;
}

static int child_start(struct command *command, struct child *child, struct error *err)
{
    pid_t parent = getpid();
    fflush(NULL);
    child->pid = fork();
    if (child->pid == 0)
        child_serve(command, parent);
    if (child->pid < 0) {
        child->pid = 0;
        return error_errno(err, errno, "unable to start a process");
    }
    child->pidfd = pidfd_open(child->pid, 0);
    return child->pidfd < 0 ? error_errno(err, errno, "unable to watch a process") : 0;
}

static bool is_serving(struct command *command)
{
    struct call call = {.method = "GET", .target = "/v1/version"};
    struct slice text = {0};
    struct error err = {0};
    return file_is_directory(command->state_directory) &&
           platform_is_there(command->state_directory) &&
           platform_call(command, &call, &text, &err) == 0;
}

/* Wait until the child answers. ERR_FAILED: it ended, and has said why. */
static int child_wait(struct command *command, const struct child *child, struct error *err)
{
    uint64_t end_us = clock_monotonic_us() + (uint64_t)START_WITHIN_MS * 1000;
    while (!is_serving(command)) {
        if (is_up_interrupted)
            return error_set(err, ERR_CANCELLED, "interrupted");
        if (child_has_ended(child, 50))
            return error_set(err, ERR_FAILED, "the platform did not start");
        if (clock_monotonic_us() > end_us)
            return error_set(err, ERR_TIMEOUT, "the platform did not start within 30s");
    }
    return 0;
}

/* SIGTERM, and wait for the end. Returns its exit status. */
static int child_stop(struct child *child)
{
    int status = 0;
    if (child->pid <= 0)
        return 0;
    if (child->pidfd >= 0 && !child_has_ended(child, 0)) {
        print_note("stopping the platform");
        kill(child->pid, SIGTERM);
        if (!child_has_ended(child, STOP_WITHIN_MS)) {
            print_note("it does not stop; killing it");
            kill(child->pid, SIGKILL);
        }
    }
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
        ;
    fd_close(child->pidfd);
    child->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* Deploy and follow until Ctrl-C or the child's end. Returns the exit status. */
static int up_run(struct command *command, const char *directory, const struct manifest *manifest,
                  struct child *child)
{
    struct error err = {0};
    bool is_interrupted = false;
    uint64_t began_us = clock_wall_us();
    int status = deploy_folder(command, directory, manifest, false);
    if (status)
        return status;
    print_note(child->pid ? "following its output; Ctrl-C stops the platform"
                          : "following its output; Ctrl-C ends this, the app goes on");
    struct log_selection selection = {
        .app = manifest->app, .lines = 1000, .since_us = began_us, .is_followed = true};
    int r = logs_print(command, &selection, child->pid ? child->pidfd : -1, &is_interrupted, &err);
    if (is_interrupted || is_up_interrupted)
        return CLI_EXIT_INTERRUPTED;
    if (child->pid && child_has_ended(child, 0)) {
        error_set(&err, ERR_FAILED, "the platform ended");
        return fail_with(&err);
    }
    return r < 0 ? fail_with(&err) : 0;
}

int verb_up(struct command *command)
{
    struct child child = {.pidfd = -1};
    struct manifest *manifest;
    struct cli_serve serve;
    struct error err = {0};
    struct sigaction action = {.sa_handler = on_signal};
    const char *directory = command_argument(command, 0);
    directory = directory ? directory : ".";
    if (serve_options(command, &serve, &err) < 0)
        return fail_with(&err);
    int r = folder_check(command, directory, &manifest);
    if (r < 0)
        return error_exit_status(r); /* before anything is started */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (!is_serving(command)) {
        r = child_start(command, &child, &err);
        if (r == 0)
            r = child_wait(command, &child, &err);
    }
    int status = r == ERR_CANCELLED ? CLI_EXIT_INTERRUPTED
                 : r < 0            ? fail_with(&err)
                                    : up_run(command, directory, manifest, &child);
    child_stop(&child);
    return status;
}
