/* The program under another version, for the tests of upgrades; and with a mistake when one asks
 * for it: the file named by SLIPWAY_TEST_FAULT holds "ROLE MS ACTION", where ROLE is the beginning
 * of a process's title behind "slipway: " (or "trial", or "keeper" for the one that takes over),
 * and ACTION is crash, exit or hang. "trial 0 newer" keeps its state in a format of its own. */
#include "base/version.h"
#include "keeper/keeper_private.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char slipway_version[] = SLIPWAY_VERSION "+next";

static char action[16];
static unsigned delay_ms;
static bool is_keepers;

/* Linked in the place of resumed_load(): the keeper's moment. */
int __wrap_resumed_load(struct keeper *keeper, struct slice state, struct error *err);
int __real_resumed_load(struct keeper *keeper, struct slice state, struct error *err);

static void act(void)
{
    (void)usleep(delay_ms * 1000u);
    if (strcmp(action, "exit") == 0)
        _exit(7);
    while (strcmp(action, "hang") == 0)
        (void)pause();
    if (strcmp(action, "crash") == 0)
        (void)raise(SIGSEGV);
}

static void *act_later(void *context)
{
    (void)context;
    act();
    return NULL;
}

/* glibc gives constructors what main() gets. */
__attribute__((constructor)) static void fault(int argc, char **argv)
{
    const char *path = getenv("SLIPWAY_TEST_FAULT");
    size_t prefix_len = strlen(KEEPER_TITLE_PREFIX);
    char role[32] = "";
    FILE *file = path ? fopen(path, "re") : NULL;
    pthread_t thread;

    if (!file)
        return;
    if (fscanf(file, "%31s %u %15s", role, &delay_ms, action) != 3)
        role[0] = '\0';
    (void)fclose(file);
    is_keepers = strcmp(role, "keeper") == 0;
    if (is_keepers || !role[0] || argc < 1 ||
        strncmp(argv[0], KEEPER_TITLE_PREFIX, prefix_len) != 0 ||
        strncmp(argv[0] + prefix_len, role, strlen(role)) != 0)
        return;
    if (strcmp(action, "newer") == 0)
        return;
    if (delay_ms == 0)
        act();
    else if (pthread_create(&thread, NULL, act_later, NULL) == 0)
        (void)pthread_detach(thread);
}

/* A version that writes another format of the state store than the running one reads. */
int __wrap_keeper_trial(const struct keeper_options *options);
int __real_keeper_trial(const struct keeper_options *options);

int __wrap_keeper_trial(const struct keeper_options *options)
{
    struct keeper_options other = *options;

    if (strcmp(action, "newer") == 0)
        other.store_newest++;
    return __real_keeper_trial(&other);
}

int __wrap_resumed_load(struct keeper *keeper, struct slice state, struct error *err)
{
    if (is_keepers)
        act();
    return __real_resumed_load(keeper, state, err);
}
