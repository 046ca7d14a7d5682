#include "config/table_private.h"

#include "base/text.h"

struct nothing {
    char unused;
};

/* The struct that a section's fields lie in. */
#define STRUCT_manifest           struct manifest
#define STRUCT_service            struct manifest_service
#define STRUCT_environment        struct manifest_environment
#define STRUCT_health             struct manifest_health
#define STRUCT_stop               struct manifest_stop
#define STRUCT_restart            struct manifest_restart
#define STRUCT_resources          struct manifest_service
#define STRUCT_deploy             struct manifest_deploy
#define STRUCT_canary             struct nothing
#define STRUCT_rollback           struct nothing
#define STRUCT_scaling            struct nothing
#define STRUCT_scaling_schedule   struct nothing
#define STRUCT_disk               struct nothing
#define STRUCT_header             struct manifest_header
#define STRUCT_redirect           struct manifest_redirect
#define STRUCT_database           struct manifest_database
#define STRUCT_backup             struct nothing
#define STRUCT_backup_keep        struct nothing
#define STRUCT_route              struct manifest_route
#define STRUCT_timeouts           struct manifest_route
#define STRUCT_tls                struct manifest_tls
#define STRUCT_on_demand          struct manifest_on_demand
#define STRUCT_hsts               struct manifest_hsts
#define STRUCT_client_certificate struct manifest_client_certificate
#define STRUCT_upstream           struct manifest_upstream
#define STRUCT_upstream_tls       struct manifest_upstream_tls
#define STRUCT_acme               struct manifest_acme
#define STRUCT_acme_fallback      struct manifest_acme_fallback
#define STRUCT_eab                struct manifest_eab
#define STRUCT_edge               struct manifest_edge
#define STRUCT_network            struct manifest_network
#define STRUCT_rate_limit         struct nothing
#define STRUCT_cors               struct nothing
#define STRUCT_alert              struct nothing

static_assert(offsetof(struct manifest_service, name) == 0, "item_name");
static_assert(offsetof(struct manifest_database, name) == 0, "item_name");
static_assert(offsetof(struct manifest_environment, name) == 0, "item_name");
static_assert(offsetof(struct manifest_restart, backoff_max_ms) ==
                  offsetof(struct manifest_restart, backoff_min_ms) + sizeof(uint64_t),
              "KIND_BACKOFF is two numbers");
#define GIVEN(type) static_assert(offsetof(struct type, is_given) == 0, "key_is_given")
GIVEN(manifest_tls);
GIVEN(manifest_on_demand);
GIVEN(manifest_hsts);
GIVEN(manifest_client_certificate);
GIVEN(manifest_upstream);
GIVEN(manifest_upstream_tls);
GIVEN(manifest_acme);
GIVEN(manifest_acme_fallback);
GIVEN(manifest_eab);
GIVEN(manifest_edge);
#undef GIVEN
static_assert(sizeof(enum service_type) == sizeof(unsigned), "KIND_WORD is an unsigned");

#define SECTION(section, text, about)                                                              \
    [SECTION_##section] = {#section, text, about, sizeof(STRUCT_##section)},
#define KEY(...)
#define OBJECT(...)
#define GROUP(...)
#define MAP(...)
#define LIST(...)
#define LATER(...)
#define LATER_OBJECT(...)
const struct section_info section_infos[SECTION_COUNT] = {
#include "config/manifest.def"
};
#undef SECTION
#undef KEY
#undef OBJECT
#undef GROUP
#undef MAP
#undef LIST
#undef LATER
#undef LATER_OBJECT

#define REQUIRED           KEY_REQUIRED
#define IDENTITY           KEY_IDENTITY
#define STATIC_ONLY        KEY_STATIC_ONLY
#define PROCESS_ONLY       KEY_PROCESS_ONLY
#define SHORT              KEY_SHORT
#define OPTIONAL           KEY_OPTIONAL
#define AT(section, field) offsetof(STRUCT_##section, field)

#define SECTION(...)
#define KEY(section, text, type, example, field, usual, low, high, marks, about)                   \
    {.owner = SECTION_##section,                                                                   \
     .name = text,                                                                                 \
     .kind = KIND_##type,                                                                          \
     .detail = example,                                                                            \
     .offset = AT(section, field),                                                                 \
     .fallback = usual,                                                                            \
     .minimum = low,                                                                               \
     .maximum = high,                                                                              \
     .flags = marks,                                                                               \
     .help = about},
#define OBJECT(section, text, inside, field, marks, about)                                         \
    {.owner = SECTION_##section,                                                                   \
     .name = text,                                                                                 \
     .kind = KIND_OBJECT,                                                                          \
     .inner = SECTION_##inside,                                                                    \
     .offset = AT(section, field),                                                                 \
     .flags = marks,                                                                               \
     .help = about},
#define GROUP(section, text, inside, marks, about)                                                 \
    {.owner = SECTION_##section,                                                                   \
     .name = text,                                                                                 \
     .kind = KIND_OBJECT,                                                                          \
     .inner = SECTION_##inside,                                                                    \
     .flags = marks,                                                                               \
     .help = about},
#define MAP(section, text, inside, field, number, high, marks, about)                              \
    {.owner = SECTION_##section,                                                                   \
     .name = text,                                                                                 \
     .kind = KIND_MAP,                                                                             \
     .inner = SECTION_##inside,                                                                    \
     .offset = AT(section, field),                                                                 \
     .count_offset = AT(section, number),                                                          \
     .maximum = high,                                                                              \
     .flags = marks,                                                                               \
     .help = about},
#define LIST(section, text, inside, field, number, high, marks, about)                             \
    {.owner = SECTION_##section,                                                                   \
     .name = text,                                                                                 \
     .kind = KIND_LIST,                                                                            \
     .inner = SECTION_##inside,                                                                    \
     .offset = AT(section, field),                                                                 \
     .count_offset = AT(section, number),                                                          \
     .maximum = high,                                                                              \
     .flags = marks,                                                                               \
     .help = about},
#define LATER(section, text, type, example, about)                                                 \
    {.owner = SECTION_##section,                                                                   \
     .name = text,                                                                                 \
     .kind = KIND_##type,                                                                          \
     .detail = example,                                                                            \
     .maximum = UINT64_MAX,                                                                        \
     .flags = KEY_LATER,                                                                           \
     .help = about},
#define LATER_OBJECT(section, text, type, inside, about)                                           \
    {.owner = SECTION_##section,                                                                   \
     .name = text,                                                                                 \
     .kind = KIND_##type,                                                                          \
     .inner = SECTION_##inside,                                                                    \
     .maximum = 1000,                                                                              \
     .flags = KEY_LATER,                                                                           \
     .help = about},
const struct key manifest_keys[] = {
#include "config/manifest.def"
};
const size_t manifest_key_count = ARRAY_LEN(manifest_keys);

const struct key *key_find(enum section section, const char *name)
{
    key_each(key, section) if (strcmp(key->name, name) == 0) return key;
    return NULL;
}

const char *key_suggest(enum section section, const char *word)
{
    const char *names[ARRAY_LEN(manifest_keys)];
    size_t count = 0;
    key_each(key, section) names[count++] = key->name;
    return text_suggest(slice_from(word), names, count);
}

const struct key *key_short(enum section section)
{
    key_each(key, section) if (key->flags & KEY_SHORT) return key;
    return NULL;
}

bool section_is_value(enum section section)
{
    const struct key *value = key_short(section);
    return value && value->flags & KEY_IDENTITY;
}

bool key_word(const struct key *key, size_t index, struct slice *ret_word, bool *ret_is_later)
{
    struct slice rest = slice_from(key->detail);
    struct slice word = slice_cut(&rest, '|');
    for (; index && word.ptr; index--)
        word = slice_cut(&rest, '|');
    if (!word.ptr)
        return false;
    *ret_is_later = slice_starts_with(word, SLICE("!"));
    *ret_word = *ret_is_later ? slice_sub(word, 1, SIZE_MAX) : word;
    return true;
}

const void *key_items(const struct key *key, const void *base, size_t *ret_count)
{
    const void *items;
    /* The field is a pointer to some struct; all of these have one representation. */
    memcpy(&items, (const char *)base + key->offset, sizeof(items));
    memcpy(ret_count, (const char *)base + key->count_offset, sizeof(*ret_count));
    return items;
}
