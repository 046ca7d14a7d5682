/* control_private.h - the parts of the control role and what they share. */
#ifndef CONTROL_CONTROL_PRIVATE_H
#define CONTROL_CONTROL_PRIVATE_H

#include "base/keeper_protocol.h"
#include "base/peer_protocol.h"
#include "base/version.h"
#include "control/certificates.h"
#include "control/control.h"
#include "control/edges.h"
#include "control/keeper_link.h"
#include "control/logs.h"
#include "control/people.h"
#include "control/probe.h"
#include "control/readiness.h"
#include "deploy/platform.h"
#include "os/socket.h"

#define CONTROL_ROLES_MAX (KEEPER_EDGES_MAX + 4)

struct control_role_state {
    enum keeper_role role;
    unsigned index;
    int32_t pid;
    unsigned restarts;
    uint64_t started_at_us;
    enum keeper_role_phase phase;
    char version[VERSION_TEXT_SIZE];
};

/* What the keeper told last of its newest upgrade. */
struct control_upgrade {
    uint32_t id;
    enum keeper_upgrade_phase phase;
    int code;
    bool is_back;
    uint64_t started_at_us, ended_at_us;
    char from[VERSION_TEXT_SIZE], to[VERSION_TEXT_SIZE];
    char step[KEEPER_TEXT_MAX], reason[KEEPER_TEXT_MAX], hint[KEEPER_TEXT_MAX];
};

struct control {
    struct loop *loop;
    struct control_handler *handler;
    struct store *store;
    struct platform *platform; /* NULL until the keeper has greeted */
    struct platform_port port;
    struct keeper_link link;
    struct edges edges;
    struct logs logs;
    struct readiness readiness;
    struct probes probes;
    struct people people;
    struct certificates *certificates;
    char *state_directory;
    struct control_role_state roles[CONTROL_ROLES_MAX];
    size_t role_count;
    struct control_upgrade upgrade;
    char before_version[VERSION_TEXT_SIZE]; /* what `downgrade` returns to; "": nothing */
    struct loop_timer housekeeping;
    struct list followers; /* struct follower: subscriptions */
    char http_address[ADDRESS_TEXT_SIZE], https_address[ADDRESS_TEXT_SIZE]; /* ""; none */
    struct quit *quit;  /* NULL: it does not stop */
    uint64_t compacted; /* the revision of the last compaction */
};

/* control.c: what the link tells */
void control_on_hello(struct control *control, const struct keeper_hello *hello, size_t len);
void control_on_role(struct control *control, const struct keeper_role_state *state,
                     const char *version);
void control_on_upgrade(struct control *control, const struct keeper_upgrade_state *state,
                        size_t len);
void control_on_table_end(struct control *control);

/* upgrade.c */
void control_upgrade_write(const struct control *control, struct json_writer *writer);
/* The keeper would not. */
void control_upgrade_refused(struct control *control, const struct error *err);

/* quit.c: stop everything in order, then on_quit. */
void quit_begin(struct control *control, uint32_t grace_ms);
/* Another control takes over: store what was decided and end; all that runs stays. */
void quit_leave(struct control *control);
void quit_unit_exited(struct control *control);
void quit_free(struct control *control);

/* status.c. ERR_NOT_FOUND with a hint. */
MUST_USE int control_app_find(struct control *control, const char *name, struct app **ret_app,
                              struct error *err);

/* operations.c */
void followers_free(struct control *control);

#endif
