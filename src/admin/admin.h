/* admin.h - the admin API: HTTP/1.1 and JSON on <state>/admin.sock, routed by the table of
 * operations.
 *
 * Why: one door to the platform, for the command line and for scripts. The kernel says who the peer
 * is; control decides whether that may use it. Nothing here knows what an operation does: control
 * does it and writes the JSON. Threads: control's loop.   Blocks: only for writes of an uploaded
 * source into the page cache.   Reference: docs/admin-api.md
 */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include "control/control.h"
#include "loop/loop.h"

#define ADMIN_BODY_MAX ((size_t)4 * 1024 * 1024)

struct admin;

/* Listen (mode 0660). The control must outlive the admin. ERR_CONFLICT when somebody answers on
 * that socket; ERR_PERMISSION, ERR_SYSTEM. */
MUST_USE int admin_start(struct loop *loop, struct control *control, const char *state_directory,
                         struct admin **ret_admin, struct error *err);
void admin_stop(struct admin *admin); /* cuts what is open, removes the socket; NULL allowed */

#endif
