/* users.h - the system users that a root platform runs its roles and units as.
 *
 * Start of the platform only: looks into the user database (which may be slow) and runs
 * systemd-sysusers or useradd once.
 */
#ifndef OS_USERS_H
#define OS_USERS_H

#include "base/error.h"
#include <sys/types.h>

/* uid and primary gid of `name`; ERR_NOT_FOUND. */
MUST_USE int users_find(const char *name, uid_t *ret_uid, gid_t *ret_gid, struct error *err);

/* Make sure that each of `names` exists as a system user with a group of the same name. Waits at
 * most 30 s. ERR_FAILED with a hint when neither systemd-sysusers nor useradd can do it. */
MUST_USE int users_ensure(const char *const *names, size_t count, struct error *err);

/* A pool "<prefix>0", "<prefix>1", …: `count` users with uids that follow each other and gid = uid,
 * so that a range says it all. An existing pool is taken as it is, up to the first gap; else one is
 * made where 32 numbers in a row are free among the system's (below 1000). out: the first uid and
 * how many follow, at least 1. */
MUST_USE int users_ensure_pool(const char *prefix, unsigned count, uid_t *ret_first,
                               unsigned *ret_count, struct error *err);

#endif
