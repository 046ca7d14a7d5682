/* admin_private.h - one request on its way from the table of operations to control. */
#ifndef ADMIN_ADMIN_PRIVATE_H
#define ADMIN_ADMIN_PRIVATE_H

#include "admin/admin.h"
#include "admin/operations.h"
#include "net/http_server.h"

struct admin_request { /* in the exchange's arena: lives until its answer is complete */
    struct admin *admin;
    struct control *control;
    struct loop *loop;
    struct http_exchange *exchange;
    struct operation_match match; /* values point into the exchange */
    struct control_actor actor;
    struct http_collected collected;
};

/* Value of a path parameter, NUL-terminated. */
const char *admin_parameter(struct admin_request *request, const char *name);
/* A number of the path; ERR_INVALID. */
int admin_parameter_u64(struct admin_request *request, const char *name, uint64_t *ret_value,
                        struct error *err);

void admin_upload(struct admin_request *request); /* PUT …/source */
void admin_events(struct admin_request *request); /* GET …/events */
void admin_logs(struct admin_request *request);   /* GET /v1/logs */

#endif
