/* redis.c - Redis as a unit: an append-only file with time stamps (so that a later restore can stop
 * at a moment), one role for the application and one for the platform, by ACL. The configuration
 * holds SHA-256 digests, never a password. */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/text.h"
#include "data/engine_private.h"
#include "data/run_private.h"
#include "os/file.h"

#define VERSION_MIN     6u /* ACL */
#define CONF_MAX        (64u << 10)
#define VERSION_SECONDS 10u

static const char *const policies[] = {"noeviction",      "allkeys-lru",  "allkeys-lfu",
                                       "allkeys-random",  "volatile-lru", "volatile-lfu",
                                       "volatile-random", "volatile-ttl"};

static int check(const struct engine_config *config, struct error *err)
{
    const char *near;

    if (!config->eviction || !config->eviction[0])
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(policies); i++)
        if (strcmp(config->eviction, policies[i]) == 0)
            return 0;
    (void)error_set(err, ERR_INVALID, "database '%s': unknown eviction '%s'", config->name,
                    config->eviction);
    near = text_suggest(slice_from(config->eviction), policies, ARRAY_LEN(policies));
    return error_hint(
        err, "%s%s%s",
        near ? "did you mean '"
             : "use noeviction, allkeys-lru, allkeys-lfu, "
               "volatile-lru, volatile-lfu, volatile-ttl, allkeys-random or volatile-random",
        near ? near : "", near ? "'?" : "");
}

static int find(struct arena *arena, unsigned version, unsigned *ret_version,
                const char **ret_programs, struct error *err)
{
    static const char *const folders[] = {"/usr/bin", "/usr/local/bin"};

    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "%s/redis-server", folders[i]);
        if (access(path, X_OK) == 0) {
            *ret_version = version;
            *ret_programs = arena_text(arena, folders[i]);
            return 0;
        }
    }
    (void)error_set(err, ERR_NOT_FOUND, "Redis is not installed");
    return error_hint(err, "apt-get install redis-server (its own service is not needed: "
                           "systemctl disable --now redis-server)");
}

/* Clients that know no user names log in as "default", so that is the application's role. */
static const char *user(const struct engine_config *config, char buffer[ENGINE_NAME_SIZE])
{
    (void)config;
    (void)buffer;
    return "default";
}

static const char *database(const struct engine_config *config, char buffer[ENGINE_NAME_SIZE])
{
    (void)config;
    (void)buffer;
    return "0";
}

/* ---- configuration */

static void append_quoted(struct buf *buf, const char *text)
{
    buf_append_byte(buf, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            buf_append_byte(buf, '\\');
        buf_append_byte(buf, *text);
    }
    buf_append_byte(buf, '"');
}

static void append_digest(struct buf *buf, const char *password)
{
    uint8_t digest[32];

    hash_sha256(password, strlen(password), digest);
    buf_append_byte(buf, '#');
    for (size_t i = 0; i < sizeof digest; i++)
        buf_printf(buf, "%02x", digest[i]);
}

static void append_settings(const struct engine_config *config, unsigned version, struct buf *buf)
{
    char data[RUN_PATH_SIZE];

    (void)snprintf(data, sizeof data, "%s/data", config->folder);
    buf_append_text(buf, "# Written by slipway at each start; changes are lost.\n"
                         "bind 127.0.0.1\nprotected-mode yes\ndaemonize no\nsupervised no\n"
                         "logfile \"\"\nloglevel notice\nalways-show-logo no\ntcp-keepalive 60\n");
    buf_printf(buf, "port %u\n", config->port);
    buf_append_text(buf, "dir ");
    append_quoted(buf, data);
    buf_append_text(buf, "\nsave \"\"\n" /* the append-only file alone is the truth */
                         "appendonly yes\nappendfsync everysec\naof-use-rdb-preamble yes\n");
    if (version >= 7)
        buf_append_text(buf, "aof-timestamp-enabled yes\nshutdown-timeout 20\n");
    buf_printf(buf, "maxmemory %llu\nmaxmemory-policy %s\n",
               (unsigned long long)config->max_memory_bytes,
               config->eviction && config->eviction[0] ? config->eviction : "noeviction");
    /* No administration for the application, but what client libraries ask on connecting. */
    buf_append_text(buf, "user default on ");
    append_digest(buf, config->password);
    buf_append_text(buf, " ~* &* +@all -@admin");
    buf_append_text(buf, version >= 7 ? " +config|get +client|list\n" : "\n");
    buf_append_text(buf, "user " ENGINE_ADMIN " on ");
    append_digest(buf, config->admin_password);
    buf_append_text(buf, " ~* &* +@all\n");
}

/* "Redis server v=7.0.15 sha=…" */
static int installed_version(const struct engine_config *config, unsigned *ret_version,
                             struct error *err)
{
    CLEANUP(buf_done) struct buf output = BUF_INIT(4096);
    char program[RUN_PATH_SIZE];
    const char *arguments[] = {program, "--version", NULL};
    struct run run = {.what = "redis-server --version",
                      .arguments = arguments,
                      .config = config,
                      .timeout_seconds = VERSION_SECONDS,
                      .output = &output};
    ptrdiff_t at;
    struct slice rest;
    uint64_t version;
    int code;

    (void)snprintf(program, sizeof program, "%s/redis-server", config->programs);
    code = run_program(&run, err);
    if (code)
        return code;
    at = slice_find(buf_slice(&output), SLICE("v="));
    rest = at < 0 ? (struct slice){0} : slice_sub(buf_slice(&output), (size_t)at + 2, output.len);
    if (slice_to_u64(slice_cut(&rest, '.'), &version) || version > 1000)
        return error_set(err, ERR_FAILED, "the version of '%s' cannot be read", program);
    *ret_version = (unsigned)version;
    return 0;
}

static int check_version(const struct engine_config *config, unsigned version,
                         unsigned data_version, struct error *err)
{
    if (version < VERSION_MIN) {
        (void)error_set(err, ERR_UNSUPPORTED, "Redis %u is too old: roles need version %u", version,
                        VERSION_MIN);
        return error_hint(err, "apt-get install redis-server");
    }
    if (config->version != 0 && config->version != version) {
        (void)error_set(err, ERR_VERSION,
                        "database '%s' asks for Redis %u, but Redis %u is installed", config->name,
                        config->version, version);
        return error_hint(err, "set version: %u, or leave it out", version);
    }
    if (data_version > version) {
        (void)error_set(
            err, ERR_VERSION,
            "the data of database '%s' was written by Redis %u, but Redis %u is installed",
            config->name, data_version, version);
        return error_hint(err, "install Redis %u or newer", data_version);
    }
    return 0;
}

/* The highest major version that ever ran on the data. */
static unsigned data_version_read(const char *path)
{
    CLEANUP(buf_done) struct buf content = BUF_INIT(64);
    uint64_t version;

    if (!file_exists(path) || file_read(path, 64, &content, NULL) ||
        slice_to_u64(slice_trim(buf_slice(&content)), &version) || version > 1000)
        return 0;
    return (unsigned)version;
}

static int prepare(const struct engine_config *config, bool has_new_passwords, struct error *err)
{
    CLEANUP(buf_done) struct buf content = BUF_INIT(CONF_MAX);
    char path[RUN_PATH_SIZE], text[16];
    unsigned version;
    int code = installed_version(config, &version, err);

    (void)has_new_passwords; /* the configuration is written again anyway */
    if (code)
        return code;
    (void)snprintf(path, sizeof path, "%s/data", config->folder);
    code = directory_make(path, 0700, err);
    if (code)
        return code;
    (void)snprintf(path, sizeof path, "%s/redis-version", config->folder);
    code = check_version(config, version, data_version_read(path), err);
    if (code)
        return code;
    (void)snprintf(text, sizeof text, "%u\n", version);
    code = file_write_durable(path, slice_from(text), 0600, err);
    if (code)
        return code;
    append_settings(config, version, &content);
    (void)snprintf(path, sizeof path, "%s/redis.conf", config->folder);
    return file_write_durable(path, buf_slice(&content), 0600, err);
}

/* ---- the server */

static void run_unit(struct arena *arena, const struct engine_config *config,
                     struct engine_unit *ret_unit)
{
    const char **arguments = arena_array_of(arena, const char *, 2);

    arguments[0] = arena_printf(arena, "%s/redis-server", config->programs);
    arguments[1] = arena_printf(arena, "%s/redis.conf", config->folder);
    ret_unit->arguments = arguments;
    ret_unit->argument_count = 2;
    ret_unit->stop_signal = SIGTERM; /* writes and syncs the append-only file, then exits */
    ret_unit->stop_grace_ms = 60000;
    ret_unit->nofile_limit = 16384;
}

/* ---- probe */

static void probe_request(const struct engine_config *config, struct buf *ret_request)
{
    buf_printf(ret_request,
               "*3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$%zu\r\n%s\r\n*1\r\n$4\r\nPING\r\n",
               strlen(config->password), config->password);
}

static int judge_error(struct slice line, char *text, size_t size)
{
    static const char *const passing[] = {"-LOADING", "-BUSY", "-MASTERDOWN"};

    (void)snprintf(text, size, SLICE_FORMAT, SLICE_ARG(slice_sub(line, 1, line.len)));
    for (size_t i = 0; i < ARRAY_LEN(passing); i++)
        if (slice_starts_with(line, slice_from(passing[i])))
            return ERR_UNAVAILABLE;
    return ERR_FAILED;
}

static int probe_answer(struct slice answer, char *text, size_t size)
{
    static const char *const wanted[] = {"+OK", "+PONG"};

    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        ptrdiff_t end = slice_find(answer, SLICE("\r\n"));
        struct slice line = slice_sub(answer, 0, end < 0 ? answer.len : (size_t)end);
        if (answer.len > 0 && answer.ptr[0] != '+' && answer.ptr[0] != '-') {
            (void)snprintf(text, size, "what answers on this port is not Redis");
            return ERR_FAILED;
        }
        if (end < 0)
            return ERR_CANCELLED;
        if (line.ptr[0] == '-')
            return judge_error(line, text, size);
        if (!slice_eq(line, slice_from(wanted[i]))) {
            (void)snprintf(text, size, "unexpected answer");
            return ERR_FAILED;
        }
        answer = slice_sub(answer, (size_t)end + 2, answer.len);
    }
    (void)snprintf(text, size, "answers");
    return 0;
}

const struct engine engine_redis = {
    .type = DATABASE_REDIS,
    .check = check,
    .find = find,
    .run_unit = run_unit,
    .scheme = "redis",
    .user = user,
    .database = database,
    .prepare = prepare,
    .probe_request = probe_request,
    .probe_answer = probe_answer,
};
