#include "admin/admin_socket.h"

#include "os/file.h"
#include <errno.h>
#include <fcntl.h>

int admin_socket_address(const char *state_directory, struct address *ret_address,
                         int *ret_directory_fd, struct error *err)
{
    struct address address = {.un.sun_family = AF_UNIX};
    size_t size = sizeof(address.un.sun_path);
    CLEANUP(fd_closep) int fd = -1;
    int len = snprintf(address.un.sun_path, size, "%s/" ADMIN_SOCKET_NAME, state_directory);
    if (len < 0 || (size_t)len >= size) {
        fd = open(state_directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            return error_errno(err, errno, "unable to open '%s'", state_directory);
        snprintf(address.un.sun_path, size, "/proc/self/fd/%d/" ADMIN_SOCKET_NAME, fd);
    }
    address.len =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(address.un.sun_path) + 1);
    *ret_address = address;
    *ret_directory_fd = TAKE_FD(fd);
    return 0;
}
