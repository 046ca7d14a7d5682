/* engine.h - database engines: what control must run, in which order, to have a database of an app.
 *
 * Why: a database is an instance of the platform like any other, so this room only describes units
 * and probes; control spawns them through the keeper. Everything that touches the data folder
 * happens in one unit, the prepare job, which runs as the database's own uid and can be repeated or
 * killed at any point (see prepare.h). Life of a database (control):
 *   1. engine_find: which version, which programs (once; remember `version` in the store and pass
 * it from then on, so that a newer package on the machine does not change the engine of existing
 * data by itself).
 *   2. passwords by random_token(…, ENGINE_PASSWORD_LEN), kept in the store; a port; the data
 * folder <state>/data/<app>/<database>, mode 0700, owned by the uid that the units run as
 * (KEEPER_MAKE_DIRECTORY recursive). No clean-up ever touches that folder.
 *   3. engine_prepare_unit: run to its end before every start of the server; exit 0, else its
 * stderr tells the reason.
 *   4. engine_run_unit: the server itself.
 *   5. engine_probe: ready once the callback says 0; then on as a health probe.
 *   6. engine_property: what {from: db.url} resolves to.
 * Threads: the loop's. Blocks: engine_find looks at a few files; nothing else does. Design:
 * docs/design/data.md
 */
#ifndef DATA_ENGINE_H
#define DATA_ENGINE_H

#include "base/arena.h"
#include "base/buf.h"
#include "config/manifest.h"
#include "loop/loop.h"

#define ENGINE_PASSWORD_LEN 32u
#define ENGINE_FOLDER_MAX   3500u
#define ENGINE_JOB_PREPARE  "database-prepare" /* slipway job database-prepare */

/* Everything about one database that its units and clients need. Strings are borrowed. */
struct engine_config {
    enum database_type type;
    const char *app, *name;    /* as in the manifest */
    unsigned version;          /* postgres: major; redis: major; 0 only for engine_find */
    const char *programs;      /* folder of the engine's programs, from engine_find */
    const char *folder;        /* absolute; at most ENGINE_FOLDER_MAX */
    unsigned port;             /* on 127.0.0.1; may change between starts */
    uint64_t max_memory_bytes; /* 0: none. redis: maxmemory; postgres: what shared_buffers is
                                  derived from */
    const char *eviction;      /* redis; NULL or "": noeviction */
    const char *password;      /* of the application's role; [0-9A-Za-z], ENGINE_PASSWORD_LEN */
    const char
        *admin_password; /* of the platform's own role, same form; never given to applications */
};

/* 0; ERR_UNSUPPORTED for a type that this version cannot run, ERR_INVALID for an unknown eviction
 * policy or a folder, password or port that is out of form. Texts name the database and never a
 * secret. */
MUST_USE int engine_check(const struct engine_config *config, struct error *err);

/* Find the engine's programs: version 0 takes the newest one. ret_programs lives in arena. For
 * redis the version is checked by the prepare job (asking the program would block here) and
 * *ret_version is what was asked for. ERR_NOT_FOUND with the Debian package to install as hint;
 * ERR_UNSUPPORTED. */
MUST_USE int engine_find(struct arena *arena, enum database_type type, unsigned version,
                         unsigned *ret_version, const char **ret_programs, struct error *err);

/* A unit for KEEPER_SPAWN. Everything lives in the arena that made it. */
struct engine_unit {
    const char **arguments; /* argv; never a secret */
    size_t argument_count;
    const char **environment; /* "NAME=value"; never a secret */
    size_t environment_count;
    struct slice standard_input; /* hand over as a sealed memfd (os/memory.h); holds secrets; {NULL,
                                    0}: /dev/null */
    const char *directory;       /* working directory */
    uint32_t flags;              /* KEEPER_SPAWN_… */
    int stop_signal;
    uint32_t stop_grace_ms; /* how long a clean stop may take before SIGKILL is right */
    uint32_t nofile_limit;
};

/* The job that makes or updates the data folder. Give it up to ENGINE_PREPARE_TIMEOUT_MS (crash
 * recovery of a large database may be part of it). */
#define ENGINE_PREPARE_TIMEOUT_MS 300000u
MUST_USE int engine_prepare_unit(struct arena *arena, const struct engine_config *config,
                                 struct engine_unit *ret_unit, struct error *err);
/* The server. */
MUST_USE int engine_run_unit(struct arena *arena, const struct engine_config *config,
                             struct engine_unit *ret_unit, struct error *err);

/* How long a server may take from spawn to ready before that is a failure (recovery after a crash
 * included). */
#define ENGINE_START_TIMEOUT_MS 300000u

/* {from: db.<property>}: url, host, port, user, password, database. Appends to ret_value.
 * ERR_NOT_FOUND names the properties that there are, and the nearest. */
MUST_USE int engine_property(const struct engine_config *config, const char *property,
                             struct buf *ret_value, struct error *err);
/* True when `property` is known for the type; for checks of a manifest before anything runs. */
bool engine_has_property(enum database_type type, const char *property);

/* A probe by the engine's own protocol: connect, greet, read the answer, close. One at a time a
 * struct; zero-initialise. */
struct engine_probe {
    struct loop_io io;
    struct loop_timer timer;
    struct loop *loop;
    const struct engine_config *config;
    unsigned state;
    struct buf out, in;
    /* code 0: accepts clients; ERR_UNAVAILABLE: not yet (refused, starting, loading); ERR_TIMEOUT;
     * ERR_FAILED: answers, but wrongly (password refused, another service on that port). `text`
     * tells what the server said; borrowed for the call. The probe is stopped already, so it may be
     * started again or freed from here. */
    void (*on_done)(struct engine_probe *probe, int code, const char *text);
};
/* Begin; on_done runs exactly once, never from inside this call, unless stopped. `config` stays
 * alive until then. */
void engine_probe_start(struct engine_probe *probe, struct loop *loop,
                        const struct engine_config *config, uint64_t timeout_us);
void engine_probe_stop(struct engine_probe *probe); /* idempotent; on_done will not run */

#endif
