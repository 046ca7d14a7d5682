/* client.h - private to cli/: what streams need to talk to the admin socket by themselves. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "cli/cli_private.h"
#include "net/http_client.h"

/* A request to the platform's socket with everything but method and target. *ret_directory_fd: see
 * admin_socket_address. ERR_NOT_FOUND: no state folder. */
MUST_USE int client_request(const struct command *command, struct address *ret_address,
                            int *ret_directory_fd, struct http_client_request *ret_request,
                            struct error *err);

#endif
