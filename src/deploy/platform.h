/* platform.h - the model: every app with its releases, instances, databases and deploys, and what
 * drives them.
 *
 * Two sides meet here. The durable side (deploy/journal.h) is what was decided; the port is the
 * world: the keeper, the edges, the probes. The machines between them (instance.h, database.h,
 * deploy.h) know neither sockets nor processes, so tests drive them with a fake port and a fake
 * clock. Threads: the loop's. Nothing blocks but the one commit at the end of a turn.
 *
 * Order at the end of a turn: publish the routing (a crashed instance must leave it within
 * milliseconds), commit the journal, then let requests to the keeper go.
 */
#ifndef DEPLOY_PLATFORM_H
#define DEPLOY_PLATFORM_H

#include "base/counters.h"
#include "base/keeper_protocol.h"
#include "base/map.h"
#include "base/peer_protocol.h"
#include "deploy/journal.h"
#include "deploy/names.h"
#include "deploy/probe.h"
#include "deploy/unit.h"
#include "loop/loop.h"

#define PLATFORM_APPS_MAX     256u
#define PLATFORM_PORT_FIRST   PEER_INSTANCE_PORT_FIRST
#define PLATFORM_PORT_COUNT   PEER_INSTANCE_PORT_COUNT
#define PLATFORM_DRAINING_MAX 64u  /* per app: a deploy waits above that */
#define PLATFORM_RECORDS_MAX  100u /* releases kept in the history of an app */
#define PLATFORM_DEPLOYS_KEPT 50u
#define PLATFORM_DISK_RESERVE (512ull * 1024 * 1024)

struct app;
struct instance;
struct deploy;
struct release;
struct snapshot_builder;

/* Answers a request for the last lines of a unit. */
struct log_request {
    struct list node; /* of the one who carries it out */
    const char *app;
    uint64_t unit;     /* 0: those of the app */
    uint64_t since_us; /* wall clock */
    unsigned limit;
    /* Once, later. `lines` are the texts, oldest first; count 0 when there are none or logd is
     * away. */
    void (*on_lines)(struct log_request *request, const char *const *lines, size_t count);
    void *driver;
};

/* A folder that somebody waits for. The owners of a big tree take minutes to change. */
struct directory_request {
    struct list node; /* of the one who carries it out */
    /* Once, later; err is NULL when the folder is as it was asked for. */
    void (*on_made)(struct directory_request *request, const struct error *err);
    void *driver; /* of the one who carries it out; NULL: not under way */
};

/* The world. Every call returns at once; what comes of it arrives through the platform_* functions
 * below. */
struct platform_port {
    void (*spawn)(struct platform_port *port, struct unit *unit, const struct unit_spec *spec);
    void (*stop)(struct platform_port *port, uint64_t unit, int signal, uint64_t grace_ms);
    void (*forget)(struct platform_port *port, uint64_t unit);
    /* path relative to the state directory. `request` NULL: nobody waits, as what follows comes to
     * the keeper behind it; only recursive ones are overtaken. */
    void (*make_directory)(struct platform_port *port, const char *path, uint32_t uid,
                           unsigned mode, bool is_recursive, struct directory_request *request);
    void (*make_directory_stop)(struct platform_port *port, struct directory_request *request);
    void (*publish)(struct platform_port *port, uint64_t version); /* routes_build of this moment */
    void (*probe_start)(struct platform_port *port, struct probe *probe);
    void (*probe_stop)(struct platform_port *port, struct probe *probe);
    void (*log_start)(struct platform_port *port, struct log_request *request);
    void (*log_stop)(struct platform_port *port, struct log_request *request);
    bool (*port_is_free)(struct platform_port *port, unsigned number);
    /* Add what TLS needs to a snapshot that is being built: certificates, hosts (routes_hosts),
     * challenges, ticket keys. NULL: nobody serves TLS. */
    void (*add_tls)(struct platform_port *port, struct snapshot_builder *builder);
    /* The PEM of `ca`, a path or the text itself; empty when the file is not readable now. NULL as
     * above. */
    struct slice (*read_authority)(struct platform_port *port, const char *ca);
    /* Requests of the keeper may go out (again). */
    void (*flush)(struct platform_port *port);
};

struct platform_settings {
    const char *state_directory; /* absolute; copied */
    bool is_root;
    uint32_t own_uid, edge_uid;
    uint32_t uid_first, uid_count;  /* root mode: uids of apps */
    unsigned http_port, https_port; /* 0: no such listener */
    const char *notify_socket;      /* NOTIFY_SOCKET for units; copied */
    const char *unit_path;          /* PATH for units; copied */
};

struct platform {
    struct loop *loop;
    struct store *store;
    struct journal journal;
    struct platform_port *port;
    struct platform_settings settings;
    struct list apps;    /* struct app, by name */
    struct list removed; /* struct app that went to the trash a moment ago: who follows its removal
                            still finds it */
    struct map *units;
    struct loop_deferred turn_end;
    struct loop_timer retry; /* of a commit that failed */
    bool is_publish_due, is_quitting, is_resumed;
    bool is_first_life; /* of this control under its keeper: nothing was held. Set before
                           platform_resume */
    uint64_t version;   /* of the newest snapshot that was asked for */
    uint64_t version_reserved, unit_next, unit_reserved;
    uint64_t live_edges;              /* bit i: edge i + 1 runs and has a channel */
    uint64_t acked[KEEPER_EDGES_MAX]; /* by edge: its newest acknowledged version */
    const struct counters *counters[KEEPER_EDGES_MAX];
    uint8_t slots[COUNTERS_ENDPOINTS_MAX]; /* in use */
    unsigned port_cursor;
    struct list chores; /* struct chore */
    char *reject;       /* why an edge refused the newest snapshot; NULL */
    uint64_t reject_version;
};

/* An app and all that belongs to it. */
struct app {
    struct list node;
    struct platform *platform;
    char name[NAMES_NAME_SIZE];
    uint32_t uid, data_uid; /* root mode; else the platform's own */
    uint64_t current;       /* the live release; 0: none */
    uint64_t *history;      /* releases that were live, oldest first; the last is `current` */
    size_t history_count;
    uint64_t next_release;
    uint64_t created_at_us;
    struct list releases, instances, databases, deploys;
    struct deploy *running; /* the one whose turn it is; NULL */
    uint64_t lease;         /* of the lock that names it */
    struct loop_timer lease_timer;
    struct loop_deferred reconcile;
    struct list scales; /* struct scale */
    bool is_removed;
};

/* A number of instances that a person asked for; holds until the manifest's own number changes. */
struct scale {
    struct list node;
    char service[NAMES_NAME_SIZE];
    unsigned instances, manifest_instances;
};

/* ---- life */

/* Load everything from the store; nothing is acted upon before platform_resume. `port` outlives it.
 * ERR_CORRUPT. */
MUST_USE int platform_new(struct loop *loop, struct store *store, struct platform_port *port,
                          const struct platform_settings *settings, struct platform **ret_platform,
                          struct error *err);
void platform_free(struct platform *platform);
/* The keeper's table is complete (every unit of it was given to platform_unit_report): adopt,
 * spawn, stop, go on. */
void platform_resume(struct platform *platform);
/* From now on nothing is started, decided or written. */
void platform_freeze(struct platform *platform);

/* ---- what the world tells */

struct unit_report {
    uint64_t unit;
    bool is_exited;
    int32_t pid;
    uint64_t started_at_us;
    const char *cgroup;
    struct unit_exit exit;
};
/* A unit that nobody knows is stopped and forgotten (after platform_resume; before it, it is
 * remembered). */
void platform_unit_report(struct platform *platform, const struct unit_report *report);
/* The spawn was refused. */
void platform_unit_refused(struct platform *platform, uint64_t id, const struct error *err);
/* index from 0 */
void platform_edges_changed(struct platform *platform, uint64_t live_edges);
void platform_edge_acked(struct platform *platform, unsigned edge, uint64_t version);
void platform_edge_rejected(struct platform *platform, unsigned edge, uint64_t version,
                            const char *text);
void platform_edge_drained(struct platform *platform, unsigned edge, uint64_t version,
                           uint64_t unit, bool is_tunnels);

/* ---- for the machines */

/* Have this moment's routing published at the end of the turn; returns its version. */
uint64_t platform_publish(struct platform *platform);
bool platform_is_acked(const struct platform *platform, uint64_t version);
/* Publish, commit, let go: now instead of at the end of the turn. */
void platform_flush(struct platform *platform);

/* A fresh unit id, durable before it is used. */
uint64_t platform_unit_number(struct platform *platform);
/* Register `unit` under `id` and ask for the process. */
void platform_unit_start(struct platform *platform, struct unit *unit, uint64_t id,
                         const struct unit_spec *spec);
/* Register under the id of an earlier life. Until platform_resume it stays SPAWNING. */
void platform_unit_adopt(struct platform *platform, struct unit *unit, uint64_t id);
void platform_unit_stop(struct platform *platform, struct unit *unit, int signal,
                        uint64_t grace_ms);
/* The owner has taken note of the exit: forget it everywhere. Running ones are stopped. */
void platform_unit_release(struct platform *platform, struct unit *unit);

/* A free loopback port; ERR_LIMIT when none is left. */
MUST_USE int platform_port_take(struct platform *platform, unsigned *ret_port, struct error *err);
MUST_USE int platform_slot_take(struct platform *platform, unsigned *ret_slot);
void platform_slot_give_back(struct platform *platform, unsigned slot);
/* Requests or tunnels of an instance over all edges. */
struct platform_load {
    uint64_t in_flight, tunnels, requests;
};
struct platform_load platform_load_of(const struct platform *platform, unsigned slot,
                                      uint64_t unit);

/* Remove folders of `uid` in a unit; then `path` itself. Paths relative to the state directory. */
void platform_remove_tree(struct platform *platform, const char *app, uint32_t uid,
                          const char *path);

struct app *platform_app_find(const struct platform *platform, const char *name);
/* Make it (uids, records); the journal is dirty afterwards. ERR_LIMIT when no uid is left. */
MUST_USE int platform_app_make(struct platform *platform, const char *name, struct app **ret_app,
                               struct error *err);

#define LOOP_MS(ms) ((uint64_t)(ms)*1000)

#endif
