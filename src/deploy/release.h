/* release.h - a release: immutable source, resolved manifest and environment under a number.
 *
 * Stored as JSON under /apps/<app>/releases/<n>. Generated values are in it in clear: state.db is
 * 0600 and the only place of secrets. Values that come from databases are not: they are looked up
 * when a process starts (deploy/environment.h).
 */
#ifndef DEPLOY_RELEASE_H
#define DEPLOY_RELEASE_H

#include "base/json.h"
#include "base/list.h"
#include "config/manifest.h"

#define RELEASE_ARENA_BYTES (16u * 1024u * 1024u)

#define RELEASE_STATES(X)                                                                          \
    X(RELEASE_DEPLOYING, "deploying")                                                              \
    X(RELEASE_LIVE, "live")                                                                        \
    X(RELEASE_RETIRED, "retired") /* was live once */                                              \
    X(RELEASE_FAILED, "failed")                                                                    \
    X(RELEASE_ROLLED_BACK, "rolled_back")                                                          \
    X(RELEASE_CANCELLED, "cancelled")

enum release_state {
#define X(state, name) state,
    RELEASE_STATES(X)
#undef X
        RELEASE_STATE_COUNT
};

struct release_generated {
    const char *service, *name, *value;
};

struct release {
    struct list node; /* in app->releases, by number */
    uint64_t number;
    enum release_state state;
    struct arena *arena;       /* everything below */
    struct manifest *manifest; /* NULL when has_files is false and it came from the store */
    const char *commit, *who, *environment;
    struct release_generated *generated;
    size_t generated_count;
    uint64_t created_at_us; /* wall clock */
    uint64_t duration_ms;
    char *reason;   /* why it failed; NULL */
    bool has_files; /* its folders are kept */
    bool was_live;
};

/* An empty release with its arena. */
struct release *release_new(uint64_t number);
void release_free(struct release *release); /* NULL allowed */
void release_freep(struct release **release);
void release_set_reason(struct release *release, const char *reason);
void release_write_json(const struct release *release, struct buf *ret_json);
/* ERR_CORRUPT with what is wrong. */
MUST_USE int release_read_json(struct slice json, struct release **ret_release, struct error *err);
/* Without its files a release cannot run again: let its manifest go. */
void release_shrink(struct release *release);
const char *release_state_name(enum release_state state);
/* The generated value, or NULL. */
const char *release_generated_value(const struct release *release, const char *service,
                                    const char *name);

#endif
