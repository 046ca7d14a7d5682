#include "deploy/ballast.h"
#include "deploy/names.h"
#include "os/file.h"
#include <fcntl.h>
#include <unistd.h>

#define ROOM_FACTOR 4u

static char *ballast_path(char *path, const char *state_directory)
{
    return names_path(path, "%s/store/ballast", state_directory);
}

void ballast_take(const char *state_directory)
{
    char path[NAMES_PATH_SIZE];
    uint64_t free_bytes;

    ballast_path(path, state_directory);
    if (file_exists(path) || disk_free_bytes(state_directory, &free_bytes, NULL) != 0 ||
        free_bytes < (uint64_t)ROOM_FACTOR * BALLAST_BYTES)
        return;
    CLEANUP(fd_closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0 && posix_fallocate(fd, 0, BALLAST_BYTES) != 0)
        (void)unlink(path);
}

bool ballast_let_go(const char *state_directory)
{
    char path[NAMES_PATH_SIZE];

    return unlink(ballast_path(path, state_directory)) == 0;
}
