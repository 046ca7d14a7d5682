/* ballast.h - a few megabytes that are kept so that a decision can still be stored when the disk is
 * full.
 *
 * A full disk is when the platform must act (stop the build that filled it, remove what it left),
 * and every act is stored first. The ballast is let go for that, and taken again when there is
 * room.
 */
#ifndef DEPLOY_BALLAST_H
#define DEPLOY_BALLAST_H

#include <stdbool.h>

#define BALLAST_BYTES (4u * 1024 * 1024)

/* Take it when it is not there and the disk has several times its size left. */
void ballast_take(const char *state_directory);
/* True when there was one to let go. */
bool ballast_let_go(const char *state_directory);

#endif
