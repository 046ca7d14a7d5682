#include "deploy/restart.h"

bool restart_after_crash(struct restart *restart, const struct manifest_restart *policy,
                         uint64_t uptime_ms, uint64_t *ret_delay_ms)
{
    uint64_t delay_ms = policy->backoff_min_ms;

    if (uptime_ms >= policy->min_uptime_ms)
        restart->quick_crashes = 0;
    if (restart->quick_crashes >= policy->max_restarts)
        return false;
    for (unsigned i = 0; i < restart->quick_crashes && delay_ms < policy->backoff_max_ms; i++)
        delay_ms *= 2;
    restart->quick_crashes++;
    *ret_delay_ms = MIN(delay_ms, policy->backoff_max_ms);
    return true;
}

void restart_reset(struct restart *restart)
{
    restart->quick_crashes = 0;
}
