#include "admin/operations.h"

const struct operation_verb operation_verbs[] = {
#define VERB(name, usage, summary, description) {#name, usage, summary, description},
#define HIDDEN(name, usage, summary)            {#name, usage, summary, NULL},
#include "admin/operations.def"
};
const size_t operation_verb_count = ARRAY_LEN(operation_verbs);

const struct operation_option operation_options[] = {
#define OPTION(verb, long_name, short_name, value, description)                                    \
    {verb, long_name, short_name, value, description},
#include "admin/operations.def"
};
const size_t operation_option_count = ARRAY_LEN(operation_options);

const struct operation_example operation_examples[] = {
#define EXAMPLE(verb, command, text) {verb, command, text},
#include "admin/operations.def"
};
const size_t operation_example_count = ARRAY_LEN(operation_examples);

const struct operation_route operation_routes[OPERATION_ROUTES] = {
#define ROUTE(identifier, method, path, permission, summary)                                       \
    {#identifier, method, path, OPERATION_MAY_##permission, summary},
#include "admin/operations.def"
};

const struct operation_answer operation_answers[OPERATION_ROUTES] = {
#define ANSWER(identifier, content_type, example)                                                  \
    [OPERATION_##identifier] = {content_type, example},
#include "admin/operations.def"
};

const struct operation_parameter operation_parameters[] = {
#define PARAMETER(identifier, where, name, type, is_required, description)                         \
    {OPERATION_##identifier, OPERATION_IN_##where, name, type, is_required, description},
#include "admin/operations.def"
};
const size_t operation_parameter_count = ARRAY_LEN(operation_parameters);

const struct operation_verb *operation_verb_find(const char *name)
{
    for (size_t i = 0; i < operation_verb_count; i++)
        if (strcmp(operation_verbs[i].name, name) == 0)
            return &operation_verbs[i];
    return NULL;
}

const struct operation_option *operation_option_find(const char *verb, struct slice long_name,
                                                     char short_name)
{
    for (size_t i = 0; i < operation_option_count; i++) {
        const struct operation_option *option = &operation_options[i];
        if (strcmp(option->verb, "*") != 0 && strcmp(option->verb, verb) != 0)
            continue;
        if ((long_name.len && slice_eq(slice_from(option->long_name), long_name)) ||
            (short_name && option->short_name[0] == short_name))
            return option;
    }
    return NULL;
}

/* One template against one path, segment by segment. */
static bool match_path(const char *template, struct slice path, struct operation_match *match)
{
    struct slice left = slice_from(template);
    match->count = 0;
    while (left.len || path.len) {
        struct slice want = slice_cut(&left, '/'), have = slice_cut(&path, '/');
        if (want.len && want.ptr[0] == '{') {
            if (have.len == 0)
                return false;
            assert(match->count < OPERATION_PARAMETERS_MAX);
            match->names[match->count] = slice_sub(want, 1, want.len - 2);
            match->values[match->count++] = have;
        } else if (!slice_eq(want, have)) {
            return false;
        }
    }
    return true;
}

enum operation_match_result operation_match(struct slice method, struct slice path,
                                            struct operation_match *ret_match)
{
    enum operation_match_result result = OPERATION_NO_PATH;
    struct operation_match match;
    if (path.len == 0 || path.ptr[path.len - 1] == '/')
        return OPERATION_NO_PATH;
    for (unsigned i = 0; i < OPERATION_ROUTES; i++) {
        if (!match_path(operation_routes[i].path, path, &match))
            continue;
        result = OPERATION_NO_METHOD;
        if (slice_eq(method, slice_from(operation_routes[i].method))) {
            match.id = (enum operation_route_id)i;
            *ret_match = match;
            return OPERATION_MATCHED;
        }
    }
    return result;
}

struct slice operation_match_value(const struct operation_match *match, const char *name)
{
    for (size_t i = 0; i < match->count; i++)
        if (slice_eq(match->names[i], slice_from(name)))
            return match->values[i];
    return (struct slice){0};
}
