#include "control/people.h"
#include "base/clock.h"
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OPERATORS_GROUP "slipway"
#define KNOWN_US        30000000u
#define REFUSED_US      3000000u

static bool is_member(uint32_t uid, const struct group *group)
{
    char *const *members = group->gr_mem;

    for (size_t i = 0; members[i]; i++) {
        const struct passwd *user = getpwnam(members[i]);

        if (user && user->pw_uid == uid)
            return true;
    }
    return false;
}

static bool is_operator(uint32_t uid, uint32_t gid)
{
    const struct group *group;

    if (uid == 0 || uid == geteuid())
        return true;
    group = getgrnam(OPERATORS_GROUP);
    return group && (group->gr_gid == gid || is_member(uid, group));
}

static void person_ask(struct person *person, uint32_t uid, uint32_t gid)
{
    const struct passwd *user;

    *person = (struct person){.uid = uid, .gid = gid, .is_operator = is_operator(uid, gid)};
    user = getpwuid(uid);
    if (user)
        (void)snprintf(person->name, sizeof(person->name), "uid %u (%.40s)", (unsigned)uid,
                       user->pw_name);
    else
        (void)snprintf(person->name, sizeof(person->name), "uid %u", (unsigned)uid);
    /* From the end of the questions: they may have taken longer than an answer is kept. */
    person->until_us = clock_monotonic_us() + (person->is_operator ? KNOWN_US : REFUSED_US);
}

const struct person *people_find(struct people *people, uint32_t uid, uint32_t gid)
{
    uint64_t now_us = clock_monotonic_us();
    struct person *oldest = &people->persons[0];

    for (size_t i = 0; i < PEOPLE_MAX; i++) {
        struct person *person = &people->persons[i];

        if (person->until_us > now_us && person->uid == uid && person->gid == gid)
            return person;
        if (person->until_us < oldest->until_us)
            oldest = person;
    }
    person_ask(oldest, uid, gid);
    return oldest;
}
