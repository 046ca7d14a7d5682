#include "admin/operations.h"
#include "base/error.h"
#include "base/json.h"

static const char *const permission_names[] = {"view", "operate"};
static const char *const where_names[] = {"path", "query", "body"};

static void write_schema(struct json_writer *writer, const char *type)
{
    json_begin_object(writer, "schema");
    json_write_text(writer, "type", type);
    json_end_object(writer);
}

static void write_parameters(struct json_writer *writer, enum operation_route_id id)
{
    json_begin_array(writer, "parameters");
    for (size_t i = 0; i < operation_parameter_count; i++) {
        const struct operation_parameter *parameter = &operation_parameters[i];
        if (parameter->route != id || parameter->where == OPERATION_IN_body)
            continue;
        json_begin_object(writer, NULL);
        json_write_text(writer, "name", parameter->name);
        json_write_text(writer, "in", where_names[parameter->where]);
        json_write_boolean(writer, "required", parameter->is_required);
        json_write_text(writer, "description", parameter->description);
        write_schema(writer, parameter->type);
        json_end_object(writer);
    }
    json_end_array(writer);
}

static bool has_body(enum operation_route_id id)
{
    for (size_t i = 0; i < operation_parameter_count; i++)
        if (operation_parameters[i].route == id &&
            operation_parameters[i].where == OPERATION_IN_body)
            return true;
    return false;
}

static void write_json_body(struct json_writer *writer, enum operation_route_id id)
{
    json_begin_object(writer, "application/json");
    json_begin_object(writer, "schema");
    json_write_text(writer, "type", "object");
    json_begin_object(writer, "properties");
    for (size_t i = 0; i < operation_parameter_count; i++) {
        const struct operation_parameter *parameter = &operation_parameters[i];
        if (parameter->route != id || parameter->where != OPERATION_IN_body)
            continue;
        json_begin_object(writer, parameter->name);
        json_write_text(writer, "type", parameter->type);
        json_write_text(writer, "description", parameter->description);
        json_end_object(writer);
    }
    json_end_object(writer);
    json_begin_array(writer, "required");
    for (size_t i = 0; i < operation_parameter_count; i++)
        if (operation_parameters[i].route == id &&
            operation_parameters[i].where == OPERATION_IN_body &&
            operation_parameters[i].is_required)
            json_write_text(writer, NULL, operation_parameters[i].name);
    json_end_array(writer);
    json_end_object(writer);
    json_end_object(writer);
}

static void write_body(struct json_writer *writer, enum operation_route_id id)
{
    bool is_source = id == OPERATION_deploy_source;
    if (!is_source && !has_body(id))
        return;
    json_begin_object(writer, "requestBody");
    json_write_boolean(writer, "required", true);
    json_begin_object(writer, "content");
    if (is_source) {
        json_begin_object(writer, "application/x-tar");
        json_end_object(writer);
    } else {
        write_json_body(writer, id);
    }
    json_end_object(writer);
    json_end_object(writer);
}

static void write_answers(struct json_writer *writer, enum operation_route_id id)
{
    json_begin_object(writer, "responses");
    json_begin_object(writer, "200");
    json_write_text(writer, "description", operation_routes[id].summary);
    json_begin_object(writer, "content");
    json_begin_object(writer, operation_answers[id].content_type);
    json_write_raw(writer, "example", slice_from(operation_answers[id].example));
    json_end_object(writer);
    json_end_object(writer);
    json_end_object(writer);
    json_begin_object(writer, "default");
    json_write_text(writer, "$ref", "#/components/responses/error");
    json_end_object(writer);
    json_end_object(writer);
}

static void write_error_component(struct json_writer *writer)
{
    json_begin_object(writer, "components");
    json_begin_object(writer, "responses");
    json_begin_object(writer, "error");
    json_write_text(writer, "description", "It failed; the status follows from the code");
    json_begin_object(writer, "content");
    json_begin_object(writer, "application/json");
    json_begin_object(writer, "schema");
    json_write_text(writer, "type", "object");
    json_begin_object(writer, "properties");
    json_begin_object(writer, "error");
    json_write_text(writer, "type", "object");
    json_begin_object(writer, "properties");
    json_begin_object(writer, "code");
    json_write_text(writer, "type", "string");
    json_begin_array(writer, "enum");
#define X(code, name, http, exit, text) json_write_text(writer, NULL, name);
#include "base/errors.def"
#undef X
    json_end_array(writer);
    json_end_object(writer);
    static const char *const texts[] = {"message", "hint"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        json_begin_object(writer, texts[i]);
        json_write_text(writer, "type", "string");
        json_end_object(writer);
    }
    for (unsigned level = 0; level < 9; level++)
        json_end_object(writer);
}

void operations_openapi(struct buf *ret_json)
{
    struct json_writer writer = JSON_WRITER(ret_json);
    bool is_written[OPERATION_ROUTES] = {false};
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "openapi", "3.1.0");
    json_begin_object(&writer, "info");
    json_write_text(&writer, "title", "Slipway admin API");
    json_write_text(&writer, "version", SLIPWAY_VERSION);
    json_end_object(&writer);
    json_begin_object(&writer, "paths");
    for (unsigned i = 0; i < OPERATION_ROUTES; i++) {
        if (is_written[i])
            continue;
        json_begin_object(&writer, operation_routes[i].path);
        for (unsigned k = i; k < OPERATION_ROUTES; k++) { /* every method of this path */
            const struct operation_route *route = &operation_routes[k];
            if (strcmp(route->path, operation_routes[i].path) != 0)
                continue;
            is_written[k] = true;
            char method[16] = "";
            for (size_t at = 0; at < sizeof(method) - 1 && route->method[at]; at++)
                method[at] = (char)(route->method[at] | 0x20);
            json_begin_object(&writer, method);
            json_write_text(&writer, "operationId", route->identifier);
            json_write_text(&writer, "summary", route->summary);
            json_write_text(&writer, "x-slipway-permission", permission_names[route->permission]);
            write_parameters(&writer, (enum operation_route_id)k);
            write_body(&writer, (enum operation_route_id)k);
            write_answers(&writer, (enum operation_route_id)k);
            json_end_object(&writer);
        }
        json_end_object(&writer);
    }
    json_end_object(&writer);
    write_error_component(&writer);
    json_end_object(&writer);
}

void operations_api_markdown(struct buf *ret_text)
{
    buf_append_text(
        ret_text,
        "<!-- Generated by `slipway manual admin-api` from src/admin/operations.def; do not edit. "
        "-->\n"
        "# The admin API\n\n"
        "HTTP/1.1 and JSON on the unix socket `<state>/admin.sock`. Who may connect: root, the "
        "user that the platform runs as, "
        "and members of the group `slipway`; the kernel tells who the peer is, so there are no "
        "tokens.\n\n"
        "    curl --unix-socket /var/lib/slipway/admin.sock http://localhost/v1/status\n\n"
        "`GET /openapi.json` describes the same in OpenAPI 3.1. Members may be added to answers; "
        "none is removed or changed "
        "within a major version. Times are RFC 3339 in UTC. Answers of type `application/x-ndjson` "
        "are streams of "
        "JSON lines.\n\n"
        "An operation that changes something records what is wanted and answers at once; its "
        "progress is the "
        "events of the deploy that the answer names.\n\n"
        "## Errors\n\n"
        "    {\"error\": {\"code\": \"not_found\", \"message\": \"…\", \"hint\": \"…\"}}\n\n"
        "| code | HTTP status | meaning |\n|---|---|---|\n");
#define X(code, name, http, exit, text)                                                            \
    buf_append_text(ret_text, "| `" name "` | " #http " | " text " |\n");
#include "base/errors.def"
#undef X
    buf_append_text(ret_text, "\n## Operations\n");
    for (unsigned i = 0; i < OPERATION_ROUTES; i++) {
        const struct operation_route *route = &operation_routes[i];
        bool is_first = true;
        buf_printf(ret_text, "\n### %s %s\n\n%s. Permission: %s.\n", route->method, route->path,
                   route->summary, permission_names[route->permission]);
        for (size_t k = 0; k < operation_parameter_count; k++) {
            const struct operation_parameter *parameter = &operation_parameters[k];
            if (parameter->route != (enum operation_route_id)i)
                continue;
            if (is_first)
                buf_append_text(ret_text, "\n| parameter | in | type | |\n|---|---|---|---|\n");
            is_first = false;
            buf_printf(ret_text, "| `%s`%s | %s | %s | %s |\n", parameter->name,
                       parameter->is_required ? "" : " (optional)", where_names[parameter->where],
                       parameter->type, parameter->description);
        }
        if (i == OPERATION_deploy_source)
            buf_append_text(ret_text, "\nBody: `application/x-tar`.\n");
        buf_printf(ret_text, "\nAnswer, `%s`:\n\n```json\n%s\n```\n",
                   operation_answers[i].content_type, operation_answers[i].example);
    }
}
