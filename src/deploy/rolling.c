#include "deploy/rolling.h"
#include "base/compiler.h"

unsigned rolling_start(const struct rolling *rolling)
{
    unsigned ceiling = MAX(rolling->want, rolling->before) + MAX(rolling->surge, 1u);
    unsigned existing = rolling->fresh + rolling->old;
    unsigned room = existing < ceiling ? ceiling - existing : 0;
    unsigned missing = rolling->want > rolling->fresh ? rolling->want - rolling->fresh : 0;

    /* One always goes on, or a change could stand still for ever. */
    if (room == 0 && rolling->fresh == rolling->proven)
        room = 1;
    missing = MIN(missing, room);
    return MIN(missing, ROLLING_WAVE_MAX);
}

unsigned rolling_retire(const struct rolling *rolling)
{
    unsigned keep = 0;

    if (rolling->proven < rolling->want)
        keep = rolling->before > rolling->proven ? rolling->before - rolling->proven : 0;
    return rolling->old > keep ? rolling->old - keep : 0;
}

bool rolling_is_done(const struct rolling *rolling)
{
    return rolling->proven >= rolling->want && rolling->old == 0;
}
