/* probe.h - one health probe as its owner sees it; who carries it out stands behind platform_port
 * (control/probe.c).
 *
 * While `is_fast` (starting) it is repeated in short steps, so that a deploy waits no longer than
 * the application itself; later at its interval, a little jittered. One result at a time; none
 * after probe_stop.
 */
#ifndef DEPLOY_PROBE_H
#define DEPLOY_PROBE_H

#include "config/manifest.h"
#include "data/engine.h"

enum probe_kind { PROBE_HTTP, PROBE_TCP, PROBE_NOTIFY, PROBE_ALIVE, PROBE_ENGINE };

#define PROBE_TEXT_SIZE 512

struct probe {
    enum probe_kind kind;
    unsigned port;
    const char *path;                   /* HTTP; borrowed */
    const struct engine_config *engine; /* ENGINE; borrowed */
    int32_t pid;                        /* NOTIFY: the session that may speak */
    uint64_t interval_ms, timeout_ms;
    bool is_fast;
    /* `text` says what was seen: "200", "503: database is away", "connection refused on
     * 127.0.0.1:21001". */
    void (*on_result)(struct probe *probe, bool is_good, const char *text);
    void *driver; /* of the one who carries it out; NULL: stopped */
};

#endif
