/* keeper_harness.h - a real keeper with real processes, whose roles are puppets of the test.
 *
 * Each role of the keeper under test is this binary again. It hands its channel (fd 3) and itself
 * to the test through a unix socket and then only waits to be told how to end; so the test speaks
 * the keeper's protocol as control, edge and logd at once.
 */
#ifndef TEST_CRASH_KEEPER_HARNESS_H
#define TEST_CRASH_KEEPER_HARNESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/keeper_protocol.h"
#include "os/socket.h"

#define HARNESS_EDGES   2u
#define HARNESS_WAIT_MS 10000

enum harness_mode { MODE_ROOT, MODE_ROOT_WITHOUT_CGROUPS, MODE_USER, MODE_COUNT };

/* A role as the test holds it. */
struct puppet {
    int string;  /* connection to the process: one byte ends it with that status */
    int channel; /* its fd 3 */
    pid_t pid;
    char title[32];
};

struct harness {
    enum harness_mode mode;
    char folder[64]; /* everything of this test */
    char state[96];
    char socket[96];
    int listener;
    int notify; /* what the service manager would hear */
    pid_t keeper;
    struct puppet control, logd, edges[HARNESS_EDGES];
    struct keeper_hello hello; /* of control's first life */
};

struct received {
    char bytes[CHANNEL_MESSAGE_MAX];
    size_t len;
    int fd; /* the first descriptor; -1: none */
};

/* If this process is a role of a keeper under test (argv[0] says so), be it and do not return. */
void harness_role_main(const char *title);

/* Modes that this machine and user can run. */
bool harness_can(enum harness_mode mode);
const char *harness_mode_name(enum harness_mode mode);

void harness_open(struct harness *harness,
                  enum harness_mode mode);   /* a platform that has started; aborts the test else */
void harness_start(struct harness *harness); /* the keeper again, on the same state folder */
/* A second keeper on the same state folder, which must fail: its error code and text. */
int harness_start_refused(struct harness *harness, char *text, size_t size);
void harness_close(struct harness *harness); /* ends the keeper if it still runs, checks that
                                                nothing is left, removes the folder */
int harness_quit(
    struct harness *harness); /* SIGTERM, puppets end when told to; the keeper's wait status */
int harness_wait_keeper(struct harness *harness);

/* The next role that reports itself takes its place in the harness. */
void harness_accept(struct harness *harness);
/* The next role that reports itself must be `title`; it replaces what *puppet held. */
void puppet_accept(struct harness *harness, const char *title, struct puppet *puppet);
void puppet_end(struct puppet *puppet, unsigned char status);
void puppet_kill(struct puppet *puppet);
/* Skip to the next message of `type`; aborts after HARNESS_WAIT_MS. */
void puppet_receive(struct puppet *puppet, uint32_t type, struct received *ret_received);
/* The next message of any type within wait_ms; false: none came. */
bool puppet_receive_any(struct puppet *puppet, struct received *ret_received, int wait_ms);
void puppet_send(struct puppet *puppet, const void *message, size_t len, int fd);

/* What a unit is asked for; zeroed members take plain defaults. */
struct wish {
    uint64_t unit;
    const char *script;  /* run by sh -c; or: */
    const char *program; /* alone, looked up in PATH */
    const char *directory;
    uint32_t flags;
    uint32_t uid, gid; /* 0: the first unit user */
    bool is_as_root;
    uint64_t memory_limit_bytes;
    int stdin_fd; /* with KEEPER_SPAWN_STDIN */
};

/* Ask, and wait for the reply; returns its code. The unit's state is in *ret_unit when it runs (may
 * be NULL). */
int harness_spawn(struct harness *harness, const struct wish *wish, struct keeper_unit *ret_unit);
void harness_stop(struct harness *harness, uint64_t unit, int number, uint32_t grace_ms);
void harness_forget(struct harness *harness, uint64_t unit);
struct keeper_unit harness_wait_exit(struct harness *harness, uint64_t unit);
int harness_reply(struct harness *harness,
                  uint32_t request); /* wait for the reply with that number; its code */
/* The read end of a unit's stream as logd gets it. */
int harness_stream(struct harness *harness, uint64_t unit, uint32_t kind);
/* Read to the end of file (aborts after HARNESS_WAIT_MS); NUL-terminated. */
void harness_read_all(int fd, char *text, size_t size);
bool harness_is_alive(pid_t pid);
/* Wait until a file in the test's folder has content, and return it as a number. */
long harness_wait_number(struct harness *harness, const char *name);

#endif
