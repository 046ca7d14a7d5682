/* manifest_schema.c - the JSON Schema (2020-12) of slipway.yaml, for editors. From the table; keys
 * that come later are in it and say so. */
#include "base/json.h"
#include "config/table_private.h"
#include "config/value_private.h"

#define DURATION_PATTERN "^(0|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$"
#define SIZE_PATTERN     "^(0|[0-9]+(\\.[0-9]+)?([kKmMgGtTpP]([iI]?[bB])?|[bB]))$"
#define NAME_PATTERN     "^[a-z]([a-z0-9-]*[a-z0-9])?$"

static void write_pattern(struct json_writer *writer, const char *pattern)
{
    json_write_text(writer, "type", "string");
    json_write_text(writer, "pattern", pattern);
}

/* With its unit, or the number 0. */
static void write_measure(struct json_writer *writer, const char *pattern)
{
    json_begin_array(writer, "type");
    json_write_text(writer, NULL, "string");
    json_write_text(writer, NULL, "integer");
    json_end_array(writer);
    json_write_text(writer, "pattern", pattern);
    json_write_integer(writer, "minimum", 0);
    json_write_integer(writer, "maximum", 0);
}

static void write_words(struct json_writer *writer, const struct key *key)
{
    struct slice word;
    bool is_later;
    json_begin_array(writer, "enum");
    for (size_t i = 0; key_word(key, i, &word, &is_later); i++) {
        json_write_slice(writer, NULL, word);
        if (word.ptr[0] >= '0' && word.ptr[0] <= '9') /* without quotes it is a number */
            json_write_raw(writer, NULL, word);
        if (slice_eq(word, SLICE("off"))) /* YAML 1.1 reads a bare off as false */
            json_write_boolean(writer, NULL, false);
    }
    json_end_array(writer);
}

static void write_bounds(struct json_writer *writer, const struct key *key)
{
    json_write_text(writer, "type", "integer");
    json_write_integer(writer, "minimum", (int64_t)key->minimum);
    if (key->maximum <= INT64_MAX)
        json_write_integer(writer, "maximum", (int64_t)key->maximum);
}

static void write_numbers(struct json_writer *writer, const unsigned *numbers, size_t count)
{
    json_begin_array(writer, "enum");
    for (size_t i = 0; i < count; i++)
        json_write_integer(writer, NULL, numbers[i]);
    json_end_array(writer);
}

static void write_list(struct json_writer *writer, const char *type)
{
    json_write_text(writer, "type", "array");
    json_begin_object(writer, "items");
    json_write_text(writer, "type", type);
    json_end_object(writer);
}

static void write_instances(struct json_writer *writer, const struct key *key)
{
    json_begin_array(writer, "anyOf");
    json_begin_object(writer, NULL);
    write_bounds(writer, key);
    json_end_object(writer);
    json_begin_object(writer, NULL);
    json_write_text(writer, "const", "max");
    json_end_object(writer);
    json_end_array(writer);
}

static const char *const patterns[] = {
    [KIND_NAME] = NAME_PATTERN,
    [KIND_URL_PATH] = "^/",
    [KIND_PROBE_PATH] = "^/",
    [KIND_PATTERN] = "^/",
    [KIND_PREFIX] = "^/",
    [KIND_SECRET] = "^/",
    [KIND_TARGET] = "^(/|https?://)",
    [KIND_FOLDER] = "^[^/]",
    [KIND_FILE] = "^/",
    [KIND_AUTHORITY] = "^(/|-----BEGIN CERTIFICATE-----)",
    [KIND_URL] = "^https?://",
    [KIND_EMAIL] = "^[^@ ]+@[^@ ]+$",
    [KIND_NETWORK] = "^[0-9a-fA-F.:]+(/[0-9]+)?$",
    [KIND_REFERENCE] = "^[a-z][a-z0-9-]*\\.[a-z]+$",
    [KIND_HEADER_NAME] = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
    [KIND_BACKOFF] = "^[0-9]+[0-9dhms]*\\.\\.[0-9]+[0-9dhms]*$",
    [KIND_SIGNAL] = "^SIG[A-Z0-9]+$",
    [KIND_RATE] = "^[0-9]+/[smh]$",
};

static void write_number(struct json_writer *writer, const struct key *key)
{
    json_write_text(writer, "type", "number");
    if (key->kind == KIND_CPUS) {
        json_write_number(writer, "minimum", (double)key->minimum / 1000);
        json_write_number(writer, "maximum", (double)key->maximum / 1000);
    }
}

static void write_text(struct json_writer *writer, const struct key *key)
{
    const char *pattern = (size_t)key->kind < ARRAY_LEN(patterns) ? patterns[key->kind] : NULL;

    if (pattern)
        write_pattern(writer, pattern);
    else
        json_write_text(writer, "type", "string");
    if (key->kind == KIND_NAME)
        json_write_integer(writer, "maxLength", MANIFEST_NAME_MAX);
}

static void write_type(struct json_writer *writer, const struct key *key)
{
    static const unsigned statuses[] = {200, 301, 302, 303, 307, 308};
    switch (key->kind) {
    case KIND_WORD:
    case KIND_CHOICE:
        write_words(writer, key);
        break;
    case KIND_BOOL:
        json_write_text(writer, "type", "boolean");
        break;
    case KIND_COUNT:
        write_bounds(writer, key);
        break;
    case KIND_INSTANCES:
        write_instances(writer, key);
        break;
    case KIND_STATUS:
        write_numbers(writer, statuses, ARRAY_LEN(statuses));
        break;
    case KIND_DURATION:
        write_measure(writer, DURATION_PATTERN);
        break;
    case KIND_SIZE:
        write_measure(writer, SIZE_PATTERN);
        break;
    case KIND_CPUS:
    case KIND_DECIMAL:
        write_number(writer, key);
        break;
    case KIND_NUMBERS:
        write_list(writer, "number");
        break;
    case KIND_TEXTS:
        write_list(writer, "string");
        break;
    default:
        write_text(writer, key);
        break;
    }
}

static void write_reference(struct json_writer *writer, enum section section)
{
    char reference[64];
    snprintf(reference, sizeof(reference), "#/$defs/%s", section_infos[section].name);
    json_write_text(writer, "$ref", reference);
}

static void write_map(struct json_writer *writer, const struct key *key)
{
    bool is_environment = key->inner == SECTION_environment;
    json_write_text(writer, "type", "object");
    json_write_integer(writer, "maxProperties", (int64_t)key->maximum);
    json_begin_object(writer, "propertyNames");
    json_write_text(writer, "pattern", is_environment ? "^[A-Za-z_][A-Za-z0-9_]*$" : NAME_PATTERN);
    json_end_object(writer);
    json_begin_object(writer, "additionalProperties");
    write_reference(writer, key->inner);
    json_end_object(writer);
}

static void write_default(struct json_writer *writer, const struct key *key)
{
    if (!key->fallback)
        return;
    bool is_raw = key->kind == KIND_COUNT || key->kind == KIND_INSTANCES ||
                  key->kind == KIND_BOOL || key->kind == KIND_STATUS;
    if (is_raw)
        json_write_raw(writer, "default", slice_from(key->fallback));
    else
        json_write_text(writer, "default", key->fallback);
}

static void write_key(struct json_writer *writer, const struct key *key)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new((size_t)16 * 1024);
    bool is_later = key->flags & KEY_LATER;
    json_begin_object(writer, key->name);
    json_write_text(writer, "description",
                    is_later
                        ? arena_printf(arena, "%s Not supported yet in this version.", key->help)
                        : key->help);
    switch (key->kind) {
    case KIND_OBJECT:
        write_reference(writer, key->inner);
        break;
    case KIND_MAP:
        write_map(writer, key);
        break;
    case KIND_LIST:
        json_write_text(writer, "type", "array");
        json_begin_object(writer, "items");
        write_reference(writer, key->inner);
        json_end_object(writer);
        json_write_integer(writer, "maxItems", (int64_t)key->maximum);
        break;
    default:
        write_type(writer, key);
        break;
    }
    write_default(writer, key);
    json_end_object(writer);
}

static void write_required(struct json_writer *writer, enum section section)
{
    bool has_any = false;
    key_each(key, section) has_any = has_any || (key->flags & KEY_REQUIRED);
    if (!has_any)
        return;
    json_begin_array(writer, "required");
    key_each(key, section) if (key->flags & KEY_REQUIRED) json_write_text(writer, NULL, key->name);
    json_end_array(writer);
}

static void write_section(struct json_writer *writer, enum section section)
{
    json_write_text(writer, "type", "object");
    json_begin_object(writer, "properties");
    key_each(key, section) write_key(writer, key);
    json_end_object(writer);
    json_begin_object(writer, "patternProperties");
    json_begin_object(writer, "^x-");
    json_end_object(writer);
    json_end_object(writer);
    json_write_boolean(writer, "additionalProperties", false);
    write_required(writer, section);
}

/* The value that the section is short for, or its map. */
static void write_short(struct json_writer *writer, enum section section)
{
    json_begin_array(writer, "anyOf");
    json_begin_object(writer, NULL);
    write_type(writer, key_short(section));
    json_end_object(writer);
    json_begin_object(writer, NULL);
    write_section(writer, section);
    json_end_object(writer);
    json_end_array(writer);
}

/* A text (YAML also reads unquoted numbers and booleans as such), or one of the keys of the
 * section. */
static void write_environment(struct json_writer *writer)
{
    json_begin_array(writer, "anyOf");
    json_begin_object(writer, NULL);
    json_begin_array(writer, "type");
    json_write_text(writer, NULL, "string");
    json_write_text(writer, NULL, "number");
    json_write_text(writer, NULL, "boolean");
    json_end_array(writer);
    json_end_object(writer);
    json_begin_object(writer, NULL);
    write_section(writer, SECTION_environment);
    json_write_integer(writer, "minProperties", 1);
    json_write_integer(writer, "maxProperties", 1);
    json_end_object(writer);
    json_end_array(writer);
}

void manifest_schema(struct buf *ret_json)
{
    struct json_writer writer = JSON_WRITER(ret_json);
    json_begin_object(&writer, NULL);
    json_write_text(&writer, "$schema", "https://json-schema.org/draft/2020-12/schema");
    json_write_text(&writer, "title", "slipway.yaml");
    json_write_text(&writer, "description", section_infos[SECTION_manifest].help);
    write_section(&writer, SECTION_manifest);
    json_begin_object(&writer, "$defs");
    for (enum section section = SECTION_manifest + 1; section < SECTION_COUNT; section++) {
        json_begin_object(&writer, section_infos[section].name);
        json_write_text(&writer, "description", section_infos[section].help);
        if (section == SECTION_environment)
            write_environment(&writer);
        else if (section_is_value(section))
            write_type(&writer, key_short(section));
        else if (key_short(section))
            write_short(&writer, section);
        else
            write_section(&writer, section);
        json_end_object(&writer);
    }
    json_end_object(&writer);
    json_end_object(&writer);
    buf_append_byte(ret_json, '\n');
}
