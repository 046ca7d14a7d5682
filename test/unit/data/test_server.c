/* Real PostgreSQL and Redis: prepared, started, probed, used as an application uses them, stopped,
 * started again. PostgreSQL refuses root, so a test that runs as root continues as `nobody`. */
#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <libpq-fe.h>

#include "base/clock.h"
#include "data/engine.h"
#include "data/prepare.h"
#include "os/file.h"
#include "os/random.h"

struct fixture {
    char parent[64], folder[80];
    char password[ENGINE_PASSWORD_LEN + 1], admin_password[ENGINE_PASSWORD_LEN + 1];
    struct arena *arena;
    struct engine_config config;
    struct engine_unit unit;
    pid_t server;
};

static unsigned free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

static void fixture_init(struct fixture *fixture, enum database_type type)
{
    struct error err = {0};
    unsigned version;
    const char *programs;

    memset(fixture, 0, sizeof *fixture);
    (void)snprintf(fixture->parent, sizeof fixture->parent, "/tmp/slipway-data-XXXXXX");
    assert_non_null(mkdtemp(fixture->parent));
    (void)snprintf(fixture->folder, sizeof fixture->folder, "%s/it's db", fixture->parent);
    fixture->arena = arena_new(1 << 20);
    if (engine_find(fixture->arena, type, 0, &version, &programs, &err))
        fail_msg("%s (%s)", err.text, err.hint);
    fixture->config = (struct engine_config){
        .type = type,
        .app = "my-shop",
        .name = "db",
        .version = version,
        .programs = programs,
        .folder = fixture->folder,
        .port = free_port(),
        .password = random_token(fixture->password, ENGINE_PASSWORD_LEN),
        .admin_password = random_token(fixture->admin_password, ENGINE_PASSWORD_LEN),
    };
}

static void server_start(struct fixture *fixture)
{
    const char *arguments[8] = {0}, *environment[8] = {0};
    struct error err = {0};

    assert_int_equal(engine_run_unit(fixture->arena, &fixture->config, &fixture->unit, &err), 0);
    memcpy(arguments, fixture->unit.arguments, fixture->unit.argument_count * sizeof *arguments);
    memcpy(environment, fixture->unit.environment,
           fixture->unit.environment_count * sizeof *environment);
    fixture->server = fork();
    assert_true(fixture->server >= 0);
    if (fixture->server == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)!freopen("/dev/null", "w", stdout);
        (void)!freopen("/dev/null", "w", stderr);
        if (chdir(fixture->unit.directory) == 0)
            (void)execve(arguments[0], (char *const *)(uintptr_t)arguments,
                         (char *const *)(uintptr_t)environment);
        _exit(127);
    }
}

static void server_stop(struct fixture *fixture)
{
    int status;

    assert_int_equal(kill(fixture->server, fixture->unit.stop_signal), 0);
    assert_int_equal(waitpid(fixture->server, &status, 0), fixture->server);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    fixture->server = 0;
}

static void fixture_done(struct fixture *fixture)
{
    if (fixture->server > 0) {
        (void)kill(fixture->server, SIGKILL);
        (void)waitpid(fixture->server, NULL, 0);
    }
    assert_int_equal(directory_remove_tree(fixture->parent, NULL), 0);
    arena_free(fixture->arena);
}

static void prepare(struct fixture *fixture)
{
    struct error err = {0};

    if (prepare_folder(&fixture->config, &err))
        fail_msg("%s (%s)", err.text, err.hint);
}

struct probing {
    struct engine_probe probe;
    struct loop *loop;
    bool is_done;
    int code;
};

static void on_probed(struct engine_probe *probe, int code, const char *text)
{
    struct probing *probing = container_of(probe, struct probing, probe);

    (void)text;
    probing->code = code;
    probing->is_done = true;
}

static int probe_once(const struct engine_config *config)
{
    struct probing probing = {.probe.on_done = on_probed};

    assert_int_equal(loop_new(&probing.loop, NULL), 0);
    engine_probe_start(&probing.probe, probing.loop, config, 2000000);
    assert_false(probing.is_done);
    while (!probing.is_done)
        assert_int_equal(loop_turn(probing.loop, 3000, NULL), 0);
    loop_free(probing.loop);
    return probing.code;
}

static void wait_ready(struct fixture *fixture)
{
    int code = ERR_UNAVAILABLE;

    for (unsigned i = 0; i < 1500 && code == ERR_UNAVAILABLE; i++) {
        code = probe_once(&fixture->config);
        if (code == ERR_UNAVAILABLE)
            (void)usleep(20000);
    }
    assert_int_equal(code, 0);
}

static void copy_url(struct fixture *fixture, char *text, size_t size)
{
    struct buf url = BUF_INIT(512);

    assert_int_equal(engine_property(&fixture->config, "url", &url, NULL), 0);
    (void)snprintf(text, size, "%s", buf_text(&url));
    buf_done(&url);
}

/* The first value of the answer, or the error. */
static void ask(struct fixture *fixture, const char *sql, char *answer, size_t size)
{
    char url[512];
    PGconn *connection;
    PGresult *result;

    copy_url(fixture, url, sizeof url);
    connection = PQconnectdb(url);
    if (PQstatus(connection) != CONNECTION_OK) {
        (void)snprintf(answer, size, "%s", PQerrorMessage(connection));
        PQfinish(connection);
        return;
    }
    result = PQexec(connection, sql);
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0)
        (void)snprintf(answer, size, "%s", PQgetvalue(result, 0, 0));
    else
        (void)snprintf(answer, size, "%s", PQresultErrorMessage(result));
    PQclear(result);
    PQfinish(connection);
}

static void assert_answer(struct fixture *fixture, const char *sql, const char *wanted)
{
    char answer[512] = "";

    ask(fixture, sql, answer, sizeof answer);
    assert_string_equal(answer, wanted);
}

static void assert_private(const char *folder, const char *name)
{
    char path[512];
    struct stat status;

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 077, 0);
}

static void postgresql_serves_an_application_role_and_keeps_its_data(void **state)
{
    struct fixture fixture;
    char answer[512];

    (void)state;
    fixture_init(&fixture, DATABASE_POSTGRES);
    assert_int_equal(probe_once(&fixture.config), ERR_UNAVAILABLE);
    prepare(&fixture);
    assert_private(fixture.folder, "data");
    assert_private(fixture.folder, "data/slipway.conf");
    server_start(&fixture);
    wait_ready(&fixture);
    assert_answer(&fixture, "SELECT current_user || ' ' || current_database()", "my_shop my_shop");
    assert_answer(&fixture, "SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user",
                  "false");
    assert_answer(&fixture, "SHOW data_checksums", "on");
    assert_answer(&fixture, "SHOW listen_addresses", "127.0.0.1");
    assert_answer(
        &fixture,
        "SELECT count(*)::text FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'",
        "ERROR:  permission denied for view pg_hba_file_rules\n");
    assert_answer(
        &fixture,
        "CREATE TABLE things (id int); INSERT INTO things VALUES (7); SELECT max(id) FROM things",
        "7");
    server_stop(&fixture);

    /* The same again, on another port: nothing is made anew. */
    fixture.config.port = free_port();
    prepare(&fixture);
    server_start(&fixture);
    wait_ready(&fixture);
    assert_answer(&fixture, "SELECT max(id) FROM things", "7");

    /* A server that runs is not touched. */
    assert_int_equal(prepare_folder(&fixture.config, NULL), ERR_CONFLICT);

    /* Killed, with its lock file left behind; new passwords. */
    assert_int_equal(kill(fixture.server, SIGKILL), 0);
    assert_int_equal(waitpid(fixture.server, NULL, 0), fixture.server);
    for (unsigned i = 0; i < 500 && probe_once(&fixture.config) != ERR_UNAVAILABLE; i++)
        (void)usleep(10000);
    (void)random_token(fixture.password, ENGINE_PASSWORD_LEN);
    prepare(&fixture);
    server_start(&fixture);
    wait_ready(&fixture);
    assert_answer(&fixture, "SELECT max(id) FROM things", "7");
    (void)random_token(fixture.password, ENGINE_PASSWORD_LEN);
    ask(&fixture, "SELECT 1", answer, sizeof answer);
    assert_non_null(strstr(answer, "password authentication failed"));
    server_stop(&fixture);
    fixture_done(&fixture);
}

static void data_of_another_version_or_engine_is_refused_untouched(void **state)
{
    struct fixture fixture;
    struct error err = {0};
    char path[512];

    (void)state;
    fixture_init(&fixture, DATABASE_POSTGRES);
    (void)snprintf(path, sizeof path, "%s/data", fixture.folder);
    assert_int_equal(directory_make(path, 0700, NULL), 0);
    (void)snprintf(path, sizeof path, "%s/data/PG_VERSION", fixture.folder);
    assert_int_equal(file_write_durable(path, SLICE("13\n"), 0600, NULL), 0);
    assert_int_equal(prepare_folder(&fixture.config, &err), ERR_VERSION);
    assert_non_null(strstr(err.text, "PostgreSQL 13"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(prepare_folder(&fixture.config, &err), ERR_CORRUPT);
    (void)snprintf(path, sizeof path, "%s/slipway-database.json", fixture.folder);
    assert_int_equal(
        file_write_durable(path, SLICE("{\"format\":1,\"type\":\"redis\"}"), 0600, NULL), 0);
    assert_int_equal(prepare_folder(&fixture.config, &err), ERR_VERSION);
    assert_non_null(strstr(err.text, "belongs to redis"));
    assert_int_equal(file_write_durable(path, SLICE("{\"format\":2}"), 0600, NULL), 0);
    assert_int_equal(prepare_folder(&fixture.config, &err), ERR_VERSION);
    fixture_done(&fixture);
}

static void a_preparation_that_was_killed_is_begun_again(void **state)
{
    struct fixture fixture;

    (void)state;
    fixture_init(&fixture, DATABASE_POSTGRES);
    for (unsigned i = 0; i < 4; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            (void)setsid();
            (void)!freopen("/dev/null", "w", stderr);
            _exit(prepare_folder(&fixture.config, NULL) != 0);
        }
        (void)usleep(150000 + i * 250000);
        (void)kill(-child, SIGKILL); /* the keeper ends all of a unit */
        assert_int_equal(waitpid(child, NULL, 0), child);
    }
    prepare(&fixture);
    server_start(&fixture);
    wait_ready(&fixture);
    assert_answer(&fixture, "SELECT current_user", "my_shop");
    server_stop(&fixture);
    fixture_done(&fixture);
}

/* A tiny client: send, and read until `lines` line ends came. */
static void redis_ask(const struct fixture *fixture, const char *commands, unsigned lines,
                      char *answer, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)fixture->config.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[512];
    size_t len = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    (void)snprintf(text, sizeof text, "AUTH %s\r\n%s", fixture->password, commands);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    while (lines > 0 && len < size - 1) {
        ssize_t n = read(fd, answer + len, 1);
        assert_int_equal(n, 1);
        lines -= answer[len++] == '\n';
    }
    answer[len] = '\0';
    (void)close(fd);
}

static void redis_serves_the_application_without_administration_and_keeps_its_data(void **state)
{
    struct fixture fixture;
    char answer[512];

    (void)state;
    fixture_init(&fixture, DATABASE_REDIS);
    fixture.config.max_memory_bytes = 64 << 20;
    fixture.config.eviction = "allkeys-lru";
    assert_int_equal(probe_once(&fixture.config), ERR_UNAVAILABLE);
    prepare(&fixture);
    assert_private(fixture.folder, "redis.conf");
    server_start(&fixture);
    wait_ready(&fixture);
    redis_ask(&fixture, "SET a 7\r\nCONFIG SET maxmemory 1\r\nSHUTDOWN\r\n", 4, answer,
              sizeof answer);
    assert_non_null(strstr(answer, "+OK\r\n+OK\r\n-NOPERM"));
    redis_ask(&fixture, "CONFIG GET maxmemory-policy\r\n", 6, answer, sizeof answer);
    assert_non_null(strstr(answer, "allkeys-lru"));
    server_stop(&fixture);
    fixture.config.port = free_port();
    (void)random_token(fixture.password, ENGINE_PASSWORD_LEN);
    prepare(&fixture);
    server_start(&fixture);
    wait_ready(&fixture);
    redis_ask(&fixture, "GET a\r\n", 3, answer, sizeof answer);
    assert_string_equal(answer, "+OK\r\n$1\r\n7\r\n");
    (void)random_token(fixture.password, ENGINE_PASSWORD_LEN);
    assert_int_equal(probe_once(&fixture.config), ERR_FAILED);
    server_stop(&fixture);
    fixture_done(&fixture);
}

static void become_nobody(void)
{
    const struct passwd *nobody = getpwnam("nobody");

    if (geteuid() != 0 || !nobody)
        return;
    if (setgroups(0, NULL) || setgid(nobody->pw_gid) || setuid(nobody->pw_uid))
        exit(1);
    (void)prctl(PR_SET_DUMPABLE, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(postgresql_serves_an_application_role_and_keeps_its_data),
        cmocka_unit_test(data_of_another_version_or_engine_is_refused_untouched),
        cmocka_unit_test(a_preparation_that_was_killed_is_begun_again),
        cmocka_unit_test(redis_serves_the_application_without_administration_and_keeps_its_data),
    };

    become_nobody();
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
