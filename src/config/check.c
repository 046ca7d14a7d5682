/* check.c - what one key alone cannot tell: keys that need or exclude each other, names that must
 * exist, and defaults that depend. */
#include "config/check_private.h"

#include "base/text.h"
#include "config/value_private.h"
#include "os/file.h"

/* Where a service, database or route was written; falls back to what encloses it. */
const struct node *check_item_node(const struct node *root, const char *map, const char *name)
{
    const struct node *node = node_get(node_get(root, map), name);
    return node ? node : root;
}

const struct node *check_list_node(const struct node *root, const char *list, size_t index)
{
    const struct node *node = node_get(root, list);
    node_each(item, node) if (index-- == 0) return item;
    return root;
}

struct position check_position(const struct node *node)
{
    return node->key ? node->key_at : node->at;
}

void check_report(const struct check *check, enum finding_level level, struct position at,
                  const char *path, const char *suggestion, const char *format, ...)
{
    char message[400];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    findings_add(check->findings, level, at, path, suggestion, "%s", message);
}

/* "did you mean 'api'?" for the nearest service or database, in `buffer`; NULL: none. */
const char *check_suggest(const struct check *check, const char *word, bool services,
                          bool databases, char buffer[96])
{
    const char *names[2 * MANIFEST_SERVICES_MAX];
    size_t count = 0;
    for (size_t i = 0; services && i < check->manifest->service_count; i++)
        names[count++] = check->manifest->services[i].name;
    for (size_t i = 0; databases && i < check->manifest->database_count; i++)
        names[count++] = check->manifest->databases[i].name;
    const char *nearest = text_suggest(slice_from(word), names, count);
    if (!nearest)
        return NULL;
    snprintf(buffer, 96, "did you mean '%s'?", nearest);
    return buffer;
}

/* ---- a service */

struct service_check {
    struct check *check;
    struct manifest_service *service;
    const struct node *node;
    bool is_type_known; /* a wrong type is told once, not by all that follows from it */
};

static const char *path_of(const struct service_check *it, const char *tail)
{
    return arena_printf(it->check->arena, "services.%.64s%s%s", it->service->name, tail ? "." : "",
                        tail ? tail : "");
}

static void check_keys_of_type(const struct service_check *it)
{
    bool is_static = it->service->type == SERVICE_STATIC;
    unsigned foreign = is_static ? KEY_PROCESS_ONLY : KEY_STATIC_ONLY;
    node_each(child, it->node)
    {
        const struct key *key = key_find(SECTION_service, child->key);
        if (!key || !(key->flags & foreign))
            continue;
        if (is_static)
            check_report(it->check, FINDING_ERROR, child->key_at, path_of(it, child->key),
                         "remove it, or change the type",
                         "a static service has no process, so '%s' has no effect", child->key);
        else
            check_report(it->check, FINDING_ERROR, child->key_at, path_of(it, child->key),
                         "write 'type: static', or remove it",
                         "'%s' is for static services, this one is of type %s", child->key,
                         service_type_name(it->service->type));
    }
}

static void check_start(const struct service_check *it)
{
    if (it->service->type == SERVICE_STATIC || it->service->start || node_get(it->node, "start"))
        return;
    bool looks_static = node_get(it->node, "publish") || node_get(it->node, "singlePage");
    check_report(it->check, FINDING_ERROR, check_position(it->node), path_of(it, NULL),
                 looks_static ? "write 'type: static' for a site without a process"
                              : "write the command that starts it, such as start: node server.js",
                 "'start' is missing");
}

bool check_takes_requests(const struct manifest_service *service)
{
    return service->type == SERVICE_WEB || service->type == SERVICE_STATIC;
}

static void resolve_ready(const struct service_check *it)
{
    struct manifest_service *service = it->service;
    bool listens = service->type == SERVICE_WEB || service->type == SERVICE_PRIVATE;
    const struct node *ready = node_get(it->node, "ready");
    if (!ready && service->health.path)
        service->ready = READY_HTTP;
    else if (!ready)
        service->ready = listens ? READY_TCP : READY_ALIVE;
    if (service->type == SERVICE_STATIC || !it->is_type_known)
        return;
    const struct node *health_path = node_get(node_get(it->node, "health"), "path");
    if (!listens && health_path)
        check_report(it->check, FINDING_ERROR, health_path->key_at, path_of(it, "health.path"),
                     "use 'ready: notify' or 'ready: alive'",
                     "a service of type %s has no port, so nothing answers there",
                     service_type_name(service->type));
    else if (!listens && (service->ready == READY_HTTP || service->ready == READY_TCP))
        check_report(it->check, FINDING_ERROR, ready ? ready->at : check_position(it->node),
                     path_of(it, "ready"), "use notify or alive",
                     "a service of type %s has no port, so it cannot be ready by %s",
                     service_type_name(service->type), ready_kind_name(service->ready));
    if (service->ready == READY_HTTP && !service->health.path)
        service->health.path = "/";
}

/* ---- environment */

static const char *databases_listed(const struct check *check)
{
    struct buf text = BUF_INIT(160);
    buf_append_text(&text, check->manifest->database_count == 1 ? "there is only " : "there are ");
    for (size_t i = 0; i < check->manifest->database_count; i++)
        buf_printf(&text, "%s'%s'", i ? ", " : "", check->manifest->databases[i].name);
    const char *copy = arena_text(check->arena, buf_text(&text));
    buf_done(&text);
    return copy;
}

static void check_reference(const struct service_check *it,
                            const struct manifest_environment *variable, const struct node *node)
{
    static const char *const parts[] = {"url", "host", "port", "user", "password", "database"};
    const struct check *check = it->check;
    const char *path = path_of(it, arena_printf(check->arena, "env.%.64s", variable->name));
    const struct node *from = node_get(node, "from");
    struct position at = from ? from->at : check_position(node ? node : it->node);
    struct slice part = slice_from(variable->value), name = slice_cut(&part, '.');
    const char *name_text = arena_slice_text(check->arena, name);
    char suggestion[96];
    if (manifest_service_find(check->manifest, name_text)) {
        check_report(check, FINDING_UNSUPPORTED, at, path, NULL,
                     "from a service ('%s'): not supported yet in this version", variable->value);
        return;
    }
    if (!manifest_database_find(check->manifest, name_text)) {
        const char *nearest = check_suggest(check, name_text, false, true, suggestion);
        if (!nearest && check->manifest->database_count) /* a short name is near to nothing */
            nearest = databases_listed(check);
        check_report(check, FINDING_ERROR, at, path,
                     nearest ? nearest : "declare it under 'databases'",
                     "there is no database '%s'", name_text);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (slice_eq(part, slice_from(parts[i])))
            return;
    const char *nearest = text_suggest(part, parts, ARRAY_LEN(parts));
    snprintf(suggestion, sizeof(suggestion), "did you mean '%s.%s'?", name_text,
             nearest ? nearest : "url");
    check_report(check, FINDING_ERROR, at, path, suggestion,
                 "a database has no '" SLICE_FORMAT
                 "': it has url, host, port, user, password and database",
                 SLICE_ARG(part));
}

static void check_environment(const struct service_check *it)
{
    const struct node *map = node_get(it->node, "env");
    for (size_t i = 0; i < it->service->environment_count; i++) {
        const struct manifest_environment *variable = &it->service->environment[i];
        const struct node *node = node_get(map, variable->name);
        bool has_port = it->service->type == SERVICE_WEB || it->service->type == SERVICE_PRIVATE;
        if (has_port && strcmp(variable->name, "PORT") == 0)
            check_report(it->check, FINDING_ERROR, check_position(node ? node : it->node),
                         path_of(it, "env.PORT"), "remove it and listen on $PORT",
                         "PORT is set by slipway, another one for each instance");
        if (variable->source == ENVIRONMENT_FROM)
            check_reference(it, variable, node);
    }
}

static void check_service(struct check *check, struct manifest_service *service)
{
    struct service_check it = {check, service,
                               check_item_node(check->root, "services", service->name), true};
    if (it.node->kind != NODE_MAP && !node_is_null(it.node))
        return; /* told already */
    const struct node *type = node_get(it.node, "type");
    if (type) {
        struct complaint complaint;
        unsigned word;
        it.is_type_known =
            value_read(check->arena, key_find(SECTION_service, "type"), type, &word, &complaint) ||
            complaint.is_later;
    }
    if (manifest_database_find(check->manifest, service->name))
        check_report(check, FINDING_ERROR, check_position(it.node), path_of(&it, NULL), NULL,
                     "the name '%.64s' is used by a service and by a database", service->name);
    if (it.is_type_known) {
        check_keys_of_type(&it);
        check_start(&it);
    }
    resolve_ready(&it);
    check_environment(&it);
}

/* ---- databases */

static void check_database(const struct check *check, struct manifest_database *database)
{
    const struct node *node = check_item_node(check->root, "databases", database->name),
                      *eviction = node_get(node, "eviction");
    const char *path = arena_printf(check->arena, "databases.%.64s", database->name);
    if (database->type == DATABASE_REDIS && !database->eviction)
        database->eviction = "noeviction";
    if (eviction && database->type == DATABASE_POSTGRES && node_get(node, "type"))
        check_report(check, FINDING_ERROR, eviction->key_at,
                     arena_printf(check->arena, "%s.eviction", path), "remove it",
                     "'eviction' is for redis, this database is of type %s",
                     database_type_name(database->type));
}

void manifest_check(struct arena *arena, struct findings *findings, const struct node *root,
                    struct manifest *manifest)
{
    struct check check = {arena, findings, root, manifest};
    const struct node *services = node_get(root, "services");
    if (services && manifest->service_count == 0 &&
        (services->kind == NODE_MAP || node_is_null(services)))
        check_report(&check, FINDING_ERROR, services->key_at, "services", NULL,
                     "there is no service");
    for (size_t i = 0; i < manifest->service_count; i++)
        check_service(&check, &manifest->services[i]);
    for (size_t i = 0; i < manifest->database_count; i++)
        check_database(&check, &manifest->databases[i]);
    check_routes(&check);
    check_tls(&check);
}

void manifest_check_folder(struct findings *findings, const struct node *root,
                           const struct manifest *manifest, const char *directory)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new((size_t)4 * 1024 * 1024);
    struct check check = {.arena = arena, .findings = findings, .root = root};
    for (size_t i = 0; i < manifest->service_count; i++) {
        const struct manifest_service *service = &manifest->services[i];
        const struct node *node = check_item_node(root, "services", service->name);
        const struct node *root_node = node_get(node, "root"), *publish = node_get(node, "publish");
        if (!service->root)
            continue;
        const char *folder = path_join(arena, directory, service->root);
        if (!file_is_directory(folder))
            check_report(&check, FINDING_ERROR, root_node ? root_node->at : check_position(node),
                         arena_printf(arena, "services.%.64s.root", service->name), NULL,
                         "there is no folder '%s'", service->root);
        else if (service->type == SERVICE_STATIC && !service->build && service->publish &&
                 !file_is_directory(path_join(arena, folder, service->publish)))
            check_report(&check, FINDING_ERROR, publish ? publish->at : check_position(node),
                         arena_printf(arena, "services.%.64s.publish", service->name),
                         "give the command that makes it as 'build'",
                         "there is no folder '%s', and nothing builds it", service->publish);
    }
}
