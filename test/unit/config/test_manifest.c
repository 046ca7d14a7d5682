#include "config_test.h"

#include <signal.h>

/* ---- defaults */

static void the_shortest_manifest_is_whole(void **state)
{
    struct fixture *f = *state;
    const struct manifest *m = parsed(f, "{app: hello, services: {web: {start: node server.js}}}");
    const struct manifest_service *web = &m->services[0];
    assert_string_equal(m->app, "hello");
    assert_int_equal(m->keep_releases, 5);
    assert_int_equal(web->type, SERVICE_WEB);
    assert_string_equal(web->root, ".");
    assert_null(web->build);
    assert_int_equal(web->instances, 1);
    assert_int_equal(web->ready, READY_TCP);
    assert_null(web->health.path);
    assert_int_equal(web->health.interval_ms, 1000);
    assert_int_equal(web->health.timeout_ms, 5000);
    assert_int_equal(web->health.healthy_after, 1);
    assert_int_equal(web->health.unhealthy_after, 3);
    assert_int_equal(web->health.restart_after, 10);
    assert_int_equal(web->health.start_timeout_ms, 60000);
    assert_int_equal(web->stop.signal, SIGTERM);
    assert_int_equal(web->stop.grace_ms, 30000);
    assert_int_equal(web->stop.drain_ms, 30000);
    assert_int_equal(web->stop.websocket_drain_ms, 300000);
    assert_int_equal(web->restart.min_uptime_ms, 10000);
    assert_int_equal(web->restart.backoff_min_ms, 100);
    assert_int_equal(web->restart.backoff_max_ms, 60000);
    assert_int_equal(web->restart.max_restarts, 10);
    assert_int_equal(web->memory_limit_bytes, 0);
    assert_int_equal(web->cpu_limit_millis, 0);
    assert_int_equal(web->deploy.strategy, STRATEGY_ROLLING);
    assert_int_equal(web->deploy.max_surge, 1);
    assert_int_equal(web->deploy.build_timeout_ms, 900000);
    assert_int_equal(web->deploy.pre_deploy_timeout_ms, 600000);
    assert_int_equal(m->route_count, 1);
    assert_string_equal(m->routes[0].host, "");
    assert_string_equal(m->routes[0].path, "/");
    assert_string_equal(m->routes[0].service, "web");
    assert_int_equal(m->routes[0].connect_timeout_ms, 5000);
    assert_int_equal(m->routes[0].first_byte_timeout_ms, 60000);
    assert_int_equal(m->routes[0].idle_timeout_ms, 60000);
    assert_int_equal(m->routes[0].retries, 1);
    assert_int_equal(m->routes[0].body_limit_bytes, 0);
}

static void ready_depends_on_type_and_health(void **state)
{
    struct fixture *f = *state;
    const struct manifest *m = parsed(f, "app: a\n"
                                         "services:\n"
                                         "  one: {start: x, health: {path: /up}}\n"
                                         "  two: {start: x, type: private}\n"
                                         "  three: {start: x, type: worker}\n"
                                         "  four: {start: x, type: private, ready: http}\n"
                                         "  five: {start: x, type: worker, ready: notify}\n");
    assert_int_equal(m->services[0].ready, READY_HTTP);
    assert_int_equal(m->services[1].ready, READY_TCP);
    assert_int_equal(m->services[2].ready, READY_ALIVE);
    assert_int_equal(m->services[3].ready, READY_HTTP);
    assert_string_equal(m->services[3].health.path, "/");
    assert_int_equal(m->services[4].ready, READY_NOTIFY);
}

static void every_value_arrives(void **state)
{
    struct fixture *f = *state;
    const struct manifest *m = parsed(
        f, "app: gloria\n"
           "keepReleases: 7\n"
           "services:\n"
           "  api:\n"
           "    root: ./backend//src/\n"
           "    build: npm ci\n"
           "    preDeploy: |\n      npm run migrate\n      npm run seed\n"
           "    start: node server.js\n"
           "    instances: max\n"
           "    env: {PORTS: 3000, DEBUG: true, EMPTY: \"\", URL: {from: db.url}, KEY: {generate: "
           "true}}\n"
           "    health: {path: /health?full=1, interval: 250ms, timeout: 2s, healthyAfter: 2, "
           "unhealthyAfter: 4,\n"
           "             restartAfter: 20, startTimeout: 1m30s}\n"
           "    ready: tcp\n"
           "    stop: {signal: SIGINT, grace: 0s, drain: 1h, websocketDrain: 0}\n"
           "    restart: {minUptime: 1s, backoff: 1s..5m, maxRestarts: 3}\n"
           "    resources: {cpus: 1.5, memory: 512M}\n"
           "    deploy: {strategy: rolling, maxSurge: 2, buildTimeout: 1h, preDeployTimeout: 5m}\n"
           "  site:\n"
           "    type: static\n"
           "    publish: dist/\n"
           "    singlePage: yes\n"
           "    headers: [{name: X-Frame-Options, value: DENY}, {path: /assets/*, name: "
           "Cache-Control, value: max-age=60}]\n"
           "    redirects: [{from: /old/*, to: /new/*, status: 308}, {from: /x, to: "
           "https://example.org/}]\n"
           "databases:\n"
           "  db: {type: postgres, version: 15, maxMemory: 256M}\n"
           "  cache: {type: redis, maxMemory: 2G, eviction: allkeys-lru}\n"
           "  other: {type: redis}\n"
           "routes:\n"
           "  - {host: API.Example.org, path: /api/v1/, service: api, timeouts: {connect: 1s, "
           "firstByte: 2s, idle: 3s},\n"
           "     retries: 0, maxBody: 10M, tls: off, sticky: off}\n"
           "  - {host: \"*.example.org\", service: site}\n"
           "  - {host: \"*\", service: site}\n");
    const struct manifest_service *api = &m->services[0], *site = &m->services[1];
    assert_int_equal(m->keep_releases, 7);
    assert_string_equal(api->root, "backend/src");
    assert_string_equal(api->pre_deploy, "npm run migrate\nnpm run seed\n");
    assert_int_equal(api->instances, MANIFEST_INSTANCES_CORES);
    assert_int_equal(api->environment_count, 5);
    assert_string_equal(api->environment[0].value, "3000");
    assert_string_equal(api->environment[1].value, "true");
    assert_string_equal(api->environment[2].value, "");
    assert_int_equal(api->environment[3].source, ENVIRONMENT_FROM);
    assert_string_equal(api->environment[3].value, "db.url");
    assert_int_equal(api->environment[4].source, ENVIRONMENT_GENERATE);
    assert_null(api->environment[4].value);
    assert_string_equal(api->health.path, "/health?full=1");
    assert_int_equal(api->health.interval_ms, 250);
    assert_int_equal(api->health.start_timeout_ms, 90000);
    assert_int_equal(api->ready, READY_TCP);
    assert_int_equal(api->stop.signal, SIGINT);
    assert_int_equal(api->stop.grace_ms, 0);
    assert_int_equal(api->stop.drain_ms, 3600000);
    assert_int_equal(api->stop.websocket_drain_ms, 0);
    assert_int_equal(api->restart.backoff_min_ms, 1000);
    assert_int_equal(api->restart.backoff_max_ms, 300000);
    assert_int_equal(api->cpu_limit_millis, 1500);
    assert_int_equal(api->memory_limit_bytes, 512 << 20);
    assert_int_equal(api->deploy.max_surge, 2);
    assert_string_equal(site->publish, "dist");
    assert_true(site->is_single_page);
    assert_string_equal(site->headers[0].path, "/*");
    assert_string_equal(site->headers[1].value, "max-age=60");
    assert_int_equal(site->redirects[0].status, 308);
    assert_int_equal(site->redirects[1].status, 301);
    assert_int_equal(m->databases[0].version, 15);
    assert_null(m->databases[0].eviction);
    assert_string_equal(m->databases[1].eviction, "allkeys-lru");
    assert_string_equal(m->databases[2].eviction, "noeviction");
    assert_string_equal(m->routes[0].host, "api.example.org");
    assert_string_equal(m->routes[0].path, "/api/v1");
    assert_int_equal(m->routes[0].idle_timeout_ms, 3000);
    assert_int_equal(m->routes[0].retries, 0);
    assert_int_equal(m->routes[0].body_limit_bytes, 10 << 20);
    assert_string_equal(m->routes[1].host, "*.example.org");
    assert_string_equal(m->routes[2].host, "");
}

static void empty_maps_are_as_absent_ones(void **state)
{
    parsed(*state, WEB("    env:\n    health:\n") "databases:\nroutes:\n");
}

static void extension_keys_are_ignored(void **state)
{
    parsed(*state, WEB("    x-owner: anna\n") "x-team: [a, {b: c}]\n");
}

/* ---- mistakes */

static void unknown_keys_come_with_a_suggestion(void **state)
{
    struct fixture *f = *state;
    expect(f, WEB("    instnaces: 3\n    health: {pathh: /x}\n") "servces: {}\n",
           "5:5 services.web: unknown key 'instnaces' (did you mean 'instances'?)\n"
           "6:14 services.web.health: unknown key 'pathh' (did you mean 'path'?)\n"
           "7:1 : unknown key 'servces' (did you mean 'services'?)\n");
    assert_string_equal(f->err.text,
                        "slipway.yaml:5:5: services.web: unknown key 'instnaces' (and 2 more)");
    assert_string_equal(f->err.hint, "did you mean 'instances'?");
    expect(f, WEB("    zebra: 3\n"), "5:5 services.web: unknown key 'zebra'\n");
    assert_string_equal(f->err.text, "slipway.yaml:5:5: services.web: unknown key 'zebra'");
    expect(f, "app: a\nservices: {web: [start]}\n",
           "2:17 services.web: expected a map of keys, got a list\n");
}

static void unknown_words_come_with_a_suggestion(void **state)
{
    expect(*state,
           "app: a\nservices:\n  web: {type: statik, start: x, ready: htpp}\ndatabases: {db: "
           "{type: postgress}}\n",
           "3:15 services.web.type: expected one of web, private, worker, cron or static, got "
           "'statik' (did you mean "
           "'static'?)\n"
           "3:40 services.web.ready: expected one of http, tcp, notify, message or alive, got "
           "'htpp' (did you mean 'http'?)\n"
           "4:24 databases.db.type: expected one of postgres, redis, mongodb, dgraph or sqlite, "
           "got 'postgress' (did you "
           "mean 'postgres'?)\n");
}

static void wrong_types_say_what_is_expected(void **state)
{
    expect(
        *state,
        WEB("    stop: {grace: soon, drain: 30, signal: TERM}\n"
            "    instances: 501\n"
            "    resources: {memory: 512, cpus: two}\n"
            "    health: /up\n"
            "    build: [make]\n"
            "    restart: {backoff: 5s, maxRestarts: -1}\n"
            "    deploy: {maxSurge: 1.5, buildTimeout: 2d}\n"
            "    env: [A]\n"),
        "5:19 services.web.stop.grace: expected a duration such as 30s, got 'soon'\n"
        "5:32 services.web.stop.drain: expected a duration such as 30s, got '30' (did you mean "
        "'30s'?)\n"
        "5:44 services.web.stop.signal: expected a signal such as SIGTERM, got 'TERM' (did you "
        "mean 'SIGTERM'?)\n"
        "6:16 services.web.instances: expected a whole number from 1 to 500, or max, got '501'\n"
        "7:25 services.web.resources.memory: expected a size such as 512M, got '512' (did you mean "
        "'512M'?)\n"
        "7:36 services.web.resources.cpus: expected a number of cores such as 0.5, got 'two'\n"
        "8:13 services.web.health: expected a map of keys, got '/up'\n"
        "9:12 services.web.build: expected a shell command such as npm ci && npm run build, got a "
        "list\n"
        "10:24 services.web.restart.backoff: expected two durations such as 100ms..60s, got '5s'\n"
        "10:41 services.web.restart.maxRestarts: expected a whole number from 0 to 100000, got "
        "'-1'\n"
        "11:24 services.web.deploy.maxSurge: expected a whole number from 1 to 100, got '1.5'\n"
        "11:43 services.web.deploy.buildTimeout: expected a duration from 1s to 1d, got '2d'\n"
        "12:10 services.web.env: expected a map of keys, got a list\n");
}

static void what_is_missing_is_told(void **state)
{
    struct fixture *f = *state;
    expect(f, "services: {}\n", "1:1 : 'app' is missing\n1:1 services: there is no service\n");
    expect(f, "app: a\n", "1:1 : 'services' is missing\n");
    expect(f, "app: a\nservices:\n  web:\n",
           "3:3 services.web: 'start' is missing (write the command that starts it, such as start: "
           "node server.js)\n");
    expect(
        f, "app: a\nservices:\n  web: {publish: dist}\n",
        "3:3 services.web: 'start' is missing (write 'type: static' for a site without a process)\n"
        "3:9 services.web.publish: 'publish' is for static services, this one is of type web "
        "(write 'type: static', or remove "
        "it)\n");
    expect(f, WEB("") "databases: {db: {}}\nroutes: [{path: /}]\n",
           "? 3:3 services.web: no route leads to 'web' (add a route, or use type private)\n"
           "5:13 databases.db: 'type' is missing\n"
           "6:10 routes[0]: 'service' is missing\n");
}

static void names_have_rules(void **state)
{
    struct fixture *f = *state;
    expect(f, "app: My App\nservices: {Web_1: {start: x}, -: {start: x, type: worker}}\n",
           "1:6 app: 'My App' is not a valid name: use a-z, 0-9 and '-', beginning with a letter, "
           "at most 48 characters (did "
           "you mean 'my-app'?)\n"
           "2:12 services.Web_1: 'Web_1' is not a valid name: use a-z, 0-9 and '-', beginning with "
           "a letter, at most 48 "
           "characters (did you mean 'web-1'?)\n"
           "2:31 services.-: '-' is not a valid name: use a-z, 0-9 and '-', beginning with a "
           "letter, at most 48 characters\n");
    expect(f, WEB("    env: {1A: x, SLIPWAY_X: y, PORT: 80, \"A=B\": c}\n"),
           "5:11 services.web.env.1A: '1A' is not a valid name for a variable: use A-Z, a-z, 0-9 "
           "and '_', not beginning with "
           "a digit\n"
           "5:18 services.web.env.SLIPWAY_X: names that begin with SLIPWAY_ are set by slipway "
           "itself\n"
           "5:32 services.web.env.PORT: PORT is set by slipway, another one for each instance "
           "(remove it and listen on "
           "$PORT)\n"
           "5:42 services.web.env.A=B: 'A=B' is not a valid name for a variable: use A-Z, a-z, 0-9 "
           "and '_', not beginning "
           "with a digit\n");
}

static void variables_have_rules(void **state)
{
    expect(*state,
           WEB("    env:\n"
               "      A:\n"
               "      B: [x]\n"
               "      C: {from: database.url}\n"
               "      D: {from: db.urll}\n"
               "      E: {from: db}\n"
               "      F: {generate: false}\n"
               "      G: {from: db.url, generate: true}\n"
               "      H: {form: db.url}\n"
               "      I: {}\n") "databases: {db: {type: postgres}}\n",
           "6:9 services.web.env.A: expected a text, got nothing (write \"\" for an empty text)\n"
           "7:10 services.web.env.B: expected a text, got a list\n"
           "8:17 services.web.env.C: there is no database 'database' (there is only 'db')\n"
           "9:17 services.web.env.D: a database has no 'urll': it has url, host, port, user, "
           "password and database (did you "
           "mean 'db.url'?)\n"
           "10:17 services.web.env.E.from: expected a property of a database such as db.url, got "
           "'db'\n"
           "11:21 services.web.env.F: 'generate' can only be true (remove the variable, or give it "
           "a text)\n"
           "12:10 services.web.env.G: expected a text, {from: db.url} or {generate: true}\n"
           "13:11 services.web.env.H: unknown key 'form' (did you mean 'from'?)\n"
           "14:10 services.web.env.I: expected a text, {from: db.url} or {generate: true}\n");
}

static void services_have_keys_of_their_type(void **state)
{
    expect(*state,
           "app: a\n"
           "services:\n"
           "  site: {type: static, start: x, preDeploy: y, instances: 2, health: {path: /}}\n"
           "  jobs: {type: worker, start: x, singlePage: true, health: {path: /up}}\n"
           "  more: {type: worker, start: x, ready: tcp}\n",
           "3:24 services.site.start: a static service has no process, so 'start' has no effect "
           "(remove it, or change the "
           "type)\n"
           "3:34 services.site.preDeploy: a static service has no process, so 'preDeploy' has no "
           "effect (remove it, or change "
           "the type)\n"
           "3:48 services.site.instances: a static service has no process, so 'instances' has no "
           "effect (remove it, or change "
           "the type)\n"
           "3:62 services.site.health: a static service has no process, so 'health' has no effect "
           "(remove it, or change the "
           "type)\n"
           "4:34 services.jobs.singlePage: 'singlePage' is for static services, this one is of "
           "type worker (write 'type: "
           "static', or remove it)\n"
           "4:61 services.jobs.health.path: a service of type worker has no port, so nothing "
           "answers there (use 'ready: "
           "notify' or 'ready: alive')\n"
           "5:41 services.more.ready: a service of type worker has no port, so it cannot be ready "
           "by tcp (use notify or "
           "alive)\n");
}

static void routes_are_checked_against_services(void **state)
{
    expect(*state,
           "app: a\n"
           "services: {api: {start: x}, jobs: {type: worker, start: x}}\n"
           "routes:\n"
           "  - {path: /a, service: apo}\n"
           "  - {path: /b, service: jobs}\n"
           "  - {path: /c, service: api}\n"
           "  - {path: /c/, service: api}\n"
           "  - {host: x.org, path: /c, service: api}\n",
           "4:25 routes[0].service: there is no service 'apo' (did you mean 'api'?)\n"
           "5:25 routes[1].service: service 'jobs' is of type worker and takes no requests from "
           "outside (a route leads to a "
           "service of type web or static)\n"
           "7:5 routes[3]: the host and path are those of routes[2] in line 6 already\n");
}

static void several_services_need_routes(void **state)
{
    struct fixture *f = *state;
    expect(f, "app: a\nservices:\n  api: {start: x}\n  site: {type: static}\n",
           "4:3 routes: 2 services take requests, so 'routes' must say which gets what (write for "
           "example: routes: [{path: "
           "/api, service: api}, {path: /, service: site}])\n");
    assert_int_equal(parsed(f, "app: a\nservices: {jobs: {type: worker, start: x}}\n")->route_count,
                     0);
    expect(f, "app: a\nservices: {one: {start: x}, two: {start: x}}\nroutes: [{service: one}]\n",
           "? 2:29 services.two: no route leads to 'two' (add a route, or use type private)\n");
}

static void paths_and_hosts_are_checked(void **state)
{
    expect(
        *state,
        WEB("    root: ../up\n    health: {path: up}\n") "routes:\n"
                                                         "  - {host: \"http://a.org\", path: /a, "
                                                         "service: web}\n"
                                                         "  - {host: a.org/x, path: /a, service: "
                                                         "web}\n"
                                                         "  - {host: a.org:80, path: b, service: "
                                                         "web}\n"
                                                         "  - {host: \"a.*.org\", path: \"/b c\", "
                                                         "service: web}\n"
                                                         "  - {host: -a.org, path: /../x, service: "
                                                         "web}\n"
                                                         "  - {host: \"*.\", path: /*, service: "
                                                         "web}\n",
        "5:11 services.web.root: '../up' leaves the folder of the manifest: write a path below it\n"
        "6:20 services.web.health.path: 'up' does not begin with '/'\n"
        "8:12 routes[0].host: 'http://a.org' is a URL: write the host name only\n"
        "9:12 routes[1].host: 'a.org/x' holds a path: write it as 'path'\n"
        "10:12 routes[2].host: 'a.org:80' holds a port: write the host name only\n"
        "10:28 routes[2].path: 'b' does not begin with '/'\n"
        "11:12 routes[3].host: 'a.*.org' has '*' elsewhere than for the whole first label\n"
        "11:29 routes[3].path: '/b c' holds a character that must be percent-encoded\n"
        "12:12 routes[4].host: '-a.org' is not a valid host name\n"
        "12:26 routes[4].path: '/../x' holds an empty segment, '.' or '..'\n"
        "13:12 routes[5].host: '*.' is not a valid host name\n"
        "13:24 routes[5].path: '/*' holds '*', which is not known here\n");
}

static void headers_and_redirects_cannot_smuggle(void **state)
{
    expect(*state,
           "app: a\n"
           "services:\n"
           "  site:\n"
           "    type: static\n"
           "    headers:\n"
           "      - {name: \"X A\", value: b}\n"
           "      - {name: X-A, value: \"b\\r\\nSet-Cookie: c\"}\n"
           "      - {name: content-length, value: 5}\n"
           "    redirects:\n"
           "      - {from: /a, to: \"/b\\r\\nX: y\"}\n"
           "      - {from: /a*b, to: javascript:alert}\n"
           "      - {from: /a, to: /b, status: 404}\n",
           "6:16 services.site.headers[0].name: 'X A' is not a valid header name\n"
           "7:28 services.site.headers[1].value: 'b  Set-Cookie: c' holds a line break or another "
           "control character\n"
           "8:16 services.site.headers[2].name: 'content-length' is a header that the edge itself "
           "sets\n"
           "10:24 services.site.redirects[0].to: '/b  X: y' holds a character that must be "
           "percent-encoded\n"
           "11:16 services.site.redirects[1].from: '/a*b' holds '*' before its end\n"
           "11:26 services.site.redirects[1].to: 'javascript:alert' begins neither with '/' nor "
           "with 'https://'\n"
           "12:36 services.site.redirects[2].status: expected one of 200, 301, 302, 303, 307 or "
           "308, got '404'\n");
}

static void a_name_belongs_to_one(void **state)
{
    expect(*state, "app: a\nservices: {db: {start: x}}\ndatabases: {db: {type: redis}}\n",
           "2:12 services.db: the name 'db' is used by a service and by a database\n");
}

/* ---- later features */

static void later_features_are_refused_not_ignored(void **state)
{
    struct fixture *f = *state;
    expect(
        f,
        "app: gloria\n"
        "services:\n"
        "  api:\n"
        "    start: node dist/main.js\n"
        "    scaling: {min: 3, max: 50, targetCPUPercent: 70, targetMemoryPercent: 80, "
        "targetRequestsPerSecond: 200,\n"
        "              upDelay: 2m, downDelay: 10m, schedule: [{cron: \"0 8 * * 1-5\", min: 6}]}\n"
        "    env: {JWT: {secret: /gloria/production/jwt_secret}, OTHER: {from: nightly.url}}\n"
        "    ready: message\n"
        "    deploy: {strategy: canary, maxSurge: 1, bake: 2m, canary: {steps: [5, 25, 50], every: "
        "1m},\n"
        "             rollbackOn: {errorRatePercent: 1, p95: 500ms, restarts: 1}}\n"
        "    disk: {name: uploads, mountPath: uploads, size: 10G}\n"
        "  nightly: {type: cron, schedule: \"0 2 * * *\", start: node jobs/report.js, overlap: "
        "forbid}\n"
        "databases:\n"
        "  db: {type: postgres, replicas: 1, backup: {every: 6h, pointInTime: 72h, keep: {daily: "
        "30, monthly: 12}, to: "
        "[s3-main]}}\n"
        "  graph: {type: dgraph}\n"
        "routes:\n"
        "  - {host: api.gloria.org, service: api, tls: acme, rateLimit: {rate: 10/s, burst: 20, "
        "key: ip},\n"
        "     cors: {origins: [https://gloria.org]}, sticky: cookie}\n"
        "securityHeaders: strict\n"
        "alerts:\n"
        "  - {name: high-error-rate, expr: error_rate(api) > 0.1%, for: 15m, severity: warning, "
        "notify: [slack], runbook: "
        "docs/errors.md}\n",
        "! 5:5 services.api.scaling: scaling: not supported yet in this version\n"
        "! 7:17 services.api.env.JWT.secret: secret: not supported yet in this version\n"
        "! 7:71 services.api.env.OTHER: from a service ('nightly.url'): not supported yet in this "
        "version\n"
        "! 8:12 services.api.ready: ready: message: not supported yet in this version\n"
        "! 9:24 services.api.deploy.strategy: strategy: canary: not supported yet in this version\n"
        "! 9:45 services.api.deploy.bake: bake: not supported yet in this version\n"
        "! 9:55 services.api.deploy.canary: canary: not supported yet in this version\n"
        "! 10:14 services.api.deploy.rollbackOn: rollbackOn: not supported yet in this version\n"
        "! 11:5 services.api.disk: disk: not supported yet in this version\n"
        "! 12:19 services.nightly.type: type: cron: not supported yet in this version\n"
        "! 12:25 services.nightly.schedule: schedule: not supported yet in this version\n"
        "! 12:85 services.nightly.overlap: overlap: forbid: not supported yet in this version\n"
        "! 14:24 databases.db.replicas: replicas: not supported yet in this version\n"
        "! 14:37 databases.db.backup: backup: not supported yet in this version\n"
        "! 15:17 databases.graph.type: type: dgraph: not supported yet in this version\n"
        "! 17:53 routes[0].rateLimit: rateLimit: not supported yet in this version\n"
        "! 18:6 routes[0].cors: cors: not supported yet in this version\n"
        "! 18:53 routes[0].sticky: sticky: cookie: not supported yet in this version\n"
        "! 19:18 securityHeaders: securityHeaders: strict: not supported yet in this version\n"
        "! 20:1 alerts: alerts: not supported yet in this version\n");
    assert_int_equal(f->findings.error_count, 20);
}

static void later_features_are_checked_all_the_same(void **state)
{
    expect(*state, WEB("    scaling: {min: few, maxx: 5, upDelay: 3}\n"),
           "! 5:5 services.web.scaling: scaling: not supported yet in this version\n"
           "5:20 services.web.scaling.min: expected a whole number, got 'few'\n"
           "5:25 services.web.scaling: unknown key 'maxx' (did you mean 'max'?)\n"
           "5:43 services.web.scaling.upDelay: expected a duration such as 2m, got '3' (did you "
           "mean '3s'?)\n");
}

/* ---- folders */

static int load(struct fixture *f, const char *environment)
{
    f->findings = (struct manifest_findings){0};
    return manifest_load(f->arena, f->directory, environment, &f->manifest, &f->findings, &f->err);
}

static void a_folder_is_loaded_with_its_overlay(void **state)
{
    struct fixture *f = *state;
    write_file(f, "slipway.yaml", WEB("    root: backend\n"));
    write_file(f, "slipway.staging.yaml", "services: {web: {instances: 4}}\n");
    write_file(f, "backend/server.js", "");
    assert_int_equal(load(f, NULL), 0);
    assert_int_equal(f->manifest->services[0].instances, 1);
    assert_int_equal(load(f, "staging"), 0);
    assert_int_equal(f->manifest->services[0].instances, 4);
    assert_int_equal(load(f, "production"), 0); /* a usual name needs no file */
    assert_int_equal(load(f, "stagging"), ERR_NOT_FOUND);
    assert_string_equal(f->err.text,
                        "there is no environment 'stagging': slipway.stagging.yaml does not exist");
    assert_string_equal(f->err.hint, "did you mean 'staging'?");
    assert_int_equal(load(f, "../x"), ERR_INVALID);
    assert_string_equal(f->err.text, "'../x' is not a valid name for an environment");
}

static void folders_that_are_named_must_exist(void **state)
{
    struct fixture *f = *state;
    write_file(f, "slipway.yaml",
               "app: a\nservices:\n  api: {root: bakend, start: x}\n  site: {type: static, "
               "publish: dist}\n"
               "  made: {type: static, build: make, publish: dist}\n"
               "routes: [{service: api}, {path: /s, service: site}, {path: /m, service: made}]\n");
    assert_int_equal(load(f, NULL), ERR_INVALID);
    assert_string_equal(findings_text(f), "3:15 services.api.root: there is no folder 'bakend'\n"
                                          "4:33 services.site.publish: there is no folder 'dist', "
                                          "and nothing builds it (give the command that "
                                          "makes it as 'build')\n");
}

static void what_cannot_be_loaded_is_told(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, NULL), ERR_NOT_FOUND);
    assert_true(strstr(f->err.text, "nothing in '") == f->err.text);
    write_file(f, "slipway.yml", WEB(""));
    assert_int_equal(load(f, NULL), ERR_NOT_FOUND);
    assert_string_equal(f->err.hint, "rename it to slipway.yaml");
    assert_int_equal(
        manifest_load(f->arena, path_in(f, "none"), NULL, &f->manifest, &f->findings, &f->err),
        ERR_NOT_FOUND);
    assert_true(strstr(f->err.text, "there is no folder '") == f->err.text);
    struct buf large = BUF_INIT((size_t)4 * 1024 * 1024);
    while (large.len < (size_t)2 * 1024 * 1024)
        buf_append_text(&large, "# filling the file with words\n");
    write_file(f, "slipway.yaml", buf_text(&large));
    buf_done(&large);
    assert_int_equal(load(f, NULL), ERR_INVALID);
    assert_string_equal(f->err.text, "slipway.yaml: the file is larger than 1 MB");
}

static void a_folder_without_a_manifest_is_looked_at(void **state)
{
    struct fixture *f = *state;
    write_file(f, "index.html", "<h1>hello</h1>");
    assert_int_equal(load(f, NULL), 0);
    assert_int_equal(f->manifest->services[0].type, SERVICE_STATIC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_shortest_manifest_is_whole),
        TEST(ready_depends_on_type_and_health),
        TEST(every_value_arrives),
        TEST(empty_maps_are_as_absent_ones),
        TEST(extension_keys_are_ignored),
        TEST(unknown_keys_come_with_a_suggestion),
        TEST(unknown_words_come_with_a_suggestion),
        TEST(wrong_types_say_what_is_expected),
        TEST(what_is_missing_is_told),
        TEST(names_have_rules),
        TEST(variables_have_rules),
        TEST(services_have_keys_of_their_type),
        TEST(routes_are_checked_against_services),
        TEST(several_services_need_routes),
        TEST(paths_and_hosts_are_checked),
        TEST(headers_and_redirects_cannot_smuggle),
        TEST(a_name_belongs_to_one),
        TEST(later_features_are_refused_not_ignored),
        TEST(later_features_are_checked_all_the_same),
        TEST(a_folder_is_loaded_with_its_overlay),
        TEST(folders_that_are_named_must_exist),
        TEST(what_cannot_be_loaded_is_told),
        TEST(a_folder_without_a_manifest_is_looked_at),
    };
    return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
