/* roles.h - the one table of roles: what `slipway serve` starts, under which title and user, and
 * what main() calls for a title. */
#ifndef MAIN_ROLES_H
#define MAIN_ROLES_H

#include "keeper/keeper.h"

extern const struct keeper_role_entry roles_table[];
extern const size_t roles_count;

/* The row for a title ("slipway: edge 1"); NULL when it names no role. */
const struct keeper_role_entry *roles_find(const char *title);

/* The control role's entry: control and its admin API, main/control_role.c. */
int control_main(void);

#endif
