#include "deploy/remove_tree.h"
#include "os/file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 128u

static int remove_below(int folder, unsigned depth, struct error *err);

static int remove_folder(int parent, const char *name, unsigned depth, struct error *err)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    /* A build may have taken its own rights away; as the owner this user can give them back. */
    if (fd < 0 && errno == EACCES && fchmodat(parent, name, 0700, 0) == 0)
        fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : error_errno(err, errno, "unable to open '%s'", name);
    int code = remove_below(fd, depth + 1, err); /* closes fd */
    if (code != 0)
        return code;
    if (unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != EACCES && errno != EPERM &&
        errno != ENOENT)
        return error_errno(err, errno, "unable to remove '%s'", name);
    return 0;
}

static int remove_entry(int folder, const char *name, unsigned depth, struct error *err)
{
    struct stat status;

    if (unlinkat(folder, name, 0) == 0 || errno == ENOENT)
        return 0;
    int unlink_errno = errno;
    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : error_errno(err, errno, "unable to look at '%s'", name);
    if (S_ISDIR(status.st_mode))
        return remove_folder(folder, name, depth, err);
    if (unlink_errno == EACCES && fchmod(folder, 0700) == 0 && unlinkat(folder, name, 0) == 0)
        return 0;
    return error_errno(err, unlink_errno, "unable to remove '%s'", name);
}

/* Takes over `folder`. */
static int remove_below(int folder, unsigned depth, struct error *err)
{
    DIR *stream = fdopendir(folder);
    const struct dirent *entry;
    int code = 0;

    if (!stream) {
        code = error_errno(err, errno, "unable to read a folder");
        fd_close(folder);
        return code;
    }
    if (depth > DEPTH_MAX)
        code = error_set(err, ERR_LIMIT, "folders are nested deeper than %u", DEPTH_MAX);
    while (code == 0 && (entry = readdir(stream)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            code = remove_entry(dirfd(stream), entry->d_name, depth, err);
    (void)closedir(stream);
    return code;
}

int remove_tree_content(const char *directory, struct error *err)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct error story = {0};

    if (fd < 0)
        return errno == ENOENT ? 0 : error_errno(err, errno, "unable to open '%s'", directory);
    if (remove_below(fd, 0, &story) == 0)
        return 0;
    (void)error_copy(err, &story);
    return error_wrap(err, "below '%s'", directory);
}

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
