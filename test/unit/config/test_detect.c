#include "config_test.h"

/* What is detected, which must be a valid manifest of that folder. */
static struct manifest *detected(struct fixture *f)
{
    struct buf yaml = BUF_INIT((size_t)64 * 1024);
    int result = manifest_detect(f->arena, f->directory, &yaml, &f->err);
    if (result != 0)
        print_error("%s\n", f->err.text);
    assert_int_equal(result, 0);
    write_file(f, "slipway.yaml", buf_text(&yaml));
    result = manifest_load(f->arena, f->directory, NULL, &f->manifest, &f->findings, &f->err);
    if (result != 0)
        print_error("%s\n%s", findings_text(f), buf_text(&yaml));
    assert_int_equal(result, 0);
    assert_int_equal(f->findings.count, 0);
    buf_done(&yaml);
    return f->manifest;
}

static void an_express_server_is_a_web_service(void **state)
{
    struct fixture *f = *state;
    write_file(f, "package.json",
               "{\"scripts\": {\"start\": \"node server.js\", \"migrate\": \"node migrate.js\", "
               "\"worker\": \"node worker.js\"},"
               "\"dependencies\": {\"express\": \"^4\", \"pg\": \"^8\", \"ioredis\": \"^5\"}}");
    write_file(f, "package-lock.json", "{}");
    write_file(f, "server.js", "app.get('/health', (q, r) => r.send('ok'))");
    const struct manifest *m = detected(f);
    assert_int_equal(m->service_count, 2);
    assert_string_equal(m->services[0].name, "web");
    assert_string_equal(m->services[0].build, "npm ci");
    assert_string_equal(m->services[0].start, "node server.js");
    assert_string_equal(m->services[0].pre_deploy, "npm run migrate");
    assert_string_equal(m->services[0].health.path, "/health");
    assert_string_equal(m->services[0].environment[0].value, "db.url");
    assert_string_equal(m->services[1].name, "worker");
    assert_int_equal(m->services[1].type, SERVICE_WORKER);
    assert_int_equal(m->database_count, 2);
}

static void a_start_script_with_shell_in_it_goes_through_npm(void **state)
{
    struct fixture *f = *state;
    write_file(
        f, "package.json",
        "{\"scripts\": {\"start\": \"NODE_ENV=production next start\", \"build\": \"next build\"},"
        "\"dependencies\": {\"next\": \"14\", \"react\": \"18\"}}");
    write_file(f, "yarn.lock", "");
    const struct manifest *m = detected(f);
    assert_string_equal(m->services[0].start, "npm start");
    assert_string_equal(m->services[0].build, "yarn install --frozen-lockfile && npm run build");
}

static void a_vite_project_is_a_static_site(void **state)
{
    struct fixture *f = *state;
    write_file(f, "package.json",
               "{\"scripts\": {\"build\": \"vite build\", \"dev\": \"vite\"}, \"devDependencies\": "
               "{\"vite\": \"5\"}}");
    write_file(f, "index.html", "<div id=root></div>");
    const struct manifest *m = detected(f);
    assert_int_equal(m->service_count, 1);
    assert_string_equal(m->services[0].name, "site");
    assert_int_equal(m->services[0].type, SERVICE_STATIC);
    assert_string_equal(m->services[0].publish, "dist");
    assert_true(m->services[0].is_single_page);
    assert_string_equal(m->services[0].build, "npm install && npm run build");
}

static void plain_pages_are_served_as_they_are(void **state)
{
    struct fixture *f = *state;
    write_file(f, "public/index.html", "<h1>hello</h1>");
    const struct manifest *m = detected(f);
    assert_int_equal(m->services[0].type, SERVICE_STATIC);
    assert_string_equal(m->services[0].publish, "public");
    assert_null(m->services[0].build);
}

static void a_procfile_names_processes_and_the_release_step(void **state)
{
    struct fixture *f = *state;
    write_file(f, "Procfile",
               "# comment\nweb: bin/server --port $PORT\nrelease: bin/migrate\nmail_worker: "
               "bin/mail: now\r\n\nbroken\n");
    const struct manifest *m = detected(f);
    assert_int_equal(m->service_count, 2);
    assert_string_equal(m->services[0].start, "bin/server --port $PORT");
    assert_string_equal(m->services[0].pre_deploy, "bin/migrate");
    assert_string_equal(m->services[1].name, "mail-worker");
    assert_int_equal(m->services[1].type, SERVICE_WORKER);
    assert_string_equal(m->services[1].start, "bin/mail: now");
}

static void a_procfile_builds_as_its_runtime_does(void **state)
{
    struct fixture *f = *state;
    write_file(f, "Procfile", "web: gunicorn app:app\n");
    write_file(f, "requirements.txt", "flask==3.0\ngunicorn\npsycopg2-binary>=2.9\n");
    write_file(f, "app.py", "app = Flask(__name__)");
    const struct manifest *m = detected(f);
    assert_string_equal(m->services[0].start,
                        "PATH=\"$PWD/.venv/bin:$PATH\" exec gunicorn app:app");
    assert_string_equal(m->services[0].build,
                        "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt");
    assert_string_equal(m->databases[0].name, "db");
}

static void python_servers_are_told_apart(void **state)
{
    struct fixture *f = *state;
    write_file(f, "requirements.txt", "fastapi\nuvicorn[standard]\n");
    write_file(f, "main.py", "@app.get(\"/healthz\")\n");
    const struct manifest *m = detected(f);
    assert_string_equal(m->services[0].start,
                        ".venv/bin/uvicorn main:app --host 127.0.0.1 --port $PORT");
    assert_string_equal(m->services[0].health.path, "/healthz");
    write_file(f, "requirements.txt", "Flask\n");
    assert_string_equal(detected(f)->services[0].start,
                        ".venv/bin/flask --app main run --host 127.0.0.1 --port $PORT");
    write_file(f, "requirements.txt", "Django\ngunicorn\n");
    write_file(f, "manage.py", "");
    write_file(f, "mysite/wsgi.py", "");
    m = detected(f);
    assert_string_equal(m->services[0].start,
                        ".venv/bin/gunicorn mysite.wsgi --bind 127.0.0.1:$PORT");
    assert_string_equal(m->services[0].pre_deploy, ".venv/bin/python manage.py migrate");
}

static void a_go_module_is_built_from_where_its_main_is(void **state)
{
    struct fixture *f = *state;
    write_file(f, "go.mod", "module x\nrequire github.com/redis/go-redis/v9 v9.0.0\n");
    write_file(f, "cmd/server/main.go", "package main");
    const struct manifest *m = detected(f);
    assert_string_equal(m->services[0].build, "go build -o server ./cmd/server");
    assert_string_equal(m->services[0].start, "./server");
    assert_string_equal(m->databases[0].name, "cache");
    write_file(f, "main.go", "package main");
    assert_string_equal(detected(f)->services[0].build, "go build -o server .");
}

static void an_api_and_a_site_in_two_folders_get_routes(void **state)
{
    struct fixture *f = *state;
    write_file(f, "backend/package.json",
               "{\"main\": \"index.js\", \"dependencies\": {\"fastify\": \"4\"}}");
    write_file(f, "backend/index.js", "");
    write_file(
        f, "frontend/package.json",
        "{\"scripts\": {\"build\": \"vite build\"}, \"devDependencies\": {\"vite\": \"5\"}}");
    const struct manifest *m = detected(f);
    assert_int_equal(m->service_count, 2);
    assert_string_equal(m->services[0].name, "api");
    assert_string_equal(m->services[0].root, "backend");
    assert_string_equal(m->services[0].start, "node index.js");
    assert_int_equal(m->services[1].type, SERVICE_STATIC);
    assert_int_equal(m->route_count, 2);
    assert_string_equal(m->routes[0].path, "/api");
    assert_string_equal(m->routes[1].path, "/");
}

static void nothing_to_recognise_says_what_to_write(void **state)
{
    struct fixture *f = *state;
    struct buf yaml = BUF_INIT((size_t)64 * 1024);
    write_file(f, "readme.txt", "hello");
    write_file(f, "package.json", "{broken");
    assert_int_equal(manifest_detect(f->arena, f->directory, &yaml, &f->err), ERR_NOT_FOUND);
    assert_true(strstr(f->err.text, "tells how to run it") != NULL);
    assert_true(strstr(f->err.hint, "services: {web: {start: ") != NULL);
    buf_done(&yaml);
}

static void a_hostile_package_file_leads_nowhere(void **state)
{
    struct fixture *f = *state;
    write_file(f, "package.json",
               "{\"main\": \"../../etc/passwd\", \"scripts\": {\"start\": \"node \\\"x\\\\n\\\": "
               "y\\n# z\"}}");
    const struct manifest *m = detected(f);
    assert_string_equal(m->services[0].start, "npm start");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_express_server_is_a_web_service),
        TEST(a_start_script_with_shell_in_it_goes_through_npm),
        TEST(a_vite_project_is_a_static_site),
        TEST(plain_pages_are_served_as_they_are),
        TEST(a_procfile_names_processes_and_the_release_step),
        TEST(a_procfile_builds_as_its_runtime_does),
        TEST(python_servers_are_told_apart),
        TEST(a_go_module_is_built_from_where_its_main_is),
        TEST(an_api_and_a_site_in_two_folders_get_routes),
        TEST(nothing_to_recognise_says_what_to_write),
        TEST(a_hostile_package_file_leads_nowhere),
    };
    return cmocka_run_group_tests_name("detect", tests, NULL, NULL);
}
