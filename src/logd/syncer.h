/* syncer.h - fdatasync(2) away from the loop, in the one thread of logd.
 *
 * Why: a sync can take as long as the disk likes, and while the loop waits, pipes fill up and
 * applications wait with it. The thread touches nothing but the descriptors that it is given.
 */
#ifndef LOGD_SYNCER_H
#define LOGD_SYNCER_H

#include <pthread.h>

#include "loop/loop.h"

#define SYNCER_FDS_MAX 4u

struct syncer {
    struct loop_io io; /* eventfd: a job is done */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int fds[SYNCER_FDS_MAX];
    size_t fd_count; /* > 0: a job waits or runs */
    bool is_busy, is_quitting, has_failed;
    void (*on_synced)(struct syncer *syncer, bool is_good);
};

MUST_USE int syncer_start(struct syncer *syncer, struct loop *loop, struct error *err);
void syncer_stop(
    struct syncer *syncer); /* finishes the job in hand; on_synced does not run any more */
/* Sync and close `fds` (taken over); on_synced runs on the loop afterwards. Only when not busy. */
void syncer_request(struct syncer *syncer, const int *fds, size_t fd_count);

#endif
