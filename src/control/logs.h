/* logs.h - questions to logd. */
#ifndef CONTROL_LOGS_H
#define CONTROL_LOGS_H

#include "control/control.h"
#include "deploy/platform.h"
#include "loop/channel.h"

struct logs {
    struct control *control;
    struct channel channel;
    struct list readers; /* struct log_reader: requests of deploys under way */
    uint64_t dropped_lines, stored_bytes;
};

void logs_init(struct logs *logs, struct control *control);
void logs_done(struct logs *logs);
void logs_connect(struct logs *logs, int *fd);
/* platform_port.log_start and log_stop */
void logs_request_start(struct logs *logs, struct log_request *request);
void logs_request_stop(struct logs *logs, struct log_request *request);

#endif
