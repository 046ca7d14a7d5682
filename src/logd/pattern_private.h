/* pattern_private.h - the program that pattern_parse makes and pattern.c runs. */
#ifndef LOGD_PATTERN_PRIVATE_H
#define LOGD_PATTERN_PRIVATE_H

#include "base/error.h"
#include "base/slice.h"

#define PATTERN_PROGRAM_MAX 1000u
#define PATTERN_SETS_MAX    256u

struct pattern_set {
    uint64_t bits[4];
};

static inline bool pattern_set_has(const struct pattern_set *set, unsigned byte)
{
    return set->bits[byte / 64] >> (byte % 64) & 1;
}

enum pattern_operation {
    PATTERN_BYTE,
    PATTERN_SPLIT,
    PATTERN_JUMP,
    PATTERN_BEGIN,
    PATTERN_END,
    PATTERN_MATCH
};

struct pattern_step {
    uint8_t operation;
    uint16_t x, y; /* BYTE: x = set, goes on with the next step; SPLIT: x or y; JUMP: x */
};

struct pattern_program {
    struct pattern_step steps[PATTERN_PROGRAM_MAX];
    size_t step_count;
    struct pattern_set sets[PATTERN_SETS_MAX];
    size_t set_count;
};

MUST_USE int pattern_parse(struct slice text, struct pattern_program *ret_program,
                           struct error *err);

#endif
