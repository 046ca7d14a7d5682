/* detect_runtime.c - what Node, Python, Go and plain HTML projects look like. Heuristics: each
 * guess is written where a person reads it. */
#include "base/json.h"
#include "config/detect_private.h"
#include "os/file.h"
#include <dirent.h>

static bool holds(const char *text, const char *word)
{
    return strstr(text, word) != NULL;
}

/* One of the words, each a whole package name: not part of a longer one. */
static bool holds_package(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = strstr(text, name); at; at = strstr(at + 1, name)) {
        bool starts = at == text || strchr(" \t\n\"'/", at[-1]);
        bool ends = strchr(" \t\n\r\"'=<>~![;,@", at[len]) != NULL; /* NUL too */
        if (starts && ends)
            return true;
    }
    return false;
}

/* A health path that the code seems to answer. */
static const char *health_path_in(const char *code)
{
    static const char *const paths[] = {"/health", "/healthz", "/up"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        char quoted[3][24];
        snprintf(quoted[0], sizeof(quoted[0]), "'%s'", paths[i]);
        snprintf(quoted[1], sizeof(quoted[1]), "\"%s\"", paths[i]);
        snprintf(quoted[2], sizeof(quoted[2]), "`%s`", paths[i]);
        for (size_t k = 0; k < ARRAY_LEN(quoted); k++)
            if (holds(code, quoted[k]))
                return paths[i];
    }
    return NULL;
}

/* ---- Node */

struct package {
    const struct json *json, *scripts;
    bool has_dependencies;
};

static bool depends_on(const struct package *package, const char *name)
{
    return json_get(json_get(package->json, "dependencies"), name) ||
           json_get(json_get(package->json, "devDependencies"), name);
}

static bool depends_on_any(const struct package *package, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (depends_on(package, names[i]))
            return true;
    return false;
}

static const char *node_install(struct detection *detection, const char *root,
                                const struct package *package)
{
    if (detection_has(detection, root, "pnpm-lock.yaml"))
        return "pnpm install --frozen-lockfile";
    if (detection_has(detection, root, "yarn.lock"))
        return "yarn install --frozen-lockfile";
    if (detection_has(detection, root, "package-lock.json"))
        return "npm ci";
    return package->has_dependencies ? "npm install" : NULL;
}

static const char *node_build(struct detection *detection, const char *root,
                              const struct package *package)
{
    const char *install = node_install(detection, root, package);
    bool has_build = json_get(package->scripts, "build");
    if (install && has_build)
        return arena_printf(detection->arena, "%s && npm run build", install);
    return has_build ? "npm run build" : install;
}

/* "node server.js" runs as it is, without npm between the platform's signal and the process. */
static bool command_is_plain_node(const char *command)
{
    if (strncmp(command, "node ", 5) != 0)
        return false;
    return command[strcspn(command, "&|;<>$`\"'\\")] == '\0';
}

static const char *node_start(struct detection *detection, const char *root,
                              const struct package *package)
{
    static const char *const entries[] = {"server.js", "index.js",      "app.js",
                                          "main.js",   "src/server.js", "src/index.js"};
    const char *script = json_get_text(package->scripts, "start", NULL);
    if (script)
        return command_is_plain_node(script) ? script : "npm start";
    const char *main_file = json_get_text(package->json, "main", NULL);
    if (main_file && detection_has(detection, root, main_file))
        return arena_printf(detection->arena, "node %s", main_file);
    for (size_t i = 0; i < ARRAY_LEN(entries); i++)
        if (detection_has(detection, root, entries[i]))
            return arena_printf(detection->arena, "node %s", entries[i]);
    return NULL;
}

/* Where the site generators put what they make; NULL: none of them is used. */
static const char *node_site_folder(const struct package *package)
{
    static const struct {
        const char *name, *folder;
    } makers[] = {{"vite", "dist"},
                  {"react-scripts", "build"},
                  {"astro", "dist"},
                  {"gatsby", "public"},
                  {"parcel", "dist"},
                  {"@vue/cli-service", "dist"},
                  {"@11ty/eleventy", "_site"},
                  {"@angular/cli", "dist"}};
    for (size_t i = 0; i < ARRAY_LEN(makers); i++)
        if (depends_on(package, makers[i].name))
            return makers[i].folder;
    return NULL;
}

static const char *node_entry_code(struct detection *detection, const char *root, const char *start)
{
    const char *file = strncmp(start, "node ", 5) == 0 ? start + 5 : "server.js";
    return detection_read(detection, root, file);
}

static void node_web(struct detection *detection, const char *root, const char *name,
                     const struct package *package, const char *start)
{
    static const char *const postgres[] = {"pg",        "postgres", "pg-promise", "@prisma/client",
                                           "sequelize", "typeorm",  "knex"};
    static const char *const redis[] = {"redis", "ioredis", "bullmq", "bull"};
    struct detected_service *web = detection_add(detection, name, root, "package.json");
    if (!web)
        return;
    web->build = node_build(detection, root, package);
    web->start = start;
    web->uses_postgres = depends_on_any(package, postgres, ARRAY_LEN(postgres));
    web->uses_redis = depends_on_any(package, redis, ARRAY_LEN(redis));
    web->health_path = health_path_in(node_entry_code(detection, root, start));
    if (json_get(package->scripts, "migrate"))
        web->pre_deploy = "npm run migrate";
    const char *worker_command = json_get_text(package->scripts, "worker", NULL);
    struct detected_service *worker =
        worker_command ? detection_add(detection, "worker", root, "package.json") : NULL;
    if (!worker)
        return;
    worker->type = SERVICE_WORKER;
    worker->build = web->build;
    worker->start = command_is_plain_node(worker_command) ? worker_command : "npm run worker";
    worker->uses_postgres = web->uses_postgres;
    worker->uses_redis = web->uses_redis;
}

bool detect_node(struct detection *detection, const char *root, const char *name)
{
    static const char *const servers[] = {"express",    "fastify", "koa",  "next", "@nestjs/core",
                                          "@hapi/hapi", "hono",    "nuxt", "polka"};
    const char *text = detection_read(detection, root, "package.json");
    struct json *json;
    if (!text[0] || json_parse(detection->arena, slice_from(text), &json, NULL) != 0)
        return false;
    struct package package = {.json = json, .scripts = json_get(json, "scripts")};
    const struct json *dependencies = json_get(json, "dependencies"),
                      *development = json_get(json, "devDependencies");
    package.has_dependencies =
        (dependencies && dependencies->count) || (development && development->count);
    const char *folder = node_site_folder(&package);
    if (folder && json_get(package.scripts, "build") &&
        !depends_on_any(&package, servers, ARRAY_LEN(servers))) {
        struct detected_service *site = detection_add(
            detection, strcmp(name, "web") == 0 ? "site" : name, root, "package.json");
        if (!site)
            return true;
        site->type = SERVICE_STATIC;
        site->build = node_build(detection, root, &package);
        site->publish = folder;
        site->is_single_page = true;
        return true;
    }
    const char *start = node_start(detection, root, &package);
    if (!start)
        return false;
    node_web(detection, root, name, &package, start);
    return true;
}

/* ---- Python */

/* The folder of a Django project: the one that holds wsgi.py. */
static const char *django_package(struct detection *detection, const char *root)
{
    const char *path = path_join(detection->arena, detection->directory, root), *found = NULL;
    DIR *folder = opendir(path);
    if (!folder)
        return NULL;
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (entry->d_name[0] == '.')
            continue;
        const char *wsgi = arena_printf(detection->arena, "%s/wsgi.py", entry->d_name);
        if (detection_has(detection, root, wsgi) && (!found || strcmp(entry->d_name, found) < 0))
            found = arena_text(detection->arena, entry->d_name);
    }
    closedir(folder);
    return found;
}

static const char *python_start(struct detection *detection, const char *root, const char *packages)
{
    static const char *const modules[] = {"app", "main", "wsgi", "server"};
    const char *module = NULL;
    for (size_t i = 0; i < ARRAY_LEN(modules) && !module; i++)
        if (detection_has(detection, root, arena_printf(detection->arena, "%s.py", modules[i])))
            module = modules[i];
    bool has_gunicorn = holds_package(packages, "gunicorn");
    if (detection_has(detection, root, "manage.py")) {
        const char *package = django_package(detection, root);
        if (has_gunicorn && package)
            return arena_printf(detection->arena,
                                ".venv/bin/gunicorn %s.wsgi --bind 127.0.0.1:$PORT", package);
        return ".venv/bin/python manage.py runserver 127.0.0.1:$PORT --noreload";
    }
    if (!module)
        return NULL;
    if (holds_package(packages, "fastapi") || holds_package(packages, "starlette"))
        return arena_printf(detection->arena,
                            ".venv/bin/uvicorn %s:app --host 127.0.0.1 --port $PORT", module);
    if (has_gunicorn)
        return arena_printf(detection->arena, ".venv/bin/gunicorn %s:app --bind 127.0.0.1:$PORT",
                            module);
    if (holds_package(packages, "flask") || holds_package(packages, "Flask"))
        return arena_printf(detection->arena,
                            ".venv/bin/flask --app %s run --host 127.0.0.1 --port $PORT", module);
    return arena_printf(detection->arena, ".venv/bin/python %s.py", module);
}

bool detect_python(struct detection *detection, const char *root, const char *name)
{
    const char *packages = detection_read(detection, root, "requirements.txt");
    if (!packages[0])
        return false;
    const char *start = python_start(detection, root, packages);
    if (!start)
        return false;
    struct detected_service *web = detection_add(detection, name, root, "requirements.txt");
    if (!web)
        return true;
    web->build = "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt";
    web->start = start;
    web->uses_postgres =
        holds_package(packages, "psycopg") || holds_package(packages, "psycopg2") ||
        holds_package(packages, "psycopg2-binary") || holds_package(packages, "asyncpg");
    web->uses_redis = holds_package(packages, "redis") || holds_package(packages, "celery");
    if (detection_has(detection, root, "manage.py"))
        web->pre_deploy = ".venv/bin/python manage.py migrate";
    else
        web->health_path = health_path_in(detection_read(
            detection, root, detection_has(detection, root, "app.py") ? "app.py" : "main.py"));
    return true;
}

/* ---- Go */

/* The one program below cmd/; NULL: none or several. */
static const char *go_command(struct detection *detection, const char *root)
{
    const char *found = NULL;
    DIR *folder = opendir(path_join(
        detection->arena, path_join(detection->arena, detection->directory, root), "cmd"));
    if (!folder)
        return NULL;
    size_t count = 0;
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (entry->d_name[0] == '.' ||
            !detection_has(detection, root,
                           arena_printf(detection->arena, "cmd/%s/main.go", entry->d_name)))
            continue;
        found = arena_text(detection->arena, entry->d_name);
        count++;
    }
    closedir(folder);
    return count == 1 ? found : NULL;
}

bool detect_go(struct detection *detection, const char *root, const char *name)
{
    const char *modules = detection_read(detection, root, "go.mod");
    if (!modules[0])
        return false;
    struct detected_service *web = detection_add(detection, name, root, "go.mod");
    if (!web)
        return true;
    const char *command =
        detection_has(detection, root, "main.go") ? NULL : go_command(detection, root);
    web->build = command ? arena_printf(detection->arena, "go build -o server ./cmd/%s", command)
                         : "go build -o server .";
    web->start = "./server";
    web->uses_postgres =
        holds(modules, "github.com/lib/pq") || holds(modules, "github.com/jackc/pgx");
    web->uses_redis = holds(modules, "/go-redis") || holds(modules, "gomodule/redigo");
    web->health_path = health_path_in(detection_read(
        detection, root,
        command ? arena_printf(detection->arena, "cmd/%s/main.go", command) : "main.go"));
    return true;
}

/* ---- HTML */

bool detect_html(struct detection *detection, const char *root, const char *name)
{
    static const char *const folders[] = {".", "public", "dist"};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        const char *file = arena_printf(detection->arena, "%s/index.html", folders[i]);
        if (!detection_has(detection, root, file))
            continue;
        struct detected_service *site =
            detection_add(detection, strcmp(name, "web") == 0 ? "site" : name, root, "index.html");
        if (!site)
            return true;
        site->type = SERVICE_STATIC;
        site->publish = folders[i];
        return true;
    }
    return false;
}

/* ---- Procfile */

static const char *process_name(struct detection *detection, struct slice name)
{
    char *clean = arena_slice_text(detection->arena, slice_sub(name, 0, MANIFEST_NAME_MAX));
    for (char *c = clean; *c; c++)
        if (*c == '_')
            *c = '-';
        else if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c | 0x20);
    return clean;
}

bool detect_procfile(struct detection *detection, const char *root, size_t first)
{
    struct slice rest = slice_from(detection_read(detection, root, "Procfile"));
    struct detected_service base = {.root = root, .type = SERVICE_WEB};
    const char *release = NULL;
    bool has_any = false;
    if (rest.len == 0)
        return false;
    if (detection->count > first) /* what the runtime's files told: how to build, what it needs */
        base = detection->services[first];
    if (base.type == SERVICE_STATIC)
        base = (struct detected_service){.root = root, .build = base.build};
    bool is_python = detection_has(detection, root, "requirements.txt");
    detection->count = first;
    while (rest.len) {
        struct slice command = slice_trim(slice_cut(&rest, '\n')),
                     name = slice_trim(slice_cut(&command, ':'));
        command = slice_trim(command);
        if (name.len == 0 || name.ptr[0] == '#' || command.len == 0)
            continue;
        const char *text = arena_slice_text(detection->arena, command);
        if (is_python) /* the build puts packages into a folder of the release */
            text = arena_printf(detection->arena, "PATH=\"$PWD/.venv/bin:$PATH\" exec %s", text);
        if (slice_eq(name, SLICE("release"))) {
            release = text;
            continue;
        }
        bool is_web = slice_eq(name, SLICE("web"));
        struct detected_service *service =
            detection_add(detection, process_name(detection, name), root, "Procfile");
        if (!service)
            break;
        const char *kept_name = service->name;
        *service = base;
        service->name = kept_name;
        service->from = "Procfile";
        service->type = is_web ? SERVICE_WEB : SERVICE_WORKER;
        service->start = text;
        service->publish = NULL;
        service->pre_deploy = NULL;
        service->health_path = is_web ? base.health_path : NULL;
        has_any = true;
    }
    if (has_any)
        detection->services[first].pre_deploy = release ? release : base.pre_deploy;
    return has_any;
}
