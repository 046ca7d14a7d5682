/* fuzz_json.c - arbitrary bytes as JSON: refused, or a tree that is written and read back the same.
 */
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_same(const struct json *a, const struct json *b)
{
    if (a->type != b->type || a->count != b->count || a->is_integer != b->is_integer ||
        a->integer != b->integer || a->boolean != b->boolean || !slice_eq(a->key, b->key) ||
        !slice_eq(a->string, b->string))
        return false;
    const struct json *other = b->first;
    json_each (child, a) {
        if (!is_same(child, other))
            return false;
        other = other->next;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(1 << 20);
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 << 20);
    struct slice input = {(const char *)data, size};
    struct error err = {0};
    struct json *tree, *again;

    /* As a string it is always written so that it reads. */
    json_append_string(&text, input);
    if (json_parse(arena, buf_slice(&text), &tree, &err) != 0)
        assert(err.code == ERR_LIMIT || memchr(data, '\0', size));

    buf_clear(&text);
    arena_clear(arena);
    if (json_parse(arena, input, &tree, &err) != 0) {
        assert(err.code == ERR_LIMIT || err.code == ERR_INVALID);
        return 0;
    }
    struct json_writer writer = JSON_WRITER(&text);
    json_write_tree(&writer, NULL, tree);
    if (!text.failed && json_parse(arena, buf_slice(&text), &again, &err) == 0)
        assert(is_same(tree, again));
    else
        assert(text.failed || err.code == ERR_LIMIT);
    (void)json_path(tree, "a.b.c");
    return 0;
}
