/* postgres.c - PostgreSQL as a unit.
 *
 * A new data folder is made whole beside its place and then renamed: initdb, configuration, the
 * application's role and database (by single-user mode, before any server ever listens). So a data
 * folder that exists is complete, and a killed preparation leaves nothing to repair. Checksums are
 * always on; every connection needs a password (SCRAM); the locale is C.UTF-8, which a new C
 * library does not change under existing indexes.
 */
#include <dirent.h>
#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/keeper_protocol.h"
#include "data/engine_private.h"
#include "data/run_private.h"
#include "os/file.h"

#define PROGRAMS_ROOT    "/usr/lib/postgresql"
#define VERSION_MIN      13u /* max_slot_wal_keep_size */
#define INITDB_SECONDS   120u
#define SINGLE_SECONDS   280u /* crash recovery may come first */
#define PROTOCOL_VERSION 196608u
#define SQL_MAX          8192u
#define CONF_MAX         (64u << 10)
#define SOCKET_NAME_LEN  16u /* "/.s.PGSQL.65535" */

/* ---- programs */

static bool has_postgres(const char *root, unsigned version)
{
    char path[256];

    (void)snprintf(path, sizeof path, "%s/%u/bin/postgres", root, version);
    return access(path, X_OK) == 0;
}

static unsigned newest_version(void)
{
    DIR *directory = opendir(PROGRAMS_ROOT);
    struct dirent *entry;
    unsigned newest = 0;

    while (directory && (entry = readdir(directory))) {
        uint64_t version;
        if (!slice_to_u64(slice_from(entry->d_name), &version) && version >= VERSION_MIN &&
            version < 1000 && version > newest && has_postgres(PROGRAMS_ROOT, (unsigned)version))
            newest = (unsigned)version;
    }
    if (directory)
        (void)closedir(directory);
    return newest;
}

static int find(struct arena *arena, unsigned version, unsigned *ret_version,
                const char **ret_programs, struct error *err)
{
    unsigned newest = newest_version();

    if (version == 0)
        version = newest;
    if (version != 0 && version < VERSION_MIN) {
        (void)error_set(err, ERR_UNSUPPORTED, "PostgreSQL %u is too old", version);
        return error_hint(err, "use version %u or newer", VERSION_MIN);
    }
    if (version == 0 || !has_postgres(PROGRAMS_ROOT, version)) {
        if (version == 0)
            (void)error_set(err, ERR_NOT_FOUND, "PostgreSQL is not installed");
        else
            (void)error_set(err, ERR_NOT_FOUND, "PostgreSQL %u is not installed", version);
        if (newest != 0)
            return error_hint(err,
                              "apt-get install postgresql-%u, or use version %u, which is there",
                              version, newest);
        return error_hint(err, "apt-get install postgresql-%u", version ? version : 15);
    }
    *ret_version = version;
    *ret_programs = arena_printf(arena, PROGRAMS_ROOT "/%u/bin", version);
    return 0;
}

/* ---- names: identifiers that PostgreSQL takes without surprise */

static const char *role(const struct engine_config *config, char buffer[ENGINE_NAME_SIZE])
{
    static const char *const reserved[] = {"postgres",  "public",    "none",
                                           "template0", "template1", ENGINE_ADMIN};
    const char *prefix = strncmp(config->app, "pg-", 3) == 0 ? "app_" : "";

    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (strcmp(config->app, reserved[i]) == 0)
            prefix = "app_";
    (void)snprintf(buffer, ENGINE_NAME_SIZE, "%s%s", prefix, config->app);
    for (char *at = buffer; *at; at++)
        if (*at == '-')
            *at = '_';
    return buffer;
}

/* ---- configuration */

static void append_quoted(struct buf *buf, const char *text)
{
    buf_append_byte(buf, '\'');
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\')
            buf_append_byte(buf, *text);
        buf_append_byte(buf, *text);
    }
    buf_append_byte(buf, '\'');
}

static uint64_t megabytes_clamped(uint64_t bytes, uint64_t low, uint64_t high)
{
    uint64_t megabytes = bytes >> 20;

    return megabytes < low ? low : megabytes > high ? high : megabytes;
}

static void append_settings(const struct engine_config *config, struct buf *buf)
{
    uint64_t memory = config->max_memory_bytes ? config->max_memory_bytes : UINT64_C(128) << 20;
    char run[ENGINE_FOLDER_MAX + 8];

    (void)snprintf(run, sizeof run, "%s/run", config->folder);
    buf_append_text(
        buf, "# Written by slipway at each start; changes are lost. Use ALTER SYSTEM instead.\n"
             "listen_addresses = '127.0.0.1'\n");
    buf_printf(buf, "port = %u\n", config->port);
    buf_append_text(buf, "unix_socket_directories = ");
    /* A path that is too long for a socket address would keep the server from starting. */
    append_quoted(buf, strlen(run) + SOCKET_NAME_LEN < sizeof(((struct sockaddr_un *)0)->sun_path)
                           ? run
                           : "");
    buf_append_text(buf, "\nunix_socket_permissions = 0700\n"
                         "password_encryption = 'scram-sha-256'\n"
                         "max_connections = 100\n");
    buf_printf(buf, "shared_buffers = %lluMB\neffective_cache_size = %lluMB\n",
               (unsigned long long)megabytes_clamped(memory / 4, 16, 16384),
               (unsigned long long)megabytes_clamped(memory * 3 / 4, 64, 65536));
    buf_append_text(
        buf,
        "wal_level = replica\n" /* archiving and replicas can be added without a new data folder */
        "max_wal_senders = 10\n"
        "max_wal_size = 512MB\n"
        "min_wal_size = 32MB\n"
        "max_slot_wal_keep_size = 8GB\n" /* an abandoned slot must not fill the disk */
        "wal_compression = on\n"
        "log_destination = 'stderr'\n"
        "logging_collector = off\n"
        "log_line_prefix = '[%p] %q%u@%d '\n"
        "log_timezone = 'UTC'\n"
        "timezone = 'UTC'\n"
        "log_checkpoints = off\n");
}

static const char hba[] = "# Written by slipway at each start; changes are lost.\n"
                          "local all all scram-sha-256\n"
                          "host all all 127.0.0.1/32 scram-sha-256\n"
                          "local replication " ENGINE_ADMIN " scram-sha-256\n"
                          "host replication " ENGINE_ADMIN " 127.0.0.1/32 scram-sha-256\n";

static int include_settings(const char *data, struct error *err)
{
    static const char line[] = "include_if_exists = 'slipway.conf'\n";
    CLEANUP(buf_done) struct buf content = BUF_INIT(CONF_MAX);
    char path[RUN_PATH_SIZE];
    int code;

    (void)snprintf(path, sizeof path, "%s/postgresql.conf", data);
    code = file_read(path, CONF_MAX, &content, err);
    if (code || slice_find(buf_slice(&content), slice_from(line)) >= 0)
        return code;
    buf_append_byte(&content, '\n');
    buf_append_text(&content, line);
    return file_write_durable(path, buf_slice(&content), 0600, err);
}

static int write_settings(const struct engine_config *config, const char *data, struct error *err)
{
    CLEANUP(buf_done) struct buf content = BUF_INIT(CONF_MAX);
    char path[RUN_PATH_SIZE];
    int code;

    append_settings(config, &content);
    (void)snprintf(path, sizeof path, "%s/slipway.conf", data);
    code = file_write_durable(path, buf_slice(&content), 0600, err);
    if (!code)
        code = include_settings(data, err);
    if (code)
        return code;
    (void)snprintf(path, sizeof path, "%s/pg_hba.conf", data);
    return file_write_durable(path, slice_from(hba), 0600, err);
}

/* ---- the data folder */

static int run_initdb(const struct engine_config *config, const char *data, struct error *err)
{
    char program[RUN_PATH_SIZE];
    char password[ENGINE_PASSWORD_LEN + 2];
    const char *arguments[] = {program,
                               "-D",
                               data,
                               "-U",
                               ENGINE_ADMIN,
                               "--data-checksums",
                               "--encoding=UTF8",
                               "--locale=C.UTF-8",
                               "--auth-local=scram-sha-256",
                               "--auth-host=scram-sha-256",
                               "--pwfile=/dev/stdin",
                               "--no-instructions",
                               NULL};
    struct run run = {.what = "initdb",
                      .arguments = arguments,
                      .config = config,
                      .timeout_seconds = INITDB_SECONDS};
    int code;

    (void)snprintf(program, sizeof program, "%s/initdb", config->programs);
    (void)snprintf(password, sizeof password, "%s\n", config->admin_password);
    run.input = slice_from(password);
    code = run_program(&run, err);
    explicit_bzero(password, sizeof password);
    return code;
}

/* Statements, one a line, by the server program itself without a server. No statement may reach a
 * log: they hold passwords. */
static int run_single(const struct engine_config *config, const char *data, struct slice sql,
                      struct error *err)
{
    char program[RUN_PATH_SIZE];
    const char *arguments[] = {program,    "--single",
                               "-D",       data,
                               "-c",       "exit_on_error=on",
                               "-c",       "log_min_error_statement=panic",
                               "-c",       "log_statement=none",
                               "-c",       "log_min_duration_statement=-1",
                               "-c",       "unix_socket_directories=",
                               "postgres", NULL};
    struct run run = {.what = "postgres --single",
                      .arguments = arguments,
                      .config = config,
                      .input = sql,
                      .timeout_seconds = SINGLE_SECONDS};

    (void)snprintf(program, sizeof program, "%s/postgres", config->programs);
    return run_program(&run, err);
}

static void append_role(struct buf *sql, const char *name, const char *attributes,
                        const char *password)
{
    buf_printf(sql,
               "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '%s') THEN CREATE "
               "ROLE \"%s\"; "
               "END IF; END $$\n",
               name, name);
    buf_printf(sql, "ALTER ROLE \"%s\" WITH LOGIN %s PASSWORD '%s'\n", name, attributes, password);
}

/* Names and passwords went through engine_check: nothing in them needs quoting beyond this. */
static int set_up_roles(const struct engine_config *config, const char *data, bool is_new,
                        struct error *err)
{
    CLEANUP(buf_done) struct buf sql = BUF_INIT(SQL_MAX);
    char name[ENGINE_NAME_SIZE];
    int code;

    role(config, name);
    buf_append_text(&sql, "SET password_encryption = 'scram-sha-256'\n");
    append_role(&sql, ENGINE_ADMIN, "SUPERUSER", config->admin_password);
    append_role(&sql, name, "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS",
                config->password);
    if (is_new)
        buf_printf(&sql, "CREATE DATABASE \"%s\" OWNER \"%s\"\n", name, name);
    code = run_single(config, data, buf_slice(&sql), err);
    if (sql.ptr)
        explicit_bzero(sql.ptr, sql.len);
    return code;
}

static int make_new(const struct engine_config *config, const char *data, struct error *err)
{
    char fresh[RUN_PATH_SIZE];
    int code;

    (void)snprintf(fresh, sizeof fresh, "%s.new", data);
    code =
        directory_remove_tree(fresh, err); /* of a preparation that was killed: it never had data */
    if (!code)
        code = run_initdb(config, fresh, err);
    if (!code)
        code = write_settings(config, fresh, err);
    if (!code)
        code = set_up_roles(config, fresh, true, err);
    if (code)
        return code;
    if (rename(fresh, data) < 0)
        return error_errno(err, errno, "unable to rename '%s'", fresh);
    return directory_fsync(config->folder, err);
}

static int check_version(const struct engine_config *config, const char *data, struct error *err)
{
    CLEANUP(buf_done) struct buf content = BUF_INIT(64);
    char path[RUN_PATH_SIZE];
    uint64_t version;
    int code;

    (void)snprintf(path, sizeof path, "%s/PG_VERSION", data);
    code = file_read(path, 64, &content, err);
    if (code || slice_to_u64(slice_trim(buf_slice(&content)), &version)) {
        (void)error_set(err, ERR_CORRUPT, "'%s' is not a PostgreSQL data folder", data);
        return error_hint(err,
                          "move it away to begin with an empty database, or put the data back");
    }
    if (version == config->version)
        return 0;
    (void)error_set(err, ERR_VERSION,
                    "the data of database '%s' was made by PostgreSQL %llu, not %u", config->name,
                    (unsigned long long)version, config->version);
    return error_hint(err, "set version: %llu, or move the data with pg_upgrade or pg_dump first",
                      (unsigned long long)version);
}

/* A server that was killed leaves its lock file. The server itself only looks whether the pid
 * lives, and after a restart of the machine another program may have it; here we can tell whose it
 * is. */
static int clear_stale_lock(const struct engine_config *config, const char *data, struct error *err)
{
    CLEANUP(buf_done) struct buf content = BUF_INIT(4096);
    char path[RUN_PATH_SIZE], link[64], cwd[RUN_PATH_SIZE];
    struct slice rest;
    uint64_t pid;
    ssize_t len;

    (void)snprintf(path, sizeof path, "%s/postmaster.pid", data);
    if (!file_exists(path))
        return 0;
    if (file_read(path, 4096, &content, NULL))
        return 0;
    rest = buf_slice(&content);
    if (slice_to_u64(slice_trim(slice_cut(&rest, '\n')), &pid))
        return 0;
    (void)snprintf(link, sizeof link, "/proc/%llu/cwd", (unsigned long long)pid);
    len = readlink(link, cwd, sizeof cwd - 1);
    if (len >= 0) {
        cwd[len] = '\0';
        if (strcmp(cwd, data) == 0)
            return error_set(err, ERR_CONFLICT,
                             "a server (pid %llu) still runs on the data of database '%s'",
                             (unsigned long long)pid, config->name);
    } else if (errno != ENOENT) {
        return 0; /* another user's process: the server decides */
    }
    if (unlink(path) < 0 && errno != ENOENT)
        return error_errno(err, errno, "unable to remove '%s'", path);
    return 0;
}

/* PostgreSQL refuses to run as root, and initdb as a user without a name. */
static int check_user(struct error *err)
{
    uid_t uid = geteuid();

    if (uid == 0) {
        (void)error_set(err, ERR_PERMISSION, "PostgreSQL does not run as root");
        return error_hint(
            err, "start the platform as a normal user, or as root so that it can switch users");
    }
    if (!getpwuid(uid)) {
        (void)error_set(err, ERR_PERMISSION,
                        "PostgreSQL does not run as uid %u, which has no user name", (unsigned)uid);
        return error_hint(err,
                          "give the uid an entry in /etc/passwd: useradd --system --uid %u NAME",
                          (unsigned)uid);
    }
    return 0;
}

static int prepare(const struct engine_config *config, bool has_new_passwords, struct error *err)
{
    char data[RUN_PATH_SIZE], run[RUN_PATH_SIZE];
    int code = check_user(err);

    (void)snprintf(data, sizeof data, "%s/data", config->folder);
    (void)snprintf(run, sizeof run, "%s/run", config->folder);
    if (!code)
        code = directory_make(run, 0700, err);
    if (code)
        return code;
    if (!file_is_directory(data))
        return make_new(config, data, err);
    code = check_version(config, data, err);
    if (!code)
        code = clear_stale_lock(config, data, err);
    if (!code)
        code = write_settings(config, data, err);
    if (!code && has_new_passwords)
        code = set_up_roles(config, data, false, err);
    return code;
}

/* ---- the server */

static void run_unit(struct arena *arena, const struct engine_config *config,
                     struct engine_unit *ret_unit)
{
    const char **arguments = arena_array_of(arena, const char *, 3);

    arguments[0] = arena_printf(arena, "%s/postgres", config->programs);
    arguments[1] = "-D";
    arguments[2] = arena_printf(arena, "%s/data", config->folder);
    ret_unit->arguments = arguments;
    ret_unit->argument_count = 3;
    /* SIGINT to the postmaster alone is the fast shutdown: it ends its children in order itself. */
    ret_unit->flags = KEEPER_SPAWN_LEADER_ONLY;
    ret_unit->stop_signal = SIGINT;
    ret_unit->stop_grace_ms = 60000;
    ret_unit->nofile_limit = 8192;
}

/* ---- probe: the beginning of a session, as pg_isready does it. The server asks for a password
 * when it takes clients; the session ends there, and the server logs nothing about it. */

static void append_u32(struct buf *buf, uint32_t value)
{
    unsigned char bytes[4] = {(unsigned char)(value >> 24), (unsigned char)(value >> 16),
                              (unsigned char)(value >> 8), (unsigned char)value};

    buf_append(buf, bytes, sizeof bytes);
}

static void probe_request(const struct engine_config *config, struct buf *ret_request)
{
    CLEANUP(buf_done) struct buf body = BUF_INIT(1024);
    char name[ENGINE_NAME_SIZE];

    role(config, name);
    append_u32(&body, PROTOCOL_VERSION);
    buf_append(&body, "user", 5);
    buf_append(&body, name, strlen(name) + 1);
    buf_append(&body, "database", 9);
    buf_append(&body, name, strlen(name) + 1);
    buf_append_byte(&body, '\0');
    append_u32(ret_request, (uint32_t)body.len + 4);
    buf_append_slice(ret_request, buf_slice(&body));
}

/* ErrorResponse: fields of one type byte and a text each; PostgreSQL documentation, "Message
 * Formats". */
static int read_error(struct slice fields, char *text, size_t size)
{
    struct slice state = {0}, message = {0};

    while (fields.len > 1) {
        char type = fields.ptr[0];
        ptrdiff_t end = slice_find_byte(fields, '\0');
        if (end < 1)
            break;
        if (type == 'C')
            state = slice_sub(fields, 1, (size_t)end - 1);
        else if (type == 'M')
            message = slice_sub(fields, 1, (size_t)end - 1);
        fields = slice_sub(fields, (size_t)end + 1, fields.len);
    }
    (void)snprintf(text, size, SLICE_FORMAT " (" SLICE_FORMAT ")", SLICE_ARG(message),
                   SLICE_ARG(state));
    if (slice_eq(state, SLICE("57P03"))) /* starting up, shutting down, in recovery */
        return ERR_UNAVAILABLE;
    return slice_eq(state, SLICE("53300"))
               ? 0
               : ERR_FAILED; /* all connections in use: alive and busy */
}

static int probe_answer(struct slice answer, char *text, size_t size)
{
    uint32_t len = 0;

    if (answer.len < 5)
        return ERR_CANCELLED;
    for (size_t i = 1; i < 5; i++)
        len = len << 8 | (unsigned char)answer.ptr[i];
    if (answer.ptr[0] == 'R') {
        (void)snprintf(text, size, "accepts connections");
        return 0;
    }
    if (answer.ptr[0] != 'E' || len < 4 || len > 4000) {
        (void)snprintf(text, size, "what answers on this port is not PostgreSQL");
        return ERR_FAILED;
    }
    if (answer.len < 1 + (size_t)len)
        return ERR_CANCELLED;
    return read_error(slice_sub(answer, 5, len - 4), text, size);
}

const struct engine engine_postgres = {
    .type = DATABASE_POSTGRES,
    .find = find,
    .run_unit = run_unit,
    .scheme = "postgresql",
    .user = role,
    .database = role,
    .prepare = prepare,
    .probe_request = probe_request,
    .probe_answer = probe_answer,
};
