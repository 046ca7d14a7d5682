/* pattern.c - the automaton: each state is the set of program steps that could be next; states and
 * their transitions are made when a line first needs them and thrown away together when they
 * outgrow the budget. */
#include "logd/pattern.h"

#include "base/hash.h"
#include "logd/pattern_private.h"

#define STATES_MAX   1024u
#define HEAP_BYTES   (256u * 1024u)
#define BUCKETS      2048u
#define WORK_MAX     (16u * 1024u * 1024u)
#define NEXT_UNKNOWN 0xffffu
#define NEXT_FOUND   0xfffeu

struct state {
    uint64_t hash;
    uint16_t *next;  /* by byte class */
    uint16_t *steps; /* BYTE and END steps */
    uint16_t step_count;
    bool matches_at_end;
};

struct pattern {
    struct pattern_program program;
    uint8_t class_of[256];
    uint8_t byte_of[256]; /* one byte of each class */
    unsigned class_count;
    struct state states[STATES_MAX];
    size_t state_count;
    uint64_t generation;       /* of the cache: rises when it is cleared */
    uint16_t buckets[BUCKETS]; /* state index + 1; open addressing */
    char *heap;
    size_t heap_used;
    /* the set being built */
    uint64_t marks[PATTERN_PROGRAM_MAX];
    uint64_t mark;
    uint16_t gathered[PATTERN_PROGRAM_MAX * 2]; /* the second half is scratch of matches_at_end */
    size_t gathered_count;
    bool has_match;
    uint64_t work;
    size_t literal_len; /* the whole expression is this text: plain search */
    char literal[PATTERN_LEN_MAX];
};

/* Bytes that every set treats alike share a class, so that a state has few transitions. */
static void classes_make(struct pattern *pattern)
{
    const struct pattern_program *program = &pattern->program;

    for (unsigned byte = 0; byte < 256; byte++) {
        unsigned class = 0;
        for (; class < pattern->class_count; class ++) {
            size_t set = 0;
            while (set < program->set_count &&
                   pattern_set_has(&program->sets[set], byte) ==
                       pattern_set_has(&program->sets[set], pattern->byte_of[class]))
                set++;
            if (set == program->set_count)
                break;
        }
        if (class == pattern->class_count)
            pattern->byte_of[pattern->class_count++] = (uint8_t)byte;
        pattern->class_of[byte] = (uint8_t) class;
    }
}

static void literal_find(struct pattern *pattern)
{
    const struct pattern_program *program = &pattern->program;

    for (size_t i = 0; i + 1 < program->step_count; i++) {
        unsigned byte = 0, members = 0;
        if (program->steps[i].operation != PATTERN_BYTE) {
            pattern->literal_len = 0;
            return;
        }
        const struct pattern_set *set = &program->sets[program->steps[i].x];
        for (unsigned candidate = 0; candidate < 256; candidate++)
            if (pattern_set_has(set, candidate)) {
                byte = candidate;
                members++;
            }
        if (members != 1) {
            pattern->literal_len = 0;
            return;
        }
        pattern->literal[pattern->literal_len++] = (char)byte;
    }
}

int pattern_new(struct slice text, struct pattern **ret_pattern, struct error *err)
{
    struct pattern *pattern = calloc(1, sizeof *pattern);
    int code;

    if (!pattern)
        return error_set(err, ERR_LIMIT, "out of memory");
    code = pattern_parse(text, &pattern->program, err);
    if (!code && !(pattern->heap = malloc(HEAP_BYTES)))
        code = error_set(err, ERR_LIMIT, "out of memory");
    if (code) {
        pattern_free(pattern);
        return code;
    }
    classes_make(pattern);
    literal_find(pattern);
    *ret_pattern = pattern;
    return 0;
}

void pattern_free(struct pattern *pattern)
{
    if (!pattern)
        return;
    free(pattern->heap);
    free(pattern);
}

/* Everything reachable from `step` without reading a byte. */
static void gather(struct pattern *pattern, uint16_t step, bool at_begin, bool at_end)
{
    uint16_t stack[PATTERN_PROGRAM_MAX * 2];
    size_t depth = 0;

    stack[depth++] = step;
    while (depth > 0) {
        uint16_t index = stack[--depth];
        const struct pattern_step *at = &pattern->program.steps[index];
        if (pattern->marks[index] == pattern->mark)
            continue;
        pattern->marks[index] = pattern->mark;
        pattern->work++;
        switch ((enum pattern_operation)at->operation) {
        case PATTERN_BYTE:
            pattern->gathered[pattern->gathered_count++] = index;
            break;
        case PATTERN_SPLIT:
            stack[depth++] = at->y;
            stack[depth++] = at->x;
            break;
        case PATTERN_JUMP:
            stack[depth++] = at->x;
            break;
        case PATTERN_BEGIN:
            if (at_begin)
                stack[depth++] = (uint16_t)(index + 1);
            break;
        case PATTERN_END:
            if (at_end)
                stack[depth++] = (uint16_t)(index + 1);
            else
                pattern->gathered[pattern->gathered_count++] = index;
            break;
        case PATTERN_MATCH:
            pattern->has_match = true;
            break;
        }
    }
}

static void gather_begin(struct pattern *pattern)
{
    pattern->gathered_count = 0;
    pattern->has_match = false;
    pattern->mark++;
}

static void states_clear(struct pattern *pattern)
{
    pattern->state_count = 0;
    pattern->heap_used = 0;
    pattern->generation++;
    memset(pattern->buckets, 0, sizeof pattern->buckets);
    pattern->work += BUCKETS / 8;
}

/* Would the line match if it ended in the state that is being built? Leaves the gathered set as it
 * was. */
static bool gathered_matches_at_end(struct pattern *pattern)
{
    size_t count = pattern->gathered_count;
    bool had_match = pattern->has_match, result;

    pattern->has_match = false;
    for (size_t i = 0; i < count; i++) {
        uint16_t index = pattern->gathered[i];
        if (pattern->program.steps[index].operation == PATTERN_END) {
            /* END steps may chain through further ones that are marked already: a fresh mark for
             * each. */
            pattern->mark++;
            gather(pattern, index, false, true);
            pattern->gathered_count = count;
        }
    }
    result = pattern->has_match;
    pattern->has_match = had_match;
    return result;
}

/* The state of the gathered set: known, or new. Returns its index; the cache may be cleared on the
 * way. */
static uint16_t state_intern(struct pattern *pattern)
{
    size_t bytes = pattern->gathered_count * sizeof(uint16_t);
    size_t next_bytes = pattern->class_count * sizeof(uint16_t);
    uint64_t hash = hash_fast(pattern->gathered, bytes, 0);
    size_t bucket = hash % BUCKETS;
    struct state *state;

    for (; pattern->buckets[bucket]; bucket = (bucket + 1) % BUCKETS) {
        state = &pattern->states[pattern->buckets[bucket] - 1];
        if (state->hash == hash && state->step_count == pattern->gathered_count &&
            memcmp(state->steps, pattern->gathered, bytes) == 0)
            return (uint16_t)(pattern->buckets[bucket] - 1);
    }
    if (pattern->state_count == STATES_MAX ||
        pattern->heap_used + bytes + next_bytes > HEAP_BYTES) {
        states_clear(pattern);
        bucket = hash % BUCKETS;
    }
    state = &pattern->states[pattern->state_count];
    state->hash = hash;
    state->step_count = (uint16_t)pattern->gathered_count;
    state->steps = (uint16_t *)(void *)(pattern->heap + pattern->heap_used);
    memcpy(state->steps, pattern->gathered, bytes);
    state->next = (uint16_t *)(void *)(pattern->heap + pattern->heap_used + bytes);
    memset(state->next, 0xff, next_bytes);
    pattern->heap_used += bytes + next_bytes;
    state->matches_at_end = gathered_matches_at_end(pattern);
    pattern->buckets[bucket] = (uint16_t)(++pattern->state_count);
    return (uint16_t)(pattern->state_count - 1);
}

static uint16_t state_step(struct pattern *pattern, uint16_t from, unsigned class)
{
    const struct state *state = &pattern->states[from];
    unsigned byte = pattern->byte_of[class];
    uint64_t generation;
    uint16_t next;

    gather_begin(pattern);
    for (size_t i = 0; i < state->step_count; i++) {
        const struct pattern_step *step = &pattern->program.steps[state->steps[i]];
        pattern->work++;
        if (step->operation == PATTERN_BYTE &&
            pattern_set_has(&pattern->program.sets[step->x], byte))
            gather(pattern, (uint16_t)(state->steps[i] + 1), false, false);
    }
    gather(pattern, 0, false, false); /* a match may begin anywhere */
    pattern->work += 16;
    if (pattern->has_match) {
        pattern->states[from].next[class] = NEXT_FOUND;
        return NEXT_FOUND;
    }
    generation = pattern->generation;
    next = state_intern(pattern);
    if (pattern->generation == generation) /* else `from` is gone */
        pattern->states[from].next[class] = next;
    return next;
}

enum pattern_result pattern_search(struct pattern *pattern, struct slice line)
{
    uint16_t at;

    if (pattern->literal_len > 0)
        return line.len >= pattern->literal_len &&
                       memmem(line.ptr, line.len, pattern->literal, pattern->literal_len)
                   ? PATTERN_FOUND
                   : PATTERN_ABSENT;
    pattern->work = 0;
    gather_begin(pattern);
    gather(pattern, 0, true, false);
    if (pattern->has_match)
        return PATTERN_FOUND;
    at = state_intern(pattern);
    for (size_t i = 0; i < line.len; i++) {
        unsigned class = pattern->class_of[(unsigned char)line.ptr[i]];
        uint16_t next = pattern->states[at].next[class];
        if (next == NEXT_UNKNOWN) {
            next = state_step(pattern, at, class);
            if (pattern->work > WORK_MAX)
                return PATTERN_TOO_EXPENSIVE;
        }
        if (next == NEXT_FOUND)
            return PATTERN_FOUND;
        at = next;
    }
    return pattern->states[at].matches_at_end ? PATTERN_FOUND : PATTERN_ABSENT;
}
