/* world.h - a world for the model to live in: a real store, a fake keeper, fake edges, fake probes
 * and a fake clock.
 *
 * By default everything goes well: what is spawned runs at once, builds and jobs end with 0, probes
 * succeed, edges acknowledge and report drained endpoints idle. A test switches off what it wants
 * to do itself.
 */
#ifndef TEST_WORLD_H
#define TEST_WORLD_H

#include "unit.h"

#include "deploy/app.h"
#include "deploy/database.h"
#include "deploy/deploy.h"
#include "deploy/instance.h"
#include "deploy/platform.h"

#define WORLD_UNITS_MAX 512

struct world_unit {
    uint64_t id;
    char tag[128];
    char command[256];
    char *environment; /* lines */
    bool is_running, is_exited, is_forgotten;
    int stop_signal; /* 0: none was asked for */
    int wait_status;
    int32_t pid;
};

struct world {
    struct loop *loop;
    struct store *store;
    struct platform *platform;
    struct platform_port port;
    char folder[64];
    struct error err;
    struct world_unit units[WORLD_UNITS_MAX];
    size_t unit_count;
    struct probe *probes[256];
    size_t probe_count;
    struct log_request *log;
    struct list directories; /* struct directory_request: not answered yet */
    uint64_t published;
    unsigned publish_count;
    unsigned kills;
    unsigned taken_port; /* the port that is not free */
    /* what happens by itself */
    bool spawns_run, jobs_end, probes_are_good, edges_ack, edges_drain, stops_end;
    bool directories_are_made;
    const char *directory_failure; /* what the keeper says instead of making one */
    const char *failing_tag;       /* jobs whose tag contains it end with failing_status */
    int failing_status;            /* as of waitpid */
    const char *refused_tag;       /* spawns that are refused */
    const char *probe_text;        /* of bad ones */
};

struct world *world_new(void);
void world_free(struct world *world);
/* kill -9 of control: the model is made anew from the store, the keeper's table is told again.
 * is_reboot: the table is empty. */
void world_restart(struct world *world, bool is_reboot);
/* Let everything happen that happens by itself, then let `ms` pass in small steps. */
void world_pass(struct world *world, uint64_t ms);

/* A deploy of the manifest (YAML), queued with its source uploaded. */
struct deploy *world_deploy(struct world *world, const char *yaml);
struct deploy *world_begin(struct world *world, const char *app, enum deploy_kind kind);
void world_commit(struct world *world, struct deploy *deploy);
/* The deploy by its number, also after world_restart. */
struct deploy *world_deploy_of(struct world *world, const char *app, uint64_t id);

struct app *world_app(struct world *world, const char *name);
/* The n-th instance of the app in order of creation; NULL. */
struct instance *world_instance(struct world *world, const char *app, size_t n);
unsigned world_count(struct world *world, const char *app, enum instance_state state,
                     uint64_t release);
struct world_unit *world_unit(struct world *world, uint64_t id);
/* The newest unit whose tag contains the text; NULL. */
struct world_unit *world_unit_like(struct world *world, const char *tag);
size_t world_running(const struct world *world);
void world_exit(struct world *world, uint64_t unit, int wait_status);
void world_probe(struct world *world, struct instance *instance, bool is_good, const char *text);
void world_drained(struct world *world, struct instance *instance, bool is_tunnels);

#define WAIT_EXIT(status)   ((status) << 8)
#define WAIT_SIGNAL(number) (number)

#endif
