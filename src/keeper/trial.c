/* The trial of a binary, seen from the keeper: a child that reads the keeper's state and says on
 * its standard output that it could go on with it. What it does is in succession.c. What it says
 * instead (of a library that is missing, of a crash) goes the same way, to the person who asked. */
#include "keeper/keeper_private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "os/file.h"
#include "os/spawn.h"

static void trial_close(struct upgrade *upgrade)
{
    loop_io_stop(&upgrade->trial);
    fd_closep(&upgrade->trial.fd);
    fd_closep(&upgrade->trial_result);
}

void trial_kill(struct upgrade *upgrade)
{
    trial_close(upgrade);
    if (upgrade->trial_pid)
        (void)kill(upgrade->trial_pid, SIGKILL); /* reaped with all others */
}

struct trial_answer {
    struct slice version;
    uint64_t protocol, oldest, newest; /* of the protocol; of the state store's format */
};

static bool is_printable(char byte)
{
    return byte >= ' ' && byte <= '~';
}

static bool is_word(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_printable(text.ptr[i]) || text.ptr[i] == ' ')
            return false;
    }
    return text.len > 0;
}

/* For a terminal: one line, and nothing that a terminal obeys. */
static void answer_make_harmless(struct upgrade *upgrade)
{
    for (size_t i = 0; i < upgrade->answer_len; i++) {
        if (upgrade->answer[i] == '\n')
            upgrade->answer[i] = ' ';
        else if (!is_printable(upgrade->answer[i]))
            upgrade->answer[i] = '?';
    }
}

/* "slipway-trial 1", "version V protocol P store OLDEST NEWEST", "ok": three lines and no more. */
static bool trial_parse(struct slice text, struct trial_answer *ret_answer)
{
    struct slice greeting = slice_cut(&text, '\n'), line = slice_cut(&text, '\n');
    bool is_whole = slice_eq(text, SLICE("ok\n")) && slice_eq(greeting, SLICE("slipway-trial 1"));

    is_whole &= slice_eq(slice_cut(&line, ' '), SLICE("version"));
    ret_answer->version = slice_cut(&line, ' ');
    is_whole &= slice_eq(slice_cut(&line, ' '), SLICE("protocol"));
    is_whole &= slice_to_u64(slice_cut(&line, ' '), &ret_answer->protocol) == 0;
    is_whole &= slice_eq(slice_cut(&line, ' '), SLICE("store"));
    is_whole &= slice_to_u64(slice_cut(&line, ' '), &ret_answer->oldest) == 0;
    is_whole &= slice_to_u64(line, &ret_answer->newest) == 0;
    return is_whole && is_word(ret_answer->version) && ret_answer->version.len < VERSION_TEXT_SIZE;
}

/* It must read what we have written, and we what it will write. */
static bool is_way_back(const struct trial_answer *answer, const struct keeper_options *options)
{
    return answer->protocol == KEEPER_PROTOCOL_VERSION && answer->oldest <= options->store_newest &&
           answer->newest >= options->store_newest && answer->newest <= options->store_readable;
}

static int trial_check(struct keeper *keeper, struct error *err)
{
    struct upgrade *upgrade = &keeper->upgrade;
    struct trial_answer answer;

    if (!trial_parse((struct slice){upgrade->answer, upgrade->answer_len}, &answer)) {
        answer_make_harmless(upgrade);
        error_set(err, ERR_INVALID, "the program cannot take over a running platform%s%.200s",
                  upgrade->answer_len ? "; it says: " : "", upgrade->answer);
        return error_hint(err, "is it a slipway for this machine, and not too old?");
    }
    (void)snprintf(upgrade->to, sizeof upgrade->to, SLICE_FORMAT, SLICE_ARG(answer.version));
    memcpy(upgrade->candidate.version, upgrade->to, sizeof upgrade->to);
    if (!is_way_back(&answer, keeper->options)) {
        error_set(err, ERR_VERSION,
                  "%s speaks version %u of the protocol and writes state of format %u; the running "
                  "one speaks %u, writes %u and reads up to %u",
                  upgrade->to, (unsigned)answer.protocol, (unsigned)answer.newest,
                  KEEPER_PROTOCOL_VERSION, keeper->options->store_newest,
                  keeper->options->store_readable);
        return error_hint(err, "there would be no way back: stop the platform and start the other "
                               "binary, or take a version between them");
    }
    return 0;
}

static void trial_ended(struct keeper *keeper)
{
    struct upgrade *upgrade = &keeper->upgrade;
    struct error err = {0};
    int code = spawn_result(upgrade->trial_result, "the new binary", &err);

    if (code == ERR_UNAVAILABLE)
        code = 0;
    trial_kill(upgrade); /* one that goes on after its last word has no business here */
    loop_timer_stop(&upgrade->timer);
    if (code == 0)
        code = trial_check(keeper, &err);
    if (code < 0) {
        upgrade_refuse(keeper, &err);
        return;
    }
    upgrade_tried(keeper);
}

static void trial_came(struct loop_io *io, unsigned events)
{
    struct keeper *keeper = container_of(io, struct keeper, upgrade.trial);
    struct upgrade *upgrade = &keeper->upgrade;
    size_t room = sizeof upgrade->answer - 1 - upgrade->answer_len;
    ssize_t got = read(io->fd, upgrade->answer + upgrade->answer_len, room);

    (void)events;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got > 0) {
        upgrade->answer_len += (size_t)got;
        upgrade->answer[upgrade->answer_len] = '\0';
        if (upgrade->answer_len < sizeof upgrade->answer - 1)
            return; /* else it says too much */
    }
    trial_ended(keeper);
}

bool trial_child_exited(struct keeper *keeper, pid_t pid)
{
    if (!keeper->upgrade.trial_pid || pid != keeper->upgrade.trial_pid)
        return false;
    keeper->upgrade.trial_pid = 0; /* what it wrote says all */
    return true;
}

/* As control's user: it has nothing to do that would need more. */
static int trial_spawn(struct keeper *keeper, int state_fd, int writer, struct error *err)
{
    char title[] = KEEPER_TRIAL_TITLE;
    char *argv[] = {title, NULL};
    struct upgrade *upgrade = &keeper->upgrade;
    struct spawn spawn = {
        .argv = argv,
        .envp = keeper->role_environment,
        .exec_fd = upgrade->candidate.fd,
        .working_directory = "/",
        .stdin_fd = -1,
        .stdout_fd = writer,
        .stderr_fd = writer,
        .channel_fd = state_fd,
        .is_session_leader = true,
        .is_privilege_final = true,
        .is_user_switched = keeper->policy.is_root,
        .uid = keeper->policy.control_uid,
        .gid = keeper->policy.control_gid,
    };

    return spawn_start(&spawn, &upgrade->trial_pid, &upgrade->trial_result, err);
}

int trial_start(struct keeper *keeper, struct error *err)
{
    struct upgrade *upgrade = &keeper->upgrade;
    CLEANUP(fd_closep) int state_fd = -1;
    CLEANUP(fd_closep) int reader = -1;
    CLEANUP(fd_closep) int writer = -1;
    int ends[2];
    int code = resumed_save(keeper, &state_fd, err);

    if (code < 0)
        return code;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(err, errno, "unable to make a pipe");
    reader = ends[0];
    writer = ends[1];
    if (fd_set_nonblocking(reader, true) < 0)
        return error_errno(err, errno, "unable to make a pipe non-blocking");
    code = trial_spawn(keeper, state_fd, writer, err);
    if (code < 0)
        return code;
    upgrade->answer_len = 0;
    upgrade->answer[0] = '\0';
    upgrade->trial = (struct loop_io){.fd = TAKE_FD(reader), .on_event = trial_came};
    code = loop_io_start(keeper->loop, &upgrade->trial, LOOP_READ, err);
    if (code < 0)
        trial_kill(upgrade);
    return code;
}
