#include "loop/loop.h"
#include "loop/loop_private.h"
#include <errno.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Noted only: signals have their turn after all descriptors. */
static void on_signal_fd(struct loop_io *io, unsigned events)
{
    (void)events;
    container_of(io, struct loop, signal_io)->has_signals = true;
}

static int signal_fd_update(struct loop *loop, struct error *err)
{
    int fd = signalfd(loop->signal_io.fd, &loop->signal_mask, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "unable to receive signals");
    if (loop->signal_io.loop)
        return 0;
    loop->signal_io.fd = fd;
    loop->signal_io.on_event = on_signal_fd;
    return loop_io_start(loop, &loop->signal_io, LOOP_READ, err);
}

int loop_signal_start(struct loop *loop, struct loop_signal *signal, int number, struct error *err)
{
    assert(!signal->loop && signal->on_signal);
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    sigaddset(&loop->signal_mask, number);
    if (sigprocmask(SIG_BLOCK, &one, NULL) != 0)
        return error_errno(err, errno, "unable to block signal %d", number);
    int r = signal_fd_update(loop, err);
    if (r != 0)
        return r;
    signal->loop = loop;
    signal->number = number;
    list_push_back(&loop->signals, &signal->node);
    return 0;
}

static bool is_wanted(const struct list *signals, int number)
{
    list_each (node, signals)
        if (container_of(node, struct loop_signal, node)->number == number)
            return true;
    return false;
}

void loop_signal_stop(struct loop_signal *signal)
{
    struct loop *loop = signal->loop;
    if (!loop)
        return;
    list_remove(&signal->node);
    signal->loop = NULL;
    if (is_wanted(&loop->signals, signal->number) ||
        is_wanted(&loop->signals_running, signal->number))
        return;
    /* It stays blocked and pending for whoever starts to watch it next. */
    sigdelset(&loop->signal_mask, signal->number);
    signalfd(loop->signal_io.fd, &loop->signal_mask, 0);
}

static void deliver(struct loop *loop, int number)
{
    /* Callbacks may stop any handle, so each is put back before it is called. */
    list_move_all(&loop->signals, &loop->signals_running);
    while (!list_is_empty(&loop->signals_running)) {
        struct list *node = loop->signals_running.next;
        struct loop_signal *signal = container_of(node, struct loop_signal, node);
        list_remove(node);
        list_push_back(&loop->signals, node);
        if (signal->number == number)
            signal->on_signal(signal);
    }
}

void loop_signals_run(struct loop *loop)
{
    struct signalfd_siginfo info;
    loop->has_signals = false;
    while (read(loop->signal_io.fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        deliver(loop, (int)info.ssi_signo);
}
