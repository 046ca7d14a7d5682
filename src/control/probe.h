/* probe.h - carries out the probes of deploy/probe.h. */
#ifndef CONTROL_PROBE_H
#define CONTROL_PROBE_H

#include "base/list.h"
#include "deploy/probe.h"

struct control;

struct probes {
    struct control *control;
    struct list all; /* struct prober */
};

void probes_init(struct probes *probes, struct control *control);
void probes_done(struct probes *probes);
/* platform_port.probe_start and probe_stop */
void probes_start(struct probes *probes, struct probe *probe);
void probes_stop(struct probes *probes, struct probe *probe);
/* That session said READY=1; false: nobody waits for it. */
bool probes_notify(struct probes *probes, int32_t session);

#endif
