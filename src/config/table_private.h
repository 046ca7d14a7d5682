/* table_private.h - manifest.def as data: sections, keys, and where each value lies in the structs
 * of manifest.h. */
#ifndef CONFIG_TABLE_PRIVATE_H
#define CONFIG_TABLE_PRIVATE_H

#include "config/manifest.h"

enum key_kind {
    KIND_NAME,         /* const char *: the name of an app, service, database */
    KIND_TEXT,         /* const char * */
    KIND_COMMAND,      /* const char *: for the shell */
    KIND_FOLDER,       /* const char *: relative, stays inside */
    KIND_URL_PATH,     /* const char *: "/api", without a slash at its end */
    KIND_PROBE_PATH,   /* const char *: "/health?full=1" */
    KIND_PATTERN,      /* const char *: a path with * */
    KIND_PREFIX,       /* const char *: a path, * at its end */
    KIND_TARGET,       /* const char *: a path or URL */
    KIND_HOST,         /* const char * */
    KIND_HEADER_NAME,  /* const char * */
    KIND_HEADER_VALUE, /* const char * */
    KIND_REFERENCE,    /* const char *: "db.url" */
    KIND_SECRET,       /* later */
    KIND_FILE,         /* const char *: absolute, on the server */
    KIND_AUTHORITY,    /* const char *: such a file, or PEM */
    KIND_URL,          /* const char *: http or https */
    KIND_EMAIL,        /* const char * */
    KIND_NETWORK,      /* const char *: "10.0.0.0/8" */
    KIND_WORD,         /* enum, in the order of the words */
    KIND_CHOICE,       /* const char *: one of the words */
    KIND_BOOL,         /* bool */
    KIND_COUNT,        /* unsigned */
    KIND_INSTANCES,    /* unsigned, or MANIFEST_INSTANCES_CORES */
    KIND_STATUS,       /* unsigned: of a redirect */
    KIND_DURATION,     /* uint64_t ms */
    KIND_BACKOFF,      /* uint64_t ms [2] */
    KIND_SIZE,         /* uint64_t bytes */
    KIND_CPUS,         /* unsigned, thousandths */
    KIND_SIGNAL,       /* int */
    KIND_DECIMAL,      /* later */
    KIND_RATE,         /* later */
    KIND_CRON,         /* later */
    KIND_NUMBERS,      /* later: a list */
    KIND_TEXTS,        /* later: a list */
    KIND_OBJECT,       /* a section */
    KIND_MAP,          /* names → a section */
    KIND_LIST,         /* of a section */
};

#define KEY_REQUIRED     1u
#define KEY_IDENTITY     2u
#define KEY_STATIC_ONLY  4u
#define KEY_PROCESS_ONLY 8u
#define KEY_LATER        16u
#define KEY_SHORT        32u
#define KEY_OPTIONAL     64u

enum section {
#define SECTION(name, ...) SECTION_##name,
#define KEY(...)
#define OBJECT(...)
#define GROUP(...)
#define MAP(...)
#define LIST(...)
#define LATER(...)
#define LATER_OBJECT(...)
#include "config/manifest.def"
#undef SECTION
#undef KEY
#undef OBJECT
#undef GROUP
#undef MAP
#undef LIST
#undef LATER
#undef LATER_OBJECT
    SECTION_COUNT
};

struct section_info {
    const char *name, *title, *help;
    size_t bytes; /* of its struct; 0: none */
};

struct key {
    enum section owner;
    const char *name, *detail, *fallback, *help;
    enum key_kind kind;
    enum section inner; /* of OBJECT, MAP, LIST */
    unsigned flags;
    uint64_t minimum, maximum;
    size_t offset, count_offset; /* in the owner's struct; GROUP: 0 */
};

extern const struct section_info section_infos[SECTION_COUNT];
extern const struct key manifest_keys[];
extern const size_t manifest_key_count;

#define key_each(it, section)                                                                      \
    for (const struct key *it = manifest_keys; it < manifest_keys + manifest_key_count; it++)      \
        if (it->owner == (section))

const struct key *key_find(enum section section, const char *name); /* NULL: unknown */
const char *key_suggest(enum section section, const char *word);    /* the nearest key, or NULL */

/* The key that a value in place of the section's map stands for, or NULL. */
const struct key *key_short(enum section section);
/* The section is always written as a value. */
bool section_is_value(enum section section);

/* Word `index` of "web|private|!cron"; false behind the last. */
bool key_word(const struct key *key, size_t index, struct slice *ret_word, bool *ret_is_later);

static inline void *key_field(const struct key *key, void *base)
{
    return (char *)base + key->offset;
}

static inline const void *key_field_const(const struct key *key, const void *base)
{
    return (const char *)base + key->offset;
}

/* Whether an OPTIONAL object is there (asserted in table.c: its struct begins so). */
static inline bool key_is_given(const struct key *key, const void *base)
{
    bool is_given;
    memcpy(&is_given, key_field_const(key, base), sizeof(is_given));
    return !(key->flags & KEY_OPTIONAL) || is_given;
}

/* The items of a MAP or LIST. */
const void *key_items(const struct key *key, const void *base, size_t *ret_count);
static inline const void *item_at(const struct key *key, const void *items, size_t index)
{
    return (const char *)items + index * section_infos[key->inner].bytes;
}
/* Maps: every item begins with its name (asserted in table.c). */
static inline const char *item_name(const void *item)
{
    return *(const char *const *)item;
}

#endif
