/* manifest_json.c - the resolved manifest as canonical JSON, and what differs between two: one walk
 * over the table each. */
#include "base/json.h"
#include "config/table_private.h"
#include "config/value_private.h"

#define VALUE_BYTES_MAX ((size_t)64 * 1024) /* numbers; texts are borrowed */

static void write_section(struct json_writer *writer, enum section section, const void *base);

static void write_variable(struct json_writer *writer, const struct manifest_environment *variable)
{
    if (variable->source == ENVIRONMENT_VALUE) {
        json_write_text(writer, variable->name, variable->value);
        return;
    }
    json_begin_object(writer, variable->name);
    if (variable->source == ENVIRONMENT_FROM)
        json_write_text(writer, "from", variable->value);
    else if (variable->source == ENVIRONMENT_SECRET)
        json_write_text(writer, "secret", variable->value);
    else
        json_write_boolean(writer, "generate", true);
    json_end_object(writer);
}

static void write_value(struct json_writer *writer, const struct key *key, const char *name,
                        const void *base)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(VALUE_BYTES_MAX);
    enum value_shape shape;
    const char *text = value_write(arena, key, key_field_const(key, base), &shape);
    if (text && shape == VALUE_RAW)
        json_write_raw(writer, name, slice_from(text));
    else if (text)
        json_write_text(writer, name, text);
}

static void write_items(struct json_writer *writer, const struct key *key, const void *base)
{
    size_t count;
    const void *items = key_items(key, base, &count);
    if (count == 0)
        return;
    bool is_map = key->kind == KIND_MAP;
    if (is_map)
        json_begin_object(writer, key->name);
    else
        json_begin_array(writer, key->name);
    for (size_t i = 0; i < count; i++) {
        const void *item = item_at(key, items, i);
        if (key->inner == SECTION_environment) {
            write_variable(writer, item);
            continue;
        }
        if (section_is_value(key->inner)) {
            write_value(writer, key_short(key->inner), NULL, item);
            continue;
        }
        json_begin_object(writer, is_map ? item_name(item) : NULL);
        write_section(writer, key->inner, item);
        json_end_object(writer);
    }
    if (is_map)
        json_end_object(writer);
    else
        json_end_array(writer);
}

/* A static service has no process: what describes one would be refused when read back. */
static bool key_applies(const struct key *key, const void *base)
{
    const struct manifest_service *service = base;
    if (key->flags & KEY_LATER)
        return false;
    if (key->flags & KEY_STATIC_ONLY)
        return service->type == SERVICE_STATIC;
    if (key->flags & KEY_PROCESS_ONLY)
        return service->type != SERVICE_STATIC;
    return true;
}

static void write_section(struct json_writer *writer, enum section section, const void *base)
{
    key_each(key, section)
    {
        if (!key_applies(key, base))
            continue;
        switch (key->kind) {
        case KIND_OBJECT:
            if (!key_is_given(key, base))
                break;
            json_begin_object(writer, key->name);
            write_section(writer, key->inner, key_field_const(key, base));
            json_end_object(writer);
            break;
        case KIND_MAP:
        case KIND_LIST:
            write_items(writer, key, base);
            break;
        default:
            write_value(writer, key, key->name, base);
            break;
        }
    }
}

void manifest_write_json(const struct manifest *manifest, struct buf *ret_json)
{
    struct json_writer writer = JSON_WRITER(ret_json);
    json_begin_object(&writer, NULL);
    write_section(&writer, SECTION_manifest, manifest);
    json_end_object(&writer);
}
