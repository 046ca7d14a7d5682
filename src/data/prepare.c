#include "data/prepare.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/json.h"
#include "data/engine_private.h"
#include "data/run_private.h"
#include "os/file.h"

#define INPUT_MAX  (64u << 10)
#define MARKER_MAX (16u << 10)
#define FORMAT     1

/* ---- what is asked for */

static int type_from_name(const char *name, enum database_type *ret_type)
{
    static const enum database_type types[] = {DATABASE_POSTGRES, DATABASE_REDIS};

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strcmp(name, database_type_name(types[i])) == 0) {
            *ret_type = types[i];
            return 0;
        }
    return ERR_INVALID;
}

int prepare_read(struct arena *arena, struct slice text, struct engine_config *ret_config,
                 struct error *err)
{
    struct engine_config config = {0};
    struct json *json;
    int code = json_parse(arena, text, &json, err);

    if (code)
        return error_wrap(err, "unable to read the description of the database");
    if (json->type != JSON_OBJECT || type_from_name(json_get_text(json, "type", ""), &config.type))
        return error_set(err, ERR_INVALID, "the description of the database has no known type");
    config.app = json_get_text(json, "app", "");
    config.name = json_get_text(json, "name", "");
    config.version = (unsigned)json_get_integer(json, "version", 0);
    config.programs = json_get_text(json, "programs", "");
    config.folder = json_get_text(json, "folder", "");
    config.port = (unsigned)json_get_integer(json, "port", 0);
    config.max_memory_bytes = (uint64_t)json_get_integer(json, "max_memory_bytes", 0);
    config.eviction = json_get_text(json, "eviction", "");
    config.password = json_get_text(json, "password", "");
    config.admin_password = json_get_text(json, "admin_password", "");
    code = engine_check(&config, err);
    if (code)
        return code;
    if (config.programs[0] != '/' || strlen(config.programs) > 1024)
        return error_set(err, ERR_INVALID, "the folder of the engine's programs is not absolute");
    *ret_config = config;
    return 0;
}

/* ---- the marker: whose folder this is */

struct marker {
    bool exists;
    char type[32];
    char digest[65]; /* of the passwords that the engine has */
};

/* Both passwords are long and random, so their digest gives nothing away. */
static void digest_passwords(const struct engine_config *config, char ret_hex[65])
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(1024);
    uint8_t digest[32];

    buf_printf(&text, "%s/%s %s %s", config->app, config->name, config->password,
               config->admin_password);
    hash_sha256(text.ptr, text.len, digest);
    explicit_bzero(text.ptr, text.len);
    for (size_t i = 0; i < sizeof digest; i++)
        (void)snprintf(ret_hex + 2 * i, 3, "%02x", digest[i]);
}

static int marker_read(const char *path, struct marker *ret_marker, struct error *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(256u << 10);
    CLEANUP(buf_done) struct buf content = BUF_INIT(MARKER_MAX);
    struct json *json;
    int code;

    memset(ret_marker, 0, sizeof *ret_marker);
    if (!file_exists(path))
        return 0;
    code = file_read(path, MARKER_MAX, &content, err);
    if (!code)
        code = json_parse(arena, buf_slice(&content), &json, err);
    if (code)
        return error_wrap(err, "unable to read '%s'", path);
    if (json_get_integer(json, "format", 0) != FORMAT) {
        (void)error_set(err, ERR_VERSION, "'%s' was written by another version of slipway", path);
        return error_hint(err,
                          "use the version of slipway that made this database, or a newer one");
    }
    ret_marker->exists = true;
    (void)snprintf(ret_marker->type, sizeof ret_marker->type, "%s",
                   json_get_text(json, "type", ""));
    (void)snprintf(ret_marker->digest, sizeof ret_marker->digest, "%s",
                   json_get_text(json, "passwords", ""));
    return 0;
}

static int marker_write(const char *path, const struct engine_config *config, const char *digest,
                        struct error *err)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(MARKER_MAX);
    struct json_writer writer = JSON_WRITER(&text);

    json_begin_object(&writer, NULL);
    json_write_integer(&writer, "format", FORMAT);
    json_write_text(&writer, "type", database_type_name(config->type));
    json_write_integer(&writer, "version", config->version);
    json_write_text(&writer, "app", config->app);
    json_write_text(&writer, "database", config->name);
    json_write_text(&writer, "passwords", digest);
    json_end_object(&writer);
    buf_append_byte(&text, '\n');
    return file_write_durable(path, buf_slice(&text), 0600, err);
}

/* ---- the work */

int prepare_folder(const struct engine_config *config, struct error *err)
{
    const struct engine *engine = engine_of(config->type);
    CLEANUP(fd_closep) int lock_fd = -1;
    char path[RUN_PATH_SIZE], digest[65];
    struct marker marker;
    int code;

    assert(engine);
    code = directory_make(config->folder, 0700, err);
    if (code)
        return code;
    (void)snprintf(path, sizeof path, "%s/lock", config->folder);
    code = file_lock(path, &lock_fd, err);
    if (code)
        return error_wrap(err, "unable to prepare database '%s'", config->name);
    (void)snprintf(path, sizeof path, "%s/slipway-database.json", config->folder);
    code = marker_read(path, &marker, err);
    if (code)
        return code;
    if (marker.exists && strcmp(marker.type, database_type_name(config->type)) != 0) {
        (void)error_set(err, ERR_VERSION, "the data folder of database '%s' belongs to %s, not %s",
                        config->name, marker.type, database_type_name(config->type));
        return error_hint(err, "give the database another name; the old data stays where it is");
    }
    digest_passwords(config, digest);
    code = engine->prepare(config, strcmp(digest, marker.digest) != 0, err);
    if (!code && (!marker.exists || strcmp(digest, marker.digest) != 0))
        code = marker_write(path, config, digest, err);
    return code;
}

static int read_input(struct buf *ret_text, struct error *err)
{
    char bytes[4096];

    for (;;) {
        ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, errno, "unable to read the description of the database");
        if (n == 0)
            return 0;
        buf_append(ret_text, bytes, (size_t)n);
        if (ret_text->failed)
            return error_set(err, ERR_LIMIT, "the description of the database is too long");
    }
}

int prepare_main(void)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(1u << 20);
    CLEANUP(buf_done) struct buf text = BUF_INIT(INPUT_MAX);
    struct engine_config config;
    struct error err = {0};
    int code;

    (void)signal(SIGPIPE, SIG_IGN);
    code = read_input(&text, &err);
    if (!code)
        code = prepare_read(arena, buf_slice(&text), &config, &err);
    if (!code)
        code = prepare_folder(&config, &err);
    if (!code)
        return 0;
    (void)fprintf(stderr, "slipway: %s\n", err.text);
    if (err.hint[0])
        (void)fprintf(stderr, "HINT: %s\n", err.hint);
    return error_exit_status(code);
}
