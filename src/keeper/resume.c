#include "keeper/resume.h"

#define MAGIC 0x31534552504c53ull /* "SLPRES1" */

struct header {
    uint64_t magic;
    uint32_t format, reserved;
    uint64_t total_bytes;
};

/* Of a record and of a field alike. The bytes follow; nothing is aligned. */
struct head {
    uint32_t tag, len;
};

enum type { TYPE_number, TYPE_descriptor, TYPE_text };

struct field {
    uint32_t tag;
    enum type type;
    size_t offset;
};

#define FIELDS_OF(record, table)                                                                   \
    static const struct field record##_fields[] = {table(FIELD_##record)};
#define FIELD(record, tag, type, name)  {tag, TYPE_##type, offsetof(struct resume_##record, name)},
#define FIELD_keeper(tag, type, name)   FIELD(keeper, tag, type, name)
#define FIELD_binary(tag, type, name)   FIELD(binary, tag, type, name)
#define FIELD_group(tag, type, name)    FIELD(group, tag, type, name)
#define FIELD_listener(tag, type, name) FIELD(listener, tag, type, name)
#define FIELD_role(tag, type, name)     FIELD(role, tag, type, name)
#define FIELD_unit(tag, type, name)     FIELD(unit, tag, type, name)
#define FIELD_stream(tag, type, name)   FIELD(stream, tag, type, name)
#define FIELD_held(tag, type, name)     FIELD(held, tag, type, name)
#define FIELD_giving(tag, type, name)   FIELD(giving, tag, type, name)
#define FIELD_upgrade(tag, type, name)  FIELD(upgrade, tag, type, name)
FIELDS_OF(keeper, RESUME_KEEPER)
FIELDS_OF(binary, RESUME_BINARY)
FIELDS_OF(group, RESUME_GROUP)
FIELDS_OF(listener, RESUME_LISTENER)
FIELDS_OF(role, RESUME_ROLE)
FIELDS_OF(unit, RESUME_UNIT)
FIELDS_OF(stream, RESUME_STREAM)
FIELDS_OF(held, RESUME_HELD)
FIELDS_OF(giving, RESUME_GIVING)
FIELDS_OF(upgrade, RESUME_UPGRADE)

struct kind {
    uint32_t tag;
    const struct field *fields;
    size_t count;
};

static const struct kind kinds[] = {
#define X(tag, record, table) {tag, record##_fields, ARRAY_LEN(record##_fields)},
    RESUME_RECORDS(X)
#undef X
};

static const struct kind *kind_find(uint32_t tag)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (kinds[i].tag == tag)
            return &kinds[i];
    }
    return NULL;
}

/* ---- writing */

void resume_begin(struct buf *block)
{
    struct header header = {.magic = MAGIC, .format = RESUME_FORMAT};

    buf_append(block, &header, sizeof header);
}

void resume_finish(struct buf *block)
{
    uint64_t total_bytes = block->len;

    if (!block->failed)
        memcpy(block->ptr + offsetof(struct header, total_bytes), &total_bytes, sizeof total_bytes);
}

static void append_field(struct buf *block, uint32_t tag, const void *bytes, size_t len)
{
    struct head head = {tag, (uint32_t)len};

    buf_append(block, &head, sizeof head);
    buf_append(block, bytes, len);
}

/* What has its default is left out. */
static void append_value(struct buf *block, const struct field *field, const void *at)
{
    uint64_t number;
    const char *text;
    int fd;

    switch (field->type) {
    case TYPE_number:
        memcpy(&number, at, sizeof number);
        if (number)
            append_field(block, field->tag, &number, sizeof number);
        break;
    case TYPE_descriptor:
        memcpy(&fd, at, sizeof fd);
        if (fd >= 0)
            append_field(block, field->tag, &fd, sizeof fd);
        break;
    case TYPE_text:
        memcpy(&text, at, sizeof text);
        if (!text || !*text)
            break;
        if (strlen(text) >= RESUME_TEXT_MAX)
            block->failed = true;
        append_field(block, field->tag, text, strlen(text) + 1);
        break;
    }
}

void resume_append(struct buf *block, enum resume_tag tag, const void *record)
{
    const struct kind *kind = kind_find(tag);
    struct head head = {tag, 0};
    size_t start = block->len;

    buf_append(block, &head, sizeof head);
    for (size_t i = 0; i < kind->count; i++)
        append_value(block, &kind->fields[i], (const char *)record + kind->fields[i].offset);
    if (block->failed)
        return;
    head.len = (uint32_t)(block->len - start - sizeof head);
    memcpy(block->ptr + start, &head, sizeof head);
}

/* ---- reading */

int resume_open(struct slice block, size_t *ret_cursor, struct error *err)
{
    struct header header;

    if (block.len < sizeof header)
        return error_set(err, ERR_INVALID, "the keeper's state is cut off");
    memcpy(&header, block.ptr, sizeof header);
    if (header.magic != MAGIC || header.total_bytes != block.len)
        return error_set(err, ERR_INVALID, "this is not a keeper's state, or not all of it");
    if (header.format > RESUME_FORMAT + 1 || header.format + 1 < RESUME_FORMAT)
        return error_set(err, ERR_VERSION,
                         "the keeper's state has format %u, this slipway reads %u", header.format,
                         RESUME_FORMAT);
    *ret_cursor = sizeof header;
    return 0;
}

/* A head and the bytes behind it. */
static int take(struct slice bytes, size_t *cursor, struct head *ret_head, const char **ret_bytes,
                struct error *err)
{
    if (bytes.len - *cursor < sizeof *ret_head)
        return error_set(err, ERR_INVALID, "the keeper's state ends within a head");
    memcpy(ret_head, bytes.ptr + *cursor, sizeof *ret_head);
    *cursor += sizeof *ret_head;
    if (bytes.len - *cursor < ret_head->len)
        return error_set(err, ERR_INVALID, "record or field %u of the keeper's state is cut off",
                         ret_head->tag);
    *ret_bytes = bytes.ptr + *cursor;
    *cursor += ret_head->len;
    return 0;
}

static int read_value(const struct field *field, const char *bytes, size_t len, char *at,
                      struct error *err)
{
    int fd;

    switch (field->type) {
    case TYPE_number:
        if (len != sizeof(uint64_t))
            break;
        memcpy(at, bytes, len);
        return 0;
    case TYPE_descriptor:
        if (len != sizeof fd)
            break;
        memcpy(&fd, bytes, sizeof fd);
        if (fd < 3) /* 0 to 2 are never handed over */
            break;
        memcpy(at, &fd, sizeof fd);
        return 0;
    case TYPE_text:
        if (len == 0 || len > RESUME_TEXT_MAX || memchr(bytes, 0, len) != bytes + len - 1)
            break;
        *(const char **)(void *)at = bytes;
        return 0;
    }
    return error_set(err, ERR_INVALID, "field %u of the keeper's state is malformed", field->tag);
}

static void set_defaults(const struct kind *kind, char *record)
{
    const int none = -1;

    for (size_t i = 0; i < kind->count; i++) {
        const struct field *field = &kind->fields[i];

        if (field->type == TYPE_descriptor)
            memcpy(record + field->offset, &none, sizeof none);
        else if (field->type == TYPE_text)
            *(const char **)(void *)(record + field->offset) = "";
    }
}

static int read_record(const struct kind *kind, struct slice fields, char *record,
                       struct error *err)
{
    size_t cursor = 0;

    set_defaults(kind, record);
    while (cursor < fields.len) {
        struct head head;
        const char *bytes;
        int code = take(fields, &cursor, &head, &bytes, err);

        for (size_t i = 0; i < kind->count && code == 0; i++) {
            if (kind->fields[i].tag == head.tag)
                code = read_value(&kind->fields[i], bytes, head.len,
                                  record + kind->fields[i].offset, err);
        }
        if (code < 0)
            return code;
    }
    return 0;
}

int resume_next(struct slice block, size_t *cursor, struct resume_record *ret_record,
                struct error *err)
{
    while (*cursor < block.len) {
        const struct kind *kind;
        struct head head;
        const char *bytes;
        int code = take(block, cursor, &head, &bytes, err);

        if (code < 0)
            return code;
        kind = kind_find(head.tag);
        if (!kind)
            continue;
        memset(ret_record, 0, sizeof *ret_record);
        ret_record->tag = (enum resume_tag)head.tag;
        code = read_record(kind, (struct slice){bytes, head.len}, (char *)&ret_record->keeper, err);
        return code < 0 ? code : 1;
    }
    return 0;
}

void resume_each_descriptor(const struct resume_record *record,
                            void (*visit)(int fd, void *context), void *context)
{
    const struct kind *kind = kind_find(record->tag);

    for (size_t i = 0; i < kind->count; i++) {
        int fd;

        if (kind->fields[i].type != TYPE_descriptor)
            continue;
        memcpy(&fd, (const char *)&record->keeper + kind->fields[i].offset, sizeof fd);
        if (fd >= 0)
            visit(fd, context);
    }
}
