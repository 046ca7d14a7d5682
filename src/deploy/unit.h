/* unit.h - one supervised process that the platform asked the keeper for: an instance, a step of a
 * deploy, a database, a chore.
 *
 * Embedded in its owner. The id is chosen and stored before the spawn is asked for, so that after a
 * crash the owner finds its process again in the keeper's table (platform_unit_adopt), or knows
 * that there is none.
 *
 *   none → spawning → running → exited → none (unit_release)
 *             └────────────────────┘ refused: exited with `refusal` set
 */
#ifndef DEPLOY_UNIT_H
#define DEPLOY_UNIT_H

#include "base/error.h"
#include <stdbool.h>

struct platform;

enum unit_state { UNIT_NONE, UNIT_SPAWNING, UNIT_RUNNING, UNIT_EXITED };

#define UNIT_CGROUP_SIZE 1024

struct unit_exit {
    int wait_status;
    bool is_oom, was_killed;
    uint64_t exited_at_us; /* wall clock */
};

struct unit {
    uint64_t id; /* 0: none */
    enum unit_state state;
    bool is_reported; /* the keeper spoke of it since this control began */
    bool is_stopping; /* a stop was asked for */
    int32_t pid;
    uint64_t started_at_us; /* wall clock */
    char *cgroup;           /* folders, or NULL */
    struct unit_exit exit;
    struct error *refusal; /* why it was never started; NULL else */
    /* State became RUNNING or EXITED. */
    void (*on_change)(struct unit *unit);
};

/* Everything of KEEPER_SPAWN in words of this room. Strings are borrowed for the call. */
struct unit_spec {
    uint32_t uid, gid;
    uint32_t flags; /* KEEPER_SPAWN_… */
    const char *tag, *label, *directory, *cgroup;
    const char *const *arguments;
    size_t argument_count;
    const char *const *environment;
    size_t environment_count;
    uint32_t nofile_limit;
    uint64_t memory_limit_bytes;
    uint32_t cpu_limit_millis, cpu_weight;
    int stdin_fd; /* -1: none; stays the caller's */
};

#define UNIT_WORDS_SIZE 256
/* "exited with status 3", "was killed by SIGKILL (out of memory, limit 1G)". memory_limit_bytes 0:
 * none. */
char *unit_exit_words(const struct unit_exit *exit, uint64_t memory_limit_bytes, char *buffer);
bool unit_exit_is_success(const struct unit_exit *exit);
void unit_done(struct unit *unit); /* frees what it holds; must not be registered any more */

#endif
