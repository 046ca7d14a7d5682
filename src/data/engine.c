/* engine.c - what all engines have in common. */
#include "data/engine.h"

#include "base/json.h"
#include "base/keeper_protocol.h"
#include "base/text.h"
#include "data/engine_private.h"

#define PREPARE_JSON_MAX (64u << 10)
#define PORT_FIRST       1024u /* a database never needs a privileged one */

const struct engine *engine_of(enum database_type type)
{
    static const struct engine *const engines[] = {&engine_postgres, &engine_redis};

    for (size_t i = 0; i < ARRAY_LEN(engines); i++)
        if (engines[i]->type == type)
            return engines[i];
    return NULL;
}

static int unsupported(enum database_type type, struct error *err)
{
    (void)error_set(err, ERR_UNSUPPORTED,
                    "databases of type '%s' are not supported in this version",
                    database_type_name(type));
    return error_hint(
        err, "use postgres or redis, or pass the address of a %s that you run as a value in env",
        database_type_name(type));
}

/* ---- checks */

static bool is_name(const char *text)
{
    size_t len = text ? strlen(text) : 0;

    if (len == 0 || len > MANIFEST_NAME_MAX || text[0] < 'a' || text[0] > 'z')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-", text[i]))
            return false;
    return true;
}

static bool is_password(const char *text)
{
    static const char allowed[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    return text && strlen(text) == ENGINE_PASSWORD_LEN &&
           strspn(text, allowed) == ENGINE_PASSWORD_LEN;
}

/* It stands in configuration files, where a line must stay a line. */
static bool is_folder(const char *text)
{
    size_t len = text ? strlen(text) : 0;

    if (len < 2 || len > ENGINE_FOLDER_MAX || text[0] != '/')
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20)
            return false;
    return true;
}

int engine_check(const struct engine_config *config, struct error *err)
{
    const struct engine *engine = engine_of(config->type);

    if (!engine)
        return unsupported(config->type, err);
    if (!is_name(config->app) || !is_name(config->name))
        return error_set(err, ERR_INVALID,
                         "the names of an app and its database are lower-case "
                         "letters, digits and '-', beginning with a letter");
    if (!is_folder(config->folder))
        return error_set(err, ERR_INVALID, "database '%s': its folder has no usable path",
                         config->name);
    if (config->port < PORT_FIRST || config->port > 65535)
        return error_set(err, ERR_INVALID, "database '%s': port %u is out of range", config->name,
                         config->port);
    if (!is_password(config->password) || !is_password(config->admin_password))
        return error_set(err, ERR_INVALID, "database '%s': its passwords are out of form",
                         config->name);
    return engine->check ? engine->check(config, err) : 0;
}

int engine_find(struct arena *arena, enum database_type type, unsigned version,
                unsigned *ret_version, const char **ret_programs, struct error *err)
{
    const struct engine *engine = engine_of(type);

    return engine ? engine->find(arena, version, ret_version, ret_programs, err)
                  : unsupported(type, err);
}

/* ---- units */

/* The least that works, the same on every machine: no locale or PATH of whoever started the
 * platform. */
const char **engine_environment(struct arena *arena, const struct engine_config *config,
                                size_t *ret_count)
{
    const char **environment = arena_array_of(arena, const char *, 4);
    size_t count = 0;

    environment[count++] =
        arena_printf(arena, "PATH=%s:/usr/local/bin:/usr/bin:/bin", config->programs);
    environment[count++] = "LANG=C.UTF-8";
    environment[count++] = "TZ=UTC";
    environment[count++] = arena_printf(arena, "HOME=%s", config->folder);
    *ret_count = count;
    return environment;
}

static struct slice prepare_text(struct arena *arena, const struct engine_config *config)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(PREPARE_JSON_MAX);
    struct json_writer writer = JSON_WRITER(&text);

    json_begin_object(&writer, NULL);
    json_write_text(&writer, "type", database_type_name(config->type));
    json_write_text(&writer, "app", config->app);
    json_write_text(&writer, "name", config->name);
    json_write_integer(&writer, "version", config->version);
    json_write_text(&writer, "programs", config->programs);
    json_write_text(&writer, "folder", config->folder);
    json_write_integer(&writer, "port", config->port);
    json_write_integer(&writer, "max_memory_bytes", (int64_t)config->max_memory_bytes);
    json_write_text(&writer, "eviction", config->eviction ? config->eviction : "");
    json_write_text(&writer, "password", config->password);
    json_write_text(&writer, "admin_password", config->admin_password);
    json_end_object(&writer);
    return text.failed ? (struct slice){NULL, 0} : arena_slice(arena, buf_slice(&text));
}

int engine_prepare_unit(struct arena *arena, const struct engine_config *config,
                        struct engine_unit *ret_unit, struct error *err)
{
    static const char *const arguments[] = {"slipway", "job", ENGINE_JOB_PREPARE};
    struct engine_unit unit = {.flags = KEEPER_SPAWN_SELF | KEEPER_SPAWN_STDIN,
                               .stop_signal = SIGTERM,
                               .stop_grace_ms = 10000,
                               .directory = "/"};
    int code = engine_check(config, err);

    if (code)
        return code;
    unit.argument_count = ARRAY_LEN(arguments);
    unit.arguments = arena_array_of(arena, const char *, ARRAY_LEN(arguments));
    memcpy(unit.arguments, arguments, sizeof arguments);
    unit.environment = engine_environment(arena, config, &unit.environment_count);
    unit.standard_input = prepare_text(arena, config);
    if (!unit.standard_input.ptr)
        return error_set(err, ERR_LIMIT, "database '%s': its description is too large",
                         config->name);
    *ret_unit = unit;
    return 0;
}

int engine_run_unit(struct arena *arena, const struct engine_config *config,
                    struct engine_unit *ret_unit, struct error *err)
{
    struct engine_unit unit = {.directory = config->folder};
    int code = engine_check(config, err);

    if (code)
        return code;
    unit.environment = engine_environment(arena, config, &unit.environment_count);
    engine_of(config->type)->run_unit(arena, config, &unit);
    *ret_unit = unit;
    return 0;
}

/* ---- properties */

static const char *const properties[] = {"url", "host", "port", "user", "password", "database"};

bool engine_has_property(enum database_type type, const char *property)
{
    if (!engine_of(type))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(properties); i++)
        if (strcmp(property, properties[i]) == 0)
            return true;
    return false;
}

/* RFC 3986 section 2.3: what is not unreserved is encoded, so the URL reads the same to every
 * client. */
static void append_encoded(struct buf *buf, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    static const char unreserved[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (strchr(unreserved, byte)) {
            buf_append_byte(buf, *text);
        } else {
            buf_append_byte(buf, '%');
            buf_append_byte(buf, digits[byte >> 4]);
            buf_append_byte(buf, digits[byte & 15]);
        }
    }
}

static void append_url(const struct engine_config *config, struct buf *buf)
{
    const struct engine *engine = engine_of(config->type);
    char name[ENGINE_NAME_SIZE];

    buf_append_text(buf, engine->scheme);
    buf_append_text(buf, "://");
    append_encoded(buf, engine->user(config, name));
    buf_append_byte(buf, ':');
    append_encoded(buf, config->password);
    buf_append_text(buf, "@127.0.0.1:");
    buf_append_u64(buf, config->port);
    buf_append_byte(buf, '/');
    append_encoded(buf, engine->database(config, name));
}

int engine_property(const struct engine_config *config, const char *property, struct buf *ret_value,
                    struct error *err)
{
    const struct engine *engine = engine_of(config->type);
    char name[ENGINE_NAME_SIZE];
    const char *near;

    if (!engine)
        return unsupported(config->type, err);
    if (strcmp(property, "url") == 0) {
        append_url(config, ret_value);
    } else if (strcmp(property, "host") == 0) {
        buf_append_text(ret_value, "127.0.0.1");
    } else if (strcmp(property, "port") == 0) {
        buf_append_u64(ret_value, config->port);
    } else if (strcmp(property, "user") == 0) {
        buf_append_text(ret_value, engine->user(config, name));
    } else if (strcmp(property, "password") == 0) {
        buf_append_text(ret_value, config->password);
    } else if (strcmp(property, "database") == 0) {
        buf_append_text(ret_value, engine->database(config, name));
    } else {
        (void)error_set(err, ERR_NOT_FOUND, "database '%s' has no property '%s'", config->name,
                        property);
        near = text_suggest(slice_from(property), properties, ARRAY_LEN(properties));
        if (near)
            return error_hint(err, "did you mean '%s.%s'?", config->name, near);
        return error_hint(err, "there are url, host, port, user, password and database");
    }
    return ret_value->failed ? error_set(err, ERR_LIMIT, "the value is too long") : 0;
}
