#include "deploy/unit.h"
#include "base/units.h"
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

bool unit_exit_is_success(const struct unit_exit *exit)
{
    return WIFEXITED(exit->wait_status) && WEXITSTATUS(exit->wait_status) == 0;
}

static const char *signal_name(int number)
{
    const char *name = sigabbrev_np(number);

    return name ? name : "?";
}

char *unit_exit_words(const struct unit_exit *exit, uint64_t memory_limit_bytes, char *buffer)
{
    char size[UNITS_TEXT_SIZE];

    if (exit->is_oom && memory_limit_bytes > 0)
        (void)snprintf(buffer, UNIT_WORDS_SIZE, "was killed by SIGKILL (out of memory, limit %s)",
                       units_format_size(memory_limit_bytes, size));
    else if (exit->is_oom)
        (void)snprintf(buffer, UNIT_WORDS_SIZE,
                       "was killed by SIGKILL (the machine is out of memory)");
    else if (WIFSIGNALED(exit->wait_status))
        (void)snprintf(buffer, UNIT_WORDS_SIZE, "was killed by SIG%s%s",
                       signal_name(WTERMSIG(exit->wait_status)),
                       exit->was_killed ? " (it did not stop within its grace)" : "");
    else
        (void)snprintf(buffer, UNIT_WORDS_SIZE, "exited with status %d",
                       WEXITSTATUS(exit->wait_status));
    return buffer;
}

void unit_done(struct unit *unit)
{
    free(unit->cgroup);
    free(unit->refusal);
    unit->cgroup = NULL;
    unit->refusal = NULL;
}
