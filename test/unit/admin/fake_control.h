/* fake_control.h - control as the admin API sees it, with answers that a test chooses. One a
 * process. */
#ifndef FAKE_CONTROL_H
#define FAKE_CONTROL_H

#include "control/control.h"

#define FAKE_SOURCE_LIMIT (8u * 1024 * 1024)

struct fake_control {
    bool is_peer_refused;
    const char *fail_app;   /* operations on it fail … */
    int fail_code;          /* … with this */
    const char *broken_app; /* its deploys fail at the build */
    const char *new_app;    /* has no releases */
    const char *dies_path;  /* when this file exists, an upload removes it and kills the process */
    uint64_t next_deploy;
    unsigned scaled_to, upgrades;
    bool is_downgraded;
    uint64_t rolled_back_to;
    char who[64], service[64], manifest_app[64];
    char source_path[128]; /* where an upload goes; removed by fake_control_done */
    int sources_complete, sources_broken, unsubscribed;
    struct control_subscription *open_subscription; /* of an event stream that has not ended */
    bool keeps_events_open;
    int log_fd; /* write end of the last log pipe of a followed query; -1 */
    struct control_log_query last_query;
    char query_app[64], query_regex[64];
};
extern struct fake_control fake;
void fake_control_init(void);
void fake_control_done(void);

#endif
