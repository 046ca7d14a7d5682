/* people.h - who the peers of the admin socket are, as the user database says.
 *
 * That database may be a directory service at the other end of a network, and it is asked on the
 * loop: so what it said is kept for a moment, for the users that asked last. */
#ifndef CONTROL_PEOPLE_H
#define CONTROL_PEOPLE_H

#include <stdbool.h>
#include <stdint.h>

#define PEOPLE_MAX 32

struct person {
    uint32_t uid, gid;
    uint64_t until_us; /* 0: the place is free */
    bool is_operator;
    char name[64]; /* "uid 1000 (anna)" */
};

struct people {
    struct person persons[PEOPLE_MAX];
};

/* Answers from memory for half a minute; a refusal for some seconds only, so that someone who was
 * just let into the group need not wait. Never NULL; valid until the next call. Blocks as long as
 * the user database does. */
const struct person *people_find(struct people *people, uint32_t uid, uint32_t gid);

#endif
