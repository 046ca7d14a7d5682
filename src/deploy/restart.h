/* restart.h - when a crashed process may start again: exponential backoff that ends in a clear
 * state, not in a spin. Pure: the caller brings the time that the process lived. */
#ifndef DEPLOY_RESTART_H
#define DEPLOY_RESTART_H

#include "config/manifest.h"

struct restart {
    unsigned quick_crashes; /* in a row; 0 after a life of min_uptime_ms */
};

/* Note a crash after `uptime_ms`. True: start again after *ret_delay_ms. False: max_restarts quick
 * crashes in a row; leave it until a person or a deploy says otherwise. */
bool restart_after_crash(struct restart *restart, const struct manifest_restart *policy,
                         uint64_t uptime_ms, uint64_t *ret_delay_ms);
void restart_reset(struct restart *restart);

#endif
