#include "logd/syncer.h"

#include <errno.h>
#include <limits.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "os/file.h"

#define STACK_BYTES ((size_t)64 << 10)

static void *syncer_run(void *argument)
{
    struct syncer *syncer = argument;

    (void)pthread_mutex_lock(&syncer->lock);
    for (;;) {
        bool has_failed = false;
        uint64_t one = 1;
        while (syncer->fd_count == 0 && !syncer->is_quitting)
            (void)pthread_cond_wait(&syncer->wake, &syncer->lock);
        if (syncer->fd_count == 0)
            break;
        (void)pthread_mutex_unlock(&syncer->lock);
        for (size_t i = 0; i < syncer->fd_count; i++) {
            if (fsync(syncer->fds[i]) < 0)
                has_failed = true;
            fd_close(syncer->fds[i]);
        }
        (void)pthread_mutex_lock(&syncer->lock);
        syncer->fd_count = 0;
        syncer->has_failed = has_failed;
        (void)!write(syncer->io.fd, &one, sizeof one);
    }
    (void)pthread_mutex_unlock(&syncer->lock);
    return NULL;
}

static void on_event(struct loop_io *io, unsigned events)
{
    struct syncer *syncer = container_of(io, struct syncer, io);
    uint64_t count;

    (void)events;
    if (read(io->fd, &count, sizeof count) != (ssize_t)sizeof count)
        return;
    syncer->is_busy = false;
    syncer->on_synced(syncer, !syncer->has_failed);
}

int syncer_start(struct syncer *syncer, struct loop *loop, struct error *err)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int code;

    syncer->io.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (syncer->io.fd < 0)
        return error_errno(err, errno, "unable to make an eventfd");
    syncer->io.on_event = on_event;
    code = loop_io_start(loop, &syncer->io, LOOP_READ, err);
    if (code) {
        fd_close(TAKE_FD(syncer->io.fd));
        return code;
    }
    (void)pthread_mutex_init(&syncer->lock, NULL);
    (void)pthread_cond_init(&syncer->wake, NULL);
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, MAX(STACK_BYTES, (size_t)PTHREAD_STACK_MIN));
    /* Signals belong to the loop's thread. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    code = pthread_create(&syncer->thread, &attributes, syncer_run, syncer);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    if (code) {
        loop_io_stop(&syncer->io);
        fd_close(TAKE_FD(syncer->io.fd));
        return error_errno(err, code, "unable to start the sync thread");
    }
    return 0;
}

void syncer_stop(struct syncer *syncer)
{
    if (syncer->io.fd < 0 || !syncer->io.loop)
        return;
    (void)pthread_mutex_lock(&syncer->lock);
    syncer->is_quitting = true;
    (void)pthread_cond_signal(&syncer->wake);
    (void)pthread_mutex_unlock(&syncer->lock);
    (void)pthread_join(syncer->thread, NULL);
    loop_io_stop(&syncer->io);
    fd_close(TAKE_FD(syncer->io.fd));
}

void syncer_request(struct syncer *syncer, const int *fds, size_t fd_count)
{
    assert(!syncer->is_busy && fd_count > 0 && fd_count <= SYNCER_FDS_MAX);
    (void)pthread_mutex_lock(&syncer->lock);
    memcpy(syncer->fds, fds, fd_count * sizeof *fds);
    syncer->fd_count = fd_count;
    syncer->is_busy = true;
    (void)pthread_cond_signal(&syncer->wake);
    (void)pthread_mutex_unlock(&syncer->lock);
}
