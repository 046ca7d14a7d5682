/* remove_tree.h - empty a folder as far as this user may.
 *
 * Why not directory_remove_tree: a release's folder has parts that belong to the app's user inside
 * folders of control. The unit removes what is its own and leaves the empty shells, which control
 * removes. */
#ifndef DEPLOY_REMOVE_TREE_H
#define DEPLOY_REMOVE_TREE_H

#include "base/error.h"

/* Remove everything below `directory`, never following links; empty folders that it may not remove
 * stay. Absent is fine. ERR_PERMISSION and others when a file remains. */
MUST_USE int remove_tree_content(const char *directory, struct error *err);
/* What remove_tree_content of another user left: the empty folders in `directory`, and itself.
 * Absent is fine. */
MUST_USE int remove_tree_shell(const char *directory, struct error *err);

#endif
