/* remove_tree.h - the second half of a removal that takes two users.
 *
 * Why: a release's folder has parts that belong to the app's user inside folders of control. A unit
 * removes what is its own (directory_remove_content) and leaves the empty shells, which control
 * removes. */
#ifndef DEPLOY_REMOVE_TREE_H
#define DEPLOY_REMOVE_TREE_H

#include "base/error.h"

/* What directory_remove_content of another user left: the empty folders in `directory`, and itself.
 * Absent is fine. */
MUST_USE int remove_tree_shell(const char *directory, struct error *err);

#endif
