/* detect.c - `slipway init`: looks at a folder and writes the manifest that a person would begin
 * with, with comments. */
#include "config/detect_private.h"

#include "base/json.h"
#include "config/value_private.h"
#include "os/file.h"
#include <limits.h>

#define FILE_BYTES_MAX ((size_t)256 * 1024)

bool detection_has(struct detection *detection, const char *root, const char *name)
{
    return folder_is_inside(slice_from(name)) &&
           file_exists(path_join(detection->arena,
                                 path_join(detection->arena, detection->directory, root), name));
}

const char *detection_read(struct detection *detection, const char *root, const char *name)
{
    struct buf text = BUF_INIT(FILE_BYTES_MAX);
    if (!folder_is_inside(slice_from(name)))
        return "";
    const char *path =
        path_join(detection->arena, path_join(detection->arena, detection->directory, root), name);
    char *copy = NULL;
    if (file_read(path, FILE_BYTES_MAX, &text, NULL) == 0)
        copy = arena_try(detection->arena, text.len + 1);
    if (copy && text.len)
        memcpy(copy, text.ptr, text.len);
    buf_done(&text);
    return copy ? copy : "";
}

static bool name_is_taken(const struct detection *detection, const char *name)
{
    for (size_t i = 0; i < detection->count; i++)
        if (strcmp(detection->services[i].name, name) == 0)
            return true;
    return strcmp(name, "db") == 0 ||
           strcmp(name, "cache") == 0; /* what the databases are called */
}

struct detected_service *detection_add(struct detection *detection, const char *name,
                                       const char *root, const char *from)
{
    if (detection->count == DETECTED_MAX)
        return NULL;
    if (!name_is_valid(slice_from(name)))
        name = "service";
    const char *unique = name;
    for (unsigned i = 2; name_is_taken(detection, unique); i++)
        unique = arena_printf(detection->arena, "%.40s-%u", name, i);
    struct detected_service *service = &detection->services[detection->count++];
    *service =
        (struct detected_service){.name = unique, .from = from, .type = SERVICE_WEB, .root = root};
    return service;
}

static void detect_folder(struct detection *detection, const char *root, const char *name)
{
    size_t first = detection->count;
    bool is_found = detect_node(detection, root, name) || detect_python(detection, root, name) ||
                    detect_go(detection, root, name);
    if (!is_found && !detection_has(detection, root, "Procfile"))
        detect_html(detection, root, name);
    detect_procfile(detection, root, first);
}

/* Repositories with an API and a site beside each other are common enough to look for by their
 * usual names. */
static void detect_folders(struct detection *detection)
{
    static const struct {
        const char *folder, *service;
    } usual[] = {{"backend", "api"},   {"api", "api"},       {"server", "api"},  {"app", "web"},
                 {"worker", "worker"}, {"frontend", "site"}, {"client", "site"}, {"web", "web"},
                 {"site", "site"},     {"ui", "site"}};
    for (size_t i = 0; i < ARRAY_LEN(usual); i++)
        if (file_is_directory(path_join(detection->arena, detection->directory, usual[i].folder)))
            detect_folder(detection, usual[i].folder, usual[i].service);
}

/* ---- writing */

/* The folder's name as an application's name. */
static const char *app_name(struct arena *arena, const char *directory)
{
    char resolved[PATH_MAX], name[MANIFEST_NAME_MAX + 1];
    const char *path = realpath(directory, resolved) ? resolved : directory;
    const char *slash = strrchr(path, '/');
    size_t len = 0;
    for (const char *c = slash ? slash + 1 : path; *c && len < sizeof(name) - 1; c++) {
        char lower = *c >= 'A' && *c <= 'Z' ? (char)(*c | 0x20) : *c;
        bool is_letter = lower >= 'a' && lower <= 'z';
        bool is_inner = len && ((lower >= '0' && lower <= '9') || name[len - 1] != '-');
        if (is_letter || (len && lower >= '0' && lower <= '9'))
            name[len++] = lower;
        else if (is_inner)
            name[len++] = '-';
    }
    while (len && name[len - 1] == '-')
        len--;
    struct slice found = {name, len};
    return name_is_valid(found) ? arena_slice_text(arena, found) : "app";
}

/* Plain when YAML surely reads it back as it is, else in double quotes. */
static void append_scalar(struct buf *yaml, const char *text)
{
    struct slice value = slice_from(text);
    bool is_plain =
        value.len > 0 && ((text[0] >= 'a' && text[0] <= 'z') ||
                          (text[0] >= 'A' && text[0] <= 'Z') || text[0] == '.' || text[0] == '/');
    for (size_t i = 0; i < value.len && is_plain; i++) {
        char c = text[i];
        bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        is_plain = is_word || (c && strchr(" -_./=$&@+", c)) || (c == ':' && text[i + 1] > ' ');
    }
    if (is_plain && text[value.len - 1] != ' ' && !slice_eq(value, SLICE(".")))
        buf_append_text(yaml, text);
    else if (slice_eq(value, SLICE(".")))
        buf_append_text(yaml, ".");
    else
        json_append_string(yaml, value);
}

static void append_key(struct buf *yaml, const char *key, const char *value, const char *comment)
{
    if (!value)
        return;
    size_t start = yaml->len;
    buf_printf(yaml, "    %s: ", key);
    append_scalar(yaml, value);
    if (comment) {
        size_t width = yaml->len - start;
        buf_printf(yaml, "%*s# %s", width < 40 ? (int)(40 - width) : 2, "", comment);
    }
    buf_append_byte(yaml, '\n');
}

static void append_service(struct buf *yaml, const struct detected_service *service)
{
    bool is_static = service->type == SERVICE_STATIC, is_web = service->type == SERVICE_WEB;
    buf_printf(yaml, "  %s:%*s# from %s%s%s\n", service->name, 2, "",
               strcmp(service->root, ".") == 0 ? "" : service->root,
               strcmp(service->root, ".") == 0 ? "" : "/", service->from);
    append_key(yaml, "type", service_type_name(service->type),
               is_static ? "files, served by the edge itself"
               : is_web  ? NULL
                         : "takes no requests");
    if (strcmp(service->root, ".") != 0)
        append_key(yaml, "root", service->root, NULL);
    append_key(yaml, "build", service->build, NULL);
    append_key(yaml, "preDeploy", service->pre_deploy, "once a release, before it starts");
    append_key(yaml, "start", service->start, is_web ? "listens on 127.0.0.1:$PORT" : NULL);
    append_key(yaml, "publish", service->publish, NULL);
    if (service->is_single_page)
        append_key(yaml, "singlePage", "true", "unknown paths answer index.html");
    if (service->uses_postgres || service->uses_redis)
        buf_append_text(yaml, "    env:\n");
    if (service->uses_postgres)
        buf_append_text(yaml, "      DATABASE_URL: {from: db.url}\n");
    if (service->uses_redis)
        buf_append_text(yaml, "      REDIS_URL: {from: cache.url}\n");
    if (is_web && service->health_path)
        buf_printf(yaml, "    health: {path: %s}\n", service->health_path);
    else if (is_web)
        buf_append_text(
            yaml,
            "    # health: {path: /health}           # a path that answers 200 when all is well\n");
    if (!is_static)
        buf_append_text(
            yaml,
            "    # instances: 2                      # a number, or max: one a processor core\n");
    if (is_web && !service->uses_postgres && !service->uses_redis)
        buf_append_text(yaml, "    # env: {NODE_ENV: production}\n");
}

static void append_databases(struct buf *yaml, const struct detection *detection)
{
    bool postgres = false, redis = false;
    for (size_t i = 0; i < detection->count; i++) {
        postgres = postgres || detection->services[i].uses_postgres;
        redis = redis || detection->services[i].uses_redis;
    }
    if (!postgres && !redis) {
        buf_append_text(yaml, "\n# databases:                         # run by slipway; reached by "
                              "{from: db.url} in env\n"
                              "#   db: {type: postgres}\n");
        return;
    }
    buf_append_text(yaml, "\ndatabases:\n");
    if (postgres)
        buf_append_text(yaml, "  db: {type: postgres}\n");
    if (redis)
        buf_append_text(yaml, "  cache: {type: redis}\n");
}

/* Processes below /api, the site at /; more of a kind below their own names. */
static void append_routes(struct buf *yaml, const struct detection *detection)
{
    size_t webs = 0, sites = 0, seen_webs = 0, seen_sites = 0;
    for (size_t i = 0; i < detection->count; i++) {
        webs += detection->services[i].type == SERVICE_WEB;
        sites += detection->services[i].type == SERVICE_STATIC;
    }
    if (webs + sites < 2) {
        if (webs + sites)
            buf_append_text(yaml, "\n# routes:                            # without them the one "
                                  "service gets every request\n"
                                  "#   - {host: www.example.org, path: /, service: web}\n");
        return;
    }
    buf_append_text(yaml, "\nroutes:                              # the longest path wins\n");
    for (size_t i = 0; i < detection->count; i++) {
        const struct detected_service *service = &detection->services[i];
        if (service->type == SERVICE_WEB) {
            bool is_root = !sites && seen_webs == 0;
            seen_webs++;
            if (is_root)
                buf_printf(yaml, "  - {path: /, service: %s}\n", service->name);
            else
                buf_printf(yaml, "  - {path: /%s, service: %s}\n",
                           webs == 1 ? "api" : service->name, service->name);
        } else if (service->type == SERVICE_STATIC) {
            buf_printf(yaml, "  - {path: /%s, service: %s}\n", seen_sites ? service->name : "",
                       service->name);
            seen_sites++;
        }
    }
}

int manifest_detect(struct arena *arena, const char *directory, struct buf *ret_yaml,
                    struct error *err)
{
    CLEANUP(arena_freep) struct arena *scratch = arena_new((size_t)32 * 1024 * 1024);
    struct detection *detection = arena_new_of(scratch, struct detection);
    detection->arena = scratch;
    detection->directory = directory;
    detect_folder(detection, ".", "web");
    if (detection->count == 0)
        detect_folders(detection);
    if (detection->count == 0) {
        error_set(err, ERR_NOT_FOUND,
                  "nothing in '%s' tells how to run it: no package.json with a start script, no "
                  "Procfile, "
                  "no requirements.txt with app.py, main.py, server.py, wsgi.py or manage.py, no "
                  "go.mod, no "
                  "index.html",
                  directory);
        return err ? error_hint(err,
                                "write slipway.yaml, for example: {app: %s, services: {web: "
                                "{start: ./my-server}}}",
                                app_name(arena, directory))
                   : ERR_NOT_FOUND;
    }
    buf_printf(ret_yaml,
               "# What slipway builds and runs. 'slipway validate' checks it, 'man slipway.yaml' "
               "tells all keys.\napp: %s\n\nservices:\n",
               app_name(arena, directory));
    for (size_t i = 0; i < detection->count; i++) {
        if (i)
            buf_append_byte(ret_yaml, '\n');
        append_service(ret_yaml, &detection->services[i]);
    }
    append_databases(ret_yaml, detection);
    append_routes(ret_yaml, detection);
    return ret_yaml->failed ? error_set(err, ERR_LIMIT, "the manifest would be too large") : 0;
}
