/* keeper_link.h - the talk with the keeper: its table at the start, requests with deadlines, and
 * what it tells.
 *
 * Requests wait in order until the journal is clean (keeper_link_flush), so that nothing is asked
 * for that is not durably intended.
 */
#ifndef CONTROL_KEEPER_LINK_H
#define CONTROL_KEEPER_LINK_H

#include "base/keeper_protocol.h"
#include "deploy/unit.h"
#include "loop/channel.h"

struct control;
struct directory_request;

struct keeper_link {
    struct control *control;
    struct channel channel;
    struct list outgoing; /* struct link_message: not yet let go */
    struct list requests; /* struct link_request: no answer yet */
    struct loop_timer deadline;
    uint32_t last_request;
    bool has_table;
};

MUST_USE int keeper_link_start(struct keeper_link *link, struct control *control, int fd,
                               struct error *err);
void keeper_link_stop(struct keeper_link *link);
void keeper_link_flush(struct keeper_link *link);

void keeper_link_spawn(struct keeper_link *link, const struct unit *unit,
                       const struct unit_spec *spec);
void keeper_link_stop_unit(struct keeper_link *link, uint64_t unit, int signal, uint64_t grace_ms);
void keeper_link_forget(struct keeper_link *link, uint64_t unit);
void keeper_link_make_directory(struct keeper_link *link, const char *path, uint32_t uid,
                                unsigned mode, bool is_recursive, struct directory_request *waiter);
void keeper_link_make_directory_stop(struct keeper_link *link, struct directory_request *waiter);
/* These two go out at once. fd stays the caller's. */
void keeper_link_hold(struct keeper_link *link, const char *name, int fd);
void keeper_link_upgrade(struct keeper_link *link, enum keeper_upgrade_kind kind, uint32_t upgrade,
                         uint32_t drain_ms, const char *path);
void keeper_link_ready(struct keeper_link *link);

#endif
