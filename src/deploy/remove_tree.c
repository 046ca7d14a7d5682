#include "deploy/remove_tree.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int remove_tree_shell(const char *directory, struct error *err)
{
    DIR *stream = opendir(directory);
    const struct dirent *entry;

    if (!stream)
        return errno == ENOENT ? 0 : error_errno(err, errno, "unable to open '%s'", directory);
    while ((entry = readdir(stream)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)unlinkat(dirfd(stream), entry->d_name, AT_REMOVEDIR);
    (void)closedir(stream);
    if (rmdir(directory) != 0 && errno != ENOENT)
        return error_errno(err, errno, "unable to remove '%s'", directory);
    return 0;
}
