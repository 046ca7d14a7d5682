/* admin_socket.h - where the admin socket of a state folder is: one answer for server and clients.
 */
#ifndef ADMIN_ADMIN_SOCKET_H
#define ADMIN_ADMIN_SOCKET_H

#include "os/socket.h"

#define ADMIN_SOCKET_NAME "admin.sock"

/* The address of <state_directory>/admin.sock. A path too long for a unix address is reached
 * through an open folder
 * (/proc/self/fd/N), which *ret_directory_fd then holds: keep it open while the address is used.
 * -1: not needed. */
MUST_USE int admin_socket_address(const char *state_directory, struct address *ret_address,
                                  int *ret_directory_fd, struct error *err);

#endif
