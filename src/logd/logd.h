/* logd.h - the log role: takes every line that units print and edges report, stores it, and finds
 * it again. Design: docs/design/logd.md. */
#ifndef LOGD_LOGD_H
#define LOGD_LOGD_H

#include "logd/settings.h"

/* Run the role on KEEPER_CHANNEL_FD until the keeper says QUIT or goes away. Returns the exit
 * status. */
int logd_main(void);
/* The same with other limits; for tests. */
int logd_run(int keeper_fd, const struct logd_settings *settings);

#endif
