#include "os/users.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/file.h"

#define COMMAND_DEADLINE_MS 30000
#define ARGUMENTS_MAX       80
#define POOL_MAX            64u
/* Where Debian and Fedora look for free system numbers; searched from the upper end, as they do. */
#define SYSTEM_UID_FIRST 300u
#define SYSTEM_UID_LAST  990u

int users_find(const char *name, uid_t *ret_uid, gid_t *ret_gid, struct error *err)
{
    struct passwd *entry;

    errno = 0;
    entry = getpwnam(name);
    if (!entry)
        return error_set(err, ERR_NOT_FOUND, "no user '%s' on this machine", name);
    *ret_uid = entry->pw_uid;
    *ret_gid = entry->pw_gid;
    return 0;
}

/* Run a program of the system to its end. True: it exited 0 in time. Its own complaints go to our
 * stderr. */
static bool run(const char *const *argv)
{
    static const char *const environment[] = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
        "SYSTEMD_LOG_LEVEL=warning", NULL};
    struct pollfd watch = {.events = POLLIN};
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        sigset_t none;

        sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        environ = (char **)(uintptr_t)environment;
        (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    if (pid < 0)
        return false;
    watch.fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (watch.fd < 0 || poll(&watch, 1, COMMAND_DEADLINE_MS) <= 0)
        (void)kill(pid, SIGKILL);
    fd_close(watch.fd);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct wanted {
    char name[32];
    uid_t uid; /* 0: whichever is free */
};

static bool make_with_sysusers(const struct wanted *wanted, size_t count)
{
    static char lines[POOL_MAX][96];
    const char *argv[ARGUMENTS_MAX] = {"systemd-sysusers", "--inline"};

    for (size_t i = 0; i < count; i++) {
        char number[16] = "-";

        if (wanted[i].uid)
            (void)snprintf(number, sizeof number, "%u", wanted[i].uid);
        (void)snprintf(lines[i], sizeof lines[i], "u %s %s \"Slipway\" / /usr/sbin/nologin",
                       wanted[i].name, number);
        argv[2 + i] = lines[i];
    }
    argv[2 + count] = NULL;
    return run(argv);
}

static bool make_with_useradd(const struct wanted *wanted, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char number[16] = "";
        const char *with_number[] = {"useradd",    "--system", "--user-group", "--no-create-home",
                                     "--home-dir", "/",        "--shell",      "/usr/sbin/nologin",
                                     "--uid",      number,     wanted[i].name, NULL};
        const char *any[] = {"useradd",      "--system", "--user-group", "--no-create-home",
                             "--home-dir",   "/",        "--shell",      "/usr/sbin/nologin",
                             wanted[i].name, NULL};

        (void)snprintf(number, sizeof number, "%u", wanted[i].uid);
        if (!run(wanted[i].uid ? with_number : any))
            return false;
    }
    return true;
}

static int make(const struct wanted *wanted, size_t count, struct error *err)
{
    uid_t uid;
    gid_t gid;

    if (!count)
        return 0;
    if (!make_with_sysusers(wanted, count) && !make_with_useradd(wanted, count)) {
        error_set(err, ERR_FAILED, "unable to make the system user '%s'", wanted[0].name);
        return error_hint(
            err, "make the users of slipway.sysusers.conf by hand (systemd-sysusers), or run the "
                 "platform as an ordinary user");
    }
    for (size_t i = 0; i < count; i++) {
        int code = users_find(wanted[i].name, &uid, &gid, err);

        if (code < 0)
            return code;
    }
    return 0;
}

int users_ensure(const char *const *names, size_t count, struct error *err)
{
    struct wanted wanted[POOL_MAX];
    size_t missing = 0;
    uid_t uid;
    gid_t gid;

    assert(count <= POOL_MAX);
    for (size_t i = 0; i < count; i++) {
        if (users_find(names[i], &uid, &gid, NULL) == 0)
            continue;
        wanted[missing].uid = 0;
        (void)snprintf(wanted[missing].name, sizeof wanted[missing].name, "%s", names[i]);
        missing++;
    }
    return make(wanted, missing, err);
}

/* How many of the pool exist in a row with uid = first + i = gid. */
static unsigned pool_length(const char *prefix, unsigned count, uid_t *ret_first)
{
    for (unsigned i = 0; i < count; i++) {
        char name[32];
        uid_t uid;
        gid_t gid;

        (void)snprintf(name, sizeof name, "%s%u", prefix, i);
        if (users_find(name, &uid, &gid, NULL) < 0 || uid != gid ||
            (i > 0 && uid != *ret_first + i))
            return i;
        if (i == 0)
            *ret_first = uid;
    }
    return count;
}

static bool is_free(uid_t number)
{
    return !getpwuid(number) && !getgrgid(number);
}

/* The first of `count` numbers in a row that are neither a uid nor a gid; 0: none. */
static uid_t find_free(unsigned count)
{
    unsigned run_len = 0;

    for (uid_t number = SYSTEM_UID_LAST; number >= SYSTEM_UID_FIRST; number--) {
        run_len = is_free(number) ? run_len + 1 : 0;
        if (run_len == count)
            return number;
    }
    return 0;
}

int users_ensure_pool(const char *prefix, unsigned count, uid_t *ret_first, unsigned *ret_count,
                      struct error *err)
{
    struct wanted wanted[POOL_MAX];
    uid_t first = 0;
    unsigned len = pool_length(prefix, count, &first);
    int code;

    assert(count <= POOL_MAX);
    if (len == 0) {
        first = find_free(count);
        if (!first)
            return error_set(err, ERR_FAILED, "no %u free user numbers in a row between %u and %u",
                             count, SYSTEM_UID_FIRST, SYSTEM_UID_LAST);
        for (unsigned i = 0; i < count; i++) {
            wanted[i].uid = first + i;
            (void)snprintf(wanted[i].name, sizeof wanted[i].name, "%s%u", prefix, i);
        }
        code = make(wanted, count, err);
        if (code < 0)
            return code;
        len = pool_length(prefix, count, &first);
    }
    if (len == 0) {
        error_set(err, ERR_CONFLICT, "the user '%s0' has another group than its own", prefix);
        return error_hint(err, "remove the users '%s…' and start again: they are made anew",
                          prefix);
    }
    *ret_first = first;
    *ret_count = len;
    return 0;
}
