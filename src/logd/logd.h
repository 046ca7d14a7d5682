/* logd.h - the log role: keeps every line of every unit and every access record, and finds them again.
 *
 * Design: docs/design/logd.md
 */
#ifndef LOGD_LOGD_H
#define LOGD_LOGD_H

#include "base/compiler.h"

/* Run as logd: fd 3 is the channel to the keeper (base/keeper_protocol.h). Returns the process's exit status: 0 after KEEPER_QUIT, 1 when
 * the keeper is gone or the start failed (logged). */
int logd_main(void);

#endif
