/* readiness.h - sd_notify(3) from instances: one datagram socket for all of them, in the abstract
 * namespace.
 *
 * The keeper holds it, so what is sent while control restarts waits in it. Who spoke is told by the
 * kernel (SCM_CREDENTIALS): the session of the sender names the unit, so no process can speak for
 * another app's.
 */
#ifndef CONTROL_READINESS_H
#define CONTROL_READINESS_H

#include "loop/loop.h"

#define READINESS_HELD_NAME    "notify"
#define READINESS_ADDRESS_SIZE 128
#define READINESS_RECENT       64u

struct control;

struct readiness {
    struct control *control;
    struct loop_io io;
    char address[READINESS_ADDRESS_SIZE]; /* as NOTIFY_SOCKET says it: "@slipway-…" */
    int32_t recent[READINESS_RECENT]; /* sessions that are ready and that nobody waited for yet */
    unsigned recent_next;
};

void readiness_init(struct readiness *readiness, struct control *control);
void readiness_done(struct readiness *readiness);
/* The socket of an earlier life of control. Takes *fd. */
void readiness_take(struct readiness *readiness, int *fd);
/* Make one when none was taken, and have the keeper hold it. */
void readiness_open(struct readiness *readiness);
void readiness_listen(struct readiness *readiness);
/* True when that session said READY=1 already; it is then forgotten. */
bool readiness_was_ready(struct readiness *readiness, int32_t session);

#endif
