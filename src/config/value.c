/* value.c - one value: what its kind accepts, and the words for what it does not. Paths and hosts:
 * value_address.c. */
#include "config/value_private.h"

#include "base/text.h"
#include "base/units.h"
#include "config/address_private.h"
#include <signal.h>

#define TEXT_MAX    ((size_t)4096)
#define COMMAND_MAX ((size_t)16384)

static const struct {
    const char *name;
    int number;
} signals[] = {
    {"SIGTERM", SIGTERM}, {"SIGINT", SIGINT},   {"SIGQUIT", SIGQUIT},   {"SIGHUP", SIGHUP},
    {"SIGUSR1", SIGUSR1}, {"SIGUSR2", SIGUSR2}, {"SIGWINCH", SIGWINCH},
};

static bool PRINTF_LIKE(2, 3) complain(struct complaint *complaint, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(complaint->text, sizeof(complaint->text), format, args);
    va_end(args);
    return false;
}

static void PRINTF_LIKE(2, 3) suggest(struct complaint *complaint, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(complaint->suggestion, sizeof(complaint->suggestion), format, args);
    va_end(args);
}

/* ---- what is expected */

static const char *expected_words(const struct key *key, char *buffer, size_t size)
{
    struct buf text = BUF_INIT(size - 1);
    struct slice word, next;
    bool is_later, next_is_later;
    buf_append_text(&text, "one of ");
    for (size_t i = 0; key_word(key, i, &word, &is_later); i++) {
        buf_append_slice(&text, word);
        if (key_word(key, i + 1, &next, &next_is_later))
            buf_append_text(&text, key_word(key, i + 2, &next, &next_is_later) ? ", " : " or ");
    }
    snprintf(buffer, size, "%s", buf_text(&text));
    buf_done(&text);
    return buffer;
}

static const char *expected_range(const struct key *key, char *buffer, size_t size)
{
    char low[UNITS_TEXT_SIZE], high[UNITS_TEXT_SIZE];
    if (key->maximum == UINT64_MAX)
        snprintf(buffer, size, "a whole number");
    else if (key->kind == KIND_COUNT || key->kind == KIND_INSTANCES)
        snprintf(buffer, size, "a whole number from %llu to %llu%s",
                 (unsigned long long)key->minimum, (unsigned long long)key->maximum,
                 key->kind == KIND_INSTANCES ? ", or max" : "");
    else if (key->kind == KIND_DURATION)
        snprintf(buffer, size, "a duration from %s to %s",
                 units_format_duration_ms(key->minimum, low),
                 units_format_duration_ms(key->maximum, high));
    else if (key->kind == KIND_SIZE)
        snprintf(buffer, size, "a size from %s to %s", units_format_size(key->minimum, low),
                 units_format_size(key->maximum, high));
    else
        snprintf(buffer, size, "a number of cores from 0.01 to 1024");
    return buffer;
}

/* What stands before the example of the kinds that have one. */
static const char *const introductions[] = {
    [KIND_NAME] = "a name such as",
    [KIND_TEXT] = "a text such as",
    [KIND_COMMAND] = "a shell command such as",
    [KIND_FOLDER] = "a relative folder such as",
    [KIND_URL_PATH] = "a path such as",
    [KIND_PROBE_PATH] = "a path such as",
    [KIND_PATTERN] = "a path such as",
    [KIND_PREFIX] = "a path such as",
    [KIND_TARGET] = "a path or URL such as",
    [KIND_HOST] = "a host name such as",
    [KIND_HEADER_NAME] = "the name of a header such as",
    [KIND_HEADER_VALUE] = "the value of a header such as",
    [KIND_REFERENCE] = "a property of a database such as",
    [KIND_SECRET] = "the path of a secret such as",
    [KIND_FILE] = "the absolute path of a file on the server such as",
    [KIND_AUTHORITY] = "PEM, or the absolute path of a file on the server such as",
    [KIND_URL] = "a URL such as",
    [KIND_EMAIL] = "a mail address such as",
    [KIND_NETWORK] = "a network such as",
    [KIND_DURATION] = "a duration such as",
    [KIND_BACKOFF] = "two durations such as",
    [KIND_SIZE] = "a size such as",
    [KIND_CPUS] = "a number of cores such as",
    [KIND_SIGNAL] = "a signal such as",
    [KIND_DECIMAL] = "a number such as",
    [KIND_RATE] = "a rate such as",
    [KIND_CRON] = "a cron schedule such as",
    [KIND_NUMBERS] = "a list of numbers such as",
    [KIND_TEXTS] = "a list of texts such as",
};

const char *value_expected(const struct key *key, char *buffer, size_t size)
{
    switch (key->kind) {
    case KIND_WORD:
    case KIND_CHOICE:
        return expected_words(key, buffer, size);
    case KIND_BOOL:
        return "true or false";
    case KIND_COUNT:
    case KIND_INSTANCES:
        return expected_range(key, buffer, size);
    case KIND_STATUS:
        return "one of 200, 301, 302, 303, 307 or 308";
    case KIND_OBJECT:
    case KIND_MAP:
        return "a map of keys";
    case KIND_LIST:
        return "a list";
    default:
        assert((size_t)key->kind < ARRAY_LEN(introductions) && introductions[key->kind]);
        snprintf(buffer, size, "%s %s", introductions[key->kind], key->detail);
        return buffer;
    }
}

static bool unexpected(const struct key *key, const struct node *node, struct complaint *complaint)
{
    char expected[220], got[80];
    return complain(complaint, "expected %s, got %s",
                    value_expected(key, expected, sizeof(expected)),
                    node_describe(node, got, sizeof(got)));
}

static bool out_of_range(const struct key *key, const struct node *node,
                         struct complaint *complaint)
{
    char expected[120], got[80];
    return complain(complaint, "expected %s, got %s",
                    expected_range(key, expected, sizeof(expected)),
                    node_describe(node, got, sizeof(got)));
}

/* ---- readers: each returns whether the text is one of its kind */

struct reading {
    struct arena *texts;
    const struct key *key;
    const struct node *node;
    struct slice text;
    struct complaint *complaint;
};

static bool read_word(const struct reading *reading, size_t *ret_index, struct slice *ret_word)
{
    const char *candidates[16];
    CLEANUP(arena_freep) struct arena *arena = arena_new(8192);
    struct slice word;
    bool is_later;
    size_t count = 0;
    for (; key_word(reading->key, count, &word, &is_later); count++) {
        if (slice_eq(word, reading->text)) {
            if (is_later) {
                reading->complaint->is_later = true;
                complain(reading->complaint, SLICE_FORMAT ": not supported yet in this version",
                         SLICE_ARG(word));
            }
            *ret_index = count;
            *ret_word = word;
            return true;
        }
        assert(count < ARRAY_LEN(candidates));
        candidates[count] = arena_slice_text(arena, word);
    }
    unexpected(reading->key, reading->node, reading->complaint);
    const char *nearest = text_suggest(reading->text, candidates, count);
    if (nearest)
        suggest(reading->complaint, "did you mean '%s'?", nearest);
    return false;
}

static bool read_bool(const struct reading *reading, bool *ret_value)
{
    /* YAML 1.1 has eleven ways to say it in three spellings; these are the words people use. */
    static const char *const yes[] = {"true", "yes", "on", "True", "TRUE"};
    static const char *const no[] = {"false", "no", "off", "False", "FALSE"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        bool is_yes = slice_eq(reading->text, slice_from(yes[i]));
        if (is_yes || slice_eq(reading->text, slice_from(no[i]))) {
            *ret_value = is_yes;
            return true;
        }
    }
    return unexpected(reading->key, reading->node, reading->complaint);
}

static bool read_count(const struct reading *reading, unsigned *ret_value)
{
    uint64_t value;
    if (reading->key->kind == KIND_INSTANCES && slice_eq(reading->text, SLICE("max"))) {
        *ret_value = MANIFEST_INSTANCES_CORES;
        return true;
    }
    if (slice_to_u64(reading->text, &value) != 0 || value < reading->key->minimum ||
        value > MIN(reading->key->maximum, (uint64_t)UINT32_MAX))
        return unexpected(reading->key, reading->node, reading->complaint);
    *ret_value = (unsigned)value;
    return true;
}

static bool read_status(const struct reading *reading, unsigned *ret_value)
{
    static const unsigned statuses[] = {200, 301, 302, 303, 307, 308};
    uint64_t value = 0;
    if (slice_to_u64(reading->text, &value) == 0)
        for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
            if (statuses[i] == value) {
                *ret_value = statuses[i];
                return true;
            }
    return unexpected(reading->key, reading->node, reading->complaint);
}

/* A number without its unit is the usual slip; the usual unit is offered. */
static void suggest_unit(const struct reading *reading, const char *unit)
{
    uint64_t number;
    if (slice_to_u64(reading->text, &number) == 0)
        suggest(reading->complaint, "did you mean '" SLICE_FORMAT "%s'?", SLICE_ARG(reading->text),
                unit);
}

static bool read_duration(const struct reading *reading, uint64_t *ret_ms)
{
    uint64_t ms;
    if (units_parse_duration_ms(reading->text, &ms) != 0) {
        suggest_unit(reading, "s");
        return unexpected(reading->key, reading->node, reading->complaint);
    }
    if (ms < reading->key->minimum || ms > reading->key->maximum)
        return out_of_range(reading->key, reading->node, reading->complaint);
    *ret_ms = ms;
    return true;
}

static bool read_backoff(const struct reading *reading, uint64_t ret_ms[2])
{
    ptrdiff_t dots = slice_find(reading->text, SLICE(".."));
    uint64_t low, high;
    if (dots < 0 || units_parse_duration_ms(slice_sub(reading->text, 0, (size_t)dots), &low) != 0 ||
        units_parse_duration_ms(slice_sub(reading->text, (size_t)dots + 2, SIZE_MAX), &high) != 0)
        return unexpected(reading->key, reading->node, reading->complaint);
    if (low > high)
        return complain(reading->complaint,
                        "the first pause '" SLICE_FORMAT "' is longer than the longest one",
                        SLICE_ARG(slice_sub(reading->text, 0, (size_t)dots)));
    if (low < reading->key->minimum || high > reading->key->maximum)
        return complain(reading->complaint, "expected durations from 1ms to 1d");
    ret_ms[0] = low;
    ret_ms[1] = high;
    return true;
}

static bool read_size(const struct reading *reading, uint64_t *ret_bytes)
{
    uint64_t bytes;
    if (units_parse_size(reading->text, &bytes) != 0) {
        suggest_unit(reading, "M");
        return unexpected(reading->key, reading->node, reading->complaint);
    }
    if (bytes < reading->key->minimum || bytes > reading->key->maximum)
        return out_of_range(reading->key, reading->node, reading->complaint);
    *ret_bytes = bytes;
    return true;
}

/* "2", "0.5", at most three decimals, in thousandths. */
static bool read_thousandths(struct slice text, uint64_t *ret_value)
{
    struct slice rest = text, whole = slice_cut(&rest, '.');
    bool has_point = slice_find_byte(text, '.') >= 0;
    uint64_t number = 0, fraction = 0;
    if (slice_to_u64(whole, &number) != 0 || number > UINT32_MAX || rest.len > 3 ||
        (has_point && slice_to_u64(rest, &fraction) != 0))
        return false;
    for (size_t i = rest.len; has_point && i < 3; i++)
        fraction *= 10;
    *ret_value = number * 1000 + fraction;
    return true;
}

static bool read_cpus(const struct reading *reading, unsigned *ret_millis)
{
    uint64_t millis;
    if (!read_thousandths(reading->text, &millis))
        return unexpected(reading->key, reading->node, reading->complaint);
    if (millis < reading->key->minimum || millis > reading->key->maximum)
        return out_of_range(reading->key, reading->node, reading->complaint);
    *ret_millis = (unsigned)millis;
    return true;
}

static bool read_signal(const struct reading *reading, int *ret_signal)
{
    const char *names[ARRAY_LEN(signals)];
    char with_prefix[40];
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        names[i] = signals[i].name;
        if (slice_eq(reading->text, slice_from(signals[i].name))) {
            *ret_signal = signals[i].number;
            return true;
        }
    }
    snprintf(with_prefix, sizeof(with_prefix), "SIG%.*s", (int)MIN(reading->text.len, (size_t)30),
             reading->text.ptr);
    const char *nearest = text_suggest(reading->text, names, ARRAY_LEN(names));
    if (!nearest)
        nearest = text_suggest(slice_from(with_prefix), names, ARRAY_LEN(names));
    if (nearest)
        suggest(reading->complaint, "did you mean '%s'?", nearest);
    return unexpected(reading->key, reading->node, reading->complaint);
}

bool name_is_valid(struct slice name)
{
    if (name.len == 0 || name.len > MANIFEST_NAME_MAX || name.ptr[0] < 'a' || name.ptr[0] > 'z')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return name.ptr[name.len - 1] != '-';
}

bool environment_name_is_valid(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!is_letter && !(i && c >= '0' && c <= '9'))
            return false;
    }
    return name.len > 0 && name.len <= 256;
}

/* "My_App" → "my-app", when that is a name. */
static void suggest_name(struct complaint *complaint, struct slice word)
{
    char name[MANIFEST_NAME_MAX + 1];
    size_t len = MIN(word.len, sizeof(name) - 1);
    for (size_t i = 0; i < len; i++) {
        char c = word.ptr[i];
        name[i] = c >= 'A' && c <= 'Z'               ? (char)(c | 0x20)
                  : c == '_' || c == ' ' || c == '.' ? '-'
                                                     : c;
    }
    name[len] = '\0';
    if (name_is_valid((struct slice){name, len}))
        suggest(complaint, "did you mean '%s'?", name);
}

static bool read_name(const struct reading *reading)
{
    char got[80];
    if (name_is_valid(reading->text))
        return true;
    suggest_name(reading->complaint, reading->text);
    return complain(reading->complaint,
                    "%s is not a valid name: use a-z, 0-9 and '-', beginning with a letter, at "
                    "most %u characters",
                    node_describe(reading->node, got, sizeof(got)), MANIFEST_NAME_MAX);
}

static bool read_plain_text(const struct reading *reading, size_t limit)
{
    if (reading->text.len == 0)
        return unexpected(reading->key, reading->node, reading->complaint);
    if (reading->text.len > limit)
        return complain(reading->complaint, "the text is too long: %zu bytes, the limit is %zu",
                        reading->text.len, limit);
    return true;
}

static bool read_scheduled(const struct reading *reading)
{
    uint64_t number;
    struct slice rest = reading->text;
    size_t fields = 0;
    switch (reading->key->kind) {
    case KIND_DECIMAL:
        return read_thousandths(reading->text, &number) ||
               unexpected(reading->key, reading->node, reading->complaint);
    case KIND_RATE: {
        struct slice count = slice_cut(&rest, '/');
        bool is_unit =
            slice_eq(rest, SLICE("s")) || slice_eq(rest, SLICE("m")) || slice_eq(rest, SLICE("h"));
        return (slice_to_u64(count, &number) == 0 && is_unit) ||
               unexpected(reading->key, reading->node, reading->complaint);
    }
    default:
        for (struct slice field = slice_cut(&rest, ' '); field.ptr; field = slice_cut(&rest, ' '))
            fields += field.len > 0;
        return fields == 5 || slice_starts_with(reading->text, SLICE("@")) ||
               unexpected(reading->key, reading->node, reading->complaint);
    }
}

static bool read_reference(const struct reading *reading)
{
    struct slice rest = reading->text, name = slice_cut(&rest, '.');
    return (name_is_valid(name) && rest.len > 0 && rest.len < 32) ||
           unexpected(reading->key, reading->node, reading->complaint);
}

static bool read_list(const struct key *key, const struct node *node, struct complaint *complaint)
{
    uint64_t number;
    if (node->kind != NODE_LIST)
        return unexpected(key, node, complaint);
    node_each(item, node) if (item->kind != NODE_SCALAR ||
                              (key->kind == KIND_NUMBERS &&
                               !read_thousandths((struct slice){item->text, item->len},
                                                 &number))) return unexpected(key, item, complaint);
    return true;
}

/* Texts whose form address.c knows. */
static bool read_address(const struct reading *reading, const char **ret_text)
{
    const char *problem = NULL;
    char got[80];
    const char *text = address_read(reading->texts, reading->key->kind, reading->text, &problem);
    if (text) {
        *ret_text = text;
        return true;
    }
    if (!problem)
        return unexpected(reading->key, reading->node, reading->complaint);
    return complain(reading->complaint, "%s %s", node_describe(reading->node, got, sizeof(got)),
                    problem);
}

union value {
    const char *text;
    bool boolean;
    unsigned number;
    int signal;
    uint64_t large[2];
};

static bool read_scalar(const struct reading *reading, union value *ret_value, size_t *ret_bytes)
{
    struct slice word;
    size_t index;
    switch (reading->key->kind) {
    case KIND_WORD:
        *ret_bytes = sizeof(unsigned);
        if (!read_word(reading, &index, &word))
            return false;
        ret_value->number = (unsigned)index;
        return true;
    case KIND_BOOL:
        *ret_bytes = sizeof(bool);
        return read_bool(reading, &ret_value->boolean);
    case KIND_COUNT:
    case KIND_INSTANCES:
        *ret_bytes = sizeof(unsigned);
        return read_count(reading, &ret_value->number);
    case KIND_STATUS:
        *ret_bytes = sizeof(unsigned);
        return read_status(reading, &ret_value->number);
    case KIND_CPUS:
        *ret_bytes = sizeof(unsigned);
        return read_cpus(reading, &ret_value->number);
    case KIND_DURATION:
        *ret_bytes = sizeof(uint64_t);
        return read_duration(reading, &ret_value->large[0]);
    case KIND_BACKOFF:
        *ret_bytes = 2 * sizeof(uint64_t);
        return read_backoff(reading, ret_value->large);
    case KIND_SIZE:
        *ret_bytes = sizeof(uint64_t);
        return read_size(reading, &ret_value->large[0]);
    case KIND_SIGNAL:
        *ret_bytes = sizeof(int);
        return read_signal(reading, &ret_value->signal);
    default:
        break;
    }
    *ret_bytes = sizeof(const char *);
    ret_value->text = reading->text.ptr;
    switch (reading->key->kind) {
    case KIND_NAME:
        return read_name(reading);
    case KIND_CHOICE:
        return read_word(reading, &index, &word);
    case KIND_REFERENCE:
        return read_reference(reading);
    case KIND_COMMAND:
        return read_plain_text(reading, COMMAND_MAX);
    case KIND_TEXT:
        return read_plain_text(reading, TEXT_MAX);
    case KIND_DECIMAL:
    case KIND_RATE:
    case KIND_CRON:
        return read_scheduled(reading);
    default:
        return read_address(reading, &ret_value->text);
    }
}

bool value_read(struct arena *texts, const struct key *key, const struct node *node, void *field,
                struct complaint *ret_complaint)
{
    *ret_complaint = (struct complaint){0};
    if (key->kind == KIND_NUMBERS || key->kind == KIND_TEXTS)
        return read_list(key, node, ret_complaint);
    if (node->kind != NODE_SCALAR || node_is_null(node))
        return unexpected(key, node, ret_complaint);
    struct reading reading = {texts, key, node, {node->text, node->len}, ret_complaint};
    union value value = {0};
    size_t bytes = 0;
    if (!read_scalar(&reading, &value, &bytes))
        return false;
    if (field)
        memcpy(field, &value, bytes);
    return !ret_complaint->is_later;
}

/* ---- and back */

static const char *write_size(struct arena *arena, uint64_t bytes)
{
    static const char units[] = "BKMGTP";
    size_t unit = 0;
    while (unit + 2 < sizeof(units) && bytes && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    return arena_printf(arena, "%llu%c", (unsigned long long)bytes, units[unit]);
}

static const char *write_duration(struct arena *arena, uint64_t ms)
{
    char buffer[UNITS_TEXT_SIZE];
    return arena_text(arena, units_format_duration_ms(ms, buffer));
}

static const char *write_number(struct arena *arena, const struct key *key, unsigned number,
                                enum value_shape *ret_shape)
{
    struct slice word;
    bool is_later;
    if (key->kind == KIND_WORD)
        return key_word(key, number, &word, &is_later) ? arena_slice_text(arena, word) : NULL;
    if (key->kind == KIND_INSTANCES && number == MANIFEST_INSTANCES_CORES)
        return "max";
    *ret_shape = VALUE_RAW;
    bool is_unset = number == 0 && !key->fallback && key->kind != KIND_WORD;
    if (is_unset)
        return NULL;
    if (key->kind != KIND_CPUS)
        return arena_printf(arena, "%u", number);
    if (number % 1000 == 0)
        return arena_printf(arena, "%u", number / 1000);
    char *text = arena_printf(arena, "%u.%03u", number / 1000, number % 1000);
    for (size_t len = strlen(text); text[len - 1] == '0'; len--)
        text[len - 1] = '\0';
    return text;
}

const char *value_write(struct arena *arena, const struct key *key, const void *field,
                        enum value_shape *ret_shape)
{
    union value value = {0};
    *ret_shape = VALUE_TEXT;
    switch (key->kind) {
    case KIND_BOOL:
        *ret_shape = VALUE_RAW;
        memcpy(&value.boolean, field, sizeof(bool));
        return value.boolean ? "true" : "false";
    case KIND_WORD:
    case KIND_COUNT:
    case KIND_INSTANCES:
    case KIND_STATUS:
    case KIND_CPUS:
        memcpy(&value.number, field, sizeof(unsigned));
        return write_number(arena, key, value.number, ret_shape);
    case KIND_DURATION:
        memcpy(value.large, field, sizeof(uint64_t));
        return write_duration(arena, value.large[0]);
    case KIND_BACKOFF:
        memcpy(value.large, field, sizeof(value.large));
        return arena_printf(arena, "%s..%s", write_duration(arena, value.large[0]),
                            write_duration(arena, value.large[1]));
    case KIND_SIZE:
        memcpy(value.large, field, sizeof(uint64_t));
        return value.large[0] ? write_size(arena, value.large[0]) : NULL;
    case KIND_SIGNAL:
        memcpy(&value.signal, field, sizeof(int));
        for (size_t i = 0; i < ARRAY_LEN(signals); i++)
            if (signals[i].number == value.signal)
                return signals[i].name;
        return NULL;
    default:
        memcpy(&value.text, field, sizeof(value.text));
        return value.text;
    }
}
