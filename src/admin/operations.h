/* operations.h - the table of operations (operations.def) as data, and what is generated from it
 * for programs.
 *
 * Why: a verb, option or route is declared once; the command line, the admin server, OpenAPI,
 * manuals and completions read the same rows, so they cannot disagree. What people read (help, man,
 * completions) is made in cli/.
 */
#ifndef ADMIN_OPERATIONS_H
#define ADMIN_OPERATIONS_H

#include "base/arena.h"
#include "base/buf.h"
#include <stdbool.h>

struct operation_verb {
    const char *name, *usage, *summary, *description; /* description NULL: hidden from help */
};
struct operation_option {
    const char *verb, *long_name, *short_name, *value,
        *description; /* short_name ""; value NULL: a flag */
};
struct operation_example {
    const char *verb, *command, *text;
};

enum operation_where { OPERATION_IN_path, OPERATION_IN_query, OPERATION_IN_body };
enum operation_permission { OPERATION_MAY_view, OPERATION_MAY_operate };

enum operation_route_id {
#define ROUTE(identifier, method, path, permission, summary) OPERATION_##identifier,
#include "admin/operations.def"
    OPERATION_ROUTES,
};
struct operation_route {
    const char *identifier, *method, *path;
    enum operation_permission permission;
    const char *summary;
};
struct operation_parameter {
    enum operation_route_id route;
    enum operation_where where;
    const char *name, *type;
    bool is_required;
    const char *description;
};
struct operation_answer {
    const char *content_type, *example; /* JSON text */
};

extern const struct operation_verb operation_verbs[];
extern const size_t operation_verb_count;
extern const struct operation_option operation_options[];
extern const size_t operation_option_count;
extern const struct operation_example operation_examples[];
extern const size_t operation_example_count;
extern const struct operation_route operation_routes[OPERATION_ROUTES];
extern const struct operation_answer operation_answers[OPERATION_ROUTES];
extern const struct operation_parameter operation_parameters[];
extern const size_t operation_parameter_count;

const struct operation_verb *operation_verb_find(const char *name); /* NULL: none */
/* The option of that verb or of every verb; either name may be NULL. */
const struct operation_option *operation_option_find(const char *verb, struct slice long_name,
                                                     char short_name);

#define OPERATION_PARAMETERS_MAX 4
struct operation_match {
    enum operation_route_id id;
    size_t count;
    struct slice names[OPERATION_PARAMETERS_MAX],
        values[OPERATION_PARAMETERS_MAX]; /* of the path, borrowed */
};
enum operation_match_result { OPERATION_MATCHED, OPERATION_NO_PATH, OPERATION_NO_METHOD };
/* Which route a request means. NO_METHOD: the path is known, but not with this method. */
enum operation_match_result operation_match(struct slice method, struct slice path,
                                            struct operation_match *ret_match);
struct slice operation_match_value(const struct operation_match *match, const char *name);

void operations_openapi(struct buf *ret_json);      /* OpenAPI 3.1 */
void operations_api_markdown(struct buf *ret_text); /* docs/admin-api.md */

#endif
