/* notify.h - sd_notify(3) from instances: one datagram socket for all of them, in the abstract
 * namespace.
 *
 * The keeper holds it, so what is sent while control restarts waits in it. Who spoke is told by the
 * kernel (SCM_CREDENTIALS): the session of the sender names the unit, so no process can speak for
 * another app's.
 */
#ifndef CONTROL_NOTIFY_H
#define CONTROL_NOTIFY_H

#include "loop/loop.h"

#define NOTIFY_HELD_NAME    "notify"
#define NOTIFY_ADDRESS_SIZE 128
#define NOTIFY_RECENT       64u

struct control;

struct notify {
    struct control *control;
    struct loop_io io;
    char address[NOTIFY_ADDRESS_SIZE]; /* as NOTIFY_SOCKET says it: "@slipway-…" */
    int32_t recent[NOTIFY_RECENT];     /* sessions that are ready and that nobody waited for yet */
    unsigned recent_next;
};

void notify_init(struct notify *notify, struct control *control);
void notify_done(struct notify *notify);
/* The socket of an earlier life of control. Takes *fd. */
void notify_take(struct notify *notify, int *fd);
/* Make one when none was taken, and have the keeper hold it. */
void notify_open(struct notify *notify);
void notify_listen(struct notify *notify);
/* True when that session said READY=1 already; it is then forgotten. */
bool notify_was_ready(struct notify *notify, int32_t session);

#endif
