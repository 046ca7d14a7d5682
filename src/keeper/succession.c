/* The last moment of the binary that gives the keeper's place away, the first ones of the binary
 * that takes it, and its trial before.
 *
 * Until the state is taken over nothing is changed, and a parachute is open: whatever goes wrong
 * here (a crash, an assertion, a hang, state that has no sense) executes the binary before with the
 * same state. So every descriptor stays open across an execution until then.
 */
#include "keeper/keeper_private.h"
#include "keeper/resume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/file.h"
#include "os/memory.h"

#define TAKE_OVER_SECONDS 15u
#define BACK_SUFFIX       ":back"

/* ---- trial */

static int state_map(int fd, struct slice *ret_state, struct error *err)
{
    void *base;
    size_t size;
    int code = memory_map(fd, false, true, &base, &size, err);

    if (code < 0)
        return code;
    *ret_state = (struct slice){base, size};
    return 0;
}

static void state_unmap(struct slice state)
{
    memory_unmap((void *)(uintptr_t)state.ptr, state.len);
}

int keeper_trial(const struct keeper_options *options)
{
    struct buf answer = BUF_INIT(1024);
    struct slice state;
    struct error err = {0};
    int code;

    (void)prctl(PR_SET_NAME, KEEPER_TRIAL_TITLE);
    code = state_map(KEEPER_CHANNEL_FD, &state, &err);
    if (code == 0)
        code = resume_check(state, &err);
    if (code < 0)
        buf_printf(&answer, "%s\n", err.text);
    else
        buf_printf(&answer, "slipway-trial 1\nversion %s protocol %u store %u %u\nok\n",
                   slipway_version, KEEPER_PROTOCOL_VERSION, options->store_oldest,
                   options->store_newest);
    code = file_write_all(STDOUT_FILENO, buf_slice(&answer), &err);
    buf_done(&answer);
    return code < 0 ? 1 : 0;
}

/* ---- the execution */

static int state_mark(int state_fd, bool is_closed_by_exec, struct error *err)
{
    struct slice state;
    int code = state_map(state_fd, &state, err);

    if (code < 0)
        return code;
    resumed_mark(state, is_closed_by_exec);
    state_unmap(state);
    return fd_set_cloexec(state_fd, is_closed_by_exec);
}

int keeper_execute(struct keeper *keeper, struct error *err)
{
    CLEANUP(fd_closep) int state_fd = -1;
    char number[16];
    int code = resumed_save(keeper, &state_fd, err);

    if (code == 0)
        code = state_mark(state_fd, false, err);
    if (code < 0)
        return code;
    (void)snprintf(number, sizeof number, "%d", state_fd);
    if (setenv(KEEPER_RESUME_VARIABLE, number, 1) == 0)
        (void)syscall(SYS_execveat, keeper->binary.fd, "", keeper->options->argv, environ,
                      AT_EMPTY_PATH);
    code = error_errno(err, errno, "unable to execute the binary");
    (void)unsetenv(KEEPER_RESUME_VARIABLE);
    if (state_mark(state_fd, true, NULL) < 0)
        log_error("descriptors stay open for every process that is started");
    return code;
}

/* ---- parachute */

static struct {
    int fd; /* of the binary before; -1: closed */
    char **argv;
} parachute = {.fd = -1};

static const int parachute_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGALRM, SIGSYS};

/* Only what a signal handler may call. */
static void parachute_pull(int number UNUSED)
{
    if (parachute.fd >= 0)
        (void)syscall(SYS_execveat, parachute.fd, "", parachute.argv, environ, AT_EMPTY_PATH);
    _exit(1);
}

static void parachute_open(struct slice state, char **argv)
{
    struct sigaction action = {.sa_handler = parachute_pull, .sa_flags = SA_NODEFER};
    struct resume_record record;
    size_t cursor;

    if (resume_open(state, &cursor, NULL) < 0)
        return;
    while (resume_next(state, &cursor, &record, NULL) > 0) {
        if (record.tag == RESUME_TAG_binary && record.binary.place == RESUME_IS_BEFORE)
            parachute.fd = record.binary.fd;
    }
    parachute.argv = argv;
    for (size_t i = 0; i < ARRAY_LEN(parachute_signals); i++)
        (void)sigaction(parachute_signals[i], &action, NULL);
    (void)alarm(TAKE_OVER_SECONDS);
}

static void parachute_close(void)
{
    (void)alarm(0);
    parachute.fd = -1;
    for (size_t i = 0; i < ARRAY_LEN(parachute_signals); i++)
        (void)signal(parachute_signals[i], SIG_DFL);
}

/* ---- taking over */

bool keeper_is_resumed(void)
{
    return getenv(KEEPER_RESUME_VARIABLE) != NULL;
}

/* "12" or "12:back". After it, the variable says what the binary before must hear if this one
 * fails. */
static int resume_variable(int *ret_fd, bool *ret_is_back, struct error *err)
{
    const char *text = getenv(KEEPER_RESUME_VARIABLE);
    char *end = NULL;
    char back[32];
    long fd = text ? strtol(text, &end, 10) : -1;

    if (!text || fd <= STDERR_FILENO || fd > 1000000 || (*end && strcmp(end, BACK_SUFFIX) != 0))
        return error_set(err, ERR_INVALID,
                         "the variable " KEEPER_RESUME_VARIABLE " is for the platform's own use");
    *ret_fd = (int)fd;
    *ret_is_back = *end != '\0';
    (void)snprintf(back, sizeof back, "%ld" BACK_SUFFIX, fd);
    return setenv(KEEPER_RESUME_VARIABLE, back, 1) == 0 ? 0
                                                        : error_set(err, ERR_LIMIT, "no memory");
}

/* Every descriptor of our own is closed by exec; what is not came from the binary before, and this
 * version has no use for it. */
static void strangers_close(void)
{
    DIR *entries = opendir("/proc/self/fd");

    for (struct dirent *entry = entries ? readdir(entries) : NULL; entry;
         entry = readdir(entries)) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        int flags = fd > STDERR_FILENO ? fcntl(fd, F_GETFD) : -1;

        if (flags >= 0 && !(flags & FD_CLOEXEC))
            fd_close(fd);
    }
    if (entries)
        (void)closedir(entries);
}

/* The state was made for a binary that could not take it over. */
static void come_back(struct keeper *keeper)
{
    struct upgrade *upgrade = &keeper->upgrade;

    binary_close(&keeper->binary);
    keeper->binary = keeper->before;
    keeper->before = keeper->spare;
    keeper->spare = (struct binary){.fd = -1};
    upgrade->phase = KEEPER_UPGRADE_RETURNING;
    upgrade->code = ERR_FAILED;
    (void)snprintf(upgrade->reason, sizeof upgrade->reason,
                   "version %s could not take over the platform: it crashed or hung", upgrade->to);
    (void)snprintf(upgrade->hint, sizeof upgrade->hint, "the platform's own log may say more");
    log_error("%s", upgrade->reason);
}

int keeper_take_over(struct keeper *keeper, const struct keeper_options *options, struct error *err)
{
    struct slice state = {0};
    bool is_back = false;
    int fd = -1;
    int code;

    (void)prctl(PR_SET_NAME, "slipway");
    code = resume_variable(&fd, &is_back, err);
    if (code == 0)
        code = state_map(fd, &state, err);
    if (code < 0)
        return code;
    if (!is_back)
        parachute_open(state, options->argv);
    code = keeper_open_resumed(keeper, options, state, err);
    if (code < 0 && parachute.fd >= 0) {
        log_failure(err, "unable to take over the platform");
        parachute_pull(0);
    }
    if (code < 0)
        return code;
    parachute_close();
    (void)unsetenv(KEEPER_RESUME_VARIABLE);
    resumed_mark(state, true);
    resumed_end_unknown(keeper, state);
    state_unmap(state);
    strangers_close(); /* the state among them */
    if (is_back)
        come_back(keeper);
    return 0;
}
