/* What a signer may not do, tried from inside: each attempt in a process of its own. Built without
 * sanitizers, whose own calls no filter allows. */
#include "os/confine.h"
#include "signer/signer_private.h"
#include "unit.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t parent;

static long signal_another(void)
{
    return syscall(SYS_tgkill, parent, parent, SIGCONT);
}

/* From then on the kernel would send signals in its name. */
static long direct_signals_at_another(void)
{
    return fcntl(STDIN_FILENO, F_SETOWN, parent);
}

static long open_a_file(void)
{
    return syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
}

static long open_a_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

static long start_a_process(void)
{
    return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static long signal_itself(void)
{
    return syscall(SYS_tgkill, getpid(), getpid(), SIGCONT);
}

static long ask_for_a_flag(void)
{
    return fcntl(STDIN_FILENO, F_GETFD);
}

/* 0: it worked; else errno. */
static int outcome(long (*attempt)(void))
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        signer_confine();
        _exit(attempt() < 0 ? errno : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void it_reaches_nobody_and_nothing(void **state)
{
    static long (*const attempts[])(void) = {signal_another, direct_signals_at_another, open_a_file,
                                             open_a_socket, start_a_process};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(attempts); i++)
        assert_int_equal(outcome(attempts[i]), EPERM);
}

static void its_own_end_and_its_descriptors_are_left_to_it(void **state)
{
    (void)state;
    assert_int_equal(outcome(signal_itself), 0);
    assert_int_equal(outcome(ask_for_a_flag), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_reaches_nobody_and_nothing),
        cmocka_unit_test(its_own_end_and_its_descriptors_are_left_to_it),
    };

    parent = getpid();
    if (!confine_is_real()) {
        puts("1..0 # SKIP processes of this build are not confined");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
